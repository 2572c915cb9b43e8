"""The deletion of the idle half of a store while writers append: p99 of the appends, and space used before and after.

uv run pytest bench/test_retention.py --large  # ten million messages: 12 GB of disk
"""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from functools import partial

import pytest
from large import SEED, fill, settle
from large.retention import delete_beside_writers, delete_long_beside_writers, reindex, sizes
from ledger import ratio
from variant_tables import Schema

import dal
from dal.cli import idle

SIZE, LARGE = 10_000, 10_000_000
TITLE = "the idle half of n messages is deleted while writers append"

DELETED, REFILLED = "after the deletion", "after as many messages again"

pytestmark = pytest.mark.time_limit(2 * 3600)


@pytest.fixture
def store(server, large):
    """Yield a connection to a filled store whose tables are vacuumed."""
    with closing(Schema(server.conninfo)) as place, closing(place.connect()) as connection:
        fill(connection, LARGE if large else SIZE)
        settle(connection)
        yield connection


def test_the_idle_half_is_deleted_beside_writers(server, durable, store, large, ledger):
    table, schema = ledger.table(TITLE), store.execute("SELECT current_schema()").fetchone()[0]
    before = store.execute("SELECT count(*) FROM sessions WHERE status <> 'deleted'").fetchone()[0]
    add(table, "before", store)
    (deletion,) = delete_beside_writers(server.conninfo, schema, seconds=15 if large else 10).values()
    table.add("p99 of an append, relative to without the deletion", "time", ratio(deletion.p99_ratio, 1))
    table.add("interruptions", "number", deletion.interruptions)
    left = store.execute("SELECT count(*) FROM sessions WHERE status <> 'deleted'").fetchone()[0]
    assert 0.4 < left / before < 0.6
    add(table, DELETED, store)
    # The first vacuum empties pages of indexes, which can be used again only after the second one.
    settle(store)
    settle(store)
    add(table, "after two vacuums", store)
    fill(store, (LARGE if large else SIZE) // 2, seed=SEED + 1)
    settle(store)
    add(table, REFILLED, store)
    reindex(store)
    add(table, "after REINDEX TABLE CONCURRENTLY", store)
    first, last = (int(table.rows[row]["heap"].replace(",", "")) for row in (DELETED, REFILLED))
    assert last <= 1.1 * first, (
        f"grew from {first:,} to {last:,} bytes: the space of deleted messages was not used again"
    )


def test_a_long_session_is_deleted_beside_writers(server, durable, large, ledger):
    messages = 1_000_000 if large else 2_000
    with closing(Schema(server.conninfo)) as place, closing(place.connect()) as connection:
        fill(connection, SIZE)
        deletions = delete_long_beside_writers(
            server.conninfo,
            place.schema,
            {
                "session.delete()": delete,
                **{f"delete-idle --load {load}": partial(delete_idle, load) for load in (100, 50)},
            },
            messages=messages,
            rounds=3 if large else 1,
            seconds=10 if large else 1,
        )
    table = ledger.table(f"a session of {messages:,} messages is deleted while writers append to others")
    for way, deletion in deletions.items():
        table.add(way, "seconds", f"{deletion.seconds:.1f}")
        if deletion.beside:
            table.add(way, "p99 of an append, relative to without the deletion", ratio(deletion.p99_ratio, 1))


def delete(connection, session_id):
    assert dal.SessionStore(connection).session(session_id).delete()


def delete_idle(load, connection, session_id):
    """Delete it as `dal delete-idle` does."""
    store = dal.SessionStore(connection, hook=idle.pause(load))
    before = datetime(2002, 1, 1, tzinfo=UTC)
    assert store.delete_idle(before, idle.SESSIONS, message_limit=idle.MESSAGES) == (session_id,)


def add(table, row, connection):
    """Add a row with the sizes of the table `messages`."""
    for column, value in sizes(connection)["messages"].items():
        table.add(row, column, f"{value:,}")
