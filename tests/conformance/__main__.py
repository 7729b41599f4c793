"""Run CPython's own tests of socketserver, and of what is built on it, on another module, in every way of ours.

    python -m tests.conformance [--module NAME] [--way WAY] [--jobs N] [SUITE ...]        in the top-level folder
"""

import argparse
import platform
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from .runner import OURS, Report, run
from .suites import SUITES, WAYS


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__.split("\n")[0])
    parser.add_argument(
        "--module",
        action="append",
        metavar="NAME",
        help=f"what stands in for socketserver, by default {OURS}; `socketserver` tests the runner",
    )
    parser.add_argument("--way", action="append", choices=WAYS, help="how plain servers run handlers; by default each")
    parser.add_argument("--jobs", type=int, default=2, help="how many runs at a time; most of them wait")
    parser.add_argument("suites", nargs="*", metavar="SUITE", help=f"by default all: {', '.join(SUITES)}")
    arguments = parser.parse_args()
    unknown = set(arguments.suites) - set(SUITES)
    if unknown:
        parser.error(f"no suite {', '.join(sorted(unknown))}: one of {', '.join(SUITES)}")
    whole = [suite for suite in SUITES if not suite.endswith(":quick")]
    wanted = list(runs(arguments.suites or whole, arguments.module or [OURS], arguments.way or [*WAYS]))
    with ThreadPoolExecutor(arguments.jobs) as pool:
        reports = list(pool.map(lambda each: run(each[1], each[0], way=each[2]), wanted))
    return tell(reports)


def runs(suites: list[str], modules: list[str], ways: list[str]) -> Iterator[tuple[str, str, str]]:
    """Suite, module and way of each run. The standard module knows no ways, and not every suite can be run in every way."""
    for suite in suites:
        for module in modules:
            for way in ways if module == OURS else ["default"]:
                if way in SUITES[suite].ways:
                    yield suite, module, way


def tell(reports: list[Report]) -> int:
    """Print the problems, what was left out and why, and a table. The exit status: 1 if there are problems."""
    status = 0
    for report in reports:
        for problem in report.problems():
            print(f"{report}\n  {problem}")
            status = 1
    print(f"\nCPython {platform.python_version()}")
    print(f"{'suite':24}{'module':22}{'way':10}{'passed':>7}{'failed':>7}{'skipped':>8}{'left out':>9}{'s':>7}  handled")
    for report in reports:
        counts = [report.passed, report.failed, report.skipped, report.left_out]
        numbers = "".join(f"{len(each):{width}}" for each, width in zip(counts, (7, 7, 8, 9), strict=True))
        handled = ", ".join(f"{count} {way}" for way, count in sorted(report.served.items()))
        flaw = "  <-- see above" if report.problems() else ""
        print(f"{report.suite:24}{report.module:22}{report.way:10}{numbers}{report.seconds:7.1f}  {handled}{flaw}")
    reasons = {(report.way, reason) for report in reports for reason in report.left_out.values()}
    reasons |= {
        (way, patterns["*"])
        for suite in {report.suite for report in reports}
        for way, patterns in SUITES[suite].not_in.items()
        if "*" in patterns
    }
    for way, reason in sorted(reasons):
        print(f"left out in {way}: {reason}")
    return status


if __name__ == "__main__":
    sys.exit(main())
