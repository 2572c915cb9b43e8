"""Measure the queries of another revision, so that the review pages show figures before and after."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from dal.gate.cli.measure import REASONS, Job, job_of
from dal.gate.cli.project import Files
from dal.gate.errors import FixtureError, InvalidInput
from dal.gate.measure.reports import as_json
from dal.gate.review.base import Revision, compare
from dal.gate.server import Server

_Figures = dict[str, dict[str, Any]]
"""By query: its curves, or `not_measured` with the reason why there are none."""


def base_of(
    revision: Revision, document: Mapping[str, Any], files: Files, server: Callable[[], Server], *, large: bool
) -> dict[str, Any]:
    """Return the queries of a revision, and the figures of those that differ from the present ones.

    If the schema differs, so can the figures of every query.
    """
    base = compare(revision, files.path("queries"), document["queries"])
    schema = _text(revision, files, "schema")
    now = {query["name"]: query["source"] for query in document["queries"]}
    has_other_schema = schema not in {None, document["schema"]}
    names = [name for name, then in base["queries"].items() if has_other_schema or then["source"] != now[name]]
    return {
        **base,
        "schema": schema,
        "has_other_fixtures": _has_other_fixtures(revision, files),
        "figures": _figures(revision, names, files, server, large=large) if names else {},
    }


def _text(revision: Revision, files: Files, name: str) -> str | None:
    """Return the text of a file at the revision, or None if it has no such file."""
    try:
        return revision.existing(files.path(name)).read_text(encoding="utf-8")
    except InvalidInput:
        return None


def _has_other_fixtures(revision: Revision, files: Files) -> bool:
    then = _text(revision, files, "fixtures")
    return then is not None and then != files.path("fixtures").read_text(encoding="utf-8")


def _figures(
    revision: Revision, names: Sequence[str], files: Files, server: Callable[[], Server], *, large: bool
) -> _Figures:
    try:
        then = Files(*(revision.existing(files.path(name)) for name in ("queries", "schema", "fixtures")))
        job = job_of(names, then, large=large)
    except REASONS as error:
        return _without_figures(revision, names, error)
    return _run(revision, job, server())


def _run(revision: Revision, job: Job, server: Server) -> _Figures:
    """Measure queries at once or, if the fixtures do not fit one of them, each by itself."""
    try:
        report = job.run(server, f"{revision.name}: ")
    except REASONS as error:
        if not isinstance(error, FixtureError) or len(job.subjects) == 1:
            return _without_figures(revision, [subject.name for subject in job.subjects], error)
        found: _Figures = {}
        for subject in job.subjects:
            found |= _run(revision, replace(job, subjects=[subject]), server)
        return found
    return {query["name"]: _figures_of(query) for query in json.loads(as_json(report))["queries"]}


def _figures_of(query: Mapping[str, Any]) -> dict[str, Any]:
    if query["failure"] is not None:
        return {"not_measured": f"the query failed: {query['failure']}"}
    return {"curves": query["curves"]}


def _without_figures(revision: Revision, names: Sequence[str], error: Exception) -> _Figures:
    reason = revision.without_folder(error).splitlines()[0]
    return {name: {"not_measured": reason} for name in names}
