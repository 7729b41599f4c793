"""The way of bytes through a connection: budgets and fairness, phases at settle, counters, coalescing, water marks."""

import contextlib
import gc
import inspect
import socket
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import (
    ConnectionLost,
    End,
    HttpRequests,
    LengthPrefixed,
    LimitError,
    Limits,
    Lines,
    ManualClock,
    Need,
    Netstring,
    Observer,
    Phase,
    Reactor,
    Stream,
    sleep,
    socketserver,
)
from reactor.phases import RULES
from reactor.streams import StreamRow
from tests.driving import (
    WAIT_S,
    ask,
    listen,
    only,
    receive,
    receive_all,
    send_all,
    streams,
    turn_until,
    turns,
    until_gone,
)

pytestmark = pytest.mark.usefixtures("no_errors_left")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Notes(Observer):
    """What an observer was told of connections; it demands that every transition is in the table of phases."""

    def __init__(self) -> None:
        self.phases: list[tuple[int, str, Phase, Phase]] = []
        self.frames: list[tuple[int, int]] = []
        self.ends: list[tuple[int, End]] = []

    def on_phase(self, row: Any, event: str, before: Phase, after: Phase) -> None:
        assert RULES[before].exits[event] is after
        if row.kind == "stream":
            self.phases.append((row.id, event, before, after))

    def on_frame(self, row: Any, wire_bytes: int) -> None:
        self.frames.append((row.id, wire_bytes))

    def on_end(self, row: Any, end: End) -> None:
        self.ends.append((row.id, end))

    def path(self, row: Any) -> list[Phase]:
        """The phases that a row went through."""
        return [after for number, _, _, after in self.phases if number == row.id]


@pytest.fixture
def notes() -> Notes:
    """Give the observer of `watched`."""
    return Notes()


@pytest.fixture
def watched(make_loop: Any, notes: Notes) -> Reactor:
    """Give a reactor that `notes` observes."""
    return make_loop(observers=[notes])


class CountingSocket(socket.socket):
    """A socket that counts its sends, and may be told to send less, or to fail."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.sent: list[int] = []
        self.most: Iterator[int] | None = None  # how much each send may take; 0: EAGAIN

    def send(self, data: Any, flags: int = 0) -> int:
        if self.most is not None:
            most = next(self.most)
            if not most:
                raise BlockingIOError(11, "try again")
            data = memoryview(data)[:most]
        count = super().send(data, flags)
        self.sent.append(count)
        return count


class CountingListener(socket.socket):
    """A listening socket whose connections are `CountingSocket`s."""

    def accept(self) -> tuple[socket.socket, Any]:
        fd, address = self._accept()
        return CountingSocket(self.family, self.type, self.proto, fileno=fd), address


def counting_listener(send_buffer: int | None = None) -> CountingListener:
    listener = CountingListener(socket.AF_INET, socket.SOCK_STREAM)
    if send_buffer is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, send_buffer)  # connections inherit it
    listener.bind(("127.0.0.1", 0))
    listener.listen()
    return listener


# -- fairness ---------------------------------------------------------------------------------------------------------


def test_10_000_pipelined_lines_are_answered_in_order_at_one_depth(loop: Reactor, connect: Any) -> None:
    depths: set[int] = set()

    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            depth, frame = 0, sys._getframe()
            while frame is not None:
                depth, frame = depth + 1, frame.f_back
            depths.add(depth)
            stream.write(line)

    client = connect(listen(loop, serve))
    row = only(loop)
    wire = b"".join(b"%d\n" % i for i in range(10_000))
    client.sendall(wire)
    assert receive(loop, client, len(wire)) == wire
    assert row.requests == 10_000
    assert len(depths) <= 2


@pytest.mark.parametrize("frames_per_turn", [1, 4, 32])
@pytest.mark.parametrize("observed", [False, True])
def test_a_pipeliner_gets_frames_per_turn_and_the_others_their_turn(
    make_loop: Any, notes: Notes, connect: Any, frames_per_turn: int, observed: bool
) -> None:
    loop = make_loop(observers=[notes] if observed else [])
    listener = listen(loop, echo, frames_per_turn=frames_per_turn)
    greedy, modest = connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    row, other = streams(loop)
    greedy.sendall(b"x\n" * 2000)
    loop.step(1)
    before = row.requests
    for round_ in range(10):
        modest.sendall(b"ping\n")
        turn_until(loop, lambda round_=round_: other.requests > round_, turns=3)
        # A turn serves the row once for what is buffered, and once more for what has arrived.
        assert 0 < row.requests - before <= 3 * 2 * frames_per_turn
        before = row.requests
    assert row.requests < 2000
    assert receive(loop, modest, 50) == b"ping\n" * 10
    assert receive(loop, greedy, 4000) == b"x\n" * 2000


def test_a_pipeliner_does_not_fill_the_inbox_beyond_its_mark(loop: Reactor, connect: Any) -> None:
    """Its frames are taken 32 a turn, its bytes would arrive 64 KiB a turn."""

    async def sink(stream: Stream) -> None:
        async for _ in stream.frames(Lines()):
            pass

    client = connect(listen(loop, sink))
    row = only(loop)
    client.setblocking(False)
    chunk, largest = b"x\n" * 32768, 0
    for _ in range(60):
        with contextlib.suppress(BlockingIOError):
            client.send(chunk)
        loop.step(0)
        largest = max(largest, row.inbox_bytes)
    assert largest <= row.limits.inbox_bytes + 65536


def test_two_greedy_rows_share_the_turns(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    clients = [connect(listener) for _ in range(2)]
    turn_until(loop, lambda: len(streams(loop)) == 2)
    rows = streams(loop)
    for client in clients:
        client.sendall(b"x\n" * 3000)
    for _ in range(10):
        loop.step(0)
        assert abs(rows[0].requests - rows[1].requests) <= 128
    for client in clients:
        assert receive(loop, client, 6000) == b"x\n" * 3000


def test_200_slow_clients_delay_nobody(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo)
    for i in range(200):
        connect(listener).sendall(b"half a line" * (i % 2))
    client = connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 201)
    turns(loop, 10)
    row = streams(loop)[-1]
    for i in range(20):
        client.sendall(b"%d\n" % i)
        assert turn_until(loop, lambda i=i: row.requests == i + 1) <= 3
    assert receive(loop, client, 50) == b"".join(b"%d\n" % i for i in range(20))
    phases = [row.phase for row in streams(loop)]
    assert phases.count(Phase.RECEIVING) == 100
    assert phases.count(Phase.IDLE) == 101


def test_an_idle_loop_does_not_turn(loop: Reactor, connect: Any) -> None:
    """Nothing is due, nobody is ready: after a few turns the loop may wait for ever, or for a deadline."""
    listener = listen(loop, echo)
    quiet, half, served = connect(listener), connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 3)
    half.sendall(b"half")
    ask(loop, served, b"x\n", b"x\n")
    turns(loop, 5)
    assert loop.next_turn_in_s() == pytest.approx(30)
    assert [turn.ready for turn in turns(loop, 5)] == [()] * 5
    quiet.close()


# -- phases at settle -------------------------------------------------------------------------------------------------


def test_a_request_answered_within_a_turn_makes_no_transition(watched: Reactor, notes: Notes, connect: Any) -> None:
    client = connect(listen(watched, echo))
    row = only(watched)
    for i in range(100):
        ask(watched, client, b"%d\n" % i, b"%d\n" % i)
    assert notes.phases == []
    assert notes.frames == [(row.id, len(b"%d\n" % i)) for i in range(100)]
    assert row.phase is Phase.IDLE


def test_the_phases_of_a_request_that_takes_its_time(
    watched: Reactor, notes: Notes, connect: Any, clock: ManualClock
) -> None:
    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            await sleep(1)
            stream.write(line)

    client = connect(listen(watched, serve))
    row = only(watched)
    turns(watched)
    assert (row.phase, row.need) == (Phase.IDLE, Need.until(b"\n"))
    client.sendall(b"half")
    turn_until(watched, lambda: row.bytes_in == 4)
    assert (row.phase, row.need, row.inbox_bytes) == (Phase.RECEIVING, Need.until(b"\n"), 4)
    client.sendall(b" a line\n")
    turn_until(watched, lambda: row.requests == 1)
    assert (row.phase, row.need, row.inbox_bytes) == (Phase.WORKING, None, 0)
    clock.advance(1)
    assert receive(watched, client, 12) == b"half a line\n"
    assert row.phase is Phase.IDLE
    client.sendall(b"another\n")
    turn_until(watched, lambda: row.requests == 2)
    client.sendall(b"and more")  # while the handler works
    turn_until(watched, lambda: row.inbox_bytes == 8)
    assert (row.phase, row.need) == (Phase.WORKING, None)
    clock.advance(1)
    assert receive(watched, client, 8) == b"another\n"
    turns(watched)
    assert (row.phase, row.need) == (Phase.RECEIVING, Need.until(b"\n"))
    client.shutdown(socket.SHUT_WR)
    until_gone(watched, row)
    assert row.phase is Phase.CLOSED
    assert [(event, after) for _, event, _, after in notes.phases] == [
        ("BYTES", Phase.RECEIVING), ("FRAME", Phase.WORKING), ("REPLIED", Phase.IDLE),
        ("FRAME", Phase.WORKING), ("NEED", Phase.RECEIVING), ("BAD_FRAME", Phase.FLUSHING), ("DONE", Phase.CLOSED),
    ]  # fmt: skip
    assert notes.ends == [(row.id, End.BAD_FRAME)]


def test_a_request_of_several_frames_is_received_until_it_is_answered(
    watched: Reactor, notes: Notes, connect: Any
) -> None:
    async def serve(stream: Stream) -> None:
        while size := await stream.readline():
            body = await stream.readexactly(int(size))
            stream.write(body)

    client = connect(listen(watched, serve))
    row = only(watched)
    client.sendall(b"5\n")
    turn_until(watched, lambda: row.requests == 1)
    assert (row.phase, row.need) == (Phase.RECEIVING, Need.exactly(5))
    client.sendall(b"abc")
    turn_until(watched, lambda: row.inbox_bytes == 3)
    assert (row.phase, row.need) == (Phase.RECEIVING, Need.exactly(5))
    ask(watched, client, b"de", b"abcde")
    assert row.phase is Phase.IDLE
    assert notes.path(row) == [Phase.RECEIVING, Phase.IDLE]


def test_the_need_of_each_framing(loop: Reactor, connect: Any) -> None:
    cases = [
        (lambda s: s.readline(), b"", "until b'\\n'"),
        (lambda s: s.readuntil(b"\r\n"), b"x", "until b'\\r\\n'"),
        (lambda s: s.readexactly(512), b"x", "exactly 512"),
        (lambda s: s.frame(LengthPrefixed(4)), b"\0\0\1", "exactly 4"),
        (lambda s: s.frame(LengthPrefixed(4)), b"\0\0\1\0x", "exactly 260"),
        (lambda s: s.frame(Netstring()), b"12", "until b':'"),
        (lambda s: s.frame(Netstring()), b"12:", "exactly 16"),
        (lambda s: s.read_some(), b"", "more"),
    ]
    for read, wire, need in cases:

        async def serve(stream: Stream, read: Any = read) -> None:
            await read(stream)

        listener = listen(loop, serve)
        client = connect(listener)
        row = only(loop)
        client.sendall(wire)
        turn_until(loop, lambda row=row, wire=wire: row.bytes_in == len(wire))
        turns(loop)
        assert str(row.need) == need
        assert row.snapshot().need == need
        row.abort("a test")
        listener.close()
        turn_until(loop, lambda: not streams(loop))


def test_the_need_is_that_of_the_read_under_way(loop: Reactor, connect: Any) -> None:
    """Not that of the read before it."""

    async def serve(stream: Stream) -> None:
        await stream.readline()
        await stream.readexactly(7)
        await stream.frame(LengthPrefixed(2))

    client = connect(listen(loop, serve))
    row = only(loop)
    needs = []
    for piece in (b"", b"line\n", b"7 bytes"):
        client.sendall(piece)
        turn_until(loop, lambda: row.bytes_in in (0, 5, 12))
        turns(loop)
        needs.append(str(row.need))
    assert needs == ["until b'\\n'", "exactly 7", "exactly 2"]


def test_flushing_and_lingering(watched: Reactor, notes: Notes, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"x" * 10_000_000)

    client = connect(listen(watched, serve), receive_buffer=8192)
    row = only(watched)
    client.sendall(b"go\n")
    turn_until(watched, lambda: row.phase is not Phase.IDLE)
    turns(watched, 20)
    assert row.phase is Phase.FLUSHING
    assert row.outbox_bytes > 0
    assert row.waiting_at is None
    assert receive_all(watched, client) == b"x" * 10_000_000
    assert row.phase is Phase.LINGERING
    assert row.outbox_bytes == 0
    client.close()
    until_gone(watched, row)
    assert notes.path(row) == [Phase.FLUSHING, Phase.LINGERING, Phase.CLOSED]
    assert notes.ends == [(row.id, End.FINISHED)]


def test_after_the_peer_s_end_of_stream_there_is_no_lingering(watched: Reactor, notes: Notes, connect: Any) -> None:
    client = connect(listen(watched, echo))
    row = only(watched)
    client.sendall(b"last\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(watched, client) == b"last\n"
    until_gone(watched, row)
    assert Phase.LINGERING not in notes.path(row)
    assert notes.ends == [(row.id, End.PEER_CLOSED)]


def test_waiting_at_is_the_handler_s_line(loop: Reactor, connect: Any) -> None:
    async def deeper(stream: Stream) -> bytes:
        return await stream.readline(max_bytes=10)

    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(await deeper(stream))
        async for _ in stream.frames(Lines()):
            pass

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    here = inspect.getsourcelines(serve)[1]
    assert row.waiting_at == f"test_streams.py:{here + 1}"
    client.sendall(b"one\n")
    turn_until(loop, lambda: row.requests == 1)
    assert row.waiting_at == f"test_streams.py:{inspect.getsourcelines(deeper)[1] + 1}"
    ask(loop, client, b"two\n", b"two\n")
    assert row.waiting_at == f"test_streams.py:{here + 3}"
    row.abort("a test")
    turns(loop)
    assert row.waiting_at is None


# -- counters ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("observed", [False, True])
def test_requests_and_bytes_are_counted_exactly(make_loop: Any, notes: Notes, connect: Any, observed: bool) -> None:
    loop = make_loop(observers=[notes] if observed else [])

    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            if line == b"body\n":
                stream.write(await stream.readexactly(5))
            else:
                stream.write(line)

    client = connect(listen(loop, serve))
    row = only(loop)
    wire = b"".join(b"%d\n" % i for i in range(100)) + b"body\nab\ncd" + b"x\n" * 50
    reply = wire.replace(b"body\n", b"")
    client.sendall(wire)
    assert receive(loop, client, len(reply)) == reply
    assert row.requests == 100 + 2 + 50
    assert (row.bytes_in, row.bytes_out) == (len(wire), len(reply))
    assert row.inbox_bytes == row.outbox_bytes == 0
    if observed:
        assert len(notes.frames) == row.requests
        assert sum(size for _, size in notes.frames) == len(wire)


def test_lines_that_were_cut_ahead_and_never_read_are_no_requests(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(await stream.readline())

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"first\nsecond\nthird\n")
    assert receive_all(loop, client) == b"first\n"
    assert row.requests == 1


def test_the_snapshot_and_the_explanation_tell_the_same(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    client.sendall(b"half")
    turn_until(loop, lambda: row.bytes_in == 4)
    snapshot = row.snapshot()
    assert (snapshot.phase, snapshot.need, snapshot.inbox_bytes) == (Phase.RECEIVING, "until b'\\n'", 4)
    assert (snapshot.bytes_in, snapshot.bytes_out, snapshot.requests) == (4, 0, 0)
    assert snapshot.peer == "{}:{}".format(*client.getsockname())
    assert "has 4 bytes" in loop.table.explain(row)
    assert "RECEIVING" in str(loop.table)


# -- sends ------------------------------------------------------------------------------------------------------------


def test_all_that_is_written_in_a_batch_goes_in_one_send(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo, counting_listener()))
    row = only(loop)
    for _ in range(3):
        row.sock.sent.clear()
        ask(loop, client, b"12345678\n" * 30, b"12345678\n" * 30)
        assert row.sock.sent == [270]


def test_what_several_handlers_write_to_one_row_goes_in_one_send(loop: Reactor, connect: Any) -> None:
    rows: list[Stream] = []

    async def chat(stream: Stream) -> None:
        rows.append(stream)
        while line := await stream.readline():
            for row in rows:
                row.offer(line)

    listener = listen(loop, chat, counting_listener())
    clients = [connect(listener) for _ in range(3)]
    turn_until(loop, lambda: len(rows) == 3)
    for client in clients:
        client.sendall(b"hello\n")
    loop.step(1)
    turns(loop)
    for client in clients:
        assert receive(loop, client, 18) == b"hello\n" * 3
    assert sum(len(row.sock.sent) for row in rows) <= 9


def test_partial_writes_lose_nothing(loop: Reactor, connect: Any) -> None:
    reply = bytes(range(256)) * 16_000  # 4 MB

    async def serve(stream: Stream) -> None:
        for at in range(0, len(reply), 99_991):
            stream.write(reply[at : at + 99_991])

    client = connect(listen(loop, serve, counting_listener(send_buffer=4096)), receive_buffer=4096)
    assert receive_all(loop, client) == reply


@pytest.mark.unwatched("a socket that is ready and refuses every third send")
def test_sends_of_a_few_bytes_and_eagain_in_between_lose_nothing(loop: Reactor, connect: Any) -> None:
    pieces = [bytes([65 + i % 26]) * (i % 40) for i in range(300)]

    async def serve(stream: Stream) -> None:
        stream.sock.most = (1 + i * 7919 % 7 if i * 104729 % 3 else 0 for i in range(10**6))
        for piece in pieces:
            stream.write(piece)
            if len(piece) == 39:
                await stream.drain()

    client = connect(listen(loop, serve, counting_listener()))
    row = only(loop)
    assert receive_all(loop, client) == b"".join(pieces)
    assert row.bytes_out == len(b"".join(pieces))


def test_a_large_and_many_small_writes_keep_their_order(loop: Reactor, connect: Any) -> None:
    parts = [b"a" * 10, b"b" * 300_000, b"c" * 10, b"", b"d" * 70_000, *[b"e%d" % i for i in range(900)], b"f" * 20_000]

    async def serve(stream: Stream) -> None:
        for part in parts:
            stream.write(part)

    client = connect(listen(loop, serve))
    assert receive_all(loop, client) == b"".join(parts)


def test_one_fast_reader_does_not_hold_the_turn(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"x" * 4_000_000)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"go\n")
    client.setblocking(False)
    loop.step(1)
    sent = row.bytes_out
    assert 0 < sent <= 2 * row.limits.bytes_per_turn  # the early flush of a large write, and that of settle
    for _ in range(5):
        loop.step(0)
        assert row.bytes_out - sent <= row.limits.bytes_per_turn
        sent = row.bytes_out
        with contextlib.suppress(BlockingIOError):
            while client.recv(1 << 20):
                pass


# -- water marks ------------------------------------------------------------------------------------------------------


def test_above_the_high_mark_the_row_is_not_read_and_its_handler_not_resumed(loop: Reactor, connect: Any) -> None:
    marks: list[int] = []  # what was still to be sent when a request was handed over

    async def serve(stream: Stream) -> None:
        while await stream.readline():
            marks.append(stream.outbox_bytes)
            stream.write(b"y" * 400_000)

    client = connect(listen(loop, serve, counting_listener(send_buffer=65536)), receive_buffer=8192)
    row = only(loop)
    for i in range(10):
        client.sendall(b"%d\n" % i)
    turns(loop, 30)
    assert marks == [0]
    assert row.paused == {"outbox"}
    assert row.snapshot().paused == ("outbox",)
    received = 0
    while received < 4_000_000:
        received += len(receive(loop, client, 20_000))
        assert row.outbox_bytes <= 400_000 + row.limits.outbox_low_bytes
    turns(loop)
    assert len(marks) == 10
    assert max(marks) <= row.limits.outbox_low_bytes
    assert row.paused == frozenset()
    assert row.phase is Phase.IDLE


def test_an_outbox_never_grows_over_one_reply_beyond_the_mark(loop: Reactor, connect: Any) -> None:
    """A handler that only answers requests needs no drain: a peer that never reads costs a bounded outbox."""

    async def serve(stream: Stream) -> None:
        while await stream.readline():
            stream.write(b"z" * 30_000)

    client = connect(listen(loop, serve), receive_buffer=8192)
    row = only(loop)
    client.setblocking(False)
    for _ in range(300):
        with contextlib.suppress(BlockingIOError):
            client.send(b"q\n" * 1000)
        loop.step(0)
        assert row.outbox_bytes <= 65536 + 30_000
        assert row.inbox_bytes <= 2 * 65536


def test_the_cap_of_the_outbox_names_drain(loop: Reactor, connect: Any) -> None:
    seen: list[LimitError] = []

    async def serve(stream: Stream) -> None:
        try:
            while True:
                stream.write(b"x" * 100_000)
        except LimitError as error:
            seen.append(error)
            raise

    client = connect(listen(loop, serve, outbox_bytes=1_000_000), receive_buffer=8192)
    row = only(loop)
    turn_until(loop, lambda: seen)
    assert "drain()" in str(seen[0])
    assert seen[0].limit == "outbox_bytes"
    assert seen[0].allowed == 1_000_000
    assert seen[0].actual > 1_000_000
    received = receive_all(loop, client)  # what fitted arrives, then the row ends
    assert len(received) % 100_000 == 0
    client.close()
    until_gone(loop, row)
    assert row.end is End.LIMIT


@pytest.mark.parametrize(("size", "fits"), [(999, True), (1000, True), (1001, False)])
def test_the_cap_of_the_outbox_is_exact(loop: Reactor, connect: Any, size: int, fits: bool) -> None:
    client = connect(listen(loop, echo, outbox_bytes=1000, outbox_high_bytes=500, outbox_low_bytes=100))
    row = only(loop)
    if fits:
        row.write(b"x" * size)
        assert receive(loop, client, size) == b"x" * size
    else:
        with pytest.raises(LimitError, match="outbox_bytes: 1001 reached, 1000 allowed"):
            row.write(b"x" * size)
        turns(loop)
        assert (row.outbox_bytes, row.bytes_out) == (0, 0)


@pytest.mark.parametrize(("size", "is_read"), [(9, True), (10, False), (11, False)])
def test_a_row_is_read_up_to_the_mark_of_its_inbox(loop: Reactor, connect: Any, size: int, is_read: bool) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readline()
        await sleep(5)

    client = connect(listen(loop, serve, inbox_bytes=10))
    row = only(loop)
    client.sendall(b"go\n")
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    client.sendall(b"x" * size)
    turn_until(loop, lambda: row.inbox_bytes == size)
    turns(loop)
    assert bool(row.interest & 1) == is_read


def test_a_row_that_is_paused_and_resumed_while_idle_keeps_no_inbox(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    ask(loop, client, b"hello\n", b"hello\n")
    row.pause("user")
    turns(loop)
    row.resume("user")
    turns(loop)
    assert row.inbox is None
    ask(loop, client, b"hello\n", b"hello\n")


def test_a_word_of_the_framing_answers_no_request(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        for _ in range(2):
            await stream.frame(HttpRequests())
        stream.write(b"both")

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"POST / HTTP/1.1\r\nContent-Length: 1\r\nExpect: 100-continue\r\n\r\n")
    assert receive(loop, client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"x")
    turn_until(loop, lambda: row.requests == 1)
    turns(loop)
    assert row.phase is Phase.RECEIVING, "the peer is owed an answer"
    ask(loop, client, b"GET / HTTP/1.1\r\n\r\n", b"both")


def test_the_inbox_of_a_working_handler_is_bounded(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    got: list[int] = []

    async def serve(stream: Stream) -> None:
        await stream.readline()
        await sleep(5)
        got.append(len(await stream.readexactly(2_000_000)))

    client = connect(listen(loop, serve))
    row = only(loop)
    client.setblocking(False)
    client.send(b"go\n")
    sent = 0
    for _ in range(200):
        with contextlib.suppress(BlockingIOError):
            sent += client.send(b"x" * min(65536, 2_000_000 - sent))
        loop.step(0)
        assert row.inbox_bytes < 2 * 65536
    assert row.phase is Phase.WORKING
    clock.advance(5)
    send_all(loop, client, b"x" * (2_000_000 - sent))
    turn_until(loop, lambda: got)
    assert got == [2_000_000]


def test_pause_and_resume_by_reasons(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    ask(loop, client, b"one\n", b"one\n")
    row.pause("a")
    row.pause("b")
    row.pause("a")
    turns(loop)
    client.sendall(b"two\n")
    turns(loop, 5)
    assert row.paused == {"a", "b"}
    assert (row.requests, row.bytes_in) == (1, 4)
    row.resume("a")
    turns(loop, 5)
    assert row.requests == 1
    row.resume("never given")
    row.resume("b")
    assert receive(loop, client, 4) == b"two\n"
    assert row.paused == frozenset()


@pytest.mark.parametrize("read", ["readline", "read_some"])
def test_a_row_paused_in_the_batch_is_not_served_in_it(loop: Reactor, connect: Any, read: str) -> None:
    """Whichever of the two is dispatched first pauses the other."""
    rows: list[Stream] = []
    served: list[Stream] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        while await getattr(stream, read)():
            served.append(stream)
            for row in rows:
                if row is not stream:
                    row.pause("a test")

    listener = listen(loop, serve)
    clients = [connect(listener) for _ in range(2)]
    turn_until(loop, lambda: len(rows) == 2)
    turns(loop)
    for client in clients:
        client.sendall(b"go\n")
    turn_until(loop, lambda: served)
    turns(loop, 5)
    assert len(served) == 1
    (other,) = [row for row in rows if row is not served[0]]
    other.resume("a test")
    turn_until(loop, lambda: len(served) == 2)


def test_what_arrived_before_a_pause_and_the_end_behind_it_are_read_after_it(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    client.sendall(b"one\n")
    client.shutdown(socket.SHUT_WR)
    row.pause("a test")
    turns(loop, 5)
    row.resume("a test")
    assert receive_all(loop, client) == b"one\n"
    until_gone(loop, row)
    assert row.end is End.PEER_CLOSED


def test_a_paused_row_is_still_written_to(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo), receive_buffer=8192)
    row = only(loop)
    row.pause("a test")
    row.write(b"x" * 8_000_000)
    assert receive(loop, client, 8_000_000) == b"x" * 8_000_000
    assert row.paused == {"a test"}


def test_lines_that_were_cut_ahead_wait_while_a_row_is_paused(loop: Reactor, connect: Any) -> None:
    got: list[bytes] = []

    async def serve(stream: Stream) -> None:
        while line := await stream.readline():
            got.append(line)
            if line == b"2\n":
                stream.pause("a test")

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"1\n2\n3\n4\n")
    turn_until(loop, lambda: got)
    turns(loop, 5)
    assert got == [b"1\n", b"2\n"]
    assert row.requests == 2
    row.resume("a test")
    turn_until(loop, lambda: len(got) == 4)
    assert row.requests == 4


def test_closing_a_paused_row_ends_it(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    row.pause("a test")
    turns(loop)
    row.close()
    assert receive_all(loop, client) == b""
    client.close()
    until_gone(loop, row)
    assert row.end is End.FINISHED
    turns(loop)
    assert row.waiting_at is None  # the handler heard of it


# -- writing late -----------------------------------------------------------------------------------------------------


def test_a_late_write_does_not_destroy_a_reply_on_its_way(loop: Reactor, connect: Any) -> None:
    """A row that has said all and lingers is written to by another, who has not noticed."""

    async def serve(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"the whole reply" * 10_000)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"go\nunread input")
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    with contextlib.suppress(ConnectionLost):
        row.write(b"news")
    turns(loop)
    assert receive_all(loop, client) == b"the whole reply" * 10_000
    client.close()
    until_gone(loop, row)
    assert row.end is End.FINISHED


def test_nor_do_long_ones(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo, outbox_bytes=100_000))
    row = only(loop)
    client.close()
    until_gone(loop, row)
    StreamRow.write(row, b"x" * 200_000)  # as a task may that has not heard of it: no limit is reached, nothing is kept
    assert (row.outbox, row.pending) == (None, 0)


def test_writes_to_a_row_that_is_gone_cost_nothing(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    row.abort("a test")
    client.close()
    until_gone(loop, row)
    for _ in range(1000):
        try:
            row.write(b"x" * 100)
        except ConnectionLost:
            break
    turns(loop)
    assert row.outbox_bytes <= 100


# -- over anything ----------------------------------------------------------------------------------------------------


def test_a_socket_pair_may_be_a_row(loop: Reactor) -> None:
    """What embedders do: make the row themselves."""
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    theirs.settimeout(5)
    stream = Stream(loop, ours, None, "pair", Limits())
    stream.start(echo(stream))
    ask(loop, theirs, b"hello\n", b"hello\n")
    theirs.shutdown(socket.SHUT_WR)
    assert receive_all(loop, theirs) == b""
    theirs.close()
    until_gone(loop, stream)


def test_a_second_handler_for_a_row_is_refused(loop: Reactor) -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    stream = Stream(loop, ours, None, "pair", Limits())
    stream.start(echo(stream))
    second = echo(stream)
    with pytest.raises(RuntimeError, match="handler already"):
        stream.start(second)
    assert isinstance(second, types.CoroutineType)
    theirs.close()


# -- byte by byte ---------------------------------------------------------------------------------------------------------


def dribble(loop: Reactor, client: socket.socket, row: Any, data: bytes) -> list[tuple[int, ...]]:
    """Send byte by byte; return the rows that were settled in the turns from each byte to its arrival."""
    settled = []
    for byte in data:
        before, rows = row.bytes_in, ()
        client.sendall(bytes([byte]))
        while row.bytes_in == before:
            rows += loop.step(WAIT_S).settled
        settled.append(rows)
    return settled


@pytest.fixture(params=["coroutine", "framed"])
def slow(request: Any, loop: Reactor, connect: Any) -> tuple[socket.socket, Any]:
    """Give a client of an echo of lines, and its row."""

    class Echo(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line)

    if request.param == "coroutine":
        listener = listen(loop, echo, request_s=30)
    else:
        listener = loop.listen("tcp://127.0.0.1:0", Echo, framing=Lines(), limits=Limits(request_s=30))
    client = connect(listener)
    row = only(loop)
    turns(loop)
    return client, row


def test_a_slow_frame_is_not_settled_for_each_byte(loop: Reactor, slow: Any) -> None:
    client, row = slow
    for _ in range(2):
        first, *later = dribble(loop, client, row, b"slow")
        assert first == (row.id,)
        assert later == [(), (), ()]
        assert (row.phase, row.inbox_bytes, str(row.need)) == (Phase.RECEIVING, 4, r"until b'\n'")
        ask(loop, client, b"ly\n", b"slowly\n")
        assert row.phase is Phase.IDLE


def test_nor_is_one_of_a_framing_that_has_to_be_asked(loop: Reactor, connect: Any) -> None:
    async def by_ten(stream: Stream) -> None:
        while True:
            stream.write(await stream.readexactly(10))

    client = connect(listen(loop, by_ten))
    row = only(loop)
    turns(loop)
    first, *later = dribble(loop, client, row, b"slow")
    assert (first, later) == ((row.id,), [(), (), ()])
    assert loop.buffered_bytes == 4
    ask(loop, client, b"ly now", b"slowly now")


def test_its_deadline_holds_all_the_same(loop: Reactor, clock: ManualClock, slow: Any) -> None:
    client, row = slow
    for _ in range(3):
        dribble(loop, client, row, b"ab")
        clock.advance(9)
    clock.advance(3)
    turns(loop)
    assert row.end is End.LIMIT
    assert receive_all(loop, client) == b""


def test_the_next_frame_has_a_deadline_of_its_own(loop: Reactor, clock: ManualClock, slow: Any) -> None:
    client, row = slow
    dribble(loop, client, row, b"ab")
    clock.advance(29)
    ask(loop, client, b"c\nd", b"abc\n")
    for _ in range(2):
        clock.advance(14)
        dribble(loop, client, row, b"e")
        assert row.end is None
    clock.advance(2)
    turns(loop)
    assert row.end is End.LIMIT


def test_so_do_the_end_of_the_stream_and_an_abort(loop: Reactor, slow: Any) -> None:
    client, row = slow
    dribble(loop, client, row, b"abc")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""
    client.close()
    until_gone(loop, row)
    assert row.end in (End.BAD_FRAME, End.PEER_CLOSED)


def test_an_abort_amid_a_slow_frame(loop: Reactor, slow: Any) -> None:
    client, row = slow
    dribble(loop, client, row, b"abc")
    row.abort("enough")
    turns(loop)
    with pytest.raises(ConnectionResetError):
        receive_all(loop, client)
    assert (row.end, row.fd) == (End.ABORTED, -1)


def test_a_pause_amid_a_slow_frame(loop: Reactor, slow: Any) -> None:
    client, row = slow
    dribble(loop, client, row, b"abc")
    row.pause("a test")
    turns(loop)
    client.sendall(b"d\n")
    turns(loop)
    assert row.bytes_in == 3
    row.resume("a test")
    assert receive(loop, client, 5) == b"abcd\n"


def test_a_row_that_was_not_read_is_read_on_for_a_slow_frame(loop: Reactor, connect: Any) -> None:
    """Its inbox was full while it waited for its turn, and ends in half a frame."""
    got: list[bytes] = []

    async def sink(stream: Stream) -> None:
        while line := await stream.readline():
            got.append(line)

    client = connect(listen(loop, sink, frames_per_turn=1, inbox_bytes=1000, frame_bytes=1000))
    row = only(loop)
    client.sendall(b"%099d\n" % 0 * 20 + b"ha")
    turn_until(loop, lambda: row.interest == 0)
    assert row.phase is Phase.RECEIVING
    turn_until(loop, lambda: len(got) == 20)
    turns(loop)
    client.sendall(b"lf\n")
    turn_until(loop, lambda: got[-1] == b"half\n")


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_observer_is_told_the_whole_size_of_a_request_on_disk(
    watched: Reactor, notes: Notes, connect: Any, pieces: int
) -> None:
    class Reads(socketserver.StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(b"%d" % len(self.rfile.read()))

    request = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n" + bytes(100_000)
    listener = watched.listen("tcp://127.0.0.1:0", Reads, framing=HttpRequests(memory_bytes=1000))
    client = connect(listener)
    row = only(watched)
    size = len(request) // pieces + 1
    for start in range(0, len(request), size):
        part = request[start : start + size]
        client.sendall(part)
        turn_until(watched, lambda start=start, part=part: row.bytes_in == start + len(part))
    assert receive(watched, client, 6) == b"%d" % len(request)
    assert notes.frames == [(row.id, len(request))]


# -- rows that have ended -------------------------------------------------------------------------------------------------


async def read_lines(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


async def read_frames(stream: Stream) -> None:
    async for line in stream.frames(Lines()):
        stream.write(line)


async def read_exactly(stream: Stream) -> None:
    while True:
        stream.write(await stream.readexactly(2))


async def read_until(stream: Stream) -> None:
    while True:
        stream.write(await stream.readuntil(b"\n"))


async def read_a_frame(stream: Stream) -> None:
    while True:
        stream.write(await stream.frame(Lines()))


async def read_all(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


@pytest.mark.parametrize("handler", [read_lines, read_frames, read_exactly, read_until, read_a_frame, read_all])
@pytest.mark.parametrize("rest", [b"", b"x"])
def test_a_stream_that_ended_is_gone_without_the_collector(connect: Any, handler: Any, rest: bytes) -> None:
    """The heap of deadlines may hold some of the last."""

    def held() -> int:
        return sum(isinstance(each, Stream) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    before = held()  # by other tests
    try:
        with Reactor() as loop:
            listener = listen(loop, handler)
            for _ in range(120):
                with contextlib.closing(socket.create_connection(listener.address)) as client:
                    row = only(loop)
                    ask(loop, client, b"a\n", b"a\n")
                    client.sendall(rest)
                    client.shutdown(socket.SHUT_WR)
                    assert receive_all(loop, client) == (rest if handler is read_all else b"")
                until_gone(loop, row)
                assert row.end is (End.BAD_FRAME if rest and handler is not read_all else End.PEER_CLOSED)
            del row
            turns(loop)
            assert held() - before < 100
    finally:
        gc.enable()
