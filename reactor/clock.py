"""The one place that reads the time.

The engine reads the clock once a turn (a read per event is 8 % of an echo's CPU) and always a *monotonic* one: a wall
clock that is set back or forward would fire every deadline or none (twisted#2424, tornado#2035). It reaches the engine
through the constructor, so that a test can put a `ManualClock` in its place and need not sleep.
"""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """What the engine asks of a clock."""

    def now(self) -> float:
        """Return the monotonic time, in seconds from an arbitrary start."""


def date_s() -> float:
    """Return the date, in seconds since 1970: for texts that show it, never for deadlines."""
    return time.time()


class MonotonicClock:
    """The operating system's monotonic clock."""

    now = staticmethod(time.monotonic)


class ManualClock:
    """A clock that stands still until it is told to advance: for tests.

    Args:
        start_s: the first reading, in seconds.
    """

    def __init__(self, start_s: float = 1000.0) -> None:
        self._now_s = start_s

    def now(self) -> float:
        """Return the time that was last set, in seconds."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Move forward.

        Raises:
            ValueError: `seconds` is negative; a monotonic clock never goes back.
        """
        if seconds < 0:
            raise ValueError(f"a monotonic clock cannot go back by {-seconds:g} s")
        self._now_s += seconds
