"""Higher costs without faster growth: only a cap catches them."""

from canaries.canary import Canary, quick

_FIVE_OF_MESSAGES = (
    "CREATE INDEX m1 ON messages (created_at); CREATE INDEX m2 ON messages (session_id, created_at);"
    "CREATE INDEX m3 ON messages (role, created_at); CREATE INDEX m4 ON messages (agent_id, created_at);"
    "CREATE INDEX m5 ON messages USING hash (message_id);"
)

_TEN_OF_SESSIONS = "".join(f"CREATE INDEX s{n} ON sessions (parent_id, status, session_id);" for n in range(10))


def _indexed(query: str, unit: str, axis: str, schema: str) -> Canary:
    return Canary(query, f"at most * {unit}", schema=schema, axis=axis)


COSTLY: dict[str, Canary] = {
    "five more indexes of messages, in buffers": _indexed(
        "messages.append", "buffers", "the sessions", _FIVE_OF_MESSAGES
    ),
    "five more indexes of messages, in WAL": _indexed(
        "messages.append", "WAL records", "the sessions", _FIVE_OF_MESSAGES
    ),
    "five more indexes of messages, for small batches": _indexed(
        "messages.append_all", "buffers", "the session's messages", _FIVE_OF_MESSAGES
    ),
    "five more indexes of messages, per message of a batch": Canary(
        "messages.append_all",
        "buffers O(n log n) in the given messages, at most * buffers each",
        schema=_FIVE_OF_MESSAGES,
    ),
    "ten more indexes of sessions, in buffers": _indexed("sessions.pause", "buffers", "the sessions", _TEN_OF_SESSIONS),
    "ten more indexes of sessions, in WAL": _indexed(
        "sessions.pause", "WAL records", "the session's messages", _TEN_OF_SESSIONS
    ),
    "an unnecessary look at the messages": quick(
        "sessions.get",
        "at most * buffers",
        (
            "s.user_id IS NOT DISTINCT FROM :owner::text);",
            (
                "s.user_id IS NOT DISTINCT FROM :owner::text)\n"
                "    AND EXISTS (SELECT FROM messages AS m WHERE m.session_id = s.session_id)\n"
                "    AND EXISTS (SELECT FROM messages AS m WHERE m.session_id = s.session_id AND m.message_id > '');"
            ),
        ),
    ),
}
