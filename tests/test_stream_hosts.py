"""The hooks of a server around a stream: who is called, how often, in which order, and what their failures cost."""

import http.server
import logging
import socket
import socketserver as standard
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, End, HttpRequests, Lines, Observer, Phase, Reactor, Stream
from reactor import socketserver as ours
from reactor.framed import FramedRow
from tests.driving import ask, only, receive_all, reset, streams, turn_until, turns, until_gone

pytestmark = pytest.mark.usefixtures("no_errors_left")
LOOPBACK = ("127.0.0.1", 0)


class Upper(ours.StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class AsyncUpper(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        while line := await self.rfile.readline():
            self.wfile.write(line.upper())


class Fails(ours.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"half")
        raise ValueError("the handler fails")


class AsyncFails(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        await self.rfile.readline()
        self.wfile.write(b"half")
        raise ValueError("the handler fails")


WAYS: dict[str, tuple[Any, Any, Any, Any]] = {
    "coroutine": (Stream, AsyncUpper, AsyncFails, None),
    "framed": (FramedRow, Upper, Fails, Lines()),
}
HOOKS = (
    "verify_request", "process_request", "finish_request", "handle_error", "shutdown_request", "close_request",
)  # fmt: skip
MAKES = {"ours": ours.TCPServer, "standard": standard.TCPServer, "threading": ours.ThreadingTCPServer}


@pytest.fixture
def loop() -> Iterator[Reactor]:
    """Give a reactor on the real clock."""
    with Reactor() as loop:
        yield loop


def noting(base: Any, handler: Any, framing: Any, **fails: BaseException) -> Any:
    """Return a server that notes the calls of its hooks, each with what it was called with, and fails where it is told."""

    def hook(name: str) -> Callable[..., Any]:
        def called(self: Any, request: Any, client_address: Any = None) -> Any:
            self.calls.append(name)
            self.requests.add(request)
            if client_address is not None:
                self.addresses.add(client_address)
            if name == "handle_error":
                result = None
            else:
                arguments = (request,) if client_address is None else (request, client_address)
                result = getattr(base, name)(self, *arguments)
            if name in fails:
                raise fails[name]
            return result

        return called

    server = type("Noting", (base,), {name: hook(name) for name in HOOKS} | {"framing": framing})(LOOPBACK, handler)
    server.calls, server.requests, server.addresses = [], set(), set()
    return server


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Any:
    """Give each way: what the request is, a handler, one that fails, and the framing."""
    return WAYS[request.param]


def one_exchange(loop: Reactor, connect: Any, server: Any) -> None:
    """Let a client of the server ask once and leave."""
    client = connect(server.server_address)
    ask(loop, client, b"a\n", b"A\n")
    client.close()
    turn_until(loop, lambda: not streams(loop))


@pytest.mark.parametrize("make", MAKES)
def test_each_hook_is_called_with_the_row_and_the_address(loop: Reactor, connect: Any, way: Any, make: str) -> None:
    kind, handler, _, framing = way
    if make == "threading" and framing is None:
        pytest.skip("a coroutine with a mixin is an error")
    server = noting(MAKES[make], handler, framing)
    loop.add(server)
    client = connect(server.server_address)
    ask(loop, client, b"a\n", b"A\n")
    address = client.getsockname()
    client.close()
    turn_until(loop, lambda: not streams(loop))
    # Only our own process_request knows that the request goes on when it returns.
    process = ["process_request"] if make == "ours" else []
    assert server.calls == ["verify_request", *process, "finish_request", "shutdown_request", "close_request"]
    (request,) = server.requests
    assert type(request) is kind
    assert server.addresses == {address}


def test_a_refused_connection_is_shut_down_once(loop: Reactor, connect: Any, way: Any) -> None:
    _, handler, _, framing = way

    class Closed(ours.TCPServer):
        calls: list[str] = []

        def verify_request(self, request: Any, client_address: Any) -> bool:
            return False

        def shutdown_request(self, request: Any) -> None:
            self.calls.append("shutdown_request")
            super().shutdown_request(request)

    server = Closed(LOOPBACK, handler)
    loop.add(server, framing=framing)
    client = connect(server.server_address)
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert server.calls == ["shutdown_request"]


def test_a_refused_row_says_why(loop: Reactor, connect: Any) -> None:
    server = ours.TCPServer(LOOPBACK, Upper)
    server.verify_request = lambda request, client_address: False  # type: ignore[method-assign]
    loop.add(server, framing=Lines())
    client = connect(server.server_address)
    row = only(loop)
    assert (row.end, row.detail) == (End.FINISHED, "refused by verify_request")
    assert receive_all(loop, client) == b""
    assert row.requests == 0


def test_a_verify_request_that_fails(loop: Reactor, connect: Any, way: Any) -> None:
    _, handler, _, framing = way
    server = noting(ours.TCPServer, handler, framing, verify_request=ValueError("who are you"))
    loop.add(server)
    client = connect(server.server_address)
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert server.calls == ["verify_request", "handle_error", "shutdown_request", "close_request"]


def test_a_verify_request_and_a_handle_error_that_fail(loop: Reactor, connect: Any, way: Any, logged: Any) -> None:
    _, handler, _, framing = way
    fails = {"verify_request": ValueError("who are you"), "handle_error": RuntimeError("worse")}
    server = noting(ours.TCPServer, handler, framing, **fails)
    listener = loop.add(server)
    client = connect(server.server_address)
    assert receive_all(loop, client) == b""
    turn_until(loop, lambda: not streams(loop))
    assert ["worse" in record.getMessage() for record in logged()] == [True]
    assert server.calls.count("shutdown_request") == 1
    assert listener.row.phase is Phase.LISTENING


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_a_hook_that_leaves_the_program(loop: Reactor, connect: Any, way: Any, error: Any) -> None:
    _, handler, _, framing = way
    server = noting(ours.TCPServer, handler, framing, verify_request=error("leave"))
    loop.add(server)
    client = connect(server.server_address)
    with pytest.raises(error):
        turn_until(loop, lambda: False)
    turn_until(loop, lambda: not streams(loop))
    assert server.calls.count("shutdown_request") == 1
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_handler_that_fails_is_reported_once_and_what_it_wrote_is_sent(loop: Reactor, connect: Any, way: Any) -> None:
    _, _, fails, framing = way
    server = noting(ours.TCPServer, fails, framing)
    loop.add(server)
    client = connect(server.server_address)
    client.sendall(b"a\nb\n")
    assert receive_all(loop, client) == b"half"
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert server.calls.count("handle_error") == server.calls.count("shutdown_request") == 1
    assert loop.table.ended[-1].end is End.HANDLER_FAILED


@pytest.mark.parametrize("name", ["shutdown_request", "close_request"])
def test_a_hook_of_the_end_that_fails_keeps_nothing_open(
    loop: Reactor, connect: Any, way: Any, name: str, logged: Any
) -> None:
    _, handler, _, framing = way
    server = noting(ours.TCPServer, handler, framing, **{name: OSError("the end fails")})
    loop.add(server)
    one_exchange(loop, connect, server)
    assert ["the end fails" in record.getMessage() for record in logged()] == [True]
    assert server.calls.count("shutdown_request") == 1


@pytest.mark.parametrize("process", [True, False])
def test_an_overridden_process_request_is_asked(loop: Reactor, connect: Any, process: bool) -> None:
    calls = []

    class Server(ours.TCPServer):
        def process_request(self, request: Any, client_address: Any) -> None:
            calls.append(client_address)
            if process:
                super().process_request(request, client_address)

    listener = loop.add(Server(LOOPBACK, Upper), framing=Lines())
    client = connect(listener)
    client.sendall(b"a\nb\n")
    if process:
        ask(loop, client, b"", b"A\nB\n")
    else:
        assert receive_all(loop, client) == b""  # nobody has read past the frame
    assert calls == [client.getsockname()] * (2 if process else 1)


def test_a_shutdown_request_that_says_goodbye_is_too_late_to_be_heard(loop: Reactor, connect: Any, way: Any) -> None:
    """The hook is called when the row closes: what it sends is dropped or an OSError, and harms nobody."""
    _, handler, _, framing = way

    class Polite(ours.TCPServer):
        errors: list[BaseException] = []

        def shutdown_request(self, request: Any) -> None:
            try:
                (getattr(request, "sendall", None) or request.write)(b"goodbye")
            except OSError as error:
                self.errors.append(error)
            super().shutdown_request(request)

    server = Polite(LOOPBACK, handler)
    loop.add(server, framing=framing)
    one_exchange(loop, connect, server)


def test_the_request_of_a_handler_can_be_closed_through_its_server(loop: Reactor, connect: Any) -> None:
    class Leaves(ours.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())
            self.server.shutdown_request(self.request)
            self.rfile.read()

    client = connect(loop.add(ours.TCPServer(LOOPBACK, Leaves), framing=Lines()))
    client.sendall(b"a\nb\n")
    assert receive_all(loop, client) == b"a\n"


def test_connections_are_accepted_many_a_turn(loop: Reactor, connect: Any, way: Any) -> None:
    """Nobody has to be served before the next is accepted (other hosts take one a turn, as socketserver does)."""
    _, handler, _, framing = way
    listener = loop.add(ours.TCPServer(LOOPBACK, handler), framing=framing)
    clients = [connect(listener) for _ in range(4)]
    turn_until(loop, lambda: streams(loop))
    assert len(streams(loop)) == len(clients)


def test_accepted_sockets_do_not_block_and_do_not_delay(loop: Reactor, connect: Any, way: Any) -> None:
    _, handler, _, framing = way
    client = connect(loop.add(ours.TCPServer(LOOPBACK, handler), framing=framing))
    row = only(loop)
    assert row.sock.gettimeout() == 0
    assert row.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert row.acceptor.members == 1
    client.close()
    until_gone(loop, row)
    assert row.acceptor.members == 0


class Errors(Observer):
    def __init__(self) -> None:
        self.seen: list[str] = []

    def on_error(self, row: Any, error: BaseException) -> None:
        self.seen.append(f"{row.kind}: {error}")


def test_an_observer_hears_of_an_error_once(connect: Any, way: Any) -> None:
    _, _, fails, framing = way
    errors = Errors()
    with Reactor(observers=[errors]) as loop:
        client = connect(loop.add(noting(ours.TCPServer, fails, framing)))
        client.sendall(b"a\n")
        assert receive_all(loop, client) == b"half"
    assert errors.seen == ["stream: the handler fails"]


def test_a_handle_error_that_fails_is_heard_of_too(connect: Any, way: Any, logged: Any) -> None:
    _, _, fails, framing = way
    errors = Errors()
    with Reactor(observers=[errors]) as loop:
        client = connect(loop.add(noting(ours.TCPServer, fails, framing, handle_error=RuntimeError("worse"))))
        client.sendall(b"a\n")
        assert receive_all(loop, client) == b"half"
    assert errors.seen == ["stream: the handler fails", "stream: worse"]
    assert ["worse" in record.getMessage() for record in logged()] == [True]


def test_the_warning_is_one_for_each_listener(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Hungry(ours.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read()

    listeners = [loop.add(ours.TCPServer(LOOPBACK, Hungry), framing=Lines()) for _ in range(2)]
    for listener in (*listeners, *listeners):
        connect(listener).sendall(b"a\nb\n")
    turn_until(loop, lambda: sum(row.requests for row in streams(loop)) == 8)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 2
    assert "Lines" in warnings[0].getMessage()


def test_no_threads_are_started_for_a_threading_server(loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(threading.Thread, "start", lambda self: pytest.fail("a thread was started"))

    class Web(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(204)
            self.end_headers()

        def log_message(self, *args: Any) -> None:
            pass

    for server in (http.server.ThreadingHTTPServer(LOOPBACK, Web), ours.ThreadingTCPServer(LOOPBACK, Web)):
        client = connect(loop.add(server, framing=HttpRequests()))
        client.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" * 2)
        assert receive_all(loop, client).count(b"HTTP/1.1 204") == 1


def test_a_reset_before_the_first_frame(loop: Reactor, connect: Any, way: Any) -> None:
    _, handler, _, framing = way
    server = noting(ours.TCPServer, handler, framing)
    loop.add(server)
    client = connect(server.server_address)
    row = only(loop)
    reset(client)
    until_gone(loop, row)
    turns(loop)
    assert row.end is End.PEER_RESET
    assert server.calls[-2:] == ["shutdown_request", "close_request"]
    assert server.calls.count("shutdown_request") == 1
