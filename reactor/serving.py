"""A server that has a loop to itself: serve_forever, shutdown and handle_request of socketserver's servers.

What it is: `Serving`, which our own `BaseServer` is built on, and `ReactorMixIn`, which brings the same to a server of
the standard library or of another make: `class Server(ReactorMixIn, http.server.HTTPServer)`. What it is not: a shared
loop; for that there is `loop.add(server)`.

Rules: `serve_forever` runs handlers in the calling thread, unless a mixin or `way` says otherwise · `shutdown` is legal
anywhere: before the start it makes the next `serve_forever` return at once, in the serving thread it does not wait ·
a plain server is inline, as in the standard module, and says once that a silent client holds it.
"""

from __future__ import annotations

import warnings
from typing import Any

from .attaching import attach
from .errors import BlockingHandlerError, BlockingHandlerWarning
from .framing import Framing
from .limits import Limits
from .loop import Loop
from .offload import Gate
from .phases import End, Phase
from .ways import Choice, Way, choose

# Handlers of these ways can be told that the loop drains. Threads are joined by server_close instead.
_DRAINED = frozenset({"coroutine", "framed", "greenlet"})
# These cannot run without a loop, not even for one request.
_ON_A_LOOP = frozenset({"coroutine", "framed"})


class Serving:
    """Serve on a private loop.

    Attributes:
        way: how a blocking handler runs: "framed", "greenlet", "inline", "thread" or "fork"; None: as the classes say.
        framing: the handler is made once for each whole frame (way "framed"); None: it has the connection.
        way_if_plain: how it runs if nothing else says so; None: inline, with a warning, and never on a shared loop.
        framing_if_plain: the framing, if `way_if_plain` is "framed".
        limits: of the rows that this server accepts; None: the loop's, with socketserver's backlog.
    """

    way: Way | None = None
    framing: Framing[Any] | None = None
    way_if_plain: Way | None = None
    framing_if_plain: Framing[Any] | None = None
    limits: Limits | None = None
    _host: Any = None

    @property
    def _gate(self) -> Gate:
        """Who serves and who waits for the end; made when first asked for, for a mixin has no __init__ of its own."""
        gate: Gate = self.__dict__.setdefault("_gate_of_this_server", Gate())  # atomic: the first one is everybody's
        return gate

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve in the calling thread until `shutdown`.

        Args:
            poll_interval: how often, in seconds, an overridden `service_actions` is called at least; without one an
                idle server does not wake at all.
        """
        choice = self._choose_alone()
        if choice is None:
            self._warn_of_blocking()
            choice = Choice("inline")
        drain_s = None if choice.way in _DRAINED else 0
        with Loop(strict=True) as loop, self._gate.serving(lambda: loop.stop(drain_s=drain_s)):
            if self._gate.stop_requested:
                return
            self._attach(loop, choice, self.limits or loop.limits, poll_interval)
            loop.run(handle_signals=False)

    def _attach(self, loop: Loop, choice: Choice, limits: Limits, poll_interval_s: float = 0.5) -> Any:
        return attach(
            loop, self, way=choice.way, framing=choice.framing, limits=limits, name="", owned=False,
            poll_interval_s=poll_interval_s,
        )  # fmt: skip

    def _choose_alone(self) -> Choice | None:
        """Return how the handler runs when the server has the loop to itself; None if nobody says it."""
        try:
            return choose(self, None, None, type(self).__name__)
        except BlockingHandlerError:
            return None

    def _warn_of_blocking(self) -> None:
        warnings.warn(
            f"serve_forever: {type(self).__name__} handles one request at a time, so one silent client stops all "
            "others; name a framing (framing = HttpRequests() for http.server), set way = 'greenlet' or 'thread', use "
            "ThreadingMixIn, ForkingMixIn or an AsyncStreamRequestHandler, or set way = 'inline' to say that this is "
            "wanted",
            BlockingHandlerWarning,
            stacklevel=3,
        )

    def shutdown(self) -> None:
        """Stop serving; legal in any thread, before the start, and twice.

        `serve_forever` is waited for. On a shared loop the listener is closed by the loop, which is not.
        """
        host = self._host  # looked at once: in the loop's thread the listener may be closing
        if host is not None and host.owned:
            host.loop.call_soon(host.row.finish, End.FINISHED, "shutdown")
        else:
            self._gate.shut()

    def handle_request(self: Any) -> Any:
        """Handle one request; wait for it at most `timeout` seconds (and the socket's own timeout).

        Returns:
            What `handle_timeout` returns, if it was called.
        """
        choice = self._choose_alone()
        if choice is not None and choice.way in _ON_A_LOOP:
            return self._handle_request_on_loop(choice)
        return super().handle_request()  # type: ignore[misc]

    def _request_timeout_s(self: Any) -> float | None:
        """Return how long `handle_request` waits: the server's timeout or its socket's, whichever is shorter."""
        timeouts = [each for each in (self.socket.gettimeout(), self.timeout) if each is not None]
        return min(timeouts) if timeouts else None

    def _handle_request_on_loop(self: Any, choice: Choice) -> Any:
        """Run a private loop until one row has been accepted and has ended, or the time is up."""
        timeout_s = self._request_timeout_s()  # before the loop takes the socket over
        with Loop(strict=True) as loop:
            limits = (self.limits or loop.limits).replace(accepts_per_turn=1)
            deadline = None if timeout_s is None else loop.clock.now() + timeout_s
            listener = self._attach(loop, choice, limits)
            while not listener.row.requests:
                left_s = None if deadline is None else max(deadline - loop.clock.now(), 0)
                loop.step(left_s)
                if left_s == 0 and not listener.row.requests:
                    return self.handle_timeout()
            listener.close()
            while any(row.kind == "stream" and row.phase is not Phase.LINGERING for row in loop.table):
                loop.step(None)
        return None

    def server_close(self: Any) -> None:
        """Give up what the server holds; the loop that hosts it, if any, lets it go first."""
        if self._host is not None:
            self._host.server_closes()
        super().server_close()  # type: ignore[misc]


class ReactorMixIn(Serving):
    """Makes a server of the standard `socketserver`, or one built on it, serve on a loop that no client can freeze.

        class Server(ReactorMixIn, http.server.HTTPServer):
            framing = HttpRequests()        # all in one thread; or way = "greenlet"

    Without a word on the way, each request has a thread: the only way that every handler can run in, everywhere.
    """

    way_if_plain: Way | None = "thread"
    daemon_threads = True  # as of http.server's ThreadingHTTPServer: a silent client must not hold up server_close()
