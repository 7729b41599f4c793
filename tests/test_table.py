"""Rows and their table, with a loop that only takes notes."""

import json
from collections import deque
from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from reactor import End, Event, Need, Observer, Phase, Row, Table
from reactor.deadlines import Deadlines
from reactor.errors import IllegalTransition
from reactor.limits import DEFAULTS, Limits
from reactor.phases import GOOD_ENDS, RULES
from reactor.table import ENDED_ROWS
from tests.properties import tries


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


@pytest.mark.parametrize(("need", "limit"), [(Need("more", limit=7), 7), (Need("more"), 65536), (None, None)])
def test_a_snapshot_says_how_much_is_read_of_what_is_needed(loop: FakeLoop, need: Need | None, limit: int | None) -> None:
    class Needy(Row):
        __slots__ = ()

        @property
        def need(self) -> Need | None:
            return need

    snapshot = Needy(loop, Sock(), "greet", DEFAULTS, Phase.RECEIVING).snapshot()
    assert (snapshot.need, snapshot.need_limit) == ("" if need is None else "more", limit)


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


def test_a_row_that_cannot_be_watched_leaves_at_once() -> None:
    class Refuses(FakeLoop):
        def set(self, row: Row, interest: int) -> None:
            raise OSError(28, "No space left on device")

    for observed in (False, True):
        loop = Refuses(observed=observed)
        row = opened(loop)
        with pytest.raises(OSError, match="No space left"):
            row.watch_or_leave()
        assert len(loop.table) == 0
        assert row.sock.closed == 0, "whoever made it closes it"
        assert loop.notes == ([("open", 1), ("end", 1, End.ABORTED)] if observed else [])


def test_an_expelled_row_is_closed_in_good_order() -> None:
    loop = FakeLoop(observed=True)
    row = opened(loop)
    row.finish(End.FINISHED, "closed by this program")
    row.expel("settle failed")
    assert (row.phase, row.end, row.detail) == (Phase.CLOSED, End.ABORTED, "settle failed")
    assert loop.notes[1:] == [
        ("phase", 1, Event.LOST, Phase.IDLE, Phase.CLOSED), ("interest", 1, 0, 0), ("closed", 1), ("end", 1, End.ABORTED)
    ]  # fmt: skip
    assert (row.sock.closed, row.fd, len(loop.table)) == (1, -1, 0)
    row.expel("once more")
    assert (row.sock.closed, len(loop.notes)) == (1, 5)


def test_a_row_is_expelled_between_its_end_and_its_close(loop: FakeLoop) -> None:
    row = opened(loop)
    row.advance(Event.LOST)
    row.expel("settle failed")
    assert (row.phase, row.fd, row.sock.closed, len(loop.table)) == (Phase.CLOSED, -1, 1, 0)


@pytest.mark.parametrize("at", ["set", "row_closed", "on_phase"])
def test_a_row_that_cannot_even_be_closed_in_good_order_is_gone(at: str, caplog: pytest.LogCaptureFixture) -> None:
    """A mistake of the engine, or of who stands in for a part of it: one log line, and no row that nobody can end."""

    def fail(*args: object) -> None:
        raise ValueError(at)

    loop = FakeLoop(observed=True)
    row = opened(loop)
    setattr(loop, at, fail)
    row.expel("settle failed")
    assert (row.phase, row.fd, row.interest, len(loop.table)) == (Phase.CLOSED, -1, 0, 0)
    assert row.sock.closed > 0
    (record,) = caplog.records
    assert "row 1 (stream of greet, 127.0.0.1:50000) could not be closed in good order" in record.getMessage()
    assert record.exc_info is not None


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


# -- any walk ---------------------------------------------------------------------------------------------------------


class Walk(RuleBasedStateMachine):
    """Rows that meet any event at any time, beside what the table of phases says of each."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = FakeLoop(observed=True)
        self.rows: list[Row] = []
        self.phases: list[Phase] = []
        self.reasons: list[set[str]] = []
        self.gone: list[Row] = []
        self.open()

    @rule(phase=st.sampled_from([Phase.IDLE, Phase.LISTENING]))
    def open(self, phase: Phase = Phase.IDLE) -> None:
        self.rows.append(opened(self.loop, phase))
        self.phases.append(phase)
        self.reasons.append(set())

    def pick(self, data: st.DataObject) -> int:
        return data.draw(st.integers(0, len(self.rows) - 1))

    @rule(data=st.data(), event=st.sampled_from(Event), after_s=st.integers(0, 9))
    def meet(self, data: st.DataObject, event: Event, after_s: int) -> None:
        n = self.pick(data)
        row, before, noted = self.rows[n], self.phases[n], len(self.loop.notes)
        self.loop.now += after_s
        since = row.since
        if event in RULES[before].exits:
            row.advance(event)
            self.phases[n] = RULES[before].exits[event]
            assert row.since == self.loop.now
            assert self.loop.notes[noted:] == [("phase", row.id, event, before, row.phase)]
        else:
            with pytest.raises(IllegalTransition, match=f"event {event} is not legal in phase {before} of row {row.id} "):
                row.advance(event)
            assert (row.since, len(self.loop.notes)) == (since, noted)

    @rule(data=st.data(), event=st.sampled_from(Event))
    def meet_what_is_legal(self, data: st.DataObject, event: Event) -> None:
        """Most events are illegal in most phases: walk on."""
        n = self.pick(data)
        exits = sorted(RULES[self.phases[n]].exits)
        if exits:
            self.meet(data, exits[list(Event).index(event) % len(exits)], 1)

    @rule(data=st.data(), reason=st.sampled_from(["user", "outbox"]), is_resumed=st.booleans())
    def pause(self, data: st.DataObject, reason: str, is_resumed: bool) -> None:
        n = self.pick(data)
        if is_resumed:
            self.rows[n].resume(reason)
            self.reasons[n].discard(reason)
        else:
            self.rows[n].pause(reason)
            self.reasons[n].add(reason)

    @rule(data=st.data(), end=st.sampled_from(End))
    def finish(self, data: st.DataObject, end: End) -> None:
        row = self.rows[self.pick(data)]
        expected = (end, "why") if row.end is None else (row.end, row.detail)
        row.finish(end, "why")
        assert (row.end, row.detail) == expected
        assert self.loop.dirty.count(row) == 1

    @precondition(lambda self: Phase.CLOSED in self.phases)
    @rule()
    def close_what_has_ended(self) -> None:
        n = self.phases.index(Phase.CLOSED)
        row = self.rows.pop(n)
        self.phases.pop(n)
        self.reasons.pop(n)
        row._gone()
        self.gone.append(row)
        if not self.rows:
            self.open()

    @invariant()
    def every_row_is_where_the_table_says(self) -> None:
        assert [row.phase for row in self.rows] == self.phases
        assert [set(row.paused) for row in self.rows] == self.reasons
        for row in self.rows:
            limit = RULES[row.phase].bounded_by
            limit_s = getattr(DEFAULTS, limit) if limit else None
            assert row.deadline_at() == (None if limit_s is None else row.since + limit_s)

    @invariant()
    def the_table_holds_who_has_not_gone(self) -> None:
        assert list(self.loop.table) == self.rows
        assert self.loop.table.connections == len(self.rows)
        assert [row.id for row in self.loop.table.ended] == [
            row.id for row in self.gone if row.end is not None and row.end not in GOOD_ENDS
        ]
        ids = [row.id for row in [*self.rows, *self.gone]]
        assert len(set(ids)) == len(ids) == self.loop.table.last_id
        assert all((row.sock.closed, row.fd, row.phase) == (1, -1, Phase.CLOSED) for row in self.gone)
        snapshots = json.loads(json.dumps([one.as_dict() for one in self.loop.table.snapshot()]))
        assert [(one["id"], one["phase"]) for one in snapshots] == [(row.id, row.phase) for row in self.rows]


Walk.TestCase.settings = tries(60)
TestWalk = Walk.TestCase
