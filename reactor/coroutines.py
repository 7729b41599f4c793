"""Handlers as native coroutines, driven by the loop alone: runners, suspensions, tasks, sleep and timeout.

What it is: the small protocol between a coroutine and the loop. A coroutine yields what it waits for: its own `Stream`
(the hot case, tested by identity), or a `Suspension`, which parks the runner and resumes it later. What it is not:
asyncio; a foreign awaitable is an error that names what to use instead.

Rules:

1. A runner is parked in exactly one place. Whoever resumes it takes it out of there first.
2. A runner is resumed by the loop only, never from inside another handler: what handlers do to each other is posted.
3. `_ended` is the one place where the exceptions of a handler arrive.
"""

from __future__ import annotations

import inspect
import os
import types
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, ParamSpec, Self, TypeVar

from .errors import Cancelled, ConnectionLost, EndOfStream
from .loop import running
from .timers import Timer

P = ParamSpec("P")
T = TypeVar("T")

_HERE = os.path.dirname(os.path.abspath(__file__)) + os.sep


class Suspension:
    """What a coroutine may wait for, besides its own stream."""

    __slots__ = ()

    def park(self, runner: Any) -> None:
        """Remember the runner and see to it that `runner.proceed(value)` or `runner.throw(error)` is called."""
        raise NotImplementedError

    def unpark(self, runner: Any) -> None:
        """Forget the runner: something else happens to it."""
        raise NotImplementedError


class Runner:
    """Drives one coroutine. The fields live in the classes below, which differ in layout."""

    __slots__ = ()

    loop: Any
    coroutine: Coroutine[Any, Any, Any] | None
    parked: Any

    def proceed(self, value: Any = None) -> None:
        """Go on with `value` as the result of the await."""
        self.parked = None
        if self.coroutine is not None:
            self._run(self.coroutine.send, value)

    def throw(self, error: BaseException) -> None:
        """Raise `error` at the await."""
        if self.coroutine is None:
            return
        parked, self.parked = self.parked, None
        if parked is not None:
            parked.unpark(self)
        self._run(self.coroutine.throw, error)

    def wake(self, suspension: Suspension, value: Any = None) -> None:
        """Go on, if the runner still waits there: a wake-up that was posted may come too late."""
        if self.parked is suspension:
            self.proceed(value)

    def wake_with(self, suspension: Suspension, error: BaseException) -> None:
        """Raise `error` at the await, if the runner still waits there."""
        if self.parked is suspension:
            self.throw(error)

    def _run(self: Any, go: Callable[[Any], Any], value: Any) -> None:
        try:
            want = go(value)
            while type(want) is _Myself:  # in a loop: as a call it would nest with each block that does not wait
                want = self.coroutine.send(self)
        except BaseException as error:  # StopIteration, what a handler raises, and KeyboardInterrupt: see _ended
            self.coroutine = None
            self._ended(error)
        else:
            self._park(want)

    def _park(self, want: Any) -> None:
        if type(want) is _Myself and self.coroutine is not None:
            self._run(self.coroutine.send, self)
            return
        if not isinstance(want, Suspension):
            self.throw(
                TypeError(
                    f"a handler awaited {want!r}, which belongs to another event loop; use sleep, timeout, spawn and "
                    "the stream's own methods, which are driven by this reactor"
                )
            )
            return
        self.parked = want
        want.park(self)

    def _ended(self, error: BaseException) -> None:
        raise NotImplementedError

    @property
    def waiting_at(self) -> str | None:
        """Where the coroutine waits, as file:line: the innermost line that is not of this library."""
        return None if self.coroutine is None else _place(self.coroutine)


def _place(coroutine: Any) -> str | None:
    place = None
    while coroutine is not None:
        frame = getattr(coroutine, "cr_frame", None) or getattr(coroutine, "gi_frame", None)
        if frame is not None and not frame.f_code.co_filename.startswith(_HERE):
            place = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
        coroutine = getattr(coroutine, "cr_await", None) or getattr(coroutine, "gi_yieldfrom", None)
    return place


class Task(Runner, Generic[T]):
    """A coroutine that runs beside its starter. Made by `spawn`.

    Args:
        loop: the loop.
        coroutine: what to run.
        owner: the stream row with which it ends; None: it may outlive every row.
    """

    __slots__ = ("_error", "_owner", "_result", "_waiters", "coroutine", "done", "loop", "name", "observed", "parked")

    def __init__(self, loop: Any, coroutine: Coroutine[Any, Any, T], owner: Any = None) -> None:
        if loop.closed:
            coroutine.close()
            raise RuntimeError("this reactor is closed: no task can run on it")
        self.loop = loop
        self.coroutine = coroutine
        self.name = getattr(coroutine, "__qualname__", repr(coroutine))
        self.parked: Any = None
        self.done = False
        self.observed = False  # somebody will ask for the result, and so hear of its error
        self._owner = owner
        self._result: Any = None
        self._error: BaseException | None = None
        self._waiters: list[Any] = []
        loop.tasks.add(self)
        loop.call_soon(self.proceed)

    def cancel(self) -> None:
        """Raise `Cancelled` at its await, in the next turn."""
        self.loop.call_soon(self.throw, Cancelled(f"task {self.name} was cancelled"))

    async def wait(self) -> T:
        """Return what the task returns, or raise what it raises.

        Raises:
            Cancelled: the task was cancelled.
        """
        if not self.done:
            await suspend(_Join(self._waiters))
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def result(self) -> T:
        """Return the result of a task that is done, or raise its error."""
        if self._error is not None:
            raise self._error
        result: T = self._result
        return result

    def _ended(self, error: BaseException) -> None:
        self.done = True
        self.loop.tasks.discard(self)
        self.loop.replies.discard(self)
        if self._owner is not None:
            self._owner.tasks.discard(self)
        if isinstance(error, StopIteration):
            self._result = error.value
        else:
            self._error = error
        waiters, self._waiters = self._waiters, []
        for waiter, join in waiters:
            self.loop.call_soon(waiter.wake, join)
        if isinstance(error, (StopIteration, Cancelled, EndOfStream, ConnectionLost)):
            return  # the normal ends of whoever reads a stream
        if isinstance(error, Exception) and (waiters or self.observed):
            return
        if not isinstance(error, Exception):
            raise error  # KeyboardInterrupt, SystemExit: the loop is left
        self.loop.contain(self, error)

    @property
    def phase(self) -> str:
        """For logs."""
        return "DONE" if self.done else "RUNNING"

    def __str__(self) -> str:
        return f"task {self.name}"


class _Join(Suspension):
    """Wait for a task."""

    __slots__ = ("_waiters",)

    def __init__(self, waiters: list[Any]) -> None:
        self._waiters = waiters

    def park(self, runner: Any) -> None:
        self._waiters.append((runner, self))

    def unpark(self, runner: Any) -> None:
        if (runner, self) in self._waiters:
            self._waiters.remove((runner, self))


class Sleep(Suspension):
    """Wait for a time; simulations ask for whom they have to wait."""

    __slots__ = ("_seconds", "_timer")

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: Timer | None = None

    def park(self, runner: Any) -> None:
        self._timer = runner.loop.call_later(self._seconds, runner.wake, self)

    def unpark(self, runner: Any) -> None:
        if self._timer is not None:
            self._timer.cancel()


class _Myself(Suspension):
    """Tell a coroutine who runs it; it never waits, see `Runner._run`."""

    __slots__ = ()


@types.coroutine
def suspend(suspension: Suspension) -> Generator[Any, Any, Any]:
    """Await a suspension."""
    return (yield suspension)


async def sleep(seconds: float) -> None:
    """Let the others run for `seconds` (0: for one turn)."""
    await suspend(Sleep(seconds))


class timeout:
    """Raise TimeoutError in a block that takes longer than `seconds`: `async with timeout(5): ...`."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._timer: Timer | None = None
        self._expired: Cancelled | None = None

    async def __aenter__(self) -> Self:
        runner = await suspend(_Myself())
        self._timer = runner.loop.call_later(self._seconds, self._expire, runner)
        return self

    def _expire(self, runner: Any) -> None:
        self._expired = Cancelled(f"timeout of {self._seconds:g} s")
        runner.throw(self._expired)

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if error is not None and error is self._expired:
            raise TimeoutError(f"the block took longer than {self._seconds:g} s") from error


def spawn(function: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> Task[T]:
    """Run a coroutine function beside the caller, on the reactor that runs the caller.

    Raises:
        RuntimeError: no reactor runs in this thread.
    """
    loop = running.get(None)
    if loop is None:
        raise RuntimeError("spawn() outside of a running reactor; use loop.spawn(function, ...)")
    return Task(loop, coroutine_of(function, args, kwargs))


def is_running(coroutine: Any) -> bool:
    """Does it run now, rather than wait?"""
    return bool(coroutine.gi_running if isinstance(coroutine, types.GeneratorType) else coroutine.cr_running)


def _is_old_style(coroutine: object) -> bool:
    """Is it of a function with `types.coroutine`, as `Stream.readline` is?"""
    return isinstance(coroutine, types.GeneratorType) and bool(coroutine.gi_code.co_flags & inspect.CO_ITERABLE_COROUTINE)


def coroutine_of(
    function: Callable[..., Coroutine[Any, Any, T]], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> Coroutine[Any, Any, T]:
    """Call a coroutine function.

    Raises:
        TypeError: it returned something else.
    """
    coroutine = function(*args, **kwargs)
    if not inspect.iscoroutine(coroutine) and not _is_old_style(coroutine):
        raise TypeError(f"{function!r} returned {coroutine!r}, not a coroutine: define it with `async def`")
    return coroutine
