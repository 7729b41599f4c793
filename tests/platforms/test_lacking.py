"""A platform that lacks something lacks it for the library, in children too, and a test that claims a need has it."""

import os
import subprocess
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.platforms import lacking
from tests.platforms.needs import NEEDS, read
from tests.platforms.plugin import BarePlatform

ROOT = Path(__file__).parents[2]
PATIENCE_S = 25
# These drive the engine turn by turn, and end with a test that really needs a socket pair.
QUICK = ["tests/test_engine_points.py", "tests/test_waker.py"]

needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the best selector is another one")


def run(without: str, *command: str) -> str:
    """Run Python on a platform without something, and return what it prints."""
    environment = os.environ | {
        lacking.WITHOUT: without, lacking.ALLOWED: "", lacking.NOTES: "",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "tests" / "platforms" / "child"), str(ROOT)]),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, *command], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=PATIENCE_S,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@needs_linux
@pytest.mark.parametrize(
    ("without", "names"),
    [("epoll", "PollSelector PollSelector"), ("epoll,poll", "SelectSelector SelectSelector")],
)
def test_the_library_takes_the_best_selector_that_is_left(without: str, names: str) -> None:
    program = (
        "from reactor import Reactor, demultiplexer\n"
        "with Reactor() as loop: print(type(loop.demultiplexer._selector).__name__, demultiplexer._one_shot.__name__)"
    )
    assert run(without, "-c", program).strip() == names


ASKS = """
import socket, sys
from reactor import Reactor
with Reactor() as loop:
    loop.step(0.001)
    print(loop._waker is None)
for end in socket.socketpair():
    end.close()
"""


@pytest.mark.parametrize(("without", "bare"), [("socketpair", "True"), ("fork", "False")])
def test_what_is_taken_away_is_refused_to_the_library_alone(without: str, bare: str) -> None:
    assert run(without, "-c", ASKS).strip() == bare


def test_the_engine_needs_neither_fork_nor_threads_nor_socket_pairs() -> None:
    """`make bare` runs all tests so; these are a few, and the plugin would say if a need of theirs were idle."""
    printed = run("fork,thread,socketpair", "-m", "pytest", "-q", "-p", "no:cacheprovider", *QUICK)
    assert "of them need none" in printed
    assert not [name for name in NEEDS if name.startswith("tests/test_engine_points.py")]


@pytest.mark.parametrize("word", ["poll2", "select"])
def test_an_unknown_word_is_refused(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    monkeypatch.setenv(lacking.WITHOUT, word)
    with pytest.raises(ValueError, match=f"names {word}; it can be"):
        lacking.lack()


def report(name: str, outcome: str) -> Any:
    return SimpleNamespace(nodeid=name, outcome=outcome)


@pytest.mark.parametrize(
    ("used", "outcomes", "idle"),
    [
        ({"thread"}, ["passed"], []),
        (set(), ["passed"], ["thread"]),
        ({"fork"}, ["passed", "passed"], ["thread"]),
        (set(), ["passed", "skipped"], []),
        (set(), ["skipped"], []),
        (set(), [], []),
    ],
)
def test_a_need_that_is_none_is_noticed(
    monkeypatch: pytest.MonkeyPatch, used: set[str], outcomes: list[str], idle: list[str]
) -> None:
    monkeypatch.setenv(lacking.WITHOUT, "fork,thread")
    monkeypatch.setenv(lacking.NOTES, "")
    platform = BarePlatform({"tests/test_x.py::test_y": "thread"})
    platform.used["tests/test_x.py::test_y"] = used
    for number, outcome in enumerate(outcomes):
        platform.pytest_runtest_logreport(report(f"tests/test_x.py::test_y[{number}]", outcome))
    assert [line.split(" needs a ")[1].split(",")[0] for line in platform.idle_needs()] == idle


def test_the_list_is_read_and_names_nobody_twice() -> None:
    text = "tests/a.py: thread\n    test_x\n    A::test_y test_z\ntests/b.py: fork\n    test_x\n"
    assert read(text) == {
        "tests/a.py::test_x": "thread", "tests/a.py::A::test_y": "thread", "tests/a.py::test_z": "thread",
        "tests/b.py::test_x": "fork",
    }  # fmt: skip
    with pytest.raises(ValueError, match="twice"):
        read(text + "tests/a.py: fork\n    test_x\n")


def test_a_loop_in_a_second_thread_is_told_rather_than_left_to_hang() -> None:
    found: list[Exception | None] = [lacking._hopeless("socketpair")]
    thread = threading.Thread(target=lambda: found.append(lacking._hopeless("socketpair")))
    thread.start()
    thread.join(PATIENCE_S)
    assert found[0] is None
    assert isinstance(found[1], RuntimeError)
