"""The framings that everybody needs: lines, delimiters, fixed lengths, length prefixes, netstrings, raw bytes.

What it is: cutters of frames that hold the contract of `Framing`. What it is not: protocols; HTTP has a file of its own.
Rule: these keep no state of their own (the scan position is the inbox's), so they are their own fresh copies.
"""

from __future__ import annotations

from typing import Literal

from .buffers import Inbox
from .errors import FramingError
from .framing import Framing
from .needs import Need

HeaderBytes = Literal[1, 2, 4, 8]


class Until(Framing[bytes]):
    """Frames that end with a delimiter.

    Args:
        delimiter: one or more bytes.
        max_bytes: the longest frame without its delimiter; None: `Limits.frame_bytes`.
        keep_end: frames include their delimiter.
    """

    def __init__(self, delimiter: bytes, *, max_bytes: int | None = None, keep_end: bool = True) -> None:
        if not delimiter:
            raise ValueError("Until(b''): an empty delimiter would end a frame everywhere; use Raw()")
        self.delimiter, self.max_bytes, self.keep_end = bytes(delimiter), _checked(max_bytes), keep_end
        self._need = Need.until(self.delimiter, self.max_bytes)
        if type(self).next_frame is Until.next_frame:  # what derives from it may do anything
            self.cuts = True
            self.ahead_end = b"" if keep_end else None
            self.frames_are_wire = keep_end and type(self).encode is Until.encode

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`."""
        piece = inbox.take_until(self.delimiter, inbox.max_bytes if self.max_bytes is None else self.max_bytes)
        if piece is None:
            return self._incomplete(inbox, eof, self._need)
        return piece if self.keep_end else piece[: -len(self.delimiter)]

    def cut(self, data: bytes, inbox: Inbox) -> bytes | None:
        """See `Framing.cut`."""
        piece = inbox.cut(data, self.delimiter, inbox.max_bytes if self.max_bytes is None else self.max_bytes)
        return piece if piece is None or self.keep_end else piece[: -len(self.delimiter)]

    def goes_on(self, data: bytes, inbox: Inbox) -> bool:
        """See `Framing.goes_on`: no delimiter ends here."""
        limit = inbox.max_bytes if self.max_bytes is None else self.max_bytes
        return self.cuts and self.delimiter[-1] not in data and inbox.size <= limit

    def encode(self, frame: bytes) -> bytes:
        """Return the frame with its delimiter (added unless `keep_end` and it is there).

        Raises:
            FramingError: the delimiter would end the frame earlier: the peer would see two frames.
        """
        whole = frame if self.keep_end and frame.endswith(self.delimiter) else frame + self.delimiter
        ends_at = whole.find(self.delimiter)
        if ends_at + len(self.delimiter) < len(whole):
            raise FramingError(f"{self.delimiter!r} inside a frame that it ends", offset=ends_at)
        return whole


class Lines(Until):
    """Lines that end with b"\\n" (for b"\\r\\n" as the only legal end use `Until(b"\\r\\n")`)."""

    def __init__(self, *, max_bytes: int | None = None, keep_end: bool = True) -> None:
        super().__init__(b"\n", max_bytes=max_bytes, keep_end=keep_end)


class Fixed(Framing[bytes]):
    """Frames of `n` bytes each."""

    def __init__(self, n: int) -> None:
        if n <= 0:
            raise ValueError(f"Fixed({n}): a frame has at least one byte")
        self.n = n
        self._need = Need.exactly(n)

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`."""
        if len(inbox) < self.n:
            return self._incomplete(inbox, eof, self._need)
        return inbox.take(self.n)

    def encode(self, frame: bytes) -> bytes:
        """Return the frame itself.

        Raises:
            FramingError: it has not exactly `n` bytes.
        """
        if len(frame) != self.n:
            raise FramingError(f"a frame of {len(frame)} bytes for Fixed({self.n})", offset=len(frame), limit=self.n)
        return frame


class LengthPrefixed(Framing[bytes]):
    """Frames behind a binary length.

    Args:
        header_bytes: the width of the unsigned length, which does not count itself.
        byteorder: "big" is network order.
        max_bytes: the longest body; None: `Limits.frame_bytes`.
    """

    def __init__(
        self,
        header_bytes: HeaderBytes,
        *,
        byteorder: Literal["big", "little"] = "big",
        max_bytes: int | None = None,
    ) -> None:
        if header_bytes not in (1, 2, 4, 8):
            raise ValueError(f"LengthPrefixed({header_bytes!r}): a header has 1, 2, 4 or 8 bytes")
        self.header_bytes: int = header_bytes
        self.byteorder, self.max_bytes = byteorder, _checked(max_bytes)

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`; the maximum is enforced as soon as the header is there."""
        held = len(inbox)
        if held < self.header_bytes:
            return self._incomplete(inbox, eof, Need.exactly(self.header_bytes))
        body_bytes = int.from_bytes(inbox.peek(self.header_bytes), self.byteorder)
        _check_length(body_bytes, inbox.max_bytes if self.max_bytes is None else self.max_bytes)
        if held < self.header_bytes + body_bytes:
            return self._incomplete(inbox, eof, Need.exactly(self.header_bytes + body_bytes))
        return inbox.take(self.header_bytes + body_bytes)[self.header_bytes :]

    def encode(self, frame: bytes) -> bytes:
        """Return the frame behind its length.

        Raises:
            FramingError: the length does not fit the header.
        """
        if len(frame) >> (8 * self.header_bytes):
            limit = (1 << 8 * self.header_bytes) - 1
            raise FramingError(f"a frame of {len(frame)} bytes does not fit the header", limit=limit)
        return len(frame).to_bytes(self.header_bytes, self.byteorder) + frame


class Netstring(Framing[bytes]):
    """Netstrings, `5:hello,` (D. J. Bernstein, 1997): a decimal length without leading zeros, a colon, bytes, a comma.

    Args:
        max_bytes: the longest body; None: `Limits.frame_bytes`.
    """

    def __init__(self, *, max_bytes: int | None = None) -> None:
        self.max_bytes = _checked(max_bytes)

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`; at most the digits of the maximum and one byte are looked at for the colon."""
        limit = inbox.max_bytes if self.max_bytes is None else self.max_bytes
        head = inbox.peek(len(str(limit)) + 1)
        digits, colon, _ = head.partition(b":")
        if digits and not (digits.isdigit() and (digits == b"0" or digits[:1] != b"0")):
            raise FramingError(f"{digits!r} is no length of a netstring")
        if not colon:
            if len(head) > len(str(limit)):
                raise FramingError(f"no colon behind the length {digits!r}", offset=len(digits), limit=limit)
            return self._incomplete(inbox, eof, Need.until(b":", limit))
        if not digits:
            raise FramingError("a netstring starts with its length, not with a colon")
        _check_length(int(digits), limit)
        return self._body(inbox, eof, len(digits) + 1, int(digits))

    def _body(self, inbox: Inbox, eof: bool, head_bytes: int, body_bytes: int) -> bytes | Need:
        total_bytes = head_bytes + body_bytes + 1
        if len(inbox) < total_bytes:
            return self._incomplete(inbox, eof, Need.exactly(total_bytes))
        if inbox.peek(total_bytes)[-1:] != b",":
            raise FramingError("a netstring ends with a comma", offset=total_bytes - 1)
        return inbox.take(total_bytes)[head_bytes:-1]

    def encode(self, frame: bytes) -> bytes:
        """Return the frame as a netstring."""
        return b"%d:%b," % (len(frame), frame)


class Raw(Framing[bytes]):
    """No framing: whatever has arrived is a frame.

    Args:
        max_bytes: the most bytes handed over at a time.
    """

    def __init__(self, max_bytes: int = 65536) -> None:
        if max_bytes <= 0:
            raise ValueError(f"Raw({max_bytes}): a frame has at least one byte")
        self.max_bytes = max_bytes
        self.frames_are_wire = type(self).next_frame is Raw.next_frame and type(self).encode is Raw.encode

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`."""
        if len(inbox):
            return inbox.take(self.max_bytes)
        return self._incomplete(inbox, eof, Need.more())

    def encode(self, frame: bytes) -> bytes:
        """Return the frame itself."""
        return frame


def _checked(max_bytes: int | None) -> int | None:
    if max_bytes is not None and max_bytes <= 0:
        raise ValueError(f"max_bytes={max_bytes}: a frame has at least one byte (None: Limits.frame_bytes)")
    return max_bytes


def _check_length(announced_bytes: int, limit: int) -> None:
    if announced_bytes > limit:
        raise FramingError(f"a frame of {announced_bytes} bytes was announced", limit=limit)


# What readline and read_some use, for every row: the built-in framings keep no state.
LINES = Lines()
RAW = Raw()
