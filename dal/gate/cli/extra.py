"""What the commands need beside the command line's own packages."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dal.errors import DalError

_REVIEW = {"jinja2", "markupsafe", "pygments", "vl_convert"}


class NotInstalled(DalError):
    """The pages need packages that are not there; says what to install."""


@contextmanager
def review_extra() -> Iterator[None]:
    """Import within the block what writes pages; NotInstalled if the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _REVIEW:
            raise
        raise NotInstalled("the pages need their packages: pip install 'session-dal[review]'") from error
