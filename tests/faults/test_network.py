"""The network cuts, resets, delays or drops data, at each point of an append and of each change."""

from itertools import product

import pytest
from psycopg.conninfo import make_conninfo

import dal
from faults.probe import CHANGES, Probe
from faults.proxy import REPLY, REQUEST, Fault, Proxy, count_messages

PREPARE_THRESHOLDS = {"prepared": 0, "unprepared": None}


@pytest.fixture(autouse=True)
def _limit(limit):
    limit(90, 1800)


@pytest.fixture
def proxy(cluster):
    with Proxy(cluster.conninfo) as proxy:
        yield proxy


@pytest.fixture
def connect(side, proxy):
    """Connect a store of either side, with one connection through the proxy."""

    def connect(timeout, prepare_threshold):
        conninfo = make_conninfo(proxy.conninfo, application_name="probe")
        return side.connect_store(conninfo, max_size=1, timeout=timeout, prepare_threshold=prepare_threshold)

    return connect


def points(seen, pieces=0):
    """Yield the points of a call: before, within and after each protocol message, and `pieces` byte positions."""
    for direction, data in seen.items():
        count = count_messages(data)
        for number in range(count + 1):
            yield {"direction": direction, "message": number}
        for number in range(count):
            yield {"direction": direction, "message": number, "within": True}
        for position in range(0, len(data) if pieces else 0, max(1, len(data) // (pieces or 1))):
            yield {"direction": direction, "after": position}


@pytest.fixture
def inject(fleet, proxy, connect, side, scale):
    """Inject a fault at each point of an append: of one message and of three, prepared and not, on either side."""

    def inject(action, timeout, *, short, pieces=0):
        with Probe(fleet, f"{action} at each point of an append", timeout=timeout) as probe:
            for n, (threshold, size) in enumerate(product(PREPARE_THRESHOLDS.values(), (1, 3))):
                with connect(timeout, threshold) as store:

                    def append(store=store, size=size):
                        probe.retry(store, probe.call(size))

                    append()  # The first one prepares the statement.
                    with proxy.recording() as seen:
                        append()
                    every = list(points(seen, scale(0, pieces)))
                    # The short run injects at some points with each variant, so that together they cover all.
                    first = (n + 4 * (side.name == "async")) % short
                    for point in every[scale(first, 0) :: scale(short, 1)]:
                        append()  # The statement is prepared on this connection.
                        fault = proxy.arm(Fault(action, **point))
                        append()
                        # Appends differ in length, so a byte position may lie behind the end.
                        fired = fault.fired.wait(5 if "message" in point else 0.1)
                        proxy.arm(None)
                        assert fired or "after" in point, f"nothing passed at {point}"
                        probe.injected += fired

    return inject


@pytest.mark.parametrize("action", ["cut", "reset"])
def test_an_append_succeeds_after_its_connection_ends_at_any_point(inject, action):
    inject(action, 5.0, short=4, pieces=20)


def test_an_append_succeeds_over_a_slow_connection(inject):
    inject("delay", 5.0, short=8)


def test_an_append_succeeds_after_a_black_hole(inject):
    inject("drop", 0.3, short=12)


@pytest.mark.parametrize("action", ["cut", "reset", "drop"])
def test_a_change_happens_once_after_a_fault_at_any_point(fleet, scale, proxy, connect, *, side, action):
    """After a black hole, the outcome of a removal or replacement is unknown, and it happens at most once."""
    timeout = 0.3 if action == "drop" else 20.0
    with Probe(fleet, f"{action} at each point of a change", timeout=timeout) as probe:
        with connect(timeout, None) as store, probe.rival():

            def make(change):
                return probe.retry(store, probe.change(*change))

            every = []
            for change in CHANGES:
                probe.retry(store, probe.call())  # The store is connected.
                with proxy.recording() as seen:
                    assert make(change).outcome in {None, "declined"}
                every.append(list(points(seen)))
            short = scale(8 if action == "drop" else 4, 1)
            for n in range(side.name == "async", max(map(len, every)), short):
                for change, of_change in zip(CHANGES, every, strict=True):
                    point = of_change[n] if n < len(of_change) else None
                    probe.retry(store, probe.call())
                    fault = proxy.arm(point and Fault(action, **point))
                    call = make(change)
                    fired = point is not None and fault.fired.wait(5)
                    proxy.arm(None)
                    assert call.outcome in {None, "declined"} or (action == "drop" and call.repeated is None)
                    probe.injected += fired


def test_the_outcome_is_unknown_if_no_connection_replaces_a_lost_one(fleet, scale, proxy, connect):
    """The append may be stored, although the last attempt did not even connect."""
    with Probe(fleet, "cut, and no other connection until the deadline", timeout=0.3) as probe:
        with connect(0.3, None) as store:
            for n in range(scale(4, 40)):
                probe.retry(store, probe.call())
                fault = proxy.arm(Fault("cut", (REPLY, REQUEST)[n % 2], message=n // 2 % 3, for_good=True))
                call = probe.call()
                probe.send(store, call)
                assert fault.fired.is_set()
                assert isinstance(call.error, dal.ServerUnavailable)
                assert call.error.outcome_unknown
                proxy.refusing = False
                probe.retry(store, call.repeated)
                probe.injected += 1


def test_an_append_succeeds_after_a_connection_is_lost_while_connecting(fleet, scale, proxy, connect):
    with Probe(fleet, "cut while connecting", timeout=5.0) as probe:
        with connect(5.0, None) as store:
            for n in range(scale(2, 30)):
                probe.retry(store, probe.call())
                proxy.cut_all()
                direction, position = (REQUEST, n % 20) if n % 2 else (REPLY, n * 7)
                fault = proxy.arm(Fault("cut", direction, after=position))
                probe.retry(store, probe.call())
                probe.injected += 1 + fault.fired.is_set()
                proxy.arm(None)
