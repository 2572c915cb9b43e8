"""The latest messages of a long session, beside those of a short one in the same tables.

uv run pytest bench/test_long.py --large  # a million messages
"""

from contextlib import closing

import pytest
from field import Place
from measures import Operation, figures_of, warm
from ways import Ours

SHORT, LONG, LARGE = 100, 100_000, 1_000_000
TITLE = "latest(20) of a session of n messages, among others in the same tables"


@pytest.fixture
def connection(server):
    with closing(Place(server.conninfo)) as place, place.connections() as connect:
        yield connect()


def test_the_latest_of_many_cost_what_those_of_few_do(connection, large, ledger):
    way, sizes = Ours(connection), (SHORT, LARGE if large else LONG)
    way.prepare()
    for size in sizes:
        way.fill(str(size), size)
    connection.execute("SET synchronous_commit = on")  # Before that VACUUM cannot tell what is visible to all.
    way.settle()
    buffers = []
    for size in sizes:
        session = way.store.session(str(size))
        assert [message.sequence for message in session.latest(20)] == list(range(size - 20, size))
        warm(lambda session=session: session.latest(20))
        figures = figures_of(connection, Operation(lambda session=session: session.latest(20)))
        assert figures.round_trips == 1
        buffers.append(figures.cost.buffers)
        ledger.table(TITLE).tell(f"n = {size:,}", "buffers", figures.cost.buffers)
        ledger.table(TITLE).tell(f"n = {size:,}", "rows read", figures.cost.rows_read)
    assert buffers[1] <= buffers[0] + 1, "one index serves both, and is as high for either"
