"""What the library costs on top of the driver: `session.append` and `latest(20)` against the same SQL by a bare cursor.

    uv run pytest bench

The ways alternate, each on a connection of its own, so that all meet the same neighbours; shown are the
ratios of their medians. The bare cursors are sent their rows in binary form, as ours are. Times never fail a
run. synchronous_commit is off: with it on the disk's flush would hide the difference.
"""

import statistics
import time
from itertools import cycle, islice

import psycopg
from psycopg import RawCursor
from psycopg.conninfo import make_conninfo
from psycopg_pool import ConnectionPool

import dal
from dal.ids import new_id

TITLE = "an append through the library, and the same SQL through a bare cursor"
READ = "latest(20) through the library, and the same SQL through a bare cursor"
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

    for name, median in medians(quick(server, schema), bare, ours).items():
        ledger.table(TITLE).time(name, "median time", median)


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

    for name, median in medians(conninfo, bare, ours).items():
        ledger.table(READ).time(name, "median time", median)


def quick(server, schema):
    return make_conninfo(server.conninfo, options=f"-c search_path={schema} -c synchronous_commit=off")


def medians(conninfo, bare, ours):
    """Run the ways in turn, each on a connection of its own, and return the median time of each."""
    with (
        psycopg.connect(conninfo, autocommit=True) as first,
        psycopg.connect(conninfo, autocommit=True) as second,
        ConnectionPool(conninfo, kwargs={"autocommit": True}, min_size=1, max_size=1) as pool,
        dal.SessionStore.connect(conninfo, max_size=1) as store,
    ):
        cursor = RawCursor(first)

        def of_the_pool():
            with pool.connection() as connection:
                return bare(RawCursor(connection), "bare, of a pool")

        ways = {
            "a bare cursor": lambda: bare(cursor, "bare"),
            "a store on a connection": ours(dal.SessionStore(second), "single"),
            "a bare cursor of psycopg's pool": of_the_pool,
            "a store with a pool": ours(store, "pooled"),
        }
        spent = {name: [] for name in ways}
        for name in islice(cycle(ways), ROUNDS * len(ways)):
            started = time.perf_counter()
            ways[name]()
            spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds[ROUNDS // 10 :]) for name, seconds in spent.items()}
