"""What a run has found, and its tables for people (for machines: `results`). Nothing is measured here."""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from benchmarks.dribblers import Trial
from benchmarks.idle import Rest
from benchmarks.process import Cores
from benchmarks.results import Section, Sections, provenance
from benchmarks.rounds import Summary

Table = list[list[str]]
BUSY = 0.1  # of the machine


@dataclass(slots=True)
class Report:
    """All that one run has brought to light."""

    cores: Cores | None
    quick: bool
    sections: Sections = field(default_factory=dict)  # of the JSON
    rests: dict[str, Rest] = field(default_factory=dict)
    trials: list[Trial] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)  # promises
    rejections: list[str] = field(default_factory=list)

    @property
    def accepted(self) -> bool:
        return not self.rejections and not self.broken

    def add(self, name: str, section: Section) -> None:
        self.sections[name] = provenance(self.cores, self.quick) | section
        if section["rejected"]:
            self.rejections.append(section["rejected"])
        self.broken += section.get("broken", [])


def introduction(cores: Cores | None, busy: float = 0.0) -> str:
    """Where this is measured, and a warning if the machine is not idle.

    Two equal processes may agree on a busy machine, too. But a thread that is pushed off its core may hold the lock of the
    interpreter, and all others wait: `ThreadingHTTPServer` was seen to spend twice the CPU then, one thread a tenth more.
    """
    where = (f"server on core {cores.server}, load on core {cores.load}" if cores
             else "server and load share the cores they find: expect noise")
    warning = (f"\nWARNING: others use {busy:.0%} of this machine. Servers with threads suffer most: ratios to them flatter"
               if busy > BUSY else "")
    return f"Python {platform.python_version()}, {platform.system()} {platform.release()}; {where}{warning}"


def cpu_table(workload: str, unit: str, reference: str, rows: Mapping[str, Summary]) -> str:
    head = [workload, f"CPU µs/{unit}", "s/100,000", f"× {reference}", "middle half of the rounds", "p50 µs", "p99 µs",
            "sleeps/wave"]
    body = [[name, f"{row.us:.2f}", f"{row.us / 10:.3f}", f"{row.ratio:.3f}",
             f"{row.low:.3f} – {row.high:.3f}" if row.low < row.high else "", f"{row.p50_us:.0f}", f"{row.p99_us:.0f}",
             f"{row.sleeps:.2f}"] for name, row in rows.items()]
    return aligned([head, *body])


def idle_table(rests: Mapping[str, Rest]) -> str:
    first = next(iter(rests.values()))
    head = ["idle", "connections", "bytes/connection", f"wake-ups in {first.seconds:g} s"]
    body = [[name, f"{rest.connections:,}", f"{rest.bytes_per_connection:,.0f}", str(rest.wakeups)]
            for name, rest in rests.items()]
    return aligned([head, *body])


def dribblers_table(trials: Sequence[Trial]) -> str:
    crowd = trials[0].crowd
    head = [f"{crowd.clients:,} dribblers, a byte each {crowd.every_ms} ms",
            "p50 before", "p50", "p99 before", "p99", "worst ms", "served", "threads", "CPU %", "late", "waited", "promise"]
    return aligned([head, *(row for trial in trials for row in _trial_rows(trial))])


def _trial_rows(trial: Trial) -> Iterator[list[str]]:
    for kind, before in trial.quiet.items():
        during = trial.busy[kind]
        yield [f"{trial.site} {trial.way}, {kind}", f"{before.p50_ms:.2f}", f"{during.p50_ms:.2f}",
               f"{before.p99_ms:.2f}", f"{during.p99_ms:.2f}", f"{during.worst_ms:.2f}", f"{trial.dribble.served:,}",
               str(trial.threads), f"{100 * trial.cpu_s / trial.dribble.seconds:.0f}",
               f"{trial.dribble.latest_ms:.1f}", f"{trial.waited_s * 1000:.0f}",
               "broken" if trial.broken() else "?" if trial.rejection() else "kept"]


def aligned(table: Table) -> str:
    """Names to the left, figures to the right, a rule under the head."""
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ["  ".join([cell.rjust(width) if column else cell.ljust(width)
                        for column, (cell, width) in enumerate(zip(row, widths, strict=True))]).rstrip()
             for row in table]
    return "\n".join([lines[0], "─" * (sum(widths) + 2 * len(widths) - 2), *lines[1:]])
