"""The network cuts, resets, delays and swallows what passes, at every place of an append."""

from itertools import product

import pytest
from psycopg.conninfo import make_conninfo

import dal
from faults.probe import Focus
from faults.proxy import REPLY, REQUEST, Fault, Proxy, messages

WAYS = {"prepared": 0, "unprepared": None}


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(90, 1800)


@pytest.fixture
def proxy(cluster):
    with Proxy(cluster.conninfo) as proxy:
        yield proxy


@pytest.fixture
def through(side, proxy):
    """A store of either side, of one connection, which goes through the proxy."""

    def through(timeout, prepare_threshold):
        conninfo = make_conninfo(proxy.conninfo, application_name="focus")
        return side.connect_store(conninfo, max_size=1, timeout=timeout, prepare_threshold=prepare_threshold)

    return through


def places(proxy, do, pieces):
    """The places of an append: before, within and after each message of both directions; and each so many-th byte."""
    do()  # The first prepares the statement.
    with proxy.watching() as seen:
        do()
    for direction, data in seen.items():
        count = messages(data)
        for number in range(count + 1):
            yield {"direction": direction, "message": number}
        for number in range(count):
            yield {"direction": direction, "message": number, "within": True}
        for place in range(0, len(data) if pieces else 0, max(1, len(data) // (pieces or 1))):
            yield {"direction": direction, "after": place}


@pytest.fixture
def inject(crew, proxy, through, side, scale):
    """Do the action at each place of an append, of one message and of three, prepared and not, on a side's store."""

    def inject(action, timeout, *, short, pieces=0):
        with Focus(crew, f"{action} at each place of an append", timeout=timeout) as focus:
            for n, (way, of) in enumerate(product(WAYS, (1, 3))):
                with through(timeout, WAYS[way]) as store:

                    def do(store=store, of=of):
                        focus.do(store, focus.call(of))

                    every = list(places(proxy, do, scale(0, pieces)))
                    # The short form goes through a part of the places with each, and through all of them with some.
                    first = (n + 4 * (side.name == "async")) % short
                    for place in every[scale(first, 0) :: scale(short, 1)]:
                        do()  # On a connection that knows the statement.
                        fault = proxy.arm(Fault(action, **place))
                        do()
                        # Messages differ in length: not each has so many bytes.
                        fired = fault.fired.wait(5 if "message" in place else 0.1)
                        proxy.arm(None)
                        assert fired or "after" in place, f"nothing passed at {place}"
                        focus.injected += fired

    return inject


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_the_connection_ends_at_each_place(inject, action):
    inject(action, 5.0, short=4, pieces=20)


def test_a_direction_is_slow(inject):
    inject("delay", 5.0, short=8)


def test_a_direction_is_a_black_hole(inject):
    inject("drop", 0.3, short=12)


def test_the_connection_ends_and_there_is_no_other(crew, scale, proxy, through):
    """What may have been stored is not called refused, although the last attempt did not come as far."""
    with Focus(crew, "cut, and no other connection until the deadline", timeout=0.3) as focus:
        with through(0.3, None) as store:
            for n in range(scale(4, 40)):
                focus.do(store, focus.call())
                fault = proxy.arm(Fault("cut", (REPLY, REQUEST)[n % 2], message=n // 2 % 3, for_good=True))
                call = focus.call()
                focus.once(store, call)
                assert fault.fired.is_set()
                assert isinstance(call.error, dal.ServerUnavailable)
                assert call.error.outcome_unknown
                proxy.refusing = False
                focus.do(store, call.again)
                focus.injected += 1


def test_the_connection_ends_while_it_is_made(crew, scale, proxy, through):
    with Focus(crew, "cut while connecting", timeout=5.0) as focus:
        with through(5.0, None) as store:
            for n in range(scale(2, 30)):
                focus.do(store, focus.call())
                proxy.cut_all()
                direction, place = (REQUEST, n % 20) if n % 2 else (REPLY, n * 7)
                fault = proxy.arm(Fault("cut", direction, after=place))
                focus.do(store, focus.call())
                focus.injected += 1 + fault.fired.is_set()
                proxy.arm(None)
