"""Sockets that block only the greenlet which uses them. Needs the extra `greenlet`.

What it is: subclasses of `socket.socket` (and of whatever subclass a server's get_request returns), whose `recv`, `send`
and the rest wait in the loop. A socket is *made* green by a change of its class, so it keeps its identity: the object
that get_request returned is the handler's `request`. What it is not: monkey-patching; no module and no other socket is
touched.

Rules:

1. The descriptor stays blocking. Receiving and sending pass MSG_DONTWAIT instead, so O_NONBLOCK never leaks to a child, to
   a thread or through dup2 (the flag belongs to the open file, which they share).
2. Outside of a handler's greenlet (in a thread that was given the socket, in a forked child) every method is the
   inherited one, which blocks. Nothing is buffered here, so there is nothing to flush first.
3. A socket that is closed is closed by its row, at the end of the batch, after lingering if our side was shut; but not if
   its handler has asked for the descriptor: what comes then may be for a child or a duplicate.
4. When its handler has ended and left it open, it is an ordinary socket again.
"""

from __future__ import annotations

import contextlib
import io
import os
import socket
from collections.abc import Callable
from typing import Any

from .errors import EndOfStream
from .green_common import Green
from .green_handlers import current
from .green_lookup import row_of
from .green_rows import GreenRow
from .table import READ, WRITE

# Linux, BSD, macOS; not Windows: see `greenlet_hosts`. A bare number: `|` of the enum is a call of Python code.
DONTWAIT = int(getattr(socket, "MSG_DONTWAIT", 0))
WAITALL = int(getattr(socket, "MSG_WAITALL", 0))
PEEK = int(socket.MSG_PEEK)
# What no system waits for, and what says nothing of ordinary bytes: the urgent byte, and errors that were reported.
ASIDE = int(getattr(socket, "MSG_OOB", 0)) | int(getattr(socket, "MSG_ERRQUEUE", 0))
AT_ONCE = DONTWAIT | ASIDE

_plain: Any = socket.socket  # not super(): see `green_common`


class GreenPlain(Green, socket.socket):
    """What a plain socket gains: receiving and sending."""

    __slots__ = ()

    def _call(self: Any, interest: int, flags: int, function: Callable[..., Any], *args: Any) -> Any:
        """Call what would block; wait and try again until it does not."""
        green = current()
        if green is None:
            return function(self, *args)
        row = row_of(self, green)
        until = row.deadline_of(row.timeout_s)
        never = row.timeout_s == 0 or flags & (AT_ONCE if interest & READ else DONTWAIT)
        first = never or not (row.dry if interest & READ else row.budget <= 0)
        while True:
            if first:
                try:
                    result = function(self, *args)
                except BlockingIOError:
                    if never:
                        raise
                else:
                    row.moves += 1
                    return result
            row.wait(interest, green, until)
            first = True

    # -- receiving --------------------------------------------------------------------------------------------------

    def recv_into(self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """As `socket.recv_into`."""
        green = current()
        size = nbytes or _size(buffer)
        if green is None or not size:
            return _plain.recv_into(self, buffer, nbytes, flags)  # type: ignore[no-any-return]
        if flags & WAITALL:
            return self._recv_whole_into(buffer, nbytes, flags)  # type: ignore[no-any-return]
        row = green.row
        if row is None or row.sock is not self:
            row = row_of(self, green)
        until, never = row.deadline_of(row.timeout_s), row.timeout_s == 0 or flags & AT_ONCE
        while True:
            if not row.dry or never:
                try:
                    count: int = _plain.recv_into(self, buffer, nbytes, flags | DONTWAIT)
                except BlockingIOError:
                    if never:
                        raise
                else:
                    self._note(row, count, size, flags)
                    return count
            try:
                row.wait(READ, green, until)
            except EndOfStream:
                return 0

    def recv(self: Any, bufsize: int, flags: int = 0) -> bytes:
        """As `socket.recv`."""
        green = current()
        if green is None or not bufsize:
            return _plain.recv(self, bufsize, flags)  # type: ignore[no-any-return]
        if flags & WAITALL:
            whole = bytearray(bufsize)
            return bytes(whole[: self._recv_whole_into(whole, bufsize, flags)])
        row = green.row
        if row is None or row.sock is not self:
            row = row_of(self, green)
        until, never = row.deadline_of(row.timeout_s), row.timeout_s == 0 or flags & AT_ONCE
        while True:
            if not row.dry or never:
                try:
                    data: bytes = _plain.recv(self, bufsize, flags | DONTWAIT)
                except BlockingIOError:
                    if never:
                        raise
                else:
                    self._note(row, len(data), bufsize, flags)
                    return data
            try:
                row.wait(READ, green, until)
            except EndOfStream:
                return b""

    def _note(self, row: GreenRow, count: int, size: int, flags: int) -> None:
        """A receive has returned `count` bytes; one that was cut short has emptied the socket."""
        if flags & (PEEK | ASIDE):
            return  # the bytes are where they were
        row.dry = 0 < count < size
        if count:
            row.received(count)
        elif size:
            row.eof = True

    def _recv_whole_into(self: Any, buffer: Any, nbytes: int, flags: int) -> int:
        """MSG_WAITALL: receive until the buffer is full; for the kernel, MSG_DONTWAIT cancels it."""
        never, flags = flags & (PEEK | AT_ONCE), flags & ~WAITALL
        at, green = 0, current()
        assert green is not None  # its callers have asked
        with memoryview(buffer) as given, given.cast("B") as view:
            size = nbytes or view.nbytes
            while at < size:
                try:
                    count = GreenPlain.recv_into(self, view[at:size], 0, flags)
                except OSError as error:
                    if not at:
                        raise
                    row = row_of(self, green)  # what came before it first; the next receive raises it
                    row.late, row.dry = [error.with_traceback(None)], True
                    break
                at += count
                if not count or never or self.gettimeout() is not None:
                    break  # as in CPython, where a timeout makes the descriptor non-blocking
        return at

    def recvfrom(self: Any, bufsize: int, flags: int = 0) -> Any:
        """As `socket.recvfrom`."""
        args = bufsize, flags | _now()
        return GreenPlain._message(self, _plain.recvfrom, args, bufsize, flags, (b"", None))

    def recvfrom_into(self: Any, buffer: Any, nbytes: int = 0, flags: int = 0) -> Any:
        """As `socket.recvfrom_into`."""
        args = buffer, nbytes, flags | _now()
        return GreenPlain._message(self, _plain.recvfrom_into, args, nbytes or _size(buffer), flags, (0, None))

    def recvmsg(self: Any, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As `socket.recvmsg`."""
        args = bufsize, ancbufsize, flags | _now()
        return GreenPlain._message(self, _plain.recvmsg, args, bufsize, flags, (b"", [], 0, None))

    def recvmsg_into(self: Any, buffers: Any, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As `socket.recvmsg_into`."""
        buffers = list(buffers)  # of an iterator, a second try would find nothing
        args = buffers, ancbufsize, flags | _now()
        size = sum(_size(buffer) for buffer in buffers)
        return GreenPlain._message(self, _plain.recvmsg_into, args, size, flags, (0, [], 0, None))

    def _message(self: Any, function: Callable[..., Any], args: Any, size: int, flags: int, nothing: Any) -> Any:
        """Receive with a call that returns a tuple, the bytes or their number in front; `nothing` is the end."""
        green = current()
        try:
            found = GreenPlain._call(self, READ, flags, function, *args)
        except EndOfStream:
            return nothing
        if green is not None:
            count = found[0] if isinstance(found[0], int) else len(found[0])
            self._note(row_of(self, green), count, size, flags)
        return found

    # -- sending ----------------------------------------------------------------------------------------------------

    def send(self: Any, data: Any, flags: int = 0) -> int:
        """As `socket.send`: some of the bytes may be left."""
        count: int = GreenPlain._call(self, WRITE, flags, _plain.send, data, flags | _now())
        _note_sent(self, count)
        return count

    def sendall(self: Any, data: Any, flags: int = 0) -> None:
        """As `socket.sendall`."""
        green = current()
        if green is None:
            _plain.sendall(self, data, flags)
            return
        row = green.row
        if row is None or row.sock is not self:
            row = row_of(self, green)
        until, never = row.deadline_of(row.timeout_s), row.timeout_s == 0 or flags & DONTWAIT
        rest = data if type(data) is bytes else memoryview(data).cast("B")
        while True:
            if row.budget > 0 or never:
                try:
                    count: int = _plain.send(self, rest, flags | DONTWAIT)
                except BlockingIOError:
                    if never:
                        raise
                else:
                    row.sent(count, green)
                    if count == len(rest):
                        return
                    rest = memoryview(rest)[count:]
                    if never:
                        continue  # it will raise
            row.wait(WRITE, green, until)

    def sendto(self: Any, data: Any, *args: Any) -> int:
        """As `socket.sendto`."""
        if len(args) not in (1, 2):
            return _plain.sendto(self, data, *args)  # type: ignore[no-any-return]  # raises TypeError
        flags, address = args if len(args) == 2 else (0, *args)
        count: int = GreenPlain._call(self, WRITE, flags, _plain.sendto, data, flags | _now(), address)
        _note_sent(self, count)
        return count

    def sendmsg(self: Any, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        """As `socket.sendmsg`."""
        buffers, ancdata = list(buffers), list(ancdata)  # of an iterator, a second try would find nothing
        args = buffers, ancdata, flags | _now(), address
        count: int = GreenPlain._call(self, WRITE, flags, _plain.sendmsg, *args)
        _note_sent(self, count)
        return count

    def sendfile(self: Any, file: Any, offset: int = 0, count: int | None = None) -> int:
        """As `socket.sendfile`, by way of `send`: os.sendfile would wait for the socket in a selector of its own."""
        if current() is None:
            return _plain.sendfile(self, file, offset, count)  # type: ignore[no-any-return]
        with contextlib.suppress(AttributeError, io.UnsupportedOperation, OSError):
            if os.fstat(file.fileno()).st_size:
                file.seek(offset)  # os.sendfile starts there; `send` starts where the file stands if offset is 0
        return self._sendfile_use_send(file, offset, count)  # type: ignore[no-any-return]


def _size(buffer: Any) -> int:
    """Return what is received at most: a structure of ctypes is a buffer without len()."""
    try:
        return len(buffer)
    except TypeError:
        return memoryview(buffer).nbytes


def _note_sent(sock: Any, count: int) -> None:
    green = current()
    if green is not None:
        row_of(sock, green).sent(count, green)


def _now() -> int:
    """Return the flag that makes a call not wait; 0 where it is to block."""
    return 0 if current() is None else DONTWAIT
