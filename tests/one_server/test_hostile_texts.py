"""Any value either round-trips exactly, or is refused with the name of its argument and nothing sent.

DAL_SEED=N repeats a run; --hypothesis-profile=thorough tries ten times as many values.
"""

import os
import random
import sys
from collections import Counter

import hostile_texts as hostile
import pytest
from hostile_texts import is_identifier, is_json, is_text, same
from hypothesis import settings
from sides import unwrap

import dal
from dal import NewMessage, validate
from dal.gate import wire

SEED = int(os.environ.get("DAL_SEED") or random.SystemRandom().randrange(10**9))
MANY = settings().max_examples * 20
"""Values for each argument and side: with both, 10,000 in CI."""
BATCH = 500


@pytest.fixture
def chance(side):
    return random.Random(f"{SEED} {side.name}")


@pytest.fixture
def raw(side, server, options, tables):
    # Faster; the values do not depend on the disk.
    connection = side.connect(
        server.conninfo, autocommit=True, options=f"{options['options']} -c synchronous_commit=off"
    )
    yield connection
    connection.close()


@pytest.fixture
def store(side, raw):
    store = side.store(raw)
    store.check_schema()
    return store


@pytest.fixture(scope="module")
def tried(figure):
    """Count stored and refused values, by argument."""
    stored, refused = Counter(), Counter()
    figure("odd input, DAL_SEED", str(SEED))
    yield stored, refused
    for argument in stored | refused:
        figure(
            f"odd input, {argument}",
            f"{stored[argument] + refused[argument]:,} values tried, {refused[argument]:,} refused with nothing sent",
        )


LARGEST = {
    # name: (the argument, its largest value, an addition that makes it too large)
    "ASCII": ("content", "x" * validate.MAX_CONTENT, "x"),
    "quotes": ("content", "'" * validate.MAX_CONTENT, "'"),
    "owls": ("content", "🦉" * (validate.MAX_CONTENT // 4), "x"),
    "metadata": ("metadata", {"a": "é" * ((validate.MAX_METADATA - 8) // 2)}, {"b": 1}),
    "digits": ("metadata", {"a": "9" * (validate.MAX_METADATA - 8)}, {"b": 1}),
    "tiny floats": ("metadata", {"a": [5e-324] * ((validate.MAX_METADATA - 7) // 7)}, {"b": "1234567890"}),
    "depth": (
        "metadata",
        {"a": hostile.nested(validate.MAX_DEPTH - 1)},
        {"b": hostile.nested(validate.MAX_DEPTH)},
    ),
    "number": ("metadata", {"a": -(10**validate.MAX_DIGITS) + 1}, {"a": -(10**validate.MAX_DIGITS)}),
}


@pytest.mark.parametrize("name", LARGEST)
def test_the_largest_value_is_stored_and_a_larger_one_refused(store, raw, name):
    argument, largest, more = LARGEST[name]
    session = store.session()
    given = {"content": "x", "metadata": None, argument: largest}
    assert session.append("user", **given) == session.latest(1)[0]
    larger = largest + more if isinstance(largest, str) else largest | more
    with wire.watch(unwrap(raw)) as watched, pytest.raises(dal.InvalidInput, match=rf"^{argument}: .*\d") as refused:
        session.append("user", **(given | {argument: larger}))
    assert watched.messages == []
    assert len(str(refused.value)) < 200


def test_too_many_digits_are_refused_without_pythons_own_limit(store):
    usual = sys.get_int_max_str_digits()
    sys.set_int_max_str_digits(0)
    try:
        with pytest.raises(dal.InvalidInput, match=f"metadata: .* {validate.MAX_DIGITS} digits"):
            store.session().append("user", "x", metadata={"a": [1, -(10**validate.MAX_DIGITS)]})
    finally:
        sys.set_int_max_str_digits(usual)


def test_limits_of_one_call(store, raw):
    session = store.session()
    half = validate.MAX_TOGETHER // 2
    fits = [NewMessage(role="u", content="x" * (half - 2)) for _ in range(2)]
    assert session.append_all(fits) == session.latest(2)
    many = [NewMessage(role="u", content="")] * (validate.MAX_MANY + 1)
    assert len(session.append_all(many[1:])) == validate.MAX_MANY
    ids = [str(n) for n in range(validate.MAX_MANY + 1)]
    assert len(store.agent_ids(ids[1:])) == validate.MAX_MANY
    with wire.watch(unwrap(raw)) as watched:
        for argument, attempt in (
            ("messages", lambda: session.append_all([*fits, NewMessage(role="u", content="x")])),
            ("messages", lambda: session.append_all([*fits, NewMessage(role="u", content="", metadata={"a": 1})])),
            ("messages", lambda: session.append_all(many)),
            ("session_ids", lambda: store.agent_ids(ids)),
        ):
            with pytest.raises(dal.InvalidInput, match=rf"^{argument}: .*is the most"):
                attempt()
    assert watched.messages == []


class Trial:
    """Tries values; assert that an unstorable one is refused by its argument's name, with nothing sent."""

    def __init__(self, raw, tried):
        self.raw = raw
        self.stored, self.refused = tried

    def is_good(self, operation, argument, value, attempt, is_storable):
        if is_storable(value):
            self.stored[f"{operation}({argument})"] += 1
            return True
        with wire.watch(unwrap(self.raw)) as watched, pytest.raises(dal.InvalidInput) as refusal:
            attempt(value)
        assert watched.messages == []
        assert refusal.value.argument == argument, repr(value)
        self.refused[f"{operation}({argument})"] += 1
        return False


@pytest.fixture
def trial(raw, tried):
    return Trial(raw, tried)


def test_random_messages(store, chance, trial):
    session = store.session("s")
    given_ids = set()

    def good(argument, make, is_storable, attempt):
        while True:
            value = make(chance)
            if argument == "message_id" and value in given_ids:
                continue
            if trial.is_good("append", argument, value, attempt, is_storable):
                return value

    def message():
        new = {
            "role": good("role", hostile.text, is_identifier, lambda v: session.append(v, "x")),
            "content": good("content", lambda c: hostile.text(c, 2000), is_text, lambda v: session.append("u", v)),
            "agent_id": good("agent_id", hostile.text, is_identifier, lambda v: session.append("u", "x", agent_id=v)),
            "metadata": good("metadata", hostile.metadata, is_json, lambda v: session.append("u", "x", metadata=v)),
            "message_id": good(
                "message_id", hostile.text, is_identifier, lambda v: session.append("u", "x", message_id=v)
            ),
        }
        given_ids.add(new["message_id"])
        return NewMessage(**new)

    for start in range(0, MANY, BATCH):
        new = [message() for _ in range(BATCH)]
        if start % (2 * BATCH):
            answered = session.append_all(new)
        else:  # A tenth of them by the other statement.
            answered = [
                session.append(
                    one.role, one.content, agent_id=one.agent_id, metadata=one.metadata, message_id=one.message_id
                )
                for one in new[: BATCH // 10]
            ] + list(session.append_all(new[BATCH // 10 :]))
        read = session.messages(after=start - 1, limit=BATCH + 1)
        assert len(read) == BATCH
        for one, answer, message_read in zip(new, answered, read, strict=True):
            assert (one.role, one.content, one.agent_id, one.message_id) == (
                message_read.role, message_read.content, message_read.agent_id, message_read.message_id
            )  # fmt: skip
            assert same(one.metadata, message_read.metadata), (one.metadata, message_read.metadata)
            assert answer == message_read
        # Appending them again returns the stored messages.
        assert session.append_all(new) == read
    by_id = random.Random(SEED).sample(sorted(given_ids), 200)
    assert [session.message(message_id).message_id for message_id in by_id] == by_id
    agents = dict.fromkeys(message.agent_id for message in session.messages(limit=MANY))
    assert session.agent_ids() == tuple(agents)
    session.archive()
    assert session.agent_ids() == session.record().agent_ids == tuple(agents)


def test_random_sessions(store, chance, trial):
    taken = set()

    def good(argument, make, is_storable, attempt):
        while True:
            value = make(chance)
            if (argument, value) not in taken and trial.is_good("session", argument, value, attempt, is_storable):
                return value

    given = []
    for _ in range(MANY):
        session_id = good("session_id", hostile.text, is_identifier, store.session)
        taken.add(("session_id", session_id))
        opening = {
            "source": good("source", hostile.text, is_identifier, lambda v: store.session(source=v)),
            "user_id": good("user_id", hostile.text, is_identifier, lambda v: store.session(user_id=v)),
            "parent_id": good("parent_id", hostile.text, is_identifier, lambda v: store.session(parent_id=v)),
        }
        metadata = good_metadata(chance, trial, "session", lambda v: store.session(metadata=v))
        store.session(session_id, metadata=metadata, **opening).append("user", "x")
        given.append((session_id, opening, metadata))
    page = store.sessions(limit=MANY + 1)
    assert [record.session_id for record in page] == [session_id for session_id, _, _ in reversed(given)]
    for record, (session_id, opening, metadata) in zip(page, reversed(given), strict=True):
        assert {name: getattr(record, name) for name in opening} == opening, session_id
        assert same(record.metadata, metadata)
    latest = {(opening["user_id"], opening["source"]): session_id for session_id, opening, _ in given}
    for (user_id, source), session_id in latest.items():
        assert store.sessions(user_id=user_id, source=source, limit=1).sessions[0].session_id == session_id
    for start in range(0, MANY, BATCH):
        ids = [session_id for session_id, _, _ in given[start : start + BATCH]]
        assert store.agent_ids(ids) == dict.fromkeys(ids, ())
    assert sum(len(store.delete_idle(page.sessions[0].created_at, 10_000)) for _ in range(2)) == MANY - 1


def test_random_metadata_updates_and_resets(store, chance, trial):
    for n in range(MANY):
        if n % 10 == 0:
            session, silent = store.session(), store.session()
            session.append("user", "x")
        metadata = good_metadata(chance, trial, "update_metadata", session.update_metadata)
        now = session.update_metadata(metadata).metadata
        assert same({key: now[key] for key in metadata}, metadata)
        metadata = good_metadata(chance, trial, "reset", lambda v, silent=silent: silent.reset(metadata=v))
        assert silent.reset(metadata=metadata).metadata == metadata


def good_metadata(chance, trial, operation, attempt):
    while True:
        value = hostile.metadata(chance)
        if trial.is_good(operation, "metadata", value, attempt, is_json):
            return value


def test_random_lookups(store, chance, trial):
    session = store.session("m")
    session.append("user", "x")
    moment = session.record().updated_at
    for _ in range(MANY):
        value = hostile.text(chance)
        if trial.is_good("message", "message_id", value, session.message, is_identifier):
            assert session.message(value) is None
        cursor = f"{moment.isoformat()}/{value}" if chance.random() < 0.9 else value

        def is_cursor(cursor, value=value):
            return cursor != value and is_identifier(value)

        if trial.is_good("sessions", "cursor", cursor, lambda v: store.sessions(cursor=v), is_cursor):
            assert len(store.sessions(cursor=cursor)) == (value > "m"), value
        trial.is_good("sessions", "user_id", value, lambda v: store.sessions(user_id=v, source="x"), is_identifier)
        trial.is_good("sessions", "source", value, lambda v: store.sessions(user_id="x", source=v), is_identifier)
        trial.is_good(
            "sessions", "status", value, lambda v: store.sessions(status=v), lambda v: v in dal.records.STATUSES
        )
    for _ in range(0, MANY, BATCH):
        ids = [hostile.text(chance) for _ in range(BATCH)]
        good = [
            value
            for value in ids
            if trial.is_good("agent_ids", "session_ids[0]", value, lambda v: store.agent_ids([v]), is_identifier)
        ]
        assert store.agent_ids(good) == dict.fromkeys(good, ())
