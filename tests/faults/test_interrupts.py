"""Interrupted callers: a task is cancelled at each await, a thread is interrupted at each step."""

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
from faults.probe import CHANGES, Probe
from faults.steps import CallAtStep

SIZE = 2
RETURNS_WITHIN = 4.0
"""Seconds within which an interrupted call returns, even if the server hangs; its deadline is later."""

TARGETS = {"store": "", "writer": ", in a writer"}


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(60, 1800)


class CancelledAtAwait:
    """A coroutine that is cancelled at its `at`-th await, just before or just after the awaited result."""

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
def settings(fleet):
    return fleet.settings("probe") | {"max_size": SIZE, "timeout": 5.0}


async def use_all_connections(store):
    """Assert that all connections of the pool can be used at the same time."""
    async with AsyncExitStack() as stack:
        for _ in range(SIZE):
            connection = await stack.enter_async_context(store._backend.runner.connection())
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            await connection.execute("SELECT 1")


async def new(store, probe, fleet):
    """The pool has no connection yet."""


async def warm(store, probe, fleet):
    """A connection has prepared the statement."""
    for _ in range(7):
        await do(probe, store, probe.call())


async def broken(store, probe, fleet):
    """All connections are dead, and the store does not know it."""
    await use_all_connections(store)
    async with await psycopg.AsyncConnection.connect(fleet.conninfo, autocommit=True) as connection:
        await connection.execute(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE application_name = 'probe'"
        )


async def do(probe, store, call):
    await probe.send_async(store, call)
    assert call.error is None


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
@pytest.mark.parametrize("others", [0, 4], ids=["alone", "concurrent"])
@pytest.mark.parametrize("state", [new, warm, broken], ids=lambda state: state.__name__)
async def test_a_task_is_cancelled_at_each_await(fleet, scale, settings, *, state, others, late, target):
    with Probe(fleet, f"a task cancelled at each await{TARGETS[target]}", timeout=5.0) as probe:
        for _ in range(scale(1, 3)):
            at, reached = 0, True
            while reached and at < 60:
                at += 1
                async with AsyncExitStack() as stores:
                    store = await stores.enter_async_context(dal.AsyncSessionStore.connect(**settings))
                    if target == "writer":
                        store = await stores.enter_async_context(store.writer())
                    await state(store, probe, fleet)
                    call = probe.call(ids=True)
                    tasks = [asyncio.create_task(do(probe, store, probe.call(session=n))) for n in range(others)]
                    reached = await cancelled(call, store, at, late=late)
                    await asyncio.gather(*tasks)
                    if target == "writer" and (sending := store._backend.appends.here._workers.tasks):
                        await asyncio.wait(sending)  # The cancelled append continues in its own task.
                    async with asyncio.timeout(3):
                        await use_all_connections(store)
                    await do(probe, store, call.repeated)
                probe.injected += reached


@pytest.mark.parametrize("late", [False, True], ids=["before", "after"])
async def test_a_change_is_cancelled_at_each_await(fleet, scale, settings, late):
    """The cancelled call happens at most once, and so does the call that repeats it."""
    with Probe(fleet, "a change cancelled at each await", timeout=5.0) as probe:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            at, reached = 0, True
            while reached and at < scale(4, 60):
                at, reached = at + 1, False
                for change in CHANGES:
                    call = probe.change(*change)
                    if await cancelled(call, store, at, late=late):
                        reached, probe.injected = True, probe.injected + 1
                    if call.outcome == "unknown" and call.repeated:
                        await probe.send_async(store, again := call.repeated)
                        assert again.outcome in {None, "declined"}, again.error


async def cancelled(call, store, at, *, late):
    """Cancel the call at its `at`-th await; return whether it had so many awaits."""
    stepped = CancelledAtAwait(call.send(store), at, late=late)

    async def run():
        with call:
            call.acknowledged(await stepped)

    task = asyncio.create_task(run())
    await asyncio.wait([task])
    return stepped.cancelled


async def test_a_task_is_cancelled_while_it_waits_for_a_lock(fleet, scale, settings):
    with Probe(fleet, "a task cancelled while it waits for a lock", timeout=5.0) as probe:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            await do(probe, store, probe.call())
            for n in range(scale(4, 40)):
                call = probe.call(ids=True)
                async with await psycopg.AsyncConnection.connect(fleet.conninfo) as holder:
                    await holder.execute("SELECT FROM sessions WHERE session_id = %s FOR UPDATE", [call.session])
                    assert await cancelled(call, store, 1 + n % 4, late=False)
                    async with asyncio.timeout(3):
                        await use_all_connections(store)
                await do(probe, store, call.repeated)
                probe.injected += 1


async def test_a_task_is_cancelled_while_the_server_hangs(cluster, fleet, scale, settings):
    with Probe(fleet, "a task cancelled while the server hangs", timeout=5.0) as probe:
        async with dal.AsyncSessionStore.connect(**settings) as store:
            for _ in range(scale(1, 10)):
                await do(probe, store, probe.call())
                call = probe.call(ids=True)
                cluster.freeze()
                try:
                    began = time.monotonic()
                    assert await cancelled(call, store, 2, late=False)
                    assert time.monotonic() - began < RETURNS_WITHIN
                finally:
                    cluster.thaw()
                await do(probe, store, call.repeated)
                probe.injected += 1


def test_a_thread_is_interrupted_while_the_server_hangs(cluster, fleet, scale, settings):
    with Probe(fleet, "KeyboardInterrupt while the server hangs", timeout=5.0) as probe:
        with dal.SessionStore.connect(**settings) as store:
            for _ in range(scale(1, 10)):
                probe.retry(store, probe.call())
                call = probe.call(ids=True)
                cluster.freeze()
                timer = threading.Timer(0.2, press_ctrl_c)
                try:
                    timer.start()
                    began = time.monotonic()
                    probe.send(store, call)
                    assert time.monotonic() - began < RETURNS_WITHIN
                finally:
                    cluster.thaw()
                timer.join()
                assert isinstance(call.error, KeyboardInterrupt)
                probe.retry(store, call.repeated)
                probe.injected += 1


def press_ctrl_c():
    with suppress(RuntimeError):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)


class Timeout(BaseException):
    """An exception of a service's own signal handler."""


INTERRUPTS = [KeyboardInterrupt, SystemExit, Timeout]


def raise_it(kind):
    raise kind


def use_every_connection(store):
    with ExitStack() as stack:
        for _ in range(SIZE):
            connection = stack.enter_context(store._backend.runner.connection())
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            connection.execute("SELECT 1")


def in_transaction(store, call):
    with store.transaction() as tx:
        return call.send(tx)


def send_interrupted(probe, store, call, send, at):
    """Interrupt a call; then use all connections of the pool, and resend the call."""
    with call:
        try:
            sys.setprofile(CallAtStep(at, partial(raise_it, INTERRUPTS[at % len(INTERRUPTS)])))
            stored = send(store, call)
        finally:
            sys.setprofile(None)
        call.acknowledged(stored)
    use_every_connection(store)
    if call.error is not None:
        probe.injected += 1
        probe.retry(store, call.repeated)
    return call.error is not None


@pytest.mark.parametrize("state", ["new", "warm", "transaction", "writer"])
def test_a_thread_is_interrupted_at_each_step(fleet, scale, settings, state):
    send = in_transaction if state == "transaction" else lambda store, call: call.send(store)
    at, reached = 1, True
    with Probe(fleet, "interrupted at each step", timeout=5.0) as probe, ExitStack() as stores:
        store = stores.enter_context(dal.SessionStore.connect(**settings))
        if state == "writer":
            store = stores.enter_context(store.writer())
        while reached:
            if state == "new":
                stores.close()
                store = stores.enter_context(dal.SessionStore.connect(**settings))
            reached = send_interrupted(probe, store, probe.call(ids=True), send, at)
            at += scale(23, 1)


@pytest.mark.parametrize("target", TARGETS)
def test_a_thread_is_interrupted_at_random_moments(fleet, scale, settings, target):
    chance = random.Random(1)
    with Probe(fleet, f"KeyboardInterrupt at any moment{TARGETS[target]}", timeout=5.0) as probe, ExitStack() as stores:
        store = stores.enter_context(dal.SessionStore.connect(**settings))
        if target == "writer":
            store = stores.enter_context(store.writer())
            stores.enter_context(concurrent_appends(probe, store))
        for _ in range(scale(20, 300)):
            probe.retry(store, probe.call())
            call, timer = probe.call(ids=True), threading.Timer(chance.uniform(0, 0.004), press_ctrl_c)
            with suppress(KeyboardInterrupt):  # It may arrive after the call.
                timer.start()
                probe.send(store, call)
                timer.join()
            timer.join()
            use_every_connection(store)
            if call.error is not None:
                probe.injected += 1
                probe.retry(store, call.repeated)


@contextmanager
def concurrent_appends(probe, store):
    """Append in threads through the same writer; none of them may fail."""
    ended, errors = threading.Event(), []

    def append(session):
        while not ended.is_set():
            call = probe.call(session=session)
            probe.send(store, call)
            errors.extend([call.error] if call.error else [])

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
    assert errors == []
