"""A blocking handler that talks back and forth, in a greenlet for each client (pip install 'socketreactor[greenlet]').

It greets first, asks twice, and remembers in a local variable: all that a framed handler cannot do. Where it waits for
its client, the others go on, in the same thread.

    $ python examples/tcp_greenlet.py 9999
    listening at tcp://127.0.0.1:9999

    ann$ python examples/client.py tcp://127.0.0.1:9999
    ann: What is your name?
    ben$ python examples/client.py tcp://127.0.0.1:9999
    ben: What is your name?
    ben> Ben
    ben: And your quest, Ben?
    ann> Ann
    ann: And your quest, Ann?
    ben> tea
    ben: Good luck with tea, Ben!
    ann> none
    ann: Good luck with none, Ann!

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Reactor
from reactor.socketserver import StreamRequestHandler, TCPServer


class Asks(StreamRequestHandler):
    def ask(self, question: str) -> str:
        self.wfile.write(f"{question}\n".encode())
        return self.rfile.readline().decode().strip()

    def handle(self) -> None:
        name = self.ask("What is your name?")
        quest = self.ask(f"And your quest, {name}?")
        self.wfile.write(f"Good luck with {quest}, {name}!\n".encode())


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        listener = loop.add(TCPServer(("127.0.0.1", port), Asks), way="greenlet")
        print("listening at", listener.endpoint)
        print(loop.run())
