"""Hosts of handlers that have no socket of their own: coroutines, and blocking handlers that get whole frames.

What it is: the hooks of a server around a `Stream` or a `FramedRow`, which is the `request` that they are called with. What
it is not: the life of that row; the engine flushes it and closes it, and calls `shutdown_request` just before.
"""

from __future__ import annotations

import logging
from typing import Any

from .accepted import no_delay
from .coroutine_streams import Stream
from .errors import describe
from .frame_files import FrameFile, PlainHeadFile, frame_file, in_memory
from .framed import FramedRow
from .framings import RAW, Raw
from .hooks import StockHooks, hooks_as_they_are
from .hosting import Host
from .http_framing import HttpRequests
from .http_handlers import maker_for
from .mixins import ForkingMixIn, ThreadingMixIn
from .phases import End
from .stock_handlers import StockHandlers
from .streams import StreamRow

log = logging.getLogger("reactor")


class StreamHost(Host):
    """What the two have in common."""

    accepts_per_turn = None  # as Limits say

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        # Only our process_request knows that its request goes on; another one would shut down what has only begun.
        asks = getattr(self.server, "_asks_host", False)
        self._processes = asks and not isinstance(self.server, (ThreadingMixIn, ForkingMixIn))

    def open(self, poll_interval_s: float) -> None:
        """Put the socket into the table; not one whose accept() shakes hands, for a silent client would hold the loop."""
        if hasattr(getattr(self.server, "socket", None), "do_handshake"):
            raise ValueError(
                f"{self.name}: its socket speaks TLS, and a handler of the way {self.way!r} needs a plain one; use "
                'an ordinary handler with way="greenlet" or "thread"'
            )
        super().open(poll_interval_s)

    def _row(self, sock: Any, client_address: Any) -> Any:
        """Put a connection into the table."""
        raise NotImplementedError

    def welcome(self, request: Any, client_address: Any) -> Any:
        """Take a connection through the hooks of the server; return its row."""
        if hasattr(request, "do_handshake"):
            raise TypeError(
                f"{self.name}: get_request returned a TLS socket, and a handler of the way {self.way!r} needs a plain one; "
                'use way="greenlet" or way="thread"'
            )
        request.setblocking(False)
        no_delay(request)
        row = self._row(request, client_address)
        row.host = self
        try:
            self._process(row, client_address)
        except BaseException:  # of a hook; the row must not stay behind
            row.abort("a hook of the server failed")
            raise
        return row

    def _call_process_request(self, request: Any, client_address: Any) -> None:
        if self._processes:
            self.server.process_request(request, client_address)
        else:
            self.server.finish_request(request, client_address)

    def closing(self, row: Any) -> None:
        """A row is about to close its socket: the hooks of the server come first."""
        try:
            self.server.shutdown_request(row)
        except Exception as error:
            self.loop.contain(row, error)

    def contain(self, row: StreamRow, error: BaseException) -> None:
        """A handler has failed: called where the exception is caught, as `handle_error` expects."""
        if self.loop.observer is not None:
            self.loop.observer.on_error(row, error)
        try:
            self.server.handle_error(row, row.sockaddr)
        except Exception as another:
            self.loop.contain(row, another)


class CoroutineHost(StreamHost):
    """The handler is made once a connection, and starts its coroutine."""

    def _row(self, sock: Any, client_address: Any) -> Stream:
        return Stream(self.loop, sock, self.row, self.name, self.limits, client_address)

    def _shut(self, request: Any) -> None:
        request.host = None  # so that its end does not call the hook a second time
        super()._shut(request)


class FramedHost(StreamHost):
    """The handler is made once a frame."""

    _warned = False

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        checks_heads = isinstance(self.framing, HttpRequests)
        self._kind = PlainHeadFile if checks_heads else FrameFile
        self._make = maker_for(self.server, once=checks_heads)
        self._makers = hooks_as_they_are(self.server, "finish_request", "process_request")
        if type(self.framing) is Raw and self.framing.max_bytes == RAW.max_bytes:
            self.framing = RAW  # for which rows have a short way
        self._closers = StockHooks(
            self.server, shutdown_request="TCPServer.shutdown_request", close_request="TCPServer.close_request"
        )
        self.stock = StockHandlers(self.server, self.framing, self._processes, ever=self._make is None)
        self.spare: list[tuple[Any, Any]] = []  # framings and inboxes of rows that are idle now

    def _row(self, sock: Any, client_address: Any) -> FramedRow:
        assert self.framing is not None  # `choose` has seen to it
        return FramedRow(self.loop, sock, self.row, self, self.limits, client_address, self.framing)

    def _call_process_request(self, request: Any, client_address: Any) -> None:
        """Not yet: there is no frame."""

    def _shut(self, request: Any) -> None:
        """verify_request refused the connection, or failed: the engine closes it, and calls the hook then."""
        request.reader = None
        request.finish(End.FINISHED, "refused by verify_request")

    def closing(self, row: Any) -> None:
        """See `StreamHost`; hooks that would only shut and close what the engine is closing are not missed."""
        if row.end is None or not self._closers.are_stock():
            super().closing(row)

    def serve(self, row: FramedRow, frame: Any) -> None:
        """Have a frame handled; an error ends the connection, once what was written is sent."""
        try:
            framing = row.framing
            row.file = in_memory(frame) if framing.frames_are_wire else frame_file(framing, frame, self._kind)
            if self._make is not None and self._makers.are_stock():
                self._make(row, row.sockaddr)
            elif self._processes:
                self.server.process_request(row, row.sockaddr)
            else:
                self.server.finish_request(row, row.sockaddr)
        except Exception as error:
            self.failed(row, error)

    def failed(self, row: FramedRow, error: BaseException) -> None:
        """A handler has failed, which ends the connection, once what was written is sent; or it leaves the loop."""
        if isinstance(error, Exception):
            row.finish(End.HANDLER_FAILED, describe(error))
            self.contain(row, error)
        else:  # SystemExit, KeyboardInterrupt
            row.finish(End.ABORTED, describe(error))
            raise error

    def warn_of_hunger(self, row: FramedRow) -> None:
        """Say once that this handler seems to need more than a frame."""
        if not self._warned:
            self._warned = True
            log.warning(
                "%s: the handler read past its frame and had written nothing; if it needs several frames for an answer, "
                'keep what it knows in request.session, choose another framing than %r, or way="greenlet"',
                str(row),
                self.framing,
            )
