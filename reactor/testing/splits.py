"""Does a handler answer the same, however its input is cut? A stream has no borders, and every network moves them.

What it is: `check_every_split`, which tries all of them. What it is not: a proof that the answers are right; the session as
a whole says what is right. A handler passes if its answers depend on the bytes alone.

The schedules: all cuts in two (with `parts=3` also in three) · one byte at a time · the end of the stream with the last
byte and after it, at every offset · sends that are cut short, calls that must be made again. The first that gives another
answer is made smaller as long as it still does.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from ..framing import Framing
from .conversations import Handler, Outcome, converse
from .faults import NO_FAULTS, Faults

# Sends of a few bytes, and two calls of five that say "not now".
SHORT_WRITES = Faults(short_writes=0.8, would_block=0.4)
SEEDS = 8
# How many shorter sessions are tried on a failure.
SHORTER_TRIES = 400

End = Literal["with", "after", "no"]


class SplitError(AssertionError):
    """A handler answers differently when its input is cut differently."""


@dataclass(frozen=True)
class SplitReport:
    """What was tried.

    Attributes:
        schedules: how many conversations were held.
        output: what the handler answers to the whole session.
    """

    schedules: int
    output: bytes


@dataclass(frozen=True)
class Schedule:
    """How a session is told: the bytes, where they are cut, how they end, and what goes wrong."""

    data: bytes
    cuts: tuple[int, ...] = ()
    end: End = "with"
    faults: Faults = NO_FAULTS
    seed: int = 0

    @property
    def pieces(self) -> list[bytes]:
        """The bytes, cut."""
        places = (0, *self.cuts, len(self.data))
        return [self.data[begin:end] for begin, end in itertools.pairwise(places)]

    def __str__(self) -> str:
        text = " | ".join(map(repr, self.pieces))
        text += {"with": " + end of stream", "after": " | end of stream", "no": ""}[self.end]
        return text if self.faults == NO_FAULTS else f"{text}, seed {self.seed}, {self.faults}"


class Splits:
    """The conversations with one handler.

    Args:
        handler: it.
        framing: for an ordinary handler class.
    """

    def __init__(self, handler: Handler, framing: Framing[Any] | None) -> None:
        self._handler, self._framing = handler, framing
        self._whole: dict[tuple[bytes, bool], Outcome] = {}
        self.held = 0

    def outcome(self, schedule: Schedule) -> tuple[Outcome, Any]:
        """Hold a conversation; return what came of it, and the world it was in."""
        self.held += 1
        return converse(
            self._handler, schedule.pieces, framing=self._framing, end=schedule.end, faults=schedule.faults,
            seed=schedule.seed,
        )  # fmt: skip

    def expected(self, schedule: Schedule) -> Outcome:
        """Return what comes of the same bytes in one piece, with nothing going wrong."""
        ends = schedule.end != "no"
        whole = self._whole.get((schedule.data, ends))
        if whole is None:
            whole, _ = self.outcome(Schedule(schedule.data, end="with" if ends else "no"))
            self._whole[schedule.data, ends] = whole
        return whole

    def fails(self, schedule: Schedule) -> bool:
        """Does this schedule give another answer?"""
        return self.outcome(schedule)[0] != self.expected(schedule)

    def check(self, schedule: Schedule) -> None:
        """Try a schedule.

        Raises:
            SplitError: it gives another answer; the message has the smallest one that does, and its trace.
        """
        if self.fails(schedule):
            smallest = self._fewer_cuts(self._shorter(schedule))
            outcome, world = self.outcome(smallest)
            raise SplitError(
                f"the answer depends on how the bytes arrive; smallest of {self.held} schedules that shows it:\n"
                f"  {smallest}\n  in pieces: {outcome}\n  as a whole: {self.expected(smallest)}\n"
                f"what happened, in pieces:\n{world.trace}"
            ) from outcome.cause

    def _fewer_cuts(self, schedule: Schedule) -> Schedule:
        """Join pieces as long as it still fails."""
        for cut in schedule.cuts:
            fewer = replace(schedule, cuts=tuple(each for each in schedule.cuts if each != cut))
            if self.fails(fewer):
                schedule = fewer
        return schedule

    def _shorter(self, schedule: Schedule) -> Schedule:
        """Find the shortest beginning of the session that still fails."""
        for size in range(1, min(len(schedule.data), SHORTER_TRIES)):
            cuts = tuple(cut for cut in schedule.cuts if cut < size)
            shorter = replace(schedule, data=schedule.data[:size], cuts=cuts)
            if self.fails(shorter):
                return shorter
        return schedule


def check_every_split(
    handler: Handler, data: bytes, *, framing: Framing[Any] | None = None, parts: Literal[2, 3] = 2
) -> SplitReport:
    """Check that a handler answers the same, however a session is cut.

    Args:
        handler: a coroutine function, an `AsyncStreamRequestHandler`, or an ordinary handler class with a framing.
        data: what a client says in a session.
        framing: for an ordinary handler class; None: its own.
        parts: 3 tries all cuts in three, too: n²/2 conversations for n bytes, at about two thousand a second.

    Raises:
        SplitError: two schedules give different answers.
        Exception: what the handler raises when it is told the whole session at once.
    """
    if parts not in (2, 3):
        raise ValueError(f"parts={parts!r}: sessions are cut in 2 or 3 parts")
    splits = Splits(handler, framing)
    whole = Schedule(data)
    outcome = splits.expected(whole)
    if outcome.error:
        _, world = splits.outcome(whole)
        text = f"the handler raises {outcome.error} when it is told all of {data!r}\n{world.trace}"
        raise SplitError(text) from outcome.cause
    for schedule in schedules(data, parts):
        splits.check(schedule)
    return SplitReport(splits.held, outcome.output)


def schedules(data: bytes, parts: int) -> Iterator[Schedule]:
    """Yield every schedule of a session, those that find most first."""
    everywhere = tuple(range(1, len(data)))
    yield Schedule(data, end="after")
    yield Schedule(data, everywhere)
    for number in range(1, parts):
        for cuts in itertools.combinations(everywhere, number):
            yield Schedule(data, cuts)
    for seed in range(SEEDS):
        yield Schedule(data, faults=SHORT_WRITES, seed=seed)
        yield Schedule(data, everywhere, faults=SHORT_WRITES, seed=seed)
    yield Schedule(data, everywhere, end="no")
    for size in range(len(data)):
        yield from _ends(data[:size])


def _ends(data: bytes) -> Sequence[Schedule]:
    """The stream ends here: with the last byte or after it, in one piece or in many."""
    everywhere = tuple(range(1, len(data)))
    return [Schedule(data, end="after"), Schedule(data, everywhere), Schedule(data, everywhere, end="after")]
