"""Records as people and scripts read them."""

from __future__ import annotations

import json
from datetime import UTC, datetime


def as_json(value: object) -> str:
    """Return a value as a line of JSON, in ASCII: no control character of stored content reaches the terminal."""
    return json.dumps(value, default=datetime.isoformat)


def in_utc(time: datetime) -> str:
    """Return a time in UTC, to the second."""
    return f"{time.astimezone(UTC):%Y-%m-%d %H:%M:%S}"
