"""What the tests of the socketserver façade share: the module under test, ways to serve, and clients.

Every test here runs on the module that the environment variable SOCKETSERVER_UNDER_TEST names, ours unless it
says otherwise. Run on the standard `socketserver`, the same tests show that they demand nothing it does not do:

    SOCKETSERVER_UNDER_TEST=socketserver python -m pytest tests/socketserver

Where ours is better on purpose, the test is marked `ours_only`.

How to serve, without a sleep anywhere:
  - `serve_one(server)`: `handle_request` in this thread; the client has connected and sent before, and reads after.
  - `serve_here(server)`: `serve_forever` in this thread, for a class made with `leaving(...)`, which leaves the loop
    once it has taken as many requests as the test sent. Forking servers are served this way (a fork in a process
    with threads is a DeprecationWarning from Python 3.12 on).
  - the fixture `serve`: `serve_forever` in a thread of its own, with a clean end.
"""

import importlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

MODULE_NAME = os.environ.get("SOCKETSERVER_UNDER_TEST", "reactor.socketserver")
socketserver: Any = importlib.import_module(MODULE_NAME)

# Far more than any step here takes: it only turns a hang into a failure. (tests.mutants causes many, and waits less.)
PATIENCE_S = float(os.environ.get("SOCKETSERVER_PATIENCE_S", 10))
LOOPBACK = ("127.0.0.1", 0)

ours_only = pytest.mark.skipif(
    not MODULE_NAME.startswith("reactor"), reason="the standard library hangs or fails here; ours does not"
)
needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


class Leave(SystemExit):
    """Raised by `service_actions` of a `leaving` server to end its loop."""


class _Leaving:
    requests_wanted = 1
    requests_taken = 0

    def get_request(self) -> Any:
        request = super().get_request()  # type: ignore[misc]
        self.requests_taken += 1
        return request

    def service_actions(self) -> None:
        super().service_actions()  # type: ignore[misc]
        if self.requests_taken >= self.requests_wanted:
            raise Leave


class _Contained:
    """A child must end inside `process_request`; should the server be broken, it must not run the tests on."""

    def process_request(self, request: Any, client_address: Any) -> None:
        parent = os.getpid()
        try:
            super().process_request(request, client_address)  # type: ignore[misc]
        finally:
            if os.getpid() != parent:
                os._exit(99)


def contained(base: Any) -> Any:
    """Return a subclass whose children cannot escape into the test run; non-forking classes as they are."""
    forking = getattr(socketserver, "ForkingMixIn", None)
    if forking is None or not issubclass(base, forking):
        return base
    return type(base.__name__, (_Contained, base), {})


def leaving(base: Any, requests: int = 1) -> Any:
    """Return a subclass whose `serve_forever` raises Leave after that many requests."""
    return type(base.__name__, (_Leaving, contained(base)), {"requests_wanted": requests})


def serve_one(server: Any) -> None:
    """Serve one request that has already arrived."""
    server.handle_request()


def serve_here(server: Any) -> None:
    """Serve in this thread until the `leaving` server has seen enough."""
    with pytest.raises(Leave):
        server.serve_forever(poll_interval=0.01)


class Serving:
    """One server, served by one thread of its own.

    Attributes:
        error: what `serve_forever` raised, if it did.
    """

    def __init__(self, server: Any, serve: Callable[[], object] | None = None) -> None:
        self.server = server
        self.error: BaseException | None = None
        self._serve = serve or (lambda: server.serve_forever(poll_interval=0.01))
        self.thread = threading.Thread(target=self._run, name="serving", daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self._serve()
        except BaseException as error:
            self.error = error

    def join(self) -> None:
        """Wait for the loop to be left."""
        join(self.thread)

    def stop(self) -> None:
        """End the loop, then close the server."""
        if self.thread.is_alive():
            self.server.shutdown()
        self.join()
        self.server.server_close()


def join(thread: threading.Thread) -> None:
    """Join a thread, or fail."""
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), f"{thread.name} has not ended"


def wait_for(event: threading.Event) -> None:
    """Wait for an event, or fail."""
    assert event.wait(PATIENCE_S), "what was waited for did not happen"


def in_thread(function: Callable[..., object], *args: object) -> threading.Thread:
    """Run a function in a thread of its own, to be joined by the caller."""
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def is_still_waiting(thread: threading.Thread) -> bool:
    """Say whether a thread that should block is blocked (it had time enough to go on, if it could)."""
    thread.join(0.05)
    return thread.is_alive()


def family_of(address: Any) -> socket.AddressFamily:
    """Tell the address family from an address."""
    if isinstance(address, tuple):
        return socket.AF_INET if len(address) == 2 else socket.AF_INET6
    return socket.AF_UNIX


def connect(address: Any) -> socket.socket:
    """Connect to a stream server; the caller closes."""
    client = socket.socket(family_of(address), socket.SOCK_STREAM)
    client.settimeout(PATIENCE_S)
    try:
        client.connect(address)
    except BaseException:
        client.close()
        raise
    return client


def ask(address: Any, data: bytes = b"") -> socket.socket:
    """Connect, send the data and say that there is no more; the caller reads the reply and closes."""
    client = connect(address)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return client


def read_all(client: socket.socket) -> bytes:
    """Read to the end of the stream, then close the client."""
    with client, client.makefile("rb") as reader:
        return reader.read()


def exchange(address: Any, data: bytes = b"") -> bytes:
    """Send one request on a connection of its own and return the whole reply."""
    return read_all(ask(address, data))


@contextmanager
def datagram_client(address: Any, path: str | None = None) -> Iterator[socket.socket]:
    """Give a datagram socket that is connected to the server (and bound to a path of its own, for Unix)."""
    with socket.socket(family_of(address), socket.SOCK_DGRAM) as client:
        client.settimeout(PATIENCE_S)
        if path is not None:
            client.bind(path)
        client.connect(address)
        yield client


@contextmanager
def stream_pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give both ends of a TCP connection on loopback, the server's end first."""
    with socket.create_server(LOOPBACK) as listener, connect(listener.getsockname()) as client:
        request, _ = listener.accept()
        with request:
            yield request, client


class EchoLine(socketserver.StreamRequestHandler):  # type: ignore[misc]
    """Answers one line with the same line."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


class EchoPacket(socketserver.DatagramRequestHandler):  # type: ignore[misc]
    """Answers a packet with the same packet."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.read())
