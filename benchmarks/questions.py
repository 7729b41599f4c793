"""What is asked of the sites, and how the answer is recognised, byte by byte where that can be.

Only the client side uses it. A reply holds the time of day, which no client can know: in an expected reply those bytes
are zeros, and any byte passes for a zero. All others must be the very same.
"""

from __future__ import annotations

import socket
import xmlrpc.client
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler

from benchmarks.load import Load, connect, rest_of
from benchmarks.sites import DIRECTORY, answer, body_for
from benchmarks.tiny import END_OF_HEAD
from benchmarks.tiny import answer as answer_tiny

ANY = b"\0"
DATE_BYTES = len("Thu, 01 Jan 1970 00:00:00 GMT")
FILES = sorted(path.name for path in DIRECTORY.glob("*.py"))
AGENT = "User-Agent: curl/8.5.0\r\nAccept: */*\r\n"


def http_request(connection: int, turn: int) -> bytes:
    """A request such as curl sends, with the five headers that most clients have."""
    return (f"GET /{connection:05d}/{turn} HTTP/1.1\r\nHost: localhost:8000\r\n{AGENT}"
            "Accept-Encoding: gzip, deflate\r\nConnection: keep-alive\r\n\r\n").encode()


def http_reply(request: bytes) -> bytes:
    """The whole reply to an `http_request`, its date unknown."""
    body = body_for(path_of(request))
    server = f"{BaseHTTPRequestHandler.server_version} {BaseHTTPRequestHandler.sys_version}"
    head = (f"HTTP/1.1 200 OK\r\nServer: {server}\r\nDate: {'?' * DATE_BYTES}\r\n"
            f"Content-Type: text/plain\r\nContent-Length: {len(body)}\r\n\r\n")
    return head.encode().replace(b"?" * DATE_BYTES, ANY * DATE_BYTES) + body


def path_of(request: bytes) -> str:
    return request.split(b" ", 2)[1].decode()


class HttpLoad(Load):
    """A `Load` of `http_request`s."""

    def __init__(self, connections: Sequence[socket.socket], turns: Sequence[Sequence[bytes]], *, spin: bool) -> None:
        replies = [[http_reply(request) for request in turn] for turn in turns]
        super().__init__(connections, turns, replies, spin=spin)

    def rest_of(self, expected: bytes, data: bytes) -> bytes:
        """What is still to come; b"" when this was all."""
        begin, end = expected.find(ANY, 0, len(data)), expected.rfind(ANY, 0, len(data)) + 1
        if end:
            data = data[:begin] + ANY * (end - begin) + data[end:]
        return b"" if data == expected else rest_of(expected, data)


def open_http(port: int, turns: Sequence[Sequence[bytes]], spin: bool) -> HttpLoad:
    return HttpLoad(connect(port, len(turns[0])), turns, spin=spin)


def open_tiny(port: int, turns: Sequence[Sequence[bytes]], spin: bool) -> Load:
    """The same requests, to servers whose replies are those of `tiny.answer`."""
    replies = [[answer_tiny(request.removesuffix(END_OF_HEAD)) for request in turn] for turn in turns]
    return Load(connect(port, len(turns[0])), turns, replies, spin=spin)


# One question for each site, of about a hundred bytes, and the body that answers it.

def question(protocol: str, number: int, *, close: bool) -> tuple[bytes, bytes]:
    """A request, and the body that must come back; another one for another number."""
    ends = f"Connection: {'close' if close else 'keep-alive'}\r\n"
    if protocol == "xmlrpc":
        return _call(number, ends)
    path = f"/{FILES[number % len(FILES)]}?{number}" if protocol == "files" else f"/{number}"
    body = (DIRECTORY / FILES[number % len(FILES)]).read_bytes() if protocol == "files" else body_for(path)
    return f"GET {path} HTTP/1.1\r\nHost: localhost\r\n{AGENT}{ends}\r\n".encode(), body


def _call(number: int, ends: str) -> tuple[bytes, bytes]:
    body = (f"<methodCall><methodName>answer</methodName><params><param><value><int>{number}</int></value></param>"
            "</params></methodCall>")
    head = f"POST /RPC2 HTTP/1.1\r\nHost: localhost\r\n{ends}Content-Length: {len(body)}\r\n\r\n"
    return (head + body).encode(), xmlrpc.client.dumps((answer(number),), methodresponse=True).encode()


def is_right(reply: bytes, body: bytes) -> bool:
    """Is this a whole reply, 200, with that body and the length said in the head?"""
    head, _, rest = reply.partition(b"\r\n\r\n")
    version, _, status = head.partition(b"\r\n")[0].partition(b" ")
    length = b"\r\ncontent-length: %d\r\n" % len(body)
    return version.startswith(b"HTTP/1.") and status[:4] == b"200 " and rest == body and length in head.lower() + b"\r\n"
