from __future__ import annotations

from typing import Annotated, Any, Literal

import anthropic
import openai
import pydantic
import pytest

from bifrost.operations.chat.structured.strict_schema import (
    ANTHROPIC_RULES,
    COMMON_RULES,
    OPENAI_RULES,
    references,
    single_values_required,
    strict_schema,
    tool_parameters,
    with_items,
)
from tests.table import table


def properties(**fields: Any) -> dict[str, Any]:
    """A schema of an object with these required properties."""
    return {"type": "object", "properties": fields, "required": list(fields)}


def written(schema: Any) -> Any:
    """What becomes of the schema of a property."""
    return strict_schema(properties(x=schema)).schema["properties"]["x"]


def notes(schema: Any) -> list[str]:
    return strict_schema(properties(x=schema)).notes


# --- objects


def test_every_object_is_closed() -> None:
    found = strict_schema(
        {
            **properties(
                a=properties(b={"type": "string"}),
                c={"type": "array", "items": properties(d={"type": "integer"})},
                e={"anyOf": [{"$ref": "#/$defs/F"}, {"type": "null"}]},
            ),
            "$defs": {"F": properties(g={"type": "number"})},
        }
    )

    def closed(**fields: Any) -> dict[str, Any]:
        return {**properties(**fields), "additionalProperties": False}

    assert found.schema == {
        **closed(
            a=closed(b={"type": "string"}),
            c={"type": "array", "items": closed(d={"type": "integer"})},
            e={"anyOf": [{"$ref": "#/$defs/F"}, {"type": "null"}]},
        ),
        "$defs": {"F": closed(g={"type": "number"})},
    }
    assert (found.strict, found.closed, found.optional, found.notes) == (True, True, [], [])


def test_the_order_of_keys_is_kept_and_required_follows_it() -> None:
    found = strict_schema(
        {
            "required": ["m", "a", "z"],
            "properties": {name: {"type": "string"} for name in "zam"},
            "type": "object",
            "title": "T",
        }
    )

    assert list(found.schema) == ["required", "properties", "type", "title", "additionalProperties"]
    assert list(found.schema["properties"]) == ["z", "a", "m"]
    assert found.schema["required"] == ["z", "a", "m"]


def test_a_key_that_may_be_left_out_stays_so_and_ends_strictness() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string"}, "b": {"type": "string"}}, "required": ["b"]}
    found = strict_schema(
        {**properties(x={"type": "array", "items": inner}, y={"$ref": "#/$defs/D"}), "$defs": {"D": inner}}
    )

    assert not found.strict
    assert found.closed
    assert found.optional == ["$.x[].a", "D.a"]
    assert found.notes == []
    assert found.schema["$defs"]["D"]["required"] == ["b"]


def test_an_object_without_properties_is_closed_too() -> None:
    found = strict_schema({"type": "object", "properties": {}, "required": []})

    assert found.schema == {"type": "object", "properties": {}, "required": [], "additionalProperties": False}
    assert found.strict


@table(
    ("given", "more"),
    [
        ({"type": "object"}, True),
        ({"type": "object", "additionalProperties": True}, True),
        ({"type": "object", "additionalProperties": {"type": "integer"}}, {"type": "integer"}),
        ({**properties(a={"type": "string"}), "additionalProperties": True}, True),
    ],
)
def test_a_map_with_free_keys_stays_one(given: Any, more: Any) -> None:
    found = strict_schema(properties(x=given))

    assert found.schema["properties"]["x"] == {**given, "additionalProperties": more}
    assert (found.strict, found.closed) == (False, False)
    assert found.notes == ["$.x: it may have any keys"]


def test_the_values_of_a_map_are_written_as_well() -> None:
    assert written({"type": "object", "additionalProperties": {"const": 1}}) == {
        "type": "object",
        "additionalProperties": {"type": "integer", "enum": [1]},
    }


@table(
    "given",
    [{}, True, {"description": "as you like"}, {"type": "array"}, {"type": "array", "items": {}}, {"default": None}],
)
def test_a_value_of_any_kind_ends_strictness(given: Any) -> None:
    found = strict_schema(properties(x=given))

    assert (found.strict, found.closed) == (False, False)
    (note,) = found.notes
    assert note in ("$.x: it may be anything", "$.x[]: it may be anything")


def test_what_contains_itself_is_strict_but_not_closed() -> None:
    node = properties(children={"type": "array", "items": {"$ref": "#/$defs/Node"}})
    around = {**properties(a={"$ref": "#/$defs/A"}), "$defs": {"A": properties(b={"$ref": "#/$defs/B"})}}
    around["$defs"]["B"] = properties(a={"anyOf": [{"$ref": "#/$defs/A"}, {"type": "null"}]})

    for found in (strict_schema({**node, "$defs": {"Node": node}}), strict_schema(around)):
        assert found.strict
        assert not found.closed


def test_a_definition_that_is_used_twice_does_not_contain_itself() -> None:
    twice = {**properties(a={"$ref": "#/$defs/A"}, b={"$ref": "#/$defs/A"}), "$defs": {"A": properties()}}

    assert strict_schema(twice).closed


# --- keywords


@table(
    ("given", "told"),
    [
        ({"type": "integer", "minimum": 0, "maximum": 10}, "(minimum: 0, maximum: 10)"),
        ({"type": "number", "exclusiveMinimum": 0.5, "multipleOf": 0.1}, "(exclusiveMinimum: 0.5, multipleOf: 0.1)"),
        ({"type": "string", "minLength": 1, "maxLength": 5}, "(minLength: 1, maxLength: 5)"),
        ({"type": "string", "pattern": '^"\\d+$'}, '(pattern: "^\\"\\\\d+$")'),
        ({"type": "string", "format": "decimal"}, '(format: "decimal")'),
        ({"type": "string", "contentEncoding": "base64"}, '(contentEncoding: "base64")'),
        (
            {"type": "array", "items": {"type": "null"}, "minItems": 1, "uniqueItems": True},
            "(minItems: 1, uniqueItems: true)",
        ),
        ({"type": "integer", "maximum": 3, "description": "How many."}, "How many. (maximum: 3)"),
        ({"type": "integer", "maximum": 3, "description": ""}, "(maximum: 3)"),
    ],
)
def test_a_limit_is_told_in_words(given: dict[str, Any], told: str) -> None:
    found = strict_schema(properties(x=given))
    limits = [key for key in given if key not in ("type", "items", "description")]

    assert written(given) == {
        **{key: value for key, value in given.items() if key in ("type", "items")},
        "description": told,
    }
    assert found.notes == [f"$.x: {key} is stated in words only" for key in limits]
    assert found.strict


def test_a_default_is_told_in_words_and_is_no_limit() -> None:
    assert written({"type": "string", "default": "x"}) == {"type": "string", "description": '(default: "x")'}
    assert notes({"type": "string", "default": "x"}) == []


@table("name", ["date-time", "date", "time", "duration", "email", "hostname", "ipv4", "ipv6", "uuid"])
def test_a_format_that_all_know_is_kept(name: str) -> None:
    assert written({"type": "string", "format": name}) == {"type": "string", "format": name}


@table(
    ("given", "expected"),
    [
        ({"enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        ({"enum": [1, 2]}, {"type": "integer", "enum": [1, 2]}),
        ({"enum": [1.5]}, {"type": "number", "enum": [1.5]}),
        ({"enum": [True]}, {"type": "boolean", "enum": [True]}),
        ({"enum": [None]}, {"type": "null", "enum": [None]}),
        ({"type": "string", "enum": ["a"]}, {"type": "string", "enum": ["a"]}),
        ({"const": "a"}, {"type": "string", "enum": ["a"]}),
        ({"const": "a", "type": "string", "title": "A"}, {"enum": ["a"], "type": "string", "title": "A"}),
        (
            {"enum": ["a", 3, None, "b"], "title": "E"},
            {
                "title": "E",
                "anyOf": [
                    {"type": "string", "enum": ["a", "b"]},
                    {"type": "integer", "enum": [3]},
                    {"type": "null", "enum": [None]},
                ],
            },
        ),
        ({"enum": [["a"]]}, {"enum": [["a"]]}),
    ],
)
def test_an_enumeration_has_a_type(given: Any, expected: Any) -> None:
    assert written(given) == expected
    assert strict_schema(properties(x=given)).strict


@table(
    ("given", "expected"),
    [
        ({"$ref": "#/$defs/A"}, {"$ref": "#/$defs/A"}),
        ({"$ref": "#/$defs/A", "description": "d"}, {"description": "d", "anyOf": [{"$ref": "#/$defs/A"}]}),
        ({"$ref": "#/$defs/A", "default": 1}, {"description": "(default: 1)", "anyOf": [{"$ref": "#/$defs/A"}]}),
        ({"allOf": [{"$ref": "#/$defs/A"}], "title": "T"}, {"anyOf": [{"$ref": "#/$defs/A"}], "title": "T"}),
        ({"oneOf": [{"type": "null"}], "discriminator": {"propertyName": "k"}}, {"anyOf": [{"type": "null"}]}),
    ],
)
def test_references_and_unions_take_the_form_that_all_know(given: Any, expected: Any) -> None:
    assert written(given) == expected
    assert notes(given) == []


@pytest.mark.parametrize(
    "given",
    [
        {"allOf": [{"type": "string"}, {"const": "a"}]},
    ],
)
def test_what_no_strict_mode_knows_but_means_something_ends_strictness(given: Any) -> None:
    found = strict_schema(properties(x=given))

    assert (found.strict, found.closed) == (False, False)
    assert found.schema["properties"]["x"].keys() == given.keys()
    assert found.notes == ["$.x: allOf is not enforced"]


@table("keyword", ["not", "if", "dependentRequired", "x-own"])
def test_an_unknown_keyword_is_left_out_and_noted(keyword: str) -> None:
    assert written({"type": "string", keyword: {}}) == {"type": "string"}
    assert notes({"type": "string", keyword: {}}) == [f"$.x: {keyword} is left out"]


@pytest.mark.parametrize("keyword", ["examples", "$comment", "deprecated"])
def test_a_keyword_that_says_nothing_of_the_form_is_left_out(keyword: str) -> None:
    assert written({"type": "string", keyword: []}) == {"type": "string"}
    assert notes({"type": "string", keyword: []}) == []


def test_properties_with_the_names_of_keywords_are_properties() -> None:
    fields = {"$ref": {"type": "string"}, "default": {"type": "integer"}, "minimum": {"type": "null"}}

    assert strict_schema(properties(**fields)).schema["properties"] == fields


def test_the_given_schema_is_not_changed() -> None:
    given = properties(x={"type": "integer", "minimum": 1}, y={"$ref": "#/$defs/A", "default": 2})
    before = repr(given)
    strict_schema(given)

    assert repr(given) == before


def test_references_are_found_wherever_they_stand() -> None:
    schema = {
        **properties(a={"$ref": "#/$defs/A"}, b={"anyOf": [{"items": {"$ref": "#/$defs/B"}}]}),
        "$defs": {"B": properties(a={"$ref": "#/$defs/A"}), "C": properties(**{"$ref": {"type": "string"}})},
    }

    assert sorted(references(schema)) == ["A", "A", "B"]


# --- arrays


@table(
    ("given", "expected"),
    [
        (
            {"type": "array", "prefixItems": [{"type": "integer"}] * 2, "items": False, "minItems": 2, "maxItems": 2},
            {"type": "array", "minItems": 2, "maxItems": 2, "items": {"type": "integer"}},
        ),
        (
            {"type": "array", "prefixItems": [{"type": "integer"}, {"$ref": "#/$defs/A"}], "description": "Two."},
            {
                "type": "array",
                "description": "Two. (items in this order: integer, A)",
                "items": {"anyOf": [{"type": "integer"}, {"$ref": "#/$defs/A"}]},
            },
        ),
        (
            {"type": "array", "prefixItems": [{"const": 1}], "items": {"enum": ["a", "b"]}},
            {
                "type": "array",
                "description": "(items in this order: 1)",
                "items": {"anyOf": [{"const": 1}, {"enum": ["a", "b"]}]},
            },
        ),
        ({"type": "array", "maxItems": 0}, {"type": "array", "maxItems": 0, "items": {"type": "string"}}),
        ({"type": "array"}, {"type": "array", "items": {}}),
        ({"type": "array", "items": {"type": "array"}}, {"type": "array", "items": {"type": "array", "items": {}}}),
        (
            {"type": "object", "additionalProperties": {"type": "array"}},
            {"type": "object", "additionalProperties": {"type": "array", "items": {}}},
        ),
        ({"enum": [{"type": "array"}]}, {"enum": [{"type": "array"}]}),
    ],
)
def test_every_array_gets_items(given: Any, expected: Any) -> None:
    before = repr(given)

    assert with_items(given) == expected
    assert with_items(properties(items={"anyOf": [given]}))["properties"]["items"] == {"anyOf": [expected]}
    assert repr(given) == before


def test_a_tuple_stays_strict_and_its_order_is_told() -> None:
    pair = {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2}
    found = strict_schema(properties(x=pair), OPENAI_RULES)

    assert found.strict
    assert found.notes == ["$.x: the order of its items is stated in words only"]
    assert found.schema["properties"]["x"]["minItems"] == 2


def test_a_map_whose_keys_have_a_pattern_keeps_the_kind_of_its_values() -> None:
    given = {"type": "object", "patternProperties": {"^a": {"type": "integer", "maximum": 3}}}

    assert written(given) == {
        "type": "object",
        "additionalProperties": {"type": "integer", "description": "(maximum: 3)"},
        "description": '(keys match: ["^a"])',
    }


def test_a_tuple_of_choices_names_them_in_its_order() -> None:
    kinds: list[Any] = [
        {"enum": ["a", 1]},
        {"anyOf": [{"type": "string"}, {"type": "null"}]},
        {},
        {"title": "Line", "type": "object"},
    ]

    assert with_items({"type": "array", "prefixItems": kinds})["description"] == (
        '(items in this order: "a" or 1, string or null, anything, Line)'
    )


# --- a tool's parameters


def test_a_server_whose_strict_mode_nobody_documents_gets_closed_objects_and_the_rest_as_it_is() -> None:
    inner = {"type": "object", "properties": {"b": {"type": "string", "x-own": 1}}}
    given = {
        "type": "object",
        "properties": {
            "a": {"anyOf": [inner, {"type": "null"}]},
            "c": {"type": "array", "items": {"$ref": "#/$defs/D"}},
        },
        "required": ["a"],
        "$defs": {"D": inner},
    }
    closed = {**inner, "required": ["b"], "additionalProperties": False}

    schema, strict, told = tool_parameters("f", given, strict=True, rules=COMMON_RULES)

    assert schema["properties"] == {
        "a": {"anyOf": [closed, {"type": "null"}]},
        "c": {"type": "array", "items": {"$ref": "#/$defs/D"}},
    }
    assert schema["$defs"] == {"D": closed}
    assert (schema["required"], schema["additionalProperties"], strict) == (["a", "c"], False, True)
    assert told == ["tool f: $.a.b, D.b, $.c must be given in strict mode"]


@pytest.mark.parametrize("given", [{"$ref": "#/$defs/Nowhere", "$defs": {}}, {"$ref": "#/$defs/A"}])
def test_a_reference_that_leads_nowhere_is_left_alone(given: Any) -> None:
    schema, _, _ = tool_parameters("f", given, strict=None, rules=COMMON_RULES)

    assert schema["$ref"] == given["$ref"]
    assert schema["type"] == "object"


# --- what one provider takes


@pytest.mark.parametrize(
    "given",
    [
        {"type": "integer", "minimum": 0, "exclusiveMaximum": 10, "multipleOf": 2},
        {"type": "string", "pattern": r"^(?:[a-z]+\d{2,3})$"},
        {"type": "array", "items": {"type": "string", "format": "uuid"}, "minItems": 2, "maxItems": 3},
    ],
)
def test_limits_that_a_strict_mode_takes_are_sent(given: dict[str, Any]) -> None:
    found = strict_schema(properties(x=given), OPENAI_RULES)

    assert found.schema["properties"]["x"] == given
    assert (found.strict, found.notes) == (True, [])


@table("pattern", [r"^(?=a)b", r"(?<!a)b", r"(a)\1", r"\Aa\Z", r"(?P<x>a)", r"\bword\b"])
def test_a_pattern_that_not_every_engine_knows_is_told(pattern: str) -> None:
    found = strict_schema(properties(x={"type": "string", "pattern": pattern}), OPENAI_RULES)

    assert found.notes == ["$.x: pattern is stated in words only"]
    assert "pattern" not in found.schema["properties"]["x"]


def test_an_address_is_a_format_for_anthropic_alone() -> None:
    given = properties(x={"type": "string", "format": "uri"})

    assert strict_schema(given, ANTHROPIC_RULES).schema["properties"]["x"] == {"type": "string", "format": "uri"}
    for rules in (COMMON_RULES, OPENAI_RULES):
        assert strict_schema(given, rules).schema["properties"]["x"]["description"] == '(format: "uri")'


def test_anthropic_takes_a_smallest_number_of_items_up_to_one() -> None:
    for least, taken in ((0, True), (1, True), (2, False)):
        given = {"type": "array", "items": {"type": "string"}, "minItems": least}
        found = strict_schema(properties(x=given), ANTHROPIC_RULES)
        assert ("minItems" in found.schema["properties"]["x"]) is taken


def enumeration(count: int, length: int = 3) -> dict[str, Any]:
    return {"enum": [f"{number:0{length}}" for number in range(count)]}


@table(
    ("schema", "excess"),
    [
        (properties(x=enumeration(1000, 10), y={"type": "string"}), None),
        (properties(x=enumeration(600, 4), y=enumeration(401, 4)), "1,001 values in enumerations, of 1,000 at most"),
        (properties(x=enumeration(250, 100)), None),
        (properties(x=enumeration(251, 60)), "15,060 characters in a long enumeration, of 15,000 at most"),
        (properties(**{f"k{number}": {"type": "null"} for number in range(5000)}), None),
        (properties(**{f"k{number}": {"type": "null"} for number in range(5001)}), "5,001 keys, of 5,000 at most"),
        (properties(**{"k" * 120_001: {"type": "null"}}), "120,001 characters in names and values, of 120,000 at most"),
    ],
)
def test_what_openai_takes_is_counted(schema: dict[str, Any], excess: str | None) -> None:
    found = strict_schema(schema, OPENAI_RULES)

    assert found.excess == ([] if excess is None else [excess])
    assert found.strict is (excess is None)
    assert strict_schema(schema).strict


def nested(levels: int) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(levels):
        schema = properties(x={"type": "array", "items": schema})
    return schema


def test_levels_are_counted_through_references_and_end_at_what_contains_itself() -> None:
    assert strict_schema(nested(10), OPENAI_RULES).strict
    assert strict_schema(nested(11), OPENAI_RULES).excess == ["11 levels of objects, of 10 at most"]
    around = {**properties(a={"$ref": "#/$defs/A"}), "$defs": {"A": nested(10)}}
    assert strict_schema(around, OPENAI_RULES).excess == ["11 levels of objects, of 10 at most"]
    node = properties(children={"type": "array", "items": {"$ref": "#/$defs/Node"}})
    assert strict_schema({**node, "$defs": {"Node": node}}, OPENAI_RULES).strict


def test_anthropics_optional_keys_and_unions_are_counted_wherever_they_are_used() -> None:
    def optional(count: int) -> dict[str, Any]:
        return {"type": "object", "properties": {f"k{number}": {"type": "string"} for number in range(count)}}

    union = {"anyOf": [{"type": "string"}, {"type": "null"}]}

    assert strict_schema(optional(24), ANTHROPIC_RULES).closed
    assert strict_schema(optional(25), ANTHROPIC_RULES).excess == ["25 keys that may be left out, of 24 at most"]
    twice = {**properties(a={"$ref": "#/$defs/A"}, b={"$ref": "#/$defs/A"}), "$defs": {"A": optional(13)}}
    assert not strict_schema(twice, ANTHROPIC_RULES).closed
    unions = {f"k{number}": union for number in range(17)}
    assert strict_schema(properties(**unions), ANTHROPIC_RULES).excess == ["17 keys of several kinds, of 16 at most"]
    del unions["k0"]
    assert strict_schema(properties(**unions), ANTHROPIC_RULES).closed
    assert strict_schema(optional(25)).closed


# --- keys that must be given


def test_a_key_with_one_possible_value_must_be_given() -> None:
    kinds = {
        "Card": {
            "type": "object",
            "properties": {"kind": {"const": "card", "default": "card"}, "n": {"type": "string"}},
        },
        "Cash": {
            "type": "object",
            "properties": {"kind": {"enum": ["cash"], "default": "cash"}, "n": {"type": "string", "default": ""}},
            "required": ["n"],
        },
        "Free": {"type": "object", "properties": {"kind": {"const": "free"}, "else": {"const": 1, "default": 2}}},
    }
    given = {**properties(x={"oneOf": [{"$ref": f"#/$defs/{name}"} for name in kinds]}), "$defs": kinds}
    before = repr(given)

    found = single_values_required(given)["$defs"]

    assert [found[name].get("required") for name in kinds] == [["kind"], ["kind", "n"], None]
    assert repr(given) == before


def test_every_key_can_be_asked_for() -> None:
    inner = {"type": "object", "properties": {"a": {"type": "string", "default": ""}, "b": {"type": "string"}}}
    given = {"type": "object", "properties": {"x": {"type": "array", "items": inner}, "required": inner}}

    found = single_values_required(given, everything=True)

    assert found["required"] == ["x", "required"]
    assert found["properties"]["x"]["items"]["required"] == ["a", "b"]
    assert found["properties"]["required"]["required"] == ["a", "b"]
    assert strict_schema(found).strict


# --- beside what the vendors' own packages make


class Item(pydantic.BaseModel):
    what: str
    price: float


class Note(pydantic.BaseModel):
    kind: Literal["note"]
    text: str


class Order(pydantic.BaseModel):
    zone: Literal["b", "a"]
    items: list[Item]
    best: Item | None
    last: Annotated[Item | Note, "either"]
    count: int


def _without_titles(schema: Any) -> Any:
    match schema:
        case dict():
            kept = {key: _without_titles(value) for key, value in schema.items() if key != "title"}
            if "const" in kept:
                kept["enum"] = [kept.pop("const")]
            if "enum" in kept:
                kept["type"] = "string"
            return kept
        case list():
            return [_without_titles(each) for each in schema]
        case _:
            return schema


def test_the_same_schema_as_the_openai_package_makes() -> None:
    theirs: Any = openai.pydantic_function_tool(Order)["function"]

    ours = strict_schema(Order.model_json_schema())

    assert ours.strict
    assert _without_titles(ours.schema) == _without_titles(theirs["parameters"])


def test_the_same_schema_as_the_anthropic_package_makes() -> None:
    ours = strict_schema(Order.model_json_schema())

    assert ours.closed
    assert _without_titles(ours.schema) == _without_titles(anthropic.transform_schema(Order))
