"""Trash, archive and erasure race with everything that writes: nothing is stored afterwards, and nothing is lost."""

import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from test_races import rounds

import dal
from dal import NewMessage

TOGETHER = 4


@pytest.fixture
def stores(server, schema, tables):
    """Stores with a connection of their own."""
    with ExitStack() as stack:
        made = [
            stack.enter_context(dal.SessionStore.connect(server.conninfo, schema=schema, max_size=1, timeout=60))
            for _ in range(TOGETHER)
        ]
        for store in made:
            store.check_schema()
        yield made


@pytest.fixture
def together(stores):
    """Call each function with a store of its own at the same time; return their results or the library's errors."""
    with ThreadPoolExecutor(TOGETHER) as threads:

        def run(*functions):
            start = threading.Barrier(len(functions))

            def one(store, function):
                start.wait()
                time.sleep(random.random() / 500)  # So that any of them may be first.
                try:
                    return function(store)
                except dal.DalError as error:
                    return error

            return list(threads.map(one, stores, functions))

        yield run


def counts(connection, name):
    return connection.execute(
        "SELECT next_sequence, message_count, (SELECT count(*) FROM messages AS m WHERE m.session_id = s.session_id)"
        " FROM sessions AS s WHERE session_id = %s",
        [name],
    ).fetchone()


@rounds(200, 10_000)
def test_nothing_is_appended_after_a_session_was_trashed(together, connection, rounds, figure):
    tally = Counter()

    def append(name):
        def run(store):
            stored = 0
            for _ in range(20):
                try:
                    stored += len([store.session(name).append("user", "x")])
                except dal.SessionTrashed:
                    return stored, True
            return stored, False

        return run

    for n in range(rounds):
        name = f"s{n}"
        dal.SessionStore(connection).session(name).append("user", "first")
        *appended, trashed = together(*[append(name)] * 3, lambda store, name=name: store.session(name).trash())
        stored = 1 + sum(count for count, _ in appended)
        tally["wrong"] += counts(connection, name) != (trashed.next_sequence, trashed.message_count, stored)
        tally["wrong"] += trashed.message_count != stored
        tally["stored"] += stored
        tally["refused"] += any(refused for _, refused in appended)
    figure(
        "race, trash × three that append",
        f"{rounds:,} sessions, {tally['stored']:,} messages before, {tally['refused']:,} sessions refused one after; "
        f"{tally['wrong']} wrong",
    )
    assert tally["wrong"] == 0
    assert tally["stored"] > 2 * rounds
    assert tally["refused"] > rounds / 2


@rounds(200, 10_000)
def test_either_the_archive_or_the_append_wins(together, connection, rounds, figure):
    """Both ask for the same next number."""
    tally = Counter()
    for n in range(rounds):
        name = f"s{n}"
        dal.SessionStore(connection).session(name).append("user", "first")
        archived, appended = together(
            lambda store, name=name: store.session(name).archive(if_next=1),
            lambda store, name=name: store.session(name).append("user", "x", if_next=1),
        )
        won = [type(one) for one in (archived, appended)]
        expected = {
            (dal.SessionRecord, dal.SessionArchived): (1, 1, 1),
            (dal.Overtaken, dal.Message): (2, 2, 2),
        }
        tally["wrong"] += counts(connection, name) != expected.get(tuple(won))
        tally[won[0].__name__] += 1
    figure(
        "race, archive with if_next × append with if_next",
        f"{rounds:,} sessions, {tally['SessionRecord']:,} archived first, {tally['Overtaken']:,} overtaken; "
        f"{tally['wrong']} wrong",
    )
    assert tally["wrong"] == 0
    assert min(tally["SessionRecord"], tally["Overtaken"]) > rounds / 50


@rounds(200, 10_000)
def test_a_session_is_either_restored_or_deleted_with_the_trash(together, connection, rounds, figure):
    tally = Counter()
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    for n in range(rounds):
        name = f"s{n}"
        session = dal.SessionStore(connection).session(name)
        session.append("user", "first")
        session.trash()
        connection.execute("UPDATE sessions SET updated_at = now() - interval '1 day' WHERE session_id = %s", [name])
        restored, deleted = together(
            lambda store, name=name: store.session(name).restore(),
            lambda store: store.delete_idle(tomorrow, status="trashed"),
        )
        if isinstance(restored, dal.SessionRecord):
            tally["restored"] += 1
            tally["wrong"] += deleted != () or counts(connection, name) != (1, 1, 1)
        else:
            tally["deleted"] += 1
            tally["wrong"] += not isinstance(restored, dal.SessionDeleted) or deleted != (name,)
            tally["wrong"] += counts(connection, name) != (1, 0, 0)
    figure(
        "race, restore × emptying the trash",
        f"{rounds:,} sessions, {tally['restored']:,} restored, {tally['deleted']:,} deleted; {tally['wrong']} wrong",
    )
    assert tally["wrong"] == 0
    assert min(tally["restored"], tally["deleted"]) > rounds / 50


IDS = [f"s{n}" for n in range(6)]
NEW = NewMessage(role="user", content="x")
LINES = [json.dumps({"message": {"session_id": one, "role": "user", "content": "imported"}}) for one in IDS]


def append_to_each(store):
    try:
        return len(store.append_all([(store.session(one), NEW) for one in IDS]))
    except dal.PartlyRefused as error:
        for one in error.outcomes:
            if isinstance(one, dal.DalError) and not is_refusal(one):
                raise one from None
        return sum(isinstance(one, dal.Message) for one in error.outcomes)


REFUSALS = dal.SessionDeleted, dal.SessionTrashed, dal.SessionArchived


def is_refusal(error):
    """Return whether the session refused the call, or was restored before the reason could be read."""
    return isinstance(error, REFUSALS) or "changed or deleted the session at this moment" in str(error)


CHANGES = {
    # name: a call that returns how many messages it has stored
    "append": lambda store, one: len([store.session(one).append("user", "x")]),
    "append_all": lambda store, one: len(store.session(one).append_all([NEW, NEW])),
    "append_all of a store": lambda store, _: append_to_each(store),
    "import": lambda store, _: store.import_(LINES).messages,
    "remove_last": lambda store, one: 0 * len(store.session(one).remove_last()),
    "replace_from": lambda store, one: len(store.session(one).replace_from(1, [NEW])),
    "update_metadata": lambda store, one: 0 * store.session(one).update_metadata({"a": 1}).revision,
    "pause": lambda store, one: 0 * store.session(one).pause().revision,
    "trash": lambda store, one: 0 * store.session(one).trash().revision,
    "restore": lambda store, one: 0 * store.session(one).restore().revision,
    "delete nothing": lambda store, _: 0 * len(store.delete_idle(datetime(2000, 1, 1, tzinfo=UTC))),
}


def left(connection):
    """Return the rows of sessions, and how many rows the other tables have."""
    count = "(SELECT count(*) FROM {})"
    counts = ", ".join(count.format(table) for table in ("messages", "removed_messages", "changes"))
    return (
        connection.execute("SELECT status, user_id FROM sessions").fetchall(),
        connection.execute(f"SELECT {counts}").fetchall(),
    )


def change(store, appending, erased, forks, tally):
    """Make random changes until the user is erased; return how many messages were stored."""
    stored = 0
    while True:
        name, one = random.choice([*CHANGES, *["fork"] * (forks is not None)]), random.choice(IDS)
        try:
            if name == "fork":
                forks.append(store.session(one).fork().id)
            else:
                stored += CHANGES[name](appending if "append" in name else store, one)
            tally[name] += 1
        except dal.DalError as refusal:
            if not is_refusal(refusal):
                raise
            if isinstance(refusal, dal.SessionDeleted) and erased.is_set():
                return stored


@rounds(60, 3_000)
def test_an_erasure_races_with_everything(together, stores, connection, rounds, figure):
    """The receipt has every message that was acknowledged, each session stays deleted, and nobody deadlocks.

    In every other round there are forks, whose messages nobody has acknowledged.
    """
    tally = Counter()

    def erase(store):
        time.sleep(random.random() / 100)
        receipt = store.erase_user("u1", random.choice((1, 2, 100)))
        erased.set()
        return receipt

    for n in range(rounds):
        erased, forks = threading.Event(), [] if n % 2 else None
        for one in IDS:
            stores[0].session(one, user_id="u1").append_all([NEW] * 2)
        with ExitStack() as stack:
            writer = stack.enter_context(stores[0].writer())
            changes = [
                partial(change, appending=one, erased=erased, forks=forks, tally=tally)
                for one in (writer, *stores[1:3])
            ]
            *stored, receipt = together(*changes, erase)
        failed = [one for one in (*stored, receipt) if isinstance(one, dal.DalError)]
        assert not failed
        sessions, messages = len(IDS) + len(forks or ()), 2 * len(IDS) + sum(stored)
        tally["wrong"] += receipt.sessions != sessions or receipt.forks != ()
        if forks is None:
            tally["wrong"] += receipt.messages + receipt.removed_messages != messages
        tally["wrong"] += left(connection) != ([("deleted", None)] * sessions, [(0, 0, 0)])
        tally["erased"] += receipt.messages
        tally["erased, removed before"] += receipt.removed_messages
        connection.execute("DELETE FROM sessions")
    calls = sum(tally[name] for name in CHANGES)
    figure(
        "race, erase × everything",
        f"{rounds:,} users of {len(IDS)} sessions, beside {calls:,} calls of {len(CHANGES)} kinds and "
        f"{tally['fork']:,} forks; {tally['erased']:,} messages and "
        f"{tally['erased, removed before']:,} removed ones erased; "
        f"{tally['wrong']} wrong",
    )
    assert tally["wrong"] == 0, tally
    assert all(tally[name] for name in (*CHANGES, "fork")), tally
