"""Ten thousand connections that say nothing. What does each of them hold, and does the server sleep?

Memory is a slope, not a total: the server's resident memory with a hundred connections is subtracted from that with
all of them, so that interpreter, imported modules and first-time caches do not count. Each connection has been
answered once, because a connection that never spoke may not have been looked at yet. What the *kernel* holds for a
socket is not in the figure, and is the same for all.

A server at rest should not run at all: a loop that wakes twice a second "to see whether there is something to do" keeps
a laptop's processor from its deep sleep, and a hundred such programs keep a machine busy. The kernel counts how often
a process ran.
"""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass

from benchmarks.load import Load, connect
from benchmarks.process import Cores, Server
from benchmarks.serve import raise_descriptor_limit
from benchmarks.workloads import echo_request

FIRST = 100  # connections that are open when counting begins
SLICE = 200  # connections opened at a time, well below any server's backlog
SPARE_DESCRIPTORS = 500


@dataclass(frozen=True, slots=True)
class Rest:
    connections: int
    bytes_per_connection: float
    seconds: float
    wakeups: int


@dataclass(frozen=True, slots=True)
class Crowd:
    """How many connections, and for how long the server is watched while they rest."""

    connections: int
    seconds: float

    def within_limits(self) -> Crowd:
        """As many as this process and the server's may open; the report says how many it were."""
        return Crowd(min(self.connections, raise_descriptor_limit() - SPARE_DESCRIPTORS), self.seconds)


FULL = Crowd(10_000, 2.0)
QUICK = Crowd(2_000, 1.0)


def measure(name: str, crowd: Crowd, cores: Cores | None) -> Rest:
    with ExitStack() as stack, Server(name, "echo", cores and cores.server) as server:
        _join(stack, server.port(), range(FIRST))
        few = server.rss_bytes()
        for start in range(FIRST, crowd.connections, SLICE):
            _join(stack, server.port(), range(start, min(start + SLICE, crowd.connections)))
        many = server.rss_bytes()
        wakeups = _wakeups_in(server, crowd.seconds)
    return Rest(crowd.connections, (many - few) / (crowd.connections - FIRST), crowd.seconds, wakeups)


def _join(stack: ExitStack, port: int, connections: range) -> None:
    """Open some more connections, each answered once, that stay until the stack is closed."""
    requests = [echo_request(connection, 0) for connection in connections]
    load = stack.enter_context(Load(connect(port, len(requests)), [requests], spin=False))
    load.run(1)


def _wakeups_in(server: Server, seconds: float) -> int:
    time.sleep(0.2)  # whatever the last replies still set going
    before = server.wakeups()
    time.sleep(seconds)
    return server.wakeups() - before
