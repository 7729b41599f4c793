"""The parent's hold on a server's process: start it, read its CPU time, memory and wake-ups from outside, end it.

Reading from outside matters: a server that measured itself would be charged for the measuring. Linux tells it in
`/proc/<pid>/task/*/schedstat` (nanoseconds on a CPU, nanoseconds waiting for one, number of times it ran). The kernel
books the time of a thread when it is switched out, so the figure of a *running* server is up to one tick too old;
`cpu_ns` therefore waits until the server sleeps, which after a burst takes it some microseconds.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from benchmarks.serve import NO_CORE

ROOT = Path(__file__).resolve().parents[1]
ANSWER_S = 20.0  # starting an interpreter on a busy machine takes a while
SLEEP_S = 0.25  # a server that is still awake this long after its load has ended never sleeps at all


class ServerDied(Exception):
    """The server ended or fell silent before it said its port."""


class Unavailable(ServerDied):
    """The peer is not installed: its row is left out, unless it was asked for by name."""


class Cores(NamedTuple):
    load: int
    server: int


def two_cores() -> Cores | None:
    """One core for the load and one for the server, so that neither pushes the other off; None where that cannot be."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return Cores(allowed[0], allowed[-1]) if len(allowed) > 1 else None


@contextmanager
def pinned_to(core: int | None) -> Iterator[None]:
    if core is None:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Server:
    """A running server. Leaving the `with` block kills it, whatever it was doing: it has nothing to save."""

    def __init__(self, name: str, protocol: str, core: int | None = None) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.serve", name, protocol, NO_CORE if core is None else str(core)]
        # Its own process group: Ctrl-C is for the parent, which then ends its servers without a traceback from each.
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0,
                                         env=_environment(), process_group=0)
        self.pid = self._process.pid
        self._port: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def port(self) -> int:
        """Waits for the server to be listening. Not in the constructor, so that many servers can start side by side."""
        if self._port is None:
            line = self._line()
            if line.startswith("missing "):
                raise Unavailable(f"{self.name}: {line.removeprefix('missing ')}")
            self._port = int(line)
        return self._port

    def cpu_ns(self) -> int:
        """CPU time used so far by all threads of the server."""
        self._until_asleep()
        return sum(int(spent) for spent, _, _ in self._schedstat()) or self._ask_cpu_ns()

    def rss_bytes(self) -> int:
        self._until_asleep()
        return int(self._status()["VmRSS"].split()[0]) * 1024

    def wakeups(self) -> int:
        """How often the server has run since it started: a server with nothing to do should not run at all."""
        return sum(int(times) for _, _, times in self._schedstat())

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout

    def _line(self) -> str:
        ready, _, _ = select.select([self._output], [], [], ANSWER_S)
        line = self._output.readline() if ready else b""
        if not line:
            raise ServerDied(f"the server {self.name!r} {'ended' if ready else 'said nothing'}; see its messages above")
        return line.decode().strip()

    def _ask_cpu_ns(self) -> int:
        os.kill(self.pid, signal.SIGUSR1)
        return int(self._line())

    def _until_asleep(self) -> None:
        give_up_at = time.monotonic() + SLEEP_S
        while self._state() == "R" and time.monotonic() < give_up_at:
            time.sleep(0.0005)

    def _state(self) -> str:
        try:
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(") ")[2][0]
        except FileNotFoundError:
            return "?"

    def _status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def _schedstat(self) -> list[list[str]]:
        return [path.read_text().split() for path in Path(f"/proc/{self.pid}/task").glob("*/schedstat")]


def _environment() -> dict[str, str]:
    """The server finds this package wherever the parent was started."""
    return {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
