"""The gate counts the commands that a coordinator sends to other nodes, and compares the number with the promise."""

import json
from functools import partial

import psycopg
import pytest
from canaries.leaving import LEAVING
from gate import distributed as fixtures
from program import assert_fails, call
from test_not_measured import FIXTURES, SCHEMA
from ulid import ULID

from dal.conninfo import with_schema
from dal.gate.header.parse import parse
from dal.gate.measure import scratch
from dal.gate.measure.cluster import ClusterGate
from dal.gate.measure.judge import Outcome, judge
from dal.gate.measure.measurement import REMOTE_SIZE, STANDARD, STANDARD_SIZE, Measurement
from dal.gate.measure.subjects import Subject, load
from dal.schema.distributed import script
from dal.sql import DISTRIBUTED, QUERIES

HEADER = """-- name: one()
-- Promises: 1 round trip
-- Remote commands: {}
-- Locks: none
-- Never: none
SELECT 1;
"""


def measured(tmp_path, promise, *figures, axis=STANDARD, size=STANDARD_SIZE):
    """Return a measurement on a cluster, from the numbers of remote commands with 4 shards, 12 shards and so on."""
    path = tmp_path / "one.sql"
    path.write_text(HEADER.format(promise) if promise else HEADER.replace("-- Remote commands: {}\n", ""))
    one = Measurement(Subject("one", "SELECT 1", parse(path, "one")), is_on_cluster=True, round_trips=1)
    one.activity_along(axis).matched[size] = 1
    one.remote = {4 * 3**n: {axis: figure} for n, figure in enumerate(figures)}
    return one


def outcome(one):
    """Return the outcome of the promise, and the text with the measured figures."""
    trips, remote = judge(one)
    assert trips.kept
    assert remote.promised.startswith("remote commands: ")
    return remote.outcome, remote.measured


@pytest.mark.parametrize(
    ("promise", "figures", "kept"),
    [
        ("1", (1, 1), True),
        ("1", (2, 1), False),
        ("1", (1, 2), False),
        ("1", (0, 0), True),
        ("", (1, 1), True),
        ("", (1, 2), False),
        ("O(shards)", (100, 300 + 2 * 12), True),  # BEGIN and COMMIT for each shard.
        ("O(shards)", (100, 301 + 2 * 12), False),
        ("O(shards)", (4**2, 12**2), False),
        ("O(shards), at most 3 each", (4, 36), True),
        ("O(shards), at most 2 each", (8, 24), True),
        ("O(shards), at most 2 each", (9, 24), False),
        ("O(shards), at most 2 each; 3", (11, 27), True),
        ("O(shards), at most 2 each; at most 3", (12, 27), False),
        ("at most 4", (4, 5), False),
    ],
)
def test_the_number_is_compared_with_the_shards(tmp_path, promise, figures, kept):
    assert outcome(measured(tmp_path, promise, *figures)) == (
        Outcome.KEPT if kept else Outcome.BROKEN,
        f"{figures[0]}, {figures[1]} at 64 in the standard data, with 4 and 12 shards",
    )


@pytest.mark.parametrize(("figures", "kept"), [((4 + 32, 12 + 32), True), ((4 + 33, 12 + 32), False)])
def test_the_number_is_compared_with_the_items_of_an_axis(tmp_path, figures, kept):
    promise = "O(shards), at most 1 each; 2 for each of the orders"
    one = measured(tmp_path, promise, *figures, axis="the orders", size=REMOTE_SIZE)
    assert outcome(one)[0] is (Outcome.KEPT if kept else Outcome.BROKEN)


def test_a_call_without_effect_keeps_no_promise(tmp_path):
    one = measured(tmp_path, "1", 1, 1)
    one.activity[STANDARD].matched[STANDARD_SIZE] = 0
    assert outcome(one) == (
        Outcome.NOT_MEASURED,
        "the call returned and changed no row at 64 in the standard data",
    )


def test_on_one_server_the_promise_is_reported_as_measured_elsewhere(tmp_path, server):
    paths = [tmp_path / name for name in ("schema.sql", "fixtures.py", "one.sql")]
    for path, text in zip(paths, (SCHEMA, FIXTURES, HEADER.format("O(shards)")), strict=True):
        path.write_text(text, encoding="utf-8")
    schema, its_fixtures, queries = paths
    files = ("--schema", schema, "--fixtures", its_fixtures, "--queries", queries)
    done = call("check", *files, "--dsn", server.conninfo, "--format", "json")
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    (verdict,) = [one for one in document["queries"][0]["verdicts"] if "remote" in one["promised"]]
    assert verdict == {
        "line": 3,
        "promised": "remote commands: O(shards)",
        "measured": "only on a Citus cluster, with --distributed",
        "outcome": "elsewhere",
    }
    assert document["summary"].startswith("2 of 2 promises of 1 query are kept")
    assert document["summary"].endswith("; 1 more only on a Citus cluster")


def test_a_server_without_citus_is_refused(server):
    if server.kind == "citus":
        pytest.skip("needs a server without Citus")
    done = call("check", "--distributed", "--dsn", server.conninfo, "messages.append")
    assert done.returncode == 2
    assert "--distributed: this server has no Citus; give the coordinator of a cluster as --dsn" in done.stderr


def test_a_project_without_files_for_a_cluster_is_refused(tmp_path, monkeypatch, server):
    (tmp_path / "pyproject.toml").write_text("[tool.session-dal.gate]\n", encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    done = call("check", "--distributed", "--dsn", server.conninfo)
    assert_fails(done, "--distributed: needs a table [tool.session-dal.gate.distributed] in pyproject.toml")


@pytest.fixture(scope="module")
def verdicts(server, tmp_path_factory):
    """Return the verdicts on each canary, on two of our queries, and on a query that Citus refuses."""
    if server.kind != "citus":
        pytest.skip("needs --postgres=citus")
    plain = {one.name: one for one in load(QUERIES)}
    ours = plain | {one.name: one for one in load(DISTRIBUTED / "queries")}
    subjects = {name: _hatch(name, ours, tmp_path_factory.mktemp("leaving")) for name in LEAVING}
    subjects |= {name: ours[name] for name in ("messages.append", "sessions.list_of_user")}
    subjects["on one server"] = plain["messages.append"]
    connect = partial(psycopg.connect, with_schema(server.conninfo, f"test_{ULID()}".lower()), autocommit=True)
    try:
        results = ClusterGate(connect, script().decode(), fixtures).measure(list(subjects.values()))
    finally:
        with connect() as connection:
            scratch.drop(connection)
    return {name: list(judge(result)) for name, result in zip(subjects, results, strict=True)}


def _hatch(name, ours, folder):
    """Write the changed query file, and load it."""
    canary = LEAVING[name]
    text = ours[canary.query].path.read_text(encoding="utf-8")
    for old, new in canary.edits:
        assert old in text, "the canary no longer matches the query: update it"
        text = text.replace(old, new, 1)
    path = folder / canary.query.partition(".")[0] / ours[canary.query].path.name
    path.parent.mkdir()
    path.write_text(text, encoding="utf-8")
    return next(one for one in load(folder) if one.name == canary.query)


@pytest.mark.parametrize("name", LEAVING)
def test_the_gate_fails_a_statement_that_leaves_its_shard(name, verdicts):
    _, verdict = verdicts[name]
    assert (verdict.promised, verdict.outcome) == (LEAVING[name].breaks, Outcome.BROKEN), verdict.measured


def test_a_statement_that_citus_refuses_keeps_no_promise(verdicts):
    assert {one.outcome for one in verdicts["on one server"]} == {Outcome.NOT_MEASURED}
    assert "the query failed: functions used in the DO UPDATE SET clause" in verdicts["on one server"][1].measured


@pytest.mark.parametrize("name", ["messages.append", "sessions.list_of_user"])
def test_our_queries_keep_the_promise(name, verdicts):
    assert [one for one in verdicts[name] if not one.kept] == []
