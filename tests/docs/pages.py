"""A page of docs/ that can be run: its programs, its changes to them, and what people and programs say to each other.

What is understood, by the language behind the fence:

    python   a program; its first line is its name, "# upper.py". Without a name it is a fragment, and must compile.
    diff     a program made from another one: "--- upper.py", "+++ upper_framed.py", then hunks, between "..." lines.
    text     a conversation with the programs that its first line names, "# upper.py, upper_framed.py"; or, behind
             "# stderr of upper.py", the last thing that this program writes there. See `Conversation`.
    pycon    the same for a Python prompt, as doctest has it.
    console  a command, "$ python -m ... upper.py"; conversations name it as it is written here, without the "$ ".

Other blocks are errors: a page holds nothing untested but prose. The ports that a program names become free ones: it is
run with 0 for each, and prints "port N" for each in the same order.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

PAGES = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
PORT = re.compile(r"\b[89]\d{3}\b")


@dataclass
class Talk:
    """What is said to some programs: `speakers` are their names or command lines."""

    language: str
    speakers: list[str]
    lines: list[str]


@dataclass
class Page:
    """What the blocks of a page are."""

    path: Path
    text: str
    programs: dict[str, str] = field(default_factory=dict)
    commands: list[str] = field(default_factory=list)
    fragments: list[str] = field(default_factory=list)
    talks: list[Talk] = field(default_factory=list)
    errors_of: dict[str, str] = field(default_factory=dict)


def page(name: str) -> Page:
    """Read a page."""
    path = PAGES / name
    found = Page(path, path.read_text())
    for language, text in BLOCK.findall(found.text):
        first, _, rest = text.partition("\n")
        if language == "python" and re.fullmatch(r"# \w+\.py", first):
            found.programs[first[2:]] = rest
        elif language == "python":
            found.fragments.append(text)
        elif language == "diff":
            _make_program(found, text.splitlines())
        elif language == "text" and first.startswith("# stderr of "):
            found.errors_of[first.removeprefix("# stderr of ")] = rest
        elif language in ("text", "pycon") and first.startswith("# "):
            found.talks.append(Talk(language, first[2:].split(", "), rest.splitlines()))
        elif language == "console" and first.startswith("$ "):
            found.commands.append(first[2:])
        else:
            raise ValueError(f"{name}: a block of the language {language!r} that begins with {first!r}")
    return found


def _make_program(page: Page, lines: list[str]) -> None:
    old, new = lines[0].removeprefix("--- "), lines[1].removeprefix("+++ ")
    program = page.programs[old]
    for hunk in "\n".join(lines[2:]).split("\n...\n"):
        program = patched(program, hunk.splitlines())
    page.programs[new] = program


def patched(program: str, hunk: list[str]) -> str:
    """Apply a hunk.

    Raises:
        ValueError: what it takes away is not there, or more than once.
    """
    strange = [line for line in hunk if line and line[0] not in " +-"]
    before = "".join(f"{line[1:]}\n" for line in hunk if line[:1] != "+")
    after = "".join(f"{line[1:]}\n" for line in hunk if line[:1] != "-")
    places = f"\n{program}".count(f"\n{before}")
    if strange or places != 1:
        raise ValueError(f"a hunk is found {places} times, and these lines are no changes: {strange}\n{before}")
    return f"\n{program}".replace(f"\n{before}", f"\n{after}").removeprefix("\n")


def ports_of(program: str) -> list[str]:
    """Return the ports that a program names, in its order."""
    return list(dict.fromkeys(PORT.findall(program)))
