"""Writing the JSON of an export, which takes the server three times as long as all the rest.

It gives the texts as they are, and a control character (a mark) where the JSON between two of them belongs. Texts that
have control characters themselves, but for the common three, are left to the server after all.
"""

from __future__ import annotations

import json

_AS_IT_IS = b"\x08"
"""Before and after what is JSON already, which is metadata."""

_MARKS = bytes(set(range(32)) - set(b"\t\n\r"))

_ESCAPED = {b"\\": b"\\\\", b'"': b'\\"', b"\t": b"\\t", b"\n": b"\\n", b"\r": b"\\r"}

_WRITTEN = {
    b"\x02": b',"message_id":"',
    b"\x03": b'","role":"',
    b"\x04": b'","agent_id":"',
    b"\x05": b'","content":"',
    b"\x06": b'","agent_id":null,"content":"',
    b"\x07": b'","metadata":',
    b"\x0b": b',"created_at":"',
    b"\x0c": b'"}}\n',
}
"""What stands for what in queries/messages/export.sql; the session's own comes before these."""


def written(session_id: str, lines: bytes, marks: int) -> bytes | None:
    """Give a session's lines as JSON; None if there are other control characters in them than these marks."""
    if len(lines) - len(lines.translate(None, _MARKS)) != marks:
        return None
    parts = lines.split(_AS_IT_IS)
    texts = _AS_IT_IS.join(parts[::2])
    for one, instead in _ESCAPED.items():
        texts = texts.replace(one, instead)
    session = json.dumps(session_id, ensure_ascii=False).encode()
    texts = texts.replace(b"\x01", b'{"message":{"session_id":' + session + b',"sequence":')
    for one, instead in _WRITTEN.items():
        texts = texts.replace(one, instead)
    parts[::2] = texts.split(_AS_IT_IS)
    return b"".join(parts)
