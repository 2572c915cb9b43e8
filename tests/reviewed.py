"""What the review pages are made of."""

from pathlib import Path

import pytest
from program import run

NAMES = ("messages.append", "messages.latest", "sessions.delete_idle")


@pytest.fixture(scope="session")
def checked(server, tmp_path_factory) -> Path:
    """What dal check has measured, as JSON."""
    path = tmp_path_factory.mktemp("checked") / "check.json"
    done = run("check", *NAMES, "--dsn", server.conninfo, "--also", f"json={path}")
    assert done.returncode in {0, 1}, done.stderr
    return path


def page_of(folder, name):
    return folder / "queries" / f"{name}.html"
