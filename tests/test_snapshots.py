"""What a row looks like from outside: as JSON, as a line of a table, and in a sentence."""

import dataclasses
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import End, Phase, RowSnapshot
from reactor.snapshots import as_text, explain
from tests.properties import tries

STREAM = RowSnapshot(
    id=7, fd=9, kind="stream", server="greet", peer="127.0.0.1:50000", phase=Phase.IDLE, way="coroutine",
    need="until b'\\n'", need_limit=80, inbox_bytes=0, outbox_bytes=0, age_s=12.04, quiet_s=3.0, deadline_s=72.0,
    bytes_in=120, bytes_out=34, requests=3, paused=(), waiting_at=None, end=None, detail="",
)  # fmt: skip


def row(**changes: Any) -> RowSnapshot:
    return dataclasses.replace(STREAM, **changes)


def test_it_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        STREAM.id = 8  # type: ignore[misc]


def test_as_json() -> None:
    ended = row(phase=Phase.CLOSED, end=End.LIMIT, paused=("outbox", "user"), deadline_s=None)
    values = json.loads(json.dumps(ended.as_dict()))
    assert values == ended.as_dict()
    assert set(values) == {field.name for field in dataclasses.fields(RowSnapshot)}
    assert (values["phase"], values["end"], values["paused"]) == ("CLOSED", "LIMIT", ["outbox", "user"])
    assert (values["id"], values["age_s"], values["deadline_s"], values["waiting_at"]) == (7, 12.04, None, None)


# -- the table --------------------------------------------------------------------------------------------------------


def test_a_table_is_aligned() -> None:
    rows = [
        row(id=1, kind="listener", peer="", phase=Phase.LISTENING, need="", way="-", deadline_s=None),
        row(id=1234, peer="[2001:db8::1]:50000", bytes_in=10**7),
        row(inbox_bytes=2, need="exactly 512", paused=("outbox", "user"), end=End.ABORTED),
    ]
    assert as_text(rows).splitlines() == TABLE.splitlines()


TABLE = """\
  id  fd  kind      server  peer                 phase      way        need                    in  out  reqs    age\
  ends in  note
   1   9  listener  greet                        LISTENING  -                                 120   34     3  12.0s\
        -
1234   9  stream    greet   [2001:db8::1]:50000  IDLE       coroutine  until b'\\n'       10000000   34     3  12.0s\
    72.0s
   7   9  stream    greet   127.0.0.1:50000      IDLE       coroutine  2 B, exactly 512       120   34     3  12.0s\
    72.0s  outbox, user, ABORTED
"""


def test_an_empty_table_is_its_heading() -> None:
    assert as_text([]) == "id  fd  kind  server  peer  phase  way  need  in  out  reqs  age  ends in  note"


def test_no_name_adds_a_line() -> None:
    evil = row(peer="a\nb\r\x1b[2J\u2028", server="x\ty", need="until\n", paused=("p\n",), detail="d\n\x85")
    assert len(as_text([evil]).splitlines()) == 2
    assert as_text([evil]).replace("\n", "", 1).isprintable()
    assert explain(dataclasses.replace(evil, phase=Phase.CLOSED, end=End.HANDLER_FAILED)).isprintable()


# -- the sentence -----------------------------------------------------------------------------------------------------

ENDING = {"end": End.HANDLER_FAILED, "detail": "ValueError: x"}
SENTENCES = [
    ({}, "IDLE for 3.0 s: between requests, needs until b'\\n'; the idle deadline ends it in 72.0 s"),
    ({"need": "", "deadline_s": None}, "IDLE for 3.0 s: between requests, needs any byte"),
    (
        {"outbox_bytes": 500, "deadline_s": 30.0},
        "IDLE for 3.0 s: the peer has yet to read 500 bytes of replies; the write stall deadline ends it in 30.0 s",
    ),
    (
        {"phase": Phase.RECEIVING, "inbox_bytes": 2},
        "RECEIVING for 3.0 s: has 2 bytes, needs b'\\n' (limit 80); the request deadline ends it in 72.0 s",
    ),
    (
        {"phase": Phase.RECEIVING, "inbox_bytes": 2, "need": "exactly 512", "need_limit": None, "outbox_bytes": 1},
        "RECEIVING for 3.0 s: has 2 bytes, needs exactly 512; "
        "the request or write stall deadline ends it in 72.0 s",
    ),
    (
        {"phase": Phase.RECEIVING, "need": "", "need_limit": None, "paused": ("outbox", "user"), "deadline_s": -0.1},
        "RECEIVING for 3.0 s: has 0 bytes, needs more; not read because of outbox, user; "
        "the request deadline ends it in 0.0 s",
    ),
    (
        {"phase": Phase.WORKING, "waiting_at": "greet.py:12", "deadline_s": None},
        "WORKING for 3.0 s: the handler waits at greet.py:12",
    ),
    (
        {"phase": Phase.WORKING, "deadline_s": 1.0},
        "WORKING for 3.0 s: the handler works; the work deadline ends it in 1.0 s",
    ),
    (
        {"phase": Phase.FLUSHING, "outbox_bytes": 9, **ENDING},
        "FLUSHING for 3.0 s: is ending (HANDLER_FAILED ValueError: x), the peer has yet to read 9 bytes; "
        "the write stall deadline ends it in 72.0 s",
    ),
    (
        {"phase": Phase.LINGERING, "end": End.FINISHED, "deadline_s": 2.0},
        "LINGERING for 3.0 s: all is sent and our side is shut (FINISHED), discards input until the peer closes too; "
        "the linger deadline ends it in 2.0 s",
    ),
    (
        {"phase": Phase.DETACHED, "way": "thread", "deadline_s": None},
        "DETACHED for 3.0 s: its socket is with a handler of the way 'thread'",
    ),
    (
        {"phase": Phase.CLOSED, "deadline_s": None, **ENDING},
        "CLOSED for 3.0 s: has ended (HANDLER_FAILED ValueError: x)",
    ),
    ({"phase": Phase.CLOSED, "deadline_s": None}, "CLOSED for 3.0 s: has ended"),
    ({"phase": Phase.LISTENING, "deadline_s": None}, "LISTENING for 3.0 s: waits for what comes"),
    (
        {"phase": Phase.PAUSED, "deadline_s": None, "paused": ("descriptors",)},
        "PAUSED for 3.0 s: accepts nothing; not read because of descriptors",
    ),
]


@pytest.mark.parametrize(("changes", "sentence"), SENTENCES)
def test_why_it_makes_no_progress(changes: dict[str, Any], sentence: str) -> None:
    assert explain(row(**changes)) == sentence


def test_there_is_a_sentence_for_every_phase() -> None:
    assert {changes.get("phase", Phase.IDLE) for changes, _ in SENTENCES} == set(Phase)


@pytest.mark.parametrize("phase", Phase)
def test_braces_in_a_message_are_no_placeholders(phase: Phase) -> None:
    assert explain(row(phase=phase, end=End.BAD_FRAME, detail="{row.fd} {} {", need="{0}", way="{}"))


# -- any row ----------------------------------------------------------------------------------------------------------

WORDS = st.text(max_size=12)
SIZES = st.integers(0, 1 << 40)
SECONDS = st.floats(0, 1e9)
ANY_ROW = st.builds(
    RowSnapshot,
    id=SIZES, fd=st.integers(-1, 1 << 20), kind=st.sampled_from(["listener", "stream", "datagram", "outgoing", "waker"]),
    server=WORDS, peer=WORDS, phase=st.sampled_from(Phase), way=WORDS, need=WORDS, need_limit=st.none() | SIZES,
    inbox_bytes=SIZES, outbox_bytes=SIZES, age_s=SECONDS, quiet_s=SECONDS, deadline_s=st.none() | st.floats(-1e3, 1e6),
    bytes_in=SIZES, bytes_out=SIZES, requests=SIZES, paused=st.lists(WORDS, max_size=3).map(tuple),
    waiting_at=st.none() | WORDS, end=st.none() | st.sampled_from(End), detail=WORDS,
)  # fmt: skip


@tries()
@given(ANY_ROW)
def test_json_carries_any_row(any_row: RowSnapshot) -> None:
    values = json.loads(json.dumps(any_row.as_dict()))
    assert RowSnapshot(**values | {"paused": tuple(values["paused"])}) == any_row


@tries()
@given(st.lists(ANY_ROW, max_size=5))
def test_any_rows_are_a_table(rows: list[RowSnapshot]) -> None:
    heading, *lines = as_text(rows).split("\n")
    assert len(lines) == len(rows)
    assert all(line.isprintable() for line in lines)
    for line, each in zip(lines, rows, strict=True):
        assert line[: heading.index("id") + 2].strip() == str(each.id)
        assert line[heading.index("kind") :].startswith(each.kind)
        assert line[heading.index("phase") :].startswith(each.phase)


@tries()
@given(ANY_ROW)
def test_any_row_is_explained_in_one_sentence(any_row: RowSnapshot) -> None:
    sentence = explain(any_row)
    assert sentence.isprintable()
    assert sentence.startswith(f"{any_row.phase} for {any_row.quiet_s:.1f} s: ")
    assert ("deadline ends it in" in sentence) == (any_row.deadline_s is not None) or "deadline ends" in any_row.detail
    assert all(reason in sentence for reason in any_row.paused if reason.isprintable())
