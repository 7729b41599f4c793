"""Signals: the first drains, the second aborts, and everything is put back as it was."""

import contextlib
import os
import selectors
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import Phase, Reactor, Stream, sleep
from reactor.signals import SignalWatch
from tests.driving import listen, only, streams, turn_until
from tests.running import PATIENCE_S, PROMPT_S, ROOT, Running, Waits, python, seconds_of, wait_for

pytestmark = pytest.mark.skipif(os.name != "posix", reason="needs POSIX signals")

STOPPING = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture(autouse=True)
def stray() -> Iterator[list[int]]:
    """Catch the signals that a test lets slip, so that they do not end the test run; check that all is put back."""
    got: list[int] = []
    mine = {number: (lambda number, frame: got.append(number)) for number in STOPPING}
    old = {number: signal.signal(number, handler) for number, handler in mine.items()}
    old_fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(old_fd)
    try:
        yield got
        assert {number: signal.getsignal(number) for number in STOPPING} == mine
        assert wakeup_fd() == old_fd
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def wakeup_fd() -> int:
    fd = signal.set_wakeup_fd(-1)
    signal.set_wakeup_fd(fd)
    return fd


def kill(number: int) -> None:
    os.kill(os.getpid(), number)


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


async def works(stream: Stream) -> None:
    await stream.readline()
    await sleep(1000)


@pytest.fixture
def real(make_loop: Callable[..., Reactor]) -> Reactor:
    """Give a reactor on the real clock."""
    return make_loop(clock=None)


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_drains(real: Reactor, connect: Any, stray: list[int], number: int) -> None:
    client = connect(listen(real, echo))
    only(real)
    waits = Waits(real)
    sender = Running(lambda: (wait_for(waits.at_rest), kill(number)))
    report = real.run()
    sender.join()
    assert len(report.idle) == 1
    assert client.recv(1) == b""
    assert stray == []


@pytest.mark.parametrize("number", STOPPING)
def test_a_signal_wakes_the_loop_without_delay(make_loop: Callable[..., Reactor], number: int) -> None:
    def once() -> float:
        loop = make_loop(clock=None)
        waits = Waits(loop)

        def send() -> float:
            wait_for(waits.at_rest)
            return seconds_of(lambda: (kill(number), wait_for(left)))

        left = threading.Event()
        sender = Running(send)
        loop.run()
        left.set()
        return float(sender.join())

    assert min(once() for _ in range(3)) <= PROMPT_S


def test_a_second_signal_aborts_at_once(real: Reactor, connect: Any, stray: list[int]) -> None:
    client = connect(listen(real, works))
    client.sendall(b"x\n")
    turn_until(real, lambda: streams(real) and only(real).phase is Phase.WORKING)
    row = only(real)

    def second() -> None:
        if real.draining:
            real.hooks.clear()
            signal.raise_signal(signal.SIGTERM)

    real.hooks.append((second, lambda: 0))
    real.call_soon(signal.raise_signal, signal.SIGINT)
    report = real.run()
    assert [one.id for one in report.aborted] == [row.id]
    assert report.seconds < 5
    with pytest.raises(ConnectionResetError):
        client.recv(1)
    assert stray == []


def test_two_signals_in_one_turn_abort(real: Reactor, connect: Any) -> None:
    client = connect(listen(real, works))
    client.sendall(b"x\n")
    turn_until(real, lambda: streams(real) and only(real).phase is Phase.WORKING)
    for _ in range(2):
        real.call_soon(signal.raise_signal, signal.SIGINT)
    report = real.run()
    assert len(report.aborted) == 1
    assert report.seconds < 5


def test_a_third_signal_is_the_programs_own_if_nothing_heeds_the_second(real: Reactor, stray: list[int]) -> None:
    """A handler holds the loop: what was asked for twice does not happen."""

    def holds() -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGTERM):
            before.append(list(stray))
            signal.raise_signal(number)
        wakeup_fds.append(wakeup_fd())

    before: list[Any] = []
    wakeup_fds: list[int] = []
    own = {number: signal.getsignal(number) for number in STOPPING}
    old_fd = wakeup_fd()
    real.call_soon(holds)
    report = real.run()
    assert before == [[], [], []]
    assert stray == [signal.SIGTERM]
    assert wakeup_fds == [old_fd]
    assert report.seconds < 5
    assert {number: signal.getsignal(number) for number in STOPPING} == own


def test_signals_that_are_heeded_never_are_the_programs(real: Reactor, connect: Any, stray: list[int]) -> None:
    client = connect(listen(real, works))
    client.sendall(b"x\n")
    turn_until(real, lambda: streams(real) and only(real).phase is Phase.WORKING)
    left = [5]

    def again() -> None:
        if left[0]:
            left[0] -= 1
            signal.raise_signal(signal.SIGINT)

    real.hooks.append((again, lambda: 0))  # one in each turn, until the loop is left
    assert len(real.run().aborted) == 1
    assert stray == []


@pytest.mark.parametrize("number", STOPPING)
def test_a_program_whose_handler_is_stuck_can_be_ended(number: int) -> None:
    program = """
        import signal, socket, sys, threading
        from reactor import Reactor, socketserver

        class Stuck(socketserver.StreamRequestHandler):
            def handle(self):
                print("stuck", flush=True)
                self.rfile.readline()

        with Reactor() as loop:
            server = socketserver.TCPServer(("127.0.0.1", 0), Stuck)
            loop.add(server, way="inline")
            client = socket.create_connection(server.server_address)
            loop.run()
        """
    with subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "stuck\n"
            # Two that come together are one; so more may be needed than three.
            ends_by = time.monotonic() + PATIENCE_S
            while process.poll() is None and time.monotonic() < ends_by:
                process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(0.05)
            assert process.returncode not in (None, 0)
        finally:
            process.kill()


def test_handlers_and_wakeup_descriptor_are_put_back(real: Reactor, stray: list[int]) -> None:
    before = {number: signal.getsignal(number) for number in STOPPING}
    inside: list[Any] = []
    real.call_soon(lambda: inside.extend([signal.getsignal(signal.SIGINT), wakeup_fd()]))
    real.call_soon(real.stop)
    near, far = socket.socketpair()
    with near, far:
        near.setblocking(False)
        signal.set_wakeup_fd(near.fileno())
        try:
            real.run()
            assert wakeup_fd() == near.fileno()
        finally:
            signal.set_wakeup_fd(-1)
    assert inside[0] not in before.values()
    assert inside[1] >= 0
    assert {number: signal.getsignal(number) for number in STOPPING} == before
    signal.raise_signal(signal.SIGINT)
    assert stray == [signal.SIGINT]


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()], ids=lambda error: type(error).__name__)
def test_they_are_put_back_when_an_exception_leaves_the_loop(real: Reactor, error: BaseException) -> None:
    def leave() -> None:
        raise error

    real.call_soon(leave)
    with pytest.raises(type(error)):
        real.run()  # the fixture compares


def test_they_are_put_back_once(stray: list[int]) -> None:
    """A forked child gives them back at once; what it installs then is its own."""
    near, far = socket.socketpair()
    with near, far:
        far.setblocking(False)
        with SignalWatch(lambda number: None, -1) as watch:
            watch.restore()
            mine = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
            before = signal.set_wakeup_fd(far.fileno())
        assert [signal.getsignal(number) for number in STOPPING] == [signal.SIG_IGN] * 2
        assert wakeup_fd() == far.fileno()
        signal.set_wakeup_fd(before)
    for number, handler in mine.items():
        signal.signal(number, handler)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_leaves_the_loop_to_its_parent(real: Reactor, connect: Any) -> None:
    """It has the signals of the program, which else could not end it, and no descriptor of the loop."""
    old = [signal.getsignal(number) for number in STOPPING]
    statuses: list[int] = []

    def fork() -> None:
        assert [signal.getsignal(number) for number in STOPPING] != old
        (waker,) = [row for row in real.table if row.kind == "waker"]
        pid = os.fork()
        if not pid:
            real.abandon()
            left = [waker.sock.fileno(), waker.sender.fileno()]
            fine = [signal.getsignal(number) for number in STOPPING] == old and left == [-1, -1] and wakeup_fd() == -1
            os._exit(0 if fine else 1)
        statuses.append(os.waitpid(pid, 0)[1])
        real.call_soon(real.stop)

    client = connect(listen(real, echo))
    real.call_soon(fork)
    real.run()
    assert statuses == [0]
    assert client.recv(1) == b"", "the parent's loop goes on, and drains"


def test_ignored_and_default_handlers_come_back_as_such(real: Reactor) -> None:
    mine = signal.getsignal(signal.SIGTERM)
    for handler in (signal.SIG_IGN, signal.SIG_DFL):
        signal.signal(signal.SIGTERM, handler)
        real.stop()
        real.run()
        assert signal.getsignal(signal.SIGTERM) is handler
    signal.signal(signal.SIGTERM, mine)


def test_off_the_main_thread_nothing_is_installed(real: Reactor, stray: list[int]) -> None:
    before = [signal.getsignal(number) for number in STOPPING], wakeup_fd()
    waits = Waits(real)
    running = Running(real.run)
    wait_for(waits.at_rest)
    assert ([signal.getsignal(number) for number in STOPPING], wakeup_fd()) == before
    signal.raise_signal(signal.SIGINT)
    assert stray == [signal.SIGINT]
    assert running.thread.is_alive()
    real.stop()
    running.join()


def test_handle_signals_false_leaves_them_alone(real: Reactor, stray: list[int]) -> None:
    seen: list[Any] = []
    real.call_soon(lambda: seen.append(signal.getsignal(signal.SIGINT)))
    real.call_soon(signal.raise_signal, signal.SIGINT)
    real.call_soon(real.stop)
    before = signal.getsignal(signal.SIGINT)
    real.run(handle_signals=False)
    assert seen == [before]
    assert stray == [signal.SIGINT]


def test_step_and_run_until_leave_them_alone(real: Reactor) -> None:
    before = [signal.getsignal(number) for number in STOPPING], wakeup_fd()
    seen: list[Any] = []

    async def look() -> None:
        seen.append(([signal.getsignal(number) for number in STOPPING], wakeup_fd()))

    real.spawn(look)
    real.step(0.01)
    real.run_until(look)
    assert seen == [before, before]


@pytest.mark.parametrize("handle_signals", [True, False])
def test_a_programs_own_handler_may_stop_the_loop(real: Reactor, handle_signals: bool) -> None:
    old = signal.signal(signal.SIGUSR1, lambda number, frame: real.stop())
    waits = Waits(real)
    try:
        sender = Running(lambda: (wait_for(waits.at_rest), kill(signal.SIGUSR1)))
        real.run(handle_signals=handle_signals)
        sender.join()
    finally:
        signal.signal(signal.SIGUSR1, old)


def test_a_storm_of_signals_is_survived(real: Reactor) -> None:
    """The socket pair fills up, which warns about nothing and loses nothing."""
    got: list[int] = []
    old = signal.signal(signal.SIGUSR1, lambda number, frame: got.append(number))

    def storm() -> None:
        for _ in range(20_000):
            signal.raise_signal(signal.SIGUSR1)
        real.call_soon(real.stop)

    try:
        real.call_soon(storm)
        real.run()
    finally:
        signal.signal(signal.SIGUSR1, old)
    assert len(got) == 20_000


def test_ctrl_c_in_a_program_of_its_own() -> None:
    """With Python's own handlers: no traceback, and KeyboardInterrupt is back after the loop."""
    printed = python(
        """
        import os, signal
        from reactor import Reactor
        with Reactor() as loop:
            loop.listen("tcp://127.0.0.1:0", print, way="inline")
            loop.call_later(0.01, os.kill, os.getpid(), signal.SIGINT)
            print(loop.run())
        try:
            os.kill(os.getpid(), signal.SIGINT)
            while True: pass
        except KeyboardInterrupt:
            print("KeyboardInterrupt")
        """
    )
    assert printed.startswith("drained in 0.0")
    assert printed.endswith("\nKeyboardInterrupt\n")


def test_a_signal_while_a_handler_holds_the_loop_is_not_lost(real: Reactor, connect: Any) -> None:
    async def holds(stream: Stream) -> None:
        await stream.readline()
        kill(signal.SIGTERM)
        for _ in range(1000):  # bytecode boundaries: the interpreter runs the handler here
            pass
        stream.write(b"done\n")

    client = connect(listen(real, holds, linger_s=0.01))
    client.sendall(b"x\n")
    with contextlib.suppress(ConnectionResetError):
        real.run()
        assert client.recv(10) == b"done\n"


def test_selectors_that_are_interrupted_go_on(selector_class: Callable[[], selectors.BaseSelector] | None) -> None:
    """EINTR: a signal whose handler does nothing neither ends a wait with an error nor ends the loop."""
    old = signal.signal(signal.SIGUSR1, lambda number, frame: None)
    try:
        with Reactor(selector=selector_class() if selector_class else None) as loop:
            waits = Waits(loop)

            def send() -> None:
                wait_for(waits.at_rest)
                for _ in range(20):
                    kill(signal.SIGUSR1)
                loop.stop()

            sender = Running(send)
            loop.run()
            sender.join()
    finally:
        signal.signal(signal.SIGUSR1, old)


@pytest.mark.parametrize("handle_signals", [True, False])
def test_the_wakeup_descriptor_is_set_whoever_handles_the_signals(real: Reactor, handle_signals: bool) -> None:
    """A signal that comes just before the wait is else noticed with the next event only."""
    seen: list[int] = []

    def look() -> None:
        seen.append(signal.set_wakeup_fd(-1))
        signal.set_wakeup_fd(seen[0], warn_on_full_buffer=False)
        real.stop()

    real.call_soon(look)
    real.run(handle_signals=handle_signals)
    assert seen[0] >= 0
