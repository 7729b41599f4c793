"""The short way through an exchange (`HandledRow.on_ready`): what it does at once, and what it leaves to the long one."""

import socket
from typing import Any

import pytest

from reactor import End, Observer, Phase, Reactor, Stream, sleep
from tests.driving import ask, listen, only, receive, receive_all, streams, turn_until, turns

WAYS = {"short": (), "long": (Observer(),)}  # an observer makes every row take the long way


@pytest.fixture(params=list(WAYS))
def either_way(request: pytest.FixtureRequest, make_loop: Any) -> Reactor:
    """Give a loop in which rows take the short or the long way."""
    loop: Reactor = make_loop(observers=WAYS[request.param])
    return loop


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


def ready_together(loop: Reactor, connect: Any, handler: Any, count: int = 2) -> list[Any]:
    """Connect so many clients whose bytes arrive in one batch."""
    listener = listen(loop, handler)
    clients = [connect(listener) for _ in range(count)]
    turn_until(loop, lambda: len(streams(loop)) == count)
    turns(loop)
    for client in clients:
        client.sendall(b"ping")
    return clients


def test_a_reply_leaves_before_the_next_row_of_its_batch_is_called(loop: Reactor, connect: Any) -> None:
    seen = []

    async def answer(stream: Stream) -> None:
        while data := await stream.read_some():
            seen.append(sorted(row.bytes_out for row in streams(loop)))
            stream.write(data)

    ready_together(loop, connect, answer, 3)
    turn_until(loop, lambda: len(seen) == 3)
    assert seen == [[0, 0, 0], [0, 0, 4], [0, 4, 4]]


def test_an_exchange_leaves_nothing_to_settle(loop: Reactor, connect: Any) -> None:
    ready_together(loop, connect, echo)
    turn = loop.step(1)
    assert (len(turn.ready), turn.settled) == (2, ())
    assert {(row.phase, row.outbox, row.outbox_bytes, row.requests) for row in streams(loop)} == {(Phase.IDLE, None, 0, 1)}


def test_several_writes_are_one_reply_in_order(either_way: Reactor, connect: Any) -> None:
    async def pieces(stream: Stream) -> None:
        while data := await stream.read_some():
            for number in range(5):
                stream.write(data + b"%d" % number)

    client = connect(listen(either_way, pieces))
    ask(either_way, client, b"a", b"a0a1a2a3a4")
    assert only(either_way).outbox_bytes == 0


def test_a_reply_above_the_high_mark_is_sent_early(either_way: Reactor, connect: Any) -> None:
    async def large(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(data * 100_000)

    client = connect(listen(either_way, large))
    ask(either_way, client, b"a", b"a" * 100_000)
    ask(either_way, client, b"b", b"b" * 100_000)


def test_a_write_of_nothing_is_an_answer_of_no_bytes(either_way: Reactor, connect: Any) -> None:
    async def nothing(stream: Stream) -> None:
        while await stream.read_some():
            stream.write(b"")

    client = connect(listen(either_way, nothing))
    client.sendall(b"a")
    row = only(either_way)
    turn_until(either_way, lambda: row.requests == 1)
    turns(either_way)
    assert (row.phase, row.outbox_bytes) == (Phase.IDLE, 0)
    client.shutdown(1)
    assert receive_all(either_way, client) == b""


def test_a_handler_that_does_not_answer_owes_an_answer(either_way: Reactor, connect: Any) -> None:
    async def late(stream: Stream) -> None:
        await stream.read_some()
        stream.write(await stream.read_some())
        await stream.read_some()

    client = connect(listen(either_way, late))
    row = only(either_way)
    client.sendall(b"a")
    turn_until(either_way, lambda: row.requests == 1)
    assert (row.phase, row.outbox) == (Phase.RECEIVING, None)
    ask(either_way, client, b"b", b"b")
    turns(either_way)
    assert row.phase is Phase.IDLE


def test_a_handler_that_works_after_its_answer_has_answered(either_way: Reactor, connect: Any, clock: Any) -> None:
    async def working(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(data)
            await sleep(5)
            stream.write(b"!")

    client = connect(listen(either_way, working))
    ask(either_way, client, b"a", b"a")
    assert only(either_way).phase is Phase.WORKING
    clock.advance(5)
    assert receive(either_way, client, 1) == b"!"


def test_what_was_written_before_a_failure_arrives(either_way: Reactor, connect: Any, logged: Any) -> None:
    async def failing(stream: Stream) -> None:
        stream.write(await stream.read_some())
        raise ValueError("after its answer")

    client = connect(listen(either_way, failing))
    client.sendall(b"a")
    assert receive_all(either_way, client) == b"a"
    assert [record.getMessage() for record in logged()] != []
    client.close()
    turn_until(either_way, lambda: not streams(either_way))
    assert either_way.table.ended[-1].end is End.HANDLER_FAILED


def test_a_handler_that_aborts_itself_sends_nothing(either_way: Reactor, connect: Any) -> None:
    async def aborting(stream: Stream) -> None:
        stream.write(await stream.read_some())
        stream.abort("enough")
        await stream.read_some()

    client = connect(listen(either_way, aborting))
    client.sendall(b"a")
    with pytest.raises(ConnectionResetError):
        receive_all(either_way, client)
    turn_until(either_way, lambda: not streams(either_way))


def test_a_reply_that_the_socket_does_not_take_whole_goes_on_with_settle(either_way: Reactor, connect: Any) -> None:
    size = 60_000  # one chunk, below the high mark

    async def large(stream: Stream) -> None:
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        while data := await stream.read_some():
            stream.write(data * size)

    client = connect(listen(either_way, large), receive_buffer=4096)
    row = only(either_way)
    turns(either_way)
    client.sendall(b"a")
    turn_until(either_way, lambda: row.outbox_bytes > 0)
    assert row.bytes_out == size - row.outbox_bytes
    assert receive(either_way, client, size) == b"a" * size


def test_a_failure_leaves_no_outbox_open(loop: Reactor, connect: Any, logged: Any) -> None:
    async def failing(stream: Stream) -> None:
        await stream.read_some()
        raise ValueError("without an answer")

    client = connect(listen(loop, failing))
    row = only(loop)
    client.sendall(b"a")
    turn_until(loop, lambda: row.end is not None)
    assert (row.end, row.outbox) == (End.HANDLER_FAILED, None)
    assert len(logged()) == 1
    assert receive_all(loop, client) == b""


def test_what_others_write_meanwhile_keeps_its_place(either_way: Reactor, connect: Any) -> None:
    """The outbox is not empty when bytes come: what the handler writes goes behind it."""
    client = connect(listen(either_way, echo))
    row = only(either_way)
    ask(either_way, client, b"a", b"a")
    row.write(b"b")
    ask(either_way, client, b"c", b"bc")
    assert row.outbox_bytes == 0
