"""The cost of an append on the server, compared with a plain UPDATE and INSERT on tables with the same indexes.

Only instructions can fail the run, since they do not depend on the clock. CPU times are shown next to them.
"""

import os
from concurrent.futures import ThreadPoolExecutor

import pytest
from psycopg.types.numeric import Int8
from report import ratio
from server_cost import Appending, Cluster, cpu_times, filled, missing, plain

import dal

pytestmark = pytest.mark.skipif(missing() is not None, reason=f"the cost on the server: {missing()}")

MOST = 2.5
"""The most instructions of an append, as a multiple of those of a plain UPDATE and INSERT."""

ROUNDS = 200
TITLE = "cost of an append on the server, as a multiple of a plain UPDATE and INSERT"
PARTS_TITLE = "instructions of an append by part, as a multiple of a plain UPDATE and INSERT"
TOGETHER = 32

MESSAGE = {"role": "assistant", "agent_id": "agent-1", "content": "0123456789" * 20, "metadata": "{}"}
UNCONDITIONAL = {"if_next": None, "session_changes": None}


def one(n):
    """Return the parameters of an append to a session."""
    return (
        MESSAGE
        | UNCONDITIONAL
        | {
            "session_id": "s7",
            "source": "telegram",
            "user_id": "u7",
            "parent_id": None,
            "session_metadata": "{}",
            "message_id": f"new-{n:08}",
            "owner": None,
            "must_exist": False,
        }
    )


def together(n, sessions):
    """Return the parameters of an append of several messages."""
    count = TOGETHER
    columns = {"role": "roles", "agent_id": "agent_ids", "content": "contents", "metadata": "metadata"}
    return (
        {columns[name]: [value] * count for name, value in MESSAGE.items()}
        | UNCONDITIONAL
        | {
            "session_ids": [f"s{k + 100}" for k in range(sessions)],
            "sources": ["telegram"] * sessions,
            "user_ids": ["u7"] * sessions,
            "parent_ids": [""] * sessions,
            "session_metadata": ["{}"] * sessions,
            "must_exist": [False] * sessions,
            "confined": False,
            "patience": None,
            "places": [Int8(k % sessions + 1) for k in range(count)],
            "calls": [Int8(k) for k in range(count)],
            "message_ids": [f"new-{n:08}-{k}" for k in range(count)],
        }
    )


def ours(name, parameters, messages=1):
    statement = dal.queries[f"messages.{name}"]
    return Appending.of(statement.sql.decode(), lambda n: statement.bind(parameters(n)), messages)


def plainly(name, parameters, messages=1):
    text, names = plain(name)
    return Appending.of(text, lambda n: [parameters(n)[name] for name in names], messages)


CASES = {
    "append": (ours("append", one), plainly("append", one)),
    "append_all, 32 messages to one session": (
        ours("append_all", lambda n: together(n, 1), TOGETHER),
        plainly("append_all", lambda n: together(n, 1), TOGETHER),
    ),
    "append_all, 32 messages to 32 sessions": (
        ours("append_all", lambda n: together(n, TOGETHER), TOGETHER),
        plainly("append_all", lambda n: together(n, TOGETHER), TOGETHER),
    ),
}


def fit(*ids):
    """Return the condition that each of these ids has 1 to 255 characters."""
    return " AND ".join(f"length({one}) BETWEEN 1 AND 255" for one in ids)


CHECKS = {
    "the ids of sessions": f"sessions ADD CHECK ({fit('session_id', 'source', 'user_id', 'parent_id')})",
    "the ids of messages": f"messages ADD CHECK ({fit('message_id', 'role', 'agent_id')})",
    "status": "sessions ADD CHECK (status IN ('active', 'paused', 'archived', 'trashed', 'deleted'))",
    "archived_at": "sessions ADD CHECK ((coalesce(trashed_from, status) = 'archived') = (archived_at IS NOT NULL))",
    "the counters": "sessions ADD CHECK (message_count BETWEEN 0 AND next_sequence)",
    "trashed_from": "sessions ADD CHECK ((status = 'trashed') = (trashed_from IS NOT NULL))",
    "metadata of sessions": "sessions ADD CHECK (jsonb_typeof(metadata) = 'object')",
    "metadata of messages": "messages ADD CHECK (jsonb_typeof(metadata) = 'object')",
    "sequence": "messages ADD CHECK (sequence >= 0)",
}
"""The CHECK constraints of version 7 that the tables no longer have."""

OF_TABLES = {
    "foreign key": "ALTER TABLE messages DROP CONSTRAINT messages_session_id_fkey",
    "CHECK of agent_ids": "ALTER TABLE sessions DROP CONSTRAINT sessions_only_archived_caches",
    "domain of ids": "ALTER DOMAIN dal_identifier DROP CONSTRAINT dal_identifier_fits",
    "domain of status": "ALTER DOMAIN dal_status DROP CONSTRAINT dal_status_is_known",
    "domain of metadata": "ALTER DOMAIN dal_object DROP CONSTRAINT dal_object_is_an_object",
    "index by agent, which both have": "DROP INDEX messages_by_agent",
    "index by message_id, which both have": "ALTER TABLE messages DROP CONSTRAINT messages_message_id_key",
}

OF_STATEMENT = {
    "a message sent again": ((r" UNION ALL .*", ""), (r"NOT EXISTS \(SELECT FROM prior\)", "true")),
    "owner of a message sent again": ((r" WHERE \$\d+::text IS NULL OR \$\d+::text = \( SELECT.*", ""),),
    "owner": ((r" AND \(\$\d+::text IS NULL OR s\.user_id IS NOT DISTINCT FROM \$\d+::text\)", ""),),
    "must_exist": ((r" AND \( NOT \$\d+::boolean OR EXISTS \(.*?\) \)", ""),),
    "temporary tables": ((r" AND \( pg_my_temp_schema\(\).*?'messages'::regclass \) \)", ""),),
    "if_next": ((r" AND \(\$\d+::bigint IS NULL OR s\.next_sequence = \$\d+::bigint\)", ""),),
    "session_changes": ((r", metadata = CASE.*? END(?= WHERE)", ""),),
    "a clock set back": ((r"updated_at = CASE.*? END,", "updated_at = excluded.updated_at,"),),
    "listed_at": ((r", listed_at = CASE.*? END", ""),),
}
"""Parts of the statement: the patterns that are replaced, and their replacements."""


@pytest.fixture(scope="module")
def cluster():
    with filled() as cluster:
        yield cluster


def counted(cluster: Cluster, appendings):
    """Count the instructions of several statements, in parallel: that does not change the counts."""
    with ThreadPoolExecutor(os.cpu_count()) as executor:
        return dict(zip(appendings, executor.map(cluster.instructions, appendings.values()), strict=True))


def test_instructions(cluster, ledger):
    table = ledger.table(TITLE)
    both = {
        (name, whose): one for name, pair in CASES.items() for whose, one in zip(("ours", "plain"), pair, strict=True)
    }
    found = counted(cluster, both)
    for name in CASES:
        table.add(name, "instructions", ratio(found[name, "ours"], found[name, "plain"]))
        table.add(name, "instructions of the plain one", f"{found[name, 'plain']:,}")
    assert {
        name: found[name, "ours"] / found[name, "plain"]
        for name in CASES
        if found[name, "ours"] > MOST * found[name, "plain"]
    } == {}


def test_cpu_time(cluster, ledger):
    table = ledger.table(TITLE)
    for name, (mine, other) in CASES.items():
        least = cpu_times(cluster, {"ours": mine, "plain": other}, ROUNDS)
        table.add(name, "CPU time", ratio(least["ours"], least["plain"]))


def test_parts(cluster, ledger, request):
    if request.config.option.benchmark_disable:
        pytest.skip("without times, cachegrind runs only as often as the gate needs it")
    table = ledger.table(PARTS_TITLE)
    append, base = CASES["append"]
    every = [f"ALTER TABLE {check}" for check in CHECKS.values()]
    variants = {("plain UPDATE and INSERT", ""): base, ("append", ""): append}
    variants |= {(part, "costs"): append.after(change) for part, change in OF_TABLES.items()}
    for part, edits in OF_STATEMENT.items():
        edited = append
        for edit in edits:
            edited = edited.without(*edit)
        variants[part, "costs"] = edited
    variants |= {(f"CHECK of {name}", "cost"): append.after(change) for name, change in zip(CHECKS, every, strict=True)}
    variants["all CHECKs of version 7", "cost"] = append.after(*every)
    found = counted(cluster, variants)
    least, whole = found["plain UPDATE and INSERT", ""], found["append", ""]
    for (part, what), instructions in found.items():
        cost = {"": instructions, "costs": whole - instructions, "cost": instructions - whole}[what]
        table.add(part, {"": "in all", "costs": "part", "cost": "part of version 7"}[what], ratio(cost, least))
