from __future__ import annotations

import dataclasses
import datetime
import decimal
import enum
import gc
import json
import re
import sys
import uuid
import weakref
from contextlib import suppress
from typing import Annotated, Any, Generic, Literal, NotRequired, Required, TypedDict, TypeVar

import annotated_types
import attrs
import msgspec
import pydantic
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.errors import InvalidRequestError, OutputValidationError, UsageError
from bifrost.operations.chat.structured.lenient import with_whole_numbers
from bifrost.operations.chat.structured.output_type import OutputType, OutputTypes
from tests.table import table

T = TypeVar("T")


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Line(msgspec.Struct):
    """A line of an invoice."""

    what: str
    price: Annotated[float, msgspec.Meta(ge=0, description="in euros")]
    colour: Colour = Colour.RED


class Invoice(msgspec.Struct):
    zeta: str
    items: list[Line]
    alpha: int


@attrs.define
class Attrs:
    zeta: str
    alpha: int = attrs.field(validator=attrs.validators.gt(0))


@attrs.define
class Picky:
    size: str = attrs.field(validator=attrs.validators.in_(["S", "M"]))


@dataclasses.dataclass
class Data:
    zeta: str
    alpha: int

    def __post_init__(self) -> None:
        if self.alpha < 1:
            raise ValueError("alpha must be positive")


class Typed(TypedDict):
    zeta: str
    alpha: int


class Model(pydantic.BaseModel):
    zeta: str
    alpha: int = pydantic.Field(gt=0, description="how many")


@pydantic.dataclasses.dataclass
class PydanticData:
    zeta: str
    alpha: pydantic.PositiveInt


class Box(pydantic.BaseModel, Generic[T]):
    zeta: str
    alpha: T


class Partly(TypedDict, total=False):
    zeta: Required[str]
    mid: Typed
    alpha: int


class Node(msgspec.Struct):
    value: int
    children: list[Node] = []


class Cat(msgspec.Struct, tag="cat"):
    lives: int


class Dog(msgspec.Struct, tag="dog"):
    tricks: list[str]


class Loner(msgspec.Struct):
    name: str


class Other(msgspec.Struct):
    name: str


OBJECTS: list[tuple[Any, Any]] = [
    (Attrs, Attrs(zeta="z", alpha=1)),
    (Data, Data(zeta="z", alpha=1)),
    (Typed, {"zeta": "z", "alpha": 1}),
    (Model, Model(zeta="z", alpha=1)),
    (PydanticData, PydanticData(zeta="z", alpha=1)),
    (Box[int], Box[int](zeta="z", alpha=1)),
]
"""Types of every kind with the same two fields, and what they make of the same answer."""

WRAPPED: list[tuple[Any, str, Any]] = [
    (list[Line], '[{"what": "a", "price": 1}]', [Line("a", 1.0)]),
    (Literal["low", "high"], '"low"', "low"),
    (Colour, '"blue"', Colour.BLUE),
    (Cat | Dog, '{"type": "dog", "tricks": ["roll"]}', Dog(["roll"])),
    (Line | None, "null", None),
    (int, "3", 3),
    (tuple[int, str], '[1, "a"]', (1, "a")),
    (set[int], "[1, 1]", {1}),
    (Annotated[int, msgspec.Meta(gt=0)], "1", 1),
    (datetime.date, '"2026-11-23"', datetime.date(2026, 11, 23)),
    (decimal.Decimal, '"1.10"', decimal.Decimal("1.10")),
    (uuid.UUID, '"00000000-0000-0000-0000-000000000001"', uuid.UUID(int=1)),
    (Any, "[true]", [True]),
    (list[Model], '[{"zeta": "z", "alpha": 1}]', [Model(zeta="z", alpha=1)]),
    (Model | None, "null", None),
    (pydantic.PositiveInt, "3", 3),
    (pydantic.RootModel[list[int]], "[1]", pydantic.RootModel[list[int]]([1])),
]


def refused(kind: Any, text: str) -> OutputValidationError:
    with pytest.raises(OutputValidationError) as caught:
        OutputType(kind).decode(text)
    return caught.value


# --- the schema


@table(("kind", "value"), OBJECTS, ids=str)
def test_an_object_has_its_keys_in_the_order_of_declaration(kind: Any, value: Any) -> None:
    output = OutputType[Any](kind)

    assert output.schema["type"] == "object"
    assert list(output.schema["properties"]) == ["zeta", "alpha"]
    assert output.schema["required"] == ["zeta", "alpha"]
    assert not output.is_wrapped
    assert output.strict.strict


def test_the_root_is_spelled_out_and_its_definitions_stay() -> None:
    output = OutputType(Invoice)

    assert output.name == "Invoice"
    assert output.kind is Invoice
    assert list(output.schema["properties"]) == ["zeta", "items", "alpha"]
    assert output.schema["properties"]["items"] == {"type": "array", "items": {"$ref": "#/$defs/Line"}}
    assert output.schema["$defs"].keys() == {"Line", "Colour"}
    assert output.schema["$defs"]["Line"]["description"] == "A line of an invoice."


def test_a_root_that_contains_itself_keeps_its_definition() -> None:
    schema = OutputType(Node).schema

    assert schema["type"] == "object"
    assert schema["$defs"]["Node"]["properties"] == schema["properties"]


def test_a_typed_dict_anywhere_keeps_its_order() -> None:
    schema = OutputType(Partly).schema
    assert list(schema["properties"]) == ["zeta", "mid", "alpha"]
    assert schema["required"] == ["zeta"]
    assert list(schema["$defs"]["Typed"]["properties"]) == ["zeta", "alpha"]

    schema = OutputType(msgspec.defstruct("Holder", [("by_name", dict[str, tuple[Typed | None, ...]])])).schema
    assert list(schema["$defs"]["Typed"]["properties"]) == ["zeta", "alpha"]


@table(("kind", "text", "value"), WRAPPED, ids=str)
def test_what_is_no_object_is_asked_for_inside_of_one(kind: Any, text: str, value: Any) -> None:
    output = OutputType[Any](kind)

    assert output.is_wrapped
    assert output.schema["type"] == "object"
    assert list(output.schema["properties"]) == ["value"]
    assert output.schema["required"] == ["value"]
    assert "$defs" not in output.schema["properties"]["value"]


def test_the_definitions_of_a_wrapped_type_stand_at_the_root() -> None:
    for kind, name in ((list[Line], "Line"), (list[Model], "Model")):
        schema = OutputType[Any](kind).schema
        assert schema["properties"]["value"]["items"] == {"$ref": f"#/$defs/{name}"}
        assert name in schema["$defs"]


def test_the_strict_schema_says_what_is_not_enforced() -> None:
    strict = OutputType(Invoice).strict

    assert strict.optional == ["Line.colour"]
    assert strict.notes == ["Line.price: minimum is stated in words only"]
    assert strict.schema["$defs"]["Line"]["properties"]["price"]["description"] == "in euros (minimum: 0)"
    assert (strict.strict, strict.closed) == (False, True)
    assert OutputType[Any](dict[str, int]).strict.closed is False


@table(
    ("kind", "name"),
    [
        (Invoice, "Invoice"),
        (list[Invoice], "list_Invoice"),
        (dict[str, list[int]], "dict_str_list_int"),
        (Cat | Dog, "Cat_Dog"),
        (Literal["a b", 'c"d'], "Literal_a_b_c_d"),
        (Box[int], "Box_int"),
        (None, "None"),
        (type("Größe", (msgspec.Struct,), {}), "Gr_e"),
        (type("名前", (msgspec.Struct,), {}), "answer"),
        (type("N" * 80, (msgspec.Struct,), {}), "N" * 64),
    ],
)
def test_the_name_is_one_that_providers_take(kind: Any, name: str) -> None:
    output = OutputType[Any](kind)

    assert output.name == name
    assert re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", output.name)
    assert repr(output) == f"OutputType({name})"


@table(
    ("kind", "says"),
    [
        (object, "type <class 'object'> is not supported"),
        ("Invoice", " is not supported; pass a msgspec Struct"),
        (5, "Type '5' is not supported"),
        (Loner | Other, "all Struct types must be tagged"),
        (list[object], "type <class 'object'> is not supported"),
        (dict[str, re.Pattern[str]], "is not supported"),
        (Model | Loner, "Unable to generate pydantic-core schema"),
        (list[pydantic.InstanceOf[Loner]], "Cannot generate a JsonSchema"),
    ],
)
def test_a_type_that_has_no_schema_is_refused(kind: Any, says: str) -> None:
    with pytest.raises(InvalidRequestError, match=r"^output: .*; pass a msgspec Struct, an attrs class") as caught:
        OutputType(kind)

    assert says in str(caught.value)


def test_a_type_with_an_unknown_name_in_it_is_refused() -> None:
    class Broken(msgspec.Struct):
        field: Nowhere  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable]

    with pytest.raises(InvalidRequestError, match="'Nowhere' is not defined"):
        OutputType(Broken)


# --- reading an answer


@table(("kind", "value"), OBJECTS, ids=str)
def test_an_answer_becomes_the_type(kind: Any, value: Any) -> None:
    assert OutputType[Any](kind).decode(' {"zeta": "z", "alpha": 1}\n') == value


@table(("kind", "text", "value"), WRAPPED, ids=str)
def test_a_wrapped_answer_is_taken_out(kind: Any, text: str, value: Any) -> None:
    output = OutputType[Any](kind)

    assert output.decode(f'{{"value": {text}}}') == value
    assert type(output.decode(f'{{"value": {text}}}')) is type(value)


@table(
    ("kind", "text", "says"),
    [
        (Invoice, '{"zeta": "a", "items": [{"what": "b", "price": "c"}]}', "$.items[0].price: expected float, got str"),
        (Invoice, '{"zeta": "a", "items": []}', "$: object missing required field alpha"),
        (Invoice, "[]", "$: expected object, got array"),
        (Line, '{"what": "a", "price": -1}', "$.price: expected float >= 0.0"),
        (Line, '{"what": "a", "price": 1, "colour": "green"}', "$.colour: invalid enum value 'green'"),
        (dict[int, str], '{"a": "b"}', "key in $: expected int, got str"),
        (Attrs, '{"zeta": "a", "alpha": 0}', "$: 'alpha' must be > 0: 0"),
        (list[Attrs], '{"value": [{"zeta": "a", "alpha": 0}]}', "$.value[0]: 'alpha' must be > 0: 0"),
        (list[Picky], '{"value": [{"size": "L"}]}', "$.value[0]: 'size' must be in ['S', 'M'] (got 'L')"),
        (Data, '{"zeta": "a", "alpha": 0}', "$: alpha must be positive"),
        (Typed, '{"zeta": "a"}', "$: object missing required field alpha"),
        (list[Line], '{"value": [{"what": 1}]}', "$.value[0].what: expected str, got int"),
        (list[Line], '{"items": []}', "$: object missing required field value"),
        (list[Line], "[]", "$: expected object, got array"),
        (
            Model,
            '{"zeta": 1, "alpha": 0}',
            "$.zeta: input should be a valid string; $.alpha: input should be greater than 0",
        ),
        (list[Model], '{"value": [{"zeta": "a"}]}', "$.value[0].alpha: field required"),
        (dict[str, Model], '{"a b": {"zeta": "a"}}', "$['a b'].alpha: field required"),
        (Model, "[]", "$: input should be an object"),
        (Invoice, "", "it is empty"),
        (Model, " \n", "it is empty"),
        (Invoice, "Here it is:", "it is not JSON: invalid character (byte 0)"),
        (Invoice, '{"zeta": "a", "items": [', "it is not JSON: input data was truncated"),
        (Invoice, '```json\n{"zeta": "a"}\n```', "it is not JSON: invalid character (byte 0)"),
        (Model, '{"zeta": ', "it is not JSON: EOF while parsing a value at line 1 column 9"),
        (list[int], '{"value": [1', "it is not JSON: input data was truncated"),
        (Invoice, '{"zeta": "\ud83d"}', "it holds half of a surrogate pair (a character cut in two)"),
        (Any, '{"value": ' + "[" * 5000 + "]" * 5000 + "}", "it is nested too deeply"),
    ],
)
def test_an_answer_that_does_not_fit_says_what_and_where(kind: Any, text: str, says: str) -> None:
    error = refused(kind, text)

    assert error.message == f"the response does not fit {OutputType[Any](kind).name}: {says}"
    assert error.output == text
    assert error.response is None
    assert error.usage is None
    assert error.__context__ is None


def test_only_the_first_problems_of_many_are_told() -> None:
    text = json.dumps({"value": [{"zeta": 1, "alpha": 1}] * 13})

    says = refused(list[Model], text).message

    assert says.count("input should be a valid string") == 10
    assert says.endswith("; and 3 more")


def test_a_failure_of_the_types_own_code_is_its_authors() -> None:
    @dataclasses.dataclass
    class Wrong:
        name: str

        def __post_init__(self) -> None:
            raise KeyError(self.name)

    with pytest.raises(UsageError, match="the code of Wrong failed with KeyError; correct it") as caught:
        OutputType(Wrong).decode('{"name": "a"}')

    assert isinstance(caught.value.__cause__, KeyError)


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    for kind in (Invoice, Model, list[Line], Any):
        with suppress(OutputValidationError):
            OutputType[Any](kind).decode(text)


def test_unwrap_takes_out_what_is_there_already() -> None:
    wrapped, plain = OutputType[Any](list[int]), OutputType(Invoice)

    assert [wrapped.unwrap(value) for value in ({"value": [1]}, {}, None, "x")] == [[1], None, None, None]
    assert plain.unwrap({"zeta": "a"}) == {"zeta": "a"}


# --- pydantic is asked for nothing unless the type is its own


def test_types_of_others_do_not_need_pydantic(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "pydantic")

    assert OutputType(Invoice).decode('{"zeta": "a", "items": [], "alpha": 1}') == Invoice("a", [], 1)
    limited = OutputType[Any](Annotated[int, annotated_types.Gt(0)])
    assert limited.decode('{"value": 1}') == 1
    with pytest.raises(OutputValidationError, match=r"\$\.value: expected int >= 1"):
        limited.decode('{"value": 0}')
    assert "pydantic" not in sys.modules


def test_definitions_of_pydantics_stand_beside_those_of_msgspecs() -> None:
    inner = pydantic.create_model("Line", __base__=Box[int])
    tree = pydantic.create_model("Tree", line=(inner, ...), children=(list[Any], ...))
    holder = msgspec.defstruct("Holder", [("line", Line), ("tree", tree), ("more", list[tree])])  # type: ignore[valid-type]

    schema = OutputType[Any](holder).schema

    assert schema["properties"]["line"] == {"$ref": "#/$defs/Line"}
    assert schema["properties"]["tree"]["properties"]["line"] == {"$ref": "#/$defs/Line_2"}
    assert schema["$defs"]["Line"]["description"] == "A line of an invoice."
    assert list(schema["$defs"]["Line_2"]["properties"]) == ["zeta", "alpha"]


@pytest.mark.parametrize("kind", [Model | Loner, list[Model | Loner]])
def test_a_union_that_nobody_can_read_is_refused(kind: Any) -> None:
    holder = dataclasses.make_dataclass("Holder", [("either", kind)])
    with pytest.raises(InvalidRequestError, match="cannot be told apart"):
        OutputType(holder)


def test_an_alias_of_itself_is_refused() -> None:
    class TypeAliasType:
        @property
        def __value__(self) -> Any:
            return self

    with pytest.raises(InvalidRequestError, match="an alias that stands for itself"):
        OutputType(TypeAliasType())


def test_a_name_that_nobody_knows_in_a_converter_leaves_the_fields_own_type() -> None:
    def convert(value: Nowhere) -> int:  # type: ignore[name-defined] # noqa: F821 # pyright: ignore[reportUndefinedVariable]
        return int(value)

    kind = attrs.make_class("Odd", {"x": attrs.field(type=int, converter=convert)})

    assert OutputType[Any](kind).decode('{"x": 3}').x == 3


def test_a_limit_that_pydantic_cannot_read_keeps_its_description() -> None:
    holder = dataclasses.make_dataclass("Holder", [("line", Annotated[Line, pydantic.Field(description="the first")])])

    schema = OutputType(holder).schema

    assert schema["properties"]["line"]["description"] == "the first"


def test_problems_of_pydantics_inside_of_others_are_told_with_their_places() -> None:
    holder = dataclasses.make_dataclass("Holder", [("models", list[Model])])

    says = refused(holder, '{"models": [{"zeta": 1, "alpha": 0}]}').message

    assert says.endswith(
        "$.models[0].zeta: input should be a valid string; $.models[0].alpha: input should be greater than 0"
    )


def test_types_nested_without_end_are_refused() -> None:
    kind: Any = int
    for _ in range(100):
        kind = list[kind]

    with pytest.raises(InvalidRequestError, match="nested in more than 64 others"):
        OutputType(kind)


def test_a_note_that_cannot_be_a_key_is_read() -> None:
    kind = Annotated[int, pydantic.Field(ge=1, json_schema_extra={"x": []})]

    assert OutputType[Any](dict[str, kind]).decode('{"a": 1}') == {"a": 1}


# --- numbers and times in other words


@table("text", ['"P99999999999W"', "1e300", '"P"', '""', "[]"])
def test_a_duration_that_is_none_is_refused(text: str) -> None:
    refused(datetime.timedelta, f'{{"value": {text}}}')


def test_a_duration_may_be_written_in_several_ways() -> None:
    output = OutputType[Any](list[datetime.timedelta])

    assert output.decode('{"value": ["P1W", "-01:30", "1:02:03.5", 90, "PT1.5H"]}') == [
        datetime.timedelta(7),
        -datetime.timedelta(minutes=90),
        datetime.timedelta(hours=1, minutes=2, seconds=3.5),
        datetime.timedelta(seconds=90),
        datetime.timedelta(minutes=90),
    ]


def test_whole_numbers_are_found_in_text_and_strings_left_alone() -> None:
    given = '{"a": 41.0, "b": "1.0 \\" 2.0", "c": [-3.00, 1e2, 1.5, 1e30, 12, 0.0], "1.0": true}'

    assert with_whole_numbers(given) == ('{"a": 41, "b": "1.0 \\" 2.0", "c": [-3, 100, 1.5, 1e30, 12, 0], "1.0": true}')
    assert with_whole_numbers('["1.0", 2, 1.5]') is None
    assert with_whole_numbers("1" * 10_000 + ".5") is None


def test_numbers_that_are_none_are_refused_and_not_read_otherwise() -> None:
    for text in ('{"value": 41.5}', '{"value": 1e400}', '{"value": true}', '{"value": 1e30}'):
        refused(int, text)


# --- made once


def test_an_output_type_is_made_once() -> None:
    kept = OutputTypes()

    assert kept.of(Invoice) is kept.of(Invoice)
    assert kept.of(list[Line]) is kept.of(list[Line])
    assert kept.of(list[Line]) is not kept.of(list[Invoice])


def test_one_that_is_ready_is_taken_as_it_is() -> None:
    ready = OutputType[Any](Cat | Dog)

    assert OutputTypes().of(ready) is ready


def test_a_type_that_cannot_be_a_key_is_made_each_time() -> None:
    kind = Annotated[int, ["not hashable"]]

    assert OutputTypes().of(kind).decode('{"value": 1}') == 1


def test_types_that_are_made_as_the_program_goes_do_not_pile_up() -> None:
    kept = OutputTypes()
    first = msgspec.defstruct("First", [("x", int)])
    gone = weakref.ref(first)
    kept.of(first)
    del first
    for number in range(256):
        kept.of(msgspec.defstruct(f"Made{number}", [("x", int)]))
    gc.collect()

    assert gone() is None


def test_a_type_that_was_refused_is_refused_again() -> None:
    kept = OutputTypes()
    for _ in range(2):
        with pytest.raises(InvalidRequestError):
            kept.of(object)


def test_not_required_keys_may_be_left_out() -> None:
    output = OutputType[Any](TypedDict("Loose", {"b": str, "a": NotRequired[int]}))

    assert list(output.schema["properties"]) == ["b", "a"]
    assert output.decode('{"b": "x"}') == {"b": "x"}
    assert output.strict.optional == ["$.a"]
