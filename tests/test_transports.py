"""What a transport does with a socket that takes little, takes nothing, or is gone: a scripted one, mostly."""

import errno
import random
import socket
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.buffers import JOIN_BYTES
from reactor.limits import DEFAULTS, Limits
from reactor.transports import (
    GONE,
    NOT_NOW,
    PLAIN,
    RECEIVE_BYTES,
    SHUT,
    GoneTransport,
    PlainTransport,
    ShutTransport,
)
from tests.properties import tries

# Every error that the manual pages of send(2), recv(2) and shutdown(2) and of tcp(7), ip(7) and unix(7) name, and more.
LOSSES = [
    errno.EPIPE, errno.ECONNRESET, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNABORTED, errno.ECONNREFUSED,
    errno.EHOSTUNREACH, errno.ENETUNREACH, errno.ENETDOWN, errno.ENETRESET, errno.EHOSTDOWN, errno.EBADF, errno.EIO,
    errno.EPROTO, errno.EACCES, errno.EPERM, errno.ENOMEM, errno.EINVAL, errno.EMSGSIZE, errno.ESHUTDOWN,
]  # fmt: skip
TRANSIENT = [errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS]


class ScriptedSocket:
    """Takes what `take(size)` says of each send: a number of bytes, or an errno as a negative one."""

    def __init__(self, take: Callable[[int], int] = lambda size: size) -> None:
        self.take = take
        self.taken = bytearray()
        self.sends: list[int] = []
        self.arriving: list[bytes | int] = []
        self.shut: list[int] = []

    def send(self, data: bytes | memoryview) -> int:
        count = min(self.take(len(data)), len(data))
        self.sends.append(len(data))
        if count < 0:
            raise OSError(-count, errno.errorcode[-count])
        self.taken += data[:count]
        return count

    def recv(self, n: int) -> bytes:
        data = self.arriving.pop(0)
        if isinstance(data, int):
            raise OSError(data, errno.errorcode[data])
        return data[:n]

    def shutdown(self, how: int) -> None:
        self.shut.append(how)
        if self.take(0) < 0:
            raise OSError(-self.take(0), "shutdown")


class FakeRow:
    """What a transport asks of its row."""

    def __init__(self, sock: ScriptedSocket, *chunks: bytes, limits: Limits = DEFAULTS) -> None:
        self.sock: Any = sock
        self.limits = limits
        self.outbox: list[Any] | None = list(chunks) or None
        self.pending = sum(map(len, chunks))
        self.bytes_out = 0
        self.lost: list[OSError] = []

    def lose(self, error: OSError) -> None:
        self.lost.append(error)

    def write(self, data: bytes) -> None:
        self.outbox = [*(self.outbox or []), data]
        self.pending += len(data)

    def left(self) -> bytes:
        """What is still to send; the books must agree with it."""
        left = b"".join(self.outbox or [])
        assert len(left) == self.pending
        assert (self.outbox is None) == (not left), "an empty outbox is None"
        assert self.bytes_out == len(self.sock.taken)
        return left


# -- sending ----------------------------------------------------------------------------------------------------------


def test_small_writes_are_one_send() -> None:
    row = FakeRow(ScriptedSocket(), b"one ", b"two ", b"three")
    PLAIN.flush(row)
    assert (bytes(row.sock.taken), row.sock.sends, row.left()) == (b"one two three", [13], b"")


def test_an_empty_outbox_sends_nothing() -> None:
    row = FakeRow(ScriptedSocket())
    PLAIN.flush(row)
    assert (row.sock.sends, row.left(), row.lost) == ([], b"", [])


@pytest.mark.parametrize("seed", range(5))
def test_sends_of_few_bytes_with_many_refusals_lose_nothing(seed: int) -> None:
    rng = random.Random(seed)
    sock = ScriptedSocket(lambda size: rng.choice([1, 2, 3, 4, 5, 6, 7, *(-number for number in TRANSIENT)]))
    row, written = FakeRow(sock), b""
    while len(written) < 5_000 or row.outbox:
        if len(written) < 5_000:
            for _ in range(rng.randrange(3)):
                data = rng.randbytes(rng.randint(1, 20))
                row.write(data)
                written += data
        PLAIN.flush(row)
        assert bytes(sock.taken) + row.left() == written
    assert bytes(sock.taken) == written
    assert row.lost == []


SIZES = st.sampled_from([1, 7, 16383, 16384, JOIN_BYTES - 1, JOIN_BYTES, JOIN_BYTES + 1, 300_000])


@tries()
@given(st.lists(SIZES, min_size=1, max_size=6), st.integers(1, 400_000), st.randoms(use_true_random=False))
def test_whatever_the_sizes_each_flush_sends_at_most_its_budget(sizes: list[int], budget: int, rng: Any) -> None:
    written = [bytes([65 + n]) * size for n, size in enumerate(sizes)]
    sock = ScriptedSocket(lambda size: rng.choice([size, size, size, rng.randint(0, size), -errno.EAGAIN]))
    row = FakeRow(sock, *written, limits=DEFAULTS.replace(bytes_per_turn=budget))
    while row.outbox:
        before = row.bytes_out
        PLAIN.flush(row)
        row.left()
        assert row.bytes_out - before <= max(budget, JOIN_BYTES)
    assert bytes(sock.taken) == b"".join(written)


@pytest.mark.parametrize("chunks", [[b"x" * 1_000_000], [b"x" * 1000] * 1000, [b"x" * 20_000] * 50])
def test_one_fast_reader_does_not_hold_the_turn(chunks: list[bytes]) -> None:
    row = FakeRow(ScriptedSocket(), *chunks)
    flushes = 0
    while row.outbox:
        before = row.bytes_out
        PLAIN.flush(row)
        flushes += 1
        assert row.bytes_out - before <= DEFAULTS.bytes_per_turn
    assert flushes == 4
    assert bytes(row.sock.taken) == b"x" * 1_000_000
    row.left()


def test_a_full_socket_is_not_tried_again_in_the_same_turn() -> None:
    row = FakeRow(ScriptedSocket(lambda size: min(size, 30_000)), b"x" * 100_000, b"y")
    PLAIN.flush(row)
    assert (len(row.sock.sends), row.bytes_out) == (1, 30_000)


@pytest.mark.parametrize("chunks", [[b"x"], [b"x", b"y"], [b"x" * 100_000, b"y"]])
def test_a_socket_that_takes_nothing_does_not_hold_the_turn(chunks: list[bytes]) -> None:
    row = FakeRow(ScriptedSocket(lambda size: 0), *chunks)
    PLAIN.flush(row)
    assert (len(row.sock.sends), row.left(), row.lost) == (1, b"".join(chunks), [])


@pytest.mark.parametrize("chunks", [[b"one"], [b"one", b"two"], [b"x" * 100_000, b"y"]])
@pytest.mark.parametrize("number", [*TRANSIENT, *LOSSES], ids=lambda number: errno.errorcode[number])
def test_what_each_error_of_a_send_means(number: int, chunks: list[bytes]) -> None:
    row = FakeRow(ScriptedSocket(lambda size: -number), *chunks)
    PLAIN.flush(row)
    assert [error.errno for error in row.lost] == ([] if number in TRANSIENT else [number])
    assert row.left() == b"".join(chunks), "data is dropped only by what send returned"


def test_a_loss_in_the_middle_of_much_keeps_the_books() -> None:
    takes = iter([65536, 100, -errno.ECONNRESET])
    row = FakeRow(ScriptedSocket(lambda size: next(takes)), *[b"x" * 1000] * 200)
    for _ in range(3):
        PLAIN.flush(row)
        row.left()
        if row.lost:
            break
    assert (row.bytes_out, [error.errno for error in row.lost]) == (65_000 + 100, [errno.ECONNRESET])


# -- receiving and shutting -------------------------------------------------------------------------------------------


def test_one_receive_an_event() -> None:
    row = FakeRow(ScriptedSocket())
    row.sock.arriving = [b"abc", b"x" * 100_000, b"", b"not read"]
    assert PLAIN.receive(row) == b"abc"
    assert len(PLAIN.receive(row) or b"") == RECEIVE_BYTES
    assert PLAIN.receive(row) == b""
    assert PLAIN.receive(row, 3) == b"not"
    assert row.lost == []


@pytest.mark.parametrize("number", [*TRANSIENT, *LOSSES], ids=lambda number: errno.errorcode[number])
def test_what_each_error_of_a_receive_means(number: int) -> None:
    row = FakeRow(ScriptedSocket())
    row.sock.arriving = [number]
    assert PLAIN.receive(row) is None
    assert [error.errno for error in row.lost] == ([] if number in TRANSIENT else [number])


def test_not_now_is_a_short_list() -> None:
    assert set(TRANSIENT) == NOT_NOW


def test_shut_ends_our_side_only() -> None:
    row = FakeRow(ScriptedSocket())
    PLAIN.shut(row)
    assert (row.sock.shut, row.lost) == ([socket.SHUT_WR], [])
    lost = FakeRow(ScriptedSocket(lambda size: -errno.ENOTCONN))
    PLAIN.shut(lost)
    assert [error.errno for error in lost.lost] == [errno.ENOTCONN]


def test_a_row_whose_connection_is_gone_touches_no_socket() -> None:
    row = FakeRow(ScriptedSocket(), b"late")
    assert GONE.receive(row) is None
    GONE.flush(row)
    GONE.shut(row)
    assert (row.sock.sends, row.sock.shut, row.lost) == ([], [], [])


def test_a_row_whose_side_is_shut_hears_and_sends_nothing() -> None:
    row = FakeRow(ScriptedSocket(), b"late")
    row.sock.arriving = [b"abc", b""]
    SHUT.flush(row)
    assert (row.left(), row.sock.sends) == (b"", [])
    SHUT.shut(row)
    assert (row.sock.shut, row.lost) == ([], [])
    assert (SHUT.receive(row), SHUT.receive(row)) == (b"abc", b"")


@pytest.mark.parametrize("transport", [PlainTransport, ShutTransport, GoneTransport])
def test_a_transport_is_shared_so_it_has_no_state(transport: type[PlainTransport]) -> None:
    assert not hasattr(transport(), "__dict__")


# -- the kernel's own sockets -----------------------------------------------------------------------------------------


def test_a_real_pair_gets_everything_and_a_real_reset_is_a_loss() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        written = random.Random(1).randbytes(2_000_000)
        row = FakeRow(ours, *[written[at : at + 9_999] for at in range(0, len(written), 9_999)])  # type: ignore[arg-type]
        got = bytearray()
        while len(got) < len(written):
            PLAIN.flush(row)
            try:
                got += theirs.recv(1 << 20)
            except BlockingIOError:
                pass
        assert (bytes(got), row.outbox, row.pending) == (written, None, 0)
        assert PLAIN.receive(row) is None
        theirs.close()
        assert PLAIN.receive(row) == b""
        row.write(b"late")
        PLAIN.flush(row)
        assert isinstance(row.lost[0], BrokenPipeError)
