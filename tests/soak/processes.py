"""Processes that are given orders, a line of JSON each way; and what /proc says of them.

Nobody is left behind: the end of its input ends a child, and one that does not end is killed.
"""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
import tempfile
from types import TracebackType
from typing import Any, Self

from tests.running import ROOT

PATIENCE_S = 60.0


class Child:
    """A module of this package, run in a process of its own.

    Args:
        module: its name.
        options: what it is given.
    """

    def __init__(self, module: str, **options: Any) -> None:
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed in `close`)
        self._process = subprocess.Popen(
            [sys.executable, "-W", "error", "-m", f"tests.soak.{module}", json.dumps(options)],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._errors, bufsize=0,
        )  # fmt: skip
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._stdin, self._stdout = self._process.stdin, self._process.stdout
        self._module = module
        self._buffer = b""
        self.pid = self._process.pid

    def say(self, **order: Any) -> None:
        """Give an order."""
        self._stdin.write(json.dumps(order).encode() + b"\n")

    def hear(self, patience_s: float = PATIENCE_S) -> Any:
        """Return the answer to the oldest order that has none yet.

        Raises:
            RuntimeError: it has ended, or says nothing.
        """
        while b"\n" not in self._buffer:
            readable = select.select([self._stdout], [], [], patience_s)[0]
            piece = os.read(self._stdout.fileno(), 65536) if readable else b""
            if not piece:
                raise RuntimeError(f"{self._module} {'has ended' if readable else 'says nothing'}: {self._said()}")
            self._buffer += piece
        line, _, self._buffer = self._buffer.partition(b"\n")
        return json.loads(line)

    def has_answered(self) -> bool:
        """Is there an answer to be heard?"""
        return b"\n" in self._buffer or bool(select.select([self._stdout], [], [], 0)[0])

    def ask(self, **order: Any) -> Any:
        """Give an order and return the answer."""
        self.say(**order)
        return self.hear()

    def _said(self) -> str:
        self._errors.seek(0)
        return self._errors.read()[-2000:]

    def close(self) -> None:
        """End it.

        Raises:
            RuntimeError: it did not end well.
        """
        self._stdin.close()
        try:
            status = self._process.wait(PATIENCE_S / 6)
        except subprocess.TimeoutExpired:
            self._process.kill()
            status = self._process.wait()
        said = self._said()
        self._stdout.close()
        self._errors.close()
        if status or said:
            raise RuntimeError(f"{self._module} ended with status {status}: {said}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            self.close()
        except RuntimeError:
            if error is None:
                raise


class Server(Child):
    """The server, with its figures.

    Attributes:
        addresses: where clients may connect: its coroutine handler, its framed one.
    """

    def __init__(self, **options: Any) -> None:
        super().__init__("served", **options)
        try:
            listeners = self.hear()
            self.addresses = [listeners["coroutine"], listeners["framed"]]
            self._control = socket.create_connection(tuple(listeners["control"]), timeout=PATIENCE_S)
        except BaseException:
            self._process.kill()
            super().__exit__(RuntimeError, RuntimeError(), None)
            raise
        self._answers = self._control.makefile("rb")

    def figures(self) -> dict[str, Any]:
        """Return what it knows of itself, and what /proc says: memory in bytes, and open descriptors."""
        self._control.sendall(b"?\n")
        figures: dict[str, Any] = json.loads(self._answers.readline())
        return figures | memory(self.pid) | {"descriptors": len(os.listdir(f"/proc/{self.pid}/fd"))}

    def close(self) -> None:
        """End it: it stops when its control connection does."""
        self._answers.close()
        self._control.close()
        super().close()


def memory(pid: int) -> dict[str, int]:
    """Return the resident memory of a process, now and at its peak (bytes)."""
    found = {}
    with open(f"/proc/{pid}/status") as file:
        for line in file:
            name, _, rest = line.partition(":")
            if name in ("VmRSS", "VmHWM"):
                found["rss" if name == "VmRSS" else "peak"] = int(rest.split()[0]) * 1024
    return found
