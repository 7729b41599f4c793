"""Plant faults into copies of the project and run there the tests that are to catch them.

What it is: one clean copy, in which all the tests named must pass; then for each fault a copy of that copy. What it is
not: anything that touches the project's own files.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from importlib.util import cache_from_source
from pathlib import Path
from time import monotonic

from .inside import ELSEWHERE
from .mutant import ROOT, Mutant, StaleError

TEST_S = 5  # one test; those that are named take well under a second
RUN_S = 20  # all the tests of one fault; a fault that hangs pytest itself is caught too

ENVIRONMENT = {
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # all but the one that is needed: loading them is a third of a run's time
    "SOCKETSERVER_PATIENCE_S": "3",  # what the tests' own waits take at most
}

# What pytest's exit status says of the fault. Anything else: the run proves nothing.
VERDICTS = {0: "survived", 1: "caught"}


@dataclass(frozen=True)
class Verdict:
    """How one fault fared.

    Attributes:
        word: `caught` is what it should be; `survived`, `stale` or `broken` (the run proves nothing) are not.
        seconds: how long that took.
        output: what pytest printed, or what is wrong.
    """

    mutant: Mutant
    word: str
    seconds: float
    output: str

    @property
    def reason(self) -> str:
        """The first line that says why a test failed."""
        lines = (line[1:].strip() for line in self.output.splitlines() if line.startswith("E  "))
        return next(lines, "")


class BaselineError(Exception):
    """The tests do not pass without a fault, so they prove nothing with one."""


def copy_project(target: Path) -> None:
    """Copy what the tests need, with the handlers where an installation has them."""
    ignored = shutil.ignore_patterns("__pycache__")
    for source, place in (("reactor", "reactor"), ("handlers", "reactor/handlers"), ("tests", "tests")):
        shutil.copytree(ROOT / source, target / place, ignore=ignored)
    shutil.copy2(ROOT / "setup.cfg", target)


def run_tests(top: Path, file: str, tests: Sequence[str], limit_s: float = RUN_S) -> tuple[int | None, str]:
    """Run tests in a copy; return the exit status, None for a hang, and what was printed."""
    command = [sys.executable, "-m", "tests.mutants.inside", file, "-x", "-q", f"--timeout={TEST_S}"]
    # The output goes to a file: a child that lives on would keep a pipe open.
    with tempfile.TemporaryFile("w+") as output:
        process = subprocess.Popen(
            [*command, "-p", "pytest_timeout", "-p", "no:cacheprovider", *tests],
            cwd=top,
            env={**os.environ, **ENVIRONMENT, "PYTHONPATH": str(top)},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            status: int | None = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            status = None
        finally:
            with suppress(ProcessLookupError):  # forked children, if the fault left some
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        output.seek(0)
        return status, output.read()


def try_mutant(mutant: Mutant, clean: Path, limit_s: float = RUN_S) -> Verdict:
    """Plant one fault and see whether its tests catch it."""
    since = monotonic()
    word, output = "stale", ""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        top = Path(folder, "copy").resolve()
        shutil.copytree(clean, top)
        try:
            plant(mutant, top)
            status, output = run_tests(top, mutant.file, mutant.tests, limit_s)
            word = "caught" if status is None else VERDICTS.get(status, "broken")
            if status == ELSEWHERE:
                output = f"the copy was not what was tested:\n{output}"
        except StaleError as error:
            output = str(error)
        except SyntaxError as error:
            word, output = "broken", str(error)
    return Verdict(mutant, word, monotonic() - since, output)


def plant(mutant: Mutant, top: Path) -> None:
    """Put the fault into a copy, and away with what Python has compiled of the file without it."""
    path = top / mutant.file
    path.write_text(mutant.plant(path.read_text()))
    compile(path.read_text(), mutant.file, "exec")
    Path(cache_from_source(str(path))).unlink(missing_ok=True)


@contextmanager
def clean_copy(mutants: Sequence[Mutant]) -> Iterator[Path]:
    """Give a copy without a fault, in which all tests of the mutants pass.

    Raises:
        BaselineError: they do not.
    """
    with tempfile.TemporaryDirectory(prefix="clean-") as folder:
        top = Path(folder, "copy").resolve()
        copy_project(top)
        tests = sorted({test for mutant in mutants for test in mutant.tests})
        status, output = run_tests(top, "", tests, limit_s=10 * RUN_S)
        if status != 0:
            raise BaselineError(f"the tests fail without any fault (status {status}):\n{output}")
        yield top


def run_all(
    mutants: Sequence[Mutant], jobs: int, report: Callable[[Verdict], None] = lambda verdict: None
) -> list[Verdict]:
    """Try all mutants, several at once; `report` hears of each verdict as it comes."""
    with clean_copy(mutants) as clean, ThreadPoolExecutor(jobs) as pool:

        def attempt(mutant: Mutant) -> Verdict:
            verdict = try_mutant(mutant, clean)
            report(verdict)
            return verdict

        return list(pool.map(attempt, mutants))
