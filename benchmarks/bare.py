"""The references: what one has to write when there is no library at all.

These loops are the denominator of every ratio, so they do the least that still serves the load: read once, answer once.
They are *not* servers to copy. A send may take only part of the bytes, and here the rest would be lost; a peer that
resets ends the whole process; nobody is ever timed out and nothing is bounded. What the other servers cost on top
of this is, for the most part, the price of those sentences not being true of them.

Echo and lines are two loops, not one with a function to call: a call per message would be a gift to the competition.
"""

from __future__ import annotations

import select
import selectors
import socket
from collections.abc import Callable

# The port is announced once the server would answer; the second argument says which of the two protocols to speak.
Announce = Callable[[int], None]

RECEIVE_BYTES = 65536  # what this library and most others ask for; less would be cheaper for nobody but the reference
BACKLOG = 1024
ACCEPTS_PER_WAKE = 64


def epoll(protocol: str, announce: Announce) -> None:
    listener = listening_socket()
    announce(listener.getsockname()[1])
    {"echo": _epoll_echo, "lines": _epoll_lines}[protocol](listener)


def via_selectors(protocol: str, announce: Announce) -> None:
    """The same through the public `selectors` module, in the shape its documentation shows."""
    listener = listening_socket()
    announce(listener.getsockname()[1])
    {"echo": _selectors_echo, "lines": _selectors_lines}[protocol](listener)


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


def _epoll_echo(listener: socket.socket) -> None:
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    listening = listener.fileno()
    connections: dict[int, socket.socket] = {}
    while True:
        for fd, _ in poller.poll():
            if fd == listening:
                for sock in accept_waiting(listener):
                    connections[sock.fileno()] = sock
                    poller.register(sock, select.EPOLLIN)
                continue
            sock = connections[fd]
            data = sock.recv(RECEIVE_BYTES)
            if data:
                sock.send(data)
            else:
                poller.unregister(fd)
                connections.pop(fd).close()


def _epoll_lines(listener: socket.socket) -> None:
    poller = select.epoll()
    poller.register(listener, select.EPOLLIN)
    listening = listener.fileno()
    connections: dict[int, socket.socket] = {}
    tails: dict[int, bytes] = {}  # the table of partially finished requests, in its smallest form
    while True:
        for fd, _ in poller.poll():
            if fd == listening:
                for sock in accept_waiting(listener):
                    connections[sock.fileno()] = sock
                    tails[sock.fileno()] = b""
                    poller.register(sock, select.EPOLLIN)
                continue
            sock = connections[fd]
            data = sock.recv(RECEIVE_BYTES)
            if data:
                *lines, tails[fd] = (tails[fd] + data).split(b"\n")
                sock.send(b"".join([line + b"\n" for line in lines]))
            else:
                poller.unregister(fd)
                connections.pop(fd).close()
                del tails[fd]


def _selectors_echo(listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()

    def accept() -> None:
        for sock in accept_waiting(listener):
            selector.register(sock, selectors.EVENT_READ, lambda sock=sock: echo(sock))

    def echo(sock: socket.socket) -> None:
        data = sock.recv(RECEIVE_BYTES)
        if data:
            sock.send(data)
        else:
            selector.unregister(sock)
            sock.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    _call_ready(selector)


def _selectors_lines(listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    tails: dict[socket.socket, bytes] = {}

    def accept() -> None:
        for sock in accept_waiting(listener):
            tails[sock] = b""
            selector.register(sock, selectors.EVENT_READ, lambda sock=sock: answer(sock))

    def answer(sock: socket.socket) -> None:
        data = sock.recv(RECEIVE_BYTES)
        if data:
            *lines, tails[sock] = (tails[sock] + data).split(b"\n")
            sock.send(b"".join([line + b"\n" for line in lines]))
        else:
            selector.unregister(sock)
            del tails[sock]
            sock.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    _call_ready(selector)


def _call_ready(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            key.data()
