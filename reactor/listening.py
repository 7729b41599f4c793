"""Rows that only listen: what acceptors and datagram sockets have in common.

LISTENING while nothing speaks against it, PAUSED while there is a reason, CLOSED at the end. A socket that is only
borrowed from a server is unregistered and left open; an owned one is closed, and its Unix path removed if it is still
ours. A selector that has no memory for it is one more reason to pause, and none to close: that passes.
"""

from __future__ import annotations

import errno
import logging
from typing import Any

from .addresses import identity, unlink_if_ours
from .limits import Limits
from .phases import End, Event, Phase
from .table import READ, Row

log = logging.getLogger("reactor")

# epoll_ctl(2): the kernel has no memory now, or no watch (max_user_watches). Other errors say that it never will.
_PASSES = frozenset({errno.ENOMEM, errno.ENOSPC})
# How long until the selector is asked again: its memory is not ours to give back, so nothing announces it.
REFUSED_S = 1.0


class ListeningRow(Row):
    """A socket that things arrive at.

    Args:
        loop: the loop.
        sock: bound and, for streams, listening.
        name: what logs and the table call it.
        limits: for it and the rows it makes.
        owned: the row closes the socket.
    """

    __slots__ = ("_identity", "owned")

    def __init__(self, loop: Any, sock: Any, name: str, limits: Limits, *, owned: bool = True) -> None:
        self.owned = owned
        self._identity = identity(sock) if owned else None
        super().__init__(loop, sock, name, limits, Phase.LISTENING)
        self.watch_or_leave()

    def settle(self) -> None:
        """Follow the pause reasons, or close."""
        self.marked = False
        if self.phase is Phase.CLOSED:
            return
        if self.end is not None:
            self.advance(Event.LOST if self.end is End.ABORTED else Event.STOP)
            self._gone()
        elif self.pause_reasons and self.phase is Phase.LISTENING:
            self.advance(Event.PAUSE)
            self.loop.demultiplexer.set(self, 0)
        elif not self.pause_reasons and self.phase is Phase.PAUSED:
            self._resumed()

    def _resumed(self) -> None:
        """Be watched again; stay PAUSED, and try again later, if the selector has no room now."""
        try:
            self.loop.demultiplexer.set(self, READ)
        except OSError as error:
            if error.errno not in _PASSES:
                raise
            log.warning("%s stays paused, and tries again in %g s: %s", self, REFUSED_S, error)
            self.pause("selector")
            self.loop.call_later(REFUSED_S, self.resume, "selector")
        else:
            self.advance(Event.RESUME)

    def _release(self) -> None:
        if self.owned:
            super()._release()
            unlink_if_ours(self._identity)
