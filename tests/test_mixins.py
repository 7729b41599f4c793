"""The mixins, seen from the loop: what a server without a loop does, and what a host is told."""

import os
import socket
import threading
from collections.abc import Callable
from typing import Any

import pytest

from reactor import socketserver as ours
from reactor.mixins import ForkingMixIn, ThreadingMixIn
from tests.running import PATIENCE_S, python, wait_for

LOOPBACK = ("127.0.0.1", 0)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")


class Host:
    """Writes down what mixins report to whoever hosts their server."""

    loop = None

    def __init__(self) -> None:
        self.told: list[tuple[Any, ...]] = []
        self.room = True
        self.event = threading.Event()

    def shake_hands(self, request: Any) -> bool:
        return True

    def taken(self, request: Any) -> None: ...

    def returned(self, request: Any) -> None:
        self.told.append(("returned", request, threading.current_thread().name))
        self.event.set()

    def forked(self, request: Any, pid: int) -> None:
        self.told.append(("forked", request, pid))

    def may_fork(self, there_is_room: bool) -> None:
        self.room = there_is_room

    def child_ended(self, pid: int) -> None:
        self.told.append(("ended", pid))


class Base:
    """The least of a server that the mixins need."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.work: Callable[[], object] = lambda: None

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.calls.append("finish")
        self.work()

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.calls.append("error")

    def shutdown_request(self, request: Any) -> None:
        self.calls.append("shutdown")

    def close_request(self, request: Any) -> None:
        self.calls.append("close")

    def server_close(self) -> None:
        self.calls.append("server_close")


class Threading(ThreadingMixIn, Base):
    pass


class Forking(ForkingMixIn, Base):
    pass


# -- threads ----------------------------------------------------------------------------------------------------------


def test_a_thread_reports_to_its_host_after_the_request_is_shut_down() -> None:
    server = Threading()
    server._host = host = Host()
    order: list[str] = []
    server.shutdown_request = lambda request: order.append(f"shutdown, {len(host.told)} told")  # type: ignore[method-assign]
    server.process_request("request", None)
    wait_for(host.event)
    assert order == ["shutdown, 0 told"]
    for what, request, thread in host.told:
        assert (what, request) == ("returned", "request")
        assert thread != threading.current_thread().name
    server.server_close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("where", ["handler", "handle_error", "shutdown_request"])
def test_a_host_hears_of_the_end_of_a_thread_whatever_fails(error: BaseException, where: str) -> None:
    def fails(*args: Any) -> None:
        raise error

    def handler_fails() -> None:
        raise ValueError("the handler")

    server = Threading()
    server.work = handler_fails if where == "handle_error" else fails
    if where != "handler":
        setattr(server, where, fails)
    server._host = host = Host()
    server.process_request("request", None)
    wait_for(host.event)
    assert {told[:2] for told in host.told} == {("returned", "request")}
    server.server_close()


def test_a_host_hears_of_a_thread_whose_process_request_thread_was_replaced() -> None:
    class Own(Threading):
        def process_request_thread(self, request: Any, client_address: Any) -> None:
            self.calls.append("own")

    server = Own()
    server._host = host = Host()
    server.process_request("request", None)
    wait_for(host.event)
    assert [told[:2] for told in host.told] == [("returned", "request")]
    server.server_close()
    assert server.calls == ["own", "server_close"]


def test_without_a_host_a_thread_works_alone() -> None:
    done = threading.Event()
    server = Threading()
    server.work = done.set
    server.process_request("request", None)
    wait_for(done)
    server.server_close()
    assert server.calls[0] == "finish"
    assert sorted(server.calls[1:]) == ["server_close", "shutdown"]


def test_finished_threads_are_let_go_and_daemons_never_kept() -> None:
    server = Threading()
    for _ in range(50):
        server.process_request("request", None)
        for thread in server._threads or ():
            thread.join(PATIENCE_S)
    assert len(server._threads or ()) <= 1
    server.server_close()
    assert server._threads == []
    server.daemon_threads = True
    server.process_request("request", None)
    assert server._threads == []
    server.daemon_threads, server.block_on_close = False, False
    server.process_request("request", None)
    assert server._threads == []


def test_server_close_waits_for_threads_and_may_be_called_twice() -> None:
    go, done = threading.Event(), threading.Event()
    server = Threading()
    server.work = lambda: (wait_for(go), done.set())
    server.process_request("request", None)
    closer = threading.Thread(target=server.server_close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    assert "server_close" in server.calls  # the port is given back first
    go.set()
    closer.join(PATIENCE_S)
    assert not closer.is_alive()
    assert done.is_set()
    server.server_close()


# -- children ---------------------------------------------------------------------------------------------------------


@needs_fork
def test_a_host_is_told_of_each_child_and_of_its_end_once() -> None:
    server = Forking()
    server._host = host = Host()
    host.loop = type("Loop", (), {"table": (), "abandon": lambda self: None})()  # type: ignore[assignment]
    server.process_request("request", None)
    (pid,) = server.active_children or ()
    assert host.told == [("forked", "request", pid)]
    assert server.calls == ["close"]  # the parent's copy; all the rest happens in the child
    server.collect_children(blocking=True)
    server.collect_children(blocking=True)
    assert host.told == [("forked", "request", pid), ("ended", pid)]
    assert server.active_children == set()


@needs_fork
@pytest.mark.parametrize(
    ("work", "status"),
    [
        (lambda: None, 0),
        (lambda: 1 / 0, 1),
        (lambda: (_ for _ in ()).throw(SystemExit(0)), 1),
        (lambda: (_ for _ in ()).throw(KeyboardInterrupt), 1),
        (lambda: os._exit(7), 7),
    ],
    ids=["returns", "raises", "SystemExit", "KeyboardInterrupt", "exits"],
)
def test_a_child_never_runs_on_into_the_loop(work: Callable[[], object], status: int) -> None:
    server = Forking()
    server.work = work
    server.process_request("request", None)
    (pid,) = server.active_children or ()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == status
    server.collect_children()  # somebody else has reaped it
    assert server.active_children == set()


@needs_fork
def test_children_of_others_are_left_alone() -> None:
    reader, writer = os.pipe()
    stranger = os.fork()
    if not stranger:
        os.read(reader, 1)
        os._exit(5)
    try:
        server = Forking()
        server.process_request("request", None)
        server.collect_children(blocking=True)
        server.server_close()
        assert server.active_children == set()
    finally:
        os.write(writer, b"x")
        assert os.waitstatus_to_exitcode(os.waitpid(stranger, 0)[1]) == 5
        os.close(reader)
        os.close(writer)


@needs_fork
def test_with_max_children_a_new_request_waits_until_one_has_ended() -> None:
    reader, writer = os.pipe()
    server = Forking()
    server.max_children = 2
    server.work = lambda: os.read(reader, 1)
    for _ in range(2):
        server.process_request("request", None)
    first = set(server.active_children or ())
    release = threading.Timer(0.02, os.write, (writer, b"x"))
    release.start()
    server.process_request("request", None)
    release.join()
    now = set(server.active_children or ())
    assert len(now) == 2
    assert len(now & first) == 1
    os.write(writer, b"xx")
    server.server_close()
    os.close(reader)
    os.close(writer)
    assert server.active_children == set()


@needs_fork
def test_who_is_hosted_waits_for_no_child() -> None:
    """The host is told when there is no room for another, and when there is again."""
    reader, writer = os.pipe()
    server = Forking()
    server._host = host = Host()
    host.loop = type("Loop", (), {"table": (), "abandon": lambda self: None})()  # type: ignore[assignment]
    server.max_children = 2
    server.work = lambda: os.read(reader, 1)
    rooms = []
    for _ in range(2):
        server.process_request("request", None)
        rooms.append(host.room)
    server.service_actions()
    rooms.append(host.room)
    assert rooms == [True, False, False]
    os.write(writer, b"x")
    os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
    server.service_actions()
    assert host.room
    os.write(writer, b"x")
    server.server_close()
    os.close(reader)
    os.close(writer)


@needs_fork
def test_without_children_nothing_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*args: Any) -> None:
        raise AssertionError("waitpid was called")

    monkeypatch.setattr(os, "waitpid", never)
    server = Forking()
    server.collect_children(blocking=True)
    server.service_actions()
    server.handle_timeout()
    server.server_close()


@needs_fork
def test_a_child_of_a_served_server_is_isolated_from_the_parents_loop() -> None:
    """serve_forever in the main thread, a child that lives longer than the loop, and a loop that is not harmed."""
    printed = python(
        """
        import os, socket
        from reactor.socketserver import ForkingTCPServer, StreamRequestHandler

        class Handler(StreamRequestHandler):
            def handle(self):
                line = self.rfile.readline()
                self.wfile.write(line.upper())

        class Server(ForkingTCPServer):
            served = 0
            def service_actions(self):
                super().service_actions()
                if self.served == 3 and not self.active_children:
                    self.shutdown()
            def process_request(self, request, client_address):
                self.served += 1
                super().process_request(request, client_address)

        with Server(("127.0.0.1", 0), Handler) as server:
            clients = [socket.create_connection(server.server_address) for _ in range(3)]
            for client in clients:
                client.sendall(b"hello\\n")
            server.serve_forever(poll_interval=0.01)
            for client in clients:
                print(client.recv(10))
                client.close()
        """
    )
    assert printed.splitlines() == ["b'HELLO\\n'"] * 3


# -- the combined classes -----------------------------------------------------------------------------------------------


def test_a_class_that_mixes_the_mixin_in_after_its_base_is_plain(capsys: pytest.CaptureFixture[str]) -> None:
    """As in socketserver the order of the bases decides: here process_request is TCPServer's, and so synchronous."""

    class Wrong(ours.TCPServer, ours.ThreadingMixIn):
        pass

    names: list[str] = []

    class Notes(ours.BaseRequestHandler):
        def handle(self) -> None:
            names.append(threading.current_thread().name)

    with Wrong(LOOPBACK, Notes) as server, socket.create_connection(server.server_address):
        server.handle_request()
    assert names == [threading.current_thread().name]


# -- what a host is asked before ------------------------------------------------------------------------------------------


class Rude(Host):
    """A host whose client does not shake hands."""

    def shake_hands(self, request: Any) -> bool:
        self.told.append(("shake", request, threading.current_thread().name))
        return False


def test_a_thread_shakes_hands_first_and_drops_a_request_that_does_not() -> None:
    server = Threading()
    server._host = host = Rude()
    server.process_request("request", None)
    wait_for(host.event)
    assert [told[:2] for told in host.told] == [("shake", "request"), ("returned", "request")]
    assert host.told[0][2] != threading.current_thread().name
    server.server_close()
    assert server.calls == ["shutdown", "server_close"]


@needs_fork
def test_so_does_a_child() -> None:
    server = Forking()
    server._host = host = Rude()
    host.loop = type("Loop", (), {"table": (), "abandon": lambda self: None})()  # type: ignore[assignment]
    server.work = lambda: os._exit(7)  # of a handler that should not be made
    server.process_request("request", None)
    (pid,) = server.active_children or ()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert [told[:2] for told in host.told] == [("forked", "request")]  # the parent does not
    server.collect_children()


def test_threads_are_named_as_in_socketserver() -> None:
    server = Threading()
    server._host = host = Host()
    server.process_request("request", None)
    wait_for(host.event)
    assert {name.partition(" ")[2] for *_, name in host.told} == {"(process_request_thread)"}
    server.server_close()
