# Generated from dal/_async/appending.py by .ci/async_to_sync.py: change that file, and run it.
"""Appends: to one session, or to several in one statement, or on a cluster in one for each shard."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from itertools import repeat
from typing import TYPE_CHECKING, Any

from dal import validate
from dal._sync.parallel import run_all
from dal._sync.queries import Query, queries
from dal._sync.runner import Runner
from dal.appends import (
    Append,
    CheckedMessage,
    Conditions,
    Target,
    batch_parameters,
    check_call,
    check_new,
    distribute_rows,
)
from dal.errors import DalError, InvalidInput, PartlyRefused, ServerUnavailable
from dal.records import Message, Metadata, NewMessage
from dal.retries import Attempts

if TYPE_CHECKING:
    from dal._sync.session import Session
    from dal._sync.store import SessionStore

_APPEND: Query = queries.messages.append
_APPEND_ALL: Query = queries.messages.append_all


_OF_MESSAGE = ("message_id", "role", "agent_id", "content", "metadata")
_MESSAGE_ID, _ROLE, _AGENT_ID, _CONTENT, _METADATA = [_APPEND.names.index(name) for name in _OF_MESSAGE]
"""The places of a message's values."""


class Appends:
    """Sends each append at once. An error after which it may be stored has the ids with which it can be repeated."""

    def __init__(self, runner: Runner) -> None:
        self._runner = runner

    def send(self, append: Append, attempts: Attempts | None = None) -> None:
        """Store the messages of an append, and set its outcome."""
        if len(append.messages) > 1:
            self.send_all([append], attempts)
            return
        try:
            row = self._runner.send(_APPEND, _values(append), attempts)
        except ServerUnavailable as error:
            error.message_ids = append.message_ids
            raise
        append.rows = (row,)

    def send_all(
        self, appends: Sequence[Append], attempts: Attempts | None = None, *, patience: float | None = None
    ) -> None:
        """Store several appends in one statement, which waits at most `patience` seconds for a locked session."""
        parameters = batch_parameters(appends, patience)
        try:
            rows = self._runner.send(_APPEND_ALL, parameters, attempts)
        except ServerUnavailable as error:
            error.message_ids = tuple(one for append in appends for one in append.message_ids)
            raise
        distribute_rows(appends, rows)

    def send_by_shard(self, appends: Sequence[Append]) -> None:
        """Store several appends in one statement; on a cluster in one for each shard, all at the same time.

        Then a failure on one worker does not affect the sessions on others: the appends of a failed statement have its
        error. An error is raised if all have failed because the server was unavailable.
        """
        by_shard: dict[int | None, list[Append]] = {}
        if self._runner.source.is_pooled and len(appends) > 1:
            self._runner.find_layout()
            for append in appends:
                by_shard.setdefault(self._runner.schema.shard_of(append.session_id), []).append(append)
        if len(by_shard) < 2:  # noqa: PLR2004
            self.send_all(appends)
            return
        run_all([partial(self._send_shard, each) for each in by_shard.values()])
        errors = [append.error for append in appends]
        unavailable = [error for error in errors if isinstance(error, ServerUnavailable)]
        if len(unavailable) == len(errors):
            error = unavailable[0]
            error.outcome_unknown = any(one.outcome_unknown for one in unavailable)
            error.message_ids = tuple(one for append in appends for one in append.message_ids)
            raise error

    def _send_shard(self, appends: Sequence[Append]) -> None:
        try:
            self.send_all(appends)
        except DalError as error:
            for append in appends:
                append.error = error

    def close(self) -> None:
        """Do nothing: there is no queue."""


def _template(target: Target) -> list[Any]:
    """Return the values of the statement that stores one message, without those of the message."""
    if target.template is None:
        conditions = {
            "if_next": target.conditions.if_next,
            "must_exist": target.conditions.creates_none,
            "session_changes": target.conditions.json_session_changes,
        }
        target.template = _APPEND.bind({**target.opening, **conditions, **dict.fromkeys(_OF_MESSAGE)})
    return target.template


def _values(append: Append) -> list[Any]:
    """Return the values of the statement that stores an append's only message."""
    (message,) = append.messages
    values = (append.target.template or _template(append.target)).copy()
    values[_MESSAGE_ID] = message.message_id
    values[_ROLE] = message.role
    values[_AGENT_ID] = message.agent_id
    values[_CONTENT] = message.content
    values[_METADATA] = message.json_metadata
    return values


def prepare(
    session: Session,
    messages: Sequence[CheckedMessage],
    changes: Metadata | None = None,
    if_next: int | None = None,
) -> Append:
    """Create an append of checked messages."""
    target = session._target
    if changes is not None or if_next is not None:
        conditions = Conditions(
            validate.next_number(if_next),
            target.conditions.must_exist,
            None if changes is None else validate.metadata("session_metadata", changes),
        )
        opening = target.opening
        if changes:  # If the append creates the session, it stores them too.
            merged = validate.metadata("session_metadata", {**session.metadata, **changes})
            opening = {**opening, "session_metadata": merged}
        target = Target(opening, conditions)
    if messages:
        session._may_be_stored = True
    return Append(target, messages)


def prepare_all(
    session: Session, messages: Iterable[NewMessage], changes: Metadata | None, if_next: int | None
) -> Append:
    """Check the messages of a call, and create an append of them."""
    new = validate.new_messages("messages", messages)
    checked = [check_new(f"messages[{n}]", one, session._backend.sanitize) for n, one in enumerate(new)]
    check_call("messages", checked)
    return prepare(session, checked, changes, if_next)


def send(session: Session, append: Append) -> None:
    """Send an append to a session; raise an error unless its messages are stored."""
    try:
        session._backend.appends.send(append)
    except BaseException:
        session._note_change(None)
        raise
    if not append.is_stored:
        raise _refusal(session, append)
    if session._writes is not None:
        session._writes.add_append(append.rows[-1].sequence)
    session.persisted = True


def _refusal(session: Session, append: Append) -> DalError:
    """Return the error of an append that stored nothing."""
    return append.error or append.conflict or session._why_nothing(append.query, "append to", append.conditions)


def append_to_each(store: SessionStore, messages: Iterable[tuple[Session, NewMessage]]) -> tuple[Message, ...]:
    """Store messages of several sessions in one statement; raise PartlyRefused unless all are stored."""
    given: list[tuple[Session, CheckedMessage]] = []
    for n, (session, new) in enumerate(validate.pairs("messages", messages)):
        if getattr(session, "_store", None) is not store:
            raise InvalidInput(f"messages[{n}]", "must begin with a session that this store has opened")
        given.append((session, check_new(f"messages[{n}]", new, store._backend.sanitize)))
    check_call("messages", [message for _, message in given], [session.id for session, _ in given])
    outcomes = _outcomes(store, given) if given else []
    stored = tuple([one for one in outcomes if isinstance(one, Message)])
    if len(stored) < len(outcomes):
        raise PartlyRefused(outcomes)
    return stored


def _outcomes(store: SessionStore, given: Sequence[tuple[Session, CheckedMessage]]) -> list[Message | DalError]:
    by_session: dict[str, tuple[Session, list[CheckedMessage]]] = {}
    for session, message in given:
        by_session.setdefault(session.id, (session, []))[1].append(message)
    appends = [(session, prepare(session, checked)) for session, checked in by_session.values()]
    try:
        store._backend.appends.send_by_shard([append for _, append in appends])
    except BaseException:
        for session, _ in appends:
            session._note_change(None)
        raise
    outcomes = {session.id: _outcomes_of(session, append) for session, append in appends}
    return [next(outcomes[session.id]) for session, _ in given]


def _outcomes_of(session: Session, append: Append) -> Iterator[Message | DalError]:
    """Iterate over the outcomes of the messages: the stored messages in order, or the same error for all."""
    if append.error is not None:
        session._note_change(None)
    if not append.is_stored:
        return repeat(_refusal(session, append))
    if session._writes is not None:
        session._writes.add_append(append.rows[-1].sequence)
    session.persisted = True
    return iter(append.stored)
