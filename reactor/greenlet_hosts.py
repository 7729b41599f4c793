"""The host of blocking handlers in greenlets: one greenlet accepts a connection, takes it through the hooks, handles it.

What it is: an acceptor that starts a greenlet for each connection, and the hooks of the server inside of it, so that
get_request, verify_request and finish_request may wait as well: a TLS handshake in any of them holds nobody up. What it
is not: how greenlets wait; see `green_rows`. Rule: this file and the `green_*` ones are imported only when a server asks
for way="greenlet".
"""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

from .accepted import no_delay
from .errors import Cancelled, describe
from .green_handlers import Handler, current, orphaned
from .green_sockets import DONTWAIT
from .greening import adopt, greened_contexts, release, ungreened_contexts
from .guests import HostedAcceptor, has_mixin
from .hooks import hooks_as_they_are
from .hosting import Host
from .http_handlers import maker_for
from .phases import End

log = logging.getLogger("reactor")


class GreenAcceptor(HostedAcceptor):
    """A listening socket whose connections are accepted in greenlets."""

    __slots__ = ()

    def _accept_one(self) -> bool:
        """Accept in a new greenlet; one that waits (for a TLS handshake, for the request) is no reason to stop."""
        green = Handler(self.loop, self, self._run)
        go_on = green.resume()
        return bool(go_on) if green.dead else True

    def _run(self, error: BaseException | None) -> bool:
        """Accept a connection and handle it: the life of a greenlet."""
        try:
            return super()._accept_one()
        except Cancelled:
            return True
        finally:
            if orphaned():  # a child that the handler has forked: it must never run on into its parent's loop
                os._exit(0 if sys.exc_info()[0] is None else 1)
            green = current()
            if green is not None:
                release(green)


class GreenletHost(Host):
    """The handler blocks its greenlet."""

    accepts_per_turn = None  # as Limits say
    acceptor = GreenAcceptor

    def open(self, poll_interval_s: float) -> None:
        """Put the socket into the table, and have the server's TLS contexts make green sockets."""
        if not DONTWAIT:
            raise ValueError(f'{self.name}: way="greenlet" needs MSG_DONTWAIT, which {sys.platform} does not have')
        super().open(poll_interval_s)
        self._make = maker_for(self.server)
        self._makers = hooks_as_they_are(self.server, "finish_request", "process_request")
        self._contexts = greened_contexts(self.server)

    def close(self) -> None:
        """The listener has left the table."""
        ungreened_contexts(self._contexts)
        super().close()

    def welcome(self, request: Any, client_address: Any) -> None:
        """Take a connection through the hooks of the server, in its greenlet."""
        green = current()
        assert green is not None  # GreenAcceptor has seen to it
        no_delay(request)
        adopt(request, green, self.name, self.limits, client_address)
        self._process(request, client_address)

    def _call_process_request(self, request: Any, client_address: Any) -> None:
        """The mixins' would start a thread or a child; who asks for greenlets on such a server wants neither."""
        if self._make is not None and self._makers.are_stock():
            self._make(request, client_address)
            self.server.shutdown_request(request)
        elif has_mixin(self.server):
            self.server.finish_request(request, client_address)
            self.server.shutdown_request(request)
        else:
            self.server.process_request(request, client_address)

    def _failed(self, request: Any, error: Exception) -> None:
        green = current()
        row = None if green is None else green.row
        if row is not None:
            row.finish(End.PEER_RESET if isinstance(error, ConnectionError) else End.HANDLER_FAILED, describe(error))
        if self.loop.observer is not None:
            self.loop.observer.on_error(row or self.row, error)
