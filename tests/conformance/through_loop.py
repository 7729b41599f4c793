"""In the process that runs CPython's tests: every request goes through a loop, and is counted by how it was handled.

What it is: a `handle_request` that runs a private loop, since half of CPython's tests call it and socketserver's own needs
none, which would prove nothing about loops; and the count, by what can be *seen* where a handler is made (is this a
greenlet, is the request a row, is this the loop's thread) rather than by what the server was told. What it is not: part
of the library, whose `handle_request` is socketserver's.
"""

import functools
import sys
import threading
from collections import Counter
from typing import Any

from reactor.base_server import BaseServer
from reactor.framed import FramedRow
from reactor.hosting import Host
from reactor.loop import Loop, running
from reactor.request_handlers import BaseRequestHandler


class Served(Counter[str]):
    """How many requests were handled, by way."""

    def __init__(self) -> None:
        super().__init__()
        self._lock = threading.Lock()

    def add(self, way: str) -> None:
        with self._lock:
            self[way] += 1


def watch(served: Served) -> None:
    """Count, from now on, each handler that is made; nothing else changes, not even the hooks that the loop may go past."""
    make, forked = BaseRequestHandler.__init__, Host.forked

    @functools.wraps(make)
    def counted(self: Any, request: Any, client_address: Any, server: Any) -> None:
        if isinstance(server, BaseServer):  # some tests make handlers without one
            served.add(seen(server, request))
        make(self, request, client_address, server)

    def counted_fork(self: Host, request: Any, pid: int) -> None:
        served.add("fork")  # what the child counts is lost with it
        forked(self, request, pid)

    BaseRequestHandler.__init__ = counted  # type: ignore[method-assign]
    Host.forked = counted_fork  # type: ignore[method-assign]


def seen(server: Any, request: Any) -> str:
    """How a handler that is being made here and now runs."""
    greenlet = sys.modules.get("greenlet")
    if isinstance(request, FramedRow):
        return "framed"
    if greenlet is not None and greenlet.getcurrent().parent is not None:
        return "greenlet"
    if server._host is None:
        return "no loop"
    if isinstance(request, tuple):
        return "packet"
    return "thread" if running.get(None) is None else "inline"


def handle_requests_on_a_loop() -> None:
    """Put `handle_request`, below, in the place of socketserver's."""
    BaseServer.handle_request = handle_request  # type: ignore[method-assign]


def handle_request(self: Any) -> Any:
    """Serve on a private loop until one request was taken and has ended, or the time is up."""
    timeout_s = self._request_timeout_s()  # before the loop takes the socket over
    with Loop(strict=True) as loop:
        # CPython's clients often keep their side open, and the server's next request would wait for the full 2 s each time.
        limits = (self.limits or loop.limits).replace(accepts_per_turn=1, linger_s=0.2)
        deadline = None if timeout_s is None else loop.clock.now() + timeout_s
        listener = self._attach(loop, self._choose_alone(), limits)
        row, failed = listener.row, _failed_accepts(listener.row)
        while not row.requests and not failed:
            left_s = None if deadline is None else max(deadline - loop.clock.now(), 0)
            loop.step(left_s)
            if left_s == 0 and not row.requests and not failed:
                return self.handle_timeout()
        listener.close()
        while loop.table.connections:
            loop.step(None)
    return None


def _failed_accepts(row: Any) -> list[OSError]:
    """A list that grows with each `get_request` that fails: socketserver's `handle_request` returns then as well."""
    failed: list[OSError] = []
    accept = getattr(row, "_accept", None)  # a socket of packets has none

    def accept_or_note() -> Any:
        try:
            return accept()  # type: ignore[misc]
        except OSError as error:
            failed.append(error)
            raise

    if accept is not None:
        row._accept = accept_or_note
    return failed
