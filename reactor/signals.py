"""Ctrl-C and SIGTERM: the first one drains, the second aborts; the third is the program's, if no turn has heeded the second.

A Python signal handler alone does not interrupt a `select()` in time (0.05 s became 0.60 s); the wake-up descriptor
does: the interpreter's C handler writes a byte into the loop's socket pair. The byte only wakes; which signals came is
kept by the interpreter, so a full pair loses nothing. Handlers and descriptor are put back as they were: at the end,
and in a forked child, which else could not be ended by SIGTERM. So they are when a handler holds the loop, so that nothing
becomes of what was asked for: the signal then does what it would have done without a loop, which mostly ends the program.
Off the main thread nothing is installed.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any, Self

_Handler = Callable[[int, FrameType | None], Any] | int | None


class SignalWatch:
    """Calls `stop(signal number)` for SIGINT and SIGTERM inside of a `with` block.

    Args:
        stop: is called between two instructions of the main thread, so it may only set attributes; None: no handler is
            replaced, but those of the program still wake the loop, which they may want to stop.
        wakeup_fd: a non-blocking socket that the interpreter writes a byte to; -1: none.
    """

    def __init__(self, stop: Callable[[int], object] | None, wakeup_fd: int) -> None:
        self._stop, self._wakeup_fd = stop, wakeup_fd
        self._old_fd: int | None = None
        self._old: dict[int, _Handler] = {}

    def __enter__(self) -> Self:
        try:
            # Raises ValueError off the main thread, the only portable way to ask without importing threading.
            self._old_fd = signal.set_wakeup_fd(self._wakeup_fd, warn_on_full_buffer=False)
        except ValueError:
            return self
        stop = self._stop
        if stop is not None:
            number: int
            for number in (signal.SIGINT, signal.SIGTERM):
                self._old[number] = signal.signal(number, lambda got, _frame: stop(got))
        return self

    def hand_back(self, number: int) -> None:
        """Let the program have this signal, and all that come."""
        self.restore()
        signal.raise_signal(number)

    def restore(self) -> None:
        """Put back what was replaced; legal twice."""
        old, self._old = self._old, {}
        for number, handler in old.items():
            # None: the old handler was installed by C code and cannot be put back from Python.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        if self._old_fd is not None:
            signal.set_wakeup_fd(self._old_fd)
            self._old_fd = None

    def __exit__(self, *exc: object) -> None:
        self.restore()
