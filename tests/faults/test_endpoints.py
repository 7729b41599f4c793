"""Who may come: the mode of a Unix path from its first moment, who is at the other end, and ports on Windows."""

import errno
import os
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from reactor import Lines, Reactor, Stream, peer_credentials, socketserver
from reactor.addresses import Endpoint
from reactor.permissions import accept_only
from reactor.testing import Simulation
from tests.driving import listen, receive, receive_all, turn_until

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


async def nobody(stream: Stream) -> None:
    pass


class Upper(socketserver.StreamRequestHandler):
    """Answers each line."""

    def handle(self) -> None:
        for line in self.rfile:
            self.wfile.write(line.upper())


def mode_of(path: Any) -> int:
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask() -> Iterator[Callable[[int], int]]:
    """Give a function that sets the umask; it is put back at the end."""
    old = os.umask(0o022)
    yield os.umask
    os.umask(old)


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Note what happens to each socket, with the mode that its path has behind it: bind, listen."""
    events: list[tuple[str, int]] = []

    class Noting(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            events.append(("bind", mode_of(address)))

        def listen(self, backlog: int = 0) -> None:
            events.append(("listen", mode_of(self.getsockname())))
            super().listen(backlog)

    monkeypatch.setattr(socket, "socket", Noting)
    return events


# -- the mode of a path -----------------------------------------------------------------------------------------------


@needs_unix
@pytest.mark.parametrize("scheme", ["unix", "unix+dgram"])
def test_without_a_mode_a_path_has_that_of_the_umask_from_the_first_moment(
    loop: Reactor, tmp_path: Any, scheme: str, umask: Any, noted: list[tuple[str, int]]
) -> None:
    umask(0o177)
    loop.listen(f"{scheme}://{tmp_path}/s", nobody if scheme == "unix" else lambda packet: None)
    assert {mode for _, mode in noted} == {0o600}


@needs_unix
@pytest.mark.parametrize(
    ("mode", "mask", "first"),
    [(0o600, 0o022, 0o600), (0o600, 0, 0o600), (0o660, 0o022, 0o640), (0o666, 0o077, 0o600), (0, 0o022, 0)],
)
@pytest.mark.parametrize("scheme", ["unix", "unix+dgram"])
def test_a_unix_path_has_its_mode_before_anybody_can_connect(
    loop: Reactor, tmp_path: Any, scheme: str, mode: int, mask: int, first: int, umask: Any, noted: list[tuple[str, int]]
) -> None:
    """twisted#11389: who sets the mode behind bind() lets anybody in between. Nothing that is asked for is missing."""
    umask(mask)
    handler: Any = nobody if scheme == "unix" else lambda packet: None
    loop.listen(f"{scheme}://{tmp_path}/s", handler, mode=mode)
    assert noted == [("bind", first), ("listen", mode)][: 2 if scheme == "unix" else 1]
    assert mode_of(tmp_path / "s") == mode
    assert umask(0o022) == mask


@needs_unix
@pytest.mark.parametrize("base", [socketserver.UnixStreamServer, socketserver.UnixDatagramServer])
def test_a_server_has_a_mode_for_its_path(tmp_path: Any, base: Any, umask: Any, noted: list[tuple[str, int]]) -> None:
    umask(0)
    with type("Server", (base,), {"path_mode": 0o600})(f"{tmp_path}/s", Upper):
        assert {mode for _, mode in noted} == {0o600}
    with base(f"{tmp_path}/t", Upper):
        assert mode_of(tmp_path / "t") == 0o777


@needs_unix
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere there is no other way")
def test_the_umask_of_other_threads_is_left_alone(loop: Reactor, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def touched(mask: int) -> int:
        raise AssertionError("a file that another thread makes now would get this mode")

    monkeypatch.setattr(os, "umask", touched)
    loop.listen(f"unix://{tmp_path}/s", nobody, mode=0o600)


@needs_unix
def test_where_a_socket_has_no_mode_the_umask_is_set_and_put_back(
    loop: Reactor, tmp_path: Any, monkeypatch: pytest.MonkeyPatch, umask: Any, noted: list[tuple[str, int]]
) -> None:
    """fchmod() of a socket is EINVAL on macOS."""
    monkeypatch.setattr("reactor.permissions.sys", SimpleNamespace(platform="darwin"))
    monkeypatch.setattr(os, "fchmod", None)
    loop.listen(f"unix://{tmp_path}/s", nobody, mode=0o640)
    assert noted == [("bind", 0o640), ("listen", 0o640)]
    with pytest.raises(OSError):
        loop.listen(f"unix://{tmp_path}/none/s", nobody, mode=0o640)
    assert umask(0o022) == 0o022


@pytest.mark.parametrize(
    ("endpoint", "mode", "words"),
    [
        ("unix://@name", 0o600, "no path"),
        ("tcp://127.0.0.1:0", 0o600, "only the path of a Unix socket has a mode"),
        ("unix:///run/s", 600, "write it in octal"),
        ("unix:///run/s", -1, "write it in octal"),
    ],
)
def test_a_mode_that_could_not_be_is_refused(endpoint: str, mode: int, words: str) -> None:
    with Simulation() as world:
        with pytest.raises(ValueError, match=words):
            world.reactor.listen(endpoint, nobody, mode=mode)
        assert not world.process.files


def test_a_socket_that_is_bound_gets_no_mode(loop: Reactor) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="comes too late"):
        loop.listen(sock, nobody, mode=0o600)


def test_simulated_paths_have_modes_too() -> None:
    with Simulation() as world:
        world.reactor.listen("unix:///run/s", nobody, mode=0o640)
        assert stat.S_IMODE(world.network.stat("/run/s").st_mode) == 0o640


# -- who came ---------------------------------------------------------------------------------------------------------

tells = pytest.mark.skipif(sys.platform != "linux", reason="needs SO_PEERCRED as Linux has it")


@tells
@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("kind", ["coroutine", "framed"])
def test_only_users_who_are_allowed_come_by_an_abstract_name(
    loop: Reactor, connect: Any, allowed: bool, kind: str
) -> None:
    """An abstract name has no permissions: any user of the machine may connect to it."""

    async def upper(stream: Stream) -> None:
        stream.write((await stream.readline()).upper())

    users = {os.getuid() if allowed else os.getuid() + 1}
    endpoint = f"unix://@reactor-test-{os.getpid()}"
    if kind == "coroutine":
        listener = loop.listen(endpoint, upper, allow_users=users)
    else:
        listener = loop.listen(endpoint, Upper, framing=Lines(), allow_users=users)
    client = connect(listener)
    if allowed:
        client.sendall(b"hello\n")
        assert receive(loop, client, 6) == b"HELLO\n"
    else:
        assert receive_all(loop, client) == b""
        assert [row.kind for row in loop.table if row.kind != "waker"] == ["listener"]
        assert listener.row.end is None


@tells
def test_a_handler_can_ask_who_came(loop: Reactor, connect: Any) -> None:
    found: list[Any] = []

    async def ask(stream: Stream) -> None:
        found.append(peer_credentials(stream))

    connect(listen(loop, ask, f"unix://@reactor-test-{os.getpid()}"))
    turn_until(loop, lambda: found)
    assert found == [(os.getpid(), os.getuid(), os.getgid())]
    assert found[0].uid == os.getuid()


class Nameless:
    """A connection of which nobody knows whose it is."""

    def __init__(self, family: int, answer: Any) -> None:
        self.family, self._answer = family, answer
        self.closed = False

    def getsockopt(self, *args: Any) -> Any:
        if isinstance(self._answer, Exception):
            raise self._answer
        return self._answer

    def close(self) -> None:
        self.closed = True


@tells
@pytest.mark.parametrize(
    ("family", "answer"),
    [(socket.AF_INET, b"\0" * 12), (socket.AF_UNIX, b""), (socket.AF_UNIX, OSError(errno.EINVAL, "not this one"))],
)
def test_who_cannot_be_identified_is_turned_away(family: int, answer: Any) -> None:
    """And the error is one that costs this connection only: EINVAL of accept() would close the listener."""
    sock = Nameless(family, answer)
    with pytest.raises(PermissionError, match="nobody knows whom") as caught:
        accept_only({0}, lambda: (sock, ""))()
    assert sock.closed
    assert caught.value.errno == errno.EACCES


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:80", "udp://127.0.0.1:80", "unix+dgram:///run/s"])
def test_users_are_known_of_unix_streams_only(endpoint: str) -> None:
    with Simulation() as world:
        with pytest.raises(ValueError, match="it is for Unix stream sockets"):
            world.reactor.listen(endpoint, nobody, allow_users={0})
        assert not world.process.files


# -- ports on Windows -------------------------------------------------------------------------------------------------

EXCLUSIVE = ~socket.SO_REUSEADDR if hasattr(socket, "SO_REUSEADDR") else -5  # winsock2.h


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Note the options of every socket; SO_EXCLUSIVEADDRUSE, which only Windows has, stays a note."""
    found: list[int] = []

    class Noting(socket.socket):
        def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
            assert (level, value) == (socket.SOL_SOCKET, 1)
            found.append(option)
            if option != EXCLUSIVE:
                super().setsockopt(level, option, value, *rest)

    monkeypatch.setattr(socket, "socket", Noting)
    return found


@pytest.fixture(params=["windows", "elsewhere"])
def on_windows(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Say whether the test is on Windows, as far as the names of the module `socket` tell."""
    if request.param == "windows":
        monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", EXCLUSIVE, raising=False)
    return bool(request.param == "windows")


@pytest.mark.parametrize("scheme", ["tcp", "udp"])
def test_on_windows_nobody_takes_the_port_of_an_endpoint(options: list[int], on_windows: bool, scheme: str) -> None:
    """twisted#4195, trio#928: with SO_REUSEADDR another process could take the port over there."""
    Endpoint.parse(f"{scheme}://127.0.0.1:0").bind(5).close()
    assert options == ([EXCLUSIVE] if on_windows else [socket.SO_REUSEADDR] if scheme == "tcp" else [])


@pytest.mark.parametrize("reuse", [True, False])
@pytest.mark.parametrize("base", [socketserver.TCPServer, socketserver.UDPServer])
def test_on_windows_nobody_takes_the_port_of_a_server(
    options: list[int], on_windows: bool, base: Any, reuse: bool
) -> None:
    """http.server asks for `allow_reuse_address`. Datagrams that do so share a port on purpose: a multicast group."""
    type("Server", (base,), {"allow_reuse_address": reuse})(("127.0.0.1", 0), Upper).server_close()
    shared = reuse and base is socketserver.UDPServer
    assert options == ([EXCLUSIVE] if on_windows and not shared else [socket.SO_REUSEADDR] if reuse else [])


@needs_unix
def test_a_path_is_no_port(options: list[int], tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "SO_EXCLUSIVEADDRUSE", EXCLUSIVE, raising=False)
    socketserver.UnixStreamServer(f"{tmp_path}/s", Upper).server_close()
    assert options == []
