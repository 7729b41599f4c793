"""Fixtures for the tests of the socketserver façade; see harness.py for how to serve."""

import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from tests.socketserver.harness import LOOPBACK, Serving, socketserver

HERE = Path(__file__).parent

# A plain server whose handler blocks is what most of these tests are about; ours says once that it holds the loop.
BLOCKING_HANDLER = pytest.mark.filterwarnings("ignore:serve_forever:RuntimeWarning")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let the tests of this folder serve blocking handlers without a warning."""
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(BLOCKING_HANDLER)


@pytest.fixture
def serve() -> Iterator[Callable[..., Serving]]:
    """Give a function that serves a server in a thread of its own; at the end: shutdown, join, close."""
    with ExitStack() as stack:

        def start(server: Any, function: Callable[[], object] | None = None) -> Serving:
            serving = Serving(server, function)
            stack.callback(serving.stop)
            return serving

        yield start


@pytest.fixture
def new_address(tmp_path: Path) -> Callable[[Any], Any]:
    """Give a function that returns an address to bind a server of this class (or a client of this family) to."""
    count = 0

    def address_for(server_class_or_family: Any) -> Any:
        nonlocal count
        family = getattr(server_class_or_family, "address_family", server_class_or_family)
        if family == socket.AF_INET:
            return LOOPBACK
        if family == socket.AF_INET6:
            return ("::1", 0)
        count += 1
        return str(tmp_path / f"{count}.sock")

    return address_for


@pytest.fixture(params=["inline", "thread", pytest.param("fork", marks=pytest.mark.skipif(
    not hasattr(socketserver, "ForkingTCPServer"), reason="needs fork"))])
def way(request: pytest.FixtureRequest) -> Any:
    """Give the TCP server class of each way to run a handler: in the loop, in a thread, in a child."""
    return {
        "inline": socketserver.TCPServer,
        "thread": socketserver.ThreadingTCPServer,
        "fork": getattr(socketserver, "ForkingTCPServer", None),
    }[request.param]
