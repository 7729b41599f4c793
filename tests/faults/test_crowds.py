"""Many of everything: clients that never read, and writes of a few bytes."""

import socket
import time
from typing import Any

import pytest

from reactor import Reactor, Stream
from tests.driving import RECEIVE_BYTES, listen
from tests.running import python

WRITE = b"0123456789"
ABOVE = 200_000  # above the high mark of the outbox from the start, where each write is tried to be sent


def test_a_thousand_clients_that_never_read_cost_their_marks() -> None:
    """CVE-2024-12254, redis#540: memory stays below the sum of the high marks, a reply each, and 10 % for the rest."""
    resource = pytest.importorskip("resource")
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2200:
        pytest.skip("needs 2,200 descriptors")
    printed = python(
        """
        import resource, socket
        from reactor import Limits, Reactor

        CLIENTS, HIGH, REPLY = 1000, 32768, 8192

        def rss():
            with open("/proc/self/statm") as file:
                return int(file.read().split()[1]) * resource.getpagesize()

        async def serve(stream):
            size = REPLY
            while await stream.readline():
                stream.write(b"z" * size)

        with Reactor() as loop, socket.socket() as listening:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            listening.bind(("127.0.0.1", 0))
            listening.listen(1024)
            limits = Limits(outbox_high_bytes=HIGH, outbox_low_bytes=4096)
            address = loop.listen(listening, serve, limits=limits).address
            clients = []
            for number in range(CLIENTS):
                client = socket.socket()
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                client.connect(address)
                clients.append(client)
                if number % 64 == 0:
                    loop.step(0)
            while loop.table.connections < CLIENTS:
                loop.step(0.01)
            before = rss()
            for round in range(3):
                for client in clients:
                    client.sendall(b"?\\n" * 100)
                while loop.step(0.05).ready:
                    pass
            rows = [row for row in loop.table if row.kind == "stream"]
            print(len(rows), min(row.outbox_bytes for row in rows), max(row.outbox_bytes for row in rows))
            print(CLIENTS * (HIGH + REPLY), rss() - before)
            for client in clients:
                client.close()
        """
    )
    (rows, least, most), (cap, grown) = ([int(word) for word in line.split()] for line in printed.splitlines())
    assert rows == 1000
    assert least > 0  # the test is one only if nobody's reply fits the socket buffers
    assert most <= 32768 + 8192
    assert grown <= 1.1 * cap


def cpu_of_writes(connect: Any, count: int) -> float:
    """Return the CPU time of so many small writes to one client that reads them (s); the best of three."""

    async def serve(stream: Stream) -> None:
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)  # what the kernel takes is no work of ours
        stream.write(bytes(ABOVE))
        for _ in range(count):
            stream.write(WRITE)

    def once() -> float:
        with Reactor() as loop:
            client: socket.socket = connect(listen(loop, serve), receive_buffer=16384)
            client.setblocking(False)
            received, began = 0, time.thread_time()
            while received < ABOVE + count * len(WRITE):
                loop.step(0)
                try:
                    received += len(client.recv(RECEIVE_BYTES))
                except BlockingIOError:
                    pass
            took = time.thread_time() - began
            client.close()
        return took

    return min(once() for _ in range(3))


def test_ten_times_as_many_writes_cost_ten_times_as_much(connect: Any) -> None:
    """A buffer that is copied for every write costs a hundred times as much."""
    assert cpu_of_writes(connect, 100_000) <= 12 * cpu_of_writes(connect, 10_000)
