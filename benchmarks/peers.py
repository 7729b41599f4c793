"""The other servers, each written the way its own documentation would write it, and the one table of all.

To add a peer, write one function and one line of `SERVERS`. The function gets the protocol to speak ("echo": send back
what came; "lines": send back every line) and `announce`, which it calls with its port once it is listening; then it
serves until the process is killed. It imports what it needs inside: a package that is not installed then leaves its own
row out of the table, and nobody else's start-up or memory pays for it.

Two house rules keep the comparison fair. TCP_NODELAY is on everywhere (asyncio sets it by itself). And a peer is used
the way that is *safe* with it: asyncio's streams await `drain`, for without it a slow reader fills the memory; our
own handler does not, because the reactor stops resuming a handler whose peer does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from benchmarks import bare

if TYPE_CHECKING:
    import asyncio

    from reactor import Stream

ServerFunction = Callable[[str, bare.Announce], None]


def asyncio_protocol(protocol: str, announce: bare.Announce) -> None:
    import asyncio

    class Echo(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            assert isinstance(transport, asyncio.Transport)
            self.transport = transport
            self.tail = b""

        def data_received(self, data: bytes) -> None:
            self.transport.write(data)

    class EchoLines(Echo):
        def data_received(self, data: bytes) -> None:
            *lines, self.tail = (self.tail + data).split(b"\n")
            self.transport.write(b"".join([line + b"\n" for line in lines]))

    async def serve() -> None:
        factory = {"echo": Echo, "lines": EchoLines}[protocol]
        loop = asyncio.get_running_loop()
        await _serve_asyncio(await loop.create_server(factory, "127.0.0.1", 0, backlog=bare.BACKLOG), announce)

    asyncio.run(serve())


def asyncio_streams(protocol: str, announce: bare.Announce) -> None:
    import asyncio

    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(bare.RECEIVE_BYTES):
            writer.write(data)
            await writer.drain()
        writer.close()

    async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
        writer.close()

    async def serve() -> None:
        handler = {"echo": echo, "lines": echo_lines}[protocol]
        await _serve_asyncio(await asyncio.start_server(handler, "127.0.0.1", 0, backlog=bare.BACKLOG), announce)

    asyncio.run(serve())


async def _serve_asyncio(server: asyncio.Server, announce: bare.Announce) -> None:
    announce(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def reactor(protocol: str, announce: bare.Announce) -> None:
    from reactor import Reactor

    async def echo(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(data)

    async def echo_lines(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line)

    with Reactor(max_connections=100_000) as loop:
        listener = loop.listen("tcp://127.0.0.1:0", {"echo": echo, "lines": echo_lines}[protocol])
        announce(listener.port)
        loop.run()


REFERENCE = "bare"
SECOND_REFERENCE = "bare-again"  # the same function in a second process: what it shows is the error of the run

SERVERS: dict[str, ServerFunction] = {
    REFERENCE: bare.epoll,
    SECOND_REFERENCE: bare.epoll,
    "selectors": bare.via_selectors,
    "asyncio-protocol": asyncio_protocol,
    "asyncio-streams": asyncio_streams,
    "reactor": reactor,
}
