"""The custom and generic plans of a statement."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from dal.gate.header.promises import Never
from dal.gate.measure.prepared import MODES, prepared


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan of EXPLAIN."""

    tree: Mapping[str, Any] = field(hash=False)
    small: Collection[str] = ()
    """Tables that are so small that a full scan is right, even if a promise forbids the node."""
    few: int = 0
    """The number of rows that are so few that a sort is right, even if a promise forbids the node."""

    def nodes(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Yield every node: its kind, the table that it or its input reads, and its index."""
        for node in _walk(self.tree):
            yield node["Node Type"], _table(node), node.get("Index Name")

    @property
    def shape(self) -> str:
        """Return the nodes in one line, without estimates, so that plans can be compared."""
        return " / ".join(" ".join(filter(None, node)) for node in self.nodes())

    def breaks(self, never: Never) -> bool:
        """Return whether the plan has a forbidden node."""
        return any(not self._is_small(node) for node in self._found(never))

    def passes_over(self, never: Never) -> bool:
        """Return whether it has a forbidden node on data so small that the node is right."""
        return any(self._is_small(node) for node in self._found(never))

    def _found(self, never: Never) -> Iterator[Mapping[str, Any]]:
        for node in _walk(self.tree):
            if never.forbids(node["Node Type"], _table(node)):
                yield node

    def _is_small(self, node: Mapping[str, Any]) -> bool:
        if "Relation Name" in node:
            return node["Relation Name"] in self.small
        return bool(node["Plan Rows"] <= self.few)


def plans_of(
    connection: psycopg.Connection[Any],
    text: str,
    values: Mapping[str, Any],
    *,
    small: Collection[str] = (),
    few: int = 0,
) -> dict[str, Plan]:
    """Return the custom and the generic plan, without running the statement."""
    with connection.transaction(force_rollback=True), prepared(connection, text) as statement:
        return {mode: Plan(statement.explain(mode, values), small, few) for mode in MODES}


def executed_plans_of(
    connection: psycopg.Connection[Any], text: str, values: Mapping[str, Any], *, small: Collection[str], few: int
) -> dict[str, Plan]:
    """Return the plans with their actual rows. Each is run and rolled back, so prepare_threshold must be None."""
    plans = {}
    with prepared(connection, text) as statement:
        for mode in MODES:
            with connection.transaction(force_rollback=True):
                plans[mode] = Plan(statement.explain_analyze(mode, values), small, few)
    return plans


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _tables(node: Mapping[str, Any]) -> set[str]:
    """Return the tables that a node and its children read."""
    return {str(one["Relation Name"]) for one in _walk(node) if "Relation Name" in one}


def _table(node: Mapping[str, Any]) -> str | None:
    """Return the table that a node reads, or the only table that its children read."""
    if "Relation Name" in node:
        return str(node["Relation Name"])
    below = _tables(node)
    return below.pop() if len(below) == 1 else None
