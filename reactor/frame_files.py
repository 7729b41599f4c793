"""A frame as a file: what an unmodified blocking handler reads its request from, and what it writes its reply to.

What it is: `rfile` for a handler that the loop has made for one whole frame. Behind the frame it is at its end, and it
remembers whether the handler has tried to read on (`past_end`): one that has wants more than this frame, so its
connection is kept for the next one. What it is not: a socket; nothing here ever blocks.

Rules: a read that is satisfied by the frame does not try past it, so `readline` of the last line does not, and `read()`
without a size, which asks for everything up to the end, does.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, BinaryIO

from .framing import Framing

if TYPE_CHECKING:
    from typing_extensions import Buffer

_NEWLINE = 10  # b"\n"[0]
_read, _readline, _tell = io.BytesIO.read, io.BytesIO.readline, io.BytesIO.tell


class FrameFile(io.BytesIO):
    """A frame in memory, made by `in_memory`. It is a BytesIO: a line costs a quarter of what a Python file would take."""

    __slots__ = ("past_end",)  # a dict for it would be 4 % of a line

    past_end: bool
    unread: bytes | None = None  # see `quick_files`
    has_plain_head = False

    def read(self, size: int | None = -1, /) -> bytes:
        """Return `size` bytes, fewer at the end of the frame."""
        data = _read(self, size)
        if size is None or size < 0 or len(data) < size:
            self.past_end = True
        return data

    def readline(self, size: int | None = -1, /) -> bytes:
        """Return the next line, or what is left of the frame."""
        line = _readline(self, size)
        if (not line or line[-1] != _NEWLINE) and len(line) != size:
            self.past_end = True
        return line

    def read1(self, size: int | None = -1, /) -> bytes:
        """Return up to `size` bytes, as many as there are."""
        data = _read(self, size)
        if not data and size != 0:
            self.past_end = True
        return data

    def readinto(self, buffer: Buffer, /) -> int:
        """Fill a buffer, as far as the frame goes."""
        with memoryview(buffer).cast("B") as view:
            count = super().readinto(view)
            if count < view.nbytes:
                self.past_end = True
        return count

    def readinto1(self, buffer: Buffer, /) -> int:
        """Fill a buffer with what there is."""
        with memoryview(buffer).cast("B") as view:
            count = super().readinto(view)
            if not count and view.nbytes:
                self.past_end = True
        return count

    def readlines(self, hint: int | None = -1, /) -> list[bytes]:
        """Return the lines, up to about `hint` bytes."""
        lines, size = [], 0
        for line in self:
            lines.append(line)
            size += len(line)
            if hint is not None and 0 < hint < size:  # as a BufferedReader; a BytesIO stops at the hint
                break
        return lines

    def peek(self, size: int = 0, /) -> bytes:
        """Return what comes next, some 64 KiB at most, and keep it: a BufferedReader, which handlers expect, can do that."""
        at = _tell(self)
        data = self.getvalue()[at : at + io.DEFAULT_BUFFER_SIZE * 8]
        if not data:
            self.past_end = True
        return data

    def getbuffer(self) -> memoryview:
        """Return a view of a copy: who keeps one of the frame itself would keep the file from being closed."""
        return memoryview(self.getvalue())

    def __next__(self) -> bytes:
        line = self.readline()
        if not line:
            raise StopIteration
        return line

    def fileno(self) -> int:
        """There is none.

        Raises:
            UnsupportedOperation: always; CGI, for one, wants to give it to a child.
        """
        raise io.UnsupportedOperation(
            'fileno: a frame has no descriptor; who gives the connection to a child needs way="greenlet", "thread" or "fork"'
        )

    def pass_over(self) -> None:
        """Read on behind the frame, whatever is left of it."""
        self.seek(0, io.SEEK_END)
        self.past_end = True

    def stay_within(self) -> None:
        """Forget that it was read past its end."""
        self.past_end = False


class PlainHeadFile(FrameFile):
    """An HTTP request in memory, whose head was checked when it was framed."""

    __slots__ = ()

    has_plain_head = True


class _Noticing(io.RawIOBase):
    """An unbuffered file that notices reads at its end, under the buffer of a `SpooledFrameFile`."""

    def __init__(self, file: BinaryIO) -> None:
        self.file, self.past_end = file, False

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        data = self.file.read(len(buffer))
        buffer[: len(data)] = data
        if not data:
            self.past_end = True
        return len(data)

    def close(self) -> None:
        self.file.close()
        super().close()


class SpooledFrameFile(io.BufferedReader):
    """A frame on disk: large, so that what a buffer in C saves counts more than what it costs to make one."""

    raw: _Noticing
    unread: bytes | None = None  # see `quick_files`

    def __init__(self, file: BinaryIO, has_plain_head: bool = False) -> None:
        super().__init__(_Noticing(file))
        self.has_plain_head = has_plain_head

    @property
    def past_end(self) -> bool:
        """Has the handler tried to read past the frame?"""
        return self.raw.past_end

    def pass_over(self) -> None:
        """Read on behind the frame, whatever is left of it."""
        self.raw.past_end = True

    def stay_within(self) -> None:
        """Forget that it was read past its end."""
        self.raw.past_end = False


class ReplyFile(io.RawIOBase):
    """A file over the outbox: `makefile("wb", 0)`.

    Args:
        send: takes the whole of what it is given and returns its length in bytes.
    """

    def __init__(self, send: Callable[[Any], int]) -> None:
        self._send = send

    def writable(self) -> bool:
        """Say that this file can be written to."""
        return True

    def write(self, data: Any, /) -> int:
        """Queue all of it."""
        return self._send(data)


class BothWaysFile(io.BufferedIOBase):
    """`makefile("rwb")`: reads the frame, writes the reply. The arguments are those two."""

    def __init__(self, file: Any, send: Callable[[Any], int]) -> None:
        self._send = send
        self.read, self.read1, self.readline = file.read, file.read1, file.readline  # type: ignore[method-assign]
        self.readinto, self.peek = file.readinto, file.peek  # type: ignore[method-assign]

    def readable(self) -> bool:
        """Say that this file can be read."""
        return True

    def writable(self) -> bool:
        """Say that it can be written to."""
        return True

    def write(self, data: Any, /) -> int:
        """Queue all of it."""
        return self._send(data)


def in_memory(data: bytes = b"", kind: type[FrameFile] = FrameFile) -> FrameFile:
    """Return a file over the bytes of a frame that nobody has read yet."""
    file = kind(data)
    file.past_end = False  # no `__init__` of its own does it: the interpreter takes a roundabout way to call one
    return file


def frame_file(
    framing: Framing[Any], frame: Any, kind: type[FrameFile] = FrameFile
) -> FrameFile | SpooledFrameFile:
    """Return a file over the wire bytes of a frame; an open binary file is taken as such, and closed with this one."""
    if hasattr(frame, "read"):
        return SpooledFrameFile(frame, kind.has_plain_head)
    return in_memory(framing.encode(frame), kind)
