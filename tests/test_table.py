"""Rows and their table, with a loop that only takes notes."""

import json
from collections import deque
from typing import Any

import pytest

from reactor import End, Event, Observer, Phase, Row, Table
from reactor.deadlines import Deadlines
from reactor.errors import IllegalTransition
from reactor.limits import DEFAULTS, Limits
from reactor.table import ENDED_ROWS


class Sock:
    """Has a descriptor, and counts how often it was closed."""

    def __init__(self, fd: int = 9, error: OSError | None = None) -> None:
        self.fd, self.closed, self.error = fd, 0, error

    def fileno(self) -> int:
        return self.fd

    def close(self) -> None:
        self.closed += 1
        if self.error is not None:
            raise self.error


class FakeLoop(Observer):
    """The part of a loop that rows see; notes what it is told, as its own observer."""

    def __init__(self, *, observed: bool = False) -> None:
        self.now = 1000.0
        self.table = Table()
        self.dirty: list[Any] = []
        self.again: deque[Any] = deque()
        self.deadlines = Deadlines()
        self.observer = self if observed else None
        self.demultiplexer = self
        self.notes: list[tuple[Any, ...]] = []

    def set(self, row: Row, interest: int) -> None:
        self.notes.append(("interest", row.id, interest, row.sock.closed))

    def row_closed(self, row: Row) -> None:
        self.notes.append(("closed", row.id))

    def on_open(self, row: Row) -> None:
        self.notes.append(("open", row.id))

    def on_phase(self, row: Row, event: str, before: Phase, after: Phase) -> None:
        self.notes.append(("phase", row.id, event, before, after))

    def on_end(self, row: Row, end: End) -> None:
        self.notes.append(("end", row.id, end))


@pytest.fixture
def loop() -> FakeLoop:
    return FakeLoop()


def opened(loop: FakeLoop, phase: Phase = Phase.IDLE, limits: Limits = DEFAULTS, fd: int = 9) -> Row:
    return Row(loop, Sock(fd), "greet", limits, phase, ("127.0.0.1", 50000))


# -- the table --------------------------------------------------------------------------------------------------------


def test_ids_are_never_reused(loop: FakeLoop) -> None:
    ids = []
    for _ in range(5):
        rows = [opened(loop) for _ in range(3)]  # all with one descriptor
        ids += [row.id for row in rows]
        for row in reversed(rows):
            row._gone()
    assert ids == list(range(1, 16))
    assert len(loop.table) == 0


def test_it_is_a_collection_of_rows(loop: FakeLoop) -> None:
    first, second = opened(loop), opened(loop)
    table = loop.table
    assert (len(table), list(table), table[2]) == (2, [first, second], second)
    assert first in table
    assert 1 not in table
    assert opened(FakeLoop()) not in table, "a row of another table with the same id"
    for row in table:  # rows may end while somebody looks at them
        row._gone()
    assert (len(table), list(table)) == (0, [])
    with pytest.raises(KeyError):
        table[1]
    table.remove(first)


def test_connections_are_counted(loop: FakeLoop) -> None:
    class Listening(Row):
        kind = "listener"
        __slots__ = ()

    listener, row = Listening(loop, Sock(), "greet", DEFAULTS, Phase.LISTENING), opened(loop)
    assert (len(loop.table), loop.table.connections) == (2, 1)
    row._gone()
    row._gone()
    listener._gone()
    assert loop.table.connections == 0


def test_the_last_rows_that_ended_badly_are_remembered(loop: FakeLoop) -> None:
    for n in range(3 * ENDED_ROWS):
        row = opened(loop)
        row.finish([End.FINISHED, End.HANDLER_FAILED, End.PEER_CLOSED][n % 3], f"number {n}")
        row._gone()
    ended = loop.table.ended
    assert len(ended) == ENDED_ROWS == 100
    assert [row.detail for row in ended] == [f"number {n}" for n in range(1, 300, 3)]
    for n in range(150):
        row = opened(loop)
        row.abort(f"later {n}")
        row._gone()
    assert [row.detail for row in loop.table.ended] == [f"later {n}" for n in range(50, 150)]
    assert {row.end for row in loop.table.ended} == {End.ABORTED}


def test_a_snapshot_does_not_change_and_json_carries_it(loop: FakeLoop) -> None:
    row = opened(loop)
    loop.now += 2
    [before] = loop.table.snapshot()
    row.advance(Event.BYTES)
    row.pause("user")
    row.bytes_in = 5
    assert (before.phase, before.paused, before.bytes_in, before.age_s) == (Phase.IDLE, (), 0, 2.0)
    after = row.snapshot()
    assert (after.phase, after.paused, after.bytes_in, after.quiet_s) == (Phase.RECEIVING, ("user",), 5, 0.0)
    assert (after.server, after.peer, after.deadline_s, after.need_limit) == ("greet", "127.0.0.1:50000", 30.0, None)
    with pytest.raises(AttributeError):
        after.phase = Phase.IDLE  # type: ignore[misc]
    assert json.loads(json.dumps([after.as_dict()]))[0]["paused"] == ["user"]


def test_it_prints_a_line_for_each_row(loop: FakeLoop) -> None:
    opened(loop)
    opened(loop, Phase.DETACHED, fd=1234)
    heading, *lines = str(loop.table).splitlines()
    assert [line.split()[:6] for line in lines] == [
        ["1", "9", "stream", "greet", "127.0.0.1:50000", "IDLE"],
        ["2", "1234", "stream", "greet", "127.0.0.1:50000", "DETACHED"],
    ]
    assert {line.index("stream") for line in lines} == {heading.index("kind")}
    assert {line.index("9", 4) if "1234" not in line else line.index("1234") + 3 for line in lines} == {
        heading.index("fd") + 1
    }


@pytest.mark.parametrize("phase", Phase)
def test_it_explains_a_row_of_every_phase_in_one_sentence(loop: FakeLoop, phase: Phase) -> None:
    row = opened(loop, phase, Limits(work_s=5))
    loop.now += 1
    sentence = loop.table.explain(row)
    assert sentence == loop.table.explain(row.id)
    assert sentence.startswith(f"{phase} for 1.0 s: ")
    assert "\n" not in sentence
    assert not any(sign in sentence for sign in ("None", "()", "?", "  "))
    assert ("deadline ends it in" in sentence) == (row.deadline_at() is not None)


def test_it_explains_a_row_that_has_ended_but_no_unknown_id(loop: FakeLoop) -> None:
    row = opened(loop)
    row.abort("too slow")
    row.advance(Event.LOST)
    row._gone()
    assert "has ended (ABORTED too slow)" in loop.table.explain(row)
    with pytest.raises(KeyError):
        loop.table.explain(row.id)


# -- the row ----------------------------------------------------------------------------------------------------------


def test_advance_assigns_the_phase_and_when_it_began() -> None:
    loop = FakeLoop(observed=True)
    row = opened(loop)
    loop.now += 5
    row.advance(Event.BYTES)
    assert (row.phase, row.since, row.opened_at) == (Phase.RECEIVING, 1005.0, 1000.0)
    assert loop.notes == [("open", 1), ("phase", 1, "BYTES", "IDLE", "RECEIVING")]


def test_an_illegal_transition_names_the_row_and_changes_nothing() -> None:
    loop = FakeLoop(observed=True)
    row = opened(loop)
    loop.now += 5
    with pytest.raises(IllegalTransition, match=r"FLUSHED .* phase IDLE of row 1 \(stream of greet, 127.0.0.1:50000\)"):
        row.advance(Event.FLUSHED)
    assert (row.phase, row.since, loop.notes) == (Phase.IDLE, 1000.0, [("open", 1)])


@pytest.mark.parametrize(
    ("phase", "limit"),
    [
        (Phase.IDLE, 1),
        (Phase.RECEIVING, 2),
        (Phase.WORKING, 3),
        (Phase.FLUSHING, 4),
        (Phase.LINGERING, 5),
        (Phase.DETACHED, None),
        (Phase.LISTENING, None),
        (Phase.PAUSED, None),
        (Phase.CLOSED, None),
    ],
)
def test_each_phase_has_its_own_deadline(loop: FakeLoop, phase: Phase, limit: float | None) -> None:
    row = opened(loop, phase, Limits(idle_s=1, request_s=2, work_s=3, write_stall_s=4, linger_s=5))
    assert row.deadline_at() == (None if limit is None else 1000 + limit)
    off = opened(loop, phase, Limits(idle_s=None, request_s=None, work_s=None, write_stall_s=None))
    assert off.deadline_at() == (1002 if phase is Phase.LINGERING else None)


def test_the_first_end_stands(loop: FakeLoop) -> None:
    row = opened(loop)
    row.close()
    row.abort("too late")
    assert (row.end, row.detail, row.phase) == (End.FINISHED, "closed by this program", Phase.IDLE)
    assert row.sock.closed == 0, "only the engine closes"
    assert loop.dirty == [row]


def test_a_row_is_marked_once_a_batch(loop: FakeLoop) -> None:
    row = opened(loop)
    row.mark()
    row.mark()
    assert loop.dirty == [row]
    row.marked = False
    row.mark()
    assert loop.dirty == [row, row]


def test_it_is_resumed_when_no_reason_is_left(loop: FakeLoop) -> None:
    row = opened(loop)
    row.resume("user")
    assert (row.paused, loop.dirty) == (frozenset(), [])
    row.pause("user")
    row.pause("outbox")
    row.pause("user")
    row.resume("user")
    row.resume("user")
    assert row.paused == {"outbox"}
    row.resume("outbox")
    assert (row.paused, row.pause_reasons) == (frozenset(), None)


def test_it_leaves_in_order_and_once() -> None:
    loop = FakeLoop(observed=True)
    row = opened(loop)
    loop.deadlines.guard(row)
    row.finish(End.DRAINED)
    row._gone()
    assert loop.notes == [("open", 1), ("interest", 1, 0, 0), ("closed", 1), ("end", 1, End.DRAINED)]
    assert (row.sock.closed, row.fd, row.guarded_at, len(loop.table)) == (1, -1, None, 0)
    assert list(loop.deadlines.due(1e9)) == []


def test_an_error_of_close_is_no_error_of_the_row(loop: FakeLoop) -> None:
    row = Row(loop, Sock(error=ConnectionResetError()), "greet", DEFAULTS, Phase.IDLE)
    row._gone()
    assert (row.sock.closed, row.fd, len(loop.table)) == (1, -1, 0)


def test_how_it_reads_in_a_log(loop: FakeLoop) -> None:
    assert repr(opened(loop)) == "<row 1 (stream of greet, 127.0.0.1:50000) IDLE>"
    assert str(Row(loop, Sock(), "greet", DEFAULTS, Phase.LISTENING)) == "row 2 (stream of greet)"
    evil = Row(loop, Sock(), "greet", DEFAULTS, Phase.IDLE, "/tmp/a\nrow 7 ended")
    assert str(evil).isprintable()


def test_a_row_must_say_what_to_do_when_it_is_ready(loop: FakeLoop) -> None:
    row = opened(loop)
    with pytest.raises(NotImplementedError):
        row.on_ready(1)
    row.on_again()
    row.settle()
    row.expire()
    assert (row.need, row.inbox_bytes, row.outbox_bytes, row.waiting_at) == (None, 0, 0, None)


def test_rows_have_no_dict() -> None:
    assert not hasattr(opened(FakeLoop()), "__dict__")
