"""The README's figures are those of benchmarks/results.json; the file keeps what was measured before; the plot is SVG."""

from __future__ import annotations

import copy
import select
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pytest

if not hasattr(select, "epoll"):
    pytest.skip("the reference is an epoll loop", allow_module_level=True)

from benchmarks import page, plot, results
from benchmarks.idle import Rest
from benchmarks.rounds import Summary
from benchmarks.workloads import WORKLOADS

HERE = results.provenance(None, quick=False)


def section(workload: str, rejected: str | None = None, **ratios: float) -> results.Section:
    rows = {name.replace("_", "-"): Summary(4 * ratio, ratio, ratio, ratio, 400.0, 900.0)
            for name, ratio in {"bare": 1.0, "bare_again": 1.01, **ratios}.items()}
    return HERE | results.of_workload(WORKLOADS[workload], rows, rejected)


SECTIONS: results.Sections = {
    "echo": section("echo", coroutine=1.15, trio=3.1, tornado=12.34),
    "udp": section("udp", coroutine=1.08),
    "echo-1000": section("echo-1000", coroutine=1.17),
    "close": section("close", "too busy", coroutine=9.0),
    "idle": HERE | results.of_idle({"coroutine": Rest(10_000, 1386.4, 2.0, 0)}),
}


# The README.

def test_the_figures_of_the_readme_are_those_of_the_file() -> None:
    sections = results.read(page.RESULTS)
    assert sections
    readme = page.README.read_text()
    assert page.replaced(readme, page.page(sections)) == readme, "run `python -m benchmarks.page`"
    assert page.PLOT.read_text() == plot.svg(sections), "run `python -m benchmarks.page`"


def test_a_changed_figure_changes_the_page() -> None:
    sections = copy.deepcopy(SECTIONS)
    before = page.page(sections)
    sections["udp"]["rows"]["coroutine"]["ratio"] = 1.23
    assert page.page(sections) != before


def test_what_the_page_says() -> None:
    text = page.page(SECTIONS)
    assert "| × bare epoll loop | echo | UDP | echo p50 / p99 µs | bytes per idle connection |" in text
    assert "| **coroutine** | 1.15 | 1.08 | 400 / 900 | 1,386 |" in text
    assert "| tornado | 12.3 |  | 400 / 900 |  |" in text
    assert "| **coroutine** | 1.15 | 1.17 |" in text
    assert "differed by at most 1.0%" in text
    assert "bare-again" not in text
    assert "9.00" not in text  # what was rejected


def test_quick_figures_say_so_and_no_figures_say_so() -> None:
    assert "quick" not in page.page(SECTIONS)
    assert "by a quick run" in page.page({"echo": SECTIONS["echo"] | {"quick": True}})
    assert page.page({}).strip() == "Nothing has been measured yet."


def test_only_what_is_between_the_marks_is_replaced() -> None:
    assert page.replaced(f"a\n{page.BEGIN}old\n{page.END}\nb", "new\n") == f"a\n{page.BEGIN}new\n{page.END}\nb"
    with pytest.raises(SystemExit, match="between which"):
        page.replaced("no marks", "new\n")


def test_the_command_writes_readme_and_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    readme, picture, file = tmp_path / "README.md", tmp_path / "plot.svg", tmp_path / "results.json"
    readme.write_text(page.BEGIN + page.END)
    results.write(file, SECTIONS)
    monkeypatch.setattr(page, "README", readme)
    monkeypatch.setattr(page, "PLOT", picture)
    page.main([str(file)])
    assert page.page(SECTIONS) in readme.read_text()
    assert picture.read_text() == plot.svg(SECTIONS)


# The file.

def test_a_run_replaces_what_it_measured_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    assert results.read(path) == {}
    results.write(path, results.merged({}, SECTIONS))
    again = section("echo", coroutine=1.2)
    merged = results.merged(results.read(path), {"echo": again})
    assert merged["echo"] == again
    assert merged["udp"] == SECTIONS["udp"]


@pytest.mark.parametrize(("before", "new", "stays"), [(None, "busy", True), ("busy", None, False), ("busy", "again", False)])
def test_a_rejected_section_never_takes_the_place_of_a_good_one(before: str | None, new: str | None, stays: bool) -> None:
    old, fresh = section("echo", before, coroutine=1.1), section("echo", new, coroutine=1.9)
    assert results.merged({"echo": old}, {"echo": fresh})["echo"] is (old if stays else fresh)


def test_a_section_says_where_it_comes_from() -> None:
    assert {"python", "system", "packages", "cores", "quick", "rows", "a_a_error"} <= set(SECTIONS["echo"])
    assert SECTIONS["echo"]["rows"]["trio"]["cpu_s_per_100k"] == pytest.approx(1.24)


# The picture.

def texts(picture: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}text")]


def bars(picture: str) -> list[Any]:
    return list(ET.fromstring(picture).iter("{http://www.w3.org/2000/svg}rect"))


def test_a_panel_for_each_workload_and_a_bar_for_each_server() -> None:
    picture = plot.svg(SECTIONS)
    assert texts(picture) == [plot.PANELS["echo"], "coroutine", "1.15", "trio", "3.10", "tornado", "12.3 →",
                              plot.PANELS["udp"], "coroutine", "1.08", plot.FOOT]
    assert [bar.get("class") for bar in bars(picture)] == ["ours", "peer", "peer", "ours"]
    assert "prefers-color-scheme: dark" in picture


def test_bars_are_as_long_as_the_ratio_and_never_longer_than_the_panel() -> None:
    widths = [float(bar.get("width")) for bar in bars(plot.svg(SECTIONS))]
    assert widths[1] / widths[0] == pytest.approx(3.1 / 1.15, rel=0.01)
    assert max(widths) == widths[2] == plot.BAR_WIDTH


def test_names_cannot_break_the_picture() -> None:
    assert "a<b&c" in texts(plot.svg({"echo": section("echo", **{"a<b&c": 2.0})}))
