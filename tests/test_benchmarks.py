"""The benchmark is right about the replies and about the arithmetic. How fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from benchmarks import load as load_module
from benchmarks import report, workloads
from benchmarks.__main__ import main
from benchmarks.load import Load, NoReply, Visitors, WrongReply, connect
from benchmarks.peers import REFERENCE, SECOND_REFERENCE, SERVERS
from benchmarks.process import Server, Unavailable
from benchmarks.rounds import Samples, Summary, bracketed_ratio, middle_half, play_round, rejection, rotated

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the reference is an epoll loop")

Answer = Callable[[int, bytes], bytes]


# The load, served by hand: the test itself is the server, so what it answers, and when, is no matter of luck.

class ByHand:
    def __init__(self, load: Load, peers: list[socket.socket]) -> None:
        self.load = load
        self.peers = peers

    def wave(self, answer: Answer) -> None:
        due = self.load.send()
        for number, peer in enumerate(self.peers):
            peer.sendall(answer(number, peer.recv(65536)))
        self.load.collect(due)


@pytest.fixture
def by_hand() -> Iterator[ByHand]:
    with ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        turns = workloads.both_turns(workloads.lines_request, connections=3)
        load = stack.enter_context(Load(connect(listener.getsockname()[1], 3), turns, spin=True))
        peers = [stack.enter_context(listener.accept()[0]) for _ in range(3)]
        for peer in peers:
            peer.settimeout(10)
        yield ByHand(load, peers)


def echo(number: int, request: bytes) -> bytes:
    return request


def test_right_replies_are_accepted_wave_after_wave(by_hand: ByHand) -> None:
    for _ in range(4):
        by_hand.wave(echo)


def test_a_reply_in_pieces_is_accepted(by_hand: ByHand) -> None:
    due = by_hand.load.send()
    requests = [peer.recv(65536) for peer in by_hand.peers]
    for peer, request in zip(by_hand.peers, requests, strict=True):
        peer.sendall(request[:100])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(load_module, "REPLY_S", 0.0)
        with pytest.raises(NoReply, match="3 replies missing"):
            by_hand.load.collect(due)
    for peer, request in zip(by_hand.peers, requests, strict=True):
        peer.sendall(request[100:])
    by_hand.load.collect(due)
    assert not due


def flip_one_bit(number: int, request: bytes) -> bytes:
    return request if number != 1 else request[:-2] + bytes([request[-2] ^ 1]) + request[-1:]


def answer_twice(number: int, request: bytes) -> bytes:
    return request * 2 if number == 2 else request


def change_all(number: int, request: bytes) -> bytes:
    return request.replace(b".", b"!", 1)


@pytest.mark.parametrize("answer", [flip_one_bit, answer_twice, change_all])
def test_a_corrupting_server_is_detected(by_hand: ByHand, answer: Answer) -> None:
    with pytest.raises(WrongReply):
        by_hand.wave(answer)


def test_mixed_up_connections_are_detected(by_hand: ByHand) -> None:
    due = by_hand.load.send()
    requests = [peer.recv(65536) for peer in by_hand.peers]
    for peer, request in zip(by_hand.peers, reversed(requests), strict=True):
        peer.sendall(request)
    with pytest.raises(WrongReply):
        by_hand.load.collect(due)


def test_the_reply_of_the_wave_before_is_detected(by_hand: ByHand) -> None:
    before: dict[int, bytes] = {}

    def remember(number: int, request: bytes) -> bytes:
        return before.setdefault(number, request)

    by_hand.wave(remember)
    with pytest.raises(WrongReply):
        by_hand.wave(remember)


def test_a_second_reply_after_the_right_one_is_detected(by_hand: ByHand) -> None:
    by_hand.wave(echo)
    by_hand.peers[0].sendall(b"once more")
    with pytest.raises(WrongReply):
        by_hand.wave(echo)


def test_a_server_that_hangs_up_is_detected(by_hand: ByHand) -> None:
    due = by_hand.load.send()
    for peer in by_hand.peers:
        peer.recv(65536)
        peer.shutdown(socket.SHUT_WR)
    with pytest.raises(WrongReply, match="closed"):
        by_hand.load.collect(due)


def test_a_silent_server_is_detected(by_hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "REPLY_S", 0.0)
    with pytest.raises(NoReply, match="3 replies missing"):
        by_hand.load.collect(by_hand.load.send())


def test_a_refused_connection_leaks_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect(port, 2)


# What is sent.

@pytest.mark.parametrize("workload", workloads.WORKLOADS.values(), ids=workloads.WORKLOADS)
def test_no_two_requests_are_alike(workload: workloads.Workload) -> None:
    requests = [request for turn in workload.turns for request in turn]
    assert len(requests) == 2 * workloads.CONNECTIONS == len(set(requests))
    assert workload.units(3) == 3 * workloads.CONNECTIONS * workload.per_request


def test_sizes_of_the_requests() -> None:
    assert len(workloads.echo_request(9_999, 1)) == 64
    lines = workloads.lines_request(99, 1).splitlines(keepends=True)
    assert len(lines) == workloads.LINES_AT_ONCE
    assert all(20 <= len(line) <= 64 for line in lines)


# The arithmetic.

def test_a_ratio_is_to_the_mean_of_its_two_neighbours() -> None:
    assert bracketed_ratio(6.0, before=3.0, after=5.0) == 1.5


def test_a_round_brackets_every_server_and_shares_the_references_between() -> None:
    costs = iter([1.0, 4.0, 3.0, 6.0, 5.0])
    played = []
    samples = Samples(REFERENCE)

    def cost_us(name: str) -> float:
        played.append(name)
        return next(costs)

    play_round(samples, ["a", "b"], cost_us)
    assert played == [REFERENCE, "a", REFERENCE, "b", REFERENCE]
    assert samples.us == {REFERENCE: [1.0, 3.0, 5.0], "a": [4.0], "b": [6.0]}
    assert samples.ratios == {"a": [2.0], "b": [1.5]}


def test_a_machine_that_grows_slower_all_the_time_does_not_show() -> None:
    clock = iter(range(100, 200))
    samples = Samples(REFERENCE)
    play_round(samples, ["a", "b", "c"], lambda name: float(next(clock)))
    assert samples.ratios == {"a": [1.0], "b": [1.0], "c": [1.0]}


def test_one_disturbed_burst_does_not_move_the_summary() -> None:
    samples = Samples(REFERENCE)
    for cost in (2.0, 2.0, 50.0, 2.0, 2.0):
        play_round(samples, ["a"], {REFERENCE: 1.0, "a": cost}.__getitem__)
    assert samples.summary() == {REFERENCE: Summary(1.0, 1.0, 1.0, 1.0), "a": Summary(2.0, 2.0, 2.0, 2.0)}


def test_the_middle_half() -> None:
    assert middle_half([9.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0]) == (3.0, 6.0)
    assert middle_half([2.0]) == (2.0, 2.0)


def test_the_order_changes_and_nobody_is_forgotten() -> None:
    assert [rotated("abc", by) for by in range(4)] == [list("abc"), list("bca"), list("cab"), list("abc")]
    assert rotated([], 3) == []


@pytest.mark.parametrize("ratio", [0.971, 1.0, 1.029])
def test_two_equal_processes_that_agree_make_a_run_believable(ratio: float) -> None:
    assert rejection("echo", Summary(4.0, ratio, ratio, ratio)) is None


@pytest.mark.parametrize("ratio", [0.969, 1.031, 2.0])
def test_two_equal_processes_that_differ_make_it_worthless(ratio: float) -> None:
    reason = rejection("echo", Summary(4.0, ratio, ratio, ratio))
    assert reason is not None
    assert reason.startswith("echo: two processes of the same bare loop differ by")


# The command and its report.

def figures(second_reference: float) -> Samples:
    samples = Samples(REFERENCE)
    play_round(samples, [SECOND_REFERENCE], {REFERENCE: 4.0, SECOND_REFERENCE: 4.0 * second_reference}.__getitem__)
    return samples


@pytest.mark.parametrize(("second_reference", "code"), [(1.01, 0), (1.05, 1)])
def test_the_exit_code_says_whether_to_believe(second_reference: float, code: int, tmp_path: Path,
                                               monkeypatch: pytest.MonkeyPatch,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(workloads, "measure", lambda *_: figures(second_reference))
    path = tmp_path / "figures.json"
    affinity = os.sched_getaffinity(0)
    assert main(["--quick", "--only", "echo", "--servers", REFERENCE, "--json", str(path)]) == code
    assert os.sched_getaffinity(0) == affinity
    written = json.loads(path.read_text())
    assert written["accepted"] is (code == 0)
    assert written["cpu"]["echo"][SECOND_REFERENCE]["ratio"] == pytest.approx(second_reference)
    printed = capsys.readouterr()
    assert SECOND_REFERENCE in printed.out
    assert ("REJECTED: echo" in printed.err) is (code == 1)


@pytest.mark.parametrize("arguments", [["--only", "ehco"], ["--servers", "bare,nobody"], ["--quik"]])
def test_arguments_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage:" in capsys.readouterr().err


def test_a_table_is_aligned() -> None:
    table = report.aligned([["echo", "µs"], ["reactor", "12.00"]])
    assert table.splitlines() == ["echo        µs", "──────────────", "reactor  12.00"]


# The servers, each in its process.

@pytest.mark.parametrize("protocol", ["echo", "lines"])
@pytest.mark.parametrize("name", SERVERS)
def test_every_server_answers_rightly_and_is_gone_afterwards(name: str, protocol: str) -> None:
    turns = workloads.WORKLOADS[protocol].turns
    with Server(name, protocol) as server:
        try:
            port = server.port()
        except Unavailable as reason:
            pytest.skip(str(reason))
        with Load(connect(port, len(turns[0])), turns, spin=False) as load:
            load.run(3)
        Visitors(port, turns, spin=False).run(2)
        assert server.cpu_ns() > 0
        assert server.rss_bytes() > 0
        assert server.wakeups() > 0
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_server_can_be_asked_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_schedstat", lambda self: [])
    with Server(REFERENCE, "echo") as server:
        server.port()
        assert server.cpu_ns() > 0


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def missing(server: Server) -> int:
        raise Unavailable(f"{server.name}: no module of that name")

    monkeypatch.setattr(Server, "port", missing)
    assert main(["--only", "echo", "--servers", "selectors"]) == 1  # asked for by name
    monkeypatch.setattr(workloads, "measure", lambda *_: figures(1.0))
    assert main(["--only", "echo"]) == 0
    assert "without selectors: no module of that name" in capsys.readouterr().out


def test_a_child_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "_line", lambda self: "missing No module named 'trio'")
    with Server(REFERENCE, "echo") as server, pytest.raises(Unavailable, match="bare: No module named 'trio'"):
        server.port()
