"""The recorder: keeps what rows were told and what they answered, for a replay (`python -m reactor.testing replay`).

    with Recorder("today.jsonl", redact=None) as recorder, Reactor(observers=[recorder]) as loop:     # every row
    with Recorder("bad.jsonl", ends=BAD_ENDS, redact=hide_cards) as recorder, Reactor(...) as loop:   # a ring of bad ones

What it is: the two stores, a file of everything and a ring of rows that ended in a certain way, both bounded. What it is
not: how it hears of bytes; those are the taps.

Rules:

1. What passes through a server is other people's. So contents are masked unless the program says what to do with them, the
   file is for its owner only (0600), and peers are numbers.
2. Everything is bounded, with a default: the file, the ring in rows and bytes, what one row may take of it.
3. Whatever is wrong with the recording (a full disk, a hook that fails) is logged once and costs no row anything.
4. A line is written when it happens, without a buffer: a crash of the process loses none that was noted.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from itertools import count
from typing import IO, Self

from .clock import date_s
from .errors import describe
from .phases import GOOD_ENDS, End
from .recording import Happening, RecordedRow, as_line, header, line_of, lines_of
from .taps import RowRecorder

log = logging.getLogger("reactor")

# Ends that somebody may want to look into; the same rows as in `Table.ended`.
BAD_ENDS = frozenset(End) - GOOD_ENDS

FILE_BYTES = 1 << 30  # as Limits.spool_bytes: what this library writes to a disk unasked
RING_BYTES = 16 << 20  # as Limits.outbox_bytes: what one connection may hold of the memory
RING_ROWS = 100  # as table.ENDED_ROWS
ROW_BYTES = 1 << 20  # sixteen frames of the default Limits.frame_bytes
# What a happening and a row take beside their content (sys.getsizeof of their parts, CPython 3.11: 168 and 950).
HAPPENING_OVERHEAD_BYTES = 176
ROW_OVERHEAD_BYTES = 1024

_KEPT = frozenset(b"\r\n\t ")
_MASK = bytes(
    byte if byte in _KEPT else ord("x") if chr(byte).isascii() and chr(byte).isalpha() else 48 if 48 <= byte < 58 else 63
    for byte in range(256)
)


def masked(data: bytes) -> bytes:
    """Return as many bytes that say nothing: letters become x, digits 0, all else "?"; spaces and line ends stay."""
    return data.translate(_MASK)


class Recorder(RowRecorder):
    """An observer that records what comes in and goes out, row by row: `Reactor(observers=[recorder])`.

    Args:
        path: the file; an older one is kept as `path` with ".1" behind it. None: a ring in memory only, see `save`.
        ends: keep only rows that end so (`BAD_ENDS`), in a ring; None: write down everything as it happens.
        redact: is called with each piece of content before anything is kept. By default letters and digits are masked;
            None keeps contents, which are personal data more often than not.
        file_bytes: the recording stops when its file has so many; a ring's file is begun anew.
        ring_rows: the most rows that a ring keeps; then the oldest of the commonest end goes.
        ring_bytes: the most bytes of memory for them and for the rows that are open; at least half of it is theirs.
        row_bytes: the most bytes for one row of a ring; then the older half of its pieces is dropped.

    Attributes:
        forgotten: open rows that a ring had no room for: they will not be in it however they end.

    Raises:
        ValueError: everything is to be written down, but there is no file; or a limit is not positive.
        OSError: the file cannot be made.
    """

    def __init__(
        self,
        path: str | os.PathLike[str] | None = None,
        *,
        ends: Collection[End] | None = None,
        redact: Callable[[bytes], bytes] | None = masked,
        file_bytes: int = FILE_BYTES,
        ring_rows: int = RING_ROWS,
        ring_bytes: int = RING_BYTES,
        row_bytes: int = ROW_BYTES,
    ) -> None:
        if path is None and ends is None:
            raise ValueError("Recorder(): everything needs a file: give it a path, or ends=BAD_ENDS for a ring in memory")
        sizes = {"file_bytes": file_bytes, "ring_rows": ring_rows, "ring_bytes": ring_bytes, "row_bytes": row_bytes}
        for name, value in sizes.items():
            if value <= 0:
                raise ValueError(f"Recorder({name}={value}): must be positive")
        super().__init__(redact)
        self._header = header(_date(), _name_of(redact), _version())
        self._path = None if path is None else os.fspath(path)
        self._file_bytes, self._ring_rows, self._ring_bytes = file_bytes, ring_rows, ring_bytes
        self._row_bytes = min(row_bytes, ring_bytes // 2)
        self._ends = None if ends is None else frozenset(ends)
        self._held: dict[int | str, RecordedRow] = {}  # open rows of a ring, the oldest first
        self._ring: list[RecordedRow] = []
        self._size = self._ring_size = 0  # what both have, and what the ring has of it, in bytes
        self._exchanges = count(1)
        self.forgotten = 0
        self._file: IO[bytes] | None = None
        self._written = 0
        if self._path is not None:
            self._begin_file()

    # -- what the taps call -----------------------------------------------------------------------------------------

    def keep(self, row: RecordedRow, happening: Happening) -> None:
        """See `RowRecorder`."""
        if self._ends is None:
            self._write(line_of(row, happening))
        elif row.origin.kind == "datagram":
            self._keep_exchange(row, happening)
        else:
            self._keep_row(row, happening)

    def _keep_row(self, row: RecordedRow, happening: Happening) -> None:
        if happening.what == "open":
            self._held[row.id] = row
            self._grow(row, ROW_OVERHEAD_BYTES)
        if row.id not in self._held:
            return  # forgotten
        row.happenings.append(happening)
        self._grow(row, HAPPENING_OVERHEAD_BYTES + len(happening.data) + len(happening.text))
        if happening.what == "end":
            del self._held[row.id]
            self._ended(row)
        elif row.size > self._row_bytes:
            self._halve(row)
        self._bound()

    def _keep_exchange(self, row: RecordedRow, happening: Happening) -> None:
        """A packet socket ends with its program; so what may end badly is each packet, with what came of it."""
        if happening.what == "in":
            row.happenings[1:], row.size = [], 0
        row.size += HAPPENING_OVERHEAD_BYTES + len(happening.data)
        if happening.what in ("open", "in", "out", "error") and row.size <= self._row_bytes:
            row.happenings.append(happening)
        if happening.what == "error" and len(row.happenings) > 1:
            opened = row.happenings[0]._replace(at=row.happenings[1].at)
            end = Happening(happening.at, "end", text=End.HANDLER_FAILED)
            name = f"{row.id}.{next(self._exchanges)}"
            exchange = RecordedRow(name, row.origin, [opened, *row.happenings[1:], end])
            self._grow(exchange, ROW_OVERHEAD_BYTES + row.size)
            self._ended(exchange)
            self._bound()

    # -- the ring ---------------------------------------------------------------------------------------------------

    def _grow(self, row: RecordedRow, size: int) -> None:
        row.size += size
        self._size += size

    def _ended(self, row: RecordedRow) -> None:
        """Keep a row that ended as asked for, and forget it else."""
        if row.end not in (self._ends or ()):
            self._size -= row.size
            return
        self._ring.append(row)
        self._ring_size += row.size
        if self._file is not None:
            if self._written > self._file_bytes or self._written > 2 * self._ring_bytes:
                self._begin_file()  # what the ring has dropped by now, the new file does not have
                for each in self._ring:
                    self._write("".join(lines_of(each)))
            else:
                self._write("".join(lines_of(row)))

    def _halve(self, row: RecordedRow) -> None:
        """Drop the older half of its pieces; all at once, for each time costs as much as there is."""
        while row.size > self._row_bytes // 2 and len(row.happenings) > 2:
            half = 1 + (len(row.happenings) - 1) // 2
            dropped, row.happenings[1:half] = row.happenings[1:half], []
            lost = sum(len(each.data) + len(each.text) for each in dropped)
            row.cut_bytes += sum(len(each.data) for each in dropped)
            self._grow(row, -lost - HAPPENING_OVERHEAD_BYTES * len(dropped))

    def _bound(self) -> None:
        """Make room. Half of it is for rows that have ended: what is open will hardly ever end badly."""
        while len(self._ring) > self._ring_rows:
            self._drop_ended()
        while self._size > self._ring_bytes:
            if self._ring and (self._ring_size > self._ring_bytes // 2 or not self._held):
                self._drop_ended()
            else:
                self._forget_open()

    def _drop_ended(self) -> None:
        """Drop the oldest row of the commonest end: a thousand resets must not push the one failure out."""
        commonest, _ = Counter(row.end for row in self._ring).most_common(1)[0]
        oldest = next(row for row in self._ring if row.end == commonest)
        self._ring.remove(oldest)
        self._size -= oldest.size
        self._ring_size -= oldest.size

    def _forget_open(self) -> None:
        """Keep nothing of the oldest row that is open, however it ends."""
        oldest = self._held.pop(next(iter(self._held)))
        self._size -= oldest.size
        oldest.happenings = []
        self.forgotten += 1

    def left_open(self, row: RecordedRow) -> None:
        """See `RowRecorder`: a ring has no use for it."""
        if self._held.pop(row.id, None) is not None:
            self._size -= row.size

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write what the ring has to a file of its own; an older one is kept with ".1" behind its name."""
        with _private_file(os.fspath(path)) as file:
            file.write(as_line(self._header).encode())
            for row in self._ring:
                file.write("".join(lines_of(row)).encode())
            file.write(as_line({"is": "stop"}).encode())

    # -- the file ---------------------------------------------------------------------------------------------------

    def _begin_file(self) -> None:
        assert self._path is not None  # whoever calls it has seen to that
        if self._file is not None:
            self._file.close()
        self._file, self._written = _private_file(self._path), 0
        self._write(as_line(self._header))

    def _write(self, text: str) -> None:
        assert self._file is not None  # else it was closed, and stopped
        data = text.encode()
        self._written += len(data)
        if self._ends is None and self._written > self._file_bytes:
            reason = f"file_bytes: {self._file_bytes} allowed; give the recorder more, or ends=BAD_ENDS"
            _whole(self._file, as_line({"is": "stop", "text": reason}).encode())
            raise OSError(reason)
        _whole(self._file, data)

    def close(self) -> None:
        """Stop, and say so in the file; legal twice. Rows that are open have no end in the recording."""
        file, self._file = self._file, None
        if file is not None:
            try:
                with file:
                    _whole(file, b"" if self.stopped else as_line({"is": "stop"}).encode())
            except OSError as error:
                log.warning("%r has no last line: %s", self, describe(error))
        self.stop("closed")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Recorder {self._path or 'in memory'}>"


def _private_file(path: str) -> IO[bytes]:
    """Make a file that only its owner can read; what is there goes aside, whoever put it there: it may say why."""
    if os.path.lexists(path):
        os.replace(path, f"{path}.1")
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
    return open(os.open(path, flags, 0o600), "wb", buffering=0)


def _whole(file: IO[bytes], data: bytes) -> None:
    """Write all of it: a file without a buffer may take less."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _date() -> str:
    return datetime.fromtimestamp(date_s(), UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _name_of(redact: Callable[[bytes], bytes] | None) -> str:
    """Return what the header says of the contents: whoever replays them must compare like with like."""
    if redact is None or redact is masked:
        return "" if redact is None else "masked"
    return f"{getattr(redact, '__module__', '')}:{getattr(redact, '__qualname__', type(redact).__name__)}"


def _version() -> str:
    return str(getattr(sys.modules[__package__ or ""], "__version__", ""))
