"""When a datagram service keeps silent: the one rule that all services of this folder ask before they answer.

The sender of a UDP packet is whoever the packet says. Two services that answer anything can therefore be set upon each
other with one forged packet, and go on for ever (CERT CA-1996-01, again CVE-2024-2169: echo, chargen, daytime, time,
qotd, DNS, NTP, TFTP); and a service whose answers are longer than the requests multiplies what an attacker sends.

Rules:

1. No answer to a system port (RFC 6335: below 1024): behind it is a service (7, 13, 17, 19, 37, 53, 69, 123 ...), not a
   client. inetd does the same. Port 0 is nobody's.
2. No answer to a port at which this process has such a service itself, the port of this very socket included: the same
   service is often on the same port of the next host too.
3. How long an answer may be is the service's own business; see `chargen`.

A process learns of its services from the packets they get, so a loop between two of its own ports ends at its second
packet. What this is not: protection against forged packets that look like a client's; a service that must not answer
strangers belongs behind a firewall, or on a Unix socket, whose sender the kernel vouches for.
"""

from reactor import Datagram, Phase, Row

SYSTEM_PORTS = 1024

# The port of each row that has asked, over all loops of this process. It is replaced, never changed: loops may run in
# several threads.
_ports: dict[Row, int] = {}


def may_answer(packet: Datagram) -> bool:
    """Say whether an answer to this packet can neither start a loop of answers nor keep one up."""
    if packet.row not in _ports:
        _learn(packet)
    peer = packet.peer
    if not peer.host:
        return True  # a Unix socket: nobody can pretend to be it
    return peer.port >= SYSTEM_PORTS and not _is_ours(peer.port)


def _learn(packet: Datagram) -> None:
    global _ports
    local = packet.local
    open_ones = {row: port for row, port in _ports.items() if row.phase is not Phase.CLOSED}
    _ports = open_ones if local is None else {**open_ones, packet.row: local.port}


def _is_ours(port: int) -> bool:
    return any(port == ours and row.phase is not Phase.CLOSED for row, ours in _ports.items())
