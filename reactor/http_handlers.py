"""Unmodified handlers of `http.server`, with a quicker parser of header fields.

What it is: of the 28 us that `BaseHTTPRequestHandler` spends on a small GET (CPython 3.11), 17 go to the parser of e-mail
messages, which expects folded lines, attachments and defects. A head that is plain, as nearly all are, is split here
instead, into the very same `HTTPMessage`; any other goes to `http.client.parse_headers` as ever. What it is not: an HTTP
parser; request lines, versions, `Connection` and `Expect` stay with http.server's own `parse_request`, whose code is run
with another `parse_headers` in its globals.

Rules: the class of a handler is not touched and not derived from, so `type(self)` is the user's; its instance gets a
`parse_request` of its own while it is made (making a handler is serving a request) · a class that defines
`parse_request`, `MessageClass`, `__new__` or a metaclass is left alone, and so is a server with its own
finish_request or process_request.
"""

from __future__ import annotations

import functools
import re
import sys
import types
from collections.abc import Callable
from typing import Any

# Names are tokens, values hold no control characters, lines end with CRLF: what cannot mean two things.
_is_plain = re.compile(rb"(?:[!#-'*+\-.0-9A-Z^-z|~]++:[^\x00-\x08\x0a-\x1f\x7f]*+\r\n)++").fullmatch
# Bodies that an e-mail parser looks into, and notes as defective: they are not in the head.
_is_composite = re.compile(rb"(?:\n|\A)content-type:[ \t]*+(?:multipart|message)/", re.IGNORECASE).search
_MOST_FIELDS = 100  # http.client._MAXHEADERS; more are refused there, with the right error

Make = Callable[[Any, Any], object]


def maker_for(server: Any) -> Make | None:
    """Return what makes a quick handler for (request, client_address); None: the server has to make it in its own way."""
    http_server = sys.modules.get("http.server")
    handler = server.RequestHandlerClass
    keywords: dict[str, Any] = {}
    args: tuple[Any, ...] = ()
    if type(handler) is functools.partial:
        handler, args, keywords = handler.func, handler.args, handler.keywords
    if http_server is None or not _is_stock(http_server, handler) or not _is_stock_server(server):
        return None
    parse_request = _quick_parse_request()

    def make(request: Any, client_address: Any) -> object:
        instance = object.__new__(handler)
        instance.parse_request = types.MethodType(parse_request, instance)
        try:
            instance.__init__(*args, request, client_address, server, **keywords)
        finally:
            instance.__dict__.pop("parse_request", None)  # a cycle, which only the collector would find
        return instance

    return make


def _is_stock(http_server: Any, handler: Any) -> bool:
    """Does the class parse its requests as http.server does?"""
    base = http_server.BaseHTTPRequestHandler
    return (
        type(handler) is type
        and issubclass(handler, base)
        and handler.parse_request is base.parse_request
        and handler.MessageClass is base.MessageClass
        and handler.__new__ is object.__new__
    )


def _is_stock_server(server: Any) -> bool:
    """Are its handlers made by a finish_request and a process_request that do nothing else?"""
    names = [getattr(getattr(server, name), "__qualname__", "") for name in ("finish_request", "process_request")]
    return names[0] == "BaseServer.finish_request" and names[1] in (
        "BaseServer.process_request", "ThreadingMixIn.process_request", "ForkingMixIn.process_request",
    )  # fmt: skip


@functools.cache
def _quick_parse_request() -> Any:
    """Return http.server's own parse_request, with another parse_headers in its globals."""
    import http.client
    import http.server

    client = types.SimpleNamespace(**vars(http.client))
    client.parse_headers = parse_headers
    stock = http.server.BaseHTTPRequestHandler.parse_request
    its_globals = {**vars(http.server), "http": types.SimpleNamespace(**{**vars(http), "client": client})}
    return types.FunctionType(stock.__code__, its_globals, stock.__name__, stock.__defaults__, stock.__closure__)


def parse_headers(fp: Any, _class: Any = None) -> Any:
    """As `http.client.parse_headers`, and quicker where the head is here and plain.

    Args:
        fp: a file that can `peek`, behind the request line.
        _class: what to make; None: HTTPMessage.
    """
    from http import client

    ahead = fp.peek(1)
    end = ahead.find(b"\r\n\r\n")
    head = ahead[: end + 2]
    if end < 0 or not _is_plain(head) or _is_composite(head):
        return client.parse_headers(fp, _class or client.HTTPMessage)
    lines = head.decode("iso-8859-1").split("\r\n")
    lines.pop()
    if len(lines) > _MOST_FIELDS:
        return client.parse_headers(fp, _class or client.HTTPMessage)
    fp.read(end + 4)
    message = (_class or client.HTTPMessage)()
    fields = [line.split(":", 1) for line in lines]
    message._headers = [(name, value.lstrip(" \t")) for name, value in fields]
    message.set_payload("")
    return message
