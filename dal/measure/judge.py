"""Hold what the gate has measured against what the query files promise."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import inf
from pathlib import Path

from dal.measure.growth import SLACK, TOLERANCE, accelerates, closest, fit
from dal.measure.measured import Curve, Measured
from dal.measure.plans import Plan
from dal.measure.prepared import MODES
from dal.measure.promises import LOCK_MODES, METRICS, UNITS, Bound, Cap, Growth, Never


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, what was measured, and whether it is kept."""

    query: str
    path: Path
    line: int
    promised: str
    measured: str
    kept: bool


def judge(measured: Measured) -> Iterator[Verdict]:
    """Hold what was measured against what was promised."""
    promises = measured.subject.promises

    def verdict(line: int, promised: str, found: str, *, kept: bool) -> Verdict:
        return Verdict(measured.subject.name, measured.subject.path, line, promised, found, kept)

    trips = measured.round_trips
    yield verdict(promises.line, in_trips(promises.round_trips), in_trips(trips), kept=trips <= promises.round_trips)
    for bound in promises.bounds:
        found, kept = _grown(bound, measured.curves[bound.axis])
        if kept and len(measured.repeated.get(bound.axis, ())) == len(measured.curves[bound.axis]):
            again, kept = _grown(bound, measured.repeated[bound.axis])
            found = found if kept else f"{again}, sent again"
        yield verdict(bound.line, str(bound), found, kept=kept)
    for cap in promises.caps:
        found, kept = _capped(cap, measured)
        yield verdict(cap.line, str(cap), found, kept=kept)
    for bound in promises.held:
        found, kept = _grown(bound, measured.held[bound.axis])
        yield verdict(bound.line, f"held snapshot: {bound}", found, kept=kept)
    if promises.hot:
        costs = (cost for curve in measured.curves.values() for at in curve.values() for cost in at.values())
        share = min(cost.hot_share for cost in costs)
        yield verdict(promises.line, "HOT", f"{share:.0%} HOT", kept=share == 1)
    for rows in promises.rows:
        locked = measured.rows[rows.table]
        yield verdict(promises.locks_line, str(rows), f"{locked:,.6g} locked", kept=locked == rows.number)
    for table in sorted(promises.locks | measured.locks):
        promised, taken = promises.locks.get(table), measured.locks.get(table)
        kept = taken is None or (promised is not None and LOCK_MODES.index(taken) <= LOCK_MODES.index(promised))
        yield verdict(promises.locks_line, f"{promised or 'no lock'} on {table}", f"{taken or 'no lock'}", kept=kept)
    for never in promises.never:
        seen = list(_seen(never, measured.plans))
        yield verdict(never.line, f"never {never}", "; ".join(seen) or "never", kept=not seen)


def values_of(bound: Bound, curve: Curve) -> dict[str, dict[int, float]]:
    """What a bound is about, by plan and by size."""
    figure = METRICS[bound.metric]
    return {mode: {size: float(getattr(at[mode], figure)) for size, at in curve.items()} for mode in MODES}


def _grown(bound: Bound, curve: Curve) -> tuple[str, bool]:
    """How a figure has grown, and whether that is within its bound; with the plans that it is not within, if any."""
    values = values_of(bound, curve)
    broken = [mode for mode in MODES if not _within(bound, values[mode])]
    if not broken:
        return _told(max(values.values(), key=lambda one: sum(one.values()))), True
    return "; ".join(f"{_told(values[mode])} with the {mode} plan" for mode in broken), False


def _within(bound: Bound, values: dict[int, float]) -> bool:
    if fit(values).growth > bound.growth and closest(values, bound.growth).error > TOLERANCE:
        return False
    if bound.growth <= Growth.LOGARITHMIC and accelerates(values):
        return False
    return all(value <= most for value, most in zip(values.values(), _limits(bound, values), strict=True))


def _limits(bound: Bound, values: dict[int, float]) -> Iterator[float]:
    """Yield what the figure may be at each size at most."""
    least_of_all = min(values.values())
    for size in values:
        if bound.divisor:
            yield least_of_all + size / bound.divisor + SLACK
        elif bound.cap:
            yield bound.cap.most * (size if bound.cap.each else 1)
        else:
            yield inf


def _capped(cap: Cap, measured: Measured) -> tuple[str, bool]:
    """Hold the most of a figure against its cap, wherever it is not promised to grow with n or faster."""
    bounds = measured.subject.promises.bounds
    grows = {one.axis for one in bounds if one.growth > Growth.LOGARITHMIC and METRICS[one.metric] == UNITS[cap.unit]}
    value, size, mode, axis = max(
        (float(getattr(cost, UNITS[cap.unit])), size, mode, axis)
        for axis in measured.curves.keys() - grows
        for size, at in measured.curves[axis].items()
        for mode, cost in at.items()
    )
    return f"{value:,.0f} at {size:,} in {axis} with the {mode} plan", value <= cap.most


def _told(values: dict[int, float]) -> str:
    figures = ", ".join(f"{value:,.0f}" for value in values.values())
    return f"{fit(values).growth}: {figures} at {min(values):,} to {max(values):,}"


def _seen(never: Never, plans: dict[str, dict[int, dict[str, Plan]]]) -> Iterator[str]:
    """Where a node appears that never does."""
    for axis, sizes in plans.items():
        for mode in MODES:
            if at := [f"{size:,}" for size, of in sizes.items() if of[mode].breaks(never)]:
                yield f"{mode} plan at {', '.join(at)} in {axis}"


def in_trips(number: int) -> str:
    """A number of round trips, in words."""
    return f"{number} round trip{'' if number == 1 else 's'}"
