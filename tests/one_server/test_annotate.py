"""Changes of stored messages and of the session's metadata: annotate, redact, update_metadata."""

import threading
import time
from datetime import timedelta

import pytest
from faults.proxy import REPLY, Fault, Proxy

import dal


@pytest.fixture
def chat(store):
    """A session with a message, a removed one, and one that was removed and stored again."""
    chat = store.session("s", metadata={"a": 1, "b": 2})
    chat.append("user", "question", message_id="m0", metadata={"tokens": 7})
    chat.append("assistant", "first answer", message_id="m1", metadata={"tokens": 8}, agent_id="bot")
    chat.append("user", "thanks", message_id="m2")
    chat.remove_from(1)
    chat.append("assistant", "answer", message_id="m1", metadata={"tokens": 9})
    return chat


@pytest.fixture
def changes(connection):
    """Read what is recorded of the session's changes since the first removal."""

    def read():
        return connection.execute(
            "SELECT kind, revision, first_sequence, last_sequence, messages FROM changes "
            "WHERE session_id = 's' AND revision > 1 ORDER BY revision"
        ).fetchall()

    return read


CALLS = {
    "annotate": lambda chat: chat.annotate("m0", {"rating": 5}),
    "redact": lambda chat: chat.redact("m1", "[removed]"),
    "update_metadata": lambda chat: chat.update_metadata({"title": "x"}, remove=["a"]),
    "update_metadata without touch": lambda chat: chat.update_metadata({"title": "x"}, touch=False),
}
CHANGES = {"annotate": ("annotate", 2, 0, 0, 1), "redact": ("redact", 2, 1, 3, 2)}
"""The row of a change, if it is not one of the session's metadata."""


@pytest.fixture(params=CALLS)
def call(request):
    return request.param, CALLS[request.param]


def test_annotations_are_merged(chat):
    assert chat.annotate("m0", {"rating": 5, "tokens": 8}) == chat.message("m0")
    assert chat.message("m0").metadata == {"tokens": 8, "rating": 5}
    assert chat.annotate("m0", {"rating": None}).metadata == {"tokens": 8, "rating": None}
    assert chat.message("m1").metadata == {"tokens": 9}


def test_a_message_can_be_sent_again_after_it_was_annotated(chat):
    message = chat.append("user", "x", message_id="m3", metadata={"n": 1})
    chat.annotate("m3", {"rating": 5})
    assert chat.append("user", "x", message_id="m3", metadata={"n": 1}).sequence == message.sequence
    again = dal.NewMessage(role="user", content="x", message_id="m3", metadata={"n": 1})
    assert chat.append_all([again])[0].sequence == message.sequence
    with pytest.raises(dal.MessageConflict):
        chat.append("user", "x", message_id="m3", metadata={"n": 2})


def test_a_redacted_message_leaves_no_trace(chat, connection):
    message = chat.redact("m1")
    assert message == chat.message("m1")
    assert (message.content, message.metadata, message.sequence, message.agent_id) == ("", {}, 3, None)
    kept = connection.execute("SELECT message_id, content, metadata FROM removed_messages ORDER BY sequence").fetchall()
    assert kept == [("m1", "", {}), ("m2", "thanks", {})]
    assert chat.message("m0").content == "question"
    for conflicting in ("answer", "first answer"):
        with pytest.raises(dal.MessageConflict):
            chat.append("assistant", conflicting, message_id="m1", metadata={"tokens": 9})


def test_a_removed_message_can_be_redacted(chat, connection):
    message = chat.redact("m2", "[removed]")
    assert (message.sequence, message.content) == (2, "[removed]")
    assert connection.execute("SELECT content FROM removed_messages WHERE message_id = 'm2'").fetchall() == [
        ("[removed]",)
    ]
    assert chat.message("m2") is None


def test_a_redaction_replaces_what_the_store_sanitizes(side, store, server, schema, chat):
    with pytest.raises(dal.InvalidInput, match="content: holds a NUL"):
        chat.redact("m0", "\0")
    with side.connect_store(server.conninfo, schema=schema, sanitize="replace") as other:
        assert other.session("s").redact("m0", "\0").content == "\ufffd"


def test_metadata_is_removed_and_merged(chat):
    record = chat.update_metadata({"b": 3, "c": 4}, remove=["a", "b", "none"])
    assert record == chat.record()
    assert record.metadata == {"b": 3, "c": 4}, "a given key stays, even if it is also removed"
    assert chat.update_metadata({}, remove=("c",)).metadata == {"b": 3}


def test_numbers_that_jsonb_holds_for_equal_are_different(chat):
    assert repr(chat.update_metadata({"a": 1.0}).metadata["a"]) == "1.0"
    chat.annotate("m0", {"tokens": 7.0})
    assert repr(chat.message("m0").metadata["tokens"]) == "7.0"


def test_each_change_is_counted_and_recorded_once(chat, call, changes):
    name, operation = call
    for _ in range(3):
        operation(chat)
        assert chat.record().revision == 2, "the first change is the removal"
        assert changes() == [CHANGES.get(name, ("metadata", 2, None, None, 0))]


def test_only_a_touch_moves_the_session(chat, call, connection):
    name, operation = call
    connection.execute(
        "UPDATE sessions SET updated_at = now() - interval '1 day', listed_at = now() - interval '1 day'"
    )
    before = chat.record().updated_at
    operation(chat)
    moved = chat.record().updated_at - before > timedelta(hours=23)
    (listed,) = connection.execute("SELECT listed_at > now() - interval '1 hour' FROM sessions").fetchone()
    assert (moved, listed) == ((True, True) if name == "update_metadata" else (False, False))


def test_archived_sessions_can_be_changed_and_deleted_ones_not(chat, call, connection):
    _, operation = call
    chat.archive()
    operation(chat)
    connection.execute(
        "DELETE FROM messages; DELETE FROM removed_messages; UPDATE sessions SET status = 'deleted', archived_at = NULL"
    )
    with pytest.raises(dal.SessionDeleted):
        operation(chat)


def test_of_trashed_sessions_only_messages_can_be_redacted(chat, call, connection, changes):
    name, operation = call
    connection.execute("UPDATE sessions SET status = 'trashed', trashed_from = 'active'")
    if name == "redact":
        assert operation(chat).content == "[removed]"
        return
    with pytest.raises(dal.SessionTrashed, match="it is in the trash"):
        operation(chat)
    assert changes() == []


def test_a_message_that_is_not_stored_is_not_found(chat, store):
    for change in (lambda one: one.annotate("m9", {}), lambda one: one.redact("m9")):
        with pytest.raises(dal.MessageNotFound, match="session 's' has no message 'm9'"):
            change(chat)
        with pytest.raises(dal.SessionNotFound):
            change(store.session("none"))
    with pytest.raises(dal.MessageNotFound):
        chat.annotate("m2", {"rating": 5})


def test_a_change_is_made_once_after_a_lost_reply(side, server, schema, chat, call, changes):  # noqa: PLR0917 - fixtures
    _, operation = call
    with Proxy(server.conninfo) as proxy, side.connect_store(proxy.conninfo, schema=schema, max_size=1) as store:
        store.session("s").record()
        lost = proxy.arm(Fault("cut", REPLY, message=0))
        changed = operation(store.session("s"))
        assert lost.fired.is_set()
    assert changed in {chat.record(), chat.message("m0"), chat.message("m1")}
    assert len(changes()) == 1


def test_a_repeated_statement_does_not_undo_later_changes(chat, connection, form):
    """The reply was lost; before the repetition, somebody else changed the same."""
    given = {"session_id": "s", "change_id": "c1"}
    message = given | {"message_id": "m0"}
    statements = [
        (form(dal.queries.sessions.update_metadata), given | {"metadata": '{"a": 8}', "remove": [], "touch": True}),
        (form(dal.queries.messages.annotate), message | {"metadata": '{"tokens": 8}', "change_id": "c2"}),
        (form(dal.queries.messages.redact), message | {"content": "x", "change_id": "c3"}),
    ]
    others = [
        lambda: chat.update_metadata({"a": 9}),
        lambda: chat.annotate("m0", {"tokens": 9}),
        lambda: chat.redact("m0", "y"),
    ]
    for (query, parameters), other in zip(statements, others, strict=True):
        query(connection, **parameters)
        changed, revision = other(), chat.record().revision
        assert query(connection, **parameters) == changed
        assert chat.record().revision == revision


def test_each_change_deletes_old_rows_of_its_session(chat, call, connection):
    for n in range(5):
        chat.update_metadata({"n": n})
    connection.execute("UPDATE changes SET changed_at = now() - interval '61 minutes'")
    left = []
    for n in range(4):
        chat.update_metadata({"n": -n - 1})
        left.append(connection.execute("SELECT count(*) FROM changes").fetchone()[0])
    assert left == [5, 4, 3, 4]


@pytest.fixture
def meanwhile(connect):
    """Make changes that another transaction commits while a call waits for its lock."""

    def meanwhile(change, call):
        other = connect(autocommit=False)
        change(dal.SessionStore(other).session("s"))
        committing = threading.Thread(target=lambda: (time.sleep(0.3), other.commit()))
        committing.start()
        try:
            return call()
        finally:
            committing.join()

    return meanwhile


def test_concurrent_changes_are_all_kept(chat, meanwhile):
    annotated = meanwhile(lambda one: one.annotate("m0", {"a": 1}), lambda: chat.annotate("m0", {"b": 2}))
    assert annotated.metadata == {"tokens": 7, "a": 1, "b": 2}
    record = meanwhile(lambda one: one.update_metadata({"c": 1}), lambda: chat.update_metadata({"d": 2}, remove=["a"]))
    assert record.metadata == {"b": 2, "c": 1, "d": 2}
    same = meanwhile(lambda one: one.update_metadata({"e": 1}), lambda: chat.update_metadata({"e": 1}))
    assert (same.metadata["e"], same.revision) == (1, record.revision + 1)


def test_a_message_that_is_removed_meanwhile_is_redacted_where_it_is_kept(chat, meanwhile, connection):
    """The first statement's snapshot shows it where it was."""
    message = meanwhile(lambda one: one.remove_from(3), lambda: chat.redact("m1", "x"))
    assert (message.sequence, message.content) == (3, "x")
    kept = connection.execute("SELECT content FROM removed_messages WHERE message_id = 'm1'").fetchall()
    assert kept == [("x",), ("x",)]


def test_a_message_that_is_removed_meanwhile_is_not_annotated(chat, meanwhile):
    with pytest.raises(dal.MessageNotFound):
        meanwhile(lambda one: one.remove_from(3), lambda: chat.annotate("m1", {"rating": 5}))


def test_a_session_that_is_archived_meanwhile_is_annotated(chat, meanwhile):
    assert meanwhile(lambda one: one.archive(), lambda: chat.annotate("m0", {"a": 1})).metadata["a"] == 1
