"""The waker: any number of wake-ups, one byte's worth of work, and no spin when it breaks."""

import errno
import os
import socket
import types
from collections.abc import Callable
from typing import Any

import pytest

from reactor import Phase, Reactor
from tests.driving import turns
from tests.running import Running, Waits, descriptors, python, wait_for


@pytest.fixture
def woken(make_loop: Callable[..., Reactor]) -> Reactor:
    """Give a reactor that has run, and so has a waker."""
    loop = make_loop(clock=None)
    loop.stop()
    loop.run()
    return loop


def waker_of(loop: Reactor) -> Any:
    (row,) = [row for row in loop.table if row.kind == "waker"]
    return row


def test_there_is_none_before_the_loop_waits(make_loop: Callable[..., Reactor]) -> None:
    loop = make_loop()
    loop.step()
    assert len(loop.table) == 0


def test_it_is_a_row_like_any_other_but_no_connection(woken: Reactor) -> None:
    row = waker_of(woken)
    assert row.phase is Phase.LISTENING
    assert woken.table.connections == 0
    assert "waker" in str(woken.table)
    assert "waits for what comes" in woken.table.explain(row)
    assert not os.get_inheritable(row.fd)
    assert not os.get_inheritable(row.sender.fileno())


def test_it_survives_a_drain_and_is_made_once(woken: Reactor) -> None:
    row = waker_of(woken)
    woken.stop()
    woken.run()
    assert waker_of(woken) is row
    assert (row.end, row.phase) == (None, Phase.LISTENING)


def test_a_full_pair_neither_blocks_nor_loses_the_wake_up(woken: Reactor) -> None:
    row = waker_of(woken)
    for _ in range(100_000):
        row.wake()
    busy = 0
    while woken.step().ready:
        busy += 1
        assert busy < 10, "it is ready for ever, or for each byte"
    assert busy


def test_posting_while_the_loop_is_awake_sends_no_byte(woken: Reactor) -> None:
    row = waker_of(woken)
    posted: list[Any] = []

    def post() -> None:
        for _ in range(100):
            woken.call_soon(posted.append, None)

    woken.call_soon(post)
    turns(woken, 3)
    assert len(posted) == 100
    with pytest.raises(BlockingIOError):
        row.sock.recv(1)


def test_many_posts_to_a_loop_at_rest_wake_it(woken: Reactor) -> None:
    waits = Waits(woken)
    running = Running(woken.run)
    wait_for(waits.at_rest)
    got: list[int] = []
    for number in range(10_000):
        woken.call_soon(got.append, number)
    woken.call_soon(woken.stop)
    running.join()
    assert got == list(range(10_000))


def test_to_wake_a_closed_loop_is_legal(woken: Reactor) -> None:
    row = waker_of(woken)
    woken.close()
    row.wake()
    row.close()
    assert (row.phase, row.fd, row.sender.fileno()) == (Phase.CLOSED, -1, -1)


def test_an_end_of_its_stream_is_fatal_not_a_spin(woken: Reactor) -> None:
    waker_of(woken).sender.shutdown(socket.SHUT_WR)
    with pytest.raises(RuntimeError, match="somebody closed the loop's own socket pair"):
        woken.step()
    with pytest.raises(RuntimeError, match="somebody closed"):
        woken.run()
    woken.close()


def test_a_wake_up_that_cannot_be_read_is_tried_again(woken: Reactor) -> None:
    row = waker_of(woken)
    row.wake()
    row.sock, sock = Unready(row.fd), row.sock
    assert woken.step(0).ready == (row.id,)
    assert row.end is None
    row.sock = sock
    assert woken.step(0).ready == (row.id,)
    assert [turn.ready for turn in turns(woken)] == [()] * 3


class Unready:
    """A receiver that has nothing, whatever the selector says (a wrong checksum, or somebody else was quicker)."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def fileno(self) -> int:
        return self.fd

    def recv(self, n: int) -> bytes:
        raise BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable")


@pytest.mark.parametrize("where", ["register", "receiver.setblocking", "sender.setblocking"])
def test_a_waker_that_cannot_be_made_leaves_nothing_behind(
    make_loop: Callable[..., Reactor], monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(errno.ENOMEM, "Cannot allocate memory")

    class Refusing(socket.socket):
        setblocking = refuse  # type: ignore[assignment]

    def pair() -> tuple[socket.socket, ...]:
        kinds = [Refusing if where.startswith(end) else socket.socket for end in ("receiver", "sender")]
        return tuple(kind(fileno=end.detach()) for kind, end in zip(kinds, socketpair(), strict=True))

    socketpair = socket.socketpair
    loop = make_loop(clock=None)
    loop.stop()
    if where == "register":
        monkeypatch.setattr(loop.demultiplexer._selector, "register", refuse)
    else:
        monkeypatch.setattr(loop, "sockets", types.SimpleNamespace(socketpair=pair))
    before = descriptors()
    with pytest.raises(OSError, match="Cannot allocate memory"):
        loop.run()
    assert (descriptors(), len(loop.table)) == (before, 0)
    monkeypatch.undo()
    loop.sockets = socket
    loop.run()
    assert len(loop.table) == 1


def test_where_there_are_no_socket_pairs_a_loop_runs_all_the_same() -> None:
    python(
        """
        import socket
        del socket.socketpair
        from reactor import Reactor
        with Reactor() as loop:
            loop.call_later(0.001, loop.stop)
            loop.run()
            assert len(loop.table) == 0
        """
    )
