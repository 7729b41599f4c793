"""A session told again and again, each time with other cuts, delays and faults, all drawn from one seed.

What it is: `fuzz`, for the schedules that nobody can list: `check_every_split` tries those that can be. What it is not: a
search for strange input; the bytes are always those of the session. A seed that fails is told again by its number.

Every second seed is gentle: sends cut short, calls that must be made again, delays, a peer that reads late; then the
answer must be that of the session as a whole. The others break the connection off somewhere; then what arrived of the
answer must be its beginning, and the handler must have raised nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from random import Random
from typing import Any

from ..framing import Framing
from .conversations import Handler, Outcome, converse
from .faults import Faults
from .splits import Schedule, SplitError, Splits

# More pieces than this say nothing new, and cost a turn each.
MOST_CUTS = 12


@dataclass(frozen=True)
class FuzzReport:
    """What was tried.

    Attributes:
        seeds: how many seeds.
        resets: in how many of them the connection was broken off.
        output: what the handler answers to the whole session.
    """

    seeds: int
    resets: int
    output: bytes


def fuzz(
    handler: Handler, data: bytes, *, framing: Framing[Any] | None = None, seeds: Iterable[int] = range(1000)
) -> FuzzReport:
    """Tell a handler a session in as many ways as there are seeds.

    Args:
        handler: a coroutine function or a handler class.
        data: what a client says in a session.
        framing: for an ordinary handler class; None: its own.
        seeds: which schedules.

    Raises:
        SplitError: a seed gives an answer that it must not give; the message has the seed and the trace.
    """
    whole = Splits(handler, framing).expected(Schedule(data))
    if whole.error:
        raise SplitError(f"the handler raises {whole.error} when it is told all of {data!r}") from whole.cause
    tried = resets = 0
    for seed in seeds:
        schedule = schedule_of(seed, data)
        at_once = bool(seed % 3)
        outcome, world = converse(
            handler, schedule.pieces, framing=framing, end=schedule.end, faults=schedule.faults, seed=seed,
            at_once=at_once, reads_late=seed % 5 == 0,
        )  # fmt: skip
        tried += 1
        resets += outcome.ended == "reset"
        if not _is_right(outcome, whole, schedule):
            raise SplitError(
                f"seed {seed} gives another answer: {schedule}\n  with it: {outcome}\n  without: {whole}\n"
                f"what happened:\n{world.trace}"
            ) from outcome.cause
    return FuzzReport(tried, resets, whole.output)


def schedule_of(seed: int, data: bytes) -> Schedule:
    """Draw the schedule of a seed."""
    random = Random(seed)
    places = range(1, len(data))
    cuts = sorted(random.sample(places, min(len(places), random.randrange(MOST_CUTS))))
    longest_s = random.choice([0, 0, 0.001, 0.1])
    faults = Faults(
        short_writes=random.choice([0, 0.5, 0.9]),
        would_block=random.choice([0, 0.2, 0.5]),
        resets=0 if seed % 2 == 0 else random.choice([0.05, 0.2]),
        delay_s=(0, longest_s),
    )
    return Schedule(data, tuple(cuts), random.choice(["with", "after"]), faults, seed)


def _is_right(outcome: Outcome, whole: Outcome, schedule: Schedule) -> bool:
    if not schedule.faults.resets:
        return outcome == whole
    return whole.output.startswith(outcome.output) and not outcome.error
