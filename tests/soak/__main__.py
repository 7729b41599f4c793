"""`make soak`: play the scenarios and print what was found; exit status 1 when a bar is missed."""

from __future__ import annotations

import argparse
import sys
import time
from contextlib import ExitStack

from tests.soak.bars import Bar
from tests.soak.scenarios import FULL, QUICK, SCENARIOS, Pace


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def line(name: str, bar: Bar) -> str:
    """Return a bar as a line of the table."""
    verdict = "ok" if bar.holds else "MISSED"
    return f"{name:<14} {bar.name:<24} {bar.found:>10.4g}  {bar.allowed:<12} {verdict:<7} {bar.note}".rstrip()


def play(name: str, pace: Pace) -> list[Bar]:
    """Play one scenario and print its lines."""
    began = time.monotonic()
    with ExitStack() as stack:
        found = SCENARIOS[name](pace, stack, say).bars
    for bar in found:
        say(line(name, bar))
    say(f"{name:<14} took {time.monotonic() - began:.1f} s")
    return found


def main(arguments: list[str]) -> int:
    """Play what was asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small crowds, no latencies: a few seconds")
    parser.add_argument("--only", default=",".join(SCENARIOS), help="scenarios, separated by commas")
    parser.add_argument("--window", type=float, help=f"seconds of each window (default: {FULL.window_s})")
    parser.add_argument("--churn", type=int, help=f"connections of churn (default: {FULL.churn})")
    options = parser.parse_args(arguments)
    names = options.only.split(",")
    unknown = [name for name in names if name not in SCENARIOS]
    if unknown:
        parser.error(f"no scenario is called {', '.join(unknown)}; there are {', '.join(SCENARIOS)}")
    pace = QUICK if options.quick else FULL
    if options.window:
        pace = pace._replace(window_s=options.window)
    if options.churn:
        pace = pace._replace(churn=options.churn)
    missed = [bar for name in names for bar in play(name, pace) if not bar.holds]
    say(f"{len(missed)} bars missed" if missed else "every bar holds")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
