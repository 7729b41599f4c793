"""Making sockets green, and ordinary again: what a greenlet host does when a handler begins and when it has ended.

What it is: the change of a socket's class, both ways, and the same for what the TLS contexts of a server make. What it is
not: what a green socket does; see `green_sockets` and `green_tls`. Rule: `ssl` is not imported for servers that have
nothing to do with it.
"""

from __future__ import annotations

import socket
import sys
from collections import Counter
from typing import Any

from .errors import Cancelled
from .green_common import Green
from .green_handlers import Handler
from .green_rows import GreenRow
from .green_sockets import GreenPlain
from .limits import Limits

# How many open servers make green sockets of each context: two listeners often share one.
_users: Counter[Any] = Counter()


_classes: dict[type[Any], type[Any]] = {}


def green_class(kind: type[Any]) -> type[Any]:
    """Return the green subclass of a class of sockets, the same each time; the class itself if it is green.

    What the class overrides stays in front: its `recv` may call the inherited one, which is ours then, and waits.

    Raises:
        TypeError: it is no class of sockets.
    """
    if kind not in _classes:
        _classes[kind] = _made_green(kind)
    return _classes[kind]


def _made_green(kind: type[Any]) -> type[Any]:
    if not issubclass(kind, socket.socket):
        raise TypeError(f'way="greenlet" needs a socket.socket, and get_request returned a {kind.__qualname__}')
    if issubclass(kind, Green):
        return kind
    base: type[Green] = GreenPlain
    if hasattr(kind, "do_handshake"):
        from .green_tls import GreenTls

        base = GreenTls
    bases = (base,) if issubclass(base, kind) else (kind, base)
    return type(f"Green{kind.__name__}", bases, {"__slots__": (), "ungreen": kind})


def adopt(sock: Any, green: Handler, listener: str, limits: Limits, sockaddr: Any) -> GreenRow:
    """Make an accepted socket green and give it a row; a TLS socket may have one, from its handshake."""
    kind = green_class(type(sock))
    row: GreenRow | None = green.loop.green_rows.get(socket.socket.fileno(sock))  # not as who gives it away
    if row is None or row.sock is not sock or row.green is not green:
        row = GreenRow(green, sock, listener, limits, sockaddr)
        row.timeout_s = sock.gettimeout()
    elif row.sockaddr is not sockaddr:  # it was made for a handshake, when nobody knew the address
        row.acceptor.left(row)
        row.sockaddr = sockaddr
        row.acceptor.joined(row)
    green.row = row
    if not isinstance(sock, Green):
        sock.__class__ = kind
        sock.settimeout(row.timeout_s)
    return row


def release(green: Handler) -> None:
    """The handler has ended: what it has left open is an ordinary socket again, and nobody's row.

    One that was cancelled had no chance to keep anything: what a wrap_socket() that it was in has made is closed here.
    """
    for row in green.rows:
        if row.green is green:
            sock = row.sock
            if isinstance(row.no_more, Cancelled) and sock.fileno() >= 0:
                sock._real_close()
                continue
            row.loop.demultiplexer.set(row, 0)
            row.leave(None)
            if sock.fileno() >= 0:
                give_back(sock, row.timeout_s)


def give_back(sock: Any, timeout_s: float | None) -> None:
    """Make a green socket block as its class says."""
    sock.restore(timeout_s)
    sock.__class__ = sock.ungreen


def greened_contexts(server: Any) -> list[Any]:
    """Have the contexts that a server holds, or its class or its handler's, make green sockets; return them."""
    if "ssl" not in sys.modules:
        return []
    import ssl

    handler = server.RequestHandlerClass
    kinds = [*type(server).__mro__, *(handler.__mro__ if isinstance(handler, type) else ())]
    found = [getattr(getattr(server, "socket", None), "context", None), *vars(server).values()]
    found += [value for kind in kinds for value in vars(kind).values()]
    contexts = {id(value): value for value in found if isinstance(value, ssl.SSLContext)}
    for context in contexts.values():
        context.sslsocket_class = green_class(context.sslsocket_class)
        _users[context] += 1
    return list(contexts.values())


def ungreened_contexts(contexts: list[Any]) -> None:
    """A server is done with its contexts: the last one has them make what they made before."""
    for context in contexts:
        _users[context] -= 1
        if not _users[context]:
            del _users[context]
            context.sslsocket_class = context.sslsocket_class.ungreen or context.sslsocket_class
