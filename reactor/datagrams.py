"""Datagram sockets: a row that receives packets and answers them.

What it is: receive, call the handler, send the answer. What it is not: a conversation; a packet has no phase of its
own, so the row stays LISTENING.

Rules: a pending network error (ICMP, reported on the socket) costs no more than itself; asyncio once stopped reading
for it (cpython#127057) · an empty packet is a packet · what does not fit was cut by the kernel and says so
(`truncated`) · an answer that the kernel does not take now is dropped and counted, as networks do · never is an error
answered by a packet (CVE-2024-2169).
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from typing import Any

from .addresses import Peer
from .limits import Limits
from .listening import ListeningRow
from .phases import End
from .snapshots import Kind
from .transports import NOT_NOW

log = logging.getLogger("reactor")

# RFC 768 and 791: at most 65,507 bytes of UDP payload; Unix datagrams can be longer and are cut here.
PACKET_BYTES = 65536
# A number: the operators of enum.Flag take longer than the rest of a packet's way.
CUT = int(getattr(socket, "MSG_TRUNC", 0))
# Packets a turn, as `Limits.accepts_per_turn`: 0.4 ms of echoes; what is left waits for the others to get their turn.
PACKETS_PER_TURN = 64
# The socket is not (any more) one that can receive.
_FATAL = frozenset({errno.EBADF, errno.ENOTSOCK, errno.EOPNOTSUPP})


class Datagram:
    """One packet, and the way to answer it."""

    __slots__ = ("data", "row", "sockaddr", "truncated")

    def __init__(self, data: bytes, sockaddr: Any, row: DatagramRow, truncated: bool = False) -> None:
        self.data, self.sockaddr, self.row, self.truncated = data, sockaddr, row, truncated

    @property
    def peer(self) -> Peer:
        """The sender."""
        return Peer(self.sockaddr)

    @property
    def local(self) -> Peer | None:
        """The address of the socket that received it; None if it is closed."""
        return Peer(self.row.sock.getsockname()) if self.row.fd >= 0 else None

    def reply(self, data: bytes) -> None:
        """Send one packet back, at once; dropped and counted (`row.dropped`) if the kernel does not take it."""
        self.row.send(data, self.sockaddr)


class DatagramRow(ListeningRow):
    """A bound, non-blocking datagram socket.

    Args:
        loop: the loop.
        sock: the socket; the row closes it.
        name: of the listener.
        limits: of the listener.
        handler: is called with each `Datagram`; what it returns, if anything, is given to `spawn`.
        spawn: runs a coroutine.
    """

    kind: Kind = "datagram"
    __slots__ = ("_handler", "_may_be_cut", "_spawn", "dropped")

    def __init__(
        self,
        loop: Any,
        sock: Any,
        name: str,
        limits: Limits,
        handler: Callable[[Datagram], Any],
        spawn: Callable[[Any], object],
    ) -> None:
        self._handler, self._spawn = handler, spawn
        # Those of UDP fit, whole, and recvfrom() costs half of recvmsg(), which Windows does not have.
        self._may_be_cut = sock.family not in (socket.AF_INET, socket.AF_INET6)
        self.dropped = 0  # answers that could not be sent, network errors that were reported
        super().__init__(loop, sock, name, limits)

    def on_ready(self, ready: int) -> None:
        """Take up to PACKETS_PER_TURN packets."""
        sock, observer = self.sock, self.loop.observer
        new, kind = object.__new__, Datagram  # to call a class with an __init__ is a roundabout way: 3 % of a packet's
        for _ in range(PACKETS_PER_TURN):
            if self.marked:  # a handler has paused or ended the row, and settle will see to it
                return
            packet = new(kind)
            packet.row, packet.truncated = self, False
            try:
                if self._may_be_cut:
                    packet.data, _, flags, packet.sockaddr = sock.recvmsg(PACKET_BYTES)
                    packet.truncated = bool(flags & CUT)
                else:
                    packet.data, packet.sockaddr = sock.recvfrom(PACKET_BYTES)
            except OSError as error:
                if not self._go_on(error):
                    return
                continue
            self.bytes_in += len(packet.data)
            self.requests += 1
            if observer is not None:
                observer.on_frame(self, len(packet.data))
            try:
                result = self._handler(packet)
                if result is not None:
                    self._spawn(result)
            except Exception as error:
                self.loop.contain(self, error)

    def _go_on(self, error: OSError) -> bool:
        """Act on a failed receive; True: try the next packet."""
        if error.errno in NOT_NOW:
            return False
        if error.errno in _FATAL:
            self.finish(End.ABORTED, f"receive failed: {error}")
            return False
        self.dropped += 1
        log.debug("%s: the network reports %s", self, error)
        return True

    def send(self, data: bytes, sockaddr: Any) -> None:
        """Send a packet now, or drop and count it, as when the row has ended."""
        try:
            self.bytes_out += self.sock.sendto(data, sockaddr)
        except (OSError, TypeError) as error:
            # TypeError: a Unix sender that is not bound has no address to answer to (sockaddr is None).
            if isinstance(error, TypeError) and sockaddr:
                raise
            self.dropped += 1
            log.debug("%s: an answer to %s was dropped: %s", self, sockaddr, error)
