"""Connections of ordinary blocking handlers, each in a greenlet of its own. Needs the extra `greenlet`.

What it is: the row of such a connection, and how its greenlet waits. A greenlet runs until its socket has nothing for
it; then it switches to the loop, and the row switches back when the selector, a deadline or a drain says so. What it is
not: the greenlet, see `green_handlers`; nor the socket's methods, which call `wait`: see `green_sockets`.

Rules:

1. A greenlet waits in `GreenRow.wait` and nowhere else. What blocks in any other way (a lock, `time.sleep`, a database)
   holds the loop, as an inline handler does.
2. A greenlet is resumed by the loop only: from `on_ready`, `expire` and `on_again`, never inside of settle.
3. What is waited for is noted and marked; settle sets the interest, as for every row. A level-triggered socket that
   nobody waits for would spin.
4. A handler that is out of time hears of it once, by a TimeoutError; if it waits again, it is cancelled. Whoever else
   waits for its row gets an OSError: it has done nothing wrong.
5. What a handler opens itself is no client: it is nobody's member, and no drain ends it. See `green_lookup`, too.
"""

from __future__ import annotations

import contextlib
import errno
import socket
import struct
from typing import Any

from .errors import Cancelled, EndOfStream
from .green_handlers import Handler
from .limits import Limits
from .phases import EVENT_OF_END, RULES, End, Event, Phase
from .settling import EVENTS
from .table import READ, WRITE, Row
from .transports import PLAIN


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
        "acceptor", "budget", "dry", "eof", "green", "late", "lingered", "lingers", "moved", "moves", "no_more", "owing",
        "own", "request_at", "request_from", "shared", "shut", "timeout_s", "waiters",
    )  # fmt: skip

    def __init__(self, green: Handler, sock: Any, listener: str, limits: Limits, sockaddr: Any = None) -> None:
        loop, self.acceptor = green.loop, green.acceptor
        self.own = green.row is None  # the connection that was accepted, and not one that its handler has opened
        self.green: Handler | None = green  # None: the handler has ended
        self.waiters: list[Handler] = []  # nearly always one: a socket may be shared, as between threads
        self.no_more: BaseException | None = None  # what a read finds instead of waiting
        self.timeout_s: float | None = None  # of the socket, as settimeout has it
        self.owing = False  # something was received and nothing sent since
        self.late: list[OSError] | None = None  # of a receive that had something to return first
        self.dry = False  # the last receive took all there was, or all of its share: wait before the next one
        self.budget = limits.bytes_per_turn  # left of it: who never has to wait must let others have their turn
        self.eof = self.shut = False  # of the peer's side, of ours
        self.shared = False  # the handler has asked for the descriptor: what comes may be for somebody else
        self.lingers, self.lingered = True, 0  # wait for the peer's end when ours is shut; bytes discarded meanwhile
        self.request_at, self.request_from = loop.now, 0  # when the request under way began, and bytes_in before it
        self.moves = self.moved = 0  # calls that succeeded; bytes in both directions when the row was last settled
        super().__init__(loop, sock, listener, limits, Phase.IDLE, sockaddr)
        green.rows.append(self)
        loop.green_rows[self.fd] = self
        if self.own:
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
            OSError: the socket was detached, or a thread has closed it: the selector must not be asked for it.
        """
        if socket.socket.fileno(self.sock) != self.fd:  # the inherited one: see `Green.fileno`
            raise OSError(errno.EBADF, f"{self} was closed")
        if self.late and interest & READ:
            self.dry = False
            raise self.late.pop()
        if self.no_more is not None and (interest & READ or not isinstance(self.no_more, EndOfStream)):
            raise self._told(green)
        stall_s = self.limits.write_stall_s if interest & WRITE else None
        green.stalls_at = None if stall_s is None else self.loop.now + stall_s
        green.interest, green.until, green.waits_on = interest, until, self
        self.waiters.append(green)
        self.mark()
        if green.row is not None:
            green.row.mark()  # if that is another one, it works while its handler waits here
        green.leave()

    def _told(self, green: Handler) -> BaseException:
        """Return `no_more` anew, whose traceback would hold the socket; only the row's own handler is cancelled with it."""
        error = self.no_more
        if isinstance(error, EndOfStream):
            return EndOfStream(error.cause)
        return Cancelled(str(error)) if green is self.green else ConnectionAbortedError(errno.ECONNABORTED, str(error))

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
        self.budget -= count
        if self.budget <= 0:
            self.dry = True
        if not self.owing:
            self.owing = True
            self.requests += 1
            self.request_at, self.request_from = self.loop.now, self.bytes_in - count

    def sent(self, count: int, green: Handler) -> None:
        """Note bytes of ours; who writes to somebody else (a chat) has answered its own peer with that, too."""
        self.bytes_out += count
        self.budget -= count
        self.owing = False
        if green.row is not self and green.row is not None:
            green.row.owing = False

    def leave(self, sock: Any) -> None:
        """The handler has closed its socket, or has ended; the row closes `sock` (None: it is somebody else's)."""
        self._let_go()
        self.sock, self.green = sock, None
        self.finish(End.FINISHED)
        if self.waiters:
            self.requeue()  # others that share the socket

    def _let_go(self) -> None:
        """The descriptor is not this row's any more; it may be another row's by now."""
        if self.loop.green_rows.get(self.fd) is self:
            del self.loop.green_rows[self.fd]

    # -- what the engine calls --------------------------------------------------------------------------------------

    def on_ready(self, ready: int) -> None:
        """Resume whoever waits for this."""
        if self.phase is Phase.LINGERING:
            self._discard()
            return
        self.dry = bool(self.late)
        self.budget = self.limits.bytes_per_turn
        self.mark()
        for green in tuple(self.waiters):
            if green.interest & ready and green.waits_on is self:
                green.resume()

    def on_again(self) -> None:
        """Tell who waits of the end of the row, or of its input."""
        if self.end is End.ABORTED and self.green is not None and self.green.is_lost:
            self.green, self.waiters = None, []
            self.expel(self.detail)  # the loop is closed in another thread: nobody can tell the handler
        gone = self.phase is Phase.CLOSED or self.green is None
        for green in tuple(self.waiters):
            if green.waits_on is self and gone:
                green.resume(OSError(errno.EBADF, f"{self} was closed"))
            elif green.waits_on is self and self.no_more is not None and green.interest & READ:
                green.resume(self._told(green))
        if self.end is End.ABORTED and self.green is not None:
            self.green.resume(Cancelled(f"{self} was aborted: {self.detail}"))

    def expire(self) -> None:
        """The time of the phase, or of a wait, is up."""
        now = self.loop.now
        self.mark()
        if self.phase is Phase.LINGERING:
            self.advance(Event.EXPIRED)
            return
        late = [green for green in self.waiters if green.until is not None and green.until <= now]
        for green in late:
            green.resume(TimeoutError("timed out"))
        if not late and any(green.stalls_at is not None and green.stalls_at <= now for green in self.waiters):
            self._out_of_time("write_stall_s", self.limits.write_stall_s or 0.0)
        elif not late:
            began_at = self.request_at if self.phase is Phase.RECEIVING else self.since
            self._out_of_time(RULES[self.phase].bounded_by or "", now - began_at)

    def _out_of_time(self, name: str, took_s: float) -> None:
        """A limit is reached: whoever is idle finds the end of its input, any other hears of it, and that once."""
        error = self.limits.late(name, took_s, self.phase, self.bytes_in - self.request_from)
        self.finish(End.LIMIT, str(error))
        greens = tuple(self.waiters)
        idle = self.phase is Phase.IDLE
        self.no_more = EndOfStream("peer") if idle else Cancelled(f"{self}: {error}")
        if not idle and self.green is not None and self.green not in greens:
            greens += (self.green,)  # it waits for another row
        for green in greens:
            if green.waits_on is not None:
                green.resume(self._told(green) if idle else TimeoutError(f"{self}: {error}"))

    def stop_requested(self) -> None:
        """The reactor drains: an idle row finds the end of its input; what a handler has opened serves its request."""
        if self.phase is Phase.LINGERING and not self.lingered:
            self.expire()  # as in `streams`
        elif self.own and self.phase is Phase.IDLE and self.no_more is None:
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
            limit_s = self.limits.request_lasts_s(self.bytes_in - self.request_from)
            deadline = None if limit_s is None else self.request_at + limit_s
        else:
            deadline = super().deadline_at()
        if self.no_more is not None and self.phase is not Phase.LINGERING:
            deadline = None  # it was told
        for green in self.waiters:
            for at in (green.until, green.stalls_at):
                if at is not None and (deadline is None or at < deadline):
                    deadline = at
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
        elif after is Phase.IDLE and self.moved != self.bytes_in + self.bytes_out:
            self.since = self.loop.now  # a wait that timed out and began again is no sign of life
        self.moved = self.bytes_in + self.bytes_out
        if after is Phase.IDLE and self.loop.draining:
            self.stop_requested()

    def _end(self) -> None:
        """The handler has ended: close, and linger if it has said goodbye to a peer that may still be sending to nobody."""
        self.advance(EVENT_OF_END[self.end or End.FINISHED])
        if self.phase is Phase.FLUSHING:
            lingers = self.sock is not None and self.shut and not self.eof and self.lingers and not self.shared
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
        self._let_go()
        super()._gone()
        if self.own:
            self.acceptor.left(self)

    def expel(self, detail: str) -> None:
        """Settling has failed; whoever waits hears of it."""
        super().expel(detail)
        self.requeue()

    @property
    def waiting_at(self) -> str | None:
        """Where the handler waits, as file:line."""
        return None if self.green is None else self.green.waiting_at
