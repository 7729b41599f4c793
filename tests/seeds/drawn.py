"""A world as data, drawn from a seed.

What it is: `drawn`, and `Spec`, which says who listens, what may fail, and what happens one step after the other. What it is
not: a run. Rule: a step says everything it needs and means nothing that another one must have prepared, so that any of them
can be left away (`shrink`): one that finds nobody to act on is passed over.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from random import Random
from typing import Any, NamedTuple

from reactor import Limits
from reactor.testing import Faults

from .served import COROUTINES, FRAMED, PACKETS
from .wire import Ask

MOST_STEPS = 16
# The times of all worlds (s): a stall is over within a few of them.
TIMES_S = {"idle_s": 5.0, "request_s": 3.0, "write_stall_s": 4.0, "linger_s": 2.0}
WAITS_S = (0.1, 0.5, 1.0, 2.5, 4.5)
SLEPT_S = (1.0, 30.0)  # the machine was suspended

# What may fail at some call of the reactor: never more than a call's own row may pay for.
FAILURES = (
    ("accept", "EMFILE"), ("accept", "ECONNABORTED"), ("accept", "ENOMEM"), ("recv", "ETIMEDOUT"), ("recv", "ECONNRESET"),
    ("recv", "EINTR"), ("send", "ENOBUFS"), ("send", "EPIPE"), ("send", "EHOSTUNREACH"), ("shutdown", "ENOTCONN"),
    ("setsockopt", "EINVAL"), ("recvfrom", "ECONNREFUSED"), ("sendto", "ENETUNREACH"), ("setblocking", "EBADF"),
    ("close", "EIO"), ("unregister", "ENOENT"), ("modify", "ENOMEM"), ("register", "ENOSPC"),
)  # fmt: skip

COMMON = ("echo", "echo", "echo", "large", "pieces")
SLOW = ("sleep", "timeout", "task", "beside")
ACTS = ("close_other", "abort_other", "pause_listener", "resume_listener", "open", "shut", "stop")
ENDS = ("leave", "close", "fail", "abort", "huge")
ENDPOINTS = ("tcp://127.0.0.1:{}", "tcp://127.0.0.1:{}", "tcp://[::1]:{}", "unix://@{}", "unix:///run/{}.sock")
PACKET_ENDPOINTS = ("udp://127.0.0.1:{}", "udp://[::1]:{}", "unix+dgram://@{}", "unix+dgram:///run/{}.sock")


class Step(NamedTuple):
    """One thing that happens: what, to whom (a peer or a listener by number), and with what."""

    op: str
    who: int = 0
    what: Any = None


@dataclass(frozen=True)
class Spec:
    """A world.

    Attributes:
        seed: of what the simulation draws.
        listeners: endpoint and way.
        limits: those that are not the default.
        faults: what may go wrong.
        world: further keywords of the simulation.
        buffer_bytes: the socket buffers.
        watched: is there an observer? Without one the engine takes shorter ways.
        steps: what happens.
        ending: how the reactor ends: "close", "stop" or "run".
    """

    seed: int
    listeners: tuple[tuple[str, str], ...]
    limits: dict[str, Any]
    faults: Faults
    world: dict[str, int]
    buffer_bytes: int
    watched: bool
    steps: tuple[Step, ...]
    ending: str

    def __str__(self) -> str:
        usual = Limits()
        limits = {name: value for name, value in self.limits.items() if value != getattr(usual, name)}
        faults = {
            field.name: value for field in fields(Faults) if (value := getattr(self.faults, field.name)) != field.default
        }
        lines = [f"{at} {way}" for at, way in self.listeners]
        lines += [f"limits {limits}", f"faults {faults}"]
        lines += [f"{self.world}, buffers of {self.buffer_bytes}, {'watched' if self.watched else 'plain'}, {self.ending}"]
        lines += [f"  {number:2} {step.op} {step.who} {step.what}" for number, step in enumerate(self.steps)]
        return "\n".join(lines)


def drawn(seed: int) -> Spec:
    """Return the world of a seed."""
    draw = Random(seed)
    listeners = tuple(_listener(draw, number) for number in range(draw.randrange(1, 4)))
    delay_s = draw.choice((0.0, 0.0, 0.05, 1.0))
    return Spec(
        seed=seed,
        listeners=listeners,
        limits=_limits(draw),
        faults=Faults(
            short_writes=draw.choice((0, 0, 0.5)), would_block=draw.choice((0, 0, 0.3)),
            resets=draw.choice((0, 0, 0, 0, 0.03)), delay_s=(0, delay_s), at=_failures(draw),
        ),
        world={"descriptors": draw.choice((1024, 1024, 1024, 9)), "max_connections": draw.choice((1000, 1000, 1000, 2))},
        buffer_bytes=draw.choice((32768, 8192, 2048) if delay_s < 1 else (32768,)),
        watched=draw.random() < 0.3,
        steps=tuple(_steps(draw, listeners)),
        ending=draw.choice(("close", "stop", "run")),
    )  # fmt: skip


def _listener(draw: Random, number: int) -> tuple[str, str]:
    kind = draw.random()
    if kind < 0.15:
        return draw.choice(PACKET_ENDPOINTS).format(80 + number), draw.choice(tuple(PACKETS))
    ways = tuple(COROUTINES) if kind < 0.65 else tuple(FRAMED)
    return draw.choice(ENDPOINTS).format(80 + number), draw.choice(ways)


def _limits(draw: Random) -> dict[str, Any]:
    return {
        **TIMES_S, "outbox_low_bytes": 500,
        "work_s": draw.choice((None, None, None, 2.0)),
        "inbox_bytes": draw.choice((64, 65536)),
        "frame_bytes": draw.choice((600, 65536)),
        "outbox_high_bytes": draw.choice((1000, 65536)),
        "outbox_bytes": draw.choice((16 << 20, 16 << 20, 70000)),
        "connections": draw.choice((None, None, None, 2)),
        "connections_per_peer": draw.choice((None, None, None, None, 2)),
        "accepts_per_turn": draw.choice((1, 64)),
        "frames_per_turn": draw.choice((1, 2, 32)),
        "bytes_per_turn": draw.choice((100, 262144)),
    }  # fmt: skip


def _failures(draw: Random) -> tuple[tuple[str, int, str], ...]:
    if draw.random() < 0.6:
        return ()
    return tuple((call, draw.randrange(1, 12), name) for call, name in draw.sample(FAILURES, draw.choice((1, 2, 4))))


def _steps(draw: Random, listeners: tuple[tuple[str, str], ...]) -> list[Step]:
    steps: list[Step] = []
    peers = 0
    for _ in range(draw.randrange(4, MOST_STEPS)):
        if not peers or draw.random() < 0.2:
            steps.append(_connection(draw, peers, listeners))
            peers += 1
        else:
            steps.append(_weighted(draw, _DRAWS)(draw, peers, len(listeners)))
    return steps


def _connection(draw: Random, number: int, listeners: tuple[tuple[str, str], ...]) -> Step:
    """Somebody who connects, or sends packets, with all that it will ever say."""
    which = draw.randrange(len(listeners))
    way = listeners[which][1]
    if way in PACKETS:
        return Step("packets", number, which)
    asks = [Ask(_verb(draw, way), _amount(draw), draw.choice((0, 5, 100, 300))) for _ in range(draw.choice((1, 2, 3, 8)))]
    return Step("connect", number, (which, tuple(_fitting(ask, draw) for ask in asks)))


def _verb(draw: Random, way: str) -> str:
    chance = draw.random()
    if chance < 0.12:
        ends = (*ENDS, "half") if way in COROUTINES else ENDS
        verb = draw.choice((*ends, "garbled", "garbled") if way == "by_frames" else ends)
        return "close" if verb == "huge" and way == "mixed" else verb
    if chance < 0.2:
        return draw.choice(ACTS)
    return draw.choice(SLOW) if chance < 0.35 and way in COROUTINES else draw.choice(COMMON)


def _amount(draw: Random) -> float:
    return draw.choice((0.1, 0.5, 1.0, 2.5))


def _fitting(ask: Ask, draw: Random) -> Ask:
    """Bytes for answers that have a size, seconds for the rest."""
    if ask.verb in ("large", "pieces"):
        return ask._replace(amount=draw.choice((100, 1500, 4000, 20000)))
    return ask


def _say(draw: Random, peers: int, listeners: int) -> Step:
    return Step("say", draw.randrange(peers), draw.choice((1, 7, 150, 100000, 100000)))


def _peer(draw: Random, peers: int, listeners: int) -> Step:
    return Step(draw.choice(("eof", "reset", "close", "deaf", "deaf", "hear", "hear")), draw.randrange(peers))


def _time(draw: Random, peers: int, listeners: int) -> Step:
    return Step("advance", 0, draw.choice(WAITS_S))


def _clock(draw: Random, peers: int, listeners: int) -> Step:
    return Step("suspend", 0, draw.choice(SLEPT_S))


def _turns(draw: Random, peers: int, listeners: int) -> Step:
    return Step(draw.choice(("turns", "waits")), 0, draw.choice((1, 2, 5)))


def _trickle(draw: Random, peers: int, listeners: int) -> Step:
    return Step("trickle", draw.randrange(peers))


def _quiet(draw: Random, peers: int, listeners: int) -> Step:
    return Step("quiet")


def _row(draw: Random, peers: int, listeners: int) -> Step:
    return Step(draw.choice(("row_close", "row_abort", "row_pause", "row_resume")), draw.randrange(peers))


def _listening(draw: Random, peers: int, listeners: int) -> Step:
    return Step(draw.choice(("pause", "resume", "shut_listener")), draw.randrange(listeners))


def _stop(draw: Random, peers: int, listeners: int) -> Step:
    return Step(draw.choice(("stop", "run")), 0, draw.choice((0.0, 1.0, 6.0)))


_Draw = Callable[[Random, int, int], Step]
_DRAWS: tuple[tuple[float, _Draw], ...] = (
    (0.43, _say), (0.02, _trickle), (0.14, _peer), (0.1, _time), (0.11, _turns), (0.1, _quiet), (0.04, _row),
    (0.03, _listening), (0.015, _clock), (0.015, _stop),
)  # fmt: skip


def _weighted(draw: Random, table: tuple[tuple[float, _Draw], ...]) -> _Draw:
    chance = draw.random()
    for weight, function in table:
        chance -= weight
        if chance < 0:
            return function
    return table[0][1]
