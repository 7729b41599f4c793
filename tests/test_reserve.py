"""The descriptor in reserve: who is closed when there is no other, how soon it is over, and whose it is."""

import errno
import logging
import os
import socket
import types
from collections.abc import Callable
from typing import Any

import pytest

from reactor import Limits, ManualClock, Phase, Reactor, Stream
from reactor.acceptor import REFUSALS
from reactor.reserve import RETRY_S
from reactor.socketserver import BaseRequestHandler, TCPServer
from reactor.testing import Simulation
from tests.driving import ask, listen, streams, turn_until, turns
from tests.running import descriptors, python

SHORTAGE_S = Limits().shortage_s or 0.0


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class World:
    """A process whose descriptors can be used up, as its sockets see it.

    Attributes:
        left: how many sockets can still be made; None: as many as anybody wants.
        made: those made by the loop that are open.
    """

    def __init__(self) -> None:
        self.left: int | None = None
        self.made: list[Limited] = []
        self.tries = self.accepts = 0

    def take(self) -> None:
        self.tries += 1
        if self.left is not None:
            if not self.left:
                raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
            self.left -= 1

    def socket(self, family: int = socket.AF_INET, type: int = socket.SOCK_STREAM) -> socket.socket:
        self.take()
        sock = Limited(family, type)
        sock.world = self
        self.made.append(sock)
        return sock


class Limited(socket.socket):
    """A socket of it."""

    world: Any = None

    def accept(self) -> Any:
        self.world.accepts += 1
        self.world.take()
        try:
            fd, address = self._accept()  # type: ignore[attr-defined]
        except OSError:
            if self.world.left is not None:
                self.world.left += 1
            raise
        sock = Limited(self.family, self.type, fileno=fd)
        sock.world = self.world
        return sock, address

    def close(self) -> None:
        world = self.world
        if self.fileno() >= 0 and world is not None:
            if world.left is not None:
                world.left += 1
            if self in world.made:
                world.made.remove(self)
        super().close()


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def loop(make_loop: Callable[..., Reactor], world: World) -> Reactor:
    return make_loop(sockets=types.SimpleNamespace(socket=world.socket, socketpair=socket.socketpair))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    records = caplog.get_records("setup") + caplog.get_records("call")
    return [record.getMessage() for record in records if record.levelno >= logging.WARNING]


def ended(client: socket.socket) -> bool:
    """Has the server closed this connection?"""
    client.setblocking(False)
    try:
        return client.recv(10) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    finally:
        client.settimeout(5)


def let_pass(loop: Reactor, clock: ManualClock, seconds: float) -> None:
    """Let time pass, look by look."""
    for _ in range(round(seconds / RETRY_S)):
        clock.advance(RETRY_S)
        turns(loop)


@pytest.fixture
def short(loop: Reactor, world: World, connect: Any) -> Any:
    """Give a listener without descriptors, the client that it serves, and one who waits."""
    listener = listen(loop, echo)
    served = connect(listener)
    ask(loop, served, b"x\n", b"x\n")
    world.left = 0
    waits = connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    return listener, served, waits


# -- who is closed, and when ------------------------------------------------------------------------------------------


def test_who_waits_for_a_second_is_closed_and_nobody_before(
    loop: Reactor, clock: ManualClock, world: World, short: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener, served, waits = short
    let_pass(loop, clock, SHORTAGE_S - RETRY_S)
    assert not ended(waits)
    assert listener.row.refused == 0
    let_pass(loop, clock, RETRY_S)
    assert ended(waits)
    assert listener.row.refused == 1
    assert loop.reserve.is_held
    for _ in range(3):  # from now on at once, for nobody has been served since
        late = connect(listener)
        let_pass(loop, clock, 2 * RETRY_S)
        assert ended(late)
    ask(loop, served, b"y\n", b"y\n")
    (line,) = warnings_of(caplog)
    assert "shortage_s" in line
    assert "those who wait are closed" in line


def test_so_many_at_a_look(loop: Reactor, clock: ManualClock, short: Any, connect: Any) -> None:
    listener, _, waits = short
    crowd = [waits, *(connect(listener) for _ in range(2 * REFUSALS))]
    let_pass(loop, clock, SHORTAGE_S)
    assert listener.row.refused == REFUSALS
    let_pass(loop, clock, RETRY_S)
    assert listener.row.refused == 2 * REFUSALS
    let_pass(loop, clock, RETRY_S)
    assert listener.row.refused == len(crowd)
    assert all(map(ended, crowd))


def test_nobody_is_looked_for_when_nobody_waits(loop: Reactor, clock: ManualClock, world: World, short: Any) -> None:
    listener, *_ = short
    let_pass(loop, clock, SHORTAGE_S)
    assert (listener.row.phase, loop.starved) == (Phase.LISTENING, [])
    let_pass(loop, clock, RETRY_S)
    tries = world.tries
    assert loop.timers.next_at is None
    clock.advance(60)
    turns(loop)
    assert world.tries == tries


def test_nor_for_a_listener_that_was_closed_meanwhile(loop: Reactor, clock: ManualClock, world: World, short: Any) -> None:
    listener, *_ = short
    tries = world.tries
    clock.advance(RETRY_S)
    listener.close()
    loop.step(0)
    assert world.tries == tries
    assert (loop.starved, loop.timers.next_at) == ([], None)


def test_none_means_that_they_wait(
    loop: Reactor, clock: ManualClock, world: World, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener = listen(loop, echo, shortage_s=None)
    world.left = 0
    client = connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    let_pass(loop, clock, 10)
    assert not ended(client)
    assert "closed" not in warnings_of(caplog)[0]
    world.left = 1
    clock.advance(RETRY_S)
    ask(loop, client, b"x\n", b"x\n")


def test_a_second_shortage_has_a_second_of_its_own(
    loop: Reactor, clock: ManualClock, world: World, short: Any, connect: Any
) -> None:
    listener, _, waits = short
    let_pass(loop, clock, SHORTAGE_S / 2)
    world.left = 1
    let_pass(loop, clock, RETRY_S)
    ask(loop, waits, b"x\n", b"x\n")
    late = connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    let_pass(loop, clock, SHORTAGE_S - 2 * RETRY_S)
    assert not ended(late)


def test_a_listener_of_tls_closes_without_a_handshake(loop: Reactor, clock: ManualClock, short: Any) -> None:
    """accept() of an SSLSocket shakes hands, and a silent client would hold the loop."""
    listener, _, waits = short
    sock = listener.row.sock
    sock.do_handshake = sock._accept  # what tells one
    accepts = sock.world.accepts
    let_pass(loop, clock, SHORTAGE_S)
    assert ended(waits)
    assert sock.world.accepts == accepts


# -- how soon it is over ----------------------------------------------------------------------------------------------


def test_what_somebody_else_gives_back_is_noticed(loop: Reactor, clock: ManualClock, world: World, short: Any) -> None:
    _, _, waits = short
    assert RETRY_S <= 0.2
    world.left = 1  # no row has closed
    clock.advance(RETRY_S)
    ask(loop, waits, b"x\n", b"x\n")


def test_one_timer_for_all_listeners(loop: Reactor, clock: ManualClock, world: World, connect: Any) -> None:
    listeners = [listen(loop, echo) for _ in range(5)]
    world.left = 0
    clients = [connect(listener) for listener in listeners]
    turn_until(loop, lambda: all(listener.row.phase is Phase.PAUSED for listener in listeners))
    for _ in range(5):
        assert len(loop.timers) == 1
        tries, accepts = world.tries, world.accepts
        clock.advance(RETRY_S)
        turns(loop)
        assert (world.tries - tries, world.accepts - accepts) == (1, 0), "a look is one socket(), and no accept()"
    world.left = 6
    clock.advance(RETRY_S)
    turn_until(loop, lambda: len(streams(loop)) == 5)
    for client in clients:
        ask(loop, client, b"x\n", b"x\n")


def test_a_row_that_closes_makes_the_look_needless(loop: Reactor, world: World, short: Any) -> None:
    _, served, waits = short
    world.left = 1  # for the next try
    served.close()
    ask(loop, waits, b"x\n", b"x\n")
    assert loop.timers.next_at is None


# -- without it -------------------------------------------------------------------------------------------------------


def test_who_cannot_have_it_back_goes_on_without(
    loop: Reactor, clock: ManualClock, world: World, short: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener, served, waits = short

    class Thief(list[Any]):
        """Somebody takes the descriptor the moment that it is free."""

        def remove(self, sock: Any) -> None:
            super().remove(sock)
            if world.left:
                world.left -= 1

    world.made = Thief(world.made)
    let_pass(loop, clock, SHORTAGE_S)
    assert not loop.reserve.is_held
    for _ in range(200):  # EMFILE each time: at accept() and when the reserve is made
        clock.advance(RETRY_S)
        turns(loop, 1)
        assert len(loop.timers) <= 1
    assert not ended(waits)
    assert listener.row.phase is Phase.PAUSED
    assert len(warnings_of(caplog)) == 1
    world.left, world.made = 2, list(world.made)
    clock.advance(RETRY_S)
    ask(loop, waits, b"x\n", b"x\n")
    assert loop.reserve.is_held, "made anew by the first accept that succeeds"
    ask(loop, served, b"y\n", b"y\n")


def test_it_may_be_missing_from_the_start(loop: Reactor, world: World, clock: ManualClock, connect: Any) -> None:
    world.left = 1
    listener = listen(loop, echo)
    assert not loop.reserve.is_held
    client = connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    let_pass(loop, clock, 2 * SHORTAGE_S)
    world.left = 1
    clock.advance(RETRY_S)
    ask(loop, client, b"x\n", b"x\n")


# -- whose it is ------------------------------------------------------------------------------------------------------


def test_it_is_one_however_many_listeners_and_the_last_gives_it_back(loop: Reactor, world: World) -> None:
    listeners = [listen(loop, echo) for _ in range(3)]
    assert len(world.made) == 4
    for left in (2, 1):
        listeners.pop().close()
        loop.step(0)
        assert len(world.made) == left + 1
    listeners.pop().close()
    loop.step(0)
    assert world.made == []
    listen(loop, echo)
    assert len(world.made) == 2


def test_packets_need_none(loop: Reactor, world: World) -> None:
    listen(loop, lambda packet: None, "udp://127.0.0.1:0")
    assert len(world.made) == 1


def test_it_is_closed_with_the_loop_and_not_inherited(make_loop: Any) -> None:
    before = descriptors()
    loop = make_loop()
    listen(loop, echo)
    assert not loop.reserve._sock.get_inheritable()
    loop.close()
    assert descriptors() == before


def test_a_hosted_server_has_it_too(loop: Reactor, clock: ManualClock, world: World, connect: Any) -> None:
    class Answer(BaseRequestHandler):
        def handle(self) -> None:
            self.request.sendall(b"hello\n")

    server = TCPServer(("127.0.0.1", 0), Answer, bind_and_activate=False)
    server.socket.close()
    server.socket = world.socket()
    server.server_bind()
    server.server_activate()
    listener = loop.add(server, way="inline")
    world.left = 0
    client = connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    let_pass(loop, clock, SHORTAGE_S)
    assert ended(client)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_forked_child_gives_it_back() -> None:
    printed = python(
        """
        import os
        from reactor import Reactor

        async def nothing(stream):
            pass

        with Reactor() as loop:
            loop.listen("tcp://127.0.0.1:0", nothing)
            number = loop.reserve._sock.fileno()
            loop.fileno()
            pid = os.fork()
            if not pid:
                loop.abandon()
                try:
                    os.fstat(number)
                except OSError:
                    os._exit(7)
                os._exit(1)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), loop.reserve.is_held)
        """
    )
    assert printed.split() == ["7", "True"]


def test_the_real_limit_and_a_descriptor_that_no_row_gives_back() -> None:
    """ulimit -n, for real: CPU, recovery and who is closed."""
    pytest.importorskip("resource")
    printed = python(
        """
        import logging, os, resource, socket, sys, time
        from reactor import Reactor
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")

        async def echo(stream):
            while line := await stream.readline():
                stream.write(line)

        def run_for(loop, window_s):
            until = time.monotonic() + window_s
            while (left_s := until - time.monotonic()) > 0:
                loop.step(left_s)

        with Reactor() as loop:
            listener = loop.listen("tcp://127.0.0.1:0", echo)
            clients = [socket.socket() for _ in range(6)]
            loop.step(0.01)  # now it has its waker
            spare = os.open(os.devnull, os.O_RDONLY)
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 1, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            for client in clients[:3]:
                client.connect(listener.address)
            loop.step(0.1)
            print(listener.row.phase, loop.reserve.is_held)
            cpu_s = time.thread_time()
            run_for(loop, 0.9)
            before = listener.row.refused
            run_for(loop, 0.5)
            print(before, listener.row.refused, time.thread_time() - cpu_s <= 0.02 * 1.4)
            late = clients[3]
            late.connect(listener.address)
            late.sendall(b"hello\\n")
            loop.step(0)
            os.close(spare)
            began = time.monotonic()
            late.setblocking(False)
            while True:
                loop.step(0.01)
                try:
                    print(late.recv(10))
                    break
                except BlockingIOError:
                    pass
            print(time.monotonic() - began <= 0.2)
            for client in clients:
                client.close()
        """
    )
    lines = printed.splitlines()
    told = [line for line in lines if line.startswith("WARNING row 1 (listener of echo tcp://127.0.0.1:")]
    assert 1 <= len(told) <= 2  # it may run out again, when the late one has the last descriptor
    assert [line for line in lines if line not in told] == ["PAUSED True", "0 3 True", "b'hello\\n'", "True"]


def test_a_simulated_world_has_it() -> None:
    with Simulation(descriptors=6) as world:  # 3 for the listener, 4 in reserve, 5 for one connection
        listener = world.reactor.listen("tcp://127.0.0.1:1", echo)
        served, *crowd = (world.connect(listener) for _ in range(4))
        world.run_until_quiet()
        assert [client.ended for client in crowd] == [""] * 3
        world.advance(2)
        assert all(client.ended for client in crowd)
        assert not served.ended
