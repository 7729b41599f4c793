"""Sockets of connections, as they are accepted: quickly, and without a delay of small replies.

What it is: one system call (TCP_NODELAY is mostly inherited) and three enums less for each connection than the plain way
takes. What it is not: a decision on whether to accept; that is `acceptor`'s.

Rules: only a plain socket is accepted from in the quick way, one of TLS or of somebody else's class in its own · a
descriptor that got no socket object is closed.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from typing import Any

_INET = frozenset({socket.AF_INET, getattr(socket, "AF_INET6", socket.AF_INET)})


def quick_accept(sock: Any) -> Callable[[], tuple[Any, Any]]:
    """Return what accepts a connection on `sock`.

    That of a plain socket, and no other, is written anew: `socket.accept` makes members of three enums for each
    connection, to say of it what is known of the listener, which is a tenth of what a short connection costs.
    """
    plain = getattr(sock, "_accept", None)  # private: a later Python may have another way
    if plain is None or type(sock) is not socket.socket or socket.getdefaulttimeout() is not None:
        accept: Callable[[], tuple[Any, Any]] = sock.accept
        return accept
    family, kind, proto = int(sock.family), int(sock.type), sock.proto

    def accept_plain() -> tuple[socket.socket, Any]:
        fd, sockaddr = plain()
        try:
            return socket.socket(family, kind, proto, fileno=fd), sockaddr
        except BaseException:
            os.close(fd)
            raise

    return accept_plain


def inherits_no_delay(sock: Any) -> bool:
    """Has an accepted socket the TCP_NODELAY of its listener, as on Linux and BSD? Or none, as a Unix socket?"""
    try:
        return sock.family not in _INET or bool(sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
    except OSError:  # the peer is gone already
        return False


def no_delay(sock: Any) -> None:
    """Send small replies at once: head and body in two sends fall to 355 requests a second under Nagle's algorithm."""
    try:  # asking for the family first makes a member of an enum, which takes as long as the call itself
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    except OSError:
        # EOPNOTSUPP: a Unix socket. EINVAL (BSD, macOS): the peer has reset before accept(); the first recv() will tell.
        pass
