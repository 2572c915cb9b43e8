"""A signal handler closes the store or the writer that the interrupted thread is using."""

import random
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress

import pytest

import dal
from faults.probe import Probe
from faults.steps import CallAtStep

TIMEOUT = 5.0
SLACK = 2.0
"""Extra seconds for a busy machine."""


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(120, 1800)


@pytest.fixture
def settings(fleet):
    return fleet.settings("probe") | {"max_size": 2, "timeout": TIMEOUT}


class CloseHandler:
    """A signal handler that closes a store or a writer, and records the longest duration."""

    def __init__(self):
        self.closes = []
        self.seconds = 0.0

    def __call__(self, *_):
        began = time.monotonic()
        for close in self.closes:
            close()
        self.seconds = max(self.seconds, time.monotonic() - began)
        self.closes = []


TARGETS = ["store", "writer"]


def open_target(stack, settings, target, closing):
    """Open a store; return it or its writer."""
    store = stack.enter_context(dal.SessionStore.connect(**settings))
    closing.closes = [store.close]
    if target == "writer":
        store = stack.enter_context(store.writer())
        closing.closes.insert(0, store.close)
    return store


def assert_refused_or_stored(call):
    assert call.error is None or isinstance(call.error, dal.StoreClosed | dal.ServerUnavailable), call.error
    return call.error is not None


@pytest.mark.parametrize("target", TARGETS)
def test_a_handler_closes_it_at_each_step_of_an_append(fleet, scale, settings, target):
    closing, at, reached = CloseHandler(), 1, True
    with Probe(fleet, f"closed by a signal handler at each step: {target}", timeout=TIMEOUT) as probe:
        while reached:
            with ExitStack() as stack:
                store = open_target(stack, settings, target, closing)
                probe.retry(store, probe.call())
                sys.setprofile(CallAtStep(at, closing))
                try:
                    probe.send(store, call := probe.call())
                finally:
                    sys.setprofile(None)
                reached = not closing.closes
                probe.injected += reached
                assert_refused_or_stored(call)
            at += scale(7, 1) if target == "writer" else scale(23, 3)
    assert closing.seconds < TIMEOUT + SLACK


def terminate():
    with suppress(RuntimeError):
        signal.pthread_kill(threading.main_thread().ident, signal.SIGTERM)


@contextmanager
def on_sigterm(handler):
    previous = signal.signal(signal.SIGTERM, handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def append_until_closed(probe, store, session=0):
    """Append until an append fails; return its error."""
    while True:
        probe.send(store, call := probe.call(session=session))
        if assert_refused_or_stored(call):
            return call.error


@pytest.mark.parametrize("target", TARGETS)
def test_a_handler_closes_it_at_random_moments(fleet, scale, settings, target):
    """Other threads append meanwhile, to the same session and to another."""
    chance, closing = random.Random(1), CloseHandler()
    with (
        Probe(fleet, f"closed by SIGTERM's handler at any moment: {target}", timeout=TIMEOUT) as probe,
        on_sigterm(closing),
    ):
        for _ in range(scale(4, 100)):
            with ExitStack() as stack:
                store = open_target(stack, settings, target, closing)
                probe.retry(store, probe.call())
                with ThreadPoolExecutor(3) as others:
                    ends = [others.submit(append_until_closed, probe, store, session) for session in (0, 0, 1)]
                    timer = threading.Timer(chance.uniform(0.01, 0.05), terminate)
                    timer.start()
                    errors = [append_until_closed(probe, store), *(end.result(30) for end in ends)]
                    timer.join()
                assert {type(error) for error in errors} == {dal.StoreClosed}
                probe.injected += 1
    assert closing.seconds < TIMEOUT + SLACK


@pytest.mark.parametrize("target", TARGETS)
def test_a_handler_closes_it_while_the_server_hangs(cluster, fleet, scale, settings, target):
    settings |= {"timeout": 1.0}
    closing = CloseHandler()
    with Probe(fleet, f"closed by SIGTERM's handler while the server hangs: {target}", timeout=1.0) as probe:
        with on_sigterm(closing), ExitStack() as stack:
            store = open_target(stack, settings, target, closing)
            probe.retry(store, probe.call())
            timer = threading.Timer(0.3, terminate)
            cluster.freeze()
            try:
                timer.start()
                probe.send(store, call := probe.call())
            finally:
                cluster.thaw()
            timer.join()
            assert assert_refused_or_stored(call)
            probe.injected += 1
    assert closing.seconds < len(TARGETS) * 1.0 + SLACK, "the writer and the store"
