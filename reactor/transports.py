"""How bytes get in and out of a stream's socket: the system calls, and what each errno means.

What it is: `receive` and `flush` on a non-blocking socket, and one table errno -> action for both. What it is not: a
decision about phases; a transport reports bytes, end of stream, "not now" or a loss, and the row acts. A transport with
its own state (TLS) is one object a row; the plain one has none and is shared by all.

Rules: one `recv` an event (the selector is level-triggered and tells again) · data is dropped from the outbox only by
the count that `send` returned · a flush stops at `bytes_per_turn` (or after one send of JOIN_BYTES, if that is more),
so that one fast reader cannot hold the turn.
"""

from __future__ import annotations

import errno
import socket
from typing import Any, Protocol

from .buffers import JOIN_BYTES, Chunk, consume, gather
from .limits import Limits

# One recv() takes at most this much: what fits the default socket buffer and glibc's mmap threshold.
RECEIVE_BYTES = 65536

# "Not now" (send(2), recv(2)); ENOBUFS: the interface's queue is full, which passes like a full socket buffer.
NOT_NOW = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS})
# Everything else a connected socket reports (ECONNRESET, EPIPE, ETIMEDOUT, ENOTCONN, EHOSTUNREACH, ENETDOWN ...) says
# that the connection is gone: a normal end, whoever caused it.


class StreamLike(Protocol):
    """What a transport asks of its row."""

    sock: Any
    limits: Limits
    outbox: list[Chunk] | None
    pending: int
    bytes_out: int

    def lose(self, error: OSError) -> None:
        """Take note that the connection is gone."""


class PlainTransport:
    """Bytes as they are."""

    __slots__ = ()

    def receive(self, row: StreamLike, n: int = RECEIVE_BYTES) -> bytes | None:
        """Return what has arrived, b"" at the end of the stream, None if there is nothing now or the row was lost."""
        try:
            data: bytes = row.sock.recv(n)
        except OSError as error:
            self.failed(row, error)
            return None
        return data

    def flush(self, row: StreamLike) -> None:
        """Send what the socket takes; empty means `not row.outbox`."""
        outbox = row.outbox
        if not outbox:
            return
        if row.pending > JOIN_BYTES:
            self._flush_much(row, outbox)
            return
        if len(outbox) > 1:
            outbox[:] = [b"".join(outbox)]
        try:
            sent = row.sock.send(outbox[0])
        except OSError as error:
            self.failed(row, error)
            return
        row.bytes_out += sent
        if sent == row.pending:
            row.outbox = None
            row.pending = 0
        else:
            row.pending -= sent
            consume(outbox, sent)

    def _flush_much(self, row: StreamLike, outbox: list[Chunk]) -> None:
        """More than one send's worth: go on until the socket is full or the turn's budget is spent."""
        budget = row.limits.bytes_per_turn
        while outbox and budget > 0:
            chunk = gather(outbox)
            if len(chunk) > budget:
                chunk = memoryview(chunk)[:budget]
            try:
                sent = row.sock.send(chunk)
            except OSError as error:
                self.failed(row, error)
                return
            row.bytes_out += sent
            row.pending -= sent
            budget -= sent
            consume(outbox, sent)
            if sent < len(chunk):
                return
        if not outbox:
            row.outbox = None

    def failed(self, row: StreamLike, error: OSError) -> None:
        """A system call has failed: not now, or the connection is gone."""
        if error.errno not in NOT_NOW:
            row.lose(error)

    def shut(self, row: StreamLike) -> None:
        """Tell the peer that nothing follows (shutdown(2) before close(2): a child may hold a copy of the socket)."""
        try:
            row.sock.shutdown(socket.SHUT_WR)
        except OSError as error:
            row.lose(error)


class GoneTransport(PlainTransport):
    """What a row has once its connection is gone: nothing comes and nothing goes, and a late write costs nothing."""

    __slots__ = ()

    def receive(self, row: StreamLike, n: int = RECEIVE_BYTES) -> bytes | None:
        """Return None: nothing will come."""
        return None

    def flush(self, row: StreamLike) -> None:
        """Send nothing."""

    def shut(self, row: StreamLike) -> None:
        """Nobody is there to be told."""


class ShutTransport(PlainTransport):
    """What a row has once our side is shut: the peer may still be heard, and what comes too late to be sent is dropped.

    A send() now would be answered by EPIPE, and the reset after it would destroy the reply that is on its way.
    """

    __slots__ = ()

    def flush(self, row: StreamLike) -> None:
        """Drop the outbox."""
        row.outbox, row.pending = None, 0

    def shut(self, row: StreamLike) -> None:
        """It is done."""


# An outbox that is empty, while a handler runs whose writes are sent as soon as it waits again: see `HandledRow.on_ready`.
OPEN: list[Chunk] = []
PLAIN = PlainTransport()
SHUT = ShutTransport()
GONE = GoneTransport()
