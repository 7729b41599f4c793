"""Handlers and clients whose conversations the tests record, on real sockets."""

import socket
from pathlib import Path
from typing import Any

from reactor import Datagram, Lines, Reactor, Recorder, Stream
from reactor.recording import Recording
from reactor.socketserver import StreamRequestHandler
from tests.driving import CLIENT_S, reset, turn_until


async def upper(stream: Stream) -> None:
    """Answer each line in capitals; fail at b"boom"."""
    while line := await stream.readline():
        if line.startswith(b"boom"):
            raise ValueError(f"refuses {line!r}")
        stream.write(line.upper())


async def mended(stream: Stream) -> None:
    """Do the same, and do not fail."""
    while line := await stream.readline():
        stream.write(line.upper())


def backwards(packet: Datagram) -> None:
    """Answer each packet backwards; fail at b"boom"."""
    if packet.data == b"boom":
        raise ValueError("refuses a packet")
    packet.reply(packet.data[::-1])


class Upper(StreamRequestHandler):
    """Answers each line in capitals, one for each handler."""

    framing = Lines()

    def handle(self) -> None:
        while line := self.rfile.readline():
            if line.startswith(b"boom"):
                raise ValueError("refuses a line")
            self.wfile.write(line.upper())


class Talker:
    """A client on a real socket, in step with the loop.

    Args:
        loop: the loop.
        listener: whom it calls.
    """

    def __init__(self, loop: Reactor, listener: Any) -> None:
        self.loop = loop
        before = max((row.id for row in loop.table), default=0)
        self.sock = socket.create_connection(listener.address, CLIENT_S)
        turn_until(loop, lambda: any(row.id > before and row.kind == "stream" for row in loop.table))
        (self.row,) = [row for row in loop.table if row.id > before and row.kind == "stream"]

    def say(self, data: bytes) -> None:
        """Send a piece, and wait until it has arrived."""
        wanted = self.row.bytes_in + len(data)
        self.sock.sendall(data)
        turn_until(self.loop, lambda: self.row.bytes_in >= wanted or self.row.fd < 0)

    def hang_up(self, how: str = "eof") -> None:
        """End, in good order or with a reset, and wait until the row has ended."""
        if how == "reset":
            reset(self.sock)
        else:
            self.sock.shutdown(socket.SHUT_WR)
        turn_until(self.loop, lambda: self.row.fd < 0)
        self.sock.close()


def recorded(path: Path, handler: Any, told: list[list[bytes]], hangs_up: list[str], **keywords: Any) -> Recording:
    """Record some conversations, one after the other, and return the recording."""
    options = keywords.pop("options", {})
    with Recorder(path, **{"redact": None, **keywords}) as recorder, Reactor(observers=[recorder]) as loop:
        listener = loop.listen("tcp://127.0.0.1:0", handler, name="upper", **options)
        for pieces, end in zip(told, hangs_up, strict=True):
            talker = Talker(loop, listener)
            for piece in pieces:
                talker.say(piece)
            talker.hang_up(end)
    return Recording.load(path)
