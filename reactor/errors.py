"""The errors of the library, and what each means for the row that meets it.

What it is: every exception that crosses the border between the engine and a handler. What it is not: a wrapper of
operating-system errors; those are decided where the call is made (`transports`, `acceptor`) and reach a handler only as
`ConnectionLost`. Rules:

1. A message says what was tried, on which row, the limit and the value, and what to do next.
2. `EndOfStream` and `ConnectionLost` are normal: a handler that lets them pass has ended normally.
3. `Cancelled` is no `Exception`: `except Exception` in a handler must not swallow it (as in asyncio and trio).
"""

from __future__ import annotations

from typing import Literal


def describe(error: BaseException) -> str:
    """Return type and text of an error, even of one whose text cannot be had: a log line must not raise."""
    try:
        return f"{type(error).__name__}: {error}"
    except Exception:
        return type(error).__name__


class ReactorError(Exception):
    """What every error of this library has in common."""


class FramingError(ReactorError):
    """Bytes that can never become a frame: garbage, a frame over its limit, a stream that ends inside a frame.

    Args:
        reason: what is wrong, as half a sentence.
        offset: where, in bytes from the start of the frame.
        limit: the limit that was exceeded, in bytes; None where no limit is involved.
    """

    def __init__(self, reason: str, *, offset: int = 0, limit: int | None = None) -> None:
        self.reason, self.offset, self.limit = reason, offset, limit
        bound = "" if limit is None else f"; the limit is {limit} bytes (raise max_bytes or Limits.frame_bytes)"
        super().__init__(f"{reason}, at byte {offset} of the frame{bound}")


class LimitError(ReactorError):
    """A limit was reached: a deadline, or the cap of the outbox.

    Args:
        limit: the name of the limit, as in `Limits` ("idle_s", "outbox_bytes").
        allowed: its value, in the unit that its name ends with.
        actual: what was reached, in the same unit.
        hint: what to do next, as a clause.
    """

    def __init__(self, limit: str, allowed: float, actual: float, hint: str = "") -> None:
        self.limit, self.allowed, self.actual = limit, allowed, actual
        reached, most = (f"{round(value, 3):.16g}" for value in (actual, allowed))  # 16777216, not 1.67772e+07
        super().__init__(f"{limit}: {reached} reached, {most} allowed" + (f"; {hint}" if hint else ""))


class EndOfStream(ReactorError, EOFError):
    """There is no more input: the peer has finished sending ("peer"), or the reactor drains ("drain")."""

    def __init__(self, cause: Literal["peer", "drain"] = "peer") -> None:
        self.cause: Literal["peer", "drain"] = cause
        super().__init__("the peer has ended its stream" if cause == "peer" else "the reactor is draining")


class ConnectionLost(ReactorError, ConnectionError):
    """The connection is gone: reset by the peer, or closed by this program while a handler still used it."""


class IllegalTransition(ReactorError):
    """An event that the phase of its row does not allow: a defect of the engine, never of a handler."""


class BlockingHandlerError(ReactorError, TypeError):
    """A blocking handler was added to a shared reactor and nobody said how it may run."""


class MissingExtraError(ReactorError, ImportError):
    """An optional package is not installed; the message has the pip command."""


class BlockingHandlerWarning(RuntimeWarning):
    """A blocking handler holds its loop: one silent client stops every other."""


class Cancelled(BaseException):
    """Raised at the await of a handler or task that is being cancelled. Clean up and let it pass."""
