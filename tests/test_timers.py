"""Timers: in order, at most those that were due when the stage began, and no memory of cancelled ones."""

import contextlib
import random
from collections.abc import Callable
from itertools import islice
from typing import Any, NamedTuple

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reactor.timers import PURGE_FROM, Timer, Timers
from tests.properties import tries


def run(timers: Timers, now: float) -> None:
    """What the loop does in its fourth stage."""
    for function, args in timers.due(now):
        function(*args)


@pytest.fixture
def timers() -> Timers:
    return Timers()


@pytest.fixture
def calls() -> list[Any]:
    return []


def test_they_are_called_in_the_order_of_their_times(timers: Timers, calls: list[Any]) -> None:
    for at in (3, 1, 2, 1, 5):
        timers.add(at, calls.append, ((at, len(calls)),))
    timers.add(1, calls.append, ("third at 1",))
    assert (len(timers), timers.next_at) == (6, 1)
    run(timers, 0.999)
    assert calls == []
    run(timers, 3)
    assert calls == [(1, 0), (1, 0), "third at 1", (2, 0), (3, 0)]
    run(timers, 3)
    assert (len(calls), timers.next_at) == (5, 5)


def test_a_cancelled_one_is_not_called(timers: Timers, calls: list[Any]) -> None:
    first, second = timers.add(1, calls.append, (1,)), timers.add(2, calls.append, (2,))
    first.cancel()
    first.cancel()
    assert timers.next_at == 2
    run(timers, 5)
    assert calls == [2]
    second.cancel()
    assert (len(timers), timers.next_at, timers._cancelled) == (0, None, 0)


def test_a_timer_cancels_one_that_is_due_with_it(timers: Timers, calls: list[Any]) -> None:
    timers.add(1, lambda: second.cancel(), ())
    second = timers.add(1, calls.append, ("cancelled",))
    timers.add(1, calls.append, ("called",))
    run(timers, 1)
    assert calls == ["called"]
    assert (len(timers), timers._cancelled) == (0, 0)


def test_a_timer_cancels_itself_while_it_is_called(timers: Timers, calls: list[Any]) -> None:
    timer = timers.add(1, lambda: (timer.cancel(), calls.append(1)), ())
    run(timers, 1)
    run(timers, 1)
    assert calls == [1]
    assert timers._cancelled == 0


@pytest.mark.parametrize("delay_s", [0, -1])
def test_one_that_rearms_at_once_starves_nobody(timers: Timers, calls: list[Any], delay_s: float) -> None:
    def again() -> None:
        calls.append("again")
        timers.add(1 + delay_s, again, ())

    timers.add(1, again, ())
    timers.add(1, calls.append, ("other",))
    run(timers, 1)
    assert calls == ["again", "other"]
    timers.add(1, calls.append, ("new",))
    run(timers, 1)
    assert sorted(calls) == ["again", "again", "new", "other"]
    assert len(timers) == 1


def test_those_that_were_cancelled_before_a_call_raises_are_forgotten(timers: Timers, calls: list[Any]) -> None:
    def fail() -> None:
        last.cancel()
        raise KeyboardInterrupt

    timers.add(1, fail, ())
    timers.add(2, calls.append, (2,))
    last = timers.add(3, calls.append, (3,))
    with pytest.raises(KeyboardInterrupt):
        run(timers, 5)
    assert [timer.args for timer in timers] == [(2,)]
    run(timers, 5)
    assert (calls, len(timers), timers._cancelled) == ([2], 0, 0)


def test_a_crowd_of_which_a_few_are_called_at_a_time_stays_where_it_is(
    timers: Timers, calls: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each few would cost as much as all: 16,000 timers took 20 s."""
    for number in range(200):
        timers.add(1, calls.append, (number,))
    moved = []
    monkeypatch.setattr("reactor.timers.heapq.heappush", lambda heap, entry: moved.append(entry))
    for at in range(0, 200, 8):
        with contextlib.closing(timers.due(5)) as due:
            for function, args in islice(due, 8):
                function(*args)
        assert calls == list(range(at + 8))
    assert (moved, timers.next_at) == ([], None)


def test_what_is_armed_meanwhile_waits_and_can_be_cancelled(timers: Timers, calls: list[Any]) -> None:
    armed: list[Any] = []

    def arm() -> None:
        armed.extend(timers.add(at, calls.append, (at,)) for at in (0, 1))

    timers.add(1, arm, ())
    timers.add(2, lambda: armed[0].cancel(), ())
    run(timers, 5)
    assert (calls, len(timers), timers._cancelled, timers.next_at) == ([], 1, 0, 1)
    run(timers, 5)
    assert calls == [1]


def test_those_behind_a_call_that_raises_are_due_the_next_time(timers: Timers, calls: list[Any]) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    timers.add(1, calls.append, (1,))
    timers.add(2, fail, ())
    cancelled = timers.add(3, calls.append, ("cancelled",))
    timers.add(4, calls.append, (4,))
    timers.add(9, calls.append, (9,))
    with pytest.raises(KeyboardInterrupt):
        run(timers, 5)
    cancelled.cancel()
    assert (calls, timers.next_at) == ([1], 4)
    run(timers, 5)
    assert (calls, timers.next_at) == ([1, 4], 9)
    assert timers._cancelled == 0


@pytest.mark.parametrize("keep", [0, 1_000])
def test_cancelled_ones_are_not_remembered(timers: Timers, keep: int) -> None:
    for at in range(keep):
        timers.add(at, print, ())
    largest = 0
    for _ in range(1_000_000 // (10 if keep else 1)):
        timers.add(1e6, print, ()).cancel()
        largest = max(largest, len(timers))
    assert largest <= 2 * keep + PURGE_FROM + 2
    assert timers.next_at == (0 if keep else None)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_survives_the_dropping_of_cancelled_ones(timers: Timers, calls: list[Any], seed: int) -> None:
    rng = random.Random(seed)
    armed = [timers.add(at, calls.append, (at,)) for at in rng.sample(range(10_000), 500)]
    for timer in rng.sample(armed, 350):
        timer.cancel()
    assert len(timers) < 400, "none was dropped"
    run(timers, 1e9)
    assert calls == sorted(calls)
    assert len(calls) == 150


@pytest.mark.parametrize("order", [list, lambda timers: list(reversed(timers))])
def test_many_armed_ones_are_given_back_when_they_are_cancelled(timers: Timers, order: Callable[..., Any]) -> None:
    armed = [timers.add(at, print, ()) for at in range(100_000)]
    for count, timer in enumerate(order(armed), 1):
        timer.cancel()
        assert len(timers) <= 2 * (len(armed) - count) + PURGE_FROM + 1
    assert timers.next_at is None


def test_those_that_are_armed_can_be_looked_at(timers: Timers, calls: list[Any]) -> None:
    armed = [timers.add(at, calls.append, (at,)) for at in (3, 1, 2)]
    armed[1].cancel()
    assert sorted((timer.at, timer.args) for timer in timers) == [(2, (2,)), (3, (3,))]
    run(timers, 2)
    assert [timer.at for timer in timers] == [3]


class Armed(NamedTuple):
    """What a plain list knows of a timer; sorted, it is the order of the calls."""

    at: float
    number: int


TIMES = st.integers(0, 10)
ACTS = st.sampled_from(
    ["return", "cancel the next", "cancel the last", "cancel all", "cancel itself", "arm another", "raise"]
)


class Alarms(RuleBasedStateMachine):
    """A heap beside a plain list."""

    def __init__(self) -> None:
        super().__init__()
        self.timers, self.now = Timers(), 0
        self.armed: list[Armed] = []
        self.known: dict[int, Timer] = {}

    def arm(self, at: float) -> int:
        number = len(self.known)
        self.known[number] = self.timers.add(at, print, (number,))
        self.armed.append(Armed(at, number))
        return number

    def cancel(self, number: int) -> None:
        self.known[number].cancel()
        self.armed = [each for each in self.armed if each.number != number]

    @rule(in_s=TIMES)
    def add(self, in_s: int) -> None:
        self.arm(self.now + in_s)

    @rule(data=st.data())
    def cancel_any(self, data: st.DataObject) -> None:
        """Also one that has been called, or was cancelled before."""
        if self.known:
            self.cancel(data.draw(st.sampled_from(sorted(self.known))))

    @rule(count=st.sampled_from([1, PURGE_FROM, 2 * PURGE_FROM]), in_s=TIMES)
    def many_come_and_go(self, count: int, in_s: int) -> None:
        for number in [self.arm(self.now + in_s) for _ in range(count)]:
            self.cancel(number)

    @rule(after_s=TIMES, acts=st.lists(ACTS, max_size=8))
    def time_goes_on(self, after_s: int, acts: list[str]) -> None:
        self.now += after_s
        late = sorted(each for each in self.armed if each.at <= self.now)
        with contextlib.closing(self.timers.due(self.now)) as calls:
            for function, (number,) in calls:
                assert (function, number) == (print, late[0].number)
                self.armed.remove(late.pop(0))
                act = acts.pop() if acts else "return"
                gone = {"cancel the next": late[:1], "cancel the last": late[-1:], "cancel all": late}.get(act, [])
                for each in [*gone]:
                    self.cancel(each.number)
                    late.remove(each)
                if act == "cancel itself":
                    self.cancel(number)
                elif act == "arm another":
                    self.arm(self.now)
                elif act == "raise":
                    return
        assert late == [], "one was not called"

    @invariant()
    def the_next_one_is_known(self) -> None:
        assert self.timers.next_at == min((each.at for each in self.armed), default=None)

    @invariant()
    def no_memory_of_what_is_gone(self) -> None:
        assert len(self.armed) <= len(self.timers) <= 2 * len(self.armed) + PURGE_FROM + 2
        assert self.timers._cancelled == len(self.timers) - len(self.armed)


Alarms.TestCase.settings = tries(60)
TestAlarms = Alarms.TestCase
