"""The base of socketserver's servers: the hooks of a request.

What it is: `BaseServer`, with every hook of the standard module. What it is not: a loop of its own; `serve_forever`
makes a private one (see `serving`), `loop.add(server)` uses a shared one, and `handle_request` needs none.
"""

from __future__ import annotations

import inspect
import sys
import traceback
from typing import Any, Self

from .clock import MonotonicClock
from .demultiplexer import wait_readable
from .serving import Serving
from .streams import StreamRow
from .ways import is_coroutine_handler


class _OneRequest:
    """`handle_request` without a loop, on the real socket."""

    timeout: float | None

    def handle_request(self: Any) -> Any:
        """Handle one request, or call `handle_timeout`."""
        clock = MonotonicClock()
        wait_s = self._request_timeout_s()
        deadline = None if wait_s is None else clock.now() + wait_s
        while not wait_readable(self, wait_s):
            if deadline is not None:
                wait_s = deadline - clock.now()
                if wait_s < 0:
                    return self.handle_timeout()
        return self._handle_request_noblock()

    def _handle_request_noblock(self: Any) -> None:
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

    def server_close(self) -> None:
        """Nothing is held here."""


class BaseServer(Serving, _OneRequest):
    """What all servers share.

    Args:
        server_address: where to listen.
        RequestHandlerClass: any callable that takes (request, client_address, server).

    Raises:
        TypeError: the handler is a coroutine where none can run.

    Attributes:
        timeout: for `handle_request`, in seconds; None waits for ever. `serve_forever` ignores it.
        way, framing, limits: how it is served; see `Serving`.
    """

    timeout: float | None = None
    socket: Any
    _asks_host = True  # process_request does: see `Host.offload`

    def __init__(self, server_address: Any, RequestHandlerClass: Any) -> None:
        _check_handler(RequestHandlerClass)
        self.server_address = server_address
        self.RequestHandlerClass = RequestHandlerClass

    def server_activate(self) -> None:
        """Start to listen."""

    def service_actions(self) -> None:
        """Is called in every turn of `serve_forever`; override it."""

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
        if isinstance(request, StreamRow):  # the loop shuts it down when it ends
            self.finish_request(request, client_address)
            return
        if self._host is not None and self._host.offloads:  # way="thread" or "fork" was asked for, without a mixin
            self._host.offload(request, client_address)
            return
        self.finish_request(request, client_address)
        self.shutdown_request(request)

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


def _check_handler(handler: Any) -> None:
    """Raise TypeError for a coroutine where socketserver's calling convention cannot run one."""
    if inspect.iscoroutinefunction(handler):
        raise TypeError(
            f"{handler!r} is a coroutine function, and a server calls handler(request, client_address, server): use "
            "loop.listen(endpoint, function), or derive from AsyncStreamRequestHandler"
        )
    method = getattr(handler, "handle", None) if isinstance(handler, type) else None
    if inspect.iscoroutinefunction(method) and not is_coroutine_handler(handler):
        raise TypeError(f"{handler.__name__}.handle is a coroutine: derive from AsyncStreamRequestHandler")
