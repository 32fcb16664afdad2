"""Charts as SVG, without a library: lines on logarithmic axes, and bars."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from itertools import pairwise

WIDTH = 860
INK = "#1f2933"
FAINT = "#8694a3"
GRID = "#e4e9ee"
OURS = "#0b7a5f"
OTHERS = ("#c2410c", "#7c3aed", "#2563eb", "#b45309", "#64748b", "#be185d")
GOAL = "#b91c1c"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, sans-serif"


@dataclass(frozen=True, slots=True)
class Series:
    """A line; its points are in ascending order of x."""

    label: str
    points: Sequence[tuple[float, float]]
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Bar:
    """A bar, with a whisker to the worst case."""

    label: str
    value: float
    worst: float
    note: str
    ours: bool = False


@dataclass(frozen=True, slots=True)
class Panel:
    """Bars on one axis, with a reference line."""

    title: str
    bars: Sequence[Bar]
    line: float
    line_label: str


def text(  # noqa: PLR0913
    x: float,
    y: float,
    words: str,
    *,
    size: int = 13,
    color: str = INK,
    anchor: str = "start",
    bold: bool = False,
) -> str:
    """Return a text element."""
    weight = ' font-weight="600"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{color}" '
        f'text-anchor="{anchor}"{weight}>{escape(words)}</text>'
    )


def line(  # noqa: PLR0913, PLR0917
    x1: float, y1: float, x2: float, y2: float, color: str, extra: str = ""
) -> str:
    """Return a line element."""
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{color}"{extra}/>'
    )


def document(title: str, subtitle: str, height: float, parts: Iterable[str]) -> str:
    """Return an SVG document with a title."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}" '
        f'role="img" font-family="{FONT}">\n<title>{escape(title)}</title>\n'
        f'<rect width="{WIDTH}" height="{height:.0f}" rx="8" fill="#ffffff"/>\n'
    )
    words = [text(24, 34, title, size=17, bold=True), text(24, 55, subtitle, color=FAINT)]
    return head + "\n".join((*words, *parts)) + "\n</svg>\n"


def decades(low: float, high: float) -> list[float]:
    """Return the values 1, 2, 5, 10, ... between two numbers."""
    steps = [
        factor * 10.0**power
        for power in range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
        for factor in (1, 2, 5)
    ]
    return [step for step in steps if low <= step <= high]


def spread_out(wanted: Sequence[float], gap: float) -> list[float]:
    """Return positions near the wanted ones that are at least `gap` apart."""
    order = sorted(range(len(wanted)), key=wanted.__getitem__)
    placed = list(wanted)
    for before, after in pairwise(order):
        placed[after] = max(placed[after], placed[before] + gap)
    return placed


def line_chart(title: str, subtitle: str, series: Sequence[Series], unit: str) -> str:
    """Return a chart of lines on logarithmic axes, each labelled at its end."""
    left, right, top, bottom = 70.0, WIDTH - 330.0, 80.0, 400.0
    xs = [x for one in series for x, _ in one.points]
    ys = [y for one in series for _, y in one.points]
    low_x, high_x = math.log10(min(xs)), math.log10(max(xs) * 1.0001)
    low_y, high_y = math.log10(min(ys) / 1.3), math.log10(max(ys) * 1.3)

    def place(x: float, y: float) -> tuple[float, float]:
        across = (math.log10(x) - low_x) / (high_x - low_x)
        up = (math.log10(y) - low_y) / (high_y - low_y)
        return left + across * (right - left), bottom - up * (bottom - top)

    parts: list[str] = []
    for value in decades(10**low_y, 10**high_y):
        y = place(min(xs), value)[1]
        parts += [
            line(left, y, right, y, GRID),
            text(left - 8, y + 4, f"{value:,.0f}", anchor="end", color=FAINT, size=12),
        ]
    for value in sorted(set(xs)):
        x = place(value, min(ys))[0]
        parts.append(text(x, bottom + 20, f"{value:,.0f}", anchor="middle", color=FAINT, size=12))
    parts.append(text(left, bottom + 42, unit, color=FAINT, size=12))

    labels = spread_out([place(*one.points[-1])[1] for one in series], 19)
    colors = iter(OTHERS * len(series))
    for one, label_y in zip(series, labels, strict=True):
        color = OURS if one.ours else next(colors)
        points = [place(x, y) for x, y in one.points]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        stroke = 3.5 if one.ours else 2
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{color}" stroke-width="{stroke}"/>'
        )
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{color}"/>' for x, y in points]
        end_x, end_y = points[-1]
        parts += [
            line(end_x + 6, end_y, right + 18, label_y, color, ' stroke-width="0.8" opacity="0.6"'),
            text(right + 22, label_y + 4, one.label, color=color, bold=one.ours, size=12),
        ]
    return document(title, subtitle, bottom + 60, parts)


def bar_chart(title: str, subtitle: str, panels: Sequence[Panel]) -> str:
    """Return a chart of horizontal bars on a linear axis, in panels."""
    left, right, row = 330.0, WIDTH - 190.0, 26.0
    parts: list[str] = []
    y = 84.0
    for panel in panels:
        longest = 1.15 * max([panel.line, *(bar.value for bar in panel.bars)])
        scale = (right - left) / longest
        if panel.title:
            parts.append(text(24, y + 8, panel.title, bold=True))
            y += 24
        top = y
        for bar in panel.bars:
            color = OURS if bar.ours else "#94a3b8"
            reach, worst = left + bar.value * scale, min(right, left + bar.worst * scale)
            box = f'x="{left}" y="{y + 3:.1f}" width="{max(reach - left, 1.5):.1f}"'
            parts += [
                text(left - 10, y + 15, bar.label, anchor="end", bold=bar.ours, size=12),
                f'<rect {box} height="{row - 8:.1f}" rx="2" fill="{color}"/>',
                text(max(reach, worst) + 8, y + 15, bar.note, size=12, bold=bar.ours),
            ]
            if worst > reach:
                parts.append(line(reach, y + 12, worst, y + 12, color, ' stroke-width="2"'))
            y += row
        x = left + panel.line * scale
        parts += [
            line(x, top - 4, x, y + 2, GOAL, ' stroke-width="1.5" stroke-dasharray="5 4"'),
            text(x, y + 17, panel.line_label, anchor="middle", color=GOAL, size=12),
        ]
        y += 42
    return document(title, subtitle, y, parts)
