"""The tests of the behaviour once more, with every connection through a PgBouncer in transaction mode."""

import inspect
from dataclasses import replace

import bouncer
import psycopg
import pytest
import test_agent_ids
import test_append
import test_concurrency
import test_input
import test_read
import test_sessions
import test_transactions
from psycopg import sql
from ulid import ULID

import dal

MODULES = (test_transactions, test_agent_ids, test_append, test_concurrency, test_input, test_read, test_sessions)

ELSEWHERE = {
    "test_a_connection_string_is_refused_without_quoting_it": "sends nothing",
    "test_a_deadline_of_the_server_is_told_as_such": "sets what outlasts a transaction, and would be another client's",
    "test_a_read_waits_for_nobody": "as the one before",
    "test_delete_idle_passes_over_a_session_that_is_being_written_to": "as the one before",
    "test_a_store_with_its_own_pool_cannot_be_used_after_closing": "connects with a schema, and so with options",
    "test_a_thousand_appends_are_a_thousand_statements": "connects with options",
    "test_an_exhausted_pool_says_so": "connects with a schema, and so with options",
    "test_errors_survive_pickling": "sends nothing",
    "test_refused_by_name_and_nothing_sent": "sends nothing",
}
"""What is left out here, and why."""

SETTINGS = {"pgbouncer": True, "prepare_threshold": None}
"""The options that docs/guides/pgbouncer.md recommends."""


@pytest.fixture(scope="module")
def schema(started_server):
    """One for all, with the tables, which each test finds empty."""
    name = f"test_{ULID()}".lower()
    with psycopg.connect(started_server.conninfo, autocommit=True, options=f"-c search_path={name}") as connection:
        dal.SessionStore(connection).apply_schema()
        yield name
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture(scope="module")
def server(started_server, schema):
    """The server behind a PgBouncer, which leads to that schema."""
    with bouncer.through_pgbouncer(started_server, schema, pool_size=12) as port:
        yield replace(started_server, conninfo=f"postgresql://service@127.0.0.1:{port}/sessions?sslmode=disable")


@pytest.fixture
def tables(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("DELETE FROM sessions")


@pytest.fixture
def options():
    return {"autocommit": True, "prepare_threshold": None}


@pytest.fixture
def store(side, server, tables):
    with side.connect_store(server.conninfo, **SETTINGS) as store:
        yield store


def once_more():
    """The tests of the modules, and the fixtures that they have of their own, by name."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            is_test = name.startswith("test_") and inspect.isfunction(value)
            if (is_test and name not in ELSEWHERE) or isinstance(value, type(store)):
                assert found.setdefault(name, value) is value or name == "raw", f"{name} stands twice"
    return found


globals().update(once_more())


def test_what_is_left_out_is_there():
    assert set(ELSEWHERE) <= {name for module in MODULES for name in vars(module)}
