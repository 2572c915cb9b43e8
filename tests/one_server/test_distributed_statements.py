"""The second forms of the queries, on a Citus cluster: what they do differently. Needs --postgres=citus.

The rest of their behaviour is tested by test_model.py and other tests, when they run with --postgres=citus.
"""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from sides import unwrap

import dal
from dal import NewMessage

CHANGES = {
    "messages.annotate": {"message_id": "m0", "metadata": '{"a": 1}'},
    "messages.redact": {"message_id": "m0", "content": ""},
    "messages.remove_from": {"sequence": 2, "keep": True, "if_next": None},
    "messages.remove_last": {"n": 1, "keep": True, "if_next": None},
    "messages.replace_from": {
        "sequence": 2, "keep": True, "if_next": None, "session_changes": '{"b": 2}', "message_ids": ["n0", "n1"],
        "roles": ["user"] * 2, "agent_ids": ["", "a"], "contents": ["x"] * 2, "metadata": ["{}"] * 2,
    },
    "sessions.update_metadata": {"metadata": '{"a": 1}', "remove": [], "touch": True},
    "sessions.pause": {},
    "sessions.archive": {"if_next": None},
    "sessions.trash": {},
}  # fmt: skip
"""The parameters of each statement that records a change."""


@pytest.fixture(autouse=True)
def citus(server):
    if server.kind != "citus":
        pytest.skip("needs --postgres=citus")


@pytest.fixture
def stored(sync_store):
    session = sync_store.session("s", user_id="u")
    session.append_all([NewMessage(role="user", content="x", message_id=f"m{n}") for n in range(3)])
    return session


def send(connection, name, **parameters):
    found = dal.queries[name].distributed(connection, session_id="s", **parameters)
    return found if isinstance(found, list) else [found]


@pytest.mark.parametrize("name", CHANGES)
def test_a_repeated_change_changes_nothing_more(stored, connection, name):
    first = send(connection, name, change_id="c", **CHANGES[name])
    before = stored.record(), tuple(stored.messages()), tuple(stored.removed())
    assert before[0].revision == 1
    assert send(connection, name, change_id="c", **CHANGES[name]) == first
    assert (stored.record(), tuple(stored.messages()), tuple(stored.removed())) == before


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_deletes_the_records_of_old_ones(stored, connection, name):
    for change_id, age in (("old", timedelta(hours=2)), ("young", timedelta(minutes=30))):
        connection.execute(
            "INSERT INTO changes (revision, changed_at, session_id, change_id, kind) VALUES (1, %s, 's', %s, 'pause')",
            [datetime.now(UTC) - age, change_id],
        )
    send(connection, name, change_id="c", **CHANGES[name])
    left = connection.execute("SELECT change_id FROM changes WHERE session_id = 's'").fetchall()
    assert sorted(left) == [("c",), ("young",)]


def test_another_users_session_is_not_changed(stored, connection):
    before = stored.record(), tuple(stored.messages())
    for name, parameters in CHANGES.items():
        assert send(connection, name, change_id="c", owner="another", **parameters) in ([], [None])
    assert (stored.record(), tuple(stored.messages())) == before


def test_equal_appends_at_once_store_one_message(sync_store):
    with ThreadPoolExecutor(6) as threads:
        done = [threads.submit(sync_store.session("s").append, "user", "x", message_id=f"m{n % 4}") for n in range(24)]
        stored = {one.result().message_id: one.result().sequence for one in done}
    assert sorted(stored.values()) == [0, 1, 2, 3]
    assert {one.message_id: one.sequence for one in sync_store.session("s").messages()} == stored


@pytest.mark.parametrize("max_size", [1, 4], ids=["one statement for all shards", "one statement for each shard"])
def test_batches_over_the_same_sessions_do_not_deadlock(server, schema, tables, connect, max_size):
    """Each batch has 10 of 12 sessions, which are on several nodes; some create them, and others wait for that."""
    operations = []

    def append(n):
        own = dal.SessionStore(connect(), hook=operations.append) if max_size == 1 else store
        for _ in range(6):
            sessions = [own.session(f"s{(n * 5 + k) % 12}") for k in range(10)]
            own.append_all([(one, NewMessage(role="user", content="x")) for one in sessions])

    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=60, hook=operations.append) as store:
        store.check_schema()
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(append, range(4)))
        numbers = [[one.sequence for one in store.session(f"s{n}").messages()] for n in range(12)]
    assert sum(map(len, numbers)) == 4 * 6 * 10
    assert all(found == list(range(len(found))) for found in numbers)
    assert {one.retries for one in operations} == {0}, "a deadlock would have been retried"


def test_a_store_knows_the_shard_of_a_session(store, connection):
    store.check_schema()
    ids = ["s", "a" * 255, "é€😀", *(f"chat-{n}-{'x' * (n % 13)}" for n in range(60))]
    found = connection.execute(
        "SELECT get_shard_id_for_distribution_column('sessions', u) FROM unnest(%s::text[]) AS u", [ids]
    ).fetchall()
    shards = sorted({shard for (shard,) in found})
    schema = getattr(store, "inner", store)._backend.runner.schema
    assert [schema.shard_of(one) for one in ids] == [shards.index(shard) for (shard,) in found]
    assert len(shards) == 4


@pytest.fixture
def by_shard(sync_store):
    """Session ids by shard: four in each of the four."""
    sync_store.check_schema()
    ids = {}
    for n in range(1000):
        ids.setdefault(sync_store._backend.runner.schema.shard_of(f"s{n}"), []).append(f"s{n}")
    return {shard: some[:4] for shard, some in sorted(ids.items())}


def test_each_shard_gets_a_statement_of_its_own(side, server, schema, tables, by_shard):
    operations = []
    with side.connect_store(server.conninfo, schema=schema, hook=operations.append, hook_parameters=True) as store:
        given = [
            (store.session(f), NewMessage(role="user", content=f))
            for some in zip(*by_shard.values(), strict=True)
            for f in some
        ]
        stored = store.append_all([(unwrap(session), new) for session, new in given])
    assert [one.content for one in stored] == [new.content for _, new in given]
    sent = [one.parameters["session_ids"] for one in operations]
    assert sorted(sent) == sorted(
        "{" + ",".join(f'"{one}"' for one in sorted(some)) + "}" for some in by_shard.values()
    )


def test_a_failure_in_one_shard_does_not_affect_the_others(side, server, schema, by_shard, connect):
    for some in by_shard.values():
        dal.SessionStore(connect()).session(some[0]).append("user", "x")
    locked = by_shard[1][0]
    holder = connect(autocommit=False)
    holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [locked])
    with side.connect_store(server.conninfo, schema=schema, timeout=2) as store:
        given = [
            (store.session(one), NewMessage(role="user", content="y", message_id="m"))
            for some in by_shard.values()
            for one in some
        ]
        pairs = [(unwrap(session), new) for session, new in given]
        with pytest.raises(dal.PartlyRefused) as raised:
            store.append_all(pairs)
        outcomes = dict(zip([session.id for session, _ in given], raised.value.outcomes, strict=True))
        late = [one for one, outcome in outcomes.items() if isinstance(outcome, dal.DeadlineExceeded)]
        assert late == by_shard[1]
        assert outcomes[locked].message_ids == ("m",) * 4
        holder.rollback()
        stored = store.append_all(pairs)
    assert [one.sequence for one in stored] == [1, 0, 0, 0] * 4


def test_a_fork_fails_if_the_parent_was_changed_while_it_was_copied(stored, connection):
    """To force the failure, a changed copy of the function expects another revision at the end than at the start."""
    body = connection.execute("SELECT pg_get_functiondef('dal_fork'::regproc)").fetchone()[0]
    changed = body.replace("s.revision = _parent.revision;", "s.revision = _parent.revision + 1;").replace(
        "dal_fork(", "dal_fork_of_changed("
    )
    connection.execute(changed.encode())
    with pytest.raises(psycopg.errors.SerializationFailure, match="another transaction changed the parent"):
        connection.execute("SELECT FROM dal_fork_of_changed('s', 'f', 3, '{}', NULL)")
    assert connection.execute("SELECT FROM sessions WHERE session_id = 'f'").fetchall() == []


def test_a_locked_message_stops_delete_idle_at_once(stored, sync_store, connect):
    holder = connect(autocommit=False)
    holder.execute("SELECT FROM messages WHERE session_id = 's' AND sequence = 0 FOR KEY SHARE")
    future = datetime.now(UTC) + timedelta(minutes=1)
    assert sync_store.delete_idle(before=future) == ()
    holder.rollback()
    assert sync_store.delete_idle(before=future) == ("s",)


def test_an_import_continues_a_session_that_exists(sync_store, stored, server, schema):
    lines = list(sync_store.export())
    stored.remove_last()
    other = sync_store.session("t")
    other.append("user", "x")
    other.archive()
    more = [*sync_store.export(), *lines]
    other.delete()
    imported = sync_store.import_(more)
    assert (imported.sessions, imported.messages, dict(imported.refused)) == (0, 1, {"t": "it was deleted"})
    assert [one.message_id for one in stored.messages()] == ["m0", "m1", "m2"]
