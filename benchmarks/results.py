"""The figures as a file: JSON, one section for each workload, and each section knows where it comes from.

A full run takes its time, and a machine is not always quiet for so long. So a run that measured some workloads puts
these into the file and leaves the others as they are. A section that was rejected never takes the place of one that was not.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.dribblers import Trial
from benchmarks.idle import Rest
from benchmarks.peers import PACKAGES
from benchmarks.process import Cores
from benchmarks.rounds import Summary
from benchmarks.workloads import Workload

Section = dict[str, Any]
Sections = dict[str, Section]
IDLE, DRIBBLERS = "idle", "dribblers"


def provenance(cores: Cores | None, quick: bool) -> Section:
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]} {platform.machine()}",
        "cores": cores and cores._asdict(),
        "packages": dict(_versions()),
        "quick": quick,
    }


def _versions() -> list[tuple[str, str]]:
    found = []
    for name in PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            pass
    return found


def of_workload(workload: Workload, rows: Mapping[str, Summary], rejected: str | None) -> Section:
    return {
        "unit": workload.unit,
        "reference": workload.reference,
        "rejected": rejected,
        "a_a_error": abs(rows[workload.second_reference].ratio - 1),
        "rows": {name: asdict(row) | {"cpu_s_per_100k": row.us / 10} for name, row in rows.items()},
    }


def of_idle(rests: Mapping[str, Rest]) -> Section:
    return {"rejected": None, "rows": {name: asdict(rest) for name, rest in rests.items()}}


def of_dribblers(trials: Sequence[Trial]) -> Section:
    broken = [reason for trial in trials for reason in trial.broken()]
    rejected = [reason for trial in trials if (reason := trial.rejection())]
    return {"rejected": "; ".join(rejected) or None, "broken": broken, "trials": [asdict(trial) for trial in trials]}


def merged(before: Sections, new: Sections) -> Sections:
    """The old sections with the new ones in their places; a rejected one takes no place that is well filled."""
    good = {name: section for name, section in new.items()
            if not section["rejected"] or before.get(name, section)["rejected"]}
    return before | good


def read(path: Path) -> Sections:
    sections: Sections = json.loads(path.read_text()) if path.exists() else {}
    return sections


def write(path: Path, sections: Sections) -> None:
    path.write_text(json.dumps(sections, indent=1, sort_keys=True) + "\n")
