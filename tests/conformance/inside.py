"""Run one of CPython's own test modules with another module in the place of `socketserver`, and report.

    python -m tests.conformance.inside '{"module": ..., "suite": ..., "way": ..., "report": ..., "seconds": ...}'

Needs a process of its own, since the swap must come before anything imports `socketserver`: see `runner`. Nothing here may
import it either, for whoever holds the standard module could hand it on.
"""

import faulthandler
import importlib
import importlib.machinery
import importlib.util
import json
import pathlib
import sys
import types
import unittest
from collections.abc import Iterator
from typing import Any

from .suites import SUITES, Suite, matching

OURS = "reactor.socketserver"


class Record(unittest.TextTestResult):
    """unittest's own result, which forgets the names of the tests that passed, made to keep them."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.passed: list[str] = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        super().addSuccess(test)
        self.passed.append(test.id())


def standard() -> Any:
    """A private copy of the standard module, whatever stands in its place."""
    spec = importlib.machinery.PathFinder.find_spec("socketserver")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


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
    self.assertCountEqual(module.__all__, standard().__all__)


STAND_INS = {"test_socketserver": [("MiscTestCase", test_all)]}


def replace(name: str, suite: str, tests: types.ModuleType) -> list[str]:
    """Put our own version in the place of the few tests that name the standard module. Their ids."""
    if name == "socketserver":
        return []
    for case, function in STAND_INS.get(suite, []):
        if not hasattr(getattr(tests, case), function.__name__):
            raise LookupError(f"{suite}.{case} has no {function.__name__}: the stand-in is for nothing")
        setattr(getattr(tests, case), function.__name__, function)
    return [f"{tests.__name__}.{case}.{function.__name__}" for case, function in STAND_INS.get(suite, [])]


def install(name: str, way: str, framing: str) -> tuple[types.ModuleType, dict[str, int]]:
    """Put module `name` in the place of socketserver: the module, and what it will have served, if it is ours."""
    if name != OURS:
        module = sys.modules["socketserver"] = importlib.import_module(name)
        return module, {}
    substitute: Any = importlib.import_module("reactor.substitute")
    through_loop: Any = importlib.import_module("tests.conformance.through_loop")
    module = substitute.install(None if way == "default" else way, framing if way == "framed" else None)
    served: dict[str, int] = through_loop.Served()
    through_loop.watch(served)
    if way != "default":
        through_loop.handle_requests_on_a_loop()
    return module, served


def not_substituted(module: Any) -> list[str]:
    """What in this process is built on another socketserver than `module`."""
    server: Any = importlib.import_module("http.server")
    found = [] if server.socketserver is module else [f"http.server.socketserver is {server.socketserver!r}"]
    strangers = set(server.HTTPServer.__mro__) - {server.HTTPServer, *module.TCPServer.__mro__}
    strangers |= set(server.BaseHTTPRequestHandler.__mro__) - {
        server.BaseHTTPRequestHandler,
        *module.StreamRequestHandler.__mro__,
    }
    found += sorted(f"http.server is built on {stranger!r}" for stranger in strangers)
    for name, other in list(sys.modules.items()):
        if getattr(other, "socketserver", module) is not module and not name.startswith("reactor"):
            found.append(f"{name}.socketserver is {other.socketserver!r}")
    return found


def cases(tests: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """The test cases in a tree of suites."""
    for test in tests:
        if isinstance(test, unittest.TestSuite):
            yield from cases(test)
        else:
            yield test


class Selected:
    """The tests of a module that this run is about.

    Attributes:
        tests: to be run.
        left_out: why others are not, by their ids.
        idle: exceptions that are for nothing.
    """

    def __init__(self, module: types.ModuleType, suite: Suite, way: str) -> None:
        exceptions = suite.not_in.get(way, {})
        found = list(cases(unittest.defaultTestLoader.loadTestsFromModule(module)))
        of_suite = [test for test in found if matching(test.id(), dict.fromkeys(suite.only, ""))]
        self.left_out = {
            test.id(): exceptions[pattern] for test in of_suite if (pattern := matching(test.id(), exceptions))
        }
        self.tests = unittest.TestSuite(test for test in of_suite if test.id() not in self.left_out)
        patterns = [*suite.only, *suite.may_skip, *exceptions]
        self.idle = [each for each in patterns if not any(matching(test.id(), {each: ""}) for test in found)]


def run(name: str, suite: str, way: str) -> dict[str, Any]:
    plan = SUITES[suite]
    module, served = install(name, way, plan.framing)
    tests_name = f"test.{suite.partition(':')[0]}"
    try:
        found = importlib.util.find_spec(tests_name)
    except ModuleNotFoundError:
        found = None
    if found is None:
        return {"missing": f"this Python comes without {tests_name} (Debian and others package the tests apart)"}
    support: Any = importlib.import_module("test.support")
    support.use_resources = ["network", "walltime"]  # without network whole modules are skipped; all of it is loopback
    try:
        tests = importlib.import_module(tests_name)
    except unittest.SkipTest as reason:
        return {"skipped": {tests_name: str(reason)}, "sees": name, "total": 0}
    replaced = replace(name, suite, tests)
    selected = Selected(tests, plan, way)
    total = selected.tests.countTestCases()  # a suite lets go of its tests as they run
    result = unittest.TextTestRunner(sys.stdout, resultclass=Record, verbosity=2).run(selected.tests)
    assert isinstance(result, Record)
    seen: Any = getattr(tests, "socketserver", importlib.import_module("socketserver"))
    return {
        "sees": name if seen is module else seen.__name__,
        "strangers": not_substituted(module),
        "total": total,
        "passed": result.passed,
        "failed": {test.id(): text for test, text in result.failures + result.errors},
        "skipped": {test.id(): reason for test, reason in result.skipped},
        "replaced": replaced,
        "left_out": selected.left_out,
        "idle": selected.idle,
        "served": served,
    }


def main(order: str) -> None:
    task = json.loads(order)
    faulthandler.dump_traceback_later(task["seconds"])
    pathlib.Path(task["report"]).write_text(json.dumps(run(task["module"], task["suite"], task["way"])))


if __name__ == "__main__":
    main(*sys.argv[1:])
