"""Conventions of the query files."""

import re
from contextlib import suppress

import psycopg
import pytest

import dal
from dal.gate.header.reader import read
from dal.sql import QUERIES, SCHEMA

FILES = sorted(QUERIES.rglob("*.sql"))
IDS = [f"{path.parent.name}.{path.stem}" for path in FILES]
WORDS = ["One statement", "Index", "Rows locked", "Promises", "Held snapshot"]
WORDS += ["Remote commands", "Locks", "Never", "Repeat", "Returns"]
OPTIONAL = {"Held snapshot", "Remote commands"}


def header_of(path):
    return read(path.read_text(encoding="utf-8"))[path.stem]


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_the_header_is_complete(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    header = [line for line in lines if line.startswith("--")]
    assert lines[: len(header)] == header, "comments must be at the top, where the loader expects them"
    assert re.fullmatch(rf"-- name: {path.stem}\([a-z_, ]*\)\^?", header[0])
    assert re.match(r"-- [A-Z].*[^:]$", header[1]), "the purpose comes first"
    found = {entry.word: entry.text for entry in header_of(path).entries if entry.word}
    assert list(found) == [word for word in WORDS if word in found or word not in OPTIONAL]
    assert re.match(r"\w+; .*no row", found["Returns"]), "the meaning of an empty result"


@pytest.mark.parametrize("path", FILES, ids=IDS)
def test_every_parameter_is_cast_and_no_name_is_qualified(path):
    text = path.read_text(encoding="utf-8")
    sql = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    assert re.findall(r"(?<!:):[a-z]\w*(?!::|\w)", sql) == []
    assert not re.search(r"\b(public|agents)\.", sql)
    assert sql.rstrip().endswith(";")
    assert sql.count(";") == 1


@pytest.mark.parametrize("name", list(dal.queries))
def test_indexes_named_in_a_header_exist(name):
    schema = SCHEMA.read_text(encoding="utf-8")
    named = header_of(dal.queries[name].path).text_of("Index")
    for index in re.findall(r"\b\w+_(?:pkey|key|by_\w+|listed\w*)\b", named):
        assert index in schema or index == "dal_schema_pkey"


@pytest.mark.parametrize("name", list(dal.queries))
def test_a_query_runs_with_null_parameters(name, connection):
    text = dal.queries[name].path.read_text(encoding="utf-8")
    parameters = dal.queries[name].parameters
    filled = re.sub(r"(?<!:):(\w+)", lambda found: "NULL" if found[1] in parameters else found[0], text)
    with suppress(psycopg.errors.NotNullViolation):  # NULL may reach a NOT NULL column.
        connection.execute(filled.encode())


@pytest.mark.parametrize("name", list(dal.queries))
def test_the_driver_knows_the_type_of_every_column(connection, sync_store, name):
    """The driver knows no arrays of a domain, so array_agg(s.session_id) needs a cast."""
    wire = connection.pgconn
    assert wire.prepare(b"", dal.queries[name].sql).status == psycopg.pq.ExecStatus.COMMAND_OK, wire.error_message
    described = wire.describe_prepared(b"")
    types = [described.ftype(n) for n in range(described.nfields)]
    assert types
    assert all(connection.adapters.types.get(oid) for oid in types), types
