"""The table of phases, enumerated; and the diagram of the documentation, which is generated from it."""

import dataclasses
import pathlib
import re

import pytest

from reactor.errors import IllegalTransition
from reactor.limits import Limits
from reactor.phases import EVENT_OF_END, GOOD_ENDS, RULES, End, Event, Phase, diagram, exit_of

ARCHITECTURE = pathlib.Path(__file__).parents[1] / "docs" / "ARCHITECTURE.md"

LIVE = sorted(set(Phase) - {Phase.CLOSED})
# The phases that a handler can be in: every one of the ends may come over them.
SERVING = [Phase.IDLE, Phase.RECEIVING, Phase.WORKING]
FIRST = [Phase.IDLE, Phase.LISTENING]  # of connections; of everything that listens

# The whole table once more, as the design draws it: a change of one must be meant in both.
CLOSING = dict.fromkeys(
    [Event.FINISHED, Event.EOF, Event.FAILED, Event.BAD_FRAME, Event.EXPIRED, Event.STOP], Phase.FLUSHING
)
SERVED = {Event.REPLIED: Phase.IDLE, **CLOSING}
EXITS: dict[Phase, dict[Event, Phase]] = {
    Phase.IDLE: {
        Event.BYTES: Phase.RECEIVING, Event.FRAME: Phase.WORKING, Event.HANDED_OVER: Phase.DETACHED, **CLOSING,
    },
    Phase.RECEIVING: {Event.FRAME: Phase.WORKING, **SERVED},
    Phase.WORKING: {Event.NEED: Phase.RECEIVING, **SERVED},
    Phase.FLUSHING: {Event.FLUSHED: Phase.LINGERING, Event.DONE: Phase.CLOSED, Event.EXPIRED: Phase.CLOSED},
    Phase.LINGERING: {Event.EOF: Phase.CLOSED, Event.EXPIRED: Phase.CLOSED},
    Phase.DETACHED: {Event.RETURNED: Phase.CLOSED},
    Phase.LISTENING: {Event.PAUSE: Phase.PAUSED, Event.STOP: Phase.CLOSED},
    Phase.PAUSED: {Event.RESUME: Phase.LISTENING, Event.STOP: Phase.CLOSED},
    Phase.CLOSED: {},
}  # fmt: skip
for _phase in LIVE:
    EXITS[_phase][Event.LOST] = Phase.CLOSED

PAIRS = [(phase, event) for phase in Phase for event in Event]


def reachable(*starts: Phase) -> set[Phase]:
    """The phases that some chain of events leads to."""
    found, todo = set(starts), list(starts)
    while todo:
        after = set(RULES[todo.pop()].exits.values()) - found
        found |= after
        todo += after
    return found


@pytest.mark.parametrize(("phase", "event"), PAIRS)
def test_every_pair_is_an_exit_or_an_error_that_names_it(phase: Phase, event: Event) -> None:
    if event in EXITS[phase]:
        assert exit_of(phase, event, "row 7") is EXITS[phase][event]
        return
    with pytest.raises(IllegalTransition) as caught:
        exit_of(phase, event, "row 7 (stream of tcp://127.0.0.1:80)")
    text = str(caught.value)
    assert f"event {event} " in text
    assert f"phase {phase} " in text
    assert "row 7 (stream of tcp://127.0.0.1:80)" in text
    legal = text.rpartition("legal there: ")[2]
    assert set(legal.split(", ")) == set(EXITS[phase] or ["nothing"])


def test_every_phase_has_a_rule_and_every_event_a_use() -> None:
    assert set(RULES) == set(Phase)
    assert {event for rule in RULES.values() for event in rule.exits} == set(Event)


def test_every_phase_can_be_reached() -> None:
    assert reachable(*FIRST) == set(Phase)


@pytest.mark.parametrize("phase", LIVE)
def test_every_live_phase_can_reach_the_end(phase: Phase) -> None:
    assert Phase.CLOSED in reachable(phase)
    assert RULES[phase].exits[Event.LOST] is Phase.CLOSED


def test_nothing_comes_after_the_end() -> None:
    assert RULES[Phase.CLOSED].exits == {}


@pytest.mark.parametrize("phase", Phase)
def test_a_phase_is_bounded_by_a_limit_that_exists(phase: Phase) -> None:
    bounded_by = RULES[phase].bounded_by
    if bounded_by is None:
        assert Event.EXPIRED not in RULES[phase].exits
    else:
        assert bounded_by in {field.name for field in dataclasses.fields(Limits)}
        assert Event.EXPIRED in RULES[phase].exits


@pytest.mark.parametrize("end", End)
@pytest.mark.parametrize("phase", SERVING)
def test_every_end_leads_out_of_every_phase_that_serves(phase: Phase, end: End) -> None:
    assert exit_of(phase, EVENT_OF_END[end], "row 7") in (Phase.FLUSHING, Phase.CLOSED)


def test_which_ends_nobody_needs_to_look_into() -> None:
    assert {End.FINISHED, End.PEER_CLOSED, End.DRAINED} == GOOD_ENDS


def test_the_diagram_is_the_table() -> None:
    first, *lines = diagram().splitlines()
    assert first == "stateDiagram-v2"
    drawn = set()
    for line in lines:
        match = re.fullmatch(r"    (\w+) --> (\w+): ([A-Z_ /]+)", line)
        assert match, line
        drawn |= {(match[1], event, match[2]) for event in match[3].split(" / ")}
    assert drawn == {(phase, event, after) for phase, exits in EXITS.items() for event, after in exits.items()}


def test_the_documentation_shows_this_diagram() -> None:
    blocks = re.findall(r"^```mermaid\n(.*?)\n```$", ARCHITECTURE.read_text(), re.DOTALL | re.MULTILINE)
    diagrams = [block for block in blocks if block.startswith("stateDiagram-v2")]
    assert diagrams == [diagram()], "docs/ARCHITECTURE.md: replace its state diagram by what phases.diagram() returns"
