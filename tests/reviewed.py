"""The results of `dal check` from which the review pages are written."""

from pathlib import Path

import pytest
from program import run

NAMES = ("messages.append", "messages.latest", "sessions.delete_idle")


@pytest.fixture(scope="session")
def checked(server, tmp_path_factory) -> Path:
    """The path of the JSON results of `dal check`."""
    path = tmp_path_factory.mktemp("checked") / "check.json"
    done = run("check", *NAMES, "--dsn", server.conninfo, "--also", f"json={path}")
    assert done.returncode in {0, 1}, done.stderr
    return path


def page_of(folder, name):
    return folder / "queries" / f"{name}.html"
