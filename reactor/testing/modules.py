"""A stand-in for the module `socket`, for a simulated process.

What it is: `SimulatedSockets`, which makes simulated sockets and hands on the constants and errors of the real module.
What it is not: a resolver; numeric addresses need none, and the engine asks the real module for the others.
"""

from __future__ import annotations

import errno
import socket as real
from typing import Any

from .descriptions import AF_UNIX, Description, fail
from .network import Process
from .packets import UdpEnd, UnixPacketEnd
from .sockets import SimulatedSocket
from .tcp import TcpEnd
from .unix_streams import UnixEnd


class SimulatedSockets:
    """Stands in for the module `socket`: give it to `Reactor(sockets=...)`.

    Args:
        process: whose sockets it makes.
        pairs: does `socketpair` work? On WebAssembly it does not, and a reactor then has no waker.
    """

    AF_UNIX = AF_UNIX  # which the real module may lack

    def __init__(self, process: Process, *, pairs: bool = True) -> None:
        self.process, self._pairs = process, pairs
        self.files = process.network  # who knows the paths of Unix sockets

    def socket(
        self, family: int = real.AF_INET, type: int = real.SOCK_STREAM, proto: int = 0
    ) -> SimulatedSocket:
        """Make a socket.

        Raises:
            OSError: EMFILE; EAFNOSUPPORT: neither TCP, UDP nor a Unix socket.
        """
        if self.process.plan is not None:
            self.process.plan.before("socket")
        return SimulatedSocket(self.process, self._description(family, type), proto)

    def _description(self, family: int, type: int) -> Description:
        network = self.process.network
        if family == AF_UNIX:
            return UnixEnd(network) if type == real.SOCK_STREAM else UnixPacketEnd(network)
        if family not in (real.AF_INET, real.AF_INET6):
            fail(errno.EAFNOSUPPORT)
        return TcpEnd(network, family) if type == real.SOCK_STREAM else UdpEnd(network, family)

    def socketpair(
        self, family: int = AF_UNIX, type: int = real.SOCK_STREAM, proto: int = 0
    ) -> tuple[SimulatedSocket, SimulatedSocket]:
        """Make two connected sockets.

        Raises:
            NotImplementedError: this platform is one without them.
        """
        if not self._pairs:
            raise NotImplementedError("this simulated platform has no socket pairs")
        if self.process.plan is not None:
            self.process.plan.before("socketpair")
        first: Any = self._description(family, type)
        second: Any = self._description(family, type)
        first.pair(second)
        return SimulatedSocket(self.process, first, proto), SimulatedSocket(self.process, second, proto)

    def __getattr__(self, name: str) -> Any:
        """Constants, errors and pure functions are those of the real module."""
        if name.isupper() or name in ("error", "timeout", "gaierror", "herror", "inet_pton", "inet_ntop"):
            return getattr(real, name)
        raise AttributeError(f"the simulated module socket has no {name!r}")
