"""What happened in a simulated world, in the order in which it happened, for a person to read.

What it is: one line a call, with the simulated time, who made it and what came of it. What it is not: a log; it is kept
in memory, the last `MOST_EVENTS` of it, and turned into text only when somebody asks.
"""

from __future__ import annotations

import errno
from collections import deque

# More than any failing run that a person will read; what came before is dropped.
MOST_EVENTS = 2000
# Bytes of data that a line shows.
SHOWN_BYTES = 48


class Trace:
    """The events of a simulation; `str()` gives the text."""

    def __init__(self) -> None:
        self._events: deque[tuple[float, str, str, object]] = deque(maxlen=MOST_EVENTS)
        self._dropped = 0

    def add(self, at_s: float, who: str, what: str, outcome: object) -> None:
        """Note an event: when, who did what, and what came of it."""
        if len(self._events) == MOST_EVENTS:
            self._dropped += 1
        self._events.append((at_s, who, what, outcome))

    def clear(self) -> None:
        """Forget what happened so far."""
        self._events.clear()
        self._dropped = 0

    def __len__(self) -> int:
        return len(self._events)

    def __str__(self) -> str:
        if not self._events:
            return "nothing happened"
        began_at = self._events[0][0]
        lines = [f"... {self._dropped} earlier events are not kept"] if self._dropped else []
        lines += [
            f"{at_s - began_at:10.6f} s  {who:<12} {what:<10} {_shown(outcome)}".rstrip()
            for at_s, who, what, outcome in self._events
        ]
        return "\n".join(lines)


def _shown(outcome: object) -> str:
    if outcome is None:
        return ""
    if isinstance(outcome, (bytes, bytearray)):
        if len(outcome) <= SHOWN_BYTES:
            return repr(bytes(outcome))
        return f"{bytes(outcome[:SHOWN_BYTES])!r}... ({len(outcome)} bytes)"
    if isinstance(outcome, BlockingIOError):
        return errno.errorcode[outcome.errno or errno.EAGAIN]
    if isinstance(outcome, OSError):
        return f"{type(outcome).__name__}: {outcome}"
    return str(outcome)
