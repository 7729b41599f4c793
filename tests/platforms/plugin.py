"""What pytest does on a bare platform: gives a test what it needs and nothing else, and looks if it really needed it.

What it is: the hooks of `tests/conftest.py` when REACTOR_TESTS_WITHOUT takes calls away. What it is not: a skip; a test
that needs a thread runs and has it, and fails for a socket pair that it does not list. A need that no test of that name
had is a failure of the run: the list would only grow otherwise.
"""

import os
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.platforms import lacking
from tests.platforms.needs import NEEDS


def name_of(node: str) -> str:
    """Return the name of a test without its parameters."""
    return node.partition("[")[0]


class BarePlatform:
    """The hooks.

    Attributes:
        used: what the tests of each name have asked for.
        ran: the names of which every test that was collected has run.
    """

    def __init__(self, needs: dict[str, str]) -> None:
        self._needs = needs
        self._notes = Path(tempfile.mkdtemp()) / "notes"
        self.used: dict[str, set[str]] = defaultdict(set)
        self._outcomes: dict[str, set[str]] = defaultdict(set)
        os.environ[lacking.NOTES] = str(self._notes)

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
        name = name_of(item.nodeid)
        os.environ[lacking.ALLOWED] = self._needs.get(name, "").replace(" ", ",")
        self._notes.write_text("")
        try:
            return (yield)
        finally:
            os.environ[lacking.ALLOWED] = ""
            self.used[name].update(self._notes.read_text().split())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._outcomes[name_of(report.nodeid)].add(report.outcome)

    def idle_needs(self) -> list[str]:
        """Return which needs were not there, of the tests that ran."""
        return [
            f"{name} says that it needs a {word}, and needs none: change tests/platforms/needs.py"
            for name, listed in self._needs.items()
            if "passed" in self._outcomes[name] and "skipped" not in self._outcomes[name]
            for word in listed.split()
            if word in lacking.words(lacking.WITHOUT) and word not in self.used[name]
        ]

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.idle_needs() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        terminalreporter.write_line(f"without {os.environ[lacking.WITHOUT]}: {self._count()}")
        for line in self.idle_needs():
            terminalreporter.write_line(f"FAILED {line}", red=True)

    def _count(self) -> str:
        ran = [name for name, outcomes in self._outcomes.items() if "passed" in outcomes]
        return f"{len(ran)} tests (parameters aside), {sum(name not in self._needs for name in ran)} of them need none"


def register(config: pytest.Config) -> None:
    """Add the hooks, if there is a call that may not be made."""
    if set(lacking.words(lacking.WITHOUT)) & set(lacking.CALLS):
        config.pluginmanager.register(BarePlatform(NEEDS), "bare-platform")
