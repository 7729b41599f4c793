"""Rows that are ready for ever, and get nowhere.

What it is: the guard against spins that nobody has thought of. Every `LOOK_TURNS` turns it looks whether what is ready
without any waiting was ready before and has moved nothing since: no byte, frame, accept, change of phase or interest. If it
is so for `SPIN_TURNS` turns in a row, the row is not watched any more, and the log says so. What it is not: a limit; a row
that is slow, or much asked, moves something now and then, and one byte in a thousand turns is enough.

Rules:

1. It costs a turn one subtraction. Only a look asks the rows, and nearly every look ends after two turns.
2. Nobody is condemned by hearsay: a row whose own socket is not ready when it is asked alone is innocent. Then epoll
   speaks of a file that was closed behind our back while a copy of it is open (a child, `dup`); it goes on for ever, no
   descriptor is left to unregister it by, and the remedy is a new epoll set (320,000 wake-ups a second without).
3. A listener rests for a while, a hundred times as long as it has spun, and is watched again. A connection is left to its
   deadline, or ended if it has none. The waker ends the loop: deaf, it would be of no use.
4. It sees no more than a batch: of over BATCH_ROWS rows that spin together, epoll reports others at each turn, and none
   is suspected. docs/RELIABILITY.md says so, too.
"""

from __future__ import annotations

import logging
from typing import Any

from .demultiplexer import Batch
from .listening import ListeningRow
from .table import Row
from .waker import WakerRow

log = logging.getLogger("reactor")

# A spin makes 10,000 turns a second and more, so it is looked at within a few hundredths of one; a look costs two turns'
# worth of questions, so it is lost in so many turns.
LOOK_TURNS = 256
# More than any row of ours ever needs: one of TLS moves no byte until a record is whole, which is 16 KiB, a dozen packets.
SPIN_TURNS = 1000
# Slower than SPIN_TURNS in this time is no spin: others who take from the same socket (children that accept) may be quicker
# than this loop for a while.
SPIN_S = 10.0
# A listener may cost 1 % of a CPU by trying; no shorter than the wait of a program that polls, no longer than people wait.
REST_RATIO, REST_LEAST_S, REST_MOST_S = 100, 1.0, 10.0


class Quarantine:
    """The guard of a loop.

    Args:
        loop: the loop.
    """

    def __init__(self, loop: Any) -> None:
        self._loop = loop
        self._suspects: dict[Row, tuple[object, ...]] | None = None  # with what each had moved; None: at rest
        self._turns = 0
        self._began_at = 0.0
        self._told: dict[Row, int] = {}  # listeners that the log has spoken of, and the requests that they had then
        self._told_of_strays = False
        loop.until_look = LOOK_TURNS

    def wait(self, wait_s: float | None) -> Batch:
        """Wait as the demultiplexer does, but look first at what is ready at once.

        Raises:
            RuntimeError: it is the waker that spins.
        """
        demultiplexer = self._loop.demultiplexer
        batch: Batch = demultiplexer.wait(0)
        if not batch:
            self._rest()
            if demultiplexer.has_strays():
                self._renew()
            return self._loop.demultiplexer.wait(wait_s)  # type: ignore[no-any-return]
        self._suspect(batch)
        if not self._suspects:
            self._rest()
        elif self._turns >= SPIN_TURNS:
            self._judge(tuple(self._suspects))
        return batch

    def _rest(self) -> None:
        self._suspects = None
        self._loop.until_look = LOOK_TURNS

    def _suspect(self, batch: Batch) -> None:
        """Keep those that were ready at the last turn, too, and have moved nothing since."""
        now = {row: row.standing() for row, _ in batch}
        if self._suspects is None:
            self._suspects, self._turns, self._began_at = now, 0, self._loop.clock.now()
            return
        before = self._suspects
        self._turns += 1
        self._suspects = {row: standing for row, standing in now.items() if before.get(row) == standing}

    def _judge(self, suspects: tuple[Row, ...]) -> None:
        took_s, turns = self._loop.clock.now() - self._began_at, self._turns
        self._rest()
        if took_s > SPIN_S:
            return
        demultiplexer = self._loop.demultiplexer
        guilty = [row for row in suspects if demultiplexer.is_ready(row)]
        if len(guilty) < len(suspects):
            self._renew()
        for row in guilty:
            self._confine(row, turns, took_s)

    def _renew(self) -> None:
        """Somebody has closed a socket behind our back: epoll forgets only with a new set."""
        demultiplexer = self._loop.demultiplexer
        done = demultiplexer.renew()
        self._loop.until_look = max(LOOK_TURNS, len(self._loop.table))  # a call for each row: never more than they cost
        if done and not self._told_of_strays:
            self._told_of_strays = True
            log.warning(
                "epoll reported a file that no row has (any more), again and again, and was made anew: this program closed "
                "a socket of the loop itself while a child or dup() holds a copy; end its row instead (stream.close())"
            )

    def _confine(self, row: Row, turns: int, took_s: float) -> None:
        """Watch the row no more, and say so."""
        what = f"descriptor {row.fd} of {row} was ready in {turns} turns in a row ({took_s:.3f} s) and nothing came of it"
        if isinstance(row, WakerRow):
            raise RuntimeError(f"{what}: somebody uses or has closed the loop's own socket pair")
        if isinstance(row, ListeningRow):
            self._send_to_rest(row, what, took_s)
            return
        self._loop.demultiplexer.bar(row)
        row.pause("spin")
        deadline_at = row.deadline_at()
        if deadline_at is None:
            log.warning("%s: it is ended, for it has no deadline; please report this", what)
            row.abort(what)
        else:
            left_s = max(deadline_at - self._loop.now, 0.0)
            log.warning("%s: it is watched no more, and its deadline ends it in %.1f s; please report this", what, left_s)

    def _send_to_rest(self, row: ListeningRow, what: str, took_s: float) -> None:
        rest_s = min(max(took_s * REST_RATIO, REST_LEAST_S), REST_MOST_S)
        row.pause("spin")
        self._loop.call_later(rest_s, row.resume, "spin")
        if self._told.get(row) == row.requests:
            return  # one line until something arrives
        self._told = {each: requests for each, requests in self._told.items() if each.fd >= 0}
        self._told[row] = row.requests
        log.warning(
            "%s: it rests for %.1f s, and so each time; does get_request of its server take what is there? If it "
            "cannot, pause or close the listener", what, rest_s,
        )  # fmt: skip
