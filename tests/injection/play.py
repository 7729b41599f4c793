"""What a scenario says: who listens, who talks, and what must come back.

What it is: `Play`, the world with the conversations that are led in it, and `Talk`, one of them, which knows what it must
be answered. What it is not: a judge; a play goes on whatever fails, and `judge` looks at it afterwards.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from typing import Any

from reactor import Observer, Phase
from reactor.testing import Faults, Simulation
from reactor.testing.faults import NO_FAULTS

from .world import Fault, Plan, make_world


class Talk:
    """One connection and what it must be answered."""

    def __init__(self, play: Play, endpoint: str) -> None:
        self.play, self.endpoint = play, endpoint
        self.client = play.world.connect(endpoint)
        self.sent = self.expected = self.received = b""
        self.ends = ""  # how the server must have ended its side at the end of the play
        self.parts: list[int] = [0]  # lengths at which an answer is whole
        self.free = False  # whatever happens to it is right: the scenario breaks it off

    def say(self, data: bytes, answer: bytes = b"") -> None:
        """Send something, which must be answered so."""
        self.expects(answer)
        if not self.client.is_over:
            self.client.send(data)

    def expects(self, answer: bytes) -> None:
        """Something must come."""
        self.expected += answer
        self.parts.append(len(self.expected))

    def take(self) -> None:
        """Note what has come."""
        if not self.client.is_over:
            self.received += self.client.take()

    @property
    def ended(self) -> str:
        return self.client.ended if not self.client.is_over else self.client._ended

    @property
    def server_end(self) -> Any:
        """The other end, as the kernel knows it; None: the connection was never made."""
        end: Any = self.client._sock._description
        return end.out.receiver if getattr(end, "out", None) is not None else getattr(end, "peer", None)


class Census(Observer):
    """Counts openings and ends by row, and keeps the errors that handlers are said to have raised."""

    def __init__(self) -> None:
        self.opened: Counter[int] = Counter()
        self.ended: Counter[int] = Counter()
        self.errors: list[BaseException] = []

    def on_open(self, row: Any) -> None:
        self.opened[row.id] += 1

    def on_end(self, row: Any, end: Any) -> None:
        self.ended[row.id] += 1

    def on_error(self, row: Any, error: BaseException) -> None:
        self.errors.append(error)


class Log(logging.Handler):
    """What the engine logs as an error or a warning."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


class Play:
    """A world, and what is played in it.

    Args:
        faults: those that fall on sites.
        seed: of the world.
        chances: of short writes and the like.
        watched: is there an observer? (Without any the engine takes shorter ways.)
        keywords: of the simulation.
    """

    def __init__(
        self, faults: tuple[Fault, ...], *, seed: int = 0, chances: Faults = NO_FAULTS, watched: bool = True,
        **keywords: Any,
    ) -> None:  # fmt: skip
        self.census, self.log, self.watched = Census(), Log(), watched
        observers = (self.census,) if watched else ()
        self.plan = Plan(faults, chances)
        self.world: Simulation = make_world(self.plan, seed, chances, observers=observers, **keywords)
        self.plan.random = self.plan._random = self.world.network.random
        self.talks: list[Talk] = []
        self.listeners: dict[str, Any] = {}
        self.packets: list[tuple[str, list[bytes], list[bytes]]] = []
        self.left: list[BaseException] = []  # what has left the loop
        self.refused: list[tuple[str, BaseException]] = []  # who could not listen at first
        self.closed_by_play = False
        self.released: Counter[int] = Counter()
        self.turns = 0
        self._count()

    def _count(self) -> None:
        reactor = self.world.reactor
        step, closed = reactor.step, reactor.row_closed

        def stepped(timeout_s: float | None = None) -> Any:
            self.turns += 1
            return step(timeout_s)

        def row_closed(row: Any) -> None:
            self.released[row.id] += 1
            closed(row)

        reactor.step, reactor.row_closed = stepped, row_closed  # type: ignore[method-assign]

    # -- what scenarios say -----------------------------------------------------------------------------------------

    def listen(
        self, endpoint: str, serve: Callable[[Play, str], Any] | None = None, handler: Any = None, **keywords: Any
    ) -> None:
        """Listen; if that fails, nothing is left of it, and it is tried again."""
        while True:
            self.run()
            held = dict(self.world.process.files), len(self.world.reactor.table)
            try:
                if serve is not None:
                    self.listeners[endpoint] = serve(self, endpoint)
                else:
                    self.listeners[endpoint] = self.world.reactor.listen(endpoint, handler, **keywords)
                return
            except OSError as error:
                self.refused.append((endpoint, error))
                if len(self.refused) > len(self.plan.hits):
                    raise
                self.run()
                now = dict(self.world.process.files), len(self.world.reactor.table)
                assert now == held, f"listen({endpoint!r}) failed and left {now}, before it was {held}"

    def talk(self, endpoint: str) -> Talk:
        """Connect.

        Raises:
            ConnectionRefusedError: the listener is gone; the judge knows whether it may be.
        """
        talk = Talk(self, endpoint)
        self.talks.append(talk)
        return talk

    def packet(self, endpoint: str, data: bytes, answers: list[bytes]) -> None:
        """Send a packet and note what comes back."""
        world = self.world
        parsed, family, address = world._address_of(endpoint)
        with world._peers.socket(family, parsed.type) as sock:
            sock.setblocking(False)
            if parsed.family == "unix":
                sock.bind(f"\0peer {len(self.packets)}")
            got: list[bytes] = []
            try:
                sock.sendto(data, address)
            except OSError:  # nobody is there
                self.packets.append((endpoint, answers, got))
                return
            self.run()
            while True:
                try:
                    got.append(sock.recv(65536))
                except OSError:
                    break
        self.packets.append((endpoint, answers, got))

    def run(self) -> None:
        """Run until all is quiet, whatever leaves the loop."""
        self.advance(0.0)

    def advance(self, seconds: float) -> None:
        """Let time pass, whatever leaves the loop."""
        world = self.world
        until_s = world.clock.now() + seconds
        for _ in range(20):
            try:
                world.run_until_quiet()
                world.advance(max(0.0, until_s - world.clock.now()))
            except AssertionError:
                raise
            except Exception as error:
                self.left.append(error)
            else:
                break
        for talk in self.talks:
            talk.take()

    def stop(self, drain_s: float) -> None:
        """Drain."""
        self.closed_by_play = True
        self.world.reactor.stop(drain_s=drain_s)
        self.run()

    @property
    def is_listening(self) -> dict[str, bool]:
        """Which listeners are alive?"""
        return {at: listener.row.phase is not Phase.CLOSED for at, listener in self.listeners.items()}
