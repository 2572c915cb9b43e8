"""The cost of the statements on the server, which does not grow with the session. Figures are shown after the run."""

import statistics
from contextlib import ExitStack
from datetime import UTC, datetime

import psycopg
import pytest
from psycopg import sql
from ulid import ULID

import dal
from dal import NewMessage


def buffers(connection) -> int:
    """Return how many buffers of this schema's tables and indexes were accessed, including by foreign key triggers."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    return connection.execute(
        "SELECT sum(heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0) "
        "+ coalesce(toast_blks_read + toast_blks_hit + tidx_blks_read + tidx_blks_hit, 0))::bigint "
        "FROM pg_statio_user_tables WHERE schemaname = current_schema()"
    ).fetchone()[0]


def cost(connection, operation) -> int:
    before = buffers(connection)
    operation()
    return buffers(connection) - before


def fill(session, upto, agents=5):
    stored = session.record().next_sequence if session.persisted else 0
    while stored < upto:
        size = min(1000, upto - stored)
        session.append_all([NewMessage(role="user", content="x" * 40, agent_id=f"a{n % agents}") for n in range(size)])
        stored += size


def test_buffers_of_an_append_do_not_grow_with_the_session(connection, sync_store, figure):
    session = sync_store.session()
    buffers_at = {}
    for size in (10, 100, 1000, 10_000):
        fill(session, size)
        connection.execute("VACUUM sessions")
        buffers_at[size] = min(cost(connection, lambda: session.append("user", "x" * 40)) for _ in range(3))
    figure(
        "buffers an append, at n messages", ", ".join(f"{n}: {buffers_used}" for n, buffers_used in buffers_at.items())
    )
    assert buffers_at[10_000] <= buffers_at[10] + 10


def test_buffers_of_a_read_do_not_depend_on_its_position(connection, sync_store, figure):
    session = sync_store.session()
    fill(session, 10_000)
    connection.execute("VACUUM ANALYZE messages")
    reads = {
        "latest(20)": lambda: session.latest(20),
        "messages(limit=20)": lambda: session.messages(limit=20),
        "messages(after=9000, limit=20)": lambda: session.messages(after=9000, limit=20),
        "messages(before=5000, limit=20)": lambda: session.messages(before=5000, limit=20),
    }
    buffers_at = {name: min(cost(connection, read) for _ in range(2)) for name, read in reads.items()}
    figure(
        "buffers a read, of 10,000 messages",
        ", ".join(f"{name}: {buffers_used}" for name, buffers_used in buffers_at.items()),
    )
    assert max(buffers_at.values()) <= 30


def test_a_list_of_agents_does_not_scan_the_messages(connection, sync_store, figure):
    session = sync_store.session()
    fill(session, 10_000)
    connection.execute("VACUUM ANALYZE messages")
    live_cost = min(cost(connection, session.agent_ids) for _ in range(2))
    scan = min(
        cost(
            connection,
            lambda: connection.execute(
                "SELECT agent_id FROM messages WHERE session_id = %s GROUP BY agent_id", [session.id]
            ),
        )
        for _ in range(2)
    )
    session.archive()
    first = cost(connection, session.agent_ids)
    second = cost(connection, session.agent_ids)
    assert session.record().agent_ids == tuple(f"a{n}" for n in range(5))
    figure(
        "buffers an agent list, of 10,000 messages and 5 agents",
        f"live: {live_cost}, archived and not cached: {first}, cached: {second}, GROUP BY: {scan}",
    )
    assert second < live_cost < scan / 5
    assert first < scan / 4


def fill_sessions(connection):
    """Store twenty thousand sessions, one every 26 minutes of a year."""
    connection.execute(
        """
        INSERT INTO sessions (session_id, user_id, source, status, archived_at, metadata, next_sequence,
                              message_count, created_at, updated_at, listed_at)
        SELECT 's' || n, 'u' || n % 100, 's' || n % 7, status, CASE status WHEN 'archived' THEN at END,
               '{}', 1, 1, at, at, at
        FROM generate_series(1, 20000) AS n,
        LATERAL (SELECT timestamptz '2025-01-01 00:00+00' + n * interval '26 minutes' AS at,
                        CASE WHEN n % 200 = 0 THEN 'paused' WHEN n % 3 = 0 THEN 'active' ELSE 'archived' END
                        AS status) AS x
        """
    )


@pytest.fixture(scope="module")
def large_schemas(server):
    """Return the name of a schema with 20,000 sessions, one of which has `messages` messages."""
    made = {}

    def large_schema(messages):
        if messages not in made:
            name = made[messages] = f"test_{ULID()}".lower()
            with psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={name}") as connection:
                connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
                store = dal.SessionStore(connection)
                store.apply_schema()
                fill_sessions(connection)
                fill(store.session("talk"), messages)
                for n in range(2):
                    store.session("talk").append("user", "x", message_id=f"m{n}")
                store.session("over").append("assistant", "x", agent_id="a")
                store.session("over").archive()
                store.session("trashed").append("assistant", "x")
                store.session("trashed").trash()
                connection.execute("VACUUM ANALYZE sessions, messages, removed_messages, changes")
        return made[messages]

    yield large_schema
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        for name in made.values():
            connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def connect_to(server, large_schemas):
    """Connect to such a schema, on a new connection."""
    with ExitStack() as stack:

        def connect(messages):
            options = f"-c search_path={large_schemas(messages)}"
            return stack.enter_context(psycopg.connect(server.conninfo, autocommit=True, options=options))

        yield connect


@pytest.mark.parametrize("rank", ["first page", "later page"])
@pytest.mark.parametrize(
    "filters",
    [{}, {"user_id": "u7"}, {"source": "s3"}, {"status": "paused"}, {"user_id": "u7", "source": "s1"}],
    ids=lambda filters: "+".join(filters) or "all",
)
def test_a_page_of_sessions_reads_few_buffers(connect_to, figure, filters, rank):
    """Among 20,000 sessions over a year, in tables of more than a thousand buffers."""
    connection = connect_to(1000)
    sync_store = dal.SessionStore(connection)
    cursor = "2025-10-31T00:00:00+00:00/x" if rank == "later page" else None
    rows = sync_store.sessions(limit=20, cursor=cursor, **filters)
    assert len(rows) == 20
    buffers_used = [cost(connection, lambda: sync_store.sessions(limit=20, cursor=cursor, **filters)) for _ in range(8)]
    figure(
        f"buffers a {rank} of 20 sessions among 20,000, by {'+'.join(filters) or 'recency alone'}",
        str(max(buffers_used)),
    )
    # A user and a source: all 200 sessions of the user are read, twice.
    assert max(buffers_used) <= (450 if len(filters) == 2 else 150), "with a generic plan and with a custom one"


def updates(connection) -> tuple[int, int]:
    """Return the number of HOT updates of sessions, and of all updates."""
    connection.execute("SELECT pg_stat_force_next_flush()")
    return connection.execute(
        "SELECT n_tup_hot_upd, n_tup_upd FROM pg_stat_user_tables "
        "WHERE schemaname = current_schema() AND relname = 'sessions'"
    ).fetchone()


def test_updates_of_an_append_are_hot(connect, connection, sync_store, figure):
    """Not even while a long transaction prevents the cleanup of old row versions."""
    snapshot = connect(autocommit=False)
    snapshot.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
    shares = {}
    for fillfactor in (100, 90, 70, 50):
        connection.execute(f"ALTER TABLE sessions SET (fillfactor = {fillfactor})")
        connection.execute("TRUNCATE sessions, messages, removed_messages, changes")
        sessions = [sync_store.session(user_id="u1", source="s", metadata={"a": "b" * 100}) for _ in range(200)]
        for session in sessions:
            session.append("user", "x")
        before = updates(connection)
        snapshot.execute("SELECT 1")
        for _ in range(3):
            for session in sessions:
                session.append("user", "x")
        snapshot.rollback()
        for _ in range(7):
            for session in sessions:
                session.append("user", "x")
        hot, total = (now - then for now, then in zip(updates(connection), before, strict=True))
        shares[fillfactor] = hot / total
    figure(
        "HOT share of 10 appends to each of 200 sessions, 3 of them under a held snapshot",
        ", ".join(f"fillfactor {fillfactor}: {share:.1%}" for fillfactor, share in shares.items()),
    )
    assert shares[50] > 0.85
    assert shares[50] > shares[100]


def wal(connection, operation, times=30) -> float:
    position = "SELECT pg_current_wal_insert_lsn() - '0/0'"
    written = []
    for _ in range(times):
        before = connection.execute(position).fetchone()[0]
        operation()
        written.append(int(connection.execute(position).fetchone()[0] - before))
    return statistics.median(written)


def test_at_most_one_append_per_minute_moves_a_session_in_lists(connection, sync_store, figure):
    """Turns of six appends, two minutes apart, in 200 sessions: one append of each turn updates the index."""
    sessions = [sync_store.session(user_id=f"u{n % 20}", source="s", metadata={"a": "b" * 100}) for n in range(200)]
    for session in sessions:
        session.append("user", "x")
    before, each = updates(connection), []
    for turn in range(5):
        for session in sessions:
            age = "UPDATE sessions SET listed_at = listed_at - interval '2 min' WHERE session_id = %s"
            connection.execute(age, [session.id])
            if turn == 4 and len(each) < 30:
                each.append([wal(connection, lambda: session.append("user", "x"), 1) for _ in range(6)])  # noqa: B023
                continue
            for _ in range(6):
                session.append("user", "x")
    hot, total = (now - then for now, then in zip(updates(connection), before, strict=True))
    total -= 1000  # The updates that make time pass; none of them is HOT.
    moves, stays = (statistics.median(one) for one in ([turn[0] for turn in each], [turn[1] for turn in each]))
    mean = (moves + 5 * stays) / 6
    figure(
        "turns of six appends, two minutes apart",
        f"{hot / total:.1%} HOT; WAL bytes: {stays:.0f} an append, {moves:.0f} one that moves its session up in lists, "
        f"{mean:.0f} on average",
    )
    assert 0.7 < hot / total < 5 / 6 + 0.01
    assert mean < 1.4 * stays


def test_the_order_of_columns_keeps_metadata_out_of_the_wal(connection, sync_store, figure):
    """Compare with another order of columns, which has a hot one behind the metadata."""
    big = {"profile": "".join(chr(97 + n * n % 26) for n in range(1500))}
    session = sync_store.session(metadata=big)
    session.append("user", "x")
    connection.execute("CHECKPOINT")
    session.append("user", "x")
    ours = wal(connection, lambda: session.append("user", "x"))
    connection.execute("DELETE FROM sessions")
    connection.execute("ALTER TABLE sessions DROP COLUMN updated_at CASCADE")
    connection.execute("ALTER TABLE sessions ADD COLUMN updated_at timestamptz NOT NULL")
    session.append("user", "x")
    separated = wal(connection, lambda: session.append("user", "x"))
    figure(
        "WAL bytes an append, with 1.5 kB of metadata", f"{ours:.0f}; with the hot columns around it: {separated:.0f}"
    )
    assert ours + 1000 < separated


def test_an_append_locks_only_its_session(connect):
    mine, other = connect(autocommit=False), connect()
    dal.SessionStore(mine).session("a").append("user", "not committed")
    other.execute("SET lock_timeout = 100")
    store = dal.SessionStore(other)
    assert store.session("b").append("user", "x").sequence == 0
    with pytest.raises(dal.StatementFailed, match="lock timeout") as refused:
        store.session("a").append("user", "x")
    assert refused.value.sqlstate == "55P03"
    mine.commit()
    assert store.session("a").append("user", "x").sequence == 1
    tables = mine.execute(
        "SELECT relation::regclass::text, mode FROM pg_locks WHERE pid = pg_backend_pid() AND relation IS NOT NULL"
    ).fetchall()
    assert not any("Exclusive" in mode and "Row" not in mode for _, mode in tables)


@pytest.mark.parametrize("table", ["sessions", "messages", "dal_schema"])
def test_every_index_is_used_by_a_query(connection, table):
    """The query files name every index."""
    names = connection.execute(
        "SELECT indexrelid::regclass::text FROM pg_index WHERE indrelid = %s::regclass", [table]
    ).fetchall()
    named = "\n".join(dal.queries[name].path.read_text(encoding="utf-8") for name in dal.queries)
    assert [name for (name,) in names if name not in named] == []


def test_statements_are_tagged_with_their_query_name(connect):
    reader, other = connect(autocommit=False), connect()
    dal.SessionStore(reader).session("s").latest()
    found = other.execute("SELECT query FROM pg_stat_activity WHERE pid = %s", [reader.info.backend_pid]).fetchone()[0]
    assert found.startswith("/* dal:messages.latest */ SELECT")


def read_only_store(store):
    return dal.SessionStore(store._backend.runner.source._connection, read_only=True)


def query_call(name, **parameters):
    """Return a call of a query that an export sends."""
    return lambda store, _: dal.queries[name](store._backend.runner.source._connection, **parameters)


PAGE = {"listed_after": "-infinity", "id_after": "", "source": None, "since": None, "until": None} | {
    "limit": 20,
}
CALLS = {
    "messages.after": lambda store, session: session.messages(after=3, limit=5),
    "messages.annotate": lambda store, session: session.annotate("m0", {"rating": 5}),
    "messages.append": lambda store, session: session.append("user", "x"),
    "messages.append_all": lambda store, session: session.append_all([NewMessage(role="user", content="x")] * 2),
    "messages.before": lambda store, session: session.messages(before=9, limit=5),
    "messages.delete_range": query_call(
        "messages.delete_range", session_id="talk", first=1 << 40, last=1 << 41, patience=None
    ),
    "messages.export": query_call("messages.export", session_ids=["talk"], after=3, limit=5),
    "messages.stream": query_call("messages.stream", session_id="talk", after=3, limit=5),
    "messages.get": lambda store, session: session.message("m"),
    "messages.latest": lambda store, session: session.latest(5),
    "messages.redact": lambda store, session: session.redact("m1"),
    "messages.remove_from": lambda store, session: session.remove_from(1 << 40),
    "messages.remove_last": lambda store, session: session.remove_last(),
    "messages.removed": lambda store, session: session.removed(limit=5),
    "messages.replace_from": lambda store, session: session.replace_from(1 << 40, []),
    "sessions.agent_ids": lambda store, session: session.agent_ids(),
    "sessions.agent_ids_read_only": lambda store, session: read_only_store(store).agent_ids(["talk"]),
    "sessions.archive": lambda store, session: store.session("over").archive(),
    "sessions.changes": lambda store, session: session.changes(),
    "sessions.count_of_user": lambda store, session: store.count_sessions(user_id="u1"),
    "sessions.create": lambda store, session: store.session("created").create(),
    "sessions.delete": lambda store, session: store.session("none").delete(),
    "sessions.delete_idle": lambda store, session: store.delete_idle(datetime(2000, 1, 1, tzinfo=UTC), 5),
    "sessions.delete_idle_of_user": lambda store, session: store.for_user("u1").delete_idle(
        datetime(2000, 1, 1, tzinfo=UTC), 5
    ),
    "sessions.erase_user": lambda store, session: store.erase_user("nobody", 5),
    "sessions.export": query_call("sessions.export", **PAGE),
    "sessions.export_of_user": query_call("sessions.export_of_user", user_id="u1", **PAGE),
    "sessions.fork": lambda store, session: session.fork(2),
    "sessions.get": lambda store, session: session.record(),
    "sessions.list": lambda store, session: store.sessions(limit=5),
    "sessions.list_of_parent": lambda store, session: store.sessions(parent_id="talk", limit=5),
    "sessions.list_of_source": lambda store, session: store.sessions(source="s1", limit=5),
    "sessions.list_of_user": lambda store, session: store.sessions(user_id="u1", limit=5),
    "sessions.list_of_user_and_source": lambda store, session: store.sessions(user_id="u1", source="s1", limit=5),
    "sessions.open": lambda store, session: session.open(5),
    "sessions.pause": lambda store, session: session.pause(),
    "sessions.position": query_call("sessions.position", session_id="talk"),
    "sessions.purge": lambda store, session: store.purge(datetime(2000, 1, 1, tzinfo=UTC), 5),
    "sessions.relist": query_call("sessions.relist"),
    "sessions.restore": lambda store, session: session.restore(),
    "sessions.resume": lambda store, session: session.resume(),
    "sessions.trash": lambda store, session: store.session("trashed").trash(),
    "sessions.update_metadata": lambda store, session: session.update_metadata({"a": 1}),
}


CUSTOM_PLANS = {
    "messages.after": "a limit",
    "messages.before": "a limit",
    "messages.export": "a limit",
    "messages.stream": "a limit",
    "messages.latest": "a limit",
    "messages.remove_from": "a sequence number",
    "messages.remove_last": "a number of messages",
    "messages.removed": "a limit",
    "messages.replace_from": "a sequence number",
    "sessions.changes": "a revision",
    "sessions.delete_idle": "a limit",
    "sessions.delete_idle_of_user": "a limit",
    "sessions.erase_user": "a limit",
    "sessions.export": "a limit",
    "sessions.export_of_user": "a limit",
    "sessions.list": "a limit",
    "sessions.list_of_source": "a limit",
    "sessions.list_of_user": "a limit",
    "sessions.list_of_user_and_source": "a limit",
    "sessions.open": "a limit",
    "sessions.purge": "a limit",
}
"""Queries that may use custom plans, and the value that matters."""


@pytest.mark.parametrize("name", [name for name in dal.queries if not name.startswith("schema.")])
def test_a_statement_is_planned_once_per_connection(connect_to, name):
    """Planning takes longer than execution, so the server must choose the generic plan."""
    connection = connect_to(1000)
    store = dal.SessionStore(connection)
    for _ in range(20):
        CALLS[name](store, store.session("talk"))
    custom = connection.execute(
        "SELECT custom_plans FROM pg_prepared_statements WHERE statement LIKE %s", [f"/* dal:{name} */%"]
    ).fetchone()[0]
    assert custom == 5 or name in CUSTOM_PLANS


@pytest.mark.parametrize("name", CALLS)
def test_generic_plans_are_as_good_as_custom_plans(connect_to, name):
    """The server may switch to a generic plan at any time; it must not access more buffers than a custom plan."""
    connection = connect_to(20_000)
    store = dal.SessionStore(connection)
    session = store.session("talk")
    buffers_used = {}
    for mode in ("force_custom_plan", "force_generic_plan"):
        connection.execute(f"SET plan_cache_mode = {mode}")
        for _ in range(7):
            CALLS[name](store, session)
        buffers_used[mode] = min(cost(connection, lambda: CALLS[name](store, session)) for _ in range(3))
    assert buffers_used["force_generic_plan"] <= buffers_used["force_custom_plan"] + 10


def test_every_query_has_a_call():
    assert sorted(CALLS) == [name for name in sorted(dal.queries) if not name.startswith("schema.")]
