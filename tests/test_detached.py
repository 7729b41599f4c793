"""Rows whose socket is not the loop's: they are seen and counted, and nothing else."""

import os
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import End, Limits, Phase, Reactor
from reactor.detached import DetachedRow, Pidfd
from reactor.errors import IllegalTransition
from tests.driving import turn_until, turns
from tests.running import descriptors

needs_pidfd = pytest.mark.skipif(not hasattr(os, "pidfd_open"), reason="needs pidfds")


class Acceptor:
    """Counts its rows, as a listener does."""

    def __init__(self) -> None:
        self.rows: list[DetachedRow] = []

    def joined(self, row: DetachedRow) -> None:
        self.rows.append(row)

    def left(self, row: DetachedRow) -> None:
        self.rows.remove(row)


@pytest.fixture
def acceptor() -> Acceptor:
    """Give who counts the row."""
    return Acceptor()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Give the socket of the row and its peer."""
    near, far = socket.socketpair()
    with near, far:
        yield near, far


@pytest.fixture
def row(loop: Reactor, acceptor: Acceptor, pair: Any) -> DetachedRow:
    """Give a detached row."""
    return DetachedRow(loop, pair[0], acceptor, "test", Limits(), ("192.0.2.1", 80), "thread")


def test_it_is_seen_and_counted(loop: Reactor, row: DetachedRow, acceptor: Acceptor) -> None:
    assert row.phase is Phase.DETACHED
    assert loop.table.connections == 1
    assert acceptor.rows == [row]
    (snapshot,) = loop.table.snapshot()
    assert (snapshot.kind, snapshot.way, snapshot.peer, snapshot.requests) == ("stream", "thread", "192.0.2.1:80", 1)
    assert snapshot.deadline_s is None
    assert "'thread'" in loop.table.explain(row)


def test_the_loop_neither_watches_nor_reads_nor_closes_its_socket(loop: Reactor, row: DetachedRow, pair: Any) -> None:
    near, far = pair
    far.send(b"for the thread")
    assert [turn.ready for turn in turns(loop)] == [()] * 3
    row.finish(End.FINISHED)
    loop.step()
    assert near.recv(100) == b"for the thread"


@pytest.mark.parametrize("end", [End.FINISHED, End.HANDLER_FAILED])
def test_it_leaves_the_table_when_it_is_done(loop: Reactor, row: DetachedRow, acceptor: Acceptor, end: End) -> None:
    row.finish(end)
    assert row in loop.table  # until the end of the batch
    assert loop.step().ended == (row.id,)
    row.finish(End.ABORTED, "late")
    turns(loop)
    assert (row.phase, row.end, row.fd) == (Phase.CLOSED, end, -1)
    assert acceptor.rows == []
    assert loop.table.connections == 0


def test_to_abort_it_is_to_wait_for_it_no_longer(loop: Reactor, row: DetachedRow, pair: Any) -> None:
    row.abort("no patience")
    loop.step()
    assert (row.phase, row.end) == (Phase.CLOSED, End.ABORTED)
    assert pair[0].fileno() >= 0
    row.finish(End.FINISHED)  # the thread reports all the same
    turns(loop)
    assert row.end is End.ABORTED
    assert [one.detail for one in loop.table.ended] == ["no patience"]


def test_a_drain_cannot_tell_it_anything(loop: Reactor, row: DetachedRow) -> None:
    row.stop_requested()
    turns(loop)
    assert row.phase is Phase.DETACHED


def test_a_closed_one_makes_no_transition(loop: Reactor, row: DetachedRow) -> None:
    row.finish(End.FINISHED)
    loop.step()
    row.settle()
    assert row.phase is Phase.CLOSED
    with pytest.raises(IllegalTransition):
        row.advance("RETURNED")  # type: ignore[arg-type]


@needs_pidfd
def test_the_end_of_a_child_is_an_event(loop: Reactor, row: DetachedRow) -> None:
    reader, writer = os.pipe()
    pid = os.fork()
    if not pid:
        os.read(reader, 1)
        os._exit(0)
    calls: list[int] = []

    def collect() -> None:
        calls.append(os.waitpid(pid, os.WNOHANG)[0])
        row.finish(End.FINISHED)

    before = descriptors()
    row.watch(os.pidfd_open(pid), collect)
    assert [turn.ready for turn in turns(loop)] == [()] * 3
    os.write(writer, b"x")
    turn_until(loop, lambda: row.phase is Phase.CLOSED)
    assert calls == [pid]
    os.close(reader)
    os.close(writer)
    assert not [one for one in descriptors() - before if "pidfd" in one]


@needs_pidfd
def test_a_child_that_is_not_collected_does_not_spin(loop: Reactor, row: DetachedRow) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)
    calls: list[int] = []
    row.watch(os.pidfd_open(pid), lambda: calls.append(1))
    turn_until(loop, lambda: calls)
    assert [turn.ready for turn in turns(loop, 5)] == [()] * 5
    os.waitpid(pid, 0)
    row.finish(End.FINISHED)
    loop.step()
    assert len(calls) == 1


@needs_pidfd
def test_a_pidfd_is_closed_once() -> None:
    before = descriptors()
    pidfd = Pidfd(os.pidfd_open(os.getpid()))
    number = pidfd.fileno()
    pidfd.close()
    assert (pidfd.fileno(), descriptors()) == (-1, before)
    with open(os.devnull) as other:  # has the number of the pidfd now
        assert other.fileno() == number
        pidfd.close()
        assert other.read() == ""


@needs_pidfd
def test_a_collection_that_fails_costs_its_own_row_only(
    loop: Reactor, row: DetachedRow, caplog: pytest.LogCaptureFixture
) -> None:
    pid = os.fork()
    if not pid:
        os._exit(0)

    def fails() -> None:
        raise ValueError("waitpid")

    row.watch(os.pidfd_open(pid), fails)
    turn_until(loop, lambda: row.phase is Phase.CLOSED)
    assert row.end is End.HANDLER_FAILED
    assert len(caplog.records) == 1
    os.waitpid(pid, 0)
    assert [turn.ready for turn in turns(loop)] == [()] * 3
