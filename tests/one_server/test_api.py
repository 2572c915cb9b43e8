"""The public interface: every type in its hints can be imported from `dal`."""

import inspect
from typing import get_args, get_type_hints

import pytest
from sides import unwrap

import dal
from dal.appends import Append

EXPORTED = {name: getattr(dal, name) for name in dal.__all__}
CLASSES = [one for one in EXPORTED.values() if inspect.isclass(one)]


def types_in(hint):
    """Return the classes in a type hint: str and Message for `dict[str, Message]`."""
    parts = hint if isinstance(hint, list) else get_args(hint)
    return {hint} if inspect.isclass(hint) and not parts else set().union(*map(types_in, parts))


def public_hints(kind):
    """Yield the type hints of a class's public members, by name."""
    members = {name: one for name, one in inspect.getmembers_static(kind) if not name.startswith("_")}
    for name, one in {**members, "__init__": kind.__init__}.items():
        function = inspect.unwrap(getattr(one, "fget", None) or getattr(one, "__func__", one))
        if inspect.isfunction(function):
            for parameter, hint in get_type_hints(function, localns=EXPORTED).items():
                yield f"{name}: {parameter}", hint
    for name, hint in get_type_hints(kind, localns=EXPORTED).items():
        if not name.startswith("_"):
            yield name, hint


def internal_types(kind):
    """Return the types of dal in a class's hints that are not exported, by name."""
    return {
        where: one
        for where, hint in public_hints(kind)
        for one in types_in(hint)
        if one.__module__.startswith("dal") and one not in CLASSES
    }


@pytest.mark.parametrize("kind", CLASSES, ids=lambda kind: kind.__name__)
def test_hints_have_no_internal_types(kind):
    assert internal_types(kind) == {}


def test_internal_types_are_found():
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

    assert set(internal_types(Leaking)) == {
        "attribute",
        "__init__: source",
        "method: return",
        "one: return",
        "make: append",
    }


def public(instance):
    """Return the public attributes of an object that are not methods."""
    names = [name for name in dir(instance) if not name.startswith("_")]
    return {name: value for name in names if not callable(value := getattr(instance, name))}


def test_public_attributes_are_not_internal(store):
    with store.writer() as writer:
        for one in map(unwrap, (store, store.for_user("u1"), writer)):
            assert public(one) == {}
    session = public(unwrap(store.session("s", metadata={"a": 1})))
    assert set(session) == {"id", "metadata", "parent_id", "persisted", "source", "user_id"}
    assert {type(value).__module__ for value in session.values()} == {"builtins"}


def test_the_constructor_refuses_an_internal_object(store, side):
    with pytest.raises(dal.InvalidInput, match=r"source: must be an? .*ConnectionPool or an? .*Connection, not"):
        side.store(unwrap(store)._backend.runner)
