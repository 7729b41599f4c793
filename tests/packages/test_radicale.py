"""Radicale, a calendar server, as its own command runs it: a select over all its servers, and `handle_request` of each.

Limits: that select is its own, so no `way` reaches it; its servers have ThreadingMixIn, and keep their threads. Its
get_request returns an address with a socket in it (to count threads), and its hooks take that apart again: do not `loop.add`
it, for nobody would ever read that socket.
"""

from pathlib import Path

import pytest

from tests.packages import served

pytest.importorskip("radicale", reason=served.NEEDED)

pytestmark = pytest.mark.timeout(60)

EVENT = b"""BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nBEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20240101T000000Z\r
DTSTART:20240101T000000Z\r\nSUMMARY:party\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"""

# Its options allow no port 0.
PROGRAM = """
    import radicale.__main__, radicale.server
    class Server(radicale.server.ParallelHTTPServer):
        def server_bind(self):
            self.server_address = ("127.0.0.1", 0)
            super().server_bind()
    radicale.server.ParallelHTTPServer = Server
    radicale.__main__.run()
"""


def test_substituted(tmp_path: Path) -> None:
    words = [served.script(tmp_path, PROGRAM), "--config", "", "--server-hosts", "127.0.0.1:1", "--auth-type", "none"]
    words += ["--storage-filesystem-folder", str(tmp_path / "collections"), "--logging-level", "info"]
    with served.program(tmp_path, words, options=["--way", "greenlet"]) as running:
        address = ("127.0.0.1", int(running.until(r"Listening on .*:(\d+)")))
        calendar = served.url(address, "/someone/calendar/")
        with served.silent_clients(address):
            status = ["-o", "/dev/null", "-w", "%{http_code}"]
            assert served.curl(*status, "-u", "someone:x", "-X", "MKCALENDAR", calendar) == b"201"
            event = calendar + "party.ics"
            assert served.curl(*status, "-u", "someone:x", "--data-binary", "@-", "-X", "PUT", event, stdin=EVENT) == b"201"
            assert b"SUMMARY:party" in served.curl("-u", "someone:x", event)
            found = served.curl("-u", "someone:x", "-X", "PROPFIND", "-H", "Depth: 1", calendar)
            assert b"party.ics" in found
        running.process.terminate()
        running.rest()
    assert "Traceback" not in running.text, running.text
