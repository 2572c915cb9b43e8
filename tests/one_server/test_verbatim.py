"""No statement is built at run time: every statement on the wire is the text of a query file."""

import re
from contextlib import ExitStack, suppress
from dataclasses import replace
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg.conninfo import make_conninfo
from sides import pool_of, unwrap
from test_round_trips import public

import dal
from dal import NewMessage
from dal.gate import wire
from dal.histories import batch
from dal.schema.distributed import RANGES
from dal.sql import DISTRIBUTED, QUERIES, SCHEMA

OLD = datetime(2000, 1, 1, tzinfo=UTC)
HOSTILE = "'; DROP TABLE messages; -- %(role)s :role $1 /*"


def expected(path):
    """Return the statement of a query file as sent to the server, computed without the loader."""
    lines = path.read_text(encoding="utf-8").rstrip().removesuffix(";").splitlines()
    body = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    numbers = {}
    statement = re.sub(r"(?<!:):([a-z_]+)", lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", body)
    return f"/* dal:{path.parent.name}.{path.stem} */ {statement}"


@pytest.fixture
def files(server):
    """The names of the query files by statement: on a cluster, of the second forms."""
    paths = {f"{path.parent.name}.{path.stem}": path for path in QUERIES.glob("*/*.sql")}
    if server.kind == "citus":
        paths |= {f"{path.parent.name}.{path.stem}": path for path in (DISTRIBUTED / "queries").glob("*/*.sql")}
    return {expected(path): name for name, path in paths.items()}


def schema_files(server):
    """The SQL files outside queries that a store sends: to a cluster also the one that lists the shards."""
    files = [SCHEMA, RANGES] if server.kind == "citus" else [SCHEMA]
    return {path.read_text(encoding="utf-8") for path in files}


@pytest.fixture
def import_files(server):
    """The SQL files of dal/histories that an import sends."""
    not_here = {"store", "take"} if server.kind == "citus" else {"store_distributed", "take_distributed"}
    return {text.decode() for name, text in batch.SQL.items() if name not in not_here | {"analyze"}}


TRANSACTION_STATEMENTS = {
    *("BEGIN", "COMMIT", "ROLLBACK", "DEALLOCATE ALL"),  # psycopg sends DEALLOCATE ALL after a ROLLBACK.
    *("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
    "CopyData, CopyDone",  # The wire counter's text for the rows of a COPY,
    *("Sync", "Sync, Flush"),  # and for the end of a statement and of a pipeline.
    *('SAVEPOINT "_pg3_1"', 'RELEASE "_pg3_1"', 'ROLLBACK TO "_pg3_1"'),  # A block in the caller's transaction.
}

WHOLE_HISTORIES = {"messages.export", "messages.stream", "sessions.export", "sessions.export_of_user"}
"""Queries that only exports and streams send."""

SESSION_OF_THE_FUTURE = """
    INSERT INTO sessions (session_id, status, metadata, next_sequence, message_count, created_at, updated_at, listed_at)
    VALUES ('ahead', 'active', '{}', 0, 0, '9999-01-01', '9999-01-01', '9999-01-01')
"""


def use_histories(store):
    """Stream, export and import; none of it works in the caller's transaction."""
    store.on_primary().agent_ids([HOSTILE])
    for session_id in ("whole", "long"):
        session = store.session(session_id, source=HOSTILE, user_id=HOSTILE)
        session.append_all([NewMessage(role="u", content=HOSTILE + "\x01" * (n == 0)) for n in range(102)])
    with suppress(dal.StatementFailed):
        list(session.stream())
    with suppress(dal.StatementFailed):
        exported = list(store.export(source=HOSTILE, since=OLD))
        list(store.export(user_id=HOSTILE, source=HOSTILE))
        store.import_(exported)


def use_removals(session):
    third = session.messages(limit=3)[2].sequence
    session.remove_from(third)
    session.replace_from(
        third, [NewMessage(role=HOSTILE, content=HOSTILE, agent_id=HOSTILE)], session_metadata={"x": 1}
    )
    session.remove_last(2, keep=False)
    session.removed()
    session.changes()


def use_changes(session):
    session.update_metadata({HOSTILE: None}, remove=[HOSTILE], touch=False)
    session.annotate(HOSTILE, {HOSTILE: HOSTILE})
    for asked in ({"if_next": 1}, {"session_metadata": {HOSTILE: HOSTILE}}):
        with suppress(dal.Overtaken):
            session.append(HOSTILE, HOSTILE, **asked)
    session.redact(HOSTILE, HOSTILE)
    with suppress(dal.MessageNotFound):
        session.redact("none")


def use_every_branch(store):
    """Call every method, with arguments that reach every branch."""
    for prepare in (store.apply_schema, store.check_schema):
        prepare()
    session = store.session(HOSTILE, source=HOSTILE, user_id=HOSTILE, parent_id=HOSTILE, metadata={HOSTILE: HOSTILE})
    for _ in range(2):
        session.append(HOSTILE, HOSTILE, agent_id=HOSTILE, metadata={HOSTILE: [HOSTILE]}, message_id=HOSTILE)
    with suppress(dal.MessageConflict):
        session.append(HOSTILE, "other", message_id=HOSTILE)
    session.append_all(
        [NewMessage(role=HOSTILE, content=HOSTILE), NewMessage(role=HOSTILE, content=HOSTILE, agent_id=HOSTILE)]
    )
    session.append_all([])
    store.append_all([(unwrap(session), NewMessage(role=HOSTILE, content=HOSTILE)) for _ in range(2)])
    session.open()
    session.latest(3)
    for page in ({}, {"after": 0, "limit": 1}, {"before": 2, "limit": 1}):
        session.messages(**page)
    session.message(HOSTILE)
    use_removals(session)
    session.record()
    change_status(session)
    use_changes(session)
    for ids in ([HOSTILE, "other"], []):
        store.agent_ids(ids)
    read_only_backend = replace(unwrap(store)._backend, read_only=True)
    store._make(read_only_backend, closes=None).agent_ids([HOSTILE])
    cursor = f"2999-01-01T00:00:00+00:00/{HOSTILE}"
    for filters in ({}, {"user_id": HOSTILE}, {"source": HOSTILE}, {"user_id": HOSTILE, "source": HOSTILE},
                    {"parent_id": HOSTILE, "user_id": HOSTILE}):  # fmt: skip
        store.sessions(**filters)
        store.sessions(**filters, status="paused", limit=3, cursor=cursor)
    store.count_sessions(user_id=HOSTILE)
    session.fork(1, metadata={HOSTILE: HOSTILE})
    session.reset(metadata={HOSTILE: 1}).reset()
    for refused in (session.pause, session.resume, lambda: session.remove_from(0), lambda: session.append("u", "x")):
        with suppress(dal.SessionArchived):
            refused()
    session.agent_ids()
    session.archive()
    none = store.session("none")
    for missing in (none.record, none.archive, lambda: store.session().remove_from(0)):
        with suppress(dal.SessionNotFound):
            missing()
    with store.transaction() as inside:
        inside.session("t").append("user", HOSTILE)
    with suppress(LookupError), store.transaction() as inside:
        inside.session("t").append("user", HOSTILE)
        raise LookupError
    with suppress(dal.StatementFailed), store.writer() as writer:  # A store on a connection has no writer.
        writer.session("many").append("user", HOSTILE)
    use_deletions(store)
    use_histories(store)
    mine = store.for_user(HOSTILE)
    mine.sessions()
    mine.session("theirs").append("user", HOSTILE)
    with suppress(dal.SessionNotFound):
        store.for_user("stranger").session("theirs").append("user", HOSTILE)
    mine.delete_idle(OLD, 10)
    for _ in range(2):
        session.delete()
    session.create(again=True)


def use_deletions(store):
    store.delete_idle(OLD, 10)
    store.purge(OLD, 10)
    store.session(user_id="erased").append_all([NewMessage(role="user", content=HOSTILE)] * 2)
    store.erase_user("erased", 1, message_limit=1)


def change_status(session):
    session.pause()
    session.resume()
    session.trash()
    with suppress(dal.SessionTrashed):
        session.archive(if_next=0)
    session.restore()
    with suppress(dal.Overtaken):
        session.archive(if_next=0)


@pytest.fixture(params=["connection", "pool", "own pool", "no autocommit"])
def recorded_store(request, monkeypatch, side, server, schema, options, tables):  # noqa: PLR0917 - fixtures
    """A store of each kind, a function that returns the sent statements, and the queries that it never sends."""
    if server.kind == "citus" and request.param == "no autocommit":
        pytest.skip("on distributed tables, apply_schema() fails the caller's transaction")
    monkeypatch.setattr(wire, "_LONGEST", 1 << 20)
    with ExitStack() as ends, ExitStack() as recording:
        wires = []

        def watch(connection):
            wires.append(recording.enter_context(wire.watch(unwrap(connection))))

        async def watch_async(connection):
            watch(connection)

        never_sent = {"sessions.position"}  # Only a store with a standby sends it.
        if request.param == "own pool":
            conninfo = make_conninfo(server.conninfo, options=options["options"])
            store = ends.enter_context(side.connect_store(conninfo, standby=conninfo, standby_wait=5.0))
            for pool in (pool_of(store), pool_of(store, standby=True)):

                def watch_and_check(connection, check_early=pool._configure):
                    watch(connection)
                    return check_early(connection)

                pool._configure = watch_and_check
            never_sent = set()
        elif request.param == "pool":
            configure = watch if side.name == "sync" else watch_async
            pool = ends.enter_context(side.pool(server.conninfo, kwargs=options, min_size=1, configure=configure))
            store = side.store(pool)
            never_sent.add("schema.hide_temporary")  # The caller sets the search_path.
        else:
            connection = side.connect(server.conninfo, **options | {"autocommit": request.param == "connection"})
            ends.callback(connection.close)
            watch(connection)
            store = side.store(connection)
            never_sent.add("schema.hide_temporary")
            if request.param == "no autocommit":  # Refused in the caller's transaction.
                never_sent |= WHOLE_HISTORIES | {"sessions.relist", "messages.delete_range"}

        def sent():
            recording.close()
            return [statement for one in wires for statement in one.statements]

        yield store, sent, never_sent


def test_every_statement_is_the_text_of_a_query_file(recorded_store, files, import_files, server, options, figure):  # noqa: PLR0917 - fixtures
    store, sent, never_sent = recorded_store
    with psycopg.connect(server.conninfo, **options) as connection:
        connection.execute(SESSION_OF_THE_FUTURE)  # Makes the first page of sessions correct listed_at.
    for _ in range(7):  # psycopg prepares a statement on its sixth execution.
        use_every_branch(store)
    statements = sent()
    assert {statement.how for statement in statements} >= {"query", "prepare", "prepared"}
    texts = {statement.text for statement in statements}
    others = texts - files.keys() - TRANSACTION_STATEMENTS
    assert others == schema_files(server) | (set() if never_sent >= WHOLE_HISTORIES else import_files)
    used = {files[text] for text in texts & files.keys()}
    assert set(files.values()) == set(dal.queries)
    assert used == set(dal.queries) - never_sent - {
        "schema.version",
        "schema.broken_rows",
    }  # Only `dal schema` sends them.
    figure(
        "statements that reached the server",
        f"{len(texts)} texts, each from a query file, schema.sql or a transaction statement",
    )


def test_every_method_is_called():
    callers = (use_every_branch, use_histories, use_removals, use_changes, change_status, use_deletions)
    codes = [one.__code__ for one in callers]
    nested = {name for code in codes for one in code.co_consts if hasattr(one, "co_names") for name in one.co_names}
    used = nested | {name for code in codes for name in code.co_names}
    elsewhere = {"close", "connect", "connection", "using"}
    assert (public(dal.Session) | public(dal.SessionStore)) - used == elsewhere
