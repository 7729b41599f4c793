"""What listens, as programs see it: the handle, the interface of a server, and which way its handler runs.

What it is: `Listener`, `HostableServer`, and `way_of`, which decides how a handler runs. What it is not: a guess; the
way is named by the caller or the server, or follows from its classes, never from what happens to be installed.
"""

from __future__ import annotations

import socket
from typing import Any, Literal, Protocol, TypeAlias

from .addresses import as_text
from .async_handlers import AsyncStreamRequestHandler
from .errors import BlockingHandlerError
from .phases import End

Way: TypeAlias = Literal["coroutine", "inline", "thread", "fork"]
WAYS = ("coroutine", "inline", "thread", "fork")


class HostableServer(Protocol):
    """What a server must have to be hosted: ours, the standard library's, or a third party's."""

    socket: Any
    server_address: Any
    RequestHandlerClass: Any

    def fileno(self) -> int: ...
    def get_request(self) -> tuple[Any, Any]: ...
    def verify_request(self, request: Any, client_address: Any) -> bool: ...
    def process_request(self, request: Any, client_address: Any) -> None: ...
    def finish_request(self, request: Any, client_address: Any) -> None: ...
    def shutdown_request(self, request: Any) -> None: ...
    def handle_error(self, request: Any, client_address: Any) -> None: ...
    def service_actions(self) -> None: ...
    def server_close(self) -> None: ...


class Listener:
    """Something that listens on a loop.

    Attributes:
        name: what logs and the table call it.
        endpoint: where it listens, as people write it; with the port that the system chose.
        address: the same, as the socket has it.
        server: the hosted server, if it is one.
        row: its row in the table.
    """

    def __init__(self, row: Any, endpoint: str, address: Any, server: Any = None) -> None:
        self.name: str = row.listener
        self.row, self.endpoint, self.address, self.server = row, endpoint, address, server

    @property
    def port(self) -> int:
        """The port; 0 for Unix sockets."""
        return int(self.address[1]) if isinstance(self.address, tuple) else 0

    def pause(self) -> None:
        """Accept nothing until `resume`; what connects meanwhile waits in the backlog."""
        self.row.pause("user")

    def resume(self) -> None:
        """Accept again."""
        self.row.resume("user")

    def close(self) -> None:
        """Stop listening; connections that are open go on."""
        self.row.finish(End.FINISHED, "closed by this program")

    def __repr__(self) -> str:
        return f"<Listener {self.name} at {self.endpoint}>"


def endpoint_of(sock: Any) -> str:
    """Return where a bound socket listens, as people write it."""
    if not hasattr(sock, "family"):
        return f"descriptor {sock.fileno()}"  # a server that gets its requests elsewhere
    stream = sock.type == socket.SOCK_STREAM
    if sock.family == getattr(socket, "AF_UNIX", None):
        return ("unix://" if stream else "unix+dgram://") + as_text(sock.getsockname())
    return ("tcp://" if stream else "udp://") + as_text(sock.getsockname())


def way_of(server: Any, way: Way | None, name: str) -> Way:
    """Return how the handler of `server` runs: as the caller says, the server says, or its classes say.

    Raises:
        BlockingHandlerError: nobody says it, and on a shared loop it cannot be guessed.
        ValueError: there is no such way, or the handler cannot run in it.
    """
    handler = server.RequestHandlerClass
    way = way or getattr(server, "way", None)
    if way is not None and way not in WAYS:
        raise ValueError(f"way={way!r} for {name}: one of {', '.join(WAYS)}")
    if hasattr(server, "process_request_thread"):
        way = way or "thread"
    if hasattr(server, "collect_children"):
        way = way or "fork"
    if isinstance(handler, type) and issubclass(handler, AsyncStreamRequestHandler):
        if way not in (None, "coroutine"):
            raise ValueError(f"{name}: {handler!r} is a coroutine and cannot run as {way!r}: drop way= or the mixin")
        if getattr(getattr(server, "socket", None), "type", None) == socket.SOCK_DGRAM:
            raise TypeError(f"{name}: packets make no stream; use loop.listen(endpoint, function) for {handler!r}")
        return "coroutine"
    if way == "coroutine":
        raise ValueError(f"{name}: {handler!r} is no coroutine; derive it from AsyncStreamRequestHandler")
    if way is not None:
        return way
    if getattr(getattr(server, "socket", None), "type", None) != socket.SOCK_STREAM:
        return "inline"  # one packet in, one out: there is no client to wait for
    raise BlockingHandlerError(
        f"{name}: {handler!r} blocks, and one silent client would stop every other row of this loop; choose: "
        'way="thread" (or ThreadingMixIn), way="fork" (or ForkingMixIn), an AsyncStreamRequestHandler with '
        '`async def handle`, or way="inline" if it may hold the loop'
    )
