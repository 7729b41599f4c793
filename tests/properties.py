"""How often a property is tried: the same few examples in every run, or, on request, more of them and new ones.

    PROPERTY_TIMES=100 make test ARGS='-k http_framing'

Rule: a run that nobody watches must not differ from the last one, nor fail because its machine is busy; so the examples
are derived from the test itself (`derandomize`), and no time is measured.
"""

import os

from hypothesis import HealthCheck, Phase, settings

TIMES = int(os.environ.get("PROPERTY_TIMES", "1"))


def tries(count: int = 100) -> settings:
    """Return the settings for a property that is tried `count` times, or PROPERTY_TIMES as often."""
    return settings(
        max_examples=count * TIMES,
        stateful_step_count=40,
        derandomize=TIMES == 1,
        database=None,
        deadline=None,
        report_multiple_bugs=False,
        phases=set(Phase) - {Phase.explain},  # it traces every line, which takes longer than a test may
        suppress_health_check=[HealthCheck.too_slow],
    )
