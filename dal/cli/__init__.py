"""The command line, `dal`. It needs the `cli` extra; this module can be imported without it."""

from __future__ import annotations

import sys

from dal import NoLibpq, libpq_needed

_EXTRA = {"rich", "typer"}


def main() -> None:
    """Run the command line."""
    try:
        with libpq_needed():
            from dal.cli.app import run  # noqa: PLC0415 - needs an extra
    except NoLibpq as error:
        print(f"dal: {error}", file=sys.stderr)
        sys.exit(2)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in _EXTRA:
            raise
        print("dal needs its command line's packages: pip install 'session-dal[cli]'", file=sys.stderr)
        sys.exit(2)
    run()
