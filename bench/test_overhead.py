"""The overhead of the library: `session.append` and `latest(20)` compared with the same SQL on a bare cursor.

    uv run pytest bench

They take turns in random order, two on each connection or pool of one connection, so that both use the same server
process and other load affects both; the ratios of medians are shown. The bare cursors use binary results, like ours.
Times never fail a run. synchronous_commit is off, since the flush to the disk would hide the difference.
"""

import random
import statistics
import time

import psycopg
from psycopg import RawCursor
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

import dal
from dal.ids import new_id

TITLE = "time of an append by the library, relative to the same SQL on a bare cursor"
READ = "time of latest(20) by the library, relative to the same SQL on a bare cursor"
BARE, OURS = "a bare cursor", "a store"
ROUNDS = 3000


def test_append_against_a_bare_cursor(server, schema, tables, ledger):
    statement = dal.queries.messages.append
    opening = {"source": None, "user_id": "u1", "parent_id": None, "session_metadata": "{}"}
    conditions = {"if_next": None, "must_exist": False, "session_changes": None}
    fields = {"owner": None, "role": "user", "agent_id": None, "content": "x" * 200, "metadata": "{}"}
    given = statement.bind({**opening, **conditions, **fields, "session_id": "its session", "message_id": "its id"})
    session, message = given.index("its session"), given.index("its id")

    def bare(cursor, name):
        parameters = given.copy()
        parameters[session], parameters[message] = name, new_id()  # Both generate an id.
        return cursor.execute(statement.sql, parameters, binary=True).fetchone()

    def ours(store, name):
        session = store.session(name, user_id="u1")
        return lambda: session.append("user", "x" * 200)

    compare(ledger.table(TITLE), without_synchronous_commit(server, schema), bare, ours)


def test_latest_against_a_bare_cursor(server, schema, tables, ledger):
    statement = dal.queries.messages.latest
    parameters = statement.bind({"session_id": "read", "limit": 20})
    conninfo = without_synchronous_commit(server, schema)
    with dal.SessionStore.connect(conninfo) as store:
        store.session("read").append_all([dal.NewMessage(role="user", content="x" * 200, agent_id="a")] * 100)

    def bare(cursor, _):
        return cursor.execute(statement.sql, parameters, binary=True).fetchall()

    def ours(store, _):
        session = store.session("read")
        return lambda: session.latest(20)

    compare(ledger.table(READ), conninfo, bare, ours)


def without_synchronous_commit(server, schema):
    return make_conninfo(server.conninfo, options=f"-c search_path={schema} -c synchronous_commit=off")


def compare(table, conninfo, bare, ours):
    """Run the variants in turns, and add their median times to the table."""
    with (
        psycopg.connect(conninfo, autocommit=True) as connection,
        ConnectionPool(conninfo, kwargs={"autocommit": True}, min_size=1, max_size=1) as pool,
        dal.SessionStore.connect(conninfo, max_size=1) as store,
    ):
        cursor = RawCursor(connection)

        def on_pool(its):
            with its.connection() as of_it:
                return bare(RawCursor(of_it), "pooled")

        store.check_schema()  # Opens its pool.
        own = store._backend.runner.source._pool  # noqa: SLF001 - to use the same server process
        variants = {
            (BARE, "on a connection"): lambda: bare(cursor, "single"),
            (OURS, "on a connection"): ours(dal.SessionStore(connection), "single"),
            (BARE, "on psycopg's pool"): lambda: on_pool(pool),
            (OURS, "on psycopg's pool"): ours(dal.SessionStore(pool), "pooled"),
            (BARE, "on the store's own pool"): lambda: on_pool(own),
            (OURS, "on the store's own pool"): ours(store, "pooled"),
        }
        durations = {variant: [] for variant in variants}
        turns = list(variants)
        for _ in range(ROUNDS):
            random.shuffle(turns)  # The second one on a connection finds the server's caches warm.
            for variant in turns:
                started = time.perf_counter()
                variants[variant]()
                durations[variant].append(time.perf_counter() - started)
    for (row, column), seconds in durations.items():
        table.time(row, column, statistics.median(seconds[ROUNDS // 10 :]))
