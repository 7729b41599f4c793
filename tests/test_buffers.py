"""Inbox and outbox: nothing lost, nothing twice, O(n) in all, and memory given back.

"O(n)" is counted, not timed: how many bytes were copied, and how many were looked at in search of a delimiter.
"""

import random
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reactor.buffers import AHEAD_BYTES, ALONE_BYTES, JOIN_BYTES, SPLIT_AHEAD, Inbox, consume, gather
from reactor.errors import FramingError
from tests.properties import tries

# -- inbox ------------------------------------------------------------------------------------------------------------


def filled(*pieces: bytes, max_bytes: int = 65536, split_ahead: int = SPLIT_AHEAD) -> Inbox:
    inbox = Inbox(max_bytes)
    inbox.split_ahead = split_ahead
    for piece in pieces:
        inbox.feed(piece)
    return inbox


def rest(inbox: Inbox) -> bytes:
    """All that is left, also of what was cut ahead."""
    size = len(inbox)
    left = inbox.take(size + 1)
    assert (len(left), len(inbox)) == (size, 0)
    return left


def test_what_is_fed_is_taken_in_order() -> None:
    inbox = filled(b"abc", b"def", b"gh")
    assert len(inbox) == 8
    assert inbox.peek(4) == b"abcd"
    assert inbox.peek(99) == b"abcdefgh"
    assert [inbox.take(n) for n in (0, 2, 5, 9, 9)] == [b"", b"ab", b"cdefg", b"h", b""]
    assert len(inbox) == 0
    assert inbox.peek(3) == b""
    inbox.feed(b"again")
    assert rest(inbox) == b"again"


def test_frames_are_bytes_whatever_they_were_cut_from() -> None:
    for inbox in (filled(b"a\nb\nc\nd"), filled(b"a\n", b"b\nc\nd")):
        cut = [inbox.take_until(b"\n", 10), inbox.take_until(b"\n", 10), inbox.peek(2), inbox.take(2), inbox.take(9)]
        assert cut == [b"a\n", b"b\n", b"c\n", b"c\n", b"d"]
        assert {type(piece) for piece in cut} == {bytes}


def test_lines_are_cut_ahead_and_counted() -> None:
    inbox = filled(b"".join(b"%d\r\n" % n for n in range(100)), split_ahead=8)
    size = len(inbox)
    assert inbox.take_until(b"\r\n", 1000) == b"0\r\n"
    assert inbox.ahead == [b"%d\r\n" % n for n in (7, 6, 5, 4, 3, 2, 1)]
    assert len(inbox) == size - 3
    assert [inbox.take_until(b"\r\n", 1000) for _ in range(8)] == [b"%d\r\n" % n for n in range(1, 9)]
    assert rest(inbox) == b"".join(b"%d\r\n" % n for n in range(9, 100))


@pytest.mark.parametrize(
    "ask",
    [
        lambda inbox: inbox.peek(0),
        lambda inbox: inbox.find(b"|"),
        lambda inbox: inbox.take_until(b"|", 1000),
        lambda inbox: inbox.take(0),
        lambda inbox: inbox.rejoin(),
    ],
)
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n"])
def test_whoever_asks_for_anything_else_gets_what_was_cut_ahead(
    ask: Callable[[Inbox], object], delimiter: bytes
) -> None:
    inbox = filled(delimiter.join([b"a", b"bb", b"", b"ccc", b"rest"]))
    assert inbox.take_until(delimiter, 1000) == b"a" + delimiter
    assert len(inbox.ahead) == 3
    held = len(inbox)
    ask(inbox)
    assert (inbox.ahead, len(inbox)) == ([], held)
    assert rest(inbox) == delimiter.join([b"bb", b"", b"ccc", b"rest"])


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n"])
def test_what_is_cut_at_once_is_what_would_have_been_taken(delimiter: bytes) -> None:
    inbox = Inbox(1000)
    lines = [b"%d" % n + delimiter for n in range(SPLIT_AHEAD)]
    assert inbox.cut(b"".join(lines), delimiter, 1000) == lines[0]
    assert (inbox.ahead, inbox.size) == (lines[:0:-1], 0)
    assert [inbox.take_until(delimiter, 1000) for _ in lines] == [*lines[1:], None]
    assert inbox.cut(lines[0], delimiter, 1000) is lines[0], "the only one is not copied"
    assert len(inbox) == 0


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"a\nb", "the last line has not come"),
        (b"ab", "no line has come"),
        (b"123456\n", "it may be too long"),
        (b"1\n3456\n", "one of them may be too long"),
        (b"\n" * 3, "there are more than may be cut ahead"),
    ],
)
def test_what_is_not_simple_is_not_cut(data: bytes, why: str) -> None:
    inbox = Inbox(1000)
    inbox.split_ahead = 2
    assert inbox.cut(data, b"\n", 5) is None, why
    assert (len(inbox), inbox.ahead) == (0, [])


def test_a_smaller_maximum_is_not_outwitted_by_what_was_cut_ahead() -> None:
    inbox = filled(b"a\nlonger\nb\n")
    assert inbox.take_until(b"\n", 1000) == b"a\n"
    with pytest.raises(FramingError, match="limit is 5 bytes"):
        inbox.take_until(b"\n", 5)
    assert inbox.take_until(b"\n", 6) == b"longer\n"
    assert inbox.take_until(b"\n", 1000) == b"b\n"


@pytest.mark.parametrize("delimiter", [b"\n", b"--end--"])
def test_the_maximum_of_a_search(delimiter: bytes) -> None:
    fits, too_long = b"x" * 10 + delimiter, b"x" * 11 + delimiter
    assert filled(fits + b"more").take_until(delimiter, 10) == fits
    with pytest.raises(FramingError) as caught:
        filled(too_long).take_until(delimiter, 10)
    assert (caught.value.offset, caught.value.limit) == (10, 10)
    inbox = filled(b"x" * (10 + len(delimiter) - 1))
    assert inbox.take_until(delimiter, 10) is None
    inbox.feed(b"x")  # whatever follows, the frame cannot fit any more
    with pytest.raises(FramingError):
        inbox.take_until(delimiter, 10)
    assert len(inbox) == 10 + len(delimiter)


@pytest.mark.parametrize("split_ahead", [1, 2])
@pytest.mark.parametrize("max_bytes", [1 << 20, AHEAD_BYTES, AHEAD_BYTES + 1])
@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n", b"--end--"])
def test_no_delimiter_hides_at_the_edge_of_what_one_split_looks_at(
    delimiter: bytes, max_bytes: int, split_ahead: int
) -> None:
    for size in range(split_ahead * AHEAD_BYTES - 10, split_ahead * AHEAD_BYTES + 3):
        frames = [b"x" * (size // split_ahead)] * split_ahead + [b"y", b"z" * 600, b""]
        inbox = filled(b"start" + delimiter + delimiter.join(frames) + delimiter, split_ahead=split_ahead)
        assert inbox.take_until(delimiter, max_bytes) == b"start" + delimiter
        for frame in frames:
            if len(frame) > max_bytes:
                with pytest.raises(FramingError):
                    inbox.take_until(delimiter, max_bytes)
                break
            assert inbox.take_until(delimiter, max_bytes) == frame + delimiter
        else:
            assert len(inbox) == 0


def test_clear_forgets_everything() -> None:
    inbox = filled(b"a\nb\nc\nrest")
    inbox.take_until(b"\n", 1000)
    inbox.clear()
    assert (len(inbox), inbox.ahead, inbox.peek(9)) == (0, [], b"")
    inbox.feed(b"no end here")
    assert inbox.take_until(b"\n", 1000) is None
    inbox.clear()
    inbox.feed(b"new\n and more")
    assert inbox.take_until(b"\n", 1000) == b"new\n", "the search begins anew"


DELIMITERS = st.sampled_from([b"\n", b"\r\n", b"||"])
# Small pieces, and now and then one that is larger than what a split looks at.
PIECES = st.lists(
    st.sampled_from([b"a", b"bc", b"\n", b"\n", b"\r", b"\r\n", b"||", b"x" * 10, b"y" * AHEAD_BYTES])
).map(b"".join)


class Received(RuleBasedStateMachine):
    """An inbox beside a plain string of bytes."""

    def __init__(self) -> None:
        super().__init__()
        self.inbox, self.model = Inbox(100), b""

    @initialize(split_ahead=st.sampled_from([1, 2, 32]))
    def split(self, split_ahead: int) -> None:
        self.inbox.split_ahead = split_ahead

    @rule(piece=PIECES)
    def feed(self, piece: bytes) -> None:
        self.inbox.feed(piece)
        self.model += piece

    @rule(n=st.integers(0, 12) | st.sampled_from([AHEAD_BYTES, 1 << 20]))
    def take(self, n: int) -> None:
        taken = self.inbox.take(n)
        assert (type(taken), taken) == (bytes, self.model[:n])
        self.model = self.model[n:]

    @rule(n=st.integers(0, 12) | st.sampled_from([AHEAD_BYTES, 1 << 20]))
    def peek(self, n: int) -> None:
        seen = self.inbox.peek(n)
        assert (type(seen), seen) == (bytes, self.model[:n])

    @rule(delimiter=DELIMITERS)
    def find(self, delimiter: bytes) -> None:
        assert self.inbox.find(delimiter) == self.model.find(delimiter)

    @rule(delimiter=DELIMITERS, max_bytes=st.sampled_from([4, 9, AHEAD_BYTES, 1 << 20]), times=st.integers(1, 5))
    def take_until(self, delimiter: bytes, max_bytes: int, times: int) -> None:
        for _ in range(times):
            head, found, tail = self.model.partition(delimiter)
            if (len(head) > max_bytes) if found else (len(self.model) >= max_bytes + len(delimiter)):
                with pytest.raises(FramingError) as caught:
                    self.inbox.take_until(delimiter, max_bytes)
                assert (caught.value.offset, caught.value.limit) == (max_bytes, max_bytes)
            else:
                taken = self.inbox.take_until(delimiter, max_bytes)
                assert (type(taken), taken) == ((bytes, head + delimiter) if found else (type(None), None))
                self.model = tail if found else self.model

    @precondition(lambda self: not self.model)
    @rule(piece=PIECES, delimiter=DELIMITERS, max_bytes=st.sampled_from([4, 9, AHEAD_BYTES, 1 << 20]))
    def cut(self, piece: bytes, delimiter: bytes, max_bytes: int) -> None:
        head, _, tail = piece.partition(delimiter)
        taken = self.inbox.cut(piece, delimiter, max_bytes)
        if taken is not None:
            assert (type(taken), taken) == (bytes, head + delimiter)
            assert len(head) <= max_bytes
            assert piece.endswith(delimiter)
            self.model = tail

    @rule()
    def rejoin(self) -> None:
        self.inbox.rejoin()
        assert self.inbox.ahead == []

    @rule()
    def clear(self) -> None:
        self.inbox.clear()
        self.model = b""

    @invariant()
    def it_holds_as_much(self) -> None:
        assert len(self.inbox) == len(self.model)
        assert len(self.inbox._data) <= 2 * self.inbox.size + 2 * self.inbox.split_ahead * AHEAD_BYTES

    def teardown(self) -> None:
        assert rest(self.inbox) == self.model


Received.TestCase.settings = tries()
TestReceived = Received.TestCase


# -- what it costs ----------------------------------------------------------------------------------------------------


class Spied(bytearray):
    """Counts how many bytes were searched."""

    searched = 0

    def find(self, sub: Any, start: Any = 0, *args: Any) -> int:  # type: ignore[override]
        found = super().find(sub, start, *args)
        self.searched += (found if found >= 0 else len(self)) - start
        return found

    def split(self, sep: Any = None, maxsplit: Any = -1) -> Any:
        self.searched += len(self)
        return super().split(sep, maxsplit)


def copied(inbox: Inbox, before: Any) -> int:
    """How many bytes were copied to make the inbox's present buffer, if it is another one than before."""
    return 0 if inbox._data is before else len(inbox._data)


@pytest.mark.parametrize("delimiter", [b"\n", b"\r\n.\r\n"])
def test_a_search_resumes_where_the_last_one_stopped(delimiter: bytes) -> None:
    inbox = filled(b"xx")
    assert inbox.take_until(delimiter, 1 << 20) is None
    inbox._data = spied = Spied(inbox._data)
    for _ in range(20_000):
        inbox.feed(b"x")
        assert inbox.take_until(delimiter, 1 << 20) is None
    assert inbox._data is spied, "the spy was replaced"
    assert spied.searched <= 20_000 * (len(delimiter) + 1)
    inbox.feed(delimiter)
    assert inbox.take_until(delimiter, 1 << 20) == b"x" * 20_002 + delimiter


def test_another_delimiter_is_searched_from_the_start() -> None:
    inbox = filled(b"a|b", b"c")
    assert inbox.find(b"\n") == -1
    assert inbox.find(b"|") == 1
    assert inbox.take_until(b"\n", 100) is None
    assert inbox.take_until(b"|", 100) == b"a|"
    assert inbox.take_until(b"\n", 100) is None
    inbox.feed(b"\n")
    assert inbox.take_until(b"\n", 100) == b"bc\n"


@pytest.mark.parametrize("count", [1_000, 10_000, 100_000])
def test_feeding_and_taking_small_pieces_copies_each_byte_a_bounded_number_of_times(count: int) -> None:
    inbox, total = Inbox(1 << 20), 0
    for _ in range(count):
        before = inbox._data
        inbox.feed(b"0123456789")
        total += copied(inbox, before)
    while len(inbox):
        before = inbox._data
        assert inbox.take(7)
        total += copied(inbox, before)
    assert total <= 3 * 10 * count


@pytest.mark.parametrize("split_ahead", [1, SPLIT_AHEAD])
@pytest.mark.parametrize("count", [1_000, 10_000, 100_000])
def test_cutting_many_lines_copies_a_bounded_number_of_bytes_for_each(count: int, split_ahead: int) -> None:
    inbox, total = filled(b"0123456\n" * count, max_bytes=1 << 20, split_ahead=split_ahead), 0
    for _ in range(count):
        before = inbox._data
        assert inbox.take_until(b"\n", 1 << 20) == b"0123456\n"
        total += copied(inbox, before)
    assert len(inbox) == 0
    assert total <= (AHEAD_BYTES + 16) * count


@pytest.mark.parametrize("split_ahead", [1, SPLIT_AHEAD])
@pytest.mark.parametrize("pieces", [1, 2])
def test_so_is_the_memory_of_lines(split_ahead: int, pieces: int) -> None:
    inbox = filled(*[b"0123456\n" * 65536] * pieces, max_bytes=1 << 20, split_ahead=split_ahead)
    while len(inbox):
        assert inbox.take_until(b"\n", 1 << 20) == b"0123456\n"
        assert len(inbox._data) <= 2 * inbox.size + 2 * SPLIT_AHEAD * AHEAD_BYTES


def test_consumed_memory_is_given_back() -> None:
    tracemalloc.start()
    try:
        inbox = filled(b"x" * (4 << 20), b"y" * 100)
        for _ in range(63):
            inbox.take(1 << 16)
        held = tracemalloc.get_traced_memory()[0]
        assert held < 3 * len(inbox) + 10_000, "most of it was consumed"
        inbox.take(1 << 16)
        assert len(inbox) == 100
        assert tracemalloc.get_traced_memory()[0] < 10_000
        assert rest(inbox) == b"y" * 100
    finally:
        tracemalloc.stop()


# -- outbox -----------------------------------------------------------------------------------------------------------


def send_all(outbox: list[Any], accept: Callable[[int], int]) -> tuple[bytes, int, int]:
    """Send until it is empty; return what was sent, in how many sends, and how many bytes were copied by joining."""
    sent, sends, joined = bytearray(), 0, 0
    while outbox:
        first = outbox[0]
        chunk = gather(outbox)
        joined += 0 if chunk is first else len(chunk)
        count = accept(len(chunk))
        sent += chunk[:count]
        sends += 1
        consume(outbox, count)
    return bytes(sent), sends, joined


@tries()
@given(st.lists(st.binary(min_size=1, max_size=20), max_size=20), st.randoms(use_true_random=False))
def test_random_partial_sends_lose_nothing(chunks: list[bytes], rng: random.Random) -> None:
    outbox: list[Any] = list(chunks)
    assert send_all(outbox, lambda size: rng.randint(0, size))[0] == b"".join(chunks)


@tries()
@given(
    st.lists(
        st.sampled_from([1, 10, ALONE_BYTES - 1, ALONE_BYTES, JOIN_BYTES - 1, JOIN_BYTES, JOIN_BYTES + 1]), max_size=8
    ),
    st.randoms(use_true_random=False),
)
def test_nor_do_chunks_of_every_size(sizes: list[int], rng: random.Random) -> None:
    chunks = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    outbox: list[Any] = list(chunks)
    sent, _, joined = send_all(outbox, lambda size: rng.choice([size, size, rng.randint(1, size)]))
    assert sent == b"".join(chunks)
    assert joined <= 3 * len(sent)


class Sending(RuleBasedStateMachine):
    """An outbox beside a plain string of bytes: written to, offered and taken off in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.outbox: list[Any] = []
        self.model = b""

    @rule(size=st.sampled_from([1, 2, 100, ALONE_BYTES - 1, ALONE_BYTES, JOIN_BYTES]), as_view=st.booleans())
    def write(self, size: int, as_view: bool) -> None:
        data = bytes([65 + len(self.model) % 26]) * size
        self.outbox.append(memoryview(data) if as_view else data)
        self.model += data

    @precondition(lambda self: self.outbox)
    @rule(sent=st.integers(0, 2 * JOIN_BYTES), is_all=st.booleans())
    def send(self, sent: int, is_all: bool) -> None:
        first = self.outbox[0]
        chunk = gather(self.outbox)
        assert chunk is self.outbox[0], "what consume() takes bytes off must be what was offered"
        assert self.model.startswith(chunk)
        if chunk is not first:
            assert len(first) < len(chunk) <= JOIN_BYTES
            assert len(first) < ALONE_BYTES
        sent = len(chunk) if is_all else min(sent, len(chunk))
        consume(self.outbox, sent)
        self.model = self.model[sent:]

    @invariant()
    def nothing_is_lost(self) -> None:
        assert b"".join(self.outbox) == self.model
        assert all(self.outbox), "a chunk without bytes: send() would be asked for nothing"


Sending.TestCase.settings = tries()
TestSending = Sending.TestCase


@pytest.mark.parametrize("count", [1_000, 10_000, 100_000])
def test_many_small_writes_are_joined_into_few_sends(count: int) -> None:
    outbox: list[Any] = [b"%8d" % n for n in range(count)]
    sent, sends, joined = send_all(outbox, lambda size: size)
    assert sent == b"".join(b"%8d" % n for n in range(count))
    assert sends <= len(sent) // JOIN_BYTES + 1
    assert joined == len(sent)


def test_what_a_partial_send_leaves_is_not_copied_again() -> None:
    outbox: list[Any] = [b"x" * (4 << 20), b"y"]
    whole = outbox[0]
    _, sends, joined = send_all(outbox, lambda size: min(size, 4096))
    assert sends == (4 << 20) // 4096 + 1
    assert joined <= ALONE_BYTES + 1  # the last bytes, together with what follows them
    outbox = [whole]
    consume(outbox, 10)
    consume(outbox, 10)
    assert isinstance(outbox[0], memoryview)
    assert outbox[0].obj is whole


def test_a_large_first_chunk_goes_alone() -> None:
    large = b"x" * ALONE_BYTES
    assert gather([large, b"y"]) is large
    assert gather([large]) is large
    small: list[Any] = [b"x", b"y" * JOIN_BYTES]
    assert gather(small) == b"x"
    assert len(small) == 2
    small = [b"x", b"y" * (JOIN_BYTES - 1), b"z"]
    assert gather(small) == b"x" + b"y" * (JOIN_BYTES - 1)
    assert len(small) == 2
