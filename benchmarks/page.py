"""`python -m benchmarks.page`: put the figures of benchmarks/results.json into the README, as tables, and draw the plot.

Figures that are copied by hand are wrong sooner or later. A test holds that what stands between the two marks of the
README is what this module makes of the file, and that the picture is the one that it draws.

    python -m benchmarks.page [RESULTS.json]
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import plot, results
from benchmarks.peers import SECOND_REFERENCE
from benchmarks.process import ROOT

RESULTS = ROOT / "benchmarks" / "results.json"
README = ROOT / "README.md"
PLOT = ROOT / "docs" / "benchmarks.svg"
BEGIN, END = "<!-- python -m benchmarks.page -->\n", "<!-- end of the figures -->"

MAIN = {"echo": "echo", "lines": "lines", "close": "connect, ask, close", "udp": "UDP", "http-tiny": "HTTP"}
SIZES = {"echo-1": "1 connection", "echo": "100", "echo-1000": "1,000", "echo-16k": "100 × 16 KiB",
         "listeners-1": "500 on 1 listener", "listeners-500": "500 on 500 listeners",
         "crowd": "50 lines + 2,000 dribbled bytes"}


def page(sections: results.Sections) -> str:
    """The part of the README that is figures."""
    good = {name: section for name, section in sections.items() if not section["rejected"]}
    tables = [_main_table(good), _sizes_table(good)]
    return "\n".join(["", *_origin(good), "", *("\n".join(table) + "\n" for table in tables if table), ""])


def _origin(good: results.Sections) -> list[str]:
    """Where it was measured, and how far two processes of the same loop were apart."""
    measured = [section for section in good.values() if "a_a_error" in section]
    if not measured:
        return ["Nothing has been measured yet."]
    pythons = " and ".join(sorted({f"CPython {section['python']}" for section in measured}))
    systems = " and ".join(sorted({section["system"] for section in measured}))
    worst = max(section["a_a_error"] for section in measured)
    quick = " (some of it by a quick run)" if any(section["quick"] for section in measured) else ""
    packages = sorted({f"{name} {number}" for section in measured for name, number in section["packages"].items()})
    return [f"{pythons}, {systems}{quick};", f"{', '.join(packages)}.",
            f"Two processes of the same bare loop differed by at most {worst:.1%}."]


def _main_table(good: results.Sections) -> list[str]:
    here = [name for name in MAIN if name in good]
    if not here:
        return []
    rows = {name: [*(_ratio(good[workload]["rows"], name) for workload in here), *_beside(good, name)]
            for name in _by_first(good, here)}
    columns = [*(MAIN[name] for name in here), "echo p50 / p99 µs", "bytes per idle connection"]
    return _table(["× bare epoll loop", *columns], rows)


def _sizes_table(good: results.Sections) -> list[str]:
    here = [name for name in SIZES if name in good]
    if here in ([], ["echo"]):
        return []
    names = [name for name in _by_first(good, here)
             if any(name in good[workload]["rows"] for workload in here if workload != "echo")]
    rows = {name: [_ratio(good[workload]["rows"], name) for workload in here] for name in names}
    return _table(["× bare epoll loop, echo", *(SIZES[name] for name in here)], rows)


def _by_first(good: results.Sections, workloads: Sequence[str]) -> list[str]:
    """All servers of these workloads; those of the first one first, the cheapest at the top."""
    found: dict[str, float] = {}
    for workload in workloads:
        rows = good[workload]["rows"]
        for name in sorted(rows, key=lambda name: rows[name]["ratio"]):
            found.setdefault(name, 0.0)
    return [name for name in found if name != SECOND_REFERENCE]


def _ratio(rows: Mapping[str, Mapping[str, float]], name: str) -> str:
    if name not in rows:
        return ""
    ratio = rows[name]["ratio"]
    return f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"


def _beside(good: results.Sections, name: str) -> list[str]:
    """Latency of the echo, and memory at rest."""
    echo: Mapping[str, Any] = good.get("echo", {"rows": {}})["rows"].get(name, {})
    idle = good.get(results.IDLE, {"rows": {}})["rows"]
    rest = idle.get(name) or idle.get(f"{name}, answered")
    return [f"{echo['p50_us']:,.0f} / {echo['p99_us']:,.0f}" if echo else "",
            f"{rest['bytes_per_connection']:,.0f}" if rest else ""]


def _table(head: Iterable[str], rows: Mapping[str, Sequence[str]]) -> list[str]:
    head = list(head)
    body = [_line([f"**{name}**" if name in plot.OURS else name, *cells]) for name, cells in rows.items()]
    return [_line(head), "|---" * len(head) + "|", *body]


def _line(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def replaced(text: str, figures: str) -> str:
    """The README with these figures between its marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{README.name} has no lines {BEGIN.strip()!r} and {END!r}, between which the figures belong")
    return before + begin + figures + end + after


def main(arguments: Sequence[str]) -> None:
    sections = results.read(Path(arguments[0]) if arguments else RESULTS)
    README.write_text(replaced(README.read_text(), page(sections)))
    PLOT.write_text(plot.svg(sections))


if __name__ == "__main__":
    main(sys.argv[1:])
