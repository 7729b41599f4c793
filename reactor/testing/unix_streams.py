"""Unix stream sockets as a program sees them on Linux: no network between the ends.

What it is: the states and errors of unix(7). What it is not: TCP with another address. A connection is there at once, a
closed end shuts both directions of the other, there is no reset but for input that nobody read, and a full backlog is
EAGAIN for whoever connects. What was sent lies with the receiver, and counts against the sender's buffer. With delays
(`Faults.delay_s`) it takes its time to get there, as if the sender had been descheduled; a kernel needs none.
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from ..permissions import SO_PEERCRED
from .descriptions import AF_UNIX, ERR, HUP, IN, OUT, RDHUP, Description, as_path, fail

if TYPE_CHECKING:
    from .network import Network


class UnixEnd(Description):
    """One end of a connection, or a listener."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, AF_UNIX, socket.SOCK_STREAM)
        if hasattr(os, "getuid"):  # simulated processes are all of the user who runs them
            self.options[socket.SOL_SOCKET, SO_PEERCRED] = struct.pack("iII", os.getpid(), os.getuid(), os.getgid())
        self.peer: UnixEnd | None = None
        self.arrived = bytearray()
        self.read_shut = self.write_shut = self.listens = self.gone = False
        self.queue: deque[UnixEnd] = deque()
        self.backlog = 0
        self._under_way = 0  # bytes that have been sent, and have not come
        self._last_at = 0.0

    def pair(self, other: UnixEnd) -> None:
        """Connect two ends."""
        self.peer, other.peer = other, self

    @property
    def has_peer(self) -> bool:
        """See `Description`."""
        return self.peer is not None

    def mask(self) -> int:
        """See `Description`; the order is that of unix_poll()."""
        if self.listens:
            return IN if self.queue else 0
        mask = ERR if self.error else 0
        if self.peer is None or (self.read_shut and self.write_shut):
            mask |= HUP
        if self.read_shut:
            mask |= IN | RDHUP
        if self.arrived:
            mask |= IN
        if self.peer is None or 4 * self._unread() <= self.send_bytes:
            mask |= OUT
        return mask

    def listen(self, backlog: int) -> None:
        """See listen(2)."""
        if self.name is None or self.peer is not None:
            fail(errno.EINVAL)
        self.listens, self.backlog = True, backlog

    def accept(self) -> UnixEnd:
        """See accept(2)."""
        if not self.listens:
            fail(errno.EINVAL)
        if not self.queue:
            fail(errno.EAGAIN)
        return self.queue.popleft()

    def connect(self, address: Any) -> None:
        """See connect(2): done at once, or not at all."""
        listener = find_path(self.network, self, address)
        if not isinstance(listener, UnixEnd) or not listener.listens:
            fail(errno.ECONNREFUSED)
        if len(listener.queue) > listener.backlog:
            fail(errno.EAGAIN)
        if self.peer is not None or self.listens:
            fail(errno.EINVAL if self.listens else errno.EISCONN)
        end = UnixEnd(self.network)
        end.options.update(listener.options)
        end.name, end.peer_name, self.peer_name = listener.name, self.name, listener.name
        self.pair(end)
        listener.queue.append(end)

    def recv(self, size: int, peek: bool) -> tuple[bytes, bool, Any]:
        """See recv(2); the order is that of unix_stream_read_generic()."""
        if self.peer is None:
            fail(errno.EINVAL)
        if self.arrived:
            data = bytes(self.arrived[:size])
            if not peek:
                del self.arrived[:size]
            return data, False, None
        if self.error:
            fail(self.take_error())
        if not self.read_shut:
            fail(errno.EAGAIN)
        return b"", False, None

    def send(self, data: bytes, address: Any) -> int:
        """See send(2)."""
        if self.peer is None:
            fail(errno.ENOTCONN)
        if self.write_shut or self.peer.gone or self.peer.read_shut:
            fail(errno.EPIPE)
        if self.error:
            fail(self.take_error())
        room = self.send_bytes - self._unread()
        if room <= 0 and data:
            fail(errno.EAGAIN)
        taken = data[:room]
        self._under_way += len(taken)
        self._on_its_way(self._arrive, taken)
        return len(taken)

    def _unread(self) -> int:
        """How many bytes count against our buffer."""
        return self._under_way + (0 if self.peer is None else len(self.peer.arrived))

    def _on_its_way(self, *call: Any) -> None:
        self._last_at = self.network.arrival(self._last_at)
        self.network.at(self._last_at, *call)

    def _arrive(self, data: bytes) -> None:
        self._under_way -= len(data)
        if self.peer is not None and not self.peer.gone:
            self.peer.arrived += data

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        reads = how in (socket.SHUT_RD, socket.SHUT_RDWR)
        writes = how in (socket.SHUT_WR, socket.SHUT_RDWR)
        self.read_shut |= reads
        self.write_shut |= writes
        if self.peer is not None:
            self.peer.write_shut |= reads
            if writes:
                self._on_its_way(self.peer._on_eof)

    def _on_eof(self) -> None:
        self.read_shut = True

    def release(self) -> None:
        """The last descriptor is closed."""
        self.gone = True
        for end in self.queue:
            end._leave(reset=True)
        self.queue.clear()
        self._leave(reset=bool(self.arrived))
        self.listens = False
        self.network.unbind(self)

    def break_off(self) -> None:
        """The peer is killed with unread input: the one way to a reset."""
        if self.peer is not None:
            self.gone = self.peer.gone = True
            self._on_end(reset=True)
            self.peer._on_end(reset=True)

    def _leave(self, reset: bool) -> None:
        self.gone = True
        if self.peer is not None:
            self._on_its_way(self.peer._on_end, reset)

    def _on_end(self, reset: bool) -> None:
        """The peer is closed."""
        self.read_shut = self.write_shut = True
        if reset:
            self.error = errno.ECONNRESET


def find_path(network: Network, asking: Description, address: Any) -> Description:
    """Return the socket that is, or was, bound to a path.

    Raises:
        OSError: ENOENT, ECONNREFUSED (an abstract name), or EPROTOTYPE: it is of the other type.
    """
    path = as_path(address)
    found = network.paths.get(path)
    if found is None:
        fail(errno.ECONNREFUSED if path[:1] == "\0" else errno.ENOENT)
    if found.references == 0:
        fail(errno.ECONNREFUSED)
    if found.type != asking.type:
        fail(errno.EPROTOTYPE)
    return found
