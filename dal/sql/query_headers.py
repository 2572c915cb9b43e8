# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""The record and the repeatability of each query, from the header of its file."""

from typing import Any, NamedTuple

from dal import records


class QueryHeader(NamedTuple):
    """The lines `Returns:` and `Repeat:` of a header."""

    record: type[Any]
    repeatable: bool
    """True if a retry is safe even after an unknown outcome."""


HEADERS = {
    "messages.after": QueryHeader(records.Message, repeatable=True),
    "messages.annotate": QueryHeader(records.Message, repeatable=True),
    "messages.append": QueryHeader(records.Appended, repeatable=True),
    "messages.append_all": QueryHeader(records.AppendedOne, repeatable=True),
    "messages.before": QueryHeader(records.Message, repeatable=True),
    "messages.export": QueryHeader(records.ExportedMessage, repeatable=True),
    "messages.get": QueryHeader(records.Message, repeatable=True),
    "messages.latest": QueryHeader(records.Message, repeatable=True),
    "messages.redact": QueryHeader(records.Message, repeatable=True),
    "messages.remove_from": QueryHeader(records.Removed, repeatable=True),
    "messages.remove_last": QueryHeader(records.RemovedRow, repeatable=True),
    "messages.removed": QueryHeader(records.RemovedMessage, repeatable=True),
    "messages.replace_from": QueryHeader(records.ReplacedRow, repeatable=True),
    "messages.stream": QueryHeader(records.Message, repeatable=True),
    "schema.check": QueryHeader(records.SchemaFact, repeatable=True),
    "schema.hide_temporary": QueryHeader(records.SearchPath, repeatable=True),
    "schema.version": QueryHeader(records.SchemaVersion, repeatable=True),
    "sessions.agent_ids": QueryHeader(records.SessionAgents, repeatable=True),
    "sessions.agent_ids_read_only": QueryHeader(records.SessionAgents, repeatable=True),
    "sessions.archive": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.changes": QueryHeader(records.Change, repeatable=True),
    "sessions.count_of_user": QueryHeader(records.CountedSessions, repeatable=True),
    "sessions.create": QueryHeader(records.CreatedSession, repeatable=True),
    "sessions.delete": QueryHeader(records.Deleted, repeatable=True),
    "sessions.delete_idle": QueryHeader(records.Deleted, repeatable=False),
    "sessions.delete_idle_of_user": QueryHeader(records.Deleted, repeatable=False),
    "sessions.erase_user": QueryHeader(records.ErasureStep, repeatable=False),
    "sessions.export": QueryHeader(records.ExportedSession, repeatable=True),
    "sessions.export_of_user": QueryHeader(records.ExportedSession, repeatable=True),
    "sessions.fork": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.get": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.list": QueryHeader(records.ListedSession, repeatable=True),
    "sessions.list_of_parent": QueryHeader(records.ListedSession, repeatable=True),
    "sessions.list_of_source": QueryHeader(records.ListedSession, repeatable=True),
    "sessions.list_of_user": QueryHeader(records.ListedSession, repeatable=True),
    "sessions.list_of_user_and_source": QueryHeader(records.ListedSession, repeatable=True),
    "sessions.open": QueryHeader(records.OpenedRow, repeatable=True),
    "sessions.pause": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.purge": QueryHeader(records.Purged, repeatable=False),
    "sessions.relist": QueryHeader(records.Relisted, repeatable=True),
    "sessions.restore": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.resume": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.trash": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.update_metadata": QueryHeader(records.SessionRecord, repeatable=True),
}
