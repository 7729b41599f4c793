"""The counter of wake-ups: that it sees a spin of each kind, and nothing in a loop that works or rests.

The fixture `wake_ups` fails a test whose loops spin. These tests plant a spin, look at the counts, and clear them.
"""

import selectors
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Reactor, Stream
from reactor.demultiplexer import Demultiplexer
from reactor.waker import WakerRow
from tests.driving import ask, listen, only, turn_until
from tests.running import Running, wait_until
from tests.wakeups import BURST, RATE_PER_S, Wakes, Watch

SPINS = 100  # turns that are given to a spin


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


@pytest.fixture
def planted(wake_ups: Watch, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """Give a monkeypatch to plant a spin with; what is counted meanwhile does not fail the test."""
    with monkeypatch.context() as patch:
        yield patch
    wake_ups.begin()


def wakes_of(loop: Any) -> Wakes:
    """Return the counts of a loop, the last turn with them."""
    wakes: Wakes = vars(loop)["wakes"]
    wakes.look_back()
    return wakes


def blamed(loop: Any) -> str:
    """Return what is blamed for spinning; fail if it is not said to be too much."""
    wakes = wakes_of(loop)
    assert sum(wakes.spurious.values()) >= SPINS - 1
    return wakes.too_many(1.0)


def spin(loop: Any) -> None:
    """Let a loop spin; each wait ends at once, so nothing here takes its time."""
    for _ in range(SPINS):
        loop.step(1.0)


def test_work_and_rest_are_not_spurious(make_loop: Any, connect: Any) -> None:
    loop = make_loop(clock=None)
    clients = [connect(listen(loop, echo)) for _ in range(3)]
    for number in range(50):
        ask(loop, clients[number % 3], b"hello\n", b"hello\n")
    for client in clients:
        client.close()
    turn_until(loop, lambda: not loop.table.connections)
    loop.call_soon(bool)
    loop.call_later(0.001, loop.stop)
    loop.run(handle_signals=False)
    wakes = wakes_of(loop)
    assert wakes.waits > 50
    assert not wakes.spurious


def test_an_interest_of_nothing_is_no_pause(make_loop: Any, connect: Any, planted: pytest.MonkeyPatch) -> None:
    """Epoll and poll go on to report the hang-up: the trap that unregistering is for."""
    loop = make_loop(clock=None)

    def modify_to_nothing(self: Any, row: Any) -> None:
        self._selector.modify(row.fd, 0, row)

    client = connect(listen(loop, echo))
    row = only(loop)
    if isinstance(loop.demultiplexer._selector, selectors.SelectSelector):
        pytest.skip("select() refuses it")
    planted.setattr(Demultiplexer, "_unregister", modify_to_nothing)
    row.pause("test")
    loop.step(0)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    client.close()
    spin(loop)
    assert f"ready, and nothing was done about it: row {row.id} " in blamed(loop)


def test_a_hang_up_that_is_ignored(make_loop: Any, connect: Any, planted: pytest.MonkeyPatch) -> None:
    loop = make_loop(clock=None)
    client = connect(listen(loop, echo))
    row = only(loop)
    planted.setattr(type(row), "on_ready", lambda self, ready: None)
    client.close()
    spin(loop)
    assert f"ready, and nothing was done about it: row {row.id} " in blamed(loop)


def test_a_waker_that_is_not_emptied(make_loop: Any, planted: pytest.MonkeyPatch) -> None:
    loop = make_loop(clock=None)
    loop.step(0.001)
    planted.setattr(WakerRow, "on_ready", lambda self, ready: None)
    loop.call_soon(bool)  # between two turns: the loop is not awake, and gets a byte
    spin(loop)
    assert "(waker of waker)" in blamed(loop)


@pytest.mark.skipif(not hasattr(selectors, "EpollSelector"), reason="only epoll watches what nobody has any more")
def test_a_file_that_nobody_has_any_more(connect: Any, planted: pytest.MonkeyPatch) -> None:
    """A copy of a socket that was closed behind the loop's back still wakes it, and no row is told."""
    with Reactor(selector=selectors.EpollSelector()) as loop:
        client = connect(listen(loop, echo))
        row = only(loop)
        with row.sock.dup():
            row.sock.close()
            row.finish(row.end, "closed elsewhere")
            loop.demultiplexer._selector.unregister(row.fd)
            client.sendall(b"hello\n")
            spin(loop)
            assert "woken by nobody" in blamed(loop)


def test_an_idle_poll(planted: pytest.MonkeyPatch) -> None:
    """And the loop's own waits are judged, not those that a caller asks for."""
    with Reactor() as loop:
        for _ in range(SPINS):
            loop.step(0.0001)
        assert not wakes_of(loop).spurious
        planted.setattr(loop, "next_turn_in_s", lambda: 0.0001)
        running = Running(lambda: loop.run(handle_signals=False))
        wait_until(lambda: sum(vars(loop)["wakes"].spurious.values()) >= SPINS)
        loop.stop()
        running.join()
        assert "idle, and nothing was due" in blamed(loop)


def test_a_row_that_is_called_again_for_nothing(make_loop: Any, connect: Any, planted: pytest.MonkeyPatch) -> None:
    loop = make_loop(clock=None)
    connect(listen(loop, echo))
    row = only(loop)
    planted.setattr(type(row), "on_again", lambda self: self.requeue())
    row.requeue()
    spin(loop)
    spin(loop)
    assert f"called again, and it did nothing: row {row.id} " in blamed(loop)
    planted.undo()


def test_a_deadline_that_ends_nothing(connect: Any, planted: pytest.MonkeyPatch) -> None:
    with Reactor() as loop:
        connect(listen(loop, echo, idle_s=0.001))
        row = only(loop)
        planted.setattr(type(row), "expire", lambda self: loop.deadlines.guard(self))
        for _ in range(SPINS + 1):
            loop.step(None)
        assert f"due, and it did not expire: row {row.id} " in blamed(loop)
        planted.undo()


def test_the_poll_of_service_actions_is_asked_for() -> None:
    with Reactor() as loop:
        loop.hooks.append((bool, lambda: 0.0001))
        for _ in range(SPINS):
            loop.step(None)
        assert not wakes_of(loop).spurious


def test_so_many_a_second_and_a_few_on_top(planted: pytest.MonkeyPatch) -> None:
    with Reactor() as loop:
        wakes = wakes_of(loop)
        for allowed_in_2_s in (0, BURST + int(2 * RATE_PER_S)):
            wakes.spurious["a row"] = allowed_in_2_s
            assert not wakes.too_many(2.0)
        wakes.spurious["a row"] += 1
        assert f"{BURST + 11} x a row" in wakes.too_many(2.0)


def test_another_way_to_wait_is_watched_too(planted: pytest.MonkeyPatch) -> None:
    with Reactor() as loop:
        loop.step(0)
        loop.demultiplexer.wait = loop.demultiplexer._wait  # as the demultiplexer itself may do
        loop.step(0)
        loop.step(0)
        assert wakes_of(loop).waits == 3


@pytest.mark.unwatched("to see that it is not")
def test_a_marked_test_is_not_watched(loop: Reactor) -> None:
    loop.step(0)
    assert "wakes" not in vars(loop)


def test_a_verdict_is_on_the_loops_of_this_test(planted: pytest.MonkeyPatch, wake_ups: Watch) -> None:
    """A loop that lives on from one test to the next is counted anew."""
    with Reactor() as loop:
        loop.step(0)
        vars(loop)["wakes"].spurious["a row"] = 1000
        assert "1000 x a row" in wake_ups.verdict()
        wake_ups.begin()
        assert not wake_ups.verdict()
        loop.step(0)
        vars(loop)["wakes"].spurious["a row"] = 1000
        assert "1000 x a row" in wake_ups.verdict()
