"""What counts and judges when the data layers of the field are measured (bench/peers.py), without any of them."""

import asyncio
import re

import psycopg
import pytest
from commit_order import behind, duplicated, lost
from contention import EACH, WRITERS, Contention, contend
from paths import ROOT
from peers_page import Row, page
from proxy import Requests, Traffic, passed_on
from turns import Cost, Times, filled

STARTUP = (8).to_bytes(4, "big") + b"\4\xd2\x16/" + (9).to_bytes(4, "big") + b"\0\3\0\0\0"
"""What a connection begins with: it asks for encryption, and then for protocol 3."""


def message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + (len(body) + 4).to_bytes(4, "big") + body


@pytest.mark.parametrize("size", [1, 3, 1000], ids=lambda size: f"{size} bytes at a time")
def test_queries_and_executes_are_statements_however_they_are_cut(size):
    asked = [message(b"Q", b"BEGIN\0"), message(b"P", b"\0Q E\0"), message(b"B", b"EQ"), message(b"E"), message(b"S")]
    data, requests = STARTUP + b"".join(asked), Requests()
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
    ("what", "round_trips", "statements"),
    [(one_query, 1, 1), (a_transaction, 3, 3), (a_pipeline, 1, 2), (a_long_reply, 1, 1), (a_long_request, 1, 1)],
)
def test_the_proxy_counts_what_goes_over_the_wire(server, what, round_trips, statements):
    traffic = Traffic()
    with passed_on(server.conninfo, traffic=traffic) as conninfo:
        with psycopg.connect(conninfo, autocommit=True, prepare_threshold=None) as connection:
            before = traffic.round_trips, traffic.statements
            what(connection)
            counted = traffic.round_trips - before[0], traffic.statements - before[1]
    assert counted == (round_trips, statements)


@pytest.mark.parametrize(
    ("acknowledged", "stored", "missing", "twice"),
    [
        ("abc", "abc", "", 0),
        ("abc", "ac", "b", 0),
        ("ab", "abx", "", 0),  # Its append raised an error, and it was stored nevertheless.
        ("ab", "abb", "", 1),
        ("ab", "bbb", "a", 2),
    ],
)
def test_what_is_lost_and_what_is_there_twice(acknowledged, stored, missing, twice):
    assert lost(acknowledged, stored) == set(missing)
    assert duplicated(stored) == twice


@pytest.mark.parametrize(
    ("reads", "overtaken"),
    [
        (["", "a", "ab", "abcd"], ""),
        (["", "b", "ab"], "a"),
        (["ad", "abcd", "abcde"], "bc"),
        (["ac", "a", "abc"], "b"),  # What was seen once has been seen, even if it was gone for a while.
        (["dc", "cd"], ""),  # Nothing that comes to light: another order of the same.
        (["ab", "ac", "abc"], ""),
    ],
)
def test_what_comes_to_light_behind_what_was_read(reads, overtaken):
    assert behind(reads) == set(overtaken)


class Kept:
    """A layer that keeps its messages in memory, and in whatever way is wrong."""

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


class Overwriting(Kept):
    """Who reads, adds and writes back loses what others wrote meanwhile."""

    async def append(self, text):
        read = list(self.messages)
        await asyncio.sleep(0)
        self.messages = [*read, text]


class Repeating(Kept):
    async def append(self, text):
        self.messages += [text, text]


class Refusing(Kept):
    async def append(self, text):
        raise LookupError


class Overtaken(Kept):
    """Its place is taken before others commit."""

    async def append(self, text):
        place = len(self.messages)
        await asyncio.sleep(0.002)
        self.messages.insert(place, text)


class SlowToRead(Kept):
    """What is read was so before the last were written."""

    async def append(self, text):
        await asyncio.sleep(0)
        await super().append(text)

    async def read(self, session_id):
        read = list(self.messages)
        await asyncio.sleep(0.02)
        return read


class InThreads(Kept):
    threads = True


TOLD = {
    Kept: {"lost": False, "duplicated": False, "behind": False, "errors": False},
    SlowToRead: {"lost": False, "duplicated": False, "behind": False, "errors": False},
    InThreads: {"lost": False, "duplicated": False, "behind": False, "errors": False},
    Overwriting: {"lost": True, "duplicated": False, "behind": False, "errors": False},
    Repeating: {"lost": False, "duplicated": True, "behind": False, "errors": False},
    Refusing: {"lost": False, "duplicated": False, "behind": False, "errors": True},
    Overtaken: {"lost": False, "duplicated": False, "behind": True, "errors": False},
}


@pytest.mark.parametrize("kind", TOLD, ids=lambda kind: kind.__name__)
async def test_what_becomes_of_the_messages_of_eight_is_told(kind):
    outcome = await contend(kind())
    assert len(outcome.acknowledged) + outcome.errors.total() == WRITERS * EACH
    assert {name: bool(getattr(outcome, name)) for name in TOLD[kind]} == TOLD[kind]


async def test_a_session_that_is_not_read_as_it_was_filled_is_not_measured():
    class Backwards(Kept):
        async def read(self, session_id):
            return self.messages[::-1]

    with pytest.raises(AssertionError, match="not read as it was written"):
        await filled(Backwards(), 10)


def test_the_page_says_what_was_measured_and_what_was_not():
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


def test_the_page_in_the_docs_is_what_the_program_writes_of_all_layers():
    written = (ROOT / "docs/peers.md").read_text(encoding="utf-8")
    lines = page([], server="", machine="").splitlines()
    assert [line for line in lines if line not in written and not line.startswith(("|", ", with"))] == []
    layers = [path.read_text(encoding="utf-8") for path in (ROOT / "bench/layers").glob("*.py")]
    titles = [title for layer in layers for title in re.findall(r'^    title = "(.+)"$', layer, re.MULTILINE)]
    assert len(titles) == 10
    assert [title for title in titles if written.count(f"\n| {title} | ") != 2] == []
