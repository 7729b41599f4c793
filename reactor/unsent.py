"""What a socket has taken and its kernel has not sent: what a reset would destroy.

What it is: one question to the kernel, asked when a drain wants to close a connection at once. What it is not: a part of the
hot path, or of the table; between two drains nobody asks.

Rules: what has been sent and is not acknowledged does not count; it comes before a reset that follows it, and
acknowledgements are held back for 40 ms, which no stop should wait for · a socket of a simulated world answers by itself.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable
from typing import Any

SIOCOUTQNSD = 0x894B  # linux/sockios.h; no module of Python names it
# A Unix socket's peer can read what is there after a reset, too.
_LOSES = frozenset({socket.AF_INET, getattr(socket, "AF_INET6", socket.AF_INET)})


def unsent_bytes(sock: Any) -> int | None:
    """Return how many bytes wait in the kernel to be sent; None: nobody can say."""
    own = getattr(sock, "unsent_bytes", None)
    if own is not None:
        return int(own())
    if sock.family not in _LOSES:
        return 0
    try:
        return None if _ask is None else _ask(sock.fileno())
    except (OSError, ValueError):  # closed
        return None


def _asker() -> Callable[[int], int] | None:
    """Return what asks the kernel about a descriptor; None: it is not Linux, and has no such question."""
    if sys.platform != "linux":
        return None
    fcntl = importlib.import_module("fcntl")
    return lambda fd: int.from_bytes(fcntl.ioctl(fd, SIOCOUTQNSD, bytes(4)), sys.byteorder)


_ask = _asker()
