"""What the standard library builds on socketserver, built on the module under test: http.server and xmlrpc.server.

Both are loaded a second time, with that module in the place of the standard one, so that their handler classes derive
from its `StreamRequestHandler`. Only what they demand of socketserver is tested, not what they do.
"""

import importlib.util
import socket
import sys
import threading
import types
from typing import Any
from xmlrpc.client import ServerProxy

import pytest

from tests.socketserver.harness import LOOPBACK, connect, leaving, read_all, serve_here, serve_one, socketserver

BODY = b"x" * 20_000


def load(name: str, **stand_ins: types.ModuleType) -> types.ModuleType:
    """Load a module of the standard library once more, which finds these modules where it imports those names."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patched:
        for stand_in, found in stand_ins.items():
            patched.setitem(sys.modules, stand_in, found)
        spec.loader.exec_module(module)
    return module


http_server: Any = load("http.server", socketserver=socketserver)
xmlrpc_server: Any = load("xmlrpc.server", socketserver=socketserver, **{"http.server": http_server})


class Handler(http_server.BaseHTTPRequestHandler):  # type: ignore[misc]
    """Answers with how often it was made, how often `handle` ran on it, and the number of the request."""

    protocol_version = "HTTP/1.1"
    handled = requests = 0

    def handle(self) -> None:
        self.handled += 1
        super().handle()

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.requests += 1
        self.answer(b"%d %d" % (self.handled, self.requests))

    def do_POST(self) -> None:
        self.answer(self.rfile.read(int(self.headers["Content-Length"])))

    def log_message(self, *args: object) -> None:
        pass


class ChunkyHandler(Handler):
    """The same with a buffered `wfile`, which http.server flushes after each request."""

    wbufsize = -1


def bodies(replies: bytes) -> list[bytes]:
    """Return what follows the heads; every body is one line of digits and spaces."""
    return [reply.partition(b"\r\n\r\n")[2] for reply in replies.split(b"HTTP/1.1 200 OK")[1:]]


@pytest.fixture(params=[Handler, ChunkyHandler])
def handler(request: pytest.FixtureRequest) -> Any:
    """Give a handler class with each kind of `wfile`."""
    return request.param


def test_they_are_built_on_the_module_under_test() -> None:
    assert issubclass(http_server.BaseHTTPRequestHandler, socketserver.StreamRequestHandler)
    assert issubclass(http_server.HTTPServer, socketserver.TCPServer)
    assert issubclass(xmlrpc_server.SimpleXMLRPCServer, socketserver.TCPServer)
    assert issubclass(xmlrpc_server.SimpleXMLRPCRequestHandler, http_server.BaseHTTPRequestHandler)


class TestOneConnection:
    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_several_requests_are_one_call_of_handle(self, way: Any, handler: Any, server_loop: Any) -> None:
        with leaving(way)(LOOPBACK, handler) as server:
            client = connect(server.server_address)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            server_loop(server)
            assert bodies(read_all(client)) == [b"1 1", b"1 2", b"1 3"]

    def test_each_reply_is_sent_before_the_next_request_is_read(self, serve: Any, handler: Any) -> None:
        server = socketserver.TCPServer(LOOPBACK, handler)
        serve(server)
        with connect(server.server_address) as client, client.makefile("rb") as reader:
            for number in (1, 2, 3):
                client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                assert b"200 OK" in reader.readline()
                while reader.readline() != b"\r\n":
                    pass
                assert reader.read(3) == b"1 %d" % number

    def test_handler_finishes_once(self, serve: Any) -> None:
        class Finishing(Handler):
            def finish(self) -> None:
                finished.append((self.handled, self.requests))
                super().finish()

        finished: list[Any] = []
        server = socketserver.TCPServer(LOOPBACK, Finishing)
        serving = serve(server)
        for _ in range(2):
            client = connect(server.server_address)
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.0\r\n\r\n")
            assert bodies(read_all(client)) == [b"1 1", b"1 2"]
        serving.stop()
        assert finished == [(1, 2), (1, 2)]

    def test_endless_line_is_refused(self, serve: Any) -> None:
        server = socketserver.TCPServer(LOOPBACK, Handler)
        serve(server)
        client = connect(server.server_address)
        client.sendall(b"GET /".ljust(65537, b"x"))  # one more than http.server reads for a line
        with client, client.makefile("rb") as reader:
            assert reader.readline().startswith(b"HTTP/1.1 414 ")


class TestContinue:
    @pytest.mark.parametrize("server_class", ["TCPServer", "ThreadingTCPServer"])
    def test_client_is_told_to_go_on_before_it_sends_the_body(self, serve: Any, server_class: str) -> None:
        server = getattr(socketserver, server_class)(LOOPBACK, Handler)
        serve(server)
        with connect(server.server_address) as client, client.makefile("rb") as reader:
            head = f"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {len(BODY)}\r\n\r\n"
            client.sendall(head.encode())
            assert reader.readline() == b"HTTP/1.1 100 Continue\r\n"
            assert reader.readline() == b"\r\n"
            client.sendall(BODY)
            assert b"200 OK" in reader.readline()
            while reader.readline() != b"\r\n":
                pass
            assert reader.read(len(BODY)) == BODY


def test_xmlrpc_counts_on_one_handle_for_each_connection(serve: Any) -> None:
    class Counting(xmlrpc_server.SimpleXMLRPCRequestHandler):  # type: ignore[misc]
        calls = 0

        def handle(self) -> None:
            self.calls += 1
            super().handle()

        def finish(self) -> None:
            calls.append(self.calls)
            super().finish()

    calls: list[int] = []
    server = xmlrpc_server.SimpleXMLRPCServer(LOOPBACK, requestHandler=Counting, logRequests=False)
    server.register_function(pow)
    server.register_function(lambda: threading.current_thread().name, "thread")
    serving = serve(server)
    host, port = server.server_address
    with ServerProxy(f"http://{host}:{port}/") as client:
        assert [client.pow(2, power) for power in (5, 6)] == [32, 64]
        assert client.thread() == "serving"
    serving.stop()
    assert calls == [1, 1, 1]  # it speaks HTTP/1.0: a connection for each call


def test_http_server_knows_its_name_and_is_bound_again(serve: Any) -> None:
    """HTTPServer overrides server_bind, and asks for SO_REUSEADDR."""
    with http_server.HTTPServer(LOOPBACK, Handler) as server:
        assert server.server_port == server.server_address[1] != 0
        assert server.server_name
        assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
