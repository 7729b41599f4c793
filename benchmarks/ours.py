"""This library's coroutine handlers; the framed and greenlet ones are unmodified blocking handlers, in `ways`.

Our handlers do not await `drain`: the reactor stops resuming a handler whose peer does not read.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from benchmarks.bare import LISTENERS, Announce
from benchmarks.tiny import END_OF_HEAD, answer
from reactor import Datagram, EndOfStream, Reactor, Stream

MANY = 100_000


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


async def lines(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


async def close(stream: Stream) -> None:
    stream.write(await stream.read_some())


async def tiny(stream: Stream) -> None:
    try:
        while True:
            stream.write(answer((await stream.readuntil(END_OF_HEAD))[:-len(END_OF_HEAD)]))
    except EndOfStream:
        pass


def packets(packet: Datagram) -> None:
    packet.reply(packet.data)


HANDLERS: dict[str, Callable[..., Any]] = {
    "echo": echo, "many": echo, "lines": lines, "close": close, "tiny": tiny, "udp": packets,
}


def coroutine(protocol: str, announce: Announce) -> None:
    scheme = "udp" if protocol == "udp" else "tcp"
    with Reactor(max_connections=MANY) as loop:
        announce(*[loop.listen(f"{scheme}://127.0.0.1:0", HANDLERS[protocol]).port
                   for _ in range(LISTENERS if protocol == "many" else 1)])
        loop.run()
