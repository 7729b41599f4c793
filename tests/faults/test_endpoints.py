"""Who may come: the mode of a Unix path from its first moment, who is at the other end, and ports on Windows."""

import os
import socket
import stat
import struct
from types import SimpleNamespace
from typing import Any

import pytest

from reactor import Reactor, Stream
from reactor.addresses import Endpoint
from tests.driving import listen, receive, receive_all

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")


async def nobody(stream: Stream) -> None:
    pass


@needs_unix
@pytest.mark.parametrize("scheme", ["unix", "unix+dgram"])
def test_a_unix_path_has_the_mode_of_the_umask_from_the_first_moment(
    loop: Reactor, tmp_path: Any, scheme: str
) -> None:
    """twisted#11389: who sets the mode behind bind() lets anybody in between. The umask is there before."""
    path = tmp_path / "s"
    modes: list[int] = []

    class Noting(socket.socket):
        def bind(self, address: Any) -> None:
            super().bind(address)
            modes.append(stat.S_IMODE(path.stat().st_mode))

    loop.sockets = SimpleNamespace(socket=Noting, socketpair=socket.socketpair)
    old = os.umask(0o177)
    try:
        loop.listen(f"{scheme}://{path}", nobody if scheme == "unix" else lambda packet: None)
    finally:
        os.umask(old)
    assert [*modes, stat.S_IMODE(path.stat().st_mode)] == [0o600, 0o600]


@pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="needs SO_PEERCRED")
@pytest.mark.parametrize("allowed", [True, False])
def test_a_handler_can_ask_the_kernel_who_came_by_an_abstract_name(loop: Reactor, connect: Any, allowed: bool) -> None:
    """An abstract name has no permissions: any user of the machine may connect to it."""
    wanted = os.getuid() if allowed else os.getuid() + 1

    async def guarded(stream: Stream) -> None:
        _, uid, _ = struct.unpack("3i", stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if uid == wanted:
            stream.write(b"welcome\n")
            await stream.readline()

    client = connect(listen(loop, guarded, f"unix://@reactor-test-{os.getpid()}"))
    if allowed:
        assert receive(loop, client, 8) == b"welcome\n"
    else:
        assert receive_all(loop, client) == b""


@pytest.mark.parametrize("system", ["nt", "posix"])
def test_on_windows_an_endpoint_never_shares_its_port(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    """twisted#4195, trio#928: with SO_REUSEADDR another process could take the port over there."""
    options: list[tuple[int, int, Any]] = []

    class Noting(socket.socket):
        def setsockopt(self, level: int, option: int, value: Any, *rest: Any) -> None:
            options.append((level, option, value))
            super().setsockopt(level, option, value, *rest)

    monkeypatch.setattr("reactor.addresses.os", SimpleNamespace(name=system))
    Endpoint.parse("tcp://127.0.0.1:0").bind(5, SimpleNamespace(socket=Noting)).close()
    reused = (socket.SOL_SOCKET, socket.SO_REUSEADDR, 1) in options
    assert reused is (system == "posix")
