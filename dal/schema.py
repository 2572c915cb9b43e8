"""Whether the tables are those of this release."""

from __future__ import annotations

from dal.errors import APPLY, SchemaMismatch
from dal.records import SchemaVersion

VERSION = 2
"""The version of schema.sql that the query files are written for."""


class SchemaCheck:
    """The check of the schema's version, made once for a store and all that are derived from it."""

    __slots__ = ("passed",)

    def __init__(self) -> None:
        self.passed = False

    def compare(self, found: SchemaVersion | None) -> None:
        """Raise SchemaMismatch unless the query files can use this version: their own, or a newer that says so."""
        if found is None:
            raise SchemaMismatch(f"the tables here were never applied whole; {APPLY}", query="schema.version")
        if not found.usable_from <= VERSION <= found.version:
            older = found.version < VERSION
            raise SchemaMismatch(
                f"the tables here are version {found.version}, and this release of session-dal "
                + (
                    f"needs {VERSION}; run `dal schema upgrade`" if older else f"is made for {VERSION}; use a newer one"
                ),
                query="schema.version",
            )
        self.passed = True
