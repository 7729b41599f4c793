"""Servers as guests of a loop: how a socketserver, ours or another, gets its requests and its hooks called.

What it is: `Host`, which stands between the two: it puts the server's socket into the table, calls `get_request,
verify_request, process_request, ... shutdown_request` in socketserver's order and keeps a row for each request. What it
is not: all ways of running a handler. This class knows those that have the blocking socket:

    inline      in the loop's own thread: exactly socketserver, and it holds the loop
    thread      in a new thread (ThreadingMixIn, or way="thread")   } the row is DETACHED until they return,
    fork        in a new process (ForkingMixIn, or way="fork")      } and the socket never enters the selector

The others derive from it: `stream_hosts` (coroutine, framed), `greenlet_hosts`. `attaching` picks one.
"""

from __future__ import annotations

import os
import socket
from typing import Any

from .addresses import unlink_if_ours
from .detached import DetachedRow
from .guests import (
    HostedAcceptor,
    ServedRequests,
    has_mixin,
    has_own_get_request,
    let_nobody_wait,
    overrides_service_actions,
    processor_of,
)
from .handshakes import postpone, shake_hands
from .limits import Limits
from .mixins import ForkingMixIn, ThreadingMixIn
from .phases import End
from .ways import Choice

# How often to look for children that have ended, if nothing announces it and a request may wait for that (s).
ROOM_POLL_S = 0.05


class Host:
    """The loop's side of one server."""

    accepts_per_turn: int | None = 1  # so that service_actions and a shutdown come between two, as in socketserver
    acceptor: type[HostedAcceptor] = HostedAcceptor

    def __init__(
        self, loop: Any, server: Any, choice: Choice, limits: Limits, name: str, owned: bool, path: Any = None
    ) -> None:
        self.loop, self.server, self.limits, self.name, self.owned = loop, server, limits, name, owned
        self.way, self.framing, self.way_is_assumed = choice
        self.watches_children = hasattr(os, "pidfd_open")
        self.row: Any = None
        self._socket: Any = None
        self._timeout_s: float | None = None
        self._service: Any = None
        self._path = path
        self._closing = self._listens = self._shakes_hands = False
        self.server_closed = False
        self._watched: set[int] = set()  # process ids with a pidfd in the table
        self._requests: dict[int, DetachedRow] = {}  # by the identity of the request
        self._children: dict[int, DetachedRow] = {}  # by process id
        self.processor: Any = processor_of(server, self.way, self)
        self.processor._host = self

    # -- the listening socket ---------------------------------------------------------------------------------------

    def open(self, poll_interval_s: float) -> None:
        """Put the socket into the table."""
        let_nobody_wait(self.server)
        self._socket = getattr(self.server, "socket", self.server)
        self._listens = getattr(self._socket, "type", None) == socket.SOCK_STREAM
        if not self._listens:
            self.row = ServedRequests(self, self._socket)
        else:
            # A client that resets between select() and accept() would block a blocking listener; see `close`.
            self._timeout_s = self._socket.gettimeout()
            self._socket.setblocking(False)
            self._leave_handshake()
            limits = self.limits
            if self.accepts_per_turn is not None or has_own_get_request(self.server):
                limits = limits.replace(accepts_per_turn=self.accepts_per_turn or 1)
            try:
                self.row = self.acceptor(self, self._socket, limits)
            except BaseException:  # the selector refuses the descriptor; the program may go on with its socket
                self._give_back()
                raise
        overridden = overrides_service_actions(self.server)
        if overridden or isinstance(self.processor, ForkingMixIn):
            self._service = self.processor.service_actions
            self.loop.hooks.append((self._service, lambda: self._service_every(poll_interval_s, overridden)))
            if isinstance(self.processor, ForkingMixIn):
                self.processor.collect_children()  # there may be some of an earlier handle_request, and they count
        if self.owned:
            self.loop.farewells.append(self.farewell)

    def _leave_handshake(self) -> None:
        """accept() of a TLS socket shakes hands, and a silent client would hold the loop: the thread or child does it."""
        if self.way in ("thread", "fork") and getattr(self._socket, "do_handshake_on_connect", False):
            self._socket.do_handshake_on_connect = False
            self._shakes_hands = True

    def shake_hands(self, request: Any) -> bool:
        """Do it, where the request is worked on; False: there is nobody to talk to (socketserver drops these, too)."""
        try:
            shake_hands(request)
        except OSError:
            return False
        return True

    def _service_every(self, poll_interval_s: float, overridden: bool) -> float | None:
        """Return how often service_actions is called at least; None: with each turn that there is, and that is enough."""
        if not set(getattr(self.processor, "active_children", None) or ()) - self._watched:  # a pidfd announces the end
            return poll_interval_s if overridden else None
        return min(poll_interval_s, ROOM_POLL_S) if self.row.pause_reasons else poll_interval_s

    def close(self) -> None:
        """The listener has left the table."""
        if self.owned:
            unlink_if_ours(self._path)
        if self.owned and self._listens:
            self._socket.close()  # give the port back now; server_close may have to wait for threads
        elif self._listens and self._socket.fileno() >= 0:
            self._give_back()
        self._closing = True
        self._forget()

    def _give_back(self) -> None:
        """Leave a listening socket as it was found."""
        self._socket.settimeout(self._timeout_s)
        if self._shakes_hands:
            self._socket.do_handshake_on_connect = True

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
        if request.gettimeout() is None:
            request.setblocking(True)  # BSD and macOS: accepted sockets inherit O_NONBLOCK from the listener
        row = DetachedRow(self.loop, request, self.row, self.name, self.limits, client_address, self.way)
        self._requests[id(request)] = row
        if self._shakes_hands:
            postpone(request, self.limits.handshake_s, row.hang_up)
        outlives = False
        try:
            outlives = self._process(request, client_address) and self._outlives(request)
        except BaseException:  # of a hook; neither the row nor the socket must stay behind
            request.close()
            raise
        finally:
            if not outlives:
                self._return(id(request), row)

    def _outlives(self, request: Any) -> bool:
        """Does somebody go on with the request who reports its end? (If not: it is done, or the handler kept it.)"""
        row = self._requests.get(id(request))
        if row is None or self.way == "inline":
            return False
        if row.taken or self.offloads or not isinstance(self.processor, (ThreadingMixIn, ForkingMixIn)):
            return row.taken
        return bool(request.fileno() >= 0)  # by a process_request of its own: refused, or in a pool, say

    def _process(self, request: Any, client_address: Any) -> bool:
        """verify, process; on an error or a refusal shut the request down, once. True: it is being processed."""
        try:
            if self.server.verify_request(request, client_address):
                self._call_process_request(request, client_address)
                return True
        except Exception as error:
            row = self._requests.get(id(request))
            try:
                if row is None or not row.hung_up:  # there was nobody to talk to: as if accept() had said so
                    self._failed(request, error)
                    self.server.handle_error(request, client_address)
            finally:
                self._shut(request)
            return False
        except BaseException:  # SystemExit, KeyboardInterrupt: the request ends, and then the loop is left
            self._shut(request)
            raise
        self._shut(request)
        return False

    def _failed(self, request: Any, error: Exception) -> None:
        """A hook or a handler raised."""
        if self.loop.observer is not None:
            self.loop.observer.on_error(self.row, error)

    def _call_process_request(self, request: Any, client_address: Any) -> None:
        """A server of another make cannot ask its host who processes; then the host goes past its process_request."""
        if self.way == "inline" and has_mixin(self.server):  # who says inline wants neither a thread nor a child
            self.server.finish_request(request, client_address)
            self.server.shutdown_request(request)
        elif getattr(self.server, "_asks_host", False) and not (self.offloads and has_mixin(self.server)):
            self.server.process_request(request, client_address)
        else:  # or its mixin is the other one: a thread where a child was asked for
            self.offload(request, client_address)

    def _shut(self, request: Any) -> None:
        self.server.shutdown_request(request)

    @property
    def offloads(self) -> bool:
        """Was a thread or child asked for, for a server that has no mixin?"""
        return self.processor is not self.server

    def offload(self, request: Any, client_address: Any) -> None:
        """Have a request processed as if the server had the mixin."""
        self.processor.process_request(request, client_address)

    # -- what threads and children report ---------------------------------------------------------------------------

    def taken(self, request: Any) -> None:
        """A mixin is about to start a thread or child for a request."""
        row = self._requests.get(id(request))
        if row is not None:
            row.taken = True

    def let_go(self, request: Any) -> None:
        """A request was closed, in any thread; that of a thread or child ends with it and not before."""
        row = self._requests.get(id(request))
        if row is not None and not row.taken and self.way != "inline":  # welcome() sees to those
            self.returned(request)

    def returned(self, request: Any) -> None:
        """A thread is done with a request; legal in any thread, and twice."""
        row = self._requests.get(id(request))
        if row is not None:  # the row and not only its key: by then the identity may be that of another request
            self.loop.call_soon(self._return, id(request), row)

    def _return(self, key: int, row: DetachedRow) -> None:
        if self._requests.get(key) is row:
            del self._requests[key]
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

    def may_fork(self, there_is_room: bool) -> None:
        """At max_children nobody is accepted; who connects waits in the backlog."""
        if there_is_room:
            self.row.resume("children")
        elif self.row.end is None and "children" not in self.row.paused:  # a row that is marked lets no loop wait
            self.row.pause("children")

    def child_ended(self, pid: int) -> None:
        """A child was reaped."""
        row = self._children.pop(pid, None)
        self._watched.discard(pid)
        if row is not None:
            row.finish(End.FINISHED)
            self._forget()
