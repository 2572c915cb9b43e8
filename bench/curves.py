"""Benchmarks as charts: a curve for each row of a table, and bars for figures that do not depend on n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from markupsafe import Markup

from dal.gate.review.svg import CIRCLE, FONT_SIZE, Frame, Picture, element, inline, label, log_scale, mark, size_scale

Curves = Mapping[str, Mapping[int, float]]
"""A figure over n, by row."""

_SHAPES = (
    CIRCLE,
    "M-3.4,-3.4h6.8v6.8h-6.8Z",
    "M0,-4.8L4.8,0L0,4.8L-4.8,0Z",
    "M0,-4.6L4.4,3.4H-4.4Z",
    "M-4,-1.4H-1.4V-4H1.4V-1.4H4V1.4H1.4V4H-1.4V1.4H-4Z",
    "M0,4.6L4.4,-3.4H-4.4Z",
    "M4.6,0L-3.4,4.4V-4.4Z",
    "M-4.6,0L3.4,4.4V-4.4Z",
)
_DASHES = (None, "5 3")
"""Used in turns, so that two curves in the same place are both visible."""

_WIDTH, _HEIGHT = 378.0, 238.0
_NAMES = 180
"""The width of the names of bars."""
_NUMBERS = 24
"""The width of the numbers behind bars."""


def swatch(place: int) -> Markup:
    """Draw a piece of a row's curve for the legend."""
    color, shape, style = _look(place)
    line = element("path", d="M2,7H32", fill="none", stroke=color, **style)
    point = element("path", d=shape, fill=color, transform="translate(17 7)")
    return inline(Picture(34, 14, [line, point]), "")


def curves(rows: Sequence[str], shown: Curves, metric: str, *, timed: bool, over: str) -> Picture:
    """Draw a curve for each row that has one. A row looks the same in every chart."""
    sizes = sorted({n for points in shown.values() for n in points})
    scale = log_scale([y for points in shown.values() for y in points.values()], least_tick=0 if timed else 1)
    frame = Frame(size_scale(sizes), scale, _WIDTH, _HEIGHT, left=42, right=18, top=8, bottom=40)
    content = [*frame.axes(over)]
    for row in reversed([row for row in rows if row in shown]):  # The first row is drawn on top.
        color, shape, style = _look(rows.index(row))
        content.append(frame.line(sorted(shown[row].items()), color, **style))
        for n, y in shown[row].items():
            title = _title(row, n, y, metric, timed=timed)
            content.append(frame.point(n, y, title, shape=shape, fill=color, row=row))
    return Picture(_WIDTH, _HEIGHT, content)


def bars(rows: Sequence[str], shown: Mapping[str, int], metric: str) -> Picture:
    """Draw a bar for each row with this figure, in the colour of its curve, with its name and number."""
    step, most = _HEIGHT / len(_SHAPES), max(shown.values(), default=1)
    content = []
    for line, row in enumerate(row for row in rows if row in shown):
        middle, width = step * (line + 0.5), (_WIDTH - _NAMES - _NUMBERS) * shown[row] / most
        title = f"{row}: {shown[row]:,} {metric}"
        color, data = _look(rows.index(row))[0], {"row": row, "value": f"{shown[row]}"}
        content += [
            mark("rect", title, data, class_="bar", x=_NAMES, y=middle - 5.5, width=width, height=11, fill=color),
            label(f"{shown[row]}", _NAMES + width + 5, middle + 4, font_size=FONT_SIZE),
            label(row, 0, middle + 4, font_size=FONT_SIZE),
        ]
    return Picture(_WIDTH, step * len(shown), content)


def beside(pictures: Mapping[str, Picture], title: str, columns: int) -> Picture:
    """Draw several pictures in one, each under its own title."""
    pad, heading, gap = 16.0, 24.0, 24.0
    content = [label(title, pad, pad + 14, font_size=16, font_weight="bold")]
    y, width = pad + 30, 0.0
    names = list(pictures)
    for row in (names[start : start + columns] for start in range(0, len(names), columns)):
        x = pad
        for name in row:
            content.append(label(name[0].upper() + name[1:], x, y + 14, font_size=13))
            content.append(element("g", *pictures[name].content, transform=f"translate({x:g} {y + heading:g})"))
            x += pictures[name].width + gap
        width = max(width, x - gap + pad)
        y += heading + max(pictures[name].height for name in row) + gap
    return Picture(width, y - gap + pad, content)


def _look(place: int) -> tuple[str, str, dict[str, object]]:
    """Return the colour of a row, the shape of its points and the style of its line."""
    again, once = divmod(place, len(_SHAPES))  # From the ninth row on, with the other dash.
    style: dict[str, object] = {
        "stroke_dasharray": _DASHES[(once + again) % len(_DASHES)],
        "stroke_width": 1.5 if place else 2.5,
    }
    return f"var(--line-{once + 1})", _SHAPES[once], style


def _title(row: str, n: int, y: float, metric: str, *, timed: bool) -> str:
    return f"{row}: {f'{y:.2f} x {metric}' if timed else f'{y:,.0f} {metric}'} at {n:,}"
