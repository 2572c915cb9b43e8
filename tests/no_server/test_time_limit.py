"""A test that hangs ends the run, which prints its name and all stacks."""

import os
import subprocess
import sys

import pytest
from paths import TESTS

PROGRAM = """
import asyncio, ctypes, signal, threading, time
import pytest

def hang_forever():
    threading.Event().wait()

@pytest.mark.parametrize("number", [1])
def test_swallows_an_interrupt(number):
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.raise_signal(signal.SIGINT)
    hang_forever()

def test_loop():
    asyncio.run(asyncio.to_thread(hang_forever))

def test_holds_the_gil():
    ctypes.PyDLL(None).sleep(60)

def test_teardown_of_a_failure(hangs):
    raise AssertionError

@pytest.fixture
def hangs():
    yield
    hang_forever()

def test_leaves_a_thread():
    threading.Thread(target=hang_forever).start()

@pytest.mark.time_limit(60)
def test_may_take_longer():
    time.sleep(6)
"""

HANGS = {
    "test_swallows_an_interrupt": "TIME LIMIT of 5 s exceeded: test_it.py::test_swallows_an_interrupt[1]",
    "test_loop": "TIME LIMIT of 5 s exceeded: test_it.py::test_loop",
    "test_holds_the_gil": "in test_holds_the_gil",
    "test_teardown_of_a_failure": "TIME LIMIT of 5 s exceeded: test_it.py::test_teardown_of_a_failure",
    "test_leaves_a_thread": "TIME LIMIT of 5 s exceeded: after the last test",
}


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """Run each of the tests above in its own process, all in parallel."""
    folder = tmp_path_factory.mktemp("hangs")
    (folder / "test_it.py").write_text(PROGRAM)
    (folder / "pytest.ini").write_text("[pytest]\n")
    command = [sys.executable, "-m", "pytest", "-p", "time_limit", "--time-limit=5", "-k"]
    started = {
        name: subprocess.Popen(
            [*command, name],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(TESTS)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for name in [*HANGS, "test_may_take_longer"]
    }
    return {name: (run.communicate(timeout=60)[0], run.returncode) for name, run in started.items()}


@pytest.mark.parametrize(("name", "expected"), HANGS.items(), ids=HANGS)
def test_a_hanging_test_ends_the_run(runs, name, expected):
    output, status = runs[name]
    assert status == 1
    assert expected in output
    assert name == "test_holds_the_gil" or "in hang_forever" in output


def test_a_mark_allows_more_time(runs):
    output, status = runs["test_may_take_longer"]
    assert status == 0, output
