"""A recording: what rows were told and what they answered, piece by piece, as JSON lines.

What it is: the format, its reader and its writer. What it is not: the recorder, see `recorder`; nor the replay, which is
`reactor.testing.replay`. One object a line, so that a crash costs the last line at most:

    {"reactor-recording": 1, "began": "2026-11-23 18:30:00 UTC", "redact": "masked", "version": "0.1.0"}
    {"row": 2, "at": 0.0, "is": "open", "listener": "upper", "kind": "stream", "scheme": "tcp", "way": "coroutine", ...}
    {"row": 2, "at": 0.1, "is": "in", "data": "hello\\n"}
    {"row": 2, "at": 0.1, "is": "out", "data": "HELLO\\n"}
    {"row": 2, "at": 0.2, "is": "eof"}
    {"row": 2, "at": 0.2, "is": "end", "text": "PEER_CLOSED"}
    {"at": 9.0, "is": "stop"}

Rules: `at` counts seconds on the monotonic clock from the first row on, so no step of the wall clock moves anything ·
bytes are written as the characters of Latin-1, which people can read · peers have no addresses here, only the row's number,
by which the logs know them, too · a version that is not known is refused, a last line that is cut off is not.
"""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import os
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from .framing import Framing
from .framings import Fixed, LengthPrefixed, Lines, Netstring, Raw, Until
from .http_framing import HttpRequests
from .limits import DEFAULTS, Limits
from .phases import End

FORMAT = 1
_HEADER = "reactor-recording"
# What a line may say. `in`, `eof`, `lost` come from the peer; `out`, `shut` are ours; `cut`: older pieces were dropped.
SAYINGS = frozenset({"open", "in", "eof", "lost", "out", "shut", "phase", "error", "end", "cut"})
FRAMINGS = {each.__name__: each for each in (Fixed, HttpRequests, LengthPrefixed, Lines, Netstring, Raw, Until)}


class RecordingError(ValueError):
    """A file that is no recording, or one that this version cannot read or replay."""


class Origin(NamedTuple):
    """Where a row comes from: what a replay has to build again.

    Attributes:
        listener: its listener's name.
        kind: "stream" or "datagram".
        scheme: of the endpoint: "tcp", "unix", "udp", "unix+dgram".
        way: how the handler runs.
        framing: the framing, as a call; "" where the handler chooses.
        limits: those that are not the default ones, as pairs.
    """

    listener: str
    kind: str
    scheme: str
    way: str
    framing: str
    limits: tuple[tuple[str, Any], ...]


class Happening(NamedTuple):
    """One thing that happened to a row.

    Attributes:
        at: when (s, from the beginning of the recording).
        what: one of `SAYINGS`.
        data: what was received or sent.
        text: the end, an error's type, the name of an errno, a phase.
        sender: which one of its peers, for a packet: they are numbered as they come.
    """

    at: float
    what: str
    data: bytes = b""
    text: str = ""
    sender: int = 0


@dataclasses.dataclass(slots=True, eq=False)
class RecordedRow:
    """What happened to one row.

    Attributes:
        id: the row's; of one packet of a packet socket, with its number behind a dot.
        origin: where it comes from.
        happenings: in their order, the opening first.
        cut_bytes: how much of its beginning was dropped.
        size: what it counts in a ring (bytes).
    """

    id: int | str
    origin: Origin
    happenings: list[Happening] = dataclasses.field(default_factory=list)
    cut_bytes: int = 0
    size: int = 0

    @property
    def end(self) -> str:
        """How the row ended; "": it was open when the recording stopped."""
        last = self.happenings[-1] if self.happenings else None
        return last.text.partition(":")[0] if last is not None and last.what == "end" else ""

    @property
    def error(self) -> str:
        """The type of the last thing that its handler raised; "": nothing."""
        return next((each.text.partition(":")[0] for each in reversed(self.happenings) if each.what == "error"), "")

    @property
    def failed(self) -> bool:
        """Did its handler raise?"""
        return self.end == End.HANDLER_FAILED or bool(self.error)


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recording that was read.

    Attributes:
        header: what its first line says.
        rows: the rows, in the order in which they were opened.
        notes: what is wrong with it: sentences for a person.
    """

    header: dict[str, Any]
    rows: tuple[RecordedRow, ...]
    notes: tuple[str, ...] = ()

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Recording:
        """Read a file; raises as `parse`."""
        with open(path, encoding="utf-8") as file:
            return cls.parse(file.read(), os.fspath(path))

    @classmethod
    def parse(cls, text: str, name: str = "the recording") -> Recording:
        """Read the text of a recording.

        Args:
            text: its lines.
            name: for errors.

        Raises:
            RecordingError: it is none, its version is unknown, or a line in the middle cannot be understood.
        """
        return _Reader(name, text).recording()

    def lines(self) -> Iterator[str]:
        """Return it as text again, a line at a time."""
        yield as_line(self.header)
        for row in self.rows:
            yield from lines_of(row)
        yield as_line({"is": "stop"})


def header(began: str, redact: str, version: str) -> dict[str, Any]:
    """Return the first line of a recording."""
    return {_HEADER: FORMAT, "began": began, "redact": redact, "version": version}


def as_line(fields: dict[str, Any]) -> str:
    """Return an object as a line of a file."""
    return json.dumps(fields) + "\n"


def line_of(row: RecordedRow, happening: Happening) -> str:
    """Return a happening as a line of a file."""
    fields: dict[str, Any] = {"row": row.id, "at": round(happening.at, 6), "is": happening.what}
    if happening.what == "open":
        fields |= row.origin._asdict() | {"limits": dict(row.origin.limits)}
    if happening.what in ("in", "out"):
        fields["data"] = happening.data.decode("latin-1")
    if happening.text:
        fields["text"] = happening.text
    if happening.sender:
        fields["sender"] = happening.sender
    return as_line(fields)


def lines_of(row: RecordedRow) -> Iterator[str]:
    """Return all that happened to a row, a line at a time."""
    for number, happening in enumerate(row.happenings):
        yield line_of(row, happening)
        if number == 0 and row.cut_bytes:
            yield as_line({"row": row.id, "at": round(happening.at, 6), "is": "cut", "bytes": row.cut_bytes})


class _Reader:
    """Reads a recording, line by line."""

    def __init__(self, name: str, text: str) -> None:
        self._name, self._notes = name, list[str]()
        self._rows: dict[int | str, RecordedRow] = {}
        self._lines = text.splitlines()
        self._is_whole = text.endswith("\n")

    def recording(self) -> Recording:
        if not self._lines:
            raise RecordingError(f"{self._name} is empty: no recording")
        head = self._object(1)
        if _HEADER not in head:
            raise RecordingError(f"{self._name} is no recording: its first line has no {_HEADER!r}")
        if head[_HEADER] != FORMAT:
            raise RecordingError(
                f"{self._name} has version {head[_HEADER]!r} of the format, and this one reads {FORMAT}; use the version "
                f"of socketreactor that recorded it ({head.get('version', 'unknown')})"
            )
        stopped = False
        for number in range(2, len(self._lines) + 1):
            fields = self._object(number)
            stopped = fields.get("is") == "stop"
            if stopped and fields.get("text"):
                self._notes.append(f"{self._name} stops early: {fields['text']}")
            if fields and not stopped:
                self._take(fields, number)
        if not stopped:
            self._notes.append(f"{self._name} has no end: the program that records still runs, or was killed")
        rows = sorted(self._rows.values(), key=lambda row: row.happenings[0].at)
        return Recording(head, tuple(rows), tuple(self._notes))

    def _object(self, number: int) -> dict[str, Any]:
        """Return what a line says; nothing, if it is the last one and cut off."""
        try:
            fields = json.loads(self._lines[number - 1])
            if isinstance(fields, dict):
                return fields
        except ValueError:
            pass
        if number > 1 and number == len(self._lines) and not self._is_whole:
            self._notes.append(f"the last line of {self._name} is cut off, and is left out")
            return {}
        raise RecordingError(f"{self._name}, line {number}: not a line of a recording: {self._lines[number - 1][:80]!r}")

    def _take(self, fields: dict[str, Any], number: int) -> None:
        try:
            what, id = fields["is"], fields["row"]
            if what not in SAYINGS:
                raise ValueError(f"'is' is {what!r}, not one of {', '.join(sorted(SAYINGS))}")
            if what == "open":
                limits = tuple(fields["limits"].items())
                given = {name: fields[name] for name in Origin._fields if name != "limits"}
                self._rows[id] = RecordedRow(id, Origin(**given, limits=limits))
            row = self._rows[id]
            if what == "cut":
                row.cut_bytes += fields["bytes"]
                return
            data = fields.get("data", "").encode("latin-1")
            row.happenings.append(Happening(fields["at"], what, data, fields.get("text", ""), fields.get("sender", 0)))
        except (KeyError, ValueError, TypeError, AttributeError) as error:
            raise RecordingError(f"{self._name}, line {number}: {type(error).__name__}: {error}") from error


# -- what a replay builds again ---------------------------------------------------------------------------------------


def changed(limits: Limits) -> tuple[tuple[str, Any], ...]:
    """Return the limits that are not the default ones."""
    pairs = ((field.name, getattr(limits, field.name)) for field in dataclasses.fields(limits))
    return tuple((name, value) for name, value in pairs if value != getattr(DEFAULTS, name))


def framing_text(framing: Framing[Any] | None) -> str:
    """Return a framing as a call: Lines(max_bytes=None, keep_end=True); only its name, if it is none of ours."""
    if framing is None:
        return ""
    kind = type(framing)
    if FRAMINGS.get(kind.__name__) is not kind:
        return f"{kind.__module__}.{kind.__qualname__}"
    names: Iterable[str] = inspect.signature(kind).parameters
    return f"{kind.__name__}({', '.join(f'{name}={getattr(framing, name)!r}' for name in names)})"


def framing_from(text: str) -> Framing[Any] | None:
    """Return the framing that a recording names; None: it names none. Nothing but our own ones is made.

    Raises:
        RecordingError: it is none of ours, so whoever replays it must give it.
    """
    if not text:
        return None
    try:
        call: Any = ast.parse(text, mode="eval").body
        kind: Any = FRAMINGS[call.func.id]
        positional = [ast.literal_eval(each) for each in call.args]
        made: Framing[Any] = kind(*positional, **{each.arg: ast.literal_eval(each.value) for each in call.keywords})
    except (SyntaxError, AttributeError, KeyError, ValueError, TypeError) as error:
        reason = f"the rows were framed by {text}, which a recording cannot hold: give it by framing="
        raise RecordingError(reason) from error
    return made
