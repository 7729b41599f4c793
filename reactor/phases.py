"""What a row waits for: one table of phases, and the only legal ways from one to another.

What it is: data. For every phase: does it read, which limit bounds it, and which event leads where. What it is not: an
engine; `Row.advance` is the only code that assigns a phase, and it asks `exit_of` here. Rules:

1. The phase is what the row is *between turns*. It is derived at settle, so a request that arrives, is answered and is
   done within one turn makes no transition and costs none.
2. An event that a phase does not list is a defect of the engine and raises `IllegalTransition`, which names the event,
   the phase and the row.
3. The diagram of docs/ARCHITECTURE.md is `diagram()`; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from typing import NamedTuple

from .errors import IllegalTransition


class Phase(StrEnum):
    """What a row waits for between two turns."""

    IDLE = "IDLE"
    RECEIVING = "RECEIVING"
    WORKING = "WORKING"
    FLUSHING = "FLUSHING"
    LINGERING = "LINGERING"
    DETACHED = "DETACHED"
    CLOSED = "CLOSED"
    LISTENING = "LISTENING"
    PAUSED = "PAUSED"


class Event(StrEnum):
    """What moves a row from one phase to another."""

    BYTES = "BYTES"  # the first bytes of a request
    FRAME = "FRAME"  # a request went to the handler, which still works on it
    NEED = "NEED"  # the handler wants more input for the same request
    REPLIED = "REPLIED"  # the request was answered
    FINISHED = "FINISHED"  # the handler has returned, or closed the row
    EOF = "EOF"  # the peer has finished sending
    FAILED = "FAILED"  # the handler raised
    BAD_FRAME = "BAD_FRAME"  # bytes that can never become a frame
    EXPIRED = "EXPIRED"  # the limit of this phase was reached
    STOP = "STOP"  # the reactor drains
    LOST = "LOST"  # reset by the peer, or aborted here
    FLUSHED = "FLUSHED"  # the outbox is empty; our side is shut
    DONE = "DONE"  # the outbox is empty and the peer's EOF was seen before: nothing to linger for
    HANDED_OVER = "HANDED_OVER"  # a handler, thread or child owns the socket now
    RETURNED = "RETURNED"  # ... and is done with it
    PAUSE = "PAUSE"
    RESUME = "RESUME"


class End(StrEnum):
    """Why a row has ended."""

    FINISHED = "FINISHED"
    PEER_CLOSED = "PEER_CLOSED"
    PEER_RESET = "PEER_RESET"
    DRAINED = "DRAINED"
    ABORTED = "ABORTED"
    HANDLER_FAILED = "HANDLER_FAILED"
    BAD_FRAME = "BAD_FRAME"
    LIMIT = "LIMIT"


class Rule(NamedTuple):
    """One line of the table: does the phase read, which limit (a field of `Limits`) bounds it, where it may lead."""

    reads: str
    bounded_by: str | None
    exits: Mapping[Event, Phase]


# Events that end a row after its output is flushed; all are legal wherever a handler may be told so.
_CLOSING: Mapping[Event, Phase] = dict.fromkeys(
    (Event.FINISHED, Event.EOF, Event.FAILED, Event.BAD_FRAME, Event.EXPIRED, Event.STOP), Phase.FLUSHING
)
_LOST: Mapping[Event, Phase] = {Event.LOST: Phase.CLOSED}

RULES: Mapping[Phase, Rule] = {
    Phase.IDLE: Rule(
        "yes",
        "idle_s",
        {
            Event.BYTES: Phase.RECEIVING,
            Event.FRAME: Phase.WORKING,
            Event.HANDED_OVER: Phase.DETACHED,
            **_CLOSING,
            **_LOST,
        },
    ),
    Phase.RECEIVING: Rule(
        "yes", "request_s", {Event.FRAME: Phase.WORKING, Event.REPLIED: Phase.IDLE, **_CLOSING, **_LOST}
    ),
    Phase.WORKING: Rule(
        "into the inbox, up to its mark",
        "work_s",
        {Event.NEED: Phase.RECEIVING, Event.REPLIED: Phase.IDLE, **_CLOSING, **_LOST},
    ),
    Phase.FLUSHING: Rule(
        "no",
        "write_stall_s",
        {Event.FLUSHED: Phase.LINGERING, Event.DONE: Phase.CLOSED, Event.EXPIRED: Phase.CLOSED, **_LOST},
    ),
    Phase.LINGERING: Rule(
        "discards", "linger_s", {Event.EOF: Phase.CLOSED, Event.EXPIRED: Phase.CLOSED, **_LOST}
    ),
    Phase.DETACHED: Rule("no", None, {Event.RETURNED: Phase.CLOSED, **_LOST}),
    Phase.LISTENING: Rule(
        "accepts", None, {Event.PAUSE: Phase.PAUSED, Event.STOP: Phase.CLOSED, **_LOST}
    ),
    Phase.PAUSED: Rule("no", None, {Event.RESUME: Phase.LISTENING, Event.STOP: Phase.CLOSED, **_LOST}),
    Phase.CLOSED: Rule("no", None, {}),
}

# Which event carries an end out of the live phases.
EVENT_OF_END: Mapping[End, Event] = {
    End.FINISHED: Event.FINISHED,
    End.PEER_CLOSED: Event.EOF,
    End.PEER_RESET: Event.LOST,
    End.DRAINED: Event.STOP,
    End.ABORTED: Event.LOST,
    End.HANDLER_FAILED: Event.FAILED,
    End.BAD_FRAME: Event.BAD_FRAME,
    End.LIMIT: Event.EXPIRED,
}

# Ends that nobody needs to look into; the others are kept in `Table.ended`.
GOOD_ENDS = frozenset({End.FINISHED, End.PEER_CLOSED, End.DRAINED})


EXITS: Mapping[Phase, Mapping[Event, Phase]] = {phase: rule.exits for phase, rule in RULES.items()}


def exit_of(phase: Phase, event: Event, row: object) -> Phase:
    """Return the phase that `event` leads to.

    Raises:
        IllegalTransition: `phase` does not list `event`; the message names both, the row, and what is legal.
    """
    after = EXITS[phase].get(event)
    if after is None:
        legal = ", ".join(sorted(RULES[phase].exits)) or "nothing"
        raise IllegalTransition(f"event {event} is not legal in phase {phase} of {row}; legal there: {legal}")
    return after


def diagram() -> str:
    """Return the table as a Mermaid state diagram, one line a transition, events with one target joined."""
    lines = ["stateDiagram-v2"]
    for phase, rule in RULES.items():
        targets: dict[Phase, list[Event]] = {}
        for event, after in rule.exits.items():
            targets.setdefault(after, []).append(event)
        lines += [f"    {phase} --> {after}: {' / '.join(events)}" for after, events in targets.items()]
    return "\n".join(lines)
