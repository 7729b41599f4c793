"""The smallest world that fails as the drawn one does.

What it is: steps, requests, faults and limits are left away one after the other, as long as something is wrong still. What
it is not: minimal in every respect; it stops when a round has changed nothing, or after `MOST_TRIALS`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace

from reactor.testing.faults import NO_FAULTS

from .drawn import TIMES_S, Spec, Step

MOST_TRIALS = 400


def shrunk(spec: Spec, fails: Callable[[Spec], bool]) -> Spec:
    """Return a world of which nothing can be left away without its failure.

    Args:
        spec: one that fails.
        fails: does a world fail?
    """
    trials = MOST_TRIALS
    changed = True
    while changed:
        changed = False
        for smaller in _smaller(spec):
            if trials <= 0:
                return spec
            trials -= 1
            if fails(smaller):
                spec, changed = smaller, True
                break
    return spec


def _smaller(spec: Spec) -> Iterator[Spec]:
    """Worlds with a little less, the ones with the most left away first."""
    for size in (8, 4, 2, 1):
        for at in range(0, len(spec.steps), size):
            yield replace(spec, steps=spec.steps[:at] + spec.steps[at + size :])
    if spec.faults != NO_FAULTS:
        yield replace(spec, faults=NO_FAULTS)
    for at, _ in enumerate(spec.faults.at):
        yield replace(spec, faults=replace(spec.faults, at=spec.faults.at[:at] + spec.faults.at[at + 1 :]))
    for name in ("short_writes", "would_block", "resets", "delay_s"):
        if getattr(spec.faults, name) != getattr(NO_FAULTS, name):
            yield replace(spec, faults=replace(spec.faults, **{name: getattr(NO_FAULTS, name)}))
    for name in sorted(spec.limits.keys() - TIMES_S.keys() - {"outbox_low_bytes"}):
        yield replace(spec, limits={key: value for key, value in spec.limits.items() if key != name})
    if len(spec.listeners) > 1 and all(_which(step) != len(spec.listeners) - 1 for step in spec.steps):
        yield replace(spec, listeners=spec.listeners[:-1])
    yield from _fewer_asks(spec)


def _which(step: Step) -> int:
    """Return the listener that a step is about."""
    if step.op == "connect":
        return int(step.what[0])
    return int(step.what) if step.op == "packets" else step.who


def _fewer_asks(spec: Spec) -> Iterator[Spec]:
    for at, step in enumerate(spec.steps):
        if step.op != "connect":
            continue
        which, asks = step.what
        for nth in range(len(asks) if len(asks) > 1 else 0):
            fewer = step._replace(what=(which, asks[:nth] + asks[nth + 1 :]))
            yield replace(spec, steps=(*spec.steps[:at], fewer, *spec.steps[at + 1 :]))
