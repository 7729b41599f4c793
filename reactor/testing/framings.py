"""Does a framing cut the same frames out of the same bytes, however they arrive? Without any connection.

What it is: `check_framing`, the contract of `reactor.Framing` as a function, for framings of your own. What it is not: a
check of handlers; see `splits`. What is tried: all bytes at once, one at a time, every cut in two, the end of the stream at
every offset, and each with and without frames that are cut ahead, and by `Framing.cut` and `goes_on` where there are such.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import product
from typing import Any, TypeVar

from ..buffers import SPLIT_AHEAD, Inbox
from ..errors import EndOfStream, ReactorError
from ..framing import Framing, Need
from ..framings import Raw
from ..limits import DEFAULTS

T = TypeVar("T")


class FramingMistake(AssertionError):
    """A framing breaks the contract."""


def check_framing(framing: Framing[T], data: bytes, frames: Sequence[T] | None = None) -> None:
    """Check that a framing keeps its contract on these bytes.

    Args:
        framing: a prototype, as it is passed to `listen`; `fresh()` is called for each try.
        data: bytes that it is to cut; they may end inside a frame, or be no frames at all.
        frames: what it must make of them; None: whatever it makes of all of them at once.

    Raises:
        FramingMistake: it does not; the message has the pieces that show it.
    """
    whole = cut(framing, [data])
    if frames is not None and whole[0] != _joined(framing, [_comparable(framing, frame) for frame in frames]):
        raise FramingMistake(f"{framing!r} makes {_told(whole)} of {data!r}, and not {list(frames)!r}")
    for pieces in _every_split(data):
        for split_ahead, at_once in product((SPLIT_AHEAD, 1), {False, framing.cuts}):
            found = cut(framing, pieces, split_ahead, at_once)
            if found != whole:
                raise FramingMistake(
                    f"{framing!r} makes {_told(found)} of the pieces {pieces!r}, but {_told(whole)} of all at once"
                )
    for size in range(len(data)):
        _check_end(framing, data[:size], whole[0])


def cut(
    framing: Framing[Any], pieces: Iterable[bytes], split_ahead: int = SPLIT_AHEAD, at_once: bool = False
) -> tuple[list[Any], str]:
    """Feed the pieces and then the end of the stream; return the frames, and the type of the error they end with.

    Args:
        framing: a prototype.
        pieces: of the stream, as they arrive.
        split_ahead: how many frames may be cut ahead.
        at_once: ask `Framing.cut` and `Framing.goes_on` first, as the engine does.
    """
    framing = framing.fresh()
    inbox = Inbox(DEFAULTS.frame_bytes)
    inbox.split_ahead = split_ahead
    found: list[Any] = []
    needs = False  # the framing has said so of what is in the inbox
    try:
        for piece in pieces:
            if piece:
                first = framing.cut(piece, inbox) if at_once and not inbox else None
                if first is None:
                    inbox.feed(piece)
                else:
                    found.append(_comparable(framing, first))
                if at_once and needs and framing.goes_on(piece, inbox):
                    _check_goes_on(framing, inbox)
                else:
                    found += _pulled(framing, inbox, False)
                needs = len(inbox) > 0
        found += _pulled(framing, inbox, True)
        raise FramingMistake(f"{framing!r} returns a Need at the end of the stream, where nothing can follow")
    except _Ended as ended:
        return _joined(framing, found + ended.found), ended.error
    finally:
        framing.abandon()


class _Ended(Exception):
    """The frames end with an error, and these came before it."""

    def __init__(self, found: list[Any], error: str) -> None:
        super().__init__(error)
        self.found, self.error = found, error


def _pulled(framing: Framing[Any], inbox: Inbox, eof: bool) -> list[Any]:
    """Take frames until more is needed."""
    found: list[Any] = []
    while True:
        held = len(inbox) + framing.held_bytes
        try:
            frame = framing.next_frame(inbox, eof)
        except ReactorError as error:
            raise _Ended(found, type(error).__name__) from None
        left = len(inbox) + framing.held_bytes
        if isinstance(frame, Need):
            if left != held:
                raise FramingMistake(f"{framing!r} has consumed {held - left} bytes and returned a Need: they are lost")
            return found
        if left >= held:
            raise FramingMistake(f"{framing!r} has made {frame!r} out of no bytes: it would do so for ever")
        found.append(_comparable(framing, frame))


def _check_goes_on(framing: Framing[Any], inbox: Inbox) -> None:
    """A framing has said that this is no whole frame yet."""
    held, again = inbox.peek(len(inbox)), Inbox(inbox.max_bytes)
    again.feed(held)
    try:
        found: Any = _pulled(framing.fresh(), again, False)
    except _Ended as ended:
        found = ended.error
    if found:
        raise FramingMistake(f"{framing!r} says that its frame goes on in {held!r}, of which it makes {found!r}")


def _check_end(framing: Framing[Any], data: bytes, frames: list[Any]) -> None:
    """At the end of the stream: nothing left is EndOfStream, something left an error; the frames before it count."""
    found, error = cut(framing, [data])
    if found != frames[: len(found)] and not isinstance(framing, Raw):
        raise FramingMistake(
            f"{framing!r} makes {found!r} of {data!r} and the end of the stream; more bytes make {frames!r}"
        )
    if error == EndOfStream.__name__ and data and not found:
        raise FramingMistake(f"{framing!r} says EndOfStream at the end of {data!r}, which then nobody has seen")


def _every_split(data: bytes) -> Iterator[list[bytes]]:
    yield [data]
    yield [data[place : place + 1] for place in range(len(data))]
    for place in range(1, len(data)):
        yield [data[:place], data[place:]]


def _comparable(framing: Framing[Any], frame: Any) -> Any:
    """Frames may be objects that know no equality, but they can be sent again."""
    if isinstance(frame, (bytes, str, int, float, tuple, list, dict)) or not framing.encodes:
        return frame
    return framing.encode(frame)


def _joined(framing: Framing[Any], frames: list[Any]) -> list[Any]:
    """The frames of Raw are the pieces themselves: of those, only the bytes must be the same."""
    return [b"".join(frames)] if isinstance(framing, Raw) else frames


def _told(found: tuple[list[Any], str]) -> str:
    return f"{found[0]!r} and {found[1]}"
