"""Listeners: what each failure of accept() costs, how many may come, and that nothing leaks."""

import contextlib
import errno
import logging
import os
import selectors
import socket
from collections.abc import Callable
from typing import Any

import pytest

from reactor import End, Limits, ManualClock, Phase, Reactor, Stream
from reactor.acceptor import ACTIONS, Action
from reactor.reserve import RETRY_S
from tests.driving import ask, listen, only, receive_all, reset, streams, turn_until, turns
from tests.running import Waits, descriptors, python

needs_unix = pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="needs Unix sockets")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")


async def echo(stream: Stream) -> None:
    while line := await stream.readline():
        stream.write(line)


class Scripted(socket.socket):
    """A listening socket whose next calls of accept() fail as the test says."""

    errors: list[OSError]
    calls = 0

    def accept(self) -> Any:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return super().accept()


@pytest.fixture
def scripted(loop: Reactor) -> Callable[..., Any]:
    """Give a function that listens on a `Scripted` socket which fails with these errnos, and returns it and its listener."""

    def make(*errnos: int, handler: Any = echo, **limits: Any) -> tuple[Scripted, Any]:
        sock = Scripted(socket.AF_INET, socket.SOCK_STREAM)
        sock.errors = [OSError(number, os.strerror(number)) for number in errnos]
        sock.bind(("127.0.0.1", 0))
        sock.listen(128)
        return sock, listen(loop, handler, sock, **limits)

    return make


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


# -- errors of one connection -----------------------------------------------------------------------------------------

# accept(2): Linux passes network errors of the new connection on; EPERM: a firewall; an unknown one is no reason to stop.
PASSING = [
    getattr(errno, name)
    for name in (
        "ECONNABORTED", "EPROTO", "ENETDOWN", "EHOSTUNREACH", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "ENETUNREACH",
        "EPERM", "ECONNRESET", "ETIMEDOUT", "EINTR", "EIO",
    )
    if hasattr(errno, name)
]  # fmt: skip


@pytest.mark.parametrize("number", PASSING, ids=errno.errorcode.get)
def test_an_error_of_one_connection_costs_no_other(
    loop: Reactor, scripted: Any, connect: Any, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    _, listener = scripted(number, number)
    client = connect(listener)
    turn_until(loop, lambda: loop.step(0.01).ready)
    assert len(streams(loop)) == 1  # in the same turn
    ask(loop, client, b"hello\n", b"hello\n")
    assert listener.row.phase is Phase.LISTENING
    assert warnings_of(caplog) == []


def test_a_kernel_that_only_fails_does_not_hold_the_turn(loop: Reactor, scripted: Any, connect: Any) -> None:
    sock, listener = scripted(*[errno.ECONNABORTED] * 1000, accepts_per_turn=8)
    connect(listener)
    turn_until(loop, lambda: sock.calls)
    assert sock.calls == 8
    loop.step(1)
    assert sock.calls == 16


def test_nothing_is_waiting_after_all(loop: Reactor, scripted: Any, connect: Any) -> None:
    sock, listener = scripted(errno.EAGAIN)
    connect(listener)
    turn_until(loop, lambda: sock.calls)
    assert not streams(loop)
    turn_until(loop, lambda: streams(loop))


def test_what_is_not_in_the_table_of_actions_takes_the_next() -> None:
    assert Action.NEXT not in ACTIONS.values()
    assert {ACTIONS[number] for number in ACTIONS} == {Action.WAIT, Action.PAUSE, Action.CLOSE}


# -- no resources -----------------------------------------------------------------------------------------------------

SCARCE = [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM]


@pytest.mark.parametrize("number", SCARCE, ids=errno.errorcode.get)
def test_without_resources_a_listener_pauses_once_and_costs_nothing(
    loop: Reactor, scripted: Any, connect: Any, caplog: pytest.LogCaptureFixture, number: int
) -> None:
    sock, listener = scripted(*[number] * 200)
    connect(listener)  # and so the listener stays ready, level-triggered
    turn_until(loop, lambda: sock.calls)
    assert sock.calls == 1
    assert listener.row.phase is Phase.PAUSED
    assert listener.row.paused == {"descriptors"}
    waits = Waits(loop)
    assert [turn.ready for turn in turns(loop, 50)] == [()] * 50
    assert sock.calls == 1
    assert len(waits) == 50
    assert len(loop.timers) == 1
    assert loop.next_turn_in_s() == RETRY_S
    (line,) = warnings_of(caplog)
    assert os.strerror(number) in line
    assert "raise the descriptor limit" in line


def test_it_goes_on_when_a_row_closes(loop: Reactor, scripted: Any, connect: Any) -> None:
    sock, listener = scripted()
    first = connect(listener)
    only(loop)
    sock.errors = [OSError(errno.EMFILE, "no more")]
    second = connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
    first.close()
    turn_until(loop, lambda: sock.calls == 5)  # the first, nothing, the refused one, the second, nothing
    assert listener.row.phase is Phase.LISTENING
    assert loop.timers.next_at is None  # the retry is not needed any more
    ask(loop, second, b"hello\n", b"hello\n")


def test_it_goes_on_after_a_while_though_no_row_closes(
    loop: Reactor, clock: ManualClock, scripted: Any, connect: Any
) -> None:
    sock, listener = scripted(errno.EMFILE)
    client = connect(listener)
    turn_until(loop, lambda: sock.calls)
    clock.advance(RETRY_S / 2)
    turns(loop)
    assert sock.calls == 1
    clock.advance(RETRY_S / 2)
    turns(loop)
    assert sock.calls >= 2
    ask(loop, client, b"hello\n", b"hello\n")


def test_exactly_one_retry_is_pending_however_often_it_fails(
    loop: Reactor, clock: ManualClock, scripted: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sock, listener = scripted()
    others = [connect(listener) for _ in range(5)]
    turn_until(loop, lambda: len(streams(loop)) == 5)
    sock.errors = [OSError(errno.EMFILE, "no more") for _ in range(200)]
    connect(listener)
    for number in range(40):
        clock.advance(RETRY_S)
        if number % 8 == 7:
            others.pop().close()  # a row closes: another try, and no second timer
        turns(loop, 3)
        assert len(loop.timers) <= 1
        assert len(loop.starved) <= 1
    assert sock.calls < 100
    assert len(warnings_of(caplog)) == 1
    sock.errors.clear()
    clock.advance(RETRY_S)
    turn_until(loop, lambda: listener.row.phase is Phase.LISTENING)


def test_a_second_shortage_is_logged_again(
    loop: Reactor, clock: ManualClock, scripted: Any, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    sock, listener = scripted(errno.EMFILE)
    for number in (1, 2):
        connect(listener)
        turn_until(loop, lambda: listener.row.phase is Phase.PAUSED)
        clock.advance(RETRY_S)
        turn_until(loop, lambda number=number: len(streams(loop)) == number)
        sock.errors = [OSError(errno.EMFILE, "no more")]
    assert len(warnings_of(caplog)) == 2


def test_two_listeners_that_starve_both_go_on(loop: Reactor, scripted: Any, connect: Any) -> None:
    pairs = [scripted(), scripted()]
    leaving = connect(pairs[0][1])
    only(loop)
    clients = []
    for sock, listener in pairs:
        sock.errors = [OSError(errno.EMFILE, "no more")]
        clients.append(connect(listener))
    turn_until(loop, lambda: all(listener.row.phase is Phase.PAUSED for _, listener in pairs))
    leaving.close()
    turn_until(loop, lambda: len(streams(loop)) == 2)
    for client in clients:
        ask(loop, client, b"hello\n", b"hello\n")


def test_a_starving_listener_may_be_closed_and_forgotten(
    loop: Reactor, clock: ManualClock, scripted: Any, connect: Any
) -> None:
    sock, listener = scripted(errno.EMFILE)
    connect(listener)
    turn_until(loop, lambda: sock.calls)
    listener.close()
    loop.step()
    assert listener.row.phase is Phase.CLOSED
    clock.advance(2 * RETRY_S)
    turns(loop)
    assert listener.row.phase is Phase.CLOSED
    assert loop.next_turn_in_s() is None


def test_a_users_pause_outlasts_the_shortage(loop: Reactor, clock: ManualClock, scripted: Any, connect: Any) -> None:
    sock, listener = scripted(errno.EMFILE)
    connect(listener)
    turn_until(loop, lambda: sock.calls)
    listener.pause()
    clock.advance(2 * RETRY_S)
    turns(loop)
    assert listener.row.paused == {"user"}
    assert listener.row.phase is Phase.PAUSED
    listener.resume()
    turn_until(loop, lambda: streams(loop))


def test_the_real_limit_of_descriptors() -> None:
    """ulimit -n, for real: one line, no spin, and every client is served as soon as there is room."""
    pytest.importorskip("resource")
    printed = python(
        """
        import logging, os, resource, socket, sys
        from reactor import Limits, Reactor
        logging.basicConfig(stream=sys.stdout, format="%(levelname)s %(message)s")

        async def echo(stream):
            while line := await stream.readline():
                stream.write(line)

        with Reactor() as loop:
            listener = loop.listen("tcp://127.0.0.1:0", echo)
            clients = [socket.socket() for _ in range(20)]
            loop.step(0.01)  # now it has its waker
            spare = os.dup(0)
            os.close(spare)
            resource.setrlimit(resource.RLIMIT_NOFILE, (spare + 10, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
            for client in clients:
                client.connect(listener.address)
                client.sendall(b"hello\\n")
            served = [turn.ready for turn in (loop.step(0.01) for _ in range(50)) if turn.ready]
            print(len(served) < 15, listener.row.phase, loop.table.connections)
            while clients:
                for client in clients:
                    client.setblocking(False)
                    try:
                        answer = client.recv(10)
                    except BlockingIOError:
                        continue
                    assert answer == b"hello\\n", answer
                    client.close()
                    clients.remove(client)
                    break
                turn = loop.step(0.01)
                assert len(loop.timers) <= 1
            print("all served")
        """
    )
    first, second, *rest = printed.splitlines()
    assert first.startswith("WARNING row 1 (listener of echo tcp://127.0.0.1:")
    assert "Too many open files" in first
    assert second == "True PAUSED 10"
    assert rest[-1] == "all served"
    assert len(rest) <= 12  # at most a line for each time that it ran out again


# -- a socket that listens no more ------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EOPNOTSUPP], ids=errno.errorcode.get)
def test_a_socket_that_does_not_listen_ends_its_row_only(
    loop: Reactor, scripted: Any, connect: Any, number: int
) -> None:
    sock, listener = scripted()
    served = connect(listener)
    ask(loop, served, b"before\n", b"before\n")
    sock.errors = [OSError(number, os.strerror(number))]
    connect(listener)
    turn_until(loop, lambda: listener.row.phase is Phase.CLOSED)
    assert listener.row.end is End.ABORTED
    assert "accept failed" in loop.table.ended[-1].detail
    assert sock.fileno() == -1
    ask(loop, served, b"after\n", b"after\n")


def test_a_listener_that_was_shut_down_behind_our_back_does_not_spin(loop: Reactor, scripted: Any) -> None:
    sock, listener = scripted()
    turns(loop)
    sock.shutdown(socket.SHUT_RDWR)  # accept() says EINVAL from now on
    turn_until(loop, lambda: listener.row.phase is Phase.CLOSED)
    assert [turn.ready for turn in turns(loop, 5)] == [()] * 5


# -- how many, and whose turn -----------------------------------------------------------------------------------------


@needs_unix
def test_so_many_a_turn_and_the_others_get_theirs(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    """On a Unix socket, where all that was sent is there when send() returns."""
    listener = listen(loop, echo, f"unix://{tmp_path}/s", accepts_per_turn=3)
    served = connect(listener)
    ask(loop, served, b"before\n", b"before\n")
    clients = [connect(listener) for _ in range(10)]
    served.sendall(b"after\n")
    for expected in (4, 7, 10, 11):
        loop.step(1)
        assert len(streams(loop)) == expected
        if expected == 4:
            assert served.recv(10) == b"after\n"
    assert len(clients) == 10


@needs_unix
def test_the_default_takes_a_burst_in_one_turn(loop: Reactor, connect: Any, tmp_path: Any) -> None:
    listener = listen(loop, echo, f"unix://{tmp_path}/s")
    for _ in range(64):
        connect(listener)
    loop.step(1)
    assert len(streams(loop)) == 64


def test_a_reactor_full_of_connections_waits_for_a_place(make_loop: Callable[..., Reactor], connect: Any) -> None:
    loop = make_loop(max_connections=3)
    listeners = [listen(loop, echo), listen(loop, echo)]
    clients = [connect(listeners[number % 2]) for number in range(6)]
    turns(loop, 10)
    assert len(streams(loop)) == 3
    assert {"connections"} in [listener.row.paused for listener in listeners]
    assert [turn.ready for turn in turns(loop, 10)] == [()] * 10
    assert loop.timers.next_at is None
    served = 0
    while served < 6:
        for client in clients:
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.send(b"x\n")
        loop.step(0.01)
        assert len(streams(loop)) <= 3
        for client in list(clients):
            with contextlib.suppress(BlockingIOError):
                assert client.recv(2) == b"x\n"
                client.close()
                clients.remove(client)
                served += 1


def test_a_listener_has_a_limit_of_its_own_and_does_not_share_it(loop: Reactor, connect: Any) -> None:
    limits = Limits(connections=2)
    small, other, large = (
        loop.listen("tcp://127.0.0.1:0", echo, limits=one) for one in (limits, limits, Limits())
    )
    clients = {one: [connect(one) for _ in range(4)] for one in (small, other, large)}
    turns(loop, 10)
    assert [one.row.members for one in (small, other, large)] == [2, 2, 4]
    assert [turn.ready for turn in turns(loop, 10)] == [()] * 10
    clients[small][0].close()
    clients[large][0].close()
    turn_until(loop, lambda: large.row.members == 3)
    turns(loop, 10)
    assert [one.row.members for one in (small, other, large)] == [2, 2, 3]
    ask(loop, clients[small][2], b"x\n", b"x\n")


def test_a_listener_under_its_limit_never_pauses(loop: Reactor, connect: Any) -> None:
    listener = listen(loop, echo, connections=2)
    connect(listener)
    only(loop)
    assert listener.row.phase is Phase.LISTENING
    assert listener.row.paused == frozenset()


def from_host(host: str, listener: Any, stack: contextlib.ExitStack) -> socket.socket:
    client = stack.enter_context(socket.socket())
    client.settimeout(5)
    try:
        client.bind((host, 0))
    except OSError:
        pytest.skip(f"{host} is no address of this machine")
    client.connect(listener.address)
    return client


def test_one_peer_does_not_take_all_places(loop: Reactor) -> None:
    listener = listen(loop, echo, connections_per_peer=2)
    with contextlib.ExitStack() as stack:
        greedy = [from_host("127.0.0.1", listener, stack) for _ in range(4)]
        modest = from_host("127.0.0.2", listener, stack)
        turn_until(loop, lambda: len(streams(loop)) == 3)
        turns(loop)
        assert sorted(row.peer.host for row in streams(loop)) == ["127.0.0.1", "127.0.0.1", "127.0.0.2"]
        assert listener.row.refused == 2
        assert listener.row.phase is Phase.LISTENING  # a greedy peer pauses nobody
        for client in greedy[2:]:
            assert receive_all(loop, client) == b""
        ask(loop, modest, b"hello\n", b"hello\n")
        greedy[0].close()
        turn_until(loop, lambda: len(streams(loop)) == 2)
        again = from_host("127.0.0.1", listener, stack)
        ask(loop, again, b"hello\n", b"hello\n")
        for client in (*greedy, modest, again):
            client.close()
        turn_until(loop, lambda: not streams(loop))
        assert listener.row.members == 0
        assert not listener.row.hosts


# -- the connections themselves ---------------------------------------------------------------------------------------


def test_a_reset_before_accept_is_a_normal_end(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    peers: list[str] = []

    async def handler(stream: Stream) -> None:
        peers.append(str(stream.peer))
        await echo(stream)

    listener = listen(loop, handler)
    client = connect(listener)
    address = "{}:{}".format(*client.getsockname())
    reset(client)
    turn_until(loop, lambda: listener.row.requests)
    turn_until(loop, lambda: not streams(loop))
    assert peers in ([address], [])  # BSD may hide it from accept()
    assert warnings_of(caplog) == []
    ask(loop, connect(listener), b"hello\n", b"hello\n")


def test_the_address_is_the_one_that_accept_returned(loop: Reactor, scripted: Any, connect: Any) -> None:
    class Renamed(Scripted):
        def accept(self) -> Any:
            return super().accept()[0], ("192.0.2.7", 4711)

    sock = Renamed(socket.AF_INET, socket.SOCK_STREAM)
    sock.errors = []
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    connect(listen(loop, echo, sock))
    assert (only(loop).peer.host, only(loop).peer.port) == ("192.0.2.7", 4711)


def test_accepted_sockets_send_small_replies_at_once_and_are_not_inherited(
    loop: Reactor, connect: Any, tmp_path: Any
) -> None:
    connect(listen(loop, echo))
    row = only(loop)
    assert row.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert not row.sock.getblocking()
    assert not os.get_inheritable(row.fd)
    if hasattr(socket, "AF_UNIX"):
        ask(loop, connect(listen(loop, echo, f"unix://{tmp_path}/s")), b"hello\n", b"hello\n")


@pytest.mark.parametrize("how", ["pause", "close"])
def test_a_listener_that_its_own_handler_pauses_or_closes_takes_no_more(loop: Reactor, connect: Any, how: str) -> None:
    async def handler(stream: Stream) -> None:
        getattr(listener, how)()
        await stream.readline()

    listener = listen(loop, handler)
    clients = [connect(listener) for _ in range(3)]  # they wait together, and could be accepted in one batch
    turn_until(loop, lambda: streams(loop))
    assert len(streams(loop)) == 1
    turns(loop)
    assert (len(streams(loop)), len(clients)) == (1, 3)


def test_a_peer_that_has_reset_before_it_is_accepted_may_refuse_the_option(loop: Reactor, connect: Any) -> None:
    """EINVAL, on BSD and macOS: the first recv() tells, as of any reset."""

    class Gone(socket.socket):
        def setsockopt(self, *args: Any) -> None:
            raise OSError(errno.EINVAL, "Invalid argument")

    class Listening(socket.socket):
        def accept(self) -> Any:
            sock, sockaddr = super().accept()
            return Gone(fileno=sock.detach()), sockaddr

    sock = Listening(socket.AF_INET, socket.SOCK_STREAM)
    sock.bind(("127.0.0.1", 0))
    sock.listen()
    ask(loop, connect(listen(loop, echo, sock)), b"hello\n", b"hello\n")


def test_a_handler_of_the_wrong_shape_costs_its_own_connection_only(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    async def shapeless() -> None:
        """Takes no stream."""

    listener = listen(loop, shapeless)
    for _ in range(3):
        client = connect(listener)
        turn_until(loop, lambda: listener.row.requests)
        with contextlib.suppress(ConnectionResetError):
            assert receive_all(loop, client) == b""
        client.close()
        turn_until(loop, lambda: not streams(loop))
    assert listener.row.phase is Phase.LISTENING
    assert len(warnings_of(caplog)) == 3


@pytest.mark.parametrize("error", [ValueError("no"), OSError(errno.ENOMEM, "no"), KeyError("no")], ids=repr)
def test_a_welcome_that_fails_costs_its_own_connection_only(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture, error: Exception
) -> None:
    listener = listen(loop, echo)
    welcome = listener.row._welcome

    def fails(sock: Any, address: Any) -> None:
        listener.row._welcome = welcome
        raise error

    listener.row._welcome = fails
    unlucky = connect(listener)
    with contextlib.suppress(ConnectionResetError):
        assert receive_all(loop, unlucky) == b""
    assert len(warnings_of(caplog)) == 1
    ask(loop, connect(listener), b"hello\n", b"hello\n")


def test_an_accept_that_raises_what_no_socket_raises_does_not_end_the_listener(
    loop: Reactor, connect: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """A get_request() of a subclass may: a TLS wrap's ValueError, a wrong number of values to unpack."""
    listener = listen(loop, echo)
    accept = listener.row._accept
    results: list[Any] = [ValueError("TLS"), (1, 2, 3), None]

    def strange() -> Any:
        if results:
            result = results.pop(0)
            if isinstance(result, Exception):
                raise result
            return result
        return accept()

    listener.row._accept = strange
    ask(loop, connect(listener), b"hello\n", b"hello\n")
    assert listener.row.phase is Phase.LISTENING
    assert len(warnings_of(caplog)) == 3


@needs_proc
def test_descriptors_do_not_leak(
    selector_class: Callable[[], selectors.BaseSelector] | None, connect: Any
) -> None:
    before = descriptors()
    with Reactor(selector=selector_class() if selector_class else None) as loop:
        listener = listen(loop, echo, connections_per_peer=3)
        inside = descriptors()
        for round_ in range(10):
            clients = [connect(listener) for _ in range(5)]
            turns(loop, 5)
            for number, client in enumerate(clients):
                reset(client) if number % 2 else client.close()
            turn_until(loop, lambda: not streams(loop))
            assert listener.row.refused == 2 * (round_ + 1)
        assert {one for one in descriptors() - inside if "anon_inode" not in one} <= {
            one for one in descriptors() if one.split()[0] in _waker_descriptors(loop)
        }
    assert descriptors() == before


def _waker_descriptors(loop: Reactor) -> set[str]:
    return {str(fd) for row in loop.table if row.kind == "waker" for fd in (row.fd, row.sender.fileno())}
