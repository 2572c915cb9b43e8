"""Errors of the gate name the file and the query, and exceptions in a user's fixtures keep their traceback."""

import pytest
import typer
from test_not_measured import FIXTURES, SCHEMA
from test_not_measured import QUERIES as OTHERS

from dal.gate.cli.measure import measure
from dal.gate.cli.project import Files
from dal.gate.measure.judge import Outcome

QUERIES = (
    OTHERS
    + """
-- name: of_warehouse(order_id)
-- Promises: 1 round trip; buffers O(log n) in the orders
-- Locks: AccessShare on orders, warehouses
-- Never: Seq Scan
SELECT w.name FROM orders AS o INNER JOIN warehouses AS w ON o.warehouse_id = w.warehouse_id
WHERE o.order_id = :order_id::bigint AND w.name <> 'west';
"""
)

FILES = {"orders.sql": QUERIES, "schema.sql": SCHEMA, "fixtures.py": FIXTURES}


@pytest.fixture
def check(server, tmp_path, capsys):
    """Measure queries, with changed files; return the report, or stderr and the exit status."""

    def check(*names, **changed):
        files = {name: changed.get(name.partition(".")[0], text) for name, text in FILES.items()}
        for name, text in files.items():
            (tmp_path / name).write_text(text, encoding="utf-8")
        queries, schema, fixtures = (tmp_path / name for name in files)
        try:
            files = Files(queries, schema, fixtures)
            return measure(names, files, dsn=server.conninfo, server=None, large=False)
        except typer.Exit as status:
            return f"{capsys.readouterr().err}exit status {status.exit_code}"

    return check


def test_a_scan_of_a_small_table_breaks_no_promise(check):
    plain, small = (
        next(
            verdict for verdict in check("of_warehouse", fixtures=text).verdicts if verdict.promised == "never Seq Scan"
        )
        for text in (FIXTURES, FIXTURES + "SMALL_TABLES = ('warehouses',)")
    )
    assert plain.outcome is Outcome.BROKEN
    assert small.outcome is Outcome.KEPT
    assert small.measured == "never, except on warehouses, small by nature"


def test_a_promise_that_names_a_small_table_applies_to_it(check):
    queries = QUERIES.replace("-- Never: Seq Scan\n", "-- Never: Seq Scan on warehouses\n")
    report = check("of_warehouse", orders=queries, fixtures=FIXTURES + "SMALL_TABLES = ('warehouses',)")
    (verdict,) = [verdict for verdict in report.verdicts if verdict.promised.startswith("never")]
    assert verdict.outcome is Outcome.BROKEN


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (
            {"fixtures": FIXTURES + "SMALL_TABLES = ('orders',)"},
            "SMALL_TABLES: orders is not small: it has ",
        ),
        ({"fixtures": FIXTURES + "SMALL_TABLES = ('ordres',)"}, "SMALL_TABLES: the schema has no table ordres"),
        ({"schema": SCHEMA.replace("CREATE", "CRATE", 1)}, '{path}/schema.sql: syntax error at or near "CRATE"'),
        ({"orders": QUERIES.replace("updates(order_id)", "updates(order)")}, "{path}/orders.sql: undeclared parameter"),
        ({"fixtures": FIXTURES.replace("def grow", "def grew")}, "{path}/fixtures.py defines no function grow()"),
    ],
    ids=["a small table that is large", "no such small table", "the schema", "an error of aiosql", "no grow()"],
)
def test_an_error_names_the_file(check, tmp_path, changed, message):
    text = check("updates", **changed)
    assert text.endswith("exit status 2")
    assert message.format(path=tmp_path) in " ".join(text.split())
    assert "Traceback" not in text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "def grow(connection, axis, before, size):",
            "def grow(connection, axis, before, size):\n    boom = 1 / 0",
            "grow(connection, 'the orders', 0, 64), for query updates of {path}/orders.sql, raised ZeroDivisionError",
        ),
        (
            "    given = ",
            "    boom = 1 / 0\n    given = ",
            "parameters('updates', 'the orders', 64, 0), for query updates of {path}/orders.sql, raised ZeroDivision",
        ),
        (
            '"updates", "still"',
            '"still"',
            "for query updates of {path}/orders.sql, raised LookupError: the query needs order_id too",
        ),
        ("def grow", "boom = 1 / 0\ndef grow", "importing {path}/fixtures.py raised ZeroDivisionError"),
    ],
    ids=["grow", "parameters", "a parameter that is missing", "import"],
)
def test_exceptions_of_fixtures_keep_their_traceback(check, tmp_path, old, new, message):
    assert old in FIXTURES
    text = check("updates", fixtures=FIXTURES.replace(old, new, 1))
    assert message.format(path=tmp_path) in " ".join(text.split())
    assert text.endswith("exit status 2")
    assert "Traceback (most recent call last)" in text
    assert "boom = 1 / 0" in text or "needs order_id" in text


def test_a_bug_in_the_gate_is_not_a_broken_promise(check, monkeypatch):
    monkeypatch.delattr("dal.gate.measure.gate.Gate.measure")
    text = check("updates")
    assert text.endswith("exit status 2")
    assert "AttributeError" in text
