"""The demo: that its figures agree, and that nothing is left of it, however it ends."""

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from dal.demo.tasks import QUICK

DEMO = [sys.executable, "-m", "dal.cli", "demo"]


@pytest.fixture
def watcher(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def folder():
    """A folder for what is temporary, of a short name: a socket's path has little room."""
    path = Path(tempfile.mkdtemp(prefix="dt"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def scratch_schemas(watcher):
    found = watcher.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'dal_demo_')")
    return {name for (name,) in found}


def rows_written(watcher, schema):
    (written,) = watcher.execute(
        "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE schemaname = %s", [schema]
    ).fetchone()
    return written or 0


def processes_in(folder):
    """The programs that have the folder's name in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            told = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in told:
            found.append(told)
    return found


def wait_until(true, what):
    end = time.monotonic() + 60
    while not (found := true()):
        assert time.monotonic() < end, f"waited a minute until {what}"
        time.sleep(0.02)
    return found


@contextmanager
def running(*options, **environment):
    """A demo in a process group of its own, as a terminal would start it."""
    program = subprocess.Popen(
        [*DEMO, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
    )
    try:
        yield program
    finally:
        if program.poll() is None:
            program.kill()
        program.communicate()


def figures(told):
    """The table's rows: the way, and its four figures."""
    number = r"([<\d.,]+)"
    rows = re.findall(rf"│   (\S.*?) +│ +{number} │ +{number} │ +{number} │ +{number}. │", told)
    return [(way, *(float(one.replace(",", "").lstrip("<")) for one in rest)) for way, *rest in rows]


def without_place(err):
    """What stderr has after the line that says where the demo runs."""
    return re.sub(r"^On PostgreSQL .*\n", "", err)


@pytest.fixture(scope="module")
def told(server):
    """What a short demo says, and the schemas that it left."""
    with psycopg.connect(server.conninfo, autocommit=True) as watcher:
        before = scratch_schemas(watcher)
        done = subprocess.run(
            [*DEMO, "--quick", "--dsn", server.conninfo], capture_output=True, text=True, timeout=120, check=False
        )
        after = scratch_schemas(watcher)
    assert (done.returncode, done.stderr) == (0, f"On PostgreSQL {server.version} (given): {server.place}\n")
    assert after == before
    return done.stdout


def test_what_it_prints_can_be_kept_in_a_file(told):
    assert "\x1b" not in told
    assert max(map(len, told.splitlines())) <= 100


def test_it_prints_no_markup(told):
    assert "dal queries messages.append" in told
    assert "[bold]" not in told


def test_it_names_its_server(told, server):
    assert f"PostgreSQL {server.version}" in " ".join(told.split())


def test_an_append_is_one_round_trip_and_reads_no_other_message(told):
    (_, trips, read, written, _), (way, *ours) = figures(told)[:2]
    count = QUICK.messages
    assert way == "session.append()"
    assert ours[0] == 1
    assert ours[1] <= 2
    assert ours[2] == 2
    assert ours[3] == 1
    # BEGIN, four statements and COMMIT. It counts 0, 1, 2 … messages, and finds the session three times.
    assert trips == 6
    assert read == pytest.approx((count - 1) / 2 + 3, abs=1)
    assert written == 2
    assert f"read {count * (count - 1) // 2 + 3 * count:,} rows in {6 * count:,} round trips" in " ".join(told.split())


def test_a_silent_session_sends_nothing(told):
    (_, *usual), (way, *ours) = figures(told)[2:4]
    assert way == "store.session()"
    assert ours == [0, 0, 0, 1]
    assert usual[:3] == [3, 0, 1]
    assert f"wrote {QUICK.silent:,} rows for those, in {3 * QUICK.silent:,} round trips" in " ".join(told.split())


def test_a_session_comes_with_its_first_message(told):
    (_, *usual), (_, *ours) = figures(told)[4:6]
    assert (ours[0], ours[2], ours[3]) == (1, 2, 1)
    assert (usual[0], usual[2]) == (9, 3)
    assert usual[1] > ours[1]


def test_the_agents_of_an_archived_session_are_scanned_once(told):
    (_, *scan), (_, *first), (_, *later) = figures(told)[6:]
    assert first[0] == later[0] == 1
    # The first read stores the answer, and those after it write nothing.
    assert (scan[2], first[2], later[2]) == (0, 1, 0)
    assert later[1] < first[1] < scan[1]
    assert scan[1] >= QUICK.archived * 5 / 6 - 1


def test_it_starts_a_server_that_leaves_nothing(folder):
    with running("--quick", "--server", "embedded", TMPDIR=str(folder)) as program:
        out, err = program.communicate(timeout=120)
    assert (program.returncode, without_place(err)) == (0, "")
    assert "embedded-18" in out
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []


def test_a_server_is_named_once(server):
    done = subprocess.run(
        [*DEMO, "--dsn", server.conninfo, "--server", "embedded"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "either" in done.stderr


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_it_drops_its_schema(server, watcher, ending, status):
    before = scratch_schemas(watcher)
    with running("--dsn", server.conninfo) as program:
        (schema,) = wait_until(lambda: scratch_schemas(watcher) - before, "there is a schema")
        wait_until(lambda: rows_written(watcher, schema) > 500, "it works")
        program.send_signal(ending)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (status, "")
    assert without_place(err) == f"dal: stopped by {ending.name}\n"
    assert scratch_schemas(watcher) == before


@pytest.mark.parametrize(
    "moment", ["session-dal-*", "session-dal-*/data/PG_VERSION", "session-dal-*/data/postmaster.pid"]
)
def test_interrupted_while_its_server_starts_it_leaves_nothing(folder, moment):
    with running("--server", "embedded", TMPDIR=str(folder)) as program:
        wait_until(lambda: list(folder.glob(moment)), f"there is {moment}")
        # To the whole group, as Ctrl-C is: the programs that start the server get it too.
        os.killpg(program.pid, signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, "")
    assert without_place(err) == "dal: stopped by SIGINT\n"
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []


def test_interrupted_at_work_it_stops_its_server(folder):
    with running("--server", "embedded", TMPDIR=str(folder)) as program:
        wait_until(lambda: list(folder.glob("session-dal-*/data/postmaster.pid")), "there is a server")
        time.sleep(1.5)
        # An impatient user, who does not wait for the first one's effect.
        for _ in range(3):
            os.killpg(program.pid, signal.SIGINT)
            time.sleep(0.05)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (130, "")
    assert without_place(err) == "dal: stopped by SIGINT\n"
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []
