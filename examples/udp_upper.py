"""A UDP server that answers in upper case: the handler of socketserver's documentation, whose request is a pair.

    $ python examples/udp_upper.py 9999
    listening at udp://127.0.0.1:9999

    $ python examples/client.py udp://127.0.0.1:9999 hello world with UDP
    Sent:     hello world with UDP
    Received: HELLO WORLD WITH UDP

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Reactor
from reactor.socketserver import BaseRequestHandler, UDPServer


class MyUDPHandler(BaseRequestHandler):
    def handle(self) -> None:
        data, socket = self.request  # the packet, and the server's socket to answer it with
        socket.sendto(data.strip().upper(), self.client_address)


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(UDPServer(("127.0.0.1", port), MyUDPHandler))
        print("listening at", listener.endpoint)
        print(loop.run())
