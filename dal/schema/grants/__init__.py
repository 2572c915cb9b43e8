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

_EXECUTE = sql.SQL("GRANT EXECUTE ON FUNCTION {schema}.{function} TO {role};\n")
"""For each function of the distributed layout. It runs with the privileges of the caller."""

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
    templates = [_FOLDER / f"{name}.template" for name, is_wanted in wanted.items() if is_wanted]
    text: Any = "".join(template.read_text(encoding="utf-8") for template in templates)
    names = {"schema": sql.Identifier(schema), "role": sql.Identifier(role)}
    ours = [sql.Identifier(name) for name in found if name in functions()]
    return sql.Composed(
        [sql.SQL(text).format(**names), *(_EXECUTE.format(**names, function=function) for function in ours)]
    )
