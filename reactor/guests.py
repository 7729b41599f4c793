"""What a hosted server looks like from the loop: the rows of its sockets, and the mixin that it may lack.

What it is: the row of a listening socket, the row of a socket whose requests are no connections (and how these are answered
where an answer could hold the loop), and stand-ins that add ThreadingMixIn or ForkingMixIn to a server which has neither.
What it is not: the order of the hooks; see `hosting`.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any

from .accepted import quick_accept
from .acceptor import AcceptorRow, Action
from .hooks import StockHooks, origin
from .limits import Limits
from .listening import ListeningRow
from .mixins import ForkingMixIn, ThreadingMixIn
from .snapshots import Kind
from .transports import NOT_NOW
from .ways import Way

# Windows has no such flag, and no Unix packets either.
_AT_ONCE = int(getattr(socket, "MSG_DONTWAIT", 0))


class HostedAcceptor(AcceptorRow):
    """The listening socket of a server."""

    __slots__ = ("_host", "way")

    def __init__(self, host: Any, sock: Any, limits: Limits) -> None:
        self._host = host
        server = host.server
        stock = StockHooks(server, get_request="TCPServer.get_request")
        accept = quick_accept(sock) if hasattr(sock, "accept") else server.get_request
        # A get_request that only calls accept() is not missed, and the quick way of `accepted` takes 3 us less. But it is
        # asked for each connection: a program may put one of its own in its place while it is served.
        get_request = lambda: accept() if stock.are_stock() else server.get_request()  # noqa: E731
        super().__init__(host.loop, sock, host.name, limits, host.welcome, accept=get_request, owned=False)
        self.way = host.way

    def action_on(self, error: OSError) -> Action:
        """get_request is a hook: its OSError may be of anything, and closes the listener only if the socket is closed."""
        action = super().action_on(error)
        return Action.NEXT if action is Action.CLOSE and self.sock.fileno() == self.fd else action

    def drop(self, sockaddr: Any, error: Exception) -> None:
        """A hook that reports (handle_error) or ends (shutdown_request) has raised, whatever it was: as in socketserver."""
        self.loop.contain(self, error)

    def _release(self) -> None:
        self._host.close()


class ServedRequests(ListeningRow):
    """A socket whose requests are no connections: with UDP they are (data, socket).

    It stays blocking, for threads share it. Linux verifies the checksum of a packet before it reports a *blocking*
    socket as readable (udp_poll), so receiving cannot block. Sending on a Unix socket can: see `Answers`.
    """

    kind: Kind = "datagram"
    __slots__ = ("_answers", "_host", "dropped", "way")

    def __init__(self, host: Any, sock: Any) -> None:
        self._host = host
        self.dropped = 0  # answers that a client did not take
        super().__init__(host.loop, sock, host.name, host.limits, owned=False)
        self.way = host.way
        is_unix = hasattr(socket, "AF_UNIX") and getattr(sock, "family", None) == socket.AF_UNIX
        self._answers = Answers(self, sock) if is_unix and host.owned and host.way_is_assumed else None

    def on_ready(self, ready: int) -> None:
        """Take one packet through the hooks of the server."""
        try:
            request, client_address = self._host.server.get_request()
        except OSError:
            return  # as socketserver: a pending network error, or a packet that somebody else took
        except Exception as error:
            self.loop.contain(self, error)
            return
        self.requests += 1
        if self._answers is not None and isinstance(request, tuple) and request[1:] == (self._answers.sock,):
            request = (request[0], self._answers)
        try:
            self._host._process(request, client_address)
        except Exception as error:  # of a hook that reports or ends; the socket goes on
            self.loop.contain(self, error)

    def _release(self) -> None:
        self._host.close()


class Answers:
    """The Unix datagram socket of a server, as its handlers have it on a shared loop if nobody has said a way.

    A client that does not read has a full queue, and a blocking send waits for it, with everybody else. Here the packet is
    dropped and counted instead, as those of a function (`datagrams`). All else is the socket's.
    """

    __slots__ = ("_row", "sock")

    def __init__(self, row: ServedRequests, sock: Any) -> None:
        self._row, self.sock = row, sock

    def __getattr__(self, name: str) -> Any:
        return getattr(self.sock, name)

    def sendto(self, data: Any, *flags_and_address: Any) -> int:
        """As `socket.sendto`, but that it waits for nobody."""
        *flags, address = flags_and_address
        return self._send(memoryview(data).nbytes, lambda: self.sock.sendto(data, sum(flags) | _AT_ONCE, address))

    def sendmsg(self, buffers: Any, ancdata: Any = (), flags: int = 0, address: Any = None) -> int:
        """As `socket.sendmsg`, but that it waits for nobody."""
        buffers = list(buffers)
        size = sum(memoryview(data).nbytes for data in buffers)
        return self._send(size, lambda: self.sock.sendmsg(buffers, ancdata, flags | _AT_ONCE, address))

    def _send(self, size: int, send: Callable[[], int]) -> int:
        try:
            return send()
        except OSError as error:
            if error.errno not in NOT_NOW:
                raise
            self._row.dropped += 1
            return size


# What tells a server with the standard library's mixins.
_MIXINS_OWN = {"thread": "process_request_thread", "fork": "collect_children"}


class _Guest:
    """A server seen through a mixin that it does not have itself: for way="thread" and way="fork"."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def server_close(self) -> None:
        """Close the server, unless somebody has."""
        if not self._server._host.server_closed:
            self._server.server_close()


class _ThreadedGuest(ThreadingMixIn, _Guest):
    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """In the server's own way, if it has one: it may count, or keep the socket for a thread of its own."""
        server = self._server
        if hasattr(server, "process_request_thread"):
            server.process_request_thread(request, client_address)
        elif self._asks_us(server):
            super().process_request_thread(request, client_address)
        else:
            try:
                server.process_request(request, client_address)
            except Exception:
                server.handle_error(request, client_address)
                server.shutdown_request(request)

    @staticmethod
    def _asks_us(server: Any) -> bool:
        """Would its process_request only handle the request, or ask for this very thread again?"""
        if getattr(server, "_asks_host", False) or has_mixin(server):
            return True
        return origin(server, "process_request") == "BaseServer.process_request"


class _ForkedGuest(ForkingMixIn, _Guest):
    def service_actions(self) -> None:
        super().service_actions()
        self._server.service_actions()


def has_mixin(server: Any) -> bool:
    """Is it a threading or forking server, of whatever make?"""
    return hasattr(server, "process_request_thread") or hasattr(server, "collect_children")


def has_own_get_request(server: Any) -> bool:
    """Then it is called once for each time that somebody waits: it may report the error of a try too many."""
    return origin(server, "get_request") != "TCPServer.get_request"


def let_nobody_wait(server: Any) -> None:
    """shutdown() of the standard module waits for a serve_forever that has never begun, and programs call it to stop."""
    is_shut_down = getattr(server, "_BaseServer__is_shut_down", None)
    if is_shut_down is not None:
        is_shut_down.set()


def processor_of(server: Any, way: Way, host: Any) -> Any:
    """Return what `process_request` is called on: the server, or the server with the mixin that `way` asks for."""
    stand_ins: dict[str, Callable[[Any], Any]] = {"thread": _ThreadedGuest, "fork": _ForkedGuest}
    if way not in stand_ins or isinstance(server, ThreadingMixIn if way == "thread" else ForkingMixIn):
        return server
    if hasattr(server, _MIXINS_OWN[way]) and type(server).process_request.__module__ != "socketserver":
        return server  # it has its own idea of processing: a pool, say. Nobody tells the host when a request is done
    server._host = host
    guest = stand_ins[way](server)
    for name in ("daemon_threads", "block_on_close", "max_children"):
        if hasattr(server, name):
            setattr(guest, name, getattr(server, name))
    return guest


def overrides_service_actions(server: Any) -> bool:
    """Is there anything to be called? BaseServer's own does nothing, ours and the standard library's."""
    if getattr(server.service_actions, "__func__", None) is ForkingMixIn.service_actions:
        return False
    return origin(server, "service_actions") != "BaseServer.service_actions"
