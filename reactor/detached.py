"""Requests whose socket is not the loop's: a blocking handler, a thread or a child has it.

The row is there to be seen and counted. The loop neither reads nor closes the socket: `shutdown_request` of the server
does. A child is watched through its pidfd, an ordinary descriptor that becomes readable when the child ends.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from .limits import Limits
from .phases import End, Event, Phase
from .table import READ, Row


class Pidfd:
    """The descriptor of a child process, with as much of a socket's interface as a row needs."""

    __slots__ = ("_fd",)

    def __init__(self, fd: int) -> None:
        self._fd = fd

    def fileno(self) -> int:
        """Return the descriptor."""
        return self._fd

    def close(self) -> None:
        """Close it; legal twice."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


class DetachedRow(Row):
    """A request that somebody else works on.

    Args:
        loop: the loop.
        sock: the connected, blocking socket.
        acceptor: the listener that counts it.
        listener: its name.
        limits: of the listener.
        sockaddr: the peer's address.
        way: "inline", "thread" or "fork".

    Attributes:
        taken: a mixin has started a thread or child for it, which reports its end.
        hung_up: a hook has asked for a TLS handshake, and the peer was not there for it.
    """

    __slots__ = ("_collect", "acceptor", "hung_up", "taken", "way")

    def __init__(
        self, loop: Any, sock: Any, acceptor: Any, listener: str, limits: Limits, sockaddr: Any, way: str
    ) -> None:
        self.acceptor = acceptor
        self.way = way
        self.taken = self.hung_up = False
        self._collect: Callable[[], object]  # of a row that watches a child
        super().__init__(loop, sock, listener, limits, Phase.IDLE, sockaddr)
        self.requests = 1
        acceptor.joined(self)
        self.advance(Event.HANDED_OVER)

    def watch(self, pidfd: int, collect: Callable[[], object]) -> None:
        """Call `collect` when the child ends, which must lead to `finish`; the row closes `pidfd`."""
        self._collect = collect
        self.sock, self.fd = Pidfd(pidfd), pidfd  # the parent has no use for the request any more
        self.loop.demultiplexer.set(self, READ)

    def on_ready(self, ready: int) -> None:
        """The child has ended."""
        self._collect()
        self.loop.demultiplexer.set(self, 0)  # a pidfd stays readable: whoever reaps the child, do not spin

    def hang_up(self) -> None:
        """See `hung_up`."""
        self.hung_up = True

    def stop_requested(self) -> None:
        """Threads and children cannot be told; the drain waits for them."""

    def finish(self, end: End, detail: str = "") -> None:
        """The thread or child is done, or is not waited for any longer."""
        super().finish(end, detail)

    def settle(self) -> None:
        """Leave the table at the end."""
        self.marked = False
        if self.end is not None and self.phase is Phase.DETACHED:
            self.advance(Event.LOST if self.end is End.ABORTED else Event.RETURNED)
            self._gone()
            self.acceptor.left(self)

    def _release(self) -> None:
        if isinstance(self.sock, Pidfd):
            self.sock.close()
        self.sock = None
