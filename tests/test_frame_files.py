"""A frame as a file: what each read returns, and which of them have tried to read past the frame."""

import array
import contextlib
import io
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import HttpRequests, Lines, Netstring
from reactor.frame_files import BothWaysFile, FrameFile, ReplyFile, SpooledFrameFile, frame_file, in_memory
from reactor.quick_files import LineFile, UnreadFile, reply_writer, unread_file
from tests.properties import tries

FRAME = b"one\ntwo\nthree"


def spooled(data: bytes) -> SpooledFrameFile:
    file = tempfile.TemporaryFile()  # noqa: SIM115  (closed with the other)
    file.write(data)
    file.seek(0)
    return SpooledFrameFile(file)


def untouched(data: bytes) -> UnreadFile:
    file = unread_file(UnreadFile)
    file.frame = file.unread = data
    return file


Open = Callable[[bytes], Any]
each_kind = pytest.mark.parametrize("kind", [in_memory, spooled], ids=["memory", "disk"])


@contextlib.contextmanager
def opened(kind: Open, data: bytes = FRAME) -> Iterator[Any]:
    with contextlib.closing(kind(data)) as file:
        yield file


def into(size: int, name: str = "readinto") -> Callable[[Any], bytes]:
    """Return a read that fills a buffer."""

    def read(file: Any) -> bytes:
        buffer = bytearray(size)
        return bytes(buffer[: getattr(file, name)(buffer)])

    return read


# A read of FRAME, what it returns, and whether it tries to read past the end.
READS: dict[str, tuple[Callable[[Any], Any], Any, bool]] = {
    "read of a part": (lambda file: file.read(3), b"one", False),
    "read of nothing": (lambda file: file.read(0), b"", False),
    "read of just all": (lambda file: file.read(13), FRAME, False),
    "read of more": (lambda file: file.read(14), FRAME, True),
    "read to the end": (lambda file: file.read(), FRAME, True),
    "read(-1)": (lambda file: file.read(-1), FRAME, True),
    "read(None)": (lambda file: file.read(None), FRAME, True),
    "readline": (lambda file: file.readline(), b"one\n", False),
    "readline(None)": (lambda file: file.readline(None), b"one\n", False) ,
    "readline of a part": (lambda file: file.readline(2), b"on", False),
    "readline of nothing": (lambda file: file.readline(0), b"", False),
    "readline of just a line": (lambda file: file.readline(4), b"one\n", False),
    "readline, the last": (lambda file: [file.readline() for _ in range(3)][-1], b"three", True),
    "readline, a part of the last": (lambda file: [file.readline(5) for _ in range(3)][-1], b"three", False),
    "readline behind the end": (lambda file: [file.read(13), file.readline()], [FRAME, b""], True),
    "read1 of a part": (lambda file: file.read1(3), b"one", False),
    "read1 of more": (lambda file: file.read1(100), FRAME, False),
    "read1 of nothing": (lambda file: file.read1(0), b"", False),
    "read1 behind the end": (lambda file: [file.read1(100), file.read1(0), file.read1(1)], [FRAME, b"", b""], True),
    "readinto a part": (into(3), b"one", False),
    "readinto just all": (into(13), FRAME, False),
    "readinto more": (into(14), FRAME, True),
    "readinto nothing": (into(0), b"", False),
    "readinto1 more": (into(14, "readinto1"), FRAME, False),
    "readinto1 nothing": (lambda file: [file.read(13), into(0, "readinto1")(file)], [FRAME, b""], False),
    "readinto1 behind the end": (lambda file: [file.read(13), into(1, "readinto1")(file)], [FRAME, b""], True),
    "readlines": (lambda file: file.readlines(), [b"one\n", b"two\n", b"three"], True),
    "readlines(None)": (lambda file: file.readlines(None), [b"one\n", b"two\n", b"three"], True),
    "readlines(0)": (lambda file: file.readlines(0), [b"one\n", b"two\n", b"three"], True),
    "readlines, about one": (lambda file: file.readlines(3), [b"one\n"], False),
    "readlines, about two": (lambda file: file.readlines(4), [b"one\n", b"two\n"], False),
    "for, stopped": (lambda file: next(iter(file)), b"one\n", False),
    "for": (lambda file: list(file), [b"one\n", b"two\n", b"three"], True),
    "peek": (lambda file: [file.peek(), file.peek(1), file.read(4)], [FRAME, FRAME, b"one\n"], False),
    "peek of a rest": (lambda file: [file.read(8), file.peek(1)], [b"one\ntwo\n", b"three"], False),
    "peek behind the end": (lambda file: [file.read(13), file.peek()], [FRAME, b""], True),
}  # fmt: skip


@each_kind
@pytest.mark.parametrize(("read", "returned", "past_end"), READS.values(), ids=READS)
def test_what_a_read_returns_and_whether_it_wanted_more(
    kind: Open, read: Callable[[Any], Any], returned: Any, past_end: bool
) -> None:
    with opened(kind) as file:
        assert not file.past_end
        assert read(file) == returned
        assert file.past_end == past_end


@each_kind
def test_a_frame_that_ends_with_its_line_is_read_line_by_line(kind: Open) -> None:
    with opened(kind, b"one\ntwo\n") as file:
        assert (file.readline(), file.readline(), file.past_end) == (b"one\n", b"two\n", False)
        assert (file.readline(), file.past_end) == (b"", True)


@each_kind
def test_an_empty_frame(kind: Open) -> None:
    with opened(kind, b"") as file:
        assert (file.read(0), file.past_end) == (b"", False)
        assert (file.read(1), file.past_end) == (b"", True)


@each_kind
def test_it_once_was_past_the_end_and_stays_so(kind: Open) -> None:
    with opened(kind) as file:
        assert file.read() == FRAME
        assert file.read(0) == b""
        assert file.past_end
    assert file.closed
    assert file.past_end


@each_kind
def test_buffers_of_other_items_are_filled_by_bytes(kind: Open) -> None:
    with opened(kind, b"abcdefgh") as file:
        buffer = array.array("H", [0, 0])
        assert file.readinto(buffer) == 4
        assert buffer.tobytes() == b"abcd"
        assert not file.past_end
        assert file.readinto(array.array("H", [0] * 3)) == 4
        assert file.past_end


@each_kind
def test_it_is_what_handlers_expect_of_a_file(kind: Open) -> None:
    with opened(kind, "é\nb\n".encode()) as file:
        assert file.readable()
        assert not file.closed
        with io.TextIOWrapper(file, "utf-8") as text:
            assert list(text) == ["é\n", "b\n"]
    assert file.closed


CALLS = st.lists(st.tuples(st.sampled_from(["read", "readline", "read1", "peek"]), st.integers(0, 12)), max_size=12)


@tries(50)
@given(st.lists(st.sampled_from([b"a", b"bc", b"\n"]), max_size=20).map(b"".join), CALLS)
def test_it_returns_what_a_buffered_reader_would(data: bytes, calls: list[tuple[str, int]]) -> None:
    """And all kinds of it agree on who wanted more."""
    with opened(in_memory, data) as memory, opened(spooled, data) as disk, opened(untouched, data) as unread:
        usual = io.BufferedReader(io.BytesIO(data))  # type: ignore[arg-type]
        for name, size in calls:
            expected = getattr(usual, name)(size)
            assert getattr(memory, name)(size) == getattr(disk, name)(size) == getattr(unread, name)(size) == expected
            assert memory.past_end == disk.past_end == unread.past_end


LINE_CALLS: dict[str, Callable[[Any], Any]] = {
    "readline": lambda file: file.readline(),
    "readline(None)": lambda file: file.readline(None),
    "readline(-1)": lambda file: file.readline(-1),
    "readline(2)": lambda file: file.readline(2),
    "readline(0)": lambda file: file.readline(0),
    "next": lambda file: next(file, None),
    "read(1)": lambda file: file.read(1),
    "read1": lambda file: file.read1(100),
    "readinto": into(2),
    "readinto1": into(2, "readinto1"),
    "readlines": lambda file: file.readlines(),
    "peek": lambda file: file.peek(),
    "getvalue": lambda file: file.getvalue(),
    "getbuffer": lambda file: bytes(file.getbuffer()),
    "tell": lambda file: file.tell(),
    "seek": lambda file: file.seek(1),
    "truncate": lambda file: file.truncate(),
    "write": lambda file: file.write(b"x"),
    "asks": lambda file: (file.readable(), file.seekable(), file.writable(), file.closed),
    "close": lambda file: file.close(),
}


def outcome(call: Callable[[Any], Any], file: Any) -> Any:
    try:
        return call(file)
    except ValueError as error:  # it is closed
        return type(error), str(error)


@tries(100)
@given(st.booleans(), st.lists(st.sampled_from(sorted(LINE_CALLS)), max_size=6))
def test_a_line_that_nobody_has_touched_is_read_as_any_other_frame(is_line: bool, calls: list[str]) -> None:
    file = unread_file(LineFile if is_line else UnreadFile)
    file.frame = file.unread = b"abc\n"
    usual = in_memory(b"abc\n")
    for name in calls:
        assert outcome(LINE_CALLS[name], file) == outcome(LINE_CALLS[name], usual), name
        assert file.past_end == usual.past_end, name


@pytest.mark.parametrize(
    ("framing", "frame", "data"),
    [(Lines(keep_end=False), b"a", b"a\n"), (Netstring(), b"abc", b"3:abc,"), (HttpRequests(), b"GET", b"GET")],
)
def test_a_file_over_the_wire_bytes_of_a_frame(framing: Any, frame: bytes, data: bytes) -> None:
    with frame_file(framing, frame) as file:
        assert isinstance(file, FrameFile)
        assert file.read(99) == data


def test_a_frame_that_is_a_file_is_taken_as_such_and_closed() -> None:
    with tempfile.TemporaryFile() as frame:
        frame.write(FRAME)
        frame.seek(0)
        with frame_file(HttpRequests(), frame) as file:
            assert isinstance(file, SpooledFrameFile)
            assert file.read() == FRAME
        assert frame.closed
        file.close()  # legal twice


def test_a_line_that_nobody_has_touched_costs_no_other_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.quick_files.in_memory", None)
    for read in (lambda file: file.readline(), lambda file: next(file, b"")):
        file = unread_file(LineFile)
        file.frame = file.unread = b"abc\n"
        assert (read(file), file.past_end) == (b"abc\n", False)
        assert (read(file), file.past_end) == (b"", True)
        file.close()


# -- what is written --------------------------------------------------------------------------------------------------


def test_a_reply_file_hands_everything_on() -> None:
    sent: list[bytes] = []
    file = ReplyFile(lambda data: sent.append(bytes(data)) or len(bytes(data)))
    assert file.writable()
    assert not file.readable()
    assert file.write(b"ab") == 2
    with io.BufferedWriter(file, 4) as buffered:
        buffered.write(b"cd")
        assert sent == [b"ab"]
        buffered.write(b"efg")
    assert b"".join(sent) == b"abcdefg"


def test_a_writer_hands_everything_on() -> None:
    class Row:
        """No outbox: so every write is a sendall."""

        outbox = None
        sent = b""

        def sendall(self, data: Any) -> None:
            self.sent += bytes(data)

        def fileno(self) -> int:
            return 7

    row, writer = Row(), reply_writer()
    writer._sock = row
    assert isinstance(writer, io.BufferedIOBase)
    assert (writer.writable(), writer.readable(), writer.closed, writer.fileno()) == (True, False, False, 7)
    assert (writer.write(b"ab"), writer.write(memoryview(b"cd")), writer.write(array.array("H", [0]))) == (2, 2, 2)
    assert row.sent == b"abcd\0\0"
    writer.close()
    assert writer.closed


def test_a_file_for_both_ways() -> None:
    sent: list[bytes] = []
    frame = in_memory(FRAME)
    file = BothWaysFile(frame, lambda data: sent.append(data) or len(data))
    assert file.readable()
    assert file.writable()
    assert (file.read(1), file.readline(), file.peek(), file.write(b"xy")) == (b"o", b"ne\n", b"two\nthree", 2)
    buffer = bytearray(4)
    assert (file.readinto(buffer), buffer) == (4, b"two\n")
    assert (list(file), frame.past_end, file.read1(5), sent) == ([b"three"], True, b"", [b"xy"])


# -- what the connection is told ------------------------------------------------------------------------------------------


@each_kind
def test_who_has_read_on_can_take_it_back(kind: Open) -> None:
    with opened(kind) as file:
        file.read()
        assert file.past_end
        file.stay_within()
        assert not file.past_end
        assert file.read(1) == b""
        assert file.past_end
        file.stay_within()
        file.pass_over()
        assert file.past_end


@each_kind
def test_a_frame_has_no_descriptor(kind: Open) -> None:
    """CGI would give it to a child, which would read what the loop has to read."""
    with opened(kind) as file, pytest.raises(io.UnsupportedOperation):
        file.fileno()


def test_a_frame_in_memory_says_which_ways_have_one() -> None:
    with opened(in_memory) as file, pytest.raises(io.UnsupportedOperation, match='"greenlet", "thread" or "fork"'):
        file.fileno()
