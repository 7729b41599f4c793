"""The end of a batch for a connection: flush, derive the phase, set interest and deadline, close what has ended.

What it is: `settle`, and what it is made of: marks and backpressure, the drain, the lingering close. What it is not: the way
of bytes in and into the outbox; that is `streams`.

Rules:

1. Inside a batch nothing is closed and no interest is changed; only `settle` does that, for rows that are marked.
2. The phase is derived from three facts: has the end been decided, does somebody wait for a frame (`reader`), is a request
   under way (`owing`, or bytes in the inbox).
3. Close means: flush, shut our side, discard a bounded rest, close. A plain close() with unread input makes the kernel
   answer with a reset that destroys the reply on its way (of 3,000,000 bytes sent, 128,000 arrived).
4. Whether a row may take the short way (`handled`) is derived here, too, and taken back by whatever marks the row.
"""

from __future__ import annotations

from .connections import LIVE, ConnectionRow
from .errors import EndOfStream
from .framings import RAW
from .phases import EVENT_OF_END, Event, Phase
from .table import READ, WRITE
from .transports import PLAIN, SHUT
from .unsent import unsent_bytes

# Looking a member up on its enum costs 40 ns on CPython 3.11, twice an event and thirty times a connection.
_IDLE, _RECEIVING, _WORKING, _FLUSHING, _LINGERING, _DETACHED, _CLOSED, *_ = Phase
_FLUSHED, _UNSHUT = Event.FLUSHED, LIVE | {_FLUSHING}
# What leads from one live phase to another when a turn has changed what the row waits for.
EVENTS = {
    (Phase.IDLE, Phase.RECEIVING): Event.BYTES,
    (Phase.IDLE, Phase.WORKING): Event.FRAME,
    (Phase.RECEIVING, Phase.WORKING): Event.FRAME,
    (Phase.RECEIVING, Phase.IDLE): Event.REPLIED,
    (Phase.WORKING, Phase.RECEIVING): Event.NEED,
    (Phase.WORKING, Phase.IDLE): Event.REPLIED,
}


class SettlingRow(ConnectionRow):
    """A connection that settles. See `ConnectionRow` for the arguments."""

    __slots__ = ()

    def settle(self) -> None:
        """End of the batch: flush; and if what the row waits for has changed, phase, interest and deadline too."""
        if self.outbox:
            self.transport.flush(self)
        if self.outbox or self.marked or self.phase is not _IDLE or self.interest != READ:
            self.marked = False
            self._conclude()
        is_at_rest = (  # so that the next thing to expect is a plain arrival of bytes for the row's own handler
            self.phase is _IDLE and self.interest == READ and self.reader is self and self.transport is PLAIN
            and (self.framing is RAW or self.framing.cuts) and not self.inbox and not self.outbox
            and self.no_more is None and not self.pause_reasons and self.loop.observer is None
        )  # fmt: skip
        self.short = READ if is_at_rest else None

    def look(self) -> None:
        """Receive before anybody has said that something is here: of a row that was just accepted, and waits for input."""
        self.short = READ if self.framing is RAW or self.framing.cuts else None
        self.on_ready(READ)

    def mark(self) -> None:
        """As ever; and until `settle` has looked at it, the row takes the long way."""
        self.short = None
        if not self.marked:
            self.marked = True
            self.loop.dirty.append(self)

    def _conclude(self) -> None:
        """Derive the phase; end what has ended; else watch and guard the row as its phase asks."""
        if self.phase in _UNSHUT:
            if self.outbox or self.stall is not None or self.pause_reasons or self.drainers:
                self._heed_marks()
            if self.end is None:
                self._derive()
            elif self.phase is not _FLUSHING:
                self.advance(EVENT_OF_END[self.end])
            if self.phase is _FLUSHING and not self.outbox:
                self._shut()
        if self.phase is _CLOSED:
            if self.fd >= 0:
                self._gone()
            return
        if self.half_close and not self.outbox and self.end is None:
            self.half_close = False
            self._shut_our_side()
        self.room = 0 if self.outbox else self.limits.outbox_high_bytes  # what is added to a rest has to be counted
        if self.inbox is not None or self.outbox or self in self.loop.budget.rows:
            self.loop.budget.note(self)
        self.loop.demultiplexer.set(self, self._wanted())
        self.loop.deadlines.guard(self)

    def _derive(self) -> None:
        """Advance to the live phase that the facts ask for, if it is another one."""
        after = self.live_phase()
        if after is not self.phase:
            if self.phase is _IDLE:
                self.request_at = self.loop.now
            self.advance(EVENTS[self.phase, after])
        if after is _IDLE and self.loop.draining:
            self._drained()  # its last request is answered

    def _shut(self) -> None:
        """All is sent: tell the peer, and linger unless its own end was seen."""
        if self.linger_from is None or (isinstance(self.no_more, EndOfStream) and self.no_more.cause == "peer"):
            self.advance(Event.DONE)
            return
        self._shut_our_side()
        if self.phase is _FLUSHING:
            self.advance(_FLUSHED)
            self.linger_from = self.bytes_in

    def _shut_our_side(self) -> None:
        self.transport.shut(self)
        if self.transport is PLAIN:
            self.transport = SHUT

    def _wanted(self) -> int:
        """Return the interest that the phase and the marks ask for."""
        wanted = WRITE if self.outbox else 0
        if self.phase is _LINGERING:
            return wanted | READ
        if self.phase not in LIVE or self.no_more is not None or self.pause_reasons:
            return wanted
        # A row with a reader reads on, for its frame may be as long; unless it has frames and only waits for its turn.
        if self.inbox is not None and (self.reader is None or self.queued):
            most = 1 if self.loop.budget.is_short else self.limits.inbox_bytes
            return wanted if len(self.inbox) >= most else wanted | READ
        return wanted | READ

    # -- marks, and the drain ---------------------------------------------------------------------------------------------

    def _heed_marks(self) -> None:
        """Above the high mark the row is not read until it is below the low one; note since when the peer stalls."""
        if not self.outbox:
            if self.stall is not None and self.phase is _IDLE:
                self.since = self.loop.now  # idle from when the peer has taken the whole reply
            self.stall = None
        elif self.stall is None or self.bytes_out != self.stall[1]:
            self.stall = self.loop.now, self.bytes_out
        if self.pending > self.limits.outbox_high_bytes:
            if "outbox" not in (self.pause_reasons or ()):
                self.pause("outbox")
        elif self.pause_reasons and "outbox" in self.pause_reasons and self.pending <= self.limits.outbox_low_bytes:
            self.resume("outbox")

    def stop_requested(self) -> None:
        """The reactor drains: an idle row hears of the end of its input, one with a request under way may finish it."""
        if self.phase is Phase.IDLE and not self.inbox_bytes:
            if not self.outbox and not self._is_on_its_way():
                self.linger_from = None  # there is no reply that a reset could destroy
            self._drained()
        elif self.phase is Phase.LINGERING and self.bytes_in == self.linger_from and not self._is_on_its_way():
            self.expire()  # the reply has come, and the peer has said nothing since that a close would answer by a reset

    def _is_on_its_way(self) -> bool:
        """Has our system still to send something that it was given? If nobody can say, it had as long as ever."""
        unsent = unsent_bytes(self.sock) if self.bytes_out else 0
        if unsent is None:
            return bool(self.loop.now - self.since < self.limits.linger_s)
        return unsent > 0

    def _drained(self) -> None:
        """No further request: the handler hears of it in the next turn, as of the end of its input."""
        if self.no_more is None:
            self.no_more = EndOfStream("drain")
            self.requeue()
            self.mark()
