"""Compare the costs in the largest store with the promises, and with the costs in small stores.

WAL is compared by records, not bytes: the bytes depend on full-page images, which PostgreSQL writes after a checkpoint.

The gate fits a curve to many sizes. Here most indexes get another level at about the same size, and no curve fits such
a step. So the largest store is compared with the two smallest: a figure that grows linearly would be hundreds of times
as high.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from math import log2

from dal.gate.header.promises import METRICS, Growth
from dal.gate.measure.cost import Cost, most
from dal.gate.measure.growth import SLACK
from dal.gate.measure.judge import Outcome, judge, slack_of
from dal.gate.measure.measurement import Curve, Measurement
from large.operations import AXIS

_SCATTER = 1.1
"""A figure may vary by a tenth without growing."""


def broken(measured: Measurement) -> Iterator[str]:
    """Yield a line for each promise that a query breaks in the largest store."""
    for verdict in judge(_at_largest(measured)):
        not_measured = verdict.outcome is Outcome.NOT_MEASURED and measured.failure is None
        if not verdict.kept and not not_measured:
            yield f"{verdict.query}: {verdict.promised}: {verdict.measured}"
    if measured.failure is None:
        yield from _outgrown(measured)


def _outgrown(measured: Measurement) -> Iterator[str]:
    curve = measured.curves[AXIS]
    for bound in measured.subject.promises.bounds:
        metric = "wal_records" if bound.metric == "WAL" else METRICS[bound.metric]
        figures = {size: getattr(cost, metric) for size, cost in worst(curve).items()}
        if growth(figures, SLACK if metric == "wal_records" else slack_of(bound, curve)) > bound.growth:
            yield f"{measured.subject.name}: {bound}: {figures}"


def worst(curve: Curve) -> dict[int, Cost]:
    """Return the higher of the two plans' costs, by size."""
    return {size: most(list(at.values())) for size, at in curve.items()}


def growth(figures: Mapping[int, float], slack: float) -> Growth:
    """Return the lowest growth class that leads from the figures in the two smallest stores to that in the largest."""
    largest = max(figures)
    for found, shape in ((Growth.CONSTANT, lambda _: 1.0), (Growth.LOGARITHMIC, log2), (Growth.LINEAR, float)):
        expected = max(figures[size] * shape(largest) / shape(size) for size in sorted(figures)[:2])
        if figures[largest] <= _SCATTER * expected + slack:
            return found
    return Growth.QUADRATIC


def _at_largest(measured: Measurement) -> Measurement:
    """Return the measurement of only the largest store, without the promises of growth."""
    promises = replace(measured.subject.promises, bounds=())

    def largest(by_axis: Mapping[str, Mapping[int, object]]) -> dict[str, dict[int, object]]:
        return {axis: {max(at): at[max(at)]} for axis, at in by_axis.items()}

    return replace(
        measured,
        subject=replace(measured.subject, promises=promises),
        curves=largest(measured.curves),
        repeated=largest(measured.repeated),
        plans=largest(measured.plans),
    )
