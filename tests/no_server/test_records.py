"""A message behaves like any frozen dataclass, although its constructor is a faster one."""

import inspect
import pickle
from dataclasses import FrozenInstanceError, asdict, fields, replace
from datetime import UTC, datetime

import pytest

import dal

MESSAGE = dal.Message("s", 7, "m", "user", None, "hello", {"a": 1}, datetime(2026, 1, 1, tzinfo=UTC))


def test_a_message_has_the_values_that_it_was_given():
    named = {field.name: getattr(MESSAGE, field.name) for field in fields(dal.Message)}
    assert dal.Message(**named) == MESSAGE
    assert asdict(MESSAGE) == named
    assert (named["session_id"], named["sequence"], named["content"]) == ("s", 7, "hello")


def test_a_message_can_be_copied_and_pickled_but_not_changed():
    assert pickle.loads(pickle.dumps(MESSAGE)) == MESSAGE
    assert replace(MESSAGE, sequence=8).sequence == 8
    assert replace(MESSAGE, sequence=8) != MESSAGE
    with pytest.raises(FrozenInstanceError):
        MESSAGE.content = "other"


def test_editors_see_the_parameters_of_a_message():
    assert list(inspect.signature(dal.Message).parameters) == [field.name for field in fields(dal.Message)]
    with pytest.raises(TypeError, match="missing"):
        dal.Message("s", 7)


def test_a_removed_message_is_a_message_with_the_time_of_its_removal():
    removed = dal.RemovedMessage(*(getattr(MESSAGE, field.name) for field in fields(dal.Message)), MESSAGE.created_at)
    assert isinstance(removed, dal.Message)
    assert removed.removed_at == MESSAGE.created_at
    assert removed.content == "hello"
