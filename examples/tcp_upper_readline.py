"""A TCP server that answers a line in upper case: a StreamRequestHandler, whose `rfile` reads as often as it takes.

It runs `inline`, exactly as under socketserver's TCPServer: while it waits for its line, everybody else waits for it.
`timeout` says for how long; see tcp_threading.py and unix_stream.py for handlers that make nobody wait.

    $ python examples/tcp_upper_readline.py 9999
    listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 hello world with TCP
    Sent:     hello world with TCP
    Received: HELLO WORLD WITH TCP

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Reactor
from reactor.socketserver import StreamRequestHandler, TCPServer


class Upper(StreamRequestHandler):
    timeout = 5.0

    def handle(self) -> None:
        self.wfile.write(self.rfile.readline().upper())


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(TCPServer(("127.0.0.1", port), Upper), way="inline")
        print("listening at", listener.endpoint)
        print(loop.run())
