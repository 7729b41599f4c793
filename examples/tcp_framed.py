"""An ordinary blocking handler that blocks nobody: it is called once there is a whole line.

`framing` says what a request is. The handler is made anew for each, finds it in `rfile`, and what it has to remember lives
in `request.session`; with HttpRequests() the same goes for handlers of http.server. A client that is silent, or in the
middle of its line, is a row in a table.

    $ python examples/tcp_framed.py 9999
    listening at tcp://127.0.0.1:9999

    ann$ python examples/client.py tcp://127.0.0.1:9999
    ann> hello
    ann: 1: HELLO
    ben$ python examples/client.py tcp://127.0.0.1:9999
    ben> me too
    ben: 1: ME TOO
    ann> still here
    ann: 2: STILL HERE

    ^C
    drained in 0.00 s: 0 finished, 2 were idle, 0 aborted
"""

import sys

from reactor import Lines, Reactor
from reactor.socketserver import StreamRequestHandler, TCPServer


class Upper(StreamRequestHandler):
    def handle(self) -> None:
        for line in self.rfile:  # it asks for more than there is, so the connection is kept
            number = self.request.session = (self.request.session or 0) + 1
            self.wfile.write(b"%d: %b" % (number, line.upper()))


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(TCPServer(("127.0.0.1", port), Upper), framing=Lines())
        print("listening at", listener.endpoint)
        print(loop.run())
