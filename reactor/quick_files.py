"""The two files of a handler that the loop has set up itself: an `rfile` and a `wfile` for each frame.

What it is: `UnreadFile` and `LineFile`, over a frame that nobody has touched yet, and `ReplyWriter`, over the outbox. What
it is not: another way to read a frame. They know how nearly every handler takes its frame, as a whole, by `readline` or by
the row's `recv`; whatever else is asked of them a `FrameFile` answers, which is made then. See `quick_handlers`.

Rules: what is true of a `FrameFile` is true of these, `past_end` above all · no `__init__`, which the interpreter calls in a
roundabout way, and slots, for an IOBase would make a dict to note its own end.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from .frame_files import FrameFile, in_memory
from .transports import PLAIN

if TYPE_CHECKING:
    from typing_extensions import Buffer


def _noting_hash(file: Any) -> int:
    """A dict or a set that refers weakly may know the file from now on: it is not used again."""
    file.__dict__["known"] = True
    return object.__hash__(file)


class UnreadFile(io.BufferedIOBase):
    """A frame in memory, made by `unread_file`.

    Attributes:
        frame: its bytes.
        unread: the same, b"" once they were taken as a whole; None: it was touched in another way, or closed.
        past_end: was it read past its end?
    """

    __slots__ = ("_file", "closed", "frame", "past_end", "unread")

    frame: bytes
    unread: bytes | None
    past_end: bool
    closed: bool
    _file: FrameFile | None
    __hash__ = _noting_hash

    def _rest(self) -> FrameFile:
        """Return the file that can do everything."""
        if self._file is None:
            if self.closed:
                raise ValueError("I/O operation on closed file.")  # as a FrameFile
            self._file = in_memory(self.frame)
            if not self.unread:
                self._file.seek(0, io.SEEK_END)
            self._file.past_end, self.unread = self.past_end, None
        return self._file

    def _ask(self, method: str, *args: Any) -> Any:
        file = self._rest()
        try:
            return getattr(file, method)(*args)
        finally:
            self.past_end = file.past_end

    def close(self) -> None:
        """Read no more."""
        self.closed, self.unread = True, None
        if self._file is not None:
            self._file.close()

    def read(self, size: int | None = -1, /) -> bytes:
        """See `FrameFile`."""
        data: bytes = self._ask("read", size)
        return data

    def read1(self, size: int | None = -1, /) -> bytes:
        """See `FrameFile`."""
        data: bytes = self._ask("read1", size)
        return data

    def readinto(self, buffer: Buffer, /) -> int:
        """See `FrameFile`."""
        count: int = self._ask("readinto", buffer)
        return count

    def readinto1(self, buffer: Buffer, /) -> int:
        """See `FrameFile`."""
        count: int = self._ask("readinto1", buffer)
        return count

    def readline(self, size: int | None = None, /) -> bytes:
        """See `FrameFile`."""
        line: bytes = self._ask("readline", size)
        return line

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """See `FrameFile`."""
        lines: list[bytes] = self._ask("readlines", hint)
        return lines

    def peek(self, size: int = 0, /) -> bytes:
        """See `FrameFile`."""
        data: bytes = self._ask("peek", size)
        return data

    def pass_over(self) -> None:
        """See `FrameFile`."""
        self._ask("pass_over")

    def stay_within(self) -> None:
        """See `FrameFile`."""
        self._ask("stay_within")

    def getvalue(self) -> bytes:
        """See `io.BytesIO`."""
        return self._rest().getvalue()

    def getbuffer(self) -> memoryview:
        """See `io.BytesIO`."""
        return self._rest().getbuffer()

    def seek(self, offset: int, whence: int = 0, /) -> int:
        """See `io.BytesIO`."""
        return self._rest().seek(offset, whence)

    def tell(self) -> int:
        """See `io.BytesIO`."""
        return self._rest().tell()

    def truncate(self, size: int | None = None, /) -> int:
        """See `io.BytesIO`."""
        return self._rest().truncate(size)

    def write(self, data: Buffer, /) -> int:
        """See `io.BytesIO`."""
        return self._rest().write(data)

    def readable(self) -> bool:
        """See `io.BytesIO`."""
        return self._rest().readable()

    def seekable(self) -> bool:
        """See `io.BytesIO`."""
        return self._rest().seekable()

    def writable(self) -> bool:
        """See `io.BytesIO`."""
        return self._rest().writable()

    def fileno(self) -> int:
        """There is none: see `FrameFile`."""
        return in_memory().fileno()


class LineFile(UnreadFile):
    """A frame that is one line, its end included."""

    __slots__ = ()

    def readline(self, size: int | None = None, /) -> bytes:
        """See `FrameFile`; mostly all of it, then nothing."""
        line = self.unread
        if line is None or size is not None:
            line = self._ask("readline", size)
        elif line:
            self.unread = b""
        else:
            self.past_end = True
        return line


class ReplyWriter(io.BufferedIOBase):
    """As the standard module's own `wfile`: whatever is written is sent, and when it is closed the connection is not."""

    __slots__ = ("_sock", "closed")

    _sock: Any
    closed: bool

    def close(self) -> None:
        """Take note of it."""
        self.closed = True

    __hash__ = _noting_hash

    def flush(self) -> None:
        """Nothing is held back; a file that was closed says so, as any other."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def writable(self) -> bool:
        """Say that this file can be written to."""
        return True

    def write(self, data: Buffer, /) -> int:
        """Queue all of it."""
        row = self._sock
        outbox = row.outbox
        if outbox and type(data) is bytes and row.end is None and not row.half_close and row.transport is PLAIN:
            size = len(data)
            pending = row.pending + size
            if pending <= row.room:
                row.pending = pending
                row.wrote = True
                outbox.append(data)
                return size
        row.sendall(data)
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        """Return the descriptor of the connection."""
        descriptor: int = self._sock.fileno()
        return descriptor


def unread_file(kind: type[UnreadFile]) -> UnreadFile:
    """Return a file without a frame; it gets one by `frame` and `unread`."""
    file = kind()
    file.frame, file.unread, file._file = b"", None, None
    file.past_end = file.closed = False
    return file


def reply_writer() -> ReplyWriter:
    """Return a writer without a row; it gets one with `_sock`, where the standard module's has its socket."""
    writer = ReplyWriter()
    writer.closed = False
    return writer
