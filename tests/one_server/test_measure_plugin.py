"""The pytest plugin and its assertions: kept promises pass, and a failure shows everything that was measured."""

import asyncio
import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points

import psycopg
import pytest
from paths import ROOT

from dal.gate.asserts import assert_cost, assert_growth, assert_plan_never, held_snapshot, round_trips

pytest_plugins = ["pytester"]


MODULE = "dal.gate.pytest_plugin"
SIZES = (20, 80, 320)

TABLES = """
CREATE TABLE notes (note_id integer PRIMARY KEY, topic text NOT NULL, body text NOT NULL);
CREATE TABLE topics (topic text PRIMARY KEY, counter integer NOT NULL DEFAULT 0, bodies jsonb NOT NULL DEFAULT '[]');
INSERT INTO topics VALUES ('t');
"""

CONFTEST = """
import psycopg, pytest

@pytest.fixture
def connection():
    with psycopg.connect({conninfo!r}, autocommit=True, options={options!r}) as connection:
        yield connection
"""


class Notes:
    """A service with typical mistakes, on a sync or an async connection."""

    def __init__(self, connection):
        self.connection = connection

    def grow(self, before, size):
        return self.connection.execute(
            "INSERT INTO notes SELECT n, 't', repeat('x', 400) FROM generate_series(%s::int + 1, %s::int) AS n",
            [before, size],
        )

    def read(self):
        return self.connection.execute("SELECT body FROM notes WHERE note_id = %s", [7])

    def count(self):
        return self.connection.execute("SELECT count(*) FROM notes WHERE topic = %s", ["t"])

    def add(self):
        return self.connection.execute("INSERT INTO notes VALUES (-1, 't', 'x')")

    def touch(self):
        return self.connection.execute("UPDATE topics SET counter = counter + 1")

    def grow_array(self, before, size):
        return self.connection.execute(
            "UPDATE topics SET bodies = (SELECT jsonb_agg(md5(n::text)) FROM generate_series(1, %s::int) AS n)", [size]
        )

    def rewrite(self):
        return self.connection.execute("UPDATE topics SET bodies = bodies || '\"x\"'")


@pytest.fixture
def tables(server, schema, options):
    with psycopg.connect(server.conninfo, **options) as connection:
        connection.execute(f"CREATE SCHEMA {schema}")
        connection.execute(TABLES)
    return options


@pytest.fixture
def notes(server, tables):
    with psycopg.connect(server.conninfo, **tables) as connection:
        yield Notes(connection)


@pytest.fixture
def async_notes(server, tables):
    with asyncio.Runner() as runner:
        connection = runner.run(psycopg.AsyncConnection.connect(server.conninfo, **tables))
        notes = Notes(connection)
        notes.run = runner.run
        yield notes
        runner.run(connection.close())


def message_of(broken):
    return str(broken.value)


def test_kept_round_trips_pass(notes):
    with round_trips(notes.connection, 1) as wire:
        notes.read()
    assert wire.bytes_sent > 0
    with round_trips(notes.connection, at_most=1):
        notes.read()
    with round_trips(notes.connection, 0):
        pass


def test_an_operation_that_sends_nothing_fails(notes, async_notes, server, tables):
    nothing = "nothing was sent on this connection"
    with pytest.raises(AssertionError, match=f"round trips: {nothing}"), round_trips(notes.connection, at_most=1):
        pass
    with psycopg.connect(server.conninfo, **tables) as other:
        for promise in ({"buffers": 10}, {"wal": 0}, {"round_trips": 3}, {"hot_share": 1}):
            with pytest.raises(AssertionError, match=f"not measured: {nothing}"):
                assert_cost(notes.connection, Notes(other).read, **promise)
    with pytest.raises(AssertionError, match=f"not measured at n = 20, 80, 320: {nothing}"):
        assert_growth(notes.connection, notes.grow, lambda: None, SIZES, buffers="O(log n)")
    with pytest.raises(AssertionError, match=f"not measured: {nothing}"):
        async_notes.run(assert_cost(async_notes.connection, lambda: None, buffers=10))
    assert_cost(notes.connection, lambda: None, round_trips=0)


def test_a_hot_share_without_updates_fails(notes):
    with pytest.raises(AssertionError, match="HOT share: promised at least 1, not measured: no row was updated"):
        assert_cost(notes.connection, lambda: notes.connection.execute("UPDATE notes SET body = ''"), hot_share=1)


@pytest.mark.parametrize(
    ("never", "message"),
    [
        ("Seqscan on notes", "unknown plan node 'Seqscan'; known: .*Seq Scan"),
        ("Seq Scan on nots", "no table nots"),
    ],
)
def test_unknown_nodes_and_tables_are_refused(notes, async_notes, never, message):
    statement = "SELECT body FROM notes"
    with pytest.raises(ValueError, match=message):
        assert_plan_never(notes.connection, statement, [], never)
    with pytest.raises(ValueError, match=message):
        async_notes.run(assert_plan_never(async_notes.connection, statement, [], never))


def test_a_failure_lists_begin_and_commit(notes):
    with pytest.raises(AssertionError) as broken:
        with round_trips(notes.connection, 1):
            with notes.connection.transaction():
                notes.add()
    assert re.fullmatch(
        r"round trips: promised 1, measured 3\n\n"
        r"sent, in 3 round trips \(\d+ bytes out, \d+ bytes in\):\n"
        r"      1  BEGIN\n"
        r"      2  INSERT INTO notes VALUES \(-1, 't', 'x'\)\n"
        r"      3  COMMIT",
        message_of(broken),
    )


def test_exactly_and_at_most(notes):
    with pytest.raises(AssertionError, match="promised 2, measured 1"), round_trips(notes.connection, 2):
        notes.read()
    with (
        pytest.raises(AssertionError, match="promised at most 1, measured 2"),
        round_trips(notes.connection, at_most=1),
    ):
        notes.read()
        notes.read()


def test_a_preparing_round_trip_is_marked(notes):
    for _ in range(5):
        notes.read()
    with pytest.raises(AssertionError) as broken, round_trips(notes.connection, 1):
        notes.read()
    assert "promised 1, measured 2, of which 1 only prepared" in message_of(broken)
    assert "1  [prepared only] SELECT body FROM notes WHERE note_id = $1" in message_of(broken)
    assert "2  [as prepared] SELECT body FROM notes WHERE note_id = $1" in message_of(broken)
    notes.connection.execute("DISCARD PLANS")
    with round_trips(notes.connection, 1, warm=True):
        notes.connection.execute("SELECT 1 AS fresh", prepare=True)


def test_an_error_inside_the_block_is_raised(notes):
    with pytest.raises(ZeroDivisionError), round_trips(notes.connection, 1):
        raise ZeroDivisionError
    with round_trips(notes.connection, 1):  # The connection is no longer recorded.
        notes.read()


@pytest.mark.parametrize("numbers", [{}, {"exactly": 1, "at_most": 1}])
def test_round_trips_takes_exactly_one_number(notes, numbers):
    with pytest.raises(TypeError, match="at_most="):
        round_trips(notes.connection, **numbers)


def test_kept_growth_passes(notes, async_notes):
    promised = {"round_trips": 1, "buffers": "O(log n)", "rows": "O(1)", "wal": "O(1)", "wal_records": "O(1)"}
    assert assert_growth(notes.connection, notes.grow, notes.read, SIZES, **promised) is None
    notes.connection.execute("TRUNCATE notes")
    async_notes.run(assert_growth(async_notes.connection, async_notes.grow, async_notes.read, SIZES, **promised))


def test_tables_are_vacuumed_before_each_measurement(notes):
    assert_growth(notes.connection, notes.grow, notes.read, SIZES, buffers="O(log n)")
    counted = "SELECT vacuum_count, analyze_count FROM pg_stat_user_tables WHERE relid = 'notes'::regclass"
    assert notes.connection.execute(counted).fetchone() == (len(SIZES), len(SIZES))


COUNTED = r"""buffers: promised O\(log n\), measured 2 to 18, which grows as O\(n\)
rows read: promised O\(1\), measured 20 to 320, which grows as O\(n\)

    n  round trips  buffers  rows read.*
   20            1        2         20.*
   80            1        5         80.*
  320            1       18        320.*

buffers by table and index at n = 20 and 320:
  notes      2     18

sent at n = 320, in 1 round trip \(\d+ bytes out, \d+ bytes in\):
      1  SELECT count\(\*\) FROM notes WHERE topic = \$1"""


def test_a_count_fails_for_buffers_and_rows(notes, async_notes):
    promised = {"round_trips": 1, "buffers": "O(log n)", "rows": "O(1)"}
    with pytest.raises(AssertionError) as broken:
        assert_growth(notes.connection, notes.grow, notes.count, SIZES, **promised)
    assert re.fullmatch(COUNTED, message_of(broken)), message_of(broken)
    notes.connection.execute("TRUNCATE notes")
    with pytest.raises(AssertionError) as broken:
        async_notes.run(assert_growth(async_notes.connection, async_notes.grow, async_notes.count, SIZES, **promised))
    assert re.fullmatch(COUNTED, message_of(broken)), message_of(broken)


def test_n_plus_one_fails_for_round_trips(notes, async_notes):
    def one_by_one():
        for (note_id,) in notes.connection.execute("SELECT note_id FROM notes").fetchall():
            notes.connection.execute("SELECT body FROM notes WHERE note_id = %s::int", [note_id])

    async def wait_one_by_one():
        cursor = await async_notes.connection.execute("SELECT note_id FROM notes")
        for (note_id,) in await cursor.fetchall():
            await async_notes.connection.execute("SELECT body FROM notes WHERE note_id = %s::int", [note_id])

    with pytest.raises(AssertionError) as broken:
        assert_growth(notes.connection, notes.grow, one_by_one, (2, 3, 4), round_trips="O(1)")
    assert "round trips: promised O(1), measured 3 to 5" in message_of(broken)
    assert "2-5  SELECT body FROM notes WHERE note_id = $1::int (4 times)" in message_of(broken)
    notes.connection.execute("TRUNCATE notes")
    with pytest.raises(AssertionError) as broken:
        async_notes.run(
            assert_growth(async_notes.connection, async_notes.grow, wait_one_by_one, (10, 20, 40), round_trips=1)
        )
    assert "round trips: promised at most 1, measured 42" in message_of(broken)
    assert "(35 times)" in message_of(broken)


def test_a_rewritten_array_fails_only_for_wal(notes):
    with pytest.raises(AssertionError) as broken:
        assert_growth(
            notes.connection, notes.grow_array, notes.rewrite, (5, 15, 45), round_trips=1, rows="O(1)", wal="O(1)"
        )
    first, *others = message_of(broken).split("\n\n")
    assert re.fullmatch(r"WAL bytes: promised O\(1\), measured \d+ to [\d,]+, which grows as O\(n\)", first)
    assert "UPDATE topics SET bodies = bodies ||" in others[-1]


def test_a_hot_counter_fails_only_under_a_held_snapshot(notes):
    def bump(before, size):
        for _ in range(before, size):
            notes.touch()

    sizes = (100, 400, 1600)
    assert_growth(notes.connection, bump, notes.touch, sizes, buffers="O(1)")
    with held_snapshot(notes.connection):
        with pytest.raises(AssertionError, match=r"buffers: promised O\(1\), measured .* grows as O\(n\)"):
            assert_growth(notes.connection, bump, notes.touch, sizes, buffers="O(1)")


@pytest.mark.parametrize(
    ("sizes", "promised", "error"),
    [
        ((1, 2), {"buffers": "O(1)"}, r"three or more in ascending order, got \(1, 2\)"),
        ((3, 2, 1), {"buffers": "O(1)"}, "ascending order"),
        ((1, 2, 3), {"buffers": "O(2)"}, r"buffers='O\(2\)': unknown growth; known: O\(1\), O\(log n\)"),
        ((1, 2, 3), {}, "no promise given"),
    ],
)
def test_invalid_growth_arguments_are_refused(notes, sizes, promised, error):
    with pytest.raises((ValueError, TypeError), match=error):
        assert_growth(notes.connection, notes.grow, notes.read, sizes, **promised)
    assert notes.connection.execute("SELECT count(*) FROM notes").fetchone() == (0,)


def test_kept_costs_pass(notes, async_notes):
    notes.grow(0, 100)
    promised = {"round_trips": 1, "buffers": 6, "rows_written": 1, "wal_records": 6, "wal": 1000, "hot_share": 1.0}
    assert assert_cost(notes.connection, notes.touch, **promised) is None
    async_notes.run(assert_cost(async_notes.connection, async_notes.touch, **promised))


def test_broken_costs_fail_with_all_figures(notes):
    notes.grow(0, 320)
    notes.connection.execute("CREATE INDEX topics_counter_idx ON topics (counter)")

    def operation():
        notes.count()
        notes.touch()

    with pytest.raises(AssertionError) as broken:
        assert_cost(notes.connection, operation, round_trips=1, buffers=10, hot_share=1, wal=10_000)
    lines = message_of(broken).splitlines()
    assert lines[0] == "round trips: promised at most 1, measured 2"
    assert re.fullmatch(r"buffers: promised at most 10, measured \d+", lines[1])
    assert lines[2] == "HOT share: promised at least 1, measured 0.0"
    assert re.match(r"  round trips  buffers  rows read  rows written  WAL records  WAL bytes  HOT share", lines[4])
    assert "buffers by table and index:" in lines
    assert "  topics_counter_idx" in message_of(broken)
    assert lines[-1] == "      2  UPDATE topics SET counter = counter + 1"


def test_foreign_key_triggers_are_included_in_costs(notes):
    notes.grow(0, 100)
    notes.connection.execute("ALTER TABLE notes ADD FOREIGN KEY (topic) REFERENCES topics ON DELETE CASCADE")
    with pytest.raises(AssertionError, match="rows written: promised at most 1, measured 101"):
        assert_cost(notes.connection, lambda: notes.connection.execute("DELETE FROM topics"), rows_written=1)


def test_long_lists_of_statements_are_shortened(notes):
    def operation():
        for n in range(30):
            notes.connection.execute(f"SELECT {n}")
        notes.connection.execute("SELECT '" + "x" * 500 + "'")

    with pytest.raises(AssertionError) as broken, round_trips(notes.connection, 1):
        operation()
    assert message_of(broken).endswith("SELECT 19\n         and 11 more")
    with pytest.raises(AssertionError) as broken, round_trips(notes.connection, 0):
        notes.connection.execute("SELECT '" + "x" * 500 + "'")
    assert len(message_of(broken).splitlines()[-1]) < 320


@pytest.mark.parametrize("parameters", [["t"], {"topic": "t"}], ids=["sequence", "mapping"])
def test_a_forbidden_plan_node_fails(notes, async_notes, parameters):
    name = "%s" if isinstance(parameters, list) else "%(topic)s"
    statement = f"SELECT body FROM notes WHERE topic = {name} AND body LIKE 'x%%' ORDER BY note_id DESC"
    notes.grow(0, 100)
    with pytest.raises(AssertionError) as broken:
        assert_plan_never(notes.connection, statement, parameters, "Seq Scan on notes", "Hash Join")
    assert message_of(broken).splitlines()[0] == (
        "plan: promised never Seq Scan on notes, found in the custom and the generic plan"
    )
    assert "Hash Join" not in message_of(broken)
    assert "generic Sort notes / Seq Scan notes" in message_of(broken)
    assert message_of(broken).endswith(statement)
    with pytest.raises(AssertionError, match="never Sort, found"):
        async_notes.run(assert_plan_never(async_notes.connection, statement, parameters, "Sort"))


def test_a_plan_without_forbidden_nodes_passes(notes, async_notes):
    notes.grow(0, 1000)
    notes.connection.execute("VACUUM ANALYZE notes")
    statement = "SELECT body FROM notes WHERE note_id = %s"
    assert_plan_never(notes.connection, statement, [7], "Seq Scan", "Sort on notes")
    async_notes.run(assert_plan_never(async_notes.connection, statement, [7], "Seq Scan", "Sort on notes"))
    with pytest.raises(TypeError, match="Seq Scan on tasks"):
        assert_plan_never(notes.connection, statement, [7])


def test_an_async_plan_uses_the_connections_search_path(server, schema, tables):
    async def plan():
        async with await psycopg.AsyncConnection.connect(server.conninfo, autocommit=True) as connection:
            await connection.execute(f"SET search_path = {schema}")
            await assert_plan_never(connection, "SELECT topic FROM topics", [], "Seq Scan on topics")

    with pytest.raises(AssertionError, match="Seq Scan on topics"):
        asyncio.run(plan())


# The plugin

INI = """
[tool.pytest.ini_options]
asyncio_mode = "auto"
asyncio_default_fixture_loop_scope = "function"
filterwarnings = ["error"]
"""

TESTS = """
import psycopg
import pytest


def test_kept(connection, round_trips):
    with round_trips(connection, 1):
        connection.execute("SELECT topic FROM topics")


def test_trips(connection, round_trips):
    with round_trips(connection, 1):
        with connection.transaction():
            connection.execute("SELECT topic FROM topics")


def test_grows(connection, assert_growth):
    def grow(before, size):
        connection.execute(
            "INSERT INTO notes SELECT n, 't', repeat('x', 400) FROM generate_series(%s::int + 1, %s::int) AS n",
            [before, size],
        )

    def operation():
        connection.execute("SELECT count(*) FROM notes WHERE topic = 't'")

    assert_growth(connection, grow, operation, (20, 80, 320), buffers="O(log n)", wal="O(1)")


def test_costs(connection, assert_cost, held_snapshot):
    with held_snapshot(connection):
        assert_cost(connection, lambda: connection.execute("UPDATE topics SET counter = 1"), rows_written=0)


def test_plans(connection, assert_plan_never):
    assert_plan_never(connection, "SELECT topic FROM topics", [], "Seq Scan on topics")


async def test_waits(connection, round_trips, assert_cost):
    async with await psycopg.AsyncConnection.connect(
        connection.info.dsn, password=connection.info.password, autocommit=True
    ) as waited:
        with round_trips(waited, 1):
            await waited.execute("SELECT topic FROM topics")
        await assert_cost(waited, lambda: waited.execute("SELECT topic FROM topics"), round_trips=0)
"""


@pytest.fixture
def service(pytester, server, tables):
    """Run pytest in a service's folder, in which async tests need no mark."""
    pytester.makeconftest(CONFTEST.format(conninfo=server.conninfo, options=tables["options"]))
    pytester.makepyprojecttoml(INI)
    pytester.makepyfile(TESTS)
    installed = any(entry.value == MODULE for entry in entry_points(group="pytest11"))
    plugins = [] if installed else ["-p", MODULE]
    return lambda *options: pytester.runpytest_subprocess(*plugins, "-p", "no:cacheprovider", *options)


def test_a_failure_shows_promise_figures_sizes_and_statements(service, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = service()
    result.assert_outcomes(passed=1, failed=5)
    result.stdout.fnmatch_lines(
        [
            "*test_trips*",
            ">       with round_trips(connection, 1):",
            "E       AssertionError: round trips: promised 1, measured 3",
            "E*sent, in 3 round trips (* bytes out, * bytes in):",
            "E*1  BEGIN",
            "E*2  SELECT topic FROM topics",
            "E*3  COMMIT",
            "*test_grows*",
            ">       assert_growth(connection, grow, operation, (20, 80, 320), *",
            "E       AssertionError: buffers: promised O(log n), measured 2 to 18, which grows as O(n)",
            "E*  n  round trips  buffers  rows read*",
            "E* 20            1        2         20*",
            "E*320            1       18        320*",
            "E*buffers by table and index at n = 20 and 320:",
            "E*notes      2     18",
            "E*sent at n = 320, in 1 round trip (*",
            "E*1  SELECT count(*) FROM notes WHERE topic = 't'",
            "*test_costs*",
            "E*AssertionError: rows written: promised at most 0, measured 1",
            "E*1  UPDATE topics SET counter = 1",
            "*test_plans*",
            "E       AssertionError: plan: promised never Seq Scan on topics, found in the custom *",
            "*test_waits*",
            "E*AssertionError: round trips: promised at most 0, measured 1",
        ]
    )
    # The traceback shows only the test's own line, nothing inside this package.
    result.stdout.no_fnmatch_line("*dal/gate/*")
    result.stdout.no_fnmatch_line("*contextlib*")


def test_the_fixtures_are_documented(service, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    result = service("--fixtures", "-q")
    for name in ("round_trips", "assert_cost", "assert_growth", "assert_plan_never", "held_snapshot"):
        result.stdout.fnmatch_lines([f"{name} ?session scope? -- *dal/gate/pytest_plugin.py:*"])


def test_the_plugin_imports_nothing_until_it_is_used(tmp_path):
    code = f"import sys, {MODULE}; print({{'dal._sync', 'psycopg', 'aiosql'}} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.strip() == "set()"


def test_the_installed_package_provides_the_plugin(server, tables, tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert project["entry-points"]["pytest11"] == {"session-dal": MODULE}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV", "PYTEST"))}

    def run(*command):
        done = subprocess.run(
            [str(part) for part in command],
            cwd=tmp_path,
            env=clean,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return done.stdout + done.stderr

    uv = [sys.executable, "-m", "uv"]
    run(*uv, "build", "--wheel", "--out-dir", tmp_path, ROOT)
    run(*uv, "venv", "--python", sys.executable, tmp_path / "venv")
    python = next((tmp_path / "venv").glob("[bS]*/python*"))
    wheel = next(tmp_path.glob("*.whl"))
    run(*uv, "pip", "install", "--python", python, f"{wheel}[gate]")
    (tmp_path / "conftest.py").write_text(CONFTEST.format(conninfo=server.conninfo, options=tables["options"]))
    (tmp_path / "test_service.py").write_text(TESTS)
    message = run(python, "-m", "pytest", "-W", "error", "-k", "not waits", "test_service.py")
    assert "4 failed, 1 passed" in message, message
    assert "round trips: promised 1, measured 3" in message
