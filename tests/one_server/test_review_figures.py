"""`dal review --base` measures the queries that differ at the base revision, with its own schema and fixtures."""

import html
import re

import pytest
from git_repository import commit, git, status
from program import run

SCHEMA = """
CREATE TABLE tasks (task_id bigint PRIMARY KEY, list_id text NOT NULL);
CREATE INDEX tasks_list ON tasks (list_id, task_id);
"""

QUERIES_BEFORE = """
-- name: page(list_id, after)
-- Read a page.
-- Promises: 1 round trip; buffers O(n) in the tasks
-- Locks: AccessShare on tasks
-- Never: none
SELECT t.task_id FROM tasks AS t WHERE t.list_id = :list_id::text ORDER BY t.task_id LIMIT 10 OFFSET :after::bigint;

-- name: first(list_id)
-- Read the first task.
-- Promises: 1 round trip; buffers O(log n) in the lists
-- Locks: AccessShare on tasks
-- Never: none
SELECT min(t.task_id) AS task_id FROM tasks AS t WHERE t.list_id = :list_id::text;

-- name: last(list_id)
-- Read the last task.
-- Promises: 1 round trip; buffers O(log n) in the tasks
-- Locks: AccessShare on tasks
-- Never: none
SELECT max(t.task_id) AS task_id FROM tasks AS t WHERE t.list_id = :list_id::text AND t.task_id > 0;

-- name: same(list_id)
-- Read a task.
-- Promises: 1 round trip; buffers O(log n) in the tasks
-- Locks: AccessShare on tasks
-- Never: none
SELECT t.task_id FROM tasks AS t WHERE t.list_id = :list_id::text AND t.task_id = 1;
"""

QUERIES_NOW = (
    QUERIES_BEFORE.replace("LIMIT 10 OFFSET :after::bigint", "LIMIT 10")
    .replace("= :list_id::text ORDER", "= :list_id::text AND t.task_id > :after::bigint ORDER")
    .replace("in the lists", "in the tasks")
    .replace(" AND t.task_id > 0", "")
)

FIXTURES = """
def grow(connection, axis, before, size):
    rows = (before + 1, size)
    connection.execute("INSERT INTO tasks SELECT n, 'mine' FROM generate_series(%s::int, %s) AS n", rows)

def parameters(query, axis, size, turn):
    return {name: {"list_id": "mine", "after": size // 2}[name] for name in NAMES[query]}

def largest(axis):
    return 1024

"""
NAMES = "NAMES = {'page': ['list_id', 'after'], 'first': ['list_id'], 'same': ['list_id'], 'last': ['list_id']}"


FILES = {"queries": "tasks.sql", "schema": "schema.sql", "fixtures": "fixtures.py"}


@pytest.fixture(scope="module")
def checked_now(server, tmp_path_factory):
    """The results for the current queries."""
    folder = tmp_path_factory.mktemp("now")
    write(folder, tasks=QUERIES_NOW, schema=SCHEMA, fixtures=FIXTURES + NAMES)
    path = folder / "check.json"
    done = run("check", *options(folder), "--dsn", server.conninfo, "--also", f"json={path}")
    assert done.returncode in {0, 1}, done.stderr
    return path


@pytest.fixture
def project(tmp_path):
    """A repository whose first revision has other queries, and fixtures that do not know `last`."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / ".gitignore").write_text("__pycache__\n", "utf-8")
    write(folder, tasks=QUERIES_BEFORE, schema=SCHEMA, fixtures=FIXTURES + NAMES.replace("last", "end"))
    git(folder, "init")
    commit(folder)
    write(folder, tasks=QUERIES_NOW, schema=SCHEMA, fixtures=FIXTURES + NAMES)
    return folder


def write(folder, **texts):
    for file in FILES.values():
        name = file.partition(".")[0]
        if name in texts:
            (folder / file).write_text(texts[name], "utf-8")


def options(folder):
    return [part for name, file in FILES.items() for part in (f"--{name}", folder / file)]


@pytest.fixture
def review(project, server, tmp_path):
    """Write the pages with a base, and return their texts by name."""

    def review(*arguments):
        out = tmp_path / "out"
        done = run("review", "--out", out, *options(project), "--dsn", server.conninfo, *arguments)
        assert done.returncode == 0, done.stderr
        assert done.stderr.count("\n") <= 1, done.stderr  # At most the server's name.
        return {path.stem: text_of(path) for path in sorted(out.rglob("*.html"))}

    return review


def text_of(path):
    """Return the text of a page, without its markup."""
    body = path.read_text(encoding="utf-8").partition("</style>")[2]
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", body)).split())


def test_a_base_is_measured_where_it_differs(project, review):
    git(project, "add", "fixtures.py")
    before = status(project)
    pages = review("--base", "main")
    ((old, new),) = re.findall(r"Buffers the tasks 1,024 (\d+) (\d+)", pages["page"])
    assert int(old) > int(new)
    assert f"page changed; buffers {old} → {new} at 1,024 in the tasks" in pages["index"]
    assert "The fixtures differ too" in pages["page"]
    assert "Before and after" not in pages["same"]
    assert status(project) == before, "the work tree or the index has changed"


def test_fixtures_of_the_base_may_lack_a_query(checked_now, review):
    pages = review("--from", checked_now, "--base", "main")
    assert "No figures at main: it promised growth in the lists there." in pages["first"]
    assert "No figures at main: the fixtures' parameters('last', 'the tasks', 64, " in pages["last"]
    assert "for query last of tasks.sql, raised KeyError: 'last'." in pages["last"]
    assert "last changed; no figures at main" in pages["index"]
    assert re.search(r"Buffers the tasks 1,024 \d+ \d+", pages["page"])


def test_another_schema_is_measured_with_every_query(project, checked_now, review):
    write(project, schema=SCHEMA.replace("PRIMARY KEY", "NOT NULL").replace("CREATE INDEX", "-- CREATE INDEX"))
    commit(project)
    write(project, schema=SCHEMA)
    pages = review("--from", checked_now, "--base", "HEAD")
    assert "- -- CREATE INDEX tasks_list" in pages["schema"]
    assert "The schema changed" in pages["index"]
    assert re.search(r"page unchanged; buffers \d+ → \d+ at 1,024 in the tasks", pages["index"])
    assert "No change in the file." in pages["page"]
    assert "The fixtures differ too" not in pages["page"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (("tasks.sql", QUERIES_BEFORE.replace("O(n) in", "O(m) in")), "tasks.sql:4: query page: "),
        (("schema.sql", "CRATE TABLE"), 'schema.sql: syntax error at or near "CRATE"'),
        (("fixtures.py", "import nothing_of_this_name"), "importing fixtures.py raised "),
        (("fixtures.py", None), "fixtures.py: does not exist at main"),
    ],
    ids=["a header", "the schema", "the fixtures", "no fixtures"],
)
def test_a_base_that_cannot_be_measured_says_why(project, checked_now, review, change, reason):
    name, text = change
    write(project, tasks=QUERIES_BEFORE)
    now = (project / name).read_text("utf-8")
    if text is None:
        git(project, "rm", "-f", name)
    else:
        (project / name).write_text(text, "utf-8")
    commit(project)
    (project / name).write_text(QUERIES_NOW if name == "tasks.sql" else now, "utf-8")
    pages = review("--from", checked_now, "--base", "main")
    assert f"No figures at main: {reason}" in pages["page"]
