"""A program that closes nothing ends at once, and prints nothing."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import warnings

import pytest

import dal

USED = """
import asyncio, sys, threading, time
import dal

conninfo, schema, end = sys.argv[1:]
"""
SYNC = """
store = dal.SessionStore.connect(conninfo, schema=schema)
writer = store.writer()

def append():
    while True:
        writer.session("s").append("user", "x")

store.session("s").append("user", "x")
writer.session("s").append("user", "x")
for _ in range(3):
    threading.Thread(target=append, daemon=True).start()
time.sleep(0.2)
"""
ASYNC = """
store = dal.AsyncSessionStore.connect(conninfo, schema=schema)
writer = store.writer()

async def main():
    await asyncio.gather(*(writer.session().append("user", "x") for _ in range(20)))
    await asyncio.gather(*(store.session().append("user", "x") for _ in range(20)))
    if end == "sys.exit(3)":
        sys.exit(3)

asyncio.run(main())
"""


@pytest.mark.parametrize("development", [[], ["-X", "dev"]], ids=["", "dev"])
@pytest.mark.parametrize("end", ["", "sys.exit(3)"])
@pytest.mark.parametrize("kind", [SYNC, ASYNC], ids=["threads", "tasks"])
def test_a_program_ends_without_a_word(server, schema, tables, kind, end, development):  # noqa: PLR0917
    command = [sys.executable, *development, "-c", f"{USED}{kind}{end}", server.conninfo, schema, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # The driver's pool logs that it was cancelled while it connected.
    said = [line for line in done.stderr.splitlines() if not line.startswith("error connecting in 'pool-")]
    assert (done.returncode, done.stdout, said) == (3 if end else 0, "", [])


def names():
    """The threads that are there, without those that tests share."""
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("through", [lambda store: store, lambda store: store.writer()], ids=["store", "writer"])
def test_what_was_not_closed_warns_and_leaves_no_thread(server, schema, tables, through):
    before = names()

    def use():
        through(dal.SessionStore.connect(server.conninfo, schema=schema)).session().append("user", "x")

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        use()
        gc.collect()
        until = time.monotonic() + 20
        while names() - before and time.monotonic() < until:
            gc.collect()
            time.sleep(0.05)
    assert names() - before == set()
    told = [str(one.message) for one in warned if one.category is ResourceWarning]
    assert "a store was never closed: use it as a context manager, or call close()" in told


@pytest.mark.parametrize("through", [lambda store: store, lambda store: store.writer()], ids=["store", "writer"])
def test_what_was_not_closed_warns_and_leaves_no_task(server, schema, tables, through):
    async def use():
        await through(dal.AsyncSessionStore.connect(server.conninfo, schema=schema)).session().append("user", "x")

    async def main():
        await use()
        until = time.monotonic() + 20
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < until:
            gc.collect()
            await asyncio.sleep(0.05)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    with warnings.catch_warnings(record=True) as warned:
        warnings.simplefilter("always")
        left = asyncio.run(main())
    assert left == []
    told = [str(one.message) for one in warned if one.category is ResourceWarning]
    assert "a store was never closed: use it as a context manager, or call close()" in told


def test_what_was_closed_or_never_used_warns_of_nothing(server, schema, tables):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dal.SessionStore.connect(server.conninfo, schema=schema)
        with dal.SessionStore.connect(server.conninfo, schema=schema) as store, store.writer() as writer:
            writer.session().append("user", "x")
        del store, writer
        gc.collect()
