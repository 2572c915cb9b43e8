"""The latest messages of a long session compared with a short one in the same tables.

uv run pytest bench/test_long.py --large  # a million messages
"""

from contextlib import closing

import pytest
from append_variants import Ours
from measures import Operation, figures_of, warm
from variant_tables import Schema

SHORT, LONG, LARGE = 100, 100_000, 1_000_000
TITLE = "cost of latest(20) in a session of n messages"


@pytest.fixture
def connection(server):
    with closing(Schema(server.conninfo)) as place, place.connections() as connect:
        yield connect()


def test_latest_costs_the_same_in_a_long_session(connection, large, ledger):
    variant, sizes = Ours(connection), (SHORT, LARGE if large else LONG)
    variant.prepare()
    for size in sizes:
        variant.fill(str(size), size)
    connection.execute("SET synchronous_commit = on")  # Only then can VACUUM mark rows as visible to all.
    variant.settle()
    buffers = []
    for size in sizes:
        session = variant.store.session(str(size))
        assert [message.sequence for message in session.latest(20)] == list(range(size - 20, size))
        warm(lambda session=session: session.latest(20))
        figures = figures_of(connection, Operation(lambda session=session: session.latest(20)))
        assert figures.round_trips == 1
        buffers.append(figures.cost.buffers)
        ledger.table(TITLE).add(f"n = {size:,}", "buffers", figures.cost.buffers)
        ledger.table(TITLE).add(f"n = {size:,}", "rows read", figures.cost.rows_read)
    assert buffers[1] <= buffers[0] + 1, "both use one index"
