"""Whether a query was run in such a way that a promise can be kept: a call that does nothing keeps none."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dal.gate.measure.measured import Exercise, Measured


class NotMeasured(Exception):
    """Nothing was measured by which a promise could be kept; says why."""


Judged = tuple[str, bool]
"""What was measured, and whether that keeps the promise."""


def require_work(axis: str, exercise: Exercise) -> None:
    """Raise unless every call along an axis did something, on data or with parameters of another size each time."""
    idle = [size for size, matched in exercise.matched.items() if not matched]
    if idle and not exercise.may_match_nothing:
        raise NotMeasured(f"the call returned and changed no row at {_listed(idle)} in {axis}")
    if exercise.still:
        raise NotMeasured(f"the fixtures changed no row and no parameter up to {_listed(exercise.still)} in {axis}")


def require_writes(measured: Measured) -> None:
    """Raise if the statement can write, and never did."""
    can_write = any(node == "ModifyTable" for node, _ in nodes_of(measured))
    costs = (cost for curve in measured.curves.values() for at in curve.values() for cost in at.values())
    if can_write and not any(cost.rows_written for cost in costs):
        raise NotMeasured("the statement can write, but no call wrote a row")


def nodes_of(measured: Measured) -> Iterator[tuple[str, str | None]]:
    """Yield the nodes of all plans, each with its table."""
    for sizes in measured.plans.values():
        for plans in sizes.values():
            for plan in plans.values():
                yield from ((node, table) for node, table, _ in plan.nodes())


def require_table(table: str, measured: Measured) -> None:
    """Raise unless the schema has a table."""
    if table not in measured.tables:
        raise NotMeasured(f"the schema has no table {table}")


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)
