"""The date, the commit and the settings of a measurement."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psycopg

from dal.gate.git import commit_of
from dal.gate.measure.sql import statements


@dataclass(frozen=True, slots=True)
class Context:
    """The date, the commit of the queries and the server's settings."""

    date: str
    commit: str | None
    settings: dict[str, str]


def context_of(connection: psycopg.Connection[Any], queries: Path) -> Context:
    """Return the context of a measurement that ends now."""
    settings = dict(statements.settings(connection))
    return Context(datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"), commit_of(queries), settings)
