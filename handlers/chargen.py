"""Character generator (RFC 864): lines of 72 printable characters, each line one character further on.

What it is: a source, for measuring how fast a client can read. What it is not: an amplifier. RFC 864 has a UDP answer
of 0 to 512 characters, whatever the request; with a forged sender an empty packet then becomes 512 bytes for a victim
(US-CERT TA14-017A: a factor of 358). So here the answer is as long as the request was, and at most 512.

Rules: the stream waits in `drain` after each round of the pattern, so a client that does not read costs one outbox and
no time, and is ended by `write_stall_s` · what the client sends is thrown away · it ends when the client closes, or
finishes sending, and when the reactor drains · no answer that could be the next request of a loop (`reflection`).
"""

from reactor import Datagram, Stream

from .reflection import may_answer

LINE_BYTES = 72
PACKET_BYTES = 512

_PRINTABLE = bytes(range(32, 127))
# All the lines there are: after 95 of them the pattern starts again.
PATTERN = b"".join((_PRINTABLE * 2)[first : first + LINE_BYTES] + b"\r\n" for first in range(len(_PRINTABLE)))


async def chargen(stream: Stream) -> None:
    """Send the pattern until the client has enough."""
    hung_up = stream.spawn(_throw_away, stream)
    while not hung_up.done:
        stream.write(PATTERN)
        await stream.drain()


async def _throw_away(stream: Stream) -> None:
    while await stream.read_some():
        pass


def chargen_datagram(packet: Datagram) -> None:
    """Send as many characters as the packet had bytes, at most 512."""
    if may_answer(packet):
        packet.reply(PATTERN[: min(len(packet.data), PACKET_BYTES)])
