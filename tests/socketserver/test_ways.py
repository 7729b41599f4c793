"""Unmodified blocking handlers that share one thread: way "greenlet", and way "framed" for those that never ask back.

What is tested is what users of socketserver rely on, seen through serve_forever of an ordinary server that names a way.
How the ways work is tested beside their own modules.
"""

import gc
import os
import socket
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    PATIENCE_S,
    EchoLine,
    ask,
    connect,
    exchange,
    in_thread,
    join,
    leaving,
    ours_only,
    read_all,
    socketserver,
    wait_for,
)

reactor = pytest.importorskip("reactor")
pytestmark = ours_only

needs_greenlet = pytest.mark.skipif(find_spec("greenlet") is None, reason="needs the extra greenlet")
ORDER = ["get_request", "verify_request", "process_request", "finish_request", "shutdown_request", "close_request"]
HUGE = 8 << 20  # more than two sockets hold


def in_way(way: str, base: Any = socketserver.TCPServer, **attributes: Any) -> Any:
    """Return a server class whose handlers run in this way; frames are lines."""
    if way == "framed":
        attributes = {"framing": reactor.Lines(), **attributes}
    return type(base.__name__, (base,), {"way": way, **attributes})


class Noting(socketserver.TCPServer):  # type: ignore[misc,name-defined]
    """Notes its hooks, and whether they were given what get_request returned."""

    def __init__(self, *args: Any) -> None:
        self.notes: list[str] = []
        super().__init__(*args)

    def get_request(self) -> Any:
        accepted = super().get_request()
        self.notes.append("get_request")  # it is asked once more, to hear that nobody else waits
        return accepted

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.notes.append("verify_request")
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        self.notes.append("process_request")
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.notes.append("finish_request")
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.notes.append(f"handle_error {sys.exc_info()[1]}")

    def shutdown_request(self, request: Any) -> None:
        self.notes.append("shutdown_request")
        super().shutdown_request(request)

    def close_request(self, request: Any) -> None:
        self.notes.append("close_request")
        super().close_request(request)


class EchoLines(socketserver.StreamRequestHandler):  # type: ignore[misc,name-defined]
    """Answers every line, and says which handler it was."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line)


@pytest.fixture(params=[pytest.param("greenlet", marks=needs_greenlet), "framed"])
def shared_way(request: pytest.FixtureRequest) -> str:
    """Give each way that needs one thread only."""
    return str(request.param)


class TestEither:
    def test_a_silent_client_holds_nobody_up_in_the_one_thread(self, serve: Any, shared_way: str) -> None:
        threads = set()

        class Handler(EchoLine):
            def handle(self) -> None:
                threads.add(threading.current_thread())
                super().handle()

        server = in_way(shared_way)(LOOPBACK, Handler)
        serving = serve(server)
        with connect(server.server_address), connect(server.server_address) as slow:
            slow.sendall(b"half a li")
            assert [exchange(server.server_address, b"%d\n" % number) for number in range(3)] == [b"0\n", b"1\n", b"2\n"]
            slow.sendall(b"ne\n")
            assert slow.recv(100) == b"half a line\n"
        serving.stop()
        assert serving.error is None
        assert threads == {serving.thread}

    def test_hooks_come_in_order_and_once(self, serve: Any, shared_way: str) -> None:
        server = in_way(shared_way, Noting)(LOOPBACK, EchoLine)
        serving = serve(server)
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        serving.stop()
        assert server.notes == ORDER

    def test_error_is_handled_then_the_request_is_shut_down_once(self, serve: Any, shared_way: str) -> None:
        class Failing(EchoLine):
            def handle(self) -> None:
                super().handle()
                raise ValueError("from the handler")

        server = in_way(shared_way, Noting)(LOOPBACK, Failing)
        serving = serve(server)
        assert exchange(server.server_address, b"written before\n") == b"written before\n"
        serving.stop()
        assert server.notes == [*ORDER[:4], "handle_error from the handler", *ORDER[4:]]
        assert serving.error is None

    def test_refused_request_is_shut_down_once(self, serve: Any, shared_way: str) -> None:
        def verify_request(self: Any, request: Any, client_address: Any) -> None:
            self.notes.append("verify_request")

        server = in_way(shared_way, Noting, verify_request=verify_request)(LOOPBACK, EchoLine)
        serving = serve(server)
        assert exchange(server.server_address, b"hello\n") == b""
        serving.stop()
        assert server.notes == ["get_request", "verify_request", "shutdown_request", "close_request"]

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    def test_exit_in_a_handler_leaves_the_loop(self, serve: Any, shared_way: str, error: type[BaseException]) -> None:
        def handler(request: Any, *_: object) -> None:
            request.recv(1)
            raise error("from the handler")

        server = in_way(shared_way, Noting)(LOOPBACK, handler)
        serving = serve(server)
        with connect(server.server_address) as client:
            client.sendall(b"hello\n")
            serving.join()
        assert isinstance(serving.error, error)
        serving.error = None  # its traceback keeps what it has seen
        serving.stop()
        gc.collect()  # a socket left open would warn here
        assert server.notes.count("shutdown_request") == 1

    def test_large_reply_to_a_slow_reader_holds_nobody_up(self, serve: Any, shared_way: str) -> None:
        class Handler(socketserver.StreamRequestHandler):  # type: ignore[misc,name-defined]
            def handle(self) -> None:
                self.wfile.write(bytes(int(self.rfile.readline())))

        server = in_way(shared_way)(LOOPBACK, Handler)
        serve(server)
        slow = ask(server.server_address, b"%d\n" % HUGE)
        assert slow.recv(1) == b"\0"
        assert exchange(server.server_address, b"3\n") == bytes(3)
        assert len(read_all(slow)) == HUGE - 1

    def test_small_replies_are_sent_at_once(self, serve: Any, shared_way: str) -> None:
        class Handler(EchoLine):
            def handle(self) -> None:
                super().handle()
                undelayed.append(self.connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

        undelayed: list[int] = []
        server = in_way(shared_way)(LOOPBACK, Handler)
        serving = serve(server)
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        serving.stop()
        assert all(undelayed)
        assert len(undelayed) == 1

    def test_shutdown_takes_no_further_request_and_server_serves_again(self, serve: Any, shared_way: str) -> None:
        server = in_way(shared_way)(LOOPBACK, EchoLine)
        for _ in range(2):
            serving = serve(server)
            assert exchange(server.server_address, b"hello\n") == b"hello\n"
            server.shutdown()
            serving.join()

    def test_handle_request_serves_one(self, shared_way: str) -> None:
        with in_way(shared_way)(LOOPBACK, EchoLine) as server:
            server.timeout = PATIENCE_S
            clients = [ask(server.server_address, b"%d\n" % number) for number in range(2)]
            for number, client in enumerate(clients):
                server.handle_request()
                assert read_all(client) == b"%d\n" % number


@needs_greenlet
class TestGreenlet:
    def serve_one(self, serve: Any, handle: Callable[[Any], object], **attributes: Any) -> Any:
        """Serve a handler with this `handle`; return the server."""

        def call(self: Any) -> None:
            handle(self)

        handler = type("Handler", (socketserver.StreamRequestHandler,), {"handle": call, **attributes})
        server = in_way("greenlet")(LOOPBACK, handler)
        serve(server)
        return server

    def test_request_is_the_blocking_socket_that_get_request_returned(self, serve: Any) -> None:
        seen: dict[str, Any] = {}

        class Remembering(socketserver.TCPServer):  # type: ignore[misc,name-defined]
            way = "greenlet"

            def get_request(self) -> Any:
                self.accepted, address = super().get_request()
                return self.accepted, address

        class Handler(EchoLine):
            def handle(self) -> None:
                super().handle()
                seen["same"] = self.server.accepted is self.request is self.connection is self.rfile.raw._sock
                seen["socket"] = isinstance(self.request, socket.socket)
                seen["timeout"] = self.request.gettimeout()
                seen["blocking"] = os.get_blocking(self.request.fileno())

        server = Remembering(LOOPBACK, Handler)
        serve(server)
        assert exchange(server.server_address, b"hello\n") == b"hello\n"
        assert seen == {"same": True, "socket": True, "timeout": None, "blocking": True}

    def test_server_may_speak_first_and_ask_back(self, serve: Any) -> None:
        def handle(handler: Any) -> None:
            handler.wfile.write(b"name? ")
            name = handler.rfile.readline().strip()
            handler.wfile.write(b"age? ")
            age = handler.rfile.readline().strip()
            handler.wfile.write(name + b" is " + age)

        server = self.serve_one(serve, handle)
        with connect(server.server_address) as first, connect(server.server_address) as second:
            for client in (first, second):
                assert client.recv(100) == b"name? "
            for client, name in ((second, b"Bob\n"), (first, b"Ann\n")):
                client.sendall(name)
                assert client.recv(100) == b"age? "
            for client, age in ((first, b"3\n"), (second, b"4\n")):
                client.sendall(age)
            assert first.recv(100) == b"Ann is 3"
            assert second.recv(100) == b"Bob is 4"

    def test_timeout_is_the_handlers_own(self, serve: Any) -> None:
        def handle(handler: Any) -> None:
            try:
                handler.rfile.readline()
            except TimeoutError:
                handler.wfile.write(b"timed out")

        server = self.serve_one(serve, handle, timeout=0.01)
        with connect(server.server_address) as silent:
            assert silent.recv(100) == b"timed out"

    def test_program_may_take_over_the_connection(self, serve: Any) -> None:
        def handle(handler: Any) -> None:
            handler.wfile.write(handler.rfile.readline())
            program = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=[
                (os.POSIX_SPAWN_DUP2, handler.connection.fileno(), 0),
                (os.POSIX_SPAWN_DUP2, handler.wfile.fileno(), 1),
            ])  # fmt: skip
            os.waitpid(program, 0)

        server = self.serve_one(serve, handle, rbufsize=0)
        assert exchange(server.server_address, b"head\nbody") == b"head\nbody"

    def test_socket_that_is_kept_is_an_ordinary_one_afterwards(self, serve: Any) -> None:
        kept = []

        class Keeping(socketserver.TCPServer):  # type: ignore[misc,name-defined]
            way = "greenlet"

            def shutdown_request(self, request: Any) -> None:
                kept.append(request)
                ended.set()

        ended = threading.Event()
        server = Keeping(LOOPBACK, EchoLine)
        serving = serve(server)
        with connect(server.server_address) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"hello\n"
            wait_for(ended)
            serving.stop()
            with kept[0] as request:
                assert type(request) is socket.socket
                assert request.gettimeout() is None
                client.sendall(b"still open")
                assert request.recv(100) == b"still open"
        for request in kept[1:]:
            request.close()

    def give_away(
        self, serve: Any, answer: Callable[[socket.socket, threading.Event], None], begun: threading.Event
    ) -> bytes:
        """Have process_request give the socket to a thread that calls `answer` and sets `begun`.

        The event that `answer` gets says that the loop has let the socket go.
        """

        class Giving(socketserver.TCPServer):  # type: ignore[misc,name-defined]
            way = "greenlet"

            def process_request(self, request: Any, client_address: Any) -> None:
                threads.append(in_thread(answer, request, released))
                wait_for(begun)

            def service_actions(self) -> None:
                if threads:
                    released.set()

        threads: list[threading.Thread] = []
        released = threading.Event()
        server = Giving(LOOPBACK, None)
        serving = serve(server)
        reply = exchange(server.server_address, b"hello")
        join(threads[0])
        serving.stop()
        assert serving.error is None
        return reply

    def test_handler_may_give_the_socket_to_a_thread(self, serve: Any) -> None:
        def answer(request: socket.socket, released: threading.Event) -> None:
            begun.set()
            wait_for(released)
            with request:
                request.sendall(request.recv(100).upper())

        begun = threading.Event()
        assert self.give_away(serve, answer, begun) == b"HELLO"

    def test_thread_that_uses_it_while_the_loop_lets_it_go(self, serve: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        """The thread has found the method, which has not done its work yet, when the socket becomes an ordinary one."""

        def answer(request: socket.socket, released: threading.Event) -> None:
            here = threading.get_ident()

            def current() -> Any:
                if threading.get_ident() != here:
                    return ours()
                begun.set()
                wait_for(released)
                return None

            with monkeypatch.context() as patched, request:
                patched.setattr(green_sockets, "current", current)
                try:
                    request.sendall(b"hello")
                except TypeError as error:
                    errors.append(error)
                request.recv(100)

        from reactor import green_sockets

        ours = green_sockets.current
        begun = threading.Event()
        errors: list[TypeError] = []
        reply = self.give_away(serve, answer, begun)
        assert errors == []
        assert reply == b"hello"


class TestFramed:
    def test_each_line_has_a_handler_and_the_connection_its_hooks_once(self, serve: Any) -> None:
        made = []

        class Handler(EchoLines):
            def setup(self) -> None:
                made.append(self)
                super().setup()

        server = in_way("framed", Noting)(LOOPBACK, Handler)
        serving = serve(server)
        assert exchange(server.server_address, b"one\ntwo\nthree\n") == b"one\ntwo\nthree\n"
        serving.stop()
        assert len(made) == 3
        assert server.notes == [*ORDER[:2], *ORDER[2:4] * 3, *ORDER[4:]]

    def test_handler_that_does_not_read_on_ends_the_connection(self, serve: Any) -> None:
        server = in_way("framed")(LOOPBACK, EchoLine)
        serve(server)
        assert exchange(server.server_address, b"one\ntwo\n") == b"one\n"

    def test_handler_finds_its_frame_and_no_more(self, serve: Any) -> None:
        frames = []

        class Handler(socketserver.StreamRequestHandler):  # type: ignore[misc,name-defined]
            def handle(self) -> None:
                frames.append(self.rfile.read())

        server = in_way("framed")(LOOPBACK, Handler)
        serving = serve(server)
        assert exchange(server.server_address, b"one\ntwo\n") == b""
        serving.stop()
        assert frames == [b"one\n", b"two\n"]

    def test_handle_request_gathers_frames_too(self) -> None:
        frames = []

        def handler(request: Any, *_: object) -> None:
            with request.makefile("rb") as file:
                frames.append(file.read())

        with in_way("framed")(LOOPBACK, handler) as server:
            server.timeout = PATIENCE_S
            client = ask(server.server_address, b"one\ntwo\n")
            server.handle_request()
            assert read_all(client) == b""
        assert frames == [b"one\n", b"two\n"]

    def test_session_is_the_connections(self, serve: Any) -> None:
        class Counting(EchoLines):
            def handle(self) -> None:
                self.request.session = (self.request.session or 0) + 1
                self.wfile.write(b"%d " % self.request.session)
                self.rfile.read()

        server = in_way("framed")(LOOPBACK, Counting)
        serve(server)
        assert exchange(server.server_address, b"a\nb\nc\n") == b"1 2 3 "
        assert exchange(server.server_address, b"a\n") == b"1 "

    def test_kept_connection_is_answered_frame_by_frame(self, serve: Any) -> None:
        server = in_way("framed")(LOOPBACK, EchoLines)
        serve(server)
        with connect(server.server_address) as first, connect(server.server_address) as second:
            for number in range(3):
                for client in (first, second):
                    client.sendall(b"%d\n" % number)
                    assert client.recv(100) == b"%d\n" % number

    def test_handler_of_http_server_is_kept_alive(self, serve: Any) -> None:
        from tests.socketserver.test_http import Handler, bodies

        server = in_way("framed", framing=reactor.HttpRequests())(LOOPBACK, Handler)
        serve(server)
        client = connect(server.server_address)
        client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert bodies(read_all(client)) == [b"1 1", b"1 1"]  # a frame has a handler of its own


def test_leaving_server_leaves_these_ways_too(shared_way: str) -> None:
    """service_actions run here as in any other way."""
    with leaving(in_way(shared_way))(LOOPBACK, EchoLine) as server:
        client = ask(server.server_address, b"hello\n")
        with pytest.raises(SystemExit):
            server.serve_forever(0.01)
        client.close()
