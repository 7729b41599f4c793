"""Making sockets green, and ordinary again: what a greenlet host does when a handler begins and when it has ended.

What it is: the change of a socket's class, both ways, and the same for what the TLS contexts of a server make. What it is
not: what a green socket does; see `green_sockets` and `green_tls`. Rule: `ssl` is not imported for servers that have
nothing to do with it.
"""

from __future__ import annotations

import functools
import socket
import sys
from typing import Any

from .green_rows import GreenRow, Handler
from .green_sockets import Green, GreenPlain
from .limits import Limits


@functools.cache
def green_class(kind: type[socket.socket]) -> type[Any]:
    """Return the green subclass of a class of sockets; the class itself if it is green."""
    if issubclass(kind, Green):
        return kind
    base: type[Green] = GreenPlain
    if hasattr(kind, "do_handshake"):
        from .green_tls import GreenTls

        base = GreenTls
    return type(f"Green{kind.__name__}", (base, kind), {"__slots__": (), "ungreen": kind})


def adopt(sock: Any, green: Handler, listener: str, limits: Limits, sockaddr: Any) -> GreenRow:
    """Make an accepted socket green and give it a row; a TLS socket may have one, from its handshake."""
    row: GreenRow | None = green.loop.green_rows.get(sock.fileno())
    if row is None or row.sock is not sock or row.green is not green:
        row = GreenRow(green, sock, listener, limits, sockaddr)
        row.timeout_s = sock.gettimeout()
    row.sockaddr, green.row = sockaddr, row
    if not isinstance(sock, Green):
        sock.__class__ = green_class(type(sock))
        sock.settimeout(row.timeout_s)
    return row


def release(green: Handler) -> None:
    """The handler has ended: what it has left open is an ordinary socket again, and nobody's row."""
    for row in green.rows:
        if row.green is green:
            sock = row.sock
            row.loop.demultiplexer.set(row, 0)
            row.leave(None)
            if sock.fileno() >= 0:
                give_back(sock, row.timeout_s)


def give_back(sock: Any, timeout_s: float | None) -> None:
    """Make a green socket block as its class says."""
    kind = getattr(sock, "ungreen", None)
    if kind is not None:
        sock.__class__ = kind
    sock.settimeout(timeout_s)


def greened_contexts(server: Any) -> list[tuple[Any, Any]]:
    """Have the contexts that a server holds make green sockets; return them with what they made before."""
    if "ssl" not in sys.modules:
        return []
    import ssl

    found = [getattr(getattr(server, "socket", None), "context", None), *vars(server).values()]
    greened = []
    for context in found:
        if isinstance(context, ssl.SSLContext) and not issubclass(context.sslsocket_class, Green):
            greened.append((context, context.sslsocket_class))
            context.sslsocket_class = green_class(context.sslsocket_class)
    return greened
