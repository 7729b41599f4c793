"""Points of the engine that faults planted on purpose had shown to be held by no test: see `tests/mutants`."""

import contextlib
import errno
from typing import Any

import pytest

from reactor import (
    End,
    HttpRequests,
    LengthPrefixed,
    LimitError,
    ManualClock,
    Netstring,
    Phase,
    Reactor,
    Stream,
    sleep,
    timeout,
)
from reactor.buffers import Inbox
from reactor.errors import FramingError
from reactor.framing import Framing
from reactor.needs import Need
from reactor.table import READ
from tests.driving import ask, listen, only, receive, receive_all, streams, turn_until, turns, until_gone

pytestmark = pytest.mark.usefixtures("no_errors_left")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


# -- the turn ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seconds", [10, 100])
def test_a_later_timer_does_not_hide_an_earlier_deadline(loop: Reactor, connect: Any, seconds: float) -> None:
    connect(listen(loop, echo))
    only(loop)
    turns(loop)
    loop.call_later(seconds, bool)
    assert loop.next_turn_in_s() == pytest.approx(min(seconds, 75))


def test_a_drain_that_is_over_leaves_no_timer(loop: Reactor) -> None:
    for _ in range(2):
        loop.stop()
        loop.run(handle_signals=False)
        assert loop.timers.next_at is None


def test_a_row_is_queued_once_whoever_asks(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    row.requeue()
    row.requeue()
    assert list(loop.again) == [row]
    loop.step()
    assert not loop.again
    ask(loop, client, b"still here\n", b"still here\n")


def test_a_loop_with_work_at_hand_does_not_wait_for_the_selector(loop: Reactor, connect: Any) -> None:
    connect(listen(loop, echo))
    row = only(loop)
    turns(loop)
    assert loop.next_turn_in_s() != 0
    row.requeue()
    assert loop.next_turn_in_s() == 0


class Broken(Framing[bytes]):
    """Fails at its first byte, in a way that no framing should."""

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        if len(inbox):
            raise ValueError("broken")
        return Need.more()


def test_a_row_that_fails_holds_up_no_other_of_its_batch(loop: Reactor, connect: Any, logged: Any) -> None:
    async def broken(stream: Stream) -> None:
        await stream.frame(Broken())

    bad, good = listen(loop, broken), listen(loop, echo)
    clients = [connect(listener) for listener in (bad, good, bad)]
    turn_until(loop, lambda: len(streams(loop)) == 3)
    turns(loop)
    for client in clients:
        client.sendall(b"hello\n")
    loop.step()
    clients[1].setblocking(False)
    assert clients[1].recv(10) == b"hello\n"
    assert len(logged()) == 2


def test_the_waker_is_emptied_at_once(loop: Reactor) -> None:
    loop.step(0.001)  # which makes it
    called: list[int] = []
    for number in range(100):
        loop.call_soon(called.append, number)
    loop.step()
    assert called == list(range(100))
    assert [turn.ready for turn in turns(loop)] == [()] * 3


def test_who_lingers_because_the_peer_still_sends_is_not_aborted_at_the_deadline(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(await stream.readline())

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"hello\n")
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    client.sendall(b"more")
    turn_until(loop, lambda: row.bytes_in == 10)
    loop.stop(drain_s=0)
    report = loop.run(handle_signals=False)
    assert (len(report.finished), len(report.aborted)) == (1, 0)
    assert client.recv(100) == b"hello\n"
    assert client.recv(100) == b""


# -- listeners --------------------------------------------------------------------------------------------------------


def test_rows_that_close_leave_one_retry_pending(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    clients = [connect(listener) for _ in range(4)]
    turn_until(loop, lambda: len(streams(loop)) == 4)

    def fails() -> None:
        raise OSError(errno.EMFILE, "no more")

    listener.row._accept = fails
    connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    for client in clients:
        client.close()
        turns(loop, 5)
        assert sum(entry[2].function is not None for entry in loop.timers._heap) <= 1
    assert not streams(loop)


def test_a_place_that_is_free_again_ends_no_other_pause(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo, connections=1)
    first, second = connect(listener), connect(listener)
    turn_until(loop, lambda: listener.row.paused == {"connections"})
    listener.pause()
    first.close()
    turn_until(loop, lambda: not streams(loop))
    turns(loop)
    assert listener.row.paused == {"user"}
    listener.resume()
    ask(loop, second, b"hello\n", b"hello\n")


# -- connections ------------------------------------------------------------------------------------------------------


def test_readiness_without_bytes_is_neither_an_end_nor_a_loss(loop: Reactor, connect: Any) -> None:
    """Linux reports a socket as readable whose bytes it then finds damaged: select(2), BUGS."""
    client = connect(listen(loop, echo))
    row = only(loop)
    turns(loop)
    for short in (READ, None):  # the short way, and the long one
        row.short = short
        row.on_ready(READ)
        turns(loop)
        assert (row.end, row.no_more, row.bytes_in) == (None, None, 0)
    ask(loop, client, b"one\n", b"one\n")


def test_an_outbox_may_be_filled_to_its_very_cap(loop: Reactor, connect: Any) -> None:
    connect(listen(loop, echo), receive_buffer=8192)
    row = only(loop)
    cap = row.limits.outbox_bytes
    row.write(b"x" * cap)
    turns(loop, 20)
    assert 0 < row.outbox_bytes < cap
    row.write(b"y" * (cap - row.outbox_bytes))
    assert row.outbox_bytes == cap
    with pytest.raises(LimitError, match="outbox_bytes"):
        row.write(b"z")
    assert row.outbox_bytes == cap
    row.abort("the test is over")


def test_an_abort_does_not_destroy_a_reply_that_only_lingers(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(b"x" * 1000)

    client = connect(listen(loop, serve))
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    row.abort("a test")
    until_gone(loop, row)
    assert row.end is End.FINISHED
    assert receive_all(loop, client) == b"x" * 1000


def test_the_next_request_has_all_its_time_however_long_the_last_one_took(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    turns(loop)
    client.sendall(b"one")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    clock.advance(29)
    turns(loop)
    client.sendall(b"\ntwo")  # the first is complete, and the next one has begun in the same packet
    assert receive(loop, client, 4) == b"one\n"
    clock.advance(29)
    turns(loop)
    assert (row.end, row.phase) == (None, Phase.RECEIVING)
    ask(loop, client, b"\n", b"two\n")


def test_a_reply_is_not_destroyed_by_more_unread_input_than_one_read_takes(loop: Reactor, connect: Any) -> None:
    """What is left in the kernel when the socket is closed makes it answer with a reset, unless the row lingers."""

    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"r" * 3_000_000)

    client = connect(listen(loop, serve), receive_buffer=8192)
    row = only(loop)
    row.pause("until all of it is here")
    client.sendall(b"GET\n" + b"u" * 100_000)
    row.resume("until all of it is here")
    assert receive_all(loop, client) == b"r" * 3_000_000
    client.close()
    until_gone(loop, row)
    assert row.end is End.FINISHED


def test_what_a_framing_says_by_itself_answers_no_request(loop: Reactor, connect: Any) -> None:
    async def sink(stream: Stream) -> None:
        requests = HttpRequests()
        await stream.frame(requests)
        await stream.frame(requests)

    client = connect(listen(loop, sink))
    row = only(loop)
    client.sendall(b"PUT / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert receive(loop, client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"ab")
    turn_until(loop, lambda: row.requests == 1)
    turns(loop)
    assert row.phase is Phase.RECEIVING  # the request is under way: nobody has answered it


def test_bytes_that_came_while_the_handler_did_something_else_are_read(loop: Reactor, connect: Any) -> None:
    got: list[bytes] = []

    async def serve(stream: Stream) -> None:
        got.append(await stream.readexactly(2))
        await sleep(0)
        got.append(await stream.readexactly(2))

    client = connect(listen(loop, serve))
    client.sendall(b"abcd")
    turn_until(loop, lambda: len(got) == 2)
    assert got == [b"ab", b"cd"]


def test_all_who_drain_a_row_are_woken(loop: Reactor, connect: Any) -> None:
    woken: list[int] = []
    connect(listen(loop, echo))
    row = only(loop)

    async def drain(number: int) -> None:
        await row.drain()
        woken.append(number)

    for number in range(3):
        loop.spawn(drain, number)
    turns(loop, 5)
    assert woken == [0, 1, 2]


def test_a_handler_that_fails_on_the_row_of_another_costs_its_own_only(
    loop: Reactor, connect: Any, logged: Any
) -> None:
    rows: list[Stream] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        if len(rows) == 1:
            await sleep(1_000_000)
        await rows[0].readline()
        raise ValueError("wrong")

    listener = listen(loop, serve)
    quiet = connect(listener)
    turn_until(loop, lambda: len(rows) == 1)
    other = connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    turns(loop)
    quiet.sendall(b"for the other\n")
    assert receive_all(loop, other) == b""
    other.close()
    until_gone(loop, rows[1])
    assert rows[1].end is End.HANDLER_FAILED
    assert rows[0].end is None
    assert streams(loop) == [rows[0]]
    assert len(logged()) == 1


# -- framings and files -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("framing", [LengthPrefixed(1, max_bytes=5), Netstring(max_bytes=5)], ids=["prefix", "netstring"])
def test_a_frame_of_the_very_limit_is_taken(framing: Framing[bytes]) -> None:
    inbox = Inbox(65536)
    inbox.feed(framing.encode(b"12345") + framing.encode(b"123456"))
    assert framing.next_frame(inbox, False) == b"12345"
    with pytest.raises(FramingError):
        framing.next_frame(inbox, False)


class Told(Framing[bytes]):
    """Never has a frame, and remembers that it was given up."""

    abandoned = 0

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        return self._incomplete(inbox, eof, Need.more())

    def abandon(self) -> None:
        self.abandoned += 1


def test_a_framing_that_was_switched_is_told(loop: Reactor, connect: Any) -> None:
    """As one that holds a file with half a request must be."""
    framing = Told()
    lines: list[bytes] = []

    async def serve(stream: Stream) -> None:
        with contextlib.suppress(TimeoutError):
            async with timeout(5):
                await stream.frame(framing)
        assert framing.abandoned == 0
        lines.append(await stream.readline())

    client = connect(listen(loop, serve))
    only(loop)
    client.sendall(b"line\n")
    turns(loop, 5)
    assert isinstance(loop.clock, ManualClock)
    loop.clock.advance(6)
    turn_until(loop, lambda: lines)
    assert (lines, framing.abandoned) == ([b"line\n"], 1)
