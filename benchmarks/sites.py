"""Ordinary blocking web servers, in four kinds: what people already have, and no loop was in anybody's mind.

The same classes serve under every way (see `ways`). Nothing in them knows which one it is, and none of them overrides
anything that would make it cheaper: what is measured is the handler that the standard library's documentation shows.
Three attributes are set, as a program that cares would set them, and for all alike: HTTP/1.1 where the module has a
use for it (the default is one connection for each request), no delay of small packets, and a longer queue of
connections than five. The log on standard error is off.

    http     `BaseHTTPRequestHandler` with a `do_GET` that answers a hundred bytes
    files    `SimpleHTTPRequestHandler`; it serves this very directory, so the client can compare with the files
    wsgi     `wsgiref`, which closes after each reply
    xmlrpc   `SimpleXMLRPCServer` with one function
"""

from __future__ import annotations

import functools
import socketserver
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, HTTPServer, SimpleHTTPRequestHandler
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from xmlrpc.server import SimpleXMLRPCRequestHandler, SimpleXMLRPCServer

from benchmarks.plain import HANDLERS

DIRECTORY = Path(__file__).resolve().parent
BODY_BYTES = 100
BACKLOG = 1024
ADDRESS = ("127.0.0.1", 0)


class Silent:
    """In front of a handler class: the attributes for all, and no log."""

    disable_nagle_algorithm = True

    def log_message(self, format: str, *args: Any) -> None:
        pass


class HundredBytes(Silent, BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = body_for(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class Files(Silent, SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"


class Wsgi(Silent, WSGIRequestHandler):
    pass


class Xmlrpc(Silent, SimpleXMLRPCRequestHandler):
    protocol_version = "HTTP/1.1"


def body_for(path: str) -> bytes:
    """What `http` and `wsgi` answer: another body for each path, so that a mixed-up reply shows."""
    return path.encode().ljust(BODY_BYTES, b".")


def application(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    body = body_for(environ["PATH_INFO"])
    start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", str(len(body)))])
    return [body]


def answer(number: int) -> int:
    return number * 2


class Queue:
    """In front of a server class."""

    request_queue_size = BACKLOG


class Threads(socketserver.ThreadingMixIn):
    """What the standard module offers for such handlers: a thread for each connection."""

    daemon_threads = True


class NoThreads:
    """The plain server, for those who bring a way of their own."""


def site(protocol: str, mixin: type = NoThreads) -> socketserver.TCPServer:
    """A server, bound and listening. `Threads` makes the http one what `ThreadingHTTPServer` is."""
    base, make = SITES[protocol] if protocol in SITES else (socketserver.TCPServer, _plain(protocol))
    server: socketserver.TCPServer = make(type(f"{mixin.__name__}{base.__name__}", (mixin, Queue, base), {}))
    return server


def _http(kind: Any) -> Any:
    return kind(ADDRESS, HundredBytes)


def _plain(protocol: str) -> Callable[[Any], Any]:
    return lambda kind: kind(ADDRESS, HANDLERS[protocol])


def _files(kind: Any) -> Any:
    return kind(ADDRESS, functools.partial(Files, directory=str(DIRECTORY)))


def _wsgi(kind: Any) -> Any:
    server = kind(ADDRESS, Wsgi)
    server.set_app(application)
    return server


def _xmlrpc(kind: Any) -> Any:
    server = kind(ADDRESS, requestHandler=Xmlrpc, logRequests=False)
    server.register_function(answer)
    return server


SITES: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "http": (HTTPServer, _http),
    "files": (HTTPServer, _files),
    "wsgi": (WSGIServer, _wsgi),
    "xmlrpc": (SimpleXMLRPCServer, _xmlrpc),
}
