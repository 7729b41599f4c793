"""The drop-in: `import reactor.socketserver as socketserver`.

The same names as the standard module of the running Python, the same `__all__`, the same hooks. What each class does is
written in `servers`, `mixins` and `request_handlers`; here they are only combined and named.
"""

from __future__ import annotations

import os as _os
import socket as _socket
import sys as _sys

from .base_server import BaseServer
from .mixins import ForkingMixIn as _ForkingMixIn
from .mixins import ThreadingMixIn
from .request_handlers import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from .servers import TCPServer, UDPServer

if __name__ == "__main__":
    # `python -m reactor.socketserver PROGRAM`. The program gets the module of the other name, and this copy ends before it
    # has made classes of its own.
    from .substitute import main

    main(_sys.argv[1:])
    _sys.exit()

__all__ = [
    "BaseRequestHandler",
    "BaseServer",
    "DatagramRequestHandler",
    "StreamRequestHandler",
    "TCPServer",
    "ThreadingMixIn",
    "ThreadingTCPServer",
    "ThreadingUDPServer",
    "UDPServer",
]  # fmt: skip


class ThreadingUDPServer(ThreadingMixIn, UDPServer):
    """A UDP server with a thread per packet."""


class ThreadingTCPServer(ThreadingMixIn, TCPServer):
    """A TCP server with a thread per connection."""


if hasattr(_os, "fork"):
    ForkingMixIn = _ForkingMixIn

    class ForkingUDPServer(ForkingMixIn, UDPServer):
        """A UDP server with a process per packet."""

    class ForkingTCPServer(ForkingMixIn, TCPServer):
        """A TCP server with a process per connection."""

    __all__ += ["ForkingMixIn", "ForkingTCPServer", "ForkingUDPServer"]

if hasattr(_socket, "AF_UNIX"):
    from .servers import UnixDatagramServer, UnixStreamServer

    class ThreadingUnixStreamServer(ThreadingMixIn, UnixStreamServer):
        """A Unix stream server with a thread per connection."""

    class ThreadingUnixDatagramServer(ThreadingMixIn, UnixDatagramServer):
        """A Unix datagram server with a thread per packet."""

    __all__ += ["ThreadingUnixDatagramServer", "ThreadingUnixStreamServer", "UnixDatagramServer", "UnixStreamServer"]

    # In the standard module from 3.12 on (cpython#103673).
    if hasattr(_os, "fork") and _sys.version_info >= (3, 12):

        class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer):
            """A Unix stream server with a process per connection."""

        class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer):
            """A Unix datagram server with a process per packet."""

        __all__ += ["ForkingUnixDatagramServer", "ForkingUnixStreamServer"]
