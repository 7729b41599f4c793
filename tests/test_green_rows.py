"""Rows of handlers in greenlets: phases, limits, drains and ends, and that nothing is left of them."""

import contextlib
import errno
import gc
import os
import resource
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import Cancelled, End, Event, ManualClock, Observer, Phase, Reactor, Row
from tests.driving import ask, only, receive, receive_all, reset, streams, turn_until, turns, until_gone
from tests.green_servers import serving, took
from tests.running import Running, Waits, descriptors, python, wait_for

greenlet = pytest.importorskip("greenlet")
needs_proc = pytest.mark.skipif(not os.path.isdir("/proc/self/fd"), reason="needs /proc")

BIG = bytes(8 << 20)  # more than two socket buffers hold


@pytest.fixture
def loop(clock: ManualClock) -> Iterator[Reactor]:
    """Give a reactor on the platform's own selector."""
    with Reactor(clock=clock) as loop:
        yield loop


@pytest.fixture
def serve(loop: Reactor) -> Iterator[Callable[..., Any]]:
    """Give a function that serves a function of a socket."""
    with serving(loop) as serve:
        yield serve


@pytest.fixture
def serve_everywhere(make_loop: Callable[..., Reactor]) -> Iterator[tuple[Reactor, Callable[..., Any]]]:
    """Give the same with its loop, on every selector."""
    loop = make_loop()
    with serving(loop) as serve:
        yield loop, serve


def echo(sock: Any) -> None:
    while data := sock.recv(100):
        sock.sendall(data)


def greenlets_alive() -> int:
    from reactor.green_handlers import Handler

    return sum(type(each) is Handler for each in gc.get_objects())


# -- phases -----------------------------------------------------------------------------------------------------------


class Phases(Observer):
    """Notes the phases of connections."""

    def __init__(self) -> None:
        self.seen: list[Phase] = []

    def on_phase(self, row: Row, event: Event, before: Phase, after: Phase) -> None:
        if row.kind == "stream":
            self.seen.append(after)


def test_the_phases_of_a_request(clock: ManualClock, connect: Any) -> None:
    def handle(sock: Any) -> None:
        lines = sock.makefile("rb")
        while line := lines.readline():
            sock.sendall(line * len(BIG) if line == b"2\n" else line)
        lines.close()

    phases = Phases()
    with Reactor(clock=clock, observers=[phases]) as loop, serving(loop) as serve:
        client = connect(serve(handle), receive_buffer=4096)
        row = only(loop)
        assert (row.phase, row.requests, row.way) == (Phase.IDLE, 0, "greenlet")
        ask(loop, client, b"0\n", b"0\n")
        turns(loop)
        assert phases.seen == []  # a request that is answered in the same turn makes no transition
        client.sendall(b"1")
        turn_until(loop, lambda: row.phase is Phase.RECEIVING)
        assert (row.bytes_in, row.requests, row.bytes_out) == (3, 2, 2)
        ask(loop, client, b"\n", b"1\n")
        turns(loop)
        assert (row.phase, row.requests) == (Phase.IDLE, 2)
        client.sendall(b"2\n")
        turn_until(loop, lambda: row.phase is Phase.WORKING)
        assert len(receive(loop, client, 2 * len(BIG))) == 2 * len(BIG)
        turns(loop)
        assert (row.phase, row.requests, row.bytes_out) == (Phase.IDLE, 3, 4 + 2 * len(BIG))
        client.shutdown(socket.SHUT_WR)
        until_gone(loop, row)
    assert phases.seen == [
        Phase.RECEIVING, Phase.IDLE, Phase.WORKING, Phase.IDLE, Phase.FLUSHING, Phase.CLOSED,
    ]  # fmt: skip
    assert row.end is End.PEER_CLOSED


def test_the_table_says_where_a_handler_waits(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        with sock.makefile("rb") as lines:
            lines.readline()  # here

    client = connect(serve(handle))
    row = only(loop)
    turns(loop)
    with open(__file__) as source:
        line = 1 + next(index for index, text in enumerate(source) if text.endswith("# here\n"))
    assert row.waiting_at == f"{os.path.basename(__file__)}:{line}"
    assert row.snapshot().waiting_at == row.waiting_at
    client.close()
    until_gone(loop, row)
    assert row.waiting_at is None


def test_a_loop_at_rest_does_not_wake(connect: Any) -> None:
    with Reactor() as loop, serving(loop) as serve:
        listener = serve(echo)
        clients = [connect(listener) for _ in range(3)]
        waits = Waits(loop)
        running = Running(lambda: loop.run(handle_signals=False))
        for client in clients:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
        wait_for(waits.at_rest)
        count = len(waits)
        threading.Event().wait(0.2)
        assert len(waits) - count <= 1
        loop.stop()
        running.join()


# -- limits -----------------------------------------------------------------------------------------------------------


def test_a_request_has_its_time_in_all_and_the_handler_hears_of_it_once(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    heard: list[BaseException] = []

    def handle(sock: Any) -> None:
        while True:
            try:
                if not sock.recv(10):
                    return
            except BaseException as error:
                heard.append(error)
                if isinstance(error, Cancelled):
                    raise
                sock.sendall(b"too late")

    client = connect(serve(handle, request_s=30))
    row = only(loop)
    for second in range(30):  # a byte a second does not help
        client.sendall(b"x")
        turn_until(loop, lambda second=second: row.bytes_in == second + 1)
        turns(loop, 1)
        assert row.phase is Phase.RECEIVING
        clock.advance(1)
    assert receive_all(loop, client) == b"too late"
    assert [type(error) for error in heard] == [TimeoutError, Cancelled]
    assert "request_s: 30 reached, 30 allowed" in str(heard[0])
    assert row.end is End.LIMIT
    client.close()
    until_gone(loop, row)
    assert loop.table.ended[-1].end is End.LIMIT


def test_a_request_that_comes_too_slowly_ends_before_its_time(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    heard: list[str] = []

    def handle(sock: Any) -> None:
        sock.sendall(sock.recv(1000))
        try:
            while sock.recv(10):
                pass
        except TimeoutError as error:
            heard.append(str(error))

    client = connect(serve(handle, request_s=300, request_bytes_per_s=10, request_grace_s=2))
    ask(loop, client, bytes(1000), bytes(1000))
    row = only(loop)
    turns(loop)
    clock.advance(50)
    for second in range(10):
        client.sendall(b"0123456789")
        turn_until(loop, lambda second=second: row.bytes_in == 1010 + 10 * second)
        turns(loop)
        assert row.end is None
        clock.advance(1)
    turn_until(loop, lambda: row.end)
    assert row.end is End.LIMIT
    assert "request_bytes_per_s" in heard[0]


def test_a_request_that_begins_after_a_rest_has_its_own_time(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    client = connect(serve(echo, request_s=30, idle_s=75))
    for _ in range(3):
        ask(loop, client, b"x", b"x")
        turns(loop)
        clock.advance(70)
    ask(loop, client, b"x", b"x")


def test_the_time_of_a_request_begins_with_its_first_byte(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    def handle(sock: Any) -> None:
        with sock.makefile("rb") as lines:
            for line in lines:
                sock.sendall(line)

    client = connect(serve(handle, request_s=30))
    row = only(loop)
    ask(loop, client, b"one\n", b"one\n")
    turns(loop)
    clock.advance(60)
    client.sendall(b"tw")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    clock.advance(29.9)
    turns(loop)
    ask(loop, client, b"o\n", b"two\n")


@pytest.mark.parametrize("kind", [OSError, Exception, TimeoutError])
def test_a_handler_that_catches_and_tries_again_is_cancelled(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, kind: type[Exception]
) -> None:
    caught: list[BaseException] = []
    ended: list[str] = []

    def handle(sock: Any) -> None:
        try:
            while True:
                with contextlib.suppress(kind):
                    sock.recv(10)
                    continue
                caught.append(kind())
        finally:
            ended.append("finally")

    client = connect(serve(handle, request_s=30))
    row = only(loop)
    client.sendall(b"x")
    turn_until(loop, lambda: row.bytes_in)
    clock.advance(30.1)
    until_gone_or_lingers(loop, row)
    assert len(caught) == 1
    assert ended == ["finally"]
    client.close()


def until_gone_or_lingers(loop: Reactor, row: Any) -> None:
    turn_until(loop, lambda: row.fd < 0 or row.phase is Phase.LINGERING)


def test_a_handler_that_polls_is_idle_all_the_same(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    polls: list[int] = []

    def handle(sock: Any) -> None:
        sock.settimeout(1)
        while True:
            try:
                if not sock.recv(10):
                    return
            except TimeoutError:
                polls.append(1)

    client = connect(serve(handle, idle_s=10))
    row = only(loop)
    turns(loop)
    for _ in range(9):
        clock.advance(1.05)
        turns(loop)
    assert row.fd >= 0
    assert len(polls) == 9
    clock.advance(1.05)
    until_gone_or_lingers(loop, row)
    assert row.end is End.LIMIT
    client.close()


def test_bytes_and_replies_are_signs_of_life(loop: Reactor, serve: Any, connect: Any, clock: ManualClock) -> None:
    client = connect(serve(echo, idle_s=10))
    for _ in range(5):
        ask(loop, client, b"x", b"x")
        turns(loop)
        clock.advance(9.5)
        turns(loop)
    ask(loop, client, b"x", b"x")


def test_a_goodbye_may_be_long(loop: Reactor, serve: Any, connect: Any, clock: ManualClock) -> None:
    def handle(sock: Any) -> None:
        assert sock.recv(10) == b""
        sock.sendall(BIG)
        assert sock.recv(10) == b""

    client = connect(serve(handle, idle_s=10), receive_buffer=4096)
    row = only(loop)
    turns(loop)
    clock.advance(10.1)
    assert receive_all(loop, client) == BIG
    assert row.end is End.LIMIT


def test_a_client_that_stays_after_its_time_is_not_waited_for(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    client = connect(serve(echo, idle_s=10, linger_s=2))
    row = only(loop)
    turns(loop)
    clock.advance(10.1)
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    clock.advance(2.1)
    until_gone(loop, row)
    client.close()


def test_idle_ends_a_connection_whose_file_was_dropped(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    def handle(sock: Any) -> None:
        sock.makefile("rb").readline()  # what a handler has dropped must not keep its socket open

    client = connect(serve(handle, idle_s=10))
    row = only(loop)
    turns(loop)
    gc.collect()
    gc.disable()
    try:
        clock.advance(10.1)
        assert receive_all(loop, client) == b""
    finally:
        gc.enable()
    assert row.end is End.LIMIT
    client.close()
    until_gone(loop, row)


def test_work_has_its_time_wherever_the_handler_waits(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    others: list[Any] = []

    def other(sock: Any) -> None:
        others.append(sock)
        sock.recv(10)

    def handle(sock: Any) -> None:
        sock.recv(10)
        others[0].recv(10)

    quiet = connect(serve(other, idle_s=None))
    turn_until(loop, lambda: others)
    listener = serve(handle, work_s=20)
    client = connect(listener)
    client.sendall(b"x")
    turn_until(loop, lambda: len(streams(loop)) == 2)
    _, row = streams(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    clock.advance(19.9)
    turns(loop)
    assert row.end is None
    clock.advance(0.2)
    assert receive_all(loop, client) == b""
    assert "work_s" in str(took(listener, TimeoutError))
    assert row.end is End.LIMIT
    assert others[0].fileno() >= 0
    quiet.close()


def test_work_that_goes_on_is_told_once(loop: Reactor, serve: Any, connect: Any, clock: ManualClock) -> None:
    others: list[Any] = []
    heard: list[str] = []

    def other(sock: Any) -> None:
        others.append(sock)
        sock.recv(10)

    def handle(sock: Any) -> None:
        sock.recv(10)
        while True:
            try:
                others[0].recv(10)
            except TimeoutError as error:
                heard.append(str(error))

    connect(serve(other, idle_s=None))
    turn_until(loop, lambda: others)
    client = connect(serve(handle, work_s=20))
    client.sendall(b"x")
    turn_until(loop, lambda: [row.phase for row in streams(loop)] == [Phase.IDLE, Phase.WORKING])
    clock.advance(20.1)
    turns(loop, 5)
    assert len(heard) == 1


def test_a_timeout_of_the_handlers_own_goes_first(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    def handle(sock: Any) -> None:
        sock.settimeout(5)
        with pytest.raises(TimeoutError, match="^timed out$"):
            sock.sendall(BIG)

    client = connect(serve(handle, write_stall_s=5), receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    clock.advance(5.1)
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    assert row.end is End.FINISHED
    client.close()


def test_a_peer_that_takes_nothing_is_out_of_time(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    heard: list[BaseException] = []

    def handle(sock: Any) -> None:
        for _ in range(3):
            try:
                sock.sendall(BIG)
            except BaseException as error:
                heard.append(error)
                if isinstance(error, Cancelled):
                    raise

    client = connect(serve(handle, write_stall_s=30), receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    for _ in range(3):  # progress counts, however slow
        clock.advance(29)
        before = row.bytes_out
        while row.bytes_out == before:
            receive(loop, client, 1 << 16)
    assert heard == []
    clock.advance(30.1)
    turn_until(loop, lambda: heard)
    until_gone_or_lingers(loop, row)
    assert [type(error) for error in heard] == [TimeoutError, Cancelled]
    assert "write_stall_s" in str(heard[0])
    assert row.end is End.LIMIT


def test_limits_that_are_off(loop: Reactor, serve: Any, connect: Any, clock: ManualClock) -> None:
    listener = serve(echo, idle_s=None, request_s=None, write_stall_s=None)
    client = connect(listener)
    row = only(loop)
    turns(loop)
    assert row.deadline_at() is None
    clock.advance(1e6)
    ask(loop, client, b"x", b"x")


# -- ends -------------------------------------------------------------------------------------------------------------


def test_a_handler_that_fails_is_remembered(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.recv(10)
        raise ValueError("no good")

    listener = serve(handle)
    client = connect(listener)
    row = only(loop)
    client.sendall(b"x")
    assert receive_all(loop, client) == b""
    client.close()
    until_gone(loop, row)
    took(listener, ValueError)
    (ended,) = loop.table.ended
    assert (ended.end, ended.detail) == (End.HANDLER_FAILED, "ValueError: no good")


def test_aborting_a_row_cancels_its_handler_and_resets_the_peer(
    serve_everywhere: Any, connect: Any
) -> None:
    loop, serve = serve_everywhere
    seen: list[str] = []

    def handle(sock: Any) -> None:
        try:
            while True:
                try:
                    sock.recv(10)
                except Exception as error:  # no Exception is a Cancelled
                    seen.append(repr(error))
        except Cancelled as error:
            seen.append(str(error))
            with pytest.raises(Cancelled):
                sock.recv(10)
            with pytest.raises(Cancelled):
                sock.sendall(BIG)
            raise
        finally:
            seen.append("finally")

    client = connect(serve(handle), receive_buffer=4096)
    row = only(loop)
    turns(loop)
    row.abort("enough")
    assert seen == []  # not inside of this call
    until_gone(loop, row)
    assert seen[0] in ("enough", f"{row} was aborted: enough")
    assert seen[1:] == ["finally"]
    assert loop.table.ended[-1].end is End.ABORTED
    with contextlib.suppress(ConnectionResetError):
        while client.recv(1 << 18):
            pass


def test_aborting_a_row_whose_handler_waits_for_another(loop: Reactor, serve: Any, connect: Any) -> None:
    others: list[Any] = []
    seen: list[str] = []

    def other(sock: Any) -> None:
        others.append(sock)
        sock.recv(10)

    def handle(sock: Any) -> None:
        try:
            others[0].recv(10)
        finally:
            seen.append("finally")

    quiet = connect(serve(other))
    turn_until(loop, lambda: others)
    client = connect(serve(handle))
    turn_until(loop, lambda: len(streams(loop)) == 2)
    turns(loop)
    row = streams(loop)[1]
    row.abort("enough")
    until_gone(loop, row)
    assert seen == ["finally"]
    ask(loop, quiet, b"", b"")
    assert len(streams(loop)) == 1
    with contextlib.suppress(ConnectionResetError):
        client.recv(1)
    assert seen == ["finally"]


def test_aborting_a_row_whose_handler_sends(loop: Reactor, serve: Any, connect: Any) -> None:
    client = connect(serve(lambda sock: sock.sendall(BIG)), receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    row.abort("enough")
    until_gone(loop, row)
    assert row.end is End.ABORTED
    with pytest.raises(ConnectionResetError):
        receive_all(loop, client)


def test_closing_a_row_ends_its_handlers_input(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        echo(sock)
        sock.sendall(b"bye")

    client = connect(serve(handle))
    turns(loop)
    only(loop).close()
    assert receive_all(loop, client) == b"bye"


def test_closing_a_row_lets_its_reply_arrive(loop: Reactor, serve: Any, connect: Any) -> None:
    client = connect(serve(lambda sock: sock.sendall(BIG)), receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    row.close()
    assert receive_all(loop, client) == BIG


def test_a_row_that_another_handler_has_read_is_watched_no_more(
    serve_everywhere: Any, connect: Any
) -> None:
    loop, serve = serve_everywhere
    socks: list[Any] = []
    got: list[bytes] = []

    def quiet(sock: Any) -> None:
        socks.append(sock)
        socks[0].recv(10)

    def reads(sock: Any) -> None:
        got.append(socks[1].recv(1))
        socks[0].recv(10)

    listener = serve(quiet)
    clients = []
    for count in (1, 2):
        clients.append(connect(listener))
        turn_until(loop, lambda count=count: len(socks) == count)
    connect(serve(reads))
    turn_until(loop, lambda: len(streams(loop)) == 3)
    turns(loop)
    clients[1].sendall(b"x" * 100)
    turn_until(loop, lambda: got)
    assert all(not turn.ready for turn in turns(loop, 5))
    clients[0].close()


def test_a_descriptor_closed_behind_our_back_is_an_error_of_its_handler(
    serve_everywhere: Any, connect: Any, logged: Any
) -> None:
    loop, serve = serve_everywhere
    socks: list[Any] = []
    rows: list[Any] = []

    def victim(sock: Any) -> None:
        socks.append(sock)
        rows.append(streams(loop)[-1])
        try:
            sock.recv(10)
        finally:
            ended.append("finally")

    def villain(sock: Any) -> None:
        Running(socks[0].detach).join()  # no greenlet of ours, so the row hears nothing of it
        os.close(rows[0].fd)
        rows[0].pause("anything")  # has it settled
        sock.sendall(b".")

    ended: list[str] = []
    listener = serve(victim)
    client = connect(listener)
    turn_until(loop, lambda: socks)
    turns(loop)
    assert receive_all(loop, connect(serve(villain))) == b"."
    rows[0].abort("enough")
    until_gone(loop, rows[0])
    turn_until(loop, lambda: ended)
    assert receive_all(loop, client) == b""
    listener.server.errors.clear()
    logged()


def test_a_read_after_detach_is_an_error_of_its_handler_and_leaves_no_strict_loop(
    clock: ManualClock, connect: Any
) -> None:
    def handle(sock: Any) -> None:
        sock.recv(100)  # cut short: the next one waits before it asks the kernel
        os.close(sock.detach())
        sock.recv(100)

    with Reactor(clock=clock, strict=True) as loop, serving(loop) as serve:  # strict as in serve_forever
        listener = serve(handle)
        client = connect(listener)
        client.sendall(b"hello")
        turn_until(loop, lambda: listener.server.errors)
        error = took(listener, OSError)
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF
        turn_until(loop, lambda: not streams(loop))
        assert loop.green_rows == {}


def test_a_handler_that_polls_hears_of_a_socket_that_a_thread_has_closed(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    heard: list[BaseException] = []

    def handle(sock: Any) -> None:
        sock.recv(100)
        sock.settimeout(1)
        waits.append(sock)
        while not heard or isinstance(heard[-1], TimeoutError):
            try:
                sock.recv(100)
            except OSError as error:
                heard.append(error)

    waits: list[Any] = []
    client = connect(serve(handle))
    client.sendall(b"hello")
    turn_until(loop, lambda: waits)
    turns(loop)
    Running(waits[0].close).join()
    clock.advance(1.1)
    turn_until(loop, lambda: not streams(loop))
    assert [type(error) for error in heard] == [TimeoutError, OSError]
    assert heard[-1].errno == errno.EBADF  # type: ignore[attr-defined]


class Full(selectors.SelectSelector):
    """Has no room for more when it is told so, as epoll has none over max_user_watches."""

    full = False

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().register(fileobj, events, data)


def test_a_selector_without_room_costs_the_connection_and_not_a_strict_loop(
    clock: ManualClock, connect: Any, logged: Any
) -> None:
    selector = Full()
    with Reactor(clock=clock, strict=True, selector=selector) as loop, serving(loop) as serve:
        listener = serve(echo)
        loop.step(0)  # its own descriptors come first
        selector.full = True
        client = connect(listener)
        turn_until(loop, lambda: listener.server.errors)
        took(listener, OSError)
        with pytest.raises(ConnectionResetError):
            receive_all(loop, client)
        selector.full = False
        ask(loop, connect(listener), b"x", b"x")
        assert "cannot watch descriptor" in logged()[0].getMessage()


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_NOFILE"), reason="needs descriptors over 1023")
def test_a_descriptor_that_select_cannot_watch_costs_its_own_connection(
    clock: ManualClock, connect: Any, logged: Any
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 1200:
        pytest.skip("the limit of descriptors is too low")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 1200), hard))
    holders: list[int] = []
    ended: list[str] = []

    def handle(sock: Any) -> None:
        try:
            sock.recv(10)
        finally:
            ended.append("finally")

    try:
        with Reactor(clock=clock, selector=selectors.SelectSelector()) as loop, serving(loop) as serve:
            listener = serve(handle)
            loop.step(0.001)  # its own descriptors come first
            client = connect(listener)
            while not holders or holders[-1] < 1023:
                holders.append(os.dup(client.fileno()))
            turn_until(loop, lambda: ended)
            assert isinstance(took(listener, OSError), OSError)
            turn_until(loop, lambda: not streams(loop))
            assert ended == ["finally"]
            assert loop.green_rows == {}
        assert "select() cannot watch" in logged()[0].getMessage()
    finally:
        for fd in holders:
            os.close(fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# -- drains -----------------------------------------------------------------------------------------------------------


def test_a_drain_ends_the_idle_at_once_and_lets_the_others_finish(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    def handle(sock: Any) -> None:
        with sock.makefile("rwb") as file:
            for line in file:
                file.write(line.upper())
                file.flush()

    listener = serve(handle)
    idle, fresh, half = (connect(listener) for _ in range(3))
    ask(loop, idle, b"one\n", b"ONE\n")
    half.sendall(b"tw")
    turn_until(loop, lambda: [row.phase for row in streams(loop)] == [Phase.IDLE, Phase.IDLE, Phase.RECEIVING])
    clock.advance(1)
    loop.stop(drain_s=10)
    assert receive_all(loop, idle) == b""
    assert receive_all(loop, fresh) == b""
    turn_until(loop, lambda: len(streams(loop)) == 1)
    half.sendall(b"o\n")
    assert receive(loop, half, 4) == b"TWO\n"
    turn_until(loop, lambda: not [row for row in streams(loop) if row.phase is not Phase.LINGERING])
    assert receive_all(loop, half) == b""
    half.close()
    report = loop.run(handle_signals=False)
    assert ([row.end for row in report.idle], len(report.finished), len(report.aborted)) == ([End.DRAINED] * 2, 1, 0)


@pytest.mark.parametrize("late", [False, True])
def test_a_drain_lingers_for_replies_that_were_just_sent(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, late: bool
) -> None:
    client = connect(serve(echo))
    row = only(loop)
    ask(loop, client, b"x", b"x")
    turns(loop)
    clock.advance(late)
    loop.stop(drain_s=10)
    until_gone_or_lingers(loop, row)
    assert row.phase is (Phase.CLOSED if late else Phase.LINGERING)
    client.close()
    turn_until(loop, lambda: not streams(loop))


def test_a_drain_does_not_wait_for_a_row_that_only_lingers(loop: Reactor, serve: Any, connect: Any) -> None:
    client = connect(serve(lambda sock: sock.sendall(b"bye")))
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    loop.stop(drain_s=10)
    report = loop.run(handle_signals=False)
    assert len(report.finished) == 1
    assert client.recv(10) == b"bye"


def test_the_deadline_of_a_drain_cancels_the_rest(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    seen: list[str] = []

    def handle(sock: Any) -> None:
        try:
            sock.recv(10)
            sock.recv(10)
        finally:
            seen.append("finally")

    client = connect(serve(handle))
    row = only(loop)
    client.sendall(b"x")
    turn_until(loop, lambda: row.phase is Phase.RECEIVING)
    loop.stop(drain_s=10)
    turns(loop)
    clock.advance(9.9)
    turns(loop)
    assert seen == []
    clock.advance(0.2)
    report = loop.run(handle_signals=False)
    assert seen == ["finally"]
    assert [row.end for row in report.aborted] == [End.ABORTED]
    assert os.path.basename(__file__) in report.aborted[0].detail
    with contextlib.suppress(ConnectionResetError):
        client.recv(1)


@needs_proc
@pytest.mark.parametrize("strict", [False, True])
def test_closing_the_loop_cancels_every_handler_and_leaves_nothing(connect: Any, strict: bool) -> None:
    seen: list[str] = []

    def handle(sock: Any) -> None:
        with sock.makefile("rb") as lines:
            try:
                lines.readline()
            finally:
                seen.append("finally")

    gc.collect()
    before = greenlets_alive()
    clients: list[socket.socket] = []
    open_before = descriptors()
    with Reactor(strict=strict) as loop, serving(loop) as serve:
        listener = serve(handle)
        for _ in range(50):
            clients.append(socket.create_connection(listener.address))
            loop.step(0)
        turn_until(loop, lambda: len(streams(loop)) == 50)
    assert seen == ["finally"] * 50
    for client in clients:
        client.close()
    gc.collect()
    assert greenlets_alive() == before
    assert descriptors() == open_before


def test_connections_leave_no_garbage(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.settimeout(1)
        with sock.makefile("rwb") as file:
            file.write(file.readline())

    listener = serve(handle)

    def round_trip() -> None:
        with socket.create_connection(listener.address) as client:
            client.sendall(b"line\n")
            assert receive_all(loop, client) == b"line\n"
        turn_until(loop, lambda: not streams(loop))

    round_trip()
    gc.collect()
    gc.disable()
    try:
        before = greenlets_alive()
        for _ in range(20):
            round_trip()
        assert greenlets_alive() == before
        assert loop.green_rows == {}
    finally:
        gc.enable()


# -- who turns the loop -----------------------------------------------------------------------------------------------


def test_the_loop_may_be_stepped_from_any_greenlet(loop: Reactor, serve: Any, connect: Any) -> None:
    client = connect(serve(echo))
    only(loop)
    for data in (b"one", b"two"):
        client.sendall(data)
        for _ in range(3):
            stepping = greenlet.greenlet(lambda: loop.step(0.01))
            stepping.switch()
            assert stepping.dead  # a handler that waits comes back to whoever has resumed it
        assert receive(loop, client, 3) == data


def test_a_handler_cannot_turn_the_loop(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        with pytest.raises(RuntimeError, match="runs already"):
            loop.step()
        sock.sendall(b"x")

    assert receive_all(loop, connect(serve(handle))) == b"x"


def test_another_thread_that_turns_the_loop_is_told(connect: Any, logged: Any) -> None:
    with Reactor() as loop, serving(loop) as serve:
        listener = serve(echo)
        client = connect(listener)
        row = only(loop)
        turns(loop)
        client.sendall(b"x")
        Running(lambda: turn_until(loop, lambda: row.end is not None, turns=50)).join()
        messages = [record.getMessage() for record in logged()]
        assert "thread" in messages[0]
        client.close()


def test_a_loop_that_is_closed_in_another_thread_leaves_no_descriptor(connect: Any, logged: Any) -> None:
    def leave(sock: Any) -> None:
        sock.recv(10)
        raise SystemExit

    with Reactor() as loop, serving(loop) as serve:
        listener = serve(leave)
        waiting, client = connect(listener), connect(listener)
        client.sendall(b"x")
        with pytest.raises(SystemExit):
            Running(lambda: loop.run(handle_signals=False)).join()
    assert len(loop.table) == 0
    assert loop.green_rows == {}
    with contextlib.suppress(ConnectionResetError):
        assert waiting.recv(1) == b""
    assert logged() == []


def test_greenlets_at_the_end_of_the_program_do_no_harm() -> None:
    program = """
        import socket
        from reactor import Reactor
        from reactor.socketserver import TCPServer, StreamRequestHandler

        class Handler(StreamRequestHandler):
            def handle(self):
                for line in self.rfile:
                    self.wfile.write(line)

        import warnings
        warnings.simplefilter("ignore")
        loop = Reactor()
        listener = loop.add(TCPServer(("127.0.0.1", 0), Handler), way="greenlet")
        client = socket.create_connection(listener.address)
        while not loop.table.connections:
            loop.step(0.01)
        print("end")
        """
    assert python(program) == "end\n"


def test_a_timeout_and_a_limit_that_are_due_together(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    heard: list[str] = []

    def handle(sock: Any) -> None:
        sock.settimeout(5)
        try:
            sock.recv(10)
        except TimeoutError as error:
            heard.append(str(error))
        heard.append(repr(sock.recv(10)))

    client = connect(serve(handle, idle_s=5))
    only(loop)
    turns(loop)
    clock.advance(5.1)
    turn_until(loop, lambda: len(heard) == 2)
    assert heard == ["timed out", "b''"]
    client.close()


def test_two_handlers_that_wait_for_one_row_are_both_told_of_its_end(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    targets: list[Any] = []
    heard: list[bytes] = []

    def target(sock: Any) -> None:
        targets.append(sock)
        heard.append(sock.recv(10))

    def second(sock: Any) -> None:
        heard.append(targets[0].recv(10))

    first_client = connect(serve(target, idle_s=10))
    turn_until(loop, lambda: targets)
    row = only(loop)
    connect(serve(second, idle_s=None, work_s=None))
    turn_until(loop, lambda: len(row.waiters) == 2)
    clock.advance(10.1)
    turn_until(loop, lambda: len(heard) == 2)
    assert heard == [b"", b""]
    first_client.close()


def test_a_reset_while_the_handler_only_peeks(loop: Reactor, serve: Any, connect: Any) -> None:
    listener = serve(lambda sock: sock.recv(10, socket.MSG_PEEK))
    client = connect(listener)
    row = only(loop)
    turns(loop)
    reset(client)
    until_gone(loop, row)
    took(listener, ConnectionResetError)


def says_goodbye(sockets: list[Any], left: list[Any]) -> Callable[[Any], None]:
    """Give a handler that has no end: told of its limit, it writes to another client who does not read."""

    def handle(sock: Any) -> None:
        sockets.append(sock)
        try:
            while sock.recv(10):
                pass
        finally:
            try:
                sockets[0].sendall(BIG)
            finally:
                left.append(1)

    return handle


@pytest.mark.parametrize("first", ["waits already", "comes later"])
@pytest.mark.parametrize("does", [lambda sock: sock.sendall(BIG), lambda sock: sock.recv(10)], ids=["sends", "receives"])
def test_who_uses_the_socket_of_a_handler_that_is_out_of_time_is_not_cancelled(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, does: Any, first: str
) -> None:
    sockets: list[Any] = []
    heard: list[BaseException] = []
    left: list[int] = []

    def silent(sock: Any) -> None:
        sockets.append(sock)
        sock.recv(10)

    def innocent(sock: Any) -> None:
        sock.recv(1)
        try:
            does(sockets[1])
        except BaseException as error:
            heard.append(error)
        sock.sendall(b".")

    connect(serve(silent, idle_s=None), receive_buffer=4096)
    turn_until(loop, lambda: len(sockets) == 1)
    late = connect(serve(says_goodbye(sockets, left), request_s=30), receive_buffer=4096)
    turn_until(loop, lambda: len(sockets) == 2)
    client = connect(serve(innocent, idle_s=None, request_s=None, write_stall_s=None))
    late.sendall(b"x")
    row = loop.green_rows[sockets[1].fileno()]
    turn_until(loop, lambda: row.bytes_in)
    if first == "waits already":
        client.sendall(b"?")
        turn_until(loop, lambda: len(row.waiters) == 2)
    clock.advance(30.1)
    turns(loop)
    if first == "comes later":
        client.sendall(b"?")
    assert receive(loop, client, 1) == b"."
    assert not left
    assert isinstance(heard[0], OSError), repr(heard[0])


def test_who_waits_for_a_row_that_is_aborted_hears_of_an_error(loop: Reactor, serve: Any, connect: Any) -> None:
    sockets: list[Any] = []
    heard: list[BaseException] = []

    def victim(sock: Any) -> None:
        sockets.append(sock)
        sock.recv(10)

    def other(sock: Any) -> None:
        try:
            sockets[0].recv(10)
        except BaseException as error:
            heard.append(error)

    connect(serve(victim))
    turn_until(loop, lambda: sockets)
    row = only(loop)
    connect(serve(other))
    turn_until(loop, lambda: len(row.waiters) == 2)
    row.abort("enough")
    turn_until(loop, lambda: heard)
    assert isinstance(heard[0], ConnectionAbortedError)
    assert "enough" in str(heard[0])
