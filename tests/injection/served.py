"""Who serves in the scenarios: coroutines, functions of packets, and handler classes on simulated sockets.

What it is: handlers that make every call which the engine makes for a handler. What it is not: what they are told; see
`scenarios`.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Callable
from typing import Any

from reactor import Datagram, Stream
from reactor.base_server import BaseServer
from reactor.request_handlers import DatagramRequestHandler, StreamRequestHandler
from reactor.servers import UDPServer

from .play import Play

TCP, OTHER, UNIX, SECOND = "tcp://127.0.0.1:80", "tcp://127.0.0.1:81", "unix:///run/a.sock", "unix:///run/b.sock"
UDP, UNIX_PACKETS = "udp://127.0.0.1:53", "unix+dgram:///run/d.sock"
LARGE = bytes(range(256)) * 1200  # 300 KiB: more than both socket buffers and the high mark


async def upper(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line.upper())


async def shout(stream: Stream) -> None:
    """Take whatever comes: the shortest way through the engine."""
    while data := await stream.read_some():
        stream.write(data.upper())


async def large(stream: Stream) -> None:
    await stream.readline()
    stream.write(LARGE)


async def half(stream: Stream) -> None:
    """Answer, shut our side, and go on reading."""
    stream.write(await stream.readline())
    stream.write_eof()
    while await stream.read_some():
        pass


async def rude(stream: Stream) -> None:
    await stream.readline()
    stream.write(b"some")
    stream.abort("enough")


def twice(packet: Datagram) -> None:
    assert packet.local is not None
    packet.reply(packet.data)
    packet.reply(packet.data.upper())


async def careless(stream: Stream) -> None:
    """Close the socket behind the engine's back."""
    stream.write(await stream.readline())
    if await stream.readline() == b"close\n":
        stream.sock.close()
    await stream.readline()


class Upper(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


class UpperAll(StreamRequestHandler):
    disable_nagle_algorithm = True
    timeout = 5

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class ShoutAll(StreamRequestHandler):
    """Takes whatever comes, as `shout`."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data.upper())


class Curious(StreamRequestHandler):
    """Asks the connection for all that it can be asked for."""

    def handle(self) -> None:
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert self.request.getsockname()
        assert self.request.getpeername()
        for line in self.rfile:
            self.wfile.write(line.upper())


class UpperPacket(DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


def hosted(kind: type[Any], handler: type[Any], fails: bool = False, **keywords: Any) -> Callable[[Play, str], Any]:
    """Return what serves a handler class on a simulated socket, by a server of a kind."""

    class Server(kind):  # type: ignore[misc]
        def __init__(self, sock: Any, play: Play) -> None:
            BaseServer.__init__(self, sock.getsockname(), handler)
            self.socket, self.play = sock, play

        def verify_request(self, request: Any, client_address: Any) -> bool:
            if fails:
                raise OSError("a hook fails (planned)")
            return True

        def shutdown_request(self, request: Any) -> None:
            if fails:
                raise OSError("the last one, too (planned)")
            super().shutdown_request(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            if fails:
                raise ValueError("the other one, too (planned)")
            self.play.census.errors.append(sys.exception() if hasattr(sys, "exception") else sys.exc_info()[1])

    def serve(play: Play, endpoint: str) -> Any:
        reactor = play.world.reactor
        sock = reactor._socket_at(endpoint, 16)
        try:
            if kind is UDPServer:
                sock.setblocking(True)
            return reactor.add(Server(sock, play), **keywords)
        except BaseException:
            sock.close()
            raise

    return serve
