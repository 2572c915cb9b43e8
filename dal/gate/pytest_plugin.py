"""The pytest plugin: the assertions of dal.gate.asserts as fixtures.

A test uses them with a connection of its own service:

    def test_an_append_is_one_round_trip(connection, session, round_trips):
        with round_trips(connection, 1):
            session.append("user", "hello")

Whoever installs session-dal has it, so pytest imports it in projects that never measure: nothing else is
imported, before a test takes a fixture.
"""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def round_trips() -> Any:
    """Assert how many round trips a block takes: a context manager."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.round_trips


@pytest.fixture(scope="session")
def assert_cost() -> Any:
    """Assert what an operation costs at most: `assert_cost(connection, operation, buffers=20)`."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.assert_cost


@pytest.fixture(scope="session")
def assert_growth() -> Any:
    """Assert how a cost grows: `assert_growth(connection, grow, operation, buffers="O(log n)")`."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.assert_growth


@pytest.fixture(scope="session")
def assert_plan_never() -> Any:
    """Assert on a plan: `assert_plan_never(connection, statement, parameters, "Seq Scan on messages")`."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.assert_plan_never


@pytest.fixture(scope="session")
def held_snapshot() -> Any:
    """Hold an old snapshot beside what is measured: a context manager."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.held_snapshot
