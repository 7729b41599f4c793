"""socketserver's servers on TCP, UDP and Unix sockets, alone or beside others on one loop.

What it is: how each kind of socket is made, bound, accepted from and closed, with every attribute and hook of the
standard module, so that existing subclasses run unchanged. What it is not: how they are served; see `base_server`.
"""

from __future__ import annotations

import contextlib
import socket
from typing import Any

from .addresses import hold_port
from .base_server import BaseServer
from .permissions import bind_path


class TCPServer(BaseServer):
    """A server on TCP.

    Args:
        server_address: (host, port); port 0 asks for a free one.
        RequestHandlerClass: see `BaseServer`.
        bind_and_activate: do so now; else call `server_bind` and `server_activate`.

    Raises:
        OSError: the address cannot be had; the socket is closed.

    Attributes:
        path_mode: of the path of a Unix socket, from its first moment, as 0o600; None: as the umask says.
    """

    address_family: int = socket.AF_INET
    socket_type: int = socket.SOCK_STREAM
    request_queue_size = 5
    allow_reuse_address = False
    allow_reuse_port = False
    path_mode: int | None = None

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
        hold_port(self.socket, reuse=bool(self.allow_reuse_address))
        # Only IP has port sharing: since Linux 6.12 a Unix socket refuses it (cpython#128916).
        if (
            self.allow_reuse_port
            and hasattr(socket, "SO_REUSEPORT")
            and self.address_family in (socket.AF_INET, socket.AF_INET6)
        ):
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if self.path_mode is None:
            self.socket.bind(self.server_address)
        else:
            bind_path(self.socket, self.server_address, self.path_mode)
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
        with contextlib.suppress(OSError):  # ENOTCONN: the peer is gone already
            request.shutdown(socket.SHUT_WR)
        self.close_request(request)

    def close_request(self, request: Any) -> None:
        """Close the connection."""
        request.close()
        if self._host is not None:
            self._host.let_go(request)


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
