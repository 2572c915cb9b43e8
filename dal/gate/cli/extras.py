"""What the commands need beside the command line's own packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dal.gate.errors import NotInstalled

_REVIEW = {"jinja2", "markupsafe", "pygments", "vl_convert"}


@contextmanager
def review_extra() -> Iterator[None]:
    """Import within the block what writes pages; NotInstalled if the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _REVIEW:
            raise
        raise NotInstalled("the pages need their packages: pip install 'session-dal[gate]'") from error
