"""Whole histories out of a database and into another: `store.export` and `store.import_` beside psql's COPY.

    uv run pytest bench/test_histories.py

50,000 messages, and a million with --large, which is where the memory is to be looked at. COPY moves the same rows from
and into the same tables, with their indexes; the JSON Lines are written, read and checked besides. synchronous_commit is
on. They take turns, so that all meet the same neighbours. Times never fail a run; memory does.
"""

import json
import os
import re
import shutil
import subprocess
import sys
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
def target(server):
    """Another schema with the tables, and a connection to it."""
    name = f"bench_{ULID()}".lower()
    with psycopg.connect(server.conninfo, autocommit=True, options=f"-c search_path={name}") as connection:
        dal.SessionStore(connection).apply_schema()
        yield name, connection
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def test_in_and_out(server, schema, connection, target, ledger, large, tmp_path):
    messages = LARGE if large else MESSAGES
    SQL.fill(connection, messages=messages)
    SQL.settle(connection)
    name, other = target

    def ours(verb, schema):
        command = [sys.executable, BENCH / "moving.py", verb, server.conninfo, schema, tmp_path / "all.jsonl"]
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        assert done["messages"] == messages
        return done

    took = {way: [] for way in ("export", "import", "COPY out", "COPY in")}
    memory = {"export": [], "import": []}
    program = psql()
    for _ in range(1 if large else ROUNDS):
        if program is not None:
            took["COPY out"].append(copy(program, "out", server, schema, tmp_path))
        for verb, of in (("export", schema), ("import", name)):
            done = ours(verb, of)
            took[verb].append(done["seconds"])
            memory[verb].append(done["memory"])
            assert other.execute("SELECT count(*) FROM messages").fetchone() == (messages if verb == "import" else 0,)
        SQL.clear(other)
        if program is not None:
            took["COPY in"].append(copy(program, "in", server, name, tmp_path))
        SQL.clear(other)

    table = ledger.table(f"{messages:,} messages as a file: the time, beside that of psql's COPY of the same rows")
    for verb, beside in (("export", "COPY out"), ("import", "COPY in")):
        if took[beside]:
            table.tell(verb, "time", ratio(min(took[verb]), min(took[beside])))
        if memory[verb][0] is not None:
            table.tell(verb, "memory of the process", f"{max(memory[verb]) / 10**6:.0f} MB")
            assert max(memory[verb]) < MOST_MEMORY
    if program is None:
        table.notes.append("COPY: not measured, there is no psql")


def copy(program, way, server, schema, folder):
    """Seconds that psql's COPY takes, out of a schema's tables or into them."""
    environment = os.environ | {"PGOPTIONS": f"-c search_path={schema}"}
    command = [program, "--no-psqlrc", "--quiet", "--file", BENCH / "reads" / f"{way}.psql", server.conninfo]
    done = subprocess.run(command, check=True, capture_output=True, text=True, cwd=folder, env=environment)
    return sum(float(ms) for ms in re.findall(r"^Time: ([\d.]+) ms", done.stdout, re.MULTILINE)) / 1000


def psql():
    """The program, from the embedded server's wheel or as it is installed."""
    beside = pgbench()
    return beside.with_name("psql") if beside else shutil.which("psql")
