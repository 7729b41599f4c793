"""How tests run a loop for real: in a thread of its own, in a program of its own, and with its waits counted."""

import os
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
# Far more than any step here takes (s): it only turns a hang into a failure.
PATIENCE_S = 10.0
# What is promised of stop() and shutdown() (s). A polling loop would take up to 0.5.
PROMPT_S = 0.1


class Waits:
    """Counts the waits of a loop, that is, its calls of the selector, and says when it waits for ever.

    Attributes:
        timeouts: what each wait was given, in seconds; None: for ever.
        at_rest: is set whenever the loop is about to wait for more than a second.
    """

    def __init__(self, loop: Any) -> None:
        self.timeouts: list[float | None] = []
        self.at_rest = threading.Event()
        self._wait = loop.demultiplexer.wait
        loop.demultiplexer.wait = self

    def __call__(self, timeout_s: float | None) -> Any:
        self.timeouts.append(timeout_s)
        if timeout_s is None or timeout_s > 1:
            self.at_rest.set()
        return self._wait(timeout_s)

    def __len__(self) -> int:
        return len(self.timeouts)


class Running:
    """A loop (or whatever else runs until it is stopped) in a thread of its own.

    Attributes:
        result: what the function has returned.
        error: what it has raised.
    """

    def __init__(self, function: Callable[[], Any]) -> None:
        self.result: Any = None
        self.error: BaseException | None = None
        self._function = function
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.result = self._function()
        except BaseException as error:
            self.error = error

    def join(self) -> Any:
        """Wait for the end and return the result; raise what the function raised."""
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive(), "it does not end"
        if self.error is not None:
            raise self.error
        return self.result


def wait_for(event: threading.Event) -> None:
    """Wait for an event, or fail."""
    assert event.wait(PATIENCE_S), "what was waited for did not happen"


def wait_until(condition: Callable[[], object]) -> None:
    """Wait for what another thread does, where there is no event to wait for; or fail."""
    give_up_at = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < give_up_at, "what was waited for did not happen"
        threading.Event().wait(0.001)


def seconds_of(function: Callable[[], object]) -> float:
    """Call a function and return how long it took (s)."""
    began = time.monotonic()
    function()
    return time.monotonic() - began


def descriptors() -> set[str]:
    """Return this process's open descriptors, each with what it is."""
    found = set()
    for fd in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{fd} {os.readlink(f'/proc/self/fd/{fd}')}")
        except FileNotFoundError:
            pass  # the descriptor that listdir() itself used
    return found


def python(program: str, *args: str) -> str:
    """Run a program in a process of its own, warnings being errors; return what it printed, fail if it failed."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program), *args],
        cwd=ROOT, capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert done.returncode == 0, f"exit status {done.returncode}\n{done.stdout}\n{done.stderr}"
    assert not done.stderr, done.stderr
    return done.stdout
