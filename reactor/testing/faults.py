"""What may go wrong in a simulated world, and how often.

What it is: `Faults`, the wish, and `FaultPlan`, which says at each call whether a fault falls there. What it is not: a
judge; every fault here is one that a kernel or a network is allowed to commit, so a program has to live with all of them.

Rules: whatever is drawn comes from the random generator of the simulation, so a seed repeats it · faults fall on the
calls of the reactor only, never on those of a simulated client · a plan with no faults draws nothing.
"""

from __future__ import annotations

import errno
import os
from collections import Counter
from dataclasses import dataclass
from random import Random
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Faults:
    """Faults of a simulation; a chance is a number from 0 to below 1 for each call.

    Attributes:
        short_writes: the chance that `send` takes only a part.
        would_block: the chance that a call which could go on says EAGAIN.
        resets: the chance that `recv` or `send` finds the connection reset by the peer.
        delay_s: the shortest and the longest time (s) that bytes, connections and packets are under way; the order
            within a connection is kept, that between connections is not.
        at: (call, nth, errno name): the nth `recv`, `send`, `accept`, `socket`, `close`, ... of the reactor fails with it,
            or the nth `register`, `modify`, `unregister` or `select` of its selector.

    Raises:
        ValueError: a chance is not one, a delay is negative, or an errno is unknown.
    """

    short_writes: float = 0
    would_block: float = 0
    resets: float = 0
    delay_s: tuple[float, float] = (0, 0)
    at: tuple[tuple[str, int, str], ...] = ()

    def __post_init__(self) -> None:
        for name in ("short_writes", "would_block", "resets"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"Faults({name}={getattr(self, name)!r}): a chance is at least 0 and below 1")
        if not 0 <= self.delay_s[0] <= self.delay_s[1]:
            raise ValueError(f"Faults(delay_s={self.delay_s!r}): the shortest delay (s) first, none below 0")
        for call, nth, name in self.at:
            if nth < 1 or not isinstance(getattr(errno, name, None), int):
                raise ValueError(f"Faults(at={(call, nth, name)!r}): a call, its number from 1 on, an errno like 'EMFILE'")


NO_FAULTS = Faults()


class FaultPlan:
    """Says at each call whether a fault falls there.

    Args:
        faults: the wish.
        random: where chances are drawn from.
    """

    def __init__(self, faults: Faults, random: Random) -> None:
        self.faults, self._random = faults, random
        self._at = {(call, nth): getattr(errno, name) for call, nth, name in faults.at}
        self._calls: Counter[str] = Counter()
        self.struck: list[tuple[Any, str]] = []  # the sockets that faults fell on, as the kernel knows them, and the calls

    def before(self, call: str, on: Any = None) -> None:
        """Count a call on a socket (None: on none).

        Raises:
            OSError: it is one of those that are to fail.
        """
        if self._at:
            self._calls[call] += 1
            code = self._at.get((call, self._calls[call]))
            if code is not None:
                self.struck.append((on, call))
                raise OSError(code, f"{os.strerror(code)} (injected)")

    def says_not_now(self) -> bool:
        """Does this call say EAGAIN though it could go on?"""
        return self._falls(self.faults.would_block)

    def resets(self, call: str, on: Any) -> bool:
        """Does this call find the connection reset?"""
        falls = self._falls(self.faults.resets)
        if falls:
            self.struck.append((on, call))
        return falls

    def taken(self, size: int) -> int:
        """Return how many of `size` bytes a send may take."""
        if size > 1 and self._falls(self.faults.short_writes):
            return self._random.randrange(1, size)
        return size

    def _falls(self, chance: float) -> bool:
        return chance > 0 and self._random.random() < chance
