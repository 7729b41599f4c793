"""The bare loop once more, through the public `selectors` module, in the shape its documentation shows."""

from __future__ import annotations

import selectors
import socket

from benchmarks.bare import RECEIVE_BYTES, Announce, accept_waiting, listening_socket


def via_selectors(protocol: str, announce: Announce) -> None:
    listener = listening_socket()
    announce(listener.getsockname()[1])
    {"echo": _echo, "lines": _lines, "close": _close}[protocol](listener)


def _echo(listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()

    def accept() -> None:
        for sock in accept_waiting(listener):
            selector.register(sock, selectors.EVENT_READ, lambda sock=sock: echo(sock))

    def echo(sock: socket.socket) -> None:
        if data := sock.recv(RECEIVE_BYTES):
            sock.send(data)
        else:
            selector.unregister(sock)
            sock.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    _call_ready(selector)


def _lines(listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()
    tails: dict[socket.socket, bytes] = {}

    def accept() -> None:
        for sock in accept_waiting(listener):
            tails[sock] = b""
            selector.register(sock, selectors.EVENT_READ, lambda sock=sock: answer(sock))

    def answer(sock: socket.socket) -> None:
        if data := sock.recv(RECEIVE_BYTES):
            *lines, tails[sock] = (tails[sock] + data).split(b"\n")
            if lines:
                sock.send(b"\n".join(lines) + b"\n")
        else:
            selector.unregister(sock)
            del tails[sock]
            sock.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    _call_ready(selector)


def _close(listener: socket.socket) -> None:
    selector = selectors.DefaultSelector()

    def accept() -> None:
        for sock in accept_waiting(listener):
            selector.register(sock, selectors.EVENT_READ, lambda sock=sock: answer(sock))

    def answer(sock: socket.socket) -> None:
        sock.send(sock.recv(RECEIVE_BYTES))
        selector.unregister(sock)
        sock.close()

    selector.register(listener, selectors.EVENT_READ, accept)
    _call_ready(selector)


def _call_ready(selector: selectors.BaseSelector) -> None:
    while True:
        for key, _ in selector.select():
            key.data()
