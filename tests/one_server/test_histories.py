"""Whole histories: stream, export and import, also when interrupted."""

import itertools
import json
import random
import threading
import time
import tracemalloc
from contextlib import closing
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from citus_cluster import count_lock_waits
from paths import ROOT
from psycopg import sql
from sides import pool_of, unwrap
from ulid import ULID

import dal
from dal import NewMessage
from dal._sync.connection import DeadlineConnection
from dal.histories import batch
from dal.histories.lines import MAX_LINE
from dal.schema import grants

MOMENT = "2026-01-31T12:00:00.000001Z"
ODD = {"n": 2**200, "f": 1e23, "small": -1.5e-9, "ü": ["☃", None, True, {"a": "\u2028\\n\"'"}], "0": 0.5}
COLUMNS = {
    "sessions": (
        "session_id, source, user_id, parent_id, status, next_sequence, message_count, agent_ids, metadata::text, "
        "created_at, updated_at, archived_at, revision, fork_point, trashed_from"
    ),
    "messages": "session_id, sequence, message_id, role, agent_id, content, metadata::text, created_at",
}


@pytest.fixture
def other(side, server):
    """A store of the same side, in another schema."""
    name = f"test_{ULID()}".lower()
    with side.connect_store(server.conninfo, schema=name) as store:
        store.apply_schema()
        yield store
    with psycopg.connect(server.conninfo, autocommit=True) as connection:
        connection.execute("SET client_min_messages = warning")
        connection.execute(sql.SQL("DROP SCHEMA {} CASCADE").format(sql.Identifier(name)))


def forget(store):
    """Delete all sessions, without tombstones."""
    with psycopg.connect(pool_of(store).conninfo) as connection:
        connection.execute("DELETE FROM sessions")


@pytest.fixture
def rows(server):
    """Read all rows of a store, without the library."""

    def read(store):
        with psycopg.connect(pool_of(store).conninfo) as connection:
            return {
                table: connection.execute(f"SELECT {columns} FROM {table} ORDER BY 1, 2").fetchall()
                for table, columns in COLUMNS.items()
            }

    return read


def fill(session, count, start=0, content="", **more):
    for n in range(start, count, 1000):
        new = [NewMessage(role="user", content=f"message {m}{content}", **more) for m in range(n, min(n + 1000, count))]
        session.append_all(new)


def make_all_kinds(store):
    """Create sessions of every kind: gaps, odd metadata, each status, cached agents or not, no messages left."""
    odd = store.session("odd", source="it's", user_id="u1", parent_id="gone", metadata=ODD)
    for n in range(7):
        odd.append("user", f'line\n{n}\t"\\ \\N ☃ \u2028 \x7f', agent_id=[None, "b", "a"][n % 3], metadata=ODD)
    odd.remove_from(4)
    odd.append("tool", "", metadata={"after": "a gap"})
    odd.fork(3, session_id="fork")
    for name in ("archived", "cached", "silent and cached"):
        session = store.session(name, source="web", user_id="u2")
        session.append("user", "x", agent_id=None if "silent" in name else "z")
        session.append("user", "y", agent_id=None if "silent" in name else 'y, "{}')
        session.archive()
        if "cached" in name:
            session.agent_ids()
    store.session("paused").append("user", "x")
    store.session("paused").pause()
    empty = store.session("empty", user_id="u1")
    empty.append("user", "x")
    empty.remove_from(0)


def exported(store, **wanted):
    return b"".join(store.export(**wanted))


def lines(*records):
    return [json.dumps({kind: fields}) for kind, fields in records]


def message(session_id, content="x", **more):
    return "message", {"session_id": session_id, "role": "user", "content": content, **more}


def sequences(store, session_id):
    return [(one.sequence, one.content) for one in store.session(session_id).stream()]


# Streaming


def test_a_stream_yields_every_message_in_order(store):
    session = store.session("s")
    assert list(session.stream()) == []
    fill(session, 3_500)
    session.remove_from(3_400)
    session.append("user", "after a gap")
    streamed = list(session.stream())
    assert [one.sequence for one in streamed] == [*range(3_400), 3_500]
    assert streamed[0] == session.messages(limit=1)[0]


@pytest.mark.parametrize("count", [99, 100, 101, 1099, 1100, 1101])
def test_sizes_around_the_page_size(store, other, count):
    fill(store.session("s"), count)
    assert [one.sequence for one in store.session("s").stream()] == list(range(count))
    data = exported(store)
    assert data.count(b"\n") == count + 1
    assert other.import_([data]).messages == count


def test_streams_and_exports_read_one_snapshot(store):
    session = store.session("s")
    fill(session, 2_000)
    for read in (session.stream, store.export):
        with closing(read()) as reading:
            first = next(reading)
            session.append("user", "while it is read")
            store.session("new").append("user", "while it is read")
            rest = list(reading)
        assert "while it is read" not in "".join(map(str, [first, *rest]))
        forget(store)
        fill(session, 2_000)


def test_a_stream_of_a_confined_store(store):
    store.session("theirs", user_id="u2").append("user", "secret")
    assert list(store.for_user("u1").session("theirs").stream()) == []
    assert len(list(store.for_user("u2").session("theirs").stream())) == 1


def in_use(store, settles_at=0):
    """Return the number of connections in use; the pool takes back one in a transaction in the background."""
    pool = pool_of(store)
    deadline = time.monotonic() + 5
    while True:
        stats = pool.get_stats()
        out = stats["pool_size"] - stats["pool_available"]
        if out == settles_at or time.monotonic() > deadline:
            return out
        store.check_schema()  # Lets the pool's tasks run.


@pytest.mark.parametrize("operation", ["stream", "export"])
def test_streams_and_exports_return_their_connection(store, operation):
    session = store.session("s")
    fill(session, 3_000)
    read = session.stream if operation == "stream" else store.export
    for _ in range(15):  # More often than the pool has connections.
        with closing(read()) as reading:
            next(reading)
            assert in_use(store, settles_at=1) == 1
        assert in_use(store) == 0
        with pytest.raises(LookupError), closing(read()) as reading:
            for _ in reading:
                raise LookupError
    read()  # Never started.
    assert in_use(store) == 0
    list(read())
    assert in_use(store) == 0


@pytest.mark.parametrize("operation", ["stream", "export"])
def test_a_failed_stream_or_export_returns_its_connection(store, connection, operation):
    session = store.session("s")
    fill(session, 3_000)
    reading = session.stream() if operation == "stream" else store.export()
    next(reading)
    lost = connection.execute(
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
        "WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
    )
    assert lost.fetchall() == [(True,)]
    with pytest.raises(dal.ServerUnavailable):
        list(reading)
    for _ in range(100):  # The pool replaces connections in the background.
        if in_use(store) == 0:
            break
        threading.Event().wait(0.05)
        store.session("s").record()
    assert in_use(store) == 0
    assert len(list(session.stream())) == 3_000


def test_the_settings_of_a_connection_are_restored(side, server, options, tables):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    store.session("s").append("user", "x")
    for read in (store.session("s").stream, store.export):
        list(read())
        with closing(read()) as reading:
            next(reading)
        assert unwrap(raw).isolation_level is None
        assert unwrap(raw).read_only is None
        store.session("s").append("user", "y")
    raw.close()


def test_other_calls_on_a_busy_connection_are_refused(side, server, options, tables):
    raw = side.connect(server.conninfo, **options)
    store = side.store(raw)
    session = store.session("s")
    fill(session, 3)
    seen = []
    for one in session.stream():
        for refused in (session.record, lambda: session.append("user", "x"), lambda: list(session.stream())):
            with pytest.raises(dal.StatementFailed, match="busy with stream.* a store with a pool does both"):
                refused()
        seen.append(one.sequence)
    assert seen == [0, 1, 2]
    assert session.append("user", "x").sequence == 3
    with pytest.raises(dal.StatementFailed, match="busy with import"):
        store.import_(calling(unwrap(store), side))
    assert session.record().next_sequence == 4
    raw.close()


def calling(store, side):
    """Yield lines, and then call the connection that they are imported on."""

    def give():
        for line in lines(message("new"), message("new")):
            yield f"{line}\n"
        store.session("s").record()

    async def give_too():
        for line in lines(message("new"), message("new")):
            yield line
        await store.session("s").record()

    return give() if side.name == "sync" else give_too()


def test_streams_exports_and_imports_are_refused_in_a_transaction(store, side, server, options):
    store.session("s").append("user", "x")
    calls = (
        lambda inside: list(inside.session("s").stream()),
        lambda inside: list(inside.export()),
        lambda inside: inside.import_(lines(message("new"))),
    )
    for call in calls:
        with store.transaction() as inside:
            with pytest.raises(dal.StatementFailed, match="needs a transaction of its own"):
                call(inside)
            assert inside.session("s").append("user", "x"), "the transaction continues"
    raw = side.connect(server.conninfo, **options | {"autocommit": False})
    assert len(list(side.store(raw).session("s").stream())) == 4
    side.store(raw).session("s").record()
    with pytest.raises(dal.StatementFailed, match="needs a transaction of its own"):
        list(side.store(raw).session("s").stream())
    raw.close()


# Export and import


def test_every_kind_of_session_round_trips(store, other, rows):
    make_all_kinds(store)
    data = exported(store)
    done = other.import_([data])
    assert (done.sessions, done.messages, done.already_there, dict(done.refused)) == (7, 15, 0, {})
    assert rows(other) == rows(store)
    assert exported(other) == data
    assert exported(store) == data
    again = other.import_([data])
    assert (again.sessions, again.messages, again.already_there, dict(again.refused)) == (0, 0, 15, {})
    assert rows(other) == rows(store)
    assert other.session("odd").append("user", "x").sequence == 8


def test_the_documented_example_can_be_imported(store):
    text = (ROOT / "docs/format.md").read_text(encoding="utf-8")
    example = text.split("```json\n")[1].split("```")[0]
    assert store.import_([example]).messages == 2
    assert exported(store).decode() == example


def test_twenty_thousand_messages_round_trip(store, other, rows, monkeypatch):
    monkeypatch.setattr(batch, "MOST_LINES", 5_000)
    for n, count in enumerate((12_000, 1, 5_000, 999, 1_000, 1_000)):
        fill(store.session(f"s{n}", metadata={"n": n}), count, agent_id=f"a{n}")
    make_all_kinds(store)
    done = other.import_(store.export() if isinstance(store, dal.SessionStore) else [exported(store)])
    assert done.messages == 20_015
    assert rows(other) == rows(store)


def test_an_import_accepts_any_kind_of_chunks(store, other, rows, tmp_path):
    make_all_kinds(store)
    data = exported(store)
    text = data.decode()
    path = tmp_path / "all.jsonl"
    path.write_bytes(data)
    inputs = {
        "lines": data.splitlines(keepends=True) if b"\x85" not in data else data.split(b"\n"),
        "lines without their ends": data.rstrip(b"\n").split(b"\n"),
        "texts": text.rstrip("\n").split("\n"),
        "windows": data.replace(b"\n", b"\r\n").split(b"\r"),
        "single bytes": [data[n : n + 1] for n in range(len(data))],
        "threes": [data[n : n + 3] for n in range(0, len(data), 3)],
        "a file": path.open("rb"),
        "a file of text": path.open(encoding="utf-8", newline="\n"),
        "no end": [data.rstrip(b"\n")],
    }
    for name, chunks in inputs.items():
        done = other.import_(chunks)
        assert (done.sessions, done.messages) == (7, 15), name
        assert rows(other) == rows(store), name
        forget(other)
    for name in ("a file", "a file of text"):
        inputs[name].close()


def test_the_time_zone_of_a_connection_does_not_matter(side, server, options, tables):
    away = options["options"] + " -c timezone=America/St_Johns"
    raw = side.connect(server.conninfo, **options | {"options": away})
    store = side.store(raw)
    store.import_(lines(message("s", created_at=MOMENT)))
    assert exported(store).count(f'"{MOMENT}"'.encode()) == 3
    raw.close()


async def test_an_import_accepts_an_asynchronous_source(server, schema, tables):
    async def give():
        for line in lines(message("s"), message("s")):
            yield line

    async with dal.AsyncSessionStore.connect(server.conninfo, schema=schema) as store:
        assert (await store.import_(give())).messages == 2


def test_exports_can_be_filtered_by_user_source_and_time(store):
    for user in ("u1", "u2", None):
        for source in ("web", None):
            store.session(f"{user}-{source}", user_id=user, source=source).append("user", "x")

    def ids(of=store, **wanted):
        records = [json.loads(line) for line in exported(of, **wanted).splitlines()]
        assert [one["message"]["session_id"] for one in records[1::2]] == [
            one["session"]["session_id"] for one in records[::2]
        ]
        return {one["session"]["session_id"] for one in records[::2]}

    assert len(ids()) == 6
    assert ids(user_id="u1") == ids(store.for_user("u1")) == {"u1-web", "u1-None"}
    assert ids(source="web") == {"u1-web", "u2-web", "None-web"}
    assert ids(store.for_user("u2"), source="web") == {"u2-web"}
    with pytest.raises(dal.InvalidInput, match="user_id: is 'u2'"):
        store.for_user("u1").export(user_id="u2")
    times = sorted(record.created_at for record in store.sessions())
    assert len(ids(since=times[2])) == 4
    assert len(ids(until=times[2])) == 2
    assert len(ids(since=times[1], until=times[4])) == 3
    assert ids(since=datetime.now(UTC) + timedelta(days=1)) == set()


# The exported JSON equals the server's JSON

CONTROLS = "".join(map(chr, [*range(1, 32), 127]))
SERVER_JSON = """
SELECT row_to_json(line)::text
FROM (
    SELECT session_id, sequence, message_id, role, agent_id, content, metadata,
        to_char(created_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS created_at
    FROM messages
    OFFSET 0 -- Otherwise a cluster evaluates it on the shards, where the columns have other names.
) AS line
"""


def lines_of_messages(store):
    return [line for line in exported(store).splitlines() if line.startswith(b'{"message"')]


def server_json(connection):
    return [f'{{"message":{line}}}'.encode() for (line,) in connection.execute(SERVER_JSON)]


def test_exported_lines_equal_the_servers_json(store, connection):
    make_all_kinds(store)
    store.session("plain").append_all(
        [NewMessage(role="user", content='a "b" \\ \n\t\r \x7f ü ☃ 😀', metadata=ODD)] * 3
    )
    assert sorted(lines_of_messages(store)) == sorted(server_json(connection))


def test_control_characters_are_exported_correctly(store, connection):
    odds = [*CONTROLS, CONTROLS, '"', "\\", '\\"\\', "\x07" * 2, "\\u0001", "\x80\x9f\u2028"]
    fields = ("content", "role", "agent_id", "message_id", "metadata")
    for odd in odds:
        for field in fields:
            session = store.session(f"{field}{odd}", metadata={odd: odd})
            texts = {field: {odd: odd} if field == "metadata" else odd}
            around = NewMessage(role="user", content="around")
            session.append_all([around, NewMessage(**{"role": "u", "content": "x"} | texts), around])
    lines = lines_of_messages(store)
    assert sorted(lines) == sorted(server_json(connection))
    records = [json.loads(line)["message"] for line in lines]
    assert len(records) == len(odds) * len(fields) * 3
    for n, (odd, field) in enumerate(itertools.product(odds, fields)):
        mine = [tuple(one.values())[:-1] for one in records[3 * n : 3 * n + 3]]
        assert mine == [
            (one.session_id, one.sequence, one.message_id, one.role, one.agent_id, one.content, one.metadata)
            for one in store.session(f"{field}{odd}").stream()
        ]


def test_an_export_continues_after_a_page_that_ends_with_a_large_message(store):
    session = store.session("s")
    session.append_all([NewMessage(role="user", content="x" * 2**20), NewMessage(role="user", content="y")])
    session.append("user", "after")
    records = [json.loads(line) for line in exported(store).splitlines()]
    assert [one["message"]["content"] for one in records[1:]] == ["x" * 2**20, "y", "after"]


def test_an_export_is_complete_with_wrong_counters(store, connection):
    """As after manual changes of the tables."""
    for session_id, count in (("a", 250), ("b", 120), ("c", 3)):
        fill(store.session(session_id), count)
    connection.execute("UPDATE sessions SET message_count = 1")
    records = [json.loads(line) for line in exported(store).splitlines()]
    assert [list(one) for one in records].count(["session"]) == 3
    of = [one["message"] for one in records if "message" in one]
    assert [(one["session_id"], one["sequence"]) for one in of] == [
        (session_id, n) for session_id, count in (("a", 250), ("b", 120), ("c", 3)) for n in range(count)
    ]


def test_no_query_runs_while_the_caller_uses_a_page(store, connection):
    """So a statement_timeout does not include the caller's time."""
    fill(store.session("s"), 1_001)
    fill(store.session("another"), 3)
    states = [
        connection.execute(
            "SELECT state FROM pg_stat_activity WHERE strpos(query, '.export') > 0 AND pid <> pg_backend_pid()"
        ).fetchall()
        for _ in store.export()
    ]
    assert states == [[("idle in transaction",)]] * 3


# Importing into existing sessions


def test_existing_messages_are_skipped_and_the_others_appended(store, other, rows):
    session = store.session("s")
    for n in range(3):
        session.append("user", str(n), message_id=f"m{n}")
    other.import_([exported(store)])
    other.session("s").append("user", "of the target")
    for n in (3, 4):
        session.append("user", str(n), message_id=f"m{n}")
    done = other.import_([exported(store)])
    assert (done.sessions, done.messages, done.already_there) == (0, 2, 3)
    assert sequences(other, "s") == [(0, "0"), (1, "1"), (2, "2"), (3, "of the target"), (4, "3"), (5, "4")]
    record = other.session("s").record()
    assert (record.next_sequence, record.message_count) == (6, 6)
    times = [one.created_at for one in other.session("s").stream()]
    assert times == sorted(times)
    assert times[-1] <= record.updated_at
    before = rows(other)
    assert other.import_([exported(store)]).already_there == 5
    assert rows(other) == before


def test_an_archived_session_with_missing_messages_is_refused(store, other, rows):
    store.session("s").append("user", "1")
    store.session("fine").append("user", "1")
    other.import_([exported(store)])
    other.session("s").archive()
    assert other.import_([exported(store)]).refused == {}, "no message is missing"
    store.session("s").append("user", "2")
    store.session("fine").append("user", "2")
    done = other.import_([exported(store)])
    assert dict(done.refused) == {"s": "it is archived, and lacks messages of the file"}
    assert (done.sessions, done.messages, done.already_there) == (0, 1, 2)
    assert [content for _, content in sequences(other, "s")] == ["1"]
    assert [content for _, content in sequences(other, "fine")] == ["1", "2"]


def test_a_known_id_with_other_content_is_refused(store):
    store.session("s").append("user", "here", message_id="m")
    done = store.import_(lines(message("s", "there", message_id="m"), message("s", "more"), message("t", "x")))
    assert dict(done.refused) == {"s": "a message_id is stored with other content"}
    assert (done.sessions, done.messages) == (1, 1)
    assert sequences(store, "s") == [(0, "here")]


def test_a_confined_store_imports_only_its_users_sessions(store):
    mine = store.for_user("u1")
    session = {"session_id": "s", "user_id": "u2"}
    with pytest.raises(dal.InvalidInput, match="line 1: user_id: is 'u2', and this store is confined to user 'u1'"):
        mine.import_(lines(("session", session), message("s")))
    store.session("theirs", user_id="u2").append("user", "secret", message_id="m")
    records = lines(message("theirs", "secret", message_id="m"), message("theirs", "x"), message("mine"))
    done = mine.import_(records)
    assert dict(done.refused) == {"theirs": "it belongs to another user"}
    assert (done.sessions, done.messages, done.already_there) == (1, 1, 0)
    assert store.session("mine").record().user_id == "u1"
    assert len(sequences(store, "theirs")) == 1


def test_optional_fields_may_be_missing(store, rows):
    records = lines(
        message("a", "1", created_at=MOMENT), message("b", "1"), message("a", "2"), message("a", "2"),
        ("session", {"session_id": "c", "created_at": MOMENT, "metadata": {"a": 1}}),
        message("c", "1"), message("c", "2", sequence=7), message("c", "3"), ("session", {"session_id": "d"}),
    )  # fmt: skip
    done = store.import_(records)
    assert (done.sessions, done.messages) == (4, 7)
    assert sequences(store, "a") == [(0, "1"), (1, "2"), (2, "2")]
    assert sequences(store, "c") == [(0, "1"), (7, "2"), (8, "3")]
    record = store.session("c").record()
    assert (record.next_sequence, record.message_count, record.metadata) == (9, 3, {"a": 1})
    assert record.created_at == record.updated_at == datetime.fromisoformat(MOMENT)
    assert store.session("d").record().message_count == 0
    before = rows(store)
    again = store.import_(records)
    assert (again.sessions, again.messages, again.already_there) == (0, 0, 7)
    assert rows(store) == before
    assert store.import_(["\n\n\n", *records]).messages == 7, (
        "the same line at another position of a file is another message"
    )


def test_a_repeated_import_in_other_chunks_recognises_messages_without_ids(store, rows):
    """Chunks end between a line and its line break."""
    records = "\n".join(lines(*(message(f"s{n % 2}", str(n)) for n in range(9)))).encode()
    assert store.import_([records]).messages == 9
    before = rows(store)
    again = store.import_(records.replace(b"}\n", b"}|\n").split(b"|"))
    assert (again.messages, again.already_there) == (0, 9)
    assert rows(store) == before


def test_sessions_with_missing_fields_round_trip(store, other, rows):
    session = {"session_id": "b", "updated_at": MOMENT}
    store.import_(
        lines(message("a"), message("a"), ("session", session), message("b"), ("session", {"session_id": "c"}))
    )
    store.import_(lines(message("a"), message("b", created_at="2020-01-01T00:00Z")))
    assert other.import_(store.export() if isinstance(store, dal.SessionStore) else [exported(store)]).sessions == 3
    assert rows(other) == rows(store)
    with pytest.raises(dal.InvalidInput, match="line 2: created_at: is given, but the message above has none"):
        store.import_(lines(message("d"), message("d", created_at=MOMENT)))


@pytest.fixture
def statistics(connection):
    """Read the planner's statistics of the messages: the row estimate, and the versions of the statistics rows."""

    def read():
        return connection.execute(
            "SELECT c.reltuples, array_agg(s.xmin::text ORDER BY s.staattnum) FROM pg_class AS c "
            "LEFT JOIN pg_statistic AS s ON s.starelid = c.oid WHERE c.oid = 'messages'::regclass GROUP BY c.reltuples"
        ).fetchone()

    return read


@pytest.mark.one_server  # On a cluster, an import leaves the statistics to the autovacuum of the workers.
def test_a_large_import_updates_the_planners_statistics(store, statistics):
    assert store.import_(lines(*(message("s", message_id=f"m{n}") for n in range(1000)))).analyzed
    known = statistics()
    assert known[0] == 1000
    assert store.import_(lines(message("s", message_id="m1"), *[message("s")] * 99)).analyzed
    assert statistics() == known, "no ANALYZE for less than a tenth of new rows"
    assert store.import_(lines(*[message("u")] * 110)).analyzed
    assert statistics()[0] == 1209


@pytest.mark.one_server
def test_an_import_does_not_wait_for_a_vacuum(side, server, schema, connect):
    holder = connect(autocommit=False)
    holder.execute("LOCK TABLE messages IN SHARE UPDATE EXCLUSIVE MODE")
    with side.connect_store(server.conninfo, schema=schema, timeout=60) as store:
        began = time.monotonic()
        done = store.import_(lines(message("s")))
        assert time.monotonic() - began < 30
    assert (done.messages, done.analyzed) == (1, False)
    holder.rollback()


@pytest.mark.one_server
def test_a_slow_analyze_does_not_fail_the_import(side, server, schema, tables, monkeypatch):
    monkeypatch.setitem(batch.SQL, "analyze", b"SELECT pg_sleep(60)")
    with side.connect_store(server.conninfo, schema=schema, timeout=0.5) as store:
        done = store.import_(lines(message("s")))
        assert (done.messages, done.analyzed) == (1, False)
        assert store.session("s").append("user", "x").sequence == 1


def test_two_exports_in_one_file_are_both_imported(store, other):
    store.session("s").append("user", "1")
    first = exported(store)
    store.session("s").append("user", "2")
    done = other.import_([first, exported(store)])
    assert (done.sessions, done.messages, done.already_there) == (1, 2, 1)
    assert sequences(other, "s") == [(0, "1"), (1, "2")]


MINIMAL = {"session_id": "s", "role": "user", "content": "x"}
COMPLETE = MINIMAL | {"sequence": 1, "message_id": "m1", "agent_id": None, "metadata": {}, "created_at": MOMENT}


def with_message(**session):
    """Return the lines of a session whose only message has the number 7."""
    line = {"message": COMPLETE | {"session_id": "t", "sequence": 7}}
    return "\n".join(map(json.dumps, ({"session": {"session_id": "t", **session}}, line)))


INVALID_LINES = [
    ("no json", "line 2: is not JSON"),
    (b'{"message": "\xff"}', "line 2: is not JSON"),
    ("[]", "line 2: must be"),
    ('{"message": 7}', "line 2: must be"),
    ('{"message": {}, "session": {}}', "line 2: must be"),
    ({"message": MINIMAL | {"text": "x"}}, "line 2: text: is not a field of a message"),
    ({"message": MINIMAL | {"content": None}}, "line 2: content: must be a str"),
    ({"message": MINIMAL | {"content": "a\0"}}, "line 2: content: holds a NUL"),
    ({"message": MINIMAL | {"content": "\ud800"}}, "line 2: content: holds a lone surrogate"),
    ({"message": MINIMAL | {"role": ""}}, "line 2: role: is empty"),
    ({"message": COMPLETE | {"content": "a\0"}}, "line 2: content: holds a NUL"),
    ({"message": COMPLETE | {"content": "\ud800"}}, "line 2: content: holds a lone surrogate"),
    ({"message": COMPLETE | {"content": 7}}, "line 2: content: must be a str"),
    ({"message": COMPLETE | {"role": "a\0"}}, "line 2: role: holds a NUL"),
    ({"message": COMPLETE | {"role": None}}, "line 2: role: must be a str"),
    ({"message": COMPLETE | {"agent_id": ""}}, "line 2: agent_id: is empty"),
    ({"message": COMPLETE | {"message_id": "x" * 256}}, "line 2: message_id: has 256 characters"),
    ({"message": COMPLETE | {"session_id": 7}}, "line 2: session_id: must be a str"),
    ({"message": COMPLETE | {"sequence": True}}, "line 2: sequence: must be an int"),
    ({"message": COMPLETE | {"sequence": 2**63}}, "line 2: sequence: is 9223372036854775808"),
    ({"message": COMPLETE | {"metadata": {"a": "\0"}}}, "line 2: metadata: holds a NUL"),
    ({"message": COMPLETE | {"created_at": "2026-01-31"}}, "line 2: created_at: has no time zone"),
    ({"message": COMPLETE | {"more": 1}}, "line 2: more: is not a field of a message"),
    ({"message": MINIMAL | {"sequence": -1}}, "line 2: sequence: is -1"),
    ({"message": MINIMAL | {"sequence": 0}}, "line 2: sequence: is 0; it must be above 0"),
    ({"message": MINIMAL | {"metadata": []}}, "line 2: metadata: must be a mapping"),
    ('{"message": {"session_id": "s", "role": "u", "content": "", "metadata": {"n": NaN}}}', "line 2: metadata"),
    ({"message": MINIMAL | {"created_at": "yesterday"}}, "line 2: created_at: is not a time"),
    ({"message": MINIMAL | {"created_at": "2026-01-01"}}, "line 2: created_at: has no time zone"),
    ({"message": MINIMAL | {"created_at": 7}}, "line 2: created_at: must be a time as text"),
    ({"message": MINIMAL | {"created_at": "2025-01-01T00:00Z"}}, "line 2: created_at: is earlier"),
    ({"session": {}}, "line 2: session_id: must be a str"),
    ({"session": {"session_id": "t", "listed_at": MOMENT}}, "line 2: listed_at: is not a field of a session"),
    ({"session": {"session_id": "t", "status": "gone"}}, "line 2: status: is 'gone'"),
    ({"session": {"session_id": "t", "status": []}}, "line 2: status: is"),
    ({"session": {"session_id": "t", "status": "archived"}}, "line 2: archived_at: must be given if and only if"),
    (
        {"session": {"session_id": "t", "agent_ids": []}},
        "line 2: agent_ids: must be null unless the status is archived",
    ),
    ({"session": {"session_id": "t", "message_count": 2}}, "line 2: message_count: is 2, but 0 messages follow"),
    ({"session": {"session_id": "t", "next_sequence": "x"}}, "line 2: next_sequence: must be an int"),
    (with_message(next_sequence=7), "line 2: next_sequence: is 7, but the last message has 7"),
    (with_message(fork_point=9), "line 2: fork_point: is 9, but the next number is 8"),
    ({"session": {"session_id": "t", "fork_point": -1}}, "line 2: fork_point: is -1"),
    ({"session": {"session_id": "t", "revision": "1"}}, "line 2: revision: must be an int"),
    ({"session": {"session_id": "t", "status": "deleted"}}, "line 2: status: is 'deleted'"),
    ({"session": {"session_id": "t", "status": "trashed"}}, "line 2: trashed_from: must be given if and only if"),
    ({"session": {"session_id": "t", "trashed_from": "active"}}, "line 2: trashed_from: must be given if and only if"),
    (
        {"session": {"session_id": "t", "status": "trashed", "trashed_from": "trashed"}},
        "line 2: trashed_from: is 'trashed'; it must be one of active",
    ),
    (
        {"session": {"session_id": "t", "status": "trashed", "trashed_from": "archived"}},
        "line 2: archived_at: must be given if and only if the status is archived",
    ),
    (with_message(updated_at="2026-01-31T11:59:59Z"), "line 2: updated_at: is earlier than the last message"),
    ({"session": {"session_id": "t", "agent_ids": "a"}}, "line 2: agent_ids: must be a list, not str"),
    ("{" + " " * MAX_LINE, f"line 2: is longer than {MAX_LINE} bytes"),
    (
        {"session": {"session_id": "t", "status": "archived", "archived_at": MOMENT, "agent_ids": ["a"]}},
        "line 2: agent_ids: must list the agents of its messages",
    ),
    ({"message": MINIMAL | {"message_id": "m"}}, r"lines 1 to 2: a session has a message_id twice: .*\(s, m\)"),
]


@pytest.mark.parametrize(
    ("line", "message"), INVALID_LINES, ids=[f"{n} {message}" for n, (_, message) in enumerate(INVALID_LINES)]
)
def test_an_invalid_line_is_reported_with_its_number_and_nothing_stored(store, line, message):
    first = json.dumps({"message": MINIMAL | {"message_id": "m", "created_at": MOMENT}})
    with pytest.raises(dal.InvalidInput, match=f"^{message}"):
        store.import_([first, json.dumps(line) if isinstance(line, dict) else line])
    assert len(store.sessions()) == 0
    assert in_use(store) == 0


def test_the_first_error_in_a_file_is_reported(store, monkeypatch):
    """Even if later lines were read already."""
    monkeypatch.setattr(batch, "MOST_LINES", 2)
    twice = lines(message("s", message_id="m"), message("s", message_id="m"), message("t"))
    with pytest.raises(dal.InvalidInput, match="^lines 1 to 2: a session has .* twice"):
        store.import_([*twice, "no json"])
    assert len(store.sessions()) == 0
    with pytest.raises(dal.InvalidInput, match="^line 4: is not JSON"):
        store.import_([*lines(message("s"), message("s"), message("t")), "no json"])
    assert [record.session_id for record in store.sessions()] == ["s"]


@pytest.mark.parametrize("given", [None, 7, "x", b"y", {"a": 1}, object()])
def test_an_invalid_source_is_refused(store, given):
    with pytest.raises(dal.InvalidInput, match=r"^lines: must be a file or an iterable of lines"):
        store.import_(given)
    with pytest.raises(dal.InvalidInput, match=r"^lines: must be bytes or str"):
        store.import_([given] if not isinstance(given, str | bytes) else [7])


# Interrupted imports, locks and memory


def test_an_interrupted_import_can_be_resumed(store, other, rows, monkeypatch):
    monkeypatch.setattr(batch, "MOST_LINES", 700)
    for n in range(8):
        fill(store.session(f"s{n}"), 300 + n, metadata=ODD)
    make_all_kinds(store)
    whole = [line.encode() for line in exported(store).decode().split("\n") if line]

    def breaking(after):
        yield from whole[:after]
        raise LookupError

    kept = []
    for after in (0, 1, 300, 899, 1_500, 2_300, len(whole)):
        with pytest.raises(LookupError):
            other.import_(breaking(after))
        kept.append(len(rows(other)["messages"]))
        assert in_use(other) == 0
        counted = {row[0]: row[6] for row in rows(other)["sessions"]}
        there = [row[0] for row in rows(other)["messages"]]
        assert all(there.count(session_id) == count for session_id, count in counted.items()), "only whole sessions"
    assert 0 < kept[-2] < len(whole)
    assert kept == sorted(kept)
    other.import_(whole)
    assert rows(other) == rows(store)


def test_the_error_of_a_lost_connection_says_which_lines_are_stored(store, other, rows, connection, monkeypatch):
    monkeypatch.setattr(batch, "MOST_LINES", 700)
    for n in range(8):
        fill(store.session(f"s{n}"), 300 + n)
    whole = [line.encode() for line in exported(store).decode().split("\n") if line]

    def killing(after):
        yield from whole[:after]
        lost = connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity "
            "WHERE backend_type = 'client backend' AND xact_start IS NOT NULL AND pid <> pg_backend_pid()"
        )
        assert lost.fetchall() == [(True,)]
        yield from whole[after:]

    # While the first batch is sent; while it is stored and the second is read; and while the third is read.
    for after, stored, may_be_stored in (
        (500, "", {0}),
        (1_500, "", {0, 906}),
        (2_400, "lines 1 to 906", {906, 1_821}),
    ):
        with pytest.raises(dal.ServerUnavailable) as lost:
            other.import_(killing(after))
        assert lost.value.outcome_unknown == (after > 500)
        hint = f"; {stored} are stored: run the same import again to resume" if stored else "are stored"
        assert (hint in str(lost.value)) == bool(stored)
        there = rows(other)
        assert len(there["sessions"]) + len(there["messages"]) in may_be_stored
    assert in_use(other) == 0
    assert other.import_(whole).already_there == len(there["messages"])
    assert rows(other) == rows(store)


def test_concurrent_appends_and_imports_are_numbered_without_gaps(server, schema, store, monkeypatch):
    """Writers append to the same sessions, some of which the import creates meanwhile."""
    monkeypatch.setattr(batch, "MOST_LINES", 200)
    names = [f"s{n}" for n in range(10)]
    records = lines(*(message(name, f"imported {n}", message_id=f"i{n}") for name in names for n in range(60)))
    over = threading.Event()
    failed = []

    def write():
        with dal.SessionStore.connect(server.conninfo, schema=schema) as own:
            try:
                n = 0
                while not over.is_set() or n < 20:
                    own.append_all([(own.session(name), NewMessage(role="u", content=f"{n}")) for name in names[::-1]])
                    n += 1
            except BaseException as error:  # noqa: BLE001 - asserted below
                failed.append(error)

    threads = [threading.Thread(target=write) for _ in range(3)]
    for thread in threads:
        thread.start()
    done = store.import_(records)
    again = store.import_(records)
    over.set()
    for thread in threads:
        thread.join()
    assert failed == []
    assert (done.messages, again.messages, again.already_there) == (600, 0, 600)
    for name in names:
        found = [one for one in store.session(name).stream()]  # noqa: C416 - a generator of either side
        assert [one.sequence for one in found] == list(range(len(found)))
        assert [one.content for one in found if one.content.startswith("imported")] == [
            f"imported {n}" for n in range(60)
        ]
        times = [one.created_at for one in found]
        assert times == sorted(times)
        record = store.session(name).record()
        assert (record.next_sequence, record.message_count) == (len(found), len(found))


def test_an_import_locks_sessions_in_the_order_of_appends(server, schema, sync_store, connect):
    """By id, on a cluster by shard and id: while it waits for the first, the others are not locked."""
    names = ["s1", "s2", "s3"]
    for name in names:
        sync_store.session(name).append("user", "x")
    first, *others = sorted(names, key=lambda name: (sync_store._backend.runner.schema.shard_of(name) or 0, name))
    holder, other = connect(autocommit=False), connect()
    holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [first])
    with dal.SessionStore.connect(server.conninfo, schema=schema) as own:
        records = lines(*(message(name) for name in ("s3", "s1", "s2")))
        importing = threading.Thread(target=lambda: own.import_(records))
        importing.start()
        while not count_lock_waits(other):
            assert importing.is_alive()
        for name in others:
            other.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE NOWAIT", [name])
        holder.rollback()
        importing.join()
    assert {record.next_sequence for record in sync_store.sessions()} == {2}


def test_streams_and_imports_may_take_longer_than_the_timeout(side, server, schema, tables, sync_store):
    fill(sync_store.session("s"), 2_000)
    with side.connect_store(server.conninfo, schema=schema, timeout=1) as store:
        reading = store.session("s").stream()
        next(reading)
        threading.Event().wait(1.5)
        assert len(list(reading)) == 1_999

        def slowly():
            for line in lines(message("new"), message("new")):
                yield f"{line}\n"
                threading.Event().wait(1.5)

        assert store.import_(slowly()).messages == 2


def test_a_missing_temporary_privilege_says_what_to_grant(side, server, connection, tables, schema):
    name = f"dal_test_{ULID()}".lower()
    role = sql.Identifier(name)
    database = sql.Identifier(connection.info.dbname)
    connection.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD 'secret'").format(role))
    connection.execute(grants.grants(connection, name, read_only=False))
    conninfo = psycopg.conninfo.make_conninfo(server.conninfo, user=name, password="secret")
    try:
        with side.connect_store(conninfo, schema=schema) as store:
            done = store.import_(lines(message("s")))
            is_due = server.kind != "citus"
            assert (done.messages, done.analyzed) == (1, not is_due), "a service's role cannot ANALYZE"
            connection.execute(sql.SQL("REVOKE TEMPORARY ON DATABASE {} FROM PUBLIC").format(database))
            with pytest.raises(dal.StatementFailed, match=r"GRANT TEMPORARY ON DATABASE.*\[import, 42501\]"):
                store.import_(lines(message("t")))
    finally:
        connection.execute(sql.SQL("GRANT TEMPORARY ON DATABASE {} TO PUBLIC").format(database))
        connection.execute(sql.SQL("DROP OWNED BY {0}; DROP ROLE {0}").format(role))


@pytest.mark.slow
def test_memory_does_not_grow_with_the_history(store, other, figure, side, monkeypatch):
    monkeypatch.setattr(batch, "MOST_LINES", 500)
    for name, count in [("long", 3_000)] + [(f"s{n}", 100) for n in range(30)]:
        fill(store.session(name), count, content="x" * 8_192)
    data = exported(store)
    size = len(data) / 2**20

    def peak(use):
        tracemalloc.start()
        use()
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return most / 2**20

    def read(reading):
        assert sum(1 for _ in reading) >= 30

    chunks = (data[n : n + 2**16] for n in range(0, len(data), 2**16))
    peaks = {
        "stream": peak(lambda: read(store.session("long").stream())),
        "export": peak(lambda: read(store.export())),
        "import": peak(lambda: other.import_(chunks)),
    }
    summary = ", ".join(f"{operation}: {most:.1f} MiB" for operation, most in peaks.items())
    figure(f"most memory for 6,000 messages ({size:.0f} MiB), {side.name}", summary)
    assert size > 45
    assert max(peaks.values()) < 12


def test_a_stream_reads_few_large_messages_at_a_time(store):
    """Large because of their content, or of metadata that does not compress."""
    session = store.session("s")
    fill(session, 3_000)
    noise = random.Random(1).randbytes
    session.append_all([NewMessage(role="user", content="x" * 2**18)] * 32)
    session.append_all([NewMessage(role="user", content="", metadata={"a": noise(2**17).hex()}) for _ in range(32)])
    session.append("user", "the last")
    tracemalloc.start()
    last = None
    for last in session.stream():  # noqa: B007
        pass
    most = tracemalloc.get_traced_memory()[1] / 2**20
    tracemalloc.stop()
    assert last.content == "the last"
    assert most < 8, "of 16 MiB"


def test_pages_of_large_messages_are_small(store, other, rows):
    """Also after many small messages, when it requests many at a time."""
    large = [NewMessage(role="user", content="x" * 2**19)] * 24
    fill(store.session("small"), 3_000)
    store.session("large").append_all(large)
    fill(store.session("small too"), 3_000)
    for n in range(24):
        store.session(f"one of {n}").append_all(large[:1])
    fill(store.session("both"), 3_000)
    store.session("both").append_all(large)
    chunks = list(store.export())
    assert sum(map(len, chunks)) > 36 * 2**20
    assert max(map(len, chunks)) < 3 * 2**20
    other.import_(chunks)
    assert rows(other) == rows(store)


LAST = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # psycopg's pipeline.


@pytest.mark.parametrize("at", [*range(1, 11), pytest.param(11, marks=LAST), 12])
def test_an_interrupt_during_an_export_is_not_replaced_by_another_error(server, schema, tables, monkeypatch, at):
    """Cleaning up afterwards must not replace it by another error."""
    with dal.SessionStore.connect(server.conninfo, schema=schema) as store:
        store.session("one").append("user", "hello")
        wait, waits = DeadlineConnection.wait, itertools.count(1)

        def interrupted(connection, generator, *arguments, **options):
            if next(waits) == at:
                next(generator, None)  # The statement is sent.
                raise SystemExit(143)
            return wait(connection, generator, *arguments, **options)

        monkeypatch.setattr(DeadlineConnection, "wait", interrupted)
        with pytest.raises(SystemExit):
            for _ in range(at):
                list(store.export())
        monkeypatch.undo()
        assert store.session("one").latest()[0].content == "hello"
