"""What a fault is, and where it is kept: no code runs here but the replacement of a text."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


class StaleError(Exception):
    """The old text of a fault is not in its file exactly once."""


@dataclass(frozen=True)
class Point:
    """Something that users of this library rely on.

    Attributes:
        key: its name here, `area.word`.
        text: what it is.
        open: why no fault shows yet that a test would notice; empty when one does.
    """

    key: str
    text: str
    open: str = ""


@dataclass(frozen=True)
class Mutant:
    """A fault of one line, or of a few.

    Attributes:
        name: unique; part of it is enough to choose it.
        file: the file it is planted into, below the top-level folder.
        point: the key of the point that it breaks.
        old: the text that it replaces; in the file exactly once.
        new: the fault.
        tests: the ids of the tests that are to catch it, as pytest takes them.
    """

    name: str
    file: str
    point: str
    old: str
    new: str
    tests: tuple[str, ...]

    def plant(self, source: str) -> str:
        """Return the source with the fault in it.

        Raises:
            StaleError: the old text is not there exactly once.
        """
        found = source.count(self.old)
        if found != 1:
            raise StaleError(
                f"{self.name}: found {found} times in {self.file}, must be there once; write the fault anew for the "
                f"code as it is, or drop it if the code can no longer have it:\n{self.old}"
            )
        return source.replace(self.old, self.new)


def fault(name: str, point: str, old: str, new: str, *tests: str) -> tuple[str, str, str, str, tuple[str, ...]]:
    """Return one fault of a file, see `planted`; tests are in tests/socketserver unless they say otherwise."""
    folder = "tests/socketserver/"
    return name, point, old, new, tuple(each if each.startswith("tests/") else folder + each for each in tests)


def planted(file: str, faults: Iterable[tuple[str, str, str, str, tuple[str, ...]]]) -> list[Mutant]:
    """Return the mutants of one file."""
    return [Mutant(name, file, point, old, new, tests) for name, point, old, new, tests in faults]
