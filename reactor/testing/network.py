"""The simulated network: a clock, what is under way, who is bound where, and the processes at its ends.

What it is: `Network`, which delivers things when their time has come and jumps over the time in which nothing happens,
and `Process`, a table of descriptors with a limit. What it is not: a protocol; `tcp`, `unix_streams` and `packets` are
those. There is no thread, no port and no sleep in it, and it knows no time but that of its clock.

Rules: things that are under way arrive in the order of their times, and those of one time in the order in which they
were sent · a descriptor that is given back is the first to be given out again, as POSIX demands · what a process holds
open stays open although another one has closed its copy.
"""

from __future__ import annotations

import errno
import heapq
import os
import stat
from collections.abc import Callable
from itertools import count
from random import Random
from typing import Any

from ..clock import ManualClock
from .descriptions import AF_UNIX, Description, as_path, fail
from .faults import NO_FAULTS, FaultPlan, Faults
from .trace import Trace

# Small enough that a test fills them with a few kilobytes; real ones are grown by the kernel as it likes.
SEND_BYTES = 32768
RECEIVE_BYTES = 32768
FIRST_DESCRIPTOR = 3  # behind stdin, stdout and stderr
FIRST_PORT = 32768  # net.ipv4.ip_local_port_range begins there


class Stuck(AssertionError):
    """Somebody waits for what cannot come: nothing is ready, nothing is under way, and no time is set."""


class Network:
    """One simulated world.

    Args:
        seed: of everything that is drawn.
        clock: the clock of the world; None: a new one.
        faults: delays are the network's, the rest falls on the calls of processes that are told so.
        send_bytes: the send buffer of a new socket.
        receive_bytes: its receive buffer.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        clock: ManualClock | None = None,
        faults: Faults = NO_FAULTS,
        send_bytes: int = SEND_BYTES,
        receive_bytes: int = RECEIVE_BYTES,
    ) -> None:
        self.random = Random(seed)
        self.clock = clock if clock is not None else ManualClock()
        self.faults, self.send_bytes, self.receive_bytes = faults, send_bytes, receive_bytes
        self.trace = Trace()
        self.names: dict[Any, Description] = {}  # what is bound, by family, type and address
        self.paths: dict[str, Description] = {}  # Unix sockets; a path outlives its socket until it is unlinked
        self.calls = 0  # that did something: a loop which is told of readiness and makes none spins
        self.let_peers_act: Callable[[], bool] = lambda: False  # while a call blocks
        self._ports = count(FIRST_PORT)
        self._way: list[tuple[float, int, Callable[..., object], tuple[Any, ...]]] = []
        self._tie = count()

    # -- time -------------------------------------------------------------------------------------------------------

    @property
    def next_at(self) -> float | None:
        """When the next thing arrives (s on the clock); None: nothing is under way."""
        return self._way[0][0] if self._way else None

    def arrival(self, not_before: float = 0.0) -> float:
        """Return when something that is sent now arrives, behind what was sent before it."""
        shortest, longest = self.faults.delay_s
        delay_s = shortest if shortest == longest else self.random.uniform(shortest, longest)
        return max(not_before, self.clock.now() + delay_s)

    def at(self, at_s: float, function: Callable[..., object], *args: Any) -> None:
        """Call a function when its time has come: at once, if that is now."""
        if at_s <= self.clock.now():
            function(*args)
        else:
            heapq.heappush(self._way, (at_s, next(self._tie), function, args))

    def deliver(self) -> bool:
        """Let arrive what is due; False: nothing was."""
        delivered = False
        while self._way and self._way[0][0] <= self.clock.now():
            _, _, function, args = heapq.heappop(self._way)
            function(*args)
            delivered = True
        return delivered

    def jump(self, to_s: float) -> None:
        """Set the clock forward."""
        self.clock.advance(max(to_s - self.clock.now(), 0.0))

    def wait(self, until_s: float | None) -> bool:
        """Let the next thing arrive, if it comes before `until_s`; False: that time is over.

        Raises:
            Stuck: nothing is under way, and the wait has no end.
        """
        if self.deliver() or self.let_peers_act():
            return True
        next_at = self.next_at
        if until_s is not None and (next_at is None or next_at >= until_s):
            self.jump(until_s)
            return self.deliver()
        if next_at is None:
            raise Stuck("this call blocks for ever: nothing is under way, and no other process runs meanwhile")
        self.jump(next_at)
        return self.deliver()

    # -- addresses --------------------------------------------------------------------------------------------------

    def bind(self, description: Description, address: Any) -> Any:
        """Give a socket its address, and return it.

        Raises:
            OSError: EADDRINUSE.
        """
        if description.family == AF_UNIX:
            return self._bind_path(description, address)
        host, port = address[:2]
        if port == 0:
            port = next(each for each in self._ports if self.found(description, (host, each)) is None)
        elif self.found(description, (host, port), exactly=True) is not None:
            fail(errno.EADDRINUSE)
        name = (host or "0.0.0.0", port, *address[2:])
        self.names[self._key(description, name)] = description
        return name

    def _bind_path(self, description: Description, address: Any) -> Any:
        path = as_path(address)
        if path in self.paths:
            fail(errno.EADDRINUSE)
        self.paths[path] = description
        return path

    def unbind(self, description: Description) -> None:
        """The socket is gone: its port is free again, a path stays behind."""
        name = description.name
        if description.family == AF_UNIX:
            if name and name[0] == "\0" and self.paths.get(name) is description:  # an accepted one has the name, too
                del self.paths[name]
        elif name and self.names.get(self._key(description, name)) is description:
            del self.names[self._key(description, name)]

    def stat(self, path: str) -> os.stat_result:
        """Return what stat(2) says of the path of a Unix socket.

        Raises:
            OSError: ENOENT.
        """
        if path not in self.paths:
            fail(errno.ENOENT)
        return os.stat_result((stat.S_IFSOCK | self.paths[path].mode, id(self.paths[path]), 1, 1, 0, 0, 0, 0, 0, 0))

    def chmod(self, path: str, mode: int) -> None:
        """Set the mode of the path of a Unix socket.

        Raises:
            OSError: ENOENT.
        """
        if path not in self.paths:
            fail(errno.ENOENT)
        self.paths[path].mode = mode

    def unlink(self, path: str) -> None:
        """Remove the path of a Unix socket.

        Raises:
            OSError: ENOENT.
        """
        if self.paths.pop(path, None) is None:
            fail(errno.ENOENT)

    def found(self, asking: Description, address: Any, *, exactly: bool = False) -> Any:
        """Return who is bound at an address, by the asking socket's family and type; None: nobody."""
        host, port = address[:2]
        for each in (host or "0.0.0.0", "0.0.0.0", "::"):
            owner = self.names.get((asking.family, asking.type, each, port))
            if owner is not None:
                return owner
        if exactly and host in ("", "0.0.0.0", "::"):
            taken = (name for name in self.names if name[:2] == (asking.family, asking.type) and name[3] == port)
            return next(taken, None)
        return None

    def _key(self, description: Description, name: Any) -> Any:
        return (description.family, description.type, name[0], name[1])


class Process:
    """Descriptors of one simulated process.

    Args:
        network: the world it is in.
        name: for the trace.
        descriptors: how many there can be (RLIMIT_NOFILE), the standard three included.
        plan: the faults that fall on its calls; None: none.
    """

    def __init__(
        self, network: Network, name: str, *, descriptors: int = 1024, plan: FaultPlan | None = None
    ) -> None:
        self.network, self.name, self.limit, self.plan = network, name, descriptors, plan
        self.files: dict[int, Description] = {}
        self._given_back: list[int] = []
        self._never_used = FIRST_DESCRIPTOR

    def next_descriptor(self) -> int:
        """Return the lowest descriptor that is free.

        Raises:
            OSError: EMFILE.
        """
        fd = self._given_back[0] if self._given_back else self._never_used
        if fd >= self.limit:
            fail(errno.EMFILE)
        return fd

    def open(self, description: Description) -> int:
        """Give a description a descriptor."""
        fd = self.next_descriptor()
        if self._given_back:
            heapq.heappop(self._given_back)
        else:
            self._never_used += 1
        self.files[fd] = description
        description.references += 1
        return fd

    def close(self, fd: int) -> None:
        """Give a descriptor back; its socket is closed with the last one, in whatever process.

        Raises:
            OSError: EBADF.
        """
        description = self.files.pop(fd, None)
        if description is None:
            fail(errno.EBADF)
        heapq.heappush(self._given_back, fd)
        _let_go(description)

    def child(self, name: str) -> Process:
        """Return what a fork makes: a process that holds a copy of each descriptor until it exits."""
        child = Process(self.network, name, descriptors=self.limit)
        for fd, description in self.files.items():
            child.files[fd] = description
            description.references += 1
        child._given_back = list(self._given_back)
        child._never_used = self._never_used
        return child

    def exit(self) -> None:
        """Close everything."""
        for fd in sorted(self.files):
            self.close(fd)


def _let_go(description: Description) -> None:
    description.references -= 1
    if description.references == 0:
        description.release()
