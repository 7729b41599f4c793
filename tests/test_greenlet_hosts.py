"""The host of handlers in greenlets: the hooks, their order, who closes what, and servers that are served for ever."""

import contextvars
import http.client
import http.server
import os
import signal
import socket
import socketserver as standard
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import End, ManualClock, Observer, Phase, Reactor, ReactorMixIn, Row, spawn
from reactor import socketserver as ours
from tests.driving import ask, receive, receive_all, streams, turn_until, turns, until_gone
from tests.green_servers import LOOPBACK, Server, serving, took
from tests.running import PROMPT_S, Running, python, seconds_of

pytest.importorskip("greenlet")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


@pytest.fixture
def loop(clock: ManualClock) -> Iterator[Reactor]:
    """Give a reactor on the platform's own selector."""
    with Reactor(clock=clock) as loop:
        yield loop


@pytest.fixture
def serve(loop: Reactor) -> Iterator[Callable[..., Any]]:
    """Give a function that serves a function of a socket."""
    with serving(loop) as serve:
        yield serve


def echo(sock: Any) -> None:
    while data := sock.recv(100):
        sock.sendall(data)


class Upper(ours.StreamRequestHandler):
    """Answers each line in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class Hooks(Server):
    """Notes every hook."""

    verdict = True

    def get_request(self) -> Any:
        request = super().get_request()
        self.calls.append("get_request")
        return request

    def verify_request(self, request: Any, client_address: Any) -> bool:
        assert client_address == request.getpeername()
        self.calls.append("verify_request")
        return self.verdict

    def process_request(self, request: Any, client_address: Any) -> None:
        self.calls.append("process_request")
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.calls.append("finish_request")
        super().finish_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self.calls.append("close_request")
        super().close_request(request)


FIRST = ["get_request", "verify_request", "process_request", "finish_request"]
LAST = ["shutdown_request", "close_request"]


def test_the_hooks_are_called_once_and_in_order(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(echo, Hooks)
    client = connect(listener)
    ask(loop, client, b"x", b"x")
    assert listener.server.calls == FIRST
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert listener.server.calls == [*FIRST, *LAST]


@pytest.mark.parametrize("late", [False, True])
def test_the_hooks_of_a_handler_that_fails(loop: Reactor, serve: Any, connect: Any, late: bool) -> None:
    def handle(sock: Any) -> None:
        if late:
            sock.recv(10)
        raise ValueError("no good")

    errors: list[BaseException] = []

    class Noting(Observer):
        def on_error(self, row: Row, error: BaseException) -> None:
            errors.append(error)

    listener = serve(handle, Hooks)
    client = connect(listener)
    turn_until(loop, lambda: listener.row.requests)
    client.sendall(b"x")
    assert receive_all(loop, client) == b""
    assert listener.server.calls == [*FIRST, "handle_error", *LAST]
    took(listener, ValueError)
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert loop.table.ended[-1].end is End.HANDLER_FAILED


def test_an_observer_hears_of_a_handler_that_fails(clock: ManualClock, connect: Any) -> None:
    heard: list[tuple[str, str]] = []

    class Noting(Observer):
        def on_error(self, row: Row, error: BaseException) -> None:
            heard.append((row.kind, repr(error)))

    def handle(sock: Any) -> None:
        raise ValueError("no good")

    with Reactor(clock=clock, observers=[Noting()]) as loop, serving(loop) as serve:
        listener = serve(handle)
        client = connect(listener)
        assert receive_all(loop, client) == b""
        took(listener, ValueError)
    assert heard == [("stream", "ValueError('no good')")]


def test_a_request_that_is_refused_is_shut_down_once(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(echo, Hooks)
    listener.server.verdict = False
    client = connect(listener)
    assert receive_all(loop, client) == b""
    assert listener.server.calls == ["get_request", "verify_request", *LAST]
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert not loop.table.ended


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt])
def test_an_exit_shuts_the_request_down_once_and_leaves_the_loop(
    loop: Reactor, serve: Any, connect: Any, kind: type[BaseException], late: bool
) -> None:
    def handle(sock: Any) -> None:
        if late:
            sock.recv(10)
        raise kind(3)

    listener = serve(handle, Hooks)
    neighbour = connect(serve(echo))
    ask(loop, neighbour, b"x", b"x")
    client = connect(listener)
    client.sendall(b"x")
    with pytest.raises(kind):
        turn_until(loop, lambda: False)
    assert listener.server.calls == [*FIRST, *LAST]
    ask(loop, neighbour, b"y", b"y")  # the loop can go on
    assert receive_all(loop, client) in (b"",)
    client.close()
    turn_until(loop, lambda: len(streams(loop)) == 1)
    listener.server.RequestHandlerClass = lambda request, client_address, server: echo(request)
    ask(loop, connect(listener), b"z", b"z")


@pytest.mark.parametrize("hook", ["verify_request", "process_request", "finish_request"])
def test_a_hook_that_fails_costs_its_connection_only(loop: Reactor, serve: Any, connect: Any, hook: str) -> None:
    listener = serve(echo, Hooks)

    def fail(request: Any, client_address: Any) -> None:
        raise ValueError(hook)

    setattr(listener.server, hook, fail)
    assert receive_all(loop, connect(listener)) == b""
    took(listener, ValueError)
    assert listener.server.calls[-3:] == ["handle_error", *LAST]
    delattr(listener.server, hook)
    ask(loop, connect(listener), b"x", b"x")


@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("hook", ["handle_error", "shutdown_request"])
def test_a_hook_that_reports_or_ends_and_fails_is_logged(
    loop: Reactor, serve: Any, connect: Any, logged: Any, hook: str, late: bool
) -> None:
    def handle(sock: Any) -> None:
        if late:
            sock.recv(10)
        raise ValueError("no good")

    def fail(*args: Any) -> None:
        raise RuntimeError(hook)

    listener = serve(handle, Hooks)
    setattr(listener.server, hook, fail)
    client = connect(listener)
    turn_until(loop, lambda: listener.row.requests)
    client.sendall(b"x")
    assert receive_all(loop, client) == b""
    listener.server.errors.clear()
    assert [hook in record.getMessage() for record in logged()] == [True]
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert listener.row.phase is Phase.LISTENING
    assert loop.green_rows == {}


@pytest.mark.parametrize("error", [OSError("none after all"), ValueError("no good")])
def test_get_request_that_fails(loop: Reactor, serve: Any, connect: Any, logged: Any, error: Exception) -> None:
    class Fails(Server):
        broken = True

        def get_request(self) -> Any:
            request, address = super().get_request()
            if self.broken:
                self.broken = False
                request.close()
                raise error
            return request, address

    listener = serve(echo, Fails)
    assert receive_all(loop, connect(listener)) == b""
    ask(loop, connect(listener), b"x", b"x")
    assert len(logged()) == (not isinstance(error, OSError))


def test_get_request_may_wait(loop: Reactor, serve: Any, connect: Any) -> None:
    from reactor.greening import green_class

    class Greets(Server):
        def get_request(self) -> Any:
            request, address = super().get_request()
            request.__class__ = green_class(type(request))
            if request.recv(10) != b"password":
                request.close()
                raise PermissionError
            return request, address

    listener = serve(echo, Greets)
    silent, client = connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    ask(loop, client, b"password", b"")
    turns(loop)
    ask(loop, client, b"x", b"x")
    assert listener.row.requests == 1
    silent.close()
    turn_until(loop, lambda: len(streams(loop)) == 1)


def test_a_handler_has_the_loops_context_and_values_of_its_own(loop: Reactor, serve: Any, connect: Any) -> None:
    seen: list[bytes] = []
    name: contextvars.ContextVar[bytes] = contextvars.ContextVar("name")

    async def beside(data: bytes) -> None:
        seen.append(data)

    def handle(sock: Any) -> None:
        assert name.get(None) is None
        name.set(sock.recv(10))
        sock.sendall(b".")
        sock.recv(10)
        spawn(beside, name.get())

    listener = serve(handle)
    clients = [connect(listener), connect(listener)]
    for client, data in zip(clients, (b"one", b"two"), strict=True):
        ask(loop, client, data, b".")
    for client in clients:
        client.sendall(b"?")
    turn_until(loop, lambda: len(seen) == 2)
    assert sorted(seen) == [b"one", b"two"]
    assert name.get(None) is None


def test_many_connections_in_one_turn(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(echo, accepts_per_turn=3)
    clients = [connect(listener) for _ in range(5)]
    loop.step(0.1)
    assert len(streams(loop)) == 3
    turn_until(loop, lambda: len(streams(loop)) == 5)
    for client in clients:
        ask(loop, client, b"x", b"x")


def test_an_empty_backlog_is_asked_once(loop: Reactor, serve: Any, connect: Any) -> None:
    asked: list[int] = []
    listener = serve(echo)
    accept = listener.row._accept
    listener.row._accept = lambda: asked.append(1) or accept()
    client = connect(listener)
    turn_until(loop, lambda: asked)
    assert len(asked) == 2  # the connection, and that there is no other one
    ask(loop, client, b"x", b"x")
    assert len(asked) == 2


def test_places_of_a_listener_and_of_a_peer(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(echo, connections=2)
    first, second, third = (connect(listener) for _ in range(3))
    ask(loop, first, b"x", b"x")
    ask(loop, second, b"x", b"x")
    third.sendall(b"x")
    turns(loop, 5)
    assert (len(streams(loop)), listener.row.phase) == (2, Phase.PAUSED)
    first.close()
    assert receive(loop, third, 1) == b"x"
    capped = serve(echo, connections_per_peer=1)
    ask(loop, one := connect(capped), b"x", b"x")
    assert receive_all(loop, connect(capped)) == b""
    one.close()
    turn_until(loop, lambda: capped.row.members == 0)
    ask(loop, connect(capped), b"x", b"x")


def test_tcp_nodelay_is_set(loop: Reactor, serve: Any, connect: Any) -> None:
    seen: list[int] = []
    connect(serve(lambda sock: seen.append(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))))
    turn_until(loop, lambda: seen)
    assert seen[0]


# -- servers of all kinds ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [ours.TCPServer, standard.TCPServer, ours.ThreadingTCPServer, standard.ThreadingTCPServer])
def test_every_server_runs_its_handlers_in_greenlets_when_told(loop: Reactor, connect: Any, kind: Any) -> None:
    threads: set[int] = set()

    class Noting(Upper):
        def handle(self) -> None:
            threads.add(threading.get_ident())
            super().handle()

    listener = loop.add(kind(LOOPBACK, Noting), way="greenlet")
    first, second = connect(listener), connect(listener)
    for client in (first, second, first):
        ask(loop, client, b"one\n", b"ONE\n")
    assert threads == {threading.get_ident()}
    assert [row.way for row in streams(loop)] == ["greenlet"] * 2
    first.shutdown(socket.SHUT_WR)
    assert receive_all(loop, first) == b""


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "unix://"])
def test_listen_takes_handler_classes(loop: Reactor, connect: Any, tmp_path: Any, endpoint: str) -> None:
    if endpoint == "unix://":
        if not hasattr(socket, "AF_UNIX"):
            pytest.skip("needs Unix sockets")
        endpoint += str(tmp_path / "s")
    listener = loop.listen(endpoint, Upper, way="greenlet")
    client = connect(listener)
    ask(loop, client, b"one\n", b"ONE\n")
    listener.close()
    ask(loop, client, b"two\n", b"TWO\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""


def test_a_pool_of_threads_finds_ordinary_sockets(loop: Reactor, serve: Any, connect: Any) -> None:
    jobs: list[Running] = []

    class Pool(Server):
        def process_request(self, request: Any, client_address: Any) -> None:
            jobs.append(Running(lambda: self.work(request, client_address)))

        def work(self, request: Any, client_address: Any) -> None:
            self.finish_request(request, client_address)
            self.shutdown_request(request)

    client = connect(serve(echo, Pool))
    turn_until(loop, lambda: jobs and not streams(loop))
    for _ in range(3):
        client.sendall(b"x")
        assert client.recv(1) == b"x"  # without a turn of the loop
    client.shutdown(socket.SHUT_WR)
    assert client.recv(1) == b""
    jobs[0].join()


def test_the_platform_must_have_msg_dontwait(loop: Reactor, monkeypatch: pytest.MonkeyPatch) -> None:
    from reactor import greenlet_hosts

    monkeypatch.setattr(greenlet_hosts, "DONTWAIT", 0)
    with Server(echo) as server, pytest.raises(ValueError, match=f"MSG_DONTWAIT, which {sys.platform} does not have"):
        loop.add(server)
    assert len(loop.table) == 0


class Page(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "5")
        self.end_headers()
        self.wfile.write(b"hello")

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        """Be quiet."""


class GreenHttp(ReactorMixIn, http.server.HTTPServer):
    way = "greenlet"


def test_http_server_is_served_for_ever_and_nobody_freezes_it(connect: Any) -> None:
    body = os.urandom(3 << 20)
    with GreenHttp(LOOPBACK, Page) as server:
        for _ in range(2):  # it can be served again
            running = Running(server.serve_forever)
            silent = connect(server.server_address)
            silent.sendall(b"POST / HTTP/1.1\r\nContent-Le")
            connection = http.client.HTTPConnection(*server.server_address, timeout=5)
            for _ in range(2):  # on one connection
                connection.request("GET", "/")
                assert connection.getresponse().read() == b"hello"
                connection.request("POST", "/", body=body)
                assert connection.getresponse().read() == body
            connection.close()
            silent.close()
            server.shutdown()
            running.join()


def test_shutdown_is_prompt_and_legal_anywhere(connect: Any) -> None:
    class Stops(ours.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline())
            self.server.shutdown()

    with Server(echo) as server:
        server.shutdown()
        server.serve_forever()  # returns at once
        running = Running(server.serve_forever)
        client = connect(server.server_address)
        client.sendall(b"x")
        assert client.recv(1) == b"x"
        client.close()
        assert seconds_of(server.shutdown) < 10 * PROMPT_S
        running.join()
        server.RequestHandlerClass = Stops
        running = Running(server.serve_forever)
        client = connect(server.server_address)
        client.sendall(b"x\n")
        assert client.recv(10) == b"x\n"
        client.close()
        running.join()


def test_an_exit_of_a_handler_leaves_serve_forever(connect: Any) -> None:
    def leave(sock: Any) -> None:
        sock.recv(1)
        raise SystemExit(3)

    with Server(leave) as server:
        running = Running(server.serve_forever)
        waiting = connect(server.server_address)
        client = connect(server.server_address)
        client.sendall(b"x")
        with pytest.raises(SystemExit):
            running.join()
        assert client.recv(1) == b""
        try:
            assert waiting.recv(1) == b""
        except ConnectionResetError:
            pass
        assert server.calls.count("shutdown_request") == 2
        server.RequestHandlerClass = lambda request, client_address, server: echo(request)
        running = Running(server.serve_forever)
        client = connect(server.server_address)
        client.sendall(b"y")
        assert client.recv(1) == b"y"
        client.close()
        server.shutdown()
        running.join()


def test_handle_error_may_raise_again_and_leave_serve_forever(connect: Any) -> None:
    class Raises(Server):
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise

    def fail(sock: Any) -> None:
        sock.recv(1)
        raise ValueError("no good")

    with Raises(fail) as server:
        running = Running(server.serve_forever)
        client = connect(server.server_address)
        client.sendall(b"x")
        with pytest.raises(ValueError, match="no good"):
            running.join()
        assert client.recv(1) == b""
        assert server.calls == ["shutdown_request"]


def test_a_signal_drains_a_program() -> None:
    program = """
        import os, signal, socket, threading
        from reactor import Reactor
        from reactor.socketserver import StreamRequestHandler

        class Handler(StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    self.wfile.write(line)
                print("ended")

        with Reactor() as loop:
            listener = loop.listen("tcp://127.0.0.1:0", Handler, way="greenlet")
            client = socket.create_connection(listener.address)

            def ask():
                client.sendall(b"x\\n")
                client.recv(10)
                os.kill(os.getpid(), signal.SIGTERM)
                client.recv(10)
                client.close()

            thread = threading.Thread(target=ask)
            thread.start()
            report = loop.run()
            thread.join()
        print(len(report.idle), len(report.aborted))
        """
    assert python(program) == "ended\n1 0\n"


def test_handle_request_is_plain(connect: Any) -> None:
    with Server(lambda sock: sock.sendall(sock.recv(10))) as server:
        client = connect(server.server_address)
        client.sendall(b"x")
        server.handle_request()
        assert client.recv(10) == b"x"


def test_server_close_in_a_handler_lets_it_finish(loop: Reactor, serve: Any, connect: Any) -> None:
    listeners: list[Any] = []

    def handle(sock: Any) -> None:
        sock.recv(1)
        listeners[0].server.server_close()
        sock.sendall(sock.recv(1))

    listener = serve(handle)
    listeners.append(listener)
    client = connect(listener)
    turns(loop)
    client.sendall(b"x")
    turn_until(loop, lambda: listener.row.fd < 0)
    ask(loop, client, b"y", b"y")


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs timers of signals")
def test_signals_do_not_cut_a_large_reply(connect: Any) -> None:
    body = os.urandom(4 << 20)
    beats: list[int] = []
    before = signal.signal(signal.SIGALRM, lambda number, frame: beats.append(number))
    signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
    try:
        with Reactor() as loop, serving(loop) as serve:
            client = connect(serve(lambda sock: sock.sendall(body)), receive_buffer=8192)
            assert receive_all(loop, client) == body
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert beats


def test_a_descriptor_is_used_again_in_one_batch(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(echo)
    clients: list[socket.socket] = []
    for _ in range(10):
        clients.append(connect(listener))
        ask(loop, clients[-1], b"x", b"x")
    rows = streams(loop)
    for client in clients[:5]:
        client.close()
    newer = [connect(listener) for _ in range(5)]
    for client in newer:
        client.sendall(b"new")
    for client in newer:
        assert receive(loop, client, 3) == b"new"
    for client in clients[5:]:
        ask(loop, client, b"old", b"old")
    for row in rows[:5]:
        until_gone(loop, row)
    assert len(streams(loop)) == len(loop.green_rows) == 10
