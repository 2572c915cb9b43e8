"""`dal review`: static pages for the review of queries."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import typer

from dal.gate.cli.extras import review_extra
from dal.gate.cli.measure import Large, OwnFixtures, Queries, Schema, measure
from dal.gate.cli.output import out as console
from dal.gate.cli.project import path_of
from dal.gate.cli.servers import Dsn, ServerKind
from dal.gate.errors import InvalidInput
from dal.gate.measure.reports import as_json
from dal.gate.review.base import compare


def review(  # noqa: PLR0913 - options
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="The folder for the pages.")],
    queries: Queries = None,
    schema: Schema = None,
    fixtures: OwnFixtures = None,
    dsn: Dsn = None,
    server: ServerKind = None,
    large: Large = False,
    base: Annotated[
        str | None, typer.Option("--base", metavar="REV", help="Show the changes since this git revision.")
    ] = None,
    before: Annotated[
        Path | None,
        typer.Option(
            "--before",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Compare with an earlier JSON of dal check.",
        ),
    ] = None,
    source: Annotated[
        Path | None,
        typer.Option(
            "--from",
            metavar="FILE",
            exists=True,
            dir_okay=False,
            help="Use the JSON of an earlier dal check.",
        ),
    ] = None,
) -> None:
    """Write a page for each query and an overview, for review by a DBA.

    A page shows the statement, its promises with the measured figures, its plans, locks and indexes. The pages are
    static files: no server, no script, and nothing is loaded from elsewhere. A broken promise does not change the
    exit status; it is 2 if nothing could be measured.

    Examples: [bold]dal review --out review[/bold], [bold]dal review --out review --base main[/bold],
    [bold]dal check --also json=check.json && dal review --out review --from check.json[/bold]
    """
    with review_extra():
        from dal.gate.review.pages import write  # noqa: PLC0415 - needs an extra
    if source:
        if fixtures or dsn or server or large:
            raise InvalidInput("--from", "cannot be used with --fixtures, --dsn, --server or --large")
        document = _read("--from", source)
    else:
        report = measure(None, queries=queries, schema=schema, fixtures=fixtures, dsn=dsn, server=server, large=large)
        document = json.loads(as_json(report))
    if base:
        document["base"] = compare(base, path_of("queries", queries), document["queries"])
    if before:
        document["before"] = _read("--before", before)["queries"]
    console.print(f"{write(document, out)}: {document['summary']}", soft_wrap=True)


def _read(option: str, path: Path) -> Any:
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InvalidInput(option, f"{path} is not JSON: {error}") from error
    if not isinstance(document, dict) or not {"server", "summary", "schema", "queries"} <= document.keys():
        raise InvalidInput(option, f"{path} is not the output of this release's `dal check --also json=FILE`")
    if invalid := [query["name"] for query in document["queries"] if not re.fullmatch(r"[\w.]+", query["name"])]:
        raise InvalidInput(option, f"{invalid[0]!r} is not a query name")  # It becomes a file name.
    return document
