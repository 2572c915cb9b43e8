"""Random interleavings of all methods agree with the model: both sides, pools, connections and transactions.

uv run pytest tests/one_server/test_model.py --hypothesis-profile=thorough runs more examples.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import psycopg
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)
from model import Handle, Model
from model_scopes import (
    LOCK_TIMEOUT,
    CommittedRows,
    Opened,
    Rollback,
    Scope,
    comparable,
    outcome,
    with_id,
    with_lock_timeout,
)
from sides import AsyncSide, SyncSide, unwrap
from test_round_trips import WHOLE_HISTORIES, public

import dal

IDS = st.sampled_from(["s0", "s1", "it's 50% :x"])
SOURCES = st.sampled_from([None, "telegram", "web"])
USERS = st.sampled_from([None, "u1", "u2"])
MESSAGE_IDS = st.sampled_from([f"m{n}" for n in range(6)])
LIMITS, NUMBERS = st.integers(0, 5), st.integers(0, 12)
TEXTS = st.sampled_from(["", "x", "y", "a\0b"]) | st.text(max_size=10)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.sampled_from([0.5, 1e23, -1.5e-9, "", "x"]),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from("ab"), inner, max_size=2),
    max_leaves=4,
)
METADATA = st.dictionaries(st.sampled_from(["a", "b", "é"]), VALUES, max_size=2)
NEW = st.builds(
    dal.NewMessage,
    role=st.sampled_from(["user", "assistant"]),
    content=TEXTS,
    agent_id=st.sampled_from([None, "a", "b", "C"]),
    metadata=st.none() | METADATA,
    message_id=st.none() | MESSAGE_IDS,
)
STATUS = st.sampled_from(dal.records.STATUSES)
STATUSES = st.none() | STATUS | st.lists(STATUS, min_size=1, max_size=3).map(tuple)

READS = st.one_of(
    st.tuples(st.just("latest"), st.tuples(LIMITS), st.just({})),
    st.tuples(st.just("messages"), st.just(()), st.fixed_dictionaries({"limit": LIMITS})),
    st.tuples(st.just("messages"), st.just(()), st.fixed_dictionaries({"limit": LIMITS, "after": NUMBERS})),
    st.tuples(st.just("messages"), st.just(()), st.fixed_dictionaries({"limit": LIMITS, "before": NUMBERS})),
    st.tuples(st.just("message"), st.tuples(MESSAGE_IDS), st.just({})),
    st.tuples(st.just("open"), st.tuples(LIMITS), st.just({})),
    st.tuples(st.just("record"), st.just(()), st.just({})),
    st.tuples(st.just("removed"), st.just(()), st.fixed_dictionaries({"limit": LIMITS})),
    st.tuples(st.just("removed"), st.just(()), st.fixed_dictionaries({"limit": LIMITS, "before": NUMBERS})),
)
KEYS = st.lists(st.sampled_from(["a", "b", "é"]), max_size=2)
NEXT = st.none() | NUMBERS
"""The condition if_next."""
NOTHING = {"if_next": None, "session_metadata": None}
ASKED = st.fixed_dictionaries({"if_next": NEXT, "session_metadata": st.none() | METADATA}) | st.just(NOTHING)
"""The conditions of an append, and its changes to the session."""
SCOPES = st.sampled_from(range(4))
CHANGES = st.sampled_from(
    [
        ("pause", (), {}),
        ("archive", (), {}),
        ("trash", (), {}),
        ("restore", (), {}),
        ("delete", (), {}),
        ("remove_from", (1,), {}),
        ("remove_last", (1,), {}),
        ("update_metadata", ({"a": 7},), {}),
        ("annotate", ("m0", {"a": 7}), {}),
        ("redact", ("m0", "z"), {}),
    ]
)
METHODS = ["pause", "resume", "archive", "trash", "restore", "delete"]
POOLED, SINGLE = (0, 2), (1, 3)


class Machine(RuleBasedStateMachine):
    """The rules: each calls one method on the server and on the model, and compares the results."""

    handles = Bundle("handles")

    def __init__(self, stores, rows_reader, counted, calls):
        super().__init__()
        self.rows_reader = rows_reader
        self.counted = counted
        self.model = Model()
        self.stores = stores
        self.scopes = [Scope(side, store, self.model, calls) for side, store, _ in stores]
        self.opened = []
        self.inside = None
        self.cursors = {}
        self.reconnected = False
        counted["examples"] += 1
        rows_reader.delete_all()

    def teardown(self):
        if self.inside:
            self.end_transaction(commit=False)

    # Handles

    @initialize(target=handles, scope=SCOPES, new=st.lists(NEW, max_size=4))
    def begin(self, scope, new):
        handle = self._opened(self.scopes[scope].open("s0", user_id="u1"))
        self.append_all(handle, False, new)
        return handle

    @rule(target=handles, scope=SCOPES, session_id=IDS | st.just(None), source=SOURCES, user_id=USERS,
          parent_id=st.none() | IDS, metadata=st.none() | METADATA)  # fmt: skip
    def session(self, scope, session_id, **opening):
        return self._opened(self.scopes[scope].open(session_id, **opening))

    @rule(target=handles, handle=handles, metadata=st.none() | METADATA)
    def reset(self, handle, metadata):
        # Not within the transaction: the new session object would end with it.
        if self._is_held(handle):
            return multiple()
        real, refusal = outcome(lambda: handle.scope.call(handle.real, "reset", metadata=metadata))
        model, expected = outcome(lambda: handle.scope.model.reset(handle.model, metadata))
        assert refusal == expected
        if refusal:
            return multiple()
        model.id = real.id
        return self._opened(Opened(handle.scope, real, model))

    @precondition(lambda self: not self.inside)  # As a reset; and it locks the parent in a way that few others notice.
    @rule(target=handles, handle=handles, at=st.none() | NUMBERS, session_id=st.none() | IDS | st.just("fork"),
          metadata=st.none() | METADATA)  # fmt: skip
    def fork(self, handle, at, session_id, metadata):
        model, options = handle.scope.model, {"session_id": session_id, "metadata": metadata}
        real, error = outcome(lambda: handle.scope.call(handle.real, "fork", at, **options))
        options["session_id"] = real.id if real else session_id
        expected, refusal = outcome(lambda: model.fork(handle.model, at, **options))
        assert error == refusal
        return multiple() if error else self._opened(Opened(handle.scope, real, expected))

    # Writing

    @rule(handle=handles, inside=st.booleans(), new=NEW, asked=ASKED)
    def append(self, handle, inside, new, asked=NOTHING):
        handle = self._in(handle, inside, writes=True)
        options = {"agent_id": new.agent_id, "metadata": new.metadata, "message_id": new.message_id}
        self._same(handle, "append", new.role, new.content, **options, **asked,
                   expect=lambda model, result: model.append(handle.model, with_id(new, result), **asked))  # fmt: skip

    @rule(handle=handles, inside=st.booleans(), new=st.lists(NEW, max_size=4), asked=ASKED)
    def append_all(self, handle, inside, new, asked=NOTHING):
        def expect(model, result):
            ided = [with_id(one, result and result[n], n) for n, one in enumerate(new)]
            return model.append_all(handle.model, ided, **asked)

        handle = self._in(handle, inside, writes=True)
        self._same(handle, "append_all", new, expect=expect, **asked)

    @rule(scope=SCOPES, inside=st.booleans(), new=st.lists(st.tuples(IDS, NEW), max_size=6), user_id=USERS)
    def append_to_many(self, scope, inside, new, user_id):
        """Some sessions may refuse their messages, without an effect on the others."""
        held = {session_id for session_id, _ in new} & self.inside.model.locked if self.inside else ()
        scope = self.inside if held else self._at(scope, inside)
        handles = {session_id: scope.open(session_id, user_id=user_id) for session_id, _ in new}
        step = self.counted["steps"]
        new = [
            (session_id, one if one.message_id else replace(one, message_id=f"of step {step}, {n}"))
            for n, (session_id, one) in enumerate(new)
        ]
        try:
            result = scope.call_store(
                "append_all", [(unwrap(handles[session_id].real), one) for session_id, one in new]
            )
        except dal.PartlyRefused as error:
            result = [one if isinstance(one, dal.Message) else type(one) for one in error.outcomes]
        except dal.InvalidInput as error:
            result = type(error)
        expected, refusal = outcome(
            lambda: scope.model.append_to_many([(handles[session_id].model, one) for session_id, one in new])
        )
        assert comparable(result) == comparable(refusal or tuple(expected))

    @rule(handle=handles, inside=st.booleans(), sequence=NUMBERS, if_next=NEXT, keep=st.booleans())
    def remove_from(self, handle, inside, sequence, *, if_next=None, keep=True):
        self._same(self._in(handle, inside, writes=True), "remove_from", sequence, if_next=if_next, keep=keep)

    @rule(handle=handles, inside=st.booleans(), n=st.integers(1, 4), if_next=NEXT, keep=st.booleans())
    def remove_last(self, handle, inside, n, *, if_next=None, keep=True):
        self._same(self._in(handle, inside, writes=True), "remove_last", n, if_next=if_next, keep=keep)

    @rule(handle=handles, inside=st.booleans(), sequence=NUMBERS, new=st.lists(NEW, max_size=3), if_next=NEXT,
          keep=st.booleans())  # fmt: skip
    def replace_from(self, handle, inside, sequence, new, *, if_next=None, keep=True):
        def expect(model, result):
            ided = [with_id(one, result and result[n], n) for n, one in enumerate(new)]
            return model.replace_from(handle.model, sequence, ided, if_next=if_next, keep=keep)

        handle = self._in(handle, inside, writes=True)
        self._same(handle, "replace_from", sequence, new, if_next=if_next, keep=keep, expect=expect)

    @rule(handle=handles, inside=st.booleans(), method=st.sampled_from(METHODS))
    def change(self, handle, inside, method):
        self._same(self._in(handle, inside, writes=True), method)

    @rule(handle=handles, inside=st.booleans(), metadata=METADATA, remove=KEYS, touch=st.booleans())
    def update_metadata(self, handle, inside, metadata, *, remove=(), touch=True):
        self._same(self._in(handle, inside, writes=True), "update_metadata", metadata, remove=remove, touch=touch)

    @rule(handle=handles, inside=st.booleans(), message_id=MESSAGE_IDS, metadata=METADATA)
    def annotate(self, handle, inside, message_id, metadata):
        self._same(self._in(handle, inside, writes=True), "annotate", message_id, metadata)

    @rule(handle=handles, inside=st.booleans(), message_id=MESSAGE_IDS, content=st.sampled_from(["", "x", "z"]))
    def redact(self, handle, inside, message_id, content):
        self._same(self._in(handle, inside, writes=True), "redact", message_id, content)

    @rule(scope=SCOPES, inside=st.booleans(), limit=st.integers(1, 3), nth=st.integers(0, 5))
    def delete_idle(self, scope, inside, limit, nth):
        scope = self._at(scope, inside)
        known = sorted(stored.updated_at for stored in scope.model.all())
        before = [datetime(2000, 1, 1, tzinfo=UTC), *known][nth % (len(known) + 1)]
        deleted = scope.call_store("delete_idle", before + timedelta(microseconds=1), limit)
        assert sorted(deleted) == sorted(scope.model.delete_idle(before + timedelta(microseconds=1), limit, deleted))

    @rule(scope=SCOPES, inside=st.booleans())
    def empty_trash(self, scope, inside):
        scope = self._at(scope, inside)
        tomorrow = datetime.now(UTC) + timedelta(days=1)
        assert sorted(scope.call_store("delete_idle", tomorrow, status="trashed")) == sorted(scope.model.empty_trash())

    @rule(scope=SCOPES, inside=st.booleans(), user=st.sampled_from(["u1", "u2"]), limit=st.integers(1, 3))
    def erase_user(self, scope, inside, user, limit):
        # Inside, a session may be deleted, which leaves it no user; outside, it is still the user's.
        views = (self.inside.model.sessions, self.model.sessions) if self.inside else ()
        held = any(
            stored and stored.user_id == user and session_id in self.inside.model.locked
            for sessions in views
            for session_id, stored in sessions.items()
        )
        scope = self.inside if held else self._at(scope, inside)
        receipt = scope.call_store("erase_user", user, limit)
        assert (receipt.sessions, receipt.messages) == scope.model.erase_user(user)

    @rule(handle=handles, inside=st.booleans(), again=st.booleans())
    def create(self, handle, inside, again):
        self._same(self._in(handle, inside, writes=True), "create", again=again)

    @rule(scope=SCOPES, inside=st.booleans())
    def purge(self, scope, inside):
        """Nothing is old enough."""
        scope = self._at(scope, inside)
        assert scope.call_store("purge", datetime(2000, 1, 1, tzinfo=UTC)) == dal.Purged(0, 0)

    # Reading

    @rule(handle=handles, inside=st.booleans(), read=READS)
    def read(self, handle, inside, read):
        method, args, options = read
        self._same(self._in(handle, inside), method, *args, **options)

    @rule(handle=handles, inside=st.booleans())
    def changes(self, handle, inside):
        handle = self._in(handle, inside)
        listed = handle.scope.call(handle.real, "changes", limit=1000)
        of_messages = [one for one in listed if one.kind in {"remove", "replace"}]
        found = tuple((one.kind, one.first_sequence, one.last_sequence, one.messages) for one in of_messages)
        assert found == handle.scope.model.removals(handle.model)
        assert all(later.revision == one.revision + 1 for one, later in pairwise(listed))

    @rule(handle=handles, inside=st.booleans())
    def agents_of_one(self, handle, inside):
        handle = self._in(handle, inside)
        self._same(handle, "agent_ids", expect=lambda model, _: model.agent_ids([handle.model.id])[handle.model.id])

    @rule(scope=SCOPES, inside=st.booleans(), ids=st.lists(IDS, max_size=5))
    def agents_of_many(self, scope, inside, ids):
        scope = self._at(scope, inside)
        assert scope.call_store("agent_ids", ids) == scope.model.agent_ids(ids)

    @rule(scope=SCOPES, inside=st.booleans(), user_id=USERS.filter(bool))
    def count_sessions(self, scope, inside, user_id):
        scope = self._at(scope, inside)
        assert scope.call_store("count_sessions", user_id=user_id) == scope.model.count_sessions(user_id)

    @rule(scope=SCOPES, inside=st.booleans(), user_id=USERS, source=SOURCES, parent_id=st.none() | IDS, status=STATUSES,
          limit=st.integers(1, 4), follow=st.booleans())  # fmt: skip
    def sessions(self, scope, inside, limit, follow, **wanted):
        if wanted["parent_id"] is not None:
            wanted["source"] = None
        scope = self._at(scope, inside)
        if wanted["status"] == "trashed":  # The model does not know when a session was trashed.
            limit, follow = 100, False
        key = tuple(wanted.values())
        cursor = self.cursors.get(key) if follow else None
        page = scope.call_store("sessions", limit=limit, cursor=cursor, **wanted)
        wanted = {name: value for name, value in wanted.items() if value is not None}
        if isinstance(wanted.get("status"), str):
            wanted["status"] = (wanted["status"],)
        rows, more = scope.model.sessions_page(wanted, limit, cursor)
        if wanted.get("status") == "trashed":
            assert sorted(map(comparable, page.sessions)) == sorted(map(comparable, rows))
        else:
            assert comparable(page.sessions) == comparable(rows)
        assert (page.cursor is not None) == more
        self.cursors[key] = page.cursor

    # As a user

    @rule(handle=handles, inside=st.booleans(), user=st.sampled_from(["u1", "stranger"]), call=READS | CHANGES)
    def confined(self, handle, inside, user, call):
        """Call a confined store: another user's session behaves as if it were not stored."""
        method, args, options = call
        handle = self._in(handle, inside, writes=True)
        stored = handle.scope.model.sessions.get(handle.model.id)
        seen = handle.model.id if stored and stored.user_id == user else "not stored"
        mine = handle.scope.call_store("for_user", user).session(handle.model.id)
        model = Handle(seen, source=None, user_id=user, parent_id=None, metadata={}, may_be_stored=True)
        self._same(Opened(handle.scope, mine, model), method, *args, **options)

    # Transactions

    @precondition(lambda self: not self.inside)
    @rule(scope=SCOPES, own=st.booleans())
    def begin_transaction(self, scope, own):
        outer = self.scopes[scope]
        if own:
            connection = outer.side.connect(
                self.rows_reader.conninfo, **(self.rows_reader.options | {"autocommit": False})
            )
            store = outer.call_store("using", connection)
        else:
            connection = outer.call_store("transaction")
            store = connection.__enter__()
        self.inside = Scope(outer.side, store, self.model.transaction(), outer.calls)
        self.opened_inside = {}
        self.outer, self.ending = outer, connection
        self.is_block = not own
        if self.is_block and scope in SINGLE:
            outer.model = self.inside.model  # Every statement on that connection is part of its transaction.

    @precondition(lambda self: self.inside)
    @rule(commit=st.booleans())
    def end_transaction(self, commit):
        if self.is_block:
            failed = () if commit else (Rollback, Rollback())
            assert not self.ending.__exit__(*(failed or (None, None)), None)
            with pytest.raises(dal.StoreClosed):
                self.inside.open("s0").real.append("user", "too late")
        else:
            self.ending.commit() if commit else self.ending.rollback()
            self.ending.close()
        self.model.end(self.inside.model, commit=commit)
        self.outer.model, self.inside = self.model, None

    # The store

    @precondition(lambda self: not self.inside)  # apply_schema waits for open transactions.
    @rule(scope=SCOPES, method=st.sampled_from(["apply_schema", "check_schema"]))
    def schema(self, scope, method):
        self.scopes[scope].call_store(method)

    @precondition(lambda self: not self.inside and not self.reconnected)
    @rule(scope=st.sampled_from(POOLED))
    def reconnect(self, scope):
        store_entry, scope = self.stores[scope], self.scopes[scope]
        self.reconnected = True
        old = scope.open("s0").real
        scope.call_store("close")
        scope.store = store_entry[1] = store_entry[2]()
        for method in ("connect", "writer"):
            scope.calls[f"{type(unwrap(scope.store)).__name__}.{method}"] += 1
        with pytest.raises(dal.StoreClosed):
            old.append("user", "too late")
        for handle in self.opened:
            if handle.scope is scope:
                model = handle.model
                opening = {name: getattr(model, name) for name in ("source", "user_id", "parent_id", "metadata")}
                again = scope.open(model.id, **opening)
                handle.real, handle.model = again.real, again.model

    # Invariants

    @invariant()
    def rows_agree(self):
        self.counted["steps"] += 1
        rows = self.rows_reader.rows()
        assert rows.keys() == {stored.session_id for stored in self.model.all()}
        self._compare(self.model, rows)
        if self.inside:
            written = {session_id for session_id, stored in self.inside.model.sessions.maps[0].items() if stored}
            rows = {}
            for session_id in written:
                session = self.inside.store.session(session_id)
                rows[session_id] = session.record(), session.messages(limit=1000)
            self._compare(self.inside.model, rows)

    @invariant()
    def handles_agree(self):
        for handle in (*self.opened, *(self.opened_inside.values() if self.inside else ())):
            model = handle.model
            assert (handle.real.id, handle.real.persisted) == (model.id, model.persisted)
            assert (handle.real.source, handle.real.user_id) == (model.source, model.user_id)
            assert (handle.real.parent_id, handle.real.metadata) == (model.parent_id, model.metadata)

    def _compare(self, model, rows):
        for session_id, (record, messages) in rows.items():
            stored = model.sessions[session_id]
            assert comparable(record) == comparable(stored)
            assert comparable(messages) == comparable(stored.lines)
            assert record.agent_ids in {None, stored.agents()}
            assert (record.archived_at is not None) == stored.is_archived()
            times = [message.created_at for message in messages]
            assert times == sorted(times)
            model.settle(session_id, record.updated_at)

    def _opened(self, handle):
        self.opened.append(handle)
        return handle

    def _is_held(self, handle):
        """Return whether the transaction has locked the session's row."""
        if self.inside is None or handle.scope.model is self.inside.model:
            return False
        return handle.model.id in self.inside.model.locked

    def _at(self, scope, inside):
        return self.inside if self.inside and inside else self.scopes[scope]

    def _in(self, handle, inside, *, writes=False):
        """Return the handle, or one in the transaction if `inside`, or if it would wait for the transaction."""
        if self.inside and (inside or (writes and self._is_held(handle))):
            session_id = handle.model.id
            if session_id not in self.opened_inside:
                self.opened_inside[session_id] = self.inside.open(session_id, user_id="within")
            return self.opened_inside[session_id]
        return handle

    def _same(self, handle, method, *args, expect=None, **options):
        """Run a verb, and its model; both return the same, or are refused with the same error."""
        model = handle.scope.model
        result, error = outcome(lambda: handle.scope.call(handle.real, method, *args, **options))
        expected, refusal = outcome(
            lambda: expect(model, result) if expect else getattr(model, method)(handle.model, *args, **options)
        )
        assert error == refusal, (method, result)
        assert comparable(result) == comparable(expected)
        self.counted["refused"] += error is not None


@pytest.fixture
def stores(server, schema, options, tables):
    """For each side a pool's writer and a store on a connection, as [side, store, factory]."""
    sides = [SyncSide(), AsyncSide()]
    conninfo = psycopg.conninfo.make_conninfo(server.conninfo, options=LOCK_TIMEOUT)
    stores, pools, connections = [], [], []
    for side in sides:
        connections.append(side.connect(conninfo, **with_lock_timeout(options)))
        pools.append(side.connect_store(conninfo, schema=schema, max_size=2))
        makes = (pools[-1].writer, lambda side=side, connection=connections[-1]: side.store(connection))
        stores += [[side, make(), make] for make in makes]
    yield stores
    for store in (*(store for _, store, _ in stores), *pools):
        store.close()
    for connection in connections:
        connection.close()
    for side in sides:
        side.close()


def test_every_method_is_in_the_machine(stores, server, options):
    """Call every rule in every scope, without chance."""
    calls = Counter()
    new = dal.NewMessage(role="user", content="x", agent_id="a", message_id="m0")
    with CommittedRows(server.conninfo, with_lock_timeout(options)) as rows_reader:
        machine = Machine(stores, rows_reader, Counter(), calls)

        def run(rule, *args, **options):
            result = getattr(machine, rule)(*args, **options)
            machine.handles_agree()
            machine.rows_agree()
            return result

        for scope in range(4):
            handle = run("session", scope, f"s {scope}", source="web", user_id="u1", parent_id=None, metadata={"a": 1})
            run("append", handle, False, new)
            run("append_all", handle, False, [new, dal.NewMessage(role="user", content="y")])
            reads = (
                ("open", (1,), {}),
                ("latest", (1,), {}),
                ("messages", (), {"after": 0}),
                ("message", ("m0",), {}),
                ("record", (), {}),
                ("removed", (), {"limit": 5}),
            )
            for read in reads:
                run("read", handle, False, read)
            for commit in (True, False):
                run("begin_transaction", scope, own=commit)
                run("update_metadata", handle, True, {"b": commit})
                run("end_transaction", commit)
            run("agents_of_many", scope, False, ["s0", "s1"])
            run("sessions", scope, False, 3, False, user_id="u1", source=None, parent_id=None, status=None)
            run("count_sessions", scope, False, "u1")
            for session_id in (None, "fork", "fork"):
                run("fork", handle, 1, session_id, {"title": "x"})
            for method in ("apply_schema", "check_schema"):
                run("schema", scope, method)
            run("append_to_many", scope, False, [("s0", new)], None)
            run("annotate", handle, False, "m0", {"a": 1})
            run("redact", handle, False, "m0", "z")
            run("replace_from", handle, False, 1, [dal.NewMessage(role="user", content="z")])
            run("remove_last", handle, False, 1)
            run("remove_from", handle, False, 1)
            run("changes", handle, False)
            for method in ("pause", "resume", "trash", "restore", "archive"):
                run("change", handle, False, method)
            for user in ("u1", "stranger"):
                run("confined", handle, False, user, ("record", (), {}))
            run("agents_of_one", handle, False)
            run("reset", handle, None)
            run("change", handle, False, "delete")
            run("create", handle, False, True)
            run("delete_idle", scope, False, 1, 0)
            run("empty_trash", scope, False)
            run("erase_user", scope, False, "u1", 1)
            run("purge", scope, False)
            if scope in POOLED:
                run("reconnect", scope)
    kinds = dal.Session, dal.AsyncSession, dal.SessionStore, dal.AsyncSessionStore
    # Whole histories need their own transaction; test_histories.py tests them. `connection` is for the caller's SQL,
    # and `on_primary` for stores with a standby, which test_standby.py tests.
    left_out = WHOLE_HISTORIES | {"connection", "on_primary"}
    assert calls.keys() == {f"{kind.__name__}.{method}" for kind in kinds for method in public(kind) - left_out}


@pytest.mark.time_limit(900)  # A cluster takes many times as long as one server.
def test_random_interleavings_agree_with_the_model(stores, server, options, figure):
    counted, calls = Counter(), Counter()
    with CommittedRows(server.conninfo, with_lock_timeout(options)) as rows_reader:
        run_state_machine_as_test(lambda: Machine(stores, rows_reader, counted, calls))
    figure(
        "model, random interleavings of all methods",
        f"{counted['examples']:,} examples, {counted['steps']:,} steps, {calls.total():,} calls, "
        f"{counted['refused']:,} refused as expected",
    )
