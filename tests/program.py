"""Run the command line."""

import re
import subprocess
import sys

from typer.testing import CliRunner

from dal.cli.app import app


def run(*arguments, script=None):
    program = ["-m", "dal.cli"] if script is None else ["-c", script]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )


def assert_fails(done, *parts, status=2, name="dal"):
    """It printed one line to stderr, which contains these parts, and nothing else."""
    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(rf"{name}: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr


def call(*arguments):
    """Run the command line in this process, which is ten times as fast."""
    called = CliRunner().invoke(app, [str(one) for one in arguments])
    if called.exception is not None and not isinstance(called.exception, SystemExit):
        raise called.exception
    return subprocess.CompletedProcess(arguments, called.exit_code, called.stdout, called.stderr)
