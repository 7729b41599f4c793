"""Handlers on trial, from the command line.

    python -m reactor.testing fuzz module:Handler --input session.bin     find the split that a handler cannot live with
    python -m reactor.testing replay recording.jsonl module:handler       tell it what was recorded, and compare
    python -m reactor.testing replay ... --emit-test test_it.py           make a test of that, too

What it is: `check_every_split`, `fuzz` and `replay`, with nothing to write. What it is not: a test suite; a failure that it
shows belongs into one.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from pathlib import Path
from typing import Any

from ..clock import MonotonicClock
from ..recording import Recording, RecordingError
from .emitting import as_test
from .fuzzing import fuzz
from .replaying import chosen, replay
from .splits import SplitError, check_every_split


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return 0, or 1 if a schedule or a replay gives another answer."""
    given = _parser().parse_args(arguments)
    handler, framing = named(given.handler), named(given.framing) if given.framing else None
    framing = framing() if isinstance(framing, type) else framing
    return _replay(given, handler, framing) if given.command == "replay" else _fuzz(given, handler, framing)


def _replay(given: argparse.Namespace, handler: Any, framing: Any) -> int:
    redact = named(given.redact) if given.redact else None
    try:
        recording = Recording.load(given.recording)
        report = replay(recording, handler, framing=framing, listener=given.listener, rows=given.row, redact=redact)
        sys.stdout.write(f"{report}\n")
        if given.emit_test:
            rows = chosen(recording, given.listener, given.row)
            rows = rows if given.row else ([row for row in rows if row.failed] or rows)
            made = given.framing and given.framing + "()" * isinstance(named(given.framing), type)
            text = as_test(recording, rows, given.handler, made, given.redact)
            with open(given.emit_test, "x", encoding="utf-8") as file:
                file.write(text)
            sys.stdout.write(f"{given.emit_test}: a test of {len(rows)} of these\n")
    except (RecordingError, OSError) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0 if report.same else 1


def _fuzz(given: argparse.Namespace, handler: Any, framing: Any) -> int:
    data = Path(given.input).read_bytes()
    seeds = [given.seed] if given.seed is not None else range(given.seeds)
    clock = MonotonicClock()
    began_at = clock.now()
    try:
        schedules = 0
        if given.seed is None:
            report = check_every_split(handler, data, framing=framing, parts=given.parts)
            schedules = report.schedules
            sys.stdout.write(f"{schedules} splits of {len(data)} bytes: the answer is always the same\n")
        found = fuzz(handler, data, framing=framing, seeds=seeds)
    except SplitError as error:
        sys.stdout.write(f"{error}\n")
        return 1
    seconds = max(clock.now() - began_at, 1e-9)
    sys.stdout.write(
        f"{found.seeds} seeds, {found.resets} of them broken off: nothing found "
        f"({(found.seeds + schedules) / seconds:.0f} conversations a second)\n"
    )
    return 0


def named(text: str) -> Any:
    """Return what `module:name` names; the working directory is searched too.

    Raises:
        SystemExit: there is no such module or name.
    """
    module, colon, name = text.partition(":")
    if not colon:
        raise SystemExit(f"{text!r}: write module:name, as in mypackage.handlers:Upper")
    if "" not in sys.path:
        sys.path.insert(0, "")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except (ImportError, AttributeError) as error:
        raise SystemExit(f"{text!r} cannot be had: {error}") from error
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m reactor.testing", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")
    command = commands.add_parser("fuzz", help="tell a handler a session in every way that can be thought of")
    command.add_argument("handler", help="module:name of a coroutine function or a handler class")
    command.add_argument("--input", required=True, metavar="FILE", help="what a client says in a session")
    command.add_argument("--framing", metavar="MODULE:NAME", help="for an ordinary handler class: reactor:Lines")
    command.add_argument("--parts", type=int, choices=(2, 3), default=2, help="3: all cuts in three, too")
    command.add_argument("--seeds", type=int, default=1000, metavar="N", help="how many seeds (default: 1000)")
    command.add_argument("--seed", type=int, metavar="N", help="this one only: to see a failure again")
    command = commands.add_parser("replay", help="tell a handler what was recorded, and compare")
    command.add_argument("recording", help="a file of a reactor.Recorder")
    command.add_argument("handler", help="module:name of a coroutine function, a function for packets or a handler class")
    command.add_argument("--framing", metavar="MODULE:NAME", help="for an ordinary handler class; default: as recorded")
    command.add_argument("--redact", metavar="MODULE:NAME", help="what the recorder's redact= was")
    command.add_argument("--listener", default="", metavar="NAME", help="only rows of this listener")
    command.add_argument("--row", action="append", default=[], metavar="N", help="only this row; may be given again")
    command.add_argument("--emit-test", metavar="FILE", help="write a pytest file of the rows that failed, or of all")
    return parser


if __name__ == "__main__":
    sys.exit(main())
