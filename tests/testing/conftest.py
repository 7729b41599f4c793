"""Two worlds for one contract."""

import contextlib
import selectors
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.testing.worlds import KernelWorld, SimulatedWorld, World

HAS_EPOLL = hasattr(selectors, "EpollSelector")


@pytest.fixture(
    params=["simulated", pytest.param("kernel", marks=pytest.mark.skipif(not HAS_EPOLL, reason="the model is Linux"))]
)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    """Give a world: what holds in one must hold in the other."""
    under = SimulatedWorld() if request.param == "simulated" else KernelWorld(str(tmp_path))
    with contextlib.closing(under), contextlib.ExitStack() as stack:
        yield World(under, stack)


@pytest.fixture(params=["tcp", "unix"])
def kind(request: pytest.FixtureRequest) -> str:
    """Give each kind of stream."""
    return str(request.param)
