"""Programs of the standard library that serve, run by their own command lines or entry points. These need no package.

`python -m http.server` has ThreadingMixIn and keeps its threads; pydoc selects by itself and calls handle_request.
"""

import signal
from pathlib import Path

import pytest

from tests.packages import served

pytestmark = pytest.mark.timeout(60)


@pytest.mark.parametrize("options", [[], ["--way", "greenlet"], ["--framing", "http"]], ids=["none", "greenlet", "framed"])
def test_http_server(options: list[str], tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(bytes(2_000_000))
    words = ["-m", "http.server", "0", "--bind", "127.0.0.1", "--protocol", "HTTP/1.1"]
    with served.program(tmp_path, words, options=options) as running:
        address = ("127.0.0.1", int(running.until(r"Serving HTTP on 127\.0\.0\.1 port (\d+)")))
        there = served.url(address, "/file.bin")
        with served.silent_clients(address):
            assert served.curl(there) == bytes(2_000_000)
            assert b"file.bin" in served.curl(served.url(address))
            assert served.curl("-w", "|%{num_connects}", "-o", "/dev/null", "-o", "/dev/null", there, there) == b"|1|0"
        running.process.send_signal(signal.SIGINT)
        assert "Keyboard interrupt received, exiting." in running.rest()
    assert running.process.returncode == 0


PLAIN = """
    from http.server import HTTPServer, SimpleHTTPRequestHandler
    SimpleHTTPRequestHandler.protocol_version = "HTTP/1.1"
    with HTTPServer(("127.0.0.1", 0), SimpleHTTPRequestHandler) as server:
        print("port", server.server_port)
        server.serve_forever()
"""


@served.every_way()
def test_a_plain_server_of_files(way: str, tmp_path: Path) -> None:
    (tmp_path / "file.bin").write_bytes(bytes(2_000_000))
    with served.program(tmp_path, [served.script(tmp_path, PLAIN)], options=served.HTTP_OPTIONS[way]) as running:
        address = ("127.0.0.1", int(running.until(r"port (\d+)")))
        there = served.url(address, "/file.bin")
        ask = lambda: served.curl(there)  # noqa: E731
        assert ask() == bytes(2_000_000)
        pipelined = served.get("/file.bin", "1.1") * 2 + served.get("/nowhere", "1.1", "Connection: close")
        reply = served.exchange(address, pipelined)
        assert reply.count(bytes(2_000_000)) == 2
        assert b" 404 File not found" in reply
        served.assert_silence_stops(address, way, ask)


def test_the_standard_plain_server_is_frozen_by_silence(tmp_path: Path) -> None:
    with served.program(tmp_path, [served.script(tmp_path, PLAIN)]) as running:
        address = ("127.0.0.1", int(running.until(r"port (\d+)")))
        with served.silent_clients(address):
            served.assert_frozen(address)


PYDOC = """
    import pydoc, socketserver, sys
    server = pydoc._start_server(pydoc._url_handler, "127.0.0.1", 0)
    assert socketserver.__name__ == "reactor.socketserver" and isinstance(server.docserver, socketserver.BaseServer)
    print("port", server.docserver.server_port)
    server.join()
"""


def test_pydoc(tmp_path: Path) -> None:
    with served.program(tmp_path, [served.script(tmp_path, PYDOC)], options=["--way", "inline"]) as running:
        address = ("127.0.0.1", int(running.until(r"port (\d+)")))
        assert b"Index of Modules" in served.curl(served.url(address, "/"))
        assert b"StreamRequestHandler" in served.curl(served.url(address, "/socketserver.html"))
