"""The contract of framings, held against every one of them: however the bytes are split, the frames are the same."""

import json
import re
import tracemalloc
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import combinations, pairwise, takewhile
from typing import Any, NamedTuple, Self

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import (
    EndOfStream,
    Fixed,
    Framing,
    FramingError,
    HttpRequests,
    Inbox,
    LengthPrefixed,
    Lines,
    Need,
    Netstring,
    Raw,
    Until,
)
from reactor.limits import DEFAULTS
from tests.properties import tries


class Counted(Framing[tuple[int, bytes]]):
    """A framing of a user's own, with scan state: a byte that counts the rows' frames, a length, a body."""

    def __init__(self) -> None:
        self.frames = 0

    def next_frame(self, inbox: Inbox, eof: bool) -> tuple[int, bytes] | Need:
        held = len(inbox)
        body_bytes = inbox.peek(1)[0] if held else 0
        if held and held >= 1 + body_bytes:
            self.frames += 1
            return self.frames, inbox.take(1 + body_bytes)[1:]
        return self._incomplete(inbox, eof, Need.exactly(1 + body_bytes))

    def encode(self, frame: tuple[int, bytes]) -> bytes:
        return bytes([len(frame[1])]) + frame[1]

    def fresh(self) -> Self:
        return type(self)()


class Case(NamedTuple):
    framing: Framing[Any]
    frames: list[Any]
    body: st.SearchStrategy[Any]  # further frames that it can carry


def bodies(**keywords: Any) -> st.SearchStrategy[bytes]:
    return st.binary(max_size=20, **keywords)


def without(delimiter: bytes, keep_end: bool, most: int = 12) -> st.SearchStrategy[bytes]:
    """Frames in which the delimiter is at the end and nowhere else, though parts of it may be."""
    parts = st.lists(st.sampled_from([b"a", b"-", b"\r", b"\n", b"\0"]), max_size=most).map(b"".join)
    whole = parts.map(lambda body: (body + delimiter).partition(delimiter)[0] + delimiter)
    return whole if keep_end else whole.map(lambda frame: frame.removesuffix(delimiter))


def request_with(body: bytes) -> bytes:
    """A request with this body; or, if the body is that long, with it as a chunk."""
    if len(body) < 10:
        return b"PUT / HTTP/1.0\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)
    return b"PUT / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n%x;e\r\n%b\r\n0\r\nT: x\r\n\r\n" % (len(body), body)


CASES = {
    "Lines": Case(Lines(), [b"one\n", b"\n", b"three\r\n", b"4\n"], without(b"\n", True)),
    "Lines, keep_end=False": Case(Lines(keep_end=False), [b"one", b"", b"three\r", b"4"], without(b"\n", False)),
    "Lines, max_bytes=5": Case(Lines(max_bytes=5), [b"12345\n", b"\n", b"1234\n"], st.just(b"12345\n")),
    "Until CRLF": Case(Until(b"\r\n"), [b"a\r\r\n", b"\r\n", b"b\nc\r\n"], without(b"\r\n", True)),
    "Until CRLF, keep_end=False": Case(Until(b"\r\n", keep_end=False), [b"a\r", b"", b"b\nc"], without(b"\r\n", False)),
    "Until --": Case(Until(b"--", keep_end=False), [b"a", b"", b"b-c"], without(b"--", False)),
    "Until blank line": Case(Until(b"\r\n\r\n"), [b"a: b\r\nc: d\r\n\r\n", b"e\r\n\r\n"], without(b"\r\n\r\n", True)),
    "Until NUL": Case(Until(b"\0", keep_end=False, max_bytes=9), [b"x" * 9, b"", b"\n"], without(b"\0", False, 9)),
    "Fixed(1)": Case(Fixed(1), [b"a", b"\n", b"\0"], st.binary(min_size=1, max_size=1)),
    "Fixed(5)": Case(Fixed(5), [b"12345", b"a\nb\nc", b"\0\0\0\0\0"], st.binary(min_size=5, max_size=5)),
    **{
        f"LengthPrefixed({width}, {order})": Case(
            LengthPrefixed(width, byteorder=order), [b"ab", b"", b"\n\0\n", b"x"], bodies()
        )
        for width in (1, 2, 4, 8)
        for order in ("big", "little")
    },
    "Netstring": Case(Netstring(), [b"hello", b"", b"0123456789ab", b"5:a,b,"], bodies()),
    "Netstring, max_bytes=9": Case(Netstring(max_bytes=9), [b"123456789", b"", b",:"], st.binary(max_size=9)),
    "HttpRequests": Case(
        HttpRequests(),
        [b"GET /\r\n\r\n", request_with(b"\r\n\r\n"), request_with(b"0\r\n\r\n01234")],
        bodies().map(request_with),
    ),
    "mapped": Case(
        LengthPrefixed(2).map(json.loads, lambda value: json.dumps(value).encode()),
        [{"a": 1}, [], "x"],
        st.recursive(st.none() | st.integers() | st.text(max_size=5), st.lists, max_leaves=5),
    ),
    "mapped twice": Case(
        Lines(keep_end=False).map(bytes.decode, str.encode).map(int, str), [1, 22, 333], st.integers(-999, 999)
    ),
    "stateful": Case(Counted(), [(1, b"ab"), (2, b""), (3, b"xyz")], bodies()),
    "stateful, mapped": Case(
        Counted().map(lambda frame: frame[1], lambda body: (0, body)), [b"ab", b"", b"xyz"], bodies()
    ),
}

every_framing = pytest.mark.parametrize("case", CASES.values(), ids=CASES)
split_ahead = pytest.mark.parametrize("split_ahead", [1, 32], ids=["one", "ahead"])


def wire_of(case: Case) -> bytes:
    return b"".join(map(case.framing.encode, case.frames))


def frames_of(framing: Framing[Any], inbox: Inbox, eof: bool = False) -> Iterator[Any]:
    """Take frames until it needs more; nothing may be consumed without a frame."""
    while True:
        held = len(inbox)
        frame = framing.next_frame(inbox, eof)
        if isinstance(frame, Need):
            assert not eof, "at the end of the stream there is nothing left to need"
            assert len(inbox) == held, "consumed without producing"
            assert held < frame.total_bytes or not frame.total_bytes, "it needs what it has"
            return
        assert len(inbox) < held, "produced without consuming"
        yield frame


def until_error(framing: Framing[Any], inbox: Inbox, eof: bool = False) -> tuple[list[Any], Exception | None]:
    """The frames before an error, and the error."""
    got = []
    try:
        for frame in frames_of(framing, inbox, eof):
            got.append(frame)  # noqa: PERF402  (those before the error count)
    except (FramingError, EndOfStream) as error:
        return got, error
    return got, None


def cut(framing: Framing[Any], pieces: Sequence[bytes], split_ahead: int = 32) -> list[Any]:
    """All frames of a stream that arrives in these pieces and then ends."""
    framing, inbox = framing.fresh(), Inbox(DEFAULTS.frame_bytes)
    inbox.split_ahead = split_ahead
    got: list[Any] = []
    for piece in filter(None, pieces):
        inbox.feed(piece)
        got += frames_of(framing, inbox)
    with pytest.raises(EndOfStream) as caught:
        got += frames_of(framing, inbox, eof=True)
    assert caught.value.cause == "peer"
    return got


# -- every split ------------------------------------------------------------------------------------------------------


@every_framing
@split_ahead
def test_every_split_gives_the_same_frames(case: Case, split_ahead: int) -> None:
    wire = wire_of(case)
    for ways in (0, 1, 2):
        for places in combinations(range(1, len(wire)), ways):
            bounds = [0, *places, len(wire)]
            pieces = [wire[bounds[n] : bounds[n + 1]] for n in range(ways + 1)]
            assert cut(case.framing, pieces, split_ahead) == case.frames, pieces


@every_framing
@split_ahead
def test_byte_by_byte_too(case: Case, split_ahead: int) -> None:
    wire = wire_of(case)
    assert cut(case.framing, [bytes([byte]) for byte in wire], split_ahead) == case.frames


@split_ahead
@pytest.mark.parametrize("max_bytes", [1, 3, 65536])
def test_raw_hands_over_whatever_came(max_bytes: int, split_ahead: int) -> None:
    wire = b"abc\ndef\n\0"
    for places in combinations(range(1, len(wire)), 2):
        pieces = [wire[: places[0]], wire[places[0] : places[1]], wire[places[1] :]]
        frames = cut(Raw(max_bytes), pieces, split_ahead)
        assert b"".join(frames) == wire
        assert max(map(len, frames)) <= max_bytes
        if max_bytes > len(wire):
            assert frames == pieces


@every_framing
@tries(30)
@given(data=st.data())
def test_decoding_undoes_encoding(case: Case, data: st.DataObject) -> None:
    frames = data.draw(st.lists(case.body, max_size=8))
    if case is CASES["stateful"]:
        frames = list(enumerate(frames, 1))
    wire = b"".join(map(case.framing.encode, frames))
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4)))
    bounds = [0, *places, len(wire)]
    pieces = [wire[bounds[n] : bounds[n + 1]] for n in range(len(bounds) - 1)]
    assert cut(case.framing, pieces, data.draw(st.sampled_from([1, 2, 32]))) == frames


# -- anything at all --------------------------------------------------------------------------------------------------


def lines_of(delimiter: bytes) -> Callable[[bytes, int], tuple[list[bytes], bool]]:
    """The frames of a stream of lines, and whether what follows them can still become one: as plainly as can be said."""

    def plain(wire: bytes, most: int) -> tuple[list[bytes], bool]:
        *frames, rest = wire.split(delimiter)
        fine = list(takewhile(lambda frame: len(frame) <= most, frames))
        return fine, fine == frames and len(rest) < most + len(delimiter)

    return plain


def fixed(wire: bytes, most: int) -> tuple[list[bytes], bool]:
    return [wire[at : at + 5] for at in range(0, len(wire) - 4, 5)], True


def prefixed(width: int, order: Any) -> Callable[[bytes, int], tuple[list[bytes], bool]]:
    def plain(wire: bytes, most: int) -> tuple[list[bytes], bool]:
        frames: list[bytes] = []
        while len(wire) >= width:
            size = int.from_bytes(wire[:width], order)
            if size > most:
                return frames, False
            if len(wire) < width + size:
                break
            frames.append(wire[width : width + size])
            wire = wire[width + size :]
        return frames, True

    return plain


def netstrings(wire: bytes, most: int) -> tuple[list[bytes], bool]:
    frames: list[bytes] = []
    while match := re.match(rb"(0|[1-9][0-9]*):", wire):
        size = int(match[1])
        body, end = wire[match.end() : match.end() + size], wire[match.end() + size :][:1]
        if size > most or end not in (b"", b","):
            return frames, False
        if not end:
            return frames, True
        frames.append(body)
        wire = wire[match.end() + size + 1 :]
    return frames, re.fullmatch(rb"|0|[1-9][0-9]*", wire) is not None and len(wire) <= len(str(most))


PLAIN: dict[str, tuple[Callable[[int], Framing[bytes]], Callable[[bytes, int], tuple[list[bytes], bool]]]] = {
    "Lines": (lambda most: Lines(max_bytes=most, keep_end=False), lines_of(b"\n")),
    "Until CRLF": (lambda most: Until(b"\r\n", max_bytes=most, keep_end=False), lines_of(b"\r\n")),
    "Until 1:": (lambda most: Until(b"1:", max_bytes=most, keep_end=False), lines_of(b"1:")),
    "Fixed(5)": (lambda most: Fixed(5), fixed),
    "LengthPrefixed(1)": (lambda most: LengthPrefixed(1, max_bytes=most), prefixed(1, "big")),
    "LengthPrefixed(2, little)": (
        lambda most: LengthPrefixed(2, byteorder="little", max_bytes=most), prefixed(2, "little"),
    ),
    "LengthPrefixed(4)": (lambda most: LengthPrefixed(4, max_bytes=most), prefixed(4, "big")),
    "Netstring": (lambda most: Netstring(max_bytes=most), netstrings),
}  # fmt: skip

every_plain = pytest.mark.parametrize(("make", "plain"), PLAIN.values(), ids=PLAIN)
SOUP = st.lists(
    st.one_of(
        st.sampled_from([b"\n", b"\r\n", b"\r", b"0", b"1", b"2:", b"3:abc,", b"0:,", b":", b",", b"10:", b"x", b"abc"]),
        st.integers(0, 12).map(lambda size: bytes([size]) + b"x" * size),
        st.integers(0, 12).map(lambda size: bytes([size, 0]) + b"x" * size),
        st.integers(0, 12).map(lambda size: bytes([0, 0, 0, size]) + b"x" * size),
    ),
    max_size=12,
).map(b"".join)


def judged(framing: Framing[Any], pieces: Sequence[bytes], split_ahead: int) -> tuple[list[Any], bool, int]:
    """The frames of a stream that arrives in these pieces, whether it can go on, and how much of it was not consumed."""
    inbox = Inbox(DEFAULTS.frame_bytes)
    inbox.split_ahead = split_ahead
    got: list[Any] = []
    for at, piece in enumerate(pieces):
        inbox.feed(piece)
        frames, error = until_error(framing, inbox)
        got += frames
        if error is not None:
            assert isinstance(error, FramingError)
            return got, False, len(inbox) + sum(map(len, pieces[at + 1 :]))
    left = len(inbox)
    _, end = until_error(framing, inbox, eof=True)
    assert isinstance(end, FramingError if left else EndOfStream)
    assert len(inbox) == left
    return got, True, left


@every_plain
@tries(60)
@given(SOUP, st.lists(st.integers(0, 80), max_size=6), st.integers(1, 12), st.sampled_from([1, 2, 32]))
def test_whatever_arrives_is_cut_as_plain_code_cuts_it(
    make: Any, plain: Any, wire: bytes, places: list[int], most: int, split_ahead: int
) -> None:
    bounds = [0, *sorted(place for place in places if place < len(wire)), len(wire)]
    pieces = [wire[start:end] for start, end in pairwise(bounds)]
    frames, goes_on, left = judged(make(most).fresh(), pieces, split_ahead)
    assert (frames, goes_on) == plain(wire, most)
    encoded = b"".join(map(make(most).encode, frames))
    assert wire == encoded + wire[len(wire) - left :], "what was not consumed is the rest"


@every_plain
def test_the_maximum_is_exact_at_every_size(make: Any, plain: Any) -> None:
    for most in range(1, 14):
        for size in range(most + 3):
            wire = make(most).encode(b"x" * (5 if plain is fixed else size))
            assert judged(make(most), [wire], 32)[:2] == plain(wire, most)
            if plain is not fixed:
                assert bool(plain(wire, most)[0]) == (size <= most), "the plain code has a maximum, too"


# -- the end of the stream --------------------------------------------------------------------------------------------


@every_framing
@split_ahead
def test_the_stream_ends_at_every_offset(case: Case, split_ahead: int) -> None:
    wire, boundaries = b"", [0]
    for frame in case.frames:
        wire += case.framing.encode(frame)
        boundaries.append(len(wire))
    for end in range(len(wire) + 1):
        inbox = Inbox(DEFAULTS.frame_bytes)
        inbox.split_ahead = split_ahead
        if end:
            inbox.feed(wire[:end])
        inside = end - max(boundary for boundary in boundaries if boundary <= end)
        got, error = until_error(case.framing.fresh(), inbox, eof=True)
        assert got == case.frames[: len(got)]
        assert boundaries[len(got)] == end - inside
        if inside:
            assert isinstance(error, FramingError)
            assert (error.offset, len(inbox)) == (inside, inside)
            assert "the stream ended inside a frame" in str(error)
        else:
            assert isinstance(error, EndOfStream)


def test_raw_bytes_are_their_own_encoding() -> None:
    frame = b"as it is\n"
    assert Raw().encode(frame) is frame
    assert Raw().map(bytes.upper, bytes.lower).encode(b"AS IT IS\n") == frame


def test_a_raw_stream_ends_between_any_two_bytes() -> None:
    inbox = Inbox(10)
    inbox.feed(b"abc")
    assert Raw(2).next_frame(inbox, True) == b"ab"
    assert Raw(2).next_frame(inbox, True) == b"c"
    with pytest.raises(EndOfStream):
        Raw(2).next_frame(inbox, True)


# -- the maximum ------------------------------------------------------------------------------------------------------

# Framing, the largest legal frame, and one byte more; and from how many bytes of the second on there is no hope.
MAXIMA = [
    (Lines(max_bytes=10), b"x" * 10 + b"\n", b"x" * 11 + b"\n", 11),
    (Lines(max_bytes=10, keep_end=False), b"x" * 10 + b"\n", b"x" * 11 + b"\n", 11),
    (Until(b"\r\n", max_bytes=10), b"x" * 10 + b"\r\n", b"x" * 11 + b"\r\n", 12),
    (Until(b"--end--", max_bytes=10), b"x" * 10 + b"--end--", b"x" * 11 + b"--end--", 17),
    (LengthPrefixed(1, max_bytes=10), b"\x0a" + b"x" * 10, b"\x0b" + b"x" * 11, 1),
    (LengthPrefixed(2, max_bytes=10), b"\0\x0a" + b"x" * 10, b"\0\x0b" + b"x" * 11, 2),
    (LengthPrefixed(4, max_bytes=10), b"\0\0\0\x0a" + b"x" * 10, b"\0\0\0\x0b" + b"x" * 11, 4),
    (LengthPrefixed(4, byteorder="little", max_bytes=10), b"\x0a\0\0\0" + b"x" * 10, b"\x0b\0\0\0" + b"x" * 11, 4),
    (LengthPrefixed(8, max_bytes=10), b"\0" * 7 + b"\x0a" + b"x" * 10, b"\0" * 7 + b"\x0b" + b"x" * 11, 8),
    (Netstring(max_bytes=10), b"10:" + b"x" * 10 + b",", b"11:" + b"x" * 11 + b",", 3),
    (Netstring(max_bytes=10), b"10:" + b"x" * 10 + b",", b"100:" + b"x" * 100 + b",", 3),
    (Netstring(max_bytes=9), b"9:" + b"x" * 9 + b",", b"10:" + b"x" * 10 + b",", 2),
]


def unlimited(framing: Framing[Any]) -> Framing[Any]:
    """The same framing, but bounded by the limit of its row."""
    if isinstance(framing, Until):
        return Until(framing.delimiter, keep_end=framing.keep_end)
    if isinstance(framing, LengthPrefixed):
        return LengthPrefixed(framing.header_bytes, byteorder=framing.byteorder)  # type: ignore[arg-type]
    return Netstring()


@pytest.mark.parametrize(("framing", "fits", "too_long", "hopeless_at"), MAXIMA)
@pytest.mark.parametrize("of_the_row", [False, True], ids=["max_bytes", "Limits.frame_bytes"])
@pytest.mark.parametrize("mapped", [False, True], ids=["plain", "mapped"])
def test_the_maximum_is_enforced_before_the_frame_is_complete(
    framing: Any, fits: bytes, too_long: bytes, hopeless_at: int, of_the_row: bool, mapped: bool
) -> None:
    frame_bytes = 65536
    if of_the_row:
        framing, frame_bytes = unlimited(framing), framing.max_bytes
    if mapped:
        framing = framing.map(bytes, bytes)
    inbox = Inbox(frame_bytes)
    inbox.feed(fits)
    assert not isinstance(framing.next_frame(inbox, False), Need)
    for step in (1, len(too_long)):
        inbox = Inbox(frame_bytes)
        for at in range(0, len(too_long), step):
            inbox.feed(too_long[at : at + step])
            if len(inbox) < hopeless_at:
                assert isinstance(framing.next_frame(inbox, False), Need)
                continue
            with pytest.raises(FramingError, match="limit is") as caught:
                framing.next_frame(inbox, False)
            assert caught.value.limit in (9, 10)
            break
        assert len(inbox) == (hopeless_at if step == 1 else len(too_long)), "an error consumes nothing"


@split_ahead
def test_short_frames_before_a_long_one_are_delivered(split_ahead: int) -> None:
    inbox = Inbox(10)
    inbox.split_ahead = split_ahead
    inbox.feed(b"a\nb\n" + b"x" * 20)
    got, error = until_error(Lines(), inbox)
    assert got == [b"a\n", b"b\n"]
    assert isinstance(error, FramingError)


LONG = [(LengthPrefixed, 4, b"\xff" * 4), (LengthPrefixed, 8, b"\xff" * 8), (Netstring, None, b"9" * 20 + b":")]


@pytest.mark.parametrize(("make", "width", "header"), LONG)
@pytest.mark.parametrize("is_legal", [False, True])
def test_an_announced_length_allocates_nothing(make: Any, width: int | None, header: bytes, is_legal: bool) -> None:
    max_bytes = 1 << 70 if is_legal else None
    framing = make(max_bytes=max_bytes) if width is None else make(width, max_bytes=max_bytes)
    inbox = Inbox(65536)
    inbox.feed(header)
    tracemalloc.start()
    try:
        if is_legal:
            assert framing.next_frame(inbox, False).total_bytes > 0xFFFFFFFF
        else:
            with pytest.raises(FramingError):
                framing.next_frame(inbox, False)
        assert tracemalloc.get_traced_memory()[1] < 20_000
    finally:
        tracemalloc.stop()


def feed_and_try(framing: Framing[Any], inbox: Inbox, pieces: list[bytes]) -> None:
    for piece in pieces:
        inbox.feed(piece)
        assert isinstance(framing.next_frame(inbox, False), Need)


@pytest.mark.parametrize(
    ("wire", "reason"),
    [
        (b":", "starts with its length"),
        (b"a", "is no length"),
        (b"-1:", "is no length"),
        (b"+1:", "is no length"),
        (b" 1:a,", "is no length"),
        (b"1 :a,", "is no length"),
        (b"1_0:", "is no length"),
        (b"\xb2:", "is no length"),
        (b"01:a,", "is no length"),
        (b"00:,", "is no length"),
        (b"1:ab", "ends with a comma"),
        (b"0:a", "ends with a comma"),
        (b"123456", "no colon"),
    ],
)
def test_what_is_no_netstring(wire: bytes, reason: str) -> None:
    for pieces in ([wire], [bytes([byte]) for byte in wire]):
        inbox = Inbox(65536)
        with pytest.raises(FramingError, match=reason):
            feed_and_try(Netstring(max_bytes=99999), inbox, pieces)


# -- needs ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("framing", "wire", "text", "total_bytes"),
    [
        (Lines(), b"", "until b'\\n'", 0),
        (Lines(), b"abc", "until b'\\n'", 0),
        (Until(b"\r\n"), b"abc\r", "until b'\\r\\n'", 0),
        (Fixed(5), b"", "exactly 5", 5),
        (Fixed(5), b"abc", "exactly 5", 5),
        (LengthPrefixed(4), b"", "exactly 4", 4),
        (LengthPrefixed(4), b"\0\0\0", "exactly 4", 4),
        (LengthPrefixed(4), b"\0\0\1\0", "exactly 260", 260),
        (LengthPrefixed(4), b"\0\0\1\0abc", "exactly 260", 260),
        (Netstring(), b"", "until b':'", 0),
        (Netstring(), b"51", "until b':'", 0),
        (Netstring(), b"512:", "exactly 517", 517),
        (Netstring(), b"512:abc", "exactly 517", 517),
        (Raw(), b"", "more", 0),
        (Lines().map(int), b"1", "until b'\\n'", 0),
    ],
)
def test_a_need_says_what_is_missing(framing: Framing[Any], wire: bytes, text: str, total_bytes: int) -> None:
    inbox = Inbox(65536)
    if wire:
        inbox.feed(wire)
    need = framing.next_frame(inbox, False)
    assert isinstance(need, Need)
    assert (str(need), need.total_bytes) == (text, total_bytes)


def test_a_need_knows_the_limit_of_its_framing() -> None:
    for framing, limit in [(Lines(max_bytes=80), 80), (Lines(), None), (Netstring(max_bytes=9), 9), (Netstring(), 10)]:
        need = framing.next_frame(Inbox(10), False)
        assert isinstance(need, Need)
        assert need.limit == limit


@every_framing
def test_a_need_is_not_too_large(case: Case) -> None:
    """Another try makes sense with `total_bytes`, and with fewer there is no frame: it may size a receive."""
    wire = case.framing.encode(case.frames[0])
    needs = []
    for size in range(len(wire)):
        inbox = Inbox(65536)
        if size:
            inbox.feed(wire[:size])
        needs.append(case.framing.fresh().next_frame(inbox, False))
    for size, need in enumerate(needs):
        assert isinstance(need, Need)
        assert size < need.total_bytes <= len(wire) or need.total_bytes == 0


# -- the rest of the interface ----------------------------------------------------------------------------------------


@every_framing
def test_nothing_is_answered_to_a_refused_frame(case: Case) -> None:
    if not isinstance(case.framing, HttpRequests):  # a protocol that has a word for it
        assert case.framing.refusal(FramingError("no frame")) == b""


def test_a_mapped_framing_refuses_like_the_one_inside() -> None:
    class Polite(Lines):
        def refusal(self, error: Any) -> bytes:
            return b"-ERR " + error.reason.encode() + b"\r\n"

    assert Polite().map(int).map(str).refusal(FramingError("no frame")) == b"-ERR no frame\r\n"


def test_a_fresh_framing_has_no_state_of_another_row() -> None:
    for framing in (Lines(), Until(b"--"), Fixed(5), LengthPrefixed(4), Netstring(), Raw(), Lines().map(int)):
        assert framing.fresh() is framing
    for prototype in (HttpRequests(), HttpRequests().map(bytes)):
        assert prototype.fresh() is not prototype
    for prototype in (Counted(), Counted().map(lambda frame: frame)):
        one, other = prototype.fresh(), prototype.fresh()
        assert len({id(framing) for framing in (prototype, one, other)}) == 3
        assert cut(one, [b"\0\0"]) == [(1, b""), (2, b"")]
        assert cut(other, [b"\0"]) == [(1, b"")]


def test_what_a_decoder_raises_says_which_frame_it_refused() -> None:
    inbox = Inbox(100)
    inbox.feed(b"1\nx\n2\n")
    numbers = Lines(keep_end=False).map(int)
    assert numbers.next_frame(inbox, False) == 1
    with pytest.raises(FramingError, match="ValueError: invalid literal") as caught:
        numbers.next_frame(inbox, False)
    assert isinstance(caught.value.__cause__, ValueError)


def test_a_decoder_without_an_encoder_has_no_way_back() -> None:
    with pytest.raises(TypeError, match=r"map\(decode, encode\)"):
        Lines().map(int).encode(5)


def test_a_framing_must_say_how_it_frames() -> None:
    class Empty(Framing[bytes]):
        pass

    with pytest.raises(NotImplementedError, match="Empty does not define next_frame"):
        Empty().next_frame(Inbox(1), False)
    with pytest.raises(NotImplementedError, match="Empty does not define encode"):
        Empty().encode(b"")


@pytest.mark.parametrize(
    "make",
    [
        lambda: Until(b""),
        lambda: Until(b"x", max_bytes=0),
        lambda: Lines(max_bytes=-1),
        lambda: Fixed(0),
        lambda: Fixed(-1),
        lambda: LengthPrefixed(3),  # type: ignore[arg-type]
        lambda: LengthPrefixed(4, max_bytes=0),
        lambda: Netstring(max_bytes=0),
        lambda: Raw(0),
    ],
)
def test_nonsense_is_refused_at_once(make: Callable[[], object]) -> None:
    with pytest.raises(ValueError):
        make()


@pytest.mark.parametrize(
    ("framing", "frame"),
    [
        (Fixed(5), b"1234"),
        (Fixed(5), b"123456"),
        (LengthPrefixed(1), b"x" * 256),
        (LengthPrefixed(2), b"x" * 65536),
        (Lines(), b"two\nlines"),
        (Lines(), b"two\nlines\n"),
        (Lines(keep_end=False), b"two\n"),
        (Until(b"\r\n"), b"Location: x\r\nSet-Cookie: y"),
        (Until(b"--", keep_end=False), b"x-"),  # x--- would be read as x and -
    ],
)
def test_what_would_be_read_as_something_else_is_not_encoded(framing: Framing[Any], frame: bytes) -> None:
    with pytest.raises(FramingError):
        framing.encode(frame)


def test_a_missing_end_is_added() -> None:
    assert Lines().encode(b"x") == Lines().encode(b"x\n") == Lines(keep_end=False).encode(b"x") == b"x\n"


# -- switching --------------------------------------------------------------------------------------------------------

STATELESS = [name for name in CASES if "stateful" not in name]


@tries()
@given(data=st.data())
def test_switching_the_framing_keeps_what_is_unread(data: st.DataObject) -> None:
    script = [
        (CASES[name].framing.fresh(), data.draw(CASES[name].body))
        for name in data.draw(st.lists(st.sampled_from(STATELESS), min_size=1, max_size=8))
    ]
    wire = b"".join(framing.encode(frame) for framing, frame in script) + b"the rest"
    inbox, at = Inbox(DEFAULTS.frame_bytes), 0
    inbox.split_ahead = data.draw(st.sampled_from([1, 2, 32]))
    for framing, frame in script:
        while isinstance(got := framing.next_frame(inbox, False), Need):
            size = data.draw(st.integers(1, len(wire)))
            assert at < len(wire), "all has arrived"
            inbox.feed(wire[at : at + size])
            at = min(at + size, len(wire))
        assert got == frame
    if at < len(wire):
        inbox.feed(wire[at:])
    assert b"".join(frames_of(Raw(), inbox)) == b"the rest"


@pytest.mark.parametrize("framing", [Fixed(3), Until(b"|"), LengthPrefixed(1), Netstring(), Raw(2), Lines(max_bytes=1)])
def test_lines_that_were_cut_ahead_go_back(framing: Framing[Any]) -> None:
    lines = b"".join(b"%d\n" % n for n in range(10, 60))
    inbox = Inbox(65536)
    inbox.feed(lines)
    assert Lines().next_frame(inbox, False) == b"10\n"
    assert inbox.ahead
    with suppress(FramingError):  # what was put back need not be a frame of this framing
        framing.next_frame(inbox, False)
    left = len(inbox)
    assert left >= len(lines) - 3 - 50
    assert inbox.take(1000) == lines[len(lines) - left :]
