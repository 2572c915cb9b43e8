"""The agents of a session: always correct, and cached only when the session is archived."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

import dal


def cached(connection, session):
    return connection.execute("SELECT agent_ids FROM sessions WHERE session_id = %s", [session.id]).fetchone()[0]


def insert_directly(connection, session, agent_id):
    connection.execute(
        "INSERT INTO messages (session_id, sequence, message_id, role, agent_id, content, metadata, created_at) "
        "VALUES (%s, 1000, 'smuggled', 'assistant', %s, '', '{}', now())",
        [session.id, agent_id],
    )


def append_as(session, *agents):
    session.append_all([dal.NewMessage(role="assistant", content="", agent_id=agent) for agent in agents])


def test_agents_are_ordered_by_first_appearance(store):
    session = store.session()
    append_as(session, "zoe", None, "adam", "zoe", "mia", "adam", None, "Bob")
    assert session.agent_ids() == ("zoe", "adam", "mia", "Bob")


def test_the_list_of_an_active_session_is_not_cached(store, connection):
    session = store.session()
    append_as(session, "planner")
    assert session.agent_ids() == ("planner",)
    assert cached(connection, session) is None
    append_as(session, "coder")
    assert session.agent_ids() == ("planner", "coder")
    assert cached(connection, session) is None


def test_the_first_read_after_archive_caches_the_list(store, connection):
    session = store.session()
    append_as(session, "planner", "coder")
    session.archive()
    assert cached(connection, session) is None
    before = session.record()
    assert session.agent_ids() == ("planner", "coder")
    assert cached(connection, session) == ["planner", "coder"]
    insert_directly(connection, session, "ghost")
    assert session.agent_ids() == ("planner", "coder")
    assert store.agent_ids([session.id])[session.id] == ("planner", "coder")
    after = session.record()
    assert (before.agent_ids, after.agent_ids) == (None, ("planner", "coder"))
    assert after.updated_at == before.updated_at, "a read does not count as activity"


def test_an_archived_session_without_agents_caches_the_empty_list(store, connection):
    session = store.session()
    session.append("user", "hello")
    session.archive()
    assert session.agent_ids() == ()
    assert cached(connection, session) == []
    insert_directly(connection, session, "ghost")
    assert session.agent_ids() == ()


def test_a_new_agent_of_a_resumed_session_is_listed(store, connection):
    session = store.session()
    append_as(session, "planner")
    session.pause()
    assert session.agent_ids() == ("planner",)
    assert cached(connection, session) is None
    session.resume()
    append_as(session, "coder")
    assert session.agent_ids() == ("planner", "coder")


def test_removed_agents_are_not_listed(store):
    session = store.session()
    append_as(session, "planner", "coder")
    session.remove_from(1)
    assert session.agent_ids() == ("planner",)


def test_agents_of_many_sessions(store, connection):
    active, archived, without_agents = store.session(), store.session(), store.session()
    append_as(active, "b", "a")
    append_as(archived, "d", "c")
    without_agents.append("user", "x")
    archived.archive()
    session_ids = [archived.id, "nobody", without_agents.id, active.id, active.id]
    found = store.agent_ids(session_ids)
    assert found == {archived.id: ("d", "c"), "nobody": (), without_agents.id: (), active.id: ("b", "a")}
    assert list(found) == [archived.id, "nobody", without_agents.id, active.id]
    assert cached(connection, archived) == ["d", "c"]
    assert cached(connection, active) is None
    assert store.agent_ids([]) == {}


def test_concurrent_first_reads_agree(connect):
    stores = [dal.SessionStore(connect()) for _ in range(2)]
    for n in range(30):
        session = stores[0].session(f"s{n}")
        append_as(session, "b", "a", "c")
        session.archive()
        start = threading.Barrier(2)

        def read(store, start=start, name=session.id):
            start.wait()
            return store.session(name).agent_ids()

        with ThreadPoolExecutor(2) as threads:
            assert list(threads.map(read, stores)) == [("b", "a", "c")] * 2
        assert session.record().agent_ids == ("b", "a", "c")


def test_a_read_does_not_wait_for_locks(connect):
    mine, other = connect(), connect(autocommit=False)
    store = dal.SessionStore(mine)
    sessions = [store.session(f"s{n}") for n in range(2)]
    for session in sessions:
        append_as(session, "a")
        session.archive()
    mine.execute("SET lock_timeout = 100")
    assert dal.SessionStore(other).agent_ids([sessions[0].id]) == {"s0": ("a",)}  # this cached list is not committed
    assert store.agent_ids(["s0", "s1"]) == {"s0": ("a",), "s1": ("a",)}
    assert cached(mine, sessions[0]) is None
    assert cached(mine, sessions[1]) == ["a"]
    other.commit()
    assert cached(mine, sessions[0]) == ["a"]


@pytest.mark.parametrize("status", ["active", "paused"])
def test_a_constraint_refuses_a_cached_list_before_archive(connection, sync_store, status):
    session = sync_store.session()
    append_as(session, "a")
    if status == "paused":
        session.pause()
    with pytest.raises(Exception, match="sessions_only_archived_caches"):
        connection.execute("UPDATE sessions SET agent_ids = '{a}'")
