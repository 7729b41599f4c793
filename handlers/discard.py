"""Discard (RFC 863): what comes is thrown away.

What it is: a sink, for measuring how fast a client can send. What it is not: an answer, ever; so the datagram service
takes part in no loop, and need not ask `reflection`.

Rule: a request lasts until it is answered, and nothing is answered here. So each piece is declared done, or the
`request_s` limit, which guards against clients that trickle a request byte by byte, would end a sink that works.
A client that sends nothing is idle and ends by `idle_s`.
"""

from reactor import Datagram, Stream


async def discard(stream: Stream) -> None:
    """Read to the end."""
    while await stream.read_some():
        stream.end_request()


def discard_datagram(packet: Datagram) -> None:
    """Do nothing."""
