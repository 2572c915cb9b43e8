"""The gate reports a promise as "not measured" if its subject was never run."""

import json
from xml.etree import ElementTree as ET

import pytest
from program import run

SCHEMA = """
CREATE TABLE warehouses (warehouse_id int PRIMARY KEY, name text NOT NULL);
INSERT INTO warehouses VALUES (1, 'north'), (2, 'south');
CREATE TABLE orders (order_id bigint PRIMARY KEY, warehouse_id int NOT NULL, shipped boolean NOT NULL DEFAULT false)
    WITH (fillfactor = 50);
"""

FIXTURES = """
def grow(connection, axis, before, size):
    if axis == "nothing" or (axis == "the standard data" and size != 64):
        return
    connection.execute(
        "INSERT INTO orders SELECT n, mod(n, 2) + 1 FROM generate_series(%s::int, %s) AS n", [before + 1, size])

def parameters(query, axis, size, turn):
    given = {"matches_no_row": -1, "updates_no_row": -1, "writes_no_row": -1, "adds": 1_000_000 + turn}
    taking = {*given, "updates", "still", "of_warehouse", "seeks_in_vain"}
    return {"order_id": given.get(query, 1)} if query in taking else {}

def largest(axis):
    return 1024
"""

QUERIES = """
-- name: fails()
-- Promises: 1 round trip; HOT; buffers O(log n) in the orders; at most 30 buffers
-- Held snapshot: buffers O(n) in the orders, at most n/30
-- Locks: AccessShare on nowhere; 1 row of orders
-- Never: Seq Scan
SELECT nope FROM nowhere;

-- name: constant()
-- Promises: 1 round trip; at most 3 buffers
-- Locks: none
-- Never: none
SELECT 1;

-- name: matches_no_row(order_id)
-- Promises: 1 round trip; buffers O(log n) in the orders; rows O(1) in the orders; at most 30 buffers
-- Locks: AccessShare on orders
-- Never: Seq Scan
SELECT o.shipped FROM orders AS o WHERE o.order_id = :order_id::bigint;

-- name: updates_no_row(order_id)!
-- Promises: 1 round trip; HOT; buffers O(log n) in the orders; at most 6 WAL records
-- Locks: RowExclusive on orders; 1 row of orders; waits for rows of orders
-- Never: Seq Scan
UPDATE orders SET shipped = true WHERE order_id = :order_id::bigint;

-- name: writes_no_row(order_id)
-- Promises: 1 round trip; WAL O(1) in the orders
-- Locks: RowExclusive on orders
-- Never: Seq Scan
WITH shipped AS (UPDATE orders SET shipped = true WHERE order_id = :order_id::bigint RETURNING order_id)
SELECT count(*) FROM shipped;

-- name: adds(order_id)!
-- Promises: 1 round trip; HOT; buffers O(log n) in the orders
-- Locks: RowExclusive on orders, warehouses, ordres
-- Never: Seq Scan on ordres
INSERT INTO orders (order_id, warehouse_id) VALUES (:order_id::bigint, 1);

-- name: updates(order_id)!
-- Promises: 1 round trip; HOT; buffers O(log n) in the orders, at most 12 buffers; at most 6 WAL records
-- Locks: RowExclusive on orders; 1 row of orders
-- Never: Seq Scan
UPDATE orders SET shipped = true WHERE order_id = :order_id::bigint;

-- name: still(order_id)
-- Promises: 1 round trip; buffers O(log n) in nothing
-- Held snapshot: buffers O(n) in nothing, at most n/30
-- Locks: AccessShare on orders
-- Never: none
SELECT count(*) FROM orders AS o WHERE o.order_id <> :order_id::bigint;

-- name: seeks_in_vain(order_id)
-- Promises: 1 round trip; buffers O(log n) in the orders; may match nothing
-- Locks: AccessShare on orders
-- Never: Seq Scan
SELECT o.shipped FROM orders AS o WHERE o.order_id = -:order_id::bigint;

-- name: all_warehouses()
-- Promises: 1 round trip
-- Locks: AccessShare on warehouses; waits for rows of warehouses
-- Never: Seq Scan
SELECT w.name FROM warehouses AS w;
"""

EXPECTED = {
    ("fails", "1 round trip"): 'the query failed: relation "nowhere" does not exist',
    ("fails", "HOT"): "the query failed",
    ("fails", "buffers O(log n) in the orders"): "the query failed",
    ("fails", "at most 30 buffers"): "the query failed",
    ("fails", "held snapshot: buffers O(n) in the orders, at most n/30"): "the query failed",
    ("fails", "AccessShare on nowhere"): "the query failed",
    ("fails", "1 row of orders locked"): "the query failed",
    ("fails", "never Seq Scan"): "the query failed",
    (
        "matches_no_row",
        "buffers O(log n) in the orders",
    ): "the call returned and changed no row at 64, 128, ",
    ("matches_no_row", "rows O(1) in the orders"): "the call returned and changed no row",
    ("matches_no_row", "at most 30 buffers"): "the call returned and changed no row",
    ("updates_no_row", "HOT"): "no row was updated",
    ("updates_no_row", "buffers O(log n) in the orders"): "the call returned and changed no row",
    ("updates_no_row", "at most 6 WAL records"): "the call returned and changed no row",
    ("updates_no_row", "1 row of orders locked"): "the call returned and changed no row",
    ("updates_no_row", "waits for rows of orders"): "the call returned and changed no row",
    ("writes_no_row", "WAL O(1) in the orders"): "the statement can write, but no call wrote a row",
    ("adds", "HOT"): "no row was updated",
    ("adds", "RowExclusive on warehouses"): "no lock was taken",
    ("adds", "RowExclusive on ordres"): "the schema has no table ordres",
    ("adds", "never Seq Scan on ordres"): "the schema has no table ordres",
    ("still", "buffers O(log n) in nothing"): "the fixtures changed no row and no parameter up to 128, 256, 512, 1,024",
    ("still", "held snapshot: buffers O(n) in nothing, at most n/30"): "the fixtures changed no row and no parameter",
    ("all_warehouses", "waits for rows of warehouses"): "no call waited for a lock",
    ("all_warehouses", "never Seq Scan"): "it appears only on a few rows",
}


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    for name, text in {"schema.sql": SCHEMA, "fixtures.py": FIXTURES, "orders.sql": QUERIES}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


def check(project, server, *options):
    files = (
        "--queries",
        project / "orders.sql",
        "--schema",
        project / "schema.sql",
        "--fixtures",
        project / "fixtures.py",
    )
    return run("check", *files, "--dsn", server.conninfo, *options)


@pytest.fixture(scope="module")
def checked(project, server):
    forms = [f"--also={form}={project / form}" for form in ("json", "junit", "github", "markdown")]
    return check(project, server, *forms)


@pytest.fixture(scope="module")
def verdicts(project, checked):
    queries = json.loads((project / "json").read_text(encoding="utf-8"))["queries"]
    return {(query["name"], one["promised"]): one for query in queries for one in query["verdicts"]}


def test_promises_that_were_not_run_are_not_measured(verdicts):
    reasons = {key: one["measured"] for key, one in verdicts.items() if one["outcome"] == "not measured"}
    assert reasons.keys() == EXPECTED.keys()
    for key, reason in EXPECTED.items():
        assert reasons[key].startswith(reason), key


def test_a_query_without_growth_is_run(verdicts):
    assert verdicts["constant", "1 round trip"]["measured"] == "1 round trip"
    assert verdicts["constant", "at most 3 buffers"]["measured"].startswith("0 at 64 in the standard data")
    assert verdicts["constant", "no lock on any table"]["outcome"] == "kept"
    assert {
        one["outcome"] for (query, _), one in verdicts.items() if query in {"constant", "updates", "seeks_in_vain"}
    } == {"kept"}


def test_every_output_format_reports_it(project, checked):
    assert checked.returncode == 2, checked.stderr
    summary = "were not measured, on PostgreSQL"
    assert f"{len(EXPECTED)} {summary}" in " ".join(checked.stdout.split())
    where = f"{project}/orders.sql:16: matches_no_row: promised rows O(1) in the orders; not measured: the call"
    assert where in checked.stderr
    suites = ET.parse(project / "junit").getroot()
    assert (suites.get("failures"), suites.get("errors")) == ("0", str(len(EXPECTED)))
    assert len(suites.findall(".//error")) == len(EXPECTED)
    github = (project / "github").read_text(encoding="utf-8").splitlines()
    assert sum(line.startswith("::error ") for line in github) == len(EXPECTED)
    assert "title=a promise of adds was not measured" in github[0]
    markdown = (project / "markdown").read_text(encoding="utf-8")
    assert "**not measured**" in markdown.partition("<details>")[0]
    assert markdown.startswith("### ❌")


def test_the_review_pages_report_it(project, checked, tmp_path):
    done = run("review", "--out", tmp_path, "--from", project / "json")
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "queries/updates_no_row.html").read_text(encoding="utf-8")
    assert "✗ 5 not measured of 8 promises" in " ".join(page.split())
    assert "✓ kept" in page
    assert "not measured: no row was updated" in page
    assert "the query failed" in (tmp_path / "queries/fails.html").read_text(encoding="utf-8")
    assert "not measured: no row was updated" in (tmp_path / "index.html").read_text(encoding="utf-8")


def test_a_broken_promise_determines_the_exit_status(project, server):
    path = project / "broken.sql"
    path.write_text(QUERIES.replace("at most 12 buffers", "at most 1 buffers"), encoding="utf-8")
    done = check(project, server, "--queries", path, "updates", "updates_no_row")
    assert done.returncode == 1, done.stderr
    assert "promised buffers O(log n) in the orders, at most 1 buffers; measured" in done.stderr
