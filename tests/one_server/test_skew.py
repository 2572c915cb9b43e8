"""Costs with skewed data: 100,000 sessions active within an hour, 30,000 of them of one user."""

from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial

import psycopg
import pytest
from psycopg import sql
from ulid import ULID

import dal
from dal.gate.measure.cost import cost_of

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
MODES = ("force_custom_plan", "force_generic_plan")
STATUSES = ["active", "paused", "archived"]


@contextmanager
def tables_of_an_hour(server, sessions, *, analyzed=True):
    """Yield a connection to tables with `sessions` sessions, all active between noon and one o'clock."""
    schema = f"test_{ULID()}".lower()
    with psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={schema}") as connection:
        dal.SessionStore(connection).apply_schema()
        connection.execute(
            """
            INSERT INTO sessions (session_id, user_id, source, status, archived_at, metadata, next_sequence,
                                  message_count, created_at, updated_at, listed_at)
            SELECT 's' || n, CASE WHEN n %% 10 < 3 THEN 'bot' ELSE 'u' || n %% 5000 END,
                   CASE WHEN n %% 20 = 0 THEN 'web' ELSE 'telegram' END, status,
                   CASE status WHEN 'archived' THEN at END, '{}', 2, 2, at, at + interval '20 s', at
            FROM generate_series(1, %(sessions)s) AS n,
            LATERAL (SELECT %(noon)s + n * interval '1 hour' / %(sessions)s AS at,
                            CASE WHEN n %% 50 = 0 THEN 'paused' WHEN n %% 5 = 0 THEN 'archived' ELSE 'active' END
                            AS status) AS x
            """,
            {"sessions": sessions, "noon": NOON},
        )
        connection.execute(
            "INSERT INTO messages (sequence, created_at, session_id, message_id, role, content, metadata)"
            " SELECT n, created_at, session_id, 'm' || n, 'user', 'x', '{}'"
            " FROM sessions, generate_series(0, 1) AS n WHERE session_id LIKE 's%%7'"
        )
        connection.execute("VACUUM ANALYZE" if analyzed else "VACUUM")
        yield connection
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(schema)))


@pytest.fixture(scope="module")
def busy(server):
    with tables_of_an_hour(server, 100_000) as connection:
        yield connection


@pytest.fixture(scope="module")
def quiet(server):
    with tables_of_an_hour(server, 60) as connection:
        yield connection


def most_buffers(connection, operation):
    """Return the buffers of an operation, with the worse of both plans."""
    buffers = []
    for mode in MODES:
        connection.execute(f"SET plan_cache_mode = {mode}")
        buffers += [cost_of(connection, operation).buffers for _ in range(2)]
    return max(buffers)


PAGES = {
    "list": lambda store, at: store.sessions(limit=20, cursor=at),
    "list of a status": lambda store, at: store.sessions(limit=20, cursor=at, status="paused"),
    "list of a source": lambda store, at: store.sessions(limit=20, cursor=at, source="telegram"),
}


@pytest.mark.parametrize("at", [None, "2026-01-01T12:30:00+00:00/s"], ids=["first", "later"])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_of_a_busy_hour_costs_the_same_as_of_a_quiet_one(busy, quiet, page, at, figure):
    hours = {"busy": busy, "quiet": quiet}
    buffers = {
        name: most_buffers(hour, partial(PAGES[page], dal.SessionStore(hour), at)) for name, hour in hours.items()
    }
    figure(
        f"buffers of a {page}, {'later' if at else 'first'} page of 20, 100,000 and 60 sessions an hour", str(buffers)
    )
    assert buffers["busy"] <= min(200, buffers["quiet"] + 60)


def test_a_page_of_the_busiest_user_reads_at_most_a_minute(busy, figure):
    store = dal.SessionStore(busy)
    buffers = most_buffers(busy, lambda: store.sessions(user_id="bot", limit=20))
    figure("buffers of a first page of 20 of a user with 30,000 sessions an hour", str(buffers))
    assert buffers <= 600, "the user has 500 sessions in each minute, and 30,000 in the hour"
    times = [record.updated_at for record in store.sessions(user_id="bot", limit=700)]
    assert times == sorted(times, reverse=True)


EXPORTS = {
    "sessions.export": {},
    "sessions.export_of_user": {"user_id": "bot"},
}


@pytest.mark.parametrize("name", EXPORTS)
def test_a_page_of_an_export_does_not_sort_all_sessions(busy, name, figure):
    parameters = {"listed_after": NOON + timedelta(minutes=30), "id_after": "", "source": None, "since": None}
    buffers = most_buffers(busy, lambda: dal.queries[name](busy, until=None, limit=20, **parameters, **EXPORTS[name]))
    figure(f"buffers of a page of 20 of {name}, 100,000 sessions an hour", str(buffers))
    assert buffers <= 200


DELETIONS = {
    "sessions.delete_idle": {},
    "sessions.delete_idle_of_user": {"user_id": "bot"},
}


@pytest.mark.parametrize("name", DELETIONS)
def test_deleting_idle_sessions_costs_the_same_in_a_busy_hour(busy, quiet, name, figure):
    parameters = {
        "idle_since": NOON + timedelta(minutes=50),
        "statuses": ["active"],
        "passed_over": 0,
        "limit": 5,
        "message_limit": 10_000,
        "patience": None,
    }
    parameters |= DELETIONS[name]
    hours = {"busy": busy, "quiet": quiet}
    # Each is rolled back, so all delete the same sessions.
    buffers = {
        title: most_buffers(hour, partial(dal.queries[name], hour, **parameters)) for title, hour in hours.items()
    }
    figure(f"buffers of {name}, limit 5, 100,000 and 60 sessions an hour", str(buffers))
    assert buffers["busy"] <= buffers["quiet"] + 80


def buffers_twice(connection, operation):
    """Return the buffers of an operation, and of its repetition."""
    return tuple(cost_of(connection, operation, commit=True).buffers for _ in range(2))


def test_repeated_appends_and_removals_read_no_more(busy, figure):
    mine = dal.SessionStore(busy).for_user("bot").session("s11")
    buffers = {}
    for mode in MODES:
        busy.execute(f"SET plan_cache_mode = {mode}")
        for n in range(3):
            append = partial(mine.append, "user", "x", message_id=f"{mode} {n}")
            buffers.setdefault("append", []).append(buffers_twice(busy, append))
            call = {
                "session_id": mine.id,
                "sequence": append().sequence,
                "change_id": f"{mode} {n}",
                "keep": True,
                "if_next": None,
                "owner": "bot",
            }
            remove = partial(dal.queries.messages.remove_from, busy, **call)
            buffers.setdefault("removal", []).append(buffers_twice(busy, remove))
    figure("buffers of an append and a removal of a user with 30,000 sessions: first, sent again", str(buffers))
    assert all(again <= first + 2 for pairs in buffers.values() for first, again in pairs)


def test_pages_do_not_depend_on_statistics(server, figure):
    """Right after a bulk load, before ANALYZE, a page costs the same as afterwards."""
    with tables_of_an_hour(server, 20_000, analyzed=False) as connection:
        store = dal.SessionStore(connection)
        pages = {"user": lambda: store.sessions(user_id="u7", limit=20), "all": lambda: store.sessions(limit=20)}
        before = {name: most_buffers(connection, page) for name, page in pages.items()}
        connection.execute("VACUUM ANALYZE")
        connection.execute("DISCARD PLANS")
        after = {name: most_buffers(connection, page) for name, page in pages.items()}
    figure("buffers of a page before and after ANALYZE", f"{before}, {after}")
    assert all(before[name] <= after[name] + 10 for name in pages)
