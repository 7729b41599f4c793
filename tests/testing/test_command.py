"""`python -m reactor.testing fuzz`."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from reactor.testing.__main__ import main, named

HANDLERS = """
    from reactor import Lines
    from reactor.socketserver import StreamRequestHandler

    async def upper(stream):
        while line := await stream.readline():
            stream.write(line.upper())

    async def by_arrival(stream):
        while data := await stream.read_some():
            stream.write(b"[" + data + b"]")

    class Upper(StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.rfile.read().upper())
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a folder with handlers and a session."""
    (tmp_path / "some_handlers.py").write_text(textwrap.dedent(HANDLERS))
    (tmp_path / "session.bin").write_bytes(b"one\ntwo\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "some_handlers", raising=False)
    return tmp_path


def test_nothing_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "some_handlers:upper", "--input", "session.bin", "--seeds", "50", "--parts", "3"]) == 0
    text = capsys.readouterr().out
    assert "of 8 bytes: the answer is always the same" in text
    assert "50 seeds" in text
    assert "conversations a second" in text


def test_a_handler_class_with_its_framing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["fuzz", "some_handlers:Upper", "--framing", "reactor:Lines", "--input", "session.bin", "--seeds", "50"]
    assert main(given) == 0
    assert "50 seeds" in capsys.readouterr().out


def test_something_is_found(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fuzz", "some_handlers:by_arrival", "--input", "session.bin"]) == 1
    assert "b'o' | b'n'" in capsys.readouterr().out
    codes = {main(["fuzz", "some_handlers:by_arrival", "--input", "session.bin", "--seed", str(n)]) for n in range(10)}
    assert 1 in codes


def test_as_a_program(folder: Path) -> None:
    given = ["-W", "error", "-m", "reactor.testing", "fuzz", "some_handlers:upper", "--input", "session.bin", "--seeds", "5"]
    done = subprocess.run(
        [sys.executable, *given], capture_output=True, text=True, timeout=25, check=False,
        env={"PYTHONPATH": str(Path(__file__).parents[2])},
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "5 seeds" in done.stdout


@pytest.mark.parametrize("text", ["module:name", "no_such:x", "os:nothing"])
def test_names_that_name_nothing(text: str) -> None:
    with pytest.raises(SystemExit, match=text):
        named(text.replace("module:name", "upper"))
