"""64 concurrent callers, with their own sessions or a shared one: a writer compared with single appends.

    uv run pytest bench/test_batching.py

synchronous_commit is on. The two take turns, so that other load affects both: in a closed loop, where each caller calls
again as soon as its last call has returned, and in open loops, where calls arrive at a fixed rate (see arrivals.py).
Times never fail a run.
"""

import asyncio
import statistics
import subprocess
import threading
import time
from contextlib import AsyncExitStack, ExitStack

import pytest
from arrivals import BEYOND, RATES, ROUNDS, SECONDS, SHARES, p99, plan
from proxy import forward_through_proxy
from report import ratio
from test_append import pgbench

import dal
from dal.sql import QUERIES

CALLERS = 64
FAR = 0.005
ALONE_ROUNDS = 1000
CONTENT = "What was said, at the length of a line or so."
TITLE = f"{CALLERS} concurrent callers, closed loop: relative to single appends on the same pool"
OPEN = f"{CALLERS} callers, open loop: p99 since each call was due, relative to single appends"

pytestmark = pytest.mark.usefixtures("durable")


def in_threads(conninfo, schema, session_of):
    """Measure single appends and a writer in threads, in the order of `plan`."""
    with ExitStack() as stack:
        store = stack.enter_context(dal.SessionStore.connect(conninfo, schema=schema, max_size=8))
        store.check_schema()
        targets = {"the other": store, "ours": stack.enter_context(store.writer())}

        def append(session, arrivals, durations):
            for due in arrivals:
                if due > time.perf_counter():
                    time.sleep(max(0.0, due - time.perf_counter()))
                session.append("user", CONTENT, agent_id="agent-1")
                durations.append(time.perf_counter() - due)

        def run(target, arrivals):
            durations, sessions = [], [targets[target].session(session_of(n)) for n in range(CALLERS)]
            threads = [threading.Thread(target=append, args=(session, arrivals, durations)) for session in sessions]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            return durations

        planned = plan(RATES)
        target, arrivals = next(planned)
        try:
            while True:
                target, arrivals = planned.send(run(target, arrivals))
        except StopIteration as done:
            return done.value


def in_tasks(  # noqa: PLR0913 - the tests vary all of them
    conninfo, schema, session_of, *, rates=RATES, send_all=False, hook=None
):
    """Measure like in_threads, in tasks; with `send_all`, compare with a writer that always sends all queued calls."""

    async def append(session, arrivals, durations):
        for due in arrivals:
            if due > time.perf_counter():
                await asyncio.sleep(due - time.perf_counter())
            await session.append("user", CONTENT, agent_id="agent-1")
            durations.append(time.perf_counter() - due)

    async def run(target, arrivals):
        durations, sessions = [], [target.session(session_of(n)) for n in range(CALLERS)]
        await asyncio.gather(*(append(session, arrivals, durations) for session in sessions))
        return durations

    async def main():
        async with AsyncExitStack() as stack:
            store = dal.AsyncSessionStore.connect(conninfo, schema=schema, max_size=8, hook=hook)
            await stack.enter_async_context(store)
            await store.check_schema()
            other = send_all_queued(await stack.enter_async_context(store.writer())) if send_all else store
            targets = {"the other": other, "ours": await stack.enter_async_context(store.writer())}
            planned = plan(rates)
            target, arrivals = next(planned)
            try:
                while True:
                    target, arrivals = planned.send(await run(targets[target], arrivals))
            except StopIteration as done:
                return done.value

    return asyncio.run(main())


def send_all_queued(writer):
    """Make a writer send all queued calls whenever a batch returns, the simplest policy."""
    queue = writer._backend.appends.here._queue  # noqa: SLF001
    queue._size.of = lambda _: queue.waiting  # noqa: SLF001
    return writer


def alone_in_a_thread(server, schema):
    """Return the seconds of each append of one caller, without and with a writer.

    The pool has one connection, since no two server processes are equally fast. The main thread would be slower:
    a writer makes its appends in another thread, which no signal interrupts.
    """
    durations = [], []

    def append(*sessions):
        for _ in range(ALONE_ROUNDS):
            for session, seconds in zip(sessions, durations, strict=True):
                began = time.perf_counter()
                session.append("user", CONTENT, agent_id="agent-1")
                seconds.append(time.perf_counter() - began)

    one = dal.SessionStore.connect(server.conninfo, schema=schema, min_size=1, max_size=1)
    with one as store, store.writer() as writer:
        thread = threading.Thread(target=append, args=(store.session("single"), writer.session("batched")))
        thread.start()
        thread.join()
    return durations


def alone_in_a_task(server, schema):
    """Measure a task as alone_in_a_thread does."""

    async def append():
        store = dal.AsyncSessionStore.connect(server.conninfo, schema=schema, min_size=1, max_size=1)
        async with store, store.writer() as writer:
            durations = [], []
            sessions = store.session("single"), writer.session("batched")
            for _ in range(ALONE_ROUNDS):
                for session, seconds in zip(sessions, durations, strict=True):
                    began = time.perf_counter()
                    await session.append("user", CONTENT, agent_id="agent-1")
                    seconds.append(time.perf_counter() - began)
            return durations

    return asyncio.run(append())


def compare(ledger, row, measured):
    """Report the ratios of a closed loop and of open ones."""
    pairs = [(one["the other"], one["ours"]) for one in measured.closed[1:]]  # The first round is a warm-up.
    table = ledger.table(TITLE)
    table.add(row, "throughput", f"{statistics.median(len(ours) / len(other) for other, ours in pairs):.2f} x")
    late = statistics.median(p99(ours) / p99(other) for other, ours in pairs)
    table.add(row, "p99", f"{late:.2f} x")
    table = ledger.table(OPEN)
    for share in SHARES:
        table.add(row, f"at {share:.0%} of their capacity", f"{measured.p99_ratio(share):.2f} x")
    if (BEYOND, "ours") in measured.open:
        column = f"at {BEYOND} times it, against theirs at {SHARES[0]:.0%}"
        table.add(row, column, f"{measured.p99_ratio(BEYOND, SHARES[0]):.2f} x")


@pytest.fixture
def server_and_schema(server, schema, tables):
    """The server, and the schema with the tables."""
    return server, schema


KINDS = {"threads": in_threads, "tasks": in_tasks}
ALONE = {"threads": alone_in_a_thread, "tasks": alone_in_a_task}
SESSIONS = {
    "each in its own session": lambda n: f"own {n}",
    "all in one session": lambda _: "shared",
}


@pytest.mark.parametrize("sessions", SESSIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_many_callers(server_and_schema, ledger, kind, sessions):
    server, schema = server_and_schema
    measured = KINDS[kind](server.conninfo, schema, SESSIONS[sessions])
    compare(ledger, f"{kind}, {sessions}", measured)


def test_many_callers_far_from_the_server(server_and_schema, ledger):
    """Compare with a writer that always sends all queued calls."""
    server, schema = server_and_schema
    with forward_through_proxy(server.conninfo, delay=FAR) as far:
        measured = in_tasks(far, schema, SESSIONS["each in its own session"], rates=RATES[:-1], send_all=True)
    row = f"tasks, each in its own session, replies {FAR * 1000:.0f} ms late, against sending all queued calls"
    compare(ledger, row, measured)


@pytest.mark.parametrize("kind", ALONE)
def test_one_caller(server_and_schema, ledger, kind):
    """They take turns after each append, since the disk varies more between rounds than the two differ."""
    single, batched = (
        statistics.median(durations[ALONE_ROUNDS // 10 :]) for durations in ALONE[kind](*server_and_schema)
    )
    ledger.table(TITLE).add(f"{kind}, one caller", "throughput", f"{single / batched:.2f} x")


def test_against_pgbench(server_and_schema, options, ledger, tmp_path):
    """Compare with pgbench, which sends the same statement with batches of the same size."""
    table, program = ledger.table(TITLE), pgbench()
    if program is None:
        table.notes.append("pgbench: not measured, it is not installed")
        return
    ran = []
    server, schema = server_and_schema
    measured = in_tasks(server.conninfo, schema, SESSIONS["each in its own session"], rates=(), hook=ran.append)
    ours = statistics.median(len(one["ours"]) for one in measured.closed[1:]) / SECONDS
    each = round(statistics.mean(one.rows for one in ran if one.query == "messages.append_all"))
    script = (QUERIES / "messages/append_all.sql").read_text(encoding="utf-8")
    new_ids = f"(SELECT array_agg(gen_random_uuid()::text) FROM generate_series(1, {each}))"
    (tmp_path / "script").write_text(script.replace("(SELECT :message_ids::text[])", new_ids), encoding="utf-8")
    texts = dict.fromkeys(("sources", "user_ids", "parent_ids", "agent_ids"), ["NULL"] * each)
    numbers = [str(n + 1) for n in range(each)]
    texts |= {"session_metadata": ['"{}"'] * each, "metadata": ['"{}"'] * each, "roles": ["user"] * each}
    texts |= {"contents": [f'"{CONTENT}"'] * each, "places": numbers, "calls": numbers, "session_ids": numbers}
    texts["must_exist"] = ["false"] * each
    given = {name: "{" + ",".join(elements) + "}" for name, elements in texts.items()}
    given["confined"] = "false"  # pgbench sends NULL for all others.
    command = [program, "--no-vacuum", "--protocol=prepared", f"--time={round(ROUNDS * SECONDS)}"]
    command += [f"--define={name}={value}" for name, value in given.items()]
    environment = {"PGOPTIONS": options["options"]}
    for clients in (1, 2):
        done = subprocess.run(
            [*command, f"--client={clients}", f"--file={tmp_path / 'script'}", server.conninfo],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        rate = next(float(line.split()[2]) for line in done.stdout.splitlines() if line.startswith("tps ="))
        row = f"tasks, each in its own session, against pgbench with batches of {each}, {clients} clients"
        table.add(row, "throughput", f"{ratio(ours, rate * each)}")
