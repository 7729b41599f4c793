"""The reactor: the loop with everything that can live on it. This is the class that programs use.

    with Reactor() as loop:
        loop.listen("tcp://127.0.0.1:8000", handler)     # a coroutine function, or a handler class
        loop.add(server)                                 # a socketserver
        loop.run()                                       # Ctrl-C drains

What it is: doors (`listen`, `add`, `spawn`, `run_until`, `snapshot`). What it is not: the engine; that is `Loop`.
"""

from __future__ import annotations

import functools
import inspect
import socket
from collections.abc import Callable, Collection, Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, ParamSpec, TypeVar

from . import servers
from .accepted import inherits_no_delay, no_delay
from .acceptor import AcceptorRow
from .addresses import Endpoint, identity
from .attaching import attach
from .base_server import BaseServer
from .coroutine_streams import Stream
from .coroutines import Task, coroutine_of
from .datagrams import DatagramRow
from .errors import describe
from .framing import Framing
from .limits import Limits
from .listeners import HostableServer, Listener, endpoint_of
from .loop import Loop
from .offload import ask, thread_id
from .permissions import accept_of
from .phases import End
from .snapshots import RowSnapshot
from .ways import Way

P = ParamSpec("P")
T = TypeVar("T")


class Reactor(Loop):
    """One loop for many listeners. See `Stages` for the arguments."""

    _thread: int | None = None

    def listen(
        self,
        endpoint: str | socket.socket,
        handler: Callable[..., Any],
        *,
        framing: Framing[Any] | None = None,
        way: Way | None = None,
        limits: Limits | None = None,
        name: str = "",
        mode: int | None = None,
        allow_users: Collection[int] | None = None,
    ) -> Listener:
        """Listen at an endpoint.

        Args:
            endpoint: tcp://host:port, udp://host:port, unix://path, unix+dgram://path (port 0: a free one), or a
                socket that is bound (and listens, if it is a stream). The reactor closes it.
            handler: `async def f(stream)`; `def` or `async def f(datagram)` for datagrams; or a handler class of
                socketserver's kind.
            framing: for a blocking handler class: it is made once for each whole frame.
            way: how a blocking handler class runs: "framed", "greenlet", "inline", "thread", "fork".
            limits: for this listener and its rows; None: the reactor's.
            name: for logs and the table; by default the handler's name and the endpoint.
            mode: of a Unix path, from its first moment, as 0o600; None: as the umask says.
            allow_users: the user ids that may connect to a Unix stream socket, as the kernel tells them; others are closed
                at once. None: whoever the path lets in, and everybody for an abstract name.

        Raises:
            ValueError: the endpoint is not understood, or it is none that could have this mode or tell its users.
            OSError: it cannot be had.
            BlockingHandlerError: the handler blocks and nobody says how it may run.
        """
        self._check_open()
        limits = limits or self.limits
        sock = self._socket_at(endpoint, limits.backlog, mode)
        try:
            return self._listen(sock, handler, framing, way, limits, name, accept_of(sock, allow_users))
        except BaseException:  # whatever is wrong with the handler: the socket must not leak
            sock.close()
            raise

    def _socket_at(self, endpoint: str | socket.socket, backlog: int, mode: int | None = None) -> socket.socket:
        if isinstance(endpoint, str):
            return Endpoint.parse(endpoint).bind(backlog, self.sockets, mode=mode)
        if mode is not None:
            raise ValueError(f"mode {mode:#o} comes too late for {endpoint!r}, which is bound: give listen() an endpoint")
        endpoint.setblocking(False)
        return endpoint

    def _listen(
        self,
        sock: socket.socket,
        handler: Callable[..., Any],
        framing: Framing[Any] | None,
        way: Way | None,
        limits: Limits,
        name: str,
        accept: Callable[[], tuple[Any, Any]] | None,
    ) -> Listener:
        at, address = endpoint_of(sock), sock.getsockname()  # what fails here must not leave a row behind
        name = name or f"{_name_of(handler)} {at}"
        if _is_async(handler) and not isinstance(handler, type) and (framing is not None or way is not None):
            raise ValueError(f"{name}: a coroutine reads frames by stream.frame(framing): drop framing= and way=")
        is_function = not isinstance(handler, type) and way is None and framing is None
        if sock.type == socket.SOCK_DGRAM and is_function:
            row: Any = DatagramRow(self, sock, name, limits, handler, self._spawn_returned)
        elif is_function and _is_async(handler):
            no_delay(sock)
            welcome = _Welcome(self, handler, name, limits)
            row = welcome.row = AcceptorRow(self, sock, name, limits, welcome.take, accept=accept)
        else:
            server = _server_on(sock, handler)
            if accept is not None:
                server.get_request = accept
            return attach(
                self, server, way=way, framing=framing, limits=limits, name=name, owned=True, path=identity(sock)
            )
        return Listener(row, at, address)

    def _spawn_returned(self, result: Any) -> None:
        """A datagram handler that is a coroutine function has returned its coroutine."""
        self.replies.add(Task(self, coroutine_of(lambda: result, (), {})))

    def add(
        self,
        server: HostableServer,
        *,
        framing: Framing[Any] | None = None,
        way: Way | None = None,
        limits: Limits | None = None,
        name: str = "",
    ) -> Listener:
        """Host a server; it is closed with the reactor.

        Args:
            server: bound and listening; ours, the standard library's or another one with the same interface.
            framing: its blocking handler is made once for each whole frame; None: as the server or its handler says.
            way: how its blocking handler runs; None: as the server's own `way` or `framing`, or its mixin says.
            limits: for its rows; None: the server's own, or the reactor's.
            name: for logs and the table.

        Raises:
            BlockingHandlerError: the handler blocks and nobody says how it may run.
        """
        self._check_open()
        limits = limits or getattr(server, "limits", None) or self.limits
        return attach(self, server, way=way, framing=framing, limits=limits, name=name, owned=True)

    def spawn(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Task[T]:
        """Run a coroutine function beside the rows; it is cancelled when the reactor closes."""
        return Task(self, coroutine_of(function, args, kwargs))

    def run_until(self, function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """Run until a coroutine function has returned, and return what it returned.

        Raises:
            Cancelled: `stop` was called meanwhile.
        """
        task: Task[T] = self.spawn(function, *args, **kwargs)
        task.observed = True
        turn = self.turn if self.observer is None else self.recorded_turn
        with self._entered():
            self._begin()
            while not task.done:
                turn()
                if self._report is not None:  # stop() was asked for, and the rows are drained
                    self._report = None
                    task.cancel()
        return task.result()

    def snapshot(self, *, timeout_s: float = 1.0) -> tuple[RowSnapshot, ...]:
        """Return a frozen copy of every row; legal in any thread, and of one moment while `run` is under way.

        Raises:
            TimeoutError: the loop did not answer: a handler holds it.
        """
        if self._thread is None or self._thread == thread_id():
            return self.table.snapshot()
        return ask(self.call_soon, self.table.snapshot, timeout_s)

    @contextmanager
    def _entered(self) -> Iterator[None]:
        with super()._entered():
            self._thread = thread_id()
            try:
                yield
            finally:
                self._thread = None


class _Welcome:
    """What an acceptor does with each connection for a coroutine function."""

    __slots__ = ("_handler", "_inherits", "_limits", "_loop", "_name", "row")

    def __init__(self, loop: Reactor, handler: Callable[..., Any], name: str, limits: Limits) -> None:
        self._loop, self._handler, self._name, self._limits = loop, handler, name, limits
        self._inherits: bool | None = None  # do connections have the listener's TCP_NODELAY? The first one tells
        self.row: Any = None

    def take(self, sock: Any, sockaddr: Any) -> Any:
        sock.setblocking(False)
        if self._inherits is None:
            self._inherits = inherits_no_delay(sock)
        if not self._inherits:
            no_delay(sock)
        stream = Stream(self._loop, sock, self.row, self._name, self._limits, sockaddr)
        try:
            coroutine = self._handler(stream)
        except Exception as error:
            stream.finish(End.HANDLER_FAILED, describe(error))
            self._loop.contain(stream, error)
        else:
            stream.start(coroutine)
            return stream
        return None


def _name_of(handler: Any) -> str:
    handler = _unwrapped(handler)
    return getattr(handler, "__name__", None) or type(handler).__name__


def _unwrapped(handler: Any) -> Any:
    while isinstance(handler, functools.partial):
        handler = handler.func
    return handler


def _is_async(handler: Any) -> bool:
    handler = _unwrapped(handler)
    return inspect.iscoroutinefunction(handler) or inspect.iscoroutinefunction(type(handler).__call__)


def _server_on(sock: socket.socket, handler: Any) -> Any:
    """Return a plain server on a socket that is bound already, for a handler class."""
    kind = servers.TCPServer if sock.type == socket.SOCK_STREAM else servers.UDPServer
    server = kind.__new__(kind)  # its __init__ would make a socket of its own
    BaseServer.__init__(server, sock.getsockname(), handler)
    server.socket = sock
    if sock.type == socket.SOCK_DGRAM:
        sock.setblocking(True)  # it is part of each request, and handlers send on it
    return server
