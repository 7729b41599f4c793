"""`handle_request`: one request, synchronously, in the calling thread, on the real socket, within a timeout."""

import errno
import io
import os
import select
import signal
import socket
import ssl
import sys
import threading
import time
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    PATIENCE_S,
    EchoLine,
    EchoPacket,
    ask,
    datagram_client,
    exchange,
    in_thread,
    join,
    ours_only,
    read_all,
    socketserver,
    wait_for,
)

TIMED_OUT = "what handle_timeout returned"


class TimingServer(socketserver.TCPServer):  # type: ignore[misc]
    """Counts its timeouts."""

    timeouts = 0

    def handle_timeout(self) -> Any:
        self.timeouts += 1
        return TIMED_OUT


class Unexpected(socketserver.BaseRequestHandler):  # type: ignore[misc]
    """Must not be made."""

    def __init__(self, *args: object) -> None:
        raise AssertionError("no request was to be handled")


def test_handles_exactly_one_request() -> None:
    with TimingServer(LOOPBACK, EchoLine) as server:
        server.timeout = 0
        first, second = ask(server.server_address, b"first\n"), ask(server.server_address, b"second\n")
        server.timeout = PATIENCE_S
        server.handle_request()
        assert read_all(first) == b"first\n"
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.recv(100)
        second.settimeout(PATIENCE_S)
        server.handle_request()
        assert read_all(second) == b"second\n"
        assert server.timeouts == 0


def test_handles_one_packet() -> None:
    with socketserver.UDPServer(LOOPBACK, EchoPacket) as server, datagram_client(server.server_address) as client:
        client.send(b"one")
        client.send(b"two")
        server.handle_request()
        assert client.recv(100) == b"one"
        server.handle_request()
        assert client.recv(100) == b"two"


def test_runs_in_the_calling_thread() -> None:
    threads = []

    def handler(*_: object) -> None:
        threads.append(threading.get_ident())

    with socketserver.TCPServer(LOOPBACK, handler) as server:
        client = ask(server.server_address)
        server.handle_request()
        assert threads == [threading.get_ident()]
        assert read_all(client) == b""


def test_waits_for_a_request_without_a_timeout() -> None:
    with TimingServer(LOOPBACK, EchoLine) as server:
        reply = []
        client = in_thread(lambda: reply.append(exchange(server.server_address, b"late\n")))
        server.handle_request()
        join(client)
        assert reply == [b"late\n"]
        assert server.timeouts == 0


@pytest.mark.parametrize(
    ("socket_timeout", "server_timeout"), [(0, 3600), (3600, 0), (0, None), (None, 0), (0.01, 3600), (3600, 0.01)]
)
def test_timeout_is_the_smaller_of_socket_and_server(socket_timeout: Any, server_timeout: Any) -> None:
    with TimingServer(LOOPBACK, Unexpected) as server:
        server.socket.settimeout(socket_timeout)
        server.timeout = server_timeout
        assert server.handle_request() == TIMED_OUT
        assert server.timeouts == 1


def test_timeout_is_waited_for() -> None:
    with TimingServer(LOOPBACK, Unexpected) as server:
        server.timeout = 0.05
        began = time.monotonic()
        server.handle_request()
        assert time.monotonic() - began >= 0.05


def test_timeout_returns_none_by_default() -> None:
    with socketserver.TCPServer(LOOPBACK, Unexpected) as server:
        server.timeout = 0
        assert server.handle_request() is None


def test_request_that_has_arrived_beats_a_timeout_of_zero() -> None:
    with TimingServer(LOOPBACK, EchoLine) as server:
        server.timeout = 0
        client = ask(server.server_address, b"here\n")
        assert server.handle_request() is None
        assert read_all(client) == b"here\n"
        assert server.timeouts == 0


def test_server_can_be_asked_again_after_a_timeout() -> None:
    with TimingServer(LOOPBACK, EchoLine) as server:
        server.timeout = 0
        assert server.handle_request() == TIMED_OUT
        client = ask(server.server_address, b"again\n")
        server.handle_request()
        assert read_all(client) == b"again\n"


@pytest.mark.parametrize("listener_timeout", [5, None])
def test_request_is_blocking_whatever_the_listener_is(listener_timeout: float | None) -> None:
    seen = []

    def handler(request: socket.socket, *_: object) -> None:
        seen.append((request.gettimeout(), os.get_blocking(request.fileno())))

    with socketserver.TCPServer(LOOPBACK, handler) as server:
        server.socket.settimeout(listener_timeout)
        client = ask(server.server_address)
        server.handle_request()
        assert read_all(client) == b""
    assert seen == [(None, True)]


@pytest.mark.parametrize(
    "error",
    [ConnectionAbortedError(), TimeoutError(), BlockingIOError(), OSError(errno.EMFILE, "no more"), ssl.SSLError(1)],
    ids=["aborted", "timeout", "would block", "too many files", "TLS"],
)
def test_os_error_of_get_request_is_swallowed(error: OSError) -> None:
    class Failing(TimingServer):
        calls = 0

        def get_request(self) -> Any:
            self.calls += 1
            raise error

        def verify_request(self, request: Any, client_address: Any) -> bool:
            raise AssertionError

        def handle_error(self, request: Any, client_address: Any) -> None:
            raise AssertionError

    with Failing(LOOPBACK, Unexpected) as server:
        client = ask(server.server_address)
        assert server.handle_request() is None
        assert (server.calls, server.timeouts) == (1, 0)
        client.close()


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_other_errors_of_get_request_are_raised(error: type[BaseException]) -> None:
    class Failing(socketserver.TCPServer):  # type: ignore[misc]
        def get_request(self) -> Any:
            raise error("get_request")

    with Failing(LOOPBACK, Unexpected) as server:
        client = ask(server.server_address)
        with pytest.raises(error, match="get_request"):
            server.handle_request()
        client.close()


@ours_only
def test_error_of_verify_request_is_an_error_of_the_request() -> None:
    """The standard library raises it, and forgets the connection: nobody closes it."""
    calls = []

    class Failing(socketserver.TCPServer):  # type: ignore[misc]
        def verify_request(self, request: Any, client_address: Any) -> bool:
            raise ValueError("verify_request")

        def handle_error(self, request: Any, client_address: Any) -> None:
            calls.append(str(sys.exc_info()[1]))

        def shutdown_request(self, request: Any) -> None:
            calls.append("shutdown_request")
            super().shutdown_request(request)

    with Failing(LOOPBACK, Unexpected) as server:
        client = ask(server.server_address)
        server.handle_request()
        assert calls == ["verify_request", "shutdown_request"]
        assert read_all(client) == b""


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_exit_in_a_handler_leaves_with_the_request_shut_down_once(error: type[BaseException]) -> None:
    shut_down = []

    class Noting(socketserver.TCPServer):  # type: ignore[misc]
        def shutdown_request(self, request: Any) -> None:
            shut_down.append(request)
            super().shutdown_request(request)

        def handle_error(self, request: Any, client_address: Any) -> None:
            raise AssertionError

    def handler(*_: object) -> None:
        raise error

    with Noting(LOOPBACK, handler) as server:
        client = ask(server.server_address)
        with pytest.raises(error):
            server.handle_request()
        assert len(shut_down) == 1
        assert read_all(client) == b""


def test_service_actions_are_for_serve_forever() -> None:
    class Noting(socketserver.TCPServer):  # type: ignore[misc]
        def service_actions(self) -> None:
            raise AssertionError

    with Noting(LOOPBACK, EchoLine) as server:
        client = ask(server.server_address, b"one\n")
        server.handle_request()
        assert read_all(client) == b"one\n"


def test_several_servers_under_a_select_of_ones_own() -> None:
    class Named(socketserver.TCPServer):  # type: ignore[misc]
        name = b""

    def handler(request: socket.socket, _: object, server: Any) -> None:
        request.sendall(server.name)

    servers = [Named(LOOPBACK, handler) for _ in range(3)]
    for number, server in enumerate(servers):
        server.name = b"%d" % number
    clients = [ask(servers[number].server_address) for number in (2, 0)]
    handled = []
    while len(handled) < len(clients):
        for server in select.select(servers, [], [], PATIENCE_S)[0]:
            server.handle_request()
            handled.append(server.name)
    assert sorted(handled) == [b"0", b"2"]
    assert [read_all(client) for client in clients] == [b"2", b"0"]
    for server in servers:
        server.server_close()


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_signal_does_not_cut_the_wait_short() -> None:
    signalled = threading.Event()
    main = threading.get_ident()
    with TimingServer(LOOPBACK, EchoLine) as server:
        server.timeout = PATIENCE_S
        replies = []

        def client() -> None:
            signal.pthread_kill(main, signal.SIGUSR1)
            wait_for(signalled)
            replies.append(exchange(server.server_address, b"after\n"))

        previous = signal.signal(signal.SIGUSR1, lambda *_: signalled.set())
        try:
            thread = in_thread(client)
            server.handle_request()
            join(thread)
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert replies == [b"after\n"]
        assert server.timeouts == 0


@pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
def test_exception_from_the_signal_handler_leaves_the_wait() -> None:
    class Interrupted(Exception):
        pass

    def interrupt(*_: object) -> None:
        raise Interrupted

    main = threading.get_ident()
    with TimingServer(LOOPBACK, EchoLine) as server:
        previous = signal.signal(signal.SIGUSR1, interrupt)
        threads = []

        def wait_to_be_interrupted() -> None:
            threads.append(in_thread(signal.pthread_kill, main, signal.SIGUSR1))
            server.handle_request()

        try:
            with pytest.raises(Interrupted):
                wait_to_be_interrupted()
            for thread in threads:
                join(thread)
        finally:
            signal.signal(signal.SIGUSR1, previous)
        client = ask(server.server_address, b"next\n")
        server.handle_request()
        assert read_all(client) == b"next\n"


def test_from_a_handler_for_another_server() -> None:
    def forward(request: socket.socket, *_: object) -> None:
        client = ask(inner.server_address, request.recv(100))
        inner.handle_request()
        request.sendall(read_all(client))

    with socketserver.TCPServer(LOOPBACK, EchoLine) as inner, socketserver.TCPServer(LOOPBACK, forward) as outer:
        client = ask(outer.server_address, b"nested\n")
        outer.handle_request()
        assert read_all(client) == b"nested\n"


def test_what_is_waited_for_is_the_servers_fileno() -> None:
    """A server may have its own idea of when a request has come: the end of a pipe that its producer writes to."""

    class Signalled(TimingServer):
        def fileno(self) -> int:
            return reader

    reader, writer = os.pipe()
    try:
        with Signalled(LOOPBACK, EchoLine) as server:
            server.timeout = 0
            client = ask(server.server_address, b"here\n")
            assert server.handle_request() == TIMED_OUT
            os.write(writer, b"!")
            server.handle_request()
            assert read_all(client) == b"here\n"
            assert server.timeouts == 1
    finally:
        os.close(reader)
        os.close(writer)


def test_on_a_socket_that_is_no_socket() -> None:
    """`handle_request` needs `fileno()` and `socket.gettimeout()` of a server, and nothing else of its socket."""

    class PipeServer(socketserver.BaseServer):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__("a pipe", lambda request, address, server: got.append((request, address)))
            self.reader, self.writer = os.pipe()
            self.socket = self

        def fileno(self) -> int:
            return self.reader

        def gettimeout(self) -> float:
            return PATIENCE_S

        def get_request(self) -> Any:
            return io.BytesIO(os.read(self.reader, 100)), "whoever"

        def server_close(self) -> None:
            os.close(self.reader)
            os.close(self.writer)

    got: list[Any] = []
    with PipeServer() as server:
        os.write(server.writer, b"through a pipe")
        server.handle_request()
        assert [(request.getvalue(), address) for request, address in got] == [(b"through a pipe", "whoever")]
