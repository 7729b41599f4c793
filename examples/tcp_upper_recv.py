"""A TCP server that answers in upper case: the handler of socketserver's documentation, unchanged, with one `recv`.

It may block, so it is given a thread. The loop goes on meanwhile.

    $ python examples/tcp_upper_recv.py 9999
    listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 hello world with TCP
    Sent:     hello world with TCP
    Received: HELLO WORLD WITH TCP

    $ python examples/client.py tcp://127.0.0.1:9999 python is nice
    Sent:     python is nice
    Received: PYTHON IS NICE

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Reactor
from reactor.socketserver import BaseRequestHandler, TCPServer


class MyTCPHandler(BaseRequestHandler):
    def handle(self) -> None:
        data = self.request.recv(1024).strip()  # self.request is the TCP socket connected to the client
        self.request.sendall(data.upper())


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(TCPServer(("127.0.0.1", port), MyTCPHandler), way="thread")
        print("listening at", listener.endpoint)
        print(loop.run())
