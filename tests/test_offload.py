"""What leaves the loop: the gate of serve_forever and shutdown, questions from other threads, children."""

import os
import signal
import threading
from typing import Any

import pytest

from reactor import Reactor
from reactor.offload import Gate, ask, in_child, start_thread, thread_id
from tests.running import PATIENCE_S, PROMPT_S, Running, seconds_of, wait_for

# -- the gate ---------------------------------------------------------------------------------------------------------


class Served:
    """A serving block in a thread of its own, which ends when it is told to."""

    def __init__(self, gate: Gate) -> None:
        self.inside, self.told = threading.Event(), threading.Event()
        self.may_leave = threading.Event()
        self.may_leave.set()
        self.gate = gate
        self.running = Running(self._serve)

    def _serve(self) -> bool:
        with self.gate.serving(self.told.set):
            if self.gate.stop_requested:
                return False
            self.inside.set()
            wait_for(self.told)
            wait_for(self.may_leave)
        return True


def test_shut_waits_until_the_block_is_left() -> None:
    gate = Gate()
    served = Served(gate)
    wait_for(served.inside)
    served.may_leave.clear()
    shutting = Running(gate.shut)
    wait_for(served.told)
    shutting.thread.join(0.05)
    assert shutting.thread.is_alive()
    served.may_leave.set()
    shutting.join()
    assert served.running.join() is True
    assert not gate.stop_requested


def test_shut_inside_of_the_block_does_not_wait_for_itself() -> None:
    gate = Gate()
    told: list[bool] = []
    with gate.serving(lambda: told.append(True)):
        gate.shut()
        gate.shut()
        assert gate.stop_requested
    assert told == [True, True]
    assert not gate.stop_requested


def test_a_signal_handler_may_shut_while_the_gate_is_being_passed() -> None:
    gate = Gate()

    def interrupted() -> None:
        with gate._lock:
            gate.shut()

    Running(interrupted).join()
    assert gate.stop_requested


def test_a_stop_before_the_start_is_kept_for_one_block() -> None:
    gate = Gate()
    gate.shut()
    gate.shut()
    assert Served(gate).running.join() is False
    again = Served(gate)
    wait_for(again.inside)
    gate.shut()
    assert again.running.join() is True


def test_many_threads_may_shut_at_once() -> None:
    gate = Gate()
    for _ in range(20):
        served = Served(gate)
        wait_for(served.inside)
        shutting = [Running(gate.shut) for _ in range(5)]
        for one in shutting:
            one.join()
        served.running.join()
        if gate.stop_requested:  # one of them came when the block had been left: it is kept for the next
            with gate.serving(lambda: None):
                pass


def test_a_block_that_raises_lets_those_go_who_wait() -> None:
    gate = Gate()
    entered, leave = threading.Event(), threading.Event()

    def serve() -> None:
        with gate.serving(leave.set):
            entered.set()
            wait_for(leave)
            raise ValueError("a handler fails")

    serving = Running(serve)
    wait_for(entered)
    gate.shut()
    with pytest.raises(ValueError, match="fails"):
        serving.join()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_shut_in_a_forked_child_does_not_wait_for_its_parent() -> None:
    gate = Gate()
    served = Served(gate)  # by a thread that does not exist in the child
    wait_for(served.inside)
    pid = os.fork()
    if not pid:
        signal.alarm(int(PATIENCE_S))
        gate.shut()
        os._exit(0)
    assert os.waitpid(pid, 0)[1] == 0
    assert not gate.stop_requested
    gate.shut()
    served.running.join()


# -- threads and questions ----------------------------------------------------------------------------------------------


def test_threads_are_started_as_asked() -> None:
    seen: list[tuple[Any, ...]] = []
    for daemon in (True, False):
        thread = start_thread(lambda *args: seen.append((*args, thread_id())), (1, daemon), daemon=daemon)
        thread.join(PATIENCE_S)
        assert thread.daemon is daemon
        assert seen[-1] == (1, daemon, thread.ident)


def test_a_question_is_answered_by_the_thread_it_is_posted_to() -> None:
    with Reactor() as loop:
        running = Running(loop.run)
        assert ask(loop.call_soon, thread_id, PATIENCE_S) == running.thread.ident
        loop.stop()
        running.join()


def test_a_question_that_nobody_answers_times_out() -> None:
    with pytest.raises(TimeoutError, match=r"did not answer within 0.01 s: a handler holds it, or nobody runs it"):
        ask(lambda question: None, thread_id, 0.01)


def test_a_question_that_fails_is_not_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    def fails() -> None:
        raise KeyError("no such row")

    with Reactor() as loop:
        running = Running(loop.run)
        try:
            with pytest.raises(KeyError):
                ask(loop.call_soon, fails, 1.0)
        finally:
            loop.stop()
            running.join()


# -- children ---------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_in_a_child_the_loop_is_closed_and_says_so() -> None:
    with Reactor() as loop:
        loop.step(0.001)  # with a waker
        pid = os.fork()
        if not pid:
            status = 1
            try:
                in_child(loop, None)
                loop.stop()
                loop.call_soon(print)
                loop.close()
                try:
                    loop.step()
                except RuntimeError:
                    status = 0
            finally:
                os._exit(status)
        assert os.waitpid(pid, 0)[1] == 0
        loop.call_soon(loop.stop)
        assert seconds_of(loop.run) <= PROMPT_S
