"""How connections end: in good order, by a limit, by the peer, by this program, by a failure; and what is left."""

import contextlib
import errno
import gc
import logging
import os
import random
import socket
import threading
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from reactor import (
    Cancelled,
    ConnectionLost,
    End,
    Framing,
    FramingError,
    LengthPrefixed,
    LimitError,
    Lines,
    ManualClock,
    Observer,
    Phase,
    Reactor,
    Stream,
    sleep,
    timeout,
)
from reactor.budget import ByteBudget
from tests.driving import (
    ask,
    listen,
    only,
    receive,
    receive_all,
    reset,
    streams,
    turn_until,
    turns,
    until_gone,
)

pytestmark = pytest.mark.usefixtures("no_errors_left")

SLOW = {"receive_buffer": 4096}


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Ends(Observer):
    """How often each row ended, and how."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, End]] = []
        self.errors: list[BaseException] = []

    def on_end(self, row: Any, end: End) -> None:
        if row.kind == "stream":
            self.ends.append((row.id, end))

    def on_error(self, row: Any, error: BaseException) -> None:
        self.errors.append(error)


@pytest.fixture
def ends() -> Ends:
    """Give the observer of `watched`."""
    return Ends()


@pytest.fixture
def watched(make_loop: Any, ends: Ends) -> Reactor:
    """Give a reactor that `ends` observes."""
    return make_loop(observers=[ends])


def pass_time(loop: Reactor, clock: ManualClock, seconds: float) -> None:
    """Let the clock jump, and give the loop the turns to notice all that follows."""
    clock.advance(seconds)
    turns(loop)


def read_to_the_end(client: socket.socket) -> None:
    """Read what the kernel still holds for a client, up to the end of the stream or an error."""
    while client.recv(1 << 20):
        pass


# -- deadlines --------------------------------------------------------------------------------------------------------


def goodbye(said: list[LimitError]) -> Callable[[Stream], Any]:
    """Return a handler that answers lines, and says goodbye when a limit is reached."""

    async def serve(stream: Stream) -> None:
        try:
            while line := await stream.readline():
                stream.write(line)
        except LimitError as error:
            said.append(error)
            stream.write(b"421 " + error.limit.encode() + b"\n")

    return serve


def test_an_idle_connection_is_told_and_closed_after_75_s(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    said: list[LimitError] = []
    client = connect(listen(loop, goodbye(said)))
    row = only(loop)
    turns(loop)
    pass_time(loop, clock, 74.9)
    assert row.end is None
    pass_time(loop, clock, 0.1)
    assert receive_all(loop, client) == b"421 idle_s\n"
    assert row.end is End.LIMIT
    (error,) = said
    assert (error.limit, error.allowed, error.actual) == ("idle_s", 75, pytest.approx(75))
    client.close()
    until_gone(loop, row)
    assert [(ended.id, ended.end) for ended in loop.table.ended] == [(row.id, End.LIMIT)]


def test_a_request_that_begins_in_the_turn_of_the_idle_deadline_is_received(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    """The machine was suspended: the first bytes of a request and the deadline are found in one turn."""
    client = connect(listen(loop, echo))
    row = only(loop)
    turns(loop)
    client.sendall(b"he")
    pass_time(loop, clock, 3600)
    assert (row.end, row.phase) == (None, Phase.RECEIVING)
    pass_time(loop, clock, 29)
    client.sendall(b"y\n")
    turns(loop)
    assert client.recv(10) == b"hey\n"
    client.sendall(b"late")
    turns(loop)
    pass_time(loop, clock, 30)
    assert row.end is End.LIMIT  # it has the time of any request


@pytest.mark.parametrize(("before", "limit_s"), [(b"", 75), (b"he", 30)], ids=["idle_s", "request_s"])
@pytest.mark.parametrize("observers", [(), (Observer(),)], ids=["short", "long"])
def test_work_that_begins_in_the_turn_of_an_older_deadline_has_its_own_time(
    make_loop: Any, connect: Any, clock: ManualClock, before: bytes, limit_s: int, observers: Any
) -> None:
    async def slowly(stream: Stream) -> None:
        while line := await stream.readline():
            await sleep(20)
            stream.write(line)

    loop = make_loop(observers=observers)
    client = connect(listen(loop, slowly))
    row = only(loop)
    turns(loop)
    client.sendall(before)
    turn_until(loop, lambda: row.bytes_in == len(before))
    turns(loop)
    clock.advance(limit_s)
    client.sendall(b"y\n")
    turn_until(loop, lambda: row.requests)
    turns(loop)
    assert (row.end, row.phase) == (None, Phase.WORKING)
    pass_time(loop, clock, 20)
    assert receive(loop, client, len(before) + 2) == before + b"y\n"


def test_each_request_re_arms_the_idle_deadline_and_costs_the_heap_nothing(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    for _ in range(500):
        ask(loop, client, b"x\n", b"x\n")
        assert len(loop.deadlines) <= 4
        pass_time(loop, clock, 20)
    assert row.end is None
    pass_time(loop, clock, 54)
    assert row.end is None
    pass_time(loop, clock, 2)
    assert row.end is End.LIMIT


def test_requests_in_two_pieces_do_not_grow_the_heap(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    """Each of them moves the deadline earlier (idle 75 s, request 30 s), then later again."""
    client = connect(listen(loop, echo))
    row = only(loop)
    for i in range(300):
        client.sendall(b"half ")
        turn_until(loop, lambda i=i: row.bytes_in == 10 * i + 5)
        assert row.phase is Phase.RECEIVING
        ask(loop, client, b"line\n", b"half line\n")
        clock.advance(5)
    assert len(loop.deadlines) <= 130


def test_slowloris_a_request_has_30_s_whatever_trickles_in(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    said: list[LimitError] = []
    client = connect(listen(loop, goodbye(said)))
    row = only(loop)
    for i in range(30):
        assert row.end is None, f"ended after {i} s"
        client.sendall(b"x")
        turn_until(loop, lambda i=i: row.bytes_in == i + 1)
        clock.advance(1)
    turns(loop)
    assert receive_all(loop, client) == b"421 request_s\n"
    assert row.end is End.LIMIT
    assert said[0].actual == pytest.approx(30)


SLOW_RATE = {"request_s": 300, "request_bytes_per_s": 100, "request_grace_s": 5}


def test_a_request_that_comes_too_slowly_ends_before_its_time(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    said: list[LimitError] = []
    client = connect(listen(loop, goodbye(said), **SLOW_RATE))
    row = only(loop)
    ask(loop, client, bytes(5000) + b"\n", bytes(5000) + b"\n")  # of another request: of no help to the next
    pass_time(loop, clock, 60)
    client.sendall(b"x" * 99)
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    pass_time(loop, clock, 4.9)
    assert row.end is None
    client.sendall(b"x" * 801)
    turn_until(loop, lambda: row.bytes_in == 5901)
    pass_time(loop, clock, 4)
    assert row.end is None
    pass_time(loop, clock, 0.1)
    assert receive_all(loop, client) == b"421 request_bytes_per_s\n"
    assert row.end is End.LIMIT
    assert (said[0].allowed, said[0].actual) == (100, pytest.approx(100))


def test_a_large_upload_that_comes_quickly_enough_has_its_time(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    client = connect(listen(loop, goodbye([]), **SLOW_RATE))
    row = only(loop)
    for second in range(280):
        client.sendall(b"x" * 110)
        turn_until(loop, lambda second=second: row.bytes_in == 110 * second + 110)
        pass_time(loop, clock, 1)
    assert row.end is None
    ask(loop, client, b"\n", b"x" * 30_800 + b"\n")
    pass_time(loop, clock, 70)  # idle is not slow
    ask(loop, client, b"y\n", b"y\n")


def test_what_the_handler_has_taken_counts_for_the_rate(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def sink(stream: Stream) -> None:
        while await stream.read_some():
            pass

    client = connect(listen(loop, sink, **SLOW_RATE))
    row = only(loop)
    client.sendall(bytes(2000))
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    client.sendall(bytes(2000))
    turn_until(loop, lambda: row.bytes_in == 4000)
    pass_time(loop, clock, 39.9)
    assert row.end is None
    pass_time(loop, clock, 0.1)
    assert row.end is End.LIMIT


def test_what_is_not_read_is_not_slow(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    client = connect(listen(loop, goodbye([]), **SLOW_RATE))
    row = only(loop)
    client.sendall(b"x")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    row.pause("a test")
    turns(loop)
    pass_time(loop, clock, 60)
    assert row.end is None
    row.resume("a test")
    turns(loop)
    pass_time(loop, clock, 4.9)
    assert row.end is None
    pass_time(loop, clock, 0.1)
    assert row.end is End.LIMIT


def test_the_clock_of_a_request_starts_with_its_first_byte(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    said: list[LimitError] = []
    client = connect(listen(loop, goodbye(said)))
    row = only(loop)
    turns(loop)
    pass_time(loop, clock, 70)  # idle
    client.sendall(b"first byte")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    pass_time(loop, clock, 29)
    ask(loop, client, b"\n", b"first byte\n")
    pass_time(loop, clock, 29)
    client.sendall(b"second request")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    pass_time(loop, clock, 29)
    assert row.end is None
    pass_time(loop, clock, 1)
    assert row.end is End.LIMIT
    assert (said[0].limit, said[0].actual) == ("request_s", pytest.approx(30))


@pytest.mark.parametrize("between_s", [None, 0, 0.5])
def test_a_request_of_many_frames_has_30_s_in_all(
    loop: Reactor, connect: Any, clock: ManualClock, between_s: float | None
) -> None:
    """A header that comes line by line is one request, also for a handler that works a little on each line."""
    said: list[str] = []

    async def serve(stream: Stream) -> None:
        try:
            while (await stream.readline()) != b"\n":
                if between_s is not None:
                    await sleep(between_s)
            stream.write(b"reply")
        except LimitError as error:
            said.append(error.limit)

    client = connect(listen(loop, serve))
    row = only(loop)
    while row.end is None and row.requests < 60:
        seen = row.requests
        client.sendall(b"X-Header: 1\n")
        turn_until(loop, lambda seen=seen: row.requests > seen or row.end)
        pass_time(loop, clock, 1)
    assert said == ["request_s"]
    assert row.requests in (30, 31)


def test_a_handler_that_works_has_no_deadline_unless_work_s(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    seen: list[Any] = []

    async def serve(stream: Stream) -> None:
        try:
            await stream.readline()
            await sleep(1000)
            stream.write(b"done")
        except LimitError as error:
            seen.append(error.limit)
            stream.write(b"too slow")

    for limits, reply in (({}, b"done"), ({"work_s": 60}, b"too slow")):
        client = connect(listen(loop, serve, **limits))
        row = only(loop)
        client.sendall(b"go\n")
        turn_until(loop, lambda row=row: row.phase is Phase.WORKING)
        pass_time(loop, clock, 59)
        assert row.end is None
        pass_time(loop, clock, 1000)
        assert receive_all(loop, client) == reply
        client.close()
        until_gone(loop, row)
    assert seen == ["work_s"]


def test_limits_that_are_none_never_expire(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    client = connect(listen(loop, echo, idle_s=None, request_s=None, write_stall_s=None))
    row = only(loop)
    pass_time(loop, clock, 1e6)
    client.sendall(b"half")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    pass_time(loop, clock, 1e6)
    ask(loop, client, b"\n", b"half\n")
    assert row.deadline_at() is None


async def big_reply(stream: Stream) -> None:
    await stream.readline()
    stream.write(b"x" * 10_000_000)
    await stream.drain()


def test_a_peer_that_takes_nothing_is_given_up_after_30_s(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    client = connect(listen(loop, big_reply), **SLOW)
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    turns(loop, 20)
    pass_time(loop, clock, 29.9)
    assert row.end is None
    pass_time(loop, clock, 0.2)
    until_gone(loop, row)
    assert row.end is End.LIMIT
    assert "write_stall_s" in loop.table.ended[-1].detail
    with pytest.raises(ConnectionResetError):  # a reply that was cut short never looks like a whole one
        read_to_the_end(client)
    turns(loop)
    assert row.waiting_at is None  # the handler heard of it


@pytest.mark.parametrize("how", ["draining", "flushing"])
def test_a_stall_is_30_s_without_any_progress(loop: Reactor, connect: Any, clock: ManualClock, how: str) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"x" * 10_000_000)
        if how == "draining":
            await stream.drain()

    client = connect(listen(loop, serve), **SLOW)
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.outbox_bytes)
    turns(loop, 20)
    received = 0
    while row.outbox_bytes:
        clock.advance(25)
        before = row.outbox_bytes
        while row.outbox_bytes == before:  # the kernel wants some room before it tells
            received += len(receive(loop, client, 300_000))
            assert row.end in (None, End.FINISHED)
    received += len(receive_all(loop, client))
    assert received == 10_000_000


def test_a_reset_in_the_turn_in_which_the_time_is_up_is_a_reset(
    watched: Reactor, ends: Ends, connect: Any, clock: ManualClock
) -> None:
    client = connect(listen(watched, big_reply, outbox_high_bytes=16 << 20), **SLOW)
    row = only(watched)
    client.sendall(b"go\n")
    turn_until(watched, lambda: row.outbox_bytes)
    turns(watched, 20)
    assert row.interest == 3  # for reading as well, so the reset is noticed before the time is
    reset(client)
    clock.advance(31)
    until_gone(watched, row)
    assert (row.end, ends.ends) == (End.PEER_RESET, [(row.id, End.PEER_RESET)])


def test_a_peer_that_reads_a_long_reply_is_not_idle(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def serve(stream: Stream) -> None:
        while await stream.readline():
            stream.write(b"x" * 10_000_000)

    client = connect(listen(loop, serve, idle_s=10), **SLOW)
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.outbox_bytes)
    turns(loop, 20)
    assert row.phase is Phase.IDLE
    pass_time(loop, clock, 20)
    assert row.end is None
    received = 0
    while row.outbox_bytes:
        received += len(receive(loop, client, 1_000_000))
    assert row.end is None
    pass_time(loop, clock, 9)
    assert row.end is None  # idle since the reply was taken, not since it was written
    assert len(receive(loop, client, 10_000_000 - received)) == 10_000_000 - received


def test_a_pipelined_request_that_waits_for_the_reader_of_the_reply_before_it_does_not_expire(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    """The second request is here in full; it is this program that does not read on, while the peer makes progress."""

    async def serve(stream: Stream) -> None:
        while await stream.readline():
            stream.write(b"x" * 6_000_000)

    client = connect(listen(loop, serve), **SLOW)
    row = only(loop)
    client.sendall(b"one\ntwo\n")
    turn_until(loop, lambda: row.outbox_bytes)
    received = 0
    while received < 12_000_000:
        clock.advance(10)
        received += len(receive(loop, client, 1_000_000))
        assert row.end is None
    assert received == 12_000_000


def test_nor_does_one_that_is_not_here_in_full(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    """Its time begins anew when the row is read again: nobody could send the rest of it before."""

    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line if line == b"two\n" else b"x" * 6_000_000)

    client = connect(listen(loop, serve), **SLOW)
    row = only(loop)
    client.sendall(b"one\ntw")
    turn_until(loop, lambda: row.outbox_bytes)
    received, began_at = 0, clock.now()
    while row.paused:
        clock.advance(10)
        received += len(receive(loop, client, 300_000))
        assert row.end is None
    assert clock.now() > began_at + 30
    pass_time(loop, clock, 29)
    assert (row.end, row.phase) == (None, Phase.RECEIVING)
    receive(loop, client, 6_000_000 - received)
    ask(loop, client, b"o\n", b"two\n")


def test_a_request_in_the_turn_of_the_idle_deadline_moves_it_by_idle_s(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    """What is not sent yet may stall for 30 s; but when it is sent, the row is idle again."""
    client = connect(listen(loop, echo, idle_s=5))
    row = only(loop)
    ask(loop, client, b"hello\n", b"hello\n")
    turns(loop)
    clock.advance(3)
    ask(loop, client, b"hello\n", b"hello\n")  # so that the entry in the heap, which is of before, asks again
    clock.advance(2)
    ask(loop, client, b"hello\n", b"hello\n")
    pass_time(loop, clock, 4.9)
    assert row.end is None
    pass_time(loop, clock, 0.2)
    assert row.end is End.LIMIT
    assert "idle_s" in row.detail


@pytest.mark.parametrize("where", ["reading", "sleeping"])
def test_a_goodbye_arrives_and_the_first_end_code_stands(
    loop: Reactor, connect: Any, clock: ManualClock, where: str, logged: Any
) -> None:
    async def serve(stream: Stream) -> None:
        try:
            await (stream.readline() if where == "reading" else sleep(1e6))
        except LimitError as error:
            stream.write(b"bye: " + error.limit.encode())
            raise ValueError("and this comes too late to change the end") from None

    client = connect(listen(loop, serve, work_s=10, idle_s=10))
    row = only(loop)
    turns(loop)
    pass_time(loop, clock, 10)
    expected = b"bye: idle_s" if where == "reading" else b"bye: work_s"
    assert receive_all(loop, client) == expected
    assert row.end is End.LIMIT
    assert len(logged()) == 1


def test_a_handler_that_ignores_the_limit_is_ended_all_the_same(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    refused: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        for _ in range(3):
            try:
                await stream.readline()
            except (LimitError, ConnectionLost) as error:
                refused.append(error)

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    pass_time(loop, clock, 75)
    turns(loop, 5)
    assert len(refused) == 3
    assert receive_all(loop, client) == b""
    client.close()
    until_gone(loop, row)
    assert row.end is End.LIMIT


def test_a_goodbye_may_be_drained(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def serve(stream: Stream) -> None:
        try:
            await stream.readline()
        except LimitError:
            stream.write(b"bye" * 100_000)
            await stream.drain()

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    pass_time(loop, clock, 75)
    assert receive_all(loop, client) == b"bye" * 100_000
    assert row.end is End.LIMIT


# -- lingering --------------------------------------------------------------------------------------------------------


def test_a_reply_of_3_mb_with_50_kb_unread_input_arrives_whole(loop: Reactor, connect: Any) -> None:
    """A plain close() answers the unread input with RST, which destroys the reply: 128,000 of 3,000,000 B arrived."""

    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"r" * 3_000_000)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"GET\n" + b"u" * 50_000)
    assert receive_all(loop, client) == b"r" * 3_000_000
    client.close()
    until_gone(loop, row)
    assert row.end is End.FINISHED


def test_input_that_arrives_while_lingering_is_discarded_and_counted(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    for i in range(10):
        client.sendall(b"x" * 1000)
        turn_until(loop, lambda i=i: row.bytes_in == 3 + 1000 * (i + 1))
    assert (row.phase, row.requests, row.inbox_bytes) == (Phase.LINGERING, 1, 0)


def test_lingering_is_bounded_in_seconds(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(b"bye")

    client = connect(listen(loop, serve))
    row = only(loop)
    assert receive_all(loop, client) == b"bye"
    assert row.phase is Phase.LINGERING
    for i in range(19):
        client.sendall(b"x")  # no byte buys it more time
        turn_until(loop, lambda i=i: row.bytes_in == i + 1)
        pass_time(loop, clock, 0.1)
    assert row.phase is Phase.LINGERING
    pass_time(loop, clock, 0.11)
    assert (row.phase, row.fd, row.end) == (Phase.CLOSED, -1, End.FINISHED)


def test_lingering_is_bounded_in_bytes(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()

    client = connect(listen(loop, serve, linger_bytes=10_000))
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    client.sendall(b"x" * 10_000)
    turn_until(loop, lambda: row.bytes_in == 10_003)
    assert row.phase is Phase.LINGERING
    client.sendall(b"x")
    until_gone(loop, row)


# -- the peer's end ---------------------------------------------------------------------------------------------------


async def reading(stream: Stream) -> None:
    await stream.readline()


async def draining(stream: Stream) -> None:
    stream.write(b"x" * 10_000_000)
    await stream.drain()


async def sleeping(stream: Stream) -> None:
    await sleep(1e6)


@pytest.mark.parametrize("wait", [reading, draining, sleeping], ids=lambda f: f.__name__)
def test_a_reset_is_told_at_the_await_and_is_a_normal_end(loop: Reactor, connect: Any, wait: Any) -> None:
    told: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        try:
            await wait(stream)
        except ConnectionLost as error:
            told.append(error)
            raise

    client = connect(listen(loop, serve), **SLOW)
    row = only(loop)
    turns(loop, 5)
    reset(client)
    until_gone(loop, row)
    turns(loop)
    assert row.end is End.PEER_RESET
    assert len(told) == 1
    assert f"row {row.id}" in str(told[0])
    assert isinstance(told[0], ConnectionError)
    assert row.coroutine is None


def test_a_reset_after_bytes_that_were_not_read(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    got: list[Any] = []

    async def serve(stream: Stream) -> None:
        await stream.readline()
        await sleep(5)
        try:
            got.append(await stream.readline())
        except ConnectionLost as error:
            got.append(error)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"go\nmore\n")
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    reset(client)
    until_gone(loop, row)
    pass_time(loop, clock, 5)
    assert row.end is End.PEER_RESET
    assert len(got) <= 1
    assert all(isinstance(item, ConnectionLost) for item in got)


WAIT_STATES: dict[str, Any] = {
    "paused": reading,
    "sleeping with a full inbox": sleeping,
    "draining": draining,
    "eof seen": sleeping,
    "reading": reading,
}


@pytest.mark.parametrize("state", WAIT_STATES)
def test_a_reset_never_makes_the_loop_spin(loop: Reactor, connect: Any, state: str) -> None:
    client = connect(listen(loop, WAIT_STATES[state]), **SLOW)
    row = only(loop)
    if state == "paused":
        row.pause("a test")
    elif state == "sleeping with a full inbox":
        client.settimeout(0.05)
        with contextlib.suppress(TimeoutError):
            client.sendall(b"x" * 200_000)
        turn_until(loop, lambda: row.inbox_bytes >= 65536)
    elif state == "eof seen":
        client.shutdown(socket.SHUT_WR)
    turns(loop, 10)
    reset(client)
    woken = sum(bool(turn.ready) for turn in turns(loop, 60))
    assert woken <= 4


@pytest.mark.parametrize("state", WAIT_STATES)
def test_an_end_of_stream_never_makes_the_loop_spin(loop: Reactor, connect: Any, state: str) -> None:
    client = connect(listen(loop, WAIT_STATES[state]), **SLOW)
    row = only(loop)
    if state == "paused":
        row.pause("a test")
    turns(loop, 10)
    client.shutdown(socket.SHUT_WR)
    woken = sum(bool(turn.ready) for turn in turns(loop, 60))
    assert woken <= 4


def test_a_reset_while_flushing_or_lingering(watched: Reactor, ends: Ends, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        size = int(await stream.readline())
        stream.write(b"x" * size)

    listener = listen(watched, serve)
    for size, phase, end in ((10_000_000, Phase.FLUSHING, End.PEER_RESET), (10, Phase.LINGERING, End.FINISHED)):
        client = connect(listener, **SLOW)
        row = only(watched)
        client.sendall(b"%d\n" % size)
        turn_until(watched, lambda row=row, phase=phase: row.phase is phase)
        turns(watched, 5)
        reset(client)
        until_gone(watched, row)
        assert row.end is end
    assert [end for _, end in ends.ends] == [End.PEER_RESET, End.FINISHED]


def test_the_peer_of_a_unix_socket_goes_away(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    listener = listen(loop, draining, f"unix://{tmp_path}/s.sock")
    client = connect(listener)
    row = only(loop)
    turns(loop, 5)
    client.close()
    until_gone(loop, row)
    assert row.end is End.PEER_RESET


# -- this program's end -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wait", [reading, draining, sleeping], ids=lambda f: f.__name__)
def test_abort_cuts_at_once_and_the_peer_sees_a_reset(loop: Reactor, connect: Any, wait: Any) -> None:
    told: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        try:
            await wait(stream)
        except ConnectionLost as error:
            told.append(error)

    client = connect(listen(loop, serve), **SLOW)
    row = only(loop)
    turns(loop, 5)
    row.abort("enough is enough")
    row.abort("twice")
    row.close()
    turns(loop)
    assert (row.end, row.fd, row.phase) == (End.ABORTED, -1, Phase.CLOSED)
    assert [str(error) for error in told] == [f"{row} was aborted: enough is enough"]
    assert loop.table.ended[-1].detail == "enough is enough"
    with pytest.raises(ConnectionResetError):
        read_to_the_end(client)


def test_abort_drops_what_was_written(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"not to be sent")
        stream.abort("a test")
        stream.write(b"nor this")

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"go\n")
    until_gone(loop, row)
    assert (row.bytes_out, row.outbox_bytes, row.end) == (0, 0, End.ABORTED)
    with pytest.raises(ConnectionResetError):
        client.recv(100)


@pytest.mark.parametrize("wait", [reading, sleeping], ids=lambda f: f.__name__)
def test_close_by_another_flushes_and_the_handler_hears_of_it(loop: Reactor, connect: Any, wait: Any) -> None:
    told: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        stream.write(b"y" * 500_000)
        try:
            await wait(stream)
        except (ConnectionLost, Cancelled) as error:
            told.append(error)
            raise

    client = connect(listen(loop, serve))
    row = only(loop)
    row.close()
    row.close()
    assert receive_all(loop, client) == b"y" * 500_000
    client.close()
    until_gone(loop, row)
    turns(loop)
    assert row.end is End.FINISHED
    assert len(told) == 1
    assert row.coroutine is None


def test_who_is_lost_twice_ends_once(loop: Reactor, connect: Any) -> None:
    connect(listen(loop, echo))
    row = only(loop)
    for number in (errno.ECONNRESET, errno.EPIPE):
        row.lose(OSError(number, os.strerror(number)))
        assert row.phase is Phase.CLOSED
    turns(loop)
    (ended,) = loop.table.ended
    assert (ended.end, ended.detail) == (End.PEER_RESET, "[Errno 104] Connection reset by peer")


def test_a_handler_that_closes_its_own_row_may_go_on_without_it(loop: Reactor, connect: Any) -> None:
    went_on: list[int] = []

    async def serve(stream: Stream) -> None:
        stream.write(b"last words")
        stream.close()
        stream.close()
        with pytest.raises(ConnectionLost):
            await stream.readline()
        await sleep(0)
        went_on.append(1)

    client = connect(listen(loop, serve))
    row = only(loop)
    assert receive_all(loop, client) == b"last words"
    client.close()
    until_gone(loop, row)
    turns(loop)
    assert went_on == [1]
    assert row.end is End.FINISHED


def test_once_closing_no_further_request_is_served(loop: Reactor, connect: Any) -> None:
    """A good request behind one that ended the connection, in one packet, must not run."""
    served: list[bytes] = []

    async def serve(stream: Stream) -> None:
        async for line in stream.frames(Lines()):
            served.append(line)
            if line == b"quit\n":
                stream.close()
                with contextlib.suppress(ConnectionLost):
                    served.append(await stream.readline())

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"one\nquit\nthree\nfour\n")
    assert receive_all(loop, client) == b""
    assert served == [b"one\n", b"quit\n"]
    assert row.requests == 2


def test_cleanup_of_a_cut_handler_may_wait_and_use_others(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    done: list[str] = []

    async def serve(stream: Stream) -> None:
        try:
            await stream.readline()
        finally:
            stream.write(b"to nobody")
            await sleep(3)
            with contextlib.suppress(ConnectionLost):
                await stream.readline()
            done.append("cleaned up")

    reset(connect(listen(loop, serve)))
    turn_until(loop, lambda: loop.table.ended or streams(loop))
    turn_until(loop, lambda: not streams(loop))
    turns(loop)
    assert done == []
    pass_time(loop, clock, 3)
    turns(loop)
    assert done == ["cleaned up"]


@pytest.mark.parametrize("end", ["peer closed", "finished", "limit", "reset while flushing", "abort while flushing"])
def test_whoever_drains_the_row_of_another_hears_that_it_is_gone(
    loop: Reactor, connect: Any, clock: ManualClock, end: str
) -> None:
    rows: list[Stream] = []
    told: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        if len(rows) == 1:
            if await stream.readline() == b"flush\n":
                stream.write(b"x" * 10_000_000)
                await sleep(1)
            return
        while await stream.readline():
            try:
                await rows[0].drain()
            except ConnectionLost as error:
                told.append(error)
            stream.write(b"still here\n")

    listener = listen(loop, serve, idle_s=1000)
    client = connect(listener, **SLOW)
    row = only(loop)
    other = connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    flushing = "while flushing" in end
    if flushing:
        client.sendall(b"flush\n")
        turn_until(loop, lambda: row.outbox_bytes)
        other.sendall(b"drain\n")
        turn_until(loop, lambda: rows[1].phase is Phase.WORKING)
        pass_time(loop, clock, 1)
        assert row.phase is Phase.FLUSHING
        assert told == []
        reset(client) if "reset" in end else row.abort("a test")
    elif end == "limit":
        clock.advance(999)
        ask(loop, other, b"\n", b"still here\n")
        pass_time(loop, clock, 1)
    elif end == "finished":
        client.sendall(b"go\n")
        turns(loop)
    if not flushing:
        client.close()
    until_gone(loop, row)
    if not flushing:
        other.sendall(b"drain\n")
    assert receive(loop, other, 11) == b"still here\n"
    assert len(told) == 1


# -- failures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [ValueError("wrong"), OSError(5, "disk"), AssertionError(), MemoryError()])
def test_a_failing_handler_closes_its_row_and_nothing_else(
    watched: Reactor, ends: Ends, connect: Any, logged: Any, error: Exception
) -> None:
    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line)
            if line == b"fail\n":
                raise error

    listener = listen(watched, serve)
    bad, good = connect(listener), connect(listener)
    turn_until(watched, lambda: len(streams(watched)) == 2)
    row, other = streams(watched)
    bad.sendall(b"one\nfail\n")
    assert receive_all(watched, bad) == b"one\nfail\n"  # what it wrote before is sent
    bad.close()
    until_gone(watched, row)
    assert (row.end, row.detail.split(":")[0]) == (End.HANDLER_FAILED, type(error).__name__)
    (record,) = logged()
    assert f"row {row.id}" in record.getMessage()
    assert record.exc_info[1] is error
    assert ends.errors == [error]
    ask(watched, good, b"still served\n", b"still served\n")
    assert other.end is None


def test_a_handler_that_fails_at_its_first_step(loop: Reactor, connect: Any, logged: Any) -> None:
    async def serve(stream: Stream) -> None:
        raise ValueError("at once")

    listener = listen(loop, serve)
    for _ in range(3):
        client = connect(listener)
        assert receive_all(loop, client) == b""
        client.close()
    turn_until(loop, lambda: not streams(loop))
    assert len(logged()) == 3


def test_a_handler_that_fails_after_a_sleep(loop: Reactor, connect: Any, clock: ManualClock, logged: Any) -> None:
    async def serve(stream: Stream) -> None:
        await sleep(1)
        raise ValueError("later")

    client = connect(listen(loop, serve))
    row = only(loop)
    pass_time(loop, clock, 1)
    assert receive_all(loop, client) == b""
    assert row.end is End.HANDLER_FAILED
    assert len(logged()) == 1


class Polite(Lines):
    """Lines with a word for what is no line."""

    def refusal(self, error: FramingError | LimitError) -> bytes:
        return b"-ERR " + type(error).__name__.encode() + b"\r\n"


def test_a_framing_error_is_refused_with_the_words_of_the_framing(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def serve(stream: Stream) -> None:
        async for line in stream.frames(Polite(max_bytes=10)):
            stream.write(line)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"good\n" + b"x" * 11 + b"\nnever served\n")
    assert receive_all(loop, client) == b"good\n-ERR FramingError\r\n"
    client.close()
    until_gone(loop, row)
    assert row.end is End.BAD_FRAME
    lines = [record.getMessage() for record in caplog.records if record.name == "reactor"]
    assert len(lines) == 1
    assert "\n" not in lines[0]
    assert f"row {row.id}" in lines[0]


def test_a_limit_that_a_handler_lets_pass_is_refused_too(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def serve(stream: Stream) -> None:
        async for line in stream.frames(Polite()):
            stream.write(line)

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    pass_time(loop, clock, 75)
    assert receive_all(loop, client) == b"-ERR LimitError\r\n"
    assert row.end is End.LIMIT


@pytest.mark.parametrize("after", ["a read", "a sleep"])
def test_a_refusal_that_does_not_fit_the_outbox_ends_the_row(
    loop: Reactor, connect: Any, clock: ManualClock, after: str, logged: Any
) -> None:
    async def serve(stream: Stream) -> None:
        await stream.frame(Polite())
        if after == "a sleep":
            await sleep(1)
        while True:
            stream.write(b"x" * 99_999)

    client = connect(listen(loop, serve, counting(4096), outbox_bytes=100_000, outbox_high_bytes=100_000), **SLOW)
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.requests)
    pass_time(loop, clock, 1)
    turns(loop, 3)
    assert row.end in (End.LIMIT, End.HANDLER_FAILED)
    logged()
    reset(client)
    until_gone(loop, row)


def counting(send_buffer: int) -> socket.socket:
    """Return a listening socket whose connections have small send buffers."""
    listener = socket.socket()
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


class Broken(Framing[bytes]):
    """A framing with a defect in one of its methods."""

    def __init__(self, where: str) -> None:
        self.where = where

    def fresh(self) -> "Broken":
        if self.where == "fresh":
            raise ZeroDivisionError(self.where)
        return self

    def next_frame(self, inbox: Any, eof: bool) -> bytes:
        if len(inbox) and self.where == "next_frame":
            raise ZeroDivisionError(self.where)
        if self.where == "refusal" and len(inbox):
            raise FramingError("bad")
        return Lines().next_frame(inbox, eof)  # type: ignore[return-value]

    def refusal(self, error: FramingError | LimitError) -> bytes:
        raise ZeroDivisionError(self.where)


def decode(frame: bytes) -> bytes:
    raise ZeroDivisionError("decode")


FRAMINGS: dict[str, tuple[Callable[[], Framing[Any]], End]] = {
    "fresh": (lambda: Broken("fresh"), End.HANDLER_FAILED),
    "next_frame": (lambda: Broken("next_frame"), End.HANDLER_FAILED),
    "refusal": (lambda: Broken("refusal"), End.HANDLER_FAILED),
    "decode": (lambda: LengthPrefixed(1).map(decode), End.BAD_FRAME),
}


@pytest.mark.parametrize("where", FRAMINGS)
def test_a_framing_that_raises_costs_its_row_only(loop: Reactor, connect: Any, where: str, logged: Any) -> None:
    make, end = FRAMINGS[where]

    async def serve(stream: Stream) -> None:
        async for frame in stream.frames(make()):
            stream.write(frame)

    listener = listen(loop, echo)
    good = connect(listener)
    only(loop)
    bad = connect(listen(loop, serve))
    turn_until(loop, lambda: len(streams(loop)) == 2)
    row = streams(loop)[1]
    with contextlib.suppress(ConnectionError):
        bad.sendall(b"\1x\n")
        assert receive_all(loop, bad) == b""
    bad.close()
    until_gone(loop, row)
    turns(loop)
    assert row.end in (end, End.BAD_FRAME)
    assert row.coroutine is None
    assert len(logged()) == (end is End.HANDLER_FAILED)
    ask(loop, good, b"still served\n", b"still served\n")


class BrokenObserver(Observer):
    """Raises in everything it is told."""

    def __init__(self, error: type[Exception]) -> None:
        self.error = error
        self.calls: Counter[str] = Counter()

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):

            def fail(*args: object) -> None:
                self.calls[name] += 1
                raise self.error(name)

            return fail
        return super().__getattribute__(name)


@pytest.mark.parametrize("error", [ValueError, OSError, ConnectionLost, LimitError])
def test_an_observer_that_raises_costs_nothing(make_loop: Any, connect: Any, error: Any, logged: Any) -> None:
    make = error if error is not LimitError else lambda name: LimitError(name, 1, 2)
    broken = BrokenObserver(make)
    loop = make_loop(observers=[broken])

    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line)
            if line == b"fail\n":
                raise KeyError("a failure, for on_error")

    listener = listen(loop, serve)
    client = connect(listener)
    row = only(loop)
    client.sendall(b"two pie")
    turn_until(loop, lambda: row.bytes_in == 7)
    ask(loop, client, b"ces\n", b"two pieces\n")
    client.sendall(b"fail\n")
    assert receive_all(loop, client) == b"fail\n"
    client.close()
    until_gone(loop, row)
    assert set(broken.calls) == {"on_turn", "on_open", "on_phase", "on_frame", "on_error", "on_end"}
    assert row.end is End.HANDLER_FAILED
    assert len(logged()) == sum(broken.calls.values()) + 1


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["first step", "after a read", "after a sleep", "posted", "later"])
def test_what_leaves_the_loop_leaves_it_whole(
    loop: Reactor, connect: Any, clock: ManualClock, error: type[BaseException], where: str
) -> None:
    """The loop can be run again, the others are served, nothing is lost: no row, no timer, no descriptor."""

    def fail() -> None:
        raise error(where)

    async def leave(stream: Stream) -> None:
        if where == "after a read":
            await stream.readline()
        elif where == "after a sleep":
            await sleep(1)
        fail()

    async def sleeper(stream: Stream) -> None:
        await sleep(1)
        stream.write(b"woke up")
        await stream.readline()

    by_echo, by_sleeper = listen(loop, echo), listen(loop, sleeper)
    good, sleepy = connect(by_echo), connect(by_sleeper)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    descriptors = len(os.listdir("/proc/self/fd")) if os.path.exists("/proc/self/fd") else None
    if where == "posted":
        loop.call_soon(fail)
        loop.call_soon(by_echo.pause)
        loop.call_soon(by_echo.resume)
    elif where == "later":
        loop.call_later(1, fail)
    else:
        bad = connect(listen(loop, leave))
        if where == "after a read":
            turn_until(loop, lambda: len(streams(loop)) == 3)
            bad.sendall(b"go\n")
    good.sendall(b"in the same batch\n")
    if where in ("after a sleep", "later"):
        turns(loop)
        clock.advance(1)
    with pytest.raises(error, match=where):
        turns(loop, 5)
    clock.advance(1)
    assert receive(loop, good, 18) == b"in the same batch\n"
    assert receive(loop, sleepy, 7) == b"woke up"
    if where not in ("posted", "later"):
        with pytest.raises(ConnectionResetError):
            read_to_the_end(bad)
        bad.close()
        for row in loop.table:
            if row.kind == "listener" and row.listener.startswith("leave"):
                row.close()
    turns(loop)
    assert len(streams(loop)) == 2
    if descriptors is not None:
        assert len(os.listdir("/proc/self/fd")) == descriptors
    ask(loop, good, b"after\n", b"after\n")


def test_run_is_left_by_keyboard_interrupt_and_runs_again(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            if line == b"interrupt\n":
                raise KeyboardInterrupt
            if line == b"stop\n":
                loop.stop()
            stream.write(line)

    listener = listen(loop, serve)
    first, second = connect(listener), connect(listener)
    first.sendall(b"interrupt\n")
    with pytest.raises(KeyboardInterrupt):
        loop.run(handle_signals=False)
    second.sendall(b"stop\n")
    report = loop.run(handle_signals=False)
    assert second.recv(100) == b"stop\n"
    assert not report.aborted
    assert threading.active_count() == 1


# -- one batch, one owner ---------------------------------------------------------------------------------------------

ACTIONS = ["close self", "close other", "close all", "abort other", "open new"]


@pytest.mark.parametrize("action", ACTIONS)
def test_every_row_of_a_batch_ends_exactly_once_whoever_ends_whom(
    watched: Reactor, ends: Ends, connect: Any, action: str
) -> None:
    """All ordered pairs of 4 rows that are ready in one batch: `actor` acts on `target` while the others wait."""
    loop = watched
    rows: list[Stream] = []
    pairs = [(a, b) for a in range(4) for b in range(4) if a != b]
    opened: list[Any] = []
    clients_of_new: list[socket.socket] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        while line := await stream.readline():
            stream.write(line)
            if line == b"act\n":
                target = rows[int(await stream.readline())]
                if action == "close self":
                    stream.close()
                elif action == "close other":
                    target.close()
                elif action == "abort other":
                    target.abort("a test")
                elif action == "close all":
                    for row in rows:
                        row.close()
                else:
                    opened.append(listen(loop, echo))
                    clients_of_new.append(connect(opened[-1]))

    listener = listen(loop, serve)
    for actor, target in pairs:
        rows.clear()
        ends.ends.clear()
        clients = []
        for i in range(4):
            clients.append(connect(listener))
            turn_until(loop, lambda i=i: len(rows) == i + 1)
        ours = list(rows)
        for i, client in enumerate(clients):
            client.sendall(b"act\n%d\n" % target if i == actor else b"hello\n")
        loop.step(1)
        turns(loop)
        for i, client in enumerate(clients):
            expected = b"act\n" if i == actor else b"hello\n"
            cut = action == "abort other" and i == target
            closed = action == "close all" or i == {"close self": actor, "close other": target}.get(action)
            try:
                assert receive(loop, client, len(expected)) == expected or (cut or closed)
                if not cut and not closed:
                    ask(loop, client, b"more\n", b"more\n")
                    client.shutdown(socket.SHUT_WR)
                assert receive_all(loop, client) == b"" or cut or closed
            except ConnectionError:
                assert cut
            client.close()
        turn_until(loop, lambda ours=ours: all(row.fd < 0 for row in ours))
        assert sorted(number for number, _ in ends.ends) == sorted(row.id for row in ours)
        codes = dict(ends.ends)
        if action == "abort other":
            assert codes[ours[target].id] is End.ABORTED
        for client in clients_of_new:
            ask(loop, client, b"new\n", b"new\n")
            client.close()
        turn_until(loop, lambda: not streams(loop))
        for new in opened:
            new.close()
        opened.clear()
        clients_of_new.clear()
    assert {row.kind for row in loop.table} <= {"listener", "waker"}


def test_a_descriptor_is_not_reused_within_a_batch(loop: Reactor, connect: Any) -> None:
    """The first row of a batch closes the second and opens sockets: the second's event must not reach those."""
    rows: list[Stream] = []
    opened: list[socket.socket] = []
    descriptors: list[int] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        await stream.readline()
        for row in rows:
            if row is not stream:
                descriptors.append(row.fd)
                row.abort("a test")
        opened.extend(socket.socket() for _ in range(5))

    listener = listen(loop, serve)
    clients = [connect(listener) for _ in range(2)]
    turn_until(loop, lambda: len(rows) == 2)
    turns(loop)
    for client in clients:
        client.sendall(b"go\n")
    turn_until(loop, lambda: opened)
    try:
        assert len(descriptors) == 1
        assert descriptors[0] not in [sock.fileno() for sock in opened]
    finally:
        for sock in opened:
            sock.close()


# -- anything goes ----------------------------------------------------------------------------------------------------

READ, WRITE = 1, 2


class Client:
    """A client of the random walk, which checks that what comes back is what it sent, in order and from the start."""

    def __init__(self, sock: socket.socket, dice: random.Random) -> None:
        self.sock, self.dice = sock, dice
        sock.setblocking(False)
        self.sent, self.received = bytearray(), 0
        self.finished = False

    def send(self) -> None:
        size = self.dice.choice([1, 3, 10, 100, 5000, 70_000])
        data = bytes(self.dice.choice(b"abcdefgh\n\n") for _ in range(min(size, 200))) * max(1, size // 200)
        with contextlib.suppress(BlockingIOError, ConnectionError):
            self.sent += data[: self.sock.send(data)]

    def read(self) -> None:
        with contextlib.suppress(BlockingIOError, ConnectionError):
            data = self.sock.recv(self.dice.choice([10, 1000, 100_000]))
            assert self.sent[self.received : self.received + len(data)] == data
            self.received += len(data)

    def leave(self) -> None:
        self.finished = True
        how = self.dice.choice(["half", "close", "reset"])
        if how == "half":
            with contextlib.suppress(OSError):
                self.sock.shutdown(socket.SHUT_WR)
            self.finished = False
        elif how == "close":
            self.sock.close()
        else:
            reset(self.sock)


@pytest.mark.parametrize("seed", range(8))
def test_a_random_walk_keeps_every_invariant(
    watched: Reactor, ends: Ends, connect: Any, clock: ManualClock, seed: int
) -> None:
    dice, loop = random.Random(seed), watched
    rows: list[Stream] = []

    async def answer(stream: Stream) -> None:
        while line := await stream.readline(max_bytes=1 << 20):
            stream.write(line)

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        kind = dice.randrange(5)
        if kind == 0:
            await stream.spawn(answer, stream).wait()
        while line := await stream.readline(max_bytes=1 << 20):
            if kind == 1:
                await sleep(dice.choice([0, 0, 1]))
            stream.write(line)
            if kind == 2:
                await stream.drain()
            elif kind == 3:
                with contextlib.suppress(TimeoutError):
                    async with timeout(1):
                        await sleep(dice.choice([0, 1, 2]))

    limits = {"frames_per_turn": dice.choice([1, 3, 32]), "outbox_high_bytes": dice.choice([100, 65536])}
    limits["outbox_low_bytes"] = limits["outbox_high_bytes"] // 4
    listener = listen(loop, serve, counting(dice.choice([4096, 200_000])), **limits)
    loop.budget = ByteBudget(loop, dice.choice([None, 50_000, 500_000]))
    clients: list[Client] = []
    for _ in range(600):
        clients = [client for client in clients if not client.finished]
        live = streams(loop)
        action = dice.randrange(100)
        if (action < 10 and len(clients) < 12) or not clients:
            clients.append(Client(connect(listener, receive_buffer=dice.choice([4096, 1 << 20])), dice))
        elif action < 14:
            dice.choice(clients).leave()
        elif action < 40:
            dice.choice(clients).send()
        elif action < 60:
            dice.choice(clients).read()
        elif action < 80 and live:
            row = dice.choice(live)
            dice.choice([
                lambda row=row: row.pause("a test"), lambda row=row: row.resume("a test"),
                lambda row=row: row.resume("a test"), lambda row=row: row.resume("a test"),
                lambda row=row: row.resume("a test"), lambda row=row: row.resume("never given"),
                lambda row=row: dice.random() < 0.2 and row.close(),
                lambda row=row: dice.random() < 0.2 and row.abort("a test"),
            ])()  # fmt: skip
        elif action < 84:
            clock.advance(dice.choice([0.5, 1, 10, 31]))
        turns(loop, 2)
        assert not loop.dirty
        assert listener.row.members == len(streams(loop)) == loop.table.connections
        assert loop.buffered_bytes == sum(row.buffered_bytes for row in streams(loop))
        assert loop.budget.is_short or not any("budget" in row.paused for row in streams(loop))
        for row in streams(loop):
            assert row.phase is not Phase.CLOSED
            assert bool(row.interest & WRITE) is bool(row.outbox_bytes)
            assert not (row.interest & READ and row.paused and row.phase is not Phase.LINGERING), row
            assert row.inbox_bytes <= 2 * 65536  # no line is long
            due = row.deadline_at()
            assert due is None or (row.guarded_at is not None and row.guarded_at <= due), row
            assert row.bytes_out <= row.bytes_in
    for row in streams(loop):
        row.resume("a test")
    for client in clients:
        client.sock.close()
    for _ in range(10):
        pass_time(loop, clock, 31)
    assert not streams(loop)
    assert (loop.buffered_bytes, loop.budget.is_short) == (0, False)
    assert not loop.tasks
    assert [row for row in rows if row.waiting_at is not None] == []
    assert sorted(number for number, _ in ends.ends) == sorted(row.id for row in rows)


# -- nothing is left --------------------------------------------------------------------------------------------------


def count_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
def test_1000_connections_leave_nothing_behind(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "reactor")  # pytest keeps the records, and these the rows that they name
    listener = listen(loop, echo)
    warm = connect(listener)
    only(loop)
    ask(loop, warm, b"x\n", b"x\n")
    rows, descriptors = len(loop.table), count_descriptors()
    leave = [
        lambda client: client.shutdown(socket.SHUT_WR),
        reset,
        lambda client: client.close(),
        lambda client: (client.sendall(b"half"), client.close()),
    ]
    for i in range(250):
        clients = [socket.create_connection(listener.address) for _ in range(4)]
        for client in clients:
            client.sendall(b"x\n")
        turn_until(loop, lambda i=i: listener.row.requests == 4 * i + 5)
        for go, client in zip(leave, clients, strict=True):
            go(client)
        turn_until(loop, lambda: len(loop.table) == rows)
        for client in clients:
            client.close()
    loop.turn(0)  # in which handlers hear of the end of their rows
    assert len(loop.table) == rows
    assert count_descriptors() == descriptors
    assert len(loop.deadlines) <= 140
    assert len(loop.timers) == 0
    assert not loop.dirty
    assert not loop.again
    assert len(loop.table.ended) <= 100
    gc.collect()
    # A heap of deadlines may remember up to 64 rows that have ended, until it is purged.
    assert sum(type(thing) is Stream and thing.loop is loop for thing in gc.get_objects()) <= 140
    assert listener.row.members == 1


def test_an_ended_row_holds_no_bytes_and_no_handler(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"x" * 10_000_000)
        await stream.readexactly(1_000_000)

    client = connect(listen(loop, serve), **SLOW)
    row = only(loop)
    client.sendall(b"go\n" + b"y" * 50_000)
    turn_until(loop, lambda: row.outbox_bytes and row.inbox_bytes)
    row.abort("a test")
    turns(loop)
    assert (row.inbox_bytes, row.outbox_bytes, row.waiting_at, row.coroutine) == (0, 0, None, None)
    assert row.fd == -1
    assert row.sock.fileno() == -1
    assert row not in loop.table


@pytest.mark.skipif(not os.path.exists("/proc/self/fd"), reason="needs /proc")
@pytest.mark.parametrize("wait", [reading, draining, sleeping], ids=lambda f: f.__name__)
def test_closing_the_reactor_gives_every_descriptor_back(make_loop: Any, connect: Any, wait: Any) -> None:
    before = count_descriptors()
    told: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        try:
            await wait(stream)
        except ConnectionLost as error:
            told.append(error)

    loop = make_loop()
    listener = listen(loop, serve)
    clients = [connect(listener) for _ in range(5)]
    turn_until(loop, lambda: len(streams(loop)) == 5)
    loop.close()
    loop.close()
    for client in clients:
        client.close()
    assert len(told) == 5
    assert count_descriptors() == before
