"""The command line, as a program."""

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


def is_refused(done, *parts, status=1, name="dal"):
    """One line on stderr that says these things, and nothing else."""
    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(rf"{name}: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr


def call(*arguments):
    """Run the command line in this process, which takes a tenth of the time."""
    called = CliRunner().invoke(app, [str(one) for one in arguments])
    if called.exception is not None and not isinstance(called.exception, SystemExit):
        raise called.exception
    return subprocess.CompletedProcess(arguments, called.exit_code, called.stdout, called.stderr)
