"""Ordinary blocking handlers without blocking: the loop gathers a whole frame, then makes the handler.

What it is: a connection whose handler is made anew for every frame, `RequestHandlerClass(request, client_address,
server)`, and finds exactly that frame to read. *A frame is a datagram*: one handler, one `handle()`, and no local
survives; what a connection has to remember lives in `request.session`. What it is not: a socket. The row itself is the
`request`, with as much of a socket's interface as handlers use; what they write fills the outbox.

Rules:

1. Whether the connection is kept is the handler's doing: if it tried to read past its frame, the row is parked for the
   next one; if it returned without trying, the connection ends, as in socketserver.
2. Nothing here blocks. A reply that is too large for the outbox waits on disk (`Limits.spool_bytes`).
3. verify_request is called once a connection, process_request and finish_request once a frame, and shutdown_request
   once, when the connection ends. Where they are nobody's own they would do nothing more than we do, and are passed by.
"""

from __future__ import annotations

import logging
from typing import Any

from .buffers import JOIN_BYTES, Inbox, consume
from .demultiplexer import BATCH_ROWS
from .errors import EndOfStream, FramingError, LimitError, ReactorError, describe
from .framed_sockets import SocketOfRow
from .framing import Framing
from .framings import RAW
from .limits import Limits
from .phases import End, Phase
from .quick_handlers import serve_frames
from .spools import Spool, SpoolingTransport
from .streams import StreamRow
from .transports import OPEN, PLAIN, RECEIVE_BYTES

log = logging.getLogger("reactor")
_IDLE = Phase.IDLE  # as in `streams`


class FramedRow(SocketOfRow):
    """One connection of a framed handler, and its `request`. The loop closes the socket; a handler need not.

    Args:
        host: the server's side: it runs the handler and hears of the end.
        framing: a prototype; see `ConnectionRow` for the other arguments.
    """

    way = "framed"
    __slots__ = ("lent",)

    def __init__(
        self, loop: Any, sock: Any, acceptor: Any, host: Any, limits: Limits, sockaddr: Any, framing: Framing[Any]
    ) -> None:
        self.host = host
        self.file = None  # what the handler that is running now reads
        self.lent: Framing[Any] | None = None  # the framing that `new_inbox` has made for it, or found spare
        super().__init__(loop, sock, acceptor, host.name, limits, sockaddr)
        self.framing = framing if self.inbox is None else framing.fresh()  # see `new_inbox`
        self.reader = self  # parked for the first frame

    # -- what the engine calls --------------------------------------------------------------------------------------

    def on_ready(self, ready: int) -> None:
        """Receive once and hand on what is complete; if that is all there is, the replies leave at once.

        It is the short way of `HandledRow.on_ready`, and what is not that simple takes the long one here, too.
        """
        framing, inbox = self.framing, self.inbox
        if ready != self.short or not (framing is RAW or framing.cuts):
            return StreamRow.on_ready(self, ready)
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except OSError as error:
            return PLAIN.failed(self, error)
        frame: Any = data
        if framing is not RAW and data:
            inbox = self.new_inbox() if inbox is None else inbox
            frame = framing.cut(data, inbox)
            if frame is not None:
                self.requests += len(inbox.ahead)
        if frame is None or not data:  # no whole frames, or the end of the stream
            return self._arrived(data)
        self.bytes_in += len(data)
        self.requests += 1
        self.outbox = OPEN
        try:
            if framing is RAW:
                self.deliver(data)
            else:
                self._deliver_all(frame, inbox)
        finally:
            self._send_at_once()
        if self.inbox:  # the handler has paused the row, or switched its framing
            self.pump()
        return None

    def _send_at_once(self) -> None:
        """The handler is done: send its reply, if nothing has happened that settle would have to look at."""
        outbox = self.outbox
        if not outbox:
            self.outbox = None
            return
        if self.marked or self.transport is not PLAIN or self.pending > JOIN_BYTES:
            self.mark()
            return
        if len(outbox) > 1:
            outbox[:] = [b"".join(outbox)]
        try:
            sent = self.sock.send(outbox[0])
        except OSError as error:
            self.mark()
            PLAIN.failed(self, error)
            return
        self.bytes_out += sent
        if sent == self.pending:
            self.outbox, self.pending = None, 0
        else:
            self.pending -= sent
            consume(outbox, sent)
            self.mark()

    def deliver(self, frame: Any, ahead: Any = ()) -> None:
        """Make a handler for the frame, and perhaps for those ahead; then park the row for the next one, or end it."""
        stock = self.host.stock
        if self.framing is stock.framing:
            if stock.turn != self.loop.turns or stock.server.RequestHandlerClass is not stock.seen:
                stock.look(self.loop.turns)
            if stock.kind is not None:
                serve_frames(self, stock, frame, ahead)
                return
        self.wrote = False
        try:
            self.host.serve(self, frame)
        except BaseException as error:  # SystemExit, KeyboardInterrupt: the loop is left
            self.finish(End.ABORTED, describe(error))
            raise
        finally:
            file, self.file = self.file, None
            if file is not None:
                file.close()
        if self.end is not None or file is None or not file.past_end:
            self.reader = None  # nobody waits any more
            self.finish(End.FINISHED)
            return
        if not self.wrote:
            self.host.warn_of_hunger(self)
        self.since = self.loop.now
        if self.phase is not _IDLE:
            self.goes_idle()

    def goes_idle(self) -> None:
        """The handler waits for the next frame, and the row is not idle yet."""
        self.request_at = self.loop.now
        self.mark()

    def _frame(self, frame: Any, wire_bytes: int) -> None:
        """Hand on a frame, and those that were cut ahead with it; `pump` has counted them: 10 % of a line, one by one."""
        if self.inbox is None or not self.inbox.ahead or self.loop.observer is not None:
            super()._frame(frame, wire_bytes)
        else:
            self.requests += 1
            self._deliver_all(frame, self.inbox)

    def _deliver_all(self, frame: Any, inbox: Any) -> None:
        framing, ahead = self.framing, inbox.ahead
        if framing.ahead_end is None:  # those ahead are no frames yet
            self.deliver(frame)
            return
        self.deliver(frame, ahead)
        while ahead and self.framing is framing:  # what ends or pauses the row puts them back: see `rejoin`
            self.deliver(ahead.pop() + framing.ahead_end, ahead)

    def new_inbox(self) -> Inbox:
        """Bytes have come: now the row needs an inbox, and a framing of its own."""
        if self.framing is self.host.framing:
            if self.host.spare and self.loop.observer is None:
                self.lent, self.inbox = self.host.spare.pop()
                self.framing = self.lent
                return self.inbox
            self.framing = self.lent = self.framing.fresh()
        return super().new_inbox()

    def settle(self) -> None:
        """As ever; a row that is idle then keeps neither, which is 400 of 1,270 bytes: the next busy one has them."""
        super().settle()
        inbox = self.inbox
        if inbox is None or inbox.size or inbox.ahead or self.phase is not _IDLE:
            return
        if self.framing is not self.lent:  # a handler has given this row another one, which is nobody else's
            return
        if self.framing.is_blank and self.loop.observer is None and self.framing is not self.host.framing:
            if len(self.host.spare) < BATCH_ROWS:
                self.host.spare.append((self.framing, inbox))
            self.framing, self.lent, self.inbox = self.host.framing, None, None

    def fail(self, error: ReactorError) -> None:
        """There will be no frame: the end of the stream, bytes that make none, or no time left."""
        self.reader = None
        error.__traceback__ = error.__context__ = None  # whose frames hold the row: it would wait for the collector
        if isinstance(error, EndOfStream):
            self.finish(End.FINISHED)
        elif isinstance(error, (FramingError, LimitError)):
            self.refuse(error, self.host.contain)

    def on_again(self) -> None:
        """Go on with what is here."""
        if self.phase is not Phase.CLOSED:
            self.pump()

    def write(self, data: bytes) -> None:
        """Queue bytes: above the cap of the outbox on disk, for a blocking handler cannot wait for a slow reader."""
        transport = self.transport
        if transport is PLAIN and self.pending + len(data) > self.limits.outbox_bytes:
            transport = self.transport = SpoolingTransport(Spool(self.limits.spool_bytes))
        if isinstance(transport, SpoolingTransport):
            self.wrote = True
            try:
                transport.queue(self, data)
            except LimitError as error:
                self.abort(str(error))  # whatever the handler does now: half a reply must not look like a whole one
                raise
            self.mark()
            self._heed_marks()
        else:
            super().write(data)

    def _heed_marks(self) -> None:
        """No further request while a reply is on disk: a client that sends many at once must not fill it."""
        super()._heed_marks()
        if isinstance(self.transport, SpoolingTransport):
            if "spool" not in self.paused:
                self.pause("spool")
        elif self.pause_reasons:
            self.resume("spool")

    def _cut(self, error: Any) -> None:
        self._drop_spool()
        super()._cut(error)

    def _drop_spool(self) -> None:
        if isinstance(self.transport, SpoolingTransport):
            self.transport.discard()

    def _release(self) -> None:
        self._drop_spool()
        self.reader = None  # itself: a cycle
        self.host.closing(self)
        super()._release()

    @property
    def outbox_bytes(self) -> int:
        """Written and not yet sent, what waits on disk included."""
        spooled = len(self.transport.spool) if isinstance(self.transport, SpoolingTransport) else 0
        return self.pending + spooled
