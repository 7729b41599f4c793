"""Request handlers: the object that serves one request.

What this is: the three classes of the standard `socketserver` that users derive from. A handler is made once
per request; making it *is* serving the request: the constructor runs `setup`, `handle` and `finish`, and when
it returns the request is done. `StreamRequestHandler` puts two file objects over a connection,
`DatagramRequestHandler` puts two over a packet and its reply.

What this is not: it knows nothing of the reactor, of rows or of who called it. The request it is given may be
a real socket (inline, in a thread, in a child) or something that merely behaves like one (a frame, a test's
stand-in), so it only ever calls `makefile`, `sendall`, `settimeout`, `setsockopt` and `fileno` on it.

Its rules:
  - `finish` runs whenever `setup` has returned, also when `handle` raises; it does not run when `setup` raises.
  - The handler closes the files it made. It never closes the request: the server does (`shutdown_request`).
  - `wfile` is unbuffered unless `wbufsize` says otherwise: what was written has been handed to the kernel, so
    a handler may write and then wait for an answer without `flush()`.
  - A handler here is synchronous. `async def handle` would return a coroutine that nobody runs, and the client
    would get an empty reply and no error; so that is a `TypeError` that names the class to use.
"""

import io
import socket
from collections.abc import Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["BaseRequestHandler", "DatagramRequestHandler", "StreamRequestHandler"]


class BaseRequestHandler:
    """One request, served by being constructed; derive from it and override `handle`.

    Attributes:
        request: what `get_request` of the server returned: a connected socket, or `(packet, socket)` for datagrams.
        client_address: where the request came from, in the form `get_request` gave it.
        server: the server that received it.
    """

    request: Any
    client_address: Any
    server: Any

    def __init__(self, request: Any, client_address: Any, server: Any) -> None:
        """Serve the request: set up, handle, finish.

        Args:
            request: the connection, or `(packet, socket)`; stays the server's to close.
            client_address: the peer's address.
            server: the server, for handlers that need what it knows.

        Raises:
            TypeError: `handle` is a coroutine function.
            BaseException: whatever the three hooks raise.
        """
        self.request = request
        self.client_address = client_address
        self.server = server
        self.setup()
        try:
            # The annotation promises None; only a handler that breaks the promise is looked at any further.
            outcome: object = self.handle()  # type: ignore[func-returns-value]
            if outcome is not None:
                self._refuse_coroutine(outcome)
        finally:
            self.finish()

    def setup(self) -> None:
        """Prepare for `handle`; does nothing here. If it raises, neither `handle` nor `finish` runs."""

    def handle(self) -> None:
        """Serve the request; does nothing here."""

    def finish(self) -> None:
        """Clean up after `handle`, however it ended; does nothing here."""

    def _refuse_coroutine(self, outcome: object) -> None:
        """Refuse a coroutine that `handle` has returned, instead of dropping it unrun.

        Raises:
            TypeError: it is one.
        """
        if isinstance(outcome, Coroutine):
            outcome.close()  # or Python warns, later and elsewhere, that it was never awaited
            raise TypeError(
                f"{type(self).__qualname__}.handle is a coroutine function, but {type(self).__name__} is a "
                "synchronous request handler: derive from AsyncStreamRequestHandler, or write 'def handle'"
            )


class StreamRequestHandler(BaseRequestHandler):
    """A connection seen as two files: `rfile` to read the request from, `wfile` to write the reply to.

    Attributes:
        rbufsize: buffer of `rfile` in bytes; -1 is the default size; 0 reads no byte more than was asked for, so
            that whoever gets the socket next finds the rest still in it.
        wbufsize: buffer of `wfile` in bytes; 0 sends at every write; otherwise `finish` flushes (-1: default size).
        timeout: seconds that one read or write may wait, applied to the connection; None leaves it as it is.
        disable_nagle_algorithm: send small segments at once; of use with a buffered `wfile`.
        connection: the request, under the name that stream handlers use.
    """

    rbufsize: int = -1
    wbufsize: int = 0
    timeout: float | None = None
    disable_nagle_algorithm: bool = False

    connection: Any
    rfile: io.BufferedIOBase
    wfile: io.BufferedIOBase

    def setup(self) -> None:
        """Apply the options to the connection and open its two files; `finish` closes them.

        Raises:
            OSError: the connection does not take an option (TCP_NODELAY on a Unix socket, for one).
        """
        connection = self.connection = self.request
        if self.timeout is not None:
            connection.settimeout(self.timeout)
        if self.disable_nagle_algorithm:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self.rfile = connection.makefile("rb", self.rbufsize)
        if self.wbufsize == 0:
            self.wfile = _writer(connection)
        else:
            self.wfile = connection.makefile("wb", self.wbufsize)

    def finish(self) -> None:
        """Flush what `handle` left in `wfile` and close both files; the connection stays open.

        A peer that has gone by now is a normal end, so an OSError of this last flush is dropped with its bytes.
        """
        wfile = self.wfile
        if type(wfile) is _SocketWriter:  # it holds nothing back, and a framed handler comes here once a line
            wfile.closed = True
            self.rfile.close()
            return
        try:
            if not wfile.closed:
                wfile.flush()
        except OSError:
            # The buffer still holds what could not be sent, and close() would try, and wait, once more and
            # raise (the standard library's does). With the raw file closed there is nothing left to try.
            raw = getattr(wfile, "raw", None)
            if raw is not None:
                raw.close()
        finally:
            # Both must go, whatever happened above: an open file keeps the descriptor of a closed socket
            # alive (socket._io_refs), and the peer would wait for an end that never comes.
            with suppress(OSError):
                wfile.close()
            self.rfile.close()


class DatagramRequestHandler(BaseRequestHandler):
    """A packet seen as two files: `rfile` holds its bytes, `wfile` gathers the reply, sent as one packet.

    Attributes:
        packet: the bytes received.
        socket: the server's own socket, which is not closed here.
    """

    packet: bytes
    socket: Any
    rfile: io.BytesIO
    wfile: io.BytesIO

    def setup(self) -> None:
        """Take the request apart and put the files over it."""
        self.packet, self.socket = self.request
        self.rfile = io.BytesIO(self.packet)
        self.wfile = io.BytesIO()

    def finish(self) -> None:
        """Send the reply, also an empty one: an empty datagram is an answer, and clients wait for it.

        Raises:
            OSError: the packet could not be sent (too large, or the peer's path is gone).
            TypeError: there is no address to send to (a Unix client that did not bind its socket).
        """
        self.socket.sendto(self.wfile.getvalue(), self.client_address)


class _SocketWriter(io.BufferedIOBase):
    """An unbuffered, write-only file over a socket; closing it leaves the socket open.

    A raw file (`makefile("wb", 0)`) would not do: its `write` may take only a part of the bytes, and hardly any
    handler looks at the count. So this is a BufferedIOBase, whose contract is to take everything.

    A framed handler makes one for each line, so it costs no more than it must: no `__init__`, which the interpreter calls
    in a roundabout way (see `_writer`), and no dict, which an IOBase would make to note its own end.
    """

    __slots__ = ("_sock", "closed")

    _sock: Any
    closed: bool

    def close(self) -> None:
        """Take note of it; nothing is held back that would have to be sent."""
        self.closed = True

    def flush(self) -> None:
        """Nothing is held back; a file that was closed says so, as any other."""
        if self.closed:
            raise ValueError("I/O operation on closed file.")

    def writable(self) -> bool:
        """Say that this file can be written to."""
        return True

    def write(self, data: "Buffer", /) -> int:
        """Send all of the data before returning.

        Args:
            data: any contiguous bytes-like object.

        Returns:
            Its length in bytes, which for an array or a memoryview is not its `len()`.

        Raises:
            OSError: the peer is gone, or the connection's timeout has passed.
        """
        self._sock.sendall(data)
        if type(data) is bytes:
            return len(data)
        with memoryview(data) as view:
            return view.nbytes

    def fileno(self) -> int:
        """Return the socket's descriptor."""
        return cast(int, self._sock.fileno())


def _writer(sock: Any) -> _SocketWriter:
    """Return a writer over a socket, which stays the caller's to close."""
    writer = _SocketWriter()
    writer._sock, writer.closed = sock, False
    return writer
