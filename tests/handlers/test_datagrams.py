"""What each datagram service promises, on UDP and on Unix datagram sockets; and when all of them keep silent."""

import functools
import socket
from typing import Any

import pytest

from reactor import Datagram, Reactor
from reactor.handlers import chargen, daytime, discard, echo, reflection, time, upper
from tests.handlers.conftest import Client, Serving

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
both_kinds = pytest.mark.parametrize("scheme", ["udp", pytest.param("unix+dgram", marks=needs_unix)])

daytime_1970 = functools.partial(daytime.daytime_datagram, clock=lambda: 0)
time_1970 = functools.partial(time.time_datagram, clock=lambda: 0)

ANSWERING = [echo.echo_datagram, upper.upper_datagram, chargen.chargen_datagram, daytime_1970, time_1970]


def answer(serving: Serving, connect: Client, scheme: str, handler: Any, request: bytes) -> bytes:
    """Send a packet to a service and return the answer."""
    listener = serving.listen(scheme, handler)
    serving.start()
    client = connect(listener)
    client.send(request)
    return client.recv(65536)


@both_kinds
@pytest.mark.parametrize(
    ("handler", "request_", "expected"),
    [
        pytest.param(echo.echo_datagram, b"\0Hi\r\n", b"\0Hi\r\n", id="echo"),
        pytest.param(echo.echo_datagram, b"", b"", id="echo of nothing"),
        pytest.param(echo.echo_datagram, b"x" * 9000, b"x" * 9000, id="echo of a large packet"),
        pytest.param(upper.upper_datagram, "gruß".encode(), "GRUß".encode(), id="upper"),
        pytest.param(chargen.chargen_datagram, b"", b"", id="chargen for nothing"),
        pytest.param(chargen.chargen_datagram, b"abc", b' !"', id="chargen"),
        pytest.param(chargen.chargen_datagram, b"x" * 600, chargen.PATTERN[:512], id="chargen at most"),
        pytest.param(daytime_1970, b"", b"Thursday, January 1, 1970 00:00:00-UTC\r\n", id="daytime"),
        pytest.param(daytime_1970, b"what time", b"Thursday, January 1, 1970 00:00:00-UTC\r\n", id="daytime, asked"),
        pytest.param(time_1970, b"", (2_208_988_800).to_bytes(4, "big"), id="time"),
        pytest.param(time_1970, b"what time", (2_208_988_800).to_bytes(4, "big"), id="time, asked"),
    ],
)
def test_one_packet_in_one_packet_out(
    serving: Serving, connect: Client, scheme: str, handler: Any, request_: bytes, expected: bytes
) -> None:
    assert answer(serving, connect, scheme, handler, request_) == expected


@both_kinds
def test_the_clocks_are_the_system_s(serving: Serving, connect: Client, scheme: str) -> None:
    asked = [serving.listen(scheme, handler) for handler in (daytime.daytime_datagram, time.time_datagram)]
    serving.start()
    for listener, ending in zip(asked, (b"-UTC\r\n", b""), strict=True):
        client = connect(listener)
        client.send(b"")
        assert client.recv(100).endswith(ending)


@both_kinds
def test_discard_says_nothing(serving: Serving, connect: Client, scheme: str) -> None:
    sink = serving.listen(scheme, discard.discard_datagram)
    client = connect(sink)
    client.send(b"x")
    client.send(b"")
    while sink.row.requests < 2:
        serving.loop.step(10)
    assert (sink.row.bytes_in, sink.row.bytes_out, sink.row.dropped) == (1, 0, 0)
    client.setblocking(False)
    with pytest.raises(BlockingIOError):
        client.recv(1)


@pytest.mark.parametrize("length", [*range(0, 80, 7), 511, 512, 513, 9000])
def test_chargen_never_answers_with_more_than_it_got(serving: Serving, connect: Client, length: int) -> None:
    assert len(answer(serving, connect, "udp", chargen.chargen_datagram, b"x" * length)) == min(length, 512)


@needs_unix
@pytest.mark.parametrize("handler", ANSWERING)
def test_a_unix_sender_without_an_address_costs_nothing(serving: Serving, handler: Any) -> None:
    listener = serving.listen("unix+dgram", handler)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as unbound:
        unbound.sendto(b"x", listener.address)
        while not listener.row.requests:
            serving.loop.step(10)
    assert listener.row.dropped == 1


# Silence.


class Mouth:
    """A row that only notes what it is told to say."""

    fd = -1

    def __init__(self) -> None:
        self.said: list[bytes] = []

    def send(self, data: bytes, sockaddr: Any) -> None:
        """Note the answer."""
        self.said.append(data)


def said_to(handler: Any, sockaddr: Any, *, data: bytes = b"abc", truncated: bool = False) -> list[bytes]:
    """Return what a service answers to a packet from any address at all."""
    mouth: Any = Mouth()
    handler(Datagram(data, sockaddr, mouth, truncated))
    return list(mouth.said)


@pytest.mark.parametrize("handler", ANSWERING)
@pytest.mark.parametrize("port", [0, 1, 7, 13, 17, 19, 37, 53, 69, 123, 1023])
@pytest.mark.parametrize("host", [("192.0.2.1",), ("2001:db8::1",)])
def test_no_answer_to_a_system_port(handler: Any, host: tuple[str], port: int) -> None:
    rest = (0, 0) if ":" in host[0] else ()
    assert said_to(handler, (*host, port, *rest)) == []
    assert len(said_to(handler, (*host, 1024, *rest))) == 1


@pytest.mark.parametrize("handler", [echo.echo_datagram, upper.upper_datagram])
def test_no_half_packet(handler: Any) -> None:
    assert said_to(handler, ("192.0.2.1", 5000), truncated=True) == []


def a_privileged_client() -> socket.socket:
    """Return a UDP socket on a system port, if this user may have one and one is free."""
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for port in range(1000, 1024):
        try:
            client.bind(("127.0.0.1", port))
        except PermissionError:
            break
        except OSError:
            continue
        return client
    client.close()
    pytest.skip("system ports are for root")


def test_no_answer_to_a_system_port_on_a_real_socket(serving: Serving) -> None:
    listener = serving.listen("udp", echo.echo_datagram)
    with a_privileged_client() as client:
        client.sendto(b"x", listener.address)
        while not listener.row.requests:
            serving.loop.step(10)
    assert listener.row.bytes_out == 0


@pytest.mark.parametrize("one", ANSWERING)
@pytest.mark.parametrize("other", ANSWERING)
def test_two_services_of_a_process_do_not_keep_each_other_talking(serving: Serving, one: Any, other: Any) -> None:
    first, second = serving.listen("udp", one), serving.listen("udp", other)
    # One packet from the one to the other, as if somebody had forged its sender.
    first.row.sock.sendto(b"x", second.address)
    while not second.row.requests:
        serving.loop.step(10)
    while serving.loop.step().ready:  # on loopback what was sent has arrived
        pass
    assert first.row.requests <= 1
    assert second.row.requests == 1


@pytest.mark.parametrize("handler", ANSWERING)
def test_a_service_does_not_answer_itself(serving: Serving, handler: Any) -> None:
    listener = serving.listen("udp", handler)
    listener.row.sock.sendto(b"x", listener.address)
    while not listener.row.requests:
        serving.loop.step(10)
    assert listener.row.bytes_out == 0


def test_the_same_port_of_another_host_is_not_answered(serving: Serving) -> None:
    listener = serving.listen("udp", echo.echo_datagram)
    packet = Datagram(b"x", ("192.0.2.1", listener.port), listener.row)
    assert not reflection.may_answer(packet)


def test_the_port_of_a_service_that_is_closed_is_a_client_s_again(serving: Serving) -> None:
    first = serving.listen("udp", echo.echo_datagram)
    with Reactor(strict=True) as another:
        closed = another.listen("udp://127.0.0.1:0", echo.echo_datagram)
        packet = Datagram(b"x", ("192.0.2.1", closed.port), first.row)
        assert reflection.may_answer(packet)
        assert not reflection.may_answer(Datagram(b"x", closed.address, closed.row))
        assert not reflection.may_answer(packet)
    assert reflection.may_answer(packet)
    second = serving.listen("udp", echo.echo_datagram)
    assert reflection.may_answer(Datagram(b"x", closed.address, second.row))
    assert closed.row not in reflection._ports  # forgotten, not only ignored
