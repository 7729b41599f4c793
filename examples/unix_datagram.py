"""A server for Unix datagrams: one function, one packet in, one packet out.

A client must be bound to a path of its own to be answered (see client.py); one that is not is heard all the same.

    $ python examples/unix_datagram.py /tmp/upper.sock
    listening at unix+dgram:///tmp/upper.sock

    $ python examples/client.py unix+dgram:///tmp/upper.sock hello world
    Sent:     hello world
    Received: HELLO WORLD

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Datagram, Reactor


def upper(packet: Datagram) -> None:
    packet.reply(packet.data.upper())


if __name__ == "__main__":
    path = sys.argv[1] if sys.argv[1:] else "upper.sock"
    with Reactor() as loop:
        listener = loop.listen(f"unix+dgram://{path}", upper)
        print("listening at", listener.endpoint)
        print(loop.run())
