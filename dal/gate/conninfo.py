"""Connection strings. No error quotes one, since it may contain a password."""

from __future__ import annotations

from contextlib import suppress

import psycopg
from psycopg.abc import ConnDict
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.pq import Conninfo

from dal.gate.errors import InvalidInput


def check(conninfo: str) -> str:
    """Return a connection string unchanged; raise InvalidInput if libpq cannot parse it."""
    _parse(conninfo)
    return conninfo


def with_schema(conninfo: str, schema: str) -> str:
    """Return a connection string whose connections have only this schema on their search_path."""
    options = (_settings(conninfo).get("options"), f"-c search_path={schema},pg_temp")
    return make_conninfo(conninfo, options=" ".join(filter(None, options)))


def with_timeout(conninfo: str, seconds: int) -> str:
    """Return a connection string with a connect_timeout, unless it or the environment has one already."""
    return conninfo if "connect_timeout" in _settings(conninfo) else make_conninfo(conninfo, connect_timeout=seconds)


def _settings(conninfo: str) -> dict[str, str]:
    """Return the parameters of a connection string, with libpq's defaults from the environment."""
    defaults = {one.keyword.decode(): one.val.decode() for one in Conninfo.get_defaults() if one.val}
    return defaults | {name: str(value) for name, value in _parse(conninfo).items() if value}


def _parse(conninfo: str) -> ConnDict:
    with suppress(psycopg.ProgrammingError):
        parsed = conninfo_to_dict(conninfo)
        # If a password has an unescaped slash, libpq takes a part of it for the port, and would quote it in an error.
        if all(port.isdecimal() or not port for port in str(parsed.get("port") or "").split(",")):
            return parsed
    # Raised outside the block: libpq's own error, which may quote the string, must not become the context.
    raise InvalidInput(
        "conninfo",
        "is not a connection string; write postgresql://user@host/database, with special characters of a password "
        "escaped, as in %2F for a slash",
    )
