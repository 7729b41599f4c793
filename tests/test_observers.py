"""Observers are told, never asked; one that fails silences nobody."""

import inspect
from typing import Any

import pytest

from reactor import Observer, Turn
from reactor.observers import Observers

EVENTS: dict[str, tuple[Any, ...]] = {
    "on_turn": (Turn(1, 0.0, (), 0, (), (), ()),),
    "on_open": ("row",),
    "on_phase": ("row", "BYTES", "IDLE", "RECEIVING"),
    "on_frame": ("row", 12),
    "on_error": ("row", ValueError("x")),
    "on_end": ("row", "FINISHED"),
}


class Recording(Observer):
    """Notes what it is told; raises `error` then, if it has one."""

    def __init__(self, error: BaseException | None = None) -> None:
        self.heard: list[tuple[Any, ...]] = []
        self.error = error

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)

        def hear(*args: Any) -> None:
            self.heard.append((name, *args))
            if self.error is not None:
                raise self.error

        return hear


def tell_all(observer: Observer) -> None:
    for name, args in EVENTS.items():
        assert getattr(observer, name)(*args) is None


def test_the_interface_is_these_methods() -> None:
    methods = {name: member for name, member in vars(Observer).items() if inspect.isfunction(member)}
    assert set(methods) == set(EVENTS)
    for name, method in methods.items():
        assert len(inspect.signature(method).parameters) == len(EVENTS[name]) + 1
        assert name in vars(Observers), "not passed on"


def test_nothing_need_be_overridden() -> None:
    tell_all(Observer())


def test_everybody_hears_everything_in_order() -> None:
    one, other = Recording(), Recording()
    tell_all(Observers([one, other], lambda *failed: pytest.fail(f"{failed}")))
    assert one.heard == other.heard == [(name, *args) for name, args in EVENTS.items()]


def test_one_that_fails_is_reported_and_silences_nobody() -> None:
    failing, other, failed = Recording(ValueError("x")), Recording(), []
    tell_all(Observers([failing, other], lambda *what: failed.append(what)))
    assert other.heard == [(name, *args) for name, args in EVENTS.items()]
    assert failed == [(failing, name) for name in EVENTS]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit()])
def test_who_interrupts_the_program_is_not_contained(error: BaseException) -> None:
    with pytest.raises(type(error)):
        tell_all(Observers([Recording(error)], lambda *failed: pytest.fail(f"{failed}")))


def test_a_turn_is_frozen() -> None:
    turn = Turn(1, 0.0, (), 0, (), (), ())
    with pytest.raises(AttributeError):
        turn.number = 2  # type: ignore[misc]
