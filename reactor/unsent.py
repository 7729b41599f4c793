"""What a socket has taken and the peer's system has not: what a reset would destroy.

What it is: one question to the kernel, asked when a drain wants to close a connection at once. What it is not: a part of the
hot path, or of the table; between two drains nobody asks. Rule: a socket of a simulated world answers by itself.
"""

from __future__ import annotations

import importlib
import socket
import sys
from collections.abc import Callable
from typing import Any

# A Unix socket's peer can read what is there after a reset, too.
_LOSES = frozenset({socket.AF_INET, getattr(socket, "AF_INET6", socket.AF_INET)})


def unsent_bytes(sock: Any) -> int | None:
    """Return how many bytes of what was sent are not acknowledged, the end of the stream being one; None: nobody can say.

    It is SIOCOUTQ of tcp(7).
    """
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
    """Return what asks the kernel about a descriptor; None: it has no such question (Windows, WebAssembly)."""
    try:
        fcntl, termios = importlib.import_module("fcntl"), importlib.import_module("termios")
        request = termios.TIOCOUTQ
    except (ImportError, AttributeError):
        return None
    return lambda fd: int.from_bytes(fcntl.ioctl(fd, request, bytes(4)), sys.byteorder)


_ask = _asker()
