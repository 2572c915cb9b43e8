"""Three ways to run the command line: in a forked process, in a new Python, or within this process."""

import json
import os
import re
import select
import signal
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from paths import TESTS
from typer.testing import CliRunner

from dal.cli.app import app

_TIMEOUT = 240
"""Seconds."""
_ENVIRONMENT = dict(os.environ)
"""The environment of the forking server: that of the test run, before any test changed it."""
_READ_LATE = ("COLUMNS", "DAL_", "GIT_", "PG", "PYTEST_")
"""Prefixes of the variables that the command line reads when it runs, and not while Python or a package is loaded."""


def start(*arguments, script=None, module="dal.cli", **options):
    """Run the command line, or a script, in a new Python. This takes most of a second."""
    program = ["-m", module] if script is None else ["-c", script]
    command = [sys.executable, *program, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT, check=False, **options)


def run(*arguments, script=None, module="dal.cli", cwd=None, env=None):
    """Run the command line in a process of its own. The result is that of `start`, in a fifth of the time.

    The process is forked from one that has imported the packages. test_cli.py, among others, also uses `start`.
    """
    environment = dict(os.environ if env is None else env)
    changed = {name for name, _ in environment.items() ^ _ENVIRONMENT.items()}
    if script is not None or not all(name.startswith(_READ_LATE) for name in changed):
        return start(*arguments, script=script, module=module, cwd=cwd, env=environment)
    with TemporaryDirectory(prefix="dal-program-") as folder:
        outputs = [Path(folder, name) for name in ("stdout", "stderr")]
        for path in outputs:
            path.touch()
        status = _FORKING_SERVER.run(
            module=module,
            arguments=[str(one) for one in arguments],
            environment=environment,
            folder=os.path.realpath(cwd or "."),
            outputs=[str(path) for path in outputs],
        )
        return subprocess.CompletedProcess(arguments, status, *(path.read_text() for path in outputs))


class _ForkingServer:
    """The process that forks the command lines of this test process, one at a time."""

    def __init__(self):
        self._server = None

    def run(self, **request):
        """Run a command line in a forked process, and return its exit status."""
        if self._server is None:
            self._server = subprocess.Popen(
                [sys.executable, TESTS / "forking_server.py"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=_ENVIRONMENT,
            )
        try:
            self._server.stdin.write(json.dumps(request).encode() + b"\n")
            self._server.stdin.flush()
            process = int(self._server.stdout.readline())
            return self._wait(process, request["arguments"])
        except BaseException:
            # Otherwise the next request would get the reply to this one.
            self._end()
            raise

    def _wait(self, process, arguments):
        is_done = False
        try:
            is_done = bool(select.select([self._server.stdout], [], [], _TIMEOUT)[0])
        finally:
            if not is_done:
                os.kill(process, signal.SIGKILL)
        if not is_done:
            raise subprocess.TimeoutExpired(arguments, _TIMEOUT)
        return int(self._server.stdout.readline())

    def _end(self):
        self._server.kill()
        self._server.communicate()
        self._server = None


_FORKING_SERVER = _ForkingServer()


def assert_fails(done, *parts, status=2, name="dal"):
    """Assert that it failed, and printed nothing but one line to stderr, which contains these parts."""
    assert (done.returncode, done.stdout) == (status, "")
    assert re.fullmatch(rf"{name}: [^\n]+\n", done.stderr), done.stderr
    for part in parts:
        assert part in done.stderr


def call(*arguments):
    """Run the command line in this process, which is faster still."""
    called = CliRunner().invoke(app, [str(one) for one in arguments])
    if called.exception is not None and not isinstance(called.exception, SystemExit):
        raise called.exception
    return subprocess.CompletedProcess(arguments, called.exit_code, called.stdout, called.stderr)
