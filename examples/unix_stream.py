"""A server on a Unix socket: a handler class as in socketserver, two keywords away from the blocking one.

While a client makes it wait, the loop serves the others, in the same thread. The path is removed at the end.

    $ python examples/unix_stream.py /tmp/upper.sock
    listening at unix:///tmp/upper.sock

    $ python examples/client.py unix:///tmp/upper.sock hello world
    Sent:     hello world
    Received: HELLO WORLD

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import AsyncStreamRequestHandler, Reactor


class Upper(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        while line := await self.rfile.readline():
            self.wfile.write(line.upper())


if __name__ == "__main__":
    path = sys.argv[1] if sys.argv[1:] else "upper.sock"
    with Reactor() as loop:
        listener = loop.listen(f"unix://{path}", Upper)
        print("listening at", listener.endpoint)
        print(loop.run())
