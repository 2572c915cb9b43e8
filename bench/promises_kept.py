"""Whether our own figures keep what the query files promise: these gate a run without any baseline."""

from __future__ import annotations

from collections.abc import Mapping

from measures import Figures

from dal.gate.header.parse import parse
from dal.gate.header.promises import METRICS, Bound, Promises
from dal.gate.measure.growth import SLACK, fit
from dal.sql import QUERIES


def promises_of(query: str) -> Promises:
    """What a query of the library promises, such as messages/append."""
    return parse(QUERIES / f"{query}.sql", query.rpartition("/")[2])


def broken(query: str, axis: str, at: Mapping[int, Figures], slack: float = SLACK) -> list[str]:
    """Tell which promises of a query the figures along an axis do not keep."""
    promises = promises_of(query)
    bounds = [bound for bound in (*promises.bounds, *promises.held) if bound.axis == axis]
    if not bounds:
        raise LookupError(f"{query} promises nothing along {axis!r}")
    told = [
        f"{bound}: it is {found}" for bound in bounds if (found := fit(_values(bound, at), slack).growth) > bound.growth
    ]
    told += [f"{bound}: it is {_values(bound, at)}" for bound in bounds if bound.divisor and _exceeds(bound, at)]
    trips = max(one.round_trips for one in at.values())
    return told + ([f"{promises.round_trips} round trips: it is {trips}"] if trips > promises.round_trips else [])


def _exceeds(bound: Bound, at: Mapping[int, Figures]) -> bool:
    """Whether a figure is more than it is at the least by more than n / divisor, as in the gate."""
    values = _values(bound, at)
    return any(value > min(values.values()) + size / bound.divisor + SLACK for size, value in values.items())


def _values(bound: Bound, at: Mapping[int, Figures]) -> dict[int, int]:
    return {size: getattr(one.cost, METRICS[bound.metric]) for size, one in at.items()}
