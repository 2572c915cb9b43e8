"""Programs that do not close their stores exit at once, and print nothing but a warning."""

import asyncio
import gc
import subprocess
import sys
import threading
import time
import warnings
from unittest.mock import patch

import pytest
from sides import pool_of

import dal
from dal._async.pool import AsyncStorePool
from dal._sync.pool import StorePool

PREAMBLE = """
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
ONE_APPEND = """
store = dal.SessionStore.connect(conninfo, schema=schema)
store.session().append("user", "x")
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
@pytest.mark.parametrize("kind", [ONE_APPEND, SYNC, ASYNC], ids=["main thread", "threads", "tasks"])
def test_a_program_exits_silently_without_closing_its_store(server, schema, tables, kind, end, development):  # noqa: PLR0917
    command = [sys.executable, *development, "-c", f"{PREAMBLE}{kind}{end}", server.conninfo, schema, end]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    # psycopg's pool logs connections that are cancelled at exit. In development mode, asyncio logs slow steps.
    usual = ("error connecting in 'pool-", "Executing <")
    output = [line for line in done.stderr.splitlines() if not line.startswith(usual)]
    assert (done.returncode, done.stdout, output) == (3 if end else 0, "", [])


def thread_names():
    """Return the names of the running threads."""
    return {thread.name for thread in threading.enumerate()}


@pytest.mark.parametrize("target_of", [lambda store: store, lambda store: store.writer()], ids=["store", "writer"])
def test_an_unclosed_store_warns_and_leaves_no_thread(server, schema, tables, target_of):
    before = thread_names()

    def use():
        target_of(dal.SessionStore.connect(server.conninfo, schema=schema)).session().append("user", "x")

    with warnings.catch_warnings(record=True) as warning_records:
        warnings.simplefilter("always")
        use()
        gc.collect()
        deadline = time.monotonic() + 20
        while thread_names() - before and time.monotonic() < deadline:
            gc.collect()
            time.sleep(0.05)
    assert thread_names() - before == set()
    messages = [str(one.message) for one in warning_records if one.category is ResourceWarning]
    assert "a store was never closed: use it as a context manager, or call close()" in messages


@pytest.mark.parametrize("target_of", [lambda store: store, lambda store: store.writer()], ids=["store", "writer"])
def test_an_unclosed_async_store_warns_and_leaves_no_task(server, schema, tables, target_of):
    async def use():
        await target_of(dal.AsyncSessionStore.connect(server.conninfo, schema=schema)).session().append("user", "x")

    async def main():
        await use()
        deadline = time.monotonic() + 20
        while len(asyncio.all_tasks()) > 1 and time.monotonic() < deadline:
            gc.collect()
            await asyncio.sleep(0.05)
        return [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]

    with warnings.catch_warnings(record=True) as warning_records:
        warnings.simplefilter("always")
        left = asyncio.run(main())
    assert left == []
    messages = [str(one.message) for one in warning_records if one.category is ResourceWarning]
    assert "a store was never closed: use it as a context manager, or call close()" in messages


def test_a_closed_or_unused_store_does_not_warn(server, schema, tables):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        dal.SessionStore.connect(server.conninfo, schema=schema)
        with dal.SessionStore.connect(server.conninfo, schema=schema) as store, store.writer() as writer:
            writer.session().append("user", "x")
        del store, writer
        gc.collect()


@pytest.mark.parametrize("pool", [StorePool, AsyncStorePool])
def test_a_pool_whose_creation_was_interrupted_is_collected(pool):
    unfinished = pool.__new__(pool)  # An interrupt came before the first line of __init__.
    with patch("sys.unraisablehook") as reported:
        del unfinished
        gc.collect()
    reported.assert_not_called()


def test_a_call_that_found_the_pool_open_just_before_it_closed_is_refused(side, server, schema, tables, monkeypatch):
    with side.connect_store(server.conninfo, schema=schema, timeout=5) as store:
        store.check_schema()
        pool = pool_of(store)
        find_open = pool._check_open_getconn

        def close_after():
            find_open()
            pool._closed = True
            pool._pool.clear()

        monkeypatch.setattr(pool, "_check_open_getconn", close_after)
        with pytest.raises(dal.StoreClosed):
            store.session("s").latest()
