"""A model of the library in memory, with the same methods. tests/one_server/test_model.py compares the two.

A session object is a Handle, a session's row and its messages are a Stored, and a refused operation raises the
library's own error. Times come from the server: `settle` copies them from its rows.
"""

import json
from collections import ChainMap, Counter
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

import dal


def canonical(metadata):
    """Return metadata as text, where True, 1 and 1.0 differ."""
    return json.dumps(metadata, sort_keys=True)


def as_jsonb(value):
    """Return metadata in a form that is equal where PostgreSQL's jsonb is: 1 and 1.0 are, 1 and true are not."""
    match value:
        case dict():
            return {key: as_jsonb(one) for key, one in value.items()}
        case list():
            return [as_jsonb(one) for one in value]
        case bool():
            return "bool", value
    return value


@dataclass
class Handle:
    """The state of a session object in memory."""

    id: str
    source: str | None
    user_id: str | None
    parent_id: str | None
    metadata: dict
    may_be_stored: bool
    persisted: bool = False


@dataclass(frozen=True)
class Line:
    """A stored message."""

    sequence: int
    message_id: str
    role: str
    agent_id: str | None
    content: str
    metadata: dict

    def says(self):
        return self.role, self.agent_id, self.content, canonical(self.metadata)


@dataclass(frozen=True)
class Stored:
    """A stored session."""

    session_id: str
    source: str | None
    user_id: str | None
    parent_id: str | None
    metadata: dict
    status: str = "active"
    trashed_from: str | None = None
    next_sequence: int = 0
    lines: tuple[Line, ...] = ()
    removed: tuple[Line, ...] = ()
    removals: tuple[tuple[str, int | None, int | None, int], ...] = ()
    """The removals and replacements: the kind, the first and the last number, and how many messages were removed."""
    cached: tuple[str, ...] | None = None
    fork_point: int | None = None
    updated_at: datetime | None = None
    listed_at: datetime | None = None
    """The position in lists; None if the current operation moves it in any case."""
    touched: bool = True
    """Whether the current operation moves updated_at."""

    def opening(self):
        return self.source, self.user_id, self.parent_id, as_jsonb(self.metadata)

    def agents(self):
        return tuple(dict.fromkeys(line.agent_id for line in self.lines if line.agent_id is not None))

    def is_archived(self):
        return "archived" in {self.status, self.trashed_from}

    def line(self, message_id):
        return next((line for line in self.lines if line.message_id == message_id), None)


@dataclass(frozen=True)
class Tombstone:
    """What a deleted session leaves. It is false, as if nothing were stored."""

    next_sequence: int

    def __bool__(self):
        return False


class Model:
    """The methods, on the committed sessions."""

    def __init__(self):
        self.sessions = {}
        """By id; a Tombstone if it was deleted."""
        self.locked = set()
        """The sessions whose rows the current operation locks; a transaction holds them until it ends."""
        self.held = set()
        """The sessions whose rows others have locked."""

    def transaction(self):
        """Return a model of the view inside a transaction: committed sessions, and its own changes."""
        inside = Model()
        inside.sessions = ChainMap({}, self.sessions)
        self.held = inside.locked
        return inside

    def end(self, inside, *, commit):
        if commit:
            self.sessions.update(inside.sessions.maps[0])
        self.held = set()

    def all(self):
        return [stored for stored in self.sessions.values() if stored]

    def append(self, handle, new, **asked):
        return self._append(handle, [new], **asked)[0]

    def append_all(self, handle, new, *, if_next=None, session_metadata=None):
        if not new and session_metadata is not None:
            raise dal.InvalidInput("messages", "")
        return self._append(handle, new, if_next=if_next, session_metadata=session_metadata) if new else ()

    def append_to_many(self, pairs):
        """Return for each message its line, or the class of the error that its session raised."""
        by_session = {}
        for n, (handle, new) in enumerate(pairs):
            by_session.setdefault(handle.id, (handle, []))[1].append((n, new))
        if any(self._is_invalid([new for _, new in several]) for _, several in by_session.values()):
            raise dal.InvalidInput("messages", "")
        outcomes = {}
        for handle, several in by_session.values():
            positions = [n for n, _ in several]
            try:
                outcomes |= zip(positions, self._append(handle, [new for _, new in several]), strict=True)
            except dal.DalError as error:
                outcomes |= dict.fromkeys(positions, type(error))
        return [outcomes[n] for n in range(len(pairs))]

    def latest(self, handle, limit):
        return self.messages(handle, before=1 << 62, limit=limit)

    def open(self, handle, latest):
        stored = self.sessions.get(handle.id)
        if not stored:
            return (None, (), ())
        handle.persisted = True
        return (stored, self.latest(handle, latest), stored.agents())

    def messages(self, handle, after=None, before=None, limit=100):
        if before is not None:
            lines = tuple(line for line in self._lines(handle) if line.sequence < before)
            return lines[max(0, len(lines) - limit) :]
        return tuple(line for line in self._lines(handle) if line.sequence > (-1 if after is None else after))[:limit]

    def message(self, handle, message_id):
        return next((line for line in self._lines(handle) if line.message_id == message_id), None)

    def remove_from(self, handle, sequence, *, if_next=None, keep=True):
        stored = self._to_remove(handle, if_next)
        return len(self._remove(stored, lambda line: line.sequence >= sequence, keep=keep))

    def remove_last(self, handle, n=1, *, if_next=None, keep=True):
        stored = self._to_remove(handle, if_next)
        last = stored.lines[-n:]
        return self._remove(stored, lambda line: line in last, keep=keep)

    def replace_from(self, handle, sequence, new, *, if_next=None, keep=True):
        if self._is_invalid(new):
            raise dal.InvalidInput("messages", "")
        handle.may_be_stored |= bool(new)
        stored = self._to_remove(handle, if_next)
        if {line.message_id for line in stored.lines if line.sequence < sequence} & {one.message_id for one in new}:
            raise dal.MessageConflict("")
        self._remove(stored, lambda line: line.sequence >= sequence, keep=keep, kind="replace")
        handle.persisted = True
        return self._append(handle, new) if new else ()

    def removed(self, handle, before=1 << 62, limit=100):
        stored = self.sessions.get(handle.id)
        lines = [line for line in (stored.removed if stored else ()) if line.sequence < before]
        return tuple(sorted(lines, key=lambda line: line.sequence)[max(0, len(lines) - limit) :])

    def removals(self, handle):
        stored = self.sessions.get(handle.id)
        return stored.removals if stored else ()

    def agent_ids(self, session_ids):
        found = {}
        for session_id in session_ids:
            stored = self.sessions.get(session_id)
            found[session_id] = stored.agents() if stored else ()
            if stored and stored.status == "archived" and stored.cached is None and session_id not in self.held:
                self.locked.add(session_id)
                self._write(replace(stored, cached=stored.agents()))
        return found

    def record(self, handle):
        stored = self._found(handle)
        handle.persisted = True
        return stored

    def pause(self, handle):
        return self._change(handle, {"active": "paused"})

    def resume(self, handle):
        return self._change(handle, {"paused": "active"})

    def archive(self, handle):
        stored = self.record(handle)
        self.locked.add(handle.id)
        if stored.status == "trashed":
            raise dal.SessionTrashed("")
        if stored.status != "archived":
            stored = self._write(replace(stored, status="archived", touched=True, listed_at=None))
        return stored

    def trash(self, handle):
        stored = self.record(handle)
        self.locked.add(handle.id)
        if stored.status != "trashed":
            stored = self._write(replace(stored, status="trashed", trashed_from=stored.status))
        return stored

    def restore(self, handle):
        stored = self.record(handle)
        self.locked.add(handle.id)
        if stored.status == "trashed":
            back = {"status": stored.trashed_from, "trashed_from": None, "listed_at": stored.updated_at}
            stored = self._write(replace(stored, **back))
        return stored

    def update_metadata(self, handle, metadata, *, remove=(), touch=True):
        stored = self.record(handle)
        self.locked.add(handle.id)
        if stored.status == "trashed":
            raise dal.SessionTrashed("")
        left = {key: value for key, value in stored.metadata.items() if key not in remove}
        changed = canonical(left | metadata) != canonical(stored.metadata)
        return self._write(replace(stored, metadata=left | metadata, touched=stored.touched or (touch and changed)))

    def annotate(self, handle, message_id, metadata):
        stored = self._found(handle)
        if stored.status == "trashed":
            raise dal.SessionTrashed("")
        return self._rewrite(handle, stored.line(message_id), metadata=lambda line: line.metadata | metadata)

    def redact(self, handle, message_id, content):
        stored = self._found(handle)
        removed = [line for line in stored.removed if line.message_id == message_id]
        line = stored.line(message_id) or max(removed, key=lambda line: line.sequence, default=None)
        return self._rewrite(handle, line, metadata=lambda _: {}, content=lambda _: content)

    def delete(self, handle):
        handle.persisted = False
        stored = self.sessions.get(handle.id)
        if not stored:
            return isinstance(stored, Tombstone)
        self._bury(stored)
        return True

    def create(self, handle, *, again=False):
        handle.may_be_stored = True
        stored = self.sessions.get(handle.id)
        if isinstance(stored, Tombstone) and not again:
            raise dal.SessionDeleted("")
        new = Stored(handle.id, handle.source, handle.user_id, handle.parent_id, handle.metadata)
        if not stored:
            self.locked.add(handle.id)
            stored = self._write(replace(new, next_sequence=stored.next_sequence if stored is not None else 0))
        if stored.opening() != new.opening():
            raise dal.SessionExists("")
        handle.persisted = True
        return stored

    def reset(self, handle, metadata):
        """Return the new handle, without its id."""
        may_be_stored = handle.may_be_stored or handle.persisted
        if may_be_stored:
            self._refuse_tombstone(handle)
        stored = self.sessions.get(handle.id) if may_be_stored else None
        if stored:
            self.archive(handle)
        origin = stored or handle
        return Handle(
            "", origin.source, origin.user_id, handle.id if stored else handle.parent_id, metadata or {}, False
        )

    def fork(self, handle, at, session_id, metadata):
        """Return the new handle; without a session_id, it has no id."""
        parent, there = self.sessions.get(handle.id), self.sessions.get(session_id)
        made = there if there and there.parent_id == handle.id and there.fork_point is not None else None
        if made is None or (
            at is not None and made.fork_point != min(at, at if parent is None else parent.next_sequence)
        ):
            parent = self._found(handle)
            if parent.status == "trashed":
                raise dal.SessionTrashed("")
            if isinstance(there, Tombstone):
                raise dal.SessionDeleted("")
            if there:
                raise dal.SessionExists("")
            end = parent.next_sequence if at is None else min(at, parent.next_sequence)
            lines = tuple(line for line in parent.lines if line.sequence < end)
            made = Stored(
                session_id, parent.source, parent.user_id, handle.id, metadata or {}, next_sequence=end,
                lines=lines, fork_point=end,
            )  # fmt: skip
            self._write(made)
        return Handle(session_id, made.source, made.user_id, handle.id, made.metadata, True, persisted=True)

    def count_sessions(self, user_id):
        counted = Counter(stored.status for stored in self.all() if stored.user_id == user_id)
        return {status: counted[status] for status in dal.records.STATUSES}

    def sessions_page(self, wanted, limit, cursor):
        """Return a page, and whether more sessions follow."""
        wanted = dict(wanted)
        statuses = wanted.pop("status", dal.records.LISTED)
        is_exact = "user_id" in wanted and "parent_id" not in wanted

        def position(stored):
            return (stored.updated_at if is_exact else stored.listed_at), stored.session_id

        rows = [
            stored
            for stored in self.all()
            if stored.status in statuses and all(getattr(stored, name) == value for name, value in wanted.items())
        ]
        if cursor is not None:
            moment, _, session_id = cursor.partition("/")
            end = datetime.fromisoformat(moment), session_id
            rows = [stored for stored in rows if position(stored) < end]
        rows.sort(key=position, reverse=True)
        return tuple(rows[:limit]), len(rows) > limit

    def delete_idle(self, before, limit, deleted):
        """Among sessions that were idle equally long, take those that the server reports as `deleted`."""
        idle = [stored for stored in self.all() if stored.updated_at < before and stored.status != "trashed"]
        idle.sort(key=lambda one: (one.listed_at, one.session_id not in deleted, one.session_id not in self.held))
        taken = []
        for passed_over in range(len(idle)):
            ids = [stored.session_id for stored in idle[passed_over : passed_over + limit]]
            taken = [session_id for session_id in ids if session_id not in self.held]
            if taken:
                break
        for session_id in taken:
            self._bury(self.sessions[session_id])
        return taken

    def empty_trash(self):
        return [stored.session_id for stored in self.all() if stored.status == "trashed" and self._delete(stored)]

    def erase_user(self, user_id):
        """Return the number of deleted sessions, and of their messages."""
        erased = [stored for stored in self.all() if stored.user_id == user_id and self._delete(stored)]
        return len(erased), sum(len(stored.lines) for stored in erased)

    def settle(self, session_id, updated_at):
        """Copy the server's updated_at, which must not fall."""
        stored = self.sessions[session_id]
        if stored.touched:
            assert stored.updated_at is None or updated_at >= stored.updated_at, "updated_at never falls"
            listed_at = stored.listed_at
            if listed_at is None or updated_at >= listed_at + timedelta(minutes=1):
                listed_at = updated_at
            self.sessions[session_id] = replace(stored, updated_at=updated_at, listed_at=listed_at, touched=False)
        else:
            assert updated_at == stored.updated_at, "only an activity moves updated_at"

    def _is_invalid(self, new):
        ids = [one.message_id for one in new]
        return len(set(ids)) < len(ids) or any("\0" in one.content for one in new)

    def _rewrite(self, handle, found, **changes):
        """Change a message and its removed versions; return what it is now."""
        self.locked.add(handle.id)
        if found is None:
            raise dal.MessageNotFound("")
        stored = self.record(handle)

        def changed(line):
            if line.message_id != found.message_id:
                return line
            return replace(line, **{name: change(line) for name, change in changes.items()})

        removed = tuple(map(changed, stored.removed)) if "content" in changes else stored.removed
        self._write(replace(stored, lines=tuple(map(changed, stored.lines)), removed=removed))
        return changed(found)

    def _append(self, handle, new, *, if_next=None, session_metadata=None):
        if self._is_invalid(new):
            raise dal.InvalidInput("messages", "")
        handle.may_be_stored = True
        self._refuse_tombstone(handle)
        known = self.sessions.get(handle.id)
        stored = known or Stored(handle.id, handle.source, handle.user_id, handle.parent_id, handle.metadata)
        outcome, lines = [], list(stored.lines)
        for one in new:
            prior = stored.line(one.message_id)
            sequence = prior.sequence if prior else stored.next_sequence + len(lines) - len(stored.lines)
            line = Line(sequence, one.message_id, one.role, one.agent_id, one.content, dict(one.metadata or {}))
            if prior and prior.says() != replace(line, metadata=prior.metadata | line.metadata).says():
                raise dal.MessageConflict("")
            if not prior:
                lines.append(line)
            outcome.append(line)
        added = len(lines) - len(stored.lines)
        if added:
            if known:
                self.locked.add(handle.id)
            self._require_open(stored)
            if if_next not in {None, stored.next_sequence}:
                raise dal.Overtaken("", next_sequence=stored.next_sequence)
            self.locked.add(handle.id)
            written = {"lines": tuple(lines), "next_sequence": stored.next_sequence + added, "touched": True}
            self._write(replace(stored, metadata=stored.metadata | (session_metadata or {}), **written))
        handle.persisted = True
        return tuple(outcome)

    def _to_remove(self, handle, if_next):
        """Return a session from which messages may be removed."""
        stored = self._found(handle)
        self.locked.add(handle.id)
        self._require_open(stored)
        if if_next not in {None, stored.next_sequence}:
            raise dal.Overtaken("", next_sequence=stored.next_sequence)
        return stored

    def _remove(self, stored, is_removed, *, keep, kind="remove"):
        """Remove lines, and return them."""
        removed = tuple(line for line in stored.lines if is_removed(line))
        left = tuple(line for line in stored.lines if not is_removed(line))
        numbers = [line.sequence for line in removed] or [None]
        if removed or kind == "replace":
            change = kind, numbers[0], numbers[-1], len(removed)
            kept = stored.removed + (removed if keep else ())
            self._write(replace(stored, lines=left, removed=kept, removals=(*stored.removals, change), touched=True))
        return removed

    def _change(self, handle, allowed):
        stored = self.record(handle)
        self.locked.add(handle.id)
        self._require_open(stored)
        if stored.status in allowed:
            stored = self._write(replace(stored, status=allowed[stored.status], touched=True, listed_at=None))
        return stored

    def _require_open(self, stored):
        if stored.status == "trashed":
            raise dal.SessionTrashed("")
        if stored.status == "archived":
            raise dal.SessionArchived("")

    def _delete(self, stored):
        """Delete a session, unless another transaction has locked it."""
        if stored.session_id in self.held:
            return False
        self._bury(stored)
        return True

    def _found(self, handle):
        self._refuse_tombstone(handle)
        stored = self.sessions.get(handle.id)
        if stored is None:
            raise dal.SessionNotFound("")
        return stored

    def _refuse_tombstone(self, handle):
        if isinstance(self.sessions.get(handle.id), Tombstone):
            self.locked.add(handle.id)  # An append that is refused locks the row.
            raise dal.SessionDeleted("")

    def _bury(self, stored):
        self.locked.add(stored.session_id)
        self.sessions[stored.session_id] = Tombstone(stored.next_sequence)

    def _lines(self, handle):
        stored = self.sessions.get(handle.id)
        return stored.lines if stored else ()

    def _write(self, stored):
        self.sessions[stored.session_id] = stored
        return stored
