"""Listeners: rows that are ready when somebody connects.

What it is: accept in a loop, up to `accepts_per_turn`, one table for what can go wrong, and pauses for when no more
connections may come. What it is not: a decision on what a connection is for; `welcome` takes each one.

Rules: an error of one connection never stops the listener · running out of descriptors pauses it *once*, with one log
line and no CPU (level-triggered readiness made 184,000 tries a second of it in the standard module), until a row closes
or `reserve` finds a descriptor; who has waited for `shortage_s` meanwhile is closed · the peer's address is the one that
accept() returned: getpeername() may already fail · a request that came with its connection is taken at once.
"""

from __future__ import annotations

import contextlib
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable
from enum import Enum
from typing import Any

from .accepted import quick_accept
from .limits import Limits
from .listening import ListeningRow
from .phases import End, Phase
from .snapshots import Kind
from .table import Row

log = logging.getLogger("reactor")
_LISTENING = Phase.LISTENING  # as in `streams`

# How many are closed at each look of the reserve, in some 20 us each: 128 a second, 0.3 % of a CPU.
REFUSALS = 16
# After a look at a new connection that found nothing, so many are accepted without one: a look in vain takes 1.5 us.
IN_VAIN = 16


class Action(Enum):
    """What to do after accept() has failed."""

    WAIT = "nothing is waiting: leave the batch"
    NEXT = "this connection is gone: take the next"
    PAUSE = "no resources: pause the listener"
    CLOSE = "the socket does not listen (any more): close the row"


# accept(2); an errno that is not listed concerns the connection (Linux passes pending network errors on): NEXT.
ACTIONS: dict[int, Action] = {
    errno.EAGAIN: Action.WAIT,
    errno.EWOULDBLOCK: Action.WAIT,
    errno.EMFILE: Action.PAUSE,
    errno.ENFILE: Action.PAUSE,
    errno.ENOBUFS: Action.PAUSE,
    errno.ENOMEM: Action.PAUSE,
    errno.EBADF: Action.CLOSE,
    errno.EINVAL: Action.CLOSE,
    errno.ENOTSOCK: Action.CLOSE,
    errno.EOPNOTSUPP: Action.CLOSE,
}
# Network errors of a connection that was waiting: it is not there any more.
_LOST = frozenset(
    getattr(errno, name)
    for name in ("EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH", "ENETUNREACH")
    if hasattr(errno, name)
)
# No descriptor, in this process or in all.
_DESCRIPTORS = frozenset({errno.EMFILE, errno.ENFILE})


class AcceptorRow(ListeningRow):
    """A listening socket in the table.

    Args:
        loop: the loop.
        sock: the listening, non-blocking socket.
        name: what logs and the table call the listener.
        limits: for it and for the rows it accepts.
        accept: returns a connection and its address; by default `sock.accept`, a hosted server's `get_request` else.
        welcome: is called with each; it must close the socket or give it to a row, and returns it if it waits for input.
        owned: the row closes the socket; else the socket belongs to a server and is only unregistered.
    """

    kind: Kind = "listener"
    __slots__ = ("_accept", "_in_vain", "_short_since", "_welcome", "hosts", "members", "moves", "refused")

    def __init__(
        self,
        loop: Any,
        sock: Any,
        name: str,
        limits: Limits,
        welcome: Callable[[Any, Any], Any],
        *,
        accept: Callable[[], tuple[Any, Any]] | None = None,
        owned: bool = True,
    ) -> None:
        self._welcome = welcome
        self._accept = accept or quick_accept(sock)
        self.members = 0  # open rows of this listener
        self.hosts: Counter[str] = Counter()  # ... by host, kept only under connections_per_peer
        self.refused = 0
        self._in_vain = 0  # connections to accept without a look
        self.moves = 0  # connections that came to nothing, but are not waiting any more
        self._short_since: float | None = None  # no accept has succeeded for want of resources, since then (monotonic s)
        super().__init__(loop, sock, name, limits, owned=owned)
        loop.reserve.join()

    def on_ready(self, ready: int) -> None:
        """Accept what waits, up to accepts_per_turn."""
        for _ in range(self.limits.accepts_per_turn):
            if self.phase is not _LISTENING or self.end is not None or self.pause_reasons:
                return
            if not self._room():
                self._starve("connections")
                return
            if not self._accept_one():
                return

    def _accept_one(self) -> bool:
        """Accept a connection and see to it; True: try the next one."""
        try:
            sock, sockaddr = self._accept()
        except OSError as error:
            return self._go_on(error)
        except Exception as error:  # get_request of a server may wrap TLS, and fail at that
            self.loop.contain(self, error)
            return True
        if self._short_since is not None:
            self._short_since = None
            self.loop.reserve.take()
        row = self._take(sock, sockaddr)
        if self._in_vain:
            self._in_vain -= 1
        elif row is not None:
            self._look(row)
        return True

    def _look(self, row: Any) -> None:
        """Receive what has come with the connection: a request that is here need not be waited for. See ADR 0020."""
        loop = self.loop
        speaks_first = row.reader is not row or row.outbox or row.pause_reasons
        is_over = row.no_more is not None or row.half_close  # closed, aborted or shut before the first byte
        if speaks_first or is_over or loop.budget.is_short or loop.observer is not None or loop.strict:
            return
        try:
            row.look()
        except Exception as error:
            loop.row_failed(row, error)
        if not row.bytes_in:
            self._in_vain = IN_VAIN

    def _take(self, sock: Any, sockaddr: Any) -> Any:
        """Have a connection made a row, and return it if it waits for input."""
        self.requests += 1
        try:
            if self.limits.connections_per_peer is None or self._admits(sockaddr):
                return self._welcome(sock, sockaddr)
            self.refused += 1
            sock.close()
        except Exception as error:
            with contextlib.suppress(OSError):  # close(2) reports errors of earlier writes; it is closed all the same
                sock.close()
            self.drop(sockaddr, error)
        return None

    def drop(self, sockaddr: Any, error: Exception) -> None:
        """Taking a connection has failed, which costs this one only: the peer is gone already, or the handler is wrong."""
        if isinstance(error, OSError):
            log.warning("%s: connection from %s was dropped: %s", self, sockaddr, error)
        else:
            self.loop.contain(self, error)

    def _room(self) -> bool:
        """Is there a place in the reactor and in this listener?"""
        if self.loop.table.connections >= self.loop.max_connections:
            return False
        return self.limits.connections is None or self.members < self.limits.connections

    def _admits(self, sockaddr: Any) -> bool:
        """Has this peer a place of its own left?"""
        most = self.limits.connections_per_peer
        return most is None or self.hosts[_host(sockaddr)] < most

    def joined(self, row: Row) -> None:
        """Count a row of this listener in."""
        self.members += 1
        if self.limits.connections_per_peer is not None:
            self.hosts[_host(row.sockaddr)] += 1

    def left(self, row: Row) -> None:
        """Count a row of this listener out."""
        self.members -= 1
        if self.limits.connections_per_peer is not None:
            host = _host(row.sockaddr)
            self.hosts[host] -= 1
            if not self.hosts[host]:
                del self.hosts[host]

    def _go_on(self, error: OSError) -> bool:
        """Act on a failed accept; True: try the next one."""
        action = self.action_on(error)
        if action is Action.PAUSE:
            self._run_short(error)
        elif action is Action.CLOSE:
            self.finish(End.ABORTED, f"accept failed: {error}")
        elif action is Action.NEXT and _is_of_one_connection(error):
            self.moves += 1
        return action is Action.NEXT

    def _run_short(self, error: OSError) -> None:
        """No resources: one line in the log until an accept succeeds, and one retry for all listeners."""
        if self._short_since is None:
            self._short_since = self.loop.now
            log.warning(
                "%s accepts nothing until a row closes: %s (raise the descriptor limit, or lower max_connections)%s",
                self, error, self._sentence(error),
            )  # fmt: skip
        self._starve("descriptors")
        self.loop.reserve.retry_later()

    def _sentence(self, error: OSError) -> str:
        after_s = self.limits.shortage_s
        if after_s is None or error.errno not in _DESCRIPTORS:
            return ""
        return f"; if that takes over {after_s:g} s (shortage_s), those who wait are closed"

    def action_on(self, error: OSError) -> Action:
        """Return what to do after accept() has failed with `error`."""
        return ACTIONS.get(error.errno or 0, Action.NEXT)

    def _starve(self, reason: str) -> None:
        """Accept nothing until a row closes (`fed`)."""
        self.pause(reason)
        self.loop.starved.append(self)

    def fed(self) -> None:
        """A descriptor was given back: try again."""
        self.loop.reserve.retry_no_more()
        self.resume("connections")
        self.resume("descriptors")

    def is_late(self) -> bool:
        """Has nobody been accepted for `shortage_s`?"""
        after_s = self.limits.shortage_s
        return after_s is not None and self._short_since is not None and self.loop.now - self._short_since >= after_s

    def refuse(self) -> None:
        """Accept and close some of those who wait, so that they can go elsewhere; go on when nobody is left."""
        for _ in range(REFUSALS):
            try:
                _accept_plainly(self.sock).close()
                self.refused += 1
            except OSError as error:
                if self.action_on(error) is Action.WAIT:
                    self.loop.starved.remove(self)
                    self.resume("descriptors")
                return

    def _gone(self) -> None:
        super()._gone()
        self.loop.reserve.leave()


def _accept_plainly(sock: Any) -> Any:
    """Accept without the handshake that accept() of a TLS socket begins."""
    return (socket.socket.accept(sock) if hasattr(sock, "do_handshake") else sock.accept())[0]


def _is_of_one_connection(error: OSError) -> bool:
    """Is a connection gone with it? An errno of accept(2), or a handshake in get_request; others may come for ever."""
    return error.errno in _LOST or isinstance(error, (ConnectionError, TimeoutError)) or type(error).__module__ == "ssl"


def _host(sockaddr: Any) -> str:
    return str(sockaddr[0]) if isinstance(sockaddr, tuple) and sockaddr else ""
