r"""A failure in production, as a test in a minute: keep the rows that failed, and tell them to the handler again.

The example is its own client. What a server has recorded is also replayed from the command line, which writes the test:
`python -m reactor.testing replay bad.jsonl shop:price --emit-test test_price.py`

    $ python examples/record_and_replay.py
    row 3 of price: as recorded: b'100\n', HANDLER_FAILED, KeyError raised
    mended:
    row 3 of price: different
      recorded: b'100\n', HANDLER_FAILED, KeyError raised
      replayed: b'100\nno such fruit\n', PEER_CLOSED
      from byte 4 on: after b'100\n'
        recorded: nothing more
        replayed: b'no such fruit\n'
"""

import logging
import socket
import tempfile

from reactor import BAD_ENDS, Reactor, Recorder, Stream
from reactor.testing import replay

PRICES = {b"apple": 50, b"pear": 70}


async def price(stream: Stream) -> None:
    while line := await stream.readline():
        fruit, count = line.split()
        stream.write(b"%d\n" % (PRICES[fruit] * int(count)))


async def mended(stream: Stream) -> None:
    while line := await stream.readline():
        fruit, count = line.split()
        stream.write(b"%d\n" % (PRICES[fruit] * int(count)) if fruit in PRICES else b"no such fruit\n")


if __name__ == "__main__":
    logging.getLogger("reactor").setLevel(logging.CRITICAL)  # the failure is what this is about
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/bad.jsonl"
        # redact=None keeps what clients say. That is for data which may be kept; by default it is masked.
        with Recorder(path, ends=BAD_ENDS, redact=None) as recorder, Reactor(observers=[recorder]) as loop:
            listener = loop.listen("tcp://127.0.0.1:0", price, name="price")
            with socket.create_connection(listener.address) as client:
                client.sendall(b"apple 2\nkiwi 3\n")
                client.shutdown(socket.SHUT_WR)
                while not loop.table.ended:
                    loop.step(None)
        print(replay(path, price))
        report = replay(path, mended)
        print("mended:", report, sep="\n")
        report.check()  # what failed does not fail any more, and what was answered up to there is answered still
