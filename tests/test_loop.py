"""The loop: the five stages and their order, calls from elsewhere, errors that cost only their own, and rest."""

import contextlib
import itertools
import logging
import os
import selectors
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from reactor import (
    Datagram,
    End,
    Limits,
    ManualClock,
    Observer,
    Phase,
    Reactor,
    Row,
    Stream,
    Turn,
    sleep,
    spawn,
)
from reactor.socketserver import BaseRequestHandler, ForkingMixIn, TCPServer, ThreadingTCPServer
from reactor.stages import DUE_MOST, DUE_PER_TURN
from tests.driving import ask, listen, only, receive_all, streams, turn_until, turns
from tests.running import PATIENCE_S, PROMPT_S, Running, Waits, descriptors, python, seconds_of, wait_for

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Unshowable(Exception):
    """An exception whose message cannot be had."""

    def __str__(self) -> str:
        raise RuntimeError("no message")


FOUR_ERRORS = [ValueError("bad"), OSError(9, "bad descriptor"), RecursionError("too deep"), Unshowable()]


class Probe(Row):
    """A row that notes which of its methods the loop calls."""

    __slots__ = ("at", "far", "log", "requeue")

    def __init__(self, loop: Reactor, log: list[str], *, at: float | None = None, requeue: bool = False) -> None:
        near, self.far = socket.socketpair()
        self.at, self.log, self.requeue = at, log, requeue
        super().__init__(loop, near, "probe", Limits(), Phase.LISTENING)
        loop.demultiplexer.set(self, selectors.EVENT_READ)
        loop.deadlines.guard(self)

    def deadline_at(self) -> float | None:
        return self.at

    def on_ready(self, ready: int) -> None:
        self.log.append("ready")
        self.bytes_in += len(self.sock.recv(1))
        self.mark()

    def on_again(self) -> None:
        self.log.append("again")
        if self.requeue:
            self.loop.again.append(self)

    def expire(self) -> None:
        self.log.append("expired")
        self.at = None

    def settle(self) -> None:
        self.marked = False
        if self.end is not None:
            self.phase = Phase.CLOSED
            self._gone()
        else:
            self.log.append("settled")


@pytest.fixture
def probe(loop: Reactor) -> Iterator[Callable[..., Probe]]:
    """Give a function that adds a `Probe` to the loop."""
    with contextlib.ExitStack() as stack:

        def make(log: list[str], **keywords: Any) -> Probe:
            row = Probe(loop, log, **keywords)
            stack.enter_context(row.far)
            return row

        yield make


# -- the turn ---------------------------------------------------------------------------------------------------------


def test_the_stages_come_in_their_order(loop: Reactor, clock: ManualClock, probe: Callable[..., Probe]) -> None:
    log: list[str] = []
    row = probe(log, at=clock.now() + 5)
    loop.call_later(5, log.append, "timer")
    loop.call_soon(log.append, "posted")
    loop.hooks.append((lambda: log.append("hook"), lambda: None))
    loop.again.append(row)
    row.far.send(b"x")
    clock.advance(5)
    turn = loop.step()
    assert log == ["again", "ready", "posted", "expired", "timer", "settled", "hook"]
    assert turn == Turn(1, 0.0, (row.id, row.id), 1, (row.id,), (row.id,), ())


def test_a_turn_in_which_nothing_happens_says_so(loop: Reactor) -> None:
    assert [loop.step() for _ in range(2)] == [Turn(number, 0.0, (), 0, (), (), ()) for number in (1, 2)]


def test_a_turn_names_the_rows_that_ended_in_it_only(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    client = connect(listener)
    row = only(loop)
    client.close()
    ended = []
    while not ended or not ended[-1]:
        ended.append(loop.step(5).ended)
    ended += [turn.ended for turn in turns(loop, 3)]
    assert ended.count((row.id,)) == 1
    assert ended.count(()) == len(ended) - 1


def test_how_long_a_turn_has_waited_is_measured(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(clock=None)
    assert 0.02 <= loop.step(0.02).waited_s < PATIENCE_S
    assert loop.step(0).waited_s < 0.02


def test_a_wait_may_be_longer_than_the_system_can_count(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    client.sendall(b"hello\n")
    assert loop.step(1e12).ready  # epoll and poll raise OverflowError for more than 24 days


def test_what_is_marked_between_two_turns_is_not_waited_for(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    turn_until(loop, lambda: streams(loop))
    turns(loop)
    (row,) = streams(loop)
    assert loop.next_turn_in_s() != 0
    row.write(b"news")
    assert loop.next_turn_in_s() == 0
    loop.step()
    assert client.recv(100) == b"news"
    assert loop.next_turn_in_s() != 0


def test_a_hook_that_takes_itself_away_skips_nobody(loop: Reactor) -> None:
    called: list[str] = []

    def once() -> None:
        called.append("once")
        loop.hooks.remove(loop.hooks[0])

    loop.hooks += [(once, lambda: None), (lambda: called.append("always"), lambda: None)]
    turns(loop, 2)
    assert called == ["once", "always", "always"]


def test_a_call_posted_by_a_posted_call_waits_for_the_next_turn(loop: Reactor) -> None:
    log: list[int] = []

    def again(depth: int) -> None:
        log.append(depth)
        loop.call_soon(again, depth + 1)

    loop.call_soon(again, 0)
    assert [loop.step(None).posted for _ in range(3)] == [1, 1, 1]
    assert log == [0, 1, 2]
    loop.close()  # and it does not keep the loop from being closed either
    assert len(log) < 1000


def test_keywords_and_arguments_reach_a_posted_call(loop: Reactor) -> None:
    got: list[Any] = []
    loop.call_soon(lambda *args, **kwargs: got.append((args, kwargs)), 1, "two", three=3)
    loop.step()
    assert got == [((1, "two"), {"three": 3})]


def test_rows_in_again_neither_starve_nor_are_starved(loop: Reactor, probe: Callable[..., Probe]) -> None:
    greedy: list[str] = []
    row = probe(greedy, requeue=True)
    loop.again.append(row)
    ready: list[str] = []
    others = [probe(ready) for _ in range(5)]
    for turn in range(1, 4):
        for other in others:
            other.far.send(b"x")
        assert loop.next_turn_in_s() == 0.0
        loop.step(None)
        assert greedy.count("again") == turn  # once a turn, whoever else is ready
        assert ready.count("ready") == turn * len(others)
    row.requeue = False
    loop.step()
    assert loop.next_turn_in_s() is None


def test_a_greedy_client_does_not_keep_another_one_waiting(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    greedy, modest = connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    greedy.sendall(b"x\n" * 20_000)
    loop.step(1)
    modest.sendall(b"hello\n")
    modest.setblocking(False)
    for _ in range(4):
        loop.step(1)
        with contextlib.suppress(BlockingIOError):
            assert modest.recv(100) == b"hello\n"
            break
    else:
        pytest.fail("the modest client is still waiting")
    assert loop.again


def test_what_a_row_marks_while_others_settle_is_settled_in_the_same_turn(
    loop: Reactor, probe: Callable[..., Probe]
) -> None:
    log: list[str] = []
    first, second = probe(log), probe(log)

    class Chain(Probe):
        def settle(self) -> None:
            super().settle()
            second.mark()

    chain = Chain(loop, log)
    with chain.far:
        chain.mark()
        assert loop.step().settled == (chain.id,)
        assert log == ["settled", "settled"]
        assert not loop.dirty
        assert not second.marked
        assert first.log is log


def test_nothing_is_closed_before_the_settle_stage(loop: Reactor, connect: Any) -> None:
    """All rows are ready in one batch; the first one closes every other: none is gone before the batch is over."""
    listener = listen(loop, (seen := CloseAll(loop)).handle)
    clients = [connect(listener) for _ in range(4)]
    turn_until(loop, lambda: len(streams(loop)) == 4)
    for client in clients:
        client.sendall(b"x\n")
    loop.step(1)
    turn_until(loop, lambda: not streams(loop))
    assert seen.open_descriptors[0] == 4
    assert len(seen.open_descriptors) <= 4


class CloseAll:
    def __init__(self, loop: Reactor) -> None:
        self.loop = loop
        self.open_descriptors: list[int] = []

    async def handle(self, stream: Stream) -> None:
        await stream.readline()
        for row in streams(self.loop):
            row.abort("by another row")
        self.open_descriptors.append(sum(row.sock.fileno() >= 0 for row in streams(self.loop)))


# -- a settle that fails ----------------------------------------------------------------------------------------------


def test_a_connection_that_cannot_be_watched_costs_itself_only(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoll_ctl: ENOSPC, ENOMEM; select(): a descriptor of 1024 or more. Registration happens when the row settles."""
    served = connect(listen(loop, echo))
    ask(loop, served, b"before\n", b"before\n")
    register = loop.demultiplexer._register
    failures: list[int] = []

    def full(row: Row, interest: int) -> None:
        if row.kind == "stream":
            failures.append(row.id)
            if len(failures) > 50:
                raise SystemExit("this goes on for ever")
            raise OSError(28, "No space left on device")
        register(row, interest)

    monkeypatch.setattr(loop.demultiplexer, "_register", full)
    unlucky = connect(listen(loop, echo))
    turn_until(loop, lambda: failures)
    turn_until(loop, lambda: len(streams(loop)) == 1)
    with contextlib.suppress(ConnectionResetError):  # an end of stream will do as well as a reset
        assert receive_all(loop, unlucky) == b""
    ask(loop, served, b"after\n", b"after\n")


@pytest.mark.skipif(not hasattr(os, "dup2"), reason="needs dup2")
def test_select_refuses_a_descriptor_over_its_limit_and_goes_on(connect: Any) -> None:
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1030:
        pytest.skip("the limit of descriptors is too low")
    with Reactor(selector=selectors.SelectSelector()) as loop:
        listener = listen(loop, echo)
        accept = listener.row._accept

        def accept_high() -> Any:
            sock, address = accept()
            with sock:
                return socket.socket(fileno=os.dup2(sock.fileno(), 1029)), address

        listener.row._accept = accept_high
        unlucky = connect(listener)
        with contextlib.suppress(ConnectionError):
            assert receive_all(loop, unlucky) == b""
        assert not streams(loop)
        listener.row._accept = accept
        ask(loop, connect(listener), b"fine\n", b"fine\n")


# -- posted calls -----------------------------------------------------------------------------------------------------


def test_ten_threads_post_a_thousand_calls_each(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(clock=None)
    got: list[tuple[int, int]] = []

    def post(thread: int) -> None:
        for number in range(1000):
            loop.call_soon(got.append, (thread, number))

    running = Running(loop.run)
    threads = [threading.Thread(target=post, args=(number,)) for number in range(10)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    loop.call_soon(loop.stop)
    running.join()
    assert len(got) == 10_000
    for number in range(10):
        assert [n for thread, n in got if thread == number] == list(range(1000))


def test_a_posted_call_wakes_an_idle_loop(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(clock=None)
    waits = Waits(loop)
    running = Running(loop.run)
    for _ in range(50):
        called = threading.Event()
        wait_for(waits.at_rest)
        waits.at_rest.clear()
        loop.call_soon(called.set)
        wait_for(called)
    loop.stop()
    running.join()
    assert len(waits) <= 3 * 50 + 3


def test_a_thread_that_closes_rows_does_it_through_the_loop(make_loop: Callable[..., Reactor], connect: Any) -> None:
    """10,000 closes, most of them of rows that are gone: what other threads did to tables crashed servers."""
    loop = make_loop(clock=None)
    listener = listen(loop, echo)
    clients = [connect(listener) for _ in range(20)]
    turn_until(loop, lambda: len(streams(loop)) == 20)
    rows = streams(loop)

    def close_all() -> None:
        for number in range(10_000):
            loop.call_soon(rows[number % 20].close)
        loop.call_soon(loop.stop)

    closer = Running(close_all)
    for client in clients:
        client.close()
    loop.run()
    closer.join()
    assert all(row.phase is Phase.CLOSED for row in rows)


def test_a_posted_call_wakes_a_step_that_waits_for_ever(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(clock=None)
    called = threading.Event()
    waits = Waits(loop)

    def steps() -> None:
        while not called.is_set():
            loop.step(None)

    running = Running(steps)
    wait_for(waits.at_rest)
    loop.call_soon(called.set)
    running.join()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
def test_a_signal_handler_may_post(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(clock=None)
    waits = Waits(loop)
    got: list[int] = []

    def handler(number: int, frame: object) -> None:
        loop.call_soon(got.append, number)
        loop.call_soon(loop.stop)

    def send() -> None:
        wait_for(waits.at_rest)
        os.kill(os.getpid(), signal.SIGUSR1)

    old = signal.signal(signal.SIGUSR1, handler)
    try:
        sender = Running(send)
        loop.run()
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert got == [signal.SIGUSR1]


# -- timers -----------------------------------------------------------------------------------------------------------


def test_timers_run_in_the_order_of_their_times_and_ties_in_that_of_their_making(
    loop: Reactor, clock: ManualClock
) -> None:
    log: list[str] = []
    for delay_s, name in ((3, "c"), (1, "a"), (2, "b"), (1, "a2"), (30, "late")):
        loop.call_later(delay_s, log.append, name)
    loop.step()
    assert log == []
    clock.advance(5)
    loop.step()
    assert log == ["a", "a2", "b", "c"]
    assert loop.next_turn_in_s() == 25


def test_a_cancelled_timer_does_not_run_and_does_not_wake(loop: Reactor, clock: ManualClock) -> None:
    log: list[str] = []
    timer = loop.call_later(1, log.append, "no")
    timer.cancel()
    timer.cancel()
    assert loop.next_turn_in_s() is None
    clock.advance(2)
    loop.step()
    assert log == []


def test_a_timer_may_cancel_one_that_is_due_in_the_same_turn(loop: Reactor, clock: ManualClock) -> None:
    log: list[str] = []
    loop.call_later(1, lambda: second.cancel())
    second = loop.call_later(2, log.append, "cancelled and called")
    third = loop.call_later(3, log.append, "third")
    clock.advance(5)
    loop.step()
    assert log == ["third"]
    third.cancel()  # after the call: legal


def test_a_timer_that_arms_itself_for_now_does_not_hold_the_turn(loop: Reactor, clock: ManualClock) -> None:
    calls: list[float] = []

    def again() -> None:
        calls.append(clock.now())
        loop.call_later(0, again)

    again()
    for expected in (2, 3, 4):
        assert loop.next_turn_in_s() == 0
        loop.step(None)
        assert len(calls) == expected


def test_timers_of_a_turn_are_bounded(loop: Reactor, clock: ManualClock) -> None:
    calls: list[int] = []
    for number in range(2 * DUE_PER_TURN + 1):
        loop.call_later(1, calls.append, number)
    clock.advance(1)
    for expected in (DUE_PER_TURN, 2 * DUE_PER_TURN, 2 * DUE_PER_TURN + 1):
        assert loop.next_turn_in_s() == 0
        loop.step(None)
        assert calls == list(range(expected))
    assert loop.next_turn_in_s() is None


def test_a_timer_in_the_past_comes_after_those_who_wait(loop: Reactor, clock: ManualClock) -> None:
    called = []

    def again() -> None:
        loop.call_later(-1, again)

    for _ in range(DUE_PER_TURN):
        again()
    loop.call_later(0, called.append, 1)
    turns(loop, 2)
    assert called == [1]


def has_accepted(listener: Any, count: int) -> bool:
    return bool(listener.row.requests == count)


def test_clients_that_say_nothing_do_not_come_faster_than_they_go(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    """Each expires twice: when it is idle, and when it lingers."""
    came = 2 * DUE_PER_TURN
    listener = listen(loop, echo, idle_s=2, linger_s=2)
    for _ in range(12):
        before = listener.row.requests
        for _ in range(came):
            connect(listener)
        clock.advance(1)
        turn_until(loop, partial(has_accepted, listener, before + came))
        turns(loop, 2)
        assert len(streams(loop)) <= 5 * came
    assert len(streams(loop)) >= 4 * came


def test_a_crowd_that_comes_again_as_it_expires_does_not_hold_the_turn(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    listener = listen(loop, echo, idle_s=10)
    for _ in range(2 * DUE_MOST):
        connect(listener)
    turn_until(loop, partial(has_accepted, listener, 2 * DUE_MOST))
    turns(loop)
    clock.advance(10)
    for _ in range(DUE_MOST):
        connect(listener)
    assert len(loop.step(None).expired) == DUE_MOST
    assert listener.row.requests == 3 * DUE_MOST


def test_a_crowd_whose_time_is_up_does_not_hold_the_others(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    listener = listen(loop, echo, request_s=10)
    crowd = [connect(listener) for _ in range(2 * DUE_PER_TURN + 1)]
    for client in crowd:
        client.sendall(b"half a li")
    turn_until(loop, lambda: [row.phase for row in streams(loop)] == [Phase.RECEIVING] * len(crowd))
    other = connect(listener)
    turn_until(loop, lambda: len(streams(loop)) > len(crowd))
    clock.advance(10)
    expired = []
    for _ in range(4):
        other.sendall(b"hello\n")
        expired.append(len(loop.step(None).expired))
        ask(loop, other, b"", b"hello\n")
    assert expired[0] == DUE_PER_TURN
    assert max(expired) == DUE_PER_TURN
    turn_until(loop, lambda: all(row.end is End.LIMIT for row in streams(loop)[: len(crowd)]))


def test_the_next_turn_is_not_late_by_the_length_of_the_last_one(loop: Reactor, clock: ManualClock) -> None:
    loop.call_later(30, lambda: None)
    loop.call_soon(clock.advance, 20)  # a handler that works for 20 s
    loop.step()
    assert loop.next_turn_in_s() == 10
    clock.advance(6)  # the host of an embedded loop does something else
    assert loop.next_turn_in_s() == 4
    clock.advance(100)
    assert loop.next_turn_in_s() == 0


def test_a_timer_counts_from_when_it_is_armed_not_from_the_start_of_the_turn(loop: Reactor, clock: ManualClock) -> None:
    log: list[str] = []

    def late() -> None:
        clock.advance(5)
        loop.call_later(10, log.append, "called")

    loop.call_soon(late)
    loop.step()
    clock.advance(9)
    loop.step()
    assert log == []
    clock.advance(1)
    loop.step()
    assert log == ["called"]


def test_many_cancelled_timers_do_not_pile_up(loop: Reactor) -> None:
    kept = loop.call_later(50, lambda: None)
    for _ in range(10_000):
        loop.call_later(100, lambda: None).cancel()
    assert len(loop.timers) <= 200
    kept.cancel()


# -- inside another loop ----------------------------------------------------------------------------------------------


@pytest.fixture
def embedded() -> Iterator[tuple[Reactor, selectors.BaseSelector]]:
    """Give a reactor and a selector that watches it, as a host of it would."""
    with Reactor() as loop, selectors.DefaultSelector() as host:
        try:
            host.register(loop.fileno(), selectors.EVENT_READ)
        except OSError:
            pytest.skip("this selector has no descriptor")
        yield loop, host


def test_another_loop_can_host_this_one(embedded: tuple[Reactor, selectors.BaseSelector], connect: Any) -> None:
    loop, host = embedded
    listener = listen(loop, echo)
    client = connect(listener)
    client.sendall(b"hello\n")
    answer = Running(lambda: client.recv(100))
    while answer.thread.is_alive():
        wait_s = loop.next_turn_in_s()
        host.select(0.1 if wait_s is None else min(wait_s, 0.1))
        loop.step()
    assert answer.join() == b"hello\n"


def test_a_hosted_loop_asks_to_be_turned_when_its_timer_is_due(
    embedded: tuple[Reactor, selectors.BaseSelector],
) -> None:
    loop, host = embedded
    called: list[int] = []
    loop.call_later(0.02, called.append, 1)
    while not called:
        wait_s = loop.next_turn_in_s()
        assert wait_s is not None
        assert wait_s <= 0.02
        assert not host.select(wait_s)
        loop.step()
    assert loop.next_turn_in_s() is None


def test_a_call_posted_by_a_thread_wakes_the_host(embedded: tuple[Reactor, selectors.BaseSelector]) -> None:
    loop, host = embedded
    loop.step()
    called = threading.Event()
    poster = Running(lambda: loop.call_soon(called.set))
    assert host.select(PATIENCE_S), "the host was not woken"
    poster.join()
    loop.step()
    assert called.is_set()
    assert not host.select(0), "it is woken for ever"


def test_a_call_posted_after_an_exception_wakes_the_host(embedded: tuple[Reactor, selectors.BaseSelector]) -> None:
    loop, host = embedded
    loop.call_soon(_raise, SystemExit(3))
    with pytest.raises(SystemExit):
        loop.step()
    while host.select(0):
        loop.step()
    loop.call_soon(_raise, SystemExit(3))
    with pytest.raises(SystemExit):
        loop.step()  # and no further turn before the next post
    while host.select(0):  # the byte of the post above
        loop._waker.sock.recv(100)  # type: ignore[union-attr]
    called = threading.Event()
    Running(lambda: loop.call_soon(called.set)).join()
    assert host.select(1), "the host was not woken"
    loop.step()
    assert called.is_set()


def test_a_poll_or_select_selector_says_that_it_has_no_descriptor() -> None:
    for name in ("PollSelector", "SelectSelector"):
        if hasattr(selectors, name):
            with Reactor(selector=getattr(selectors, name)()) as loop, pytest.raises(OSError, match=f"{name} has no desc"):
                loop.fileno()


# -- re-entrancy, the end -----------------------------------------------------------------------------------------------

REENTER: dict[str, Callable[[Reactor], object]] = {
    "run": lambda loop: loop.run(),
    "step": lambda loop: loop.step(),
    "run_until": lambda loop: loop.run_until(sleep, 0),
}


@pytest.mark.parametrize("how", REENTER)
@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
def test_a_loop_is_not_re_entered(loop: Reactor, connect: Any, how: str) -> None:
    errors: list[RuntimeError] = []

    def reenter() -> None:
        with pytest.raises(RuntimeError, match="runs already") as caught:
            REENTER[how](loop)
        errors.append(caught.value)

    async def handler(stream: Stream) -> None:
        reenter()
        await echo(stream)

    loop.hooks.append((lambda: None if errors[3:] else reenter(), lambda: None))
    loop.call_soon(reenter)
    loop.call_later(0, reenter)
    client = connect(listen(loop, handler))
    ask(loop, client, b"unharmed\n", b"unharmed\n")
    assert len(errors) >= 4
    loop.stop()
    loop.run()


@pytest.mark.filterwarnings("ignore:coroutine 'sleep' was never awaited")
@pytest.mark.parametrize("how", REENTER)
def test_a_closed_loop_says_so(loop: Reactor, how: str) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        REENTER[how](loop)


def test_what_is_legal_after_close(loop: Reactor) -> None:
    loop.close()
    loop.close()
    loop.stop()
    loop.call_soon(lambda: None)
    loop.call_later(1, lambda: None).cancel()
    assert len(loop.table) == 0
    assert loop.snapshot() == ()


def test_nothing_listens_on_a_closed_loop(loop: Reactor) -> None:
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        listen(loop, echo)
    with TCPServer(("127.0.0.1", 0), BaseRequestHandler) as server, pytest.raises(RuntimeError, match="closed"):
        loop.add(server, way="inline")


@needs_proc
def test_with_gives_every_descriptor_back(
    selector_class: Callable[[], selectors.BaseSelector] | None, connect: Any, tmp_path: Any
) -> None:
    before = descriptors()
    woken: list[str] = []

    async def waits(stream: Stream) -> None:
        try:
            await stream.readline()
        finally:
            woken.append("handler")

    async def task() -> None:
        try:
            await sleep(1000)
        finally:
            woken.append("task")

    with Reactor(selector=selector_class() if selector_class else None) as loop:
        listeners = [listen(loop, waits), listen(loop, waits, f"unix://{tmp_path}/s")]
        listen(loop, lambda packet: None, "udp://127.0.0.1:0")
        loop.add(ThreadingTCPServer(("127.0.0.1", 0), BaseRequestHandler))
        loop.spawn(task)
        clients = [connect(listener) for listener in listeners for _ in range(3)]
        turn_until(loop, lambda: len(streams(loop)) == 6)
        loop.call_soon(loop.stop, drain_s=0.01)
        loop.call_soon(listen, loop, waits)
        loop.run()
        clients += [connect(listen(loop, waits)) for _ in range(2)]
        turn_until(loop, lambda: len(streams(loop)) == 2)
    for client in clients:
        client.close()
    assert descriptors() == before
    assert woken.count("handler") == 8
    assert woken.count("task") == 1
    assert not list(tmp_path.iterdir())


@needs_proc
@pytest.mark.parametrize("error", [ValueError, SystemExit, KeyboardInterrupt])
def test_close_gives_everything_back_whatever_a_handler_raises(error: type[BaseException], connect: Any) -> None:
    before = descriptors()
    loop = Reactor(strict=True)
    told: list[int] = []

    async def stubborn(stream: Stream) -> None:
        try:
            await stream.readline()
        finally:
            told.append(len(told))
            raise error

    listener = listen(loop, stubborn)
    clients = [connect(listener) for _ in range(3)]
    turn_until(loop, lambda: len(streams(loop)) == 3)
    with pytest.raises(error):
        loop.close()
    assert told == [0, 1, 2]
    loop.close()
    for client in clients:
        client.close()
    assert descriptors() == before


def test_a_handler_that_closes_its_own_loop_leaves_no_riddle(make_loop: Callable[..., Reactor], connect: Any) -> None:
    """Either run() ends in good order, or the handler is told that this is not the way: nothing between."""
    loop = make_loop(clock=None)
    errors: list[BaseException] = []

    async def handler(stream: Stream) -> None:
        await stream.readline()
        try:
            loop.close()
        except RuntimeError as error:
            errors.append(error)
            loop.stop()

    client = connect(listen(loop, handler, linger_s=0.01))
    client.sendall(b"x\n")
    loop.run()
    assert not streams(loop)


# -- errors -----------------------------------------------------------------------------------------------------------


class _Told(Exception):
    pass


def _in_posted(loop: Reactor, error: BaseException, connect: Any) -> None:
    loop.call_soon(_raise, error)


def _in_timer(loop: Reactor, error: BaseException, connect: Any) -> None:
    loop.call_later(0, _raise, error)


def _in_hook(loop: Reactor, error: BaseException, connect: Any) -> None:
    def hook() -> None:
        loop.hooks.clear()
        raise error

    loop.hooks.append((hook, lambda: 0))


def _in_task(loop: Reactor, error: BaseException, connect: Any) -> None:
    async def task() -> None:
        await sleep(0)
        raise error

    loop.spawn(task)


def _in_handler(loop: Reactor, error: BaseException, connect: Any) -> None:
    async def handler(stream: Stream) -> None:
        await stream.readline()
        raise error

    connect(listen(loop, handler)).sendall(b"x\n")


def _in_the_first_step_of_a_handler(loop: Reactor, error: BaseException, connect: Any) -> None:
    async def handler(stream: Stream) -> None:
        raise error

    connect(listen(loop, handler))


def _in_a_subtask(loop: Reactor, error: BaseException, connect: Any) -> None:
    async def handler(stream: Stream) -> None:
        async def subtask() -> None:
            raise error

        spawn(subtask)
        await stream.readline()

    connect(listen(loop, handler))


def _in_datagrams(loop: Reactor, error: BaseException, connect: Any) -> None:
    def handler(packet: Datagram) -> None:
        raise error

    listener = listen(loop, handler, "udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", listener.address)


PLACES = {
    "posted call": _in_posted, "timer": _in_timer, "hook": _in_hook, "task": _in_task, "handler": _in_handler,
    "first step": _in_the_first_step_of_a_handler, "subtask": _in_a_subtask, "datagram": _in_datagrams,
}  # fmt: skip


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize("error", FOUR_ERRORS, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", PLACES)
def test_an_error_costs_its_own_place_only_and_is_logged_once(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture, place: str, error: Exception
) -> None:
    client = connect(listen(loop, echo))
    ask(loop, client, b"before\n", b"before\n")
    PLACES[place](loop, error, connect)
    turn_until(loop, lambda: _errors(caplog))
    ask(loop, client, b"after\n", b"after\n")
    turns(loop, 5)
    (record,) = _errors(caplog)
    assert record.exc_info is not None
    assert record.exc_info[1] is error
    assert sum(row.phase is not Phase.LINGERING for row in streams(loop)) == 1 + (place == "subtask")


def _errors(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.ERROR]


@pytest.mark.parametrize("place", PLACES)
def test_a_strict_loop_lets_errors_out_and_goes_on_when_it_is_run_again(
    make_loop: Callable[..., Reactor], connect: Any, place: str
) -> None:
    loop = make_loop(strict=True)
    client = connect(listen(loop, echo))
    ask(loop, client, b"before\n", b"before\n")
    PLACES[place](loop, _Told("a failure"), connect)
    with pytest.raises(_Told):
        turns(loop, 100)
    ask(loop, client, b"after\n", b"after\n")


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3)], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("place", PLACES)
def test_exits_leave_the_loop_which_can_be_run_again(
    make_loop: Callable[..., Reactor], connect: Any, place: str, error: BaseException
) -> None:
    loop = make_loop(clock=None)
    client = connect(listen(loop, echo))
    ask(loop, client, b"before\n", b"before\n")
    PLACES[place](loop, error, connect)
    with pytest.raises(type(error)) as caught:
        loop.run()
    assert caught.value is error
    ask(loop, client, b"after\n", b"after\n")
    loop.call_later(0, loop.stop)
    loop.run()


EXITS = {
    "posted": lambda loop, function, *args: loop.call_soon(function, *args),
    "timer": lambda loop, function, *args: loop.call_later(0, function, *args),
    "again": lambda loop, function, *args: loop.again.append(_Calls(function, args)),
}


class _Calls:
    """What `again` needs of a row: something to call."""

    id = 0

    def __init__(self, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self.on_again = lambda: function(*args)


@pytest.mark.parametrize("stage", EXITS)
def test_no_stage_loses_its_rest_when_the_loop_is_left(loop: Reactor, stage: str) -> None:
    got: list[int] = []
    for number in range(5):
        EXITS[stage](loop, got.append, number)
        EXITS[stage](loop, _raise, SystemExit(number))
    codes = []
    for _ in range(10):
        try:
            loop.step()
        except SystemExit as error:
            codes.append(error.code)
    assert got == [0, 1, 2, 3, 4]
    assert codes == [0, 1, 2, 3, 4]


def test_no_deadline_is_lost_when_the_loop_is_left(
    loop: Reactor, clock: ManualClock, probe: Callable[..., Probe]
) -> None:
    log: list[str] = []

    class Exits(Probe):
        def expire(self) -> None:
            super().expire()
            raise KeyboardInterrupt

    exits = Exits(loop, log, at=clock.now() + 1)
    with exits.far:
        probe(log, at=clock.now() + 2)
        clock.advance(5)
        with pytest.raises(KeyboardInterrupt):
            loop.step()
        loop.step()
        assert log == ["expired", "expired"]


def test_a_row_whose_settle_fails_ends_and_the_others_settle(
    loop: Reactor, probe: Callable[..., Probe], caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []

    class Fails(Probe):
        def settle(self) -> None:
            super().settle()
            if self.phase is not Phase.CLOSED:
                raise ValueError("settle")

    fails = Fails(loop, log)
    fine = probe(log)
    with fails.far:
        fails.mark()
        fine.mark()
        turns(loop, 3)
        assert log == ["settled", "settled"]
        assert fails not in loop.table
        assert fine in loop.table
        assert [row.id for row in loop.table.ended] == [fails.id]
        assert len(_errors(caplog)) == 1


def test_a_row_that_fails_when_its_time_is_up_ends_and_the_others_hear(
    loop: Reactor, clock: ManualClock, probe: Callable[..., Probe], caplog: pytest.LogCaptureFixture
) -> None:
    log: list[str] = []

    class Fails(Probe):
        def expire(self) -> None:
            super().expire()
            raise ValueError("expire")

    fails = Fails(loop, log, at=clock.now() + 1)
    fine = probe(log, at=clock.now() + 2)
    clock.advance(3)
    with fails.far:
        assert loop.step().expired == (fails.id, fine.id)
    assert log == ["expired", "expired"]
    assert (fails.end, fails.detail, fine.end) == (End.HANDLER_FAILED, "ValueError: expire", None)
    assert (fails in loop.table, fine in loop.table) == (False, True)
    assert len(_errors(caplog)) == 1


# -- observers --------------------------------------------------------------------------------------------------------


class Notes(Observer):
    """Writes down what it is told."""

    def __init__(self) -> None:
        self.turns: list[Turn] = []
        self.told: list[tuple[Any, ...]] = []

    def on_turn(self, turn: Turn) -> None:
        self.turns.append(turn)

    def on_open(self, row: Row) -> None:
        self.told.append(("open", row.kind, row.id))

    def on_phase(self, row: Row, event: str, before: Phase, after: Phase) -> None:
        self.told.append(("phase", row.id, event, before, after))

    def on_frame(self, row: Row, wire_bytes: int) -> None:
        self.told.append(("frame", row.id, wire_bytes))

    def on_error(self, row: Row, error: BaseException) -> None:
        self.told.append(("error", row.id, error))

    def on_end(self, row: Row, end: End) -> None:
        self.told.append(("end", row.id, end))


class Raises(Observer):
    """Fails in whatever it is told."""

    def __getattribute__(self, name: str) -> Any:
        if name.startswith("on_"):
            raise ZeroDivisionError(name)
        return super().__getattribute__(name)


async def _two_lines_then_fail(stream: Stream) -> None:
    for _ in range(2):
        stream.write(await stream.readline())
    raise _Told("enough")


def test_an_observer_is_told_of_all_six(make_loop: Callable[..., Reactor], connect: Any) -> None:
    notes = Notes()
    loop = make_loop(observers=[notes])
    listener = listen(loop, _two_lines_then_fail)
    client = connect(listener)
    row = only(loop)
    client.sendall(b"one\nthree\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"one\nthree\n"
    turn_until(loop, lambda: not streams(loop))
    opened = [told for told in notes.told if told[0] == "open" and told[1] != "waker"]
    assert opened == [("open", "listener", listener.row.id), ("open", "stream", row.id)]
    assert [told for told in notes.told if told[0] == "frame"] == [("frame", row.id, 4), ("frame", row.id, 6)]
    ((_, id_, error),) = [told for told in notes.told if told[0] == "error"]
    assert (id_, type(error)) == (row.id, _Told)
    assert notes.told[-1] == ("end", row.id, End.HANDLER_FAILED)
    phases = [told for told in notes.told if told[0] == "phase" and told[1] == row.id]
    assert phases[0][3] is Phase.IDLE
    assert phases[-1][4] is Phase.CLOSED
    assert all(one[4] is two[3] for one, two in itertools.pairwise(phases))
    assert [turn.number for turn in notes.turns] == list(range(1, len(notes.turns) + 1))
    assert [turn.ended for turn in notes.turns if turn.ended] == [(row.id,)]


def test_observers_hear_of_turns_however_the_loop_is_driven(make_loop: Callable[..., Reactor]) -> None:
    notes = Notes()
    loop = make_loop(observers=[notes], clock=None)
    loop.step()
    assert len(notes.turns) == 1
    loop.run_until(sleep, 0)
    assert len(notes.turns) > 1
    before = len(notes.turns)
    loop.stop()
    loop.run()
    assert len(notes.turns) > before


def test_an_observer_that_fails_silences_nobody(
    make_loop: Callable[..., Reactor], connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    notes = Notes()
    loop = make_loop(observers=[Raises(), notes], strict=True)
    client = connect(listen(loop, echo))
    ask(loop, client, b"one\n", b"one\n")
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert {told[0] for told in notes.told} == {"open", "phase", "frame", "end"}
    assert {"on_open", "on_phase", "on_frame", "on_end", "on_turn"} <= {
        str(record.exc_info[1]) for record in _errors(caplog) if record.exc_info
    }


def test_without_observers_nobody_is_called(loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: object) -> None:
        raise AssertionError("an observer was called")

    for name in ("on_turn", "on_open", "on_phase", "on_frame", "on_error", "on_end"):
        monkeypatch.setattr(Observer, name, never)
    assert loop.observer is None
    client = connect(listen(loop, echo))
    ask(loop, client, b"one\n", b"one\n")
    client.close()
    turn_until(loop, lambda: not streams(loop))


# -- rest -------------------------------------------------------------------------------------------------------------


class _Forking(ForkingMixIn, TCPServer):
    pass


@pytest.mark.parametrize("guest", ["none", "threading", "forking"])
def test_a_loop_at_rest_does_not_wake_at_all(make_loop: Callable[..., Reactor], connect: Any, guest: str) -> None:
    loop = make_loop(clock=None, limits=Limits(idle_s=None))
    listeners = [listen(loop, echo, idle_s=None) for _ in range(3)]
    listen(loop, lambda packet: None, "udp://127.0.0.1:0")
    if guest != "none":
        server_class = ThreadingTCPServer if guest == "threading" else _Forking
        loop.add(server_class(("127.0.0.1", 0), BaseRequestHandler))
    clients = [connect(listener) for listener in listeners for _ in range(5)]
    for client in clients:
        ask(loop, client, b"hello\n", b"hello\n")
    turns(loop)
    waits = Waits(loop)
    stopper = Running(lambda: (wait_for(waits.at_rest), threading.Event().wait(0.05), loop.stop(drain_s=0)))
    loop.run(handle_signals=False)
    stopper.join()
    assert waits.timeouts[0] is None
    assert len(waits) <= 3  # the one that rested, and what the stop takes


def test_a_row_with_a_deadline_wakes_the_loop_only_for_it(
    loop: Reactor, clock: ManualClock, connect: Any
) -> None:
    client = connect(listen(loop, echo, idle_s=75))
    ask(loop, client, b"hello\n", b"hello\n")
    turns(loop)
    assert loop.next_turn_in_s() == 75
    clock.advance(74)
    assert loop.next_turn_in_s() == 1
    assert loop.step().expired == ()
    clock.advance(1)
    assert loop.step().expired == (only(loop).id,)


def test_a_loop_that_runs_keeps_nothing_of_rows_that_are_gone(make_loop: Callable[..., Reactor], connect: Any) -> None:
    loop = make_loop(clock=None)
    listener = listen(loop, echo)

    def clients() -> None:
        for _ in range(50):
            client = connect(listener)
            client.sendall(b"x\n")
            client.recv(10)
            client.close()
        loop.stop()

    running = Running(clients)
    loop.run()
    running.join()
    sizes = {name: len(value) for name, value in vars(loop).items() if isinstance(value, (list, dict, set))}
    assert all(size <= 5 for size in sizes.values()), sizes
    assert len(loop.deadlines) <= 64
    assert len(loop.timers) <= 1


def test_the_reactor_neither_makes_a_socket_pair_nor_a_thread_nor_a_handler_before_it_runs() -> None:
    python(
        """
        import signal, socket, threading
        def refuse(*args, **kwargs):
            raise NotImplementedError("not on this platform")
        socket.socketpair = threading.Thread.start = refuse
        before = signal.getsignal(signal.SIGINT)
        from reactor import Reactor
        with Reactor() as loop:
            loop.step()
            assert signal.getsignal(signal.SIGINT) is before
            loop.call_soon(loop.stop)
            loop.run()
        """
    )


def test_seconds_of_a_stop_of_an_idle_loop(make_loop: Callable[..., Reactor]) -> None:
    def once() -> float:
        loop = make_loop(clock=None)
        waits = Waits(loop)
        running = Running(loop.run)
        wait_for(waits.at_rest)
        loop.stop()
        return seconds_of(running.join)

    assert min(once() for _ in range(3)) <= PROMPT_S
