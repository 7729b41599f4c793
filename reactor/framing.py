"""When is a request complete? A framing cuts a stream of bytes into frames.

What it is: parsers that pull from an `Inbox` and return either one whole frame or a `Need`, which says what is missing
(for the table). What it is not: I/O; a framing never sees a socket, so every one can be
tested by feeding bytes. Rules, which one contract test holds for every framing:

1. Every split of the same bytes gives the same frames.
2. The maximum is enforced *before* the frame is complete: at the header where there is one, at max + len(delimiter)
   where there is a delimiter. A length prefix of 4 GiB allocates nothing.
3. Never consume without producing; resume the scan where it stopped (the inbox remembers).
4. At the end of the stream: nothing left is `EndOfStream`, something left is a `FramingError`.

A framing that you pass to the library is a prototype: the engine calls `fresh()` for each row. The built-in ones keep
no state of their own (the scan position is the inbox's), so they are their own fresh copies.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Literal, Self, TypeVar

from .buffers import Inbox
from .errors import EndOfStream, FramingError, LimitError, describe
from .needs import Need as Need  # for whoever writes a framing

T = TypeVar("T")
U = TypeVar("U")

HeaderBytes = Literal[1, 2, 4, 8]


class Framing(Generic[T]):
    """How a stream of bytes becomes frames of type `T`; derive from it and define `next_frame`."""

    def next_frame(self, inbox: Inbox, eof: bool) -> T | Need:
        """Take one frame from `inbox`.

        Args:
            inbox: the bytes received so far.
            eof: no byte will follow these.

        Returns:
            The frame, or a `Need` (nothing was consumed).

        Raises:
            FramingError: these bytes can never become a frame.
            EndOfStream: `eof`, and the inbox is empty.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define next_frame(inbox, eof)")

    def encode(self, frame: T) -> bytes:
        """Return the bytes that `next_frame` would turn into `frame`."""
        raise NotImplementedError(f"{type(self).__name__} does not define encode(frame)")

    @property
    def encodes(self) -> bool:
        """Does `encode` work? A blocking handler reads its frame as the bytes that it gives."""
        return type(self).encode is not Framing.encode

    def refusal(self, error: FramingError | LimitError) -> bytes:
        """Return what to answer before closing on `error`; nothing, unless a protocol has a word for it."""
        return b""

    def fresh(self) -> Self:
        """Return a framing with no scan state, for one row; a stateless one returns itself."""
        return self

    @property
    def held_bytes(self) -> int:
        """Bytes of an unfinished frame that the framing has taken and holds itself (on disk, say)."""
        return 0

    @property
    def is_blank(self) -> bool:
        """Would a fresh one do as well for the next frame? Then a row that is idle need not keep this one."""
        return False

    def abandon(self) -> None:
        """Give back what an unfinished frame holds (a file, say): the row has ended, or its framing was switched."""

    def map(self, decode: Callable[[T], U], encode: Callable[[U], T] | None = None) -> Framing[U]:
        """Return a framing whose frames are decoded: `LengthPrefixed(4).map(json.loads, dumps)`.

        Args:
            decode: from a frame to a value; what it raises becomes a `FramingError`.
            encode: the way back, for `encode`.
        """
        return _Mapped(self, decode, encode)

    def _incomplete(self, inbox: Inbox, eof: bool, need: Need) -> Need:
        """Return `need`, or raise what the end of the stream means here."""
        if not eof:
            return need
        held = len(inbox)
        if held:
            raise FramingError(f"the stream ended inside a frame (needs {need})", offset=held)
        raise EndOfStream("peer")


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
        self._end = self.delimiter if keep_end else b""
        self._need = Need.until(self.delimiter, self.max_bytes)

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`."""
        piece = inbox.take_until(self.delimiter, inbox.max_bytes if self.max_bytes is None else self.max_bytes)
        if piece is None:
            return self._incomplete(inbox, eof, self._need)
        return piece + self._end

    def encode(self, frame: bytes) -> bytes:
        """Return the frame with its delimiter (added unless `keep_end` and it is there).

        Raises:
            FramingError: the delimiter would end the frame earlier: the peer would see two frames.
        """
        whole = frame if self._end and frame.endswith(self.delimiter) else frame + self.delimiter
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

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        """See `Framing.next_frame`."""
        if len(inbox):
            return inbox.take(self.max_bytes)
        return self._incomplete(inbox, eof, Need.more())

    def encode(self, frame: bytes) -> bytes:
        """Return the frame itself."""
        return frame


class _Mapped(Framing[U]):
    """A framing seen through a pair of functions."""

    def __init__(
        self, inner: Framing[Any], decode: Callable[[Any], U], encode: Callable[[U], Any] | None
    ) -> None:
        self._inner, self._decode, self._encode = inner, decode, encode

    def next_frame(self, inbox: Inbox, eof: bool) -> U | Need:
        frame = self._inner.next_frame(inbox, eof)
        if isinstance(frame, Need):
            return frame
        try:
            return self._decode(frame)
        except Exception as error:
            raise FramingError(f"{self._decode!r} refused the frame: {describe(error)}") from error

    def encode(self, frame: U) -> bytes:
        if self._encode is None:
            raise TypeError("this framing was mapped with a decoder only: map(decode, encode) gives it a way back")
        return self._inner.encode(self._encode(frame))

    @property
    def encodes(self) -> bool:
        return self._encode is not None and self._inner.encodes

    def refusal(self, error: FramingError | LimitError) -> bytes:
        return self._inner.refusal(error)

    @property
    def held_bytes(self) -> int:
        return self._inner.held_bytes

    def abandon(self) -> None:
        self._inner.abandon()

    def fresh(self) -> Self:
        inner = self._inner.fresh()
        return self if inner is self._inner else type(self)(inner, self._decode, self._encode)


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
