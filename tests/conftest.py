"""Fixtures for the tests of the engine: a loop on every selector, a clock that stands still, clients that end."""

import gc
import logging
import selectors
import socket
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest

from tests.platforms import lacking

lacking.lack()  # before reactor is imported: it looks at the platform once

from reactor import ManualClock, Reactor  # noqa: E402
from tests import driving  # noqa: E402
from tests.platforms import plugin  # noqa: E402
from tests.wakeups import Watch, lifted  # noqa: E402


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker of tests whose loops are woken for nothing on purpose; see tests/platforms for the rest."""
    plugin.register(config)
    config.addinivalue_line("markers", "unwatched(why): the wake-ups of this test's loops are not counted")


def pytest_collection_finish() -> None:
    """What is here now stays to the end: the collector need not look at eleven thousand tests again and again."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def watch_of_all_loops() -> Iterator[Watch]:
    """Give the watch over the wake-ups of every loop of this process."""
    with Watch().installed() as watch:
        yield watch


@pytest.fixture(autouse=True)
def wake_ups(request: pytest.FixtureRequest, watch_of_all_loops: Watch) -> Iterator[Watch]:
    """Fail a test one of whose loops was woken for nothing, again and again: see `wakeups`."""
    watch_of_all_loops.begin()
    if request.node.get_closest_marker("unwatched") is not None:
        with lifted():
            yield watch_of_all_loops
        return
    yield watch_of_all_loops
    wrong = watch_of_all_loops.verdict()
    if wrong:
        pytest.fail(wrong, pytrace=False)


@pytest.fixture(params=list(driving.SELECTORS))
def selector_class(request: pytest.FixtureRequest) -> Callable[[], selectors.BaseSelector] | None:
    """Give each selector class of the platform, and None for the reactor's own choice."""
    return driving.SELECTORS[request.param]


@pytest.fixture
def clock() -> ManualClock:
    """Give the clock of `loop`."""
    return ManualClock()


@pytest.fixture
def make_loop(
    selector_class: Callable[[], selectors.BaseSelector] | None, clock: ManualClock
) -> Iterator[Callable[..., Reactor]]:
    """Give a function that makes a reactor on the selector of this test; it is closed at the end."""
    with ExitStack() as stack:

        def make(**keywords: Any) -> Reactor:
            keywords.setdefault("clock", clock)
            if selector_class is not None:
                keywords["selector"] = selector_class()
            return stack.enter_context(Reactor(**keywords))

        yield make


@pytest.fixture
def loop(make_loop: Callable[..., Reactor]) -> Reactor:
    """Give a reactor with default limits, whose clock is `clock`."""
    return make_loop()


@pytest.fixture
def connect() -> Iterator[Callable[..., socket.socket]]:
    """Give a function that connects a blocking client to a listener (or an address); it is closed at the end."""
    with ExitStack() as stack:

        def connect_to(listener: Any, *, receive_buffer: int | None = None) -> socket.socket:
            address = getattr(listener, "address", listener)
            unix = not isinstance(address, tuple)
            family = socket.AF_UNIX if unix else socket.AF_INET6 if ":" in address[0] else socket.AF_INET
            client = stack.enter_context(socket.socket(family, socket.SOCK_STREAM))
            if receive_buffer is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            if not unix:
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # or the second of two small sends waits
            client.settimeout(driving.CLIENT_S)
            client.connect(address)
            return client

        yield connect_to


@pytest.fixture
def turn_until() -> Callable[..., int]:
    """Give `turn_until(loop, condition)`: step until the condition holds."""
    return driving.turn_until


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Callable[[], list[logging.LogRecord]]:
    """Give a function that takes the errors logged so far; `no_errors_left` fails a test that left some."""

    def take() -> list[logging.LogRecord]:
        records = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
        caplog.clear()
        return records

    return take


@pytest.fixture
def no_errors_left(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """Fail a test whose loop logged an error that it did not expect: the loop contains failures, its own among them."""
    caplog.set_level(logging.DEBUG, "reactor")
    yield
    left = [record for record in caplog.get_records("call") if record.levelno >= logging.ERROR]
    assert not left, "\n".join(
        f"{record.getMessage()} {logging.Formatter().formatException(record.exc_info) if record.exc_info else ''}"
        for record in left
    )
