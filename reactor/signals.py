"""Ctrl-C and SIGTERM: the first one drains, the second aborts.

A Python signal handler alone does not interrupt a `select()` in time (0.05 s became 0.60 s); the wake-up descriptor
does: the interpreter's C handler writes a byte into the loop's socket pair. The byte only wakes; which signals came is
kept by the interpreter, so a full pair loses nothing. Handlers and descriptor are put back as they were. Off the main
thread, and where a platform lacks signals, nothing is installed.
"""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

_Handler = Callable[[int, FrameType | None], Any] | int | None


@contextlib.contextmanager
def stop_on_signals(stop: Callable[[int], object], wakeup_fd: int) -> Iterator[None]:
    """Call `stop(signal number)` for SIGINT and SIGTERM while the block runs.

    Args:
        stop: is called between two instructions of the main thread, so it may only set attributes.
        wakeup_fd: a non-blocking socket that the interpreter writes a byte to; -1: none.
    """
    try:
        # Raises ValueError off the main thread, the only portable way to ask without importing threading.
        old_fd = signal.set_wakeup_fd(wakeup_fd, warn_on_full_buffer=False)
    except ValueError:
        yield
        return
    old: dict[int, _Handler] = {}
    try:
        number: int
        for number in (signal.SIGINT, signal.SIGTERM):
            old[number] = signal.signal(number, lambda got, _frame: stop(got))
        yield
    finally:
        for number, handler in old.items():
            # None: the old handler was installed by C code and cannot be put back from Python.
            signal.signal(number, handler if handler is not None else signal.SIG_DFL)
        signal.set_wakeup_fd(old_fd)
