"""Servers, schemas and stores for the tests; `--postgres` chooses the server."""

import os
from collections.abc import AsyncIterator, Iterator

import psycopg
import pytest
from psycopg import sql
from ulid import ULID

import dal
from dal.server import CHOICES, Server, serve

_SERVER = pytest.StashKey[Server]()
_STOP = pytest.StashKey()


def pytest_addoption(parser):
    parser.addoption(
        "--postgres",
        metavar=CHOICES,
        help="the server to test on: DAL_DSN, or else a container where an engine answers and has the image, "
        "or else the embedded one",
    )


def pytest_configure(config):
    # Started here so that the header can say which it is.
    if config.option.help or hasattr(config, "workerinput"):
        return
    started = serve(config.option.postgres, prefer_container=True)
    config.stash[_SERVER] = started.__enter__()
    config.add_cleanup(lambda: started.__exit__(None, None, None))


def pytest_report_header(config):
    return f"server: {config.stash[_SERVER]}"


def pytest_terminal_summary(terminalreporter, config):
    figures = config.stash.get(_FIGURES, {})
    if figures:
        terminalreporter.section("measured")
        for name, value in sorted(figures.items()):
            terminalreporter.write_line(f"{name}: {value}")


_FIGURES = pytest.StashKey[dict[str, str]]()


@pytest.fixture(scope="session")
def figure(request):
    """Call it with a name and a value: they are shown at the end of the run."""
    return request.config.stash.setdefault(_FIGURES, {}).__setitem__


@pytest.fixture(scope="session")
def server(request) -> Server:
    return request.config.stash[_SERVER]


@pytest.fixture
def schema(server) -> Iterator[str]:
    """The name of a schema of the test's own, which need not exist yet."""
    name = f"test_{ULID()}".lower()
    yield name
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(name)))


@pytest.fixture
def store(server, schema) -> Iterator[dal.SessionStore]:
    with dal.SessionStore.connect(server.conninfo, schema=schema) as store:
        store.apply_schema()
        yield store


@pytest.fixture
async def async_store(server, schema) -> AsyncIterator[dal.AsyncSessionStore]:
    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema) as store:
        await store.apply_schema()
        yield store


@pytest.fixture
def connect(server, store, schema):
    """Make connections of the test's own that see the store's tables."""
    made = []

    def make(**options) -> psycopg.Connection:
        options = {"autocommit": True, "options": f"-c search_path={schema}"} | options
        made.append(psycopg.connect(server.conninfo, **options))
        return made[-1]

    yield make
    for connection in made:
        connection.close()


@pytest.fixture
def connection(connect) -> psycopg.Connection:
    return connect()


os.environ.pop("PGOPTIONS", None)
