"""Replies that are too large for the outbox wait on disk.

What it is: `Spool`, a byte queue in an unnamed temporary file, and `SpoolingTransport`, which a row has while a part of
its reply is there. What it is not: backpressure; it is for blocking handlers, which cannot wait for a peer that reads
slowly, and write a whole reply before their first byte is sent.

Rules:

1. While the spool holds bytes, the outbox holds some: an empty outbox means that all is sent.
2. What is on disk follows what is in the outbox. So nothing goes into the outbox directly until the spool is empty.
3. The file has no buffer of its own: an append that returned is on disk as a whole, one that raised not at all.
4. A full disk is a limit that was reached (LimitError), not an OSError: handlers and `finish()` take an OSError of a write
   for a peer that has gone, drop it, and the peer would take half a reply for a whole one.
"""

from __future__ import annotations

import errno
import tempfile
from typing import IO, Any

from .buffers import JOIN_BYTES
from .errors import LimitError, describe
from .transports import PLAIN, PlainTransport


class Spool:
    """Bytes on disk that wait, first in, first out.

    Args:
        max_bytes: the most bytes on disk, None for any number. Those that were taken count until none waits, for a
            file cannot be cut at its front.
        limit: the name of that limit, for the error.
    """

    __slots__ = ("_at", "_end", "_file", "_is_closed", "_limit", "_max_bytes")

    def __init__(self, max_bytes: int | None, limit: str = "spool_bytes") -> None:
        self._max_bytes, self._limit = max_bytes, limit
        self._file: IO[bytes] | None = None  # made with the first bytes
        self._at = 0  # what is before was taken
        self._end = 0
        self._is_closed = False

    def __len__(self) -> int:
        """Return the number of bytes not yet taken."""
        return self._end - self._at

    def append(self, data: bytes) -> None:
        """Add bytes behind all others.

        Raises:
            LimitError: there would be more than `max_bytes`, or the disk takes no more; nothing was added.
            ValueError: the spool is closed.
        """
        if self._is_closed:
            raise ValueError("append() to a closed spool")
        wanted = self._end + len(data)
        if self._max_bytes is not None and wanted > self._max_bytes:
            hint = "the peer reads too slowly for so large a reply: send less, or use a coroutine handler and drain()"
            raise LimitError(self._limit, self._max_bytes, wanted, hint)
        try:
            self._write(data)
        except OSError as error:
            hint = f"the temporary file takes no more: {describe(error)}; make room in {_directory()}"
            raise LimitError(self._limit, self._end, wanted, hint) from error
        self._end = wanted

    def take(self, n: int) -> bytes:
        """Remove and return the first `n` bytes (fewer if there are fewer).

        Raises:
            OSError: the disk does not give back what it took.
        """
        n = min(n, len(self))
        if self._file is None or not n:
            return b""
        self._file.seek(self._at)
        pieces, missing = [], n
        while missing:
            piece = self._file.read(missing)
            if not piece:
                raise OSError(errno.EIO, f"the temporary file ends {missing} bytes early")
            pieces.append(piece)
            missing -= len(piece)
        self._at += n
        if self._at == self._end:
            self._file.truncate(0)
            self._at = self._end = 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Give the disk back; legal twice."""
        file, self._file = self._file, None
        self._at = self._end = 0
        self._is_closed = True
        if file is not None:
            file.close()

    def _write(self, data: bytes) -> None:
        """Write at the end; what a failed try has left there is overwritten by the next."""
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115  (closed by close())
        self._file.seek(self._end)
        rest = memoryview(data)
        while rest:
            rest = rest[self._file.write(rest) :]


class SpoolingTransport(PlainTransport):
    """The transport of a row whose reply is partly on disk: one object a row, until the spool is empty.

    Args:
        spool: which this transport closes when it is empty, and whoever ends the row early by `discard`.
    """

    __slots__ = ("spool",)

    def __init__(self, spool: Spool) -> None:
        self.spool = spool

    def queue(self, row: Any, data: bytes) -> None:
        """Add to the reply, behind all that waits; raises as `Spool.append`."""
        self.spool.append(data)
        if not row.outbox:
            self._refill(row)

    def flush(self, row: Any) -> None:
        """Send what the socket takes, from the outbox and then from disk, until the turn's budget is spent."""
        spent_at = row.bytes_out + row.limits.bytes_per_turn
        while True:
            super().flush(row)
            if row.outbox:  # the socket is full, or gone
                return
            if not self.spool:
                self.discard()
                row.transport = PLAIN
                return
            if not self._refill(row) or row.bytes_out >= spent_at:
                return

    def discard(self) -> None:
        """Drop what waits: the row has ended; legal twice."""
        self.spool.close()

    def _refill(self, row: Any) -> bool:
        """Put what one send() takes into the empty outbox."""
        try:
            data = self.spool.take(JOIN_BYTES)
        except OSError as error:
            row.abort(f"its reply cannot be read back from disk: {describe(error)}")  # half a reply ends with a reset
            return False
        if data:
            row.outbox, row.pending = [data], len(data)
        return True


def _directory() -> str:
    try:
        return tempfile.gettempdir()
    except OSError:
        return "TMPDIR"  # none that can be written to
