"""The server classes: how they bind, what socket they hold, what a request is, and how each ends."""

import errno
import os
import socket
import threading
from typing import Any

import pytest

from tests.socketserver.harness import (
    LOOPBACK,
    EchoLine,
    EchoPacket,
    ask,
    connect,
    datagram_client,
    exchange,
    leaving,
    needs_unix,
    ours_only,
    read_all,
    serve_here,
    serve_one,
    socketserver,
    stream_pair,
    wait_for,
)

NAMES = [name for name in socketserver.__all__ if name.endswith("Server") and name != "BaseServer"]
STREAM_NAMES = [name for name in NAMES if issubclass(getattr(socketserver, name), socketserver.TCPServer)
                and not issubclass(getattr(socketserver, name), socketserver.UDPServer)]
DATAGRAM_NAMES = [name for name in NAMES if name not in STREAM_NAMES]


def has_ipv6() -> bool:
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return True


def is_listening(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


class TestEcho:
    """Each class serves three requests, in the loop of `serve_forever` and one by one."""

    @pytest.mark.parametrize("name", STREAM_NAMES)
    def test_stream_loop(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        with leaving(server_class, requests=3)(new_address(server_class), EchoLine) as server:
            clients = [ask(server.server_address, b"hello %d\n" % number) for number in range(3)]
            serve_here(server)
            assert [read_all(client) for client in clients] == [b"hello 0\n", b"hello 1\n", b"hello 2\n"]

    @pytest.mark.parametrize("name", STREAM_NAMES)
    def test_stream_one_by_one(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        with leaving(server_class)(new_address(server_class), EchoLine) as server:
            for number in range(3):
                client = ask(server.server_address, b"hello %d\n" % number)
                server.handle_request()
                assert read_all(client) == b"hello %d\n" % number

    @pytest.mark.parametrize("name", DATAGRAM_NAMES)
    def test_datagram_loop(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        path = new_address(server_class) if server_class.address_family != socket.AF_INET else None
        with (
            leaving(server_class, requests=3)(new_address(server_class), EchoPacket) as server,
            datagram_client(server.server_address, path) as client,
        ):
            for number in range(3):
                client.send(b"hello %d" % number)
            serve_here(server)
            assert sorted(client.recv(100) for _ in range(3)) == [b"hello 0", b"hello 1", b"hello 2"]

    @pytest.mark.parametrize("name", DATAGRAM_NAMES)
    def test_datagram_one_by_one(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        path = new_address(server_class) if server_class.address_family != socket.AF_INET else None
        with (
            leaving(server_class)(new_address(server_class), EchoPacket) as server,
            datagram_client(server.server_address, path) as client,
        ):
            for number in range(3):
                client.send(b"hello %d" % number)
                server.handle_request()
                assert client.recv(100) == b"hello %d" % number

    @pytest.mark.parametrize("name", [name for name in NAMES if not name.startswith("Forking")])
    def test_in_a_thread_of_its_own(self, name: str, new_address: Any, serve: Any) -> None:
        server_class = getattr(socketserver, name)
        server = server_class(new_address(server_class), EchoLine if name in STREAM_NAMES else EchoPacket)
        serving = serve(server)
        path = new_address(server_class) if server_class.address_family != socket.AF_INET else None
        for _ in range(3):
            if name in STREAM_NAMES:
                assert exchange(server.server_address, b"hello\n") == b"hello\n"
            else:
                with datagram_client(server.server_address, path) as client:
                    client.send(b"hello")
                    assert client.recv(100) == b"hello"
                if path:
                    os.unlink(path)
        serving.stop()
        assert serving.error is None
        assert server.fileno() == -1


class TestBinding:
    @pytest.mark.parametrize("name", NAMES)
    def test_address_is_the_one_bound_to(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        with server_class(new_address(server_class), None) as server:
            assert server.server_address == server.socket.getsockname()
            if server_class.address_family == socket.AF_INET:
                assert server.server_address[1] != 0

    @pytest.mark.parametrize("name", NAMES)
    def test_socket_is_of_the_family_and_type_of_the_class(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        with server_class(new_address(server_class), None) as server:
            assert isinstance(server.socket, socket.socket)
            assert (server.socket.family, server.socket.type) == (server_class.address_family, server_class.socket_type)
            assert server.fileno() == server.socket.fileno() >= 0
            assert is_listening(server.socket) is (name in STREAM_NAMES)
            assert server.socket.gettimeout() is None

    def test_attributes_are_set_before_binding(self) -> None:
        class Looking(socketserver.TCPServer):  # type: ignore[misc]
            def server_bind(self) -> None:
                seen.append((self.server_address, self.RequestHandlerClass, is_listening(self.socket)))
                super().server_bind()

            def server_activate(self) -> None:
                seen.append((self.server_address == self.socket.getsockname(), is_listening(self.socket)))
                super().server_activate()

        seen: list[Any] = []
        with Looking(LOOPBACK, EchoLine):
            assert seen == [(LOOPBACK, EchoLine, False), (True, False)]

    def test_bind_and_activate_later(self) -> None:
        with socketserver.TCPServer(LOOPBACK, EchoLine, bind_and_activate=False) as server:
            assert server.server_address == LOOPBACK
            assert server.socket.getsockname()[1] == 0
            server.server_bind()
            assert server.server_address == server.socket.getsockname() != LOOPBACK
            assert not is_listening(server.socket)
            server.server_activate()
            client = ask(server.server_address, b"hello\n")
            server.handle_request()
            assert read_all(client) == b"hello\n"

    def test_bind_and_activate_is_the_third_argument(self) -> None:
        with socketserver.TCPServer(LOOPBACK, EchoLine, False) as server:
            assert server.server_address == LOOPBACK

    @pytest.mark.parametrize("name", ["TCPServer", "UDPServer"])
    @pytest.mark.parametrize("option", ["address", "port"])
    @pytest.mark.parametrize("allow", [True, False])
    def test_reuse(self, name: str, option: str, allow: bool) -> None:
        number = getattr(socket, f"SO_REUSE{option.replace('ess', '').upper()}", None)
        if number is None:
            pytest.skip("this platform does not have the option")
        base = getattr(socketserver, name)
        server_class = type(name, (base,), {f"allow_reuse_{option}": allow})
        with server_class(LOOPBACK, None) as server:
            assert bool(server.socket.getsockopt(socket.SOL_SOCKET, number)) is allow

    def test_reuse_may_be_said_of_one_server(self) -> None:
        with socketserver.TCPServer(LOOPBACK, None, bind_and_activate=False) as server:
            server.allow_reuse_address = True
            server.server_bind()
            assert server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)

    @pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
    @pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
    @pytest.mark.parametrize("allow", [True, False])
    def test_reuse_port_on_ipv6(self, allow: bool) -> None:
        server_class = type(
            "Server6", (socketserver.TCPServer,), {"address_family": socket.AF_INET6, "allow_reuse_port": allow}
        )
        with server_class(("::1", 0), None) as server:
            assert bool(server.socket.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)) is allow

    @ours_only
    @needs_unix
    @pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
    def test_reuse_port_is_for_ip(self, new_address: Any) -> None:
        # Since Linux 6.12 a Unix socket refuses it (cpython#128916): older standard libraries fail there.
        class Noting(socket.socket):
            def setsockopt(self, *args: Any) -> None:
                options.append(args[1])
                super().setsockopt(*args)

        options: list[int] = []
        server_class = type("Server", (socketserver.UnixStreamServer,), {"allow_reuse_port": True})
        with server_class(new_address(server_class), None, bind_and_activate=False) as server:
            server.socket.close()
            server.socket = Noting(socket.AF_UNIX)
            server.server_bind()
            assert socket.SO_REUSEPORT not in options

    @pytest.mark.skipif(not hasattr(socket, "SO_REUSEPORT"), reason="needs SO_REUSEPORT")
    def test_two_servers_on_one_port(self) -> None:
        class Sharing(socketserver.TCPServer):  # type: ignore[misc]
            allow_reuse_port = True

        with Sharing(LOOPBACK, None) as first, Sharing(first.server_address, None) as second:
            assert first.server_address == second.server_address

    @pytest.mark.parametrize(("size", "expected"), [(None, 5), (17, 17)])
    def test_backlog(self, size: int | None, expected: int) -> None:
        class Listening:
            backlogs: list[int] = []

            def listen(self, backlog: int) -> None:
                self.backlogs.append(backlog)

            def close(self) -> None:
                pass

        with socketserver.TCPServer(LOOPBACK, None, bind_and_activate=False) as server:
            server.socket.close()
            server.socket = Listening()
            if size is not None:
                server.request_queue_size = size
            Listening.backlogs.clear()
            server.server_activate()
            assert Listening.backlogs == [expected]

    @pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_ipv6(self, server_loop: Any) -> None:
        class Server6(socketserver.TCPServer):  # type: ignore[misc]
            address_family = socket.AF_INET6

        seen = []
        with leaving(Server6)(("::1", 0), lambda request, address, server: seen.append(address)) as server:
            assert len(server.server_address) == 4
            client = ask(server.server_address)
            address = client.getsockname()
            server_loop(server)
            assert read_all(client) == b""
        assert seen == [address]

    @pytest.mark.skipif(not has_ipv6(), reason="needs IPv6 on loopback")
    def test_ipv6_datagrams(self) -> None:
        class Server6(socketserver.UDPServer):  # type: ignore[misc]
            address_family = socket.AF_INET6

        with Server6(("::1", 0), EchoPacket) as server, datagram_client(server.server_address) as client:
            client.send(b"six")
            server.handle_request()
            assert client.recv(100) == b"six"

    @needs_unix
    def test_family_may_be_said_of_one_server(self, new_address: Any) -> None:
        """As http.server does: `address_family` is read from the instance."""

        class Choosing(socketserver.TCPServer):  # type: ignore[misc]
            def __init__(self, family: Any, *args: Any) -> None:
                self.address_family = family
                super().__init__(*args)

        with Choosing(socket.AF_UNIX, new_address(socket.AF_UNIX), None) as server:
            assert server.socket.family == socket.AF_UNIX

    @needs_unix
    def test_unix_path_is_there_while_serving(self, new_address: Any) -> None:
        path = new_address(socketserver.UnixStreamServer)
        with socketserver.UnixStreamServer(path, EchoLine) as server:
            assert server.server_address == path
            assert os.path.exists(path)


class Keeping:
    """Keeps every server that was begun, since a constructor that fails does not return one."""

    begun: list[Any]

    def server_bind(self) -> None:
        self.begun.append(self)
        super().server_bind()  # type: ignore[misc]


class TestFailedConstruction:
    @pytest.mark.parametrize("name", ["TCPServer", "UDPServer", "ThreadingTCPServer"])
    def test_bind_in_use(self, name: str) -> None:
        base = getattr(socketserver, name)
        server_class = type(name, (Keeping, base), {"begun": []})
        with socket.socket(base.address_family, base.socket_type) as taken:
            taken.bind(LOOPBACK)
            with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
                server_class(taken.getsockname(), None)
        assert [server.fileno() for server in server_class.begun] == [-1]

    def test_bind_to_an_impossible_port_1024_times(self) -> None:
        server_class = type("TCPServer", (Keeping, socketserver.TCPServer), {"begun": []})
        for _ in range(1024):
            with pytest.raises(OverflowError):
                server_class(("127.0.0.1", -1), None)
        assert len(server_class.begun) == 1024
        assert {server.socket.fileno() for server in server_class.begun} == {-1}

    @pytest.mark.parametrize("hook", ["server_bind", "server_activate"])
    @pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
    def test_any_error_closes_through_server_close(self, hook: str, error: type[BaseException]) -> None:
        closed = []

        class Failing(socketserver.TCPServer):  # type: ignore[misc]
            def server_close(self) -> None:
                super().server_close()
                closed.append(self.socket.fileno())

        def fail(self: Any) -> None:
            raise error(hook)

        setattr(Failing, hook, fail)
        with pytest.raises(error, match=hook):
            Failing(LOOPBACK, None)
        assert closed == [-1]

    @needs_unix
    def test_path_in_use(self, new_address: Any) -> None:
        path = new_address(socketserver.UnixStreamServer)
        with socketserver.UnixStreamServer(path, None):
            with pytest.raises(OSError, match=os.strerror(errno.EADDRINUSE)):
                socketserver.UnixStreamServer(path, None)
            connect(path).close()


class TestClosing:
    @pytest.mark.parametrize("name", NAMES)
    def test_with_closes(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        created = server_class(new_address(server_class), None)
        with created as server:
            assert server is created
            assert server.fileno() >= 0
        assert server.fileno() == server.socket.fileno() == -1

    def test_with_closes_after_an_error_and_lets_it_pass(self) -> None:
        with pytest.raises(ValueError, match="body"), socketserver.TCPServer(LOOPBACK, None) as server:
            raise ValueError("body")
        assert server.fileno() == -1

    def test_with_closes_through_server_close(self) -> None:
        class Noting(socketserver.TCPServer):  # type: ignore[misc]
            def server_close(self) -> None:
                closed.append(True)
                super().server_close()

        closed: list[bool] = []
        with Noting(LOOPBACK, None):
            pass
        assert closed == [True]

    @pytest.mark.parametrize("name", NAMES)
    def test_closing_twice_is_closing_once(self, name: str, new_address: Any) -> None:
        server_class = getattr(socketserver, name)
        server = server_class(new_address(server_class), None)
        server.server_close()
        server.server_close()
        assert server.fileno() == -1

    def test_port_is_free_again(self) -> None:
        with socketserver.TCPServer(LOOPBACK, None) as server:
            pass
        with socketserver.TCPServer(server.server_address, None) as again:
            assert again.server_address == server.server_address

    def test_nobody_is_served_after_it(self, serve: Any) -> None:
        server = socketserver.TCPServer(LOOPBACK, EchoLine)
        serving = serve(server)
        exchange(server.server_address, b"x\n")
        serving.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(server.server_address)

    @pytest.mark.parametrize("place", ["handler", "service_actions", "before the join"])
    def test_in_the_loops_own_thread(self, serve: Any, place: str) -> None:
        closed = threading.Event()

        class Closing(socketserver.TCPServer):  # type: ignore[misc]
            handled = 0

            def service_actions(self) -> None:
                if self.handled and place == "service_actions":
                    self.server_close()
                if self.handled:
                    closed.set()

        def handler(request: Any, address: Any, server: Any) -> None:
            if place == "handler":
                server.server_close()
            server.handled += 1
            request.sendall(b"last")

        server = Closing(LOOPBACK, handler)
        serving = serve(server)
        assert exchange(server.server_address) == b"last"
        wait_for(closed)
        if place == "before the join":
            server.shutdown()
            server.server_close()
        serving.stop()
        assert serving.error is None
        assert server.fileno() == -1


class TestReplacedSocket:
    """`self.socket` is read when it is needed: code replaces it after `__init__`, to wrap it in TLS for one."""

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_by_another_object_for_the_same_socket(self, server_loop: Any) -> None:
        with leaving(socketserver.TCPServer)(LOOPBACK, EchoLine) as server:
            server.socket = socket.socket(fileno=server.socket.detach())
            client = ask(server.server_address, b"hello\n")
            server_loop(server)
            assert read_all(client) == b"hello\n"

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_by_a_socket_of_ones_own(self, server_loop: Any) -> None:
        with leaving(socketserver.TCPServer)(LOOPBACK, EchoLine, bind_and_activate=False) as server:
            server.socket.close()
            server.socket = socket.create_server(LOOPBACK)
            server.server_address = server.socket.getsockname()
            client = ask(server.server_address, b"hello\n")
            server_loop(server)
            assert read_all(client) == b"hello\n"

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_by_something_that_wraps_it(self, server_loop: Any) -> None:
        class Wrapped:
            def __init__(self, sock: socket.socket) -> None:
                self.sock = sock
                self.accepted = 0

            def accept(self) -> Any:
                self.accepted += 1
                return self.sock.accept()

            def __getattr__(self, name: str) -> Any:
                return getattr(self.sock, name)

        with leaving(socketserver.TCPServer)(LOOPBACK, EchoLine) as server:
            server.socket = Wrapped(server.socket)
            client = ask(server.server_address, b"hello\n")
            server_loop(server)
            assert read_all(client) == b"hello\n"
            assert server.socket.accepted == 1

    def test_between_two_times_of_serving(self) -> None:
        with leaving(socketserver.TCPServer)(LOOPBACK, EchoLine) as server:
            client = ask(server.server_address, b"one\n")
            serve_here(server)
            assert read_all(client) == b"one\n"
            server.socket.close()
            server.socket = socket.create_server(LOOPBACK)
            server.requests_taken = 0
            client = ask(server.socket.getsockname(), b"two\n")
            serve_here(server)
            assert read_all(client) == b"two\n"


class TestEndOfAConnection:
    """SHUT_WR first: a copy of the descriptor elsewhere (in a child, say) must not keep the peer waiting."""

    @pytest.fixture
    def server(self) -> Any:
        with socketserver.TCPServer(LOOPBACK, None) as server:
            yield server

    def test_shutdown_request_ends_the_stream_though_a_copy_is_open(self, server: Any) -> None:
        with stream_pair() as (request, client), request.dup():
            server.shutdown_request(request)
            assert client.recv(100) == b""
            assert request.fileno() == -1

    def test_shutdown_request_leaves_the_other_direction_to_a_copy(self, server: Any) -> None:
        with stream_pair() as (request, client), request.dup() as copy:
            server.shutdown_request(request)
            client.sendall(b"still read")
            assert copy.recv(100) == b"still read"

    def test_close_request_only_closes(self, server: Any) -> None:
        with stream_pair() as (request, client), request.dup() as copy:
            server.close_request(request)
            assert request.fileno() == -1
            copy.sendall(b"still open")
            assert client.recv(100) == b"still open"

    def test_request_that_is_no_longer_connected(self, server: Any) -> None:
        with socket.socket() as request:  # shutdown() is ENOTCONN
            server.shutdown_request(request)
            assert request.fileno() == -1

    def test_request_that_is_closed_already(self, server: Any) -> None:
        with socket.socket() as request:
            request.close()
            server.shutdown_request(request)

    def test_other_errors_are_not_hidden(self, server: Any) -> None:
        class Request:
            def shutdown(self, how: int) -> None:
                raise ValueError(how)

        with pytest.raises(ValueError, match=str(int(socket.SHUT_WR))):
            server.shutdown_request(Request())

    def test_shutdown_request_closes_through_close_request(self) -> None:
        class Noting(socketserver.TCPServer):  # type: ignore[misc]
            def close_request(self, request: Any) -> None:
                closed.append(request)
                super().close_request(request)

        closed: list[Any] = []
        with Noting(LOOPBACK, None) as server, socket.socket() as request:
            server.shutdown_request(request)
            assert closed == [request]

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_reply_and_end_arrive(self, way: Any, server_loop: Any) -> None:
        with leaving(way)(LOOPBACK, lambda request, *_: request.sendall(b"x" * 300_000)) as server:
            client = connect(server.server_address)
            received: list[bytes] = []
            reader = threading.Thread(target=lambda: received.append(read_all(client)))
            if "Forking" in way.__name__:
                server_loop(server)
                reader.start()
            else:
                reader.start()
                server_loop(server)
            reader.join()
        assert received == [b"x" * 300_000]


class TestDatagrams:
    def test_request_is_the_packet_and_the_servers_socket(self) -> None:
        seen = []
        with leaving(socketserver.UDPServer)(LOOPBACK, lambda *args: seen.append(args)) as server:
            with datagram_client(server.server_address) as client:
                address = client.getsockname()
                client.send(b"packet")
                serve_here(server)
            ((request, client_address, given),) = seen
            assert isinstance(request, tuple)
            assert request[0] == b"packet"
            assert request[1] is server.socket
            assert client_address == address
            assert given is server

    @pytest.mark.parametrize(("size", "expected"), [(None, 8192), (100, 100), (65536, 20000)])
    def test_packet_size(self, size: int | None, expected: int) -> None:
        seen = []
        with socketserver.UDPServer(LOOPBACK, lambda request, *_: seen.append(len(request[0]))) as server:
            if size is not None:
                server.max_packet_size = size
            with datagram_client(server.server_address) as client:
                client.send(bytes(20_000))
                server.handle_request()
        assert seen == [expected]

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_empty_packet_is_a_request_and_an_empty_reply_is_sent(self, server_loop: Any) -> None:
        with (
            leaving(socketserver.UDPServer)(LOOPBACK, EchoPacket) as server,
            datagram_client(server.server_address) as client,
        ):
            client.send(b"")
            server_loop(server)
            assert client.recv(100) == b""

    def test_ending_a_request_never_closes_the_servers_socket(self) -> None:
        with socketserver.UDPServer(LOOPBACK, EchoPacket) as server:
            request = (b"packet", server.socket)
            server.shutdown_request(request)
            server.close_request(request)
            with datagram_client(server.server_address) as client:
                client.send(b"still served")
                server.handle_request()
                assert client.recv(100) == b"still served"

    def test_shutdown_request_goes_through_close_request(self) -> None:
        class Noting(socketserver.UDPServer):  # type: ignore[misc]
            def close_request(self, request: Any) -> None:
                closed.append(request)

        closed: list[Any] = []
        with Noting(LOOPBACK, None) as server:
            server.shutdown_request("request")
        assert closed == ["request"]

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_error_in_one_leaves_the_next(self, server_loop: Any) -> None:
        errors = []

        class Failing(socketserver.UDPServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                errors.append(request[0])

        class Handler(EchoPacket):
            def handle(self) -> None:
                if self.packet == b"bad":
                    raise ValueError
                super().handle()

        with (
            leaving(Failing, requests=2)(LOOPBACK, Handler) as server,
            datagram_client(server.server_address) as client,
        ):
            client.send(b"bad")
            client.send(b"good")
            server_loop(server)
            if server_loop is serve_one:
                server_loop(server)
            assert [client.recv(100), client.recv(100)] == [b"", b"good"]
        assert errors == [b"bad"]

    @pytest.mark.parametrize("server_loop", [serve_one, serve_here])
    def test_os_error_of_get_request_is_swallowed(self, server_loop: Any) -> None:
        """An ICMP answer to an earlier packet arrives as one, for example."""

        class Failing(socketserver.UDPServer):  # type: ignore[misc]
            failed = False

            def get_request(self) -> Any:
                if not self.failed:
                    self.failed = True
                    raise ConnectionRefusedError
                return super().get_request()

        with leaving(Failing)(LOOPBACK, EchoPacket) as server, datagram_client(server.server_address) as client:
            client.send(b"hello")
            server_loop(server)
            if server_loop is serve_one:
                server_loop(server)
            assert client.recv(100) == b"hello"

    @needs_unix
    def test_unix_client_that_is_not_bound_gets_no_reply_and_harms_nobody(self, new_address: Any) -> None:
        errors = []

        class Noting(socketserver.UnixDatagramServer):  # type: ignore[misc]
            def handle_error(self, request: Any, client_address: Any) -> None:
                errors.append((request[0], client_address))

        family = socket.AF_UNIX
        with (
            leaving(Noting, requests=2)(new_address(family), EchoPacket) as server,
            datagram_client(server.server_address) as unbound,
        ):
            unbound.send(b"no way back")
            with datagram_client(server.server_address, new_address(family)) as bound:
                bound.send(b"hello")
                serve_here(server)
                assert bound.recv(100) == b"hello"
            unbound.setblocking(False)
            with pytest.raises(BlockingIOError):
                unbound.recv(100)
        assert [packet for packet, address in errors] == [b"no way back"]
        assert not errors[0][1]

    def test_handler_may_answer_for_itself(self) -> None:
        def handler(request: Any, address: Any, server: Any) -> None:
            packet, sock = request
            sock.sendto(packet.upper(), address)

        with socketserver.UDPServer(LOOPBACK, handler) as server, datagram_client(server.server_address) as client:
            client.send(b"loud")
            server.handle_request()
            assert client.recv(100) == b"LOUD"

    def test_socket_is_blocking_for_the_handler(self) -> None:
        seen = []

        def handler(request: Any, *_: Any) -> None:
            seen.append((request[1].gettimeout(), os.get_blocking(request[1].fileno())))

        with (
            leaving(socketserver.UDPServer)(LOOPBACK, handler) as server,
            datagram_client(server.server_address) as client,
        ):
            client.send(b"x")
            serve_here(server)
        assert seen == [(None, True)]


class TestBaseServer:
    def test_hooks_do_nothing_by_themselves(self) -> None:
        server = socketserver.BaseServer("address", EchoLine)
        assert (server.server_address, server.RequestHandlerClass) == ("address", EchoLine)
        assert server.server_activate() is None
        assert server.server_close() is None
        assert server.service_actions() is None
        assert server.handle_timeout() is None
        assert server.verify_request("request", "client") is True
        assert server.shutdown_request("request") is None
        assert server.close_request("request") is None
        with server as entered:
            assert entered is server

    def test_finish_request_makes_the_handler(self) -> None:
        made = []
        server = socketserver.BaseServer("address", lambda *args: made.append(args))
        assert server.finish_request("request", "client") is None
        assert made == [("request", "client", server)]

    def test_process_request_finishes_then_shuts_down(self) -> None:
        class Noting(socketserver.BaseServer):  # type: ignore[misc]
            def finish_request(self, *args: Any) -> None:
                calls.append(("finish", args))

            def close_request(self, *args: Any) -> None:
                calls.append(("close", args))

        calls: list[Any] = []
        Noting("address", None).process_request("request", "client")
        assert calls == [("finish", ("request", "client")), ("close", ("request",))]

    def test_serves_requests_that_are_no_sockets(self) -> None:
        """The example of the original authors: requests taken from somewhere else, a table of a database."""

        class Table(socketserver.BaseServer):  # type: ignore[misc]
            def __init__(self, handler: Any) -> None:
                super().__init__("a table", handler)
                self.reader, self.writer = os.pipe()

            def fileno(self) -> int:
                return self.reader

            def get_request(self) -> Any:
                return os.read(self.reader, 4), "row"

            def server_close(self) -> None:
                os.close(self.reader)
                os.close(self.writer)

        handled = []
        with leaving(Table, requests=2)(lambda request, address, _: handled.append((request, address))) as server:
            os.write(server.writer, b"one,two,")
            serve_here(server)
        assert handled == [(b"one,", "row"), (b"two,", "row")]


@ours_only
def test_coroutine_handler_is_refused_by_name_and_the_client_is_not_left_waiting() -> None:
    class Handler(socketserver.StreamRequestHandler):  # type: ignore[misc]
        async def handle(self) -> None: ...

    class Noting(socketserver.TCPServer):  # type: ignore[misc]
        def handle_error(self, request: Any, client_address: Any) -> None:
            raise

    with (
        pytest.raises(TypeError, match="AsyncStreamRequestHandler"), Noting(LOOPBACK, Handler) as server,
        ask(server.server_address),
    ):
        server.handle_request()
