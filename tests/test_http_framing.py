"""HTTP requests cut out of a stream: the same for every split, strict where readers could disagree, and never in memory.

The vectors of request smuggling are those of the advisories; that what is delivered means the same to `http.server` is
tried out on `http.server`.
"""

import contextlib
import errno
import gc
import http.server
import io
import tempfile
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Any, NamedTuple

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor import EndOfStream, FramingError, HttpRequests, Inbox, LimitError, Need
from reactor.http_framing import EARLY_BYTES, BadRequest
from reactor.http_heads import Chunks, announced, head_fault, is_head
from tests.properties import tries

CRLF = b"\r\n"


class Gathered(NamedTuple):
    """A frame: its bytes, and whether it was in a file."""

    wire: bytes
    is_file: bool


class Outcome(NamedTuple):
    frames: list[Gathered]
    replies: list[bytes]
    error: Exception | None


def gathered(frame: Any) -> Gathered:
    if isinstance(frame, bytes):
        return Gathered(frame, False)
    with frame:
        assert frame.tell() == 0
        return Gathered(frame.read(), True)


def feed(framing: HttpRequests, inbox: Inbox, pieces: Sequence[bytes], replies: list[bytes]) -> Iterator[Gathered]:
    """Feed the pieces and yield the frames, as a row would."""
    for piece in pieces:
        inbox.feed(piece)
        while not isinstance(frame := framing.next_frame(inbox, False), Need):
            yield gathered(frame)
        if frame.reply:
            replies.append(frame.reply)
        assert inbox.size or not framing.held_bytes, "the row would be taken for idle in the middle of a request"


def outcome(wire: bytes, *places: int, eof: bool = True, **limits: int) -> Outcome:
    """What a stream gives that arrives in these pieces, and then ends."""
    framing, inbox, found = HttpRequests(**limits).fresh(), Inbox(65536), Outcome([], [], None)
    bounds = [0, *places, len(wire)]
    pieces = [wire[bounds[n] : bounds[n + 1]] for n in range(len(bounds) - 1)]
    try:
        for frame in feed(framing, inbox, [piece for piece in pieces if piece], found.replies):
            found.frames.append(frame)
        if eof:
            frame = framing.next_frame(inbox, True)
            raise AssertionError(f"{frame!r} at the end of the stream")
    except (FramingError, EndOfStream) as error:
        framing.abandon()
        return found._replace(error=error)
    return found


def one_by_one(wire: bytes) -> range:
    return range(1, len(wire))


def get(path: bytes = b"/", *lines: bytes, version: bytes = b"HTTP/1.1") -> bytes:
    return CRLF.join([b"GET %b %b" % (path, version), *lines, b"", b""])


def post(*lines: bytes, body: bytes = b"", version: bytes = b"HTTP/1.1") -> bytes:
    return CRLF.join([b"POST / %b" % version, *lines, b"", body])


def chunked(body: bytes, *lines: bytes) -> bytes:
    return post(b"Transfer-Encoding: chunked", *lines, body=body)


# -- frames -----------------------------------------------------------------------------------------------------------

STREAMS = {
    "pipelined": [get(), get(b"/a", b"Host: b", version=b"HTTP/1.0"), post(b"Content-Length: 2", body=b"\r\n"), get()],
    "no body": [post(), post(b"content-length: 0"), b"HEAD / HTTP/1.1\r\n\r\n", chunked(b"0\r\n\r\n")],
    "chunks": [chunked(b'a;b="c d"\r\n0123456789\r\n001 ; e\r\nx\r\n0;f\r\nT: u\r\nV:\r\n\r\n'), get()],
    "chunks of line ends": [chunked(b"4\r\n\r\n\r\n\r\nA\r\n0\r\n\r\n0\r\n\r\n\r\n0\r\n\r\n"), get()],
    "version 0.9": [b"GET /\r\n\r\n", b"GET /\r\nContent-Length: 1\r\n\r\nx"],
}


@pytest.mark.parametrize("frames", STREAMS.values(), ids=STREAMS)
@pytest.mark.parametrize("memory_bytes", [1 << 20, 60, 1])
def test_every_split_gives_the_same_frames(frames: list[bytes], memory_bytes: int) -> None:
    wire = b"".join(frames)
    expected = outcome(wire, memory_bytes=memory_bytes).frames
    assert [frame.wire for frame in expected] == frames
    for ways in (1, 2):
        step = 1 if ways == 1 else 3
        for places in combinations(range(1, len(wire), step), ways):
            assert outcome(wire, *places, memory_bytes=memory_bytes).frames == expected, places
    assert outcome(wire, *one_by_one(wire), memory_bytes=memory_bytes).frames == expected


def test_the_kind_of_a_frame_depends_on_its_length_alone() -> None:
    sized, chunks = post(b"Content-Length: 50", body=b"x" * 50), chunked(b"32\r\n" + b"x" * 50 + b"\r\n0\r\n\r\n")
    for wire in (sized, chunks):
        for memory_bytes, is_file in ((len(wire), False), (len(wire) - 1, True)):
            for places in ((), (len(wire) - 1,), (60,), one_by_one(wire)):
                found = outcome(wire, *places, memory_bytes=memory_bytes)
                assert found.frames == [Gathered(wire, is_file)]
                assert isinstance(found.error, EndOfStream)


def test_a_frame_of_another_request_follows_a_file() -> None:
    big, small = post(b"Content-Length: 100", body=b"x" * 100), get()
    for places in ((), (90,), (len(big) + 3,)):
        found = outcome(big + small + big, *places, memory_bytes=50)
        assert found.frames == [Gathered(big, True), Gathered(small, False), Gathered(big, True)]


# -- empty lines ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("frame", [get(), post(b"Content-Length: 3", body=b"abc"), chunked(b"1\r\nx\r\n0\r\n\r\n")])
def test_empty_lines_before_a_request_are_dropped(count: int, frame: bytes) -> None:
    wire = (CRLF * count + frame) * 3
    for places in ((), (1,), (2,), (3,), (2 * count,), one_by_one(wire)):
        found = outcome(wire, *places)
        assert (found.frames, type(found.error)) == ([Gathered(frame, False)] * 3, EndOfStream)


def test_empty_lines_leave_nothing_behind_that_is_a_request() -> None:
    framing, inbox = HttpRequests().fresh(), Inbox(100)
    inbox.feed(CRLF)
    assert isinstance(framing.next_frame(inbox, False), Need)
    assert len(inbox) == 0
    with pytest.raises(EndOfStream):
        framing.next_frame(inbox, True)


@pytest.mark.parametrize("wire", [CRLF * 5, CRLF * 5 + get(), CRLF * 1000])
def test_many_empty_lines_are_no_accident(wire: bytes) -> None:
    for places in ((), one_by_one(wire)):
        found = outcome(wire, *places)
        assert (found.frames, status_of(found)) == ([], 400)


# -- 100 Continue -----------------------------------------------------------------------------------------------------

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


@pytest.mark.parametrize("line", [b"Expect: 100-continue", b"expect:100-CONTINUE\t", b"EXPECT: 100-continue, 100-continue"])
@pytest.mark.parametrize("memory_bytes", [1 << 20, 60])
def test_who_waits_to_send_its_body_is_told_once(line: bytes, memory_bytes: int) -> None:
    for frame in (post(b"A: b", b"Content-Length: 3", b"C: d", body=b"abc"), chunked(b"3\r\nabc\r\n0\r\n\r\n", b"A: b")):
        wire = frame.replace(b"A: b", b"A: b\r\n" + line)
        head = wire.index(b"\r\n\r\n") + 4
        whole = outcome(wire + get(), memory_bytes=memory_bytes)
        assert ([got.wire for got in whole.frames], whole.replies) == ([frame, get()], [])
        for place in one_by_one(wire):
            found = outcome(wire + get(), place, memory_bytes=memory_bytes)
            assert (found.frames, found.replies) == (whole.frames, [CONTINUE] if place >= head else []), place
        assert outcome(wire, *one_by_one(wire), memory_bytes=memory_bytes).replies == [CONTINUE]


@pytest.mark.parametrize(
    ("wire", "frame"),
    [
        (get(b"/", b"Expect: 100-continue"), get()),
        (post(b"Expect: 100-continue", b"Content-Length: 0"), post(b"Content-Length: 0")),
        (post(b"Expect: 100-continue", b"Expect: 100-continue", b"Expect:"), post()),
        (
            post(b"Expect: 100-continue", b"Content-Length: 1", body=b"x", version=b"HTTP/1.0"),
            post(b"Content-Length: 1", body=b"x", version=b"HTTP/1.0"),
        ),
        (post(b"Expect: tea", version=b"HTTP/1.0"), post(version=b"HTTP/1.0")),
        (b"GET /\r\nExpect: tea\r\n\r\n", b"GET /\r\n\r\n"),
        (get(b"/", b"X-Expect: tea"), get(b"/", b"X-Expect: tea")),
    ],
)
def test_an_expectation_is_in_no_frame(wire: bytes, frame: bytes) -> None:
    for places in ((), one_by_one(wire)):
        found = outcome(wire, *places)
        assert (found.frames, found.replies) == ([Gathered(frame, False)], [])


@pytest.mark.parametrize("value", [b"tea", b"100-continue, tea", b"100", b'"100-continue"'])
def test_another_expectation_fails(value: bytes) -> None:
    wire = post(b"Expect: " + value, b"Content-Length: 3")
    assert status_of(outcome(wire, eof=False)) == 417
    assert status_of(outcome(post(b"Expect: 100-continue", b"Expect: tea"), eof=False)) == 417


def test_too_long_a_body_is_refused_not_asked_for() -> None:
    found = outcome(post(b"Expect: 100-continue", b"Content-Length: 11"), body_bytes=10)
    assert (found.replies, status_of(found)) == ([], 413)


# -- smuggling --------------------------------------------------------------------------------------------------------


def status_of(found: Outcome) -> int | None:
    return found.error.status if isinstance(found.error, BadRequest) else None


BAD = {
    # RFC 9112, 6.3
    "CL.TE": (post(b"Content-Length: 6", b"Transfer-Encoding: chunked", body=b"0\r\n\r\nG"), 400, "one of them lies"),
    "TE.CL": (post(b"Transfer-Encoding: chunked", b"content-length:4", body=b"5c\r\nGPOST"), 400, "one of them lies"),
    "CL, CL": (post(b"Content-Length: 3", b"Content-Length: 4", body=b"abcd"), 400, "more than one"),
    "CL, equal CL": (post(b"Content-Length: 3", b"content-length: 3", body=b"abc"), 400, "more than one"),
    "a list of CL": (post(b"Content-Length: 3, 3", body=b"abc"), 400, "no Content-Length"),
    # waitress CVE-2022-24761: what int() takes
    "CL with a sign": (post(b"Content-Length: +10", body=b"0123456789"), 400, "no Content-Length"),
    "a negative CL": (post(b"Content-Length: -1"), 400, "no Content-Length"),
    "CL with an underscore": (post(b"Content-Length: 1_0", body=b"0123456789"), 400, "no Content-Length"),
    "CL in hexadecimal": (post(b"Content-Length: 0x0a", body=b"0123456789"), 400, "no Content-Length"),
    "CL in foreign digits": (post("Content-Length: \u0663".encode(), body=b"abc"), 400, "no Content-Length"),
    "CL with a superscript": (post(b"Content-Length: \xb2", body=b"ab"), 400, "no Content-Length"),
    "an empty CL": (post(b"Content-Length:"), 400, "no Content-Length"),
    "CL of two words": (post(b"Content-Length: 1 0"), 400, "no Content-Length"),
    "CL behind a no-break space": (post(b"Content-Length: \xa05"), 400, "no Content-Length"),
    "chunk size with a sign": (chunked(b"+1\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "chunk size with 0x": (chunked(b"0x1\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "chunk size with an underscore": (chunked(b"1_0\r\n0123456789abcdef\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "chunk size behind a space": (chunked(b" 1\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "chunk size before a space": (chunked(b"1 \r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "chunk size of 17 digits": (chunked(b"00000000000000001\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "no chunk size": (chunked(b"\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "an extension without size": (chunked(b";a\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "a NUL in an extension": (chunked(b"1;a\0\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    # waitress CVE-2019-16785 and RFC 9112, 2.2: line ends
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n" + get(), 400, "bare CR or LF"),
    "bare LF in a value": (get(b"/", b"A: b\nContent-Length: 5"), 400, "bare CR or LF"),
    "bare LF before the empty line": (b"GET / HTTP/1.1\r\nA: b\n\r\n\r\n", 400, "bare CR or LF"),
    "bare CR in a value": (get(b"/", b"A: b\rContent-Length: 5"), 400, "bare CR or LF"),
    "bare CR in a request line": (get(b"/\rX"), 400, "bare CR or LF"),
    "CR CR LF": (b"GET / HTTP/1.1\r\r\nA: b\r\n\r\n", 400, "bare CR or LF"),
    "LF CR": (b"GET / HTTP/1.1\n\r\n\r\n", 400, "bare CR or LF"),
    "bare LF behind a chunk size": (chunked(b"1\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "bare LF in an extension": (chunked(b"2;\nx\r\n2\r\n0\r\n\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "bare CR in an extension": (chunked(b"1;a\rb\r\nx\r\n0\r\n\r\n"), 400, "a chunk starts"),
    "bare LF behind the last chunk": (chunked(b"0\n\r\n"), 400, "a chunk starts"),
    "bare LF behind the trailers": (chunked(b"0\r\nA: b\r\n\n"), 400, "a trailer starts"),
    "bare LF in a trailer": (chunked(b"0\r\nA: b\nC: d\r\n\r\n"), 400, "a trailer starts"),
    "bare CR in a trailer": (chunked(b"0\r\nA: b\rC: d\r\n\r\n"), 400, "a trailer starts"),
    # waitress CVE-2019-16789 (white space that is none), gunicorn CVE-2024-1135 (more than one coding)
    "TE behind a vertical tab": (post(b"Transfer-Encoding: \x0bchunked", b"Content-Length: 5"), 400, "control character"),
    "TE behind a form feed": (post(b"Transfer-Encoding: \x0cchunked", b"Content-Length: 5"), 400, "control character"),
    "TE behind a no-break space": (post(b"Transfer-Encoding: \xa0chunked"), 501, "only 'chunked'"),
    "TE chunked, identity": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: identity"), 501, "only 'chunked'"),
    "TE identity, chunked": (post(b"Transfer-Encoding: identity, chunked"), 501, "only 'chunked'"),
    "TE chunked twice": (post(b"Transfer-Encoding: chunked", b"Transfer-Encoding: chunked"), 501, "only 'chunked'"),
    "TE gzip, chunked": (post(b"Transfer-Encoding: gzip, chunked"), 501, "only 'chunked'"),
    "TE gzip": (post(b"Transfer-Encoding: gzip"), 501, "only 'chunked'"),
    "TE xchunked": (post(b"Transfer-Encoding: xchunked"), 501, "only 'chunked'"),
    "TE with a parameter": (post(b"Transfer-Encoding: chunked;q=1"), 501, "only 'chunked'"),
    "an empty TE": (post(b"Transfer-Encoding:"), 501, "only 'chunked'"),
    # RFC 9112, 6.1
    "TE in HTTP/1.0": (post(b"Transfer-Encoding: chunked", version=b"HTTP/1.0"), 400, "before HTTP/1.1"),
    "TE in HTTP/0.9": (b"GET /\r\nTransfer-Encoding: chunked\r\n\r\n", 400, "before HTTP/1.1"),
    "TE in no version": (post(b"Transfer-Encoding: chunked", version=b"HTTP/+1.1"), 400, "before HTTP/1.1"),
    "TE in lower case": (post(b"Transfer-Encoding: chunked", version=b"http/1.1"), 400, "before HTTP/1.1"),
    # RFC 9112, 5.1 and 5.2
    "obs-fold": (get(b"/", b"A: b", b" c"), 400, "folded"),
    "obs-fold of TE": (post(b"Transfer-Encoding:", b" chunked", b"Content-Length: 3"), 400, "folded"),
    "obs-fold with a tab": (get(b"/", b"A: b", b"\tc: d"), 400, "folded"),
    "white space before the first field": (get(b"/", b" A: b"), 400, "folded"),
    "a space before the colon": (post(b"Content-Length : 5", body=b"abcde"), 400, "before the colon"),
    "a tab before the colon": (post(b"Transfer-Encoding\t: chunked"), 400, "before the colon"),
    "a name that is no token": (get(b"/", b"A(b): c"), 400, "no token"),
    "a name with a control character": (get(b"/", b"A\x0bb: c"), 400, "no token"),
    "a name beyond ASCII": (get(b"/", b"\xe4: c"), 400, "no token"),
    "an empty name": (get(b"/", b": c"), 400, "no token"),
    "no colon": (get(b"/", b"abc"), 400, "without a colon"),
    "an mbox line": (get(b"/", b"From me"), 400, "without a colon"),
    "a NUL in a value": (get(b"/", b"A: b\0c"), 400, "NUL"),
    "a NUL in a name": (get(b"/", b"A\0: b"), 400, "NUL"),
    "a NUL in a request line": (get(b"/\0"), 400, "NUL"),
    "DEL in a value": (get(b"/", b"A: \x7f"), 400, "control character"),
    "an escape in a value": (get(b"/", b"A: \x1b[31m"), 400, "control character"),
    # h11 CVE-2025-43859
    "two bytes for CRLF": (chunked(b"5\r\nAAAAAXX2\r\n45\r\n0\r\n\r\n"), 400, "where a chunk ends"),
    "a chunk too long": (chunked(b"1\r\nxy\r\n0\r\n\r\n"), 400, "where a chunk ends"),
    "LF for CRLF behind a chunk": (chunked(b"1\r\nx\n0\r\n\r\n"), 400, "where a chunk ends"),
    "CR for CRLF behind a chunk": (chunked(b"1\r\nx\rX0\r\n\r\n"), 400, "where a chunk ends"),
    "a folded trailer": (chunked(b"0\r\nA: b\r\n c\r\n\r\n"), 400, "a trailer starts"),
    "a space before the colon of a trailer": (chunked(b"0\r\nA : b\r\n\r\n"), 400, "a trailer starts"),
    "a trailer without a colon": (chunked(b"0\r\nGET / HTTP/1.1\r\n\r\n"), 400, "a trailer starts"),
    "a trailer that frames": (chunked(b"0\r\nContent-Length: 5\r\n\r\n"), 400, "a trailer starts"),
    "a trailer that encodes": (chunked(b"0\r\ntransfer-encoding: chunked\r\n\r\n"), 400, "a trailer starts"),
    # what speaks something else
    "a TLS hello": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, "NUL"),
}


@pytest.mark.parametrize(("wire", "status", "reason"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("memory_bytes", [1 << 20, 10])
def test_what_readers_could_disagree_on_is_refused(wire: bytes, status: int, reason: str, memory_bytes: int) -> None:
    for places in ((), *((place,) for place in one_by_one(wire)), one_by_one(wire)):
        found = outcome(get() + wire, *(len(get()) + place for place in places), eof=False, memory_bytes=memory_bytes)
        assert (found.frames, status_of(found)) == ([Gathered(get(), False)], status), places
        assert reason in str(found.error)


@pytest.mark.parametrize("wire", [bad[0] for bad in BAD.values()], ids=BAD)
def test_what_is_refused_stays_refused(wire: bytes) -> None:
    """Whoever goes on after the error (a handler that caught it) must not find a request in the rest."""
    for memory_bytes, step in ((1 << 20, len(wire)), (10, 1)):
        framing, inbox, errors = HttpRequests(memory_bytes=memory_bytes).fresh(), Inbox(65536), []
        for at in range(0, len(wire), step):
            inbox.feed(wire[at : at + step])
            try:
                assert isinstance(framing.next_frame(inbox, False), Need)
                assert not errors
            except BadRequest as error:
                errors.append(error)
        inbox.feed(b"\r\n\r\n" + get() * 3)
        with pytest.raises(BadRequest):
            framing.next_frame(inbox, False)
        assert errors
        framing.abandon()


def test_rubbish_is_refused_as_soon_as_it_shows() -> None:
    """Not when the time of a request is up: a person with netcat types bare LFs."""
    for wire in (b"GET / HTTP/1.1\n", b"\x16\x03\x01\x00", b"GET / HTTP/1.1\rX", chunked(b"z"), chunked(b"0\r\n ")):
        assert status_of(outcome(wire, eof=False)) == 400
    framing, inbox = HttpRequests().fresh(), Inbox(65536)
    inbox.feed(b"x" * EARLY_BYTES + b"\n")
    assert isinstance(framing.next_frame(inbox, False), Need), "a longer one is not read again at each byte"


def test_each_fault_says_where_it_is() -> None:
    for wire, offset in ((get(b"/", b"Host: a", b"B : c"), 25), (chunked(b"1\r\nx\r\n-\r\n\r\n"), 53)):
        error = outcome(wire).error
        assert isinstance(error, BadRequest)
        assert error.offset == offset
        assert f"at byte {offset} of" in str(error)


@pytest.mark.parametrize(
    "wire",
    [
        b"GET\r\n\r\n",
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET / HTTP/1.1 x\r\n\r\n",
        b"  \r\n\r\n",
        b" GET / HTTP/1.1\r\n\r\n",
        b"BREW /pot HTCPCP/1.0\r\n\r\n",
        b"PRI * HTTP/2.0\r\n\r\n",
        b"GET /\x7f\x01\xff HTTP/1.1\r\n\r\n",
        get(b"/", b"Host: a", b"Host: b", b"Cookie: \xe4\t\xff", b"X:", b"Z:\t y \t"),
        get(b"/", b"!#$%&'*+-.^_`|~09azAZ: x"),
        get(b"/", *[b"A: b"] * 200),
        post(b"Content-Length: 0003", body=b"abc"),
        post(b"CONTENT-LENGTH:\t 3 \t", body=b"abc"),
        post(b"X-Content-Length: 7", b"Content-Lengths: 8"),
        post(b"Transfer-Encoding:\tCHUNKED ", body=b"0\r\n\r\n"),
        post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"HTTP/9.9"),
        post(b"Transfer-Encoding: chunked", body=b"0\r\n\r\n", version=b"HTTP/01.01"),
        chunked(b"fF\r\n" + b"x" * 255 + b"\r\n0000000000000000\r\n\r\n"),
        chunked(b"1;a\t=\xff;b\r\nx\r\n0\t;\r\n\r\n"),
    ],
)
def test_what_changes_no_boundary_is_left_to_http_server(wire: bytes) -> None:
    for places in ((), one_by_one(wire)):
        assert outcome(wire * 2, *places).frames == [Gathered(wire, False)] * 2


# -- limits -----------------------------------------------------------------------------------------------------------


def head_of(size: int, line: int = 20) -> bytes:
    """A head of `size` bytes without its empty line, whose request line has `line`."""
    first = b"GET /" + b"x" * (line - 14) + b" HTTP/1.1"
    return first if line >= size else first + CRLF + b"A:" + b"y" * (size - line - 4)


@pytest.mark.parametrize(("line", "status"), [(20, 431), (99, 431), (100, 431), (101, 414), (150, 414)])
def test_a_head_over_its_limit_is_refused_before_its_end(line: int, status: int) -> None:
    head = head_of(200, line)
    for wire in (head[:104], head + CRLF * 2):
        for places in ((), one_by_one(wire)):
            assert status_of(outcome(get() + wire, *places, eof=False, head_bytes=100)) == status
    assert outcome(head[:103], eof=False, head_bytes=100).error is None, "it might end here"
    assert status_of(outcome(head_of(101) + CRLF * 2, eof=False, head_bytes=100)) == 431


def test_the_longest_head_is_no_longer_than_its_limit() -> None:
    for line in (20, 100):
        wire = head_of(100, line) + CRLF * 2
        assert len(wire) == 104
        for places in ((), (103,), one_by_one(wire)):
            assert outcome(wire, *places, head_bytes=100).frames == [Gathered(wire, False)]
        assert outcome(CRLF * 3 + wire, head_bytes=100).frames == [Gathered(wire, False)]
        assert status_of(outcome(wire, head_bytes=99)) in (414, 431)


def test_a_body_over_its_limit_is_refused_at_its_header() -> None:
    for wire in (post(b"Content-Length: 11"), post(b"Content-Length: 00011"), post(b"Content-Length: " + b"9" * 5000)):
        assert status_of(outcome(wire, eof=False, body_bytes=10)) == 413
    for digits in (b"10", b"0" * 5000 + b"10"):
        wire = post(b"Content-Length: " + digits, body=b"0123456789")
        assert outcome(wire, body_bytes=10).frames == [Gathered(wire, False)]


def test_chunks_over_the_limit_of_a_body_are_refused_at_their_size() -> None:
    for body in (b"10\r\n", b"FFFFFFFFFFFFFFFF\r\n", b"5\r\nabcde\r\n5\r\n", b"1\r\nx\r\n" * 3):
        assert status_of(outcome(chunked(body), eof=False, body_bytes=15)) == 413
    wire = chunked(b"5\r\nabcde\r\n2\r\nfg\r\n0\r\n\r\n")  # 10 and 7 on the wire, then 3 for the last line
    assert outcome(wire, body_bytes=20).frames == [Gathered(wire, False)]
    assert status_of(outcome(wire, body_bytes=19)) == 413


@pytest.mark.parametrize(
    "body",
    [
        b"1;" + b"x" * 117,
        b"1;" + b"x" * 101 + b"\r\nx\r\n0\r\n\r\n",
        b"1;xxxxxxxxx\r\nx\r\n" * 11 + b"0\r\n\r\n",
        b"0\r\nA:" + b"x" * 120,
        b"0\r\nA:" + b"x" * 100 + b"\r\n\r\n",
        b"0\r\n" + b"A: b\r\n" * 17 + b"\r\n",
        b"1;" + b"x" * 60 + b"\r\nx\r\n0\r\nA:" + b"x" * 60 + b"\r\n\r\n",
    ],
)
def test_extensions_and_trailers_have_a_limit(body: bytes) -> None:
    wire = chunked(body)
    for places in ((), one_by_one(wire)):
        assert status_of(outcome(wire, *places, eof=False, head_bytes=100)) == 431


def test_extensions_and_trailers_within_the_limit() -> None:
    end = b"0\r\n\r\n"
    for body in (b"1;%b\r\nx\r\n" % (b"x" * 99) + end, b"0\r\nA:%b\r\n\r\n" % (b"x" * 96), b"1\r\nx\r\n" * 99 + end):
        wire = chunked(body)
        for places in ((), one_by_one(wire)):
            assert outcome(wire, *places, head_bytes=100).frames == [Gathered(wire, False)]


def test_an_announced_length_allocates_nothing() -> None:
    for wire in (post(b"Content-Length: 1000000000"), chunked(b"3FFFFF00\r\n")):
        framing, inbox = HttpRequests().fresh(), Inbox(65536)
        inbox.feed(wire)
        tracemalloc.start()
        try:
            assert isinstance(framing.next_frame(inbox, False), Need)
            assert tracemalloc.get_traced_memory()[1] < 50_000
        finally:
            tracemalloc.stop()
            framing.abandon()


@pytest.mark.parametrize("name", ["head_bytes", "body_bytes", "memory_bytes"])
def test_nonsense_is_refused_at_once(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}=0"):
        HttpRequests(**{name: 0})


def test_an_error_names_the_limit_and_how_to_raise_it() -> None:
    for wire, name in (
        (post(b"Content-Length: 11"), "body_bytes"),
        (chunked(b"b\r\n"), "body_bytes"),
        (b"x" * 200, "head_bytes"),
        (chunked(b"0\r\n" + b"A: b\r\n" * 40), "head_bytes"),
    ):
        error = outcome(wire, head_bytes=100, body_bytes=10).error
        assert isinstance(error, BadRequest)
        assert error.limit == {"body_bytes": 10, "head_bytes": 100}[name]
        assert f"HttpRequests({name}=...)" in str(error)


# -- the end of the stream --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory_bytes", [1 << 20, 60])
def test_half_a_request_is_never_run(memory_bytes: int) -> None:
    for wire in (get(), post(b"Content-Length: 30", body=b"x" * 30), chunked(b"5\r\nabcde\r\n0\r\nA: b\r\n\r\n")):
        for end in one_by_one(wire):
            for places in ((), range(1, end)):
                found = outcome(get() + wire[:end], *(len(get()) + place for place in places), memory_bytes=memory_bytes)
                assert found.frames == [Gathered(get(), False)]
                assert isinstance(found.error, FramingError)
                assert found.error.offset == end
                assert "the stream ended inside a frame" in str(found.error)
                assert HttpRequests().refusal(found.error).startswith(b"HTTP/1.1 400 ")


# -- what is not in memory --------------------------------------------------------------------------------------------


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """The temporary files that were opened."""
    files: list[Any] = []
    make = tempfile.TemporaryFile

    def watched(*args: Any, **keywords: Any) -> Any:
        files.append(make(*args, **keywords))
        return files[-1]

    monkeypatch.setattr(tempfile, "TemporaryFile", watched)
    return files


BIG = 8_000_000


def pieces_of(kind: str) -> Iterator[bytes]:
    if kind == "sized":
        yield post(b"Content-Length: %d" % BIG)
        for _ in range(BIG // 50_000):
            yield b"x" * 50_000
        return
    yield post(b"Transfer-Encoding: chunked")
    size = {"long chunks": 500_000, "chunks": 50_000, "short chunks": 1000}[kind]
    for _ in range(BIG // 50_000):
        if size > 50_000:
            yield b"x" * 50_000
        else:
            yield (b"%x\r\n" % size + b"x" * size + b"\r\n") * (50_000 // size)
    yield b"0\r\n\r\n"


def test_a_large_request_is_on_disk_while_it_arrives(opened: list[Any]) -> None:
    for kind in ("sized", "chunks", "short chunks"):
        framing, inbox = HttpRequests(memory_bytes=100_000).fresh(), Inbox(65536)
        wire_bytes, frame, replies = 0, None, []
        tracemalloc.start()
        try:
            for piece in pieces_of(kind):
                wire_bytes += len(piece)
                inbox.feed(piece)
                frame = framing.next_frame(inbox, False)
                replies.append(frame)
                assert len(inbox) <= 120_000
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 700_000, kind
        assert all(isinstance(need, Need) and need.total_bytes == 0 for need in replies[:-1])
        assert frame is opened.pop()
        assert not isinstance(frame, (bytes, Need, type(None)))
        with frame:
            assert frame.tell() == 0
            assert len(frame.read()) == wire_bytes


def test_long_chunks_are_on_disk_while_they_arrive(opened: list[Any]) -> None:
    framing, inbox = HttpRequests(memory_bytes=100_000).fresh(), Inbox(65536)
    wire = chunked(b"F4240\r\n" + b"x" * 1_000_000 + b"\r\n0\r\n\r\n")
    frame: Any = None
    for at in range(0, len(wire), 40_000):
        inbox.feed(wire[at : at + 40_000])
        frame = framing.next_frame(inbox, False)
        assert len(inbox) <= 110_000
    with frame:
        assert frame.read() == wire


def test_what_fits_in_memory_opens_no_file(opened: list[Any]) -> None:
    wire = post(b"Content-Length: 300000", body=b"x" * 300_000)
    assert outcome(wire, *range(50_000, 300_000, 50_000)).frames == [Gathered(wire, False)]
    chunks = chunked(b"10000\r\n" + b"x" * 65536 + b"\r\n", b"A: b") + b"10000\r\n" + b"y" * 65536 + b"\r\n0\r\n\r\n"
    assert outcome(chunks, *range(50_000, len(chunks), 50_000)).frames == [Gathered(chunks, False)]
    assert opened == []


def test_what_will_not_fit_in_memory_is_on_disk_from_its_start(opened: list[Any]) -> None:
    """A body that dribbles in would be held as many small pieces, each of which takes fifty bytes."""
    framing, inbox = HttpRequests(memory_bytes=1000).fresh(), Inbox(65536)
    inbox.feed(post(b"Content-Length: 5000", body=b"x" * 10))
    assert isinstance(framing.next_frame(inbox, False), Need)
    assert len(opened) == 1
    framing.abandon()


def unfinished(**limits: int) -> tuple[HttpRequests, Inbox]:
    framing, inbox = HttpRequests(**{"memory_bytes": 50, **limits}).fresh(), Inbox(65536)
    inbox.feed(post(b"Content-Length: 100", body=b"x" * 60))
    assert isinstance(framing.next_frame(inbox, False), Need)
    return framing, inbox


def test_an_unfinished_file_is_closed_when_its_row_ends(opened: list[Any]) -> None:
    framing, _ = unfinished()
    assert not opened[0].closed
    framing.abandon()
    assert opened[0].closed
    framing.abandon()


def test_an_unfinished_file_is_closed_when_nobody_says_so(opened: list[Any]) -> None:
    framing, _ = unfinished()
    del framing
    gc.collect()
    assert opened[0].closed


def test_what_was_given_up_half_read_is_not_gone_on_with() -> None:
    framing, inbox = unfinished()
    framing.abandon()
    inbox.feed(b"x" * 40 + get())
    for _ in range(2):
        with pytest.raises(BadRequest, match="given up half read"):
            framing.next_frame(inbox, False)


def test_what_was_given_up_unread_is_all_there() -> None:
    framing, inbox = unfinished(memory_bytes=1000)
    held = len(inbox)
    framing.abandon()
    assert (len(inbox), framing.held_bytes) == (held, 0)
    inbox.feed(b"x" * 40)
    assert len(gathered(framing.next_frame(inbox, False)).wire) == held + 40


def test_the_bytes_that_it_holds_are_known() -> None:
    framing, inbox = unfinished()
    whole = len(post(b"Content-Length: 100")) + 60
    assert framing.held_bytes + len(inbox) == whole
    assert len(inbox) == 1
    inbox.feed(b"x" * 40)
    gathered(framing.next_frame(inbox, False))
    assert framing.held_bytes == 0


class FullDisk:
    """A file that fails at one of its methods."""

    def __init__(self, fails: str) -> None:
        self.fails, self.closed = fails, False

    def act(self, name: str) -> None:
        if self.fails == name:
            raise OSError(errno.ENOSPC, "No space left on device")

    def write(self, data: bytes) -> int:
        self.act("write")
        return len(data)

    def seek(self, offset: int) -> int:
        self.act("seek")
        return offset

    def close(self) -> None:
        self.closed = True
        self.act(self.fails)


@pytest.mark.parametrize("fails", ["open", "write", "seek"])
@pytest.mark.parametrize("step", [1, 200])
def test_a_full_disk_refuses_the_request(fails: str, step: int, monkeypatch: pytest.MonkeyPatch) -> None:
    file = FullDisk(fails)

    def opens() -> FullDisk:
        file.act("open")
        return file

    monkeypatch.setattr(tempfile, "TemporaryFile", opens)
    wire = post(b"Content-Length: 100", body=b"x" * 100)
    framing, inbox = HttpRequests(memory_bytes=50).fresh(), Inbox(65536)
    pieces = [wire[at : at + step] for at in range(0, len(wire), step)]
    with pytest.raises(BadRequest, match="No space left") as caught:
        list(feed(framing, inbox, pieces, []))
    assert caught.value.status == 503
    assert framing.refusal(caught.value).startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert file.closed or fails == "open"
    inbox.feed(get())
    with pytest.raises(BadRequest, match="No space left"):
        framing.next_frame(inbox, False)
    framing.abandon()


# -- the rest of the interface ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [400, 413, 414, 417, 431, 501, 503])
def test_a_refusal_is_a_whole_response(status: int) -> None:
    error = BadRequest(status, "no")
    text = HttpRequests().map(bytes).refusal(error)
    head, _, body = text.partition(b"\r\n\r\n")
    lines = head.split(CRLF)
    version, number, phrase = lines[0].split(b" ", 2)
    assert (version, int(number), phrase.istitle() or b"URI" in phrase) == (b"HTTP/1.1", status, True)
    assert (lines[1:], body) == ([b"Content-Length: 0", b"Connection: close"], b"")


def test_only_a_request_that_has_begun_is_told_that_it_is_late() -> None:
    framing = HttpRequests()
    assert framing.refusal(LimitError("request_s", 30, 30)).startswith(b"HTTP/1.1 408 Request Timeout\r\n")
    for name in ("idle_s", "work_s", "write_stall_s", "outbox_bytes"):
        assert framing.refusal(LimitError(name, 30, 30)) == b""
    assert framing.refusal(FramingError("a mapped decoder's")).startswith(b"HTTP/1.1 400 Bad Request\r\n")


@pytest.mark.parametrize(
    ("wire", "text", "total_bytes"),
    [
        (b"", "until b'\\r\\n\\r\\n'", 0),
        (b"GET / HTTP/1.1\r\n", "until b'\\r\\n\\r\\n'", 0),
        (post(b"Content-Length: 1000"), "exactly 1041", 1041),
        (post(b"Content-Length: 1000", b"Expect: 100-continue"), "exactly 1063", 1063),
        (post(b"Content-Length: 10000"), "exactly 10042", 0),
        (chunked(b""), "a chunk", 0),
        (chunked(b"5\r\nab"), "a chunk", 0),
        (chunked(b"5\r\nab", b"Expect: 100-continue"), "a chunk", 0),
    ],
)
def test_a_need_says_what_is_missing(wire: bytes, text: str, total_bytes: int) -> None:
    framing, inbox = HttpRequests(memory_bytes=5000).fresh(), Inbox(65536)
    if wire:
        inbox.feed(wire)
    need = framing.next_frame(inbox, False)
    assert isinstance(need, Need)
    assert (str(need), need.total_bytes) == (text, total_bytes)
    assert need.limit == (65536 if "until" in text else None)


def test_a_fresh_framing_has_no_state_of_another_row() -> None:
    framing, inbox = unfinished(head_bytes=1234, body_bytes=5678)
    other = framing.fresh()
    assert (other.head_bytes, other.body_bytes, other.memory_bytes, other.held_bytes) == (1234, 5678, 50, 0)
    clean = Inbox(65536)
    clean.feed(CRLF * 4 + get())
    assert other.next_frame(clean, False) == get()
    inbox.feed(b"x" * 40)
    assert gathered(framing.next_frame(inbox, False)).is_file
    spent = HttpRequests()
    clean.feed(CRLF * 4)
    assert isinstance(spent.next_frame(clean, False), Need)
    clean.feed(CRLF * 4 + get())
    assert spent.fresh().next_frame(clean, False) == get()


def test_a_frame_encodes_to_its_bytes() -> None:
    assert HttpRequests().encode(get()) == get()
    with tempfile.TemporaryFile() as file:
        file.write(get())
        assert HttpRequests().encode(file) == get()
        assert file.tell() == 0


# -- the cost ---------------------------------------------------------------------------------------------------------


class Watched(Inbox):
    """An inbox that counts the bytes it shows."""

    __slots__ = ("shown",)

    def peek(self, n: int) -> bytes:
        data = super().peek(n)
        self.shown += len(data)
        return data


def test_a_head_that_arrives_byte_by_byte_is_read_once() -> None:
    framing, inbox = HttpRequests().fresh(), Watched(65536)
    inbox.shown = 0
    wire = get(b"/", b"A: " + b"x" * 60_000)
    for byte in wire[:-1]:
        inbox.feed(bytes([byte]))
        assert isinstance(framing.next_frame(inbox, False), Need)
    assert inbox.shown <= EARLY_BYTES * (EARLY_BYTES + 1) / 2 + 2 * len(wire), "looked at again"


def test_a_body_that_arrives_byte_by_byte_is_not_read_at_all() -> None:
    for wire in (post(b"Content-Length: 20000", body=b"x" * 20_000), chunked(b"4E20\r\n" + b"x" * 20_000)):
        framing, inbox = HttpRequests().fresh(), Watched(65536)
        inbox.shown = 0
        inbox.feed(wire[:60])
        framing.next_frame(inbox, False)
        inbox.shown = 0
        for byte in wire[60:-1]:
            inbox.feed(bytes([byte]))
            assert isinstance(framing.next_frame(inbox, False), Need)
        assert inbox.shown == 0


class Searched(bytes):
    """Bytes that note from where they are searched."""

    starts: list[int]

    def find(self, sub: Any, start: Any = 0, end: Any = None) -> int:
        self.starts.append(start)
        return super().find(sub, start)


@pytest.mark.parametrize("body", [b"1;" + b"x" * 3000, b"0\r\nA:" + b"x" * 3000])
def test_a_line_of_a_chunked_body_is_searched_once(body: bytes) -> None:
    chunks, starts = Chunks(0, 10_000, 10_000), []
    for size in range(1, len(body)):
        data = Searched(body[:size])
        data.starts = starts
        assert chunks.scan(data, 0) == 0
    assert starts[-100:] == list(range(len(body) - 101, len(body) - 1))


@pytest.mark.parametrize("chunk", [b"1\r\nx\r\n", b"01\r\nx\r\n", b"F\r\n%b\r\n" % (b"x" * 15), b"2\r\n\r\n\r\n"])
def test_tiny_chunks_are_not_looked_at_one_by_one(chunk: bytes) -> None:
    """A read may hold ten thousand: the turn of all others would be 18 ms late."""
    data = Searched(chunk * 1000 + b"0\r\n\r\n")
    data.starts = []
    assert Chunks(0, 100_000, 10).scan(data, 0) == len(data)
    assert len(data.starts) == 2


@tries()
@given(st.lists(st.tuples(st.integers(0, 16), st.integers(0, 20), st.booleans()), max_size=8), st.data())
def test_chunks_of_all_sizes(shapes: list[tuple[int, int, bool]], data: st.DataObject) -> None:
    """Up to 16 digits, leading zeros included, in both cases."""
    body, is_legal = b"", True
    for zeros, size, upper in shapes:
        digits = b"0" * zeros + (b"%X" if upper else b"%x") % (size + 1)
        is_legal = is_legal and len(digits) <= 16
        body += digits + CRLF + b"\r" * (size + 1) + CRLF
    wire = chunked(body + b"0\r\n\r\n")
    found = outcome(wire, *sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=4))))
    assert found.frames == ([Gathered(wire, False)] if is_legal else [])
    assert status_of(found) == (None if is_legal else 400)


# -- what http.server makes of it -------------------------------------------------------------------------------------


class Recorder(http.server.BaseHTTPRequestHandler):
    """Notes what it understood."""

    protocol_version = "HTTP/1.1"
    understood: dict[str, Any]

    def do_any(self) -> None:
        length = self.headers.get_all("Content-Length", [])
        self.understood = {
            "lengths": length,
            "chunked": self.headers.get_all("Transfer-Encoding", []),
            "expect": self.headers.get_all("Expect"),
            "body": self.rfile.read(int(length[0]) if length else 0),
            "rest": self.rfile.read(),
            "names": len(self.headers.keys()),
            "modern": self.request_version,
        }

    do_GET = do_POST = do_HEAD = do_any

    def log_message(self, *args: Any) -> None:
        pass


class Request:
    """A frame as the request of a handler."""

    def __init__(self, frame: bytes) -> None:
        self.frame, self.written = frame, bytearray()

    def makefile(self, mode: str, *args: Any) -> io.BytesIO:
        return io.BytesIO(self.frame)

    def sendall(self, data: bytes) -> None:
        self.written += data


def understood(frame: bytes) -> tuple[dict[str, Any], bytes]:
    """What http.server reads in a frame, and what it answers by itself."""
    handler, request = Recorder.__new__(Recorder), Request(frame)
    handler.understood = {}
    handler.__init__(request, ("127.0.0.1", 1), None)  # type: ignore[misc,arg-type]
    return handler.understood, bytes(request.written)


def is_agreed(frame: bytes) -> bool:
    """Does http.server see one request in the frame, with the body that we saw? (Or none: it has refused it.)"""
    seen, answer = understood(frame)
    if not seen:
        return not answer or answer.startswith(b"HTTP/1.1 ") or b"<p>Error code" in answer
    head = frame[: frame.index(b"\r\n\r\n") + 4]
    said = announced(head)
    assert seen["expect"] is None
    assert len(seen["lengths"]) <= 1
    assert seen["names"] == head.count(CRLF) - 2, "a field got lost, or two were made of one"
    body = frame[len(head) :]
    if said.body_bytes is None:
        return seen["chunked"] == ["chunked"] and seen["body"] == b"" and seen["rest"] == body
    return len(body) == said.body_bytes and (seen["body"], seen["rest"]) == (body, b"") and not seen["chunked"]


NAMES = st.sampled_from([b"Host", b"A", b"content-length", b"Content-Length", b"X-Content-Length", b"Expect", b"From"])
VALUES = st.one_of(
    st.sampled_from([b"0", b"3", b" 3", b"3\t", b"03", b"100-continue", b"chunked", b"a: b", b"\xa0", b"\x85x", b"="]),
    st.text(st.characters(max_codepoint=255, exclude_characters="\r\n\0", exclude_categories=["Cc"])).map(
        lambda text: text.encode("latin-1")
    ),
)
LINES = st.one_of(
    st.tuples(NAMES, VALUES).map(b":".join),
    st.sampled_from([b"Content-Length: 3", b"Transfer-Encoding: chunked", b"Expect: 100-continue", b"Connection: close"]),
)
FIRST = st.sampled_from([
    b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"POST /a HTTP/1.0", b"GET /", b"POST /", b"HEAD / HTTP/1.1", b"GET / HTTP/9.9",
    b"GET / HTTP/1.2", b"GET  / HTTP/1.1", b"GET\x0b/ HTTP/1.1", b"GET /\xa0HTTP/1.1", b"GET / x HTTP/1.1",
    b"POST / HTTP/+1.1", b"POST / HTTP/1.1\x1f", b"POST\x85/ HTTP/01.1", b"OPTIONS * HTTP/1.1", b" GET / HTTP/1.1 ",
])  # fmt: skip


@tries(600)
@given(FIRST, st.lists(LINES, max_size=5), st.sampled_from([b"abc", b"3\r\nabc\r\n0\r\n\r\n", b"", b"0\r\nA: b\r\n\r\n"]))
@example(b"GET / HTTP/1.1", [b"A:\x85Content-Length: 3"], b"abc")
@example(b"POST / HTTP/1.1", [b"Content-Length: 3", b"A:"], b"abc")
def test_http_server_sees_the_same_request(first: bytes, lines: list[bytes], body: bytes) -> None:
    wire = CRLF.join([first, *lines, b"", body])
    found = outcome(wire, eof=False)
    for frame in found.frames[:1]:
        assert is_agreed(frame.wire), frame


# -- anything at all --------------------------------------------------------------------------------------------------

PARTS = st.lists(
    st.one_of(
        st.sampled_from([
            b"GET / HTTP/1.1", b"POST / HTTP/1.1", b"POST / HTTP/1.0", CRLF, CRLF, b"\r\n\r\n", b"\n", b"\r", b":", b" ",
            b"A: b", b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b"Expect: 100-continue\r\n", b"0",
            b"3\r\nabc\r\n", b"0\r\n\r\n", b";a", b"\0", b"abc", b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n",
            b"POST / HTTP/1.1\r\nContent-Length: 5\r\n\r\n",
        ]),
        st.binary(max_size=5),
    ),
    max_size=15,
).map(b"".join)  # fmt: skip


@tries(800)
@given(PARTS, st.data(), st.sampled_from([1 << 20, 40, 1]))
def test_whatever_arrives_is_a_request_or_refused(wire: bytes, data: st.DataObject, memory_bytes: int) -> None:
    limits = {"head_bytes": 80, "body_bytes": 40, "memory_bytes": memory_bytes}
    whole = outcome(wire, **limits)
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    for split in (outcome(wire, *places, **limits), outcome(wire, *one_by_one(wire), **limits)):
        assert split.frames == whole.frames
        assert isinstance(split.error, EndOfStream) == isinstance(whole.error, EndOfStream)


PIECES = [b"GET / HTTP/1.1", CRLF, b"A: b", b"A:", b":", b" ", b"\n", b"\r", b"\0", b"\x7f"]


@tries()
@given(st.lists(st.sampled_from(PIECES)).map(b"".join))
def test_what_is_no_head_has_a_fault(text: bytes) -> None:
    head = text + b"\r\n\r\n"
    if head.index(b"\r\n\r\n") == len(head) - 4 and is_head(head) is None and text[:2] not in (b"", CRLF):
        assert "is no head" not in str(head_fault(head))
    assert "is no head" in str(head_fault(CRLF * 2))


TOKENS = st.text("abcXYZ09-_!", min_size=1, max_size=8).map(str.encode).filter(
    lambda name: name.lower() not in (b"expect", b"content-length", b"transfer-encoding")
)  # fmt: skip
TEXTS = st.binary(max_size=12).map(lambda text: bytes(byte for byte in text if byte >= 32 and byte != 127))
FIELDS = st.lists(st.tuples(TOKENS, TEXTS).map(b": ".join), max_size=4)


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """Any request in order."""
    lines, body = draw(FIELDS), draw(st.binary(max_size=60))
    kind = draw(st.sampled_from(["none", "sized", "chunked"]))
    if kind == "none":
        return get(b"/" + draw(TOKENS), *lines)
    if kind == "sized":
        lines.insert(draw(st.integers(0, len(lines))), b"Content-Length: %d" % len(body))
        return post(*lines, body=body)
    chunks = b"".join(
        b"%X%b\r\n%b\r\n" % (len(piece), draw(st.sampled_from([b"", b";a", b" ;a=b"])), piece)
        for piece in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4))
    )
    trailers = b"".join(line + CRLF for line in draw(FIELDS))
    lines.insert(draw(st.integers(0, len(lines))), b"Transfer-Encoding: chunked")
    return post(*lines, body=chunks + b"0\r\n" + trailers + CRLF)


@tries(200)
@given(st.lists(requests(), max_size=4), st.data(), st.sampled_from([1 << 20, 70]))
def test_any_requests_in_any_pieces(frames: list[bytes], data: st.DataObject, memory_bytes: int) -> None:
    wire = b"".join(frames)
    places = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    found = outcome(wire, *places, memory_bytes=memory_bytes)
    assert [frame.wire for frame in found.frames] == frames
    assert isinstance(found.error, EndOfStream)
    with contextlib.suppress(IndexError):
        assert is_agreed(frames[0])
