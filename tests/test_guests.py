"""Hosted servers with ways of their own: whose process_request is called, in which thread, and how often get_request."""

import os
import socket
import socketserver as standard
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, End, Lines, Phase, Reactor
from reactor import socketserver as ours
from tests.driving import TURNS, WAIT_S, receive, receive_all, streams, turn_until, turns
from tests.running import PATIENCE_S, wait_for, wait_until

pytestmark = pytest.mark.usefixtures("no_errors_left")
LOOPBACK = ("127.0.0.1", 0)
MODULES: dict[str, Any] = {"ours": ours, "standard": standard}
each_module = pytest.mark.parametrize("module", MODULES.values(), ids=MODULES)


class Upper(ours.StreamRequestHandler):
    """Answers each line in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class AsyncUpper(AsyncStreamRequestHandler):
    """The same, as a coroutine."""

    async def handle(self) -> None:
        while line := await self.rfile.readline():
            self.wfile.write(line.upper())


class Where(ours.BaseRequestHandler):
    """Answers with the process and the thread it runs in."""

    def handle(self) -> None:
        self.request.sendall(b"%d %d" % (os.getpid(), threading.get_ident()))


@pytest.fixture
def loop() -> Iterator[Reactor]:
    """Give a reactor on the real clock: threads know no other."""
    with Reactor() as loop:
        yield loop


def served(loop: Reactor, connect: Any, listener: Any) -> None:
    """Demand that a client of the listener is served, to the end."""
    client = connect(listener)
    client.sendall(b"hello\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"HELLO\n"
    client.close()


@each_module
@pytest.mark.parametrize("own", [False, True], ids=["its class's before", "one of its own before"])
def test_a_get_request_that_is_put_in_its_place_later_is_called(
    loop: Reactor, connect: Any, module: Any, own: bool
) -> None:
    calls: list[str] = []

    class Counting(module.TCPServer):  # type: ignore[misc,name-defined]
        def get_request(self) -> Any:
            calls.append("first")
            return super().get_request()

    server = (Counting if own else module.TCPServer)(LOOPBACK, Upper)
    listener = loop.add(server, way="inline")
    served(loop, connect, listener)
    assert set(calls) == ({"first"} if own else set())
    calls.clear()

    def later() -> Any:
        calls.append("later")
        return server.socket.accept()

    server.get_request = later
    served(loop, connect, listener)
    assert set(calls) == {"later"}
    calls.clear()
    del server.get_request
    served(loop, connect, listener)
    assert set(calls) == ({"first"} if own else set())


# -- servers that process requests in their own way -------------------------------------------------------------------


@each_module
def test_an_own_process_request_thread_is_called_in_the_thread(loop: Reactor, connect: Any, module: Any) -> None:
    calls: list[int] = []

    class Counting(module.ThreadingTCPServer):  # type: ignore[misc,name-defined]
        def process_request_thread(self, request: Any, client_address: Any) -> None:
            calls.append(threading.get_ident())
            super().process_request_thread(request, client_address)

    listener = loop.add(Counting(LOOPBACK, Upper))
    for _ in range(2):
        served(loop, connect, listener)
    turn_until(loop, lambda: not streams(loop))
    assert len(calls) == 2
    assert threading.get_ident() not in calls


class Keeping:
    """A server whose process_request keeps the socket, for somebody who comes later."""

    fails = False

    def __init__(self, *args: Any) -> None:
        self.kept: list[Any] = []
        self.noted: list[str] = []
        super().__init__(*args)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.noted.append("process_request")
        if self.fails:
            raise ValueError("as asked")
        self.kept.append((threading.get_ident(), request))

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.noted.append("handle_error")

    def shutdown_request(self, request: Any) -> None:
        self.noted.append("shutdown_request")
        super().shutdown_request(request)  # type: ignore[misc]


class KeepingStandard(Keeping, standard.TCPServer):
    pass


class KeepingOurs(Keeping, ours.TCPServer):
    pass


@pytest.mark.parametrize("kind", [KeepingStandard, KeepingOurs])
def test_an_own_process_request_may_keep_the_socket(loop: Reactor, connect: Any, kind: Any) -> None:
    server = kind(LOOPBACK, Upper)
    client = connect(loop.add(server, way="thread"))
    turn_until(loop, lambda: server.kept)
    turn_until(loop, lambda: not streams(loop))
    thread, request = server.kept.pop()
    assert (thread == threading.get_ident()) is (kind is KeepingOurs)  # ours would have asked its host for a thread
    request.sendall(b"later")
    request.close()
    assert receive(loop, client, 10) == b"later"
    assert server.noted == ["process_request"]


@pytest.mark.parametrize("kind", [KeepingStandard, KeepingOurs])
def test_an_own_process_request_that_fails_is_reported_and_shut_down_once(loop: Reactor, connect: Any, kind: Any) -> None:
    server = kind(LOOPBACK, Upper)
    server.fails = True
    client = connect(loop.add(server, way="thread"))
    assert receive_all(loop, client) == b""
    turn_until(loop, lambda: not streams(loop))
    assert server.noted == ["process_request", "handle_error", "shutdown_request"]


def _refused_at_once(server: Any, request: Any, client_address: Any) -> None:
    server.shutdown_request(request)


def _refused_later(server: Any, request: Any, client_address: Any) -> None:
    server.later.append(threading.Thread(target=server.shutdown_request, args=(request,)))


def _handled_here(server: Any, request: Any, client_address: Any) -> None:
    server.finish_request(request, client_address)
    server.shutdown_request(request)


def _detached(server: Any, request: Any, client_address: Any) -> None:
    socket.socket(fileno=request.detach()).close()


MIXED: list[Any] = [ours.ThreadingTCPServer]
if hasattr(ours, "ForkingTCPServer"):
    MIXED.append(ours.ForkingTCPServer)


@pytest.mark.parametrize("kind", MIXED)
@pytest.mark.parametrize("process", [_refused_at_once, _refused_later, _handled_here, _detached])
def test_an_own_process_request_that_starts_nothing_leaves_no_row(
    loop: Reactor, connect: Any, kind: Any, process: Any
) -> None:
    server = type("Own", (kind,), {"process_request": process})(LOOPBACK, ours.BaseRequestHandler)
    server.later = []
    client = connect(loop.add(server))
    if process is _refused_later:
        turn_until(loop, lambda: server.later)
        turns(loop)
        assert [row.phase for row in streams(loop)] == [Phase.DETACHED]
        server.later[0].start()
    assert receive_all(loop, client) == b""
    turn_until(loop, lambda: not streams(loop))
    for thread in server.later:
        thread.join()


def test_a_row_lasts_as_long_as_its_thread_whoever_closes_the_socket(loop: Reactor, connect: Any) -> None:
    class Closes(ours.BaseRequestHandler):
        def handle(self) -> None:
            self.server.close_request(self.request)  # type: ignore[attr-defined]
            closed.set()
            wait_for(go)

    closed, go = threading.Event(), threading.Event()
    client = connect(loop.add(ours.ThreadingTCPServer(LOOPBACK, Closes)))
    assert receive_all(loop, client) == b""
    wait_for(closed)
    turns(loop)
    assert [row.phase for row in streams(loop)] == [Phase.DETACHED]
    go.set()
    turn_until(loop, lambda: not streams(loop))


@each_module
def test_a_process_request_thread_that_calls_nobody_leaves_no_row(loop: Reactor, connect: Any, module: Any) -> None:
    class Own(module.ThreadingTCPServer):  # type: ignore[misc,name-defined]
        def process_request_thread(self, request: Any, client_address: Any) -> None:
            request.sendall(b"own")
            request.close()

    listener = loop.add(Own(LOOPBACK, Upper))
    client = connect(listener)
    assert receive_all(loop, client) == b"own"
    turn_until(loop, lambda: not streams(loop))
    assert listener.row.members == 0


# -- what is reported to the host -------------------------------------------------------------------------------------


class Held(ours.ThreadingTCPServer):
    """Holds each request in its thread, until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        super().__init__(LOOPBACK, Upper)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        wait_for(self.go)


@pytest.fixture
def held(loop: Reactor) -> Iterator[Held]:
    """Give a server whose requests are under way until the test is over."""
    server = Held()
    loop.add(server)
    yield server
    server.go.set()


@pytest.fixture
def requests() -> Iterator[list[socket.socket]]:
    """Give two sockets that may be taken for requests."""
    pair = socket.socketpair()
    yield list(pair)
    for each in pair:
        each.close()


def test_a_request_that_returns_twice_ends_its_row_once(loop: Reactor, held: Held, requests: Any) -> None:
    one, two = requests
    for request in (one, two):
        held._host.welcome(request, ("a", 1))
    first, second = streams(loop)
    held._host.returned(one)
    held._host.returned(one)
    turns(loop)
    held._host.returned(one)
    turns(loop)
    assert (first.phase, first.end) == (Phase.CLOSED, End.FINISHED)
    assert second.phase is Phase.DETACHED
    assert streams(loop) == [second]


def test_a_late_return_does_not_end_the_row_of_the_next_request_with_that_identity(
    loop: Reactor, held: Held, requests: Any
) -> None:
    """The first request is reported twice, and between the two its memory has become another request."""
    request = requests[0]
    held._host.welcome(request, ("a", 1))
    (first,) = streams(loop)
    held._host.returned(request)
    loop.call_soon(held._host.welcome, request, ("a", 2))
    held._host.returned(request)
    turns(loop)
    (second,) = streams(loop)
    assert (first.phase, second.phase) == (Phase.CLOSED, Phase.DETACHED)
    assert second.sockaddr == ("a", 2)
    held._host.returned(request)
    turns(loop)
    assert streams(loop) == []


# -- inline -----------------------------------------------------------------------------------------------------------

MIXED = ["ThreadingTCPServer", *(["ForkingTCPServer"] if hasattr(os, "fork") else [])]


@each_module
@pytest.mark.parametrize("name", MIXED)
def test_inline_is_the_loops_thread_whatever_the_mixin(loop: Reactor, connect: Any, module: Any, name: str) -> None:
    server_class = getattr(module, name)
    client = connect(loop.add(server_class(LOOPBACK, Where), way="inline"))
    assert receive_all(loop, client) == b"%d %d" % (os.getpid(), threading.get_ident())
    turn_until(loop, lambda: not streams(loop))


@each_module
@pytest.mark.parametrize("name", [name.replace("TCP", "UDP") for name in MIXED])
def test_so_it_is_for_packets(loop: Reactor, module: Any, name: str) -> None:
    class Answers(ours.DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%d %d" % (os.getpid(), threading.get_ident()))

    listener = loop.add(getattr(module, name)(LOOPBACK, Answers), way="inline")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.sendto(b"x", listener.address)
        turn_until(loop, lambda: listener.row.requests)
        assert client.recv(100) == b"%d %d" % (os.getpid(), threading.get_ident())


@each_module
@pytest.mark.parametrize("name", MIXED)
def test_inline_may_be_said_by_the_server(loop: Reactor, connect: Any, module: Any, name: str) -> None:
    server_class: Any = type("Inline", (getattr(module, name),), {"way": "inline"})
    listener = loop.add(server_class(LOOPBACK, Where))
    client = connect(listener)
    assert receive_all(loop, client) == b"%d %d" % (os.getpid(), threading.get_ident())
    assert listener.row.way == "inline"


# -- the other mixin --------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@each_module
@pytest.mark.parametrize("name", ["ThreadingTCPServer", "ForkingTCPServer"])
@pytest.mark.parametrize("way", ["thread", "fork"])
def test_who_adds_a_server_chooses_between_thread_and_fork(
    loop: Reactor, connect: Any, module: Any, name: str, way: Any
) -> None:
    server = getattr(module, name)(LOOPBACK, Where)
    listener = loop.add(server, way=way)
    client = connect(listener)
    pid, thread = map(int, receive_all(loop, client).split())
    assert (pid == os.getpid()) is (way == "thread")
    assert (thread == threading.get_ident()) is (way == "fork")  # a child has one thread: the copy of this one
    turn_until(loop, lambda: not streams(loop))
    listener.close()
    turns(loop)
    assert getattr(server, "_host", None) is None


# -- get_request ------------------------------------------------------------------------------------------------------

MANY_A_TURN: dict[str, tuple[Any, dict[str, Any]]] = {
    "coroutine": (AsyncUpper, {}),
    "framed": (Upper, {"framing": Lines()}),
    "greenlet": (Upper, {"way": "greenlet"}),
}
each_way = pytest.mark.parametrize("way", MANY_A_TURN)


def added(loop: Reactor, server_class: Any, way: str) -> Any:
    """Return the listener of a server; skip the test if its way needs a package that is not here."""
    if way == "greenlet":
        pytest.importorskip("greenlet")
    handler, keywords = MANY_A_TURN[way]
    return loop.add(server_class(LOOPBACK, handler), **keywords)


def asks_once(loop: Reactor, connect: Any, listener: Any, calls: list[str]) -> None:
    """Demand one call of get_request for each turn and client, and none that finds nobody."""
    clients = [connect(listener) for _ in range(3)]
    for _ in range(TURNS):
        before = len(calls)
        loop.step(WAIT_S)
        assert len(calls) <= before + 1
        if listener.row.requests == len(clients):
            break
    turns(loop)
    assert calls == ["came"] * 3
    for client in clients:
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        assert receive_all(loop, client) == b"HELLO\n"


@each_way
@each_module
def test_an_own_get_request_is_called_once_for_each_client_that_waits(
    loop: Reactor, connect: Any, module: Any, way: str
) -> None:
    calls: list[str] = []

    class Own(module.TCPServer):  # type: ignore[misc,name-defined]
        def get_request(self) -> Any:
            calls.append("came")
            try:
                return super().get_request()
            except OSError:
                calls.append("nobody")  # to one that reports what fails, this would be an error
                raise

    asks_once(loop, connect, added(loop, Own, way), calls)


@each_way
@each_module
def test_the_name_of_a_class_does_not_hide_its_get_request(loop: Reactor, connect: Any, module: Any, way: str) -> None:
    calls: list[str] = []

    def get_request(self: Any) -> Any:
        calls.append("came")
        return module.TCPServer.get_request(self)

    get_request.__qualname__ = "TCPServer.get_request"  # class TCPServer(socketserver.TCPServer), in somebody's module
    asks_once(loop, connect, added(loop, type("TCPServer", (module.TCPServer,), {"get_request": get_request}), way), calls)


@each_way
@each_module
def test_a_stock_get_request_accepts_many_a_turn(loop: Reactor, connect: Any, module: Any, way: str) -> None:
    listener = added(loop, module.TCPServer, way)
    clients = [connect(listener) for _ in range(4)]
    turn_until(loop, lambda: listener.row.requests)
    assert listener.row.requests == len(clients)


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
@each_way
def test_so_does_that_of_a_unix_server(loop: Reactor, connect: Any, tmp_path: Any, way: str) -> None:
    if way == "greenlet":
        pytest.importorskip("greenlet")
    handler, keywords = MANY_A_TURN[way]
    listener = loop.add(standard.UnixStreamServer(str(tmp_path / "s"), handler), **keywords)
    for _ in range(4):
        connect(listener)
    turn_until(loop, lambda: listener.row.requests)
    assert listener.row.requests == 4


# -- threads of the standard module -----------------------------------------------------------------------------------


@each_module
def test_threads_of_a_hosted_server_are_named_as_in_socketserver(loop: Reactor, connect: Any, module: Any) -> None:
    names: list[str] = []

    class Notes(ours.BaseRequestHandler):
        def handle(self) -> None:
            names.append(threading.current_thread().name)

    client = connect(loop.add(module.ThreadingTCPServer(LOOPBACK, Notes)))
    assert receive_all(loop, client) == b""
    wait_until(lambda: names)
    assert "(process_request_thread)" in names[0]
