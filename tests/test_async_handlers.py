"""The socketserver handler as a coroutine: its attributes, its hooks, and what it refuses to be."""

import socket
from collections.abc import Callable
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, Cancelled, End, Phase, Reactor, Stream, sleep
from reactor import socketserver as ours
from tests.driving import ask, only, receive_all, streams, turn_until, turns

LOOPBACK = ("127.0.0.1", 0)


@pytest.fixture
def serve(loop: Reactor) -> Callable[..., Any]:
    """Give a function that hosts a handler class on a plain TCPServer."""

    def add(handler: Any, **attributes: Any) -> Any:
        server_class = type("Server", (ours.TCPServer,), attributes)
        return loop.add(server_class(LOOPBACK, handler))

    return add


class Notes(AsyncStreamRequestHandler):
    """Notes which of its methods run; some of them fail."""

    notes: list[str]
    failing: dict[str, BaseException] = {}

    async def note(self, name: str) -> None:
        self.notes.append(name)
        await sleep(0)
        if name in self.failing:
            raise self.failing[name]

    async def setup(self) -> None:
        await self.note("setup")

    async def handle(self) -> None:
        await self.note("handle")
        while line := await self.rfile.readline():
            self.wfile.write(line)

    async def finish(self) -> None:
        await self.note("finish")


def noting(**failing: BaseException) -> Any:
    """Return such a class with notes of its own."""
    return type("Noting", (Notes,), {"notes": [], "failing": failing})


def test_what_a_handler_finds(loop: Reactor, serve: Any, connect: Any) -> None:
    seen: list[Any] = []

    class Looks(AsyncStreamRequestHandler):
        async def handle(self) -> None:
            seen.append(self)

    listener = serve(Looks)
    client = connect(listener)
    turn_until(loop, lambda: seen)
    (handler,) = seen
    assert isinstance(handler.stream, Stream)
    assert handler.request is handler.rfile is handler.wfile is handler.stream
    assert handler.client_address == client.getsockname()
    assert handler.server is listener.server


def test_setup_handle_finish_come_in_their_order(loop: Reactor, serve: Any, connect: Any) -> None:
    handler = noting()
    client = connect(serve(handler))
    ask(loop, client, b"hello\n", b"hello\n")
    assert handler.notes == ["setup", "handle"]
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert handler.notes == ["setup", "handle", "finish"]


@pytest.mark.parametrize(
    ("failing", "notes"),
    [("setup", ["setup"]), ("handle", ["setup", "handle", "finish"]), ("finish", ["setup", "handle", "finish"])],
)
def test_finish_runs_unless_setup_has_failed(
    loop: Reactor, serve: Any, connect: Any, failing: str, notes: list[str]
) -> None:
    errors: list[Any] = []
    handler = noting(**{failing: ValueError(failing)})
    client = connect(serve(handler, handle_error=lambda self, request, address: errors.append((request, address))))
    client.shutdown(socket.SHUT_WR)
    row = only(loop)
    assert receive_all(loop, client) == b""
    turn_until(loop, lambda: not streams(loop))
    assert handler.notes == notes
    assert row.end is End.HANDLER_FAILED
    assert errors == [(row, client.getsockname())]


def test_handle_error_sees_the_exception_and_its_traceback(
    loop: Reactor, serve: Any, connect: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    client = connect(serve(noting(handle=ValueError("seen in the trace"))))
    client.close()
    turn_until(loop, lambda: "ValueError" in capsys.readouterr().err)


def test_a_handler_without_a_handle_just_ends(loop: Reactor, serve: Any, connect: Any) -> None:
    class Empty(AsyncStreamRequestHandler):
        pass

    assert receive_all(loop, connect(serve(Empty))) == b""


def test_locals_and_attributes_live_as_long_as_the_connection(loop: Reactor, serve: Any, connect: Any) -> None:
    class Counts(AsyncStreamRequestHandler):
        count = 0

        async def handle(self) -> None:
            while await self.rfile.readline():
                self.count += 1
                self.wfile.write(b"%d\n" % self.count)

    listener = serve(Counts)
    first, second = connect(listener), connect(listener)
    for expected in (b"1\n", b"2\n"):
        ask(loop, first, b"x\n", expected)
    ask(loop, second, b"x\n", b"1\n")


def test_a_closing_reactor_reaches_finish(loop: Reactor, serve: Any, connect: Any) -> None:
    handler = noting()
    client = connect(serve(handler))
    ask(loop, client, b"hello\n", b"hello\n")
    loop.close()
    assert handler.notes == ["setup", "handle", "finish"]


def test_a_cancelled_handler_may_clean_up(loop: Reactor, serve: Any, connect: Any) -> None:
    class Waits(AsyncStreamRequestHandler):
        ends: list[BaseException] = []

        async def handle(self) -> None:
            try:
                await sleep(1000)
            except BaseException as error:
                self.ends.append(error)
                raise

    connect(serve(Waits))
    only(loop).throw(Cancelled("by the test"))
    turns(loop)
    assert [type(error) for error in Waits.ends] == [Cancelled]


def test_a_subclass_may_take_more_arguments(loop: Reactor, connect: Any) -> None:
    class Greets(AsyncStreamRequestHandler):
        def __init__(self, *args: Any, greeting: bytes) -> None:
            self.greeting = greeting
            super().__init__(*args)

        async def handle(self) -> None:
            self.wfile.write(self.greeting)

    class Server(ours.TCPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            Greets(request, client_address, self, greeting=b"good evening\n")

    assert receive_all(loop, connect(loop.add(Server(LOOPBACK, Greets)))) == b"good evening\n"


def test_it_can_be_listened_with(loop: Reactor, connect: Any) -> None:
    handler = noting()
    client = connect(loop.listen("tcp://127.0.0.1:0", handler))
    ask(loop, client, b"hello\n", b"hello\n")
    assert only(loop).way == "coroutine"


# -- what it refuses ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["setup", "handle", "finish"])
def test_a_method_that_is_no_coroutine_is_an_error_when_the_class_is_made(name: str) -> None:
    with pytest.raises(TypeError, match=rf"Blocking\.{name} must be `async def`"):
        type("Blocking", (AsyncStreamRequestHandler,), {name: lambda self: None})


def test_a_socket_is_no_stream() -> None:
    class Handler(AsyncStreamRequestHandler):
        pass

    near, far = socket.socketpair()
    with near, far, pytest.raises(TypeError, match="needs a Stream, not <socket.socket"):
        Handler(near, None, None)


@pytest.mark.parametrize("base", [ours.BaseRequestHandler, ours.StreamRequestHandler, ours.DatagramRequestHandler])
def test_async_handle_on_a_blocking_handler_is_an_error_when_the_server_is_made(base: Any) -> None:
    class Handler(base):  # type: ignore[misc]
        async def handle(self) -> None:
            pass

    with pytest.raises(TypeError, match="AsyncStreamRequestHandler"):
        ours.TCPServer(LOOPBACK, Handler)


def test_a_coroutine_function_where_a_handler_is_expected_is_an_error_when_the_server_is_made() -> None:
    async def handler(stream: Stream) -> None:
        """Is for loop.listen."""

    with pytest.raises(TypeError, match="loop.listen"):
        ours.TCPServer(LOOPBACK, handler)


def test_a_coroutine_handler_that_is_called_twice_is_refused(loop: Reactor, serve: Any, connect: Any) -> None:
    class Doubles(ours.TCPServer):
        def finish_request(self, request: Any, client_address: Any) -> None:
            super().finish_request(request, client_address)
            with pytest.raises(RuntimeError, match="has a handler already"):
                super().finish_request(request, client_address)

    handler = noting()
    client = connect(loop.add(Doubles(LOOPBACK, handler)))
    ask(loop, client, b"hello\n", b"hello\n")
    assert handler.notes == ["setup", "handle"]
    assert only(loop).phase is Phase.IDLE
