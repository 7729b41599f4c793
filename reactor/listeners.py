"""What listens, as programs see it.

What it is: `Listener`, the handle that `listen` and `add` return, and `HostableServer`, the interface of what can be
added. What it is not: the row in the table; that is `Listener.row`.
"""

from __future__ import annotations

import socket
from typing import Any, Protocol

from .addresses import as_text
from .permissions import AF_UNIX
from .phases import End


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
    if sock.family == AF_UNIX:
        return ("unix://" if stream else "unix+dgram://") + as_text(sock.getsockname())
    return ("tcp://" if stream else "udp://") + as_text(sock.getsockname())
