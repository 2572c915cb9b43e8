"""Pictures as SVG: drawn by Vega-Lite, which needs no browser for it, in the colours of the page around them."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import ceil, floor, log10
from typing import Any
from xml.etree import ElementTree as ET

import vl_convert
from markupsafe import Markup

_SVG = "http://www.w3.org/2000/svg"
_VEGA_LITE = "6.4"

_MANY = 200
"""The highest as a multiple of the lowest, from where on ticks between the powers of ten are too many."""

_FONT = 'system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif'

ET.register_namespace("", _SVG)


@dataclass(frozen=True, slots=True)
class Picture:
    """What Vega-Lite is to draw, and what is known of each point and bar, in the order in which they are drawn."""

    spec: Mapping[str, Any]
    marks: Sequence[Mapping[str, str]] = field(default=())
    """Each becomes an element's `data-…`; what it says to people is its description, in the spec."""


def inline(picture: Picture, label: str) -> Markup:
    """A picture that fills its place in a page and takes the page's font and colours; without a label, decoration."""
    root = _drawn(picture.spec, label)
    drawn = [element for element in root.iter() if element.get("class") in _MARKS]
    for element, known in zip(drawn, picture.marks, strict=True):
        element.attrib |= {f"data-{name}": value for name, value in known.items()}
    for given in ("width", "height"):
        del root.attrib[given]
    return Markup(ET.tostring(root, encoding="unicode"))  # noqa: S704 - XML, escaped


def alone(picture: Picture, label: str, style: str) -> str:
    """A picture as a file of its own, with the style that names its colours and a background of its own."""
    root = _drawn(picture.spec, label)
    root.attrib |= {"font-family": _FONT, "color": "var(--text)"}
    background = ET.Element(f"{{{_SVG}}}rect", {"width": "100%", "height": "100%", "fill": "var(--page)"})
    sheet = ET.Element(f"{{{_SVG}}}style")
    sheet.text = style
    root[:0] = [sheet, background]
    return ET.tostring(root, encoding="unicode") + "\n"


def log_scale(values: Sequence[float], least_tick: float = 1) -> tuple[dict[str, Any], list[float]]:
    """Logarithmic over a decade at least, so that a few buffers more do not look like growth; and its ticks.

    What is counted is whole, and needs no tick below 1.
    """
    least, most = min(values), max(values)
    if least <= 0:  # There is no logarithm of nothing.
        most = max(10, most)
        return {"type": "symlog", "domain": [0, most], "nice": True}, [0, *_ticks(1, most)]
    middle, half = (log10(least) + log10(most)) / 2, max(0.55, log10(most / least) / 2 + 0.1)
    low, high = round(10 ** (middle - half), 3), round(10 ** (middle + half), 3)
    return {"type": "log", "domain": [low, high], "nice": False}, _ticks(max(low, least_tick), high)


def _ticks(low: float, high: float) -> list[float]:
    """1, 2, 5, 10 and so on; over more than two decades the powers of ten alone."""
    steps = (1, 2, 5) if high / low < _MANY else (1,)
    ticks = [step * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


def _drawn(spec: Mapping[str, Any], label: str) -> ET.Element:
    """Draw it, leave out what is not seen, and let each point and bar say what it is."""
    text = vl_convert.vegalite_to_svg(json.dumps({"config": _CONFIG, **spec}), vl_version=_VEGA_LITE)
    root = ET.fromstring(text)  # noqa: S314 - made here
    for element in list(root.iter()):
        for child in [child for child in element if child.get("class") in _UNSEEN]:
            element.remove(child)
        kind = element.get("aria-roledescription")
        for attribute, value in list(element.attrib.items()):
            if attribute in _UNUSED or (attribute, value) == ("opacity", "1"):
                del element.attrib[attribute]
            elif attribute in _PLACES:
                element.set(attribute, _LONG.sub(lambda found: f"{float(found[0]):.2f}", value))
        if kind in _MARKS:
            element.set("class", kind)
            ET.SubElement(element, f"{{{_SVG}}}title").text = element.attrib.pop("aria-label")
    root.attrib |= {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    return root


_LONG = re.compile(r"\d+\.\d{3,}")
"""A number that is finer than can be seen."""

_PLACES = {"d", "transform"}

_MARKS = {"point", "bar"}
_UNSEEN = {"background", "foreground"}
_UNUSED = {"aria-roledescription", "class", "font-family", "pointer-events", "role"}

_AXIS = {
    "aria": False,
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
"""The font is one that vl-convert carries, so that a chart is laid out alike everywhere; a page shows its own."""
