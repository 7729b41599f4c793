"""A simulated selector: epoll as `selectors.EpollSelector` shows it, on simulated sockets and simulated time.

What it is: a `selectors.BaseSelector`, so that whatever takes one takes this one. What it is not: a wait; where nothing
is ready, the clock jumps to when the next thing arrives, or to the end of the timeout.

It imitates what programs stumble over: readiness is level-triggered · HUP and ERR are reported whatever the interest,
also with none at all · a socket that is closed without being unregistered is gone from epoll, unless somebody else
(dup, fork) holds it: then it wakes the waiter for ever, and nobody learns why · the order of what is ready is nobody's
promise, so it is drawn anew each time.
"""

from __future__ import annotations

import contextlib
import errno
import selectors
from collections.abc import Mapping
from typing import Any

from .descriptions import ERR, HUP, IN, OUT, Description, fail
from .network import Process, Stuck

# So many times in a row, at one moment, may a loop be told of readiness and get nothing done, before it counts as a spin.
IDLE_TELLINGS = 100


class Spinning(AssertionError):
    """A loop is told of readiness again and again and does nothing about it: on a real machine, 100 % of the CPU."""


class SimulatedSelector(selectors.BaseSelector):
    """An epoll of a simulated process.

    Args:
        process: whose descriptors it watches.
        shuffles: the order of what is ready is drawn; else it is that of registration.
    """

    def __init__(self, process: Process, *, shuffles: bool = True) -> None:
        self.process, self._shuffles = process, shuffles
        self._keys: dict[int, selectors.SelectorKey] = {}
        self._watched: dict[tuple[int, Description], int] = {}  # as epoll: by descriptor *and* open socket
        plan = process.plan
        # Where calls are put off by chance, more of them may be in a row.
        self._patience = IDLE_TELLINGS if plan is None else IDLE_TELLINGS / (1 - plan.faults.would_block)
        self._progress = -1, 0.0
        self._tellings = 0

    # -- registering ------------------------------------------------------------------------------------------------

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.register`."""
        if not events or events & ~3:
            raise ValueError(f"Invalid events: {events!r}")
        fd = self._fd(fileobj)
        if fd in self._keys:
            raise KeyError(f"{fileobj!r} (FD {fd}) is already registered")
        description = self._description(fd)
        self._may_fail("register", description)
        if (fd, description) in self._watched:
            fail(errno.EEXIST)
        self._watched[fd, description] = events
        key = self._keys[fd] = selectors.SelectorKey(fileobj, fd, events, data)
        return key

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.modify`; like the real one it takes 0, which silences neither HUP nor ERR."""
        key = self.get_key(fileobj)
        if key.events != events:
            try:
                description = self._description(key.fd)
                self._may_fail("modify", description)
                if (key.fd, description) not in self._watched:
                    fail(errno.ENOENT)
            except OSError:
                del self._keys[key.fd]
                raise
            self._watched[key.fd, description] = events
        key = self._keys[key.fd] = key._replace(events=events, data=data)
        return key

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.unregister`: of a descriptor that is closed, epoll knows nothing any more."""
        key = self.get_key(fileobj)
        del self._keys[key.fd]
        description = self.process.files.get(key.fd)
        with contextlib.suppress(OSError):  # "raised if the file was closed since it was registered"
            self._may_fail("unregister", description)
        if description is not None:
            self._watched.pop((key.fd, description), None)
        return key

    def _may_fail(self, call: str, on: Any = None) -> None:
        if self.process.plan is not None:
            self.process.plan.before(call, on)

    def get_key(self, fileobj: Any) -> selectors.SelectorKey:
        """See `selectors.BaseSelector.get_key`."""
        try:
            fd = self._fd(fileobj)
        except ValueError:  # closed: it is found by identity
            fd = next((key.fd for key in self._keys.values() if key.fileobj is fileobj), -1)
        if fd not in self._keys:
            raise KeyError(f"{fileobj!r} is not registered")
        return self._keys[fd]

    def get_map(self) -> Mapping[Any, selectors.SelectorKey]:
        """Return the keys by descriptor."""
        return self._keys

    def close(self) -> None:
        """Forget everything."""
        self._keys.clear()
        self._watched.clear()

    def _fd(self, fileobj: Any) -> int:
        fd = fileobj if isinstance(fileobj, int) else fileobj.fileno()
        if fd < 0:
            raise ValueError(f"Invalid file descriptor: {fd}")
        return int(fd)

    def _description(self, fd: int) -> Description:
        description = self.process.files.get(fd)
        if description is None:
            fail(errno.EBADF)
        return description

    # -- waiting ----------------------------------------------------------------------------------------------------

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """Return what is ready; where nothing is, jump.

        Raises:
            Stuck: nothing is under way, and no timeout was given.
            Spinning: the program does nothing about what it is told.
        """
        network = self.process.network
        until_s = None if timeout is None else network.clock.now() + max(timeout, 0.0)
        try:
            self._may_fail("select")
        except InterruptedError:
            return []  # as every selector of the standard module
        while True:
            network.deliver()
            told, ready = self._ready()
            if told:
                self._watch_for_spin(ready)
                return ready
            if until_s is not None and network.clock.now() >= until_s:
                return []
            if not network.let_peers_act():  # time stands still while anything can be done
                self._jump(until_s)

    def _jump(self, until_s: float | None) -> None:
        network = self.process.network
        next_at = network.next_at
        if next_at is None and until_s is None:
            raise Stuck(
                f"{self.process.name} waits for ever: nothing is ready, nothing is under way, and no deadline is set"
            )
        network.jump(min(at for at in (next_at, until_s) if at is not None))

    def _ready(self) -> tuple[bool, list[tuple[selectors.SelectorKey, int]]]:
        """Return whether epoll would return, and what Python makes of it."""
        told = False
        ready = []
        for (fd, description), events in tuple(self._watched.items()):
            if description.references == 0:
                del self._watched[fd, description]
                continue
            mask = description.mask()
            reported = mask & ((IN if events & 1 else 0) | (OUT if events & 2 else 0) | ERR | HUP)
            if not reported:
                continue
            told = True
            key = self._keys.get(fd)
            if key is not None:
                as_python = (2 if reported & ~IN else 0) | (1 if reported & ~OUT else 0)
                ready.append((key, as_python & key.events))
        if self._shuffles and len(ready) > 1:
            self.process.network.random.shuffle(ready)
        return told, ready

    def _watch_for_spin(self, ready: list[tuple[selectors.SelectorKey, int]]) -> None:
        network = self.process.network
        progress = network.calls, network.clock.now()  # who tries again a second later does not spin
        self._tellings = self._tellings + 1 if progress == self._progress else 0
        self._progress = progress
        if self._tellings > self._patience:
            what = ", ".join(f"{key.data or key.fileobj}" for key, _ in ready)
            raise Spinning(
                f"{self.process.name} was told {self._tellings} times of the same readiness and got nothing done: "
                f"{what or 'a descriptor that was closed, while a fork or a dup still holds its socket'}"
            )
