"""Making sockets green, and ordinary again."""

import gc
import socket
import ssl
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import End, ManualClock, Phase, Reactor
from tests.driving import ask, only, receive, receive_all, streams, turn_until, turns, until_gone
from tests.green_servers import Server, serving
from tests.running import python

pytest.importorskip("greenlet")

from reactor.green_sockets import Green, GreenPlain
from reactor.greening import green_class, greened_contexts, ungreened_contexts


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


class Own(socket.socket):
    def recv(self, *args: Any) -> bytes:
        return super().recv(*args)


class Slotted(Own):
    __slots__ = ("slot",)


class OwnTls(ssl.SSLSocket):
    pass


@pytest.mark.parametrize("kind", [socket.socket, Own, Slotted, ssl.SSLSocket, OwnTls])
def test_a_class_has_one_green_subclass(kind: type[Any]) -> None:
    green = green_class(kind)
    assert issubclass(green, kind)
    assert issubclass(green, Green)
    assert green_class(kind) is green
    assert green_class(green) is green
    assert green.ungreen is kind
    assert green.__name__ == f"Green{kind.__name__}"
    assert issubclass(green, GreenPlain) != issubclass(kind, ssl.SSLSocket)


def test_what_a_class_overrides_stays_in_front() -> None:
    assert green_class(Own).recv is Own.recv
    assert green_class(socket.socket).recv is GreenPlain.recv


def test_what_is_no_class_of_sockets_is_named() -> None:
    class Wrapper:
        pass

    with pytest.raises(TypeError, match=r'way="greenlet" needs a socket.socket, and get_request returned a .*Wrapper'):
        green_class(Wrapper)


def test_a_socket_of_a_class_with_slots_keeps_them(loop: Reactor, serve: Any, connect: Any) -> None:
    class Slots(Server):
        def get_request(self) -> Any:
            request, address = super().get_request()
            slotted = Slotted(request.family, request.type, request.proto, fileno=request.detach())
            slotted.slot = "kept"
            return slotted, address

    def handle(sock: Any) -> None:
        sock.sendall(sock.slot.encode())

    assert receive_all(loop, connect(serve(handle, Slots))) == b"kept"


@pytest.mark.parametrize("timeout_s", [0, 3.5])
def test_the_timeout_that_get_request_has_set_is_the_handlers(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, timeout_s: float
) -> None:
    class Timed(Server):
        def get_request(self) -> Any:
            request, address = super().get_request()
            request.settimeout(timeout_s)
            return request, address

    seen: list[Any] = []

    def handle(sock: Any) -> None:
        seen.append(sock.gettimeout())
        seen.append(socket.socket.gettimeout(sock))
        try:
            sock.recv(10)
        except (TimeoutError, BlockingIOError) as error:
            seen.append(type(error))

    client = connect(serve(handle, Timed))
    turn_until(loop, lambda: seen)
    turns(loop)
    clock.advance(3.6)
    turn_until(loop, lambda: len(seen) == 3)
    assert seen == ([0, 0, BlockingIOError] if not timeout_s else [3.5, None, TimeoutError])
    client.close()


def test_a_handler_that_keeps_its_socket_leaves_no_row(loop: Reactor, serve: Any, connect: Any) -> None:
    class Keeps(Server):
        def process_request(self, request: Any, client_address: Any) -> None:
            super().finish_request(request, client_address)

    kept: list[Any] = []
    client = connect(serve(lambda sock: (sock.recv(10), kept.append(sock)), Keeps))
    row = only(loop)
    turns(loop)
    client.sendall(b"x")
    until_gone(loop, row)
    assert (row.phase, row.end) == (Phase.CLOSED, End.FINISHED)
    assert loop.green_rows == {}
    kept[0].sendall(b"still open")
    assert client.recv(100) == b"still open"
    fd = kept[0].fileno()
    other = connect(serve(lambda sock: sock.sendall(sock.recv(10))))
    ask(loop, other, b"x", b"x")
    assert kept[0].fileno() == fd
    kept[0].close()


def test_a_cancelled_handler_keeps_nothing(loop: Reactor, serve: Any, connect: Any) -> None:
    class Keeps(Server):
        def process_request(self, request: Any, client_address: Any) -> None:
            super().finish_request(request, client_address)

        def shutdown_request(self, request: Any) -> None:
            """Forgets to close it."""

    kept: list[Any] = []

    def handle(sock: Any) -> None:
        kept.append(sock)
        sock.recv(10)

    client = connect(serve(handle, Keeps))
    row = only(loop)
    turns(loop)
    row.abort("enough")
    until_gone(loop, row)
    assert kept[0].fileno() == -1
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_duplicate_that_is_kept_is_an_ordinary_socket(loop: Reactor, serve: Any, connect: Any) -> None:
    kept: list[Any] = []
    client = connect(serve(lambda sock: (sock.recv(10), kept.append(sock.dup()))))
    client.sendall(b"x")
    turn_until(loop, lambda: kept and len([row for row in streams(loop) if row.phase is not Phase.LINGERING]) == 0)
    assert type(kept[0]) is socket.socket
    kept[0].close()
    assert receive(loop, client, 1) == b""


class Holder:
    """As much of a server as the contexts need."""

    def __init__(self, **attributes: Any) -> None:
        self.RequestHandlerClass: Any = print
        self.__dict__.update(attributes)


def test_contexts_are_found_wherever_a_server_keeps_them() -> None:
    contexts = [ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(5)]

    class Handler:
        tls = contexts[0]

    class Kind(Holder):
        tls = contexts[1]

    class Listening:
        context = contexts[2]

    server = Kind(RequestHandlerClass=Handler, socket=Listening(), tls=contexts[3], other=contexts[3], number=1)
    found = greened_contexts(server)
    assert {id(context) for context in found} == {id(context) for context in contexts[:4]}
    assert [issubclass(context.sslsocket_class, Green) for context in contexts] == [True] * 4 + [False]
    ungreened_contexts(found)
    assert [context.sslsocket_class for context in contexts] == [ssl.SSLSocket] * 5


def test_a_context_that_two_servers_share_is_given_back_by_the_last() -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    first, second = (greened_contexts(Holder(tls=context)) for _ in range(2))
    ungreened_contexts(first)
    assert issubclass(context.sslsocket_class, Green)
    ungreened_contexts(second)
    assert context.sslsocket_class is ssl.SSLSocket
    third = greened_contexts(Holder(tls=context))
    assert issubclass(context.sslsocket_class, Green)
    ungreened_contexts(third)
    assert context.sslsocket_class is ssl.SSLSocket
    forgotten = weakref.ref(context)
    del context, first, second, third
    gc.collect()
    assert forgotten() is None


def test_ssl_and_greenlets_are_imported_when_they_are_needed() -> None:
    program = """
        import sys
        import socket
        from reactor import Reactor
        from reactor.socketserver import TCPServer, StreamRequestHandler
        assert "greenlet" not in sys.modules and "ssl" not in sys.modules
        class Handler(StreamRequestHandler):
            def handle(self):
                self.wfile.write(self.rfile.readline())
        with Reactor() as loop:
            listener = loop.add(TCPServer(("127.0.0.1", 0), Handler), way="greenlet")
            with socket.create_connection(listener.address) as client:
                client.sendall(b"x\\n")
                while len(loop.table) < 2 or not list(loop.table)[-1].bytes_out:
                    loop.step(0.01)
        assert "greenlet" in sys.modules and "ssl" not in sys.modules
        print("done")
        """
    assert python(program) == "done\n"
