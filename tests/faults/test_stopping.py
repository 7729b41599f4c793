"""Clocks that jump, and a thousand stops of every kind."""

import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from reactor import Reactor
from tests.running import PROMPT_S, Waits, python, wait_for

YEAR_S = 365 * 86400.0
TIMES = 1000


@pytest.mark.parametrize("jump_s", [YEAR_S, -YEAR_S], ids=["forward", "back"])
def test_the_clock_on_the_wall_may_jump(jump_s: float) -> None:
    """twisted#2424, tornado#2035: deadlines and timers that were set by it came a year early, or never."""
    printed = python(
        """
        import sys, time
        jump_s = 0
        wall, wall_ns = time.time, time.time_ns
        time.time = lambda: wall() + jump_s  # before anybody can keep the function itself
        time.time_ns = lambda: wall_ns() + int(jump_s * 1e9)

        import socket
        from reactor import Reactor

        async def echo(stream):
            while line := await stream.readline():
                stream.write(line)

        def ask(text):
            client.sendall(text)
            loop.step(1)
            print(client.recv(10))

        called = []
        with Reactor() as loop, socket.socket() as client:
            client.settimeout(5)
            client.connect(loop.listen("tcp://127.0.0.1:0", echo).address)
            while not loop.table.connections:
                loop.step(1)
            ask(b"before\\n")
            loop.call_later(60, called.append, "a minute")
            loop.call_later(0.02, called.append, "20 ms")
            jump_s = float(sys.argv[1])
            loop.call_later(0.02, called.append, "20 ms more")
            for _ in range(100):
                if len(called) < 2:
                    loop.step(0.1)
            ask(b"after\\n")
            (row,) = (row for row in loop.table if row.kind == "stream")
            print(called, 70 < row.snapshot().deadline_s <= 75)
        """,
        str(jump_s),
    )
    assert printed.splitlines() == ["b'before\\n'", "b'after\\n'", "['20 ms', '20 ms more'] True"]


class Stops:
    """One loop that is run and stopped again and again; each stop is timed from when it is asked for."""

    def __init__(self, loop: Reactor) -> None:
        self.loop = loop
        self.began = 0.0
        self.at_rest = Waits(loop).at_rest

    def stop(self) -> None:
        self.began = time.monotonic()
        self.loop.stop()

    def run(self) -> float:
        self.loop.run(handle_signals=False)
        return time.monotonic() - self.began

    def by_thread(self, ask_for_it: Callable[[], None], number: int) -> float:
        """Half of them when the loop waits, the others whenever the thread comes to it."""

        def stopper() -> None:
            if number % 2:
                wait_for(self.at_rest)
            ask_for_it()

        self.at_rest.clear()
        thread = threading.Thread(target=stopper)
        thread.start()
        took = self.run()
        thread.join()
        return took

    def once(self, how: str, number: int) -> float:
        if how == "thread":
            return self.by_thread(self.stop, number)
        if how == "signal":  # to the other thread, so that it does not even interrupt the wait of this one
            return self.by_thread(lambda: signal.pthread_kill(threading.get_ident(), signal.SIGUSR1), number)
        if how == "handler":
            listener = self.loop.listen("udp://127.0.0.1:0", lambda packet: self.stop())
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.sendto(b"stop", listener.address)
            return self.run()
        self.stop()  # before the start
        if how == "twice":
            self.loop.stop()
        return self.run()


@pytest.fixture
def stops() -> Iterator[Stops]:
    """Give a `Stops` on the reactor's own selector, to which SIGUSR1 is a stop."""
    with Reactor() as loop:
        made = Stops(loop)
        old = signal.signal(signal.SIGUSR1, lambda number, frame: made.stop())
        try:
            yield made
        finally:
            signal.signal(signal.SIGUSR1, old)


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="needs POSIX signals")
@pytest.mark.parametrize("how", ["thread", "signal", "handler", "before", "twice"])
def test_a_thousand_stops_are_prompt(stops: Stops, how: str) -> None:
    """A stop that falls between two steps of the loop and is lost would hang; a polling loop would take 0.25 s each."""
    took = sorted(stops.once(how, number) for number in range(TIMES))
    assert took[-TIMES // 100] <= PROMPT_S  # the last hundredth belongs to the machine, which has other things to do


def test_a_thousand_stops_of_closed_loops() -> None:
    for _ in range(TIMES):
        loop = Reactor()
        loop.close()
        loop.stop()
        loop.stop()
        with pytest.raises(RuntimeError, match="closed"):
            loop.run()
