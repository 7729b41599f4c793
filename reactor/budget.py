"""How much all connections together may hold in memory, and what gives way when it is too much.

What it is: the sum of what rows keep between two turns (received and not consumed, written and not sent), and what is
done about it. Each row has limits of its own, but 10,000 times a little is a lot: 2,000 lines of 60 KB without an end
took 124 MB, and they may go on for 30 s each (redis#3423). What it is not: a limit on the memory of the process: what
handlers keep, what waits on disk, and what the kernel, a thread or a greenlet holds are not counted.

Three marks, in the proportions of Linux's tcp_mem (tcp(7), and tcp_init_mem in net/ipv4/tcp.c):

- above two thirds of the budget, a row that holds something is not read until it holds nothing. One that holds nothing
  is read as ever, so whoever asks little and is answered at once goes on, whatever the others do.
- below a half, all are read again.
- above the whole, the rows that hold most and make no progress are ended at once, until two thirds are left.

Reading less helps only if what is held goes away by itself. So rows that make no progress are ended as well when half
of the budget is not enough for RELIEF_S; else one frame that is larger than the rest of the budget stops the others.

Rules:

1. It costs a turn nothing that leaves nothing behind: rows tell of themselves on the rarer way (`StreamRow._conclude`).
2. The sum is exact for every row that was settled; before a row has to pay for it, it is counted again. See ADR 0013.
3. A row is ended only in a posted call, never while it, or another row, is being settled.
"""

from __future__ import annotations

import logging
import sys
from typing import Any

from .demultiplexer import BATCH_ROWS
from .errors import LimitError
from .phases import Phase
from .transports import RECEIVE_BYTES

log = logging.getLogger("reactor")

# A twentieth of a machine with 5 GiB, and 26 KiB for each of 10,000 connections. (redis' maxmemory-clients: 5 %.)
BUFFERED_BYTES = 256 << 20
# A packet that was lost has been sent again twice by then: after 1 s, and after 2 s more (RFC 6298, 2.1 and 5.5).
RELIEF_S = 3.0
# Who takes a tenth of its reply in RELIEF_S has the whole in 30 s, as long as a stalled write may last.
PROGRESS = 10
# What one turn may add when there is little room left: this part of the budget. 256 MiB are 128 rows of 64 KiB.
TURN_PART = 32


class ByteBudget:
    """The bytes that the rows of a loop hold, by row.

    Args:
        loop: the loop.
        limit_bytes: what they may hold together; None: any number.

    Raises:
        ValueError: the limit is not positive.
    """

    def __init__(self, loop: Any, limit_bytes: int | None) -> None:
        if limit_bytes is not None and limit_bytes <= 0:
            raise ValueError(f"Reactor(buffered_bytes={limit_bytes!r}): must be positive (None switches it off)")
        self.limit_bytes = sys.maxsize if limit_bytes is None else limit_bytes
        self.high_bytes, self.low_bytes = self.limit_bytes * 2 // 3, self.limit_bytes // 2
        self.total_bytes = 0
        self.rows: dict[Any, int] = {}  # who holds how much
        self.is_short = False  # from the high mark until the low one: who holds something is not read
        self._loop = loop
        self._sent: dict[Any, int] = {}  # bytes_out of the rows when their progress was last looked at
        self._posted = self._told = False
        self._timer: Any = None

    # -- what rows say ----------------------------------------------------------------------------------------------

    def note(self, row: Any) -> None:
        """Count what a row holds now."""
        self._count(row, row.buffered_bytes)
        if self.is_short:
            self._heed(row)

    def grown(self, row: Any, more: int) -> None:
        """Count so many bytes more of a row that else holds what it held: without a look at all of it.

        There is nothing to heed: while memory is short, nobody is read who holds something.
        """
        self._count(row, self.rows.get(row, 0) + more)

    def forget(self, row: Any) -> None:
        """Count a row no longer: it has ended."""
        self._count(row, 0)

    def _count(self, row: Any, held: int) -> None:
        more = held - self.rows.get(row, 0)
        if not more:
            return
        if held:
            self.rows[row] = held
        else:
            del self.rows[row]
        self.total_bytes += more
        if not self._posted and (self._is_too_much() if more > 0 else self._has_room()):
            self._posted = True
            self._loop.call_soon(self._look)

    def _is_too_much(self) -> bool:
        return self.total_bytes > (self.limit_bytes if self.is_short else self.high_bytes)

    def _has_room(self) -> bool:
        return self.is_short and self.total_bytes <= self.low_bytes

    # -- what is done about it --------------------------------------------------------------------------------------

    def _look(self) -> None:
        """A mark was passed: pause, resume, or end rows."""
        self._posted = False
        self._recount()
        if self._has_room():
            self._relax()
        elif self.total_bytes > self.high_bytes and not self.is_short:
            self._save()
        if self.total_bytes > self.limit_bytes:
            self._evict(self.high_bytes, ranked=self._ranked())

    def _recount(self) -> None:
        """Another row's handler may have taken lines that were cut ahead, and nobody was told."""
        self.rows = {row: held for row in self.rows if (held := row.buffered_bytes)}
        self.total_bytes = sum(self.rows.values())

    def _save(self) -> None:
        """Read only who holds nothing, and fewer at a time."""
        self.is_short, self._told = True, False
        self._loop.demultiplexer.take(min(max(self.limit_bytes // TURN_PART // RECEIVE_BYTES, 1), BATCH_ROWS))
        self._watch()
        for row in tuple(self.rows):
            self._heed(row)

    def _relax(self) -> None:
        """There is room again: read all."""
        self.is_short = False
        self._loop.demultiplexer.take(None)
        self._timer.cancel()
        self._sent = {}
        for row in tuple(self.rows):
            row.mark()  # one whose handler works was read up to a lower mark
            row.resume("budget")

    def _heed(self, row: Any) -> None:
        """Pause a row that needs more input to give back what it holds; one that has a frame, or its end, goes on.

        One that is paused for another reason may have a frame, too: it is looked at again when that reason is gone.
        """
        reasons: set[str] = row.pause_reasons or set()
        waits = row in self.rows and row.reader is not None and row.no_more is None and not row.queued
        if not waits or reasons - {"budget"}:
            row.resume("budget")
        elif not reasons:
            row.pause("budget")

    def _watch(self) -> None:
        """Look again in RELIEF_S who has made progress until then."""
        self._sent = {row: row.bytes_out for row in self.rows}
        self._timer = self._loop.call_later(RELIEF_S, self._end_stalled)

    def _end_stalled(self) -> None:
        """Little has become better by itself: whoever makes no progress goes, until there is room."""
        self._recount()
        if self._has_room():
            self._relax()
            return
        self._evict(self.low_bytes, ranked=[row for row in self._ranked() if self._is_stalled(row)])
        self._watch()

    def _ranked(self) -> list[Any]:
        """Return the rows in the order in which they have to go: without progress, largest, oldest request."""
        return sorted(self.rows, key=lambda row: (not self._is_stalled(row), -self.rows[row], row.request_at))

    def _is_stalled(self, row: Any) -> bool:
        """Has the row given back next to nothing since the last look, and can it?"""
        if not row.outbox:
            return row.phase is not Phase.WORKING  # its handler will take what is there
        sent: int = row.bytes_out - self._sent.get(row, 0)
        pending: int = row.pending
        return sent * PROGRESS < pending

    def _evict(self, target_bytes: int, ranked: list[Any]) -> None:
        """End rows until no more than `target_bytes` are left."""
        total = left = self.total_bytes
        for row in ranked:
            if left <= target_bytes:
                return
            held = self.rows[row]
            left -= held
            if row.phase is Phase.LINGERING:
                row.expire()  # all is sent
            elif row.phase is not Phase.CLOSED:  # else: it has ended in this very turn
                hint = (
                    f"of all rows together; this one held {held} and made no progress: raise Reactor(buffered_bytes=...), "
                    "or lower Limits.connections_per_peer, frame_bytes or outbox_bytes"
                )
                self._tell(row, held)
                row.give_up(LimitError("buffered_bytes", self.limit_bytes, total, hint))

    def _tell(self, row: Any, held: int) -> None:
        """One line in the log until there is room again."""
        if not self._told:
            self._told = True
            log.warning(
                "%d bytes are buffered, of the %d that Reactor(buffered_bytes=...) allows: rows that hold most and make no "
                "progress are ended, %s first, with %d bytes; see table.ended for others",
                self.total_bytes, self.limit_bytes, str(row), held,
            )  # fmt: skip
