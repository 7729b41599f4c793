"""Every system call of the engine has a fault that falls on it, or a reason why none does."""

import pytest

from reactor.testing.faults import FaultPlan

from .errnos import ERRNOS, REAL_ONLY
from .faults import fair, singles
from .judge import MODES
from .scenarios import SCENARIOS
from .sites import AFTER, MADE_AT, REASONS, all_sites, sites_of, unexplained


def reached() -> set[tuple[str, str, str]]:
    return {single.fault.key[:3] for single in singles()}


def test_every_site_is_reached_or_explained() -> None:
    assert unexplained(all_sites(), reached()) == set()


def test_no_table_speaks_of_what_is_not_there() -> None:
    sites = all_sites()
    named = {each for each in (*REASONS, *MADE_AT, *AFTER) if isinstance(each, tuple)}
    assert named - sites == set()
    assert {each for each in REASONS if isinstance(each, str)} <= {site[0] for site in sites}
    assert named & reached() == set(), "a fault falls there: neither reason nor detour is needed"


def test_every_call_that_is_made_has_errnos() -> None:
    made = {key[2] for name in SCENARIOS for mode in MODES for key, _ in fair(name, mode)[0]}
    assert made <= set(ERRNOS)
    assert set(ERRNOS) - made == set(), "errnos of a call that no scenario makes"
    assert not set(ERRNOS) & set(REAL_ONLY)


def test_every_errno_is_one() -> None:
    import errno

    assert [name for names in ERRNOS.values() for name in names if not hasattr(errno, name)] == []
    assert all(len(set(names)) == len(names) for names in ERRNOS.values())


@pytest.mark.parametrize(
    ("source", "found"),
    [
        ("class A:\n def f(self):\n  self.sock.recv(1)", {("x", "A.f", "recv")}),
        ("def f():\n def g():\n  s.send(b'')", {("x", "f.<locals>.g", "send")}),
        ("take = one or sock.accept", {("x", "<module>", "accept")}),
        ("import socket\nsocket.socket()\nx: socket.socket\nself.socket.bind(a)",
         {("x", "<module>", "socket"), ("x", "<module>", "bind")}),
        ("from os import fork\nfork()", {("x", "<module>", "fork")}),
        ("async def f():\n  sock.shutdown(1)", {("x", "f", "shutdown")}),
        ("sock.receive()\nself.close = 1", set()),
    ],
)  # fmt: skip
def test_the_finder_itself(source: str, found: set[tuple[str, str, str]]) -> None:
    assert sites_of(source, "x") == found


def test_a_new_site_is_noticed() -> None:
    new = sites_of("class PlainTransport:\n def peek(self, row):\n  return row.sock.recv(1)", "transports")
    assert unexplained(new, reached()) == new


def test_the_plan_is_one_that_the_simulator_takes() -> None:
    from .world import Plan

    assert issubclass(Plan, FaultPlan)
