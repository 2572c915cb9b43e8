"""The installed package: what the wheel carries is all that it needs."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import dal

ROOT = Path(__file__).parent.parent
TEXTS = {".sql", ".template", ".html", ".css"}

USE = """
import sys, dal
from pathlib import Path
assert Path(dal.__file__).is_relative_to(sys.prefix), dal.__file__
with dal.SessionStore.connect(sys.argv[1], schema=sys.argv[2]) as store:
    store.apply_schema()
    print(store.session("s").append("user", "from the wheel").sequence, dal.queries["messages.append"].path)
"""


def run(*command, **options):
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, timeout=300, check=False, **options
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "uv", "build", "--wheel", "--out-dir", folder, ROOT)
    return next(folder.glob("session_dal-*.whl"))


def test_the_wheel_carries_the_sql_and_nothing_of_the_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    files = {path.relative_to(ROOT).as_posix() for path in (ROOT / "queries").rglob("*.sql")}
    assert {f"dal/sql/{file}" for file in files} <= set(names)
    assert {"dal/sql/schema.sql", "dal/py.typed", "dal/_sync/queries.pyi"} <= set(names)
    inside = {path.relative_to(ROOT).as_posix() for path in (ROOT / "dal").rglob("*") if path.suffix in TEXTS}
    assert {"dal/migrations/0002_removals.sql", "dal/grants/service.template"} <= inside <= set(names)
    assert all(name.startswith(("dal/", "session_dal-")) for name in names)


def test_it_works_in_an_empty_environment(wheel, server, schema, tmp_path):
    uv = [sys.executable, "-m", "uv"]
    run(*uv, "venv", "--python", sys.executable, tmp_path / "venv")
    python = next((tmp_path / "venv").glob("[bS]*/python*"))
    run(*uv, "pip", "install", "--python", python, wheel)
    listed = run(*uv, "pip", "list", "--python", python, "--format", "freeze")
    installed = {line.partition("==")[0].lower() for line in listed.splitlines()}
    core = {"session-dal", "psycopg", "psycopg-binary", "psycopg-pool", "aiosql", "python-ulid", "typing-extensions"}
    assert installed <= core | {"tzdata"}
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PYTHON", "VIRTUAL_ENV"))}
    said = run(python, "-c", USE, server.conninfo, schema, cwd=tmp_path, env=clean)
    assert said.startswith("0 ")
    assert "dal/sql/queries" in Path(said.split(maxsplit=1)[1]).as_posix()


def test_every_public_name_can_be_imported():
    assert dal.__all__ == sorted(name for names in dal._FROM.values() for name in names)
    assert all(getattr(dal, name) is not None for name in dal.__all__)
    assert dir(dal) == dal.__all__
    with pytest.raises(AttributeError, match="has no attribute 'Sessions'"):
        _ = dal.Sessions
