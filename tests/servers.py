"""Servers, schemas and stores for the tests and the benchmarks; `--postgres` chooses the server."""

import base64
import hashlib
import hmac
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from secrets import token_hex

import psycopg
import pytest
from citus_cluster import SharedSchema, citus_cluster, drop
from npm_server import npm_server
from psycopg import sql
from psycopg.conninfo import make_conninfo
from sides import AsyncSide, SyncSide
from ulid import ULID

import dal
from dal.conninfo import with_schema
from dal.gate.server import CHOICES, Server, serve
from dal.sql import SCHEMA

_FIGURES = pytest.StashKey[dict[str, str]]()


def pytest_addoption(parser):
    parser.addoption(
        "--postgres",
        metavar=f"{CHOICES}|npm-17|citus",
        help="the server to test on (default: DAL_TEST_DSN, else a container if an engine answers and has the image, "
        "else the embedded server)",
    )


@contextmanager
def _started(choice):
    if choice == "npm-17":
        with npm_server(17) as conninfo, serve(conninfo) as server:
            yield server
    elif choice == "citus":
        with citus_cluster() as conninfo, serve(conninfo) as server:
            yield replace(server, kind="citus")
    else:
        with serve(choice, prefer_container=True) as server:
            yield server


def pytest_configure(config):
    config.addinivalue_line("markers", "one_server: tests what a cluster does otherwise, so --postgres=citus skips it")
    # A shell's background command ignores SIGINT, and so would the programs that the tests interrupt.
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


ONE_SERVER = {
    "test_canaries", "test_check", "test_cost", "test_diagnoses", "test_drift", "test_finish", "test_gate_errors",
    "test_measure_cost", "test_measure_plugin", "test_migrations", "test_not_measured", "test_planted",
    "test_previous_release", "test_queries", "test_review_figures", "test_schema", "test_skew", "test_statistics",
    "test_wire",
}  # fmt: skip
"""The files whose tests measure one server, or change tables in a way that Citus does not support."""

SKIPPED = "tests one server's plans, locks or catalog, or what Citus does not support"


def pytest_collection_modifyitems(config, items):
    if config.option.postgres == "citus":
        for item in items:
            if item.path.stem in ONE_SERVER or item.get_closest_marker("one_server"):
                item.add_marker(pytest.mark.skip(SKIPPED))


def pytest_sessionfinish(session):
    output = getattr(session.config, "workeroutput", None)  # Only in a worker of pytest-xdist.
    if output is not None:
        output["figures"] = {name: str(value) for name, value in session.config.stash.get(_FIGURES, {}).items()}


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
    figures = node.config.stash.setdefault(_FIGURES, {})
    figures.update(getattr(node, "workeroutput", {}).get("figures", {}))


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(_FIGURES, {})
    if figures:
        terminalreporter.section("measured")
        for name, value in sorted(figures.items()):
            terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(scope="session")
def figure(request) -> Callable[[str, str], None]:
    """Record a figure by name, for the summary at the end of the run."""
    return request.config.stash.setdefault(_FIGURES, {}).__setitem__


@pytest.fixture(scope="session")
def started_server(request, figure) -> Iterator[Server]:
    """The server, started for the first test that needs one."""
    with _started(request.config.option.postgres) as server:
        if server.kind not in {"given", "citus"}:
            # It is thrown away after the run, so it need not survive a power cut.
            with psycopg.connect(server.conninfo, autocommit=True) as connection:
                connection.execute("ALTER SYSTEM SET fsync = off")
                connection.execute("SELECT pg_reload_conf()")
                _hash_password_once(connection)
        figure("server", f"{server}, {server.place}")
        yield server


def _hash_password_once(connection):
    """Store the same password, hashed once instead of 4,096 times, which takes each connection 2 ms less."""
    password = connection.info.password.encode()
    if password:
        salted = hashlib.pbkdf2_hmac("sha256", password, b"salt", 1)
        keys = (hmac.digest(salted, name, "sha256") for name in (b"Client Key", b"Server Key"))
        client, served = (base64.b64encode(key).decode() for key in (hashlib.sha256(next(keys)).digest(), next(keys)))
        verifier = f"SCRAM-SHA-256$1:{base64.b64encode(b'salt').decode()}${client}:{served}"
        connection.execute(sql.SQL("ALTER ROLE CURRENT_USER PASSWORD {}").format(verifier))


@pytest.fixture(scope="session")
def server(started_server) -> Server:
    return started_server


@pytest.fixture(scope="session")
def administer() -> Iterator[Callable[[Server], psycopg.Connection]]:
    """Return a server's connection for what is done before and after a test, which stays open.

    A new connection costs the server 4 ms, and its caches are empty, so creating the tables would take twice as long.
    """
    kept: dict[str, psycopg.Connection] = {}

    def connect(server):
        try:
            kept[server.conninfo].execute("SELECT")
        except (KeyError, psycopg.OperationalError):  # The first use, or the server was stopped.
            # A server behind a PgBouncer cannot prepare statements.
            kept[server.conninfo] = psycopg.connect(server.conninfo, autocommit=True, prepare_threshold=None)
        return kept[server.conninfo]

    yield connect
    for connection in kept.values():
        connection.close()


@pytest.fixture(params=[SyncSide, AsyncSide], ids=["sync", "async"])
def side(request):
    """The synchronous or the asynchronous interface: a test with this fixture runs with both."""
    side = request.param()
    yield side
    side.close()


@pytest.fixture(scope="session")
def shared_schema(started_server) -> Iterator[SharedSchema]:
    """On a cluster: the schema of the tests that want tables."""
    shared = SharedSchema(started_server.conninfo)
    yield shared
    shared.drop()


@pytest.fixture
def schema(request, server, administer) -> Iterator[str]:
    """The name of the test's own schema, which may not exist yet."""
    if server.kind == "citus" and "tables" in request.fixturenames:
        shared = request.getfixturevalue("shared_schema")
        yield shared.take()
        shared.give_back()
        return
    name = f"test_{ULID()}".lower()
    yield name
    if server.kind == "citus":
        drop(administer(server), name)
    else:
        statement = sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name))
        try:
            administer(server).execute(statement)
        except psycopg.errors.DeadlockDetected:  # With a statement whose client has gone.
            administer(server).execute(statement)


@pytest.fixture
def options(schema) -> dict:
    """Options for connections that use the test's schema."""
    return {"autocommit": True, "options": f"-c search_path={schema}"}


@pytest.fixture
def tables(server, schema, administer) -> None:
    """Create the tables in the test's schema, without the checks of `apply_schema`, which take twice as long."""
    if server.kind == "citus":
        return  # The shared schema has them.
    connection, name = administer(server), sql.Identifier(schema)
    with connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {0}; SET LOCAL search_path = {0}").format(name))
        connection.execute(SCHEMA.read_bytes())


@pytest.fixture
def store(side, server, schema, tables):
    """A store with its own pool, on each side."""
    with side.connect_store(server.conninfo, schema=schema) as store:
        yield store


@pytest.fixture
def connect(server, options, tables):
    """Open plain connections that use the test's tables."""
    made = []

    def make(**other) -> psycopg.Connection:
        made.append(psycopg.connect(server.conninfo, **(options | other)))
        return made[-1]

    yield make
    for connection in made:
        with suppress(psycopg.Error):
            connection.close()


@pytest.fixture
def connection(connect) -> psycopg.Connection:
    return connect()


@pytest.fixture
def sync_store(connection) -> dal.SessionStore:
    """A synchronous store on the test's plain connection, for tests that do not depend on the side."""
    return dal.SessionStore(connection)


@pytest.fixture
def form(server):
    """Return the form of a query that a store sends to the server: a cluster's is often another one."""
    return lambda query: query.distributed if server.kind == "citus" else query


@pytest.fixture
def make_role(server, schema, administer):
    """Create login roles; return their names, and connection strings with the test's schema."""
    made = []

    def make(suffix=""):
        name = f"dal_test_{token_hex(4)}{suffix}"
        role = sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(sql.Identifier(name))
        administer(server).execute(role)
        made.append(name)
        return name, with_schema(make_conninfo(server.conninfo, user=name, password="secret"), schema)

    yield make
    for name in made:
        dropped = sql.SQL("DROP OWNED BY {0} CASCADE; DROP ROLE {0}").format(sql.Identifier(name))
        administer(server).execute(dropped)
