# Generated from the query files by .ci/query_stubs.py: change those, and run it.
"""The record and the repeatability of each query, from the header of its file."""

from typing import Any, NamedTuple

from dal import records, rows


class QueryHeader(NamedTuple):
    """The lines `Returns:` and `Repeat:` of a header."""

    record: type[Any]
    repeatable: bool
    """True if a retry is safe even after an unknown outcome."""


HEADERS = {
    "messages.after": QueryHeader(records.Message, repeatable=True),
    "messages.annotate": QueryHeader(records.Message, repeatable=True),
    "messages.append": QueryHeader(rows.Appended, repeatable=True),
    "messages.append_all": QueryHeader(rows.AppendedOne, repeatable=True),
    "messages.before": QueryHeader(records.Message, repeatable=True),
    "messages.delete_range": QueryHeader(rows.DeletedRange, repeatable=True),
    "messages.export": QueryHeader(rows.ExportedMessage, repeatable=True),
    "messages.get": QueryHeader(records.Message, repeatable=True),
    "messages.latest": QueryHeader(records.Message, repeatable=True),
    "messages.redact": QueryHeader(records.Message, repeatable=True),
    "messages.remove_from": QueryHeader(rows.Removed, repeatable=True),
    "messages.remove_last": QueryHeader(rows.RemovedRow, repeatable=True),
    "messages.removed": QueryHeader(records.RemovedMessage, repeatable=True),
    "messages.replace_from": QueryHeader(rows.ReplacedRow, repeatable=True),
    "messages.stream": QueryHeader(records.Message, repeatable=True),
    "schema.broken_rows": QueryHeader(rows.BrokenRow, repeatable=True),
    "schema.check": QueryHeader(rows.SchemaFact, repeatable=True),
    "schema.hide_temporary": QueryHeader(rows.SearchPath, repeatable=True),
    "schema.version": QueryHeader(rows.SchemaVersion, repeatable=True),
    "sessions.agent_ids": QueryHeader(rows.SessionAgents, repeatable=True),
    "sessions.agent_ids_read_only": QueryHeader(rows.SessionAgents, repeatable=True),
    "sessions.archive": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.changes": QueryHeader(records.Change, repeatable=True),
    "sessions.count_of_user": QueryHeader(rows.CountedSessions, repeatable=True),
    "sessions.create": QueryHeader(rows.CreatedSession, repeatable=True),
    "sessions.delete": QueryHeader(rows.Deleted, repeatable=True),
    "sessions.delete_idle": QueryHeader(rows.IdleSession, repeatable=False),
    "sessions.delete_idle_of_user": QueryHeader(rows.IdleSession, repeatable=False),
    "sessions.erase_user": QueryHeader(rows.ErasureStep, repeatable=False),
    "sessions.export": QueryHeader(rows.ExportedSession, repeatable=True),
    "sessions.export_of_user": QueryHeader(rows.ExportedSession, repeatable=True),
    "sessions.fork": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.get": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.list": QueryHeader(rows.ListedSession, repeatable=True),
    "sessions.list_of_parent": QueryHeader(rows.ListedSession, repeatable=True),
    "sessions.list_of_source": QueryHeader(rows.ListedSession, repeatable=True),
    "sessions.list_of_user": QueryHeader(rows.ListedSession, repeatable=True),
    "sessions.list_of_user_and_source": QueryHeader(rows.ListedSession, repeatable=True),
    "sessions.open": QueryHeader(rows.OpenedRow, repeatable=True),
    "sessions.pause": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.position": QueryHeader(rows.Position, repeatable=True),
    "sessions.purge": QueryHeader(records.Purged, repeatable=False),
    "sessions.relist": QueryHeader(rows.Relisted, repeatable=True),
    "sessions.restore": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.resume": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.trash": QueryHeader(records.SessionRecord, repeatable=True),
    "sessions.update_metadata": QueryHeader(records.SessionRecord, repeatable=True),
}
