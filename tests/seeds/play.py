"""A world that is carried out: its steps, and what handlers and operators do to each other.

What it is: `Play`. What it is not: a judge; it only notes who was cut off by whom, and what the engine has logged.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from reactor import Limits, Observer, Phase
from reactor.testing import Simulation

from .drawn import Spec, Step
from .peers import STOPPED, Peer, Sender
from .served import COROUTINES, PACKETS, listen

LOG = logging.getLogger("reactor")
EXTRA = "tcp://127.0.0.1:{}"  # what handlers open
TRICKLES, TRICKLE_S = 8, 0.5
WAIT_S = 2.0
MOST_TURNS = 20_000  # a world takes some hundreds; one that goes on and on must not hold the others
STOP_S = 3.0  # the drain of a stop by a handler


class Log(logging.Handler):
    """What the engine logs as an error."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Census(Observer):
    """Counts openings and ends by row."""

    def __init__(self) -> None:
        self.opened: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()

    def on_open(self, row: Any) -> None:
        self.opened[row.id] += 1

    def on_end(self, row: Any, end: Any) -> None:
        self.ended[row.id] += 1


class Play:
    """A world, its peers and its reactor. See `Spec`."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.census, self.log = Census(), Log()
        self.world = Simulation(  # the reserve would turn clients away, which the model knows nothing of
            spec.seed, faults=spec.faults, limits=Limits(shortage_s=None, **spec.limits), strict=False,
            observers=(self.census,) if spec.watched else (), **spec.world,
        )  # fmt: skip
        network, reactor = self.world.network, self.world.reactor
        network.send_bytes = network.receive_bytes = spec.buffer_bytes
        self.peers: dict[int, Peer] = {}
        self.senders: dict[int, Sender] = {}
        self.listeners: dict[int, Any] = {}
        self.extra: list[Any] = []  # what handlers have opened
        self.errors: list[BaseException] = []  # what servers were told of
        self.wrong: list[str] = []
        self.released: Counter[int] = Counter()
        self.refusing = [name for name in ("connections_per_peer",) if spec.limits.get(name)]
        self.suspended = False  # the clock has jumped over time in which nobody could act
        self.lost_packets = False
        self.turns = 0
        self.progress: dict[int, tuple[Any, float]] = {}  # of each row: what it had got done, and when
        self._wait = reactor.demultiplexer.wait
        reactor.demultiplexer.wait = self._count_turn  # type: ignore[method-assign]
        self._row_closed, self._expire_row = reactor.row_closed, reactor._expire_row
        reactor.row_closed, reactor._expire_row = self._count_end, self._note_late  # type: ignore[method-assign]

    def open(self) -> None:
        """Have every listener listen, as far as it can be had."""
        for which, (at, way) in enumerate(self.spec.listeners):
            if which not in self.listeners or self.listeners[which].row.phase is Phase.CLOSED:
                try:
                    self.listeners[which] = listen(self, at, way)
                except OSError as error:
                    self.listeners.pop(which, None)
                    if "(injected)" not in str(error) and self.spec.world["descriptors"] > 100:
                        raise

    def step(self, step: Step) -> None:
        """Let one thing happen."""
        getattr(self, f"_{step.op}")(step)

    # -- peers ------------------------------------------------------------------------------------------------------

    def _connect(self, step: Step) -> None:
        which, asks = step.what
        self._listen_again()
        listener = self.listeners.get(which)
        try:
            self.peers[step.who] = Peer(self, step.who, which, asks)
        except OSError:
            if listener is not None and listener.row.phase is not Phase.CLOSED:
                raise
        else:
            if listener is None or listener.row.end is not None or self.world.reactor._stop_s is not None:
                self.peers[step.who].excuse("its listener closes")

    def _packets(self, step: Step) -> None:
        self._listen_again()
        self.senders[step.who] = Sender(self, step.who, step.what)

    def _say(self, step: Step) -> None:
        for each in (self.peers.get(step.who), self.senders.get(step.who)):
            if each is not None:
                each.say(step.what)

    def _trickle(self, step: Step) -> None:
        """A byte now and then, for longer than a request may take."""
        for _ in range(TRICKLES):
            if step.who in self.peers:
                self.peers[step.who].say(1)
            self.world.advance(TRICKLE_S)

    def _eof(self, step: Step) -> None:
        if step.who in self.peers:
            self.peers[step.who].leave(step.op)

    _reset = _close = _eof

    def _deaf(self, step: Step) -> None:
        if step.who in self.peers:
            self.peers[step.who].deaf()

    def _hear(self, step: Step) -> None:
        if step.who in self.peers:
            self.peers[step.who].client.go_on_reading()

    # -- time -------------------------------------------------------------------------------------------------------

    def _quiet(self, step: Step) -> None:
        self.world.run_until_quiet()

    def _advance(self, step: Step) -> None:
        self.world.advance(step.what)

    def _turns(self, step: Step) -> None:
        for _ in range(step.what):
            self.world._work()

    def _waits(self, step: Step) -> None:
        """Turns as `run` makes them: each waits until something is ready or due."""
        reactor, clock = self.world.reactor, self.world.clock
        for _ in range(step.what):
            busy, before = bool(reactor.again or reactor._posted or reactor.dirty), clock.now()
            due_at = min((at for row in reactor.table if (at := row.deadline_at()) is not None), default=None)
            reactor.step(WAIT_S)
            if due_at is not None and before < due_at < clock.now() - 1e-9:
                self.wrong.append(f"the loop has slept over a deadline by {clock.now() - due_at:g} s")
            if busy and clock.now() != before:
                self.wrong.append(f"the loop waited {clock.now() - before:g} s with rows to call again")

    def _suspend(self, step: Step) -> None:
        self.suspended = True
        self.world.clock.advance(step.what)

    # -- operators --------------------------------------------------------------------------------------------------

    def _on_row(self, who: int, act: Callable[[Any], None]) -> None:
        peer = self.peers.get(who)
        for row in self.world.reactor.table:
            if peer is not None and self.far_end(row) is peer.address:
                self.progress.pop(row.id, None)  # what an operator holds up has its time anew, though nobody looks meanwhile
                act(row)

    def _row_close(self, step: Step) -> None:
        self._on_row(step.who, lambda row: self.cut(row, row.close, "closed by an operator"))

    def _row_abort(self, step: Step) -> None:
        self._on_row(step.who, lambda row: self.cut(row, lambda: row.abort("planned"), "aborted by an operator"))

    def _row_pause(self, step: Step) -> None:
        if step.who in self.peers:
            self.peers[step.who].was_paused = True
        self._on_row(step.who, lambda row: row.pause("operator"))

    def _row_resume(self, step: Step) -> None:
        self._on_row(step.who, lambda row: row.resume("operator"))

    def _pause(self, step: Step) -> None:
        if step.who in self.listeners:
            self.listeners[step.who].pause()

    def _resume(self, step: Step) -> None:
        if step.who in self.listeners:
            self.listeners[step.who].resume()

    def _shut_listener(self, step: Step) -> None:
        if step.who in self.listeners:
            self._excuse_waiting(step.who, "its listener was closed")
            self.listeners[step.who].close()

    def _stop(self, step: Step) -> None:
        self._excuse_all(step.what)
        self.world.reactor.stop(drain_s=step.what)

    def _run(self, step: Step) -> None:
        """Stop, and go on until the drain is over."""
        self._stop(step)
        self.world.reactor.run(handle_signals=False)

    # -- what handlers do -------------------------------------------------------------------------------------------

    def act(self, verb: str, actor: Any) -> None:
        """Do what a request asks for, beside its answer."""
        reactor = self.world.reactor
        others = [row for row in reactor.table if row.kind == "stream" and row is not actor]
        if verb == "close_other" and others:
            self.cut(others[0], others[0].close, "closed by another one's handler")
        elif verb == "abort_other" and others:
            self.cut(others[-1], lambda: others[-1].abort("planned"), "aborted by another one's handler")
        elif verb == "pause_listener" and self.listeners:
            min(self.listeners.items())[1].pause()
        elif verb == "resume_listener" and self.listeners:
            min(self.listeners.items())[1].resume()
        elif verb == "open":
            try:
                self.extra.append(reactor.listen(EXTRA.format(9000 + len(self.extra)), COROUTINES["by_lines"][0](self)))
            except OSError:
                pass  # no descriptor is left
        elif verb == "shut" and self.extra:
            self.extra.pop().close()
        elif verb == "stop":
            self._excuse_all(STOP_S)
            reactor.stop(drain_s=STOP_S)

    def cut(self, row: Any, act: Callable[[], None], why: str) -> None:
        """End somebody's row."""
        self.excuse(self.far_end(row), why)
        act()

    # -- who is who -------------------------------------------------------------------------------------------------

    def far_end(self, row: Any) -> Any:
        """Return the peer's end of a row's connection, as the kernel knows it."""
        return _far_end(row.sock._description)

    def open_ends(self) -> set[Any]:
        """Return the peers' ends of all connections that the reactor has accepted."""
        return {self.far_end(row) for row in self.world.reactor.table if row.kind == "stream"}

    def excuse(self, end: Any, why: str) -> None:
        """Whoever is at this end may get less from now on."""
        for peer in self.peers.values():
            if peer.address is end:
                peer.excuse(why)

    def excuse_hit(self) -> None:
        """Whoever a fault has fallen on may get less."""
        plan = self.world.process.plan
        for description, call in plan.struck if plan is not None else ():
            if call != "accept":
                self.excuse(_far_end(description), f"{call} failed")
            for peer in self.peers.values():
                peer.cannot_reset |= call == "setsockopt" and peer.address is _far_end(description)

    def _excuse_waiting(self, which: int, why: str) -> None:
        accepted = self.open_ends()
        for peer in self.peers.values():
            if peer.which == which and peer.address not in accepted and not peer.ends:
                peer.excuse(why)

    def _excuse_all(self, drain_s: float) -> None:
        """The reactor is stopped; who is idle then shall see the end of the stream, if there is time for it."""
        for peer in self.peers.values():
            peer.excuse(STOPPED)
        for row in self.world.reactor.table:
            for peer in self._of(row):
                peer.was_idle = drain_s > 0 and row.phase is Phase.IDLE and peer.is_idle()

    def _listen_again(self) -> None:
        reactor = self.world.reactor
        if reactor.draining is None and reactor._stop_s is None:
            self.open()

    def _count_end(self, row: Any) -> None:
        self.released[row.id] += 1
        for peer in self._of(row):
            self.wrong += peer.row_ended(row)
        self._row_closed(row)

    def _count_turn(self, timeout_s: float | None) -> Any:
        self.turns += 1
        assert self.turns <= MOST_TURNS, f"the loop has made {MOST_TURNS} turns and does not come to an end"
        return self._wait(timeout_s)

    def _note_late(self, row: Any) -> None:
        ended = row.end
        self._expire_row(row)
        if row.end is not ended:
            for peer in self._of(row):
                self.wrong += peer.out_of_time(row, self.world.clock.now())
                peer.excuse(row.detail)

    def _of(self, row: Any) -> list[Peer]:
        if row.kind != "stream":
            return []
        end = self.far_end(row)
        return [peer for peer in self.peers.values() if peer.address is end]

    @property
    def is_packets(self) -> set[int]:
        """Which listeners take packets?"""
        return {which for which, (_, way) in enumerate(self.spec.listeners) if way in PACKETS}


def _far_end(description: Any) -> Any:
    out = getattr(description, "out", None)
    return out.receiver if out is not None else getattr(description, "peer", None)
