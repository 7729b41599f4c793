"""Handlers that depend on how their input is cut are found, and those that do not are left alone."""

import itertools
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, BlockingHandlerError, Lines, Stream, sleep
from reactor.socketserver import StreamRequestHandler
from reactor.testing import SplitError, SplitReport, check_every_split, fuzz, talk
from reactor.testing.conversations import converse
from reactor.testing.fuzzing import schedule_of
from reactor.testing.splits import SEEDS, schedules

SESSION = b"hello\nworld\n\nthird\n"
ANSWER = SESSION.upper()


async def upper(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line.upper())


class AsyncUpper(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        async for line in self.stream.frames(Lines()):
            self.wfile.write(line.upper())


class Upper(StreamRequestHandler):
    """Once a frame; the read past its end keeps the connection."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


class FramedUpper(Upper):
    framing = Lines()


GOOD = [(upper, None), (AsyncUpper, None), (Upper, Lines()), (FramedUpper, None)]


@pytest.mark.parametrize(("handler", "framing"), GOOD)
def test_talk(handler: Any, framing: Any) -> None:
    assert talk(handler, SESSION, framing=framing) == ANSWER
    assert talk(handler, b"half", framing=framing, eof=False) == b""
    assert talk(handler, b"", framing=framing) == b""


@pytest.mark.parametrize(("handler", "framing"), GOOD)
@pytest.mark.parametrize("parts", [2, 3])
def test_handlers_that_do_not_care(handler: Any, framing: Any, parts: Any) -> None:
    report = check_every_split(handler, SESSION, framing=framing, parts=parts)
    assert report.output == ANSWER
    size = len(SESSION)
    assert report.schedules > (size - 1) * (1 if parts == 2 else size / 2) + 3 * size + 2 * SEEDS


def test_what_is_tried() -> None:
    data = b"abcdef"
    tried = [schedule.pieces for schedule in schedules(data, 3)]
    assert [data] in tried
    assert [data[i : i + 1] for i in range(6)] in tried
    for cuts in (*itertools.combinations(range(1, 6), 1), *itertools.combinations(range(1, 6), 2)):
        places = (0, *cuts, 6)
        assert [data[a:b] for a, b in itertools.pairwise(places)] in tried
    for size in range(6):
        assert [data[:size]] in tried
    ends = {(schedule.data, schedule.end) for schedule in schedules(data, 2)}
    assert {(data, "with"), (data, "after"), (data, "no"), (b"abc", "with"), (b"abc", "after")} <= ends


async def by_arrival(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(b"[" + data + b"]")


async def first_arrival_only(stream: Stream) -> None:
    stream.write((await stream.read_some()).upper())


async def last_line_needs_an_end(stream: Stream) -> None:
    data = b""
    while piece := await stream.read_some():
        data += piece
        if piece.endswith(b"\n"):
            stream.write(b"%d lines" % data.count(b"\n"))
            return


BAD = [(by_arrival, b"h", b"e"), (first_arrival_only, b"h", b"e"), (last_line_needs_an_end, b"hello\n", b"w")]


@pytest.mark.parametrize(("handler", "first", "second"), BAD)
def test_handlers_that_care_are_shown_the_smallest_split(handler: Any, first: bytes, second: bytes) -> None:
    with pytest.raises(SplitError, match="depends on how the bytes arrive") as caught:
        check_every_split(handler, SESSION)
    text = str(caught.value)
    assert f"{first!r} | {second!r}" in text
    assert f"recv       {first!r}" in text  # the trace


def test_an_uncaught_end_of_stream_is_a_normal_end() -> None:
    async def impatient(stream: Stream) -> None:
        while True:
            stream.write(await stream.readuntil(b"\n"))
            await sleep(0)

    assert check_every_split(impatient, b"a\nb\n").output == b"a\nb\n"


def test_a_handler_that_raises_in_one_split() -> None:
    async def wrong(stream: Stream) -> None:
        data = await stream.read_some()
        if data == b"ab":
            raise ZeroDivisionError

    with pytest.raises(SplitError, match="ZeroDivisionError raised"):
        check_every_split(wrong, b"abc")
    with pytest.raises(SplitError, match=r"raises ZeroDivisionError when it is told all of b'ab'") as caught:
        check_every_split(wrong, b"ab")
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_a_handler_class_that_raises() -> None:
    class Wrong(StreamRequestHandler):
        def handle(self) -> None:
            if self.rfile.readline() == b"b\n":
                raise ZeroDivisionError
            self.rfile.read(1)

    assert talk(Wrong, b"a\n", framing=Lines()) == b""
    with pytest.raises(ZeroDivisionError) as caught:
        talk(Wrong, b"b\n", framing=Lines())
    assert "recv       b'b\\n'" in caught.value.__notes__[0]


def test_a_handler_that_waits_for_time_to_pass() -> None:
    async def slow(stream: Stream) -> None:
        while line := await stream.readline():
            await sleep(0.1)
            stream.write(line)

    assert check_every_split(slow, b"a\nb\n").output == b"a\nb\n"


def test_the_loop_guesses_no_framing() -> None:
    with pytest.raises(BlockingHandlerError):
        talk(Upper, b"")


def test_parts() -> None:
    with pytest.raises(ValueError, match="2 or 3"):
        check_every_split(upper, b"", parts=4)  # type: ignore[arg-type]
    assert check_every_split(upper, b"") == SplitReport(5 + 2 * SEEDS, b"")


# Fuzzing.


@pytest.mark.parametrize(("handler", "framing"), GOOD)
def test_seeds_that_find_nothing(handler: Any, framing: Any) -> None:
    report = fuzz(handler, SESSION, framing=framing, seeds=range(200))
    assert (report.seeds, report.output) == (200, ANSWER)
    assert 20 < report.resets < 100


def test_a_seed_that_finds_something_finds_it_again() -> None:
    with pytest.raises(SplitError, match=r"seed \d+ gives another answer") as caught:
        fuzz(by_arrival, SESSION)
    seed = int(str(caught.value).split()[1])
    with pytest.raises(SplitError, match=f"seed {seed} gives another answer"):
        fuzz(by_arrival, SESSION, seeds=[seed])
    assert str(caught.value).count("recv") > 1


def test_a_handler_that_cannot_lose_its_peer() -> None:
    async def wrong(stream: Stream) -> None:
        try:
            while line := await stream.readline():
                stream.write(line.upper())
        except ConnectionError:
            raise ZeroDivisionError from None

    with pytest.raises(SplitError, match="ZeroDivisionError"):
        fuzz(wrong, SESSION)
    with pytest.raises(SplitError, match="when it is told all of"):
        fuzz(lambda *_: 1 / 0, SESSION, framing=Lines(), seeds=[])


def test_a_peer_that_reads_late_gets_the_whole_answer() -> None:
    async def large(stream: Stream) -> None:
        while line := await stream.readline():
            for _ in range(5):
                stream.write(line * 10_000)
                await stream.drain()

    outcome, _ = converse(large, [b"one\n", b"two\n"], reads_late=True)
    assert (len(outcome.output), outcome.ended) == (2 * 5 * 4 * 10_000, "eof")
    assert fuzz(large, b"one\ntwo\n", seeds=range(0, 50, 5)).seeds == 10


def test_schedules_are_drawn_from_the_seed() -> None:
    assert schedule_of(5, SESSION) == schedule_of(5, SESSION)
    assert len({schedule_of(seed, SESSION) for seed in range(50)}) == 50
    assert schedule_of(0, b"").pieces == [b""]
