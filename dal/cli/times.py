"""Times that options give."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from dal.errors import InvalidInput

_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def moment(option: str, text: str) -> datetime:
    """Return the time that an option gives, in UTC if it has no offset."""
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidInput(option, f"{text!r} is not a time such as 2026-01-31 or 2026-01-31T12:00+01:00") from None
    return given if given.tzinfo else given.replace(tzinfo=UTC)


def ago(option: str, text: str) -> datetime:
    """Return the time that was this long ago, such as 90d."""
    found = re.fullmatch(r"(\d{1,6})([mhdw])", text)
    if not found:
        raise InvalidInput(option, f"{text!r} is not a duration such as 30m, 12h, 90d or 8w")
    try:
        return datetime.now(UTC) - timedelta(**{_UNITS[found[2]]: int(found[1])})
    except OverflowError:
        raise InvalidInput(option, f"{text!r} is before the year 1") from None
