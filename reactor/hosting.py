"""Servers as guests of a loop: how a socketserver, ours or another, gets its requests and its hooks called.

What it is: `attach`, which puts a server's socket into the table, and `Host`, which stands between the two: it calls
`get_request, verify_request, process_request, ... shutdown_request` in socketserver's order and keeps a row for each
request. What it is not: a guess; the way a handler runs is named by the server or by the caller.

    coroutine   the handler is an AsyncStreamRequestHandler; its request is a Stream, a row like any other
    inline      in the loop's own thread, on the blocking socket: exactly socketserver, and it holds the loop
    thread      in a new thread (ThreadingMixIn, or way="thread")   } the row is DETACHED until they return,
    fork        in a new process (ForkingMixIn, or way="fork")      } and the socket never enters the selector
"""

from __future__ import annotations

import os
import socket
from typing import Any

from .acceptor import no_delay
from .addresses import as_text, unlink_if_ours
from .coroutine_streams import Stream
from .detached import DetachedRow
from .guests import HostedAcceptor, ServedRequests, overrides_service_actions, processor_of
from .limits import Limits
from .listeners import Listener, Way, endpoint_of, way_of
from .mixins import ForkingMixIn, ThreadingMixIn
from .phases import End


def attach(
    loop: Any,
    server: Any,
    *,
    way: Way | None,
    limits: Limits,
    name: str,
    owned: bool,
    poll_interval_s: float = 0.5,
    path: tuple[str, int, int] | None = None,
) -> Listener:
    """Put a server into the table of a loop.

    Args:
        loop: the loop.
        server: the server; its socket is bound and, for streams, listening.
        way: how its handler runs; see `way_of`.
        limits: for its rows.
        name: what logs and the table call it.
        owned: `server_close` is called when the listener ends; else its socket is only given back.
        poll_interval_s: how often `service_actions` is called at least, if the server overrides it.
        path: the Unix path to remove at the end if it still is ours, from `addresses.identity`.
    """
    sock = getattr(server, "socket", server)  # it may have been replaced since the server was made
    name = name or f"{type(server).__name__} {as_text(getattr(server, 'server_address', None))}"
    hosted = getattr(server, "_host", None)
    if hosted is not None and hosted.row is not None and hosted.row.fd >= 0 and not hosted.loop.closed:
        raise RuntimeError(f"{name} is served already; close its listener, or shut it down, before it is added again")
    host = Host(loop, server, way_of(server, way, name), limits, name, owned, path)
    try:
        host.open(poll_interval_s)
    except BaseException:  # the selector refuses the descriptor: the server stays nobody's guest
        server._host = None
        raise
    return Listener(host.row, endpoint_of(sock), server.server_address, server)


class Host:
    """The loop's side of one server."""

    def __init__(
        self, loop: Any, server: Any, way: Way, limits: Limits, name: str, owned: bool, path: Any = None
    ) -> None:
        self.loop, self.server, self.way, self.limits, self.name, self.owned = loop, server, way, limits, name, owned
        self.watches_children = hasattr(os, "pidfd_open")
        self.row: Any = None
        self._socket: Any = None
        self._timeout_s: float | None = None
        self._service: Any = None
        self._path = path
        self._closing = self._listens = False
        self.server_closed = False
        self._watched: set[int] = set()  # process ids with a pidfd in the table
        self._requests: dict[int, DetachedRow] = {}  # by the identity of the request
        self._children: dict[int, DetachedRow] = {}  # by process id
        self.processor: Any = processor_of(server, way, self)
        self.processor._host = self

    # -- the listening socket ---------------------------------------------------------------------------------------

    def open(self, poll_interval_s: float) -> None:
        """Put the socket into the table."""
        self._socket = getattr(self.server, "socket", self.server)
        self._listens = getattr(self._socket, "type", None) == socket.SOCK_STREAM
        if not self._listens:
            self.row = ServedRequests(self, self._socket)
        else:
            # A client that resets between select() and accept() would block a blocking listener; see `close`.
            self._timeout_s = self._socket.gettimeout()
            self._socket.setblocking(False)
            # Inline, one request a turn, so that service_actions and a shutdown come between two, as in socketserver.
            limits = self.limits if self.way == "coroutine" else self.limits.replace(accepts_per_turn=1)
            self.row = HostedAcceptor(self, self._socket, limits)
        overridden = overrides_service_actions(self.server)
        if overridden or isinstance(self.processor, ForkingMixIn):
            self._service = self.processor.service_actions
            every = lambda: poll_interval_s if overridden or self._unwatched() else None  # noqa: E731
            self.loop.hooks.append((self._service, every))
        if self.owned:
            self.loop.farewells.append(self.farewell)

    def _unwatched(self) -> bool:
        """Are there children whose end no pidfd would announce?"""
        return bool(set(getattr(self.processor, "active_children", None) or ()) - self._watched)

    def close(self) -> None:
        """The listener has left the table."""
        if self.owned:
            unlink_if_ours(self._path)
        if self.owned and self._listens:
            self._socket.close()  # give the port back now; server_close may have to wait for threads
        elif self._listens and self._socket.fileno() >= 0:
            self._socket.settimeout(self._timeout_s)
        self._closing = True
        self._forget()

    def _forget(self) -> None:
        """The server is nobody's guest any more once its last thread and child have reported."""
        if not self._closing or self._requests or self._children:
            return
        if self.owned and not self._listens and isinstance(self.processor, (ThreadingMixIn, ForkingMixIn)):
            return  # packets have no rows, so nobody knows whether they are done: their threads are joined by close()
        if self.owned:  # alone on its loop, its service_actions go on until shutdown, as in socketserver
            self.loop.hooks[:] = [hook for hook in self.loop.hooks if hook[0] is not self._service]
        self.farewell()

    def farewell(self) -> None:
        """Close an owned server for good; called when nothing is left to wait for, or when the loop closes."""
        if self.owned:
            self.owned = False
            self.loop.farewells.remove(self.farewell)
            if not self.server_closed or self.offloads:  # a stand-in has threads or children of its own to wait for
                self.processor.server_close()
        if getattr(self.server, "_host", None) is self:
            self.server._host = None

    def server_closes(self) -> None:
        """The server's own `server_close` runs: its descriptor must leave the selector first."""
        self.server_closed = True
        if self.row.fd >= 0:
            self.loop.demultiplexer.set(self.row, 0)
            self.row.finish(End.FINISHED, "server_close")
        if self.offloads and self.loop.closed:  # as the mixins do: close, then wait for what is left
            self._socket.close()
            self.processor.server_close()

    # -- requests ---------------------------------------------------------------------------------------------------

    def welcome(self, request: Any, client_address: Any) -> None:
        """Take a connection through the hooks of the server."""
        if self.way == "coroutine":
            request.setblocking(False)
            no_delay(request)
            stream = Stream(self.loop, request, self.row, self.name, self.limits, client_address)
            stream.host = self
            try:
                self._process(stream, client_address)
            except BaseException:  # of a hook; the row must not stay behind
                stream.abort("a hook of the server failed")
                raise
            return
        if request.gettimeout() is None:
            request.setblocking(True)  # BSD and macOS: accepted sockets inherit O_NONBLOCK from the listener
        row = DetachedRow(self.loop, request, self.row, self.name, self.limits, client_address, self.way)
        self._requests[id(request)] = row
        outlives = False
        try:
            outlives = self._process(request, client_address) and self._outlives(request)
        except BaseException:  # of a hook; neither the row nor the socket must stay behind
            request.close()
            raise
        finally:
            if not outlives:
                self._return(id(request))

    def _outlives(self, request: Any) -> bool:
        """Does a thread or child of ours go on with the request? (If not: it is done, or the handler kept it.)"""
        return isinstance(self.processor, (ThreadingMixIn, ForkingMixIn)) and id(request) in self._requests

    def _process(self, request: Any, client_address: Any) -> bool:
        """verify, process; on an error or a refusal shut the request down, once. True: it is being processed."""
        try:
            if self.server.verify_request(request, client_address):
                self._call_process_request(request, client_address)
                return True
        except Exception as error:
            if self.loop.observer is not None:
                self.loop.observer.on_error(self.row, error)
            try:
                self.server.handle_error(request, client_address)
            finally:
                self._shut(request)
            return False
        except BaseException:  # SystemExit, KeyboardInterrupt: the request ends, and then the loop is left
            self._shut(request)
            raise
        self._shut(request)
        return False

    def _call_process_request(self, request: Any, client_address: Any) -> None:
        """A server of another make cannot ask its host who processes; then the host goes past its process_request."""
        if getattr(self.server, "_asks_host", False):
            self.server.process_request(request, client_address)
        elif self.way == "coroutine":
            self.server.finish_request(request, client_address)  # theirs would shut down what has only begun
        else:
            self.processor.process_request(request, client_address)

    def _shut(self, request: Any) -> None:
        if isinstance(request, Stream):
            request.host = None  # so that its end does not call the hook a second time
        self.server.shutdown_request(request)

    def closing(self, stream: Any) -> None:
        """A coroutine's row is about to close its socket: the hooks of the server come first."""
        try:
            self.server.shutdown_request(stream)
        except Exception as error:
            self.loop.contain(stream, error)

    def contain(self, stream: Any, error: BaseException) -> None:
        """A coroutine handler has failed: called where the exception is caught, as `handle_error` expects."""
        if self.loop.observer is not None:
            self.loop.observer.on_error(stream, error)
        try:
            self.server.handle_error(stream, stream.sockaddr)
        except Exception as another:
            self.loop.contain(stream, another)

    @property
    def offloads(self) -> bool:
        """Was a thread or child asked for, for a server that has no mixin?"""
        return self.processor is not self.server

    def offload(self, request: Any, client_address: Any) -> None:
        """Have a request processed as if the server had the mixin."""
        self.processor.process_request(request, client_address)

    # -- what threads and children report ---------------------------------------------------------------------------

    def returned(self, request: Any) -> None:
        """A thread is done with a request; legal in any thread."""
        self.loop.call_soon(self._return, id(request))

    def _return(self, key: int) -> None:
        row = self._requests.pop(key, None)
        if row is not None:
            row.finish(End.FINISHED)
            self._forget()

    def forked(self, request: Any, pid: int) -> None:
        """A child has the request now; its end is an event like any other, where the system has pidfds."""
        row = self._requests.pop(id(request), None)
        if row is None:
            return
        self._children[pid] = row
        if self.watches_children:
            try:
                row.watch(os.pidfd_open(pid), self.processor.collect_children)
                self._watched.add(pid)
            except OSError:
                self.watches_children = False  # an old kernel, or no descriptor left: service_actions polls

    def child_ended(self, pid: int) -> None:
        """A child was reaped."""
        row = self._children.pop(pid, None)
        self._watched.discard(pid)
        if row is not None:
            row.finish(End.FINISHED)
            self._forget()
