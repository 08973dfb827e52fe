"""Every type of the zoo in every way, at every dialect: what is sent is right, and what comes back is read."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

import pytest

from bifrost.engine.streaming.parsed_stream import PartialOutput
from bifrost.errors import OutputValidationError
from bifrost.operations.chat.assemble import ChatAccumulator, chunks_of
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta
from bifrost.operations.chat.content import TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse, Choice
from bifrost.operations.chat.structured.chunk_lifting import ChunkLift
from bifrost.operations.chat.structured.fitting import fitted
from bifrost.operations.chat.structured.lifting import lift
from bifrost.operations.chat.structured.lowering import ANSWER_TOOL, StructuredMode, choose_mode, lower
from bifrost.operations.chat.structured.output_type import OutputType
from bifrost.operations.chat.structured.strict_schema import ANTHROPIC_RULES, AZURE_RULES, COMMON_RULES, OPENAI_RULES
from bifrost.providers.base import Provider, Target
from bifrost.providers.catalog import CATALOG
from tests.operations.judges import check_anthropic_native, check_fits, check_openai_strict, check_tool, check_valid
from tests.operations.zoo import ZOO
from tests.table import table

LABELS = list(ZOO)
MODES: list[StructuredMode] = ["native", "native_closed", "tool", "json_object", "prompt"]
ROWS = ["openai", "azure", "anthropic", "groq", "ollama-cloud-openai"]
ASKED = ChatRequest(model="m", messages=[Message(role="user", content="?")], max_tokens=100)


@cache
def output_of(label: str) -> OutputType[Any]:
    return OutputType(ZOO[label].kind)


def wire(label: str, text: str) -> str:
    """The JSON that a model is asked for."""
    return f'{{"value": {text}}}' if output_of(label).is_wrapped else text


def same(value: Any, other: Any) -> bool:
    return type(value) is type(other) and bool(value == other)


def test_the_zoo_is_large() -> None:
    assert len(ZOO) >= 185


@table("label", LABELS)
def test_what_is_sent_is_a_schema_that_the_answer_fits(label: str) -> None:
    output = output_of(label)
    strict = [output.strict_for(rules).schema for rules in (COMMON_RULES, OPENAI_RULES, AZURE_RULES, ANTHROPIC_RULES)]
    value = json.loads(wire(label, ZOO[label].text))

    # Many of them are the same.
    for schema in {json.dumps(each): each for each in (output.schema, output.tool_schema, *strict)}.values():
        check_valid(schema)
        check_fits(schema, value)
        assert list(schema.get("properties", ())) == list(output.schema.get("properties", ()))
    check_tool(output.tool_schema)


@table("label", LABELS)
def test_what_is_called_strict_is_inside_the_documented_subset(label: str) -> None:
    output = output_of(label)

    for rules in (OPENAI_RULES, COMMON_RULES, AZURE_RULES):
        strict = output.strict_for(rules)
        if strict.strict:
            check_openai_strict(strict.schema, most_enum_values=rules.most_enum_values)
        else:
            assert strict.optional or strict.notes or strict.excess
    if output.strict_for(ANTHROPIC_RULES).closed:
        check_anthropic_native(output.strict_for(ANTHROPIC_RULES).schema)


@table("label", LABELS)
def test_with_every_key_asked_for_only_free_keys_and_values_end_strict_mode(label: str) -> None:
    output = OutputType[Any](ZOO[label].kind, require_all=True)
    strict = output.strict_for(OPENAI_RULES)

    assert strict.optional == []
    if strict.strict:
        check_openai_strict(strict.schema)
    assert same(output.decode(wire(label, ZOO[label].text)), ZOO[label].value)


@table("label", LABELS)
def test_an_answer_becomes_the_value(label: str) -> None:
    output, animal = output_of(label), ZOO[label]

    for text in (animal.text, *animal.also):
        value = output.decode(wire(label, text))
        assert same(value, animal.value), text


@table("label", [label for label in LABELS if ZOO[label].wrong])
def test_an_answer_that_does_not_fit_is_refused_with_its_place(label: str) -> None:
    for text, place in ZOO[label].wrong:
        with pytest.raises(OutputValidationError) as caught:
            output_of(label).decode(wire(label, text))
        assert place in caught.value.message
        assert caught.value.__context__ is None


@table("label", LABELS)
def test_whatever_comes_is_read_or_refused(label: str) -> None:
    for text in (
        "",
        "null",
        "[]",
        "{}",
        '"x"',
        "1.5",
        '{"value": {"value": 1}}',
        "[[[[",
        '{"a": 1e999}',
        "nul",
        '"\ud800"',
    ):
        try:
            output_of(label).decode(text)
        except OutputValidationError as error:
            assert error.message.startswith("the response does not fit")  # noqa: PT017 - it need not be raised


@table("label", LABELS)
def test_the_parts_of_a_stream_grow_into_the_answer(label: str) -> None:
    output, text = output_of(label), wire(label, ZOO[label].text)
    whole = output.unwrap(json.loads(text))
    partial = PartialOutput(output)
    seen: list[Any] = []
    for place in range(0, len(text), 3):
        value = partial.take(Chunk(choices=[ChunkChoice(delta=Delta(content=text[place : place + 3]))]))
        if value is not None:
            seen.append(value)

    assert seen == [] if whole is None else seen[-1] == whole


def answered(mode: StructuredMode, text: str) -> ChatResponse:
    part = ToolCall(id="c", name=ANSWER_TOOL, arguments=text) if mode == "tool" else TextPart(text=text)
    return ChatResponse(choices=[Choice(message=AssistantMessage(parts=[part]), finish_reason="stop")])


@table("label", LABELS)
def test_every_way_and_dialect_carries_the_type_there_and_back(label: str) -> None:
    output, text = output_of(label), wire(label, ZOO[label].text)
    for name in ROWS:
        row = CATALOG[name]
        for mode in row.structured:
            if (
                mode == "native_closed"
                and choose_mode(output, ASKED, [mode, "prompt"], provider=name, rules=row.schema_rules) != mode
            ):
                continue
            body = body_of(row, output, mode)
            check_sent(row, body, mode)
    for mode in MODES:
        response = answered(mode, text)
        read = fitted(lift(response, mode), output, mode)
        assert same(read.parsed, ZOO[label].value)
        assert read.text == text
        grow, accumulator = ChunkLift(output, mode), ChatAccumulator()
        for chunk in chunks_of(response):
            accumulator.add(grow(chunk))
        assert accumulator.response().text == text


def body_of(row: Provider, output: OutputType[Any], mode: StructuredMode) -> dict[str, Any]:
    request = lower(ASKED, output, mode, row.schema_rules)
    built = row.codecs["chat"].build(request, Target(provider=row.name, model="m"))
    body: dict[str, Any] = json.loads(bytes(built.request.body))
    return body


def check_sent(row: Provider, body: dict[str, Any], mode: StructuredMode) -> None:
    match mode:
        case "native":
            form = body["response_format"]["json_schema"]
            assert 1 <= len(form["name"]) <= 64
            if form.get("strict"):
                check_openai_strict(form["schema"], most_enum_values=row.schema_rules.most_enum_values)
        case "native_closed":
            check_anthropic_native(body["output_config"]["format"]["schema"])
        case "tool":
            (tool,) = body["tools"]
            schema = tool["input_schema"] if row.name == "anthropic" else tool["function"]["parameters"]
            check_tool(schema)
        case _:
            assert "JSON schema" in json.dumps(body)
