"""What the library costs on top of the driver: `session.append` and `latest(20)` against the same SQL by a bare cursor.

    uv run pytest bench

The ways alternate, each on a connection of its own, so that all meet the same neighbours; shown are the
ratios of their medians. Times never fail a run. synchronous_commit is off: with it on the disk's flush
would hide the difference.
"""

import statistics
import time
from itertools import cycle, islice

from psycopg import RawCursor
from psycopg.conninfo import make_conninfo
from ulid import ULID

import dal

TITLE = "an append through the library, and the same SQL through a bare cursor"
READ = "latest(20) through the library, and the same SQL through a bare cursor"
ROUNDS = 3000


def test_append_against_a_bare_cursor(connect, options, server, ledger):
    quick = options["options"] + " -c synchronous_commit=off"
    cursor = RawCursor(connect(options=quick))
    statement = dal.queries.messages.append
    opening = {"session_id": "bare", "source": None, "user_id": "u1", "parent_id": None, "session_metadata": "{}"}
    fields = {"owner": None, "role": "user", "agent_id": None, "content": "x" * 200, "metadata": "{}"}

    parameters = statement.bind({**opening, **fields, "message_id": "its id"})
    place = parameters.index("its id")

    def bare():
        parameters[place] = str(ULID())
        return cursor.execute(statement.sql, parameters).fetchone()

    conninfo = make_conninfo(server.conninfo, options=quick)
    with dal.SessionStore.connect(conninfo, max_size=1) as store:
        single = dal.SessionStore(connect(options=quick)).session("single", user_id="u1")
        pooled = store.session("pooled", user_id="u1")
        ways = {
            "a bare cursor": bare,
            "a store on a connection": lambda: single.append("user", "x" * 200),
            "a store on a pool": lambda: pooled.append("user", "x" * 200),
        }
        medians = measure(ways)
    for name, median in medians.items():
        ledger.table(TITLE).time(name, "median time", median)


def test_latest_against_a_bare_cursor(connect, options, server, ledger):
    cursor = RawCursor(connect())
    statement = dal.queries.messages.latest
    parameters = statement.bind({"session_id": "read", "limit": 20})

    def bare():
        return cursor.execute(statement.sql, parameters).fetchall()

    conninfo = make_conninfo(server.conninfo, options=options["options"])
    with dal.SessionStore.connect(conninfo, max_size=1) as store:
        pooled, single = store.session("read"), dal.SessionStore(connect()).session("read")
        pooled.append_all([dal.NewMessage(role="user", content="x" * 200, agent_id="a")] * 100)
        ways = {
            "a bare cursor, which gives tuples": bare,
            "a store on a connection": lambda: single.latest(20),
            "a store on a pool": lambda: pooled.latest(20),
        }
        medians = measure(ways)
    for name, median in medians.items():
        ledger.table(READ).time(name, "median time", median)


def measure(ways):
    """Run the ways in turn, and return the median time of each."""
    spent = {name: [] for name in ways}
    for name in islice(cycle(ways), ROUNDS * len(ways)):
        started = time.perf_counter()
        ways[name]()
        spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(seconds[ROUNDS // 10 :]) for name, seconds in spent.items()}
