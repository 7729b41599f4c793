"""What a message costs, in counts that no busy machine can change: calls of Python, calls of C, blocks of memory.

Time is for `make bench`. This guard counts the calls that one turn of the loop makes (`sys.setprofile`) for one ready
row and for many, on real sockets; the difference, divided, is the price of one more message, and a whole number. And the
memory: what is held for a message while its batch lasts, and that nothing of it stays.

A ceiling is what the code did when it was last argued over. A change that needs more has to raise it here, where a reader
sees it, and say in its message what the call buys. Below a ceiling is always allowed; lower it then.
"""

from __future__ import annotations

import gc
import select
import socket
import sys
import tracemalloc
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from socketserver import StreamRequestHandler
from types import FrameType
from typing import Any

import pytest

from reactor import Datagram, Lines, Raw, Reactor, Stream
from tests.driving import TURNS, WAIT_S, streams, turn_until

pytestmark = pytest.mark.unwatched("its calls are counted")

MANY = 17  # rows ready at once, at the most
WARM_UP = 12  # turns: caches, and the adaptive interpreter
LINES_AT_ONCE = 16
REQUEST = b"x" * 63 + b"\n"
IGNORED = (sys.setprofile, gc.enable, gc.disable)


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


async def echo_lines(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


async def answer_once(stream: Stream) -> None:
    stream.write(await stream.read_some())


def send_back(packet: Datagram) -> None:
    packet.reply(packet.data)


class FramedEcho(StreamRequestHandler):
    def handle(self) -> None:
        while data := self.request.recv(65536):
            self.request.sendall(data)


class FramedLines(StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


# How to count.

@dataclass
class Calls:
    """The calls of a stretch of code, by the name of what was called."""

    python: Counter[str] = field(default_factory=Counter)
    c: Counter[str] = field(default_factory=Counter)

    def count_turn(self, loop: Reactor) -> None:
        """Count what one turn of the loop calls."""
        gc.disable()  # a collection would call finalizers in here
        before = sys.getprofile()
        sys.setprofile(self._see)
        try:
            loop.turn(1.0)
        finally:
            sys.setprofile(before)
            gc.enable()

    def _see(self, frame: FrameType, event: str, what: Any) -> None:
        if event == "call":
            self.python[frame.f_code.co_qualname] += 1
        elif event == "c_call" and what not in IGNORED:
            self.c[getattr(what, "__qualname__", repr(what))] += 1

    def __sub__(self, other: Calls) -> Calls:
        return Calls(self.python - other.python, self.c - other.c)


class World:
    """A loop, and its clients in the same thread."""

    def __init__(self, stack: ExitStack) -> None:
        self.stack = stack
        self.loop = stack.enter_context(Reactor())
        self.port = 0
        self.clients: list[socket.socket] = []

    def connect(self, count: int) -> None:
        """Connect so many clients, and have their rows accepted."""
        self.clients = [self.stack.enter_context(socket.create_connection(("127.0.0.1", self.port))) for _ in range(count)]
        turn_until(self.loop, lambda: len(streams(self.loop)) == count)

    def exchange(self, count: int, request: bytes, calls: Calls) -> None:
        """So many clients ask, one turn is counted, all replies are there."""
        for sock in self.clients[:count]:
            sock.sendall(request)
        self._until_ready(count)
        calls.count_turn(self.loop)
        for sock in self.clients[:count]:
            sock.settimeout(5)
            assert sock.recv(len(request), socket.MSG_WAITALL) == request, "not answered within the turn"


    def _until_ready(self, count: int) -> None:
        """Wait until so many rows have their bytes: what a client has sent, the kernel may still have on its way."""
        rows = [row.sock for row in streams(self.loop)]
        for _ in range(TURNS):
            if len(select.select(rows, [], [], WAIT_S)[0]) == count:
                return
        raise AssertionError(f"{count} requests did not arrive")


def listening(world: World, handler: Any, scheme: str = "tcp", **how: Any) -> None:
    world.port = world.loop.listen(f"{scheme}://127.0.0.1:0", handler, **how).port


@pytest.fixture
def world() -> Iterator[World]:
    with ExitStack() as stack:
        yield World(stack)


def calls_of_a_row(world: World, request: bytes) -> Calls:
    """What one more ready row costs in a turn; the same in all turns but the first ones."""
    for _ in range(WARM_UP):
        world.exchange(MANY, request, Calls())
    few, many = Calls(), Calls()
    world.exchange(1, request, few)
    world.exchange(MANY, request, many)
    return many - few


@dataclass(frozen=True)
class Ceiling:
    """Calls for each message, by version where it differs."""

    python: float
    c: float

    def holds(self, calls: Calls, messages: int) -> None:
        for kind, counted, ceiling in (("Python", calls.python, self.python), ("C", calls.c, self.c)):
            each = counted.total() / messages
            assert each <= ceiling, (
                f"{each:g} {kind} calls a message, and the ceiling is {ceiling:g}. Save one, or raise the ceiling and "
                f"say in the commit what the call buys. They are:\n{listing(counted, messages)}")


def listing(calls: Counter[str], messages: int) -> str:
    return "\n".join(f"{count / messages:8.2f}  {name}" for name, count in calls.most_common())


# The ceilings.

# 3.12 inlines comprehensions; 3.13 reaches flags and generators by other ways.
SINCE_3_12, SINCE_3_13 = sys.version_info >= (3, 12), sys.version_info >= (3, 13)
TURN_WITH_AN_ECHO = Ceiling(14 if SINCE_3_12 else 15, 16)
TURN_WITH_A_DATAGRAM = Ceiling(15, 15 if SINCE_3_13 else 12) if SINCE_3_12 else Ceiling(16, 12)
THREE_TURNS_OF_A_VISITOR = Ceiling(106 if SINCE_3_12 else 109, 61)
TWO_TURNS_OF_A_QUICK_VISITOR = Ceiling(91 if SINCE_3_12 else 93, 49)
HELD_BYTES = {"coroutine, echo": 405, "coroutine, line": 130, "framed, echo": 80, "framed, line": 10}
MORE = MANY - 1
LINES = LINES_AT_ONCE * MORE
CASES: dict[str, tuple[Callable[[World], None], bytes, int, Ceiling]] = {
    "coroutine, echo": (lambda world: listening(world, echo), REQUEST, MORE, Ceiling(5, 7)),
    "coroutine, line": (lambda world: listening(world, echo_lines), REQUEST * LINES_AT_ONCE, LINES, Ceiling(2.9375, 4)),
    "framed, echo": (lambda world: listening(world, FramedEcho, framing=Raw()), REQUEST, MORE, Ceiling(8, 12)),
    "framed, line": (lambda world: listening(world, FramedLines, framing=Lines()), REQUEST * LINES_AT_ONCE, LINES,
                     Ceiling(4.6875, 6.9375)),
}


# Calls.

@pytest.mark.parametrize("case", CASES)
def test_calls_for_a_message(world: World, case: str) -> None:
    serve, request, messages, ceiling = CASES[case]
    serve(world)
    world.connect(MANY)
    ceiling.holds(calls_of_a_row(world, request), messages)


def test_calls_for_a_turn_with_one_echo(world: World) -> None:
    """So that what a turn costs besides its messages does not grow unseen."""
    listening(world, echo)
    world.connect(1)
    for _ in range(WARM_UP):
        world.exchange(1, REQUEST, Calls())
    calls = Calls()
    world.exchange(1, REQUEST, calls)
    TURN_WITH_AN_ECHO.holds(calls, 1)


def test_calls_for_a_turn_with_one_datagram(world: World) -> None:
    listening(world, send_back, "udp")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(5)
        client.connect(("127.0.0.1", world.port))
        for _ in range(WARM_UP):
            calls = Calls()
            client.send(REQUEST)
            calls.count_turn(world.loop)
            assert client.recv(100) == REQUEST
    TURN_WITH_A_DATAGRAM.holds(calls, 1)


def test_calls_from_accept_to_end(world: World) -> None:
    """Three turns: accept; receive, answer, shut our side; the peer's end, close."""
    listening(world, answer_once)
    for _ in range(WARM_UP):
        calls = Calls()
        visit(world, calls)
    THREE_TURNS_OF_A_VISITOR.holds(calls, 1)


def visit(world: World, calls: Calls) -> None:
    with socket.create_connection(("127.0.0.1", world.port), timeout=5) as client:
        for phase in ("IDLE", "LINGERING"):
            calls.count_turn(world.loop)
            assert [row.phase.name for row in streams(world.loop)] == [phase]
            if phase == "IDLE":
                client.sendall(REQUEST)
        assert client.recv(100) == REQUEST
        assert client.recv(100) == b""
    calls.count_turn(world.loop)
    assert not streams(world.loop)


def test_calls_for_one_who_asks_at_once(world: World, tmp_path: Path) -> None:
    """Two turns: accept, receive, answer, shut our side; the peer's end, close."""
    path = str(tmp_path / "here")  # there what was sent has arrived
    world.loop.listen(f"unix://{path}", answer_once)
    for _ in range(WARM_UP):
        calls = Calls()
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
            client.connect(path)
            client.sendall(REQUEST)
            calls.count_turn(world.loop)
            assert [row.phase.name for row in streams(world.loop)] == ["LINGERING"]
            assert (client.recv(100), client.recv(100)) == (REQUEST, b"")
        calls.count_turn(world.loop)
        assert not streams(world.loop)
    TWO_TURNS_OF_A_QUICK_VISITOR.holds(calls, 1)


# Memory.

@pytest.mark.parametrize("case", CASES)
def test_nothing_stays_of_a_message(world: World, case: str) -> None:
    """200 turns later as many blocks are allocated as before; a dozen of them for the interpreter's own caches."""
    serve, request, _, _ = CASES[case]
    serve(world)
    world.connect(4)
    for _ in range(50):
        world.exchange(4, request, Calls())
    gc.collect()
    before = sys.getallocatedblocks()
    for _ in range(200):
        world.exchange(4, request, Calls())
    gc.collect()
    assert sys.getallocatedblocks() - before <= 12


def peak_bytes(world: World, count: int, request: bytes) -> int:
    """How far a turn with so many ready rows goes above what was allocated before it."""
    for sock in world.clients[:count]:
        sock.sendall(request)
    world._until_ready(count)
    tracemalloc.start()
    try:
        world.loop.turn(1.0)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
        for sock in world.clients[:count]:
            sock.settimeout(5)
            assert sock.recv(len(request), socket.MSG_WAITALL) == request


@pytest.mark.parametrize(("case", "ceiling"), HELD_BYTES.items())
def test_bytes_held_for_a_message_until_its_batch_is_over(world: World, case: str, ceiling: int) -> None:
    if sys.gettrace() is not None:
        pytest.skip("a tracer (coverage) allocates memory of its own")
    serve, request, messages, _ = CASES[case]
    serve(world)
    world.connect(MANY)
    for _ in range(WARM_UP):
        world.exchange(MANY, request, Calls())
    held = (peak_bytes(world, MANY, request) - peak_bytes(world, 1, request)) / messages
    assert held <= ceiling, f"{held:g} bytes a message are held until the end of the batch; the ceiling is {ceiling}"


# The guard itself.

def test_one_call_more_is_too_many_and_is_named() -> None:
    calls = Calls(Counter({"StreamRow.on_ready": 16, "PlainTransport.receive": 16}), Counter({"socket.recv": 16}))
    Ceiling(2, 1).holds(calls, 16)
    calls.python["Stream.surprise"] += 16
    with pytest.raises(AssertionError, match=r"3 Python calls a message, and the ceiling is 2(.|\n)* 1.00  Stream.surprise"):
        Ceiling(2, 1).holds(calls, 16)
