"""Run CPython's own tests of socketserver on another module: `python -m tests.conformance` in the top-level folder."""

import argparse
import platform
import sys

from .runner import run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument(
        "--module",
        action="append",
        metavar="NAME",
        help="what stands in for socketserver, by default reactor.socketserver; `socketserver` tests the runner",
    )
    parser.add_argument("suites", nargs="*", default=["test_socketserver"], help="CPython's test modules")
    arguments = parser.parse_args()
    status = 0
    for suite in arguments.suites:
        for module in arguments.module or ["reactor.socketserver"]:
            report = run(module, suite)
            print(f"{platform.python_version()}: {report}", flush=True)
            if report.missing:
                continue
            for problem in report.problems():
                print(f"  {problem}")
                status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
