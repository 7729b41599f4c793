"""Sockets in greenlets: every method of a socket does what it does in a thread of its own, and holds nobody up."""

import array
import ctypes
import errno
import fcntl
import io
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from multiprocessing import resource_sharer
from multiprocessing.reduction import ForkingPickler
from typing import Any

import pytest

from reactor import End, ManualClock, Phase, Reactor
from reactor import socketserver as ours
from tests.driving import (
    ask,
    only,
    receive,
    receive_all,
    reset,
    streams,
    turn_until,
    turns,
    until_gone,
)
from tests.green_servers import Server, serving, took
from tests.running import Running

pytest.importorskip("greenlet")
from reactor.green_handlers import current

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")

BIG = bytes(range(256)) * (20 << 10)  # 5 MiB: more than two socket buffers hold


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


# -- receiving --------------------------------------------------------------------------------------------------------


def into(size: int) -> Callable[[Any], bytes]:
    def receive_into(sock: Any) -> bytes:
        buffer = bytearray(b"-" * (size + 2))
        count = sock.recv_into(buffer, size)
        assert buffer[count:] == b"-" * (size + 2 - count)
        return bytes(buffer[:count])

    return receive_into


def msg_into(sock: Any) -> bytes:
    first, second = bytearray(2), bytearray(98)
    count, ancillary, _, _ = sock.recvmsg_into(iter([first, second]))  # which a second try could not read again
    assert ancillary == []
    return bytes(first + second)[:count]


def from_into(sock: Any) -> bytes:
    buffer = bytearray(100)
    count, _ = sock.recvfrom_into(buffer)
    return bytes(buffer[:count])


def whole_buffer(sock: Any) -> bytes:
    buffer = array.array("i", [0] * 25)
    count = sock.recv_into(buffer)
    return buffer.tobytes()[:count]


class Header(ctypes.Structure):
    """A buffer that has no len(), and no format that memoryview could cast."""

    _fields_ = [("words", ctypes.c_uint32 * 25)]


def structure(sock: Any) -> bytes:
    header = Header()
    count = sock.recv_into(header)
    return bytes(header)[:count]


def structure_from(sock: Any) -> bytes:
    header = Header()
    count, _ = sock.recvfrom_into(header)
    return bytes(header)[:count]


def structure_msg(sock: Any) -> bytes:
    header = Header()
    count, *_ = sock.recvmsg_into([header])
    return bytes(header)[:count]


RECEIVERS: dict[str, Callable[[Any], bytes]] = {
    "recv": lambda sock: sock.recv(100),
    "recv_into": into(100),
    "recv_into an array": whole_buffer,
    "recv_into a structure": structure,
    "recvfrom_into a structure": structure_from,
    "recvmsg_into a structure": structure_msg,
    "recvfrom": lambda sock: sock.recvfrom(100)[0],
    "recvfrom_into": from_into,
    "recvmsg": lambda sock: sock.recvmsg(100)[0],
    "recvmsg_into": msg_into,
    "read of a file": lambda sock: sock.makefile("rb", 0).read(100),
    "read1 of a file": lambda sock: sock.makefile("rb").read1(100),
}


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_receive_waits_for_bytes_and_ends_with_the_stream(
    serve_everywhere: Any, connect: Any, name: str
) -> None:
    loop, serve = serve_everywhere
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        while data := RECEIVERS[name](sock):
            seen.append(data)
            sock.sendall(data.upper())

    listener = serve(handle)
    client, other = connect(listener), connect(listener)
    turns(loop)  # both wait
    for _ in range(2):
        ask(loop, client, b"hello", b"HELLO")
        ask(loop, other, b"there", b"THERE")
    row, _ = streams(loop)
    assert (row.bytes_in, row.bytes_out, row.requests, row.phase) == (10, 10, 2, Phase.IDLE)
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""
    until_gone(loop, row)  # at once: the peer has ended its stream, so there is nothing to linger for
    assert row.end is End.PEER_CLOSED
    assert seen == [b"hello", b"there"] * 2


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_receive_takes_what_is_there_and_no_more(loop: Reactor, serve: Any, connect: Any, name: str) -> None:
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        seen.append(sock.recv(3))
        seen.append(RECEIVERS[name](sock))
        sock.sendall(b".")

    client = connect(serve(handle))
    client.sendall(b"abc" + b"x" * 50)
    assert receive(loop, client, 1) == b"."
    assert b"".join(seen) == b"abc" + b"x" * 50


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_peer_that_resets_is_an_error_of_the_receive(loop: Reactor, serve: Any, connect: Any, name: str) -> None:
    listener = serve(lambda sock: RECEIVERS[name](sock))
    client = connect(listener)
    row = only(loop)
    turns(loop)
    reset(client)
    until_gone(loop, row)
    took(listener, ConnectionResetError)
    assert row.end is End.PEER_RESET
    assert [each.end for each in loop.table.ended] == [End.PEER_RESET]


@pytest.mark.parametrize("name", RECEIVERS)
def test_an_idle_connection_finds_the_end_of_its_input(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, name: str
) -> None:
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        seen.append(RECEIVERS[name](sock))
        sock.sendall(b"bye")

    client = connect(serve(handle, idle_s=10))
    row = only(loop)
    turns(loop)
    clock.advance(9.9)
    turns(loop)
    assert seen == []
    clock.advance(0.2)
    assert receive_all(loop, client) == b"bye"
    assert seen == [b""]
    assert row.end is End.LIMIT


def test_peeking_leaves_the_bytes_and_counts_nothing(loop: Reactor, serve: Any, connect: Any) -> None:
    seen: list[Any] = []

    def handle(sock: Any) -> None:
        seen.append(sock.recv(10, socket.MSG_PEEK))
        seen.append(sock.recv(2, socket.MSG_PEEK))
        (row,) = streams(loop)
        seen.append(row.bytes_in)
        seen.append(sock.recv(10))
        seen.append(sock.recv(10, socket.MSG_PEEK))
        buffer = bytearray(10)
        seen.append((sock.recv_into(buffer, 0, socket.MSG_PEEK), bytes(buffer[:2])))
        seen.append(sock.recv(10))
        seen.append(row.bytes_in)
        sock.sendall(b".")

    client = connect(serve(handle))
    turns(loop)
    client.sendall(b"hello")
    turn_until(loop, lambda: len(seen) == 4)
    client.sendall(b"ho")
    assert receive(loop, client, 1) == b"."
    assert seen == [b"hello", b"he", 0, b"hello", b"ho", (2, b"ho"), b"ho", 7]


def waitall_into(sock: Any) -> bytes:
    buffer = bytearray(10)
    return bytes(buffer[: sock.recv_into(buffer, 10, socket.MSG_WAITALL)])


def waitall_into_a_structure(sock: Any) -> bytes:
    header = Header()
    count = sock.recv_into(header, 10, socket.MSG_WAITALL)
    return bytes(header)[:count]


@pytest.mark.parametrize(
    "receive_whole",
    [
        lambda sock: sock.recv(10, socket.MSG_WAITALL),
        waitall_into,
        waitall_into_a_structure,
    ],
    ids=["recv", "recv_into", "a structure"],
)
def test_a_receive_can_wait_for_all_its_bytes(loop: Reactor, serve: Any, connect: Any, receive_whole: Any) -> None:
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        while data := receive_whole(sock):
            seen.append(data)

    listener = serve(handle)
    client, other = connect(listener), connect(listener)
    turn_until(loop, lambda: len(streams(loop)) == 2)
    row = streams(loop)[0]
    for piece in (b"abc", b"defghi", b"jkl"):
        assert seen == []
        client.sendall(piece)
        count = row.bytes_in
        turn_until(loop, lambda count=count: row.bytes_in > count)
    assert seen == [b"abcdefghij"]
    other.sendall(b"0123456789")  # nobody held it up
    turn_until(loop, lambda: len(seen) == 2)
    client.shutdown(socket.SHUT_WR)
    until_gone(loop, row)
    assert seen == [b"abcdefghij", b"0123456789", b"kl"]  # the end of the stream cuts it short
    assert row.bytes_in == 12
    assert row.end is End.PEER_CLOSED


@pytest.mark.parametrize("flag", ["MSG_PEEK", "a timeout", "MSG_DONTWAIT"])
def test_all_its_bytes_are_not_waited_for(loop: Reactor, serve: Any, connect: Any, flag: str) -> None:
    seen: list[bytes] = []

    def handle(sock: Any) -> None:
        if flag == "a timeout":
            sock.settimeout(5)
        sock.recv(1, socket.MSG_PEEK)
        seen.append(sock.recv(10, socket.MSG_WAITALL | getattr(socket, flag, 0)))

    client = connect(serve(handle))
    client.sendall(b"abc")
    turn_until(loop, lambda: seen)
    assert seen == [b"abc"]
    client.close()


def test_what_came_before_an_error_is_returned(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    seen: list[bytes] = []
    client = connect(serve(lambda sock: seen.append(sock.recv(10, socket.MSG_WAITALL)), request_s=30))
    row = only(loop)
    client.sendall(b"abc")
    turn_until(loop, lambda: row.bytes_in)
    turns(loop)
    clock.advance(30.1)
    turn_until(loop, lambda: seen)
    assert seen == [b"abc"]
    client.close()


def test_an_error_behind_what_came_first_is_raised_by_the_next_receive(
    serve_everywhere: Any, connect: Any
) -> None:
    loop, serve = serve_everywhere
    seen: list[object] = []

    def handle(sock: Any) -> None:
        seen.append(sock.recv(10, socket.MSG_WAITALL))
        try:
            sock.recv(10)
        except ConnectionResetError as error:
            seen.append(type(error))
        seen.append(sock.recv(10))  # heard of once

    client = connect(serve(handle))
    row = only(loop)
    client.sendall(b"abc")
    turn_until(loop, lambda: row.bytes_in)
    turns(loop)
    reset(client)
    until_gone(loop, row)
    assert seen == [b"abc", ConnectionResetError, b""]


@pytest.mark.skipif(not hasattr(socket, "MSG_OOB"), reason="needs urgent data")
def test_urgent_data_and_errors_are_asked_for_at_once(loop: Reactor, serve: Any, connect: Any) -> None:
    seen: list[object] = []

    def urgent(sock: Any) -> object:
        try:
            return sock.recv(1, socket.MSG_OOB)
        except OSError as error:
            return error.errno

    def handle(sock: Any) -> None:
        seen.append(sock.recv(100))  # cut short: an ordinary receive would wait
        seen.append(urgent(sock))
        if hasattr(socket, "MSG_ERRQUEUE"):
            with pytest.raises(BlockingIOError):
                sock.recvmsg(100, 100, socket.MSG_ERRQUEUE)
        sock.sendall(b".")
        seen.append(sock.recv(100))
        seen.append(urgent(sock))
        seen.append(sock.recv(100))

    client = connect(serve(handle))
    ask(loop, client, b"first", b".")
    assert seen == [b"first", errno.EINVAL]
    client.sendall(b"second")
    client.send(b"!", socket.MSG_OOB)
    turn_until(loop, lambda: len(seen) == 4)
    client.sendall(b"third")
    turn_until(loop, lambda: len(seen) == 5)
    assert seen[2:] == [b"second", b"!", b"third"]
    client.close()


def test_a_call_that_must_not_wait_does_not(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        for _ in range(2):
            with pytest.raises(BlockingIOError):
                sock.recv(10, socket.MSG_DONTWAIT)
            with pytest.raises(BlockingIOError):
                sock.recv_into(bytearray(10), 10, socket.MSG_DONTWAIT)
            with pytest.raises(BlockingIOError):
                sock.recvfrom(10, socket.MSG_DONTWAIT)
            assert sock.recv(10) == b"hello"  # and now it is dry
        with pytest.raises(BlockingIOError):
            sock.sendall(BIG, socket.MSG_DONTWAIT)
        with pytest.raises(BlockingIOError):
            sock.send(b"x", socket.MSG_DONTWAIT)
        with pytest.raises(BlockingIOError):
            sock.sendmsg([b"x"], [], socket.MSG_DONTWAIT)
        done.append(1)

    done: list[int] = []
    client = connect(serve(handle), receive_buffer=4096)
    row = only(loop)
    for count in (5, 10):
        turns(loop)
        client.sendall(b"hello")
        turn_until(loop, lambda count=count: row.bytes_in == count)
    turn_until(loop, lambda: done)
    client.close()


def test_receiving_nothing_returns_at_once_and_is_no_end(loop: Reactor, serve: Any, connect: Any) -> None:
    seen: list[Any] = []

    def handle(sock: Any) -> None:
        seen.extend([sock.recv(0), sock.recv_into(bytearray()), sock.recv(10), sock.recv(0), sock.recv_into(bytearray())])
        sock.sendall(b".")

    client = connect(serve(handle))
    row = only(loop)
    assert seen == []
    client.sendall(b"hello")
    assert receive_all(loop, client) == b"."
    assert seen == [b"", 0, b"hello", b"", 0]
    assert row.phase is Phase.LINGERING  # for the peer has not ended its stream
    client.close()
    until_gone(loop, row)


def test_bytes_that_nobody_reads_cost_nothing(serve_everywhere: Any, connect: Any) -> None:
    loop, serve = serve_everywhere
    waiting: list[Any] = []

    def first(sock: Any) -> None:
        sock.recv(1)
        waiting.append(sock)
        other[0].recv(1)  # waits for somebody else

    other: list[Any] = []

    def second(sock: Any) -> None:
        other.append(sock)
        sock.recv(100)

    quiet = connect(serve(second))
    turn_until(loop, lambda: other)
    client = connect(serve(first))
    turns(loop)
    client.sendall(b"x" * 1000)
    turn_until(loop, lambda: waiting)
    assert all(not turn.ready for turn in turns(loop, 5))
    client.close()
    assert all(not turn.ready for turn in turns(loop, 5))
    quiet.close()


# -- sending ----------------------------------------------------------------------------------------------------------


def send_loop(send: Callable[[Any, Any], int]) -> Callable[[Any, bytes], None]:
    def send_whole(sock: Any, data: bytes) -> None:
        view = memoryview(data)
        while view:
            view = view[send(sock, view) :]

    return send_whole


def by_file(buffering: int) -> Callable[[Any, bytes], None]:
    def write(sock: Any, data: bytes) -> None:
        with sock.makefile("wb", buffering) as file:
            view = memoryview(data)
            while view:
                view = view[file.write(view) :]

    return write


def by_sendfile(sock: Any, data: bytes) -> None:
    assert sock.sendfile(io.BytesIO(b"--" + data), offset=2) == len(data)


def by_sendfile_of_a_file(sock: Any, data: bytes) -> None:
    import tempfile

    with tempfile.TemporaryFile() as file:
        file.write(data + b"more")
        file.flush()
        assert sock.sendfile(file, 0, len(data)) == len(data)


SENDERS: dict[str, Callable[[Any, bytes], None]] = {
    "sendall": lambda sock, data: sock.sendall(data),
    "sendall of words": lambda sock, data: sock.sendall(array.array("i", data)),
    "send": send_loop(lambda sock, data: sock.send(data)),
    "sendmsg": send_loop(lambda sock, data: sock.sendmsg([data[:1000], data[1000:]])),
    "sendfile": by_sendfile,
    "sendfile of a file": by_sendfile_of_a_file,
    "a file": by_file(-1),
    "an unbuffered file": by_file(0),
}


@pytest.mark.parametrize("name", SENDERS)
def test_a_slow_reader_gets_every_byte_and_holds_nobody_up(serve_everywhere: Any, connect: Any, name: str) -> None:
    loop, serve = serve_everywhere

    def handle(sock: Any) -> None:
        sock.recv(1)
        SENDERS[name](sock, BIG)

    def echo(sock: Any) -> None:
        while data := sock.recv(100):
            sock.sendall(data)

    other = connect(serve(echo))
    client = connect(serve(handle), receive_buffer=4096)
    ask(loop, other, b"one", b"one")
    _, row = streams(loop)
    client.sendall(b"?")
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    ask(loop, other, b"two", b"two")
    assert 0 < row.bytes_out < len(BIG)
    assert receive_all(loop, client) == BIG
    assert row.bytes_out == len(BIG)
    ask(loop, other, b"three", b"three")


@pytest.mark.parametrize("name", SENDERS)
def test_a_reader_that_resets_is_an_error_of_the_send(loop: Reactor, serve: Any, connect: Any, name: str) -> None:
    listener = serve(lambda sock: SENDERS[name](sock, BIG))
    client = connect(listener, receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.bytes_out)
    reset(client)
    until_gone(loop, row)
    took(listener, ConnectionError)
    assert row.end is End.PEER_RESET


def test_sending_an_empty_message_is_no_wait(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.sendall(b"")
        assert sock.send(b"") == 0
        sock.sendall(memoryview(b"x"))
        with pytest.raises(TypeError):
            sock.sendall("text")

    client = connect(serve(handle))
    assert receive_all(loop, client) == b"x"


def test_a_message_of_an_iterator_is_sent_whole(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        counts.extend(sock.sendmsg(piece for piece in (bytes(10_000), b"y" * 10_000)) for _ in range(200))
        sock.shutdown(socket.SHUT_WR)

    counts: list[int] = []
    client = connect(serve(handle), receive_buffer=4096)
    turn_until(loop, lambda: streams(loop) and streams(loop)[0].waiters)  # the buffers are full
    data = receive_all(loop, client)
    assert len(counts) == 200
    assert 0 not in counts
    assert len(data) == sum(counts)


def test_sending_a_structure(loop: Reactor, serve: Any, connect: Any) -> None:
    client = connect(serve(lambda sock: sock.sendall(Header())))
    assert receive_all(loop, client) == bytes(Header())


def test_sendto_needs_an_address_and_may_have_flags(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        with pytest.raises(TypeError):
            sock.sendto(b"x")
        try:
            sock.sendto(b"a", sock.getpeername())  # Linux ignores the address of a connected stream,
            sock.sendto(b"b", 0, sock.getpeername())
        except OSError:  # and others refuse it
            sock.sendall(b"ab")

    assert receive_all(loop, connect(serve(handle))) == b"ab"


def test_sendall_in_pieces_takes_its_timeout_as_a_whole(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    raised: list[BaseException] = []

    def handle(sock: Any) -> None:
        sock.settimeout(5)
        try:
            sock.sendall(BIG * 4)
        except TimeoutError as error:
            raised.append(error)
        sock.settimeout(None)

    client = connect(serve(handle), receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.bytes_out)
    for _ in range(4):  # there is progress all the time
        clock.advance(1)
        before = row.bytes_out
        while row.bytes_out == before:
            receive(loop, client, 1 << 16)
    assert not raised
    clock.advance(1.1)
    turn_until(loop, lambda: raised)
    client.close()


# -- timeouts ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name in RECEIVERS if "file" not in name])
def test_a_receive_times_out_and_the_handler_may_try_again(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, name: str
) -> None:
    times: list[float] = []
    texts: set[str] = set()

    def handle(sock: Any) -> None:
        assert sock.gettimeout() is None
        sock.settimeout(2.5)
        assert sock.gettimeout() == sock.timeout == 2.5
        while True:
            try:
                data = RECEIVERS[name](sock)
            except TimeoutError as error:
                times.append(clock.now() - 1000)
                texts.add(str(error))
            else:
                sock.sendall(data)
                return

    client = connect(serve(handle))
    for at in (1, 2, 3, 4, 5):
        turns(loop)
        clock.advance(1)
        turns(loop)
        assert len(times) == (at >= 3)  # the second wait began at 3 and ends at 5.5
    assert times == [3]
    assert texts == {"timed out"}
    client.sendall(b"late")
    assert receive(loop, client, 4) == b"late"


def test_a_file_of_a_socket_times_out_as_it_does_in_a_thread(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    raised: list[BaseException] = []

    def handle(sock: Any) -> None:
        sock.settimeout(1)
        file = sock.makefile("rb")
        for _ in range(2):
            try:
                file.readline()
            except OSError as error:
                raised.append(error)
        file.close()

    client = connect(serve(handle))
    turns(loop)
    client.sendall(b"half a line")
    turns(loop)
    clock.advance(1.1)
    assert receive_all(loop, client) == b""
    assert [type(error) for error in raised] == [TimeoutError, OSError]
    assert "cannot read from timed out object" in str(raised[1])


def test_a_send_times_out_and_the_handler_may_go_on(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    raised: list[BaseException] = []

    def handle(sock: Any) -> None:
        sock.settimeout(3)
        try:
            while True:
                sock.send(BIG)
        except TimeoutError as error:
            raised.append(error)
        sock.settimeout(None)
        sock.sendall(b"end")

    client = connect(serve(handle), receive_buffer=4096)
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.WORKING)
    clock.advance(2.9)
    turns(loop)
    assert not raised
    clock.advance(0.2)
    turns(loop)
    assert raised
    assert receive_all(loop, client).endswith(b"end")


def non_blocking_by_timeout(sock: Any) -> None:
    sock.settimeout(0)


def non_blocking_by_flag(sock: Any) -> None:
    sock.setblocking(False)


@pytest.mark.parametrize("make", [non_blocking_by_timeout, non_blocking_by_flag])
def test_a_socket_can_be_made_non_blocking_and_blocking_again(
    loop: Reactor, serve: Any, connect: Any, make: Any
) -> None:
    def handle(sock: Any) -> None:
        make(sock)
        assert sock.gettimeout() == 0
        assert not sock.getblocking()
        assert is_nonblocking(sock)
        for receiver in ("recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into"):
            with pytest.raises(BlockingIOError):
                RECEIVERS[receiver](sock)
        with pytest.raises(BlockingIOError):
            sock.sendall(BIG)
        with pytest.raises(BlockingIOError):
            sock.send(b"x")
        with pytest.raises(BlockingIOError):
            sock.sendmsg([b"x"])
        with pytest.raises(ValueError, match="non-blocking"):
            sock.sendfile(io.BytesIO(b"x"))
        sock.setblocking(True)
        assert sock.gettimeout() is None
        assert sock.getblocking()
        assert not is_nonblocking(sock)
        assert sock.recv(10) == b"now"

    client = connect(serve(handle), receive_buffer=4096)
    turns(loop)
    client.sendall(b"now")
    reply = receive_all(loop, client)
    assert 0 < len(reply) < len(BIG)
    assert reply == BIG[: len(reply)]


def test_a_dry_socket_that_is_made_non_blocking_is_asked(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        assert sock.recv(10) == b"one"
        sock.setblocking(False)
        client.sendall(b"two")
        assert sock.recv(10) == b"two"
        client.sendall(b"three")
        assert RECEIVERS["recv_into"](sock) == b"three"
        sock.send(b".")

    client = connect(serve(handle))
    client.sendall(b"one")
    assert receive(loop, client, 1) == b"."


def test_wrong_timeouts_are_refused(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        with pytest.raises(ValueError, match="Timeout value out of range"):
            sock.settimeout(-1)
        with pytest.raises(ValueError, match="Invalid value NaN"):
            sock.settimeout(float("nan"))
        for too_long in (1e30, float("inf")):
            with pytest.raises(OverflowError):
                sock.settimeout(too_long)
        sock.settimeout(9e9)
        sock.settimeout(None)
        with pytest.raises(TypeError):
            sock.settimeout("soon")
        assert sock.gettimeout() is None
        sock.send(b".")

    assert receive(loop, connect(serve(handle)), 1) == b"."


# -- the object -------------------------------------------------------------------------------------------------------


def is_nonblocking(sock: Any) -> bool:
    return bool(fcntl.fcntl(sock.fileno(), fcntl.F_GETFL) & os.O_NONBLOCK)


def test_the_request_is_the_socket_that_get_request_returned(loop: Reactor, serve: Any, connect: Any) -> None:
    class Keeping(Server):
        def get_request(self) -> Any:
            request, address = super().get_request()
            kept.append(request)
            assert type(request) is socket.socket
            return request, address

    class Handler(ours.StreamRequestHandler):
        rbufsize = 0

        def handle(self) -> None:
            assert self.connection is self.request is kept[0]
            assert self.rfile._sock is self.request
            assert isinstance(self.request, socket.socket)
            assert self.request.gettimeout() is None
            assert not is_nonblocking(self.request)
            assert self.request.fileno() in loop.green_rows
            assert self.rfile.readline() == b"one\n"
            assert self.request.recv(10) == b"two\n"  # rbufsize 0 has left it there
            self.wfile.write(b"done")

    kept: list[Any] = []
    listener = serve(print, Keeping)
    listener.server.RequestHandlerClass = Handler
    client = connect(listener)
    client.sendall(b"one\ntwo\n")
    assert receive_all(loop, client) == b"done"


@pytest.mark.parametrize("rbufsize", [0, 1, 10, -1])
@pytest.mark.parametrize("wbufsize", [0, 10, -1])
def test_files_of_every_buffer_size(loop: Reactor, serve: Any, connect: Any, rbufsize: int, wbufsize: int) -> None:
    sizes = {"rbufsize": rbufsize, "wbufsize": wbufsize}

    class Handler(ours.StreamRequestHandler):
        def handle(self) -> None:
            if self.rbufsize:
                assert self.rfile.raw._sock is self.request
            for line in self.rfile:
                assert self.wfile.write(line * 1000) == len(line) * 1000
                self.wfile.flush()

    listener = serve(print)
    listener.server.RequestHandlerClass = type("Sized", (Handler,), sizes)
    client = connect(listener)
    for line in (b"one\n", b"two two two two\n"):
        for at in range(len(line)):
            client.sendall(line[at : at + 1])
            turns(loop, 2)
        assert receive(loop, client, len(line) * 1000) == line * 1000
    client.shutdown(socket.SHUT_WR)
    assert receive_all(loop, client) == b""


def test_a_text_file_of_both_directions(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        with sock.makefile("rw", encoding="utf-8", newline="\n") as file:
            for line in file:
                file.write(line.upper())
                file.flush()

    client = connect(serve(handle))
    ask(loop, client, "größe\n".encode(), "GRÖSSE\n".encode())
    client.close()


@pytest.mark.parametrize("wbufsize", [0, -1])
def test_a_handler_with_a_timeout_of_its_own(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock, wbufsize: int
) -> None:
    class Handler(ours.StreamRequestHandler):
        timeout = 2

        def handle(self) -> None:
            assert self.connection.gettimeout() == 2
            self.wfile.write(b"late" if self._waits() else b"")

        def _waits(self) -> bool:
            with pytest.raises(TimeoutError):
                self.rfile.readline()
            return True

    listener = serve(print)
    listener.server.RequestHandlerClass = type("Sized", (Handler,), {"wbufsize": wbufsize})
    client = connect(listener)
    turns(loop)
    clock.advance(2.1)
    assert receive_all(loop, client) == b"late"


class Noted(socket.socket):
    """A socket of a user's: with an attribute, and with methods of its own around the inherited ones."""

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.notes: list[Any] = []

    def recv(self, size: int) -> bytes:  # type: ignore[override]
        data = super().recv(size)
        self.notes.append(data)
        return data.swapcase()

    def sendall(self, data: Any) -> None:  # type: ignore[override]
        super().sendall(b"<" + bytes(data) + b">")

    def close(self) -> None:
        self.notes.append("close")
        super().close()


class Accepting(Server):
    """Its connections are `Noted`."""

    def get_request(self) -> Any:
        request, address = super().get_request()
        noted = Noted(request.family, request.type, request.proto, fileno=request.detach())
        noted.notes.append("accepted")
        return noted, address


def test_methods_of_a_subclass_go_before_and_are_called_once(loop: Reactor, serve: Any, connect: Any) -> None:
    kept: list[Any] = []

    def handle(sock: Any) -> None:
        kept.append(sock)
        assert isinstance(sock, Noted)
        sock.sendall(sock.recv(10))

    client = connect(serve(handle, Accepting))
    turns(loop)
    client.sendall(b"hello")
    assert receive_all(loop, client) == b"<HELLO>"
    assert kept[0].notes == ["accepted", b"hello", "close"]


def test_a_request_that_is_no_socket_is_refused_with_a_word(
    loop: Reactor, serve: Any, connect: Any, logged: Any
) -> None:
    class Wrapper:
        def __init__(self, sock: Any) -> None:
            self.sock = sock

        def __getattr__(self, name: str) -> Any:
            return getattr(self.sock, name)

    class Wrapping(Server):
        def get_request(self) -> Any:
            request, address = super().get_request()
            return Wrapper(request), address

    client = connect(serve(print, Wrapping))
    assert receive_all(loop, client) == b""
    (record,) = logged()
    assert "way=\"greenlet\" needs a socket.socket" in record.getMessage()
    assert streams(loop) == []


def test_every_method_raises_on_a_closed_socket_and_leaves_no_row(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.close()
        sock.close()
        for name, receiver in RECEIVERS.items():
            if "file" not in name:
                with pytest.raises(OSError, match="Bad file descriptor|Errno 9"):
                    receiver(sock)
        for call in (
            lambda: sock.send(b"x"),
            lambda: sock.sendall(b"x"),
            lambda: sock.sendmsg([b"x"]),
            lambda: sock.settimeout(1),
            lambda: sock.shutdown(socket.SHUT_RDWR),
        ):
            with pytest.raises(OSError, match="Errno 9"):
                call()

    client = connect(serve(handle))
    assert receive_all(loop, client) == b""
    turns(loop)
    assert streams(loop) == []
    assert loop.green_rows == {}


def test_close_waits_for_open_files(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        file = sock.makefile("rwb")
        sock.close()
        file.write(file.readline().upper())
        file.flush()
        assert sock.fileno() >= 0
        file.close()
        assert sock.fileno() == -1

    client = connect(serve(handle))
    turns(loop)
    client.sendall(b"one\n")
    assert receive_all(loop, client) == b"ONE\n"
    turn_until(loop, lambda: streams(loop) == [])


def test_a_reply_arrives_whole_although_input_is_left_unread(loop: Reactor, serve: Any, connect: Any) -> None:
    reply = BIG[: 3 << 20]

    def handle(sock: Any) -> None:
        sock.recv(1)
        sock.sendall(reply)

    client = connect(serve(handle))
    row = only(loop)
    client.sendall(b"x" * 50_000)
    assert receive(loop, client, len(reply)) == reply
    assert receive_all(loop, client) == b""
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    client.close()
    until_gone(loop, row)
    assert row.end is End.FINISHED


def test_lingering_ends_by_its_time_and_by_its_bytes(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    listener = serve(lambda sock: sock.send(b"bye"), linger_s=2, linger_bytes=1000)
    silent, talker = connect(listener), connect(listener)
    turn_until(loop, lambda: [row.phase for row in streams(loop)] == [Phase.LINGERING] * 2)
    first, second = streams(loop)
    talker.sendall(b"x" * 1000)
    turn_until(loop, lambda: second.bytes_in == 1000)
    assert second.phase is Phase.LINGERING
    talker.sendall(b"x")
    until_gone(loop, second)
    clock.advance(1.9)
    turns(loop)
    assert first.fd >= 0
    clock.advance(0.2)
    until_gone(loop, first)
    assert silent.recv(10) == b"bye"


def test_a_peer_that_resets_while_we_linger(loop: Reactor, serve: Any, connect: Any) -> None:
    client = connect(serve(lambda sock: sock.send(b"bye")))
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    reset(client)
    until_gone(loop, row)
    assert row.end is End.FINISHED


@pytest.mark.parametrize("how", [socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR])
def test_shutdown_of_each_side(loop: Reactor, serve: Any, connect: Any, how: int) -> None:
    seen: list[Any] = []

    def handle(sock: Any) -> None:
        sock.recv(10)
        sock.shutdown(how)
        if how != socket.SHUT_RD:
            with pytest.raises(BrokenPipeError):
                sock.sendall(b"x")
        else:
            sock.sendall(b"x")
        seen.append(sock.recv(10))

    client = connect(serve(handle))
    row = only(loop)
    client.sendall(b"hello")
    assert receive(loop, client, 1) == (b"x" if how == socket.SHUT_RD else b"")
    if how == socket.SHUT_WR:
        client.sendall(b"more")
    turn_until(loop, lambda: seen)
    assert seen == [b"more" if how == socket.SHUT_WR else b""]
    client.close()
    until_gone(loop, row)


def test_a_detached_descriptor_is_the_handlers_own(loop: Reactor, serve: Any, connect: Any) -> None:
    kept: list[int] = []

    def handle(sock: Any) -> None:
        sock.recv(10)
        kept.append(sock.detach())
        assert sock.fileno() == -1

    client = connect(serve(handle))
    client.sendall(b"hello")
    turn_until(loop, lambda: kept and not streams(loop))
    with socket.socket(fileno=kept[0]) as own:
        assert type(own) is socket.socket
        assert own.gettimeout() is None
        own.sendall(b"still open")
        assert client.recv(100) == b"still open"


def test_a_descriptor_that_was_detached_and_closed_may_be_the_next_connections(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    others: list[Any] = []
    fds: list[int] = []
    ended: list[int] = []

    def other(sock: Any) -> None:
        others.append(sock)
        sock.recv(10)

    def handle(sock: Any) -> None:
        fds.append(sock.fileno())
        if len(fds) > 1:
            while data := sock.recv(10):
                sock.send(data)
            sock.settimeout(1)
            return
        os.close(sock.detach())
        others[0].settimeout(5)
        with pytest.raises(TimeoutError):  # meanwhile its descriptor is the next connection's
            others[0].recv(10)
        ended.append(1)

    opener = connect(serve(other))
    turn_until(loop, lambda: others)
    listener = serve(handle)
    first, second = connect(listener), connect(listener)
    turn_until(loop, lambda: len(fds) == 2)
    assert fds[0] == fds[1]
    ask(loop, second, b"one", b"one")
    clock.advance(5.1)
    turn_until(loop, lambda: ended)
    ask(loop, second, b"two", b"two")
    assert loop.green_rows[fds[1]] in streams(loop)
    assert len(streams(loop)) == 2
    second.shutdown(socket.SHUT_WR)
    assert receive_all(loop, second) == b""
    for client in (opener, first, second):
        client.close()
    turn_until(loop, lambda: streams(loop) == [])
    assert loop.green_rows == {}


def test_a_duplicate_has_a_row_of_its_own_while_the_handler_lasts(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        with sock.dup() as twin:
            assert twin.gettimeout() is None
            twin.sendall(twin.recv(10))
            turned.append(len(streams(loop)))
        sock.sendall(sock.recv(10))

    turned: list[int] = []
    client = connect(serve(handle))
    turns(loop)
    ask(loop, client, b"one", b"one")
    assert turned == [2]
    ask(loop, client, b"two", b"two")
    client.close()
    turn_until(loop, lambda: streams(loop) == [])


@pytest.mark.parametrize("duplicate", [lambda sock: sock.dup(), lambda sock: socket.socket(fileno=os.dup(sock.fileno()))])
def test_bytes_for_whom_a_handler_has_given_its_descriptor_are_not_discarded(
    loop: Reactor, serve: Any, connect: Any, duplicate: Any
) -> None:
    kept: list[Any] = []

    def handle(sock: Any) -> None:
        sock.recv(1)
        kept.append(duplicate(sock))

    client = connect(serve(handle))
    client.sendall(b"x")
    turn_until(loop, lambda: kept)
    for _ in range(3):
        client.sendall(b"y" * 100)
        turns(loop)
    client.close()
    assert streams(loop) == []
    with kept[0].makefile("rb") as file:
        assert file.read() == b"y" * 300
    kept[0].close()


@needs_fork
def test_bytes_for_a_child_that_a_handler_has_forked_are_not_discarded(loop: Reactor, serve: Any, connect: Any) -> None:
    kept: list[tuple[int, Any]] = []

    def handle(sock: Any) -> None:
        sock.recv(1)
        ours, theirs = socket.socketpair()
        pid = os.fork()
        if pid == 0:
            try:
                theirs.recv(1)  # when all has come, and the parent has had its chance to take it
                with sock.makefile("rb") as file:
                    theirs.sendall(file.read())
            finally:
                os._exit(0)
        theirs.close()
        kept.append((pid, ours))

    client = connect(serve(handle))
    client.sendall(b"x")
    turn_until(loop, lambda: kept)
    client.sendall(b"y" * 300)
    client.shutdown(socket.SHUT_WR)
    turns(loop)
    pid, end = kept[0]
    with end, end.makefile("rb") as file:
        end.sendall(b".")
        assert file.read() == b"y" * 300
    os.waitpid(pid, 0)
    assert streams(loop) == []


def test_what_the_library_asks_of_a_socket_is_no_reason_not_to_linger(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.settimeout(5)
        assert sock.gettimeout() == 5
        sock.recv(1)
        with sock.makefile("rb") as file:
            file.read(1)
        sock.sendall(b".")

    client = connect(serve(handle))
    client.sendall(b"xyz")
    row = only(loop)
    turn_until(loop, lambda: row.phase is Phase.LINGERING)
    client.close()


def test_a_socket_is_pickled_for_another_process_as_ever(loop: Reactor, serve: Any, connect: Any) -> None:
    pickled: list[bytes] = []

    def handle(sock: Any) -> None:
        pickled.append(bytes(ForkingPickler.dumps(sock)))
        sock.recv(1)

    client = connect(serve(handle))
    turn_until(loop, lambda: pickled)
    with pickle.loads(pickled[0]) as copy:
        assert type(copy) is socket.socket
        copy.sendall(b"from a process")
        assert receive(loop, client, 14) == b"from a process"
    resource_sharer.stop(timeout=5)
    client.sendall(b".")
    turn_until(loop, lambda: not streams(loop))


# -- sharing ----------------------------------------------------------------------------------------------------------


def test_handlers_write_to_the_sockets_of_others(serve_everywhere: Any, connect: Any, ) -> None:
    loop, serve = serve_everywhere
    members: list[Any] = []

    def chat(sock: Any) -> None:
        members.append(sock)
        with sock.makefile("rb") as lines:
            for line in lines:
                for member in members:
                    if member is not sock:
                        member.sendall(line)
        members.remove(sock)

    listener = serve(chat)
    clients = [connect(listener) for _ in range(3)]
    turn_until(loop, lambda: len(members) == 3)
    for index, client in enumerate(clients):
        client.sendall(b"I am %d\n" % index)
        for other in clients:
            if other is not client:
                assert receive(loop, other, 7) == b"I am %d\n" % index
    clients[0].close()
    turn_until(loop, lambda: len(members) == 2)
    ask(loop, clients[1], b"", b"")
    clients[1].sendall(b"still\n")
    assert receive(loop, clients[2], 6) == b"still\n"


def test_two_handlers_that_wait_to_write_to_one_socket_both_do(loop: Reactor, serve: Any, connect: Any) -> None:
    target: list[Any] = []
    done: list[int] = []

    def slow(sock: Any) -> None:
        target.append(sock)
        got.append(sock.recv(10))
        sock.recv(10)

    got: list[bytes] = []

    def writer(sock: Any) -> None:
        mark = sock.recv(1)
        target[0].sendall(mark * len(BIG))
        done.append(1)

    reader = connect(serve(slow), receive_buffer=4096)
    turn_until(loop, lambda: target)
    listener = serve(writer)
    writers = [connect(listener) for _ in range(2)]
    for mark, client in zip((b"a", b"b"), writers, strict=True):
        client.sendall(mark)
    turn_until(loop, lambda: len(streams(loop)) == 3 and len(loop.green_rows[target[0].fileno()].waiters) == 3)
    reader.sendall(b"meanwhile")
    turn_until(loop, lambda: got)
    assert got == [b"meanwhile"]
    data = receive(loop, reader, 2 * len(BIG))
    assert (data.count(b"a"), data.count(b"b")) == (len(BIG), len(BIG))
    turn_until(loop, lambda: len(done) == 2)
    reader.close()


@pytest.mark.parametrize("shuts", [False, True])
def test_a_socket_that_another_handler_closes(loop: Reactor, serve: Any, connect: Any, shuts: bool) -> None:
    target: list[Any] = []

    def victim(sock: Any) -> None:
        target.append(sock)
        sock.recv(10)

    def closer(sock: Any) -> None:
        if shuts:  # then it lingers
            target[0].shutdown(socket.SHUT_WR)
        target[0].close()

    listener = serve(victim)
    client = connect(listener)
    turn_until(loop, lambda: target)
    (row,) = streams(loop)
    connect(serve(closer))
    turn_until(loop, lambda: listener.server.errors)
    assert row.phase is (Phase.LINGERING if shuts else Phase.CLOSED)
    error = took(listener, OSError)
    assert isinstance(error, OSError)
    assert error.errno == 9
    assert receive_all(loop, client) == b""
    assert listener.server.calls == ["handle_error", "shutdown_request"]


def test_the_row_of_who_writes_to_others_is_no_request_for_ever(
    loop: Reactor, serve: Any, connect: Any, clock: ManualClock
) -> None:
    target: list[Any] = []

    def listens(sock: Any) -> None:
        target.append(sock)
        sock.recv(10)

    def talks(sock: Any) -> None:
        while data := sock.recv(10):
            target[0].sendall(data)

    hearer = connect(serve(listens, idle_s=None))
    turn_until(loop, lambda: target)
    client = connect(serve(talks, request_s=30))
    for _ in range(10):  # 100 s in all, and not one byte back to this client
        client.sendall(b"x")
        assert receive(loop, hearer, 1) == b"x"
        turns(loop)
        clock.advance(10)
    assert [row.phase for row in streams(loop)] == [Phase.IDLE] * 2


# -- threads and children ---------------------------------------------------------------------------------------------


class KeepsOpen(Server):
    """Its handlers keep their sockets."""

    def process_request(self, request: Any, client_address: Any) -> None:
        self.finish_request(request, client_address)


def echo_once(sock: Any) -> None:
    sock.sendall(sock.recv(10).upper())


@pytest.mark.parametrize("timeout_s", [None, 4.5])
def test_a_socket_that_is_kept_is_an_ordinary_one(
    loop: Reactor, serve: Any, connect: Any, timeout_s: float | None
) -> None:
    kept: list[Any] = []

    def handle(sock: Any) -> None:
        sock.settimeout(timeout_s)
        sock.recv(10)
        kept.append(sock)

    client = connect(serve(handle, KeepsOpen))
    client.sendall(b"hello")
    turn_until(loop, lambda: kept and not streams(loop))
    (sock,) = kept
    assert type(sock) is socket.socket
    assert sock.gettimeout() == timeout_s
    assert is_nonblocking(sock) == (timeout_s is not None)
    thread = Running(lambda: echo_once(sock))
    client.sendall(b"more")
    assert client.recv(10) == b"MORE"
    thread.join()
    sock.close()
    assert client.recv(10) == b""
    assert loop.table.connections == 0


def test_a_socket_that_a_subclass_made_is_of_that_class_again(loop: Reactor, serve: Any, connect: Any) -> None:
    class Both(KeepsOpen, Accepting):
        pass

    kept: list[Any] = []
    connect(serve(kept.append, Both))
    turn_until(loop, lambda: kept and not streams(loop))
    assert type(kept[0]) is Noted
    kept[0].close()


@pytest.mark.parametrize("name", RECEIVERS)
def test_a_thread_uses_the_socket_while_the_handler_lasts(
    loop: Reactor, serve: Any, connect: Any, name: str
) -> None:
    threads: list[Running] = []

    def handle(sock: Any) -> None:
        sock.recv(1)
        threads.append(Running(lambda: sock.sendmsg([RECEIVERS[name](sock).upper()])))
        sock.recv(1, socket.MSG_PEEK)  # waits, with the thread in the same socket

    listener = serve(handle)
    client = connect(listener)
    client.sendall(b"?")
    turn_until(loop, lambda: threads)
    client.sendall(b"hello")
    assert client.recv(10) == b"HELLO"  # no turn of the loop was needed
    threads[0].join()
    client.close()
    turn_until(loop, lambda: not streams(loop))


def test_what_a_thread_has_set_stays_when_the_handler_ends(loop: Reactor, serve: Any, connect: Any) -> None:
    kept: list[Any] = []

    def handle(sock: Any) -> None:
        Running(lambda: sock.settimeout(7)).join()
        kept.append(sock)

    connect(serve(handle, KeepsOpen))
    turn_until(loop, lambda: kept and not streams(loop))
    assert kept[0].gettimeout() == 7
    kept[0].close()


def test_a_thread_closes_the_socket_while_the_handler_lasts(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.recv(1)
        Running(sock.close).join()
        assert sock.fileno() == -1

    client = connect(serve(handle))
    client.sendall(b"?")
    assert receive_all(loop, client) == b""
    turn_until(loop, lambda: not streams(loop))
    assert loop.green_rows == {}


@needs_fork
def test_a_child_blocks_in_the_socket_and_never_in_the_loop(loop: Reactor, serve: Any, connect: Any) -> None:
    pids: list[int] = []

    def handle(sock: Any) -> None:
        with sock.makefile("rwb") as file:
            file.write(b"from the parent\n")
            file.flush()
            pid = os.fork()
            if pid == 0:
                status = 1
                try:
                    assert current() is None
                    sock.settimeout(5)
                    assert sock.gettimeout() == socket.socket.gettimeout(sock) == 5
                    sock.settimeout(None)
                    line = file.readline()
                    assert file.readline() == b"two\n"
                    file.write(line.upper())
                    file.flush()
                    status = 0
                finally:
                    os._exit(status)
            pids.append(pid)
        sock.close()

    client = connect(serve(handle, KeepsOpen))
    assert receive(loop, client, 16) == b"from the parent\n"
    turn_until(loop, lambda: pids)
    client.sendall(b"one\n")
    turns(loop)
    client.sendall(b"two\n")
    assert client.recv(100) == b"ONE\n"
    _, status = os.waitpid(pids[0], 0)
    assert status == 0
    client.close()
    turn_until(loop, lambda: not streams(loop))


@needs_fork
@pytest.mark.parametrize("status", [0, 1])
def test_a_child_that_returns_from_the_handler_ends(loop: Reactor, serve: Any, connect: Any, status: int) -> None:
    pids: list[int] = []

    def answer(sock: Any) -> None:
        echo_once(sock)
        sock.close()

    def handle(sock: Any) -> None:
        assert sock.recv(10) == b"fork"
        pid = os.fork()
        if pid == 0:
            sock.sendall(b"from the child")
            if status:
                raise SystemExit
            return
        pids.append(pid)
        sock.close()

    listener = serve(handle, KeepsOpen)
    client = connect(listener)
    client.sendall(b"fork")
    assert receive(loop, client, 14) == b"from the child"
    assert os.waitstatus_to_exitcode(os.waitpid(pids[0], 0)[1]) == status
    assert receive_all(loop, client) == b""
    listener.server.RequestHandlerClass = lambda request, client_address, server: answer(request)
    ask(loop, connect(listener), b"again", b"AGAIN")  # the loop is the parent's alone


@needs_fork
def test_a_program_gets_a_socket_that_blocks_as_its_input_and_output(
    loop: Reactor, serve: Any, connect: Any
) -> None:
    program = (
        "import os, fcntl\n"
        "flags = [fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK for fd in (0, 1)]\n"
        "line = os.read(0, 100)\n"
        "os.write(1, b'%r %d %d' % (line, *flags))\n"
    )
    pids: list[int] = []

    def cgi(sock: Any) -> None:
        rfile, wfile = sock.makefile("rb", 0), sock.makefile("wb", 0)
        wfile.write(b"head ")
        wfile.flush()
        pid = os.fork()
        if pid == 0:
            try:
                os.dup2(rfile.fileno(), 0)
                os.dup2(wfile.fileno(), 1)
                os.execv(sys.executable, [sys.executable, "-c", program])
            finally:
                os._exit(127)
        pids.append(pid)
        rfile.close()
        wfile.close()
        sock.close()

    client = connect(serve(cgi, KeepsOpen))
    assert receive(loop, client, 5) == b"head "
    client.sendall(b"body")
    reply = Running(lambda: client.recv(100)).join()
    assert reply == b"b'body' 0 0"
    os.waitpid(pids[0], 0)
    turn_until(loop, lambda: not streams(loop))


def test_a_program_that_subprocess_starts(loop: Reactor, serve: Any, connect: Any) -> None:
    def handle(sock: Any) -> None:
        sock.recv(1, socket.MSG_PEEK)
        subprocess.run([sys.executable, "-c", "print(input().upper())"], stdin=sock, stdout=sock, check=True)

    client = connect(serve(handle))
    client.sendall(b"line\n")
    assert receive_all(loop, client) == b"LINE\n"


# -- fairness ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["recv", "recv_into", "recvfrom"])
def test_a_client_that_sends_without_end_holds_nobody_up(connect: Any, name: str) -> None:
    counts: list[int] = []

    def sink(sock: Any) -> None:
        while data := RECEIVERS[name](sock):
            counts.append(len(data))

    with Reactor() as loop, serving(loop) as serve:
        listener = serve(sink, bytes_per_turn=1000)
        client, other = connect(listener), connect(listener)
        turn_until(loop, lambda: len(streams(loop)) == 2)
        client.sendall(b"x" * 100_000)
        turns(loop, 1)
        assert sum(counts) <= 1100
        turn_until(loop, lambda: sum(counts) == 100_000, turns=200)
        other.close()


@pytest.mark.parametrize("name", ["sendall", "send", "sendmsg", "an unbuffered file"])
def test_a_fast_reader_holds_nobody_up(loop: Reactor, serve: Any, connect: Any, name: str) -> None:
    sent: list[int] = []

    def source(sock: Any) -> None:
        for _ in range(100):
            SENDERS[name](sock, b"x" * 100)
            sent.append(100)

    client = connect(serve(source, bytes_per_turn=1000))
    turn_until(loop, lambda: sent)
    assert sum(sent) <= 1100
    assert receive_all(loop, client) == b"x" * 10_000
