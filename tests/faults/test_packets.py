"""Datagram sockets as Windows has them: errors of earlier answers come out of the next receive."""

import socket
from typing import Any

import pytest

from reactor import Datagram, Phase, Reactor, datagrams
from tests.driving import listen, turn_until

# WSAENETRESET, WSAECONNRESET (winsock2.h); given as numbers, for other systems have no names for them.
WINDOWS_ERRORS = [10052, 10054]


class Failing(socket.socket):
    """A datagram socket whose first receives fail."""

    errors: list[int]

    def recvmsg(self, *args: Any) -> Any:
        if self.errors:
            raise OSError(self.errors.pop(0), "an answer could not be delivered")
        return super().recvmsg(*args)


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
    """A datagram socket without recvmsg(); a packet that does not fit is an error, and lost."""

    recvmsg = None  # type: ignore[assignment]

    def recvfrom(self, size: int, flags: int = 0) -> Any:
        data, _, cut, sockaddr = super().recvmsg(size)
        if cut & socket.MSG_TRUNC:
            raise OSError(10040, "a message was larger than the buffer")  # WSAEMSGSIZE
        return data, sockaddr


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no packet of UDP is longer than the buffer")
def test_where_there_is_no_recvmsg_packets_arrive_and_what_does_not_fit_is_counted(
    loop: Reactor, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(datagrams, "HAS_RECVMSG", False)
    sock = Winsock(socket.AF_UNIX, socket.SOCK_DGRAM)
    sock.bind(f"{tmp_path}/s")
    got: list[tuple[bytes, bool, str]] = []
    listener = listen(loop, lambda packet: got.append((packet.data, packet.truncated, packet.peer.sockaddr)), sock)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
        client.bind(f"{tmp_path}/c")
        for data in (b"first", b"x" * (datagrams.PACKET_BYTES + 1), b"", b"last"):
            client.sendto(data, f"{tmp_path}/s")
        turn_until(loop, lambda: len(got) == 3)
    assert got == [(data, False, f"{tmp_path}/c") for data in (b"first", b"", b"last")]
    assert (listener.row.dropped, listener.row.phase) == (1, Phase.LISTENING)
