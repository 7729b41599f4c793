"""Access control by `verify_request`: each address may come twice, and is refused before any handler runs.

    $ python examples/verify_request.py 9999
    listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 me
    Sent:     me
    Received: ME
    $ python examples/client.py tcp://127.0.0.1:9999 me again
    Sent:     me again
    Received: ME AGAIN
    $ python examples/client.py tcp://127.0.0.1:9999 and again
    Sent:     and again
    Received:

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys
from collections import Counter
from typing import Any

from reactor import AsyncStreamRequestHandler, Reactor
from reactor.socketserver import TCPServer


class Upper(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        self.wfile.write((await self.rfile.readline()).upper())


class TwiceEach(TCPServer):
    visits: Counter[str] = Counter()

    def verify_request(self, request: Any, client_address: Any) -> bool:
        self.visits[client_address[0]] += 1
        return self.visits[client_address[0]] <= 2


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(TwiceEach(("127.0.0.1", port), Upper))
        print("listening at", listener.endpoint)
        print(loop.run())
