"""One fault in each of the scenarios; `python -m tests.injection` lets all of them fall."""

from collections.abc import Sequence

import pytest

from .faults import Single, after_a_fault, fair, singles, try_single
from .judge import MODES, trial
from .scenarios import SCENARIOS

AT_LEAST = 2000  # single faults in all
CHUNKS = 10


def sample(every: Sequence[Single]) -> list[Single]:
    """Return one for each errno of each site (and of each that it serves), from scenarios in turn."""
    groups: dict[object, list[Single]] = {}
    for single in every:
        groups.setdefault((single.fault.key, single.fault.errno), []).append(single)
    return [group[number % len(group)] for number, group in enumerate(groups.values())]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scenario", SCENARIOS)
def test_without_a_fault(scenario: str, mode: str) -> None:
    calls, turns = fair(scenario, mode)  # type: ignore[arg-type]
    assert calls
    assert 0 < turns < 250


def test_there_are_enough() -> None:
    assert len(singles()) >= AT_LEAST


@pytest.mark.parametrize("chunk", range(CHUNKS))
def test_single_faults(chunk: int) -> None:
    chosen = sample(singles())[chunk::CHUNKS]
    verdicts = [(single, try_single(single)) for single in chosen]
    wrong = [f"{single}: {text}" for single, verdict in verdicts for text in verdict.wrong]
    assert not wrong, "\n".join(wrong)
    assert len(chosen) * CHUNKS >= 500
    assert sum(verdict.fell for _, verdict in verdicts) > 0.85 * len(chosen), "too few faults fall"


def test_faults_at_what_only_a_fault_leads_to() -> None:
    faults = after_a_fault()
    assert faults
    for scenario, pair in faults:
        verdict = trial(scenario, pair)
        assert (verdict.wrong, verdict.fell) == ([], 2), f"{scenario}: {' and '.join(map(str, pair))}"
