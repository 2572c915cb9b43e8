"""Run git."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path


def git(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str] | None:
    """Run git in a folder, and return its output and exit status; None if it is not installed."""
    program = shutil.which("git")
    if program is None:
        return None
    command = [program, "-C", str(folder), *arguments]
    variables = os.environ | environment
    return subprocess.run(  # noqa: S603 - no shell
        command, capture_output=True, check=False, encoding="utf-8", env=variables
    )


def commit_of(path: Path) -> str | None:
    """Return the commit of a file or folder, marked if it has uncommitted changes; None outside of a repository."""
    folder = path if path.is_dir() else path.parent
    head = git(folder, "rev-parse", "--short=12", "HEAD")
    if head is None or head.returncode:
        return None
    status = git(folder, "status", "--porcelain", "--", str(path.resolve()))
    changed = status is not None and status.stdout.strip()
    return f"{head.stdout.strip()}{', with uncommitted changes' if changed else ''}"
