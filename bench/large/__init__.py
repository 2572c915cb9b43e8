"""Realistic data of any size: a few large sessions and users among many small ones, and contents of uneven length.

This fills a schema that you can then experiment with:

    uv run python -m large CONNINFO --schema large --messages 10000000  # in the folder bench
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from math import exp, log
from pathlib import Path
from pydoc_data.topics import topics
from statistics import NormalDist
from typing import Any

import aiosql
import psycopg

import dal

_statements: Any = aiosql.from_path(Path(__file__).with_name("data.sql"), "psycopg")

MESSAGES_OF_A_SESSION = 100
"""The average. A third of the sessions have two messages, and one session has a tenth of all messages."""

SEED = 19

_STEPS = 40
"""Each session grows in up to this many steps, so its messages are spread over as many parts of the table."""

_TEXTS = 16_384  # As in data.sql.
_MEDIAN, _LONGEST = 200, 10_000
"""The lengths of contents in characters: a log-normal distribution with a sigma of 1, cut off at the longest."""


@dataclass(frozen=True, slots=True)
class Filled:
    """The stored data."""

    messages: int
    ended: datetime
    """The end of the hour in which all sessions had their last activity."""


def sessions_of(messages: int) -> int:
    """Return the number of sessions for a number of messages."""
    return messages // MESSAGES_OF_A_SESSION


def fill(
    connection: psycopg.Connection[Any],
    messages: int,
    *,
    seed: int = SEED,
    report: Callable[[int], object] = lambda _: None,
) -> Filled:
    """Apply the schema, and store this many messages. `report` is called with the number of messages stored so far."""
    if messages < 10 * MESSAGES_OF_A_SESSION:
        raise ValueError(f"messages must be {10 * MESSAGES_OF_A_SESSION:,} or more, or the data would not be skewed")
    dal.SessionStore(connection).apply_schema()
    ended = datetime.now(UTC)
    connection.execute("SET work_mem = '64MB'")
    _create_texts(connection, seed)
    _statements.plan_sessions(connection, messages=messages, sessions=sessions_of(messages), seed=seed, steps=_STEPS)
    _statements.plan_huge(connection, messages=messages)
    _statements.fill_sessions(connection, ended=ended, steps=_STEPS)
    stored = 0
    for step in range(1, _STEPS + 1):
        stored += _statements.fill_messages(connection, seed=seed, step=step, steps=_STEPS)
        report(stored)
    _statements.fill_removed(connection, ended=ended)
    _statements.fill_tombstones(connection, ended=ended)
    _statements.drop_plan(connection)
    connection.execute("RESET work_mem")
    return Filled(stored, ended)


def settle(connection: psycopg.Connection[Any]) -> None:
    """Vacuum and analyze all tables. VACUUM can mark rows as visible to all only after their commit is on disk."""
    connection.execute("SET synchronous_commit = on")
    _statements.settle(connection)


def _create_texts(connection: psycopg.Connection[Any], seed: int) -> None:
    _statements.create_texts(connection)
    with connection.cursor() as cursor, cursor.copy("COPY large_texts (n, content) FROM STDIN") as copy:
        for row in enumerate(texts(seed)):
            copy.write_row(row)
    connection.execute("ANALYZE large_texts")


def texts(seed: int) -> Iterator[str]:
    """Yield contents: English prose with some code, from Python's documentation."""
    corpus = " ".join(topics.values()).replace("\0", "")
    chosen = random.Random(seed)
    for length in lengths():
        start = chosen.randrange(len(corpus) - length)
        yield corpus[start : start + length]


def lengths() -> list[int]:
    """Return the lengths of all contents, as evenly spaced quantiles of their distribution."""
    normal = NormalDist(log(_MEDIAN), 1)
    return [min(_LONGEST, max(1, round(exp(normal.inv_cdf((n + 0.5) / _TEXTS))))) for n in range(_TEXTS)]
