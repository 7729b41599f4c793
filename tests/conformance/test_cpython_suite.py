"""CPython's own tests pass on reactor.socketserver, in every way, and would fail on what is wrong.

This is the quick core of `make conformance`, which runs all suites on all Pythons.
"""

import importlib.util
import pathlib
import shutil
import textwrap
from typing import Any

import pytest

from tests.conformance.runner import OURS, ROOT, Report, has_everything, run
from tests.conformance.suites import SUITES, WAYS, matching

pytestmark = pytest.mark.timeout(120)

GOOD: dict[str, Any] = {"module": "m", "suite": "test_socketserver", "sees": "m"}
IDS = [f"test_{n}" for n in range(27)]
SERVED: dict[str, Any] = {**GOOD, "module": OURS, "sees": OURS, "total": 27, "passed": IDS}


def run_or_skip(module: str, suite: str = "test_socketserver", **options: Any) -> Report:
    report = run(module, suite, **options)
    if report.missing:
        pytest.skip(report.missing)
    return report


@pytest.mark.parametrize("module", ["socketserver", OURS])
def test_cpythons_own_tests_pass(module: str) -> None:
    report = run_or_skip(module)
    assert "\n".join(report.problems()) == ""
    assert report.replaced == (
        [] if module == "socketserver" else ["test.test_socketserver.MiscTestCase.test_all"]
    )


@pytest.mark.parametrize("way", [way for way in WAYS if way != "default"])
@pytest.mark.parametrize("suite", ["test_httpservers", "test_xmlrpc:quick"])
def test_what_is_built_on_socketserver_passes_in_every_way(suite: str, way: str) -> None:
    report = run_or_skip(OURS, suite, way=way)
    assert "\n".join(report.problems()) == ""


# The runner itself, on planted faults.


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
    report = run_or_skip(plant(tmp_path, fault), path=str(tmp_path))
    assert f"test.test_socketserver.{test}" in report.failed
    assert report.problems()


def test_a_module_that_cannot_be_imported_is_a_problem(tmp_path: pathlib.Path) -> None:
    report = run_or_skip(plant(tmp_path, "raise ImportError('planted')"), path=str(tmp_path))
    assert "planted" in report.problems()[0]


def test_a_run_that_hangs_is_ended_and_says_where(tmp_path: pathlib.Path) -> None:
    module = plant(tmp_path, "import threading\nthreading.Event().wait()  # planted")
    report = run(module, path=str(tmp_path), limit_s=3)
    assert "over 3 s" in report.problems()[0]
    assert "faulty.py" in report.problems()[0]


def ours_with(folder: pathlib.Path, name: str, old: str, new: str) -> str:
    """A folder whose `reactor` is a copy of ours with one fault."""
    copy = folder / "reactor"
    shutil.copytree(ROOT / "reactor", copy, ignore=shutil.ignore_patterns("__pycache__"))
    source = (copy / name).read_text()
    assert source.count(old) == 1, "the fault has nowhere to go"
    (copy / name).write_text(source.replace(old, new))
    return str(folder)


@pytest.mark.parametrize(
    ("name", "old", "new", "problem"),
    [
        # The standard module stays where it was.
        ("substitute.py", '    sys.modules["socketserver"] = ours\n', "", "socketserver is <module 'socketserver'"),
        # It is replaced too late.
        (
            "substitute.py",
            "    built = sorted(set(_built_on_the_standard_module()))\n",
            "    import http.server\n    built = []\n",
            "http.server is built on <class 'socketserver.",
        ),
        # The way is not what was asked for.
        ("substitute.py", "_if_plain, BaseServer.framing_if_plain = way, framing", "_if_plain = 'thread'", "'inline' by a"),
        # A class is broken.
        ("request_handlers.py", 'connection.makefile("wb", self.wbufsize)', "io.BytesIO()", "failed"),
    ],
)
def test_a_substitute_that_is_wrong_fails(tmp_path: pathlib.Path, name: str, old: str, new: str, problem: str) -> None:
    report = run_or_skip(OURS, "test_docxmlrpc", way="inline", path=ours_with(tmp_path, name, old, new))
    assert problem in "\n".join(report.problems())


def test_nothing_to_say_against_a_whole_run() -> None:
    assert Report(**GOOD, total=27, passed=IDS).problems() == []


@pytest.mark.parametrize(
    "report",
    [
        Report(**SERVED, way="inline", served={"inline": 3, "thread": 1, "fork": 1, "packet": 1}),
        Report(**SERVED, way="default", served={"no loop": 3}),
        Report(**{**SERVED, "suite": "test_logging:threads"}, way="inline", served={"thread": 1}),
    ],
)
def test_requests_that_were_served_as_asked(report: Report) -> None:
    assert report.problems() == []


@pytest.mark.parametrize(
    ("report", "problem"),
    [
        (Report(**GOOD), "0 tests ran"),
        (Report(**GOOD, total=3, passed=IDS[:3]), "3 tests ran"),
        (Report(**GOOD, total=27, passed=IDS[:26]), "27 tests were found"),
        (Report(**GOOD, total=27, passed=IDS[:26], failed={"test_26": "text"}), "test_26 failed"),
        (Report(**{**GOOD, "sees": "socketserver"}, total=27, passed=IDS), "saw 'socketserver'"),
        (Report(**GOOD, broken="ended"), "ended"),
        (Report(**GOOD, total=27, passed=IDS, strangers=["http.server is"]), "http.server is"),
        (Report(**GOOD, total=27, passed=IDS, idle=["A.test_b"]), "no test is called A.test_b"),
        (Report(**SERVED, way="greenlet"), "no request was handled in the way 'greenlet'"),
        (Report(**SERVED, way="greenlet", served={"thread": 9, "packet": 9}), "no request was handled in the way"),
        (Report(**SERVED, way="greenlet", served={"greenlet": 9, "inline": 1}), "handled otherwise"),
        (Report(**SERVED, way="inline", served={"inline": 9, "no loop": 1}), "handled otherwise"),
        (Report(**SERVED, way="default"), "no request was handled in the way 'inline'"),
        pytest.param(
            Report(**GOOD, total=27, passed=IDS[:26], skipped={"test_26": "resource"}),
            "test_26 was skipped",
            marks=pytest.mark.skipif(not has_everything(), reason="skips are legal here"),
        ),
    ],
)
def test_what_is_not_conforming(report: Report, problem: str) -> None:
    assert problem in "\n".join(report.problems())


def test_an_exception_names_tests_and_a_reason() -> None:
    for suite in SUITES.values():
        for patterns in (suite.may_skip, *suite.not_in.values()):
            assert all(patterns.values())
    assert matching("test.test_x.A.test_b (n=1)", {"B.*": "", "A.test_[b-c]": ""}) == "A.test_[b-c]"
    assert matching("test.test_x.A.test_d", {"A.test_[b-c]": ""}) == ""


def test_a_suite_without_its_package_says_so() -> None:
    """`greenlet` is in the extra `test`; where it is missing, the way is skipped and not passed."""
    report = run(OURS, "test_robotparser", way="greenlet")
    assert bool(report.missing) == (importlib.util.find_spec("greenlet") is None)
