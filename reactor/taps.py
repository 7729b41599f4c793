"""Taps: sockets of rows that also tell somebody which bytes went through them.

What it is: `RowRecorder`, an observer that puts a tap between a row and its socket when the row is opened, and turns what it
hears into happenings. What it is not: a store; `keep` is for `recorder` and the replay to define.

The tap is at the system call, below every transport: what is noted is what the kernel gave and took, in its pieces, and
neither a spool on disk nor a connection that is shut or gone needs a case of its own. With no recorder there is no tap,
and nothing that would ask for one.

Rules: a tap changes nothing: it hands on every result and raises every error · what goes wrong with the noting is the
recorder's trouble, never the row's · rows whose handler has the real socket (greenlet, thread, fork, inline, hosted
packets) have no tap: their opening, phases and end are noted, but no bytes.
"""

from __future__ import annotations

import errno
import logging
import socket
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from .connections import ConnectionRow
from .datagrams import DatagramRow
from .errors import describe
from .limits import Limits
from .observers import Observer
from .phases import End, Phase
from .recording import Happening, Origin, RecordedRow, changed, framing_text
from .table import Row
from .transports import NOT_NOW

log = logging.getLogger("reactor")

# Peers of a packet socket that are told apart; anybody can make up more, so then the numbers begin to be given anew.
MOST_SENDERS = 1024


@lru_cache(maxsize=128)
def _origin(limits: Limits, listener: str, kind: str, scheme: str, way: str, framing: str) -> Origin:
    """Return one origin for all rows of a listener."""
    return Origin(listener, kind, scheme, way, framing, changed(limits))


class StreamTap:
    """The socket of a connection, with somebody who listens.

    Args:
        sock: it.
        note: is told what happened, and the bytes of it.
    """

    __slots__ = ("_note", "_sock")

    def __init__(self, sock: Any, note: Callable[..., None]) -> None:
        self._sock, self._note = sock, note

    def __getattr__(self, name: str) -> Any:
        """All else is the socket's."""
        return getattr(self._sock, name)

    def recv(self, bufsize: int, flags: int = 0) -> bytes:
        """As `socket.recv`."""
        try:
            data: bytes = self._sock.recv(bufsize, flags)
        except OSError as error:
            self._failed(error)
            raise
        self._note("in" if data else "eof", data)
        return data

    def send(self, data: Any, flags: int = 0) -> int:
        """As `socket.send`."""
        try:
            sent: int = self._sock.send(data, flags)
        except OSError as error:
            self._failed(error)
            raise
        if sent:
            whole = type(data) is bytes and sent == len(data)
            self._note("out", data if whole else bytes(memoryview(data)[:sent]))
        return sent

    def shutdown(self, how: int) -> None:
        """As `socket.shutdown`."""
        self._sock.shutdown(how)
        self._note("shut")

    def _failed(self, error: OSError) -> None:
        if error.errno not in NOT_NOW:
            self._note("lost", text=errno.errorcode.get(error.errno or 0, str(error.errno)))


class PacketTap:
    """A packet socket, with somebody who listens. See `StreamTap`."""

    __slots__ = ("_note", "_numbers", "_sock", "_told")

    def __init__(self, sock: Any, note: Callable[..., None]) -> None:
        self._sock, self._note = sock, note
        self._numbers: dict[Any, int] = {}
        self._told = 0

    def __getattr__(self, name: str) -> Any:
        """All else is the socket's."""
        return getattr(self._sock, name)

    def recvmsg(self, bufsize: int, ancbufsize: int = 0, flags: int = 0) -> Any:
        """As `socket.recvmsg`."""
        received = self._sock.recvmsg(bufsize, ancbufsize, flags)
        self._note("in", received[0], sender=self._number(received[3]))
        return received

    def recvfrom(self, bufsize: int, flags: int = 0) -> Any:
        """As `socket.recvfrom`."""
        received = self._sock.recvfrom(bufsize, flags)
        self._note("in", received[0], sender=self._number(received[1]))
        return received

    def sendto(self, data: Any, address: Any) -> int:
        """As `socket.sendto`."""
        sent: int = self._sock.sendto(data, address)
        self._note("out", bytes(data), sender=self._number(address))
        return sent

    def _number(self, address: Any) -> int:
        """Return the number of a peer: its address would be one more thing to hide."""
        number = self._numbers.get(address)
        if number is None:
            if len(self._numbers) >= MOST_SENDERS:
                self._numbers.clear()
            self._told += 1
            number = self._numbers[address] = self._told
        return number


class RowRecorder(Observer):
    """Hears what happens to rows; derive from it and define `keep`. One recorder is for one reactor.

    Args:
        redact: is called with all content, before anything is kept; None: contents are kept as they are.

    Attributes:
        stopped: why nothing is recorded any more; "": it is.
    """

    def __init__(self, redact: Callable[[bytes], bytes] | None) -> None:
        self._redact = redact
        self._rows: dict[int, RecordedRow] = {}  # those that are open
        self._loop: Any = None
        self._began_at = 0.0
        self._complained = False
        self.stopped = ""

    def keep(self, row: RecordedRow, happening: Happening) -> None:
        """Keep a happening, for good or for a while."""
        raise NotImplementedError

    def left_open(self, row: RecordedRow) -> None:
        """The recording ends before the row does."""

    def stop(self, reason: str) -> None:
        """Record nothing more."""
        self.stopped = self.stopped or reason

    def on_open(self, row: Row) -> None:
        """Note a row, and put a tap on its socket, if the row is the one that reads and writes it.

        Raises:
            RuntimeError: the row is another reactor's.
        """
        if row.kind not in ("stream", "datagram") or self.stopped:
            return
        if self._loop is None:
            self._loop, self._began_at = row.loop, row.loop.now
        elif self._loop is not row.loop:
            raise RuntimeError(f"{self!r} records another reactor already: make a recorder for each")
        host = getattr(row, "host", None) or getattr(row, "_host", None)
        framing = framing_text(getattr(host, "framing", None))
        way = getattr(row, "way", "-")
        origin = _origin(row.limits, row.listener, row.kind, _scheme(row.sock), way, framing)
        recorded = self._rows[row.id] = RecordedRow(row.id, origin)
        self.note(recorded, "open")
        note = lambda what, data=b"", text="", sender=0: self.note(recorded, what, data, text, sender)  # noqa: E731
        if isinstance(row, ConnectionRow):
            row.sock = StreamTap(row.sock, note)
        elif isinstance(row, DatagramRow):
            row.sock = PacketTap(row.sock, note)

    def on_phase(self, row: Row, event: str, before: Phase, after: Phase) -> None:
        """Note it."""
        if (recorded := self._rows.get(row.id)) is not None:
            self.note(recorded, "phase", text=f"{event} {after}")

    def on_error(self, row: Row, error: BaseException) -> None:
        """Note its type; its text only if contents may be kept, for it may quote them."""
        if (recorded := self._rows.get(row.id)) is not None:
            self.note(recorded, "error", text=type(error).__name__ if self._redact is not None else describe(error))

    def on_end(self, row: Row, end: End) -> None:
        """Note it; the row is over. Who is cut off by the close of the reactor has not ended by itself: it was open."""
        recorded = self._rows.pop(row.id, None)
        if recorded is not None and end is End.ABORTED and self._loop.closed:
            self.left_open(recorded)
        elif recorded is not None:
            detail = f": {row.detail}" if row.detail and self._redact is None else ""
            self.note(recorded, "end", text=f"{end}{detail}")

    def note(self, row: RecordedRow, what: str, data: bytes = b"", text: str = "", sender: int = 0) -> None:
        """Redact and keep; called in the middle of system calls, so nothing may leave it."""
        if self.stopped:
            return
        try:
            at = max(self._loop.now - self._began_at, 0.0)
            self.keep(row, Happening(at, what, self._redacted(data), text, sender))
        except Exception as error:  # the disk is full, say
            log.warning("%r stops: %s", self, describe(error))
            self.stop(describe(error))

    def _redacted(self, data: bytes) -> bytes:
        """Return what may be kept: of what a failing hook has not seen to, the length only."""
        if self._redact is None or not data:
            return data
        try:
            return bytes(memoryview(self._redact(data)))
        except Exception as error:
            if not self._complained:
                self._complained = True
                log.warning("%r keeps no contents where redact=%r fails: %s", self, self._redact, describe(error))
            return b"?" * len(data)


def _scheme(sock: Any) -> str:
    stream = getattr(sock, "type", socket.SOCK_STREAM) == socket.SOCK_STREAM
    if getattr(sock, "family", None) == getattr(socket, "AF_UNIX", -1):
        return "unix" if stream else "unix+dgram"
    return "tcp" if stream else "udp"
