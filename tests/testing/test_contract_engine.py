"""The engine itself cannot tell the two worlds apart: the same reactor, the same peers, on both."""

import contextlib
import socket
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import Reactor, Stream
from reactor.permissions import AF_UNIX
from tests.testing.test_contract_streams import LINGER_0
from tests.testing.worlds import World

TURNS = 500


class Served:
    """A reactor in a world, and its peers."""

    def __init__(self, world: World, stack: contextlib.ExitStack) -> None:
        self.world = world
        clock = {"clock": world.under.network.clock} if world.is_simulated else {}
        self.loop = stack.enter_context(Reactor(selector=world.under.selector(), sockets=world.sockets, **clock))

    def connect(self, handler: Any, endpoint: str = "tcp://127.0.0.1:0", **options: int) -> Any:
        """Listen with a handler, and connect to it."""
        listener = self.loop.listen(endpoint, handler)
        client = self.world.socket(AF_UNIX if "unix" in endpoint else socket.AF_INET, socket.SOCK_STREAM)
        for name, value in options.items():
            client.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
        client.connect_ex(listener.address)
        self.until(lambda: len(self.loop.table) > 1)
        return client

    def until(self, condition: Callable[[], object]) -> None:
        for _ in range(TURNS):
            if condition():
                return
            self.loop.step(0 if self.world.is_simulated else 0.01)
        raise AssertionError(f"not within {TURNS} turns:\n{self.loop.table}")

    def received(self, client: Any) -> bytes:
        """Step until the peer's stream has ended."""
        data = bytearray()

        def over() -> bool:
            with contextlib.suppress(BlockingIOError):
                while piece := client.recv(1 << 16):
                    data.extend(piece)
                return True
            return False

        self.until(over)
        return bytes(data)

    def until_empty(self) -> None:
        self.until(lambda: not [row for row in self.loop.table if row.kind == "stream"])

    @property
    def ends(self) -> list[str]:
        return [str(row.end) for row in self.loop.table.ended]


@pytest.fixture
def served(world: World) -> Iterator[Served]:
    with contextlib.ExitStack() as stack:
        yield Served(world, stack)


async def upper(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line.upper())


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "unix://@reactor-contract"])
def test_a_conversation(served: Served, endpoint: str) -> None:
    client = served.connect(upper, endpoint)
    client.send(b"one\ntwo\nthr")
    client.send(b"ee\n")
    client.shutdown(socket.SHUT_WR)
    assert served.received(client) == b"ONE\nTWO\nTHREE\n"
    served.until_empty()
    assert served.ends == []


def test_a_large_answer_behind_a_half_close(served: Served) -> None:
    async def large(stream: Stream) -> None:
        await stream.readline()
        stream.write(bytes(3_000_000))

    client = served.connect(large, SO_RCVBUF=8192)
    client.send(b"please\n")
    client.shutdown(socket.SHUT_WR)
    assert len(served.received(client)) == 3_000_000
    served.until_empty()
    assert served.ends == []


def test_an_answer_before_unread_input_arrives_whole(served: Served) -> None:
    async def short(stream: Stream) -> None:
        await stream.readline()
        stream.write(bytes(500_000))

    client = served.connect(short, SO_RCVBUF=8192)
    client.send(b"please\n" + bytes(5_000))
    assert len(served.received(client)) == 500_000


def test_a_peer_that_resets(served: Served) -> None:
    client = served.connect(upper)
    client.send(b"half")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    client.close()
    served.until_empty()
    assert served.ends == ["PEER_RESET"]


def test_a_row_that_is_aborted(served: Served) -> None:
    async def rude(stream: Stream) -> None:
        await stream.readline()
        stream.abort("enough")

    client = served.connect(rude)
    client.send(b"x\n")
    with pytest.raises(ConnectionResetError):
        served.received(client)
    assert served.ends == ["ABORTED"]


def test_packets(served: Served) -> None:
    listener = served.loop.listen("udp://127.0.0.1:0", lambda packet: packet.reply(packet.data.upper()))
    client = served.world.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.connect(listener.address)
    client.send(b"one")
    client.send(b"")
    answers: list[bytes] = []

    def both() -> bool:
        with contextlib.suppress(BlockingIOError):
            answers.append(client.recv(100))
        return len(answers) == 2

    served.until(both)
    assert answers == [b"ONE", b""]


def test_a_call_from_elsewhere_wakes_the_loop(served: Served) -> None:
    served.loop.call_soon(served.loop.stop)
    if not served.world.is_simulated:  # whose descriptors mean nothing to the interpreter's signals
        served.loop.run()
    else:
        served.loop.step(None)
    heard: list[int] = []
    served.loop.call_soon(heard.append, 1)
    served.loop.step(None)
    assert heard == [1]
