"""A signal handler closes the store, or the writer, of the thread that it has interrupted."""

import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

import dal
from faults.probe import Focus
from faults.steps import AtStep

TIMEOUT = 5.0
SLACK = 2.0
"""Seconds more that a busy machine may take."""


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(120, 1800)


@pytest.fixture
def settings(crew):
    return crew.settings("focus") | {"max_size": 2, "timeout": TIMEOUT}


class Closing:
    """A handler that closes what a service has, and how long that took, the longest of all."""

    def __init__(self):
        self.closes = []
        self.seconds = 0.0

    def __call__(self, *_):
        began = time.monotonic()
        for close in self.closes:
            close()
        self.seconds = max(self.seconds, time.monotonic() - began)
        self.closes = []


WAYS = ["store", "writer"]


def opened(stack, settings, way, closing):
    """A store of its own, and what is appended through."""
    store = stack.enter_context(dal.SessionStore.connect(**settings))
    closing.closes = [store.close]
    if way == "writer":
        store = stack.enter_context(store.writer())
        closing.closes.insert(0, store.close)
    return store


def refused_or_stored(call):
    assert call.error is None or isinstance(call.error, dal.StoreClosed | dal.ServerUnavailable), call.error
    return call.error is not None


@pytest.mark.parametrize("way", WAYS)
def test_closed_at_each_step(crew, scale, settings, way):
    closing, at, reached = Closing(), 1, True
    with Focus(crew, f"closed by a signal handler at each step: {way}", timeout=TIMEOUT) as focus:
        while reached:
            with ExitStack() as stack:
                store = opened(stack, settings, way, closing)
                focus.do(store, focus.call())
                sys.setprofile(AtStep(at, closing))
                try:
                    focus.once(store, call := focus.call())
                finally:
                    sys.setprofile(None)
                reached = not closing.closes
                focus.injected += reached
                refused_or_stored(call)
            at += scale(7, 1) if way == "writer" else scale(23, 3)
    assert closing.seconds < TIMEOUT + SLACK


def terminate():
    with suppress(RuntimeError):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)


@contextmanager
def on_sigterm(handler):
    before = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def appended_until_closed(focus, store, session=0):
    """Append until that is refused."""
    while True:
        focus.once(store, call := focus.call(session=session))
        if refused_or_stored(call):
            return call.error


@pytest.mark.parametrize("way", WAYS)
def test_closed_at_any_moment(crew, scale, settings, way):
    """While others append too, to the same session and to their own."""
    chance, closing = random.Random(1), Closing()
    with (
        Focus(crew, f"closed by SIGTERM's handler at any moment: {way}", timeout=TIMEOUT) as focus,
        on_sigterm(closing),
    ):
        for _ in range(scale(4, 100)):
            with ExitStack() as stack:
                store = opened(stack, settings, way, closing)
                focus.do(store, focus.call())
                with ThreadPoolExecutor(3) as others:
                    ends = [others.submit(appended_until_closed, focus, store, session) for session in (0, 0, 1)]
                    timer = threading.Timer(chance.uniform(0.01, 0.05), terminate)
                    timer.start()
                    errors = [appended_until_closed(focus, store), *(end.result(30) for end in ends)]
                    timer.join()
                assert {type(error) for error in errors} == {dal.StoreClosed}
                focus.injected += 1
    assert closing.seconds < TIMEOUT + SLACK


@pytest.mark.parametrize("way", WAYS)
def test_closed_while_the_server_hangs(cluster, crew, scale, settings, way):
    settings |= {"timeout": 1.0}
    closing = Closing()
    with Focus(crew, f"closed by SIGTERM's handler while the server hangs: {way}", timeout=1.0) as focus:
        with on_sigterm(closing), ExitStack() as stack:
            store = opened(stack, settings, way, closing)
            focus.do(store, focus.call())
            timer = threading.Timer(0.3, terminate)
            cluster.freeze()
            try:
                timer.start()
                focus.once(store, call := focus.call())
            finally:
                cluster.thaw()
            timer.join()
            assert refused_or_stored(call)
            focus.injected += 1
    assert closing.seconds < len(WAYS) * 1.0 + SLACK, "the writer, and then the store"
