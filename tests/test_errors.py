"""What each error says, and which `except` catches it."""

import pytest

from reactor import errors
from reactor.errors import (
    BlockingHandlerError,
    BlockingHandlerWarning,
    Cancelled,
    ConnectionLost,
    EndOfStream,
    FramingError,
    IllegalTransition,
    LimitError,
    ReactorError,
    describe,
)


@pytest.mark.parametrize(
    ("error", "also"),
    [
        (FramingError("no colon"), ReactorError),
        (LimitError("idle_s", 75, 75.2), ReactorError),
        (EndOfStream(), EOFError),
        (ConnectionLost("row 7 is gone"), ConnectionError),
        (IllegalTransition("event BYTES is not legal"), ReactorError),
        (BlockingHandlerError("say which way"), TypeError),
    ],
)
def test_every_error_is_caught_as_ours_and_as_pythons(error: Exception, also: type[Exception]) -> None:
    assert isinstance(error, ReactorError)
    assert isinstance(error, also)


def test_except_exception_does_not_swallow_a_cancellation() -> None:
    assert not issubclass(Cancelled, Exception)
    assert issubclass(BlockingHandlerWarning, RuntimeWarning)


def test_every_error_says_what_it_is_for() -> None:
    classes = [value for value in vars(errors).values() if getattr(value, "__module__", "") == errors.__name__]
    assert len(classes) >= 10
    assert all(cls.__doc__ for cls in classes)


def test_an_error_is_described_even_if_its_text_cannot_be_had() -> None:
    class Mute(Exception):
        def __str__(self) -> str:
            raise RuntimeError("no text")

    assert describe(ValueError("x")) == "ValueError: x"
    assert describe(Mute()) == "Mute"


def test_a_framing_error_says_where_and_which_limit_to_raise() -> None:
    error = FramingError("no b'\\n' where one is due", offset=80, limit=80)
    assert (error.reason, error.offset, error.limit) == ("no b'\\n' where one is due", 80, 80)
    assert str(error) == (
        "no b'\\n' where one is due, at byte 80 of the frame; the limit is 80 bytes "
        "(raise max_bytes or Limits.frame_bytes)"
    )
    assert str(FramingError("no colon")) == "no colon, at byte 0 of the frame"


@pytest.mark.parametrize(
    ("allowed", "actual", "text"),
    [
        (75, 75.2, "idle_s: 75.2 reached, 75 allowed"),
        (75.0, 75.00049, "idle_s: 75 reached, 75 allowed"),
        (16 << 20, (16 << 20) + 1, "idle_s: 16777217 reached, 16777216 allowed"),
        (0.25, 1e-4, "idle_s: 0 reached, 0.25 allowed"),
    ],
)
def test_a_limit_error_shows_numbers_that_can_be_compared(allowed: float, actual: float, text: str) -> None:
    error = LimitError("idle_s", allowed, actual)
    assert (error.limit, error.allowed, error.actual) == ("idle_s", allowed, actual)
    assert str(error) == text


def test_a_limit_error_says_what_to_do_next() -> None:
    assert str(LimitError("outbox_bytes", 10, 11, "await drain()")).endswith("; await drain()")


def test_an_end_of_stream_says_who_ended_it() -> None:
    assert EndOfStream().cause == "peer"
    assert "peer" in str(EndOfStream("peer"))
    assert EndOfStream("drain").cause == "drain"
    assert "draining" in str(EndOfStream("drain"))
