"""Limits that contradict each other, or make no sense, are refused when they are made."""

import dataclasses
import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import Limits
from reactor.limits import DEFAULTS
from tests.properties import tries

NAMES = [field.name for field in dataclasses.fields(Limits)]
TIMES_THAT_MAY_BE_OFF = {"handshake_s", "idle_s", "request_s", "shortage_s", "work_s", "write_stall_s"}
MAY_BE_OFF = {"connections", "connections_per_peer", "spool_bytes", "request_bytes_per_s", *TIMES_THAT_MAY_BE_OFF}
COUNTS = {"connections", "connections_per_peer", "backlog", "accepts_per_turn", "frames_per_turn"}


def test_the_defaults_are_the_documented_ones() -> None:
    assert Limits() == DEFAULTS
    assert (DEFAULTS.backlog, DEFAULTS.accepts_per_turn, DEFAULTS.frames_per_turn) == (1024, 64, 32)
    assert (DEFAULTS.frame_bytes, DEFAULTS.inbox_bytes, DEFAULTS.bytes_per_turn) == (64 << 10, 64 << 10, 256 << 10)
    assert (DEFAULTS.outbox_low_bytes, DEFAULTS.outbox_high_bytes) == (16 << 10, 64 << 10)
    assert (DEFAULTS.outbox_bytes, DEFAULTS.spool_bytes) == (16 << 20, 1 << 30)
    assert (DEFAULTS.idle_s, DEFAULTS.request_s, DEFAULTS.work_s, DEFAULTS.write_stall_s) == (75, 30, None, 30)
    assert (DEFAULTS.request_bytes_per_s, DEFAULTS.request_grace_s) == (None, 5)
    assert (DEFAULTS.handshake_s, DEFAULTS.shortage_s) == (10, 1)
    assert (DEFAULTS.linger_s, DEFAULTS.linger_bytes) == (2, 64 << 10)
    assert DEFAULTS.connections is DEFAULTS.connections_per_peer is None


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_its_unit_in_its_name(name: str) -> None:
    assert name in COUNTS or name.endswith(("_s", "_bytes")) or name == "bytes_per_turn"


@pytest.mark.parametrize("value", [0, -1, math.nan])
@pytest.mark.parametrize("name", NAMES)
def test_a_limit_is_positive(name: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"Limits\({name}=.*\): must be positive"):
        Limits(**{name: value})


@pytest.mark.parametrize("name", NAMES)
def test_none_switches_off_what_can_be_off(name: str) -> None:
    if name in MAY_BE_OFF:
        assert getattr(Limits(**{name: None}), name) is None
        with pytest.raises(ValueError, match="None switches it off"):
            Limits(**{name: 0})
    else:
        with pytest.raises(ValueError, match=rf"Limits\({name}=None\): must be positive$"):
            Limits(**{name: None})


@pytest.mark.parametrize(
    "changes",
    [{"outbox_low_bytes": 65537}, {"outbox_high_bytes": (16 << 20) + 1}, {"outbox_bytes": 65535}],
)
def test_the_marks_of_the_outbox_are_in_order(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="outbox_low_bytes <= outbox_high_bytes <= outbox_bytes"):
        DEFAULTS.replace(**changes)
    assert Limits(outbox_low_bytes=1, outbox_high_bytes=1, outbox_bytes=1)


def test_replace_changes_a_copy_and_knows_its_names() -> None:
    changed = DEFAULTS.replace(idle_s=5)
    assert (changed.idle_s, DEFAULTS.idle_s) == (5, 75)
    assert changed.replace(idle_s=75) == DEFAULTS
    with pytest.raises(TypeError, match="idle"):
        DEFAULTS.replace(idle=5)


def test_how_long_a_request_may_last() -> None:
    assert DEFAULTS.request_lasts_s(10**9) == 30
    assert Limits(request_s=None).request_lasts_s(0) is None
    slow = Limits(request_s=100, request_bytes_per_s=10, request_grace_s=7)
    assert [slow.request_lasts_s(received) for received in (0, 70, 71, 80, 81, 1000, 10**9)] == [7, 7, 8, 8, 9, 100, 100]
    assert slow.replace(request_s=None).request_lasts_s(10**4) == 1000


def test_which_limit_it_was() -> None:
    slow = Limits(request_s=100, request_bytes_per_s=10)
    assert str(slow.late("request_s", 8, "RECEIVING", 20)) == (
        "request_bytes_per_s: 2.5 reached, 10 allowed; the least that a request may bring on average after 5 s"
    )
    assert str(slow.late("request_s", 100, "RECEIVING", 20)) == "request_s: 100 reached, 100 allowed; in phase RECEIVING"
    assert str(DEFAULTS.late("request_s", 30, "RECEIVING", 20)) == "request_s: 30 reached, 30 allowed; in phase RECEIVING"
    assert slow.replace(request_s=None).late("request_s", 8, "RECEIVING", 20).limit == "request_bytes_per_s"
    assert slow.late("idle_s", 75, "IDLE", 20).limit == "idle_s"


def test_they_are_frozen_and_have_names() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        DEFAULTS.idle_s = 5  # type: ignore[misc]
    with pytest.raises(TypeError):
        Limits(5)  # type: ignore[misc]


MARKS = ["outbox_low_bytes", "outbox_high_bytes", "outbox_bytes"]
NUMBERS = st.none() | st.integers(-2, 1 << 40) | st.floats()


def is_fine(name: str, value: Any) -> bool:
    """Is the value of one limit in order, all by itself?"""
    return name in MAY_BE_OFF if value is None else value > 0


@tries(300)
@given(st.dictionaries(st.sampled_from(NAMES), NUMBERS, max_size=6))
def test_limits_are_made_whole_or_not_at_all(values: dict[str, Any]) -> None:
    wrong = {name for name, value in values.items() if not is_fine(name, value)}
    low, high, cap = (values.get(name, getattr(DEFAULTS, name)) for name in MARKS)
    if wrong or not low <= high <= cap:
        with pytest.raises(ValueError) as caught:
            Limits(**values)
        assert not wrong or any(f"Limits({name}=" in str(caught.value) for name in wrong)
    else:
        made = Limits(**values)
        assert {name: getattr(made, name) for name in NAMES} == dataclasses.asdict(DEFAULTS) | values
        assert made.replace() == made == Limits(**dataclasses.asdict(made))
