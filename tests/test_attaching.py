"""Putting servers into the table: names, who may be served twice, and what is undone if it fails."""

import errno
import http.server
import selectors
import socket
import socketserver as standard
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, Fixed, HttpRequests, Limits, Lines, Phase, Reactor
from reactor import socketserver as ours
from reactor.attaching import attach
from reactor.hosting import Host
from reactor.stream_hosts import CoroutineHost, FramedHost
from tests.driving import ask, listen, receive_all, streams, turn_until, turns
from tests.running import python

pytestmark = pytest.mark.usefixtures("no_errors_left")
LOOPBACK = ("127.0.0.1", 0)


class Upper(ours.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())
            self.wfile.flush()


class AsyncUpper(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        while line := await self.rfile.readline():
            self.wfile.write(line.upper())


@pytest.fixture
def loop() -> Iterator[Reactor]:
    """Give a reactor on the real clock."""
    with Reactor() as loop:
        yield loop


HOSTS: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    "coroutine": (CoroutineHost, AsyncUpper, {}),
    "framed": (FramedHost, Upper, {"framing": Lines()}),
    "inline": (Host, Upper, {"way": "inline"}),
    "thread": (Host, Upper, {"way": "thread"}),
}
each_way = pytest.mark.parametrize(("host", "handler", "keywords"), HOSTS.values(), ids=HOSTS)


@each_way
def test_the_way_has_its_host(loop: Reactor, host: Any, handler: Any, keywords: dict[str, Any]) -> None:
    server = ours.TCPServer(LOOPBACK, handler)
    listener = loop.add(server, **keywords)
    assert type(server._host) is host
    assert listener.server is server
    assert listener.address == server.server_address
    assert listener.endpoint == f"tcp://127.0.0.1:{server.server_address[1]}"
    assert listener.row.way == server._host.way


def test_greenlets_have_theirs(loop: Reactor) -> None:
    pytest.importorskip("greenlet")
    from reactor.greenlet_hosts import GreenletHost

    server = ours.TCPServer(LOOPBACK, Upper)
    loop.add(server, way="greenlet")
    assert type(server._host) is GreenletHost


def test_greenlets_are_imported_for_nobody_else() -> None:
    python(
        """
        import sys
        from reactor import Lines, Reactor, socketserver
        with Reactor() as loop:
            for keywords in ({"framing": Lines()}, {"way": "inline"}, {"way": "thread"}):
                server = socketserver.TCPServer(("127.0.0.1", 0), socketserver.StreamRequestHandler)
                loop.add(server, **keywords)
        assert not [name for name in sys.modules if "green" in name]
        """
    )


@pytest.mark.parametrize("name", ["", "the shop"])
def test_names_of_listeners(loop: Reactor, name: str) -> None:
    server = ours.TCPServer(LOOPBACK, Upper)
    listener = loop.add(server, framing=Lines(), name=name)
    assert listener.name == (name or f"TCPServer 127.0.0.1:{server.server_address[1]}")


def test_limits_are_the_callers_the_servers_or_the_loops() -> None:
    loops, servers, callers = Limits(idle_s=1), Limits(idle_s=2), Limits(idle_s=3)
    with Reactor(limits=loops) as loop:
        plain, own = ours.TCPServer(LOOPBACK, Upper), ours.TCPServer(LOOPBACK, Upper)
        own.limits = servers
        assert loop.add(plain, framing=Lines()).row.limits == loops
        assert loop.add(own, framing=Lines()).row.limits == servers
        again = ours.TCPServer(LOOPBACK, Upper)
        again.limits = servers
        assert loop.add(again, framing=Lines(), limits=callers).row.limits == callers


@each_way
def test_a_server_is_served_once_at_a_time(
    loop: Reactor, connect: Any, host: Any, handler: Any, keywords: dict[str, Any]
) -> None:
    server = ours.TCPServer(LOOPBACK, handler)
    loop.add(server, **keywords, name="first")
    with pytest.raises(RuntimeError, match="second is served already; close its listener"):
        loop.add(server, **keywords, name="second")
    with Reactor() as another, pytest.raises(RuntimeError, match="served already"):
        another.add(server, **keywords)
    if "inline" not in keywords.values():
        ask(loop, connect(server.server_address), b"a\n", b"A\n")


def test_a_server_may_go_from_loop_to_loop(connect: Any) -> None:
    server = ours.TCPServer(LOOPBACK, Upper)
    for _ in range(2):
        with Reactor() as loop:
            listener = attach(
                loop, server, way=None, framing=Lines(), limits=Limits(), name="", owned=False
            )  # fmt: skip
            ask(loop, connect(listener), b"a\n", b"A\n")
            listener.close()
            turn_until(loop, lambda listener=listener: listener.row.fd < 0)
            assert server._host is None
            assert server.socket.gettimeout() is None  # given back as it was
    server.server_close()


def test_an_owned_server_is_closed_with_the_loop(connect: Any) -> None:
    with Reactor() as loop:
        server = ours.TCPServer(LOOPBACK, Upper)
        loop.add(server, framing=Lines())
    assert server.fileno() == -1


class Refuses:
    """A selector that takes no listening socket."""

    def __init__(self) -> None:
        self.selector = selectors.SelectSelector()

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        raise OSError(errno.ENOSPC, "no room in the selector")

    def __getattr__(self, name: str) -> Any:
        return getattr(self.selector, name)


def test_a_server_that_the_selector_refuses_is_nobodys_guest(loop: Reactor, connect: Any) -> None:
    server = ours.TCPServer(LOOPBACK, Upper)
    with Reactor(selector=Refuses()) as full:  # type: ignore[arg-type]
        with pytest.raises(OSError, match="no room in the selector"):
            full.add(server, framing=Lines())
        assert server._host is None
        assert not list(full.table)
    assert server.fileno() >= 0
    ask(loop, connect(loop.add(server, framing=Lines())), b"a\n", b"A\n")


def test_a_server_whose_socket_was_replaced(loop: Reactor, connect: Any) -> None:
    server = ours.TCPServer(LOOPBACK, Upper)
    server.socket.close()
    server.socket = socket.create_server(LOOPBACK)
    listener = loop.add(server, framing=Lines())
    assert listener.endpoint.endswith(f":{server.socket.getsockname()[1]}")
    ask(loop, connect(server.socket.getsockname()), b"a\n", b"A\n")


# -- servers of another make ------------------------------------------------------------------------------------------


class Web(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    threads: list[int]

    def do_GET(self) -> None:
        self.threads.append(threading.get_ident())
        body = self.path.encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[::-1])

    def log_message(self, *args: Any) -> None:
        pass


GET = b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n"


def answers(loop: Reactor, client: socket.socket, body: bytes) -> None:
    """Step the loop until the client has a whole response with this body."""
    got = bytearray()
    client.setblocking(False)
    for _ in range(500):
        loop.step(0.01)
        try:
            got += client.recv(65536)
        except BlockingIOError:
            continue
        if bytes(got).endswith(b"\r\n\r\n" + body):
            break
    client.settimeout(5)
    assert got.startswith(b"HTTP/1.1 200 OK\r\n")
    assert got.endswith(b"\r\n\r\n" + body), got


@pytest.mark.parametrize("base", [http.server.HTTPServer, http.server.ThreadingHTTPServer])
def test_an_http_server_of_the_standard_library(loop: Reactor, connect: Callable[..., Any], base: Any) -> None:
    handler = type("Web", (Web,), {"threads": []})
    server = base(LOOPBACK, handler)
    listener = loop.add(server, framing=HttpRequests())
    silent, client = connect(listener), connect(listener)
    for path in (b"one", b"two"):
        client.sendall(GET % path)
        answers(loop, client, b"/" + path)
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel")
    turns(loop)
    client.sendall(b"lo")
    answers(loop, client, b"olleh")
    client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    assert receive_all(loop, client).endswith(b"\r\n\r\n/")
    assert set(handler.threads) == {threading.get_ident()}
    assert {row.way for row in streams(loop)} <= {"framed"}
    silent.close()


def test_http_1_0_ends_after_its_response(loop: Reactor, connect: Any) -> None:
    handler = type("Web", (Web,), {"threads": [], "protocol_version": "HTTP/1.0"})
    client = connect(loop.add(http.server.HTTPServer(LOOPBACK, handler), framing=HttpRequests()))
    client.sendall(GET % b"a" + GET % b"b")
    assert receive_all(loop, client).endswith(b"\r\n\r\n/a")


def test_an_xmlrpc_server(loop: Reactor, connect: Any) -> None:
    from xmlrpc.client import dumps, loads
    from xmlrpc.server import SimpleXMLRPCServer

    server = SimpleXMLRPCServer(LOOPBACK, logRequests=False)
    server.register_function(lambda a, b: a + b, "add")
    client = connect(loop.add(server, framing=HttpRequests()))
    for a in (1, 20):
        body = dumps((a, 2), "add").encode()
        client.sendall(b"POST /RPC2 HTTP/1.1\r\nHost: a\r\nContent-Type: text/xml\r\nContent-Length: %d\r\n\r\n" % len(body))
        client.sendall(body)
        head = b""
        client.setblocking(False)
        for _ in range(500):
            loop.step(0.01)
            try:
                head += client.recv(65536)
            except BlockingIOError:
                continue
            if b"</methodResponse>" in head:
                break
        assert loads(head.partition(b"\r\n\r\n")[2])[0] == (a + 2,)
        if client.fileno() >= 0 and b"HTTP/1.0" in head:
            client.close()
            client = connect(server.server_address)


def test_a_wsgi_server(loop: Reactor, connect: Any) -> None:
    from wsgiref.simple_server import WSGIRequestHandler, make_server

    class Quiet(WSGIRequestHandler):
        def log_message(self, *args: Any) -> None:
            pass

    def application(environ: Any, start_response: Any) -> list[bytes]:
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [environ["PATH_INFO"].encode(), environ["wsgi.input"].read(int(environ["CONTENT_LENGTH"] or 0))]

    server = make_server(*LOOPBACK, application, handler_class=Quiet)
    listener = loop.add(server, framing=HttpRequests())
    client = connect(listener)
    client.sendall(GET % b"path")
    assert receive_all(loop, client).endswith(b"\r\n\r\n/path")
    client = connect(listener)
    client.sendall(b"POST /p HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc")
    assert receive_all(loop, client).endswith(b"\r\n\r\n/pabc")


def test_a_standard_server_is_given_its_hooks(loop: Reactor, connect: Any) -> None:
    calls = []

    class Server(standard.TCPServer):
        def process_request(self, request: Any, client_address: Any) -> None:
            raise AssertionError("the standard one would shut the request down after one frame")

        def finish_request(self, request: Any, client_address: Any) -> None:
            calls.append("finish")
            super().finish_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            calls.append("shutdown")
            super().shutdown_request(request)

    client = connect(loop.add(Server(LOOPBACK, Upper), framing=Fixed(2)))
    ask(loop, client, b"abcd", b"ABCD")
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert calls == ["finish", "finish", "shutdown"]


def test_one_loop_hosts_every_way(loop: Reactor, connect: Any) -> None:
    async def echo(stream: Any) -> None:
        while line := await stream.readline():
            stream.write(line.upper())

    listeners = [
        listen(loop, echo),
        loop.add(ours.TCPServer(LOOPBACK, AsyncUpper)),
        loop.add(ours.TCPServer(LOOPBACK, Upper), framing=Lines()),
        loop.add(ours.ThreadingTCPServer(LOOPBACK, Upper)),
        loop.add(standard.ThreadingTCPServer(LOOPBACK, Upper)),
    ]
    if "greenlet" in sys.modules or pytest.importorskip("greenlet"):
        listeners.append(loop.add(ours.TCPServer(LOOPBACK, Upper), way="greenlet"))
    clients = [connect(listener) for listener in listeners]
    for client in clients:
        client.sendall(b"a\nb")
    for client in clients:
        ask(loop, client, b"\n", b"A\nB\n")
    assert {row.phase for row in loop.table if row.kind == "listener"} == {Phase.LISTENING}
    for client in clients:
        client.close()
    turn_until(loop, lambda: not streams(loop))
