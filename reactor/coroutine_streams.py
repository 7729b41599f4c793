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
import types
from collections.abc import Awaitable, Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, Self, TypeVar

from .coroutines import Suspension, Task, coroutine_of, is_running, suspend
from .errors import ConnectionLost, EndOfStream, FramingError
from .framing import Framing
from .framings import LINES, RAW, Fixed, Lines, Raw, Until
from .handled import HandledRow
from .phases import Phase
from .transports import SHUT

P = ParamSpec("P")
T = TypeVar("T")

# The framings of calls like readline(max_bytes=80) are made once, not once a call.
_lines = functools.lru_cache(maxsize=128)(lambda max_bytes: Lines(max_bytes=max_bytes))
_until = functools.lru_cache(maxsize=128)(lambda delimiter, max_bytes: Until(delimiter, max_bytes=max_bytes))
_fixed = functools.lru_cache(maxsize=128)(Fixed)
_raw = functools.lru_cache(maxsize=128)(Raw)


class Stream(HandledRow):
    """One connection, as its handler sees it. The engine closes the socket; a handler calls `close()` or returns."""

    __slots__ = ()

    # -- reading ----------------------------------------------------------------------------------------------------

    @types.coroutine
    def readline(self, max_bytes: int | None = None) -> Generator[Any, Any, bytes]:
        """Return the next line with its b"\\n", b"" at the end of the input.

        Args:
            max_bytes: the longest line, without its end; None: `Limits.frame_bytes`.

        Raises:
            FramingError: the line is too long, or the input ended inside it.
        """
        if max_bytes is None:
            ahead = self.lines_ahead
            if ahead:
                if self.wrote:  # the last line was answered
                    self.wrote = False
                    self.request_at = self.loop.now
                return ahead.pop()
            if self.framing is not LINES:
                self._use(LINES)
        else:
            self._use(_lines(max_bytes))
        try:
            line: bytes = yield self
        except EndOfStream:
            return b""
        if max_bytes is None and self.reader is self and self.inbox is not None:  # a task waits elsewhere unnoticed
            self.lines_ahead = self.inbox.ahead
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
            return (yield self)  # type: ignore[no-any-return]  # a name for it would be 16 bytes of each idle connection
        except EndOfStream:
            return b""

    @types.coroutine
    def _read(self, framing: Framing[T]) -> Generator[Any, Any, T]:
        self._use(framing)
        frame: T = yield self
        return frame

    def _use(self, framing: Framing[Any]) -> None:
        """Switch the framing; bytes that were cut ahead for another one go back.

        If that one has taken a part of a frame, which nobody can give back, this read and all others raise a FramingError.

        Raises:
            RuntimeError: somebody else waits for a frame of the other framing.
        """
        if framing is not self.framing:
            if self.reader is not None and not (self.reader is self and is_running(self.coroutine)):
                raise RuntimeError(f"{self} is already being read by {self.reader}: one reader at a time")
            if self.framing.held_bytes and self.no_more is None:
                self.no_more = FramingError(
                    f"{self.framing.held_bytes} bytes of a frame were taken and then another framing was asked for: read on "
                    "with the first one (frames = stream.frames(framing), or a framing of your own)"
                )
            self.rejoin()
            self.framing.abandon()
            self.framing, self.short = framing, None
            self._need = self.lines_ahead = None

    @types.coroutine
    def readuntil(self, delimiter: bytes, *, max_bytes: int | None = None) -> Generator[Any, Any, bytes]:
        """Return the bytes up to and including `delimiter`.

        Raises:
            EndOfStream: the input ended before the first byte.
            FramingError: no delimiter within `max_bytes`, or the input ended inside.
        """
        framing = _until(delimiter if type(delimiter) is bytes else bytes(delimiter), max_bytes)
        if framing is not self.framing:
            self._use(framing)
        frame: bytes = yield self
        return frame

    async def readexactly(self, n: int, *, max_bytes: int | None = None) -> bytes:
        """Return exactly `n` bytes; raises as `readuntil`, and a FramingError if a peer's `n` is over `max_bytes`."""
        if max_bytes is not None and n > max_bytes:
            raise FramingError(f"{n} bytes were asked for", limit=max_bytes)
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
        limit = self.limits.outbox_high_bytes if self.pending else self.limits.outbox_bytes
        data = data if type(data) is bytes else bytes(memoryview(data))
        is_shut = self.end is not None or self.fd < 0 or self.half_close or self.transport is SHUT
        if is_shut or self.pending + len(data) > limit:
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
            raise self.lost()
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
        if self.phase is Phase.CLOSED:
            task.cancel()  # from the `finally` of a handler whose row is gone
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
        if self._stream.drainers is None:
            self._stream.drainers = []
        self._stream.drainers.append((runner, self))
        self._stream.mark()

    def unpark(self, runner: Any) -> None:
        drainers = self._stream.drainers
        if drainers is not None and (runner, self) in drainers:
            drainers.remove((runner, self))

