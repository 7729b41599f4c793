"""Coroutines on the loop: tasks, sleep, timeouts, reads across rows, and awaitables that belong to somebody else."""

import asyncio
import contextlib
import gc
import inspect
import sys
import types
from collections.abc import Iterator
from typing import Any

import pytest

from reactor import Cancelled, ConnectionLost, End, ManualClock, Phase, Reactor, Stream, sleep, spawn, timeout
from tests.driving import ask, listen, only, receive, receive_all, reset, streams, turn_until, turns, until_gone

pytestmark = pytest.mark.usefixtures("no_errors_left")


def pass_time(loop: Reactor, clock: ManualClock, seconds: float) -> None:
    """Let the clock jump, and give the loop the turns to notice all that follows."""
    clock.advance(seconds)
    turns(loop)


# -- tasks ------------------------------------------------------------------------------------------------------------


def test_a_task_returns_its_result(loop: Reactor) -> None:
    async def work(x: int, *, y: int) -> int:
        await sleep(0)
        return x + y

    async def main() -> int:
        return await spawn(work, 1, y=2).wait()

    assert loop.run_until(main) == 3


def test_a_task_is_waited_for_by_many_and_afterwards(loop: Reactor, clock: ManualClock) -> None:
    got: list[Any] = []

    async def work() -> str:
        await sleep(1)
        return "result"

    task = loop.spawn(work)

    async def wait() -> None:
        got.append(await task.wait())

    for _ in range(3):
        loop.spawn(wait)
    turns(loop)
    assert not task.done
    assert got == []
    pass_time(loop, clock, 1)
    assert task.done
    assert task.result() == "result"
    loop.spawn(wait)
    turns(loop)
    assert got == ["result"] * 4
    assert not loop.tasks


def test_an_error_reaches_whoever_waits_and_is_not_logged_then(loop: Reactor) -> None:
    async def work() -> None:
        await sleep(0)
        raise ValueError("wrong")

    async def main() -> str:
        try:
            await spawn(work).wait()
        except ValueError as error:
            return str(error)
        return "nothing was raised"

    assert loop.run_until(main) == "wrong"


def test_an_error_nobody_waits_for_is_logged_once(loop: Reactor, logged: Any) -> None:
    async def work() -> None:
        raise ValueError("wrong")

    task = loop.spawn(work)
    turns(loop)
    (record,) = logged()
    assert "work" in record.getMessage()
    assert record.exc_info[1].args == ("wrong",)
    with pytest.raises(ValueError, match="wrong"):
        task.result()


def test_cancel_raises_at_the_await_and_cleanup_may_await(loop: Reactor, clock: ManualClock) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            await sleep(100)
        except Cancelled:
            seen.append("cancelled")
            raise
        finally:
            await sleep(1)
            seen.append("cleaned up")

    task = loop.spawn(work)
    turns(loop)
    task.cancel()
    turns(loop)
    assert seen == ["cancelled"]
    assert not task.done
    pass_time(loop, clock, 1)
    assert seen == ["cancelled", "cleaned up"]
    with pytest.raises(Cancelled):
        task.result()


def test_whoever_waits_for_a_cancelled_task_hears_of_it(loop: Reactor) -> None:
    async def forever() -> None:
        await sleep(1e6)

    async def main() -> str:
        task = spawn(forever)
        await sleep(0)
        task.cancel()
        try:
            await task.wait()
        except Cancelled:
            return "cancelled"
        return "not cancelled"

    assert loop.run_until(main) == "cancelled"


def test_cancel_before_the_first_step_twice_and_after_the_end(loop: Reactor) -> None:
    started: list[int] = []

    async def work() -> None:
        started.append(1)
        await sleep(5)

    task = loop.spawn(work)
    task.cancel()
    task.cancel()
    turns(loop)
    assert task.done
    task.cancel()
    turns(loop)
    assert not loop.tasks

    async def short() -> str:
        return "done"

    task = loop.spawn(short)
    turns(loop)
    task.cancel()
    turns(loop)
    assert task.result() == "done"


def test_a_cancelled_waiter_is_not_resumed_by_the_task_it_waited_for(loop: Reactor, clock: ManualClock) -> None:
    """Both in one turn: the waiter is cancelled and cleans up, then the task is done."""
    seen: list[Any] = []

    async def work() -> str:
        await sleep(1)
        return "result"

    task = loop.spawn(work)

    async def wait() -> None:
        try:
            await task.wait()
        finally:
            seen.append(await sleep(10))

    waiter = loop.spawn(wait)
    turns(loop)
    loop.call_later(0.5, waiter.cancel)
    pass_time(loop, clock, 1)
    turns(loop, 5)
    assert task.done
    assert seen == []
    assert not waiter.done
    pass_time(loop, clock, 10)
    assert waiter.done


def test_spawn_takes_coroutine_functions_only(loop: Reactor) -> None:
    def plain() -> int:
        return 5

    with pytest.raises(TypeError, match="async def"):
        loop.spawn(plain)  # type: ignore[arg-type]
    assert not loop.tasks


def test_spawn_outside_of_a_loop_says_what_to_use() -> None:
    async def work() -> None:
        """Never run."""

    with pytest.raises(RuntimeError, match="loop.spawn"):
        spawn(work)


def test_run_until_raises_what_the_function_raised(loop: Reactor, logged: Any) -> None:
    async def work() -> None:
        raise LookupError("wrong")

    with pytest.raises(LookupError, match="wrong"):
        loop.run_until(work)
    logged()


# -- tasks of a stream ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["returns", "peer closes", "peer resets", "aborted", "closed by another"])
def test_a_stream_s_tasks_are_cancelled_with_its_row(loop: Reactor, connect: Any, how: str) -> None:
    seen: list[str] = []

    async def tick() -> None:
        try:
            while True:
                await sleep(1000)
        finally:
            seen.append("cancelled")

    async def serve(stream: Stream) -> None:
        stream.spawn(tick)
        stream.spawn(tick)
        if how != "returns":
            await stream.readline()

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    if how == "peer resets":
        reset(client)
    elif how == "aborted":
        row.abort("a test")
    elif how == "closed by another":
        row.close()
    turns(loop)
    client.close()
    until_gone(loop, row)
    turns(loop)
    assert seen == ["cancelled"] * 2
    assert not row.tasks
    assert not loop.tasks


def test_a_stream_s_task_that_ends_earlier_is_forgotten(loop: Reactor, connect: Any) -> None:
    async def short() -> None:
        await sleep(0)

    async def serve(stream: Stream) -> None:
        while await stream.readline():
            await stream.spawn(short).wait()
            stream.write(b"x")

    client = connect(listen(loop, serve))
    row = only(loop)
    for _ in range(50):
        ask(loop, client, b"\n", b"x")
    assert not row.tasks
    assert not loop.tasks


@pytest.mark.parametrize("leave", ["eof", "reset"])
def test_a_stream_s_task_that_reads_a_connection_that_ends_logs_no_error(
    loop: Reactor, connect: Any, leave: str
) -> None:
    async def read(stream: Stream) -> None:
        while True:
            await stream.readexactly(5)

    async def serve(stream: Stream) -> None:
        stream.spawn(read, stream)
        while True:
            await sleep(10)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"hello")
    turn_until(loop, lambda: row.requests == 1)
    reset(client) if leave == "reset" else client.close()
    turns(loop, 10)
    assert not row.tasks  # a normal end, for a task as for a handler; `no_errors_left` looks at the log


def test_a_task_of_a_row_that_has_ended_does_not_outlive_it(loop: Reactor, connect: Any) -> None:
    async def tick() -> None:
        while True:
            await sleep(1000)

    async def serve(stream: Stream) -> None:
        try:
            await stream.readline()
        finally:
            stream.spawn(tick)

    client = connect(listen(loop, serve))
    row = only(loop)
    turns(loop)
    row.abort("a test")
    turns(loop, 5)
    assert not loop.tasks
    client.close()


# -- sleep ------------------------------------------------------------------------------------------------------------


def test_sleepers_wake_in_the_order_of_their_times(loop: Reactor, clock: ManualClock) -> None:
    woke: list[float] = []

    async def nap(seconds: float) -> None:
        await sleep(seconds)
        woke.append(seconds)

    for seconds in (3, 1, 2, 1):
        loop.spawn(nap, seconds)
    turns(loop)
    pass_time(loop, clock, 0.9)
    assert woke == []
    pass_time(loop, clock, 0.2)
    assert woke == [1, 1]
    pass_time(loop, clock, 100)
    assert woke == [1, 1, 2, 3]


def test_sleep_zero_lets_everybody_else_run(loop: Reactor) -> None:
    order: list[str] = []

    async def count(name: str) -> None:
        for i in range(3):
            order.append(f"{name}{i}")
            await sleep(0)

    loop.spawn(count, "a")
    loop.spawn(count, "b")
    turns(loop, 6)
    assert order == ["a0", "b0", "a1", "b1", "a2", "b2"]


def test_a_task_that_sleeps_for_zero_for_ever_does_not_starve_the_rows(loop: Reactor, connect: Any) -> None:
    async def spin() -> None:
        while True:
            await sleep(0)

    async def echo(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line)

    loop.spawn(spin)
    client = connect(listen(loop, echo))
    for _ in range(10):
        ask(loop, client, b"ping\n", b"ping\n")


def test_sleeps_that_were_cancelled_are_forgotten(loop: Reactor) -> None:
    async def work() -> None:
        await sleep(1e6)

    for _ in range(20):
        tasks = [loop.spawn(work) for _ in range(50)]
        turns(loop)
        for task in tasks:
            task.cancel()
        turns(loop)
    assert len(loop.timers) <= 130
    assert not loop.tasks


def test_sleep_shows_in_the_table_where_the_handler_waits(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def inner() -> None:
        await sleep(5)

    async def serve(stream: Stream) -> None:
        stream.write(await stream.readline())
        await inner()

    client = connect(listen(loop, serve))
    row = only(loop)
    ask(loop, client, b"x\n", b"x\n")
    line = inspect.getsourcelines(inner)[1] + 1
    assert row.waiting_at == f"test_coroutines.py:{line}"
    assert row.snapshot().waiting_at == row.waiting_at
    assert row.phase is Phase.WORKING
    assert row.waiting_at in loop.table.explain(row)
    pass_time(loop, clock, 5)
    assert row.waiting_at is None


# -- timeout ----------------------------------------------------------------------------------------------------------


def test_timeout_raises_timeout_error(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def serve(stream: Stream) -> None:
        try:
            async with timeout(5):
                await stream.readline()
        except TimeoutError as error:
            stream.write(b"too slow: " + str(error).encode() + b"\n")
        stream.write(await stream.readline())

    client = connect(listen(loop, serve))
    only(loop)
    client.sendall(b"half a li")
    turns(loop)
    pass_time(loop, clock, 4.9)
    pass_time(loop, clock, 0.1)
    expected = b"too slow: the block took longer than 5 s\n"
    assert receive(loop, client, len(expected)) == expected
    ask(loop, client, b"ne\n", b"half a line\n")  # not a byte was lost


def test_a_block_that_is_quick_enough_leaves_no_timer(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    async def serve(stream: Stream) -> None:
        while True:
            async with timeout(5):
                line = await stream.readline()
            if not line:
                return
            stream.write(line)

    client = connect(listen(loop, serve))
    for _ in range(300):
        ask(loop, client, b"x\n", b"x\n")
        clock.advance(1)
    assert len(loop.timers) <= 130  # cancelled timers are purged
    pass_time(loop, clock, 100)


def test_nested_timeouts_each_raise_where_they_were_opened(loop: Reactor, clock: ManualClock) -> None:
    seen: list[str] = []

    async def work(inner_s: float, outer_s: float) -> None:
        try:
            async with timeout(outer_s):
                try:
                    async with timeout(inner_s):
                        await sleep(100)
                except TimeoutError:
                    seen.append("inner")
                    await sleep(100)
        except TimeoutError:
            seen.append("outer")

    loop.spawn(work, 1, 3)
    turns(loop)
    pass_time(loop, clock, 1)
    assert seen == ["inner"]
    pass_time(loop, clock, 2)
    assert seen == ["inner", "outer"]
    seen.clear()
    loop.spawn(work, 3, 1)
    turns(loop)
    pass_time(loop, clock, 1)
    assert seen == ["outer"]
    pass_time(loop, clock, 100)
    assert seen == ["outer"]
    assert not loop.tasks


def test_a_timeout_does_not_take_a_cancel_for_its_own(loop: Reactor, clock: ManualClock) -> None:
    seen: list[str] = []

    async def work() -> None:
        try:
            async with timeout(5):
                await sleep(100)
        except TimeoutError:
            seen.append("TimeoutError")

    task = loop.spawn(work)
    turns(loop)
    task.cancel()
    turns(loop)
    assert task.done
    assert seen == []
    with pytest.raises(Cancelled):
        task.result()
    pass_time(loop, clock, 100)
    assert seen == []


def test_an_error_in_the_block_passes(loop: Reactor, clock: ManualClock) -> None:
    async def work() -> None:
        async with timeout(5):
            raise LookupError("wrong")

    async def main() -> None:
        with pytest.raises(LookupError):
            await spawn(work).wait()

    loop.run_until(main)
    pass_time(loop, clock, 100)


@pytest.mark.parametrize("jump_s", [5, 7, 100])
def test_a_timeout_and_the_sleep_in_it_due_at_once_do_not_both_resume(
    loop: Reactor, clock: ManualClock, jump_s: float
) -> None:
    """The clock may pass both in one turn; the sleep must not end whatever the coroutine awaits next."""
    seen: list[str] = []

    async def work() -> None:
        try:
            async with timeout(5):
                await sleep(5)
                seen.append("slept")
        except TimeoutError:
            seen.append("TimeoutError")
        await sleep(1000)
        seen.append("slept again")

    loop.spawn(work)
    turns(loop)
    pass_time(loop, clock, jump_s)
    turns(loop, 5)
    assert seen in (["TimeoutError"], ["slept"])
    pass_time(loop, clock, 1000)
    assert seen[1:] == ["slept again"]


def test_a_sleep_that_was_cancelled_as_it_came_due_does_not_end_a_read(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    got: list[Any] = []

    async def serve(stream: Stream) -> None:
        try:
            async with timeout(5):
                await sleep(6)
        except TimeoutError:
            pass
        got.append(await stream.readline())

    client = connect(listen(loop, serve))
    only(loop)
    pass_time(loop, clock, 10)
    assert got == []
    client.sendall(b"line\n")
    turn_until(loop, lambda: got)
    assert got == [b"line\n"]


def test_a_timeout_as_the_outbox_drains_resumes_once(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    """The drain is over and the time is up in the same turn: whichever counts, the next await is left alone."""
    got: list[Any] = []

    async def serve(stream: Stream) -> None:
        stream.write(b"x" * 10_000_000)
        try:
            async with timeout(5):
                await stream.drain()
            got.append("drained")
        except TimeoutError:
            got.append("TimeoutError")
        got.append(await stream.readline())

    client = connect(listen(loop, serve), receive_buffer=8192)
    row = only(loop)
    turns(loop)
    taken = 0
    while not got:
        taken += len(receive(loop, client, 50_000))
        if row.outbox_bytes <= 300_000:
            clock.advance(10)
    turns(loop, 5)
    assert len(got) == 1
    assert receive(loop, client, 10_000_000 - taken)
    client.sendall(b"line\n")
    turn_until(loop, lambda: len(got) == 2)
    assert got[1] == b"line\n"


def test_many_timeouts_without_a_wait_do_not_deepen_the_stack(loop: Reactor) -> None:
    async def work() -> int:
        rounds = 0
        for _ in range(5000):
            async with timeout(5):
                rounds += 1
        return rounds

    assert loop.run_until(work) == 5000


def test_timeout_around_each_line_keeps_frames_per_turn(loop: Reactor, connect: Any) -> None:
    async def serve(stream: Stream) -> None:
        while True:
            async with timeout(5):
                if not await stream.readline():
                    return

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"x\n" * 5000)
    before = 0
    while row.requests < 5000:
        loop.step(0.01)
        assert row.requests - before <= 2 * row.limits.frames_per_turn
        before = row.requests


# -- reads across rows ------------------------------------------------------------------------------------------------


def relay_listener(loop: Reactor, rows: list[Stream]) -> Any:
    """Listen with a handler that pairs each two connections and copies bytes between them."""

    async def pump(source: Stream, sink: Stream) -> None:
        while data := await source.read_some():
            sink.write(data)
            await sink.drain()
        sink.write_eof()

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        if len(rows) % 2:
            while True:  # its bytes are read by the other handler
                await sleep(1e6)
        other = rows[-2]
        back = spawn(pump, other, stream)
        await pump(stream, other)
        await back.wait()
        other.close()

    return listen(loop, serve)


def test_a_handler_may_read_and_write_the_row_of_another(loop: Reactor, connect: Any) -> None:
    listener = relay_listener(loop, [])
    a = connect(listener)
    only(loop)
    b = connect(listener)
    for text in (b"hello", b"x" * 1000):
        a.sendall(text)
        assert receive(loop, b, len(text)) == text
        b.sendall(text[::-1])
        assert receive(loop, a, len(text)) == text[::-1]
    a.close()
    assert receive_all(loop, b) == b""


def test_a_relayed_row_with_traffic_is_not_idle(loop: Reactor, connect: Any, clock: ManualClock) -> None:
    rows: list[Stream] = []
    listener = relay_listener(loop, rows)
    a = connect(listener)
    only(loop)
    b = connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    for _ in range(20):
        for source, sink in ((a, b), (b, a)):
            source.sendall(b"ping")
            assert receive(loop, sink, 4) == b"ping"
        pass_time(loop, clock, 10)
    assert [row.end for row in rows] == [None, None]


def test_a_row_read_by_its_own_task_is_not_idle_while_it_gets_traffic(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    async def echo(stream: Stream) -> None:
        while line := await stream.readline():
            stream.write(line)

    async def serve(stream: Stream) -> None:
        await stream.spawn(echo, stream).wait()

    client = connect(listen(loop, serve))
    row = only(loop)
    for _ in range(20):
        ask(loop, client, b"ping\n", b"ping\n")
        pass_time(loop, clock, 10)
    assert row.end is None
    pass_time(loop, clock, 66)
    assert row.end is End.LIMIT
    assert receive_all(loop, client) == b""


def test_what_a_task_reads_ends_the_request_that_the_handler_began(
    loop: Reactor, connect: Any, clock: ManualClock
) -> None:
    """The handler takes two lines and says nothing; then its task reads, for longer than a request may take."""
    got: list[bytes] = []

    async def collect(stream: Stream) -> None:
        while line := await stream.readline():
            got.append(line)

    async def serve(stream: Stream) -> None:
        await stream.readline()
        await stream.readline()
        await stream.spawn(collect, stream).wait()

    client = connect(listen(loop, serve))
    row = only(loop)
    for i in range(20):
        client.sendall(b"%d\n" % i)
        turn_until(loop, lambda i=i: row.requests == i + 1)
        pass_time(loop, clock, 5)
        assert row.end is None
    assert row.phase is Phase.IDLE
    assert len(got) == 18


@pytest.mark.parametrize("read", ["read_some", "readline"])
def test_a_row_whose_bytes_another_handler_works_on_is_not_idle(
    loop: Reactor, connect: Any, clock: ManualClock, read: str
) -> None:
    rows: list[Stream] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        if len(rows) == 2:
            while True:
                data = await getattr(rows[0], read)()
                await sleep(100)
                rows[0].write(data)
        await sleep(1e6)

    listener = listen(loop, serve)
    a = connect(listener)
    only(loop)
    connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    a.sendall(b"work on this\n")
    turn_until(loop, lambda: rows[0].requests == 1)
    assert rows[0].phase is Phase.WORKING
    pass_time(loop, clock, 80)
    assert rows[0].end is None
    pass_time(loop, clock, 20)
    assert receive(loop, a, 13) == b"work on this\n"


@pytest.mark.parametrize("how", ["reset", "abort", "close"])
def test_a_handler_that_reads_another_row_hears_of_its_end(loop: Reactor, connect: Any, how: str) -> None:
    rows: list[Stream] = []
    seen: list[Any] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        if len(rows) == 1:
            while True:
                await sleep(1e6)
        try:
            await rows[0].readline()
        except ConnectionLost as error:
            seen.append(error)
        stream.write(b"still here")

    listener = listen(loop, serve)
    a = connect(listener)
    only(loop)
    b = connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    if how == "reset":
        reset(a)
    else:
        getattr(rows[0], how)(*(["a test"] if how == "abort" else []))
    assert receive_all(loop, b) == b"still here"
    assert len(seen) == 1
    assert f"row {rows[0].id}" in str(seen[0])


def test_the_row_of_a_reader_that_ends_is_free_for_another(loop: Reactor, connect: Any) -> None:
    rows: list[Stream] = []

    async def serve(stream: Stream) -> None:
        rows.append(stream)
        if len(rows) == 2:
            await rows[0].readline()
        await sleep(1e6)

    listener = listen(loop, serve)
    a = connect(listener)
    only(loop)
    b = connect(listener)
    turn_until(loop, lambda: len(rows) == 2)
    reset(b)
    until_gone(loop, rows[1])
    turns(loop)
    got: list[bytes] = []

    async def read() -> None:
        got.append(await rows[0].readline())

    loop.spawn(read)
    turns(loop)
    a.sendall(b"line\n")
    turn_until(loop, lambda: got)
    assert got == [b"line\n"]


# -- awaitables of others ---------------------------------------------------------------------------------------------


@types.coroutine
def bare_yield(value: Any) -> Any:
    yield value


FOREIGN = {
    "asyncio.sleep": lambda _: asyncio.sleep(0),
    "asyncio.Future": lambda theirs: theirs.create_future(),
    "a yield": lambda _: bare_yield("anything"),
}


@pytest.fixture
def their_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """Give a loop of asyncio's."""
    with contextlib.closing(asyncio.new_event_loop()) as theirs:
        yield theirs


@pytest.mark.parametrize("name", FOREIGN)
def test_a_foreign_awaitable_is_a_type_error_that_names_ours(
    loop: Reactor, connect: Any, name: str, logged: Any, their_loop: asyncio.AbstractEventLoop
) -> None:
    async def serve(stream: Stream) -> None:
        try:
            await FOREIGN[name](their_loop)
        except TypeError as error:
            stream.write(str(error).encode())
        await stream.readline()  # the handler can go on
        await FOREIGN[name](their_loop)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"go\n")
    message = receive_all(loop, client).decode()
    assert all(word in message for word in ("sleep", "timeout", "spawn", "another event loop"))
    assert row.end is End.HANDLER_FAILED
    assert len(logged()) == 1


def test_a_foreign_awaitable_in_a_task(loop: Reactor) -> None:
    async def work() -> None:
        await asyncio.sleep(0)

    async def main() -> None:
        with pytest.raises(TypeError, match="another event loop"):
            await spawn(work).wait()

    loop.run_until(main)


# -- the end of everything --------------------------------------------------------------------------------------------


def test_closing_the_reactor_cancels_what_runs_and_leaves_no_coroutine_behind(make_loop: Any, connect: Any) -> None:
    """-W error turns "coroutine ... was never awaited" into a failure."""
    seen: list[str] = []

    async def quick() -> None:
        """Spawned and never run."""

    async def work(name: str) -> None:
        try:
            await sleep(100)
        finally:
            seen.append(name)

    async def serve(stream: Stream) -> None:
        stream.spawn(work, "task of the row")
        try:
            await stream.readline()
        finally:
            seen.append("handler")

    loop = make_loop()
    client = connect(listen(loop, serve))
    only(loop)
    loop.spawn(work, "task")
    turns(loop)
    loop.spawn(quick)
    loop.close()
    gc.collect()
    assert sorted(seen) == ["handler", "task", "task of the row"]
    with pytest.raises(ConnectionError):
        client.recv(1)


def test_cleanup_that_spawns_while_the_reactor_closes_leaves_no_coroutine_behind(make_loop: Any) -> None:
    refused: list[bool] = []

    async def last_words() -> None:
        """Too late to run, perhaps."""

    async def work() -> None:
        try:
            await sleep(100)
        finally:
            try:
                loop.spawn(last_words)
            except RuntimeError:
                refused.append(True)

    loop = make_loop()
    loop.spawn(work)
    turns(loop)
    loop.close()
    gc.collect()
    assert len(refused) <= 1
    assert not loop.tasks


def test_spawn_on_a_closed_reactor_is_refused(make_loop: Any) -> None:
    async def work() -> None:
        """Never run."""

    loop = make_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="closed"):
        loop.spawn(work)
    gc.collect()


def test_a_task_may_end_with_system_exit_and_the_loop_runs_again(loop: Reactor, clock: ManualClock) -> None:
    woke: list[str] = []

    async def leave() -> None:
        await sleep(1)
        raise SystemExit(3)

    async def nap() -> None:
        await sleep(1)
        woke.append("nap")

    task = loop.spawn(leave)
    loop.spawn(nap)
    turns(loop)
    clock.advance(1)
    with pytest.raises(SystemExit):
        turns(loop)
    turns(loop)
    assert woke == ["nap"]  # what was due in the same turn is not lost
    assert not loop.tasks
    assert task.done


def test_handlers_of_10_000_lines_have_one_depth(loop: Reactor, connect: Any) -> None:
    depths: set[int] = set()

    async def serve(stream: Stream) -> None:
        await sleep(0)
        while await stream.readline():
            depth, frame = 0, sys._getframe()
            while frame is not None:
                depth, frame = depth + 1, frame.f_back
            depths.add(depth)

    client = connect(listen(loop, serve))
    row = only(loop)
    client.sendall(b"x\n" * 10_000)
    client.shutdown(1)
    until_gone(loop, row)
    assert row.requests == 10_000
    assert max(depths) - min(depths) <= 5
    assert not streams(loop)
