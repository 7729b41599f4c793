"""How the handlers are served here: a reactor in a thread, and clients on every kind of socket that applies."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reactor import Listener, Reactor

PATIENCE_S = 10  # far more than any step here takes: it only turns a hang into a failure

Listen = Callable[..., Listener]
Client = Callable[[Listener], socket.socket]


class Serving:
    """A strict reactor that runs in a thread of its own: what a handler raises fails the test."""

    def __init__(self, loop: Reactor, tmp_path: Path) -> None:
        self.loop, self._tmp_path, self._paths = loop, tmp_path, 0
        self._thread = threading.Thread(target=loop.run, kwargs={"handle_signals": False}, daemon=True)

    def path(self) -> str:
        """Return a path for one more Unix socket."""
        self._paths += 1
        return str(self._tmp_path / f"{self._paths}.sock")

    def listen(self, scheme: str, handler: Any, **options: Any) -> Listener:
        """Listen at a free place; only before `start`."""
        place = self.path() if scheme.startswith("unix") else "127.0.0.1:0"
        return self.loop.listen(f"{scheme}://{place}", handler, **options)

    def start(self) -> None:
        """Run."""
        self._thread.start()

    def stop(self) -> None:
        """Drain and wait for the end."""
        if self._thread.ident is not None:
            self.loop.stop()
            self._thread.join(PATIENCE_S)
            assert not self._thread.is_alive(), "the loop has not ended"


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Give a reactor that the test fills and starts."""
    with Reactor(strict=True) as loop:
        serving = Serving(loop, tmp_path)
        yield serving
        serving.stop()


@pytest.fixture
def connect(serving: Serving) -> Iterator[Client]:
    """Give a function that returns a socket connected to a listener; for datagrams, one that can be answered."""
    with ExitStack() as stack:

        def connected(listener: Listener) -> socket.socket:
            ours = listener.row.sock
            client = stack.enter_context(socket.socket(ours.family, ours.type))
            client.settimeout(PATIENCE_S)
            if ours.type == socket.SOCK_DGRAM:
                client.bind(serving.path() if ours.family == socket.AF_UNIX else ("127.0.0.1", 0))
            client.connect(listener.address)
            return client

        yield connected


def read_all(client: socket.socket) -> bytes:
    """Read to the end of the stream."""
    with client.makefile("rb") as reader:
        return reader.read()


def read_exactly(client: socket.socket, n: int) -> bytes:
    """Read `n` bytes."""
    with client.makefile("rb", 0) as reader:
        data = b""
        while len(data) < n:
            piece = reader.read(n - len(data))
            assert piece, f"the stream ended after {len(data)} of {n} bytes"
            data += piece
        return data
