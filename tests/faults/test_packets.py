"""Datagram sockets as Windows has them: errors of earlier answers come out of the next receive."""

import socket
from typing import Any

import pytest

from reactor import Datagram, Phase, Reactor
from tests.driving import listen, turn_until

# WSAENETRESET, WSAECONNRESET (winsock2.h); given as numbers, for other systems have no names for them.
WINDOWS_ERRORS = [10052, 10054]


class Failing(socket.socket):
    """A datagram socket whose first receives fail."""

    errors: list[int]

    def recvfrom(self, *args: Any) -> Any:
        if self.errors:
            raise OSError(self.errors.pop(0), "an answer could not be delivered")
        return super().recvfrom(*args)


@pytest.mark.parametrize("number", WINDOWS_ERRORS)
def test_an_error_of_winsock_does_not_end_the_reading(loop: Reactor, number: int) -> None:
    sock = Failing(socket.AF_INET, socket.SOCK_DGRAM)
    sock.errors = [number] * 3
    sock.bind(("127.0.0.1", 0))

    def echo(packet: Datagram) -> None:
        packet.reply(packet.data)

    listener = listen(loop, echo, sock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"hello", listener.address)
        turn_until(loop, lambda: listener.row.requests)
        assert client.recv(10) == b"hello"
    assert listener.row.dropped == 3
    assert listener.row.phase is Phase.LISTENING


class Winsock(socket.socket):
    """A datagram socket without recvmsg()."""

    recvmsg = None  # type: ignore[assignment]


def test_where_there_is_no_recvmsg_packets_arrive(loop: Reactor) -> None:
    sock = Winsock(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    got: list[tuple[bytes, bool]] = []
    listener = listen(loop, lambda packet: got.append((packet.data, packet.truncated)), sock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        for data in (b"first", b"x" * 65507, b"", b"last"):
            client.sendto(data, listener.address)
        turn_until(loop, lambda: len(got) == 4)
    assert got == [(data, False) for data in (b"first", b"x" * 65507, b"", b"last")]
    assert (listener.row.dropped, listener.row.phase) == (0, Phase.LISTENING)
