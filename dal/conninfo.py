"""Connection strings."""

from __future__ import annotations

import re

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dal.errors import InvalidInput
from dal.validate import identifier


def with_schema(conninfo: str, schema: str | None) -> str:
    """Check a connection string, and let its connections begin with this schema as their search_path."""
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        # libpq's own message may quote the string, and so a password.
        raise InvalidInput("conninfo", "is not a connection string; use postgresql://user@host/database") from None
    if schema is None:
        return conninfo
    name = '"' + identifier("schema", schema).replace('"', '""') + '"'
    setting = "-c search_path=" + re.sub(r"([\\\s])", r"\\\1", name)
    return make_conninfo(conninfo, options=" ".join(filter(None, (str(given.get("options") or ""), setting))))
