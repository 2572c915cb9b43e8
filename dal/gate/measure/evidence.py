"""Check that a measurement proves something: a call without any effect keeps no promise."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from dal.gate.measure.measurement import Activity, Measurement


class NotMeasured(Exception):
    """The promise was not measured; the message is the reason."""


class Elsewhere(NotMeasured):
    """The promise is measured on other servers."""


Judged = tuple[str, bool]
"""The measured figure in words, and whether it keeps the promise."""


def require_work(axis: str, activity: Activity) -> None:
    """Raise NotMeasured unless the calls at every size had an effect, and the data or parameters differed."""
    idle = [size for size, matched in activity.matched.items() if not matched]
    if idle and not activity.may_match_nothing:
        raise NotMeasured(f"the call returned and changed no row at {_listed(idle)} in {axis}")
    if activity.unchanged:
        raise NotMeasured(f"the fixtures changed no row and no parameter up to {_listed(activity.unchanged)} in {axis}")


def require_writes(measured: Measurement) -> None:
    """Raise NotMeasured if the statement can write but never did."""
    can_write = any(node == "ModifyTable" for node, _ in nodes_of(measured))
    costs = (cost for curve in measured.curves.values() for at in curve.values() for cost in at.values())
    if can_write and not any(cost.rows_written for cost in costs):
        raise NotMeasured("the statement can write, but no call wrote a row")


def nodes_of(measured: Measurement) -> Iterator[tuple[str, str | None]]:
    """Yield the nodes of all plans, with their tables."""
    for sizes in measured.plans.values():
        for plans in sizes.values():
            for plan in plans.values():
                yield from ((node, table) for node, table, _ in plan.nodes())


def require_table(table: str, measured: Measurement) -> None:
    """Raise NotMeasured unless the schema has this table."""
    if table not in measured.tables:
        raise NotMeasured(f"the schema has no table {table}")


def _listed(sizes: Iterable[int]) -> str:
    return ", ".join(f"{size:,}" for size in sizes)
