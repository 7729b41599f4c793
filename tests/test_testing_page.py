"""The page on reactor.testing: its tests pass, its commands print what it says, and its failure becomes a test."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

import reactor.testing
from tests.docs.pages import BLOCK, page
from tests.docs.programs import Program

PAGE = page("testing.md")
ROOT = Path(__file__).parents[1]
CONSOLE = {
    first.removeprefix("$ "): rest
    for language, text in BLOCK.findall(PAGE.text)
    for first, _, rest in [text.partition("\n")]
    if language == "console"
}


def run(folder: Path, *command: str) -> tuple[int, str]:
    """Run Python in a folder, with this library; return its status and what it prints."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{folder}", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    done = subprocess.run(
        [sys.executable, "-B", *command], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=100, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr


def run_pytest(folder: Path, *names: str) -> tuple[int, str]:
    """Run tests of the page, with a configuration of their own."""
    return run(folder, "-m", "pytest", "-qWerror", "-p", "no:cacheprovider", "-c", os.devnull, "--rootdir=.", *names)

pytestmark = pytest.mark.timeout(300)  # programs of their own, on a machine that may be busy


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Give a folder with all programs of the page."""
    for name, source in PAGE.programs.items():
        (tmp_path / name).write_text(source)
    (tmp_path / "session.bin").write_bytes(b"apple 2\n")
    return tmp_path


def without_speed(text: str) -> str:
    return re.sub(r"\d+ conversations a second", "N conversations a second", text)


def test_the_tests_of_the_page_pass(folder: Path) -> None:
    names = sorted(name for name in PAGE.programs if name.startswith("test_"))
    code, output = run_pytest(folder, *names)
    assert code == 0, output
    count = sum(len(re.findall(r"^def test_", PAGE.programs[name], re.MULTILINE)) for name in names)
    assert f"{count} passed" in output


def test_fuzz_prints_what_the_page_says(folder: Path) -> None:
    (command,) = [each for each in CONSOLE if " fuzz " in each]
    code, output = run(folder, *shlex.split(command)[1:])
    assert (code, without_speed(output)) == (0, without_speed(CONSOLE[command]))


def test_a_failure_becomes_a_test_as_the_page_says(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (talk,) = PAGE.talks
    with ExitStack() as stack:
        Program(PAGE, "serve.py", folder, stack).has(talk)
    (command,) = [each for each in CONSOLE if " replay " in each]
    assert run(folder, *shlex.split(command)[1:]) == (0, CONSOLE[command])
    code, output = run_pytest(folder, "test_kiwi.py")
    assert code == 1
    assert "row 4 of price: fails, as it did when it was recorded" in output
    shutil.copy(folder / "shop_mended.py", folder / "shop.py")
    assert run_pytest(folder, "test_kiwi.py")[0] == 0


def test_nothing_on_the_page_is_untested() -> None:
    assert len(CONSOLE) == 2
    assert PAGE.fragments == []
    assert set(PAGE.programs) - {"shop.py", "shop_mended.py", "serve.py", "conftest.py"} == {
        name for name in PAGE.programs if name.startswith("test_")
    }


def test_every_name_of_the_package_is_on_the_page() -> None:
    assert [name for name in reactor.testing.__all__ if name not in PAGE.text] == []
