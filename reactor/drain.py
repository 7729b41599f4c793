"""Leaving in good order: stop accepting, let requests under way finish, abort the rest at a deadline, report.

What it is: the state of one drain and its report. What it is not: a loop; the turns go on as ever while it lasts.

A row that was idle hears of the end of its input (`EndOfStream("drain")`, a "" for readline) at once, a row with a
request under way when it has answered, so that a handler needs no drain hook: it ends as if the peer had hung up.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from .phases import End, Phase
from .snapshots import RowSnapshot
from .table import Row


@dataclass(frozen=True, slots=True)
class DrainReport:
    """What became of the connections that were open when the drain began; `seconds` is how long it took."""

    finished: tuple[RowSnapshot, ...]
    idle: tuple[RowSnapshot, ...]
    aborted: tuple[RowSnapshot, ...]
    seconds: float

    def __str__(self) -> str:
        counts = f"{len(self.finished)} finished, {len(self.idle)} were idle, {len(self.aborted)} aborted"
        reasons = "".join(
            f"\n  row {row.id} of {row.server} {row.peer}: {row.phase}, {row.detail}" for row in self.aborted
        )
        return f"drained in {self.seconds:.2f} s: {counts}{reasons}"


class Drain:
    """A drain under way.

    Args:
        loop: the loop, whose listeners and datagram sockets are closed at once.
        drain_s: how long requests under way may take.
    """

    def __init__(self, loop: Any, drain_s: float) -> None:
        self._loop = loop
        self.began_at: float = loop.now
        self._idle: set[int] = set()
        self._ended: dict[str, list[RowSnapshot]] = {"finished": [], "idle": [], "aborted": []}
        self._aborting: set[int] = set()
        self._timer = loop.call_later(drain_s, self.abort_rest)

    def begin(self) -> None:
        """Close what only listens, tell the others."""
        for row in self._loop.table:
            if row.kind == "stream":
                if row.phase is Phase.IDLE and not row.inbox_bytes:
                    self._idle.add(row.id)
                row.stop_requested()
            elif row.kind == "datagram" and self._loop.replies:
                row.pause("drain")  # its socket is needed for the answers under way
            elif row.kind != "waker":
                row.finish(End.DRAINED, "the reactor drains")

    def abort_rest(self) -> None:
        """The time is up: abort what is left."""
        for reply in tuple(self._loop.replies):
            self._loop.replies.discard(reply)
            reply.cancel()
        for row in self._loop.table:
            if row.phase is Phase.LINGERING:
                row.expire()  # all is sent; a reset now would only destroy it
            elif row.kind == "stream" and row.phase is not Phase.CLOSED and row.id not in self._aborting:
                self._aborting.add(row.id)
                place = f", waits at {row.waiting_at}" if row.waiting_at else ""
                reason = f"the drain deadline has passed{place}"
                self._ended["aborted"].append(replace(row.snapshot(), end=End.ABORTED, detail=reason))
                row.abort("the drain deadline has passed")

    def ended(self, row: Row) -> None:
        """Take note of a row that has left the table."""
        if row.kind == "stream" and row.id not in self._aborting:
            self._ended["idle" if row.id in self._idle else "finished"].append(row.snapshot())

    @property
    def done(self) -> bool:
        """Nothing is left to wait for."""
        return self._loop.table.connections == 0 and not self._loop.replies

    def report(self) -> DrainReport:
        """Close what was kept for the last answers, and return what became of the rows."""
        self._timer.cancel()
        for row in self._loop.table:
            if row.kind == "datagram":
                row.finish(End.DRAINED, "the reactor drains")
        ended = {name: tuple(rows) for name, rows in self._ended.items()}
        return DrainReport(**ended, seconds=self._loop.now - self.began_at)
