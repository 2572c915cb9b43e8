"""Whole histories: `store.export` and `store.import_` compared with psql's COPY.

    uv run pytest bench/test_histories.py

50,000 messages, and a million with --large. COPY moves the same rows out of the same tables and into them, with their
indexes; ours also writes, parses and checks JSON Lines. synchronous_commit is on. They take turns, so that other load
affects all of them. Times never fail a run; memory does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from collections import defaultdict
from pathlib import Path

import aiosql
import psycopg
import pytest
from psycopg import sql
from report import ratio
from test_append import pgbench
from ulid import ULID

import dal

MESSAGES, LARGE, ROUNDS = 50_000, 1_000_000, 3
MOST_MEMORY = 200 * 10**6
BENCH = Path(__file__).parent
SQL = aiosql.from_path(BENCH / "reads" / "histories.sql", "psycopg")

pytestmark = pytest.mark.usefixtures("durable")


@pytest.fixture
def full(connection, large):
    """Fill the schema; return the number of messages."""
    messages = LARGE if large else MESSAGES
    SQL.fill(connection, messages=messages)
    SQL.settle(connection)
    return messages


@pytest.fixture
def empty(server):
    """Another schema with the tables, and a connection to it."""
    name = f"bench_{ULID()}".lower()
    with psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={name}") as connection:
        dal.SessionStore(connection).apply_schema()
        yield name, connection
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def moved(server, schema, full, empty, tmp_path):
    """The seconds of each command by round, and the peak memory of ours."""
    name, connection = empty
    took, memory = defaultdict(list), defaultdict(list)

    def ours(verb, of):
        command = [sys.executable, BENCH / "histories_process.py", verb, server.conninfo, of, tmp_path / "all.jsonl"]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        took[verb].append(done["seconds"])
        if done["memory"] is not None:
            memory[verb].append(done["memory"])

    def copy(variant, of):
        if (program := psql()) is not None:
            command = [
                program,
                "--no-psqlrc",
                "--quiet",
                "--file",
                BENCH / "reads" / f"{variant}.psql",
                server.conninfo,
            ]
            environment = os.environ | {"PGOPTIONS": f"-c search_path={of}"}
            done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=tmp_path, env=environment)
            times = re.findall(r"^Time: ([\d.]+) ms", done.stdout, re.MULTILINE)
            took[f"COPY {variant}"].append(sum(map(float, times)) / 1000)

    def assert_complete_and_clear():
        assert connection.execute("SELECT count(*) FROM messages").fetchone() == (full,)
        SQL.clear(connection)

    for _ in range(ROUNDS if full == MESSAGES else 1):
        copy("out", schema)
        copy("json", schema)
        ours("export", schema)
        ours("import", name)
        assert_complete_and_clear()
        if psql() is not None:
            copy("in", name)
            assert_complete_and_clear()
    return took, memory


def test_export_and_import_relative_to_copy(moved, ledger, full):
    took, memory = moved
    table = ledger.table(f"{full:,} messages exported and imported: time relative to psql's COPY of the same rows")
    rows = {"import": "COPY in", "export": "COPY out", "COPY json": "COPY out"}
    for row, reference in rows.items():
        if took[reference]:
            label = row.replace("COPY json", "psql's COPY out of messages as JSON")
            table.add(label, "time", ratio(min(took[row]), min(took[reference])))
        if memory[row]:
            table.add(row, "memory of the whole process", f"{max(memory[row]) / 10**6:.0f} MB")
            assert max(memory[row]) < MOST_MEMORY
    if psql() is None:
        table.notes.append("COPY: not measured, psql is not installed")


def psql():
    """Return the path of psql, from the embedded server's wheel or as installed."""
    program = pgbench()
    return program.with_name("psql") if program else shutil.which("psql")
