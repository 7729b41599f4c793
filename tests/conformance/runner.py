"""Run CPython's own tests in a process of their own, and judge what it reports. Standard library only.

What it is: `run`, and `Report`, whose `problems` are also those of a run in which nothing failed: tests that were skipped
or not found, a standard module that was not replaced, requests that went past the loop. What it is not: the list of what is
run (`suites`), nor what happens in the process (`inside`).
"""

import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from time import monotonic

from .suites import SUITES, matching

ROOT = pathlib.Path(__file__).parents[2]
OURS = "reactor.socketserver"

# What servers with a mixin do, and packets, in whatever way plain servers of connections run.
MIXED_IN = ("thread", "fork", "packet")


@dataclass(frozen=True, kw_only=True)
class Report:
    """What one run of one suite did, by the ids of its tests.

    Attributes:
        missing: why it cannot be run here.
        broken: why there is nothing else to tell.
        sees: the module that the tests found under the name `socketserver`.
        strangers: what was built on another socketserver all the same.
        left_out: what `suites` excludes in this way, with the reasons.
        idle: names and exceptions of `suites` that no test has.
        served: requests that a loop handled, by the way in which they were seen to be; see `through_loop`.
    """

    module: str
    suite: str
    way: str = "default"
    missing: str = ""
    broken: str = ""
    sees: str = ""
    total: int = 0
    passed: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    replaced: list[str] = field(default_factory=list)
    strangers: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    idle: list[str] = field(default_factory=list)
    served: dict[str, int] = field(default_factory=dict)
    seconds: float = 0

    def problems(self) -> list[str]:
        """Why this run does not show that the module conforms; empty when it does."""
        if self.missing or self.broken:
            return [self.missing or self.broken]
        found = [f"{test} failed:\n{text}" for test, text in self.failed.items()]
        if self.sees != self.module:
            found.append(f"the tests saw {self.sees!r} as socketserver, not {self.module!r}")
        return [*found, *self.strangers, *self._not_run(), *self._not_served()]

    def _not_run(self) -> Iterator[str]:
        """Tests that should have run, and did not."""
        plan = SUITES[self.suite]
        if has_everything():
            for test, reason in self.skipped.items():
                if not matching(test, plan.may_skip):
                    yield f"{test} was skipped: {reason}"
        ran = len(self.passed) + len(self.failed)
        fewest = plan.fewest - len(self.left_out) if has_everything() else 1
        if ran < fewest:
            yield f"{ran} tests ran, and at least {fewest} should"
        if ran + len(self.skipped) < self.total:
            yield f"{self.total} tests were found, but {ran} ran and {len(self.skipped)} were skipped"
        for pattern in self.idle:
            yield f"no test is called {pattern}, which `suites` names"

    def _not_served(self) -> Iterator[str]:
        """Requests that did not go through a loop, or in another way than they should."""
        if self.module != OURS:
            return
        plan, way = SUITES[self.suite], "inline" if self.way == "default" else self.way
        right = {*MIXED_IN} if plan.threaded else {way}
        past = {"no loop"} if self.way in plan.without_loop else set()
        if not (right | (past if self.way == "default" else set())) & set(self.served) and self.total:
            yield f"no request was handled in the way {way!r} by a loop; seen: {self.served or 'none at all'}"
        if set(self.served) - right - past - {*MIXED_IN}:
            yield f"in the way {way!r}, requests were handled otherwise: {self.served}"

    def __str__(self) -> str:
        name = f"{self.suite} on {self.module}" + (f", {self.way}" if self.module == OURS else "")
        if self.missing or self.broken:
            return f"{name}: {self.missing or self.broken}"
        text = f"{name}: {len(self.passed)} passed, {len(self.failed)} failed"
        text += f", {len(self.skipped)} skipped of {self.total} ({self.seconds:.1f} s)"
        if self.served:
            text += "; handled: " + ", ".join(f"{count} {way}" for way, count in sorted(self.served.items()))
        return text + (f"; by a stand-in: {', '.join(self.replaced)}" if self.replaced else "")


def has_everything() -> bool:
    """Whether this platform has all that the tests can ask for, so that none may be skipped."""
    return hasattr(os, "fork") and hasattr(socket, "AF_UNIX")


def run(
    module: str, suite: str = "test_socketserver", *, way: str = "default", path: str = "", limit_s: float | None = None
) -> Report:
    """Run CPython's own tests on this Python with `module` as `socketserver`.

    Args:
        module: the stand-in, or `socketserver` itself.
        suite: a name of SUITES.
        way: how plain servers run their handlers, one of WAYS; only our own module knows any but "default".
        path: is searched for the module first.
        limit_s: by default the suite's.
    """
    limit_s = limit_s or SUITES[suite].limit_s
    if way == "greenlet" and importlib.util.find_spec("greenlet") is None:
        return Report(module=module, suite=suite, way=way, missing="needs the package greenlet: pip install greenlet")
    with tempfile.TemporaryDirectory(prefix="conform-") as folder:
        report = pathlib.Path(folder, "report.json")
        work = pathlib.Path(folder, "work")
        work.mkdir()
        since = monotonic()
        search = os.pathsep.join(filter(None, [path, str(ROOT)]))
        order = {"module": module, "suite": suite, "way": way, "report": str(report)}
        output, status = _in_a_process(json.dumps({**order, "seconds": limit_s - 2}), work, search, limit_s)
        seconds = monotonic() - since
        if not report.exists():
            broken = f"ended ({status}) without a report:\n{output[-6000:]}"
            return Report(module=module, suite=suite, way=way, broken=broken)
        return Report(module=module, suite=suite, way=way, seconds=seconds, **json.loads(report.read_text()))


def _in_a_process(order: str, work: pathlib.Path, path: str, limit_s: float) -> tuple[str, str]:
    """What the process printed, and how it ended. After the time limit its forked children are ended with it."""
    with subprocess.Popen(
        [sys.executable, "-m", "tests.conformance.inside", order],
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
