"""An open socket as the kernel knows it (an *open file description*), whatever the number of its descriptors.

What it is: what TCP, Unix and datagram sockets have in common. What it is not: the object that programs hold; that is
`sockets.SimulatedSocket`, and several may lead here (dup, fork). Rule: `mask` is what epoll would report, and nothing else
decides on readiness.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from .network import Network

# Simulated ones exist also where there are no real ones (Windows).
AF_UNIX: int = getattr(socket, "AF_UNIX", 1)
# The bits of epoll(7), whose values are the same wherever there is an epoll.
IN, OUT, ERR, HUP, RDHUP = 0x1, 0x4, 0x8, 0x10, 0x2000


class Description:
    """What every kind of socket has; calls that a kind does not know fail as the kernel lets them.

    Args:
        network: the world.
        family: the address family.
        type: the kind of socket.
    """

    def __init__(self, network: Network, family: int, type: int) -> None:
        self.network, self.family, self.type = network, family, type
        self.references = 0
        self.error = 0  # pending: the next call gets it, and getsockopt(SO_ERROR)
        self.name: Any = None
        self.mode = 0o755  # of a Unix path, under the usual umask
        self.peer_name: Any = None
        self.options: dict[tuple[int, int], Any] = {
            (socket.SOL_SOCKET, socket.SO_SNDBUF): network.send_bytes,
            (socket.SOL_SOCKET, socket.SO_RCVBUF): network.receive_bytes,
        }

    @property
    def send_bytes(self) -> int:
        """The size of the send buffer."""
        return int(self.options[socket.SOL_SOCKET, socket.SO_SNDBUF])

    @property
    def receive_bytes(self) -> int:
        """The size of the receive buffer."""
        return int(self.options[socket.SOL_SOCKET, socket.SO_RCVBUF])

    @property
    def has_peer(self) -> bool:
        """Is there a peer whose address can be asked for?"""
        return self.peer_name is not None

    @property
    def unsent_bytes(self) -> int:
        """Sent, and lost if the connection is reset now."""
        return 0

    def take_error(self) -> int:
        """Return the pending error and clear it."""
        error, self.error = self.error, 0
        return error

    def mask(self) -> int:
        """Return what epoll would report, whatever the interest."""
        raise NotImplementedError

    def release(self) -> None:
        """The last descriptor is closed."""
        raise NotImplementedError

    def bind(self, address: Any) -> None:
        """See bind(2)."""
        if self.name is not None:
            fail(errno.EINVAL)
        self.name = self.network.bind(self, address)

    def listen(self, backlog: int) -> None:
        """See listen(2)."""
        fail(errno.EOPNOTSUPP)

    def accept(self) -> Description:
        """See accept(2)."""
        fail(errno.EOPNOTSUPP)

    def connect(self, address: Any) -> None:
        """See connect(2)."""
        raise NotImplementedError

    def recv(self, size: int, peek: bool) -> tuple[bytes, bool, Any]:
        """See recvmsg(2): data, whether it was cut, and who sent it."""
        raise NotImplementedError

    def send(self, data: bytes, address: Any) -> int:
        """See sendto(2)."""
        raise NotImplementedError

    def shutdown(self, how: int) -> None:
        """See shutdown(2)."""
        raise NotImplementedError

    def break_off(self) -> None:
        """The connection is lost, as by a reset of the peer; only streams have one."""


def as_path(address: Any) -> str:
    """Return the path of a Unix address; abstract ones begin with NUL."""
    return os.fsdecode(address)


def fail(code: int) -> NoReturn:
    """Raise what the kernel would.

    Raises:
        OSError: always.
    """
    raise OSError(code, os.strerror(code))
