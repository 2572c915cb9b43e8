"""The demo: its figures are correct, and it leaves nothing behind, however it ends."""

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

import program
import psycopg
import pytest

from dal.demo.tasks import QUICK

DEMO = [sys.executable, "-m", "dal.cli", "demo"]


@pytest.fixture
def observer(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        yield connection


@pytest.fixture
def folder():
    """A temporary folder with a short name, since the path of a socket is limited."""
    path = Path(tempfile.mkdtemp(prefix="dt"))
    yield path
    shutil.rmtree(path, ignore_errors=True)


def scratch_schemas(observer):
    found = observer.execute("SELECT nspname FROM pg_namespace WHERE starts_with(nspname, 'dal_demo_')")
    return {name for (name,) in found}


def rows_written(observer, schema):
    (written,) = observer.execute(
        "SELECT sum(n_tup_ins) FROM pg_stat_user_tables WHERE schemaname = %s", [schema]
    ).fetchone()
    return written or 0


def processes_in(folder):
    """Return the processes whose command line contains the folder's name."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(folder) in command:
            found.append(command)
    return found


def wait_until(condition, what):
    end = time.monotonic() + 60
    while not (found := condition()):
        assert time.monotonic() < end, f"not within a minute: {what}"
        time.sleep(0.02)
    return found


@contextmanager
def running(*options, **environment):
    """Run the demo in its own process group, as a terminal does."""
    demo = subprocess.Popen(
        [*DEMO, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | environment,
    )
    try:
        yield demo
    finally:
        if demo.poll() is None:
            demo.kill()
        demo.communicate()


def figures(output):
    """Return the rows of the table: the variant, and its four figures."""
    number = r"([<\d.,]+)"
    rows = re.findall(rf"│   (\S.*?) +│ +{number} │ +{number} │ +{number} │ +{number}. │", output)
    return [(variant, *(float(one.replace(",", "").lstrip("<")) for one in rest)) for variant, *rest in rows]


def without_server(err):
    """Return stderr without the line that names the server."""
    return re.sub(r"^On PostgreSQL .*\n", "", err)


@pytest.fixture(scope="module")
def output(server):
    """The output of a short demo, which has dropped its schema."""
    with psycopg.connect(server.conninfo, autocommit=True) as observer:
        before = scratch_schemas(observer)
        done = program.run("demo", "--quick", "--dsn", server.conninfo)
        after = scratch_schemas(observer)
    assert (done.returncode, done.stderr) == (0, f"On PostgreSQL {server.version} (given): {server.place}\n")
    assert after == before
    return done.stdout


def test_the_output_is_plain_text(output):
    assert "\x1b" not in output
    assert max(map(len, output.splitlines())) <= 100


def test_the_output_has_no_markup(output):
    assert "dal queries messages.append" in output
    assert "[bold]" not in output


def test_the_output_names_the_server(output, server):
    assert f"PostgreSQL {server.version}" in " ".join(output.split())


def test_figures_of_an_append(output):
    (_, trips, read, written, _), (variant, *ours) = figures(output)[:2]
    count = QUICK.messages
    assert variant == "session.append()"
    assert ours[0] == 1
    assert ours[1] <= 2
    assert ours[2] == 2
    assert ours[3] == 1
    # BEGIN, four statements and COMMIT. It counts 0, 1, 2 … messages, and reads the session three times.
    assert trips == 6
    assert read == pytest.approx((count - 1) / 2 + 3, abs=1)
    assert written == 2
    assert f"read {count * (count - 1) // 2 + 3 * count:,} rows in {6 * count:,} round trips" in " ".join(
        output.split()
    )


def test_figures_of_a_session_without_messages(output):
    (_, *usual), (variant, *ours) = figures(output)[2:4]
    assert variant == "store.session()"
    assert ours == [0, 0, 0, 1]
    assert usual[:3] == [3, 0, 1]
    assert f"wrote {QUICK.silent:,} rows for those, in {3 * QUICK.silent:,} round trips" in " ".join(output.split())


def test_figures_of_a_first_message(output):
    (_, *usual), (_, *ours) = figures(output)[4:6]
    assert (ours[0], ours[2], ours[3]) == (1, 2, 1)
    assert (usual[0], usual[2]) == (9, 3)
    assert usual[1] > ours[1]


def test_figures_of_the_agents_of_an_archived_session(output):
    (_, *scan), (_, *first), (_, *later) = figures(output)[6:]
    assert first[0] == later[0] == 1
    # The first read caches the list; later reads write nothing.
    assert (scan[2], first[2], later[2]) == (0, 1, 0)
    assert later[1] < first[1] < scan[1]
    assert scan[1] >= QUICK.archived * 5 / 6 - 1


def test_its_own_server_leaves_nothing_behind(folder):
    with running("--quick", "--server", "embedded", TMPDIR=str(folder)) as demo:
        out, err = demo.communicate(timeout=120)
    assert (demo.returncode, without_server(err)) == (0, "")
    assert "embedded-18" in out
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []


def test_dsn_and_server_exclude_each_other(server):
    done = program.run("demo", "--dsn", server.conninfo, "--server", "embedded")
    assert done.returncode == 2
    assert "either" in done.stderr


@pytest.mark.parametrize(("signum", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_it_drops_its_schema_when_interrupted(server, observer, signum, status):
    before = scratch_schemas(observer)
    with running("--dsn", server.conninfo) as demo:
        (schema,) = wait_until(lambda: scratch_schemas(observer) - before, "there is a schema")
        wait_until(lambda: rows_written(observer, schema) > 500, "it has written rows")
        demo.send_signal(signum)
        out, err = demo.communicate(timeout=60)
    assert (demo.returncode, out) == (status, "")
    assert without_server(err) == f"dal: stopped by {signum.name}\n"
    assert scratch_schemas(observer) == before


@pytest.mark.parametrize(
    "moment", ["session-dal-*", "session-dal-*/data/PG_VERSION", "session-dal-*/data/postmaster.pid"]
)
def test_it_leaves_nothing_behind_when_interrupted_while_its_server_starts(folder, moment):
    with running("--server", "embedded", TMPDIR=str(folder)) as demo:
        wait_until(lambda: list(folder.glob(moment)), f"there is {moment}")
        # Like Ctrl-C, to the whole group, including the programs that start the server.
        os.killpg(demo.pid, signal.SIGINT)
        out, err = demo.communicate(timeout=60)
    assert (demo.returncode, out) == (130, "")
    assert without_server(err) == "dal: stopped by SIGINT\n"
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []


def test_it_stops_its_server_when_interrupted(folder):
    with running("--server", "embedded", TMPDIR=str(folder)) as demo:
        wait_until(lambda: list(folder.glob("session-dal-*/data/postmaster.pid")), "there is a server")
        time.sleep(1.5)
        # An impatient user presses Ctrl-C several times.
        for _ in range(3):
            os.killpg(demo.pid, signal.SIGINT)
            time.sleep(0.05)
        out, err = demo.communicate(timeout=60)
    assert (demo.returncode, out) == (130, "")
    assert without_server(err) == "dal: stopped by SIGINT\n"
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []
