"""Generate dal/schema/tables.tsv, a description of the tables for the schema check; --check compares the file.

uv run .ci/schema_facts.py [--check]

It applies schema.sql to an embedded server. The file is the same for every supported version of PostgreSQL
(tests/one_server/test_drift.py compares them).
"""

from __future__ import annotations

import sys
from pathlib import Path

import psycopg

from dal import queries
from dal.gate.server import serve
from dal.schema.drift import KINDS
from dal.sql import SCHEMA

ROOT = Path(__file__).parent.parent
TARGET = ROOT / "dal/schema/tables.tsv"


def generate() -> str:
    """Return the file's text: a line for each column, constraint, index and storage parameter."""
    with serve("embedded") as server, psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute(SCHEMA.read_bytes())
        found = queries.schema.check(connection)
    facts = [(one.table_name, one.kind, one.name, one.definition) for one in found if one.kind in KINDS]
    return "".join("\t".join(fact) + "\n" for fact in sorted(facts))


def main() -> int:
    """Write the file, or compare it."""
    wanted = generate()
    if TARGET.exists() and TARGET.read_text(encoding="utf-8") == wanted:
        return 0
    if "--check" in sys.argv[1:]:
        print(f"not current: {TARGET.relative_to(ROOT)}; run `uv run .ci/schema_facts.py`", file=sys.stderr)
        return 1
    TARGET.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
