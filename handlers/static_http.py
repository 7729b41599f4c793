"""Static HTTP: the files of a directory, by `http.server.SimpleHTTPRequestHandler`, in the loop's own thread.

    loop.listen("tcp://127.0.0.1:8000", static_http.static_http("public"))

What it is: GET and HEAD with all that http.server does for them (index.html, listings, types, If-Modified-Since), on
`HttpRequests`: a client that is slow to ask, or slow to read, is a row. What it is not: a server for the open Internet;
no ranges, no compression, no TLS, and a file is copied as a whole when it is asked for: one of more than the outbox holds
waits on disk (`Limits.spool_bytes`, 1 GiB, for each client that does not read; `Limits.connections` bounds their number).

Everything below the directory is public: what begins with a dot, what has no link to it, and what a symbolic link leads
to, wherever that is. A path cannot leave the directory by itself; http.server drops each `..`.

Rules, which http.server lacks and one thread needs:

1. Only files and directories are opened. A named pipe would hold the loop until somebody writes to it, a device has no
   end, and a path with a zero byte, which no file can have, is no failure of this program but a 404.
2. A body is as long as its Content-Length says, also if the file grows meanwhile: what is too much would be taken for the
   next reply. If it has shrunk, the connection ends.
3. It also ends behind a request with a body, which nobody has read: http.server would take that for the next request.
4. Control characters in a request are escaped in the log: http.server does that, and a Unix socket's client is "-".
"""

import functools
import os
import stat
from http.server import SimpleHTTPRequestHandler
from typing import IO, Any

from reactor import HttpRequests

_INDEX_PAGES = ("index.html", "index.htm")
_COPY_BYTES = 65536


class StaticHttpHandler(SimpleHTTPRequestHandler):
    """What serves one request; `static_http` makes a class of it for a directory."""

    protocol_version = "HTTP/1.1"
    framing = HttpRequests(body_bytes=65536)  # nothing here wants a body; a larger one is a 413
    quiet = False
    _promised = 0

    def send_head(self) -> Any:
        """Return the open file, the head being sent; None: there is none to send."""
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True
        path = self.translate_path(self.path)
        pages = [os.path.join(path, page) for page in _INDEX_PAGES]
        if not _is_plain(path) or not all(_is_plain(page) for page in pages if os.path.exists(page)):
            self.send_error(404, "File not found")
            return None
        return super().send_head()

    def send_header(self, keyword: str, value: str) -> None:
        """Note the length that is promised."""
        if keyword == "Content-Length":
            self._promised = int(value)
        super().send_header(keyword, value)

    def copyfile(self, source: IO[Any], outputfile: IO[Any]) -> None:  # type: ignore[override]
        """Send as many bytes as were promised."""
        left = self._promised
        while left and (data := source.read(min(left, _COPY_BYTES))):
            outputfile.write(data)
            left -= len(data)
        if left:
            self.close_connection = True

    def address_string(self) -> str:
        """Return who asks, for the log."""
        return super().address_string() if len(self.client_address) else "-"

    def log_message(self, format: str, *args: Any) -> None:
        """Write a line to stderr, as http.server does, or nothing."""
        if not self.quiet:
            super().log_message(format, *args)


def static_http(directory: str | os.PathLike[str], *, quiet: bool = False) -> type[StaticHttpHandler]:
    """Return a handler class that serves a directory.

    Args:
        directory: where it is; a relative path means what it means now.
        quiet: do not log requests to stderr.

    Raises:
        NotADirectoryError: there is no such directory.
    """
    root = os.path.abspath(directory)
    if not os.path.isdir(root):
        raise NotADirectoryError(f"static_http({os.fspath(directory)!r}): {root} is no directory")
    made = functools.partialmethod(StaticHttpHandler.__init__, directory=root)
    return type("static_http", (StaticHttpHandler,), {"__init__": made, "quiet": quiet})


def _is_plain(path: str) -> bool:
    """Is it something that can be opened and read without waiting?"""
    try:
        mode = os.stat(path).st_mode
    except (OSError, ValueError):
        return False
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)
