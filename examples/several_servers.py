"""Several servers in one thread: TCP, UDP, a ready-made protocol, and a socketserver as it is.

    $ python examples/several_servers.py 9999
    listening at tcp://127.0.0.1:9999
    listening at udp://127.0.0.1:9999
    listening at tcp://127.0.0.1:10000
    listening at tcp://127.0.0.1:10001

    $ python examples/client.py tcp://127.0.0.1:9999 hello
    Sent:     hello
    Received: HELLO
    $ python examples/client.py udp://127.0.0.1:9999 hello
    Sent:     hello
    Received: HELLO
    $ python examples/client.py tcp://127.0.0.1:10000 hello
    Sent:     hello
    Received: ...day, ... ..., 20...-UTC
    $ python examples/client.py tcp://127.0.0.1:10001 hello
    Sent:     hello
    Received: olleh

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Reactor
from reactor.handlers import daytime, upper
from reactor.socketserver import StreamRequestHandler, ThreadingTCPServer


class Backwards(StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(self.rfile.readline()[-2::-1] + b"\n")


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        for listener in (
            loop.listen(f"tcp://127.0.0.1:{port}", upper.upper),
            loop.listen(f"udp://127.0.0.1:{port}", upper.upper_datagram),
            loop.listen(f"tcp://127.0.0.1:{port and port + 1}", daytime.daytime),
            loop.add(ThreadingTCPServer(("127.0.0.1", port and port + 2), Backwards)),
        ):
            print("listening at", listener.endpoint)
        print(loop.run())
