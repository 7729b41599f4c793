"""Time (RFC 868): the seconds since 1900-01-01 00:00 UTC, as 32 bits in network order.

What it is: four bytes for programs. What it is not: precise, or unambiguous: the count starts again at 0 on 2036-02-07
at 06:28:16, and a client must know in which era it lives, as with NTP.

Rules: what the client sends is thrown away, and the connection ends with the four bytes · a datagram, also an empty
one, is answered with four bytes, which is less than the padding of the Ethernet frame it came in · no answer that could
be the next request of a loop (`reflection`) · the clock is an argument: `functools.partial(time, clock=...)`.
"""

from collections.abc import Callable
from math import floor
from time import time as system_clock

from reactor import Datagram, Stream

from .reflection import may_answer

SECONDS_1900_TO_1970 = 2_208_988_800  # the RFC's own number: 70 years, 17 of them leap years


async def time(stream: Stream, *, clock: Callable[[], float] = system_clock) -> None:
    """Send the four bytes.

    Args:
        stream: the connection.
        clock: the time, in seconds since 1970.
    """
    stream.write(four_bytes_at(clock()))


def time_datagram(packet: Datagram, *, clock: Callable[[], float] = system_clock) -> None:
    """Answer with the four bytes; see `time`."""
    if may_answer(packet):
        packet.reply(four_bytes_at(clock()))


def four_bytes_at(seconds: float) -> bytes:
    """Return the four bytes for a time, in seconds since 1970; they wrap around every 2**32 seconds."""
    return ((floor(seconds) + SECONDS_1900_TO_1970) % 2**32).to_bytes(4, "big")
