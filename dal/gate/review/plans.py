"""Plans as trees. Plans of the same shape are shown once."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from dal.gate.header.promises import Never
from dal.gate.measure.plans import Plan

_CONDITIONS = (
    "Index Cond",
    "Recheck Cond",
    "Hash Cond",
    "Merge Cond",
    "Join Filter",
    "Filter",
    "One-Time Filter",
    "Conflict Filter",
    "Sort Key",
    "Presorted Key",
    "Group Key",
    "Cache Key",
)

_LONG = 160
"""The maximum length of a condition; a custom plan's may list thousands of values."""

_SHAPE = (
    "Node Type",
    "Strategy",
    "Operation",
    "Join Type",
    "Scan Direction",
    "Subplan Name",
    "Disabled",
    "Relation Name",
    "Alias",
    "Index Name",
    "Function Name",
    "CTE Name",
)
"""Plans are equal if these are equal. Estimates and conditions may differ."""


@dataclass(frozen=True, slots=True)
class Node:
    """A node of a plan, as shown."""

    depth: int
    kind: str
    role: str
    """The name of the CTE or subplan that starts here, or an empty text."""
    source: str
    """The table, function or CTE that it reads, with its alias."""
    index: str
    conditions: tuple[str, ...]
    rows: tuple[str, ...]
    """The estimated rows, in the columns of its plan."""
    never: bool
    """Whether a promise forbids it."""
    actual: tuple[str, ...] = ()
    """The actual rows per loop, in the columns of its plan."""


@dataclass(frozen=True, slots=True)
class DistinctPlan:
    """A plan, and the calls that use it."""

    where: str
    """The calls: `generic; custom at 64 to 4,096`."""
    reads: str
    """The tables and indexes with the nodes that read them, in one line."""
    columns: tuple[str, ...]
    nodes: tuple[Node, ...]
    actual_columns: tuple[str, ...] = ()
    """The calls whose actual rows were measured."""
    text: str = ""
    """The plan in EXPLAIN's JSON format."""

    @property
    def never(self) -> bool:
        """Return whether it has a forbidden node."""
        return any(node.never for node in self.nodes)


def distinct_plans(sizes: Mapping[str, Mapping[str, Any]], never: Sequence[Never]) -> list[DistinctPlan]:
    """Group the equal plans of an axis.

    Forbidden nodes are marked at the largest size only, as in the gate: a small table is best scanned as a whole.
    """
    shapes: dict[Any, dict[tuple[str, int], Mapping[str, Any]]] = {}
    for size, kinds in sizes.items():
        for kind, tree in kinds.items():
            shapes.setdefault(_shape(tree), {})[kind, int(size)] = tree
    every = [int(size) for size in sizes]
    return [_distinct_plan(trees, every, never) for trees in shapes.values()]


def relations_of(sizes: Mapping[str, Mapping[str, Any]]) -> Iterator[tuple[str, str, str]]:
    """Yield every table and index of the plans, the node that uses it, and the kind of the plan."""
    for kinds in sizes.values():
        for kind, tree in kinds.items():
            for _, node in _walk(tree, 0):
                if index := node.get("Index Name"):
                    yield index, node["Node Type"], kind
                for arbiter in node.get("Conflict Arbiter Indexes", ()):
                    yield arbiter, "ON CONFLICT", kind
                if table := node.get("Relation Name"):
                    yield table, node.get("Operation", node["Node Type"]), kind


def _distinct_plan(
    trees: Mapping[tuple[str, int], Mapping[str, Any]], every: Sequence[int], never: Sequence[Never]
) -> DistinctPlan:
    # The generic plan's conditions name the parameters instead of one call's values.
    shown = next((tree for (kind, _), tree in trees.items() if kind == "generic"), next(iter(trees.values())))
    estimates, actuals = _by_rows(trees, _estimated), _by_rows(trees, _actual)
    tables = [table for _, table, _ in Plan(shown).nodes()]
    looked_for = never if max(every) in {size for _, size in trees} else ()
    nodes = tuple(
        _node(depth, node, estimated, actual, broken=_is_broken(node, table, looked_for))
        for (depth, node), table, estimated, actual in zip(
            _walk(shown, 0), tables, _transposed(estimates, len(tables)), _transposed(actuals, len(tables)), strict=True
        )
    )
    stored = (node for _, node in _walk(shown, 0) if {"Index Name", "Relation Name"} & node.keys())
    reads = dict.fromkeys(f"{_kind(node)} {node.get('Index Name') or node['Relation Name']}" for node in stored)
    return DistinctPlan(
        where=_where(list(trees), every),
        reads=", ".join(reads) or nodes[0].kind,
        columns=tuple(_where(cells, every) for cells in estimates.values()),
        nodes=nodes,
        actual_columns=tuple(_where(cells, every) for cells in actuals.values()),
        text=json.dumps([{"Plan": shown}], ensure_ascii=False),
    )


_Rows = dict[tuple[str, ...], list[tuple[str, int]]]
"""The rows of all nodes, and the calls with these rows."""


def _by_rows(trees: Mapping[tuple[str, int], Mapping[str, Any]], rows: Callable[[Mapping[str, Any]], str]) -> _Rows:
    """Group calls by the rows of their nodes; calls without rows are omitted."""
    found: _Rows = {}
    for cell, tree in trees.items():
        values = tuple(rows(node) for _, node in _walk(tree, 0))
        if any(values):
            found.setdefault(values, []).append(cell)
    return found


def _transposed(rows: _Rows, nodes: int) -> list[tuple[str, ...]]:
    """Return the rows by node instead of by call."""
    return list(zip(*rows, strict=True)) if rows else [()] * nodes


def _estimated(node: Mapping[str, Any]) -> str:
    return f"{node['Plan Rows']:,}"


def _actual(node: Mapping[str, Any]) -> str:
    if "Actual Rows" not in node:
        return ""
    loops = node["Actual Loops"]
    return (
        "not run" if not loops else f"{node['Actual Rows']:,g}" + (f" in each of {loops:,} loops" if loops > 1 else "")
    )


def _is_broken(node: Mapping[str, Any], table: str | None, never: Sequence[Never]) -> bool:
    return any(one.forbids(node["Node Type"], table) for one in never)


def _node(depth: int, node: Mapping[str, Any], rows: tuple[str, ...], actual: tuple[str, ...], *, broken: bool) -> Node:
    read = node.get("Relation Name") or node.get("Function Name") or node.get("CTE Name") or ""
    alias = node.get("Alias", read)
    return Node(
        depth=depth,
        kind=_kind(node),
        role=node.get("Subplan Name", ""),
        source=read if alias == read else f"{read} {alias}",
        index=node.get("Index Name", ", ".join(node.get("Conflict Arbiter Indexes", ()))),
        conditions=tuple(_conditions(node)),
        rows=rows,
        actual=actual,
        never=broken,
    )


def _kind(node: Mapping[str, Any]) -> str:
    kind: str = node.get("Operation", node["Node Type"])
    remarks = {node.get("Join Type"), node.get("Strategy"), "disabled" if node.get("Disabled") else None}
    remarks -= {None, "Inner", "Plain"}
    return " ".join((kind, *(f"({remark})" for remark in sorted(map(str, remarks)))))


def _conditions(node: Mapping[str, Any]) -> Iterator[str]:
    for name in _CONDITIONS:
        if name in node:
            text = node[name] if isinstance(node[name], str) else ", ".join(node[name])
            yield f"{name}: {text if len(text) <= _LONG else text[:_LONG] + '…'}"


def _walk(node: Mapping[str, Any], depth: int) -> Iterator[tuple[int, Mapping[str, Any]]]:
    yield depth, node
    for child in node.get("Plans", ()):
        yield from _walk(child, depth + 1)


def _shape(node: Mapping[str, Any]) -> Any:
    return tuple(node.get(name) for name in _SHAPE), tuple(_shape(child) for child in node.get("Plans", ()))


def _where(cells: Sequence[tuple[str, int]], every: Sequence[int]) -> str:
    """Describe calls, as in `generic; custom at 64 to 4,096`."""
    sizes = {kind: [size for other, size in cells if other == kind] for kind, _ in cells}
    ranges = {kind: _ranges(at, every) for kind, at in sizes.items()}
    if len(set(ranges.values())) == 1:
        return " and ".join(ranges) + next(iter(ranges.values()))
    return "; ".join(f"{kind}{at}" for kind, at in ranges.items())


def _ranges(sizes: Sequence[int], every: Sequence[int]) -> str:
    if len(sizes) == len(every):
        return ""
    places = [every.index(size) for size in sizes]
    runs = [[place for _, place in run] for _, run in groupby(enumerate(places), lambda pair: pair[1] - pair[0])]
    return " at " + ", ".join(
        f"{every[run[0]]:,}" + (f" to {every[run[-1]]:,}" if len(run) > 1 else "") for run in runs
    )
