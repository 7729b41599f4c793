"""A connection and the coroutine that handles it, as one object.

What it is: the seam between `StreamRow`, which has frames and ends, and `Runner`, which has a coroutine. What it is
not: the methods that a handler calls; those are `Stream`'s. The most frequent event of all, bytes for a handler that takes
whatever comes, or whole frames, has its whole way here, up to the `send`; see ADR 0017 and 0019.

Rules: a row has one reader at a time, nearly always its own handler · a handler that waits for input after having
written has answered its request · when the row is gone, whoever waits on it hears of it · how the handler ends decides
how the row ends, in `_ended`, the one place where its exceptions arrive.
"""

from __future__ import annotations

import logging
from collections.abc import Coroutine
from typing import Any

from .buffers import consume
from .coroutines import Runner, Suspension, Task
from .errors import Cancelled, ConnectionLost, EndOfStream, FramingError, LimitError, ReactorError, describe
from .framings import RAW
from .limits import Limits
from .phases import End, Phase
from .streams import StreamRow
from .transports import OPEN, PLAIN, RECEIVE_BYTES

log = logging.getLogger("reactor")
_IDLE, _FINISHED = Phase.IDLE, End.FINISHED  # as in `streams`


class HandledRow(StreamRow, Runner, Suspension):
    """One connection, and the coroutine that handles it. See `ConnectionRow` for the arguments."""

    way = "coroutine"
    waiting_at = Runner.waiting_at
    __slots__ = ("coroutine", "host", "lines_ahead", "parked", "tasks")

    def __init__(
        self, loop: Any, sock: Any, acceptor: Any, listener: str, limits: Limits, sockaddr: Any = None
    ) -> None:
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.parked: Any = None
        self.lines_ahead: list[bytes] | None = None  # what `readline` may take without asking: the inbox's own list
        self.tasks: set[Task[Any]] | None = None
        self.host: Any = None  # who is told of errors and of the end, for hosted servers
        StreamRow.__init__(self, loop, sock, acceptor, listener, limits, sockaddr)

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run the handler of this row.

        Raises:
            RuntimeError: it has one already.
        """
        if self.coroutine is not None:
            coroutine.close()
            raise RuntimeError(f"{self} has a handler already")
        self.coroutine = coroutine
        try:
            want = coroutine.send(None)
        except BaseException as error:  # as in `Runner._run`
            self.coroutine = None
            self._ended(error)
        else:
            self._park(want)

    def on_ready(self, ready: int) -> Any:  # None; an Any spares each early end a line of its own
        """A whole exchange on one page: receive, resume the handler, send. What is not that simple takes the long way.

        It is `StreamRow.on_ready`, `pump`, `deliver`, `settle` and the plain transport, without the calls between them.
        """
        if ready != self.short:
            return StreamRow.on_ready(self, ready)
        try:
            data = self.sock.recv(RECEIVE_BYTES)
        except OSError as error:
            return PLAIN.failed(self, error)
        frame, ahead = data, None
        if self.framing is not RAW and data:
            inbox = self.new_inbox() if self.inbox is None else self.inbox
            frame, ahead = self.framing.cut(data, inbox), inbox.ahead
            self.requests += len(ahead)
        if frame is None or not data:  # no whole frames, or the end of the stream
            return self._arrived(data)
        self.bytes_in += len(data)
        self.requests += 1
        self.outbox = OPEN
        try:
            want = self.coroutine.send(frame)  # type: ignore[union-attr]  # a reader has one
        except BaseException as error:  # as in `deliver`
            self.outbox = self.outbox or None  # what was written leaves with settle
            self.reader = self.coroutine = None
            return self._ended(error)
        outbox = self.outbox
        if want is not self or not self.wrote or not self.short or not outbox or ahead:
            self.outbox = outbox or None
            self.mark()
            self._waits_for(want)
            return self.pump() if self.inbox else None
        self.wrote = False
        self.since = self.loop.now
        if len(outbox) > 1:
            PLAIN.flush(self)
            return self.mark() if self.outbox else None
        try:
            sent = self.sock.send(outbox[0])
        except OSError as error:
            self.mark()
            return PLAIN.failed(self, error)
        self.bytes_out += sent
        if sent == self.pending:
            self.outbox, self.pending = None, 0
            return None
        self.pending -= sent
        consume(outbox, sent)
        return self.mark()

    def deliver(self, frame: Any) -> None:
        """Hand a frame to whoever reads: nearly always the handler of this very row."""
        if self.reader is not self:
            reader, self.reader = self.reader, None
            self.since = self.request_at = self.loop.now  # what others take is a request of its own, as with `frames()`
            self.owing = self.wrote = False
            self.mark()
            reader.proceed(frame)
            return
        try:
            want = self.coroutine.send(frame)
        except BaseException as error:  # as in Runner._run, which this repeats without the calls
            self.reader = self.coroutine = None
            self._ended(error)
            return
        if want is self and self.wrote and self.phase is _IDLE:  # nearly always: the request was answered
            self.wrote = self.owing = False
            self.since = self.loop.now
        else:
            self._waits_for(want)

    def _waits_for(self, want: Any) -> None:
        """Take note of what the handler waits for now."""
        if want is self:  # it waits for the next frame, and still is the reader
            if self.wrote:  # the request was answered
                self.wrote = self.owing = False
                self.since = self.loop.now
                if self.phase is _IDLE:
                    return
                self.request_at = self.loop.now
            else:
                self.owing = True
            self.mark()
        else:
            self.reader = None
            self._park(want)

    def _park(self, want: Any) -> None:
        """The rarer waits: the first one, and all that is no read of the own row."""
        self.mark()
        if want is not self:
            self.lines_ahead = None  # time may pass, and each line is a request with a time of its own: by way of `pump`
            super()._park(want)
            return
        if self.reader is not None:
            self.throw(RuntimeError(f"{self} is already being read by {self.reader}: one reader at a time"))
            return
        self.reader = self
        self.owing = self.owing or (self.bytes_in > 0 and not self.wrote)
        if self.wrote:
            self.wrote = self.owing = False
            self.since = self.request_at = self.loop.now
        if self.no_more is not None or self.inbox:
            self.requeue()

    def park(self, runner: Any) -> None:
        """Another runner (a task, the handler of another row) wants a frame of this row."""
        if self.reader is not None:
            runner.throw(RuntimeError(f"{self} is already being read by {self.reader}: one reader at a time"))
            return
        self.reader = runner
        self.mark()
        if self.no_more is not None or self.inbox:
            self.requeue()

    def unpark(self, runner: Any) -> None:
        """The other runner wants it no longer."""
        if self.reader is runner:
            self.reader = None
            self.mark()

    def throw(self, error: BaseException) -> None:
        """Raise `error` at the await of the handler."""
        if self.reader is self:
            self.reader = None
        self.mark()
        super().throw(error)

    def fail(self, error: ReactorError) -> None:
        """Tell whoever reads that there will be no frame."""
        reader, self.reader = self.reader, None
        if reader is not None:
            reader.throw(error)
        elif isinstance(error, LimitError) and self.coroutine is not None:
            self.throw(error)  # the time of WORKING is up: wherever the handler waits

    def on_again(self) -> None:
        """Go on with what is here; a handler whose row is gone must not wait for ever."""
        if self.phase is not Phase.CLOSED:
            self.pump()
            return
        error = self.no_more or ConnectionLost(f"{self} has ended")
        reader = self.reader
        if reader is not None:
            self.fail(error)
        for drainer, drained in self.drainers or ():
            if drainer is not self:
                self.loop.call_soon(drainer.wake_with, drained, self.lost())
        if self.coroutine is not None and reader is not self:
            self.throw(error if isinstance(error, ConnectionLost) else Cancelled(str(error)))

    def lost(self) -> ConnectionLost:
        """Return what somebody who only writes to the row is told of its end."""
        return self.no_more if isinstance(self.no_more, ConnectionLost) else ConnectionLost(f"{self} has ended")

    def _ended(self, error: BaseException) -> None:
        """The handler has returned or raised: the row ends, with an end code and at most one line in the log."""
        if self.no_more is not None:
            self.no_more.__traceback__ = None  # whose frames hold the row, and the rows of its whole batch
        if isinstance(error, StopIteration):
            self.finish(_FINISHED)
        elif isinstance(error, (EndOfStream, ConnectionLost)):
            self.finish(_FINISHED, str(error))
        elif isinstance(error, (FramingError, LimitError)):
            self.refuse(error, (self.host or self.loop).contain)
            error.__traceback__ = error.__context__ = None  # as that of `no_more`
        elif isinstance(error, Exception):
            self.finish(End.HANDLER_FAILED, describe(error))
            (self.host or self.loop).contain(self, error)
        else:
            self.finish(End.ABORTED, describe(error))
            if not isinstance(error, (Cancelled, GeneratorExit)):
                raise error

    def _gone(self) -> None:
        StreamRow._gone(self)
        if self.tasks:
            for task in tuple(self.tasks):
                task.cancel()
        if self.coroutine is not None or self.reader is not None or self.drainers:
            self.requeue()  # user code must not run inside of settle

    def _release(self) -> None:
        if self.host is not None:
            self.host.closing(self)
        StreamRow._release(self)

    def _heed_marks(self) -> None:
        super()._heed_marks()
        if self.drainers and self.pending <= self.limits.outbox_low_bytes:
            drainers, self.drainers = self.drainers, None
            for drainer, drained in drainers:
                self.loop.call_soon(drainer.wake, drained)
