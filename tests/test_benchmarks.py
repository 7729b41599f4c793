"""The benchmark is right about the replies and about the arithmetic. How fast anything is, no test asks."""

from __future__ import annotations

import json
import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from benchmarks import bare, dribblers, idle, process, report, workloads
from benchmarks import load as load_module
from benchmarks.__main__ import main
from benchmarks.crowds import BYTES_OF_A_LINE, Crowd, Visitors
from benchmarks.dribble import Client, Dribble, Wheel
from benchmarks.dribblers import Hurried, Trial, Waits, percentile, times
from benchmarks.load import Load, NoReply, Step, WrongReply, connect
from benchmarks.peers import REFERENCE, SECOND_REFERENCE, SERVERS
from benchmarks.process import Server, Unavailable
from benchmarks.questions import ANY, HttpLoad, http_reply, http_request, is_right, question
from benchmarks.rounds import Samples, Summary, bracketed_ratio, middle_half, play_round, rejection, rotated
from benchmarks.sites import SITES
from benchmarks.ways import ONE_THREAD, WAYS

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="the reference is an epoll loop")

Answer = Callable[[int, bytes], bytes]


@pytest.fixture(autouse=True)
def no_look_at_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who else is busy is no matter here, and half a second to find out, in each run of the command, was."""
    monkeypatch.setattr("benchmarks.__main__.LOOK_S", 0.0)


# The load, served by hand: the test itself is the server, so what it answers, and when, is no matter of luck.

class ByHand:
    def __init__(self, load: Load, peers: list[socket.socket]) -> None:
        self.load = load
        self.peers = peers

    def wave(self, answer: Answer) -> None:
        self.load.send()
        for number, peer in enumerate(self.peers):
            peer.sendall(answer(number, peer.recv(65536)))
        self.load.collect()


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
    by_hand.load.send()
    requests = [peer.recv(65536) for peer in by_hand.peers]
    for peer, request in zip(by_hand.peers, requests, strict=True):
        peer.sendall(request[:100])
    rest = iter(zip(by_hand.peers, requests, strict=True))

    def send_the_rest(receive: Callable[[int], bytes], due: bytes) -> bytes:
        if len(due) in {len(request) - 100 for request in requests}:
            peer, request = next(rest)
            peer.sendall(request[100:])
        return wait(receive, due)

    with pytest.MonkeyPatch.context() as patch:
        wait = load_module._await
        patch.setattr(load_module, "_await", send_the_rest)
        by_hand.load.collect()
    assert next(rest, None) is None


def test_half_a_reply_is_not_enough(by_hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    by_hand.load.send()
    for peer in by_hand.peers:
        peer.sendall(peer.recv(65536)[:100])
    monkeypatch.setattr(load_module, "REPLY_S", 0.0)
    with pytest.raises(NoReply, match="or not all of it"):
        by_hand.load.collect()


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
    by_hand.load.send()
    requests = [peer.recv(65536) for peer in by_hand.peers]
    for peer, request in zip(by_hand.peers, reversed(requests), strict=True):
        peer.sendall(request)
    with pytest.raises(WrongReply):
        by_hand.load.collect()


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
    by_hand.load.send()
    for peer in by_hand.peers:
        peer.recv(65536)
        peer.shutdown(socket.SHUT_WR)
    with pytest.raises(WrongReply, match="closed"):
        by_hand.load.collect()


def test_a_silent_server_is_detected(by_hand: ByHand, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_module, "REPLY_S", 0.0)
    by_hand.load.send()
    with pytest.raises(NoReply, match="no reply within 0 s"):
        by_hand.load.collect()


class Mirror(Load):
    """A load whose server answers at once, so that its inner loop can be watched."""

    def __init__(self, turns: Sequence[Sequence[bytes]], flip_at: int = -1) -> None:
        super().__init__([], [[] for _ in turns], spin=True)
        self.asked: list[tuple[int, bytes]] = []
        self._flip_at = flip_at
        self._steps = [[Step(partial(self._answer, number), partial(self._hear, number), due, request)
                        for number, (due, request) in enumerate(zip(turns[turn - 1], turns[turn], strict=True))]
                       for turn in range(len(turns))]
        self._under_way: dict[int, bytes] = {}

    def _hear(self, number: int, request: bytes) -> int:
        assert number not in self._under_way, "two requests under way on one connection"
        self._under_way[number] = request
        self.asked.append((number, request))
        return len(request)

    def _answer(self, number: int, size: int) -> bytes:
        if len(self.asked) == self._flip_at:
            return b"wrong"
        return self._under_way.pop(number)


TURNS = [[b"a0", b"b0"], [b"a1", b"b1"]]


def test_one_request_at_a_time_on_each_connection_and_another_one_each_time() -> None:
    load = Mirror(TURNS)
    load.run(3)
    assert load.asked == [(0, b"a0"), (1, b"b0"), (0, b"a1"), (1, b"b1"), (0, b"a0"), (1, b"b0")]
    assert not load._under_way
    assert len(load.latencies_us(3)) == 6
    assert load.asked[6:] == [(0, b"a1"), (1, b"b1"), (0, b"a0"), (1, b"b0"), (0, b"a1"), (1, b"b1")]


@pytest.mark.parametrize("flip_at", range(2, 7))
def test_a_wrong_reply_anywhere_in_a_run_is_detected(flip_at: int) -> None:
    for play in (Mirror.run, Mirror.latencies_us):
        with pytest.raises(WrongReply):
            play(Mirror(TURNS, flip_at), 3)


def test_a_refused_connection_leaks_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with pytest.raises(ConnectionRefusedError):
        connect(port, 2)


# What is sent.

@pytest.mark.parametrize("workload", workloads.WORKLOADS.values(), ids=workloads.WORKLOADS)
def test_no_two_requests_are_alike(workload: workloads.Workload) -> None:
    requests = [request for turn in workload.turns for request in turn]
    connections = len(workload.turns[0])
    assert len(requests) == 2 * connections == len(set(requests))
    assert workload.units(3) == 3 * (connections * workload.per_request + workload.besides)
    assert {workload.reference, workload.second_reference} <= set(workload.servers)


def test_sizes_of_the_requests() -> None:
    assert len(workloads.echo_request(9_999, 1)) == 64
    assert len(workloads.long_request(99, 1)) == 16_384
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
    for name, sleeps in ((REFERENCE, 0.5), ("a", 0.0), ("a", 9.0), ("a", 1.0)):
        samples.note(name, range(1, 100), sleeps)
    assert samples.summary() == {REFERENCE: Summary(1.0, 1.0, 1.0, 1.0, 50, 99, 0.5),
                                 "a": Summary(2.0, 2.0, 2.0, 2.0, 50, 99, 1.0)}


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
    assert reason.startswith("echo: two processes of the same reference differ by")


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
    written = json.loads(path.read_text())["echo"]
    assert (written["rejected"] is None) is (code == 0)
    assert written["rows"][SECOND_REFERENCE]["ratio"] == pytest.approx(second_reference)
    assert written["rows"][REFERENCE]["cpu_s_per_100k"] == pytest.approx(0.4)
    assert written["a_a_error"] == pytest.approx(second_reference - 1)
    printed = capsys.readouterr()
    assert SECOND_REFERENCE in printed.out
    assert ("REJECTED: echo" in printed.err) is (code == 1)


@pytest.mark.parametrize("arguments", [["--only", "ehco"], ["--servers", "bare,nobody"], ["--quik"]])
def test_arguments_that_make_no_sense(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(arguments)
    assert "usage:" in capsys.readouterr().err


@pytest.mark.parametrize(("idle_ticks", "warned"), [(98, False), (80, True)])
def test_a_busy_machine_is_told(idle_ticks: int, warned: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    looks = iter([[10, 0, 5, 100, 0], [10 + 100 - idle_ticks, 0, 5, 100 + idle_ticks, 0]])
    monkeypatch.setattr(process, "_all_cores", lambda: next(looks))
    busy = process.busy_share(0.0)
    assert busy == pytest.approx(1 - idle_ticks / 100)
    assert ("WARNING: others use 20% of this machine" in report.introduction(None, busy)) is warned


def test_a_table_is_aligned() -> None:
    table = report.aligned([["echo", "µs"], ["reactor", "12.00"]])
    assert table.splitlines() == ["echo        µs", "──────────────", "reactor  12.00"]


# The servers, each in its process.

QUICKLY = workloads.Effort(generations=1, rounds=1, burst_s=0.0)


def smaller(workload: workloads.Workload) -> workloads.Workload:
    """The same with four connections, so that it takes no time; they ask more than once, and both turns."""
    return replace(workload, turns=[turn[:4] for turn in workload.turns])


@pytest.mark.parametrize(("name", "protocol"), [(name, protocol) for name, kind in SERVERS.items()
                                                for protocol in kind.protocols])
def test_every_server_answers_rightly_and_is_gone_afterwards(name: str, protocol: str) -> None:
    workload = smaller(next(one for one in workloads.WORKLOADS.values() if one.protocol == protocol))
    with Server(name, protocol) as server:
        try:
            ports = server.ports()
        except Unavailable as reason:
            pytest.skip(str(reason))
        assert len(set(ports)) == (bare.LISTENERS if protocol == "many" else 1)
        with closing(workload.open_load(ports, workload.turns, False)) as load:
            load.run(3)
            assert len(load.latencies_us(2)) >= 2
            with server.held():
                load.send()
            load.collect()
        assert server.cpu_ns() > 0
        assert server.rss_bytes() > 0
        assert server.wakeups() > 0
        assert server.sleeps() > 0
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_a_held_server_does_not_run(by_hand: ByHand) -> None:
    with Server(REFERENCE, "echo") as server, socket.create_connection(("127.0.0.1", server.port())) as client:
        client.sendall(b"first")
        assert client.recv(5, socket.MSG_WAITALL) == b"first"
        with server.held():
            before = server.cpu_ns()
            client.sendall(b"second")
            assert not select.select([client], [], [], 0.05)[0]
            assert server.cpu_ns() == before
        assert client.recv(6, socket.MSG_WAITALL) == b"second"
        assert server.cpu_ns() > before


def test_cpu_of_threads_that_have_ended_counts() -> None:
    with Server("threading", "close") as server:
        turns = workloads.both_turns(workloads.echo_request, 4)
        Visitors(server.port(), turns, spin=False).run(5)
        spent = server.cpu_ns()
        alive = sum(int(path.read_text().split()[0]) for path in server._tasks("schedstat"))
        assert spent > alive > 0


def test_visitors_want_the_end_of_the_stream(listener: socket.socket) -> None:
    visitors = Visitors(listener.getsockname()[1], [[b"hello"]], spin=False)
    with closing(visitors):
        visitors.send()
        with listener.accept()[0] as peer:
            peer.sendall(peer.recv(5) + b"!")
            with pytest.raises(WrongReply, match="not the end of the stream|expected"):
                visitors.collect()


def test_a_crowd_is_answered_when_its_lines_are_whole() -> None:
    with Server(REFERENCE, "lines") as server, closing(Crowd(server.port(), [[b"a\n"], [b"b\n"]], 3, spin=False)) as crowd:
        crowd.run(2 * BYTES_OF_A_LINE + 1)
        sock, line = crowd._dribblers[1]
        crowd._dribblers[1] = sock, line.upper().replace(b".", b"!")
        with pytest.raises(WrongReply):
            crowd.run(BYTES_OF_A_LINE)


@pytest.mark.parametrize("name", ["echo", "close"])
def test_a_workload_from_end_to_end(name: str) -> None:
    workload = smaller(workloads.WORKLOADS[name])
    rows = workloads.measure(workload, [SECOND_REFERENCE, "threading", "coroutine"], QUICKLY, None).summary()
    assert list(rows) == [REFERENCE, SECOND_REFERENCE, "threading", "coroutine"]
    assert all(row.us > 0 < row.p50_us <= row.p99_us for row in rows.values())
    assert workload.name in report.cpu_table(workload.name, workload.unit, REFERENCE, rows)


def test_who_is_far_from_the_reference_is_measured_less_often(monkeypatch: pytest.MonkeyPatch) -> None:
    played = []

    @contextmanager
    def running(_: object, names: list[str], cores: object) -> Iterator[dict[str, Any]]:
        played.append(names)
        yield {}

    monkeypatch.setattr(workloads, "all_running", running)
    workloads.measure(workloads.WORKLOADS["echo"], ["coroutine", "trio"], workloads.Effort(3, 0, 0.0, far_every=2), None)
    assert played == [[REFERENCE, "coroutine", "trio"], [REFERENCE, "coroutine"], [REFERENCE, "coroutine", "trio"]]


def test_a_server_can_be_asked_where_the_system_does_not_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_clock_of", lambda pid: -(1 << 20))
    with Server(REFERENCE, "echo") as server:
        server.port()
        assert server.cpu_ns() > 0


def test_a_peer_that_is_not_installed_is_left_out(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    def missing(server: Server) -> list[int]:
        raise Unavailable(f"{server.name}: no module of that name")

    monkeypatch.setattr(Server, "ports", missing)
    assert main(["--only", "echo", "--servers", "selectors"]) == 1  # asked for by name
    monkeypatch.setattr(workloads, "measure", lambda *_: figures(1.0))
    assert main(["--only", "echo"]) == 0
    assert "without selectors: no module of that name" in capsys.readouterr().out


def test_a_child_says_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Server, "line", lambda self: "missing No module named 'trio'")
    with Server(REFERENCE, "echo") as server, pytest.raises(Unavailable, match="bare: No module named 'trio'"):
        server.port()


# The unmodified handlers, and the ways to run them.

def port_of(server: Server) -> int:
    try:
        return server.port()
    except Unavailable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize("way", WAYS)
def test_every_way_answers_keep_alive_requests_rightly(way: str) -> None:
    turns = workloads.both_turns(http_request, 20)
    with Server(way, "http") as server, HttpLoad(connect(port_of(server), 20), turns, spin=False) as load:
        load.run(4)
        assert server.threads() == (1 if way in ONE_THREAD else 21)


@pytest.mark.parametrize("site", SITES)
@pytest.mark.parametrize("way", [way for way in WAYS if way != "threading-again"])
def test_every_way_serves_every_site(way: str, site: str) -> None:
    with Server(way, site) as server:
        with closing(Hurried(port_of(server), site)) as client:
            waits = client.ask(times(5))
        assert all(wait.asked == 5 for wait in waits.values())
        assert ("kept" in waits) is (site != "wsgi")
        asked = [question(site, number, close=True) for number in range(20)]
        dribble = Wheel(server.port(), asked, every_ms=2, arrive_ms=10).run()
    assert (dribble.served, dribble.failed) == (20, {})


REPLY = http_reply(http_request(7, 0))
REAL = REPLY.replace(ANY * 29, b"Thu, 01 Jan 1970 00:00:00 GMT")


@pytest.fixture
def http_load() -> Iterator[HttpLoad]:
    with HttpLoad([], [[]], spin=True) as load:
        yield load


def test_a_reply_with_any_date_is_right_however_it_is_split(http_load: HttpLoad) -> None:
    assert len(REAL) == len(REPLY) != len(REAL.replace(b"GMT", b""))
    for at in range(1, len(REAL)):
        assert http_load.rest_of(http_load.rest_of(REPLY, REAL[:at]), REAL[at:]) == b""


def test_any_other_byte_that_is_wrong_is_detected(http_load: HttpLoad) -> None:
    for at, byte in enumerate(REAL):
        if REPLY[at:at + 1] != ANY:
            with pytest.raises(WrongReply):
                http_load.rest_of(REPLY, REAL[:at] + bytes([byte ^ 1]) + REAL[at + 1:])
    for wrong in (REAL + b".", b"", http_reply(http_request(8, 0))):
        with pytest.raises(WrongReply):
            http_load.rest_of(REPLY, wrong)


def test_what_is_no_whole_reply_with_that_body() -> None:
    body = REAL[-100:]
    assert is_right(REAL, body)
    for wrong in (REAL[:-1], REAL + b".", REAL.replace(b"200", b"404"), REAL.replace(b"h: 100", b"h: 10"), b""):
        assert not is_right(wrong, body)
    assert not is_right(REAL, body.lower().replace(b"/", b"!"))


@pytest.mark.parametrize("site", SITES)
def test_no_two_questions_are_alike_and_a_dribbled_one_is_in_time(site: str) -> None:
    asked = [question(site, number, close=True)[0] for number in range(1000)]
    assert len(set(asked)) == 1000
    assert max(map(len, asked)) * dribblers.FULL.every_ms / 1000 < 30  # Limits.request_s


# The dribblers.

@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(10)
        yield listener


def test_a_client_sends_one_byte_each_time_round_the_wheel(listener: socket.socket) -> None:
    wheel = Wheel(listener.getsockname()[1], [(b"ab", b""), (b"xyz", b"")], every_ms=10, arrive_ms=6)
    assert [tick for tick in range(30) if wheel._turn(tick)] == [0, 3, 10, 13, 23]
    for expected in (b"ab", b"xyz"):
        with listener.accept()[0] as peer:
            assert peer.recv(9) == expected
    assert sum(wheel.run().failed.values()) == 2


def answered_by_hand(listener: socket.socket, *actions: Callable[[socket.socket], object]) -> Dribble:
    """The dribblers' fate when the first one to connect gets the first action, and so on."""
    wheel = Wheel(listener.getsockname()[1], [(b"GET", b"yes")] * len(actions), every_ms=1, arrive_ms=1)
    for tick in range(3):
        wheel._turn(tick)
    for action in actions:
        with listener.accept()[0] as peer:
            action(peer)
    return wheel.run()


def hang_up(peer: socket.socket) -> None:
    assert peer.recv(3, socket.MSG_WAITALL) == b"GET"


def reply_with(reply: bytes) -> Callable[[socket.socket], None]:
    def act(peer: socket.socket) -> None:
        assert peer.recv(3, socket.MSG_WAITALL) == b"GET"
        peer.sendall(reply)
    return act


def test_who_was_served_and_who_was_not(listener: socket.socket) -> None:
    right = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nyes"
    dribble = answered_by_hand(listener, reply_with(right), hang_up, reply_with(right.replace(b"yes", b"yet")),
                               reply_with(right), reply_with(right[:-1]))
    assert dribble.served == 2
    assert sorted(why.split()[0] for why in dribble.failed) == ["got"] * 3
    assert sum(dribble.failed.values()) == 3
    assert dribble.seconds < 10


def test_the_verdict_on_a_client_that_was_cut_off() -> None:
    with socket.socket() as sock:
        client = Client(sock, b"GET", b"yes", at=1, reply=b"HTTP/1.1 408 ")
        assert client.verdict() == "ended after 1 of 3 bytes with b'HTTP/1.1 408 '"


class StoppedClock:
    """Time that passes only when somebody sleeps, or when a question takes it."""

    def __init__(self) -> None:
        self.now = 0.0

    def perf_counter(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


def test_a_server_that_stands_still_spoils_all_answers_that_were_due(monkeypatch: pytest.MonkeyPatch,
                                                                     listener: socket.socket) -> None:
    clock = StoppedClock()
    takes = iter([0.001] * 10 + [0.100] + [0.001] * 300)
    monkeypatch.setattr(dribblers, "EVERY_S", 0.002)
    monkeypatch.setattr(dribblers, "time", clock)
    monkeypatch.setattr(Hurried, "_ask_anew", lambda self: clock.sleep(next(takes)))
    with closing(Hurried(listener.getsockname()[1], "wsgi")) as client:
        waits = client.ask(times(300))["new"]
    assert waits.p50_ms == pytest.approx(1.0)
    assert waits.worst_ms == pytest.approx(100.0)
    assert waits.p99_ms == pytest.approx(97.0)  # 100, 99, 98 are the highest three of 300


@pytest.mark.parametrize(("percent", "value"), [(1, 1), (50, 50), (99, 99), (100, 100)])
def test_percentiles_are_values_that_were_measured(percent: int, value: int) -> None:
    assert percentile(range(1, 101), percent) == value
    assert percentile([7.0], percent) == 7.0


WAITS = Waits(100, 0.5, 1.0, 2.0)
KEPT = Trial("wsgi", "framed", dribblers.Crowd(10, 100, 100, 1.0), {"new": WAITS}, {"new": replace(WAITS, p99_ms=10.9)},
             Dribble(10, {}, 1.0, 0.1), threads=1, cpu_s=0.1, waited_s=0.01)


def test_a_promise_that_was_kept() -> None:
    assert KEPT.broken() == []
    assert replace(KEPT, way="thread", threads=12).broken() == []


@pytest.mark.parametrize(("change", "reason"), [
    ({"busy": {"new": replace(WAITS, p99_ms=11.1)}}, "p99 went from 1.00 to 11.10 ms"),
    ({"dribble": Dribble(9, {"no reply": 1}, 1.0, 0.1)}, "9 of 10 dribblers were served; the others: {'no reply': 1}"),
    ({"threads": 2}, "2 threads"),
])
def test_a_promise_that_was_broken(change: dict[str, Any], reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                   capsys: pytest.CaptureFixture[str]) -> None:
    trial = replace(KEPT, **change)
    assert [reason in said for said in trial.broken()] == [True]
    path = tmp_path / "figures.json"
    for one, code in ((trial, 1), (KEPT, 0)):
        monkeypatch.setattr(dribblers, "measure", lambda *_, one=one: one)
        assert main(["--quick", "--only", "dribblers", "--servers", "framed", "--json", str(path)]) == code
        written = json.loads(path.read_text())["dribblers"]
        assert bool(written["broken"]) is (code == 1)
        assert written["trials"][0]["busy"]["new"]["p99_ms"] == one.busy["new"].p99_ms
        assert ("BROKEN: wsgi framed" in capsys.readouterr().err) is (code == 1)


def test_waits_for_the_core_make_a_trial_worthless() -> None:
    late = replace(KEPT, busy={"new": replace(WAITS, p99_ms=50.0)})
    disturbed = replace(late, waited_s=0.03)
    assert late.broken()
    assert late.rejection() is None
    assert disturbed.broken() == []
    assert (disturbed.rejection() or "").startswith("wsgi framed: the server waited 30 ms for its core in 1.0 s")
    assert replace(disturbed, way="thread").rejection() is None
    assert replace(KEPT, waited_s=0.03).rejection() is None  # good in spite of everything


def test_the_whole_of_a_small_trial() -> None:
    trial = dribblers.measure("wsgi", "threading", dribblers.Crowd(10, every_ms=2, arrive_ms=10, quiet_s=0.05), None)
    assert (trial.dribble.served, trial.dribble.failed) == (10, {})
    assert trial.threads > 1
    assert trial.quiet["new"].asked > 0 < trial.busy["new"].asked
    assert "wsgi threading, new" in report.dribblers_table([trial])


def test_connections_at_rest_under_a_way() -> None:
    rests = idle.measure_way("threading", idle.Crowd(idle.FIRST + 50, seconds=0.01), None)
    assert list(rests) == ["threading, answered", "threading, never spoke"]
    assert all(rest.connections == 150 and rest.bytes_per_connection > 0 for rest in rests.values())
    assert "threading, never spoke" in report.idle_table(rests)
