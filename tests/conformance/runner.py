"""Run CPython's own tests in a process of their own, and judge what it reports. Standard library only."""

import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from dataclasses import dataclass, field
from time import monotonic

ROOT = pathlib.Path(__file__).parents[2]

# A suite that runs far fewer tests than it has proves nothing. test_socketserver has 27 in 3.11, 3.12 and 3.13.
FEWEST = {"test_socketserver": 25}


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one run of one suite did, by the ids of its tests."""

    module: str
    suite: str
    missing: str = ""
    broken: str = ""  # why there is nothing else to tell
    sees: str = ""  # the module that the tests found under the name `socketserver`
    total: int = 0
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    seconds: float = 0

    def problems(self) -> list[str]:
        """Why this run does not show that the module conforms; empty when it does."""
        if self.missing or self.broken:
            return [self.missing or self.broken]
        found = [f"{test} failed:\n{text}" for test, text in self.failed.items()]
        if has_everything():
            found += [f"{test} was skipped: {reason}" for test, reason in self.skipped.items()]
        if self.sees != self.module:
            found.append(f"the tests saw {self.sees!r} as socketserver, not {self.module!r}")
        ran = len(self.passed) + len(self.failed)
        fewest = FEWEST.get(self.suite, 1) if has_everything() else 1
        if ran < fewest:
            found.append(f"{ran} tests ran, and at least {fewest} should")
        if ran + len(self.skipped) < self.total:
            found.append(f"{self.total} tests were found, but {ran} ran and {len(self.skipped)} were skipped")
        return found

    def __str__(self) -> str:
        if self.missing or self.broken:
            return f"{self.suite} on {self.module}: {self.missing or self.broken}"
        text = f"{self.suite} on {self.module}: {len(self.passed)} passed, {len(self.failed)} failed"
        text += f", {len(self.skipped)} skipped of {self.total} ({self.seconds:.1f} s)"
        return text + (f"; by a stand-in: {', '.join(self.replaced)}" if self.replaced else "")


def has_everything() -> bool:
    """Whether this platform has all that the tests can ask for, so that none may be skipped."""
    return hasattr(os, "fork") and hasattr(socket, "AF_UNIX")


def run(module: str, suite: str = "test_socketserver", *, path: str = "", limit_s: float = 100) -> Report:
    """Run CPython's `test.<suite>` on this Python with `module` as `socketserver`; `path` is searched for it first."""
    with tempfile.TemporaryDirectory(prefix="conform-") as folder:
        report = pathlib.Path(folder, "report.json")
        work = pathlib.Path(folder, "work")
        work.mkdir()
        since = monotonic()
        search = os.pathsep.join(filter(None, [path, str(ROOT)]))
        output, status = _in_a_process([module, suite, str(report), str(limit_s - 2)], work, search, limit_s)
        seconds = monotonic() - since
        if not report.exists():
            return Report(module=module, suite=suite, broken=f"ended ({status}) without a report:\n{output[-6000:]}")
        return Report(module=module, suite=suite, seconds=seconds, **json.loads(report.read_text()))


def _in_a_process(arguments: list[str], work: pathlib.Path, path: str, limit_s: float) -> tuple[str, str]:
    """What the process printed, and how it ended. After the time limit its forked children are ended with it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.inside", *arguments],
        cwd=work,
        env={**os.environ, "PYTHONPATH": path},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            output, _ = process.communicate(timeout=limit_s)
            return output, f"status {process.returncode}"
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            return process.communicate()[0], f"over {limit_s:g} s"
