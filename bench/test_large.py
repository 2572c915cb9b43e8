"""The costs of the queries in stores of up to ten million messages, with large sessions and users among small ones.

uv run pytest bench/test_large.py --large  # ten million messages: 8 GB of disk
"""

from __future__ import annotations

import math
import statistics
import time
from contextlib import closing

import psycopg
import pytest
from large import fill, settle
from large.operations import measure
from large.retention import THREADS, busy_half
from large.verdicts import broken, growth, worst
from large.writers import Writers
from results import Curve
from variant_tables import Schema

from dal.gate.measure.growth import SLACK

SIZES = (10_000, 20_000, 40_000)
LARGE = (10_000, 100_000, 1_000_000, 10_000_000)
TITLE = "costs of a call in a store of n messages"

pytestmark = pytest.mark.time_limit(2 * 3600)


@pytest.fixture(scope="module")
def stores(server, large):
    """Yield the schemas of filled stores, by number of messages."""
    places = {size: Schema(server.conninfo) for size in (LARGE if large else SIZES)}
    for size, place in places.items():
        with closing(place.connect()) as connection:
            fill(connection, size)
            settle(connection)
    yield {size: place.schema for size, place in places.items()}
    for place in places.values():
        place.close()


def test_every_promise_is_kept_in_a_large_store(server, stores, ledger, large):
    measured = measure(server.conninfo, stores)
    assert not [one.failure for one in measured if one.failure]
    for one in measured:
        add(ledger.table(TITLE), one)
    if large:  # In a small store, a table has few pages, and the planner may prefer a scan to an index.
        assert [text for one in measured for text in broken(one)] == []


def test_appends_per_second(server, stores, ledger, durable, large):
    table, done = ledger.table(f"appends per second, on {THREADS} connections"), {}
    for size in (min(stores), max(stores)) * (4 if large else 1):
        with connect(server, stores[size]) as connection:
            _, session_ids = busy_half(connection)
        writers = Writers(
            server.conninfo, f"-c search_path={stores[size]}", session_ids, rate=math.inf, threads=THREADS
        )
        time.sleep(1)
        begun, before = time.perf_counter(), len(writers.durations)
        time.sleep(5 if large else 1)
        done.setdefault(size, []).append((len(writers.durations) - before) / (time.perf_counter() - begun))
        writers.stop()
    for size, rates in done.items():
        table.add(f"n = {size:,}", "median", f"{statistics.median(rates):,.0f}")


def connect(server, schema):
    """Return a connection to a store."""
    return psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={schema}")


def add(table, one):
    """Add the costs of a query to a table of the report: those of the plan that costs more."""
    table.rows.setdefault(one.subject.name, {})
    costs = worst(next(iter(one.curves.values())))
    metrics = {"buffers": "buffers", "rows read": "rows_read", "WAL records": "wal_records"}
    for metric, attribute in metrics.items():
        figures = {size: getattr(cost, attribute) for size, cost in costs.items()}
        if any(figures.values()):
            table.curves.setdefault(one.subject.name, {})[metric] = Curve(figures, str(growth(figures, SLACK)))
    table.rows[one.subject.name]["ms of CPU"] = " ".join(f"{cost.cpu_ms or 0:.2f}" for cost in costs.values())
