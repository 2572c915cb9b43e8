"""Packages that only some commands need."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from dal.gate.errors import NotInstalled

_REVIEW = {"jinja2", "markupsafe", "pygments"}


@contextmanager
def review_extra() -> Iterator[None]:
    """Raise NotInstalled if an import in the block fails because the extra is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _REVIEW:
            raise
        raise NotInstalled("`dal review` needs more packages: pip install 'session-dal[gate]'") from error
