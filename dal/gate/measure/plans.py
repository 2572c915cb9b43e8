"""The plans of a statement: made for the values that are given, and the generic one."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg

from dal.gate.header.promises import Never
from dal.gate.measure.prepared import MODES, prepared


@dataclass(frozen=True, slots=True)
class Plan:
    """A plan, as EXPLAIN gives it."""

    tree: Mapping[str, Any] = field(hash=False)
    small: Collection[str] = ()
    """Tables so small that what never appears may read them: it is right to read them as a whole."""
    few: int = 0
    """So few rows that what never appears may work on them: it is right to sort them, say."""

    def nodes(self) -> Iterator[tuple[str, str | None, str | None]]:
        """Every node: its kind, the table that it reads (or that its input reads), and the index."""
        for node in _walk(self.tree):
            yield node["Node Type"], _table(node), node.get("Index Name")

    @property
    def shape(self) -> str:
        """Its nodes in one line, without any estimate, so that two shapes can be compared."""
        return " / ".join(" ".join(filter(None, node)) for node in self.nodes())

    def breaks(self, never: Never) -> bool:
        """Whether a node is there that never appears."""
        return any(not self._is_little(node) for node in self._found(never))

    def passes_over(self, never: Never) -> bool:
        """Whether such a node is there, on so little that it is right."""
        return any(self._is_little(node) for node in self._found(never))

    def _found(self, never: Never) -> Iterator[Mapping[str, Any]]:
        for node in _walk(self.tree):
            if never.forbids(node["Node Type"], _table(node)):
                yield node

    def _is_little(self, node: Mapping[str, Any]) -> bool:
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
    """The plan for these values ("custom") and the "generic" one; nothing is run."""
    with connection.transaction(force_rollback=True), prepared(connection, text) as statement:
        return {mode: Plan(statement.explain(mode, values), small, few) for mode in MODES}


def _walk(node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    yield node
    for child in node.get("Plans", ()):
        yield from _walk(child)


def _tables(node: Mapping[str, Any]) -> set[str]:
    """The tables that a node and those below it read."""
    return {str(one["Relation Name"]) for one in _walk(node) if "Relation Name" in one}


def _table(node: Mapping[str, Any]) -> str | None:
    """The table that a node reads; for a sort or the like, the one that it is fed from, if it is one alone."""
    if "Relation Name" in node:
        return str(node["Relation Name"])
    below = _tables(node)
    return below.pop() if len(below) == 1 else None
