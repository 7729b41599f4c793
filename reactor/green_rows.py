"""Connections of ordinary blocking handlers, each in a greenlet of its own. Needs the extra `greenlet`.

What it is: the row of such a connection, and how its greenlet waits. A greenlet runs until its socket has nothing for
it; then it switches to the loop, and the row switches back when the selector, a deadline or a drain says so. What it is
not: the socket's methods; those are `green_sockets`, which call `wait`.

Rules:

1. A greenlet waits in `GreenRow.wait` and nowhere else. What blocks in any other way (a lock, `time.sleep`, a database)
   holds the loop, as an inline handler does.
2. A greenlet is resumed by the loop only: from `on_ready`, `expire` and `on_again`, never inside of settle.
3. What is waited for is noted and marked; settle sets the interest, as for every row. A level-triggered socket that
   nobody waits for would spin.
4. A handler that is out of time hears of it once, by a TimeoutError; if it waits again, it is cancelled.
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Callable
from typing import Any

from greenlet import getcurrent, greenlet

from .errors import Cancelled, EndOfStream, LimitError
from .limits import Limits
from .phases import EVENT_OF_END, RULES, End, Event, Phase
from .streams import EVENTS
from .table import READ, WRITE, Row
from .transports import PLAIN

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep
_STANDARD = os.path.dirname(os.path.abspath(socket.__file__)) + os.sep
_LIBRARY = (_HERE, _STANDARD + "socket.py", _STANDARD + "ssl.py")

# Forked children count: in a child the loop of the parent does not run, and sockets block.
_generation = 0


class Handler(greenlet):
    """The greenlet of one connection: it accepts it, takes it through the hooks of the server, and handles it.

    Attributes:
        loop: the loop that resumes it.
        acceptor: the listener that its rows belong to.
        row: the connection that it handles; None until it has one.
        rows: all rows that it has made.
        waits_on: the row that it waits for, `interest` what for, `until` for how long (monotonic s; None: for ever).
    """

    __slots__ = ("acceptor", "generation", "interest", "loop", "row", "rows", "until", "waits_on")

    def __init__(self, loop: Any, acceptor: Any, run: Callable[[], Any]) -> None:
        super().__init__(run)
        self.loop, self.acceptor, self.generation = loop, acceptor, _generation
        self.row: GreenRow | None = None
        self.rows: list[GreenRow] = []
        self.waits_on: GreenRow | None = None
        self.interest = 0
        self.until: float | None = None

    def resume(self, error: BaseException | None = None) -> Any:
        """Run it, from the loop, until it waits again or ends; `error` is raised where it waits."""
        if self.waits_on is not None:
            self.waits_on.forget(self)
        self.parent = getcurrent()
        return self.switch(error)


def current() -> Handler | None:
    """Return the handler's greenlet that runs; None in other threads, forked children and outside of any."""
    green = getcurrent()
    return green if type(green) is Handler and green.generation == _generation else None


class GreenRow(Row):
    """One connection.

    Args:
        green: the greenlet that handles it.
        sock: the connected socket; whoever handles it closes it, by way of the server's hooks.
        listener: its listener's name.
        limits: of that listener.
        sockaddr: the peer's address.
    """

    way = "greenlet"
    __slots__ = (
        "acceptor", "dry", "eof", "green", "lingered", "lingers", "no_more", "owing", "request_at", "shut", "timeout_s", "waiters",
    )  # fmt: skip

    def __init__(self, green: Handler, sock: Any, listener: str, limits: Limits, sockaddr: Any = None) -> None:
        loop = green.loop
        self.green: Handler | None = green  # None: the handler has ended
        self.acceptor = green.acceptor
        self.waiters: list[Handler] = []  # nearly always one: a socket may be shared, as between threads
        self.no_more: BaseException | None = None  # what a read finds instead of waiting
        self.timeout_s: float | None = None  # of the socket, as settimeout has it
        self.owing = False  # something was received and nothing sent since
        self.dry = False  # the last receive took all there was: wait before the next one
        self.eof = self.shut = False  # of the peer's side, of ours
        self.lingers, self.lingered = True, 0  # wait for the peer's end when ours is shut; bytes discarded meanwhile
        self.request_at: float = loop.now
        super().__init__(loop, sock, listener, limits, Phase.IDLE, sockaddr)
        green.rows.append(self)
        loop.green_rows[self.fd] = self
        self.acceptor.joined(self)

    # -- what the socket's methods call, in the greenlet ------------------------------------------------------------

    def wait(self, interest: int, green: Handler, until: float | None) -> None:
        """Let the loop run until the socket is ready.

        Args:
            interest: READ or WRITE.
            green: the greenlet that waits: the caller.
            until: for how long (monotonic s).

        Raises:
            TimeoutError: `until` has passed, or a limit of the row.
            EndOfStream: there will be no more input: the row was idle for too long, or the reactor drains.
        """
        if self.no_more is not None and (interest & READ or not isinstance(self.no_more, EndOfStream)):
            raise self.no_more
        if interest & WRITE and self.limits.write_stall_s is not None:
            stalled = self.loop.now + self.limits.write_stall_s
            until = stalled if until is None or stalled < until else until
        green.interest, green.until, green.waits_on = interest, until, self
        self.waiters.append(green)
        self.mark()
        error = green.parent.switch()  # type: ignore[union-attr]
        if error is not None:
            raise error

    def forget(self, green: Handler) -> None:
        """The greenlet waits no longer."""
        self.waiters.remove(green)
        green.waits_on = None

    def deadline_of(self, timeout_s: float | None) -> float | None:
        """Return when a wait that begins now is over (monotonic s)."""
        return None if timeout_s is None else float(self.loop.clock.now() + timeout_s)

    def received(self, count: int) -> None:
        """Note bytes of the peer; the first ones after a reply begin a request."""
        self.bytes_in += count
        if not self.owing:
            self.owing = True
            self.requests += 1
            self.request_at = self.loop.now

    def sent(self, count: int) -> None:
        """Note bytes of ours."""
        self.bytes_out += count
        self.owing = False

    def leave(self, sock: Any) -> None:
        """The handler has closed its socket, or has ended; the row closes `sock` (None: it is somebody else's)."""
        self.loop.green_rows.pop(self.fd, None)
        self.sock, self.green = sock, None
        self.finish(End.FINISHED)
        if self.waiters:
            self.requeue()  # others that share the socket

    # -- what the engine calls --------------------------------------------------------------------------------------

    def on_ready(self, ready: int) -> None:
        """Resume whoever waits for this."""
        if self.phase is Phase.LINGERING:
            self._discard()
            return
        self.dry = False
        self.mark()
        for green in tuple(self.waiters):
            if green.interest & ready and green.waits_on is self:
                green.resume()

    def on_again(self) -> None:
        """Tell who waits of the end of the row, or of its input."""
        gone = self.phase is Phase.CLOSED or self.green is None
        error = OSError(9, f"{self} was closed") if gone else self.no_more
        for green in tuple(self.waiters):
            if error is not None and green.waits_on is self and (gone or green.interest & READ):
                green.resume(error)
        if self.end is End.ABORTED and self.green is not None:
            self.green.resume(Cancelled(f"{self} was aborted: {self.detail}"))

    def expire(self) -> None:
        """The time of the phase, or of a wait, is up."""
        now = self.loop.now
        if self.phase is Phase.LINGERING:
            self.advance(Event.EXPIRED)
            self.mark()
            return
        self.mark()
        late = [green for green in self.waiters if green.until is not None and green.until <= now]
        for green in late:
            green.resume(TimeoutError("timed out"))
        if not late:
            self._out_of_time(now)

    def _out_of_time(self, now: float) -> None:
        name = RULES[self.phase].bounded_by or ""
        began_at = self.request_at if self.phase is Phase.RECEIVING else self.since
        error = LimitError(name, getattr(self.limits, name), now - began_at, f"in phase {self.phase}")
        self.finish(End.LIMIT, str(error))
        self.no_more = EndOfStream("peer") if self.phase is Phase.IDLE else Cancelled(f"{self}: {error}")
        told = None if self.phase is Phase.IDLE else TimeoutError(f"{self}: {error}")
        for green in tuple(self.waiters):
            green.resume(told or self.no_more)

    def stop_requested(self) -> None:
        """The reactor drains: an idle row finds the end of its input."""
        if self.phase is Phase.LINGERING and not self.lingered:
            self.expire()  # as in `streams`
        elif self.phase is Phase.IDLE and self.no_more is None:
            self.lingers = self.since >= self.loop.now  # an earlier reply has arrived: no reset could destroy it
            self.no_more = EndOfStream("drain")
            self.requeue()

    def finish(self, end: End, detail: str = "") -> None:
        """Decide how the row ends; the greenlet goes on until it has ended, unless it is aborted."""
        if end is End.FINISHED and isinstance(self.no_more, EndOfStream):
            end = End.DRAINED if self.no_more.cause == "drain" else end
        elif end is End.FINISHED and self.eof:
            end = End.PEER_CLOSED
        if end is End.ABORTED and self.green is not None and self.phase is not Phase.CLOSED:
            self.no_more = Cancelled(detail)
            self.end, self.detail = end, detail
            self.requeue()  # user code must not run where this is called
        elif end is End.ABORTED:
            self.lingers = False
            if self.phase is Phase.LINGERING:
                self.advance(Event.LOST)
        super().finish(end, detail)

    def close(self) -> None:
        """End the row: its handler finds the end of its input."""
        self.no_more = self.no_more or EndOfStream("peer")
        self.requeue()

    def deadline_at(self) -> float | None:
        """Return when the phase or a wait is over (monotonic s)."""
        if self.phase is Phase.RECEIVING:  # absolute, as for every row
            limit_s = self.limits.request_s
            deadline = None if limit_s is None else self.request_at + limit_s
        else:
            deadline = super().deadline_at()
        if self.no_more is not None and self.phase is not Phase.LINGERING:
            deadline = None  # it was told
        for green in self.waiters:
            if green.until is not None and (deadline is None or green.until < deadline):
                deadline = green.until
        return deadline

    def settle(self) -> None:
        """End of the batch: derive phase and interest from what is waited for; end what has ended."""
        self.marked = False
        if self.green is None and self.phase not in (Phase.LINGERING, Phase.CLOSED):
            self._end()
        if self.phase is Phase.CLOSED:
            if self.fd >= 0:
                self._gone()
            return
        wanted = READ if self.phase is Phase.LINGERING else 0
        for green in self.waiters:
            wanted |= green.interest
        if self.green is not None:
            self._derive(wanted)
        self.loop.demultiplexer.set(self, wanted)
        self.loop.deadlines.guard(self)

    def _derive(self, wanted: int) -> None:
        after = Phase.WORKING if wanted != READ else Phase.RECEIVING if self.owing else Phase.IDLE
        if after is not self.phase:
            self.advance(EVENTS[self.phase, after])
        elif after is Phase.IDLE:
            self.since = self.loop.now
        if after is Phase.IDLE and self.loop.draining:
            self.stop_requested()

    def _end(self) -> None:
        """The handler has ended: close, and linger if it has said goodbye to a peer that may still be sending."""
        self.advance(EVENT_OF_END[self.end or End.FINISHED])
        if self.phase is Phase.FLUSHING:
            lingers = self.sock is not None and self.shut and not self.eof and self.lingers
            self.advance(Event.FLUSHED if lingers else Event.DONE)

    def _discard(self) -> None:
        """LINGERING: read and forget, up to linger_bytes: a close() with unread input would destroy the reply."""
        data = PLAIN.receive(self)  # type: ignore[arg-type]
        if data:
            self.bytes_in += len(data)
            self.lingered += len(data)
            if self.lingered > self.limits.linger_bytes:
                self.advance(Event.EXPIRED)
                self.mark()
        elif data is not None:
            self.advance(Event.EOF)
            self.mark()

    def lose(self, error: OSError) -> None:
        """The connection is gone while it lingers."""
        self.advance(Event.LOST)
        self.mark()

    def _release(self) -> None:
        if self.sock is None:
            return
        if self.end is End.ABORTED:
            with contextlib.suppress(OSError):  # RST: what was sent may be half a reply
                self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        super()._release()

    def _gone(self) -> None:
        super()._gone()
        self.acceptor.left(self)

    @property
    def waiting_at(self) -> str | None:
        """Where the handler waits, as file:line: the innermost line that is not of this library."""
        frame = None if self.green is None else self.green.gr_frame
        while frame is not None and frame.f_code.co_filename.startswith(_LIBRARY):
            frame = frame.f_back
        return None if frame is None else f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"


def _in_child() -> None:
    """After a fork: the child's copies of the parent's greenlets can wait for nothing, so their sockets block."""
    global _generation
    _generation += 1


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)
