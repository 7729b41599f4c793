"""Twisted: `Protocol`, and `LineReceiver` for lines; its own epoll reactor, which is its default on Linux."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as the_reactor
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol
from twisted.protocols.basic import LineReceiver

from benchmarks.bare import BACKLOG, Announce
from benchmarks.tiny import END_OF_HEAD, answer

reactor: Any = the_reactor  # a module that becomes an object when it is imported


class Echo(Protocol):
    transport: Any  # None until there is a connection, says its type

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)


class Lines(LineReceiver):
    delimiter = b"\n"
    transport: Any

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)  # type: ignore[no-untyped-call]


class Close(Echo):
    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)
        self.transport.loseConnection()


class Tiny(Echo):
    tail = b""

    def dataReceived(self, data: bytes) -> None:
        *heads, self.tail = (self.tail + data).split(END_OF_HEAD)
        if heads:
            self.transport.write(b"".join([answer(head) for head in heads]))


class Packets(DatagramProtocol):
    transport: Any

    def datagramReceived(self, data: bytes, addr: Any) -> None:
        self.transport.write(data, addr)


PROTOCOLS: dict[str, Any] = {"echo": Echo, "lines": Lines, "close": Close, "tiny": Tiny}


def serve(protocol: str, announce: Announce) -> None:
    if protocol == "udp":
        port = reactor.listenUDP(0, Packets(), interface="127.0.0.1", maxPacketSize=65536)
    else:
        factory = Factory.forProtocol(PROTOCOLS[protocol])
        factory.noisy = False
        port = reactor.listenTCP(0, factory, backlog=BACKLOG, interface="127.0.0.1")
    announce(port.getHost().port)
    reactor.run(installSignalHandlers=False)
