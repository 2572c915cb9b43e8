"""Check that our own figures keep the promises of the query files, independently of the baseline."""

from __future__ import annotations

from collections.abc import Mapping

from measures import Figures

from dal.gate.header.parse import parse
from dal.gate.header.promises import METRICS, Bound, Promises
from dal.gate.measure.growth import SLACK, fit
from dal.sql import QUERIES


def promises_of(query: str) -> Promises:
    """Return the promises of a query of the library, such as messages/append."""
    return parse(QUERIES / f"{query}.sql", query.rpartition("/")[2])


def broken(query: str, axis: str, at: Mapping[int, Figures], slack: float = SLACK) -> list[str]:
    """Return the promises of a query that the figures along an axis break."""
    promises = promises_of(query)
    bounds = [bound for bound in (*promises.bounds, *promises.held) if bound.axis == axis]
    if not bounds:
        raise LookupError(f"{query} promises nothing along {axis!r}")
    broken_promises = [
        f"{bound}: it is {found}" for bound in bounds if (found := fit(_values(bound, at), slack).growth) > bound.growth
    ]
    broken_promises += [
        f"{bound}: it is {_values(bound, at)}" for bound in bounds if bound.divisor and _exceeds(bound, at)
    ]
    trips = max(one.round_trips for one in at.values())
    return broken_promises + (
        [f"{promises.round_trips} round trips: it is {trips}"] if trips > promises.round_trips else []
    )


def _exceeds(bound: Bound, at: Mapping[int, Figures]) -> bool:
    """Return whether a figure exceeds the smallest one by more than n / divisor, as in the gate."""
    values = _values(bound, at)
    return any(value > min(values.values()) + size / bound.divisor + SLACK for size, value in values.items())


def _values(bound: Bound, at: Mapping[int, Figures]) -> dict[int, int]:
    return {size: getattr(one.cost, METRICS[bound.metric]) for size, one in at.items()}
