"""Measuring the cost of an operation, on sync and async connections, on every version of PostgreSQL."""

import asyncio
from dataclasses import dataclass
from time import monotonic

import psycopg
import pytest
from psycopg.rows import class_row, dict_row, namedtuple_row, scalar_row

from dal.gate.errors import InvalidInput
from dal.gate.measure.cost import Cost, cost_of, least, locks_of
from dal.gate.measure.snapshot import Patience, held_snapshot
from dal.gate.measure.trips import round_trips_of

TABLES = """
CREATE TABLE parents (parent_id integer PRIMARY KEY, counter integer NOT NULL DEFAULT 0, looked_up integer);
CREATE INDEX parents_looked_up_idx ON parents (looked_up);
CREATE TABLE children (
    child_id integer PRIMARY KEY,
    parent_id integer NOT NULL REFERENCES parents ON DELETE CASCADE
);
CREATE INDEX children_parent_id_idx ON children (parent_id);
INSERT INTO parents SELECT n FROM generate_series(1, 1000) AS n;
INSERT INTO children SELECT n, 1 + n % 2 FROM generate_series(1, 100) AS n;
"""


class Sync:
    def connect(self, conninfo, **options):
        return psycopg.connect(conninfo, **options)

    def get(self, value):
        return value


class Async:
    def __init__(self, runner):
        self.get = runner.run

    def connect(self, conninfo, **options):
        return self.get(psycopg.AsyncConnection.connect(conninfo, **options))


@pytest.fixture(params=["sync", "async"])
def api(request):
    if request.param == "sync":
        yield Sync()
    else:
        with asyncio.Runner() as runner:
            yield Async(runner)


@pytest.fixture
def two_tables(server, schema, options):
    """Options for connections that use two tables, one of which refers to the other."""
    with psycopg.connect(server.conninfo, **options) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(TABLES)
        connection.execute("VACUUM ANALYZE parents, children")
    return options


@pytest.fixture
def measured(api, server, two_tables):
    made = api.connect(server.conninfo, **two_tables)
    yield made
    api.get(made.close())


def test_costs_of_an_insert(api, measured, figure, server):
    insert = "INSERT INTO children VALUES (101, 5)"
    cost = least([api.get(cost_of(measured, lambda: measured.execute(insert))) for _ in range(3)])
    assert isinstance(cost, Cost)
    assert set(cost.buffers_of) == {"children", "children_pkey", "children_parent_id_idx", "parents", "parents_pkey"}
    assert cost.buffers == sum(cost.buffers_of.values())
    assert (cost.rows_written, cost.updates, cost.temporary_bytes, cost.temporary_files) == (1, 0, 0, 0)
    # Three for the table and its indexes, one for the lock on the parent's row, at times one for an index cleanup.
    assert 4 <= cost.wal_records <= 6
    assert 100 < cost.wal_bytes < 1000
    figure(f"an insert with a foreign key, PostgreSQL {server.version.split()[0]}", str(cost))


def test_foreign_key_triggers_are_included(api, measured):
    delete = "DELETE FROM parents WHERE parent_id = 1"
    cost = least([api.get(cost_of(measured, lambda: measured.execute(delete))) for _ in range(3)])
    assert cost.rows_written == 1 + 50
    assert cost.buffers_of["children"] >= 50
    assert cost.wal_records >= 1 + 50


def test_other_schemas_are_included_and_other_sessions_are_not(api, measured, server, two_tables, schema):
    update = "UPDATE parents SET counter = counter + 1"
    with psycopg.connect(server.conninfo, **two_tables) as neighbour:
        neighbour.execute(f"CREATE SCHEMA {schema}_audit CREATE TABLE log (entry text)")
        neighbour.execute(f"INSERT INTO {schema}_audit.log VALUES ('to begin with')")

        def operation():
            neighbour.execute(update)
            return measured.execute(f"INSERT INTO {schema}_audit.log VALUES ('was here')")

        cost = api.get(cost_of(measured, operation))
        held = api.get(locks_of(measured, operation))
        neighbour.execute(f"DROP SCHEMA {schema}_audit CASCADE")
    assert set(cost.buffers_of) == {f"{schema}_audit.log"}
    assert (cost.rows_written, cost.updates) == (1, 0)
    assert held == {f"{schema}_audit.log": "RowExclusive"}


def test_deferred_triggers_are_included(api, measured):
    api.get(
        measured.execute(
            "CREATE FUNCTION count_all() RETURNS trigger LANGUAGE plpgsql AS"
            " $$ BEGIN PERFORM count(*) FROM parents; RETURN NULL; END $$;"
            "CREATE CONSTRAINT TRIGGER count_all AFTER INSERT ON children"
            " DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION count_all()"
        )
    )
    assert (
        api.get(cost_of(measured, lambda: measured.execute("INSERT INTO children VALUES (101, 5)"))).rows_read >= 1000
    )


def test_hot_updates_are_counted_separately(api, measured):
    def cost(column):
        return api.get(
            cost_of(measured, lambda: measured.execute(f"UPDATE parents SET {column} = 7 WHERE parent_id = 1000"))
        )

    assert (cost("counter").updates, cost("counter").hot_share) == (1, 1.0)
    assert (cost("looked_up").updates, cost("looked_up").hot_share) == (1, 0.0)
    assert api.get(cost_of(measured, lambda: measured.execute("SELECT 1"))).hot_share == 1.0


def test_temporary_files_are_counted(api, measured):
    api.get(measured.execute("SET work_mem = '64kB'"))
    cost = api.get(
        cost_of(measured, lambda: measured.execute("SELECT n FROM generate_series(1, 50000) AS n ORDER BY n DESC"))
    )
    assert cost.temporary_files >= 1
    assert cost.temporary_bytes > 300_000


def test_wal_of_other_sessions_is_excluded_on_postgresql_18(api, measured, server, two_tables):
    with psycopg.connect(server.conninfo, **two_tables) as neighbour:

        def operation():
            neighbour.execute("UPDATE parents SET counter = counter + 1")
            neighbour.execute("SELECT pg_stat_force_next_flush()")
            return measured.execute("SELECT 1")

        cost = api.get(cost_of(measured, operation))
        counts_backends = neighbour.info.server_version >= 180000
    # Its own records are few: at most the pruning of a catalog page.
    assert (cost.wal_records < 100) if counts_backends else (cost.wal_records >= 1000)


def test_the_operation_is_rolled_back_by_default(api, measured, server, two_tables):
    insert = "INSERT INTO children VALUES (101, 5)"
    api.get(cost_of(measured, lambda: measured.execute(insert)))
    with psycopg.connect(server.conninfo, **two_tables) as other:
        assert other.execute("SELECT count(*) FROM children").fetchone() == (100,)
        api.get(cost_of(measured, lambda: measured.execute(insert), commit=True))
        assert other.execute("SELECT count(*) FROM children").fetchone() == (101,)


@dataclass
class Nothing:
    pass


@pytest.mark.parametrize(
    "row_factory", [dict_row, namedtuple_row, scalar_row, class_row(Nothing)], ids=["dict", "named", "scalar", "class"]
)
def test_any_row_factory_works(api, server, two_tables, row_factory):
    connection = api.connect(server.conninfo, **two_tables, row_factory=row_factory)
    delete = "DELETE FROM parents WHERE parent_id = 1"
    assert api.get(cost_of(connection, lambda: connection.execute(delete))).rows_written == 51
    assert api.get(locks_of(connection, lambda: connection.execute(delete)))["children"] == "RowExclusive"
    with held_snapshot(connection):
        pass
    api.get(connection.close())


def test_the_connection_is_not_changed(api, measured):
    for _ in range(10):
        api.get(cost_of(measured, lambda: measured.execute("SELECT 1")))
    cursor = api.get(measured.execute("SELECT count(*) FROM pg_prepared_statements"))
    assert api.get(cursor.fetchone()) == (0,)
    assert measured.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_connection_without_autocommit_is_refused(api, server):
    connection = api.connect(server.conninfo)
    with pytest.raises(InvalidInput, match="autocommit=True"):
        api.get(cost_of(connection, lambda: connection.execute("SELECT 1")))
    api.get(connection.close())


def test_a_connection_inside_a_transaction_is_refused(api, measured):
    api.get(measured.execute("BEGIN"))
    with pytest.raises(InvalidInput, match="inside a transaction"):
        api.get(cost_of(measured, lambda: measured.execute("SELECT 1")))


def test_other_types_than_connections_are_refused():
    with pytest.raises(TypeError, match=r"cost_of\(\) needs a psycopg connection, not str"):
        cost_of("postgresql://localhost/app", lambda: None)


def test_an_error_of_the_operation_is_raised_and_rolled_back(api, measured):
    with pytest.raises(psycopg.errors.DivisionByZero):
        api.get(cost_of(measured, lambda: measured.execute("SELECT 1/0")))
    assert measured.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


def test_a_sync_connection_refuses_an_async_operation(server, two_tables):
    with psycopg.connect(server.conninfo, **two_tables) as connection:
        with pytest.raises(TypeError, match="AsyncConnection"):
            cost_of(connection, lambda: asyncio.sleep(0))
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE


async def test_a_sync_connection_works_in_an_event_loop(server, two_tables):
    with psycopg.connect(server.conninfo, **two_tables) as connection:
        delete = "DELETE FROM parents WHERE parent_id = 1"
        assert cost_of(connection, lambda: connection.execute(delete)).rows_written == 51


def test_costs_without_tables_are_zero(api, server):
    connection = api.connect(server.conninfo, autocommit=True, options="-c search_path=none_such")
    cost = api.get(cost_of(connection, lambda: connection.execute("SELECT 1")))
    assert (cost.buffers, cost.rows_read, cost.rows_written) == (0, 0, 0)
    api.get(connection.close())


def test_the_strongest_lock_of_each_table_is_reported(api, measured):
    held = api.get(locks_of(measured, lambda: measured.execute("DELETE FROM parents WHERE parent_id = 1")))
    assert held == {"parents": "RowExclusive", "children": "RowExclusive"}
    held = api.get(locks_of(measured, lambda: measured.execute("SELECT FROM parents; LOCK children IN SHARE MODE")))
    assert held == {"parents": "AccessShare", "children": "Share"}


def test_least_takes_the_minimum_of_each_figure():
    few = Cost({"t": 3}, 9, 9, 1, 1, 9, 900, 90, 9)
    many = Cost({"t": 4, "u": 1}, 1, 1, 2, 0, 1, 100, 10, 1)
    assert least([many, few]) == Cost({"t": 3}, 1, 1, 1, 1, 1, 100, 10, 1)


@pytest.mark.parametrize("by", ["conninfo", "connection"])
def test_a_held_snapshot_keeps_old_row_versions(api, measured, server, two_tables, by):
    def update(times):
        for _ in range(times):
            api.get(measured.execute("UPDATE parents SET counter = counter + 1 WHERE parent_id = 3"))

    def touched():
        update = "UPDATE parents SET counter = counter + 1 WHERE parent_id = 3"
        api.get(measured.execute("VACUUM (INDEX_CLEANUP ON) parents"))
        return least([api.get(cost_of(measured, lambda: measured.execute(update))) for _ in range(3)]).buffers

    update(1000)
    alone = touched()
    with held_snapshot(server.conninfo if by == "conninfo" else measured) as holder:
        assert holder.info.transaction_status == psycopg.pq.TransactionStatus.INTRANS
        update(1000)
        beside = touched()
    assert holder.closed
    assert beside >= alone + 3
    assert touched() <= alone + 1


def test_patience_waits_for_older_snapshots(server, two_tables):
    with psycopg.connect(server.conninfo, **two_tables) as connection:
        Patience(0).wait(connection)
        with held_snapshot(connection):
            connection.execute("UPDATE parents SET counter = counter + 1")
            started = monotonic()
            patience = Patience(0.3)
            patience.wait(connection)
            assert monotonic() - started >= 0.3
            patience.wait(connection)  # Its time is used up.
            assert monotonic() - started < 60
        started = monotonic()
        Patience(60).wait(connection)
        assert monotonic() - started < 60


def test_cold_and_warm_round_trips(api, measured):
    trips = api.get(round_trips_of(measured, lambda: measured.execute("SELECT %s::int AS warm", [1])))
    assert (trips.cold.round_trips, trips.warm.round_trips, trips.preparing) == (1, 1, 1)
    assert [statement.how for statement in trips.cold.statements] == ["query"]
    assert [statement.how for statement in trips.warm.statements] == ["prepared"]
    assert trips.warm.bytes_sent < trips.cold.bytes_sent
    measured.prepare_threshold = None
    trips = api.get(round_trips_of(measured, lambda: measured.execute("SELECT %s::int AS never", [1])))
    assert (trips.cold.round_trips, trips.warm.round_trips, trips.preparing) == (1, 1, 0)
