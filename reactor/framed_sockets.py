"""What a framed row has of a socket: the calls that handlers make on `self.request`.

What it is: reading the frame, writing the reply, files over both, options, addresses, and the end of a `with`. What it is
not: a socket. Rules: nothing here blocks · what a handler writes fills the outbox · it keeps nothing of its own; the row has
the frame (`file`) and the outbox.
"""

from __future__ import annotations

import errno
import functools
import io
import socket
from typing import IO, Any, Self, TypeAlias

from .frame_files import BothWaysFile, FrameFile, ReplyFile, SpooledFrameFile, in_memory
from .phases import End
from .quick_files import UnreadFile
from .streams import StreamRow
from .transports import PLAIN, SHUT

Frame: TypeAlias = FrameFile | SpooledFrameFile | UnreadFile

_NO_DELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY)

# A handler's own timeout (`settimeout`) bounds the wait for the next frame. Handlers of one class set the same one.
_bounded = functools.lru_cache(maxsize=128)(lambda limits, idle_s: limits.replace(idle_s=idle_s))


class SocketOfRow(StreamRow):
    """A stream row with the interface of a socket."""

    __slots__ = ("file", "host")

    host: Any
    file: Frame | None

    # -- reading and writing ----------------------------------------------------------------------------------------

    def makefile(self, mode: str = "r", buffering: int | None = None, **text: Any) -> IO[Any]:
        """Return a file that reads the frame, writes the reply, or both: see `socket.makefile`."""
        file: Any = self.file
        if mode == "rb" and file is not None and not file.closed:
            return file  # type: ignore[no-any-return]
        if "w" not in mode:
            file = self._input()
        elif "r" in mode:
            file = BothWaysFile(self._input(), self.send)
        else:
            file = ReplyFile(self.send)
            if buffering != 0:
                size = buffering if buffering and buffering > 0 else io.DEFAULT_BUFFER_SIZE
                file = io.BufferedWriter(file, size)
        return file if "b" in mode else io.TextIOWrapper(file, **text)

    def _input(self) -> Frame:
        file = self.file
        if file is None:
            return in_memory()
        if file.closed:  # a socket can be read on when a file over it is closed; what that held is lost
            self.file = rest = in_memory()
            rest.past_end = file.past_end
            return rest
        return file

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return up to `bufsize` bytes of the frame; b"" behind it."""
        file: Any = self.file
        if file is not None and not flags:  # nearly always: all of it, then nothing
            data: bytes | None = file.unread
            if data is not None and len(data) <= bufsize:
                if data:
                    file.unread = b""
                elif bufsize:
                    file.past_end = True
                return data
        file = self._input()
        if flags and flags & socket.MSG_PEEK:  # an operation of enums takes longer than all the rest of this
            peeked: bytes = file.peek()
            return peeked[:bufsize]
        rest: bytes = file.read1(bufsize)
        return rest

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Fill a buffer from the frame and return the count."""
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or view.nbytes, flags)
            view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Queue the whole of `data` and return its length."""
        self.sendall(data)
        return memoryview(data).nbytes

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Queue `data`; it is sent at the end of the turn.

        Raises:
            BrokenPipeError: the peer is gone, or our side is shut.
            LimitError: more than `Limits.spool_bytes` wait for a peer that does not read.
        """
        outbox = self.outbox
        if self.end is not None or self.half_close or self.transport is not PLAIN or type(data) is not bytes:
            self._send_rarely(data)
            return
        pending = self.pending + len(data)
        if outbox is None or pending > self.room:
            self.write(data)
            return
        self.pending = pending  # as `write`, without its two calls: a handler of lines comes here for each of them
        self.wrote = True
        if outbox:
            outbox.append(data)
        else:  # it is OPEN
            self.outbox = [data]

    def _send_rarely(self, data: Any) -> None:
        if self.end is not None or self.half_close or self.transport is SHUT:
            raise BrokenPipeError(errno.EPIPE, f"{self} has ended: what is written now would never be sent")
        self.write(data if type(data) is bytes else bytes(memoryview(data)))

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Queue the bytes of a file and return how many they were."""
        if offset or file.seekable():  # a pipe does not
            file.seek(offset)
        sent = 0
        while count is None or sent < count:
            data = file.read(65536 if count is None else min(65536, count - sent))
            if not data:
                break
            self.sendall(data)
            sent += len(data)
        return sent

    def shutdown(self, how: int) -> None:
        """End our side once what was written is sent (SHUT_WR), or the connection (SHUT_RDWR)."""
        if self.end is None and how == socket.SHUT_RDWR:
            self.finish(End.FINISHED, "shut down by this program")
        elif self.end is None and how == socket.SHUT_WR and not (self.file is not None and self.file.past_end):
            self.write_eof()  # else: it took the end of its frame for the end of the stream, and tidies up (Django)

    def settimeout(self, timeout_s: float | None) -> None:
        """Bound the wait for the next frame; within one there is nothing to wait for."""
        limits = _bounded(self.host.limits, timeout_s) if timeout_s else self.host.limits
        if limits is not self.limits:
            self.limits = limits
            self.mark()  # its deadline may come before the one it is guarded by

    def gettimeout(self) -> float | None:
        """Return what was set, as a new socket None."""
        return None if self.limits is self.host.limits else self.limits.idle_s

    # -- what the row's own socket answers, or nobody has to ---------------------------------------------------------

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
