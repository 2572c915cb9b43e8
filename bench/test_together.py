"""64 who append at once, each in a session of its own or all in one: one by one, and together through a writer.

    uv run pytest bench/test_together.py

synchronous_commit is on. The ways take turns, so that all meet the same neighbours. Times never fail a run.
"""

import asyncio
import statistics
import subprocess
import threading
import time
from contextlib import AsyncExitStack, ExitStack

import pytest
from proxy import passed_on
from report import ratio
from test_append import pgbench

import dal
from dal.files import QUERIES

CALLERS, ROUNDS, SECONDS = 64, 5, 0.4
FAR = 0.005
ALONE_ROUNDS = 1000
CONTENT = "What was said, at the length of a line or so."
TITLE = f"{CALLERS} who append at once: messages in the time that single appends on the same pool need for one"

pytestmark = pytest.mark.usefixtures("durable")


def in_threads(conninfo, schema, session_of, beside=None):
    """Seconds that each append took, by round and way: one by one or through a writer of these options, and ours."""
    with ExitStack() as stack:
        store = stack.enter_context(dal.SessionStore.connect(conninfo, schema=schema, max_size=8))
        store.check_schema()
        other = store if beside is None else stack.enter_context(store.writer(**beside))
        ways = {"the other": other, "ours": stack.enter_context(store.writer())}

        def append(way, n, ends, took):
            session = way.session(session_of(n))
            while time.monotonic() < ends:
                began = time.perf_counter()
                session.append("user", CONTENT, agent_id="agent-1")
                took.append(time.perf_counter() - began)

        def run(way):
            took, ends = [], time.monotonic() + SECONDS
            threads = [threading.Thread(target=append, args=(way, n, ends, took)) for n in range(CALLERS)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return took

        return [{name: run(way) for name, way in ways.items()} for _ in range(ROUNDS)]


def in_tasks(conninfo, schema, session_of, beside=None, hook=None):
    """As in_threads."""

    async def append(way, n, ends, took):
        session = way.session(session_of(n))
        while time.monotonic() < ends:
            began = time.perf_counter()
            await session.append("user", CONTENT, agent_id="agent-1")
            took.append(time.perf_counter() - began)

    async def run(way):
        took, ends = [], time.monotonic() + SECONDS
        await asyncio.gather(*(append(way, n, ends, took) for n in range(CALLERS)))
        return took

    async def rounds():
        async with AsyncExitStack() as stack:
            store = dal.AsyncSessionStore.connect(conninfo, schema=schema, max_size=8, hook=hook)
            await stack.enter_async_context(store)
            await store.check_schema()
            other = store if beside is None else await stack.enter_async_context(store.writer(**beside))
            ways = {"the other": other, "ours": await stack.enter_async_context(store.writer())}
            return [{name: await run(way) for name, way in ways.items()} for _ in range(ROUNDS)]

    return asyncio.run(rounds())


def alone_in_a_thread(server, schema):
    """Seconds that each append took, one by one and through a writer.

    Of several connections each way would have its own, by turns, and no server process is as fast as the next.
    In the main thread a writer's would take longer: another thread makes it, which no signal interrupts.
    """
    took = [], []

    def append(*sessions):
        for _ in range(ALONE_ROUNDS):
            for session, seconds in zip(sessions, took, strict=True):
                began = time.perf_counter()
                session.append("user", CONTENT, agent_id="agent-1")
                seconds.append(time.perf_counter() - began)

    one = dal.SessionStore.connect(server.conninfo, schema=schema, min_size=1, max_size=1)
    with one as store, store.writer() as writer:
        thread = threading.Thread(target=append, args=(store.session("singly"), writer.session("together")))
        thread.start()
        thread.join()
    return took


def alone_in_a_task(server, schema):
    """As alone_in_a_thread."""

    async def append():
        store = dal.AsyncSessionStore.connect(server.conninfo, schema=schema, min_size=1, max_size=1)
        async with store, store.writer() as writer:
            took = [], []
            sessions = store.session("singly"), writer.session("together")
            for _ in range(ALONE_ROUNDS):
                for session, seconds in zip(sessions, took, strict=True):
                    began = time.perf_counter()
                    await session.append("user", CONTENT, agent_id="agent-1")
                    seconds.append(time.perf_counter() - began)
            return took

    return asyncio.run(append())


def compared(rounds):
    """What the appends of each way took, by round, without the first, which warms them up."""
    return [[one[way] for one in rounds[1:]] for way in ("the other", "ours")]


@pytest.fixture
def here(server, schema, tables):
    """Where the tables are."""
    return server, schema


KINDS = {"threads": in_threads, "tasks": in_tasks}
ALONE = {"threads": alone_in_a_thread, "tasks": alone_in_a_task}
SESSIONS = {
    "each in its own session": lambda n: f"own {n}",
    "all in one session": lambda _: "shared",
}


@pytest.mark.parametrize("sessions", SESSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_many_at_once(here, ledger, kind, sessions):
    server, schema = here
    singly, together = compared(KINDS[kind](server.conninfo, schema, SESSIONS[sessions]))
    more = statistics.median(len(many) / len(few) for few, many in zip(singly, together, strict=True))
    late = statistics.median(p99(many) / p99(few) for few, many in zip(singly, together, strict=True))
    table = ledger.table(TITLE)
    row = f"{kind}, {sessions}"
    table.tell(row, "messages", f"{more:.1f} x")
    table.tell(row, "the 99th percentile of the time", f"{late:.2f} x")


def test_many_at_once_to_a_server_that_is_far_away(here, ledger):
    """Beside a writer that has only one batch on its way: the server would wait for each."""
    server, schema = here
    with passed_on(server.conninfo, delay=FAR) as far:
        rounds = in_tasks(far, schema, SESSIONS["each in its own session"], beside={"batches": 1})
    one, several = compared(rounds)
    more = statistics.median(len(many) / len(few) for few, many in zip(one, several, strict=True))
    row = f"tasks, each in its own session, replies {FAR * 1000:.0f} ms late, beside one batch at a time"
    ledger.table(TITLE).tell(row, "messages", f"{more:.2f} x")


@pytest.mark.parametrize("kind", ALONE)
def test_one_alone(here, ledger, kind):
    """Append by append in turns: the difference is smaller than what the disk does between two rounds."""
    singly, together = (statistics.median(took[ALONE_ROUNDS // 10 :]) for took in ALONE[kind](*here))
    ledger.table(TITLE).tell(f"{kind}, one alone", "messages", f"{singly / together:.2f} x")


def test_against_pgbench(here, options, ledger, tmp_path):
    """What the server takes from pgbench, which sends the same statement with as many messages in each."""
    table, program = ledger.table(TITLE), pgbench()
    if program is None:
        table.notes.append("what the server takes from pgbench: not measured, there is no pgbench")
        return
    ran = []
    server, schema = here
    rounds = in_tasks(server.conninfo, schema, SESSIONS["each in its own session"], hook=ran.append)
    ours = statistics.median(len(one) for one in compared(rounds)[1]) / SECONDS
    each = round(statistics.mean(one.rows for one in ran if one.query == "messages.append_all"))
    script = (QUERIES / "messages/append_all.sql").read_text(encoding="utf-8")
    new_ids = f"(SELECT array_agg(gen_random_uuid()::text) FROM generate_series(1, {each}))"
    (tmp_path / "script").write_text(script.replace("(SELECT :message_ids::text[])", new_ids), encoding="utf-8")
    texts = dict.fromkeys(("sources", "user_ids", "parent_ids", "agent_ids"), ["NULL"] * each)
    numbers = [str(n + 1) for n in range(each)]
    texts |= {"session_metadata": ['"{}"'] * each, "metadata": ['"{}"'] * each, "roles": ["user"] * each}
    texts |= {"contents": [f'"{CONTENT}"'] * each, "places": numbers, "calls": numbers, "session_ids": numbers}
    given = {name: "{" + ",".join(elements) + "}" for name, elements in texts.items()} | {"confined": "false"}
    command = [program, "--no-vacuum", "--protocol=prepared", f"--time={round(ROUNDS * SECONDS)}"]
    command += [f"--define={name}={value}" for name, value in given.items()]
    environment = {"PGOPTIONS": options["options"]}
    for clients in (1, 2):
        done = subprocess.run(
            [*command, f"--client={clients}", f"--file={tmp_path / 'script'}", server.conninfo],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        rate = next(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("tps ="))
        row = f"tasks, each in its own session, beside pgbench with {each} in each batch, {clients} at once"
        table.tell(row, "messages", f"{ratio(ours, rate * each)}")


def p99(took):
    return sorted(took)[int(len(took) * 0.99)]
