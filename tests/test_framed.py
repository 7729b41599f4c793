"""Framed handlers: one handler a frame, what keeps a connection, the `request` they see, large replies, and every end."""

import array
import contextlib
import errno
import functools
import gc
import http.server
import io
import itertools
import json
import logging
import os
import random
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import (
    End,
    Fixed,
    Framing,
    HttpRequests,
    Inbox,
    LengthPrefixed,
    Limits,
    Lines,
    ManualClock,
    Netstring,
    Observer,
    Phase,
    Raw,
    Reactor,
    Until,
)
from reactor import socketserver as ours
from reactor.framed import FramedRow
from reactor.spools import SpoolingTransport
from tests.driving import (
    ask,
    only,
    receive,
    receive_all,
    reset,
    send_all,
    streams,
    turn_until,
    turns,
    until_gone,
)
from tests.running import descriptors

pytestmark = pytest.mark.usefixtures("no_errors_left")

ENDPOINT = "tcp://127.0.0.1:0"
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


class Upper(ours.StreamRequestHandler):
    """Answers each line in capitals."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


class Once(ours.StreamRequestHandler):
    """Answers one line, and does not ask for another."""

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


class Records(ours.StreamRequestHandler):
    """Reads all there is, keeps it for the test, and answers with its length."""

    got: list[bytes]

    def handle(self) -> None:
        data = self.rfile.read()
        self.got.append(data)
        self.wfile.write(b"%d;" % len(data))


def records() -> Any:
    """Return a class of its own, so that no test sees the frames of another."""
    return type("Records", (Records,), {"got": []})


def handling(function: Callable[[Any], object], base: Any = ours.BaseRequestHandler, **attributes: Any) -> Any:
    """Return a handler class whose `handle` calls a function with the handler."""
    return type("Handling", (base,), {"handle": lambda self: function(self) and None, **attributes})


def serving(loop: Reactor, handler: Any, framing: Framing[Any] | None = None, **limits: Any) -> Any:
    """Listen with a framed handler, of lines if nothing else is said; keywords are `Limits`."""
    return loop.listen(
        ENDPOINT, handler, framing=Lines() if framing is None else framing, limits=Limits(**limits) if limits else None
    )


def served(loop: Reactor, connect: Any, handle: Callable[[Any], object], data: bytes = b"abc\n", **keywords: Any) -> bytes:
    """Return what a client that sends `data` gets from a handler, until the connection has ended."""
    client = connect(serving(loop, handling(handle), **keywords))
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    return receive_all(loop, client)


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def narrow(handler: Any) -> None:
    """Have the kernel take only a little of a reply (it would take up to 4 MB)."""
    handler.request.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8192)


def temporary_files() -> int:
    """Return how many files without a name are open."""
    return sum("deleted" in descriptor for descriptor in descriptors())


class Mirror(ours.TCPServer):
    """A server that writes down the calls of its hooks."""

    def __init__(self, handler: Any, framing: Framing[Any] | None = None) -> None:
        self.calls: list[str] = []
        self.framing = Lines() if framing is None else framing
        super().__init__(("127.0.0.1", 0), handler)

    def get_request(self) -> Any:
        request = super().get_request()
        self.calls.append("get_request")  # a call that finds nobody is not counted
        return request

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.calls.append("verify_request")
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        self.calls.append("process_request")
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        self.calls.append("finish_request")
        super().finish_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        self.calls.append("handle_error")

    def shutdown_request(self, request: Any) -> None:
        self.calls.append("shutdown_request")
        super().shutdown_request(request)

    def close_request(self, request: Any) -> None:
        self.calls.append("close_request")
        super().close_request(request)


WELCOME = ["get_request", "verify_request"]
FRAME = ["process_request", "finish_request"]
FAREWELL = ["shutdown_request", "close_request"]

# -- frames -----------------------------------------------------------------------------------------------------------

NOBODY = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
BODY = b"POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"
CHUNKED = b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n"

# What arrives, frame by frame: a handler finds exactly these bytes.
FRAMINGS: dict[str, tuple[Any, list[bytes]]] = {
    "Lines": (Lines(), [b"abc\n", b"\n", b"d\n"]),
    "Lines without ends": (Lines(keep_end=False), [b"abc\n", b"\n", b"d\n"]),
    "Until": (Until(b"\r\n"), [b"a\nb\r\n", b"\r\n"]),
    "Fixed": (Fixed(3), [b"abc", b"d\ne"]),
    "LengthPrefixed": (LengthPrefixed(2), [b"\0\3abc", b"\0\0", b"\0\1x"]),
    "Netstring": (Netstring(), [b"3:abc,", b"0:,"]),
    "mapped": (Lines().map(json.loads, lambda value: json.dumps(value).encode()), [b'{"a": 1}\n', b"[]\n"]),
    "HttpRequests": (HttpRequests(), [NOBODY, BODY, CHUNKED, NOBODY]),
    "HttpRequests on disk": (HttpRequests(memory_bytes=30), [NOBODY, BODY, CHUNKED, NOBODY]),
}
each_framing = pytest.mark.parametrize(("framing", "frames"), FRAMINGS.values(), ids=FRAMINGS)


@each_framing
def test_a_handler_finds_the_wire_bytes_of_one_frame(loop: Reactor, connect: Any, framing: Any, frames: list[bytes]) -> None:
    handler = records()
    client = connect(serving(loop, handler, framing))
    client.sendall(b"".join(frames))
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"".join(b"%d;" % len(frame) for frame in frames)
    assert handler.got == frames


@each_framing
def test_every_split_gives_the_same_replies(connect: Any, framing: Any, frames: list[bytes]) -> None:
    data, expected = b"".join(frames), b"".join(b"%d;" % len(frame) for frame in frames)
    with Reactor() as loop:
        handler = records()
        listener = serving(loop, handler, framing)
        for at in range(1, len(data)):
            client = connect(listener)
            row = only(loop)
            client.sendall(data[:at])
            turn_until(loop, lambda at=at, row=row: row.bytes_in == at)
            client.sendall(data[at:])
            client.shutdown(socket.SHUT_WR)
            assert receive_all(loop, client) == expected
            until_gone(loop, row)
            assert handler.got == frames
            handler.got.clear()


@each_framing
def test_byte_by_byte_gives_the_same_replies(loop: Reactor, connect: Any, framing: Any, frames: list[bytes]) -> None:
    handler = records()
    client = connect(serving(loop, handler, framing))
    row = only(loop)
    for count, byte in enumerate(b"".join(frames), 1):
        client.sendall(bytes([byte]))
        turn_until(loop, lambda count=count: row.bytes_in == count)
    replies = b"".join(b"%d;" % len(frame) for frame in frames)
    assert receive(loop, client, len(replies)) == replies
    assert handler.got == frames


def test_raw_frames_are_what_has_arrived(loop: Reactor, connect: Any) -> None:
    handler = records()
    client = connect(serving(loop, handler, Raw(4)))
    ask(loop, client, b"ab", b"2;")
    ask(loop, client, b"cdefgh", b"4;2;")
    assert handler.got == [b"ab", b"cdef", b"gh"]


def test_pipelined_frames_are_handled_in_order_a_few_a_turn(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper, frames_per_turn=4))
    row = only(loop)
    lines = [b"line %d\n" % number for number in range(50)]
    client.sendall(b"".join(lines))
    seen = []
    while row.requests < 50:
        loop.step(0.01)
        seen.append(row.requests)
    assert max(after - before for before, after in itertools.pairwise([0, *seen])) == 4
    replies = b"".join(lines).upper()
    assert receive(loop, client, len(replies)) == replies


def test_a_frame_longer_than_a_read_is_gathered(loop: Reactor, connect: Any) -> None:
    handler = records()
    client = connect(serving(loop, handler, LengthPrefixed(4, max_bytes=1 << 20)))
    body = noise(1 << 20)
    send_all(loop, client, (1 << 20).to_bytes(4, "big") + body)
    assert receive(loop, client, 8) == b"1048580;"
    assert handler.got == [(1 << 20).to_bytes(4, "big") + body]


@pytest.mark.parametrize("observed", [False, True])
def test_rows_and_listeners_share_a_framing_but_no_state(make_loop: Any, connect: Any, observed: bool) -> None:
    loop = make_loop(observers=[Observer()] if observed else [])
    framing, handler = HttpRequests(memory_bytes=100), records()
    listeners = [serving(loop, handler, framing) for _ in range(2)]
    clients = [connect(listener) for listener in listeners * 2]
    requests = [b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % n + bytes([n]) * n for n in (20, 60, 99, 9)]
    for client, request in zip(clients, requests, strict=True):
        client.sendall(request[:-5])
    turn_until(loop, lambda: sum(row.bytes_in for row in streams(loop)) == sum(map(len, requests)) - 20)
    for client, request in zip(clients, requests, strict=True):
        ask(loop, client, request[-5:], b"%d;" % len(request))
    assert handler.got == requests
    assert framing.is_blank


def test_an_idle_row_keeps_neither_an_inbox_nor_a_framing(loop: Reactor, connect: Any) -> None:
    framing = HttpRequests()
    client = connect(serving(loop, records(), framing))
    row: Any = only(loop)
    assert (row.framing, row.inbox) == (framing, None)
    client.sendall(NOBODY[:9])
    turn_until(loop, lambda: row.bytes_in == 9)
    assert row.framing is not framing
    assert row.inbox_bytes == 9
    ask(loop, client, NOBODY[9:], b"%d;" % len(NOBODY))
    turns(loop)
    assert (row.framing, row.inbox) == (framing, None)
    assert str(row.need) == str(HttpRequests().fresh().next_frame(Inbox(1), False))


def test_a_framing_that_remembers_is_kept(loop: Reactor, connect: Any) -> None:
    class Counting(Lines):
        """Each line has a number of its own."""

        count = 0

        def fresh(self) -> Any:
            return Counting()

        def next_frame(self, inbox: Any, eof: bool) -> Any:
            frame = super().next_frame(inbox, eof)
            if isinstance(frame, bytes):
                self.count += 1
                return b"%d %b" % (self.count, frame)
            return frame

    client = connect(serving(loop, Upper, Counting()))
    for number in (b"1", b"2", b"3"):
        ask(loop, client, b"a\n", number + b" A\n")
        turns(loop)


# -- what keeps a connection ------------------------------------------------------------------------------------------


def test_who_tries_to_read_on_keeps_the_connection(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper))
    for word in (b"one", b"two", b"three"):
        ask(loop, client, word + b"\n", word.upper() + b"\n")
    row = only(loop)
    assert (row.phase, row.requests, row.way) == (Phase.IDLE, 3, "framed")


def test_who_returns_without_trying_ends_it(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Once))
    row = only(loop)
    client.sendall(b"one\ntwo\n")
    assert receive_all(loop, client) == b"ONE\n"
    assert (row.end, row.requests) == (End.FINISHED, 1)


def test_who_ends_it_ends_it_also_behind_the_end_of_the_stream(loop: Reactor, connect: Any) -> None:
    def handle(handler: Any) -> None:
        line = handler.rfile.readline()
        handler.wfile.write(line.upper())
        if line != b"e\n":
            handler.rfile.readline()

    client = connect(serving(loop, handling(handle, ours.StreamRequestHandler), Fixed(2), frames_per_turn=2))
    row = only(loop)
    client.sendall(b"a\nb\nc\nd\ne\nf\ng\nh\n")  # the end is seen behind d
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"A\nB\nC\nD\nE\n"
    assert row.requests == 5


def test_each_frame_has_a_handler_of_its_own_and_the_connection_a_session(loop: Reactor, connect: Any) -> None:
    handlers = []

    def handle(handler: Any) -> None:
        handlers.append(handler)
        assert not hasattr(handler, "seen")
        handler.seen = True
        handler.request.session = (handler.request.session or 0) + 1
        while handler.request.recv(100):
            handler.request.sendall(b"%d\n" % handler.request.session)

    listener = serving(loop, handling(handle))
    first, second = connect(listener), connect(listener)
    ask(loop, first, b"a\n", b"1\n")
    ask(loop, first, b"b\n", b"2\n")
    ask(loop, second, b"c\n", b"1\n")
    assert len(set(map(id, handlers))) == 3
    assert handlers[0].request is handlers[1].request is not handlers[2].request
    assert handlers[0].client_address == first.getsockname()


def test_a_handler_that_never_answers_is_warned_of_once(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    seen = []
    listener = serving(loop, handling(lambda handler: seen.extend(handler.request.makefile("rb"))), Fixed(2))
    clients = [connect(listener), connect(listener)]
    for client in clients:
        client.sendall(b"abcd")
    turn_until(loop, lambda: len(seen) == 4)
    warnings = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert len(warnings) == 1
    message = warnings[0].getMessage()
    assert "request.session" in message
    assert "greenlet" in message
    assert [row.phase for row in streams(loop)] == [Phase.IDLE, Phase.IDLE]


def test_one_that_answers_only_once_is_warned_of(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    def handle(handler: Any) -> None:
        if handler.request.recv(100) == b"a\n":
            handler.request.sendall(b"A\n")
        handler.request.recv(100)

    client = connect(serving(loop, handling(handle)))
    ask(loop, client, b"a\n", b"A\n")
    assert "had written nothing" not in caplog.text
    client.sendall(b"b\n")
    turn_until(loop, lambda: only(loop).requests == 2)
    assert "had written nothing" in caplog.text


def test_one_that_hangs_up_is_not_warned_of(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    def handle(handler: Any) -> None:
        handler.request.close()
        assert handler.request.makefile("rb").read() == b"abc\n"

    assert served(loop, connect, handle) == b""
    assert "had written nothing" not in caplog.text


def test_one_that_answers_is_not_warned_of(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = connect(serving(loop, Upper))
    ask(loop, client, b"a\nb\n", b"A\nB\n")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_the_interim_reply_of_a_framing_is_no_answer(loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture) -> None:
    client = connect(serving(loop, handling(lambda handler: handler.request.makefile("rb").read()), HttpRequests()))
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n")
    assert receive(loop, client, 25) == b"HTTP/1.1 100 Continue\r\n\r\n"
    client.sendall(b"ab")
    turn_until(loop, lambda: only(loop).requests == 1)
    assert "had written nothing" in caplog.text


# -- the ends ---------------------------------------------------------------------------------------------------------


def test_the_end_of_the_stream_between_frames_is_a_normal_end(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper))
    row = only(loop)
    ask(loop, client, b"a\n", b"A\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""
    assert row.end is End.PEER_CLOSED


def test_the_end_of_the_stream_inside_a_frame_is_none(loop: Reactor, connect: Any) -> None:
    handler = records()
    client = connect(serving(loop, handler))
    row = only(loop)
    client.sendall(b"ab\ncd")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b"3;"
    assert row.end is End.BAD_FRAME
    assert handler.got == [b"ab\n"]


def test_nothing_runs_for_a_client_that_says_nothing(loop: Reactor, connect: Any) -> None:
    handler = records()
    client = connect(serving(loop, handler))
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""
    assert handler.got == []


def test_half_close_and_then_a_long_reply(loop: Reactor, connect: Any) -> None:
    reply = noise(12_000_000)
    assert served(loop, connect, lambda handler: handler.request.sendall(reply)) == reply


def test_a_reply_is_not_destroyed_by_what_is_unread(loop: Reactor, connect: Any) -> None:
    reply = noise(3_000_000)
    client = connect(serving(loop, handling(lambda handler: handler.request.sendall(reply))))
    client.sendall(b"a\n" + b"x" * 50_000)
    assert receive_all(loop, client) == reply


def test_a_reset_of_the_peer_is_a_normal_end(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper))
    row = only(loop)
    ask(loop, client, b"a\n", b"A\n")
    client.sendall(b"unfinished")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    reset(client)
    until_gone(loop, row)
    assert row.end is End.PEER_RESET


@pytest.mark.parametrize("data", [b"a\n" + bytes(20), b"a\n"])
def test_a_row_that_ends_and_cannot_send_costs_nothing(loop: Reactor, connect: Any, data: bytes) -> None:
    """Its end is told once, also to a row that had waited for the next frame."""
    reply = noise(60_000)  # below the high mark: what follows is read

    def handle(handler: Any) -> None:
        narrow(handler)
        while handler.request.recv(100):
            handler.request.sendall(reply)

    client = connect(serving(loop, handling(handle), Lines(max_bytes=10)), receive_buffer=4096)
    row = only(loop)
    client.sendall(data)
    client.shutdown(socket.SHUT_WR)
    turn_until(loop, lambda: row.end is not None)
    turns(loop, 10)
    assert (row.phase, row.outbox_bytes > 0) == (Phase.FLUSHING, True)
    assert not loop.again
    assert receive_all(loop, client) == reply


def test_a_frame_over_its_limit_ends_the_row(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper, Lines(max_bytes=10)))
    row = only(loop)
    client.sendall(b"a\n" + b"x" * 11)
    assert receive_all(loop, client) == b"A\n"
    assert row.end is End.BAD_FRAME


REFUSALS = {
    "bad request": (b"GET / HTTP/1.1\nHost: a\r\n\r\n", 400),
    "two lengths": (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
    "body too long": (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 101\r\n\r\n", 413),
    "head too long": (b"GET / HTTP/1.1\r\nA: " + b"b" * 300, 431),
    "line too long": (b"GET /" + b"b" * 300, 414),
    "stream ends": (BODY[:-1], 400),
}


@pytest.mark.parametrize(("request_", "status"), REFUSALS.values(), ids=REFUSALS)
def test_http_requests_are_refused_as_the_protocol_says(loop: Reactor, connect: Any, request_: bytes, status: int) -> None:
    handler = records()
    client = connect(serving(loop, handler, HttpRequests(head_bytes=200, body_bytes=100)))
    row = only(loop)
    client.sendall(NOBODY + request_)
    client.shutdown(socket.SHUT_WR)
    replies = receive_all(loop, client)
    assert replies.startswith(b"%d;HTTP/1.1 %d " % (len(NOBODY), status))
    assert replies.count(b"HTTP/1.1 ") == 1
    assert row.end is End.BAD_FRAME
    assert handler.got == [NOBODY]


class Stubborn(Lines):
    """Its refusal fails, or is as said."""

    def __init__(self, refuse: Callable[[], bytes]) -> None:
        super().__init__(max_bytes=5)
        self.refuse = refuse

    def refusal(self, error: Any) -> bytes:
        return self.refuse()


def test_a_refusal_that_fails_ends_the_row_all_the_same(connect: Any, capsys: Any) -> None:
    def fail() -> bytes:
        raise ValueError("no words")

    with Reactor(strict=True) as loop:  # as serve_forever's: what is not contained would leave it
        client = connect(serving(loop, Upper, Stubborn(fail)))
        row = only(loop)
        client.sendall(b"a\n1234567")
        assert receive_all(loop, client) == b"A\n"
        assert row.end is End.BAD_FRAME
        assert "ValueError: no words" in capsys.readouterr().err


def test_a_limit_of_time_is_answered_too(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    client = connect(serving(loop, Upper, HttpRequests(), request_s=5))
    row = only(loop)
    client.sendall(b"GET / HT")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    clock.advance(4.9)
    client.sendall(b"TP/1.1\r\n")  # no byte gives it more time
    turn_until(loop, lambda: row.bytes_in == 16)
    assert row.end is None
    clock.advance(0.2)
    assert receive_all(loop, client).startswith(b"HTTP/1.1 408 ")
    assert row.end is End.LIMIT
    assert "request_s" in row.detail


def test_request_s_counts_from_the_first_byte_of_each_frame(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    client = connect(serving(loop, Upper, request_s=5))
    row = only(loop)
    for _ in range(3):
        client.sendall(b"ab")
        turn_until(loop, lambda: row.phase is Phase.RECEIVING)
        clock.advance(4)
        assert row.deadline_at() is not None
        ask(loop, client, b"\nc", b"AB\n")  # the first byte of the next one comes with the last of this
        clock.advance(4)
        ask(loop, client, b"\n", b"C\n")
    assert row.end is None


def test_a_request_that_comes_too_slowly_is_told_so(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    client = connect(serving(loop, Upper, HttpRequests(), request_s=300, request_bytes_per_s=10, request_grace_s=2))
    row = only(loop)
    head = b"POST / HTTP/1.1\r\nContent-Length: 100000\r\n\r\n"
    client.sendall(head)
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    for second in range(60):
        client.sendall(b"x" * 10)
        turn_until(loop, lambda second=second: row.bytes_in == len(head) + 10 * second + 10)
        clock.advance(1)
        turns(loop)
    assert row.end is None
    clock.advance(6)
    assert receive_all(loop, client).startswith(b"HTTP/1.1 408 ")
    assert row.end is End.LIMIT
    assert "request_bytes_per_s" in row.detail


@needs_proc
def test_request_s_holds_while_a_body_is_spooled(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    before = temporary_files()
    client = connect(serving(loop, Upper, HttpRequests(memory_bytes=1000), request_s=5))
    row = only(loop)
    client.sendall(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    for _ in range(4):
        client.sendall(b"x" * 10000)
        clock.advance(1)
        turn_until(loop, lambda held=row.bytes_in + 10000: row.bytes_in == held)
    assert row.framing.held_bytes > 30000
    clock.advance(1.1)
    assert receive_all(loop, client).startswith(b"HTTP/1.1 408 ")
    client.close()
    until_gone(loop, row)
    assert temporary_files() == before


def test_an_idle_row_ends_without_a_word(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    handler = records()
    client = connect(serving(loop, handler, HttpRequests(), idle_s=5))
    row = only(loop)
    ask(loop, client, NOBODY, b"%d;" % len(NOBODY))
    clock.advance(4.9)
    ask(loop, client, NOBODY, b"%d;" % len(NOBODY))
    clock.advance(4.9)
    turns(loop)
    assert row.end is None  # counted from the last answer
    clock.advance(0.2)
    assert receive_all(loop, client) == b""
    assert row.end is End.LIMIT
    assert "idle_s" in row.detail


def test_a_silent_client_costs_idle_s(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    client = connect(serving(loop, Upper, HttpRequests(), idle_s=5))
    row = only(loop)
    clock.advance(5.1)
    assert receive_all(loop, client) == b""
    assert row.end is End.LIMIT


def test_the_timeout_of_a_handler_bounds_the_wait_for_the_next_frame(
    loop: Reactor, clock: ManualClock, connect: Any
) -> None:
    client = connect(serving(loop, type("Timed", (Upper,), {"timeout": 3}), idle_s=60))
    row = only(loop)
    clock.advance(5)
    ask(loop, client, b"a\n", b"A\n")
    for _ in range(5):
        clock.advance(2.9)
        turns(loop)
        ask(loop, client, b"a\n", b"A\n")
    clock.advance(2.9)
    turns(loop)
    assert row.end is None
    clock.advance(0.2)
    turns(loop)
    assert row.end is End.LIMIT
    assert receive_all(loop, client) == b""


def test_timeouts_as_a_socket_has_them(loop: Reactor, connect: Any) -> None:
    got = []

    def handle(handler: Any) -> None:
        request = handler.request
        got.append(request.gettimeout())
        for timeout_s in (2.5, None, 60):
            request.settimeout(timeout_s)
            got.append(request.gettimeout())
        request.setblocking(True)
        request.settimeout(0)
        with pytest.raises(ValueError, match="-1"):
            request.settimeout(-1)

    assert served(loop, connect, handle) == b""
    assert got == [None, 2.5, None, 60]


def test_a_peer_that_reads_nothing_is_given_up(loop: Reactor, clock: ManualClock, connect: Any) -> None:
    listener = serving(loop, handling(lambda handler: handler.request.sendall(bytes(8 << 20))), write_stall_s=5)
    client = connect(listener, receive_buffer=4096)
    row = only(loop)
    client.sendall(b"a\n")
    turn_until(loop, lambda: row.outbox_bytes and row.phase is Phase.FLUSHING)
    turns(loop, 20)
    clock.advance(5.1)
    until_gone(loop, row)
    assert row.end is End.LIMIT
    assert "write_stall_s" in row.detail
    with pytest.raises(ConnectionResetError):
        receive_all(loop, client)


def test_a_drain_ends_idle_rows_and_lets_frames_under_way_finish(make_loop: Any, connect: Any) -> None:
    loop = make_loop(clock=None)
    listener = serving(loop, Upper, linger_s=0.05)
    idle, busy = connect(listener), connect(listener)
    ask(loop, idle, b"a\n", b"A\n")
    busy.sendall(b"unfini")
    turn_until(loop, lambda: any(row.phase is Phase.RECEIVING for row in streams(loop)))
    reports = []
    loop.stop(drain_s=5)
    loop.call_soon(lambda: busy.sendall(b"shed\n"))
    reports.append(loop.run())
    assert busy.recv(100) == b"UNFINISHED\n"
    assert busy.recv(1) == idle.recv(1) == b""
    (report,) = reports
    assert len(report.idle) == len(report.finished) == 1
    assert [row.end for row in (*report.idle, *report.finished)] == [End.DRAINED] * 2
    assert {row.way for row in report.idle} == {"framed"}


def test_a_drain_aborts_what_is_not_done_in_time(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper))
    client.sendall(b"unfini")
    turn_until(loop, lambda: only(loop).phase is Phase.RECEIVING)
    loop.stop(drain_s=0)
    report = loop.run()
    assert [row.end for row in report.aborted] == [End.ABORTED]
    with pytest.raises(ConnectionResetError):
        client.recv(1)


def test_a_row_in_the_table(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper))
    row = only(loop)
    turns(loop)
    assert (row.phase, row.way, str(row.need)) == (Phase.IDLE, "framed", "until b'\\n'")
    client.sendall(b"abc")
    turn_until(loop, lambda: row.bytes_in == 3)
    snapshot = row.snapshot()
    assert (snapshot.phase, snapshot.inbox_bytes, snapshot.way) == (Phase.RECEIVING, 3, "framed")
    assert "framed" in str(loop.table)
    ask(loop, client, b"\n", b"ABC\n")
    assert (row.phase, row.inbox_bytes, row.requests, row.bytes_in, row.bytes_out) == (Phase.IDLE, 0, 1, 4, 4)


class Notes(Observer):
    def __init__(self) -> None:
        self.frames: list[int] = []
        self.errors: list[str] = []
        self.ends: list[End] = []

    def on_frame(self, row: Any, wire_bytes: int) -> None:
        self.frames.append(wire_bytes)

    def on_error(self, row: Any, error: BaseException) -> None:
        self.errors.append(f"{row.kind} {error}")

    def on_end(self, row: Any, end: End) -> None:
        if row.kind == "stream":
            self.ends.append(end)


def test_an_observer_sees_frames_errors_and_ends(make_loop: Any, connect: Any) -> None:
    notes = Notes()
    loop = make_loop(observers=[notes])
    server = Mirror(type("Fails", (ours.BaseRequestHandler,), {"handle": lambda self: 1 / 0}))
    client = connect(loop.add(server))
    client.sendall(b"abc\n")
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: notes.ends)
    assert (notes.frames, notes.errors, notes.ends) == ([4], ["stream division by zero"], [End.HANDLER_FAILED])


@pytest.mark.parametrize("how", ["done", "close", "reset", "abort", "bad"])
def test_a_row_that_has_ended_is_gone(connect: Any, how: str) -> None:
    """At once, and not when the garbage collector comes by (the heap of deadlines may hold some of the last)."""

    def held() -> int:
        return sum(isinstance(each, FramedRow) for each in gc.get_objects())

    gc.collect()
    gc.disable()
    before = held()  # by other tests
    try:
        with Reactor() as loop:
            listener = serving(loop, Once if how == "done" else Upper, HttpRequests() if how == "close" else None)
            for _ in range(300):
                with contextlib.closing(socket.create_connection(listener.address)) as client:
                    row = only(loop)
                    client.sendall(NOBODY if how != "bad" else bytes(70_000))
                    turn_until(loop, lambda row=row: row.requests or row.end)
                    if how == "reset":
                        reset(client)
                    elif how == "abort":
                        row.abort("enough")
                    else:
                        client.shutdown(socket.SHUT_WR)
                        receive_all(loop, client)
                until_gone(loop, row)
            del row
            turns(loop)
            assert held() - before < 200
    finally:
        gc.enable()


# -- failing handlers -------------------------------------------------------------------------------------------------


def fails_after(reply: bytes) -> Any:
    def handle(handler: Any) -> None:
        handler.request.sendall(reply)
        raise ValueError("the handler fails")

    return handling(handle)


def test_a_failing_handler_ends_its_row_and_no_other(loop: Reactor, connect: Any) -> None:
    server = Mirror(Upper)
    fails = connect(loop.add(Mirror(fails_after(b"half"))))
    lives = connect(loop.add(server))
    ask(loop, lives, b"a\n", b"A\n")
    fails.sendall(b"x\ny\n")
    assert receive_all(loop, fails) == b"half"
    ask(loop, lives, b"b\n", b"B\n")
    assert server.calls == [*WELCOME, *FRAME, *FRAME]


def test_handle_error_is_called_where_the_exception_is(loop: Reactor, connect: Any, capsys: Any) -> None:
    client = connect(serving(loop, fails_after(b"")))
    client.sendall(b"x\n")
    assert receive_all(loop, client) == b""
    err = capsys.readouterr().err
    assert "ValueError: the handler fails" in err
    assert str(client.getsockname()) in err
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert loop.table.ended[-1].end is End.HANDLER_FAILED
    assert "the handler fails" in loop.table.ended[-1].detail


def test_a_handle_error_that_fails_is_contained(loop: Reactor, connect: Any, logged: Any) -> None:
    class Worse(ours.TCPServer):
        framing = Lines()

        def handle_error(self, request: Any, client_address: Any) -> None:
            raise RuntimeError("worse")

    listener = loop.add(Worse(("127.0.0.1", 0), fails_after(b"half")))
    client = connect(listener)
    client.sendall(b"x\n")
    assert receive_all(loop, client) == b"half"
    assert ["worse" in record.getMessage() for record in logged()] == [True]
    connect(listener)
    turn_until(loop, lambda: streams(loop))


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt])
def test_who_leaves_the_program_leaves_the_loop(loop: Reactor, connect: Any, error: Any) -> None:
    def handle(handler: Any) -> None:
        handler.request.sendall(b"bye")
        raise error("leave")

    server = Mirror(handling(handle))
    client = connect(loop.add(server))
    row = only(loop)
    client.sendall(b"x\ny\n")
    with pytest.raises(error):
        turn_until(loop, lambda: row.fd < 0)
    until_gone(loop, row)  # the loop goes on from there
    assert server.calls == [*WELCOME, *FRAME, *FAREWELL]
    assert row.end is End.ABORTED
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(10) == b"bye"


class Sour(Lines):
    """Cuts lines, and fails to say what they were."""

    def encode(self, frame: bytes) -> bytes:
        raise ValueError("no way back")


def test_a_framing_that_cannot_encode_ends_its_row_only(connect: Any, capsys: Any) -> None:
    with Reactor(strict=True) as loop:  # as serve_forever's: what is not contained would leave it
        server = Mirror(Upper, Sour())
        client = connect(loop.add(server))
        row = only(loop)
        client.sendall(b"x\n")
        assert receive_all(loop, client) == b""
        client.close()
        ended(loop, server)
        assert row.end is End.HANDLER_FAILED
        assert server.calls == [*WELCOME, "handle_error", *FAREWELL]


# -- hooks ------------------------------------------------------------------------------------------------------------


def ended(loop: Reactor, server: Mirror) -> None:
    turn_until(loop, lambda: "close_request" in server.calls)
    turns(loop)


def test_the_order_of_the_hooks(loop: Reactor, connect: Any) -> None:
    server = Mirror(Upper)
    client = connect(loop.add(server))
    ask(loop, client, b"a\nb\n", b"A\nB\n")
    assert server.calls == [*WELCOME, *FRAME, *FRAME]
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""
    ended(loop, server)
    assert server.calls == [*WELCOME, *FRAME, *FRAME, *FAREWELL]


def test_a_handler_that_is_done_has_its_request_shut_down_once(loop: Reactor, connect: Any) -> None:
    server = Mirror(Once)
    client = connect(loop.add(server))
    client.sendall(b"a\nb\n")
    assert receive_all(loop, client) == b"A\n"
    client.close()
    ended(loop, server)
    assert server.calls == [*WELCOME, *FRAME, *FAREWELL]


def test_hooks_of_a_handler_that_fails(loop: Reactor, connect: Any) -> None:
    server = Mirror(fails_after(b""))
    client = connect(loop.add(server))
    client.sendall(b"a\nb\n")
    assert receive_all(loop, client) == b""
    client.close()
    ended(loop, server)
    assert server.calls == [*WELCOME, *FRAME, "handle_error", *FAREWELL]


@pytest.mark.parametrize("how", ["reset", "abort", "close", "drain", "idle", "listener"])
def test_the_hooks_of_an_end_are_called_once_however_it_came(
    loop: Reactor, clock: ManualClock, connect: Any, how: str
) -> None:
    server = Mirror(Upper)
    listener = loop.add(server)
    client = connect(listener)
    ask(loop, client, b"a\n", b"A\n")
    row = only(loop)
    if how == "reset":
        reset(client)
    elif how == "abort":
        row.abort("enough")
    elif how == "drain":
        loop.stop()
        loop.run()
    elif how == "idle":
        clock.advance(80)
        turns(loop, 1)
        clock.advance(80)
    elif how == "listener":
        server.server_close()
        assert not row.end  # connections that are open go on
        row.close()
    if how == "close":
        loop.close()
    else:
        client.close()
        ended(loop, server)
    assert server.calls == [*WELCOME, *FRAME, *FAREWELL]
    assert row.fd < 0


@pytest.mark.parametrize("refuse", [lambda: False, lambda: 1 / 0], ids=["False", "error"])
def test_a_connection_that_is_not_verified(loop: Reactor, connect: Any, refuse: Any) -> None:
    class Closed(Mirror):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            super().verify_request(request, client_address)
            assert request.recv(10) == b""  # there is no frame yet
            request.sendall(b"no")
            return bool(refuse())

    server, handler = None, records()
    server = Closed(handler)
    client = connect(loop.add(server))
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b"no"
    client.close()
    ended(loop, server)
    errors = [] if refuse.__code__.co_consts[-1] is False else ["handle_error"]
    assert server.calls in ([*WELCOME, *FAREWELL], [*WELCOME, "handle_error", *FAREWELL])
    assert ("handle_error" in server.calls) == bool(errors)
    assert handler.got == []
    assert not streams(loop)


def test_an_end_while_the_hooks_of_the_end_fail(loop: Reactor, connect: Any, logged: Any) -> None:
    class Sticky(Mirror):
        def shutdown_request(self, request: Any) -> None:
            super().shutdown_request(request)
            raise ValueError("sticky")

    server = Sticky(Upper)
    client = connect(loop.add(server))
    ask(loop, client, b"a\n", b"A\n")
    row = only(loop)
    client.close()
    until_gone(loop, row)
    assert ["sticky" in record.getMessage() for record in logged()] == [True]
    assert server.calls == [*WELCOME, *FRAME, *FAREWELL]
    assert not streams(loop)


def test_any_callable_is_a_handler(loop: Reactor, connect: Any) -> None:
    def answer(word: bytes, request: Any, client_address: Any, server: Any) -> None:
        while request.recv(100):
            request.sendall(word)

    server = ours.TCPServer(("127.0.0.1", 0), functools.partial(answer, b"hi"))
    client = connect(loop.add(server, framing=Lines()))
    ask(loop, client, b"a\n", b"hi")
    ask(loop, client, b"a\n", b"hi")


def test_an_address_of_its_own_from_get_request(loop: Reactor, connect: Any) -> None:
    class Named(Mirror):
        def get_request(self) -> Any:
            return super().get_request()[0], ["anything"]

    got = []
    client = connect(loop.add(Named(handling(lambda handler: got.append(handler.client_address)))))
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b""
    assert got == [["anything"]]


# -- the request as a socket ------------------------------------------------------------------------------------------


def test_recv(loop: Reactor, connect: Any) -> None:
    got = []

    def handle(handler: Any) -> None:
        request = handler.request
        got.extend([request.recv(2, socket.MSG_PEEK), request.recv(2, socket.MSG_OOB), request.recv(0), request.recv(100)])
        got.extend([request.recv(100, socket.MSG_PEEK), request.recv(100), request.recv(100)])

    assert served(loop, connect, handle) == b""
    assert got == [b"ab", b"ab", b"", b"c\n", b"", b"", b""]


def test_recv_into(loop: Reactor, connect: Any) -> None:
    got = []

    def handle(handler: Any) -> None:
        buffer = bytearray(b"......")
        got.append((handler.request.recv_into(buffer, 2), bytes(buffer)))
        got.append((handler.request.recv_into(memoryview(buffer)[2:]), bytes(buffer)))
        got.append((handler.request.recv_into(buffer), bytes(buffer)))

    assert served(loop, connect, handle) == b""
    assert got == [(2, b"ab...."), (2, b"abc\n.."), (0, b"abc\n..")]


@pytest.mark.parametrize("size", [3, 4, 5, 1024])
def test_recv_in_pieces_keeps_the_connection_only_behind_the_frame(loop: Reactor, connect: Any, size: int) -> None:
    client = connect(serving(loop, handling(lambda handler: handler.request.sendall(handler.request.recv(size)))))
    client.sendall(b"abc\n")
    assert receive_all(loop, client) == b"abc\n"[:size]


def test_peeking_leaves_the_frame_and_the_connection(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, handling(lambda handler: handler.request.recv(9, socket.MSG_PEEK))))
    client.sendall(b"abc\n")
    assert receive_all(loop, client) == b""


def test_what_can_be_sent(loop: Reactor, connect: Any) -> None:
    sent = []

    def handle(handler: Any) -> None:
        request = handler.request
        buffer = bytearray(b"ab")
        sent.append(request.send(buffer))
        buffer[:] = b"xx"  # what was written is written
        sent.append(request.send(memoryview(b"cdef")[::1]))
        sent.append(request.send(array.array("H", [0x6767, 0x6868])))
        sent.append(request.sendall(b""))
        with pytest.raises(TypeError):
            request.sendall("text")

    assert served(loop, connect, handle) == b"abcdefgghh"
    assert sent == [2, 4, 4, None]


@pytest.mark.parametrize(("offset", "count"), [(0, None), (3, None), (0, 100_000), (70_000, 70_000), (0, 10**9)])
def test_sendfile(loop: Reactor, connect: Any, offset: int, count: int | None) -> None:
    data, got = noise(200_000), []
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()

        def handle(handler: Any) -> None:
            got.append((handler.request.sendfile(file, offset, count), file.tell()))

        expected = data[offset:] if count is None else data[offset : offset + count]
        assert served(loop, connect, handle) == expected
    assert got == [(len(expected), offset + len(expected))]


def test_sendfile_of_what_cannot_seek(loop: Reactor, connect: Any) -> None:
    reader, writer = os.pipe()
    with open(reader, "rb", 0) as source:
        os.write(writer, b"through a pipe")
        os.close(writer)
        assert served(loop, connect, lambda handler: handler.request.sendfile(source)) == b"through a pipe"


def test_the_real_socket_shines_through(loop: Reactor, connect: Any) -> None:
    got = []

    def handle(handler: Any) -> None:
        request = handler.request
        request.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        got.extend([request.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE), request.fileno(), request.family])
        got.extend([request.type, request.getpeername(), request.getsockname()])
        got.append(request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    listener = serving(loop, handling(handle))
    client = connect(listener)
    row = only(loop)
    fd = row.fd
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b""
    assert got[0]
    assert got[1:6] == [fd, socket.AF_INET, socket.SOCK_STREAM, client.getsockname(), client.getpeername()]
    assert got[6]
    client.close()
    until_gone(loop, row)
    assert row.fileno() == -1


def test_a_unix_socket(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    listener = loop.listen(f"unix://{tmp_path}/socket", Upper, framing=Lines())
    ask(loop, connect(listener), b"a\n", b"A\n")


def closing(handler: Any) -> None:
    handler.request.sendall(b"bye")
    handler.request.close()


def shutting(handler: Any) -> None:
    handler.request.sendall(b"bye")
    handler.request.shutdown(socket.SHUT_RDWR)


def leaving(handler: Any) -> None:
    with handler.request as request:
        request.sendall(b"bye")


@pytest.mark.parametrize("end", [closing, shutting, leaving])
def test_a_handler_may_close(loop: Reactor, connect: Any, end: Callable[[Any], None]) -> None:
    errors = []

    def handle(handler: Any) -> None:
        end(handler)
        try:
            handler.request.sendall(b"too late")
        except BrokenPipeError as error:
            errors.append(error)
        while handler.request.recv(100):  # the rest of the frame may be read, and keeps nothing
            pass

    server = Mirror(handling(handle))
    client = connect(loop.add(server))
    row = only(loop)
    client.sendall(b"a\nb\n")
    assert receive_all(loop, client) == b"bye"
    client.close()
    until_gone(loop, row)
    assert [error.errno for error in errors] == [errno.EPIPE]
    assert row.end is End.FINISHED
    assert server.calls == [*WELCOME, *FRAME, *FAREWELL]


def test_a_handler_may_shut_its_side_and_hear_on(loop: Reactor, connect: Any) -> None:
    got: list[Any] = []

    def handle(handler: Any) -> None:
        request = handler.request
        if not request.session:
            request.sendall(b"all")
            request.shutdown(socket.SHUT_WR)
            request.shutdown(socket.SHUT_RD)  # means nothing here
        request.session = True
        while data := request.recv(100):
            got.append(data)
        try:
            request.sendall(b"more")
        except BrokenPipeError:
            got.append("shut")

    client = connect(serving(loop, handling(handle)))
    client.sendall(b"a\n")
    assert receive_all(loop, client) == b"all"
    client.sendall(b"b\nc\n")
    client.shutdown(socket.SHUT_WR)
    until_gone(loop, only(loop))
    assert got == [b"a\n", "shut", b"b\n", "shut", b"c\n", "shut"]


def test_writing_to_a_peer_that_has_gone_is_an_os_error(loop: Reactor, connect: Any) -> None:
    errors = []
    client = connect(listener := serving(loop, handling(lambda handler: write_on(handler))))
    row = only(loop)

    def write_on(handler: Any) -> None:
        reset(client)
        try:
            for _ in range(1000):
                handler.request.sendall(bytes(100_000))
        except OSError as error:
            errors.append(error)

    client.sendall(b"a\n")
    until_gone(loop, row)
    assert row.end is End.PEER_RESET
    assert [type(error) for error in errors] == [BrokenPipeError]
    assert listener.row.phase is Phase.LISTENING


def test_there_is_no_frame_outside_of_a_handler(loop: Reactor, connect: Any) -> None:
    client = connect(serving(loop, Upper))
    ask(loop, client, b"abc\n", b"ABC\n")
    row: Any = only(loop)
    assert row.recv(10) == b""
    assert row.makefile("rb").read() == b""


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", ["r", "rb", "rw", "rwb", "br", "wrb"])
def test_files_to_read_from(loop: Reactor, connect: Any, mode: str) -> None:
    got = []

    def handle(handler: Any) -> None:
        file = handler.request.makefile(mode, encoding="utf-8", newline="\n")
        assert file.readable()
        got.extend([file.read(1), file.readline(), list(file)])

    text: Any = (lambda value: value.encode()) if "b" in mode else (lambda value: value)
    assert served(loop, connect, handle, "aé\nb\n".encode(), framing=Fixed(6)) == b""
    expected = ["a", "é\n", ["b\n"]]
    assert got == [text(expected[0]), text(expected[1]), [text("b\n")]] if "b" in mode else got == expected


@pytest.mark.parametrize("mode", ["w", "wb", "rw", "rwb"])
@pytest.mark.parametrize("buffering", [None, -1, 1, 5, 100])
def test_files_to_write_to(loop: Reactor, connect: Any, mode: str, buffering: int | None) -> None:
    def handle(handler: Any) -> None:
        with handler.request.makefile(mode, buffering, encoding="utf-8") as file:
            assert file.writable()
            for word in ("first", " ", "é", "x" * 1000):
                file.write(word.encode() if "b" in mode else word)

    assert served(loop, connect, handle) == "first é".encode() + b"x" * 1000


def test_a_file_without_a_buffer_writes_at_once(loop: Reactor, connect: Any) -> None:
    def handle(handler: Any) -> None:
        file = handler.request.makefile("wb", 0)
        assert file.write(b"ab") == 2
        assert handler.request.outbox_bytes == 2
        buffered = handler.request.makefile("wb")
        assert isinstance(buffered, io.BufferedWriter)
        buffered.write(b"cd")
        assert handler.request.outbox_bytes == 2
        buffered.flush()
        assert handler.request.outbox_bytes == 4
        both = handler.request.makefile("rwb")
        assert (both.readline(), both.write(b"ef"), both.peek(), both.read1(5)) == (b"abc\n", 2, b"", b"")

    assert served(loop, connect, handle) == b"abcdef"


@pytest.mark.parametrize("wbufsize", [-1, 1, 10, 100_000])
def test_a_handler_with_a_buffered_wfile(loop: Reactor, connect: Any, wbufsize: int) -> None:
    client = connect(serving(loop, type("Buffered", (Upper,), {"wbufsize": wbufsize})))
    ask(loop, client, b"abcdefghijkl\nb\n", b"ABCDEFGHIJKL\nB\n")
    ask(loop, client, b"c\n", b"C\n")
    assert only(loop).phase is Phase.IDLE


def test_files_of_one_frame_share_it(loop: Reactor, connect: Any) -> None:
    got = []

    def handle(handler: Any) -> None:
        with handler.request.makefile("rb") as file:
            got.append(file.read(1))
        got.append(handler.request.recv(10))  # a socket can be read when its file is closed
        handler.request.sendall(b"ok")

    client = connect(serving(loop, handling(handle)))
    ask(loop, client, b"abc\n", b"ok")
    ask(loop, client, b"def\n", b"ok")
    assert got[0::2] == [b"a", b"d"]
    assert only(loop).phase is Phase.IDLE


@pytest.fixture
def no_file_left() -> Iterator[None]:
    """A file that is still open warns when it is collected: do that inside of the test it belongs to."""
    yield
    gc.collect()


@needs_proc
@pytest.mark.usefixtures("no_file_left")
def test_a_frame_on_disk_is_closed_whatever_the_handler_does(loop: Reactor, connect: Any) -> None:
    files, got = [], []

    def handle(handler: Any) -> None:
        files.append(handler.request.makefile("rb"))
        got.extend(iter(lambda: handler.request.recv(20), b""))

    before = temporary_files()
    client = connect(serving(loop, handling(handle), HttpRequests(memory_bytes=30)))
    client.sendall(BODY + BODY)
    turn_until(loop, lambda: only(loop).requests == 2)
    assert b"".join(got) == BODY + BODY
    assert [file.closed for file in files] == [True, True]
    assert temporary_files() == before


def test_a_file_that_was_read_to_its_end_and_closed_counts(loop: Reactor, connect: Any) -> None:
    def handle(handler: Any) -> None:
        with handler.request.makefile("rb") as file:
            handler.request.sendall(file.read().upper())
        handler.request.makefile("rb").close()

    client = connect(serving(loop, handling(handle)))
    ask(loop, client, b"a\n", b"A\n")
    ask(loop, client, b"b\n", b"B\n")


# -- large replies ----------------------------------------------------------------------------------------------------

SMALL_OUTBOX = {"outbox_bytes": 100_000, "outbox_high_bytes": 50_000, "outbox_low_bytes": 10_000}


@pytest.mark.usefixtures("no_file_left")
def test_a_reply_larger_than_the_outbox_arrives_whole(loop: Reactor, connect: Any) -> None:
    data = noise(3_000_000)
    pieces = [data[at : at + 70_001] for at in range(0, len(data), 70_001)]

    def handle(handler: Any) -> None:
        narrow(handler)
        for piece in pieces:
            handler.request.sendall(piece)
        handler.request.sendall(b"the end")  # small, and behind all that waits

    client = connect(serving(loop, handling(handle), **SMALL_OUTBOX), receive_buffer=8192)
    client.sendall(b"a\n")
    row = only(loop)
    turn_until(loop, lambda: row.outbox_bytes)
    assert row.pending <= 100_000
    assert row.outbox_bytes > 2_000_000
    assert receive_all(loop, client) == data + b"the end"
    client.close()
    until_gone(loop, row)
    assert row.end is End.FINISHED
    assert row.outbox_bytes == 0


def test_a_reply_of_one_write_that_is_larger_than_the_outbox(loop: Reactor, connect: Any) -> None:
    data = noise(1_000_000)

    def handle(handler: Any) -> None:
        narrow(handler)
        handler.request.sendall(data)
        while handler.request.recv(100):
            handler.request.sendall(b".")

    client = connect(serving(loop, handling(handle), **SMALL_OUTBOX), receive_buffer=8192)
    for _ in range(2):
        client.sendall(b"a\n")
        assert receive(loop, client, len(data) + 1) == data + b"."
        turns(loop)
        row = only(loop)
        assert (row.phase, row.outbox_bytes, row.paused) == (Phase.IDLE, 0, frozenset())
        assert not isinstance(row.transport, SpoolingTransport)


@pytest.mark.usefixtures("no_file_left")
def test_what_is_spooled_is_counted_in_bytes(loop: Reactor, connect: Any) -> None:
    items = array.array("I", range(100_000))

    def handle(handler: Any) -> None:
        narrow(handler)
        handler.request.sendall(items)
        handler.request.sendall(memoryview(items)[:10])
        items[0] = 7  # what was written is written

    expected = items.tobytes()
    expected += expected[: 10 * items.itemsize]
    client = connect(serving(loop, handling(handle), **SMALL_OUTBOX), receive_buffer=8192)
    client.sendall(b"a\n")
    assert receive_all(loop, client) == expected


@pytest.mark.usefixtures("no_file_left")
def test_requests_wait_while_a_reply_is_on_disk(loop: Reactor, connect: Any) -> None:
    """Or a client that pipelines and reads slowly would fill the disk, and then be reset."""
    data, made = noise(900_000), []

    def handle(handler: Any) -> None:
        narrow(handler)
        made.append(len(data))
        while handler.request.recv(100):
            handler.request.sendall(data)

    client = connect(serving(loop, handling(handle), spool_bytes=1_000_000, **SMALL_OUTBOX), receive_buffer=8192)
    client.sendall(b"1\n2\n3\n")
    row = only(loop)
    turn_until(loop, lambda: made)
    turns(loop, 20)
    assert len(made) == 1
    assert row.paused
    client.sendall(b"4\n")
    assert receive(loop, client, 4 * len(data)) == data * 4
    turns(loop)
    assert (row.phase, row.paused, row.requests) == (Phase.IDLE, frozenset(), 4)


@pytest.mark.usefixtures("no_file_left")
@pytest.mark.parametrize("swallow", [False, True])
def test_more_than_the_spool_may_hold_ends_with_a_reset(loop: Reactor, connect: Any, swallow: bool) -> None:
    errors = []

    def handle(handler: Any) -> None:
        narrow(handler)
        try:
            for _ in range(100):
                handler.request.sendall(bytes(100_000))
        except Exception as error:
            errors.append(error)
            if not swallow:
                raise

    server = Mirror(handling(handle))
    listener = loop.add(server, limits=Limits(spool_bytes=1_000_000, **SMALL_OUTBOX))
    client = connect(listener, receive_buffer=8192)
    row = only(loop)
    client.sendall(b"a\n")
    turn_until(loop, lambda: errors)
    with pytest.raises(ConnectionResetError):
        receive_all(loop, client)
    until_gone(loop, row)
    (error,) = errors
    assert "spool_bytes" in str(error)
    assert "1000000" in str(error)
    assert row.end is End.ABORTED
    assert "spool_bytes" in row.detail
    assert server.calls == [*WELCOME, *FRAME, *([] if swallow else ["handle_error"]), *FAREWELL]


@needs_proc
@pytest.mark.parametrize("how", ["reset", "abort", "stall", "close"])
def test_a_row_that_ends_early_closes_its_file(loop: Reactor, clock: ManualClock, connect: Any, how: str) -> None:
    before = temporary_files()
    client = connect(
        serving(loop, handling(lambda handler: handler.request.sendall(bytes(9_000_000))), **SMALL_OUTBOX),
        receive_buffer=8192,
    )
    client.sendall(b"a\n")
    row = only(loop)
    turn_until(loop, lambda: row.outbox_bytes)
    turns(loop, 10)
    assert temporary_files() == before + 1
    if how == "close":
        loop.close()
    elif how == "stall":
        clock.advance(31)
    elif how == "reset":
        reset(client)
    else:
        row.abort("enough")
    if how != "close":
        until_gone(loop, row)
    assert temporary_files() == before
    assert row.outbox_bytes == 0


@pytest.mark.usefixtures("no_file_left")
def test_shutting_our_side_behind_a_reply_on_disk(loop: Reactor, connect: Any) -> None:
    data = noise(2_000_000)

    def handle(handler: Any) -> None:
        if handler.request.recv(100, socket.MSG_PEEK) == b"a\n":
            handler.request.sendall(data)
            handler.request.shutdown(socket.SHUT_WR)
        while handler.request.recv(100):
            pass

    client = connect(serving(loop, handling(handle), **SMALL_OUTBOX), receive_buffer=8192)
    client.sendall(b"a\n")
    row = only(loop)
    assert receive_all(loop, client) == data
    client.sendall(b"b\n")
    turn_until(loop, lambda: row.requests == 2)
    assert row.end is None


@pytest.mark.usefixtures("no_file_left")
def test_a_full_outbox_and_a_bad_frame(connect: Any, capsys: Any) -> None:
    """A refusal that finds no room must not cost more than its own row."""
    with Reactor(strict=True) as loop:

        def handle(handler: Any) -> None:
            narrow(handler)
            handler.request.sendall(bytes(40_000))
            while handler.request.recv(99):
                pass

        listener = serving(
            loop, handling(handle), Stubborn(lambda: bytes(2_000_000)), spool_bytes=1000, outbox_bytes=50_000,
            outbox_high_bytes=50_000, outbox_low_bytes=50_000,
        )  # fmt: skip
        client = connect(listener, receive_buffer=4096)
        row = only(loop)
        client.sendall(b"a\n")
        turn_until(loop, lambda: row.requests == 1)
        client.sendall(b"toolong")
        with pytest.raises(ConnectionResetError):
            receive_all(loop, client)
        until_gone(loop, row)
        assert listener.row.phase is Phase.LISTENING
        assert capsys.readouterr().err == ""


# -- handlers that tidy up ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("past", [True, False], ids=["behind the frame", "within the frame"])
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_who_shuts_its_side_behind_the_frame_tidies_up(loop: Reactor, connect: Any, past: bool, on_disk: bool) -> None:
    """It took the end of the frame for the end of the stream; within the frame it means what it says."""

    def handle(handler: Any) -> None:
        request = handler.rfile.readline()
        handler.wfile.write(request)
        while past and handler.rfile.read(1000):
            pass
        handler.request.shutdown(socket.SHUT_WR)
        handler.rfile.read()

    framing = HttpRequests(memory_bytes=len(NOBODY) - 1 if on_disk else 1000)
    client = connect(serving(loop, handling(handle, ours.StreamRequestHandler), framing))
    line = NOBODY[: NOBODY.index(b"\n") + 1]
    for _ in range(2 if past else 1):
        ask(loop, client, NOBODY, line)
    row = only(loop)
    assert row.end is None
    if past:
        client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""


class Draining(http.server.BaseHTTPRequestHandler):
    """Answers, and then reads what is left: as servers do that want no reset to destroy their reply."""

    protocol_version = "HTTP/1.1"
    closes = False

    def do_GET(self) -> None:
        self.send_response_only(200)
        self.send_header("Content-Length", "0")
        if self.closes:
            self.send_header("Connection", "close")
        self.end_headers()
        while self.rfile.read(1000):
            pass

    do_POST = do_GET


class DrainingAndClosing(Draining):
    closes = True


CLOSING = {
    "the client": (Draining, b"Connection: close\r\n", 1),
    "the handler": (DrainingAndClosing, b"", 1),
    "nobody": (Draining, b"", 2),
}


@pytest.mark.parametrize("who", CLOSING)
@pytest.mark.parametrize("on_disk", [False, True], ids=["memory", "disk"])
def test_a_last_request_is_the_last_although_it_was_read_on(loop: Reactor, connect: Any, who: str, on_disk: bool) -> None:
    handler, header, count = CLOSING[who]
    request = b"POST / HTTP/1.1\r\nHost: a\r\n%bContent-Length: 100\r\n\r\n%b" % (header, bytes(100))
    client = connect(serving(loop, handler, HttpRequests(memory_bytes=100 if on_disk else 1000)))
    client.sendall(request * 2)
    if who == "nobody":
        client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client).count(b"HTTP/1.1 200") == count
