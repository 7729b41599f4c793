"""The ways to run a blocking handler that nobody wants to rewrite; `sites` and `plain` have the handlers.

    threading   the standard module alone: `ThreadingHTTPServer` and its like. The reference.
    thread      the reactor accepts, a thread serves
    framed      the reactor gathers a whole request, then calls the handler: one thread for all
    greenlet    a greenlet for each connection: one thread for all

Each function gets what to serve (one of `sites`, or one of the small protocols of `plain`) and `announce`, as those of
`peers` do, and imports what it needs inside: where the package greenlet is not installed, its row is left out.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from benchmarks.bare import Announce

MANY = 100_000


def threading(protocol: str, announce: Announce) -> None:
    from benchmarks.sites import Threads, site

    server = site(protocol, Threads)
    announce(server.server_address[1])
    server.serve_forever()


def thread(protocol: str, announce: Announce) -> None:
    _on_a_reactor(protocol, announce, way="thread")


def framed(protocol: str, announce: Announce) -> None:
    from reactor import HttpRequests, Lines, Raw, Until

    framings = {"echo": Raw(), "lines": Lines(), "close": Raw(), "tiny": Until(b"\r\n\r\n")}
    _on_a_reactor(protocol, announce, framing=framings.get(protocol) or HttpRequests())


def greenlet(protocol: str, announce: Announce) -> None:
    importlib.import_module("greenlet")  # its absence is told here, not from the middle of the loop
    _on_a_reactor(protocol, announce, way="greenlet")


def _on_a_reactor(protocol: str, announce: Announce, **way: Any) -> None:
    from benchmarks.sites import site
    from reactor import Reactor

    with Reactor(max_connections=MANY) as loop:
        announce(loop.add(site(protocol), **way).port)
        loop.run()


REFERENCE = "threading"
SECOND_REFERENCE = "threading-again"

WAYS: dict[str, Callable[[str, Announce], None]] = {
    REFERENCE: threading,
    SECOND_REFERENCE: threading,
    "thread": thread,
    "framed": framed,
    "greenlet": greenlet,
}
ONE_THREAD = ("framed", "greenlet")  # what the promises of `dribblers` are about
