"""Call every method once, on both interfaces. test_drivers runs this as a program.

Arguments: a connection string, and a schema with the tables. Prints psycopg's implementation.
"""

import logging
import sys
from datetime import UTC, datetime

import psycopg
from sides import AsyncSide, SyncSide

import dal


def call_every_method(side, conninfo, schema):
    text = "x\ud7ff\U0010ffff'\"%s :name \\ \t\n" * 100
    with side.connect_store(conninfo, schema=schema, timeout=5) as store:
        session = store.session(f"driver-{side.name}", user_id="u1", source="here", metadata={"n": 1.5, "big": 2**70})
        for n in range(8):  # Often enough that psycopg prepares the statement.
            assert session.append("user", text, agent_id="b", metadata={"a": [n, None, text]}).sequence == n
        many = session.append_all([dal.NewMessage(role="user", content=text, agent_id="a") for _ in range(3)])
        assert [message.sequence for message in many] == [8, 9, 10]
        assert session.latest(3) == many == session.messages(after=7) == session.messages(before=11, limit=3)
        assert session.message(many[0].message_id) == many[0]
        assert session.append("user", text, agent_id="a", message_id=many[0].message_id) == many[0]
        assert session.remove_from(9) == 2
        assert session.agent_ids() == ("b", "a")
        assert session.pause().status == "paused"
        assert session.trash().status == "trashed"
        assert session.restore().status == "paused"
        assert session.resume().metadata == {"n": 1.5, "big": 2**70}
        assert session.update_metadata({"n": None}).metadata == {"n": None, "big": 2**70}
        assert [record.session_id for record in store.sessions(user_id="u1", source="here")] == [session.id]
        assert_raises(dal.MessageConflict, lambda: session.append("user", "y", message_id=many[0].message_id))
        with store.transaction() as inside:
            assert inside.session(session.id).append("user", "x").sequence == 11
        check_lost_connection_and_deadline(side, store, session, conninfo, schema)
        assert session.reset().parent_id == session.id
        assert_raises(dal.SessionArchived, lambda: session.append("user", "y"))
        assert session.agent_ids() == session.record().agent_ids == ("b", "a")
        assert session.delete()
        idle = store.session(f"idle-{side.name}")
        idle.append("user", "x")
        assert idle.id in store.delete_idle(datetime.now(UTC))
        store.session(f"left-{side.name}").append("user", "x")


def check_lost_connection_and_deadline(side, store, session, conninfo, schema):
    """A lost connection is replaced, and a missing reply ends at the deadline."""
    with psycopg.connect(conninfo, options=f"-c search_path={schema}") as other:
        other.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query ~ 'dal:'"
        )
        assert session.append("user", "x").sequence == 12
        other.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [session.id])
        with side.connect_store(conninfo, schema=schema, timeout=0.5) as impatient:
            assert_raises(dal.DalError, lambda: impatient.session(session.id).append("user", "late"))
    assert session.append("user", "x").sequence in {13, 14}, "the late message may have been stored"


def assert_raises(kind, call):
    try:
        call()
    except kind:
        return
    raise AssertionError(f"no {kind.__name__}")


logging.disable()  # The lost connections are provoked.
for side in (SyncSide(), AsyncSide()):
    call_every_method(side, *sys.argv[1:])
    side.close()
sys.stdout.write(psycopg.pq.__impl__)
