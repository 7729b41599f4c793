"""Which row has a socket that a handler's greenlet uses?

What it is: `row_of`, which every method of a green socket that may wait asks, and the limits of a row that it makes. What it
is not: waiting; see `green_rows`. Rule: what a handler opens itself (TLS to another server) has a row, too, but its peer is
no client: no time of the listener ends it. The time for work of the handler's own row goes on meanwhile.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
from typing import Any

from .green_handlers import Handler
from .green_rows import GreenRow
from .limits import Limits

_fileno: Any = socket.socket.fileno  # a green socket's own notes that somebody has asked


@functools.lru_cache(maxsize=64)
def without_times(limits: Limits) -> Limits:
    """Return the limits for what a handler has opened itself: its peer is no client, and has the time that others get."""
    return limits.replace(
        handshake_s=None, idle_s=None, request_s=None, request_bytes_per_s=None, work_s=None, write_stall_s=None
    )


def row_of(sock: Any, green: Handler) -> GreenRow:
    """Return the row of a socket that a greenlet uses; a new one for a socket that it has made itself."""
    fd = _fileno(sock)
    if fd < 0:
        raise OSError(errno.EBADF, os.strerror(errno.EBADF))
    row: GreenRow | None = green.loop.green_rows.get(fd)
    if row is not None and row.sock is not sock:
        if _fileno(row.sock) == fd or row.green is None:  # a descriptor that was closed behind our back
            row = None
        else:
            row.sock, row.shared = sock, False  # the one before was detached: wrapped by TLS, say
    if row is None:
        limits = green.acceptor.limits
        row = GreenRow(green, sock, green.acceptor.listener, limits if green.row is None else without_times(limits))
    return row
