"""Putting a server into the table of a loop, with the host that its way of running handlers needs.

What it is: `attach`, the one door for `Reactor.add`, `Reactor.listen` and `serve_forever`. What it is not: what happens
to requests; that is the hosts' work. Rule: greenlets are imported when a server asks for them, not before.
"""

from __future__ import annotations

from typing import Any

from .addresses import as_text
from .framing import Framing
from .hosting import Host
from .limits import Limits
from .listeners import Listener, endpoint_of
from .stream_hosts import CoroutineHost, FramedHost
from .ways import Way, choose


def attach(
    loop: Any,
    server: Any,
    *,
    way: Way | None,
    framing: Framing[Any] | None,
    limits: Limits,
    name: str,
    owned: bool,
    poll_interval_s: float = 0.5,
    path: tuple[str, int, int, Any] | None = None,
) -> Listener:
    """Put a server into the table of a loop.

    Args:
        loop: the loop.
        server: the server; its socket is bound and, for streams, listening.
        way: how its handler runs; see `choose`.
        framing: the same.
        limits: for its rows.
        name: what logs and the table call it.
        owned: `server_close` is called when the listener ends; else its socket is only given back.
        poll_interval_s: how often `service_actions` is called at least, if the server overrides it.
        path: the Unix path to remove at the end if it still is ours, from `addresses.identity`.
    """
    sock = getattr(server, "socket", server)  # it may have been replaced since the server was made
    name = name or f"{type(server).__name__} {as_text(getattr(server, 'server_address', None))}"
    hosted = getattr(server, "_host", None)
    if hosted is not None and hosted.row is not None and hosted.row.fd >= 0 and not hosted.loop.closed:
        raise RuntimeError(f"{name} is served already; close its listener, or shut it down, before it is added again")
    at = endpoint_of(sock)  # before there is a row that a failure would leave behind
    choice = choose(server, way, framing, name)
    host = _host_class(choice.way)(loop, server, choice, limits, name, owned, path)
    try:
        host.open(poll_interval_s)
    except BaseException:  # the selector refuses the descriptor: the server stays nobody's guest
        server._host = None
        raise
    return Listener(host.row, at, server.server_address, server)


def _host_class(way: Way) -> type[Host]:
    if way == "greenlet":
        from .greenlet_hosts import GreenletHost

        return GreenletHost
    hosts: dict[str, type[Host]] = {"coroutine": CoroutineHost, "framed": FramedHost}
    return hosts.get(way, Host)
