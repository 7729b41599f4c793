"""Streams as handlers see them: what each read returns, the one rule for the end of input, what a write promises."""

import array
import json
import socket
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from reactor import (
    ConnectionLost,
    End,
    EndOfStream,
    Fixed,
    FramingError,
    HttpRequests,
    LengthPrefixed,
    LimitError,
    Lines,
    ManualClock,
    Need,
    Netstring,
    Phase,
    Raw,
    Reactor,
    Stream,
    Until,
    spawn,
    timeout,
)
from tests.driving import (
    ask,
    listen,
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

pytestmark = pytest.mark.usefixtures("no_errors_left")

Handler = Callable[[Stream], Coroutine[Any, Any, None]]


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Reads:
    """A handler that calls one read again and again, and notes what each returned or raised."""

    def __init__(self, *reads: Callable[[Stream], Any], again: int = 1) -> None:
        self.reads, self.again = reads, again
        self.got: list[Any] = []
        self.stream: Stream | None = None

    async def __call__(self, stream: Stream) -> None:
        self.stream = stream
        for _ in range(self.again):
            for read in self.reads:
                try:
                    self.got.append(await read(stream))
                except (EndOfStream, FramingError, LimitError, ConnectionLost) as error:
                    self.got.append(error)


async def collect(stream: Stream, framing: Any) -> list[Any]:
    return [frame async for frame in stream.frames(framing)]


# -- what each read returns -------------------------------------------------------------------------------------------

READS: dict[str, tuple[Callable[[Stream], Any], bytes, list[Any]]] = {
    "readline": (lambda s: s.readline(), b"one\ntwo\n\nfour\n", [b"one\n", b"two\n", b"\n", b"four\n"]),
    "readline max_bytes": (lambda s: s.readline(max_bytes=4), b"four\n\nab\n", [b"four\n", b"\n", b"ab\n"]),
    "readuntil": (lambda s: s.readuntil(b"\r\n"), b"a\r\n\r\nb\r\r\n", [b"a\r\n", b"\r\n", b"b\r\r\n"]),
    "readuntil max_bytes": (lambda s: s.readuntil(b"--", max_bytes=3), b"abc---b--", [b"abc--", b"-b--"]),
    "readexactly": (lambda s: s.readexactly(3), b"abcdefghi", [b"abc", b"def", b"ghi"]),
    "frame": (lambda s: s.frame(LengthPrefixed(2)), b"\0\1a\0\0\0\3bcd", [b"a", b"", b"bcd"]),
}


@pytest.mark.parametrize("name", READS)
def test_each_read_returns_the_same_whatever_the_split_of_the_bytes(
    loop: Reactor, connect: Any, name: str
) -> None:
    read, wire, expected = READS[name]
    for split in range(1, len(wire)):
        handler = Reads(read, again=len(expected))
        listener = listen(loop, handler)
        client = connect(listener)
        client.sendall(wire[:split])
        turns(loop, 2)
        client.sendall(wire[split:])
        turn_until(loop, lambda handler=handler: len(handler.got) == len(expected))
        assert handler.got == expected, split
        assert {type(got) for got in handler.got} == {bytes}
        listener.close()
        client.close()


FRAMINGS: dict[str, tuple[Any, list[Any]]] = {
    "Lines": (Lines(), [b"one\n", b"\n", b"three\n"]),
    "Lines without their end": (Lines(keep_end=False), [b"one", b"", b"three"]),
    "Until": (Until(b"\r\n.\r\n", keep_end=False), [b"a\r\n", b"", b"."]),
    "Fixed": (Fixed(4), [b"abcd", b"\0\0\0\0", b"efgh"]),
    "LengthPrefixed 1": (LengthPrefixed(1), [b"a", b"", b"bcd"]),
    "LengthPrefixed 4 little": (LengthPrefixed(4, byteorder="little"), [b"a", b"", b"bcd"]),
    "Netstring": (Netstring(), [b"hello", b"", b"0123456789a"]),
    "mapped": (LengthPrefixed(2).map(json.loads, lambda x: json.dumps(x).encode()), [{"a": 1}, [], "x"]),
}


@pytest.mark.parametrize("name", FRAMINGS)
def test_every_framing_over_tcp_gives_the_same_frames_at_every_split(loop: Reactor, connect: Any, name: str) -> None:
    framing, frames = FRAMINGS[name]
    wire = b"".join(framing.encode(frame) for frame in frames)
    for split in range(1, len(wire)):
        handler = Reads(lambda stream: collect(stream, framing))
        listener = listen(loop, handler)
        client = connect(listener)
        client.sendall(wire[:split])
        turns(loop, 2)
        client.sendall(wire[split:])
        client.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda handler=handler: handler.got)
        assert handler.got == [frames], split
        listener.close()
        client.close()


@pytest.mark.parametrize("name", FRAMINGS)
def test_every_framing_takes_its_bytes_one_at_a_time(loop: Reactor, connect: Any, name: str) -> None:
    framing, frames = FRAMINGS[name]
    handler = Reads(lambda stream: collect(stream, framing))
    client = connect(listen(loop, handler))
    for byte in b"".join(framing.encode(frame) for frame in frames):
        client.sendall(bytes([byte]))
        loop.step(0.1)
    client.shutdown(socket.SHUT_WR)
    turn_until(loop, lambda: handler.got)
    assert handler.got == [frames]
    assert handler.stream.bytes_in == len(b"".join(framing.encode(frame) for frame in frames))


def test_read_some_returns_what_has_arrived(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.read_some(), again=4)
    client = connect(listen(loop, handler))
    for piece in (b"a", b"bcd", b"e" * 1000):
        client.sendall(piece)
        loop.step(0.5)
        turn_until(loop, lambda piece=piece: handler.got[-1:] == [piece])
    client.shutdown(socket.SHUT_WR)
    turn_until(loop, lambda: len(handler.got) == 4)
    assert handler.got == [b"a", b"bcd", b"e" * 1000, b""]


def test_read_some_returns_at_most_max_bytes_and_loses_nothing(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.read_some(max_bytes=3), lambda s: s.read_some(), again=2)
    client = connect(listen(loop, handler))
    client.sendall(b"abcdefgh")
    client.shutdown(socket.SHUT_WR)
    turn_until(loop, lambda: len(handler.got) == 4)
    assert handler.got == [b"abc", b"defgh", b"", b""]


@pytest.mark.parametrize("max_bytes", [65535, 65536, 65537, 1 << 20])
def test_read_some_hands_over_a_large_upload_whole(loop: Reactor, connect: Any, max_bytes: int) -> None:
    got: list[bytes] = []

    async def sink(stream: Stream) -> None:
        while data := await stream.read_some(max_bytes):
            got.append(data)

    client = connect(listen(loop, sink))
    row = only(loop)
    sent = bytes(range(256)) * 2000
    send_all(loop, client, sent)
    client.shutdown(socket.SHUT_WR)
    until_gone(loop, row)
    assert b"".join(got) == sent
    assert max(map(len, got)) <= max_bytes


def test_readexactly_of_nothing_returns_at_once(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.readexactly(0))
    connect(listen(loop, handler))
    turn_until(loop, lambda: handler.got)
    assert handler.got == [b""]


def test_readexactly_takes_a_body_larger_than_frame_bytes_and_the_inbox_mark(loop: Reactor, connect: Any) -> None:
    body = bytes(range(256)) * 2048  # 512 KiB
    handler = Reads(lambda s: s.readline(), lambda s: s.readexactly(len(body)), lambda s: s.readline())
    client = connect(listen(loop, handler))
    send_all(loop, client, b"PUT\n" + body + b"next\n")
    turn_until(loop, lambda: len(handler.got) == 3)
    assert handler.got == [b"PUT\n", body, b"next\n"]


# -- limits of a frame ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 7])
def test_a_line_of_exactly_max_bytes_is_taken_and_one_more_byte_is_refused(
    loop: Reactor, connect: Any, pieces: int
) -> None:
    for extra in (0, 1):
        handler = Reads(lambda s: s.readline(max_bytes=20))
        client = connect(listen(loop, handler))
        line = b"x" * (20 + extra) + b"\n"
        for at in range(0, len(line), -(-len(line) // pieces)):
            client.sendall(line[at : at + -(-len(line) // pieces)])
            loop.step(0.1)
        turn_until(loop, lambda handler=handler: handler.got)
        if extra:
            assert isinstance(handler.got[0], FramingError)
            assert handler.got[0].limit == 20
        else:
            assert handler.got == [line]


def test_a_line_that_is_too_long_is_refused_before_it_ends(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.readline(max_bytes=20))
    client = connect(listen(loop, handler))
    client.sendall(b"x" * 21)
    turn_until(loop, lambda: handler.got)
    assert isinstance(handler.got[0], FramingError)


def test_frame_bytes_is_the_default_maximum(loop: Reactor, connect: Any) -> None:
    for read in (lambda s: s.readline(), lambda s: s.readuntil(b"\n"), lambda s: s.frame(Lines())):
        handler = Reads(read, again=2)
        client = connect(listen(loop, handler, frame_bytes=30))
        client.sendall(b"y" * 30 + b"\n" + b"x" * 31 + b"\n")
        turn_until(loop, lambda handler=handler: len(handler.got) == 2)
        assert handler.got[0] == b"y" * 30 + b"\n"
        assert isinstance(handler.got[1], FramingError)
        assert handler.got[1].limit == 30


def test_max_bytes_may_be_larger_than_frame_bytes(loop: Reactor, connect: Any) -> None:
    line = b"z" * 200_000 + b"\n"
    handler = Reads(lambda s: s.readline(max_bytes=200_000), lambda s: s.readline())
    client = connect(listen(loop, handler, frame_bytes=30))
    send_all(loop, client, line + b"ok\n")
    turn_until(loop, lambda: len(handler.got) == 2)
    assert handler.got == [line, b"ok\n"]


def test_a_huge_announced_length_is_refused_at_the_header(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.frame(LengthPrefixed(4)))
    client = connect(listen(loop, handler))
    client.sendall(b"\xff\xff\xff\xff")
    turn_until(loop, lambda: handler.got)
    assert isinstance(handler.got[0], FramingError)
    assert handler.stream.inbox_bytes <= 4


def test_a_smaller_max_bytes_holds_for_lines_that_were_cut_ahead(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.readline(), lambda s: s.readline(max_bytes=3))
    client = connect(listen(loop, handler))
    client.sendall(b"first\nsecond\nthird\n")
    turn_until(loop, lambda: len(handler.got) == 2)
    assert handler.got[0] == b"first\n"
    assert isinstance(handler.got[1], FramingError)


# -- several framings on one stream -----------------------------------------------------------------------------------


def test_framings_may_change_after_lines_were_cut_ahead(loop: Reactor, connect: Any) -> None:
    handler = Reads(
        lambda s: s.readline(),
        lambda s: s.readexactly(3),
        lambda s: s.readline(),
        lambda s: s.readuntil(b"n"),
        lambda s: s.readline(),
        lambda s: s.read_some(max_bytes=2),
        lambda s: s.frame(Netstring()),
        lambda s: s.readline(max_bytes=5),
        lambda s: s.frame(Lines(keep_end=False)),
        lambda s: s.readline(),
        lambda s: s.read_some(),
    )
    wire = b"one\ntwo\nthree\nnon\nab3:x\ny,\nlast\nl2\nrest\nof\nit"
    expected = [
        b"one\n", b"two", b"\n", b"three\nn", b"on\n", b"ab", b"x\ny", b"\n", b"last", b"l2\n",
        b"rest\nof\nit",
    ]  # fmt: skip
    client = connect(listen(loop, handler))
    client.sendall(wire)
    turn_until(loop, lambda: len(handler.got) == len(expected))
    assert handler.got == expected
    assert handler.stream.requests == len(expected)
    assert handler.stream.bytes_in == len(wire)


def test_a_header_by_lines_and_a_body_by_length_at_every_split(loop: Reactor, connect: Any) -> None:
    requests: list[tuple[bytes, bytes]] = []

    async def serve(stream: Stream) -> None:
        while head := await stream.readline():
            body = await stream.readexactly(int(head))
            requests.append((head, body))
            stream.write(b"ok")

    wire = b"5\nab\ncd" + b"0\n" + b"2\n\n\n"
    expected = [(b"5\n", b"ab\ncd"), (b"0\n", b""), (b"2\n", b"\n\n")]
    listener = listen(loop, serve)
    for split in range(1, len(wire)):
        requests.clear()
        client = connect(listener)
        client.sendall(wire[:split])
        turns(loop, 2)
        client.sendall(wire[split:])
        assert receive(loop, client, 6) == b"okokok"
        assert requests == expected, split
        client.close()


def test_readuntil_a_newline_and_readline_share_one_stream(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: s.readline(), lambda s: s.readuntil(b"\n"), again=20)
    client = connect(listen(loop, handler))
    wire = [b"%d\n" % i for i in range(40)]
    client.sendall(b"".join(wire))
    turn_until(loop, lambda: len(handler.got) == 40)
    assert handler.got == wire
    assert handler.stream.requests == 40


# -- the end of input, one rule ---------------------------------------------------------------------------------------

AT_END: dict[str, tuple[Callable[[Stream], Any], Any]] = {
    "readline": (lambda s: s.readline(), b""),
    "readline max_bytes": (lambda s: s.readline(max_bytes=9), b""),
    "read_some": (lambda s: s.read_some(), b""),
    "read_some max_bytes": (lambda s: s.read_some(9), b""),
    "readuntil": (lambda s: s.readuntil(b"\n"), EndOfStream),
    "readexactly": (lambda s: s.readexactly(3), EndOfStream),
    "frame": (lambda s: s.frame(Lines()), EndOfStream),
    "frames": (lambda s: collect(s, Lines()), []),
}


def _ends_as(got: Any, expected: Any, cause: str) -> bool:
    return got == expected if not isinstance(expected, type) else isinstance(got, expected) and got.cause == cause


@pytest.mark.parametrize("name", AT_END)
@pytest.mark.parametrize("before", [b"", b"abc\n"])
def test_at_a_clean_end_of_input(loop: Reactor, connect: Any, name: str, before: bytes) -> None:
    read, expected = AT_END[name]
    handler = Reads(*[lambda s: s.readline()] * bool(before), read, read)
    client = connect(listen(loop, handler))
    client.sendall(before)
    client.shutdown(socket.SHUT_WR)
    turn_until(loop, lambda: len(handler.got) == 2 + bool(before))
    for got in handler.got[-2:]:  # and again: the end stays the end
        assert _ends_as(got, expected, "peer")
    assert receive_all(loop, client) == b""
    until_gone(loop, handler.stream)
    assert handler.stream.end is End.PEER_CLOSED


INSIDE: dict[str, tuple[Callable[[Stream], Any], bytes]] = {
    "readline": (lambda s: s.readline(), b"no end"),
    "readuntil": (lambda s: s.readuntil(b"\r\n"), b"\r"),
    "readexactly": (lambda s: s.readexactly(3), b"ab"),
    "frame": (lambda s: s.frame(LengthPrefixed(4)), b"\0\0\0\5abcd"),
    "frame in the header": (lambda s: s.frame(LengthPrefixed(4)), b"\0"),
    "netstring": (lambda s: s.frame(Netstring()), b"3:abc"),
    "frames": (lambda s: collect(s, Fixed(4)), b"full" + b"hal"),
}


@pytest.mark.parametrize("name", INSIDE)
def test_bytes_left_over_at_the_end_are_a_framing_error(
    loop: Reactor, connect: Any, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    read, wire = INSIDE[name]
    seen: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        try:
            await read(stream)
        except FramingError as error:
            seen.append(error)
            raise

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(wire)
    client.shutdown(socket.SHUT_WR)
    until_gone(loop, row)
    assert len(seen) == 1
    assert row.end is End.BAD_FRAME
    assert len([record for record in caplog.records if record.name == "reactor"]) == 1
    assert [ended.id for ended in loop.table.ended] == [row.id]


def test_end_of_input_at_every_offset_of_three_frames(loop: Reactor, connect: Any) -> None:
    frames = [b"ab", b"", b"cde"]
    framing = Netstring()
    wire = b"".join(map(framing.encode, frames))
    whole = [0]
    for frame in frames:
        whole.append(whole[-1] + len(framing.encode(frame)))
    for cut in range(len(wire) + 1):
        handler = Reads(lambda s: s.frame(framing), again=4)
        listener = listen(loop, handler)
        client = connect(listener)
        client.sendall(wire[:cut])
        client.shutdown(socket.SHUT_WR)
        turn_until(loop, lambda handler=handler: len(handler.got) == 4)
        complete = sum(end <= cut for end in whole[1:])
        assert handler.got[:complete] == frames[:complete]
        assert all(isinstance(got, EndOfStream if cut in whole else FramingError) for got in handler.got[complete:])
        listener.close()
        client.close()


@pytest.mark.parametrize("name", AT_END)
def test_a_drain_ends_the_input_in_the_same_way(loop: Reactor, connect: Any, name: str) -> None:
    read, expected = AT_END[name]
    handler = Reads(read, read)
    client = connect(listen(loop, handler))
    row = only(loop)
    turns(loop, 2)
    loop.stop()
    turn_until(loop, lambda: len(handler.got) == 2)
    assert all(_ends_as(got, expected, "drain") for got in handler.got)
    assert receive_all(loop, client) == b""
    until_gone(loop, row)
    assert row.end is End.DRAINED


def test_uncaught_end_of_stream_and_connection_lost_are_normal_ends(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        await stream.readexactly(10)

    listener = listen(loop, serve)
    for leave, end in ((lambda c: c.shutdown(socket.SHUT_WR), End.PEER_CLOSED), (reset, End.PEER_RESET)):
        client = connect(listener)
        row = only(loop)
        leave(client)
        until_gone(loop, row)
        assert row.end is end


# -- frames() and requests --------------------------------------------------------------------------------------------


def test_each_frame_of_frames_is_a_request_answered_or_not(loop: Reactor, connect: Any) -> None:
    async def sink(stream: Stream) -> None:
        async for _ in stream.frames(Lines()):
            pass

    client = connect(listen(loop, sink))
    row = only(loop)
    for count in range(1, 4):
        client.sendall(b"line\n")
        turn_until(loop, lambda count=count: row.requests == count)
        assert row.phase is Phase.IDLE


def test_a_sink_may_declare_its_request_answered(loop: Reactor, connect: Any) -> None:
    async def sink(stream: Stream) -> None:
        while line := await stream.readline():
            if line == b"end\n":
                stream.end_request()

    client = connect(listen(loop, sink))
    row = only(loop)
    client.sendall(b"part\n")
    turn_until(loop, lambda: row.requests == 1)
    assert row.phase is Phase.RECEIVING
    client.sendall(b"end\n")
    turn_until(loop, lambda: row.requests == 2)
    assert row.phase is Phase.IDLE


def test_frames_may_be_left_and_entered_again(loop: Reactor, connect: Any) -> None:
    got: list[Any] = []

    async def serve(stream: Stream) -> None:
        async for line in stream.frames(Lines(keep_end=False)):
            got.append(line)
            if line == b".":
                break
        got.append(await stream.readexactly(2))
        got.extend([line async for line in stream.frames(Lines())])

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"a\n.\nxyz\nend\n")
    client.shutdown(socket.SHUT_WR)
    until_gone(loop, row)
    assert got == [b"a", b".", b"xy", b"z\n", b"end\n"]


class Stateful(Lines):
    """A framing with state of its own: every row must get a fresh one."""

    def __init__(self) -> None:
        super().__init__()
        self.frames = 0

    def fresh(self) -> "Stateful":
        return Stateful()

    def next_frame(self, inbox: Any, eof: bool) -> Any:
        frame = super().next_frame(inbox, eof)
        if isinstance(frame, Need):
            return frame
        self.frames += 1
        return b"%d:%b" % (self.frames, frame)


def test_every_row_gets_a_fresh_framing(loop: Reactor, connect: Any) -> None:
    prototype = Stateful()

    async def serve(stream: Stream) -> None:
        async for frame in stream.frames(prototype):
            stream.write(frame)

    listener = listen(loop, serve)
    a, b = connect(listener), connect(listener)
    ask(loop, a, b"x\ny\n", b"1:x\n2:y\n")
    ask(loop, b, b"z\n", b"1:z\n")
    ask(loop, a, b"w\n", b"3:w\n")
    assert prototype.frames == 0


def test_every_frame_call_takes_a_fresh_framing(loop: Reactor, connect: Any) -> None:
    prototype = Stateful()
    handler = Reads(lambda s: s.frame(prototype), again=3)
    client = connect(listen(loop, handler))
    client.sendall(b"x\ny\nz\n")
    turn_until(loop, lambda: len(handler.got) == 3)
    assert handler.got == [b"1:x\n", b"1:y\n", b"1:z\n"]
    assert prototype.frames == 0


def test_raw_is_a_framing_too(loop: Reactor, connect: Any) -> None:
    handler = Reads(lambda s: collect(s, Raw(max_bytes=4)))
    client = connect(listen(loop, handler))
    client.sendall(b"abcdefghij")
    client.shutdown(socket.SHUT_WR)
    turn_until(loop, lambda: handler.got)
    assert handler.got == [[b"abcd", b"efgh", b"ij"]]


# -- one reader at a time ---------------------------------------------------------------------------------------------


def test_a_second_reader_gets_an_error_that_says_so(loop: Reactor, connect: Any) -> None:
    seen: list[BaseException] = []

    async def second(stream: Stream) -> None:
        try:
            await stream.readline()
        except RuntimeError as error:
            seen.append(error)

    async def serve(stream: Stream) -> None:
        spawn(second, stream)
        stream.write(await stream.readline())

    client = connect(listen(loop, serve))
    turn_until(loop, lambda: seen)
    assert "one reader at a time" in str(seen[0])
    ask(loop, client, b"the first reader goes on\n", b"the first reader goes on\n")


def test_the_handler_may_be_the_second_reader(loop: Reactor, connect: Any) -> None:
    seen: list[Any] = []

    async def first(stream: Stream) -> None:
        seen.append(await stream.readline())

    async def serve(stream: Stream) -> None:
        task = stream.spawn(first, stream)
        stream.write(b"hello")
        await stream.drain()
        try:
            await stream.readline()
        except RuntimeError as error:
            seen.append(str(error))
        await task.wait()
        stream.write(b"done")

    client = connect(listen(loop, serve))
    turn_until(loop, lambda: seen)
    assert "one reader at a time" in seen[0]
    ask(loop, client, b"line\n", b"hellodone")
    assert seen[1] == b"line\n"


# -- writing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_anything_with_a_buffer_may_be_written(loop: Reactor, connect: Any, kind: Any) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(kind(b"some bytes"))

    client = connect(listen(loop, serve))
    assert receive_all(loop, client) == b"some bytes"


def test_a_buffer_is_copied_when_it_is_written(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        buffer = bytearray(b"first")
        stream.write(buffer)
        buffer[:] = b"XXXXX"
        stream.write(memoryview(buffer)[:2])
        buffer[:] = b"YYYYY"
        await stream.readline()

    client = connect(listen(loop, serve))
    assert receive(loop, client, 7) == b"firstXX"


def test_a_view_of_wider_items_is_written_as_its_bytes(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(memoryview(b"abcdefgh").cast("I"))
        assert stream.offer(memoryview(b"ijklmnop").cast("I"))

    client = connect(listen(loop, serve))
    assert receive_all(loop, client) == b"abcdefghijklmnop"


def test_what_is_no_buffer_is_a_type_error(loop: Reactor, connect: Any) -> None:
    seen: list[BaseException] = []

    async def serve(stream: Stream) -> None:
        for wrong in ("text", 5, None, [1]):
            try:
                stream.write(wrong)
            except TypeError as error:
                seen.append(error)

    client = connect(listen(loop, serve))
    assert receive_all(loop, client) == b""
    assert len(seen) == 4


def test_an_empty_write_sends_nothing_but_answers_the_request(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        while await stream.readline():
            stream.write(b"")

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"x\n")
    turn_until(loop, lambda: row.requests == 1)
    assert (row.phase, row.outbox_bytes, row.bytes_out) == (Phase.IDLE, 0, 0)


def test_write_eof_leaves_the_other_direction_open(loop: Reactor, connect: Any) -> None:
    got: list[bytes] = []

    async def serve(stream: Stream) -> None:
        stream.write(b"all I say")
        stream.write_eof()
        while line := await stream.readline():
            got.append(line)

    client = connect(listen(loop, serve))
    assert receive_all(loop, client) == b"all I say"
    row = only(loop)
    for i in range(3):
        client.sendall(b"%d\n" % i)
        turn_until(loop, lambda i=i: len(got) == i + 1)
    client.shutdown(socket.SHUT_WR)
    until_gone(loop, row)
    assert got == [b"0\n", b"1\n", b"2\n"]
    assert row.end is End.PEER_CLOSED


def test_write_eof_waits_for_what_was_written_before(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        stream.write(b"x" * 10_000_000)
        stream.write_eof()
        await stream.readline()

    client = connect(listen(loop, serve), receive_buffer=8192)
    assert len(receive_all(loop, client)) == 10_000_000
    assert only(loop).end is None


def test_a_client_that_half_closes_reads_a_reply_of_12_mb(loop: Reactor, connect: Any) -> None:
    reply = bytes(range(256)) * 49152

    async def serve(stream: Stream) -> None:
        request = bytearray()
        while data := await stream.read_some():
            request += data
        stream.write(reply)
        stream.write(bytes(request))

    client = connect(listen(loop, serve))
    client.sendall(b"request")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == reply + b"request"
    turn_until(loop, lambda: not streams(loop))


def test_offer_is_refused_when_the_peer_is_slow_and_nothing_is_written(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo, outbox_high_bytes=1000, outbox_low_bytes=100))
    row = only(loop)
    assert row.offer(b"x" * 1000)
    assert not row.offer(b"y")
    assert row.outbox_bytes == 1000
    assert receive(loop, client, 1000) == b"x" * 1000
    assert row.offer(b"z")
    assert receive(loop, client, 1) == b"z"


def test_offer_is_refused_when_the_row_ends_or_is_gone(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    row = only(loop)
    row.close()
    assert not row.offer(b"late")
    turns(loop)
    assert not row.offer(b"later")
    assert receive_all(loop, client) == b""
    client.close()
    turn_until(loop, lambda: not streams(loop))
    assert not row.offer(b"too late")
    assert row.outbox_bytes == 0


@pytest.mark.parametrize("how", ["offer", "write"])
def test_what_others_offer_answers_no_request(loop: Reactor, connect: Any, how: str) -> None:
    """What they write does: they may be the ones who answer."""

    async def serve(stream: Stream) -> None:
        while await stream.readline():
            pass

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"first line of a request\n")
    turn_until(loop, lambda: row.requests == 1)
    assert row.phase is Phase.RECEIVING
    getattr(row, how)(b"news")
    assert receive(loop, client, 4) == b"news"
    client.sendall(b"second line of a request\n")
    turn_until(loop, lambda: row.requests == 2)
    assert row.phase is (Phase.RECEIVING if how == "offer" else Phase.IDLE)


def test_a_handler_may_write_to_the_row_of_another(loop: Reactor, connect: Any) -> None:
    rows: list[Stream] = []

    async def chat(stream: Stream) -> None:
        rows.append(stream)
        while line := await stream.readline():
            for row in rows:
                if row is not stream:
                    row.write(line)

    listener = listen(loop, chat)
    clients = [connect(listener) for _ in range(4)]
    turn_until(loop, lambda: len(rows) == 4)
    by_row = dict(zip(rows, clients, strict=True))  # accepted in the order of the connects
    for speaker in rows:
        by_row[speaker].sendall(b"hello from %d\n" % speaker.id)
        for row in rows:
            if row is not speaker:
                expected = b"hello from %d\n" % speaker.id
                assert receive(loop, by_row[row], len(expected)) == expected


def test_drain_waits_for_the_low_mark(loop: Reactor, connect: Any) -> None:
    drained: list[int] = []

    async def serve(stream: Stream) -> None:
        for _ in range(20):
            stream.write(b"x" * 200_000)
            await stream.drain()
            drained.append(stream.outbox_bytes)

    client = connect(listen(loop, serve), receive_buffer=8192)
    assert len(receive_all(loop, client)) == 4_000_000
    assert len(drained) == 20
    assert max(drained) <= 16384


def test_drain_always_lets_the_others_have_their_turn(loop: Reactor, connect: Any) -> None:
    order: list[str] = []

    async def talker(stream: Stream) -> None:
        await stream.readline()
        for _ in range(5):
            stream.write(b"x")
            await stream.drain()
            order.append("talker")

    async def other(stream: Stream) -> None:
        while await stream.readline():
            order.append("other")
            stream.write(b"y")

    a = connect(listen(loop, talker))
    b = connect(listen(loop, other))
    turn_until(loop, lambda: len(streams(loop)) == 2)
    a.sendall(b"go\n")
    turn_until(loop, lambda: order)
    b.sendall(b"go\n")
    turn_until(loop, lambda: order.count("talker") == 5)
    assert "other" in order[:4]


def test_drain_of_another_row(loop: Reactor, connect: Any) -> None:
    rows: list[Stream] = []
    done: list[str] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        await stream.readline()
        slow = rows[0]
        slow.write(b"x" * 10_000_000)
        await slow.drain()
        done.append("drained")
        stream.write(b"drained")

    listener = listen(loop, serve)
    slow, fast = connect(listener, receive_buffer=8192), connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    fast.sendall(b"go\n")
    turns(loop, 10)
    assert not done
    assert receive(loop, slow, 10_000_000) == b"x" * 10_000_000
    assert receive(loop, fast, 7) == b"drained"


def test_drain_of_another_row_that_has_nothing_to_send(loop: Reactor, connect: Any) -> None:
    rows: list[Stream] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        await stream.readline()
        await rows[0].drain()
        stream.write(b"drained")

    listener = listen(loop, serve)
    connect(listener)
    only(loop)
    client = connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    turns(loop)
    ask(loop, client, b"go\n", b"drained")


def test_drain_after_the_peer_is_gone_raises(loop: Reactor, connect: Any) -> None:
    seen: list[BaseException] = []

    async def stubborn(stream: Stream) -> None:
        with pytest.raises(ConnectionLost):
            await stream.readline()
        for call in (stream.drain, stream.readline, stream.read_some):
            try:
                await call()
            except ConnectionLost as error:
                seen.append(error)

    client = connect(listen(loop, stubborn))
    turn_until(loop, lambda: streams(loop))
    reset(client)
    turn_until(loop, lambda: len(seen) == 3)


def test_a_stream_is_a_context_manager_that_closes(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        async with stream:
            stream.write(b"bye")
        with pytest.raises(ConnectionLost):
            await stream.readline()

    client = connect(listen(loop, serve))
    assert receive_all(loop, client) == b"bye"


def test_handlers_see_the_peer_and_the_row_is_the_stream(loop: Reactor, connect: Any) -> None:
    seen: list[Any] = []

    async def serve(stream: Stream) -> None:
        stream.session = {"name": "x"}
        seen.append((stream.peer.host, stream.peer.port, stream.id, stream))
        await stream.readline()

    client = connect(listen(loop, serve))
    turn_until(loop, lambda: seen)
    host, port, number, stream = seen[0]
    assert (host, port) == client.getsockname()
    assert loop.table[number] is stream
    assert loop.table[number].session == {"name": "x"}


def test_over_a_unix_socket(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    client = connect(listen(loop, echo, f"unix://{tmp_path}/echo.sock"))
    ask(loop, client, b"hello\n", b"hello\n")
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""


def test_over_a_socket_that_the_program_bound_itself(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo, socket.create_server(("127.0.0.1", 0))))
    ask(loop, client, b"hello\n", b"hello\n")


@pytest.mark.parametrize("method", ["readline", "readuntil", "read_some", "readexactly"])
def test_every_read_can_be_a_task(loop: Reactor, connect: Any, method: str) -> None:
    arguments = {"readuntil": (b"\n",), "readexactly": (4,)}.get(method, ())

    async def serve(stream: Stream) -> None:
        task = stream.spawn(getattr(stream, method), *arguments)
        stream.write(await task.wait())

    client = connect(listen(loop, serve))
    client.sendall(b"abc\n")
    assert receive_all(loop, client) == b"abc\n"


def test_a_second_reader_that_is_refused_leaves_the_framing_of_the_first(loop: Reactor, connect: Any) -> None:
    told: list[str] = []

    async def serve(stream: Stream) -> None:
        async def second() -> None:
            try:
                await stream.readline()
            except RuntimeError as error:
                told.append(str(error))

        stream.spawn(second)
        stream.write(b"<%b>" % await stream.readexactly(4))
        stream.write(b"<%b>" % await stream.readline())

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    client.sendall(b"ab\ncdef\n")
    assert receive_all(loop, client) == b"<ab\nc><def\n>"
    assert told == [f"{row} is already being read by {row}: one reader at a time"]


def test_a_frame_that_was_begun_is_not_cut_in_two(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    """What follows of a body must not be taken for a request."""
    told: list[str] = []

    async def serve(stream: Stream) -> None:
        while True:
            try:
                async with timeout(1):
                    await stream.frame(HttpRequests(memory_bytes=10))
                told.append("a request")
            except TimeoutError:
                told.append("timeout")

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n0123456789ab")
    turn_until(loop, lambda: row.inbox_bytes)
    clock.advance(1)
    turns(loop)
    client.sendall(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n")
    assert b"200" not in receive_all(loop, client)
    assert told == ["timeout"]
    assert row.end is End.BAD_FRAME
    assert "bytes of a frame were taken and then another framing was asked for" in row.detail


def test_nothing_is_offered_to_a_row_whose_side_is_shut(loop: Reactor, connect: Any) -> None:
    async def shut(stream: Stream) -> None:
        stream.write_eof()
        await stream.read_some()

    connect(listen(loop, shut))
    row = only(loop)
    assert row.offer(b"lost") is False  # not shut yet, but it will be
    turns(loop)
    assert row.offer(b"lost") is False
    assert row.outbox_bytes == 0


def test_what_is_offered_is_counted_in_bytes(loop: Reactor, connect: Any) -> None:
    connect(listen(loop, echo, outbox_bytes=100, outbox_high_bytes=100, outbox_low_bytes=50))
    row = only(loop)
    assert row.offer(memoryview(array.array("I", [0] * 30))) is False
    assert row.offer(memoryview(array.array("I", [0] * 25))) is True
    assert row.bytes_out + row.outbox_bytes == 100
