"""`HttpRequests`: one whole HTTP/1.x request is one frame, so that an unmodified `http.server` handler can be run on it.

What it is: the framing that finds where a request ends, by Content-Length or by chunks, and hands over its wire bytes (a
chunked body stays chunked, trailers included). What it is not: an HTTP server. It refuses what would let two readers see
different requests in the same bytes (`http_heads` has the rules), and leaves to `http.server` what that answers by
itself: methods, paths, odd request lines and versions.

Rules:

1. The limits hold before the bytes arrive: `head_bytes` for a head that has no end yet, `body_bytes` at the header.
2. Never consume without producing, with three exceptions. Empty lines before a request belong to nobody (RFC 9112, 2.2)
   and are dropped, so that a row is idle after them. A request of more than `memory_bytes`, and the checked part of a
   long chunked one, move out of the inbox as they arrive, for the inbox is memory; the framing holds them, and
   `abandon()` closes the file. One byte of an unfinished request always stays in the inbox, so that its row is never
   taken for idle.
3. `Expect: 100-continue` is answered here, once, and is in no frame: whether 100 is due depends on how much of the body
   has arrived, a frame must not, and a handler that saw it would answer a second time. Hence `handle_expect_100` of a
   handler is never called.
4. The kind of a frame (bytes or a file) depends on its length alone.
"""

from __future__ import annotations

import contextlib
import tempfile
from typing import IO, Self, TypeAlias

from .buffers import Inbox
from .errors import FramingError, LimitError, describe
from .framing import Framing
from .http_heads import (
    EARLY_BYTES,
    Announced,
    BadRequest,
    Chunks,
    announced,
    head_fault,
    is_head,
    is_hopeless,
    names_framing,
    response,
)
from .needs import Need

Request: TypeAlias = bytes | IO[bytes]

_END = b"\r\n\r\n"
_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_EMPTY_LINES = 4  # old clients sent one behind a body; more is no accident
# The checked part of a chunked request leaves the inbox beyond this: each look at the rest copies it.
_CHECKED_BYTES = 65536
_BODY_MOVED = "this request was given up half read: what follows is not the start of another"


class HttpRequests(Framing[Request]):
    """HTTP/1.x requests, head and body.

    A frame is the bytes of exactly one request, or, for one longer than `memory_bytes`, a temporary file of them, open
    at position 0, which the receiver closes.

    Args:
        head_bytes: the longest head, without the empty line that ends it; also the most that a chunked body may have
            of extensions and trailers together.
        body_bytes: the longest body; of a chunked one, its chunk lines included.
        memory_bytes: the longest request that is held in memory.
    """

    def __init__(self, *, head_bytes: int = 65536, body_bytes: int = 1 << 30, memory_bytes: int = 1 << 20) -> None:
        for name, value in (("head_bytes", head_bytes), ("body_bytes", body_bytes), ("memory_bytes", memory_bytes)):
            if value <= 0:
                raise ValueError(f"HttpRequests({name}={value}): must be positive")
        self.head_bytes, self.body_bytes, self.memory_bytes = head_bytes, body_bytes, memory_bytes
        self._need = Need.until(_END, head_bytes)
        self._begin()

    def _begin(self) -> None:
        self._request: _Unfinished | None = None
        self._empty_lines = 0

    def fresh(self) -> Self:
        """Return a framing for one row."""
        new = object.__new__(type(self))
        new.__dict__.update(self.__dict__)
        new._begin()
        return new

    @property
    def is_blank(self) -> bool:
        """See `Framing.is_blank`; what derives from it may know more of its row."""
        return self._request is None and not self._empty_lines and type(self) is HttpRequests

    @property
    def held_bytes(self) -> int:
        """See `Framing.held_bytes`."""
        return 0 if self._request is None else self._request.taken

    @property
    def buffered_bytes(self) -> int:
        """See `Framing.buffered_bytes`."""
        return 0 if self._request is None else self._request.buffered_bytes

    def abandon(self) -> None:
        """Close the file of an unfinished request."""
        if self._request is not None:
            self._request.abandon()
            if not self._request.taken:
                self._request = None  # all of it still is in the inbox

    def next_frame(self, inbox: Inbox, eof: bool) -> Request | Need:
        """See `Framing.next_frame`.

        Raises:
            BadRequest: a `FramingError` that knows its status.
            EndOfStream: `eof`, and no request has begun.
        """
        if self._request is not None:
            return self._go_on(self._request, inbox, eof)
        end = inbox.find(_END)
        if end < 0 or end > self.head_bytes:
            return self._no_head(inbox, eof)
        head = inbox.peek(end + 4)
        if is_head(head) is None:
            if head[:2] != b"\r\n":
                raise head_fault(head)
            self._drop_empty_lines(inbox)
            return self.next_frame(inbox, eof)
        if names_framing(head) is None:
            self._empty_lines = 0
            return inbox.take(end + 4)
        return self._special(head, inbox, eof)

    def encode(self, frame: Request) -> bytes:
        """Return the bytes of the frame; a file is read from its start and left there."""
        if isinstance(frame, bytes):
            return frame
        frame.seek(0)
        data = frame.read()
        frame.seek(0)
        return data

    def refusal(self, error: FramingError | LimitError) -> bytes:
        """Return the response that ends the connection; a connection that is merely idle gets none.

        Browsers connect ahead of need, and one that finds a 408 on such a connection shows it to its user.
        """
        if isinstance(error, LimitError):
            return response(408) if error.limit in ("request_s", "request_bytes_per_s") else b""
        return response(error.status if isinstance(error, BadRequest) else 400)

    # -- the head ---------------------------------------------------------------------------------------------------

    def _no_head(self, inbox: Inbox, eof: bool) -> Request | Need:
        """Say what no head within the limit means."""
        if inbox.peek(2) == b"\r\n":
            self._drop_empty_lines(inbox)
            return self.next_frame(inbox, eof)
        held = len(inbox)
        if held >= self.head_bytes + len(_END):
            raise self._too_long(inbox)
        if held <= EARLY_BYTES and is_hopeless(part := inbox.peek(held)):
            raise head_fault(part.removesuffix(b"\r") + _END)
        return self._incomplete(inbox, eof, self._need)

    def _drop_empty_lines(self, inbox: Inbox) -> None:
        while inbox.peek(2) == b"\r\n":
            if self._empty_lines == _EMPTY_LINES:
                raise BadRequest(400, f"more than {_EMPTY_LINES} empty lines before a request")
            self._empty_lines += 1
            inbox.take(2)

    def _too_long(self, inbox: Inbox) -> BadRequest:
        if b"\r\n" in inbox.peek(self.head_bytes + 2):
            return BadRequest(431, "the head of the request is too long", limit=self.head_bytes)
        return BadRequest(414, "the request line is too long", limit=self.head_bytes)

    def _special(self, head: bytes, inbox: Inbox, eof: bool) -> Request | Need:
        """A head that says something about a body."""
        said = announced(head)
        if said.body_bytes is not None and said.body_bytes > self.body_bytes:
            reason = f"a body of {said.body_bytes} bytes was announced"
            raise BadRequest(413, reason, offset=len(head), limit=self.body_bytes, option="body_bytes")
        if said.body_bytes is not None and len(inbox) >= (total := len(head) + said.body_bytes) <= self.memory_bytes:
            self._empty_lines = 0
            return said.head + inbox.take(total)[len(head) :]  # nearly all bodies arrive with their heads
        self._request = request = _Unfinished(len(head), said, self)
        frame = self._go_on(request, inbox, eof)
        if said.is_awaited and isinstance(frame, Need):
            return Need(frame.text, frame.total_bytes, frame.limit, _CONTINUE)
        return frame

    # -- the body ---------------------------------------------------------------------------------------------------

    def _go_on(self, request: _Unfinished, inbox: Inbox, eof: bool) -> Request | Need:
        request.look(inbox)
        held = request.taken + len(inbox)
        if 0 < request.total <= held:
            frame = request.whole(inbox)
            self._begin()
            return frame
        if eof:
            raise BadRequest(400, f"the stream ended inside a frame (needs {request.need})", offset=held)
        request.move(inbox)
        return request.need


class _Unfinished:
    """A request between its head and the end of its body; offsets are counted from its first byte on the wire."""

    __slots__ = ("_chunks", "_fault", "_file", "_memory_bytes", "_parts", "_said", "_wire_head", "need", "taken", "total")

    def __init__(self, wire_head: int, said: Announced, limits: HttpRequests) -> None:
        self._said, self._wire_head, self._memory_bytes = said, wire_head, limits.memory_bytes
        self._parts: list[bytes] = []
        self._file: IO[bytes] | None = None
        self._fault: BadRequest | None = None
        self._chunks: Chunks | None = None
        self.taken = 0  # bytes that have left the inbox
        self.total = 0  # bytes of the whole request; 0: nobody knows yet
        self.need = Need("a chunk")
        if said.body_bytes is None:
            self._chunks = Chunks(wire_head, limits.body_bytes, limits.head_bytes)
        else:
            self.total = wire_head + said.body_bytes
            # What moves to a file has to be taken as it comes: no number of bytes in the inbox is worth waiting for.
            self.need = Need(f"exactly {self.total}", self.total if self.total <= self._memory_bytes else 0)

    @property
    def buffered_bytes(self) -> int:
        """What has left the inbox and is not in the file."""
        return sum(map(len, self._parts))

    def __del__(self) -> None:
        self.abandon()  # of a framing without a row: nobody tells it

    def look(self, inbox: Inbox) -> None:
        """Look for the end of a chunked body in what has arrived.

        Raises:
            BadRequest: it is none.
        """
        if self._fault is not None:
            raise self._fault
        chunks = self._chunks
        if not self.total and chunks is not None and self.taken + len(inbox) >= chunks.at:
            self.total = chunks.scan(inbox.peek(len(inbox)), self.taken)

    def move(self, inbox: Inbox) -> None:
        """Move out of the inbox what is checked and too much for it, but never its last byte."""
        held = len(inbox)
        if self._chunks is None:
            if self.total <= self._memory_bytes:
                return
            checked = held - 1
        else:
            if held <= min(_CHECKED_BYTES, self._memory_bytes):
                return
            checked = min(held - 1, self._chunks.at - self.taken)
        if checked > 0 and self.taken + checked >= self._wire_head:
            self._keep(inbox, checked)

    def whole(self, inbox: Inbox) -> Request:
        """Take the rest and return the frame."""
        self._keep(inbox, self.total - self.taken)
        file, self._file = self._file, None
        if file is None:
            return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
        try:
            file.seek(0)  # which writes what is buffered
        except OSError as error:
            self._file = file
            raise self._unwritten(error) from error
        return file

    def _keep(self, inbox: Inbox, n: int) -> None:
        piece = inbox.take(n)
        if not self.taken and len(self._said.head) != self._wire_head:
            piece = self._said.head + piece[self._wire_head :]
        self.taken += n
        self._parts.append(piece)
        if max(self.taken, self.total) > self._memory_bytes:
            try:
                self._write()
            except OSError as error:
                raise self._unwritten(error) from error

    def _write(self) -> None:
        if self._file is None:
            self._file = tempfile.TemporaryFile()  # noqa: SIM115  (closed by abandon() or by whoever gets the frame)
        for part in self._parts:
            self._file.write(part)
        self._parts.clear()

    def _unwritten(self, error: OSError) -> BadRequest:
        """The disk is full, or there are no descriptors: this request cannot be had, and others may."""
        self.abandon()
        reason = f"no temporary file for a request of over {self._memory_bytes} bytes: {describe(error)}"
        self._fault = BadRequest(503, reason)
        return self._fault

    def abandon(self) -> None:
        """Close the file; what has left the inbox is lost, so no later byte can be understood."""
        if self.taken and self._fault is None:
            self._fault = BadRequest(400, _BODY_MOVED, offset=self.taken)
        if self._file is not None:
            file, self._file = self._file, None
            with contextlib.suppress(OSError):  # of a full disk, which close() would write to once more
                file.close()
        self._parts.clear()
