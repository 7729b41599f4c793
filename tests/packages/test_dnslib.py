"""dnslib's DNSServer: over UDP a packet is a request, over TCP its handler reads a length of two bytes by itself.

Framed, TCP is `LengthPrefixed(2)`: a DNS message is a frame, prefix included. The handler asks for 8192 bytes at a time and
never reads past a frame, so the connection ends after one question in every way, as with socketserver: a limit of dnslib.
"""

import socket
import struct
from pathlib import Path
from typing import Any

import pytest

from reactor import LengthPrefixed
from tests.packages import served

dnslib: Any = pytest.importorskip("dnslib", reason=served.NEEDED)

from dnslib.server import BaseResolver, DNSLogger, DNSServer  # noqa: E402

pytestmark = pytest.mark.timeout(60)

TCP_WAYS: dict[str, dict[str, Any]] = {
    "default": {}, "thread": {"way": "thread"}, "greenlet": {"way": "greenlet"}, "framed": {"framing": LengthPrefixed(2)},
}  # fmt: skip
UDP_WAYS: dict[str, dict[str, Any]] = {"default": {}, "thread": {"way": "thread"}, "inline": {"way": "inline"}}


class Zone(BaseResolver):
    """Knows one name, and as many addresses of another as fit only TCP."""

    def resolve(self, request: Any, handler: Any) -> Any:
        reply = request.reply()
        name = str(request.q.qname)
        count = {"one.test.": 1, "many.test.": 1000}.get(name, 0)
        for number in range(count):
            reply.add_answer(*dnslib.RR.fromZone(f"{name} 60 A 10.0.{number // 256}.{number % 256}"))
        return reply


def make(*, tcp: bool) -> Any:
    return DNSServer(Zone(), "127.0.0.1", 0, tcp=tcp, logger=DNSLogger("-request,-reply")).server


def ask(address: served.Address, name: str, *, tcp: bool) -> int:
    """Ask and return the number of answers."""
    answer = dnslib.DNSRecord.question(name).send(*address, tcp=tcp, timeout=served.PATIENCE_S)
    return len(dnslib.DNSRecord.parse(answer).rr)


def dig(address: served.Address, name: str, *words: str) -> list[str]:
    """Ask with dig and return the answers."""
    asked = [f"@{address[0]}", "-p", str(address[1]), name, "+short", "+tries=1", "+time=5", "+nocookie", *words]
    return served.run(served.command("dig"), *asked).decode().split()


@served.every_way(UDP_WAYS)
def test_packets(way: str) -> None:
    with served.hosted(make(tcp=False), **UDP_WAYS[way]) as listener:
        assert ask(listener.address, "one.test", tcp=False) == 1
        assert dig(listener.address, "one.test") == ["10.0.0.0"]
        assert dig(listener.address, "none.test") == []


@served.every_way(TCP_WAYS)
def test_connections(way: str) -> None:
    with served.hosted(make(tcp=True), **TCP_WAYS[way]) as listener, served.silent_clients(listener.address):
        assert ask(listener.address, "one.test", tcp=True) == 1
        assert len(dig(listener.address, "many.test", "+tcp")) == 1000


@served.every_way(TCP_WAYS)
def test_a_question_in_pieces(way: str) -> None:
    question = dnslib.DNSRecord.question("one.test").pack()
    message = struct.pack("!H", len(question)) + question
    with (
        served.hosted(make(tcp=True), **TCP_WAYS[way]) as listener,
        socket.create_connection(listener.address, served.PATIENCE_S) as client,
    ):
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for at in (0, 2, 7):  # recv() of the handler may return two bytes at first, but not one: it says "Truncated"
            client.sendall(message[at : {0: 2, 2: 7}.get(at)])
            assert ask(listener.address, "one.test", tcp=True) == 1  # another one is served meanwhile
        answer = client.makefile("rb").read()
    assert len(dnslib.DNSRecord.parse(answer[2:]).rr) == 1


@pytest.mark.parametrize("way", ["greenlet", "framed"])
def test_one_byte_of_a_length(way: str) -> None:
    """socketserver's recv() returns the one byte, and the handler gives up; only a whole frame does not come in bytes."""
    question = dnslib.DNSRecord.question("one.test").pack()
    message = struct.pack("!H", len(question)) + question
    with (
        served.hosted(make(tcp=True), **TCP_WAYS[way]) as listener,
        socket.create_connection(listener.address, served.PATIENCE_S) as client,
    ):
        client.sendall(message[:1])
        assert ask(listener.address, "one.test", tcp=True) == 1
        if way == "framed":
            client.sendall(message[1:])
        assert bool(client.makefile("rb").read()) == (way == "framed")


PROGRAM = """
    import socketserver, sys
    from dnslib import RR
    from dnslib.fixedresolver import FixedResolver
    from dnslib.server import DNSLogger, DNSServer
    servers = [DNSServer(FixedResolver(". 60 IN A 10.0.0.1"), "127.0.0.1", 0, tcp=tcp) for tcp in (False, True)]
    assert socketserver.__name__ == "reactor.socketserver"
    assert all(isinstance(each.server, socketserver.BaseServer) for each in servers)
    for each in servers:
        each.start_thread()
    print("ports", *(each.server.server_address[1] for each in servers))
    sys.stdin.read()
    each.thread.join()
"""


def test_substituted(tmp_path: Path) -> None:
    with served.program(tmp_path, [served.script(tmp_path, PROGRAM)], options=[]) as running:
        udp, tcp = map(int, running.until(r"ports (\d+ \d+)").split())
        assert dig(("127.0.0.1", udp), "any.test") == ["10.0.0.1"]
        assert dig(("127.0.0.1", tcp), "any.test", "+tcp") == ["10.0.0.1"]
