"""What a framed row has of a socket besides reading and writing: options, addresses, and the end of a `with`.

What it is: the calls that handlers make on `self.request` and that the real socket answers, or nobody has to. What it is
not: a socket; see `framed` for what is read and written. Rule: it keeps nothing of its own.
"""

from __future__ import annotations

import socket
from typing import Any, Self

_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)


class SocketOfRow:
    """The interface of a socket, as far as a row's own socket can answer for it."""

    __slots__ = ()

    fd: int
    sock: Any
    sockaddr: Any
    close: Any

    def setblocking(self, flag: bool) -> None:
        """Nothing: a frame never blocks."""

    def fileno(self) -> int:
        """Return the descriptor, -1 when the row has ended. It is not for reading or writing."""
        return self.fd

    def setsockopt(self, *args: Any) -> None:
        """Set an option of the real socket; TCP_NODELAY is set already, and handlers ask for it once a frame."""
        if args[:2] != _NO_DELAY or not args[2] or not isinstance(self.sockaddr, tuple):
            self.sock.setsockopt(*args)

    def getsockopt(self, *args: Any) -> Any:
        """Return an option of the real socket."""
        return self.sock.getsockopt(*args)

    def getsockname(self) -> Any:
        """Return our address."""
        return self.sock.getsockname()

    def getpeername(self) -> Any:
        """Return the peer's address."""
        return self.sock.getpeername()

    @property
    def family(self) -> Any:
        """The address family, as of a socket."""
        return self.sock.family

    @property
    def type(self) -> Any:
        """The kind of socket."""
        return self.sock.type

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()
