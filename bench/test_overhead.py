"""What the library costs on top of the driver: `session.append` and `latest(20)` against the same SQL by a bare cursor.

    uv run pytest bench

The ways take turns in any order, two on a connection, and two on each pool of a single one, so that what is compared
meets the same neighbours and the same process of the server; shown are the ratios of their medians. The bare cursors
are sent their rows in binary form, as ours are. Times never fail a run. synchronous_commit is off: with it on the
disk's flush would hide the difference.
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

TITLE = "an append through the library, and the same SQL through a bare cursor"
READ = "latest(20) through the library, and the same SQL through a bare cursor"
BARE, OURS = "a bare cursor", "a store"
ROUNDS = 3000


def test_append_against_a_bare_cursor(server, schema, tables, ledger):
    statement = dal.queries.messages.append
    opening = {"source": None, "user_id": "u1", "parent_id": None, "session_metadata": "{}"}
    fields = {"owner": None, "role": "user", "agent_id": None, "content": "x" * 200, "metadata": "{}"}
    given = statement.bind({**opening, **fields, "session_id": "its session", "message_id": "its id"})
    session, message = given.index("its session"), given.index("its id")

    def bare(cursor, name):
        parameters = given.copy()
        parameters[session], parameters[message] = name, new_id()  # An id takes both the same.
        return cursor.execute(statement.sql, parameters, binary=True).fetchone()

    def ours(store, name):
        session = store.session(name, user_id="u1")
        return lambda: session.append("user", "x" * 200)

    compare(ledger.table(TITLE), quick(server, schema), bare, ours)


def test_latest_against_a_bare_cursor(server, schema, tables, ledger):
    statement = dal.queries.messages.latest
    parameters = statement.bind({"session_id": "read", "limit": 20})
    conninfo = quick(server, schema)
    with dal.SessionStore.connect(conninfo) as store:
        store.session("read").append_all([dal.NewMessage(role="user", content="x" * 200, agent_id="a")] * 100)

    def bare(cursor, _):
        return cursor.execute(statement.sql, parameters, binary=True).fetchall()

    def ours(store, _):
        session = store.session("read")
        return lambda: session.latest(20)

    compare(ledger.table(READ), conninfo, bare, ours)


def quick(server, schema):
    return make_conninfo(server.conninfo, options=f"-c search_path={schema} -c synchronous_commit=off")


def compare(table, conninfo, bare, ours):
    """Run the ways in turn, and tell the median time of each."""
    with (
        psycopg.connect(conninfo, autocommit=True) as connection,
        ConnectionPool(conninfo, kwargs={"autocommit": True}, min_size=1, max_size=1) as pool,
        dal.SessionStore.connect(conninfo, max_size=1) as store,
    ):
        cursor = RawCursor(connection)

        def of_a_pool(its):
            with its.connection() as of_it:
                return bare(RawCursor(of_it), "pooled")

        store.check_schema()  # It opens its pool.
        own = store._backend.runner._source._pool  # noqa: SLF001 - for the same process of the server
        ways = {
            (BARE, "on a connection"): lambda: bare(cursor, "single"),
            (OURS, "on a connection"): ours(dal.SessionStore(connection), "single"),
            (BARE, "on psycopg's pool"): lambda: of_a_pool(pool),
            (OURS, "on psycopg's pool"): ours(dal.SessionStore(pool), "pooled"),
            (BARE, "on the store's own pool"): lambda: of_a_pool(own),
            (OURS, "on the store's own pool"): ours(store, "pooled"),
        }
        spent = {way: [] for way in ways}
        turns = list(ways)
        for _ in range(ROUNDS):
            random.shuffle(turns)  # Who comes after another on the same connection finds the server's caches warm.
            for way in turns:
                started = time.perf_counter()
                ways[way]()
                spent[way].append(time.perf_counter() - started)
    for (row, column), seconds in spent.items():
        table.time(row, column, statistics.median(seconds[ROUNDS // 10 :]))
