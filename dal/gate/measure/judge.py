"""Hold what the gate has measured against what the query files promise."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import partial
from math import inf
from pathlib import Path

from dal.gate.header.promises import METRICS, UNITS, Bound, Cap, Growth, Never
from dal.gate.measure.cost import Cost
from dal.gate.measure.exercised import Judged, NotMeasured, nodes_of, require_table, require_work, require_writes
from dal.gate.measure.growth import SLACK, SLACK_OF, TOLERANCE, accelerates, closest, fit
from dal.gate.measure.judge_locks import lock_promises
from dal.gate.measure.measured import STANDARD, STANDARD_SIZE, Curve, Measured
from dal.gate.measure.plans import Plan
from dal.gate.measure.prepared import MODES


class Outcome(StrEnum):
    """What became of a promise."""

    KEPT = "kept"
    BROKEN = "broken"
    NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise, what was measured (or why nothing was), and what became of it."""

    query: str
    path: Path
    line: int
    promised: str
    measured: str
    outcome: Outcome

    @property
    def kept(self) -> bool:
        """Whether it was measured and is kept."""
        return self.outcome is Outcome.KEPT


def judge(measured: Measured) -> Iterator[Verdict]:
    """Hold what was measured against what was promised. Only what was measured can be kept."""
    subject = measured.subject
    for line, promised, weigh in _promised(measured):
        found, outcome = _outcome(measured, weigh)
        yield Verdict(subject.name, subject.path, line, promised, found, outcome)


def _outcome(measured: Measured, weigh: Callable[[], Judged]) -> tuple[str, Outcome]:
    if measured.failure is not None:
        return f"the query failed: {measured.failure}", Outcome.NOT_MEASURED
    try:
        found, kept = weigh()
    except NotMeasured as reason:
        return str(reason), Outcome.NOT_MEASURED
    return found, Outcome.KEPT if kept else Outcome.BROKEN


def _promised(measured: Measured) -> Iterator[tuple[int, str, Callable[[], Judged]]]:
    """Yield each promise of a query: its line, its text, and how it is judged."""
    promises = measured.subject.promises
    yield promises.line, in_trips(promises.round_trips), partial(_trips, measured)
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


def _trips(measured: Measured) -> Judged:
    if not measured.round_trips:
        raise NotMeasured("nothing was sent")
    return in_trips(measured.round_trips), measured.round_trips <= measured.subject.promises.round_trips


def _bound(bound: Bound, measured: Measured) -> Judged:
    found, kept = _grown(bound, measured.curves[bound.axis])
    if kept and len(measured.repeated.get(bound.axis, ())) == len(measured.curves[bound.axis]):
        again, kept = _grown(bound, measured.repeated[bound.axis])
        found = found if kept else f"{again}, sent again"
    if kept:
        require_work(bound.axis, measured.exercise[bound.axis])
        require_writes(measured)
    return found, kept


def _held(bound: Bound, measured: Measured) -> Judged:
    found, kept = _grown(bound, measured.held[bound.axis])
    if kept:
        require_work(f"{bound.axis}, under a held snapshot", measured.held_exercise[bound.axis])
    return found, kept


def _capped(cap: Cap, measured: Measured) -> Judged:
    """Hold the most of a figure against its cap, wherever it is not promised to grow with n or faster."""
    axes = [axis for axis in measured.curves if axis not in _growing(cap, measured)]
    if not axes:
        raise NotMeasured(f"{cap.unit} are promised to grow in all that is measured; cap those, as in `…, {cap} each`")
    value, size, mode, axis = max(
        (_figure(cap, cost), size, mode, axis)
        for axis in axes
        for curve in (measured.curves[axis], measured.repeated.get(axis, {}))
        for size, at in curve.items()
        for mode, cost in at.items()
    )
    if value <= cap.most:
        for one in axes:
            require_work(one, measured.exercise[one])
        require_writes(measured)
    return f"{value:,.6g} at {size:,} in {axis} with the {mode} plan", value <= cap.most


def _figure(cap: Cap, cost: Cost) -> float:
    figure = getattr(cost, UNITS[cap.unit])
    if figure is None:
        raise NotMeasured("only superusers, and who may set log_statement_stats and log_min_messages, are shown it")
    return float(figure)


def _growing(cap: Cap, measured: Measured) -> set[str]:
    """Return the axes with which a figure may grow: where its growth is promised, or where it never is, any growth."""
    figure = UNITS[cap.unit]
    bounds = [one for one in measured.subject.promises.bounds if one.growth > Growth.LOGARITHMIC]
    return {one.axis for one in bounds if _kind(METRICS[one.metric]) == _kind(figure) or figure not in METRICS.values()}


def _kind(figure: str) -> str:
    """Return what a figure is of: records and bytes are both of the WAL."""
    return figure.partition("_")[0]


def _hot(measured: Measured) -> Judged:
    costs = [cost for curve in measured.curves.values() for at in curve.values() for cost in at.values()]
    if not any(cost.updates for cost in costs):
        raise NotMeasured("no row was updated")
    share = min(cost.hot_share for cost in costs)
    return f"{share:.0%} HOT", share == 1


def _never(never: Never, measured: Measured) -> Judged:
    if seen := list(_seen(never, measured.plans)):
        return "; ".join(seen), False
    if never.table:
        require_table(never.table, measured)
    if any(plan.passes_over(never) for plan in measured.plans.get(STANDARD, {}).get(STANDARD_SIZE, {}).values()):
        raise NotMeasured("it appears on so few rows that it is right there; promise a growth in the rows of its table")
    small = sorted({table for node, table in nodes_of(measured) if node == never.node and table in never.small})
    return f"never, except on {', '.join(small)}, small by nature" if small else "never", True


def values_of(bound: Bound, curve: Curve) -> dict[str, dict[int, float]]:
    """What a bound is about, by plan and by size."""
    figure = METRICS[bound.metric]
    return {mode: {size: float(getattr(at[mode], figure)) for size, at in curve.items()} for mode in MODES}


def _grown(bound: Bound, curve: Curve) -> tuple[str, bool]:
    """How a figure has grown, and whether that is within its bound; with the plans that it is not within, if any."""
    values = values_of(bound, curve)
    broken = [mode for mode in MODES if not _within(bound, values[mode])]
    if not broken:
        return _told(bound, max(values.values(), key=lambda one: sum(one.values()))), True
    return "; ".join(f"{_told(bound, values[mode])} with the {mode} plan" for mode in broken), False


def _within(bound: Bound, values: dict[int, float]) -> bool:
    slack = slack_of(bound)
    if fit(values, slack).growth > bound.growth and closest(values, bound.growth, slack).error > TOLERANCE:
        return False
    if bound.growth <= Growth.LOGARITHMIC and accelerates(values, slack):
        return False
    return all(value <= most for value, most in zip(values.values(), _limits(bound, values), strict=True))


def slack_of(bound: Bound) -> float:
    """How much of what a bound is about may come and go without being growth."""
    return SLACK_OF.get(METRICS[bound.metric], SLACK)


def _limits(bound: Bound, values: dict[int, float]) -> Iterator[float]:
    """Yield what the figure may be at each size at most."""
    least_of_all = min(values.values())
    for size in values:
        if bound.divisor:
            yield least_of_all + size / bound.divisor + slack_of(bound)
        elif bound.cap:
            yield bound.cap.most * (size if bound.cap.each else 1)
        else:
            yield inf


def _told(bound: Bound, values: dict[int, float]) -> str:
    figures = ", ".join(f"{value:,.0f}" for value in values.values())
    return f"{fit(values, slack_of(bound)).growth}: {figures} at {min(values):,} to {max(values):,}"


def _seen(never: Never, plans: dict[str, dict[int, dict[str, Plan]]]) -> Iterator[str]:
    """Where a node appears that never does."""
    for axis, sizes in plans.items():
        for mode in MODES:
            if at := [f"{size:,}" for size, of in sizes.items() if of[mode].breaks(never)]:
                yield f"{mode} plan at {', '.join(at)} in {axis}"


def in_trips(number: int) -> str:
    """A number of round trips, in words."""
    return f"{number} round trip{'' if number == 1 else 's'}"
