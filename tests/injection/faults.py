"""Which faults there are: every site that a scenario reaches, every errno of its call, the first three times.

What it is: the enumeration of single faults and the drawing of seeded ones. What it is not: a run; see `judge`.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from random import Random
from typing import Any

from reactor.testing import Faults
from reactor.testing.faults import NO_FAULTS

from .errnos import ERRNOS
from .judge import EXTRA_TURNS, MODES, Mode, Verdict, trial
from .scenarios import SCENARIOS
from .sites import AFTER, ALSO_AFTER
from .world import Fault, Key

TIMES = 3
# How many of a seed's trials also have short writes, needless EAGAINs and delays.
ROUGH = 0.3


@dataclass(frozen=True)
class Single:
    """One fault in one scenario."""

    scenario: str
    mode: Mode
    fault: Fault

    def __str__(self) -> str:
        return f"{self.scenario} ({self.mode}): {self.fault}"


@functools.cache
def fair(scenario: str, mode: Mode) -> tuple[tuple[tuple[Key, int], ...], int]:
    """Return the calls of a scenario in which nothing fails, and its turns.

    Raises:
        AssertionError: something is wrong without any fault.
    """
    verdict = trial(scenario, mode=mode)
    assert not verdict.wrong, f"{scenario} ({mode}) without a fault: {verdict.wrong}"
    return tuple(sorted(verdict.play.plan.calls.items())), verdict.play.turns


def singles() -> list[Single]:
    """Return every single fault."""
    return [
        Single(scenario, mode, Fault(key, nth, errno))
        for scenario in SCENARIOS
        for mode in MODES
        for key, calls in fair(scenario, mode)[0]
        for nth in range(1, min(calls, TIMES) + 1)
        for errno in ERRNOS.get(key[2], ())
    ]


def try_single(single: Single) -> Verdict:
    """Let it fall."""
    turns = fair(single.scenario, single.mode)[1]
    return trial(single.scenario, (single.fault,), mode=single.mode, most_turns=turns + EXTRA_TURNS)


def after_a_fault() -> list[tuple[str, tuple[Fault, Fault]]]:
    """Return the faults at sites that only another fault leads to, with that one."""
    found = []
    for site, (scenario, cause) in (AFTER | ALSO_AFTER).items():
        causes = [Fault(key, 1, ERRNOS[cause[2]][0]) for key, _ in fair(scenario, "watched")[0] if key[:3] == cause]
        leads = ((first, key) for first in causes for key in _after(scenario, "watched", first) if key[:3] == site)
        first, key = next(leads)  # StopIteration: no such fault leads to this site any more
        found += [(scenario, (first, Fault(key, 1, errno))) for errno in ERRNOS[site[2]]]
    return found


def drawn(seed: int) -> tuple[str, tuple[Fault, ...], dict[str, Any]]:
    """Return the scenario of a seed, its two faults, and the rest."""
    random = Random(seed)
    scenario = random.choice(tuple(SCENARIOS))
    mode = random.choice(MODES)
    calls = [key for key, _ in fair(scenario, mode)[0] if key[2] in ERRNOS]
    first = _fault(random, random.choice(calls))
    # The second one among what only a fault leads to, too: the reset of a row that is lost, a listener that resumes.
    known = _after(scenario, mode, first) or calls
    second = _fault(random, random.choice(known))
    chances = NO_FAULTS
    if random.random() < ROUGH:
        delay_s = random.choice(((0.0, 0.0), (0.0, 0.2)))
        chances = Faults(
            short_writes=random.choice((0, 0.3)), would_block=random.choice((0, 0.1)), delay_s=delay_s
        )  # fmt: skip
    return scenario, (first, second), {"mode": mode, "seed": seed, "chances": chances}


@functools.lru_cache(maxsize=4096)
def _after(scenario: str, mode: Mode, first: Fault) -> tuple[Key, ...]:
    plan = trial(scenario, (first,), mode=mode).play.plan
    return tuple(sorted(key for key in plan.calls if key[2] in ERRNOS))


def _fault(random: Random, key: Key) -> Fault:
    return Fault(key, random.choice((1, 1, 1, 2, 2, 3, 4, 5)), random.choice(ERRNOS[key[2]]))


def try_seed(seed: int) -> tuple[str, Verdict]:
    """Play a seed; return what was played, too."""
    scenario, faults, keywords = drawn(seed)
    most_turns = 10 * fair(scenario, keywords["mode"])[1] + 10 * EXTRA_TURNS
    verdict = trial(scenario, faults, most_turns=most_turns, **keywords)
    told = f"seed {seed}: {scenario} ({keywords['mode']}, {keywords['chances']}): {' and '.join(map(str, faults))}"
    return told, verdict
