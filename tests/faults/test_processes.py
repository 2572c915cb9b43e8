"""A store's process is forked while it appends, and its event loop ends and another one goes on."""

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
from faults.probe import Focus

TIMEOUT = 5.0
LOOPS = "an event loop ends in the middle of appends"
FORKED = "a fork in the middle of appends"
KILLED = "SIGKILL of a forked child while it appends"


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 600)


def settings(crew):
    return crew.settings("focus") | {"timeout": TIMEOUT}


def use(focus, store, name, calls):
    """Append to sessions of all and of a user, and read the user's; return how late it was, and what was not theirs."""
    own, foreign = store.for_user(name), 0
    for common, private in zip(focus.calls_of(name, calls), focus.calls_of_user(name, calls), strict=True):
        focus.once(store, common)
        focus.once(own, private)
        foreign += focus.foreign_of(name, own.session(private.session).latest(20))
    return focus.late, foreign


async def use_async(focus, store, name, calls):
    own, foreign = store.for_user(name), 0
    for common, private in zip(focus.calls_of(name, calls), focus.calls_of_user(name, calls), strict=True):
        await focus.once_async(store, common)
        await focus.once_async(own, private)
        foreign += focus.foreign_of(name, await own.session(private.session).latest(20))
    return focus.late, foreign


def note(focus, told):
    late, foreign = told
    focus.late = max(focus.late, late)
    focus.foreign = (focus.foreign or 0) + foreign


@contextmanager
def writing(focus, ways):
    """A thread for each way, which uses it all the while."""
    ends = threading.Event()

    def write(n):
        for turn in count():
            if ends.is_set():
                return
            note(focus, use(focus, ways[n], f"thread{n}.{turn}", 10))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(len(ways))]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ends.set()
        for thread in threads:
            thread.join()


@contextmanager
def used(crew, fault):
    """A store and its writer, which threads use all the while."""
    with (
        Focus(crew, fault, timeout=TIMEOUT) as focus,
        dal.SessionStore.connect(**settings(crew)) as store,
        store.writer() as writer,
        writing(focus, [store, writer]),
    ):
        yield focus, [store, writer]


def test_forks(crew, scale):
    with used(crew, FORKED) as (focus, ways):
        for n in range(scale(2, 40)):
            children = [
                Child(lambda way=way, name=f"child{n}.{m}": use(focus, way, name, 15)) for m, way in enumerate(ways)
            ]
            focus.injected += len(children)
            for child in children:
                note(focus, child.result())


def test_forks_in_an_event_loop(crew, scale):
    async def run(focus):
        ended = False

        async def write(way, task):
            for turn in count():
                if ended:
                    return
                note(focus, await use_async(focus, way, f"task{task}.{turn}", 10))

        async with dal.AsyncSessionStore.connect(**settings(crew)) as store, store.writer() as writer:
            tasks = [asyncio.create_task(write((store, writer)[n % 2], n)) for n in range(4)]
            for n in range(scale(4, 40)):
                await asyncio.sleep(0.02)
                way = (store, writer)[n % 2]
                child = Child(lambda way=way, n=n: asyncio.run(use_async(focus, way, f"child{n}", 20)))
                focus.injected += 1
                note(focus, await asyncio.to_thread(child.result))
            ended = True
            await asyncio.gather(*tasks)

    with Focus(crew, FORKED, timeout=TIMEOUT) as focus:
        asyncio.run(run(focus))


def test_children_are_killed(crew, scale):
    with used(crew, KILLED) as (focus, ways):
        for n in range(scale(4, 40)):
            child = Child(lambda way=ways[n % 2], n=n: use(focus, way, f"child{n}", 100_000))
            time.sleep(0.1)
            os.kill(child.pid, signal.SIGKILL)
            with pytest.raises(AssertionError, match="told nothing"):
                child.result()
            focus.injected += 1


def test_loops(crew, scale):
    """Every second one has lost all its connections besides."""
    with Focus(crew, LOOPS, timeout=TIMEOUT) as focus, crew.harness() as connection:
        store = dal.AsyncSessionStore.connect(**settings(crew))
        ways = store, store.writer()

        async def live(n):
            for told in await asyncio.gather(*(use_async(focus, ways[m % 2], f"{n}.{m}", 2) for m in range(6))):
                note(focus, told)
            left = [asyncio.create_task(focus.once_async(ways[m % 2], focus.call(session=m % 3))) for m in range(6)]
            await asyncio.wait(left, timeout=0.001 * (n % 5))  # The rest is cancelled by the loop's end.

        for n in range(scale(6, 45)):
            asyncio.run(live(n))
            focus.injected += 1
            if n % 2:
                connection.execute(
                    "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'focus'"
                )
        close(ways)


def test_loops_in_threads(crew, scale):
    with Focus(crew, "several event loops at once", timeout=TIMEOUT) as focus:
        store = dal.AsyncSessionStore.connect(**settings(crew))
        ways = store, store.writer()

        async def live(loop):
            calls = scale(5, 100)
            users = (use_async(focus, ways[m % 2], f"{loop}.{m}", calls) for m in range(4))
            for told in await asyncio.gather(*users):
                note(focus, told)

        threads = [threading.Thread(target=lambda n=n: asyncio.run(live(n))) for n in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        focus.injected += len(threads)
        close(ways)


def close(ways):
    async def close_all():
        for way in reversed(ways):
            await way.close()

    asyncio.run(close_all())
