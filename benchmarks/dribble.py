"""Clients that dribble: a byte each, every tenth of a second, until the request is whole.

A process of its own, `python -m benchmarks.dribble PROTOCOL PORT CLIENTS EVERY_MS ARRIVE_MS CORE`, so that the client
whose patience is measured is not the one that has ten thousand bytes a second to send. It says "ready", dribbles, and
at the end says what became of everybody, as JSON.

Exact and cheap, by a wheel: one slot for each millisecond between two bytes of the same client, and in each slot the
clients whose turn it is then. A client is in one slot for as long as it has bytes to send. Ticks are counted from the
beginning, so a late one is made good and nothing drifts; how late the latest was is in the result, since a load that
could not keep up would be no load.
"""

from __future__ import annotations

import dataclasses
import json
import select
import socket
import sys
import time
from collections import Counter
from collections.abc import Sequence

from benchmarks.load import RECEIVE_BYTES, connect
from benchmarks.questions import is_right, question
from benchmarks.serve import say, settle_down

TICK_S = 0.001
REPLY_S = 20.0  # after the last byte of the last one


@dataclasses.dataclass(frozen=True, slots=True)
class Dribble:
    """What became of the clients: replies that were right, and the others by what went wrong."""

    served: int
    failed: dict[str, int]
    seconds: float
    latest_ms: float  # the worst delay of a tick


@dataclasses.dataclass(slots=True)
class Client:
    sock: socket.socket
    request: bytes
    body: bytes  # that must come back
    at: int = 0  # bytes sent
    reply: bytes = b""

    def send_one(self) -> bool:
        """Send the next byte; says whether there are more."""
        try:
            self.sock.send(self.request[self.at:self.at + 1])
        except OSError:
            return False  # the end of the stream, read by the poller, has the reason
        self.at += 1
        return self.at < len(self.request)

    def verdict(self) -> str:
        """What went wrong; nothing, if nothing did."""
        if self.at < len(self.request):
            return f"ended after {self.at} of {len(self.request)} bytes with {self.reply[:40]!r}"
        return "" if is_right(self.reply, self.body) else f"got {self.reply[:40]!r} ({len(self.reply)} bytes)"


class Wheel:
    """All clients of one run: those to come, those in a slot, those that wait for the rest of their reply."""

    def __init__(self, port: int, questions: Sequence[tuple[bytes, bytes]], every_ms: int, arrive_ms: int) -> None:
        self._port = port
        self._slots: list[list[Client]] = [[] for _ in range(every_ms)]
        self._arrivals: dict[int, list[tuple[bytes, bytes]]] = {}
        for number, asked in enumerate(questions):
            self._arrivals.setdefault(number * arrive_ms // len(questions), []).append(asked)
        self._waiting: dict[int, Client] = {}
        self._poller = select.epoll()
        self._results: Counter[str] = Counter()
        self._latest_s = 0.0

    def run(self) -> Dribble:
        began_at = last_sent_at = time.monotonic()
        tick = 0
        while self._arrivals or (self._waiting and time.monotonic() < last_sent_at + REPLY_S):
            due_at = began_at + tick * TICK_S
            self._receive(due_at)
            if (late_s := time.monotonic() - due_at) >= 0:
                self._latest_s = max(self._latest_s, late_s)
                if self._turn(tick):
                    last_sent_at = due_at
                tick += 1
        for client in list(self._waiting.values()):
            self._end(client, "no reply" if client.at == len(client.request) else "given up")
        self._poller.close()
        served = self._results.pop("", 0)
        return Dribble(served, dict(self._results), time.monotonic() - began_at, self._latest_s * 1000)

    def _turn(self, tick: int) -> bool:
        """One tick: who arrives, arrives; whose slot it is, sends. Says whether anybody did."""
        slot = self._slots[tick % len(self._slots)]
        slot += [self._arrive(*asked) for asked in self._arrivals.pop(tick, ())]
        self._slots[tick % len(self._slots)] = [client for client in slot if client.send_one()]
        return bool(slot)

    def _arrive(self, request: bytes, body: bytes) -> Client:
        sock = connect(self._port, 1)[0]
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client = self._waiting[sock.fileno()] = Client(sock, request, body)
        self._poller.register(sock, select.EPOLLIN)
        return client

    def _receive(self, until: float) -> None:
        for fd, _ in self._poller.poll(max(0.0, until - time.monotonic())):
            client = self._waiting[fd]
            try:
                data = client.sock.recv(RECEIVE_BYTES)
            except OSError as error:
                self._end(client, f"{type(error).__name__} after {client.at} of {len(client.request)} bytes")
                continue
            client.reply += data
            if not data:
                self._end(client, client.verdict())

    def _end(self, client: Client, result: str) -> None:
        self._results[result] += 1
        del self._waiting[client.sock.fileno()]
        client.sock.close()


def main(protocol: str, port: str, clients: str, every_ms: str, arrive_ms: str, core: str) -> None:
    settle_down(core)
    questions = [question(protocol, number, close=True) for number in range(int(clients))]
    say("ready")
    result = Wheel(int(port), questions, int(every_ms), int(arrive_ms)).run()
    say(json.dumps(dataclasses.asdict(result)))


if __name__ == "__main__":
    main(*sys.argv[1:])
