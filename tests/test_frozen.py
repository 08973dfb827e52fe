"""Frozen classes compare, hash and show as those that attrs writes whole."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import attrs
import pytest

from bifrost.frozen import Frozen


@attrs.frozen(kw_only=True, eq=False, repr=False)
class Ours(Frozen):
    name: str = "a"
    size: float = 1.0
    options: tuple[Any, ...] = ()
    secret: str = attrs.field(default="hidden", repr=False)
    note: Any = attrs.field(default=None, eq=False)
    extra: Any = attrs.field(default=None, hash=False)


@attrs.frozen(kw_only=True)
class Theirs:
    name: str = "a"
    size: float = 1.0
    options: tuple[Any, ...] = ()
    secret: str = attrs.field(default="hidden", repr=False)
    note: Any = attrs.field(default=None, eq=False)
    extra: Any = attrs.field(default=None, hash=False)


@attrs.frozen(eq=False, repr=False)
class Single(Frozen):
    only: Any


_CHANGES: list[dict[str, Any]] = [
    {},
    {"name": "b"},
    {"size": 1},
    {"size": 2.0},
    {"options": (1,)},
    {"secret": "other"},
    {"note": "not compared"},
    {"extra": []},
]


@pytest.mark.parametrize("first", _CHANGES)
@pytest.mark.parametrize("second", _CHANGES)
def test_two_are_equal_when_attrs_would_say_so(first: dict[str, Any], second: dict[str, Any]) -> None:
    assert (Ours(**first) == Ours(**second)) is (Theirs(**first) == Theirs(**second))
    assert (Ours(**first) != Ours(**second)) is (Theirs(**first) != Theirs(**second))


def test_another_class_is_never_equal() -> None:
    assert Ours() != Theirs()
    assert Single("a") != "a"
    assert Ours().__eq__(Theirs()) is NotImplemented


def test_equal_ones_have_one_hash() -> None:
    assert hash(Ours(note=1, extra=[])) == hash(Ours(note=2, extra=None))
    assert len({Ours(), Ours(), Ours(name="b"), Ours(note="other")}) == 2
    assert hash(Single("a")) == hash(Single("a"))


def test_what_holds_something_unhashable_is_unhashable() -> None:
    with pytest.raises(TypeError, match="unhashable"):
        hash(Single([]))


@pytest.mark.parametrize("change", _CHANGES)
def test_it_shows_as_attrs_would_show_it(change: dict[str, Any]) -> None:
    assert repr(Ours(**change)) == repr(Theirs(**change)).replace("Theirs", "Ours")


def test_a_local_class_shows_without_its_function() -> None:
    @attrs.frozen(eq=False, repr=False)
    class Local(Frozen):
        inner: Any

    @attrs.frozen
    class LocalOfAttrs:
        inner: Any

    assert repr(Local(1)) == "Local(inner=1)"
    assert repr(LocalOfAttrs(1)) == "LocalOfAttrs(inner=1)"


def test_one_that_holds_itself_shows() -> None:
    held: list[Any] = []
    one = Single(held)
    held.append(one)

    assert repr(one) == "Single(only=[...])"


def test_copies_are_equal() -> None:
    one = Ours(name="b", options=(1, 2))

    assert copy.copy(one) == one
    assert copy.deepcopy(one) == one
    assert pickle.loads(pickle.dumps(one)) == one  # noqa: S301 - our own
    assert attrs.evolve(one, name="a") == Ours(options=(1, 2))


def test_none_takes_other_attributes() -> None:
    with pytest.raises(AttributeError):
        setattr(Ours(), "name", "b")  # noqa: B010 - which type checkers refuse
    with pytest.raises(AttributeError):
        object.__setattr__(Ours(), "other", 1)
