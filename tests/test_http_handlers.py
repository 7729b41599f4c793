"""Quick handlers of http.server: the same message as http.client's for any head, and no trace left of how it was done."""

import contextlib
import email.utils
import functools
import gc
import http.client
import http.server
import io
import socketserver
import types
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from reactor import http_handlers
from reactor import socketserver as ours
from reactor.frame_files import FrameFile, SpooledFrameFile
from reactor.frame_files import in_memory as unread
from reactor.http_handlers import maker_for, quick_parse_headers
from tests.properties import tries

quick = quick_parse_headers(http.client)
LINE_BYTES = 65536  # http.client._MAXLINE


# -- the two parsers --------------------------------------------------------------------------------------------------


class Trickle(io.RawIOBase):
    """A raw file that delivers pieces of these sizes, over and over."""

    def __init__(self, data: bytes, sizes: list[int]) -> None:
        self._data, self._sizes, self._reads, self.at = data, sizes, 0, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        size = min(self._sizes[self._reads % len(self._sizes)], len(buffer))
        self._reads += 1
        piece = self._data[self.at : self.at + size]
        buffer[: len(piece)] = piece
        self.at += len(piece)
        return len(piece)


def in_memory(data: bytes, sizes: list[int]) -> Any:
    return FrameFile(data)


def on_disk(data: bytes, sizes: list[int]) -> Any:
    return SpooledFrameFile(io.BytesIO(data))


def trickling(data: bytes, sizes: list[int]) -> Any:
    return io.BufferedReader(Trickle(data, sizes))


def all_at_once(data: bytes, sizes: list[int]) -> Any:
    return io.BufferedReader(io.BytesIO(data), len(data) + 1)


FILES = [in_memory, on_disk, trickling, all_at_once]


def attempted(function: Callable[[], Any]) -> Any:
    """Return what a function returns, or its error as text: as_bytes() fails for characters that have no encoding."""
    try:
        return function()
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def seen(message: Any) -> dict[str, Any]:
    """Return all that can be asked of a message."""
    inside = {name: value for name, value in vars(message).items() if name not in ("defects", "_payload")}
    return {
        "type": type(message),
        "items": message.items(),
        "raw": message._headers,
        "all": [message.get_all(name.upper()) for name in message],
        "defects": [str(defect) for defect in message.defects],
        "payload": [seen(part) for part in message._payload] if message.is_multipart() else message._payload,
        "text": attempted(lambda: str(message)),
        "bytes": attempted(message.as_bytes),
        "inside": {name: [] if name == "_headers" else value for name, value in inside.items()},
    }


def outcome(parse: Callable[..., Any], file: Any) -> Any:
    """Return the message or the error, and what is left in the file."""
    try:
        found = seen(parse(file, _class=http.client.HTTPMessage))
    except Exception as error:
        found = {"error": type(error), "text": str(error)}
    return found, file.read()


def agree(data: bytes, sizes: list[int] | None = None) -> Any:
    """Parse with both, from all kinds of files; return what http.client made of it."""
    for make in FILES:
        with contextlib.closing(make(data, sizes or [7])) as its, contextlib.closing(make(data, sizes or [7])) as own:
            expected, got = outcome(http.client.parse_headers, its), outcome(quick, own)
            assert got == expected, make.__name__
    return expected


names = st.one_of(
    st.sampled_from([
        b"Host", b"host", b"HOST", b"X-A", b"Content-Length", b"Content-Type", b"content-TYPE", b"From", b"", b"a b",
        b"a\x85", b"a(", b"!#$%&'*+-.^_`|~0", b">From", b"From x", b"\xff", b"a\t", b" a", b"a\x7f",
    ]),
    st.binary(max_size=6),
)  # fmt: skip
values = st.one_of(
    st.sampled_from([
        b"", b" ", b"b", b"\tb", b"a:b", b":", b"b ", b"b\t ", b"\x85b", b"b\x85c", b"a\x0bb", b"a\x0cb",
        b"\xa0b", b"\xe9\xff",
        b"a\x1cb", b"a\x00b", b"a\x7fb", b"\rb", b"a\rb", b"\nb", b"=?utf-8?q?a?=", b"text/plain", b"multipart/mixed",
        b"MULTIPART/x; boundary=b", b"message/rfc822", b"Message/Delivery-Status", b"\xa0multipart/mixed",
        b"\x85message/http",
        b"multipart /mixed", b"multi part/mixed", b"x; multipart/mixed",
    ]),
    st.binary(max_size=12),
)  # fmt: skip
colons = st.sampled_from([b": ", b":", b": ", b" : ", b":\t", b"", b"::"])
ends = st.sampled_from([b"\r\n"] * 12 + [b"\n", b"\r", b"\r\n ", b"\r\n\t", b"\n\r", b"\r\r\n", b"\x85", b"\x0c", b""])
lines = st.tuples(names, colons, values, ends).map(b"".join)
plain_lines = st.tuples(
    st.sampled_from([b"Host", b"a", b"A", b"Content-Type", b"x_1"]), st.sampled_from([b":", b": ", b":\t "]),
    st.sampled_from([b"", b"b", b"b c ", b"\xe9", b"\x85", b"\xa0", b"a:b", b"text/html", b"\x85multipart/a", b"message/x"]),
    st.just(b"\r\n"),
).map(b"".join)  # fmt: skip
bodies = st.sampled_from([
    b"", b"body", b"\r\n", b"\r\n\r\n", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", b"--b\r\n\r\nx\r\n--b--\r\n"
])  # fmt: skip
tails = st.sampled_from([b"\r\n", b"\r\n", b"\r\n", b"", b"\n", b"\r", b"\n\r\n"])
sizes = st.lists(st.integers(1, 40), min_size=1, max_size=4)


def heads(line: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(st.lists(line, max_size=8).map(b"".join), tails, bodies).map(b"".join)


@tries(500)
@given(heads(lines), sizes)
@example(b"Content-Type: \xa0multipart/mixed; boundary=b\r\n\r\n", [100])
@example(b"Content-Type: \x85message/rfc822\r\n\r\n", [100])
@example(b"\r\nGET / HTTP/1.1\r\nA: b\r\n\r\n", [100])
@example(b"\r\n\r\nA: b\r\n\r\n", [100])
@example(b"A: b\n\r\nC: d\r\n\r\n", [100])
def test_any_head_is_the_same_message(data: bytes, sizes: list[int]) -> None:
    agree(data, sizes)


@tries(300)
@given(heads(plain_lines), sizes)
def test_a_plain_head_is_the_same_message(data: bytes, sizes: list[int]) -> None:
    agree(data, sizes)


@tries(200)
@given(st.binary(max_size=200), sizes)
def test_noise_is_the_same_message(data: bytes, sizes: list[int]) -> None:
    agree(data, sizes)
    agree(data + b"\r\n\r\n", sizes)


@pytest.mark.parametrize("character", [bytes([number]) for number in range(256)], ids=lambda character: character.hex())
def test_any_character_anywhere(character: bytes) -> None:
    for head in (
        b"Nam%se: value\r\n", b"%sName: value\r\n", b"Name%s: value\r\n", b"Name:%svalue\r\n", b"Name: val%sue\r\n",
        b"Name: value%s\r\n", b"Name: value\r%s\n", b"Name: value\r\n%s", b"A: b\r\nContent-Type:%smultipart/mixed\r\n",
        b"Content-Type: multipart%s/mixed\r\n", b"Content-Type:%smessage/rfc822\r\n", b"Content-Type%s: message/http\r\n",
    ):  # fmt: skip
        agree(head % character + b"\r\nbody", [1000])


@pytest.mark.parametrize("count", [0, 1, 2, 98, 99, 100, 101, 102, 500])
@pytest.mark.parametrize("end", [b"\r\n", b"", b"\n"])
def test_as_many_fields_as_http_client_allows(count: int, end: bytes) -> None:
    agree(b"".join(b"N%d: v\r\n" % number for number in range(count)) + end + b"body", [100_000])


@pytest.mark.parametrize("size", [4096, LINE_BYTES - 4, LINE_BYTES - 3, *range(LINE_BYTES - 2, LINE_BYTES + 4), 100_000])
@pytest.mark.parametrize("before", [b"", b"A: b\r\n"])
def test_lines_as_long_as_http_client_allows(size: int, before: bytes) -> None:
    line = b"Name: " + b"x" * (size - 8) + b"\r\n"
    assert len(line) == size
    found, _ = agree(before + line + b"\r\nbody", [200_000])
    assert ("error" in found) == (size > LINE_BYTES)


@pytest.mark.parametrize("type_", ["multipart/mixed", "Multipart/Form-Data; boundary=b", "message/rfc822", "MESSAGE/HTTP"])
@pytest.mark.parametrize("name", ["Content-Type", "content-type", "CONTENT-TYPE"])
def test_bodies_that_the_email_parser_looks_into(type_: str, name: str) -> None:
    for before in ("", "Host: x\r\n", "Content-Type: text/plain\r\n"):
        agree(f"{before}{name}: {type_}\r\n\r\nbody".encode(), [1000])


def is_quick(file: Any) -> bool:
    """Parse, and say whether it was done without http.client."""
    asked: list[Any] = []
    client = types.ModuleType("client")
    vars(client).update(vars(http.client), stock=http.client.parse_headers, asked=asked)
    exec("def parse_headers(fp, _class): asked.append(fp); return stock(fp, _class)", vars(client))
    message = quick_parse_headers(client)(file)
    assert message.items() == [("A", "b"), ("c", "")]
    return not asked


PLAIN = b"A: b\r\nc:\r\n\r\nbody"


@pytest.mark.parametrize("make", FILES)
def test_a_plain_head_is_quick(make: Any) -> None:
    with contextlib.closing(make(PLAIN, [100])) as file:
        assert is_quick(file)
        assert file.read() == b"body"


def test_a_head_that_is_here_in_part_is_not_waited_for() -> None:
    with contextlib.closing(trickling(PLAIN, [10])) as file:
        assert not is_quick(file)
        assert file.read() == b"body"


class Counting(io.BufferedReader):
    """A reader of the user's, which sees each line."""

    count = 0

    def readline(self, size: int | None = -1, /) -> bytes:
        self.count += 1
        return super().readline(size)


def test_a_file_of_the_users_is_read_line_by_line() -> None:
    with Counting(io.BytesIO(PLAIN)) as file:  # type: ignore[arg-type]
        assert not is_quick(file)
        assert (file.count, file.read()) == (3, b"body")


@pytest.mark.parametrize("make", [io.BytesIO, lambda data: Trickle(data, [3])])
def test_a_file_that_cannot_peek(make: Any) -> None:
    """As with `rbufsize = 0`."""
    with make(PLAIN) as file:
        assert not is_quick(file)
        assert file.read(4) in (b"body", b"bod")


class Stores(http.client.HTTPMessage):
    """A message that changes what it is given."""

    def set_raw(self, name: str, value: str) -> None:
        super().set_raw(name.upper(), value)


def test_a_message_class_of_the_users_is_filled_as_ever() -> None:
    message = quick(FrameFile(PLAIN), _class=Stores)
    assert type(message) is Stores
    assert message.items() == [("A", "b"), ("C", "")]


def test_a_parser_that_somebody_put_into_http_client_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = quick_parse_headers(http.client)
    monkeypatch.setattr(http.client, "parse_headers", lambda fp, _class: "theirs")
    assert mine(FrameFile(PLAIN)) == "theirs"  # put there later
    assert quick_parse_headers(http.client)(FrameFile(PLAIN)) == "theirs"  # or before


def test_a_head_does_not_read_past_its_frame() -> None:
    file = unread(PLAIN.removesuffix(b"body"))
    quick(file)
    assert not file.past_end


def test_messages_share_nothing() -> None:
    first, second = quick(FrameFile(PLAIN)), quick(FrameFile(PLAIN))
    first["X"] = "y"
    first.defects.append(ValueError())
    assert second.items() == [("A", "b"), ("c", "")]
    assert second.defects == []


# -- which handlers are made quickly ----------------------------------------------------------------------------------


class Handler(http.server.BaseHTTPRequestHandler):
    """Answers with what it was asked, and writes nothing to a log."""

    protocol_version = "HTTP/1.1"
    made = 0

    def setup(self) -> None:
        type(self).made += 1
        super().setup()

    def do_GET(self) -> None:
        self.answer(b"get " + self.path.encode())

    def answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


class Row:
    """A request as a framed row is one: a frame to read, and a place to write to."""

    def __init__(self, frame: bytes) -> None:
        self.file, self.written = unread(frame), bytearray()

    def makefile(self, mode: str, buffering: int | None = None) -> Any:
        return self.file

    def sendall(self, data: Any) -> None:
        self.written += data

    def settimeout(self, timeout_s: float | None) -> None:
        pass

    def setsockopt(self, *args: Any) -> None:
        pass


class Server(ours.BaseServer):
    """A server without a socket."""


def server(handler: Any = Handler, base: Any = Server) -> Any:
    return base(("", 0), handler)


def own(base: type = Handler, **attributes: Any) -> Any:
    return types.new_class("Own", (base,), exec_body=lambda namespace: namespace.update({"made": 0} | attributes))


def frame(*lines: bytes, body: bytes = b"") -> bytes:
    return b"\r\n".join([*lines, b"", b""]) + body


GET = frame(b"GET /a HTTP/1.1", b"Host: x")


def run(make: Any, data: bytes = GET, address: Any = ("peer", 1)) -> Row:
    row = Row(data)
    make(row, address)
    return row


def replies(row: Row) -> int:
    return bytes(row.written).count(b"HTTP/1.1 200")


class Meta(type):
    """A metaclass, which may have a __call__."""


class Slotted(Handler):
    """A handler with slots."""

    __slots__ = ("color",)


class Unix(socketserver.ThreadingMixIn, socketserver.TCPServer):
    """The standard library's."""


class Tracing(Handler):
    """Overrides what does not matter here."""

    def handle_one_request(self) -> None:
        super().handle_one_request()

    def date_time_string(self, timestamp: float | None = None) -> str:
        return "now"


@pytest.mark.parametrize("handler", [
    http.server.BaseHTTPRequestHandler, http.server.SimpleHTTPRequestHandler, Handler, Slotted, Tracing,
    functools.partial(Handler), functools.partial(http.server.SimpleHTTPRequestHandler, directory="/"),
])  # fmt: skip
def test_handlers_that_are_made_quickly(handler: Any) -> None:
    assert maker_for(server(handler)) is not None


@pytest.mark.parametrize("handler", [
    ours.StreamRequestHandler, socketserver.BaseRequestHandler, print, lambda *args: None, functools.partial(print),
    own(parse_request=lambda self: False), own(MessageClass=Stores), own(__new__=lambda cls, *args: object.__new__(cls)),
    types.new_class("Made", (Handler,), {"metaclass": Meta}), "no handler", functools.partial(own(parse_request=None)),
    own(own(parse_request=lambda self: True)),
])  # fmt: skip
def test_handlers_that_are_left_alone(handler: Any) -> None:
    made = server()
    made.RequestHandlerClass = handler
    assert maker_for(made) is None


def wrapped(function: Any) -> Any:
    """Wrap a method as tracing libraries do: it keeps its name."""

    @functools.wraps(function)
    def wrapper(self: Any, *args: Any) -> Any:
        self.calls = getattr(self, "calls", 0) + 1
        return function(self, *args)

    return wrapper


@pytest.mark.parametrize("kind", [Server, Unix, ours.TCPServer, ours.ThreadingTCPServer, ours.ForkingTCPServer])
@pytest.mark.parametrize("name", ["finish_request", "process_request"])
def test_servers_with_hooks_of_their_own_are_left_alone(kind: Any, name: str) -> None:
    def made(kind: Any) -> Any:
        new = object.__new__(kind)
        new.RequestHandlerClass = Handler
        return new

    assert maker_for(made(kind)) is not None
    stock = getattr(kind, name)
    assert maker_for(made(own(kind, **{name: lambda self, request, client_address: None}))) is None
    assert maker_for(made(own(kind, **{name: wrapped(stock)}))) is None
    assert maker_for(made(own(kind, **{name: functools.partialmethod(stock)}))) is None
    for another in (lambda request, client_address: None, getattr(made(kind), name), print):
        new = made(kind)
        setattr(new, name, another)
        assert maker_for(new) is None, another


class BaseServer(Server):
    """Another class of this name."""

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Do something else."""


def test_a_class_of_the_same_name_is_another_class() -> None:
    assert BaseServer.finish_request.__qualname__ == ours.BaseServer.finish_request.__qualname__
    assert maker_for(server(base=BaseServer)) is None


def test_an_http_server_that_somebody_has_patched_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    base = http.server.BaseHTTPRequestHandler
    monkeypatch.setattr(base, "parse_request", wrapped(base.parse_request))
    assert maker_for(server()) is None


def test_a_date_that_somebody_has_patched_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    base = http.server.BaseHTTPRequestHandler
    texts = iter(["one", "two"])
    monkeypatch.setattr(base, "date_time_string", lambda self, timestamp=None: next(texts))
    make = maker_for(server())
    assert b"Date: one\r\n" in run(make).written
    assert b"Date: two\r\n" in run(make).written


def test_without_http_server_there_is_nothing_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(http_handlers.sys.modules, "http.server")
    assert maker_for(server()) is None


def test_a_handler_class_that_is_changed_later_is_used() -> None:
    its = server()
    make = maker_for(its, once=True)
    first, second = own(), own()
    its.RequestHandlerClass = second
    assert replies(run(make)) == 1
    assert (first.made, second.made) == (0, 1)


# -- how a handler is made --------------------------------------------------------------------------------------------


def test_the_class_is_the_users_own() -> None:
    seen: list[Any] = []

    def do_GET(self: Any) -> None:
        seen.append((type(self), self.__class__, self.client_address, self.server))
        Handler.do_GET(self)

    handler = own(do_GET=do_GET)
    its = server(handler)
    make = maker_for(its)
    assert isinstance(make(Row(GET), ("peer", 1)), handler)
    make(Row(GET), ("peer", 2))
    assert seen == [(handler, handler, ("peer", 1), its), (handler, handler, ("peer", 2), its)]
    assert handler.made == 2
    assert set(vars(handler)) - {"__module__", "__doc__"} == {"do_GET", "made"}


def test_arguments_of_a_partial() -> None:
    seen: list[Any] = []

    def init(self: Any, *args: Any, **keywords: Any) -> None:
        seen.append((args[:-3], keywords))
        Handler.__init__(self, *args[-3:])

    make = maker_for(server(functools.partial(functools.partial(own(__init__=init), "a", k=1), "b", m=2)))
    assert replies(run(make)) == 1
    assert seen == [(("a", "b"), {"k": 1, "m": 2})]


def test_the_email_parser_is_not_asked_for_a_plain_head(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("email.parser.Parser", None)
    assert replies(run(maker_for(server()))) == 1


def test_handlers_of_all_servers_share_a_parser() -> None:
    functions: list[Any] = []
    handler = own(do_GET=lambda self: functions.append(self.parse_request.__func__))
    for _ in range(2):
        run(maker_for(server(handler)))
    assert functions[0] is functions[1]
    assert functions[0] is not handler.parse_request


def test_slots_work() -> None:
    def do_GET(self: Any) -> None:
        self.color = self.path

    made: Any = maker_for(server(own(Slotted, do_GET=do_GET)))
    instance = made(Row(GET), None)
    assert (instance.color, "color" in vars(instance)) == ("/a", False)


OWN = {"parse_request", "date_time_string", "handle_one_request"}


@pytest.mark.parametrize("once", [False, True])
def test_no_attribute_is_left_behind(once: bool) -> None:
    its = server()
    left = maker_for(its, once=once)(Row(GET), ("peer", 1))  # type: ignore[misc]
    assert set(vars(left)) == set(vars(Handler(Row(GET), ("peer", 1), its)))  # type: ignore[arg-type]
    assert not OWN & set(vars(left))


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Have nothing collected, so that what is in a cycle lives on."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("once", [False, True])
@pytest.mark.parametrize("data", [GET, frame(b"GET / HTTP/1.1", b"Connection: close"), frame(b"a"), frame(b"X / HTTP/1.1")])
def test_a_handler_dies_at_once(once: bool, data: bytes) -> None:
    made: list[Any] = []
    handler = own(setup=lambda self: (made.append(weakref.ref(self)), Handler.setup(self)))
    run(maker_for(server(handler), once=once), data)
    assert made[0]() is None


class Oops(Exception):
    """What a handler raises."""


@pytest.mark.usefixtures("no_collector")
@pytest.mark.parametrize("name", ["do_GET", "setup", "finish", "__init__", "handle"])
def test_what_a_handler_raises_is_raised_and_the_handler_dies(name: str) -> None:
    made: list[Any] = []

    def failing(self: Any, *args: Any) -> None:
        made.append(weakref.ref(self))
        raise Oops

    make = maker_for(server(own(**{name: failing})), once=True)
    try:
        run(make)
    except Oops:
        raised = True
    assert raised
    assert made[0]() is None


# -- one request a frame ----------------------------------------------------------------------------------------------


SMUGGLED = frame(b"GET /secret HTTP/1.1", b"Host: x")
CARRIER = frame(b"GET /a HTTP/1.1", b"Content-Length: %d" % len(SMUGGLED), body=SMUGGLED)


def super_handle_one_request(self: Any) -> None:
    http.server.BaseHTTPRequestHandler.handle_one_request(self)


@pytest.mark.parametrize("handler", [Handler, own(handle_one_request=super_handle_one_request)], ids=["stock", "own"])
def test_what_is_left_of_a_body_is_no_request(handler: Any) -> None:
    row = run(maker_for(server(handler), once=True), CARRIER)
    assert (replies(row), b"secret" in row.written) == (1, False)
    assert row.file.past_end, "the connection is kept"
    row = run(maker_for(server(handler)), CARRIER)  # the stream goes on: there it is one, as ever
    assert (replies(row), b"secret" in row.written) == (2, True)


def test_the_body_that_is_read_is_the_handlers() -> None:
    bodies: list[bytes] = []
    handler = own(do_GET=lambda self: (bodies.append(self.rfile.read(len(SMUGGLED))), Handler.do_GET(self)))
    row = run(maker_for(server(handler), once=True), CARRIER)
    assert (bodies, replies(row), row.file.past_end) == ([SMUGGLED], 1, True)


@pytest.mark.parametrize("line", [b"Connection: close", b"connection: Close"])
def test_a_connection_that_is_to_be_closed_is_not_read_on(line: bytes) -> None:
    row = run(maker_for(server(), once=True), frame(b"GET / HTTP/1.1", line))
    assert (replies(row), row.file.past_end) == (1, False)


def test_a_file_of_the_handlers_own_is_read_to_its_end() -> None:
    class Wrapped:
        def __init__(self, file: Any) -> None:
            self.read, self.readline, self.close = file.read, file.readline, file.close

    def setup(self: Any) -> None:
        Handler.setup(self)
        self.rfile = Wrapped(self.rfile)

    row = run(maker_for(server(own(setup=setup)), once=True), CARRIER)
    assert (replies(row), row.file.past_end) == (1, True)


def test_a_large_request_is_passed_over() -> None:
    with SpooledFrameFile(io.BytesIO(CARRIER)) as file:
        row = Row(b"")
        row.file = file  # type: ignore[assignment]
        maker_for(server(), once=True)(row, None)  # type: ignore[misc]
        assert (replies(row), file.past_end) == (1, True)


def test_a_handler_with_a_method_of_its_own_is_called_once_a_frame() -> None:
    calls: list[str] = []
    handler = own(handle_one_request=lambda self: (calls.append("one"), super_handle_one_request(self)))
    run(maker_for(server(handler), once=True), CARRIER)
    assert calls == ["one"]


def test_a_handler_with_a_handle_of_its_own_keeps_it() -> None:
    calls: list[str] = []
    handler = own(handle=lambda self: calls.append("handle"))
    row = run(maker_for(server(handler), once=True), CARRIER)
    assert (calls, replies(row), row.file.past_end) == (["handle"], 0, False)


def test_a_handle_that_asks_once_does_not_read_on() -> None:
    row = run(maker_for(server(own(handle=lambda self: self.handle_one_request())), once=True), CARRIER)
    assert (replies(row), row.file.past_end) == (1, False)


# -- the same text as ever --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("data", [
    GET, CARRIER, frame(b"GET / HTTP/1.0"), frame(b"HEAD / HTTP/1.1"), frame(b"GET /", b"A: b"), frame(b"GET / HTTP/2.0"),
    frame(b"GET / HTTP/1.x"), frame(b"GET  /  HTTP/1.1"), frame(b"A B C D HTTP/1.1"), frame(b"POST /"),
    frame(b"GET //evil HTTP/1.1"),
    frame(b"GET / HTTP/1.1", *[b"A: b"] * 99), frame(b"GET / HTTP/1.1", *[b"A: b"] * 100), frame(b"PUT / HTTP/1.1"),
    frame(b"GET / HTTP/1.1", b"A: " + b"b" * 65533), frame(b"GET / HTTP/1.1", b"A: " + b"b" * 65532),
    frame(b"GET /" + b"a" * 65537 + b" HTTP/1.1"), frame(b"GET / HTTP/1.1", b"Expect: 100-continue"), b"", b"\r\n",
    b"GET / HT",
    frame(b"GET / HTTP/1.1", b"Connection: keep-alive"), frame(b"GET / HTTP/1.0", b"Connection: keep-alive"),
], ids=lambda data: repr(data[:30]))  # fmt: skip
@pytest.mark.parametrize("version", ["HTTP/1.0", "HTTP/1.1"])
def test_the_same_reply_as_without_us(data: bytes, version: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.time", lambda: 1700000000.9)
    logs: list[Any] = []
    handler = own(log_message=lambda self, format, *args: logs.append(format % args), protocol_version=version)
    row, expected = run(maker_for(server(handler)), data), Row(data)
    handler(expected, ("peer", 1), server())
    assert row.written == expected.written
    assert row.file.past_end == expected.file.past_end
    assert logs[: len(logs) // 2] == logs[len(logs) // 2 :]


# -- the date ---------------------------------------------------------------------------------------------------------


class Dates:
    """What a handler sees as the date, by the clock of this test."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = 1700000000.0
        monkeypatch.setattr(http_handlers, "date_s", lambda: self.now_s)
        monkeypatch.setattr(http_handlers, "_last_date", (0, ""))

    def seen(self, handler: Any = Handler, *args: Any, **keywords: Any) -> Any:
        texts: list[Any] = []
        asking = own(handler, do_GET=lambda self: texts.append(self.date_time_string(*args, **keywords)))
        run(maker_for(server(asking)))
        return texts[0]

    def stock(self, at_s: float) -> str:
        return email.utils.formatdate(at_s, usegmt=True)


@pytest.fixture
def dates(monkeypatch: pytest.MonkeyPatch) -> Dates:
    return Dates(monkeypatch)


def test_the_date_is_http_servers(dates: Dates) -> None:
    for now_s in (1700000000.0, 1700000000.999, 1700000001.0, 1700000000.5, 1.5, 4102444800.0):
        dates.now_s = now_s
        assert dates.seen() == dates.stock(now_s)


def test_a_date_is_formatted_once_a_second(dates: Dates, monkeypatch: pytest.MonkeyPatch) -> None:
    formatted: list[float] = []
    stock = email.utils.formatdate
    monkeypatch.setattr(email.utils, "formatdate", lambda at, **keywords: formatted.append(at) or stock(at, **keywords))
    for dates.now_s in (5.0, 5.3, 5.9, 6.0, 6.1):
        assert dates.seen() == stock(int(dates.now_s), usegmt=True)
    assert formatted == [5, 6]


@pytest.mark.parametrize("at_s", [0, 1.5, 86400, 1e9])
def test_a_date_that_is_asked_for_is_not_now(dates: Dates, at_s: float) -> None:
    now = dates.seen()
    assert dates.seen(Handler, at_s) == dates.seen(Handler, timestamp=at_s) == dates.stock(at_s)
    assert dates.seen() == dates.seen(Handler, None) == now


def test_a_date_of_the_handlers_own_is_nobody_elses(dates: Dates) -> None:
    one, two = (own(date_time_string=lambda self, timestamp=None, text=text: text) for text in ("one", "two"))
    names = own(weekdayname=["x"] * 7, monthname=["y"] * 13)
    stock = dates.stock(dates.now_s)
    seen = [dates.seen(kind) for kind in (Handler, one, two, one, names, Handler)]
    assert seen == [stock, "one", "two", "one", stock, stock]


def test_a_date_of_a_mixin_is_respected(dates: Dates) -> None:
    class Mixin:
        def date_time_string(self, timestamp: float | None = None) -> str:
            return "mixed in"

    assert dates.seen(types.new_class("Mixed", (Mixin, Handler))) == "mixed in"
    assert dates.seen() == dates.stock(dates.now_s)


def test_weekdays_are_http_servers_business_as_ever(dates: Dates) -> None:
    """It does not ask for `weekdayname` here; should a later one do so, one class's date must not be another's."""
    named = own(weekdayname=["x"] * 7, monthname=["y"] * 13)
    expected = named.date_time_string(object.__new__(named), dates.now_s)
    dates.seen()
    assert dates.seen(named) == expected
