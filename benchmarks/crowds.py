"""Loads that are no plain closed loop: visitors who come, ask once and are hung up on; packets; a crowd that dribbles.

Each has what `Load` has: `run(rounds)`, and `send` and `collect`, between which a server can be held (`workloads`).
"""

from __future__ import annotations

import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack

from benchmarks.load import Load, WrongReply, connect

BYTES_OF_A_LINE = 40  # of a dribbler; a byte a wave


class Visitors:
    """Connections that come, ask once, get the reply and the end of the stream, and go.

    A server that has ended a connection keeps its pair of ports busy for a minute; from many addresses there are many pairs.
    """

    def __init__(self, port: int, turns: Sequence[Sequence[bytes]], *, spin: bool) -> None:
        self._port = port
        self._turns = turns
        self._spin = spin
        self._waves = 0
        self._stack = ExitStack()
        self._here: list[socket.socket] = []
        self._load = Load([], [[]], spin=spin)

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self.send()
            self.collect()

    def send(self) -> None:
        """Come and ask."""
        self._waves += 1
        turn = self._turns[self._waves % len(self._turns)]
        self._here = connect(self._port, len(turn), f"127.0.1.{self._waves % 200 + 1}")
        self._load = self._stack.enter_context(Load(self._here, [turn], spin=self._spin))
        self._load.send()

    def collect(self) -> None:
        """Get the reply and the end of the stream; go."""
        with self._stack.pop_all():
            self._load.collect()
            for sock in self._here:
                sock.settimeout(10.0)
                if more := sock.recv(1):
                    raise WrongReply(f"after the reply came {more!r}, not the end of the stream")

    def latencies_us(self, rounds: int) -> list[float]:
        """From connect() to the end of the stream, one visitor at a time."""
        found = []
        for number in range(rounds):
            requests = self._turns[number % len(self._turns)]
            for request in requests[:max(1, len(requests) // 4)]:
                began_at = time.perf_counter_ns()
                one = Visitors(self._port, [[request]], spin=self._spin)
                one._waves = self._waves
                one.run(1)
                found.append((time.perf_counter_ns() - began_at) / 1000)
        return found

    def close(self) -> None:
        """Who is still here, goes."""
        self._stack.close()


def packet_load(port: int, turns: Sequence[Sequence[bytes]], spin: bool) -> Load:
    """A `Load` of datagrams, each from a socket of its own, so that a packet that went to somebody else shows."""
    with ExitStack() as stack:
        sockets = []
        for _ in turns[0]:
            sock = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            sock.connect(("127.0.0.1", port))
            sockets.append(sock)
        load = Load(sockets, turns, spin=spin)
        stack.pop_all()
        return load


class Crowd:
    """Some who ask a line a wave, and many who send one byte of theirs; when its line is whole, it must be answered, too.

    Each wave is one dribbler in forty's last byte: were all at the same one, a burst would have everybody's replies or none.
    """

    def __init__(self, port: int, active: Sequence[Sequence[bytes]], dribblers: int, *, spin: bool) -> None:
        self._wave = 0
        with ExitStack() as stack:
            self._active = stack.enter_context(Load(connect(port, len(active[0])), active, spin=spin))
            lines = [(b"%06d " % number).ljust(BYTES_OF_A_LINE - 1, b".") + b"\n" for number in range(dribblers)]
            self._dribblers = list(zip(connect(port, dribblers), lines, strict=True))
            # By how far ahead they are, those whose lines end together.
            self._ends = [stack.enter_context(Load([sock for sock, _ in ahead], [[line for _, line in ahead]], spin=spin))
                          for ahead in (self._dribblers[offset::BYTES_OF_A_LINE] for offset in range(BYTES_OF_A_LINE))]
            for number, (sock, line) in enumerate(self._dribblers):
                sock.send(line[:number % BYTES_OF_A_LINE])
            stack.pop_all()

    def run(self, rounds: int) -> None:
        for _ in range(rounds):
            self.send()
            self.collect()

    def send(self) -> None:
        """One byte from each dribbler, then a line from each of the others."""
        self._dribble()
        self._active.send()

    def _dribble(self) -> None:
        for number, (sock, line) in enumerate(self._dribblers):
            at = (self._wave + number) % BYTES_OF_A_LINE
            sock.send(line[at:at + 1])
        self._wave += 1

    def collect(self) -> None:
        """Get the replies to whole lines."""
        self._active.collect()
        self._ends[-self._wave % BYTES_OF_A_LINE].collect()

    def latencies_us(self, rounds: int) -> list[float]:
        """Of the active ones, while the dribblers dribble."""
        found = []
        for _ in range(rounds):
            self._dribble()
            found += self._active.latencies_us(1)
            self._ends[-self._wave % BYTES_OF_A_LINE].collect()
        return found

    def close(self) -> None:
        """Everybody goes."""
        self._active.close()
        for ends in self._ends:
            ends.close()
