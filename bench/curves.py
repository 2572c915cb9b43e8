"""Benchmarks as charts: a curve for each row of a table, and bars for what does not hang on n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from markupsafe import Markup

from dal.gate.review.svg import Picture, inline, log_scale

Curves = Mapping[str, Mapping[int, float]]
"""A figure over n, by the row that it is of."""

_SHAPES = ("circle", "square", "diamond", "triangle-up", "cross", "triangle-down", "triangle-right", "triangle-left")
_DASHES = ([1, 0], [5, 3])
"""In turns, so that of two curves in one place both are seen."""

_WIDTH, _HEIGHT = 320, 190

_AXIS = 34
"""What stands left of a curve; more than it takes in the font that it is laid out in."""

_BARS = (180, _WIDTH - 24)
"""Where bars begin and end, between their names and their numbers."""


def swatch(place: int) -> Markup:
    """A piece of the curve that the row in that place has, for a legend."""
    line, point = ({**mark, "aria": False} for mark in _marks(place))
    layers = [{"mark": line, "data": _values(_flat(0, 2))}, {"mark": point, "data": _values(_flat(1))}]
    encoding = {"x": _quantity("n", axis=None), "y": _quantity("y", axis=None)}
    return inline(Picture({"width": 30, "height": 10, "padding": 2, "layer": layers, "encoding": encoding}), "")


def curves(rows: Sequence[str], shown: Curves, metric: str, *, timed: bool, over: str) -> Picture:
    """A curve for each row that has one; what a row looks like is told by its place among all rows."""
    sizes = sorted({n for points in shown.values() for n in points})
    scale, ticks = log_scale([y for points in shown.values() for y in points.values()], least_tick=0 if timed else 1)
    kind, told = ("log", "~s") if sizes[0] > 0 else ("linear", ",d")
    x_axis = {"values": sizes, "title": over, "format": told, "labelOverlap": True, "labelFlush": False}
    y_axis = {"values": ticks, "title": None, "format": "~g" if timed else "~s", "minExtent": _AXIS}
    encoding = {
        "x": _quantity("n", scale={"type": kind, "nice": False}, axis=x_axis),
        "y": _quantity("y", scale=scale, axis=y_axis),
    }
    layers, known = [], []
    for row in reversed([row for row in rows if row in shown]):  # The first, which others are beside, lies on top.
        line, point = _marks(rows.index(row))
        described = {"mark": point, "encoding": {"description": {"field": "told"}}}
        points = [{"n": n, "y": y, "told": _told(row, n, y, metric, timed=timed)} for n, y in shown[row].items()]
        layers.append({"data": _values(points), "layer": [{"mark": line}, described]})
        known += [{"row": row, "size": f"{n}", "value": f"{y:.15g}"} for n, y in shown[row].items()]
    return Picture({"width": _WIDTH, "height": _HEIGHT, "layer": layers, "encoding": encoding}, known)


def bars(rows: Sequence[str], shown: Mapping[str, int], metric: str) -> Picture:
    """A bar for each row that has such a figure, in the colour of its curve, with its name and its number."""
    data = [
        {"row": row, "y": shown[row], "colour": _colour(place), "told": f"{row}: {shown[row]:,} {metric}"}
        for place, row in enumerate(rows)
        if row in shown
    ]
    text = {"type": "text", "align": "left", "color": "currentColor", "fontSize": 11, "aria": False}
    colour = {"field": "colour", "type": "nominal", "scale": None}
    layers = [
        {"mark": {"type": "bar", "height": 11}, "encoding": {"color": colour, "description": {"field": "told"}}},
        {"mark": {**text, "dx": 5}, "encoding": {"text": {"field": "y"}}},
        {"mark": text, "encoding": {"text": {"field": "row"}, "x": {"value": 0}}},
    ]
    encoding = {
        "x": _quantity("y", scale={"range": _BARS}, axis=None),
        "y": {"field": "row", "type": "nominal", "sort": None, "axis": None},
    }
    spec = {
        "data": _values(data),
        "width": _WIDTH,
        "height": {"step": _HEIGHT / len(_SHAPES)},
        "layer": layers,
        "encoding": encoding,
    }
    return Picture(spec, [{"row": row, "value": f"{shown[row]}"} for row in rows if row in shown])


def beside(pictures: Mapping[str, Picture], title: str, columns: int) -> Picture:
    """Several pictures in one, each under its own title."""
    heading = {"anchor": "start", "color": "currentColor", "fontSize": 13, "fontWeight": "normal", "offset": 10}
    parts = [
        {**picture.spec, "title": {"text": name[0].upper() + name[1:], **heading}} for name, picture in pictures.items()
    ]
    whole = {"text": title, **heading, "fontSize": 16, "fontWeight": "bold", "offset": 18}
    spec = {"concat": parts, "columns": columns, "spacing": {"row": 24, "column": 28}, "padding": 16, "title": whole}
    return Picture(spec, [known for picture in pictures.values() for known in picture.marks])


def _colour(place: int) -> str:
    return f"var(--line-{place % len(_SHAPES) + 1})"


def _marks(place: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """The line and the points of the row in that place."""
    again, once = divmod(place, len(_SHAPES))  # From the ninth row on, with the other dash.
    colour, dash, shape = _colour(place), _DASHES[(once + again) % len(_DASHES)], _SHAPES[once]
    line = {"type": "line", "color": colour, "strokeDash": dash, "strokeWidth": 1.5 if place else 2.5, "aria": False}
    return line, {"type": "point", "shape": shape, "color": colour, "filled": True, "size": 40, "opacity": 1}


def _quantity(field: str, **more: Any) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", **more}


def _values(values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    return {"values": list(values)}


def _flat(*places: int) -> list[dict[str, int]]:
    return [{"n": n, "y": 0} for n in places]


def _told(row: str, n: int, y: float, metric: str, *, timed: bool) -> str:
    return f"{row}: {f'{y:.2f} x {metric}' if timed else f'{y:,.0f} {metric}'} at {n:,}"
