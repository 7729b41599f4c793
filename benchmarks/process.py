"""The parent's hold on a server's process: start it, read its CPU time, memory and wake-ups from outside, end it.

Reading from outside matters: a server that measured itself would be charged for the measuring. On Linux every process has
a clock of its own that others may read, in nanoseconds of CPU, threads that have ended included; and
`/proc/<pid>/task/*/schedstat` tells how long each thread waited for a CPU and how often it ran. `cpu_ns` waits until the
server sleeps, which after a burst takes it some microseconds: what it does last belongs to the burst.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import IO, NamedTuple, Self

from benchmarks.serve import NO_CORE, ROOMY

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


def busy_share(seconds: float) -> float:
    """How much of the machine somebody uses while this process sleeps, 0 to 1; 0 where the system does not tell."""
    before = _all_cores()
    time.sleep(seconds)
    passed = [after - earlier for after, earlier in zip(_all_cores(), before, strict=True)]
    idle = sum(passed[3:5])  # proc(5), /proc/stat: user, nice, system, idle, iowait ...
    return 1 - idle / sum(passed) if sum(passed) else 0.0


def _all_cores() -> list[int]:
    try:
        return [int(ticks) for ticks in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
    except OSError:
        return []


class Child:
    """A process of this package. Leaving the `with` block kills it, whatever it was doing: it has nothing to save.

    Args:
        name: what messages call it.
        module: what it runs.
        arguments: of its `main`.
        core: where; the last of its arguments.
    """

    def __init__(self, name: str, module: str, *arguments: object, core: int | None) -> None:
        self.name = name
        command = [sys.executable, "-m", module, *map(str, arguments), NO_CORE if core is None else str(core)]
        # Its own process group: Ctrl-C is for the parent, which then ends its servers without a traceback from each.
        self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0,
                                         env=_environment(), process_group=0)
        self.pid = self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()
        self._output.close()

    def has_spoken(self) -> bool:
        """Is there a line to read, or nobody left who could write one?"""
        return bool(select.select([self._output], [], [], 0)[0])

    def line(self) -> str:
        ready, _, _ = select.select([self._output], [], [], ANSWER_S)
        line = self._output.readline() if ready else b""
        if not line:
            raise ServerDied(f"the process {self.name!r} {'ended' if ready else 'said nothing'}; see its messages above")
        return line.decode().strip()

    @property
    def _output(self) -> IO[bytes]:
        assert self._process.stdout is not None
        return self._process.stdout


class Server(Child):
    """A running server."""

    def __init__(self, name: str, protocol: str, core: int | None = None) -> None:
        super().__init__(name, "benchmarks.serve", name, protocol, core=core)
        self._ports: list[int] = []

    def port(self) -> int:
        return self.ports()[0]

    def ports(self) -> list[int]:
        """Waits for the server to be listening. Not in the constructor, so that many servers can start side by side."""
        if not self._ports:
            line = self.line()
            if line.startswith("missing "):
                raise Unavailable(f"{self.name}: {line.removeprefix('missing ')}")
            self._ports = [int(port) for port in line.split()]
        return self._ports

    def cpu_ns(self) -> int:
        """CPU time used so far; waits until the server sleeps."""
        self.until_asleep()
        return self.clock_ns()

    def clock_ns(self) -> int:
        """CPU time used up to now by all threads of the server, those that have ended included."""
        try:
            return time.clock_gettime_ns(_clock_of(self.pid))
        except OSError:
            return self._ask_cpu_ns()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep the server from running meanwhile: whatever comes, it finds all of it at once when it may go on."""
        os.kill(self.pid, signal.SIGSTOP)
        try:
            os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
            yield
        finally:
            os.kill(self.pid, signal.SIGCONT)

    def sleeps(self) -> int:
        """How often the server had nothing to do, and slept (its main thread)."""
        return int(self._status()["voluntary_ctxt_switches"])

    def rss_bytes(self) -> int:
        self.until_asleep()
        return int(self._status()["VmRSS"].split()[0]) * 1024

    def threads(self) -> int:
        return int(self._status()["Threads"])

    def waited_s(self) -> float:
        """How long its threads were ready to run and had no core, since they started."""
        return sum(int(waited) for _, waited, _ in self._schedstat()) / 1e9

    def wakeups(self) -> int:
        """How often the server has run since it started: a server with nothing to do should not run at all."""
        return sum(int(times) for _, _, times in self._schedstat())

    def _ask_cpu_ns(self) -> int:
        os.kill(self.pid, signal.SIGUSR1)
        return int(self.line())

    def until_asleep(self) -> None:
        """Ask again and again: the time a wave takes is short, and the core of the load has nothing else to do."""
        give_up_at = time.monotonic() + SLEEP_S
        while self._runs() and time.monotonic() < give_up_at:
            pass

    def _runs(self) -> bool:
        """Is one of its threads running, or waiting for a core?"""
        try:
            return any(path.read_text().rpartition(") ")[2][0] == "R" for path in self._tasks("stat"))
        except (FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
            return True

    def _status(self) -> dict[str, str]:
        lines = Path(f"/proc/{self.pid}/status").read_text().splitlines()
        return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}

    def _schedstat(self) -> list[list[str]]:
        found = []
        for path in self._tasks("schedstat"):
            with suppress(FileNotFoundError, ProcessLookupError):  # a thread that has ended meanwhile
                found.append(path.read_text().split())
        return found

    def _tasks(self, file: str) -> list[Path]:
        return list(Path(f"/proc/{self.pid}/task").glob(f"*/{file}"))


def _clock_of(pid: int) -> int:
    """The id of another process's CPU clock: what clock_getcpuclockid(3) returns on Linux, and Python does not offer."""
    return (~pid << 3) | 2


def _environment() -> dict[str, str]:
    """The server finds this package wherever the parent was started."""
    return {**ROOMY, **os.environ, "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))}
