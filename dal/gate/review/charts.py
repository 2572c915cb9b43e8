"""A promise as a chart: the measured points beside what was promised of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from dal.gate.header.promises import Growth
from dal.gate.measure.growth import SHAPES
from dal.gate.review.svg import Picture, inline, log_scale

_LINES = {"measured": "var(--measured)", "promised": "var(--promised)"}
"""Colours by what a line shows; the page's style gives each for light and for dark."""

_BETWEEN = 8
"""Points of a reference between two sizes, so that its bend is seen."""

_X_SCALE = {"type": "log", "base": 2, "nice": False}


def chart(bound: Mapping[str, Any], values: Mapping[int, float], label: str) -> Markup:
    """The measured points beside how the figure may grow from the first of them on."""
    reference = _reference(bound, values)
    scale, ticks = log_scale([*values.values(), *(y for _, y in reference)])
    encoding = {
        "x": _encoded("n", _X_SCALE, {"values": list(values), "title": bound["axis"], "labelOverlap": True}),
        "y": _encoded(
            "y", scale, {"values": ticks, "title": _TITLES.get(bound["metric"], bound["metric"]), "format": "~s"}
        ),
    }
    layers = [
        _line("promised", reference, strokeDash=[5, 4]),
        _line("measured", list(values.items())),
        _points(bound, values),
    ]
    spec = {"width": 320, "height": 180, "layer": layers, "encoding": encoding}
    return inline(Picture(spec, [{"size": f"{n}", "value": f"{y:.15g}"} for n, y in values.items()]), label)


def sparkline(values: Mapping[int, float]) -> Markup:
    """The measured curve alone, small enough for a table's cell."""
    scale, _ = log_scale(list(values.values()))
    encoding = {"x": _encoded("n", _X_SCALE, None), "y": _encoded("y", scale, None)}
    layers = [_line("measured", list(values.items()))]
    return inline(Picture({"width": 88, "height": 22, "layer": layers, "encoding": encoding}), "")


_TITLES = {"WAL": "bytes of WAL", "rows": "rows read"}


def _reference(bound: Mapping[str, Any], values: Mapping[int, float]) -> list[tuple[float, float]]:
    """The promised class, through the first point; or what is added to the least at most, where that is promised."""
    sizes = list(values)
    steps = [
        size * (following / size) ** (part / _BETWEEN)
        for size, following in pairwise(sizes)
        for part in range(_BETWEEN)
    ]
    if bound["at_most"]:
        return [(n, min(values.values()) + n / bound["at_most"]) for n in [*steps, sizes[-1]]]
    shape = SHAPES[next(growth for growth in Growth if str(growth) == bound["promised"])]
    start = shape(sizes[0])
    return [(n, values[sizes[0]] * (shape(n) / start if start else 1)) for n in [*steps, sizes[-1]]]


def _encoded(field: str, scale: Mapping[str, Any], axis: Mapping[str, Any] | None) -> dict[str, Any]:
    return {"field": field, "type": "quantitative", "scale": scale, "axis": axis}


def _line(what: str, curve: Sequence[tuple[float, float]], **style: Any) -> dict[str, Any]:
    data = {"values": [{"n": round(n, 2), "y": round(y, 2)} for n, y in curve]}
    return {"data": data, "mark": {"type": "line", "color": _LINES[what], "aria": False, "strokeWidth": 1.75, **style}}


def _points(bound: Mapping[str, Any], values: Mapping[int, float | None]) -> dict[str, Any]:
    measured = [(n, y) for n, y in values.items() if y is not None]
    told = [{"n": n, "y": y, "told": f"{y:,.0f} {bound['metric']} at {n:,}"} for n, y in measured]
    mark = {"type": "point", "filled": True, "size": 46, "opacity": 1, "color": _LINES["measured"]}
    return {"data": {"values": told}, "mark": mark, "encoding": {"description": {"field": "told"}}}
