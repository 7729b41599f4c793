"""Nothing in the README is untested: its programs run, its output is what the demo prints, its links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from reactor import Reactor

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "README.md").read_text()
BLOCKS = re.findall(r"```(\w*)\n(.*?)```", TEXT, re.DOTALL)
PROGRAMS = [text for language, text in BLOCKS if language == "python"]


def normal(text: str) -> set[str]:
    """The lines of an output without what differs from run to run: numbers, names of weekdays and months, widths."""
    text = re.sub(r"\w+day, \w+ [\d, :]+-\w+", "DATE", text)
    text = re.sub(r"/\S*/(?=echo\.sock)", "DIR/", text)
    text = re.sub(r"\S*python[\d.]*(?= \S*client)", "PYTHON", text).replace(os.fspath(ROOT) + "/", "")
    return {re.sub(r"\s+", " ", re.sub(r"\d+(\.\d+)?", "0", line)).strip() for line in text.splitlines()}


def test_the_hello_of_the_readme_is_the_example_that_is_tested() -> None:
    source = (ROOT / "examples" / "hello.py").read_text()
    assert PROGRAMS[0].strip() in source


@pytest.mark.filterwarnings("error")
def test_the_other_programs_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each is compiled and run as it stands; only `run` is made to stop at once."""
    run = Reactor.run
    served: list[str] = []

    def run_once(loop: Reactor, **keywords: bool) -> object:
        served.extend(row.listener for row in loop.table)
        loop.stop(drain_s=0)
        return run(loop, **keywords)

    monkeypatch.setattr(Reactor, "run", run_once)
    for program in PROGRAMS[1:]:
        exec(compile(program, "README.md", "exec"), {"__name__": "__main__"})
    assert [name.partition(" ")[0] for name in served] == ["TCPServer", "ThreadingTCPServer", "TCPServer", "HTTPServer"]


def test_the_output_of_the_demo_is_what_it_prints() -> None:
    shown = next(text for _, text in BLOCKS if text.startswith("Try in other terminals"))
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--once"]
    printed = subprocess.run(command, capture_output=True, text=True, timeout=20, check=True).stdout
    assert normal(shown) == normal(printed)


def test_nothing_was_left_to_fill_in() -> None:
    assert not re.search(r"^[A-Z]{4,}$", TEXT, re.MULTILINE)


def test_the_commands_are_targets_of_the_makefile() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)", TEXT, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


@pytest.mark.parametrize("page", sorted(ROOT.glob("*.md")) + sorted(ROOT.glob("docs/**/*.md")), ids=lambda p: p.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text()):
        if "NNNN" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
