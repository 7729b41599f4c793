"""The loop inside a loop of your own: `fileno` and `next_turn_in_s` say when it wants a `step`.

Here the outer loop also waits for what is typed in the server's own terminal. Clients get the latest of it.

    own$ python examples/step_in_own_loop.py 9999
    own: listening at tcp://127.0.0.1:9999

    $ python examples/client.py tcp://127.0.0.1:9999 any news
    Sent:     any news
    Received: nothing new

    own> it rains
    own: noted
    $ python examples/client.py tcp://127.0.0.1:9999 any news
    Sent:     any news
    Received: it rains

    ^C
    own: drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import contextlib
import os
import select
import sys

from reactor import Reactor, Stream

news = b"nothing new\n"


async def tell_news(stream: Stream) -> None:
    while await stream.readline():
        stream.write(news)


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor() as loop:
        print("listening at", loop.listen(f"tcp://127.0.0.1:{port}", tell_news).endpoint)
        with contextlib.suppress(KeyboardInterrupt):
            while news:  # until Ctrl-D
                ready, _, _ = select.select([sys.stdin, loop], [], [], loop.next_turn_in_s())
                if sys.stdin in ready:
                    news = os.read(sys.stdin.fileno(), 1000)
                    print("noted")
                loop.step()
        loop.stop()
        print(loop.run())
