"""One and eight concurrent writers of a session: times, refused, lost and duplicate messages."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import psycopg
import pytest
from background_writers import WRITERS, time_with_writers
from reads import SESSION_READS
from session_lists import PAGES
from sqlalchemy.exc import SQLAlchemyError
from variant_tables import VARIANTS

EACH, ROUNDS = 25, 5


@dataclass
class Outcome:
    """The outcome of all appends."""

    acknowledged: int = 0
    refused: int = 0


@pytest.mark.parametrize("writers", [1, 8])
@pytest.mark.parametrize("name", VARIANTS)
def test_concurrent_writers_of_one_session(variant_tables, connected, timed, writers, name):
    variants = [variant_tables.variant(name, connected()) for _ in range(writers)]
    first, session = variants[0], variant_tables.session(variants[0], f"busy with {writers}")
    before, _ = first.stored(session)
    outcome = Outcome()
    timed.benchmark.group = f"{writers} writers"
    with ThreadPoolExecutor(writers) as threads:
        timed.benchmark.pedantic(write, args=[threads, variants, session, outcome], rounds=ROUNDS, warmup_rounds=0)
    stored, duplicates = first.stored(session)
    stored -= before
    lost = outcome.acknowledged - stored
    table = timed.ledger.table("concurrent writers of one session: time per stored message, relative to ours")
    if timed.benchmark.stats is not None:
        table.time(first.title, f"with {writers}", timed.benchmark.stats["min"] * ROUNDS / stored)
    if writers > 1:
        of = f"of {outcome.acknowledged + outcome.refused}"
        table.add(first.title, f"refused {of}", outcome.refused)
        table.add(first.title, f"lost {of}", lost)
        table.add(first.title, f"duplicate numbers {of}", duplicates)
    if name == "Ours":
        timed.ledger.gate(
            f"concurrent writers: {writers}, ours: refused, lost, duplicates",
            f"{outcome.refused}, {lost}, {duplicates}",
        )


def write(threads, variants, session, outcome):
    """Append with every variant in its own thread, all starting together."""
    start, lock = threading.Barrier(len(variants)), threading.Lock()

    def one(variant):
        acknowledged = 0
        start.wait()
        for _ in range(EACH):
            try:
                variant.append(session)
            except (psycopg.Error, SQLAlchemyError):
                continue
            acknowledged += 1
        with lock:
            outcome.acknowledged += acknowledged
            outcome.refused += EACH - acknowledged

    list(threads.map(one, variants))


@pytest.mark.parametrize("writers", WRITERS)
@pytest.mark.parametrize("read", SESSION_READS)
def test_time_of_a_read_with_concurrent_writers(variant_tables, connected, timed, writers, read):
    reader, variants = (
        variant_tables.variant("Ours", connected()),
        [variant_tables.variant("Ours", connected()) for _ in range(writers)],
    )
    session = variant_tables.session(reader, "read")
    opened = reader.store.session(session)
    time_with_writers(
        timed, read, partial(SESSION_READS[read], opened), [partial(variant.append, session) for variant in variants]
    )


@pytest.mark.parametrize("writers", WRITERS)
@pytest.mark.parametrize("name", PAGES)
def test_time_of_a_page_of_sessions_with_concurrent_writers(session_lists, timed, writers, name):
    with session_lists.connections() as connect:
        appends = [partial(session_lists.append, connect()) for _ in range(writers)]
        time_with_writers(timed, f"sessions, {name}", session_lists.page(name, connect()), appends)
