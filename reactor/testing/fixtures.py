"""Fixtures for pytest: a simulation for a test, closed and checked at its end, shown where the test fails.

    pytest_plugins = ["reactor.testing.fixtures"]      # in the conftest.py at the top

    @pytest.mark.simulation(seed=7, faults=Faults(short_writes=0.5))
    def test_upper(simulation):
        simulation.reactor.listen("tcp://127.0.0.1:8000", upper)
        ...

What it is: `simulation`, a `Simulation` with what the marker says, and a report section with its seed and trace. What it is
not: needed; a test may as well use `Simulation` in a `with` statement.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator

import pytest

from .simulation import Simulation

_SIMULATION = pytest.StashKey[Simulation]()


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "simulation(seed=0, limits, faults, strict, ...): arguments of the simulation")


@pytest.fixture
def simulation(request: pytest.FixtureRequest) -> Iterator[Simulation]:
    """Give a simulation; the marker `simulation` has its arguments. Descriptors that it does not give back fail the test."""
    marker = request.node.get_closest_marker("simulation")
    world = Simulation(*marker.args, **marker.kwargs) if marker else Simulation()
    request.node.stash[_SIMULATION] = world
    yield world
    world.close()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Add seed and trace to the report of a test that has failed."""
    report = yield
    world = item.stash.get(_SIMULATION, None)
    if report.failed and world is not None:
        report.sections.append(("simulation", world.explanation()))
    return report
