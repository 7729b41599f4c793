"""Unmodified handlers of `http.server`, with a quicker parser of header fields, one request a frame.

What it is: of the 28 us that `BaseHTTPRequestHandler` spends on a small GET (CPython 3.11), 17 go to the parser of e-mail
messages, which expects folded lines, attachments and defects. A head that is plain, as nearly all are, is split here
instead, into the very same `HTTPMessage`; any other goes to `http.client.parse_headers` as ever. What it is not: an HTTP
parser; request lines, versions, `Connection` and `Expect` stay with http.server's own `parse_request`, whose code is run
with another `parse_headers` in its globals.

Rules: the class of a handler is not touched and not derived from, so `type(self)` is the user's; its instance has methods of
its own while it is made (making a handler is serving a request) · a class that defines `parse_request`, `MessageClass`,
`__new__` or a metaclass is left alone, and so is a server with its own finish_request or process_request; whose a method is,
its globals tell, for `functools.wraps` copies its name · what is not quite plain is left to http.client: two parsers that
nearly agree are worse than a slow one.
"""

from __future__ import annotations

import functools
import io
import re
import sys
import types
from collections.abc import Callable
from typing import Any

from .clock import date_s
from .frame_files import FrameFile, PlainHeadFile, SpooledFrameFile
from .hooks import origin

# Names are tokens, values hold no control characters, lines end with CRLF: what cannot mean two things.
_is_plain = re.compile(rb"(?:[!#-'*+\-.0-9A-Z^-z|~]++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)++").fullmatch
_fields = re.compile(r"([^:]++):[ \t]*+([^\r]*+)\r\n").findall
# Bodies that the e-mail parser looks into; it would note that they are not in the head.
# It strips a type as str.strip() does: of NEL and a no-break space, too.
_is_composite = re.compile(rb"\ncontent-type:[ \t\x85\xa0]*+(?:multipart|message)/", re.IGNORECASE).search
# More are refused there, with the right error: of http.client._MAXHEADERS lines, the empty one is the last; a line may have
# _MAXLINE bytes, and so many have room for none that is longer.
_MOST_FIELDS, _MOST_BYTES = 99, 65536
# Another file may do more than it seems when a line is read from it.
_FILES = frozenset({FrameFile, PlainHeadFile, SpooledFrameFile, io.BufferedReader})


Make = Callable[[Any, Any], object]


def maker_for(server: Any, *, once: bool = False) -> Make | None:
    """Return what makes a quick handler for (request, client_address); None: the server has to make it in its own way.

    Args:
        server: with a handler of http.server, or another one.
        once: the handler's input is one request, so what it leaves of a body must not be read as the next one: behind a
            proxy that would be a request which the proxy has never seen.
    """
    http_server = sys.modules.get("http.server")
    handler = its_class = server.RequestHandlerClass
    kind: Any = type(handler)
    args: tuple[Any, ...] = ()
    keywords: dict[str, Any] = {}
    if kind is functools.partial:
        handler, args, keywords = handler.func, handler.args, handler.keywords
    if http_server is None or not _is_stock(http_server, handler) or not _is_stock_server(server):
        return None
    methods = _own_methods(http_server.BaseHTTPRequestHandler, handler, once)

    def make(request: Any, client_address: Any) -> object:
        if server.RequestHandlerClass is not its_class:  # changed since, and finish_request would see it
            return server.finish_request(request, client_address)
        instance = object.__new__(handler)
        for name, method in methods:
            # Not by __dict__, which makes CPython keep a real one from then on: 8 % of a framed request.
            object.__setattr__(instance, name, types.MethodType(method, instance))
        try:
            instance.__init__(*args, request, client_address, server, **keywords)
        finally:
            for name, _ in methods:
                try:  # (`suppress` would be 4 % of a request)
                    object.__delattr__(instance, name)  # a cycle, which only the collector would find
                except AttributeError:  # the handler has deleted it
                    pass
        return instance

    return make


def _is_stock(http_server: Any, handler: Any) -> bool:
    """Does the class parse its requests as http.server does?"""
    base, kind = http_server.BaseHTTPRequestHandler, type(handler)
    return (
        kind is type
        and issubclass(handler, base)
        and handler.parse_request is base.parse_request
        and _is_of(http_server, base.parse_request)
        and handler.MessageClass is base.MessageClass
        and handler.__new__ is object.__new__
    )


def _is_of(module: Any, function: Any) -> bool:
    """Is it the module's own, and has nobody put another in its place?"""
    return type(function) is types.FunctionType and function.__globals__ is vars(module)


def _is_stock_server(server: Any) -> bool:
    """Are its handlers made by a finish_request and a process_request that do nothing else?"""
    return origin(server, "finish_request") == "BaseServer.finish_request" and origin(server, "process_request") in (
        "BaseServer.process_request", "ThreadingMixIn.process_request", "ForkingMixIn.process_request",
    )  # fmt: skip


def _own_methods(base: Any, handler: Any, once: bool) -> list[tuple[str, Any]]:
    methods = [("parse_request", _quick_parse_request(base.parse_request))]
    if handler.date_time_string is base.date_time_string and _is_of(sys.modules["http.server"], base.date_time_string):
        methods.append(("date_time_string", _date_time_string))
    if once:
        methods.append(("handle_one_request", _handle_only_request))
    return methods


def _handle_only_request(handler: Any) -> None:
    """Run the class's handle_one_request; called again, read on behind the frame, whatever is left of this request."""
    object.__setattr__(handler, "handle_one_request", types.MethodType(_read_on, handler))
    type(handler).handle_one_request(handler)
    if handler.close_connection and hasattr(handler.rfile, "stay_within"):
        handler.rfile.stay_within()  # what it has read on was to be thrown away (werkzeug): this was its last request


def _read_on(handler: Any) -> None:
    handler.close_connection = True
    if hasattr(handler.rfile, "pass_over"):
        handler.rfile.pass_over()
    else:  # the handler has put a file of its own around it
        while handler.rfile.read(io.DEFAULT_BUFFER_SIZE):
            pass


_last_date: tuple[int, str] = (0, "")


def _date_time_string(handler: Any, timestamp: float | None = None) -> str:
    """As date_time_string; a date that changes once a second is formatted once a second: 27,000 of 240,000 instructions."""
    global _last_date
    if timestamp is not None:
        text: str = type(handler).date_time_string(handler, timestamp)
        return text
    now_s = int(date_s())
    if _last_date[0] != now_s:
        _last_date = now_s, type(handler).date_time_string(handler, now_s)
    return _last_date[1]


@functools.cache
def _quick_parse_request(stock: Any) -> Any:
    """Return http.server's own parse_request, with another parse_headers in its globals."""
    import http.client
    import http.server

    client = types.SimpleNamespace(**vars(http.client))
    client.parse_headers = quick_parse_headers(http.client)
    its_globals = {**vars(http.server), "http": types.SimpleNamespace(**{**vars(http), "client": client})}
    return types.FunctionType(stock.__code__, its_globals, stock.__name__, stock.__defaults__, stock.__closure__)


def quick_parse_headers(client: Any) -> Callable[..., Any]:
    """Return `parse_headers` of the module `http.client`, quicker where the head is here and plain."""
    stock, stock_class = client.parse_headers, client.HTTPMessage
    is_own = _is_of(client, stock)

    def parse_headers(fp: Any, _class: Any = stock_class) -> Any:
        slow = client.parse_headers
        if type(fp) not in _FILES or _class is not stock_class or slow is not stock or not is_own:
            return slow(fp, _class)
        ahead = fp.peek(1)
        end = ahead.find(b"\r\n\r\n")
        head = ahead[: end + 2]
        if not 0 <= end <= _MOST_BYTES - 2 or _is_composite(b"\n" + head):
            return slow(fp, _class)
        if not (getattr(fp, "has_plain_head", False) or _is_plain(head)):
            return slow(fp, _class)
        fields = _fields(head.decode("iso-8859-1"))
        if len(fields) > _MOST_FIELDS:
            return slow(fp, _class)
        fp.read(end + 4)
        message = _class()
        message._headers = fields
        message._payload = ""
        return message

    return parse_headers
