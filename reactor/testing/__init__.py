"""Tests without a network: a reactor in a simulated world, every split of a session, every fault, from one seed.

    from reactor.testing import check_every_split, talk

    def test_upper():
        assert talk(upper, b"hello\\n") == b"HELLO\\n"
        check_every_split(upper, b"hello\\nworld\\n", parts=3)

What it is: for whoever writes handlers and framings, and for the tests of this library itself. What it is not: part of
the engine, which never imports it. Nothing here needs a port, a thread or a sleep.
"""

from .clients import Client
from .conversations import talk
from .faults import Faults
from .framings import FramingMistake, check_framing
from .fuzzing import FuzzReport, fuzz
from .network import Stuck
from .replaying import ReplayError, ReplayReport, replay
from .selector import Spinning
from .simulation import LeakError, Simulation
from .splits import SplitError, SplitReport, check_every_split
from .trace import Trace

__all__ = [
    "Client", "Faults", "FramingMistake", "FuzzReport", "LeakError", "ReplayError",
    "ReplayReport", "Simulation", "Spinning", "SplitError", "SplitReport", "Stuck", "Trace", "check_every_split",
    "check_framing", "fuzz", "replay", "talk",
]  # fmt: skip
