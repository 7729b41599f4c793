"""What two recordings of the same input have not in common, in words for a person.

What it is: `Unit`, what a handler made of a connection or of a packet, and `difference` between two. What it is not: a
judgement on times: replies are compared, not when they came, nor in which pieces.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import zip_longest

from ..phases import End
from ..recording import Happening, RecordedRow

# Bytes that a difference shows of either side.
SHOWN_BYTES = 60
BEFORE_BYTES = 20
REST = "nothing more"

Redact = Callable[[bytes], bytes] | None


@dataclass(frozen=True)
class Unit:
    """A conversation, or a packet with its replies.

    Attributes:
        name: of the row, for people.
        out: what was answered: the bytes of a stream, or the packets with "to another peer" for those that were not
            sent back.
        end: how the row ended; "": it is open.
        error: the type of what the handler raised; "": nothing.
        at: when the packet came (s).
    """

    name: str
    out: bytes | tuple[tuple[bytes, str], ...] = b""
    end: str = ""
    error: str = ""
    at: float = 0.0

    @property
    def failed(self) -> bool:
        """Did the handler raise?"""
        return self.end == End.HANDLER_FAILED or bool(self.error)

    def ended(self, end: str) -> Unit:
        """Return the same with another end."""
        return replace(self, end=end)

    def __str__(self) -> str:
        answer = _shown(self.out) if isinstance(self.out, bytes) else ", ".join(_packet(*each) for each in self.out)
        how = self.end or ("open" if isinstance(self.out, bytes) else "")
        return ", ".join(filter(None, [answer or "no reply", how, self.error and f"{self.error} raised"]))


def units(row: RecordedRow, redact: Redact) -> list[Unit]:
    """Return what a row consists of: itself, or the packets of a packet socket."""
    if row.origin.kind == "datagram":
        return _packets(row, redact)
    out = b"".join(_as_kept(each.data, redact) for each in row.happenings if each.what == "out")
    return [Unit(_name(row), out, row.end, row.error)]


def _packets(row: RecordedRow, redact: Redact) -> list[Unit]:
    exchanges: list[list[Happening]] = []
    for happening in row.happenings:
        if happening.what == "in":
            exchanges.append([happening])
        elif exchanges:
            exchanges[-1].append(happening)
    return [_packet_unit(row, number, each, redact) for number, each in enumerate(exchanges, 1)]


def _packet_unit(row: RecordedRow, number: int, exchange: list[Happening], redact: Redact) -> Unit:
    packet = exchange[0]
    out = tuple(
        (_as_kept(each.data, redact), "" if each.sender == packet.sender else "to another peer")
        for each in exchange
        if each.what == "out"
    )
    error = next((each.text.partition(":")[0] for each in exchange if each.what == "error"), "")
    return Unit(f"packet {number} of {_name(row)}", out, error=error, at=packet.at)


def difference(before: Unit, now: Unit, *, fixed: bool = False) -> str:
    """Return what is different, in words; "" for nothing.

    Args:
        before: what was recorded.
        now: what came of the same input.
        fixed: what had failed must not fail again, and answer at least what it had answered until then.
    """
    if fixed and before.failed:
        if now.failed:
            return f"{before.name}: fails, as it did when it was recorded: {now}"
        now = now.ended(before.end)
        now = replace(now, out=now.out[: len(before.out)], error=before.error)
    if (before.out, before.end, before.error) == (now.out, now.end, now.error):
        return ""
    lines = [f"{before.name}: different", f"  recorded: {before}", f"  replayed: {now}"]
    if isinstance(before.out, bytes) and isinstance(now.out, bytes) and before.out != now.out:
        pairs = enumerate(zip_longest(before.out, now.out))
        at = next(number for number, (one, other) in pairs if one != other)
        begin = max(at - BEFORE_BYTES, 0)
        lines.append(f"  from byte {at} on: after {before.out[begin:at]!r}")
        lines += [f"    recorded: {_shown(before.out[at:]) or REST}", f"    replayed: {_shown(now.out[at:]) or REST}"]
    return "\n".join(lines)


def _as_kept(data: bytes, redact: Redact) -> bytes:
    return data if redact is None else redact(data)


def _name(row: RecordedRow) -> str:
    cut = f" (its first {row.cut_bytes} bytes were dropped)" if row.cut_bytes else ""
    return f"row {row.id} of {row.origin.listener}{cut}"


def _packet(data: bytes, to: str) -> str:
    return f"{_shown(data)} {to}".strip()


def _shown(data: bytes) -> str:
    if len(data) <= SHOWN_BYTES:
        return repr(data) if data else ""
    return f"{data[:SHOWN_BYTES]!r}... ({len(data)} bytes)"
