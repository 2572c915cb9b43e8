"""A pipeline: what many call at once shares a round trip, and each is as good as one of its own."""

import asyncio
import contextlib
import threading
import time
from itertools import count

import pytest
from psycopg.conninfo import make_conninfo
from sides import unwrap

import dal
from dal import wire
from dal._sync.pipelining import MOST

CALLERS = 20  # Few enough that a server which does not read yet has room for what they send.


@pytest.fixture
def pool(side, server, options, tables):
    with side.pool(server.conninfo, min_size=1, max_size=1, kwargs={"autocommit": True, **options}) as pool:
        yield pool


@pytest.fixture
def store(side, pool):
    store = side.store(pool)
    store.check_schema()
    return store


@pytest.fixture
def watched(pool):
    """Watch the pool's only connection."""

    @contextlib.contextmanager
    def watched():
        connection = pool.getconn()
        with wire.watch(unwrap(connection)) as watched:
            pool.putconn(connection)
            yield watched

    return watched


def test_none_waits_for_the_reply_to_another(side, store, watched, connect):
    """The server cannot reply before it has the session's row: until then all have been sent."""
    store.session("s").append("user", "x")
    other = connect(autocommit=False)
    other.execute("SELECT FROM sessions WHERE session_id = 's' FOR UPDATE")
    with store.pipeline() as pipeline, watched() as seen, contextlib.ExitStack() as held:
        session = unwrap(pipeline.session("s"))
        if side.name == "sync":  # The first thread would send its own, before the others have come.
            runner = pipeline._backend.runner.here
            held.enter_context(runner._turn)

        def let_them():
            while side.name == "sync" and len(runner._waiting) < CALLERS:
                time.sleep(0.001)
            held.close()
            time.sleep(0.3)
            other.rollback()

        letting = threading.Thread(target=let_them)
        letting.start()
        stored = side.at_once([lambda n=n: session.append("user", str(n)) for n in range(CALLERS)])
        letting.join()
    assert sorted(message.sequence for message in stored) == list(range(1, CALLERS + 1))
    replies = [direction for direction, _ in seen.messages].index("B")
    assert [kind for _, kind in seen.messages[:replies]].count("Sync") >= CALLERS, "a transaction each"


def test_every_verb_works_in_it(store):
    with store.pipeline() as pipeline:
        session = pipeline.session("s", user_id="u1")
        assert session.append("user", "x", agent_id="a").sequence == 0
        assert [one.sequence for one in session.append_all([dal.NewMessage(role="user", content="y")] * 2)] == [1, 2]
        assert len(session.latest()) == len(list(session.stream())) == 3
        assert session.pause().status == "paused"
        assert session.remove_from(2) == 1
        assert pipeline.for_user("u2").session("s").latest() == ()
        with pipeline.transaction() as inside:
            inside.session("s").append("user", "z")
        assert [message.sequence for message in session.open().messages] == [0, 1, 3]
        assert session.archive().status == "archived"
        with pytest.raises(dal.SessionArchived):
            session.append("user", "late")
        assert session.agent_ids() == ("a",)
        assert session.delete()
    with pytest.raises(dal.StoreClosed, match="this pipeline was closed"):
        session.latest()
    assert store.session("s").append("user", "the store is open").sequence == 0


def test_appends_to_one_session_are_numbered(side, store):
    with store.pipeline() as pipeline:
        session = unwrap(pipeline.session("s"))
        stored = side.at_once([lambda n=n: session.append("user", str(n)) for n in range(CALLERS)])
    assert sorted(message.sequence for message in stored) == list(range(CALLERS))
    assert {message.sequence: message.content for message in stored} == {
        message.sequence: message.content for message in store.session("s").latest(CALLERS)
    }


def test_more_than_go_together_go_after_each_other(side, store):
    with store.pipeline() as pipeline:
        sessions = [unwrap(pipeline.session(f"s{n}")) for n in range(MOST + 10)]
        stored = side.at_once([lambda session=session: session.append("user", "x") for session in sessions])
    assert [message.sequence for message in stored] == [0] * len(sessions)


def test_what_the_server_refuses_fails_alone(side, store, connection):
    """A constraint of the service's own, which is looked at right away, or when the transaction ends."""
    connection.execute("ALTER TABLE messages ADD CONSTRAINT polite CHECK (content <> 'damn')")
    connection.execute(
        "ALTER TABLE messages ADD reply_to text REFERENCES sessions (session_id) DEFERRABLE INITIALLY DEFERRED"
    )
    connection.execute(
        "CREATE FUNCTION late() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.reply_to := CASE WHEN NEW.content = 'late' THEN 'nobody' END; RETURN NEW; END $$"
    )
    connection.execute("CREATE TRIGGER late BEFORE INSERT ON messages FOR EACH ROW EXECUTE FUNCTION late()")
    said = ["damn" if n == 7 else "late" if n == 9 else "hello" for n in range(CALLERS)]
    with store.pipeline() as pipeline:
        sessions = [unwrap(pipeline.session(f"s{n}")) for n in range(CALLERS)]
        calls = zip(sessions, said, strict=True)
        outcomes = side.at_once(
            [lambda session=session, one=one: session.append("user", one) for session, one in calls]
        )
    assert (outcomes[7].sqlstate, outcomes[9].sqlstate) == ("23514", "23503")
    assert [getattr(one, "sequence", None) for one in outcomes] == [None if n in {7, 9} else 0 for n in range(CALLERS)]
    stored = connection.execute("SELECT count(*), count(DISTINCT session_id) FROM messages").fetchone()
    assert stored == (CALLERS - 2, CALLERS - 2)


def test_a_lost_connection_loses_and_repeats_nothing(side, server, schema, tables, connect):
    """The server's processes are ended while it works for many at once."""
    conninfo = make_conninfo(server.conninfo, application_name=schema)
    with side.connect_store(conninfo, schema=schema, timeout=30) as store, store.pipeline() as pipeline:
        store.check_schema()
        ended = []

        def end_them():
            while len(ended) < 5:
                time.sleep(0.02)
                ended.extend(
                    other.execute(
                        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                        " WHERE application_name = %s AND state = 'active'",
                        [schema],
                    )
                )

        other = connect()
        killer = threading.Thread(target=end_them)
        killer.start()
        sessions = [unwrap(pipeline.session(f"s{n}")) for n in range(CALLERS)]
        turns = count()
        while killer.is_alive():
            outcomes = side.at_once([lambda session=session: session.append("user", "x") for session in sessions])
            assert [one.sequence for one in outcomes] == [next(turns)] * CALLERS


def test_a_task_that_is_cancelled_leaves_the_others_alone(side, store, connect):
    if side.name == "sync":
        pytest.skip("a thread cannot be cancelled")
    store.session("held").append("user", "x")
    other = connect(autocommit=False)
    other.execute("SELECT FROM sessions WHERE session_id = 'held' FOR UPDATE")

    async def cancel_one():
        async with unwrap(store).pipeline() as pipeline:
            tasks = [asyncio.ensure_future(pipeline.session(name).append("user", "y")) for name in ("held", "s1", "s2")]
            await asyncio.sleep(0.2)
            tasks[0].cancel()
            await asyncio.sleep(0.1)
            await asyncio.to_thread(other.rollback)
            return await asyncio.gather(*tasks, return_exceptions=True)

    cancelled, *fine = side.loop.run(cancel_one())
    assert isinstance(cancelled, asyncio.CancelledError)
    assert [one.sequence for one in fine] == [0, 0]
    assert [message.content for message in store.session("held").latest()] == ["x", "y"], "it was on its way"


def test_without_autocommit_each_goes_alone(side, server, options, tables):
    with side.pool(server.conninfo, min_size=1, max_size=1, kwargs=options) as pool:
        with side.store(pool).pipeline() as pipeline:
            sessions = [unwrap(pipeline.session(f"s{n}")) for n in range(4)]
            stored = side.at_once([lambda session=session: session.append("user", "x") for session in sessions])
    assert [message.sequence for message in stored] == [0] * 4


def test_a_pipeline_of_a_connection_is_refused(side, server, options):
    raw = side.connect(server.conninfo, **options)
    with pytest.raises(dal.StatementFailed, match="needs a store with a pool"):
        side.store(raw).pipeline()
    raw.close()


def test_an_interrupted_thread_takes_nothing_from_those_for_whom_it_sent(server, schema, tables, monkeypatch):
    """They send what was theirs again, since it may be stored, and find that it is."""
    with dal.SessionStore.connect(server.conninfo, schema=schema) as store, store.pipeline() as pipeline:
        store.check_schema()
        runner, outcomes = pipeline._backend.runner.here, []
        send = runner.send

        def interrupted(operations):
            monkeypatch.setattr(runner, "send", send)
            send(operations)
            raise KeyboardInterrupt

        def append(n):
            try:
                outcomes.append(pipeline.session(f"s{n}").append("user", "x").sequence)
            except KeyboardInterrupt:
                outcomes.append("interrupted")

        monkeypatch.setattr(runner, "send", interrupted)
        threads = [threading.Thread(target=append, args=(n,)) for n in range(8)]
        with runner._turn:
            for thread in threads:
                thread.start()
            while len(runner._waiting) < len(threads):
                time.sleep(0.001)
        for thread in threads:
            thread.join()
    assert sorted(outcomes, key=str) == [0] * 7 + ["interrupted"]


def test_the_deadline_is_that_of_each_call(side, server, schema, tables):
    """While no connection is free: also for one that comes while another waits for one."""
    took = {}
    with side.connect_store(server.conninfo, schema=schema, max_size=1, timeout=1) as store:
        with store.pipeline() as pipeline, store.transaction() as inside:
            inside.check_schema()
            session = unwrap(pipeline.session("s"))

            def timed(pause):
                def done():
                    took[pause] = time.monotonic() - began

                if side.name == "sync":
                    time.sleep(pause)
                    began = time.monotonic()
                    with pytest.raises(dal.ServerUnavailable):
                        session.append("user", "x")
                    return done()

                async def append():
                    nonlocal began
                    await asyncio.sleep(pause)
                    began = time.monotonic()
                    with pytest.raises(dal.ServerUnavailable):
                        await session.append("user", "x")
                    done()

                began = 0.0
                return append()

            side.at_once([lambda pause=pause: timed(pause) for pause in (0, 0.5)])
    assert all(0.9 < seconds < 1.3 for seconds in took.values()), took
    assert len(took) == 2
