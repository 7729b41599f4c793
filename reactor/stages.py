"""The turn: wait, dispatch, posted calls, deadlines, settle.

What it is: the engine that everything else stands on, one stage a function. What it is not: a program that runs; `Loop`
turns it, and `Reactor` adds listeners, servers and tasks.

Rules:

1. Inside a batch nothing is closed and no interest is changed; only the settle stage does that. So a stale event can
   never reach another connection.
2. The clock is read when a turn begins and before it waits, not for each event (8 % of an echo); rows use `now`.
3. Exceptions of handlers, hooks, posted calls and timers are caught in `contain` and cost their own row only; with
   `strict` they leave the loop, as `KeyboardInterrupt` and `SystemExit` always do. No stage loses its rest to that. An
   OSError of settle is the system's, and costs its row only, strict or not.
4. Only the loop's thread touches rows. Other threads, and signal handlers, use `call_soon`.
"""

from __future__ import annotations

import logging
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import closing
from itertools import islice
from typing import Any, ParamSpec

from .budget import BUFFERED_BYTES, ByteBudget
from .clock import Clock, MonotonicClock
from .deadlines import Deadlines
from .demultiplexer import Batch, Demultiplexer, Selector
from .drain import Drain
from .errors import describe
from .limits import DEFAULTS, Limits
from .observers import Observer, Observers, Turn
from .phases import End
from .quarantine import Quarantine
from .reserve import Reserve
from .table import Row, Table
from .timers import Timer, Timers
from .waker import WakerRow

P = ParamSpec("P")
log = logging.getLogger("reactor")

MAX_CONNECTIONS = 10_000  # https://www.kegel.com/c10k.html: a busy server; `ulimit -n` is often less
# Rows that expire, and timers that are called, in one turn: 5,000 slow requests that end together would hold everybody else
# for 0.1 s, at 20 us each. A turn costs 1.5 us, so few at a time are not much dearer.
DUE_PER_TURN = 8
# And for each row that the turn has brought: it may expire when it is idle and when it lingers, so that clients that say
# nothing do not come faster than they go. Up to a limit: crowds that expire and come again together would hold the turn.
DUE_PER_ROW, DUE_MOST = 2, 32
# epoll and poll take milliseconds in a C int, 24 days at most; a loop that wakes once a day is at rest all the same.
MAX_WAIT_S = 86400.0


class Stages:
    """A selector, a table, and the turn.

    Args:
        limits: of every listener that brings none of its own.
        max_connections: rows of kind stream, over all listeners.
        buffered_bytes: what all connections together may hold in memory; None: any number. See `budget`.
        selector: any selector of the standard module, closed with the loop; None: the platform's best.
        sockets: the module that makes sockets; a simulated world brings its own.
        clock: None: the system's monotonic one.
        observers: who is told what happens.
        strict: errors of handlers leave `run` and `step` instead of being logged: for tests.
    """

    def __init__(
        self,
        *,
        limits: Limits = DEFAULTS,
        max_connections: int = MAX_CONNECTIONS,
        buffered_bytes: int | None = BUFFERED_BYTES,
        selector: Selector | None = None,
        sockets: Any = socket,
        clock: Clock | None = None,
        observers: Sequence[Observer] = (),
        strict: bool = False,
    ) -> None:
        self.limits, self.max_connections, self.strict = limits, max_connections, strict
        self.sockets = sockets
        self.clock: Clock = clock or MonotonicClock()
        self.now = self.clock.now()
        self.observer: Observer | None = Observers(observers, self._observer_failed) if observers else None
        self.table = Table()
        self.deadlines = Deadlines()
        self.timers = Timers()
        self.budget = ByteBudget(self, buffered_bytes)
        self.demultiplexer = Demultiplexer(selector)
        self.dirty: list[Row] = []  # rows to settle
        self.again: deque[Row] = deque()  # rows with work that no selector will announce
        self.starved: list[Any] = []  # listeners that wait for a row to close
        self.reserve = Reserve(self)
        self.until_look = 0  # turns until `quarantine` looks for rows that are ready and get nowhere
        self.quarantine = Quarantine(self)
        self.hooks: list[tuple[Callable[[], object], Callable[[], float | None]]] = []  # each turn; how often at least
        self.draining: Drain | None = None
        self.tasks: set[Any] = set()  # coroutines beside the rows
        self.replies: set[Any] = set()  # those of them that answer a packet: a drain waits for them
        self.green_rows: dict[int, Any] = {}  # of the way "greenlet", by descriptor
        self.farewells: list[Callable[[], object]] = []  # server_close of servers whose threads still work
        self._posted: deque[tuple[Callable[..., object], tuple[Any, ...], dict[str, Any]]] = deque()
        self._waker: WakerRow | None = None
        self._awake = False  # a turn runs, and what is posted will be seen without a wake-up
        self._stop_s: float | None = None  # a stop was asked for, with so many seconds to drain
        self.turns = 0  # begun
        self._ended: list[int] = []

    # -- one turn ---------------------------------------------------------------------------------------------------

    def turn(self, timeout_s: float | None = None) -> None:
        """Go once through the five stages; wait at most `timeout_s` (None: until something is due)."""
        batch = self._wait(timeout_s)
        self.now = self.clock.now()
        last_id = self.table.last_id
        self._dispatch(batch)
        if self._posted:
            self._run_posted()
        deadline, timer = self.deadlines.next_at, self.timers.next_at
        if (deadline is not None and deadline <= self.now) or (timer is not None and timer <= self.now):
            self._expire(self.table.last_id - last_id)
        if self.dirty:
            self._settle()
        if self.hooks:
            self._run_hooks()
        if self._stop_s is not None:
            self._drain_on()
        self._ended.clear()
        self._awake = False

    def recorded_turn(self, timeout_s: float | None = None) -> Turn:
        """Do the same, and say what was done."""
        before = self.clock.now()
        batch = self._wait(timeout_s)
        self.now = self.clock.now()
        waited_s = self.now - before
        ready = (*(row.id for row in self.again), *(row.id for row, _ in batch))
        last_id = self.table.last_id
        self._dispatch(batch)
        posted = self._run_posted()
        expired = self._expire(self.table.last_id - last_id)
        settled = tuple(dict.fromkeys(row.id for row in self.dirty))
        self._settle()
        self._run_hooks()
        if self._stop_s is not None:
            self._drain_on()
        turn = Turn(self.turns, waited_s, ready, posted, tuple(expired), settled, tuple(self._ended))
        self._ended.clear()
        self._awake = False
        if self.observer is not None:
            self.observer.on_turn(turn)
        return turn

    def _wait(self, timeout_s: float | None) -> Batch:
        """Stage 1. The flag goes down before the queue is looked at, so that no wake-up can fall between the two."""
        self._awake = False
        wait_s = self.next_turn_in_s()
        if timeout_s is not None and (wait_s is None or timeout_s < wait_s):
            wait_s = timeout_s if timeout_s < MAX_WAIT_S else MAX_WAIT_S
        self.turns += 1
        self.until_look -= 1
        batch = self.demultiplexer.wait(wait_s) if self.until_look > 0 else self.quarantine.wait(wait_s)
        self._awake = True
        return batch

    def _dispatch(self, batch: Batch) -> None:
        """Stage 2: rows with buffered work first, then the ready ones."""
        again = self.again
        for _ in range(len(again)) if again else ():
            row = again.popleft()
            row.queued = False
            try:
                row.on_again()
            except Exception as error:
                self.row_failed(row, error)
        for row, ready in batch:
            try:
                row.on_ready(ready)
            except Exception as error:
                self.row_failed(row, error)

    def _run_posted(self) -> int:
        """Stage 3: the calls that were posted before this stage began."""
        count = len(self._posted)
        for _ in range(count):
            function, args, kwargs = self._posted.popleft()
            self._call(function, args, kwargs)
        return count

    def _expire(self, came: int) -> list[int]:
        """Stage 4: rows whose time is up, then timers; what is left of a crowd of them is due in the next turn.

        Args:
            came: how many rows this turn has brought.
        """
        expired: list[int] = []
        row: Any
        for row in islice(self.deadlines.due(self.now), min(DUE_PER_TURN + DUE_PER_ROW * came, DUE_MOST)):
            expired.append(row.id)
            self._expire_row(row)
        with closing(self.timers.due(self.now)) as calls:  # if a call leaves the loop, the rest is put back at once
            for function, args in islice(calls, DUE_PER_TURN):
                self._call(function, args, {})
        return expired

    def _expire_row(self, row: Row) -> None:
        try:
            row.expire()
        except Exception as error:
            self.row_failed(row, error)

    def _settle(self) -> None:
        """Stage 5. A row that is marked meanwhile is settled too: a for loop sees what is appended to its list."""
        for row in self.dirty:
            try:
                row.settle()
            except Exception as error:
                row.expel(describe(error))  # it would fail again, in this very loop, for ever
                # The system's no (a descriptor that was closed, no room in epoll) is no handler's or hook's error.
                self.contain(row, error, leaves=not isinstance(error, OSError))
        self.dirty.clear()

    def _run_hooks(self) -> None:
        """What servers want to do in every turn (`service_actions`)."""
        for hook, _ in tuple(self.hooks):
            self._call(hook, (), {})

    def next_turn_in_s(self) -> float | None:
        """Return how many seconds another loop may wait before the next `step`; None: until `fileno` is readable."""
        if self.again or self._posted or self.dirty or (self._stop_s is not None and self.draining is None):
            return 0.0
        at = self.deadlines.next_at
        timer = self.timers.next_at
        if timer is not None and (at is None or timer < at):
            at = timer
        wait_s = None
        if at is not None:  # and not since `now`, which is as old as the turn was long, or the host's own loop has taken
            wait_s = at - self.clock.now()
            if not 0 <= wait_s <= MAX_WAIT_S:
                wait_s = 0.0 if wait_s < 0 else MAX_WAIT_S
        for _, at_least_every in self.hooks:
            every_s = at_least_every()
            if every_s is not None and (wait_s is None or every_s < wait_s):
                wait_s = every_s
        return wait_s

    def _drain_on(self) -> None:
        """A stop was asked for: `Loop` says how it goes on."""

    @property
    def buffered_bytes(self) -> int:
        """What all connections hold in memory now, as of the end of the last turn."""
        return self.budget.total_bytes

    # -- calls from outside -----------------------------------------------------------------------------------------

    def call_soon(self, function: Callable[P, object], *args: P.args, **kwargs: P.kwargs) -> None:
        """Call a function in the loop's thread, in the next posted stage; legal in any thread and signal handler."""
        self._posted.append((function, args, kwargs))
        self._wake()

    def call_later(self, delay_s: float, function: Callable[..., object], *args: Any) -> Timer:
        """Call a function after `delay_s` seconds; only in the loop's thread, others wrap it in `call_soon`."""
        delay_s = 0.0 if delay_s < 0 else delay_s  # who asks to have been called already comes after those who wait
        return self.timers.add(self.clock.now() + delay_s, function, args)

    def _wake(self) -> None:
        waker = self._waker
        if waker is not None and not self._awake:
            waker.wake()

    # -- what rows call ---------------------------------------------------------------------------------------------

    def row_closed(self, row: Row) -> None:
        """A descriptor was given back: listeners that starved may try again."""
        self._ended.append(row.id)
        if self.draining is not None:
            self.draining.ended(row)
        while self.starved:
            self.starved.pop().fed()

    def contain(self, row: Row | None, error: BaseException, *, leaves: bool = True) -> None:
        """Log what a handler or hook raised: once, with its row; raise it again if the loop is strict and it `leaves`."""
        if row is not None and self.observer is not None:
            self.observer.on_error(row, error)
        if self.strict and leaves:
            raise error
        log.error("%s failed in phase %s: %s", row, getattr(row, "phase", "-"), describe(error), exc_info=error)

    def row_failed(self, row: Row, error: Exception) -> None:
        """What no handler's own containment has caught ends its row."""
        if row is self._waker:
            raise error
        row.finish(End.HANDLER_FAILED, describe(error))
        self.contain(row, error)

    def _call(self, function: Callable[..., object], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        try:
            function(*args, **kwargs)
        except Exception as error:
            if self.strict:
                raise
            log.error("%r, called by the loop, failed: %s", function, describe(error), exc_info=error)

    def _observer_failed(self, observer: Observer, method: str) -> None:
        log.exception("observer %r failed in %s", observer, method)
