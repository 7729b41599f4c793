"""The soak in small: all that holds whatever the machine is busy with, and that each bar can be missed."""

import os
import sys
from contextlib import ExitStack
from typing import Any

import pytest

pytest.importorskip("resource")
if not os.path.isdir(f"/proc/{os.getpid()}/fd"):
    pytest.skip("memory and descriptors of other processes are read from /proc", allow_module_level=True)

from tests.soak import __main__ as command
from tests.soak import bars
from tests.soak.active import percentiles
from tests.soak.processes import Child
from tests.soak.scenarios import QUICK, SCENARIOS, affordable
from tests.wakeups import BURST

FIGURES: dict[str, Any] = {
    "cpu_s": 1.0, "waits": 10, "spurious": 0, "blame": [], "connections": 20, "logged": 0, "now_s": 100.0,
    "rss": 20 << 20, "peak": 20 << 20, "descriptors": 30,
}  # fmt: skip
WINDOW = {"answers": 100, "missing": 0, "cross_talk": 0, "p50_ms": 0.1, "p99_ms": 1.0}


@pytest.mark.timeout(180)  # it takes a second or two; a machine with ten times the work ten times as long
@pytest.mark.parametrize("name", SCENARIOS)
def test_a_server_under_abuse(name: str) -> None:
    with ExitStack() as stack:
        found = SCENARIOS[name](QUICK, stack, lambda text: None).bars
    assert len(found) >= 6
    missed = "\n".join(command.line(name, bar) for bar in found if not bar.holds)
    assert not missed, f"\n{missed}"


def after(**changes: Any) -> dict[str, Any]:
    """Return figures of ten seconds later."""
    return FIGURES | {"now_s": 110.0} | changes


MB = 1 << 20
MISSED = {
    "memory": lambda: bars.memory(FIGURES, after(peak=20 * MB + 1000 * (1100 + bars.ROW_BYTES) + MB + 1), 1000, 1000),
    "flat memory": lambda: bars.flat_memory(FIGURES, after(rss=21 * MB + 1)),
    "a descriptor more": lambda: bars.descriptors(FIGURES, after(descriptors=31)),
    "a descriptor less": lambda: bars.descriptors(FIGURES, after(descriptors=29)),
    "cross-talk": lambda: bars.cross_talk(WINDOW, WINDOW | {"cross_talk": 1}),
    "an answer": lambda: bars.unanswered(WINDOW, WINDOW | {"missing": 1}),
    "spurious": lambda: bars.spurious(FIGURES, after(spurious=BURST + 51, blame=[["a row", 61]])),
    "idle": lambda: bars.idle_wake_ups(FIGURES, after(waits=12)),
    "CPU": lambda: bars.cpu_share(FIGURES, after(cpu_s=1.21)),
    "lines": lambda: bars.log_lines(FIGURES, after(logged=3)),
    "all": lambda: bars.all_of("were served", 9, 10),
    "latency": lambda: bars.latency([WINDOW, WINDOW | {"p99_ms": 2.01}, WINDOW]),
    "latency, slow": lambda: bars.latency([WINDOW | {"p99_ms": p99} for p99 in (10, 12.6, 10)]),
}  # fmt: skip
HELD = {
    "memory": lambda: bars.memory(FIGURES, after(peak=20 * MB + 1000 * (1100 + bars.ROW_BYTES) + MB), 1000, 1000),
    "flat memory": lambda: bars.flat_memory(FIGURES, after(rss=21 * MB)),
    "descriptors": lambda: bars.descriptors(FIGURES, after()),
    "cross-talk": lambda: bars.cross_talk(WINDOW, WINDOW),
    "an answer": lambda: bars.unanswered(WINDOW, WINDOW),
    "spurious": lambda: bars.spurious(FIGURES, after(spurious=BURST + 50)),
    "idle": lambda: bars.idle_wake_ups(FIGURES, after(waits=11)),
    "CPU": lambda: bars.cpu_share(FIGURES, after(cpu_s=1.19)),
    "lines": lambda: bars.log_lines(FIGURES, after(logged=2)),
    "all": lambda: bars.all_of("were served", 10, 10),
    "latency": lambda: bars.latency([WINDOW, WINDOW | {"p99_ms": 1.99}, WINDOW]),
    "latency, slow": lambda: bars.latency([WINDOW | {"p99_ms": p99} for p99 in (10, 12.4, 10)]),
}  # fmt: skip


@pytest.mark.parametrize("name", MISSED)
def test_a_bar_can_be_missed(name: str) -> None:
    bar = MISSED[name]()
    assert not bar.holds
    assert "MISSED" in command.line("soak", bar)


@pytest.mark.parametrize("name", HELD)
def test_a_bar_can_be_held(name: str) -> None:
    assert HELD[name]().holds


def test_a_budget_bounds_the_memory_of_all_rows() -> None:
    rows = 1000 * bars.ROW_BYTES + MB
    assert bars.memory(FIGURES, after(peak=31 * MB + rows), 1000, 60_000, 10 * MB).holds
    assert not bars.memory(FIGURES, after(peak=31 * MB + rows + 1), 1000, 60_000, 10 * MB).holds


def test_noise_is_said_to_be_noise() -> None:
    assert "noise" in bars.latency([WINDOW, WINDOW, WINDOW | {"p99_ms": 1.3}]).note
    assert "noise" not in bars.latency([WINDOW, WINDOW | {"p99_ms": 1.3}, WINDOW]).note


def test_a_missed_bar_is_the_exit_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[bars.Bar] = []
    monkeypatch.setattr(command, "play", lambda name, pace: shown)
    assert command.main(["--quick"]) == 0
    shown.append(bars.at_most("thing", 2, 1))
    assert command.main(["--quick", "--only", "churn"]) == 1
    assert capsys.readouterr().out == "every bar holds\n1 bars missed\n"
    with pytest.raises(SystemExit):
        command.main(["--only", "flood"])
    assert "no scenario is called flood" in capsys.readouterr().err


def test_crowds_are_no_larger_than_the_limit_of_descriptors() -> None:
    said: list[str] = []
    assert affordable(1, said.append) == 1
    assert not said
    assert affordable(sys.maxsize, said.append) < sys.maxsize
    assert "ulimit -Hn" in said[0]


def test_percentiles() -> None:
    assert percentiles([n / 1000 for n in range(100)]) == {"p50_ms": 50.0, "p99_ms": 99.0}
    assert percentiles([]) == {"p50_ms": 0.0, "p99_ms": 0.0}


def test_a_process_that_fails_says_why() -> None:
    with pytest.raises(RuntimeError, match="KeyError: 'addresses'"), Child("active") as child:
        child.ask(seconds=1)
