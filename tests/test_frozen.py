"""Frozen classes compare, hash and show as those that attrs writes whole."""

from __future__ import annotations

import copy
import inspect
import pickle
import sys
from typing import Any

import attrs
import msgspec
import pytest

import bifrost
from bifrost import (
    AdaptiveConfig,
    ChatRequest,
    ChatResponse,
    ConfigError,
    Key,
    Message,
    ParsedResponse,
    ProviderConfig,
    StreamReset,
    TextPart,
    Usage,
)
from bifrost.frozen import Frozen, Value
from bifrost.providers.catalog import CATALOG
from tests.table import table


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


@table("first", _CHANGES)
@table("second", _CHANGES)
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


@table("change", _CHANGES)
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


# --- replace


def _values() -> list[type]:
    """The public classes whose objects are values, and those of the values that they hold."""
    found: dict[type, None] = {}
    waiting: list[Any] = [getattr(bifrost, name) for name in bifrost.__all__]
    while waiting:
        each = waiting.pop()
        if not (inspect.isclass(each) and each.__module__.startswith("bifrost")) or each in found:
            continue
        if issubclass(each, msgspec.Struct):
            found[each] = None
            kinds = [field.type for field in msgspec.structs.fields(each)]
            waiting += [part for kind in kinds for part in _parts(kind)]
        elif attrs.has(each) and not issubclass(each, BaseException) and each.__name__.endswith(_SETTINGS):
            found[each] = None
    return list(found)


_SETTINGS = ("Config", "Options", "Key", "SizeLimits", "Timeouts", "Group", "Settings")


def _parts(kind: Any) -> list[Any]:
    args = getattr(kind, "__args__", ())
    return [kind, *(part for arg in args for part in _parts(arg))]


@table("kind", _values(), ids=lambda kind: kind.__name__)
def test_every_public_value_can_be_replaced(kind: Any) -> None:
    assert issubclass(kind, Value | Frozen)
    assert kind.replace is not None
    assert "replace" not in getattr(kind, "__struct_fields__", ())
    assert kind.__replace__ in (Value.__replace__, Frozen.__replace__)


@table(
    ("value", "changes"),
    [
        (ChatRequest(model="m", messages=[]), {"messages": [Message(role="user", content="hi")], "model": "n"}),
        (ChatResponse.of("hi"), {"id": "x"}),
        (ParsedResponse(choices=ChatResponse.of("3").choices, parsed=3), {"parsed": 4}),
        (StreamReset(partial=ChatResponse.of("hi")), {"reason": "cut"}),
        (TextPart(text="a"), {"text": "b"}),
        (Usage(input_tokens=1), {"output_tokens": 2}),
        (ProviderConfig(), {"concurrency": 8}),
        (Key(name="a", value="sk-a"), {"weight": 0.5}),
        (CATALOG["openai"], {"name": "mine"}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_copy_is_changed_and_the_value_is_not(value: Any, changes: dict[str, Any]) -> None:
    before = repr(value)

    changed = value.replace(**changes)

    assert type(changed) is type(value)
    assert {name: getattr(changed, name) for name in changes} == changes
    assert repr(value) == before
    assert value.replace() == value
    assert value.__replace__(**changes) == changed
    if sys.version_info >= (3, 13):
        assert copy.replace(value, **changes) == changed


@table(
    ("value", "name", "hint"),
    [
        (ChatRequest(model="m", messages=[]), "temprature", "did you mean temperature?"),
        (ProviderConfig(), "concurency", "did you mean concurrency?"),
        (Usage(), "zzz", "it has: input_tokens, "),
        (AdaptiveConfig(), "zzz", "it has: "),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_field_that_there_is_not_is_named(value: Any, name: str, hint: str) -> None:
    with pytest.raises(TypeError, match=rf"{type(value).__name__} has no field '{name}'; {hint.replace('?', '.')}"):
        value.replace(**{name: 1})


def test_settings_check_what_is_replaced() -> None:
    with pytest.raises(ConfigError):
        ProviderConfig().replace(concurrency=0)
