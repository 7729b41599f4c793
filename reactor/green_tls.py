"""TLS sockets that block only the greenlet which uses them.

What it is: `Green` for `ssl.SSLSocket`, whose handshake, reads and writes wait in the loop for what TLS asks for: a write
may have to wait for bytes, and a read for room. So do connect and accept of those that a handler makes. What it is not: a
transport of the engine. A handler's own SSLContext makes these sockets, for a context can be told what to make
(`SSLContext.sslsocket_class`).

Rule: OpenSSL waits in C unless the descriptor is non-blocking, so these are, as long as their handler runs. In another
thread, and when the handler has left one open, they block again.
"""

from __future__ import annotations

import errno
import socket
import ssl
from collections.abc import Callable
from typing import Any

from .errors import EndOfStream
from .green_common import HANDLERS_TIMEOUT, Green, block
from .green_handlers import current
from .green_lookup import row_of
from .green_rows import GreenRow
from .table import READ, WRITE

_Tls: Any = ssl.SSLSocket
_settimeout, _gettimeout = socket.socket.settimeout, socket.socket.gettimeout


class _NothingYet(ssl.SSLWantReadError, BlockingIOError):
    """What a non-blocking TLS socket raises, and what any other does."""


class _NoRoom(ssl.SSLWantWriteError, BlockingIOError):
    """The same of a write."""


class GreenTls(Green, ssl.SSLSocket):
    """What an SSLSocket gains."""

    __slots__ = ()

    def _call(self: Any, interest: int, function: Callable[..., Any], *args: Any) -> Any:
        """Call what would block; wait for what TLS asks for, and try again until it does not."""
        green = current()
        if green is None:
            block(self)
            return function(self, *args)
        row = row_of(self, green)
        kind: type[BlockingIOError]
        if _gettimeout(self) != 0:
            self._apply(row)
        until = row.deadline_of(row.timeout_s)
        if row.budget <= 0 and row.timeout_s != 0 and not (interest & READ and self.pending()):
            row.wait(interest, green, until)  # let the others have their turn
        while True:
            try:
                return function(self, *args)
            except ssl.SSLWantReadError:
                wanted, kind, number = READ, _NothingYet, int(ssl.SSL_ERROR_WANT_READ)
            except ssl.SSLWantWriteError:
                wanted, kind, number = WRITE, _NoRoom, int(ssl.SSL_ERROR_WANT_WRITE)
            except BlockingIOError:  # before the handshake, or after unwrap()
                wanted, kind, number = interest, BlockingIOError, errno.EAGAIN
            if row.timeout_s == 0:
                raise kind(number, f"{row} has nothing for this read or no room for this write")
            row.wait(wanted, green, until)

    def _apply(self: Any, row: GreenRow) -> None:
        setattr(self, HANDLERS_TIMEOUT, row.timeout_s)
        _settimeout(self, 0.0)

    def restore(self: Any, timeout_s: float | None) -> None:
        """Give the real socket the timeout that its handler has set, unless a thread uses it already."""
        block(self)

    def read(self: Any, len: int = 1024, buffer: Any = None) -> Any:
        """As `SSLSocket.read`."""
        try:
            data = GreenTls._call(self, READ, _Tls.read, len, buffer)
        except EndOfStream:
            return b"" if buffer is None else 0
        green = current()
        if green is not None:
            row = row_of(self, green)
            count = data if buffer is not None else data.__len__()
            if count:
                row.received(count)
            elif len and (buffer is None or memoryview(buffer).nbytes):
                row.eof = True
        return data

    def recv(self: Any, buflen: int = 1024, flags: int = 0) -> bytes:
        """As `SSLSocket.recv`."""
        try:
            return GreenTls._call(self, READ, _Tls.recv, buflen, flags)  # type: ignore[no-any-return]
        except EndOfStream:
            return b""

    def recv_into(self: Any, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """As `SSLSocket.recv_into`."""
        try:
            return GreenTls._call(self, READ, _Tls.recv_into, buffer, nbytes, flags)  # type: ignore[no-any-return]
        except EndOfStream:
            return 0

    def write(self: Any, data: Any) -> int:
        """As `SSLSocket.write`."""
        return _counted(self, GreenTls._call(self, WRITE, _Tls.write, data))

    def send(self: Any, data: Any, flags: int = 0) -> int:
        """As `SSLSocket.send`; `sendfile` calls it, and `sendall` while there is TLS."""
        return _counted(self, GreenTls._call(self, WRITE, _Tls.send, data, flags))

    def sendall(self: Any, data: Any, flags: int = 0) -> None:
        """As `SSLSocket.sendall`."""
        if self._sslobj is not None or current() is None:
            _Tls.sendall(self, data, flags)
            return
        rest = memoryview(data).cast("B")  # after unwrap() it is a plain socket, on a descriptor that does not block
        while rest:
            rest = rest[self.send(rest, flags) :]

    def do_handshake(self: Any, block: bool = False) -> None:
        """As `SSLSocket.do_handshake`."""
        green = current()
        row = None if green is None else row_of(self, green)
        timeout_s = None if row is None else row.timeout_s
        if row is not None and timeout_s is None:
            row.timeout_s = row.limits.handshake_s
        try:
            GreenTls._call(self, READ, _Tls.do_handshake, block)
        except EndOfStream as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"no TLS handshake: {error}") from error
        finally:
            if row is not None:
                row.timeout_s = timeout_s
                self._apply(row)

    def connect(self: Any, addr: Any) -> None:
        """As `SSLSocket.connect`: its second call reports what became of the first."""
        green = current()
        if green is None:
            block(self)
            _Tls.connect(self, addr)
            return
        row = row_of(self, green)
        self._apply(row)
        until = row.deadline_of(row.timeout_s)
        while True:
            try:
                _Tls.connect(self, addr)
            except BlockingIOError:
                if row.timeout_s == 0:
                    raise
            else:
                return
            row.wait(WRITE, green, until)

    def connect_ex(self: Any, addr: Any) -> int:
        """As `SSLSocket.connect_ex`."""
        if current() is None:
            block(self)
            return _Tls.connect_ex(self, addr)  # type: ignore[no-any-return]
        try:
            GreenTls.connect(self, addr)
        except OSError as error:
            if self._connected or isinstance(error, socket.gaierror):  # of the handshake, of the name
                raise
            return errno.EAGAIN if isinstance(error, TimeoutError) and error.errno is None else error.errno or 0
        return 0

    def accept(self: Any) -> Any:
        """As `SSLSocket.accept`; of a socket that the handler listens on: the loop's listeners have rows already."""
        green = current()
        if green is None or green.row is None or green.acceptor.sock is self:
            return _Tls.accept(self)
        try:
            return GreenTls._call(self, READ, _Tls.accept)
        except EndOfStream as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"nobody is accepted: {error}") from error

    def unwrap(self: Any) -> Any:
        """As `SSLSocket.unwrap`."""
        try:
            return GreenTls._call(self, READ, _Tls.unwrap)
        except EndOfStream as error:
            raise ConnectionAbortedError(errno.ECONNABORTED, f"no goodbye from the peer: {error}") from error

    def _real_close(self: Any, *args: Any) -> None:
        self._sslobj = None
        Green._real_close(self, *args)


def _counted(sock: Any, count: int) -> int:
    green = current()
    if green is not None:
        row_of(sock, green).sent(count, green)
    return count
