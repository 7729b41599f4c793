"""Which rows are ready? The only user of `selectors`.

What it is: a selector whose keys carry rows, and the one place that registers, modifies and unregisters. What it is
not: a dispatcher. Rules, each bought with somebody's outage:

1. A batch carries rows, never descriptors: one that is closed inside a batch can already belong to another row.
2. No interest is not `modify(fd, 0)`: epoll and poll still report HUP and ERR then (530,000 wake-ups a second); a row
   with no interest is unregistered, and guarded by its deadline.
3. An entry whose socket was closed behind our back is replaced, not an error (kafka-python-ng#177).
4. epoll goes on about a file that was closed by its descriptor while a copy is open (a child, `dup`): no descriptor is
   left to unregister it by, so its set is made anew (`renew`), and whoever watches `fileno()` sees the same descriptor.
5. `select()` with a descriptor of 1024 or more fails for ever after; it is refused when it is registered.

Where the platform's selector is epoll and nobody injected another one, a subclass looks rows up by their descriptors: the
public one keeps a key for each (88 bytes), and builds a key and an event mask for each event (5-11 % of an echo).
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import selectors
from typing import TYPE_CHECKING, Any

from .phases import End

if TYPE_CHECKING:
    from .table import Row

# FD_SETSIZE of every libc that matters; Windows counts sockets instead (512) and has its own error.
FD_SETSIZE = 1024
# Rows dispatched before the dirty ones are settled. epoll returns the others in the next turn, in a round robin.
BATCH_ROWS = 128

Selector = selectors.BaseSelector
Batch = list[tuple["Row", int]]


class Demultiplexer:
    """Rows in a selector.

    Args:
        selector: any selector of the standard module; None: the platform's best. It is closed with this object.
    """

    def __init__(self, selector: selectors.BaseSelector | None = None) -> None:
        self._selector: selectors.BaseSelector = selector if selector is not None else _best()
        # What is watched, by descriptor; ours knows it already.
        self._rows: dict[int, Row] = getattr(self._selector, "rows", {})
        wait = getattr(self._selector, "wait_rows", None)
        self._all = self._wait if wait is None else wait
        self.wait = self._all
        self._most = self._next = 0
        self._barred: set[Row] = set()
        self._outer: Any = None  # what other loops watch: it holds the epoll set, whichever that is
        self._limit = FD_SETSIZE if isinstance(self._selector, selectors.SelectSelector) else None

    def _wait(self, timeout_s: float | None) -> Batch:
        """Return the ready rows; [] after `timeout_s` (None: wait for ever) or when a signal came."""
        try:
            return [(key.data, ready) for key, ready in self._selector.select(timeout_s)]
        except (OSError, ValueError):
            # select() fails as a whole for one socket that was closed behind our back: its row must hear of it.
            keys = self._selector.get_map().values()
            closed = [(key.data, key.events) for key in keys if key.data.sock.fileno() != key.fd]
            if not closed:
                raise
            return closed

    def take(self, most: int | None) -> None:
        """Return at most so many rows at a time from now on, in a round robin; None: as many as ever."""
        self.wait = self._all if most is None else self._wait_for_some
        self._most = most or 0

    def _wait_for_some(self, timeout_s: float | None) -> Batch:
        batch = self._all(timeout_s)
        if len(batch) <= self._most:
            return batch
        self._next = (self._next + self._most) % len(batch)  # those left out are announced again
        return (batch[self._next :] + batch[: self._next])[: self._most]

    def set(self, row: Row, interest: int) -> None:
        """Make `interest` (READ, WRITE, both, 0) what the row waits for; no system call if it is already so.

        Raises:
            OSError: the selector cannot watch the row's descriptor, or somebody else has closed it.
        """
        if interest == row.interest or (self._barred and row in self._barred):
            return
        if not row.interest:
            self._register(row, interest)
        elif interest:
            self._selector.modify(row.fd, interest, row)
        else:
            self._unregister(row)
        row.interest = interest

    def _register(self, row: Row, interest: int) -> None:
        if self._limit is not None and row.fd >= self._limit:
            raise OSError(
                errno.EMFILE, f"select() cannot watch descriptor {row.fd} of {row}: the limit is {self._limit - 1}"
            )
        if row.fd < 0 or row.sock.fileno() != row.fd:  # the number may be another row's by now
            raise OSError(errno.EBADF, f"descriptor {row.fd} of {row} was closed by somebody else")
        if row.fd in self._rows:
            self._forget(self._rows[row.fd])  # of another row, closed without a word: rule 3
        try:
            self._selector.register(row.fd, interest, row)
        except OSError as error:  # epoll refuses regular files with a mere "Operation not permitted"
            name = type(self._selector).__name__
            text = f"{name} cannot watch descriptor {row.fd} of {row}: {error.strerror}"
            raise OSError(error.errno, text) from error
        self._rows[row.fd] = row

    def _forget(self, row: Row) -> None:
        """Somebody else has closed the row's descriptor."""
        row.interest = 0
        self._unregister(row)
        row.finish(End.ABORTED, f"its descriptor {row.fd} was closed by somebody else")

    def _unregister(self, row: Row) -> None:
        # A row that has an interest is what its descriptor is watched for: `_register` sees to that.
        del self._rows[row.fd]
        try:
            self._selector.unregister(row.fd)
        except (KeyError, OSError):
            pass  # a `modify` has failed, which forgets the descriptor

    def bar(self, row: Row) -> None:
        """Watch the row no more, whatever it will ask for until it ends."""
        self.set(row, 0)
        self._barred = {each for each in self._barred if each.fd >= 0}  # rows that have ended are not kept for long
        self._barred.add(row)

    def is_ready(self, row: Row) -> bool:
        """Is the row's own descriptor ready, when it alone is asked? The selector may speak of another file."""
        if not isinstance(self._selector, _REAL):
            return True
        with _one_shot() as selector, contextlib.suppress(OSError, ValueError):
            selector.register(row.fd, row.interest)
            return bool(selector.select(0))
        return True  # nobody can say

    def has_strays(self) -> bool:
        """Does epoll report a descriptor that no row has?"""
        epoll = _epoll_of(self._selector)
        if epoll is None:
            return False
        return any(fd not in self._rows for fd, _ in epoll.poll(0))

    def renew(self) -> bool:
        """Make the epoll set anew, under the same descriptor; False: it is no epoll, or there are no resources now."""
        epoll = _epoll_of(self._selector)
        if epoll is None:
            return False
        try:
            with select.epoll() as fresh:
                closed = [row for row in self._rows.values() if not _carried_over(row, fresh)]
                self._replace(epoll.fileno(), fresh.fileno())
        except OSError:
            return False
        for row in closed:
            self._forget(row)
        return True

    def _replace(self, old: int, fresh: int) -> None:
        """Give the fresh set the old one's descriptor; a copy of the old one, in a child, must not wake the host."""
        if self._outer is not None:
            self._outer.unregister(old)
        try:
            os.dup2(fresh, old, inheritable=False)
        finally:
            if self._outer is not None:
                self._outer.register(old, select.EPOLLIN)

    def fileno(self) -> int:
        """Return a descriptor that is readable when a row is ready (epoll, kqueue, devpoll).

        Raises:
            OSError: this selector has none (poll, select).
        """
        epoll = _epoll_of(self._selector)
        if epoll is not None:  # an epoll of another loop would lose the set that `renew` replaces
            if self._outer is None:
                self._outer = select.epoll()
                self._outer.register(epoll.fileno(), select.EPOLLIN)
            return int(self._outer.fileno())
        fileno = getattr(self._selector, "fileno", None)
        if fileno is None:
            raise OSError(errno.ENOSYS, f"{type(self._selector).__name__} has no descriptor that can be watched")
        return int(fileno())

    def close(self) -> None:
        """Give the selector's own descriptors back."""
        if self._outer is not None:
            self._outer.close()
        self._selector.close()


def wait_readable(sock: Any, timeout_s: float | None) -> bool:
    """Wait until `sock` is readable; False: `timeout_s` is over, or a signal came."""
    with _one_shot() as selector:
        selector.register(sock, selectors.EVENT_READ)
        return bool(selector.select(timeout_s))


# poll() needs no descriptor of its own, which matters when none is left.
_one_shot = getattr(selectors, "PollSelector", selectors.SelectSelector)


def _best() -> selectors.BaseSelector:
    if DirectEpoll is not None:
        selector = DirectEpoll()
        if hasattr(selector, "_selector"):  # private: a later Python may have another name for it
            return selector
        selector.close()
    return selectors.DefaultSelector()


# epoll_ctl(2) has no memory or no watch left.
_NO_ROOM = frozenset({errno.ENOMEM, errno.ENOSPC})
# Those of the standard module, whose descriptors are real.
_REAL = tuple(
    getattr(selectors, name)
    for name in ("SelectSelector", "PollSelector", "EpollSelector", "KqueueSelector", "DevpollSelector")
    if hasattr(selectors, name)
)


def _epoll_of(selector: selectors.BaseSelector) -> Any:
    """Return the epoll object of a selector; None: it has none, or a later Python hides it."""
    epoll = getattr(selector, "_selector", None)
    return epoll if isinstance(epoll, getattr(select, "epoll", ())) else None


def _mask(interest: int) -> int:
    return interest & 1 | (interest & 2) << 1  # EPOLLIN is 1, EPOLLOUT 4


def _carried_over(row: Row, fresh: Any) -> bool:
    """Register what a row waits for in another epoll set; False: its descriptor was closed."""
    if row.sock.fileno() != row.fd:
        return False
    try:
        fresh.register(row.fd, _mask(row.interest))
    except OSError as error:
        if error.errno in _NO_ROOM:
            raise
        return False  # the number is free, a file's, or that of `fresh` itself
    return True


DirectEpoll: type[selectors.BaseSelector] | None = None

if getattr(selectors, "EpollSelector", None) is selectors.DefaultSelector:  # pragma: no branch  (Linux has it, others not)
    _READABLE, _WRITABLE = ~select.EPOLLOUT, ~select.EPOLLIN  # as `selectors`: HUP and ERR count as both

    class _DirectEpoll(selectors.EpollSelector):
        """An EpollSelector without keys: the demultiplexer notes in `rows` what is watched."""

        def __init__(self) -> None:
            super().__init__()
            self.rows: dict[int, Row] = {}

        def wait_rows(self, timeout_s: float | None) -> Batch:
            """As `Demultiplexer._wait`, at most BATCH_ROWS at a time."""
            wait_s = -1 if timeout_s is None else timeout_s if timeout_s > 0 else 0  # epoll: negative is for ever
            try:
                events = self._selector.poll(wait_s, BATCH_ROWS)  # type: ignore[attr-defined]
            except InterruptedError:
                return []
            rows = self.rows
            try:
                # EPOLLIN is 1 like EVENT_READ.
                return [(rows[fd], event if event == 1 else _translated(event, rows[fd])) for fd, event in events]
            except KeyError:  # a descriptor that was closed and unregistered while a fork still holds its file
                return [(rows[fd], _translated(event, rows[fd])) for fd, event in events if fd in rows]

        def register(self, fd: int, events: int, data: Any = None) -> None:  # type: ignore[override]
            """As the public one, without its look-ups and the key."""
            self._selector.register(fd, events & 1 | (events & 2) << 1)  # type: ignore[attr-defined]  # see `_mask`

        def modify(self, fd: int, events: int, data: Any = None) -> None:  # type: ignore[override]
            """As the public one."""
            self._selector.modify(fd, _mask(events))  # type: ignore[attr-defined]

        def unregister(self, fd: int) -> None:  # type: ignore[override]
            """As the public one, which passes over the same error: closed meanwhile, it has left the set by itself."""
            self._selector.unregister(fd)  # type: ignore[attr-defined]

    def _translated(event: int, row: Row) -> int:
        ready = (2 if event & _WRITABLE else 0) | (1 if event & _READABLE else 0)
        return ready & row.interest

    DirectEpoll = _DirectEpoll
