"""A time limit for each test. When it expires, the run ends and shows the test's name and the stack of every thread.

This works where an interrupt does not: in a test that swallows Ctrl-C, and in C code that never returns.
"""

import faulthandler
import os
import threading

import pytest

GRACE = 3
"""Seconds after the limit at which C code that holds the GIL is ended: then no thread can print the test's name."""


def pytest_addoption(parser):
    parser.addoption(
        "--time-limit",
        type=float,
        default=240,
        metavar="SECONDS",
        help="end the run if the setup, call or teardown of a test that has no time_limit mark takes longer",
    )


def pytest_configure(config):
    config.addinivalue_line("markers", "time_limit(seconds): end the run if the test takes longer")
    config.pluginmanager.register(TimeLimit(config.option.time_limit, is_worker=hasattr(config, "workerinput")))


class TimeLimit:
    """Limits the setup, the call and the teardown of each test, and the exit of the interpreter."""

    def __init__(self, seconds, *, is_worker):
        self._seconds = seconds
        self._is_worker = is_worker
        self._stderr = os.dup(2)  # Output is not captured yet.
        self._timer = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_setup(self, item):
        return (yield from self._limit(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_call(self, item):
        return (yield from self._limit(item))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_teardown(self, item):
        return (yield from self._limit(item))

    def pytest_enter_pdb(self):
        self._cancel()

    def pytest_unconfigure(self):
        """Limit the exit too, which a thread can block. A process of pytest-xdist waits there for the others."""
        if not self._is_worker:
            self._start("after the last test", self._seconds)

    def _limit(self, item):
        mark = item.get_closest_marker("time_limit")
        self._start(item.nodeid, mark.args[0] if mark else self._seconds)
        try:
            return (yield)
        finally:
            self._cancel()

    def _start(self, name, seconds):
        self._timer = threading.Timer(seconds, self._expire, [name, seconds])
        self._timer.daemon = True
        self._timer.start()
        faulthandler.dump_traceback_later(seconds + GRACE, exit=True, file=self._stderr)

    def _cancel(self):
        faulthandler.cancel_dump_traceback_later()
        self._timer.cancel()

    def _expire(self, name, seconds):
        os.write(self._stderr, f"\n\nTIME LIMIT of {seconds:g} s exceeded: {name}\n".encode())
        faulthandler.dump_traceback(self._stderr)
        os._exit(1)
