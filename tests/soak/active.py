"""The clients that behave: `python -m tests.soak.active JSON`, and what they have to wait for their answers.

Each of them asks, waits for the answer, pauses, and asks again; an answer must name the client and the request. Orders
come as lines on standard input: {"seconds": 3} or {"requests": 10}; the answer to one is a line of figures.
"""

from __future__ import annotations

import json
import selectors
import socket
import sys
import time
from typing import Any

# Twenty clients with such pauses are 2,000 requests a second: enough for a 99th percentile, and a tenth of a core.
PAUSE_S = 0.01
# Longer than any limit of the server: who waits as long waits for ever.
PATIENCE_S = 60.0


class Client:
    """One connection that asks."""

    def __init__(self, name: str, address: tuple[str, int]) -> None:
        self.name, self.asked, self.answered = name.encode(), 0, 0
        self.sock = socket.create_connection(address)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.received = b""
        self.wrong = 0
        self.due_at = self.sent_at = 0.0

    def ask(self) -> None:
        """Send the next request."""
        self.asked += 1
        self.sent_at = time.perf_counter()
        self.sock.sendall(b"%s-%d\n" % (self.name, self.asked))

    def hear(self) -> float | None:
        """Return how long the answer took (s); None: it is not complete."""
        data = self.sock.recv(65536)
        if not data:
            raise ConnectionError(f"{self.name.decode()} was closed after {self.answered} answers")
        if self.asked == self.answered:  # nothing was asked for
            self.wrong += 1
            return None
        self.received += data
        if not self.received.endswith(b"\n"):
            return None
        now = time.perf_counter()
        self.wrong += self.received != b"%s-%d\n" % (self.name, self.asked)
        self.received = b""
        self.answered += 1
        return now - self.sent_at


class Clients:
    """All of them, on one selector."""

    def __init__(self, addresses: list[tuple[str, int]], count: int) -> None:
        self.selector = selectors.DefaultSelector()
        self.all = [Client(f"active-{n}", addresses[n % len(addresses)]) for n in range(count)]
        for client in self.all:
            self.selector.register(client.sock, selectors.EVENT_READ, client)

    def measure(self, seconds: float | None, requests: int | None) -> dict[str, Any]:
        """Ask for so long, or so often each; return what the answers took."""
        began, wrong = time.perf_counter(), sum(client.wrong for client in self.all)
        until = began + (PATIENCE_S if seconds is None else seconds)
        for place, client in enumerate(self.all):  # out of step, or twenty requests would wait for each other
            client.due_at = began + PAUSE_S * place / len(self.all)
        waits: list[float] = []
        goals = {client: client.asked + requests if requests else sys.maxsize for client in self.all}
        self._play(until, goals, waits)
        missing = sum(client.asked - client.answered for client in self.all)
        missing += sum(goal - client.answered for client, goal in goals.items() if requests)
        wrong = sum(client.wrong for client in self.all) - wrong
        return {"answers": len(waits), "missing": missing, "cross_talk": wrong, **percentiles(waits)}

    def _play(self, until: float, goals: dict[Client, int], waits: list[float]) -> None:
        while True:
            now = time.perf_counter()
            free = [client for client in self.all if client.asked == client.answered]
            ready = [client for client in free if client.asked < goals[client]] if now < until else []
            if not ready and (len(free) == len(self.all) or now > until + PATIENCE_S):
                return
            for client in ready:
                if client.due_at <= now:
                    client.ask()
            due = [client.due_at for client in ready if client.due_at > now]
            for key, _ in self.selector.select(max(min(due, default=now + 0.1) - now, 0)):
                took = key.data.hear()
                if took is not None:
                    waits.append(took)
                    key.data.due_at = max(key.data.due_at + PAUSE_S, time.perf_counter())  # out of step, still


def percentiles(waits: list[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ranked = sorted(waits) or [0.0]
    return {"p50_ms": ranked[len(ranked) // 2] * 1e3, "p99_ms": ranked[int(len(ranked) * 0.99)] * 1e3}


def main(options: dict[str, Any]) -> None:
    """Carry out the orders."""
    clients = Clients([tuple(address) for address in options["addresses"]], options["count"])
    for line in sys.stdin:
        order = json.loads(line)
        sys.stdout.write(json.dumps(clients.measure(order.get("seconds"), order.get("requests"))) + "\n")
        sys.stdout.flush()
    for client in clients.all:
        client.sock.close()
    clients.selector.close()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
