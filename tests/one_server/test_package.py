"""The installed package: the wheel contains everything that it needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from paths import ROOT, TESTS

import dal

UV = [sys.executable, "-m", "uv"]
CORE = {"session-dal", "psycopg", "psycopg-pool", "aiosql", "python-ulid", "typing-extensions", "tzdata"}
TEXTS = {".sql", ".template", ".html", ".css", ".toml", ".md"}

USE = """
import sys, dal
from pathlib import Path
assert Path(dal.__file__).is_relative_to(sys.prefix), dal.__file__
with dal.SessionStore.connect(sys.argv[1], schema=sys.argv[2]) as store:
    store.apply_schema()
    print(store.session("s").append("user", "from the wheel").sequence, dal.queries["messages.append"].path)
"""


SERVICE_TEST = """
import psycopg

def test_one_round_trip(round_trips):
    with psycopg.connect({conninfo!r}, autocommit=True) as connection, round_trips(connection, 1):
        connection.execute("SELECT 1")

def test_two(round_trips):
    with psycopg.connect({conninfo!r}) as connection, round_trips(connection, 1):
        connection.execute("SELECT 1")
"""

NO_LIBPQ = """
import ctypes.util, sys
sys.modules |= dict.fromkeys(["psycopg_binary", "psycopg_c"])
ctypes.util.find_library = lambda name: None
"""


def start(*command, **options):
    """Run a command in an environment without this one's Python."""
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    return subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False, env=clean, **options
    )


def run(*command, **options):
    done = start(*command, **options)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


class Environment:
    """A virtual environment with nothing installed."""

    def __init__(self, folder, python):
        run(*UV, "venv", "--python", python, folder)
        self.python = next(folder.glob("[bS]*/python*"))

    def install(self, *requirements):
        """Install packages; return the names of all installed ones."""
        run(*UV, "pip", "install", "--python", self.python, *requirements)
        listed = run(*UV, "pip", "list", "--python", self.python, "--format", "freeze")
        return {line.partition("==")[0].lower() for line in listed.splitlines()}


@pytest.fixture
def environment(tmp_path):
    return Environment(tmp_path / "venv", sys.executable)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(*UV, "build", "--wheel", "--out-dir", folder, ROOT)
    return next(folder.glob("session_dal-*.whl"))


def test_the_wheel_contains_the_sql_and_no_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "queries").rglob("*.sql")}
    assert {f"dal/sql/{file}" for file in files} <= set(names)
    assert {"dal/sql/schema.sql", "dal/py.typed", "dal/_sync/queries.pyi"} <= set(names)
    inside = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dal").rglob("*") if path.suffix in TEXTS}
    assert {"dal/schema/migrations/0002_removals.sql", "dal/schema/grants/service.template"} <= inside <= set(names)
    assert all(name.startswith(("dal/", "session_dal-")) for name in names)


def test_the_wheel_works_in_an_empty_environment(environment, wheel, server, schema, tmp_path):
    assert environment.install(wheel) <= CORE
    assert environment.install(f"{wheel}[binary]") <= CORE | {"psycopg-binary"}
    output = run(environment.python, "-c", USE, server.conninfo, schema, cwd=tmp_path)
    assert output.startswith("0 ")
    assert "dal/sql/queries" in Path(output.split(maxsplit=1)[1]).as_posix()


def test_the_pytest_plugin_works_with_the_oldest_pytest(environment, wheel, server, tmp_path):
    environment.install(f"{wheel}[binary,gate]", "pytest==8.0.0")
    (tmp_path / "test_service.py").write_text(SERVICE_TEST.format(conninfo=server.conninfo))
    done = start(environment.python, "-m", "pytest", "-p", "no:cacheprovider", cwd=tmp_path)
    assert "pytest-8.0.0" in done.stdout
    assert "round trips: promised 1, measured 2" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def free_threaded():
    """Return the path of an interpreter without a GIL."""
    for version in ("3.14t", "3.13t"):
        found = start(*UV, "python", "find", "--no-python-downloads", version)
        if found.returncode == 0:
            return found.stdout.strip()
    pytest.skip("no free-threaded Python is installed (python3.14t or python3.13t)")


def test_the_wheel_works_without_a_gil(wheel, server, schema, tables, tmp_path):
    environment = Environment(tmp_path / "venv", free_threaded())
    assert environment.install(wheel) <= CORE
    output = start(environment.python, TESTS / "free_threads.py", server.conninfo, schema)
    if "libpq library not found" in output.stderr:
        pytest.skip("psycopg without a binary needs libpq, which is not installed (Debian's package libpq5 has it)")
    assert (output.returncode, output.stderr, output.stdout) == (0, "", "1280")


def test_a_missing_libpq_says_what_to_install():
    used = start(sys.executable, "-c", NO_LIBPQ + "import dal; dal.SessionStore")
    assert "dal.NoLibpq: psycopg finds no libpq: pip install 'session-dal[binary]', or " in used.stderr
    command = start(sys.executable, "-c", NO_LIBPQ + "import dal.cli; dal.cli.main()")
    assert command.returncode == 2
    assert command.stderr.startswith("dal: psycopg finds no libpq: pip install 'session-dal[binary]', or ")
    assert command.stderr.count("\n") == 1


def test_every_public_name_can_be_imported():
    assert dal.__all__ == sorted(set(dal.__all__))
    assert all(getattr(dal, name) is not None for name in dal.__all__)
    assert dir(dal) == dal.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Sessions'"):
        _ = dal.Sessions


@pytest.mark.parametrize(("store", "other"), [("AsyncSessionStore", "_sync"), ("SessionStore", "_async")])
def test_a_side_does_not_load_the_other(store, other):
    loaded = start(sys.executable, "-c", f"import sys, dal; dal.{store}; print(*sys.modules)").stdout.split()
    assert "dal.records" in loaded
    assert [name for name in loaded if name.startswith(f"dal.{other}")] == []
