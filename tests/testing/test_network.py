"""What only a simulated world does: time, delays, faults, processes, blocking calls, spins."""

import socket
from typing import Any

import pytest

from reactor.permissions import AF_UNIX
from reactor.testing import Faults, Spinning, Stuck
from reactor.testing.faults import FaultPlan
from reactor.testing.modules import SimulatedSockets
from reactor.testing.network import Network, Process
from reactor.testing.selector import IDLE_TELLINGS, SimulatedSelector
from tests.testing.test_contract_streams import code, code_of

READ, WRITE = 1, 2


class Place:
    """A network with one process, whose calls may fail."""

    def __init__(self, faults: Faults, seed: int = 0) -> None:
        self.network = Network(seed, faults=faults)
        self.clock = self.network.clock
        self.process = Process(self.network, "test", plan=FaultPlan(faults, self.network.random))
        self.sockets = SimulatedSockets(self.process)

    def socket(self, type: int = socket.SOCK_STREAM) -> Any:
        sock = self.sockets.socket(socket.AF_INET, type)
        sock.setblocking(False)
        return sock

    def listener(self) -> Any:
        sock = self.socket()
        sock.bind(("127.0.0.1", 80))
        sock.listen(5)
        return sock

    def settle(self) -> None:
        """Let everything arrive."""
        while self.network.next_at is not None:
            self.network.jump(self.network.next_at)
            self.network.deliver()

    def pair(self) -> tuple[Any, Any]:
        listener, client = self.listener(), self.socket()
        client.connect_ex(("127.0.0.1", 80))
        self.settle()
        listener.setblocking(True)  # so that no call is put off
        server, _ = listener.accept()
        server.setblocking(False)
        listener.close()
        return client, server


@pytest.fixture
def place() -> Place:
    return Place(Faults())


def test_what_is_sent_takes_its_time() -> None:
    place = Place(Faults(delay_s=(0.25, 0.25)))
    client, server = place.pair()
    began_at = place.clock.now()
    client.send(b"x")
    assert code(server.recv, 1) == "EAGAIN"
    assert place.network.next_at == began_at + 0.25
    place.settle()
    assert server.recv(1) == b"x"
    assert place.clock.now() == began_at + 0.25


def test_connecting_takes_its_time() -> None:
    place = Place(Faults(delay_s=(0.25, 0.25)))
    listener, client = place.listener(), place.socket()
    began_at = place.clock.now()
    assert code(client.connect, ("127.0.0.1", 80)) == "EINPROGRESS"
    assert code(listener.accept) == "EAGAIN"
    place.settle()
    assert client.connect_ex(("127.0.0.1", 80)) == 0
    assert place.clock.now() == began_at + 0.5  # there and back


@pytest.mark.parametrize("seed", range(20))
def test_a_connection_keeps_its_order(seed: int) -> None:
    place = Place(Faults(delay_s=(0, 1)), seed)
    client, server = place.pair()
    for number in range(20):
        client.send(bytes([number]))
    client.close()
    place.settle()
    assert server.recv(100) == bytes(range(20))
    assert server.recv(1) == b""


def test_connections_overtake_each_other() -> None:
    orders = set()
    for seed in range(20):
        place = Place(Faults(delay_s=(0, 1)), seed)
        listener, clients = place.listener(), [place.socket() for _ in range(3)]
        for client in clients:
            client.connect_ex(("127.0.0.1", 80))
        place.settle()
        ports = [client.getsockname()[1] for client in clients]
        orders.add(tuple(ports.index(listener.accept()[1][1]) for _ in clients))
    assert len(orders) > 1


def test_one_seed_is_one_run() -> None:
    def run(seed: int) -> str:
        place = Place(Faults(delay_s=(0, 1), short_writes=0.5, would_block=0.3), seed)
        client, _ = place.pair()
        for _ in range(20):
            client.connect_ex(("127.0.0.1", 80))
            try:
                client.send(b"0123456789")
            except BlockingIOError:
                place.settle()
        return str(place.network.trace)

    assert run(1) == run(1) != run(2)


def test_a_call_fails_as_it_was_told() -> None:
    place = Place(Faults(at=(("recv", 2, "ECONNRESET"), ("socket", 4, "EMFILE"), ("accept", 1, "ECONNABORTED"))))
    listener, client = place.listener(), place.socket()
    client.connect_ex(("127.0.0.1", 80))
    assert code(listener.accept) == "ECONNABORTED"
    server, _ = listener.accept()  # the connection is still there
    client.send(b"ab")
    assert server.recv(1) == b"a"
    with pytest.raises(ConnectionResetError, match="injected"):
        server.recv(1)
    assert server.recv(1) == b"b"
    place.socket().close()
    assert code(place.socket) == "EMFILE"


def test_sends_are_cut_short_and_calls_put_off() -> None:
    place = Place(Faults(short_writes=0.9, would_block=0.5))
    client, server = place.pair()
    sent, put_off = [], 0
    for _ in range(50):
        try:
            sent.append(client.send(bytes(100)))
        except BlockingIOError:
            put_off += 1
    assert 5 < put_off < 45
    assert min(sent) < 100
    received = 0
    while received < sum(sent):
        try:
            received += len(server.recv(1000))
        except BlockingIOError:
            put_off += 1
    assert received == sum(sent)


def test_a_connection_breaks_on_the_way() -> None:
    place = Place(Faults(resets=0.5))
    client, server = place.pair()
    codes = {code_of(server.send, b"x") for _ in range(50)}
    assert codes == {"", "ECONNRESET", "EPIPE"}
    assert client._description.error  # the other end hears of it, too


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"short_writes": 1}, "short_writes=1"),
        ({"would_block": -0.1}, "would_block=-0.1"),
        ({"resets": 1.5}, "resets=1.5"),
        ({"delay_s": (1, 0)}, "delay_s"),
        ({"delay_s": (-1, 0)}, "delay_s"),
        ({"at": (("recv", 0, "EMFILE"),)}, "at="),
        ({"at": (("recv", 1, "EWHATEVER"),)}, "EWHATEVER"),
    ],
)
def test_faults_that_cannot_be(keywords: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Faults(**keywords)


# Blocking calls.


def test_a_blocking_call_lets_time_pass() -> None:
    place = Place(Faults(delay_s=(0.5, 0.5)))
    client, server = place.pair()
    server.setblocking(True)
    client.send(b"x")
    began_at = place.clock.now()
    assert server.recv(1) == b"x"
    assert place.clock.now() == began_at + 0.5


def test_a_call_that_would_block_for_ever_is_an_error(place: Place) -> None:
    client, server = place.pair()
    server.setblocking(True)
    with pytest.raises(Stuck, match="for ever"):
        server.recv(1)
    server.settimeout(3)
    began_at = place.clock.now()
    with pytest.raises(TimeoutError):
        server.recv(1)
    assert place.clock.now() == began_at + 3
    assert server.gettimeout() == 3
    assert server.getblocking()
    with pytest.raises(ValueError, match="out of range"):
        server.settimeout(-1)
    client.close()


def test_blocking_to_connect_and_to_send() -> None:
    place = Place(Faults(delay_s=(0.1, 0.1)))
    listener, client = place.listener(), place.sockets.socket()
    client.connect(("127.0.0.1", 80))
    server, _ = listener.accept()
    client.sendall(bytes(60_000))
    assert len(server.recv(100_000)) > 1000
    with pytest.raises(ConnectionRefusedError):
        place.sockets.socket().connect(("127.0.0.1", 81))


# A backlog that is full, and what happens then.


def test_who_was_not_answered_tries_again(place: Place) -> None:
    listener = place.socket()
    listener.bind(("127.0.0.1", 80))
    listener.listen(0)
    first, second = place.socket(), place.socket()
    first.connect_ex(("127.0.0.1", 80))
    second.connect_ex(("127.0.0.1", 80))
    began_at = place.clock.now()
    assert place.network.next_at == began_at + 1
    place.network.jump(began_at + 1)
    place.network.deliver()
    assert place.network.next_at == began_at + 3
    listener.accept()
    place.settle()
    assert second.connect_ex(("127.0.0.1", 80)) == 0
    assert place.clock.now() == began_at + 3


def test_who_is_never_answered_gives_up(place: Place) -> None:
    listener = place.socket()
    listener.bind(("127.0.0.1", 80))
    listener.listen(0)
    first, second = place.socket(), place.socket()
    first.connect_ex(("127.0.0.1", 80))
    second.connect_ex(("127.0.0.1", 80))
    began_at = place.clock.now()
    place.settle()
    assert code(second.connect, ("127.0.0.1", 80)) == "ETIMEDOUT"
    assert place.clock.now() == began_at + 127  # tcp_syn_retries in tcp(7)


# The selector.


def test_the_selector_jumps_to_what_comes_next() -> None:
    place = Place(Faults(delay_s=(5, 5)))
    client, server = place.pair()
    selector = SimulatedSelector(place.process)
    selector.register(server, READ, "row")
    client.send(b"x")
    began_at = place.clock.now()
    assert selector.select(2) == []
    assert place.clock.now() == began_at + 2
    assert [key.data for key, _ in selector.select(60)] == ["row"]
    assert place.clock.now() == began_at + 5
    server.recv(1)
    with pytest.raises(Stuck, match="test waits for ever"):
        selector.select(None)


def test_the_order_of_what_is_ready_is_drawn(place: Place) -> None:
    pairs = [place.sockets.socketpair() for _ in range(4)]
    selector, in_order = SimulatedSelector(place.process), SimulatedSelector(place.process, shuffles=False)
    for number, (sock, other) in enumerate(pairs):
        other.send(b"x")
        selector.register(sock, READ, number)
        in_order.register(sock, READ, number)
    assert len({tuple(key.data for key, _ in selector.select(0)) for _ in range(50)}) > 5
    assert len({tuple(key.data for key, _ in in_order.select(0)) for _ in range(50)}) == 1


def test_a_loop_that_does_nothing_about_it_spins(place: Place) -> None:
    sock, other = place.sockets.socketpair()
    sock.setblocking(False)
    selector = SimulatedSelector(place.process)
    selector.register(sock, READ, "the row")
    other.send(b"x")
    for _ in range(IDLE_TELLINGS):
        selector.select(0)
    other.send(b"x")  # somebody does something
    for _ in range(IDLE_TELLINGS + 1):
        selector.select(0)
    with pytest.raises(Spinning, match="the row"):
        selector.select(0)


def test_hearing_of_the_end_for_ever_is_a_spin(place: Place) -> None:
    client, server = place.pair()
    client.close()
    selector = SimulatedSelector(place.process)
    selector.register(server, READ)
    for _ in range(IDLE_TELLINGS + 2):
        assert selector.select(0)
        assert server.recv(1) == b""
    with pytest.raises(Spinning):
        selector.select(0)


def test_failing_for_ever_is_a_spin(place: Place) -> None:
    listener, client = place.listener(), place.socket()
    client.connect_ex(("127.0.0.1", 80))
    place.process.limit = place.process.next_descriptor()
    selector = SimulatedSelector(place.process)
    selector.register(listener, READ)
    for _ in range(IDLE_TELLINGS + 1):
        assert selector.select(0)
        assert code(listener.accept) == "EMFILE"
    with pytest.raises(Spinning):
        selector.select(0)


def test_trying_again_a_second_later_is_no_spin(place: Place) -> None:
    sock, other = place.sockets.socketpair()
    selector = SimulatedSelector(place.process)
    selector.register(sock, READ)
    other.send(b"x")
    for _ in range(3 * IDLE_TELLINGS):
        assert selector.select(0)
        place.clock.advance(1)


def test_a_haunted_selector_spins(place: Place) -> None:
    sock, other = place.sockets.socketpair()
    selector = SimulatedSelector(place.process)
    selector.register(sock, READ)
    place.process.child("child")
    other.send(b"x")
    sock.close()
    selector.unregister(sock)
    for _ in range(IDLE_TELLINGS + 1):
        assert selector.select(None) == []
    with pytest.raises(Spinning, match="a fork or a dup"):
        selector.select(None)


def test_what_the_module_knows(place: Place) -> None:
    assert place.sockets.AF_UNIX == AF_UNIX
    assert place.sockets.timeout is TimeoutError
    with pytest.raises(AttributeError, match="getfqdn"):
        place.sockets.getfqdn  # noqa: B018
    assert code(place.sockets.socket, socket.AF_INET + 10_000) == "EAFNOSUPPORT"
    with pytest.raises(NotImplementedError, match="no socket pairs"):
        SimulatedSockets(place.process, pairs=False).socketpair()


def test_the_trace_can_be_read(place: Place) -> None:
    client, server = place.pair()
    client.send(b"hello" * 20)
    server.recv(1000)
    text = str(place.network.trace)
    assert "0.000000 s  test 4       connect    EINPROGRESS" in text
    assert "test 5       recv       b'hellohello" in text
    assert "... (100 bytes)" in text
    place.network.trace.clear()
    assert str(place.network.trace) == "nothing happened"
    for _ in range(3000):
        place.network.trace.add(0.0, "test 1", "recv", b"x")
    assert str(place.network.trace).startswith("... 1000 earlier events are not kept\n")
    assert len(place.network.trace) == 2000


@pytest.mark.parametrize("seed", range(10))
def test_packets_between_two_sockets_keep_their_order(seed: int) -> None:
    place = Place(Faults(delay_s=(0, 1)), seed)
    receiver, sender, other = (place.socket(socket.SOCK_DGRAM) for _ in range(3))
    receiver.bind(("127.0.0.1", 53))
    for number in range(10):
        sender.sendto(bytes([number]), ("127.0.0.1", 53))
        other.sendto(bytes([100 + number]), ("127.0.0.1", 53))
    place.settle()
    got = [receiver.recv(1)[0] for _ in range(20)]
    assert [number for number in got if number < 100] == list(range(10))
    assert [number for number in got if number >= 100] == list(range(100, 110))


@pytest.mark.parametrize("error", ["EALREADY", "EINPROGRESS"])
def test_a_blocking_call_does_not_wait_for_what_is_no_not_now(error: str) -> None:
    """To Python both are a BlockingIOError, as EAGAIN; only connect() may wait for them."""
    place = Place(Faults(at=(("recv", 1, error),)))
    client, server = place.pair()
    server.setblocking(True)
    client.send(b"x")
    assert code(server.recv, 1) == error
    assert server.recv(1) == b"x"


@pytest.mark.parametrize("call", ["close", "setblocking", "getsockname", "getpeername"])
def test_calls_that_only_sometimes_fail(call: str) -> None:
    place = Place(Faults(at=((call, 1, "EIO"),)))
    listener = place.sockets.socket()  # noqa: F841 (a socket that is closed when it is let go)
    sock = place.sockets.socket()
    assert code(getattr(sock, call), *([False] if call == "setblocking" else [])) == "EIO"
    assert (sock.fileno() < 0) == (call == "close")  # close(2): the descriptor is gone all the same
    assert len(place.process.files) == 1 + (call != "close")
    (struck,) = place.process.plan.struck  # type: ignore[union-attr]
    assert struck == (sock._description, call)


@pytest.mark.parametrize("call", ["register", "modify", "unregister", "select"])
def test_a_selector_that_fails(call: str) -> None:
    """As `selectors` shows it: after a failed modify the key is forgotten, a failed unregister is none."""
    place = Place(Faults(at=((call, 1, "ENOENT"),)))
    selector = SimulatedSelector(place.process)
    sock = place.socket()
    assert (call == "register") == (code_of(lambda: selector.register(sock, READ)) == "ENOENT")
    if call == "register":
        selector.register(sock, READ)
    if call == "modify":
        assert code(selector.modify, sock, WRITE) == "ENOENT"
        assert not selector.get_map()
    if call == "unregister":
        selector.unregister(sock)
        assert not selector.get_map()
    if call == "select":
        assert code(selector.select, 0) == "ENOENT"


def test_an_interrupted_wait_is_no_error() -> None:
    place = Place(Faults(at=(("select", 1, "EINTR"),)))
    selector = SimulatedSelector(place.process)
    selector.register(place.socket(), WRITE)
    assert selector.select(0) == []


def test_delays_hold_for_unix_streams_too() -> None:
    """In order, the end behind the bytes; and what is under way counts against the sender's buffer."""
    place = Place(Faults(delay_s=(0.5, 1.5)), seed=3)
    client, server = place.sockets.socketpair()
    for sock in (client, server):
        sock.setblocking(False)
    for number in range(20):
        client.send(b"%02d" % number)
    client.close()
    assert code(server.recv, 100) == "EAGAIN"
    place.network.jump(0.5 + place.clock.now())
    place.network.deliver()
    early = b""
    while code_of(lambda: server.recv(1, socket.MSG_PEEK)) == "":
        early += server.recv(2)
    place.settle()
    assert early + server.recv(100) == b"".join(b"%02d" % number for number in range(20))
    assert server.recv(100) == b""


def test_a_buffer_is_full_of_what_is_under_way() -> None:
    place = Place(Faults(delay_s=(1, 1)))
    client, _ = place.sockets.socketpair()
    client.setblocking(False)
    selector = SimulatedSelector(place.process)
    selector.register(client, WRITE)
    assert client.send(bytes(1 << 20)) == place.network.send_bytes
    assert code(client.send, b"x") == "EAGAIN"
    assert selector.select(0) == []
    place.settle()
    assert code(client.send, b"x") == "EAGAIN"  # nobody has read it
