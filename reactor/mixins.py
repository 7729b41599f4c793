"""A thread or a process per request: socketserver's mixins, with the same attributes and hooks.

What it is: `process_request` in two variants, to be mixed into any server. What it is not: a change of the loop; it
accepts as ever, and the request's row is DETACHED until the thread or child is done. A server that is hosted by a loop
has a `_host`, which is told who took which request; without one (`handle_request`) the mixins work alone.

Rule: who is hosted waits for no child: a wait would hold every other row of the loop, and the signals that are to end it.
At `max_children` the host takes no request instead, until one has ended.
"""

from __future__ import annotations

import os
from typing import Any

from .offload import Thread, in_child, start_thread

# As in socketserver: a child that hangs is not waited for by handle_request() longer than this.
CHILD_TIMEOUT_S = 300


class ThreadingMixIn:
    """Each request in a new thread.

    Attributes:
        daemon_threads: the interpreter does not wait for them at exit.
        block_on_close: `server_close` joins those that are not daemons.
    """

    daemon_threads = False
    block_on_close = True
    _threads: list[Thread] | None = None
    _host: Any = None

    def process_request_thread(self: Any, request: Any, client_address: Any) -> None:
        """Handle one request in the calling thread and shut it down; errors go to `handle_error`."""
        try:
            if self._host is None or self._host.shake_hands(request):  # here too: a pool calls this in threads of its own
                self.finish_request(request, client_address)
        except Exception:
            self.handle_error(request, client_address)
        finally:
            try:
                self.shutdown_request(request)
            finally:
                if self._host is not None:  # here too: a pool calls this in threads of its own
                    self._host.returned(request)

    def _process_and_return(self: Any, request: Any, client_address: Any) -> None:
        """Subclasses replace process_request_thread; the host must hear of the end all the same."""
        try:
            if self._host is None or self._host.shake_hands(request):
                self.process_request_thread(request, client_address)
            else:
                self.shutdown_request(request)
        finally:
            if self._host is not None:
                self._host.returned(request)

    _process_and_return.__name__ = "process_request_thread"  # threads are named after it, as in socketserver

    def process_request(self: Any, request: Any, client_address: Any) -> None:
        """Start a thread for the request."""
        if self._host is not None:
            self._host.taken(request)
        thread = start_thread(self._process_and_return, (request, client_address), daemon=self.daemon_threads)
        if self.block_on_close and not self.daemon_threads:
            # The finished ones are let go with each new one: a server that runs for ever must not collect them.
            self._threads = [*(old for old in self._threads or () if old.is_alive()), thread]

    def server_close(self: Any) -> None:
        """Close the server, then wait for its threads."""
        super().server_close()  # type: ignore[misc]
        threads, self._threads = self._threads or [], []
        for thread in threads:
            thread.join()


class ForkingMixIn:
    """Each request in a new process.

    Attributes:
        timeout: for `handle_request`, in seconds.
        active_children: the process ids of those that run; None before the first.
        max_children: with so many, a new request waits until one has ended; on a loop its listener is PAUSED meanwhile.
        block_on_close: `server_close` waits for all.
    """

    timeout: float | None = CHILD_TIMEOUT_S
    active_children: set[int] | None = None
    max_children = 40
    block_on_close = True
    _host: Any = None

    def collect_children(self: Any, *, blocking: bool = False) -> None:
        """Reap the children that have ended; children that this server did not start are left alone."""
        if self._host is None:
            self._wait_for_room()
        for pid in tuple(self.active_children or ()):
            self._reap(pid, 0 if blocking else os.WNOHANG)
        self._tell_of_room()

    def _wait_for_room(self: Any) -> None:
        """Any of ours will do, so ask each in turn, and wait for one only if all still run."""
        while self.active_children and len(self.active_children) >= self.max_children:
            reaped = [self._reap(pid, os.WNOHANG) for pid in tuple(self.active_children)]
            if not any(reaped):
                self._reap(_next_to_end(self.active_children), 0)

    def _tell_of_room(self: Any) -> None:
        """With max_children = 0 there is one at a time, as in socketserver, which waits only for children that there are."""
        if self._host is not None:
            self._host.may_fork(len(self.active_children or ()) < max(self.max_children, 1))

    def _reap(self: Any, pid: int, flags: int) -> bool:
        try:
            reaped = os.waitpid(pid, flags)[0] == pid
        except ChildProcessError:
            reaped = True  # somebody else has waited for it
        if reaped:
            self.active_children.discard(pid)
            if self._host is not None:
                self._host.child_ended(pid)
        return reaped

    def handle_timeout(self: Any) -> None:
        """Reap while nothing else happens."""
        self.collect_children()

    def service_actions(self: Any) -> None:
        """Reap in every turn of the loop."""
        self.collect_children()

    def process_request(self: Any, request: Any, client_address: Any) -> None:
        """Fork a child for the request; the parent closes its copy of the connection."""
        self.collect_children()  # here too, so that max_children holds however the server is driven
        if self._host is not None:
            self._host.taken(request)
        pid = os.fork()
        if not pid:
            self._in_child(request, client_address)  # never returns
        if self.active_children is None:
            self.active_children = set()
        self.active_children.add(pid)
        if self._host is not None:
            self._host.forked(request, pid)
            self._tell_of_room()
        self.close_request(request)

    def _in_child(self: Any, request: Any, client_address: Any) -> None:
        status = 1
        try:
            if self._host is not None:
                # A packet's request is (data, socket). A listening socket is not kept: the port would stay open.
                in_child(self._host.loop, request if isinstance(request, tuple) else (request,))
            if self._host is None or self._host.shake_hands(request):
                self.finish_request(request, client_address)
            status = 0
        except Exception:
            self.handle_error(request, client_address)
        finally:
            # Whatever happened, SystemExit included: a child must never run on into its parent's loop.
            try:
                self.shutdown_request(request)
            finally:
                os._exit(status)

    def server_close(self: Any) -> None:
        """Close the server, then wait for its children."""
        super().server_close()  # type: ignore[misc]
        self.collect_children(blocking=self.block_on_close)


def _next_to_end(pids: set[int]) -> int:
    """Wait until a child has ended, without reaping it, and return one of `pids` to wait for."""
    if hasattr(os, "waitid"):
        ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOWAIT)
        if ended is not None and ended.si_pid in pids:
            return ended.si_pid
    return next(iter(pids))  # it was somebody else's child, which would be reported for ever
