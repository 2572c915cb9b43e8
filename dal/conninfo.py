"""Connection strings."""

from __future__ import annotations

import re
from contextlib import suppress
from math import ceil

import psycopg
from psycopg.abc import ConnDict
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from dal.errors import InvalidInput
from dal.validate import identifier


def with_schema(conninfo: str, schema: str | None) -> str:
    """Check a connection string, and make its connections begin with this schema alone on their search_path."""
    given = _parse(conninfo)
    if schema is None:
        return conninfo
    name = '"' + identifier("schema", schema).replace('"', '""') + '"'
    setting = "-c search_path=" + re.sub(r"([\\\s])", r"\\\1", name)
    return make_conninfo(conninfo, options=" ".join(filter(None, (str(given.get("options") or ""), setting))))


def with_timeout(conninfo: str, seconds: float) -> str:
    """Bound how long connecting may take, unless the string says so itself; libpq's own default is forever."""
    if "connect_timeout" in _parse(conninfo):
        return conninfo
    return make_conninfo(conninfo, connect_timeout=max(2, ceil(seconds)))


def for_pool(conninfo: str, *, schema: str | None, timeout: float, pgbouncer: bool) -> str:
    """The connection string of a store's own pool, whose operations take no longer than `timeout` seconds."""
    if pgbouncer and schema is not None:
        raise InvalidInput(
            "schema", "cannot be sent through PgBouncer; give the search_path to the role, or to the database's entry"
        )
    bounded = with_timeout(with_schema(conninfo, schema), timeout)
    options = str(_parse(bounded).get("options") or "")
    if pgbouncer or "statement_timeout" in options:
        return bounded
    return make_conninfo(bounded, options=f"{options} -c statement_timeout={ceil(timeout * 1000)}".strip())


def _parse(conninfo: str) -> ConnDict:
    with suppress(psycopg.ProgrammingError):
        parsed = conninfo_to_dict(conninfo)
        # A password with a / that is not written as %2F ends up as the port, which libpq would tell.
        if all(port.isdecimal() or not port for port in str(parsed.get("port") or "").split(",")):
            return parsed
    # Not in the error's context either: libpq's message may quote the string, and so a password.
    raise InvalidInput(
        "conninfo",
        "is not a connection string; use postgresql://user@host/database, with a password's signs as %2F and so on",
    )
