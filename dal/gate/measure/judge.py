"""Compare the measurements with the promises."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from pathlib import Path

from dal.gate.header.promises import METRICS, UNITS, Bound, Cap, Growth, Never
from dal.gate.measure.cost import Cost
from dal.gate.measure.evidence import (
    Elsewhere,
    Judged,
    NotMeasured,
    nodes_of,
    require_table,
    require_work,
    require_writes,
)
from dal.gate.measure.growth import HIGHER, MANY, SLACK, SLACK_OF, TOLERANCE, accelerates, closest, fit, gains_a_level
from dal.gate.measure.judge_locks import lock_promises
from dal.gate.measure.judge_remote import remote_commands, text_of
from dal.gate.measure.measurement import STANDARD, STANDARD_SIZE, Curve, Measurement
from dal.gate.measure.plans import Plan
from dal.gate.measure.prepared import MODES

_LEVELS = 2
"""The buffers that a written row may take more when indexes are higher."""


class Outcome(StrEnum):
    """The outcome of a promise."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_MEASURED = "not measured"
    ELSEWHERE = "elsewhere"
    """Measured only on another kind of server."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A promise, its measured figure (or why there is none), and its outcome."""

    query: str
    path: Path
    line: int
    promised: str
    measured: str
    outcome: Outcome

    @property
    def kept(self) -> bool:
        """Return whether the promise was measured and is kept."""
        return self.outcome is Outcome.KEPT


def judge(measured: Measurement) -> Iterator[Verdict]:
    """Yield a verdict for each promise of a query. A promise that was not measured is not kept."""
    subject = measured.subject
    for line, promised, weigh in _promised(measured):
        found, outcome = _outcome(measured, weigh)
        yield Verdict(subject.name, subject.path, line, promised, found, outcome)


def _outcome(measured: Measurement, weigh: Callable[[], Judged]) -> tuple[str, Outcome]:
    if measured.failure is not None:
        return f"the query failed: {measured.failure}", Outcome.NOT_MEASURED
    try:
        found, kept = weigh()
    except Elsewhere as reason:
        return str(reason), Outcome.ELSEWHERE
    except NotMeasured as reason:
        return str(reason), Outcome.NOT_MEASURED
    return found, Outcome.KEPT if kept else Outcome.BROKEN


def _promised(measured: Measurement) -> Iterator[tuple[int, str, Callable[[], Judged]]]:
    """Yield each promise of a query: its line, its text, and a function that judges it."""
    promises = measured.subject.promises
    yield promises.line, in_trips(promises.round_trips), partial(_trips, measured)
    if measured.is_on_cluster or promises.remote:
        yield promises.remote_line or promises.line, text_of(promises), partial(remote_commands, measured)
    if measured.is_on_cluster:
        return
    for bound in promises.bounds:
        yield bound.line, str(bound), partial(_bound, bound, measured)
    for cap in promises.caps:
        yield cap.line, str(cap), partial(_capped, cap, measured)
    for bound in promises.held:
        yield bound.line, f"held snapshot: {bound}", partial(_held, bound, measured)
    if promises.hot:
        yield promises.line, "HOT", partial(_hot, measured)
    for text, weigh in lock_promises(measured):
        yield promises.locks_line, text, weigh
    for never in promises.never:
        yield never.line, f"never {never}", partial(_never, never, measured)


def _trips(measured: Measurement) -> Judged:
    if not measured.round_trips:
        raise NotMeasured("nothing was sent")
    return in_trips(measured.round_trips), measured.round_trips <= measured.subject.promises.round_trips


def _bound(bound: Bound, measured: Measurement) -> Judged:
    found, kept = _grown(bound, measured.curves[bound.axis])
    if kept and len(measured.repeated.get(bound.axis, ())) == len(measured.curves[bound.axis]):
        again, kept = _grown(bound, measured.repeated[bound.axis])
        found = found if kept else f"{again}, sent again"
    if kept:
        require_work(bound.axis, measured.activity[bound.axis])
        require_writes(measured)
    return found, kept


def _held(bound: Bound, measured: Measurement) -> Judged:
    found, kept = _grown(bound, measured.held[bound.axis])
    if kept:
        require_work(f"{bound.axis}, under a held snapshot", measured.held_activity[bound.axis])
    return found, kept


def _capped(cap: Cap, measured: Measurement) -> Judged:
    """Compare the maximum of a figure with its cap, along all axes in which it may not grow linearly or faster."""
    axes = [axis for axis in measured.curves if axis not in _growing(cap, measured)]
    if not axes:
        raise NotMeasured(f"{cap.unit} may grow along every axis; cap the growth instead, as in `…, {cap} each`")
    excess, value, size, mode, axis = max(
        (_figure(cap, cost) - _most(cap, size), _figure(cap, cost), size, mode, axis)
        for axis in axes
        for curve in (measured.curves[axis], measured.repeated.get(axis, {}))
        for size, at in curve.items()
        for mode, cost in at.items()
    )
    if excess <= 0:
        for one in axes:
            require_work(one, measured.activity[one])
        require_writes(measured)
    return f"{value:,.6g} at {size:,} in {axis} with the {mode} plan", excess <= 0


def _most(cap: Cap, size: int) -> float:
    """Return the maximum of a figure at a size of an axis."""
    most = cap.most * (HIGHER if cap.unit == "buffers" and size > MANY else 1)
    return most * (size if cap.each else 1)


def _figure(cap: Cap, cost: Cost) -> float:
    figure = getattr(cost, UNITS[cap.unit])
    if figure is None:
        raise NotMeasured("it needs a superuser, or the privilege to set log_statement_stats and log_min_messages")
    return float(figure)


def _growing(cap: Cap, measured: Measurement) -> set[str]:
    """Return the axes along which a figure may grow linearly or faster.

    For a figure whose growth cannot be promised, such as CPU time, the promised growth of all figures counts.
    """
    figure = UNITS[cap.unit]
    bounds = [one for one in measured.subject.promises.bounds if one.growth > Growth.LOGARITHMIC]
    return {one.axis for one in bounds if _kind(METRICS[one.metric]) == _kind(figure) or figure not in METRICS.values()}


def _kind(figure: str) -> str:
    """Return the kind of a figure: WAL records and WAL bytes are the same kind."""
    return figure.partition("_")[0]


def _hot(measured: Measurement) -> Judged:
    costs = [cost for curve in measured.curves.values() for at in curve.values() for cost in at.values()]
    if not any(cost.updates for cost in costs):
        raise NotMeasured("no row was updated")
    share = min(cost.hot_share for cost in costs)
    return f"{share:.0%} HOT", share == 1


def _never(never: Never, measured: Measurement) -> Judged:
    if seen := list(_seen(never, measured.plans)):
        return "; ".join(seen), False
    if never.table:
        require_table(never.table, measured)
    if any(plan.passes_over(never) for plan in measured.plans.get(STANDARD, {}).get(STANDARD_SIZE, {}).values()):
        raise NotMeasured("it appears only on a few rows; promise growth along an axis that grows its table")
    small = sorted({table for node, table in nodes_of(measured) if node == never.node and table in never.small})
    return f"never, except on {', '.join(small)}, small by nature" if small else "never", True


def values_of(bound: Bound, curve: Curve) -> dict[str, dict[int, float]]:
    """Return the figures that a bound limits, by plan and size."""
    figure = METRICS[bound.metric]
    return {mode: {size: float(getattr(at[mode], figure)) for size, at in curve.items()} for mode in MODES}


def _grown(bound: Bound, curve: Curve) -> tuple[str, bool]:
    """Return the growth in words, and whether it is within the bound; if not, with the plans that exceed it."""
    values = values_of(bound, curve)
    slack = slack_of(bound, curve)
    broken = [mode for mode in MODES if not _within(bound, values[mode], slack)]
    if not broken:
        return _growth_text(bound, max(values.values(), key=lambda one: sum(one.values()))), True
    return "; ".join(f"{_growth_text(bound, values[mode])} with the {mode} plan" for mode in broken), False


def _within(bound: Bound, values: dict[int, float], slack: float) -> bool:
    is_deeper = bound.metric == "buffers" and bound.growth is Growth.LOGARITHMIC and gains_a_level(values, slack)
    if not is_deeper:
        if fit(values, slack).growth > bound.growth and closest(values, bound.growth, slack).error > TOLERANCE:
            return False
        if bound.growth <= Growth.LOGARITHMIC and accelerates(values, slack):
            return False
    return all(value <= most for value, most in zip(values.values(), _limits(bound, values), strict=True))


def slack_of(bound: Bound, curve: Curve | None = None) -> float:
    """Return the difference that is not growth, for the figure of a bound; with a curve, also for the rows written.

    A row that is written goes into several indexes, each of which may be one level higher at the larger sizes.
    """
    slack = SLACK_OF.get(METRICS[bound.metric], SLACK)
    if curve is None or METRICS[bound.metric] != "buffers":
        return slack
    return slack + _LEVELS * min(cost.rows_written for at in curve.values() for cost in at.values())


def _limits(bound: Bound, values: dict[int, float]) -> Iterator[float]:
    """Yield the maximum of the figure at each size."""
    least_of_all = min(values.values())
    for size in values:
        if bound.divisor:
            yield least_of_all + size / bound.divisor + slack_of(bound)
        elif bound.cap:
            yield _most(bound.cap, size)
        else:
            yield inf


def _growth_text(bound: Bound, values: dict[int, float]) -> str:
    figures = ", ".join(f"{value:,.0f}" for value in values.values())
    return f"{fit(values, slack_of(bound)).growth}: {figures} at {min(values):,} to {max(values):,}"


def _seen(never: Never, plans: dict[str, dict[int, dict[str, Plan]]]) -> Iterator[str]:
    """Yield the plans with a forbidden node."""
    for axis, sizes in plans.items():
        for mode in MODES:
            if at := [f"{size:,}" for size, of in sizes.items() if of[mode].breaks(never)]:
                yield f"{mode} plan at {', '.join(at)} in {axis}"


def in_trips(number: int) -> str:
    """Return a number of round trips in words."""
    return f"{number} round trip{'' if number == 1 else 's'}"
