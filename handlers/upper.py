"""Upper: what comes goes back in upper case; the service of socketserver's documentation, without an RFC.

What it is: echo that changes the ASCII letters and nothing else, so that one sees at once who has answered. What it is
not: text processing; bytes above 127 stay as they are, whatever their encoding, and no character is ever cut in two.
The rules are those of `echo`.
"""

from reactor import Datagram, Stream

from .reflection import may_answer


async def upper(stream: Stream) -> None:
    """Return every byte, letters in upper case."""
    while data := await stream.read_some():
        stream.write(data.upper())


def upper_datagram(packet: Datagram) -> None:
    """Return the packet, letters in upper case."""
    if may_answer(packet) and not packet.truncated:
        packet.reply(packet.data.upper())
