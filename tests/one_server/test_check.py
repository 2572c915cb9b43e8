"""`dal check`, as users and CI run it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from xml.etree import ElementTree as ET

import program
import psycopg
import pytest
from paths import ROOT

from dal.conninfo import with_schema
from dal.gate.measure import scratch

TODO = ROOT / "dal/gate/example"
GATED = ["--queries", TODO / "queries", "--schema", TODO / "schema.sql", "--fixtures", TODO / "fixtures.py"]


def check(*options, cwd=ROOT):
    return program.run("check", *options, cwd=cwd, env={**os.environ, "COLUMNS": "140"})


def scratch_schemas(server):
    with psycopg.connect(server.conninfo) as connection:
        found = connection.execute("SELECT nspname FROM pg_namespace WHERE nspname LIKE 'dal_check_%'").fetchall()
    return [name for (name,) in found]


@pytest.fixture
def broken(tmp_path):
    """The to-do example, with OFFSET pagination."""
    folder = tmp_path / "queries"
    folder.mkdir()
    text = (TODO / "queries/tasks.sql").read_text(encoding="utf-8")
    old = "AND t.task_id > :after::bigint\nORDER BY t.task_id\nLIMIT 10"
    assert old in text
    new = "\nORDER BY t.task_id\nOFFSET greatest(0, :after::bigint - 1000) LIMIT 10"
    (folder / "tasks.sql").write_text(text.replace(old, new), encoding="utf-8")
    return ["--queries", folder, "--schema", TODO / "schema.sql", "--fixtures", TODO / "fixtures.py"]


def test_our_promises_are_kept_in_every_output_format(server, tmp_path):
    """Two queries; CI measures all of them with `dal check`, on every kind of server."""
    done = check(
        *("--dsn", server.conninfo, "--format", "json", "messages.append", "sessions.agent_ids"),
        *("--also", f"junit={tmp_path}/check.xml", "--also", f"markdown={tmp_path}/check.md"),
        *("--also", f"github={tmp_path}/check.txt"),
    )
    document = json.loads(done.stdout)
    verdicts = [verdict for query in document["queries"] for verdict in query["verdicts"]]
    assert [verdict for verdict in verdicts if verdict["outcome"] != "kept"] == []
    assert done.returncode == 0, done.stderr
    assert document["server"].startswith("PostgreSQL")
    assert [query["name"] for query in document["queries"]] == ["messages.append", "sessions.agent_ids"]
    suites = ET.parse(tmp_path / "check.xml").getroot()
    assert int(suites.get("tests")) > 15
    assert suites.get("failures") == "0"
    assert "promises of 2 queries are kept" in (tmp_path / "check.md").read_text(encoding="utf-8")
    assert (tmp_path / "check.txt").read_text(encoding="utf-8").startswith("::notice title=dal check::")
    assert scratch_schemas(server) == []


def test_queries_of_another_project(server):
    done = check(*GATED, "--dsn", server.conninfo)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "promises of 3 queries are kept" in done.stdout


def test_the_example_can_be_copied_and_measured(server, tmp_path):
    copied = program.run("init", "todo", cwd=tmp_path)
    assert (copied.returncode, copied.stderr) == (0, "")
    assert "cd todo && dal check" in copied.stdout
    done = program.run("check", "add", "--verbose", "--dsn", server.conninfo, cwd=tmp_path / "todo/queries")
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"^debug: the list's tasks: 16,384, add, begun after \d+ s$", done.stderr, re.MULTILINE)
    again = program.run("init", "todo", cwd=tmp_path)
    assert (again.returncode, again.stdout) == (2, "")
    assert "todo exists already" in again.stderr


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ("", "--queries: is missing; give it, or set `queries` in [tool.session-dal.gate] of pyproject.toml"),
        ("[tool.session-dal.gate]\nqueries = 'sql'", "`queries` in [tool.session-dal.gate]: sql does not exist"),
        ("[tool.session-dal.gate]\nquery = '.'", "expected a path for one of queries, schema, fixtures"),
        ("[tool", "pyproject.toml: cannot be read"),
    ],
    ids=["no table", "no such path", "no such name", "not TOML"],
)
def test_an_invalid_pyproject_is_an_error(tmp_path, table, message):
    (tmp_path / "pyproject.toml").write_text(table, encoding="utf-8")
    done = check(cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert message in " ".join(done.stderr.split())


def test_large_uses_the_sizes_of_the_fixtures(server, tmp_path):
    text = (TODO / "fixtures.py").read_text(encoding="utf-8").replace("Path(__file__).parent", f"Path({str(TODO)!r})")
    assert "return 1_000_000" in text
    (tmp_path / "fixtures.py").write_text(text.replace("1_000_000", "40_000"), encoding="utf-8")
    options = (*GATED, "--fixtures", tmp_path / "fixtures.py", "--dsn", server.conninfo, "--format", "json", "add")
    done = check(*options, "--large")
    assert done.returncode == 0, done.stdout + done.stderr
    assert _sizes(done) == [64, 320, 1600, 8000, 40_000]
    assert _sizes(check(*options)) == [64, 256, 1024, 4096, 16_384]
    (tmp_path / "fixtures.py").write_text(text.replace("1_000_000", "4096"), encoding="utf-8")
    assert _sizes(check(*options)) == [64, 181, 512, 1448, 4096]
    usual = text + "\n\ndef usual(axis):\n    return 1024\n"
    (tmp_path / "fixtures.py").write_text(usual, encoding="utf-8")
    assert _sizes(check(*options)) == [64, 128, 256, 512, 1024]
    (tmp_path / "fixtures.py").write_text(text.replace("def largest", "def another"), encoding="utf-8")
    done = check(*options, "--large")
    assert done.returncode == 2
    assert "--large: needs fixtures that define largest(axis)" in " ".join(done.stderr.split())


def _sizes(done):
    (query,) = json.loads(done.stdout)["queries"]
    return [int(size) for size in query["curves"]["the list's tasks"]]


def test_a_broken_promise_is_reported_with_file_and_line(server, broken, tmp_path):
    done = check(*broken, "--dsn", server.conninfo, "--format", "github", "--also", f"junit={tmp_path}/check.xml")
    assert done.returncode == 1, done.stdout + done.stderr
    line = (TODO / "queries/tasks.sql").read_text(encoding="utf-8").splitlines().index(
        "-- name: open_tasks(list_id, after)"
    ) + 3
    assert f"tasks.sql,line={line}," in done.stdout
    assert "promised rows O(1) in the list's tasks; measured O(n)" in done.stdout
    failures = ET.parse(tmp_path / "check.xml").getroot().findall(".//failure")
    assert len(failures) >= 1
    assert "measured O(n)" in failures[0].get("message")
    table = check(*broken, "--dsn", server.conninfo, "open_tasks")
    assert table.returncode == 1
    assert "broken" in table.stdout
    assert f"tasks.sql:{line}: open_tasks: promised" in table.stderr
    markdown = check(*broken, "--dsn", server.conninfo, "open_tasks", "--format", "markdown")
    assert "**broken**" in markdown.stdout


def test_only_scratch_schemas_are_dropped(server, schema):
    def exists(connection):
        return connection.execute("SELECT to_regnamespace(%s) IS NOT NULL", [schema]).fetchone() == (True,)

    with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as connection:
        scratch.drop(connection)  # There is nothing to drop.
        connection.execute(f"CREATE SCHEMA {schema}")
        scratch.drop(connection)
        assert exists(connection)
        connection.execute(f"DROP SCHEMA {schema}")
        scratch.create(connection)
        assert exists(connection)
        scratch.drop(connection)
        assert not exists(connection)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--dsn", "postgresql://nobody@127.0.0.1:1/none"], "the server does not answer"),
        (["no.such"], "no query no.such"),
        (["--queries", str(ROOT / "tests/no_promise.sql")], "does not exist"),
    ],
    ids=["no server", "no query", "no file"],
)
def test_a_failed_measurement_exits_with_2(options, message):
    done = check(*options)
    assert done.returncode == 2, done.stdout + done.stderr
    assert message in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr


def test_missing_header_lines_are_reported_with_their_line(tmp_path, server):
    (tmp_path / "bare.sql").write_text("-- name: bare()\nSELECT 1;\n", encoding="utf-8")
    done = check("--queries", tmp_path, "--dsn", server.conninfo)
    assert done.returncode == 2
    missing = [line.partition("; accepted")[0] for line in done.stderr.splitlines()]
    prefix = "bare.sql:1: query bare: missing required header line"
    assert [line.rpartition("/")[2] for line in missing] == [
        f"{prefix} `-- {label}:`" for label in ("Promises", "Locks", "Never")
    ]


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM], ids=["Ctrl-C", "SIGTERM"])
def test_it_drops_its_schema_when_interrupted(server, signum):
    command = [sys.executable, "-m", "dal.cli", "check", "--dsn", server.conninfo]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    while not scratch_schemas(server):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    time.sleep(0.5)
    process.send_signal(signum)
    _, message = process.communicate(timeout=60)
    assert process.returncode == 128 + signum, message
    assert scratch_schemas(server) == []
