"""The public interface: every type that a user meets in it can be imported from `dal`."""

import inspect
from typing import get_args, get_type_hints

import pytest
from sides import unwrap

import dal
from dal.appends import Append

EXPORTED = {name: getattr(dal, name) for name in dal.__all__}
CLASSES = [one for one in EXPORTED.values() if inspect.isclass(one)]


def types_in(hint):
    """Every class in a type hint, such as both in `dict[str, Message]`."""
    parts = hint if isinstance(hint, list) else get_args(hint)
    return {hint} if inspect.isclass(hint) and not parts else set().union(*map(types_in, parts))


def public_hints(kind):
    """The type hints of a class that a user meets, by where they stand."""
    members = {name: one for name, one in inspect.getmembers_static(kind) if not name.startswith("_")}
    for name, one in {**members, "__init__": kind.__init__}.items():
        function = inspect.unwrap(getattr(one, "fget", None) or getattr(one, "__func__", one))
        if inspect.isfunction(function):
            for what, hint in get_type_hints(function, localns=EXPORTED).items():
                yield f"{name}: {what}", hint
    for name, hint in get_type_hints(kind, localns=EXPORTED).items():
        if not name.startswith("_"):
            yield name, hint


def internal(kind):
    """The types of ours in a class's hints that are not exported, by where they stand."""
    return {
        where: one
        for where, hint in public_hints(kind)
        for one in types_in(hint)
        if one.__module__.startswith("dal") and one not in CLASSES
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_no_hint_has_an_internal_type(kind):
    assert internal(kind) == {}


def test_an_internal_type_would_be_found():
    class Leaking:
        attribute: "Append | None"
        _private: Append

        def __init__(self, source: "str | Append") -> None: ...
        def method(self) -> list[Append]: ...
        def _hidden(self) -> Append: ...
        @property
        def one(self) -> dict[str, Append]: ...
        @classmethod
        def make(cls, append: Append) -> "dal.Message": ...

    assert set(internal(Leaking)) == {"attribute", "__init__: source", "method: return", "one: return", "make: append"}


def public(instance):
    """The attributes of an object that are neither methods nor private, with their values."""
    names = [name for name in dir(instance) if not name.startswith("_")]
    return {name: value for name in names if not callable(value := getattr(instance, name))}


def test_no_public_attribute_is_internal(store):
    with store.writer() as writer:
        for one in map(unwrap, (store, store.for_user("u1"), writer)):
            assert public(one) == {}
    session = public(unwrap(store.session("s", metadata={"a": 1})))
    assert set(session) == {"id", "metadata", "parent_id", "persisted", "source", "user_id"}
    assert {type(value).__module__ for value in session.values()} == {"builtins"}


def test_the_constructor_takes_nothing_internal(store, side):
    with pytest.raises(dal.InvalidInput, match=r"source: must be an? .*ConnectionPool or an? .*Connection, not"):
        side.store(unwrap(store)._backend.runner)
