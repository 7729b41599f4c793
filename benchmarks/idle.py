"""Ten thousand connections that say nothing. What does each of them hold, and does the server sleep?

Memory is a slope, not a total: the server's resident memory with a hundred connections is subtracted from that with
all of them, so that interpreter, imported modules and first-time caches do not count. Each connection has been
answered once, because a connection that never spoke may not have been looked at yet. What the *kernel* holds for a
socket is not in the figure, and is the same for all.

A server at rest should not run at all: a loop that wakes twice a second "to see whether there is something to do" keeps
a laptop's processor from its deep sleep, and a hundred such programs keep a machine busy. The kernel counts how often
a process ran.

The `ways` to run a blocking handler differ here more than anywhere: what waits is a row, a greenlet or a thread. They
are asked in HTTP, and measured twice: connections that have been answered once and are kept alive, and connections
that never sent a byte, which is what an attacker, or a browser that connects ahead of time, leaves behind.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace

from benchmarks.load import Load, connect
from benchmarks.process import Cores, Server
from benchmarks.questions import http_request, open_http
from benchmarks.serve import raise_descriptor_limit
from benchmarks.ways import ONE_THREAD
from benchmarks.workloads import echo_request

FIRST = 100  # connections that are open when counting begins
SLICE = 200  # connections opened at a time, well below any server's backlog
SPARE_DESCRIPTORS = 500
THREADS = 1_000  # connections at most of a server that has a thread for each

Join = Callable[[ExitStack, int, range], None]  # open these connections, which stay until the stack is closed


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
        return replace(self, connections=min(self.connections, raise_descriptor_limit() - SPARE_DESCRIPTORS))

    def of(self, way: str) -> Crowd:
        """Fewer where each is a thread: the figure is the same, and systems bound the number of threads."""
        return self if way in ONE_THREAD else replace(self, connections=min(self.connections, THREADS))


FULL = Crowd(10_000, 2.0)
QUICK = Crowd(2_000, 1.0)


def measure(name: str, crowd: Crowd, cores: Cores | None) -> Rest:
    return _measure(name, "echo", crowd, cores, _echoed)


def measure_way(name: str, crowd: Crowd, cores: Cores | None) -> dict[str, Rest]:
    """One of the `ways`, with connections that were answered and with connections that said nothing."""
    return {f"{name}, {what}": _measure(name, "http", crowd.of(name), cores, join)
            for what, join in (("answered", _answered), ("never spoke", _silent))}


def _measure(name: str, protocol: str, crowd: Crowd, cores: Cores | None, join: Join) -> Rest:
    with ExitStack() as stack, Server(name, protocol, cores and cores.server) as server:
        join(stack, server.port(), range(FIRST))
        few = server.rss_bytes()
        for start in range(FIRST, crowd.connections, SLICE):
            join(stack, server.port(), range(start, min(start + SLICE, crowd.connections)))
        many = server.rss_bytes()
        wakeups = _wakeups_in(server, crowd.seconds)
    return Rest(crowd.connections, (many - few) / (crowd.connections - FIRST), crowd.seconds, wakeups)


def _echoed(stack: ExitStack, port: int, connections: range) -> None:
    requests = [echo_request(connection, 0) for connection in connections]
    load = stack.enter_context(Load(connect(port, len(requests)), [requests], spin=False))
    load.run(1)


def _answered(stack: ExitStack, port: int, connections: range) -> None:
    turn = [http_request(connection, 0) for connection in connections]
    stack.enter_context(open_http(port, [turn], spin=False)).run(1)


def _silent(stack: ExitStack, port: int, connections: range) -> None:
    """Whoever comes after them and is answered proves that they have been accepted, too; it leaves again."""
    for sock in connect(port, len(connections)):
        stack.enter_context(sock)
    with open_http(port, [[http_request(connections.start, 0)]], spin=False) as last:
        last.run(1)


def _wakeups_in(server: Server, seconds: float) -> int:
    time.sleep(0.2)  # whatever the last replies still set going
    before = server.wakeups()
    time.sleep(seconds)
    return server.wakeups() - before
