"""Datagram sockets, UDP and Unix, as a program sees them on Linux.

What it is: packets in order between two sockets, cut to what the receiver asks for. What it is not: reliable; UDP drops
what the receiver has no room for and says nothing, a Unix socket makes the sender wait.

Rules: an empty packet is a packet · an ICMP error (nobody listens there) reaches only a *connected* UDP socket, as
ECONNREFUSED of its next call · a connected socket hears its peer alone · who is not bound has no Unix address.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from .descriptions import AF_UNIX, ERR, IN, OUT, RDHUP, Description, fail
from .unix_streams import find_path

if TYPE_CHECKING:
    from .network import Network

UDP_BYTES = 65507  # RFC 768 in RFC 791
UNIX_PACKETS = 10  # net.unix.max_dgram_qlen of most systems


class PacketEnd(Description):
    """What UDP and Unix datagram sockets have in common."""

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family, socket.SOCK_DGRAM)
        self.packets: deque[tuple[bytes, Any]] = deque()
        self.held = 0
        self.read_shut = self.write_shut = False

    def mask(self) -> int:
        """See `Description`; as datagram_poll()."""
        mask = ERR if self.error else 0
        if self.read_shut:
            mask |= IN | RDHUP
        if self.packets:
            mask |= IN
        return mask | OUT if self.has_room() else mask

    def has_room(self) -> bool:
        """May a packet be sent?"""
        return True

    def recv(self, size: int, peek: bool) -> tuple[bytes, bool, Any]:
        """See recvmsg(2)."""
        if self.error:
            fail(self.take_error())
        if not self.packets:
            fail(errno.EAGAIN)  # also when the reading side is shut: a packet socket has no end of stream
        data, sender = self.packets[0]
        if not peek:
            self.packets.popleft()
            self.held -= len(data)
        return data[:size], len(data) > size, sender

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        if self.peer_name is None:
            fail(errno.ENOTCONN)
        self.read_shut |= how in (socket.SHUT_RD, socket.SHUT_RDWR)
        self.write_shut |= how in (socket.SHUT_WR, socket.SHUT_RDWR)

    def release(self) -> None:
        """The last descriptor is closed."""
        self.packets.clear()
        self.network.unbind(self)


class UdpEnd(PacketEnd):
    """A UDP socket."""

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self._last_at: dict[Any, float] = {}  # when the last packet to an address arrives

    def connect(self, address: Any) -> None:
        """See connect(2): only an address is set."""
        self._bind_somewhere()
        self.peer_name = address

    def send(self, data: bytes, address: Any) -> int:
        """See sendto(2)."""
        if self.error:
            fail(self.take_error())
        if self.write_shut:
            fail(errno.EPIPE)
        to = address if address is not None else self.peer_name
        if to is None:
            fail(errno.EDESTADDRREQ)
        if len(data) > UDP_BYTES:
            fail(errno.EMSGSIZE)
        self._bind_somewhere()
        network = self.network
        self._last_at[to] = network.arrival(self._last_at.get(to, 0.0))
        network.at(self._last_at[to], self._arrive, data, to)
        return len(data)

    def _bind_somewhere(self) -> None:
        if self.name is None:
            self.bind(("127.0.0.1" if self.family == socket.AF_INET else "::1", 0))

    def _arrive(self, data: bytes, to: Any) -> None:
        receiver = self.network.found(self, to)
        if receiver is None:
            if self.peer_name == to:
                self.network.at(self.network.arrival(), self._unreachable)
        elif receiver.peer_name in (None, self.name) and receiver.held + len(data) <= receiver.receive_bytes:
            receiver.packets.append((data, self.name))
            receiver.held += len(data)

    def _unreachable(self) -> None:
        if self.references:
            self.error = errno.ECONNREFUSED


class UnixPacketEnd(PacketEnd):
    """A Unix datagram socket."""

    def __init__(self, network: Network) -> None:
        super().__init__(network, AF_UNIX)
        self.peer: UnixPacketEnd | None = None

    def pair(self, other: UnixPacketEnd) -> None:
        """Connect two ends."""
        self.peer, other.peer = other, self
        self.peer_name = other.peer_name = ""

    @property
    def has_peer(self) -> bool:
        """See `Description`."""
        return self.peer is not None

    def has_room(self) -> bool:
        """As unix_dgram_poll(): a connected socket waits for its peer."""
        return self.peer is None or len(self.peer.packets) <= UNIX_PACKETS

    def connect(self, address: Any) -> None:
        """See connect(2)."""
        found = find_path(self.network, self, address)
        assert isinstance(found, UnixPacketEnd)
        self.peer, self.peer_name = found, found.name

    def send(self, data: bytes, address: Any) -> int:
        """See sendto(2)."""
        if self.write_shut:
            fail(errno.EPIPE)
        receiver: Any = self.peer if address is None else find_path(self.network, self, address)
        if receiver is None:
            fail(errno.ENOTCONN)
        if len(data) > self.send_bytes:
            fail(errno.EMSGSIZE)
        if receiver.references == 0:
            fail(errno.ECONNREFUSED)
        if receiver.peer is not None and receiver.peer is not self:
            fail(errno.EPERM)
        if len(receiver.packets) > UNIX_PACKETS:
            fail(errno.EAGAIN)
        receiver.packets.append((data, self.name))
        receiver.held += len(data)
        return len(data)
