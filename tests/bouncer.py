"""Start a PgBouncer in transaction mode, with the settings of docs/guides/pgbouncer.md."""

import os
import pwd
import re
import shutil
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")


def prepares():
    """Return whether the installed PgBouncer can keep prepared statements."""
    if PGBOUNCER is None:
        return False
    version = subprocess.run([PGBOUNCER, "--version"], check=True, capture_output=True, text=True).stdout
    return tuple(map(int, re.search(r"(\d+)\.(\d+)", version).groups())) >= (1, 21)


@contextmanager
def through_pgbouncer(server, schema, *, pool_size=2, files=None, **settings):
    """Start a PgBouncer in front of the server, with `pool_size` connections to it; yield its port.

    `files` are written next to its settings, which refer to them as {folder}/name.
    """
    if PGBOUNCER is None:
        pytest.skip("pgbouncer is not installed (Debian's package pgbouncer has it)")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server_parameters = psycopg.conninfo.conninfo_to_dict(server.conninfo)
    target = " ".join(
        f"{key}='{value}'"
        for key, value in server_parameters.items()
        if key in {"host", "port", "user", "password", "dbname"}
    )
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    for name, text in (files or {}).items():
        (folder / name).write_bytes(text)
    settings = {
        "listen_addr": "127.0.0.1",
        "listen_port": port,
        "unix_socket_dir": "",
        "auth_type": "any",
        "pool_mode": "transaction",
        "default_pool_size": pool_size,
        "logfile": "{folder}/log",
    } | settings
    ini = folder / "pgbouncer.ini"
    ini.write_text(
        f"[databases]\nsessions = {target} connect_query='SET search_path = {schema}'\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in settings.items()).replace("{folder}", str(folder))
    )
    process = subprocess.Popen(_command(ini, server_parameters), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
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
        yield port
    finally:
        process.terminate()
        process.wait()
        shutil.rmtree(folder)


def _command(ini, server_parameters):
    command = [PGBOUNCER, str(ini)]
    if os.geteuid() == 0:  # It refuses to run as root, and only its owner may open the embedded server's socket.
        host = str(server_parameters.get("host", ""))
        user = pwd.getpwuid(Path(host).stat().st_uid) if host.startswith("/") else pwd.getpwnam("nobody")
        for path in (ini.parent, *ini.parent.iterdir()):
            os.chown(path, user.pw_uid, user.pw_gid)
        command[1:1] = ["--user", user.pw_name]
    return command
