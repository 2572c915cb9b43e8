"""A promise as a chart: the measured points and the promised growth."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from markupsafe import Markup

from dal.gate.header.promises import Growth
from dal.gate.measure.growth import SHAPES
from dal.gate.review.svg import Frame, Picture, inline, log_scale, size_scale

_MEASURED, _PROMISED = "var(--measured)", "var(--promised)"
"""Colours of the page's style, which differ in light and dark."""

_STEPS = 8
"""Points of the promised curve between two sizes, so that it looks curved."""

_TITLES = {"WAL": "bytes of WAL", "rows": "rows read"}


def chart(bound: Mapping[str, Any], values: Mapping[int, float], label: str) -> Markup:
    """Draw the measured points, and the promised growth from the first of them."""
    promised = _promised(bound, values)
    frame = Frame(
        x=size_scale(list(values)),
        y=log_scale([*values.values(), *(y for _, y in promised)]),
        width=388,
        height=232,
        left=52,
        right=24,
        top=8,
        bottom=40,
    )
    metric = bound["metric"]
    content = [
        *frame.axes(bound["axis"], _TITLES.get(metric, metric)),
        frame.line(promised, _PROMISED, stroke_width=1.75, stroke_dasharray="5 4"),
        frame.line(values.items(), _MEASURED, stroke_width=1.75),
        *(frame.point(n, y, f"{y:,.0f} {metric} at {n:,}", fill=_MEASURED) for n, y in values.items()),
    ]
    return inline(Picture(frame.width, frame.height, content), label)


def sparkline(values: Mapping[int, float]) -> Markup:
    """Draw only the measured curve, small enough for a cell of a table."""
    frame = Frame(size_scale(list(values)), log_scale(list(values.values())), 92, 26, left=2, right=2, top=2, bottom=2)
    line = frame.line(values.items(), _MEASURED, stroke_width=1.75)
    return inline(Picture(frame.width, frame.height, [line]), "")


def _promised(bound: Mapping[str, Any], values: Mapping[int, float]) -> list[tuple[float, float]]:
    """Return the promised growth from the first point, or else the promised maximum (`at most n/…`)."""
    sizes = list(values)
    steps = [
        size * (following / size) ** (part / _STEPS) for size, following in pairwise(sizes) for part in range(_STEPS)
    ]
    if bound["at_most"]:
        return [(n, min(values.values()) + n / bound["at_most"]) for n in [*steps, sizes[-1]]]
    shape = SHAPES[next(growth for growth in Growth if str(growth) == bound["promised"])]
    start = shape(sizes[0])
    return [(n, values[sizes[0]] * (shape(n) / start if start else 1)) for n in [*steps, sizes[-1]]]
