"""The counter of round trips, against a proxy that makes each of them take a known time."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import psycopg
import pytest

from dal import wire

DELAY = 0.05


@contextmanager
def proxy(conninfo):
    """Pass bytes to the server and back, each answer late by DELAY; give the conninfo to use."""
    given = psycopg.conninfo.conninfo_to_dict(conninfo)
    host, port = str(given.get("host", "127.0.0.1")), int(given.get("port") or 5432)

    def pump(source, target, delay):
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def serve():
        client, _ = listener.accept()
        upstream = socket.socket(socket.AF_UNIX if host.startswith("/") else socket.AF_INET)
        with client, upstream:
            upstream.connect(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
            back = threading.Thread(target=pump, args=(upstream, client, DELAY))
            back.start()
            pump(client, upstream, 0)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        here = {"host": "127.0.0.1", "port": listener.getsockname()[1], "sslmode": "disable"}
        yield psycopg.conninfo.make_conninfo(conninfo, **here)
        serving.join()


def autocommit(connection):
    connection.execute("SELECT 1")


def transaction(connection):
    with connection.transaction():
        connection.execute("SELECT 1")


def prepared(connection):
    connection.execute("SELECT 1 AS fresh", prepare=True)


def pipeline(connection):
    with connection.pipeline():
        for n in range(5):
            connection.execute("SELECT %s::int", [n])


def copy(connection):
    with connection.cursor() as cursor, cursor.copy("COPY (SELECT generate_series(1, 100)) TO STDOUT") as rows:
        for _ in rows:
            pass


def nothing(connection):
    connection.cursor()


@pytest.mark.parametrize(
    ("operation", "trips"),
    [(nothing, 0), (autocommit, 1), (transaction, 3), (prepared, 2), (pipeline, 1), (copy, 1)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_round_trips_are_what_time_says(server, operation, trips):
    with proxy(server.conninfo) as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
        with wire.watch(connection) as watched:
            started = time.perf_counter()
            operation(connection)
            elapsed = time.perf_counter() - started
    assert watched.round_trips == trips, watched.messages
    assert trips <= elapsed / DELAY < trips + 0.9


def test_a_statement_that_looks_like_a_trace_is_not_counted(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        with wire.watch(connection) as watched:
            connection.execute("SELECT 'x\nF\t1\tQuery\nB\t1\tReadyForQuery\nF\t2\tSync\nB\t5\tReadyForQuery'")
    assert watched.round_trips == 1
