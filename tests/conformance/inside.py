"""Run one of CPython's own test modules with another module in the place of `socketserver`, and report.

    python -m tests.conformance.inside MODULE SUITE REPORT.json SECONDS

Needs a process of its own, since the swap must come before anything imports `socketserver`: see `runner`.
"""

import faulthandler
import importlib
import importlib.util
import json
import pathlib
import socketserver as standard
import sys
import types
import unittest
from typing import Any


class Record(unittest.TextTestResult):
    """unittest's own result, which forgets the names of the tests that passed, made to keep them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed.append(test.id())


def names_it_defines(module: types.ModuleType) -> list[str]:
    """The public names of `module` that it, or a private module of the same package, defines."""
    package = module.__name__.partition(".")[0]
    return [
        name
        for name in dir(module)
        if not name.startswith("_")
        and (getattr(getattr(module, name), "__module__", None) or "").partition(".")[0] in (package, "socketserver")
    ]


def test_all(self: unittest.TestCase) -> None:
    """CPython's test_all asks for `__module__ == "socketserver"`, which only a module of that name can have."""
    module = sys.modules["socketserver"]
    self.assertCountEqual(module.__all__, names_it_defines(module))
    self.assertCountEqual(module.__all__, standard.__all__)


STAND_INS = {"test_socketserver": [("MiscTestCase", test_all)]}


def replace(name: str, suite: str, tests: types.ModuleType) -> list[str]:
    """Put our own version in the place of the few tests that name the standard module. Their ids."""
    if name == standard.__name__:
        return []
    for case, function in STAND_INS.get(suite, []):
        if not hasattr(getattr(tests, case), function.__name__):
            raise LookupError(f"{suite}.{case} has no {function.__name__}: the stand-in is for nothing")
        setattr(getattr(tests, case), function.__name__, function)
    return [f"{tests.__name__}.{case}.{function.__name__}" for case, function in STAND_INS.get(suite, [])]


def run(name: str, suite: str) -> dict[str, Any]:
    module = importlib.import_module(name)
    sys.modules["socketserver"] = module
    try:
        found = importlib.util.find_spec(f"test.{suite}")
    except ModuleNotFoundError:
        found = None
    if found is None:
        return {"missing": f"this Python comes without test.{suite} (Debian and others package the tests apart)"}
    support: Any = importlib.import_module("test.support")
    support.use_resources = ["network"]  # without it the whole module is skipped; the traffic is loopback only
    try:
        tests = importlib.import_module(f"test.{suite}")
    except unittest.SkipTest as reason:
        return {"skipped": {f"test.{suite}": str(reason)}, "sees": name, "total": 0}
    replaced = replace(name, suite, tests)
    cases = unittest.defaultTestLoader.loadTestsFromModule(tests)
    total = cases.countTestCases()  # a suite lets go of its tests as they run
    result = unittest.TextTestRunner(sys.stdout, resultclass=Record, verbosity=2).run(cases)
    assert isinstance(result, Record)
    seen = getattr(tests, "socketserver", sys.modules["socketserver"])
    return {
        "sees": name if seen is module else seen.__name__,
        "total": total,
        "passed": result.passed,
        "failed": {test.id(): text for test, text in result.failures + result.errors},
        "skipped": {test.id(): reason for test, reason in result.skipped},
        "replaced": replaced,
    }


def main(name: str, suite: str, report: str, seconds: str) -> None:
    faulthandler.dump_traceback_later(float(seconds))
    pathlib.Path(report).write_text(json.dumps(run(name, suite)))


if __name__ == "__main__":
    main(*sys.argv[1:])
