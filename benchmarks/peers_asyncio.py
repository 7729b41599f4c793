"""asyncio and uvloop: the same servers on two loops, by Protocol and by streams.

asyncio's Protocol asks for 256 KiB in every `recv`, and glibc maps and unmaps such a buffer each time, which alone
costs more than the rest; see `serve.ROOMY` for what is done about it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

from benchmarks.bare import BACKLOG, LISTENERS, RECEIVE_BYTES, Announce
from benchmarks.tiny import END_OF_HEAD, answer


class Echo(asyncio.Protocol):
    def connection_made(self, transport: Any) -> None:  # uvloop's is no asyncio.Transport
        self.transport = transport
        self.tail = b""

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)


class Lines(Echo):
    def data_received(self, data: bytes) -> None:
        *lines, self.tail = (self.tail + data).split(b"\n")
        if lines:
            self.transport.write(b"\n".join(lines) + b"\n")


class Close(Echo):
    def data_received(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.close()


class Tiny(Echo):
    def data_received(self, data: bytes) -> None:
        *heads, self.tail = (self.tail + data).split(END_OF_HEAD)
        if heads:
            self.transport.write(b"".join([answer(head) for head in heads]))


class Packets(asyncio.DatagramProtocol):
    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.transport.sendto(data, addr)


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while data := await reader.read(RECEIVE_BYTES):
        writer.write(data)
        await writer.drain()
    writer.close()


async def lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()


async def close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.write(await reader.read(RECEIVE_BYTES))
    writer.close()


async def tiny(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while True:
            writer.write(answer((await reader.readuntil(END_OF_HEAD))[:-len(END_OF_HEAD)]))
            await writer.drain()
    except asyncio.IncompleteReadError:
        writer.close()


PROTOCOLS: dict[str, type[Echo]] = {"echo": Echo, "many": Echo, "lines": Lines, "close": Close, "tiny": Tiny}
HANDLERS = {"echo": echo, "lines": lines, "close": close, "tiny": tiny}


async def _serve_protocol(protocol: str, announce: Announce) -> None:
    loop = asyncio.get_running_loop()
    if protocol == "udp":
        transport, _ = await loop.create_datagram_endpoint(Packets, ("127.0.0.1", 0))
        announce(transport.get_extra_info("sockname")[1])
        await asyncio.Event().wait()
    factory = PROTOCOLS[protocol]
    servers = [await loop.create_server(factory, "127.0.0.1", 0, backlog=BACKLOG)
               for _ in range(LISTENERS if protocol == "many" else 1)]
    announce(*[server.sockets[0].getsockname()[1] for server in servers])
    await asyncio.Event().wait()


async def _serve_streams(protocol: str, announce: Announce) -> None:
    server = await asyncio.start_server(HANDLERS[protocol], "127.0.0.1", 0, backlog=BACKLOG)
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def asyncio_protocol(protocol: str, announce: Announce) -> None:
    asyncio.run(_serve_protocol(protocol, announce))


def asyncio_streams(protocol: str, announce: Announce) -> None:
    asyncio.run(_serve_streams(protocol, announce))


def uvloop_protocol(protocol: str, announce: Announce) -> None:
    _run_uvloop(_serve_protocol(protocol, announce))


def uvloop_streams(protocol: str, announce: Announce) -> None:
    _run_uvloop(_serve_streams(protocol, announce))


def _run_uvloop(serving: Coroutine[Any, Any, None]) -> None:
    try:
        import uvloop
    except ImportError:
        serving.close()
        raise
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serving)
