"""TLS in greenlets: handshakes, reads and writes wait in the loop, wherever the server wraps its sockets."""

import contextlib
import errno
import io
import os
import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from reactor import End, ManualClock, Phase, Reactor
from tests.driving import TURNS, WAIT_S, only, receive, receive_all, reset, streams, turn_until, turns, until_gone
from tests.green_servers import Server, serving, took
from tests.running import Running

pytest.importorskip("greenlet")

BIG = os.urandom(1 << 20) * 4  # more than socket buffers hold


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
def clients_context(authority: trustme.CA) -> ssl.SSLContext:
    """Give the client's context."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.fixture
def loop(clock: ManualClock) -> Iterator[Reactor]:
    """Give a reactor on the platform's own selector."""
    with Reactor(clock=clock) as loop:
        yield loop


@pytest.fixture
def serve(loop: Reactor) -> Iterator[Callable[..., Any]]:
    """Give a function that serves a function of a socket."""
    with serving(loop) as serve:
        yield serve


class Client:
    """A TLS client in the test's own thread: each step turns the loop until it is done."""

    def __init__(self, loop: Reactor, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.loop = loop
        self.sock = context.wrap_socket(sock, server_hostname="localhost", do_handshake_on_connect=False)
        self.sock.setblocking(False)
        self.patiently(self.sock.do_handshake)

    def patiently(self, call: Callable[..., Any], *args: Any) -> Any:
        for turn in range(TURNS):
            try:
                return call(*args)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError, BlockingIOError):
                self.loop.step(0 if turn < 3 else WAIT_S)
        raise AssertionError(f"not within {TURNS} turns:\n{self.loop.table}")

    def send(self, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[self.patiently(self.sock.send, view[: 1 << 16]) :]

    def receive(self, size: int) -> bytes:
        data = bytearray()
        while len(data) < size and (piece := self.patiently(self.sock.recv, size - len(data))):
            data += piece
        return bytes(data)


@pytest.fixture
def secure(loop: Reactor, connect: Any, clients_context: ssl.SSLContext) -> Callable[[Any], Client]:
    """Give a function that makes a TLS client of a listener."""

    def make(listener: Any, **keywords: Any) -> Client:
        client = Client(loop, connect(listener, **keywords), clients_context)
        clients.append(client)
        return client

    clients: list[Client] = []
    yield make
    for client in clients:
        client.sock.close()


def listening(context: ssl.SSLContext) -> type[Server]:
    """Wrap the listening socket, as the documentation of `ssl` does."""

    class Listening(Server):
        def __init__(self, handle: Any) -> None:
            super().__init__(handle)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    return Listening


def accepting(context: ssl.SSLContext) -> type[Server]:
    """Wrap in get_request."""

    class AcceptingTls(Server):
        def __init__(self, handle: Any) -> None:
            super().__init__(handle)
            self.tls = context

        def get_request(self) -> Any:
            request, address = super().get_request()
            return self.tls.wrap_socket(request, server_side=True), address

    return AcceptingTls


def finishing(context: ssl.SSLContext) -> type[Server]:
    """Wrap in finish_request; the context is the class's."""

    class Finishing(Server):
        tls = context

        def finish_request(self, request: Any, client_address: Any) -> None:
            with self.tls.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)
                wrapped.shutdown(socket.SHUT_WR)

    return Finishing


def late(context: ssl.SSLContext) -> type[Server]:
    """Wrap in get_request, and leave the handshake to the handler."""

    class Late(Server):
        def __init__(self, handle: Any) -> None:
            def shake(sock: Any) -> None:
                sock.do_handshake()
                handle(sock)

            super().__init__(shake)
            self.tls = context

        def get_request(self) -> Any:
            request, address = super().get_request()
            return self.tls.wrap_socket(request, server_side=True, do_handshake_on_connect=False), address

    return Late


PLACES = [listening, accepting, finishing, late]


def echo(sock: Any) -> None:
    while data := sock.recv(100):
        sock.sendall(data.upper())


@pytest.mark.parametrize("place", PLACES[:3])  # (a handshake that comes with the first read is a part of it)
def test_a_handshake_has_its_time(
    loop: Reactor, serve: Any, connect: Any, secure: Any, context: ssl.SSLContext, clock: ManualClock, place: Any
) -> None:
    listener = serve(echo, place(context))
    connect(listener)
    turns(loop)
    (row,) = streams(loop)
    clock.advance(9.9)
    turns(loop)
    assert row in loop.table
    clock.advance(0.2)
    turns(loop)
    assert all(isinstance(error, OSError) for error in listener.server.errors)
    listener.server.errors.clear()
    until_gone(loop, row)
    client = secure(listener)
    clock.advance(11)  # only the handshake is bounded so
    client.send(b"hello")
    assert client.receive(5) == b"HELLO"


@pytest.mark.parametrize("place", PLACES)
def test_a_silent_client_holds_nobody_up(
    loop: Reactor, serve: Any, connect: Any, secure: Any, context: ssl.SSLContext, place: Any
) -> None:
    listener = serve(echo, place(context))
    silent = connect(listener)
    turns(loop)
    first, second = secure(listener), secure(listener)
    for client in (first, second, first):
        client.send(b"hello")
        assert client.receive(5) == b"HELLO"
    assert len(streams(loop)) == 3
    assert streams(loop)[1].sockaddr == first.sock.getsockname()
    row = streams(loop)[0]
    silent.close()
    until_gone(loop, row)
    for error in listener.server.errors:
        assert isinstance(error, OSError)
    listener.server.errors.clear()
    first.send(b"still")
    assert first.receive(5) == b"STILL"
    row = streams(loop)[0]
    assert (row.phase, row.bytes_in, row.bytes_out, row.requests) == (Phase.IDLE, 15, 15, 3)


@pytest.mark.parametrize("place", PLACES)
def test_a_handshake_that_fails_costs_its_own_connection_only(
    loop: Reactor, serve: Any, connect: Any, secure: Any, context: ssl.SSLContext, place: Any
) -> None:
    listener = serve(echo, place(context))
    wrong = connect(listener)
    wrong.sendall(b"GET / HTTP/1.0\r\n\r\n")
    if place in (finishing, late):
        turn_until(loop, lambda: listener.server.errors)
        took(listener, ssl.SSLError)
    else:
        turn_until(loop, lambda: not streams(loop))
    crashed = connect(listener)
    turns(loop)
    reset(crashed)
    wrong.close()
    turn_until(loop, lambda: not streams(loop))
    listener.server.errors.clear()
    client = secure(listener)
    client.send(b"hello")
    assert client.receive(5) == b"HELLO"
    assert listener.row.phase is Phase.LISTENING


@pytest.mark.parametrize("place", PLACES)
def test_a_handshake_that_never_comes_ends_with_the_idle_time(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, context: ssl.SSLContext, place: Any
) -> None:
    server = place(context)
    with serving(loop) as serve_limited:
        listener = serve_limited(echo, server, idle_s=8)
        client = connect(listener)
        row = only(loop)
        turns(loop)
        clock.advance(7.9)
        turns(loop)
        assert row.fd >= 0
        clock.advance(0.2)
        until_gone_or_lingers(loop, row)
        assert row.end is End.LIMIT
        for error in listener.server.errors:
            assert isinstance(error, ConnectionAbortedError)
        listener.server.errors.clear()
        client.close()
        until_gone(loop, row)


def until_gone_or_lingers(loop: Reactor, row: Any) -> None:
    turn_until(loop, lambda: row.fd < 0 or row.phase is Phase.LINGERING)


@pytest.mark.parametrize("place", PLACES)
def test_closing_the_loop_in_a_handshake_leaves_nothing_open(
    clock: ManualClock, connect: Any, context: ssl.SSLContext, place: Any
) -> None:
    with Reactor(clock=clock) as loop, serving(loop) as serve:
        listener = serve(echo, place(context))
        client = connect(listener)
        only(loop)
        turns(loop)
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""  # `late` has shut its side in shutdown_request
    assert loop.green_rows == {}
    assert len(loop.table) == 0


def test_bytes_that_openssl_holds_are_read_before_the_loop_waits(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext
) -> None:
    record = os.urandom(16000)
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        seen.extend(sock.recv(1000) for _ in range(16))
        sock.sendall(b".")

    client = secure(serve(handle, accepting(context)))
    turns(loop)
    client.send(record)
    assert client.receive(1) == b"."
    assert b"".join(seen) == record


@pytest.mark.parametrize("way", ["recv", "recv_into", "read", "file"])
def test_much_in_both_directions_at_once(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext, way: str
) -> None:
    def receive_some(sock: Any) -> bytes:
        if way == "recv_into":
            buffer = bytearray(70_000)
            return bytes(buffer[: sock.recv_into(buffer)])
        return bytes(sock.recv(70_000) if way == "recv" else sock.read(70_000))

    def handle(sock: Any) -> None:
        file = sock.makefile("rb")
        while data := file.read1(70_000) if way == "file" else receive_some(sock):
            sock.sendall(data)
        file.close()

    client = secure(serve(handle, accepting(context)), receive_buffer=8192)
    neighbour = secure(serve(echo, accepting(context)))
    view, got = memoryview(BIG), bytearray()
    while len(got) < len(BIG):
        if view:
            try:
                view = view[client.sock.send(view[: 1 << 16]) :]
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                pass
        loop.step(0)
        if not view or len(BIG) - len(view) > len(got) + (1 << 20):  # the client reads late
            try:
                got += client.sock.recv(1 << 16)
            except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
                loop.step(0.001)
    assert got == BIG
    neighbour.send(b"hello")
    assert neighbour.receive(5) == b"HELLO"


def test_a_client_that_sends_without_end_holds_nobody_up(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext
) -> None:
    counts: list[int] = []

    def sink(sock: Any) -> None:
        while data := sock.recv(100):
            counts.append(len(data))

    client = secure(serve(sink, accepting(context), bytes_per_turn=1000))
    turns(loop)
    for _ in range(20):
        client.sock.send(b"x" * 2000)
    turns(loop, 1)
    assert 1000 <= sum(counts) <= 3000  # and the rest of one record
    turn_until(loop, lambda: sum(counts) == 40_000)


def test_timeouts_of_reads_and_writes(
    loop: Reactor, serve: Any, secure: Any, clock: ManualClock, context: ssl.SSLContext
) -> None:
    raised: list[str] = []

    def handle(sock: Any) -> None:
        sock.settimeout(2)
        assert sock.gettimeout() == 2
        for _ in range(2):
            try:
                sock.recv(10)
            except TimeoutError as error:
                raised.append(str(error))
        try:
            sock.sendall(BIG)
        except TimeoutError:
            raised.append("write")
        sock.setblocking(False)
        with pytest.raises(BlockingIOError):
            sock.recv(10)
        with pytest.raises(ssl.SSLWantReadError) as wants:
            sock.recv(10)
        assert wants.value.errno == ssl.SSL_ERROR_WANT_READ
        sock.settimeout(None)
        assert sock.getblocking()
        with contextlib.suppress(ConnectionResetError):  # for the client has left much unread
            sock.recv(10)

    client = secure(serve(handle, accepting(context)), receive_buffer=4096)
    turns(loop)
    for count in (1, 2, 3):
        clock.advance(1.9)
        turns(loop)
        assert len(raised) == count - 1
        clock.advance(0.2)
        turn_until(loop, lambda count=count: len(raised) == count)
        turns(loop, 10)
    assert raised == ["timed out", "timed out", "write"]
    client.sock.close()
    turn_until(loop, lambda: not [row for row in streams(loop) if row.phase is Phase.IDLE])


def test_a_write_that_must_not_wait_does_not(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext
) -> None:
    raised: list[OSError] = []

    def handle(sock: Any) -> None:
        sock.setblocking(False)
        try:
            while True:
                sock.send(BIG)
        except BlockingIOError as error:
            raised.append(error)

    client = secure(serve(handle, accepting(context)), receive_buffer=4096)
    turn_until(loop, lambda: raised)
    assert isinstance(raised[0], ssl.SSLWantWriteError)
    assert raised[0].errno == ssl.SSL_ERROR_WANT_WRITE
    client.sock.close()


def test_unwrap_gives_plain_text_again(loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext) -> None:
    def handle(sock: Any) -> None:
        sock.sendall(b"secret")
        plain = sock.unwrap()
        plain.sendall(plain.recv(5).upper())
        plain.sendall(BIG)

    client = secure(serve(handle, accepting(context)), receive_buffer=8192)
    assert client.receive(6) == b"secret"
    plain = client.patiently(client.sock.unwrap)
    client.patiently(plain.send, b"plain")
    got = b""
    while len(got) < 5 + len(BIG):
        got += client.patiently(plain.recv, 1 << 20)
    assert got == b"PLAIN" + BIG


@pytest.mark.parametrize("call", ["sendall", "write", "sendfile"])
def test_a_slow_reader_gets_every_byte(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext, call: str
) -> None:
    def handle(sock: Any) -> None:
        if call == "sendall":
            sock.sendall(BIG * 3)
        elif call == "sendfile":
            sock.sendfile(io.BytesIO(BIG * 3))
        else:
            view = memoryview(BIG * 3)
            while view:
                view = view[sock.write(view) :]

    client = secure(serve(handle, accepting(context)), receive_buffer=8192)
    row = streams(loop)[0]
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    assert client.receive(3 * len(BIG)) == BIG * 3


def test_a_handler_that_starts_tls_itself(
    loop: Reactor, serve: Any, connect: Any, clients_context: Any, context: Any
) -> None:
    class StartTls(Server):
        tls = context

    def handle(sock: Any) -> None:
        assert sock.recv(10) == b"STARTTLS"
        sock.sendall(b"OK")
        with context.wrap_socket(sock, server_side=True) as secured:
            assert sock.fileno() == -1
            echo(secured)

    listener = serve(handle, StartTls)
    connection = connect(listener)
    turns(loop)
    connection.sendall(b"STARTTLS")
    turn_until(loop, lambda: streams(loop) and streams(loop)[0].bytes_out == 2)
    assert connection.recv(2) == b"OK"
    client = Client(loop, connection, clients_context)
    client.send(b"hello")
    assert client.receive(5) == b"HELLO"
    assert len(streams(loop)) == 1
    client.sock.close()
    turn_until(loop, lambda: not streams(loop))


def test_the_context_is_lent_and_given_back(loop: Reactor, serve: Any, context: ssl.SSLContext) -> None:
    class Own(ssl.SSLSocket):
        pass

    context.sslsocket_class = Own
    first, second = serve(echo, accepting(context)), serve(echo, listening(context))
    made = context.sslsocket_class
    assert issubclass(made, Own)
    assert made is not Own
    first.close()
    turns(loop)
    assert context.sslsocket_class is made  # the other one still needs it
    second.close()
    turns(loop)
    assert context.sslsocket_class is Own


def test_a_context_that_makes_sockets_of_a_users_own(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext
) -> None:
    class Own(ssl.SSLSocket):
        def recv(self, size: int = 1024, flags: int = 0) -> bytes:
            return super().recv(size, flags).swapcase()

    def handle(sock: Any) -> None:
        assert isinstance(sock, Own)
        echo(sock)

    context.sslsocket_class = Own
    client = secure(serve(handle, accepting(context)))
    client.send(b"Hello")
    assert client.receive(5) == b"HELLO"


def test_a_socket_that_is_kept_is_an_ordinary_one_in_a_thread(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext
) -> None:
    kept: list[Any] = []

    class Keeps(accepting(context)):  # type: ignore[misc]
        def process_request(self, request: Any, client_address: Any) -> None:
            self.finish_request(request, client_address)

    def handle(sock: Any) -> None:
        sock.recv(10)
        sock.settimeout(4)
        kept.append(sock)

    client = secure(serve(handle, Keeps))
    client.send(b"hello")
    turn_until(loop, lambda: kept and not streams(loop))
    (sock,) = kept
    assert type(sock) is ssl.SSLSocket
    assert sock.gettimeout() == 4
    assert "_handlers_timeout" not in vars(sock)
    thread = Running(lambda: sock.sendall(sock.recv(10).upper()))
    client.sock.setblocking(True)
    client.sock.send(b"thread")
    assert client.sock.recv(10) == b"THREAD"
    thread.join()
    sock.close()


@pytest.mark.parametrize("asks", [False, True])
def test_a_thread_uses_the_socket_while_the_handler_lasts(
    loop: Reactor, serve: Any, secure: Any, clock: ManualClock, context: ssl.SSLContext, asks: bool
) -> None:
    threads: list[Running] = []

    def in_thread(sock: Any) -> tuple[Any, Any]:
        before = sock.gettimeout() if asks else None
        if asks:
            sock.settimeout(5)
        sock.sendall(sock.recv(10).upper())
        return before, sock.gettimeout()

    def handle(sock: Any) -> None:
        sock.recv(1)
        threads.append(Running(lambda: in_thread(sock)))
        waits[0].settimeout(3)
        with pytest.raises(TimeoutError):
            waits[0].recv(1)  # for somebody else
        assert sock.recv(10) == b"once more"  # in the greenlet again

    def other(sock: Any) -> None:
        waits.append(sock)
        sock.recv(1)

    waits: list[Any] = []
    gate = secure(serve(other, accepting(context)))
    client = secure(serve(handle, accepting(context)))
    client.send(b"?")
    turn_until(loop, lambda: threads)
    client.sock.setblocking(True)
    client.sock.send(b"hello")
    assert client.sock.recv(10) == b"HELLO"
    assert threads[0].join() == (None, 5 if asks else None)
    clock.advance(3.1)
    turns(loop)
    client.sock.send(b"once more")
    gate.send(b"x")
    turn_until(loop, lambda: not [row for row in streams(loop) if row.phase is not Phase.LINGERING])


def test_places_of_a_peer_are_counted_from_the_handshake_on(
    loop: Reactor, serve: Any, secure: Any, connect: Any, context: ssl.SSLContext
) -> None:
    listener = serve(echo, accepting(context), connections_per_peer=2, idle_s=5)
    clients = [secure(listener), secure(listener)]
    turns(loop)
    assert listener.row.members == 2
    assert dict(listener.row.hosts) == {"127.0.0.1": 2}
    third = secure(listener)
    assert third.receive(1) == b""
    assert listener.row.refused == 1
    for client in clients:
        client.send(b"x")
        assert client.receive(1) == b"X"  # and the tickets before it: unread, they would make a reset of the close
        client.sock.close()
    turn_until(loop, lambda: not streams(loop))
    assert listener.row.members == 0
    assert dict(listener.row.hosts) == {}


def test_a_drain_ends_an_idle_connection_at_once(
    loop: Reactor, serve: Any, secure: Any, clock: ManualClock, context: ssl.SSLContext
) -> None:
    client = secure(serve(echo, accepting(context)))
    client.send(b"hello")
    assert client.receive(5) == b"HELLO"
    clock.advance(1)
    loop.stop()
    report = loop.run(handle_signals=False)
    assert [row.end for row in report.idle] == [End.DRAINED]
    assert client.receive(1) == b""


@pytest.mark.parametrize("place", PLACES)
def test_nobody_has_been_given_a_descriptor_by_the_handshake(
    loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext, place: Any
) -> None:
    client = secure(serve(echo, place(context)))
    client.send(b"hello")
    assert client.receive(5) == b"HELLO"
    assert [row.shared for row in streams(loop)] == [False]  # so that it lingers


def test_reading_nothing_is_no_end(loop: Reactor, serve: Any, secure: Any, context: ssl.SSLContext) -> None:
    rows: list[bool] = []

    def handle(sock: Any) -> None:
        sock.recv(0)
        sock.recv_into(bytearray())
        rows.append(streams(loop)[0].eof)
        echo(sock)

    client = secure(serve(handle, accepting(context)))
    client.send(b"hello")
    assert client.receive(5) == b"HELLO"
    assert rows == [False]


# -- what a handler opens itself ----------------------------------------------------------------------------------------


def opening(context: ssl.SSLContext) -> type[Server]:
    """Serve plain text, with a context for what the handler opens."""

    class Opening(Server):
        outwards = context

    return Opening


def asks(ends: Any, clients_context: ssl.SSLContext, address: Any, opens: str) -> Any:
    """Ask another server, from a handler, for the reply to what its client has said."""
    request = ends.recv(10)
    if opens == "wraps":
        sock = clients_context.wrap_socket(socket.create_connection(address), server_hostname="localhost")
    else:
        sock = clients_context.wrap_socket(socket.socket(), server_hostname="localhost")
        if opens == "connects":
            sock.connect(address)
        else:
            assert sock.connect_ex(address) == 0
    with sock:
        sock.sendall(request)
        return sock.recv(10)


@pytest.mark.parametrize("opens", ["wraps", "connects", "connects_ex"])
def test_a_handler_asks_another_server(
    loop: Reactor, serve: Any, connect: Any, clients_context: Any, context: Any, opens: str
) -> None:
    other = serve(echo, accepting(context))
    listener = serve(
        lambda sock: sock.sendall(asks(sock, clients_context, other.address, opens)), opening(clients_context)
    )
    client = connect(listener)
    client.sendall(b"hello")
    assert receive(loop, client, 5) == b"HELLO"
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert (listener.row.members, loop.green_rows) == (0, {})


def test_connecting_in_vain(loop: Reactor, serve: Any, connect: Any, clients_context: Any, clock: ManualClock) -> None:
    seen: list[object] = []
    with socket.create_server(("127.0.0.1", 0)) as silent:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            refused = closed.getsockname()

        def connects(method: str, address: Any, timeout_s: float | None) -> object:
            with clients_context.wrap_socket(socket.socket(), server_hostname="localhost") as sock:
                sock.settimeout(timeout_s)
                try:
                    return getattr(sock, method)(address)
                except (OSError, TypeError) as error:
                    return type(error)

        def handle(sock: Any) -> None:
            seen.append(connects("connect", refused, None))
            seen.append(connects("connect_ex", refused, None))
            seen.append(connects("connect", silent.getsockname(), 0))
            seen.append(connects("connect_ex", silent.getsockname(), 0))
            seen.append(connects("connect_ex", "no address", None))
            seen.append(connects("connect", silent.getsockname(), 5))  # whose handshake nobody answers
            sock.sendall(b".")

        client = connect(serve(handle, opening(clients_context)))
        turn_until(loop, lambda: len(seen) == 5 and streams(loop)[-1].phase is Phase.IDLE)  # in the handshake
        clock.advance(5.1)
        assert receive(loop, client, 1) == b"."
    assert seen == [
        ConnectionRefusedError, errno.ECONNREFUSED, BlockingIOError, errno.EINPROGRESS, TypeError, TimeoutError,
    ]  # fmt: skip


@pytest.mark.parametrize("gives_up", [False, True])
def test_a_handler_listens_itself(
    loop: Reactor, serve: Any, connect: Any, secure: Any, context: Any, clock: ManualClock, gives_up: bool
) -> None:
    doors: list[Any] = []
    seen: list[object] = []

    def handle(sock: Any) -> None:
        with context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as door:
            door.settimeout(5)
            doors.append(door.getsockname())
            try:
                with door.accept()[0] as guest:
                    seen.append(guest.recv(10))
            except TimeoutError:
                seen.append("nobody")
        sock.sendall(b".")

    client = connect(serve(handle, opening(context)))
    turn_until(loop, lambda: doors)
    turns(loop)
    if gives_up:
        clock.advance(5.1)
    else:
        secure(doors[0]).send(b"hello")
    assert receive(loop, client, 1) == b"."
    assert seen == ["nobody" if gives_up else b"hello"]


class Far(Client):
    """Another server, in the test's own thread: it answers when the test says so."""

    def __init__(self, loop: Reactor, sock: socket.socket, context: ssl.SSLContext) -> None:
        self.loop = loop
        self.sock = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        self.sock.setblocking(False)
        self.patiently(self.sock.do_handshake)


@pytest.mark.parametrize("what", ["time", "drain"])
def test_no_time_of_the_clients_and_no_drain_ends_what_a_handler_opens(
    loop: Reactor, serve: Any, connect: Any, clients_context: Any, context: Any, clock: ManualClock, what: str
) -> None:
    door = socket.create_server(("127.0.0.1", 0))

    def handle(sock: Any) -> None:
        request = sock.recv(10)
        connection = socket.create_connection(door.getsockname())
        with clients_context.wrap_socket(connection, server_hostname="localhost") as opened:
            opened.sendall(request)
            reply = b""
            while piece := opened.recv(10):
                reply += piece
        sock.sendall(reply)

    listener = serve(handle, opening(clients_context))
    client = connect(listener)
    client.sendall(b"hello")
    with door:
        turn_until(loop, lambda: len(streams(loop)) == 2)
        assert listener.row.members == 1
        far = Far(loop, door.accept()[0], context)
    with far.sock:
        assert far.receive(5) == b"hello"
        turns(loop)
        if what == "drain":  # it waits for the first byte
            loop.stop(drain_s=60)
        else:
            clock.advance(100)
        turns(loop)
        far.send(b"one, ")
        turns(loop)
        if what == "time":  # and for the rest of the reply
            clock.advance(100)
        turns(loop)
        far.send(b"two")
        far.sock.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"one, two"
    turn_until(loop, lambda: not streams(loop) or streams(loop)[0].phase is Phase.LINGERING)
