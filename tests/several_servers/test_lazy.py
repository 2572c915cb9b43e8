"""A session exists only in memory until its first message."""

from contextlib import closing

import pytest
from sides import unwrap

import dal
from dal import NewMessage
from dal.gate import wire
from dal.gate.server import serve


def test_sessions_without_messages_write_no_row(side, server, options, tables, connection):
    opened, silent = 10_985, 3_564
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    store.check_schema()
    with wire.watch(unwrap(raw)) as recorded:
        sessions = [store.session(source="ping", user_id=f"u{n}") for n in range(opened)]
    assert recorded.messages == []
    for session in sessions[silent : silent + 500]:
        session.append("user", "hello")
    hello = NewMessage(role="user", content="hello")
    rest = [(unwrap(session), hello) for session in sessions[silent + 500 :]]
    store.append_all(rest)
    assert all(session.persisted for session in sessions[silent:])
    with wire.watch(unwrap(raw)) as recorded:
        for session in sessions[:silent]:
            session.reset()
    assert recorded.messages == [], "a reset of an unsaved session sends nothing"
    raw.close()
    assert connection.execute("SELECT count(*) FROM sessions").fetchone() == (opened - silent,) == (7_421,)
    assert connection.execute("SELECT count(*) FROM messages").fetchone() == (7_421,)


def test_a_first_append_fails_while_the_server_is_down(side):
    with serve("embedded") as server, side.connect_store(server.conninfo, timeout=2) as store:
        store.apply_schema()
        server.stop()
        session = store.session()
        for _ in range(2):
            with pytest.raises(dal.ServerUnavailable) as error:
                session.append("user", "hello")
            assert "[messages.append" in str(error.value)
            assert error.value.__cause__ is not None
        assert "cannot be reached" in str(error.value)
        assert "check that it runs" in str(error.value)
        assert not session.persisted
        server.start()
        assert session.append("user", "hello").sequence == 0
        assert session.persisted


def test_a_store_can_be_created_before_its_server_runs(side, caplog):
    with serve("embedded") as server:
        server.stop()
        with side.connect_store(server.conninfo, max_size=1, timeout=1) as store:
            session = store.session()
            assert failure_of(session) == (dal.ServerUnavailable, "the server cannot be reached", False)
            server.start()
            store.apply_schema()
            assert session.append("user", "hello").sequence == 0
            with closing(session.stream()) as reading:
                next(reading)
                assert failure_of(session) == (dal.ServerUnavailable, "no connection was free", False), (
                    "the reason is the pool, not the earlier outage"
                )


def failure_of(session):
    """Return the error of an append: its class, its reason, and whether the outcome is unknown."""
    with pytest.raises(dal.DalError) as failed:
        session.append("user", "hello")
    return type(failed.value), str(failed.value).partition(":")[0], failed.value.outcome_unknown


def test_dead_connections_are_replaced_together(side, server, schema, tables, connection):
    """The first failure on a dead connection discards the other dead ones too, so one retry is enough."""
    of_store = (
        "FROM pg_stat_activity WHERE query LIKE '/* dal:%%' AND datname = current_database() "
        "AND backend_start > %s AND pid <> pg_backend_pid()"
    )
    began = connection.execute("SELECT clock_timestamp()").fetchone()
    with side.connect_store(server.conninfo, schema=schema, min_size=4, max_size=4, retries=1) as store:
        session = store.session()
        session.append("user", "0")
        while connection.execute(f"SELECT count(*) {of_store}", began).fetchone()[0] < 4:
            store.check_schema()
        connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE query LIKE '/* dal:%%' "
            "AND backend_start > %s AND pid <> pg_backend_pid()",
            began,
        )
        assert [session.append("user", str(n)).sequence for n in range(1, 9)] == list(range(1, 9))
