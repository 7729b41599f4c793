"""The references: what one has to write when there is no library at all.

These loops are the denominator of every ratio, so they do the least that still serves the load: read once, answer once.
They are *not* servers to copy. A send may take only part of the bytes, and here the rest would be lost; a peer that
resets ends the whole process; nobody is ever timed out and nothing is bounded. What the other servers cost on top
of this is, for the most part, the price of those sentences not being true of them.

Each protocol is a loop of its own, not one loop with a function to call: a call per message would be a gift to the
competition. What anyone would write, they write: lines are joined once a read and sent at once, packets are taken
until there are none. `close` hangs up as soon as the reply is sent, and does not look whether the peer has more to
say; if it had, the kernel would destroy the reply (see `reactor.streams`, which lingers).
"""

from __future__ import annotations

import select
import socket
from collections.abc import Callable

from benchmarks.tiny import END_OF_HEAD, answer

# The port (or ports) are announced once the server would answer; the other argument says which protocol to speak.
Announce = Callable[..., None]

RECEIVE_BYTES = 65536  # what this library and most others ask for; less would be cheaper for nobody but the reference
BACKLOG = 1024
ACCEPTS_PER_WAKE = 64
PACKETS_PER_WAKE = 64
LISTENERS = 500  # of the protocol "many"


def epoll(protocol: str, announce: Announce) -> None:
    if protocol == "udp":
        _udp(announce)
    listeners = [listening_socket() for _ in range(LISTENERS if protocol == "many" else 1)]
    announce(*[listener.getsockname()[1] for listener in listeners])
    {"echo": _echo, "many": _echo, "lines": _lines, "close": _close, "tiny": _tiny}[protocol](listeners)


def listening_socket() -> socket.socket:
    listener = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listener.setblocking(False)
    return listener


def accept_waiting(listener: socket.socket) -> list[socket.socket]:
    accepted: list[socket.socket] = []
    try:
        while len(accepted) < ACCEPTS_PER_WAKE:
            sock, _ = listener.accept()
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            accepted.append(sock)
    except BlockingIOError:
        pass
    return accepted


class Accepting:
    """The part of each loop that is no message: the poller, and who is connected."""

    def __init__(self, listeners: list[socket.socket]) -> None:
        self.poller = select.epoll()
        self.connections: dict[int, socket.socket] = {}
        self._listeners = {listener.fileno(): listener for listener in listeners}
        for fd in self._listeners:
            self.poller.register(fd, select.EPOLLIN)

    def accept(self, fd: int) -> list[int]:
        fds = []
        for sock in accept_waiting(self._listeners[fd]):
            self.connections[sock.fileno()] = sock
            self.poller.register(sock, select.EPOLLIN)
            fds.append(sock.fileno())
        return fds

    def end(self, fd: int) -> None:
        self.poller.unregister(fd)
        self.connections.pop(fd).close()


def _echo(listeners: list[socket.socket]) -> None:
    accepting = Accepting(listeners)
    poll, connections = accepting.poller.poll, accepting.connections
    while True:
        for fd, _ in poll():
            sock = connections.get(fd)
            if sock is None:
                accepting.accept(fd)
            elif data := sock.recv(RECEIVE_BYTES):
                sock.send(data)
            else:
                accepting.end(fd)


def _lines(listeners: list[socket.socket]) -> None:
    accepting = Accepting(listeners)
    poll, connections = accepting.poller.poll, accepting.connections
    tails: dict[int, bytes] = {}  # the table of partially finished requests, in its smallest form
    while True:
        for fd, _ in poll():
            sock = connections.get(fd)
            if sock is None:
                tails.update(dict.fromkeys(accepting.accept(fd), b""))
            elif data := sock.recv(RECEIVE_BYTES):
                *lines, tails[fd] = (tails[fd] + data).split(b"\n")
                if lines:
                    sock.send(b"\n".join(lines) + b"\n")
            else:
                accepting.end(fd)
                del tails[fd]


def _close(listeners: list[socket.socket]) -> None:
    accepting = Accepting(listeners)
    poll, connections = accepting.poller.poll, accepting.connections
    while True:
        for fd, _ in poll():
            sock = connections.get(fd)
            if sock is None:
                accepting.accept(fd)
            else:
                sock.send(sock.recv(RECEIVE_BYTES))
                del connections[fd]
                sock.close()  # which takes it out of the poller, too


def _tiny(listeners: list[socket.socket]) -> None:
    accepting = Accepting(listeners)
    poll, connections = accepting.poller.poll, accepting.connections
    tails: dict[int, bytes] = {}
    while True:
        for fd, _ in poll():
            sock = connections.get(fd)
            if sock is None:
                tails.update(dict.fromkeys(accepting.accept(fd), b""))
            elif data := sock.recv(RECEIVE_BYTES):
                *heads, tails[fd] = (tails[fd] + data).split(END_OF_HEAD)
                if heads:
                    sock.send(b"".join([answer(head) for head in heads]))
            else:
                accepting.end(fd)
                del tails[fd]


def _udp(announce: Announce) -> None:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    sock.setblocking(False)
    poller = select.epoll()
    poller.register(sock, select.EPOLLIN)
    announce(sock.getsockname()[1])
    while True:
        poller.poll()
        try:
            for _ in range(PACKETS_PER_WAKE):
                data, sender = sock.recvfrom(RECEIVE_BYTES)
                sock.sendto(data, sender)
        except BlockingIOError:
            pass
