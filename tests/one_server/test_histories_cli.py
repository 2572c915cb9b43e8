"""`dal export` and `dal import`, with files, pipes and what goes wrong with them."""

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
from test_histories import exported, fill, make_all_kinds, other, rows  # noqa: F401 - fixtures among them
from test_histories import lines as written
from test_histories import message as said

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
def place(server, monkeypatch):
    """The options that lead to a store's schema."""
    monkeypatch.setenv("DAL_DSN", server.conninfo)

    def option(store):
        conninfo = store._backend.runner._source._pool.conninfo
        return "--schema", conninfo.partition("search_path=")[2].split('"')[1]

    return option


@pytest.mark.parametrize("name", ["all.jsonl", "all.jsonl.gz"])
def test_a_file_is_written_and_read_again(store, other, rows, place, tmp_path, name):  # noqa: F811, PLR0917
    path = tmp_path / name
    for _ in range(2):
        done = program.run("export", path, *place(store))
        assert (done.returncode, done.stdout) == (0, "")
        assert done.stderr == "Exported 6 sessions with 12 messages.\n"
    assert [one.name for one in tmp_path.iterdir()] == [name]
    data = gzip.decompress(path.read_bytes()) if name.endswith("gz") else path.read_bytes()
    assert data == exported(store)
    for new, there in ((12, 0), (0, 12)):
        done = program.run("import", path, *place(other))
        assert (done.returncode, done.stdout) == (0, "")
        sessions = 6 if new else 0
        told = f"Imported {sessions} new sessions, and {new} messages; {there} messages were there already.\n"
        assert done.stderr == told
    assert rows(other) == rows(store)


def test_pipes_are_written_and_read(store, other, rows, place):  # noqa: F811
    command = [sys.executable, "-m", "dal.cli"]
    for name in ((), ("-",)):
        with (
            subprocess.Popen([*command, "export", *name, *place(store)], stdout=subprocess.PIPE) as source,
            subprocess.Popen([*command, "import", *name, *place(other)], stdin=source.stdout) as target,
        ):
            assert (source.wait(60), target.wait(60)) == (0, 0)
        assert rows(other) == rows(store)


def test_of_whom_and_when(store, place):
    def exported_ids(*options):
        done = program.run("export", *options, *place(store))
        assert done.returncode == 0, done.stderr
        return done.stdout.count('{"session":')

    assert exported_ids("--user", "u1") == 2
    assert exported_ids("--user", "u2", "--source", "web") == 3
    assert exported_ids("--since", "2020-01-01", "--until", "2020-01-02T00:00+01:00") == 0
    assert exported_ids("--since", "2020-01-01") == 6
    assert_fails(program.run("export", "--since", "yesterday", *place(store)), "--since: 'yesterday' is not a time")


def test_a_user_s_import_takes_no_other_s(store, place, tmp_path):
    path = tmp_path / "all.jsonl"
    program.run("export", path, *place(store))
    assert_fails(program.run("import", path, "--user", "u1", *place(store)), "user_id: is 'u2'")


def test_what_is_refused_is_named(store, place, tmp_path):
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(written(said("archived", "late"), said("new"))), encoding="utf-8")
    done = program.run("import", path, *place(store))
    assert (done.returncode, done.stdout) == (1, "")
    assert "Imported 1 new sessions, and 1 messages" in done.stderr
    assert "Refused session 'archived': it is archived, and lacks messages of the file." in done.stderr


def test_old_statistics_are_told(store, place, tmp_path, monkeypatch):
    path = tmp_path / "more.jsonl"
    path.write_text("\n".join(written(said("new"))), encoding="utf-8")
    monkeypatch.setitem(batch.SQL, "analyze", b"SELECT no_such_column")
    done = program.call("import", path, *place(store))
    assert done.returncode == 0
    assert (
        done.stderr.splitlines()[1]
        == "The planner's statistics are old: run ANALYZE sessions, messages as their owner."
    )
    assert store.session("new").record().message_count == 1


def test_what_cannot_be_read_or_written_is_told(store, place, tmp_path):
    assert_fails(program.run("import", tmp_path / "none", *place(store)), "cannot read", "No such file")
    assert_fails(program.run("export", tmp_path / "none" / "all", *place(store)), "cannot write", "No such file")
    packed = tmp_path / "all.jsonl.gz"
    program.run("export", packed, *place(store))
    packed.write_bytes(packed.read_bytes()[:-20])
    assert_fails(program.run("import", packed, *place(store)), "cannot read", "ended before")
    packed.write_bytes(b"nothing that was packed")
    assert_fails(program.run("import", packed, *place(store)), "cannot read", "Not a gzipped file")
    wrong = tmp_path / "wrong.jsonl"
    wrong.write_text('\n{"message": {"session_id": "s"}}\n', encoding="utf-8")
    assert_fails(program.run("import", wrong, *place(store)), "line 2: role: must be a str")
    if sys.version_info < (3, 14):
        assert_fails(program.run("export", tmp_path / "all.zst", *place(store)), "Python 3.14")
    assert_fails(program.run("export", "/dev/full", *place(store)), "cannot write", "No space left")
    assert not list(tmp_path.glob(".*"))


@pytest.mark.parametrize("command", ["export", "import"])
def test_no_database_is_guessed(monkeypatch, command):
    monkeypatch.delenv("DAL_DSN", raising=False)
    assert_fails(program.run(command), "--dsn", "DAL_DSN")


def test_an_export_that_is_stopped_leaves_the_file_as_it_was(store, place, tmp_path):
    fill(store.session("long"), 30_000)
    path = tmp_path / "all.jsonl.gz"
    path.write_bytes(b"the one before")
    for after in (0.01, 0.03, 0.1, 0.2, 0.4):
        with subprocess.Popen([sys.executable, "-m", "dal.cli", "export", path, *place(store)]) as running:
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
        pytest.fail("it was never stopped in between")


@pytest.mark.parametrize("command", ["export", "import"])
def test_a_terminal_sees_how_far_it_is(store, place, tmp_path, command):
    path = tmp_path / "all.jsonl"
    program.run("export", path, *place(store))
    mine, its = pty.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "100"}
    with subprocess.Popen(
        [sys.executable, "-m", "dal.cli", command, path, *place(store)], stderr=its, env=environment
    ) as running:
        os.close(its)
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
    assert (b"6 sessions, 12 messages" if command == "export" else b"18 lines") in shown
    assert (b"Exported" if command == "export" else b"Imported") in shown
