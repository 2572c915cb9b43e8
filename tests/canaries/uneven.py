"""What shows only among a user's many sessions, or where the values that a call writes are not there already."""

from canaries.canary import Canary, quick

_RAISED = "        message_count = s.message_count + 1,\n"
_RAISED_BY = "        message_count = s.message_count + excluded.message_count,\n"
_ALL_OF_THE_OWNER = (
    """OR (SELECT :owner::text) = (
        SELECT s.user_id
        FROM sessions AS s
        WHERE s.session_id = p.session_id
    );""",
    """OR p.session_id IN (
        SELECT s.session_id || ''
        FROM sessions AS s
        WHERE s.user_id = (SELECT :owner::text)
    );""",
)

UNEVEN = {
    "a source that each append overwrites": quick(
        "messages.append", "HOT", (_RAISED, f"{_RAISED}        source = excluded.source,\n")
    ),
    "a source that each batch overwrites": quick(
        "messages.append_all", "HOT", (_RAISED_BY, f"{_RAISED_BY}        source = excluded.source,\n")
    ),
    "an owner's sessions that are all read when a message is sent again": Canary(
        "messages.append", "buffers O(log n) in the user's sessions*", edits=(_ALL_OF_THE_OWNER,)
    ),
    "an owner's sessions that are all read when a removal is sent again": Canary(
        "messages.remove_from", "buffers O(log n) in the user's sessions*", edits=(_ALL_OF_THE_OWNER,)
    ),
}
