"""Listing sessions by recency, among many."""

import pytest
from kept import broken
from many import PAGE, PAGES
from measures import Beside, warm

TITLE = f"a page of {PAGE} sessions among n"
ROUNDS = 40

QUERIES = {"first": "sessions/list", "in the middle": "sessions/list", "of a user": "sessions/list_of_user"}
"""The query behind each of our pages."""


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_of_sessions_costs(many, ledger, name):
    at = many.figures[name]
    ledger.costs(TITLE, "sessions", name, at)
    if name in QUERIES:
        assert broken(QUERIES[name], "the sessions", at) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_the_time_of_a_page_of_sessions(many, timed, slow, name):
    with many.connections() as connect:
        connection = connect(slow=slow)
        page, first = many.page(name, connection), many.page("first", connection)
        warm(page)
        column = f"time at {many.size:,}, beside the first" + (", 1 ms late" if slow else "")
        timed.beside(TITLE, name, column, page, Beside(first, ROUNDS))
