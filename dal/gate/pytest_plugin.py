"""The pytest plugin: the assertions of dal.gate.asserts as fixtures.

A test uses them with a connection of its own service:

    def test_a_new_task_is_one_round_trip(connection, tasks, round_trips):
        with round_trips(connection, 1):
            tasks.add("water the plants")

pytest imports this module in every project that has the package. So it imports nothing else until a test uses a
fixture.
"""

from __future__ import annotations

from typing import Any

import pytest


@pytest.fixture(scope="session")
def round_trips() -> Any:
    """Assert the number of round trips in a block: a context manager."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.round_trips


@pytest.fixture(scope="session")
def assert_cost() -> Any:
    """Assert the maximum cost of an operation: `assert_cost(connection, operation, buffers=20)`."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.assert_cost


@pytest.fixture(scope="session")
def assert_growth() -> Any:
    """Assert the growth of a cost: `assert_growth(connection, grow, operation, buffers="O(log n)")`."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.assert_growth


@pytest.fixture(scope="session")
def assert_plan_never() -> Any:
    """Assert that no plan has a node: `assert_plan_never(connection, statement, parameters, "Seq Scan on tasks")`."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.assert_plan_never


@pytest.fixture(scope="session")
def held_snapshot() -> Any:
    """Hold an old snapshot during a measurement: a context manager."""
    from dal.gate import asserts  # noqa: PLC0415

    return asserts.held_snapshot
