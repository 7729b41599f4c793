"""Plant the faults and say which the tests have caught: `python -m tests.mutants` in the top-level folder."""

import argparse
import os
import sys

from .catalogue import MUTANTS, POINTS, chosen, table
from .mutant import Mutant
from .runner import BaselineError, Verdict, run_all


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(verdict: Verdict) -> None:
    say(f"{verdict.word:9} {verdict.seconds:5.1f} s  {verdict.mutant.name:40} {verdict.reason[:70]}".rstrip())
    if verdict.word != "caught":
        say(verdict.output)


def run(mutants: list[Mutant], jobs: int, everything: bool) -> int:
    """Run them and sum up; return the exit status."""
    try:
        verdicts = run_all(mutants, jobs, tell)
    except BaselineError as error:
        say(str(error))
        return 1
    missed = [verdict for verdict in verdicts if verdict.word != "caught"]
    if everything:
        say(table(mutants, POINTS, {verdict.mutant.name: verdict.word for verdict in verdicts}))
    say(f"{len(verdicts)} faults: {len(verdicts) - len(missed)} caught" + (
        "; not: " + ", ".join(f"{verdict.mutant.name} ({verdict.word})" for verdict in missed) if missed else ""
    ))
    return 1 if missed else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="part of a fault's name, its file or its point")
    parser.add_argument("--list", action="store_true", help="list the faults, run nothing")
    parser.add_argument("--table", action="store_true", help="print point -> fault -> tests, run nothing")
    parser.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="how many at once (many only wait)")
    arguments = parser.parse_args()
    mutants = chosen(MUTANTS, arguments.names)
    if not mutants:
        parser.error(f"no fault is called {' or '.join(arguments.names)}; --list shows them")
    if arguments.list:
        say("\n".join(f"{mutant.name:40} {mutant.file:28} {mutant.point}" for mutant in mutants))
        return 0
    if arguments.table:
        say(table(mutants, POINTS, {}))
        return 0
    return run(mutants, arguments.jobs, everything=not arguments.names)


if __name__ == "__main__":
    sys.exit(main())
