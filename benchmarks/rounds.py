"""Bursts, ratios, medians: the arithmetic, without a socket in sight.

One round measures every server once, each between two bursts of the reference:

    bare  A  bare  B  bare  C  bare

A's ratio is its cost over the mean of the two references beside it, so that a machine that grows slower all the time
(or warmer, or busier) slows both sides alike. The order changes from round to round, so that nobody always comes after
the same neighbour. What is reported is the median over the rounds: one burst that was disturbed moves a mean, but not
a median.

And when is a run worth nothing? When the second process of the reference does not come out at 1. Then the machine was
too busy, and every other ratio of that run may be as wrong as this one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import median

TOLERANCE = 0.03


@dataclass(frozen=True, slots=True)
class Summary:
    """One server's row: CPU per message in µs, and the ratio with the range the middle half of its rounds fell in.

    Beside it, of a typical burst: how long requests took until their reply was read, and how often in a wave the server had
    nothing left to do, and slept.
    """

    us: float
    ratio: float
    low: float
    high: float
    p50_us: float = 0.0
    p99_us: float = 0.0
    sleeps: float = 0.0


@dataclass(slots=True)
class Samples:
    """What the rounds have brought so far, by server; all costs in µs of CPU per message."""

    reference: str
    us: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    ratios: defaultdict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    beside: defaultdict[str, list[tuple[float, float, float]]] = field(default_factory=lambda: defaultdict(list))

    def note(self, name: str, percentiles: Sequence[float], sleeps: float) -> None:
        """What else a burst has shown: the 99 percentiles of its latencies, and sleeps in a wave."""
        self.beside[name].append((percentiles[49], percentiles[98], sleeps))

    def summary(self) -> dict[str, Summary]:
        rows = {}
        for name in [self.reference, *self.ratios]:
            ratios = self.ratios.get(name, [1.0])
            beside = [median(values) for values in zip(*self.beside[name], strict=True)]
            rows[name] = Summary(median(self.us[name]), median(ratios), *middle_half(ratios), *beside)
        return rows


def play_round(samples: Samples, names: Sequence[str], cost_us: Callable[[str], float]) -> None:
    """Measure each of `names` between two bursts of the reference; neighbours share the burst between them."""
    before = cost_us(samples.reference)
    samples.us[samples.reference].append(before)
    for name in names:
        cost = cost_us(name)
        after = cost_us(samples.reference)
        samples.us[name].append(cost)
        samples.us[samples.reference].append(after)
        samples.ratios[name].append(bracketed_ratio(cost, before, after))
        before = after


def bracketed_ratio(cost: float, before: float, after: float) -> float:
    return cost / ((before + after) / 2)


def rotated(names: Sequence[str], by: int) -> list[str]:
    start = by % len(names) if names else 0
    return [*names[start:], *names[:start]]


def middle_half(values: Sequence[float]) -> tuple[float, float]:
    ordered = sorted(values)
    quarter = len(ordered) // 4
    return ordered[quarter], ordered[-1 - quarter]


def rejection(workload: str, second_reference: Summary, tolerance: float = TOLERANCE) -> str | None:
    """Why this run must not be believed, or None when it may."""
    error = abs(second_reference.ratio - 1)
    if error <= tolerance:
        return None
    return (f"{workload}: two processes of the same reference differ by {error:.1%}, more than {tolerance:.0%}. "
            "The machine was too busy: close other programs and run again.")
