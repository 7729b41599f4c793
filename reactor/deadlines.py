"""Deadlines of rows: the young ones in a dict, the others in a heap, at most one live entry a row, re-armed lazily.

A heap operation costs 410-450 ns, about 5 % of an echo, so no byte may cost one. A row that makes progress only moves
its own `deadline_at()`; its entry in the heap stays where it was. When that entry comes due, the row is asked again:
either its time is really up, or the entry is pushed once more at the new time. A row pushes at once only when its
deadline moves *earlier* (idle 75 s -> request 30 s); the entry that this makes stale is dropped when it surfaces, or
when the stale ones are the majority: a row that lived 1 ms must not be remembered for 75 s (uvloop#37, twisted#9780).

Most connections of a busy server end long before their time, so a row gets no entry at first. It is among the `young`, who
come and go, and move their deadlines, for the price of a dict; they get entries when the first of them is due, or when
there are many.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from typing import Protocol

# Below this many stale entries a purge costs more than it gives back.
PURGE_FROM = 64
# So many young ones get entries at once, in half a millisecond; above that a row costs the heap what it always has.
YOUNG_MOST = 1024
# And so many rows are asked whether their time is up: 10,000 busy ones whose old entries surface together took 6 ms.
ASKED_AT_ONCE = 1024


class Guarded(Protocol):
    """What has a deadline: a row."""

    id: int
    guarded_at: float | None

    def deadline_at(self) -> float | None:
        """Return when the time is up (monotonic s); None: never."""


class Deadlines:
    """All guarded rows.

    Attributes:
        next_at: when somebody is to be asked (monotonic s), at the earliest; None: there is nobody.
    """

    def __init__(self) -> None:
        self.next_at: float | None = None  # no property: each turn reads it twice
        self._young: dict[Guarded, None] = {}  # a set, and in an order that is the same in each run
        self._young_at = math.inf  # none of them is due earlier
        self._heap: list[tuple[float, int, Guarded]] = []  # of those of one time, the oldest row first
        self._stale = 0

    def __len__(self) -> int:
        return len(self._heap) + len(self._young)

    def guard(self, row: Guarded) -> None:
        """Make sure that the row is asked no later than at its deadline."""
        at = row.deadline_at()
        if at is None or not (row.guarded_at is None or at < row.guarded_at):
            return
        earlier, row.guarded_at = row.guarded_at is not None, at
        if row not in self._young:
            if earlier:
                self._outdate()
            if len(self._young) >= YOUNG_MOST:
                self._grow_up()
            self._young[row] = None
        if at < self._young_at:
            self._young_at = at
            if self.next_at is None or at < self.next_at:
                self.next_at = at

    def forget(self, row: Guarded) -> None:
        """Guard the row no longer: it has ended."""
        if row.guarded_at is not None:
            row.guarded_at = None
            try:
                del self._young[row]
            except KeyError:
                self._outdate()

    def _grow_up(self) -> None:
        """Give entries to those who have lived so long."""
        for row in self._young:
            if row.guarded_at is not None:  # else: an older entry of the same time has surfaced, and it was asked
                heapq.heappush(self._heap, (row.guarded_at, row.id, row))
        self._young.clear()
        self._young_at = math.inf

    def _outdate(self) -> None:
        """Count one more stale entry; drop them all when they are the majority."""
        self._stale += 1
        if self._stale > PURGE_FROM and self._stale * 2 > len(self._heap):
            # `forget` and `guard` call this before they push, so an entry is live if its row still names its time.
            self._heap = [entry for entry in self._heap if entry[2].guarded_at == entry[0]]
            heapq.heapify(self._heap)
            self._stale = 0

    def due(self, now: float) -> Iterator[Guarded]:
        """Remove and yield the rows whose time is up at `now` (monotonic s), the earliest first.

        A row is asked when its turn comes: the one before it may have ended it. Those behind a row that raises stay.
        """
        if self.next_at is None or self.next_at > now:
            return
        if self._young_at <= now:
            self._grow_up()
        # Whoever is guarded from now on is young, and asked in the next turn.
        for _ in range(min(len(self._heap), ASKED_AT_ONCE)):
            if not self._heap or self._heap[0][0] > now:
                break
            at, _, row = heapq.heappop(self._heap)
            if row.guarded_at != at:
                self._stale = max(self._stale - 1, 0)
                continue  # its row has ended, or an earlier entry took its place
            row.guarded_at = None
            deadline = row.deadline_at()
            if deadline is not None and deadline <= now:
                yield row
            else:
                self.guard(row)
        first = min(self._heap[0][0] if self._heap else math.inf, self._young_at)
        self.next_at = None if first == math.inf else first
