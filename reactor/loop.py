"""Running, stopping and closing a loop.

What it is: `run`, which turns until it is stopped and drains; `step`, one turn inside somebody else's loop; `stop`,
which is legal anywhere; `close`. What it is not: the turn, see `stages`; nor the doors for programs, see `reactor`.

Rules: `stop` before the start is kept, so that a program which is told to stop while it starts does stop · a loop that
was left, by whatever exception, can be run again · a loop is not re-entrant: a handler that runs it gets an error.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import Any, Self

from .drain import Drain, DrainReport
from .observers import Turn
from .signals import SignalWatch
from .stages import Stages
from .waker import WakerRow

# How long requests under way may take when the loop is stopped (Kubernetes sends SIGKILL 30 s after SIGTERM).
DRAIN_S = 10.0

# How often handlers and posted calls may clean up when a loop is closed; one that posts itself again would never end.
LAST_ROUNDS = 10

# No descriptor or memory left, which passes; every other error means that the platform has no socket pairs.
_NO_RESOURCES = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})

running: ContextVar[Any] = ContextVar("running reactor")


class Loop(Stages):
    """A loop that can be run. See `Stages` for the arguments."""

    _in_turn = _closed = False
    _report: DrainReport | None = None
    _signals: SignalWatch | None = None
    _abort_asked_in = -1  # the turn in which a signal has last asked for it

    def run(self, *, handle_signals: bool = True) -> DrainReport:
        """Turn until `stop`, drain, and say what became of the connections.

        Args:
            handle_signals: in the main thread, SIGINT and SIGTERM stop the loop; a second one aborts at once, and a third
                is the program's own if a handler holds the loop, so that no turn has begun since the second.

        Raises:
            RuntimeError: the loop runs already, or is closed.
        """
        with self._entered():
            self._begin()
            wakeup_fd = -1 if self._waker is None else self._waker.sender.fileno()
            self._signals = SignalWatch(self._signalled if handle_signals else None, wakeup_fd)
            with self._signals:
                turn: Callable[[], object] = self.turn if self.observer is None else self.recorded_turn
                while self._report is None:
                    turn()
            report, self._report = self._report, None
            return report

    def step(self, timeout_s: float | None = 0) -> Turn:
        """Run one turn and say what it did: for embedding, teaching and tests.

        Args:
            timeout_s: how long to wait for readiness; None: until something happens.

        Raises:
            RuntimeError: the loop runs already, or is closed.
        """
        with self._entered():
            if timeout_s is None or timeout_s > 0:
                self._make_waker()
            return self.recorded_turn(timeout_s)

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        self._check_open()
        if self._in_turn:
            raise RuntimeError("this reactor runs already: run() and step() are not for its own handlers")
        self._in_turn = True
        token = running.set(self)
        try:
            yield
        finally:
            running.reset(token)
            self._in_turn = self._awake = False  # also if an exception has left the turn in the middle

    def _begin(self) -> None:
        """What `run` and `run_until` have in common: no report yet (`step` may have gone through a drain), and a waker."""
        self._report = None
        self._make_waker()

    def _make_waker(self) -> None:
        """On WebAssembly there are no socket pairs, and no other threads or signals to wake the loop either."""
        if self._waker is not None:
            return
        try:
            self._waker = WakerRow(self)
        except (OSError, NotImplementedError, AttributeError) as error:
            if getattr(error, "errno", None) in _NO_RESOURCES:
                raise  # it would be deaf to stop() from then on

    # -- stopping ---------------------------------------------------------------------------------------------------

    def stop(self, *, drain_s: float | None = None) -> None:
        """Drain and leave; legal from a handler, a signal handler, another thread, before the start, and twice.

        Args:
            drain_s: how long requests under way may take; None: 10 s. 0 aborts at once, also a drain under way.
        """
        self._stop_s = DRAIN_S if drain_s is None else drain_s
        draining = self.draining
        if draining is not None and drain_s == 0:
            self.call_soon(draining.abort_rest)
        self._wake()

    def _signalled(self, number: int) -> None:
        if self._stop_s is None:
            self.stop()
        elif self._abort_asked_in != self.turns or self._signals is None:
            self._abort_asked_in = self.turns
            self.stop(drain_s=0)
        else:
            self._signals.hand_back(number)

    def _drain_on(self) -> None:
        if self.draining is None:
            drain_s = self._stop_s or 0.0
            self.draining = Drain(self, drain_s)
            self.draining.begin()
            if drain_s == 0:
                self.draining.abort_rest()
            self._settle()
        if self.draining.done:
            self._report = self.draining.report()
            self._settle()
            self.draining = self._stop_s = None

    def close(self) -> None:
        """Abort what is left and give every descriptor back; legal twice.

        Raises:
            RuntimeError: a handler calls it inside of a turn; it wants `stop()`.
        """
        if self._closed:
            return
        if self._in_turn:
            raise RuntimeError("close() inside of a turn: call stop(), and close the reactor when run() has returned")
        self._closed = True
        with contextlib.ExitStack() as stack:  # last in, first out; each step is taken whatever others raise
            stack.callback(self.demultiplexer.close)
            if self._waker is not None:
                stack.callback(self._waker.close)
            for farewell in self.farewells:
                stack.callback(farewell)
            for step in (self._settle, self._tell_all, self._settle, self._abort_all):
                stack.callback(step)

    def _abort_all(self) -> None:
        for row in self.table:
            if row is not self._waker:
                row.abort("the reactor was closed")
        for task in tuple(self.tasks):
            task.cancel()

    def _tell_all(self) -> None:
        """Handlers hear of the end; what they still write is dropped."""
        errors: list[BaseException] = []
        for _ in range(LAST_ROUNDS):
            try:
                self._run_posted()
                self._dispatch([])
            except BaseException as error:  # of a strict loop, or SystemExit: the others must hear of it too
                errors.append(error)
        if errors:
            raise errors[0]

    def abandon(self) -> None:
        """In a forked child: give the loop's descriptors back and touch nothing that the parent shares."""
        self._closed = True
        if self._signals is not None:
            self._signals.restore()
        self.reserve.give_up()
        self.demultiplexer.close()  # unregistering would take events away from the parent (asyncio#347)
        if self._waker is not None:
            self._waker.sock.close()
            self._waker.sender.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _check_open(self) -> None:
        if self._closed:
            raise RuntimeError("this reactor is closed; make a new one")

    @property
    def closed(self) -> bool:
        """Can nothing run on it any more?"""
        return self._closed

    def fileno(self) -> int:
        """Return a descriptor that is readable when a row is ready, so that another loop can host this one."""
        self._make_waker()  # posted calls must be heard out there too
        return self.demultiplexer.fileno()
