"""The caller gives up in the middle: a task is cancelled at each await, KeyboardInterrupt comes at each step."""

import asyncio
import random
import signal
import sys
import threading
import time
from contextlib import AsyncExitStack, ExitStack, contextmanager, suppress
from functools import partial

import psycopg
import pytest

import dal
from faults.probe import Focus
from faults.steps import AtStep

SIZE = 2
GIVES_UP = 4.0
"""Seconds within which an interrupted call returns, even from a server that hangs; its deadline is later."""

WAYS = {"store": "", "writer": ", in a writer"}


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 1800)


class Stepped:
    """A coroutine that is cancelled when it waits for the `at`-th time, before what it waits for or just after."""

    def __init__(self, coroutine, at, *, late):
        self._coroutine, self._at, self._late = coroutine, at, late
        self.cancelled = False

    def __await__(self):
        inner = self._coroutine.__await__()
        step, send, value = 0, inner.send, None
        while True:
            try:
                waited_for = send(value)
            except StopIteration as end:
                return end.value
            step += 1
            if step == self._at:
                self.cancelled = True
                cancel = asyncio.current_task().cancel
                if self._late and waited_for is not None:
                    waited_for.add_done_callback(lambda _, cancel=cancel: cancel())
                else:
                    cancel()
            try:
                value = yield waited_for
                send = inner.send
            except BaseException as error:  # noqa: BLE001 - it is the coroutine's to handle
                value, send = error, inner.throw


@pytest.fixture
def settings(crew):
    return crew.settings("focus") | {"max_size": SIZE, "timeout": 5.0}


async def all_connections(store):
    """The pool gives all of its connections, at once and fit for use."""
    async with AsyncExitStack() as stack:
        for _ in range(SIZE):
            connection = await stack.enter_async_context(store._backend.runner.connection())
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            await connection.execute("SELECT 1")


async def first(store, focus, crew):
    """Nothing is connected yet."""


async def warm(store, focus, crew):
    """A connection is there and knows the statement."""
    for _ in range(7):
        await do(focus, store, focus.call())


async def broken(store, focus, crew):
    """All connections are dead, which is found on the way."""
    await all_connections(store)
    async with await psycopg.AsyncConnection.connect(crew.conninfo, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'focus'"
        )


async def do(focus, store, call):
    await focus.once_async(store, call)
    assert call.error is None


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("crowd", [0, 4], ids=["alone", "crowd"])
@pytest.mark.parametrize("state", [first, warm, broken], ids=lambda state: state.__name__)
async def test_cancelled_at_each_await(crew, scale, settings, *, state, crowd, late, way):
    with Focus(crew, f"a task cancelled at each await{WAYS[way]}", timeout=5.0) as focus:
        for _ in range(scale(1, 3)):
            at, reached = 0, True
            while reached and at < 60:
                at += 1
                async with AsyncExitStack() as stores:
                    store = await stores.enter_async_context(dal.AsyncSessionStore.connect(**settings))
                    if way == "writer":
                        store = await stores.enter_async_context(store.writer())
                    await state(store, focus, crew)
                    call = focus.call(ids=True)
                    others = [asyncio.create_task(do(focus, store, focus.call(session=n))) for n in range(crowd)]
                    reached = await cancelled(call, store, at, late=late)
                    await asyncio.gather(*others)
                    if way == "writer" and (tasks := store._backend.appends.here._workers.tasks):
                        await asyncio.wait(tasks)  # What was cancelled goes on, in a task of its own.
                    async with asyncio.timeout(3):
                        await all_connections(store)
                    again = call.again
                    await do(focus, store, again)
                focus.injected += reached


async def cancelled(call, store, at, *, late):
    """Cancel the call at its `at`-th await; whether it had so many."""
    stepped = Stepped(call.send(store), at, late=late)

    async def run():
        with call:
            call.acknowledged(await stepped)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    call.ids = call.ids or []
    return stepped.cancelled


async def test_cancelled_while_it_waits_for_a_lock(crew, scale, settings):
    with Focus(crew, "a task cancelled while it waits for a lock", timeout=5.0) as focus:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await do(focus, store, focus.call())
            for n in range(scale(4, 40)):
                call = focus.call(ids=True)
                async with await psycopg.AsyncConnection.connect(crew.conninfo) as holder:
                    await holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [call.session])
                    assert await cancelled(call, store, 1 + n % 4, late=False)
                    async with asyncio.timeout(3):
                        await all_connections(store)
                await do(focus, store, call.again)
                focus.injected += 1


async def test_cancelled_while_the_server_hangs(cluster, crew, scale, settings):
    with Focus(crew, "a task cancelled while the server hangs", timeout=5.0) as focus:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            for _ in range(scale(1, 10)):
                await do(focus, store, focus.call())
                call = focus.call(ids=True)
                cluster.freeze()
                try:
                    began = time.monotonic()
                    assert await cancelled(call, store, 2, late=False)
                    assert time.monotonic() - began < GIVES_UP
                finally:
                    cluster.thaw()
                await do(focus, store, call.again)
                focus.injected += 1


def test_interrupted_while_the_server_hangs(cluster, crew, scale, settings):
    with Focus(crew, "KeyboardInterrupt while the server hangs", timeout=5.0) as focus:
        with dal.SessionStore.connect(**settings) as store:
            for _ in range(scale(1, 10)):
                focus.do(store, focus.call())
                call = focus.call(ids=True)
                cluster.freeze()
                timer = threading.Timer(0.2, press)
                try:
                    timer.start()
                    began = time.monotonic()
                    focus.once(store, call)
                    assert time.monotonic() - began < GIVES_UP
                finally:
                    cluster.thaw()
                timer.join()
                assert isinstance(call.error, KeyboardInterrupt)
                focus.do(store, call.again)
                focus.injected += 1


def press():
    """Ctrl-C."""
    with suppress(RuntimeError):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


class TimeIsUp(BaseException):
    """What a signal handler of a service's own may raise."""


INTERRUPTS = [KeyboardInterrupt, SystemExit, TimeIsUp]


def interrupt(kind):
    raise kind


def every_connection(store):
    with ExitStack() as stack:
        for _ in range(SIZE):
            connection = stack.enter_context(store._backend.runner.connection())
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            connection.execute("SELECT 1")


def in_transaction(store, call):
    with store.transaction() as tx:
        return call.send(tx)


def interrupted(focus, store, call, send, at):
    """Interrupt a call; then the pool is whole, and the call made again stores each message once."""
    with call:
        try:
            sys.setprofile(AtStep(at, partial(interrupt, INTERRUPTS[at % len(INTERRUPTS)])))
            stored = send(store, call)
        finally:
            sys.setprofile(None)
        call.acknowledged(stored)
    every_connection(store)
    if call.error is not None:
        focus.injected += 1
        focus.do(store, call.again)
    return call.error is not None


@pytest.mark.parametrize("state", ["first", "warm", "transaction", "writer"])
def test_interrupted_at_each_step(crew, scale, settings, state):
    send = in_transaction if state == "transaction" else lambda store, call: call.send(store)
    at, reached = 1, True
    with Focus(crew, "interrupted at each step", timeout=5.0) as focus, ExitStack() as stores:
        store = stores.enter_context(dal.SessionStore.connect(**settings))
        if state == "writer":
            store = stores.enter_context(store.writer())
        while reached:
            if state == "first":
                stores.close()
                store = stores.enter_context(dal.SessionStore.connect(**settings))
            reached = interrupted(focus, store, focus.call(ids=True), send, at)
            at += scale(23, 1)


@pytest.mark.parametrize("way", WAYS)
def test_interrupted_at_any_moment(crew, scale, settings, way):
    chance = random.Random(1)
    with Focus(crew, f"KeyboardInterrupt at any moment{WAYS[way]}", timeout=5.0) as focus, ExitStack() as stores:
        store = stores.enter_context(dal.SessionStore.connect(**settings))
        if way == "writer":
            store = stores.enter_context(store.writer())
            stores.enter_context(a_crowd(focus, store))
        for _ in range(scale(20, 300)):
            focus.do(store, focus.call())
            call, timer = focus.call(ids=True), threading.Timer(chance.uniform(0, 0.004), press)
            with suppress(KeyboardInterrupt):  # It may come after the call.
                timer.start()
                focus.once(store, call)
                timer.join()
            timer.join()
            every_connection(store)
            if call.error is not None:
                focus.injected += 1
                focus.do(store, call.again)


@contextmanager
def a_crowd(focus, store):
    """Threads that append through the same writer, and are not to notice that somebody was interrupted."""
    ended, wrong = threading.Event(), []

    def append(session):
        while not ended.is_set():
            call = focus.call(session=session)
            focus.once(store, call)
            wrong.extend([call.error] if call.error else [])

    threads = [threading.Thread(target=append, args=(session,), daemon=True) for session in (0, 1, 1, 2)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(10)
    assert not any(thread.is_alive() for thread in threads)
    assert wrong == []
