"""The reactor's doors: listen, run, run_until, spawn, snapshot, and a stop from anywhere."""

import errno
import functools
import json
import os
import signal
import socket
import threading
import types
from collections.abc import Callable
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, Cancelled, Datagram, Limits, ManualClock, Phase, Reactor, Stream, sleep, spawn
from reactor import socketserver as ours
from tests.driving import ask, listen, only, receive, receive_all, streams, turn_until, turns
from tests.running import PATIENCE_S, PROMPT_S, Running, Waits, descriptors, seconds_of, wait_for

needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


@pytest.fixture
def real(make_loop: Callable[..., Reactor]) -> Reactor:
    """Give a reactor on the real clock."""
    return make_loop(clock=None)


# -- listen -----------------------------------------------------------------------------------------------------------


class Callable_:
    async def __call__(self, stream: Stream) -> None:
        await echo(stream)

    async def method(self, stream: Stream) -> None:
        await echo(stream)


async def _with_a_prefix(prefix: bytes, stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(prefix + line)


HANDLERS: dict[str, tuple[Any, str]] = {
    "function": (echo, "echo"),
    "method": (Callable_().method, "method"),
    "callable": (Callable_(), "Callable_"),
    "partial": (functools.partial(_with_a_prefix, b""), "_with_a_prefix"),
}


@pytest.mark.parametrize("name", HANDLERS)
def test_any_coroutine_function_handles_a_connection(loop: Reactor, connect: Any, name: str) -> None:
    handler, shown = HANDLERS[name]
    listener = loop.listen("tcp://127.0.0.1:0", handler)
    assert listener.name.startswith(f"{shown} tcp://")
    ask(loop, connect(listener), b"hello\n", b"hello\n")


def blocking_function(stream: Any) -> None:
    """Is no coroutine, and no handler of socketserver's kind either."""


WRONG: dict[str, tuple[Any, Any, dict[str, Any], type[Exception], str]] = {
    "no scheme": ("127.0.0.1:80", echo, {}, ValueError, "not understood"),
    "no port": ("tcp://127.0.0.1", echo, {}, ValueError, "a host and a port are needed"),
    "a blocking function": ("tcp://127.0.0.1:0", blocking_function, {}, TypeError, "blocks"),
    "a coroutine in a thread": ("tcp://127.0.0.1:0", echo, {"way": "thread"}, ValueError, "drop framing= and way="),
    "no such way": ("tcp://127.0.0.1:0", ours.BaseRequestHandler, {"way": "magic"}, ValueError, "one of"),
    "somebody else's address": ("tcp://192.0.2.1:80", echo, {}, OSError, r"cannot listen at tcp://192\.0\.2\.1:80"),
}


@pytest.mark.parametrize("name", WRONG)
@needs_proc
def test_a_mistake_is_told_at_once_and_leaves_nothing(loop: Reactor, name: str) -> None:
    endpoint, handler, keywords, error, text = WRONG[name]
    before = descriptors()
    with pytest.raises(error, match=text):
        loop.listen(endpoint, handler, **keywords)
    assert len(loop.table) == 0
    assert descriptors() == before


def test_a_handler_may_listen_and_its_listener_is_there_in_the_next_turn(loop: Reactor, connect: Any) -> None:
    made: list[Any] = []

    async def opens(stream: Stream) -> None:
        while line := await stream.readline():
            made.append(listen(loop, echo))
            stream.write(line)

    client = connect(listen(loop, opens))
    ask(loop, client, b"another\n", b"another\n")
    ask(loop, connect(made[0]), b"hello\n", b"hello\n")


def test_listeners_have_their_own_limits_or_the_reactors(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop(limits=Limits(idle_s=1))
    assert loop.listen("tcp://127.0.0.1:0", echo).row.limits.idle_s == 1
    assert loop.listen("tcp://127.0.0.1:0", echo, limits=Limits(idle_s=2)).row.limits.idle_s == 2


def test_one_handler_on_several_kinds_of_endpoints(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    listeners = [listen(loop, echo)]
    if hasattr(socket, "AF_UNIX"):
        listeners.append(listen(loop, echo, f"unix://{tmp_path}/s"))
    clients = [connect(listener) for listener in listeners for _ in range(2)]
    for client in clients:
        ask(loop, client, b"hello\n", b"hello\n")
    assert len({row.id for row in loop.table}) == len(loop.table)


# -- stop -------------------------------------------------------------------------------------------------------------


def _by_thread(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    return Running(lambda: (wait_for(at_rest), stop()))


def _by_signal(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    signal.signal(signal.SIGUSR1, lambda number, frame: stop())
    return Running(lambda: (wait_for(at_rest), os.kill(os.getpid(), signal.SIGUSR1)))


def _by_handler(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    async def handler(stream: Stream) -> None:
        await stream.readline()
        stop()

    client = connect(listen(loop, handler))
    client.sendall(b"stop\n")
    client.shutdown(socket.SHUT_WR)


def _by_datagram(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    def handler(packet: Datagram) -> None:
        stop()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"stop", listen(loop, handler, "udp://127.0.0.1:0").address)


def _by_posted(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    loop.call_soon(stop)


def _by_timer(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    loop.call_later(0.001, stop)


def _by_task(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    async def task() -> None:
        await sleep(0.001)
        stop()

    loop.spawn(task)


def _by_hook(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    def hook() -> None:
        loop.hooks.clear()
        stop()

    loop.hooks.append((hook, lambda: 0.001))


def _before_the_start(loop: Reactor, stop: Callable[[], None], connect: Any, at_rest: threading.Event) -> Any:
    stop()


STOPS = {
    "thread": _by_thread, "signal": _by_signal, "handler": _by_handler, "datagram": _by_datagram,
    "posted": _by_posted, "timer": _by_timer, "task": _by_task, "hook": _by_hook, "before": _before_the_start,
}  # fmt: skip


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("how", STOPS)
def test_stop_is_legal_anywhere_and_prompt(
    make_loop: Callable[..., Reactor], connect: Any, how: str, times: int
) -> None:
    """With an idle connection, which is told, and a listener; the best of three."""

    def once() -> float:
        loop = make_loop(clock=None)
        idle = connect(listen(loop, echo))
        ask(loop, idle, b"hello\n", b"hello\n")
        began: list[float] = []

        def stop() -> None:
            if not began:
                began.append(loop.clock.now())
            for _ in range(times):
                loop.stop()

        stopper = STOPS[how](loop, stop, connect, Waits(loop).at_rest)
        loop.run()
        took = loop.clock.now() - began[0]
        assert idle.recv(1) == b""
        if stopper is not None:
            stopper.join()
        loop.close()
        loop.stop()  # after the close
        return took

    old = signal.getsignal(signal.SIGUSR1) if how == "signal" else None
    try:
        assert min(once() for _ in range(3)) <= PROMPT_S
    finally:
        if how == "signal":
            signal.signal(signal.SIGUSR1, old)


def test_a_stop_before_the_start_is_kept_for_one_run(real: Reactor) -> None:
    real.stop()
    real.stop()
    assert seconds_of(real.run) <= PATIENCE_S
    waits = Waits(real)
    running = Running(real.run)
    wait_for(waits.at_rest)
    assert running.thread.is_alive()
    real.stop()
    running.join()


def test_stop_drains_a_stepped_loop_too(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    ask(loop, client, b"hello\n", b"hello\n")
    loop.stop()
    assert loop.next_turn_in_s() == 0
    turns(loop, 3)
    assert client.recv(1) == b""
    assert not streams(loop)


def test_ten_threads_stop_at_once(real: Reactor) -> None:
    waits = Waits(real)
    running = Running(real.run)
    wait_for(waits.at_rest)
    stoppers = [Running(real.stop) for _ in range(10)]
    for stopper in stoppers:
        stopper.join()
    running.join()


# -- run_until and spawn ------------------------------------------------------------------------------------------------


def test_run_until_returns_what_the_function_returns(real: Reactor) -> None:
    async def adds(a: int, *, b: int) -> int:
        await sleep(0.001)
        return a + b

    assert real.run_until(adds, 1, b=2) == 3
    assert real.run_until(adds, 3, b=4) == 7


def test_run_until_raises_what_the_function_raises(real: Reactor, caplog: pytest.LogCaptureFixture) -> None:
    async def fails() -> None:
        await sleep(0)
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        real.run_until(fails)
    assert not caplog.records  # whoever gets the exception need not read it twice


def test_run_until_serves_meanwhile(real: Reactor, connect: Any) -> None:
    listener = listen(real, echo)
    client = connect(listener)

    async def waits_for_the_client() -> int:
        client.sendall(b"hello\n")
        while not streams(real) or not only(real).bytes_out:
            await sleep(0)
        return int(only(real).bytes_out)

    assert real.run_until(waits_for_the_client) == 6
    assert client.recv(10) == b"hello\n"


def test_run_until_can_be_woken_from_a_thread(real: Reactor) -> None:
    go: list[bool] = []

    async def waits() -> str:
        while not go:
            await sleep(0.001)
        return "went"

    poster = Running(lambda: real.call_soon(go.append, True))
    assert real.run_until(waits) == "went"
    poster.join()


def test_a_stop_ends_run_until_and_does_not_end_the_run_after_it(real: Reactor, connect: Any) -> None:
    async def stops() -> None:
        real.stop()
        await sleep(1000)

    with pytest.raises(Cancelled):
        real.run_until(stops)
    listener = listen(real, echo)
    client = connect(listener)
    waits = Waits(real)
    running = Running(real.run)
    client.sendall(b"hello\n")
    assert client.recv(10) == b"hello\n"
    wait_for(waits.at_rest)
    real.stop()
    assert len(running.join().idle) == 1


def test_run_until_wants_a_coroutine_function(real: Reactor) -> None:
    with pytest.raises(TypeError, match="async def"):
        real.run_until(lambda: 42)  # type: ignore[arg-type, return-value]
    assert real.run_until(sleep, 0) is None  # unharmed


def test_spawned_tasks_run_beside_and_end_with_the_reactor(loop: Reactor, clock: ManualClock) -> None:
    log: list[str] = []

    async def ticks(name: str, seconds: float) -> None:
        try:
            while True:
                await sleep(seconds)
                log.append(name)
        except Cancelled:
            log.append(f"{name} cancelled")
            raise

    loop.spawn(ticks, "a", seconds=2)
    loop.spawn(ticks, "b", 3)
    loop.step()
    for _ in range(6):
        clock.advance(1)
        loop.step()
    assert log == ["a", "b", "a", "a", "b"] or log == ["a", "b", "a", "b", "a"]
    loop.close()
    assert sorted(log[5:]) == ["a cancelled", "b cancelled"]
    assert not loop.tasks


def test_spawn_of_the_package_finds_the_running_reactor(loop: Reactor) -> None:
    got: list[str] = []

    async def inner() -> None:
        got.append("inner")

    async def outer() -> None:
        await spawn(inner).wait()
        got.append("outer")

    loop.spawn(outer)
    turns(loop, 5)
    assert got == ["inner", "outer"]
    with pytest.raises(RuntimeError, match="loop.spawn"):
        spawn(inner)


def test_two_reactors_in_two_threads_do_not_meet() -> None:
    async def who() -> int:
        seen: list[int] = []

        async def notes() -> None:
            seen.append(threading.get_ident())

        for _ in range(20):
            await spawn(notes).wait()
        (one,) = set(seen)
        return one

    def run() -> bool:
        with Reactor() as loop:
            return loop.run_until(who) == threading.get_ident()

    runs = [Running(run) for _ in range(4)]
    assert all(one.join() for one in runs)


def test_a_reactor_within_a_handler_of_another_is_legal(loop: Reactor, connect: Any) -> None:
    """Another reactor, of its own: a handler that does so holds the outer one, and that is all."""

    async def inner() -> bytes:
        await sleep(0)
        return b"from the inner reactor\n"

    async def handler(stream: Stream) -> None:
        await stream.readline()
        with Reactor() as another:
            stream.write(another.run_until(inner))
        spawn(sleep, 0)  # of the outer one again

    client = connect(listen(loop, handler))
    ask(loop, client, b"x\n", b"from the inner reactor\n")


# -- snapshot ---------------------------------------------------------------------------------------------------------


def test_any_thread_may_ask_a_running_loop_for_its_rows(real: Reactor, connect: Any) -> None:
    listener = listen(real, echo)
    client = connect(listener)
    ask(real, client, b"hello\n", b"hello\n")
    running = Running(real.run)
    try:
        askers = [Running(lambda: [real.snapshot() for _ in range(20)]) for _ in range(5)]
        for asker in askers:
            for rows in asker.join():
                assert [row.kind for row in rows if row.kind != "waker"] == ["listener", "stream"]
        json.dumps([row.as_dict() for row in real.snapshot()])
    finally:
        real.stop()
        running.join()


def test_the_loops_own_thread_and_a_loop_that_stands_are_asked_directly(real: Reactor) -> None:
    listen(real, echo)
    seen: list[int] = []
    assert len(real.snapshot()) == 1
    real.call_soon(lambda: seen.append(len(real.snapshot())))
    real.step()
    assert seen == [1]
    assert len(Running(real.snapshot).join()) == 1


def test_a_loop_that_a_handler_holds_gives_a_timeout(real: Reactor) -> None:
    held, release = threading.Event(), threading.Event()

    def hold() -> None:
        held.set()
        wait_for(release)

    running = Running(real.run)
    real.call_soon(hold)
    wait_for(held)
    try:
        with pytest.raises(TimeoutError, match="did not answer within 0.01 s: a handler holds it"):
            real.snapshot(timeout_s=0.01)
    finally:
        release.set()
    assert real.snapshot()
    real.stop()
    running.join()


def test_rows_that_come_and_go_do_not_disturb_a_snapshot(real: Reactor, connect: Any) -> None:
    listener = listen(real, echo)
    running = Running(real.run)
    stop = threading.Event()

    def connects() -> None:
        while not stop.is_set():
            with socket.create_connection(listener.address) as client:
                client.sendall(b"x\n")
                client.recv(10)

    clients = [Running(connects) for _ in range(3)]
    try:
        for _ in range(100):
            for row in real.snapshot(timeout_s=PATIENCE_S):
                assert row.phase is not Phase.CLOSED
    finally:
        stop.set()
        for client in clients:
            client.join()
        real.stop(drain_s=0)
        running.join()


# -- what a program does ------------------------------------------------------------------------------------------------


def test_two_rounds_of_a_whole_program(connect: Any, tmp_path: Any) -> None:
    """The hello of the documentation: TCP, a Unix socket and UDP on one loop, in a thread, twice."""

    async def greet(stream: Stream) -> None:
        stream.write(b"What is your name? ")
        name = await stream.readline(max_bytes=80)
        stream.write(b"Hello, " + name)

    def clock(packet: Datagram) -> None:
        packet.reply(b"12:00")

    for _ in range(2):
        with Reactor() as loop:
            listeners = [loop.listen("tcp://127.0.0.1:0", greet)]
            if hasattr(socket, "AF_UNIX"):
                listeners.append(loop.listen(f"unix://{tmp_path}/greet.sock", greet))
            udp = loop.listen("udp://127.0.0.1:0", clock)
            running = Running(loop.run)
            for listener in listeners:
                client = connect(listener)
                assert client.recv(100) == b"What is your name? "
                client.sendall(b"Ann\n")
                assert client.recv(100) == b"Hello, Ann\n"
                assert client.recv(100) == b""
                client.close()
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.settimeout(PATIENCE_S)
                client.sendto(b"?", udp.address)
                assert client.recv(100) == b"12:00"
            loop.stop()
            running.join()


def test_the_table_of_a_running_loop_can_be_printed(loop: Reactor, connect: Any) -> None:
    client = connect(listen(loop, echo))
    client.sendall(b"half")
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    heading, *lines = str(loop.table).splitlines()
    assert heading.split()[:4] == ["id", "fd", "kind", "server"]
    assert any("RECEIVING" in line and "4 B, until b" in line for line in lines)
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""


def test_the_sockets_of_the_engine_come_from_the_module_it_was_given() -> None:
    made: list[str] = []

    def make(*args: Any) -> socket.socket:
        made.append("socket")
        return socket.socket(*args)

    def make_pair() -> tuple[socket.socket, socket.socket]:
        made.append("socketpair")
        return socket.socketpair()

    with Reactor(sockets=types.SimpleNamespace(socket=make, socketpair=make_pair)) as loop:
        assert made == []  # nothing at construction
        loop.listen("tcp://127.0.0.1:0", echo)
        loop.listen("udp://127.0.0.1:0", lambda packet: packet.reply(packet.data))
        assert made == ["socket", "socket", "socket"]  # the listeners, and the descriptor in reserve
        loop.stop()
        loop.run()
        assert made == ["socket", "socket", "socket", "socketpair"]


@pytest.mark.parametrize("far_s", [3e6, 1e10, float("inf")])
def test_a_time_that_is_too_far_for_the_selector_is_waited_for_in_parts(loop: Reactor, far_s: float) -> None:
    loop.call_later(far_s, print)
    assert loop.next_turn_in_s() == 86400
    listener = listen(loop, echo)
    with socket.create_connection(listener.address):  # so that the wait ends at once, if it can begin
        assert listener.row.id in loop.step(far_s).ready
    with pytest.raises(ValueError, match="NaN"):
        loop.call_later(float("nan"), print)


def test_a_drain_waits_for_the_answer_to_a_packet(loop: Reactor, clock: ManualClock) -> None:
    async def later(packet: Datagram) -> None:
        await sleep(1)
        packet.reply(b"answer")

    listener = loop.listen("udp://127.0.0.1:0", later)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.sendto(b"question", listener.address)
        turn_until(loop, lambda: loop.replies)
        loop.stop(drain_s=5)
        turns(loop, 3)
        assert loop.draining is not None
        clock.advance(1)
        turn_until(loop, lambda: loop.draining is None)
        assert client.recv(100) == b"answer"
    assert listener.row.fd == -1


def test_an_offer_to_an_empty_outbox_may_be_large(loop: Reactor, connect: Any) -> None:
    rows: list[Stream] = []

    async def member(stream: Stream) -> None:
        rows.append(stream)
        await stream.readline()

    client = connect(listen(loop, member))
    turn_until(loop, lambda: rows)
    assert rows[0].offer(b"x" * 100_000)
    assert not rows[0].offer(b"x" * (32 << 20))
    assert len(receive(loop, client, 100_000)) == 100_000


def test_packets_make_no_stream_for_a_coroutine_handler(loop: Reactor) -> None:
    with pytest.raises(TypeError, match="packets make no stream"):
        loop.listen("udp://127.0.0.1:0", AsyncStreamRequestHandler)


def test_the_socket_of_a_packet_blocks_for_a_handler_class(loop: Reactor) -> None:
    seen: list[float | None] = []

    class Timeout(ours.BaseRequestHandler):
        def handle(self) -> None:
            seen.append(self.request[1].gettimeout())

    listener = loop.listen("udp://127.0.0.1:0", Timeout)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", listener.address)
        turn_until(loop, lambda: seen)
    assert seen == [None]


def test_a_drain_that_was_stepped_through_does_not_end_the_next_run(loop: Reactor) -> None:
    loop.stop(drain_s=0)
    turns(loop, 2)
    ran: list[int] = []
    loop.call_soon(lambda: loop.call_soon(lambda: (ran.append(1), loop.stop())))
    loop.run(handle_signals=False)
    assert ran == [1]


def test_a_stop_after_a_drain_that_was_stepped_through_drains_again(loop: Reactor, connect: Any) -> None:
    """The report of the first drain was taken for that of the second: run() returned at once, and listened on."""
    loop.stop(drain_s=0)
    loop.step()
    listener = listen(loop, echo)
    client = connect(listener)
    loop.step()
    loop.stop(drain_s=0)
    report = loop.run(handle_signals=False)
    assert len(report.aborted) == 1
    assert len(loop.table) <= 1  # the waker
    client.close()


def test_a_drain_that_was_stepped_through_does_not_cancel_what_is_run_then(loop: Reactor) -> None:
    loop.stop(drain_s=0)
    loop.step()

    async def answer() -> int:
        await sleep(0)
        return 42

    assert loop.run_until(answer) == 42


def test_a_server_is_hosted_once_at_a_time(loop: Reactor) -> None:
    server = ours.ThreadingTCPServer(("127.0.0.1", 0), ours.BaseRequestHandler)
    listener = loop.add(server)
    with pytest.raises(RuntimeError, match="is served already"):
        loop.add(server)
    turns(loop)
    assert listener.row.phase is Phase.LISTENING


def test_a_loop_without_descriptors_for_its_waker_says_so() -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, "Too many open files")

    with Reactor(sockets=types.SimpleNamespace(socketpair=none_left)) as loop:
        loop.stop()
        with pytest.raises(OSError, match="Too many open files"):
            loop.run()
