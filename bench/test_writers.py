"""One writer of a session, and eight: who waits, who is refused, and whose message is gone."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
from background_writers import WRITERS, beside_writers
from field import WAYS
from many import PAGES
from sqlalchemy.exc import SQLAlchemyError

EACH, ROUNDS = 25, 5


@dataclass
class Outcome:
    """What became of the appends of all writers."""

    acknowledged: int = 0
    refused: int = 0


@pytest.mark.parametrize("writers", [1, 8])
@pytest.mark.parametrize("name", WAYS)
def test_writers_of_one_session(field, connected, timed, writers, name):
    ways = [field.way(name, connected()) for _ in range(writers)]
    first, session = ways[0], field.session(ways[0], f"busy with {writers}")
    before, _ = first.stored(session)
    outcome = Outcome()
    timed.benchmark.group = f"{writers} writers"
    with ThreadPoolExecutor(writers) as threads:
        timed.benchmark.pedantic(write, args=[threads, ways, session, outcome], rounds=ROUNDS, warmup_rounds=0)
    stored, duplicates = first.stored(session)
    stored -= before
    lost = outcome.acknowledged - stored
    table = timed.ledger.table("writers of one session: the time that a stored message takes, beside ours")
    if timed.benchmark.stats is not None:
        table.time(first.title, f"with {writers}", timed.benchmark.stats["min"] * ROUNDS / stored)
    if writers > 1:
        of = f"of {outcome.acknowledged + outcome.refused}"
        table.tell(first.title, f"refused {of}", outcome.refused)
        table.tell(first.title, f"lost {of}", lost)
        table.tell(first.title, f"with another's number {of}", duplicates)
    if name == "Ours":
        timed.ledger.gate(
            f"writers at once: {writers}, ours: refused, lost, duplicates", f"{outcome.refused}, {lost}, {duplicates}"
        )


def write(threads, ways, session, outcome):
    """Let every way append on a thread of its own, all starting at once."""
    start, lock = threading.Barrier(len(ways)), threading.Lock()

    def one(way):
        acknowledged = 0
        start.wait()
        for _ in range(EACH):
            try:
                way.append(session)
            except (psycopg.Error, SQLAlchemyError):
                continue
            acknowledged += 1
        with lock:
            outcome.acknowledged += acknowledged
            outcome.refused += EACH - acknowledged

    list(threads.map(one, ways))


READS = {
    "latest(20)": lambda session: session.latest(20),
    "messages(limit=20)": lambda session: session.messages(limit=20),
    "agent_ids()": lambda session: session.agent_ids(),
    "record()": lambda session: session.record(),
}


@pytest.mark.parametrize("writers", WRITERS)
@pytest.mark.parametrize("read", READS)
def test_a_read_of_a_session_that_others_write(field, connected, timed, writers, read):
    reader, ways = field.way("Ours", connected()), [field.way("Ours", connected()) for _ in range(writers)]
    session = field.session(reader, "read")
    opened = reader.store.session(session)
    beside_writers(timed, read, partial(READS[read], opened), [partial(way.append, session) for way in ways])


@pytest.mark.parametrize("writers", WRITERS)
@pytest.mark.parametrize("name", PAGES)
def test_a_page_of_sessions_that_others_write(many, timed, writers, name):
    with many.connections() as connect:
        appends = [partial(many.append, connect()) for _ in range(writers)]
        beside_writers(timed, f"sessions, {name}", many.page(name, connect()), appends)
