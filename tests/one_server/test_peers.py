"""The counters and checks of bench/peers.py, without any of the other data layers."""

import asyncio
import re

import psycopg
import pytest
from commit_order import duplicated, late, lost
from contention import EACH, WRITERS, Contention, contend
from paths import ROOT
from peer_costs import Cost, Times, fill_session
from peers_page import Row, page
from proxy import Requests, Traffic, forward_through_proxy

STARTUP = (8).to_bytes(4, "big") + b"\4\xd2\x16/" + (9).to_bytes(4, "big") + b"\0\3\0\0\0"
"""The beginning of a connection: a request for encryption, then the startup message of protocol 3."""


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize("size", [1, 3, 1000], ids=lambda size: f"{size} bytes at a time")
def test_statements_are_counted_in_any_chunks(size):
    requests_sent = [
        message(b"Q", b"BEGIN\0"),
        message(b"P", b"\0Q E\0"),
        message(b"B", b"EQ"),
        message(b"E"),
        message(b"S"),
    ]
    data, requests = STARTUP + b"".join(requests_sent), Requests()
    assert sum(requests.statements(data[at : at + size]) for at in range(0, len(data), size)) == 2


def one_query(connection):
    connection.execute("SELECT 1")


def a_transaction(connection):
    with connection.transaction():
        connection.execute("SELECT 1")


def a_pipeline(connection):
    with connection.pipeline():
        connection.execute("SELECT 1")
        connection.execute("SELECT 2")


def a_long_reply(connection):
    connection.execute("SELECT repeat('x', 10000) FROM generate_series(1, 200)")


def a_long_request(connection):
    connection.execute("SELECT %s", ["x" * 2_000_000])


@pytest.mark.parametrize(
    ("operation", "round_trips", "statements"),
    [(one_query, 1, 1), (a_transaction, 3, 3), (a_pipeline, 1, 2), (a_long_reply, 1, 1), (a_long_request, 1, 1)],
)
def test_the_proxy_counts_round_trips_and_statements(server, operation, round_trips, statements):
    traffic = Traffic()
    with forward_through_proxy(server.conninfo, traffic=traffic) as conninfo:
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
            before = traffic.round_trips, traffic.statements
            operation(connection)
            counted = traffic.round_trips - before[0], traffic.statements - before[1]
    assert counted == (round_trips, statements)


@pytest.mark.parametrize(
    ("acknowledged", "stored", "missing", "duplicates"),
    [
        ("abc", "abc", "", 0),
        ("abc", "ac", "b", 0),
        ("ab", "abx", "", 0),  # Stored although its append raised an error.
        ("ab", "abb", "", 1),
        ("ab", "bbb", "a", 2),
    ],
)
def test_lost_and_duplicated_messages_are_found(acknowledged, stored, missing, duplicates):
    assert lost(acknowledged, stored) == set(missing)
    assert duplicated(stored) == duplicates


@pytest.mark.parametrize(
    ("reads", "late_messages"),
    [
        (["", "a", "ab", "abcd"], ""),
        (["", "b", "ab"], "a"),
        (["ad", "abcd", "abcde"], "bc"),
        (["ac", "a", "abc"], "b"),  # A message counts as seen, even if a later read lacks it.
        (["dc", "cd"], ""),  # The same messages in another order.
        (["ab", "ac", "abc"], ""),
    ],
)
def test_late_messages_are_found(reads, late_messages):
    assert late(reads) == set(late_messages)


class InMemory:
    """A layer that stores its messages in memory; subclasses add faults."""

    threads = False

    def __init__(self):
        self.messages = []

    async def begin(self, session_id):
        return self.append

    async def append(self, text):
        self.messages.append(text)

    async def fill(self, session_id, texts):
        self.messages += texts

    async def read(self, session_id):
        return list(self.messages)


class Overwriting(InMemory):
    """Read-modify-write loses concurrent appends."""

    async def append(self, text):
        read = list(self.messages)
        await asyncio.sleep(0)
        self.messages = [*read, text]


class Repeating(InMemory):
    async def append(self, text):
        self.messages += [text, text]


class Refusing(InMemory):
    async def append(self, text):
        raise LookupError


class Late(InMemory):
    """Its position is assigned before the commit of others."""

    async def append(self, text):
        place = len(self.messages)
        await asyncio.sleep(0.002)
        self.messages.insert(place, text)


class SlowToRead(InMemory):
    """A read returns an older state."""

    async def append(self, text):
        await asyncio.sleep(0)
        await super().append(text)

    async def read(self, session_id):
        read = list(self.messages)
        await asyncio.sleep(0.02)
        return read


class InThreads(InMemory):
    threads = True


EXPECTED = {
    InMemory: {"lost": False, "duplicated": False, "late": False, "errors": False},
    SlowToRead: {"lost": False, "duplicated": False, "late": False, "errors": False},
    InThreads: {"lost": False, "duplicated": False, "late": False, "errors": False},
    Overwriting: {"lost": True, "duplicated": False, "late": False, "errors": False},
    Repeating: {"lost": False, "duplicated": True, "late": False, "errors": False},
    Refusing: {"lost": False, "duplicated": False, "late": False, "errors": True},
    Late: {"lost": False, "duplicated": False, "late": True, "errors": False},
}


@pytest.mark.parametrize("kind", EXPECTED, ids=lambda kind: kind.__name__)
async def test_the_outcome_of_eight_writers(kind):
    outcome = await contend(kind())
    assert len(outcome.acknowledged) + outcome.errors.total() == WRITERS * EACH
    assert {name: bool(getattr(outcome, name)) for name in EXPECTED[kind]} == EXPECTED[kind]


async def test_a_layer_that_reads_wrongly_is_not_measured():
    class Backwards(InMemory):
        async def read(self, session_id):
            return self.messages[::-1]

    with pytest.raises(AssertionError, match="not read as it was written"):
        await fill_session(Backwards(), 10)


def test_the_page_shows_figures_and_failures():
    outcome = Contention(acknowledged=["a", "b"], reads=[["b"], ["a", "b", "b"]])
    outcome.errors["Stale"] += 3
    times = Times(took=0.003, ours=0.002)
    long = Times(took=0.13, ours=0.001)
    measured = Row("Some", "`add()`", "It does more.", {"some": "1.2"}, Cost(6, 7), {1_000: times}, long, outcome)
    text = page([measured, Row("Other", failed="ImportError: none")], server="PostgreSQL 0", machine="a machine")
    assert "PostgreSQL 0, with a machine" in text
    assert "| Some | 6 | 7 | 1.5 x (3.00 ms) | 130 x (130.00 ms) |" in text
    assert "| Some | 3 Stale | 0 | 1 | 1 | 1 |" in text
    assert "- **Some** (some 1.2): `add()`. It does more." in text
    assert text.endswith("## Not measured\n\n- Other: ImportError: none\n")


def test_the_page_in_the_docs_is_complete():
    written = (ROOT / "docs/peers.md").read_text(encoding="utf-8")
    lines = page([], server="", machine="").splitlines()
    assert [line for line in lines if line not in written and not line.startswith(("|", ", with"))] == []
    layers = [path.read_text(encoding="utf-8") for path in (ROOT / "bench/layers").glob("*.py")]
    titles = [title for layer in layers for title in re.findall(r'^    title = "(.+)"$', layer, re.MULTILINE)]
    assert len(titles) == 10
    assert [title for title in titles if written.count(f"\n| {title} | ") != 2] == []
