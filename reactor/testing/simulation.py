"""A reactor in a world of its own: no port, no thread, no sleep, and everything again from one seed.

    with Simulation(seed=7) as world:
        listener = world.reactor.listen("tcp://127.0.0.1:8000", handler)
        client = world.connect("tcp://127.0.0.1:8000")
        client.send(b"hello\\n")
        world.run_until_quiet()
        assert client.take() == b"HELLO\\n"

What it is: the engine itself, on simulated sockets, selector and clock, and the peers that a test plays. What it is not:
a model of the engine; nothing in it is replaced. Rules:

1. Time stands still while anything can be done, and then jumps to the next thing that is due.
2. A run is a function of its seed and of what the test says. A failure names the seed and shows the trace.
3. At the end every descriptor must have been given back.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator, Sequence
from typing import Any, Self

from ..addresses import Endpoint
from ..coroutines import Sleep
from ..limits import DEFAULTS, Limits
from ..listeners import Listener
from ..observers import Observer
from ..reactor import Reactor
from .clients import READ_BYTES, Client
from .faults import NO_FAULTS, FaultPlan, Faults
from .modules import SimulatedSockets
from .network import Network, Process
from .selector import SimulatedSelector, Spinning
from .trace import Trace

# How far `run_until_quiet` follows handlers that sleep (simulated s): a task that beats for ever never comes to rest.
PATIENCE_S = 1.0
# Turns in a row at one moment, without a call that does anything, before the loop counts as spinning. Rows with much
# buffered input need some: 64 KiB of empty lines are 2,048 turns of 32 frames.
IDLE_TURNS = 20_000
# With more than this many, those that are over are dropped.
MANY_CLIENTS = 100


class LeakError(AssertionError):
    """The reactor was closed and has not given every descriptor back."""


class Simulation:
    """A reactor, its network and its peers; close it, or use it in a `with` statement.

    Args:
        seed: of whatever is drawn: faults, delays, the order of what is ready.
        limits: of the reactor.
        faults: what may go wrong.
        strict: errors of handlers leave `run_until_quiet` and `advance`.
        descriptors: how many the reactor's process can have.
        observers: of the reactor; without any it takes the shorter ways that it takes in production.
        keywords: others of `Reactor`.

    Attributes:
        reactor: the reactor.
        trace: what has happened.
        clock: the clock, to step over time in which the machine was asleep (`clock.advance`).
        network: the world: `unlink` paths, ask what is under way.
        process: the reactor's process: its descriptors, and `child`, which holds copies of them.
        seed: the seed.
    """

    def __init__(
        self,
        seed: int = 0,
        *,
        limits: Limits = DEFAULTS,
        faults: Faults = NO_FAULTS,
        strict: bool = True,
        descriptors: int = 1024,
        observers: Sequence[Observer] = (),
        **keywords: Any,
    ) -> None:
        self.seed = seed
        self.network = Network(seed, faults=faults)
        self.clock = self.network.clock
        self.trace: Trace = self.network.trace
        plan = None if faults == NO_FAULTS else FaultPlan(faults, self.network.random)
        self.process = Process(self.network, "reactor", descriptors=descriptors, plan=plan)
        self._outside = Process(self.network, "client", descriptors=1 << 20)
        self._peers = SimulatedSockets(self._outside)
        self._clients: list[Client] = []
        self._idle_turns = 0
        self.network.let_peers_act = self._let_peers_act
        self.reactor = Reactor(
            limits=limits, selector=SimulatedSelector(self.process), clock=self.clock, observers=observers, strict=strict,
            sockets=SimulatedSockets(self.process, pairs=False), **keywords,
        )  # fmt: skip

    # -- peers ------------------------------------------------------------------------------------------------------

    def connect(self, endpoint: str | Listener) -> Client:
        """Connect to the reactor, or begin to, where connections take time.

        Raises:
            OSError: nobody listens there.
        """
        parsed, family, sockaddr = self._address_of(endpoint)
        sock = self._peers.socket(family, parsed.type)
        sock.setblocking(False)
        try:
            code = sock.connect_ex(sockaddr)
            if code in (0, errno.EINPROGRESS):
                code = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if code:
                raise OSError(code, f"no connection to {parsed}")
        except BaseException:
            sock.close()
            raise
        client = Client(sock)
        self._clients.append(client)
        return client

    def datagram(self, endpoint: str | Listener, data: bytes) -> list[bytes]:
        """Send a packet, run until all is quiet, and return the packets that came back."""
        parsed, family, sockaddr = self._address_of(endpoint)
        with self._peers.socket(family, parsed.type) as sock:
            sock.setblocking(False)
            if parsed.family == "unix":
                sock.bind(f"\0client {sock.fileno()}")  # without a name there is no answer
            sock.sendto(data, sockaddr)
            self.run_until_quiet()
            return _all_of(sock)

    def _address_of(self, endpoint: str | Listener) -> tuple[Endpoint, int, Any]:
        parsed = Endpoint.parse(endpoint if isinstance(endpoint, str) else endpoint.endpoint)
        return parsed, *parsed._resolve(self._peers)

    # -- time -------------------------------------------------------------------------------------------------------

    def run_until_quiet(self, *, patience_s: float = PATIENCE_S) -> None:
        """Run until nothing is ready and nothing is under way.

        Handlers that sleep are waited for, in simulated time. Limits, timeouts and other timers are not: whoever waits
        for its peer goes on waiting while a test prepares what comes next. `advance` is for those.

        Args:
            patience_s: how long sleepers are waited for.

        Raises:
            Spinning: the loop does not come to rest.
        """
        network = self.network
        until_s = self.clock.now() + patience_s
        while True:
            if self._work():
                continue
            sleeper_at = min((at_s for at_s in self._sleepers() if at_s <= until_s), default=None)
            at_s = _earliest(network.next_at, sleeper_at)
            if at_s is None:
                return
            # What is due before that must not be passed over.
            network.jump(min(at_s, *self._dues(at_s)))

    def advance(self, seconds: float) -> None:
        """Let time pass: whatever falls due happens at its time, and in order.

        Raises:
            ValueError: `seconds` is negative.
        """
        if seconds < 0:
            raise ValueError(f"time cannot go back by {-seconds:g} s")
        reactor, network = self.reactor, self.network
        until_s = self.clock.now() + seconds
        while True:
            if self._work():
                continue
            at_s = _earliest(network.next_at, reactor.timers.next_at, reactor.deadlines.next_at, self._hooks_at())
            if at_s is None or at_s > until_s:
                break
            network.jump(at_s)
        network.jump(until_s)
        while self._work():
            pass

    def _sleepers(self) -> Iterator[float]:
        """When each coroutine that sleeps wakes up."""
        for timer in self.reactor.timers:
            if timer.args and isinstance(timer.args[0], Sleep):
                yield timer.at

    def _dues(self, otherwise_s: float) -> tuple[float, float]:
        """When the next deadline and the next timer are due."""
        deadline_at, timer_at = self.reactor.deadlines.next_at, self.reactor.timers.next_at
        return (
            otherwise_s if deadline_at is None else deadline_at,
            otherwise_s if timer_at is None else timer_at,
        )

    def _hooks_at(self) -> float | None:
        """When the hooks of servers want to be called again."""
        waits_s = [every() for _, every in self.reactor.hooks]
        return _earliest(*(None if wait_s is None else self.clock.now() + wait_s for wait_s in waits_s))

    def _work(self) -> bool:
        """Let everybody do what can be done now; False: nothing could be."""
        calls = self.network.calls
        moved = self.network.deliver()
        moved |= self._let_peers_act()
        try:
            turn = self.reactor.step(0)
        except BaseException as error:
            self._explain(error)
            raise
        moved |= bool(turn.ready or turn.posted or turn.expired or turn.settled)
        moved |= self.reactor.next_turn_in_s() == 0
        self._idle_turns = self._idle_turns + 1 if moved and calls == self.network.calls else 0
        if self._idle_turns > IDLE_TURNS:
            spinning = Spinning(f"the loop has made {IDLE_TURNS} turns at one moment without a single call")
            self._explain(spinning)
            raise spinning
        return moved

    def _let_peers_act(self) -> bool:
        moved = False
        for client in self._clients:
            moved |= client.pump()
        if len(self._clients) > MANY_CLIENTS:
            self._clients = [client for client in self._clients if not client.is_over]
        return moved

    # -- the end ----------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the reactor, then the peers.

        Raises:
            LeakError: the reactor holds descriptors still.
        """
        self.reactor.close()
        held = ", ".join(f"{fd} ({_kind_of(each)})" for fd, each in sorted(self.process.files.items()))
        for client in self._clients:
            client.reset()
        self._outside.exit()
        if held:
            self.process.exit()
            leak = LeakError(f"the closed reactor still holds descriptor {held}")
            self._explain(leak)
            raise leak

    def explanation(self) -> str:
        """Return what a person needs to find out why a run has failed."""
        return f"Simulation(seed={self.seed}, faults={self.network.faults}):\n{self.trace}\n{self.reactor.table}"

    def _explain(self, error: BaseException) -> None:
        if not any(note.startswith("Simulation(") for note in getattr(error, "__notes__", ())):
            error.add_note(self.explanation())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> None:
        if error is None:
            self.close()
            return
        self._explain(error)
        try:
            self.close()
        except Exception as another:  # the first failure is the one to be told
            error.add_note(f"and closing the simulation failed: {another!r}")


def _earliest(*times: float | None) -> float | None:
    return min((at_s for at_s in times if at_s is not None), default=None)


def _kind_of(description: Any) -> str:
    return f"{type(description).__name__} {description.name or ''}".strip()


def _all_of(sock: Any) -> list[bytes]:
    packets = []
    while True:
        try:
            packets.append(sock.recv(READ_BYTES))
        except OSError:
            return packets
