"""The counter of round trips, compared with a proxy that delays each reply by a known time."""

import socket
import threading
import time
from contextlib import contextmanager, suppress

import psycopg
import pytest

from dal.gate import wire

DELAY = 0.05


@contextmanager
def proxy(conninfo):
    """Forward to the server, delaying replies by DELAY; yield a conninfo, and a function that counts the bytes."""
    parameters = psycopg.conninfo.conninfo_to_dict(conninfo)
    host, port = str(parameters.get("host", "127.0.0.1")), int(parameters.get("port") or 5432)

    passed = {0: 0, DELAY: 0}

    def pump(source, target, delay):
        with suppress(OSError):
            while data := source.recv(65536):
                time.sleep(delay)
                passed[delay] += len(data)
                target.sendall(data)
            target.shutdown(socket.SHUT_RDWR)

    def serve():
        client, _ = listener.accept()
        upstream = socket.socket(socket.AF_UNIX if host.startswith("/") else socket.AF_INET)
        with client, upstream:
            upstream.connect(f"{host}/.s.PGSQL.{port}" if host.startswith("/") else (host, port))
            if upstream.family == socket.AF_INET:  # Otherwise a request in two packets waits 40 ms.
                upstream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            back = threading.Thread(target=pump, args=(upstream, client, DELAY))
            back.start()
            pump(client, upstream, 0)
            back.join()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        serving = threading.Thread(target=serve)
        serving.start()
        here = {"host": "127.0.0.1", "port": listener.getsockname()[1], "sslmode": "disable"}
        yield psycopg.conninfo.make_conninfo(conninfo, **here), lambda: tuple(passed.values())
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


def copy_in(connection):
    with connection.cursor() as cursor, cursor.copy("COPY pg_temp.copied FROM STDIN") as rows:
        for n in range(3):
            rows.write_row([f"row\n{n}"])


def refused(connection):
    with suppress(psycopg.Error):
        connection.execute("SELECT 'x\nB\t5\tReadyForQuery\n'::int")


def strange_names(connection):
    connection.execute('SELECT 1 AS "a\nF\t1\tQuery", 2 AS "x"" 1 2 3 4 5 6\nF\t9\tQuery", %s AS "\n"', [1])


@pytest.mark.parametrize(
    ("operation", "trips"),
    [
        (nothing, 0),
        (autocommit, 1),
        (transaction, 3),
        (prepared, 2),
        (pipeline, 1),
        (copy, 1),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_round_trips_match_the_measured_time(server, operation, trips):
    """Load only adds time, so the shortest of several runs counts."""
    delays = []
    while len(delays) < 5 and min(delays, default=trips + 1) >= trips + 0.9:
        with proxy(server.conninfo) as (conninfo, _), psycopg.connect(conninfo, autocommit=True) as connection:
            with wire.watch(connection) as recorded:
                started = time.perf_counter()
                operation(connection)
                delays.append((time.perf_counter() - started) / DELAY)
        assert recorded.round_trips == trips, recorded.messages
    assert trips <= min(delays) < trips + 0.9


@pytest.mark.parametrize(
    ("operation", "trips"),
    [(transaction, 3), (prepared, 2), (pipeline, 1), (copy, 1), (copy_in, 2), (refused, 1), (strange_names, 1)],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_bytes_match_the_proxy(server, operation, trips):
    with proxy(server.conninfo) as (conninfo, passed), psycopg.connect(conninfo, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE copied (line text)")
        before = passed()
        with wire.watch(connection) as recorded:
            operation(connection)
        sent, received = (now - then for now, then in zip(passed(), before, strict=True))
    assert recorded.round_trips == trips, recorded.messages
    assert (recorded.bytes_sent, recorded.bytes_received) == (sent, received), recorded.messages


def test_a_statement_that_looks_like_a_trace_is_not_counted(server):
    text = "SELECT 'x\nF\t1\tQuery\nB\t1\tReadyForQuery\nF\t2\tSync\nB\t5\tReadyForQuery'"
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        with wire.watch(connection) as recorded:
            connection.execute(text)
            connection.execute(text + "\n")
            connection.execute(text + ", %s, %s, %s, %s, %s, %s", list("abcdef"))
    assert recorded.round_trips == 3
    sent = [text, text + "\n", text + ", $1, $2, $3, $4, $5, $6"]
    assert [statement.text for statement in recorded.statements] == sent


def test_statements_are_listed_by_round_trip(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("CREATE TEMP TABLE copied (line text)")
        connection.execute("SELECT 1 AS warm", prepare=True)
        with wire.watch(connection) as recorded:
            connection.execute("SELECT 1 AS warm")
            transaction(connection)
            prepared(connection)
            copy_in(connection)
            with connection.pipeline():
                connection.execute("SELECT %s::int", [1])
                connection.execute("SELECT %s::int8", [1])
    assert [(statement.round_trip, statement.how, statement.text) for statement in recorded.statements] == [
        (1, "prepared", "SELECT 1 AS warm"),
        (2, "query", "BEGIN"),
        (3, "query", "SELECT 1"),
        (4, "query", "COMMIT"),
        (5, "prepare", "SELECT 1 AS fresh"),
        (6, "prepared", "SELECT 1 AS fresh"),
        (7, "query", "COPY pg_temp.copied FROM STDIN"),
        (8, "other", "CopyData, CopyDone"),
        (9, "query", "SELECT $1::int"),
        (9, "query", "SELECT $1::int8"),
    ]
    assert (recorded.round_trips, recorded.preparing) == (9, 1)


def test_preparing_round_trips_are_counted_separately(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        counted = []
        for _ in range(8):
            with wire.watch(connection) as recorded:
                connection.execute("SELECT %s::int", [1])
            counted.append((recorded.round_trips, recorded.preparing))
        assert counted == [(1, 0)] * 5 + [(2, 1)] + [(1, 0)] * 2
        connection.prepared_max = 0
        with wire.watch(connection) as recorded:
            connection.execute("SELECT %s::int8", [1], prepare=True)
            connection.execute("SELECT 1")
    assert recorded.round_trips - recorded.preparing == 2, recorded.statements


def test_a_long_statement_is_shortened(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection, wire.watch(connection) as recorded:
        connection.execute("SELECT '" + "x" * 5000 + "'")
    assert [len(statement.text) for statement in recorded.statements] == [1001]


def test_nested_blocks_on_one_connection_are_refused(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection, wire.watch(connection) as recorded:
        with pytest.raises(RuntimeError, match="nested"), wire.watch(connection):
            pass
        connection.execute("SELECT 1")
    assert recorded.round_trips == 1


def test_the_connection_may_be_closed_inside_the_block(server):
    with psycopg.connect(server.conninfo, autocommit=True) as connection, wire.watch(connection):
        connection.execute("SELECT 1")
        connection.close()
