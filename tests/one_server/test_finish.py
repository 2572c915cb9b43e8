"""`dal schema upgrade --finish` changes the types of columns while this release reads and writes."""

import threading
import time

import psycopg
import pytest
from old_tables import finish, upgrade, wait_until
from test_migrations import dump, last_step

import dal
from dal.schema import migrations

WITHOUT_ANSWER = 0.5
"""The most seconds that a call may take while the upgrade is finished."""

STATEMENTS = last_step().read_text(encoding="utf-8").split(";\n\n")


@pytest.fixture
def old_version():
    return 5


@pytest.fixture
def unfinished(old):
    """A connection to upgraded tables, on which only the last file of finish/ has not been run."""
    upgrade(old)
    for step in migrations.finishing(old)[:-1]:
        migrations._run(old, step.read_text(encoding="utf-8"))
    return old


def use(session, n):
    """Read and write, by statements that return columns whose types change."""
    session.append("user", f"{n}", agent_id="a")
    session.append_all([dal.NewMessage(role="user", content="x"), dal.NewMessage(role="user", content="y")])
    session.latest(2)
    session.record()
    session.open(2)
    assert session.agent_ids() == ("a",)


def finished_dump(server, schema, connection):
    """Replace the tables by those that schema.sql creates, and return their dump."""
    connection.execute(psycopg.sql.SQL("DROP SCHEMA {} CASCADE").format(psycopg.sql.Identifier(schema)))
    dal.SessionStore(connection).apply_schema()
    return dump(server, schema)


def test_stores_keep_reading_and_writing(server, schema, unfinished, figure):
    for n in range(500):
        unfinished.execute(
            "INSERT INTO sessions (session_id, user_id, metadata, next_sequence, message_count, created_at, updated_at)"
            " VALUES (%s, 'u', '{}', 0, 0, now(), now())",
            [f"filler-{n}"],
        )
    over, errors, calls, longest = threading.Event(), [], [0], [0.0]

    def work(store, n):
        session = store.session(f"s{n}", user_id="u1")
        try:
            while not over.is_set():
                began = time.monotonic()
                use(session, n)
                store.sessions(user_id="u1", limit=5)
                longest[0] = max(longest[0], time.monotonic() - began)
                calls[0] += 1
        except dal.DalError as error:
            errors.append(error)

    with dal.SessionStore.connect(server.conninfo, schema=schema, max_size=4) as store:
        threads = [threading.Thread(target=work, args=(store, n)) for n in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: errors or calls[0] > 60)
        before = calls[0]
        finish(unfinished)
        during = calls[0] - before
        now = calls[0]
        wait_until(lambda: errors or calls[0] > now + 60)
        over.set()
        for thread in threads:
            thread.join()
        assert errors == []
        for n in range(4):
            record = store.session(f"s{n}").record()
            numbers = [message.sequence for message in store.session(f"s{n}").messages(limit=100_000)]
            assert numbers == list(range(record.message_count))
    figure("calls while an upgrade is finished", f"{during} of this release; the longest 7: {longest[0] * 1000:.0f} ms")
    assert longest[0] < 7 * WITHOUT_ANSWER


@pytest.mark.parametrize("autocommit", [True, False])
def test_prepared_statements_are_prepared_again(side, server, schema, unfinished, autocommit):
    options = {"autocommit": autocommit, "options": f"-c search_path={schema}"}
    pool = side.pool(server.conninfo, kwargs=options, min_size=1, max_size=1)
    own = side.connect(server.conninfo, **options | {"autocommit": True})
    stores = [side.store(pool), side.store(own)]
    with side.connect_store(server.conninfo, schema=schema, max_size=1) as store:
        stores.append(store)
        for n in range(8):
            for one in stores:
                use(one.session("s"), n)
        finish(unfinished)
        for one in stores:
            use(one.session("s"), 9)
    own.close()
    pool.close()


def test_a_transaction_is_not_repeated(server, schema, unfinished):
    with dal.SessionStore.connect(server.conninfo, schema=schema, max_size=1) as store:
        for n in range(8):
            use(store.session("s"), n)
        finish(unfinished)

        def read():
            with store.transaction() as inside:
                return inside.session("s").latest(1)

        with pytest.raises(dal.StatementFailed, match="run it again from its beginning"):
            read()
        assert read()[0].content == "y"


def test_the_tables_can_be_used_at_any_time(unfinished):
    store = dal.SessionStore(unfinished)
    for n, statement in enumerate(STATEMENTS):
        unfinished.execute(statement.encode(), prepare=False)
        dal.SessionStore(unfinished).check_schema()
        use(store.session("s"), n)
        assert [record.session_id for record in store.sessions()] == ["s"]
    assert migrations.finishing(unfinished) == []


@pytest.mark.parametrize("done", range(1, len(STATEMENTS)))
def test_it_goes_on_after_an_interruption(server, schema, unfinished, done):
    for statement in STATEMENTS[:done]:
        unfinished.execute(statement.encode(), prepare=False)
    finish(unfinished)
    assert dump(server, schema) == finished_dump(server, schema, unfinished)


@pytest.mark.parametrize("name", ["sessions_listed_complete", "messages_by_agent_complete", "messages_by_agent"])
def test_an_invalid_index_is_rebuilt(server, schema, unfinished, name):
    dal.SessionStore(unfinished).session("s").append("user", "x")
    table = name.split("_")[0]
    unfinished.execute(f"DROP INDEX IF EXISTS {name}; CREATE INDEX {name} ON {table} (session_id)")
    unfinished.execute("UPDATE pg_index SET indisvalid = false WHERE indexrelid = %s::regclass", [name])
    finish(unfinished)
    assert dump(server, schema) == finished_dump(server, schema, unfinished)


DEPENDENT = {
    "CREATE VIEW own AS SELECT role FROM messages": "rule _RETURN on view own",
    "CREATE POLICY own ON sessions USING (user_id = 'u1')": "policy own on table sessions",
    "CREATE TRIGGER own BEFORE UPDATE OF metadata ON messages EXECUTE FUNCTION suppress_redundant_updates_trigger()": (
        "trigger own on table messages"
    ),
}


@pytest.mark.parametrize("made", DEPENDENT)
def test_what_depends_on_a_type_is_named_before_anything_changes(unfinished, made):
    unfinished.execute(made)
    before = unfinished.execute("SELECT indexrelid FROM pg_index ORDER BY 1").fetchall()
    with pytest.raises(
        dal.StatementFailed, match=f"{DEPENDENT[made]}.*Drop them, run dal schema upgrade --finish again"
    ):
        finish(unfinished)
    assert unfinished.execute("SELECT indexrelid FROM pg_index ORDER BY 1").fetchall() == before
    use(dal.SessionStore(unfinished).session("s"), 0)


def test_other_views_and_policies_do_not_matter(unfinished):
    unfinished.execute(
        "CREATE VIEW own AS SELECT sequence, content FROM messages; CREATE POLICY own ON messages USING (sequence > 3)"
    )
    finish(unfinished)
    assert migrations.finishing(unfinished) == []


def test_no_row_is_read_under_the_lock(unfinished):
    """The files of tables and of indexes that are not partial stay the same; a row that breaks a rule does no harm."""
    dal.SessionStore(unfinished).session("s").append("user", "x")
    unfinished.execute(
        "ALTER TABLE sessions DROP CONSTRAINT sessions_ids_fit; UPDATE sessions SET source = ''; "
        "ALTER TABLE sessions ADD CONSTRAINT sessions_ids_fit CHECK (length(source) > 0) NOT VALID"
    )
    names = "('sessions', 'messages', 'sessions_pkey', 'messages_pkey', 'messages_message_id_key')"
    files = (
        f"SELECT relname, pg_relation_filenode(oid) FROM pg_class WHERE relname IN {names} "
        "AND relnamespace = current_schema()::regnamespace ORDER BY 1"
    )
    before = unfinished.execute(files).fetchall()
    finish(unfinished)
    assert unfinished.execute(files).fetchall() == before
    (broken,) = dal.queries.schema.broken_rows(unfinished, limit=9)
    assert broken.rule.startswith("session_id, source")
