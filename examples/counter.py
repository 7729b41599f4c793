"""A counter that all connections share, without a lock: between two awaits nobody else runs.

    $ python examples/counter.py 9999
    listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 count me
    Sent:     count me
    Received: 1

    ann$ python examples/client.py tcp://127.0.0.1:9999
    bob$ python examples/client.py tcp://127.0.0.1:9999
    ann> me
    ann: 2
    bob> me too
    bob: 3
    ann> and me again
    ann: 4

    ^C
    drained in 0.00 s: 0 finished, 2 were idle, 0 aborted
"""

import sys

from reactor import Lines, Reactor, Stream

count = 0


async def counter(stream: Stream) -> None:
    global count
    async for _ in stream.frames(Lines()):
        count += 1
        stream.write(b"%d\n" % count)


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        print("listening at", loop.listen(f"tcp://127.0.0.1:{port}", counter).endpoint)
        print(loop.run())
