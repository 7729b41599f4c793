"""Who serves: one handler for each way of reading, all of which do what a request says.

What it is: coroutines that read by every method of a stream, handler classes for frames, functions for packets. What it
is not: the model of what must come back; see `wire`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from typing import TYPE_CHECKING, Any

from reactor import Datagram, HttpRequests, Inbox, LengthPrefixed, Lines, Need, Stream, sleep, timeout
from reactor.base_server import BaseServer
from reactor.request_handlers import StreamRequestHandler
from reactor.servers import TCPServer

from . import wire

if TYPE_CHECKING:
    from .play import Play

TIMEOUT_S = 0.3


class PlannedError(Exception):
    """What handlers raise because they were asked to."""


class Fragile(Lines):
    """A framing of a user's that fails, where no handler can catch it."""

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        frame = super().next_frame(inbox, eof)
        if isinstance(frame, bytes) and b" garbled " in frame:
            raise PlannedError("planned")
        return frame


async def perform(play: Play, stream: Stream, payload: bytes, form: str) -> bool:
    """Do what a request says; False: the handler shall return."""
    name, verb, amount = wire.parsed(payload)
    if verb == "sleep":
        await sleep(amount)
    elif verb == "timeout":
        try:
            async with timeout(TIMEOUT_S):
                await sleep(amount)
        except TimeoutError:
            pass
    elif verb == "task":
        await stream.spawn(sleep, amount).wait()
    elif verb == "beside":
        stream.spawn(sleep, amount)
    for body in wire.bodies(name, verb, amount):
        stream.write(wire.answer(form, body))
        if verb == "pieces":
            await stream.drain()
    return await _leave(play, stream, verb)


async def _leave(play: Play, stream: Stream, verb: str) -> bool:
    """What a request asks for behind its answer."""
    if verb == "close":
        stream.close()
    elif verb == "abort":
        stream.abort("planned")
    elif verb == "half":
        stream.write_eof()
        while await stream.read_some():
            pass
    elif verb == "fail":
        raise PlannedError("planned")
    else:
        play.act(verb, stream)
    return verb not in wire.LAST


def by_lines(play: Play) -> Any:
    async def by_lines(stream: Stream) -> None:
        while line := await stream.readline():
            if not await perform(play, stream, line[:-1], wire.LINES):
                return

    return by_lines


def by_frames(play: Play) -> Any:
    async def by_frames(stream: Stream) -> None:
        async for line in stream.frames(Fragile()):
            if not await perform(play, stream, line.rstrip(b"\n"), wire.LINES):
                return

    return by_frames


def until(play: Play) -> Any:
    async def until(stream: Stream) -> None:
        while True:
            line = await stream.readuntil(b"\n")
            if not await perform(play, stream, line[:-1], wire.LINES):
                return

    return until


def by_hand(play: Play) -> Any:
    """Lines, split by the handler itself; it stops at one that no limit allows."""

    async def by_hand(stream: Stream) -> None:
        held = b""
        while data := await stream.read_some(100 if len(held) % 2 else 65536):
            *lines, held = (held + data).split(b"\n")
            for line in lines:
                if line[:1] == b"y" or not await perform(play, stream, line, wire.LINES):
                    return

    return by_hand


def prefixed(play: Play) -> Any:
    async def prefixed(stream: Stream) -> None:
        async for payload in stream.frames(LengthPrefixed(4)):
            if not await perform(play, stream, payload, wire.PREFIXED):
                return

    return prefixed


def exactly(play: Play) -> Any:
    async def exactly(stream: Stream) -> None:
        while True:
            size = int.from_bytes(await stream.readexactly(4), "big")
            payload = await stream.readexactly(size, max_bytes=stream.limits.frame_bytes)
            if not await perform(play, stream, payload, wire.PREFIXED):
                return

    return exactly


def mixed(play: Play) -> Any:
    """The framing is switched twice a request."""

    async def mixed(stream: Stream) -> None:
        while line := await stream.readline(max_bytes=20):
            payload = await stream.readexactly(int(line))
            if not await perform(play, stream, payload, wire.MIXED):
                return

    return mixed


class Framed(StreamRequestHandler):
    """What handler classes have in common: one request a frame."""

    form = wire.LINES

    def payload(self) -> bytes:
        """Return the request; b"" at the end of the frame."""
        return self.rfile.readline()[:-1]

    def handle(self) -> None:
        while payload := self.payload():
            name, verb, amount = wire.parsed(payload)
            for body in wire.bodies(name, verb, amount):
                self.wfile.write(wire.answer(self.form, body))
            if verb == "fail":
                raise PlannedError("planned")
            if verb == "abort":
                self.request.abort("planned")
            self.server.play.act(verb, self.request)
            if verb == "close" or (verb in wire.LAST and self.form == wire.PREFIXED):
                self.request.close()  # who has read to the end of its frame wants another one
            if verb in wire.LAST:
                return


class FramedPrefixed(Framed):
    """One frame is one payload, which a second read finds the end of."""

    form = wire.PREFIXED

    def payload(self) -> bytes:
        return self.rfile.read()[4:]


class Http(BaseHTTPRequestHandler):
    """An ordinary handler of http.server."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        name, verb, amount = wire.parsed(payload)
        for body in wire.bodies(name, verb, amount):
            self.send_response_only(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)
        if verb == "fail":
            raise PlannedError("planned")
        if verb == "abort":
            self.request.abort("planned")
        if verb == "close":
            self.request.close()
        self.close_connection |= verb in wire.LAST
        self.server.play.act(verb, self.request)  # type: ignore[attr-defined]

    do_POST = do_GET

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


class Hosted(TCPServer):
    """A server on a simulated socket."""

    def __init__(self, sock: Any, handler: Any, play: Play) -> None:
        BaseServer.__init__(self, sock.getsockname(), handler)
        self.socket, self.play = sock, play

    def handle_error(self, request: Any, client_address: Any) -> None:
        error = sys.exc_info()[1]
        assert error is not None
        self.play.errors.append(error)


def echo_packet(play: Play) -> Any:
    def echo_packet(packet: Datagram) -> None:
        packet.reply(b"=" + packet.data)

    return echo_packet


def late_packet(play: Play) -> Any:
    async def late_packet(packet: Datagram) -> None:
        await sleep(0.1)
        packet.reply(b"=" + packet.data)

    return late_packet


PACKETS = {"echo_packet": echo_packet, "late_packet": late_packet}
COROUTINES: dict[str, tuple[Callable[[Play], Any], str]] = {
    "by_lines": (by_lines, wire.LINES), "by_frames": (by_frames, wire.LINES), "until": (until, wire.LINES),
    "by_hand": (by_hand, wire.LINES), "prefixed": (prefixed, wire.PREFIXED), "exactly": (exactly, wire.PREFIXED),
    "mixed": (mixed, wire.MIXED),
}  # fmt: skip
FRAMED: dict[str, tuple[Any, str, Any]] = {
    "framed_lines": (Framed, wire.LINES, Lines()),
    "framed_prefixed": (FramedPrefixed, wire.PREFIXED, LengthPrefixed(4)),
    "framed_http": (Http, wire.HTTP, HttpRequests()),
}


def form_of(way: str) -> str:
    """Return how a handler's requests lie on the wire."""
    return COROUTINES[way][1] if way in COROUTINES else FRAMED[way][1]


def listen(play: Play, at: str, way: str) -> Any:
    """Have a handler listen somewhere."""
    reactor = play.world.reactor
    if way in PACKETS:
        return reactor.listen(at, PACKETS[way](play))
    if way in COROUTINES:
        return reactor.listen(at, COROUTINES[way][0](play))
    handler, _, framing = FRAMED[way]
    sock = reactor._socket_at(at, reactor.limits.backlog)
    try:
        return reactor.add(Hosted(sock, handler, play), framing=framing, name=way)  # type: ignore[arg-type]
    except BaseException:
        sock.close()
        raise
