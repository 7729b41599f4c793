"""bottle on wsgiref, its default server."""

from pathlib import Path

import pytest

from tests.packages import served

pytest.importorskip("bottle", reason=served.NEEDED)

pytestmark = pytest.mark.timeout(60)

PROGRAM = """
    import bottle
    from wsgiref.simple_server import WSGIServer
    class Server(WSGIServer):
        def server_activate(self):
            super().server_activate()
            print("port", self.server_port)
    @bottle.route("/")
    def page():
        return "ok"
    @bottle.post("/upload")
    def upload():
        file = bottle.request.files["file"]
        return f"{file.filename} {len(file.file.read())} {bottle.request.forms['word']}"
    @bottle.put("/upload")
    def put():
        return str(len(bottle.request.body.read()))
    bottle.run(port=0, quiet=True, server_class=Server)
"""


@served.every_way()
def test_substituted(way: str, tmp_path: Path) -> None:
    large = tmp_path / "large"
    large.write_bytes(bytes(3_000_000))
    with served.program(tmp_path, [served.script(tmp_path, PROGRAM)], options=served.HTTP_OPTIONS[way]) as running:
        address = ("127.0.0.1", int(running.until(r"port (\d+)")))
        served.check_http(address, "/", b"ok")
        upload = served.url(address, "/upload")
        # curl asks for 100 first, and waits a second for it: wsgiref, which speaks HTTP/1.0, sends none unless it is framed.
        assert served.curl("-F", f"file=@{large}", "-F", "word=x", upload) == b"large 3000000 x"
        assert served.curl("-H", "Expect:", "-T", str(large), upload) == b"3000000"
        assert served.curl("-H", "Expect:", "-T", "-", upload, stdin=bytes(300_000)) == b"300000"
        served.assert_silence_stops(address, way, lambda: served.curl(served.url(address)))
