"""Django's runserver: `WSGIServer`, `ThreadedWSGIServer`, and the command itself.

Its handler speaks HTTP/1.1 but keeps a connection only if the server is a `ThreadingMixIn`; so a plain server closes after
each request in every way, and a threaded one, framed, keeps connections in a single thread. It knows no chunked bodies.
"""

import re
import socket
from pathlib import Path
from typing import Any

import pytest

from tests.packages import served

django: Any = pytest.importorskip("django", reason=served.NEEDED)

from django.conf import settings  # noqa: E402
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler, WSGIServer  # noqa: E402
from django.http import HttpResponse, StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402

pytestmark = [pytest.mark.timeout(60), pytest.mark.filterwarnings("ignore::DeprecationWarning:django")]

BODY = bytes(range(256)) * 3000
THREADED_WAYS = {"default": {}, "greenlet": {"way": "greenlet"}, "framed": served.HTTP_WAYS["framed"]}


def echo(request: Any) -> Any:
    """Say what came in."""
    return HttpResponse(f"{request.method} {len(request.body)} {sum(request.body)}")


def stream(request: Any) -> Any:
    """A page without a length."""
    return StreamingHttpResponse(str(number) for number in range(10))


def application() -> Any:
    if not settings.configured:
        settings.configure(
            ROOT_URLCONF=(path("echo", echo), path("stream", stream)), ALLOWED_HOSTS=["*"], SECRET_KEY="x",
            LOGGING_CONFIG=None, MIDDLEWARE=["django.middleware.common.CommonMiddleware"],  # which says the length
        )  # fmt: skip
        django.setup()
    from django.core.handlers.wsgi import WSGIHandler

    return WSGIHandler()


def make(kind: Any) -> Any:
    server = kind(("127.0.0.1", 0), WSGIRequestHandler)
    server.set_app(application())
    return server


def check(address: served.Address, way: str) -> None:
    served.check_http(address, "/echo", b"GET 0 0")
    echoed, streamed = served.url(address, "/echo"), served.url(address, "/stream")
    assert served.curl("--data-binary", "@-", echoed, stdin=BODY) == b"POST %d %d" % (len(BODY), sum(BODY))
    assert served.curl("-T", "-", echoed, stdin=b"Django takes no chunks") == b"PUT 0 0"
    assert served.curl(streamed) == b"0123456789"
    assert served.curl("-o", "/dev/null", "-w", "%{http_code}", served.url(address, "/nowhere")) == b"404"
    reply = served.upload_awaited(address, "/echo")
    assert reply.endswith(b"POST 5 255")
    assert b"100 Continue" not in reply
    served.assert_silence_stops(address, way, lambda: served.curl(echoed))


@served.every_way()
def test_hosted(way: str) -> None:
    with served.hosted(make(WSGIServer), **served.HTTP_WAYS[way]) as listener:
        check(listener.address, way)


@served.every_way(THREADED_WAYS)
def test_hosted_with_its_own_mixin(way: str) -> None:
    with served.hosted(make(ThreadedWSGIServer), **THREADED_WAYS[way]) as listener:
        check(listener.address, way)
        echoed = served.url(listener.address, "/echo")
        connects = served.curl("-w", "|%{num_connects}|", echoed, echoed, echoed)
        assert re.findall(rb"\|(\d)\|", connects) == [b"1", b"0", b"0"]  # kept


@served.every_way(THREADED_WAYS)
def test_pipelined(way: str) -> None:
    with served.hosted(make(ThreadedWSGIServer), **THREADED_WAYS[way]) as listener:
        first = served.get("/echo", "1.1") * 2 + b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nab"
        reply = served.exchange(listener.address, first + served.get("/echo", "1.1", "Connection: close"))
    assert re.findall(rb"(GET 0 0|POST 2 195)", reply) == [b"GET 0 0", b"GET 0 0", b"POST 2 195", b"GET 0 0"]


@pytest.mark.parametrize("way", ["thread", "greenlet", "framed"])
def test_with_the_mixin(way: str) -> None:
    says = served.HTTP_WAYS[way] if way != "thread" else {}
    with served.on_its_own(make(served.with_mixin(WSGIServer, **says))) as server:
        check(server.server_address, way)


SITE = """
    from django.http import HttpResponse
    from django.urls import path
    SECRET_KEY, DEBUG, ALLOWED_HOSTS, ROOT_URLCONF = "x", True, ["*"], __name__
    urlpatterns = [path("", lambda request: HttpResponse(b"ok"))]
"""
RUNSERVER = ["-m", "django", "runserver", "127.0.0.1:0", "--noreload", "--skip-checks", "--settings=site_of_the_test"]


@pytest.mark.parametrize("threading", [[], ["--nothreading"]], ids=["threading", "nothreading"])
@served.every_way()
def test_runserver(way: str, threading: list[str], tmp_path: Path) -> None:
    served.script(tmp_path, SITE, "site_of_the_test.py")
    with served.program(tmp_path, [*RUNSERVER, *threading], options=served.HTTP_OPTIONS[way]) as running:
        address = ("127.0.0.1", int(running.until(r"http://127\.0\.0\.1:([1-9]\d*)/")))
        served.check_http(address, "/", b"ok")
        served.assert_silence_stops(address, way if threading else "thread", lambda: served.curl(served.url(address)))


def test_the_standard_runserver_is_frozen_by_silence(tmp_path: Path) -> None:
    served.script(tmp_path, SITE, "site_of_the_test.py")
    with served.program(tmp_path, [*RUNSERVER, "--nothreading"]) as running:
        address = ("127.0.0.1", int(running.until(r"http://127\.0\.0\.1:([1-9]\d*)/")))
        with served.silent_clients(address):
            served.assert_frozen(address)


def test_the_autoreloader_starts_its_child_without_us(tmp_path: Path) -> None:
    """A limit: it makes a command line of its own, `python -m django runserver`; --noreload, or another reloader."""
    served.script(tmp_path, SITE.replace("b\"ok\"", "__import__('socketserver').__name__"), "site_of_the_test.py")
    words = [word for word in RUNSERVER if word != "--noreload"]
    with served.program(tmp_path, words, options=["--way", "greenlet"]) as running:
        address = ("127.0.0.1", int(running.until(r"http://127\.0\.0\.1:([1-9]\d*)/")))
        assert served.curl(served.url(address)) == b"socketserver"


def test_one_slow_upload_among_others() -> None:
    """A body that is half sent is a row in the table; others are answered meanwhile."""
    with (
        served.hosted(make(WSGIServer), framing=served.HTTP_WAYS["framed"]["framing"]) as listener,
        socket.create_connection(listener.address, served.PATIENCE_S) as slow,
    ):
        slow.sendall(b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nab")
        assert served.curl(served.url(listener.address, "/echo")) == b"GET 0 0"
        slow.sendall(b"cd")
        assert b"POST 4 394" in slow.makefile("rb").read()
