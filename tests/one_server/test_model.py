"""Any interleaving of the verbs does what the model says: on both sides, on pools, connections and in transactions.

uv run pytest tests/one_server/test_model.py --hypothesis-profile=thorough goes far.
"""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

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
from places import IMPATIENT, Look, Opened, Place, Rollback, impatient, named, outcome, plain
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
STATUSES = st.sampled_from([None, *dal.records.STATUSES])

READS = st.one_of(
    st.tuples(st.just("latest"), st.tuples(LIMITS), st.just({})),
    st.tuples(st.just("messages"), st.just(()), st.fixed_dictionaries({"limit": LIMITS})),
    st.tuples(st.just("messages"), st.just(()), st.fixed_dictionaries({"limit": LIMITS, "after": NUMBERS})),
    st.tuples(st.just("messages"), st.just(()), st.fixed_dictionaries({"limit": LIMITS, "before": NUMBERS})),
    st.tuples(st.just("message"), st.tuples(MESSAGE_IDS), st.just({})),
    st.tuples(st.just("open"), st.tuples(LIMITS), st.just({})),
    st.tuples(st.just("record"), st.just(()), st.just({})),
)
PLACES = st.sampled_from(range(4))
CHANGES = st.sampled_from(
    [
        ("pause", (), {}),
        ("archive", (), {}),
        ("delete", (), {}),
        ("remove_from", (1,), {}),
        ("update_metadata", ({"a": 7},), {}),
    ]
)
POOLED, SINGLE = (0, 2), (1, 3)


class Machine(RuleBasedStateMachine):
    """The rules. Each runs one verb on the server and on the model, and compares."""

    handles = Bundle("handles")

    def __init__(self, doors, look, counted, calls):
        super().__init__()
        self.look = look
        self.counted = counted
        self.model = Model()
        self.doors = doors
        self.places = [Place(side, store, self.model, calls) for side, store, _ in doors]
        self.opened = []
        self.inside = None
        self.cursors = {}
        self.reconnected = False
        counted["examples"] += 1
        look.empty()

    def teardown(self):
        if self.inside:
            self.end_transaction(commit=False)

    # Handles

    @initialize(target=handles, place=PLACES, new=st.lists(NEW, max_size=4))
    def begin(self, place, new):
        handle = self._opened(self.places[place].open("s0", user_id="u1"))
        self.append_all(handle, False, new)
        return handle

    @rule(target=handles, place=PLACES, session_id=IDS | st.just(None), source=SOURCES, user_id=USERS,
          parent_id=st.none() | IDS, metadata=st.none() | METADATA)  # fmt: skip
    def session(self, place, session_id, **opening):
        return self._opened(self.places[place].open(session_id, **opening))

    @rule(target=handles, handle=handles, metadata=st.none() | METADATA)
    def reset(self, handle, metadata):
        # Not within the transaction: the new handle would end with it.
        if self._is_held(handle):
            return multiple()
        real = handle.place.call(handle.real, "reset", metadata=metadata)
        model = handle.place.model.reset(handle.model, metadata)
        model.id = real.id
        return self._opened(Opened(handle.place, real, model))

    # Writing

    @rule(handle=handles, inside=st.booleans(), new=NEW)
    def append(self, handle, inside, new):
        handle = self._in(handle, inside, writes=True)
        options = {"agent_id": new.agent_id, "metadata": new.metadata, "message_id": new.message_id}
        self._same(handle, "append", new.role, new.content, **options,
                   expect=lambda model, said: model.append(handle.model, named(new, said)))  # fmt: skip

    @rule(handle=handles, inside=st.booleans(), new=st.lists(NEW, max_size=4))
    def append_all(self, handle, inside, new):
        def expect(model, said):
            return model.append_all(handle.model, [named(one, said and said[n], n) for n, one in enumerate(new)])

        handle = self._in(handle, inside, writes=True)
        self._same(handle, "append_all", new, expect=expect)

    @rule(place=PLACES, inside=st.booleans(), new=st.lists(st.tuples(IDS, NEW), max_size=6), user_id=USERS)
    def append_to_many(self, place, inside, new, user_id):
        """Some sessions may refuse theirs, and the others take them."""
        held = {session_id for session_id, _ in new} & self.inside.model.locked if self.inside else ()
        place = self.inside if held else self._at(place, inside)
        handles = {session_id: place.open(session_id, user_id=user_id) for session_id, _ in new}
        step = self.counted["steps"]
        new = [
            (session_id, one if one.message_id else replace(one, message_id=f"of step {step}, {n}"))
            for n, (session_id, one) in enumerate(new)
        ]
        try:
            said = place.do("append_all", [(unwrap(handles[session_id].real), one) for session_id, one in new])
        except dal.PartlyRefused as error:
            said = [one if isinstance(one, dal.Message) else type(one) for one in error.outcomes]
        except dal.InvalidInput as error:
            said = type(error)
        expected, refusal = outcome(
            lambda: place.model.append_to_many([(handles[session_id].model, one) for session_id, one in new])
        )
        assert plain(said) == plain(refusal or tuple(expected))

    @rule(handle=handles, inside=st.booleans(), sequence=NUMBERS)
    def remove_from(self, handle, inside, sequence):
        self._same(self._in(handle, inside, writes=True), "remove_from", sequence)

    @rule(handle=handles, inside=st.booleans(), verb=st.sampled_from(["pause", "resume", "archive", "delete"]))
    def change(self, handle, inside, verb):
        self._same(self._in(handle, inside, writes=True), verb)

    @rule(handle=handles, inside=st.booleans(), metadata=METADATA)
    def update_metadata(self, handle, inside, metadata):
        self._same(self._in(handle, inside, writes=True), "update_metadata", metadata)

    @rule(place=PLACES, inside=st.booleans(), limit=st.integers(1, 3), nth=st.integers(0, 5))
    def delete_idle(self, place, inside, limit, nth):
        place = self._at(place, inside)
        known = sorted(stored.updated_at for stored in place.model.all())
        before = [datetime(2000, 1, 1, tzinfo=UTC), *known][nth % (len(known) + 1)]
        deleted = place.do("delete_idle", before + timedelta(microseconds=1), limit)
        assert sorted(deleted) == sorted(place.model.delete_idle(before + timedelta(microseconds=1), limit, deleted))

    # Reading

    @rule(handle=handles, inside=st.booleans(), read=READS)
    def read(self, handle, inside, read):
        verb, args, options = read
        self._same(self._in(handle, inside), verb, *args, **options)

    @rule(handle=handles, inside=st.booleans())
    def agents_of_one(self, handle, inside):
        handle = self._in(handle, inside)
        self._same(handle, "agent_ids", expect=lambda model, _: model.agent_ids([handle.model.id])[handle.model.id])

    @rule(place=PLACES, inside=st.booleans(), ids=st.lists(IDS, max_size=5))
    def agents_of_many(self, place, inside, ids):
        place = self._at(place, inside)
        assert place.do("agent_ids", ids) == place.model.agent_ids(ids)

    @rule(place=PLACES, inside=st.booleans(), user_id=USERS, source=SOURCES, status=STATUSES,
          limit=st.integers(1, 4), follow=st.booleans())  # fmt: skip
    def sessions(self, place, inside, limit, follow, **wanted):
        place = self._at(place, inside)
        key = tuple(wanted.values())
        cursor = self.cursors.get(key) if follow else None
        page = place.do("sessions", limit=limit, cursor=cursor, **wanted)
        wanted = {name: value for name, value in wanted.items() if value is not None}
        rows, more = place.model.sessions_page(wanted, limit, cursor)
        assert plain(page.sessions) == plain(rows)
        assert (page.cursor is not None) == more
        self.cursors[key] = page.cursor

    # As a user

    @rule(handle=handles, inside=st.booleans(), user=st.sampled_from(["u1", "stranger"]), call=READS | CHANGES)
    def confined(self, handle, inside, user, call):
        """Through a store of one user: as ever if the session is that user's, and else as if it were not stored."""
        verb, args, options = call
        handle = self._in(handle, inside, writes=True)
        stored = handle.place.model.sessions.get(handle.model.id)
        seen = handle.model.id if stored and stored.user_id == user else "not stored"
        mine = handle.place.do("for_user", user).session(handle.model.id)
        model = Handle(seen, source=None, user_id=user, parent_id=None, metadata={}, may_be_stored=True)
        self._same(Opened(handle.place, mine, model), verb, *args, **options)

    # Transactions

    @precondition(lambda self: not self.inside)
    @rule(place=PLACES, own=st.booleans())
    def begin_transaction(self, place, own):
        outer = self.places[place]
        if own:
            connection = outer.side.connect(self.look.conninfo, **(self.look.options | {"autocommit": False}))
            store = outer.do("using", connection)
        else:
            connection = outer.do("transaction")
            store = connection.__enter__()
        self.inside = Place(outer.side, store, self.model.transaction(), outer.calls)
        self.opened_inside = {}
        self.outer, self.ending = outer, connection
        self.is_block = not own
        if self.is_block and place in SINGLE:
            outer.model = self.inside.model  # Whatever goes over that connection is in its transaction.

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

    @precondition(lambda self: not self.inside)  # To apply it waits for whoever has written.
    @rule(place=PLACES, verb=st.sampled_from(["apply_schema", "check_schema"]))
    def schema(self, place, verb):
        self.places[place].do(verb)

    @precondition(lambda self: not self.inside and not self.reconnected)
    @rule(place=st.sampled_from(POOLED))
    def reconnect(self, place):
        door, place = self.doors[place], self.places[place]
        self.reconnected = True
        old = place.open("s0").real
        place.do("close")
        place.store = door[1] = door[2]()
        for verb in ("connect", "writer"):
            place.calls[f"{type(unwrap(place.store)).__name__}.{verb}"] += 1
        with pytest.raises(dal.StoreClosed):
            old.append("user", "too late")
        for handle in self.opened:
            if handle.place is place:
                model = handle.model
                opening = {name: getattr(model, name) for name in ("source", "user_id", "parent_id", "metadata")}
                again = place.open(model.id, **opening)
                handle.real, handle.model = again.real, again.model

    # What is there

    @invariant()
    def rows_agree(self):
        self.counted["steps"] += 1
        rows = self.look.rows()
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
            assert plain(record) == plain(stored)
            assert plain(messages) == plain(stored.lines)
            assert record.agent_ids in {None, stored.agents()}
            assert (record.archived_at is not None) == (record.status == "archived")
            times = [message.created_at for message in messages]
            assert times == sorted(times)
            model.settle(session_id, record.updated_at)

    def _opened(self, handle):
        self.opened.append(handle)
        return handle

    def _is_held(self, handle):
        """Whether the transaction has the session's row locked, so that others wait."""
        if self.inside is None or handle.place.model is self.inside.model:
            return False
        return handle.model.id in self.inside.model.locked

    def _at(self, place, inside):
        return self.inside if self.inside and inside else self.places[place]

    def _in(self, handle, inside, *, writes=False):
        """The handle itself, or one to the same session in the transaction: there too if it had to wait for that."""
        if self.inside and (inside or (writes and self._is_held(handle))):
            session_id = handle.model.id
            if session_id not in self.opened_inside:
                self.opened_inside[session_id] = self.inside.open(session_id, user_id="within")
            return self.opened_inside[session_id]
        return handle

    def _same(self, handle, verb, *args, expect=None, **options):
        """Run a verb, and its model; both return the same, or are refused with the same error."""
        model = handle.place.model
        said, error = outcome(lambda: handle.place.call(handle.real, verb, *args, **options))
        expected, refusal = outcome(
            lambda: expect(model, said) if expect else getattr(model, verb)(handle.model, *args, **options)
        )
        assert error == refusal, (verb, said)
        assert plain(said) == plain(expected)
        self.counted["refused"] += error is not None


@pytest.fixture
def doors(server, schema, options, tables):
    """For each side a pool's writer and a store on a connection; each as [side, store, make it anew]."""
    sides = [SyncSide(), AsyncSide()]
    conninfo = psycopg.conninfo.make_conninfo(server.conninfo, options=IMPATIENT)
    doors, pools, connections = [], [], []
    for side in sides:
        connections.append(side.connect(conninfo, **impatient(options)))
        pools.append(side.connect_store(conninfo, schema=schema, max_size=2))
        makes = (pools[-1].writer, lambda side=side, connection=connections[-1]: side.store(connection))
        doors += [[side, make(), make] for make in makes]
    yield doors
    for store in (*(store for _, store, _ in doors), *pools):
        store.close()
    for connection in connections:
        connection.close()
    for side in sides:
        side.close()


def test_every_verb_is_in_the_machine(doors, server, options):
    """By one example that does not depend on chance: every rule at every place."""
    calls = Counter()
    new = dal.NewMessage(role="user", content="x", agent_id="a", message_id="m0")
    with Look(server.conninfo, impatient(options)) as look:
        machine = Machine(doors, look, Counter(), calls)

        def run(rule, *args, **options):
            result = getattr(machine, rule)(*args, **options)
            machine.handles_agree()
            machine.rows_agree()
            return result

        for place in range(4):
            handle = run("session", place, f"s {place}", source="web", user_id="u1", parent_id=None, metadata={"a": 1})
            run("append", handle, False, new)
            run("append_all", handle, False, [new, dal.NewMessage(role="user", content="y")])
            reads = (
                ("open", (1,), {}),
                ("latest", (1,), {}),
                ("messages", (), {"after": 0}),
                ("message", ("m0",), {}),
                ("record", (), {}),
            )
            for read in reads:
                run("read", handle, False, read)
            for commit in (True, False):
                run("begin_transaction", place, own=commit)
                run("update_metadata", handle, True, {"b": commit})
                run("end_transaction", commit)
            run("agents_of_many", place, False, ["s0", "s1"])
            run("sessions", place, False, 3, False, user_id="u1", source=None, status=None)
            for verb in ("apply_schema", "check_schema"):
                run("schema", place, verb)
            run("append_to_many", place, False, [("s0", new)], None)
            run("remove_from", handle, False, 1)
            for verb in ("pause", "resume", "archive"):
                run("change", handle, False, verb)
            for user in ("u1", "stranger"):
                run("confined", handle, False, user, ("record", (), {}))
            run("agents_of_one", handle, False)
            run("reset", handle, None)
            run("change", handle, False, "delete")
            run("delete_idle", place, False, 1, 0)
            if place in POOLED:
                run("reconnect", place)
    kinds = dal.Session, dal.AsyncSession, dal.SessionStore, dal.AsyncSessionStore
    # Those of whole histories need a transaction to themselves; test_histories.py compares
    # all that they leave.
    # `connection` lends one for statements that are not ours.
    left_out = WHOLE_HISTORIES | {"connection"}
    assert calls.keys() == {f"{kind.__name__}.{verb}" for kind in kinds for verb in public(kind) - left_out}


def test_every_interleaving_of_the_verbs_agrees_with_the_model(doors, server, options, figure):
    counted, calls = Counter(), Counter()
    with Look(server.conninfo, impatient(options)) as look:
        run_state_machine_as_test(lambda: Machine(doors, look, counted, calls))
    figure(
        "model, random interleavings of all verbs",
        f"{counted['examples']:,} examples, {counted['steps']:,} steps, {calls.total():,} calls, "
        f"{counted['refused']:,} refused as expected",
    )
