"""What a recorder keeps: every row or those that ended badly, within its bounds, for the eyes of its owner only."""

import json
import logging
import os
import socket
import stat
import tracemalloc
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from reactor import BAD_ENDS, End, Limits, Lines, Observer, Reactor, Recorder, masked
from reactor.framings import Fixed, LengthPrefixed, Netstring, Raw, Until
from reactor.http_framing import HttpRequests
from reactor.recording import Happening, Recording, RecordingError, framing_from, framing_text
from reactor.socketserver import ThreadingTCPServer
from reactor.taps import MOST_SENDERS, PacketTap, StreamTap
from reactor.testing import Simulation
from tests.driving import only, turn_until, until_gone
from tests.recorded import Talker, Upper, backwards, recorded, upper


def heard(recording: Recording, *what: str) -> list[list[Any]]:
    """Return, for each row, what happened of certain kinds: bytes, or texts."""
    return [[each.data or each.text for each in row.happenings if each.what in what] for row in recording.rows]


# -- what is noted ----------------------------------------------------------------------------------------------------


def test_pieces_are_noted_as_they_came_and_went(tmp_path: Path) -> None:
    told = [[b"one\ntw", b"o\n", b"three\n"], [b"x\n", b"boom\n"]]
    recording = recorded(tmp_path / "r.jsonl", upper, told, ["eof", "eof"])
    assert heard(recording, "in") == told
    assert heard(recording, "out") == [[b"ONE\n", b"TWO\n", b"THREE\n"], [b"X\n"]]
    assert [row.end for row in recording.rows] == ["PEER_CLOSED", "HANDLER_FAILED"]
    assert heard(recording, "error") == [[], ["ValueError: refuses b'boom\\n'"]]
    assert recording.notes == ()
    origin = recording.rows[0].origin
    assert origin == ("upper", "stream", "tcp", "coroutine", "", ())


def test_times_are_those_of_the_loop(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder, Simulation(observers=[recorder]) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
        for _ in range(2):
            world.advance(1.5)
            client.send(b"x\n")
        world.advance(0)
        client.send_eof()
        world.run_until_quiet()
    (row,) = Recording.load(path).rows
    assert [(each.at, each.what) for each in row.happenings if each.what in ("open", "in", "end")] == [
        (0.0, "open"), (1.5, "in"), (3.0, "in"), (3.0, "end"),
    ]  # fmt: skip


def test_resets_ends_and_our_own_shutdown_are_noted(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "r.jsonl", upper, [[b"a\n"], [b"boom\n"]], ["reset", "eof"])
    assert heard(recording, "lost") == [["ECONNRESET"], []]
    assert heard(recording, "eof", "shut") == [[], ["", ""]]
    assert [row.end for row in recording.rows] == ["PEER_RESET", "HANDLER_FAILED"]


def test_a_framed_row_says_how_it_is_framed_and_limited(tmp_path: Path) -> None:
    options = {"limits": Limits(idle_s=7, frame_bytes=99)}
    recording = recorded(tmp_path / "r.jsonl", Upper, [[b"a\n"]], ["eof"], options=options)
    origin = recording.rows[0].origin
    assert origin.way == "framed"
    assert dict(origin.limits) == {"idle_s": 7, "frame_bytes": 99}
    assert type(framing_from(origin.framing)) is Lines


def test_packets_and_their_replies_are_noted_without_addresses(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path, redact=None) as recorder, Reactor(observers=[recorder]) as loop:
        listener = loop.listen("udp://127.0.0.1:0", backwards, name="backwards")
        assert type(listener.row.sock) is PacketTap
        peers = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
        for peer, data in zip([*peers, peers[0]], (b"abc", b"", b"boom"), strict=True):
            told = listener.row.requests
            peer.sendto(data, listener.address)
            turn_until(loop, lambda told=told: listener.row.requests > told)
        ports = [str(peer.getsockname()[1]) for peer in peers]
        for peer in peers:
            peer.close()
    (row,) = Recording.load(path).rows
    assert [(each.what, each.data, each.sender) for each in row.happenings if each.sender] == [
        ("in", b"abc", 1), ("out", b"cba", 1), ("in", b"", 2), ("out", b"", 2), ("in", b"boom", 1),
    ]  # fmt: skip
    assert row.error == "ValueError"
    assert not [port for port in ports if f":{port}" in path.read_text() or f'"{port}"' in path.read_text()]


def test_a_reply_through_the_spool_is_noted_as_a_whole(tmp_path: Path) -> None:
    class Large(Upper):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline() * 50_000)

    path = tmp_path / "r.jsonl"
    limits = Limits(outbox_bytes=70_000, outbox_high_bytes=70_000)
    with Recorder(path, redact=None) as recorder, Simulation(observers=[recorder]) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", Large, framing=Lines(), limits=limits))
        client.stop_reading()
        client.send(b"12345\n")
        world.run_until_quiet()
        client.go_on_reading()
        world.run_until_quiet()
        assert client.take() == b"12345\n" * 50_000
    (row,) = Recording.load(path).rows
    assert b"".join(each.data for each in row.happenings if each.what == "out") == b"12345\n" * 50_000


def test_a_row_whose_handler_has_the_real_socket_is_noted_without_bytes(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder, Reactor(observers=[recorder]) as loop:
        listener = loop.add(ThreadingTCPServer(("127.0.0.1", 0), Upper), way="thread", name="threads")
        with socket.create_connection(listener.address) as client:
            client.sendall(b"a\n")
            row = only(loop)
            client.shutdown(socket.SHUT_WR)
            until_gone(loop, row)
            assert client.recv(100) == b"A\n"
    (kept,) = Recording.load(path).rows
    assert (kept.origin.way, kept.end) == ("thread", "FINISHED")
    assert {each.what for each in kept.happenings} == {"open", "phase", "end"}


def test_rows_that_are_open_have_no_end_whether_the_recorder_or_the_reactor_stops_first(tmp_path: Path) -> None:
    for first in ("recorder", "reactor"):
        path = tmp_path / f"{first}.jsonl"
        recorder = Recorder(path, redact=None)
        with Reactor(observers=[recorder]) as loop:
            talker = Talker(loop, loop.listen("tcp://127.0.0.1:0", upper))
            talker.say(b"a\n")
            if first == "recorder":
                recorder.close()
                talker.say(b"b\n")
                assert talker.sock.recv(100)[:2] == b"A\n"
        talker.sock.close()
        recorder.close()
        recording = Recording.load(path)
        assert [row.end for row in recording.rows] == [""], first
        assert heard(recording, "in") == [[b"a\n"]]
        assert recording.notes == ()


def test_a_row_that_this_program_aborts_ends_so(tmp_path: Path) -> None:
    async def rude(stream: Any) -> None:
        await stream.readline()
        stream.abort("enough")

    recording = recorded(tmp_path / "r.jsonl", rude, [[b"a\n"]], ["reset"])
    assert recording.rows[0].end == "ABORTED"


# -- it disturbs nobody -----------------------------------------------------------------------------------------------


def test_other_observers_hear_the_same_beside_it(tmp_path: Path) -> None:
    class Counts(Observer):
        def __init__(self) -> None:
            self.heard: Counter[str] = Counter()

        def on_open(self, row: Any) -> None:
            self.heard["open"] += 1

        def on_frame(self, row: Any, wire_bytes: int) -> None:
            self.heard["frame"] += wire_bytes

        def on_end(self, row: Any, end: End) -> None:
            self.heard[end] += 1

    heard = []
    for recorders in ([], [Recorder(tmp_path / "r.jsonl")]):
        counts = Counts()
        with Simulation(observers=[*recorders, counts]) as world:
            client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
            client.send(b"one\ntwo\n")
            client.send_eof()
            world.run_until_quiet()
            assert client.take() == b"ONE\nTWO\n"
        heard.append(counts.heard)
        for recorder in recorders:
            recorder.close()
    assert heard[0] == heard[1]
    assert heard[0]["frame"] == 8


def test_without_a_recorder_no_socket_has_a_tap() -> None:
    with Reactor() as loop:
        talker = Talker(loop, loop.listen("tcp://127.0.0.1:0", upper))
        assert type(talker.row.sock) is socket.socket
        talker.sock.close()


def test_a_tap_hands_on_what_it_does_not_know() -> None:
    first, second = socket.socketpair()
    with first, second:
        noted: list[Any] = []
        tap = StreamTap(first, lambda *what, **text: noted.append(what))
        assert tap.fileno() == first.fileno()
        assert tap.gettimeout() is None
        assert tap.send(memoryview(b"abc")) == 3
        assert tap.send(b"") == 0
        assert noted == [("out", b"abc")]
        first.setblocking(False)
        with pytest.raises(BlockingIOError):
            tap.recv(10)
        assert len(noted) == 1


def test_the_senders_of_packets_are_remembered_up_to_a_number() -> None:
    noted: list[int] = []
    sock = SimpleNamespace(sendto=lambda data, address: len(data))
    tap = PacketTap(sock, lambda *what, sender: noted.append(sender))
    for port in (*range(MOST_SENDERS), 0, MOST_SENDERS, 0):
        tap.sendto(b"x", ("127.0.0.1", port))
    numbers = range(1, MOST_SENDERS + 1)
    assert noted == [*numbers, 1, MOST_SENDERS + 1, MOST_SENDERS + 2], "a number is given twice, or memory grows"
    assert len(tap._numbers) == 2


def test_an_error_of_a_row_that_has_no_bytes_is_not_noted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder, Simulation(observers=[recorder], strict=False) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", upper)
        world.reactor.contain(listener.row, ValueError("of a listener"))
        world.connect(listener).send(b"boom\n")
        world.run_until_quiet()
        assert recorder.stopped == ""
    assert heard(Recording.load(path), "error") == [["ValueError"]]
    assert all("observer" not in record.getMessage() for record in caplog.records)


def test_a_disk_that_is_full_stops_the_recording_and_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Recorder(tmp_path / "r.jsonl") as recorder, Simulation(observers=[recorder]) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
        world.run_until_quiet()

        def full(text: str) -> None:
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(recorder, "_write", full)
        for _ in range(3):
            client.send(b"a\n")
            world.run_until_quiet()
        assert client.take() == b"A\n" * 3
        assert "No space left" in recorder.stopped
    assert [record.levelno for record in caplog.records] == [logging.WARNING]


def test_a_disk_that_is_full_at_the_end_costs_the_last_line_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "r.jsonl"
    recorder = Recorder(path)
    file = recorder._file
    assert file is not None

    def full(file: Any, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("reactor.recorder._whole", full)
    recorder.close()
    assert (file.closed, recorder.stopped) == (True, "closed")
    (record,) = caplog.records
    assert "has no last line: OSError: [Errno 28] No space left on device" in record.getMessage()
    assert len(path.read_text().splitlines()) == 1


def test_one_recorder_is_for_one_reactor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with Recorder(tmp_path / "r.jsonl") as recorder:
        for number in range(2):
            with Simulation(observers=[recorder]) as world:
                client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
                client.send(b"a\n")
                world.run_until_quiet()
                assert client.take() == b"A\n"
            assert ("records another reactor already" in caplog.text) == bool(number)
    assert len(Recording.load(tmp_path / "r.jsonl").rows) == 1


# -- the ring ---------------------------------------------------------------------------------------------------------


def test_the_ring_keeps_exactly_the_bad_ones(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    told = [[b"a\n"], [b"b\n", b"boom\n"], [b"c\n"], [b"boom\n"], [b"d\n"], []]
    recording = recorded(path, upper, told, ["eof", "eof", "reset", "eof", "eof", "eof"], ends=BAD_ENDS)
    assert heard(recording, "in") == [told[1], told[2], told[3]]
    assert [row.end for row in recording.rows] == ["HANDLER_FAILED", "PEER_RESET", "HANDLER_FAILED"]
    recording = recorded(path, upper, told, ["eof", "eof", "reset", "eof", "eof", "eof"], ends=[End.PEER_RESET])
    assert heard(recording, "in") == [told[2]]


def test_a_bad_row_is_in_the_file_as_soon_as_it_has_ended(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    with Recorder(path, ends=BAD_ENDS) as recorder, Simulation(observers=[recorder], strict=False) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", upper)
        client = world.connect(listener)
        client.send(b"boom\n")
        client.send_eof()
        world.run_until_quiet()
        recording = Recording.load(path)
        assert [row.end for row in recording.rows] == ["HANDLER_FAILED"]
        assert recording.notes[0].endswith("still runs, or was killed")


def test_a_packet_whose_handler_fails_is_a_bad_row_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    with Recorder(None, ends=BAD_ENDS, redact=None) as recorder, Simulation(observers=[recorder], strict=False) as world:
        listener = world.reactor.listen("udp://127.0.0.1:53", backwards)
        for data in (b"one", b"boom", b"two", b"boom", b"three"):
            world.datagram(listener, data)
        recorder.save(path)
    recording = Recording.load(path)
    assert [row.id for row in recording.rows] == ["1.1", "1.2"]
    assert heard(recording, "in") == [[b"boom"], [b"boom"]]
    assert {(row.end, row.error) for row in recording.rows} == {("HANDLER_FAILED", "ValueError")}


def test_the_ring_is_bounded_in_rows(tmp_path: Path) -> None:
    recorder = Recorder(None, ends=BAD_ENDS, ring_rows=7)
    with Simulation(observers=[recorder], strict=False) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", upper)
        for _ in range(20):
            client = world.connect(listener)
            client.send(b"boom\n")
            client.send_eof()
            world.run_until_quiet()
    recorder.save(tmp_path / "r.jsonl")
    assert [row.id for row in Recording.load(tmp_path / "r.jsonl").rows] == [*range(15, 22)]


def test_a_ring_that_is_full_keeps_the_rare_end(tmp_path: Path) -> None:
    told = [[b"boom\n"], *[[b"a\n"]] * 8]
    recording = recorded(tmp_path / "r.jsonl", upper, told, ["eof", *["reset"] * 8], ends=BAD_ENDS, ring_rows=3)
    assert len(recording.rows) == 9  # the file has more, until it is begun anew
    recorder = Recorder(None, ends=BAD_ENDS, ring_rows=3)
    for row in recording.rows:
        happenings, row.happenings = row.happenings, []
        for happening in happenings:
            recorder.keep(row, happening)
    recorder.save(tmp_path / "s.jsonl")
    assert [row.end for row in Recording.load(tmp_path / "s.jsonl").rows] == ["HANDLER_FAILED", "PEER_RESET", "PEER_RESET"]


def test_the_memory_of_10_000_rows_is_bounded() -> None:
    """Half of them end badly, half stay open; the rows themselves are made up, for a world of so many takes a while."""
    most, each_row = 1 << 20, 600  # what a row has outside of the ring: that it is open, and its tap
    loop = SimpleNamespace(now=1.0, closed=False)
    rows: list[Any] = [
        SimpleNamespace(
            id=number, kind="stream", way="coroutine", listener="x", limits=Limits(), loop=loop, sock=None, detail=""
        )
        for number in range(10_000)
    ]
    tracemalloc.start(1)
    recorder = Recorder(None, ends=BAD_ENDS, redact=None, ring_bytes=most, ring_rows=10_000)
    for row in rows:
        recorder.on_open(row)
        for _ in range(3):
            recorder.note(recorder._rows[row.id], "in", bytes(500))
        if row.id % 2:
            recorder.on_end(row, End.HANDLER_FAILED)
        assert recorder._size <= most
    taken, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert recorder.forgotten == 5000 - len(recorder._held) > 4000
    assert 2 * sum(row.size for row in recorder._ring) == pytest.approx(most, rel=0.02)  # their half, to the last row
    assert [row.id for row in recorder._ring] == [*range(10_001 - 2 * len(recorder._ring), 10_000, 2)]
    assert recorder._size == sum(row.size for row in (*recorder._ring, *recorder._held.values()))
    assert most / 2 < taken < most + 5000 * each_row


def test_what_a_happening_counts_is_what_it_takes() -> None:
    recorder = Recorder(None, ends=BAD_ENDS, redact=None)
    with Simulation(observers=[recorder]) as world:
        world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
        world.run_until_quiet()
        (row,) = recorder._held.values()
        before = recorder._size
        tracemalloc.start(1)
        for number in range(4000):
            recorder.note(row, "in", b"%050d" % number)
        taken, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert taken <= recorder._size - before <= 2 * taken


def test_a_long_row_loses_its_older_half_and_says_so(tmp_path: Path) -> None:
    recorder = Recorder(None, ends=BAD_ENDS, redact=None, row_bytes=5000)
    with Simulation(observers=[recorder], strict=False) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
        for number in range(200):
            client.send(b"%09d\n" % number)
            world.run_until_quiet()
        client.send(b"boom\n")
        client.send_eof()
        world.run_until_quiet()
    recorder.save(tmp_path / "r.jsonl")
    (row,) = Recording.load(tmp_path / "r.jsonl").rows
    kept = b"".join(each.data for each in row.happenings if each.what == "in")
    assert kept.endswith(b"%09d\nboom\n" % 199)
    assert row.happenings[0].what == "open"
    sent = sum(len(each.data) for each in row.happenings if each.what == "out")
    assert row.cut_bytes + sent + len(kept) == 2 * 200 * 10 + 5
    assert sum(176 + len(each.data) for each in row.happenings) < 5000


def test_the_file_of_a_ring_is_begun_anew_with_what_the_ring_has(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path, ends=BAD_ENDS, ring_rows=3, file_bytes=3000) as recorder:
        with Simulation(observers=[recorder], strict=False) as world:
            listener = world.reactor.listen("tcp://127.0.0.1:80", upper)
            for _ in range(30):
                client = world.connect(listener)
                client.send(b"boom\n")
                client.send_eof()
                world.run_until_quiet()
                assert path.stat().st_size < 6000
        last = max(row.id for row in recorder._ring)
    recording = Recording.load(path)
    assert recording.rows[-1].id == last
    assert recording.notes == ()
    assert sorted(each.name for each in tmp_path.iterdir()) == ["r.jsonl", "r.jsonl.1"]


# -- the file ---------------------------------------------------------------------------------------------------------


def test_the_file_is_for_its_owner_and_an_older_one_goes_aside(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    before = os.umask(0)
    try:
        path.write_text("older")
        Recorder(path).close()
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert (tmp_path / "r.jsonl.1").read_text() == "older"


def test_a_file_that_is_full_says_so(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path, file_bytes=2000) as recorder, Simulation(observers=[recorder]) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
        for _ in range(100):
            client.send(b"a\n")
            world.run_until_quiet()
        assert client.take() == b"A\n" * 100
    assert 1900 < path.stat().st_size < 2200
    assert "file_bytes: 2000 allowed" in Recording.load(path).notes[0]


def test_every_line_is_on_disk_when_it_happens(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    seen = []

    async def curious(stream: Any) -> None:
        await stream.readline()
        seen.append(path.read_text().splitlines()[-1])

    recorded(path, curious, [[b"a\n"]], ["eof"])
    assert json.loads(seen[0])["data"] == "a\n"


def test_a_last_line_that_is_cut_off_is_left_out_and_said(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    whole = recorded(path, upper, [[b"a\n", b"b\n"]], ["eof"])
    text = path.read_text()
    cut = Recording.parse(text[: text.index('"B')])
    assert heard(cut, "in") == heard(whole, "in")
    assert heard(cut, "out") == [[b"A\n"]]
    assert len(cut.notes) == 2
    assert "cut off" in cut.notes[0]


def test_what_is_read_is_written_again_the_same(tmp_path: Path) -> None:
    recorded(tmp_path / "r.jsonl", upper, [[bytes(range(11, 256)) + b"\n"], [b"boom\n"]], ["eof", "eof"])
    text = "".join(Recording.load(tmp_path / "r.jsonl").lines())
    assert "".join(Recording.parse(text).lines()) == text


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "is empty"),
        ("{}\n", "is no recording: its first line has no 'reactor-recording'"),
        ("GET / HTTP/1.1\n", "line 1: not a line of a recording"),
        ('{"reactor-recording": 2, "version": "9.9"}\n', r"version 2 of the format, and this one reads 1.*\(9.9\)"),
        ('{"reactor-recording": 1}\nx\n{"is": "stop"}\n', "line 2: not a line of a recording: 'x'"),
        ('{"reactor-recording": 1}\n[]\n{"is": "stop"}\n', r"line 2: not a line of a recording: '\[\]'"),
        ('{"reactor-recording": 1}\n{"row": 1, "at": 0, "is": "in"}\n', "line 2: KeyError: 1"),
        ('{"reactor-recording": 1}\n{"row": 1, "at": 0, "is": "song"}\n', "line 2: ValueError: 'is' is 'song', not one of"),
    ],
)
def test_what_is_no_recording_is_refused(text: str, match: str) -> None:
    with pytest.raises(RecordingError, match=match):
        Recording.parse(text)


@pytest.mark.parametrize(
    "framing",
    [Lines(max_bytes=9), Until(b"\0;", keep_end=False), Fixed(3), LengthPrefixed(4, byteorder="little"), Netstring(), Raw(7),
     HttpRequests(head_bytes=999)],
    ids=lambda each: type(each).__name__,
)  # fmt: skip
def test_our_framings_are_made_again(framing: Any) -> None:
    again: Any = framing_from(framing_text(framing))
    assert type(again) is type(framing)
    assert framing_text(again) == framing_text(framing)


@pytest.mark.parametrize(
    "text", ["os.system(n=1)", "Lines(max_bytes=open('x'))", "tests.x.Own", "Lines(", "print(x=1)", "Lines(1)", "1"]
)
def test_a_recording_makes_nothing_but_framings(text: str) -> None:
    with pytest.raises(RecordingError, match="give it by framing="):
        framing_from(text)


# -- redaction --------------------------------------------------------------------------------------------------------


def test_contents_are_masked_unless_the_program_says_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder, Simulation(observers=[recorder], strict=False) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper))
        client.send(b"card 4111, Ann\nboom-secret\n")
        client.send_eof()
        world.run_until_quiet()
    text = path.read_text()
    assert not [word for word in ("4111", "ann", "secret", "refuses") if word in text.lower()]
    (row,) = Recording.load(path).rows
    assert [each.data for each in row.happenings if each.data] == [b"xxxx 0000? xxx\nxxxx?xxxxxx\n", b"xxxx 0000? xxx\n"]
    assert (row.error, row.end) == ("ValueError", "HANDLER_FAILED")
    assert json.loads(text.splitlines()[0])["redact"] == "masked"


def test_a_mask_keeps_length_and_lines_and_nothing_else() -> None:
    every = bytes(range(256))
    assert len(masked(every)) == 256
    assert set(masked(every)) == set(b"x0?\r\n\t ")
    assert masked(masked(every)) == masked(every)
    assert masked(b"a\r\nB 7\xe4") == b"x\r\nx 0?"


def test_a_hook_sees_everything_before_it_is_kept(tmp_path: Path) -> None:
    def hide(data: bytes) -> bytes:
        return data.replace(b"secret", b"######").replace(b"SECRET", b"######")

    recording = recorded(tmp_path / "r.jsonl", upper, [[b"a secret\n", b"b\n"]], ["eof"], redact=hide)
    assert heard(recording, "in", "out") == [[b"a ######\n", b"A ######\n", b"b\n", b"B\n"]]
    assert recording.header["redact"].endswith("<locals>.hide")


def test_a_hook_that_fails_costs_the_contents_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def broken(data: bytes) -> Any:
        return 1 / 0 if b"a" in data else "no bytes"

    recording = recorded(tmp_path / "r.jsonl", upper, [[b"aaa\n", b"bb\n"]], ["eof"], redact=broken)
    assert heard(recording, "in", "out") == [[b"????", b"????", b"???", b"???"]]
    assert caplog.text.count("keeps no contents where") == 1


# -- arguments --------------------------------------------------------------------------------------------------------


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="everything needs a file"):
        Recorder()
    for name in ("file_bytes", "ring_rows", "ring_bytes", "row_bytes"):
        with pytest.raises(ValueError, match=rf"{name}=0\): must be positive"):
            Recorder(None, ends=BAD_ENDS, **{name: 0})
    assert {End.FINISHED, End.PEER_CLOSED, End.DRAINED} == set(End) - BAD_ENDS
    assert repr(Recorder(None, ends=BAD_ENDS)) == "<Recorder in memory>"


def test_nothing_is_kept_of_a_forgotten_row() -> None:
    recorder = Recorder(None, ends=BAD_ENDS, ring_bytes=4000)
    with Simulation(observers=[recorder]) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", upper)
        for _ in range(5):
            world.connect(listener)
        world.run_until_quiet()
        assert recorder.forgotten == 5 - len(recorder._held) > 0
        gone = min(set(recorder._rows) - set(recorder._held))
        recorder.keep(recorder._rows[gone], Happening(0.0, "in", b"x" * 100))
        assert recorder._rows[gone].happenings == []
