"""The crowds, how many come, and what their visit does to the clients that behave: quiet, abused, quiet again.

Each scenario has a server of its own, so that a peak of memory is its own too. A *pace* is how much of everything: FULL
has the numbers that are promised, QUICK those of the tests, which look at no latency and wait for things, not for time.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from contextlib import ExitStack
from typing import Any, NamedTuple

from tests.soak import bars
from tests.soak.bars import Bar
from tests.soak.crowds import REPLY_BYTES
from tests.soak.processes import Child, Server

# Descriptors of the server beside the crowd's: listeners, selector, waker, standard streams, the clients that behave.
SPARE_DESCRIPTORS = 200
DESCRIPTORS_AT_EMFILE = 64
# What a thousand clients with a hundred requests each take to be served up to their marks, with room to spare.
ARRIVAL_S = 3.0
# The high mark is lower than the default, so that a crowd of any size reaches it with what it asks for.
HIGH_BYTES, FRAME_BYTES = 32768, 65536
# Where idle wake-ups are counted: a deadline is a reason to wake.
NO_DEADLINES = {"idle_s": None, "request_s": None}


class Pace(NamedTuple):
    """How much of everything.

    Attributes:
        never_reading: clients that never read.
        slowloris: clients with a byte now and then.
        partial: clients with 60 KB of a line.
        waiting: clients of a server without descriptors.
        churn: connections, one after the other; a twentieth of them to warm up.
        request_s: how long a slow request may take.
        window_s: how long the latencies are measured; None: not at all.
        idle_s: how long the idle loop is watched.
        active: clients that behave.
        patience_s: what a crowd may take to do what it is told.
        budget_bytes: what the reactor is told that all rows may hold, and what its memory is held to; None: nothing.
    """

    never_reading: int = 1000
    slowloris: int = 5000
    partial: int = 2000
    waiting: int = 200
    churn: int = 1_000_000
    request_s: float = 10
    window_s: float | None = 15
    idle_s: float = 3
    active: int = 20
    patience_s: float = 3600
    budget_bytes: int | None = None

    @property
    def reactor(self) -> dict[str, Any]:
        """Return the keywords of the reactor."""
        return {} if self.budget_bytes is None else {"buffered_bytes": self.budget_bytes}


FULL = Pace()
QUICK = Pace(
    never_reading=200, slowloris=500, partial=200, churn=5000, request_s=0.5, window_s=None, idle_s=0.3, patience_s=60
)


class Play:
    """One scenario under way: the server, those who behave, and what was found.

    Args:
        name: of the scenario.
        pace: how much of everything.
        stack: ends the processes.
        options: of the server.
    """

    def __init__(self, name: str, pace: Pace, stack: ExitStack, **options: Any) -> None:
        self.name, self.pace = name, pace
        self.server = stack.enter_context(Server(**options))
        addresses, count = self.server.addresses, pace.active
        self.active = stack.enter_context(Child("active", addresses=addresses, count=count))
        self.crowd = stack.enter_context(Child("crowds", addresses=self.server.addresses, kind=name))
        self.windows: list[dict[str, Any]] = []
        self.arrivals: list[dict[str, Any]] = []
        self.bars: list[Bar] = []
        self.ask_actively()
        self.before = self.server.figures()

    def ask_actively(self) -> None:
        """One window of the clients that behave: so many seconds, or a few requests each."""
        seconds = self.pace.window_s
        self.windows.append(self.active.ask(**({"requests": 5} if seconds is None else {"seconds": seconds})))

    def arrive(self, count: int, **more: Any) -> None:
        """Let the crowd come; what those who behave wait meanwhile is told, but a burst is not what lasts."""
        self.tell(arrive=count, **more)
        seconds = self.pace.window_s
        self.arrivals.append(self.active.ask(**({"requests": 1} if seconds is None else {"seconds": ARRIVAL_S})))

    def ask_actively_until_answered(self) -> None:
        """So many windows as the crowd needs for its order; they count as one, with the latencies of the middle one."""
        before = len(self.windows)
        while len(self.windows) == before or not self.crowd.has_answered():
            self.ask_actively()
        played = self.windows[before:]
        middle = sorted(played, key=lambda window: float(window["p99_ms"]))[len(played) // 2]
        sums = {name: sum(window[name] for window in played) for name in ("answers", "missing", "cross_talk")}
        self.windows[before:] = [middle | sums]

    def tell(self, **order: Any) -> dict[str, Any]:
        """Give the crowd an order and wait until it is carried out."""
        self.crowd.say(**order)
        result: dict[str, Any] = self.crowd.hear(self.pace.patience_s)
        return result

    def watch_idle(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Return the server's figures before and after a time in which nobody says anything."""
        began = self.server.figures()
        self.crowd_is_silent()
        return began, self.server.figures()

    def crowd_is_silent(self) -> None:
        """Wait; whoever says something meanwhile is a crowd that still ticks, or the server."""
        try:
            self.active.hear(self.pace.idle_s)
        except RuntimeError:
            return  # nobody has asked them anything: they say nothing for as long
        raise AssertionError("an answer that nobody has asked for")

    def check(self, *found: Bar) -> None:
        """Note what was found."""
        self.bars += found

    def finish(self, crowd: dict[str, Any]) -> None:
        """The crowd has gone: one more quiet window, and what must hold for every scenario."""
        self.ask_actively()
        self.until_gone()
        after = self.server.figures()
        self.check(
            bars.cross_talk(crowd, *self.windows, *self.arrivals), bars.unanswered(*self.windows, *self.arrivals),
            bars.descriptors(self.before, after), bars.spurious(self.before, after),
        )  # fmt: skip
        if self.pace.window_s is not None:
            self.check(bars.latency(self.windows, self.arrivals))

    def until_gone(self) -> None:
        """Wait until the server has ended the rows of the crowd."""
        for _ in range(int(self.pace.patience_s * 100)):
            if self.server.figures()["connections"] <= self.before["connections"]:
                return
            self.active.ask(requests=1)  # which takes a moment


def affordable(count: int, say: Callable[[str], object]) -> int:
    """Return how many of a crowd this machine's limit of descriptors lets a server have, and say so if it is fewer."""
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    most = max(hard - SPARE_DESCRIPTORS, 0)
    if count > most:
        say(f"{count} connections at once need more than {hard} descriptors (ulimit -Hn): {most} it is")
    return min(count, most)


def never_reading(pace: Pace, stack: ExitStack, say: Callable[[str], object]) -> Play:
    """Clients that ask for much and take nothing: each costs its high mark, and a reply."""
    limits = {"outbox_high_bytes": HIGH_BYTES, "outbox_low_bytes": HIGH_BYTES // 4}
    play = Play("never-reading", pace, stack, limits=limits, reactor=pace.reactor)
    count = affordable(pace.never_reading, say)
    play.arrive(count)
    play.ask_actively()
    peak = play.server.figures()
    play.check(bars.memory(play.before, peak, count, HIGH_BYTES + REPLY_BYTES, pace.budget_bytes))
    gone = play.tell(leave=True)
    play.check(bars.all_of("came and were held", gone["answered"], count))
    play.finish(gone)
    return play


def slowloris(pace: Pace, stack: ExitStack, say: Callable[[str], object]) -> Play:
    """A byte now and then: each is ended when its request has used up its time, whatever it sends."""
    play = Play("slowloris", pace, stack, limits={"request_s": pace.request_s})
    count = affordable(pace.slowloris, say)
    play.arrive(count, byte_every_s=pace.request_s / 4)
    play.ask_actively()
    ended = play.tell(until_ended=count)["ended"]
    play.check(bars.memory(play.before, play.server.figures(), count, 0), bars.all_of("were ended", ended, count))
    play.finish(play.tell(leave=True))
    return play


def partial(pace: Pace, stack: ExitStack, say: Callable[[str], object]) -> Play:
    """60 KB of a line each, and then silence: each costs its line, and the loop does not wake for it."""
    play = Play("partial", pace, stack, limits=NO_DEADLINES, reactor=pace.reactor)
    count = affordable(pace.partial, say)
    play.arrive(count)
    play.ask_actively()
    idle = play.watch_idle()
    play.check(bars.memory(play.before, idle[1], count, FRAME_BYTES, pace.budget_bytes))
    if pace.budget_bytes is None:  # over the budget, the loop looks now and then whom to end
        play.check(bars.idle_wake_ups(*idle))
    gone = play.tell(leave=True)
    play.check(bars.all_of("were answered or ended", gone["answered"] + gone["ended"], count))
    play.finish(gone)
    return play


def emfile(pace: Pace, stack: ExitStack, say: Callable[[str], object]) -> Play:
    """More clients than descriptors: waiting costs no CPU, and everybody is served in the end."""
    play = Play("waiting", pace, stack, descriptors=DESCRIPTORS_AT_EMFILE)
    play.arrive(pace.waiting)
    play.ask_actively()
    idle = play.watch_idle()
    play.check(bars.cpu_share(*idle), bars.at_most("descriptors", idle[1]["descriptors"], DESCRIPTORS_AT_EMFILE))
    play.check(bars.log_lines(play.before, idle[1]))
    gone = play.tell(leave=True)
    play.check(bars.all_of("were served", gone["answered"], pace.waiting))
    play.finish(gone)
    return play


def churn(pace: Pace, stack: ExitStack, say: Callable[[str], object]) -> Play:
    """Connections that come, ask and are gone: nothing of them stays."""
    play = Play("silent", pace, stack, limits=NO_DEADLINES)
    warm_up = pace.churn // 20
    first = play.tell(churn=warm_up)
    early = play.server.figures()
    play.crowd.say(churn=pace.churn - warm_up)
    play.ask_actively_until_answered()
    rest = play.crowd.hear(pace.patience_s)
    late = play.server.figures()
    say(f"churn: {rest['came'] / rest['seconds']:.0f} connections a second")
    play.check(bars.flat_memory(early, late), bars.idle_wake_ups(*play.watch_idle()))
    play.check(bars.all_of("were served", first["answered"] + rest["answered"], pace.churn))
    play.finish({"cross_talk": first["cross_talk"] + rest["cross_talk"]})
    return play


SCENARIOS: dict[str, Callable[[Pace, ExitStack, Callable[[str], object]], Play]] = {
    "never-reading": never_reading, "slowloris": slowloris, "partial": partial, "emfile": emfile, "churn": churn,
}  # fmt: skip
