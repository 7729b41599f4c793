"""Handshakes that are put off: what a request does until somebody asks. With a server: tests/test_hosting.py."""

import socket
import ssl
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import trustme

from reactor.handshakes import postpone, shake_hands
from tests.running import PATIENCE_S, Running

Pair = tuple[ssl.SSLSocket, Callable[[], ssl.SSLSocket]]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Give a certificate authority."""
    return trustme.CA()


@pytest.fixture
def pair(authority: trustme.CA) -> Iterator[Pair]:
    """Give a socket that was accepted and has not shaken hands, and what its client does to shake them."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    ours, theirs = socket.socketpair()
    theirs.settimeout(PATIENCE_S)
    client = trusting.wrap_socket(theirs, server_hostname="localhost", do_handshake_on_connect=False)
    request = context.wrap_socket(ours, server_side=True, do_handshake_on_connect=False)

    def shake() -> ssl.SSLSocket:
        client.do_handshake()
        return client

    yield request, shake
    request.close()
    client.close()


def never() -> None:
    raise AssertionError("there is somebody to talk to")


@pytest.mark.parametrize(
    "ask",
    [
        lambda request: request.getpeercert(True), lambda request: request.version(), lambda request: request.cipher(),
        lambda request: request.session_reused, lambda request: request.session, shake_hands,
    ],
    ids=["getpeercert", "version", "cipher", "session_reused", "session", "shake_hands"],
)  # fmt: skip
def test_it_shakes_hands_when_it_is_asked_and_once(pair: Pair, ask: Callable[[Any], object]) -> None:
    request, shake = pair
    request.settimeout(3.0)
    postpone(request, PATIENCE_S, never)
    assert isinstance(request, ssl.SSLSocket)
    assert request.gettimeout() == 3.0
    assert request.fileno() >= 0  # this asks nothing of the peer
    client = Running(shake)
    ask(request)
    ask(request)
    assert type(request) is ssl.SSLSocket
    assert request.gettimeout() == 3.0
    assert request.version() == client.join().version()


def test_who_is_not_there_for_it_is_told_of(pair: Pair) -> None:
    request, _ = pair
    failed: list[bool] = []
    postpone(request, 0.01, lambda: failed.append(True))
    with pytest.raises(TimeoutError):
        request.version()
    assert failed == [True]
    assert type(request) is ssl.SSLSocket


def test_a_session_can_be_put_as_before(pair: Pair) -> None:
    request, _ = pair
    postpone(request, 0.01, never)
    with pytest.raises((TypeError, ValueError)):  # as every SSLSocket of a server does
        request.session = None


def test_a_socket_without_tls_has_nothing_to_put_off() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        postpone(ours, 1, never)
        shake_hands(ours)
        assert type(ours) is socket.socket
