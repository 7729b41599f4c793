"""When is a request complete? A framing cuts a stream of bytes into frames.

What it is: parsers that pull from an `Inbox` and return either one whole frame or a `Need`, which says what is missing
(for the table). What it is not: I/O; a framing never sees a socket, so every one can be
tested by feeding bytes. Rules, which one contract test holds for every framing:

1. Every split of the same bytes gives the same frames.
2. The maximum is enforced *before* the frame is complete: at the header where there is one, at max + len(delimiter)
   where there is a delimiter. A length prefix of 4 GiB allocates nothing.
3. Never consume without producing; resume the scan where it stopped (the inbox remembers).
4. At the end of the stream: nothing left is `EndOfStream`, something left is a `FramingError`.

A framing that you pass to the library is a prototype: the engine calls `fresh()` for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, Self, TypeVar

from .buffers import Inbox
from .errors import EndOfStream, FramingError, LimitError, describe
from .needs import Need as Need  # for whoever writes a framing

T = TypeVar("T")
U = TypeVar("U")


class Framing(Generic[T]):
    """How a stream of bytes becomes frames of type `T`; derive from it and define `next_frame`.

    Attributes:
        frames_are_wire: `encode` would return each frame of `next_frame` as it is, so it need not be called.
        cuts: it can `cut`.
        ahead_end: what `next_frame` puts behind each piece that was cut ahead, and no more; None: it must be asked.
    """

    frames_are_wire = False
    cuts = False
    ahead_end: bytes | None = None

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

    def cut(self, data: bytes, inbox: Inbox) -> T | None:
        """Take the first frame of bytes that have just come, while `inbox` is empty; None: feed it, and ask `next_frame`.

        A short way for bytes that are whole frames and nothing else, as nearly all are. What it returns, and what is in
        the inbox then, is the same as if `next_frame` had been asked. Only a framing that `cuts` is asked.
        """
        raise NotImplementedError(f"{type(self).__name__} does not define cut(data, inbox)")

    def goes_on(self, data: bytes, inbox: Inbox) -> bool:
        """Is it plain that the frame under way is not complete yet, nor too long, with `data` as the last bytes of `inbox`?

        Asked only if `next_frame` has needed more before. False: it has to be asked again.
        """
        return False

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
    def buffered_bytes(self) -> int:
        """Those of `held_bytes` that are in memory: they count for the budget of the reactor."""
        return self.held_bytes

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

    @property
    def buffered_bytes(self) -> int:
        return self._inner.buffered_bytes

    def abandon(self) -> None:
        self._inner.abandon()

    def fresh(self) -> Self:
        inner = self._inner.fresh()
        return self if inner is self._inner else type(self)(inner, self._decode, self._encode)
