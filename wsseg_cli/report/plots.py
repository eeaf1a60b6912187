"""Line plots as inline SVG, drawn here; colours are classes that the page's style sheet fills in, light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from markupsafe import Markup

WIDTH, HEIGHT = 440, 250
LEFT, RIGHT, TOP, BOTTOM = 44, 10, 12, 34
COLOURS = 8
"""Number of line colours in the style sheet, `s0` … `s7`; more lines start over, dashed differently."""

_DASHES = ("", "6 4", "2 3")


@dataclass(frozen=True)
class Line:
    """One line of a plot: its points, its colour and dash, and where a dot marks a chosen point."""

    label: str
    points: Sequence[tuple[float, float]]
    colour: int = 0
    dash: int = 0
    mark: float | None = None


def line_plot(lines: Sequence[Line], x_label: str, y_label: str, from_zero: bool = True) -> Markup:
    """Return an SVG of the lines with axes, grid and legend; "" if no line has two points."""
    lines = [line for line in lines if len(line.points) > 1]
    if not lines:
        return Markup("")
    xs = [x for line in lines for x, _ in line.points]
    ys = [y for line in lines for _, y in line.points]
    x_ticks = ticks(min(xs), max(xs), 5)
    y_ticks = ticks(min(0.0, *ys) if from_zero else min(ys), max(ys), 5)
    low_x, high_x = min(xs), max(xs)
    low_y, high_y = y_ticks[0], max(y_ticks[-1], max(ys))
    parts = [
        Markup('<svg class="plot" viewBox="0 0 {} {}" role="img" aria-label="{} over {}">').format(
            WIDTH, HEIGHT, y_label, x_label
        )
    ]

    def place(x: float, y: float) -> tuple[str, str]:
        across = LEFT + (x - low_x) / ((high_x - low_x) or 1) * (WIDTH - LEFT - RIGHT)
        down = HEIGHT - BOTTOM - (y - low_y) / ((high_y - low_y) or 1) * (HEIGHT - TOP - BOTTOM)
        return f"{across:.1f}", f"{down:.1f}"

    for tick in y_ticks:
        _, y = place(low_x, tick)
        parts.append(Markup('<path class="grid" d="M{} {}H{}"/>').format(LEFT, y, WIDTH - RIGHT))
        parts.append(Markup('<text x="{}" y="{}" dy="4" text-anchor="end">{}</text>').format(LEFT - 6, y, f"{tick:g}"))
    for tick in x_ticks:
        if low_x <= tick <= high_x:
            x, _ = place(tick, low_y)
            parts.append(
                Markup('<text x="{}" y="{}" text-anchor="middle">{}</text>').format(x, HEIGHT - 17, f"{tick:g}")
            )
    parts.append(
        Markup('<text class="axis" x="{}" y="{}" text-anchor="end">{}</text>').format(
            WIDTH - RIGHT, HEIGHT - 3, x_label
        )
    )
    for line in lines:
        path = "M" + "L".join(" ".join(place(x, y)) for x, y in thinned(line.points))
        dash = Markup(' stroke-dasharray="{}"').format(_DASHES[line.dash % 3]) if line.dash % 3 else Markup("")
        parts.append(Markup('<path class="line s{}"{} d="{}"/>').format(line.colour % COLOURS, dash, path))
        if line.mark is not None:
            nearest = min(line.points, key=lambda point: abs(point[0] - line.mark))  # type: ignore[operator]
            x, y = place(*nearest)
            parts.append(
                Markup('<circle class="dot s{}" cx="{}" cy="{}" r="4"><title>{}</title></circle>').format(
                    line.colour % COLOURS, x, y, f"{line.label}: {nearest[1]:.1f} at {nearest[0]:g}"
                )
            )
    return Markup("").join([*parts, Markup("</svg>"), _legend(lines)])


def _legend(lines: Sequence[Line]) -> Markup:
    items = []
    for line in lines:
        dash = Markup(' stroke-dasharray="{}"').format(_DASHES[line.dash % 3]) if line.dash % 3 else Markup("")
        items.append(
            Markup(
                '<li><svg class="key" viewBox="0 0 22 8" aria-hidden="true">'
                '<path class="line s{}"{} d="M0 4H22"/></svg>{}</li>'
            ).format(line.colour % COLOURS, dash, line.label)
        )
    return Markup('<ul class="legend">{}</ul>').format(Markup("").join(items))


def ticks(low: float, high: float, count: int) -> list[float]:
    """Return about `count` round numbers from at or below `low` up to at most the first above `high`."""
    span = (high - low) or abs(high) or 1.0
    raw = span / count
    if not math.isfinite(raw):  # from a damaged record, whose numbers are finite while their difference is not
        return [low, high]
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(power * factor for factor in (1, 2, 2.5, 5, 10) if power * factor >= raw * 0.999)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(step * number, 10) for number in range(first, last + 1)]


def thinned(points: Sequence[tuple[float, float]], most: int = 300) -> list[tuple[float, float]]:
    """Return at most about `most` of the points, averages of neighbours if there are more."""
    size = -(-len(points) // most)
    if size <= 1:
        return list(points)
    groups = [points[start : start + size] for start in range(0, len(points), size)]
    return [(sum(x for x, _ in g) / len(g), sum(y for _, y in g) / len(g)) for g in groups]
