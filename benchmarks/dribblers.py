"""A thousand clients dribble, one is in a hurry. How long does the hurried one wait?

This is what freezes a plain `HTTPServer`: it reads the first client's request to the end before it looks at the second
one. Here ordinary blocking servers (`sites`) run under the ways that have a single thread. First the hurried client has
the server to itself; then the others arrive, over some seconds, and send a byte each every tenth of a second (see
`dribble`); it is over when all of them have got their replies, each compared with what it had to be.

The hurried client asks every five milliseconds on a connection that it keeps and as often on a new one, and its clock
starts when the question was *due*. Had it asked only after the last answer, then a server that stood still for a second
would have spoilt one answer of it, and not the four hundred that other clients would have waited for.

The promise, for each way with one thread: the 99th percentile is at most 10 ms above that of the quiet server, all
dribblers are served in the end, and there was one thread. Where other programs used the server's core meanwhile, the
waits say nothing about the server; the kernel tells how long it was ready and could not run.
"""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from benchmarks.dribble import Dribble
from benchmarks.load import RECEIVE_BYTES, WrongReply, connect
from benchmarks.process import Child, Cores, Server
from benchmarks.questions import is_right, question
from benchmarks.ways import ONE_THREAD

SITES = ("files", "wsgi", "xmlrpc")
CLOSES = ("wsgi",)  # wsgiref answers once and hangs up, whatever the client would like
EVERY_S = 0.005  # each kind of question
PROMISE_MS = 10.0
TOLERABLE = 0.02  # of the time, in which others had the server's core
WARM_UP = 100  # questions


@dataclass(frozen=True, slots=True)
class Crowd:
    clients: int
    every_ms: int  # between two bytes of one client
    arrive_ms: int  # between the first client and the last one
    quiet_s: float


FULL = Crowd(1_000, every_ms=100, arrive_ms=4_000, quiet_s=3.0)
QUICK = Crowd(200, every_ms=20, arrive_ms=1_000, quiet_s=1.0)


@dataclass(frozen=True, slots=True)
class Waits:
    asked: int
    p50_ms: float
    p99_ms: float
    worst_ms: float


@dataclass(frozen=True, slots=True)
class Trial:
    """One site under one way: the hurried client's waits before and during, and what became of the dribblers."""

    site: str
    way: str
    crowd: Crowd
    quiet: dict[str, Waits]
    busy: dict[str, Waits]
    dribble: Dribble
    threads: int  # at most
    cpu_s: float  # of the server, while the dribblers were there
    waited_s: float  # the server, for its core, meanwhile

    @property
    def name(self) -> str:
        return f"{self.site} {self.way}"

    def late(self) -> list[str]:
        """The kinds of connection that waited for too long."""
        return [f"{self.name}: p99 went from {before.p99_ms:.2f} to {self.busy[kind].p99_ms:.2f} ms ({kind} connection)"
                for kind, before in self.quiet.items() if self.busy[kind].p99_ms > before.p99_ms + PROMISE_MS]

    def disturbed(self) -> bool:
        """Had others the server's core? Threads wait for each other, so of these nobody knows."""
        return self.way in ONE_THREAD and self.waited_s > TOLERABLE * self.dribble.seconds

    def broken(self) -> list[str]:
        """The promises that were not kept."""
        reasons = [] if self.disturbed() else self.late()
        if self.dribble.served != self.crowd.clients:
            reasons.append(f"{self.name}: {self.dribble.served} of {self.crowd.clients} dribblers were served; the others: "
                           f"{self.dribble.failed}")
        if self.threads > 1 and self.way in ONE_THREAD:
            reasons.append(f"{self.name}: {self.threads} threads")
        return reasons

    def rejection(self) -> str | None:
        """Why the waits must not be believed, or None when they may: if they are short in spite of everything, they are."""
        if not (self.disturbed() and self.late()):
            return None
        return (f"{self.name}: the server waited {self.waited_s * 1000:.0f} ms for its core in "
                f"{self.dribble.seconds:.1f} s. The machine was too busy: close other programs and run again.")


class Hurried:
    """The client that counts the milliseconds."""

    def __init__(self, port: int, site: str) -> None:
        self._port = port
        self._site = site
        self._kept: socket.socket | None = None
        self._number = 0
        self._ways_to_ask = {"new": self._ask_anew}
        if site not in CLOSES:
            self._kept = connect(port, 1)[0]
            self._ways_to_ask["kept"] = self._ask_again

    def close(self) -> None:
        if self._kept is not None:
            self._kept.close()

    def ask(self, enough: Callable[[], bool]) -> dict[str, Waits]:
        """Ask at fixed times until it is enough; the waits for each kind of connection."""
        waits: dict[str, list[float]] = {kind: [] for kind in self._ways_to_ask}
        due_at = time.perf_counter()
        while not enough():
            for kind, ask in self._ways_to_ask.items():
                due_at += EVERY_S / len(waits)
                time.sleep(max(0.0, due_at - time.perf_counter()))
                ask()
                waits[kind].append((time.perf_counter() - due_at) * 1000)
        return {kind: waits_of(values) for kind, values in waits.items()}

    def _ask_anew(self) -> None:
        with connect(self._port, 1)[0] as sock:
            self._ask(sock, close=True)

    def _ask_again(self) -> None:
        assert self._kept is not None
        self._ask(self._kept, close=False)

    def _ask(self, sock: socket.socket, *, close: bool) -> None:
        self._number += 1
        request, body = question(self._site, self._number, close=close)
        sock.sendall(request)
        reply = b""
        while not is_right(reply, body):
            data = sock.recv(RECEIVE_BYTES)
            reply += data
            if not data or len(reply) > len(body) + RECEIVE_BYTES:
                raise WrongReply(f"{self._site}: to {request[:40]!r} came {reply[:80]!r} ({len(reply)} bytes)")


def waits_of(values: Sequence[float]) -> Waits:
    ordered = sorted(values)
    return Waits(len(ordered), percentile(ordered, 50), percentile(ordered, 99), ordered[-1])


def percentile(ordered: Sequence[float], percent: int) -> float:
    """The value that `percent` of them do not exceed (nearest rank: one that was really measured)."""
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def measure(site: str, way: str, crowd: Crowd, cores: Cores | None) -> Trial:
    with Server(way, site, cores and cores.server) as server, hurried_client(server.port(), site) as client:
        client.ask(times(WARM_UP))
        quiet = client.ask(for_seconds(crowd.quiet_s))
        with Child("dribble", "benchmarks.dribble", site, server.port(), crowd.clients, crowd.every_ms, crowd.arrive_ms,
                   core=cores and cores.load) as dribblers:
            dribblers.line()
            cpu_before_ns, waited_before_s, threads = server.cpu_ns(), server.waited_s(), set[int]()

            def over() -> bool:
                threads.add(server.threads())
                return dribblers.has_spoken()

            busy = client.ask(over)
            dribble = Dribble(**json.loads(dribblers.line()))
            cpu_s, waited_s = (server.cpu_ns() - cpu_before_ns) / 1e9, server.waited_s() - waited_before_s
    return Trial(site, way, crowd, quiet, busy, dribble, max(threads), cpu_s, waited_s)


@contextmanager
def hurried_client(port: int, site: str) -> Iterator[Hurried]:
    client = Hurried(port, site)
    try:
        yield client
    finally:
        client.close()


def times(count: int) -> Callable[[], bool]:
    left = iter(range(count))
    return lambda: next(left, None) is None


def for_seconds(seconds: float) -> Callable[[], bool]:
    until = time.perf_counter() + seconds
    return lambda: time.perf_counter() > until
