"""A recording as a pytest file: a failure in production becomes a test that fails, until the handler is right.

What it is: text, for `python -m reactor.testing replay --emit-test`. What it is not: a copy of the whole recording; the rows
that were chosen are in the file itself, so it needs nothing but reactor and the handler.
"""

from __future__ import annotations

from collections.abc import Sequence

from ..recording import RecordedRow, Recording

_TEXT = '''\
"""Connections that were recorded, told to their handler again; made by `python -m reactor.testing replay --emit-test`.

What failed when it was recorded must not fail any more, and must answer at least what it had answered until then. All else
must be answered as it was.
"""

{imports}

# {began}
RECORDING = r"""
{lines}"""


def test_{name}() -> None:
    replay(RECORDING, {arguments}).check()
'''


def as_test(
    recording: Recording, rows: Sequence[RecordedRow], handler: str, framing: str | None = None, redact: str | None = None
) -> str:
    """Return a test as text.

    Args:
        recording: what the rows are from.
        rows: what is to be replayed.
        handler: module:name.
        framing: module:name of a framing, or of its class; None: as recorded.
        redact: module:name of what the recorder's `redact` was.
    """
    given = {"framing": framing, "redact": redact}
    arguments = [_dotted(handler), *(f"{name}={_dotted(text)}" for name, text in given.items() if text)]
    modules = sorted({text.partition(":")[0] for text in (handler, framing, redact) if text})
    imports = [*(f"import {module}" for module in modules), "from reactor.testing import replay"]
    lines = "".join(Recording(recording.header, tuple(rows)).lines())
    began = f"recorded from {recording.header.get('began', '')!a} on: " + ", ".join(
        f"row {row.id} of {row.origin.listener!a}" for row in rows[:10]
    )
    name = "replay_of_row_" + "_".join(str(row.id).replace(".", "_") for row in rows[:5])
    return _TEXT.format(
        imports="\n".join(imports), began=began, lines=lines, name=name, arguments=", ".join(arguments)
    )


def _dotted(text: str) -> str:
    return text.replace(":", ".")
