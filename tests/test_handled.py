"""The short way through an exchange (`HandledRow.on_ready`): what it does at once, and what it leaves to the long one."""

import contextlib
import socket
from typing import Any

import pytest

from reactor import End, LimitError, ManualClock, Observer, Phase, Reactor, Stream, Until, sleep
from tests.driving import ask, listen, only, receive, receive_all, streams, turn_until, turns

WAYS = {"short": (), "long": (Observer(),)}  # an observer makes every row take the long way


@pytest.fixture(params=list(WAYS))
def either_way(request: pytest.FixtureRequest, make_loop: Any) -> Reactor:
    """Give a loop in which rows take the short or the long way."""
    loop: Reactor = make_loop(observers=WAYS[request.param])
    return loop


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


def ready_together(loop: Reactor, connect: Any, handler: Any, count: int = 2) -> list[Any]:
    """Connect so many clients whose bytes arrive in one batch."""
    listener = listen(loop, handler)
    clients = [connect(listener) for _ in range(count)]
    turn_until(loop, lambda: len(streams(loop)) == count)
    turns(loop)
    for client in clients:
        client.sendall(b"ping")
    return clients


def test_a_reply_leaves_before_the_next_row_of_its_batch_is_called(loop: Reactor, connect: Any) -> None:
    seen = []

    async def answer(stream: Stream) -> None:
        while data := await stream.read_some():
            seen.append(sorted(row.bytes_out for row in streams(loop)))
            stream.write(data)

    ready_together(loop, connect, answer, 3)
    turn_until(loop, lambda: len(seen) == 3)
    assert seen == [[0, 0, 0], [0, 0, 4], [0, 4, 4]]


def test_an_exchange_leaves_nothing_to_settle(loop: Reactor, connect: Any) -> None:
    ready_together(loop, connect, echo)
    turn = loop.step(1)
    assert (len(turn.ready), turn.settled) == (2, ())
    assert {(row.phase, row.outbox, row.outbox_bytes, row.requests) for row in streams(loop)} == {(Phase.IDLE, None, 0, 1)}


def test_several_writes_are_one_reply_in_order(either_way: Reactor, connect: Any) -> None:
    async def pieces(stream: Stream) -> None:
        while data := await stream.read_some():
            for number in range(5):
                stream.write(data + b"%d" % number)

    client = connect(listen(either_way, pieces))
    ask(either_way, client, b"a", b"a0a1a2a3a4")
    assert only(either_way).outbox_bytes == 0


def test_a_reply_above_the_high_mark_is_sent_early(either_way: Reactor, connect: Any) -> None:
    async def large(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(data * 100_000)

    client = connect(listen(either_way, large))
    ask(either_way, client, b"a", b"a" * 100_000)
    ask(either_way, client, b"b", b"b" * 100_000)


def test_a_write_of_nothing_is_an_answer_of_no_bytes(either_way: Reactor, connect: Any) -> None:
    async def nothing(stream: Stream) -> None:
        while await stream.read_some():
            stream.write(b"")

    client = connect(listen(either_way, nothing))
    client.sendall(b"a")
    row = only(either_way)
    turn_until(either_way, lambda: row.requests == 1)
    turns(either_way)
    assert (row.phase, row.outbox_bytes) == (Phase.IDLE, 0)
    client.shutdown(1)
    assert receive_all(either_way, client) == b""


def test_a_handler_that_does_not_answer_owes_an_answer(either_way: Reactor, connect: Any) -> None:
    async def late(stream: Stream) -> None:
        await stream.read_some()
        stream.write(await stream.read_some())
        await stream.read_some()

    client = connect(listen(either_way, late))
    row = only(either_way)
    client.sendall(b"a")
    turn_until(either_way, lambda: row.requests == 1)
    assert (row.phase, row.outbox) == (Phase.RECEIVING, None)
    ask(either_way, client, b"b", b"b")
    turns(either_way)
    assert row.phase is Phase.IDLE


def test_a_handler_that_works_after_its_answer_has_answered(either_way: Reactor, connect: Any, clock: Any) -> None:
    async def working(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(data)
            await sleep(5)
            stream.write(b"!")

    client = connect(listen(either_way, working))
    ask(either_way, client, b"a", b"a")
    assert only(either_way).phase is Phase.WORKING
    clock.advance(5)
    assert receive(either_way, client, 1) == b"!"


def test_what_was_written_before_a_failure_arrives(either_way: Reactor, connect: Any, logged: Any) -> None:
    async def failing(stream: Stream) -> None:
        stream.write(await stream.read_some())
        raise ValueError("after its answer")

    client = connect(listen(either_way, failing))
    client.sendall(b"a")
    assert receive_all(either_way, client) == b"a"
    assert [record.getMessage() for record in logged()] != []
    client.close()
    turn_until(either_way, lambda: not streams(either_way))
    assert either_way.table.ended[-1].end is End.HANDLER_FAILED


def test_a_handler_that_aborts_itself_sends_nothing(either_way: Reactor, connect: Any) -> None:
    async def aborting(stream: Stream) -> None:
        stream.write(await stream.read_some())
        stream.abort("enough")
        await stream.read_some()

    client = connect(listen(either_way, aborting))
    client.sendall(b"a")
    with pytest.raises(ConnectionResetError):
        receive_all(either_way, client)
    turn_until(either_way, lambda: not streams(either_way))


def test_a_reply_that_the_socket_does_not_take_whole_goes_on_with_settle(either_way: Reactor, connect: Any) -> None:
    size = 60_000  # one chunk, below the high mark

    async def large(stream: Stream) -> None:
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while data := await stream.read_some():
            stream.write(data * size)

    client = connect(listen(either_way, large), receive_buffer=4096)
    row = only(either_way)
    turns(either_way)
    client.sendall(b"a")
    turn_until(either_way, lambda: row.outbox_bytes > 0)
    assert row.bytes_out == size - row.outbox_bytes
    assert receive(either_way, client, size) == b"a" * size


def test_a_failure_leaves_no_outbox_open(loop: Reactor, connect: Any, logged: Any) -> None:
    async def failing(stream: Stream) -> None:
        await stream.read_some()
        raise ValueError("without an answer")

    client = connect(listen(loop, failing))
    row = only(loop)
    client.sendall(b"a")
    turn_until(loop, lambda: row.end is not None)
    assert (row.end, row.outbox) == (End.HANDLER_FAILED, None)
    assert len(logged()) == 1
    assert receive_all(loop, client) == b""


def test_what_others_write_meanwhile_keeps_its_place(either_way: Reactor, connect: Any) -> None:
    """The outbox is not empty when bytes come: what the handler writes goes behind it."""
    client = connect(listen(either_way, echo))
    row = only(either_way)
    ask(either_way, client, b"a", b"a")
    row.write(b"b")
    ask(either_way, client, b"c", b"bc")
    assert row.outbox_bytes == 0


# -- frames: the same, for bytes that are whole frames and nothing else -----------------------------------------------------


async def echo_lines(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


async def echo_paragraphs(stream: Stream) -> None:
    async for paragraph in stream.frames(Until(b"\n\n", keep_end=False)):
        stream.write(paragraph + b"\n\n")


@pytest.mark.parametrize(
    ("handler", "request_bytes", "requests"),
    [
        (echo_lines, b"one\n", 1),
        (echo_lines, b"one\ntwo\n\n", 3),
        (echo_paragraphs, b"one\n\n", 1),
    ],
)
def test_whole_frames_are_answered_at_once_and_leave_nothing_to_settle(
    loop: Reactor, connect: Any, handler: Any, request_bytes: bytes, requests: int
) -> None:
    client = connect(listen(loop, handler))
    row = only(loop)
    turns(loop)
    for number in (1, 2):
        client.sendall(request_bytes)
        turn = loop.step(1)
        assert (len(turn.ready), turn.settled) == (1, ())
        assert (row.phase, row.outbox, row.requests, row.inbox_bytes) == (Phase.IDLE, None, number * requests, 0)
        assert receive(loop, client, len(request_bytes)) == request_bytes


def test_a_line_that_comes_byte_by_byte(either_way: Reactor, connect: Any) -> None:
    client = connect(listen(either_way, echo_lines, frame_bytes=10))
    row = only(either_way)
    for line in (b"0123456789\n", b"a\n", b"\n"):
        for number in range(1, len(line)):
            client.sendall(line[number - 1 : number])
            turn_until(either_way, lambda count=number: row.inbox_bytes == count)
            turns(either_way)
            assert (row.phase, either_way.buffered_bytes) == (Phase.RECEIVING, number)
        ask(either_way, client, line[-1:], line)
        turns(either_way)
        assert (row.phase, row.inbox_bytes, either_way.buffered_bytes) == (Phase.IDLE, 0, 0)


@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_a_line_that_gets_too_long_byte_by_byte(either_way: Reactor, connect: Any, end: bytes) -> None:
    async def until(stream: Stream) -> None:
        while line := await stream.readuntil(end):
            stream.write(line)

    client = connect(listen(either_way, until, frame_bytes=10))
    row = only(either_way)
    for number in range(1, 11 + len(end)):
        assert row.end is None
        client.sendall(b"x")
        turn_until(either_way, lambda count=number: row.bytes_in == count)
        turns(either_way)
    assert row.end is End.BAD_FRAME


def test_what_another_one_reads_byte_by_byte(either_way: Reactor, connect: Any) -> None:
    """A task reads the row of a handler: the bytes of its frame are counted and kept in the same way."""
    lines = []

    async def handing_over(stream: Stream) -> None:
        async def read() -> None:
            lines.append(await stream.readline())

        await stream.spawn(read).wait()

    client = connect(listen(either_way, handing_over))
    row = only(either_way)
    for number, byte in enumerate(b"abc", 1):
        client.sendall(bytes([byte]))
        turn_until(either_way, lambda count=number: row.inbox_bytes == count)
    client.sendall(b"\n")
    turn_until(either_way, lambda: lines)
    assert lines == [b"abc\n"]


def test_frames_that_are_asked_for_one_by_one(either_way: Reactor, connect: Any) -> None:
    client = connect(listen(either_way, echo_paragraphs))
    row = only(either_way)
    turns(either_way)
    ask(either_way, client, b"one\n\n\n\ntwo\n\n", b"one\n\n\n\ntwo\n\n")
    assert (row.requests, row.inbox_bytes) == (3, 0)


def test_what_comes_in_pieces_takes_the_long_way_and_the_next_one_the_short(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo_lines))
    row = only(loop)
    ask(loop, client, b"on", b"")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    ask(loop, client, b"e\nan", b"one\n")
    ask(loop, client, b"d\n", b"and\n")
    turns(loop)
    client.sendall(b"two\n")
    assert loop.step(1).settled == ()
    assert row.requests == 3


def test_a_handler_may_read_anything_of_what_came_together(either_way: Reactor, connect: Any) -> None:
    async def sized(stream: Stream) -> None:
        while size := await stream.readline():
            body = await stream.readexactly(int(size))
            stream.write(body + b"|" + await stream.readuntil(b";") + b"|" + await stream.read_some(2) + b"\n")

    client = connect(listen(either_way, sized))
    ask(either_way, client, b"3\na\nbxx;12", b"a\nb|xx;|12\n")
    row = only(either_way)
    turns(either_way)
    ask(either_way, client, b"1\n\n;\n\n", b"\n|;|\n\n\n")
    turns(either_way)
    assert (row.phase, row.inbox_bytes) == (Phase.IDLE, 0)


def test_a_handler_may_change_its_framing_with_each_answer(either_way: Reactor, connect: Any) -> None:
    async def sized(stream: Stream) -> None:
        while size := await stream.readline():
            stream.write(b"send " + size)
            stream.write(await stream.readexactly(int(size)))

    client = connect(listen(either_way, sized))
    only(either_way)
    for body in (b"abc", b"de"):
        turns(either_way)
        ask(either_way, client, b"%d\n" % len(body), b"send %d\n" % len(body))
        turns(either_way)
        ask(either_way, client, body, body)


def test_lines_that_came_together_wait_for_a_handler_that_works(
    either_way: Reactor, connect: Any, clock: ManualClock
) -> None:
    async def working(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line)
            await sleep(5)

    client = connect(listen(either_way, working))
    row = only(either_way)
    turns(either_way)
    ask(either_way, client, b"a\nb\nc\n", b"a\n")
    assert (row.phase, row.inbox_bytes) == (Phase.WORKING, 4)
    for line in (b"b\n", b"c\n"):
        clock.advance(5)
        assert receive(either_way, client, 2) == line
    clock.advance(5)
    turns(either_way)
    assert (row.phase, row.requests) == (Phase.IDLE, 3)


def test_a_handler_that_ends_does_not_see_what_came_with_its_last_line(either_way: Reactor, connect: Any) -> None:
    seen = []

    async def once(stream: Stream) -> None:
        seen.append(await stream.readline())
        stream.write(b"bye\n")

    client = connect(listen(either_way, once))
    turns(either_way)
    client.sendall(b"a\nb\nc\n")
    assert receive_all(either_way, client) == b"bye\n"
    assert seen == [b"a\n"]
    assert streams(either_way)[0].requests == 1


def test_lines_of_a_turn_are_bounded_on_the_short_way_too(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo_lines, frames_per_turn=2))
    row = only(loop)
    turns(loop)
    client.sendall(b"a\nb\nc\nd\ne\n")
    loop.step(1)
    assert row.bytes_out == 4
    assert receive(loop, client, 10) == b"a\nb\nc\nd\ne\n"


def test_a_reply_of_many_lines_is_held_by_the_high_mark(either_way: Reactor, connect: Any) -> None:
    async def large(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line * 50_000)

    client = connect(listen(either_way, large, outbox_high_bytes=65536))
    only(either_way)
    turns(either_way)
    client.sendall(b"a\nb\nc\n")
    assert receive(either_way, client, 300_000) == b"".join(line * 50_000 for line in (b"a\n", b"b\n", b"c\n"))


def test_what_a_handler_offers_to_its_own_peer_answers_nothing(either_way: Reactor, connect: Any) -> None:
    async def offering(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.offer(data)

    client = connect(listen(either_way, offering))
    row = only(either_way)
    ask(either_way, client, b"a", b"a")
    turns(either_way)
    assert row.phase is Phase.RECEIVING


def test_a_row_that_another_one_has_closed_in_the_same_batch_serves_no_more(loop: Reactor, connect: Any) -> None:
    served = []

    async def closing(stream: Stream) -> None:
        while line := await stream.readline():
            served.append(line)
            for other in streams(loop):
                if other is not stream:
                    other.close()
            stream.write(line)

    listener = listen(loop, closing)
    clients = [connect(listener) for _ in range(2)]
    turn_until(loop, lambda: len(streams(loop)) == 2)
    turns(loop)
    for client in clients:
        client.sendall(b"x\n")
    turn_until(loop, lambda: served)
    turns(loop)
    assert served == [b"x\n"]


# -- the time of lines that came together -----------------------------------------------------------------------------


def pass_seconds(loop: Reactor, clock: ManualClock, seconds: int) -> None:
    for _ in range(seconds):
        clock.advance(1)
        turns(loop)


def test_lines_that_are_here_are_not_served_when_the_time_is_up(
    either_way: Reactor, connect: Any, clock: ManualClock
) -> None:
    async def says_goodbye(stream: Stream) -> None:
        await stream.readline()
        try:
            await sleep(100)
        except LimitError:
            stream.write(b"goodbye\n")
        while line := await stream.readline():
            stream.write(line)

    client = connect(listen(either_way, says_goodbye, work_s=5))
    client.sendall(b"a\nb\nc\n")
    row = only(either_way)
    turns(either_way)
    pass_seconds(either_way, clock, 5)
    assert (row.end, row.requests) == (End.LIMIT, 1)
    assert receive_all(either_way, client) == b"goodbye\n"


@pytest.mark.parametrize("wait", [lambda stream: sleep(0), Stream.drain], ids=["sleep", "drain"])
def test_who_has_always_another_line_has_no_more_time(
    either_way: Reactor, connect: Any, clock: ManualClock, wait: Any
) -> None:
    """Each line is work, and each is found in a turn in which the time is up."""
    told: list[Any] = []

    async def gathers(stream: Stream) -> None:
        try:
            while await stream.readline():
                await wait(stream)
        except LimitError as error:
            told.append(error.limit)

    client = connect(listen(either_way, gathers, request_s=3, work_s=1000))
    for _ in range(40):
        with contextlib.suppress(ConnectionError):
            client.sendall(b"x\n" * 50)
        clock.advance(0.5)
        turns(either_way)
    assert told == ["request_s"]


def test_lines_that_a_task_takes_have_their_own_time_to_work(either_way: Reactor, connect: Any, clock: ManualClock) -> None:
    got: list[bytes] = []

    async def by_a_task(stream: Stream) -> None:
        async def take() -> None:
            while line := await stream.readline():
                got.append(line)
                await sleep(1)

        await stream.spawn(take).wait()

    client = connect(listen(either_way, by_a_task, work_s=3))
    client.sendall(b"".join(b"%d\n" % number for number in range(6)))
    row = only(either_way)
    turns(either_way)
    pass_seconds(either_way, clock, 7)
    assert (row.end, len(got)) == (None, 6)


def test_each_line_has_its_own_time_to_work(either_way: Reactor, connect: Any, clock: ManualClock) -> None:
    async def slowly(stream: Stream) -> None:
        while line := await stream.readline():
            await sleep(1)
            stream.write(line)

    lines = b"".join(b"%d\n" % number for number in range(10))
    client = connect(listen(either_way, slowly, work_s=5))
    client.sendall(lines)
    row = only(either_way)
    turns(either_way)
    pass_seconds(either_way, clock, 12)
    assert (row.end, row.phase, row.requests) == (None, Phase.IDLE, 10)
    assert receive(either_way, client, len(lines)) == lines


async def answer_the_first(stream: Stream) -> None:
    stream.write(await stream.readline())
    while await stream.readline():
        pass


def test_the_last_line_is_a_request_under_way_until_it_is_answered(
    either_way: Reactor, connect: Any, clock: ManualClock
) -> None:
    client = connect(listen(either_way, answer_the_first))
    row = only(either_way)
    turns(either_way)
    client.sendall(b"first\nsecond\n")
    turn_until(either_way, lambda: row.requests == 2)
    turns(either_way)
    assert row.phase is Phase.RECEIVING
    pass_seconds(either_way, clock, 30)
    assert (row.end, row.detail.partition(":")[0]) == (End.LIMIT, "request_s")


def test_a_line_behind_one_that_was_answered_has_its_own_time(
    either_way: Reactor, connect: Any, clock: ManualClock
) -> None:
    async def answer_the_second(stream: Stream) -> None:
        await stream.readline()
        await answer_the_first(stream)

    client = connect(listen(either_way, answer_the_second))
    row = only(either_way)
    client.sendall(b"fi")
    turn_until(either_way, lambda: row.bytes_in == 2)
    pass_seconds(either_way, clock, 29)
    client.sendall(b"rst\nsecond\nthird\n")
    turn_until(either_way, lambda: row.requests == 3)
    pass_seconds(either_way, clock, 29)
    assert (row.end, row.phase) == (None, Phase.RECEIVING)
    pass_seconds(either_way, clock, 1)
    assert row.end is End.LIMIT


def test_a_task_that_reads_meanwhile_gets_lines_that_were_cut_ahead(either_way: Reactor, connect: Any) -> None:
    got = []

    async def shares(stream: Stream) -> None:
        stream.write(await stream.readline())
        got.append(await stream.spawn(stream.readline).wait())
        got.append(await stream.readline())

    client = connect(listen(either_way, shares))
    client.sendall(b"a\nb\nc\nd\n")
    assert receive_all(either_way, client) == b"a\n"
    assert got == [b"b\n", b"c\n"]
