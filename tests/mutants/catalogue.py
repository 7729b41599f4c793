"""All faults and all points together, and the table that says which point is held by what."""

from collections.abc import Iterable, Mapping, Sequence

from . import (
    planted_budget,
    planted_clocks,
    planted_coroutines,
    planted_frames,
    planted_handlers,
    planted_hooks,
    planted_loop,
    planted_mixins,
    planted_platforms,
    planted_recordings,
    planted_requests,
    planted_sockets,
    planted_spins,
    planted_streams,
    planted_turn,
    planted_ways,
)
from .mutant import Mutant, Point
from .points import POINTS as POINTS

MUTANTS: list[Mutant] = [
    *planted_loop.MUTANTS,
    *planted_hooks.MUTANTS,
    *planted_sockets.MUTANTS,
    *planted_platforms.MUTANTS,
    *planted_mixins.MUTANTS,
    *planted_handlers.MUTANTS,
    *planted_ways.MUTANTS,
    *planted_turn.MUTANTS,
    *planted_clocks.MUTANTS,
    *planted_streams.MUTANTS,
    *planted_coroutines.MUTANTS,
    *planted_frames.MUTANTS,
    *planted_requests.MUTANTS,
    *planted_recordings.MUTANTS,
    *planted_spins.MUTANTS,
    *planted_budget.MUTANTS,
]


def chosen(mutants: Sequence[Mutant], names: Sequence[str]) -> list[Mutant]:
    """Return the mutants that any of the names is part of, in their name, file or point; without names, all."""
    return [
        mutant
        for mutant in mutants
        if not names or any(name in each for name in names for each in (mutant.name, mutant.file, mutant.point))
    ]


def table(mutants: Iterable[Mutant], points: Iterable[Point], words: Mapping[str, str]) -> str:
    """Return, for each point, its faults, how each fared (if it was tried) and the tests that are to catch it."""
    by_point: dict[str, list[Mutant]] = {}
    for mutant in mutants:
        by_point.setdefault(mutant.point, []).append(mutant)
    lines = []
    for point in points:
        lines.append(f"{point.key}: {point.text}" + (f"  [open: {point.open}]" if point.open else ""))
        for mutant in by_point.get(point.key, []):
            word = words.get(mutant.name, "")
            tests = ", ".join(test.removeprefix("tests/") for test in mutant.tests)
            lines.append(f"    {word:9}{mutant.name:38} {tests}")
    return "\n".join(lines)
