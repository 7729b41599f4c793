"""The three request handler classes: first alone, over one connection and no server; then in each way to serve."""

import array
import gc
import io
import json
import os
import select
import signal
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    MODULE_NAME,
    PATIENCE_S,
    ask,
    contained,
    in_thread,
    join,
    leaving,
    ours_only,
    read_all,
    serve_here,
    serve_one,
    socketserver,
    stream_pair,
    wait_for,
)

ADDRESS = ("client.example", 1)
SERVER = object()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a TCP connection: the server's, the client's."""
    with stream_pair() as both:
        yield both


class Recorder(socketserver.BaseRequestHandler):  # type: ignore[misc]
    """Notes its hooks in the request, which is a list; the words already in it are the hooks that raise."""

    def __init__(self, request: list[str], client_address: Any, server: Any) -> None:
        self.failing = set(request)
        request.clear()
        super().__init__(request, client_address, server)
        request.append("made")

    def note(self, hook: str) -> None:
        self.request.append(hook)
        if hook in self.failing:
            raise ValueError(hook)

    def setup(self) -> None:
        self.note("setup")

    def handle(self) -> None:
        self.note("handle")

    def finish(self) -> None:
        self.note("finish")


class TestBaseRequestHandler:
    def test_being_made_is_serving(self) -> None:
        notes: list[str] = []
        Recorder(notes, ADDRESS, SERVER)
        assert notes == ["setup", "handle", "finish", "made"]

    @pytest.mark.parametrize(
        ("failing", "expected"),
        [
            ("setup", ["setup"]),
            ("handle", ["setup", "handle", "finish"]),
            ("finish", ["setup", "handle", "finish"]),
        ],
    )
    def test_failing_hook(self, failing: str, expected: list[str]) -> None:
        notes = [failing]
        with pytest.raises(ValueError, match=failing):
            Recorder(notes, ADDRESS, SERVER)
        assert notes == expected

    def test_finish_runs_for_exits_too(self) -> None:
        class Exits(Recorder):
            def handle(self) -> None:
                raise SystemExit

        notes: list[str] = []
        with pytest.raises(SystemExit):
            Exits(notes, ADDRESS, SERVER)
        assert notes == ["setup", "finish"]

    def test_attributes_are_there_from_setup_on(self) -> None:
        seen = []

        class Handler(socketserver.BaseRequestHandler):  # type: ignore[misc]
            def setup(self) -> None:
                seen.append((self.request, self.client_address, self.server))

        handler = Handler("request", ADDRESS, SERVER)
        assert seen == [("request", ADDRESS, SERVER)]
        assert (handler.request, handler.client_address, handler.server) == seen[0]

    def test_hooks_do_nothing_by_themselves(self) -> None:
        handler = socketserver.BaseRequestHandler("request", ADDRESS, SERVER)
        assert (handler.setup(), handler.handle(), handler.finish()) == (None, None, None)

    def test_what_handle_returns_does_not_matter(self) -> None:
        class Handler(Recorder):
            def handle(self) -> Any:
                return "anything"

        notes: list[str] = []
        Handler(notes, ADDRESS, SERVER)
        assert notes == ["setup", "finish", "made"]


@ours_only
class TestCoroutineWhereNoneCanRun:
    def test_names_the_class_to_use(self) -> None:
        finished = []

        class Handler(socketserver.BaseRequestHandler):  # type: ignore[misc]
            async def handle(self) -> None:
                raise AssertionError("must not run")

            def finish(self) -> None:
                finished.append(True)

        with pytest.raises(TypeError, match="Handler.*AsyncStreamRequestHandler"):
            Handler(None, ADDRESS, SERVER)
        gc.collect()  # a coroutine left open would warn here
        assert finished == [True]

    def test_stream_handler(self, pair: Any) -> None:
        class Handler(socketserver.StreamRequestHandler):  # type: ignore[misc]
            async def handle(self) -> None: ...

        with pytest.raises(TypeError, match="AsyncStreamRequestHandler"):
            Handler(pair[0], ADDRESS, SERVER)

    def test_function_that_returns_a_coroutine(self) -> None:
        async def answer() -> None: ...

        class Handler(socketserver.BaseRequestHandler):  # type: ignore[misc]
            def handle(self) -> Any:
                return answer()

        with pytest.raises(TypeError, match="AsyncStreamRequestHandler"):
            Handler(None, ADDRESS, SERVER)


def run_stream_handler(handle: Callable[[Any], object], request: socket.socket, **options: Any) -> Any:
    """Serve a connection with a stream handler whose class has these options, and return the handler."""

    def call(self: Any) -> None:
        handle(self)

    handler_class = type("Handler", (socketserver.StreamRequestHandler,), {"handle": call, **options})
    return handler_class(request, ADDRESS, SERVER)


def fails(error: BaseException) -> Callable[..., Any]:
    def fail(*args: object) -> Any:
        raise error

    return fail


class TestStreamRequestHandler:
    def test_connection_is_the_request(self, pair: Any) -> None:
        seen = []
        run_stream_handler(lambda it: seen.append(it.connection is it.request is pair[0]), pair[0])
        assert seen == [True]

    def test_reads_and_writes(self, pair: Any) -> None:
        request, client = pair
        client.sendall(b"one\ntwo\n")
        run_stream_handler(lambda it: it.wfile.write(it.rfile.readline() + it.rfile.readline().upper()), request)
        assert client.recv(100) == b"one\nTWO\n"

    def test_rfile_is_a_file_over_the_socket(self, pair: Any) -> None:
        seen = []
        run_stream_handler(lambda it: seen.append((type(it.rfile), it.rfile.raw._sock)), pair[0])
        assert seen == [(io.BufferedReader, pair[0])]

    def test_rfile_reads_ahead_by_default(self, pair: Any) -> None:
        request, client = pair
        client.sendall(b"one\ntwo\n")
        run_stream_handler(lambda it: it.rfile.readline(), request)
        request.setblocking(False)
        with pytest.raises(BlockingIOError):
            request.recv(100)

    def test_unbuffered_rfile_leaves_the_rest_in_the_socket(self, pair: Any) -> None:
        request, client = pair
        lines = []
        client.sendall(b"one\ntwo\n")
        run_stream_handler(lambda it: lines.append(it.rfile.readline()), request, rbufsize=0)
        assert lines == [b"one\n"]
        assert request.recv(100) == b"two\n"

    def test_rbufsize_is_the_size_of_the_buffer(self, pair: Any) -> None:
        request, client = pair
        client.sendall(b"x" * 50)
        run_stream_handler(lambda it: it.rfile.read(1), request, rbufsize=10)
        assert request.recv(100) == b"x" * 40

    def test_default_wfile_sends_at_once(self, pair: Any) -> None:
        request, client = pair
        got = []

        def handle(handler: Any) -> None:
            handler.wfile.write(b"now")
            got.append(client.recv(100))

        run_stream_handler(handle, request)
        assert got == [b"now"]

    def test_default_wfile_is_not_readable_but_writable(self, pair: Any) -> None:
        seen = []
        run_stream_handler(
            lambda it: seen.append((isinstance(it.wfile, io.BufferedIOBase), it.wfile.writable(), it.wfile.readable())),
            pair[0],
        )
        assert seen == [(True, True, False)]

    def test_default_wfile_has_the_sockets_fileno(self, pair: Any) -> None:
        seen = []
        run_stream_handler(lambda it: seen.append(it.wfile.fileno()), pair[0])
        assert seen == [pair[0].fileno()]

    def test_wfile_and_rfile_are_closed_at_the_end_and_the_connection_is_not(self, pair: Any) -> None:
        request, client = pair
        handler = run_stream_handler(lambda it: None, request)
        assert handler.wfile.closed
        assert handler.rfile.closed
        request.sendall(b"still open")
        assert client.recv(100) == b"still open"

    @pytest.mark.parametrize("wbufsize", [0, -1, 100])
    def test_closing_the_socket_after_the_handler_really_closes_it(self, pair: Any, wbufsize: int) -> None:
        request, client = pair
        handler = run_stream_handler(lambda it: it.wfile.write(b"x"), request, wbufsize=wbufsize)
        request.close()
        assert (client.recv(100), client.recv(100)) == (b"x", b"")
        del handler  # it lived until here: the files were closed, not collected

    @pytest.mark.parametrize("wbufsize", [-1, 1, 100])
    def test_buffered_wfile_is_a_buffered_writer(self, pair: Any, wbufsize: int) -> None:
        seen = []
        run_stream_handler(lambda it: seen.append(type(it.wfile)), pair[0], wbufsize=wbufsize)
        assert seen == [io.BufferedWriter]

    def test_buffered_wfile_is_sent_at_finish(self, pair: Any) -> None:
        request, client = pair
        early = []

        def handle(handler: Any) -> None:
            handler.wfile.write(b"later")
            client.setblocking(False)
            with pytest.raises(BlockingIOError):
                client.recv(100)
            early.append(True)

        run_stream_handler(handle, request, wbufsize=-1)
        client.settimeout(PATIENCE_S)
        assert client.recv(100) == b"later"
        assert early == [True]

    def test_buffered_wfile_is_sent_at_finish_after_an_error(self, pair: Any) -> None:
        request, client = pair

        def handle(handler: Any) -> None:
            handler.wfile.write(b"before")
            raise ValueError

        with pytest.raises(ValueError):
            run_stream_handler(handle, request, wbufsize=-1)
        assert client.recv(100) == b"before"

    def test_wbufsize_is_the_size_of_the_buffer(self, pair: Any) -> None:
        request, client = pair
        got = []

        def handle(handler: Any) -> None:
            handler.wfile.write(b"12345")
            handler.wfile.write(b"678")  # does not fit: out goes what was there
            got.append(client.recv(100))

        run_stream_handler(handle, request, wbufsize=5)
        assert got[0].startswith(b"12345")

    def test_flush_empties_a_buffered_wfile(self, pair: Any) -> None:
        request, client = pair
        got = []

        def handle(handler: Any) -> None:
            handler.wfile.write(b"part")
            handler.wfile.flush()
            got.append(client.recv(100))

        run_stream_handler(handle, request, wbufsize=-1)
        assert got == [b"part"]

    @pytest.mark.parametrize(
        ("data", "size"),
        [
            (b"12345", 5),
            (bytearray(b"12345"), 5),
            (memoryview(b"12345678").cast("I"), 8),
            (array.array("d", [1.0, 2.0]), 16),
            (b"", 0),
        ],
        ids=["bytes", "bytearray", "memoryview", "array", "nothing"],
    )
    def test_write_returns_the_length_in_bytes(self, pair: Any, data: Any, size: int) -> None:
        request, client = pair
        returned = []
        run_stream_handler(lambda it: returned.append(it.wfile.write(data)), request)
        request.close()
        assert returned == [size]
        assert client.recv(100) == bytes(memoryview(data).cast("B"))

    def test_huge_write_is_never_short_even_under_signals(self, pair: Any) -> None:
        request, client = pair
        huge = bytes(16 * 1024 * 1024)
        main = threading.get_ident()
        interrupted = threading.Event()
        received = []

        def read_slowly() -> None:
            count = len(client.recv(100))
            for _ in range(20):  # the main thread is in the middle of its send
                signal.pthread_kill(main, signal.SIGUSR1)
                count += len(client.recv(4096))
            wait_for(interrupted)
            while chunk := client.recv(1 << 20):
                count += len(chunk)
            received.append(count)

        previous = signal.signal(signal.SIGUSR1, lambda *_: interrupted.set())
        try:
            reader = in_thread(read_slowly)
            returned = []
            run_stream_handler(lambda it: returned.append(it.wfile.write(huge)), request)
            request.shutdown(socket.SHUT_WR)
            join(reader)
        finally:
            signal.signal(signal.SIGUSR1, previous)
        assert returned == [len(huge)]
        assert received == [len(huge)]

    def test_timeout_is_applied_to_the_connection(self, pair: Any) -> None:
        seen = []
        run_stream_handler(lambda it: seen.append(it.connection.gettimeout()), pair[0], timeout=7.5)
        assert seen == [7.5]

    def test_timeout_zero_is_a_timeout(self, pair: Any) -> None:
        seen = []
        run_stream_handler(lambda it: seen.append(it.connection.gettimeout()), pair[0], timeout=0)
        assert seen == [0]

    def test_no_timeout_leaves_that_of_the_connection(self, pair: Any) -> None:
        pair[0].settimeout(3.5)
        seen = []
        run_stream_handler(lambda it: seen.append(it.connection.gettimeout()), pair[0])
        assert seen == [3.5]

    def test_timeout_raises_in_a_read(self, pair: Any) -> None:
        with pytest.raises(socket.timeout):
            run_stream_handler(lambda it: it.rfile.readline(), pair[0], timeout=0.01)

    def test_timeout_raises_in_a_write(self, pair: Any) -> None:
        with pytest.raises(socket.timeout):
            run_stream_handler(lambda it: it.wfile.write(bytes(64 << 20)), pair[0], timeout=0.01)

    @pytest.mark.parametrize("disable", [True, False])
    def test_disable_nagle_algorithm(self, pair: Any, disable: bool) -> None:
        run_stream_handler(lambda it: None, pair[0], disable_nagle_algorithm=disable)
        assert bool(pair[0].getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is disable

    @pytest.mark.parametrize("wbufsize", [0, -1])
    def test_handler_may_close_wfile_itself(self, pair: Any, wbufsize: int) -> None:
        handler = run_stream_handler(lambda it: it.wfile.close(), pair[0], wbufsize=wbufsize)
        assert handler.wfile.closed

    @pytest.mark.parametrize("error", [BrokenPipeError(), ConnectionAbortedError(), socket.timeout()])
    def test_socket_error_of_the_last_flush_is_dropped(self, pair: Any, error: OSError) -> None:
        closed = []

        class Unsendable(io.BytesIO):
            flush = fails(error)

            def close(self) -> None:
                closed.append(True)

        def handle(handler: Any) -> None:
            handler.wfile = Unsendable()

        handler = run_stream_handler(handle, pair[0])
        assert closed
        assert handler.rfile.closed
        del Unsendable.flush

    def test_handler_may_put_another_file_in_the_place_of_wfile(self, pair: Any) -> None:
        """Flushed and closed, in this order: not every object's `close` flushes."""
        calls = []

        class File:
            closed = False

            def flush(self) -> None:
                calls.append("flush")

            def close(self) -> None:
                calls.append("close")

        def handle(handler: Any) -> None:
            handler.wfile = File()

        run_stream_handler(handle, pair[0])
        assert calls == ["flush", "close"]

    @ours_only
    def test_last_flush_is_tried_once(self, pair: Any) -> None:
        # The standard library tries again as it closes, waits for the timeout once more, and raises.
        tries = []

        class Unsendable(io.RawIOBase):
            def writable(self) -> bool:
                return True

            def write(self, data: Any) -> int:
                tries.append(bytes(data))
                raise socket.timeout

        def handle(handler: Any) -> None:
            handler.wfile = io.BufferedWriter(Unsendable())
            handler.wfile.write(b"for nobody")

        handler = run_stream_handler(handle, pair[0])
        assert tries == [b"for nobody"]
        assert handler.wfile.closed

    @ours_only
    def test_socket_error_of_closing_wfile_is_dropped_too(self, pair: Any) -> None:
        class Unclosable:
            closed = False
            flush = close = fails(BrokenPipeError())

        def handle(handler: Any) -> None:
            handler.wfile = Unclosable()

        handler = run_stream_handler(handle, pair[0])
        assert handler.rfile.closed

    def test_other_errors_of_the_last_flush_are_raised(self, pair: Any) -> None:
        class Unsendable(io.BytesIO):
            flush = fails(KeyError("flush"))

        def handle(handler: Any) -> None:
            handlers.append(handler)
            handler.wfile = Unsendable()

        handlers: list[Any] = []
        with pytest.raises(KeyError, match="flush"):
            run_stream_handler(handle, pair[0])
        if MODULE_NAME.startswith("reactor"):  # which leaves it open, and the connection's descriptor with it
            assert handlers[0].rfile.closed
        handlers[0].rfile.close()
        del Unsendable.flush

    @ours_only
    def test_buffer_nobody_takes_is_dropped_and_leaves_no_descriptor_open(self, pair: Any) -> None:
        request, _ = pair

        def handle(handler: Any) -> None:
            handler.wfile.write(b"for nobody")
            request.shutdown(socket.SHUT_WR)  # from here on, sending is EPIPE

        handler = run_stream_handler(handle, request, wbufsize=-1)
        assert handler.wfile.closed
        assert handler.rfile.closed
        descriptor = request.fileno()
        request.close()
        with pytest.raises(OSError):
            os.fstat(descriptor)


class FakeDatagramSocket:
    """Notes what is sent."""

    def __init__(self) -> None:
        self.sent: list[tuple[bytes, Any]] = []

    def sendto(self, data: bytes, address: Any) -> int:
        self.sent.append((data, address))
        return len(data)


def run_datagram_handler(handle: Callable[[Any], object], packet: bytes) -> tuple[Any, list[tuple[bytes, Any]]]:
    """Serve a packet; return the handler and what it sent."""

    def call(self: Any) -> None:
        handle(self)

    sock = FakeDatagramSocket()
    handler_class = type("Handler", (socketserver.DatagramRequestHandler,), {"handle": call})
    return handler_class((packet, sock), ADDRESS, SERVER), sock.sent


class TestDatagramRequestHandler:
    def test_reads_the_packet_and_sends_the_reply_as_one(self) -> None:
        def handle(handler: Any) -> None:
            handler.wfile.write(handler.rfile.readline())
            handler.wfile.write(handler.rfile.read().upper())

        _, sent = run_datagram_handler(handle, b"one\ntwo")
        assert sent == [(b"one\nTWO", ADDRESS)]

    def test_attributes(self) -> None:
        seen = []

        def handle(handler: Any) -> None:
            seen.append((handler.packet, (handler.packet, handler.socket) == handler.request))
            seen.append((type(handler.rfile), type(handler.wfile)))

        run_datagram_handler(handle, b"data")
        assert seen == [(b"data", True), (io.BytesIO, io.BytesIO)]

    def test_packet_and_reply_are_whole(self) -> None:
        packet = bytes(range(256)) * 32
        _, sent = run_datagram_handler(lambda it: it.wfile.write(it.rfile.read()), packet)
        assert sent == [(packet, ADDRESS)]

    def test_empty_reply_is_sent(self) -> None:
        _, sent = run_datagram_handler(lambda it: None, b"data")
        assert sent == [(b"", ADDRESS)]

    def test_reply_is_sent_when_handle_raises(self) -> None:
        sock = FakeDatagramSocket()

        class Handler(socketserver.DatagramRequestHandler):  # type: ignore[misc]
            def handle(self) -> None:
                self.wfile.write(b"so far")
                raise ValueError

        with pytest.raises(ValueError):
            Handler((b"data", sock), ADDRESS, SERVER)
        assert sock.sent == [(b"so far", ADDRESS)]


class Describe(socketserver.StreamRequestHandler):  # type: ignore[misc]
    """Tells the client what the handler was given."""

    def handle(self) -> None:
        descriptor = self.connection.fileno()
        description = {
            "same": self.connection is self.request,
            "socket": isinstance(self.connection, socket.socket),
            "peer": list(self.connection.getpeername()) == list(self.client_address),
            "fileno": os.fstat(descriptor).st_ino > 0,
            "timeout": self.connection.gettimeout(),
            "blocking": os.get_blocking(descriptor),
            "inherited": os.get_inheritable(descriptor),
            "raw": self.rfile.raw._sock is self.connection,
            "line": self.rfile.readline(65537).decode(),
        }
        self.wfile.write(json.dumps(description).encode())


DESCRIPTION = {
    "same": True,
    "socket": True,
    "peer": True,
    "fileno": True,
    "timeout": None,
    "blocking": True,
    "inherited": False,
    "raw": True,
    "line": "hello\n",
}


def serve_with(way: Any, handler: Any, data: bytes, server_loop: Callable[[Any], None]) -> bytes:
    """Serve one connection in one of the ways, in this thread, and return the reply."""
    with leaving(way)(LOOPBACK, handler) as server:
        client = ask(server.server_address, data)
        server_loop(server)
        return read_all(client)


@pytest.mark.parametrize("server_loop", [serve_one, serve_here])
class TestInEachWay:
    def test_handler_gets_a_real_blocking_socket(self, way: Any, server_loop: Any) -> None:
        assert json.loads(serve_with(way, Describe, b"hello\n", server_loop)) == DESCRIPTION

    def test_handler_may_ask_back_in_the_middle(self, way: Any, server_loop: Any) -> None:
        class Continue(socketserver.StreamRequestHandler):  # type: ignore[misc]
            wbufsize = -1

            def handle(self) -> None:
                length = int(self.rfile.readline())
                self.wfile.write(b"go on\n")
                self.wfile.flush()
                self.wfile.write(self.rfile.read(length))

        assert serve_with(way, Continue, b"4\nbody", server_loop) == b"go on\nbody"

    def test_reply_arrives_whole_though_the_handler_left_input_unread_in_its_buffer(
        self, way: Any, server_loop: Any
    ) -> None:
        class Impatient(socketserver.StreamRequestHandler):  # type: ignore[misc]
            def handle(self) -> None:
                self.rfile.readline()
                self.wfile.write(b"x" * 100_000)

        assert serve_with(way, Impatient, b"line\n" + b"rest" * 100, server_loop) == b"x" * 100_000

    def test_handler_may_select_on_its_connection_and_drain_it(self, way: Any, server_loop: Any) -> None:
        class Draining(socketserver.StreamRequestHandler):  # type: ignore[misc]
            rbufsize = 0

            def handle(self) -> None:
                self.wfile.write(self.rfile.readline())
                drained = 0
                while select.select([self.connection], [], [], PATIENCE_S)[0]:
                    chunk = self.connection.recv(10_000_000)
                    if not chunk:
                        break
                    drained += len(chunk)
                self.wfile.write(str(drained).encode())

        assert serve_with(way, Draining, b"line\n" + b"x" * 20_000, server_loop) == b"line\n20000"

    def test_handler_may_select_on_its_connection_beside_others(self, way: Any, server_loop: Any) -> None:
        """A tunnel: what comes from the client goes to the channel, what comes back goes to the client."""

        class Tunnel(socketserver.BaseRequestHandler):  # type: ignore[misc]
            def handle(self) -> None:
                channel, far = socket.socketpair()
                with channel, far:
                    open_ends = [self.request, channel]
                    while open_ends:
                        readable, _, _ = select.select(open_ends, [], [], PATIENCE_S)
                        assert readable
                        if self.request in readable:
                            data = self.request.recv(100)
                            channel.sendall(data)
                            far.sendall(far.recv(100).upper() if data else b"")
                            if not data:
                                channel.shutdown(socket.SHUT_WR)
                                far.shutdown(socket.SHUT_WR)
                                open_ends.remove(self.request)
                        if channel in readable:
                            data = channel.recv(100)
                            self.request.sendall(data)
                            if not data:
                                open_ends.remove(channel)

        assert serve_with(way, Tunnel, b"through", server_loop) == b"THROUGH"

    def test_child_process_may_take_over_the_connection(self, way: Any, server_loop: Any) -> None:
        class Gateway(socketserver.StreamRequestHandler):  # type: ignore[misc]
            rbufsize = 0  # as http.server's CGI: the rest of the input belongs to the program

            def handle(self) -> None:
                self.wfile.write(self.rfile.readline())
                self.wfile.flush()
                program = os.posix_spawn(
                    "/bin/cat",
                    ["cat"],
                    {},
                    file_actions=[
                        (os.POSIX_SPAWN_DUP2, self.connection.fileno(), 0),
                        (os.POSIX_SPAWN_DUP2, self.wfile.fileno(), 1),
                    ],
                )
                os.waitpid(program, 0)

        assert serve_with(way, Gateway, b"head\nbody", server_loop) == b"head\nbody"


def test_contained_children_cannot_run_the_tests_on() -> None:
    # The harness's own guard: a forking server whose handler escapes ends there, with status 99.
    if not hasattr(socketserver, "ForkingTCPServer"):
        pytest.skip("needs fork")

    class Escaping(socketserver.ForkingTCPServer):  # type: ignore[misc]
        def process_request(self, request: Any, client_address: Any) -> None:
            self.pid = os.fork()
            self.close_request(request)

    with contained(Escaping)(LOOPBACK, None) as server:
        client = ask(server.server_address)
        server.handle_request()
        client.close()
        assert os.waitstatus_to_exitcode(os.waitpid(server.pid, 0)[1]) == 99
