"""Forks while a store appends, and event loops that end while another one continues."""

import asyncio
import os
import signal
import threading
import time
from contextlib import contextmanager
from itertools import count

import pytest
from forks import Child

import dal
from faults.probe import Probe

TIMEOUT = 5.0
LOOPS = "an event loop ends in the middle of appends"
FORKED = "a fork in the middle of appends"
KILLED = "SIGKILL of a forked child while it appends"


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 600)


def settings(fleet):
    return fleet.settings("probe") | {"timeout": TIMEOUT}


def append_and_read(probe, store, name, calls):
    """Append to shared sessions and a user's, and read the latter; return the lateness and foreign messages."""
    confined, foreign = store.for_user(name), 0
    for common, private in zip(probe.calls_of(name, calls), probe.calls_of_user(name, calls), strict=True):
        probe.send(store, common)
        probe.send(confined, private)
        foreign += probe.count_foreign(name, confined.session(private.session).latest(20))
    return probe.late, foreign


async def append_and_read_async(probe, store, name, calls):
    confined, foreign = store.for_user(name), 0
    for common, private in zip(probe.calls_of(name, calls), probe.calls_of_user(name, calls), strict=True):
        await probe.send_async(store, common)
        await probe.send_async(confined, private)
        foreign += probe.count_foreign(name, await confined.session(private.session).latest(20))
    return probe.late, foreign


def add_result(probe, result):
    late, foreign = result
    probe.late = max(probe.late, late)
    probe.foreign = (probe.foreign or 0) + foreign


@contextmanager
def appending(probe, targets):
    """Append to each target in its own thread, until the block ends."""
    ended = threading.Event()

    def write(n):
        for turn in count():
            if ended.is_set():
                return
            add_result(probe, append_and_read(probe, targets[n], f"thread{n}.{turn}", 10))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(len(targets))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()


@contextmanager
def busy_store(fleet, fault):
    """Yield a probe and its targets, a store and its writer, to which threads append meanwhile."""
    with (
        Probe(fleet, fault, timeout=TIMEOUT) as probe,
        dal.SessionStore.connect(**settings(fleet)) as store,
        store.writer() as writer,
        appending(probe, [store, writer]),
    ):
        yield probe, [store, writer]


def test_children_forked_while_threads_append(fleet, scale):
    with busy_store(fleet, FORKED) as (probe, targets):
        for n in range(scale(2, 40)):
            children = [
                Child(lambda target=target, name=f"child{n}.{m}": append_and_read(probe, target, name, 15))
                for m, target in enumerate(targets)
            ]
            probe.injected += len(children)
            for child in children:
                add_result(probe, child.result())


def test_children_forked_while_tasks_append(fleet, scale):
    async def run(probe):
        ended = False

        async def write(target, task):
            for turn in count():
                if ended:
                    return
                add_result(probe, await append_and_read_async(probe, target, f"task{task}.{turn}", 10))

        async with dal.AsyncSessionStore.connect(**settings(fleet)) as store, store.writer() as writer:
            tasks = [asyncio.create_task(write((store, writer)[n % 2], n)) for n in range(4)]
            for n in range(scale(4, 40)):
                await asyncio.sleep(0.02)
                target = (store, writer)[n % 2]
                child = Child(
                    lambda target=target, n=n: asyncio.run(append_and_read_async(probe, target, f"child{n}", 20))
                )
                probe.injected += 1
                add_result(probe, await asyncio.to_thread(child.result))
            ended = True
            await asyncio.gather(*tasks)

    with Probe(fleet, FORKED, timeout=TIMEOUT) as probe:
        asyncio.run(run(probe))


def test_forked_children_are_killed_while_they_append(fleet, scale):
    with busy_store(fleet, KILLED) as (probe, targets):
        for n in range(scale(4, 40)):
            child = Child(lambda target=targets[n % 2], n=n: append_and_read(probe, target, f"child{n}", 100_000))
            time.sleep(0.1)
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(AssertionError, match="no result"):
                child.result()
            probe.injected += 1


def test_an_event_loop_ends_while_tasks_append(fleet, scale):
    """After every second loop, all connections are terminated."""
    with Probe(fleet, LOOPS, timeout=TIMEOUT) as probe, fleet.harness() as connection:
        store = dal.AsyncSessionStore.connect(**settings(fleet))
        targets = store, store.writer()

        async def run_loop(n):
            for result in await asyncio.gather(
                *(append_and_read_async(probe, targets[m % 2], f"{n}.{m}", 2) for m in range(6))
            ):
                add_result(probe, result)
            left = [asyncio.create_task(probe.send_async(targets[m % 2], probe.call(session=m % 3))) for m in range(6)]
            await asyncio.wait(left, timeout=0.001 * (n % 5))  # The end of the loop cancels the rest.

        for n in range(scale(6, 45)):
            asyncio.run(run_loop(n))
            probe.injected += 1
            if n % 2:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'probe'"
                )
        close(targets)


def test_several_event_loops_append_concurrently(fleet, scale):
    with Probe(fleet, "several event loops at once", timeout=TIMEOUT) as probe:
        store = dal.AsyncSessionStore.connect(**settings(fleet))
        targets = store, store.writer()

        async def run_loop(loop):
            calls = scale(5, 100)
            users = (append_and_read_async(probe, targets[m % 2], f"{loop}.{m}", calls) for m in range(4))
            for result in await asyncio.gather(*users):
                add_result(probe, result)

        threads = [threading.Thread(target=lambda n=n: asyncio.run(run_loop(n))) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        probe.injected += len(threads)
        close(targets)


def close(targets):
    async def close_all():
        for target in reversed(targets):
            await target.close()

    asyncio.run(close_all())
