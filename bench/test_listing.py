"""Listing sessions by recency, among many."""

from functools import partial

import pytest
from kept import broken
from measures import Beside, Operation, figures_of, warm
from reads import listing

from dal.validate import make_cursor

SIZES = (5_000, 10_000, 20_000, 50_000)
LARGE = (*SIZES, 1_000_000)
PAGE = 20
TITLE = f"a page of {PAGE} sessions among n"
ROUNDS = 40


def later(store, connection, size):
    session_id, updated_at = listing.middle(connection)
    return partial(store.sessions, limit=PAGE, cursor=make_cursor(updated_at, session_id))


PAGES = {
    "first": lambda store, connection, size: partial(store.sessions, limit=PAGE),
    "in the middle": later,
    "of a user": lambda store, connection, size: partial(store.sessions, limit=PAGE, user_id="user-7"),
    "OFFSET, in the middle": lambda store, connection, size: (
        lambda: list(listing.offset(connection, skip=size // 2, limit=PAGE))
    ),
}

QUERIES = {"first": "sessions/list", "in the middle": "sessions/list", "of a user": "sessions/list_of_user"}
"""The query behind each of our pages."""


def grow(connection, name, before, size):
    """Let so many sessions be there, in the tables that the page is read from."""
    listing.fill(connection, before=before, size=size)
    listing.settle(connection)
    if name.startswith("OFFSET"):
        listing.fill_offset(connection, before=before, size=size)
        listing.settle_offset(connection)


@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_sessions(connection, sync_store, large, timed, name):
    listing.prepare_offset(connection)
    at, before = {}, 0
    for size in LARGE if large else SIZES:
        grow(connection, name, before, size)
        before = size
        page = PAGES[name](sync_store, connection, size)
        warm(page)
        at[size] = figures_of(connection, Operation(page))
    timed.ledger.costs(TITLE, "sessions", name, at)
    if name in QUERIES:
        assert broken(QUERIES[name], "the sessions", at) == []
    last = at[before]
    timed.benchmark.extra_info.update(round_trips=last.round_trips, buffers=last.cost.buffers)
    first = Beside(partial(sync_store.sessions, limit=PAGE), ROUNDS)
    timed.beside(TITLE, name, f"time at {before:,}, beside the first", page, first)
