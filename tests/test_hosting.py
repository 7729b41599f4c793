"""Servers as guests of a loop: every way to run a handler, the hooks and their order, who closes what, and children."""

import os
import signal
import socket
import socketserver as standard
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from reactor import (
    AsyncStreamRequestHandler,
    BlockingHandlerError,
    End,
    Limits,
    Lines,
    ManualClock,
    Observer,
    Phase,
    Reactor,
    Row,
    Stream,
)
from reactor import socketserver as ours
from reactor.attaching import attach
from reactor.hosting import ROOM_POLL_S
from tests.driving import ask, listen, receive, receive_all, reset, streams, turn_until, turns
from tests.running import PATIENCE_S, PROMPT_S, Running, Waits, descriptors, python, seconds_of, wait_for, wait_until

LOOPBACK = ("127.0.0.1", 0)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Upper(ours.StreamRequestHandler):
    """Answers each line in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())
            self.wfile.flush()


class AsyncUpper(AsyncStreamRequestHandler):
    """The same, as a coroutine."""

    async def handle(self) -> None:
        while line := await self.rfile.readline():
            self.wfile.write(line.upper())


class UpperPacket(ours.DatagramRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.read().upper())


class Fails(ours.BaseRequestHandler):
    def handle(self) -> None:
        raise ValueError("the handler fails")


class AsyncFails(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        await self.rfile.readline()
        raise ValueError("the handler fails")


WAYS: dict[str, tuple[Any, dict[str, Any]]] = {
    "coroutine": (AsyncUpper, {}),
    "inline": (Upper, {"way": "inline"}),
    "thread": (Upper, {"way": "thread"}),
    "fork": (Upper, {"way": "fork"}),
}
CLASSES: dict[str, tuple[Any, Any, dict[str, Any]]] = {
    **{name: (ours.TCPServer, handler, keywords) for name, (handler, keywords) in WAYS.items()},
    "ThreadingMixIn": (ours.ThreadingTCPServer, Upper, {}),
    "standard, coroutine": (standard.TCPServer, AsyncUpper, {}),
    "standard, inline": (standard.TCPServer, Upper, {"way": "inline"}),
    "standard, thread": (standard.TCPServer, Upper, {"way": "thread"}),
    "standard, ThreadingMixIn": (standard.ThreadingTCPServer, Upper, {}),
}
if hasattr(os, "fork"):
    CLASSES |= {
        "ForkingMixIn": (ours.ForkingTCPServer, Upper, {}),
        "standard, fork": (standard.TCPServer, Upper, {"way": "fork"}),
        "standard, ForkingMixIn": (standard.ForkingTCPServer, Upper, {}),
    }
else:
    del WAYS["fork"]
    del CLASSES["fork"]


@pytest.fixture
def loop() -> Iterator[Reactor]:
    """Give a reactor on the real clock: threads and children know no other."""
    with Reactor() as loop:
        yield loop


@pytest.fixture
def every_loop(make_loop: Callable[..., Reactor]) -> Reactor:
    """Give the same on every selector."""
    return make_loop(clock=None)


def served(loop: Reactor, connect: Any, listener: Any, *lines: bytes) -> None:
    """Demand that a client of the listener gets these lines in capitals, and then the end."""
    client = connect(listener)
    client.sendall(b"".join(lines))
    client.shutdown(socket.SHUT_WR)  # an inline handler holds the loop until it has read this
    assert receive_all(loop, client) == b"".join(lines).upper()
    client.close()


# -- every way --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CLASSES)
def test_a_server_is_hosted_beside_others(every_loop: Reactor, connect: Any, name: str) -> None:
    loop = every_loop
    server_class, handler, keywords = CLASSES[name]
    other = connect(listen(loop, echo))
    listener = loop.add(server_class(LOOPBACK, handler), **keywords)
    for _ in range(2):
        ask(loop, other, b"hello\n", b"hello\n")
        served(loop, connect, listener, b"one\n", b"two\n")
    ask(loop, other, b"bye\n", b"bye\n")
    turn_until(loop, lambda: len(streams(loop)) == 1)
    assert listener.row.phase is Phase.LISTENING


@pytest.mark.parametrize("name", WAYS)
@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unix://"])
def test_listen_takes_handler_classes(loop: Reactor, connect: Any, tmp_path: Any, name: str, endpoint: str) -> None:
    handler, keywords = WAYS[name]
    if endpoint == "unix://":
        endpoint += str(tmp_path / "s")
    try:
        listener = loop.listen(endpoint, handler, **keywords)
    except OSError:
        pytest.skip(f"no {endpoint} here")
    served(loop, connect, listener, b"one\n", b"two\n")
    assert loop.table.snapshot()[0].way == name
    assert listener.name.startswith(handler.__name__)


@pytest.mark.parametrize("family", ["inet6", "unix"])
@pytest.mark.parametrize("name", WAYS)
def test_servers_of_other_families(loop: Reactor, connect: Any, tmp_path: Any, family: str, name: str) -> None:
    handler, keywords = WAYS[name]
    if family == "unix":
        if not hasattr(socket, "AF_UNIX"):
            pytest.skip("needs Unix sockets")
        server: Any = ours.UnixStreamServer(str(tmp_path / "s"), handler)
    else:
        server_class = type("Server6", (ours.TCPServer,), {"address_family": socket.AF_INET6})
        try:
            server = server_class(("::1", 0), handler)
        except OSError:
            pytest.skip("no IPv6 here")
    listener = loop.add(server, **keywords)
    assert listener.endpoint.startswith("unix://" if family == "unix" else "tcp://[::1]:")
    served(loop, connect, listener, b"one\n", b"two\n")


@pytest.mark.parametrize("way", [None, "inline", "thread", *(["fork"] if hasattr(os, "fork") else [])])
@pytest.mark.parametrize("family", ["inet", "unix"])
def test_datagram_servers(loop: Reactor, tmp_path: Any, way: Any, family: str) -> None:
    if family == "inet":
        server: Any = ours.UDPServer(LOOPBACK, UpperPacket)
    else:
        server = ours.UnixDatagramServer(str(tmp_path / "s"), UpperPacket)
    listener = loop.add(server, way=way)
    assert listener.endpoint.startswith("udp://" if family == "inet" else "unix+dgram://")
    with socket.socket(server.address_family, socket.SOCK_DGRAM) as client:
        if family == "unix":
            client.bind(str(tmp_path / "c"))
        client.connect(listener.address)
        for data in (b"one", b"", b"two"):
            client.send(data)
        client.setblocking(False)
        got: list[bytes] = []
        turn_until(loop, lambda: _receive_into(client, got) and len(got) == 3)
        assert sorted(got) == [b"", b"ONE", b"TWO"]
    assert listener.row.requests == 3


def _receive_into(client: socket.socket, got: list[bytes]) -> bool:
    try:
        got.append(client.recv(100))
    except BlockingIOError:
        pass
    return True


@needs_unix
@pytest.mark.parametrize("module", [ours, standard], ids=["ours", "standard"])
@pytest.mark.parametrize("call", ["sendto", "sendto with flags", "sendmsg"])
def test_a_unix_client_that_reads_no_packets_holds_nobody(
    loop: Reactor, connect: Any, tmp_path: Any, module: Any, call: str
) -> None:
    class Answers(module.BaseRequestHandler):  # type: ignore[misc,name-defined]
        def handle(self) -> None:
            data, sock = self.request
            assert sock.fileno() == server.fileno()
            if call == "sendto":
                sent.append(sock.sendto(data.upper(), self.client_address))
            elif call == "sendmsg":
                sent.append(sock.sendmsg([data.upper()], (), 0, self.client_address))
            else:
                sent.append(sock.sendto(data.upper(), 0, self.client_address))

    sent: list[int] = []
    server = module.UnixDatagramServer(str(tmp_path / "s"), Answers)
    listener = loop.add(server)
    other = connect(listen(loop, echo))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(str(tmp_path / "c"))
        asked: list[int] = []
        while not listener.row.dropped:
            asked.append(client.sendto(b"one", listener.address))
            turn_until(loop, lambda: len(sent) == len(asked))
            assert len(asked) < 5000
        ask(loop, other, b"hello\n", b"hello\n")
        assert set(sent) == {3}  # as on a network: whoever sends does not learn it
        client.setblocking(False)
        for _ in range(len(asked) - listener.row.dropped):
            assert client.recv(10) == b"ONE"
        with pytest.raises(BlockingIOError):
            client.recv(10)
        client.sendto(b"two", listener.address)
        turn_until(loop, lambda: len(sent) == len(asked) + 1)
        assert client.recv(10) == b"TWO"


@needs_unix
@pytest.mark.parametrize("way", [None, "inline", "thread"])
def test_who_says_a_way_has_the_real_socket_of_a_datagram_server(loop: Reactor, tmp_path: Any, way: Any) -> None:
    """And an error of an answer that cannot be sent is the handler's, whatever the way."""

    class Notes(ours.BaseRequestHandler):
        def handle(self) -> None:
            noted.append(self.request[1] is self.server.socket)
            try:
                self.request[1].sendto(b"x", str(tmp_path / "nobody"))
            except FileNotFoundError:
                done.set()

    noted: list[bool] = []
    done = threading.Event()
    server = ours.UnixDatagramServer(str(tmp_path / "s"), Notes)
    loop.add(server, way=way)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", server.server_address)
        turn_until(loop, done.is_set)
    assert noted == [way is not None]


def test_a_datagram_handler_class_needs_no_way(loop: Reactor) -> None:
    listener = loop.listen("udp://127.0.0.1:0", UpperPacket)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", listener.address)
        turn_until(loop, lambda: listener.row.requests)
        assert client.recv(10) == b"HELLO"


# -- which way --------------------------------------------------------------------------------------------------------


def test_a_blocking_handler_without_a_way_is_an_error_that_names_the_choices(loop: Reactor) -> None:
    with ours.TCPServer(LOOPBACK, Upper) as server:
        with pytest.raises(BlockingHandlerError) as caught:
            loop.add(server)
        for choice in ('way="thread"', 'way="fork"', 'way="inline"', "ThreadingMixIn", "AsyncStreamRequestHandler"):
            assert choice in str(caught.value)
        assert isinstance(caught.value, TypeError)
    with pytest.raises(BlockingHandlerError, match="Upper"):
        loop.listen("tcp://127.0.0.1:0", Upper)
    assert len(loop.table) == 0


WRONG: dict[str, tuple[Any, Any, str]] = {
    "no such way": (ours.TCPServer, Upper, "greenlets"),
    "a coroutine in a thread": (ours.TCPServer, AsyncUpper, "thread"),
    "a coroutine inline": (ours.TCPServer, AsyncUpper, "inline"),
    "a blocking handler as a coroutine": (ours.TCPServer, Upper, "coroutine"),
    "a coroutine in a threading server": (ours.ThreadingTCPServer, AsyncUpper, None),
    "a coroutine in a standard threading server": (standard.ThreadingTCPServer, AsyncUpper, None),
}


@pytest.mark.parametrize("name", WRONG)
@needs_proc
def test_a_wrong_way_is_a_value_error_and_leaves_the_server_alone(loop: Reactor, connect: Any, name: str) -> None:
    server_class, handler, way = WRONG[name]
    with server_class(LOOPBACK, handler) as server:
        before = descriptors()
        with pytest.raises(ValueError, match="AsyncStreamRequestHandler|one of|coroutine"):
            loop.add(server, way=way)
        assert len(loop.table) == 0
        assert descriptors() == before
        connect(server.server_address)  # it still listens
        request, _ = server.get_request()
        request.close()
    with pytest.raises(ValueError, match="not understood"):
        loop.listen("tcp://nowhere", Upper, way="inline")


def test_the_way_is_the_callers_before_the_servers_before_the_classes(loop: Reactor) -> None:
    class Inline(ours.TCPServer):
        way = "inline"

    class Threaded(ours.ThreadingMixIn, Inline):
        way = None

    expected = [(Inline, None, "inline"), (Inline, "thread", "thread"), (Threaded, None, "thread")]
    for server_class, way, _ in expected:
        loop.add(server_class(LOOPBACK, Upper), way=way)
    assert [row.way for row in loop.table] == [way for *_, way in expected]


def test_names_and_limits_come_from_the_caller_the_server_or_the_reactor(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(limits=Limits(idle_s=1))

    class Limited(ours.TCPServer):
        limits = Limits(idle_s=2)

    rows = [
        loop.add(ours.TCPServer(LOOPBACK, AsyncUpper)).row,
        loop.add(Limited(LOOPBACK, AsyncUpper), name="mine").row,
        loop.add(Limited(LOOPBACK, AsyncUpper), limits=Limits(idle_s=3)).row,
    ]
    assert [row.limits.idle_s for row in rows] == [1, 2, 3]
    assert rows[0].listener.startswith("TCPServer 127.0.0.1:")
    assert rows[1].listener == "mine"


# -- hooks ------------------------------------------------------------------------------------------------------------

HOOKS = (
    "get_request", "verify_request", "process_request", "finish_request", "handle_error", "shutdown_request",
    "close_request",
)  # fmt: skip


class Hooked:
    """Writes the names of its hooks into a pipe, which children inherit; parent and child are told apart."""

    admits = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.reader, self.writer = os.pipe()
        os.set_blocking(self.reader, False)
        self.parent = os.getpid()
        super().__init__(*args, **kwargs)

    def note(self, name: str) -> None:
        os.write(self.writer, f"{'parent' if os.getpid() == self.parent else 'child'} {name}\n".encode())

    def noted(self, who: str = "parent") -> list[str]:
        """Return what was noted so far (all of it, once)."""
        self.lines = getattr(self, "lines", b"")
        try:
            self.lines += os.read(self.reader, 65536)
        except BlockingIOError:
            pass
        names = [line.split() for line in self.lines.decode().splitlines()]
        return [name for process, name in names if process == who]

    def verify_request(self, *args: Any) -> bool:
        self.note("verify_request")
        return self.admits

    def handle_error(self, *args: Any) -> None:
        self.note("handle_error")  # and no traceback to stderr

    def server_close(self) -> None:
        super().server_close()  # type: ignore[misc]
        self.note("server_close")


def _noting(name: str) -> Callable[..., Any]:
    def hook(self: Any, *args: Any) -> Any:
        self.note(name)
        return getattr(super(Hooked, self), name)(*args)

    return hook


for _name in set(HOOKS) - {"verify_request", "handle_error"}:
    setattr(Hooked, _name, _noting(_name))


@pytest.fixture
def hooked(loop: Reactor) -> Iterator[Callable[..., tuple[Any, Any]]]:
    """Give a function that hosts a server which notes its hooks, in a way."""
    servers: list[Any] = []

    def make(way: str, handler: Any = None, **attributes: Any) -> tuple[Any, Any]:
        blocking, keywords = WAYS[way]
        server_class = type("Noting", (Hooked, ours.TCPServer), attributes)
        server = server_class(LOOPBACK, handler or blocking)
        servers.append(server)
        return server, loop.add(server, **keywords)

    yield make
    loop.close()
    for server in servers:
        os.close(server.reader)
        os.close(server.writer)


FIRST = ["get_request", "verify_request", "process_request"]
LAST = ["shutdown_request", "close_request"]


@pytest.mark.parametrize("way", WAYS)
def test_the_hooks_come_in_socketservers_order(loop: Reactor, connect: Any, hooked: Any, way: str) -> None:
    server, listener = hooked(way)
    served(loop, connect, listener, b"hello\n")
    turn_until(loop, lambda: not streams(loop))
    accepted = [name for name in server.noted() if name in HOOKS]
    accepted[1:] = [name for name in accepted[1:] if name != "get_request"]  # a loop accepts until it would block
    if way == "fork":
        assert accepted == [*FIRST, "close_request"]
        assert server.noted("child") == ["finish_request", *LAST]
    else:
        assert accepted == [*FIRST, "finish_request", *LAST]


@pytest.mark.parametrize("way", WAYS)
def test_a_request_that_is_refused_is_shut_down_once(loop: Reactor, connect: Any, hooked: Any, way: str) -> None:
    server, listener = hooked(way, admits=False)
    client = connect(listener)
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: not streams(loop))
    noted = [name for name in server.noted() if name != "get_request"]
    assert noted == ["verify_request", *LAST]
    assert server.noted("child") == []


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_that_fails_is_reported_once_then_shut_down_once(
    loop: Reactor, connect: Any, hooked: Any, way: str, caplog: pytest.LogCaptureFixture
) -> None:
    server, listener = hooked(way, AsyncFails if way == "coroutine" else Fails)
    client = connect(listener)
    client.sendall(b"x\n")
    client.shutdown(socket.SHUT_WR)
    try:
        assert receive_all(loop, client) == b""
    except ConnectionResetError:
        pass  # its line was never read: TCP says so
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert listener.row.phase is Phase.LISTENING
    noted = [name for name in server.noted() if name not in ("get_request", "close_request")]
    failing = ["finish_request", "handle_error", "shutdown_request"]
    if way == "fork":
        assert noted == ["verify_request", "process_request"]
        assert server.noted("child") == [*failing, "close_request"]
    else:
        assert noted == ["verify_request", "process_request", *failing]
    assert not caplog.records  # handle_error has reported it


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("hook", ["verify_request", "process_request", "finish_request"])
def test_a_hook_that_fails_counts_as_a_failing_handler(
    loop: Reactor, connect: Any, hooked: Any, way: str, hook: str
) -> None:
    def fails(self: Any, *args: Any) -> None:
        self.note(hook)
        raise OSError("the hook fails")

    server, listener = hooked(way, **{hook: fails})
    client = connect(listener)
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert listener.row.phase is Phase.LISTENING
    who = "child" if way == "fork" and hook == "finish_request" else "parent"
    noted = server.noted(who)
    assert noted.count("handle_error") == 1
    assert noted.count("shutdown_request") == 1
    assert noted.index(hook) < noted.index("handle_error") < noted.index("shutdown_request")


@pytest.mark.parametrize("way", [way for way in WAYS if way != "fork"])
@pytest.mark.parametrize("hook", ["handle_error", "shutdown_request", "close_request"])
@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.filterwarnings("ignore:unclosed <socket:ResourceWarning")  # a thread's, which its failing hook leaves
@needs_proc
def test_a_failing_hook_of_the_end_leaves_neither_row_nor_descriptor(
    loop: Reactor, connect: Any, hooked: Any, way: str, hook: str
) -> None:
    def fails(self: Any, *args: Any) -> None:
        raise ZeroDivisionError(hook)

    turns(loop, 1)
    _, listener = hooked(way, AsyncFails if way == "coroutine" else Fails, **{hook: fails})
    other = connect(listen(loop, echo))
    ask(loop, other, b"before\n", b"before\n")
    loop.step(0.001)
    before = descriptors()
    for _ in range(3):
        client = connect(listener)
        client.sendall(b"x\n")
        requests = listener.row.requests
        turn_until(loop, lambda requests=requests: listener.row.requests > requests)
        try:
            client.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it was reset
        turn_until(loop, lambda: len(streams(loop)) == 1)
        client.close()
    assert listener.row.phase is Phase.LISTENING
    assert len(streams(loop)) == 1
    ask(loop, other, b"after\n", b"after\n")
    if way != "thread":  # a thread's socket is its own affair, as in socketserver
        assert descriptors() == before


@pytest.mark.parametrize("error", [ValueError("TLS"), OSError("reset")], ids=repr)
def test_a_get_request_that_fails_costs_its_own_connection_only(
    loop: Reactor, connect: Any, error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    class Wraps(ours.ThreadingTCPServer):
        fails = True

        def get_request(self) -> Any:
            request, address = super().get_request()
            if self.fails:
                Wraps.fails = False
                request.close()
                raise error
            return request, address

    listener = loop.add(Wraps(LOOPBACK, Upper))
    unlucky = connect(listener)
    assert receive_all(loop, unlucky) == b""
    served(loop, connect, listener, b"hello\n")
    assert len(caplog.records) == isinstance(error, ValueError)


@pytest.mark.parametrize("hook", ["get_request", "verify_request", "finish_request", "handle_error", "shutdown_request"])
def test_failing_hooks_of_a_datagram_server_cost_their_own_packet_only(loop: Reactor, hook: str) -> None:
    def fails(self: Any, *args: Any) -> Any:
        if self.failing:
            self.failing = False
            if hook == "get_request":
                self.socket.recv(100)
            raise ZeroDivisionError(hook)
        return getattr(super(server_class, self), hook)(*args)

    class FailsOnce(ours.BaseRequestHandler):
        def handle(self) -> None:
            if hook == "handle_error" and self.server.failing:
                raise ValueError("what handle_error is told of")
            data, sock = self.request
            sock.sendto(data.upper(), self.client_address)

    quiet = {} if hook == "handle_error" else {"handle_error": lambda self, *args: None}
    server_class: Any = type("S", (ours.UDPServer,), {hook: fails, "failing": True, **quiet})
    listener = loop.add(server_class(LOOPBACK, FailsOnce))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        client.sendto(b"one", listener.address)
        turn_until(loop, lambda: not listener.server.failing)
        client.sendto(b"two", listener.address)
        turn_until(loop, lambda: listener.row.requests >= 1 + (hook != "get_request"))
        if hook == "shutdown_request":
            assert client.recv(10) == b"ONE"
        assert client.recv(10) == b"TWO"
    assert listener.row.phase is Phase.LISTENING


def test_a_network_error_of_a_datagram_server_is_no_event(loop: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    class Disturbed(ours.UDPServer):
        errors = 3

        def get_request(self) -> Any:
            if self.errors:
                self.errors -= 1
                raise ConnectionRefusedError("ICMP: nobody there")
            return super().get_request()

    listener = loop.add(Disturbed(LOOPBACK, UpperPacket))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"hello", listener.address)
        turn_until(loop, lambda: listener.row.requests)
        assert client.recv(10) == b"HELLO"
    assert not caplog.records


@pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("way", ["inline", "coroutine"])
def test_an_exit_in_a_handler_leaves_the_loop_with_its_request_shut_down(
    loop: Reactor, connect: Any, hooked: Any, way: str, error: BaseException
) -> None:
    class Exits(ours.BaseRequestHandler):
        def handle(self) -> None:
            raise error

    class AsyncExits(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            raise error

    server, listener = hooked(way, Exits if way == "inline" else AsyncExits)
    client = connect(listener)
    with pytest.raises(type(error)):
        turns(loop, 100)
    client.settimeout(PATIENCE_S)
    try:
        assert receive_all(loop, client) == b""
    except ConnectionResetError:
        assert way == "coroutine"  # its row was aborted
    turn_until(loop, lambda: not streams(loop))
    noted = server.noted()
    assert noted.count("shutdown_request") == 1
    assert noted.count("handle_error") == 0


@pytest.mark.parametrize("way", ["inline", "coroutine"])
def test_an_observer_hears_of_failing_handlers_though_handle_error_reports_them(connect: Any, way: str) -> None:
    told: list[tuple[str, type]] = []

    class Notes(Observer):
        def on_error(self, row: Row, error: BaseException) -> None:
            told.append((row.kind, type(error)))

    class Quiet(ours.TCPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Nothing to stderr."""

    with Reactor(observers=[Notes()]) as loop:
        listener = loop.add(Quiet(LOOPBACK, AsyncFails if way == "coroutine" else Fails), **WAYS[way][1])
        client = connect(listener)
        client.sendall(b"x\n")
        turn_until(loop, lambda: told)
        turns(loop)
    assert told == [("stream" if way == "coroutine" else "listener", ValueError)]


def test_a_hosted_coroutine_sends_small_replies_at_once(loop: Reactor, connect: Any) -> None:
    connect(loop.add(ours.TCPServer(LOOPBACK, AsyncUpper)))
    turn_until(loop, lambda: streams(loop))
    (row,) = streams(loop)
    assert row.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not row.sock.getblocking()


def test_hooks_run_on_the_loops_thread_but_for_those_of_the_handler(loop: Reactor, connect: Any) -> None:
    threads: dict[str, str] = {}

    def noting(name: str) -> Callable[..., Any]:
        def hook(self: Any, *args: Any) -> Any:
            threads[name] = threading.current_thread().name
            return getattr(super(server_class, self), name)(*args)

        return hook

    names = ("get_request", "verify_request", "process_request", "finish_request", "shutdown_request")
    server_class: Any = type("S", (ours.ThreadingTCPServer,), {name: noting(name) for name in names})
    served(loop, connect, loop.add(server_class(LOOPBACK, Upper)), b"hello\n")
    main = threading.current_thread().name
    assert [threads[name] == main for name in names] == [True, True, True, False, False]


# -- rows of threads and children ---------------------------------------------------------------------------------------


class Waiting(ours.StreamRequestHandler):
    """Says hello, and works until its client sends something."""

    timeout = 5  # should the test fail: a child has inherited the client's end, and would wait for ever

    def handle(self) -> None:
        self.wfile.write(b"at work\n")
        self.rfile.readline()
        self.wfile.write(b"done\n")


OUTSIDE = {
    "ThreadingMixIn": (ours.ThreadingTCPServer, {}, "thread"),
    "thread": (ours.TCPServer, {"way": "thread"}, "thread"),
    "standard, thread": (standard.TCPServer, {"way": "thread"}, "thread"),
}
if hasattr(os, "fork"):
    OUTSIDE |= {
        "ForkingMixIn": (ours.ForkingTCPServer, {}, "fork"),
        "fork": (ours.TCPServer, {"way": "fork"}, "fork"),
        "standard, fork": (standard.TCPServer, {"way": "fork"}, "fork"),
    }


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_row_of_a_thread_or_child_is_detached_while_it_works(loop: Reactor, connect: Any, name: str) -> None:
    server_class, keywords, way = OUTSIDE[name]
    listener = loop.add(server_class(LOOPBACK, Waiting), **keywords)
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    turns(loop)
    (row,) = streams(loop)
    assert (row.phase, row.way, row.requests) == (Phase.DETACHED, way, 1)
    assert (row.peer.host, row.peer.port) == client.getsockname()
    assert f"with a handler of the way '{way}'" in loop.table.explain(row)
    assert listener.row.members == 1
    waits = Waits(loop)
    assert not [turn for turn in turns(loop, 10) if turn.ready]
    assert len(waits) == 10
    client.sendall(b"go on\n")
    assert receive_all(loop, client) == b"done\n"
    turn_until(loop, lambda: not streams(loop))
    assert (row.phase, row.end, listener.row.members) == (Phase.CLOSED, End.FINISHED, 0)


@pytest.mark.parametrize("name", OUTSIDE)
def test_a_drain_waits_for_threads_and_children(loop: Reactor, connect: Any, name: str) -> None:
    server_class, keywords, _ = OUTSIDE[name]
    listener = loop.add(server_class(LOOPBACK, Waiting), **keywords)
    idle = connect(listen(loop, echo))
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    turns(loop)
    loop.stop(drain_s=PATIENCE_S)
    turns(loop, 5)
    assert idle.recv(1) == b""  # the others are not kept waiting
    with pytest.raises(ConnectionRefusedError):
        connect(listener)
    assert [row.phase for row in streams(loop)] == [Phase.DETACHED]
    client.sendall(b"go on\n")
    report = loop.run()
    assert client.recv(10) == b"done\n"
    assert [len(rows) for rows in (report.finished, report.idle, report.aborted)] == [1, 1, 0]


@pytest.mark.parametrize("name", OUTSIDE)
def test_the_deadline_of_a_drain_holds_for_threads_and_children_too(loop: Reactor, connect: Any, name: str) -> None:
    server_class, keywords, _ = OUTSIDE[name]
    listener = loop.add(server_class(LOOPBACK, Waiting), **keywords)
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    turns(loop)
    loop.stop(drain_s=0.02)
    report = loop.run()
    assert len(report.aborted) == 1
    assert report.seconds < 1
    assert "DETACHED, the drain deadline has passed" in str(report)
    client.sendall(b"go on\n")  # and now close() can join it
    loop.close()
    assert client.recv(10) == b"done\n"


@pytest.mark.parametrize("way", ["thread", *(["fork"] if hasattr(os, "fork") else [])])
def test_a_drain_is_not_held_up_by_packets_that_are_worked_on(loop: Reactor, connect: Any, way: str) -> None:
    reader, writer = os.pipe()
    started, start = os.pipe()

    class Slow(ours.DatagramRequestHandler):
        def handle(self) -> None:
            os.write(start, b"x")
            os.read(reader, 1)

    loop.add(ours.UDPServer(LOOPBACK, Slow), way=way, name="udp")
    idle = connect(listen(loop, echo))
    ask(loop, idle, b"hello\n", b"hello\n")
    (listener,) = [row for row in loop.table if row.kind == "datagram"]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", listener.sock.getsockname())
        turn_until(loop, lambda: listener.requests)
    os.read(started, 1)
    loop.stop(drain_s=0.05)
    timer = threading.Timer(2, os.write, (writer, b"y"))
    timer.daemon = True
    timer.start()
    try:
        assert seconds_of(loop.run) < 1
    finally:
        os.write(writer, b"y")
        loop.close()
        timer.cancel()
        timer.join()
        for fd in (reader, writer, started, start):
            os.close(fd)


@needs_fork
def test_a_child_that_ends_is_an_event_not_a_poll(every_loop: Reactor, connect: Any) -> None:
    loop = every_loop
    if not hasattr(os, "pidfd_open"):
        pytest.skip("needs pidfds")
    listener = loop.add(ours.ForkingTCPServer(LOOPBACK, Waiting))
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    turns(loop)
    assert loop.next_turn_in_s() is None
    (row,) = streams(loop)
    client.sendall(b"go on\n")
    turn = loop.step(PATIENCE_S)
    assert turn.ready == (row.id,)
    assert turn.ended == (row.id,)
    assert has_no_children()


@needs_fork
@pytest.mark.parametrize("name", [name for name, (*_, way) in OUTSIDE.items() if way == "fork"])
@pytest.mark.parametrize("trouble", ["no pidfds", "an old kernel"])
def test_without_pidfds_children_are_polled_for(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch, name: str, trouble: str
) -> None:
    def refuse(pid: int, flags: int = 0) -> int:
        raise OSError(38, "Function not implemented")

    if trouble == "no pidfds":
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    else:
        monkeypatch.setattr(os, "pidfd_open", refuse, raising=False)
    server_class, keywords, _ = OUTSIDE[name]
    listener = loop.add(server_class(LOOPBACK, Waiting), **keywords)
    turns(loop)
    assert loop.next_turn_in_s() is None  # without children there is nothing to poll for
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    turns(loop)
    assert loop.next_turn_in_s() == 0.5
    client.sendall(b"go on\n")
    assert receive_all(loop, client) == b"done\n"
    turn_until(loop, lambda: not streams(loop))
    assert loop.next_turn_in_s() is None
    assert has_no_children()


@needs_fork
@pytest.mark.parametrize("module", [ours, standard], ids=["ours", "standard"])
@pytest.mark.parametrize("kind", ["ForkingTCPServer", "ForkingUDPServer"])
def test_no_child_stays_a_zombie(loop: Reactor, connect: Any, module: Any, kind: str) -> None:
    server = getattr(module, kind)(LOOPBACK, ours.BaseRequestHandler)
    listener = loop.add(server)
    if kind == "ForkingTCPServer":
        connect(listener)
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", listener.address)
    turn_until(loop, lambda: listener.row.requests)
    turn_until(loop, has_no_children)


def has_no_children() -> bool:
    """Say whether all children are gone, without reaping one."""
    try:
        os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    except ChildProcessError:
        return True
    return False


@needs_fork
def test_a_child_that_somebody_else_reaps_does_not_spin_nor_stay(every_loop: Reactor, connect: Any) -> None:
    loop = every_loop
    server = ours.ForkingTCPServer(LOOPBACK, Waiting)
    client = connect(loop.add(server))
    assert receive(loop, client, 8) == b"at work\n"
    turns(loop)
    client.sendall(b"go on\n")
    assert os.waitpid(-1, 0)[1] == 0
    turn_until(loop, lambda: not streams(loop))
    assert not server.active_children
    assert [turn.ready for turn in turns(loop, 5)] == [()] * 5


@needs_fork
@needs_proc
@pytest.mark.parametrize("name", [name for name, (*_, way) in OUTSIDE.items() if way == "fork"])
def test_a_child_inherits_nothing_of_the_loop(every_loop: Reactor, connect: Any, tmp_path: Any, name: str) -> None:
    class Lists(ours.StreamRequestHandler):
        def handle(self) -> None:
            mine = str(self.request.fileno())
            found = sorted(descriptors())
            self.wfile.write("\n".join(one for one in found if one.split()[0] != mine).encode())

    loop = every_loop
    server_class, keywords, _ = OUTSIDE[name]
    before = descriptors()
    listener = loop.add(server_class(LOOPBACK, Lists), **keywords)
    blocking = loop.add(ours.ForkingTCPServer(LOOPBACK, Waiting))
    others = [connect(listen(loop, echo)), connect(listen(loop, echo, f"unix://{tmp_path}/s"))]
    for other in others:
        ask(loop, other, b"hello\n", b"hello\n")
    working = connect(blocking)  # another child, and so a pidfd
    assert receive(loop, working, 8) == b"at work\n"
    loop.step(0.001)
    client = connect(listener)
    clients = {str(one.fileno()) for one in (*others, working, client)}
    listing = receive_all(loop, client).decode().splitlines()
    left = [one for one in listing if one not in before and one.split()[0] not in clients]
    assert left == []
    for other in others:  # and the parent's registrations are unharmed
        ask(loop, other, b"still here\n", b"still here\n")
    working.sendall(b"go on\n")
    assert receive_all(loop, working) == b"done\n"
    turn_until(loop, lambda: len(streams(loop)) == 2)
    ask(loop, others[0], b"and after\n", b"and after\n")


@needs_fork
def test_a_child_that_lives_on_keeps_no_other_connection_open(loop: Reactor, connect: Any) -> None:
    listener = loop.add(ours.ForkingTCPServer(LOOPBACK, Waiting))
    other = connect(listen(loop, echo))
    ask(loop, other, b"hello\n", b"hello\n")
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    row = next(row for row in streams(loop) if row.phase is Phase.IDLE)
    row.close()
    assert receive_all(loop, other) == b""
    client.sendall(b"go on\n")
    assert receive_all(loop, client) == b"done\n"


@needs_fork
@pytest.mark.parametrize("way", ["thread", "greenlet"])
def test_a_child_that_lives_on_keeps_no_connection_of_a_blocking_handler_open(
    loop: Reactor, connect: Any, way: Any
) -> None:
    """Its files are open when the child is forked, and close() of a socket waits for them."""
    if way == "greenlet":
        pytest.importorskip("greenlet")

    class OnlyCloses(ours.TCPServer):
        def shutdown_request(self, request: Any) -> None:
            self.close_request(request)

    other = connect(loop.add(OnlyCloses(LOOPBACK, Waiting), way=way))
    assert receive(loop, other, 8) == b"at work\n"
    client = connect(loop.add(ours.ForkingTCPServer(LOOPBACK, Waiting)))
    assert receive(loop, client, 8) == b"at work\n"
    other.sendall(b"go on\n")
    assert receive_all(loop, other) == b"done\n"
    client.sendall(b"go on\n")
    assert receive_all(loop, client) == b"done\n"


@needs_fork
def test_a_child_ends_on_sigterm_though_the_parent_drains_on_it() -> None:
    """And its wake-up descriptor is not the parent's: a file that the child opens must not get a stray byte."""
    printed = python(
        """
        import os, signal, socket
        from reactor import Reactor
        from reactor.socketserver import StreamRequestHandler

        class Patient(StreamRequestHandler):
            def handle(self):
                fd = signal.set_wakeup_fd(-1)
                self.wfile.write(f"{os.getpid()} {fd}\\n".encode())
                self.rfile.readline()

        with Reactor() as loop:
            listener = loop.listen("tcp://127.0.0.1:0", Patient, way="fork")
            client = socket.create_connection(listener.address)
            client.setblocking(False)

            def look():
                try:
                    pid, fd = map(int, client.recv(100).split())
                except BlockingIOError:
                    loop.call_later(0.005, look)
                    return
                print("wake-up descriptor", fd)
                os.kill(pid, signal.SIGTERM)
                watch()

            def watch(patience=1000):
                if not patience:
                    raise SystemExit("the child does not end")
                if any(row.kind == "stream" for row in loop.table):
                    loop.call_later(0.005, watch, patience - 1)
                else:
                    loop.stop()

            look()
            print(loop.run())
            client.close()
        """
    )
    first, second = printed.splitlines()
    assert first == "wake-up descriptor -1"
    assert second.endswith("0 finished, 0 were idle, 0 aborted")


# -- at max_children --------------------------------------------------------------------------------------------------


@needs_fork
@pytest.mark.parametrize("pidfds", [True, False], ids=["pidfds", "no pidfds"])
@pytest.mark.parametrize("name", [name for name, (*_, way) in OUTSIDE.items() if way == "fork"])
def test_at_max_children_only_their_own_listener_waits(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch, name: str, pidfds: bool
) -> None:
    if not pidfds:
        monkeypatch.delattr(os, "pidfd_open", raising=False)
    server_class, keywords, _ = OUTSIDE[name]
    server = server_class(LOOPBACK, Waiting)
    server.max_children = 2
    listener = loop.add(server, **keywords)
    other = connect(listen(loop, echo))
    clients = [connect(listener) for _ in range(3)]
    for client in clients[:2]:
        assert receive(loop, client, 8) == b"at work\n"
    for _ in range(3):
        ask(loop, other, b"hello\n", b"hello\n")
    turns(loop)
    assert listener.row.paused == {"children"}
    assert listener.row.requests == 2
    wait_s = loop.next_turn_in_s()  # it rests, though a client waits
    assert wait_s is not None
    assert wait_s > 1 if pidfds else wait_s == ROOM_POLL_S
    clients[1].sendall(b"go on\n")
    assert receive(loop, clients[2], 8) == b"at work\n"  # who waited has the place of the first that ended
    clients[0].sendall(b"go on\n")
    clients[2].sendall(b"go on\n")
    for client in clients:
        assert receive_all(loop, client) == b"done\n"
    turn_until(loop, lambda: not listener.row.paused and has_no_children())


@needs_fork
@pytest.mark.parametrize("module", [ours, standard], ids=["ours", "standard"])
def test_at_max_children_a_datagram_listener_waits(loop: Reactor, connect: Any, module: Any) -> None:
    class Stays(module.BaseRequestHandler):  # type: ignore[misc,name-defined]
        def handle(self) -> None:
            os.read(reader, 1)
            self.request[1].sendto(self.request[0].upper(), self.client_address)

    reader, writer = os.pipe()
    server = module.ForkingUDPServer(LOOPBACK, Stays)
    server.max_children = 1
    listener = loop.add(server)
    other = connect(listen(loop, echo))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        for data in (b"one", b"two"):
            client.sendto(data, listener.address)
        turn_until(loop, lambda: listener.row.paused)
        ask(loop, other, b"hello\n", b"hello\n")
        assert listener.row.requests == 1
        os.write(writer, b"x")
        assert client.recv(10) == b"ONE"
        turn_until(loop, lambda: listener.row.requests == 2)
        os.write(writer, b"x")
        assert client.recv(10) == b"TWO"
        turn_until(loop, has_no_children)
    os.close(reader)
    os.close(writer)


@needs_fork
def test_one_child_at_a_time_is_the_least(loop: Reactor, connect: Any) -> None:
    server = ours.ForkingTCPServer(LOOPBACK, Upper)
    server.max_children = 0  # in the standard module, too, it waits only while there are children
    listener = loop.add(server)
    served(loop, connect, listener, b"one\n")
    served(loop, connect, listener, b"two\n")


@needs_fork
def test_children_from_before_count(loop: Reactor, connect: Any) -> None:
    server = ours.ForkingTCPServer(LOOPBACK, Waiting)
    server.max_children = 1
    first = connect(server.server_address)
    server.handle_request()
    assert first.recv(8) == b"at work\n"
    second = connect(loop.add(server))
    turns(loop)
    assert len(server.active_children or ()) == 1
    first.sendall(b"go on\n")
    assert receive(loop, second, 8) == b"at work\n"
    second.sendall(b"go on\n")
    assert receive_all(loop, second) == b"done\n"


@needs_fork
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_a_loop_at_max_children(connect: Any, number: int) -> None:
    server = ours.ForkingTCPServer(LOOPBACK, Waiting)
    server.max_children = 1
    with Reactor() as loop:
        listener = loop.add(server)
        client = connect(listener)
        assert receive(loop, client, 8) == b"at work\n"
        connect(listener)
        turn_until(loop, lambda: listener.row.paused)
        loop.call_soon(signal.raise_signal, number)
        loop.call_soon(signal.raise_signal, number)
        report = loop.run()
        assert len(report.aborted) == 1
        client.sendall(b"go on\n")  # close() waits for the child


# -- who closes the server --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", WAYS)
def test_a_server_is_closed_with_its_reactor_and_once(loop: Reactor, connect: Any, hooked: Any, way: str) -> None:
    server, listener = hooked(way)
    served(loop, connect, listener, b"hello\n")
    loop.close()
    assert server.fileno() == -1
    assert server.noted().count("server_close") == 1


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("how", ["listener.close", "drain", "server_close", "server_close in the loop"])
def test_it_is_closed_once_however_its_listener_ends(
    loop: Reactor, connect: Any, hooked: Any, way: str, how: str
) -> None:
    server, listener = hooked(way)
    other = connect(listen(loop, echo))
    ask(loop, other, b"before\n", b"before\n")
    if how == "listener.close":
        listener.close()
    elif how == "drain":
        loop.stop()
        loop.run()
        other = connect(listen(loop, echo))
    elif how == "server_close":
        server.server_close()
    else:
        loop.call_soon(server.server_close)
    turns(loop)
    assert listener.row not in loop.table
    assert server.fileno() == -1
    with pytest.raises(ConnectionRefusedError):
        connect(listener)
    ask(loop, other, b"after\n", b"after\n")
    loop.close()
    assert server.noted().count("server_close") == 1


@pytest.mark.parametrize("way", ["inline", "coroutine"])
def test_a_handler_may_close_its_own_server(loop: Reactor, connect: Any, way: str) -> None:
    class Closes(ours.BaseRequestHandler):
        def handle(self) -> None:
            self.server.server_close()
            self.request.sendall(b"closed\n")

    class AsyncCloses(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            self.server.server_close()
            self.wfile.write(b"closed\n")

    listener = loop.add(ours.TCPServer(LOOPBACK, Closes if way == "inline" else AsyncCloses), **WAYS[way][1])
    client = connect(listener)
    assert receive_all(loop, client) == b"closed\n"
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert listener.row not in loop.table
    with pytest.raises(ConnectionRefusedError):
        connect(listener)


def test_a_standard_server_that_is_closed_behind_our_back_does_no_harm(every_loop: Reactor, connect: Any) -> None:
    """It does not know that it is a guest: its descriptor is gone without a word, and soon somebody else's."""
    loop = every_loop
    server = standard.TCPServer(LOOPBACK, AsyncUpper)
    other = connect(listen(loop, echo))
    loop.add(server)
    ask(loop, other, b"before\n", b"before\n")
    server.server_close()
    listener = listen(loop, echo)
    ask(loop, connect(listener), b"hello\n", b"hello\n")
    ask(loop, other, b"after\n", b"after\n")
    turns(loop, 5)


def test_threads_are_joined_when_the_reactor_closes(loop: Reactor, connect: Any) -> None:
    finished: list[bool] = []

    class Notes(Waiting):
        def finish(self) -> None:
            super().finish()
            finished.append(True)

    listener = loop.add(ours.ThreadingTCPServer(LOOPBACK, Notes))
    client = connect(listener)
    assert receive(loop, client, 8) == b"at work\n"
    client.sendall(b"go on\n")
    loop.close()
    assert finished == [True]


def test_threads_of_a_stand_in_are_joined_though_the_program_has_closed_the_server(loop: Reactor, connect: Any) -> None:
    finished: list[bool] = []

    class Notes(Waiting):
        def finish(self) -> None:
            super().finish()
            finished.append(True)

    server = ours.TCPServer(LOOPBACK, Notes)
    client = connect(loop.add(server, way="thread"))
    assert receive(loop, client, 8) == b"at work\n"
    server.server_close()
    turns(loop)
    assert [row.phase for row in streams(loop)] == [Phase.DETACHED]
    client.sendall(b"go on\n")
    loop.close()
    assert finished == [True]


@pytest.mark.parametrize("name", CLASSES)
def test_a_server_is_nobodys_guest_afterwards(loop: Reactor, connect: Any, name: str) -> None:
    server_class, handler, keywords = CLASSES[name]
    server = server_class(LOOPBACK, handler)
    listener = loop.add(server, **keywords)
    served(loop, connect, listener, b"hello\n")
    turn_until(loop, lambda: not streams(loop))
    listener.close()
    turns(loop)
    assert getattr(server, "_host", None) is None
    assert not loop.hooks
    assert not loop.farewells


# -- service_actions --------------------------------------------------------------------------------------------------


def test_service_actions_run_in_every_turn_of_a_shared_loop_too(loop: Reactor) -> None:
    class Serviced(ours.TCPServer):
        calls = 0

        def service_actions(self) -> None:
            self.calls += 1

    server = Serviced(LOOPBACK, AsyncUpper)
    listener = loop.add(server)
    turns(loop, 3)
    assert server.calls == 3
    assert loop.next_turn_in_s() == 0.5
    listener.close()
    loop.step()
    calls = server.calls
    turns(loop, 3)
    assert server.calls == calls
    assert loop.next_turn_in_s() is None


def test_service_actions_that_fail_are_contained(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    class Serviced(ours.TCPServer):
        def service_actions(self) -> None:
            raise ValueError("service")

    listener = loop.add(Serviced(LOOPBACK, AsyncUpper))
    served(loop, connect, listener, b"hello\n")
    assert caplog.records


def test_a_way_of_its_own_does_not_cost_a_server_its_service_actions(loop: Reactor, connect: Any) -> None:
    for way in ("thread", *(["fork"] if hasattr(os, "fork") else [])):

        class Serviced(ours.TCPServer):
            calls = 0

            def service_actions(self) -> None:
                self.calls += 1

        server = Serviced(LOOPBACK, Upper)
        listener = loop.add(server, way=way)
        served(loop, connect, listener, b"hello\n")
        assert server.calls


# -- servers on a loop of their own -------------------------------------------------------------------------------------


class Inline(ours.TCPServer):
    way = "inline"


class InlineUDP(ours.UDPServer):
    way = "inline"


ALONE: dict[str, tuple[Any, Any]] = {
    "inline": (Inline, Upper),
    "thread": (ours.ThreadingTCPServer, Upper),
    "coroutine": (ours.TCPServer, AsyncUpper),
    "UDP": (InlineUDP, UpperPacket),
}


@pytest.fixture
def serving() -> Iterator[Callable[..., tuple[Any, Running]]]:
    """Give a function that serves in a thread of its own, once the server is at rest."""
    started: list[tuple[Any, Running]] = []

    def serve(server_class: Any, handler: Any, **attributes: Any) -> tuple[Any, Running]:
        at_rest = threading.Event()

        class Served(server_class):  # type: ignore[misc]
            def service_actions(self) -> None:
                at_rest.set()

        for name, value in attributes.items():
            setattr(Served, name, value)
        server = Served(LOOPBACK, handler)
        running = Running(lambda: server.serve_forever(poll_interval=0.01))
        started.append((server, running))
        wait_for(at_rest)
        return server, running

    yield serve
    for server, running in started:
        if running.thread.is_alive():
            server.shutdown()
        running.join()
        server.server_close()


def test_several_servers_serve_each_in_a_thread_of_its_own(connect: Any, serving: Any) -> None:
    servers = [serving(*ALONE[name])[0] for name in ("inline", "thread", "coroutine", "inline", "coroutine")]
    for _ in range(2):
        for server in servers:
            client = connect(server.server_address)
            client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b"HELLO\n"
            assert client.recv(10) == b""


@pytest.mark.parametrize("name", ALONE)
def test_shutdown_from_another_thread_is_prompt_and_leaves_a_server_that_serves_again(
    connect: Any, serving: Any, name: str
) -> None:
    server, running = serving(*ALONE[name])
    assert seconds_of(lambda: (server.shutdown(), running.join())) <= PATIENCE_S
    again = Running(lambda: server.serve_forever(poll_interval=0.01))
    if name != "UDP":
        client = connect(server.server_address)
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(10) == b"HELLO\n"
    server.shutdown()
    server.shutdown()
    again.join()


class StopsItself(ours.BaseRequestHandler):
    def handle(self) -> None:
        self.server.shutdown()


class AsyncStopsItself(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        self.server.shutdown()


def _from_a_thread(server: Any, connect: Any) -> None:
    server.shutdown()


def _from_a_handler(server: Any, connect: Any) -> None:
    server.RequestHandlerClass = AsyncStopsItself if server.RequestHandlerClass is AsyncUpper else StopsItself
    if server.socket_type == socket.SOCK_STREAM:
        connect(server.server_address).close()
    else:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(b"x", server.server_address)


def _twice(server: Any, connect: Any) -> None:
    server.shutdown()
    server.shutdown()


STOPS = {"thread": _from_a_thread, "handler": _from_a_handler, "twice": _twice}


@pytest.mark.parametrize("name", ALONE)
@pytest.mark.parametrize("how", STOPS)
def test_shutdown_takes_no_time(connect: Any, name: str, how: str) -> None:
    """The best of three: a poll would show in each, a busy machine in one or two."""

    def once() -> float:
        server_class, handler = ALONE[name]
        with server_class(LOOPBACK, handler) as server:
            running = Running(server.serve_forever)
            if name == "UDP":
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                    client.settimeout(PATIENCE_S)
                    client.sendto(b"up?", server.server_address)
                    assert client.recv(10) == b"UP?"
            else:
                client = connect(server.server_address)
                client.sendall(b"up?\n")
                client.shutdown(socket.SHUT_WR)
                assert client.recv(10) == b"UP?\n"
                assert client.recv(10) == b""
                client.close()
            return seconds_of(lambda: (STOPS[how](server, connect), running.join()))

    assert min(once() for _ in range(3)) <= PROMPT_S


@pytest.mark.parametrize("name", ALONE)
def test_shutdown_before_the_start_and_after_the_close(name: str) -> None:
    server_class, handler = ALONE[name]
    with server_class(LOOPBACK, handler) as server:
        server.shutdown()
        server.shutdown()
        assert seconds_of(server.serve_forever) <= PROMPT_S
        running = Running(server.serve_forever)
        server.shutdown()
        running.join()
    server.shutdown()


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
@pytest.mark.parametrize("name", ALONE)
def test_a_signal_handler_may_shut_a_server_down(connect: Any, name: str) -> None:
    server_class, handler = ALONE[name]

    def once() -> float:
        with server_class(LOOPBACK, handler) as server:
            old = signal.signal(signal.SIGUSR1, lambda number, frame: server.shutdown())
            times: list[float] = []

            def send() -> None:
                wait_until(lambda: server._host is not None and server._host.row is not None)
                times.append(time.monotonic())
                os.kill(os.getpid(), signal.SIGUSR1)

            sender = Running(send)
            try:
                server.serve_forever()
                return time.monotonic() - times[0]
            finally:
                signal.signal(signal.SIGUSR1, old)
                sender.join()

    assert min(once() for _ in range(3)) <= PROMPT_S


@pytest.mark.parametrize("name", ["ThreadingMixIn", "thread", *(["ForkingMixIn", "fork"] if hasattr(os, "fork") else [])])
def test_server_close_waits_for_what_is_left_of_a_loop_of_its_own(connect: Any, name: str) -> None:
    """With a mixin, and with `way` alone: threads are joined, children reaped, though the loop is gone."""
    go, going = os.pipe()
    done, finished = os.pipe()

    class Outlives(ours.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"at work\n")
            os.read(go, 1)
            os.write(finished, b"x")

    mixed = {"ThreadingMixIn": ours.ThreadingTCPServer, "ForkingMixIn": getattr(ours, "ForkingTCPServer", None)}
    server_class: Any = mixed.get(name) or type("Server", (ours.TCPServer,), {"way": name})
    server = server_class(LOOPBACK, Outlives)
    running = Running(server.serve_forever)
    assert connect(server.server_address).recv(10) == b"at work\n"
    server.shutdown()
    running.join()
    release = threading.Timer(0.05, os.write, (going, b"x"))
    release.start()
    server.server_close()
    os.set_blocking(done, False)
    try:
        assert os.read(done, 10) == b"x"
        assert has_no_children()
    finally:
        release.join()
        for fd in (go, going, done, finished):
            os.close(fd)


def test_a_server_alone_at_rest_does_not_wake_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    from reactor.loop import Loop

    waits: list[Waits] = []
    run = Loop.run

    def counting(loop: Any, **keywords: Any) -> Any:
        waits.append(Waits(loop))
        return run(loop, **keywords)

    monkeypatch.setattr(Loop, "run", counting)
    servers = [server_class(LOOPBACK, handler) for server_class, handler in ALONE.values()]
    if hasattr(os, "fork"):
        servers.append(ours.ForkingTCPServer(LOOPBACK, Upper))
    for server in servers:
        running = Running(server.serve_forever)
        wait_until(lambda: waits)
        wait_for(waits[-1].at_rest)
        threading.Event().wait(0.02)
        assert waits[-1].timeouts == [None]
        server.shutdown()
        running.join()
        server.server_close()
        waits.clear()


def test_after_serving_the_socket_is_as_it_was(connect: Any) -> None:
    """And `handle_request` works on it, which relies on a blocking socket."""
    for timeout_s in (None, 3.0):
        with Inline(LOOPBACK, Upper) as server:
            server.socket.settimeout(timeout_s)
            running = Running(server.serve_forever)
            client = connect(server.server_address)
            client.sendall(b"hello\n")
            client.shutdown(socket.SHUT_WR)
            assert client.recv(10) == b"HELLO\n"
            server.shutdown()
            running.join()
            assert server.socket.gettimeout() == timeout_s
            client = connect(server.server_address)
            client.sendall(b"again\n")
            client.shutdown(socket.SHUT_WR)
            server.handle_request()
            assert client.recv(10) == b"AGAIN\n"


def test_a_socket_that_was_replaced_is_the_one_that_is_served(loop: Reactor, connect: Any) -> None:
    server = ours.TCPServer(LOOPBACK, AsyncUpper)
    server.socket.close()
    server.socket = socket.create_server(LOOPBACK)
    server.server_address = server.socket.getsockname()
    served(loop, connect, loop.add(server), b"hello\n")


# -- handle_request with a coroutine ------------------------------------------------------------------------------------


def test_handle_request_runs_a_coroutine_handler_to_its_end(connect: Any) -> None:
    with ours.TCPServer(LOOPBACK, AsyncUpper) as server:
        for data in (b"one\n", b"two\nthree\n"):
            client = connect(server.server_address)
            client.sendall(data)
            client.shutdown(socket.SHUT_WR)
            waiting = connect(server.server_address)
            assert server.handle_request() is None
            assert receive_all_of(client) == data.upper()
            waiting.close()
            server.handle_request()  # the one that waited: exactly one request a call
        assert server.socket.gettimeout() is None


def receive_all_of(client: socket.socket) -> bytes:
    with client.makefile("rb") as reader:
        return reader.read()


def test_handle_request_with_a_coroutine_handler_keeps_its_timeout() -> None:
    class Timed(ours.TCPServer):
        timeout = 0.01

        def handle_timeout(self) -> str:
            return "nobody came"

    with Timed(LOOPBACK, AsyncUpper) as server:
        assert server.handle_request() == "nobody came"
        server.timeout = None
        server.socket.settimeout(0.01)
        assert Running(server.handle_request).join() == "nobody came"


def test_handle_request_goes_through_the_hooks_for_a_coroutine_too(connect: Any, capsys: Any) -> None:
    with type("S", (Hooked, ours.TCPServer), {})(LOOPBACK, AsyncFails) as server:
        client = connect(server.server_address)
        client.sendall(b"x\n")
        client.shutdown(socket.SHUT_WR)
        server.handle_request()
        noted = [name for name in server.noted() if name != "get_request"]
        assert noted == ["verify_request", "process_request", "finish_request", "handle_error", *LAST]
        server.admits = False
        connect(server.server_address).shutdown(socket.SHUT_WR)
        server.handle_request()
        assert server.noted()[-3:] == ["verify_request", *LAST]
    os.close(server.reader)
    os.close(server.writer)


# -- limits and resets --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["thread", *(["fork"] if hasattr(os, "fork") else [])])
def test_limits_hold_for_threads_and_children(loop: Reactor, connect: Any, way: str) -> None:
    first, second = (
        loop.add(ours.TCPServer(LOOPBACK, Waiting), way=way, limits=Limits(connections=2)) for _ in range(2)
    )
    clients = [connect(first) for _ in range(3)] + [connect(second) for _ in range(3)]
    turn_until(loop, lambda: len(streams(loop)) == 4)
    turns(loop, 5)
    assert [first.row.members, second.row.members] == [2, 2]
    for client in (clients[0], clients[1], clients[2]):
        client.sendall(b"go on\n")
        assert receive_all(loop, client) == b"at work\ndone\n"
    for client in clients[3:]:
        client.sendall(b"go on\n")
        assert receive_all(loop, client) == b"at work\ndone\n"
    turn_until(loop, lambda: not streams(loop))


@pytest.mark.parametrize("name", CLASSES)
def test_a_client_that_resets_at_once_is_no_matter(
    loop: Reactor, connect: Any, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    server_class, handler, keywords = CLASSES[name]
    listener = loop.add(server_class(LOOPBACK, handler), **keywords)
    for _ in range(3):
        reset(connect(listener))
    served(loop, connect, listener, b"hello\n")
    assert listener.row.phase is Phase.LISTENING


def test_an_inline_server_takes_one_request_a_turn(loop: Reactor, connect: Any) -> None:
    listener = loop.add(ours.TCPServer(LOOPBACK, Upper), way="inline")
    other = connect(listen(loop, echo))
    ask(loop, other, b"hello\n", b"hello\n")
    for _ in range(3):
        connect(listener).shutdown(socket.SHUT_WR)
    for expected in (1, 2, 3):
        other.sendall(b"x\n")
        turn_until(loop, lambda expected=expected: listener.row.requests == expected)
        assert other.recv(2) == b"x\n"


@pytest.mark.parametrize("way", WAYS)
def test_a_handler_gets_the_request_that_its_way_promises(loop: Reactor, connect: Any, way: str) -> None:
    class Says(ours.BaseRequestHandler):
        def handle(self) -> None:
            said = f"{type(self.request).__name__} {self.request.gettimeout()} {os.get_inheritable(self.request.fileno())}"
            self.request.sendall(said.encode())

    class AsyncSays(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            self.wfile.write(f"{type(self.request).__name__} {self.client_address} {self.server.marker}".encode())

    class Marked(ours.TCPServer):
        marker = "mine"

    _, keywords = WAYS[way]
    client = connect(loop.add(Marked(LOOPBACK, AsyncSays if way == "coroutine" else Says), **keywords))
    expected = f"Stream {client.getsockname()} mine" if way == "coroutine" else "socket None False"
    assert receive_all(loop, client) == expected.encode()


def test_the_clock_of_a_shared_loop_drives_the_limits_of_its_guests(
    make_loop: Callable[..., Reactor], connect: Any, clock: ManualClock
) -> None:
    loop = make_loop(clock=clock)
    listener = loop.add(ours.TCPServer(LOOPBACK, AsyncUpper), limits=Limits(idle_s=5))
    client = connect(listener)
    turn_until(loop, lambda: streams(loop))
    (row,) = streams(loop)
    turns(loop)
    clock.advance(5)
    turns(loop)
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert row.end is End.LIMIT


# -- shutdown() of a server that a shared loop hosts ----------------------------------------------------------------------


@pytest.fixture
def shared(loop: Reactor) -> Iterator[Reactor]:
    """Give a reactor that runs in a thread of its own, until the end of the test."""
    running = Running(lambda: loop.run(handle_signals=False))
    yield loop
    loop.stop(drain_s=0)
    running.join()


def in_loop(loop: Reactor, function: Callable[[], Any]) -> Any:
    """Call a function in the loop's thread and return what it returned."""
    done = threading.Event()
    results: list[Any] = []
    loop.call_soon(lambda: (results.append(function()), done.set()))
    wait_for(done)
    return results[0]


def answer_to(connect: Any, listener: Any, data: bytes = b"hello\n") -> bytes:
    """Return what a loop in another thread sends to a client."""
    client = connect(listener)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return receive_all_of(client)


@pytest.mark.parametrize("where", ["before a turn", "the loop's thread", "another thread"])
def test_shutdown_of_a_standard_server_on_a_shared_loop_returns(loop: Reactor, connect: Any, where: str) -> None:
    """The standard one waits for a serve_forever that nobody has called; its listener is the loop's, and goes on."""
    server = standard.TCPServer(LOOPBACK, AsyncUpper)
    listener = loop.add(server)
    if where == "the loop's thread":
        loop.call_soon(server.shutdown)
    else:
        Running(server.shutdown).join()
    served(loop, connect, listener, b"hello\n")


def test_a_handler_may_shut_a_standard_server_down(loop: Reactor, connect: Any) -> None:
    listener = loop.add(standard.TCPServer(LOOPBACK, AsyncStopsItself))
    assert receive_all(loop, connect(listener)) == b""
    assert listener.row.phase is Phase.LISTENING


def test_shutdown_in_the_moment_in_which_the_listener_is_closed(loop: Reactor) -> None:
    """In another thread: what it has found to be its host is nobody's host an instant later."""

    class Watched(ours.TCPServer):
        looks = 0

        def __getattribute__(self, name: str) -> Any:
            if name == "_host":
                self.looks += 1
                if self.looks == 2:
                    return None
            return super().__getattribute__(name)

    server = Watched(LOOPBACK, AsyncUpper)
    listener = loop.add(server)
    server.looks = 0
    server.shutdown()
    turns(loop)
    assert listener.row.phase is Phase.CLOSED


@pytest.mark.parametrize("name", ["coroutine", "inline", "thread", "ThreadingMixIn"])
@pytest.mark.parametrize("how", ["once", "twice"])
def test_shutdown_closes_the_listener_and_nothing_else(shared: Reactor, connect: Any, name: str, how: str) -> None:
    server_class, handler, keywords = CLASSES[name]
    server = server_class(LOOPBACK, handler)
    other = in_loop(shared, lambda: listen(shared, echo))
    listener = in_loop(shared, lambda: shared.add(server, **keywords))
    assert answer_to(connect, listener) == b"HELLO\n"
    for _ in range(1 if how == "once" else 2):
        server.shutdown()
    wait_until(lambda: listener.row.fd < 0)  # not the phase, which is there a moment before the descriptor is given back
    assert listener.row.phase is Phase.CLOSED
    assert (listener.row.end, listener.row.detail) == (End.FINISHED, "shutdown")
    with pytest.raises(ConnectionRefusedError):
        connect(listener)
    assert answer_to(connect, other) == b"hello\n"
    wait_until(lambda: server._host is None)
    server.shutdown()  # nobody's guest any more


@pytest.mark.parametrize("way", ["coroutine", "inline"])
def test_shutdown_by_a_handler_on_a_shared_loop(loop: Reactor, connect: Any, way: str) -> None:
    class Stops(ours.BaseRequestHandler):
        def handle(self) -> None:
            self.server.shutdown()
            self.request.sendall(b"stopped")

    class AsyncStops(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            self.server.shutdown()
            self.wfile.write(b"stopped")

    server = ours.TCPServer(LOOPBACK, AsyncStops if way == "coroutine" else Stops)
    listener = loop.add(server, **WAYS[way][1])
    assert receive_all(loop, connect(listener)) == b"stopped"
    turns(loop)
    assert listener.row.phase is Phase.CLOSED
    assert server.fileno() == -1


def test_shutdown_after_the_listener_was_closed(loop: Reactor) -> None:
    server = ours.TCPServer(LOOPBACK, AsyncUpper)
    listener = loop.add(server)
    listener.close()
    server.shutdown()
    turns(loop)
    server.shutdown()
    turns(loop)
    assert (listener.row.phase, listener.row.end) == (Phase.CLOSED, End.FINISHED)


def test_on_a_loop_of_its_own_shutdown_waits_until_it_is_left(connect: Any) -> None:
    go = threading.Event()

    class Slow(ours.BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"at work")
            wait_for(go)

    with Inline(LOOPBACK, Slow) as server:
        serving = Running(server.serve_forever)
        assert connect(server.server_address).recv(10) == b"at work"
        stopping = Running(server.shutdown)
        stopping.thread.join(0.05)
        assert stopping.thread.is_alive()
        go.set()
        stopping.join()
        assert server._host is None
        serving.join()


# -- sockets closed behind the loop's back ---------------------------------------------------------------------------------


def test_a_listener_whose_number_is_somebody_elses_ends_with_a_word(every_loop: Reactor, connect: Any) -> None:
    loop = every_loop
    server = standard.TCPServer(LOOPBACK, AsyncUpper)
    lost = loop.add(server).row
    number = lost.fd
    server.server_close()
    taken = listen(loop, echo)
    assert taken.row.fd == number
    turns(loop)
    assert (lost.phase, lost.end) == (Phase.CLOSED, End.ABORTED)
    assert lost.detail == f"its descriptor {number} was closed by somebody else"
    assert lost not in loop.table
    assert lost.id in [row.id for row in loop.table.ended]
    ask(loop, connect(taken), b"hello\n", b"hello\n")


# -- listening sockets that speak TLS --------------------------------------------------------------------------------------

SECURE: dict[str, tuple[Any, dict[str, Any]]] = {
    "thread": (ours.TCPServer, {"way": "thread"}),
    "ThreadingMixIn": (ours.ThreadingTCPServer, {}),
    "standard, thread": (standard.TCPServer, {"way": "thread"}),
    "standard, ThreadingMixIn": (standard.ThreadingTCPServer, {}),
}
if hasattr(os, "fork"):
    SECURE |= {
        "fork": (ours.TCPServer, {"way": "fork"}),
        "ForkingMixIn": (ours.ForkingTCPServer, {}),
        "standard, fork": (standard.TCPServer, {"way": "fork"}),
        "standard, ForkingMixIn": (standard.ForkingTCPServer, {}),
    }
each_secure = pytest.mark.parametrize("name", SECURE)


class OneLine(ours.StreamRequestHandler):
    """Answers one line in capitals; should the test fail, it does not wait for ever."""

    timeout = 5

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give a certificate authority."""
    return trustme.CA()


@pytest.fixture
def context(authority: trustme.CA) -> ssl.SSLContext:
    """Give the server's context."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    return context


@pytest.fixture
def secure(connect: Any, authority: trustme.CA) -> Iterator[Callable[[Any], ssl.SSLSocket]]:
    """Give a function that connects a TLS client."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    clients: list[ssl.SSLSocket] = []

    def connect_to(listener: Any) -> ssl.SSLSocket:
        client = context.wrap_socket(connect(listener), server_hostname="localhost")
        clients.append(client)
        return client

    yield connect_to
    for client in clients:
        client.close()


def secured(server: Any, context: ssl.SSLContext) -> Any:
    """Have a server speak TLS, as everybody does it: its listening socket is wrapped."""
    server.socket = context.wrap_socket(server.socket, server_side=True)
    return server


def answer(client: socket.socket) -> bytes:
    client.sendall(b"hello\n")
    return client.recv(10)


@each_secure
def test_a_silent_client_holds_no_handshake_up(
    shared: Reactor, connect: Any, secure: Any, context: ssl.SSLContext, name: str
) -> None:
    server_class, keywords = SECURE[name]
    listener = in_loop(shared, lambda: shared.add(secured(server_class(LOOPBACK, OneLine), context), **keywords))
    other = in_loop(shared, lambda: listen(shared, echo))
    silent = [connect(listener) for _ in range(2)]
    assert answer(secure(listener)) == b"HELLO\n"
    assert answer(connect(other)) == b"hello\n"
    assert answer(secure(listener)) == b"HELLO\n"
    for client in silent:
        client.shutdown(socket.SHUT_RDWR)  # children hold copies, so that close() alone would end nothing
    wait_until(lambda: not listener.row.members)
    assert listener.row.phase is Phase.LISTENING


@each_secure
def test_a_handshake_has_its_time(shared: Reactor, connect: Any, context: ssl.SSLContext, name: str) -> None:
    """Or a silent client would hold the thread, and whoever waits for the threads, for ever."""
    server_class, keywords = SECURE[name]
    server = secured(server_class(LOOPBACK, OneLine), context)
    listener = in_loop(shared, lambda: shared.add(server, limits=Limits(handshake_s=0.05), **keywords))
    silent = connect(listener)
    wait_until(lambda: listener.row.requests and not listener.row.members)
    assert silent.recv(1) == b""


@each_secure
@pytest.mark.parametrize("data", [b"GET / HTTP/1.0\r\n\r\n", b"", None], ids=["no TLS", "end of stream", "reset"])
def test_a_handshake_that_fails_is_nobodys_error(
    shared: Reactor, connect: Any, secure: Any, context: ssl.SSLContext, name: str, data: Any, capfd: Any, caplog: Any
) -> None:
    if data is None and "ork" in name:
        pytest.skip("the child has a copy of this client, so that it cannot reset")
    server_class, keywords = SECURE[name]
    listener = in_loop(shared, lambda: shared.add(secured(server_class(LOOPBACK, OneLine), context), **keywords))
    client = connect(listener)
    wait_until(lambda: listener.row.requests)
    if data is None:
        reset(client)
    elif data:
        client.sendall(data)
    else:
        client.shutdown(socket.SHUT_WR)
    wait_until(lambda: not listener.row.members)
    assert answer(secure(listener)) == b"HELLO\n"
    wait_until(lambda: not listener.row.members)
    assert capfd.readouterr().err == ""
    assert not [record for record in caplog.records if record.levelname in ("WARNING", "ERROR")]


@each_secure
@pytest.mark.parametrize("shakes", [True, False])
def test_the_handshake_is_given_back(
    loop: Reactor, context: ssl.SSLContext, name: str, shakes: bool
) -> None:
    """To a socket that is only borrowed; who has switched it off keeps it so, and has the handshake to himself."""
    server_class, keywords = SECURE[name]
    with secured(server_class(LOOPBACK, OneLine), context) as server:
        server.socket.do_handshake_on_connect = shakes
        listener = attach(
            loop, server, way=keywords.get("way"), framing=None, limits=Limits(), name="", owned=False
        )  # fmt: skip
        assert server.socket.do_handshake_on_connect is False
        assert server.socket.gettimeout() == 0
        listener.close()
        turns(loop)
        assert server.socket.do_handshake_on_connect is shakes
        assert server.socket.gettimeout() is None


@pytest.mark.parametrize("timeout_s", [None, 3.0])
def test_a_socket_that_the_selector_refuses_is_left_as_it_was(
    loop: Reactor, context: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch, timeout_s: float | None
) -> None:
    def refuse(row: Any, interest: int) -> None:
        raise OSError("as asked")

    with secured(ours.TCPServer(LOOPBACK, OneLine), context) as server:
        server.socket.settimeout(timeout_s)
        with monkeypatch.context() as patch:
            patch.setattr(loop.demultiplexer, "set", refuse)
            with pytest.raises(OSError, match="as asked"):
                loop.add(server, way="thread")
        assert server.socket.gettimeout() == timeout_s
        assert server.socket.do_handshake_on_connect is True
        assert (len(loop.table), server._host) == (0, None)


class Noting(OneLine):
    """Writes down whether the handshake is done when the handler is made."""

    def setup(self) -> None:
        self.server.versions.append(self.request.version())
        super().setup()


@pytest.mark.parametrize("shakes", [True, False])
def test_the_handshake_is_done_before_the_handler_is_made(
    shared: Reactor, secure: Any, context: ssl.SSLContext, shakes: bool
) -> None:
    server = secured(ours.ThreadingTCPServer(LOOPBACK, Noting), context)
    server.versions = []
    server.socket.do_handshake_on_connect = shakes
    listener = in_loop(shared, lambda: shared.add(server))
    client = secure(listener)
    assert answer(client) == b"HELLO\n"
    assert server.versions == [client.version() if shakes else None]


@each_secure
@pytest.mark.parametrize("hook", ["verify_request", "process_request"])
def test_a_hook_that_asks_who_is_there_shakes_hands(
    shared: Reactor, secure: Any, context: ssl.SSLContext, name: str, hook: str
) -> None:
    server_class, keywords = SECURE[name]
    if hook == "process_request" and server_class in (standard.TCPServer, standard.UnixStreamServer):
        pytest.skip("it is called in the thread or child")

    def looks(server: Any, request: Any, client_address: Any) -> Any:
        versions.append((request.getpeercert(), request.version(), type(request).__name__, request.session_reused))
        return getattr(super(Looks, server), hook)(request, client_address)

    versions: list[Any] = []
    Looks = type("Looks", (server_class,), {hook: looks})
    listener = in_loop(shared, lambda: shared.add(secured(Looks(LOOPBACK, OneLine), context), **keywords))
    client = secure(listener)
    assert answer(client) == b"HELLO\n"
    assert versions == [(None, client.version(), "SSLSocket", False)]
    wait_until(lambda: not listener.row.members)


def test_a_hook_that_looks_at_the_address_waits_for_no_handshake(
    shared: Reactor, connect: Any, secure: Any, context: ssl.SSLContext
) -> None:
    class Looks(ours.ThreadingTCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return bool(request.getpeername() == client_address)

    listener = in_loop(shared, lambda: shared.add(secured(Looks(LOOPBACK, OneLine), context)))
    silent = connect(listener)
    assert answer(secure(listener)) == b"HELLO\n"
    silent.shutdown(socket.SHUT_RDWR)
    wait_until(lambda: not listener.row.members)


def test_a_hook_waits_for_a_handshake_as_long_as_limits_say(
    shared: Reactor, connect: Any, secure: Any, context: ssl.SSLContext
) -> None:
    """Then the peer is dropped as one that shakes no hands in a thread: nobody's error."""

    class Looks(ours.ThreadingTCPServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return request.version() is not None

        def handle_error(self, request: Any, client_address: Any) -> None:
            errors.append(client_address)

    errors: list[Any] = []
    server = secured(Looks(LOOPBACK, OneLine), context)
    listener = in_loop(shared, lambda: shared.add(server, limits=Limits(handshake_s=0.05)))
    silent = connect(listener)
    wait_until(lambda: listener.row.requests and not listener.row.members)
    assert silent.recv(1) == b""
    assert answer(secure(listener)) == b"HELLO\n"
    assert errors == []


@pytest.mark.parametrize("module", [ours, standard], ids=["ours", "standard"])
def test_a_pool_of_a_servers_own_shakes_hands_when_it_is_asked_who_is_there(
    shared: Reactor, secure: Any, context: ssl.SSLContext, module: Any
) -> None:
    class Pooled(module.ThreadingTCPServer):  # type: ignore[misc,name-defined]
        def process_request(self, request: Any, client_address: Any) -> None:
            threads.append(threading.Thread(target=self.process_request_thread, args=(request, client_address)))
            threads[-1].start()

    threads: list[threading.Thread] = []
    server = secured(Pooled(LOOPBACK, Noting), context)
    server.versions = []
    listener = in_loop(shared, lambda: shared.add(server))
    client = secure(listener)
    assert answer(client) == b"HELLO\n"
    assert server.versions == [client.version()]
    for thread in threads:
        thread.join(PATIENCE_S)


@pytest.mark.parametrize("module", [ours, standard], ids=["ours", "standard"])
def test_a_pool_of_a_servers_own_shakes_hands_by_its_first_read(
    shared: Reactor, connect: Any, secure: Any, context: ssl.SSLContext, module: Any
) -> None:
    threads: list[threading.Thread] = []

    class Pooled(module.ThreadingTCPServer):  # type: ignore[misc,name-defined]
        def process_request(self, request: Any, client_address: Any) -> None:
            threads.append(threading.Thread(target=self.process_request_thread, args=(request, client_address)))
            threads[-1].start()

        def handle_error(self, request: Any, client_address: Any) -> None:
            """Of the client that never shakes hands."""

    server = secured(Pooled(LOOPBACK, OneLine), context)
    listener = in_loop(shared, lambda: shared.add(server))
    silent = connect(listener)
    wait_until(lambda: threads)
    assert answer(secure(listener)) == b"HELLO\n"
    silent.shutdown(socket.SHUT_RDWR)
    for thread in threads:
        thread.join(PATIENCE_S)
    wait_until(lambda: not listener.row.members)


@pytest.mark.parametrize("way", ["framed", "coroutine"])
def test_tls_that_shakes_hands_in_accept_is_refused(loop: Reactor, context: ssl.SSLContext, way: str) -> None:
    text = "not cut into frames here; use" if way == "framed" else "of the way 'coroutine' needs a plain one; use"
    with secured(ours.TCPServer(LOOPBACK, Upper if way == "framed" else AsyncUpper), context) as server:
        with pytest.raises(ValueError, match=rf'speaks TLS, .*{text}.* way="greenlet" or "thread"'):
            loop.add(server, framing=Lines() if way == "framed" else None)
        assert len(loop.table) == 0
        assert getattr(server, "_host", None) is None
        assert server.socket.gettimeout() is None


@pytest.mark.parametrize("module", [ours, standard], ids=["ours", "standard"])
@pytest.mark.parametrize("way", ["coroutine", "framed"])
def test_a_get_request_that_wraps_is_refused_for_each_connection(
    shared: Reactor, connect: Any, secure: Any, context: ssl.SSLContext, module: Any, way: str, caplog: Any
) -> None:
    class Wraps(module.TCPServer):  # type: ignore[misc,name-defined]
        def get_request(self) -> Any:
            request, client_address = super().get_request()
            return context.wrap_socket(request, server_side=True), client_address

    server = Wraps(LOOPBACK, AsyncUpper if way == "coroutine" else Upper)
    listener = in_loop(shared, lambda: shared.add(server, framing=None if way == "coroutine" else Lines()))
    other = in_loop(shared, lambda: listen(shared, echo))
    for _ in range(2):
        client = secure(listener)
        try:
            assert client.recv(10) == b""
        except (ConnectionError, ssl.SSLError):  # closed without close_notify: it is refused
            pass
    assert answer_to(connect, other) == b"hello\n"
    texts = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(texts) == 2
    for text in texts:
        assert f"a handler of the way {way!r} needs a plain one" in text
        assert 'use way="greenlet" or way="thread"' in text
    assert listener.row.phase is Phase.LISTENING
    assert not listener.row.members
