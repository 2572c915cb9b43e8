"""Connection strings."""

from __future__ import annotations

import re
from math import ceil

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dal.errors import InvalidInput
from dal.validate import identifier


def prepare(conninfo: str, *, schema: str | None, timeout: float) -> str:
    """Check a connection string; put the schema on its search_path, and the timeout on connecting."""
    try:
        given = conninfo_to_dict(conninfo)
    except psycopg.ProgrammingError:
        # libpq's own message may quote the string, and so a password.
        raise InvalidInput("conninfo", "is not a connection string; use postgresql://user@host/database") from None
    added: dict[str, str | int] = {}
    if "connect_timeout" not in given:
        added["connect_timeout"] = max(2, ceil(timeout))
    if schema is not None:
        name = '"' + identifier("schema", schema).replace('"', '""') + '"'
        setting = "-c search_path=" + re.sub(r"([\\\s])", r"\\\1", name)
        added["options"] = " ".join(filter(None, (str(given.get("options") or ""), setting)))
    return make_conninfo(conninfo, **added)
