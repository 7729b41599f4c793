"""What all green sockets have in common: timeouts, and their end.

What it is: `Green`, the base of `green_sockets` and `green_tls`. What it is not: receiving and sending. Rule: the
inherited methods are called by their class and not by super(), for a thread that was given the socket may be inside of
a method when its handler ends and the socket's class is changed back.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

from .green_handlers import current
from .green_lookup import row_of
from .green_rows import GreenRow

_plain: Any = socket.socket
# The attribute of a TLS socket that is non-blocking for its handler: what its timeout is to be for anybody else.
HANDLERS_TIMEOUT = "_handlers_timeout"
_NONE_SET = object()
TOO_LONG_S = 2**63 / 1e9  # CPython counts nanoseconds in 64 bits


class Green:
    """What every socket gains, TLS or not: waiting, timeouts, and its end."""

    __slots__ = ()

    ungreen: type[socket.socket] | None = None  # the class without this one

    def __reduce_ex__(self: Any, protocol: Any) -> Any:
        """As multiprocessing reduces the class without this one: it looks that up by the exact class."""
        reduction: Any = sys.modules.get("multiprocessing.reduction")
        reduce = None if reduction is None else reduction.ForkingPickler._extra_reducers.get(self.ungreen)
        return _plain.__reduce_ex__(self, protocol) if reduce is None else reduce(self)

    def fileno(self: Any) -> int:
        """As `socket.fileno`; whoever asks may give the descriptor to a child or duplicate it, as `dup` does."""
        fd: int = _plain.fileno(self)
        green = current()
        if green is not None:
            row = green.loop.green_rows.get(fd)
            if row is not None and row.sock is self:
                row.shared = True
        return fd

    def settimeout(self: Any, timeout_s: float | None) -> None:
        """As `socket.settimeout`; the real socket's own stays None, for one that is set makes it non-blocking."""
        green = current()
        if green is None:
            block(self)
            _above(self).settimeout(self, timeout_s)
            return
        if timeout_s is not None and timeout_s < 0:
            raise ValueError("Timeout value out of range")
        if timeout_s is not None and not timeout_s < TOO_LONG_S:
            if timeout_s != timeout_s:
                raise ValueError("Invalid value NaN (not a number)")
            raise OverflowError("timestamp too large to convert to C PyTime_t")
        row = row_of(self, green)
        row.timeout_s = timeout_s
        self._apply(row)

    def _apply(self: Any, row: GreenRow) -> None:
        """Make the descriptor what the methods need: blocking, unless the handler wants it otherwise."""
        _plain.settimeout(self, 0.0 if row.timeout_s == 0 else None)

    def restore(self: Any, timeout_s: float | None) -> None:
        """Give the real socket the timeout that its handler has set, unless a thread has set another one since."""
        if _plain.gettimeout(self) == (0.0 if timeout_s == 0 else None):
            _plain.settimeout(self, timeout_s)

    def gettimeout(self: Any) -> float | None:
        """As `socket.gettimeout`."""
        green = current()
        row = None if green is None else green.loop.green_rows.get(_plain.fileno(self))
        if row is None or row.sock is not self:
            if green is None:
                block(self)
            return _plain.gettimeout(self)  # type: ignore[no-any-return]
        timeout_s: float | None = row.timeout_s
        return timeout_s

    timeout = property(gettimeout)

    def setblocking(self, flag: bool) -> None:
        """As `socket.setblocking`."""
        self.settimeout(None if flag else 0.0)

    def getblocking(self) -> bool:
        """As `socket.getblocking`."""
        return self.gettimeout() != 0

    def shutdown(self: Any, how: int) -> None:
        """As `socket.shutdown`."""
        green = current()
        if green is not None and how in (socket.SHUT_WR, socket.SHUT_RDWR):
            row = row_of(self, green)
            row.shut, row.eof = True, row.eof or how == socket.SHUT_RDWR
        _above(self).shutdown(self, how)

    def detach(self: Any) -> int:
        """As `socket.detach`: the loop lets the descriptor go at once."""
        _unwatched(self)
        return _plain.detach(self)  # type: ignore[no-any-return]

    def _real_close(self: Any, *args: Any) -> None:
        """What close() calls when no file is open any more: the row takes the descriptor over, and closes it."""
        row = _unwatched(self)
        if row is None:
            _above(self)._real_close(self, *args)
            return
        family, kind, proto = self.family, self.type, self.proto
        row.leave(socket.socket(family, kind, proto, fileno=_plain.detach(self)))


def _above(sock: Any) -> Any:
    """Return the class behind `Green`."""
    return sys.modules["ssl"].SSLSocket if hasattr(sock, "do_handshake") else socket.socket


def block(sock: Any) -> None:
    """Make the descriptor what any other thread needs: a plain one is, one of TLS was not."""
    timeout_s = getattr(sock, "__dict__", {}).pop(HANDLERS_TIMEOUT, _NONE_SET)
    if timeout_s is not _NONE_SET:
        _plain.settimeout(sock, timeout_s)


def _unwatched(sock: Any) -> GreenRow | None:
    """Take a socket out of the selector and return its row, if it has one in this greenlet's loop."""
    green = current()
    row: GreenRow | None = None if green is None else green.loop.green_rows.get(_plain.fileno(sock))
    if row is None or row.sock is not sock:
        return None
    row.loop.demultiplexer.set(row, 0)
    return row
