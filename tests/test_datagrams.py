"""Datagram sockets: what arrives, what is answered, and errors that cost no more than themselves."""

import errno
import logging
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import pairwise
from typing import Any

import pytest

from reactor import Datagram, End, Observer, Phase, Reactor, Row, sleep
from reactor.datagrams import PACKET_BYTES, PACKETS_PER_TURN
from tests.driving import listen, turn_until, turns

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
LOCAL = "udp://127.0.0.1:0"


@pytest.fixture
def client_of() -> Iterator[Callable[..., socket.socket]]:
    """Give a function that makes a datagram client of a listener; for Unix, bound to a path of its own."""
    with ExitStack() as stack:

        def make(listener: Any, path: str | None = None) -> socket.socket:
            family = socket.AF_INET if isinstance(listener.address, tuple) else socket.AF_UNIX
            if ":" in listener.address[0]:
                family = socket.AF_INET6
            client = stack.enter_context(socket.socket(family, socket.SOCK_DGRAM))
            client.settimeout(5)
            if path is not None:
                client.bind(path)
            client.connect(listener.address)
            return client

        yield make


@pytest.fixture
def got() -> list[Datagram]:
    """Give the list that `notes` fills."""
    return []


@pytest.fixture
def notes(got: list[Datagram]) -> Callable[[Datagram], None]:
    """Give a handler that keeps its packets."""
    return lambda packet: got.append(packet)


def echo(packet: Datagram) -> None:
    packet.reply(packet.data)


def errors_of(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    return [record for record in caplog.records if record.levelno >= logging.WARNING]


# -- packets ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("endpoint", [LOCAL, "udp://[::1]:0", "unix+dgram://"])
@pytest.mark.parametrize("data", [b"hello", b"", bytes(range(256)) * 200], ids=["small", "empty", "50 KiB"])
def test_a_packet_is_answered(
    loop: Reactor, client_of: Any, tmp_path: Any, endpoint: str, data: bytes
) -> None:
    if endpoint.startswith("unix"):
        if not hasattr(socket, "AF_UNIX"):
            pytest.skip("needs Unix sockets")
        endpoint += str(tmp_path / "s")
    try:
        listener = listen(loop, echo, endpoint)
    except OSError:
        pytest.skip("no IPv6 here")
    client = client_of(listener, str(tmp_path / "c") if endpoint.startswith("unix") else None)
    client.send(data)
    turn_until(loop, lambda: listener.row.requests)
    assert client.recv(65536) == data
    row = listener.row
    assert (row.requests, row.bytes_in, row.bytes_out, row.dropped) == (1, len(data), len(data), 0)
    assert row.phase is Phase.LISTENING


def test_an_empty_packet_is_not_the_end(loop: Reactor, client_of: Any, notes: Any, got: list[Datagram]) -> None:
    client = client_of(listen(loop, notes, LOCAL))
    for data in (b"", b"after", b""):
        client.send(data)
    turn_until(loop, lambda: len(got) == 3)
    assert [packet.data for packet in got] == [b"", b"after", b""]


def test_what_a_packet_says_of_itself(loop: Reactor, client_of: Any, notes: Any, got: list[Datagram]) -> None:
    listener = listen(loop, notes, LOCAL)
    client = client_of(listener)
    client.send(b"x")
    turn_until(loop, lambda: got)
    (packet,) = got
    assert (packet.peer.host, packet.peer.port) == client.getsockname()
    assert packet.local is not None
    assert packet.local.sockaddr == listener.address
    assert packet.row is listener.row
    assert not packet.truncated
    listener.close()
    loop.step()
    assert packet.local is None


def test_several_answers_and_other_kinds_of_bytes(loop: Reactor, client_of: Any) -> None:
    def thrice(packet: Datagram) -> None:
        for data in (b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")):
            packet.reply(data)  # type: ignore[arg-type]

    listener = listen(loop, thrice, LOCAL)
    client = client_of(listener)
    client.send(b"x")
    turn_until(loop, lambda: listener.row.requests)
    assert [client.recv(100) for _ in range(3)] == [b"bytes", b"bytearray", b"memoryview"]


def test_packets_a_turn_are_bounded_and_others_get_their_turn(
    loop: Reactor, client_of: Any, connect: Any, notes: Any, got: list[Datagram]
) -> None:
    client = client_of(listen(loop, notes, LOCAL))
    for number in range(3 * PACKETS_PER_TURN):
        client.send(b"%d" % number)

    async def stream_echo(stream: Any) -> None:
        stream.write(await stream.readline())

    other = connect(listen(loop, stream_echo))
    other.sendall(b"hello\n")
    sizes = [0]
    while sizes[-1] < 3 * PACKETS_PER_TURN:
        loop.step(5)
        sizes.append(len(got))
    assert max(after - before for before, after in pairwise(sizes)) == PACKETS_PER_TURN
    assert other.recv(10) == b"hello\n"
    assert [int(packet.data) for packet in got] == list(range(3 * PACKETS_PER_TURN))


# -- handlers ---------------------------------------------------------------------------------------------------------


def test_an_async_handler_may_wait(loop: Reactor, clock: Any, client_of: Any) -> None:
    async def later(packet: Datagram) -> None:
        await sleep(int(packet.data))
        packet.reply(b"after %s s" % packet.data)

    listener = listen(loop, later, LOCAL)
    client = client_of(listener)
    for seconds in (b"2", b"1"):
        client.send(seconds)
    turn_until(loop, lambda: listener.row.requests == 2)
    for expected in (b"after 1 s", b"after 2 s"):
        clock.advance(1)
        turns(loop)
        assert client.recv(100) == expected
    assert not loop.tasks


@pytest.mark.parametrize("kind", ["def", "async def", "returns nonsense"])
def test_a_handler_that_fails_costs_its_own_packet_only(
    loop: Reactor, client_of: Any, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    def fails(packet: Datagram) -> Any:
        if packet.data == b"bad":
            if kind == "returns nonsense":
                return 42
            raise ValueError("bad packet")
        return echo(packet)

    async def async_fails(packet: Datagram) -> Any:
        return fails(packet)

    listener = listen(loop, async_fails if kind == "async def" else fails, LOCAL)
    client = client_of(listener)
    for data in (b"one", b"bad", b"two"):
        client.send(data)
    turn_until(loop, lambda: listener.row.requests == 3)
    turns(loop)
    assert [client.recv(10), client.recv(10)] == [b"one", b"two"]
    assert len(errors_of(caplog)) == 1
    assert listener.row.phase is Phase.LISTENING


def test_an_exit_leaves_the_loop_and_loses_no_later_packet(loop: Reactor, client_of: Any) -> None:
    def exits(packet: Datagram) -> None:
        if packet.data == b"exit":
            raise SystemExit(3)
        echo(packet)

    client = client_of(listen(loop, exits, LOCAL))
    client.send(b"exit")
    client.send(b"after")
    with pytest.raises(SystemExit):
        turns(loop, 100)
    turns(loop)
    assert client.recv(10) == b"after"


def test_a_handler_may_close_its_own_listener(loop: Reactor, client_of: Any) -> None:
    seen: list[bytes] = []

    def once(packet: Datagram) -> None:
        seen.append(packet.data)
        packet.reply(b"bye")
        listener.close()
        packet.reply(b"bye again")

    listener = listen(loop, once, LOCAL)
    client = client_of(listener)
    client.send(b"one")
    client.send(b"two")
    turn_until(loop, lambda: listener.row.phase is Phase.CLOSED)
    assert seen == [b"one"]
    assert [client.recv(10), client.recv(10)] == [b"bye", b"bye again"]
    assert listener.row.end is End.FINISHED


def test_an_observer_hears_of_packets_and_errors(make_loop: Callable[..., Reactor], client_of: Any) -> None:
    told: list[Any] = []

    class Notes(Observer):
        def on_frame(self, row: Row, wire_bytes: int) -> None:
            told.append((row.kind, wire_bytes))

        def on_error(self, row: Row, error: BaseException) -> None:
            told.append((row.kind, type(error)))

    def fails(packet: Datagram) -> None:
        raise KeyError

    loop = make_loop(observers=[Notes()])
    client_of(listen(loop, fails, LOCAL)).send(b"four")
    turn_until(loop, lambda: len(told) == 2)
    assert told == [("datagram", 4), ("datagram", KeyError)]


# -- errors -----------------------------------------------------------------------------------------------------------


def closed_port() -> Any:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
        gone.bind(("127.0.0.1", 0))
        return gone.getsockname()


def test_an_icmp_error_does_not_end_the_reading(
    loop: Reactor, notes: Any, got: list[Datagram], caplog: pytest.LogCaptureFixture
) -> None:
    """A connected socket that sends to a closed port reads ECONNREFUSED; unconnected ones do with IP_RECVERR."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(("127.0.0.1", 0))
        sock.connect(peer.getsockname())
        listener = listen(loop, notes, sock)
        address = peer.getsockname()
    for _ in range(3):
        listener.row.send(b"anybody?", address)
        turns(loop, 5)
    assert listener.row.phase is Phase.LISTENING
    assert listener.row.dropped >= 1
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        peer.bind(address)
        peer.sendto(b"here", listener.address)
        turn_until(loop, lambda: got)
    assert [packet.data for packet in got] == [b"here"]
    assert errors_of(caplog) == []


def test_an_answer_to_a_peer_that_is_gone_does_not_end_the_reading(loop: Reactor, client_of: Any) -> None:
    listener = listen(loop, echo, LOCAL)
    if hasattr(socket, "IP_RECVERR"):
        listener.row.sock.setsockopt(socket.IPPROTO_IP, socket.IP_RECVERR, 1)
    for _ in range(3):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as leaving:
            leaving.sendto(b"x", listener.address)
        turns(loop, 5)
    client = client_of(listener)
    client.send(b"hello")
    turn_until(loop, lambda: listener.row.requests == 4)
    assert client.recv(10) == b"hello"


class Failing(socket.socket):
    """A socket whose next calls fail as the test says."""

    errors: list[OSError]
    send_errors: list[OSError]

    def recvfrom(self, *args: Any) -> Any:
        if self.errors:
            raise self.errors.pop(0)
        return super().recvfrom(*args)

    def sendto(self, *args: Any) -> int:
        if self.send_errors:
            raise self.send_errors.pop(0)
        return super().sendto(*args)


@pytest.fixture
def failing(loop: Reactor) -> Callable[..., Any]:
    """Give a function that listens on a `Failing` socket."""

    def make(handler: Any, receive: list[int] = [], send: list[int] = []) -> Any:  # noqa: B006 (never changed)
        sock = Failing(socket.AF_INET, socket.SOCK_DGRAM)
        sock.errors = [OSError(number, os.strerror(number)) for number in receive]
        sock.send_errors = [OSError(number, os.strerror(number)) for number in send]
        sock.bind(("127.0.0.1", 0))
        return listen(loop, handler, sock)

    return make


PASSING = [errno.ECONNREFUSED, errno.ECONNRESET, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.ENOMEM]


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_a_pending_network_error_is_counted_and_the_next_packet_read(
    loop: Reactor, client_of: Any, failing: Any, number: int
) -> None:
    listener = failing(echo, [number, number])
    client = client_of(listener)
    client.send(b"hello")
    turn_until(loop, lambda: listener.row.requests)
    assert client.recv(10) == b"hello"
    assert listener.row.dropped == 2


def test_a_socket_that_only_fails_does_not_hold_the_turn(loop: Reactor, client_of: Any, failing: Any) -> None:
    listener = failing(echo, [errno.ENETDOWN] * 100)
    client_of(listener).send(b"x")
    turn_until(loop, lambda: listener.row.dropped)
    assert listener.row.dropped == PACKETS_PER_TURN


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.EINTR], ids=errno.errorcode.get)
def test_nothing_is_there_after_all(loop: Reactor, client_of: Any, failing: Any, number: int) -> None:
    listener = failing(echo, [number])
    client = client_of(listener)
    client.send(b"hello")
    turn_until(loop, lambda: listener.row.requests)
    assert client.recv(10) == b"hello"
    assert listener.row.dropped == 0


@pytest.mark.parametrize("number", [errno.EBADF, errno.ENOTSOCK], ids=errno.errorcode.get)
def test_a_socket_that_cannot_receive_ends_its_row_only(
    loop: Reactor, client_of: Any, failing: Any, number: int
) -> None:
    broken, fine = failing(echo, [number]), failing(echo)
    for listener in (broken, fine):
        client = client_of(listener)
        client.send(b"hello")
    turn_until(loop, lambda: broken.row.phase is Phase.CLOSED)
    assert broken.row.end is End.ABORTED
    assert "receive failed" in loop.table.ended[-1].detail
    turn_until(loop, lambda: fine.row.requests)
    assert client.recv(10) == b"hello"


SENDING = [errno.EAGAIN, errno.ENOBUFS, errno.EMSGSIZE, errno.ECONNREFUSED, errno.EPERM, errno.ENETUNREACH]


@pytest.mark.parametrize("number", SENDING, ids=errno.errorcode.get)
def test_an_answer_that_the_kernel_does_not_take_is_dropped_and_counted(
    loop: Reactor, client_of: Any, failing: Any, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    listener = failing(echo, send=[number])
    client = client_of(listener)
    client.send(b"one")
    client.send(b"two")
    turn_until(loop, lambda: listener.row.requests == 2)
    assert client.recv(10) == b"two"
    assert (listener.row.dropped, listener.row.bytes_out) == (1, 3)
    assert errors_of(caplog) == []


def test_an_answer_that_is_too_long_is_dropped_and_counted(loop: Reactor, client_of: Any) -> None:
    def too_long(packet: Datagram) -> None:
        packet.reply(bytes(70_000))
        packet.reply(b"short")

    listener = listen(loop, too_long, LOCAL)
    client = client_of(listener)
    client.send(b"x")
    turn_until(loop, lambda: listener.row.requests)
    assert client.recv(100) == b"short"
    assert listener.row.dropped == 1


def test_to_answer_after_the_end_is_counted_and_no_error(
    loop: Reactor, client_of: Any, notes: Any, got: list[Datagram]
) -> None:
    listener = listen(loop, notes, LOCAL)
    client_of(listener).send(b"x")
    turn_until(loop, lambda: got)
    loop.close()
    got[0].reply(b"too late")
    assert listener.row.dropped == 1


def test_an_answer_that_is_no_bytes_is_the_handlers_mistake(
    loop: Reactor, client_of: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def text(packet: Datagram) -> None:
        packet.reply("text")  # type: ignore[arg-type]

    listener = listen(loop, text, LOCAL)
    client_of(listener).send(b"x")
    turn_until(loop, lambda: errors_of(caplog))
    assert "TypeError" in errors_of(caplog)[0].getMessage()
    assert listener.row.dropped == 0


# -- Unix datagrams ---------------------------------------------------------------------------------------------------


@needs_unix
def test_what_was_cut_says_so(loop: Reactor, client_of: Any, notes: Any, got: list[Datagram], tmp_path: Any) -> None:
    """UDP cannot exceed the buffer, Unix datagrams can."""
    listener = listen(loop, notes, f"unix+dgram://{tmp_path}/s")
    client = client_of(listener)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    client.send(bytes(PACKET_BYTES))
    try:
        client.send(bytes(PACKET_BYTES + 1))
    except OSError:
        pytest.skip("this system takes no such long packets")
    client.send(b"short")
    turn_until(loop, lambda: len(got) == 3)
    assert [(len(packet.data), packet.truncated) for packet in got] == [
        (PACKET_BYTES, False), (PACKET_BYTES, True), (5, False),
    ]  # fmt: skip


@needs_unix
def test_a_sender_without_an_address_gets_no_answer_and_does_no_harm(
    loop: Reactor, client_of: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener = listen(loop, echo, f"unix+dgram://{tmp_path}/s")
    unbound, bound = client_of(listener), client_of(listener, str(tmp_path / "c"))
    unbound.send(b"nobody")
    bound.send(b"somebody")
    turn_until(loop, lambda: listener.row.requests == 2)
    assert bound.recv(100) == b"somebody"
    assert listener.row.dropped == 1
    assert errors_of(caplog) == []


@needs_unix
def test_a_sender_whose_path_is_gone_gets_no_answer(
    loop: Reactor, client_of: Any, tmp_path: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener = listen(loop, echo, f"unix+dgram://{tmp_path}/s")
    client_of(listener, str(tmp_path / "c")).send(b"x")
    (tmp_path / "c").unlink()
    turn_until(loop, lambda: listener.row.requests)
    assert listener.row.dropped == 1
    assert errors_of(caplog) == []
