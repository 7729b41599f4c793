"""Whatever a simulated datagram socket does, the kernel's does: each test runs on both."""

import errno
import socket
from typing import Any

from reactor.permissions import AF_UNIX
from tests.testing.test_contract_streams import code
from tests.testing.worlds import World

READ, WRITE, BOTH = 1, 2, 3


def udp(world: World, **options: int) -> Any:
    sock = world.socket(socket.AF_INET, socket.SOCK_DGRAM)
    for name, value in options.items():
        sock.setsockopt(socket.SOL_SOCKET, getattr(socket, name), value)
    sock.bind(("127.0.0.1", 0))
    return sock


def unix(world: World, name: str = "") -> Any:
    sock = world.socket(AF_UNIX, socket.SOCK_DGRAM)
    if name:
        sock.bind(world.path(name))
    return sock


def test_packets_keep_their_borders_and_their_order(world: World) -> None:
    first, second = udp(world), udp(world)
    assert code(second.recvfrom, 10) == "EAGAIN"
    assert world.ready(second, WRITE) == WRITE
    for data in (b"one", b"", b"three"):
        assert first.sendto(data, second.getsockname()) == len(data)
    assert world.ready(second, READ) & READ
    assert [second.recvfrom(100)[0] for _ in range(3)] == [b"one", b"", b"three"]
    assert code(second.recvmsg, 10) == "EAGAIN"


def test_the_sender_is_named(world: World) -> None:
    first, second = world.socket(socket.AF_INET, socket.SOCK_DGRAM), udp(world)
    first.sendto(b"x", second.getsockname())
    assert world.ready(second, READ) & READ
    _, sender = second.recvfrom(10)
    assert sender[0] == "127.0.0.1"
    assert sender[1] == first.getsockname()[1] > 0


def test_what_does_not_fit_is_cut(world: World) -> None:
    first, second = udp(world), udp(world)
    for _ in range(2):
        first.sendto(b"0123456789", second.getsockname())
    assert world.ready(second, READ) & READ
    assert second.recvmsg(4) == (b"0123", [], socket.MSG_TRUNC, first.getsockname())
    assert second.recvmsg(10) == (b"0123456789", [], 0, first.getsockname())
    assert code(second.recv, 10) == "EAGAIN"


def test_too_long_for_a_packet(world: World) -> None:
    first, second = udp(world), udp(world, SO_RCVBUF=1 << 18)
    assert code(first.sendto, bytes(65508), second.getsockname()) == "EMSGSIZE"
    assert code(first.send, b"x") == "EDESTADDRREQ"


def test_a_full_receiver_drops_and_says_nothing(world: World) -> None:
    first, second = udp(world), udp(world, SO_RCVBUF=8192)
    for _ in range(100):
        assert first.sendto(bytes(1000), second.getsockname()) == 1000
    assert world.ready(second, READ) & READ
    count = 0
    while world.ready(second, 0, READ):
        count += len(second.recv(1000))
    assert 0 < count < 100_000


def test_nobody_is_there(world: World) -> None:
    gone = udp(world)
    address = gone.getsockname()
    gone.close()
    unconnected = udp(world)
    unconnected.sendto(b"x", address)
    assert code(unconnected.recv, 1) == "EAGAIN"
    connected = udp(world)
    connected.connect(address)
    connected.send(b"x")
    assert world.ready(connected, READ) & READ  # EPOLLERR
    assert code(connected.recv, 1) == "ECONNREFUSED"
    assert code(connected.recv, 1) == "EAGAIN"
    connected.send(b"x")
    assert world.ready(connected, READ) & READ
    assert code(connected.send, b"x") == "ECONNREFUSED"


def test_a_connected_socket_hears_its_peer_alone(world: World) -> None:
    first, second, third = udp(world), udp(world), udp(world)
    second.connect(first.getsockname())
    third.sendto(b"from the third", second.getsockname())
    first.sendto(b"from the first", second.getsockname())
    assert world.ready(second, READ) & READ
    assert second.recv(100) == b"from the first"
    assert code(second.recv, 100) == "EAGAIN"
    assert second.getpeername() == first.getsockname()
    assert code(first.getpeername) == "ENOTCONN"


def test_unix_packets(world: World) -> None:
    first, second = unix(world, "first"), unix(world, "second")
    first.sendto(b"a", world.path("second"))
    unix(world).sendto(b"b", world.path("second"))
    assert second.recvmsg(10) == (b"a", [], 0, world.path("first"))
    assert second.recvfrom(10) == (b"b", None)
    assert code(second.recv, 10) == "EAGAIN"


def test_unix_packets_to_nobody(world: World) -> None:
    gone = unix(world, "gone")
    gone.close()
    sender = unix(world)
    assert code(sender.sendto, b"x", world.path("gone")) == "ECONNREFUSED"
    assert code(sender.sendto, b"x", world.path("nowhere")) == "ENOENT"
    assert code(sender.send, b"x") == "ENOTCONN"


def test_unix_packets_wait_for_their_reader(world: World) -> None:
    receiver, sender = unix(world, "receiver"), unix(world)
    sender.connect(world.path("receiver"))
    sent = 0
    while sent < 100_000:
        try:
            sent += sender.send(b"x")
        except BlockingIOError:
            break
    assert 0 < sent < 100_000
    assert world.ready(sender, 0, WRITE) == 0
    for _ in range(sent):
        assert receiver.recv(10) == b"x"
    assert world.ready(sender, WRITE, WRITE) == WRITE


def test_a_unix_peer_that_is_closed(world: World) -> None:
    receiver, sender = unix(world, "receiver"), unix(world)
    sender.connect(world.path("receiver"))
    receiver.close()
    assert code(sender.send, b"x") == "ECONNREFUSED"


def test_a_pair_of_packet_sockets(world: World) -> None:
    first, second = world.sockets.socketpair(AF_UNIX, socket.SOCK_DGRAM)
    with first, second:
        first.send(b"")
        first.send(b"x")
        assert second.recv(5) == b""
        assert second.recvfrom(5) == (b"x", None)


def test_shutting_a_packet_socket(world: World) -> None:
    first, second = udp(world), udp(world)
    assert code(first.shutdown, socket.SHUT_WR) == "ENOTCONN"
    first.connect(second.getsockname())
    first.shutdown(socket.SHUT_WR)
    assert code(first.send, b"x") == "EPIPE"
    first.shutdown(socket.SHUT_RD)
    assert world.ready(first, READ) & READ  # for ever
    assert code(first.recv, 1) == "EAGAIN"


def test_what_packet_sockets_do_not_do(world: World) -> None:
    for sock in (udp(world), unix(world, "unix")):
        assert code(sock.listen, 1) == code(sock.accept) == errno.errorcode[errno.EOPNOTSUPP]


def test_a_unix_packet_that_is_too_long(world: World) -> None:
    receiver, sender = unix(world, "receiver"), unix(world)
    size = sender.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    assert code(sender.sendto, bytes(size + 1), world.path("receiver")) == "EMSGSIZE"
    assert code(receiver.recv, 1) == "EAGAIN"


def test_a_connected_unix_socket_hears_its_peer_alone(world: World) -> None:
    first, second, third = unix(world, "first"), unix(world, "second"), unix(world)
    second.connect(world.path("first"))
    first.sendto(b"x", world.path("second"))
    assert second.recv(10) == b"x"
    assert code(third.sendto, b"x", world.path("second")) == "EPERM"
    assert second.getpeername() == world.path("first")
