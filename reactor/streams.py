"""The way of bytes through a connection: receive, hand frames on, queue what is written.

What it is: `on_ready -> Transport.receive -> Framing.next_frame -> deliver`, and `write`. What it is not: the way back out,
`settle -> Transport.flush`, which is in `settling`; nor a handler: `deliver` and `fail` are for floor 6 to define, and a
shorter way for the commonest event is in `handled`.

Rules: the hot path is flat, and whatever is rare leaves it at once (`_rarely`) · nothing here closes anything, or changes
what the row waits for; it marks the row · frames and bytes a turn are bounded, so that others get theirs.
"""

from __future__ import annotations

from typing import Any

from .buffers import Inbox
from .errors import EndOfStream, LimitError, ReactorError
from .framings import RAW
from .needs import Need
from .phases import Phase
from .settling import SettlingRow
from .table import READ, WRITE

_RECEIVING, _LINGERING, _CLOSED = Phase.RECEIVING, Phase.LINGERING, Phase.CLOSED  # as in `settling`


class StreamRow(SettlingRow):
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
            if self.phase is _RECEIVING and self.interest == READ and self.framing.goes_on(data, inbox):
                self.loop.budget.grown(self, len(data))  # a byte of a slow peer: nobody has to hear of it
            else:
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
                self.requests += len(inbox.ahead) - cut  # as below
                self.fail(error)
                break
            if type(frame) is Need:
                self.requests += len(inbox.ahead) - cut  # another framing has put them back
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
        if pending > self.room:
            self._queue(data)
            return
        self.pending = pending
        if outbox:
            outbox.append(data)
            return
        self.outbox = [data]
        if outbox is None:  # else it is OPEN: who resumed the handler will send
            self.short = None  # this must leave first
            self.loop.dirty.append(self)

    def _queue(self, data: bytes) -> None:
        """Above the high mark: send at once, so that 128 large replies never pile up in one batch. Or the socket is full."""
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
