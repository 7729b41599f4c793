"""What the head of an HTTP/1.x request says about its body, and where a chunked body ends.

What it is: the grammar that a server and the proxies before it must read in the same way, or a request is smuggled past
one of them (RFC 9112, 11.2); functions of bytes. What it is not: an HTTP server; methods, paths, versions and whatever else
changes nothing about where a request ends are left to `http.server`, which has answers of its own.

Rules, each of which somebody's server once broke:

1. Lines end with CRLF, names are tokens followed by a colon at once, a field is one line (RFC 9112, 2.2, 5.1, 5.2;
   waitress CVE-2019-16785). Control characters in a value, such as the form feed before `chunked`, are refused
   (waitress CVE-2019-16789).
2. One Content-Length of decimal digits, and no Transfer-Encoding beside it (RFC 9112, 6.3; `+10`, `0x0a` and `1_0` are
   numbers to int(): waitress CVE-2022-24761). Two that are equal may be accepted by the RFC and are not here.
3. Transfer-Encoding is `chunked` and nothing else, in HTTP/1.1 (RFC 9112, 6.1; gunicorn CVE-2024-1135).
4. A chunk is its size in hexadecimal digits, an extension at most, CRLF, so many bytes, CRLF; each is looked at (RFC 9112,
   7.1; h11 CVE-2025-43859). Extensions and trailers have a limit together (Go CVE-2023-39326).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

from .errors import FramingError

_TOKEN = rb"[!#-'*+\-.0-9A-Z^-z|~]++"
_TEXT = rb"[^\x00-\x08\x0a-\x1f\x7f]*+"
_FIELD = re.compile(_TOKEN + rb":" + _TEXT + rb"\r\n")
_FIELD_START = re.compile(rb"(?:" + _TOKEN + rb"(?::" + _TEXT + rb")?+)?+\r?")
_CHUNK_LINE = re.compile(rb"([0-9A-Fa-f]{1,16})(?:[ \t]*;" + _TEXT + rb")?+\r\n")
_CHUNK_LINE_START = re.compile(rb"(?:[0-9A-Fa-f]{1,16}(?:[ \t]*+(?:;" + _TEXT + rb")?+)?+\r?)?+")
# Whole chunks of 1 to 15 bytes in a row: one by one, the 10,000 that a read may hold would take 18 ms of everybody's time.
_TINY_CHUNKS = re.compile(
    b"(?:0{0,14}+(?:%b))*+" % b"|".join(b"%x\\r\\n.{%d}\\r\\n" % (n, n) for n in range(1, 16)), re.DOTALL | re.IGNORECASE
)
_FRAMING_FIELD = re.compile(rb"\r\n(content-length|transfer-encoding|expect):([^\r\n]*+)", re.IGNORECASE)
_EXPECT_LINE = re.compile(rb"\r\nexpect:[^\r\n]*+", re.IGNORECASE)
_VERSION = re.compile(r"HTTP/([0-9]{1,10})\.([0-9]{1,10})")

# The whole of a head, line by line, in one call: 0.3 us for curl's, 1.1 us for a browser's.
is_head = re.compile(rb"[^\x00\r\n]++\r\n(?:" + _TOKEN + rb":" + _TEXT + rb"\r\n)*+\r\n").fullmatch
# Does it name a field that says where the request ends? Few do.
names_framing = re.compile(rb"\r\n(?:content-length|transfer-encoding|expect):", re.IGNORECASE).search

# An unfinished line this short is looked at each time that a byte arrives, so that rubbish is refused at once and not
# when its time is up (a TLS hello, or a person's bare LF); a longer one only when it is complete: no byte is read twice.
EARLY_BYTES = 1024
_CHUNK_LINE_BYTES = 18  # sixteen digits and CRLF: what a chunk line may have without an extension
_PHRASES = {
    400: "Bad Request",
    408: "Request Timeout",
    413: "Content Too Large",
    414: "URI Too Long",
    417: "Expectation Failed",
    431: "Request Header Fields Too Large",
    501: "Not Implemented",
    503: "Service Unavailable",
}


class BadRequest(FramingError):
    """Bytes that are no HTTP request, or one that is refused for how it is framed.

    Args:
        status: what to answer.
        reason: what is wrong, as half a sentence.
        offset: where, in bytes from the start of the request.
        limit: the limit that was exceeded, in bytes; None where no limit is involved.
        option: the argument of `HttpRequests` that sets it.
    """

    def __init__(
        self, status: int, reason: str, *, offset: int = 0, limit: int | None = None, option: str = "head_bytes"
    ) -> None:
        bound = "" if limit is None else f" ({limit} bytes are allowed: HttpRequests({option}=...))"
        super().__init__(reason + bound, offset=offset)
        self.status, self.limit = status, limit


class Announced(NamedTuple):
    """What a head says about its body."""

    head: bytes  # without `Expect`
    body_bytes: int | None  # None: it is chunked
    is_awaited: bool  # the peer waits for 100 Continue before it sends the body


def response(status: int) -> bytes:
    """Return a whole response without a body, which a HEAD may get as well, that ends the connection."""
    return f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()


def announced(head: bytes) -> Announced:
    """Return what a head (one that `is_head` matches) says about its body.

    Raises:
        BadRequest: it says nothing, or two things, or something unknown.
    """
    fields: dict[bytes, list[bytes]] = {}
    for name, value in _FRAMING_FIELD.findall(head):
        fields.setdefault(name.lower(), []).append(value.strip(b" \t"))
    lengths = fields.get(b"content-length", [])
    if len(fields) == 1 and lengths:
        return Announced(head, _length(lengths), False)
    is_modern, codings = _is_modern(head), fields.get(b"transfer-encoding", [])
    if codings:
        _check_codings(codings, lengths, is_modern)
    body_bytes = None if codings else _length(lengths)
    if b"expect" not in fields:
        return Announced(head, body_bytes, False)
    expected = {item.strip(b" \t").lower() for item in b",".join(fields[b"expect"]).split(b",")}
    unknown = expected - {b"100-continue", b""}
    if unknown and is_modern:
        raise BadRequest(417, f"Expect: {min(unknown)!r}, and 100-continue is the only one there is")
    # In HTTP/1.0 it means nothing (RFC 9110, 10.1.1). No handler sees it: it would answer 100 a second time.
    return Announced(_EXPECT_LINE.sub(b"", head), body_bytes, is_modern and b"100-continue" in expected)


def _is_modern(head: bytes) -> bool:
    """Return whether http.server will take the request as HTTP/1.1 or later: read as it reads it."""
    words = head[: head.index(b"\r\n")].decode("iso-8859-1").split()
    version = _VERSION.fullmatch(words[-1]) if len(words) >= 3 else None
    return version is not None and (int(version[1]), int(version[2])) >= (1, 1)


def _check_codings(codings: list[bytes], lengths: list[bytes], is_modern: bool) -> None:
    if lengths:
        raise BadRequest(400, "Content-Length and Transfer-Encoding: one of them lies (RFC 9112, 6.3)")
    if not is_modern:
        raise BadRequest(400, "Transfer-Encoding before HTTP/1.1 (RFC 9112, 6.1)")
    if len(codings) > 1 or codings[0].lower() != b"chunked":
        raise BadRequest(501, f"Transfer-Encoding: {b', '.join(codings)!r}, and only 'chunked' is known")


def _length(lengths: list[bytes]) -> int:
    if not lengths:
        return 0
    if len(lengths) > 1:
        raise BadRequest(400, "more than one Content-Length (RFC 9112, 6.3; refused even if they are equal)")
    digits = lengths[0]
    if not digits.isdigit():  # of bytes: [0-9]+ and nothing else
        raise BadRequest(400, f"{digits[:40]!r} is no Content-Length: decimal digits, once (RFC 9110, 8.6)")
    return int(digits.lstrip(b"0")[:20] or b"0")  # 20 digits are too many for any limit, and int() stops at 4,300


def head_fault(head: bytes) -> BadRequest:
    """Return what is wrong with a head that `is_head` does not match."""
    offset = 0
    for line in head[:-4].split(b"\r\n"):
        reason = _line_fault(line, offset == 0)
        if reason:
            return BadRequest(400, f"{line[:40]!r}: {reason}", offset=offset)
        offset += len(line) + 2
    return BadRequest(400, f"{head[:40]!r} is no head of a request")


def _line_fault(line: bytes, is_first: bool) -> str:
    if b"\n" in line or b"\r" in line:
        return "a bare CR or LF (RFC 9112, 2.2: lines end with CRLF)"
    if b"\0" in line:
        return "a NUL byte"
    if is_first:
        return ""
    if line[:1] in (b" ", b"\t"):
        return "a folded line (RFC 9112, 5.2: obsolete)"
    name, colon, _ = line.partition(b":")
    if not colon:
        return "a field without a colon"
    if name != name.rstrip(b" \t"):
        return "white space before the colon (RFC 9112, 5.1)"
    if _FIELD.fullmatch(name + b":\r\n") is None:
        return "the name of the field is no token (RFC 9110, 5.6.2)"
    return "" if _FIELD.fullmatch(line + b"\r\n") else "a control character in a value (RFC 9110, 5.5)"


def is_hopeless(part: bytes) -> bool:
    """Return whether no head starts like this: with a bare CR or LF, or a NUL byte."""
    pairs = part.count(b"\r\n")
    return part.count(b"\n") != pairs or part.count(b"\r") != pairs + part.endswith(b"\r") or b"\0" in part


class Chunks:
    """Where a chunked body ends; it remembers how far it has looked.

    Args:
        at: offset of the body in the request.
        body_bytes: the longest body, as it is on the wire.
        head_bytes: the most bytes of extensions and trailers.
    """

    __slots__ = ("_body_bytes", "_ends_by", "_head_bytes", "_part", "_scanned", "_spare", "at")

    def __init__(self, at: int, body_bytes: int, head_bytes: int) -> None:
        self.at = at  # what is before is in order; may be beyond what has arrived
        self._body_bytes, self._ends_by = body_bytes, at + body_bytes
        self._head_bytes, self._spare = head_bytes, head_bytes
        self._scanned = 0  # bytes of an unfinished line that hold no LF
        self._part: Callable[[Chunks, bytes, int], int] | None = Chunks._chunk_line

    def scan(self, data: bytes, base: int) -> int:
        """Look at what has arrived.

        Args:
            data: the request from offset `base` on, which is not after `at`.
            base: see `data`.

        Returns:
            The offset at which the body ends, 0 if that is not here yet.

        Raises:
            BadRequest: no chunked body goes on like this, or it is too long.
        """
        while self._part is not None:
            after = self._part(self, data, self.at - base)
            if not after:
                return 0
            self.at = base + after
        return self.at

    def _chunk_line(self, data: bytes, at: int) -> int:
        tiny = _TINY_CHUNKS.match(data, at)
        if tiny is not None and (end := tiny.end()) > at:
            self._check_size(end - at)
            self._scanned = 0
            return end
        end = self._line_end(data, at, _CHUNK_LINE_START, "a chunk")
        if not end:
            return 0
        line = _CHUNK_LINE.fullmatch(data, at, end)
        if line is None:
            raise self._fault(data, at, "a chunk")
        size = int(line[1], 16)
        self._spend(end - at - len(line[1]) - 2)
        self._part = Chunks._chunk_end if size else Chunks._trailer
        self._check_size(end - at + size)
        return end + size

    def _check_size(self, n: int) -> None:
        if self.at + n > self._ends_by:
            limit = self._body_bytes
            raise BadRequest(413, "the chunks are too long", offset=self.at, limit=limit, option="body_bytes")

    def _chunk_end(self, data: bytes, at: int) -> int:
        end = data[at : at + 2]
        if end == b"\r\n":
            self._part = Chunks._chunk_line
            return at + 2
        if end not in (b"", b"\r"):
            raise BadRequest(400, f"{end!r} where a chunk ends with CRLF (RFC 9112, 7.1)", offset=self.at)
        return 0

    def _trailer(self, data: bytes, at: int) -> int:
        end = self._line_end(data, at, _FIELD_START, "a trailer")
        if end - at == 2 and data[at:end] == b"\r\n":
            self._part = None
        elif end:
            self._spend(end - at)
            if _FIELD.fullmatch(data, at, end) is None or names_framing(b"\r\n" + data[at:end]):
                raise self._fault(data, at, "a trailer")  # RFC 9110, 6.5.1: framing does not belong there
        return end

    def _line_end(self, data: bytes, at: int, start: re.Pattern[bytes], what: str) -> int:
        """Return where the line ends, 0 if that is not here yet."""
        end = data.find(b"\n", at + self._scanned) + 1
        if end:
            self._scanned = 0
            return end
        self._scanned = len(data) - at
        if self._scanned > self._spare + _CHUNK_LINE_BYTES:
            self._spend(self._scanned)
        if self._scanned <= EARLY_BYTES and start.fullmatch(data, at) is None:
            raise self._fault(data, at, what)
        return 0

    def _spend(self, n: int) -> None:
        self._spare -= n
        if self._spare < 0:
            reason = "too many bytes of chunk extensions and trailers"
            raise BadRequest(431, reason, offset=self.at, limit=self._head_bytes)

    def _fault(self, data: bytes, at: int, what: str) -> BadRequest:
        line = data[at : at + 40].split(b"\n")[0]
        return BadRequest(400, f"{line!r} is not how {what} starts (RFC 9112, 7.1)", offset=self.at)
