"""`shutdown`: from where, when and how often it may be called, and what it waits for."""

import signal
import threading
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    EchoLine,
    Leave,
    ask,
    exchange,
    in_thread,
    is_still_waiting,
    join,
    ours_only,
    read_all,
    socketserver,
    wait_for,
)

BLOCKING = ["TCPServer", "ThreadingTCPServer"]


class NotingServer(socketserver.TCPServer):  # type: ignore[misc]
    """Says when its loop has turned for the first time, and whether it is in its loop."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.turned = threading.Event()
        self.looping = False

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        self.looping = True
        try:
            super().serve_forever(poll_interval)
        finally:
            self.looping = False

    def service_actions(self) -> None:
        super().service_actions()
        self.turned.set()


class TestFromAnotherThread:
    def test_ends_the_loop(self, serve: Any) -> None:
        server = NotingServer(LOOPBACK, EchoLine)
        serving = serve(server)
        wait_for(server.turned)
        server.shutdown()
        serving.join()
        assert serving.error is None

    def test_twenty_servers_whether_their_loops_have_begun_or_not(self) -> None:
        servings = []
        for _ in range(20):
            server = socketserver.TCPServer(LOOPBACK, EchoLine)
            thread = in_thread(server.serve_forever, 0.01)
            server.shutdown()
            servings.append((server, thread))
        for server, thread in servings:
            join(thread)
            server.server_close()

    @pytest.mark.parametrize("times_served_before", [0, 1])
    def test_waits_for_the_running_handler(self, serve: Any, times_served_before: int) -> None:
        entered, leave = threading.Event(), threading.Event()

        def handler(request: Any, *_: object) -> None:
            entered.set()
            wait_for(leave)
            request.sendall(b"finished")

        server = NotingServer(LOOPBACK, handler)
        for _ in range(times_served_before):
            before = serve(server)
            wait_for(server.turned)
            server.shutdown()
            before.join()
        serving = serve(server)
        client = ask(server.server_address)
        wait_for(entered)
        stopping = in_thread(server.shutdown)
        assert is_still_waiting(stopping)
        assert serving.thread.is_alive()
        leave.set()
        join(stopping)
        assert read_all(client) == b"finished"
        serving.join()

    def test_takes_no_further_request(self, serve: Any) -> None:
        """A client that waits in the backlog is left there, for whoever serves next."""
        entered, leave = threading.Event(), threading.Event()
        handled = []

        def handler(request: Any, *_: object) -> None:
            handled.append(request.recv(100))
            request.sendall(handled[-1])
            entered.set()
            wait_for(leave)

        class Stopping(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                # The first request is done, the second waits; the loop goes on when shutdown() has been called.
                if handled and not stopped:
                    stopped.append(in_thread(self.shutdown))
                    is_still_waiting(stopped[0])

        stopped: list[threading.Thread] = []
        server = Stopping(LOOPBACK, handler)
        first = ask(server.server_address, b"first")
        second = ask(server.server_address, b"second")
        leave.set()
        serving = serve(server)
        wait_for(entered)
        serving.join()
        join(stopped[0])
        assert handled == [b"first"]
        assert read_all(first) == b"first"
        serve(server)
        assert read_all(second) == b"second"

    def test_takes_no_request_that_arrives_after_it_was_called(self, serve: Any) -> None:
        """bpo-35017. The standard library's loop is woken here by the very request that it must not take."""
        turned = threading.Event()
        handled = []

        class Turning(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                turned.set()

        server = Turning(LOOPBACK, lambda *_: handled.append(True))
        serving = serve(server, lambda: server.serve_forever(poll_interval=3600))
        assert exchange(server.server_address) == b""  # the loop has begun
        wait_for(turned)
        stopping = in_thread(server.shutdown)
        is_still_waiting(stopping)  # it has been called by now, whether it waits (as the standard library) or not
        client = ask(server.server_address)
        join(stopping)
        serving.join()
        assert handled == [True]
        serve(server)
        assert read_all(client) == b""
        assert handled == [True, True]

    def test_server_serves_again(self, serve: Any) -> None:
        server = socketserver.TCPServer(LOOPBACK, EchoLine)
        for _ in range(3):
            thread = in_thread(server.serve_forever, 0.01)
            assert exchange(server.server_address, b"again\n") == b"again\n"
            server.shutdown()
            join(thread)
        server.server_close()

    def test_two_threads_at_once(self, serve: Any) -> None:
        server = NotingServer(LOOPBACK, EchoLine)
        serving = serve(server)
        wait_for(server.turned)
        stopping = [in_thread(server.shutdown) for _ in range(4)]
        for thread in stopping:
            join(thread)
        serving.join()
        assert serving.error is None

    def test_returns_none(self, serve: Any) -> None:
        server = NotingServer(LOOPBACK, EchoLine)
        serve(server)
        wait_for(server.turned)
        assert server.shutdown() is None

    def test_stops_only_its_own_server(self, serve: Any) -> None:
        first, second = socketserver.TCPServer(LOOPBACK, EchoLine), socketserver.TCPServer(LOOPBACK, EchoLine)
        stopped, _ = serve(first), serve(second)
        assert exchange(first.server_address, b"one\n") == b"one\n"
        first.shutdown()
        stopped.join()
        assert exchange(second.server_address, b"two\n") == b"two\n"

    @ours_only
    def test_does_not_wait_for_a_poll_interval(self, serve: Any) -> None:
        # The standard library would look for the request once an hour.
        server = socketserver.TCPServer(LOOPBACK, EchoLine)
        serving = serve(server, lambda: server.serve_forever(poll_interval=3600))
        assert exchange(server.server_address, b"one\n") == b"one\n"
        server.shutdown()
        serving.join()


class TestFromAHandler:
    @pytest.mark.parametrize("name", ["ThreadingTCPServer", pytest.param("TCPServer", marks=ours_only)])
    def test_reply_is_sent_and_the_loop_is_left(self, serve: Any, name: str) -> None:
        def handler(request: Any, address: Any, server: Any) -> None:
            server.shutdown()
            request.sendall(b"bye")

        server = getattr(socketserver, name)(LOOPBACK, handler)
        serving = serve(server)
        assert exchange(server.server_address) == b"bye"
        serving.join()
        assert serving.error is None

    @ours_only
    def test_inline_takes_no_further_request_and_serves_again(self, serve: Any) -> None:
        def handler(request: Any, address: Any, server: Any) -> None:
            data = request.recv(100)
            request.sendall(data)
            if data == b"stop":
                server.shutdown()

        server = socketserver.TCPServer(LOOPBACK, handler)
        first, second = ask(server.server_address, b"stop"), ask(server.server_address, b"next")
        serving = serve(server)
        serving.join()
        assert read_all(first) == b"stop"
        serve(server)
        assert read_all(second) == b"next"

    @ours_only
    def test_from_service_actions(self, serve: Any) -> None:
        class Stopping(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                self.shutdown()

        with Stopping(LOOPBACK, EchoLine) as server:
            server.serve_forever(poll_interval=0.001)

    @ours_only
    def test_from_handle_error(self) -> None:
        class Stopping(socketserver.TCPServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                self.shutdown()

        with Stopping(LOOPBACK, lambda: None) as server:  # a handler that takes no arguments: TypeError
            client = ask(server.server_address)
            server.serve_forever()
            assert read_all(client) == b""

    def test_of_another_server(self, serve: Any) -> None:
        other = NotingServer(LOOPBACK, EchoLine)
        stopped = serve(other)
        wait_for(other.turned)

        def handler(request: Any, *_: object) -> None:
            other.shutdown()
            request.sendall(b"stopped it")

        server = socketserver.TCPServer(LOOPBACK, handler)
        serve(server)
        assert exchange(server.server_address) == b"stopped it"
        stopped.join()


class TestBeforeTheStart:
    def test_loop_that_begins_later_returns_at_once(self) -> None:
        with NotingServer(LOOPBACK, EchoLine) as server:
            waiting = in_thread(server.shutdown)
            is_still_waiting(waiting)  # it has been called by now, whether it waits (as the standard library) or not
            server.serve_forever(poll_interval=0.01)
            join(waiting)
            assert not server.turned.is_set()

    @ours_only
    @pytest.mark.parametrize("times", [1, 2])
    def test_returns_at_once_and_so_does_the_next_loop(self, serve: Any, times: int) -> None:
        server = NotingServer(LOOPBACK, EchoLine)
        client = ask(server.server_address, b"waits\n")
        for _ in range(times):
            server.shutdown()
        server.serve_forever()
        assert not server.turned.is_set()
        serve(server)  # and the one after it serves
        assert read_all(client) == b"waits\n"


class TestAgain:
    @pytest.mark.parametrize("name", BLOCKING)
    def test_twice(self, serve: Any, name: str) -> None:
        server = getattr(socketserver, name)(LOOPBACK, EchoLine)
        serving = serve(server)
        assert exchange(server.server_address, b"one\n") == b"one\n"
        server.shutdown()
        server.shutdown()
        serving.join()
        assert serving.error is None

    @pytest.mark.parametrize("name", BLOCKING)
    def test_after_close(self, serve: Any, name: str) -> None:
        server = getattr(socketserver, name)(LOOPBACK, EchoLine)
        serving = serve(server)
        assert exchange(server.server_address, b"one\n") == b"one\n"
        server.shutdown()
        serving.join()
        server.server_close()
        server.shutdown()
        assert server.fileno() == -1

    def test_after_close_while_serving(self, serve: Any) -> None:
        server = NotingServer(LOOPBACK, EchoLine)
        serving = serve(server)
        wait_for(server.turned)
        server.server_close()
        server.shutdown()
        serving.join()
        assert server.fileno() == -1

    def test_after_the_loop_was_left_by_an_exception(self, serve: Any) -> None:
        class Leaving(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                raise Leave

        server = Leaving(LOOPBACK, EchoLine)
        serving = serve(server)
        serving.join()
        assert isinstance(serving.error, Leave)
        server.shutdown()

    def test_loop_left_by_an_exception_leaves_no_request_to_stop(self) -> None:
        """Had the exception come while shutdown() was asked for, the next loop still serves."""

        class Leaving(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                if not stopping:
                    stopping.append(in_thread(self.shutdown))
                    is_still_waiting(stopping[0])
                    raise Leave

        stopping: list[threading.Thread] = []
        with Leaving(LOOPBACK, EchoLine) as server:
            with pytest.raises(Leave):
                server.serve_forever(poll_interval=0.001)
            join(stopping[0])
            thread = in_thread(server.serve_forever, 0.01)
            assert exchange(server.server_address, b"next\n") == b"next\n"
            server.shutdown()
            join(thread)


class TestInterrupt:
    """Ctrl-C: serving leaves the program's signal handlers alone, Python's own for SIGINT among them."""

    def test_keyboard_interrupt_leaves_an_idle_loop(self) -> None:
        turned = threading.Event()
        main = threading.get_ident()

        class Turning(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                turned.set()

        def interrupt() -> None:
            wait_for(turned)
            signal.pthread_kill(main, signal.SIGINT)

        with Turning(LOOPBACK, EchoLine) as server:
            thread = in_thread(interrupt)
            with pytest.raises(KeyboardInterrupt):
                server.serve_forever(poll_interval=0.01)
            join(thread)

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_handlers_of_signals_are_the_programs_own(self, number: signal.Signals) -> None:
        def own(*_: object) -> None: ...

        class Looking(socketserver.TCPServer):  # type: ignore[misc]
            def service_actions(self) -> None:
                seen.append(signal.getsignal(number))
                raise Leave

        seen: list[Any] = []
        previous = signal.signal(number, own)
        try:
            with Looking(LOOPBACK, EchoLine) as server, pytest.raises(Leave):
                server.serve_forever(poll_interval=0.01)
        finally:
            signal.signal(number, previous)
        assert seen == [own]


@ours_only
class TestFromASignalHandler:
    """In the main thread, which is the one that waits in the loop."""

    @pytest.mark.skipif(not hasattr(signal, "pthread_kill"), reason="needs signals to threads")
    @pytest.mark.parametrize("poll_interval", [0.5, 3600])
    def test_ends_the_loop(self, poll_interval: float) -> None:
        main = threading.get_ident()
        with socketserver.TCPServer(LOOPBACK, EchoLine) as server:

            def client() -> None:
                assert exchange(server.server_address, b"hello\n") == b"hello\n"
                signal.pthread_kill(main, signal.SIGUSR1)

            previous = signal.signal(signal.SIGUSR1, lambda *_: server.shutdown())
            try:
                thread = in_thread(client)
                server.serve_forever(poll_interval)
                join(thread)
            finally:
                signal.signal(signal.SIGUSR1, previous)

    def test_while_a_handler_runs(self) -> None:
        def handler(request: Any, *_: object) -> None:
            signal.raise_signal(signal.SIGUSR1)
            request.sendall(b"finished")

        with socketserver.TCPServer(LOOPBACK, handler) as server:
            client = ask(server.server_address)
            previous = signal.signal(signal.SIGUSR1, lambda *_: server.shutdown())
            try:
                server.serve_forever()
            finally:
                signal.signal(signal.SIGUSR1, previous)
            assert read_all(client) == b"finished"
