"""Runs in CPython on WebAssembly: sees that it is as bare as it should be, then runs the chosen tests there.

What it is: pytest, and a count of what has passed. What it is not: a judge of sockets; the ones of this platform are a
stand-in by way of WebSockets, so a test that makes one fails here, and does not hang.
"""

import os
import platform
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from tests.wasm.chosen import FILES, FLOOR, LEFT_OUT


class _NoSocket(socket.socket):
    """A real socket, which no test of these may have."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        raise OSError("a test makes a real socket: list it in tests/wasm/chosen.py as LEFT_OUT, or give it a simulated one")

    def __del__(self) -> None:
        pass


class _Count:
    """How many tests have passed; those that are left out are not run."""

    def __init__(self) -> None:
        self.passed = 0
        self.left_out: set[str] = set()

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self.passed += report.when == "call" and report.passed

    def pytest_collection_modifyitems(self, config: pytest.Config, items: list[pytest.Item]) -> None:
        out = [item for item in items if left_out(item.nodeid)]
        self.left_out = {left_out(item.nodeid) for item in out}
        config.hook.pytest_deselected(items=out)
        items[:] = [item for item in items if not left_out(item.nodeid)]


def left_out(node: str) -> str:
    """Return the name by which a test is left out, with its parameters or without; empty if it is not."""
    return next((name for name in (node, node.partition("[")[0]) if name in LEFT_OUT), "")


def refusals() -> dict[str, str]:
    """Return how this platform refuses what it does not have; empty for what it has."""
    calls: dict[str, Callable[[], object]] = {
        "os.fork": os.fork, "Thread.start": threading.Thread(target=str).start, "socketpair": socket.socketpair,
    }  # fmt: skip
    found = dict.fromkeys(calls, "")
    for name, call in calls.items():
        try:
            call()
        except (OSError, RuntimeError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    return found


def main(arguments: list[str]) -> int:
    """Run the tests and return the exit status: that of pytest, or 1 if too few have run."""
    refused = refusals()
    print(f"wasm: CPython {platform.python_version()} on {sys.platform}:", refused, flush=True)
    if not all(refused.values()):
        print("wasm: FAILED: this platform is not bare")
        return 1
    socket.socket = _NoSocket  # type: ignore[misc]
    count = _Count()
    options = ["-q", "-p", "no:cacheprovider", "-o", "timeout=0", "-rfE"]  # neither threads nor SIGALRM: the driver waits
    status = int(pytest.main([*options, *(arguments or FILES)], plugins=[count]))
    print(f"wasm: {count.passed} tests passed, {len(count.left_out)} left out by name (parameters aside)")
    if arguments:
        return status
    if stale := set(LEFT_OUT) - count.left_out:
        print(f"wasm: FAILED: there is nothing to leave out by the name of {', '.join(sorted(stale))}")
        return 1
    if count.passed < FLOOR:
        print(f"wasm: FAILED: fewer than {FLOOR}; see tests/wasm/chosen.py")
        return 1
    return status
