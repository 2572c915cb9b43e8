"""The loader and its queries refuse mistakes that aiosql accepts."""

import psycopg
import pytest

import dal
from dal.rows import Deleted
from dal.sql import QUERIES
from dal.sql.loader import QueryFileError, load
from dal.sql.query_headers import HEADERS, QueryHeader

SYNC, ASYNC = type(dal.queries.schema.version), type(dal.async_queries.schema.version)
FILE = "-- name: {name}\n-- Read.\n{sql};\n"


@pytest.fixture
def write(tmp_path, monkeypatch):
    """Write a query file, and load its folder."""
    for name in ("one", "two"):
        monkeypatch.setitem(HEADERS, f"things.{name}", QueryHeader(Deleted, repeatable=True))

    def write(name, sql, *, file=None, kind=SYNC):
        folder = tmp_path / "things"
        folder.mkdir(exist_ok=True)
        path = folder / f"{file or name.partition('(')[0]}.sql"
        path.write_text(FILE.format(name=name, sql=sql), encoding="utf-8")
        return load(tmp_path, kind)

    return write


def test_a_valid_file_is_loaded(write, connection):
    queries = write("one(wanted)^", "SELECT :wanted::int AS session_id, '%' <> ':no' WHERE 5 % 3 = 2")
    assert list(queries) == ["things.one"]
    assert queries["things.one"] is queries.things.one
    assert repr(queries.things.one) == "<query things.one(wanted)>"
    assert queries.things.one.sql.startswith(b"/* dal:things.one */ SELECT $1::int AS session_id")
    queries = write("one(wanted)^", "SELECT :wanted::int AS session_id WHERE 5 % 3 = 2")
    assert queries.things.one(connection, wanted=7).session_id == 7


def test_a_duplicate_name_is_refused(write):
    write("one()", "SELECT 1 AS session_id")
    with pytest.raises(QueryFileError, match=r"query one of .* must be defined once, in one\.sql"):
        write("one()", "SELECT 2 AS session_id", file="other")


def test_two_queries_in_a_file_are_refused(write):
    with pytest.raises(QueryFileError, match=r"query two .* must be defined once, in two\.sql"):
        write(
            "one()",
            "SELECT 1 AS session_id;\n-- name: two()\nSELECT 2",
        )


@pytest.mark.parametrize("operator", ["$", "!", "<!", "*!", "#"])
def test_operators_that_discard_results_are_refused(write, operator):
    with pytest.raises(QueryFileError, match="must be \\^"):
        write(f"one(){operator}", "SELECT 1 AS session_id")


def test_undeclared_and_unused_parameters_are_refused(write):
    with pytest.raises(Exception, match="undeclared parameter"):
        write("one()", "SELECT :wanted::int AS session_id")
    with pytest.raises(Exception, match="unused declared parameter"):
        write("one(wanted)", "SELECT 1 AS session_id")


def test_a_query_without_a_generated_header_is_refused(write):
    with pytest.raises(QueryFileError, match=r"new\.sql: not in dal/sql/query_headers\.py; run `uv run"):
        write("new()", "SELECT 1 AS session_id")


def test_two_rows_are_refused_if_one_is_expected(side, write, server):
    queries = write(
        "two()^", "SELECT n AS session_id FROM generate_series(1, 2) AS n", kind=SYNC if side.name == "sync" else ASYNC
    )
    connection = side.connect(server.conninfo)
    with pytest.raises(QueryFileError, match=r"things\.two returned 2 rows, and at most one is expected"):
        queries.things.two(connection) if side.name == "sync" else side.wrap(queries.things.two(connection.inner))
    connection.close()


def test_missing_and_unknown_arguments_are_refused(side, server):
    connection = side.connect(server.conninfo)
    with pytest.raises(TypeError, match=r"query messages\.get: missing message_id; unknown limit, text"):
        side.queries.messages.get(connection, session_id="s", limit=1, text="")
    connection.close()


@pytest.mark.one_server  # A cluster needs delete_idle.distributed.
def test_a_query_runs_when_called_and_returns_a_list(side, server, options, tables, connection):
    raw = side.connect(server.conninfo, **options)
    side.store(raw).session("s").append("user", "x")
    side.queries.sessions.delete_idle(
        raw, idle_since="infinity", statuses=["active"], passed_over=0, limit=10, message_limit=None, patience=None
    )
    assert connection.execute("SELECT status FROM sessions").fetchall() == [("deleted",)]
    assert side.queries.messages.latest(raw, session_id="s", limit=1) == []
    raw.close()


def test_errors_about_unknown_names_list_the_known_ones():
    with pytest.raises(AttributeError, match="no folder of queries 'message'; there are messages, schema, sessions"):
        _ = dal.queries.message
    with pytest.raises(AttributeError, match="no query 'add'; there are after, annotate, append, append_all"):
        _ = dal.queries.messages.add
    with pytest.raises(KeyError, match=r"no query 'messages\.add'"):
        _ = dal.queries["messages.add"]
    with pytest.raises(KeyError):
        _ = dal.queries["nothing"]


def test_both_sides_have_every_query():
    files = sorted(f"{path.parent.name}.{path.stem}" for path in QUERIES.rglob("*.sql"))
    assert sorted(dal.queries) == sorted(dal.async_queries) == files
    for name in files:
        assert dal.queries[name].sql == dal.async_queries[name].sql


def test_integers_are_sent_as_int8(connection):
    bound = dal.queries.messages.latest.bind({"session_id": "s", "limit": 5})
    row = connection.execute("SELECT pg_typeof(%s)::text", [bound[-1]]).fetchone()
    assert row == ("bigint",)


def test_a_driver_error_keeps_its_kind(connection):
    with pytest.raises(psycopg.errors.InvalidTextRepresentation):
        dal.queries.messages.latest(connection, session_id="s", limit="many")


def test_bound_values_fit_both_forms_of_a_query():
    forms = [(query, query.distributed) for query in map(dal.queries.__getitem__, dal.queries)]
    pairs = [(first, second) for first, second in forms if second is not first]
    assert any(first.names != second.names for first, second in pairs), "the test can tell"
    for first, second in pairs:
        given = {name: f"the {name}" for name in first.names}
        bound = first.bind(given)
        assert second.bind(bound) == second.bind(given), first.name
        assert first.named(bound) == first.named(given) == given


def test_an_owner_may_be_left_out():
    queries = [query for query in map(dal.queries.__getitem__, dal.queries) if "owner" in query.parameters]
    assert any(query.names == ("owner",) for query in queries), "with no other parameter, too"
    for query in queries:
        given = {name: f"the {name}" for name in query.names if name != "owner"}
        assert query.bind(dict(given)) == query.bind({**given, "owner": None}), query.name
