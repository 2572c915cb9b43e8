"""Costs of a single prepared statement: WAL, temporary files, CPU time and sleeps."""

import threading

import psycopg
import pytest

from dal.gate.measure import scratch
from dal.gate.measure.prepared import prepared
from dal.gate.measure.turn import Turns


@pytest.fixture
def connection(server, schema):
    options = {"autocommit": True, "prepare_threshold": None, "options": f"-c search_path={schema}"}
    with psycopg.connect(server.conninfo, **options) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        scratch.create_runner(connection)
        connection.execute("CREATE TABLE entries (entry_id integer PRIMARY KEY, size integer)")
        yield connection


@pytest.fixture
def costs(connection):
    """Return the costs of each execution of a statement."""

    def costs(text, times=1, **values):
        with prepared(connection, text) as statement:
            return Turns(connection).costs(statement, "custom", lambda: values, times)

    return costs


INSERT = "INSERT INTO entries VALUES (%(n)s, 0)"


def test_wal_of_other_sessions_is_excluded(server, costs):
    """Also before PostgreSQL 18, which counts only the WAL of the whole server."""
    (without_neighbour,) = costs(INSERT, n=1)
    stop = threading.Event()

    def write():
        with psycopg.connect(server.conninfo) as neighbour:
            while not stop.is_set():
                neighbour.execute("CREATE TEMPORARY TABLE noise AS SELECT FROM generate_series(1, 100)")
                neighbour.rollback()

    thread = threading.Thread(target=write)
    thread.start()
    try:
        (with_neighbour,) = costs(INSERT, n=1)
    finally:
        stop.set()
        thread.join()
    assert (with_neighbour.wal_records, with_neighbour.wal_bytes) == (
        without_neighbour.wal_records,
        without_neighbour.wal_bytes,
    )
    assert without_neighbour.wal_records == 2


def test_temporary_bytes_are_counted(connection, costs):
    connection.execute("SET work_mem = '64kB'")
    (cost,) = costs("SELECT n FROM generate_series(1, 50000) AS n ORDER BY -n")
    assert cost.temporary_bytes > 300_000
    assert costs("SELECT 1")[0].temporary_bytes == 0


def test_cpu_time_is_counted_without_buffers(costs):
    (little,) = costs("SELECT 1")
    (much,) = costs("SELECT count(*) FROM (SELECT n FROM generate_series(1, 100000) AS n ORDER BY -n) AS n")
    assert little.buffers == much.buffers == 0
    assert little.cpu_ms < 5
    assert much.cpu_ms > 10
    assert little.sleeps == 0


def test_sleeps_are_counted_and_are_no_cpu_time(costs):
    (cost,) = costs("SELECT pg_sleep(0.001) FROM generate_series(1, 20)")
    assert cost.sleeps >= 20
    assert cost.cpu_ms < 10


def test_each_execution_is_counted_separately(costs):
    upsert = "INSERT INTO entries VALUES (1, 0) ON CONFLICT (entry_id) DO UPDATE SET size = entries.size + 1"
    first, second = costs(upsert, times=2)
    assert (first.updates, second.updates) == (0, 1)
    (only,) = costs(INSERT, times=2, n=1)
    assert only.rows_written == 1
    with pytest.raises(psycopg.errors.NotNullViolation):
        costs("INSERT INTO entries VALUES (NULL)")


def test_cpu_time_is_none_without_the_privilege(server, schema, connection):
    role = f"{schema}_role"
    connection.execute(f"CREATE ROLE {role}; GRANT USAGE ON SCHEMA {schema} TO {role}; SET ROLE {role}")
    try:
        with prepared(connection, "SELECT 1") as statement:
            (cost,) = Turns(connection).costs(statement, "generic", dict, 1)
        assert (cost.cpu_ms, cost.sleeps) == (None, None)
        assert cost.wal_records == 0
    finally:
        connection.execute(f"RESET ROLE; REVOKE ALL ON SCHEMA {schema} FROM {role}; DROP ROLE {role}")
