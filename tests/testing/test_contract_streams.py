"""Whatever a simulated stream does, the kernel's does: each test runs on both."""

import errno
import socket
import struct
from typing import Any

import pytest

from reactor.permissions import AF_UNIX
from reactor.unsent import unsent_bytes
from tests.testing.worlds import World

READ, WRITE, BOTH = 1, 2, 3
LINGER_0 = struct.pack("ii", 1, 0)


def code(call: Any, *args: Any) -> str:
    """Return the name of the errno that a call fails with."""
    with pytest.raises(OSError) as caught:
        call(*args)
    return errno.errorcode[caught.value.errno or 0]


def code_of(call: Any, *args: Any) -> str:
    """Return the errno's name, "" for a success."""
    try:
        call(*args)
    except OSError as error:
        return errno.errorcode[error.errno or 0]
    return ""


def test_a_connection_carries_bytes_both_ways(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    assert client.send(b"question") == 8
    assert world.received(server, 8) == b"question"
    assert server.send(b"answer") == 6
    assert world.received(client, 6) == b"answer"
    assert code(client.recv, 10) == "EAGAIN"
    assert world.ready(client, WRITE) == WRITE


def test_the_names_of_both_ends(world: World) -> None:
    listener = world.listener("tcp")
    client = world.dial(listener)
    server = world.accept(listener)
    assert client.getpeername() == server.getsockname() == listener.getsockname()
    assert client.getsockname() == server.getpeername()
    assert listener.getsockname()[1] > 0


def test_the_address_that_accept_returns(world: World) -> None:
    listener = world.listener("tcp")
    client = world.dial(listener)
    assert world.ready(listener, READ) == READ
    server, sockaddr = listener.accept()
    with server:
        assert sockaddr == client.getsockname()
        assert server.getblocking()


def test_the_names_of_unix_sockets(world: World) -> None:
    listener = world.listener("unix")
    assert listener.getsockname() == world.path("listener")
    client = world.dial(listener)
    server, sockaddr = listener.accept()
    with server:
        assert sockaddr == "" == client.getsockname() == server.getpeername()
        assert client.getpeername() == server.getsockname() == world.path("listener")


def test_an_abstract_name_is_bytes(world: World) -> None:
    name = f"\0reactor-{id(world)}"
    listener = world.socket(AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name)
    listener.listen(1)
    assert listener.getsockname() == name.encode()
    client = world.dial(listener)
    assert client.getpeername() == name.encode()
    listener.close()
    another = world.socket(AF_UNIX, socket.SOCK_STREAM)
    another.bind(name)


def test_an_abstract_name_outlives_a_connection_that_has_it(world: World) -> None:
    name = f"\0reactor-outlives-{id(world)}"
    listener = world.socket(AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name)
    listener.listen(1)
    for _ in range(2):
        client = world.dial(listener)
        server = world.accept(listener)
        assert server.getsockname() == name.encode()
        server.close()
        assert client.recv(1) == b""


def test_a_new_socket(world: World) -> None:
    tcp = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert (code(tcp.recv, 1), code(tcp.send, b"x")) == ("ENOTCONN", "EPIPE")
    assert code(tcp.shutdown, socket.SHUT_WR) == "ENOTCONN"
    assert code(tcp.getpeername) == "ENOTCONN"
    assert tcp.getsockname() == ("0.0.0.0", 0)
    assert code(tcp.accept) == "EINVAL"
    assert world.ready(tcp, BOTH) == BOTH  # EPOLLHUP and EPOLLOUT
    unix = world.socket(AF_UNIX, socket.SOCK_STREAM)
    assert (code(unix.recv, 1), code(unix.send, b"x")) == ("EINVAL", "ENOTCONN")
    unix.shutdown(socket.SHUT_WR)
    assert unix.getsockname() == ""
    assert code(unix.getpeername) == "ENOTCONN"


def test_half_close(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"last words")
    client.shutdown(socket.SHUT_WR)
    assert code(client.send, b"more") == "EPIPE"
    assert world.received(server, 100) == b"last words"
    assert server.recv(10) == server.recv(10) == b""
    assert world.ready(server, BOTH) == BOTH
    assert server.send(b"reply") == 5
    assert world.received(client, 5) == b"reply"
    client.shutdown(socket.SHUT_WR)  # once more does no harm


def test_the_end_of_stream_stays_readable(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.shutdown(socket.SHUT_WR)
    assert world.ready(server, READ, READ) == READ
    assert server.recv(1) == b""
    assert world.ready(server, READ, READ) == READ


def test_shut_from_both_sides_is_closed(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.shutdown(socket.SHUT_WR)
    assert world.ready(server, READ, READ)
    server.shutdown(socket.SHUT_WR)
    assert world.ready(client, BOTH) == BOTH
    assert client.recv(1) == b"" == server.recv(1)
    if kind == "tcp":
        assert code(client.getpeername) == code(server.getpeername) == "ENOTCONN"
        assert code(server.shutdown, socket.SHUT_WR) == "ENOTCONN"
    assert code(server.send, b"x") == "EPIPE"


def test_a_clean_close_is_the_end_of_the_stream(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"bye")
    client.close()
    assert world.received(server, 100) == b"bye"
    assert server.recv(1) == b""


def test_who_writes_to_a_closed_tcp_peer_is_reset(world: World) -> None:
    client, server = world.pair("tcp")
    client.close()
    assert world.ready(server, READ, READ) == READ
    assert server.send(b"nobody is there") == 15
    assert world.ready(server, BOTH) == BOTH
    assert server.recv(1) == b""  # the end of the stream goes before the error, which stays
    assert server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == errno.EPIPE
    assert code(server.send, b"x") == "EPIPE"


def test_who_writes_to_a_closed_unix_peer(world: World) -> None:
    client, server = world.pair("unix")
    client.close()
    assert code(server.send, b"x") == "EPIPE"
    assert server.recv(1) == b""


def test_a_close_with_unread_input_resets(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"unread")
    assert world.ready(server, READ) & READ
    server.send(b"reply")
    assert world.ready(client, READ) & READ
    server.close()
    assert world.received(client, 5) == b"reply"  # what has arrived is not lost
    assert world.ready(client, BOTH) == BOTH
    assert code(client.recv, 1) == "ECONNRESET"
    assert client.recv(1) == b""
    assert code(client.send, b"x") == "EPIPE"


def test_linger_of_zero_resets(world: World) -> None:
    client, server = world.pair("tcp")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    client.close()
    assert world.ready(server, BOTH) == BOTH
    assert code(server.send, b"x") == "ECONNRESET"
    assert code(server.send, b"x") == "EPIPE"
    assert server.recv(1) == b""
    assert code(server.getpeername) == "ENOTCONN"
    assert code(server.shutdown, socket.SHUT_WR) == "ENOTCONN"


def test_a_unix_socket_knows_no_linger(world: World) -> None:
    client, server = world.pair("unix")
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    client.close()
    assert server.recv(1) == b""


def test_a_reset_behind_the_end_of_stream_is_a_broken_pipe(world: World) -> None:
    client, server = world.pair("tcp")
    server.send(b"unread")
    assert world.ready(client, READ) & READ
    client.shutdown(socket.SHUT_WR)
    assert world.ready(server, READ, READ) == READ
    client.close()
    while server.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) != errno.EPIPE:
        assert not world.is_simulated
    assert server.recv(1) == b""
    assert code(server.send, b"x") == "EPIPE"


def test_hup_and_err_are_reported_whatever_the_interest(world: World) -> None:
    client, server = world.pair("tcp")
    selector = world.selector()
    selector.register(server, WRITE, "row")
    selector.modify(server, 0, "row")  # real ones take it
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    client.close()
    ((key, ready),) = selector.select(world.under.wait_s(1))
    assert (key.data, ready) == ("row", 0)
    assert len(selector.select(0)) == 1  # and again, and again


def test_interest_in_nothing_else(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"x")
    assert world.ready(server, READ, READ) == READ
    assert world.ready(server, WRITE, WRITE) == WRITE
    selector = world.selector()
    selector.register(client, READ)
    assert selector.select(0) == []


def test_a_full_connection_takes_no_more(world: World, kind: str) -> None:
    client, server = world.pair(kind, SO_SNDBUF=16384, SO_RCVBUF=16384)
    sent, block = 0, b"x" * 100_000
    shortened = False
    for _ in range(100):
        try:
            count = client.send(block)
        except BlockingIOError:
            if not world.ready(client, 0, WRITE):
                break
        else:
            sent += count
            shortened |= 0 < count < len(block)
    assert shortened
    assert world.ready(client, 0, WRITE) == 0
    received = 0
    while received < sent:
        received += len(world.received(server, min(sent - received, 4096)))
    assert world.ready(client, WRITE, WRITE) == WRITE
    assert code(server.recv, 1) == "EAGAIN"


def test_the_end_comes_behind_all_that_was_sent(world: World, kind: str) -> None:
    client, server = world.pair(kind, SO_SNDBUF=16384, SO_RCVBUF=16384)
    sent = 0
    while True:
        try:
            sent += client.send(b"y" * 50_000)
        except BlockingIOError:
            break
    client.close()
    assert len(world.received(server, sent + 1)) == sent


def test_an_end_that_has_not_arrived_keeps_the_connection(world: World) -> None:
    client, server = world.pair("tcp", SO_SNDBUF=16384, SO_RCVBUF=16384)
    while code_of(client.send, b"y" * 50_000) == "":
        pass
    client.shutdown(socket.SHUT_WR)
    server.shutdown(socket.SHUT_WR)
    assert world.ready(client, READ, READ) == READ
    assert client.recv(1) == b""
    client.getpeername()  # it still has something to send
    while world.received(server, 4096):
        pass
    while world.ready(server, BOTH) and code_of(client.getpeername) == "":
        assert not world.is_simulated
    assert code(client.getpeername) == "ENOTCONN"


def test_peeking_leaves_the_bytes(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"abc")
    assert world.ready(server, READ) & READ
    assert server.recv(2, socket.MSG_PEEK) == b"ab"
    assert server.recv(2) == b"ab"
    buffer = bytearray(5)
    assert server.recv_into(buffer) == 1
    assert buffer == b"c\0\0\0\0"


def test_nobody_listens(world: World) -> None:
    closed = world.listener("tcp")
    address = closed.getsockname()
    closed.close()
    client = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert client.connect_ex(address) in (errno.EINPROGRESS, errno.ECONNREFUSED)
    assert world.ready(client, BOTH) == BOTH
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in (errno.ECONNREFUSED, 0)
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0


def test_connecting_is_announced_by_room_to_write(world: World) -> None:
    listener = world.listener("tcp")
    client = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert code(client.connect, listener.getsockname()) == "EINPROGRESS"
    assert world.ready(client, WRITE) == WRITE
    assert client.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
    assert client.connect_ex(listener.getsockname()) == 0
    assert client.connect_ex(listener.getsockname()) == errno.EISCONN


def test_a_full_backlog_does_not_answer(world: World) -> None:
    listener = world.listener("tcp", backlog=1)
    first, second = world.dial(listener), world.dial(listener)
    assert world.ready(first, WRITE) == WRITE == world.ready(second, WRITE)
    third = world.dial(listener)
    assert world.ready(third, 0) == 0
    assert code(third.connect, listener.getsockname()) == "EALREADY"
    assert code(third.recv, 1) == code(third.send, b"x") == "EAGAIN"


def test_a_full_backlog_of_a_unix_listener(world: World) -> None:
    listener = world.listener("unix", backlog=1)
    clients = [world.socket(AF_UNIX, socket.SOCK_STREAM) for _ in range(3)]
    assert [each.connect_ex(world.path("listener")) for each in clients] == [0, 0, errno.EAGAIN]
    listener.accept()[0].close()
    assert clients[2].connect_ex(world.path("listener")) == 0


def test_a_reset_before_accept(world: World) -> None:
    listener = world.listener("tcp")
    client = world.dial(listener)
    assert world.ready(client, WRITE) == WRITE
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_0)
    client.close()
    server = world.accept(listener)
    assert code(server.getpeername) == "ENOTCONN"
    assert code(server.recv, 1) == "ECONNRESET"


def test_a_listener_that_closes_resets_who_waits(world: World, kind: str) -> None:
    listener = world.listener(kind)
    client = world.dial(listener)
    assert world.ready(client, WRITE) & WRITE
    assert world.ready(listener, READ) == READ
    listener.close()
    assert world.ready(client, BOTH) == BOTH
    assert code(client.recv, 1) == "ECONNRESET"


def test_a_listener_is_no_connection(world: World, kind: str) -> None:
    listener = world.listener(kind)
    assert code(listener.accept) == "EAGAIN"
    assert world.ready(listener, 0) == 0
    assert code(listener.recv, 1) == {"tcp": "ENOTCONN", "unix": "EINVAL"}[kind]
    assert code(listener.send, b"x") == {"tcp": "EPIPE", "unix": "ENOTCONN"}[kind]


def test_a_port_is_taken_once(world: World) -> None:
    listener = world.listener("tcp")
    another = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    assert code(another.bind, listener.getsockname()) == "EADDRINUSE"
    assert code(another.bind, ("0.0.0.0", listener.getsockname()[1])) == "EADDRINUSE"
    port = listener.getsockname()[1]
    listener.close()
    another.bind(("127.0.0.1", port))
    assert code(another.bind, ("127.0.0.1", 0)) == "EINVAL"


def test_a_wildcard_listener_hears_every_address(world: World) -> None:
    listener = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.bind(("", 0))
    listener.listen(4)
    client = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    client.connect_ex(("127.0.0.1", listener.getsockname()[1]))
    assert world.accept(listener).getsockname()[0] == "127.0.0.1"
    assert listener.getsockname()[0] == "0.0.0.0"


def test_a_path_outlives_its_socket(world: World) -> None:
    listener = world.listener("unix")
    path = world.path("listener")
    listener.close()
    client = world.socket(AF_UNIX, socket.SOCK_STREAM)
    assert code(client.connect, path) == "ECONNREFUSED"
    assert code(client.connect, world.path("nowhere")) == "ENOENT"
    another = world.socket(AF_UNIX, socket.SOCK_STREAM)
    assert code(another.bind, path) == "EADDRINUSE"


def test_a_unix_socket_of_the_other_type(world: World) -> None:
    world.listener("unix")
    packets = world.socket(AF_UNIX, socket.SOCK_DGRAM)
    assert code(packets.connect, world.path("listener")) == "EPROTOTYPE"


@pytest.mark.parametrize("name", ["path", "\0reactor-contract"])
def test_a_connection_that_ends_takes_no_name_with_it(world: World, name: str) -> None:
    listener = world.socket(AF_UNIX, socket.SOCK_STREAM)
    listener.bind(name if name[0] == "\0" else world.path(name))
    listener.listen(5)
    for _ in range(2):
        client = world.dial(listener)
        assert code_of(client.getpeername) == ""
        world.accept(listener).close()
        client.close()


def test_a_tcp_connection_that_ends_takes_no_port_with_it(world: World) -> None:
    listener = world.listener("tcp")
    for _ in range(2):
        client = world.dial(listener)
        server = world.accept(listener)
        server.close()
        client.close()


def test_a_pair(world: World) -> None:
    first, second = world.sockets.socketpair()
    with first, second:
        first.setblocking(False)
        assert (first.family, first.type) == (AF_UNIX, socket.SOCK_STREAM)
        assert code(first.recv, 1) == "EAGAIN"
        second.send(b"\0")
        assert first.recv(10) == b"\0"
        second.close()
        assert first.recv(1) == b""


def test_files_over_a_socket(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    server.setblocking(True)
    client.send(b"one\ntwo\n")
    rfile, wfile = server.makefile("rb"), server.makefile("wb", 0)
    server.close()  # the files hold it open
    assert [rfile.readline(), rfile.readline()] == [b"one\n", b"two\n"]
    wfile.write(b"three")
    assert world.received(client, 5) == b"three"
    rfile.close()
    wfile.close()
    assert world.received(client, 1) == b""


def test_shutting_the_reading_side(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"before")
    assert world.ready(server, READ, READ) == READ
    server.shutdown(socket.SHUT_RD)
    assert server.recv(100) == b"before"
    assert server.recv(100) == b""
    assert world.ready(server, READ, READ) == READ
    if kind == "unix":
        assert code(client.send, b"x") == "EPIPE"
    else:  # TCP has no word for it: the peer does not learn of it
        assert client.send(b"after") == 5
        assert code(client.recv, 1) == "EAGAIN"
    assert server.send(b"answer") == 6
    assert world.received(client, 6) == b"answer"


def test_shutting_both_sides(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.shutdown(socket.SHUT_RDWR)
    assert client.recv(1) == b""
    assert code(client.send, b"x") == "EPIPE"
    assert world.ready(server, READ, READ) == READ
    assert server.recv(1) == b""


def test_listening_without_a_name(world: World) -> None:
    listener = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.listen(1)
    listener.listen(5)  # twice is legal
    assert listener.getsockname()[0] == "0.0.0.0"
    assert listener.getsockname()[1] > 0
    unix = world.socket(AF_UNIX, socket.SOCK_STREAM)
    assert code(unix.listen, 1) == "EINVAL"


def test_a_connection_can_neither_listen_nor_connect(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    assert code(client.listen, 1) == code(server.listen, 1) == "EINVAL"
    if kind == "unix":
        assert code(client.connect, world.path("listener")) == "ECONNREFUSED"  # which is looked at first
    else:
        assert code(server.connect, ("127.0.0.1", 9)) == "EISCONN"
    assert code(client.accept) == "EINVAL"


def test_connecting_a_second_time(world: World) -> None:
    listener = world.listener("unix")
    client = world.dial(listener)
    assert code(client.connect, world.path("listener")) == "EISCONN"


def test_a_listener_cannot_connect(world: World, kind: str) -> None:
    listener = world.listener(kind)
    code_of_connect = code(listener.connect, listener.getsockname())
    assert code_of_connect == {"tcp": "EISCONN", "unix": "EINVAL"}[kind]


def test_a_listener_that_is_shut_refuses(world: World) -> None:
    listener = world.listener("tcp")
    waiting = world.dial(listener)
    assert world.ready(waiting, WRITE) == WRITE
    address = listener.getsockname()
    listener.shutdown(socket.SHUT_RD)
    assert world.ready(waiting, BOTH) == BOTH
    assert code(waiting.recv, 1) == "ECONNRESET"
    assert code(listener.accept) == "EINVAL"
    late = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    late.connect_ex(address)
    assert world.ready(late, BOTH) == BOTH


def test_closing_while_connecting(world: World) -> None:
    listener = world.listener("tcp", backlog=0)
    first, second = world.dial(listener), world.dial(listener)
    assert world.ready(first, WRITE) == WRITE
    second.close()
    first.close()
    assert world.accept(listener).recv(1) == b""
    assert code(listener.accept) == "EAGAIN"


@pytest.mark.parametrize("ends", [False, True])
def test_what_is_sent_is_unsent_until_the_peer_has_it(world: World, ends: bool) -> None:
    client, server = world.pair("tcp", SO_SNDBUF=16384, SO_RCVBUF=16384)
    assert unsent_bytes(client) == 0
    sent = client.send(b"x" * 100_000)
    while world.ready(client, 0, WRITE):
        sent += client.send(b"x" * 100_000)
    if ends:
        client.shutdown(socket.SHUT_WR)
    left = unsent_bytes(client)
    assert left is not None
    assert 0 < left <= sent + ends
    received = 0
    while received < sent:
        received += len(world.received(server, min(sent - received, 4096)))
    if ends:
        assert world.received(server, 1) == b""
    for _ in range(1000):  # the kernel's acknowledgement may come a little later
        if not unsent_bytes(client):
            break
        world.ready(client, 4, WRITE)
    assert unsent_bytes(client) == 0
