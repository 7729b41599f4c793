"""Accepting quickly: what comes of it is what `socket.accept` returns, and nothing leaks on the way."""

import socket
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Reactor, Stream
from reactor.accepted import inherits_no_delay, no_delay, quick_accept
from tests.driving import ask, listen, streams
from tests.running import descriptors


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


@pytest.fixture(params=["127.0.0.1", "::1", "unix"])
def listening(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[socket.socket]:
    """Give a listening socket of each family."""
    if request.param == "unix":
        sock = socket.socket(getattr(socket, "AF_UNIX", -1), socket.SOCK_STREAM)
        sock.bind(f"{tmp_path}/s")
        sock.listen()
    else:
        family = socket.AF_INET6 if ":" in request.param else socket.AF_INET
        sock = socket.create_server((request.param, 0), family=family)
    with sock:
        yield sock


def connected(listening: socket.socket) -> socket.socket:
    client = socket.socket(listening.family, listening.type)
    client.connect(listening.getsockname())
    return client


def facts(sock: socket.socket) -> tuple[Any, ...]:
    return sock.family, sock.type, sock.proto, sock.gettimeout(), sock.get_inheritable(), sock.getsockname()


def test_it_is_the_socket_that_accept_returns(listening: socket.socket) -> None:
    with connected(listening) as one, connected(listening) as two:
        quick, address = quick_accept(listening)()
        usual, usual_address = listening.accept()
        with quick, usual:
            assert (type(quick), facts(quick)) == (type(usual), facts(usual))
            assert (address, usual_address) == (one.getsockname(), two.getsockname())


class Own(socket.socket):
    def accept(self) -> Any:
        return "accepted", "by its own"


def test_a_socket_of_another_kind_accepts_as_it_likes() -> None:
    with Own() as own:
        assert quick_accept(own)() == ("accepted", "by its own")
    with socket.socket() as plain:
        socket.setdefaulttimeout(7)
        try:
            assert quick_accept(plain) == plain.accept, "it would give connections that timeout"
        finally:
            socket.setdefaulttimeout(None)


def test_nothing_stays_open_if_no_socket_can_be_made(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening, connected(listening):
        accept = quick_accept(listening)
        before = descriptors()

        def fail(*args: Any, **keywords: Any) -> None:
            raise MemoryError

        with monkeypatch.context() as patch:
            patch.setattr(socket.socket, "__init__", fail)
            patch.setattr(socket.socket, "__del__", lambda self: None, raising=False)
            with pytest.raises(MemoryError):
                accept()
        assert descriptors() == before


def test_small_replies_are_sent_at_once_whether_it_is_inherited_or_not(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for inherited in (True, False):
        if not inherited:
            monkeypatch.setattr("reactor.reactor.inherits_no_delay", lambda sock: False)
        listener = listen(loop, echo)
        for _ in range(2):
            ask(loop, connect(listener), b"x", b"x")
    assert [row.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0 for row in streams(loop)] == [True] * 4


def test_what_is_inherited_is_asked_once_a_listener(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def inherits(sock: Any) -> bool:
        asked.append(sock)
        return inherits_no_delay(sock)

    monkeypatch.setattr("reactor.reactor.inherits_no_delay", inherits)
    listener = listen(loop, echo)
    for _ in range(3):
        ask(loop, connect(listener), b"x", b"x")
    assert len(asked) == 1


def test_a_peer_that_is_gone_already_is_no_error() -> None:
    sock = socket.socket()
    sock.close()
    assert not inherits_no_delay(sock)
    no_delay(sock)
