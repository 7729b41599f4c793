"""The base of socketserver's servers: serving, stopping, and the hooks of a request.

What it is: `BaseServer`, with every hook of the standard module. What it is not: a loop of its own; `serve_forever`
makes a private one, `loop.add(server)` uses a shared one, and `handle_request` needs none.

Rules: `serve_forever` runs handlers in the calling thread · `shutdown` is legal anywhere: before the start it makes
the next `serve_forever` return at once, in the serving thread it does not wait · a plain server is inline, as in the
standard module, and says once that a silent client holds it.
"""

from __future__ import annotations

import inspect
import sys
import traceback
import warnings
from typing import Any, Self

from .async_handlers import AsyncStreamRequestHandler
from .clock import MonotonicClock
from .coroutine_streams import Stream
from .demultiplexer import wait_readable
from .errors import BlockingHandlerWarning
from .hosting import attach
from .limits import Limits
from .listeners import Way, way_of
from .loop import Loop
from .offload import Gate


class BaseServer:
    """What all servers share.

    Args:
        server_address: where to listen.
        RequestHandlerClass: any callable that takes (request, client_address, server).

    Raises:
        TypeError: the handler is a coroutine where none can run.

    Attributes:
        timeout: for `handle_request`, in seconds; None waits for ever. `serve_forever` ignores it.
        way: how a blocking handler runs on a loop: "inline", "thread" or "fork"; None: as the classes say.
        limits: of the rows that this server accepts; None: the loop's, with socketserver's backlog.
    """

    timeout: float | None = None
    way: Way | None = None
    limits: Limits | None = None
    socket: Any
    _host: Any = None
    _asks_host = True  # process_request does: see `Host.offload`

    def __init__(self, server_address: Any, RequestHandlerClass: Any) -> None:
        _check_handler(RequestHandlerClass)
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass
        self._gate = Gate()

    def server_activate(self) -> None:
        """Start to listen."""

    def serve_forever(self, poll_interval: float = 0.5) -> None:
        """Serve in the calling thread until `shutdown`.

        Args:
            poll_interval: how often, in seconds, an overridden `service_actions` is called at least; without one an
                idle server does not wake at all.
        """
        way = self._way_alone()
        # Blocking handlers cannot be drained (threads are joined by server_close), coroutines can.
        drain_s = None if way == "coroutine" else 0
        with Loop(strict=True) as loop, self._gate.serving(lambda: loop.stop(drain_s=drain_s)):
            if self._gate.stop_requested:
                return
            limits = self.limits or loop.limits
            attach(loop, self, way=way, limits=limits, name="", owned=False, poll_interval_s=poll_interval)
            loop.run(handle_signals=False)

    def _way_alone(self) -> Way:
        """Return how the handler runs when the server has the loop to itself: inline, if nobody says more."""
        try:
            return way_of(self, None, type(self).__name__)
        except TypeError:
            warnings.warn(
                f"serve_forever: {type(self).__name__} handles one request at a time, so one silent client stops all "
                "others; use ThreadingMixIn, ForkingMixIn or an AsyncStreamRequestHandler, or set way = 'inline' to "
                "say that this is wanted",
                BlockingHandlerWarning,
                stacklevel=3,
            )
            return "inline"

    def shutdown(self) -> None:
        """Stop `serve_forever` and wait until it has returned; legal in any thread, before the start, and twice."""
        self._gate.shut()

    def service_actions(self) -> None:
        """Is called in every turn of `serve_forever`; override it."""

    def handle_request(self) -> Any:
        """Handle one request, without a loop; wait for it at most `timeout` seconds (and the socket's own timeout).

        Returns:
            What `handle_timeout` returns, if it was called.
        """
        if _is_coroutine_handler(self.RequestHandlerClass):
            return self._handle_request_on_loop()
        clock = MonotonicClock()
        wait_s = self._request_timeout_s()
        deadline = None if wait_s is None else clock.now() + wait_s
        while not wait_readable(self, wait_s):
            if deadline is not None:
                wait_s = deadline - clock.now()
                if wait_s < 0:
                    return self.handle_timeout()
        return self._handle_request_noblock()

    def _request_timeout_s(self) -> float | None:
        """Return how long `handle_request` waits: the server's timeout or its socket's, whichever is shorter."""
        timeouts = [each for each in (self.socket.gettimeout(), self.timeout) if each is not None]
        return min(timeouts) if timeouts else None

    def _handle_request_on_loop(self) -> Any:
        """Run a private loop until one row has been accepted and has ended, or the time is up."""
        with Loop(strict=True) as loop:
            limits = (self.limits or loop.limits).replace(accepts_per_turn=1)
            timeout_s = self._request_timeout_s()
            deadline = None if timeout_s is None else loop.clock.now() + timeout_s
            listener = attach(loop, self, way="coroutine", limits=limits, name="", owned=False)
            while not listener.row.requests:
                left_s = None if deadline is None else max(deadline - loop.clock.now(), 0)
                loop.step(left_s)
                if left_s == 0 and not listener.row.requests:
                    return self.handle_timeout()
            listener.close()
            while loop.table.connections:
                loop.step(None)
        return None

    def _handle_request_noblock(self) -> None:
        """Take the request that waits through the hooks."""
        try:
            request, client_address = self.get_request()
        except OSError:
            return
        try:
            if self.verify_request(request, client_address):
                self.process_request(request, client_address)
            else:
                self.shutdown_request(request)
        except Exception:
            self.handle_error(request, client_address)
            self.shutdown_request(request)
        except BaseException:  # SystemExit, KeyboardInterrupt: shut the request down once, then leave
            self.shutdown_request(request)
            raise

    def get_request(self) -> tuple[Any, Any]:
        """Return the next request and its address; an OSError means that there is none after all."""
        raise NotImplementedError(f"{type(self).__name__} does not define get_request()")

    def handle_timeout(self) -> Any:
        """Is called when `handle_request` has waited for `timeout` seconds; override it."""

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Say whether to process the request; override it."""
        return True

    def process_request(self, request: Any, client_address: Any) -> None:
        """Have the request handled, then shut it down. The mixins override it."""
        if self._host is not None and self._host.offloads:  # way="thread" or "fork" was asked for, without a mixin
            self._host.offload(request, client_address)
            return
        self.finish_request(request, client_address)
        if not isinstance(request, Stream):  # its coroutine has only begun: the loop shuts it down when it ends
            self.shutdown_request(request)

    def server_close(self) -> None:
        """Give up what the server holds; override it and call this."""
        if self._host is not None:
            self._host.server_closes()

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Make a handler, which handles the request."""
        self.RequestHandlerClass(request, client_address, self)

    def shutdown_request(self, request: Any) -> None:
        """End a request: tell the peer, then close it."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Give back what the request holds."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Report an exception of a handler: to stderr, between two lines of dashes. Override it to log elsewhere."""
        if sys.stderr is None:
            return  # pythonw.exe, a daemon: there is nobody to tell
        rule = "-" * 40
        trace = traceback.format_exc()
        sys.stderr.write(
            f"{rule}\nException occurred during processing of request from {client_address}\n{trace}{rule}\n"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.server_close()


def _is_coroutine_handler(handler: Any) -> bool:
    return isinstance(handler, type) and issubclass(handler, AsyncStreamRequestHandler)


def _check_handler(handler: Any) -> None:
    """Raise TypeError for a coroutine where socketserver's calling convention cannot run one."""
    if inspect.iscoroutinefunction(handler):
        raise TypeError(
            f"{handler!r} is a coroutine function, and a server calls handler(request, client_address, server): use "
            "loop.listen(endpoint, function), or derive from AsyncStreamRequestHandler"
        )
    method = getattr(handler, "handle", None) if isinstance(handler, type) else None
    if inspect.iscoroutinefunction(method) and not _is_coroutine_handler(handler):
        raise TypeError(f"{handler.__name__}.handle is a coroutine: derive from AsyncStreamRequestHandler")
