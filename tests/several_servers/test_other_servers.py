"""PostgreSQL 14, which is refused, and 17, which no other test runs on."""

import psycopg
import pytest
from npm_server import npm_server
from program import assert_fails, run

import dal
from dal.schema import drift
from dal.sql import SCHEMA

TOO_OLD = r"session-dal needs PostgreSQL 15 or later, and this server is 14\."


@pytest.fixture(scope="module")
def postgresql_14():
    with npm_server(14) as conninfo:
        yield conninfo


@pytest.mark.parametrize("pooled", [True, False])
def test_a_store_refuses_postgresql_14(side, postgresql_14, pooled):
    raw = side.connect(postgresql_14, autocommit=True)
    store = side.connect_store(postgresql_14, schema="agents") if pooled else side.store(raw)
    with store:
        for attempt in (
            lambda: store.session("s").append("user", "x"),
            lambda: store.sessions(),
            lambda: list(store.session("s").stream()),
            store.check_schema,
            store.apply_schema,
        ):
            with pytest.raises(dal.SchemaMismatch, match=TOO_OLD):
                attempt()
    raw.close()


def test_the_schema_file_refuses_postgresql_14(postgresql_14):
    with psycopg.connect(postgresql_14, autocommit=True) as connection:
        with pytest.raises(psycopg.errors.FeatureNotSupported, match=TOO_OLD):
            connection.execute(SCHEMA.read_bytes())
        assert connection.execute("SELECT to_regclass('sessions')").fetchone() == (None,)


@pytest.mark.parametrize("command", ["apply", "check"])
def test_the_command_line_refuses_postgresql_14(postgresql_14, command):
    done = run("schema", command, "--dsn", postgresql_14)
    assert_fails(done, "needs PostgreSQL 15 or later, and this server is 14.", status=1)


def test_postgresql_17_has_the_expected_schema():
    with npm_server(17) as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
        store = dal.SessionStore(connection)
        store.apply_schema()
        store.check_schema()
        assert drift.notes(dal.queries.schema.check(connection)) == []
        assert store.session("s").append("user", "x").sequence == 0
