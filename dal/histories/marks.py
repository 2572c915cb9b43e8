"""Writing the JSON of an export: the server leaves it to us, being three times as long at it.

Its lines have the texts as they are, and a control character (a mark) where the JSON between two of them belongs. A
text that has a control character itself, but for the common three, is left to the server after all.
"""

from __future__ import annotations

_AS_IT_IS = b"\x07"
"""Before and after what is JSON already, which is metadata."""

_MARKS = bytes(set(range(32)) - set(b"\t\n\r"))

_WRITTEN = {
    b"\\": b"\\\\",
    b'"': b'\\"',
    b"\t": b"\\t",
    b"\n": b"\\n",
    b"\r": b"\\r",
    # As queries/messages/export.sql has them.
    b"\x01": b'{"message":{"session_id":"',
    b"\x02": b'","sequence":',
    b"\x03": b',"message_id":"',
    b"\x04": b'","role":"',
    b"\x05": b'","agent_id":"',
    b"\x06": b'","content":"',
    b"\x0b": b'","agent_id":null,"content":"',
    b"\x0c": b'","metadata":',
    b"\x0e": b',"created_at":"',
    b"\x08": b'"}}\n',
}
"""In this order: what is escaped comes before the JSON around it."""


def written(lines: bytes, marks: int) -> bytes | None:
    """Give the lines as JSON; None if there are other control characters in them than these marks."""
    if len(lines) - len(lines.translate(None, _MARKS)) != marks:
        return None
    parts = lines.split(_AS_IT_IS)
    texts = _AS_IT_IS.join(parts[::2])
    for one, instead in _WRITTEN.items():
        texts = texts.replace(one, instead)
    parts[::2] = texts.split(_AS_IT_IS)
    return b"".join(parts)
