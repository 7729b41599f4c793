"""ForkingMixIn: a child for each request, who closes what, and which children are waited for.

Everything is served in this thread, so that no fork happens in a process with threads; a thread that a test
starts to watch something block is started after the last fork.
"""

import errno
import os
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    PATIENCE_S,
    EchoLine,
    EchoPacket,
    ask,
    connect,
    contained,
    datagram_client,
    in_thread,
    is_still_waiting,
    join,
    leaving,
    needs_fork,
    ours_only,
    read_all,
    serve_here,
    serve_one,
    socketserver,
)

pytestmark = needs_fork
both_loops = pytest.mark.parametrize("server_loop", [serve_one, serve_here])

ForkingTCPServer = contained(getattr(socketserver, "ForkingTCPServer", socketserver.TCPServer))


def wait_for_line(request: socket.socket, *_: object) -> None:
    """A handler that stays until it is dismissed."""
    request.settimeout(PATIENCE_S)
    request.sendall(b"begun")
    request.recv(100)


def begin(server: Any) -> socket.socket:
    """Put one more request into a child that waits; return the client, to be dismissed."""
    client = connect(server.server_address)
    server.handle_request()
    assert client.recv(5) == b"begun"
    return client


def dismiss(client: socket.socket) -> None:
    """Let the child go (closing alone would not: younger children hold copies of the client's socket)."""
    client.shutdown(socket.SHUT_WR)
    client.close()


def has_ended(pid: int) -> bool:
    """Say whether a child of ours has ended, without reaping it."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None


def wait_until_ended(pid: int) -> None:
    """Wait for a child to end, without reaping it."""
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def is_reaped(pid: int) -> bool:
    try:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


@pytest.fixture
def stranger() -> Iterator[int]:
    """A child that the server did not start; it has ended with status 72 and nobody may take that."""
    pid = os.fork()
    if pid == 0:
        os._exit(72)
    wait_until_ended(pid)
    yield pid
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 72


class TestChildren:
    @both_loops
    def test_each_request_has_a_child_of_its_own(self, server_loop: Any) -> None:
        def handler(request: socket.socket, *_: object) -> None:
            request.sendall(f"{os.getpid()} {os.getppid()}".encode())

        with leaving(socketserver.ForkingTCPServer, requests=3)(LOOPBACK, handler) as server:
            clients = [ask(server.server_address) for _ in range(3)]
            server_loop(server)
            if server_loop is serve_one:
                server_loop(server)
                server_loop(server)
            replies = [read_all(client).split() for client in clients]
        assert len({pid for pid, _ in replies} | {str(os.getpid()).encode()}) == 4
        assert {parent for _, parent in replies} == {str(os.getpid()).encode()}

    @both_loops
    def test_children_run_at_once(self, server_loop: Any) -> None:
        with leaving(socketserver.ForkingTCPServer, requests=3)(LOOPBACK, wait_for_line) as server:
            clients = [connect(server.server_address) for _ in range(3)]
            server_loop(server)
            if server_loop is serve_one:
                server_loop(server)
                server_loop(server)
            assert [client.recv(5) for client in clients] == [b"begun"] * 3
            assert len(server.active_children) == 3
            for client in clients:
                dismiss(client)

    def test_active_children_are_their_pids(self) -> None:
        with ForkingTCPServer(LOOPBACK, wait_for_line) as server:
            assert server.active_children is None
            clients = [begin(server), begin(server)]
            children = list(server.active_children)
            assert len(children) == 2
            assert not any(has_ended(pid) for pid in children)
            for client in clients:
                dismiss(client)

    @both_loops
    def test_parent_closes_the_connection_and_does_not_shut_it_down(self, server_loop: Any) -> None:
        class Noting(socketserver.ForkingTCPServer):  # type: ignore[misc]
            def get_request(self) -> Any:
                self.the_request, address = super().get_request()
                return self.the_request, address

            def close_request(self, request: Any) -> None:
                calls.append(("close_request", request is self.the_request))
                super().close_request(request)

            def shutdown_request(self, request: Any) -> None:
                calls.append(("shutdown_request", request is self.the_request))
                super().shutdown_request(request)

        calls: list[Any] = []
        with leaving(Noting)(LOOPBACK, EchoLine) as server:
            client = connect(server.server_address)
            server_loop(server)
            assert server.the_request.fileno() == -1
            assert calls == [("close_request", True)]
            client.sendall(b"after the parent let go\n")  # and the child still has it, in both directions
            assert read_all(client) == b"after the parent let go\n"

    @both_loops
    def test_datagrams_too(self, server_loop: Any) -> None:
        class Handler(EchoPacket):
            def handle(self) -> None:
                self.wfile.write(self.packet + str(os.getpid()).encode())

        with (
            leaving(socketserver.ForkingUDPServer)(LOOPBACK, Handler) as server,
            datagram_client(server.server_address) as client,
        ):
            client.send(b"pid:")
            server_loop(server)
            word, _, pid = client.recv(100).partition(b":")
            assert word == b"pid"
            assert int(pid) != os.getpid()

    def test_child_does_not_disturb_the_loop(self) -> None:
        """A child that shared the loop's selector could take the parent's events away."""
        with leaving(socketserver.ForkingTCPServer, requests=4)(LOOPBACK, EchoLine) as server:
            clients = [ask(server.server_address, b"%d\n" % number) for number in range(4)]
            serve_here(server)
            assert [read_all(client) for client in clients] == [b"0\n", b"1\n", b"2\n", b"3\n"]


    @ours_only
    @pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")
    def test_child_does_not_hold_the_loops_selector(self) -> None:
        # A copy of an epoll descriptor shares its registrations: events would go to whoever waits first.
        def handler(request: socket.socket, *_: object) -> None:
            held = [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if is_open(fd)]
            request.sendall(b"%d" % sum("eventpoll" in name for name in held))

        def is_open(fd: str) -> bool:
            return os.path.lexists(f"/proc/self/fd/{fd}")  # the descriptor of listdir itself is in the list

        with leaving(socketserver.ForkingTCPServer)(LOOPBACK, handler) as server:
            client = ask(server.server_address)
            serve_here(server)
            assert read_all(client) == b"0"


class TestExitStatus:
    """0 when the handler returned, 1 when anything was raised."""

    def status_of(self, server: Any, server_loop: Any) -> tuple[int, bytes]:
        client = ask(server.server_address)
        server_loop(server)
        reply = read_all(client)
        (pid,) = server.active_children
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), reply

    def unreaped(self, **overrides: Any) -> Any:
        """A forking class that leaves its child to the test."""
        overrides.setdefault("collect_children", lambda self, *, blocking=False: None)
        return leaving(type("Server", (socketserver.ForkingTCPServer,), overrides))

    @both_loops
    def test_success(self, server_loop: Any) -> None:
        with self.unreaped()(LOOPBACK, lambda request, *_: request.sendall(b"fine")) as server:
            assert self.status_of(server, server_loop) == (0, b"fine")

    @both_loops
    def test_error(self, server_loop: Any) -> None:
        def handle_error(self: Any, request: socket.socket, client_address: Any) -> None:
            request.sendall(f"{sys.exc_info()[1]} {client_address == request.getpeername()}".encode())

        def handler(*_: object) -> None:
            raise ValueError("from the child")

        with self.unreaped(handle_error=handle_error)(LOOPBACK, handler) as server:
            assert self.status_of(server, server_loop) == (1, b"from the child True")

    @pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
    @both_loops
    def test_exit(self, server_loop: Any, error: type[BaseException]) -> None:
        def handle_error(self: Any, request: socket.socket, client_address: Any) -> None:
            request.sendall(b"handle_error ")

        def shutdown_request(self: Any, request: socket.socket) -> None:
            request.sendall(b"shutdown_request")
            self.close_request(request)

        def handler(*_: object) -> None:
            raise error(0)

        server_class = self.unreaped(handle_error=handle_error, shutdown_request=shutdown_request)
        with server_class(LOOPBACK, handler) as server:
            assert self.status_of(server, server_loop) == (1, b"shutdown_request")

    @both_loops
    def test_error_in_handle_error(self, server_loop: Any) -> None:
        def handle_error(self: Any, *_: object) -> None:
            raise KeyError

        def handler(*_: object) -> None:
            raise ValueError

        with self.unreaped(handle_error=handle_error)(LOOPBACK, handler) as server:
            assert self.status_of(server, server_loop) == (1, b"")

    @pytest.mark.parametrize(("raised", "status"), [(None, 0), (ValueError, 1)])
    @both_loops
    def test_error_in_shutdown_request(self, server_loop: Any, raised: Any, status: int) -> None:
        def shutdown_request(self: Any, *_: object) -> None:
            raise KeyError

        def handle_error(self: Any, *_: object) -> None: ...

        def handler(*_: object) -> None:
            if raised:
                raise raised

        server_class = self.unreaped(shutdown_request=shutdown_request, handle_error=handle_error)
        with server_class(LOOPBACK, handler) as server:
            assert self.status_of(server, server_loop) == (status, b"")

    def test_fork_that_fails_is_an_error_of_the_request(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Noting(ForkingTCPServer):  # type: ignore[misc,valid-type]
            def handle_error(self, request: Any, client_address: Any) -> None:
                calls.append(sys.exc_info()[0])

        def refuse() -> int:
            raise BlockingIOError(errno.EAGAIN, "no more processes")

        calls: list[Any] = []
        with Noting(LOOPBACK, None) as server:
            client = ask(server.server_address)
            with monkeypatch.context() as patched:
                patched.setattr(os, "fork", refuse)
                server.handle_request()
            assert read_all(client) == b""
            assert not server.active_children
        assert calls == [BlockingIOError]


class TestReaping:
    def ended(self, server: Any, count: int = 1) -> list[int]:
        """Have the server start children that end at once; return their pids, unreaped."""
        for _ in range(count):
            client = ask(server.server_address)
            server.handle_request()
            assert read_all(client) == b""
        pids = list(server.active_children)
        for pid in pids:
            wait_until_ended(pid)
        return pids

    @pytest.mark.parametrize("hook", ["service_actions", "handle_timeout", "collect_children"])
    def test_ended_children_are_reaped(self, hook: str) -> None:
        with ForkingTCPServer(LOOPBACK, lambda *_: None) as server:
            pids = self.ended(server, 2)
            getattr(server, hook)()
            assert server.active_children == set()
            assert all(is_reaped(pid) for pid in pids)

    @pytest.mark.parametrize("hook", ["service_actions", "handle_timeout", "collect_children"])
    def test_running_children_are_not_waited_for(self, hook: str) -> None:
        with ForkingTCPServer(LOOPBACK, wait_for_line) as server:
            client = begin(server)
            getattr(server, hook)()
            assert len(server.active_children) == 1
            dismiss(client)

    @pytest.mark.parametrize("hook", ["service_actions", "handle_timeout", "collect_children"])
    def test_before_the_first_request(self, hook: str) -> None:
        with ForkingTCPServer(LOOPBACK, None) as server:
            getattr(server, hook)()
            assert not server.active_children

    def test_handle_request_reaps_at_its_timeout(self) -> None:
        with ForkingTCPServer(LOOPBACK, lambda *_: None) as server:
            (pid,) = self.ended(server)
            server.timeout = 0
            server.handle_request()
            assert is_reaped(pid)

    def test_serving_reaps(self) -> None:
        class Leaving(ForkingTCPServer):  # type: ignore[misc,valid-type]
            def service_actions(self) -> None:
                super().service_actions()
                if self.active_children == set():
                    raise SystemExit

        with Leaving(LOOPBACK, EchoLine) as server:
            client = ask(server.server_address, b"hello\n")
            with pytest.raises(SystemExit):
                server.serve_forever(poll_interval=0.001)
            assert read_all(client) == b"hello\n"

    def test_children_it_did_not_start_are_left_alone(self, stranger: int) -> None:
        with ForkingTCPServer(LOOPBACK, lambda *_: None) as server:
            self.ended(server, 2)
            server.service_actions()
            server.handle_timeout()
            assert server.active_children == set()
            assert not is_reaped(stranger)
        assert not is_reaped(stranger)

    def test_children_it_did_not_start_are_left_alone_while_serving(self, stranger: int) -> None:
        with leaving(socketserver.ForkingTCPServer, requests=3)(LOOPBACK, EchoLine) as server:
            clients = [ask(server.server_address, b"hello\n") for _ in range(3)]
            serve_here(server)
            assert [read_all(client) for client in clients] == [b"hello\n"] * 3

    @ours_only
    def test_children_it_did_not_start_are_left_alone_at_the_limit_too(self, stranger: int) -> None:
        # The standard library waits for any child there, and takes the status of this one.
        with ForkingTCPServer(LOOPBACK, wait_for_line) as server:
            server.max_children = 1
            client = begin(server)
            waiting = in_thread(server.service_actions)
            assert is_still_waiting(waiting)
            assert not is_reaped(stranger)
            dismiss(client)
            join(waiting)

    def test_child_that_somebody_else_reaped_is_forgotten(self) -> None:
        with ForkingTCPServer(LOOPBACK, wait_for_line) as server:
            client, other = begin(server), begin(server)
            first = next(iter(server.active_children))
            dismiss(client)
            dismiss(other)
            os.waitpid(first, 0)
            server.collect_children(blocking=True)
            assert server.active_children == set()

    def test_blocking_is_a_keyword(self) -> None:
        with ForkingTCPServer(LOOPBACK, None) as server, pytest.raises(TypeError):
            server.collect_children(True)


class TestMaxChildren:
    @pytest.mark.parametrize("first", [0, 1])
    def test_waits_at_the_limit_for_whichever_ends_first(self, first: int, monkeypatch: pytest.MonkeyPatch) -> None:
        calls = []
        waitpid = os.waitpid

        def noting_waitpid(pid: int, options: int) -> tuple[int, int]:
            calls.append(pid)
            return waitpid(pid, options)

        monkeypatch.setattr(os, "waitpid", noting_waitpid)
        with ForkingTCPServer(LOOPBACK, wait_for_line) as server:
            server.max_children = 2
            clients = [begin(server), begin(server)]
            calls.clear()
            waiting = in_thread(server.service_actions)
            assert is_still_waiting(waiting)
            assert len(calls) < 10  # it waits, and does not spin
            dismiss(clients.pop(first))
            join(waiting)
            assert len(server.active_children) == 1
            dismiss(clients.pop())

    def test_does_not_wait_below_it(self) -> None:
        with ForkingTCPServer(LOOPBACK, wait_for_line) as server:
            server.max_children = 3
            clients = [begin(server), begin(server)]
            server.service_actions()
            assert len(server.active_children) == 2
            for client in clients:
                dismiss(client)

    def test_loop_waits_before_it_takes_another_request(self) -> None:
        """With room for one child, the second of two waiting requests begins when the first has ended."""

        def handler(request: socket.socket, *_: object) -> None:
            os.write(writer, b"begin ")
            request.recv(100)
            os.write(writer, b"end ")

        reader, writer = os.pipe()
        with leaving(socketserver.ForkingTCPServer, requests=3)(LOOPBACK, handler) as server:
            server.max_children = 1
            clients = [ask(server.server_address) for _ in range(3)]
            serve_here(server)
            assert [read_all(client) for client in clients] == [b""] * 3
        os.close(writer)
        with open(reader) as lines:
            assert lines.read().split() == ["begin", "end"] * 3

    def test_limit_reached_by_children_that_somebody_else_reaped(self) -> None:
        with ForkingTCPServer(LOOPBACK, lambda *_: None) as server:
            server.max_children = 1
            client = ask(server.server_address)
            server.handle_request()
            assert read_all(client) == b""
            os.waitpid(next(iter(server.active_children)), 0)
            server.service_actions()
            assert server.active_children == set()


class TestClosing:
    def test_waits_for_the_children(self) -> None:
        server = ForkingTCPServer(LOOPBACK, wait_for_line)
        clients = [begin(server), begin(server)]
        pids = list(server.active_children)
        closing = in_thread(server.server_close)
        assert is_still_waiting(closing)
        assert server.fileno() == -1  # nobody new is let in meanwhile
        for client in clients:
            dismiss(client)
        join(closing)
        assert server.active_children == set()
        assert all(is_reaped(pid) for pid in pids)

    def test_does_not_wait_without_block_on_close(self) -> None:
        server = ForkingTCPServer(LOOPBACK, wait_for_line)
        server.block_on_close = False
        client = begin(server)
        (pid,) = server.active_children
        server.server_close()
        assert not has_ended(pid)
        dismiss(client)
        os.waitpid(pid, 0)

    def test_with_closes_that_way_too(self) -> None:
        with ForkingTCPServer(LOOPBACK, lambda *_: None) as server:
            client = ask(server.server_address)
            server.handle_request()
            assert read_all(client) == b""
            (pid,) = server.active_children
        assert is_reaped(pid)

    def test_before_any_request(self, stranger: int) -> None:
        server = ForkingTCPServer(LOOPBACK, lambda: None)
        server.server_close()
        assert server.fileno() == -1


def test_process_request_returns_in_the_parent_only() -> None:
    """It is called by hand here, as subclasses that choose per request do."""
    calls: list[Callable[..., Any]] = []
    with ForkingTCPServer(LOOPBACK, lambda request, *_: request.sendall(b"child")) as server:
        client = ask(server.server_address)
        request, address = server.get_request()
        calls.append(server.process_request)
        assert calls.pop()(request, address) is None
        assert request.fileno() == -1
        assert read_all(client) == b"child"
