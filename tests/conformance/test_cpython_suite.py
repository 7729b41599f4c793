"""CPython's own test_socketserver passes on reactor.socketserver, and would fail on a module that is wrong."""

import pathlib
import textwrap
from typing import Any

import pytest

from tests.conformance.runner import Report, has_everything, run

pytestmark = pytest.mark.timeout(120)

GOOD: dict[str, Any] = {"module": "m", "suite": "test_socketserver", "sees": "m"}
IDS = [f"test_{n}" for n in range(27)]


def run_or_skip(module: str, path: str = "") -> Report:
    report = run(module, path=path)
    if report.missing:
        pytest.skip(report.missing)
    return report


@pytest.mark.parametrize("module", ["socketserver", "reactor.socketserver"])
def test_cpythons_own_tests_pass(module: str) -> None:
    report = run_or_skip(module)
    assert "\n".join(report.problems()) == ""
    assert report.replaced == (
        [] if module == "socketserver" else ["test.test_socketserver.MiscTestCase.test_all"]
    )


def plant(folder: pathlib.Path, fault: str) -> str:
    """A module that is the standard one with one fault."""
    source = textwrap.dedent(fault)
    path = folder / "faulty.py"
    path.write_text(f"from socketserver import *\nimport socketserver as _s\n__all__ = _s.__all__\n{source}")
    return "faulty"


@pytest.mark.parametrize(
    ("fault", "test"),
    [
        ("class TCPServer(TCPServer):\n def verify_request(self, *_): return False", "SocketServerTest.test_TCPServer"),
        ("class TCPServer(TCPServer):\n def server_close(self): pass", "SocketServerTest.test_context_manager"),
        ("class Extra: pass", "MiscTestCase.test_all"),
        ("__all__ = [*__all__, 'Extra']\nclass Extra: pass", "MiscTestCase.test_all"),
    ],
)
def test_a_faulty_module_fails(tmp_path: pathlib.Path, fault: str, test: str) -> None:
    report = run_or_skip(plant(tmp_path, fault), str(tmp_path))
    assert f"test.test_socketserver.{test}" in report.failed
    assert report.problems()


def test_a_module_that_cannot_be_imported_is_a_problem(tmp_path: pathlib.Path) -> None:
    report = run_or_skip(plant(tmp_path, "raise ImportError('planted')"), str(tmp_path))
    assert "planted" in report.problems()[0]


def test_a_run_that_hangs_is_ended_and_says_where(tmp_path: pathlib.Path) -> None:
    module = plant(tmp_path, "import threading\nthreading.Event().wait()  # planted")
    report = run(module, path=str(tmp_path), limit_s=3)
    assert "over 3 s" in report.problems()[0]
    assert "faulty.py" in report.problems()[0]


def test_nothing_to_say_against_a_whole_run() -> None:
    assert Report(**GOOD, total=27, passed=IDS).problems() == []


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (Report(**GOOD), "0 tests ran"),
        (Report(**GOOD, total=3, passed=IDS[:3]), "3 tests ran"),
        (Report(**GOOD, total=27, passed=IDS[:26]), "27 tests were found"),
        (Report(**GOOD, total=27, passed=IDS[:26], failed={"test_26": "text"}), "test_26 failed"),
        (Report(**{**GOOD, "sees": "socketserver"}, total=27, passed=IDS), "saw 'socketserver'"),
        (Report(**GOOD, broken="ended"), "ended"),
        pytest.param(
            Report(**GOOD, total=27, passed=IDS[:26], skipped={"test_26": "resource"}),
            "test_26 was skipped",
            marks=pytest.mark.skipif(not has_everything(), reason="skips are legal here"),
        ),
    ],
)
def test_what_is_not_conforming(report: Report, problem: str) -> None:
    assert problem in "\n".join(report.problems())
