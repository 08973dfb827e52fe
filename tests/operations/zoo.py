"""Types of every kind that a caller may want an answer in, with answers that fit and answers that do not."""

from __future__ import annotations

import collections
import dataclasses
import datetime as dt
import enum
import ipaddress
import pathlib
import typing
import uuid
from collections.abc import Iterable, Mapping, MutableMapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from typing import (
    Annotated,
    Any,
    ClassVar,
    Final,
    Generic,
    Literal,
    NamedTuple,
    NewType,
    NotRequired,
    Optional,
    Required,
    TypedDict,
    TypeVar,
    Union,
)

import annotated_types as at
import attrs
import msgspec
import pydantic
import typing_extensions as te
from pydantic.dataclasses import dataclass as pydantic_dataclass

T = TypeVar("T")
U = TypeVar("U")


class Animal(NamedTuple):
    """A type, the JSON of an answer of it, and the value that this makes."""

    kind: Any
    text: str
    value: Any
    also: tuple[str, ...] = ()
    """Other texts that mean the same."""
    wrong: tuple[tuple[str, str], ...] = ()
    """Texts that do not fit, and the place that the error must name."""


ZOO: dict[str, Animal] = {}


def add(label: str, kind: Any, text: str, value: Any, *also: str, wrong: Any = ()) -> None:
    assert label not in ZOO
    ZOO[label] = Animal(kind, text, value, also, tuple(wrong))


# --- builtins

add("int", int, "41", 41, "41.0", "4.1e1", wrong=[('"41"', "$.value"), ("41.5", "$.value"), ("null", "$.value")])
add("float", float, "1.5", 1.5, wrong=[('"1"', "$.value")])
add("float of a whole number", float, "2", 2.0, "2.0")
add("bool", bool, "true", True, wrong=[("1", "$.value"), ('"true"', "$.value")])
add("str", str, '"a"', "a", wrong=[("1", "$.value")])
add("str with escapes", str, '"\\u00e9\\n\\"{}[]"', 'é\n"{}[]')
add("None", None, "null", None, wrong=[("0", "$.value")])
add("Any", Any, '{"a": [1, "b"]}', {"a": [1, "b"]})
add("bytes", bytes, '"aGk="', b"hi", wrong=[('"*"', "$.value")])
add("bytearray", bytearray, '"aGk="', bytearray(b"hi"))
add("Decimal", Decimal, '"1.10"', Decimal("1.10"), wrong=[('"x"', "$.value")])
add("Decimal of a number", Decimal, '"1.25"', Decimal("1.25"), "1.25")
add("UUID", uuid.UUID, f'"{uuid.UUID(int=1)}"', uuid.UUID(int=1), wrong=[('"1"', "$.value")])
add("date", dt.date, '"2026-12-01"', dt.date(2026, 12, 1), '"2026-12-01T00:00:00Z"', wrong=[('"soon"', "$.value")])
NOON = dt.datetime(2026, 12, 1, 12, tzinfo=dt.UTC)
add(
    "datetime",
    dt.datetime,
    '"2026-12-01T12:00:00Z"',
    NOON,
    '"2026-12-01 12:00:00+00:00"',
    '"2026-12-01T12:00Z"',
    '"2026-12-01t13:00:00+01:00"',
    wrong=[('"noon"', "$.value"), ("1", "$.value")],
)
add("datetime without a zone", dt.datetime, '"2026-12-01T12:00:00"', NOON.replace(tzinfo=None), '"2026-12-01 12:00"')
add(
    "datetime that has no zone",
    Annotated[dt.datetime, msgspec.Meta(tz=False)],
    '"2026-12-01T12:00:00"',
    NOON.replace(tzinfo=None),
    '"2026-12-01T12:00:00Z"',
)
add(
    "datetime that has a zone",
    Annotated[dt.datetime, msgspec.Meta(tz=True)],
    '"2026-12-01T12:00:00Z"',
    NOON,
    wrong=[('"2026-12-01T12:00:00"', "$.value")],
)
add("time", dt.time, '"12:30:00"', dt.time(12, 30), '"12:30"', wrong=[('"25:00"', "$.value")])
add("time with a zone", dt.time, '"12:30:00Z"', dt.time(12, 30, tzinfo=dt.UTC))
add("timedelta", dt.timedelta, '"P1DT2H"', dt.timedelta(1, 7200), '"p1dt2h"', '"26:00:00"', "93600", '"PT26H"')
add("timedelta of a week", dt.timedelta, '"P7D"', dt.timedelta(7), '"P1W"', wrong=[('"P1Y"', "$.value")])
add("timedelta below zero", dt.timedelta, '"-P1D"', dt.timedelta(-1), '"-P1DT0S"')
add("IPv4Address", ipaddress.IPv4Address, '"127.0.0.1"', ipaddress.IPv4Address("127.0.0.1"), wrong=[('"x"', "$.value")])
add("IPv6Address", ipaddress.IPv6Address, '"::1"', ipaddress.IPv6Address("::1"), wrong=[("1", "$.value")])
add("Path", pathlib.Path, '"/tmp/a"', pathlib.Path("/tmp/a"))  # noqa: S108 - a path, and nothing is written
add("LiteralString", typing.LiteralString, '"a"', "a")

# --- containers

add("list", list, "[1]", [1])
add("list of int", list[int], "[1, 2]", [1, 2], "[1.0, 2]", wrong=[('["x"]', "$.value[0]"), ("{}", "$.value")])
add("typing.List", typing.List[int], "[1]", [1])  # noqa: UP006 - as people still write it
add("list of lists", list[list[int]], "[[1], []]", [[1], []], "[[1.0], []]", wrong=[('[[1], ["x"]]', "$.value[1][0]")])
add("empty list", list[int], "[]", [])
add("set", set[int], "[1, 2]", {1, 2}, "[1.0, 2, 2]")
add("frozenset", frozenset[str], '["a"]', frozenset({"a"}))
add("AbstractSet", AbstractSet[int], "[1]", {1})
add("Sequence", Sequence[int], "[1]", [1], "[1.0]")
add("Iterable", Iterable[int], "[1]", [1])
add("deque", collections.deque[int], "[1]", collections.deque([1]), wrong=[('["x"]', "$.value[0]")])
add("dict", dict, '{"a": 1}', {"a": 1})
add("dict of int", dict[str, int], '{"a": 1}', {"a": 1}, '{"a": 1.0}', wrong=[('{"a": "x"}', "$")])
add("dict by int", dict[int, str], '{"1": "a"}', {1: "a"}, '{"1.0": "a"}')
add("dict by UUID", dict[uuid.UUID, int], f'{{"{uuid.UUID(int=1)}": 1}}', {uuid.UUID(int=1): 1})
add("dict by date", dict[dt.date, int], '{"2026-12-01": 1}', {dt.date(2026, 12, 1): 1})
add("dict by literal", dict[Literal["a", "b"], int], '{"a": 1}', {"a": 1}, wrong=[('{"c": 1}', "$")])
add(
    "dict by pattern",
    dict[Annotated[str, msgspec.Meta(pattern="^a")], int],
    '{"ab": 1}',
    {"ab": 1},
    wrong=[('{"b": 1}', "$")],
)
add(
    "dict by pydantic's pattern",
    dict[Annotated[str, pydantic.Field(pattern="^a")], int],
    '{"ab": 1}',
    {"ab": 1},
    '{"ab": 1.0}',
    wrong=[('{"b": 1}', "$")],
)
add("dict of lists", dict[str, list[dt.date]], '{"a": ["2026-12-01"]}', {"a": [dt.date(2026, 12, 1)]})
add("Mapping", Mapping[str, int], '{"a": 1}', {"a": 1})
add("MutableMapping", MutableMapping[str, int], '{"a": 1}', {"a": 1})
add("OrderedDict", collections.OrderedDict[str, int], '{"a": 1}', collections.OrderedDict(a=1))
add("Counter", collections.Counter[str], '{"a": 1}', collections.Counter(a=1), '{"a": 1.0}')
add("defaultdict", collections.defaultdict[str, int], '{"a": 1}', collections.defaultdict(None, a=1))
add("tuple", tuple, "[1]", (1,))
add("tuple of nothing", tuple[()], "[]", (), wrong=[("[1]", "$.value")])
add("tuple of one", tuple[int], "[1]", (1,), "[1.0]", wrong=[("[]", "$.value"), ("[1, 2]", "$.value")])
add("tuple of a kind", tuple[int, int], "[1, 2]", (1, 2))
add("tuple of kinds", tuple[int, str], '[1, "a"]', (1, "a"), '[1.0, "a"]', wrong=[('["a", 1]', "$.value[0]")])
add("tuple of any length", tuple[int, ...], "[1, 2, 3]", (1, 2, 3), "[1.0, 2, 3]")
add("tuple in a tuple", tuple[str, tuple[int, bool]], '["a", [1, true]]', ("a", (1, True)))
add("list of tuples", list[tuple[float, float]], "[[1.5, 2]]", [(1.5, 2.0)])
add("dict of tuples", dict[str, tuple[int, str]], '{"a": [1, "b"]}', {"a": (1, "b")})

# --- choices


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Level(enum.IntEnum):
    LOW = 1
    HIGH = 2


class Size(enum.StrEnum):
    S = "s"
    M = enum.auto()


class Rate(enum.Enum):
    HALF = 0.5
    FULL = 1.0


class Mixed(enum.Enum):
    ONE = 1
    A = "a"
    NONE = None


class Auto(enum.Enum):
    A = enum.auto()
    B = enum.auto()


add("Enum", Colour, '"red"', Colour.RED, wrong=[('"green"', "$.value")])
add("IntEnum", Level, "2", Level.HIGH, "2.0", wrong=[("3", "$.value")])
add("StrEnum", Size, '"m"', Size.M)
add("Enum of fractions", Rate, "0.5", Rate.HALF, wrong=[("0.6", "$.value")])
add("Enum of kinds", Mixed, '"a"', Mixed.A, wrong=[('"b"', "$.value")])
add("Enum of auto", Auto, "2", Auto.B)
add("Literal", Literal["a", "b"], '"a"', "a", wrong=[('"c"', "$.value")])
add("Literal of one", Literal["a"], '"a"', "a")
add("Literal of numbers", Literal[1, 2], "1", 1, "1.0", wrong=[("3", "$.value")])
add("Literal of kinds", Literal["a", 1, None], "1", 1, "1.0")  # noqa: PYI061 - as people write it
add("Optional", Optional[int], "null", None)  # noqa: UP045 - as people still write it
add("Union", Union[int, str], '"a"', "a")  # noqa: UP007 - as people still write it
add("int or None", int | None, "1", 1, "1.0", wrong=[('"x"', "$.value")])
add("int or str", int | str, "1", 1, "1.0")
add("int or float", int | float, "1.5", 1.5)
add("int, str, list or None", int | str | list[int] | None, "[1]", [1], "[1.0]")
add("list or dict", list[int] | dict[str, int], '{"a": 1}', {"a": 1}, '{"a": 1.0}')
add("date or None", dt.datetime | None, '"2026-12-01T12:00:00Z"', NOON, '"2026-12-01 12:00Z"')
add("Literal or int", Literal["none"] | int, '"none"', "none")
add("Enum or None", Colour | None, '"red"', Colour.RED)
add("address or None", ipaddress.IPv4Address | None, '"127.0.0.1"', ipaddress.IPv4Address("127.0.0.1"))
add("address or number", ipaddress.IPv4Address | int, "5", 5)
add("many values", Literal[tuple(f"v{number}" for number in range(1200))], '"v7"', "v7")

# --- aliases and annotations

Age = NewType("Age", int)
LimitedAge = NewType("LimitedAge", Annotated[int, pydantic.Field(ge=18)])  # type: ignore[valid-newtype] # pyright: ignore[reportGeneralTypeIssues]
Numbers = te.TypeAliasType("Numbers", list[int])
Pair = te.TypeAliasType("Pair", tuple[T, T], type_params=(T,))
LimitedAlias = te.TypeAliasType("LimitedAlias", Annotated[int, pydantic.Field(ge=18)])

add("NewType", Age, "3", 3, "3.0")
add("NewType with a limit", LimitedAge, "18", 18, "18.0", wrong=[("17", "$.value")])
add("alias", Numbers, "[1]", [1], "[1.0]")
add("alias with an argument", Pair[int], "[1, 2]", (1, 2), wrong=[('["a", 2]', "$.value[0]")])
add("alias with a limit", LimitedAlias, "18", 18, wrong=[("17", "$.value")])
add("list of an alias", list[Numbers], "[[1]]", [[1]])
add("Annotated", Annotated[int, "a note"], "1", 1)
add(
    "Annotated with a limit",
    Annotated[int, msgspec.Meta(ge=1, le=5, multiple_of=1)],
    "3",
    3,
    "3.0",
    wrong=[("6", "$.value")],
)
add(
    "Annotated with a pattern",
    Annotated[str, msgspec.Meta(pattern="^[a-z]+$", max_length=5)],
    '"abc"',
    "abc",
    wrong=[('"ABC"', "$.value")],
)
add(
    "Annotated list",
    Annotated[list[int], msgspec.Meta(min_length=1, max_length=2)],
    "[1]",
    [1],
    wrong=[("[]", "$.value")],
)
add("annotated_types", Annotated[int, at.Gt(0)], "1", 1, "1.0", wrong=[("0", "$.value")])
add(
    "annotated_types in a list",
    list[Annotated[int, at.Interval(ge=1, lt=5)]],
    "[1]",
    [1],
    wrong=[("[5]", "$.value[0]")],
)
add("annotated_types of length", Annotated[str, at.Len(2, 3)], '"ab"', "ab", wrong=[('"a"', "$.value")])
add("Doc", Annotated[int, te.Doc("how many")], "1", 1)
add("Final", Final[int], "1", 1)

# --- msgspec


class Point(msgspec.Struct):
    y: int
    x: int


class Line(msgspec.Struct):
    """A line of an order."""

    what: str
    price: Annotated[float, msgspec.Meta(ge=0, description="in euros")]
    colour: Colour = Colour.RED


class Order(msgspec.Struct):
    lines: list[Line]
    at: dt.datetime
    until: dt.time | None = None
    took: dt.timedelta | None = None


class Renamed(msgspec.Struct, rename="camel"):
    first_name: str
    is_new: bool = True


class Row(msgspec.Struct, array_like=True):
    name: str
    count: int


class RowWithDefault(msgspec.Struct, array_like=True):
    name: str
    count: int = 0


class Closed(msgspec.Struct, forbid_unknown_fields=True):
    a: int


class FrozenPoint(msgspec.Struct, frozen=True, kw_only=True):
    y: int = 0
    x: int


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


class NumberedA(msgspec.Struct, tag=1, tag_field="n"):
    a: str


class NumberedB(msgspec.Struct, tag=2, tag_field="n"):
    b: str


class Home(msgspec.Struct):
    pet: Cat | Dog | None
    pets: list[Cat | Dog] = []


class Box(msgspec.Struct, Generic[T]):
    content: T


class Positive(msgspec.Struct):
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("n must be positive")


class Nothing(msgspec.Struct):
    pass


class WithUnset(msgspec.Struct):
    a: int | msgspec.UnsetType = msgspec.UNSET


class WithRaw(msgspec.Struct):
    a: Any


class LimitedStruct(msgspec.Struct):
    age: Annotated[int, pydantic.Field(ge=18, description="in years")]
    name: str = "x"


class TaggedLimited(msgspec.Struct, tag="limited"):
    age: Annotated[int, pydantic.Field(ge=18)]


class TaggedPlain(msgspec.Struct, tag="plain"):
    name: str


class Wide(msgspec.Struct):
    a: int = 1
    b: str | None = None
    c: list[int] = []
    d: dict[str, int] = {}


ORDER = (
    '{"lines": [{"what": "a", "price": 1, "colour": "blue"}], '
    '"at": "2026-12-01T12:00:00Z", "until": "12:30:00", "took": "P7D"}'
)
add(
    "Struct",
    Point,
    '{"y": 2, "x": 1}',
    Point(2, 1),
    '{"x": 1.0, "y": 2.0, "more": 1}',
    wrong=[('{"y": 2}', "x"), ('{"y": "a", "x": 1}', "$.y"), ("[]", "$")],
)
add(
    "Struct in a Struct",
    Order,
    ORDER,
    Order([Line("a", 1.0, Colour.BLUE)], NOON, dt.time(12, 30), dt.timedelta(7)),
    ORDER.replace("P7D", "P1W").replace("12:30:00", "12:30"),
    wrong=[
        (ORDER.replace('"price": 1', '"price": -1'), "$.lines[0].price"),
        (ORDER.replace("2026-12-01T12:00:00Z", "today"), "$.at"),
    ],
)
add(
    "Struct with other names",
    Renamed,
    '{"firstName": "a", "isNew": false}',
    Renamed("a", False),
    wrong=[("{}", "firstName")],
)
add("Struct as a list", Row, '["a", 1]', Row("a", 1), '["a", 1.0]', wrong=[('["a"]', "$.value")])
add("Struct as a list with a default", RowWithDefault, '["a"]', RowWithDefault("a"))
add("Struct that takes no more", Closed, '{"a": 1}', Closed(1), wrong=[('{"a": 1, "b": 2}', "b")])
add("frozen Struct", FrozenPoint, '{"y": 2, "x": 1}', FrozenPoint(y=2, x=1))
add(
    "Struct that contains itself",
    Node,
    '{"value": 1, "children": [{"value": 2, "children": []}]}',
    Node(1, [Node(2)]),
    '{"value": 1.0, "children": [{"value": 2.0}]}',
    wrong=[('{"value": 1, "children": [{}]}', "$.children[0]")],
)
add(
    "tagged Structs",
    Cat | Dog,
    '{"type": "dog", "tricks": ["roll"]}',
    Dog(["roll"]),
    wrong=[('{"type": "cow"}', "$.value.type")],
)
add(
    "tagged Structs with a whole number",
    Cat | Dog,
    '{"type": "cat", "lives": 9}',
    Cat(9),
    '{"type": "cat", "lives": 9.0}',
)
add("Structs tagged with numbers", NumberedA | NumberedB, '{"n": 2, "b": "x"}', NumberedB("x"))
add(
    "tagged Structs inside",
    Home,
    '{"pet": null, "pets": [{"type": "cat", "lives": 9}]}',
    Home(None, [Cat(9)]),
    '{"pet": null, "pets": [{"type": "cat", "lives": 9.0}]}',
)
add("generic Struct", Box[int], '{"content": 1}', Box(1), '{"content": 1.0}', wrong=[('{"content": "a"}', "$.content")])
add("generic Struct of Structs", Box[list[Point]], '{"content": [{"y": 2, "x": 1}]}', Box([Point(2, 1)]))
add("generic Struct without argument", Box, '{"content": "a"}', Box("a"))
add("Struct with a check", Positive, '{"n": 1}', Positive(1), wrong=[('{"n": 0}', "n must be positive")])
add("empty Struct", Nothing, "{}", Nothing())
add("Struct with UNSET", WithUnset, '{"a": 1}', WithUnset(1))
add("Struct with Any", WithRaw, '{"a": {"b": 1}}', WithRaw({"b": 1}))
add("list of Structs", list[Point], '[{"y": 2, "x": 1}]', [Point(2, 1)], wrong=[('[{"y": 2}]', "$.value[0]")])
add("dict of Structs", dict[str, Point], '{"a": {"y": 2, "x": 1}}', {"a": Point(2, 1)})
add("Struct or None", Point | None, '{"y": 2, "x": 1}', Point(2, 1))
add("Struct or number", Point | int, "5", 5, "5.0")
add(
    "Struct with pydantic's limit",
    LimitedStruct,
    '{"age": 18, "name": "a"}',
    LimitedStruct(18, "a"),
    '{"age": 18.0, "name": "a"}',
    wrong=[('{"age": 17}', "$.age"), ("{}", "age")],
)
add(
    "list of Structs with pydantic's limit",
    list[LimitedStruct],
    '[{"age": 18, "name": "x"}]',
    [LimitedStruct(18)],
    wrong=[('[{"age": 17}]', "$.value[0].age")],
)
add(
    "tagged Structs with pydantic's limit",
    TaggedLimited | TaggedPlain,
    '{"type": "limited", "age": 18}',
    TaggedLimited(18),
    wrong=[('{"type": "limited", "age": 1}', "$.value.age")],
)
add("Struct of defaults", Wide, '{"a": 2, "b": "x", "c": [1], "d": {"e": 1}}', Wide(2, "x", [1], {"e": 1}))
Made = msgspec.defstruct("Made", [("a", int), ("b", str, "x")])
add("defstruct", Made, '{"a": 1, "b": "x"}', Made(1, "x"))

# --- dataclasses


@dataclasses.dataclass
class Data:
    y: int
    x: int = 0


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class FrozenData:
    y: int
    when: dt.datetime | None = None


@dataclasses.dataclass
class DataWithFactory:
    tags: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass
class Checked:
    n: int

    def __post_init__(self) -> None:
        if self.n < 1:
            raise ValueError("n must be positive")


@dataclasses.dataclass
class Parent:
    a: int


@dataclasses.dataclass
class Child(Parent):
    b: int = 0
    note: ClassVar[str] = "none"


@dataclasses.dataclass
class Marked:
    a: int
    _: dataclasses.KW_ONLY
    b: int = 0


@dataclasses.dataclass
class GenericData(Generic[T, U]):
    first: T
    second: list[U]


@dataclasses.dataclass
class BoundData(GenericData[int, T]):
    third: T | None = None


@dataclasses.dataclass
class Tree:
    name: str
    children: list[Tree]


@dataclasses.dataclass
class WithInitVar:
    x: int
    seed: dataclasses.InitVar[int]
    y: int = dataclasses.field(init=False)

    def __post_init__(self, seed: int) -> None:
        self.y = self.x + seed


@dataclasses.dataclass
class NotGiven:
    x: int
    y: int = dataclasses.field(init=False, default=3)


@dataclasses.dataclass
class Derived:
    x: int
    twice: int = dataclasses.field(init=False)

    def __post_init__(self) -> None:
        self.twice = 2 * self.x


@dataclasses.dataclass
class HolderOfDerived:
    one: Derived
    many: dict[str, list[Derived | None]]


@dataclasses.dataclass
class LimitedTree:
    """A tree with ages."""

    age: Annotated[int, pydantic.Field(ge=18)]
    children: list[LimitedTree] = dataclasses.field(default_factory=list)


add("dataclass", Data, '{"y": 2, "x": 1}', Data(2, 1), '{"y": 2.0, "x": 1.0}', wrong=[("{}", "y")])
add(
    "frozen dataclass",
    FrozenData,
    '{"y": 2, "when": "2026-12-01T12:00:00Z"}',
    FrozenData(y=2, when=NOON),
    '{"y": 2, "when": "2026-12-01 12:00Z"}',
)
add("dataclass with a factory", DataWithFactory, '{"tags": ["a"]}', DataWithFactory(["a"]))
add("dataclass with a check", Checked, '{"n": 1}', Checked(1), wrong=[('{"n": 0}', "n must be positive")])
add("dataclass with a parent", Child, '{"a": 1, "b": 2}', Child(1, 2))
add("dataclass with keywords alone", Marked, '{"a": 1, "b": 2}', Marked(1, b=2))
add(
    "generic dataclass",
    GenericData[int, str],
    '{"first": 1, "second": ["a"]}',
    GenericData(1, ["a"]),
    wrong=[('{"first": "a", "second": []}', "$.first")],
)
add(
    "dataclass with a generic parent",
    BoundData[str],
    '{"first": 1, "second": ["a"], "third": "b"}',
    BoundData(1, ["a"], "b"),
)
add(
    "dataclass that contains itself",
    Tree,
    '{"name": "a", "children": [{"name": "b", "children": []}]}',
    Tree("a", [Tree("b", [])]),
)
add(
    "dataclass with InitVar",
    WithInitVar,
    '{"x": 1, "seed": 4}',
    WithInitVar(1, 4),
    '{"x": 1.0, "seed": 4.0}',
    wrong=[('{"x": 1}', "seed"), ('{"x": 1, "seed": "a"}', "$.seed")],
)
add("dataclass with a field that is not given", NotGiven, '{"x": 1}', NotGiven(1), '{"x": 1, "y": 9}')
add("dataclass with a field of its own", Derived, '{"x": 2}', Derived(2), '{"x": 2, "twice": 9}')
add(
    "dataclass of such",
    HolderOfDerived,
    '{"one": {"x": 1}, "many": {"a": [{"x": 2}, null]}}',
    HolderOfDerived(Derived(1), {"a": [Derived(2), None]}),
    wrong=[('{"one": {"x": "a"}, "many": {}}', "$.one.x")],
)
add(
    "dataclass with pydantic's limit that contains itself",
    LimitedTree,
    '{"age": 20, "children": [{"age": 18, "children": []}]}',
    LimitedTree(20, [LimitedTree(18)]),
    wrong=[('{"age": 20, "children": [{"age": 1}]}', "$.children[0].age")],
)
add("list of dataclasses", list[Data], '[{"y": 2, "x": 0}]', [Data(2)])

# --- attrs


@attrs.define
class Attrs:
    y: int
    x: int = 0


@attrs.frozen(kw_only=True)
class FrozenAttrs:
    y: int
    tags: list[str] = attrs.field(factory=list)


@attrs.define
class Validated:
    n: int = attrs.field(validator=attrs.validators.gt(0))
    size: str = attrs.field(default="S", validator=attrs.validators.in_(["S", "M"]))


@attrs.define
class Converted:
    tags: tuple[str, ...] = attrs.field(converter=tuple)
    n: int = attrs.field(converter=int, default="3")  # pyright: ignore[reportAssignmentType] - it is converted


def halves(value: str) -> list[str]:
    return value.split("-")


@attrs.define
class ConvertedFrom:
    parts: list[str] = attrs.field(converter=halves)


def picky(value: int) -> int:
    if value < 1:
        raise ValueError("n must be positive")
    return value * 2


@attrs.define
class ConvertedPickily:
    n: int = attrs.field(converter=picky)


@attrs.define
class Private:
    _x: int
    y: int = attrs.field(alias="why", default=0)


@attrs.define
class PrivateConverted:
    _x: int = attrs.field(converter=int)
    y: int = attrs.field(alias="why", default=0)


@attrs.define
class AttrsNotGiven:
    x: int
    y: int = attrs.field(init=False, default=3)


@attrs.define
class AttrsOwn:
    x: int
    y: int = attrs.field(init=False)

    def __attrs_post_init__(self) -> None:
        self.y = 2 * self.x


@attrs.define
class TakesSelf:
    x: int
    y: int = attrs.field(default=attrs.Factory(lambda self: self.x, takes_self=True))


@attrs.define
class GenericAttrs(Generic[T]):
    x: T


@attrs.define
class AttrsTree:
    name: str
    children: list[AttrsTree] = attrs.field(factory=list)


add("attrs", Attrs, '{"y": 2, "x": 1}', Attrs(2, 1), '{"y": 2.0, "x": 1}', wrong=[('{"y": "a"}', "$.y")])
add("frozen attrs", FrozenAttrs, '{"y": 2, "tags": ["a"]}', FrozenAttrs(y=2, tags=["a"]))
add(
    "attrs with validators",
    Validated,
    '{"n": 1, "size": "M"}',
    Validated(1, "M"),
    wrong=[('{"n": 0}', "'n' must be > 0"), ('{"n": 1, "size": "L"}', "'size' must be in")],
)
add(
    "attrs with converters",
    Converted,
    '{"tags": ["a"], "n": 4}',
    Converted(("a",), 4),
    '{"tags": ["a"], "n": 4.0}',
    wrong=[('{"tags": [1]}', "$.tags[0]")],
)
add(
    "attrs converted from another kind",
    ConvertedFrom,
    '{"parts": "a-b"}',
    ConvertedFrom("a-b"),
    wrong=[('{"parts": ["a"]}', "$.parts")],
)
add(
    "attrs with a picky converter",
    ConvertedPickily,
    '{"n": 2}',
    ConvertedPickily(2),
    wrong=[('{"n": 0}', "n must be positive")],
)
add("attrs with private names", Private, '{"_x": 1, "y": 2}', Private(1, 2))
add("attrs with private names and converters", PrivateConverted, '{"_x": 1, "y": 2}', PrivateConverted(1, 2))
add("attrs with a field that is not given", AttrsNotGiven, '{"x": 1}', AttrsNotGiven(1), '{"x": 1, "y": 9}')
add("attrs with a field of its own", AttrsOwn, '{"x": 1}', AttrsOwn(1))
add("attrs with a default of its own", TakesSelf, '{"x": 1, "y": 2}', TakesSelf(1, 2))
add("generic attrs", GenericAttrs[int], '{"x": 1}', GenericAttrs(1), wrong=[('{"x": "a"}', "$.x")])
add(
    "attrs that contains itself",
    AttrsTree,
    '{"name": "a", "children": [{"name": "b", "children": []}]}',
    AttrsTree("a", [AttrsTree("b")]),
)
add(
    "list of attrs with converters",
    list[Converted],
    '[{"tags": [], "n": 1}]',
    [Converted((), 1)],
    wrong=[("[{}]", "$.value[0]")],
)

# --- TypedDict and NamedTuple


class Typed(TypedDict):
    y: int
    x: int


class Partly(TypedDict, total=False):
    y: Required[int]
    x: int


class Mostly(TypedDict):
    y: int
    x: NotRequired[int]


class TypedChild(Typed):
    when: dt.date


class NewTyped(te.TypedDict):
    y: int
    x: te.NotRequired[int]


class ReadOnlyTyped(te.TypedDict):
    y: te.ReadOnly[int]
    x: te.Required[te.ReadOnly[int]]


class GenericTyped(TypedDict, Generic[T]):
    item: T
    items: list[T]


class HolderOfGenericTyped(TypedDict):
    one: GenericTyped[int]
    other: NotRequired[GenericTyped[str]]


class LimitedTyped(TypedDict):
    age: Annotated[int, pydantic.Field(ge=18)]
    name: NotRequired[str]


class Pairs(NamedTuple):
    y: int
    x: int


class PairsWithDefault(NamedTuple):
    y: int
    x: int = 0


class GenericPair(NamedTuple, Generic[T]):
    first: T
    second: T


class LimitedPair(NamedTuple):
    age: Annotated[int, pydantic.Field(ge=18)]
    name: str = ""


Loose = TypedDict("Loose", {"a-b": int, "class": str})
Bare = collections.namedtuple("Bare", ["a", "b"])  # noqa: PYI024 - as people still write it

add("TypedDict", Typed, '{"y": 2, "x": 1}', {"y": 2, "x": 1}, '{"x": 1.0, "y": 2}', wrong=[('{"y": 2}', "x")])
add("TypedDict in parts", Partly, '{"y": 2}', {"y": 2}, wrong=[("{}", "y")])
add("TypedDict with NotRequired", Mostly, '{"y": 2, "x": 1}', {"y": 2, "x": 1})
add(
    "TypedDict with a parent",
    TypedChild,
    '{"y": 2, "x": 1, "when": "2026-12-01"}',
    {"y": 2, "x": 1, "when": dt.date(2026, 12, 1)},
)
add("TypedDict of typing_extensions", NewTyped, '{"y": 2}', {"y": 2}, wrong=[('{"x": 1}', "y")])
add(
    "TypedDict with ReadOnly",
    ReadOnlyTyped,
    '{"y": 2, "x": 1}',
    {"y": 2, "x": 1},
    '{"y": 2.0, "x": 1}',
    wrong=[("{}", "y")],
)
add(
    "generic TypedDict",
    GenericTyped[int],
    '{"item": 1, "items": [2]}',
    {"item": 1, "items": [2]},
    wrong=[('{"item": 1, "items": ["a"]}', "$.items[0]")],
)
add("generic TypedDict without argument", GenericTyped, '{"item": 1, "items": ["a"]}', {"item": 1, "items": ["a"]})
add(
    "TypedDict of generic ones",
    HolderOfGenericTyped,
    '{"one": {"item": 1, "items": []}, "other": {"item": "a", "items": []}}',
    {"one": {"item": 1, "items": []}, "other": {"item": "a", "items": []}},
)
add("TypedDict with pydantic's limit", LimitedTyped, '{"age": 18}', {"age": 18}, wrong=[('{"age": 17}', "$.age")])
add("TypedDict with odd keys", Loose, '{"a-b": 1, "class": "c"}', {"a-b": 1, "class": "c"})
add("list of TypedDicts", list[Typed], '[{"y": 2, "x": 1}]', [{"y": 2, "x": 1}])
add("NamedTuple", Pairs, "[2, 1]", Pairs(2, 1), "[2.0, 1]", wrong=[("[2]", "$.value")])
add("NamedTuple with a default", PairsWithDefault, "[2]", PairsWithDefault(2))
add("generic NamedTuple", GenericPair[int], "[1, 2]", GenericPair(1, 2), wrong=[('["a", "b"]', "$.value[0]")])
add("NamedTuple with pydantic's limit", LimitedPair, '[18, "a"]', LimitedPair(18, "a"), wrong=[("[17]", "$.value[0]")])
add("namedtuple", Bare, '[1, "b"]', Bare(1, "b"))

# --- pydantic


class Model(pydantic.BaseModel):
    """A model."""

    y: int
    x: int = pydantic.Field(gt=0, description="how far")


class Nested(pydantic.BaseModel):
    model: Model
    models: list[Model] = []
    when: dt.datetime | None = None


class Aliased(pydantic.BaseModel):
    first_name: str = pydantic.Field(alias="firstName")


class ForbidsMore(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="forbid")
    a: int


class AllowsMore(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(extra="allow")
    a: int


class StrictModel(pydantic.BaseModel):
    model_config = pydantic.ConfigDict(strict=True)
    a: int
    when: dt.date


class ModelTree(pydantic.BaseModel):
    name: str
    children: list[ModelTree] = []


class Card(pydantic.BaseModel):
    kind: Literal["card"] = "card"
    number: str


class Cash(pydantic.BaseModel):
    kind: Literal["cash"] = "cash"


class Payment(pydantic.BaseModel):
    way: Annotated[Card | Cash, pydantic.Field(discriminator="kind")]


class GenericModel(pydantic.BaseModel, Generic[T]):
    item: T


class CheckedModel(pydantic.BaseModel):
    n: int

    @pydantic.field_validator("n")
    @classmethod
    def _positive(cls, value: int) -> int:
        if value < 1:
            raise ValueError("must be positive")
        return value


class Limits(pydantic.BaseModel):
    a: Annotated[int, pydantic.Field(ge=1, le=10, multiple_of=2)]
    b: Annotated[str, pydantic.Field(pattern="^[a-z]+$", min_length=1, max_length=5)]
    c: Annotated[list[int], pydantic.Field(min_length=1, max_length=3)]


class Special(pydantic.BaseModel):
    url: pydantic.HttpUrl
    secret: pydantic.SecretStr
    id: pydantic.UUID4


class Computed(pydantic.BaseModel):
    a: int

    @pydantic.computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.a


class Times(pydantic.BaseModel):
    at: dt.datetime
    of: dt.time
    took: dt.timedelta


class TupleModel(pydantic.BaseModel):
    corners: tuple[int, int, int, int]
    mixed: tuple[int, str]


class ManyOptional(pydantic.BaseModel):
    a: int | None = None
    b: str = "x"
    c: list[str] = pydantic.Field(default_factory=list)


@pydantic_dataclass
class PydanticData:
    y: int
    x: pydantic.PositiveInt


@dataclasses.dataclass
class DataWithModel:
    model: Model
    data: PydanticData
    maybe: Model | None = None


class TypedWithModel(TypedDict):
    model: Model
    data: NotRequired[list[PydanticData]]


class PairWithModel(NamedTuple):
    model: Model
    n: int


class StructWithModel(msgspec.Struct):
    model: Model
    models: list[Model]
    tree: ModelTree | None = None


@attrs.define
class AttrsWithModel:
    model: Model
    either: Card | Cash


@dataclasses.dataclass
class DataWithUrl:
    url: pydantic.HttpUrl
    age: pydantic.PositiveInt


@dataclasses.dataclass
class DataWithValidator:
    n: Annotated[int, pydantic.AfterValidator(lambda value: value * 2)]


NewModel = NewType("NewModel", Model)
ModelAlias = te.TypeAliasType("ModelAlias", list[Model])
MODEL = '{"y": 2, "x": 1}'
HERE = Model(y=2, x=1)
URL = pydantic.HttpUrl("https://example.com/")

add("model", Model, MODEL, HERE, '{"y": 2.0, "x": 1}', wrong=[('{"y": 2, "x": 0}', "$.x"), ("{}", "$.y"), ("[]", "$")])
add(
    "model in a model",
    Nested,
    f'{{"model": {MODEL}, "models": [{MODEL}], "when": "2026-12-01T12:00:00Z"}}',
    Nested(model=HERE, models=[HERE], when=NOON),
    wrong=[('{"model": {}}', "$.model.y")],
)
add("model with another name", Aliased, '{"firstName": "a"}', Aliased(firstName="a"))
add("model that forbids more", ForbidsMore, '{"a": 1}', ForbidsMore(a=1), wrong=[('{"a": 1, "b": 2}', "$.b")])
add("model that allows more", AllowsMore, '{"a": 1, "b": 2}', AllowsMore.model_validate({"a": 1, "b": 2}))
add(
    "strict model",
    StrictModel,
    '{"a": 1, "when": "2026-12-01"}',
    StrictModel(a=1, when=dt.date(2026, 12, 1)),
    '{"a": 1.0, "when": "2026-12-01"}',
    wrong=[('{"a": "1", "when": "2026-12-01"}', "$.a")],
)
add(
    "model that contains itself",
    ModelTree,
    '{"name": "a", "children": [{"name": "b", "children": []}]}',
    ModelTree(name="a", children=[ModelTree(name="b")]),
)
add(
    "discriminated models",
    Payment,
    '{"way": {"kind": "cash"}}',
    Payment(way=Cash()),
    wrong=[('{"way": {"kind": "x"}}', "$.way")],
)
add("union of models", Card | Cash, '{"kind": "card", "number": "1"}', Card(number="1"))
add("generic model", GenericModel[int], '{"item": 1}', GenericModel[int](item=1), '{"item": 1.0}')
add("model with a validator", CheckedModel, '{"n": 1}', CheckedModel(n=1), wrong=[('{"n": 0}', "$.n")])
add(
    "model with limits",
    Limits,
    '{"a": 2, "b": "x", "c": [1]}',
    Limits(a=2, b="x", c=[1]),
    wrong=[('{"a": 3, "b": "X", "c": []}', "$.c")],
)
add(
    "model with pydantic's own types",
    Special,
    '{"url": "https://example.com/", "secret": "s", "id": "a8098c1a-f86e-41da-9a1a-00112444be1e"}',
    Special(url=URL, secret=pydantic.SecretStr("s"), id=uuid.UUID("a8098c1a-f86e-41da-9a1a-00112444be1e")),
)
add("model with a computed field", Computed, '{"a": 1}', Computed(a=1))
add(
    "model with times",
    Times,
    '{"at": "2026-12-01T12:00:00Z", "of": "12:30:00", "took": "P7D"}',
    Times(at=NOON, of=dt.time(12, 30), took=dt.timedelta(7)),
    '{"at": "2026-12-01 12:00:00Z", "of": "12:30", "took": "P1W"}',
)
add(
    "model with tuples",
    TupleModel,
    '{"corners": [1, 2, 3, 4], "mixed": [1, "a"]}',
    TupleModel(corners=(1, 2, 3, 4), mixed=(1, "a")),
    wrong=[('{"corners": [1], "mixed": [1, "a"]}', "$.corners")],
)
add("model of defaults", ManyOptional, '{"a": null, "b": "y", "c": []}', ManyOptional(b="y"))
add("pydantic dataclass", PydanticData, MODEL, PydanticData(2, 1), wrong=[('{"y": 2, "x": 0}', "$.x")])
add("root model", pydantic.RootModel[list[int]], "[1]", pydantic.RootModel[list[int]]([1]), "[1.0]")
add(
    "root model of models",
    pydantic.RootModel[dict[str, Model]],
    f'{{"a": {MODEL}}}',
    pydantic.RootModel[dict[str, Model]]({"a": HERE}),
)
add("list of models", list[Model], f"[{MODEL}]", [HERE], wrong=[("[{}]", "$.value[0].y")])
add("dict of models", dict[str, Model], f'{{"a": {MODEL}}}', {"a": HERE})
add("tuple of models", tuple[Model, int], f"[{MODEL}, 1]", (HERE, 1))
add("model or None", Model | None, "null", None)
add("model or number", Model | int, "5", 5)
add("PositiveInt", pydantic.PositiveInt, "3", 3, "3.0", wrong=[("0", "$.value")])
add("HttpUrl", pydantic.HttpUrl, '"https://example.com/"', URL, wrong=[('"x"', "$.value")])
add("StrictInt", pydantic.StrictInt, "3", 3, "3.0", wrong=[('"3"', "$.value")])
add(
    "AwareDatetime",
    pydantic.AwareDatetime,
    '"2026-12-01T12:00:00Z"',
    NOON,
    wrong=[('"2026-12-01T12:00:00"', "$.value")],
)
add("NewType of a model", NewModel, MODEL, HERE, wrong=[("{}", "$.y")])
add("alias of models", ModelAlias, f"[{MODEL}]", [HERE])
add(
    "dataclass with models",
    DataWithModel,
    f'{{"model": {MODEL}, "data": {MODEL}, "maybe": null}}',
    DataWithModel(HERE, PydanticData(2, 1)),
    f'{{"model": {{"y": 2.0, "x": 1}}, "data": {MODEL}}}',
    wrong=[
        (f'{{"model": {{"y": 2}}, "data": {MODEL}}}', "$.model.x"),
        (f'{{"model": {MODEL}, "data": {{"y": 2, "x": 0}}}}', "$.data.x"),
    ],
)
add(
    "TypedDict with models",
    TypedWithModel,
    f'{{"model": {MODEL}, "data": [{MODEL}]}}',
    {"model": HERE, "data": [PydanticData(2, 1)]},
    wrong=[('{"model": {}}', "$.model.y")],
)
add(
    "NamedTuple with a model",
    PairWithModel,
    f"[{MODEL}, 1]",
    PairWithModel(HERE, 1),
    wrong=[("[{}, 1]", "$.value[0].y")],
)
add(
    "Struct with models",
    StructWithModel,
    f'{{"model": {MODEL}, "models": [{MODEL}], "tree": {{"name": "a", "children": []}}}}',
    StructWithModel(HERE, [HERE], ModelTree(name="a")),
    wrong=[(f'{{"model": {MODEL}, "models": [{{"y": 2}}]}}', "$.models[0].x")],
)
add(
    "attrs with models",
    AttrsWithModel,
    f'{{"model": {MODEL}, "either": {{"kind": "cash"}}}}',
    AttrsWithModel(HERE, Cash()),
    wrong=[('{"model": {}, "either": {"kind": "cash"}}', "$.model.y")],
)
add(
    "dataclass with pydantic's types",
    DataWithUrl,
    '{"url": "https://example.com/", "age": 1}',
    DataWithUrl(URL, 1),
    wrong=[('{"url": "x", "age": 1}', "$.url"), ('{"url": "https://a.b", "age": 0}', "$.age")],
)
add("dataclass with pydantic's validator", DataWithValidator, '{"n": 2}', DataWithValidator(4))
