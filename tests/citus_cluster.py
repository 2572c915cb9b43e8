"""A Citus cluster for the tests: the one of a given coordinator, or three containers of the official image."""

import os
from contextlib import ExitStack, contextmanager

import psycopg
import pytest
from psycopg import sql
from ulid import ULID

import dal
from dal.gate.server import running
from dal.schema import distributed

VARIABLE = "DAL_TEST_CITUS_DSN"
"""The environment variable that names the coordinator of a cluster for tests."""

IMAGE = "citusdata/citus"

SETTINGS = {"fsync": "off", "max_connections": 200, "max_prepared_transactions": 400, "wal_level": "logical"}

NOTHING = f"no Citus cluster: set {VARIABLE}, or start a container engine that has the image {IMAGE}"

TABLES = ("changes", "removed_messages", "messages", "sessions", "dal_schema")


def count_lock_waits(connection):
    """Return how many statements wait for a lock: of this server, or of any node of its cluster."""
    if connection.execute("SELECT to_regclass('citus_lock_waits') IS NOT NULL").fetchone()[0]:
        return connection.execute("SELECT count(*) FROM citus_lock_waits").fetchone()[0]
    waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND pg_backend_pid() <> pid"
    return connection.execute(waiting).fetchone()[0]


@contextmanager
def citus_cluster():
    """Yield the connection string of a coordinator; skip the test if there is no cluster."""
    given = os.environ.get(VARIABLE)
    if given:
        yield given
        return
    image = _image()
    if image is None:
        pytest.skip(NOTHING)
    from testcontainers.community.postgres import PostgresContainer  # noqa: PLC0415
    from testcontainers.core.network import Network  # noqa: PLC0415

    with ExitStack() as stack:
        network = stack.enter_context(Network())
        command = "postgres " + " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())

        def start(name):
            node = PostgresContainer(image, driver=None).with_network(network).with_network_aliases(name)
            node = node.with_env("POSTGRES_HOST_AUTH_METHOD", "trust").with_command(command)
            return stack.enter_context(running(node.with_kwargs(shm_size="256m")))

        coordinator, *_workers = map(start, ("coordinator", "worker1", "worker2"))
        conninfo = coordinator.get_connection_url()
        with psycopg.connect(conninfo, autocommit=True) as connection:
            connection.execute("SELECT citus_set_coordinator_host('coordinator')")
            connection.execute("SELECT citus_add_node('worker1', 5432), citus_add_node('worker2', 5432)")
        yield conninfo


def _image():
    """Return a tag of the image, or None if there is no container engine or no such image."""
    try:
        import docker  # noqa: PLC0415 - slow, and only needed here
        import testcontainers  # noqa: F401, PLC0415
    except ImportError:
        return None
    try:
        client = docker.from_env()
        try:
            return next((tag for image in client.images.list(IMAGE) for tag in image.tags), None)
        finally:
            client.close()
    except docker.errors.DockerException:
        return None


def drop(connection, schema):
    """Drop a schema. Citus cannot drop domains before the tables that use them, so the tables are dropped first."""
    for table in TABLES:
        connection.execute(sql.SQL("DROP TABLE IF EXISTS {} CASCADE").format(sql.Identifier(schema, table)))
    connection.execute(sql.SQL("DROP SCHEMA IF EXISTS {} CASCADE").format(sql.Identifier(schema)))


def create(connection, schema):
    """Create a schema with distributed tables. They have few shards, so that it takes less time."""
    with connection.transaction():
        connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
        connection.execute("SET LOCAL citus.shard_count = 4")
        connection.execute(distributed.script())


class SharedSchema:
    """A schema that the tests use one after the other, since creating one takes a second."""

    def __init__(self, conninfo):
        self._conninfo = conninfo
        self._name = None
        self._facts = frozenset()
        self._relations = None

    def take(self):
        """Return the name of the schema, whose tables are empty; create it if necessary."""
        if self._name is None:
            name = f"test_{ULID()}".lower()
            with self._connect(name) as connection:
                create(connection, name)
                self._facts = frozenset(dal.queries.schema.check(connection))
                self._relations = self._list_relations(connection)
            self._name = name
        return self._name

    def give_back(self):
        """Delete all rows; drop the schema instead if the test has changed its tables."""
        with self._connect(self._name) as connection:
            try:
                is_unchanged = self._list_relations(connection) == self._relations
                if is_unchanged and frozenset(dal.queries.schema.check(connection)) == self._facts:
                    connection.execute("DELETE FROM sessions")
                    return
            except psycopg.Error:
                pass
        self.drop()

    def drop(self):
        """Drop the schema, if there is one."""
        if self._name is not None:
            with self._connect(self._name) as connection:
                drop(connection, self._name)
            self._name = None

    def _list_relations(self, connection):
        listed = "SELECT oid FROM pg_class WHERE relnamespace = current_schema()::regnamespace ORDER BY oid"
        return connection.execute(listed).fetchall()

    def _connect(self, schema):
        options = f"-c search_path={schema} -c client_min_messages=warning -c lock_timeout=20s"
        return psycopg.connect(self._conninfo, autocommit=True, options=options)
