"""Rerun behaviour tests of one_server with every connection through a PgBouncer in transaction mode."""

import inspect
from dataclasses import replace

import bouncer
import psycopg
import pytest
import test_agent_ids
import test_annotate
import test_append
import test_concurrency
import test_deletes
import test_input
import test_one_turn
import test_races
import test_read
import test_removing
import test_session_forks
import test_sessions
import test_transactions
import test_trash
from citus_cluster import drop
from ulid import ULID

import dal

MODULES = (
    test_transactions,
    test_agent_ids,
    test_annotate,
    test_append,
    test_concurrency,
    test_deletes,
    test_input,
    test_one_turn,
    test_read,
    test_session_forks,
    test_sessions,
    test_trash,
    test_removing,
    test_races,
)

EXCLUDED = {
    "test_an_invalid_connection_string_is_not_shown": "sends nothing",
    "test_a_statement_timeout_is_reported": "sets parameters that would affect other clients",
    "test_a_read_does_not_wait_for_locks": "sets parameters that would affect other clients",
    "test_delete_idle_skips_a_session_that_is_being_written": "sets parameters that would affect other clients",
    "test_a_store_with_its_own_pool_cannot_be_used_after_closing": "connects with a schema, and so with options",
    "test_each_append_is_one_statement": "connects with options",
    "test_an_exhausted_pool_is_an_error": "connects with a schema, and so with options",
    "test_a_writer_refuses_appends_to_a_deleted_session_only": "connects with a schema, and so with options",
    "test_a_read_only_store_returns_nothing_of_a_deleted_session": "connects with a schema, and so with options",
    "test_an_existing_session_is_never_created": "connects with a schema, and so with options",
    "test_a_temporary_table_does_not_take_a_created_session": "creates a table that other clients would see",
    "test_a_redaction_replaces_what_the_store_sanitizes": "connects with a schema, and so with options",
    "test_a_change_is_made_once_after_a_lost_reply": "connects with a schema, and so with options",
    "test_a_retry_after_a_lost_reply_is_not_overtaken": "connects with a schema, and so with options",
    "test_of_rivals_with_the_same_number_exactly_one_wins": "connects with a schema, and so with options",
    "test_nothing_is_removed_if_a_temporary_table_would_take_it": "creates a temporary table that others would see",
    "test_a_change_is_made_once_although_the_connection_is_lost": "cuts the connection behind a proxy of its own",
    "test_what_was_not_kept_cannot_be_returned_after_a_lost_reply": "cuts the connection behind a proxy of its own",
    "test_a_fork_and_an_append_do_not_wait_for_each_other": "sets parameters that would affect other clients",
    "test_a_deletion_waits_for_a_fork": "sets parameters that would affect other clients",
    "test_a_fork_that_a_temporary_table_hides_is_refused": "creates a table that other clients would see",
    "test_errors_can_be_pickled": "sends nothing",
    "test_invalid_input_is_refused_with_nothing_sent": "sends nothing",
}
"""Tests that are not rerun, and why."""

SETTINGS = {"pgbouncer": True, "prepare_threshold": None}
"""The options that docs/guides/pgbouncer.md recommends."""


@pytest.fixture(scope="module")
def schema(started_server):
    """One schema for all tests, whose tables are emptied before each."""
    name = f"test_{ULID()}".lower()
    with psycopg.connect(started_server.conninfo, autocommit=True, options=f"-c search_path={name}") as connection:
        dal.SessionStore(connection).apply_schema(distributed=started_server.kind == "citus", shards=4)
        yield name
        connection.execute("SET client_min_messages = warning")
        drop(connection, name)


@pytest.fixture(scope="module")
def server(started_server, schema):
    """The server behind a PgBouncer that uses this schema."""
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


def rerun_tests():
    """Return the tests of the modules, and their own fixtures, by name."""
    found = {}
    for module in MODULES:
        for name, value in vars(module).items():
            is_test = name.startswith("test_") and inspect.isfunction(value)
            if (is_test and name not in EXCLUDED) or isinstance(value, type(store)):
                assert found.setdefault(name, value) is value or name == "raw", f"two tests are named {name}"
    return found


globals().update(rerun_tests())


def test_each_excluded_test_exists():
    assert set(EXCLUDED) <= {name for module in MODULES for name in vars(module)}
