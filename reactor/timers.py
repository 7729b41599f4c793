"""Calls at a later time: a heap of timers, in which cancelled ones do not pile up.

Due timers run in the order of their times, at most those that were due when the stage began: a timer that re-arms at 0
must not starve the rows. A million armed and cancelled timers would hold their memory until their time came (uvloop#37,
twisted#9780), so the heap is purged when more than half of it is cancelled.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Generator, Iterator
from itertools import count
from typing import Any

# Below this many cancelled timers a purge costs more than it gives back.
PURGE_FROM = 64


class Timer:
    """A call that is due at `at` (monotonic s)."""

    __slots__ = ("_timers", "args", "at", "function", "queued")

    def __init__(self, timers: Timers, at: float, function: Callable[..., object], args: tuple[Any, ...]) -> None:
        self._timers = timers
        self.at = at
        self.function: Callable[..., object] | None = function
        self.args = args
        self.queued = True

    def cancel(self) -> None:
        """Do not call; legal any number of times, also after the call."""
        if self.function is not None:
            self.function, self.args = None, ()
            if self.queued:
                self._timers.cancelled()


class Timers:
    """The heap.

    Attributes:
        next_at: when the first timer is due (monotonic s); None: there is none.
    """

    def __init__(self) -> None:
        self.next_at: float | None = None  # no property: each turn reads it twice
        self._heap: list[tuple[float, int, Timer]] = []
        self._tie = count()
        self._cancelled = 0

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Timer]:
        """Yield those that are not cancelled, in no order."""
        return (timer for _, _, timer in tuple(self._heap) if timer.function is not None)

    def add(self, at: float, function: Callable[..., object], args: tuple[Any, ...]) -> Timer:
        """Arm a timer.

        Raises:
            ValueError: `at` is not a number; a heap with such an entry is in no order.
        """
        if at != at:
            raise ValueError("a timer cannot be due at NaN")
        timer = Timer(self, at, function, args)
        heapq.heappush(self._heap, (at, next(self._tie), timer))
        self.next_at = self._heap[0][0]
        return timer

    def cancelled(self) -> None:
        """Count one more cancelled timer; drop them all when they are the majority."""
        self._cancelled += 1
        if self._cancelled > PURGE_FROM and self._cancelled * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].function is not None]
            heapq.heapify(self._heap)
            self._cancelled = 0
        self._look()

    def _look(self) -> None:
        """See who is the first now; one that is cancelled is nobody."""
        while self._heap and self._heap[0][2].function is None:
            heapq.heappop(self._heap)
            self._cancelled -= 1
        self.next_at = self._heap[0][0] if self._heap else None

    def due(self, now: float) -> Generator[tuple[Callable[..., object], tuple[Any, ...]], None, None]:
        """Remove the timers due at `now` and yield their calls, the earliest first.

        One that an earlier call cancels is not called; those that nobody asks for are due again the next time. They stay in
        the heap until then: a crowd of which eight are called at a time must not be moved for each eight.
        """
        newest, fresh = next(self._tie), []
        try:
            while (at := self.next_at) is not None and at <= now:
                entry = heapq.heappop(self._heap)
                timer = entry[2]
                timer.queued = False
                self._look()
                if entry[1] > newest:
                    fresh.append(entry)
                    continue
                function, args, timer.function, timer.args = timer.function, timer.args, None, ()
                assert function is not None  # `_look` drops those that were cancelled
                yield function, args
        finally:
            for entry in fresh:
                if entry[2].function is not None:
                    entry[2].queued = True
                    heapq.heappush(self._heap, entry)
            self._look()
