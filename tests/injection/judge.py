"""What must hold after any fault, and one function that plays a scenario and says what does not.

What it is: `trial`. What it is not: lenient; where a man page allows two outcomes, the engine's documentation says which.

1. The loop is alive: it serves a new connection, on every listener that was not itself the victim and on a new one.
2. A listener ends only by an errno that says its socket does not listen, or by a selector that refuses it.
3. Closed, the reactor holds no descriptor; each row has ended once, and none is left.
4. A conversation that was not hit has been answered in full and ended as ever; one that was hit has received a part of
   its answer from the beginning, and if an answer was cut in the middle, a reset.
5. Whatever is raised or logged as an error goes back to a fault.
6. The turns are hardly more than without the fault.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any, Literal

from reactor.testing import Faults
from reactor.testing.faults import NO_FAULTS

from .errnos import TRANSIENT
from .play import Play, Talk
from .scenarios import KEYWORDS, SCENARIOS
from .served import upper
from .world import Fault, Hit

Mode = Literal["watched", "plain", "cut"]
MODES: tuple[Mode, ...] = ("watched", "plain", "cut")
NEW = "tcp://127.0.0.1:999"
EXTRA_TURNS = 60
# accept(2): the socket does not listen; a hosted server's get_request may mean anything by them.
PASSING = frozenset({"ENOMEM", "ENOSPC"})  # a selector without memory: the listener stays paused and tries again
CLOSING = frozenset({"EBADF", "EINVAL", "ENOTSOCK", "EOPNOTSUPP"})
FATAL_TO_PACKETS = frozenset({"EBADF", "ENOTSOCK", "EOPNOTSUPP"})
# Where a failure is a normal end, or means nothing: no error is raised or logged.
SILENT_FILES = frozenset({"transports"})
SILENT = frozenset({
    ("table", "Row._release"), ("accepted", "no_delay"), ("accepted", "inherits_no_delay"),
    ("connections", "ConnectionRow._release"),
    ("addresses", "unlink_if_ours"), ("waker", "WakerRow.on_ready"), ("waker", "WakerRow.wake"),
    ("datagrams", "DatagramRow.on_ready"), ("datagrams", "DatagramRow.send"), ("handled", "HandledRow.on_ready"),
    ("framed", "FramedRow.on_ready"),
})  # fmt: skip
# Calls whose failure costs a conversation nothing.
HARMLESS = frozenset({"close", "unregister", "select", "setsockopt", "accept", "stat", "unlink", "getsockname"})


@dataclass
class Verdict:
    """What came of a trial."""

    play: Play
    wrong: list[str]

    @property
    def fell(self) -> int:
        """How many of the faults have fallen."""
        return len(self.play.plan.hits)


def trial(
    scenario: str, faults: tuple[Fault, ...] = (), *, mode: Mode = "watched", seed: int = 0, chances: Faults = NO_FAULTS,
    most_turns: int | None = None,
) -> Verdict:  # fmt: skip
    """Play a scenario with faults, and judge it.

    Args:
        scenario: its name.
        faults: what falls where.
        mode: with an observer, without (the engine's shorter ways), or without a goodbye: closed where the script ends.
        seed: of the world.
        chances: of short writes and the like.
        most_turns: of the loop; None: any number.
    """
    log = logging.getLogger("reactor")
    play = Play(faults, seed=seed, chances=chances, watched=mode == "watched", **KEYWORDS.get(scenario, {}))
    propagates, log.propagate = log.propagate, False
    log.addHandler(play.log)
    wrong: list[str] = []
    try:
        _perform(play, SCENARIOS[scenario], wrong)
        if most_turns is not None and play.turns > most_turns:
            wrong.append(f"{play.turns} turns, over {most_turns}")
        if mode != "cut":
            play.plan.armed, play.plan.faults = False, NO_FAULTS
            _after(play, wrong)
    except AssertionError as error:
        wrong.append(f"{type(error).__name__}: {error}")
    except Exception as error:
        wrong.append(f"{type(error).__name__} has left the play: {error}")
    finally:
        _end(play, wrong)
        log.removeHandler(play.log)
        log.propagate = propagates
    return Verdict(play, wrong)


def _perform(play: Play, script: Any, wrong: list[str]) -> None:
    try:
        script(play)
    except ConnectionRefusedError as error:
        if not any(_closes_listener(hit) for hit in play.plan.hits):
            wrong.append(f"a listener is gone: {error}")
    except OSError as error:
        if not play.plan.caused(error):
            raise


def _after(play: Play, wrong: list[str]) -> None:
    play.world.process.limit = 1024
    play.advance(1.1)  # over the pause of a listener without descriptors
    for talk in play.talks:
        wrong += _judge_talk(play, talk)
    wrong += _judge_packets(play)
    for talk in play.talks:
        talk.client.reset()
    play.run()
    for at, listens in play.is_listening.items():
        if listens and not play.closed_by_play:
            _probe(play, at, wrong)
        elif not listens and not play.closed_by_play and not any(_closes_listener(hit) for hit in play.plan.hits):
            wrong.append(f"{at} does not listen any more: {play.listeners[at].row.detail}")
    play.world.reactor.listen(NEW, upper)
    _probe(play, NEW, wrong)


def _probe(play: Play, at: str, wrong: list[str]) -> None:
    if at.startswith(("udp", "unix+dgram")):
        before = len(play.packets)
        play.packet(at, b"probe", [])
        if not play.packets[before][2]:
            wrong.append(f"{at} answers no packet any more")
        return
    client = play.world.connect(at)
    client.send(b"probe\n")
    client.send_eof()
    play.run()
    if not client.take() and client.ended != "reset":
        wrong.append(f"{at} serves no new connection: {client.ended!r}")
    client.reset()
    play.run()


def _closes_listener(hit: Hit) -> bool:
    """May this fault end a listener?"""
    file, _, call, via = hit.fault.key
    if call == "accept":
        return hit.fault.errno in CLOSING and file in ("acceptor", "permissions")
    if call in ("recvmsg", "recvfrom"):
        return hit.fault.errno in FATAL_TO_PACKETS
    return call == "register" and "Acceptor" in via and hit.fault.errno not in PASSING


def _harms(hit: Hit) -> bool:
    """May this fault cost the conversation that it fell on something?"""
    call, errno = hit.fault.key[2], hit.fault.errno
    file = hit.fault.key[0]
    if file in ("servers", "request_handlers", "framed_sockets") and call != "accept":
        return True  # a blocking handler, or its server, is told of whatever fails
    if call in ("recv", "send"):
        return errno not in TRANSIENT
    return call not in HARMLESS


def _judge_talk(play: Play, talk: Talk) -> list[str]:
    got, expected = talk.received, talk.expected
    what = f"{talk.endpoint} (client {talk.client._sock!r})"
    if not expected.startswith(got) and not (talk.free and not expected):
        return [f"{what}: {len(got)} bytes are not the beginning of the answer: {got[:60]!r}"]
    if talk.free:
        return []
    hits = [hit for hit in play.plan.hits if hit.socket is not None and hit.socket is talk.server_end]
    accepted = any(each is talk.server_end for each in play.world.process.opened)  # type: ignore[attr-defined]
    listener_died = not accepted and any(_closes_listener(hit) for hit in play.plan.hits)
    blocking = any(hit.fault.key[0] in ("servers", "request_handlers", "base_server", "hosting") for hit in hits)
    if listener_died or any(_harms(hit) for hit in hits) or blocking:
        cut = len(got) not in talk.parts
        cut = cut and not talk.endpoint.startswith("unix")  # which has no reset without unread input
        if cut and talk.ended != "reset" and not blocking and not any(hit.fault.key[2] == "setsockopt" for hit in hits):
            return [f"{what}: an answer was cut after {len(got)} bytes, and ended {talk.ended!r}"]
        return [] if talk.ended or got == expected else [f"{what}: {len(got)} bytes of {len(expected)}, and left open"]
    if got != expected:
        return [f"{what} was not hit: {len(got)} bytes of {len(expected)}, ended {talk.ended!r}"]
    if talk.ended != talk.ends:
        return [f"{what} was not hit and ended {talk.ended!r}, not {talk.ends!r}"]
    return []


def _judge_packets(play: Play) -> list[str]:
    lost = sum(hit.fault.key[2] in ("sendto", "recvfrom", "recvmsg") for hit in play.plan.hits)
    lost += sum(2 for hit in play.plan.hits if hit.fault.key[0] == "datagrams")  # the handler was told, or its answer was
    if play.plan.chances.would_block:  # an answer that the kernel does not take now is dropped, and counted
        lost += sum(getattr(listener.row, "dropped", 0) for listener in play.listeners.values())
    wrong = []
    dead = any(_closes_listener(hit) for hit in play.plan.hits)
    for at, answers, got in play.packets:
        rest = iter(answers)
        if not all(each in rest for each in got) or (len(answers) - len(got) > lost and not dead):
            wrong.append(f"{at}: {got} instead of {answers}")
    return wrong


def _end(play: Play, wrong: list[str]) -> None:
    world = play.world
    try:
        for _ in range(4):
            try:
                world.reactor.close()
                break
            except Exception as error:
                play.left.append(error)
        world.close()
    except AssertionError as error:
        wrong.append(f"{type(error).__name__}: {error}")
    except Exception as error:
        wrong.append(f"closing failed: {error!r}")
    if len(world.reactor.table):
        wrong.append(f"rows are left: {world.reactor.table}")
    wrong += _judge_rows(play)
    wrong += _judge_errors(play)


def _judge_rows(play: Play) -> list[str]:
    wrong = [f"row {id} has ended {times} times" for id, times in play.released.items() if times != 1]
    census = play.census
    if play.watched and (census.opened != census.ended or any(times != 1 for times in census.opened.values())):
        wrong.append(f"opened {dict(census.opened - census.ended)} more than ended {dict(census.ended - census.opened)}")
    return wrong


def _is_silent(hit: Hit) -> bool:
    """Does the engine promise to raise and to log nothing about it?"""
    file, function, call, _ = hit.fault.key
    if (file, function) == ("handled", "HandledRow.on_ready") and call not in ("recv", "send"):
        return False  # what the handler itself calls, while it runs
    return file in SILENT_FILES or (file, function) in SILENT


def _judge_errors(play: Play) -> list[str]:
    plan = play.plan
    wrong = []
    plan.excuses = not all(map(_is_silent, plan.hits))
    wrong += [f"raised without a fault: {error!r}" for error in (*play.left, *play.census.errors) if not plan.caused(error)]
    for record in play.log.records:
        if record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            if not plan.caused(error):
                wrong.append(f"logged without a fault: {record.getMessage()} {error!r}")
    return wrong
