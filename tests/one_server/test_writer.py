"""A writer batches concurrent appends, and each behaves as if it were sent alone."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections import deque
from itertools import pairwise
from unittest.mock import Mock

import pytest
from sides import unwrap

import dal
from dal import NewMessage
from dal._sync.sources import Sticky
from dal.writer._sync.workers import WaitingCall, await_callers
from dal.writer.batch import MOST_CHARACTERS, MOST_MESSAGES, WAITED_TOO_LONG, Batch
from dal.writer.batch_size import WORTHWHILE

WRITERS, ROUNDS = 16, 40


def statements(hook):
    """Return a hook that is called after each statement, but not after each append through a writer."""
    return lambda operations: operations.query == "writer.append" or hook(operations)


@pytest.fixture
def operations():
    return []


@pytest.fixture
def store(side, server, schema, tables, operations):
    options = {"max_size": 4, "timeout": 20, "hook": statements(operations.append), "hook_parameters": True}
    with side.connect_store(server.conninfo, schema=schema, **options) as store:
        store.check_schema()
        operations.clear()
        yield store


@pytest.fixture
def call_concurrently(side):
    return side.call_concurrently


@pytest.fixture
def held(connect):
    """Lock a session's row, so that appends to it wait."""
    other = connect(autocommit=False)

    def hold(session_id):
        other.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [session_id])
        return other

    return hold


def appending(session, *args, **options):
    """Return an append of the side's own kind, to be called later."""
    return lambda: unwrap(session).append(*args, **options)


def numbers(connection, session_id):
    rows = connection.execute(
        "SELECT sequence, content FROM messages WHERE session_id = %s ORDER BY sequence", [session_id]
    )
    return rows.fetchall()


def test_a_single_append_is_sent_as_such(store, operations):
    with store.writer() as writer:
        session = writer.session("s", user_id="u1")
        assert [session.append("user", str(n)).sequence for n in range(3)] == [0, 1, 2]
        session.append_all([NewMessage(role="user", content="x")] * 2)
    assert [one.query for one in operations] == ["messages.append"] * 3 + ["messages.append_all"]
    assert store.session("s").record().user_id == "u1"


def test_concurrent_appends_are_batched(side, store, operations, call_concurrently, connection):
    with store.writer() as writer:
        sessions = [writer.session(f"s{n % WRITERS}") for n in range(WRITERS * 4)]
        stored = call_concurrently([appending(session, "user", str(n)) for n, session in enumerate(sessions)])
    assert [message.content for message in stored] == [str(n) for n in range(len(sessions))]
    for n in range(WRITERS):
        assert [sequence for sequence, _ in numbers(connection, f"s{n}")] == list(range(4))
    assert {(message.session_id, message.sequence) for message in stored} == {
        (f"s{n}", sequence) for n in range(WRITERS) for sequence in range(4)
    }
    assert len(operations) < (
        WRITERS if side.name == "async" else WRITERS * 2
    )  # Threads do not all start at the same time.


def test_the_same_message_sent_concurrently_is_stored_once(store, call_concurrently, operations):
    with store.writer() as writer:
        again = appending(writer.session("s"), "user", "x", message_id="m")
        outcomes = call_concurrently([again for _ in range(8)])
    assert len(set(outcomes)) == 1
    assert [(one.error, one.retries) for one in operations] == [(None, 0)] * len(operations)


def test_appends_of_one_task_are_stored_in_order(store, side, call_concurrently, connection):
    if side.name == "sync":
        pytest.skip("a thread waits for each of its appends")
    with store.writer() as writer:
        session = writer.session("s")
        call_concurrently([appending(session, "user", str(n)) for n in range(200)])
    assert [content for _, content in numbers(connection, "s")] == [str(n) for n in range(200)]


def test_errors_stay_local(store, call_concurrently, operations):
    store.session("archived").append("user", "x")
    store.session("archived").archive()
    store.session("taken").append("user", "x", message_id="m")
    with store.writer() as writer:
        theirs = [writer.session(f"s{n}") for n in range(WRITERS)]
        outcomes = call_concurrently(
            [
                *(appending(session, "user", "y", message_id="m") for session in theirs),
                appending(writer.session("archived"), "user", "late"),
                appending(writer.session("taken"), "user", "other", message_id="m"),
                appending(writer.session("taken"), "user", "mine"),
                appending(writer.session("s0"), "user", "y", message_id="m"),
            ]
        )
    *fine, archived, taken, mine, again = outcomes
    assert [message.sequence for message in fine] == [0] * WRITERS
    assert (type(archived), type(taken)) == (dal.SessionArchived, dal.MessageConflict)
    assert (mine.sequence, again) == (1, fine[0]), "the same message_id is the same message"
    assert any(one.query == "messages.append_all" for one in operations)


def test_calls_of_a_refused_batch_are_resent_one_by_one(store, call_concurrently, connection):
    """A constraint of the service's own refuses one message; the others are stored."""
    connection.execute("ALTER TABLE messages ADD CONSTRAINT polite CHECK (content <> 'damn')")
    with store.writer() as writer:
        outcomes = call_concurrently(
            [appending(writer.session(f"s{n}"), "user", "damn" if n == 7 else "hello") for n in range(WRITERS)]
        )
    assert isinstance(outcomes[7], dal.StatementFailed)
    assert outcomes[7].sqlstate == "23514"
    assert [getattr(one, "sequence", None) for one in outcomes] == [None if n == 7 else 0 for n in range(WRITERS)]


def test_users_stay_confined_in_one_writer(store, call_concurrently, connection):
    store.session("theirs", user_id="u2").append("user", "secret")
    with store.writer() as writer:
        users = [writer.for_user(f"u{n}") for n in range(4)]
        outcomes = call_concurrently(
            [
                *(appending(user.session(), "user", "x") for user in users for _ in range(4)),
                *(appending(user.session("theirs"), "user", "x") for user in users),
                *(appending(writer.session(), "user", "x") for _ in range(4)),
            ]
        )
        for user in users:
            user.close()
        writer.session("after").append("user", "the writer is still open")
    assert [isinstance(one, dal.Message) for one in outcomes] == [True] * 16 + [False, False, True, False] + [True] * 4
    assert {type(outcomes[n]) for n in (16, 17, 19)} == {dal.SessionNotFound}
    owners = connection.execute("SELECT user_id, count(*) FROM sessions GROUP BY 1 ORDER BY 1").fetchall()
    assert owners == [("u0", 4), ("u1", 4), ("u2", 5), ("u3", 4), (None, 5)]


def test_a_locked_session_delays_only_its_own_appends(store, call_concurrently, held, connection):
    for name in ("held", "held too"):
        store.session(name).append("user", "x")
    other = held("held")
    other.execute("SELECT FROM sessions WHERE session_id = 'held too' FOR UPDATE")
    with store.writer() as writer:
        names = ["held", *(f"s{n}" for n in range(WRITERS)), "held too", "s0", "held"]
        operations = [appending(writer.session(name), "user", "y") for name in names]
        waiting = threading.Thread(target=lambda: outcomes.extend(call_concurrently(operations)))
        outcomes = []
        waiting.start()
        ends = time.monotonic() + 10
        while connection.execute("SELECT count(*) FROM messages").fetchone() < (WRITERS + 3,):
            assert time.monotonic() < ends
            time.sleep(0.01)
        assert waiting.is_alive()
        other.rollback()
        waiting.join()
    assert [one.sequence for one in outcomes] == [1, *[0] * WRITERS, 1, 1, 2]


def test_a_locked_session_never_delays_others(store, call_concurrently, held, connection):
    with store.writer() as writer:
        for n in range(1, 4):
            store.session("held").append("user", "x")
            other = held("held")
            operations = [appending(writer.session(name), "user", "y") for name in ("held", "held", "fine")]
            waiting = threading.Thread(target=call_concurrently, args=(operations,))
            waiting.start()
            ends = time.monotonic() + 10
            while len(numbers(connection, "fine")) < n:
                assert time.monotonic() < ends
                time.sleep(0.01)
            other.rollback()
            waiting.join()
    assert len(numbers(connection, "held")) == 9


@pytest.mark.one_server  # On a cluster, calls of sessions on other shards do not wait in the same queue.
def test_an_expired_call_does_not_wait_for_the_next_batch(server, schema, tables, held):
    with dal.SessionStore.connect(server.conninfo, schema=schema, timeout=20) as store, store.writer() as writer:
        store.session("fine").append("user", "first")
        late, fine = writer.session("late"), writer.session("fine")
        batching = writer._backend.appends.here
        batching._queue._lanes["slow"] = deque()
        slow = batching._queue._current = Batch(Mock(append=Mock(session_id="slow")))  # A batch that takes long.
        outcomes = []

        def append(session, timeout):
            writer._backend.appends.here._runner.timeout = timeout
            try:
                outcomes.append(session.append("user", session.id))
            except dal.DalError as error:
                outcomes.append(error)

        holder = held("fine")
        threads = [threading.Thread(target=append, args=given) for given in ((late, 0.05), (fine, 20))]
        for thread in threads:
            thread.start()
            time.sleep(0.03)
        batching._start(batching._queue.finish(slow))
        threads[0].join(10)
        assert [type(one) for one in outcomes] == [dal.DeadlineExceeded]
        holder.rollback()
        threads[1].join()
    assert (outcomes[1].session_id, outcomes[1].content, outcomes[1].sequence) == ("fine", "fine", 1)


def test_an_interrupted_thread_does_not_block_others(server, schema, tables, monkeypatch):
    wait, interrupted = WaitingCall.wait, []

    def interruptible(call):
        wait(call)
        if call.is_done and call.append.session_id == "hasty":
            interrupted.append(call)
            raise KeyboardInterrupt

    monkeypatch.setattr(WaitingCall, "wait", interruptible)
    with dal.SessionStore.connect(server.conninfo, schema=schema) as store, store.writer() as writer:

        def append(session):
            for _ in range(ROUNDS):
                with contextlib.suppress(KeyboardInterrupt):
                    session.append("user", "hello")

        names = [f"patient {n}" for n in range(WRITERS)]
        names.insert(WRITERS // 2, "hasty")
        threads = [threading.Thread(target=append, args=(writer.session(name),)) for name in names]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert {store.session(name).record().message_count for name in names} == {ROUNDS}
    assert interrupted


@pytest.mark.parametrize("is_complete", [True, False])
def test_a_batch_waits_for_more_calls_only_while_it_is_not_complete(is_complete, monkeypatch):
    slept = Mock()
    monkeypatch.setattr("dal.writer._sync.workers.sleep", slept)
    await_callers(Mock(is_complete=is_complete))
    assert slept.called is not is_complete


@contextlib.contextmanager
def busy(store, session_id=None, count=WRITERS):
    """Append in threads through a writer of this store, each to its own session or all to one, until the block ends."""
    done = threading.Event()

    def append(session):
        while not done.is_set():
            session.append("user", "hello")

    with store.writer() as writer:
        threads = [threading.Thread(target=append, args=(writer.session(session_id),)) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            yield writer
        finally:
            done.set()
            for thread in threads:
                thread.join()


@pytest.fixture
def senders():
    """The thread that sent each statement."""
    return []


@pytest.fixture
def threads_store(server, schema, tables, senders):
    with dal.SessionStore.connect(
        server.conninfo, schema=schema, hook=statements(lambda _: senders.append(threading.current_thread()))
    ) as store:
        store.check_schema()
        senders.clear()
        yield store


def test_one_thread_sends_batch_after_batch(threads_store, senders):
    """Another thread would have to be woken first."""
    with busy(threads_store, "shared", 4 * WORTHWHILE):
        while len(senders) < 200:
            time.sleep(0.01)
    in_a_row = [one.name for one, following in pairwise(senders) if one is following]
    assert in_a_row.count("session-dal writer") > len(senders) / 2
    assert not any(one.is_alive() for one in senders), "they ended with the writer"


def test_callers_send_if_no_thread_can_be_started(threads_store, senders, monkeypatch):
    refused = Mock(side_effect=RuntimeError("can't start new thread"))
    monkeypatch.setattr("dal.writer._sync.workers.Thread", Mock(return_value=Mock(start=refused)))
    with busy(threads_store, "shared"):
        while len(senders) < 200:
            time.sleep(0.01)
    assert refused.called


def test_a_cancelled_task_fails_no_other_call(server, schema, tables):
    operations, tasks = [], []

    def cancel_the_first_that_waits(operation):
        operations.append(operation)
        if len(operations) == 1:
            tasks[WRITERS].cancel()

    async def append(session):
        return [(await session.append("user", "x")).sequence for _ in range(3)]

    async def main():
        store = dal.AsyncSessionStore.connect(server.conninfo, schema=schema, hook=cancel_the_first_that_waits)
        async with store, store.writer() as writer:
            await store.check_schema()
            operations.clear()
            writer._backend.appends.here._queue._last_size = 2  # The queue expects concurrent callers.
            tasks.extend(asyncio.create_task(append(writer.session())) for _ in range(2 * WRITERS))
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(one) for one in outcomes if one != [0, 1, 2]] == [asyncio.CancelledError]
        assert isinstance(outcomes[WRITERS], asyncio.CancelledError)

    asyncio.run(asyncio.wait_for(main(), 20))


def test_a_busy_writer_reuses_its_connection_and_returns_it(server, schema, tables):
    operations = []
    with dal.SessionStore.connect(
        server.conninfo, schema=schema, min_size=4, hook=statements(operations.append)
    ) as store:
        store.check_schema()
        operations.clear()
        pool = store._backend.runner.source._pool
        pool.wait()
        before = pool.get_stats()["requests_num"]
        with busy(store, count=4 * WRITERS):  # Enough that calls are always queued.
            while len(operations) < 200:
                time.sleep(0.01)
        stats = pool.get_stats()
        assert stats["requests_num"] - before < 0.9 * len(operations)  # On a busy machine, the queue is empty at times.
        assert stats["pool_available"] == stats["pool_size"]


def test_a_busy_writer_shares_the_only_connection(server, schema, tables, monkeypatch):
    monkeypatch.setattr("dal._sync.sources._IN_A_ROW", 10**9)
    with dal.SessionStore.connect(server.conninfo, schema=schema, max_size=1, timeout=5) as store, busy(store):
        for _ in range(20):
            assert store.session().latest() == ()


def test_a_kept_connection_is_returned(server, schema, tables):
    with dal.SessionStore.connect(server.conninfo, schema=schema, max_size=1) as store:
        runner = store._backend.runner
        sticky = Sticky(runner.source, lambda: True)
        runner.send(dal.queries.sessions.get, {"session_id": "none"}, runner.attempts(source=sticky))
        assert runner.source._pool.get_stats()["pool_available"] == 0
        sticky.release()
        assert runner.source._pool.get_stats()["pool_available"] == 1


def test_a_connection_is_not_kept_after_an_error():
    source = Mock()
    sticky = Sticky(source, lambda: True)
    sticky.give_back("broken", commit=False)
    source.give_back.assert_called_once_with("broken", commit=False)
    assert sticky.take(None) is source.take.return_value


def test_a_cancelled_task_leaves_no_connection_behind(server, schema, tables):
    """A connection that was kept for a cancelled append is returned."""

    async def give_up():
        store = dal.AsyncSessionStore.connect(server.conninfo, schema=schema, max_size=1)
        async with store, store.writer() as writer:
            first = asyncio.create_task(writer.session().append("user", "first"))
            await asyncio.sleep(0)
            second = asyncio.create_task(writer.session().append("user", "second"))
            sticky = writer._backend.appends.here._sticky
            has_more = sticky._has_more

            def gives_up():
                answer = has_more()
                second.cancel()
                return answer

            sticky._has_more = gives_up
            await first
            await asyncio.wait([second])
            assert second.cancelled()
            assert await store.session().latest() == ()

    asyncio.run(asyncio.wait_for(give_up(), 20))


def test_a_batch_is_bounded(store, call_concurrently, operations):
    big = "x" * (MOST_CHARACTERS // 4)
    with store.writer() as writer:
        call_concurrently([appending(writer.session(), "user", big) for _ in range(WRITERS)])
        many = [NewMessage(role="user", content="") for _ in range(MOST_MESSAGES // 4 + 1)]
        call_concurrently([lambda: unwrap(writer.session()).append_all(many) for _ in range(WRITERS)])
    batches = [operations for operations in operations if operations.query == "messages.append_all"]
    assert max(len(one.parameters["contents"]) for one in batches) < 2 * MOST_CHARACTERS
    assert max(one.rows for one in batches) <= MOST_MESSAGES


def test_callers_wait_for_room(store, call_concurrently, connection):
    with store.writer(waiting=2) as writer:
        outcomes = call_concurrently([appending(writer.session("s"), "user", str(n)) for n in range(WRITERS)])
    assert all(isinstance(one, dal.Message) for one in outcomes)
    assert len(numbers(connection, "s")) == WRITERS


def take_room(side, writer):
    """Take the room of one append; return a function that releases it."""

    async def take():
        room = unwrap(writer)._backend.appends.here._slots
        await room.acquire()
        return room.release

    if side.name == "async":
        return side.loop.run(take())
    room = writer._backend.appends.here._slots._free
    room.get()
    return lambda: room.put(None)


def test_a_caller_without_room_fails_at_its_deadline(side, server, schema, tables):
    with side.connect_store(server.conninfo, schema=schema, timeout=0.5) as store, store.writer(waiting=1) as writer:
        session = writer.session("s")
        give_back = take_room(side, writer)
        with pytest.raises(dal.DalError, match=WAITED_TOO_LONG) as late:
            session.append("user", "x")
        assert (type(late.value), late.value.query) == (dal.DeadlineExceeded, "messages.append")
        assert late.value.outcome_unknown is False
        give_back()
        assert store.session("s").latest() == ()


def test_a_closed_writer_refuses_appends_and_its_store_works(store):
    with store.writer() as writer:
        session = writer.session("s")
        session.append("user", "x")
    with pytest.raises(dal.StoreClosed, match="this writer was closed"):
        session.append("user", "y")
    assert store.session("s").append("user", "y").sequence == 1


def test_close_sends_queued_appends(side, store, connection):
    writer = store.writer()
    session = writer.session("s")
    if side.name == "sync":
        threads = [threading.Thread(target=session.append, args=("user", str(n))) for n in range(WRITERS)]
        for thread in threads:
            thread.start()
        while len(numbers(connection, "s")) < WRITERS // 2:
            time.sleep(0.001)
        writer.close()
        stored = numbers(connection, "s")
        for thread in threads:
            thread.join()
        assert stored == numbers(connection, "s")
        return

    async def close_at_once():
        tasks = [asyncio.ensure_future(unwrap(session).append("user", str(n))) for n in range(WRITERS)]
        await asyncio.sleep(0)
        await unwrap(writer).close()
        stored = await asyncio.to_thread(numbers, connection, "s")
        await asyncio.gather(*tasks)
        return stored

    assert len(side.loop.run(close_at_once())) == WRITERS


def test_close_can_be_called_again_and_concurrently(side, store, connection):
    """Each call returns when all queued appends have ended, within the store's timeout."""
    writer = store.writer()
    session = writer.session("s")
    if side.name == "sync":

        def append(text):
            with contextlib.suppress(dal.StoreClosed):  # If the thread is late.
                session.append("user", text)

        appends = [threading.Thread(target=append, args=(str(n),)) for n in range(WRITERS)]
        for thread in appends:
            thread.start()
        while not numbers(connection, "s"):
            time.sleep(0.001)
        stored = []
        closers = [
            threading.Thread(target=lambda: (writer.close(), stored.append(numbers_of(store)))) for _ in range(8)
        ]
        for thread in closers:
            thread.start()
        for thread in (*closers, *appends):
            thread.join(20)
            assert not thread.is_alive()
        assert stored == [numbers_of(store)] * 8
    else:

        async def close_at_once():
            tasks = [asyncio.ensure_future(unwrap(session).append("user", str(n))) for n in range(WRITERS)]
            await asyncio.sleep(0)
            await asyncio.gather(*(unwrap(writer).close() for _ in range(8)))
            assert all(task.done() for task in tasks)

        side.loop.run(close_at_once())
    writer.close()
    assert [sequence for sequence, _ in numbers(connection, "s")] == list(range(numbers_of(store)))


def numbers_of(store):
    record = store.session("s").record()
    return record.message_count


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="this system has no such signal")
def test_a_signal_handler_of_the_event_loop_closes_a_writer(side, store, connection):
    if side.name == "sync":
        pytest.skip("tests/faults/test_signals.py closes it in a signal handler of the main thread")
    writer = store.writer()
    session = writer.session("s")

    async def close_on_signal():
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGUSR1, stopped.set)
        acknowledged, refused = [], 0

        async def append(n):
            nonlocal refused
            while True:
                try:
                    acknowledged.append(await unwrap(session).append("user", str(n)))
                except dal.StoreClosed:
                    refused += 1
                    return

        tasks = [asyncio.ensure_future(append(n)) for n in range(WRITERS)]
        loop.call_later(0.1, os.kill, os.getpid(), signal.SIGUSR1)
        await stopped.wait()
        started = loop.time()
        await unwrap(writer).close()
        took = loop.time() - started
        await asyncio.gather(*tasks)
        loop.remove_signal_handler(signal.SIGUSR1)
        return acknowledged, refused, took

    acknowledged, refused, took = asyncio.run(close_on_signal())
    assert refused == WRITERS
    assert took < 20
    assert sorted(message.sequence for message in acknowledged) == list(range(len(numbers(connection, "s"))))


def test_a_writer_needs_a_pool(side, server, options):
    raw = side.connect(server.conninfo, **options)
    with pytest.raises(dal.StatementFailed, match="needs a store with a pool"):
        side.store(raw).writer()
    raw.close()


@pytest.mark.parametrize("given", [{"waiting": 0}, {"waiting": 1_000_001}, {"waiting": "2"}], ids=str)
def test_invalid_arguments_are_refused(store, given):
    with pytest.raises(dal.InvalidInput, match=next(iter(given))):
        store.writer(**given)
