"""The distributed layout: the files that `dal schema apply --distributed` runs on a Citus cluster."""

from __future__ import annotations

from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import psycopg

from dal.sql import DISTRIBUTED, SCHEMA

SETTINGS = DISTRIBUTED / "settings.sql"
"""The file that sets the number of shards, and `on` if the tables may already hold sessions: its two parameters."""

FREE_SPACE = DISTRIBUTED / "free_space.sql"
"""The file to run after the transaction that distributed tables with sessions."""

LIMITS = DISTRIBUTED / "limits.sql"
"""The file to run first in a transaction that changes the tables while services write."""

RANGES = DISTRIBUTED / "ranges.sql"
"""The query that lists the ranges of hashes that the shards hold."""

STATISTICS = DISTRIBUTED / "statistics.sql"
"""The file to run after the transaction that distributes the tables."""


def files(*, with_tables: bool = True) -> list[Path]:
    """List the files to run in one transaction, in order; without schema.sql if the tables are distributed already."""
    functions = sorted((DISTRIBUTED / "functions").glob("*.sql"))
    return [*([SCHEMA] if with_tables else []), DISTRIBUTED / "tables.sql", *functions, DISTRIBUTED / "delegate.sql"]


def script(*, with_tables: bool = True) -> bytes:
    """Return the text of these files."""
    return b"\n".join(path.read_bytes() for path in files(with_tables=with_tables))


@cache
def functions() -> dict[str, str]:
    """Return the name of each function, and the hash of its body as check.sql computes it."""
    found = {}
    for path in sorted((DISTRIBUTED / "functions").glob("*.sql")):
        body = path.read_text(encoding="utf-8").split("$$")[1]
        found[f"dal_{path.stem}"] = sha256(body.encode()).hexdigest()
    return found


def warnings(connection: psycopg.Connection[Any]) -> list[str]:
    """Return warnings about settings of the cluster with which it can lose messages."""
    found = connection.execute((DISTRIBUTED / "nodes.sql").read_bytes()).fetchall()
    return [
        f"synchronous_commit is off on node {node}: moving a shard can lose acknowledged messages; set it to on"
        for (node,) in found
    ]
