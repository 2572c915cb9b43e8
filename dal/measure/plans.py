"""The plans of a statement: made for the values that are given, and the generic one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg
from psycopg import sql

from dal.measure.promises import Never
from dal.measure.subjects import Subject

_PREPARE = sql.SQL("PREPARE dal_plan AS {}")
_EXPLAIN = sql.SQL("EXPLAIN (FORMAT JSON) EXECUTE dal_plan {}")
_DEALLOCATE = sql.SQL("DEALLOCATE dal_plan")
_MODE = sql.SQL("SET LOCAL plan_cache_mode = {}")


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, as EXPLAIN gives it."""

    tree: Mapping[str, Any] = field(hash=False)

    def nodes(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Every node: its kind, the table that it reads (or that its input reads), and the index."""
        return _walk(self.tree)

    @property
    def shape(self) -> str:
        """Its nodes in one line, without any estimate, so that two shapes can be compared."""
        return " / ".join(" ".join(filter(None, node)) for node in self.nodes())

    def breaks(self, never: Never) -> bool:
        """Whether a node is there that never appears."""
        return any(kind == never.node and never.table in {None, table} for kind, table, _ in self.nodes())


def plans_of(connection: psycopg.Connection[Any], subject: Subject, parameters: Mapping[str, Any]) -> dict[str, Plan]:
    """The plan for these values ("custom") and the "generic" one; nothing is run."""
    text, values = subject.numbered(parameters)
    plans = {}
    with psycopg.ClientCursor(connection) as cursor, connection.transaction(force_rollback=True):
        cursor.execute(_PREPARE.format(text))
        arguments = sql.SQL("({})").format(sql.SQL(", ").join(map(sql.Literal, values))) if values else sql.SQL("")
        for mode in ("custom", "generic"):
            cursor.execute(_MODE.format(sql.Literal(f"force_{mode}_plan")))
            row = cursor.execute(_EXPLAIN.format(arguments)).fetchone()
            plans[mode] = Plan(_tree(row))
        cursor.execute(_DEALLOCATE)
    return plans


def _tree(row: Any) -> Mapping[str, Any]:
    document = next(iter(row.values())) if isinstance(row, dict) else row[0]
    tree: Mapping[str, Any] = document[0]["Plan"]
    return tree


def _walk(node: Mapping[str, Any]) -> Iterator[tuple[str, str | None, str | None]]:
    kind = node["Node Type"]
    yield kind, _table(node), node.get("Index Name")
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _table(node: Mapping[str, Any]) -> str | None:
    """The table that a node reads; for a sort or the like, the one that it is fed from, if it is one alone."""
    if "Relation Name" in node:
        return str(node["Relation Name"])
    below = {_table(child) for child in node.get("Plans", ())} - {None}
    return below.pop() if len(below) == 1 else None
