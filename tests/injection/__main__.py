"""Every single fault, or seeded double ones: `python -m tests.injection [--seeds N]` in the top-level folder."""

import argparse
import sys
import time
from collections import Counter

from .faults import singles, try_seed, try_single
from .judge import Verdict

SHOWN = 10  # failures whose trace is printed


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def tell(name: str, verdict: Verdict, number: int) -> None:
    say(f"FAILED {name}\n  " + "\n  ".join(verdict.wrong))
    if number <= SHOWN:
        say(str(verdict.play.world.trace))


def run_seeds(seeds: range) -> int:
    """Play seeds; return how many failed."""
    failed, fell, began_at = [], Counter[int](), time.perf_counter()
    for seed in seeds:
        name, verdict = try_seed(seed)
        fell[verdict.fell] += 1
        if verdict.wrong:
            failed.append(seed)
            tell(name, verdict, len(failed))
    seconds = time.perf_counter() - began_at
    say(f"{len(seeds)} seeds in {seconds:.0f} s ({len(seeds) / seconds:.0f} a second); of two faults fell "
        + ", ".join(f"{count} in {times} of them" for count, times in sorted(fell.items()))
        + (f"; failing seeds: {failed}" if failed else "; none failed"))  # fmt: skip
    return len(failed)


def run_singles() -> int:
    """Let every single fault fall; return how many failed."""
    failed, fell, began_at, every = 0, 0, time.perf_counter(), singles()
    for single in every:
        verdict = try_single(single)
        fell += verdict.fell
        if verdict.wrong:
            failed += 1
            tell(str(single), verdict, failed)
    seconds = time.perf_counter() - began_at
    say(f"{len(every)} single faults in {seconds:.0f} s, of which {fell} fell; {failed} failed")
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.injection", description=__doc__)
    parser.add_argument("--seeds", type=int, metavar="N", help="so many seeded double faults")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="the first seed (default: 0)")
    parser.add_argument("--seed", type=int, metavar="N", help="this one only, with its trace")
    given = parser.parse_args()
    if given.seed is not None:
        name, verdict = try_seed(given.seed)
        say(f"{name}\n{verdict.play.world.trace}\n" + ("\n".join(verdict.wrong) or "nothing is wrong"))
        return bool(verdict.wrong)
    return bool(run_seeds(range(given.first, given.first + given.seeds)) if given.seeds else run_singles())


if __name__ == "__main__":
    sys.exit(main())
