"""Which wake-ups of a loop were for nothing? A spin is quiet: everything works, at 100 % of a CPU.

What it is: a wrapper of the wait of every loop that is made, active in every test (`conftest.py`), and the counts by
what was to blame. What it is not: a guard of the library, nor a judge of simulated selectors (they have `Spinning`).

A wake-up is spurious when the loop came back from its wait, and after the turn everything is as before:

1. *ready*: a row was reported ready, and of it no byte, request, phase, interest, reason, waiter or end has changed.
   A listener that accepts, a packet that is dropped, a peer that is read to its end: all that shows in the row.
2. *nobody*: the wait ended before its time with no row at all, and neither a call nor a stop was posted.
3. *again*: a row was called again for what is already here, and is as before, for more than AGAINS times in a row.
4. *idle*: the time of a wait that the loop chose for itself was over, and nothing was due.
5. *due*: the first deadline was due, and its row is as before (or has ended: its entry was stale).

What a caller asks for is no wake-up of the loop: `step(0)`, `step(0.01)`, and the poll of a server that overrides
`service_actions`. 4 and 5 are judged on the real clock only: a clock that stands still is always before its deadlines.
A loop may have RATE_PER_S of them a second, and BURST on top: a test that lasts 50 ms says nothing about a second.
A test that plants a spin, or that counts the calls of a turn, is marked `unwatched`, with its reason.
"""

from __future__ import annotations

import functools
import inspect
import time
import weakref
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reactor.clock import MonotonicClock
from reactor.stages import Stages
from reactor.table import Row
from reactor.testing.selector import SimulatedSelector

# What is promised of the whole library, in every test.
RATE_PER_S = 5.0
# Two threads that post at one moment, a descriptor that a child was quicker to read: a few such are nobody's fault.
BURST = 10
AGAIN = "called again, and it did nothing"
# A handler that reads on after the end of its input is told of it once more, and that does not show in the row.
AGAINS = 5
# Selectors count milliseconds, and round up.
ROUNDING_S = 0.002


def state(row: Any) -> tuple[Any, ...]:
    """Return all of a row that a turn changes if it gets anything done."""
    return (
        row.phase, row.interest, row.bytes_in, row.bytes_out, row.requests, row.end, row.queued,
        row.pause_reasons and len(row.pause_reasons), getattr(row, "no_more", None) is None,
        getattr(row, "dropped", 0), getattr(row, "refused", 0), [id(each) for each in getattr(row, "waiters", ())],
    )  # fmt: skip


class Wakes:
    """The wake-ups of one loop, while it lasts.

    Args:
        loop: what to watch; its `demultiplexer.wait` is wrapped.

    Attributes:
        name: of the loop, for messages.
        waits: how often it has waited for readiness.
        spurious: how often it was woken for nothing, by what is to blame.
        began_s: when it waited first.
    """

    def __init__(self, loop: Stages) -> None:
        self.name = type(loop).__name__
        self.waits = 0
        self.spurious: Counter[str] = Counter()
        self.began_s = time.monotonic()
        self.asked_s: float | None = None  # what the caller of the turn allowed; None: the loop chooses
        self._loop = weakref.ref(loop)  # counting keeps no loop and no row alive
        self._agains: Counter[int] = Counter()  # by row: how often in a row it was called again for nothing
        self._woken: list[tuple[int, tuple[Any, ...], str]] = []  # rows that must not be as before
        self._real_clock = isinstance(loop.clock, MonotonicClock)
        self.wrap(loop)

    def wrap(self, loop: Stages) -> None:
        """Take the place of the demultiplexer's own wait, which may change; a test that wraps this one is left alone."""
        if inspect.ismethod(loop.demultiplexer.wait):
            self._wait = loop.demultiplexer.wait
            loop.demultiplexer.wait = self

    def __call__(self, timeout_s: float | None) -> Any:
        """Wait, as the demultiplexer does."""
        loop = self._loop()
        assert loop is not None
        if self._woken:
            self.look_back()
        if not self.waits:
            self.began_s = time.monotonic()
        self.waits += 1
        before_s = time.monotonic()
        batch = self._wait(timeout_s)
        if batch or loop.again:
            self._woken = [(row.id, state(row), "ready, and nothing was done about it") for row, _ in batch]
            rows: list[Any] = list(loop.again)
            again = [row for row in rows if isinstance(row, Row)]  # tests put others there
            self._woken += [(row.id, state(row), AGAIN) for row in again]
        elif self.asked_s is None or timeout_s is None or timeout_s > 0:
            self._empty(loop, timeout_s, time.monotonic() - before_s)
        return batch

    @property
    def may_wait(self) -> bool:
        """Is the loop there, and not closed?"""
        loop = self._loop()
        return loop is not None and not getattr(loop, "closed", False)

    def look_back(self) -> None:
        """The turn is over: which rows are as they were?"""
        loop = self._loop()
        if loop is not None:
            for id, before, blame in self._woken:
                row: Any = loop.table._rows.get(id)
                if row is None or state(row) != before:
                    self._agains.pop(id, None)
                    continue
                self._agains[id] += blame is AGAIN
                if blame is not AGAIN or self._agains[id] > AGAINS:
                    self.spurious[f"{blame}: {row}"] += 1
        self._woken = []

    def _empty(self, loop: Stages, timeout_s: float | None, waited_s: float) -> None:
        """No row is ready: somebody has posted something, or time is up."""
        if loop._posted or loop._stop_s is not None:
            return
        if not timeout_s and timeout_s is not None and loop.until_look <= 0:
            return  # the quarantine looks what is ready at once; the turn's wait follows
        if timeout_s is None or waited_s < timeout_s - ROUNDING_S:
            self.spurious["woken by nobody: a descriptor that no row has, or a signal without a handler"] += 1
        elif self._real_clock and self.asked_s is None and not loop.hooks:
            self._timed_out(loop)

    def _timed_out(self, loop: Stages) -> None:
        now, heap, timer_at = time.monotonic(), loop.deadlines._heap, loop.timers.next_at
        if timer_at is not None and timer_at <= now:
            return
        young: Any = (row for row in loop.deadlines._young if row.guarded_at is not None and row.guarded_at <= now)
        row: Any = heap[0][2] if heap and heap[0][0] <= now else next(young, None)
        if row is None:
            self.spurious["idle, and nothing was due"] += 1
        elif row.id not in loop.table._rows:
            self.spurious["due, but the row had ended"] += 1
        else:
            self._woken = [(row.id, state(row), "due, and it did not expire")]

    def too_many(self, lasted_s: float) -> str:
        """Return what is wrong with so many in so many seconds; "": nothing."""
        total = sum(self.spurious.values())
        if total <= BURST + RATE_PER_S * lasted_s:
            return ""
        worst = "\n".join(f"  {count} x {text}" for text, count in self.spurious.most_common(5))
        return (
            f"{self.name} was woken {total} times for nothing in {lasted_s:.2f} s ({self.waits} waits; {RATE_PER_S:g} a "
            f"second are allowed):\n{worst}"
        )


STAGES: Any = Stages
MADE, WAITING = STAGES.__init__, STAGES._wait


@contextmanager
def _replaced(init: Any, wait: Any) -> Iterator[None]:
    """Make the class behave so for a while."""
    before = STAGES.__init__, STAGES._wait
    STAGES.__init__, STAGES._wait = init, wait
    try:
        yield
    finally:
        STAGES.__init__, STAGES._wait = before


def lifted() -> Any:
    """Return a context in which new loops are as they are for everybody: nothing is watched, and no call is added."""
    return _replaced(MADE, WAITING)


class Watch:
    """The wakes of every loop that was made since `begin`."""

    def __init__(self) -> None:
        self._wakes: list[Wakes] = []
        self._longer: weakref.WeakSet[Wakes] = weakref.WeakSet()  # of loops that live on from one test to the next

    def begin(self) -> None:
        """Forget what was; loops that may still wait are counted anew."""
        # Closed loops are garbage that nobody has collected yet; to look at thousands of them took a third of all tests.
        self._longer = weakref.WeakSet(wakes for wakes in self._longer if wakes.may_wait)
        self._wakes = list(self._longer)
        for wakes in self._wakes:
            wakes.look_back()
            wakes.spurious.clear()
            wakes.waits = 0

    def take(self, loop: Stages) -> None:
        """Watch a loop, unless its world is simulated."""
        if isinstance(loop.demultiplexer._selector, SimulatedSelector):
            return
        wakes = vars(loop)["wakes"] = Wakes(loop)
        self._wakes.append(wakes)
        self._longer.add(wakes)

    def verdict(self) -> str:
        """Return what is wrong; "": nothing."""
        now = time.monotonic()
        return "\n".join(filter(None, (wakes.too_many(now - wakes.began_s) for wakes in self._wakes if wakes.waits)))

    @contextmanager
    def installed(self) -> Iterator[Watch]:
        """Watch every loop that is made from now on, whoever makes it."""
        made, waiting = STAGES.__init__, STAGES._wait

        @functools.wraps(made)
        def init(loop: Stages, *args: Any, **keywords: Any) -> None:
            made(loop, *args, **keywords)
            self.take(loop)

        @functools.wraps(waiting)
        def wait(loop: Stages, timeout_s: float | None) -> Any:
            wakes = vars(loop).get("wakes")
            if wakes is not None:
                wakes.asked_s = timeout_s
                wakes.wrap(loop)
            return waiting(loop, timeout_s)

        with _replaced(init, wait):
            yield self
