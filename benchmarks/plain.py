"""Blocking handlers of small protocols, as the documentation of `socketserver` would write them.

They are for `ways`: a thread for each connection, framed, greenlet. Nothing in them knows which one it is.
"""

from __future__ import annotations

from socketserver import StreamRequestHandler

from benchmarks.tiny import answer

RECEIVE_BYTES = 65536


class Plain(StreamRequestHandler):
    disable_nagle_algorithm = True


class Echo(Plain):
    def handle(self) -> None:
        while data := self.request.recv(RECEIVE_BYTES):
            self.request.sendall(data)


class EchoLines(Plain):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


class Close(Plain):
    def handle(self) -> None:
        self.request.sendall(self.request.recv(RECEIVE_BYTES))


class Tiny(Plain):
    def handle(self) -> None:
        while head := self._head():
            self.wfile.write(answer(head))

    def _head(self) -> bytes:
        lines = []
        while (line := self.rfile.readline()) not in (b"", b"\r\n"):
            lines.append(line)
        return b"".join(lines).removesuffix(b"\r\n")


HANDLERS: dict[str, type[StreamRequestHandler]] = {"echo": Echo, "lines": EchoLines, "close": Close, "tiny": Tiny}
