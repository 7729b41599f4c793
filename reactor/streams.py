"""The way of bytes through a connection: receive, hand frames on, send, settle.

What it is: `on_ready -> Transport.receive -> Framing.next_frame -> deliver`, and the way back, `settle ->
Transport.flush`. What it is not: a handler; `deliver` and `fail` are for floor 6 to define, and a shorter way for the
commonest event is in `handled`.

Rules:

1. The hot path is flat, and whatever is rare leaves it at once (`_rarely`, `_conclude`).
2. Inside a batch nothing is closed and no interest is changed; only `settle` does that.
3. The phase is derived at settle from three facts: has the end been decided, does somebody wait for a frame (`reader`),
   is a request under way (`owing`, or bytes in the inbox).
4. Close means: flush, shut our side, discard a bounded rest, close. A plain close() with unread input makes the kernel
   answer with a reset that destroys the reply on its way (of 3,000,000 bytes sent, 128,000 arrived).
"""

from __future__ import annotations

from typing import Any

from .buffers import Inbox
from .connections import LIVE, ConnectionRow
from .errors import EndOfStream, LimitError, ReactorError
from .framings import RAW
from .needs import Need
from .phases import EVENT_OF_END, Event, Phase
from .table import READ, WRITE
from .transports import PLAIN, SHUT

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


class StreamRow(ConnectionRow):
    """A connection that receives, hands frames on, sends and settles. See `ConnectionRow` for the arguments."""

    __slots__ = ()

    # -- the way in -------------------------------------------------------------------------------------------------

    def on_ready(self, ready: int) -> None:
        """Receive once and hand on what is complete."""
        if ready != READ or self.no_more is not None:
            self._rarely(ready)
        else:
            self._arrived(self.transport.receive(self))

    def _arrived(self, data: bytes | None) -> None:
        """Hand on what was received; b"": the end of the stream, None: nothing."""
        if data:
            self.bytes_in += len(data)
            inbox = self.inbox
            if inbox is None:
                if self.framing is RAW and self.reader is not None:
                    self.requests += 1
                    self.deliver(data)
                    return
                inbox = self.new_inbox()
            inbox.feed(data)
            self.pump()
        elif data is not None:
            self.end_input(EndOfStream("peer"))

    def _rarely(self, ready: int) -> None:
        """What is no plain arrival of bytes: room to write, a row that ends, the discarding of what lingers."""
        if ready & WRITE:
            self.mark()
        if not ready & READ or self.phase is _CLOSED:
            return
        if self.phase is _LINGERING:
            self._discard()
        elif self.no_more is None:
            self.on_ready(READ)

    def pump(self) -> None:
        """Hand on the complete frames, up to frames_per_turn; the rest of them in the next turn."""
        inbox = self.inbox
        if inbox is None:
            inbox = self.new_inbox()
        budget = self.limits.frames_per_turn
        while self.reader is not None and not self.pause_reasons:
            held, cut = inbox.size, len(inbox.ahead)
            if self.loop.observer is not None:
                held += self.framing.held_bytes
            try:
                frame = self._next_frame(inbox)
            except ReactorError as error:
                self.fail(error)
                break
            if type(frame) is Need:
                self._need = frame
                if frame.reply:
                    self._reply_early(frame.reply)
                elif self.phase is _RECEIVING and self.interest == READ and self.no_more is None:
                    self.loop.budget.note(self)
                    return  # as before: settle would find nothing to change, byte after byte of a slow peer
                break
            fresh = 1 + len(inbox.ahead) - cut  # lines cut ahead are spoken for in this turn
            self.requests += fresh - 1
            self._frame(frame, held - inbox.size)
            budget -= fresh
            if not inbox.size and not inbox.ahead and self.no_more is None and self.interest == READ:
                return
            if budget <= 0:
                self.requeue()  # the selector will not announce what is already here
                break
        self.mark()

    def _reply_early(self, reply: bytes) -> None:
        """The framing has a word for the peer; it answers no request."""
        answered = self.wrote
        self.write(reply)
        self.wrote = answered

    def _next_frame(self, inbox: Inbox) -> Any:
        """Return the next frame or a Need; raise what ends the input."""
        if self.no_more is None:
            return self.framing.next_frame(inbox, False)
        if not isinstance(self.no_more, EndOfStream):
            raise self.no_more
        try:
            return self.framing.next_frame(inbox, True)
        except EndOfStream:
            pass  # raised in here, the other would have it as its context, whose traceback keeps the row alive
        raise self.no_more

    def _frame(self, frame: Any, wire_bytes: int) -> None:
        self.requests += 1
        if self.loop.observer is not None:
            self.loop.observer.on_frame(self, wire_bytes)
        self.deliver(frame)

    def end_input(self, error: ReactorError) -> None:
        """There will be no more input; a reader hears of it now."""
        self.no_more = error
        self.mark()
        if self.reader is not None:
            self.pump()

    def deliver(self, frame: Any) -> None:
        """Hand a frame to whoever reads."""
        raise NotImplementedError

    def stop_requested(self) -> None:
        """The reactor drains: an idle row hears of the end of its input, one with a request under way may finish it."""
        if self.phase is Phase.IDLE and not self.inbox_bytes:
            if not self.outbox:
                self.linger_from = None  # no reply is on its way that a reset could destroy
            self._drained()
        elif self.phase is Phase.LINGERING and self.bytes_in == self.linger_from:
            self.expire()  # the reply is sent, and the peer has said nothing since that a close would answer by a reset

    def _drained(self) -> None:
        """No further request: the handler hears of it in the next turn, as of the end of its input."""
        if self.no_more is None:
            self.no_more = EndOfStream("drain")
            self.requeue()
            self.mark()

    # -- the way out ------------------------------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """Queue bytes; they leave when the handler waits again, at the end of the batch at the latest. Never blocks.

        Args:
            data: bytes, or any buffer (which is copied, so that its owner may change it).

        Raises:
            LimitError: the outbox would grow over `Limits.outbox_bytes`; await `drain()` between writes.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        self.wrote = True
        outbox = self.outbox
        pending = self.pending + len(data)
        if pending > self.limits.outbox_high_bytes:
            self._queue(data)
            return
        self.pending = pending
        if outbox:
            outbox.append(data)
            return
        self.outbox = [data]
        if outbox is None:  # else it is OPEN: who resumed the handler will send
            self.loop.dirty.append(self)

    def _queue(self, data: bytes) -> None:
        """Above the high mark: send at once, so that 128 large replies never pile up in one batch."""
        size = len(data)
        if self.phase is Phase.CLOSED or not size:
            return
        if self.pending + size > self.limits.outbox_bytes:
            raise LimitError(
                "outbox_bytes", self.limits.outbox_bytes, self.pending + size,
                f"{self} reads too slowly: await drain() between writes, or use offer()",
            )  # fmt: skip
        if not self.outbox:
            self.outbox = []
        self.outbox.append(data)
        self.pending += size
        self.mark()
        if not self.interest & WRITE:  # else the socket was full, and will tell
            self.transport.flush(self)
        self._heed_marks()

    def _heed_marks(self) -> None:
        """Above the high mark the row is not read until it is below the low one; note since when the peer stalls."""
        if not self.outbox:
            if self.stalled_at is not None and self.phase is _IDLE:
                self.since = self.loop.now  # idle from when the peer has taken the whole reply
            self.stalled_at = None
        elif self.stalled_at is None or self.bytes_out != self.progress:
            self.stalled_at, self.progress = self.loop.now, self.bytes_out
        if self.pending > self.limits.outbox_high_bytes:
            if "outbox" not in (self.pause_reasons or ()):
                self.pause("outbox")
        elif self.pause_reasons and "outbox" in self.pause_reasons and self.pending <= self.limits.outbox_low_bytes:
            self.resume("outbox")

    def write_eof(self) -> None:
        """Shut our side once what was written is sent; the peer may still send."""
        self.half_close = True
        self.mark()

    def pause(self, reason: str) -> None:
        """Stop reading, for one more reason; frames that were cut ahead wait with the rest."""
        super().pause(reason)
        if self.inbox is None:
            self.new_inbox()  # bytes that arrive in this batch have to wait there
        self.rejoin()

    def resume(self, reason: str) -> None:
        """Drop one reason; with none left, go on with what is already here."""
        held_back = bool(self.pause_reasons)
        super().resume(reason)
        if self.pause_reasons or not held_back:
            return
        self.request_at = self.loop.now  # what was held back begins now
        if self.inbox or self.no_more is not None:
            self.requeue()
        elif self.loop.observer is None:
            self.inbox = None

    # -- settle -----------------------------------------------------------------------------------------------------

    def settle(self) -> None:
        """End of the batch: flush; and if what the row waits for has changed, phase, interest and deadline too."""
        if self.outbox:
            self.transport.flush(self)
        if not self.outbox and not self.marked and self.phase is _IDLE and self.interest == READ:
            return
        self.marked = False
        self._conclude()

    def _conclude(self) -> None:
        """Derive the phase; end what has ended; else watch and guard the row as its phase asks."""
        if self.phase in _UNSHUT:
            if self.outbox or self.stalled_at is not None or self.pause_reasons or self.drainers:
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
        if self.inbox is not None or self.outbox or self in self.loop.budget.rows:
            self.loop.budget.note(self)
        self.loop.demultiplexer.set(self, self._wanted())
        self.loop.deadlines.guard(self)

    def _derive(self) -> None:
        """Advance to the live phase that the facts ask for, if it is another one."""
        if self.reader is None:
            after = _WORKING
        elif self.owing or self.inbox or (self.framing is not RAW and self.framing.held_bytes):
            after = _RECEIVING
        else:
            after = _IDLE
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
