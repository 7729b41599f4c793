"""What a reset would destroy: the kernel is asked, and who cannot ask is on the safe side."""

import socket
import sys
from typing import Any

import pytest

from reactor import unsent
from reactor.unsent import unsent_bytes

needs_ioctl = pytest.mark.skipif(unsent._ask is None, reason="nobody can say here")


@pytest.fixture
def tcp() -> Any:
    """Give two ends of a connection whose buffers are small."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        with socket.create_connection(listener.getsockname()) as first:
            second, _ = listener.accept()
            with second:
                yield first, second


@needs_ioctl
def test_what_a_peer_does_not_take_is_unsent(tcp: Any) -> None:
    sender, _ = tcp
    sender.setblocking(False)
    assert unsent_bytes(sender) == 0
    sent = sender.send(bytes(1 << 20))
    left = unsent_bytes(sender)
    assert left is not None
    assert 0 < left < sent


@needs_ioctl
def test_what_was_sent_counts_no_more_though_its_acknowledgement_is_held_back(tcp: Any) -> None:
    sender, receiver = tcp
    for _ in range(3):
        sender.sendall(b"hello")
        assert receiver.recv(5) == b"hello"
        assert unsent_bytes(sender) == 0


def test_a_unix_peer_can_read_what_is_there() -> None:
    first, second = socket.socketpair()
    with first, second:
        first.send(b"x" * 1000)
        assert unsent_bytes(first) == 0


@needs_ioctl
def test_of_a_closed_socket_nobody_can_say(tcp: Any) -> None:
    sender, _ = tcp
    sender.close()
    assert unsent_bytes(sender) is None


@pytest.mark.parametrize("platform", ["darwin", "win32", "emscripten"])
def test_nor_where_there_is_no_such_question(monkeypatch: pytest.MonkeyPatch, tcp: Any, platform: str) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert unsent._asker() is None
    monkeypatch.setattr(unsent, "_ask", None)
    assert unsent_bytes(tcp[0]) is None
