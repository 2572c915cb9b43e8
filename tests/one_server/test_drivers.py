"""psycopg in each of its implementations: every verb, in a program of its own, since one is chosen on import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import TESTS

import dal


@pytest.fixture
def run(server, schema, tables):
    """Run every verb with an implementation, from packages that may lie elsewhere."""

    def run(implementation, *folders):
        folders = [*folders, TESTS, Path(dal.__file__).parent.parent]
        return subprocess.run(
            [sys.executable, "-W", "error", TESTS / "driver_verbs.py", server.conninfo, schema],
            env={**os.environ, "PSYCOPG_IMPL": implementation, "PYTHONPATH": os.pathsep.join(map(str, folders))},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    return run


def works(done, implementation):
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == implementation


def test_binary(run):
    works(run("binary"), "binary")


def test_python(run):
    done = run("python")
    if "libpq library not found" in done.stderr:
        pytest.skip("psycopg in Python alone needs libpq, which is not installed (Debian's package libpq5 has it)")
    works(done, "python")


def test_c(run):
    folder = os.environ.get("PSYCOPG_C")
    if not folder:
        pytest.skip("PSYCOPG_C names no folder with psycopg in C, made by uv pip install --target FOLDER 'psycopg[c]'")
    works(run("c", folder), "c")
