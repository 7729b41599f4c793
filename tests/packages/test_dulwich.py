"""dulwich's TCPGitServer, and git itself as the client.

Limits: framed cannot serve it: a fetch is a talk of many packets whose state is in the handler's locals, and the server
speaks in the middle of it · behind `ReactorMixIn` its `serve()` is still socketserver's: an alias that its class took before
the mixin came; call serve_forever().
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.packages import served

dulwich_server: Any = pytest.importorskip("dulwich.server", reason=served.NEEDED)

from dulwich.repo import Repo  # noqa: E402

pytestmark = pytest.mark.timeout(60)

WAYS: dict[str, dict[str, Any]] = {way: {"way": way} for way in ("inline", "thread", "greenlet")}
# Big enough for several packets and a full socket buffer.
CONTENT = os.urandom(3_000_000)


def git(*words: str) -> str:
    """Run git as nobody in particular."""
    name = {f"GIT_{who}_{what}": "x@x" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    nowhere = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull, "GIT_TERMINAL_PROMPT": "0"}
    return served.run(served.command("git"), *words, env={**os.environ, **name, **nowhere}).decode()


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A clone with a commit, and an empty repository `bare` beside it."""
    folder = tmp_path / "work"
    git("init", "--quiet", str(folder))
    (folder / "file").write_bytes(CONTENT)
    git("-C", str(folder), "add", "file")
    git("-C", str(folder), "commit", "--quiet", "--message=x")
    git("init", "--quiet", "--bare", str(tmp_path / "bare"))
    return folder


@pytest.fixture
def bare(tmp_path: Path, work: Path) -> Iterator[Any]:
    """The repository that is served."""
    with Repo(str(tmp_path / "bare")) as repository:
        yield repository


def make(bare: Any, kind: Any = dulwich_server.TCPGitServer) -> Any:
    return kind(dulwich_server.DictBackend({"/r": bare}), "127.0.0.1", 0)


def check(address: served.Address, work: Path) -> None:
    """Push, list, clone, fetch."""
    there, clone = f"git://{address[0]}:{address[1]}/r", work.parent / "clone"
    git("-C", str(work), "push", "--quiet", there, "HEAD:refs/heads/main")
    assert git("ls-remote", there).endswith("\trefs/heads/main\n")
    git("clone", "--quiet", "--branch=main", there, str(clone))
    assert (clone / "file").read_bytes() == CONTENT
    git("-C", str(work), "commit", "--quiet", "--allow-empty", "--message=y")
    git("-C", str(work), "push", "--quiet", there, "HEAD:refs/heads/main")
    git("-C", str(clone), "pull", "--quiet")
    assert git("-C", str(clone), "log", "--format=%s").split() == ["y", "x"]


@served.every_way(WAYS)
def test_hosted(way: str, bare: Any, work: Path) -> None:
    with served.hosted(make(bare), **WAYS[way]) as listener:
        if way == "inline":
            check(listener.address, work)
            return
        with served.silent_clients(listener.address):
            check(listener.address, work)


def test_with_the_mixin(bare: Any, work: Path) -> None:
    kind = served.with_mixin(dulwich_server.TCPGitServer, way="greenlet")
    with served.on_its_own(make(bare, kind)) as server:
        check(server.server_address, work)
        assert kind.serve is not kind.serve_forever


PROGRAM = """
    import socketserver, sys
    from dulwich.repo import Repo
    from dulwich.server import DictBackend, TCPGitServer
    server = TCPGitServer(DictBackend({"/r": Repo("bare")}), "127.0.0.1", 0)
    assert socketserver.__name__ == "reactor.socketserver" and server.serve.__func__ is socketserver.TCPServer.serve_forever
    print("port", server.server_address[1])
    server.serve()
"""


@served.every_way(WAYS)
def test_substituted(way: str, work: Path) -> None:
    words = [served.script(work.parent, PROGRAM)]
    with served.program(work.parent, words, options=["--way", way]) as running:
        check(("127.0.0.1", int(running.until(r"port (\d+)"))), work)
