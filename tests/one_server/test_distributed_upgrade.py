"""Upgrades of the tables on a Citus cluster, while services write. Needs --postgres=citus."""

import threading
import time
from functools import partial

import psycopg
import pytest
from program import run
from psycopg import sql
from psycopg.conninfo import make_conninfo

import dal
from dal import NewMessage
from dal.conninfo import with_schema
from dal.schema import drift, migrations
from dal.schema.distributed import functions

MADE_UP = {
    "0009_note.sql": """-- Version 9: messages have a note.
DO $$
BEGIN
    PERFORM set_config('lock_timeout', '250ms', true);
    ALTER TABLE messages ADD COLUMN note text COLLATE "C";
    INSERT INTO dal_schema (version, usable_from) SELECT 9, usable_from FROM dal_schema WHERE version = 8;
END
$$;
""",
    "0010_by_note.sql": """-- Version 10: messages are found by their note.
--
-- Run: each statement on its own, outside a transaction.
CREATE INDEX CONCURRENTLY IF NOT EXISTS messages_by_note ON messages (session_id, note) WHERE note IS NOT NULL;

DO $$
BEGIN
    ALTER TABLE messages ADD COLUMN tag text;
    INSERT INTO dal_schema (version, usable_from) SELECT 10, usable_from FROM dal_schema WHERE version = 9;
END
$$;
""",
}
"""Files as a future release may have them."""


@pytest.fixture(autouse=True)
def citus(server):
    if server.kind != "citus":
        pytest.skip("needs --postgres=citus")


@pytest.fixture
def made_up(monkeypatch, tmp_path):
    for name, text in MADE_UP.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
    monkeypatch.setattr(migrations, "_FOLDER", tmp_path)
    monkeypatch.setattr(migrations, "VERSION", 10)


class Writer(threading.Thread):
    """Appends to random sessions, one message or one to each of four; records the slowest call and all errors."""

    def __init__(self, store, number, over):
        super().__init__()
        self.store, self.number, self.over = store, number, over
        self.calls, self.longest, self.errors = 0, 0.0, []

    def run(self):
        while not self.over.is_set():
            began = time.monotonic()
            names = [f"s{(self.calls * 7 + self.number + n) % 12}" for n in range(4)]
            message = NewMessage(role="user", content="x", message_id=f"{self.number}-{self.calls}")
            try:
                if self.calls % 2:
                    self.store.append_all([(self.store.session(one), message) for one in names])
                else:
                    self.store.session(names[0]).append("user", "x", message_id=message.message_id)
            except dal.DalError as error:
                self.errors.append(error)
            self.longest = max(self.longest, time.monotonic() - began)
            self.calls += 1


def worker_of(connection, conninfo):
    host, port = connection.execute(
        "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards ORDER BY nodeid LIMIT 1"
    ).fetchone()
    return make_conninfo(conninfo, host=host, port=port)


def holding_a_shard(connection, conninfo, schema):
    """Return a connection to a worker, in a transaction that reads a shard of messages, so that nobody can alter it."""
    worker = worker_of(connection, conninfo)
    (shard,) = connection.execute(
        "SELECT s.shardid FROM pg_dist_shard AS s JOIN pg_dist_placement AS p USING (shardid) "
        "JOIN pg_dist_node AS n USING (groupid) "
        "WHERE s.logicalrelid = 'messages'::regclass AND n.shouldhaveshards ORDER BY n.nodeid, s.shardid LIMIT 1"
    ).fetchone()
    holder = psycopg.connect(worker)
    holder.execute(sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(schema, f"messages_{shard}")))
    return holder


@pytest.mark.usefixtures("made_up")
def test_the_tables_are_upgraded_while_services_write(server, schema, connection, figure):
    """Through two nodes; for a while, a transaction keeps the upgrade from locking one of the shards."""
    over = threading.Event()
    open_store = partial(dal.SessionStore.connect, schema=schema, timeout=10, retries=0)
    with open_store(server.conninfo) as store, open_store(worker_of(connection, server.conninfo)) as other:
        store.check_schema()
        other.check_schema()
        writers = [Writer([store, other][n % 2], n, over) for n in range(4)]
        for one in writers:
            one.start()
        try:
            time.sleep(0.5)
            threading.Timer(1.5, holding_a_shard(connection, server.conninfo, schema).close).start()
            reports = []
            with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as upgrading:
                migrations.upgrade(upgrading, reports.append)
            calls = [one.calls for one in writers]
            time.sleep(0.5)
        finally:
            over.set()
            for one in writers:
                one.join(30)
        assert [error for one in writers for error in one.errors] == []
        assert all(one.calls > before for one, before in zip(writers, calls, strict=True))
        longest = max(one.longest for one in writers)
        figure("the longest append during an upgrade", f"{longest:.2f} s, of {sum(calls)}")
        assert longest < 2, "an upgrade waits at most a quarter of a second for a lock"
        for n in range(12):
            numbers = [one.sequence for one in store.session(f"s{n}").messages(limit=100_000)]
            assert numbers == list(range(len(numbers)))
    assert reports[-2:] == ["Version 9: messages have a note.", "Version 10: messages are found by their note."]
    assert any(line.startswith("not yet: canceling statement due to lock timeout") for line in reports), reports
    on_shards = connection.execute(
        "SELECT result FROM run_command_on_shards('messages', $$ SELECT count(*) FILTER (WHERE i.indisvalid) "
        "FROM pg_index AS i WHERE i.indrelid = '%s'::regclass $$)"
    ).fetchall()
    assert on_shards == [("4",)] * 4
    assert drift.notes(dal.queries.schema.check(connection)) != []


def test_functions_with_other_parameters_end_the_upgrade(server, schema, connection, tables):
    name = sql.Identifier(next(iter(functions())))
    connection.execute(
        sql.SQL("CREATE FUNCTION {}(_x integer) RETURNS integer LANGUAGE sql AS 'SELECT 1'").format(name)
    )
    done = run("schema", "upgrade", "--schema", schema, "--dsn", server.conninfo)
    assert done.returncode == 2
    assert "functions of another release remain, with other parameters: dal_" in done.stderr


def test_an_upgrade_replaces_the_functions(server, schema, connection, tables):
    name = next(iter(functions()))
    connection.execute(sql.SQL("DROP FUNCTION {}").format(sql.Identifier(name)))
    options = ("--schema", schema, "--dsn", server.conninfo)
    printed = run("schema", "upgrade", "--dry-run", *options)
    assert f"CREATE OR REPLACE FUNCTION {name}(" in printed.stdout
    done = run("schema", "upgrade", *options)
    assert done.stderr == "The functions of the distributed layout, which run on the workers\n"
    assert done.stdout.startswith("Up to date: version 8, in ")
    assert run("schema", "check", *options).stdout.startswith("OK: version 8")
    assert run("schema", "upgrade", *options).stderr == ""
    assert run("schema", "upgrade", "--dry-run", *options).stdout == ""
