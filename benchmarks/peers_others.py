"""Tornado, gevent and trio: each serves by its own server class or function, and reads as its documentation reads.

Lines are read by `read_until` (Tornado), by the file of a socket (gevent) and, since trio has no reader of lines, split
by hand. Whoever writes, waits: all three say how a slow reader is to be heeded, and here that is what is done.
"""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from benchmarks.bare import BACKLOG, RECEIVE_BYTES, Announce
from benchmarks.tiny import END_OF_HEAD, answer

NODELAY = (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def tornado(protocol: str, announce: Announce) -> None:
    from tornado.iostream import IOStream, StreamClosedError
    from tornado.netutil import bind_sockets
    from tornado.tcpserver import TCPServer

    async def echo(stream: IOStream) -> None:
        while True:
            await stream.write(await stream.read_bytes(RECEIVE_BYTES, partial=True))

    async def lines(stream: IOStream) -> None:
        while True:
            await stream.write(await stream.read_until(b"\n"))

    async def close(stream: IOStream) -> None:
        await stream.write(await stream.read_bytes(RECEIVE_BYTES, partial=True))
        stream.close()

    async def tiny(stream: IOStream) -> None:
        while True:
            await stream.write(answer((await stream.read_until(END_OF_HEAD))[:-len(END_OF_HEAD)]))

    handler = {"echo": echo, "lines": lines, "close": close, "tiny": tiny}[protocol]

    class Server(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            stream.set_nodelay(True)
            try:
                await handler(stream)
            except StreamClosedError:
                pass

    async def serve() -> None:
        server, sockets = Server(), bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
        server.add_sockets(sockets)
        announce(sockets[0].getsockname()[1])
        await asyncio.Event().wait()

    asyncio.run(serve())


def gevent(protocol: str, announce: Announce) -> None:
    from gevent.server import DatagramServer, StreamServer

    def echo(sock: Any, address: Any) -> None:
        sock.setsockopt(*NODELAY)
        while data := sock.recv(RECEIVE_BYTES):
            sock.sendall(data)

    def lines(sock: Any, address: Any) -> None:
        sock.setsockopt(*NODELAY)
        with sock.makefile("rb") as file:
            while line := file.readline():
                sock.sendall(line)

    def close(sock: Any, address: Any) -> None:
        sock.setsockopt(*NODELAY)
        sock.sendall(sock.recv(RECEIVE_BYTES))  # the server closes it

    def tiny(sock: Any, address: Any) -> None:
        sock.setsockopt(*NODELAY)
        tail = b""
        while data := sock.recv(RECEIVE_BYTES):
            *heads, tail = (tail + data).split(END_OF_HEAD)
            if heads:
                sock.sendall(b"".join([answer(head) for head in heads]))

    class Packets(DatagramServer):  # type: ignore[misc]
        def handle(self, data: bytes, address: Any) -> None:
            self.sendto(data, address)

    if protocol == "udp":
        server: Any = Packets(("127.0.0.1", 0))
    else:
        handler = {"echo": echo, "lines": lines, "close": close, "tiny": tiny}[protocol]
        server = StreamServer(("127.0.0.1", 0), handler, backlog=BACKLOG)
    server.start()
    announce(server.address[1])
    server.serve_forever()


def trio(protocol: str, announce: Announce) -> None:
    import trio

    async def echo(stream: trio.SocketStream) -> None:
        async for data in stream:
            await stream.send_all(data)

    async def lines(stream: trio.SocketStream) -> None:
        tail = b""
        async for data in stream:
            *whole, tail = (tail + data).split(b"\n")
            if whole:
                await stream.send_all(b"\n".join(whole) + b"\n")

    async def close(stream: trio.SocketStream) -> None:
        await stream.send_all(await stream.receive_some(RECEIVE_BYTES))  # serve_listeners closes it

    async def tiny(stream: trio.SocketStream) -> None:
        tail = b""
        async for data in stream:
            *heads, tail = (tail + data).split(END_OF_HEAD)
            if heads:
                await stream.send_all(b"".join([answer(head) for head in heads]))

    async def packets() -> None:
        sock = trio.socket.socket(trio.socket.AF_INET, trio.socket.SOCK_DGRAM)
        await sock.bind(("127.0.0.1", 0))
        announce(sock.getsockname()[1])
        while True:
            data, sender = await sock.recvfrom(RECEIVE_BYTES)
            await sock.sendto(data, sender)

    async def serve() -> None:
        if protocol == "udp":
            await packets()
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1", backlog=BACKLOG)
        announce(listeners[0].socket.getsockname()[1])
        handler = {"echo": echo, "lines": lines, "close": close, "tiny": tiny}[protocol]
        await trio.serve_listeners(handler, listeners)

    trio.run(serve)
