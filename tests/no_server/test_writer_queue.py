"""The writer's queue: what is sent next, and when, without a server."""

import contextlib
import time
from itertools import count

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dal
from dal.appends import Append, CheckedMessage, Opening
from dal.writer.batch import Call
from dal.writer.batch_size import WORTHWHILE, BatchSize
from dal.writer.queue import Queue

NUMBERS = count()


class Put(Call):
    """A call that nobody waits for."""

    def __init__(self, append, deadline):
        super().__init__(append, deadline)
        self.woken = 0

    def wake(self):
        self.woken += 1


def call_to(session_id, deadline=None, message_id=None, owner=None):
    message = CheckedMessage(message_id or f"{next(NUMBERS)}", "user", None, "x", None, "{}")
    return Put(Append(session_id, owner, Opening(None, None, None, "{}"), [message]), deadline)


class Sent:
    """A queue, and the batch that a worker is to send next."""

    def __init__(self, *, last_size=2):
        self.queue = Queue(contextlib.nullcontext())
        self.queue._last_size = last_size  # From 2 on as if many had appended at once.
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
def sent():
    return Sent()


def far(size):
    size._busy.extend([0.1] * 8)


def test_a_call_that_comes_alone_is_sent_by_its_caller():
    sent = Sent(last_size=1)
    (alone,) = sent.put_to("s")
    assert (alone.batch.calls, sent.following, sent.queue.waiting) == ([alone], None, 0)
    sent.finish(alone.batch)
    assert (alone.is_done, alone.batch, bool(sent.queue)) == (True, None, False)


def test_a_call_that_is_sent_alone_holds_up_its_own_session_only():
    sent = Sent(last_size=1)
    (alone,) = sent.put_to("held")
    behind, fine = sent.put_to("held", "fine")
    assert sent.send() == [fine]
    assert sent.following is None
    sent.finish(alone.batch)
    assert sent.send() == [behind]


def test_only_one_batch_is_in_flight(sent):
    first, *others = (call_to(f"s{n}") for n in range(4))
    batches = [sent.queue.put(call) for call in (first, *others)]
    assert [batch is not None for batch in batches] == [True, False, False, False]


def test_a_call_that_came_too_late_does_not_wait_for_the_others(sent):
    late, fine = sent.put(call_to("late", time.monotonic() - 1), call_to("fine"))
    batch = sent.fill()
    assert (late.is_done, type(late.error), late.woken) == (True, dal.DeadlineExceeded, 1)
    assert batch.calls == [fine]


def test_a_session_of_which_all_came_too_late_is_forgotten(sent):
    sent.put(call_to("late", time.monotonic() - 1))
    sent.finish(sent.fill())
    assert (bool(sent.queue), sent.queue.waiting, sent.following) == (False, 0, None)


def test_a_batch_is_complete_with_the_last_of_those_about_to_call(sent):
    sent.put_to("first", "second", "third")
    sent.send()
    completed = []
    for n in range(4):
        sent.put_to(f"s{n}")
        completed.append(sent.queue.is_complete)
    assert completed == [False, False, True, True]


def test_calls_that_come_while_a_batch_is_in_flight_are_the_next_one(sent):
    sent.put_to("first")
    batch = sent.fill()
    later = sent.put_to("shared", "new", "shared", "first")
    assert (sent.following, sent.queue.waiting) == (None, 4)
    sent.finish(batch)
    assert set(sent.send()) == set(later)
    assert not sent.queue


def test_a_call_whose_caller_gave_up_is_not_sent(sent):
    leaves, stays = sent.put_to("leaves", "stays")
    sent.queue.leave(leaves)
    assert sent.send() == [stays]


def test_all_callers_may_give_up(sent):
    for call in sent.put_to("one", "two", "two"):
        sent.queue.leave(call)
    sent.finish(sent.fill())
    assert (bool(sent.queue), sent.queue.waiting, sent.following) == (False, 0, None)


def test_a_caller_may_give_up_behind_a_call_in_flight(sent):
    sent.put_to("s")
    batch = sent.fill()
    leaves, stays = sent.put_to("s", "s")
    sent.queue.leave(leaves)
    assert sent.queue.waiting == 1
    sent.finish(batch)
    assert sent.send() == [stays]


def test_a_call_in_flight_is_sent_although_its_caller_gave_up(sent):
    (leaves,) = sent.put_to("s")
    batch = sent.fill()
    sent.queue.leave(leaves)
    assert batch.calls == [leaves]
    sent.finish(batch, dal.StatementFailed("no"))
    assert not sent.queue, "nobody is left to send it again"


def test_half_of_the_callers_prepare_their_next_calls_while_the_others_are_in_flight(sent):
    """Else all would wait for the server, and then it for all."""
    sent.put_to(*["shared"] * (2 * WORTHWHILE + 10))
    first = sent.fill()
    assert len(first.calls) == WORTHWHILE + 5
    sent.finish(first)
    assert sent.queue.is_complete, "it waits for nobody"
    second = sent.fill()
    assert len(second.calls) == WORTHWHILE + 5, "all that are there: the others call again meanwhile"
    sent.put_to(*["shared"] * len(first.calls))
    sent.finish(second)
    assert len(sent.fill().calls) == WORTHWHILE + 5


def test_all_callers_share_a_batch_when_the_server_is_far(sent):
    far(sent.queue._size)
    sent.put_to(*(f"s{n}" for n in range(80)))
    assert len(sent.send()) == 80
    far(sent.queue._size)
    sent.put_to(*(f"s{n}" for n in range(79)))
    assert not sent.queue.is_complete, "one is about to call again"
    sent.put_to("the last")
    assert sent.queue.is_complete
    assert len(sent.send()) == 80


def test_few_are_not_halved(sent):
    sent.put_to(*["shared"] * WORTHWHILE)
    assert len(sent.send()) == WORTHWHILE


def test_sessions_take_turns(sent):
    half = WORTHWHILE // 2
    sent.put_to(*["first"] * WORTHWHILE, *["second"] * WORTHWHILE, *["third"] * WORTHWHILE)
    batches = [[call.append.session_id for call in sent.send()] for _ in range(2)]
    assert batches[0] == ["first"] * WORTHWHILE + ["second"] * half
    assert batches[1] == ["third"] * WORTHWHILE + ["second"] * half, "those left of the second wait behind the third"


def test_one_statement_confines_all_sessions_or_none(sent):
    mine, nobodys, yours = sent.put(call_to("a", owner="me"), call_to("b"), call_to("c", owner="you"))
    assert [sent.send(), sent.send()] == [[mine, yours], [nobodys]]


def test_one_statement_has_a_message_once(sent):
    first, again = sent.put(call_to("s", message_id="m"), call_to("s", message_id="m"))
    assert [sent.send(), sent.send()] == [[first], [again]]


def failed(sent, error, *calls):
    sent.put(*calls)
    sent.finish(sent.fill(), error)


def test_a_batch_that_may_be_stored_leaves_its_calls_unknown(sent):
    late = dal.DeadlineExceeded("no reply came in time")
    late.outcome_unknown = True
    first, second = call_to("first"), call_to("second")
    failed(sent, late, first, second)
    assert [(call.batch.calls, call.is_unknown, call.is_done) for call in (first, second)] == [
        ([first], True, False),
        ([second], True, False),
    ]


def test_a_batch_that_was_refused_leaves_its_calls_known(sent):
    first, second = call_to("first"), call_to("second")
    failed(sent, dal.StatementFailed("the server refused the statement"), first, second)
    assert [(call.batch.calls, call.is_unknown) for call in (first, second)] == [([first], False), ([second], False)]


def test_a_single_call_whose_batch_fails_is_resent_without_a_lock_timeout(sent):
    single = call_to("held")
    failed(sent, dal.StatementFailed("canceling statement due to lock timeout"), single)
    assert (single.batch.calls, single.is_done) == ([single], False)


def test_calls_to_one_session_are_resent_one_after_the_other(sent):
    first, second = call_to("s"), call_to("s")
    failed(sent, dal.StatementFailed("no"), first, second)
    (later,) = sent.put_to("s")
    assert (first.batch.calls, second.batch, sent.following) == ([first], None, None)
    sent.finish(first.batch, refused := dal.StatementFailed("no"))
    assert (type(first.error), first.error is not refused) == (dal.StatementFailed, True)
    assert second.batch.calls == [second]
    sent.finish(second.batch)
    assert sent.send() == [later]


def test_each_caller_has_an_error_of_its_own(sent):
    lost = dal.ServerUnavailable("the connection was lost")
    lost.outcome_unknown, lost.message_ids, lost.__cause__ = True, ("1", "2"), OSError("reset")
    first, second = call_to("first", message_id="1"), call_to("second", message_id="2")
    failed(sent, lost, first, second)
    assert first.error is not second.error
    for call in (first, second):
        assert type(call.error) is dal.ServerUnavailable
        assert call.error.message_ids == call.append.message_ids
        assert call.error.outcome_unknown
        assert call.error.__cause__ is lost.__cause__


def test_a_closed_queue_refuses_calls_and_sends_those_it_has(sent):
    (queued,) = sent.put_to("s")
    sent.queue.close()
    with pytest.raises(dal.StoreClosed):
        sent.put_to("t")
    assert sent.send() == [queued]


class Simulated(Sent):
    """A queue to which anything happens in any order, and what is in flight of it."""

    def __init__(self, draw):
        super().__init__(last_size=draw(st.integers(1, 2)))
        self.draw = draw
        self.came, self.filled = [], []

    @property
    def in_flight(self):
        return [*self.filled, *(call.batch for call in self.came if call.batch is not None)]

    @property
    def open(self):
        return [call for call in self.came if not (call.is_done or call.is_left)]

    def check(self, batch):
        """Nothing of a session is sent beside, or before, what came earlier."""
        sessions = [call.append.session_id for one in self.in_flight for call in one.calls if one is not batch]
        for session_id in {call.append.session_id for call in batch.calls}:
            assert session_id not in sessions
            first = [call for call in self.open if call.append.session_id == session_id]
            sent = [call for call in batch.calls if call.append.session_id == session_id and not call.is_left]
            assert first[: len(sent)] == sent

    def come(self):
        call = call_to(self.draw(st.sampled_from("abcde")))
        self.came.append(call)
        self.put(call)

    def take(self):
        if self.following is not None:
            batch = self.fill()
            self.check(batch)
            self.filled.append(batch)
            assert len(self.filled) == 1, "one batch is in flight"

    def leave(self):
        if self.open:
            call = self.draw(st.sampled_from(self.open))
            self.queue.leave(call)
            if call.batch is not None:  # It was about to be sent by its caller.
                self.finish(call.batch, KeyboardInterrupt())

    def change_the_way(self):
        self.queue._size._busy.extend([self.draw(st.sampled_from([0.1, 0.9]))] * 8)

    def end(self):
        if self.in_flight:
            batch = self.draw(st.sampled_from(self.in_flight))
            self.check(batch)
            if batch in self.filled:
                self.filled.remove(batch)
            errors = [None, None, dal.StatementFailed("no"), dal.ServerUnavailable("gone"), KeyboardInterrupt()]
            self.finish(batch, self.draw(st.sampled_from(errors)))

    def end_all(self):
        for _ in range(4 * len(self.came) + 4):
            self.take()
            if self.in_flight:
                batch = self.in_flight[-1]
                if batch in self.filled:
                    self.filled.remove(batch)
                self.finish(batch)


@given(st.data())
def test_nothing_is_lost_or_overtakes_whatever_happens(data):
    with pytest.MonkeyPatch.context() as few:
        few.setattr("dal.writer.batch_size.WORTHWHILE", 2)
        ticks = count(0.0, 0.001)
        few.setattr("dal.writer.queue.monotonic", ticks.__next__)  # Nothing depends on the machine's load.
        it = Simulated(data.draw)
        events = [it.come, it.come, it.come, it.take, it.take, it.leave, it.change_the_way, it.end]
        for happens in data.draw(st.lists(st.sampled_from(events), min_size=5, max_size=80)):
            happens()
        it.end_all()
        assert not it.queue
        assert (it.queue.waiting, it.following, it.in_flight) == (0, None, [])
        assert all(call.is_done or call.is_left for call in it.came)
        assert all(call.woken for call in it.came if call.is_done)


@pytest.fixture
def clocks(monkeypatch):
    """The two clocks that a batch size is found by, which a test sets."""
    clocks = {"monotonic": 0.0, "process_time": 0.0}
    monkeypatch.setattr("dal.writer.batch_size.monotonic", lambda: clocks["monotonic"])
    monkeypatch.setattr("dal.writer.batch_size.process_time", lambda: clocks["process_time"])
    return clocks


@pytest.fixture
def cycle(clocks):
    """Let a cycle end that took so many seconds, in which this process computed for so many."""

    def end(size, seconds, computed, calls=32):
        clocks["monotonic"] += seconds
        clocks["process_time"] += computed
        size.end(calls)

    return end


def test_a_size_is_half_near_the_server_and_all_far_from_it(cycle):
    size = BatchSize()
    size.begin()
    assert size.of(64) == 32, "before anything is known"
    for _ in range(8):
        cycle(size, 0.010, 0.003)
    assert size.of(64) == 64
    cycle(size, 0.002, 0.0015)
    assert size.of(64) == 32


def test_one_slow_reply_is_chance(cycle):
    size = BatchSize()
    size.begin()
    for _ in range(7):
        cycle(size, 0.5, 0.002)
    assert size.of(64) == 32


def test_small_batches_say_nothing_of_the_way(cycle):
    """A call that comes alone computes next to nothing, however near the server is."""
    size = BatchSize()
    size.begin()
    for _ in range(20):
        cycle(size, 0.001, 0.0001, calls=WORTHWHILE - 1)
    assert size.of(64) == 32


def test_time_without_calls_says_nothing_of_the_way(clocks, cycle):
    size = BatchSize()
    for _ in range(8):
        clocks["monotonic"] += 60
        size.begin()
        cycle(size, 0.002, 0.0015)
    assert size.of(64) == 32


def test_a_clock_that_stands_still_divides_by_nothing(cycle):
    size = BatchSize()
    size.begin()
    cycle(size, 0.0, 0.0)
    assert size.of(64) == 32


@pytest.mark.parametrize(("calls", "size"), [(1, 1), (WORTHWHILE, WORTHWHILE), (20, WORTHWHILE), (64, 32), (65, 33)])
def test_a_half_is_worth_a_batch(calls, size):
    assert BatchSize().of(calls) == size
