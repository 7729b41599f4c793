"""A thousand stops by handlers of every way, and a thousand of `serve_forever` from everywhere: each prompt, none hangs.

What it is: the other half of the matrix in `test_stopping`, which stops a bare loop. A stop that is lost would hang (the
suite's timeout ends it); a loop that polled would take up to 0.5 s.
"""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, Lines, Reactor, Stream
from reactor import socketserver as ours
from tests.running import PROMPT_S, Waits, wait_for

TIMES = 1000
LOOPBACK = ("127.0.0.1", 0)


def assert_prompt(took: list[float]) -> None:
    """Hold nine of ten to what is promised: a loaded machine has other things to do; a loop that polls is slow in all."""
    assert len(took) == TIMES
    assert sorted(took)[-TIMES // 10] <= PROMPT_S


class Stopped:
    """When the stop was asked for, and how it is."""

    def __init__(self, ask: Callable[[], object] = lambda: None) -> None:
        self.ask, self.at = ask, 0.0

    def __call__(self) -> None:
        self.at = time.monotonic()
        self.ask()

    def timed(self, run: Callable[[], object]) -> float:
        run()
        return time.monotonic() - self.at


class Line(ours.StreamRequestHandler):
    """Answers a line, and has its server stopped."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())
        self.server.stopped()


class AsyncLine(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        self.stream.write(await self.stream.readline())
        self.server.stopped()


class Server(ours.TCPServer):
    allow_reuse_address = True

    def __init__(self, handler: Any, way: Any = None, framing: Any = None) -> None:
        super().__init__(LOOPBACK, handler)
        self.way, self.framing = way, framing
        self.stopped = Stopped(self.shutdown)


WAYS: dict[str, tuple[Any, Any, Any]] = {
    "coroutine": (AsyncLine, None, None), "framed": (Line, None, Lines()), "greenlet": (Line, "greenlet", None),
    "inline": (Line, "inline", None), "thread": (Line, "thread", None),
}  # fmt: skip


def ask(address: Any) -> socket.socket:
    """Connect and send a line; the answer is read when the loop has been left."""
    client = socket.create_connection(address)
    client.sendall(b"line\n")
    return client


def made(way: str) -> Server:
    if way == "greenlet":
        pytest.importorskip("greenlet")
    return Server(*WAYS[way])


@pytest.mark.parametrize("way", WAYS)
def test_stops_of_a_shared_loop_by_handlers(way: str) -> None:
    took = []
    with Reactor() as loop:
        for _ in range(TIMES):
            server = made(way)
            server.stopped.ask = loop.stop
            loop.add(server)
            with ask(server.server_address) as client:
                took.append(server.stopped.timed(lambda: loop.run(handle_signals=False)))
                assert client.recv(10) == b"line\n"
    assert_prompt(took)


def test_stops_by_a_function_of_streams() -> None:
    took = []
    with Reactor() as loop:
        stopped = Stopped(loop.stop)

        async def line(stream: Stream) -> None:
            stream.write(await stream.readline())
            stopped()
            assert await stream.readline() == b""  # the drain ends its input

        for _ in range(TIMES):
            with ask(loop.listen("tcp://127.0.0.1:0", line).address) as client:
                took.append(stopped.timed(lambda: loop.run(handle_signals=False)))
                assert client.recv(10) == b"line\n"
    assert_prompt(took)


@pytest.mark.parametrize("way", WAYS)
def test_shutdowns_by_handlers_of_a_server_alone(way: str) -> None:
    with made(way) as server:
        took = []
        for _ in range(TIMES):
            with ask(server.server_address) as client:
                took.append(server.stopped.timed(server.serve_forever))
                assert client.recv(10) == b"line\n"
    assert_prompt(took)


def by_thread(server: Server, how: Callable[[], object], number: int) -> float:
    """Half of them when the loop waits, the others whenever the thread comes to it."""
    at_rest = threading.Event()
    attach = server._attach

    def attached(loop: Any, *args: Any) -> Any:
        listener = attach(loop, *args)
        Waits(loop).at_rest = at_rest  # the loop is made anew by each serve_forever
        return listener

    server._attach = attached  # type: ignore[method-assign]

    def stopper() -> None:
        if number % 2:
            wait_for(at_rest)
        how()

    thread = threading.Thread(target=stopper)
    thread.start()
    took = server.stopped.timed(server.serve_forever)
    thread.join()
    server._attach = attach  # type: ignore[method-assign]
    return took


def once(how: str, server: Server, number: int) -> float:
    if how == "thread":
        return by_thread(server, server.stopped, number)
    if how == "twice":
        took = by_thread(server, lambda: (server.stopped(), server.shutdown()), number)
        server.shutdown()  # as the second one above, if that came after the end: kept for the next start,
        server.serve_forever()  # which returns at once
        return took
    if how == "signal":  # to the thread that serves, whose shutdown() must not wait for itself
        serving = threading.get_ident()
        return by_thread(server, lambda: signal.pthread_kill(serving, signal.SIGUSR1), number)
    if how == "after close":
        server.server_close()
    server.stopped()  # before the start, which then returns at once
    return time.monotonic() - server.stopped.at if how == "after close" else server.stopped.timed(server.serve_forever)


@pytest.fixture
def server() -> Iterator[Server]:
    """Give a server of which SIGUSR1 is a shutdown."""
    with Server(Line, framing=Lines()) as made:
        old = signal.signal(signal.SIGUSR1, lambda number, frame: made.stopped())
        try:
            yield made
        finally:
            signal.signal(signal.SIGUSR1, old)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
@pytest.mark.parametrize("how", ["thread", "signal", "before the start", "twice", "after close"])
def test_shutdowns_of_a_server_alone(server: Server, how: str) -> None:
    assert_prompt([once(how, server, number) for number in range(TIMES)])
