"""The fixture, in a pytest of its own."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).parents[2]

HANDLER = """
    import pytest
    from reactor.testing import Faults

    async def upper(stream):
        while line := await stream.readline():
            stream.write(line.upper())

    def asked(simulation):
        simulation.reactor.listen("tcp://127.0.0.1:80", upper)
        client = simulation.connect("tcp://127.0.0.1:80")
        client.send(b"hello\\n")
        simulation.run_until_quiet()
        return client.take()
"""


def run_pytest(folder: Path, tests: str) -> str:
    (folder / "conftest.py").write_text('pytest_plugins = ["reactor.testing.fixtures"]\n')
    (folder / "test_it.py").write_text(textwrap.dedent(HANDLER) + textwrap.dedent(tests))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "--strict-markers", "-W", "error", "-p", "no:cacheprovider", str(folder)],
        cwd=folder, env=os.environ | {"PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=25, check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def test_it_gives_a_simulation(tmp_path: Path) -> None:
    text = run_pytest(
        tmp_path,
        """
        def test_plain(simulation):
            assert asked(simulation) == b"HELLO\\n"

        @pytest.mark.simulation(seed=7, faults=Faults(short_writes=0.9))
        def test_marked(simulation):
            assert simulation.seed == 7
            assert asked(simulation) == b"HELLO\\n"
        """,
    )
    assert "2 passed" in text


def test_a_failure_shows_seed_and_trace(tmp_path: Path) -> None:
    text = run_pytest(
        tmp_path,
        """
        @pytest.mark.simulation(seed=7)
        def test_wrong(simulation):
            assert asked(simulation) == b"?"

        def test_leak(simulation):
            simulation.reactor.sockets.socket()
        """,
    )
    assert "1 failed" in text
    assert "1 error" in text
    assert "Simulation(seed=7" in text
    assert "recv       b'HELLO\\n'" in text
    assert "LeakError: the closed reactor still holds descriptor 3" in text
