"""Which tests need a thread, a child or a socket pair *in the library*, because that is what they are about.

What it is: the reader of `needs.txt`, where a line names a file and what is needed, and the indented ones below it the
tests that need it. What it is not: a list of tests that start threads; a client of their own is their own affair. A test
of a loop in a thread needs a socket pair: nothing else could wake it.
"""

from pathlib import Path


def read(text: str) -> dict[str, str]:
    """Return what each test needs, by its name without parameters.

    Raises:
        ValueError: a test is named twice.
    """
    found: dict[str, str] = {}
    file = needed = ""
    for line in text.splitlines():
        if not line.startswith(" "):
            file, _, needed = line.partition(": ")
            continue
        for test in line.split():
            name = f"{file}::{test}"
            if name in found:
                raise ValueError(f"needs.txt names {name} twice: {found[name]}; {needed}")
            found[name] = needed
    return found


NEEDS = read(Path(__file__).with_name("needs.txt").read_text())
