"""A thousand worlds of `make seeds`, and what the runner itself promises."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reactor import Phase
from reactor.streams import StreamRow
from reactor.testing.faults import NO_FAULTS

from . import wire
from .__main__ import census
from .drawn import Spec, Step, drawn
from .judge import trial
from .served import COROUTINES, FRAMED, PACKETS
from .shrink import shrunk
from .wire import Ask

ROOT = Path(__file__).parents[2]
SEEDS, CHUNKS = 1000, 10
SHOW = "import sys; from tests.seeds.test_seeds import shown; sys.stdout.write(shown(range(40)))"


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_worlds(chunk: int) -> None:
    wrong = {seed: trial(drawn(seed))[0] for seed in range(chunk, SEEDS, CHUNKS)}
    assert not {seed: each for seed, each in wrong.items() if each}


def shown(seeds: range) -> str:
    """Everything that can be seen of some runs."""
    texts = []
    for seed in seeds:
        wrong, play = trial(drawn(seed))
        texts.append(f"{play.spec}\n{play.world.trace}\n{wrong}\n{play.released}\n{play.world.reactor.table.ended}\n")
    return "".join(texts)


def test_a_seed_is_one_run_in_any_process() -> None:
    def printed(hash_seed: str) -> str:
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": str(ROOT)}
        return subprocess.run(
            [sys.executable, "-c", SHOW], cwd=ROOT, env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, check=True, timeout=60,
        ).stdout  # fmt: skip

    first = printed("1")
    assert "reactor" in first
    assert first == printed("2") == shown(range(40))


def test_worlds_are_of_every_kind() -> None:
    made_of = census(range(3000))
    for way in (*COROUTINES, *FRAMED, *PACKETS):
        assert f"way {way}" in made_of
    for word in (*wire.LAST, "sleep", "timeout", "task", "beside", "large", "pieces", "close_other", "abort_other", "open"):
        assert f"ask {word}" in made_of
    for step in ("say", "reset", "deaf", "turns", "waits", "suspend", "row_pause", "shut_listener", "stop", "run"):
        assert f"step {step}" in made_of


def world(*steps: Step, way: str = "by_lines", **changes: Any) -> Spec:
    """One listener, no faults."""
    quiet = Spec(
        seed=1, listeners=(("tcp://127.0.0.1:80", way),), limits=drawn(0).limits, faults=NO_FAULTS, buffer_bytes=32768,
        world={"descriptors": 1024, "max_connections": 1000}, watched=True, steps=steps, ending="close",
    )  # fmt: skip
    return replace(quiet, **changes)


TALK = (Step("connect", 0, (0, (Ask("echo", 0, 5), Ask("large", 4000, 0)))), Step("say", 0, 100000), Step("quiet"))


@pytest.mark.parametrize("way", [*COROUTINES, *FRAMED])
def test_nothing_is_wrong_with_a_plain_talk(way: str) -> None:
    wrong, play = trial(world(*TALK, way=way))
    assert not wrong
    assert bytes(play.peers[0]._heard) == play.peers[0].expected(play.peers[0].sent)[0]


def test_bytes_of_somebody_else_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    send = StreamRow.write
    monkeypatch.setattr(StreamRow, "write", lambda row, data: send(row, data.replace(b"c0.1", b"c1.1")))
    assert any("is not the next part" in text for text in trial(world(*TALK))[0])


def test_a_lost_reply_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    send = StreamRow.write
    monkeypatch.setattr(StreamRow, "write", lambda row, data: send(row, b"" if b"c0.1" in data else data))
    assert any("that it had asked for" in text for text in trial(world(*TALK))[0])


def test_a_row_that_stays_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    conclude = StreamRow._conclude
    monkeypatch.setattr(
        StreamRow, "_conclude", lambda row: None if row.phase is Phase.IDLE and row.end is not None else conclude(row)
    )
    assert trial(world(*TALK))[0]


def test_a_failure_is_shrunk_to_what_it_needs() -> None:
    def fails(spec: Spec) -> bool:
        return sum(step.op == "deaf" for step in spec.steps) > 1

    seed = next(seed for seed in range(1000) if fails(drawn(seed)))
    small = shrunk(drawn(seed), fails)
    assert [step.op for step in small.steps] == ["deaf", "deaf"]
    assert small.faults == NO_FAULTS
