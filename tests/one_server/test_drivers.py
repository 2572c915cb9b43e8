"""Every method with each implementation of psycopg; in separate programs, since psycopg chooses one on import."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from paths import TESTS

import dal


@pytest.fixture
def run(server, schema, tables):
    """Run driver_verbs.py with an implementation of psycopg, from packages in these folders."""

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


def assert_works(done, implementation):
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == implementation


def test_every_method_with_psycopg_binary(run):
    assert_works(run("binary"), "binary")


def test_every_method_with_psycopg_in_python(run):
    done = run("python")
    if "libpq library not found" in done.stderr:
        pytest.skip("psycopg without a binary needs libpq, which is not installed (Debian's package libpq5 has it)")
    assert_works(done, "python")


def test_every_method_with_psycopg_c(run):
    folder = os.environ.get("PSYCOPG_C")
    if not folder:
        pytest.skip("PSYCOPG_C names no folder with psycopg in C, made by uv pip install --target FOLDER 'psycopg[c]'")
    assert_works(run("c", folder), "c")
