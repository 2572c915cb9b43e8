"""Listing sessions by recency, among many."""

import pytest
from many import PAGE, PAGES
from measures import Beside, warm
from promises_kept import broken

from dal.gate.measure.growth import SLACK

TITLE = f"a page of {PAGE} sessions among n"
ROUNDS = 40

QUERIES = {"first": "sessions/list", "in the middle": "sessions/list", "of a user": "sessions/list_of_user"}
"""The query behind each of our pages."""


DEEPER = SLACK + 1
"""Buffers that are not growth: a page of all sessions descends an index three times, once for each status. The index
gets one level deeper between 20,000 and 50,000 sessions, where a page may begin on a new leaf as well."""


@pytest.mark.parametrize("name", PAGES)
def test_what_a_page_of_sessions_costs(many, ledger, name):
    at = many.figures[name]
    ledger.costs(TITLE, "sessions", name, at, DEEPER)
    if name in QUERIES:
        assert broken(QUERIES[name], "the sessions", at, DEEPER) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_the_time_of_a_page_of_sessions(many, timed, slow, name):
    with many.connections() as connect:
        connection = connect(slow=slow)
        page, first = many.page(name, connection), many.page("first", connection)
        warm(page)
        column = f"time at {many.size:,}, beside the first" + (", 1 ms late" if slow else "")
        timed.beside(TITLE, name, column, page, Beside(first, ROUNDS))
