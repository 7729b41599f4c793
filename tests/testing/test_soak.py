"""Peers that do whatever peers do, in an order drawn from a seed, against a reactor whose calls fail as they may.

Each seed is one run. What must hold in every one: no error leaves the strict loop, the loop comes to rest, no row outlives
its peer, listeners that starved accept again, and every descriptor is given back.
"""

import random
from typing import Any

import pytest

from reactor import Limits, Lines, Stream, sleep, timeout
from reactor.testing import Client, Faults, Simulation

SEEDS = 120
STEPS = 50
CALLS = [
    ("accept", "EMFILE"), ("accept", "ECONNABORTED"), ("recv", "ETIMEDOUT"), ("send", "ENOBUFS"), ("send", "EPIPE"),
    ("shutdown", "ENOTCONN"), ("recv", "EINTR"),
]  # fmt: skip
WORDS = [b"a\n", b"abc\nabcd\n", b"half", b"x" * 50, b"\n" * 40, b"abcdefgh\n"]


async def loud(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line.upper() * 50)


async def drained(stream: Stream) -> None:
    async for line in stream.frames(Lines()):
        for _ in range(3):
            stream.write(line * 400)
            await stream.drain()


async def ticking(stream: Stream) -> None:
    async def tick() -> None:
        await sleep(0.2)
        stream.offer(b"tick")

    while await stream.readline():
        stream.spawn(tick)
        try:
            async with timeout(1):
                await stream.readexactly(3)
        except TimeoutError:
            stream.write(b"late")


async def moody(stream: Stream) -> None:
    while line := await stream.readline():
        if len(line) == 9:
            stream.abort("in a mood")
        elif len(line) == 4:
            stream.close()
        elif len(line) == 5:
            stream.write_eof()
        stream.write(line * 2000)


HANDLERS = {"tcp://127.0.0.1:1": loud, "tcp://127.0.0.1:2": drained, "unix://@ticking": ticking, "tcp://[::1]:4": moody}


def faults_of(draw: random.Random) -> Faults:
    return Faults(
        short_writes=draw.choice([0, 0.5]),
        would_block=draw.choice([0, 0.3]),
        resets=draw.choice([0, 0, 0.03]),
        delay_s=(0, draw.choice([0, 0.05, 1])),
        at=tuple((call, draw.randrange(1, 30), name) for call, name in CALLS if draw.random() < 0.3),
    )


def limits_of(draw: random.Random) -> Limits:
    return Limits(
        idle_s=5, request_s=3, write_stall_s=4, linger_s=2, inbox_bytes=draw.choice([64, 65536]),
        frame_bytes=draw.choice([40, 65536]), outbox_high_bytes=draw.choice([1000, 65536]), outbox_low_bytes=500,
        connections=draw.choice([None, 3]), frames_per_turn=draw.choice([1, 32]), bytes_per_turn=draw.choice([100, 262144]),
    )  # fmt: skip


class Run:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.draw = random.Random(seed)
        self.clients: list[Client] = []
        self.world = Simulation(
            seed, faults=faults_of(self.draw), limits=limits_of(self.draw), descriptors=self.draw.choice([10, 1024]),
            max_connections=self.draw.choice([4, 1000]), buffered_bytes=self.draw.choice([None, 300, 20_000]),
        )  # fmt: skip
        for endpoint, handler in HANDLERS.items():
            self.world.reactor.listen(endpoint, handler)

    def step(self) -> None:
        """Let one thing happen."""
        chance = self.draw.random()
        if chance < 0.25 or not self.clients:
            self.clients.append(self.world.connect(self.draw.choice([*HANDLERS])))
        elif chance < 0.8:
            self.act(self.draw.choice(self.clients))
        elif chance < 0.93:
            self.world.run_until_quiet()
        elif chance < 0.98:
            self.world.advance(self.draw.choice([0.1, 1, 3, 6]))
        else:
            self.world.clock.advance(self.draw.choice([1, 100]))
        rows = [row for row in self.world.reactor.table if row.kind == "stream"]
        assert self.world.reactor.buffered_bytes == sum(row.buffered_bytes for row in rows)

    def act(self, client: Client) -> None:
        """Let a peer do something."""
        acts: list[Any] = [client.send_eof, client.reset, client.close, client.stop_reading, client.go_on_reading]
        act = self.draw.choice([*acts, *[lambda: client.send(self.draw.choice(WORDS))] * 9])
        try:
            act()
        except ValueError:
            pass  # it has ended its stream already

    def end(self) -> None:
        """Everybody leaves, or falls silent; then each listener must answer as on the first day."""
        if self.draw.random() < 0.5:
            for client in self.clients:
                client.reset()
        self.world.advance(300)  # those who waited in a backlog get their turn, and their deadlines, too
        assert [row for row in self.world.reactor.table if row.kind == "stream"] == []
        assert self.world.reactor.table.connections == 0
        if not self.world.network.faults.resets and not self.world.network.faults.at:
            for endpoint in HANDLERS:
                client = self.world.connect(endpoint)
                client.send(b"abcdef\n")
                self.world.advance(4)
                assert client.take(), endpoint
                client.reset()
            self.world.advance(30)


@pytest.mark.parametrize("seed", range(SEEDS))
def test_whatever_peers_do(seed: int) -> None:
    run = Run(seed)
    with run.world as world:
        for _ in range(STEPS):
            run.step()
        if run.draw.random() < 0.7:
            run.end()
        world.reactor.stop(drain_s=run.draw.choice([0, 5, None]))
        if run.draw.random() < 0.7:
            world.reactor.run(handle_signals=False)
