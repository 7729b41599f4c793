"""One direction of a TCP connection: a send buffer, the way, and what the receiver has room for.

What it is: bytes in order, then one end of stream or one reset. What it is not: a socket; the ends decide what a reset
or an end means. Rule: bytes leave the send buffer when the receiver has taken them into its own, so a receiver that does
not read fills first its own buffer and then that of the sender.
"""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Protocol

from .descriptions import fail

if TYPE_CHECKING:
    from .network import Network


class End(Protocol):
    """What a pipe asks of its ends."""

    arrived: bytearray
    orphan: bool

    @property
    def send_bytes(self) -> int: ...
    @property
    def receive_bytes(self) -> int: ...
    def on_eof(self) -> None: ...
    def on_eof_arrived(self) -> None: ...
    def on_reset(self) -> None: ...
    def abort(self) -> None: ...


class Pipe:
    """A direction.

    Args:
        network: the world.
        sender: who writes.
        receiver: who reads.
        opens_at: when the first thing can arrive (s).
    """

    __slots__ = ("_eof", "_eof_ripe", "_is_cut", "_last_at", "_network", "_ripe", "_sender", "_unsent", "receiver")

    def __init__(self, network: Network, sender: End, receiver: End, opens_at: float) -> None:
        self._network, self._sender, self.receiver = network, sender, receiver
        self._last_at = opens_at
        self._unsent = bytearray()  # the send buffer
        self._ripe = 0  # bytes of it that have had their time on the way
        self._eof = self._eof_ripe = self._is_cut = False

    @property
    def is_writable(self) -> bool:
        """Would epoll report room? sk_stream_is_writeable(): a third of the buffer must be free, not a byte."""
        return 2 * (self._sender.send_bytes - len(self._unsent)) >= len(self._unsent)

    @property
    def unsent_bytes(self) -> int:
        """Taken, and not in the receiver's buffer yet: what a reset destroys."""
        return len(self._unsent)

    def send(self, data: bytes) -> int:
        """Take what the send buffer has room for.

        Raises:
            OSError: EAGAIN: there is none.
        """
        room = self._sender.send_bytes - len(self._unsent)
        if room <= 0 and data:
            fail(errno.EAGAIN)
        taken = min(room, len(data))
        self._unsent += data[:taken]
        self._on_its_way(self._ripen, taken)
        return taken

    def send_eof(self) -> None:
        """End the stream, behind what was sent."""
        self._eof = True
        self._on_its_way(self._ripen_eof)

    def send_reset(self) -> None:
        """Tell the receiver that the connection is gone, behind what has arrived."""
        self._on_its_way(self.receiver.on_reset)

    def cut(self) -> None:
        """Drop what is under way; only a reset can still arrive."""
        self._is_cut = True
        self._unsent.clear()

    def settle(self) -> None:
        """Hand over what has come and fits."""
        receiver = self.receiver
        count = min(self._ripe, receiver.receive_bytes - len(receiver.arrived))
        if count > 0:
            if receiver.orphan:
                self._is_cut = True
                receiver.abort()  # nobody will read it
                return
            receiver.arrived += self._unsent[:count]
            del self._unsent[:count]
            self._ripe -= count
        if self._eof_ripe and not self._unsent:
            self._eof_ripe = False
            receiver.on_eof()
            self._sender.on_eof_arrived()

    def _on_its_way(self, *call: object) -> None:
        self._last_at = self._network.arrival(self._last_at)
        self._network.at(self._last_at, *call)  # type: ignore[arg-type]

    def _ripen(self, count: int) -> None:
        if not self._is_cut:
            self._ripe += count
            self.settle()

    def _ripen_eof(self) -> None:
        if not self._is_cut:
            self._eof_ripe = True
            self.settle()
