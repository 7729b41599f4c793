"""What each stream service promises, on TCP and on Unix sockets."""

import functools
import itertools
import socket
from collections.abc import Callable

import pytest

from reactor import End, Limits, ManualClock, Phase, Reactor, RowSnapshot
from reactor.handlers import chargen, daytime, discard, echo, time, upper
from tests.handlers.conftest import Client, Serving, read_all, read_exactly

SCHEMES = [
    "tcp",
    pytest.param("unix", marks=pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")),
]
pytestmark = pytest.mark.parametrize("scheme", SCHEMES)

ALL_BYTES = bytes(range(256)) * 400  # more than one recv() takes, less than two sockets hold


def rows_of(loop: Reactor, ready: Callable[[tuple[RowSnapshot, ...]], bool]) -> tuple[RowSnapshot, ...]:
    """Return the rows of the connections as soon as they are as the test wants them."""
    while True:
        rows = tuple(row for row in loop.snapshot(timeout_s=10) if row.kind == "stream")
        if ready(rows):
            return rows


class TestEcho:
    def test_every_byte_comes_back_and_then_the_end(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, echo.echo)
        serving.start()
        client = connect(listener)
        client.sendall(ALL_BYTES)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == ALL_BYTES

    def test_it_answers_while_the_client_goes_on(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, echo.echo)
        serving.start()
        client = connect(listener)
        for piece in (b"\0", b"no line end", b"\r\n\xff"):
            client.sendall(piece)
            assert read_exactly(client, len(piece)) == piece

    def test_a_client_that_does_not_read_is_not_read(self, serving: Serving, connect: Client, scheme: str) -> None:
        limits = Limits(outbox_high_bytes=1000, outbox_low_bytes=100, inbox_bytes=1000)
        listener = serving.listen(scheme, echo.echo, limits=limits)
        serving.start()
        client = connect(listener)
        client.setblocking(False)
        sent = 0
        while not rows_of(serving.loop, bool)[0].paused:
            try:
                sent += client.send(ALL_BYTES)
            except BlockingIOError:
                pass
        client.settimeout(10)
        assert rows_of(serving.loop, bool)[0].paused == ("outbox",)
        client.shutdown(socket.SHUT_WR)
        assert len(read_all(client)) == sent


class TestUpper:
    def test_letters_are_raised_and_other_bytes_stay(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, upper.upper)
        serving.start()
        client = connect(listener)
        client.sendall("gruß, 1 Café\n".encode())
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == "GRUß, 1 CAFé\n".encode()


class TestDiscard:
    def test_it_reads_to_the_end_and_says_nothing(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, discard.discard)
        serving.start()
        client = connect(listener)
        for _ in range(20):
            client.sendall(ALL_BYTES)
        client.shutdown(socket.SHUT_WR)
        assert read_all(client) == b""

    def test_no_request_deadline_ends_a_sink_that_works(self, serving: Serving, connect: Client, scheme: str) -> None:
        clock = ManualClock()
        with Reactor(strict=True, clock=clock, limits=Limits(request_s=30, idle_s=75)) as loop:
            serving.loop = loop
            client = connect(serving.listen(scheme, discard.discard))
            while not loop.table.connections:
                loop.step(10)
            (row,) = (row for row in loop.table if row.kind == "stream")
            for sent in range(10):
                client.sendall(b"x")
                while row.bytes_in <= sent:
                    loop.step(10)
                clock.advance(40)  # longer than request_s
                loop.step()
            assert (row.phase, row.end) == (Phase.IDLE, None)
            clock.advance(40)  # 80 s without a byte: longer than idle_s
            loop.step()
            assert row.end is End.LIMIT


class TestChargen:
    def test_the_pattern_of_the_rfc(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, chargen.chargen)
        serving.start()
        lines = read_exactly(connect(listener), 74 * 300).splitlines(keepends=True)
        assert {len(line) for line in lines} == {74}
        assert all(line.endswith(b"\r\n") for line in lines)
        assert lines[0].startswith(b' !"#$%&')
        assert lines[1].startswith(b'!"#$%&')
        assert lines[94][:3] == b"~ !"
        assert lines[95] == lines[0]
        assert all(b == a + 1 or (a, b) == (126, 32) for line in lines for a, b in itertools.pairwise(line[:72]))
        assert {byte for line in lines for byte in line[:72]} == set(range(32, 127))

    def test_it_ends_when_the_client_closes(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, chargen.chargen)
        serving.start()
        client = connect(listener)
        read_exactly(client, 10_000)
        client.close()
        rows_of(serving.loop, lambda rows: not rows)

    def test_it_ends_when_the_client_has_finished_sending(
        self, serving: Serving, connect: Client, scheme: str
    ) -> None:
        listener = serving.listen(scheme, chargen.chargen)
        serving.start()
        client = connect(listener)
        client.shutdown(socket.SHUT_WR)
        assert len(read_all(client)) % len(chargen.PATTERN) == 0  # flushed, not cut

    def test_what_the_client_sends_is_thrown_away(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, chargen.chargen, limits=Limits(inbox_bytes=1000))
        serving.start()
        client = connect(listener)
        client.sendall(ALL_BYTES)
        rows_of(serving.loop, lambda rows: bool(rows) and rows[0].bytes_in == len(ALL_BYTES))
        assert read_exactly(client, 2) == b" !"

    def test_a_client_that_does_not_read_costs_one_outbox(
        self, serving: Serving, connect: Client, scheme: str
    ) -> None:
        clock = ManualClock()
        with Reactor(strict=True, clock=clock) as loop:
            serving.loop = loop
            client = connect(serving.listen(scheme, chargen.chargen))
            while not loop.step(0.01).settled or not loop.table.connections:
                pass
            (row,) = (row for row in loop.table if row.kind == "stream")
            while loop.step().settled:  # until the socket is full and nothing is left to do
                pass
            assert 0 < row.outbox_bytes <= loop.limits.outbox_low_bytes + len(chargen.PATTERN)
            assert loop.next_turn_in_s() != 0
            clock.advance(31)
            loop.step()
            assert row.end is End.LIMIT
            client.close()

    def test_a_client_that_reads_is_never_idle(self, serving: Serving, connect: Client, scheme: str) -> None:
        clock = ManualClock()
        with Reactor(strict=True, clock=clock) as loop:
            serving.loop = loop
            client = connect(serving.listen(scheme, chargen.chargen))
            while not loop.table.connections:
                loop.step(10)
            (row,) = (row for row in loop.table if row.kind == "stream")
            for _ in range(50):
                loop.step()
                loop.step()
                assert client.recv(1 << 20)
                clock.advance(20)
            assert row.end is None

    def test_it_heeds_a_drain(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, chargen.chargen)
        serving.start()
        client = connect(listener)
        read_exactly(client, 10)
        serving.loop.stop()
        assert len(read_all(client)) % len(chargen.PATTERN) == len(chargen.PATTERN) - 10


class TestDaytime:
    def test_one_line_and_the_end(self, serving: Serving, connect: Client, scheme: str) -> None:
        handler = functools.partial(daytime.daytime, clock=lambda: 383_247_463.9)
        listener = serving.listen(scheme, handler)
        serving.start()
        assert read_all(connect(listener)) == b"Monday, February 22, 1982 17:37:43-UTC\r\n"

    def test_what_the_client_sends_is_thrown_away(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, functools.partial(daytime.daytime, clock=lambda: 0))
        serving.start()
        client = connect(listener)
        client.sendall(b"please\r\n")
        assert read_all(client) == b"Thursday, January 1, 1970 00:00:00-UTC\r\n"

    def test_the_clock_is_the_system_s(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, daytime.daytime)
        serving.start()
        assert read_all(connect(listener)).endswith(b"-UTC\r\n")


class TestTime:
    @pytest.mark.parametrize(
        ("at", "since_1900"),
        [
            (0, 2_208_988_800),  # the RFC's own examples
            (189_302_400, 2_398_291_200),  # 1 January 1976
            (315_532_800, 2_524_521_600),  # 1 January 1980
            (420_595_200, 2_629_584_000),  # 1 May 1983
            (-2_208_988_799, 1),  # 12:00:01 am on 1 January 1900
            (-3_506_716_800, -1_297_728_000 % 2**32),  # 17 November 1858
            (2_085_978_495.9, 0xFFFFFFFF),  # the last second before the count wraps
            (2_085_978_496, 0),
            (2_085_978_497, 1),
            (-0.5, 2_208_988_799),  # a second that has begun is not over
        ],
    )
    def test_four_bytes_and_the_end(
        self, serving: Serving, connect: Client, scheme: str, at: float, since_1900: int
    ) -> None:
        listener = serving.listen(scheme, functools.partial(time.time, clock=lambda: at))
        serving.start()
        assert read_all(connect(listener)) == since_1900.to_bytes(4, "big")

    def test_the_clock_is_the_system_s(self, serving: Serving, connect: Client, scheme: str) -> None:
        listener = serving.listen(scheme, time.time)
        serving.start()
        assert len(read_all(connect(listener))) == 4
