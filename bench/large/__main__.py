"""Create a schema, and fill it with realistic data."""

from __future__ import annotations

import time
from argparse import ArgumentParser

import psycopg
from psycopg import sql
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from large import SEED, fill, settle


def main() -> None:
    """Create and fill the schema that the options name."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument("conninfo", help="a test server")
    parser.add_argument("--schema", default="large", help="the schema to create (default: large)")
    parser.add_argument("--messages", type=int, default=10_000_000, help="their number (default: ten million)")
    parser.add_argument("--seed", type=int, default=SEED, help="another seed gives different data of the same kind")
    given = parser.parse_args()
    with psycopg.connect(given.conninfo, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(given.schema)))
        connection.execute("SELECT set_config('search_path', %s, false)", [given.schema])
        columns = (
            TextColumn("messages"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        started = time.perf_counter()
        with Progress(*columns) as bar:
            task = bar.add_task("", total=given.messages)
            filled = fill(
                connection, given.messages, seed=given.seed, report=lambda stored: bar.update(task, completed=stored)
            )
        loaded = time.perf_counter()
        settle(connection)
        print(
            f"{filled.messages:,} messages in {loaded - started:.0f} s, vacuumed and analyzed in "
            f"{time.perf_counter() - loaded:.0f} s; the hour of activity ended at {filled.ended.isoformat()}"
        )


if __name__ == "__main__":
    main()
