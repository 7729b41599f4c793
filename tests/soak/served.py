"""The server that is abused: `python -m tests.soak.served JSON`, with a coroutine and a framed handler.

A request is a line, `name size`, and the answer is the name again and again, so that an answer which came to somebody
else shows. The third listener is for control: its lines are answered with the server's own figures, and its end stops
the server. What can be read from outside (memory, descriptors) is not told here: `processes` reads /proc.

Limits of rows, and keywords of the reactor, are part of each scenario.
"""

from __future__ import annotations

import json
import logging
import resource
import socket
import sys
import time
from typing import Any

from reactor import Limits, Lines, Reactor, Stream
from reactor.socketserver import StreamRequestHandler
from tests.wakeups import Watch

# Small, so that what a client does not read waits in the server, where it is counted, and not in the kernel.
SEND_BUFFER_BYTES = 4096


def answer(line: bytes) -> bytes:
    """Return `size` bytes of the name, or the whole line where no size is asked for."""
    name, _, size = line.partition(b" ")
    if not size.strip():
        return line
    word = name + b"\n"
    return word * (int(size) // len(word))


async def serve(stream: Stream) -> None:
    """Answer each line."""
    while line := await stream.readline():
        stream.write(answer(line))


class Framed(StreamRequestHandler):
    """Answer each line, in the blocking way."""

    framing = Lines()

    def handle(self) -> None:
        """See `serve`."""
        while line := self.rfile.readline():
            self.wfile.write(answer(line))


class Counted(logging.Handler):
    """Counts what is logged as a warning or worse."""

    lines = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Count, and keep the console out of it."""
        self.lines += 1


def listening() -> socket.socket:
    """Return a listening socket whose connections have small send buffers."""
    sock = socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER_BYTES)
    sock.bind(("127.0.0.1", 0))
    sock.listen(4096)
    return sock


def main(options: dict[str, Any]) -> None:
    """Serve until the control connection ends."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (options.get("descriptors") or hard, hard))
    logged = Counted(logging.WARNING)
    logging.getLogger("reactor").addHandler(logged)
    limits = Limits(**options.get("limits", {}))
    with Watch().installed(), Reactor(**options.get("reactor", {})) as loop:

        async def control(stream: Stream) -> None:
            while await stream.readline():
                wakes: Any = vars(loop)["wakes"]
                figures = {
                    "cpu_s": time.process_time(), "waits": wakes.waits, "spurious": sum(wakes.spurious.values()),
                    "blame": wakes.spurious.most_common(3), "connections": loop.table.connections,
                    "logged": logged.lines, "now_s": time.monotonic(),
                }  # fmt: skip
                stream.write(json.dumps(figures).encode() + b"\n")
            loop.stop(drain_s=0)

        addresses = {
            "coroutine": loop.listen(listening(), serve, limits=limits).address,
            "framed": loop.listen(listening(), Framed, limits=limits).address,
            "control": loop.listen("tcp://127.0.0.1:0", control, limits=Limits(idle_s=None)).address,
        }
        sys.stdout.write(json.dumps(addresses) + "\n")
        sys.stdout.flush()
        loop.run()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
