"""Which rows are ready, on every selector of the platform; each trap of `selectors` has its test."""

import contextlib
import errno
import os
import selectors
import signal
import socket
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from reactor import End, demultiplexer
from reactor.demultiplexer import BATCH_ROWS, FD_SETSIZE, Demultiplexer, DirectEpoll, wait_readable
from reactor.table import READ, WRITE

SELECTORS: dict[str, Any] = {
    name: getattr(selectors, name)
    for name in ("DefaultSelector", "EpollSelector", "PollSelector", "SelectSelector", "KqueueSelector")
    if hasattr(selectors, name)
}
if DirectEpoll is not None:
    SELECTORS["DirectEpoll"] = DirectEpoll
epoll_only = pytest.mark.skipif(DirectEpoll is None, reason="no epoll here")


class FakeRow:
    """What a demultiplexer asks of a row."""

    def __init__(self, sock: Any) -> None:
        self.sock: Any = sock
        self.fd: int = sock.fileno()
        self.interest = 0
        self.ended: list[tuple[End, str]] = []

    def finish(self, end: End, detail: str) -> None:
        self.ended.append((end, detail))

    def __repr__(self) -> str:
        return f"row of {self.fd}"


class Descriptorless(selectors.BaseSelector):
    """A selector of somebody else's, whose descriptors no system call knows: of a simulated world, say."""

    def register(self, fileobj: Any, events: int, data: Any = None) -> Any:
        return None

    def unregister(self, fileobj: Any) -> Any:
        return None

    def select(self, timeout: float | None = None) -> Any:
        return []

    def get_map(self) -> Any:
        return {}


@pytest.fixture(params=SELECTORS)
def demux(request: pytest.FixtureRequest) -> Iterator[Demultiplexer]:
    with contextlib.closing(Demultiplexer(SELECTORS[request.param]())) as demux:
        yield demux


@pytest.fixture
def pair() -> Iterator[Callable[[], tuple[FakeRow, socket.socket]]]:
    """Give a function that makes a row and the socket at its other end; they are closed at the end."""
    with contextlib.ExitStack() as stack:

        def make() -> tuple[FakeRow, socket.socket]:
            ours, theirs = socket.socketpair()
            for sock in (ours, theirs):
                stack.enter_context(sock)
                sock.setblocking(False)
            return FakeRow(ours), theirs

        yield make


Pair = Callable[[], tuple[FakeRow, socket.socket]]


def ready(demux: Demultiplexer, timeout_s: float | None = 0) -> dict[FakeRow, int]:
    batch: Any = demux.wait(timeout_s)
    rows = dict(batch)
    assert len(rows) == len(batch), "a row twice in one batch"
    return rows


def watch(demux: Demultiplexer, row: Any, interest: int) -> None:
    demux.set(row, interest)
    assert row.interest == interest


# -- readiness --------------------------------------------------------------------------------------------------------


def test_the_interests_are_those_of_selectors() -> None:
    assert (READ, WRITE) == (selectors.EVENT_READ, selectors.EVENT_WRITE)


def test_a_batch_carries_rows_and_what_they_are_ready_for(demux: Demultiplexer, pair: Pair) -> None:
    row, peer = pair()
    idle, _ = pair()
    watch(demux, idle, READ)
    watch(demux, row, READ)
    assert ready(demux) == {}
    peer.send(b"x")
    assert ready(demux) == {row: READ}
    watch(demux, row, READ | WRITE)
    assert ready(demux) == {row: READ | WRITE}
    watch(demux, row, WRITE)
    assert ready(demux) == {row: WRITE}
    watch(demux, row, 0)
    assert ready(demux) == {}
    watch(demux, row, READ)
    assert ready(demux, None) == {row: READ}


@pytest.mark.parametrize("interest", [READ, WRITE, READ | WRITE])
@pytest.mark.parametrize("how", ["half", "close", "reset"])
def test_hang_ups_and_errors_are_readiness_for_what_was_asked(
    demux: Demultiplexer, pair: Pair, interest: int, how: str
) -> None:
    row, peer = pair()
    watch(demux, row, interest)
    if how == "reset":
        row.sock.send(b"unread")  # closing with unread input is a reset
    if how == "half":
        peer.shutdown(socket.SHUT_WR)
    else:
        peer.close()
    [(got, mask)] = ready(demux).items()
    assert got is row
    assert mask, "an event with no readiness leads nowhere: the loop would spin"
    assert not mask & ~interest, "readiness for what nobody asked for"
    if how != "half":
        assert mask == interest


@pytest.mark.skipif(os.name == "nt", reason="pipes cannot be selected on Windows")
def test_a_hang_up_or_error_alone_is_readiness(demux: Demultiplexer) -> None:
    """Sockets report a hang-up together with input; a pipe reports it alone."""
    with contextlib.ExitStack() as stack:

        def pipe() -> tuple[Any, Any]:
            reader, writer = os.pipe()
            ends = stack.enter_context(open(reader, "rb", 0)), stack.enter_context(open(writer, "wb", 0))
            os.set_blocking(writer, False)
            return ends

        reader, writer = pipe()
        hung_up: Any = FakeRow(reader)
        writer.close()
        watch(demux, hung_up, READ)
        assert ready(demux) == {hung_up: READ}
        watch(demux, hung_up, 0)
        reader, writer = pipe()
        broken: Any = FakeRow(writer)
        while writer.write(b"x" * 65536):
            pass
        watch(demux, broken, WRITE)
        assert ready(demux) == {}
        reader.close()
        assert ready(demux) == {broken: WRITE}


def test_no_interest_is_no_event_whatever_the_peer_does(demux: Demultiplexer, pair: Pair) -> None:
    row, peer = pair()
    watch(demux, row, READ)
    watch(demux, row, 0)
    row.sock.send(b"unread")
    peer.close()
    assert [ready(demux, 0) for _ in range(100)] == [{}] * 100
    watch(demux, row, READ)
    assert ready(demux) == {row: READ}


def test_nothing_is_ready_when_the_time_is_over(demux: Demultiplexer, pair: Pair) -> None:
    row, _ = pair()
    watch(demux, row, READ)
    for timeout_s in (0, 0.0, 1e-9, 0.001, -1, -0.5):
        assert ready(demux, timeout_s) == {}


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
def test_a_signal_is_no_readiness(demux: Demultiplexer, pair: Pair) -> None:
    row, _ = pair()
    watch(demux, row, READ)
    came: list[int] = []
    old = signal.signal(signal.SIGALRM, lambda number, frame: came.append(number))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        while not came:
            assert ready(demux, 0.02) == {}
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)


@epoll_only
def test_an_interrupted_wait_is_an_empty_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    class Interrupted:
        def poll(self, *args: object) -> None:
            raise InterruptedError

    selector = SELECTORS["DirectEpoll"]()
    with contextlib.closing(Demultiplexer(selector)) as demux, monkeypatch.context() as patch:
        patch.setattr(selector, "_selector", Interrupted())
        assert demux.wait(None) == []


@epoll_only
def test_a_batch_is_bounded_and_the_next_one_has_the_others(pair: Pair) -> None:
    with contextlib.closing(Demultiplexer()) as demux:
        rows = {}
        for _ in range(BATCH_ROWS + 30):
            row, rows[row] = pair()
            watch(demux, row, READ)
            rows[row].send(b"x")
        first, second = ready(demux), ready(demux)
        assert len(first) == BATCH_ROWS
        assert first.keys() | second.keys() == rows.keys()


def test_a_few_at_a_time_in_a_round_robin(demux: Any, pair: Pair) -> None:
    rows = {}
    for _ in range(10):
        row, rows[row] = pair()
        watch(demux, row, READ)
        rows[row].send(b"x")
    demux.take(3)
    batches = [ready(demux) for _ in range(10)]
    assert {len(batch) for batch in batches} == {3}
    assert set().union(*batches) == rows.keys()
    demux.take(10)
    assert ready(demux).keys() == rows.keys()
    demux.take(None)
    assert ready(demux).keys() == rows.keys()


# -- registering ------------------------------------------------------------------------------------------------------


class Counting(selectors.SelectSelector):
    """Notes what is registered, modified and unregistered."""

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[tuple[Any, ...]] = []

    def register(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self.notes.append(("register", events))
        return super().register(fileobj, events, data)

    def modify(self, fileobj: Any, events: int, data: Any = None) -> selectors.SelectorKey:
        self.notes.append(("modify", events))
        return super().modify(fileobj, events, data)

    def unregister(self, fileobj: Any) -> selectors.SelectorKey:
        self.notes.append(("unregister",))
        return super().unregister(fileobj)


@pytest.mark.parametrize("before", [0, READ, WRITE, READ | WRITE])
@pytest.mark.parametrize("after", [0, READ, WRITE, READ | WRITE])
def test_the_selector_is_asked_only_if_the_interest_changes(pair: Pair, before: int, after: int) -> None:
    row, _ = pair()
    selector = Counting()
    # `modify` of a SelectSelector unregisters and registers; only the first note of each change counts.
    with contextlib.closing(Demultiplexer(selector)) as demux:
        watch(demux, row, before)
        selector.notes.clear()
        watch(demux, row, after)
        if before == after:
            assert selector.notes == []
        elif not before:
            assert selector.notes == [("register", after)]
        else:
            assert selector.notes[0] == (("modify", after) if after else ("unregister",))
        assert ("modify", 0) not in selector.notes
        assert len(selector.get_map()) == (1 if after else 0)


def test_a_socket_closed_behind_our_back_is_replaced_by_the_next_with_its_number(
    demux: Demultiplexer, pair: Pair
) -> None:
    gone, _ = pair()
    watch(demux, gone, READ)
    gone.sock.close()
    row, peer = pair()
    if row.fd != gone.fd:  # the other end got the number
        other = FakeRow(peer)
        row, peer = other, row.sock
    assert row.fd == gone.fd
    watch(demux, row, READ)
    assert gone.interest == 0
    assert gone.ended == [(End.ABORTED, f"its descriptor {gone.fd} was closed by somebody else")]
    peer.send(b"x")
    assert ready(demux) == {row: READ}
    demux.set(gone, 0)  # type: ignore[arg-type]
    assert ready(demux) == {row: READ}, "the old row took the new one's registration away"
    with pytest.raises(OSError, match="was closed by somebody else") as caught:
        demux.set(gone, READ)  # type: ignore[arg-type]
    assert caught.value.errno == errno.EBADF
    assert (ready(demux), gone.interest, row.interest) == ({row: READ}, 0, READ)


def test_a_socket_closed_behind_our_back_can_be_given_up(demux: Demultiplexer, pair: Pair) -> None:
    row, _ = pair()
    other, peer = pair()
    watch(demux, other, READ)
    watch(demux, row, READ)
    row.sock.close()
    peer.send(b"x")
    assert ready(demux).get(row, READ) == READ  # poll and select tell its row; epoll and kqueue forgot it
    watch(demux, row, 0)
    watch(demux, row, 0)
    assert ready(demux) == {other: READ}


def test_so_can_one_whose_interest_could_not_be_changed(demux: Demultiplexer, pair: Pair) -> None:
    row, _ = pair()
    watch(demux, row, READ)
    row.sock.close()
    with contextlib.suppress(OSError):  # epoll and kqueue refuse a closed descriptor, poll and select take it
        demux.set(row, READ | WRITE)  # type: ignore[arg-type]
    watch(demux, row, 0)
    assert ready(demux) == {}


def test_select_does_not_fail_for_ever_because_one_socket_was_closed(pair: Pair) -> None:
    row, _ = pair()
    other, _ = pair()
    with contextlib.closing(Demultiplexer(selectors.SelectSelector())) as demux:
        watch(demux, other, READ)
        watch(demux, row, READ)
        row.sock.close()
        assert ready(demux) == {row: READ}
        watch(demux, row, 0)
        assert ready(demux) == {}


def test_another_failure_of_select_is_not_swallowed(pair: Pair) -> None:
    class Broken(selectors.SelectSelector):
        def select(self, timeout: float | None = None) -> Any:
            raise OSError(errno.ENOMEM, "Cannot allocate memory")

    row, _ = pair()
    with contextlib.closing(Demultiplexer(Broken())) as demux:
        watch(demux, row, READ)
        with pytest.raises(OSError, match="Cannot allocate memory"):
            demux.wait(0)


@epoll_only
def test_an_event_of_a_file_that_a_child_still_holds_is_skipped(pair: Pair) -> None:
    row, peer = pair()
    other, other_peer = pair()
    with contextlib.closing(Demultiplexer()) as demux:
        watch(demux, row, READ)
        watch(demux, other, READ)
        copy = os.dup(row.fd)  # as a fork would have it: epoll goes on watching the file
        try:
            row.sock.close()
            watch(demux, row, 0)
            peer.send(b"x")
            assert ready(demux) == {}
            other_peer.send(b"x")
            assert ready(demux) == {other: READ}
        finally:
            os.close(copy)


# -- a new epoll set --------------------------------------------------------------------------------------------------


@pytest.fixture(params=["EpollSelector", "DirectEpoll"])
def epoll(request: pytest.FixtureRequest) -> Iterator[Demultiplexer]:
    if request.param not in SELECTORS:
        pytest.skip("no epoll here")
    with contextlib.closing(Demultiplexer(SELECTORS[request.param]())) as demux:
        yield demux


@pytest.fixture
def stray(epoll: Demultiplexer, pair: Pair) -> Iterator[FakeRow]:
    """Have epoll report a file that no row has: it was closed, and a copy is open."""
    row, peer = pair()
    watch(epoll, row, READ)
    copy = os.dup(row.fd)
    row.sock.close()
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, row.fd)  # so that no other row gets the number
    watch(epoll, row, 0)
    peer.send(b"x")
    yield row
    for fd in {copy, null, row.fd}:
        os.close(fd)


def test_a_set_has_strays_until_it_is_renewed(epoll: Demultiplexer, stray: FakeRow, pair: Pair) -> None:
    both, reader, writer = pair(), pair(), pair()
    for (row, _), interest in ((both, READ | WRITE), (reader, READ), (writer, WRITE)):
        watch(epoll, row, interest)
    number = epoll._selector.fileno()  # type: ignore[attr-defined]
    assert epoll.has_strays()
    assert epoll.renew()
    assert not epoll.has_strays()
    assert epoll._selector.fileno() == number  # type: ignore[attr-defined]
    assert not os.get_inheritable(number)
    assert ready(epoll) == {both[0]: WRITE, writer[0]: WRITE}
    both[1].send(b"x")
    reader[1].send(b"x")
    assert ready(epoll) == {both[0]: READ | WRITE, reader[0]: READ, writer[0]: WRITE}
    watch(epoll, both[0], 0)
    watch(epoll, reader[0], WRITE)
    assert ready(epoll) == {reader[0]: WRITE, writer[0]: WRITE}


@pytest.mark.parametrize("how", ["close", "os.close", "detach"])
def test_a_renewal_tells_the_rows_that_are_gone(epoll: Demultiplexer, pair: Pair, how: str) -> None:
    (row, _), (other, peer) = pair(), pair()
    watch(epoll, row, READ)
    watch(epoll, other, READ)
    if how == "close":
        row.sock.close()
    elif how == "os.close":
        os.close(row.fd)
    else:
        number = row.sock.detach()
    assert epoll.renew()
    assert row.interest == 0
    assert row.ended == [(End.ABORTED, f"its descriptor {row.fd} was closed by somebody else")]
    assert other.ended == []
    peer.send(b"x")
    assert ready(epoll) == {other: READ}
    if how == "os.close":
        row.sock.detach()
    elif how == "detach":
        os.close(number)


def test_a_renewal_without_resources_changes_nothing(
    epoll: Demultiplexer, stray: FakeRow, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    row, peer = pair()
    watch(epoll, row, READ)

    def no_more() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(demultiplexer.select, "epoll", no_more)
        patch.setattr(demultiplexer, "_epoll_of", lambda selector: selector._selector)
        assert not epoll.renew()
    peer.send(b"x")
    assert {row: READ} in [ready(epoll) for _ in range(3)]  # EpollSelector asks for as many as it has keys: the stray is one
    assert epoll.has_strays()


@epoll_only
def test_nor_does_one_whose_new_set_has_no_room(
    epoll: Demultiplexer, stray: FakeRow, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """epoll_ctl(2), ENOSPC: /proc/sys/fs/epoll/max_user_watches. The row is not to blame."""
    row, peer = pair()
    watch(epoll, row, READ)

    class Full:
        def __enter__(self) -> "Full":
            return self

        def __exit__(self, *exc: object) -> None:
            pass

        def register(self, fd: int, mask: int) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(demultiplexer.select, "epoll", Full)
        patch.setattr(demultiplexer, "_epoll_of", lambda selector: selector._selector)
        assert not epoll.renew()
    assert (row.interest, row.ended) == (READ, [])
    peer.send(b"x")
    assert {row: READ} in [ready(epoll) for _ in range(3)]


def test_other_selectors_need_none(pair: Pair) -> None:
    for name in ("PollSelector", "SelectSelector"):
        with contextlib.closing(Demultiplexer(SELECTORS[name]())) as demux:
            row, _ = pair()
            watch(demux, row, READ)
            assert not demux.has_strays()
            assert not demux.renew()
            assert (row.interest, row.ended) == (READ, [])


@epoll_only
def test_a_host_goes_on_hearing_of_a_renewed_set(epoll: Demultiplexer, stray: FakeRow, pair: Pair) -> None:
    """An epoll of the host's would forget a descriptor whose set is replaced, and a copy of the old one would wake it."""
    import select

    row, peer = pair()
    watch(epoll, row, READ)
    with select.epoll() as host:
        host.register(epoll.fileno(), select.EPOLLIN)
        copy = os.dup(epoll._selector.fileno())  # type: ignore[attr-defined]  # as a child has it
        try:
            assert host.poll(0) == [(epoll.fileno(), select.EPOLLIN)]  # of the stray
            assert epoll.renew()
            assert host.poll(0) == []
            peer.send(b"x")
            assert host.poll(1) == [(epoll.fileno(), select.EPOLLIN)]
            assert ready(epoll) == {row: READ}
        finally:
            os.close(copy)


def test_a_row_is_asked_alone(demux: Demultiplexer, pair: Pair) -> None:
    row, peer = pair()
    watch(demux, row, READ)
    assert not demux.is_ready(row)  # type: ignore[arg-type]
    peer.send(b"x")
    assert demux.is_ready(row)  # type: ignore[arg-type]


def test_a_row_of_which_nobody_can_say_is_taken_for_ready(demux: Demultiplexer, pair: Pair) -> None:
    row, _ = pair()
    watch(demux, row, READ)
    number, row.fd = row.fd, -1
    assert demux.is_ready(row)  # type: ignore[arg-type]
    row.fd = number
    with contextlib.closing(Demultiplexer(Descriptorless())) as other:
        watch(other, row, READ)
        assert other.is_ready(row)  # type: ignore[arg-type]


def test_a_selector_with_a_descriptor_of_its_own_is_watched_by_that(pair: Pair) -> None:
    """kqueue and devpoll have one."""

    class Kqueue(Descriptorless):
        def fileno(self) -> int:
            return 7

    with contextlib.closing(Demultiplexer(Kqueue())) as demux:
        assert demux.fileno() == 7


def test_a_row_that_is_barred_stays_so_until_it_ends(demux: Demultiplexer, pair: Pair) -> None:
    rows = [pair() for _ in range(2)]
    for row, peer in rows:
        watch(demux, row, READ)
        peer.send(b"x")
        demux.bar(row)  # type: ignore[arg-type]
        for interest in (READ, WRITE, READ | WRITE, 0):
            demux.set(row, interest)  # type: ignore[arg-type]
            assert row.interest == 0
    assert ready(demux) == {}
    rows[0][0].fd = -1
    demux.bar(rows[1][0])  # type: ignore[arg-type]
    assert demux._barred == {rows[1][0]}, "rows that have ended are not remembered"


@pytest.fixture
def high_fd(pair: Pair) -> Iterator[FakeRow]:
    """A row whose descriptor select() cannot watch."""
    resource = pytest.importorskip("resource")
    fcntl = pytest.importorskip("fcntl")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = FD_SETSIZE + 100
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip("no descriptors that high")
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    try:
        row, _ = pair()
        with socket.socket(fileno=fcntl.fcntl(row.fd, fcntl.F_DUPFD_CLOEXEC, FD_SETSIZE)) as high:
            yield FakeRow(high)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_select_refuses_what_it_could_not_watch(high_fd: FakeRow, pair: Pair) -> None:
    row, peer = pair()
    peer.send(b"x")
    with contextlib.closing(Demultiplexer(selectors.SelectSelector())) as demux:
        watch(demux, row, READ)
        with pytest.raises(OSError, match=rf"select\(\) cannot watch descriptor {high_fd.fd} of row .* is 1023"):
            demux.set(high_fd, READ)  # type: ignore[arg-type]
        assert high_fd.interest == 0
        assert ready(demux) == {row: READ}, "select() fails for ever after"


@pytest.mark.skipif(not hasattr(selectors, "PollSelector"), reason="no poll here")
def test_the_others_have_no_such_limit(high_fd: FakeRow) -> None:
    for selector in (None, selectors.PollSelector()):
        with contextlib.closing(Demultiplexer(selector)) as demux:
            watch(demux, high_fd, WRITE)
            assert ready(demux) == {high_fd: WRITE}
            watch(demux, high_fd, 0)


@epoll_only
def test_what_epoll_cannot_watch_is_named() -> None:
    with tempfile.TemporaryFile() as file, contextlib.closing(Demultiplexer()) as demux:
        row: Any = FakeRow(file)
        with pytest.raises(PermissionError, match=rf"cannot watch descriptor {row.fd} of row") as caught:
            demux.set(row, READ)
        assert caught.value.errno == errno.EPERM
        assert row.interest == 0
        assert demux.wait(0) == []


def test_a_row_that_has_ended_is_not_watched(demux: Demultiplexer, pair: Pair) -> None:
    row, _ = pair()
    row.sock.close()
    row.fd = -1
    with pytest.raises(OSError, match="was closed by somebody else"):
        demux.set(row, READ)  # type: ignore[arg-type]


# -- the selector itself ----------------------------------------------------------------------------------------------


@epoll_only
def test_on_linux_the_fast_one_is_used() -> None:
    with contextlib.closing(Demultiplexer()) as demux:
        assert type(demux._selector) is DirectEpoll


def test_a_python_with_another_private_name_gets_the_public_one(monkeypatch: pytest.MonkeyPatch, pair: Pair) -> None:
    class Renamed:
        """Has its epoll set under another name."""

        closed = 0

        def close(self) -> None:
            Renamed.closed += 1

    monkeypatch.setattr(demultiplexer, "DirectEpoll", Renamed)
    with contextlib.closing(Demultiplexer()) as demux:
        assert type(demux._selector) is selectors.DefaultSelector
        assert Renamed.closed == 1, "its descriptor leaks"
        row, peer = pair()
        watch(demux, row, READ)
        peer.send(b"x")
        assert ready(demux) == {row: READ}


def test_a_platform_without_epoll_gets_its_own_best(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(demultiplexer, "DirectEpoll", None)
    with contextlib.closing(Demultiplexer()) as demux:
        assert type(demux._selector) is selectors.DefaultSelector


def test_it_can_be_watched_itself_where_it_has_a_descriptor(demux: Demultiplexer, pair: Pair) -> None:
    row, peer = pair()
    watch(demux, row, READ)
    if not hasattr(demux._selector, "fileno"):  # poll, select
        with pytest.raises(OSError, match=r"\w+Selector has no descriptor") as caught:
            demux.fileno()
        assert caught.value.errno == errno.ENOSYS
        return
    with selectors.SelectSelector() as outer:
        outer.register(demux.fileno(), selectors.EVENT_READ)
        assert outer.select(0) == []
        peer.send(b"x")
        assert len(outer.select(5)) == 1
    assert ready(demux) == {row: READ}


@epoll_only
def test_closing_gives_its_descriptor_back() -> None:
    demux = Demultiplexer()
    fd = demux.fileno()
    demux.close()
    with pytest.raises(OSError):
        os.fstat(fd)


def test_wait_readable(pair: Pair) -> None:
    row, peer = pair()
    assert wait_readable(row.sock, 0) is False
    assert wait_readable(row.sock, 0.001) is False
    peer.send(b"x")
    assert wait_readable(row.sock, 0) is True
    assert wait_readable(row.sock, None) is True
