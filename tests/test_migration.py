"""The pages for those who come from elsewhere: every program on them runs, and says what the page says it says."""

import importlib
import importlib.util
import re
import socket
import warnings
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import reactor
from tests.docs.pages import Page, Talk, page, patched
from tests.docs.programs import Program

PAGES = {name: page(f"{name}.md") for name in ("from-socketserver", "from-asyncore")}
# What a program of a page needs besides the standard library: the module, its package.
NEEDS = [("greenlet", "greenlet"), ("asyncore", "pyasyncore"), ("asynchat", "pyasynchat")]

OLD_CLASSES = ("dispatcher", "dispatcher_with_send", "async_chat")
OLD = {"asyncore", "asynchat", *OLD_CLASSES}
DATA = {"table"}  # what an object has and its class does not name

TALKS = [(name, talk, speaker) for name, each in PAGES.items() for talk in each.talks for speaker in talk.speakers]
ERRORS = [(name, speaker) for name, each in PAGES.items() for speaker in each.errors_of]


def skip_what_cannot_run(page: Page, speaker: str) -> None:
    """A program may need a package, which no test may need."""
    source = speaker + page.programs[speaker.split()[-1]]
    for module, package in NEEDS:
        if module in source and importlib.util.find_spec(module) is None:
            pytest.skip(f"needs the package {package}")


@pytest.fixture
def stack(tmp_path: Path) -> Iterator[ExitStack]:
    """Give what ends the programs of a test; there are files for those which serve them."""
    (tmp_path / "public").mkdir()
    (tmp_path / "public" / "hello.txt").write_bytes(b"hello\n")
    with ExitStack() as stack:
        yield stack


@pytest.mark.parametrize(
    ("name", "talk", "speaker"), TALKS, ids=[f"{name}-{talk.language}-{speaker}" for name, talk, speaker in TALKS]
)
def test_a_program_says_what_the_page_says(
    name: str, talk: Talk, speaker: str, stack: ExitStack, tmp_path: Path
) -> None:
    skip_what_cannot_run(PAGES[name], speaker)
    Program(PAGES[name], speaker, tmp_path, stack).has(talk)


@pytest.mark.parametrize(("name", "speaker"), ERRORS)
def test_a_program_warns_as_the_page_says(name: str, speaker: str, stack: ExitStack, tmp_path: Path) -> None:
    skip_what_cannot_run(PAGES[name], speaker)
    program = Program(PAGES[name], speaker, tmp_path, stack)
    talk = next(talk for talk in PAGES[name].talks if speaker in talk.speakers)
    program.has(talk)
    assert program.errors().replace(f"{tmp_path}/", "") == PAGES[name].errors_of[speaker]


@pytest.mark.parametrize("name", PAGES)
def test_nothing_on_a_page_is_untested(name: str) -> None:
    each = PAGES[name]
    talked_to = {speaker for talk in each.talks for speaker in talk.speakers}
    assert talked_to == {*each.programs, *each.commands}
    for fragment in each.fragments:
        compile(fragment, name, "exec")


@pytest.mark.parametrize("name", PAGES)
def test_before_and_after_are_compared(name: str) -> None:
    """The same words to two programs at least, or a page would show no change that keeps the answers."""
    assert [talk for talk in PAGES[name].talks if len(talk.speakers) > 1]


def test_what_the_table_of_names_names_is_there() -> None:
    """`stream.write` is a method of `Stream`, and so on; of the old modules only where they are."""
    owners = {"stream": reactor.Stream, "loop": reactor.Reactor, "End": reactor.End}
    for module in ("asyncore", "asynchat"):
        if importlib.util.find_spec(module) is not None:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", DeprecationWarning)
                there = importlib.import_module(module)
            owners |= {module: there} | {name: vars(there)[name] for name in OLD_CLASSES if name in vars(there)}
    seen = 0
    for row in re.findall(r"^\|(.*)\|$", PAGES["from-asyncore"].text, re.MULTILINE):
        for owner, name in re.findall(r"`(\w+)\.(\w+)`", row):
            if owner in owners or owner not in OLD:
                assert name in dir(owners[owner]) or name in DATA, f"{owner}.{name}"
                seen += 1
        for name in re.findall(r"`([A-Z]\w+)`", row):
            assert name in reactor.__all__ or hasattr(socket, name), name
    assert seen >= 9


@pytest.mark.parametrize(
    ("hunk", "why"),
    [(["-b", "+c"], "0 times"), (["-a", "+c"], "2 times"), ([" x", "?y"], "no changes"), (["-x ", "+c"], "0 times")],
)
def test_a_change_that_does_not_fit_is_an_error(hunk: list[str], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        patched("a\nx\na\n", hunk)


def test_a_change_that_fits() -> None:
    assert patched("a\nx\n\na\n", [" x", "", "-a", "+b", "+c"]) == "a\nx\n\nb\nc\n"
