"""Naming how a figure grows: a fit of a + b·f(n) for each class, of which the simplest that fits is taken."""

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
"""What may come and go without being growth: the heights of a few indexes, a page that is split."""

SLACK_OF = {"wal_bytes": 256.0}
"""The same for figures that are counted in smaller units, by their names in a Cost: a record or two more of WAL."""

_RELATIVE_SLACK = 0.10

_BETTER = 0.6
"""A class that grows faster is taken only if its error is smaller by this factor: the simplest that fits wins."""


TOLERANCE = 0.04
"""The error below which a promised class fits, even if one that grows faster fits still better."""


@dataclass(frozen=True, slots=True)
class Fit:
    """The class that fits, as base + step · f(n), and the error that is left, relative to the largest value."""

    growth: Growth
    base: float
    step: float
    error: float

    def __str__(self) -> str:
        return f"{self.growth} (error {self.error:.0%})"


def fit(values: Mapping[int, float], slack: float = SLACK) -> Fit:
    """Name the growth of the values at some sizes, of which there must be three or more."""
    if len(values) < 3:  # noqa: PLR2004 - a line through two points always fits
        raise ValueError(f"growth needs three sizes or more, not {len(values)}")
    sizes, figures = list(values), list(values.values())
    constant = _least_squares(Growth.CONSTANT, sizes, figures)
    # What no longer grows in the larger half does not grow: a page was not yet full, or a table so small that
    # it was read as a whole.
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
    """The best fit among the classes up to this one."""
    fits = [_least_squares(growth, list(values), list(values.values())) for growth in Growth if growth <= most]
    figures = list(values.values())
    return min((one for one in fits if one.step >= 0 and _is_plausible(one, figures, slack)), key=lambda one: one.error)


def accelerates(values: Mapping[int, float], slack: float = SLACK) -> bool:
    """Whether the second half of the sizes, each a multiple of the one before, adds far more than the first.

    What grows with log n adds as much from each size to the next; a curve that saturates, as a scan of a table
    that ends, can fit log n all the same. But indexes grow higher in steps, all at once if there are several: what
    stays below log n drawn through the first figure has not accelerated.
    """
    sizes, figures = list(values), list(values.values())
    slack = max(slack, _RELATIVE_SLACK * max(figures))
    if figures[-1] <= figures[0] * log2(sizes[-1]) / log2(sizes[0]) + slack:
        return False
    middle = len(figures) // 2
    first, second = figures[middle] - figures[0], figures[-1] - figures[middle]
    return second > 2 * max(first, 0.0) + slack


def _is_plausible(fitted: Fit, figures: list[float], slack: float) -> bool:
    """Whether it is no logarithm that starts below nothing: what fits only such a one grows faster than log n."""
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
