"""The figures as a picture: a panel of bars for each workload, in SVG, written by hand because it is so little.

A bar is CPU per message ÷ that of the bare loop; the shortest is best. What is longer than the panel is cut, and the
number beside it says how long it would be. Colours come from a style sheet, which browsers switch for dark pages.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import escape

PANELS = {
    "echo": "echo, 100 connections × 64 bytes",
    "lines": "lines, 100 connections × 16 at a time",
    "close": "connect, ask once, be hung up on",
    "udp": "UDP, 100 packets of 64 bytes",
    "http-tiny": "HTTP keep-alive, a tiny handler",
}
OURS = ("coroutine", "framed", "greenlet")
LEFT_OUT = ("bare", "bare-again", "selectors")
COLUMNS, PANEL_WIDTH, NAME_WIDTH, BAR_WIDTH = 2, 440, 125, 250
ROW_HEIGHT, BAR_HEIGHT, TITLE_HEIGHT, GAP = 19, 13, 34, 14
LONGEST = 5.0  # times the bare loop
STYLE = """
text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-weight: 600; font-size: 13px }
.peer { fill: #8c959f } .ours { fill: #0969da } .bare { stroke: #cf222e; stroke-width: 1.5 }
@media (prefers-color-scheme: dark) {
text { fill: #e6edf3 } .peer { fill: #6e7681 } .ours { fill: #4493f8 } .bare { stroke: #f85149 } }
"""


def svg(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Draw the workloads of `PANELS` that were measured, and not rejected."""
    names = [name for name in PANELS if name in sections and not sections[name]["rejected"]]
    bars = {name: bars_of(sections[name]["rows"]) for name in names}
    parts, top = [], GAP
    for start in range(0, len(names), COLUMNS):
        line = names[start:start + COLUMNS]
        for column, name in enumerate(line):
            parts.append(_panel(GAP + column * (PANEL_WIDTH + GAP), top, PANELS[name], bars[name]))
        top += TITLE_HEIGHT + ROW_HEIGHT * max(len(bars[name]) for name in line) + GAP
    width = GAP + COLUMNS * (PANEL_WIDTH + GAP)
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {top + 20}" role="img">\n'
            f"<title>CPU per message, as a multiple of a bare epoll loop</title>\n<style>{STYLE}</style>\n"
            + "\n".join(parts) + f"\n{_text(GAP, top + 6, FOOT)}\n</svg>\n")


FOOT = "CPU of the server per message ÷ that of a bare epoll loop (the red line at 1.0), in the same run. Shorter is better."


def bars_of(rows: Mapping[str, Mapping[str, float]]) -> list[tuple[str, float]]:
    """Names and ratios, the best first."""
    return sorted(((name, row["ratio"]) for name, row in rows.items() if name not in LEFT_OUT), key=lambda bar: bar[1])


def _panel(left: float, top: float, title: str, bars: list[tuple[str, float]]) -> str:
    one = left + NAME_WIDTH + BAR_WIDTH / LONGEST
    parts = [_text(left, top + 16, title, "title")]
    for number, (name, ratio) in enumerate(bars):
        parts.append(_bar(left, top + TITLE_HEIGHT - 8 + number * ROW_HEIGHT, name, ratio))
    bottom = top + TITLE_HEIGHT - 8 + len(bars) * ROW_HEIGHT
    parts.append(f'<line class="bare" x1="{one:g}" x2="{one:g}" y1="{top + TITLE_HEIGHT - 10:g}" y2="{bottom - 2:g}"/>')
    return "\n".join(parts)


def _bar(left: float, top: float, name: str, ratio: float) -> str:
    width = BAR_WIDTH * min(ratio, LONGEST) / LONGEST
    kind = "ours" if name in OURS else "peer"
    value = f"{ratio:.2f}" if ratio < 10 else f"{ratio:.1f}"
    number = f"{value} →" if ratio > LONGEST else value
    return "\n".join([
        _text(left + NAME_WIDTH - 6, top + BAR_HEIGHT - 2, name, anchor="end"),
        f'<rect class="{kind}" x="{left + NAME_WIDTH:g}" y="{top:g}" width="{width:.1f}" height="{BAR_HEIGHT}" rx="2"/>',
        _text(left + NAME_WIDTH + width + 5, top + BAR_HEIGHT - 2, number),
    ])


def _text(x: float, y: float, text: str, kind: str = "", anchor: str = "start") -> str:
    named = f' class="{kind}"' if kind else ""
    return f'<text{named} x="{x:.1f}" y="{y:g}" text-anchor="{anchor}">{escape(text)}</text>'
