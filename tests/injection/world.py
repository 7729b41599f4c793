"""A simulated world in which a fault falls on a chosen call of a chosen site.

What it is: `Plan`, which knows by the stack who makes a call, and the simulation with faults in calls that the simulator
itself never lets fail (stat, unlink). What it is not: a judge; see `judge`.

Rules: a failing call has done nothing, but for close(2) and epoll_ctl(2), see `reactor.testing` · a plan that is disarmed
counts nothing.
"""

from __future__ import annotations

import errno
import os
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any

from reactor.testing import Faults, Simulation
from reactor.testing.faults import NO_FAULTS, FaultPlan
from reactor.testing.modules import SimulatedSockets
from reactor.testing.sockets import SimulatedSocket

from .sites import FOLDER

Key = tuple[str, str, str, str]  # file, function, call, and who asked for it

# A blocking call waits instead, is begun again (PEP 475), or is not this one (EALREADY is what connect(2) says).
NOT_WHEN_BLOCKING = ("EAGAIN", "EINTR", "EALREADY")
_ENGINE = str(FOLDER) + os.sep
_TESTING = _ENGINE + "testing" + os.sep


@dataclass(frozen=True, order=True)
class Fault:
    """The nth call at a site fails."""

    key: Key
    nth: int
    errno: str

    def __str__(self) -> str:
        file, function, call, via = self.key
        return f"{call} #{self.nth} of {file}.{function}{f' for {via}' if via else ''}: {self.errno}"


@dataclass
class Hit:
    """A fault that fell."""

    fault: Fault
    socket: Any  # as the kernel knows it
    error: OSError


@dataclass
class Plan(FaultPlan):
    """Which calls fail; counts all calls by key."""

    wanted: tuple[Fault, ...] = ()
    chances: Faults = NO_FAULTS
    random: Random = field(default_factory=Random)

    def __post_init__(self) -> None:
        super().__init__(self.chances, self.random)
        self.calls: Counter[Key] = Counter()
        self.hits: list[Hit] = []
        self.armed = True
        self.excuses = True  # some fault may be raised and logged
        self.blocking = False  # the call is made on a blocking socket
        self._errnos = {(fault.key, fault.nth): fault for fault in self.wanted}

    def before(self, call: str, on: Any = None) -> None:
        """Count the call; let it fail if that is wanted."""
        if not self.armed:
            return
        key = key_of(call)
        if key is None:
            return
        self.calls[key] += 1
        fault = self._errnos.get((key, self.calls[key]))
        if fault is not None and not (self.blocking and fault.errno in NOT_WHEN_BLOCKING):
            code = getattr(errno, fault.errno)
            error = OSError(code, f"{os.strerror(code)} (injected)")
            self.hits.append(Hit(fault, on, error))
            raise error

    def caused(self, error: BaseException | None) -> bool:
        """Does an error go back to a fault, or to what the scenario does on purpose?"""
        marks = ("(injected)", "(planned)") if self.excuses else ("(planned)",)
        while error is not None:
            if any(mark in str(error) for mark in marks):
                return True
            error = error.__cause__ or error.__context__
        return False


def key_of(call: str) -> Key | None:
    """Return who makes a call: the nearest frame of the engine, and whom it serves; None: no engine does."""
    frame: FrameType | None = _engine_frame(sys._getframe(1))
    if frame is None:
        return None
    file, function = Path(frame.f_code.co_filename).stem, frame.f_code.co_qualname
    via = ""
    if file == "demultiplexer":
        asking = frame.f_back
        while asking is not None and asking.f_code.co_filename == frame.f_code.co_filename:
            asking = asking.f_back
        via = asking.f_code.co_qualname if asking is not None else ""
    if "self" in frame.f_locals and file in ("table", "demultiplexer"):
        row = frame.f_locals.get("row", frame.f_locals["self"])
        via = f"{type(row).__name__} {via}".strip()
    return file, function, call, via


def _engine_frame(frame: FrameType | None) -> FrameType | None:
    while frame is not None:
        name = frame.f_code.co_filename
        if name.startswith(_ENGINE) and not name.startswith(_TESTING):
            return frame
        frame = frame.f_back
    return None


class InjectedSocket(SimulatedSocket):
    """A simulated socket all of whose calls may fail."""

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.process.opened.append(self._description)  # type: ignore[attr-defined]

    def _once(self, call: str, function: Callable[..., Any], *args: Any) -> Any:
        plan: Any = self.process.plan
        plan.blocking = self._timeout_s != 0
        try:
            return super()._once(call, function, *args)
        finally:
            plan.blocking = False


class InjectedSockets(SimulatedSockets):
    """Makes them."""

    def socket(self, family: int = 2, type: int = 1, proto: int = 0) -> SimulatedSocket:
        plan: Any = self.process.plan
        plan.before("socket")
        return InjectedSocket(self.process, self._description(family, type), proto)

    def socketpair(self, *args: int) -> tuple[SimulatedSocket, SimulatedSocket]:
        pair = super().socketpair(*args)
        for sock in pair:
            sock.__class__ = InjectedSocket
        return pair


def make_world(plan: Plan, seed: int, chances: Faults, **keywords: Any) -> Simulation:
    """Return a simulation in which the plan is carried out."""
    world = Simulation(seed, faults=chances, strict=False, **keywords)
    process, network = world.process, world.network
    process.plan = plan
    process.opened = []  # type: ignore[attr-defined]
    world.reactor.sockets = InjectedSockets(process)

    for call in ("stat", "unlink", "chmod"):
        _fails_before(network, call, plan)
    return world


def _fails_before(owner: Any, call: str, plan: Plan) -> None:
    original = getattr(owner, call)

    def injected(*args: Any) -> Any:
        plan.before(call)
        return original(*args)

    setattr(owner, call, injected)
