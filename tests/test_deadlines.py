"""Deadlines: asked late rather than moved often, one live entry a row, and no memory of rows that are gone."""

import random

import pytest

from reactor.deadlines import PURGE_FROM, Deadlines


class Waiting:
    """What has a deadline; counts how often it is asked."""

    def __init__(self, at: float | None = None) -> None:
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
    return sum(row.guarded_at == at for at, _, row in deadlines._heap)


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
    heap = list(deadlines._heap)
    for now in range(1, 10_000):
        row.at = 75 + now
        deadlines.guard(row)
        assert deadlines._heap == heap


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
