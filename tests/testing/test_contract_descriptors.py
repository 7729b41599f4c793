"""Descriptors and selectors: what the simulated ones do, the kernel's and `selectors.EpollSelector` do."""

import errno
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from reactor.permissions import AF_UNIX
from reactor.testing.network import Process
from tests.testing.test_contract_streams import code
from tests.testing.worlds import World

READ, WRITE = 1, 2


def test_the_lowest_free_descriptor_is_given_out_again(world: World) -> None:
    first, second, third = (world.socket(socket.AF_INET, socket.SOCK_STREAM) for _ in range(3))
    low, middle = first.fileno(), second.fileno()
    assert low < middle < third.fileno()
    second.close()
    first.close()
    assert world.socket(socket.AF_INET, socket.SOCK_STREAM).fileno() == low
    assert world.socket(AF_UNIX, socket.SOCK_DGRAM).fileno() == middle


def test_a_closed_socket(world: World, kind: str) -> None:
    client, _ = world.pair(kind)
    client.close()
    client.close()
    assert client.fileno() == -1
    for call in (
        lambda: client.recv(1), lambda: client.send(b"x"), lambda: client.shutdown(socket.SHUT_WR), client.getsockname,
        client.getpeername, lambda: client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1), client.accept, client.dup,
    ):  # fmt: skip
        assert code(call) == "EBADF"


def test_a_copy_holds_the_connection_open(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    copy = server.dup()
    assert copy.fileno() != server.fileno()
    with copy:
        server.close()
        assert code(client.recv, 1) == "EAGAIN"
        copy.send(b"still here")
        assert world.received(client, 10) == b"still here"
        copy.shutdown(socket.SHUT_WR)  # reaches the peer whoever holds copies
        assert world.received(client, 1) == b""


def test_detach_gives_the_descriptor_away(world: World) -> None:
    client, server = world.pair("tcp")
    fd = server.detach()
    assert (server.fileno(), code(server.recv, 1)) == (-1, "EBADF")
    server.close()
    client.send(b"x")
    if world.is_simulated:
        world.under.process.close(fd)
    else:
        os.close(fd)
    assert world.ready(client, READ, READ) == READ


@pytest.fixture
def no_descriptor_left(world: World) -> Iterator[Callable[[], None]]:
    """Give a function that leaves no descriptor to open."""
    if world.is_simulated:

        def exhaust() -> None:
            world.under.process.limit = world.under.process.next_descriptor()

        yield exhaust
        return
    import resource  # which WebAssembly has not

    before = resource.getrlimit(resource.RLIMIT_NOFILE)

    def exhaust_kernel() -> None:
        lowest = os.dup(0)
        os.close(lowest)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, before[1]))

    yield exhaust_kernel
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


def test_no_descriptor_is_left(world: World, no_descriptor_left: Callable[[], None]) -> None:
    listener = world.listener("tcp")
    client = world.dial(listener)
    assert world.ready(listener, READ) == READ
    no_descriptor_left()
    assert code(listener.accept) == "EMFILE"
    assert code(world.sockets.socket) == code(listener.dup) == "EMFILE"
    client.close()
    server, _ = listener.accept()  # nothing was lost
    server.close()
    assert code(listener.accept) == "EAGAIN"


def test_no_descriptor_and_nobody_there(world: World, no_descriptor_left: Callable[[], None]) -> None:
    listener = world.listener("tcp")
    no_descriptor_left()
    assert code(listener.accept) == "EMFILE"


# The selector.


def test_registering(world: World) -> None:
    client, server = world.pair("tcp")
    selector = world.selector()
    key = selector.register(client, READ, "row")
    assert (key.fileobj, key.fd, key.events, key.data) == (client, client.fileno(), READ, "row")
    assert selector.get_key(client) == key == selector.get_map()[client.fileno()]
    with pytest.raises(KeyError, match="already registered"):
        selector.register(client, READ)
    with pytest.raises(ValueError, match="Invalid events"):
        selector.register(server, 0)
    with pytest.raises(KeyError, match="not registered"):
        selector.unregister(server)
    with pytest.raises(KeyError):
        selector.modify(server, READ)
    assert selector.modify(client, READ | WRITE, "other").data == "other"
    assert [(key.data, ready) for key, ready in selector.select(0)] == [("other", WRITE)]
    assert selector.unregister(client).data == "other"
    assert selector.select(0) == []


def test_a_closed_socket_cannot_be_registered(world: World) -> None:
    selector = world.selector()  # first: it may need a descriptor of its own
    sock = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    fd = sock.fileno()
    sock.close()
    with pytest.raises(ValueError, match="Invalid file descriptor"):
        selector.register(sock, READ)
    assert code(selector.register, fd, READ) == "EBADF"


def test_a_closed_socket_leaves_the_selector_by_itself(world: World) -> None:
    client, server = world.pair("tcp")
    client.send(b"x")
    assert world.ready(server, READ, READ) == READ
    selector = world.selector()
    selector.register(server, READ, "row")
    fd = server.fileno()
    server.close()
    assert selector.select(0) == []
    replacement = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    while replacement.fileno() != fd:
        assert replacement.fileno() < fd  # the lowest one first
        replacement = world.socket(socket.AF_INET, socket.SOCK_STREAM)
    with pytest.raises(KeyError, match="already registered"):  # of the key that nobody took away
        selector.register(replacement, READ)
    with pytest.raises(OSError) as caught:
        selector.modify(fd, WRITE)
    assert caught.value.errno == errno.ENOENT
    selector.register(replacement, WRITE)


def test_a_closed_socket_whose_copy_lives_haunts_the_selector(world: World) -> None:
    client, server = world.pair("tcp")
    client.send(b"x")
    assert world.ready(server, READ, READ) == READ
    selector = world.selector()
    selector.register(server, READ, "row")
    with server.dup() as copy:
        server.close()
        assert [key.data for key, _ in selector.select(0)] == ["row"]
        selector.unregister(server)  # epoll no longer knows which socket is meant
        for _ in range(3):
            assert selector.select(world.under.wait_s(60)) == []  # at once: it is woken, and nobody learns why
        copy.recv(1)
        assert selector.select(0) == []


def test_readiness_is_told_until_it_is_gone(world: World, kind: str) -> None:
    client, server = world.pair(kind)
    client.send(b"xy")
    assert world.ready(server, READ, READ) == READ
    selector = world.selector()
    selector.register(server, READ, "row")
    for _ in range(2):
        assert len(selector.select(0)) == 1
        server.recv(1)
    assert selector.select(0) == []


# What only a simulated world has.


def test_a_child_holds_copies_of_everything() -> None:
    from tests.testing.worlds import SimulatedWorld

    world = SimulatedWorld()
    first, second = world.sockets.socketpair()
    first.setblocking(False)
    child: Process = world.process.child("child")
    second.close()
    assert code(first.recv, 1) == "EAGAIN"
    child.exit()
    assert first.recv(1) == b""
    first.close()
    assert not world.process.files
