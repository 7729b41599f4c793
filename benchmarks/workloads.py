"""What is sent, how much of it, and one burst of it: the CPU a server spent, divided by the messages it served.

    echo     100 connections, 64 bytes each: the price of one event
    lines    100 connections, 16 short lines sent at once: the price of one small message when many come together
    close    connect, ask once, hang up: the price of a row of the table, from its accept to its end
    http     100 keep-alive connections to an unmodified handler of `http.server`, under each of the `ways`
    http-10, http-1   the same with fewer connections, to see: with one, the server sleeps after each reply

Every connection sends bytes of its own, and other bytes in every second wave: a server that mixed up its connections,
or answered late, could not pass for one that works.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

from benchmarks import peers, ways
from benchmarks.load import Load, Visitors, connect
from benchmarks.process import Cores, Server
from benchmarks.questions import http_request, open_http
from benchmarks.rounds import Samples, play_round, rotated

CONNECTIONS = 100
LINES_AT_ONCE = 16
Turns = Sequence[Sequence[bytes]]


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    unit: str  # what is counted
    protocol: str  # what the server speaks
    turns: Turns
    per_request: int  # units in one request
    open_load: Callable[[int, Turns, bool], Load | Visitors]
    servers: Collection[str] = tuple(peers.SERVERS)
    reference: str = peers.REFERENCE
    second_reference: str = peers.SECOND_REFERENCE

    def units(self, waves: int) -> int:
        return waves * len(self.turns[0]) * self.per_request


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Many generations of processes, few rounds in each: where a process happens to lie in memory makes it up to 5 %
    faster or slower for as long as it lives. Measuring the same process longer repeats that error; only new processes
    average it out. (For the same reason nothing here switches off the randomness of addresses and hashes.)
    """

    generations: int
    rounds: int  # in each generation
    burst_s: float


FULL = Effort(generations=20, rounds=2, burst_s=0.06)
QUICK = Effort(generations=9, rounds=1, burst_s=0.04)
PROBE_WAVES = 4


def echo_request(connection: int, turn: int) -> bytes:
    return b"%05d/%d " % (connection, turn) + b"." * 55 + b"\n"


def lines_request(connection: int, turn: int) -> bytes:
    """Sixteen lines of 20 to 64 bytes; the same ones in every run."""
    dice = random.Random(connection * 2 + turn)
    starts = [b"%05d/%d/%02d " % (connection, turn, number) for number in range(LINES_AT_ONCE)]
    return b"".join([start.ljust(dice.randrange(19, 64), b".") + b"\n" for start in starts])


def both_turns(request: Callable[[int, int], bytes], connections: int = CONNECTIONS) -> Turns:
    return [[request(connection, turn) for connection in range(connections)] for turn in (0, 1)]


def _stay(port: int, turns: Turns, spin: bool) -> Load:
    return Load(connect(port, len(turns[0])), turns, spin=spin)


def _visit(port: int, turns: Turns, spin: bool) -> Visitors:
    return Visitors(port, turns, spin=spin)


def _http(name: str, connections: int) -> Workload:
    return Workload(name, "request", "http", both_turns(http_request, connections), 1, open_http,
                    tuple(ways.WAYS), ways.REFERENCE, ways.SECOND_REFERENCE)


WORKLOADS = {workload.name: workload for workload in (
    Workload("echo", "message", "echo", both_turns(echo_request), 1, _stay),
    Workload("lines", "line", "lines", both_turns(lines_request), LINES_AT_ONCE, _stay),
    Workload("close", "connection", "echo", both_turns(echo_request), 1, _visit),
    _http("http", CONNECTIONS),
    _http("http-10", 10),
    _http("http-1", 1),
)}


@dataclass(slots=True)
class Running:
    """A server and the load that is connected to it."""

    server: Server
    load: Load | Visitors
    workload: Workload
    waves: int = 1  # in a burst

    def warm_up(self, burst_s: float) -> None:
        """Let caches, buffers and the adaptive interpreter settle; see how many waves fill a burst of this server."""
        self.load.run(PROBE_WAVES)
        began_at = time.perf_counter()
        self.load.run(PROBE_WAVES)
        wave_s = (time.perf_counter() - began_at) / PROBE_WAVES
        self.waves = max(2, round(burst_s / wave_s))

    def cost_us(self) -> float:
        """CPU of the server, in µs for each message of one burst.

        Half a burst goes ahead unmeasured: others have had the core's caches meanwhile, and the reference, which has
        its turn more often than the rest, would come back to warmer ones.
        """
        self.load.run(self.waves // 2)
        before = self.server.cpu_ns()
        self.load.run(self.waves)
        return (self.server.cpu_ns() - before) / 1000 / self.workload.units(self.waves)


@contextmanager
def all_running(workload: Workload, names: Sequence[str], cores: Cores | None) -> Iterator[dict[str, Running]]:
    """Start every server and connect to it; the ones that are not being measured sleep in their selectors.

    The servers end before the loads do: a bare loop does not survive a load that was interrupted and hangs up.
    """
    with ExitStack() as loads, ExitStack() as stack:
        servers = [stack.enter_context(Server(name, workload.protocol, cores and cores.server)) for name in names]
        running = {}
        for server in servers:
            load = loads.enter_context(closing(workload.open_load(server.port(), workload.turns, cores is not None)))
            running[server.name] = Running(server, load, workload)
        yield running


def measure(workload: Workload, names: Sequence[str], effort: Effort, cores: Cores | None) -> Samples:
    """All generations and rounds of one workload. `names` are the servers beside the reference."""
    samples = Samples(workload.reference)
    for generation in range(effort.generations):
        with all_running(workload, [workload.reference, *names], cores) as running:
            for one in running.values():
                one.warm_up(effort.burst_s)
            for number in range(effort.rounds):
                order = rotated(names, generation * effort.rounds + number)
                play_round(samples, order, lambda name: running[name].cost_us())
    return samples
