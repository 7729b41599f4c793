"""A request that came with its connection is taken when that is accepted; who looks for nothing soon looks no more.

The clients come by way of a Unix socket: there what is sent is at the other end when `sendall` returns.
"""

import contextlib
import socket
from collections.abc import Callable
from typing import Any

import pytest

from reactor import AsyncStreamRequestHandler, End, Limits, Lines, Observer, Phase, Raw, Reactor, Stream, sleep
from reactor import socketserver as ours
from reactor.acceptor import IN_VAIN
from tests.driving import receive, receive_all, reset, streams, turns

Serve = Callable[..., Any]
Bring = Callable[..., socket.socket]


class AsyncEcho(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        while line := await self.rfile.readline():
            self.wfile.write(line)


class Echo(ours.StreamRequestHandler):
    def handle(self) -> None:
        while line := self.rfile.readline():
            self.wfile.write(line)


async def echo(stream: Stream) -> None:
    while data := await stream.read_some():
        stream.write(data)


async def answer(stream: Stream) -> None:
    stream.write(await stream.read_some())


@pytest.fixture
def path(tmp_path: Any) -> str:
    """Give the path of the listener."""
    return str(tmp_path / "here")


@pytest.fixture
def bring(path: str, connect: Any) -> Bring:
    """Give a function that connects and sends."""

    def bring(data: bytes = b"") -> socket.socket:
        client: socket.socket = connect(path)
        client.sendall(data)
        return client

    return bring


KINDS: dict[str, Callable[[Reactor, str], Any]] = {
    "coroutine": lambda loop, path: loop.listen(f"unix://{path}", echo),
    "class": lambda loop, path: loop.add(ours.UnixStreamServer(path, AsyncEcho)),
    "raw": lambda loop, path: loop.add(ours.UnixStreamServer(path, Echo), framing=Raw()),
    "lines": lambda loop, path: loop.add(ours.UnixStreamServer(path, Echo), framing=Lines()),
}


@pytest.mark.parametrize("kind", KINDS)
def test_a_request_that_is_here_is_answered_in_the_turn_that_accepts(
    loop: Reactor, path: str, bring: Bring, kind: str
) -> None:
    KINDS[kind](loop, path)
    clients = [bring(b"%d\n" % n) for n in range(3)]
    turn = loop.step(0)
    assert len(turn.ready) == 1, "only the listener was"
    for n, client in enumerate(clients):
        assert client.recv(100) == b"%d\n" % n
    assert [(row.phase, row.requests, row.bytes_in, row.bytes_out) for row in streams(loop)] == [(Phase.IDLE, 1, 2, 2)] * 3
    clients[1].sendall(b"more\n")
    assert receive(loop, clients[1], 5) == b"more\n"


def test_who_asks_once_lingers_at_the_end_of_that_turn(loop: Reactor, path: str, bring: Bring) -> None:
    loop.listen(f"unix://{path}", answer)
    client = bring(b"x")
    loop.step(0)
    (row,) = streams(loop)
    assert (row.phase, row.end, row.bytes_out) == (Phase.LINGERING, End.FINISHED, 1)
    assert (client.recv(100), client.recv(100)) == (b"x", b"")
    client.close()
    loop.step(0)
    assert not streams(loop)


def test_half_a_request_is_half_a_request(loop: Reactor, path: str, bring: Bring) -> None:
    KINDS["lines"](loop, path)
    client = bring(b"hal")
    loop.step(0)
    (row,) = streams(loop)
    assert (row.phase, row.inbox_bytes, row.requests) == (Phase.RECEIVING, 3, 0)
    client.sendall(b"f\n")
    assert receive(loop, client, 5) == b"half\n"


class Counted(socket.socket):
    """Counts the calls of recv."""

    count = 0

    def recv(self, *args: Any) -> bytes:
        Counted.count += 1
        return super().recv(*args)


@pytest.fixture
def looks(monkeypatch: pytest.MonkeyPatch) -> Callable[[Any], Callable[[], int]]:
    """Give a function that counts what the connections of a listener try to receive."""

    def watch(listener: Any) -> Callable[[], int]:
        Counted.count = 0
        accept = listener.row._accept

        def counted() -> tuple[Any, Any]:
            sock, sockaddr = accept()
            return Counted(fileno=sock.detach()), sockaddr

        monkeypatch.setattr(listener.row, "_accept", counted)
        return lambda: Counted.count

    return watch


def test_a_look_in_vain_is_the_last_for_a_while(loop: Reactor, path: str, bring: Bring, looks: Any) -> None:
    listener = loop.listen(f"unix://{path}", echo)
    looked = looks(listener)
    for expected in (1, 2):
        for _ in range(IN_VAIN + 1):
            bring()
            loop.step(0)
            assert looked() == expected
        assert all(row.phase is Phase.IDLE for row in streams(loop))
    bring(b"x\n")
    loop.step(0)
    assert looked() == 3, "and one that finds something is not the last"
    bring(b"x\n")
    loop.step(0)
    assert looked() == 4


def test_an_end_of_stream_is_nothing_either(loop: Reactor, path: str, bring: Bring, looks: Any) -> None:
    listener = loop.listen(f"unix://{path}", echo)
    looked = looks(listener)
    bring().shutdown(socket.SHUT_WR)
    turn = loop.step(0)
    assert (looked(), len(turn.ended)) == (1, 1)
    bring(b"x")
    loop.step(0)
    assert looked() == 1


async def greet(stream: Stream) -> None:
    stream.write(b"Hello\n")
    stream.write(await stream.read_some())


async def flood(stream: Stream) -> None:
    stream.write(bytes(1 << 20))
    await stream.read_some()


async def work(stream: Stream) -> None:
    await sleep(60)


@pytest.mark.parametrize("handler", [greet, flood, work])
def test_who_speaks_first_or_works_is_not_looked_at(
    loop: Reactor, path: str, bring: Bring, looks: Any, handler: Any
) -> None:
    listener = loop.listen(f"unix://{path}", handler)
    looked = looks(listener)
    bring(b"x")
    loop.step(0)
    assert looked() == 0


ENDS: dict[str, Callable[[Any], None]] = {
    "close": lambda stream: stream.close(),
    "abort": lambda stream: stream.abort("a test"),
    "write_eof": lambda stream: stream.write_eof(),
}


@pytest.mark.parametrize("how", ENDS)
def test_nor_is_who_was_closed_before_its_first_byte(loop: Reactor, path: str, bring: Bring, looks: Any, how: str) -> None:
    async def refuse(stream: Stream) -> None:
        ENDS[how](stream)
        stream.write(b"got " + await stream.readline())

    listener = loop.listen(f"unix://{path}", refuse)
    looked = looks(listener)
    client = bring(b"x\n")
    loop.step(0)
    assert looked() == 0
    turns(loop)
    with contextlib.suppress(ConnectionResetError):
        assert client.recv(9) == b""


@pytest.mark.parametrize("how", ENDS)
def test_nor_is_who_was_closed_by_the_server(loop: Reactor, path: str, bring: Bring, how: str) -> None:
    handled = []

    class Handler(Echo):
        def handle(self) -> None:
            handled.append(self.rfile.readline())

    class Bans(ours.UnixStreamServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            ENDS[how](request)
            return True

    loop.add(Bans(path, Handler), framing=Lines())
    bring(b"x\n")
    turns(loop)
    assert handled == ([b"x\n"] if how == "write_eof" else [])


def test_nor_is_anybody_while_memory_is_short(loop: Reactor, path: str, bring: Bring, looks: Any) -> None:
    listener = loop.listen(f"unix://{path}", echo)
    looked = looks(listener)
    loop.budget.is_short = True  # then fewer rows are read in a turn, and the demultiplexer says which
    client = bring(b"x")
    loop.step(0)
    assert looked() == 0
    loop.budget.is_short = False
    assert receive(loop, client, 1) == b"x"


def test_nor_under_an_observer(make_loop: Any, path: str, bring: Bring) -> None:
    """Who is told of each turn is told of each readiness, too."""
    loop = make_loop(observers=[Observer()])
    loop.listen(f"unix://{path}", echo)
    client = bring(b"x")
    loop.step(0)
    (row,) = streams(loop)
    assert row.bytes_in == 0
    assert row.id in loop.step(0).ready
    assert client.recv(100) == b"x"


def test_a_connection_that_is_refused_is_not_looked_at(loop: Reactor, path: str, bring: Bring) -> None:
    class Server(ours.UnixStreamServer):
        def verify_request(self, request: Any, client_address: Any) -> bool:
            return False

    loop.add(Server(path, Echo), framing=Lines())
    client = bring(b"x\n")
    loop.step(0)
    (row,) = streams(loop)
    assert (row.phase, row.bytes_in) == (Phase.LINGERING, 0)
    assert client.recv(100) == b""


async def fail_at_once(stream: Stream) -> None:
    data = await stream.read_some()
    stream.write(data)
    if data == b"fail":
        raise RuntimeError("as asked")


def test_a_handler_that_fails_then_ends_its_own_row_only(
    loop: Reactor, path: str, bring: Bring, caplog: pytest.LogCaptureFixture
) -> None:
    loop.listen(f"unix://{path}", fail_at_once)
    clients = [bring(data) for data in (b"fail", b"fine")]
    loop.step(0)
    assert [row.end for row in streams(loop)] == [End.HANDLER_FAILED, End.FINISHED]
    assert [client.recv(100) for client in clients] == [b"fail", b"fine"]
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    caplog.clear()


def test_with_strict_it_leaves_the_loop_as_ever_and_ends_its_own_row_only(
    make_loop: Any, path: str, bring: Bring
) -> None:
    """So nobody is looked at: what leaves the loop from there would end the listener."""
    loop = make_loop(strict=True)
    listener = loop.listen(f"unix://{path}", fail_at_once)
    client = bring(b"fail")
    loop.step(0)
    with pytest.raises(RuntimeError, match="as asked"):
        loop.step(0)
    assert listener.row.end is None
    assert receive_all(loop, client) == b"fail"


def test_what_nobody_has_caught_ends_the_row_and_not_the_listener(
    loop: Reactor, path: str, bring: Bring, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    listener = loop.listen(f"unix://{path}", echo)
    on_ready = Stream.on_ready

    def broken(row: Any, ready: int) -> None:
        monkeypatch.setattr(Stream, "on_ready", on_ready)
        raise RuntimeError("of the engine")

    monkeypatch.setattr(Stream, "on_ready", broken)
    lost, other = bring(b"x"), bring(b"y")
    turns(loop)
    assert other.recv(100) == b"y"
    assert lost.recv(100) == b""
    assert (listener.row.phase, listener.row.members) == (Phase.LISTENING, 2)
    assert "of the engine" in caplog.text
    caplog.clear()


def test_who_has_gone_again_holds_up_nobody(loop: Reactor, connect: Any) -> None:
    listener = loop.listen("tcp://127.0.0.1:0", echo, limits=Limits(accepts_per_turn=8))
    reset(connect(listener))
    client = connect(listener)
    client.sendall(b"x")
    assert receive(loop, client, 1) == b"x"
    assert len(streams(loop)) == 1


def test_a_handler_that_closes_the_listener_has_no_more_connections(loop: Reactor, path: str, bring: Bring) -> None:
    async def close(stream: Stream) -> None:
        await stream.read_some()
        listener.close()

    listener = loop.listen(f"unix://{path}", close)
    for _ in range(3):
        bring(b"x")
    loop.step(0)
    assert listener.row.requests == 1
