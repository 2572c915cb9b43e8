"""`dal review`: static pages for the review of queries."""

from __future__ import annotations

import json
import re
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer

from dal.gate.cli.base import base_of
from dal.gate.cli.extras import review_extra
from dal.gate.cli.measure import Large, OwnFixtures, Queries, Schema, exit_on_error, job_of, server_on_demand
from dal.gate.cli.output import say
from dal.gate.cli.project import Files
from dal.gate.cli.servers import Dsn, ServerKind
from dal.gate.errors import InvalidInput
from dal.gate.measure.reports import as_json
from dal.gate.review.base import checkout

Base = Annotated[
    str | None,
    typer.Option(
        "--base",
        metavar="REV",
        help="Compare with this git revision: the changes, and figures before and after. It is measured too.",
    ),
]
Source = Annotated[
    Path | None,
    typer.Option(
        "--from",
        metavar="FILE",
        exists=True,
        dir_okay=False,
        help="Use the JSON of an earlier dal check instead of measuring.",
    ),
]


def review(  # noqa: PLR0913 - options
    *,
    out: Annotated[Path, typer.Option("--out", metavar="DIR", file_okay=False, help="The folder for the pages.")],
    queries: Queries = None,
    schema: Schema = None,
    fixtures: OwnFixtures = None,
    dsn: Dsn = None,
    server: ServerKind = None,
    large: Large = False,
    base: Base = None,
    source: Source = None,
) -> None:
    """Write a page for each query and an overview, for review by a DBA.

    A page shows the statement, its promises with the measured figures, its plans, locks and indexes. The pages are
    static files: they need no server and no script, and load nothing. They replace those of an earlier review, and no
    other files. With --base, they also show the changes since a git revision, and the figures before and after.

    A broken promise does not change the exit status; it is 2 if nothing could be measured.

    Examples: [bold]dal review --out review[/bold], [bold]dal review --out review --base main[/bold],
    [bold]dal check --also json=check.json && dal review --out review --from check.json[/bold]
    """
    with review_extra():
        from dal.gate.review.pages import refuse_replacing, write  # noqa: PLC0415 - needs an extra
    refuse_replacing(out / "index.html")  # Before the measurement, which may take minutes.
    if source and not base and (fixtures or dsn or server or large):
        raise InvalidInput("--from", "cannot be used with --fixtures, --dsn, --server or --large, except with --base")
    files = Files(queries, schema, fixtures)
    document = _read("--from", source) if source else None
    with (
        checkout(base, files.path("queries")) if base else nullcontext() as revision,
        exit_on_error(),
        server_on_demand(dsn, server) as running,
    ):
        document = document or json.loads(as_json(job_of(None, files, large=large).run(running())))
        if revision:
            document["base"] = base_of(revision, document, files, running, large=large)
    say(f"{write(document, out)}: {document['summary']}")


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
