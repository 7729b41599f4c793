"""Run pytest in a copy of the project, and make sure that it was the copy which was tested.

    python -m tests.mutants.inside FILE PYTEST-ARGUMENT...      (the working directory is the copy)

An editable installation, a stray PYTHONPATH or a variable that points the tests at another module would have every
fault survive, or be caught, for no reason. So the copy is searched first, and afterwards each module of the package
must have come from it, the faulty file among them.
"""

import os
import sys
from pathlib import Path

import pytest

ELSEWHERE = 70  # an exit status that pytest does not use


def strangers(top: Path, file: str) -> list[str]:
    """Say what was imported from elsewhere, and whether the file with the fault was not imported at all."""
    origins = {
        name: Path(module.__file__).resolve()
        for name, module in sys.modules.items()
        if name.partition(".")[0] in ("reactor", "tests") and getattr(module, "__file__", None)
    }
    found = [f"{name} is {origin}, not in {top}" for name, origin in origins.items() if not origin.is_relative_to(top)]
    if file and top / file not in origins.values():
        found.append(f"{file} was not imported by the tests that are to catch its fault")
    return found


def main(file: str, arguments: list[str]) -> int:
    """Run pytest; return its status, or ELSEWHERE."""
    top = Path.cwd().resolve()
    sys.path.insert(0, str(top))
    os.environ.pop("SOCKETSERVER_UNDER_TEST", None)
    status = int(pytest.main(arguments))
    found = strangers(top, file)
    for each in found:
        sys.stderr.write(f"{each}\n")
    return ELSEWHERE if found else status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
