"""Write the pages from the JSON that `dal check` writes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from markupsafe import Markup

from dal.gate.errors import FileRefused
from dal.gate.header.promises import Never
from dal.gate.measure.judge import Outcome
from dal.gate.review.charts import chart, sparkline
from dal.gate.review.plans import distinct_plans, relations_of
from dal.gate.review.render import render
from dal.gate.review.sql import difference, highlighted, purpose

_MARK = Markup('<meta name="generator" content="dal review">')
"""Marks our pages, so that the page of a removed query can be deleted."""

_FIGURES = {
    "buffers": "Buffers",
    "rows_read": "Rows read",
    "rows_written": "Rows written",
    "hot_share": "HOT updates",
    "wal_records": "WAL records",
    "wal_bytes": "WAL bytes",
    "temporary_bytes": "Temporary bytes",
}


def write(document: Mapping[str, Any], folder: Path) -> Path:
    """Write the pages into a folder, and return the path of the index."""
    base = _with_schema_lines(document) if "base" in document else None
    queries = [_query(query, base) for query in document["queries"]]
    shared = {"server": document["server"], "summary": document["summary"], "base": base, "mark": _MARK}
    shared["context"] = document.get("context")
    pages = {
        "index.html": render("index.html", shared, queries=queries, changed=_changed(queries), removed=_removed(base)),
        "glossary.html": render("glossary.html", shared),
        "schema.html": render("schema.html", shared, text=highlighted(document["schema"].rstrip(), 1)),
    }
    neighbours = zip([None, *queries], queries, [*queries[1:], None], strict=False)
    for before, query, after in neighbours:
        pages[f"queries/{query['name']}.html"] = render("query.html", shared, query=query, before=before, after=after)
    refuse_replacing(*(folder / name for name in pages))
    (folder / "queries").mkdir(parents=True, exist_ok=True)
    _remove_others(folder / "queries", {Path(page).name for page in pages})
    for name, text in pages.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder / "index.html"


def refuse_replacing(*paths: Path) -> None:
    """Raise FileRefused if one of these pages would replace a file that is not a page of an earlier review."""
    for path in paths:
        if path.exists() and not _is_page(path):
            raise FileRefused(f"{path} exists already, and is not a page of dal review; choose another folder")


def _remove_others(folder: Path, written: set[str]) -> None:
    for path in folder.glob("*.html"):
        if path.name not in written and _is_page(path):
            path.unlink()


def _is_page(path: Path) -> bool:
    return _MARK in path.read_text(encoding="utf-8", errors="replace")


def _query(query: Mapping[str, Any], base: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the template values of a query."""
    first, rest = purpose(query["source"])
    never = [Never(one["node"], one["table"], 0, frozenset(one["small"])) for one in query["never"]]
    curves = [_curve(query, bound) for bound in query["bounds"]]
    return {
        **query,
        "first": first,
        "rest": rest,
        "text": _text(query),
        "failures": [
            verdict for verdict in query["verdicts"] if verdict["outcome"] not in {Outcome.KEPT, Outcome.ELSEWHERE}
        ],
        "growth": curves,
        "overview": [curve for curve in curves if curve["metric"] == "buffers"],
        "distinct_plans": {axis: distinct_plans(sizes, never) for axis, sizes in query["plans"].items()},
        "relations": list(_relations(query)),
        "axes": list(query["curves"]),
        "tables": sorted({*query["locks"]["taken"], *query["locks"]["promised"], *query["rows"]["promised"]}),
        "figures": list(_figures(query)),
        "change": _change(query, base) if base else None,
        "compared": _compared(query, base["figures"].get(query["name"])) if base else None,
    }


def _text(query: Mapping[str, Any]) -> Markup:
    return highlighted(query["source"], query["line"])


def _curve(query: Mapping[str, Any], bound: Mapping[str, Any]) -> dict[str, Any]:
    sizes = query["held_snapshot" if bound["held_snapshot"] else "curves"][bound["axis"]]
    values = {int(size): float(cost[bound["figure"]]) for size, cost in sizes.items()}
    verdict = next(verdict for verdict in query["verdicts"] if verdict["promised"] == bound["promise"])
    return {
        **bound,
        "outcome": verdict["outcome"],
        "values": values,
        "least": values[min(values)],
        "most": values[max(values)],
        "chart": chart(bound, values, f"{bound['promise']}: measured {verdict['measured']}"),
        "sparkline": sparkline(values),
    }


def _relations(query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield every touched table and index, with its use in the plans and its buffers at both ends of each axis."""
    used: dict[str, dict[str, set[str]]] = {}
    for sizes in query["plans"].values():
        for relation, node, kind in relations_of(sizes):
            used.setdefault(relation, {}).setdefault(node, set()).add(kind)
    touched = {name for sizes in query["curves"].values() for cost in sizes.values() for name in cost["buffers_of"]}
    tables = {*query["locks"]["taken"]} | {*query["locks"]["promised"]}
    for name in sorted(touched | used.keys(), key=lambda name: (name not in tables, name)):
        yield {
            "name": name,
            "is_table": name in tables,
            "used": {node: " and ".join(sorted(kinds)) for node, kinds in used.get(name, {}).items()},
            "buffers": [
                [sizes[size]["buffers_of"].get(name, 0) for size in (min(sizes, key=int), max(sizes, key=int))]
                for sizes in query["curves"].values()
            ],
        }


def _figures(query: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield a table of figures by size for each axis, without figures that are always 0."""
    for held in (False, True):
        for axis, sizes in query["held_snapshot" if held else "curves"].items():
            yield {
                "axis": axis,
                "held_snapshot": held,
                "sizes": [int(size) for size in sizes],
                "rows": [
                    (label, [_text_of(figure, cost[figure]) for cost in sizes.values()])
                    for figure, label in _FIGURES.items()
                    if any(cost["updates" if figure == "hot_share" else figure] for cost in sizes.values())
                ],
            }


def _compared(query: Mapping[str, Any], before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return the figures that differ from the base revision, or the reason why there are none; None if not measured."""
    if before is None:
        return None
    if reason := before.get("not_measured"):
        return {"reason": reason, "rows": [], "buffers": []}
    points = list(_common_points(before["curves"], query["curves"]))
    reason = None if points else f"it promised growth in {', '.join(before['curves'])} there"
    rows = [row for point in points for row in _differences(*point)]
    return {"reason": reason, "rows": rows, "buffers": [row for row in rows if row["label"] == _FIGURES["buffers"]]}


_Point = tuple[str, str, Mapping[str, Any], Mapping[str, Any]]
"""An axis, a size, and the costs before and after."""


def _common_points(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[_Point]:
    """Yield the largest size of each axis at which both revisions were measured."""
    for axis in (axis for axis in after if axis in before):
        if sizes := after[axis].keys() & before[axis].keys():
            size = max(sizes, key=int)
            yield axis, size, before[axis][size], after[axis][size]


def _differences(axis: str, size: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for figure, label in _FIGURES.items():
        if before[figure] != after[figure]:
            texts = {"before": _text_of(figure, before[figure]), "after": _text_of(figure, after[figure])}
            yield {"label": label, "axis": axis, "size": int(size), **texts}


def _text_of(figure: str, value: float | None) -> str:
    if value is None:
        return "-"  # Not measured.
    return f"{value:.0%}" if figure == "hot_share" else f"{value:,.0f}"


def _change(query: Mapping[str, Any], base: Mapping[str, Any]) -> dict[str, Any]:
    """Return the difference to the base revision."""
    before = base["queries"].get(query["name"])
    if before is None:
        return {"kind": "added", "lines": [], "promised": query["promises"], "withdrawn": []}
    lines = difference(before["source"], query["source"])
    return {
        "kind": "changed" if lines else "unchanged",
        "lines": lines,
        "promised": [promise for promise in query["promises"] if promise not in before["promises"]],
        "withdrawn": [promise for promise in before["promises"] if promise not in query["promises"]],
    }


def _with_schema_lines(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return the base revision with the changed lines of the schema."""
    base: Mapping[str, Any] = document["base"]
    then, now = base["schema"], document["schema"]
    return {**base, "schema_lines": difference(now if then is None else then, now)}


def _changed(queries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the queries whose text or buffers differ from the base revision."""
    return [
        query
        for query in queries
        if (query["change"] and query["change"]["kind"] != "unchanged")
        or (query["compared"] and query["compared"]["buffers"])
    ]


def _removed(base: Mapping[str, Any] | None) -> Sequence[dict[str, Any]]:
    removed = base["removed"] if base else {}
    return [
        {"name": name, "first": purpose(then["source"])[0], "line": then["line"], "text": _text(then)}
        for name, then in removed.items()
    ]
