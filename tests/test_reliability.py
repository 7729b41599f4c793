"""docs/RELIABILITY.md and the tests belong together: what it names exists, what it lacks is listed, nothing is left out.

Tests are looked up by reading the files, not by running them: a row must not lose its proof because a test was renamed.
"""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "RELIABILITY.md"
TEXT = PAGE.read_text()
OPEN_HEADING = "## What is open"
TEST = re.compile(r"`(tests/[\w/]+\.py)::((?:\w+::)?\w+)`")
OPEN = re.compile(r"\*open:\* `([a-z-]+)`")
ENTRY = re.compile(r"^- `([a-z-]+)`: ", re.MULTILINE)


class Row(NamedTuple):
    """A fault of the page."""

    section: str
    fault: str
    answer: str
    proof: str

    @property
    def tests(self) -> list[tuple[str, str]]:
        return TEST.findall(self.proof)

    @property
    def open(self) -> list[str]:
        return OPEN.findall(self.answer)


def rows_of(text: str) -> Iterator[Row]:
    """Yield the rows of the tables, without their headings."""
    section = ""
    for line in text.partition(OPEN_HEADING)[0].splitlines():
        if line.startswith("## "):
            section = line[3:]
        elif line.startswith("| ") and not line.startswith("| fault,"):
            cells = [cell.strip() for cell in line.strip("|").split(" | ")]
            assert len(cells) == 3, f"three cells: {line}"
            yield Row(section, *cells)


@functools.cache
def names_in(path: Path) -> dict[str, list[str]]:
    """Return the tests of a file, those of classes as Class::test, each with its decorators."""
    found: dict[str, list[str]] = {}

    def collect(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.ClassDef) and node.name.startswith("Test"):
                collect(node.body, f"{node.name}::")
            elif isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                found[prefix + node.name] = [ast.unparse(decorator) for decorator in node.decorator_list]

    collect(ast.parse(path.read_text()).body, "")
    return found


def problems_of(text: str) -> list[str]:
    """Return what is wrong with a page."""
    problems, named = [], set()
    for row in rows_of(text):
        if not row.tests and not row.open:
            problems.append(f"neither tested nor open: {row.fault}")
        if row.proof != "–" and TEST.sub("", row.proof).strip(", "):
            problems.append(f"not the name of a test: {TEST.sub('', row.proof)}")
        named.update(row.open)
        for file, name in row.tests:
            tests = names_in(ROOT / file) if (ROOT / file).is_file() else {}
            if name not in tests:
                problems.append(f"no such test: {file}::{name}")
            elif any(mark.startswith(("pytest.mark.skip(", "pytest.mark.xfail")) for mark in tests[name]):
                problems.append(f"a test that proves nothing: {file}::{name}")
    listed = ENTRY.findall(text.partition(OPEN_HEADING)[2])
    problems += [f"open, but not explained: {word}" for word in sorted(named - set(listed))]
    problems += [f"explained, but of no row: {word}" for word in sorted(set(listed) - named)]
    return problems


def test_every_fault_has_a_test_that_exists_or_is_listed_as_open() -> None:
    assert problems_of(TEXT) == []


def test_no_section_of_the_page_is_empty() -> None:
    sections = re.findall(r"^## (.+)$", TEXT.partition(OPEN_HEADING)[0], re.MULTILINE)
    assert sections == list(dict.fromkeys(row.section for row in rows_of(TEXT)))
    assert len(list(rows_of(TEXT))) >= 50


def test_every_test_of_a_fault_is_on_the_page() -> None:
    """tests/faults/ exists for this page alone."""
    files = sorted((ROOT / "tests" / "faults").glob("test_*.py"))
    there = {(file.relative_to(ROOT).as_posix(), name) for file in files for name in names_in(file)}
    assert there
    assert there <= {test for row in rows_of(TEXT) for test in row.tests}


PAGE_OF_ONE = "## A\n| fault, x | y | z |\n|---|---|---|\n| a fault | {} | {} |\n" + OPEN_HEADING + "\n{}\n"
GOOD = "`tests/test_reliability.py::test_no_section_of_the_page_is_empty`"


@pytest.mark.parametrize(
    ("answer", "proof", "listed", "problem"),
    [
        ("an answer", GOOD, "", None),
        ("an answer. *open:* `this-part`", "–", "- `this-part`: text", None),
        ("an answer", "–", "", "neither tested nor open"),
        ("an answer", "`tests/test_reliability.py::test_that_is_not_there`", "", "no such test"),
        ("an answer", "`tests/no_such_file.py::test_x`", "", "no such test"),
        ("an answer", "`tests/test_reliability.py::problems_of`", "", "no such test"),
        ("an answer", f"{GOOD} and words", "", "not the name of a test"),
        ("an answer. *open:* `this-part`", GOOD, "", "open, but not explained"),
        ("an answer", GOOD, "- `this-part`: text", "explained, but of no row"),
    ],
)
def test_a_page_that_is_wrong_is_noticed(answer: str, proof: str, listed: str, problem: str | None) -> None:
    problems = problems_of(PAGE_OF_ONE.format(answer, proof, listed))
    if problem is None:
        assert problems == []
    else:
        (found,) = problems
        assert found.startswith(problem)


def test_a_test_that_is_never_run_proves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tests").mkdir()
    for mark in ("pytest.mark.skip('later')", "pytest.mark.xfail"):
        (tmp_path / "tests" / "test_it.py").write_text(f"@{mark}\ndef test_it(): ...\n")
        names_in.cache_clear()
        monkeypatch.setattr("tests.test_reliability.ROOT", tmp_path)
        (found,) = problems_of(PAGE_OF_ONE.format("an answer", "`tests/test_it.py::test_it`", ""))
        assert found.startswith("a test that proves nothing")
