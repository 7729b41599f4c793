"""TCP as a program sees it through a socket on Linux: connecting, listening, two directions, resets.

What it is: the states and errors of tcp(7), with bounded buffers at both ends. What it is not: segments; a direction
carries bytes, then at most one end of stream or one reset, in the order in which they were sent.

Rules, all of which a contract test holds against the real kernel:

1. A socket that is closed with unread input, or with SO_LINGER of 0 s, answers with a reset; so does one that is closed
   already when data comes. What the receiver holds by then can still be read; what the sender still held is lost.
2. The first call after a reset gets ECONNRESET, later ones EPIPE or the end of the stream. A reset that comes after the
   peer's end of stream is an EPIPE from the start.
3. Both sides shut is a closed connection: HUP, and ENOTCONN for whoever asks for the peer.
4. One connection more than `backlog` waits to be accepted; who comes then is not answered and tries again after 1, 2,
   4 ... s (tcp_syn_retries in tcp(7)).
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from enum import Enum
from typing import TYPE_CHECKING, Any

from .descriptions import ERR, HUP, IN, OUT, RDHUP, Description, fail
from .pipes import Pipe

if TYPE_CHECKING:
    from .network import Network

SYN_RETRY_S = 1.0
SYN_RETRIES = 6


class State(Enum):
    """What a TCP socket is; those that programs cannot tell apart are one."""

    CLOSED = "closed"
    CONNECTING = "connecting"
    OPEN = "open"
    LISTENING = "listening"


class TcpEnd(Description):
    """One end of a connection, or a listener."""

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family, socket.SOCK_STREAM)
        self.state = State.CLOSED
        self.arrived = bytearray()
        self.out: Pipe | None = None  # to the peer
        self.incoming: Pipe | None = None
        self.read_shut = self.write_shut = False
        self.eof_seen = False  # the peer's end of stream has come
        self.eof_arrived = False  # ours has reached the peer
        self.orphan = False  # closed by its program, while the connection still ends
        self.unread_connect = False  # the program has not been told that connecting has succeeded
        self.queue: deque[TcpEnd] = deque()
        self.backlog = 0

    @property
    def has_peer(self) -> bool:
        """See `Description`."""
        return self.state is State.OPEN

    @property
    def can_shut(self) -> bool:
        """Can our side still be shut?"""
        return self.state is State.OPEN and not self.write_shut

    @property
    def unsent_bytes(self) -> int:
        """See `Description`."""
        return 0 if self.out is None else self.out.unsent_bytes

    # -- what a program calls ---------------------------------------------------------------------------------------

    def mask(self) -> int:
        """See `Description`; the order is that of tcp_poll()."""
        if self.state is State.LISTENING:
            return IN if self.queue else 0
        mask = ERR if self.error else 0
        closed = self.state is State.CLOSED
        if closed or (self.read_shut and self.write_shut):
            mask |= HUP
        if self.read_shut:
            mask |= IN | RDHUP
        if self.state is State.CONNECTING:
            return mask
        if self.arrived:
            mask |= IN
        if closed or self.write_shut or self.out is None or self.out.is_writable:
            mask |= OUT
        return mask

    def listen(self, backlog: int) -> None:
        """See listen(2)."""
        if self.state not in (State.CLOSED, State.LISTENING) or self.eof_seen:
            fail(errno.EINVAL)
        if self.name is None:
            self.bind(("", 0))
        self.state, self.backlog = State.LISTENING, backlog

    def accept(self) -> TcpEnd:
        """See accept(2)."""
        if self.state is not State.LISTENING:
            fail(errno.EINVAL)
        if not self.queue:
            fail(errno.EAGAIN)
        return self.queue.popleft()

    def connect(self, address: Any) -> None:
        """See connect(2): on a network it is never done at once."""
        if self.state is State.OPEN and self.unread_connect:
            self.unread_connect = False
            return
        if self.state in (State.OPEN, State.LISTENING):
            fail(errno.EISCONN)
        if self.state is State.CONNECTING:
            fail(errno.EALREADY)
        if self.error:
            fail(self.take_error())
        if self.name is None:
            self.bind(("127.0.0.1" if self.family == socket.AF_INET else "::1", 0, *address[2:]))
        self.peer_name = address
        self.state, self.read_shut, self.write_shut = State.CONNECTING, False, False
        self.network.at(self.network.arrival(), self._knock, address, SYN_RETRY_S, SYN_RETRIES)
        fail(errno.EINPROGRESS)

    def recv(self, size: int, peek: bool) -> tuple[bytes, bool, Any]:
        """See recv(2); the order is that of tcp_recvmsg()."""
        if self.state is State.LISTENING:
            fail(errno.ENOTCONN)
        if self.arrived:
            data = bytes(self.arrived[:size])
            if not peek:
                del self.arrived[:size]
                if self.incoming is not None:
                    self.incoming.settle()
            return data, False, None
        if not self.eof_seen:
            if self.error:
                fail(self.take_error())
            if not self.read_shut:
                fail(errno.ENOTCONN if self.state is State.CLOSED else errno.EAGAIN)
        return b"", False, None

    def send(self, data: bytes, address: Any) -> int:
        """See send(2)."""
        if self.state is State.CONNECTING:
            fail(errno.EAGAIN)
        if self.error:
            fail(self.take_error())
        if self.state is not State.OPEN or self.write_shut or self.out is None:
            fail(errno.EPIPE)
        return self.out.send(data)

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        if self.state not in (State.OPEN, State.LISTENING):
            fail(errno.ENOTCONN)
        if how in (socket.SHUT_RD, socket.SHUT_RDWR):
            self.read_shut = True
            if self.state is State.LISTENING:
                self._stop_listening()
                return
        if how in (socket.SHUT_WR, socket.SHUT_RDWR) and self.state is State.OPEN:
            self._shut_write()

    def release(self) -> None:
        """The last descriptor is closed."""
        if self.state is State.LISTENING:
            self._stop_listening()
        elif self.state is State.OPEN:
            self.orphan = True
            if self.arrived or self._lingers_for_nothing():
                self.abort()
            else:
                self.read_shut = True
                self._shut_write()
        else:
            self.state = State.CLOSED
        self.network.unbind(self)

    def break_off(self) -> None:
        """The connection is lost on the way: both ends hear of a reset."""
        if self.state is State.OPEN and self.out is not None and self.incoming is not None:
            receiver = self.out.receiver
            self.on_reset()
            receiver.on_reset()

    # -- what the network calls -------------------------------------------------------------------------------------

    def on_eof(self) -> None:
        """The peer's end of stream has come."""
        if self.state is State.OPEN:
            self.eof_seen = self.read_shut = True
            self._close_if_both()

    def on_eof_arrived(self) -> None:
        """Our end of stream has reached the peer."""
        self.eof_arrived = True
        self._close_if_both()

    def on_reset(self) -> None:
        """A reset has come."""
        if self.state is not State.OPEN:
            return
        # tcp_reset(): in CLOSE_WAIT the program knows that the peer is gone, so it is a broken pipe.
        self.error = errno.EPIPE if self.eof_seen and not self.write_shut else errno.ECONNRESET
        self._cut()

    def abort(self) -> None:
        """End with a reset."""
        out = self.out
        self._cut()
        if out is not None:
            out.send_reset()

    # -- connecting -------------------------------------------------------------------------------------------------

    def _knock(self, address: Any, retry_s: float, retries: int) -> None:
        """The request for a connection has come to where it was sent."""
        if self.state is not State.CONNECTING:
            return
        network = self.network
        listener = network.found(self, address)
        if listener is None or listener.state is not State.LISTENING:
            network.at(network.arrival(), self._failed, errno.ECONNREFUSED)
        elif len(listener.queue) <= listener.backlog:
            listener._admit(self)
        elif retries:
            network.at(network.clock.now() + retry_s, self._knock, address, retry_s * 2, retries - 1)
        else:
            network.at(network.clock.now() + retry_s, self._failed, errno.ETIMEDOUT)

    def _admit(self, client: TcpEnd) -> None:
        end = type(self)(self.network, self.family)
        end.options.update(self.options)
        end.name, end.peer_name, end.state = client.peer_name, client.name, State.OPEN
        established_at = self.network.arrival()
        end.out = client.incoming = Pipe(self.network, end, client, established_at)
        client.out = end.incoming = Pipe(self.network, client, end, established_at)
        self.queue.append(end)
        self.network.at(established_at, client._established)

    def _established(self) -> None:
        if self.state is State.CONNECTING:
            self.state, self.unread_connect = State.OPEN, True
        elif self.out is not None:
            self.out.send_reset()  # closed meanwhile

    def _failed(self, code: int) -> None:
        if self.state is State.CONNECTING:
            self.state, self.error = State.CLOSED, code
            self.read_shut = self.write_shut = True

    # -- ending -----------------------------------------------------------------------------------------------------

    def _shut_write(self) -> None:
        if not self.write_shut and self.out is not None:
            self.write_shut = True
            self.out.send_eof()

    def _close_if_both(self) -> None:
        if self.state is State.OPEN and self.eof_seen and self.eof_arrived:
            self.state = State.CLOSED
            self.write_shut = True

    def _cut(self) -> None:
        self.state, self.read_shut, self.write_shut = State.CLOSED, True, True
        for pipe in (self.out, self.incoming):
            if pipe is not None:
                pipe.cut()

    def _stop_listening(self) -> None:
        self.state = State.CLOSED
        for end in self.queue:
            end.abort()
        self.queue.clear()

    def _lingers_for_nothing(self) -> bool:
        linger = self.options.get((socket.SOL_SOCKET, socket.SO_LINGER))
        return isinstance(linger, bytes) and linger[:1] != b"\0" and not any(linger[4:])
