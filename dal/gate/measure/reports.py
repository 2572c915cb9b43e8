"""Reports of the verdicts, for people and for machines."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

from dal.gate.header.promises import METRICS, Promises
from dal.gate.header.reader import read
from dal.gate.measure.context import Context
from dal.gate.measure.cost import most
from dal.gate.measure.growth import fit
from dal.gate.measure.judge import Outcome, Verdict, in_trips, judge, slack_of, values_of
from dal.gate.measure.judge_remote import text_of
from dal.gate.measure.measurement import Curve, Measurement


@dataclass(frozen=True, slots=True)
class Report:
    """All verdicts, with their measurements."""

    server: str
    schema: str
    """The text of the schema file."""
    context: Context
    measured: Sequence[Measurement]
    verdicts: Sequence[Verdict]

    def of(self, outcome: Outcome) -> list[Verdict]:
        """Return the verdicts with this outcome."""
        return [verdict for verdict in self.verdicts if verdict.outcome is outcome]

    @property
    def failures(self) -> list[Verdict]:
        """Return the broken promises, then those that were not measured."""
        return [*self.of(Outcome.BROKEN), *self.of(Outcome.NOT_MEASURED)]

    @property
    def summary(self) -> str:
        """Return the result in one line."""
        queries = len({verdict.query for verdict in self.verdicts})
        unmeasured = len(self.of(Outcome.NOT_MEASURED))
        of_queries = f"{queries} {'query' if queries == 1 else 'queries'}"
        elsewhere = len(self.of(Outcome.ELSEWHERE))
        kept = f"{len(self.of(Outcome.KEPT))} of {len(self.verdicts) - elsewhere} promises of {of_queries} are kept"
        result = f"{kept}{f', {unmeasured} were not measured,' if unmeasured else ''} on {self.server}"
        if any(one.is_on_cluster for one in self.measured):
            return f"{result}; the other promises are measured only on one server"
        return f"{result}; {elsewhere} more only on a Citus cluster" if elsewhere else result


def make(server: str, schema: str, context: Context, measured: Sequence[Measurement]) -> Report:
    """Judge the measurements."""
    return Report(server, schema, context, measured, [verdict for one in measured for verdict in judge(one)])


def as_json(report: Report) -> str:
    """Return everything as JSON: verdicts, curves, plans and locks. Paths are relative to the working directory."""
    document = {
        "server": report.server,
        "summary": report.summary,
        "schema": report.schema,
        "context": asdict(report.context),
        "queries": [_query(one, report) for one in report.measured],
    }
    return json.dumps(document, indent=2, ensure_ascii=False)


def _query(one: Measurement, report: Report) -> dict[str, Any]:
    path, name = one.subject.path, one.subject.name
    header = read(path.read_text(encoding="utf-8"))[name.rpartition(".")[2]]
    return {
        "name": name,
        "file": _relative(path),
        "line": header.number,
        "source": header.source,
        "sql": one.subject.text,
        "round_trips": one.round_trips,
        "remote_commands": one.remote,
        "failure": one.failure,
        "promises": descriptions(one.subject.promises),
        "locks": {"promised": one.subject.promises.locks, "taken": dict(sorted(one.locks.items()))},
        "rows": {
            "promised": {rows.table: {"number": rows.number, "each": rows.each} for rows in one.subject.promises.rows},
            "locked": one.rows,
        },
        "never": [
            {"node": never.node, "table": never.table, "small": sorted(never.small)}
            for never in one.subject.promises.never
        ],
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
    """Return JUnit XML: a suite per query, a case per promise. A promise that was not measured is an error."""
    suites = ET.Element("testsuites", {"name": "dal check", **_counts(report.verdicts)})
    for query in dict.fromkeys(verdict.query for verdict in report.verdicts):
        cases = [verdict for verdict in report.verdicts if verdict.query == query]
        suite = ET.SubElement(suites, "testsuite", {"name": query, **_counts(cases)})
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
                kind = _ELEMENTS[verdict.outcome]
                ET.SubElement(case, kind, message=finding(verdict)).text = where(verdict)
    ET.indent(suites)
    return ET.tostring(suites, encoding="unicode", xml_declaration=True)


_ELEMENTS = {Outcome.BROKEN: "failure", Outcome.NOT_MEASURED: "error", Outcome.ELSEWHERE: "skipped"}


def _counts(verdicts: Sequence[Verdict]) -> dict[str, str]:
    outcomes = Counter(verdict.outcome for verdict in verdicts)
    return {
        "tests": str(len(verdicts)),
        "failures": str(outcomes[Outcome.BROKEN]),
        "errors": str(outcomes[Outcome.NOT_MEASURED]),
        "skipped": str(outcomes[Outcome.ELSEWHERE]),
    }


_TITLES = {Outcome.BROKEN: "{} breaks a promise", Outcome.NOT_MEASURED: "a promise of {} was not measured"}


def as_github(report: Report) -> str:
    """Return GitHub annotations: an error for each promise that is not kept, and a notice with the result."""
    errors = [
        f"::error file={_escape(_relative(v.path), ',:')},line={v.line},"
        f"title={_escape(_TITLES[v.outcome].format(v.query), ',:')}"
        f"::{_escape(f'promised {v.promised}; {finding(v)}')}"
        for v in report.failures
    ]
    return "\n".join([*errors, f"::notice title=dal check::{_escape(report.summary)}"])


_SIGNS = {
    Outcome.KEPT: "kept",
    Outcome.BROKEN: "**broken**",
    Outcome.NOT_MEASURED: "**not measured**",
    Outcome.ELSEWHERE: "elsewhere",
}


def as_markdown(report: Report) -> str:
    """Return a summary for a pull request: failures first, the rest folded."""
    head = "| query | promised | measured | |\n|---|---|---|---|\n"
    parts = [f"### {'❌' if report.failures else '✅'} {report.summary}"]
    if report.failures:
        parts.append(head + "\n".join(map(_row, report.failures)))
    every = head + "\n".join(map(_row, report.verdicts))
    parts.append(f"<details><summary>All promises</summary>\n\n{every}\n\n</details>")
    return "\n\n".join(parts)


def _row(verdict: Verdict) -> str:
    cells = (verdict.query, verdict.promised, verdict.measured, _SIGNS[verdict.outcome])
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def finding(verdict: Verdict) -> str:
    """Return the measured figure, or the reason why there is none."""
    said = "measured" if verdict.outcome in {Outcome.KEPT, Outcome.BROKEN} else "not measured:"
    return f"{said} {verdict.measured}"


def where(verdict: Verdict) -> str:
    """Return a verdict in one line, with a file and line that editors can open."""
    text = f"{verdict.query}: promised {verdict.promised}; {finding(verdict)}"
    return f"{_relative(verdict.path)}:{verdict.line}: {text}"


def descriptions(promises: Promises) -> list[str]:
    """Return a description of each promise."""
    return [
        in_trips(promises.round_trips),
        *([text_of(promises)] if promises.remote else []),
        *map(str, promises.bounds),
        *map(str, promises.caps),
        *(["HOT"] if promises.hot else []),
        *(["may match nothing"] if promises.may_match_nothing else []),
        *(f"held snapshot: {bound}" for bound in promises.held),
        *(f"{mode} on {table}" for table, mode in promises.locks.items()),
        *map(str, promises.rows),
        *([str(promises.advisory)] if promises.advisory.number else []),
        *([str(promises.waits)] if promises.waits is not None else []),
        *(f"never {never}" for never in promises.never),
    ]


def _bounds(one: Measurement, *, held: bool) -> Iterator[dict[str, Any]]:
    """Yield each bound with its promised and measured growth."""
    if one.failure is not None or one.is_on_cluster:
        return
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
            "measured": str(max(fit(one, slack_of(bound)).growth for one in values)),
            "at_most": bound.divisor,
            "cap": str(bound.cap) if bound.cap else None,
        }


def _curves(curves: dict[str, Curve]) -> dict[str, dict[int, dict[str, Any]]]:
    """Return the curves. Of the custom and the generic plan, the higher figure counts."""
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
        "outcome": verdict.outcome,
    }


def _relative(path: Path) -> str:
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()


def _escape(text: str, also: str = "") -> str:
    """Escape a text for GitHub's workflow commands."""
    for character in f"%\r\n{also}":
        text = text.replace(character, f"%{ord(character):02X}")
    return text
