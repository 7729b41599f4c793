"""The hooks: which runs when, how often, with what, and what happens when one of them fails."""

import errno
import functools
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    EchoLine,
    Leave,
    ask,
    connect,
    contained,
    exchange,
    in_thread,
    is_still_waiting,
    join,
    leaving,
    read_all,
    serve_here,
    serve_one,
    socketserver,
    wait_for,
)

both_loops = pytest.mark.parametrize("server_loop", [serve_one, serve_here])


class _Noting:
    """Notes each hook with what it was given; `log` may be replaced to note elsewhere."""

    notes: list[Any]

    def note(self, *what: Any) -> None:
        self.notes.append(what)

    def get_request(self) -> Any:
        self.note("get_request")
        request, address = super().get_request()  # type: ignore[misc]
        self.the_request = request
        return request, address

    def verify_request(self, request: Any, client_address: Any) -> Any:
        self.note("verify_request", request is self.the_request, client_address)
        return super().verify_request(request, client_address)  # type: ignore[misc]

    def process_request(self, request: Any, client_address: Any) -> None:
        self.note("process_request", request is self.the_request, client_address)
        super().process_request(request, client_address)  # type: ignore[misc]

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.note("finish_request", request is self.the_request, client_address)
        super().finish_request(request, client_address)  # type: ignore[misc]

    def shutdown_request(self, request: Any) -> None:
        self.note("shutdown_request", request is self.the_request)
        super().shutdown_request(request)  # type: ignore[misc]

    def close_request(self, request: Any) -> None:
        self.note("close_request", request is self.the_request)
        super().close_request(request)  # type: ignore[misc]

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.note("handle_error", request is self.the_request, client_address)


def noting(base: Any, **overrides: Any) -> Any:
    """Return a server class that notes its hooks and has these attributes of its own; it leaves after one request."""
    return type(base.__name__, (leaving(type("Noting", (_Noting, base), {})),), {**overrides})


def run(server_class: Any, handler: Any, server_loop: Any, data: bytes = b"") -> tuple[list[Any], bytes, Any]:
    """Serve one connection; return the hooks' notes, the reply and the client's address."""
    with server_class(LOOPBACK, handler) as server:
        server.notes = []
        client = ask(server.server_address, data)
        address = client.getsockname()
        server_loop(server)
        reply = read_all(client)
    return server.notes, reply, address


def words(notes: list[Any]) -> list[str]:
    return [note[0] for note in notes]


ORDER = ["get_request", "verify_request", "process_request", "finish_request", "shutdown_request", "close_request"]


@both_loops
class TestOrder:
    def test_inline(self, server_loop: Any) -> None:
        notes, reply, address = run(noting(socketserver.TCPServer), EchoLine, server_loop, b"hello\n")
        assert reply == b"hello\n"
        assert notes == [
            ("get_request",),
            ("verify_request", True, address),
            ("process_request", True, address),
            ("finish_request", True, address),
            ("shutdown_request", True),
            ("close_request", True),
        ]

    def test_in_a_thread(self, server_loop: Any) -> None:
        threads = {}

        def note(self: Any, *what: Any) -> None:
            self.notes.append(what)
            threads[what[0]] = threading.get_ident()

        server_class = noting(socketserver.ThreadingTCPServer, note=note)
        notes, reply, _ = run(server_class, EchoLine, server_loop, b"hello\n")
        assert reply == b"hello\n"
        assert words(notes) == ORDER
        here = threading.get_ident()
        assert [threads[word] == here for word in ORDER] == [True, True, True, False, False, False]

    def test_in_a_child(self, server_loop: Any) -> None:
        if not hasattr(socketserver, "ForkingTCPServer"):
            pytest.skip("needs fork")
        reader, writer = os.pipe()
        parent = os.getpid()

        def note(self: Any, *what: Any) -> None:
            side = "parent" if os.getpid() == parent else "child"
            os.write(writer, f"{side} {what[0]}\n".encode())

        server_class = noting(socketserver.ForkingTCPServer, note=note)
        _, reply, _ = run(server_class, EchoLine, server_loop, b"hello\n")
        os.close(writer)
        with open(reader) as lines:
            noted = [line.split() for line in lines]
        assert reply == b"hello\n"
        assert [word for side, word in noted if side == "parent"] == [*ORDER[:3], "close_request"]
        assert [word for side, word in noted if side == "child"] == ORDER[3:]


@both_loops
class TestRefusedRequest:
    @pytest.mark.parametrize("answer", [False, None, 0])
    def test_is_shut_down_once_and_not_processed(self, server_loop: Any, way: Any, answer: Any) -> None:
        def verify_request(self: Any, request: Any, client_address: Any) -> Any:
            self.note("verify_request", client_address)
            return answer

        notes, reply, address = run(noting(way, verify_request=verify_request), EchoLine, server_loop, b"hello\n")
        assert notes[1] == ("verify_request", address)
        assert words(notes) == ["get_request", "verify_request", "shutdown_request", "close_request"]
        assert reply == b""

    def test_any_true_answer_will_do(self, server_loop: Any) -> None:
        server_class = noting(socketserver.TCPServer, verify_request=lambda *_: "yes")
        assert run(server_class, EchoLine, server_loop, b"hello\n")[1] == b"hello\n"


class Failure(Exception):
    pass


def failing_handler(*_: object) -> None:
    raise Failure


@both_loops
class TestErrors:
    def test_error_in_the_handler(self, server_loop: Any) -> None:
        notes, reply, address = run(noting(socketserver.TCPServer), failing_handler, server_loop)
        assert words(notes) == [*ORDER[:4], "handle_error", *ORDER[4:]]
        assert notes[4] == ("handle_error", True, address)
        assert reply == b""

    def test_error_in_the_handler_in_a_thread(self, server_loop: Any) -> None:
        notes, reply, address = run(noting(socketserver.ThreadingTCPServer), failing_handler, server_loop)
        assert words(notes) == [*ORDER[:4], "handle_error", *ORDER[4:]]
        assert notes[4] == ("handle_error", True, address)
        assert reply == b""

    def test_handler_finishes_before_the_error_is_handled(self, server_loop: Any, way: Any) -> None:
        reader, writer = os.pipe()

        class Failing(socketserver.BaseRequestHandler):  # type: ignore[misc]
            def handle(self) -> None:
                os.write(writer, b"handle ")
                raise Failure

            def finish(self) -> None:
                os.write(writer, b"finish ")

        def handle_error(self: Any, *_: Any) -> None:
            os.write(writer, b"handle_error ")

        run(noting(way, handle_error=handle_error), Failing, server_loop)
        os.close(writer)
        with open(reader) as lines:
            assert lines.read().split() == ["handle", "finish", "handle_error"]

    @pytest.mark.parametrize("hook", ["process_request", "finish_request"])
    def test_error_in_a_hook(self, server_loop: Any, hook: str) -> None:
        def fail(self: Any, *_: Any) -> None:
            self.note(hook)
            raise Failure

        notes, _, address = run(noting(socketserver.TCPServer, **{hook: fail}), EchoLine, server_loop)
        assert words(notes)[-4:] == [hook, "handle_error", "shutdown_request", "close_request"]
        assert ("handle_error", True, address) in notes

    def test_handle_error_finds_the_exception_being_handled(self, server_loop: Any, way: Any) -> None:
        def handle_error(self: Any, request: socket.socket, _: Any) -> None:
            request.sendall(repr(sys.exc_info()[0]).encode())

        _, reply, _ = run(noting(way, handle_error=handle_error), failing_handler, server_loop)
        assert b"Failure" in reply

    def test_handle_error_prints_address_and_traceback(self, server_loop: Any, way: Any, capfd: Any) -> None:
        def failing(*_: object) -> None:
            raise Failure("the message")

        with leaving(way)(LOOPBACK, failing) as server:
            client = ask(server.server_address)
            address = client.getsockname()
            server_loop(server)
            assert read_all(client) == b""
        printed = capfd.readouterr()
        lines = printed.err.splitlines()
        assert printed.out == ""
        assert lines[0] == lines[-1] == "-" * 40
        assert lines.count("-" * 40) == 2
        assert lines[1] == f"Exception occurred during processing of request from {address}"
        assert lines[2] == "Traceback (most recent call last):"
        assert lines[-2].endswith("Failure: the message")

    def test_handle_error_has_nothing_to_print_to(self, server_loop: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """As under pythonw on Windows, or a service that closed its streams."""
        monkeypatch.setattr(sys, "stderr", None)
        monkeypatch.setattr(sys, "stdout", None)
        with leaving(socketserver.TCPServer)(LOOPBACK, failing_handler) as server:
            client = ask(server.server_address)
            server_loop(server)
            assert read_all(client) == b""

    def test_next_request_is_served_after_an_error(self, server_loop: Any) -> None:
        def handler(request: socket.socket, *_: object) -> None:
            if request.recv(100) == b"bad":
                raise Failure
            request.sendall(b"good")

        class Quiet(socketserver.TCPServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None: ...

        with leaving(Quiet, requests=2)(LOOPBACK, handler) as server:
            clients = [ask(server.server_address, b"bad"), ask(server.server_address, b"fine")]
            server_loop(server)
            if server_loop is serve_one:
                server_loop(server)
            assert [read_all(client) for client in clients] == [b"", b"good"]

    def test_handle_error_may_raise(self, server_loop: Any) -> None:
        def handle_error(self: Any, request: Any, client_address: Any) -> None:
            self.close_request(request)
            raise

        server_class = noting(socketserver.TCPServer, handle_error=handle_error)
        with server_class(LOOPBACK, failing_handler) as server:
            server.notes = []
            client = ask(server.server_address)
            with pytest.raises(Failure):
                (server.handle_request if server_loop is serve_one else server.serve_forever)()
            assert read_all(client) == b""

    @pytest.mark.parametrize("error", [Failure, ConnectionResetError, OSError])
    def test_handle_error_may_raise_whatever_it_is(self, server_loop: Any, error: type[Exception]) -> None:
        def failing(*_: object) -> None:
            raise error("from the handler")

        def handle_error(self: Any, request: Any, client_address: Any) -> None:
            self.close_request(request)
            raise

        server_class = noting(socketserver.TCPServer, handle_error=handle_error)
        with server_class(LOOPBACK, failing) as server:
            server.notes = []
            client = ask(server.server_address)
            with pytest.raises(error, match="from the handler"):
                (server.handle_request if server_loop is serve_one else server.serve_forever)()
            assert read_all(client) == b""

    def test_handle_error_may_close_the_server_and_raise(self, server_loop: Any) -> None:
        def handle_error(self: Any, request: Any, client_address: Any) -> None:
            self.close_request(request)
            self.server_close()
            raise

        server_class = noting(socketserver.TCPServer, handle_error=handle_error)
        with server_class(LOOPBACK, failing_handler) as server:
            server.notes = []
            client = ask(server.server_address)
            with pytest.raises(Failure):
                (server.handle_request if server_loop is serve_one else server.serve_forever)()
            assert server.fileno() == -1
            assert read_all(client) == b""

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_exit_in_a_handler_leaves_with_the_request_shut_down_once(self, server_loop: Any, error: Any) -> None:
        def exiting(*_: object) -> None:
            raise error("from the handler")

        server_class = noting(socketserver.TCPServer)
        with server_class(LOOPBACK, exiting) as server:
            server.notes = []
            client = ask(server.server_address)
            with pytest.raises(error, match="from the handler"):
                (server.handle_request if server_loop is serve_one else server.serve_forever)()
            assert words(server.notes) == ORDER
            assert read_all(client) == b""


def test_serving_again_after_an_exit() -> None:
    handlers: list[Callable[..., None]] = [lambda *_: sys.exit(3), lambda request, *_: request.sendall(b"again")]

    with leaving(socketserver.TCPServer, requests=2)(LOOPBACK, lambda *args: handlers.pop(0)(*args)) as server:
        first, second = ask(server.server_address), ask(server.server_address)
        with pytest.raises(SystemExit, match="3"):
            server.serve_forever(0.01)
        serve_here(server)
        assert [read_all(first), read_all(second)] == [b"", b"again"]


class TestKeptSocket:
    """`process_request` may return with the request open: whoever was given it shuts it down."""

    def test_given_to_another_thread(self, serve: Any) -> None:
        given = threading.Event()

        class Giving(socketserver.TCPServer):  # type: ignore[misc]
            def process_request(self, request: Any, client_address: Any) -> None:
                self.kept = request
                given.set()

        server = Giving(LOOPBACK, None)
        serve(server)
        client = ask(server.server_address, b"hello")
        wait_for(given)
        # Another request comes and goes, and the kept one is as it was.
        kept = server.kept
        given.clear()
        other = ask(server.server_address)
        wait_for(given)
        server.shutdown_request(server.kept)
        assert read_all(other) == b""
        assert kept.gettimeout() is None
        kept.sendall(kept.recv(100).upper())
        server.shutdown_request(kept)
        assert read_all(client) == b"HELLO"

    @both_loops
    def test_outlives_the_server(self, server_loop: Any) -> None:
        class Giving(socketserver.TCPServer):  # type: ignore[misc]
            def process_request(self, request: Any, client_address: Any) -> None:
                self.kept = request

        with leaving(Giving)(LOOPBACK, None) as server:
            client = ask(server.server_address)
            server_loop(server)
        with server.kept as kept:
            kept.sendall(b"still here")
        assert read_all(client) == b"still here"

    @both_loops
    def test_handler_keeps_it_where_shutdown_request_lets_it(self, server_loop: Any) -> None:
        class Keeping(socketserver.TCPServer):  # type: ignore[misc]
            def shutdown_request(self, request: Any) -> None:
                pass

        kept = []
        with leaving(Keeping)(LOOPBACK, lambda request, *_: kept.append(request)) as server:
            client = ask(server.server_address)
            server_loop(server)
        with kept[0]:
            kept[0].sendall(b"kept")
        assert read_all(client) == b"kept"

    def test_pool_calls_process_request_thread(self, serve: Any) -> None:
        barrier = threading.Barrier(3)
        names = []

        class Pooled(socketserver.ThreadingMixIn, socketserver.TCPServer):  # type: ignore[misc]
            def process_request(self, request: Any, client_address: Any) -> None:
                pool.submit(self.process_request_thread, request, client_address)

        def handler(request: socket.socket, *_: object) -> None:
            barrier.wait(5)  # all three at once
            names.append(threading.current_thread().name)
            request.sendall(b"done")

        with ThreadPoolExecutor(3, thread_name_prefix="pool") as pool:
            server = Pooled(LOOPBACK, handler)
            serving = serve(server)
            clients = [ask(server.server_address) for _ in range(3)]
            assert [read_all(client) for client in clients] == [b"done"] * 3
            serving.stop()
        assert sorted(name.rpartition("_")[0] for name in names) == ["pool"] * 3


class Greeter:
    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting

    def greet(self, request: socket.socket, client_address: Any, server: Any) -> None:
        request.sendall(self.greeting)


class Greeting(socketserver.StreamRequestHandler):  # type: ignore[misc]
    def __init__(self, greeting: bytes, *args: Any, **kwargs: Any) -> None:
        self.greeting = greeting
        super().__init__(*args, **kwargs)

    def handle(self) -> None:
        self.wfile.write(self.greeting)


@both_loops
class TestRequestHandlerClass:
    @pytest.mark.parametrize(
        "handler",
        [
            functools.partial(Greeting, b"hello"),
            Greeter(b"hello").greet,
            lambda request, address, server: request.sendall(b"hello"),
            lambda *args: Greeting(b"hello", *args),
        ],
        ids=["partial", "bound method", "lambda", "lambda that makes one"],
    )
    def test_is_any_callable(self, server_loop: Any, way: Any, handler: Any) -> None:
        with leaving(way)(LOOPBACK, handler) as server:
            assert server.RequestHandlerClass is handler
            client = ask(server.server_address)
            server_loop(server)
            assert read_all(client) == b"hello"

    def test_is_given_request_address_and_server(self, server_loop: Any) -> None:
        given = []
        notes, _, address = run(noting(socketserver.TCPServer), lambda *args: given.append(args), server_loop)
        ((request, client_address, server),) = given
        assert isinstance(request, socket.socket)
        assert client_address == address
        assert server.notes is notes

    def test_is_read_at_each_request(self, server_loop: Any) -> None:
        with leaving(socketserver.TCPServer)(LOOPBACK, None) as server:
            server.RequestHandlerClass = EchoLine
            client = ask(server.server_address, b"late\n")
            server_loop(server)
            assert read_all(client) == b"late\n"


class Wrapper:
    """Stands in for a socket, as a TLS layer does: not a subclass, only what handlers and servers call."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def sendall(self, data: bytes) -> None:
        self.sock.sendall(b"<" + bytes(data) + b">")


@both_loops
class TestWrapping:
    def test_get_request_may_wrap_the_socket_and_name_any_address(self, server_loop: Any, way: Any) -> None:
        class Wrapping(way):  # type: ignore[misc]
            def get_request(self) -> Any:
                request, _ = super().get_request()
                request.settimeout(5.5)
                return Wrapper(request), {"any": "address"}

            def verify_request(self, request: Any, client_address: Any) -> bool:
                return isinstance(request, Wrapper) and client_address == {"any": "address"}

        class Handler(socketserver.StreamRequestHandler):  # type: ignore[misc]
            def handle(self) -> None:
                line = self.rfile.readline()
                self.wfile.write(f"{line!r} {self.client_address} {self.connection.gettimeout()}".encode())

        with leaving(Wrapping)(LOOPBACK, Handler) as server:
            client = ask(server.server_address, b"line")
            server_loop(server)
            assert read_all(client) == b"<b'line' {'any': 'address'} 5.5>"

    def test_finish_request_may_wrap_it_and_the_server_shuts_down_what_it_had(self, server_loop: Any) -> None:
        def finish_request(self: Any, request: Any, client_address: Any) -> None:
            self.RequestHandlerClass(Wrapper(request), client_address, self)

        notes, reply, _ = run(
            noting(socketserver.TCPServer, finish_request=finish_request), EchoLine, server_loop, b"line"
        )
        assert reply == b"<line>"
        assert notes[-2:] == [("shutdown_request", True), ("close_request", True)]

    def test_address_may_be_falsy(self, server_loop: Any) -> None:
        class Anonymous(socketserver.TCPServer):  # type: ignore[misc]
            def get_request(self) -> Any:
                return super().get_request()[0], None

        with leaving(Anonymous)(LOOPBACK, EchoLine) as server:
            client = ask(server.server_address, b"who\n")
            server_loop(server)
            assert read_all(client) == b"who\n"


class TestServiceActions:
    def test_run_every_turn_though_nothing_happens(self) -> None:
        class Counting(socketserver.TCPServer):  # type: ignore[misc]
            turns = 0

            def service_actions(self) -> None:
                self.turns += 1
                if self.turns == 20:
                    raise Leave

        with Counting(LOOPBACK, None) as server:
            began = time.monotonic()
            with pytest.raises(Leave):
                server.serve_forever(poll_interval=0.001)
            assert server.turns == 20
            assert time.monotonic() - began < 5  # by default it would have been ten seconds

    def test_given_to_the_instance(self) -> None:
        def leave() -> None:
            raise Leave

        with socketserver.TCPServer(LOOPBACK, None) as server:
            server.service_actions = leave
            with pytest.raises(Leave):
                server.serve_forever(poll_interval=0.001)

    def test_run_after_each_request(self) -> None:
        """Also where several requests wait at once and no poll interval will pass."""

        class Noting(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                notes.append("service_actions")
                if notes.count("handler") == 3:
                    raise Leave

        notes: list[str] = []
        with Noting(LOOPBACK, lambda *_: notes.append("handler")) as server:
            clients = [ask(server.server_address) for _ in range(3)]
            with pytest.raises(Leave):
                server.serve_forever(poll_interval=3600)
            assert notes.count("handler") == 3
            assert all(after == "service_actions" for note, after in pairwise(notes) if note == "handler")
            assert [read_all(client) for client in clients] == [b""] * 3

    def test_run_after_a_refused_request_too(self) -> None:
        class Refusing(socketserver.TCPServer):  # type: ignore[misc]
            def verify_request(self, request: Any, client_address: Any) -> bool:
                return False

        with leaving(Refusing)(LOOPBACK, None) as server:
            client = ask(server.server_address)
            with pytest.raises(Leave):
                server.serve_forever(poll_interval=3600)
            assert read_all(client) == b""

    def test_run_in_the_serving_thread(self, serve: Any) -> None:
        threads = []
        ran = threading.Event()

        class Noting(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                threads.append(threading.current_thread())
                ran.set()

        serving = serve(Noting(LOOPBACK, None))
        wait_for(ran)
        assert set(threads) == {serving.thread}


class TestServeForever:
    def test_timeout_is_for_handle_request(self, serve: Any) -> None:
        class Timing(socketserver.TCPServer):  # type: ignore[misc]
            timeout = 0
            timeouts = 0
            turns = 0

            def handle_timeout(self) -> None:
                self.timeouts += 1

            def service_actions(self) -> None:
                self.turns += 1
                if self.turns == 3:
                    raise Leave

        with Timing(LOOPBACK, EchoLine) as server:
            serve_here(server)
            assert server.timeouts == 0

    def test_handlers_run_in_the_calling_thread(self, serve: Any) -> None:
        threads = []
        server = socketserver.TCPServer(LOOPBACK, lambda *_: threads.append(threading.current_thread()))
        serving = serve(server)
        exchange(server.server_address)
        assert threads == [serving.thread]

    def test_one_request_at_a_time(self, serve: Any) -> None:
        entered, leave = threading.Event(), threading.Event()
        running = []

        def handler(request: socket.socket, *_: object) -> None:
            running.append(request.recv(100))
            request.sendall(b"%d" % len(running))
            entered.set()
            wait_for(leave)
            running.pop()

        server = socketserver.TCPServer(LOOPBACK, handler)
        serve(server)
        first = ask(server.server_address, b"first")
        wait_for(entered)
        second = ask(server.server_address, b"second")
        reading = in_thread(lambda: second.recv(100))
        assert is_still_waiting(reading)
        leave.set()
        join(reading)
        assert read_all(first) == b"1"
        assert read_all(second) == b""

    def test_many_servers_at_once_one_thread_each(self, serve: Any) -> None:
        barrier = threading.Barrier(8)

        def handler(request: socket.socket, *_: object) -> None:
            barrier.wait(5)  # passes only when all eight loops are in their handlers
            request.sendall(request.recv(100))

        servers = [socketserver.TCPServer(LOOPBACK, handler) for _ in range(8)]
        for server in servers:
            serve(server)
        clients = [ask(server.server_address, b"%d" % number) for number, server in enumerate(servers)]
        assert [read_all(client) for client in clients] == [b"%d" % number for number in range(8)]

    def test_may_be_overridden(self, serve: Any) -> None:
        class Overriding(socketserver.TCPServer):  # type: ignore[misc]
            def serve_forever(self, poll_interval: float = 0.02) -> None:
                calls.append("before")
                try:
                    super().serve_forever(poll_interval)
                finally:
                    calls.append("after")

        calls: list[str] = []
        server = Overriding(LOOPBACK, EchoLine)
        serving = serve(server, server.serve_forever)
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        serving.stop()
        assert calls == ["before", "after"]

    def test_may_be_aliased_when_the_class_is_made(self, serve: Any) -> None:
        class Aliasing(socketserver.TCPServer):  # type: ignore[misc]
            start = socketserver.TCPServer.serve_forever

            def serve_forever(self, poll_interval: float = 0.5) -> None:
                raise AssertionError

        server = Aliasing(LOOPBACK, EchoLine)
        serving = serve(server, lambda: server.start(0.01))
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        serving.stop()
        assert serving.error is None

    def test_may_be_a_loop_over_handle_request(self, serve: Any) -> None:
        class Stoppable(socketserver.TCPServer):  # type: ignore[misc]
            stopped = False

            def serve_forever(self, poll_interval: float = 0.5) -> None:
                while not self.stopped:
                    self.handle_request()

            def shutdown(self) -> None:
                self.stopped = True
                connect(self.server_address).close()  # ends the wait, if it is waiting

        server = Stoppable(LOOPBACK, EchoLine)
        serving = serve(server, server.serve_forever)
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        serving.stop()
        assert serving.error is None

    @pytest.mark.parametrize(
        "error",
        [
            ConnectionAbortedError(errno.ECONNABORTED, "aborted"),
            ConnectionAbortedError(),
            TimeoutError(),
            BlockingIOError(),
            OSError(errno.EINVAL, "an option that a connection which is gone does not take"),
            OSError(errno.ENOTCONN, "getpeername() of such a connection"),
            OSError(errno.EBADF, "a file that the hook has used"),
            ssl.SSLError(1, "handshake"),
        ],
        ids=repr,
    )
    def test_os_error_of_get_request_does_not_end_it(self, serve: Any, error: OSError) -> None:
        class Failing(socketserver.TCPServer):  # type: ignore[misc]
            failures = 3

            def get_request(self) -> Any:
                if self.failures:
                    self.failures -= 1
                    raise error
                return super().get_request()

        server = Failing(LOOPBACK, EchoLine)
        serving = serve(server)
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        assert server.failures == 0
        assert serving.error is None

    def test_other_errors_of_get_request_do(self) -> None:
        class Failing(socketserver.TCPServer):  # type: ignore[misc]
            def get_request(self) -> Any:
                raise Failure("get_request")

        with Failing(LOOPBACK, None) as server:
            client = ask(server.server_address)
            with pytest.raises(Failure, match="get_request"):
                server.serve_forever()
            client.close()

    @pytest.mark.parametrize("timeout", [None, 5, 0])
    def test_listener_is_afterwards_as_it_was(self, timeout: float | None) -> None:
        """Also while it serves, what it accepts is blocking."""
        seen = []

        def handler(request: socket.socket, *_: object) -> None:
            seen.append((request.gettimeout(), os.get_blocking(request.fileno())))

        with leaving(socketserver.TCPServer)(LOOPBACK, handler) as server:
            server.socket.settimeout(timeout)
            client = ask(server.server_address)
            serve_here(server)
            assert read_all(client) == b""
            assert server.socket.gettimeout() == timeout
            assert os.get_blocking(server.fileno()) is (timeout is None)
        assert seen == [(None, True)]

    def test_client_that_is_gone_before_it_is_served(self, serve: Any) -> None:
        entered, leave = threading.Event(), threading.Event()

        def handler(request: socket.socket, *_: object) -> None:
            entered.set()
            wait_for(leave)

        server = socketserver.TCPServer(LOOPBACK, handler)
        serving = serve(server)
        first = ask(server.server_address)
        wait_for(entered)
        ask(server.server_address).close()  # waits in the backlog, and is gone
        leave.set()
        assert read_all(first) == b""
        assert exchange(server.server_address) == b""
        assert serving.error is None

    def test_positional_and_keyword_poll_interval(self, serve: Any) -> None:
        for loop in (lambda it: it.serve_forever(0.01), lambda it: it.serve_forever(poll_interval=0.01)):
            with leaving(socketserver.TCPServer)(LOOPBACK, EchoLine) as server:
                client = ask(server.server_address, b"hello\n")
                with pytest.raises(Leave):
                    loop(server)
                assert read_all(client) == b"hello\n"


def test_forked_server_class_is_contained() -> None:
    """The classes made for these tests are the ones they claim to be."""
    for name in ("TCPServer", "ThreadingTCPServer", "ForkingTCPServer"):
        base = getattr(socketserver, name, None)
        if base is not None:
            assert issubclass(leaving(base), contained(base).__mro__[1] if "Forking" in name else base)
