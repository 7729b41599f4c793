"""The judge of coverage: the engine must be complete, and nothing else is judged."""

import contextlib
from collections.abc import Callable, Iterator

import coverage
import pytest

from tests.covered import ENGINE, main

Measure = Callable[[dict[str, list[tuple[int, int]]]], coverage.Coverage]


@pytest.fixture
def measured() -> Iterator[Measure]:
    """Give a function that returns a measurement in which these branches were taken: from one line to another, each."""
    with contextlib.ExitStack() as stack:

        def measure(taken: dict[str, list[tuple[int, int]]]) -> coverage.Coverage:
            one = coverage.Coverage(data_file=None, config_file=False, branch=True)
            stack.callback(one.get_data().close, force=True)
            one.get_data().add_arcs(taken)
            return one

        yield measure


def test_the_engine_is_named_by_its_floors() -> None:
    names = [file.rpartition("/")[2] for file in ENGINE]
    assert {"errors.py", "buffers.py", "table.py", "demultiplexer.py", "streams.py", "loop.py"} < set(names)
    assert not {"coroutines.py", "hosting.py", "socketserver.py", "reactor.py"} & set(names)


def test_a_branch_that_was_never_taken_is_named_and_fails(measured: Measure, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = [file for file in ENGINE if file.endswith("/timers.py")]
    assert main([], measured({file: [(-1, 1), (1, -1)], __file__: [(-1, 1)]})) == 1
    printed = capsys.readouterr()
    engine, rest = printed.out.split("Everything else:")
    assert "timers.py" in engine
    assert "test_covered.py" in rest
    assert "it must be 100 %" in printed.err


def test_a_run_of_some_tests_is_not_judged(measured: Measure) -> None:
    (file,) = [file for file in ENGINE if file.endswith("/timers.py")]
    assert main(["--some"], measured({file: [(-1, 1)], __file__: [(-1, 1)]})) == 0


def test_a_complete_engine_passes(measured: Measure, monkeypatch: pytest.MonkeyPatch, tmp_path: object) -> None:
    file = f"{tmp_path}/whole.py"
    with open(file, "w") as whole:
        whole.write("a = 1\n")
    monkeypatch.setattr("tests.covered.ENGINE", [file])
    assert main([], measured({file: [(-1, 1), (1, -1)], __file__: [(-1, 1)]})) == 0
