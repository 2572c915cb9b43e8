"""Draw charts as SVG: lines and points on logarithmic axes, in the colours of the page around them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil, floor, log1p, log10
from xml.etree import ElementTree as ET

from markupsafe import Markup

FONT_SIZE = 11
CIRCLE = "M-3.8,0a3.8,3.8 0 1,0 7.6,0a3.8,3.8 0 1,0 -7.6,0"

_SVG = "http://www.w3.org/2000/svg"
_FONT = 'system-ui, -apple-system, "Segoe UI", "Liberation Sans", sans-serif'
_CHARACTER = 0.58 * FONT_SIZE
"""The average width of a character."""
_TICK = 4
_MANY_TICKS = 200
"""From this ratio of the highest to the lowest figure, only powers of ten get a tick."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A drawing and its size."""

    width: float
    height: float
    content: Sequence[ET.Element]


def element(tag: str, *children: ET.Element, **attributes: object) -> ET.Element:
    """Return an SVG element. `text` is its text, and None omits an attribute; underscores become hyphens."""
    text = attributes.pop("text", None)
    given = {name.strip("_").replace("_", "-"): _text(value) for name, value in attributes.items() if value is not None}
    made = ET.Element(tag, given)
    made.text = None if text is None else str(text)
    made.extend(children)
    return made


def mark(tag: str, title: str, data: Mapping[str, str], **attributes: object) -> ET.Element:
    """Return an SVG element with a tooltip and data-… attributes."""
    known = {f"data_{name}": value for name, value in data.items()}
    return element(tag, element("title", text=title), **attributes, **known)


def _text(value: object) -> str:
    return f"{round(value, 2):g}" if isinstance(value, float) else str(value)


def inline(picture: Picture, label: str) -> Markup:
    """Return a picture for a page, in the page's font and colours. One without a label is decoration."""
    return Markup(ET.tostring(_root(picture, label), encoding="unicode"))  # noqa: S704 - XML, escaped


def standalone(picture: Picture, label: str, style: str) -> str:
    """Return a picture as a file with its own style, font and background."""
    root = _root(picture, label)
    root.attrib |= {"width": _text(picture.width), "height": _text(picture.height)}
    root.attrib |= {"font-family": _FONT, "color": "var(--text)"}
    background = element("rect", width="100%", height="100%", fill="var(--page)")
    root[:0] = [element("style", text=style), background]
    return ET.tostring(root, encoding="unicode") + "\n"


def _root(picture: Picture, label: str) -> ET.Element:
    root = element("svg", *picture.content, xmlns=_SVG, viewBox=f"0 0 {picture.width:g} {picture.height:g}")
    root.attrib |= {"role": "img", "aria-label": label} if label else {"aria-hidden": "true"}
    return root


@dataclass(frozen=True, slots=True)
class Scale:
    """Maps figures to positions along an axis."""

    shape: Callable[[float], float]
    domain: tuple[float, float]
    ticks: Sequence[float]

    def position(self, value: float) -> float:
        """Return the position between 0 (the lowest figure) and 1 (the highest)."""
        low, high = map(self.shape, self.domain)
        return (self.shape(value) - low) / (high - low) if high > low else 0.5


def size_scale(sizes: Sequence[int]) -> Scale:
    """Return a scale with a tick at each size; logarithmic unless it starts at 0."""
    return Scale(log10 if sizes[0] > 0 else float, (sizes[0], sizes[-1]), sizes)


def log_scale(values: Sequence[float], least_tick: float = 1) -> Scale:
    """Return a logarithmic scale over at least a decade, so that a few buffers more do not look like growth.

    Counts are integers, so they need no tick below 1.
    """
    least, most = min(values), max(values)
    if least <= 0:  # 0 has no logarithm.
        most = max(10, most)
        return Scale(log1p, (0, most), [0, *_ticks(1, most)])
    middle, half = (log10(least) + log10(most)) / 2, max(0.55, log10(most / least) / 2 + 0.1)
    low, high = 10 ** (middle - half), 10 ** (middle + half)
    return Scale(log10, (low, high), _ticks(max(low, least_tick), high))


def _ticks(low: float, high: float) -> list[float]:
    """Return 1, 2, 5, 10 and so on; over many decades only the powers of ten."""
    steps = (1, 2, 5) if high / low < _MANY_TICKS else (1,)
    ticks = [step * 10.0**power for power in range(floor(log10(low)), ceil(log10(high)) + 1) for step in steps]
    return [tick for tick in ticks if low <= tick <= high]


@dataclass(frozen=True, slots=True)
class Frame:
    """The area of a chart, with its scales and margins."""

    x: Scale
    y: Scale
    width: float
    height: float
    left: float = 0
    right: float = 0
    top: float = 0
    bottom: float = 0

    def at(self, n: float, y: float) -> tuple[float, float]:
        """Return the position of a point."""
        across = self.left + self.x.position(n) * (self.width - self.left - self.right)
        down = self.height - self.bottom - self.y.position(y) * (self.height - self.top - self.bottom)
        return across, down

    def axes(self, x_title: str, y_title: str = "") -> Iterator[ET.Element]:
        """Draw both axes, the grid, the labels of the ticks and the titles."""
        low, high = self.x.domain
        base = self.height - self.bottom
        for tick in self.y.ticks:
            start, end = self.at(low, tick), self.at(high, tick)
            yield _segment((start[0] - _TICK, start[1]), end)
            yield _label(tick_text(tick), start[0] - _TICK - 3, start[1] + 0.35 * FONT_SIZE, "end")
        for tick in self.x.ticks:
            across = self.at(tick, self.y.domain[0])[0]
            yield _segment((across, self.top), (across, base + _TICK))
        for across, text in self._x_labels():
            yield _label(text, across, base + _TICK + FONT_SIZE, "middle")
        middle = (self.left + self.width - self.right) / 2
        yield _label(x_title, middle, self.height - 5, "middle")
        if y_title:
            yield element(
                "g",
                _label(y_title, 0.0, 0.0, "middle"),
                transform=f"translate({FONT_SIZE} {(self.top + base) / 2:g}) rotate(-90)",
            )

    def _x_labels(self) -> list[tuple[float, str]]:
        """Return the labels of the x axis, from the right, without those that would overlap."""
        shown: list[tuple[float, str]] = []
        edge = float("inf")
        for tick in reversed(self.x.ticks):
            across, text = self.at(tick, self.y.domain[0])[0], tick_text(tick)
            half = len(text) * _CHARACTER / 2
            if across + half < edge:
                shown.append((across, text))
                edge = across - half - _CHARACTER
        return shown

    def line(self, points: Iterable[tuple[float, float]], color: str, **style: object) -> ET.Element:
        """Draw a line through points."""
        path = "L".join(f"{across:.2f},{down:.2f}" for across, down in (self.at(n, y) for n, y in points))
        return element("path", d=f"M{path}", fill="none", stroke=color, stroke_linejoin="round", **style)

    def point(self, n: float, y: float, title: str, *, shape: str = CIRCLE, fill: str, **data: str) -> ET.Element:
        """Draw a point with a tooltip, its figures and other data."""
        across, down = self.at(n, y)
        place = f"translate({across:.2f} {down:.2f})"
        figures = {"size": f"{n:.0f}", "value": f"{y:.15g}"}
        return mark("path", title, {**figures, **data}, class_="point", d=shape, fill=fill, transform=place)


def label(text: str, x: float, y: float, *, anchor: str = "start", **style: object) -> ET.Element:
    """Draw a text in the colour of its surroundings."""
    return element("text", text=text, x=x, y=y, text_anchor=anchor, fill="currentColor", **style)


def _label(text: str, x: float, y: float, anchor: str) -> ET.Element:
    return label(text, x, y, anchor=anchor, font_size=FONT_SIZE)


def _segment(start: tuple[float, float], end: tuple[float, float]) -> ET.Element:
    (x1, y1), (x2, y2) = start, end
    return element("path", d=f"M{x1:.2f},{y1:.2f}L{x2:.2f},{y2:.2f}", stroke="var(--rule)", fill="none")


def tick_text(value: float) -> str:
    """Return the label of a tick: 64, 16,384, 5k, 1M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if value >= size and value % size == 0:
            return f"{value / size:,g}{unit}"
    return f"{value:,.10g}"
