"""What is sent, how much of it, and one burst of it: the CPU a server spent, divided by the messages it served.

    echo         100 connections, 64 bytes each: the price of one event; echo-1, echo-1000, echo-16k: of other numbers
    lines        100 connections, 16 short lines sent at once: the price of one small message when many come together
    close        connect, ask once, be answered and hung up on: the price of a row of the table, from accept to end
    udp          a packet from each of 100 sockets
    http-tiny    100 keep-alive connections; the head of each request is taken apart by hand (`tiny`)
    listeners-1, listeners-500   500 connections to one listener, and one to each of 500
    crowd        50 ask for a line each, while 2,000 send one byte each of a line of theirs
    http         100 keep-alive connections to an unmodified handler of `http.server`, under each of the `ways`
    http-10, http-1   the same with fewer connections, to see: with one, the server sleeps after each reply

Every connection sends bytes of its own, and other bytes in every second turn: a server that mixed up its connections,
or answered late, could not pass for one that works.

A burst is some waves of it; see `load` for what a wave is, and why the server is held until it is complete.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Protocol

from benchmarks import peers, ways
from benchmarks.crowds import Crowd, Visitors, packet_load
from benchmarks.load import Load, NoReply, WrongReply, connect_each
from benchmarks.process import Cores, Server
from benchmarks.questions import http_request, open_http, open_tiny
from benchmarks.rounds import Samples, play_round, rotated

CONNECTIONS = 100
LINES_AT_ONCE = 16
DRIBBLERS = 2_000
# A byte that gets no reply must be acknowledged: behind a pause of over TCP_RTO_MIN (0.2 s) at once, where the byte arrives,
# else in the server's recv(), which makes it 2 us dearer. The reference has more bursts than the rest, and shorter pauses.
QUICK_ACKS_S = 0.25
Turns = Sequence[Sequence[bytes]]


class AnyLoad(Protocol):
    def run(self, rounds: int) -> None: ...
    def send(self) -> None: ...
    def collect(self) -> None: ...
    def latencies_us(self, rounds: int) -> list[float]: ...
    def close(self) -> None: ...


@dataclass(frozen=True, slots=True)
class Workload:
    name: str
    unit: str  # what is counted
    protocol: str  # what the server speaks
    turns: Turns
    open_load: Callable[[Sequence[int], Turns, bool], AnyLoad]
    per_request: int = 1  # units in one request
    besides: int = 0  # units of a wave that are no requests
    held: bool = True  # the server, until a wave is complete
    rest_s: float = 0.0  # before each burst
    only: Collection[str] = ()  # these servers; else all that speak the protocol
    reference: str = peers.REFERENCE
    second_reference: str = peers.SECOND_REFERENCE

    @property
    def servers(self) -> list[str]:
        if self.reference == ways.REFERENCE:
            return list(ways.WAYS)
        return [name for name, kind in peers.SERVERS.items()
                if self.protocol in kind.protocols and (not self.only or name in self.only)]

    def units(self, waves: int) -> int:
        return waves * (len(self.turns[0]) * self.per_request + self.besides)


@dataclass(frozen=True, slots=True)
class Effort:
    """How long to measure.

    Many generations of processes, few rounds in each: where a process happens to lie in memory makes it up to 5 %
    faster or slower for as long as it lives. Measuring the same process longer repeats that error; only new processes
    average it out. (For the same reason nothing here switches off the randomness of addresses and hashes.) Servers
    that cost twice the reference need no such care: they take part in one generation of `far_every`.
    """

    generations: int
    rounds: int  # in each generation
    burst_s: float
    far_every: int = 1


FULL = Effort(generations=9, rounds=2, burst_s=0.05, far_every=4)
QUICK = Effort(generations=2, rounds=2, burst_s=0.02, far_every=2)
PROBE_WAVES = 4
LATENCY_SHARE = 4  # a quarter of a burst


def echo_request(connection: int, turn: int) -> bytes:
    return b"%05d/%d " % (connection, turn) + b"." * 55 + b"\n"


def long_request(connection: int, turn: int) -> bytes:
    return echo_request(connection, turn) * 256


def line_request(connection: int, turn: int) -> bytes:
    return b"%05d/%d hello\n" % (connection, turn)


def lines_request(connection: int, turn: int) -> bytes:
    """Sixteen lines of 20 to 64 bytes; the same ones in every run."""
    dice = random.Random(connection * 2 + turn)
    starts = [b"%05d/%d/%02d " % (connection, turn, number) for number in range(LINES_AT_ONCE)]
    return b"".join([start.ljust(dice.randrange(19, 64), b".") + b"\n" for start in starts])


def both_turns(request: Callable[[int, int], bytes], connections: int = CONNECTIONS) -> Turns:
    return [[request(connection, turn) for connection in range(connections)] for turn in (0, 1)]


def _stay(ports: Sequence[int], turns: Turns, spin: bool) -> Load:
    count = len(turns[0])
    return Load(connect_each((list(ports) * count)[:count]), turns, spin=spin)


def _visit(ports: Sequence[int], turns: Turns, spin: bool) -> Visitors:
    return Visitors(ports[0], turns, spin=spin)


def _packets(ports: Sequence[int], turns: Turns, spin: bool) -> Load:
    return packet_load(ports[0], turns, spin)


def _tiny(ports: Sequence[int], turns: Turns, spin: bool) -> Load:
    return open_tiny(ports[0], turns, spin)


def _crowd(ports: Sequence[int], turns: Turns, spin: bool) -> Crowd:
    return Crowd(ports[0], turns, DRIBBLERS, spin=spin)


def _sites(ports: Sequence[int], turns: Turns, spin: bool) -> Load:
    return open_http(ports[0], turns, spin)


def _http(name: str, connections: int) -> Workload:
    return Workload(name, "request", "http", both_turns(http_request, connections), _sites, held=False,
                    reference=ways.REFERENCE, second_reference=ways.SECOND_REFERENCE)


FEW = (peers.REFERENCE, peers.SECOND_REFERENCE, "coroutine", "framed", "asyncio-protocol", "uvloop-protocol")
WORKLOADS = {workload.name: workload for workload in (
    Workload("echo", "message", "echo", both_turns(echo_request), _stay),
    Workload("lines", "line", "lines", both_turns(lines_request), _stay, per_request=LINES_AT_ONCE),
    Workload("close", "connection", "close", both_turns(echo_request), _visit),
    Workload("udp", "packet", "udp", both_turns(echo_request), _packets),
    Workload("http-tiny", "request", "tiny", both_turns(http_request), _tiny),
    Workload("echo-1", "message", "echo", both_turns(echo_request, 1), _stay, held=False, only=FEW),
    Workload("echo-1000", "message", "echo", both_turns(echo_request, 1000), _stay, only=FEW),
    Workload("echo-16k", "message", "echo", both_turns(long_request), _stay, only=FEW),
    Workload("listeners-1", "message", "echo", both_turns(echo_request, 500), _stay, only=FEW),
    Workload("listeners-500", "message", "many", both_turns(echo_request, 500), _stay, only=FEW),
    Workload("crowd", "event", "lines", both_turns(line_request, 50), _crowd, besides=DRIBBLERS, only=FEW,
             rest_s=QUICK_ACKS_S),
    _http("http", CONNECTIONS),
    _http("http-10", 10),
    _http("http-1", 1),
)}


@dataclass(slots=True)
class Running:
    """A server and the load that is connected to it."""

    server: Server
    load: AnyLoad
    workload: Workload
    waves: int = 1  # in a burst

    @property
    def held(self) -> bool:
        return self.workload.held and not peers.SERVERS[self.server.name].threads

    def warm_up(self, burst_s: float) -> None:
        """Let caches, buffers and the adaptive interpreter settle; see how many waves fill a burst of this server."""
        with blaming(self.server.name):
            self.load.run(PROBE_WAVES)
            began_at = time.perf_counter()
            self._play(PROBE_WAVES)
        wave_s = (time.perf_counter() - began_at) / PROBE_WAVES
        self.waves = max(2, round(burst_s / wave_s))

    def cost_us(self, samples: Samples) -> float:
        """CPU of the server, in µs for each message of one burst.

        Some of it goes ahead: others have had the core's caches meanwhile, and the reference, which has its turn more often
        than the rest, would come back to warmer ones. How long a request takes is measured there.
        """
        with blaming(self.server.name):
            return self._cost_us(samples)

    def _cost_us(self, samples: Samples) -> float:
        time.sleep(self.workload.rest_s)
        took = self.load.latencies_us(max(2, self.waves // LATENCY_SHARE))
        self.server.until_asleep()
        slept_before = self.server.sleeps()
        cpu_ns = self._play(self.waves)
        slept = (self.server.sleeps() - slept_before) / self.waves - self.held  # being held is a sleep, too
        samples.note(self.server.name, quantiles(took, n=100, method="inclusive"), slept)
        return cpu_ns / 1000 / self.workload.units(self.waves)

    def _play(self, waves: int) -> int:
        """Some waves; returns what they cost the server, in ns of CPU."""
        if self.held:
            return sum(self._held_wave() for _ in range(waves))
        before = self.server.cpu_ns()
        self.load.run(waves)
        return self.server.cpu_ns() - before

    def _held_wave(self) -> int:
        with self.server.held():
            self.load.send()
            before = self.server.clock_ns()
        self.load.collect()
        return self.server.cpu_ns() - before


@contextmanager
def blaming(name: str) -> Iterator[None]:
    """Say whose reply was wrong."""
    try:
        yield
    except (WrongReply, NoReply, ConnectionError) as error:
        raise WrongReply(f"{name}: {error}") from error


@contextmanager
def all_running(workload: Workload, names: Sequence[str], cores: Cores | None) -> Iterator[dict[str, Running]]:
    """Start every server and connect to it; the ones that are not being measured sleep in their selectors.

    The servers end before the loads do: a bare loop does not survive a load that was interrupted and hangs up.
    """
    with ExitStack() as loads, ExitStack() as stack:
        servers = [stack.enter_context(Server(name, workload.protocol, cores and cores.server)) for name in names]
        running = {}
        for server in servers:
            load = loads.enter_context(closing(workload.open_load(server.ports(), workload.turns, cores is not None)))
            running[server.name] = Running(server, load, workload)
        yield running


def measure(workload: Workload, names: Sequence[str], effort: Effort, cores: Cores | None) -> Samples:
    """All generations and rounds of one workload. `names` are the servers beside the reference."""
    samples = Samples(workload.reference)
    for generation in range(effort.generations):
        here = [name for name in names if generation % effort.far_every == 0 or not is_far(name)]
        with all_running(workload, [workload.reference, *here], cores) as running:
            for one in running.values():
                one.warm_up(effort.burst_s)
            for number in range(effort.rounds):
                order = rotated(here, generation * effort.rounds + number)
                play_round(samples, order, lambda name: running[name].cost_us(samples))
    return samples


def is_far(name: str) -> bool:
    return name in peers.SERVERS and not peers.SERVERS[name].near
