"""`dal export` and `dal import`, with files, pipes and their errors."""

import gzip
import os
import pty
import signal
import subprocess
import sys
import time

import program
import pytest
from program import assert_fails
from sides import SyncSide
from test_histories import exported, fill, make_all_kinds, message, other, rows  # noqa: F401 - fixtures among them
from test_histories import lines as lines_of

import dal
from dal.histories import batch


@pytest.fixture
def store(server, schema, tables):
    with dal.SessionStore.connect(server.conninfo, schema=schema) as store:
        make_all_kinds(store)
        yield store


@pytest.fixture
def side():
    return SyncSide()


@pytest.fixture
def schema_option(server, monkeypatch):
    """The options that select a store's schema."""
    monkeypatch.setenv("DAL_DSN", server.conninfo)

    def option(store):
        conninfo = store._backend.runner.source._pool.conninfo
        return "--schema", conninfo.partition("search_path=")[2].split('"')[1]

    return option


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_an_exported_file_can_be_imported(store, other, rows, schema_option, tmp_path, name):  # noqa: F811, PLR0917
    path = tmp_path / name
    for options in ((), ("--force",)):
        done = program.run("export", path, *options, *schema_option(store))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == "Exported 7 sessions with 15 messages.\n"
    assert [one.name for one in tmp_path.iterdir()] == [name]
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    assert data == exported(store)
    for new, there in ((15, 0), (0, 15)):
        done = program.run("import", path, *schema_option(other))
        assert (done.returncode, done.stdout) == (0, "")
        sessions = 7 if new else 0
        told = f"Imported {sessions} new sessions, and {new} messages; {there} messages were there already.\n"
        assert done.stderr == told
    assert rows(other) == rows(store)


def test_an_export_can_be_piped_into_an_import(store, other, rows, schema_option):  # noqa: F811
    command = [sys.executable, "-m", "dal.cli"]
    for name in ((), ("-",)):
        with (
            subprocess.Popen([*command, "export", *name, *schema_option(store)], stdout=subprocess.PIPE) as source,
            subprocess.Popen([*command, "import", *name, *schema_option(other)], stdin=source.stdout) as target,
        ):
            assert (source.wait(60), target.wait(60)) == (0, 0)
        assert rows(other) == rows(store)


def test_an_export_can_be_filtered(store, schema_option):
    def exported_ids(*options):
        done = program.run("export", *options, *schema_option(store))
        assert done.returncode == 0, done.stderr
        return done.stdout.count('{"session":')

    assert exported_ids("--user", "u1") == 3
    assert exported_ids("--user", "u2", "--source", "web") == 3
    assert exported_ids("--since", "2020-01-01", "--until", "2020-01-02T00:00+01:00") == 0
    assert exported_ids("--since", "2020-01-01") == 7
    assert_fails(
        program.run("export", "--since", "yesterday", *schema_option(store)), "--since: 'yesterday' is not a time"
    )


def test_an_import_for_a_user_refuses_other_users_sessions(store, schema_option, tmp_path):
    path = tmp_path / "all.jsonl"
    program.run("export", path, *schema_option(store))
    assert_fails(program.run("import", path, "--user", "u1", *schema_option(store)), "user_id: is 'u2'")


def test_refused_sessions_are_listed(store, schema_option, tmp_path):
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(lines_of(message("archived", "late"), message("new"))), encoding="utf-8")
    done = program.run("import", path, *schema_option(store))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Imported 1 new sessions, and 1 messages" in done.stderr
    assert "Refused session 'archived': it is archived, and lacks messages of the file." in done.stderr


@pytest.mark.one_server  # On a cluster, an import leaves the statistics to the autovacuum of the workers.
def test_a_failed_analyze_is_a_warning(store, schema_option, tmp_path, monkeypatch):
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(lines_of(message("new"))), encoding="utf-8")
    monkeypatch.setitem(batch.SQL, "analyze", b"SELECT no_such_column")
    done = program.call("import", path, *schema_option(store))
    assert done.returncode == 0
    assert (
        done.stderr.splitlines()[1]
        == "The planner's statistics are old: run ANALYZE sessions, messages as their owner."
    )
    assert store.session("new").record().message_count == 1


def test_unreadable_and_unwritable_files_are_errors(store, schema_option, tmp_path):
    assert_fails(program.run("import", tmp_path / "none", *schema_option(store)), "cannot read", "No such file")
    assert_fails(
        program.run("export", tmp_path / "none" / "all", *schema_option(store)), "cannot write", "No such file"
    )
    packed = tmp_path / "all.jsonl.gz"
    program.run("export", packed, *schema_option(store))
    packed.write_bytes(packed.read_bytes()[:-20])
    assert_fails(program.run("import", packed, *schema_option(store)), "cannot read", "ended before")
    packed.write_bytes(b"nothing that was packed")
    assert_fails(program.run("import", packed, *schema_option(store)), "cannot read", "Not a gzipped file")
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('\n{"message": {"session_id": "s"}}\n', encoding="utf-8")
    assert_fails(program.run("import", wrong, *schema_option(store)), "line 2: role: must be a str")
    if sys.version_info < (3, 14):
        assert_fails(program.run("export", tmp_path / "all.zst", *schema_option(store)), "Python 3.14")
    assert_fails(program.run("export", "/dev/full", *schema_option(store)), "cannot write", "No space left")
    assert not list(tmp_path.glob(".*"))


def test_a_stopped_export_does_not_change_the_file(store, schema_option, tmp_path):
    fill(store.session("long"), 30_000)
    path = tmp_path / "all.jsonl.gz"
    path.write_bytes(b"the one before")
    for after in (0.01, 0.03, 0.1, 0.2, 0.4):
        with subprocess.Popen(
            [sys.executable, "-m", "dal.cli", "export", "--force", path, *schema_option(store)]
        ) as running:
            while running.poll() is None and not list(tmp_path.glob(".*.part")):
                time.sleep(0.01)
            time.sleep(after)
            running.send_signal(signal.SIGTERM)
            status = running.wait(60)
        if status == 143:
            assert [one.name for one in tmp_path.iterdir()] == [path.name]
            assert path.read_bytes() == b"the one before"
            break
    else:
        pytest.fail("no run was stopped in time")


@pytest.mark.parametrize("command", ["export", "import"])
def test_progress_is_shown_on_a_terminal(store, schema_option, tmp_path, command):
    path = tmp_path / "all.jsonl"
    program.run("export", path, *schema_option(store))
    options = ["--force"] if command == "export" else []
    mine, terminal = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-m", "dal.cli", command, *options, path, *schema_option(store)],
        stderr=terminal,
        env=environment,
    ) as running:
        os.close(terminal)
        shown = b""
        while True:
            try:
                piece = os.read(mine, 4096)
            except OSError:
                break
            if not piece:
                break
            shown += piece
        assert running.wait(60) == 0
    os.close(mine)
    assert (b"7 sessions, 15 messages" if command == "export" else b"22 lines") in shown
    assert (b"Exported" if command == "export" else b"Imported") in shown
