"""Every verb behind a real PgBouncer in transaction mode, with the settings that the README gives."""

import os
import pwd
import shutil
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest

import dal
from dal import NewMessage

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


@pytest.fixture
def bouncer(server, schema, tables, tmp_path_factory):
    """A PgBouncer with two connections to the server, however many clients it has."""
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer has it)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    given = psycopg.conninfo.conninfo_to_dict(server.conninfo)
    target = " ".join(
        f"{key}='{value}'" for key, value in given.items() if key in {"host", "port", "user", "password", "dbname"}
    )
    folder = tmp_path_factory.mktemp("pgbouncer")
    settings = folder / "pgbouncer.ini"
    settings.write_text(
        f"""
        [databases]
        sessions = {target} connect_query='SET search_path = {schema}'
        [pgbouncer]
        listen_addr = 127.0.0.1
        listen_port = {port}
        unix_socket_dir =
        auth_type = any
        pool_mode = transaction
        default_pool_size = 2
        logfile = {folder}/log
        """
    )
    command = [PGBOUNCER, str(settings)]
    if os.geteuid() == 0:  # It refuses to run as root; and the embedded server's socket is its user's alone.
        host = str(given.get("host", ""))
        user = pwd.getpwuid(Path(host).stat().st_uid) if host.startswith("/") else pwd.getpwnam("nobody")
        os.chown(folder, user.pw_uid, user.pw_gid)
        for parent in folder.parents[:3]:
            parent.chmod(parent.stat().st_mode | 0o011)
        command[1:1] = ["--user", user.pw_name]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 10
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield f"postgresql://service@127.0.0.1:{port}/sessions?sslmode=disable"
    finally:
        process.terminate()
        process.wait()


def test_every_verb(side, bouncer):
    with side.connect_store(bouncer, pgbouncer=True, prepare_threshold=None) as store:
        store.check_schema()
        for _ in range(8):  # more often than psycopg waits before it prepares
            session = store.session(user_id="u1")
            first = session.append("user", "x", agent_id="a")
            session.append_all([NewMessage(role="user", content="y"), NewMessage(role="user", content="z")])
            assert [message.sequence for message in session.latest()] == [0, 1, 2]
            assert session.messages(after=0, limit=1)[0].content == "y"
            assert session.messages(before=1) == (first,) == (session.message(first.message_id),)
            assert session.remove_from(2) == 1
            assert session.agent_ids() == ("a",)
            assert session.pause().status == "paused"
            assert session.resume().status == "active"
            assert session.update_metadata({"a": 1}).metadata == {"a": 1}
            assert session.reset().parent_id == session.id
            assert store.agent_ids([session.id]) == {session.id: ("a",)}
            with store.transaction() as inside:
                inside.session("t").append("user", "x")
        assert len(store.sessions(user_id="u1")) == 8
        assert session.delete()
        assert len(store.delete_idle(datetime.now(UTC))) == 8


def test_many_clients_on_few_connections(bouncer):
    def write():
        with dal.SessionStore.connect(bouncer, pgbouncer=True, prepare_threshold=None, max_size=2) as store:
            for _ in range(50):
                store.session("s").append("user", "x")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with dal.SessionStore.connect(bouncer, pgbouncer=True, prepare_threshold=None) as store:
        record = store.session("s").record()
    assert (record.next_sequence, record.message_count) == (400, 400)
