"""No statement is ever built at run time: whatever reaches the server is the text of a query file."""

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
from dal.sql import QUERIES, SCHEMA

OLD = datetime(2000, 1, 1, tzinfo=UTC)
HARM = "'; DROP TABLE messages; -- %(role)s :role $1 /*"


def expected(path):
    """The statement of a query file as the server gets it, made of the file's text without the loader."""
    lines = path.read_text(encoding="utf-8").rstrip().removesuffix(";").splitlines()
    body = "\n".join(line for line in lines if not line.lstrip().startswith("--"))
    numbers = {}
    statement = re.sub(r"(?<!:):([a-z_]+)", lambda found: f"${numbers.setdefault(found[1], len(numbers) + 1)}", body)
    return f"/* dal:{path.parent.name}.{path.stem} */ {statement}"


FILES = {expected(path): f"{path.parent.name}.{path.stem}" for path in QUERIES.glob("*/*.sql")}
BRACKETS = {
    *("BEGIN", "COMMIT", "ROLLBACK", "DEALLOCATE ALL"),  # The last one is psycopg's, after a ROLLBACK.
    *("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE"),
    "CopyData, CopyDone",  # What the watch makes of the rows that follow a COPY,
    *("Sync", "Sync, Flush"),  # and of a statement's end in a pipeline, and the pipeline's.
    *('SAVEPOINT "_pg3_1"', 'RELEASE "_pg3_1"', 'ROLLBACK TO "_pg3_1"'),  # Of a block in the caller's transaction.
}

IMPORT = {text.decode() for name, text in batch.SQL.items() if name != "analyze"}
"""The files beside dal/histories/batch.py."""


WHOLE = {"messages.export", "messages.stream", "sessions.export", "sessions.export_of_user"}
"""The query files that only an export or a stream sends."""

AHEAD = """
    INSERT INTO sessions (session_id, status, metadata, next_sequence, message_count, created_at, updated_at, listed_at)
    VALUES ('ahead', 'active', '{}', 0, 0, '9999-01-01', '9999-01-01', '9999-01-01')
"""


def use_histories(store):
    """What reads all, and stores what was read; none of it within the caller's transaction."""
    for session_id in ("whole", "long"):
        session = store.session(session_id, source=HARM, user_id=HARM)
        session.append_all([NewMessage(role="u", content=HARM + "\x01" * (n == 0)) for n in range(102)])
    with suppress(dal.StatementFailed):
        list(session.stream())
    with suppress(dal.StatementFailed):
        exported = list(store.export(source=HARM, since=OLD))
        list(store.export(user_id=HARM, source=HARM))
        store.import_(exported)


def use_every_branch(store):
    """Every verb, by every way that it has through the library; return their names."""
    for prepare in (store.apply_schema, store.check_schema):
        prepare()
    session = store.session(HARM, source=HARM, user_id=HARM, parent_id=HARM, metadata={HARM: HARM})
    for _ in range(2):
        session.append(HARM, HARM, agent_id=HARM, metadata={HARM: [HARM]}, message_id=HARM)
    with suppress(dal.MessageConflict):
        session.append(HARM, "other", message_id=HARM)
    session.append_all([NewMessage(role=HARM, content=HARM), NewMessage(role=HARM, content=HARM, agent_id=HARM)])
    session.append_all([])
    store.append_all([(unwrap(session), NewMessage(role=HARM, content=HARM)) for _ in range(2)])
    session.open()
    session.latest(3)
    for page in ({}, {"after": 0, "limit": 1}, {"before": 2, "limit": 1}):
        session.messages(**page)
    session.message(HARM)
    session.remove_from(2)
    session.record()
    session.pause()
    session.resume()
    session.update_metadata({HARM: None})
    for ids in ([HARM, "other"], []):
        store.agent_ids(ids)
    reading = replace(unwrap(store)._backend, read_only=True)
    store._make(reading, closes=None).agent_ids([HARM])
    cursor = f"2999-01-01T00:00:00+00:00/{HARM}"
    for filters in ({}, {"user_id": HARM}, {"source": HARM}, {"user_id": HARM, "source": HARM}):
        store.sessions(**filters)
        store.sessions(**filters, status="paused", limit=3, cursor=cursor)
    session.reset(metadata={HARM: 1}).reset()
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
        inside.session("t").append("user", HARM)
    with suppress(LookupError), store.transaction() as inside:
        inside.session("t").append("user", HARM)
        raise LookupError
    with suppress(dal.StatementFailed), store.writer() as writer:  # Refused on a connection.
        writer.session("many").append("user", HARM)
    store.delete_idle(OLD, 10)
    use_histories(store)
    mine = store.for_user(HARM)
    mine.sessions()
    mine.session("theirs").append("user", HARM)
    with suppress(dal.SessionNotFound):
        store.for_user("stranger").session("theirs").append("user", HARM)
    mine.delete_idle(OLD, 10)
    for _ in range(2):
        session.delete()


@pytest.fixture(params=["connection", "pool", "own pool", "no autocommit"])
def watched(request, monkeypatch, side, server, schema, options, tables):  # noqa: PLR0917 - fixtures
    """A store of each kind, and what its connections send."""
    monkeypatch.setattr(wire, "_LONGEST", 1 << 20)
    with ExitStack() as ends, ExitStack() as watching:
        wires = []

        def watch(connection):
            wires.append(watching.enter_context(wire.watch(unwrap(connection))))

        async def watch_too(connection):
            watch(connection)

        sends_not = set()
        if request.param == "own pool":
            store = ends.enter_context(side.connect_store(make_conninfo(server.conninfo, options=options["options"])))
            pool = pool_of(store)
            check_early = pool._configure

            def watch_and_check(connection):
                watch(connection)
                return check_early(connection)

            pool._configure = watch_and_check
        elif request.param == "pool":
            configure = watch if side.name == "sync" else watch_too
            pool = ends.enter_context(side.pool(server.conninfo, kwargs=options, min_size=1, configure=configure))
            store = side.store(pool)
            sends_not = {"schema.hide_temporary"}  # The search_path is the caller's.
        else:
            connection = side.connect(server.conninfo, **options | {"autocommit": request.param == "connection"})
            ends.callback(connection.close)
            watch(connection)
            store = side.store(connection)
            sends_not = {"schema.hide_temporary"}
            if request.param == "no autocommit":  # Within the caller's transaction, which is not ours to prolong.
                sends_not |= WHOLE | {"sessions.relist"}

        def sent():
            watching.close()
            return [statement for one in wires for statement in one.statements]

        yield store, sent, sends_not


def test_each_statement_that_is_sent_is_the_text_of_a_query_file(watched, server, options, figure):
    store, sent, sends_not = watched
    with psycopg.connect(server.conninfo, **options) as connection:
        connection.execute(AHEAD)  # The first page of sessions finds it.
    for _ in range(7):  # psycopg prepares a statement the sixth time.
        use_every_branch(store)
    statements = sent()
    assert {statement.how for statement in statements} >= {"query", "prepare", "prepared"}
    texts = {statement.text for statement in statements}
    others = texts - FILES.keys() - BRACKETS
    assert others == {SCHEMA.read_text(encoding="utf-8")} | (set() if sends_not >= WHOLE else IMPORT)
    used = {FILES[text] for text in texts & FILES.keys()}
    assert set(FILES.values()) == set(dal.queries)
    assert used == set(dal.queries) - sends_not - {"schema.version"}  # That one is for `dal schema` alone.
    figure("statements that reached the server", f"{len(texts)} texts, each a query file's, schema.sql or a bracket")


def test_every_verb_is_used_there():
    codes = use_every_branch.__code__, use_histories.__code__
    nested = {name for code in codes for one in code.co_consts if hasattr(one, "co_names") for name in one.co_names}
    used = nested | {name for code in codes for name in code.co_names}
    elsewhere = {"close", "connect", "connection", "using"}
    assert (public(dal.Session) | public(dal.SessionStore)) - used == elsewhere
