"""Remove stored content from errors, in which PostgreSQL quotes rows and values."""

from __future__ import annotations

import re

import psycopg
from psycopg.pq import DiagnosticField

_QUOTING = (DiagnosticField.MESSAGE_DETAIL, DiagnosticField.CONTEXT, DiagnosticField.INTERNAL_QUERY)
"""Fields that may quote content, such as "Failing row contains (…)" or a line of COPY."""

_WITHHELD = "(withheld: it may quote stored content)"

_OF_ENCODINGS = ("22021", "22P05")
"""SQLSTATEs of data exceptions whose messages quote names of encodings, not values."""

_QUOTED = re.compile(r"[\"'«»„“”「」].*[\"'«»„“”「」]", re.DOTALL)
"""From the first quotation mark to the last: a value may contain some. Messages may be translated."""


def primary_message(error: psycopg.Error) -> str:
    """Return an error's main message, without the value that a data exception (class 22) quotes."""
    message = (error.diag.message_primary or str(error)).strip()
    if (error.sqlstate or "").startswith("22") and error.sqlstate not in _OF_ENCODINGS:
        return _QUOTED.sub('"…"', message)
    return message


def redact(error: BaseException | None) -> None:
    """Remove the parts that may quote content from a driver's error and its causes.

    This changes the error itself, since a copy would have the original as its context. The SQLSTATE, the main message,
    the hint, and the names of tables, columns and constraints remain.
    """
    while error is not None:
        if isinstance(error, psycopg.Error) and error.diag.sqlstate is not None:
            fields = {field: getattr(error.diag, field.name.lower()) for field in DiagnosticField}
            fields |= {field: _WITHHELD for field in _QUOTING if fields[field]}
            message = fields[DiagnosticField.MESSAGE_PRIMARY] = primary_message(error)
            info = {int(field): None if text is None else text.encode() for field, text in fields.items()}
            psycopg.Error.__init__(error, message, info=info)
        error = error.__cause__
