"""Daytime (RFC 867): the time as a line for people, "Monday, February 22, 1982 17:37:43-UTC".

What it is: one line in the form that the RFC suggests (whose example calls that Monday a Tuesday), in English whatever
the locale, in UTC. What it is not: for programs, to which `time` gives 32 bits.

Rules: what the client sends is thrown away, and the connection ends with the line · a datagram, also an empty one, is
answered with the line, about 40 bytes, and that is all that can be gained by forging one · no answer that could be the
next request of a loop (`reflection`) · the clock is an argument: `functools.partial(daytime, clock=...)`.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import time as system_clock

from reactor import Datagram, Stream

from .reflection import may_answer

_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_MONTHS = ("January", "February", "March", "April", "May", "June", "July", "August", "September", "October",
           "November", "December")  # fmt: skip


async def daytime(stream: Stream, *, clock: Callable[[], float] = system_clock) -> None:
    """Send the line.

    Args:
        stream: the connection.
        clock: the time, in seconds since 1970.
    """
    stream.write(line_at(clock()))


def daytime_datagram(packet: Datagram, *, clock: Callable[[], float] = system_clock) -> None:
    """Answer with the line; see `daytime`."""
    if may_answer(packet):
        packet.reply(line_at(clock()))


def line_at(seconds: float) -> bytes:
    """Return the line for a time, in seconds since 1970."""
    at = datetime.fromtimestamp(seconds, UTC)
    date = f"{_DAYS[at.weekday()]}, {_MONTHS[at.month - 1]} {at.day}, {at.year}"
    return f"{date} {at:%H:%M:%S}-UTC\r\n".encode("ascii")
