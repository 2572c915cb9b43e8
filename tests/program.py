"""The command line, as a program."""

import re
import subprocess
import sys


def run(*arguments, script=None):
    program = ["-m", "dal.cli"] if script is None else ["-c", script]
    return subprocess.run(
        [sys.executable, *program, *map(str, arguments)], capture_output=True, text=True, timeout=240, check=False
    )


def is_refused(done, *parts, status=1):
    """One line on stderr that says these things, and nothing else."""
    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(r"dal: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr
