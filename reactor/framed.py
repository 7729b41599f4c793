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
   once, when the connection ends.
"""

from __future__ import annotations

import errno
import functools
import io
import logging
import socket
from typing import IO, Any

from .buffers import Inbox
from .demultiplexer import BATCH_ROWS
from .errors import EndOfStream, FramingError, LimitError, ReactorError, describe
from .frame_files import BothWaysFile, FrameFile, ReplyFile, SpooledFrameFile, in_memory
from .framed_sockets import SocketOfRow
from .framing import Framing
from .framings import RAW
from .limits import Limits
from .phases import End, Phase
from .spools import Spool, SpoolingTransport
from .streams import StreamRow
from .table import READ
from .transports import OPEN, PLAIN, RECEIVE_BYTES, SHUT

log = logging.getLogger("reactor")
_IDLE = Phase.IDLE  # as in `streams`

# A handler's own timeout (`settimeout`) bounds the wait for the next frame. Handlers of one class set the same one.
_bounded = functools.lru_cache(maxsize=128)(lambda limits, idle_s: limits.replace(idle_s=idle_s))


class FramedRow(StreamRow, SocketOfRow):
    """One connection of a framed handler, and its `request`. The loop closes the socket; a handler need not.

    Args:
        host: the server's side: it runs the handler and hears of the end.
        framing: a prototype; see `ConnectionRow` for the other arguments.
    """

    way = "framed"
    __slots__ = ("file", "host")

    def __init__(
        self, loop: Any, sock: Any, acceptor: Any, host: Any, limits: Limits, sockaddr: Any, framing: Framing[Any]
    ) -> None:
        self.host = host
        self.file: FrameFile | SpooledFrameFile | None = None  # what the handler that is running now reads
        super().__init__(loop, sock, acceptor, host.name, limits, sockaddr)
        self.framing = framing if self.inbox is None else framing.fresh()  # see `new_inbox`
        self.reader = self  # parked for the first frame

    # -- what the engine calls --------------------------------------------------------------------------------------

    def on_ready(self, ready: int) -> None:
        """Receive once and hand on what is complete; a reply to a frame that is whatever came leaves at once.

        It is the short way of `HandledRow.on_ready`, and what is not that simple takes the long one here, too.
        """
        if ready != READ or self.framing is not RAW or self.transport is not PLAIN or self.no_more is not None:
            return StreamRow.on_ready(self, ready)
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except OSError as error:
            return PLAIN.failed(self, error)
        if not data or self.reader is None or self.inbox is not None or self.outbox:
            return self._arrived(data)
        self.bytes_in += len(data)
        self.requests += 1
        self.outbox = OPEN
        try:
            self.deliver(data)
        finally:
            self._send_at_once()
        return None

    def _send_at_once(self) -> None:
        """The handler is done: send its reply, if nothing has happened that settle would have to look at."""
        outbox = self.outbox
        if not outbox:
            self.outbox = None
        elif self.marked or self.transport is not PLAIN:
            self.mark()
        else:
            PLAIN.flush(self)
            if self.outbox:
                self.mark()

    def deliver(self, frame: Any) -> None:
        """Make a handler for the frame; then park the row for the next one, or end it."""
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
            self.request_at = self.loop.now
            self.mark()

    def _frame(self, frame: Any, wire_bytes: int) -> None:
        """Hand on a frame, and those that were cut ahead with it; `pump` has counted them: 10 % of a line, one by one."""
        super()._frame(frame, wire_bytes)
        framing, ahead = self.framing, self.inbox.ahead if self.inbox is not None else ()
        end: Any = framing.ahead_end
        if not ahead or end is None or self.loop.observer is not None:
            return
        while ahead and self.framing is framing:  # what ends or pauses the row puts them back: see `rejoin`
            self.deliver(ahead.pop() + end)

    def new_inbox(self) -> Inbox:
        """Bytes have come: now the row needs an inbox, and a framing of its own."""
        if self.framing is self.host.framing:
            if self.host.spare and self.loop.observer is None:
                self.framing, self.inbox = self.host.spare.pop()
                return self.inbox
            self.framing = self.framing.fresh()
        return super().new_inbox()

    def settle(self) -> None:
        """As ever; a row that is idle then keeps neither, which is 400 of 1,270 bytes: the next busy one has them."""
        super().settle()
        inbox = self.inbox
        if inbox is None or inbox.size or inbox.ahead or self.phase is not _IDLE:
            return
        if self.framing.is_blank and self.loop.observer is None and self.framing is not self.host.framing:
            if len(self.host.spare) < BATCH_ROWS:
                self.host.spare.append((self.framing, inbox))
            self.framing, self.inbox = self.host.framing, None

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
        if not isinstance(self.transport, SpoolingTransport):
            self.resume("spool")
        elif "spool" not in self.paused:
            self.pause("spool")

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

    # -- what a handler calls: the interface of a socket ------------------------------------------------------------

    def makefile(self, mode: str = "r", buffering: int | None = None, **text: Any) -> IO[Any]:
        """Return a file that reads the frame, writes the reply, or both: see `socket.makefile`."""
        file: Any = self.file
        if mode == "rb":
            return self._input() if file is None or file.closed else file
        if "w" not in mode:
            file = self._input()
        elif "r" in mode:
            file = BothWaysFile(self._input(), self.send)
        else:
            file = ReplyFile(self.send)
            if buffering != 0:
                size = buffering if buffering and buffering > 0 else io.DEFAULT_BUFFER_SIZE
                file = io.BufferedWriter(file, size)
        return file if "b" in mode else io.TextIOWrapper(file, **text)

    def _input(self) -> FrameFile | SpooledFrameFile:
        file = self.file
        if file is None:
            return in_memory()
        if file.closed:  # a socket can be read on when a file over it is closed; what that held is lost
            self.file = rest = in_memory()
            rest.past_end = file.past_end
            return rest
        return file

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """Return up to `bufsize` bytes of the frame; b"" behind it."""
        file = self._input()
        if flags and flags & socket.MSG_PEEK:  # an operation of enums takes longer than all the rest of this
            return file.peek()[:bufsize]
        return file.read1(bufsize)

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        """Fill a buffer from the frame and return the count."""
        with memoryview(buffer).cast("B") as view:
            data = self.recv(nbytes or view.nbytes, flags)
            view[: len(data)] = data
        return len(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Queue the whole of `data` and return its length."""
        self.sendall(data)
        return memoryview(data).nbytes

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Queue `data`; it is sent at the end of the turn.

        Raises:
            BrokenPipeError: the peer is gone, or our side is shut.
            LimitError: more than `Limits.spool_bytes` wait for a peer that does not read.
        """
        outbox = self.outbox
        if self.end is not None or self.half_close or self.transport is not PLAIN or type(data) is not bytes:
            self._send_rarely(data)
            return
        pending = self.pending + len(data)
        if outbox is None or pending > self.limits.outbox_high_bytes:
            self.write(data)
            return
        self.pending = pending  # as `write`, without its two calls: a handler of lines comes here for each of them
        self.wrote = True
        if outbox:
            outbox.append(data)
        else:  # it is OPEN
            self.outbox = [data]

    def _send_rarely(self, data: Any) -> None:
        if self.end is not None or self.half_close or self.transport is SHUT:
            raise BrokenPipeError(errno.EPIPE, f"{self} has ended: what is written now would never be sent")
        self.write(data if type(data) is bytes else bytes(memoryview(data)))

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Queue the bytes of a file and return how many they were."""
        if offset or file.seekable():  # a pipe does not
            file.seek(offset)
        sent = 0
        while count is None or sent < count:
            data = file.read(65536 if count is None else min(65536, count - sent))
            if not data:
                break
            self.sendall(data)
            sent += len(data)
        return sent

    def shutdown(self, how: int) -> None:
        """End our side once what was written is sent (SHUT_WR), or the connection (SHUT_RDWR)."""
        if self.end is None and how == socket.SHUT_RDWR:
            self.finish(End.FINISHED, "shut down by this program")
        elif self.end is None and how == socket.SHUT_WR and not (self.file is not None and self.file.past_end):
            self.write_eof()  # else: it took the end of its frame for the end of the stream, and tidies up (Django)

    def settimeout(self, timeout_s: float | None) -> None:
        """Bound the wait for the next frame; within one there is nothing to wait for."""
        limits = _bounded(self.host.limits, timeout_s) if timeout_s else self.host.limits
        if limits is not self.limits:
            self.limits = limits
            self.mark()  # its deadline may come before the one it is guarded by

    def gettimeout(self) -> float | None:
        """Return what was set, as a new socket None."""
        return None if self.limits is self.host.limits else self.limits.idle_s
