"""Behind a real PgBouncer in transaction mode, with the settings of docs/guides/pgbouncer.md."""

import threading
from datetime import UTC, datetime

import pytest
from bouncer import prepares, through_pgbouncer
from old_tables import finish, wait_until
from sides import unwrap
from test_finish import unfinished, use

import dal
from dal import NewMessage
from dal.histories import batch

__all__ = ["unfinished"]  # A fixture.


@pytest.fixture
def bouncer(server, schema, tables):
    """A PgBouncer with two connections to the server, however many clients it has."""
    with through_pgbouncer(server, schema) as port:
        yield f"postgresql://service@127.0.0.1:{port}/sessions?sslmode=disable"


def test_every_method(side, bouncer, monkeypatch):
    with side.connect_store(bouncer, pgbouncer=True, prepare_threshold=None) as store:
        store.check_schema()
        for _ in range(8):  # often enough that psycopg would prepare the statements
            session = store.session(user_id="u1")
            first = session.append("user", "x", agent_id="a")
            session.append_all([NewMessage(role="user", content="y"), NewMessage(role="user", content="z")])
            assert [message.sequence for message in session.latest()] == [0, 1, 2]
            assert session.messages(after=0, limit=1)[0].content == "y"
            assert session.messages(before=1) == (first,) == (session.message(first.message_id),)
            assert session.remove_from(2) == 1
            assert session.replace_from(1, [NewMessage(role="user", content="w")], if_next=3)[0].sequence == 3
            assert [message.content for message in session.remove_last()] == ["w"]
            assert [message.content for message in session.removed()] == ["y", "z", "w"]
            assert len(session.changes()) == 3
            session.append("user", "y")
            assert session.agent_ids() == ("a",)
            assert session.pause().status == "paused"
            assert session.resume().status == "active"
            assert session.update_metadata({"a": 1}).metadata == {"a": 1}
            assert session.reset().parent_id == session.id
            assert store.agent_ids([session.id]) == {session.id: ("a",)}
            with store.transaction() as inside:
                inside.session("t").append("user", "x")
        assert len(store.sessions(user_id="u1")) == 8
        monkeypatch.setattr(batch, "MOST_LINES", 7)  # Small batches make several transactions.
        exported = list(store.export())
        messages = b"".join(exported).count(b'{"message":')
        assert store.import_(exported).already_there == messages == 8 * 2 + 8
        assert len(list(session.stream())) == 2
        assert session.delete()
        assert len(store.delete_idle(datetime.now(UTC))) == 8


def test_an_error_of_pgbouncer_says_what_to_do(side, bouncer):
    with side.connect_store(bouncer, prepare_threshold=None, timeout=0.5) as store:
        with pytest.raises(dal.ServerUnavailable, match="unsupported startup parameter.* say pgbouncer=True"):
            store.check_schema()


def test_many_clients_on_few_connections(bouncer):
    def write():
        with dal.SessionStore.connect(bouncer, pgbouncer=True, prepare_threshold=None, max_size=2) as store:
            for _ in range(50):
                store.session("s").append("user", "x")

    threads = [threading.Thread(target=write) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with dal.SessionStore.connect(bouncer, pgbouncer=True, prepare_threshold=None) as store:
        record = store.session("s").record()
    assert (record.next_sequence, record.message_count) == (400, 400)


def test_a_writer_with_many_callers(side, bouncer):
    with side.connect_store(bouncer, pgbouncer=True, prepare_threshold=None) as store:
        with store.writer() as writer:
            session = unwrap(writer.session("s"))
            stored = side.call_concurrently([lambda: session.append("user", "x") for _ in range(160)])
        assert sorted(message.sequence for message in stored) == list(range(160))


@pytest.mark.skipif(not prepares(), reason="PgBouncer 1.21 or later, which keeps prepared statements, is not installed")
def test_statements_that_it_has_prepared_are_prepared_again(server, schema, unfinished):
    over, errors, calls = threading.Event(), [], [0]

    def work(store, n):
        try:
            while not over.is_set():
                use(store.session(f"s{n}"), n)
                calls[0] += 1
        except dal.DalError as error:
            errors.append(error)

    with (
        through_pgbouncer(server, schema, pool_size=6, max_prepared_statements=100) as port,
        dal.SessionStore.connect(
            f"postgresql://service@127.0.0.1:{port}/sessions?sslmode=disable", pgbouncer=True, max_size=8
        ) as store,
    ):
        threads = [threading.Thread(target=work, args=(store, n)) for n in range(8)]
        for thread in threads:
            thread.start()
        wait_until(lambda: errors or calls[0] > 100)
        finish(unfinished)
        now = calls[0]
        wait_until(lambda: errors or calls[0] > now + 100)
        over.set()
        for thread in threads:
            thread.join()
    assert errors == []
