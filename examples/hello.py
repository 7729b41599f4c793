"""A handler, three listeners, one thread: the program that the README opens with.

    $ python examples/hello.py 8000 /tmp/greet.sock
    listening at tcp://127.0.0.1:8000
    listening at unix:///tmp/greet.sock
    listening at udp://127.0.0.1:8000

    $ python examples/client.py udp://127.0.0.1:8000 hello
    Sent:     hello
    Received: HELLO

    ^C
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import sys

from reactor import Datagram, Reactor, Stream


async def greet(stream: Stream) -> None:  # one row of the table per connection
    stream.write(b"What is your name? ")
    name = await stream.readline(max_bytes=80)  # meanwhile its row says: needs b"\n", has 2 bytes
    stream.write(b"Hello, " + name)


def upper(packet: Datagram) -> None:  # one packet in, one out
    packet.reply(packet.data.upper())


if __name__ == "__main__":
    port, path = sys.argv[1:]
    with Reactor() as loop:
        for endpoint in (f"tcp://127.0.0.1:{port}", f"unix://{path}"):
            print("listening at", loop.listen(endpoint, greet).endpoint)
        print("listening at", loop.listen(f"udp://127.0.0.1:{port}", upper).endpoint)
        print(loop.run())  # Ctrl-C drains
