"""The figures, as a table for people and as JSON for machines. Nothing is measured here."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from benchmarks.idle import Rest
from benchmarks.process import Cores
from benchmarks.rounds import Summary

Table = list[list[str]]


@dataclass(slots=True)
class Report:
    """All that one run has brought to light."""

    cores: Cores | None
    quick: bool
    cpu: dict[str, dict[str, Summary]] = field(default_factory=dict)  # workload → server → figures
    idle: dict[str, Rest] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    rejections: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return not self.rejections

    def as_dict(self) -> dict[str, Any]:
        return {
            "python": platform.python_version(),
            "implementation": platform.python_implementation(),
            "system": f"{platform.system()} {platform.release()} {platform.machine()}",
            "cores": self.cores and self.cores._asdict(),
            "quick": self.quick,
            "accepted": self.accepted,
            "rejections": self.rejections,
            "skipped": self.skipped,
            "cpu": {workload: {name: asdict(row) for name, row in rows.items()} for workload, rows in self.cpu.items()},
            "idle": {name: asdict(rest) for name, rest in self.idle.items()},
        }


def introduction(cores: Cores | None) -> str:
    where = (f"server on core {cores.server}, load on core {cores.load}" if cores
             else "server and load share the cores they find: expect noise")
    return f"Python {platform.python_version()}, {platform.system()} {platform.release()}; {where}"


def cpu_table(workload: str, unit: str, rows: Mapping[str, Summary]) -> str:
    head = [workload, f"CPU µs/{unit}", "× bare", "middle half of the rounds"]
    body = [[name, f"{row.us:.2f}", f"{row.ratio:.3f}", f"{row.low:.3f} – {row.high:.3f}" if row.low < row.high else ""]
            for name, row in rows.items()]
    return aligned([head, *body])


def idle_table(rests: Mapping[str, Rest]) -> str:
    first = next(iter(rests.values()))
    head = ["idle", f"bytes/connection ({first.connections:,})", f"wake-ups in {first.seconds:g} s"]
    body = [[name, f"{rest.bytes_per_connection:,.0f}", str(rest.wakeups)] for name, rest in rests.items()]
    return aligned([head, *body])


def aligned(table: Table) -> str:
    """Names to the left, figures to the right, a rule under the head."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([cell.rjust(width) if column else cell.ljust(width)
                        for column, (cell, width) in enumerate(zip(row, widths, strict=True))]).rstrip()
             for row in table]
    return "\n".join([lines[0], "─" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])
