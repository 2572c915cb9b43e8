"""libpq, the C library that psycopg needs; it is not installed with this package."""

from collections.abc import Iterator
from contextlib import contextmanager


class NoLibpq(ImportError):
    """psycopg cannot find libpq."""


@contextmanager
def needed() -> Iterator[None]:
    """Raise NoLibpq, with the package to install, if psycopg cannot find libpq."""
    try:
        yield
    except ImportError as error:
        if "no pq wrapper available" not in str(error):
            raise
        raise NoLibpq(
            "psycopg finds no libpq: pip install 'session-dal[binary]', or install libpq itself (in Debian, libpq5)"
        ) from error
