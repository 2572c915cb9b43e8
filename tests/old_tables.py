"""Tables of old releases, their statements, and upgrades of them."""

import re
import time

import psycopg
import pytest
from paths import TESTS

from dal.conninfo import with_schema
from dal.schema import migrations

APPEND = {
    "source": None,
    "user_id": None,
    "parent_id": None,
    "session_metadata": "{}",
    "role": "user",
    "agent_id": None,
    "content": "x",
    "metadata": "{}",
}


@pytest.fixture
def old_version():
    """The schema version of the old tables: the first release's, unless a test has others."""
    return 1


@pytest.fixture
def old(server, schema, old_version):
    """A connection to the tables of an old release."""
    with psycopg.connect(with_schema(server.conninfo, schema), autocommit=True) as connection:
        connection.execute(psycopg.sql.SQL("CREATE SCHEMA {}").format(psycopg.sql.Identifier(schema)))
        connection.execute((TESTS / f"release_{old_version}/schema.sql").read_bytes())
        yield connection


@pytest.fixture
def connect_old(server, schema, old):
    def connect(**options):
        return psycopg.connect(with_schema(server.conninfo, schema), **{"autocommit": True} | options)

    return connect


def send(connection, version, statement, **parameters):
    """Send a statement of the release with this schema version; return its rows."""
    text = (TESTS / f"release_{version}/{statement}.sql").read_text(encoding="utf-8")
    return connection.execute(re.sub(r"(?<!:):(\w+)(?=::)", r"%(\1)s", text).encode(), parameters).fetchall()


def upgrade(connection):
    messages = []
    migrations.upgrade(connection, messages.append)
    return messages


def finish(connection):
    migrations.finish(connection, lambda _: None)


def wait_until(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)
