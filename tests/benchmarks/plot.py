"""Draw one figure of a file of results as bars: `plot.py RESULTS.json PLOT OUT.svg`. Standard library only."""

from __future__ import annotations

import json
import sys
from html import escape
from pathlib import Path
from typing import NamedTuple

from report import Results, Spread

_COLOURS = ("#1b6ca8", "#e08214", "#5aae61")
_BAR, _GAP, _LEFT, _WIDTH, _RIGHT, _TOP = 13, 12, 290, 460, 150, 74
_HEAD = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
    'font-family="system-ui, sans-serif" font-size="12" role="img">'
)


class Plot(NamedTuple):
    """Which figure is drawn: a group of bars per client, a bar per series."""

    title: str
    part: str
    series: dict[str, tuple[str, str]]
    """What a bar is called, the ending of its case's name, and its group of figures."""
    figure: str
    unit: str


PLOTS = {
    "http": Plot(
        "CPU of the client process per request (plain HTTP over the loopback)",
        "http",
        {"1 caller": ("", "c1"), "32 callers": ("", "c32"), "256 callers": ("", "c256")},
        "cpu_us",
        "us",
    ),
    "stream": Plot(
        "CPU of the client process per streamed chunk",
        "stream",
        {"1,000 events in large pieces": ("/batched-1000", "chunk"), "one event per ms": ("/paced-100", "chunk")},
        "cpu_us",
        "us",
    ),
    "pipeline": Plot(
        "CPU of a call above its transport",
        "pipeline",
        {"1 caller": ("", "c1"), "256 callers": ("", "c256")},
        "cpu_us",
        "us",
    ),
}


def draw(results: Results, plot: Plot) -> str:
    """Give the plot as SVG: medians as bars, intervals as lines over their ends, the cheapest client first."""
    rows = _rows(results, plot)
    if not rows:
        raise ValueError(f"there are no figures of {plot.part} in this file")
    most = max(spread.high for _, bars in rows for spread in bars if spread is not None)
    scale = _WIDTH / most
    group = _BAR * len(plot.series) + _GAP
    height = _TOP + group * len(rows) + 14
    out = [
        _HEAD.format(width=_LEFT + _WIDTH + _RIGHT, height=height),
        f"<title>{escape(plot.title)}</title>",
        '<rect width="100%" height="100%" fill="#ffffff"/>',
        f'<text x="14" y="24" font-size="15" font-weight="600" fill="#222">{escape(plot.title)}</text>',
    ]
    place = 14.0
    for number, name in enumerate(plot.series):
        out.append(f'<rect x="{place:.0f}" y="40" width="12" height="12" fill="{_COLOURS[number]}"/>')
        out.append(f'<text x="{place + 17:.0f}" y="50" fill="#222">{escape(name)}</text>')
        place += 40 + 7 * len(name)
    for row, (label, bars) in enumerate(rows):
        top = _TOP + row * group
        middle = top + _BAR * len(bars) / 2 + 4
        out.append(f'<text x="{_LEFT - 10}" y="{middle:.0f}" text-anchor="end" fill="#222">{escape(label)}</text>')
        for number, spread in enumerate(bars):
            if spread is not None:
                out += _bar(spread, top + number * _BAR, scale, _COLOURS[number], plot.unit)
    out.append("</svg>")
    return "\n".join(out) + "\n"


def _rows(results: Results, plot: Plot) -> list[tuple[str, list[Spread | None]]]:
    endings = [ending for ending, _ in plot.series.values()]
    clients = dict.fromkeys(
        case.removesuffix(ending) for ending in endings for case in results.cases(plot.part) if case.endswith(ending)
    )
    rows: list[tuple[str, list[Spread | None]]] = []
    for client in clients:
        bars = [results.of(plot.part, client + ending, group, plot.figure) for ending, group in plot.series.values()]
        if any(bars):
            rows.append((results.label(plot.part, client + endings[0]), bars))
    return sorted(rows, key=lambda row: max(bar.middle for bar in row[1] if bar is not None))


def _bar(spread: Spread, top: float, scale: float, colour: str, unit: str) -> list[str]:
    length = max(1.0, spread.middle * scale)
    low, high = _LEFT + spread.low * scale, _LEFT + spread.high * scale
    line = top + (_BAR - 2) / 2
    value = f"{spread.middle:,.0f}" if spread.middle >= 100 else f"{spread.middle:.1f}"
    end, foot = max(_LEFT + length, high) + 6, top + _BAR - 3
    return [
        f'<rect x="{_LEFT}" y="{top:.0f}" width="{length:.1f}" height="{_BAR - 2}" fill="{colour}"/>',
        f'<path d="M{low:.1f} {line:.1f}H{high:.1f}" stroke="#222" stroke-width="1"/>',
        f'<text x="{end:.1f}" y="{foot:.0f}" font-size="11" fill="#444">{value} {unit}</text>',
    ]


def main() -> None:
    """Draw what the command line names."""
    if len(sys.argv) != 4 or sys.argv[2] not in PLOTS:
        sys.exit(f"usage: plot.py RESULTS.json {'|'.join(PLOTS)} OUT.svg")
    results = Results(json.loads(Path(sys.argv[1]).read_text()))
    Path(sys.argv[3]).write_text(draw(results, PLOTS[sys.argv[2]]))


if __name__ == "__main__":
    main()
