"""Find the growth class of a figure: fit a + b·f(n) for each class, and take the simplest that fits."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import log2, sqrt

from dal.gate.header.promises import Growth

SHAPES: dict[Growth, Callable[[float], float]] = {
    Growth.CONSTANT: lambda _: 0.0,
    Growth.LOGARITHMIC: log2,
    Growth.LINEAR: lambda n: n,
    Growth.LINEARITHMIC: lambda n: n * log2(n),
    Growth.QUADRATIC: lambda n: n * n,
}

SLACK = 3.0
"""A smaller difference is not growth: the heights of a few indexes, or a page split."""

SLACK_OF = {"wal_bytes": 256.0}
"""The slack of figures in smaller units, by attribute of Cost: one or two WAL records."""

_RELATIVE_SLACK = 0.10

_BETTER = 0.6
"""A faster class is taken only if its error is smaller by this factor."""


TOLERANCE = 0.04
"""A promised class fits if its error is below this, even if a faster class fits better."""

MANY, HIGHER = 50_000, 4 / 3
"""With this many rows or a little more, an index gets a third level. So above this size, which only --large reaches,
buffers may exceed their maximum by a third: a lookup takes four buffers instead of three."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A fitted class, as base + step · f(n), with its error relative to the largest value."""

    growth: Growth
    base: float
    step: float
    error: float

    def __str__(self) -> str:
        return f"{self.growth} (error {self.error:.0%})"


def fit(values: Mapping[int, float], slack: float = SLACK) -> Fit:
    """Return the growth class of values at three or more sizes."""
    if len(values) < 3:  # noqa: PLR2004 - a line through two points always fits
        raise ValueError(f"growth needs three or more sizes, got {len(values)}")
    sizes, figures = list(values), list(values.values())
    constant = _least_squares(Growth.CONSTANT, sizes, figures)
    # A figure that is flat in the larger half does not grow. At the small sizes a page was not full yet, or a table was
    # so small that a full scan was right.
    settled = figures[len(figures) // 2 :]
    if max(settled) - min(settled) <= max(slack, _RELATIVE_SLACK * max(settled)):
        return constant
    best = None
    for growth in list(Growth)[1:]:
        candidate = _least_squares(growth, sizes, figures)
        if (
            candidate.step > 0
            and _is_plausible(candidate, figures, slack)
            and (best is None or candidate.error < _BETTER * best.error)
        ):
            best = candidate
    return best or constant


def closest(values: Mapping[int, float], most: Growth, slack: float = SLACK) -> Fit:
    """Return the best fit among the classes up to `most`."""
    fits = [_least_squares(growth, list(values), list(values.values())) for growth in Growth if growth <= most]
    figures = list(values.values())
    return min((one for one in fits if one.step >= 0 and _is_plausible(one, figures, slack)), key=lambda one: one.error)


def accelerates(values: Mapping[int, float], slack: float = SLACK) -> bool:
    """Return whether a figure grows far more in the second half of the sizes than in the first.

    The sizes must grow by a constant factor; logarithmic growth then adds the same amount at each of them. The fit
    alone does not show this: a scan that reaches the end of its table can fit log n too. The heights of several
    indexes may all grow at one size, so a curve below log n through the first figure is not accelerating.
    """
    sizes, figures = list(values), list(values.values())
    slack = max(slack, _RELATIVE_SLACK * max(figures))
    if figures[-1] <= figures[0] * log2(sizes[-1]) / log2(sizes[0]) + slack:
        return False
    middle = len(figures) // 2
    first, second = figures[middle] - figures[0], figures[-1] - figures[middle]
    return second > 2 * max(first, 0.0) + slack


def gains_a_level(values: Mapping[int, float], slack: float = SLACK) -> bool:
    """Return whether a third level of the indexes explains all growth. No curve fits it: it comes at one size."""
    return max(values) > MANY and max(values.values()) <= HIGHER * values[min(values)] + slack


def _is_plausible(fitted: Fit, figures: list[float], slack: float) -> bool:
    """Return False for a logarithm that starts below zero. A figure that only fits such a curve grows faster."""
    return fitted.growth is not Growth.LOGARITHMIC or fitted.base >= -max(slack, _RELATIVE_SLACK * max(figures))


def _least_squares(growth: Growth, sizes: list[int], figures: list[float]) -> Fit:
    shape = [SHAPES[growth](n) for n in sizes]
    count = len(sizes)
    mean_x, mean_y = sum(shape) / count, sum(figures) / count
    spread = sum((x - mean_x) ** 2 for x in shape)
    step = sum((x - mean_x) * (y - mean_y) for x, y in zip(shape, figures, strict=True)) / spread if spread else 0.0
    base = mean_y - step * mean_x
    residue = sum((y - base - step * x) ** 2 for x, y in zip(shape, figures, strict=True))
    return Fit(growth, base, step, sqrt(residue / count) / max(*(abs(y) for y in figures), 1.0))
