"""One interface to two worlds, the simulated one and the kernel, so that one test can hold them together."""

import contextlib
import selectors
import socket
from typing import Any

from reactor.permissions import AF_UNIX
from reactor.testing.modules import SimulatedSockets
from reactor.testing.network import Network, Process
from reactor.testing.selector import SimulatedSelector

# How long the kernel gets for what it does on loopback (s); nearly always it is done when the call returns.
PATIENCE_S = 5.0


class SimulatedWorld:
    """Sockets of one simulated process."""

    name = "simulated"

    def __init__(self) -> None:
        self.network = Network(seed=1)
        self.process = Process(self.network, "test")
        self.sockets: Any = SimulatedSockets(self.process)
        self.folder = ""

    def selector(self) -> Any:
        return SimulatedSelector(self.process, shuffles=False)

    def wait_s(self, seconds: float) -> float:
        return seconds

    def close(self) -> None:
        self.process.exit()


class KernelWorld:
    """The real ones, on loopback."""

    name = "kernel"
    sockets: Any = socket

    def __init__(self, folder: str) -> None:
        self.folder = folder + "/"

    def selector(self) -> Any:
        return selectors.EpollSelector()

    def wait_s(self, seconds: float) -> float:
        return PATIENCE_S

    def close(self) -> None:
        pass


class World:
    """What the tests of the contract use: sockets that end with the test, pairs of them, readiness."""

    def __init__(self, under: Any, stack: contextlib.ExitStack) -> None:
        self.under, self._stack = under, stack
        self.sockets = under.sockets

    @property
    def is_simulated(self) -> bool:
        return isinstance(self.under, SimulatedWorld)

    def path(self, name: str) -> str:
        return str(self.under.folder + name)

    def socket(self, family: int, type: int) -> Any:
        """Make a non-blocking socket."""
        sock = self._stack.enter_context(self.sockets.socket(family, type))
        sock.setblocking(False)
        return sock

    def selector(self) -> Any:
        return self._stack.enter_context(contextlib.closing(self.under.selector()))

    def listener(self, kind: str, backlog: int = 16, **options: int) -> Any:
        family = AF_UNIX if kind == "unix" else socket.AF_INET
        sock = self.socket(family, socket.SOCK_STREAM)
        for name, value in options.items():
            sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        sock.bind(self.path("listener") if kind == "unix" else ("127.0.0.1", 0))
        sock.listen(backlog)
        return sock

    def dial(self, listener: Any, **options: int) -> Any:
        """Begin to connect, and do not wait."""
        client = self.socket(listener.family, socket.SOCK_STREAM)
        for name, value in options.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        client.connect_ex(listener.getsockname())
        return client

    def accept(self, listener: Any) -> Any:
        assert self.ready(listener, 1) == 1
        sock, _ = listener.accept()
        self._stack.enter_context(sock)
        sock.setblocking(False)
        return sock

    def pair(self, kind: str, **options: int) -> tuple[Any, Any]:
        """Return a client and a server end, connected; the listener is closed."""
        listener = self.listener(kind, **options)
        client = self.dial(listener, **options)
        server = self.accept(listener)
        assert self.ready(client, 2) & 2
        listener.close()
        if kind == "tcp":
            for sock in (client, server):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return client, server

    def ready(self, sock: Any, wanted: int, interest: int = 3) -> int:
        """Return as what a socket is reported; the kernel gets some time until it is what is wanted."""
        selector = self.under.selector()
        with contextlib.closing(selector):
            selector.register(sock, interest)
            ready = 0
            for _ in range(50):
                found = dict.fromkeys([key.fd for key, _ in selector.select(0)], 0)
                found |= {key.fd: events for key, events in selector.select(0)}
                ready = found.get(sock.fileno(), 0)
                if ready & wanted == wanted or self.is_simulated:
                    break
                selector.select(PATIENCE_S / 50)
            return ready

    def received(self, sock: Any, size: int) -> bytes:
        """Receive that many bytes, or up to the end."""
        data = b""
        while len(data) < size:
            assert self.ready(sock, 1) & 1
            piece = sock.recv(size - len(data))
            if not piece:
                break
            data += piece
        return data
