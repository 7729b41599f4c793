"""Every cell of the table of docs/ways.md is tried out: a question is asked of a loop that runs a handler in that way.

A probe gets the cell, and fails if it is not so. Both handlers here do as they are told, line by line; what blocks, blocks
in a pipe whose other end the test has.
"""

import contextlib
import gc
import os
import re
import select
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, Lines, ManualClock, MissingExtraError, Reactor
from reactor.socketserver import StreamRequestHandler
from tests.running import PATIENCE_S, Running

PAGE = (Path(__file__).parents[1] / "docs" / "ways.md").read_text()
ROWS = [[cell.strip() for cell in row.split("|")] for row in re.findall(r"^\|(.*)\|$", PAGE, re.MULTILINE)]
WAYS = ROWS[0][1:]
TABLE = {row[0]: dict(zip(WAYS, row[1:], strict=True)) for row in ROWS[2:]}

# For how long nothing must come (s): what should not come would be here at once.
SILENCE_S = 0.05
# More than two sockets and the outbox of a row above its high mark hold.
MUCH = b"x" * (12 << 20)

PIPES: dict[str, tuple[int, int]] = {}
SHARED: dict[str, int] = {}


def answer(handler: Any, line: bytes, told: int) -> bytes:
    """Do as the line says."""
    match line:
        case b"count\n":
            return b"%d\n" % told
        case b"sleep\n":
            os.write(PIPES["asleep"][1], b"!")
            os.read(PIPES["wake"][0], 1)
        case b"much\n":
            return MUCH
        case b"socket?\n":
            return b"yes\n" if isinstance(handler.request, socket.socket) else b"no\n"
        case b"nodelay?\n":
            sock = getattr(handler.request, "sock", handler.request)
            return b"yes\n" if sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) else b"no\n"
        case b"child\n":
            handler.wfile.write(b"one\n")
            subprocess.run(["echo", "two"], stdout=handler.request.fileno(), check=True)
            return b"three\n"
        case b"share\n":
            SHARED["here"] = SHARED.get("here", 0) + 1
            return b"%d\n" % SHARED["here"]
    return line.upper()


class Obeys(StreamRequestHandler):
    """An ordinary handler."""

    def handle(self) -> None:
        told = 0
        while line := self.rfile.readline():
            told += 1
            self.wfile.write(answer(self, line, told))


class AsyncObeys(AsyncStreamRequestHandler):
    """The same as a coroutine."""

    async def handle(self) -> None:
        told = 0
        while line := await self.rfile.readline():
            told += 1
            self.wfile.write(answer(self, line, told))


class Greets(Obeys):
    """One that speaks first."""

    def handle(self) -> None:
        self.wfile.write(b"welcome\n")
        super().handle()


class AsyncGreets(AsyncObeys):
    """The same as a coroutine."""

    async def handle(self) -> None:
        self.wfile.write(b"welcome\n")
        await super().handle()


class World:
    """A loop with one listener, whose clock stands still, in a thread of its own.

    Args:
        way: how its handler runs.
        stack: closes it all.
    """

    def __init__(self, way: str, stack: ExitStack) -> None:
        self.way = way
        self.clock = ManualClock()
        self.loop = stack.enter_context(Reactor(clock=self.clock))
        self._running: Running | None = None
        stack.callback(self._end)
        self._clients = stack.enter_context(ExitStack())

    def listen(self, greets: bool = False, **options: Any) -> None:
        """Listen, with the handler that fits the way."""
        kinds: list[type] = [Greets, AsyncGreets] if greets else [Obeys, AsyncObeys]
        options = options or {"way": self.way, "framing": Lines() if self.way == "framed" else None}
        self.listener = self.loop.listen("tcp://127.0.0.1:0", kinds[self.way == "coroutine"], **options)

    def run(self) -> None:
        """Run the loop."""
        self._running = Running(lambda: self.loop.run(handle_signals=False))

    def _end(self) -> None:
        self._clients.close()  # so that handlers see the end of their input
        if self._running is not None:
            self.loop.stop(drain_s=0)
            self._running.join()

    def client(self) -> socket.socket:
        """Return a client that is connected."""
        client = self._clients.enter_context(socket.create_connection(self.listener.address))
        self._clients.callback(hang_up, client)
        client.settimeout(PATIENCE_S)
        return client

    def rows(self) -> list[Any]:
        """Return the connections, after a turn that began later than this call."""
        self.loop.snapshot(timeout_s=PATIENCE_S)
        return [row for row in self.loop.snapshot(timeout_s=PATIENCE_S) if row.kind == "stream"]

    def until_rows(self, wanted: Callable[[list[Any]], object]) -> list[Any]:
        """Wait until the connections are as wanted."""
        while not wanted(rows := self.rows()):
            pass
        return rows


def hang_up(client: socket.socket) -> None:
    """Close; shut it first, for forked children have a copy of it."""
    with contextlib.suppress(OSError):
        client.shutdown(socket.SHUT_RDWR)
    client.close()


def ask(client: socket.socket, words: bytes) -> bytes:
    """Send a line and return the line that answers it."""
    client.sendall(words + b"\n")
    return hear(client)


def hear(client: socket.socket) -> bytes:
    """Return the next line."""
    line = b""
    while not line.endswith(b"\n"):
        data = client.recv(1)
        assert data, f"the end, behind {line!r}"
        line += data
    return line


def is_silent(client: socket.socket) -> bool:
    """Does nothing come?"""
    return not select.select([client], [], [], SILENCE_S)[0]


def is_answered(client: socket.socket, claim: str) -> bool:
    """Is there something to hear, though somebody may hold the loop? Wait long only if the page says that nobody does."""
    return bool(select.select([client], [], [], PATIENCE_S if claim == "no" else SILENCE_S)[0])


def demand(claim: str, truth: bool) -> None:
    """Fail unless the cell says what is true."""
    assert claim == ("yes" if truth else "no")


# -- the probes: one for each row of the table ---------------------------------------------------------------------------


def ordinary(world: World, claim: str) -> None:
    options: dict[str, Any] = {"framing": Lines()} if world.way == "framed" else {}
    try:
        world.listener = world.loop.listen("tcp://127.0.0.1:0", Obeys, way=world.way, **options)  # type: ignore[arg-type]
    except ValueError:
        demand(claim, False)
        return
    world.run()
    demand(claim, ask(world.client(), b"hello") == b"HELLO\n")


def speaks_first(world: World, claim: str) -> None:
    world.listen(greets=True)
    world.run()
    client = world.client()
    if claim == "no":
        (row,) = world.until_rows(bool)
        demand(claim, not (is_silent(client) and row.phase == "IDLE"))
        assert ask(client, b"hello") == b"welcome\n"  # it comes, and late
    else:
        demand(claim, hear(client) == b"welcome\n")


def keeps_locals(world: World, claim: str) -> None:
    world.listen()
    world.run()
    client = world.client()
    assert ask(client, b"count") == b"1\n"
    demand(claim, ask(client, b"count") == b"2\n")


def client_holds(world: World, claim: str) -> None:
    world.listen()
    world.run()
    silent, other = world.client(), world.client()
    other.sendall(b"hello\n")
    demand(claim, not is_answered(other, claim))
    assert ask(silent, b"me too") == b"ME TOO\n"
    silent.sendall(b"much\n")  # and now it does not read
    other.sendall(b"hello\n")
    if claim == "no":
        assert hear(other) == b"HELLO\n"
    demand(claim, not is_answered(other, claim))
    hang_up(silent)
    assert hear(other) == b"HELLO\n"


def call_holds(world: World, claim: str) -> None:
    world.listen()
    world.run()
    sleeper = world.client()
    sleeper.sendall(b"sleep\n")
    assert os.read(PIPES["asleep"][0], 1)
    other = world.client()
    other.sendall(b"hello\n")
    try:
        demand(claim, not is_answered(other, claim))
    finally:
        os.write(PIPES["wake"][1], b"!")
    assert hear(sleeper) == b"SLEEP\n"
    hang_up(sleeper)
    assert hear(other) == b"HELLO\n"


def tells(words: bytes) -> Callable[[World, str], None]:
    """Return a probe that asks the handler itself."""

    def probe(world: World, claim: str) -> None:
        world.listen()
        world.run()
        assert ask(world.client(), words) == claim.encode() + b"\n"

    return probe


def serves_child(world: World, claim: str) -> None:
    world.listen()
    world.run()
    client = world.client()
    lines = [ask(client, b"child"), hear(client), hear(client)]
    demand(claim, lines == [b"one\n", b"two\n", b"three\n"])


def limits_apply(world: World, claim: str) -> None:
    world.listen()
    world.run()
    idle, client = world.client(), world.client()
    if claim == "no":  # inline, the second waits for the first
        hang_up(client)
        assert ask(idle, b"hello") == b"HELLO\n"
    else:
        client.sendall(b"half a li")
        world.until_rows(lambda rows: [row.phase for row in rows] == ["IDLE", "RECEIVING"])
        world.clock.advance(31)
        world.loop.call_soon(int)
        demand(claim, client.recv(100) == b"")
        assert ask(idle, b"hello") == b"HELLO\n"
    world.clock.advance(1000)
    world.loop.call_soon(int)
    if world.way != "inline":  # which holds the loop
        world.rows()
    idle.sendall(b"still here\n" if claim == "no" else b"")
    demand(claim, idle.recv(100) == b"")


def drain_ends(world: World, claim: str) -> None:
    world.listen()
    world.run()
    client = world.client()
    assert ask(client, b"hello") == b"HELLO\n"
    world.loop.stop(drain_s=1000)
    if world.way in ("thread", "fork"):
        while "listener" in [row.kind for row in world.loop.snapshot(timeout_s=PATIENCE_S)]:
            pass  # the drain has not begun
    if claim == "no":
        assert ask(client, b"still here") == b"STILL HERE\n"
    else:
        demand(claim, client.recv(100) == b"")


def table_knows(world: World, claim: str) -> None:
    world.listen()
    world.run()
    client = world.client()
    client.sendall(b"half")
    if claim == "yes":
        (row,) = world.until_rows(lambda rows: rows and rows[0].phase == "RECEIVING")
        demand(claim, row.inbox_bytes == 4 and "4 B, until" in str(world.loop.table))
    elif world.way == "inline":
        with pytest.raises(TimeoutError):  # the loop answers nobody now
            world.loop.snapshot(timeout_s=SILENCE_S)
    else:
        (row,) = world.until_rows(lambda rows: rows and rows[0].phase in ("RECEIVING", "DETACHED"))
        demand(claim, row.inbox_bytes == 4)


def shares(world: World, claim: str) -> None:
    world.listen()
    world.run()
    first = world.client()
    assert ask(first, b"share") == b"1\n"
    hang_up(first)
    demand(claim, ask(world.client(), b"share") == b"2\n")


def costs(world: World, claim: str) -> None:
    if claim == "everybody's time":
        assert TABLE[HOLDS][world.way] == "yes"
        return
    world.listen()
    world.run()
    world.rows()
    threads, greenlets = threading.active_count(), count_of_greenlets()
    silent = [world.client() for _ in range(3)]
    rows = world.until_rows(lambda rows: len(rows) == len(silent))
    children = [row for row in rows if row.way == "fork" and row.phase == "DETACHED"]
    extra = {
        " and a thread": threading.active_count() - threads,
        " and a greenlet": count_of_greenlets() - greenlets,
        " and a process": len({row.id for row in children}),
    }
    assert claim == "a row" + "".join(words for words, count in extra.items() if count == 3)
    assert set(extra.values()) <= {0, 3}


def count_of_greenlets() -> int:
    """Return how many handlers' greenlets there are."""
    module = sys.modules.get("reactor.green_rows")
    return sum(type(thing) is module.Handler for thing in gc.get_objects()) if module is not None else 0


def needs(world: World, claim: str) -> None:
    missing = []
    if not can_serve(world, {}, with_framing=False):
        missing.append("a framing")
    if not can_serve(world, {"modules": {"greenlet": None}}):
        missing.append("the package greenlet")
    if not can_serve(world, {"Thread.start": no_more}):
        missing.append("threads")
    if hasattr(os, "fork") and not can_serve(world, {"fork": no_more}):
        missing.append("fork")
    assert claim == (", ".join(missing) or "nothing")


def no_more(*args: Any) -> None:
    """Stand in for what a platform does not have."""
    raise RuntimeError("this platform has none")


def can_serve(world: World, lacks: dict[str, Any], with_framing: bool = True) -> bool:
    """Is a client answered on a platform that lacks something? The loop runs in this thread."""
    with pytest.MonkeyPatch.context() as patch, Reactor() as loop, ExitStack() as stack:
        for name, value in lacks.get("modules", {}).items():
            patch.setitem(sys.modules, name, value)
        if "Thread.start" in lacks:
            patch.setattr(threading.Thread, "start", lacks["Thread.start"])
        if "fork" in lacks:
            patch.setattr(os, "fork", lacks["fork"])
        handler = AsyncObeys if world.way == "coroutine" else Obeys
        framing = Lines() if world.way == "framed" and with_framing else None
        try:
            way: Any = world.way
            listener = loop.listen("tcp://127.0.0.1:0", handler, way=way, framing=framing)
        except (ValueError, MissingExtraError):
            return False
        client = stack.enter_context(socket.create_connection(listener.address))
        client.sendall(b"hello\n")
        client.shutdown(socket.SHUT_WR)
        while not select.select([client], [], [], 0)[0]:
            loop.step(0.01)
        return client.recv(100) == b"HELLO\n"


HOLDS = "Does a client that is silent, or does not read, hold the others?"
PROBES: dict[str, Callable[[World, str], None]] = {
    "Does an ordinary `def handle` run in it, unchanged?": ordinary,
    "What does it need?": needs,
    "What does a silent client cost?": costs,
    HOLDS: client_holds,
    "Does a blocking call hold the others: `time.sleep`, a database?": call_holds,
    "Can the server speak first?": speaks_first,
    "Do locals live as long as the connection?": keeps_locals,
    "Is `self.request` a real socket?": tells(b"socket?"),
    "Can its descriptor be given to a child process?": serves_child,
    "Do `idle_s` and `request_s` end a silent client?": limits_apply,
    "Does a drain end an idle client at once?": drain_ends,
    "Does the table say what a client has sent so far?": table_knows,
    "Is `TCP_NODELAY` set?": tells(b"nodelay?"),
    "Can handlers share a dict?": shares,
}


@pytest.fixture
def pipes() -> Iterator[None]:
    """Give the pipes that handlers block in, and no memory of other tests."""
    SHARED.clear()
    for name in ("asleep", "wake"):
        PIPES[name] = os.pipe()
    yield
    for ends in PIPES.values():
        for fd in ends:
            os.close(fd)
    PIPES.clear()


@pytest.mark.usefixtures("pipes")
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("question", PROBES)
def test_a_cell_is_true(question: str, way: str) -> None:
    if way == "fork" and not hasattr(os, "fork"):
        pytest.skip("needs fork")
    if way == "greenlet":
        pytest.importorskip("greenlet")
    with ExitStack() as stack:
        PROBES[question](World(way, stack), TABLE[question][way])


def test_the_table_has_these_questions_and_all_ways() -> None:
    assert list(TABLE) == list(PROBES)
    assert WAYS == ["coroutine", "framed", "greenlet", "inline", "thread", "fork"]


def test_how_to_choose_fits_a_screen() -> None:
    assert PAGE.partition("## How to choose\n")[2].strip().count("\n") < 20
