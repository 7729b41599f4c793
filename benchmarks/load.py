"""The client side: at most one request under way on each connection, every reply compared byte by byte.

How many messages a server finds when it wakes up decides what each of them costs, so it must be the same number for all.
In a closed loop, where a connection asks again as soon as it is answered, it is not: a client in Python makes the same two
system calls for a message as the bare loop, 4 to 5 µs, so it is the limit for that one, which finds a few messages at a
time, and not for a slow server, which finds a hundred and shares one wake-up among them. It flatters the slow.

So the load comes in *waves*, and the server is held (SIGSTOP) until the wave is complete: each server finds every
connection ready, each with one request, as a busy one would. Nobody waits for the load: what is counted begins when the
server may go on, and ends when it sleeps again; it runs all the time between. How one knows: the kernel counts how
often it slept, which must be about once a wave, and the report has it for each row. A wave of one has nothing to find at
once and is not held; nor is a server with a thread for each connection, where each thread finds one message, come what may.

`latencies_us` measures something else, and is a closed loop: how long a request takes that is asked as soon as the one
before is answered, while all other connections do the same.

The client does not sleep while it collects, if it has a core to itself, but asks again and again: a server that answers
a *sleeping* client has to wake it, inside `send`, at several microseconds a time. Measured: it added 40 % to the figure
of asyncio and nothing to that of the bare loop. Connections are served in a fixed order, so there is nothing to look up.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import NamedTuple, Self

REPLY_S = 10.0
RECEIVE_BYTES = 32768  # more than the longest reply
SEND_BUFFER_BYTES = 1 << 18
# Linux: choose the port at connect(), when the other end is known. Not in the `socket` module of every version.
IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


class WrongReply(Exception):
    """The server answered something else than it should have, or hung up."""


class NoReply(Exception):
    """A reply is missing, and nothing more is coming."""


class Step(NamedTuple):
    """What is to be done on one connection: receive what is due, send what comes next."""

    receive: Callable[[int], bytes]
    send: Callable[[bytes], int]
    due: bytes
    request: bytes


class Load:
    """One connection for each request. `turns` are sent alternately, so that a reply of the turn before is no match.

    The reply to a request is the request itself, unless `replies` (turns of them, too) says otherwise.
    """

    def __init__(self, connections: Sequence[socket.socket], turns: Sequence[Sequence[bytes]],
                 replies: Sequence[Sequence[bytes]] | None = None, *, spin: bool) -> None:
        self._connections = connections
        self._turn = 0  # what is sent next
        for sock in connections:
            _prepare(sock, spin)
        # By the turn that is sent: what is due then is the reply to the one before.
        self._steps = [[Step(sock.recv, sock.send, due, request) for sock, due, request
                        in zip(connections, (replies or turns)[number - 1], turns[number], strict=True)]
                       for number in range(len(turns))]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        for sock in self._connections:
            sock.close()

    def run(self, rounds: int) -> None:
        """Have every connection ask `rounds` times."""
        self.send()
        for _ in range(rounds - 1):
            self._go_round()
        self.collect()

    def send(self) -> None:
        """Send one request on every connection."""
        for step in self._next_steps():
            _send(step)

    def collect(self) -> None:
        """Receive the replies that are due."""
        for step in self._steps[self._turn]:
            self._receive(step)

    def latencies_us(self, rounds: int) -> list[float]:
        """As `run`; returns how long each request took until its reply had been read."""
        clock, found = time.perf_counter_ns, []
        sent_at = []
        for step in self._next_steps():
            sent_at.append(clock())
            _send(step)
        for _ in range(rounds - 1):
            for number, step in enumerate(self._next_steps()):
                self._receive(step)
                found.append((clock() - sent_at[number]) / 1000)
                sent_at[number] = clock()
                _send(step)
        for number, step in enumerate(self._steps[self._turn]):
            self._receive(step)
            found.append((clock() - sent_at[number]) / 1000)
        return found

    def _next_steps(self) -> list[Step]:
        steps = self._steps[self._turn]
        self._turn = (self._turn + 1) % len(self._steps)
        return steps

    def _go_round(self) -> None:
        """One reply in and one request out on each connection: the inner loop, so nothing of it is called."""
        for receive, send, due, request in self._next_steps():
            try:
                data = receive(RECEIVE_BYTES)
            except BlockingIOError:
                data = _await(receive, due)
            if data != due:
                self._rest(receive, due, data)
            if send(request) != len(request):
                raise WrongReply(DOES_NOT_FIT)

    def _receive(self, step: Step) -> None:
        data = _await(step.receive, step.due)
        if data != step.due:
            self._rest(step.receive, step.due, data)

    def _rest(self, receive: Callable[[int], bytes], due: bytes, data: bytes) -> None:
        while due := self.rest_of(due, data):
            data = _await(receive, due)

    def rest_of(self, expected: bytes, data: bytes) -> bytes:
        """What is still to come after `data`, which was not exactly what was expected."""
        return rest_of(expected, data)


DOES_NOT_FIT = "a request did not fit into the socket buffer: the server does not read"


def _prepare(sock: socket.socket, spin: bool) -> None:
    sock.settimeout(0.0 if spin else REPLY_S)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    if sock.type is socket.SOCK_STREAM:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _send(step: Step) -> None:
    if step.send(step.request) != len(step.request):
        raise WrongReply(DOES_NOT_FIT)


def _await(receive: Callable[[int], bytes], due: bytes) -> bytes:
    """Receive what is not there yet. The clock of who spins is its own CPU: a machine that stood still was not silent."""
    give_up_at = time.thread_time() + REPLY_S
    while True:
        try:
            return receive(RECEIVE_BYTES)
        except BlockingIOError:
            late = time.thread_time() > give_up_at
        except TimeoutError:
            late = True
        if late:
            raise NoReply(f"no reply within {REPLY_S:g} s, or not all of it: {len(due)} bytes missing, {due[:40]!r}")


def rest_of(expected: bytes, data: bytes) -> bytes:
    """What is still to come after a first part of a reply; anything that is not such a part is an error."""
    if not data:
        raise WrongReply(f"the server closed the connection, {len(expected)} bytes short")
    if not expected.startswith(data):
        raise WrongReply(f"expected {expected[:80]!r}, got {data[:80]!r}")
    return expected[len(data):]


def connect(port: int, count: int, source: str | None = None) -> list[socket.socket]:
    """`count` connections to the server, or none: when one of them fails, the others are closed."""
    return connect_each([port] * count, source)


def connect_each(ports: Sequence[int], source: str | None = None) -> list[socket.socket]:
    """A connection to each of these ports."""
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(port, source)) for port in ports]
        stack.pop_all()
        return connections


def _connected(port: int, source: str | None) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        sock.settimeout(REPLY_S)
        if source is not None:
            sock.setsockopt(socket.IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 1)
            sock.bind((source, 0))
        sock.connect(("127.0.0.1", port))
    except BaseException:
        sock.close()
        raise
    return sock
