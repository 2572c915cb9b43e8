"""A password is never shown: not in an error, a repr, a log, a command's output or a page."""

import io
import logging
import os
import re
import traceback
from functools import partial
from secrets import token_hex
from urllib.parse import quote

import psycopg
import pytest
from bouncer import through_pgbouncer
from paths import ROOT
from program import run
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sides import unwrap

import dal
from dal.conninfo import with_schema
from dal.gate import conninfo as gate_conninfo
from dal.gate.errors import GateError

MARK = "hush7"
SECRET = f"{MARK}/@ %'\\"
"""Each form of a connection string has to quote it differently; all of them contain MARK."""


TODO = ROOT / "dal/gate/example"
FILES = (f"--queries={TODO}/queries", f"--schema={TODO}/schema.sql", f"--fixtures={TODO}/fixtures.py")

OURS = (f"--queries={ROOT}/queries", f"--schema={ROOT}/schema.sql", f"--fixtures={ROOT}/bench/gate/fixtures.py")

COMMANDS = (
    ("schema", "apply"),
    ("schema", "upgrade"),
    ("schema", "check"),
    ("schema", "grants", "someone"),
    ("check", "schema.version", *OURS, "--format", "json", "--also", "junit=junit", "--also", "markdown=markdown"),
    ("review", "--out", "review", *FILES),
    ("demo",),
    ("sessions",),
    ("delete-idle", "--older-than", "1d", "--yes"),
    ("erase-user", "u1", "--yes"),
    ("purge", "--older-than", "1d", "--yes"),
    ("export",),
    ("import", os.devnull),
)


def url(address):
    return "postgresql://{user}:{}@{host}:{port}/{dbname}".format(quote(SECRET, safe=""), **address)


@pytest.fixture(params=["url", "keywords", "PGPASSWORD", "service", "passfile"])
def conninfo_form(request, tmp_path, monkeypatch):
    """The ways to pass the password; each makes a connection string for an address."""

    def keywords(address):
        return make_conninfo(**address, password=SECRET)

    def environment(address):
        monkeypatch.setenv("PGPASSWORD", SECRET)
        return make_conninfo(**address)

    def service(address):
        lines = [f"{key}={value}" for key, value in (address | {"password": MARK}).items()]
        (tmp_path / "services").write_text("\n".join(["[mine]", *lines, ""]))
        monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
        return "service=mine"

    def passfile(address):
        (tmp_path / "passwords").write_text(f"*:*:*:*:{MARK}\n")
        (tmp_path / "passwords").chmod(0o600)
        return make_conninfo(**address, passfile=str(tmp_path / "passwords"))

    return {"url": url, "keywords": keywords, "PGPASSWORD": environment, "service": service, "passfile": passfile}[
        request.param
    ]


@pytest.fixture
def log():
    """Capture everything that is logged; at the end, assert that it does not contain the password."""
    output, everyone, levels = io.StringIO(), logging.getLogger(), {}
    for logger in (everyone, logging.getLogger("psycopg")):
        levels[logger] = logger.level
        logger.setLevel(logging.DEBUG)
    handler = logging.StreamHandler(output)
    everyone.addHandler(handler)
    yield
    logging.getLogger("psycopg.pool").debug("the last")
    everyone.removeHandler(handler)
    for logger, level in levels.items():
        logger.setLevel(level)
    assert output.getvalue().endswith("the last\n")
    assert MARK not in output.getvalue()


@pytest.fixture
def guarded(server, schema, tables):
    """The address of a server with another password."""
    files = {"users": b'"service" "another"\n'}
    with through_pgbouncer(server, schema, files=files, auth_type="plain", auth_file="{folder}/users") as port:
        yield {"host": "127.0.0.1", "port": port, "user": "service", "dbname": "sessions"}


@pytest.fixture
def bouncer(server, schema, tables):
    """The address of a server that accepts any password."""
    with through_pgbouncer(server, schema) as port:
        yield {"host": "127.0.0.1", "port": port, "user": "service", "dbname": "sessions"}


def assert_silent(error):
    """Assert that no representation of the error or its causes contains the password."""
    seen, left = [], [error]
    while left:
        one = left.pop()
        seen += [str(one), repr(one), repr(one.args), repr(vars(one))]
        left += [other for other in (one.__cause__, one.__context__) if other is not None]
    seen += traceback.format_exception(error)
    assert MARK not in "\n".join(seen)


def assert_fails_silently(side, conninfo, message):
    with side.connect_store(conninfo, pgbouncer=True, timeout=0.5) as store:
        session = store.session("s")
        attempts = partial(unwrap(session).append, "user", "x"), unwrap(store).check_schema, unwrap(store).apply_schema
        for error in side.call_concurrently(attempts):
            assert isinstance(error, dal.ServerUnavailable)
            assert re.search(message, str(error))
            assert_silent(error)
        assert MARK not in repr([store, session, store._backend, getattr(store, "inner", store)])


def test_a_wrong_password_is_not_shown(side, conninfo_form, guarded, log):
    assert_fails_silently(side, conninfo_form(guarded), "authentication failed")


def test_a_refused_connection_shows_no_password(side, conninfo_form, log):
    assert_fails_silently(
        side, conninfo_form({"host": "127.0.0.1", "port": 1, "user": "service", "dbname": "sessions"}), "refused"
    )


def test_an_unknown_host_shows_no_password(side, conninfo_form, log):
    address = {"host": "nowhere.invalid", "port": 1, "user": "service", "dbname": "sessions"}
    assert_fails_silently(side, conninfo_form(address), "nowhere.invalid|no connection was free")


def test_an_exhausted_pool_shows_no_password(side, conninfo_form, bouncer, log):
    with (
        side.connect_store(conninfo_form(bouncer), pgbouncer=True, max_size=1, timeout=0.5) as store,
        store.transaction(),
    ):
        with pytest.raises(dal.ServerUnavailable, match="no connection was free") as refused:
            store.session().append("user", "x")
    assert_silent(refused.value)


@pytest.mark.parametrize(
    "conninfo",
    [
        MARK,
        f"host=h password={MARK} {MARK}",
        f"postgresql://me:{MARK}@h/d?{MARK}=1",
        f"postgresql://me:{MARK}/rest@h/d",
        f"postgresql://:{MARK}/rest@h/d",
        f"postgresql://me:{MARK}@h:x/d",
        f"postgresql://me:{MARK}%zz@h/d",
        f"host=h port=x password={MARK}",
    ],
)
def test_an_invalid_connection_string_is_not_shown(side, conninfo, log):
    for options in ({}, {"schema": "agents"}, {"pgbouncer": True}):
        with pytest.raises(dal.DalError) as refused:
            with side.connect_store(conninfo, timeout=0.5, **options) as store:
                store.check_schema()
        assert_silent(refused.value)
    with pytest.raises(GateError) as refused:
        gate_conninfo.check(conninfo)
    assert_silent(refused.value)


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: " ".join(command[:2]))
def test_a_failing_command_shows_no_password(guarded, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = run(*command, "--dsn", url(guarded))
    assert done.returncode in {1, 2}
    assert "authentication failed" in done.stderr
    assert MARK not in done.stdout + done.stderr


@pytest.fixture
def own_role(server, schema, tables):
    """A connection string with a role that has this password, and with the tables."""
    name = f"dal_test_{token_hex(4)}"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        made = sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(sql.Identifier(name), SECRET)
        connection.execute(made)
        yield with_schema(make_conninfo(server.conninfo, user=name, password=SECRET), schema)
        connection.execute(sql.SQL("DROP ROLE {}").format(sql.Identifier(name)))


@pytest.mark.parametrize(
    "command", [one for one in COMMANDS if one != ("demo",)], ids=lambda command: " ".join(command[:2])
)
def test_a_successful_command_shows_no_password(own_role, tmp_path, monkeypatch, command):
    monkeypatch.chdir(tmp_path)
    done = run(*command, "--dsn", own_role)
    assert (done.returncode == 0) == (command[-1] != "someone"), done.stderr
    pages = "".join(path.read_text(encoding="utf-8") for path in tmp_path.rglob("*") if path.is_file())
    assert (pages != "") == (command[0] in {"check", "review"})
    assert MARK not in done.stdout + done.stderr + pages
