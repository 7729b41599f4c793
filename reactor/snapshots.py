"""What a row looks like from outside: a frozen copy, a text table, and one sentence on why it makes no progress.

Pure functions over frozen data, so they are legal in any thread and on rows that have ended long ago. Field names
follow what people know from redis' CLIENT LIST and HAProxy's `show fd`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any, Literal

from .addresses import printable
from .phases import RULES, End, Phase

Kind = Literal["listener", "stream", "datagram", "outgoing", "waker"]


@dataclass(frozen=True, slots=True)
class RowSnapshot:
    """A row at one moment; sizes in bytes, times in seconds (`deadline_s` counts from now)."""

    id: int
    fd: int
    kind: Kind
    server: str
    peer: str
    phase: Phase
    way: str
    need: str
    need_limit: int | None
    inbox_bytes: int
    outbox_bytes: int
    age_s: float
    quiet_s: float
    deadline_s: float | None
    bytes_in: int
    bytes_out: int
    requests: int
    paused: tuple[str, ...]
    waiting_at: str | None
    end: End | None
    detail: str

    def as_dict(self) -> dict[str, Any]:
        """Return the fields as JSON can carry them."""
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}


_COLUMNS = ("id", "fd", "kind", "server", "peer", "phase", "way", "need", "in", "out", "reqs", "age", "ends in", "note")
_NUMBERS = frozenset({"id", "fd", "in", "out", "reqs", "age", "ends in"})


def as_text(rows: Sequence[RowSnapshot]) -> str:
    """Return an aligned text table, one line a row under a heading."""
    lines = [_COLUMNS, *(tuple(map(printable, _cells(row))) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(
            cell.rjust(width) if name in _NUMBERS else cell.ljust(width)
            for name, cell, width in zip(_COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _cells(row: RowSnapshot) -> tuple[str, ...]:
    need = f"{row.inbox_bytes} B, {row.need}" if row.need and row.inbox_bytes else row.need
    note = ", ".join([*row.paused, *([row.end] if row.end else [])])
    return (
        str(row.id), str(row.fd), row.kind, row.server, row.peer, row.phase, row.way, need, str(row.bytes_in),
        str(row.bytes_out), str(row.requests), f"{row.age_s:.1f}s",
        "-" if row.deadline_s is None else f"{row.deadline_s:.1f}s", note,
    )  # fmt: skip


def explain(row: RowSnapshot) -> str:
    """Say in one sentence why the row makes no progress."""
    sentence = f"{row.phase} for {row.quiet_s:.1f} s: {_reason(row)}"
    if row.paused:
        sentence += f"; not read because of {', '.join(row.paused)}"
    if row.deadline_s is not None:
        sentence += f"; the {_deadline_name(row)} deadline ends it in {max(row.deadline_s, 0):.1f} s"
    return printable(sentence)


def _deadline_name(row: RowSnapshot) -> str:
    name = (RULES[row.phase].bounded_by or "write_stall_s").removesuffix("_s").replace("_", " ")
    if not row.outbox_bytes or name == "write stall":
        return name
    return "write stall" if row.phase is Phase.IDLE else f"{name} or write stall"


def _reason(row: RowSnapshot) -> str:
    if row.phase is Phase.IDLE:
        if row.outbox_bytes:
            return f"the peer has yet to read {row.outbox_bytes} bytes of replies"
        return f"between requests, needs {row.need or 'any byte'}"
    if row.phase is Phase.RECEIVING:
        limit = "" if row.need_limit is None else f" (limit {row.need_limit})"
        return f"has {row.inbox_bytes} bytes, needs {row.need.removeprefix('until ') or 'more'}{limit}"
    if row.phase is Phase.WORKING:
        return f"the handler waits at {row.waiting_at}" if row.waiting_at else "the handler works"
    why = " ".join(filter(None, [row.end, row.detail]))
    return _ENDING_AND_LISTENING[row.phase].format(row=row, why=f" ({why})" if why else "")


_ENDING_AND_LISTENING = {
    Phase.FLUSHING: "is ending{why}, the peer has yet to read {row.outbox_bytes} bytes",
    Phase.LINGERING: "all is sent and our side is shut{why}, discards input until the peer closes too",
    Phase.DETACHED: "its socket is with a handler of the way '{row.way}'",
    Phase.CLOSED: "has ended{why}",
    Phase.LISTENING: "waits for what comes",
    Phase.PAUSED: "accepts nothing",
}
