"""The client side: many connections, one outstanding request on each, every reply compared byte by byte.

The load is a closed loop, like that of wrk or redis-benchmark: each connection has one request under way and sends the
next one as soon as the reply is in. So many connections are ready at a time, as on a busy server, and they are never in
step.

While it collects, the client does not sleep in its own `poll`, if it has a core to itself, but asks again and again. It
is not impatience. A server that answers a *sleeping* client has to wake it, inside `send`, at several microseconds a
time; a slow server would pay that for every reply, a fast one rarely. Measured: it added 40 % to asyncio's figure and
nothing to that of the bare loop.
"""

from __future__ import annotations

import select
import socket
import time
from collections.abc import Sequence
from contextlib import ExitStack
from types import TracebackType
from typing import Self

REPLY_S = 10.0
RECEIVE_BYTES = 65536
# Linux: choose the port at connect(), when the other end is known. Not in the `socket` module of every version.
IP_BIND_ADDRESS_NO_PORT = getattr(socket, "IP_BIND_ADDRESS_NO_PORT", 24)


class WrongReply(Exception):
    """The server answered something else than it should have, or hung up."""


class NoReply(Exception):
    """A reply is missing, and nothing more is coming."""


class Load:
    """One connection for each request. `turns` are sent alternately, so that a reply of the wave before is no match.

    The reply to a request is the request itself, unless `replies` (turns of them, too) says otherwise.
    """

    def __init__(self, connections: Sequence[socket.socket], turns: Sequence[Sequence[bytes]],
                 replies: Sequence[Sequence[bytes]] | None = None, *, spin: bool) -> None:
        self._connections = {sock.fileno(): sock for sock in connections}
        self._turns = [dict(zip(self._connections, turn, strict=True)) for turn in turns]
        self._replies = [dict(zip(self._connections, turn, strict=True)) for turn in replies or turns]
        self._asked = dict.fromkeys(self._connections, -1)
        self._timeout_s = 0.0 if spin else REPLY_S
        self._poller = select.epoll()
        for fd, sock in self._connections.items():
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._poller.register(fd, select.EPOLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 where: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        self._poller.close()
        for sock in self._connections.values():
            sock.close()

    def run(self, rounds: int) -> None:
        """Have every connection ask `rounds` times."""
        self.collect(self.send(), rounds - 1)

    def send(self) -> dict[int, bytes]:
        """Send one request on every connection; returns the table of the replies still due, by descriptor."""
        return {fd: self._ask(fd) for fd in self._connections}

    def _ask(self, fd: int) -> bytes:
        """Send the next request of one connection: not the one before, whose reply would else pass for this one's."""
        self._asked[fd] += 1
        turn = self._asked[fd] % len(self._turns)
        request = self._turns[turn][fd]
        if self._connections[fd].send(request) != len(request):
            raise WrongReply("a request did not fit into the socket buffer: the server does not read")
        return self._replies[turn][fd]

    def collect(self, due: dict[int, bytes], more: int = 0) -> None:
        """Receive until nothing is due; when its reply is complete and right, a connection asks again, `more` times."""
        connections = self._connections
        left = dict.fromkeys(due, more)
        give_up_at = time.monotonic() + REPLY_S
        while due:
            ready = self._poller.poll(self._timeout_s)
            if not ready and time.monotonic() > give_up_at:
                raise NoReply(f"{len(due)} replies missing after {REPLY_S:g} s")
            for fd, _ in ready:
                data = connections[fd].recv(RECEIVE_BYTES)
                expected = due.pop(fd, b"")
                if data != expected and (rest := self.rest_of(expected, data)):
                    due[fd] = rest
                elif left[fd]:
                    left[fd] -= 1
                    due[fd] = self._ask(fd)

    def rest_of(self, expected: bytes, data: bytes) -> bytes:
        """What is still to come after `data`, which was not exactly what was expected."""
        return rest_of(expected, data)


def rest_of(expected: bytes, data: bytes) -> bytes:
    """What is still to come after a first part of a reply; anything that is not such a part is an error."""
    if not data:
        raise WrongReply(f"the server closed the connection, {len(expected)} bytes short")
    if not expected.startswith(data):
        raise WrongReply(f"expected {expected[:80]!r}, got {data[:80]!r}")
    return expected[len(data):]


class Visitors:
    """Connections that come, ask once and go. A run of ten waves is ten times as many connections as requests."""

    def __init__(self, port: int, turns: Sequence[Sequence[bytes]], *, spin: bool) -> None:
        self._port = port
        self._turns = turns
        self._spin = spin
        self._waves = 0

    def run(self, waves: int) -> None:
        for _ in range(waves):
            self._waves += 1
            turn = self._turns[self._waves % len(self._turns)]
            with Load(connect(self._port, len(turn), self._source()), [turn], spin=self._spin) as load:
                load.run(1)

    def close(self) -> None:
        """Nothing stays open between two waves."""

    def _source(self) -> str:
        """A closed connection keeps its pair of ports busy for a minute; from many addresses there are many pairs."""
        return f"127.0.1.{self._waves % 200 + 1}"


def connect(port: int, count: int, source: str | None = None) -> list[socket.socket]:
    """`count` connections to the server, or none: when one of them fails, the others are closed."""
    with ExitStack() as stack:
        connections = [stack.enter_context(_connected(port, source)) for _ in range(count)]
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
