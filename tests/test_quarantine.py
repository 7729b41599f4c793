"""Rows that are ready for ever: what is done about each kind, what it costs, and who is not touched."""

import contextlib
import errno
import gc
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Datagram, End, ManualClock, Phase, Reactor, Stream, sleep
from reactor.quarantine import LOOK_TURNS, REST_LEAST_S, REST_MOST_S, SPIN_S, SPIN_TURNS
from reactor.socketserver import BaseRequestHandler, TCPServer, UDPServer
from reactor.table import READ
from reactor.transports import PlainTransport
from tests.driving import ask, listen, only, receive_all, streams, turn_until, turns
from tests.running import Waits

pytestmark = pytest.mark.unwatched("rows spin here until the guard notices")

# So many turns, and a row that spins has been noticed.
ENOUGH = LOOK_TURNS + SPIN_TURNS + 10
CPU_SHARE = 0.02


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Idle(PlainTransport):
    """Neither receives nor sends, and says "not now"."""

    def receive(self, row: Any, n: int = 0) -> bytes | None:
        return None

    def flush(self, row: Any) -> None:
        pass


class Refusing(TCPServer):
    """Fails before it accepts."""

    fails = True
    error: Exception = PermissionError("not now")

    def get_request(self) -> Any:
        if self.fails:
            raise self.error
        return super().get_request()


class Answer(BaseRequestHandler):
    def handle(self) -> None:
        self.request.sendall(b"hello\n")


@pytest.fixture
def refusing(loop: Reactor, connect: Any) -> Iterator[Any]:
    """Give a server that somebody waits for, and its listener."""
    server = Refusing(("127.0.0.1", 0), Answer)
    listener = loop.add(server, way="inline")
    connect(listener)
    with contextlib.closing(server.socket):
        yield server, listener


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


def is_at_rest(loop: Any) -> bool:
    """Is nothing ready, turn after turn?"""
    return all(turn.ready == () for turn in turns(loop, 20))


# -- listeners --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("error", [PermissionError("not now"), OSError("no errno"), OSError(errno.EIO, "broken")])
def test_a_listener_that_accepts_nothing_rests_and_is_tried_again(
    loop: Reactor, clock: ManualClock, refusing: Any, connect: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    server, listener = refusing
    server.error = error
    turns(loop, ENOUGH)
    assert (listener.row.phase, listener.row.paused) == (Phase.PAUSED, {"spin"})
    assert is_at_rest(loop)
    (line,) = warnings_of(caplog)
    for word in (str(listener.row), f"{SPIN_TURNS} turns", "get_request", f"rests for {REST_LEAST_S:.1f} s"):
        assert word in line
    for _ in range(2):  # it is no better: it rests again, and the log has said so
        clock.advance(REST_LEAST_S)
        loop.step(0)
        loop.step(0)
        assert listener.row.phase is Phase.LISTENING
        turns(loop, ENOUGH)
        assert listener.row.paused == {"spin"}
    assert len(warnings_of(caplog)) == 1
    server.fails = False
    clock.advance(REST_LEAST_S)
    turn_until(loop, lambda: listener.row.requests == 1)
    client = connect(listener)
    assert receive_all(loop, client) == b"hello\n"
    server.fails = True
    connect(listener)
    turns(loop, ENOUGH)
    assert len(warnings_of(caplog)) == 2, "something has arrived since, so this is news"


def test_the_loop_goes_on_meanwhile(loop: Reactor, refusing: Any, connect: Any) -> None:
    _, listener = refusing
    client = connect(listen(loop, echo))
    for number in range(ENOUGH // 2):
        ask(loop, client, b"%d\n" % number, b"%d\n" % number)
    turns(loop, ENOUGH)
    assert listener.row.paused == {"spin"}
    ask(loop, client, b"after\n", b"after\n")


def test_a_pause_of_the_user_outlasts_the_rest(loop: Reactor, clock: ManualClock, refusing: Any) -> None:
    _, listener = refusing
    turns(loop, ENOUGH)
    listener.pause()
    clock.advance(REST_LEAST_S)
    turns(loop)
    assert (listener.row.phase, listener.row.paused) == (Phase.PAUSED, {"user"})


def test_a_listener_at_rest_may_be_closed(loop: Reactor, clock: ManualClock, refusing: Any) -> None:
    _, listener = refusing
    turns(loop, ENOUGH)
    listener.close()
    turns(loop)
    assert listener.row.phase is Phase.CLOSED
    clock.advance(REST_MOST_S)
    turns(loop)
    assert loop.next_turn_in_s() is None


def test_a_listener_costs_little_of_a_cpu(make_loop: Any, connect: Any) -> None:
    """On the real clock: how long it rests, by how long it has spun."""
    loop = make_loop(clock=None)
    server = Refusing(("127.0.0.1", 0), Answer)
    with contextlib.closing(server.socket):
        listener = loop.add(server, way="inline")
        connect(listener)
        gc.collect()  # of what other tests have left, which may take longer than all the rest
        cpu_s = time.thread_time()
        turn_until(loop, lambda: listener.row.paused, turns=ENOUGH)
        cpu_s = time.thread_time() - cpu_s
        rests_s = loop.next_turn_in_s()
        assert rests_s > REST_MOST_S - 1 or cpu_s / (rests_s + cpu_s) <= CPU_SHARE


def test_connections_that_fail_in_the_handshake_are_progress(loop: Reactor, refusing: Any, connect: Any) -> None:
    """Under a flood of them, a listener that rested would serve nobody: each of them is gone, unlike what spins."""
    server, listener = refusing
    for server.error in (ConnectionResetError("in the handshake"), TimeoutError("in the handshake"), *_tls_errors()):
        turns(loop, ENOUGH)
        assert listener.row.phase is Phase.LISTENING


def _tls_errors() -> list[Exception]:
    ssl = pytest.importorskip("ssl")
    return [ssl.SSLError(1, "HTTP_REQUEST"), ssl.SSLEOFError(8, "EOF")]


# -- packets ----------------------------------------------------------------------------------------------------------


class Numb(socket.socket):
    """A socket that has packets and gives none."""

    numb = True

    def recvfrom(self, *args: Any) -> Any:
        if self.numb:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        return super().recvfrom(*args)


def test_a_datagram_socket_rests_too(loop: Reactor, clock: ManualClock, caplog: pytest.LogCaptureFixture) -> None:
    sock = Numb(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    packets: list[Datagram] = []
    listener = listen(loop, packets.append, sock)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", listener.address)
        turns(loop, ENOUGH)
        assert listener.row.paused == {"spin"}
        assert is_at_rest(loop)
        sock.numb = False
        clock.advance(REST_LEAST_S)
        turn_until(loop, lambda: packets)
    assert len(warnings_of(caplog)) == 1


def test_so_does_a_hosted_one(loop: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    class Silent(UDPServer):
        def get_request(self) -> Any:
            raise OSError("not now")

    listener = loop.add(Silent(("127.0.0.1", 0), Answer), way="inline")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", listener.address)
        turns(loop, ENOUGH)
    assert listener.row.paused == {"spin"}
    assert is_at_rest(loop)
    assert len(warnings_of(caplog)) == 1


# -- connections ------------------------------------------------------------------------------------------------------


def spinning_stream(loop: Reactor, connect: Any, handler: Any = echo) -> Any:
    """Return the row of a connection that is ready and does not receive."""
    client = connect(listen(loop, handler))
    row = only(loop)
    turns(loop)
    row.transport = Idle()
    row.mark()  # it takes the long way now
    row.mark()
    client.sendall(b"hello\n")
    turns(loop, ENOUGH)
    return row


def test_a_connection_is_left_to_its_deadline(
    loop: Reactor, clock: ManualClock, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    row = spinning_stream(loop, connect)
    assert (row.interest, row.phase, row.paused) == (0, Phase.IDLE, {"spin"})
    assert "spin" in loop.table.explain(row)
    assert is_at_rest(loop)
    (line,) = warnings_of(caplog)
    for word in (f"descriptor {row.fd} of {row}", f"{SPIN_TURNS} turns", "its deadline ends it in 75.0 s"):
        assert word in line
    row.resume("spin")  # whatever asks for it
    assert is_at_rest(loop)
    clock.advance(row.limits.idle_s)
    turns(loop)
    clock.advance(row.limits.linger_s)
    turns(loop)
    assert (row.phase, row.end) == (Phase.CLOSED, End.LIMIT)
    assert not streams(loop)


def test_a_connection_without_a_deadline_ends(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    async def works(stream: Stream) -> None:
        await sleep(1e6)

    row = spinning_stream(loop, connect, works)
    assert (row.phase, row.end) == (Phase.CLOSED, End.ABORTED)
    assert "nothing came of it" in loop.table.ended[-1].detail
    (line,) = warnings_of(caplog)
    assert "it has no deadline" in line


def test_a_reply_that_does_not_leave_has_the_time_of_a_stall(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    connect(listen(loop, echo))
    row = only(loop)
    turns(loop)
    row.transport = Idle()
    row.mark()  # it takes the long way now
    row.write(b"x")
    turns(loop, ENOUGH)
    assert (row.interest, row.outbox_bytes) == (0, 1)
    assert is_at_rest(loop)
    clock.advance(row.limits.write_stall_s)
    turns(loop)
    assert row.phase is Phase.CLOSED


def test_a_green_handler_that_waits_and_takes_nothing_ends(loop: Reactor, connect: Any) -> None:
    pytest.importorskip("greenlet")
    from reactor.green_handlers import current

    class Waits(BaseRequestHandler):
        def handle(self) -> None:
            green: Any = current()
            while True:
                green.row.wait(READ, green, None)

    listener = loop.add(TCPServer(("127.0.0.1", 0), Waits), way="greenlet")
    client = connect(listener)
    row = only(loop)
    client.sendall(b"x")
    turns(loop, ENOUGH)
    assert row.interest == 0
    assert is_at_rest(loop)


def test_the_waker_is_fatal(loop: Reactor) -> None:
    loop.step(0.001)
    waker: Any = loop._waker

    class Stuck:
        fileno, close = waker.sock.fileno, waker.sock.close

        def recv(self, size: int) -> bytes:
            raise BlockingIOError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    waker.sock = Stuck()
    waker.wake()
    with pytest.raises(RuntimeError, match=r"\(waker of waker\) was ready in 1000 turns .*the loop's own socket pair"):
        turns(loop, ENOUGH)


# -- who is not touched -----------------------------------------------------------------------------------------------


def test_one_byte_in_a_thousand_turns_is_enough(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    turns(loop)
    row.transport = Idle()
    row.mark()  # it takes the long way now
    client.sendall(b"hello\n")
    for _ in range(5):
        turns(loop, SPIN_TURNS - 10)
        row.bytes_in += 1
    assert row.interest == READ
    assert warnings_of(caplog) == []


def test_each_row_is_judged_by_its_own_turns(loop: Reactor, refusing: Any, connect: Any) -> None:
    _, listener = refusing
    client = connect(listen(loop, echo))
    row = only(loop)
    row.transport = Idle()
    row.mark()  # it takes the long way now
    turns(loop, LOOK_TURNS + SPIN_TURNS - 100)
    client.sendall(b"hello\n")
    turns(loop, 110)
    assert listener.row.paused == {"spin"}
    assert (row.interest, row.paused) == (READ, frozenset()), "it was ready in a hundred turns only"


def test_nor_is_one_that_is_slow_by_the_clock(loop: Reactor, clock: ManualClock, refusing: Any) -> None:
    """Children that accept from one socket may be quicker than this loop for a while."""
    _, listener = refusing
    for _ in range(ENOUGH):
        clock.advance(2 * SPIN_S / SPIN_TURNS)
        loop.step(0)
    assert listener.row.phase is Phase.LISTENING


def test_a_thread_that_posts_without_end_does_not_make_the_waker_a_spin(loop: Reactor) -> None:
    loop.step(0.001)
    waker: Any = loop._waker
    for _ in range(2 * ENOUGH):
        waker.wake()
        assert waker.id in loop.step(1).ready


def test_a_thread_that_reads_the_same_socket_harms_nobody(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    turns(loop)

    def reads(sock: socket.socket) -> None:
        with sock:
            while not done.is_set():
                with contextlib.suppress(BlockingIOError):
                    sock.recv(100)

    done = threading.Event()
    thread = threading.Thread(target=reads, args=(row.sock.dup(),))
    thread.start()
    client.setblocking(False)
    for _ in range(2 * ENOUGH):
        with contextlib.suppress(BlockingIOError):
            client.send(b"x\n")
        loop.step(0)
    assert row.end is None
    done.set()
    thread.join(10)
    assert warnings_of(caplog) == []


def test_busy_rows_are_asked_for_two_turns_and_no_more(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    ask(loop, client, b"x\n", b"x\n")
    asked: list[int] = []
    quarantine: Any = loop.quarantine
    suspect = quarantine._suspect
    quarantine._suspect = lambda batch: (asked.append(len(batch)), suspect(batch))
    client.setblocking(False)
    for _ in range(10 * LOOK_TURNS):
        client.send(b"x\n")
        loop.step(1)
        with contextlib.suppress(BlockingIOError):
            client.recv(100)
    assert 0 < len(asked) <= 20


def test_a_look_at_a_quiet_loop_does_not_wake_it(loop: Reactor, connect: Any) -> None:
    connect(listen(loop, echo))
    only(loop)
    turns(loop)
    loop.until_look = 1
    waits = Waits(loop)
    loop.step(0.02)
    assert waits.timeouts == [0, 0.02]


# -- sockets that were closed behind our back -------------------------------------------------------------------------


@pytest.fixture
def held(loop: Reactor, connect: Any) -> Iterator[tuple[Any, Any, int]]:
    """Close a row's socket behind its back while a copy is open, and something arrives; give client, another, the number."""
    listener = listen(loop, echo)
    client, other = connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    turns(loop)
    for row in streams(loop):
        if row.sock.getpeername() == client.getsockname():
            break
    number, copy = row.fd, os.dup(row.fd)
    row.sock.close()
    client.sendall(b"hello\n")
    try:
        yield client, other, number
    finally:
        os.close(copy)


def wakes_in(loop: Any, window_s: float) -> int:
    """How often does an idle loop wake up?"""
    count, until = 0, time.monotonic() + window_s
    while (left_s := until - time.monotonic()) > 0:
        loop.step(left_s)
        count += 1
    return count


def test_a_file_that_is_nobodys_any_more_wakes_nobody(
    loop: Reactor, held: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """320,000 wake-ups a second on epoll, as long as the copy is open; no fault at all on poll and select."""
    _, other, _ = held
    turns(loop, LOOK_TURNS + 10)
    assert wakes_in(loop, 0.1) <= 3
    assert len(streams(loop)) == 1
    ask(loop, other, b"x\n", b"x\n")
    lines = warnings_of(caplog)
    assert len(lines) <= 1
    if isinstance(loop.demultiplexer._selector, getattr(__import__("selectors"), "EpollSelector", ())):
        assert len(lines) == 1
        assert "stream.close()" in lines[0]


def test_nor_if_its_number_is_another_rows(loop: Reactor, held: Any, connect: Any) -> None:
    """Its reports wake the new owner, who has done nothing: it must stay."""
    _, _, number = held
    turn_until(loop, lambda: len(streams(loop)) == 1)
    new = connect(listen(loop, echo))
    turn_until(loop, lambda: len(streams(loop)) == 2)
    (owner,) = (row for row in loop.table if row.fd == number)
    turns(loop, ENOUGH)
    assert wakes_in(loop, 0.1) <= 3
    ask(loop, new, b"x\n", b"x\n")
    assert owner.phase in (Phase.IDLE, Phase.LISTENING)
    assert (owner.interest, owner.paused) == (READ, frozenset())


def test_it_is_told_once_however_often_it_happens(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    listener = listen(loop, echo)
    copies = []
    for _ in range(3):
        client = connect(listener)
        row = only(loop)
        turns(loop)
        copies.append(os.dup(row.fd))
        row.sock.close()
        client.sendall(b"x")
        turns(loop, 2 * LOOK_TURNS + 10)
        client.close()
        turn_until(loop, lambda: not streams(loop))
        assert wakes_in(loop, 0.05) <= 3
    for copy in copies:
        os.close(copy)
    assert len(warnings_of(caplog)) <= 1
