"""Charts as SVG that takes its colours from the page: drawn by Vega-Lite, which needs no browser for it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from itertools import pairwise
from math import ceil, floor, log10
from typing import Any
from xml.etree import ElementTree as ET

import vl_convert
from markupsafe import Markup

from dal.measure.growth import SHAPES
from dal.measure.promises import Growth

_SVG = "http://www.w3.org/2000/svg"
_VEGA_LITE = "6.4"

_LINES = {"measured": "var(--measured)", "promised": "var(--promised)"}
"""Colours by what a line shows; the page's style gives each for light and for dark."""

_BETWEEN = 8
"""Points of a reference between two sizes, so that its bend is seen."""

_MANY = 200
"""The highest as a multiple of the lowest, from where on ticks between the powers of ten are too many."""

ET.register_namespace("", _SVG)


def chart(bound: Mapping[str, Any], values: Mapping[int, float], label: str) -> Markup:
    """The measured points beside how the figure may grow from the first of them on."""
    sizes = list(values)
    reference = _reference(bound, values)
    every = [*values.values(), *(y for _, y in reference)]
    layers = [
        _line("promised", reference, strokeDash=[5, 4]),
        _line("measured", list(values.items())),
        _points(bound, values),
    ]
    x = {"type": "log", "base": 2, "nice": False}, {"values": sizes, "title": bound["axis"], "labelOverlap": True}
    scale, ticks = _y_scale(every)
    y = scale, {"values": ticks, "title": _TITLES.get(bound["metric"], bound["metric"]), "format": "~s"}
    return _svg(layers, x, y, label, width=320, height=180, points=values)


def sparkline(values: Mapping[int, float]) -> Markup:
    """The measured curve alone, small enough for a table's cell."""
    x = {"type": "log", "base": 2, "nice": False}, None
    y = _y_scale(list(values.values()))[0], None
    return _svg([_line("measured", list(values.items()))], x, y, "", width=88, height=22, points={})


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


def _y_scale(values: Sequence[float]) -> tuple[dict[str, Any], list[float]]:
    """Logarithmic over a decade at least, so that a few buffers more do not look like growth; and its ticks."""
    least, most = min(values), max(values)
    if least < 1:  # There is no logarithm of nothing.
        return {"type": "symlog", "domain": [0, max(10, most)], "nice": True}, [0, *_ticks(1, max(10, most))]
    middle, half = (log10(least) + log10(most)) / 2, max(0.55, log10(most / least) / 2 + 0.1)
    low, high = round(10 ** (middle - half), 3), round(10 ** (middle + half), 3)
    return {"type": "log", "domain": [low, high], "nice": False}, _ticks(low, high)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 and so on, since what is counted is whole; over more than two decades the powers of ten alone."""
    steps = (1, 2, 5) if high / low < _MANY else (1,)
    ticks = [step * 10**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for step in steps]
    return [tick for tick in ticks if max(low, 1) <= tick <= high]


def _line(what: str, curve: Sequence[tuple[float, float]], **style: Any) -> dict[str, Any]:
    data = {"values": [{"n": round(n, 2), "y": round(y, 2)} for n, y in curve]}
    return {"data": data, "mark": {"type": "line", "color": _LINES[what], "aria": False, "strokeWidth": 1.75, **style}}


def _points(bound: Mapping[str, Any], values: Mapping[int, float]) -> dict[str, Any]:
    told = [{"n": n, "y": y, "told": f"{y:,.0f} {bound['metric']} at {n:,}"} for n, y in values.items()]
    mark = {"type": "point", "filled": True, "size": 46, "opacity": 1, "color": _LINES["measured"]}
    return {"data": {"values": told}, "mark": mark, "encoding": {"description": {"field": "told"}}}


def _svg(  # noqa: PLR0913 - a chart's parts
    layers: list[dict[str, Any]],
    x: tuple[dict[str, Any], dict[str, Any] | None],
    y: tuple[dict[str, Any], dict[str, Any] | None],
    label: str,
    *,
    width: int,
    height: int,
    points: Mapping[int, float],
) -> Markup:
    encoding = {
        "x": {"field": "n", "type": "quantitative", "scale": x[0], "axis": x[1]},
        "y": {"field": "y", "type": "quantitative", "scale": y[0], "axis": y[1]},
    }
    spec = {"width": width, "height": height, "config": _CONFIG, "layer": layers, "encoding": encoding}
    root = ET.fromstring(vl_convert.vegalite_to_svg(json.dumps(spec), vl_version=_VEGA_LITE))  # noqa: S314 - made here
    root.attrib |= {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    return Markup(ET.tostring(_for_a_page(root, points), encoding="unicode"))  # noqa: S704 - XML, escaped


_AXIS = {
    "domainColor": "var(--rule)",
    "gridColor": "var(--rule)",
    "tickColor": "var(--rule)",
    "labelColor": "currentColor",
    "titleColor": "currentColor",
    "labelFontSize": 11,
    "titleFontSize": 11,
    "titleFontWeight": "normal",
    "titlePadding": 8,
    "tickSize": 4,
}

_CONFIG = {"font": "Liberation Sans", "background": None, "view": {"stroke": None}, "axis": _AXIS}
"""The font is one that vl-convert carries, so that a chart is laid out alike everywhere; the page shows its own."""


def _for_a_page(root: ET.Element, points: Mapping[int, float]) -> ET.Element:
    """Let it fill its place and take the page's font; leave out what is not seen; name each point and its figures."""
    drawn = [element for element in root.iter() if element.get("aria-roledescription") == "point"]
    for given in ("width", "height"):
        del root.attrib[given]
    for parent in list(root.iter()):
        for child in [child for child in parent if child.get("class") in _UNSEEN]:
            parent.remove(child)
        for attribute in parent.attrib.keys() & _UNUSED - ({"role"} if parent is root else set()):
            del parent.attrib[attribute]
    for element, (size, value) in zip(drawn, points.items(), strict=True):
        element.attrib |= {"class": "point", "data-size": f"{size}", "data-value": f"{value:.15g}"}
        ET.SubElement(element, f"{{{_SVG}}}title").text = element.attrib.pop("aria-label")
    return root


_UNSEEN = {"background", "foreground"}
_UNUSED = {"aria-roledescription", "class", "font-family", "pointer-events", "role"}
