"""A thread for each connection: the handler of socketserver's documentation, which says in which thread it runs.

    $ python examples/tcp_threading.py 9999
    listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 Hello World 1
    Sent:     Hello World 1
    Received: Thread-1 (process_request_thread): Hello World 1

    $ python examples/client.py tcp://127.0.0.1:9999 Hello World 2
    Sent:     Hello World 2
    Received: Thread-2 (process_request_thread): Hello World 2

    $ python examples/client.py tcp://127.0.0.1:9999 Hello World 3
    Sent:     Hello World 3
    Received: Thread-3 (process_request_thread): Hello World 3

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys
import threading

from reactor import Reactor
from reactor.socketserver import BaseRequestHandler, ThreadingTCPServer


class ThreadedTCPRequestHandler(BaseRequestHandler):
    def handle(self) -> None:
        data = self.request.recv(1024).decode("ascii")
        self.request.sendall(f"{threading.current_thread().name}: {data}".encode("ascii"))


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(ThreadingTCPServer(("127.0.0.1", port), ThreadedTCPRequestHandler))
        print("listening at", listener.endpoint)
        print(loop.run())
