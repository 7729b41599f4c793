"""What all listening rows share: pausing, closing, whose socket it is, and the Unix path."""

import errno
import logging
import os
import socket
from typing import Any

import pytest

from reactor import End, Limits, Listener, ManualClock, Phase, Reactor, Stream
from reactor.acceptor import AcceptorRow
from reactor.listening import REFUSED_S
from reactor.socketserver import BaseRequestHandler, StreamRequestHandler
from reactor.testing import Faults, Simulation
from tests.driving import ask, listen, only, streams, turn_until, turns
from tests.running import descriptors

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Blocking(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline())


def nothing(packet: Any) -> None:
    """Take a packet and do nothing about it."""


# -- pausing ----------------------------------------------------------------------------------------------------------


def test_what_connects_to_a_paused_listener_waits_in_the_backlog(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    listener.pause()
    loop.step()
    assert listener.row.phase is Phase.PAUSED
    client = connect(listener)
    client.sendall(b"hello\n")
    assert [turn.ready for turn in turns(loop, 10)] == [()] * 10
    assert loop.next_turn_in_s() is None
    assert "user" in loop.table.explain(listener.row)
    listener.resume()
    loop.step()
    assert listener.row.phase is Phase.LISTENING
    ask(loop, client, b"", b"hello\n")


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:80", "udp://127.0.0.1:80"])
@pytest.mark.parametrize("shortage", ["ENOSPC", "ENOMEM"])
def test_a_selector_without_room_is_tried_again_a_second_later(
    shortage: str, endpoint: str, caplog: pytest.LogCaptureFixture
) -> None:
    """epoll_ctl(2) at the resuming: it was the end of the listener, and a reset for all who waited in its backlog."""
    with Simulation(faults=Faults(at=(("register", 2, shortage), ("register", 3, shortage)))) as world:
        listener = world.reactor.listen(endpoint, echo if "tcp" in endpoint else nothing)
        listener.pause()
        world.run_until_quiet()
        listener.resume()
        world.run_until_quiet()
        assert (listener.row.phase, listener.row.paused) == (Phase.PAUSED, {"selector"})
        assert "tries again in 1 s" in caplog.text
        world.advance(1.9)
        assert listener.row.phase is Phase.PAUSED
        world.advance(0.1)
        assert listener.row.phase is Phase.LISTENING
        if "tcp" in endpoint:
            client = world.connect(endpoint)
            client.send(b"hello\n")
            world.run_until_quiet()
            assert client.take() == b"hello\n"


def test_a_selector_that_refuses_a_listener_for_good_ends_it() -> None:
    with Simulation(faults=Faults(at=(("register", 2, "EPERM"),)), strict=False) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", echo)
        listener.pause()
        world.run_until_quiet()
        listener.resume()
        world.run_until_quiet()
        assert (listener.row.phase, listener.row.end) == (Phase.CLOSED, End.ABORTED)


def test_it_goes_on_only_when_no_reason_is_left(loop: Reactor, connect: Any) -> None:
    row = listen(loop, echo).row
    for reason in ("a", "b", "a"):
        row.pause(reason)
    row.resume("a")
    row.resume("unknown")
    loop.step()
    assert (row.phase, row.paused) == (Phase.PAUSED, {"b"})
    row.resume("b")
    row.resume("b")
    loop.step()
    assert (row.phase, row.paused) == (Phase.LISTENING, frozenset())


def test_to_pause_and_resume_within_a_turn_makes_no_transition(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    for _ in range(3):
        listener.pause()
        listener.resume()
    loop.step()
    assert listener.row.phase is Phase.LISTENING
    ask(loop, connect(listener), b"hello\n", b"hello\n")


class Scarce:
    """A selector's `register` that fails so many times."""

    def __init__(self, loop: Any, number: int, times: int) -> None:
        self.number, self.times, self.calls = number, times, 0
        self.selector = loop.demultiplexer._selector
        self.register, self.selector.register = self.selector.register, self

    def __call__(self, *args: Any) -> Any:
        self.calls += 1
        if self.calls <= self.times:
            raise OSError(self.number, os.strerror(self.number))
        return self.register(*args)


@pytest.mark.parametrize("number", [errno.ENOMEM, errno.ENOSPC], ids=errno.errorcode.get)
@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "udp://127.0.0.1:0"])
def test_a_selector_without_memory_keeps_it_paused_and_does_not_close_it(
    loop: Reactor, clock: ManualClock, caplog: pytest.LogCaptureFixture, endpoint: str, number: int
) -> None:
    listener = listen(loop, echo if endpoint.startswith("tcp") else nothing, endpoint)
    listener.pause()
    loop.step()
    scarce = Scarce(loop, number, times=3)
    listener.resume()
    turns(loop)
    for times in (1, 2, 3):
        assert (listener.row.phase, listener.row.paused, scarce.calls) == (Phase.PAUSED, {"selector"}, times)
        assert len(loop.timers) == 1
        clock.advance(REFUSED_S)
        turns(loop)
    assert (listener.row.phase, scarce.calls) == (Phase.LISTENING, 4)
    assert os.strerror(number) in caplog.text
    assert len([record for record in caplog.records if record.levelno >= logging.WARNING]) == 3


def test_a_selector_that_will_never_take_it_closes_it(
    loop: Reactor, caplog: pytest.LogCaptureFixture
) -> None:
    listener = listen(loop, echo)
    listener.pause()
    loop.step()
    Scarce(loop, errno.EPERM, times=1)
    listener.resume()
    turns(loop)
    assert (listener.row.phase, listener.row.end) == (Phase.CLOSED, End.ABORTED)


def test_a_listener_that_is_paused_in_a_batch_accepts_nothing_more_in_it(loop: Reactor, connect: Any) -> None:
    async def pauses(stream: Stream) -> None:
        listener.pause()
        await echo(stream)

    listener = listen(loop, pauses)
    clients = [connect(listener) for _ in range(3)]
    loop.step(1)
    assert len(streams(loop)) == 1
    listener.resume()
    turn_until(loop, lambda: len(streams(loop)) == 2)
    assert len(clients) == 3


def test_a_paused_datagram_socket_keeps_its_packets(loop: Reactor) -> None:
    got: list[bytes] = []
    listener = listen(loop, lambda packet: got.append(packet.data), "udp://127.0.0.1:0")
    listener.pause()
    loop.step()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"later", listener.address)
        assert [turn.ready for turn in turns(loop, 5)] == [()] * 5
        listener.resume()
        turn_until(loop, lambda: got)
    assert got == [b"later"]


# -- closing ----------------------------------------------------------------------------------------------------------


def test_close_stops_listening_and_leaves_connections_alone(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    client = connect(listener)
    ask(loop, client, b"before\n", b"before\n")
    listener.close()
    listener.close()
    loop.step()
    assert (listener.row.phase, listener.row.end, listener.row.fd) == (Phase.CLOSED, End.FINISHED, -1)
    assert listener.row not in loop.table
    with pytest.raises(ConnectionRefusedError):
        connect(listener)
    ask(loop, client, b"after\n", b"after\n")
    client.close()
    turn_until(loop, lambda: not streams(loop))


def test_a_listener_that_is_closed_in_a_batch_accepts_nothing_more_in_it(loop: Reactor, connect: Any) -> None:
    async def closes(stream: Stream) -> None:
        listener.close()
        await echo(stream)

    listener = listen(loop, closes)
    for _ in range(3):
        connect(listener)
    loop.step(1)
    assert len(streams(loop)) == 1
    assert listener.row.phase is Phase.CLOSED


def test_a_paused_listener_can_be_closed_and_a_closed_one_paused(loop: Reactor) -> None:
    first, second = listen(loop, echo), listen(loop, nothing, "udp://127.0.0.1:0")
    first.pause()
    loop.step()
    first.close()
    second.close()
    loop.step()
    second.pause()
    first.resume()
    turns(loop)
    assert [one.row.phase for one in (first, second)] == [Phase.CLOSED] * 2
    assert len(loop.table) == 0


def test_an_aborted_listener_is_remembered_with_the_reason(loop: Reactor) -> None:
    row = listen(loop, echo).row
    row.abort("the test says so")
    loop.step()
    assert (row.phase, row.end) == (Phase.CLOSED, End.ABORTED)
    assert [one.detail for one in loop.table.ended] == ["the test says so"]


def test_the_address_can_be_used_again_at_once(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    for _ in range(3):
        client = connect(listener)
        ask(loop, client, b"hello\n", b"hello\n")
        listener.close()
        loop.step()
        listener = listen(loop, echo, listener.endpoint)
    assert listener.port == int(listener.endpoint.rpartition(":")[2])


# -- whose socket, whose path -----------------------------------------------------------------------------------------


def test_a_socket_that_was_handed_over_is_closed_with_its_row(loop: Reactor, connect: Any) -> None:
    sock = socket.create_server(("127.0.0.1", 0))
    listener = listen(loop, echo, sock)
    assert (listener.address, listener.port) == (sock.getsockname(), sock.getsockname()[1])
    ask(loop, connect(listener), b"hello\n", b"hello\n")
    listener.close()
    loop.step()
    assert sock.fileno() == -1


HANDLERS: dict[str, tuple[str, Any, dict[str, Any]]] = {
    "coroutine": ("unix://", echo, {}),
    "class": ("unix://", Blocking, {"way": "inline"}),
    "datagram function": ("unix+dgram://", nothing, {}),
    "datagram class": ("unix+dgram://", BaseRequestHandler, {}),
}


@needs_unix
@pytest.mark.parametrize("kind", HANDLERS)
def test_a_unix_path_goes_with_its_listener(loop: Reactor, tmp_path: Any, kind: str) -> None:
    scheme, handler, keywords = HANDLERS[kind]
    path = tmp_path / "s"
    for close in (lambda one: one.close(), lambda one: loop.stop(drain_s=0), lambda one: loop.close()):
        listener = loop.listen(f"{scheme}{path}", handler, **keywords)
        assert listener.endpoint == f"{scheme}{path}"
        assert path.is_socket()
        close(listener)
        if not loop._closed:
            loop.step()
        assert not path.exists()


@needs_unix
def test_a_path_that_somebody_else_has_taken_is_left_alone(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    path = tmp_path / "s"
    listener = listen(loop, echo, f"unix://{path}")
    path.unlink()
    path.write_text("precious")
    listener.close()
    loop.step()
    assert path.read_text() == "precious"


@needs_unix
def test_a_path_that_is_gone_already_is_no_error(loop: Reactor, tmp_path: Any) -> None:
    path = tmp_path / "s"
    listener = listen(loop, echo, f"unix://{path}")
    path.unlink()
    listener.close()
    assert loop.step().ended == (listener.row.id,)


@needs_unix
def test_two_listeners_on_one_path_are_an_error_and_the_first_lives(
    loop: Reactor, connect: Any, tmp_path: Any
) -> None:
    path = tmp_path / "s"
    listener = listen(loop, echo, f"unix://{path}")
    before = descriptors()
    with pytest.raises(OSError, match="served"):
        listen(loop, echo, f"unix://{path}")
    assert descriptors() == before
    ask(loop, connect(listener), b"hello\n", b"hello\n")


@needs_unix
def test_an_abstract_name_has_no_path(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    if os.uname().sysname != "Linux":
        pytest.skip("Linux only")
    listener = listen(loop, echo, f"unix://@{tmp_path}")
    ask(loop, connect(listener), b"hello\n", b"hello\n")
    listener.close()
    loop.step()
    with pytest.raises(ConnectionRefusedError):
        connect(listener)


@needs_unix
def test_a_borrowed_socket_and_its_path_are_left_alone(loop: Reactor, tmp_path: Any) -> None:
    with socket.socket(socket.AF_UNIX) as sock, socket.socket(socket.AF_UNIX) as client:
        sock.bind(f"{tmp_path}/s")
        sock.listen()
        row = AcceptorRow(loop, sock, "borrowed", Limits(), lambda sock, sockaddr: None, owned=False)
        row.close()
        assert loop.step().ended == (row.id,)
        assert (row.fd, row.phase) == (-1, Phase.CLOSED)
        client.connect(f"{tmp_path}/s")
        assert [turn.ready for turn in turns(loop)] == [()] * 3, "nobody watches it any more"


# -- the handle -------------------------------------------------------------------------------------------------------


def test_what_a_listener_says_of_itself(loop: Reactor, tmp_path: Any) -> None:
    tcp = loop.listen("tcp://127.0.0.1:0", echo)
    udp = loop.listen("udp://127.0.0.1:0", nothing, name="packets")
    assert isinstance(tcp, Listener)
    assert tcp.endpoint == f"tcp://127.0.0.1:{tcp.port}"
    assert tcp.address == ("127.0.0.1", tcp.port)
    assert tcp.name == f"echo {tcp.endpoint}"
    assert tcp.server is None
    assert repr(tcp) == f"<Listener {tcp.name} at {tcp.endpoint}>"
    assert (udp.name, udp.endpoint) == ("packets", f"udp://127.0.0.1:{udp.port}")
    assert [row.kind for row in loop.table] == ["listener", "datagram"]
    assert {row.server for row in loop.table.snapshot()} == {tcp.name, "packets"}
    if hasattr(socket, "AF_UNIX"):
        unix = loop.listen(f"unix://{tmp_path}/s", echo)
        assert (unix.port, unix.address) == (0, f"{tmp_path}/s")


def test_a_listener_has_no_deadline(loop: Reactor, clock: ManualClock) -> None:
    listener = listen(loop, echo)
    clock.advance(1e9)
    assert loop.step().expired == ()
    assert listener.row.phase is Phase.LISTENING
    assert "waits for what comes" in loop.table.explain(listener.row)


def test_ipv6(loop: Reactor, connect: Any) -> None:
    try:
        listener = listen(loop, echo, "tcp://[::1]:0")
    except OSError:
        pytest.skip("no IPv6 here")
    assert listener.endpoint == f"tcp://[::1]:{listener.port}"
    client = connect(listener)
    ask(loop, client, b"hello\n", b"hello\n")
    assert str(only(loop).peer).startswith("[::1]:")
    client.close()
