"""Unmodified handlers of http.server on a loop, over real sockets: framed, and in greenlets where that makes sense."""

import gc
import hashlib
import http.server
import importlib.util
import os
import random
import re
import resource
import socket
import subprocess
import sys
import threading
import wsgiref.simple_server
import xmlrpc.client
import xmlrpc.server
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import pytest

from reactor import End, FramingError, HttpRequests, Limits, ManualClock, Need, Phase, Reactor, http_handlers
from reactor import socketserver as ours
from tests.driving import only, receive, receive_all, reset, send_all, streams, turn_until, turns, until_gone
from tests.running import Running, descriptors

pytestmark = pytest.mark.usefixtures("no_errors_left")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")

WAYS = ["framed", pytest.param("greenlet", marks=pytest.mark.skipif(
    importlib.util.find_spec("greenlet") is None, reason="needs greenlet"))]  # fmt: skip
both_ways = pytest.mark.parametrize("way", WAYS)

MEGABYTE = 1 << 20
LINE = re.compile(rb"Date: [^\r]*\r\n|Server: [^\r]*\r\n")


class Server(http.server.HTTPServer):
    """The standard library's; it does not ask for the name of this machine, and collects what handlers raise."""

    def server_bind(self) -> None:
        socketserver_bind(self)
        self.server_name, self.server_port = "test", self.server_address[1]
        self.errors: list[Any] = []

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.errors.append(sys.exc_info()[1])


socketserver_bind = http.server.HTTPServer.__mro__[1].server_bind  # type: ignore[attr-defined]


class Echo(http.server.BaseHTTPRequestHandler):
    """Says what it was asked; a body goes back as it was on the wire."""

    protocol_version = "HTTP/1.1"
    calls: list[str]

    def do_GET(self) -> None:
        self.answer(b"GET " + self.path.encode())

    def do_POST(self) -> None:
        if "Transfer-Encoding" in self.headers:
            self.answer(self.chunks())
        else:
            self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    def do_HEAD(self) -> None:
        self.answer(b"GET " + self.path.encode())

    def chunks(self) -> bytes:
        """Return the wire bytes of a chunked body."""
        wire = b""
        while True:
            line = self.rfile.readline()
            wire += line
            size = int(line.split(b";")[0], 16)
            if not size:
                break
            wire += self.rfile.read(size + 2)
        while line not in (b"\r\n", b""):
            line = self.rfile.readline()
            wire += line
        return wire

    def answer(self, body: bytes) -> None:
        self.calls.append(f"{self.command} {self.path}")
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


def echo(**attributes: Any) -> Any:
    """Return a class of its own."""
    return type("Echo", (Echo,), {"calls": [], **attributes})


@pytest.fixture
def loop(clock: ManualClock) -> Iterator[Reactor]:
    """Give a reactor on the platform's own selector."""
    with Reactor(clock=clock) as loop:
        yield loop


@pytest.fixture
def serve(loop: Reactor) -> Iterator[Callable[..., Any]]:
    """Give a function that serves a handler class in one of the ways; fail if a handler failed unexpectedly."""
    servers: list[Any] = []

    def serve(handler: Any, way: str = "framed", framing: Any = None, kind: Any = Server, **limits: Any) -> Any:
        server = kind(("127.0.0.1", 0), handler) if isinstance(kind, type) else kind
        servers.append(server)
        bounds = Limits(**limits) if limits else None
        if way == "greenlet":
            return loop.add(server, way="greenlet", limits=bounds)
        return loop.add(server, framing=framing or HttpRequests(), limits=bounds)

    yield serve
    for server in servers:
        server.server_close()
        assert not getattr(server, "errors", ()), [repr(error) for error in server.errors]


def took(listener: Any) -> BaseException:
    """Take the one error of a handler."""
    (error,) = listener.server.errors
    listener.server.errors.clear()
    return error  # type: ignore[no-any-return]


def request(line: str, *fields: str, body: bytes = b"") -> bytes:
    """Return a request of HTTP/1.1, unless the line says otherwise; a body gets its length."""
    first = line if " HTTP/" in line else f"{line} HTTP/1.1"
    length = [f"Content-Length: {len(body)}"] if body else []
    return "\r\n".join([first, "Host: test", *fields, *length, "", ""]).encode() + body


class Reply(NamedTuple):
    status: int
    head: bytes
    body: bytes


def parsed(data: bytes, *, heads: bool = False) -> list[Reply]:
    """Cut replies apart; `heads`: those of HEAD, which have no body."""
    found = []
    while data:
        head, end, data = data.partition(b"\r\n\r\n")
        assert end, head
        length = re.search(rb"\r\nContent-Length: (\d+)", head)
        size = int(length[1]) if length and not heads else 0
        assert len(data) >= size
        found.append(Reply(int(head.split()[1]), head, data[:size]))
        data = data[size:]
    return found


def asked(loop: Reactor, client: socket.socket, data: bytes) -> list[Reply]:
    """Send, and return what comes until the connection has ended."""
    client.sendall(data)
    return parsed(receive_all(loop, client))


def one(loop: Reactor, client: socket.socket, data: bytes) -> Reply:
    """Send a request on a connection that is kept, and return its reply."""
    client.sendall(data)
    return next_reply(loop, client)


def next_reply(loop: Reactor, client: socket.socket) -> Reply:
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        piece = receive(loop, client, 1)
        assert piece, f"the connection ended: {head!r}"
        head += piece
    length = re.search(rb"\r\nContent-Length: (\d+)", head)
    return Reply(int(head.split()[1]), head, receive(loop, client, int(length[1]) if length else 0))


def bodies(replies: list[Reply]) -> list[bytes]:
    assert {reply.status for reply in replies} <= {200}
    return [reply.body for reply in replies]


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def temporary_files() -> int:
    return sum("deleted" in descriptor for descriptor in descriptors())


CLOSE = request("GET /last", "Connection: close")


# -- connections ------------------------------------------------------------------------------------------------------


@both_ways
def test_a_connection_is_kept(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    handler = echo()
    client = connect(serve(handler, way))
    for path in ("/a", "/b", "/c"):
        assert one(loop, client, request(f"GET {path}")).body == b"GET " + path.encode()
    (row,) = streams(loop)
    turn_until(loop, lambda: row.phase is Phase.IDLE)
    assert (row.requests, row.end) == (3, None)
    assert bodies(asked(loop, client, CLOSE)) == [b"GET /last"]
    assert handler.calls == ["GET /a", "GET /b", "GET /c", "GET /last"]


@both_ways
@pytest.mark.parametrize(("line", "fields", "protocol", "kept"), [
    ("GET / HTTP/1.0", [], "HTTP/1.1", False),
    ("GET / HTTP/1.0", ["Connection: keep-alive"], "HTTP/1.1", True),
    ("GET / HTTP/1.1", ["Connection: close"], "HTTP/1.1", False),
    ("GET / HTTP/1.1", [], "HTTP/1.1", True),
    ("GET / HTTP/1.1", [], "HTTP/1.0", False),
    ("GET / HTTP/1.1", ["Connection: keep-alive"], "HTTP/1.0", False),
])  # fmt: skip
def test_who_keeps_a_connection(
    loop: Reactor, connect: Any, serve: Any, way: str, line: str, fields: list[str], protocol: str, kept: bool
) -> None:
    client = connect(serve(echo(protocol_version=protocol), way))
    assert one(loop, client, request(line, *fields)).body == b"GET /"
    if kept:
        assert one(loop, client, request(line, *fields)).body == b"GET /"
    else:
        assert receive_all(loop, client) == b""


@both_ways
def test_http_0_9(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    client = connect(serve(echo(), way))
    client.sendall(b"GET /old\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"GET /old"


@both_ways
def test_head(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    client = connect(serve(echo(), way))
    client.sendall(request("HEAD /abc") + request("HEAD /d", "Connection: close"))
    replies = parsed(receive_all(loop, client), heads=True)
    assert [b"Content-Length: 8" in replies[0].head, b"Content-Length: 6" in replies[1].head] == [True, True]
    assert [reply.status for reply in replies] == [200, 200]


@both_ways
def test_a_method_that_the_handler_does_not_have(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    client = connect(serve(echo(), way))
    assert [reply.status for reply in asked(loop, client, request("BREW /"))] == [501]


# -- pipelining and splits --------------------------------------------------------------------------------------------


@both_ways
def test_fifty_requests_in_one_packet(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    handler = echo()
    client = connect(serve(handler, way))
    data = b"".join(
        request(f"GET /{number}") if number % 3 else request(f"POST /{number}", body=b"%d" % number) for number in range(50)
    )
    replies = bodies(asked(loop, client, data + CLOSE))
    assert replies == [(b"GET /%d" if number % 3 else b"%d") % number for number in range(50)] + [b"GET /last"]
    assert len(handler.calls) == 51


MIX = (
    request("GET /1", "X: y")
    + request("POST /2", body=b"body\r\n\r\n!")
    + request("POST /3", "Transfer-Encoding: chunked") + b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n"
    + b"\r\n" + request("HEAD /4") + request("GET /5")
)  # fmt: skip


@both_ways
def test_every_split_gives_the_same_replies(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    data = MIX if way == "framed" else MIX.replace(b"\r\n\r\n\r\nHEAD", b"\r\n\r\nHEAD")  # http.server takes no empty lines
    listener = serve(echo(), way)
    client = connect(listener)
    client.sendall(data + CLOSE)
    last = receive_all(loop, client)
    expected = LINE.sub(b"", last)
    wire = (b"HTTP/1.1 200 OK", b"GET /1", b"body\r\n\r\n!", b"3;x=y\r\nabc\r\n0\r\nT: u\r\n\r\n")
    assert [expected.count(text) for text in wire] == [6, 1, 1, 1]
    client = connect(listener)
    size = last.rindex(b"HTTP/1.1")
    for at in range(1, len(data)):
        client.sendall(data[:at])
        turns(loop, 2)
        client.sendall(data[at:])
        assert LINE.sub(b"", receive(loop, client, size)) == expected[: expected.rindex(b"HTTP/1.1")], at
    assert bodies(asked(loop, client, CLOSE)) == [b"GET /last"]


@both_ways
def test_byte_by_byte(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    client = connect(serve(echo(), way))
    for byte in MIX[: MIX.index(b"HEAD") - 2] + CLOSE:
        client.sendall(bytes([byte]))
        loop.step(0)
    assert bodies(parsed(receive_all(loop, client)))[:2] == [b"GET /1", b"body\r\n\r\n!"]


# -- bodies -----------------------------------------------------------------------------------------------------------

CHUNKED = ("POST /", "Transfer-Encoding: chunked")


@both_ways
@pytest.mark.parametrize("wire", [
    b"0\r\n\r\n", b"3\r\nabc\r\n0\r\n\r\n", b"3;a=b\r\nabc\r\n1\r\n\n\r\n0\r\nT: u\r\nV: w\r\n\r\n",
    b"a\r\n0123456789\r\n" * 2000 + b"0\r\n\r\n", b"1e240\r\n" + b"\r" * 123456 + b"\r\n0\r\n\r\n",
], ids=["empty", "one", "trailers", "many", "long"])  # fmt: skip
def test_the_wire_bytes_of_chunks_reach_the_handler(loop: Reactor, connect: Any, serve: Any, way: str, wire: bytes) -> None:
    client = connect(serve(echo(), way))
    for _ in range(2):
        send_all(loop, client, request(*CHUNKED) + wire)
        assert next_reply(loop, client).body == wire
    assert bodies(asked(loop, client, CLOSE)) == [b"GET /last"]


@both_ways
@pytest.mark.parametrize("field", ["Expect: 100-continue", "expect: 100-Continue"])
def test_a_client_that_waits_is_told_once_to_go_on(loop: Reactor, connect: Any, serve: Any, way: str, field: str) -> None:
    handler = echo()
    client = connect(serve(handler, way))
    for _ in range(2):
        client.sendall(request("POST /", field, "Content-Length: 4"))
        assert receive(loop, client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
        turns(loop, 5)
        client.sendall(b"bo")
        turns(loop, 5)
        client.sendall(b"dy")
        reply = next_reply(loop, client)
        assert (reply.status, reply.body) == (200, b"body")
    assert bodies(asked(loop, client, CLOSE)) == [b"GET /last"]
    assert handler.calls == ["POST /"] * 2 + ["GET /last"]


def test_a_client_that_does_not_wait_is_not_told(loop: Reactor, connect: Any, serve: Any) -> None:
    client = connect(serve(echo()))
    replies = asked(loop, client, request("POST /", "Expect: 100-continue", body=b"body") + CLOSE)
    assert bodies(replies) == [b"body", b"GET /last"]


@needs_proc
@both_ways
def test_a_large_body_arrives_byte_for_byte(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    """Framed, it is on disk while the handler reads it."""
    data, files = noise(5 * MEGABYTE), []

    def do_POST(self: Any) -> None:
        files.append(temporary_files())
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.answer(hashlib.sha256(body).digest())

    client = connect(serve(echo(do_POST=do_POST), way))
    before = temporary_files()
    for _ in range(2):
        send_all(loop, client, request("POST /", body=data))
        assert next_reply(loop, client).body == hashlib.sha256(data).digest()
        assert temporary_files() == before
    assert files == [before + (way == "framed")] * 2
    assert bodies(asked(loop, client, CLOSE)) == [b"GET /last"]


@needs_proc
def test_a_large_body_that_nobody_reads_is_passed_over(loop: Reactor, connect: Any, serve: Any) -> None:
    handler = echo(do_POST=lambda self: self.answer(b"no thanks"))
    client, before = connect(serve(handler)), temporary_files()
    send_all(loop, client, request("POST /", body=(CLOSE * 40_000)[: 2 * MEGABYTE]) + request("GET /b"))
    assert [next_reply(loop, client).body for _ in range(2)] == [b"no thanks", b"GET /b"]
    assert handler.calls == ["POST /", "GET /b"]
    assert temporary_files() == before


@needs_proc
@pytest.mark.parametrize("chunked", [False, True])
@both_ways
def test_a_reset_in_the_middle_of_a_request(loop: Reactor, connect: Any, serve: Any, way: str, chunked: bool) -> None:
    handler = echo()
    listener = serve(handler, way)
    before = temporary_files()
    client, other = connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    half = b"100000\r\n" + bytes(MEGABYTE) + b"\r\n7fffff\r\n" if chunked else b""
    head = request(*CHUNKED) if chunked else request("POST /", "Content-Length: 9000000")
    send_all(loop, client, head + half + bytes(3 * MEGABYTE))
    row = streams(loop)[0]
    turn_until(loop, lambda: row.bytes_in >= 3 * MEGABYTE)
    assert temporary_files() == before + (way == "framed")
    reset(client)
    until_gone(loop, row)
    assert row.end in (End.PEER_RESET, End.PEER_CLOSED)
    assert temporary_files() == before
    assert one(loop, other, request("GET /b")).body == b"GET /b"
    assert handler.calls == ["GET /b"]
    listener.server.errors.clear()  # of the greenlet: a ConnectionResetError, as in a thread


# -- refusals ---------------------------------------------------------------------------------------------------------

SMALL = HttpRequests(head_bytes=300, body_bytes=1000)
REFUSED = {
    "folded": (request("GET /", "A: b", " c"), 400),
    "bare LF": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "space before colon": (request("GET /", "A : b"), 400),
    "NUL": (request("GET /", "A: \0"), 400),
    "no colon": (request("GET /", "A"), 400),
    "length of letters": (request("POST /", "Content-Length: ten"), 400),
    "length with a sign": (request("POST /", "Content-Length: +3") + b"abc", 400),
    "bad chunk": (request(*CHUNKED) + b"xyz\r\n", 400),
    "body too long": (request("POST /", "Content-Length: 1001"), 413),
    "chunks too long": (request(*CHUNKED) + b"3e9\r\n", 413),
    "line too long": (b"GET /" + b"a" * 400, 414),
    "unknown expectation": (request("POST /", "Expect: 200-maybe", "Content-Length: 1") + b"a", 417),
    "head too long": (request("GET /", "A: " + "b" * 400), 431),
    "unknown coding": (request("POST /", "Transfer-Encoding: gzip"), 501),
}


@pytest.mark.parametrize(("data", "status"), REFUSED.values(), ids=REFUSED)
def test_a_refusal_ends_the_connection_and_nothing_behind_it_is_run(
    loop: Reactor, connect: Any, serve: Any, data: bytes, status: int
) -> None:
    handler = echo()
    client = connect(serve(handler, framing=SMALL))
    row = only(loop)
    replies = asked(loop, client, request("GET /first") + data + request("GET /secret") * 3)
    assert [reply.status for reply in replies] == [200, status]
    assert b"\r\nConnection: close" in replies[1].head
    assert handler.calls == ["GET /first"]
    assert row.end is End.BAD_FRAME


@pytest.mark.parametrize(
    "part", [b"GET / HT", request("POST /", "Content-Length: 5") + b"abc", request(*CHUNKED) + b"5\r\nab"]
)
def test_who_takes_too_long_is_told(loop: Reactor, connect: Any, serve: Any, clock: ManualClock, part: bytes) -> None:
    handler = echo()
    client = connect(serve(handler, request_s=5))
    assert one(loop, client, request("GET /first")).status == 200
    client.sendall(part)
    (row,) = streams(loop)
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    clock.advance(5.1)
    turn_until(loop, lambda: row.end)
    client.sendall(b"de\r\n0\r\n\r\n" + request("GET /secret"))
    assert [reply.status for reply in parsed(receive_all(loop, client))] == [408]
    assert handler.calls == ["GET /first"]
    assert row.end is End.LIMIT


def test_who_says_nothing_is_told_nothing(loop: Reactor, connect: Any, serve: Any, clock: ManualClock) -> None:
    client, kept = (connect(listener) for listener in [serve(echo(), idle_s=5)] * 2)
    assert one(loop, kept, request("GET /")).status == 200
    turn_until(loop, lambda: len(streams(loop)) == 2)
    clock.advance(5.1)
    assert [receive_all(loop, client), receive_all(loop, kept)] == [b"", b""]


SECRET = request("GET /secret")
SMUGGLED = {
    "CL.TE": request("POST /a", "Transfer-Encoding: chunked", f"Content-Length: {5 + len(SECRET)}") + b"0\r\n\r\n" + SECRET,
    "TE.CL": request("POST /a", "Content-Length: 4", "Transfer-Encoding: chunked") + b"5c\r\n" + SECRET + b"\r\n0\r\n\r\n",
    "two codings": request("POST /a", "Transfer-Encoding: chunked", "Transfer-Encoding: x") + b"0\r\n\r\n" + SECRET,
    "two lengths": request("POST /a", "Content-Length: 0", f"Content-Length: {len(SECRET)}") + SECRET,
    "list of lengths": request("POST /a", f"Content-Length: 0, {len(SECRET)}") + SECRET,
    "signed length": request("POST /a", "Content-Length: -0") + SECRET,
    "form feed": request("POST /a", "Transfer-Encoding: \x0cchunked") + b"0\r\n\r\n" + SECRET,
    "space before colon": request("POST /a", f"Content-Length : {len(SECRET)}") + SECRET,
    "folded": request("POST /a", "X: y", f" Content-Length: {len(SECRET)}") + SECRET,
    "bare CR": request("POST /a", f"X: y\rContent-Length: {len(SECRET)}") + SECRET,
    "bare LF": request("POST /a", f"X: y\nContent-Length: {len(SECRET)}") + SECRET,
    "coding in 1.0": request("POST /a HTTP/1.0", CHUNKED[1], "Connection: keep-alive") + b"0\r\n\r\n" + SECRET,
    "chunk without CRLF": request("POST /a", "Transfer-Encoding: chunked") + b"1\r\naXX0\r\n\r\n" + SECRET,
    "LF in an extension": request("POST /a", "Transfer-Encoding: chunked") + b"1;\nxx\r\na\r\n0\r\n\r\n" + SECRET,
    "length in a trailer": request("POST /a", "Transfer-Encoding: chunked") + b"0\r\nContent-Length: 9\r\n\r\n" + SECRET,
}
CARRIED = {
    "GET with a body": request("GET /a", body=SECRET),
    "one that was asked for": request("GET /a", "Expect: 100-continue", body=SECRET),
    "chunks that nobody reads": request("GET /a", CHUNKED[1]) + b"%x\r\n%b\r\n0\r\n\r\n" % (len(SECRET), SECRET),
    "behind empty lines": request("GET /a", body=b"\r\n\r\n" + SECRET),
}


@pytest.mark.parametrize("data", SMUGGLED.values(), ids=SMUGGLED)
def test_a_request_that_two_readers_would_read_differently_is_refused(
    loop: Reactor, connect: Any, serve: Any, data: bytes
) -> None:
    handler = echo()
    client = connect(serve(handler))
    replies = asked(loop, client, request("GET /first") + data)
    assert [replies[0].status, replies[-1].status // 100, len(replies)] in ([200, 4, 2], [200, 5, 2])
    assert handler.calls == ["GET /first"]


class Wrapping(Echo):
    """Has a handle_one_request of its own, as those that log or catch have."""

    def handle_one_request(self) -> None:
        super().handle_one_request()


@pytest.mark.parametrize("data", CARRIED.values(), ids=CARRIED)
@pytest.mark.parametrize("base", [Echo, Wrapping])
def test_a_body_that_nobody_reads_is_no_request(loop: Reactor, connect: Any, serve: Any, data: bytes, base: Any) -> None:
    handler = type("Own", (base,), {"calls": []})
    client = connect(serve(handler))
    for _ in range(2):
        assert bodies([one(loop, client, data)]) == [b"GET /a"]  # exactly one, and the connection is kept
    assert bodies(asked(loop, client, data + CLOSE)) == [b"GET /a", b"GET /last"]
    assert handler.calls == ["GET /a"] * 3 + ["GET /last"]


# -- many at once -----------------------------------------------------------------------------------------------------


@pytest.fixture
def many_descriptors() -> Iterator[None]:
    """Allow as many descriptors as the system does."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limits[1] != resource.RLIM_INFINITY and limits[1] < 2500:
        pytest.skip("needs 2,500 descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(limits[0], 2500), limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, limits)


def connected(loop: Reactor, connect: Any, listener: Any, count: int) -> list[socket.socket]:
    clients = []
    for number in range(count):
        clients.append(connect(listener))
        if number % 100 == 0:
            turns(loop, 3)  # or the backlog is full
    turn_until(loop, lambda: len(streams(loop)) == count)
    return clients


class Deep(Server):
    """With a backlog for these tests."""

    request_queue_size = 1024


@pytest.mark.usefixtures("many_descriptors")
def test_a_thousand_idle_connections_cost_nothing(loop: Reactor, connect: Any, serve: Any) -> None:
    listener = serve(echo(), kind=Deep)
    threads = threading.active_count()
    clients = connected(loop, connect, listener, 1000)
    for client in clients[:10]:
        assert one(loop, client, request("GET /")).status == 200  # they have spoken once
    turns(loop)
    gc.collect()
    assert {(row.phase, row.inbox, row.pending) for row in streams(loop)} == {(Phase.IDLE, None, 0)}
    assert len({id(row.framing) for row in streams(loop)}) == 1
    assert threading.active_count() == threads
    touched: list[Any] = []
    settle = type(streams(loop)[0]).settle
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(streams(loop)[0]), "settle", lambda row: touched.append(row) or settle(row))
        turns(loop, 10)
        assert not touched
        assert one(loop, clients[0], request("GET /a")).body == b"GET /a"
    assert len(set(map(id, touched))) == 1, "one row works, and no other is looked at"


@pytest.mark.usefixtures("many_descriptors")
@both_ways
def test_five_hundred_requests_at_once(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    handler = echo()
    clients = connected(loop, connect, serve(handler, way, kind=Deep), 500)
    for number, client in enumerate(clients):
        client.sendall(request(f"GET /{number}", "Connection: close"))
    for number, client in enumerate(clients):
        assert bodies(parsed(receive_all(loop, client))) == [b"GET /%d" % number]
    assert len(handler.calls) == len(set(handler.calls)) == 500


@needs_proc
@both_ways
def test_a_slow_reader_holds_nobody_up(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    data = noise(40 * MEGABYTE)
    handler = echo(do_GET=lambda self: self.answer(data if self.path == "/big" else b"small"))
    listener = serve(handler, way)
    before = temporary_files()
    slow, other = connect(listener), connect(listener)
    slow.sendall(request("GET /big"))
    turn_until(loop, lambda: handler.calls)
    assert temporary_files() == before + (way == "framed")
    for _ in range(3):
        assert one(loop, other, request("GET /")).body == b"small"
    reply = next_reply(loop, slow)
    assert (len(reply.body), reply.body == data) == (len(data), True)
    assert one(loop, slow, request("GET /")).body == b"small"
    turns(loop)
    assert temporary_files() == before


@both_ways
@pytest.mark.parametrize("sizes", [{"rbufsize": 0}, {"rbufsize": MEGABYTE, "wbufsize": -1}])
def test_handlers_with_other_buffers(loop: Reactor, connect: Any, serve: Any, way: str, sizes: dict[str, int]) -> None:
    client = connect(serve(echo(**sizes), way))
    for _ in range(2):
        assert one(loop, client, request("POST /", body=b"body")).body == b"body"
    assert bodies(asked(loop, client, CLOSE)) == [b"GET /last"]


# -- handlers that fail -----------------------------------------------------------------------------------------------


class Oops(Exception):
    """What a handler raises."""


@both_ways
@pytest.mark.parametrize("late", [False, True])
def test_a_handler_that_raises_ends_its_connection(loop: Reactor, connect: Any, serve: Any, way: str, late: bool) -> None:
    """Without a reply, as with http.server."""

    def do_PUT(self: Any) -> None:
        if late:
            self.answer(b"so far")
        raise Oops

    listener = serve(echo(do_PUT=do_PUT), way)
    client, other = connect(listener), connect(listener)
    assert bodies(asked(loop, client, request("PUT /") + request("GET /secret"))) == [b"so far"] * late
    assert isinstance(took(listener), Oops)
    assert one(loop, other, request("GET /")).status == 200


# -- what is built on http.server -------------------------------------------------------------------------------------


def fetched(loop: Reactor, function: Callable[[], Any]) -> Any:
    """Call a function that asks and waits, in a thread, while the loop turns."""
    client = Running(function)
    turn_until(loop, lambda: not client.thread.is_alive())
    return client.join()


@both_ways
def test_files(loop: Reactor, connect: Any, serve: Any, way: str, tmp_path: Any) -> None:
    (tmp_path / "a.txt").write_bytes(data := noise(3 * MEGABYTE))

    class Files(http.server.SimpleHTTPRequestHandler):
        log_message = Echo.log_message

        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(tmp_path))

    listener = serve(Files, way)
    (reply,) = asked(loop, connect(listener), request("GET /a.txt"))
    assert (reply.status, reply.body == data) == (200, True)
    assert asked(loop, connect(listener), request("GET /b"))[0].status == 404
    assert b'<a href="a.txt">' in asked(loop, connect(listener), request("GET /"))[0].body


class Quiet(wsgiref.simple_server.WSGIRequestHandler):
    """Writes no log."""

    log_message = Echo.log_message


class WsgiServer(wsgiref.simple_server.WSGIServer):
    """Does not ask for the name of this machine."""

    def server_bind(self) -> None:
        Server.server_bind(self)  # type: ignore[arg-type]
        self.setup_environ()

    handle_error = Server.handle_error


@both_ways
def test_wsgiref(loop: Reactor, connect: Any, serve: Any, way: str) -> None:
    seen: list[Any] = []

    def app(environ: Any, start_response: Any) -> Any:
        body = environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))
        seen.append((environ["REQUEST_METHOD"], environ["PATH_INFO"], environ["QUERY_STRING"], environ["HTTP_X_A"]))
        write = start_response("201 Made", [("X-Reply", "yes")])
        write(b"written,")
        return [body[::-1], b"!"]

    server = wsgiref.simple_server.make_server("127.0.0.1", 0, app, WsgiServer, Quiet)
    listener = serve(None, way, kind=server)
    client = connect(listener)
    client.sendall(request("POST /p?q=1", "X-A: b", body=b"abc") + SECRET)
    data = receive_all(loop, client)
    assert data.startswith(b"HTTP/1.0 201 Made\r\n")
    assert b"\r\nX-Reply: yes\r\n" in data
    assert data.endswith(b"\r\n\r\nwritten,cba!")
    body = noise(2 * MEGABYTE)
    client = connect(listener)
    send_all(loop, client, request("POST /", "X-A: c", body=body))
    assert receive_all(loop, client).endswith(b"\r\n\r\nwritten," + body[::-1] + b"!")
    assert seen == [("POST", "/p", "q=1", "b"), ("POST", "/", "", "c")]


@both_ways
def test_a_wsgi_application_that_raises_answers_500(loop: Reactor, connect: Any, serve: Any, way: str, capsys: Any) -> None:
    def app(environ: Any, start_response: Any) -> Any:
        raise Oops

    listener = serve(None, way, kind=wsgiref.simple_server.make_server("127.0.0.1", 0, app, WsgiServer, Quiet))
    client = connect(listener)
    client.sendall(request("GET /"))
    assert receive_all(loop, client).startswith(b"HTTP/1.0 500 ")
    assert "Oops" in capsys.readouterr().err


@both_ways
def test_xmlrpc(loop: Reactor, serve: Any, way: str) -> None:
    server = xmlrpc.server.SimpleXMLRPCServer(("127.0.0.1", 0), logRequests=False, allow_none=True)
    server.register_function(lambda a, b: a + b, "add")
    server.register_function(lambda: 1 / 0, "fail")
    server.register_introspection_functions()
    listener = serve(None, way, kind=server)

    def ask() -> Any:
        with xmlrpc.client.ServerProxy(f"http://127.0.0.1:{listener.address[1]}", allow_none=True) as proxy:
            found = [proxy.add(2, 3), proxy.add("x" * MEGABYTE, "y"), proxy.system.listMethods()]
            with pytest.raises(xmlrpc.client.Fault, match="ZeroDivisionError"):
                proxy.fail()
            return found

    five, text, methods = fetched(loop, ask)
    assert (five, text, methods[0]) == (5, "x" * MEGABYTE + "y", "add")


def cgi_server(tmp_path: Any) -> Any:
    script = tmp_path / "cgi-bin" / "it.py"
    script.parent.mkdir()
    script.write_text(f"#!{sys.executable}\nimport os, sys\nn = int(os.environ.get('CONTENT_LENGTH') or 0)\n"
                      "print('Content-Type: text/plain\\n')\nprint('got', sys.stdin.read(n))\n")  # fmt: skip
    script.chmod(0o755)
    return script


CGI = """
import http.server, os, socket, sys, warnings
warnings.simplefilter("ignore")
from reactor import HttpRequests, Reactor
from tests.driving import receive_all

http.server.nobody_uid = os.getuid  # or root's child may not read the script
class Handler(http.server.CGIHTTPRequestHandler):
    def log_message(self, format, *args):
        pass

    def translate_path(self, path):
        return sys.argv[1] + path.split("?")[0]

with Reactor() as loop:
    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    listener = loop.add(server, **({"way": "greenlet"} if sys.argv[2] == "greenlet" else {"framing": HttpRequests()}))
    with socket.create_connection(listener.address) as client:
        client.sendall(b"POST /cgi-bin/it.py HTTP/1.0\\r\\nContent-Length: 4\\r\\n\\r\\nbody")
        sys.stdout.buffer.write(receive_all(loop, client))
"""


@pytest.mark.skipif(sys.version_info >= (3, 15) or not hasattr(os, "fork"), reason="needs CGI and fork")
@both_ways
def test_cgi(tmp_path: Any, way: str) -> None:
    """It hands the descriptor of `rfile` to its child, and a frame has none: it fails, and says so; greenlets can do it."""
    cgi_server(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", CGI, str(tmp_path), way], capture_output=True, timeout=20, check=False,
        cwd=os.path.dirname(os.path.dirname(__file__)),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(b"HTTP/1.0 200 Script output follows\r\n")
    works = way == "greenlet"
    assert (b"got body" in done.stdout) == works, done.stdout
    assert (b"UnsupportedOperation: fileno" in done.stderr) == (not works), done.stderr


def test_busy_rows_pass_on_what_idle_ones_do_not_need(connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """And a head that was checked when it was framed is not checked again."""

    class Hello(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", str(len(self.headers["X"])))
            self.end_headers()
            self.wfile.write(self.headers["X"].encode())

        def log_message(self, *args: object) -> None:
            pass

    def checked_again(head: bytes) -> None:
        raise AssertionError(head)

    monkeypatch.setattr(http_handlers, "_is_plain", checked_again)
    with Reactor() as loop:
        server = http.server.HTTPServer(("127.0.0.1", 0), Hello)
        listener = loop.add(server, framing=HttpRequests())
        clients = [connect(listener) for _ in range(3)]
        for turn in range(3):
            for number, client in enumerate(clients):
                word = f"{turn}-{number}".encode()
                client.sendall(b"GET / HTTP/1.1\r\nX: " + word + b"\r\n\r\n")
                turn_until(loop, lambda: not any(row.inbox_bytes or row.outbox for row in streams(loop)))
                turns(loop)
                assert client.recv(400).endswith(b"\r\n\r\n" + word)
                host: Any = server._host  # type: ignore[attr-defined]
                assert all(row.inbox is None and row.framing is host.framing for row in streams(loop))
                assert len(host.spare) == 1


# -- whose a framing is --------------------------------------------------------------------------------------------------


def posted(loop: Reactor, client: socket.socket, path: str, size: int) -> bytes:
    client.sendall(request(f"POST {path}", body=b"b" * size))
    return receive(loop, client, 12)[9:]


def test_a_framing_that_a_handler_gives_to_a_row_is_nobody_elses(loop: Reactor, serve: Any, connect: Any) -> None:
    class Grants(echo()):  # type: ignore[misc]
        def do_POST(self) -> None:
            super().do_POST()
            if self.path == "/login":
                self.request.framing = HttpRequests(body_bytes=1000)

    listener = serve(Grants, framing=HttpRequests(body_bytes=10))
    granted, other = connect(listener), connect(listener)
    assert posted(loop, granted, "/login", 5) == b"200"
    turns(loop)
    granted.recv(65536)  # the rest of that answer
    assert posted(loop, other, "/", 500) == b"413"
    assert posted(loop, granted, "/", 500) == b"200"


class Thrice(HttpRequests):
    """At most three requests a connection."""

    count = 0

    def fresh(self) -> Any:
        new = super().fresh()
        new.count = 0
        return new

    def next_frame(self, inbox: Any, eof: bool) -> Any:
        frame = super().next_frame(inbox, eof)
        if not isinstance(frame, Need):
            self.count += 1
            if self.count > 3:
                raise FramingError("too many requests")
        return frame


def test_what_a_framing_of_the_program_knows_is_of_one_connection(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(echo(), framing=Thrice())
    clients = connect(listener), connect(listener)
    for _ in range(3):
        for client in clients:
            client.sendall(request("GET /"))
            assert b"200 OK" in receive(loop, client, 17)
            turns(loop)
            client.recv(65536)
    for client in clients:
        client.sendall(request("GET /"))
        assert b"200 OK" not in receive_all(loop, client)


# -- hooks that are put in their place later -----------------------------------------------------------------------------


class OurServer(ours.TCPServer):
    """Of whose framed requests process_request hears, too; the standard module's would shut what has only begun."""


@both_ways
@pytest.mark.parametrize("name", ["finish_request", "process_request"])
def test_a_hook_that_is_put_in_its_place_later_is_called(
    loop: Reactor, serve: Any, connect: Any, way: str, name: str
) -> None:
    calls: list[Any] = []
    listener = serve(echo(), way, kind=OurServer)
    server = listener.server
    stock = getattr(server, name)
    for expected in (0, 1):
        client = connect(listener)
        client.sendall(request("GET /", "Connection: close"))
        assert b"200 OK" in receive_all(loop, client)
        assert len(calls) == expected
        setattr(server, name, lambda *args: calls.append(args) or stock(*args))
