"""The greenlet of a blocking handler, and whose it is that runs just now. Needs the extra `greenlet`.

What it is: `Handler`, which only the loop resumes, and `current`, which every method of a green socket asks first. What
it is not: waiting; see `green_rows`. Rule: in another thread, and in a forked child, no handler's greenlet is current, so
that sockets block there as ordinary ones do.
"""

from __future__ import annotations

import contextvars
import os
import socket
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from greenlet import getcurrent, greenlet

from .offload import thread_id

if TYPE_CHECKING:
    from .green_rows import GreenRow

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(socket.__file__)) + os.sep
_LIBRARY = (_HERE, _STANDARD + "socket.py", _STANDARD + "ssl.py")

# Forked children count: in a child the loop of the parent does not run, and sockets block.
_generation = 0


class Handler(greenlet):
    """The greenlet of one connection: it accepts it, takes it through the hooks of the server, and handles it.

    Attributes:
        loop: the loop that resumes it.
        acceptor: the listener that its rows belong to.
        row: the connection that it handles; None until it has one.
        rows: all rows that it has made.
        waits_on: the row that it waits for, `interest` what for, `until` for how long (monotonic s; None: for ever).
        stalls_at: when its peer has taken nothing for write_stall_s (monotonic s; None: it does not send).
    """

    __slots__ = ("acceptor", "generation", "interest", "loop", "row", "rows", "stalls_at", "thread", "until", "waits_on")

    def __init__(self, loop: Any, acceptor: Any, run: Callable[..., Any]) -> None:
        super().__init__(run)
        self.gr_context = contextvars.copy_context()  # the loop's: `spawn` asks it whose turn runs; the values are its own
        self.loop, self.acceptor, self.generation, self.thread = loop, acceptor, _generation, thread_id()
        self.row: GreenRow | None = None
        self.rows: list[GreenRow] = []
        self.waits_on: GreenRow | None = None
        self.interest = 0
        self.until: float | None = None
        self.stalls_at: float | None = None

    def resume(self, error: BaseException | None = None) -> Any:
        """Run it, from the loop, until it waits again or ends; `error` is raised where it waits."""
        try:
            self.parent = getcurrent()
        except ValueError as wrong:
            raise RuntimeError("a greenlet belongs to the thread that it began in: turn the loop in that one") from wrong
        return self.switch(error)

    def leave(self) -> None:
        """Switch to the loop, until it resumes this greenlet; raise what it is resumed with."""
        try:
            error = self.parent.switch()  # type: ignore[union-attr]
        finally:  # however it comes back: the collector may have thrown it out
            if self.waits_on is not None:
                self.waits_on.forget(self)
        try:
            if error is not None:
                raise error
        finally:
            del error  # in a cycle with its traceback it would hold all that the handler has

    @property
    def is_lost(self) -> bool:
        """Is this another thread, in which it cannot be resumed?"""
        return bool(self.thread != thread_id())

    @property
    def waiting_at(self) -> str | None:
        """Where it waits, as file:line: the innermost line that is not of this library."""
        frame = self.gr_frame
        while frame is not None and frame.f_code.co_filename.startswith(_LIBRARY):
            frame = frame.f_back
        return None if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def current() -> Handler | None:
    """Return the handler's greenlet that runs; None in other threads, forked children and outside of any."""
    green = getcurrent()
    return green if type(green) is Handler and green.generation == _generation else None


def orphaned() -> bool:
    """Is this a forked child, which goes on in a greenlet of its parent's?"""
    green = getcurrent()
    return type(green) is Handler and green.generation != _generation


def _in_child() -> None:
    """After a fork: the child's copies of the parent's greenlets can wait for nothing, so their sockets block."""
    global _generation
    _generation += 1


def _in_parent() -> None:
    """After a fork: the child may go on reading what the handler that forked it has open, so that must not linger."""
    green = current()
    for row in () if green is None else green.rows:
        row.shared = True


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child, after_in_parent=_in_parent)
