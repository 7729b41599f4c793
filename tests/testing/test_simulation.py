"""A reactor in a world of its own."""

import os
import socket
import threading
from typing import Any

import pytest

from reactor import Datagram, Limits, Lines, Phase, Stream, sleep, timeout
from reactor.permissions import AF_UNIX
from reactor.socketserver import DatagramRequestHandler, StreamRequestHandler
from reactor.testing import Faults, LeakError, Simulation, Spinning

HTTP = "tcp://127.0.0.1:80"


async def upper(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line.upper())


def test_a_conversation() -> None:
    with Simulation() as world:
        world.reactor.listen(HTTP, upper)
        client = world.connect(HTTP)
        client.send(b"hello\nwor")
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"HELLO\n", "")
        client.send(b"ld\n")
        client.send_eof()
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"WORLD\n", "eof")
        assert client.take() == b""
        with pytest.raises(ValueError, match="ended its stream"):
            client.send(b"more")


@pytest.mark.parametrize("endpoint", ["tcp://127.0.0.1:0", "tcp://[::1]:0", "unix://@abstract", "tcp://0.0.0.0:0"])
def test_every_kind_of_stream(endpoint: str) -> None:
    with Simulation() as world:
        listener = world.reactor.listen(endpoint, upper)
        client = world.connect(listener if "0.0.0.0" not in endpoint else f"tcp://127.0.0.1:{listener.port}")
        client.send(b"x\n")
        client.send_eof()
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"X\n", "eof")


@pytest.mark.parametrize("endpoint", ["udp://127.0.0.1:53", "udp://[::1]:53", "unix+dgram://@abstract"])
def test_every_kind_of_packet(endpoint: str) -> None:
    def twice(packet: Datagram) -> None:
        packet.reply(packet.data)
        packet.reply(packet.data.upper())

    with Simulation(faults=Faults(delay_s=(0.1, 0.1))) as world:
        world.reactor.listen(endpoint, twice)
        assert world.datagram(endpoint, b"x") == [b"x", b"X"]
        assert world.datagram(endpoint, b"") == [b"", b""]


def test_unix_paths() -> None:
    with Simulation() as world:
        for _ in range(2):
            listener = world.reactor.listen("unix:///run/upper.sock", upper)
            client = world.connect(listener)
            client.send(b"x\n")
            client.send_eof()
            world.run_until_quiet()
            assert client.take() == b"X\n"
            listener.close()
            world.run_until_quiet()
        assert not world.network.paths
        assert not os.path.exists("/run/upper.sock")


def test_a_stale_unix_path_is_replaced_and_a_live_one_is_not() -> None:
    endpoint = "unix:///run/upper.sock"
    with Simulation() as world:
        with world.reactor.sockets.socket(AF_UNIX, socket.SOCK_STREAM) as dead:
            dead.bind("/run/upper.sock")
        world.reactor.listen(endpoint, upper)
        with pytest.raises(OSError, match="is served by another process"):
            world.reactor.listen(endpoint, upper)
        assert world.connect(endpoint).ended == ""


def test_nothing_of_the_real_world_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden(*args: Any, **keywords: Any) -> None:
        raise AssertionError("a simulation has made a real one")

    for module, name in ((socket, "socketpair"), (threading.Thread, "start"), (os, "fork"), (socket, "socket")):
        monkeypatch.setattr(module, name, forbidden)
    with Simulation() as world:
        world.reactor.listen(HTTP, upper)
        client = world.connect(HTTP)
        client.send(b"x\n")
        world.run_until_quiet()
        assert client.take() == b"X\n"


def test_nobody_listens() -> None:
    with Simulation() as world, pytest.raises(ConnectionRefusedError, match=HTTP):
        world.connect(HTTP)
    with Simulation(faults=Faults(delay_s=(1, 1))) as world:
        client = world.connect(HTTP)
        assert client.ended == ""
        world.run_until_quiet()
        assert client.ended == "reset"


def test_run_also_works() -> None:
    async def once(stream: Stream) -> None:
        stream.write(await stream.readline())
        stream.loop.stop()

    with Simulation() as world:
        world.reactor.listen(HTTP, once)
        client = world.connect(HTTP)
        client.send(b"x\n")
        report = world.reactor.run(handle_signals=False)
        assert client.take() == b"x\n"
        assert len(report.finished) == 1


# Time.


def test_deadlines_pass_when_they_are_let() -> None:
    with Simulation(limits=Limits(idle_s=75)) as world:
        world.reactor.listen(HTTP, upper)
        client = world.connect(HTTP)
        world.run_until_quiet()
        world.advance(74.9)
        assert client.ended == ""
        world.advance(0.2)
        assert client.ended == "eof"
        with pytest.raises(ValueError, match="cannot go back"):
            world.advance(-1)


def test_who_sleeps_is_waited_for() -> None:
    async def slow(stream: Stream) -> None:
        line = await stream.readline()
        for _ in range(4):
            await sleep(0.125)
        stream.write(line)

    with Simulation() as world:
        world.reactor.listen(HTTP, slow)
        client = world.connect(HTTP)
        client.send(b"x\n")
        before = world.clock.now()
        world.run_until_quiet()
        assert client.take() == b"x\n"
        assert world.clock.now() == before + 0.5


def test_who_waits_for_its_peer_is_not() -> None:
    async def patient(stream: Stream) -> None:
        try:
            async with timeout(0.5):
                stream.write(await stream.readline())
        except TimeoutError:
            stream.write(b"too late")

    with Simulation() as world:
        world.reactor.listen(HTTP, patient)
        first, second = world.connect(HTTP), world.connect(HTTP)
        first.send(b"in ")
        world.run_until_quiet()
        first.send(b"time\n")
        world.run_until_quiet()
        assert (first.take(), second.take()) == (b"in time\n", b"")
        world.advance(0.5)
        assert second.take() == b"too late"


def test_a_timeout_that_is_due_before_a_sleeper_wakes_comes_first() -> None:
    heard = []

    async def both(stream: Stream) -> None:
        try:
            async with timeout(0.25):
                await sleep(0.75)
        except TimeoutError:
            heard.append(world.clock.now() - began_at)
        stream.write(b"done")

    with Simulation() as world:
        began_at = world.clock.now()
        world.reactor.listen(HTTP, both)
        client = world.connect(HTTP)
        world.run_until_quiet()
        assert heard == [0.25]
        assert client.take() == b"done"


def test_a_task_that_beats_for_ever_does_not_hold_a_test_up() -> None:
    beats = []

    async def heart() -> None:
        while True:
            await sleep(0.25)
            beats.append(world.clock.now())

    with Simulation() as world:
        world.reactor.spawn(heart)
        world.run_until_quiet()
        assert len(beats) == 4
        world.advance(10)
        assert len(beats) == 44


def test_a_machine_that_was_asleep() -> None:
    with Simulation(limits=Limits(request_s=30)) as world:
        world.reactor.listen(HTTP, upper)
        client = world.connect(HTTP)
        client.send(b"half a li")
        world.run_until_quiet()
        world.clock.advance(8 * 3600)
        world.run_until_quiet()
        assert client.ended == "eof"


# Peers.


@pytest.mark.parametrize("seed", range(20))
def test_a_server_that_speaks_first_and_hangs_up(seed: int) -> None:
    async def daytime(stream: Stream) -> None:
        stream.write(b"noon")

    with Simulation(seed, faults=Faults(delay_s=(0, 1))) as world:
        world.reactor.listen(HTTP, daytime)
        client = world.connect(HTTP)
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"noon", "eof")


def test_a_peer_that_does_not_read() -> None:
    size = 1 << 20

    async def much(stream: Stream) -> None:
        stream.write(bytes(size))
        await stream.drain()

    with Simulation() as world:
        world.reactor.listen(HTTP, much)
        client = world.connect(HTTP)
        client.stop_reading()
        world.run_until_quiet()
        (row,) = [row for row in world.reactor.table if row.kind == "stream"]
        assert 0 < row.outbox_bytes < size
        client.go_on_reading()
        world.run_until_quiet()
        assert (len(client.take()), client.ended) == (size, "eof")


def test_a_peer_that_sends_much() -> None:
    async def count(stream: Stream) -> None:
        size = 0
        while data := await stream.read_some():
            size += len(data)
        stream.write(b"%d" % size)

    with Simulation() as world:
        world.reactor.listen(HTTP, count)
        client = world.connect(HTTP)
        client.send(bytes(1 << 20))
        client.send_eof()
        world.run_until_quiet()
        assert client.take() == b"%d" % (1 << 20)


@pytest.mark.parametrize("endpoint", [HTTP, "unix://@upper"])
def test_a_peer_that_crashes(endpoint: str) -> None:
    with Simulation() as world:
        world.reactor.listen(endpoint, upper)
        client = world.connect(endpoint)
        client.send(b"half")
        world.run_until_quiet()
        client.reset()
        client.reset()
        world.run_until_quiet()
        assert [row.end for row in world.reactor.table.ended] == ["PEER_RESET"]


def test_a_peer_that_closes() -> None:
    with Simulation() as world:
        world.reactor.listen(HTTP, upper)
        client = world.connect(HTTP)
        client.send(b"x\n")
        client.close()
        world.run_until_quiet()
        assert client.is_over
        assert len(world.reactor.table) == 1


def test_a_server_that_resets() -> None:
    async def rude(stream: Stream) -> None:
        await stream.readline()
        stream.abort("enough")

    with Simulation() as world:
        world.reactor.listen(HTTP, rude)
        client = world.connect(HTTP)
        client.send(b"x\n")
        world.run_until_quiet()
        assert client.ended == "reset"


def test_many_peers() -> None:
    with Simulation(seed=3, faults=Faults(delay_s=(0, 1), short_writes=0.3, would_block=0.1)) as world:
        world.reactor.listen(HTTP, upper)
        clients = [world.connect(HTTP) for _ in range(150)]
        for number, client in enumerate(clients):
            client.send(b"line %d\n" % number)
            client.send_eof()
        world.run_until_quiet()
        assert [client.take() for client in clients] == [b"LINE %d\n" % number for number in range(150)]


# Faults, through the engine.


def test_no_descriptor_is_left() -> None:
    with Simulation(descriptors=6) as world:  # 3 for the listener, 4 in reserve, 5 for one connection
        listener = world.reactor.listen(HTTP, upper)
        first, second = world.connect(HTTP), world.connect(HTTP)
        world.run_until_quiet()
        assert listener.row.phase is Phase.PAUSED
        second.send(b"x\n")
        first.close()
        world.run_until_quiet()
        assert second.take() == b"X\n"


def test_an_accept_that_fails_costs_no_connection() -> None:
    with Simulation(faults=Faults(at=(("accept", 1, "ECONNABORTED"), ("recv", 1, "EINTR")))) as world:
        world.reactor.listen(HTTP, upper)
        client = world.connect(HTTP)
        client.send(b"x\n")
        world.run_until_quiet()
        assert client.take() == b"X\n"


def test_a_copy_in_a_child_keeps_no_peer_waiting() -> None:
    async def goodbye(stream: Stream) -> None:
        await stream.readline()
        stream.write(b"bye")

    with Simulation() as world:
        world.reactor.listen(HTTP, goodbye)
        client = world.connect(HTTP)
        world.run_until_quiet()
        child = world.process.child("child")
        client.send(b"x\n")
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"bye", "eof")
        child.exit()


# What a failure tells.


def test_an_error_of_a_handler_leaves_the_simulation_with_its_trace() -> None:
    async def wrong(stream: Stream) -> None:
        raise ZeroDivisionError((await stream.readline()).decode())

    def run() -> None:
        with Simulation(seed=77) as world:
            world.reactor.listen(HTTP, wrong)
            world.connect(HTTP).send(b"please\n")
            world.run_until_quiet()

    with pytest.raises(ZeroDivisionError) as caught:
        run()
    (note,) = caught.value.__notes__
    assert "Simulation(seed=77" in note
    assert "recv       b'please\\n'" in note
    assert "ended" not in note


def test_a_failing_assertion_has_the_trace_too() -> None:
    def run() -> None:
        with Simulation(seed=78) as world:
            world.reactor.listen(HTTP, upper)
            assert world.connect(HTTP).take() == b"?"

    with pytest.raises(AssertionError) as caught:
        run()
    assert "Simulation(seed=78" in caught.value.__notes__[0]


def test_without_strict_errors_are_the_handlers_own(caplog: pytest.LogCaptureFixture) -> None:
    async def wrong(stream: Stream) -> None:
        raise ZeroDivisionError

    with Simulation(strict=False) as world:
        world.reactor.listen(HTTP, wrong)
        client = world.connect(HTTP)
        world.run_until_quiet()
        assert client.ended == "eof"
    assert "ZeroDivisionError" in caplog.text


def test_a_descriptor_that_is_not_given_back() -> None:
    world = Simulation()
    world.reactor.sockets.socket()
    with pytest.raises(LeakError, match=r"3 \(TcpEnd\)"):
        world.close()


def test_a_loop_that_never_rests() -> None:
    def again() -> None:
        world.reactor.call_soon(again)

    with Simulation() as world:
        again()
        with pytest.raises(Spinning, match="without a single call"):
            world.run_until_quiet()


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> str:
        with Simulation(seed, faults=Faults(delay_s=(0, 1), short_writes=0.5, would_block=0.3)) as world:
            world.reactor.listen(HTTP, upper)
            for _ in range(5):
                client = world.connect(HTTP)
                client.send(b"hello\n" * 5)
                client.send_eof()
            world.run_until_quiet()
            return str(world.trace)

    assert run(1) == run(1)
    assert len({run(seed) for seed in range(5)}) == 5


# Handlers of socketserver's kind.


def test_an_inline_handler_on_a_blocking_socket() -> None:
    class Upper(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline().upper())

    with Simulation(faults=Faults(delay_s=(0.1, 0.2), short_writes=0.9, would_block=0.5)) as world:
        world.reactor.listen(HTTP, Upper, way="inline")
        client = world.connect(HTTP)
        client.send(b"hello\n")
        client.send_eof()
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"HELLO\n", "eof")


def test_a_handler_of_packets() -> None:
    class Upper(DatagramRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.read().upper())

    with Simulation() as world:
        world.reactor.listen("udp://127.0.0.1:53", Upper)
        assert world.datagram("udp://127.0.0.1:53", b"hello") == [b"HELLO"]


def test_a_handler_class_listens_without_a_socket_of_the_real_world(monkeypatch: pytest.MonkeyPatch) -> None:
    class Upper(StreamRequestHandler):
        def handle(self) -> None:
            self.wfile.write(self.rfile.readline().upper())

    def real(*args: Any) -> Any:
        raise AssertionError("a real socket was made")

    monkeypatch.setattr(socket, "socket", real)
    with Simulation() as world:
        world.reactor.listen(HTTP, Upper, framing=Lines())
        client = world.connect(HTTP)
        client.send(b"hello\n")
        world.run_until_quiet()
        assert (client.take(), client.ended) == (b"HELLO\n", "eof")


def test_peers_act_while_the_loop_runs() -> None:
    """A drain waits for a reply that is under way: its peer reads on, before any time goes by."""

    async def large(stream: Stream) -> None:
        await stream.readline()
        stream.write(bytes(300_000))

    with Simulation() as world:
        world.reactor.listen(HTTP, large)
        client = world.connect(HTTP)
        client.send(b"x\n")
        world.reactor.step(0)
        world.reactor.step(0)
        world.reactor.stop(drain_s=5)
        report = world.reactor.run(handle_signals=False)
        assert (len(report.finished), report.aborted) == (1, ())
        assert len(client.take()) == 300_000
