"""A process for each connection: what a handler does to its memory, the others do not see.

    $ python examples/tcp_forking.py 9999
    listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 Hello World 1
    Sent:     Hello World 1
    Received: process ... has counted to 1: Hello World 1

    $ python examples/client.py tcp://127.0.0.1:9999 Hello World 2
    Sent:     Hello World 2
    Received: process ... has counted to 1: Hello World 2

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import os
import sys

from reactor import Reactor
from reactor.socketserver import ForkingTCPServer, StreamRequestHandler

count = 0


class Counter(StreamRequestHandler):
    def handle(self) -> None:
        global count
        count += 1
        self.wfile.write(b"process %d has counted to %d: %b" % (os.getpid(), count, self.rfile.readline()))


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(ForkingTCPServer(("127.0.0.1", port), Counter))
        print("listening at", listener.endpoint)
        print(loop.run())
