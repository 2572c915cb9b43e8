"""The writer's queue: which batch is sent next, and when. No server."""

import contextlib
import time
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dal
from dal.appends import UNCONDITIONAL, Append, CheckedMessage, Conditions, Target, batch_parameters
from dal.writer.batch import Call
from dal.writer.batch_size import WORTHWHILE, BatchSize
from dal.writer.queue import Queue

NUMBERS = count()


class QueuedCall(Call):
    """A call without a waiting thread or task; it counts how often it was woken."""

    def __init__(self, append, deadline):
        super().__init__(append, deadline)
        self.woken = 0

    def wake(self):
        self.woken += 1


def call_to(session_id, deadline=None, message_id=None, owner=None, conditions=UNCONDITIONAL):
    message = CheckedMessage("user", "x", None, None, "{}", message_id or f"{next(NUMBERS)}")
    opening = {"session_id": session_id, "owner": owner, "source": None, "user_id": None, "parent_id": None}
    opening["session_metadata"] = "{}"
    return QueuedCall(Append(Target(opening, conditions), [message]), deadline)


EXISTING = Conditions(must_exist=True)
OWN = [Conditions(if_next=0), Conditions(if_next=7), Conditions(json_session_changes="{}")]
"""Conditions of appends that cannot share a statement."""


class Harness:
    """A queue, and the batch that a worker would send next."""

    def __init__(self, *, last_size=2):
        self.queue = Queue(contextlib.nullcontext())
        self.queue._last_size = last_size  # With 2 or more, the queue expects concurrent callers.
        self.following = None

    def put(self, *calls):
        for call in calls:
            self.following = self.queue.put(call) or self.following
        return list(calls)

    def put_to(self, *session_ids):
        return self.put(*map(call_to, session_ids))

    def fill(self):
        batch, self.following = self.following, None
        self.queue.fill(batch)
        return batch

    def finish(self, batch, error=None):
        self.following = self.queue.finish(batch, error) or self.following

    def send(self):
        """Send the next batch; return its calls."""
        batch = self.fill()
        calls = list(batch.calls)
        self.finish(batch)
        return calls


@pytest.fixture
def harness():
    return Harness()


def report_distant_server(size):
    size._busy.extend([0.1] * 8)


def test_a_single_call_is_sent_by_its_caller():
    harness = Harness(last_size=1)
    (alone,) = harness.put_to("s")
    assert (alone.batch.calls, harness.following, harness.queue.waiting) == ([alone], None, 0)
    harness.finish(alone.batch)
    assert (alone.is_done, alone.batch, bool(harness.queue)) == (True, None, False)


def test_a_single_call_in_flight_delays_only_its_own_session():
    harness = Harness(last_size=1)
    (alone,) = harness.put_to("held")
    behind, fine = harness.put_to("held", "fine")
    assert harness.send() == [fine]
    assert harness.following is None
    harness.finish(alone.batch)
    assert harness.send() == [behind]


def test_only_one_batch_is_in_flight(harness):
    first, *others = (call_to(f"s{n}") for n in range(4))
    batches = [harness.queue.put(call) for call in (first, *others)]
    assert [batch is not None for batch in batches] == [True, False, False, False]


def test_an_expired_call_fails_at_once(harness):
    late, fine = harness.put(call_to("late", time.monotonic() - 1), call_to("fine"))
    batch = harness.fill()
    assert (late.is_done, type(late.error), late.woken) == (True, dal.DeadlineExceeded, 1)
    assert batch.calls == [fine]


def test_a_session_whose_calls_all_expired_leaves_the_queue(harness):
    harness.put(call_to("late", time.monotonic() - 1))
    harness.finish(harness.fill())
    assert (bool(harness.queue), harness.queue.waiting, harness.following) == (False, 0, None)


def test_a_batch_is_complete_when_as_many_called_as_last_time(harness):
    harness.put_to("first", "second", "third")
    harness.send()
    completed = []
    for n in range(4):
        harness.put_to(f"s{n}")
        completed.append(harness.queue.is_complete)
    assert completed == [False, False, True, True]


def test_calls_made_while_a_batch_is_in_flight_form_the_next_batch(harness):
    harness.put_to("first")
    batch = harness.fill()
    later = harness.put_to("shared", "new", "shared", "first")
    assert (harness.following, harness.queue.waiting) == (None, 4)
    harness.finish(batch)
    assert set(harness.send()) == set(later)
    assert not harness.queue


def test_a_call_whose_caller_gave_up_is_not_sent(harness):
    leaves, stays = harness.put_to("leaves", "stays")
    harness.queue.leave(leaves)
    assert harness.send() == [stays]


def test_a_batch_is_empty_if_all_callers_gave_up(harness):
    for call in harness.put_to("one", "two", "two"):
        harness.queue.leave(call)
    harness.finish(harness.fill())
    assert (bool(harness.queue), harness.queue.waiting, harness.following) == (False, 0, None)


def test_a_caller_may_give_up_while_another_call_is_in_flight(harness):
    harness.put_to("s")
    batch = harness.fill()
    leaves, stays = harness.put_to("s", "s")
    harness.queue.leave(leaves)
    assert harness.queue.waiting == 1
    harness.finish(batch)
    assert harness.send() == [stays]


def test_a_call_in_flight_is_sent_although_its_caller_gave_up(harness):
    (leaves,) = harness.put_to("s")
    batch = harness.fill()
    harness.queue.leave(leaves)
    assert batch.calls == [leaves]
    harness.finish(batch, dal.StatementFailed("no"))
    assert not harness.queue, "no caller is left to resend it"


def test_a_batch_takes_half_of_the_calls(harness):
    """The other callers prepare their next calls meanwhile; else all would wait for the server, then it for them."""
    harness.put_to(*["shared"] * (2 * WORTHWHILE + 10))
    first = harness.fill()
    assert len(first.calls) == WORTHWHILE + 5
    harness.finish(first)
    assert harness.queue.is_complete, "no other call is expected"
    second = harness.fill()
    assert len(second.calls) == WORTHWHILE + 5, "all queued calls: the other callers have not called again yet"
    harness.put_to(*["shared"] * len(first.calls))
    harness.finish(second)
    assert len(harness.fill().calls) == WORTHWHILE + 5


def test_a_batch_takes_all_calls_when_the_server_is_far(harness):
    report_distant_server(harness.queue._size)
    harness.put_to(*(f"s{n}" for n in range(80)))
    assert len(harness.send()) == 80
    report_distant_server(harness.queue._size)
    harness.put_to(*(f"s{n}" for n in range(79)))
    assert not harness.queue.is_complete, "one more call is expected"
    harness.put_to("the last")
    assert harness.queue.is_complete
    assert len(harness.send()) == 80


def test_few_calls_are_sent_as_one_batch(harness):
    harness.put_to(*["shared"] * WORTHWHILE)
    assert len(harness.send()) == WORTHWHILE


def test_sessions_take_turns(harness):
    half = WORTHWHILE // 2
    harness.put_to(*["first"] * WORTHWHILE, *["second"] * WORTHWHILE, *["third"] * WORTHWHILE)
    batches = [[call.append.session_id for call in harness.send()] for _ in range(2)]
    assert batches[0] == ["first"] * WORTHWHILE + ["second"] * half
    assert batches[1] == ["third"] * WORTHWHILE + ["second"] * half, (
        "the rest of the second session waits behind the third"
    )


def test_calls_with_and_without_an_owner_are_sent_in_separate_batches(harness):
    mine, nobodys, yours = harness.put(call_to("a", owner="me"), call_to("b"), call_to("c", owner="you"))
    assert [harness.send(), harness.send()] == [[mine, yours], [nobodys]]


@pytest.mark.parametrize("conditions", OWN)
def test_a_call_with_conditions_is_sent_by_its_caller_beside_the_batch(harness, conditions):
    (ordinary,) = harness.put_to("other")
    batch = harness.fill()
    (own,) = harness.put(call_to("s", conditions=conditions))
    assert (batch.calls, own.batch.calls, harness.queue.waiting) == ([ordinary], [own], 0)
    (behind,) = harness.put_to("s")
    harness.finish(batch)
    assert harness.following is None, "calls to its session wait for it"
    harness.finish(own.batch)
    assert (own.is_done, harness.send()) == (True, [behind])
    assert not harness.queue


@pytest.mark.parametrize("conditions", OWN)
def test_a_call_with_conditions_waits_for_earlier_calls_of_its_session(harness, conditions):
    before, own, after = harness.put(call_to("s"), call_to("s", conditions=conditions), call_to("s"))
    batch = harness.fill()
    assert (batch.calls, own.batch, own.woken) == ([before], None, 0)
    harness.finish(batch)
    assert (own.batch.calls, own.woken, harness.following) == ([own], 1, None)
    harness.finish(own.batch)
    assert harness.send() == [after]
    assert not harness.queue


@pytest.mark.parametrize("end", ["expires", "leaves"])
@pytest.mark.parametrize("followers", [0, 1])
def test_a_call_with_conditions_is_sent_once_the_one_before_it_has_ended(harness, end, followers):
    first = call_to("s", time.monotonic() - 1 if end == "expires" else None)
    _, own, *after = harness.put(first, call_to("s", conditions=OWN[0]), *(call_to("s") for _ in range(followers)))
    if end == "leaves":
        harness.queue.leave(first)
    harness.finish(harness.fill())
    assert (own.batch.calls, own.woken) == ([own], 1)
    assert harness.following is None
    harness.finish(own.batch)
    assert (harness.send() if after else []) == after
    assert (bool(harness.queue), harness.queue.waiting, harness.following) == (False, 0, None)


def test_a_caller_of_the_last_batch_is_not_waited_for_while_it_sends_a_call_of_its_own(harness):
    harness.put_to("first", "second")
    harness.send()
    harness.put(call_to("first", conditions=OWN[0]))
    harness.put_to("second")
    assert harness.queue.is_complete


def test_sessions_that_must_exist_share_a_batch_with_others_but_not_with_themselves(harness):
    existing, new, mixed = call_to("a", conditions=EXISTING), call_to("b"), call_to("a")
    harness.put(existing, new, mixed)
    batch = harness.fill()
    assert batch.calls == [existing, new]
    assert batch_parameters([call.append for call in batch.calls])["must_exist"] == "{t,f}"
    harness.finish(batch)
    assert harness.send() == [mixed]


def test_a_message_is_in_a_batch_once(harness):
    first, again = harness.put(call_to("s", message_id="m"), call_to("s", message_id="m"))
    assert [harness.send(), harness.send()] == [[first], [again]]


def fail(harness, error, *calls):
    harness.put(*calls)
    harness.finish(harness.fill(), error)


def test_a_batch_with_unknown_outcome_marks_its_calls_unknown(harness):
    late = dal.DeadlineExceeded("no reply came in time")
    late.outcome_unknown = True
    first, second = call_to("first"), call_to("second")
    fail(harness, late, first, second)
    assert [(call.batch.calls, call.is_unknown, call.is_done) for call in (first, second)] == [
        ([first], True, False),
        ([second], True, False),
    ]


def test_a_refused_batch_does_not_mark_its_calls_unknown(harness):
    first, second = call_to("first"), call_to("second")
    fail(harness, dal.StatementFailed("the server refused the statement"), first, second)
    assert [(call.batch.calls, call.is_unknown) for call in (first, second)] == [([first], False), ([second], False)]


def test_a_single_call_whose_batch_fails_is_resent_without_a_lock_timeout(harness):
    single = call_to("held")
    fail(harness, dal.StatementFailed("canceling statement due to lock timeout"), single)
    assert (single.batch.calls, single.is_done) == ([single], False)


def test_calls_to_one_session_are_resent_one_after_the_other(harness):
    first, second = call_to("s"), call_to("s")
    fail(harness, dal.StatementFailed("no"), first, second)
    (later,) = harness.put_to("s")
    assert (first.batch.calls, second.batch, harness.following) == ([first], None, None)
    harness.finish(first.batch, refused := dal.StatementFailed("no"))
    assert (type(first.error), first.error is not refused) == (dal.StatementFailed, True)
    assert second.batch.calls == [second]
    harness.finish(second.batch)
    assert harness.send() == [later]


def test_each_caller_gets_its_own_error(harness):
    lost = dal.ServerUnavailable("the connection was lost")
    lost.outcome_unknown, lost.message_ids, lost.__cause__ = True, ("1", "2"), OSError("reset")
    first, second = call_to("first", message_id="1"), call_to("second", message_id="2")
    fail(harness, lost, first, second)
    assert first.error is not second.error
    for call in (first, second):
        assert type(call.error) is dal.ServerUnavailable
        assert call.error.message_ids == call.append.message_ids
        assert call.error.outcome_unknown
        assert call.error.__cause__ is lost.__cause__


def test_a_closed_queue_refuses_new_calls_and_sends_the_queued_ones(harness):
    (queued,) = harness.put_to("s")
    harness.queue.close()
    with pytest.raises(dal.StoreClosed):
        harness.put_to("t")
    assert harness.send() == [queued]


class Simulation(Harness):
    """A queue with random events in random order."""

    def __init__(self, draw):
        super().__init__(last_size=draw(st.integers(1, 2)))
        self.draw = draw
        self.calls, self.filled = [], []

    @property
    def in_flight(self):
        return [*self.filled, *(call.batch for call in self.calls if call.batch is not None)]

    @property
    def open(self):
        return [call for call in self.calls if not (call.is_done or call.is_abandoned)]

    def check(self, batch):
        """Calls to one session are sent in order, and never in two batches at a time."""
        assert len(batch.calls) <= 1 or not any(call.append.conditions.are_own for call in batch.calls)
        sessions = [call.append.session_id for one in self.in_flight for call in one.calls if one is not batch]
        for session_id in {call.append.session_id for call in batch.calls}:
            assert session_id not in sessions
            queued = [call for call in self.open if call.append.session_id == session_id]
            batched = [call for call in batch.calls if call.append.session_id == session_id and not call.is_abandoned]
            assert queued[: len(batched)] == batched

    def add_call(self):
        conditions = self.draw(st.sampled_from([UNCONDITIONAL] * 3 + [EXISTING] + OWN))
        deadline = self.draw(st.sampled_from([None] * 4 + [0.005, 0.05]))
        call = call_to(self.draw(st.sampled_from("abc")), deadline, conditions=conditions)
        self.calls.append(call)
        self.put(call)

    def fill_next(self):
        if self.following is not None:
            batch = self.fill()
            self.check(batch)
            self.filled.append(batch)
            assert len(self.filled) == 1, "one batch is in flight"

    def give_up(self):
        if self.open:
            call = self.draw(st.sampled_from(self.open))
            self.queue.leave(call)
            if call.batch is not None:  # Its caller was about to send it.
                self.finish(call.batch, KeyboardInterrupt())

    def change_distance(self):
        self.queue._size._busy.extend([self.draw(st.sampled_from([0.1, 0.9]))] * 8)

    def finish_one(self):
        if self.in_flight:
            batch = self.draw(st.sampled_from(self.in_flight))
            self.check(batch)
            if batch in self.filled:
                self.filled.remove(batch)
            errors = [None, None, dal.StatementFailed("no"), dal.ServerUnavailable("gone"), KeyboardInterrupt()]
            self.finish(batch, self.draw(st.sampled_from(errors)))

    def finish_all(self):
        for _ in range(4 * len(self.calls) + 4):
            self.fill_next()
            if self.in_flight:
                batch = self.in_flight[-1]
                if batch in self.filled:
                    self.filled.remove(batch)
                self.finish(batch)


@given(st.data())
def test_no_call_is_lost_or_overtaken_in_any_order_of_events(data):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("dal.writer.batch_size.WORTHWHILE", 2)
        # The test does not depend on the machine's load.
        ticks = count(0.0, 0.001)
        for module in ("queue", "batch", "batch_size"):
            patch.setattr(f"dal.writer.{module}.monotonic", ticks.__next__)
        patch.setattr("dal.writer.batch_size.process_time", count(0.0, 0.0005).__next__)
        simulation = Simulation(data.draw)
        events = (
            [simulation.add_call] * 3
            + [simulation.fill_next] * 2
            + [simulation.give_up, simulation.change_distance, simulation.finish_one]
        )
        for event in data.draw(st.lists(st.sampled_from(events), min_size=30, max_size=80)):
            event()
        simulation.finish_all()
        assert not simulation.queue
        assert (simulation.queue.waiting, simulation.following, simulation.in_flight) == (0, None, [])
        assert all(call.is_done or call.is_abandoned for call in simulation.calls)
        assert all(call.woken for call in simulation.calls if call.is_done)


@pytest.fixture
def clocks(monkeypatch):
    """The two clocks that determine the batch size, set by the test."""
    clocks = {"monotonic": 0.0, "process_time": 0.0}
    monkeypatch.setattr("dal.writer.batch_size.monotonic", lambda: clocks["monotonic"])
    monkeypatch.setattr("dal.writer.batch_size.process_time", lambda: clocks["process_time"])
    return clocks


@pytest.fixture
def cycle(clocks):
    """End a cycle that took `seconds`, of which this process used the CPU for `computed`."""

    def end(size, seconds, computed, calls=32):
        clocks["monotonic"] += seconds
        clocks["process_time"] += computed
        size.end(calls)

    return end


def test_a_batch_is_half_near_the_server_and_all_far_from_it(cycle):
    size = BatchSize()
    size.begin()
    assert size.of(64) == 32, "before the first measurement"
    for _ in range(8):
        cycle(size, 0.010, 0.003)
    assert size.of(64) == 64
    cycle(size, 0.002, 0.0015)
    assert size.of(64) == 32


def test_one_slow_reply_does_not_change_the_size(cycle):
    size = BatchSize()
    size.begin()
    for _ in range(7):
        cycle(size, 0.5, 0.002)
    assert size.of(64) == 32


def test_small_batches_do_not_count_as_far_from_the_server(cycle):
    """A single call needs almost no CPU, however near the server is."""
    size = BatchSize()
    size.begin()
    for _ in range(20):
        cycle(size, 0.001, 0.0001, calls=WORTHWHILE - 1)
    assert size.of(64) == 32


def test_idle_time_does_not_count_as_far_from_the_server(clocks, cycle):
    size = BatchSize()
    for _ in range(8):
        clocks["monotonic"] += 60
        size.begin()
        cycle(size, 0.002, 0.0015)
    assert size.of(64) == 32


def test_a_clock_that_stands_still_causes_no_division_by_zero(cycle):
    size = BatchSize()
    size.begin()
    cycle(size, 0.0, 0.0)
    assert size.of(64) == 32


@pytest.mark.parametrize(("calls", "size"), [(1, 1), (WORTHWHILE, WORTHWHILE), (20, WORTHWHILE), (64, 32), (65, 33)])
def test_a_batch_is_never_smaller_than_worthwhile(calls, size):
    assert BatchSize().of(calls) == size
