"""The table: one row for everything the loop owns, readable at any moment.

What it is: `Row`, the state that every listener, stream, datagram socket and the waker share, and `Table`, which holds
the rows and can explain each. What it is not: behaviour; how a row acts when its descriptor is ready is written on
floor 4. Rules:

1. `Row.advance` is the only code that assigns a phase (`expel`, for a row that cannot even advance, is its last resort).
2. `id` is never reused and is what logs name; descriptors are reused all the time.
3. Only the loop's thread may read rows. Other threads ask `Reactor.snapshot`, which returns frozen copies.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from .addresses import Peer
from .limits import Limits
from .needs import Need
from .phases import EXITS, GOOD_ENDS, RULES, End, Event, Phase, exit_of
from .snapshots import Kind, RowSnapshot, as_text, explain

log = logging.getLogger("reactor")

READ, WRITE = 1, 2  # as selectors.EVENT_READ and EVENT_WRITE; a test compares them
ENDED_ROWS = 100  # how many rows that ended badly are remembered


class Row:
    """What every row has: identity, phase, deadline, counters.

    Args:
        loop: the loop that owns the row.
        sock: its socket; the row closes it, unless it is only borrowed.
        listener: the name of the listener it belongs to.
        limits: of that listener.
        phase: the first phase.
        sockaddr: the address of the peer, as `accept` or `recvfrom` returned it.
    """

    kind: Kind = "stream"
    way: str = "-"
    moves: int = 0  # progress that is neither byte nor request, of rows that have such (their slot is in front of this)

    __slots__ = (
        "bytes_in", "bytes_out", "detail", "end", "fd", "guarded_at", "id", "interest", "limits", "listener", "loop",
        "marked", "opened_at", "pause_reasons", "phase", "queued", "requests", "session", "since", "sock", "sockaddr",
    )  # fmt: skip

    def __init__(
        self, loop: Any, sock: Any, listener: str, limits: Limits, phase: Phase, sockaddr: Any = None
    ) -> None:
        self.loop: Any = loop  # floors above add to what their rows ask of it
        self.sock: Any = sock
        self.fd: int = sock.fileno()
        self.listener = listener
        self.limits = limits
        self.phase = phase
        self.sockaddr: Any = sockaddr
        self.interest = 0
        self.marked = False  # in the list of rows to settle
        self.queued = False  # in the queue of rows to call again
        self.opened_at: float = loop.now
        self.since: float = loop.now  # when the phase began (or, in IDLE, when the last request was answered)
        self.guarded_at: float | None = None
        self.bytes_in = self.bytes_out = self.requests = 0
        self.end: End | None = None
        self.detail = ""
        self.pause_reasons: set[str] | None = None
        self.session: Any = None
        self.id: int = loop.table.add(self)
        if loop.observer is not None:
            loop.observer.on_open(self)

    def watch_or_leave(self) -> None:
        """Have a new row watched for input; if the selector refuses, nobody would ever end it: out of the table.

        Raises:
            OSError: the selector cannot watch the descriptor.
        """
        try:
            self.loop.demultiplexer.set(self, READ)
        except BaseException:
            self.loop.table.remove(self)
            if self.loop.observer is not None:
                self.loop.observer.on_end(self, End.ABORTED)
            raise

    # What the engine calls; floor 4 says what each kind of row does.

    def on_ready(self, ready: int) -> None:
        """Act on readiness: READ, WRITE or both."""
        raise NotImplementedError

    def on_again(self) -> None:
        """Go on with what was put off in the last turn."""

    def settle(self) -> None:
        """End of a batch: flush, derive the phase, set the interest, close what has ended."""

    def expire(self) -> None:
        """The deadline has passed."""

    def deadline_at(self) -> float | None:
        """Return when the time of this phase is up (monotonic s); None: never."""
        name = RULES[self.phase].bounded_by
        limit_s = getattr(self.limits, name) if name else None
        return None if limit_s is None else self.since + limit_s

    def advance(self, event: Event) -> None:
        """Assign the phase that `event` leads to.

        Raises:
            IllegalTransition: the phase does not allow the event.
        """
        before, loop = self.phase, self.loop
        self.phase = EXITS[before].get(event) or exit_of(before, event, self)  # which says what is wrong
        self.since = loop.now
        if loop.observer is not None:
            loop.observer.on_phase(self, event, before, self.phase)

    def requeue(self) -> None:
        """Have `on_again` called in the next turn: the selector will not announce what is already here."""
        if not self.queued:
            self.queued = True
            self.loop.again.append(self)

    def mark(self) -> None:
        """Have the row settled at the end of the batch."""
        if not self.marked:
            self.marked = True
            self.loop.dirty.append(self)

    # What anybody may ask of a row.

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        return Peer(self.sockaddr)

    @property
    def paused(self) -> frozenset[str]:
        """Why the row is not read; it is resumed when no reason is left."""
        return frozenset(self.pause_reasons or ())

    @property
    def need(self) -> Need | None:
        """What the partial request still waits for."""
        return None

    @property
    def inbox_bytes(self) -> int:
        """Received and not yet consumed."""
        return 0

    @property
    def outbox_bytes(self) -> int:
        """Written and not yet sent."""
        return 0

    @property
    def waiting_at(self) -> str | None:
        """Where the handler waits, as file:line."""
        return None

    def close(self) -> None:
        """End the row once its output is flushed; it is only marked, the engine closes it."""
        self.finish(End.FINISHED, "closed by this program")

    def abort(self, reason: str) -> None:
        """End the row and drop its output."""
        self.finish(End.ABORTED, reason)

    def finish(self, end: End, detail: str = "") -> None:
        """Decide how the row ends; the first decision stands, but a loss cuts the flushing of an earlier one short."""
        if self.end is None:
            self.end, self.detail = end, detail
        self.mark()

    def pause(self, reason: str) -> None:
        """Stop reading, for one more reason."""
        if self.pause_reasons is None:
            self.pause_reasons = set()
        self.pause_reasons.add(reason)
        self.mark()

    def resume(self, reason: str) -> None:
        """Drop one reason; reading goes on when none is left."""
        if self.pause_reasons and reason in self.pause_reasons:
            self.pause_reasons.remove(reason)
            self.pause_reasons = self.pause_reasons or None
            self.mark()

    def standing(self) -> tuple[object, ...]:
        """Return what changes whenever readiness leads to anything; see `quarantine`."""
        return self.bytes_in, self.bytes_out, self.requests, self.moves, self.phase, self.interest

    def snapshot(self) -> RowSnapshot:
        """Return a frozen copy of what the row is now."""
        now, deadline = self.loop.now, self.deadline_at()
        need = self.need
        return RowSnapshot(
            id=self.id, fd=self.fd, kind=self.kind, server=self.listener, peer=str(self.peer), phase=self.phase,
            way=self.way, need="" if need is None else str(need),
            need_limit=None if need is None else need.limit or self.limits.frame_bytes, inbox_bytes=self.inbox_bytes,
            outbox_bytes=self.outbox_bytes, age_s=now - self.opened_at, quiet_s=now - self.since,
            deadline_s=None if deadline is None else deadline - now, bytes_in=self.bytes_in,
            bytes_out=self.bytes_out, requests=self.requests, paused=tuple(sorted(self.paused)),
            waiting_at=self.waiting_at, end=self.end, detail=self.detail,
        )  # fmt: skip

    def __str__(self) -> str:
        peer = str(self.peer)
        return f"row {self.id} ({self.kind} of {self.listener}{', ' + peer if peer else ''})"

    def __repr__(self) -> str:
        return f"<{self} {self.phase}>"

    def _gone(self) -> None:
        """Give the descriptor back and leave the table: the one close path of every row."""
        loop = self.loop
        loop.demultiplexer.set(self, 0)  # before close: a closed descriptor can be somebody else's already
        self._release()
        self.fd = -1
        loop.deadlines.forget(self)
        loop.table.remove(self)
        loop.row_closed(self)
        if loop.observer is not None:
            loop.observer.on_end(self, self.end or End.FINISHED)

    def expel(self, detail: str) -> None:
        """Settling the row has failed: out of the table with it, whatever else is wrong."""
        self.end, self.detail = End.ABORTED, detail
        try:
            if self.phase is not Phase.CLOSED:
                self.advance(Event.LOST)
            if self.fd >= 0:
                self._gone()
        except Exception:
            log.exception("%s could not be closed in good order", self)
            self.phase, self.fd, self.interest = Phase.CLOSED, -1, 0
            self.sock.close()
            self.loop.table.remove(self)

    def _release(self) -> None:
        """Close the socket."""
        try:
            self.sock.close()
        except OSError:
            # close(2) reports errors of earlier writes (ECONNRESET, EIO); the descriptor is gone all the same.
            pass


class Table:
    """All rows of a loop, by id: iterable, `len`, `[id]`."""

    def __init__(self) -> None:
        self._rows: dict[int, Row] = {}
        self.last_id = 0  # of all rows there ever were
        self._ended: deque[RowSnapshot] = deque(maxlen=ENDED_ROWS)
        self.connections = 0  # rows of kind stream

    def add(self, row: Row) -> int:
        """Take a row in and return its id."""
        self.last_id += 1
        self._rows[self.last_id] = row
        if row.kind == "stream":
            self.connections += 1
        return self.last_id

    def remove(self, row: Row) -> None:
        """Let a row go; remember it if it ended badly."""
        if self._rows.pop(row.id, None) is None:
            return
        if row.kind == "stream":
            self.connections -= 1
        if row.end is not None and row.end not in GOOD_ENDS:
            self._ended.append(row.snapshot())

    def __iter__(self) -> Iterator[Row]:
        return iter(tuple(self._rows.values()))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, id: int) -> Row:
        return self._rows[id]

    def __contains__(self, row: object) -> bool:
        return isinstance(row, Row) and self._rows.get(row.id) is row

    @property
    def ended(self) -> Sequence[RowSnapshot]:
        """The last rows that ended badly, the latest last."""
        return tuple(self._ended)

    def snapshot(self) -> tuple[RowSnapshot, ...]:
        """Return a frozen copy of every row."""
        return tuple(row.snapshot() for row in tuple(self._rows.values()))

    def explain(self, row: Row | int) -> str:
        """Say in one sentence why a row makes no progress.

        Raises:
            KeyError: no row has this id.
        """
        return explain((self._rows[row] if isinstance(row, int) else row).snapshot())

    def __str__(self) -> str:
        return as_text(self.snapshot())
