"""Replies on disk: in order, bounded, all or nothing, and never taken for sent."""

import errno
import random
import socket
import tempfile
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import LimitError
from reactor.buffers import JOIN_BYTES
from reactor.limits import DEFAULTS, Limits
from reactor.spools import Spool, SpoolingTransport
from reactor.transports import GONE, PLAIN
from tests.properties import tries


class Disk:
    """A raw file that does as a script says: it takes so many bytes of a write, or raises an errno (negative)."""

    def __init__(self, take: Callable[[int], int] = lambda size: size) -> None:
        self.data, self.at, self.take, self.closed = bytearray(), 0, take, 0
        self.reads_at_most = 1 << 30

    def seek(self, at: int) -> int:
        self.at = at
        return at

    def write(self, data: Any) -> int:
        count = min(self.take(len(data)), len(data))
        if count < 0:
            raise OSError(-count, "No space left on device")
        self.data[self.at : self.at + count] = data[:count]
        self.at += count
        return count

    def read(self, n: int) -> bytes:
        data = bytes(self.data[self.at : self.at + min(n, self.reads_at_most)])
        self.at += len(data)
        return data

    def truncate(self, size: int) -> None:
        del self.data[size:]

    def close(self) -> None:
        self.closed += 1


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    disk = Disk()
    monkeypatch.setattr(tempfile, "TemporaryFile", lambda **keywords: disk)
    return disk


# -- the queue --------------------------------------------------------------------------------------------------------


@tries()
@given(st.lists(st.one_of(st.binary(max_size=30), st.integers(0, 40)), max_size=40))
def test_first_in_first_out(steps: list[bytes | int]) -> None:
    spool, expected = Spool(None), b""
    try:
        for step in steps:
            if isinstance(step, bytes):
                spool.append(step)
                expected += step
            else:
                assert spool.take(step) == expected[:step]
                expected = expected[step:]
            assert len(spool) == len(expected)
            assert bool(spool) == bool(expected)
    finally:
        spool.close()


def test_the_file_is_on_disk_and_has_no_name() -> None:
    spool = Spool(None)
    spool.append(b"x" * 100_000)
    file: Any = spool._file
    try:
        assert file.fileno() >= 0
        assert not isinstance(file.name, str)
    finally:
        spool.close()


def test_without_bytes_there_is_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "TemporaryFile", None)
    spool = Spool(10)
    assert (len(spool), spool.take(5)) == (0, b"")
    spool.close()


def test_more_than_the_limit_is_refused_as_a_whole() -> None:
    spool = Spool(10, "reply_bytes")
    spool.append(b"0123456789")
    with pytest.raises(LimitError, match=r"reply_bytes: 11 reached, 10 allowed; .*drain\(\)") as caught:
        spool.append(b"x")
    assert (caught.value.limit, len(spool)) == ("reply_bytes", 10)
    spool.append(b"")
    assert spool.take(100) == b"0123456789"
    spool.close()
    assert Spool(1)._limit == "spool_bytes"


def test_the_limit_is_of_the_disk(disk: Disk) -> None:
    """What was taken from the front still is in the file, until all of it was taken."""
    spool = Spool(10)
    spool.append(b"01234567")
    assert spool.take(7) == b"0123456"
    with pytest.raises(LimitError):
        spool.append(b"abc")
    spool.append(b"ab")
    assert spool.take(10) == b"7ab"
    assert len(disk.data) == 0, "the disk is given back"
    spool.append(b"9876543210")
    assert spool.take(10) == b"9876543210"
    spool.close()


def test_a_disk_that_takes_and_gives_little_at_a_time(disk: Disk) -> None:
    disk.take, disk.reads_at_most = (lambda size: 3), 4
    spool = Spool(None)
    spool.append(b"0123456789")
    assert spool.take(9) == b"012345678"
    spool.append(b"abc")
    assert spool.take(9) == b"9abc"
    spool.close()


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EFBIG])
def test_a_full_disk_is_a_limit_and_leaves_what_was_there(disk: Disk, number: int) -> None:
    spool = Spool(None)
    spool.append(b"before")
    takes = iter([2, -number])
    disk.take = lambda size: next(takes)
    with pytest.raises(LimitError, match="No space left") as caught:
        spool.append(b"lost")
    assert isinstance(caught.value.__cause__, OSError)
    assert tempfile.gettempdir() in str(caught.value)
    assert len(spool) == 6
    disk.take = lambda size: size
    spool.append(b" and after")
    assert spool.take(100) == b"before and after"
    spool.close()


def test_no_directory_to_write_to_is_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(**keywords: Any) -> None:
        raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "TemporaryFile", fails)
    monkeypatch.setattr(tempfile, "gettempdir", fails)
    with pytest.raises(LimitError, match="No usable temporary directory.*TMPDIR"):
        Spool(None).append(b"x")


def test_a_disk_that_forgets_is_an_error(disk: Disk) -> None:
    spool = Spool(None)
    spool.append(b"0123456789")
    del disk.data[5:]
    with pytest.raises(OSError, match="5 bytes early"):
        spool.take(10)
    spool.close()


def test_closing_is_legal_twice_and_final(disk: Disk) -> None:
    spool = Spool(None)
    spool.append(b"x")
    spool.close()
    spool.close()
    assert (disk.closed, len(spool), spool.take(1)) == (1, 0, b"")
    with pytest.raises(ValueError, match="closed"):
        spool.append(b"y")


# -- the transport ----------------------------------------------------------------------------------------------------


class ScriptedSocket:
    """Takes what `take(size)` says of each send."""

    def __init__(self, take: Callable[[int], int] = lambda size: size) -> None:
        self.take, self.taken, self.sends = take, bytearray(), 0

    def send(self, data: Any) -> int:
        self.sends += 1
        count = min(self.take(len(data)), len(data))
        if count < 0:
            raise OSError(-count, errno.errorcode[-count])
        self.taken += data[:count]
        return count


class FakeRow:
    """What a transport asks of its row."""

    def __init__(self, sock: Any, limits: Limits = DEFAULTS, max_bytes: int | None = None) -> None:
        self.sock, self.limits = sock, limits
        self.outbox: list[Any] | None = None
        self.pending = self.bytes_out = 0
        self.ended: list[object] = []
        self.transport: Any = SpoolingTransport(Spool(max_bytes))
        self.spool: Spool = self.transport.spool

    def lose(self, error: OSError) -> None:
        self.ended.append(error.errno)
        self.transport.discard()
        self.transport = GONE

    def abort(self, reason: str) -> None:
        self.ended.append(reason)
        self.transport.discard()
        self.transport = GONE

    def check(self) -> None:
        assert self.pending == sum(map(len, self.outbox or []))
        assert (self.outbox is None) == (not self.pending)
        assert self.outbox is not None or not self.spool, "the row would be taken for flushed"
        assert not self.ended
        assert (self.transport is PLAIN) == (self.outbox is None)


def test_what_is_queued_is_announced_by_the_outbox() -> None:
    """A row is flushed only if its outbox is not empty: one write beyond the cap must not be forgotten."""
    row = FakeRow(ScriptedSocket())
    row.transport.queue(row, b"x" * 200_000)
    row.check()
    row.transport.queue(row, b"y")
    row.check()
    row.transport.flush(row)
    row.check()
    assert bytes(row.sock.taken) == b"x" * 200_000 + b"y"


def test_nothing_queued_is_nothing_to_flush() -> None:
    row = FakeRow(ScriptedSocket())
    row.transport.queue(row, b"")
    assert (row.outbox, row.pending) == (None, 0)
    row.transport.flush(row)
    assert (row.transport, row.sock.sends) == (PLAIN, 0)


def test_the_outbox_goes_first() -> None:
    row = FakeRow(ScriptedSocket())
    row.outbox, row.pending = [b"first ", b"second "], 13
    row.transport.queue(row, b"third")
    assert len(row.spool) == 5
    row.transport.flush(row)
    row.check()
    assert bytes(row.sock.taken) == b"first second third"
    assert row.bytes_out == 18


def test_when_all_is_sent_the_row_is_a_plain_one_again(disk: Disk) -> None:
    row = FakeRow(ScriptedSocket())
    row.transport.queue(row, b"x" * 10)
    row.transport.flush(row)
    assert (row.transport, disk.closed) == (PLAIN, 1)


@pytest.mark.parametrize("bytes_per_turn", [1, 100_000, 262_144])
def test_one_fast_reader_does_not_hold_the_turn(bytes_per_turn: int) -> None:
    row = FakeRow(ScriptedSocket(), DEFAULTS.replace(bytes_per_turn=bytes_per_turn))
    row.transport.queue(row, b"x" * 1_000_000)
    flushes = 0
    while row.outbox:
        before = row.bytes_out
        row.transport.flush(row)
        row.check()
        flushes += 1
        assert row.bytes_out - before < bytes_per_turn + JOIN_BYTES
    assert row.bytes_out == 1_000_000
    assert flushes <= 1_000_000 // max(bytes_per_turn, JOIN_BYTES) + 1, "it could have sent more"


def test_a_full_socket_is_not_tried_again_in_the_same_turn() -> None:
    row = FakeRow(ScriptedSocket(lambda size: min(size, 30_000)))
    row.transport.queue(row, b"x" * 300_000)
    row.transport.flush(row)
    row.check()
    assert (row.sock.sends, row.bytes_out) == (1, 30_000)
    row.transport.discard()


def test_what_is_queued_while_it_is_sent_comes_last() -> None:
    rng = random.Random(7)
    sock = ScriptedSocket(lambda size: rng.choice([size, 1, 7, 10_000, -errno.EAGAIN]))
    row, written = FakeRow(sock), b""
    for _ in range(200):
        data = rng.randbytes(rng.choice([1, 100, 70_000]))
        if row.transport is PLAIN:
            row.transport = SpoolingTransport(Spool(None))
            row.spool = row.transport.spool
        row.transport.queue(row, data)
        written += data
        row.transport.flush(row)
        row.check()
        assert len(row.sock.taken) + row.pending + len(row.spool) == len(written)
    while row.outbox:
        row.transport.flush(row)
        row.check()
    assert bytes(sock.taken) == written


def test_a_reset_ends_it(disk: Disk) -> None:
    takes = iter([JOIN_BYTES, -errno.ECONNRESET])
    row = FakeRow(ScriptedSocket(lambda size: next(takes)))
    row.transport.queue(row, b"x" * 200_000)
    row.transport.flush(row)
    assert (row.ended, row.transport, disk.closed) == ([errno.ECONNRESET], GONE, 1)
    assert row.outbox is not None, "it did not arrive"


def test_a_reply_that_cannot_be_read_back_is_aborted(disk: Disk) -> None:
    """Half a reply ends with a reset, never with a clean end of stream."""
    row = FakeRow(ScriptedSocket())
    row.transport.queue(row, b"x" * 200_000)
    del disk.data[100_000:]
    row.transport.flush(row)
    assert len(row.ended) == 1
    assert "cannot be read back" in str(row.ended[0])
    assert (row.transport, disk.closed) == (GONE, 1)


def test_too_much_is_the_writers_error_and_not_queued() -> None:
    row = FakeRow(ScriptedSocket(), max_bytes=100)
    row.outbox, row.pending = [b"first "], 6
    row.transport.queue(row, b"x" * 90)
    with pytest.raises(LimitError):
        row.transport.queue(row, b"y" * 90)
    row.transport.flush(row)
    assert bytes(row.sock.taken) == b"first " + b"x" * 90


def test_a_row_that_ends_early_gives_the_disk_back(disk: Disk) -> None:
    row = FakeRow(ScriptedSocket(lambda size: 0))
    row.transport.queue(row, b"x" * 200_000)
    row.transport.discard()
    row.transport.discard()
    assert (disk.closed, len(row.spool)) == (1, 0)


def test_a_real_pair_gets_all_of_a_large_reply() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.setblocking(False)
        theirs.setblocking(False)
        row, written, got = FakeRow(ours), random.Random(3).randbytes(3_000_000), bytearray()
        row.transport.queue(row, written)
        while len(got) < len(written):
            row.transport.flush(row)
            row.check()
            try:
                got += theirs.recv(1 << 20)
            except BlockingIOError:
                pass
        assert bytes(got) == written
        assert row.transport is PLAIN
