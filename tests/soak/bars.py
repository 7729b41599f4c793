"""What must hold, and how far from it the server was: one function a bar, each with its source.

A bar takes figures and returns a `Bar`: what was found, what is allowed, and whether that is enough. None of them looks
at a clock but `latency`, which only the full run uses.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from tests.wakeups import BURST, RATE_PER_S

# What a row costs beside its bytes: 1.4 KiB at rest, and its buffers' own objects.
ROW_BYTES = 4096
# Python's allocator takes memory by the arena of 1 MiB, and fragments.
SLACK_BYTES = 1 << 20
OVER_BUDGET = 1.10
P99_FACTOR, P99_MS = 1.25, 1.0
CPU_SHARE = 0.02


class Bar(NamedTuple):
    """One thing that must hold."""

    name: str
    found: float
    allowed: str
    holds: bool
    note: str = ""


def at_most(name: str, found: float, most: float, note: str = "") -> Bar:
    """Return a bar that is held from below."""
    return Bar(name, found, f"<= {most:.4g}", found <= most, note)


def all_of(name: str, found: int, count: int) -> Bar:
    """Return a bar that only all of them hold."""
    return Bar(name, found, f">= {count}", found >= count)


def memory(
    before: dict[str, Any], peak: dict[str, Any], rows: int, row_bytes: int, budget_bytes: int | None = None
) -> Bar:
    """At its peak the server has grown by the budget (None: the rows' own limits) and 10 %, and by the rows themselves."""
    held = rows * row_bytes if budget_bytes is None else min(rows * row_bytes, budget_bytes)
    most = held * OVER_BUDGET + rows * ROW_BYTES + SLACK_BYTES
    grown = peak["peak"] - before["rss"]
    return at_most("grown at peak, MB", grown / 1e6, most / 1e6, f"{rows} rows, {held / 1e6:.0f} MB may be held")


def flat_memory(early: dict[str, Any], late: dict[str, Any]) -> Bar:
    """Nothing stays: what nine tenths of the work have added."""
    return at_most("grown later, MB", (late["rss"] - early["rss"]) / 1e6, SLACK_BYTES / 1e6)


def descriptors(before: dict[str, Any], after: dict[str, Any]) -> Bar:
    """Each descriptor is given back."""
    return Bar("descriptors left", after["descriptors"] - before["descriptors"], "= 0",
               after["descriptors"] == before["descriptors"])  # fmt: skip


def cross_talk(*results: dict[str, Any]) -> Bar:
    """Nobody gets what is somebody else's."""
    return at_most("cross-talk", sum(result["cross_talk"] for result in results), 0)


def unanswered(*windows: dict[str, Any]) -> Bar:
    """The clients that behave get every answer."""
    return at_most("without an answer", sum(window["missing"] for window in windows), 0)


def spurious(before: dict[str, Any], after: dict[str, Any]) -> Bar:
    """Wake-ups for nothing, over the whole scenario."""
    count, seconds = after["spurious"] - before["spurious"], after["now_s"] - before["now_s"]
    note = f"{(after['waits'] - before['waits']) / seconds:.0f} wake-ups/s in all" + "".join(
        f"; {times} x {blame}" for blame, times in after["blame"]
    )
    return at_most("spurious wake-ups", count, BURST + RATE_PER_S * seconds, note)


def idle_wake_ups(before: dict[str, Any], after: dict[str, Any]) -> Bar:
    """A loop at rest does not wake: the one wait is that of the question for its figures."""
    return at_most("idle wake-ups", after["waits"] - before["waits"] - 1, 0)


def cpu_share(before: dict[str, Any], after: dict[str, Any]) -> Bar:
    """Of one CPU, while no descriptor is left: CPU seconds of the process, which no neighbour disturbs."""
    share = (after["cpu_s"] - before["cpu_s"]) / (after["now_s"] - before["now_s"])
    return at_most("CPU share", share, CPU_SHARE)


def log_lines(before: dict[str, Any], after: dict[str, Any]) -> Bar:
    """A shortage is worth a line of each of the two listeners, not one each time."""
    return at_most("lines logged", after["logged"] - before["logged"], 2)


def latency(windows: list[dict[str, Any]], arrivals: Sequence[dict[str, Any]] = ()) -> Bar:
    """The 99th percentile of those who behave, abused against quiet: +25 % or +1 ms, whichever is more."""
    first, abused, last = (window["p99_ms"] for window in windows)
    quiet = (first + last) / 2
    note = f"ms: quiet {first:.2f}, abused, quiet {last:.2f}; medians " + ", ".join(
        f"{window['p50_ms']:.2f}" for window in windows
    )
    note += "".join(f"; {window['p99_ms']:.2f} while the crowd arrived" for window in arrivals)
    if max(first, last) > P99_FACTOR * min(first, last):
        note += " (noise: the quiet windows differ by more than is allowed)"
    return at_most("p99, ms", abused, max(P99_FACTOR * quiet, quiet + P99_MS), note)
