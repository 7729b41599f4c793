r"""The table while half a line has arrived: what the row has, what it needs, where it waits, and when that ends.

The example is its own client, and turns the loop itself, one `step` at a time.

    $ python examples/partial_request.py
    id  fd  kind      server  peer             phase      way        need              in  out  reqs   age  ends in  note
     1   4  listener  greet                    LISTENING  -                             0    0     1  0.0s        -
     2   6  waker     waker                    LISTENING  -                             0    0     0  0.0s        -
     3   8  stream    greet   127.0.0.1:57444  RECEIVING  coroutine  6 B, until b'\n'   6   19     0  0.0s    30.0s
    RECEIVING for 0.0 s: has 6 bytes, needs b'\n' (limit 80); the request deadline ends it in 30.0 s
    the handler waits at partial_request.py:23
    the client reads What is your name? Hello, Ann Boleyn
    drained in 0.00 s: 0 finished, 0 were idle, 0 aborted
"""

import socket

from reactor import Reactor, Stream


async def greet(stream: Stream) -> None:
    stream.write(b"What is your name? ")
    name = await stream.readline(max_bytes=80)
    stream.write(b"Hello, " + name)


if __name__ == "__main__":
    with Reactor() as loop:
        listener = loop.listen("tcp://127.0.0.1:0", greet, name="greet")
        with socket.create_connection(listener.address) as client:
            client.sendall(b"Ann Bo")
            while not any(row.inbox_bytes for row in loop.table):
                loop.step(None)
            row = next(row for row in loop.table if row.inbox_bytes)
            print(loop.table, loop.table.explain(row), f"the handler waits at {row.waiting_at}", sep="\n")
            client.sendall(b"leyn\n")
            loop.step(None)
            print("the client reads", client.recv(100).decode().strip())
        loop.stop()
        print(loop.run())
