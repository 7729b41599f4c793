"""Echo (RFC 862): what comes goes back.

What it is: the stream service, which returns every byte until the client has finished sending, and the datagram
service, which returns every packet, also an empty one. What it is not: a line protocol; bytes go back as they arrive,
however they were cut.

Rules: a client that sends and does not read is not read either, as soon as its answers fill the outbox · no answer that
could be the next request of a loop (`reflection`), and none longer than its request · no half packet: one that the
kernel had to cut is dropped.
"""

from reactor import Datagram, Stream

from .reflection import may_answer


async def echo(stream: Stream) -> None:
    """Return every byte."""
    while data := await stream.read_some():
        stream.write(data)


def echo_datagram(packet: Datagram) -> None:
    """Return the packet."""
    if may_answer(packet) and not packet.truncated:
        packet.reply(packet.data)
