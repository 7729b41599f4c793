"""The peers of a simulated server, as a test plays them.

What it is: `Client`, which says what the peer does, and keeps what it is told. What it is not: a socket of the program
under test: no fault falls on its calls, and it never blocks. What it sends waits with it until the connection has room;
what the server sends is read at once, unless the test says `stop_reading`.
"""

from __future__ import annotations

import socket
import struct
from typing import Literal

from .descriptions import AF_UNIX, ERR, HUP, IN, OUT
from .sockets import SimulatedSocket
from .tcp import TcpEnd

# As much as any receive buffer here holds.
READ_BYTES = 1 << 20
_READABLE, _WRITABLE = IN | ERR | HUP, OUT | ERR | HUP
_LINGER_0 = struct.pack("ii", 1, 0)


class Client:
    """One connection, seen from outside.

    Args:
        sock: it, connecting or connected; the client closes it.
    """

    def __init__(self, sock: SimulatedSocket) -> None:
        self._sock = sock
        self._outbox = bytearray()
        self._received = bytearray()
        self._reads = True
        self._eof_wanted = self._close_wanted = False
        self._send_was_reset = False  # the kernel tells a reset once: to `send`, then `recv` finds a plain end
        self._ended: Literal["", "eof", "reset"] = ""

    # -- what a test says -------------------------------------------------------------------------------------------

    def send(self, data: bytes) -> None:
        """Send bytes; what the connection has no room for follows as the server reads.

        Raises:
            ValueError: after `send_eof`, `reset` or `close`.
        """
        if self._eof_wanted or self._close_wanted or self._sock.fileno() < 0:
            raise ValueError("this client has ended its stream: nothing can be sent behind that")
        self._outbox += data
        self.pump()

    def send_eof(self) -> None:
        """End our side of the stream, behind what was sent; the server can still answer."""
        self._eof_wanted = True
        self.pump()

    def reset(self) -> None:
        """Break the connection off, as a peer does that crashes; what was not sent yet is lost."""
        if self._sock.fileno() < 0:
            return
        if self._sock.family == AF_UNIX:
            self._sock._description.break_off()
        self._sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_0)
        self._sock.close()

    def close(self) -> None:
        """Close, behind what was sent; what the server says from then on is answered by a reset."""
        self._close_wanted = True
        self.pump()

    def stop_reading(self) -> None:
        """Leave what the server sends in the connection, until that is full."""
        self._reads = False

    def go_on_reading(self) -> None:
        """Read again."""
        self._reads = True
        self.pump()

    def take(self) -> bytes:
        """Return what was received since the last time."""
        self.pump()
        data = bytes(self._received)
        self._received.clear()
        return data

    @property
    def ended(self) -> Literal["", "eof", "reset"]:
        """How the server has ended its side; "": not yet."""
        self.pump()
        return self._ended

    @property
    def address(self) -> object:
        """Where it calls from, as the server sees it."""
        return self._sock.getsockname()

    # -- what the simulation calls ----------------------------------------------------------------------------------

    @property
    def is_over(self) -> bool:
        """Will nothing happen to it any more?"""
        return self._sock.fileno() < 0

    def pump(self) -> bool:
        """Do what can be done now; False: nothing could."""
        if self._sock.fileno() < 0:
            return False
        moved = self._read() if self._reads and not self._ended else False
        return self._write() or moved

    def _read(self) -> bool:
        moved = False
        while not self._ended and self._sock._description.mask() & _READABLE:
            try:
                data = self._sock.recv(READ_BYTES)
            except OSError:
                self._ended = "reset"
                return True
            moved = True
            if not data:
                self._ended = "reset" if self._send_was_reset else "eof"
            self._received += data
        return moved

    def _write(self) -> bool:
        moved = False
        try:
            while self._outbox:
                if not self._sock._description.mask() & _WRITABLE:
                    return moved
                sent = self._sock.send(self._outbox)
                del self._outbox[:sent]
                moved = True
            if self._eof_wanted and not self._is_shut:
                self._sock.shutdown(socket.SHUT_WR)
                moved = True
        except OSError as error:
            self._send_was_reset |= isinstance(error, ConnectionResetError)
            self._outbox.clear()
            if self._reads and not self._ended:
                self._ended = "reset"
        if self._close_wanted:
            self._sock.close()
            moved = True
        return moved

    @property
    def _is_shut(self) -> bool:
        description = self._sock._description
        if isinstance(description, TcpEnd) and not description.can_shut:
            return True  # connecting still, or gone
        return bool(getattr(description, "write_shut", False))
