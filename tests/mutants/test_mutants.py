"""The faults fit the code as it is, the runner tells a good test from a bad one, and a few faults are really caught.

All faults take minutes (`make mutants`); here, four of them, and faults that are wrong in each way there is.
"""

import dataclasses
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mutants.catalogue import MUTANTS, POINTS, chosen, table
from tests.mutants.mutant import ROOT, Mutant, StaleError
from tests.mutants.runner import BaselineError, Verdict, clean_copy, copy_project, run_all, try_mutant

BY_NAME = {mutant.name: mutant for mutant in MUTANTS}
SAMPLE = [BY_NAME[name] for name in ("address-as-asked", "report-39-dashes", "write-counts-items", "progress-forgotten")]
BASE = SAMPLE[0]


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.name)
def test_fault_fits_the_code_as_it_is(mutant: Mutant) -> None:
    source = (ROOT / mutant.file).read_text()
    faulty = mutant.plant(source)
    assert faulty != source
    compile(faulty, mutant.file, "exec")
    for test in mutant.tests:
        path, *names = test.split("::")
        text = (ROOT / path).read_text()
        for name in names:
            assert f"class {name}" in text or f"def {name.partition('[')[0]}(" in text, f"{test}: no such test"


def test_no_two_faults_are_the_same() -> None:
    assert Counter(mutant.name for mutant in MUTANTS).most_common(1)[0][1] == 1
    assert Counter((mutant.file, mutant.old, mutant.new) for mutant in MUTANTS).most_common(1)[0][1] == 1


def test_each_point_has_a_fault_or_says_why_not() -> None:
    held = {mutant.point for mutant in MUTANTS}
    assert held <= {point.key for point in POINTS}
    assert {point.key for point in POINTS if not point.open} == held
    assert len({point.key for point in POINTS}) == len(POINTS)


def test_table_has_every_point_and_every_fault() -> None:
    lines = table(MUTANTS, POINTS, {BASE.name: "caught"}).splitlines()
    assert len(lines) == len(POINTS) + len(MUTANTS)
    at = lines.index(next(line for line in lines if line.startswith(f"{BASE.point}: ")))
    assert lines[at + 1].split()[:2] == ["caught", BASE.name]


def test_faults_are_chosen_by_part_of_a_name_a_file_or_a_point() -> None:
    assert chosen(MUTANTS, []) == MUTANTS
    assert chosen(MUTANTS, ["39-dashes"]) == [BY_NAME["report-39-dashes"]]
    assert {mutant.file for mutant in chosen(MUTANTS, ["reactor/mixins.py"])} == {"reactor/mixins.py"}
    assert {mutant.point for mutant in chosen(MUTANTS, ["hooks.report"])} == {"hooks.report"}
    assert chosen(MUTANTS, ["no such fault"]) == []


def test_old_text_must_be_there_once() -> None:
    for source in ("", 2 * BASE.old):
        with pytest.raises(StaleError, match=BASE.name):
            BASE.plant(source)


@pytest.fixture(scope="module")
def clean() -> Iterator[Path]:
    """Give the copy that faults are planted into a copy of."""
    with clean_copy(SAMPLE) as top:
        yield top


@pytest.mark.parametrize("mutant", SAMPLE, ids=lambda mutant: mutant.name)
def test_fault_is_caught(mutant: Mutant, clean: Path) -> None:
    before = (ROOT / mutant.file).read_text()
    verdict = try_mutant(mutant, clean)
    assert verdict.word == "caught", verdict.output
    assert "1 failed" in verdict.output
    assert (ROOT / mutant.file).read_text() == (clean / mutant.file).read_text() == before


@pytest.mark.parametrize(
    ("change", "word", "said"),
    [
        ({"new": BASE.old + "        # a remark\n"}, "survived", "passed"),
        ({"old": "not in the file"}, "stale", "found 0 times"),
        ({"new": "        pass )\n"}, "broken", "unmatched"),
        ({"old": BASE.old, "new": BASE.old + "\n    from nowhere import nothing\n"}, "broken", "nowhere"),
        ({"tests": (f"{BASE.tests[0]}_which_does_not_exist",)}, "broken", "not found"),
    ],
    ids=["harmless", "stale", "no Python", "no import", "no such test"],
)
def test_verdict(change: dict[str, Any], word: str, said: str, clean: Path) -> None:
    verdict = try_mutant(dataclasses.replace(BASE, **change), clean)
    assert verdict.word == word, verdict.output
    assert said in verdict.output


def test_hang_is_ended_with_its_children_and_counts_as_caught(clean: Path, tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    # Parent and child hold the other end; the parent does not hear pytest-timeout's alarm either.
    hanging = f"""
        import os, signal
        held = open({str(path)!r}, "wb", 0)
        signal.pthread_sigmask(signal.SIG_BLOCK, {{signal.SIGALRM}})
        held.write(b"parent" if os.fork() else b"child")
        os.read(os.pipe()[0], 1)
"""
    verdict = try_mutant(dataclasses.replace(BASE, new=BASE.old + hanging), clean, limit_s=2.5)
    os.set_blocking(reader, True)
    with open(reader, "rb") as file:
        assert file.read() in (b"parentchild", b"childparent")  # to its end, which comes when nobody holds the other
    assert verdict.word == "caught"


def test_file_that_the_tests_do_not_import_proves_nothing(clean: Path) -> None:
    folder = clean / "reactor" / "unused.py"
    folder.write_text("A = 1\n")
    unused = dataclasses.replace(BASE, file="reactor/unused.py", old="A = 1", new="A = 2")
    verdict = try_mutant(unused, clean)
    folder.unlink()
    assert verdict.word == "broken"
    assert "unused.py was not imported" in verdict.output


def test_package_from_elsewhere_proves_nothing(clean: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an installed package wins over the copy."""
    stranger = dataclasses.replace(
        BASE,
        file="tests/__init__.py",
        old=(clean / "tests/__init__.py").read_text(),
        new=f"import sys\nsys.path.insert(0, {str(ROOT)!r})\nimport reactor\n",
    )
    verdict = try_mutant(stranger, clean)
    assert verdict.word == "broken"
    assert "the copy was not what was tested" in verdict.output
    assert f"reactor is {ROOT / 'reactor/__init__.py'}, not in" in verdict.output


def test_tests_that_fail_without_a_fault_prove_nothing(tmp_path: Path) -> None:
    failing = dataclasses.replace(BASE, tests=("tests/test_no_such_file.py",))
    with pytest.raises(BaselineError, match="without any fault"):
        run_all([failing], 1)


def test_copy_has_the_handlers_where_they_are_installed(tmp_path: Path) -> None:
    copy_project(tmp_path / "copy")
    assert (tmp_path / "copy/reactor/handlers/__init__.py").exists()
    assert not list(tmp_path.rglob("__pycache__"))


def test_command_line_lists_what_it_is_asked_for() -> None:
    command = [sys.executable, "-m", "tests.mutants"]
    listed = subprocess.run([*command, "--list", "39-dashes"], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert listed.stdout.split()[:2] == ["report-39-dashes", "reactor/base_server.py"]
    unknown = subprocess.run([*command, "no-such-fault"], cwd=ROOT, capture_output=True, text=True, timeout=20)
    assert unknown.returncode == 2
    assert "no fault is called no-such-fault" in unknown.stderr


def test_a_survivor_fails_the_run(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.mutants import __main__ as command

    def verdicts(mutants: list[Mutant], jobs: int, report: object) -> list[Verdict]:
        return [Verdict(mutant, word, 0.1, "") for mutant, word in zip(mutants, words, strict=True)]

    monkeypatch.setattr(command, "run_all", verdicts)
    words = ["caught"] * 4
    assert command.run(SAMPLE, 1, False) == 0
    assert capsys.readouterr().out == "4 faults: 4 caught\n"
    for bad in ("survived", "stale", "broken"):
        words[1] = bad
        assert command.run(SAMPLE, 1, False) == 1
        assert f"4 faults: 3 caught; not: {SAMPLE[1].name} ({bad})" in capsys.readouterr().out
