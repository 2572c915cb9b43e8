"""The C library that psycopg needs, which is installed apart from this package."""

from collections.abc import Iterator
from contextlib import contextmanager


class NoLibpq(ImportError):
    """psycopg cannot be imported, since it finds no libpq."""


@contextmanager
def needed() -> Iterator[None]:
    """Say what to install if psycopg finds no libpq."""
    try:
        yield
    except ImportError as error:
        if "no pq wrapper available" not in str(error):
            raise
        raise NoLibpq(
            "psycopg finds no libpq: pip install 'session-dal[binary]', or install libpq itself (in Debian, libpq5)"
        ) from error
