"""prometheus_client: `make_wsgi_app` on wsgiref, and `start_http_server`, which starts a thread of its own."""

import gzip
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.packages import served

prometheus: Any = pytest.importorskip("prometheus_client", reason=served.NEEDED)

from wsgiref.simple_server import WSGIServer, make_server  # noqa: E402

from prometheus_client.exposition import ThreadingWSGIServer, _SilentHandler  # noqa: E402

pytestmark = pytest.mark.timeout(60)

THREADED_WAYS = {"default": {}, "greenlet": {"way": "greenlet"}, "framed": served.HTTP_WAYS["framed"]}


def make(kind: Any) -> Any:
    """A server of one metric, whose value is 3."""
    registry = prometheus.CollectorRegistry()
    prometheus.Counter("asked", "How often.", registry=registry).inc(3)
    return make_server("127.0.0.1", 0, prometheus.make_wsgi_app(registry), kind, _SilentHandler)


def check(address: served.Address, way: str) -> None:
    page = served.url(address, "/metrics")
    assert b"\nasked_total 3.0\n" in served.curl(page)
    assert b"\nasked_total 3.0\n" in served.curl("--compressed", page)
    assert b"\nasked_total 3.0\n" in served.curl("--http1.0", page)
    assert b"405 Method Not Allowed" in served.curl("--include", "-T", "-", page, stdin=b"x" * 100_000)
    served.assert_silence_stops(address, way, lambda: served.curl(page))


@served.every_way()
def test_hosted(way: str) -> None:
    with served.hosted(make(WSGIServer), **served.HTTP_WAYS[way]) as listener:
        check(listener.address, way)


@served.every_way(THREADED_WAYS)
def test_hosted_with_its_own_mixin(way: str) -> None:
    with served.hosted(make(ThreadingWSGIServer), **THREADED_WAYS[way]) as listener:
        check(listener.address, way)


@pytest.mark.parametrize("way", ["thread", "greenlet", "framed"])
def test_with_the_mixin(way: str) -> None:
    says = served.HTTP_WAYS[way] if way != "thread" else {}
    with served.on_its_own(make(served.with_mixin(WSGIServer, **says))) as server:
        check(server.server_address, way)


PROGRAM = """
    import socketserver
    from prometheus_client import Counter, start_http_server
    Counter("asked", "How often.").inc(3)
    server, thread = start_http_server(0, "127.0.0.1")
    assert isinstance(server, socketserver.BaseServer) and socketserver.__name__ == "reactor.socketserver"
    print("port", server.server_port)
    thread.join()
"""


def test_start_http_server_substituted(tmp_path: Path) -> None:
    with served.program(tmp_path, [served.script(tmp_path, PROGRAM)], options=["--framing", "http"]) as running:
        check(("127.0.0.1", int(running.until(r"port (\d+)"))), "thread")


def test_a_scrape_among_idle_keepalive_connections() -> None:
    """Prometheus itself keeps its connections; HTTP/1.0, which wsgiref speaks, ends them, and no row stays behind."""
    with served.hosted(make(WSGIServer), framing=served.HTTP_WAYS["framed"]["framing"]) as listener:
        request = urllib.request.Request(served.url(listener.address), headers={"Accept-Encoding": "gzip"})
        for _ in range(3):
            with urllib.request.urlopen(request, timeout=served.PATIENCE_S) as reply:
                assert b"asked_total 3.0" in gzip.decompress(reply.read())
        assert listener.row.requests == 3
