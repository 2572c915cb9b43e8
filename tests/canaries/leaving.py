"""On a cluster: statements on one session that leave its shard. test_remote_commands.py has the gate catch them."""

from canaries.canary import quick

_PROMISE = "remote commands: 1"

LEAVING = {
    "a read without the session": quick("messages.get", _PROMISE, ("m.session_id = :session_id::text\n    AND ", "")),
    "a filter on what a function returns": quick(
        "messages.append", _PROMISE, (") AS a;", ") AS a\nWHERE a.sequence >= 0;")
    ),
    "a call whose session is an expression": quick(
        "sessions.pause", _PROMISE, ("    :session_id::text, 'pause'", "    concat(:session_id::text, ''), 'pause'")
    ),
    "a list that promises too little": quick("sessions.list_of_user", _PROMISE, ("O(shards), at most 3 each", "1")),
}
