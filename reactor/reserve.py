"""One descriptor in reserve, for when no other is left.

What it is: what a loop does while accept() finds no descriptor. One timer looks every `RETRY_S` whether there is one again,
whoever gave it back; and while there is none, the reserve is given up for a moment, so that a bounded number of those who
wait can be accepted and closed: a client in the backlog hears nothing, and cannot know that it should go elsewhere. What it
is not: a place for a connection; nobody is served by it.

Rules: one for the loop, however many listeners it has · it is a socket that is never bound or connected, made by the
loop's own `sockets`, so that it is not inherited and a simulated world has it too · who cannot get it back goes on
without: clients wait, as they did before, and the next accept that succeeds makes it anew · the last listener to leave
gives it back.
"""

from __future__ import annotations

import contextlib
from typing import Any

# How long until somebody looks for descriptors that no row of this loop gave back. A look is one socket() that fails, a few
# microseconds: nothing of a CPU, and a client that could be served waits no longer than people notice.
RETRY_S = 0.125


class Reserve:
    """The reserve of a loop, and its one retry.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._sock: Any = None
        self._listeners = 0
        self._retry: Any = None

    @property
    def is_held(self) -> bool:
        """Is the descriptor there?"""
        return self._sock is not None

    def join(self) -> None:
        """A listener may run short of descriptors."""
        self._listeners += 1
        self.take()

    def leave(self) -> None:
        """It will not any more; the last one gives the descriptor back."""
        self._listeners -= 1
        if not self._listeners:
            self.give_up()

    def take(self) -> None:
        """Have the descriptor, unless there is none: then nobody is refused, and that is no error."""
        if self._sock is None and self._listeners:
            with contextlib.suppress(OSError):
                self._sock = self._loop.sockets.socket()

    def give_up(self) -> None:
        """Close the descriptor; legal twice, and in a forked child."""
        sock, self._sock = self._sock, None
        if sock is not None:
            with contextlib.suppress(OSError):  # close(2): it is gone all the same
                sock.close()

    def retry_later(self) -> None:
        """Look for a descriptor in RETRY_S; one look is pending at most (cpython#151615)."""
        if self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._look)

    def retry_no_more(self) -> None:
        """A descriptor was given back, and the listeners try by themselves."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _look(self) -> None:
        self._retry = None
        starved = self._loop.starved
        waiting = [row for row in starved if "descriptors" in row.paused and row.end is None]
        if not waiting:
            return
        if self._is_room():
            starved[:] = [row for row in starved if row not in waiting]
            for row in waiting:
                row.fed()
            return
        self._refuse(waiting)
        if any("descriptors" in row.paused for row in waiting):
            self.retry_later()

    def _is_room(self) -> bool:
        try:
            self._loop.sockets.socket().close()
        except OSError:
            return False
        return True

    def _refuse(self, waiting: list[Any]) -> None:
        """Those who have waited for too long are closed, by way of the descriptor that is given up meanwhile."""
        late = [row for row in waiting if row.is_late()]
        if not late or not self.is_held:
            return
        self.give_up()
        try:
            for row in late:
                row.refuse()
        finally:
            self.take()
