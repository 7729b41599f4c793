"""socketserver's servers, alone or beside others on one loop.

What it is: `BaseServer, TCPServer, UDPServer, UnixStreamServer, UnixDatagramServer` with every attribute and hook of
the standard module, so that existing subclasses run unchanged. What it is not: a loop of its own; `serve_forever`
makes a private one, `loop.add(server)` uses a shared one, and `handle_request` needs none.

Rules: `serve_forever` runs handlers in the calling thread · `shutdown` is legal anywhere: before the start it makes
the next `serve_forever` return at once, in the serving thread it does not wait · a plain server is inline, as in the
standard module, and says once that a silent client holds it.
"""

from __future__ import annotations

import inspect
import os
import socket
import sys
import traceback
import warnings
from typing import Any, Self

from .async_handlers import AsyncStreamRequestHandler
from .clock import MonotonicClock
from .coroutine_streams import Stream
from .demultiplexer import wait_readable
from .errors import BlockingHandlerWarning
from .hosting import Way, attach, way_of
from .limits import Limits
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
        with Loop(strict=True) as loop:
            # Blocking handlers cannot be drained (threads are joined by server_close), coroutines can.
            with self._gate.serving(lambda: loop.stop(drain_s=None if way == "coroutine" else 0)):
                if self._gate.stop_requested:
                    return
                attach(
                    loop, self, way=way, limits=self.limits or loop.limits, name="", owned=False,
                    poll_interval_s=poll_interval,
                )  # fmt: skip
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
        timeouts = [t for t in (self.socket.gettimeout(), self.timeout) if t is not None]
        wait_s = min(timeouts) if timeouts else None
        deadline = None if wait_s is None else clock.now() + wait_s
        while not wait_readable(self, wait_s):
            if deadline is not None:
                wait_s = deadline - clock.now()
                if wait_s < 0:
                    return self.handle_timeout()
        return self._handle_request_noblock()

    def _handle_request_on_loop(self) -> Any:
        """Run a private loop until one row has been accepted and has ended, or the time is up."""
        with Loop(strict=True) as loop:
            limits = (self.limits or loop.limits).replace(accepts_per_turn=1)
            listener = attach(loop, self, way="coroutine", limits=limits, name="", owned=False)
            deadline = None if self.timeout is None else loop.clock.now() + self.timeout
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
        rule = "-" * 40
        print(rule, file=sys.stderr)
        print("Exception occurred during processing of request from", client_address, file=sys.stderr)
        traceback.print_exc()
        print(rule, file=sys.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.server_close()


class TCPServer(BaseServer):
    """A server on TCP.

    Args:
        server_address: (host, port); port 0 asks for a free one.
        RequestHandlerClass: see `BaseServer`.
        bind_and_activate: do so now; else call `server_bind` and `server_activate`.

    Raises:
        OSError: the address cannot be had; the socket is closed.
    """

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM
    request_queue_size = 5
    allow_reuse_address = False
    allow_reuse_port = False

    def __init__(
        self,
        server_address: Any,
        RequestHandlerClass: Any,
        bind_and_activate: bool = True,
    ) -> None:
        super().__init__(server_address, RequestHandlerClass)
        self.socket = socket.socket(self.address_family, self.socket_type)
        if bind_and_activate:
            try:
                self.server_bind()
                self.server_activate()
            except BaseException:  # whatever it was: the descriptor must not leak
                self.server_close()
                raise

    def server_bind(self) -> None:
        """Bind the socket, and learn the port that the system chose."""
        if self.allow_reuse_address and hasattr(socket, "SO_REUSEADDR"):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Only IP has port sharing: since Linux 6.12 a Unix socket refuses it (cpython#128916).
        if (
            self.allow_reuse_port
            and hasattr(socket, "SO_REUSEPORT")
            and self.address_family in (socket.AF_INET, socket.AF_INET6)
        ):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def server_activate(self) -> None:
        """Start to listen."""
        self.socket.listen(self.request_queue_size)

    def server_close(self) -> None:
        """Close the listening socket."""
        super().server_close()
        self.socket.close()

    def fileno(self) -> int:
        """Return the descriptor of the listening socket; -1 after `server_close`."""
        return int(self.socket.fileno())

    def get_request(self) -> tuple[Any, Any]:
        """Accept a connection."""
        connection, client_address = self.socket.accept()
        return connection, client_address

    def shutdown_request(self, request: Any) -> None:
        """Shut our side, so that the peer sees the end even while a child holds a copy; then close."""
        try:
            request.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # ENOTCONN: the peer is gone already
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Close the connection."""
        request.close()


class UDPServer(TCPServer):
    """A server on UDP: its request is (data, socket).

    Attributes:
        max_packet_size: longer packets are cut, in bytes.
    """

    allow_reuse_port = False
    socket_type: int = socket.SOCK_DGRAM
    max_packet_size = 8192

    def get_request(self) -> tuple[Any, Any]:
        """Receive a packet."""
        data, client_address = self.socket.recvfrom(self.max_packet_size)
        return (data, self.socket), client_address

    def server_activate(self) -> None:
        """Nothing: a datagram socket does not listen."""

    def shutdown_request(self, request: Any) -> None:
        """Nothing to shut, but `close_request` is called."""
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Nothing: the socket is the server's."""


if hasattr(socket, "AF_UNIX"):

    class UnixStreamServer(TCPServer):
        """A server on a Unix stream socket; its address is a path."""

        address_family: int = socket.AF_UNIX

    class UnixDatagramServer(UDPServer):
        """A server on a Unix datagram socket; a client must be bound to get an answer."""

        address_family: int = socket.AF_UNIX


def _is_coroutine_handler(handler: Any) -> bool:
    return isinstance(handler, type) and issubclass(handler, AsyncStreamRequestHandler)


def _check_handler(handler: Any) -> None:
    """Raise TypeError for a coroutine where socketserver's calling convention cannot run one."""
    if inspect.iscoroutinefunction(handler):
        raise TypeError(
            f"{handler!r} is a coroutine function, and a server calls handler(request, client_address, server): use "
            "loop.listen(endpoint, function), or derive from AsyncStreamRequestHandler"
        )
    if isinstance(handler, type) and not _is_coroutine_handler(handler):
        if inspect.iscoroutinefunction(getattr(handler, "handle", None)):
            raise TypeError(f"{handler.__name__}.handle is a coroutine: derive from AsyncStreamRequestHandler")


HAS_FORK = hasattr(os, "fork")
