"""The stream: a connection as a coroutine handler sees it. Row and stream are one object.

    async def greet(stream: Stream) -> None:
        stream.write(b"What is your name? ")
        stream.write(b"Hello, " + await stream.readline(max_bytes=80))

Reading is one mechanism: each method sets the row's framing and yields the stream, which means "one frame, please". End
of input, one rule: `readline` and `read_some` return b"" at a clean end; `frame`, `readexactly` and `readuntil` raise
`EndOfStream`; `frames()` stops; bytes left over are a `FramingError`. A drain ends reading in the same way.

Writing never blocks. A handler whose peer does not read is not resumed from a read until its outbox is below the low
mark, so one that only answers requests never needs `drain`.
"""

from __future__ import annotations

import functools
import logging
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, Self, TypeVar

from .coroutines import Runner, Suspension, Task, coroutine_of, suspend
from .errors import Cancelled, ConnectionLost, EndOfStream, FramingError, LimitError, ReactorError
from .framing import LINES, RAW, Fixed, Framing, Lines, Raw, Until
from .limits import Limits
from .phases import End, Phase
from .streams import StreamRow

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger("reactor")

# The framings of calls like readline(max_bytes=80) are made once, not once a call.
_lines = functools.lru_cache(maxsize=128)(lambda max_bytes: Lines(max_bytes=max_bytes))
_until = functools.lru_cache(maxsize=128)(lambda delimiter, max_bytes: Until(delimiter, max_bytes=max_bytes))
_fixed = functools.lru_cache(maxsize=128)(Fixed)
_raw = functools.lru_cache(maxsize=128)(Raw)


class Stream(StreamRow, Runner, Suspension):
    """One connection, and the coroutine that handles it. See `StreamRow` for the arguments.

    The engine closes the socket; a handler calls `close()` or simply returns.
    """

    way = "coroutine"
    waiting_at = Runner.waiting_at
    __slots__ = ("_drainers", "coroutine", "host", "parked", "tasks")

    def __init__(
        self, loop: Any, sock: Any, acceptor: Any, listener: str, limits: Limits, sockaddr: Any = None
    ) -> None:
        self.coroutine: Coroutine[Any, Any, Any] | None = None
        self.parked: Any = None
        self.tasks: set[Task[Any]] | None = None
        self.host: Any = None  # who is told of errors and of the end, for hosted servers
        self._drainers: list[Any] | None = None
        super().__init__(loop, sock, acceptor, listener, limits, sockaddr)

    # -- the coroutine and the row ----------------------------------------------------------------------------------

    def start(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        """Run the handler of this row.

        Raises:
            RuntimeError: it has one already.
        """
        if self.coroutine is not None:
            coroutine.close()
            raise RuntimeError(f"{self} has a handler already")
        self.coroutine = coroutine
        self.proceed()

    def deliver(self, frame: Any) -> None:
        """Hand a frame to whoever reads: nearly always the handler of this very row."""
        reader = self.reader
        self.reader = None
        if reader is not self:
            reader.proceed(frame)
            return
        try:
            want = self.coroutine.send(frame)  # type: ignore[union-attr]
        except BaseException as error:  # as in Runner._run, which this repeats without the calls
            self.coroutine = None
            self._ended(error)
            return
        if want is self and self.reader is None:
            self.reader = self
            if self.wrote:  # the request was answered
                self.wrote = self.owing = False
                self.since = self.loop.now
                if self.phase is Phase.IDLE:
                    return
            else:
                self.owing = True
            self.mark()
        else:
            self._park(want)

    def _park(self, want: Any) -> None:
        """The rarer waits: the first one, and all that is no read of the own row."""
        self.mark()
        if want is not self:
            super()._park(want)
            return
        if self.reader is not None:
            self.throw(RuntimeError(f"{self} is already being read by {self.reader}: one reader at a time"))
            return
        self.reader = self
        self.owing = self.owing or (self.bytes_in > 0 and not self.wrote)
        if self.wrote:
            self.wrote = self.owing = False
            self.since = self.loop.now
        if self.no_more is not None or self.inbox:
            self.loop.again.append(self)

    def park(self, runner: Any) -> None:
        """Another runner (a task, the handler of another row) wants a frame of this row."""
        if self.reader is not None:
            runner.throw(RuntimeError(f"{self} is already being read by {self.reader}: one reader at a time"))
            return
        self.reader = runner
        self.mark()
        if self.no_more is not None or self.inbox:
            self.loop.again.append(self)

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
        for drainer in self._drainers or ():
            if drainer is not self:
                self.loop.call_soon(drainer.throw, error)
        if self.coroutine is not None and reader is not self:
            self.throw(error if isinstance(error, ConnectionLost) else Cancelled(str(error)))

    def _ended(self, error: BaseException) -> None:
        """The handler has returned or raised: the row ends, with an end code and at most one line in the log."""
        if isinstance(error, (StopIteration, EndOfStream, ConnectionLost)):
            self.finish(End.FINISHED, "" if isinstance(error, StopIteration) else str(error))
        elif isinstance(error, (FramingError, LimitError)):
            self._refuse(error)
        elif isinstance(error, Exception):
            self.finish(End.HANDLER_FAILED, f"{type(error).__name__}: {error}")
            (self.host or self.loop).contain(self, error)
        else:
            self.finish(End.ABORTED, f"{type(error).__name__}: {error}")
            if not isinstance(error, (Cancelled, GeneratorExit)):
                raise error

    def _refuse(self, error: FramingError | LimitError) -> None:
        """Say what the protocol says before it hangs up (400, 408, -ERR ...)."""
        log.info("%s ends: %s", self, error)
        refusal = self.framing.refusal(error)
        if refusal and self.phase is not Phase.CLOSED:
            self.write(refusal)
        self.finish(End.BAD_FRAME if isinstance(error, FramingError) else End.LIMIT, str(error))

    def _gone(self) -> None:
        super()._gone()
        for task in tuple(self.tasks or ()):
            task.cancel()
        if self.coroutine is not None:
            self.loop.again.append(self)

    def _release(self) -> None:
        if self.host is not None:
            self.host.closing(self)
        super()._release()

    def _heed_marks(self) -> None:
        super()._heed_marks()
        if self._drainers and self.pending <= self.limits.outbox_low_bytes:
            drainers, self._drainers = self._drainers, None
            for drainer in drainers:
                self.loop.call_soon(drainer.proceed)

    # -- reading ----------------------------------------------------------------------------------------------------

    @types.coroutine
    def readline(self, *, max_bytes: int | None = None) -> Generator[Any, Any, bytes]:
        """Return the next line with its b"\\n", b"" at the end of the input.

        Args:
            max_bytes: the longest line, without its end; None: `Limits.frame_bytes`.

        Raises:
            FramingError: the line is too long, or the input ended inside it.
        """
        if max_bytes is None:
            if self.framing is LINES:
                inbox = self.inbox
                if inbox is not None and inbox.ahead:
                    return inbox.ahead.pop() + b"\n"
            else:
                self._use(LINES)
        else:
            self._use(_lines(max_bytes))
        try:
            line: bytes = yield self
        except EndOfStream:
            return b""
        return line

    @types.coroutine
    def read_some(self, max_bytes: int = 65536) -> Generator[Any, Any, bytes]:
        """Return what has arrived, at least one and at most `max_bytes` bytes, b"" at the end of the input."""
        if max_bytes >= 65536:
            if self.framing is not RAW:
                self._use(RAW)
        else:
            self._use(_raw(max_bytes))
        try:
            data: bytes = yield self
        except EndOfStream:
            return b""
        return data

    @types.coroutine
    def _read(self, framing: Framing[T]) -> Generator[Any, Any, T]:
        self._use(framing)
        frame: T = yield self
        return frame

    def _use(self, framing: Framing[Any]) -> None:
        """Switch the framing; bytes that were cut ahead for another one go back."""
        if framing is not self.framing:
            self.rejoin()
            self.framing = framing
            self._need = None

    def readuntil(self, delimiter: bytes, *, max_bytes: int | None = None) -> Awaitable[bytes]:
        """Return the bytes up to and including `delimiter`.

        Raises:
            EndOfStream: the input ended before the first byte.
            FramingError: no delimiter within `max_bytes`, or the input ended inside.
        """
        return self._read(_until(bytes(delimiter), max_bytes))

    async def readexactly(self, n: int) -> bytes:
        """Return exactly `n` bytes; raises as `readuntil`."""
        return await self._read(_fixed(n)) if n else b""

    def frame(self, framing: Framing[T]) -> Awaitable[T]:
        """Return one frame; raises as `readuntil`."""
        return self._read(framing.fresh())

    def frames(self, framing: Framing[T]) -> Frames[T]:
        """Return an async iterator over the frames up to the end of the input; each frame is a request."""
        return Frames(self, framing.fresh())

    def end_request(self) -> None:
        """Declare the request answered though nothing was written: for sinks, whose requests would never end."""
        self.wrote = True

    # -- writing ----------------------------------------------------------------------------------------------------

    def offer(self, data: bytes) -> bool:
        """Write to a row that may be slow or gone: False, and nothing written, instead of an error."""
        if self.end is not None or self.fd < 0 or self.pending + len(data) > self.limits.outbox_high_bytes:
            return False
        answered = self.wrote
        self.write(data)
        self.wrote = answered  # what others say to the peer answers no request of its own
        return True

    async def drain(self) -> None:
        """Wait until the outbox is below its low mark; always lets other rows have their turn.

        Raises:
            ConnectionLost: the peer is gone.
        """
        if self.phase is Phase.CLOSED or isinstance(self.no_more, ConnectionLost):
            raise self.no_more or ConnectionLost(f"{self} has ended")
        await suspend(_Drained(self))

    def shutdown(self, how: int) -> None:
        """As `write_eof`: what `shutdown_request` of a hosted server calls on its request."""
        if self.end is None:
            self.write_eof()

    def fileno(self) -> int:
        """Return the descriptor, -1 when the row has ended. It is not for reading or writing."""
        return self.fd

    def spawn(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Task[T]:
        """Run a coroutine function beside the handler; it is cancelled when the row ends."""
        if self.tasks is None:
            self.tasks = set()
        task: Task[T] = Task(self.loop, coroutine_of(function, args, kwargs), self)
        self.tasks.add(task)
        return task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc: object) -> None:
        self.close()


class Frames(Generic[T]):
    """The frames of a stream: `async for frame in stream.frames(framing)`."""

    __slots__ = ("_framing", "_stream")

    def __init__(self, stream: Stream, framing: Framing[T]) -> None:
        self._stream, self._framing = stream, framing

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            frame = await self._stream._read(self._framing)
        except EndOfStream:
            raise StopAsyncIteration from None
        self._stream.wrote = True  # answered or not: the next frame is a request of its own
        return frame


class _Drained(Suspension):
    """Wait for room in an outbox."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def park(self, runner: Any) -> None:
        if self._stream._drainers is None:
            self._stream._drainers = []
        self._stream._drainers.append(runner)
        self._stream.mark()

    def unpark(self, runner: Any) -> None:
        drainers = self._stream._drainers
        if drainers is not None and runner in drainers:
            drainers.remove(runner)

