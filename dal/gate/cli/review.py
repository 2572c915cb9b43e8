"""`dal review`: static pages from which the queries can be reviewed."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dal.gate.cli.extra import review_extra
from dal.gate.cli.measuring import Large, OwnFixtures, Queries, Schema, measure
from dal.gate.cli.output import out as told
from dal.gate.cli.project import path_of
from dal.gate.cli.servers import Dsn, ServerKind
from dal.gate.errors import InvalidInput
from dal.gate.measure.outcome import as_json
from dal.gate.review.base import compare


def review(  # noqa: PLR0913 - options
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="Where the pages are written.")],
    queries: Queries = None,
    schema: Schema = None,
    fixtures: OwnFixtures = None,
    dsn: Dsn = None,
    server: ServerKind = None,
    large: Large = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="REV", help="Show what changed since this revision in git.")
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option("--from", metavar="FILE", exists=True, dir_okay=False, help="Take what dal check has measured."),
    ] = None,
) -> None:
    """Write a page for each query, and one with all in a table: what a DBA needs to review them.

    They hold the statement, its promises beside what was measured, its plans, its locks and its indexes. They are
    files that stand alone: no server, no script, nothing loaded from elsewhere. Whether a promise is kept or broken
    does not change the exit status, which is 2 if it could not be measured.

    Examples: [bold]dal review --out review[/bold], [bold]dal review --out review --base main[/bold],
    [bold]dal check --also json=check.json && dal review --out review --from check.json[/bold]
    """
    with review_extra():
        from dal.gate.review.pages import write  # noqa: PLC0415 - needs an extra
    if source:
        if fixtures or dsn or server or large:
            raise InvalidInput("--from", "cannot be used with --fixtures, --dsn, --server or --large")
        document = _read(source)
    else:
        report = measure(None, queries=queries, schema=schema, fixtures=fixtures, dsn=dsn, server=server, large=large)
        document = json.loads(as_json(report))
    if base:
        document["base"] = compare(base, path_of("queries", queries), document["queries"])
    told.print(f"{write(document, out)}: {document['summary']}", soft_wrap=True)


def _read(path: Path) -> Any:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput("--from", f"{path} is no JSON: {error}") from error
    if not isinstance(document, dict) or not {"server", "summary", "schema", "queries"} <= document.keys():
        raise InvalidInput("--from", f"{path} is not what this release's dal check --also json=FILE writes")
    if strange := [query["name"] for query in document["queries"] if not re.fullmatch(r"[\w.]+", query["name"])]:
        raise InvalidInput("--from", f"{strange[0]!r} is no query's name")  # A page is named after it.
    return document
