"""ThreadingMixIn: a real thread for each request, and what closing the server waits for."""

import socket
import sys
import threading
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    EchoPacket,
    ask,
    datagram_client,
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


class Gate:
    """A handler that waits inside, so that a test can look around while it runs."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.leave = threading.Event()
        self.threads: list[threading.Thread] = []

    def __call__(self, request: socket.socket, client_address: Any, server: Any) -> None:
        self.threads.append(threading.current_thread())
        self.entered.set()
        wait_for(self.leave)
        request.sendall(b"left")


@pytest.fixture
def gate() -> Any:
    gate = Gate()
    yield gate
    gate.leave.set()
    for thread in gate.threads:
        join(thread)


class TestThreads:
    @both_loops
    def test_each_request_has_a_thread_of_its_own(self, server_loop: Any) -> None:
        threads = []
        barrier = threading.Barrier(3)

        def handler(*_: object) -> None:
            threads.append(threading.current_thread())
            barrier.wait(5)  # all three run at once

        with leaving(socketserver.ThreadingTCPServer, requests=3)(LOOPBACK, handler) as server:
            clients = [ask(server.server_address) for _ in range(3)]
            server_loop(server)
            if server_loop is serve_one:
                server_loop(server)
                server_loop(server)
            assert [read_all(client) for client in clients] == [b""] * 3
        assert len({thread.ident for thread in threads} | {threading.get_ident()}) == 4

    def test_loop_goes_on_while_a_handler_waits(self, serve: Any, gate: Gate) -> None:
        handlers = [gate, lambda request, *_: request.sendall(b"quick")]
        server = socketserver.ThreadingTCPServer(LOOPBACK, lambda *args: handlers.pop(0)(*args))
        serve(server)
        slow = ask(server.server_address)
        wait_for(gate.entered)
        assert exchange(server.server_address) == b"quick"
        gate.leave.set()
        assert read_all(slow) == b"left"

    @both_loops
    def test_thread_runs_process_request_thread(self, server_loop: Any) -> None:
        class Noting(socketserver.ThreadingTCPServer):  # type: ignore[misc]
            def process_request_thread(self, request: Any, client_address: Any) -> None:
                calls.append((client_address, threading.current_thread() is not here))
                super().process_request_thread(request, client_address)

        calls: list[Any] = []
        here = threading.current_thread()
        with leaving(Noting)(LOOPBACK, lambda *_: None) as server:
            client = ask(server.server_address)
            address = client.getsockname()
            server_loop(server)
            assert read_all(client) == b""
        assert calls == [(address, True)]

    def test_process_request_thread_may_be_called_by_hand(self) -> None:
        """Pools do. It finishes the request, or handles its error, and shuts it down once either way."""

        class Noting(socketserver.ThreadingMixIn, socketserver.BaseServer):  # type: ignore[misc]
            def handle_error(self, *args: Any) -> None:
                calls.append(("handle_error", args))

            def shutdown_request(self, *args: Any) -> None:
                calls.append(("shutdown_request", args))

        def handler(request: str, *_: object) -> None:
            if request == "bad":
                raise ValueError

        calls: list[Any] = []
        server = Noting("address", handler)
        server.process_request_thread("good", "client")
        assert calls == [("shutdown_request", ("good",))]
        server.process_request_thread("bad", "client")
        assert calls[1:] == [("handle_error", ("bad", "client")), ("shutdown_request", ("bad",))]

    @pytest.mark.parametrize("daemon", [False, True])
    @both_loops
    def test_daemon_threads(self, server_loop: Any, daemon: bool) -> None:
        seen = []

        def handler(request: socket.socket, *_: object) -> None:
            seen.append(threading.current_thread().daemon)
            request.sendall(b"seen")

        with leaving(socketserver.ThreadingTCPServer)(LOOPBACK, handler) as server:
            server.daemon_threads = daemon
            client = ask(server.server_address)
            server_loop(server)
            assert read_all(client) == b"seen"
        assert seen == [daemon]

    @pytest.mark.parametrize("daemon", [False, True])
    def test_daemon_threads_hold_whatever_thread_serves(self, serve: Any, daemon: bool) -> None:
        # A new thread is what its starter is, unless it is told; the fixture's serving thread is a daemon.
        seen = []
        server = socketserver.ThreadingTCPServer(LOOPBACK, lambda *_: seen.append(threading.current_thread().daemon))
        server.daemon_threads = daemon
        serving = serve(server)
        exchange(server.server_address)
        serving.stop()
        assert seen == [daemon]

    @both_loops
    def test_datagrams_too(self, server_loop: Any) -> None:
        threads = []

        class Handler(EchoPacket):
            def handle(self) -> None:
                threads.append(threading.get_ident())
                super().handle()

        with (
            leaving(socketserver.ThreadingUDPServer)(LOOPBACK, Handler) as server,
            datagram_client(server.server_address) as client,
        ):
            client.send(b"packet")
            server_loop(server)
            assert client.recv(100) == b"packet"
        assert threads != [threading.get_ident()]


class TestErrors:
    @both_loops
    def test_error_is_handled_in_the_thread(self, server_loop: Any) -> None:
        class Noting(socketserver.ThreadingTCPServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                errors.append((sys.exc_info()[0], client_address, threading.get_ident()))

        def handler(*_: object) -> None:
            threads.append(threading.get_ident())
            raise ValueError

        errors: list[Any] = []
        threads: list[int] = []
        with leaving(Noting)(LOOPBACK, handler) as server:
            client = ask(server.server_address)
            address = client.getsockname()
            server_loop(server)
            assert read_all(client) == b""
        assert errors == [(ValueError, address, threads[0])]

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    @both_loops
    def test_exit_reaches_the_excepthook_with_the_request_shut_down_once(
        self, server_loop: Any, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class Noting(socketserver.ThreadingTCPServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                calls.append("handle_error")

            def shutdown_request(self, request: Any) -> None:
                calls.append("shutdown_request")
                super().shutdown_request(request)

        def handler(*_: object) -> None:
            raise error

        def hook(args: threading.ExceptHookArgs) -> None:
            calls.append(args.exc_type)

        calls: list[Any] = []
        monkeypatch.setattr(threading, "excepthook", hook)
        with leaving(Noting)(LOOPBACK, handler) as server:
            client = ask(server.server_address)
            server_loop(server)
            assert read_all(client) == b""
        assert calls == ["shutdown_request", error]

    def test_exit_does_not_end_the_loop(self, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(threading, "excepthook", lambda args: None)
        handlers = [lambda *_: sys.exit(1), lambda request, *_: request.sendall(b"next")]
        server = socketserver.ThreadingTCPServer(LOOPBACK, lambda *args: handlers.pop(0)(*args))
        serving = serve(server)
        assert exchange(server.server_address) == b""
        assert exchange(server.server_address) == b"next"
        serving.stop()
        assert serving.error is None

    def test_thread_that_cannot_start_is_an_error_of_the_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Noting(socketserver.ThreadingTCPServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                calls.append("handle_error")

            def shutdown_request(self, request: Any) -> None:
                calls.append("shutdown_request")
                super().shutdown_request(request)

            block_on_close = False  # there is no thread that could be joined

        def refuse(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        calls: list[str] = []
        with Noting(LOOPBACK, None) as server:
            client = ask(server.server_address)
            with monkeypatch.context() as patched:
                patched.setattr(threading.Thread, "start", refuse)
                server.handle_request()
            assert read_all(client) == b""
        assert calls == ["handle_error", "shutdown_request"]


class TestClosing:
    def begin(self, gate: Gate, **options: Any) -> tuple[Any, socket.socket]:
        """Return a server with these options, with one request in its handler, and the client."""
        server = type("Server", (socketserver.ThreadingTCPServer,), options)(LOOPBACK, gate)
        client = ask(server.server_address)
        server.handle_request()
        wait_for(gate.entered)
        return server, client

    def test_waits_for_the_threads(self, gate: Gate) -> None:
        server, client = self.begin(gate)
        closing = in_thread(server.server_close)
        assert is_still_waiting(closing)
        assert not gate.leave.is_set()
        gate.leave.set()
        join(closing)
        assert not gate.threads[0].is_alive()
        assert len(server._threads) == 0
        assert read_all(client) == b"left"

    @pytest.mark.parametrize("options", [{"block_on_close": False}, {"daemon_threads": True}])
    def test_does_not_wait(self, gate: Gate, options: Any) -> None:
        server, client = self.begin(gate, **options)
        server.server_close()
        assert gate.threads[0].is_alive()
        gate.leave.set()
        assert read_all(client) == b"left"

    def test_takes_no_more_connections_while_it_waits(self, gate: Gate) -> None:
        server, client = self.begin(gate)
        closing = in_thread(server.server_close)
        is_still_waiting(closing)
        assert server.fileno() == -1
        gate.leave.set()
        join(closing)
        assert read_all(client) == b"left"

    def test_before_any_request(self) -> None:
        server = socketserver.ThreadingTCPServer(LOOPBACK, lambda: None)
        server.server_close()
        assert server.fileno() == -1

    def test_twice(self, gate: Gate) -> None:
        server, client = self.begin(gate)
        gate.leave.set()
        server.server_close()
        server.server_close()
        assert read_all(client) == b"left"

    def test_servers_do_not_wait_for_each_others_threads(self, gate: Gate) -> None:
        server, client = self.begin(gate)
        with socketserver.ThreadingTCPServer(LOOPBACK, lambda *_: None) as other:
            second = ask(other.server_address)
            other.handle_request()
            assert read_all(second) == b""
        gate.leave.set()
        server.server_close()
        assert read_all(client) == b"left"

    def test_block_on_close_may_be_said_of_one_server(self, gate: Gate) -> None:
        server = socketserver.ThreadingTCPServer(LOOPBACK, gate)
        server.block_on_close = False
        client = ask(server.server_address)
        server.handle_request()
        wait_for(gate.entered)
        server.server_close()
        gate.leave.set()
        assert read_all(client) == b"left"

    def test_shutdown_leaves_the_threads_to_server_close(self, serve: Any, gate: Gate) -> None:
        server = socketserver.ThreadingTCPServer(LOOPBACK, gate)
        serving = serve(server)
        client = ask(server.server_address)
        wait_for(gate.entered)
        server.shutdown()
        serving.join()
        assert gate.threads[0].is_alive()
        gate.leave.set()
        assert read_all(client) == b"left"


class TestReaping:
    def test_finished_threads_are_forgotten(self) -> None:
        """cpython#81374: a server kept every thread it ever had."""
        threads = []
        with socketserver.ThreadingTCPServer(LOOPBACK, lambda *_: threads.append(threading.current_thread())) as server:
            for number in range(10):
                client = ask(server.server_address)
                server.handle_request()
                assert read_all(client) == b""
                join(threads[number])
            assert len(server._threads) == 1

    def test_running_threads_are_not(self, gate: Gate) -> None:
        with socketserver.ThreadingTCPServer(LOOPBACK, gate) as server:
            clients = []
            for _ in range(3):
                clients.append(ask(server.server_address))
                server.handle_request()
            assert len(server._threads) == 3
            gate.leave.set()
            assert [read_all(client) for client in clients] == [b"left"] * 3

    @pytest.mark.parametrize("options", [{"block_on_close": False}, {"daemon_threads": True}])
    def test_threads_that_are_not_waited_for_are_not_kept(self, gate: Gate, options: Any) -> None:
        server = type("Server", (socketserver.ThreadingTCPServer,), options)(LOOPBACK, gate)
        with server:
            client = ask(server.server_address)
            server.handle_request()
            wait_for(gate.entered)
            kept = server._threads
            assert not kept or not list(kept) if hasattr(kept, "__len__") else True
            gate.leave.set()
            assert read_all(client) == b"left"


def test_mixin_works_on_any_server() -> None:
    """It needs `finish_request`, `handle_error`, `shutdown_request` and a `server_close` to call on."""

    class Plain:
        def finish_request(self, request: Any, client_address: Any) -> None:
            finished.append((request, client_address, threading.get_ident()))

        def shutdown_request(self, request: Any) -> None:
            finished.append("shut down")

        def server_close(self) -> None:
            finished.append("closed")

    class Server(socketserver.ThreadingMixIn, Plain):  # type: ignore[misc]
        pass

    finished: list[Any] = []
    server = Server()
    server.process_request("request", "client")
    server.server_close()
    assert sorted(finished, key=str)[0][:2] == ("request", "client")
    assert {"shut down", "closed"} < set(finished)
