"""`dal serve`: its output, its data folder, and nothing else left behind."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest
from program import run
from test_demo import folder, processes_in, wait_until  # noqa: F401 - a fixture among them

import dal

SERVE = [sys.executable, "-m", "dal", "serve"]


@contextmanager
def serving(folder, *options):  # noqa: F811
    """Run `dal serve` in its own process group; yield it and the printed connection string."""
    program = subprocess.Popen(
        [*SERVE, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=os.environ | {"TMPDIR": str(folder)},
    )
    try:
        yield program, program.stdout.readline().strip()
    finally:
        if program.poll() is None:
            program.kill()
        program.communicate()


def stop(program, ending=signal.SIGINT):
    """Interrupt it like a terminal; return the rest of its output."""
    os.killpg(program.pid, ending)
    out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (0, "")
    return err


def listening(conninfo):
    with psycopg.connect(conninfo) as connection:
        return connection.execute("SHOW listen_addresses").fetchone()[0]


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_until_a_signal_and_leaves_nothing_behind(folder, ending):  # noqa: F811
    with serving(folder) as (program, conninfo):
        with dal.SessionStore.connect(conninfo) as store:
            assert store.session("s").append("user", "hello").sequence == 0
        assert listening(conninfo) == ""
        err = stop(program, ending)
    assert f"In another terminal: export DAL_DSN='{conninfo}'\n" in err
    assert "The data is deleted at the end; --data FOLDER keeps it.\n" in err
    assert err.endswith("Press Ctrl-C to stop.\nStopping …\n")
    assert processes_in(folder) == []
    assert list(folder.glob("session-dal-*")) == []


def test_it_keeps_the_data_in_a_folder(folder):  # noqa: F811
    data, schema = folder / "new" / "data", ("--schema", "agents")
    for n in range(2):
        with serving(folder, "--data", data, *schema) as (program, conninfo):
            with dal.SessionStore.connect(conninfo, schema="agents") as store:
                assert store.session("s").append("user", "hello").sequence == n
            assert f"The data stays in {data}.\n" in stop(program)
    assert processes_in(folder) == []
    assert [path.name for path in data.iterdir()] == ["session-dal"]


def test_the_printed_connection_string_works_with_the_commands(folder):  # noqa: F811
    with serving(folder) as (program, conninfo):
        environment = os.environ | {"DAL_DSN": conninfo}
        for command in (["schema", "check"], ["sessions"]):
            done = run(*command, module="dal", env=environment)
            assert done.returncode == 0
        stop(program)


def test_it_ends_if_its_server_does(folder):  # noqa: F811
    with serving(folder, "--data", folder / "data") as (program, _):
        pid = int((folder / "data/session-dal/postmaster.pid").read_text().split()[0])
        os.kill(pid, signal.SIGINT)
        out, err = program.communicate(timeout=60)
    assert (program.returncode, out) == (2, "")
    assert err.endswith("dal: the server has ended\n")


def test_data_of_another_version_is_refused(folder):  # noqa: F811
    data = folder / "session-dal"
    data.mkdir()
    (data / "PG_VERSION").write_text("9.6", encoding="utf-8")
    done = run("serve", "--data", folder, module="dal")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"dal: the embedded server cannot use {data}: ")
    assert done.stderr.count("\n") == 1


def test_a_folder_that_cannot_be_created_is_an_error():
    done = run("serve", "--data", Path("/dev/null/x"), module="dal")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cannot use /dev/null/x/session-dal" in done.stderr
