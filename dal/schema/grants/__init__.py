"""The privileges of the roles that use the tables."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import aiosql
import psycopg
from psycopg import sql

from dal.errors import InvalidInput
from dal.schema.distributed import functions

_FOLDER = Path(__file__).parent

_statements: Any = aiosql.from_path(_FOLDER, "psycopg")


def grants(
    connection: psycopg.Connection[Any],
    role: str,
    *,
    read_only: bool = False,
    annotate: bool = False,
    redact: bool = False,
) -> sql.Composed:
    """Return the SQL that grants a role the privileges that a service, or an analyst, needs on the tables.

    A service can change stored messages only with `annotate` or `redact`.
    """
    if read_only and (annotate or redact):
        raise InvalidInput("read_only", "does not go with annotate or redact, which write")
    schema, is_known, is_owner, found = _statements.role(connection, wanted=role)
    if not is_known:
        raise InvalidInput("role", f"no role is named {role!r}; create it first, as with CREATE ROLE")
    if is_owner:
        raise InvalidInput(
            "role", f"{role!r} owns the tables, or is a superuser or a member of the owner: it needs no grants"
        )
    wanted = {"read_only": read_only, "service": not read_only, "annotate": annotate, "redact": redact}
    tables = "".join(_template(name) for name, is_wanted in wanted.items() if is_wanted)
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
    ours = [sql.Identifier(name) for name in found if name in functions()]
    function = sql.SQL(_template("function"))
    return sql.Composed([sql.SQL(tables).format(**names), *(function.format(**names, function=one) for one in ours)])


def _template(name: str) -> Any:
    """Return the text of a template file, in which the names of the schema, the role and a function are missing."""
    return (_FOLDER / f"{name}.template").read_text(encoding="utf-8")
