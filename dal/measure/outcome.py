"""What the gate found, for people and for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from dal.measure.cost import most
from dal.measure.growth import fit
from dal.measure.header import name_of
from dal.measure.judge import Verdict, in_trips, judge, values_of
from dal.measure.measured import Curve, Measured
from dal.measure.promises import METRICS, Promises


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts, and what they rest on."""

    server: str
    schema: str
    """The text of what made the tables."""
    measured: Sequence[Measured]
    verdicts: Sequence[Verdict]

    @property
    def broken(self) -> list[Verdict]:
        """The promises that are not kept."""
        return [verdict for verdict in self.verdicts if not verdict.kept]

    @property
    def summary(self) -> str:
        """The outcome in a line."""
        queries = len({verdict.query for verdict in self.verdicts})
        kept = len(self.verdicts) - len(self.broken)
        return f"{kept} of {len(self.verdicts)} promises of {queries} queries are kept on {self.server}"


def make(server: str, schema: str, measured: Sequence[Measured]) -> Report:
    """Judge what was measured."""
    return Report(server, schema, measured, [verdict for one in measured for verdict in judge(one)])


def as_json(report: Report) -> str:
    """Everything: verdicts, curves, plans and locks. Paths are relative to the working directory."""
    document = {
        "server": report.server,
        "summary": report.summary,
        "schema": report.schema,
        "queries": [_query(one, report) for one in report.measured],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _query(one: Measured, report: Report) -> dict[str, Any]:
    path, name = one.subject.path, one.subject.name
    line, source = sections(path.read_text(encoding="utf-8"))[name.rpartition(".")[2]]
    return {
        "name": name,
        "file": _relative(path),
        "line": line,
        "source": source,
        "sql": one.subject.text,
        "round_trips": one.round_trips,
        "promises": told(one.subject.promises),
        "locks": {"promised": one.subject.promises.locks, "taken": dict(sorted(one.locks.items()))},
        "rows": {
            "promised": {rows.table: {"number": rows.number, "each": rows.each} for rows in one.subject.promises.rows},
            "locked": one.rows,
        },
        "never": [{"node": never.node, "table": never.table} for never in one.subject.promises.never],
        "bounds": [*_bounds(one, held=False), *_bounds(one, held=True)],
        "curves": _curves(one.curves),
        "held_snapshot": _curves(one.held),
        "plans": {
            axis: {size: {kind: plan.tree for kind, plan in plans.items()} for size, plans in sizes.items()}
            for axis, sizes in one.plans.items()
        },
        "verdicts": [_verdict(verdict) for verdict in report.verdicts if verdict.query == name],
    }


def as_junit(report: Report) -> str:
    """JUnit XML: a suite for each query, a case for each promise."""
    suites = ET.Element(
        "testsuites", name="dal check", tests=str(len(report.verdicts)), failures=str(len(report.broken))
    )
    for query in dict.fromkeys(verdict.query for verdict in report.verdicts):
        cases = [verdict for verdict in report.verdicts if verdict.query == query]
        failures = sum(not verdict.kept for verdict in cases)
        suite = ET.SubElement(suites, "testsuite", name=query, tests=str(len(cases)), failures=str(failures))
        for verdict in cases:
            case = ET.SubElement(
                suite,
                "testcase",
                classname=query,
                name=verdict.promised,
                file=_relative(verdict.path),
                line=str(verdict.line),
            )
            if not verdict.kept:
                ET.SubElement(case, "failure", message=f"measured {verdict.measured}").text = where(verdict)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


def as_github(report: Report) -> str:
    """GitHub's annotations: an error at the line of each promise that is broken, and a notice with the outcome."""
    errors = [
        f"::error file={_escape(_relative(v.path), ',:')},line={v.line},"
        f"title={_escape(f'{v.query} breaks a promise', ',:')}"
        f"::{_escape(f'promised {v.promised}; measured {v.measured}')}"
        for v in report.broken
    ]
    return "\n".join([*errors, f"::notice title=dal check::{_escape(report.summary)}"])


def as_markdown(report: Report) -> str:
    """A summary for a pull request: what is broken first, everything else folded."""
    rows = [
        f"| {v.query} | {v.promised} | {v.measured} | {'kept' if v.kept else '**broken**'} |" for v in report.verdicts
    ]
    head = "| query | promised | measured | |\n|---|---|---|---|\n"
    broken = [row for row, verdict in zip(rows, report.verdicts, strict=True) if not verdict.kept]
    parts = [f"### {'❌' if broken else '✅'} {report.summary}"]
    if broken:
        parts.append(head + "\n".join(broken))
    parts.append(f"<details><summary>All promises</summary>\n\n{head}" + "\n".join(rows) + "\n\n</details>")
    return "\n\n".join(parts)


def where(verdict: Verdict) -> str:
    """A broken promise, as a line that editors and terminals can follow."""
    told = f"{verdict.query}: promised {verdict.promised}; measured {verdict.measured}"
    return f"{_relative(verdict.path)}:{verdict.line}: {told}"


def sections(text: str) -> dict[str, tuple[int, str]]:
    """The queries of a file by name, each with its header: the number of its first line, and the text."""
    lines = text.splitlines()
    starts = [(n, name) for n, line in enumerate(lines) if (name := name_of(line))]
    ends = [n for n, _ in starts[1:]] + [len(lines)]
    return {
        name: (start + 1, "\n".join(lines[start:end]).rstrip()) for (start, name), end in zip(starts, ends, strict=True)
    }


def told(promises: Promises) -> list[str]:
    """What a file promises, each promise in words."""
    return [
        in_trips(promises.round_trips),
        *map(str, promises.bounds),
        *map(str, promises.caps),
        *(["HOT"] if promises.hot else []),
        *(f"held snapshot: {bound}" for bound in promises.held),
        *(f"{mode} on {table}" for table, mode in promises.locks.items()),
        *map(str, promises.rows),
        *(f"never {never}" for never in promises.never),
    ]


def _bounds(one: Measured, *, held: bool) -> Iterator[dict[str, Any]]:
    """What grows, as promised and as measured."""
    curves = one.held if held else one.curves
    for bound in one.subject.promises.held if held else one.subject.promises.bounds:
        values = values_of(bound, curves[bound.axis]).values()
        yield {
            "promise": f"held snapshot: {bound}" if held else str(bound),
            "metric": bound.metric,
            "figure": METRICS[bound.metric],
            "axis": bound.axis,
            "held_snapshot": held,
            "promised": str(bound.growth),
            "measured": str(max(fit(one).growth for one in values)),
            "at_most": bound.divisor,
        }


def _curves(curves: dict[str, Curve]) -> dict[str, dict[int, dict[str, Any]]]:
    """With the worse of both plans, figure by figure."""
    return {
        axis: {
            size: {
                "buffers": cost.buffers,
                "buffers_of": dict(cost.buffers_of),
                "rows_read": cost.rows_read,
                "rows_written": cost.rows_written,
                "updates": cost.updates,
                "hot_share": cost.hot_share,
                "wal_records": cost.wal_records,
                "wal_bytes": cost.wal_bytes,
                "temporary_bytes": cost.temporary_bytes,
            }
            for size, cost in ((size, most(costs.values())) for size, costs in curve.items())
        }
        for axis, curve in curves.items()
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "line": verdict.line,
        "promised": verdict.promised,
        "measured": verdict.measured,
        "kept": verdict.kept,
    }


def _relative(path: Path) -> str:
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def _escape(text: str, also: str = "") -> str:
    """As GitHub's workflow commands want it."""
    for character in f"%\r\n{also}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
