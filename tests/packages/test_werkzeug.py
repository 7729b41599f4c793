"""werkzeug's development server, which Flask runs on, and pytest-httpserver, which is built on it.

It reads chunked bodies itself (`DechunkedInput`) and says Connection: close. After the reply it selects on the connection,
for up to 10 ms, and reads what is left, so that a client which is still sending sees the reply and no reset.

Limits: the select is the selector's own, so framed and in a greenlet each request holds the loop for these 10 ms · behind
`ReactorMixIn` its own serve_forever, which also closes the server, is not reached: call server_close.
"""

import time
from pathlib import Path
from typing import Any

import pytest

from reactor import HttpRequests
from tests.packages import served

serving: Any = pytest.importorskip("werkzeug.serving", reason=served.NEEDED)

pytestmark = pytest.mark.timeout(60)

BODY = bytes(range(256)) * 3000
SAID = b"%d %d" % (len(BODY), sum(BODY))
# A server with a mixin has its threads, unless somebody asks for another way.
THREADED_WAYS = {name: how for name, how in served.HTTP_WAYS.items() if name in ("greenlet", "framed")} | {"default": {}}


def application(environ: Any, start_response: Any) -> list[bytes]:
    """Say what came in; a body is read to its end, which werkzeug marks."""
    method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
    body = b""
    if method != "GET" and path != "/unread":
        chunked = environ.get("wsgi.input_terminated")
        body = environ["wsgi.input"].read() if chunked else environ["wsgi.input"].read(int(environ.get("CONTENT_LENGTH", 0)))
    said = b"%s %s %d %d" % (method.encode(), path.encode(), len(body), sum(body))
    start_response("200 OK", [("Content-Length", str(len(said)))])
    return [said]


def make(**keywords: Any) -> Any:
    return serving.make_server("127.0.0.1", 0, application, **keywords)


def check(address: served.Address, way: str) -> None:
    page = served.url(address, "/page")
    served.check_http(address, "/page", b"GET /page 0 0")
    assert served.curl("--data-binary", "@-", page, stdin=BODY) == b"POST /page " + SAID
    assert served.curl("-T", "-", page, stdin=BODY) == b"PUT /page " + SAID
    served.assert_silence_stops(address, way, lambda: served.curl(page))


@served.every_way()
def test_hosted(way: str) -> None:
    with served.hosted(make(), **served.HTTP_WAYS[way]) as listener:
        check(listener.address, way)


@served.every_way(THREADED_WAYS)
def test_hosted_with_its_own_mixin(way: str) -> None:
    with served.hosted(make(threaded=True), **THREADED_WAYS[way]) as listener:
        check(listener.address, way)
        reply = served.upload_awaited(listener.address)
        assert reply.endswith(b"POST / 5 255")
        # werkzeug says 100 twice, http.server's way and its own; framed, the framing has said it, and the handler not.
        assert reply.count(b" 100 Continue") == (way != "framed")


@pytest.mark.parametrize("way", ["thread", "greenlet", "framed"])
def test_with_the_mixin(way: str) -> None:
    says = {"framing": HttpRequests()} if way == "framed" else {} if way == "thread" else {"way": way}
    kind = served.with_mixin(serving.BaseWSGIServer, **says)
    with served.on_its_own(kind("127.0.0.1", 0, application)) as server:
        check(server.server_address, way)


@served.every_way()
def test_a_body_that_nobody_reads_does_not_destroy_the_reply(way: str) -> None:
    with served.hosted(make(), **served.HTTP_WAYS[way]) as listener:
        unread = served.url(listener.address, "/unread")
        assert served.curl("--data-binary", "@-", unread, stdin=BODY * 5) == b"POST /unread 0 0"
        assert served.curl("-T", "-", unread, stdin=BODY * 5) == b"PUT /unread 0 0"


@served.every_way()
def test_what_is_sent_behind_the_last_request_is_not_answered(way: str) -> None:
    with served.hosted(make(), **served.HTTP_WAYS[way]) as listener:
        pipelined = served.get("/1", "1.1") + served.get("/2", "1.1")
        reply = served.exchange(listener.address, pipelined, half_close=True)
    assert reply.count(b"GET /1 0 0") == 1
    assert b"GET /2" not in reply  # the reply to the first said that the connection ends


# -- TLS, and processes -------------------------------------------------------------------------------------------------


@served.every_way({"greenlet": {}, "thread": {}})
def test_tls(way: str) -> None:
    pytest.importorskip("cryptography", reason=served.NEEDED)
    with served.hosted(make(ssl_context="adhoc"), way=way) as listener:
        page = f"https://127.0.0.1:{listener.port}/page"
        assert served.curl("--insecure", page) == b"GET /page 0 0"
        assert served.curl("--insecure", "-T", "-", page, stdin=BODY) == b"PUT /page " + SAID
        with served.silent_clients(listener.address):
            assert served.curl("--insecure", "--max-time", "3", page) == b"GET /page 0 0"


@served.every_way(THREADED_WAYS)
def test_hosted_with_processes(way: str) -> None:
    with served.hosted(make(processes=2), **THREADED_WAYS[way]) as listener:
        page = served.url(listener.address, "/page")
        served.check_http(listener.address, "/page", b"GET /page 0 0")
        # A chunked body hangs in a child of socketserver's, too: not asked for here.
        assert served.curl("--data-binary", "@-", page, stdin=BODY) == b"POST /page " + SAID


PROGRAM = """
    import sys
    from werkzeug.serving import run_simple
    def application(environ, start_response):
        start_response("200 OK", [("Content-Length", "2")])
        return [b"ok"]
    run_simple("127.0.0.1", 0, application, threaded=sys.argv[1:] == ["threaded"])
"""


@pytest.mark.parametrize("threaded", [False, True])
@served.every_way()
def test_substituted(way: str, threaded: bool, tmp_path: Path) -> None:
    words = [served.script(tmp_path, PROGRAM), *["threaded"] * threaded]
    with served.program(tmp_path, words, options=served.HTTP_OPTIONS[way]) as running:
        address = ("127.0.0.1", int(running.until(r"Running on http://127.0.0.1:(\d+)")))
        served.check_http(address, "/", b"ok")
        served.assert_silence_stops(address, "thread" if threaded else way, lambda: served.curl(served.url(address)))


RELOADING = """
    import socketserver
    from werkzeug.serving import run_simple
    def application(environ, start_response):
        start_response("200 OK", [])
        return [socketserver.__name__.encode()]
    run_simple("127.0.0.1", 0, application, use_reloader=True)
"""


def test_its_reloader_starts_its_child_with_us(tmp_path: Path) -> None:
    """It repeats the whole command line, unlike Django's."""
    words = [served.script(tmp_path, RELOADING)]
    with served.program(tmp_path, words, options=["--way", "greenlet"]) as running:
        address = ("127.0.0.1", int(running.until(r"Running on http://127.0.0.1:(\d+)")))
        assert served.curl(served.url(address)) == b"reactor.socketserver"


def test_the_standard_server_is_frozen_by_silence(tmp_path: Path) -> None:
    with served.program(tmp_path, [served.script(tmp_path, PROGRAM)]) as running:
        address = ("127.0.0.1", int(running.until(r"Running on http://127.0.0.1:(\d+)")))
        with served.silent_clients(address):
            served.assert_frozen(address)


# -- pytest-httpserver --------------------------------------------------------------------------------------------------

TESTS = """
    import socketserver, urllib.request
    def test_page(httpserver):
        assert (socketserver.__name__ == "reactor.socketserver") and isinstance(httpserver.server, socketserver.BaseServer)
        httpserver.expect_request("/page").respond_with_data("page")
        for _ in range(5):
            assert urllib.request.urlopen(httpserver.url_for("/page")).read() == b"page"
        assert len(httpserver.log) == 5
    def test_wait(httpserver):
        httpserver.expect_oneshot_request("/once").respond_with_data("x")
        with httpserver.wait(stop_on_nohandler=False, timeout=5) as waiting:
            urllib.request.urlopen(httpserver.url_for("/once")).read()
        assert waiting.result
"""


@pytest.mark.parametrize("options", [[], ["--way", "greenlet"], ["--framing", "http"]], ids=["inline", "greenlet", "framed"])
def test_pytest_httpserver(options: list[str], tmp_path: Path) -> None:
    pytest.importorskip("pytest_httpserver", reason=served.NEEDED)
    tests = served.script(tmp_path, TESTS, "test_served.py")
    words = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", "/dev/null", "--rootdir", str(tmp_path), tests]
    began = time.monotonic()
    with served.program(tmp_path, words, options=options) as running:
        text = running.rest()
    assert "2 passed" in text, text
    assert time.monotonic() - began < served.PATIENCE_S
