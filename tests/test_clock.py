"""The clock of the engine is monotonic, and a test can take its place."""

import time

import pytest

from reactor.clock import ManualClock, MonotonicClock


def test_the_wall_clock_has_no_say(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = MonotonicClock()
    for wall_s in (0.0, time.time() + 365 * 86400):
        monkeypatch.setattr(time, "time", lambda wall_s=wall_s: wall_s)
        before, now, after = time.monotonic(), clock.now(), time.monotonic()
        assert before <= now <= after


def test_a_manual_clock_stands_still_until_it_is_told() -> None:
    clock = ManualClock(5.0)
    assert clock.now() == clock.now() == 5.0
    clock.advance(0.5)
    clock.advance(0)
    assert clock.now() == 5.5
    with pytest.raises(ValueError, match=r"cannot go back by 0\.1 s"):
        clock.advance(-0.1)
    assert clock.now() == 5.5
