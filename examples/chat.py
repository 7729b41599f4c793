"""A chat: each row writes to the other rows. The first line is the name; who reads too slowly is dropped.

    $ python examples/chat.py 9999
    listening at tcp://127.0.0.1:9999

    ann$ python examples/client.py tcp://127.0.0.1:9999
    ann> Ann
    ann: * here: Ann
    bob$ python examples/client.py tcp://127.0.0.1:9999
    bob> Bob
    bob: * here: Ann, Bob
    ann: * Bob has come
    bob> hello
    ann: Bob: hello

    ^C
    drained in 0.00 s: 0 finished, 2 were idle, 0 aborted
    bob: * Ann has gone
"""

import sys

from reactor import Limits, Reactor, Stream

members: dict[bytes, Stream] = {}


def tell(text: bytes, but: Stream) -> None:
    for member in [*members.values()]:
        if member is not but and not member.offer(text):  # offer says False where write would fill memory
            member.abort("reads too slowly")


async def chat(stream: Stream) -> None:
    name = (await stream.readline(max_bytes=20)).strip()
    if not name or name in members:
        return
    members[name] = stream
    try:
        stream.write(b"* here: %b\n" % b", ".join(members))
        tell(b"* %b has come\n" % name, but=stream)
        while line := await stream.readline(max_bytes=1000):
            tell(b"%b: %b" % (name, line), but=stream)
            stream.end_request()  # it gets no answer, and need not wait for one
    finally:
        del members[name]
        tell(b"* %b has gone\n" % name, but=stream)


if __name__ == "__main__":
    port = int(sys.argv[1]) if sys.argv[1:] else 0
    with Reactor(limits=Limits(idle_s=3600)) as loop:
        print("listening at", loop.listen(f"tcp://127.0.0.1:{port}", chat).endpoint)
        print(loop.run())
