"""Traps of `selectors` that show only in a loop that runs: its lists, and its rounding of short waits."""

import select
import selectors
import sys
from typing import Any

import pytest

from reactor import Reactor, Stream
from tests.driving import listen, receive, turn_until
from tests.running import Waits

MUCH = 8_000_000  # more than the buffers of a socket hold


async def answer_much(stream: Stream) -> None:
    await stream.readline()
    stream.write(b"x" * MUCH)


class Noting(selectors.SelectSelector):
    """A select() that writes down which descriptors are watched for exceptional conditions."""

    def __init__(self) -> None:
        super().__init__()
        self.written = False
        self.lists: list[list[Any]] = []

    def _select(self, readers: Any, writers: Any, exceptional: Any, timeout: float | None = None) -> Any:
        self.written = self.written or bool(writers)
        self.lists.append(list(exceptional))
        return select.select(readers, writers, exceptional, timeout)


@pytest.mark.skipif(sys.platform == "win32", reason="a refused connect() is an exceptional condition on Windows")
def test_select_is_given_no_exceptional_descriptors(connect: Any) -> None:
    """Some runtimes of WebAssembly fail on one."""
    selector = Noting()
    with Reactor(selector=selector) as loop:
        client = connect(listen(loop, answer_much), receive_buffer=8192)
        client.sendall(b"?\n")
        turn_until(loop, lambda: selector.written)
        assert len(receive(loop, client, MUCH)) == MUCH
    assert not any(selector.lists)


def test_short_waits_make_no_spin_and_keep_the_order(make_loop: Any) -> None:
    """Selectors count milliseconds: rounded down, a wait of 0.9 ms would be nine tenths of a millisecond of spinning."""
    loop = make_loop(clock=None)
    called: list[int] = []
    count = 100
    begin = loop.clock.now() + 0.02
    for number in reversed(range(count)):
        loop.timers.add(begin + number * 0.00037, called.append, (number,))
    waits = Waits(loop)
    while len(called) < count:
        loop.step(None)
    assert called == sorted(called)
    assert len(waits) <= count + 5
