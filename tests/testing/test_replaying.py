"""What was recorded on real sockets comes out again in the simulator; a failure becomes a test, which then passes."""

import runpy
import socket
import subprocess
import sys
import textwrap
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reactor import BAD_ENDS, HttpRequests, Limits, Lines, Reactor, Recorder, Stream, masked, sleep
from reactor.recording import Recording, RecordingError
from reactor.socketserver import StreamRequestHandler, ThreadingTCPServer
from reactor.testing import ReplayError, Simulation, replay
from reactor.testing.__main__ import main
from reactor.testing.differences import Unit, difference
from tests.driving import turn_until
from tests.recorded import Talker, Upper, backwards, mended, recorded, upper

ROOT = Path(__file__).parents[2]
TOLD = [[b"one\ntw", b"o\n"], [b"x\n", b"boom\n"], [b"a\n"], [b"half"], []]
HOW = ["eof", "eof", "reset", "eof", "eof"]


class Page(StreamRequestHandler):
    """Answers each HTTP request with its length."""

    def handle(self) -> None:
        while head := self.rfile.readline():
            size = len(head) + len(self.rfile.read1(65536))  # type: ignore[attr-defined]
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n%02d" % size)


# -- replay == record -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("handler", [upper, Upper], ids=["coroutine", "framed"])
def test_a_recording_of_real_sockets_comes_out_again(handler: Any, tmp_path: Path) -> None:
    recording = recorded(tmp_path / "r.jsonl", handler, TOLD, HOW)
    assert [row.end for row in recording.rows] == ["PEER_CLOSED", "HANDLER_FAILED", "PEER_RESET", "BAD_FRAME", "PEER_CLOSED"]
    report = replay(tmp_path / "r.jsonl", handler)
    assert report.same, str(report)
    assert [now.end for _, now in report.pairs] == [row.end for row in recording.rows]
    assert [now.out for _, now in report.pairs][:2] == [b"ONE\nTWO\n", b"X\n"]


def test_http_requests_come_out_again(tmp_path: Path) -> None:
    told = [[b"GET / HTT", b"P/1.1\r\nHost: x\r\n\r\n", b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\na", b"bc"]]
    told += [[b"GET / HTTP/1.1\r\nHost x\r\n\r\n"]]
    options = {"framing": HttpRequests()}
    recording = recorded(tmp_path / "r.jsonl", Page, told, ["eof", "eof"], options=options)
    assert recording.rows[0].origin.framing.startswith("HttpRequests(head_bytes=")
    report = replay(recording, Page)
    assert report.same, str(report)
    assert b"200 OK" in report.pairs[0][1].out  # type: ignore[operator]
    assert report.pairs[1][1].out.startswith(b"HTTP/1.1 400")  # type: ignore[union-attr]


@pytest.mark.parametrize("scheme", ["udp", "unix+dgram"])
def test_packets_come_out_again(scheme: str, tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    at = "udp://127.0.0.1:0" if scheme == "udp" else f"{scheme}://{tmp_path}/s"
    with Recorder(path, redact=None) as recorder, Reactor(observers=[recorder]) as loop, ExitStack() as stack:
        listener = loop.listen(at, backwards)
        family = socket.AF_INET if scheme == "udp" else socket.AF_UNIX
        peers = [stack.enter_context(socket.socket(family, socket.SOCK_DGRAM)) for _ in range(2)]
        for number, peer in enumerate(peers):
            peer.bind(("127.0.0.1", 0) if scheme == "udp" else f"{tmp_path}/{number}")
        for peer, data in zip([*peers, peers[0]], (b"abc", b"boom", b"x"), strict=True):
            peer.sendto(data, listener.address)
            turn_until(loop, lambda told=listener.row.requests: listener.row.requests > told)
    report = replay(path, backwards)
    assert report.same, str(report)
    assert [now.error for _, now in report.pairs] == ["", "ValueError", ""]
    assert [now.out for _, now in report.pairs] == [((b"cba", ""),), (), ((b"x", ""),)]


def test_a_unix_stream_comes_out_again(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r.jsonl", redact=None) as recorder, Reactor(observers=[recorder]) as loop:
        loop.listen(f"unix://{tmp_path}/s", upper)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(f"{tmp_path}/s")
            client.sendall(b"a\n")
            client.shutdown(socket.SHUT_WR)
            turn_until(loop, lambda: any(row.kind == "stream" for row in loop.table))
            turn_until(loop, lambda: not any(row.kind == "stream" for row in loop.table))
    report = replay(tmp_path / "r.jsonl", upper)
    assert report.same, str(report)
    assert report.pairs[0][1].end == "PEER_CLOSED"


PIECE = st.sampled_from([b"a", b"bc\n", b"\n", b"boom\n", b"x" * 70, b"\r\n", b"d\ne\nf"])
PIECES = st.lists(st.lists(PIECE, max_size=6), max_size=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(told=PIECES, data=st.data(), waits=st.lists(st.floats(0, 40), min_size=8, max_size=8))
def test_any_session_comes_out_again(told: list[list[bytes]], data: Any, waits: list[float], tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    handler = data.draw(st.sampled_from([upper, Upper]))
    hangs = [data.draw(st.sampled_from(["eof", "reset", "close", "stay"])) for _ in told]
    limits = Limits(frame_bytes=60)
    with Recorder(path, redact=None) as recorder, Simulation(observers=[recorder], strict=False) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", handler, limits=limits)
        clients = [world.connect(listener) for _ in told]
        for turn in range(7):
            for client, pieces, hangs_up in zip(clients, told, hangs, strict=True):
                if client.is_over or client._eof_wanted:
                    continue
                if turn < len(pieces):
                    client.send(pieces[turn])
                elif hangs_up != "stay":
                    {"eof": client.send_eof, "reset": client.reset, "close": client.close}[hangs_up]()
            world.advance(waits[turn])
        recorder.close()
    if told:
        report = replay(path, handler)
        assert report.same, f"{report}\n{path.read_text()}"


def test_times_are_replayed_so_a_deadline_falls_where_it_fell(tmp_path: Path) -> None:
    for pause_s, end in ((2.9, "PEER_CLOSED"), (3.1, "LIMIT")):
        path = tmp_path / "r.jsonl"
        with Recorder(path, redact=None) as recorder, Simulation(observers=[recorder]) as world:
            client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", upper, limits=Limits(request_s=3)))
            for piece in (b"a", b"b\n"):
                client.send(piece)
                world.advance(pause_s)
            if not client.ended:
                client.send_eof()
            world.advance(0)
        assert Recording.load(path).rows[0].end == end
        report = replay(path, upper)
        assert report.same, str(report)
        assert report.pairs[0][1].end == end


def test_rows_that_talk_to_each_other_are_replayed_together(tmp_path: Path) -> None:
    def chat() -> Any:
        members: set[Stream] = set()

        async def member(stream: Stream) -> None:
            members.add(stream)
            while line := await stream.readline():
                await sleep(0.25)
                for each in members:
                    each.offer(line)
            members.remove(stream)

        return member

    path = tmp_path / "r.jsonl"
    with Recorder(path, redact=None) as recorder, Simulation(observers=[recorder]) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:80", chat())
        ann, bob = world.connect(listener), world.connect(listener)
        world.advance(0)
        ann.send(b"hello\n")
        bob.send(b"hi\n")
        world.advance(1)
        bob.close()
        world.advance(1)
        ann.send(b"anybody?\n")
        world.advance(1)
    report = replay(path, chat())
    assert report.same, str(report)
    assert report.pairs[0][1].out == b"hello\nhi\nanybody?\n"


def test_a_piece_of_64_kib_arrives_in_one(tmp_path: Path) -> None:
    async def by_arrival(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(b"%d " % len(data))

    path = tmp_path / "r.jsonl"
    path.write_text(
        '{"reactor-recording": 1, "redact": ""}\n'
        '{"row": 1, "at": 0, "is": "open", "listener": "x", "kind": "stream", "scheme": "tcp", "way": "coroutine", '
        '"framing": "", "limits": {}}\n{"row": 1, "at": 1, "is": "in", "data": "' + "x" * 65536 + '"}\n'
        '{"row": 1, "at": 1, "is": "out", "data": "65536 "}\n{"is": "stop"}\n'
    )
    assert replay(path, by_arrival).same


def test_pieces_that_came_at_one_time_stay_pieces(tmp_path: Path) -> None:
    async def by_arrival(stream: Stream) -> None:
        while data := await stream.read_some():
            stream.write(b"%d " % len(data))

    path = tmp_path / "r.jsonl"
    with Recorder(path, redact=None) as recorder, Simulation(observers=[recorder]) as world:
        client = world.connect(world.reactor.listen("tcp://127.0.0.1:80", by_arrival))
        for size in (1, 2, 3):
            client.send(b"x" * size)
            world.run_until_quiet()  # the clock stands still
    report = replay(path, by_arrival)
    assert report.same, str(report)
    assert report.pairs[0][1].out == b"1 2 3 "


# -- what is different ------------------------------------------------------------------------------------------------


def test_a_difference_is_shown_where_it_begins(tmp_path: Path) -> None:
    async def lower(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line.upper() if b"one" in line else line)

    recorded(tmp_path / "r.jsonl", upper, [[b"one\n", b"two\n"]], ["eof"])
    report = replay(tmp_path / "r.jsonl", lower)
    assert not report.same
    assert str(report).splitlines() == [
        "row 3 of upper: different",
        "  recorded: b'ONE\\nTWO\\n', PEER_CLOSED",
        "  replayed: b'ONE\\ntwo\\n', PEER_CLOSED",
        "  from byte 4 on: after b'ONE\\n'",
        "    recorded: b'TWO\\n'",
        "    replayed: b'two\\n'",
    ]
    with pytest.raises(ReplayError, match=r"what happened in the replay:\n(.*\n)+.* recv "):
        report.check()


def test_a_failure_passes_the_check_when_it_is_mended(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "r.jsonl", upper, [[b"a\nboom\n"], [b"b\n"]], ["eof", "eof"])
    failing = replay(recording, upper)
    assert failing.same
    with pytest.raises(ReplayError, match="row 3 of upper: fails, as it did when it was recorded: b'A.n', HANDLER_FAILED"):
        failing.check()
    after = replay(recording, mended)
    assert not after.same
    after.check()


def test_a_mended_handler_must_still_answer_what_it_had_answered(tmp_path: Path) -> None:
    async def silent(stream: Stream) -> None:
        while await stream.readline():
            pass

    recording = recorded(tmp_path / "r.jsonl", upper, [[b"a\nboom\n"]], ["eof"])
    with pytest.raises(ReplayError, match="different"):
        replay(recording, silent).check()


@pytest.mark.parametrize(
    ("before", "now", "same", "passes"),
    [
        (Unit("r", b"A", "FINISHED"), Unit("r", b"A", "FINISHED"), True, True),
        (Unit("r", b"A", "FINISHED"), Unit("r", b"AB", "FINISHED"), False, False),
        (Unit("r", b"AB", "FINISHED"), Unit("r", b"A", "FINISHED"), False, False),
        (Unit("r", b"A", "FINISHED"), Unit("r", b"A", "LIMIT"), False, False),
        (Unit("r", b"A", "LIMIT"), Unit("r", b"A", "FINISHED"), False, False),
        (Unit("r", b"A", "FINISHED"), Unit("r", b"A", "HANDLER_FAILED", "KeyError"), False, False),
        (Unit("r", b"A", "HANDLER_FAILED", "KeyError"), Unit("r", b"A", "HANDLER_FAILED", "KeyError"), True, False),
        (Unit("r", b"A", "HANDLER_FAILED", "KeyError"), Unit("r", b"A", "HANDLER_FAILED", "OSError"), False, False),
        (Unit("r", b"A", "HANDLER_FAILED", "KeyError"), Unit("r", b"AB", "FINISHED"), False, True),
        (Unit("r", b"A", "HANDLER_FAILED", "KeyError"), Unit("r", b"B", "FINISHED"), False, False),
        (Unit("r", (), error="KeyError"), Unit("r", ((b"x", ""),)), False, True),
        (Unit("r", ((b"x", ""),)), Unit("r", ((b"x", "to another peer"),)), False, False),
    ],
)
def test_same_and_passes(before: Unit, now: Unit, same: bool, passes: bool) -> None:
    assert (difference(before, now) == "") == same
    assert (difference(before, now, fixed=True) == "") == passes


def test_what_the_programs_own_stop_ended_may_be_open_in_the_replay(tmp_path: Path) -> None:
    with Recorder(tmp_path / "r.jsonl", redact=None) as recorder, Reactor(observers=[recorder]) as loop:
        talker = Talker(loop, loop.listen("tcp://127.0.0.1:0", upper))
        talker.say(b"a\n")
        talker.sock.recv(100)
        loop.stop()
        loop.run()
        talker.sock.close()
    assert Recording.load(tmp_path / "r.jsonl").rows[0].end == "DRAINED"
    assert replay(tmp_path / "r.jsonl", upper).same


def test_replies_of_a_masked_recording_are_compared_in_their_shape(tmp_path: Path) -> None:
    recording = recorded(tmp_path / "r.jsonl", upper, [[b"Ann 12\n"]], ["eof"], redact=masked)
    assert replay(recording, upper).same

    async def longer(stream: Stream) -> None:
        stream.write(await stream.readline() + b"?")

    report = replay(recording, longer)
    assert [unit.out for unit in report.pairs[0]] == [b"xxx 00\n", b"xxx 00\n?"]


def test_what_differs_from_run_to_run_is_levelled_by_redact(tmp_path: Path) -> None:
    numbers = iter(range(10))

    async def numbered(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"token %d\n" % next(numbers))

    recording = recorded(tmp_path / "r.jsonl", numbered, [[b"a\n"]], ["eof"])
    assert not replay(recording, numbered).same
    assert replay(recording, numbered, redact=lambda data: data[:6]).same


def test_the_redaction_of_the_program_must_be_given(tmp_path: Path) -> None:
    def hide(data: bytes) -> bytes:
        return data.replace(b"A", b"*")

    recording = recorded(tmp_path / "r.jsonl", upper, [[b"a\n"]], ["eof"], redact=hide)
    with pytest.raises(RecordingError, match="redacted by .*hide: give redact= the same"):
        replay(recording, upper)
    assert replay(recording, upper, redact=hide).same


# -- choosing, and what cannot be replayed ----------------------------------------------------------------------------


def test_rows_and_listeners_are_chosen(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path, redact=None) as recorder, Reactor(observers=[recorder]) as loop:
        for name, handler in (("upper", upper), ("mended", mended)):
            talker = Talker(loop, loop.listen("tcp://127.0.0.1:0", handler, name=name))
            talker.say(b"a\n")
            talker.hang_up()
    first, second = Recording.load(path).rows
    with pytest.raises(RecordingError, match="several listeners, for one handler: .*, of upper, mended"):
        replay(path, upper)
    with pytest.raises(RecordingError, match=f"no such row to replay; the recording has: {first.id} of upper, {second.id}"):
        replay(path, upper, rows=[99])
    assert [now.name for _, now in replay(path, upper, listener="mended").pairs] == [f"row {second.id} of mended"]
    assert [now.name for _, now in replay(path, upper, rows=[first.id]).pairs] == [f"row {first.id} of upper"]


def test_a_way_whose_bytes_were_not_recorded_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "r.jsonl"
    with Recorder(path) as recorder, Reactor(observers=[recorder]) as loop:
        listener = loop.add(ThreadingTCPServer(("127.0.0.1", 0), Upper), way="thread", name="threads")
        talker = Talker(loop, listener)
        talker.hang_up()
    with pytest.raises(RecordingError, match="of threads ran in the way 'thread': its handler had the real socket"):
        replay(path, Upper)


def test_a_framing_of_the_programs_own_must_be_given(tmp_path: Path) -> None:
    class Own(Lines):
        pass

    recording = recorded(tmp_path / "r.jsonl", Upper, [[b"a\n"]], ["eof"], options={"framing": Own()})
    with pytest.raises(RecordingError, match=r"framed by .*Own, .*give it by framing="):
        replay(recording, Upper)
    assert replay(recording, Upper, framing=Own()).same


# -- the command and the test that it writes --------------------------------------------------------------------------

SHOP = """
    async def upper(stream):
        while line := await stream.readline():
            if line.startswith(b"boom"):
                raise ValueError(line)
            stream.write(line.upper())
"""
MENDED = SHOP.replace("raise ValueError(line)", "line = line[:4]")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with a handler that fails and the recording of it."""
    (tmp_path / "shop.py").write_text(textwrap.dedent(SHOP))
    told = [[b"a\n"], [b'"""\\', b"\n\x00\xff\nboom\n"]]
    recorded(tmp_path / "bad.jsonl", upper, told, ["eof", "eof"])
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "shop", raising=False)
    return tmp_path


def passes(name: str) -> bool:
    """Run an emitted test here."""
    sys.modules.pop("shop", None)
    names = runpy.run_path(name)
    (test,) = [each for each in names if each.startswith("test_")]
    try:
        names[test]()
    except ReplayError:
        return False
    return True


def pytest_of(folder: Path, name: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-qWerror", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir=.", name],
        cwd=folder, capture_output=True,
        env={"PYTHONPATH": f"{ROOT}:{folder}", "PYTHONDONTWRITEBYTECODE": "1", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        text=True, timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


@pytest.mark.timeout(200)  # programs of their own, on a machine that may be busy
def test_a_failure_becomes_a_test_that_passes_once_it_is_mended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["replay", "bad.jsonl", "shop:upper", "--emit-test", "test_shop.py"]) == 0
    said = capsys.readouterr().out
    assert "row 4 of upper: as recorded" in said
    assert "HANDLER_FAILED, ValueError raised" in said
    assert "test_shop.py: a test of 1 of these" in said
    (folder / "bad.jsonl").unlink()
    code, output = pytest_of(folder, "test_shop.py")
    assert code == 1, output
    assert "fails, as it did when it was recorded" in output
    (folder / "shop.py").write_text(textwrap.dedent(MENDED))
    code, output = pytest_of(folder, "test_shop.py")
    assert code == 0, output


def test_a_recording_without_failures_becomes_a_test_of_all_of_it(folder: Path) -> None:
    assert main(["replay", "bad.jsonl", "shop:upper", "--row", "3", "--emit-test", "test_shop.py"]) == 0
    assert passes("test_shop.py")
    text = (folder / "test_shop.py").read_text()
    assert text.count('"is": "open"') == 1
    (folder / "shop.py").write_text((folder / "shop.py").read_text().replace("upper())", "lower())"))
    assert not passes("test_shop.py")


def test_the_command_shows_what_is_different(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "shop.py").write_text((folder / "shop.py").read_text().replace("upper())", "lower())"))
    assert main(["replay", "bad.jsonl", "shop:upper"]) == 1
    assert "row 3 of upper: different\n  recorded: b'A\\n', PEER_CLOSED\n" in capsys.readouterr().out


def test_the_command_says_what_it_cannot_do(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "shop.jsonl").write_text("no recording\n")
    assert main(["replay", "shop.jsonl", "shop:upper"]) == 2
    assert "shop.jsonl, line 1: not a line of a recording" in capsys.readouterr().err
    assert main(["replay", "nothing.jsonl", "shop:upper"]) == 2
    assert main(["replay", "bad.jsonl", "shop:upper", "--emit-test", "shop.py"]) == 2
    assert "File exists" in capsys.readouterr().err


def test_a_framing_and_a_redaction_are_in_the_emitted_test(folder: Path) -> None:
    recorded(folder / "r.jsonl", Upper, [[b"a\n"]], ["eof"], redact=bytes.lower)
    (folder / "shop.py").write_text("from tests.recorded import Upper\n")
    given = ["--framing", "reactor:Lines", "--redact", "builtins:bytes.lower", "--emit-test", "test_shop.py"]
    assert main(["replay", "r.jsonl", "shop:Upper", *given]) == 0
    call = "replay(RECORDING, shop.Upper, framing=reactor.Lines(), redact=builtins.bytes.lower)"
    assert call in (folder / "test_shop.py").read_text()
    assert passes("test_shop.py")


def test_the_ring_of_a_server_is_replayed(tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    with Recorder(path, ends=BAD_ENDS, redact=None) as recorder, Simulation(observers=[recorder], strict=False) as world:
        listener = world.reactor.listen("udp://127.0.0.1:53", backwards)
        for data in (b"one", b"boom", b"two", b"boom"):
            world.datagram(listener, data)
            world.advance(100)
    report = replay(path, backwards)
    assert report.same
    assert [now.error for _, now in report.pairs] == ["ValueError", "ValueError"]
