from __future__ import annotations

from typing import Any, Literal

import attrs
import msgspec

from bifrost.errors import ConfigError
from bifrost.settings.problems import Problems
from bifrost.settings.shape import Reader, fields_of
from tests.table import table


def _even(instance: object, attribute: attrs.Attribute[Any], value: int) -> None:
    if value % 2:
        raise ConfigError(f"{type(instance).__name__}.{attribute.name} must be even, not {value}")


@attrs.frozen(kw_only=True)
class Inner:
    even: int = attrs.field(default=0, validator=_even)
    low: int = 0
    high: int = 10

    def __attrs_post_init__(self) -> None:
        if self.low > self.high:
            raise ConfigError("the range is empty")
        if self.high > 100:
            raise ConfigError("Inner.high: it must be 100 at most")


class Outer(msgspec.Struct, frozen=True, kw_only=True):
    name: str
    inner: Inner | None = None
    pair: tuple[str, float] | None = None
    several: list[str | Inner] | None = None
    by_name: dict[str, Inner] | None = None
    mode: Literal["a", "b"] = "a"
    anything: Any = None
    renamed: bool = msgspec.field(default=False, name="re-named")


def read(value: object) -> tuple[Outer | None, list[str]]:
    problems = Problems()
    made = Reader(problems).table(value, Outer, "at")
    return made, str(problems.failure("f").message).split("; (") if problems else []


def test_values_are_made_by_the_annotations() -> None:
    made, told = read(
        {
            "name": "n",
            "inner": {"even": 2},
            "pair": ["a", 1],
            "several": ["x", {"low": 1}],
            "by_name": {"k": {"high": 5}},
            "mode": "b",
            "anything": {"a": [1]},
            "re-named": True,
        }
    )
    assert told == []
    assert made == Outer(
        name="n",
        inner=Inner(even=2),
        pair=("a", 1.0),
        several=["x", Inner(low=1)],
        by_name={"k": Inner(high=5)},
        mode="b",
        anything={"a": [1]},
        renamed=True,
    )


@table(
    ("wrong", "told"),
    [
        ({}, "at: name is missing; it must be text"),
        ({"name": None}, "at.name: expected text, found null"),
        ({"pair": ["a"]}, "at.pair: expected a list of text and a number, found a list of 1"),
        ({"pair": ["a", "b"]}, "at.pair[1]: expected a number, found text"),
        ({"pair": {}}, "at.pair: expected a list of text and a number, found a table"),
        ({"several": [1]}, "at.several[0]: expected text or a table, found the number 1"),
        ({"several": "x"}, "at.several: expected a list, found text"),
        ({"by_name": {"a b": {"even": 1}}}, 'at.by_name."a b".even: must be even, not 1'),
        ({"by_name": [1]}, "at.by_name: expected a table, found a list"),
        ({"mode": "c"}, "at.mode: expected 'a' or 'b' (the default is 'a'), found text"),
        ({"re-named": 1}, "at.re-named: expected true or false (the default is false), found the number 1"),
        ({"inner": {"low": 20}}, "at.inner: the range is empty"),
        ({"inner": {"high": 101}}, "at.inner.high: it must be 100 at most"),
        ({"inner": {"even": 10**400}}, "at.inner.even: must be even, not"),
        ({"inner": {"even": 1e300}}, "at.inner.even: expected a whole number (the default is 0), found a very large"),
        ({"even": 2}, "at.even: there is no such setting; did you mean 'inner.even'?"),
        ({"inner": {"evne": 1}}, "at.inner.evne: there is no such setting; did you mean 'even'?"),
        ({"inner": {"x" * 60: 1}}, 'at.inner."<a name of 60 characters>": there is no such setting; there are: even,'),
    ],
)
def test_a_problem_is_told_at_its_place(wrong: dict[str, Any], told: str) -> None:
    value = wrong if "name" in wrong or not wrong else {"name": "n", **wrong}
    if told.endswith("even, not"):
        value = {"name": "n", "inner": {"even": 10**400 + 1}}
    _, found = read(value)
    assert [each.removeprefix("f: ")[: len(told)] for each in found] == [told]


def test_reading_goes_on_after_a_problem() -> None:
    made, told = read({"inner": {"even": 1, "low": "x", "high": 200}, "mode": 3})
    assert made is None
    assert len(told) == 5


def test_an_unknown_name_can_be_let_pass() -> None:
    seen: list[tuple[str, str]] = []
    problems = Problems()
    reader = Reader(problems, unknown=lambda at, alike: seen.append((at, alike)))
    assert reader.table({"evne": 1, "zzz": 2}, Inner, "at") == Inner()
    assert seen == [("at.evne", "'even'"), ("at.zzz", "")]
    assert not problems


def test_fields_have_the_names_of_the_file() -> None:
    assert [field.attribute for name, field in fields_of(Outer).items() if name == "re-named"] == ["renamed"]
    assert fields_of(Inner)["high"].default == 10
    assert fields_of(Outer)["name"].required
