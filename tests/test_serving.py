"""Servers with a loop to themselves: serve_forever, shutdown and handle_request, ours and the standard library's."""

import http.client
import http.server
import os
import signal
import socket
import socketserver as standard
import ssl
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest
import trustme

from reactor import (
    AsyncStreamRequestHandler,
    BlockingHandlerWarning,
    HttpRequests,
    Limits,
    Lines,
    MissingExtraError,
    ReactorMixIn,
)
from reactor import socketserver as ours
from tests.running import PATIENCE_S, PROMPT_S, Running, python, seconds_of, wait_for, wait_until

pytestmark = pytest.mark.usefixtures("no_errors_left")
LOOPBACK = ("127.0.0.1", 0)


class Web(http.server.BaseHTTPRequestHandler):
    """Answers with its path, and notes the thread it runs in."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.server.threads.append(threading.get_ident())  # type: ignore[attr-defined]
        if self.path == "/shutdown":
            self.server.shutdown()
        elif self.path == "/close":
            self.server.server_close()
        elif self.path == "/exit":
            raise SystemExit("as asked")
        elif self.path == "/fail":
            raise ValueError("as asked")
        self.send_response(200)
        self.send_header("Content-Length", str(len(self.path)))
        self.end_headers()
        self.wfile.write(self.path.encode())

    def log_message(self, *args: Any) -> None:
        pass


class Mixed(ReactorMixIn, http.server.HTTPServer):
    framing = HttpRequests()


class MixedGreenlets(ReactorMixIn, http.server.HTTPServer):
    way = "greenlet"


class MixedThreads(ReactorMixIn, http.server.HTTPServer):
    pass


class MixedThreading(ReactorMixIn, http.server.ThreadingHTTPServer):
    pass


class Own(ours.TCPServer):
    framing = HttpRequests()


class OwnPlain(ours.TCPServer):
    way_if_plain = "framed"
    framing_if_plain = HttpRequests()


class OwnThreading(ours.ThreadingTCPServer):
    framing = HttpRequests()


ALONE = [Mixed, Own, OwnPlain, OwnThreading]
IN_THREADS = [MixedThreads, MixedThreading]
each_kind = pytest.mark.parametrize("kind", [*ALONE, *IN_THREADS, MixedGreenlets])
each_framed = pytest.mark.parametrize("kind", ALONE)


def made(kind: Any, handler: Any = Web) -> Any:
    """Return a server of a kind; skip the test if that needs a package that is not here."""
    if getattr(kind, "way", None) == "greenlet":
        pytest.importorskip("greenlet")
    server = kind(LOOPBACK, handler)
    server.threads = []
    return server


@contextmanager
def running(server: Any, **keywords: Any) -> Iterator[Running]:
    """Serve in a thread until the end of the block."""
    serving = Running(lambda: server.serve_forever(**keywords))
    try:
        yield serving
    finally:
        server.shutdown()
        serving.join()


@pytest.fixture
def client() -> Iterator[Any]:
    """Give a function that connects an HTTP client to a server."""
    clients = []

    def connect(server: Any) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(*server.server_address[:2], timeout=PATIENCE_S)
        clients.append(connection)
        return connection

    yield connect
    for connection in clients:
        connection.close()


@contextmanager
def connected(server: Any, data: bytes = b"") -> Iterator[socket.socket]:
    """Connect a client that has sent something already."""
    with socket.create_connection(server.server_address, PATIENCE_S) as connection:
        connection.sendall(data)
        yield connection


def get(connection: http.client.HTTPConnection, path: str) -> None:
    """Ask for a path and demand it as the answer."""
    connection.request("GET", path)
    assert connection.getresponse().read() == path.encode()


# -- serve_forever ----------------------------------------------------------------------------------------------------


@each_kind
def test_no_client_freezes_it(kind: Any, client: Any) -> None:
    with made(kind) as server, running(server), connected(server), connected(server, b"GET / HT") as half:
        one, two = client(server), client(server)
        get(one, "/one")
        kept = one.sock
        get(one, "/two")
        assert one.sock is kept
        get(two, "/three")
        half.sendall(b"TP/1.1\r\nHost: a\r\n\r\n")
        assert half.recv(100).startswith(b"HTTP/1.1 200 ")
        one.close()
        two.close()


@each_framed
def test_a_framed_server_handles_everything_in_its_own_thread(kind: Any, client: Any) -> None:
    with made(kind) as server, running(server) as serving:
        for path in ("/a", "/b"):
            get(client(server), path)
        assert set(server.threads) == {serving.thread.ident}


@pytest.mark.parametrize("kind", IN_THREADS)
def test_without_a_word_each_connection_has_a_thread(kind: Any, client: Any) -> None:
    with made(kind) as server, running(server) as serving:
        one, two = client(server), client(server)
        get(one, "/a")
        get(two, "/b")
        assert len(set(server.threads)) == 2
        assert serving.thread.ident not in server.threads
        one.close()
        two.close()


def test_greenlets_run_in_the_loops_thread(client: Any) -> None:
    with made(MixedGreenlets) as server, running(server) as serving:
        connection = client(server)
        get(connection, "/a")
        assert server.threads == [serving.thread.ident]
        connection.close()  # or, stopped in the turn of its reply, the row would linger for it


@pytest.mark.parametrize("kind", [standard.TCPServer, ours.TCPServer, standard.ThreadingTCPServer])
def test_a_framing_of_the_handler_will_do(kind: Any) -> None:
    class Upper(ours.StreamRequestHandler):
        framing = Lines()

        def handle(self) -> None:
            self.server.threads.append(threading.get_ident())
            for line in self.rfile:
                self.wfile.write(line.upper())

    mixed = kind if issubclass(kind, ours.BaseServer) else type("Mixed", (ReactorMixIn, kind), {"daemon_threads": True})
    threads = issubclass(kind, standard.ThreadingMixIn)  # the mixin says it first
    with made(mixed, Upper) as server, running(server) as serving:
        with socket.create_connection(server.server_address, PATIENCE_S) as connection:
            for word in (b"a\n", b"b\n"):
                connection.sendall(word)
                assert connection.recv(100) == word.upper()
        assert (serving.thread.ident in server.threads) != threads


def test_a_coroutine_on_a_server_of_the_standard_library() -> None:
    class Upper(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            while line := await self.rfile.readline():
                self.wfile.write(line.upper())

    class Server(ReactorMixIn, standard.TCPServer):
        pass

    with made(Server, Upper) as server, running(server), connected(server, b"a\n") as connection:
        assert connection.recv(100) == b"A\n"


def test_packets() -> None:
    class Upper(ours.DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.read().upper())

    class Server(ReactorMixIn, standard.UDPServer):
        pass

    with made(Server, Upper) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        with running(server), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            peer.settimeout(PATIENCE_S)
            peer.sendto(b"abc", server.server_address)
            assert peer.recv(100) == b"ABC"


@each_kind
def test_a_server_that_does_not_freeze_is_not_warned_of(kind: Any) -> None:
    with made(kind) as server, warnings.catch_warnings():
        warnings.simplefilter("error")
        server.shutdown()
        server.serve_forever()


def test_one_that_freezes_is() -> None:
    with made(ours.TCPServer) as server:
        server.shutdown()
        with pytest.warns(BlockingHandlerWarning, match="one silent client") as caught:
            server.serve_forever()
        (warning,) = caught
        assert warning.filename == __file__
        for word in ("framing", "HttpRequests", "greenlet", "thread", "inline", "TCPServer"):
            assert word in str(warning.message)
        server.way = "inline"
        server.shutdown()
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            server.serve_forever()


@each_framed
def test_a_handler_that_fails(kind: Any, client: Any, capsys: Any) -> None:
    with made(kind) as server, running(server):
        failing = client(server)
        failing.request("GET", "/fail")
        with pytest.raises(http.client.RemoteDisconnected):
            failing.getresponse()
        get(client(server), "/next")
    assert "ValueError: as asked" in capsys.readouterr().err


@each_framed
def test_a_handler_that_leaves_the_program_leaves_the_loop(kind: Any, client: Any) -> None:
    with made(kind) as server:
        serving = Running(server.serve_forever)
        exits = client(server)
        exits.request("GET", "/exit")
        with pytest.raises(SystemExit):
            serving.join()
        with pytest.raises((http.client.RemoteDisconnected, ConnectionResetError)):
            exits.getresponse()
        assert server.socket.gettimeout() is None
        with running(server):  # and serves again
            get(client(server), "/next")


@each_framed
def test_a_handle_error_that_fails_leaves_the_loop(kind: Any, client: Any) -> None:
    class Strict(kind):  # type: ignore[misc]
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise

    with made(Strict) as server:
        serving = Running(server.serve_forever)
        client(server).request("GET", "/fail")
        with pytest.raises(ValueError, match="as asked"):
            serving.join()
        with running(server):
            get(client(server), "/next")


@pytest.mark.skipif(sys.platform == "win32", reason="os.kill(SIGINT) is not Ctrl-C there")
@pytest.mark.parametrize("kind", ["Mixed", "Own"])
def test_ctrl_c_is_a_keyboard_interrupt(kind: str) -> None:
    python(
        f"""
        import os, signal
        from tests.test_serving import {kind}, made
        with made({kind}) as server:
            server.service_actions = lambda: os.kill(os.getpid(), signal.SIGINT)
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                pass
            else:
                raise AssertionError("as if nothing had happened")
        """
    )


@each_framed
def test_a_bad_request_costs_its_own_connection(kind: Any, client: Any) -> None:
    with made(kind) as server, running(server):
        with socket.create_connection(server.server_address, PATIENCE_S) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nA : b\r\n\r\n")
            assert connection.recv(100).startswith(b"HTTP/1.1 400 ")
        get(client(server), "/next")


@each_framed
def test_limits_of_the_server(kind: Any) -> None:
    with made(kind) as server:
        server.limits = Limits(request_s=0.05)
        with running(server), socket.create_connection(server.server_address, PATIENCE_S) as connection:
            connection.sendall(b"GET / HT")
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


@pytest.mark.parametrize("kind", [Mixed, Own])
def test_service_actions_are_called_at_least_so_often(kind: Any) -> None:
    called = threading.Event()
    calls = []

    class Serviced(kind):  # type: ignore[misc]
        def service_actions(self) -> None:
            super().service_actions()
            calls.append(1)
            if len(calls) == 50:  # at the default rate that would take 25 s
                called.set()

    with made(Serviced) as server, running(server, poll_interval=0.001):
        wait_for(called)


def test_many_servers_at_once_each_in_its_thread(client: Any) -> None:
    servers = [made(kind) for kind in (Mixed, Own, MixedThreads, Mixed)]
    servings = [Running(server.serve_forever) for server in servers]
    for server in servers:
        connection = client(server)
        get(connection, "/a")
        connection.close()
    for server, serving in zip(servers, servings, strict=True):
        server.shutdown()
        serving.join()
        server.server_close()


@pytest.mark.parametrize(
    ("kind", "attributes", "error"),
    [
        (ours.UDPServer, {"framing": Lines()}, "only streams"),
        (ours.UDPServer, {"way": "greenlet"}, "packet"),
        (ours.TCPServer, {"way": "framed"}, "needs a framing"),
        (ours.TCPServer, {"way": "hope"}, "hope"),
        (ours.TCPServer, {"way": "coroutine"}, "no coroutine"),
    ],
)
def test_a_server_that_cannot_be_served(kind: Any, attributes: dict[str, Any], error: str) -> None:
    with made(type("Wrong", (kind,), attributes)) as server:
        for serve in (server.serve_forever, server.handle_request):
            with pytest.raises(ValueError, match=error) as caught:
                serve()
            assert "Wrong" in str(caught.value)
        server.shutdown()  # nobody serves, so nobody is waited for


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    with made(MixedGreenlets) as server:
        monkeypatch.setitem(sys.modules, "greenlet", None)
        with pytest.raises(MissingExtraError, match="pip install"):
            server.serve_forever()


# -- shutdown ---------------------------------------------------------------------------------------------------------


@each_kind
def test_shutdown_ends_it_at_once_and_it_serves_again(kind: Any, client: Any) -> None:
    with made(kind) as server:
        for path in ("/first", "/second"):
            serving = Running(lambda: server.serve_forever(poll_interval=30))
            connection = client(server)
            get(connection, path)
            connection.close()
            assert seconds_of(server.shutdown) <= PROMPT_S * 10
            assert not serving.thread.is_alive() or serving.join() is None
            assert kind in IN_THREADS or server._host is None  # a thread may not have reported yet


@each_kind
def test_shutdown_before_the_start(kind: Any, client: Any) -> None:
    with made(kind) as server:
        server.shutdown()
        server.shutdown()
        server.serve_forever()
        with running(server):
            connection = client(server)
            get(connection, "/later")
            connection.close()


@each_kind
def test_shutdown_by_a_handler(kind: Any, client: Any) -> None:
    if kind in IN_THREADS:
        pytest.skip("in a thread of its own it is shutdown from another thread")
    with made(kind) as server:
        serving = Running(server.serve_forever)
        connection = client(server)
        get(connection, "/shutdown")
        if kind is MixedGreenlets:  # stopped in the turn of its reply, it lingers until the client has gone, too
            assert connection.sock is None or connection.sock.recv(1) == b""
            connection.close()
        serving.join()
        assert connection.sock is None or connection.sock.recv(1) == b""


@each_framed
def test_shutdown_lets_a_request_under_way_finish(kind: Any, client: Any) -> None:
    with made(kind) as server:
        serving = Running(server.serve_forever)
        idle = client(server)
        get(idle, "/idle")
        with socket.create_connection(server.server_address, PATIENCE_S) as half:
            half.sendall(b"GET /half HT")
            wait_until(lambda: server._host.loop.table.connections == 2 and _received(server) == 12)
            stopping = Running(server.shutdown)
            assert idle.sock.recv(1) == b""
            assert serving.thread.is_alive()
            half.sendall(b"TP/1.1\r\nHost: a\r\n\r\n")
            assert half.recv(1000).endswith(b"\r\n\r\n/half")
            assert half.recv(1) == b""
            half.shutdown(socket.SHUT_WR)
        stopping.join()
        serving.join()


def _received(server: Any) -> int:
    """Return how many bytes the youngest connection has sent; read from outside, which only a test may do."""
    return int(list(server._host.loop.table)[-1].bytes_in)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs SIGUSR1")
@pytest.mark.parametrize("kind", ["Mixed", "Own", "OwnThreading"])
def test_shutdown_by_a_signal_handler(kind: str) -> None:
    python(
        f"""
        import os, signal
        from tests.test_serving import {kind}, Web, made
        with made({kind}) as server:
            signal.signal(signal.SIGUSR1, lambda number, frame: server.shutdown())
            server.service_actions = lambda: os.kill(os.getpid(), signal.SIGUSR1)
            server.serve_forever()
        """
    )


@each_framed
def test_server_close_while_it_serves(kind: Any, client: Any) -> None:
    with made(kind) as server, running(server) as serving:
        connection = client(server)
        get(connection, "/close")
        get(connection, "/after")  # connections that are open go on
        assert server.socket.fileno() == -1
        assert server._host is None or server._host.row.fd == -1  # it has left the table first
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(server.server_address)
        assert serving.thread.is_alive()


# -- handle_request ---------------------------------------------------------------------------------------------------


GET = b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n"


@each_framed
def test_handle_request_handles_one_connection_to_its_end(kind: Any) -> None:
    with made(kind) as server, connected(server, GET % 1 + GET % 2) as first, connected(server, GET % 3) as second:
        for connection, bodies in ((first, [b"/1", b"/2"]), (second, [b"/3"])):
            connection.shutdown(socket.SHUT_WR)
            assert server.handle_request() is None
            replies = b"".join(iter(lambda connection=connection: connection.recv(1000), b""))
            assert [reply[-2:] for reply in replies.split(b"HTTP/1.1 200 OK\r\n")[1:]] == bodies
        assert server.socket.gettimeout() is None
        assert server._host is None
    assert set(server.threads) == {threading.get_ident()}


@each_framed
@pytest.mark.parametrize("where", ["server", "socket", "both"])
def test_handle_request_waits_for_so_long(kind: Any, where: str) -> None:
    with made(kind) as server:
        server.handle_timeout = lambda: "nobody"
        if where != "socket":
            server.timeout = 0.05 if where == "server" else PATIENCE_S
        if where != "server":
            server.socket.settimeout(0.05)
        assert 0.04 <= seconds_of(server.handle_request) < PATIENCE_S
        assert server.handle_request() == "nobody"
        assert server.socket.gettimeout() == (None if where == "server" else 0.05)
        assert server._host is None
        with connected(server, GET % 1) as connection:  # and is fit for use
            connection.shutdown(socket.SHUT_WR)
            server.handle_request()
            assert connection.recv(1000).endswith(b"/1")


def test_a_connection_that_fails_is_not_the_one() -> None:
    class Unlucky(Own):
        failed = False

        def get_request(self) -> Any:
            request, client_address = super().get_request()
            if not self.failed:
                self.failed = True
                request.close()
                raise ConnectionAbortedError("gone before it was here")
            return request, client_address

    with made(Unlucky) as server, connected(server), connected(server, GET % 2) as second:
        server.timeout = PATIENCE_S
        server.handle_timeout = lambda: "nobody"
        second.shutdown(socket.SHUT_WR)
        assert server.handle_request() is None
        assert second.recv(1000).endswith(b"/2")


def test_the_timeout_is_for_the_connection_not_for_the_request() -> None:
    with made(Own) as server, connected(server) as connection:
        server.timeout = 0
        asked = Running(lambda: (connection.sendall(GET % 1), connection.shutdown(socket.SHUT_WR)))
        server.handle_request()
        asked.join()
        assert connection.recv(1000).endswith(b"/1")


@each_framed
def test_handle_request_of_a_client_that_is_refused(kind: Any) -> None:
    class Closed(kind):  # type: ignore[misc]
        refused = 0

        def verify_request(self, request: Any, client_address: Any) -> bool:
            self.refused += 1
            return False

    with made(Closed) as server, connected(server, GET % 1) as connection:
        server.handle_request()
        assert server.refused == 1
        assert server.threads == []
        with suppress(ConnectionResetError):
            assert connection.recv(1) == b""


@each_framed
def test_handle_request_takes_one_connection_only(kind: Any) -> None:
    with made(kind) as server, connected(server, GET % 1) as first, connected(server, GET % 2) as second:
        first.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert len(server.threads) == 1
        assert first.recv(1000).endswith(b"/1")
        second.setblocking(False)
        with pytest.raises(BlockingIOError):
            second.recv(1)


def test_handle_request_does_not_wait_for_a_client_that_lingers() -> None:
    with made(Own) as server, connected(server, b"GET /1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n") as connection:
        assert seconds_of(server.handle_request) < 1  # linger_s is 2
        assert connection.recv(1000).endswith(b"/1")
        assert connection.recv(1) == b""


def test_handle_request_of_a_handler_that_leaves_the_program() -> None:
    with made(Own) as server, connected(server, b"GET /exit HTTP/1.1\r\nHost: a\r\n\r\n"):
        with pytest.raises(SystemExit):
            server.handle_request()
        assert server._host is None
        assert server.socket.gettimeout() is None


def test_handle_request_of_a_handler_that_fails(capsys: Any) -> None:
    with made(Own) as server, connected(server, b"GET /fail HTTP/1.1\r\nHost: a\r\n\r\n") as connection:
        connection.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert connection.recv(1) == b""
    assert "as asked" in capsys.readouterr().err


@pytest.mark.parametrize("kind", [MixedThreads, MixedThreading, MixedGreenlets])
def test_handle_request_needs_no_loop_for_the_other_ways(kind: Any) -> None:
    kinds = []

    class Noting(Web):
        def handle(self) -> None:
            kinds.append(type(self.request))
            super().handle()

    with made(kind, Noting) as server, connected(server, GET % 1) as connection:
        connection.shutdown(socket.SHUT_WR)
        server.handle_request()
        assert connection.recv(1000).startswith(b"HTTP/1.1 200 ")
        assert server._host is None
        assert kinds == [socket.socket]


# -- the mixin --------------------------------------------------------------------------------------------------------


def test_the_mixin_keeps_the_servers_own_close() -> None:
    with made(Mixed) as server:
        assert server.fileno() >= 0
    assert server.fileno() == -1


def test_the_mixin_has_no_init_of_its_own() -> None:
    """One gate a server, whoever asks first, and none that is shared by a class."""
    with made(Mixed) as one, made(Mixed) as two:
        assert one._gate is one._gate
        assert one._gate is not two._gate


def test_the_mixin_on_a_shared_loop(client: Any) -> None:
    from reactor import Reactor

    with Reactor() as loop:
        listeners = [loop.add(made(kind)) for kind in (Mixed, MixedThreads)]
        assert [listener.row.way for listener in listeners] == ["framed", "thread"]


def test_nothing_but_the_loop_is_needed_where_threads_cannot_be_started() -> None:
    python(
        """
        import _thread, os, socket, threading

        def refuse(*args, **keywords):
            raise RuntimeError("can't start new thread")

        from tests.test_serving import GET, Mixed, Own, connected, made
        _thread.start_new_thread = threading._start_new_thread = threading.Thread.start = refuse
        for kind in (Mixed, Own):
            with made(kind) as server, connected(server, GET % 1 + GET % 2) as connection:
                connection.shutdown(socket.SHUT_WR)
                server.handle_request()
                assert connection.recv(1000).count(b"HTTP/1.1 200") == 2
        """
    )


def test_its_process_has_no_descriptor_left() -> None:
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")
    from tests.running import descriptors

    before = descriptors()
    for _ in range(3):
        with made(Mixed) as server, connected(server, GET % 1) as connection:
            connection.shutdown(socket.SHUT_WR)
            server.handle_request()
            server.shutdown()
            server.serve_forever()
    assert descriptors() == before


# -- threads, and servers that speak TLS --------------------------------------------------------------------------------


def test_threads_nobody_asked_for_hold_no_close_up() -> None:
    """A client that says nothing has a thread for as long as it likes."""
    threads: list[threading.Thread] = []
    ended = threading.Event()

    class Noting(Web):
        def handle(self) -> None:
            threads.append(threading.current_thread())
            super().handle()
            ended.set()

    server = made(MixedThreads, Noting)
    with running(server), connected(server) as silent:
        wait_until(lambda: threads)
        server.shutdown()
        closing = Running(server.server_close)
        try:
            closing.join()
            assert threads[0].is_alive()
            assert threads[0].daemon
        finally:
            silent.shutdown(socket.SHUT_RDWR)
        wait_for(ended)
    threads[0].join(PATIENCE_S)


def test_who_wants_to_wait_for_them_says_so(client: Any) -> None:
    daemons: list[bool] = []

    class Noting(Web):
        def handle(self) -> None:
            daemons.append(threading.current_thread().daemon)
            super().handle()

    with made(type("Waits", (MixedThreads,), {"daemon_threads": False}), Noting) as server, running(server):
        connection = client(server)
        get(connection, "/a")
        connection.close()
    assert daemons == [False]


class SecureThreading(ours.ThreadingTCPServer):
    daemon_threads = True


class SecureMixed(ReactorMixIn, http.server.HTTPServer):
    pass


class SecureMixedThreading(ReactorMixIn, http.server.ThreadingHTTPServer):
    pass


@pytest.mark.parametrize("kind", [SecureThreading, SecureMixed, SecureMixedThreading])
def test_a_tls_server_that_a_silent_client_does_not_freeze(kind: Any, capfd: Any) -> None:
    authority = trustme.CA()
    context, clients = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context()
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(clients)
    with made(kind) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)

        def ask() -> bytes:
            with connected(server) as plain, clients.wrap_socket(plain, server_hostname="localhost") as client:
                client.sendall(b"GET /a HTTP/1.0\r\n\r\n")
                with client.makefile("rb") as file:
                    return file.read()

        with running(server), connected(server) as silent, connected(server, b"GET / HTTP/1.0\r\n\r\n"):
            assert ask().endswith(b"\r\n\r\n/a")
            assert ask().endswith(b"\r\n\r\n/a")
            silent.shutdown(socket.SHUT_RDWR)
        assert server.socket.do_handshake_on_connect
        handling = Running(server.handle_request)  # without a loop: in accept(), as ever
        assert ask().endswith(b"\r\n\r\n/a")
        handling.join()
    assert capfd.readouterr().err == ""
