"""A recording, told again: the same bytes in the same pieces at the same times, and what the handler makes of them now.

    report = replay("bad.jsonl", shop.serve)
    print(report)           # each row, as recorded or different, and where
    report.check()          # for a test: what failed must not fail any more, all else must be as it was

What it is: the peers of the recorded rows, played in a simulation. What it is not: a copy of the program; other listeners,
threads, files and the date are not in a recording. Rules:

1. A piece is sent when the one before was taken, at its own (simulated) time, so a deadline falls between the same two.
2. Both sides are compared through the same redaction: a masked recording knows the shape of the replies, not the replies.
3. The stop of the recording program is not replayed: a row that it ended is open here, and that counts as the same.
4. A peer that does not read is not replayed either: a recording cannot tell what the two kernels held.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest
from typing import Any

from ..framing import Framing
from ..limits import Limits
from ..listeners import Listener
from ..phases import End
from ..recorder import masked
from ..recording import Happening, Origin, RecordedRow, Recording, RecordingError, framing_from
from ..taps import RowRecorder
from .clients import Client
from .conversations import Handler, HostedServer
from .differences import Unit, difference, units
from .simulation import Simulation

# More than one recv() of the engine takes (transports.RECEIVE_BYTES): every recorded piece arrives in one.
BUFFER_BYTES = 1 << 20
# A deadline that was recorded to the microsecond may fall just behind the last happening.
SLACK_S = 0.001
DESCRIPTORS, CONNECTIONS = 64, 10_000  # what a world has besides its rows; the default of Reactor
PORT = 1024
# How a row may have ended that the replay leaves open: by the program's own stop.
STOPPED = frozenset({"", End.ABORTED, End.DRAINED})


class ReplayError(AssertionError):
    """A handler does not do what it did, or fails as it did."""


@dataclass(frozen=True)
class ReplayReport:
    """What came of a replay.

    Attributes:
        pairs: for each row, and each packet: what was recorded, and what came now.
        notes: what is wrong with the recording.
        trace: what happened in the simulation.
    """

    pairs: tuple[tuple[Unit, Unit], ...]
    notes: tuple[str, ...]
    trace: str

    @property
    def same(self) -> bool:
        """Is all as it was recorded, failures included?"""
        return not any(difference(before, now) for before, now in self.pairs)

    def check(self) -> None:
        """For tests: what failed when it was recorded must not fail now, all else must be as it was.

        Raises:
            ReplayError: it is not; with what is different, and the trace.
        """
        wrong = [text for before, now in self.pairs if (text := difference(before, now, fixed=True))]
        if wrong:
            raise ReplayError("\n".join([*wrong, "what happened in the replay:", self.trace]))

    def __str__(self) -> str:
        lines = [f"note: {note}" for note in self.notes]
        for before, now in self.pairs:
            lines.append(difference(before, now) or f"{before.name}: as recorded: {before}")
        return "\n".join(lines)


def replay(
    recording: Recording | str | os.PathLike[str],
    handler: Handler,
    *,
    framing: Framing[Any] | None = None,
    listener: str = "",
    rows: Collection[int | str] = (),
    redact: Callable[[bytes], bytes] | None = None,
) -> ReplayReport:
    """Tell a handler what was recorded.

    Args:
        recording: a recording, its path, or its text.
        handler: a coroutine function, a function for packets, or a handler class of socketserver's kind.
        framing: for an ordinary handler class; None: the recorded one.
        listener: only rows of this listener; "": there is one.
        rows: only rows with these numbers; empty: all.
        redact: what the recorder's `redact` was, if it was a function of the program's own. It is applied to what the
            handler answers now, too, and so may also level out what differs from run to run, such as dates.

    Raises:
        RecordingError: it cannot be replayed: by its version, its way, or because something of the above is missing.
    """
    recording = _read(recording)
    return _Replay(recording, chosen(recording, listener, rows), handler, framing, _redaction(recording, redact)).report()


def _read(recording: Recording | str | os.PathLike[str]) -> Recording:
    if isinstance(recording, Recording):
        return recording
    text = os.fspath(recording)
    return Recording.parse(text.lstrip()) if text.lstrip().startswith("{") else Recording.load(text)


def chosen(recording: Recording, listener: str, rows: Collection[int | str]) -> list[RecordedRow]:
    """Return the rows to replay, which are of one listener.

    Raises:
        RecordingError: there are none, they are of several, or their bytes were not recorded.
    """
    wanted = {str(each) for each in rows}
    found = [
        row
        for row in recording.rows
        if listener in ("", row.origin.listener) and (not wanted or str(row.id) in wanted)
    ]
    if not found:
        there = ", ".join(f"{row.id} of {row.origin.listener}" for row in recording.rows[:20]) or "none"
        raise RecordingError(f"no such row to replay; the recording has: {there}")
    listeners = dict.fromkeys(row.origin.listener for row in found)
    if len(listeners) > 1:
        raise RecordingError(f"rows of several listeners, for one handler: choose by listener=, of {', '.join(listeners)}")
    for row in found:
        taps = row.origin.way in ("coroutine", "framed") or (row.origin.kind == "datagram" and row.origin.way == "-")
        if not taps:
            raise RecordingError(
                f"row {row.id} of {row.origin.listener} ran in the way {row.origin.way!r}: its handler had the real socket, "
                "so its bytes were not recorded"
            )
    return found


def _redaction(recording: Recording, redact: Callable[[bytes], bytes] | None) -> Callable[[bytes], bytes] | None:
    said = recording.header.get("redact", "")
    if redact is None and said not in ("", "masked"):
        raise RecordingError(f"the recording was redacted by {said}: give redact= the same, so that replies can be compared")
    return masked if redact is None and said else redact


class Notes(RowRecorder):
    """A recorder that keeps everything in memory: the rows of a replay, in the order in which they open."""

    def __init__(self, redact: Callable[[bytes], bytes] | None) -> None:
        super().__init__(redact)
        self.rows: list[RecordedRow] = []

    def keep(self, row: RecordedRow, happening: Happening) -> None:
        """See `RowRecorder`."""
        if happening.what == "open":
            self.rows.append(row)
        row.happenings.append(happening)


class _QuietServer(HostedServer):
    """The recorder has heard of the error."""

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing."""


class _Replay:
    """One world, and the peers of all rows in it."""

    def __init__(
        self,
        recording: Recording,
        rows: Sequence[RecordedRow],
        handler: Handler,
        framing: Framing[Any] | None,
        redact: Callable[[bytes], bytes] | None,
    ) -> None:
        self._recording, self._rows = recording, rows
        self._notes = Notes(redact)
        self._level = None if recording.header.get("redact") else redact  # what the recorder has not done yet
        self._clients: dict[int | str, Client] = {}
        self._packets: dict[tuple[str, int], Any] = {}  # sockets of peers, by row and number
        self._now: dict[int | str, RecordedRow] = {}  # the rows here, by the numbers of those there
        self._world = Simulation(
            strict=False, observers=[self._notes], descriptors=DESCRIPTORS + len(rows),
            max_connections=CONNECTIONS + len(rows),
        )  # fmt: skip
        self._world.network.send_bytes = self._world.network.receive_bytes = BUFFER_BYTES
        origin = rows[0].origin
        try:
            self._listener = self._serve(origin, handler, framing or framing_from(origin.framing))
        except BaseException:
            self._world.close()
            raise

    def _serve(self, origin: Origin, handler: Handler, framing: Framing[Any] | None) -> Listener:
        # Those that were recorded had been admitted, from addresses that all are one here.
        limits = Limits(**dict(origin.limits)).replace(connections=None, connections_per_peer=None)
        reactor = self._world.reactor
        at = f"{origin.scheme}://@replay" if "unix" in origin.scheme else f"{origin.scheme}://127.0.0.1:{PORT}"
        if not (isinstance(handler, type) or origin.way == "framed"):
            return reactor.listen(at, handler, limits=limits, name=origin.listener)
        sock = reactor._socket_at(at, limits.backlog)
        try:
            server: Any = _QuietServer(sock, handler)
            return reactor.add(server, framing=framing, limits=limits, name=origin.listener)
        except BaseException:
            sock.close()
            raise

    def report(self) -> ReplayReport:
        """Replay, and compare."""
        happenings = [(happening, row) for row in self._rows for happening in row.happenings]
        happenings.sort(key=lambda each: each[0].at)  # stable: what a row says at one time stays in its order
        began_at = happenings[0][0].at
        clock = self._world.clock
        start_at = clock.now()
        try:
            for happening, row in happenings:
                due_at = start_at + happening.at - began_at
                # Also if no time is to pass: the piece before must be taken first.
                self._world.advance(max(due_at - clock.now(), 0.0))
                self._play(row, happening)
            self._world.advance(SLACK_S)
            self._notes.stop("the replay is over")
            pairs = self._pairs()
        finally:
            for sock in self._packets.values():
                sock.close()
            self._world.close()
        return ReplayReport(tuple(pairs), self._recording.notes, str(self._world.trace))

    def _play(self, row: RecordedRow, happening: Happening) -> None:
        """Do what the peer did."""
        if row.origin.kind == "datagram":
            if happening.what == "in":
                self._send(row, happening)
            return
        client = self._clients.get(row.id)
        if happening.what == "open":
            self._connect(row)
        elif client is None or client.is_over:
            pass
        elif happening.what == "in":
            client.send(happening.data)
        elif happening.what == "eof":
            client.send_eof()
        elif happening.what == "lost":
            client.reset()

    def _connect(self, row: RecordedRow) -> None:
        known = len(self._notes.rows)
        self._clients[row.id] = self._world.connect(self._listener)
        self._world.advance(0)
        if len(self._notes.rows) > known:
            self._now[row.id] = self._notes.rows[known]

    def _send(self, row: RecordedRow, packet: Happening) -> None:
        peer = str(row.id).partition(".")[0], packet.sender  # a ring has a row for each packet of one socket
        sock = self._packets.get(peer)
        parsed, family, sockaddr = self._world._address_of(self._listener)
        if sock is None:
            sock = self._packets[peer] = self._world._peers.socket(family, parsed.type)
            sock.setblocking(False)
            if parsed.family == "unix":
                sock.bind("\0peer " + " ".join(map(str, peer)))  # without a name there is no answer
        sock.sendto(packet.data, sockaddr)

    def _pairs(self) -> list[tuple[Unit, Unit]]:
        """Return what was, and what is, for each row or packet."""
        if self._rows[0].origin.kind == "datagram":
            befores = sorted((unit for row in self._rows for unit in units(row, self._level)), key=lambda unit: unit.at)
            nows = units(self._notes.rows[0], None) if self._notes.rows else []
            return [(before, now or Unit(before.name)) for before, now in zip_longest(befores, nows[: len(befores)])]
        pairs = []
        for row in self._rows:
            before = units(row, self._level)[0]
            here = self._now.get(row.id)
            now = replace(units(here, None)[0], name=before.name) if here is not None else Unit(before.name, end="refused")
            pairs.append((before, now.ended(before.end) if not now.end and before.end in STOPPED else now))
        return pairs
