"""How connections end, and the state that every connection has.

What it is: the fields of a stream row, and its ends: in good order (`finish`), by this program (`abort`), by the peer
(`lose`), by a deadline (`expire`). What it is not: the way of bytes; that is `streams`.

Rules:

1. Everything here only marks the row; `settle` closes it, at the end of the batch. A `_cut` row is CLOSED at once, so
   that nothing more is read or sent, but keeps its descriptor until then.
2. The first decision on how a row ends stands, unless its output is lost afterwards.
3. A reply that was cut short ends with a reset, never with the clean end of stream of a whole one.
4. What every connection goes through names its base class: `super()` takes 100 ns on CPython 3.11, seven times a connection.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import struct
import sys
from collections.abc import Callable
from typing import Any

from .buffers import Chunk, Inbox
from .errors import ConnectionLost, EndOfStream, FramingError, LimitError, ReactorError, describe
from .framing import Framing
from .framings import RAW
from .limits import Limits
from .needs import Need
from .phases import RULES, End, Event, Phase
from .snapshots import Kind
from .table import Row
from .transports import GONE, PLAIN, RECEIVE_BYTES, SHUT, PlainTransport

log = logging.getLogger("reactor")
_IDLE, _RECEIVING, _WORKING, _FLUSHING, *_ = Phase  # as in `settling`
LIVE = frozenset({Phase.IDLE, Phase.RECEIVING, Phase.WORKING})


class ConnectionRow(Row):
    """The state of a connection, and how it ends; `StreamRow` is the rest of it.

    Args:
        loop: the loop.
        sock: connected and non-blocking; the row closes it.
        acceptor: the listener that counts it, or None.
        listener: the name of the listener.
        limits: of the listener.
        sockaddr: the peer's address.
    """

    kind: Kind = "stream"
    __slots__ = (
        "_need", "acceptor", "drainers", "framing", "half_close", "inbox", "linger_from", "no_more", "outbox", "owing",
        "pending", "rated", "reader", "request_at", "room", "short", "stall", "transport", "wrote",
    )  # fmt: skip

    def __init__(
        self, loop: Any, sock: Any, acceptor: Any, listener: str, limits: Limits, sockaddr: Any = None
    ) -> None:
        self.transport: PlainTransport = PLAIN
        self.acceptor = acceptor
        self.framing: Framing[Any] = RAW
        self.inbox: Inbox | None = None  # made with the first bytes that no handler takes at once
        self.outbox: list[Chunk] | None = None  # None when empty: the outbox is its own dirty mark
        self.pending = 0  # bytes in the outbox
        self.room = limits.outbox_high_bytes  # ... until somebody has to look; 0 while the socket is full
        self.no_more: ReactorError | None = None  # why there will be no more input: what a read raises
        self.reader: Any = None  # the runner that waits for a frame of this row
        self.short: int | None = None  # READ while the short way is open: `settle` says so, `mark` takes it back
        self.wrote = False  # since the handler last waited for input
        self.owing = False  # a frame was taken and nothing was written since
        self.drainers: list[Any] | None = None  # runners that wait for room in the outbox
        self.half_close = False  # shut our side once the outbox is empty
        self.stall: tuple[float, int] | None = None  # since when the peer takes nothing of the outbox; bytes_out then
        self.request_at: float = loop.now  # when the request under way began
        self.rated: tuple[float, int] | None = None  # a request_at, and bytes_in before that request: for its rate
        self.linger_from: int | None = 0  # bytes_in when the lingering began; None: no need to linger
        self._need: Need | None = None
        if type(sockaddr) is tuple and sockaddr and type(sockaddr[0]) is str:
            # One text for each host, not for each connection: behind a proxy that is 64 of 1,560 bytes.
            sockaddr = (sys.intern(sockaddr[0]), *sockaddr[1:])
        Row.__init__(self, loop, sock, listener, limits, _IDLE, sockaddr)
        if loop.observer is not None:
            self.new_inbox()  # so that no frame takes the short way past the observer
        if acceptor is not None:
            acceptor.joined(self)
        self.mark()

    def finish(self, end: End, detail: str = "") -> None:
        """Decide how the row ends: after its input was over, the end says who ended it."""
        if self.no_more is None:
            self.no_more = ConnectionLost(f"row {self.id} of {self.listener} was closed by this program")
        elif end is End.FINISHED and isinstance(self.no_more, EndOfStream):
            end = End.PEER_CLOSED if self.no_more.cause == "peer" else End.DRAINED
        Row.finish(self, end, detail)
        if self.inbox is not None:
            self.rejoin()
        if self.reader is not None:
            self.requeue()  # whoever waits for input must hear of it, however long the flushing takes

    def abort(self, reason: str) -> None:
        """End the row at once; the peer gets a reset, for what it received may be half a reply."""
        if self.phase is Phase.CLOSED:
            return
        if self.phase is Phase.LINGERING:  # all was sent: nothing of it is cut short
            self.advance(Event.EXPIRED)
            self.mark()
            return
        self.no_more = ConnectionLost(f"{self} was aborted: {reason}")
        self.end, self.detail = End.ABORTED, reason
        self._cut(self.no_more)

    def lose(self, error: OSError) -> None:
        """The connection is gone: a normal end, whoever caused it."""
        if self.end is None or self.outbox:
            self.end, self.detail = End.PEER_RESET, str(error)
        self._cut(ConnectionLost(f"{self} is gone: {error}"))

    def _cut(self, error: ConnectionLost) -> None:
        """No more input and no more output: CLOSED at the end of the batch."""
        self.no_more = error
        self.transport = GONE
        self.rejoin()
        if self.phase is not Phase.CLOSED:
            self.advance(Event.LOST)
        self.mark()

    def deadline_at(self) -> float | None:
        """Return when the phase, or a peer that takes nothing, has used up its time (monotonic s)."""
        if self.phase is _RECEIVING:  # absolute: neither a byte nor some work in between gives it more time
            limit_s = self.limits.request_s
            if self.limits.request_bytes_per_s is not None and not self.pause_reasons:  # else: its peer may be quick
                limit_s = self.limits.request_lasts_s(self._request_bytes())
            deadline = None if limit_s is None else self.request_at + limit_s
        else:
            deadline = Row.deadline_at(self)
        if not self.outbox or self.limits.write_stall_s is None:
            return deadline
        if self.stall is not None:
            stall = self.stall[0] + self.limits.write_stall_s
        else:  # written in this turn and not flushed yet: the row is busy now, and may be idle from now on
            stall = self.loop.now + min(self.limits.write_stall_s, self.limits.idle_s or self.limits.write_stall_s)
        if deadline is None or self.phase in (_IDLE, _FLUSHING) or self.pause_reasons:
            return stall  # who reads a long reply is not idle, and what we do not read meanwhile is not late
        return min(stall, deadline)

    def _request_bytes(self) -> int:
        """Return what has come of the request under way; asked after the turn in which it began, and from time to time."""
        if self.rated is None or self.rated[0] != self.request_at:
            # What a handler has taken of it in that turn is not known, but is no more than one recv(): in dubio pro reo.
            begun = max(self.inbox_bytes, RECEIVE_BYTES) if self.owing else self.inbox_bytes
            self.rated = (self.request_at, max(self.bytes_in - begun, 0))
        return self.bytes_in - self.rated[1]

    def expire(self) -> None:
        """The time of the phase is up."""
        now, limits = self.loop.now, self.limits
        if self.phase is Phase.LINGERING:
            self.advance(Event.EXPIRED)
            self.mark()
        elif (
            self.phase is not Phase.CLOSED  # lost in this very batch, which is how it ends
            and self.outbox
            and self.stall is not None
            and limits.write_stall_s is not None
            and now >= self.stall[0] + limits.write_stall_s
        ):
            self.give_up(
                LimitError("write_stall_s", limits.write_stall_s, now - self.stall[0], "the peer reads nothing")
            )
        elif self.phase in LIVE and not self._moves_on():
            self._out_of_time(now)

    def give_up(self, error: LimitError) -> None:
        """End the row at once, whatever it has still to send."""
        self.end, self.detail = End.LIMIT, str(error)
        self._cut(ConnectionLost(f"{self} was closed: {error}"))

    def live_phase(self) -> Phase:
        """Return the live phase that the facts ask for; it is the row's own when the row has settled."""
        if self.reader is None:
            return _WORKING
        if self.owing or self.inbox or (self.framing is not RAW and self.framing.held_bytes):
            return _RECEIVING
        return _IDLE

    def _moves_on(self) -> bool:
        """Is the row in another phase since this very turn, though only settle will say so? Then it has the time of that.

        Once: who comes back to a phase whose deadline has passed meanwhile, for its next line say, is late.
        """
        deadline = self.deadline_at()
        if not self.marked or self.live_phase() is self.phase or (deadline is not None and deadline <= self.since):
            return False
        self.since = self.loop.now
        return True

    def _out_of_time(self, now: float) -> None:
        """Tell the handler by a LimitError at its await, so that it can say goodbye; then the row ends."""
        name = RULES[self.phase].bounded_by or ""
        began_at = self.request_at if self.phase is Phase.RECEIVING else self.since
        error = self.limits.late(name, now - began_at, self.phase, self._request_bytes())
        self.no_more = error
        super().finish(End.LIMIT, str(error))
        self.fail(error)

    def _discard(self) -> None:
        """LINGERING: read and forget, up to linger_bytes."""
        data = self.transport.receive(self)
        if data:
            self.bytes_in += len(data)
            if self.bytes_in - (self.linger_from or 0) > self.limits.linger_bytes:
                self.advance(Event.EXPIRED)
                self.mark()
        elif data is not None:
            self.advance(Event.EOF)
            self.mark()

    def _release(self) -> None:
        if self.end is End.ABORTED or self.outbox:
            # RST instead of FIN: a reply that was cut short must not look like a whole one (SO_LINGER, socket(7)).
            with contextlib.suppress(OSError):
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.outbox, self.pending = None, 0
        Row._release(self)

    def _gone(self) -> None:
        if self in self.loop.budget.rows:
            self.loop.budget.forget(self)
        Row._gone(self)
        if self.acceptor is not None:
            self.acceptor.left(self)
        self.transport = SHUT
        self.inbox = None
        if self.framing is not RAW:
            self.framing.abandon()

    @property
    def need(self) -> Need | None:
        """What the row still waits for; None while no handler waits for input."""
        if self.reader is None or self.phase not in LIVE:
            return None
        if self._need is not None and self.inbox_bytes:
            return self._need
        first = self.framing.fresh().next_frame(Inbox(self.limits.frame_bytes), False)  # what an empty inbox needs
        return first if isinstance(first, Need) else None

    @property
    def inbox_bytes(self) -> int:
        """Received and not yet consumed."""
        return (0 if self.inbox is None else len(self.inbox)) + self.framing.held_bytes

    @property
    def buffered_bytes(self) -> int:
        """What the row holds in memory: what waits on disk is not counted, what was sent of a large chunk is."""
        inbox, outbox = self.inbox, self.outbox
        held = self.pending + self.framing.buffered_bytes + (0 if inbox is None else len(inbox))
        if outbox and type(outbox[0]) is memoryview:
            held += memoryview(outbox[0].obj).nbytes - len(outbox[0])
        return held

    @property
    def outbox_bytes(self) -> int:
        """Written and not yet sent."""
        return self.pending

    def new_inbox(self) -> Inbox:
        """Make the inbox: most connections that are idle need none."""
        self.inbox = inbox = Inbox(self.limits.frame_bytes)
        if self.loop.observer is not None:
            inbox.split_ahead = 1
        else:
            inbox.split_ahead = min(inbox.split_ahead, self.limits.frames_per_turn)
        return inbox

    def rejoin(self) -> None:
        """Put frames that were cut ahead back into the inbox."""
        if self.inbox is not None and self.inbox.ahead:
            self.requests -= len(self.inbox.ahead)
            self.inbox.rejoin()

    def refuse(self, error: FramingError | LimitError, contain: Callable[[Any, Exception], None]) -> None:
        """Say what the protocol says before it hangs up (400, 408, -ERR ...); `contain` takes what goes wrong with that."""
        log.info("%s ends: %s", str(self), describe(error))  # texts: a kept record must not keep the row
        self.finish(End.BAD_FRAME if isinstance(error, FramingError) else End.LIMIT, str(error))
        try:
            refusal = self.framing.refusal(error)
            if refusal and self.phase is not Phase.CLOSED:
                self.write(refusal)
        except LimitError:
            pass  # the outbox is full of what the peer does not read anyway
        except Exception as another:
            contain(self, another)

    def write(self, data: bytes) -> None:
        """Queue bytes: for `streams` to define."""
        raise NotImplementedError

    def fail(self, error: ReactorError) -> None:
        """Tell whoever reads that there will be no frame: for floor 6 to define."""
        raise NotImplementedError
