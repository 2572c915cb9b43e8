"""What a writer sends together and when, with a sender that only notes what it is told."""

import contextlib
import time
from itertools import count
from unittest.mock import Mock

import pytest
from hypothesis import given
from hypothesis import strategies as st

import dal
from dal.appends import Append, CheckedMessage, Opening
from dal.batches import PATIENCE, Batch, Call
from dal.gathering import Gathering
from dal.underway import MESSAGE, STATEMENT, WORTHWHILE, Underway

NUMBERS = count()


class Put(Call):
    """A call that nobody waits for."""

    def wake(self):
        pass


def put(session_id, deadline=None, message_id="1"):
    opening = Opening(None, None, None, "{}")
    message = CheckedMessage(message_id, "user", None, "x", None, "{}")
    return Put(Append(session_id, None, opening, [message]), deadline)


@pytest.fixture
def gathering():
    sender = Mock()
    gathering = Gathering(contextlib.nullcontext(), sender, 1)
    gathering.crowd = 2  # As if they came in numbers.
    sender.ask = lambda came: came or gathering.first
    gathering.apart = lambda: [call.args[0] for call in sender.start.call_args_list]
    return gathering


def test_who_came_too_late_does_not_wait_for_the_others(gathering):
    late, fine = put("late", time.monotonic() - 1), put("fine")
    gathering.put(late)
    gathering.put(fine)
    assert gathering.asked is late
    gathering.take(gathering.asked)
    assert (late.is_done, type(late.error), late.batch) == (True, dal.DeadlineExceeded, None)
    assert [batch.calls for batch in gathering.apart()] == [[fine]]


def test_who_is_asked_can_see_it_when_it_is_woken(gathering):
    call, seen = put("s"), []
    call.wake = lambda: seen.append(gathering.asked is call)
    gathering.put(call)
    assert seen == [True]


def test_the_last_of_those_who_are_about_to_come_wakes_who_waits_for_them(gathering):
    gathering.crowd, woken = 4, []
    first = put("first")
    first.wake = lambda: woken.append(gathering.waiting)
    gathering.put(first)
    come(gathering, "second", "third", "fourth", "fifth")
    assert woken == [1, 4]


def test_if_who_was_to_send_leaves_another_does(gathering):
    leaves, stays = put("leaves"), put("stays")
    gathering.put(leaves)
    gathering.put(stays)
    assert gathering.asked is leaves
    gathering.leave(leaves)
    assert gathering.asked is stays
    gathering.take(stays)
    assert stays.batch.calls == [stays]


def test_half_of_those_who_append_to_one_session_wait_while_the_others_are_on_their_way(gathering):
    """Else all would wait for the server, and then it for all."""

    def come(count):
        for n in range(count):
            gathering.put(put("shared", message_id=f"{n}"))

    def take():
        gathering.take(gathering.asked)
        *_, last = gathering._underway
        return last

    come(2 * WORTHWHILE + 10)
    first = take()
    assert len(first.calls) == WORTHWHILE + 5
    gathering.sent(first)
    second = take()
    assert len(second.calls) == WORTHWHILE + 5, "all that are there: the others come back meanwhile"
    come(len(first.calls))
    gathering.sent(second)
    assert len(take().calls) == WORTHWHILE + 5


def test_few_are_not_halved(gathering):
    for n in range(WORTHWHILE):
        gathering.put(put("shared", message_id=f"{n}"))
    gathering.take(gathering.asked)
    assert len(next(iter(gathering._underway)).calls) == WORTHWHILE


def test_what_was_sent_with_others_and_may_be_stored_stays_unknown(gathering):
    first, second = put("first"), put("second")
    for call in (first, second):
        gathering.put(call)
    gathering.take(gathering.asked)
    late = dal.DeadlineExceeded("no answer came in time")
    late.outcome_unknown = True
    gathering.failed(first.batch, late)
    assert sorted(batch.calls[0].append.session_id for batch in gathering.apart()) == ["first", "second"]
    assert all(batch.is_unknown for batch in gathering.apart())


def test_what_was_refused_with_others_is_known(gathering):
    first, second = put("first"), put("second")
    for call in (first, second):
        gathering.put(call)
    gathering.take(gathering.asked)
    gathering.failed(first.batch, dal.StatementFailed("the server refused the statement"))
    assert len(gathering.apart()) == 2
    assert not any(batch.is_unknown for batch in gathering.apart())


def test_each_caller_has_an_error_of_its_own(gathering):
    first, second = put("first", message_id="1"), put("second", message_id="2")
    for call in (first, second):
        gathering.put(call)
    gathering.take(gathering.asked)
    lost = dal.ServerUnavailable("the connection was lost")
    lost.outcome_unknown, lost.message_ids, lost.__cause__ = True, ("1", "2"), OSError("reset")
    gathering.failed(first.batch, lost)
    assert first.error is not second.error
    for call in (first, second):
        assert type(call.error) is dal.ServerUnavailable
        assert call.error.message_ids == call.append.message_ids
        assert call.error.outcome_unknown
        assert call.error.__cause__ is lost.__cause__


def come(gathering, *session_ids, message_ids=NUMBERS):
    """Let a call come for each of these."""
    calls = [put(session_id, message_id=f"{next(message_ids)}") for session_id in session_ids]
    for call in calls:
        gathering.put(call)
    return calls


def taken(gathering):
    """What is taken by who was asked to."""
    gathering.take(gathering.asked)
    *_, last = gathering._underway
    return last


@pytest.fixture
def full(gathering):
    """It has one on its way, and all of them are there who go next, to two sessions."""
    gathering.first_batch = (come(gathering, "first", "other"), taken(gathering))[1]
    gathering.others = come(gathering, *["own"] * (WORTHWHILE // 2 - 1), *["shared"] * (WORTHWHILE // 2 - 1))
    assert gathering.next is None, "some are still about to come"
    gathering.others += come(gathering, "shared", "own")
    return gathering


def test_the_next_batch_is_taken_while_the_first_is_on_its_way(full):
    ahead = full.next
    assert full.is_complete, "it waits for nobody"
    assert (full.waiting, full.has_more) == (0, True)
    assert sorted(map(id, ahead.calls)) == sorted(map(id, full.others))
    parameters = ahead.make_ready()
    later = come(full, "shared", "new")
    full.sent(full.first_batch)
    assert full.has_more
    assert taken(full) is ahead
    assert ahead.make_ready() is parameters
    assert full.asked is None
    full.sent(ahead)
    assert set(taken(full).calls) == set(later)


def test_who_puts_the_last_call_of_it_makes_it_ready(gathering):
    come(gathering, "first")
    taken(gathering)
    given = [gathering.put(put(f"s{n}")) for n in range(WORTHWHILE + 1)]
    assert given == [None] * (WORTHWHILE - 1) + [gathering.next, None]


def test_nothing_is_taken_ahead_before_as_many_have_come_as_are_on_their_way(gathering):
    come(gathering, *(f"s{n}" for n in range(80)))
    gathering.sent(taken(gathering))
    assert len(taken(gathering).calls) == 40
    come(gathering, *(f"s{n}" for n in range(100, 139)))
    assert gathering.next is None
    come(gathering, "the last")
    assert len(gathering.next.calls) == 40


def test_all_of_one_session_that_wait_go(gathering):
    come(gathering, *["shared"] * 80)
    first = taken(gathering)
    come(gathering, *["shared"] * 20)
    gathering.sent(first)
    assert (len(first.calls), len(taken(gathering).calls)) == (40, 60)


def test_who_was_taken_ahead_may_leave(full):
    leaves = full.others[3]
    come(full, "later")
    full.leave(leaves)
    assert full.first.append.session_id != "later"
    assert full.waiting == len(full.others)
    full.sent(full.first_batch)
    assert set(full.others) - {leaves} < set(taken(full).calls)


def test_all_who_were_taken_ahead_may_leave(full):
    for call in full.others:
        full.leave(call)
    full.sent(full.first_batch)
    assert (bool(full), full.has_more, full.asked) == (False, False, None)


def test_what_was_taken_ahead_keeps_its_order_when_it_is_put_back(full):
    full.leave(full.others[-1])
    later = come(full, "shared", "own")
    full.sent(full.first_batch)
    batch = taken(full)
    for session_id in ("shared", "own"):
        came = [one for one in [*full.others[:-1], *later] if one.append.session_id == session_id]
        sent = [one for one in batch.calls if one.append.session_id == session_id]
        assert sent == came[: len(sent)]
    assert len(batch.calls) == WORTHWHILE


def test_who_was_taken_ahead_may_come_too_late(full):
    full.others[0].deadline = time.monotonic()
    full.sent(full.first_batch)
    assert set(taken(full).calls) == set(full.others) - {full.others[0]}
    assert isinstance(full.others[0].error, dal.DeadlineExceeded)


def test_nothing_is_left_behind(full):
    full.sent(full.first_batch)
    full.sent(taken(full))
    assert not full
    assert not full.has_more


class Simulated:
    """A gathering to which anything happens in any order, and what is on its way of it."""

    def __init__(self, draw, batches):
        self.draw = draw
        self.gathering = Gathering(contextlib.nullcontext(), self, batches)
        self.came, self.on_their_way, self.stored = [], [], set()
        self.look_later = self.wake_calls = lambda *_: None

    def ask(self, came):
        return came or (Mock(batch=None) if self.draw(st.booleans()) else self.gathering.first)

    def start(self, batch):
        """Nothing of a session goes beside, or before, what came earlier."""
        for one in self.on_their_way:
            assert batch.session_ids.isdisjoint(one.session_ids)
        for session_id in batch.session_ids:
            first = [call for call in self.open if call.append.session_id == session_id]
            sent = [call for call in batch.calls if call.append.session_id == session_id]
            assert first[: len(sent)] == sent
        self.on_their_way.append(batch)

    def wake(self, calls):
        pass

    @property
    def open(self):
        return [call for call in self.came if not (call.is_done or call.is_left or call in self.stored)]

    def put(self):
        call = put(self.draw(st.sampled_from("abcde")), message_id=f"{next(NUMBERS)}")
        self.came.append(call)
        self.gathering.put(call)
        if call.batch is not None:
            self.start(call.batch)

    def take(self):
        if (taker := self.gathering.asked) is not None:
            taker.batch = None
            self.gathering.take(taker)
            if taker.batch is not None:
                self.start(taker.batch)

    def leave(self):
        if self.open:
            self.gathering.leave(self.draw(st.sampled_from(self.open)))

    def look(self):
        for batch in self.on_their_way:
            batch.began -= PATIENCE * self.draw(st.booleans())
        self.gathering.look()

    def change_the_way(self):
        self.gathering._underway._delays.extend([self.draw(st.sampled_from([0, 1]))] * 8)

    def end(self):
        if self.on_their_way:
            batch = self.on_their_way.pop(self.draw(st.integers(0, len(self.on_their_way) - 1)))
            error = self.draw(st.sampled_from([None, None, dal.StatementFailed("no"), dal.ServerUnavailable("gone")]))
            if error is None:
                self.stored.update(batch.calls)
                self.gathering.sent(batch)
            else:
                self.gathering.failed(batch, error)

    def end_all(self):
        for _ in range(4 * len(self.came) + 4):
            self.take()
            self.look()
            if self.on_their_way:
                batch = self.on_their_way.pop()
                self.stored.update(batch.calls)
                self.gathering.sent(batch)


@given(st.data(), st.integers(1, 3))
def test_nothing_is_lost_or_overtakes_whatever_happens(data, batches):
    with pytest.MonkeyPatch.context() as few:
        ticks = count(0.0, 0.001)
        for module in ("dal.gathering", "dal.underway"):
            few.setattr(f"{module}.WORTHWHILE", 2)
            few.setattr(f"{module}.monotonic", ticks.__next__)  # What it does must not depend on the machine's load.
        it = Simulated(data.draw, batches)
        what = [it.put, it.put, it.put, it.take, it.take, it.leave, it.look, it.change_the_way, it.end]
        for happens in data.draw(st.lists(st.sampled_from(what), min_size=5, max_size=80)):
            happens()
        it.end_all()
        assert not it.gathering
        assert (it.gathering.waiting, it.gathering.has_more, it.gathering.asked) == (0, False, None)
        assert all(call.is_done or call.is_left for call in it.came)


def going(calls):
    """A batch of so many calls, each of one message."""
    return Batch([put(f"s{n}") for n in range(calls)])


def replied(underway, seconds, calls=1):
    """Let a batch be alone on its way for so long beyond the work for it."""
    batch = going(calls)
    underway.go(batch)
    batch.began -= seconds + batch.work
    underway.came_back(batch)
    underway.count_no_more(batch)


@pytest.fixture
def underway():
    return Underway(4)


def near(underway):
    """As beside a server on the same machine."""
    for _ in range(8):
        replied(underway, 0.0002)


def far(underway):
    """As to one that is far away."""
    for _ in range(8):
        replied(underway, 0.01)


@pytest.mark.parametrize(("where", "calls", "others"), [(near, 1, 1), (near, 20, 0), (far, 20, 3), (far, 200, 0)])
def test_another_batch_pays_while_a_reply_takes_longer_than_the_work(underway, where, calls, others):
    where(underway)
    underway.go(going(calls))
    for _ in range(others):
        assert underway.has_room
        underway.go(going(calls))
    assert not underway.has_room


def test_one_slow_reply_is_chance(underway):
    near(underway)
    replied(underway, 0.5)
    underway.go(going(20))
    assert not underway.has_room


def test_what_others_delay_says_nothing_of_the_way(underway):
    """They would seem to come from far away because they are many, and so be more."""
    near(underway)
    for _ in range(10):
        batches = going(20), going(20)
        for batch in batches:
            underway.go(batch)
        for batch in batches:
            batch.began -= 0.5
            underway.came_back(batch)
            underway.count_no_more(batch)
    underway.go(going(20))
    assert not underway.has_room


def test_now_and_then_one_goes_alone(underway):
    """Or it would never be seen that the server is near now."""
    far(underway)
    alone = 0
    for _ in range(500):
        first = going(1)
        underway.go(first)
        if underway.has_room:
            underway.go(second := going(1))
            underway.came_back(second)
            underway.count_no_more(second)
        else:
            alone += 1
        first.began -= 0.01
        underway.came_back(first)
        underway.count_no_more(first)
    assert 3 <= alone <= 10


def test_a_share_leaves_as_many_for_each_batch_and_for_who_is_about_to_come(underway):
    near(underway)
    assert underway.share(64, 64) == 32
    assert underway.share(WORTHWHILE, 64) == WORTHWHILE, "few are not halved"
    far(underway)
    assert underway.share(100, 64) == 20
    assert underway.share(100, 1) == 50, "of one session one batch is on its way"
    assert 4 * (STATEMENT + 20 * MESSAGE) < 0.01
