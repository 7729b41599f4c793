"""Deadlines: asked late rather than moved often, one live entry a row, and no memory of rows that are gone."""

import random
from itertools import count

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from reactor.deadlines import ASKED_AT_ONCE, PURGE_FROM, YOUNG_MOST, Deadlines
from tests.properties import tries


class Waiting:
    """What has a deadline; counts how often it is asked."""

    numbers = count()

    def __init__(self, at: float | None = None) -> None:
        self.id = next(self.numbers)
        self.at = at
        self.guarded_at: float | None = None
        self.asked = 0

    def deadline_at(self) -> float | None:
        self.asked += 1
        return self.at


def guarded(deadlines: Deadlines, *times: float | None) -> list[Waiting]:
    rows = [Waiting(at) for at in times]
    for row in rows:
        deadlines.guard(row)
    return rows


def live(deadlines: Deadlines) -> int:
    return len(deadlines._young) + sum(row.guarded_at == at for at, _, row in deadlines._heap)


def test_rows_are_due_in_order_and_once() -> None:
    deadlines = Deadlines()
    late, never, later, same = guarded(deadlines, 20, None, 30, 20)
    assert (len(deadlines), deadlines.next_at) == (3, 20)
    assert list(deadlines.due(19.9)) == []
    assert list(deadlines.due(20)) == [late, same]
    assert list(deadlines.due(20)) == []
    assert (late.guarded_at, never.guarded_at, later.guarded_at) == (None, None, 30)
    assert list(deadlines.due(1000)) == [later]
    assert (len(deadlines), deadlines.next_at) == (0, None)


def test_progress_does_no_heap_work() -> None:
    deadlines = Deadlines()
    [row] = guarded(deadlines, 75)
    before = row.guarded_at, deadlines.next_at, len(deadlines)
    for now in range(1, 10_000):
        row.at = 75 + now
        deadlines.guard(row)
        assert (row.guarded_at, deadlines.next_at, len(deadlines)) == before


def test_a_row_that_progressed_is_asked_again_later() -> None:
    deadlines = Deadlines()
    [row] = guarded(deadlines, 75)
    row.at = 100
    assert list(deadlines.due(80)) == []
    assert (len(deadlines), deadlines.next_at, row.guarded_at) == (1, 100, 100)
    row.at = None
    assert list(deadlines.due(100)) == []
    assert (len(deadlines), row.guarded_at) == (0, None)


def test_an_earlier_deadline_holds_at_once() -> None:
    deadlines = Deadlines()
    row, other = guarded(deadlines, 75, 50)
    row.at = 30
    deadlines.guard(row)
    assert deadlines.next_at == 30
    assert live(deadlines) == 2
    assert list(deadlines.due(40)) == [row]
    assert list(deadlines.due(80)) == [other]
    assert len(deadlines) == 0


def test_a_row_that_ended_is_not_due() -> None:
    deadlines = Deadlines()
    gone, row = guarded(deadlines, 10, 10)
    deadlines.forget(gone)
    deadlines.forget(gone)
    asked = gone.asked
    assert list(deadlines.due(10)) == [row]
    assert gone.asked == asked


def test_a_row_that_another_one_ended_in_the_same_stage_is_not_due() -> None:
    deadlines = Deadlines()
    first, second, third = guarded(deadlines, 10, 10, 10)
    due = deadlines.due(10)
    assert next(due) is first
    deadlines.forget(second)
    assert list(due) == [third]


def test_rows_behind_one_that_leaves_the_loop_are_still_guarded() -> None:
    deadlines = Deadlines()
    first, second = guarded(deadlines, 10, 10)
    for row in deadlines.due(10):
        assert row is first
        break
    assert list(deadlines.due(10)) == [second]


def test_a_row_that_is_guarded_at_once_does_not_hold_the_stage() -> None:
    deadlines = Deadlines()
    [row] = guarded(deadlines, 10)
    count = 0
    for due in deadlines.due(10):
        assert due is row
        deadlines.guard(row)
        count += 1
    assert count == 1
    assert list(deadlines.due(10)) == [row]


def test_the_same_time_again_is_no_second_entry_for_ever() -> None:
    """75 -> 30 -> 75 leaves a stale entry that looks like the live one; when it surfaces, it counts as nothing."""
    deadlines = Deadlines()
    [row] = guarded(deadlines, 75)
    row.at = 30
    deadlines.guard(row)
    row.at = 75
    assert list(deadlines.due(30)) == []
    assert list(deadlines.due(75)) == [row]
    assert (len(deadlines), deadlines._stale) == (0, 0)


def test_nor_does_it_spoil_the_books_when_the_stale_ones_are_dropped() -> None:
    deadlines = Deadlines()
    [row] = guarded(deadlines, 75)
    row.at = 30
    deadlines.guard(row)
    row.at = 75
    assert list(deadlines.due(30)) == []
    for other in guarded(deadlines, *range(100, 200)):
        deadlines.forget(other)
    assert list(deadlines.due(75)) == [row]
    assert list(deadlines.due(200)) == []
    assert (len(deadlines), deadlines._stale) == (0, 0)


@pytest.mark.parametrize("seed", range(5))
def test_the_order_survives_the_dropping_of_stale_ones(seed: int) -> None:
    rng, deadlines = random.Random(seed), Deadlines()
    rows = guarded(deadlines, *rng.sample(range(10_000), 500))
    soon = guarded(deadlines, -1)
    assert list(deadlines.due(-1)) == soon  # now all others have entries in the heap
    for row in rng.sample(rows, 350):
        deadlines.forget(row)
    assert len(deadlines) < 400, "none was dropped"
    due = [row.deadline_at() for row in deadlines.due(1e9)]
    assert due == sorted(row.at for row in rows if row.at in due)  # type: ignore[type-var]
    assert len(due) == 150


def test_rows_that_lived_shortly_are_not_remembered() -> None:
    deadlines = Deadlines()
    guarded(deadlines, *range(1000, 1100))
    largest = 0
    for _ in range(100_000):
        [row] = guarded(deadlines, 75)
        deadlines.forget(row)
        largest = max(largest, len(deadlines))
    assert largest <= 2 * 100 + PURGE_FROM + 2
    assert live(deadlines) == 100


def test_no_more_than_so_many_are_asked_at_once() -> None:
    deadlines = Deadlines()
    rows = guarded(deadlines, *[1.0] * (3 * ASKED_AT_ONCE))
    for row in rows[:-1]:
        row.at = 9.0  # all have made progress, but the last
    for _ in range(2):
        assert list(deadlines.due(2.0)) == []
        assert deadlines.next_at == 1.0
    assert list(deadlines.due(2.0)) == rows[-1:]
    assert deadlines.next_at == 9.0


def test_rows_of_any_age_are_not_remembered() -> None:
    """As above, and each of them has an entry in the heap when it ends: another row was due meanwhile."""
    deadlines = Deadlines()
    largest = 0
    for now in range(10_000):
        row, due = guarded(deadlines, now + 75, now)
        assert list(deadlines.due(now)) == [due]
        deadlines.forget(row)
        largest = max(largest, len(deadlines))
    assert largest <= PURGE_FROM + 2


def test_many_young_ones_get_entries_before_the_first_is_due() -> None:
    """So that they do not get them all at once."""
    deadlines = Deadlines()
    rows = guarded(deadlines, *(1e6 + n for n in range(3 * YOUNG_MOST)))
    assert len(deadlines._young) <= YOUNG_MOST
    assert len(deadlines) == len(rows)
    assert deadlines.next_at == 1e6
    assert [row for _ in range(3) for row in deadlines.due(1e7)] == rows


def test_a_young_one_whose_deadline_moves_earlier_needs_no_heap() -> None:
    deadlines = Deadlines()
    row, other = guarded(deadlines, 75, 50)
    row.at = 2
    deadlines.guard(row)
    assert (deadlines.next_at, deadlines._heap, len(deadlines)) == (2, [], 2)
    assert list(deadlines.due(2)) == [row]
    assert list(deadlines.due(50)) == [other]


def test_one_that_was_asked_by_an_older_entry_of_the_same_time_gets_none() -> None:
    deadlines = Deadlines()
    first, row = guarded(deadlines, 10, 10)
    soon = Waiting(1)
    deadlines.guard(soon)
    assert list(deadlines.due(1)) == [soon]  # now the other two have entries
    row.at = 5
    deadlines.guard(row)
    row.at = None
    assert list(deadlines.due(5)) == []
    asked = []
    for due in deadlines.due(10):
        asked.append(due)
        if due is first:
            row.at = 10
            deadlines.guard(row)  # young again, and the entry that it had is for the same time
    assert asked == [first, row]
    assert row.guarded_at is None
    assert list(deadlines.due(11)) == []
    assert (len(deadlines), deadlines.next_at) == (0, None)


def test_a_deadline_that_keeps_moving_earlier_is_one_entry() -> None:
    deadlines = Deadlines()
    [row] = guarded(deadlines, 1e6)
    for _ in range(10_000):
        row.at -= 1  # type: ignore[operator]
        deadlines.guard(row)
        assert live(deadlines) == 1
    assert len(deadlines) <= 2 + PURGE_FROM + 1


@pytest.mark.parametrize("seed", range(5))
def test_whatever_happens_every_row_is_due_when_its_time_is_up(seed: int) -> None:
    rng, deadlines = random.Random(seed), Deadlines()
    rows = guarded(deadlines, *(rng.uniform(0, 50) for _ in range(50)))
    now = 0.0
    for _ in range(2_000):
        now += rng.random()
        for row in deadlines.due(now):
            assert row.deadline_at() <= now  # type: ignore[operator]
            assert row in rows
            row.at = now + rng.uniform(0.1, 50)  # type: ignore[attr-defined]
            deadlines.guard(row)
        assert all(row.at is None or row.at > now for row in rows), "one was missed"
        row = rng.choice(rows)
        row.at = now + rng.uniform(0.1, 50)
        deadlines.guard(row)
        assert live(deadlines) >= len(rows)
        assert len(deadlines) <= 2 * len(rows) + PURGE_FROM + 2


ROWS = st.integers(0, 5)
TIMES = st.integers(0, 20)


class Guarding(RuleBasedStateMachine):
    """A heap beside a plain set of the rows that are to be asked; a row without a deadline may be in it."""

    def __init__(self) -> None:
        super().__init__()
        self.deadlines, self.now = Deadlines(), 0
        self.rows = [Waiting() for _ in range(6)]
        self.watched: set[Waiting] = set()

    def guard(self, row: Waiting) -> None:
        self.deadlines.guard(row)
        self.watched.add(row)

    def forget(self, row: Waiting) -> None:
        self.deadlines.forget(row)
        self.watched.discard(row)

    @rule(number=ROWS, in_s=st.none() | TIMES)
    def set_a_deadline(self, number: int, in_s: int | None) -> None:
        row = self.rows[number]
        row.at = None if in_s is None else self.now + in_s
        self.guard(row)

    @rule(number=ROWS, by_s=st.none() | TIMES)
    def make_progress(self, number: int, by_s: int | None) -> None:
        """A deadline that moves later, or away: nobody is told."""
        row = self.rows[number]
        row.at = None if row.at is None or by_s is None else row.at + by_s

    @rule(number=ROWS)
    def end(self, number: int) -> None:
        self.forget(self.rows[number])

    @rule(count=st.sampled_from([1, PURGE_FROM, 2 * PURGE_FROM]), in_s=TIMES)
    def many_come_and_go(self, count: int, in_s: int) -> None:
        for row in [Waiting(self.now + in_s) for _ in range(count)]:
            self.guard(row)
            self.forget(row)

    @rule(number=ROWS, count=st.sampled_from([1, PURGE_FROM + 1]))
    def creep_earlier(self, number: int, count: int) -> None:
        row = self.rows[number]
        for n in range(count, 0, -1):
            row.at = self.now + 20 + n
            self.guard(row)

    @rule(
        after_s=TIMES,
        acts=st.lists(st.sampled_from(["leave", "again", "stop"]), max_size=6),
        others=st.lists(st.none() | ROWS, max_size=6),
    )
    def time_goes_on(self, after_s: int, acts: list[str], others: list[int | None]) -> None:
        self.now += after_s
        late = {row for row in self.watched if row.at is not None and row.at <= self.now}
        entries, order = {row: row.guarded_at for row in late}, []
        for row in self.deadlines.due(self.now):
            assert isinstance(row, Waiting)
            assert row in late, "asked too early, twice, or after its end"
            late.remove(row)
            self.watched.remove(row)
            order.append(entries[row])
            act = acts.pop() if acts else "leave"
            if act == "again":
                row.at = self.now + 1
                self.guard(row)
            other = others.pop() if others else None
            if other is not None:
                self.forget(self.rows[other])
                late.discard(self.rows[other])
            if act == "stop":
                break
        else:
            assert not late, "somebody was not asked"
        assert order == sorted(order)  # type: ignore[type-var]

    @invariant()
    def everybody_is_asked_in_time(self) -> None:
        for row in self.rows:
            if row not in self.watched:
                assert row.guarded_at is None
            elif row.at is not None:
                assert row.guarded_at is not None
                assert self.deadlines.next_at is not None
                assert self.deadlines.next_at <= row.guarded_at <= row.at

    @invariant()
    def no_memory_of_what_is_gone(self) -> None:
        guarded_rows = [row for row in self.rows if row.guarded_at is not None]
        assert len(guarded_rows) <= live(self.deadlines)
        assert len(self.deadlines) <= 2 * len(guarded_rows) + PURGE_FROM + 2


Guarding.TestCase.settings = tries(60)
TestGuarding = Guarding.TestCase
