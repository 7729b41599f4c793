"""The short ways of framed rows: a reply that leaves at once, frames cut ahead, and hooks and framings that may do more."""

import socket
from typing import Any

import pytest

from reactor import End, Inbox, Lines, Need, Observer, Phase, Raw, Reactor, Until
from reactor import socketserver as ours
from reactor.framed import FramedRow
from tests.driving import ask, only, receive, receive_all, streams, turn_until, turns

WAYS = {"short": (), "long": (Observer(),)}  # an observer makes every row take the long way
ENDPOINT = "tcp://127.0.0.1:0"


@pytest.fixture(params=list(WAYS))
def either_way(request: pytest.FixtureRequest, make_loop: Any) -> Reactor:
    """Give a loop in which rows take the short or the long way."""
    loop: Reactor = make_loop(observers=WAYS[request.param])
    return loop


class Echo(ours.StreamRequestHandler):
    """Takes whatever comes, and says it again."""

    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.answer(data)

    def answer(self, data: bytes) -> None:
        self.request.sendall(data)


def ready_together(loop: Reactor, connect: Any, handler: Any, count: int) -> list[Any]:
    """Connect so many clients whose bytes arrive in one batch."""
    listener = loop.listen(ENDPOINT, handler, framing=Raw())
    clients = [connect(listener) for _ in range(count)]
    turn_until(loop, lambda: len(streams(loop)) == count)
    turns(loop)
    for client in clients:
        client.sendall(b"ping")
    return clients


# -- a reply leaves at once -----------------------------------------------------------------------------------------------


def test_a_reply_leaves_before_the_next_row_of_its_batch_is_called(loop: Reactor, connect: Any) -> None:
    seen = []

    class Sees(Echo):
        def answer(self, data: bytes) -> None:
            seen.append(sorted(row.bytes_out for row in streams(loop)))
            super().answer(data)

    ready_together(loop, connect, Sees, 3)
    turn_until(loop, lambda: len(seen) == 3)
    assert seen == [[0, 0, 0], [0, 0, 4], [0, 4, 4]]


def test_an_exchange_leaves_nothing_to_settle_and_no_inbox(loop: Reactor, connect: Any) -> None:
    ready_together(loop, connect, Echo, 2)
    turn = loop.step(1)
    assert (len(turn.ready), turn.settled) == (2, ())
    rows = streams(loop)
    assert {(row.phase, row.outbox, row.outbox_bytes, row.requests) for row in rows} == {(Phase.IDLE, None, 0, 1)}
    assert {(row.inbox, row.file) for row in rows} == {(None, None)}


def test_several_writes_are_one_reply_in_order(either_way: Reactor, connect: Any) -> None:
    class Pieces(Echo):
        def answer(self, data: bytes) -> None:
            self.wfile.write(data)
            self.request.sendall(b"")
            self.request.sendall(memoryview(data))
            self.wfile.write(bytearray(b"!"))

    client = connect(either_way.listen(ENDPOINT, Pieces, framing=Raw()))
    ask(either_way, client, b"ab", b"abab!")
    ask(either_way, client, b"c", b"cc!")
    assert only(either_way).outbox_bytes == 0


def test_a_reply_above_the_high_mark_arrives_whole(either_way: Reactor, connect: Any) -> None:
    class Large(Echo):
        def answer(self, data: bytes) -> None:
            self.request.sendall(data * 100_000)

    client = connect(either_way.listen(ENDPOINT, Large, framing=Raw()))
    ask(either_way, client, b"a", b"a" * 100_000)
    ask(either_way, client, b"b", b"b" * 100_000)


def test_a_reply_that_the_socket_does_not_take_whole_goes_on_with_settle(either_way: Reactor, connect: Any) -> None:
    size = 60_000  # one chunk, below the high mark

    class Large(Echo):
        def answer(self, data: bytes) -> None:
            self.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.request.sendall(data * size)

    client = connect(either_way.listen(ENDPOINT, Large, framing=Raw()), receive_buffer=4096)
    row = only(either_way)
    turns(either_way)
    client.sendall(b"a")
    turn_until(either_way, lambda: row.outbox_bytes > 0)
    assert row.bytes_out == size - row.outbox_bytes
    assert receive(either_way, client, size) == b"a" * size


def test_a_reply_goes_behind_what_is_still_to_be_sent(either_way: Reactor, connect: Any) -> None:
    client = connect(either_way.listen(ENDPOINT, Echo, framing=Raw()))
    row = only(either_way)
    ask(either_way, client, b"a", b"a")
    row.write(b"b")
    ask(either_way, client, b"c", b"bc")
    assert row.outbox_bytes == 0


@pytest.mark.usefixtures("capsys")
@pytest.mark.parametrize("data", [b"", b"half a reply"])
def test_a_failure_leaves_no_outbox_open(either_way: Reactor, connect: Any, data: bytes) -> None:
    class Fails(Echo):
        def answer(self, _: bytes) -> None:
            if data:
                self.request.sendall(data)
            raise ValueError("planned")

    client = connect(either_way.listen(ENDPOINT, Fails, framing=Raw()))
    client.sendall(b"a")
    assert receive_all(either_way, client) == data
    client.close()
    turn_until(either_way, lambda: not streams(either_way))
    assert either_way.table.ended[-1].end is End.HANDLER_FAILED


def test_who_does_not_answer_leaves_no_outbox_open(either_way: Reactor, connect: Any) -> None:
    class Silent(Echo):
        def answer(self, data: bytes) -> None:
            pass

    client = connect(either_way.listen(ENDPOINT, Silent, framing=Raw()))
    row = only(either_way)
    client.sendall(b"a")
    turn_until(either_way, lambda: row.requests == 1)
    assert row.outbox is None
    row.write(b"later")
    assert receive(either_way, client, 5) == b"later"


def test_a_handler_that_aborts_itself_sends_nothing(either_way: Reactor, connect: Any) -> None:
    class Aborts(Echo):
        def answer(self, data: bytes) -> None:
            self.request.sendall(data)
            self.request.abort("enough")

    client = connect(either_way.listen(ENDPOINT, Aborts, framing=Raw()))
    client.sendall(b"a")
    with pytest.raises(ConnectionResetError):
        receive_all(either_way, client)


def test_who_shuts_its_side_can_send_no_more(either_way: Reactor, connect: Any) -> None:
    errors = []

    class Shuts(Echo):
        def handle(self) -> None:
            self.request.sendall(b"last")
            self.request.shutdown(socket.SHUT_WR)
            with pytest.raises(BrokenPipeError) as raised:
                self.request.sendall(b"more")
            errors.append(raised)

    client = connect(either_way.listen(ENDPOINT, Shuts, framing=Raw()))
    client.sendall(b"a")
    assert receive_all(either_way, client) == b"last"
    assert len(errors) == 1


# -- frames that were cut ahead -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("keep_end", [True, False])
def test_lines_that_come_together(either_way: Reactor, connect: Any, keep_end: bool) -> None:
    handlers = []

    class Upper(ours.StreamRequestHandler):
        def handle(self) -> None:
            handlers.append(self)
            for line in self.rfile:
                self.wfile.write(line.upper())

    client = connect(either_way.listen(ENDPOINT, Upper, framing=Lines(keep_end=keep_end)))
    sent = b"".join(b"line %d\n" % number for number in range(100))
    ask(either_way, client, sent + b"the be", sent.upper())
    ask(either_way, client, b"ginning\n", b"THE BEGINNING\n")
    assert (len(set(handlers)), only(either_way).requests) == (101, 101)


def test_who_has_enough_leaves_the_frames_cut_ahead(either_way: Reactor, connect: Any) -> None:
    class Until(ours.StreamRequestHandler):
        def handle(self) -> None:
            line = self.rfile.readline()
            self.wfile.write(line)
            if line != b"stop\n":
                self.rfile.read()

    client = connect(either_way.listen(ENDPOINT, Until, framing=Lines()))
    row = only(either_way)
    client.sendall(b"a\nb\nstop\nc\nd\n")
    assert receive_all(either_way, client) == b"a\nb\nstop\n"
    assert row.requests == 3


def test_a_row_that_is_paused_goes_on_where_it_was(either_way: Reactor, connect: Any) -> None:
    class Pauses(ours.StreamRequestHandler):
        def handle(self) -> None:
            for line in self.rfile:
                self.wfile.write(line)
                if line == b"wait\n":
                    self.request.pause("a test")

    client = connect(either_way.listen(ENDPOINT, Pauses, framing=Lines()))
    row = only(either_way)
    ask(either_way, client, b"a\nwait\nb\nc\n", b"a\nwait\n")
    turns(either_way)
    assert row.requests == 2
    row.resume("a test")
    assert receive(either_way, client, 4) == b"b\nc\n"


def test_a_framing_may_be_switched_among_frames_cut_ahead(either_way: Reactor, connect: Any) -> None:
    got = []

    class Switches(ours.StreamRequestHandler):
        def handle(self) -> None:
            got.append(data := self.rfile.read())
            self.wfile.write(b".")
            if data == b"raw\n":
                self.request.framing = Raw()

    client = connect(either_way.listen(ENDPOINT, Switches, framing=Lines()))
    ask(either_way, client, b"a\nraw\nb\nc\nd", b"...")
    assert got == [b"a\n", b"raw\n", b"b\nc\nd"]


class Numbered(Lines):
    """Lines with a number in front: it does more with each than Lines, and its frames are not what the wire had."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def next_frame(self, inbox: Inbox, eof: bool) -> bytes | Need:
        line = super().next_frame(inbox, eof)
        if isinstance(line, Need):
            return line
        self.count += 1
        return b"%d %b" % (self.count, line)


class Loud(Lines):
    """Lines whose bytes are not the frame."""

    def encode(self, frame: bytes) -> bytes:
        return frame.upper()


class Marked(Raw):
    """Whatever comes, with a mark behind it."""

    def encode(self, frame: bytes) -> bytes:
        return frame + b"!"


@pytest.mark.parametrize(
    ("framing", "replies"), [(Numbered, b"1 a\n2 b\n3 c\n"), (Loud, b"A\nB\nC\n"), (Marked, b"a\nb\nc\n!")]
)
def test_what_derives_from_a_framing_is_asked(either_way: Reactor, connect: Any, framing: Any, replies: bytes) -> None:
    client = connect(either_way.listen(ENDPOINT, Echo, framing=framing()))
    ask(either_way, client, b"a\nb\nc\n", replies)


# -- whose the hooks are --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["process_request", "finish_request"])
@pytest.mark.parametrize("of", ["instance", "class"])
def test_a_hook_that_is_put_in_its_place_later_is_called(
    loop: Reactor, connect: Any, monkeypatch: pytest.MonkeyPatch, name: str, of: str
) -> None:
    class Server(ours.TCPServer):
        pass

    calls: list[Any] = []
    with Server(("127.0.0.1", 0), Echo) as server:
        client = connect(loop.add(server, framing=Raw()))
        ask(loop, client, b"a", b"a")
        stock = getattr(server, name)

        def mine(*args: Any) -> None:
            calls.append(args[-2])
            stock(*args[-2:])

        monkeypatch.setattr(server if of == "instance" else Server, name, mine)
        ask(loop, client, b"b", b"b")
        assert [type(request) for request in calls] == [FramedRow]


def test_a_handler_that_is_put_in_its_place_later_is_made(loop: Reactor, connect: Any) -> None:
    class Loudly(Echo):
        def answer(self, data: bytes) -> None:
            super().answer(data.upper())

    with ours.TCPServer(("127.0.0.1", 0), Echo) as server:
        client = connect(loop.add(server, framing=Raw()))
        ask(loop, client, b"a", b"a")
        server.RequestHandlerClass = Loudly
        ask(loop, client, b"a", b"A")


def test_a_framing_that_takes_back_what_was_cut_takes_back_its_count(either_way: Reactor, connect: Any) -> None:
    class Switches(ours.StreamRequestHandler):
        def handle(self) -> None:
            self.rfile.read()
            self.request.framing = Until(b"\r\n")

    client = connect(either_way.listen(ENDPOINT, Switches, framing=Lines(keep_end=False)))
    row = only(either_way)
    turns(either_way)
    client.sendall(b"\na\n")
    turn_until(either_way, lambda: row.bytes_in == 3)
    turns(either_way)
    assert (row.requests, row.inbox_bytes) == (1, 2)
