"""Play worlds drawn from seeds: `python -m tests.seeds [--from A] [--count N] [--seed N]` in the top-level folder."""

import argparse
import sys
import time
from collections import Counter
from concurrent.futures import ProcessPoolExecutor

from .drawn import Spec, drawn
from .judge import trial
from .shrink import shrunk

COUNT = 20_000
CHUNK = 500  # seeds that a process plays at a time
SHOWN = 5  # failures that are shrunk and shown with their trace
TOLD_S = 60.0  # how often the number that have been played is told


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def play_chunk(seeds: range) -> list[tuple[int, list[str]]]:
    """Play some seeds; return those in which something is wrong."""
    played = ((seed, trial(drawn(seed))[0]) for seed in seeds)
    return [(seed, wrong) for seed, wrong in played if wrong]


def fails(spec: Spec) -> bool:
    return bool(trial(spec)[0])


def tell(seed: int, wrong: list[str], *, in_full: bool) -> None:
    """Print a failure; in full: the smallest world that fails, and its trace."""
    say(f"FAILED seed {seed} (again: python -m tests.seeds --seed {seed})\n  " + "\n  ".join(wrong))
    if in_full:
        small = shrunk(drawn(seed), fails)
        wrong, play = trial(small)
        say(f"the smallest world that fails:\n{small}\n  " + "\n  ".join(wrong) + f"\n{play.world.trace}")


def run(first: int, count: int, jobs: int, stop_at: int) -> int:
    """Play seeds; return how many failed."""
    chunks = [range(at, min(at + CHUNK, first + count)) for at in range(first, first + count, CHUNK)]
    began_at = told_at = time.perf_counter()
    failed: list[int] = []
    played = 0
    with ProcessPoolExecutor(jobs) as pool:  # which starts none before it is given something
        results = map(play_chunk, chunks) if jobs == 1 else pool.map(play_chunk, chunks)
        for chunk, found in zip(chunks, results, strict=False):
            played += len(chunk)
            for seed, wrong in found:
                failed.append(seed)
                tell(seed, wrong, in_full=len(failed) <= SHOWN)
            if time.perf_counter() - told_at > TOLD_S:
                told_at = time.perf_counter()
                say(f"... {played} of {count} seeds in {told_at - began_at:.0f} s, {len(failed)} failed")
            if stop_at and len(failed) >= stop_at:
                pool.shutdown(cancel_futures=True)
                break
    seconds = time.perf_counter() - began_at
    say(f"{played} seeds from {first} in {seconds:.0f} s ({1000 * seconds / max(played, 1):.1f} ms each); "
        + (f"{len(failed)} failed: {failed}" if failed else "none failed"))  # fmt: skip
    return len(failed)


def census(seeds: range) -> str:
    """Say what the worlds of some seeds are made of, so that nobody thinks they try what they do not."""
    counts: Counter[str] = Counter()
    for spec in map(drawn, seeds):
        counts.update(f"way {way}" for _, way in spec.listeners)
        counts.update(f"step {step.op}" for step in spec.steps)
        counts.update(f"ask {ask.verb}" for step in spec.steps if step.op == "connect" for ask in step.what[1])
        counts.update(f"fault {call} {name}" for call, _, name in spec.faults.at)
    return "\n".join(f"{count:8} {name}" for name, count in sorted(counts.items()))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.seeds", description=__doc__)
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="N", help="the first seed (default: 0)")
    parser.add_argument("--count", type=int, default=COUNT, metavar="N", help=f"how many (default: {COUNT})")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="processes (default: 1)")
    parser.add_argument("--stop-at", type=int, default=0, metavar="N", help="give up after so many failures")
    parser.add_argument("--seed", type=int, metavar="N", help="this one only, with its trace")
    parser.add_argument("--census", action="store_true", help="say what the worlds are made of, play none")
    given = parser.parse_args()
    if given.census:
        say(census(range(given.first, given.first + given.count)))
        return 0
    if given.seed is None:
        return bool(run(given.first, given.count, given.jobs, given.stop_at))
    wrong, play = trial(drawn(given.seed))
    say(f"{play.spec}\n{play.world.trace}\n" + ("\n".join(wrong) or "nothing is wrong"))
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
