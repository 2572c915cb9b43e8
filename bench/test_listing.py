"""Pages of sessions by recency, among many sessions."""

import pytest
from measures import Reference, warm
from promises_kept import broken
from session_lists import PAGE, PAGES

from dal.gate.measure.growth import SLACK

TITLE = f"cost of a page of {PAGE} sessions among n"
ROUNDS = 40

QUERIES = {"first": "sessions/list", "in the middle": "sessions/list", "of a user": "sessions/list_of_user"}
"""The query behind each of our pages."""


DEEPER = SLACK + 1
"""Buffers that are not growth: a page of all sessions descends an index three times, once for each status. The index
gets one level deeper between 20,000 and 50,000 sessions, where a page may begin on a new leaf as well."""


@pytest.mark.parametrize("name", PAGES)
def test_cost_of_a_page_of_sessions(session_lists, ledger, name):
    at = session_lists.figures[name]
    ledger.costs(TITLE, "sessions", name, at, DEEPER)
    if name in QUERIES:
        assert broken(QUERIES[name], "the sessions", at, DEEPER) == []


@pytest.mark.parametrize("name", PAGES)
@pytest.mark.parametrize("slow", [False, True], ids=["direct", "1 ms late"])
def test_time_of_a_page_of_sessions(session_lists, timed, slow, name):
    with session_lists.connections() as connect:
        connection = connect(slow=slow)
        page, first = session_lists.page(name, connection), session_lists.page("first", connection)
        warm(page)
        column = f"time at {session_lists.size:,}, relative to the first" + (
            ", replies delayed by 1 ms" if slow else ""
        )
        timed.compare(TITLE, name, column, page, Reference(first, ROUNDS))
