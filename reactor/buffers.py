"""Bytes that wait: the inbox of a row that still receives, the outbox of a row that cannot send yet.

What it is: two byte queues with O(1) appends and O(n) consumption in all, whatever the sizes of the pieces (a naive
`buffer += chunk; buffer = buffer[n:]` is O(n²): 45,938 ns per 64 KiB with 4 MiB pending, against 65 ns for a
memoryview). What it is not: a policy; marks, caps and pauses are the row's business.

The inbox cuts ahead: 32 lines of one read are cut in one go (56 ns a line; `find` and a slice are 274 ns) and wait in
`ahead`, last first, with their ends. Whoever asks for anything else gets them joined again, so no byte is ever lost to a
change of framing.
"""

from __future__ import annotations

import io
from itertools import islice
from typing import TypeAlias

from .errors import FramingError

Chunk: TypeAlias = bytes | memoryview

# How many frames are cut ahead in one go. Equal to Limits.frames_per_turn: what is cut is handled this turn.
SPLIT_AHEAD = 32
# Cutting copies what it looks at: so many bytes for each frame that it may cut. Longer frames are cut one by one.
AHEAD_BYTES = 256
# Join chunks up to this size into one send(): copying it costs what one system call costs.
JOIN_BYTES = 65536
# A first chunk of at least this size goes alone: joining what is left of it again at each send would be O(n^2).
ALONE_BYTES = 16384


class Inbox:
    """The bytes of a row that no frame has consumed yet.

    Args:
        max_bytes: the largest frame, without its delimiter or header, where a framing says nothing else.
    """

    __slots__ = ("_ahead_max", "_at", "_data", "_delimiter", "_scanned", "ahead", "max_bytes", "size", "split_ahead")

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes = max_bytes
        self.split_ahead = SPLIT_AHEAD
        self.size = 0  # unsplit bytes
        self.ahead: list[bytes] = []  # what was cut ahead, each with its delimiter, the next one last
        self._data: bytes | bytearray = b""
        self._at = 0  # consumed bytes of _data
        self._scanned = 0  # bytes from _at on that hold no start of _delimiter
        self._delimiter = b""
        self._ahead_max = 0

    def __len__(self) -> int:
        """Return the number of bytes held, those cut ahead included."""
        return self.size + sum(map(len, self.ahead)) if self.ahead else self.size

    def feed(self, data: bytes) -> None:
        """Append what was received."""
        if not self.size:
            self._data, self._at = data, 0
        elif isinstance(self._data, bytearray):
            self._data += data
        else:
            self._data = bytearray(self._data[self._at :])
            self._data += data
            self._at = 0
        self.size += len(data)

    def clear(self) -> None:
        """Forget everything."""
        self._data, self._at, self._scanned, self.size = b"", 0, 0, 0
        self.ahead.clear()

    def rejoin(self) -> None:
        """Put back what was cut ahead."""
        if self.ahead:
            whole = b"".join([*reversed(self.ahead), memoryview(self._data)[self._at :]])
            self.ahead.clear()
            self._data, self._at, self._scanned, self.size = whole, 0, 0, len(whole)

    def find(self, delimiter: bytes) -> int:
        """Return the offset of the first `delimiter`, or -1; a repeated search resumes where the last one stopped."""
        self.rejoin()
        if delimiter != self._delimiter:
            self._delimiter, self._scanned = delimiter, 0
        found = self._data.find(delimiter, self._at + self._scanned)
        if found >= 0:
            return found - self._at
        self._scanned = max(0, self.size - len(delimiter) + 1)
        return -1

    def peek(self, n: int) -> bytes:
        """Return the first `n` bytes (fewer if there are fewer) and keep them."""
        self.rejoin()
        if n >= self.size and not self._at and type(self._data) is bytes:
            return self._data  # as it was received: no copy
        return bytes(memoryview(self._data)[self._at : self._at + n])

    def take(self, n: int) -> bytes:
        """Remove and return the first `n` bytes (fewer if there are fewer)."""
        self.rejoin()
        data, at = self._data, self._at
        if n >= self.size:
            taken = bytes(data) if not at else bytes(memoryview(data)[at:])
            self._data, self._at, self.size = b"", 0, 0
        else:
            taken = bytes(memoryview(data)[at : at + n])
            self._at, self.size = at + n, self.size - n
            self._compact()
        self._scanned = 0
        return taken

    def cut(self, data: bytes, delimiter: bytes, max_bytes: int) -> bytes | None:
        """Take the first of the pieces that `data` consists of, while nothing else is here; the others wait in `ahead`.

        It is `feed` and `take_until` at once, for what is simple and common: bytes that have just come, end with a
        delimiter and hold no piece that could be too long. None, and nothing is taken: they are to be fed.
        """
        last = len(data) - len(delimiter)
        if not 0 <= last <= max_bytes or data[-1] != delimiter[-1]:
            return None
        if data.find(delimiter) == last:
            return data
        pieces, size = _cut(data, delimiter, self.split_ahead)
        if size < len(data):
            return None
        return self._hand_out(pieces, delimiter, max_bytes)

    def take_until(self, delimiter: bytes, max_bytes: int) -> bytes | None:
        """Remove and return the bytes up to and including `delimiter`; None: it has not arrived.

        Raises:
            FramingError: no delimiter within `max_bytes` bytes plus its own length.
        """
        ahead = self.ahead
        if ahead:
            if delimiter == self._delimiter and max_bytes >= self._ahead_max:
                return ahead.pop()
            self.rejoin()
        size = self.size
        if self._scanned == 0 and size:
            first = self._split(delimiter, max_bytes)
            if first is not None:
                return first
        found = self.find(delimiter)
        if found > max_bytes or (found < 0 and size >= max_bytes + len(delimiter)):
            raise FramingError(f"no {delimiter!r} where one is due", offset=max_bytes, limit=max_bytes)
        return None if found < 0 else self.take(found + len(delimiter))

    def _split(self, delimiter: bytes, max_bytes: int) -> bytes | None:
        """Cut what the window holds: at most `max_bytes`, so no piece is too long; no more than is worth copying."""
        at, size = self._at, self.size
        window: bytes | bytearray = self._data
        if at or size > max_bytes or (size > AHEAD_BYTES and size > self.split_ahead * AHEAD_BYTES):
            most = min(max_bytes, self.split_ahead * AHEAD_BYTES)
            window = bytes(memoryview(window)[at : at + most])
        pieces, cut = _cut(window, delimiter, self.split_ahead)
        if not pieces:
            self._delimiter = delimiter
            self._scanned = max(0, len(window) - len(delimiter) + 1)
            return None
        self._at, self.size = at + cut, size - cut
        self._compact()
        return self._hand_out(pieces, delimiter, max_bytes)

    def _hand_out(self, pieces: list[bytes], delimiter: bytes, max_bytes: int) -> bytes:
        """Return the first piece; the others wait."""
        self._delimiter, self._ahead_max = delimiter, max_bytes
        pieces.reverse()
        first = pieces.pop()
        if pieces:
            self.ahead[:] = pieces  # in place: readline holds on to this very list
        return first

    def _compact(self) -> None:
        """Give back consumed memory once it is half of what is held: amortised O(1) a byte."""
        if self._at * 2 > len(self._data):
            self._data = self._data[self._at :]
            self._at = 0


def _cut(window: bytes | bytearray, delimiter: bytes, most: int) -> tuple[list[bytes], int]:
    """Return up to `most` pieces from the start of `window`, each with its delimiter, and how many bytes they are."""
    if delimiter == b"\n":  # what a file does, in C: half of what a split, and the ends put back, would cost
        file = io.BytesIO(window)
        pieces = list(islice(file, most))
        unfinished = 0 if pieces[-1].endswith(b"\n") else len(pieces.pop())
        return pieces, file.tell() - unfinished
    parts = window.split(delimiter, most)
    unfinished = len(parts.pop())
    return [bytes(part) + delimiter for part in parts], len(window) - unfinished


def gather(outbox: list[Chunk]) -> Chunk:
    """Return what the next send() should offer: the first chunk, or a join of many small ones.

    The joined chunks are replaced by the joined one, so that a partial send can be taken off by `consume`.
    """
    if len(outbox) > 1 and len(outbox[0]) < ALONE_BYTES:
        count = size = 0
        for chunk in outbox:
            size += len(chunk)
            if size > JOIN_BYTES:
                break
            count += 1
        if count > 1:
            outbox[:count] = [b"".join(outbox[:count])]
    return outbox[0]


def consume(outbox: list[Chunk], sent: int) -> None:
    """Take `sent` bytes off the first chunk; what is left of it becomes a view, never a copy."""
    first = outbox[0]
    if sent == len(first):
        del outbox[0]
    else:
        outbox[0] = memoryview(first)[sent:]
