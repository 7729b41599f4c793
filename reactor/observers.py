"""Who watches the engine: one interface for traces, access logs, metrics and recordings.

An observer is told, never asked: what it returns is ignored, what it raises is logged and does not reach the loop.
With no observer the engine spends one attribute test where a call would be. `taps` is the one observer that also replaces
something, the socket of a row, and it may not change a result (ADR 0015).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .phases import End, Phase

if TYPE_CHECKING:  # only names in annotations: `table` stands to the right of this file
    from .table import Row


@dataclass(frozen=True, slots=True)
class Turn:
    """What one turn of the loop did; rows are named by their ids, times are in seconds."""

    number: int
    waited_s: float
    ready: tuple[int, ...]
    posted: int
    expired: tuple[int, ...]
    settled: tuple[int, ...]
    ended: tuple[int, ...]


class Observer:
    """Derive from it and override what you want to hear."""

    def on_turn(self, turn: Turn) -> None:
        """A turn is over."""

    def on_open(self, row: Row) -> None:
        """A row has joined the table."""

    def on_phase(self, row: Row, event: str, before: Phase, after: Phase) -> None:
        """A row went from one phase to another."""

    def on_frame(self, row: Row, wire_bytes: int) -> None:
        """A frame goes to the handler; `wire_bytes` are what it took from the inbox."""

    def on_error(self, row: Row, error: BaseException) -> None:
        """A handler or hook raised."""

    def on_end(self, row: Row, end: End) -> None:
        """A row has left the table."""


class Observers(Observer):
    """Several observers as one; each is contained, so that one which fails does not silence the others."""

    def __init__(self, observers: Sequence[Observer], failed: Callable[[Observer, str], None]) -> None:
        self._observers, self._failed = tuple(observers), failed

    def _tell(self, method: str, *args: object) -> None:
        for observer in self._observers:
            try:
                getattr(observer, method)(*args)
            except Exception:
                self._failed(observer, method)

    def on_turn(self, turn: Turn) -> None:
        """See `Observer`."""
        self._tell("on_turn", turn)

    def on_open(self, row: Row) -> None:
        """See `Observer`."""
        self._tell("on_open", row)

    def on_phase(self, row: Row, event: str, before: Phase, after: Phase) -> None:
        """See `Observer`."""
        self._tell("on_phase", row, event, before, after)

    def on_frame(self, row: Row, wire_bytes: int) -> None:
        """See `Observer`."""
        self._tell("on_frame", row, wire_bytes)

    def on_error(self, row: Row, error: BaseException) -> None:
        """See `Observer`."""
        self._tell("on_error", row, error)

    def on_end(self, row: Row, end: End) -> None:
        """See `Observer`."""
        self._tell("on_end", row, end)
