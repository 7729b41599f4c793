"""Leaving in good order: who is told, who may finish, who is aborted, and what the report says."""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from reactor import (
    ConnectionLost,
    Datagram,
    DrainReport,
    End,
    EndOfStream,
    Limits,
    Lines,
    ManualClock,
    Phase,
    Reactor,
    RowSnapshot,
    Stream,
    sleep,
)
from reactor.testing import Simulation
from tests.driving import ask, listen, only, receive, receive_all, streams, turn_until, turns

pytestmark = pytest.mark.usefixtures("no_errors_left")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


async def works_for_5_s(stream: Stream) -> None:
    while line := await stream.readline():
        await sleep(5)
        stream.write(line)


@pytest.fixture
def ticking(loop: Reactor, clock: ManualClock) -> None:
    """Let the clock advance by 1 s a turn, and the loop turn without waiting, once it drains."""
    loop.hooks.append((lambda: clock.advance(1) if loop.draining else None, lambda: 0))


def ids(rows: tuple[RowSnapshot, ...]) -> list[int]:
    return [row.id for row in rows]


# -- idle rows --------------------------------------------------------------------------------------------------------


def test_idle_rows_and_rows_that_never_spoke_close_at_once(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    idle, silent = connect(listener), connect(listener)
    ask(loop, idle, b"hello\n", b"hello\n")
    turn_until(loop, lambda: len(streams(loop)) == 2)
    rows = [row.id for row in streams(loop)]
    loop.stop()
    report = loop.run()  # the clock stands still: nothing is waited for
    assert (idle.recv(1), silent.recv(1)) == (b"", b"")
    assert sorted(ids(report.idle)) == rows
    assert {row.end for row in report.idle} == {End.DRAINED}
    assert (report.finished, report.aborted, report.seconds) == ((), (), 0)
    assert str(report) == "drained in 0.00 s: 0 finished, 2 were idle, 0 aborted"


def test_a_loop_without_connections_is_drained_in_its_first_turn(loop: Reactor) -> None:
    listen(loop, echo)
    loop.stop()
    assert loop.run() == DrainReport((), (), (), 0.0)


async def _frames(stream: Stream) -> Any:
    return [frame async for frame in stream.frames(Lines())]


READS: dict[str, tuple[Callable[[Stream], Any], Any]] = {
    "readline": (lambda stream: stream.readline(), b""),
    "read_some": (lambda stream: stream.read_some(), b""),
    "frames": (_frames, []),
    "readexactly": (lambda stream: stream.readexactly(4), EndOfStream),
    "readuntil": (lambda stream: stream.readuntil(b"."), EndOfStream),
    "frame": (lambda stream: stream.frame(Lines()), EndOfStream),
}


@pytest.mark.parametrize("read", READS)
def test_a_drained_handler_sees_the_end_of_its_input(loop: Reactor, connect: Any, read: str) -> None:
    call, expected = READS[read]
    got: list[Any] = []

    async def handler(stream: Stream) -> None:
        try:
            got.append(await call(stream))
        except EndOfStream as error:
            got.append(error)
        stream.write(b"bye\n")

    client = connect(listen(loop, handler))
    row = only(loop)
    turns(loop)
    loop.stop()
    report = loop.run()
    assert client.recv(100) == b"bye\n"
    assert client.recv(100) == b""
    assert ids(report.idle) == [row.id]
    if expected is EndOfStream:
        assert isinstance(got[0], EndOfStream)
        assert got[0].cause == "drain"
        assert "draining" in str(got[0])
    else:
        assert got == [expected]


def test_a_handler_that_goes_on_after_the_end_is_aborted_at_the_deadline(
    loop: Reactor, connect: Any, ticking: None
) -> None:
    async def deaf(stream: Stream) -> None:
        while True:
            await stream.readline()

    connect(listen(loop, deaf))
    row = only(loop)
    turns(loop)
    loop.stop(drain_s=5)
    assert ids(loop.run().aborted) == [row.id]


# -- requests under way -----------------------------------------------------------------------------------------------


def test_a_partial_request_may_be_finished(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    client.sendall(b"hel")
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    loop.stop()
    turns(loop)
    assert row.phase is Phase.RECEIVING
    client.sendall(b"lo\n")
    assert receive_all(loop, client) == b"hello\n"
    client.close()
    report = loop.run()
    assert ids(report.finished) == [row.id]
    assert report.finished[0].end is End.DRAINED
    assert str(report).startswith("drained in 0.00 s: 1 finished, 0 were idle, 0 aborted")


def test_a_handler_at_work_may_finish_and_reads_the_end_next(
    loop: Reactor, clock: ManualClock, connect: Any, ticking: None
) -> None:
    client = connect(listen(loop, works_for_5_s))
    client.sendall(b"hello\n")
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    loop.stop()
    report = loop.run()
    assert ids(report.finished) == [row.id]
    assert 5 <= report.seconds <= 9  # the client does not close, so its row lingers for 2 s
    assert client.recv(100) == b"hello\n"
    assert client.recv(100) == b""


def test_a_long_reply_is_flushed_before_its_row_closes(loop: Reactor, connect: Any) -> None:
    reply = bytes(range(256)) * 8192  # 2 MiB: more than the socket buffers take

    async def handler(stream: Stream) -> None:
        while await stream.readline():
            stream.write(reply)

    client = connect(listen(loop, handler, bytes_per_turn=65536), receive_buffer=65536)
    client.sendall(b"go\n")
    row = only(loop)
    turn_until(loop, lambda: row.outbox_bytes)
    loop.stop()
    loop.step()
    client.sendall(b"and again\n")  # is not read any more, and must not turn the close into a reset
    assert receive_all(loop, client) == reply
    client.close()
    report = loop.run()
    assert ids(report.idle + report.finished) == [row.id]


def test_pipelined_requests_are_answered_whole(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo, frames_per_turn=2))
    only(loop)
    client.sendall(b"one\ntwo\nthree\nfour\nfi")
    turn_until(loop, lambda: only(loop).requests)
    loop.stop()
    turns(loop, 5)
    client.sendall(b"ve\n")
    assert receive_all(loop, client) == b"one\ntwo\nthree\nfour\nfive\n"
    client.close()
    assert not loop.run().aborted


# -- what comes in ----------------------------------------------------------------------------------------------------


def test_new_connections_and_packets_are_refused(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    packets: list[bytes] = []
    listener = listen(loop, works_for_5_s)
    unix = listen(loop, echo, f"unix://{tmp_path}/s")
    datagrams = listen(loop, lambda packet: packets.append(packet.data), "udp://127.0.0.1:0")
    busy = connect(listener)
    busy.sendall(b"x\n")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.WORKING)
    loop.stop()
    loop.step()
    for closed in (listener, unix):
        with pytest.raises((ConnectionRefusedError, FileNotFoundError)):
            connect(closed)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.connect(datagrams.address)
        with contextlib.suppress(ConnectionRefusedError):
            client.send(b"late")
            client.send(b"later")
    loop.step()
    assert packets == []
    assert [row.phase for row in streams(loop)] == [Phase.WORKING]
    assert not list(tmp_path.iterdir())


def test_who_waits_in_the_backlog_is_not_left_hanging(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo, accepts_per_turn=1)
    clients = [connect(listener) for _ in range(5)]
    loop.stop()
    loop.run()
    for client in clients:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


def test_an_answer_to_a_packet_that_is_under_way_is_sent(loop: Reactor, clock: ManualClock, ticking: None) -> None:
    async def later(packet: Datagram) -> None:
        await sleep(5)
        packet.reply(b"after 5 s")

    listener = listen(loop, later, "udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"first", listener.address)
        turn_until(loop, lambda: listener.row.requests)
        loop.stop()
        turns(loop, 2)
        client.sendto(b"too late", listener.address)
        report = loop.run()
        assert client.recv(100) == b"after 5 s"
    assert 5 <= report.seconds <= 7
    assert listener.row.requests == 1
    assert listener.row.phase is Phase.CLOSED


def test_an_answer_that_takes_too_long_is_not_waited_for(loop: Reactor, clock: ManualClock, ticking: None) -> None:
    ends: list[str] = []

    async def never(packet: Datagram) -> None:
        try:
            await sleep(1000)
        finally:
            ends.append("cancelled")

    listener = listen(loop, never, "udp://127.0.0.1:0")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", listener.address)
        turn_until(loop, lambda: listener.row.requests)
    loop.stop(drain_s=3)
    assert 3 <= loop.run().seconds <= 5
    loop.step()
    assert ends == ["cancelled"]
    assert listener.row.phase is Phase.CLOSED


# -- the deadline -----------------------------------------------------------------------------------------------------


def test_the_deadline_aborts_the_rest_with_the_reason(
    loop: Reactor, clock: ManualClock, connect: Any, ticking: None
) -> None:
    lost: list[ConnectionLost] = []

    async def never(stream: Stream) -> None:
        if not await stream.readline():
            return
        stream.write(b"half a reply")
        try:
            await sleep(1000)
        except ConnectionLost as error:
            lost.append(error)
            raise

    listener = listen(loop, never)
    busy, idle = connect(listener), connect(listener)
    busy.sendall(b"x\n")
    assert receive(loop, busy, 12) == b"half a reply"
    turn_until(loop, lambda: len(streams(loop)) == 2)
    stuck, silent = streams(loop)
    loop.stop(drain_s=3)
    report = loop.run()
    assert ids(report.aborted) == [stuck.id]
    assert ids(report.idle) == [silent.id]
    assert 3 <= report.seconds <= 5
    (row,) = report.aborted
    assert (row.phase, row.end) == (Phase.WORKING, End.ABORTED)
    assert "drain deadline" in row.detail
    first, second = str(report).splitlines()
    assert first == f"drained in {report.seconds:.2f} s: 0 finished, 1 were idle, 1 aborted"
    assert f"row {stuck.id} " in second
    assert "WORKING, the drain deadline has passed" in second
    assert "test_drain.py:" in second  # where the handler waits
    with pytest.raises(ConnectionResetError):
        busy.recv(100)
    assert idle.recv(100) == b""
    loop.step()  # or close(): the handler hears of it too
    assert len(lost) == 1
    assert "drain deadline" in str(lost[0])


def test_the_deadline_may_be_infinite_in_practice_but_default_is_10_s(
    loop: Reactor, clock: ManualClock, connect: Any, ticking: None
) -> None:
    client = connect(listen(loop, works_for_5_s, request_s=None))
    client.sendall(b"half a requ")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.RECEIVING)
    loop.stop()
    report = loop.run()
    assert len(report.aborted) == 1
    assert 10 <= report.seconds <= 12


def test_a_row_that_only_lingers_at_the_deadline_has_finished(loop: Reactor, connect: Any) -> None:
    """All is sent, and the peer is awaited out of courtesy: to abort it could destroy the reply."""

    async def one_line(stream: Stream) -> None:
        stream.write(await stream.readline())

    client = connect(listen(loop, one_line))
    client.sendall(b"hello\n")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.LINGERING)
    loop.stop(drain_s=0)
    report = loop.run()
    assert (len(report.finished), len(report.aborted)) == (1, 0)
    assert client.recv(100) == b"hello\n"
    assert client.recv(100) == b""


@pytest.mark.parametrize(("says_more", "seconds"), [(False, 0), (True, 2)])
def test_a_row_that_only_lingers_holds_a_drain_up_if_its_peer_still_sends(
    loop: Reactor, connect: Any, clock: ManualClock, says_more: bool, seconds: float
) -> None:
    async def one_line(stream: Stream) -> None:
        stream.write(await stream.readline())

    client = connect(listen(loop, one_line))
    client.sendall(b"hello\n")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.LINGERING)
    if says_more:
        client.sendall(b"more")
        turn_until(loop, lambda: only(loop).bytes_in == 10)
    loop.stop()
    loop.call_soon(clock.advance, 2)
    report = loop.run()
    assert (len(report.finished), len(report.aborted), report.seconds) == (1, 0, seconds)
    assert client.recv(100) == b"hello\n"


def test_stop_with_no_time_aborts_at_once(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, works_for_5_s))
    client.sendall(b"x\n")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.WORKING)
    loop.stop(drain_s=0)
    report = loop.run()
    assert len(report.aborted) == 1
    assert report.seconds == 0
    with pytest.raises(ConnectionResetError):
        client.recv(1)


@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_second_stop_without_time_aborts_a_drain_under_way(loop: Reactor, connect: Any, times: int) -> None:
    client = connect(listen(loop, works_for_5_s))
    client.sendall(b"x\n")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.WORKING)
    row = only(loop)
    loop.stop()
    turns(loop, 3)
    assert streams(loop) == [row]
    for _ in range(times):
        loop.stop(drain_s=0)
    report = loop.run()
    assert ids(report.aborted) == [row.id]
    assert (report.finished, report.idle) == ((), ())


def test_a_second_stop_with_time_does_not_start_the_drain_again(
    loop: Reactor, connect: Any, ticking: None
) -> None:
    client = connect(listen(loop, works_for_5_s, request_s=None))
    client.sendall(b"half")
    turn_until(loop, lambda: streams(loop) and only(loop).phase is Phase.RECEIVING)
    loop.stop(drain_s=4)
    turns(loop, 2)
    loop.stop(drain_s=1000)
    assert loop.run().seconds <= 6


def test_stop_before_the_deadline_of_an_earlier_one_may_shorten_it_to_nothing_before_the_start(loop: Reactor) -> None:
    loop.stop(drain_s=100)
    loop.stop(drain_s=0)
    assert loop.run().seconds == 0


# -- afterwards -------------------------------------------------------------------------------------------------------


def test_a_drained_loop_can_be_run_again(loop: Reactor, connect: Any) -> None:
    for _ in range(3):
        client = connect(listen(loop, echo))
        for _ in range(2):  # the first may be answered in the very turn that accepts
            ask(loop, client, b"hello\n", b"hello\n")
        loop.stop()
        report = loop.run()
        assert len(report.idle) == 1
        assert client.recv(1) == b""
        assert not [row for row in loop.table if row.kind != "waker"]


def test_the_deadline_of_a_drain_ends_with_it(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    loop.stop()
    loop.run()
    client = connect(listen(loop, echo))
    row = only(loop)
    clock.advance(11)
    turns(loop)
    assert loop.next_turn_in_s() == pytest.approx(64)  # its idle_s, and nothing before
    ask(loop, client, b"hello\n", b"hello\n")
    assert row.end is None


def test_a_drain_that_was_left_by_an_exception_goes_on_in_the_next_run(loop: Reactor, connect: Any) -> None:
    async def exits(stream: Stream) -> None:
        await stream.readline()
        raise KeyboardInterrupt

    listener = listen(loop, exits)
    clients = [connect(listener) for _ in range(2)]
    turn_until(loop, lambda: len(streams(loop)) == 2)
    turns(loop)
    loop.stop()
    for _ in clients:
        with pytest.raises(KeyboardInterrupt):
            loop.run()
    report = loop.run()
    assert len(report.idle) == 2
    assert not loop.draining


def test_an_uncaught_end_of_stream_is_a_normal_end(loop: Reactor, connect: Any) -> None:
    async def handler(stream: Stream) -> None:
        await stream.readexactly(10)

    connect(listen(loop, handler))
    only(loop)
    turns(loop)
    loop.stop()
    (row,) = loop.run().idle
    assert row.end is End.DRAINED
    assert not [one for one in loop.table.ended if one.id == row.id]


def test_the_report_counts_each_connection_once(loop: Reactor, connect: Any, ticking: None) -> None:
    """Five idle, five that finish, five that do not."""
    listener = listen(loop, works_for_5_s, request_s=None)
    clients = [connect(listener) for _ in range(15)]
    turn_until(loop, lambda: len(streams(loop)) == 15)
    for number, client in enumerate(clients):
        client.sendall((b"", b"x\n", b"half")[number % 3])
    turn_until(loop, lambda: sum(row.phase is Phase.IDLE for row in streams(loop)) == 5)
    loop.stop(drain_s=9.5)
    report = loop.run()
    assert [len(rows) for rows in (report.idle, report.finished, report.aborted)] == [5, 5, 5]
    assert len({*ids(report.idle), *ids(report.finished), *ids(report.aborted)}) == 15


def test_a_paused_listener_and_a_paused_row_are_drained_too(loop: Reactor, connect: Any, ticking: None) -> None:
    listener = listen(loop, echo)
    client = connect(listener)
    row = only(loop)
    turns(loop)
    row.pause("test")
    listener.pause()
    turns(loop)
    loop.stop()
    report = loop.run()
    assert len(report.idle) + len(report.aborted) == 1  # whoever paused it might have resumed it
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(1) == b""


def test_limits_do_not_disturb_a_drain(make_loop: Callable[..., Reactor], connect: Any) -> None:
    """A listener that starves for a place is closed like any other, and not woken by the rows that close."""
    loop = make_loop(limits=Limits(connections=1))
    listener = loop.listen("tcp://127.0.0.1:0", echo)
    clients = [connect(listener) for _ in range(3)]
    only(loop)
    turns(loop)
    assert listener.row.paused == {"connections"}
    loop.stop()
    assert len(loop.run().idle) == 1
    for client in clients:
        with contextlib.suppress(ConnectionResetError):
            assert client.recv(1) == b""


# -- replies on their way ---------------------------------------------------------------------------------------------

REPLY = bytes(50_000)  # more than a simulated peer takes while it does not read, less than both ends have room for


async def replies(stream: Stream) -> None:
    while await stream.readline():
        stream.write(REPLY)


async def replies_once(stream: Stream) -> None:
    await stream.readline()
    stream.write(REPLY)


@pytest.mark.parametrize("handler", [replies, replies_once])
def test_a_reply_on_its_way_arrives_though_the_next_request_crosses_the_end(handler: Any) -> None:
    with Simulation() as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", handler))
        client.stop_reading()
        client.send(b"get\n")
        world.run_until_quiet(patience_s=0)
        (row,) = streams(world.reactor)
        assert (row.phase in (Phase.IDLE, Phase.LINGERING), row.bytes_out) == (True, len(REPLY))
        world.reactor.stop(drain_s=5)
        world.run_until_quiet(patience_s=0)
        client.send(b"get\n")
        world.run_until_quiet(patience_s=0)
        client.go_on_reading()
        world.run_until_quiet()
        assert client.take() == REPLY
        world.advance(5)


@pytest.mark.parametrize(("seconds", "lingers"), [(1, True), (2, False)])
def test_if_nobody_can_say_a_reply_has_the_time_that_it_always_has(
    loop: Reactor, connect: Any, clock: ManualClock, monkeypatch: pytest.MonkeyPatch, seconds: float, lingers: bool
) -> None:
    monkeypatch.setattr("reactor.settling.unsent_bytes", lambda sock: None)
    client = connect(listen(loop, echo))
    ask(loop, client, b"hello\n", b"hello\n")
    row = only(loop)
    clock.advance(seconds)
    loop.stop()
    turns(loop, 5)
    assert (row.phase is Phase.LINGERING) == lingers


def test_who_has_got_nothing_has_nothing_on_its_way(loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []
    monkeypatch.setattr("reactor.settling.unsent_bytes", asked.append)
    connect(listen(loop, echo))
    row = only(loop)
    loop.stop()
    turn_until(loop, lambda: row.fd < 0)
    assert asked == []
