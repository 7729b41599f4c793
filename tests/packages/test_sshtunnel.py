"""sshtunnel's forwarding servers, with a channel that is a socket in the place of paramiko's.

Its handler waits in a select of its own for the client and the channel. Limits: in a greenlet, as inline, that select holds
the loop · framed: what it forwards has no frames.
"""

import contextlib
import logging
import socket
from typing import Any

import pytest

from tests.packages import served

sshtunnel: Any = pytest.importorskip("sshtunnel", reason=served.NEEDED)

pytestmark = pytest.mark.timeout(60)


class Channel:
    """As much of paramiko's channel as the handler uses."""

    active = True

    def __init__(self, sock: socket.socket) -> None:
        self.recv, self.sendall, self.close, self.fileno = sock.recv, sock.sendall, sock.close, sock.fileno

    def recv_ready(self) -> bool:
        return True


class Transport:
    """Opens channels that lead to one listening socket: the far side."""

    def __init__(self, far_side: Any) -> None:
        self.address = far_side.getsockname()

    def open_channel(self, kind: str, dest_addr: Any, src_addr: Any, timeout: float) -> Channel:
        assert (kind, dest_addr) == ("direct-tcpip", ("far", 1))
        return Channel(socket.create_connection(self.address, served.PATIENCE_S))


@pytest.fixture
def far_side() -> Any:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(served.PATIENCE_S)
        yield listening


def make(kind: Any, far_side: Any) -> Any:
    names = {"remote_address": ("far", 1), "ssh_transport": Transport(far_side), "logger": logging.getLogger("tunnel")}
    handler = type("Handler", (sshtunnel._ForwardHandler,), names)
    return kind(("127.0.0.1", 0), handler, logger=logging.getLogger("tunnel"))


def check(client: socket.socket, far: socket.socket) -> None:
    """Bytes go there and back."""
    client.sendall(b"there" * 10_000)
    assert far.makefile("rb").read(50_000) == b"there" * 10_000
    far.sendall(b"back" * 10_000)
    assert client.makefile("rb").read(40_000) == b"back" * 10_000


@pytest.mark.parametrize(
    ("name", "way"), [("_ThreadingForwardServer", None), ("_ForwardServer", "thread"), ("_ThreadingForwardServer", "thread")]
)
def test_hosted(name: str, way: Any, far_side: Any) -> None:
    with (
        served.hosted(make(getattr(sshtunnel, name), far_side), way=way) as listener,
        served.silent_clients(listener.address, 2) as clients,
        contextlib.ExitStack() as stack,
    ):
        far_sides = [stack.enter_context(far_side.accept()[0]) for _ in clients]
        for number, client in enumerate(clients):
            client.sendall(bytes([number]))
        assert {far.recv(1) for far in far_sides} == {b"\0", b"\1"}  # in no order: each has a thread
        with socket.create_connection(listener.address, served.PATIENCE_S) as client, far_side.accept()[0] as far:
            check(client, far)


def test_in_a_greenlet_its_select_holds_the_loop(far_side: Any) -> None:
    with (
        served.hosted(make(sshtunnel._ForwardServer, far_side), way="greenlet") as listener,
        socket.create_connection(listener.address, served.PATIENCE_S) as first, far_side.accept()[0] as far,
    ):
        check(first, far)
        with socket.create_connection(listener.address, served.PATIENCE_S) as second:
            far_side.settimeout(served.FROZEN_S)
            with pytest.raises(TimeoutError):
                far_side.accept()
            far_side.settimeout(served.PATIENCE_S)
            first.close()  # now it goes on
            with far_side.accept()[0] as far_from_second:
                check(second, far_from_second)
