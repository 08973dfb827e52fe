from __future__ import annotations

import json
import sys
from decimal import Decimal
from itertools import accumulate
from typing import Annotated, Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost.attempt_record import AttemptRecord
from bifrost.errors import InvalidRequestError, OutputValidationError, UnsupportedError
from bifrost.operations.chat.assemble import ChatAccumulator, chunks_of
from bifrost.operations.chat.chunks import Chunk, ChunkChoice, Delta, ToolCallDelta
from bifrost.operations.chat.content import CacheMark, Part, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.operations.chat.messages import AssistantMessage, Message
from bifrost.operations.chat.request import ChatRequest, Reasoning, ResponseFormat
from bifrost.operations.chat.response import ChatResponse, Choice, FinishReason
from bifrost.operations.chat.structured.chunk_lifting import ChunkLift
from bifrost.operations.chat.structured.fitting import fitted, is_correctable
from bifrost.operations.chat.structured.json_text import json_in
from bifrost.operations.chat.structured.lifting import lift
from bifrost.operations.chat.structured.lowering import ANSWER_TOOL, StructuredMode, choose_mode, lower
from bifrost.operations.chat.structured.output_retries import merged, reask
from bifrost.operations.chat.structured.output_type import OutputType
from bifrost.operations.chat.structured.parsed_response import ParsedResponse
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.usage import Usage
from bifrost.providers.anthropic import ANTHROPIC
from bifrost.providers.base import Provider, Target
from bifrost.providers.compatible import OPENAI
from tests.table import table


class Point(msgspec.Struct):
    y: int
    x: int


class Loose(msgspec.Struct):
    name: str
    size: int = 1


class Node(msgspec.Struct):
    children: list[Node]


POINT = OutputType(Point)
LOOSE = OutputType(Loose)
NODE = OutputType(Node)
MAP: OutputType[dict[str, int]] = OutputType(dict[str, int])

MODES: list[StructuredMode] = ["native", "native_closed", "tool", "json_object", "prompt"]
IN_WORDS: list[StructuredMode] = ["json_object", "prompt"]
JSON = '{"y": 2, "x": 1}'


def asked(*messages: Message, **options: Any) -> ChatRequest:
    return ChatRequest(model="m", messages=list(messages) or [Message(role="user", content="Where?")], **options)


def answered(*parts: Part, finish_reason: FinishReason | None = "stop", **envelope: Any) -> ChatResponse:
    choice = Choice(message=AssistantMessage(parts=list(parts)), finish_reason=finish_reason)
    return ChatResponse(provider="p", model="m", choices=[choice], **envelope)


def text(said: str) -> TextPart:
    return TextPart(text=said)


def answer_call(arguments: str = JSON) -> ToolCall:
    return ToolCall(id="c1", name=ANSWER_TOOL, arguments=arguments)


def parse(response: ChatResponse, output: OutputType[Any], mode: StructuredMode) -> Any:
    return fitted(response, output, mode).parsed


def streamed(said: str, output: OutputType[Any], mode: StructuredMode) -> ChatResponse:
    """What a stream of this text gives, in pieces of three characters."""
    grow = ChunkLift(output, mode)
    pieces = [said[place : place + 3] for place in range(0, len(said), 3)]
    chunks = [Chunk(choices=[ChunkChoice(delta=Delta(content=piece))]) for piece in pieces]
    chunks.append(Chunk(choices=[ChunkChoice(finish_reason="stop")]))
    return whole([grow(chunk) for chunk in chunks])


def shortfalls(output: OutputType[Any], mode: StructuredMode) -> list[str]:
    """What the answer's warnings tell of the way in which it was asked for."""
    call = ToolCall(id="c", name="look")
    return fitted(answered(call, warnings=["before"]), output, mode).warnings[1:]


def body_of(provider: Provider, request: ChatRequest) -> dict[str, Any]:
    """What is sent to a provider."""
    built = provider.codecs["chat"].build(request, Target(provider=provider.name, model="m"))
    return json.loads(bytes(built.request.body))


# --- the choice of a way


@table(
    ("output", "modes", "chosen"),
    [
        (POINT, ("native", "tool"), "native"),
        (MAP, ("native", "tool"), "native"),
        (POINT, ("native_closed", "tool"), "native_closed"),
        (LOOSE, ("native_closed", "tool"), "native_closed"),
        (MAP, ("native_closed", "tool"), "tool"),
        (NODE, ("native_closed", "tool"), "tool"),
        (MAP, ("native_closed", "prompt"), "prompt"),
        (POINT, ("json_object", "prompt"), "json_object"),
    ],
)
def test_the_first_way_that_can_carry_the_type_is_chosen(output: OutputType[Any], modes: Any, chosen: str) -> None:
    assert choose_mode(output, asked(), modes, provider="p") == chosen


@table(
    ("reasoning", "chosen"),
    [
        (Reasoning(effort="high"), "prompt"),
        (Reasoning(max_tokens=2000), "prompt"),
        (Reasoning(enabled=True), "prompt"),
        (Reasoning(effort="none"), "tool"),
        (Reasoning(enabled=False), "tool"),
        (None, "tool"),
    ],
)
def test_a_tool_is_not_forced_on_a_model_that_is_to_think(reasoning: Reasoning | None, chosen: str) -> None:
    assert choose_mode(POINT, asked(reasoning=reasoning), ("tool", "prompt"), provider="p") == chosen


def test_a_provider_that_has_no_way_says_so() -> None:
    with pytest.raises(UnsupportedError, match="somehost has no way to answer in the form of dict_str_int") as caught:
        choose_mode(MAP, asked(), ("native_closed",), provider="somehost")

    assert caught.value.provider == "somehost"
    assert caught.value.fallback


# --- asking natively


@pytest.mark.parametrize("mode", ["native", "native_closed"])
def test_a_response_format_carries_the_strict_schema(mode: StructuredMode) -> None:
    request = asked(temperature=0.5)

    lowered = lower(request, POINT, mode)

    assert lowered.response_format == ResponseFormat(
        type="json_schema",
        name="Point",
        schema={
            "title": "Point",
            "type": "object",
            "properties": {"y": {"type": "integer"}, "x": {"type": "integer"}},
            "required": ["y", "x"],
            "additionalProperties": False,
        },
        strict=True,
    )
    assert msgspec.structs.replace(lowered, response_format=None) == request


@pytest.mark.parametrize("output", [LOOSE, MAP])
def test_a_type_that_is_not_strict_does_not_claim_to_be(output: OutputType[Any]) -> None:
    form = lower(asked(), output, "native").response_format

    assert form is not None
    assert form.strict is None
    assert form.schema == output.strict.schema


def test_the_keys_reach_the_wire_in_the_order_of_declaration() -> None:
    openai = body_of(OPENAI, lower(asked(), POINT, "native"))
    anthropic = body_of(ANTHROPIC, lower(asked(), POINT, "native_closed"))

    assert openai["response_format"]["json_schema"]["strict"] is True
    assert list(openai["response_format"]["json_schema"]["schema"]["properties"]) == ["y", "x"]
    assert list(anthropic["output_config"]["format"]["schema"]["properties"]) == ["y", "x"]


# --- asking through a tool


def test_the_answers_tool_is_forced() -> None:
    lowered = lower(asked(response_format=ResponseFormat(type="json_object")), LOOSE, "tool")

    assert lowered.tools is not None
    (tool,) = lowered.tools
    assert isinstance(tool, Tool)
    assert (tool.name, tool.parameters) == (ANSWER_TOOL, LOOSE.schema)
    assert "Loose" in (tool.description or "")
    assert lowered.tool_choice == ToolChoice(mode="tool", name=ANSWER_TOOL)
    assert lowered.response_format is None


@table(
    ("given", "choice"),
    [
        (None, ToolChoice(mode="required")),
        (ToolChoice(), ToolChoice(mode="required")),
        (ToolChoice(mode="required"), ToolChoice(mode="required")),
        (ToolChoice(mode="none"), ToolChoice(mode="tool", name=ANSWER_TOOL)),
        (ToolChoice(mode="tool", name="look"), ToolChoice(mode="tool", name="look")),
        (ToolChoice(allowed=["look"]), ToolChoice(mode="required", allowed=["look", ANSWER_TOOL])),
    ],
)
def test_other_tools_may_be_called_first(given: ToolChoice | None, choice: ToolChoice) -> None:
    tools = [Tool(name="look"), ProviderTool(definition={"type": "web_search"})]

    lowered = lower(asked(tools=tools, tool_choice=given), POINT, "tool")

    assert lowered.tool_choice == choice
    assert (lowered.tools or [])[:2] == tools
    assert len(lowered.tools or []) == 3


def test_a_tool_of_the_same_name_is_refused() -> None:
    with pytest.raises(InvalidRequestError, match="'final_answer' is the name of the tool that output= needs"):
        lower(asked(tools=[Tool(name=ANSWER_TOOL)]), POINT, "tool")


@pytest.mark.parametrize("provider", [OPENAI, ANTHROPIC], ids=lambda row: row.name)
def test_the_forced_tool_can_be_said_by_each_dialect(provider: Provider) -> None:
    body = body_of(provider, lower(asked(), MAP, "tool"))

    assert body["tool_choice"] in (
        {"type": "function", "function": {"name": ANSWER_TOOL}},
        {"type": "tool", "name": ANSWER_TOOL},
    )


# --- asking in words


@table(
    ("messages", "content"),
    [
        ([Message(role="user", content="Hi")], "{}"),
        ([Message(role="system", content="Be brief."), Message(role="user", content="Hi")], "Be brief.\n\n{}"),
        ([Message(role="developer", content="Be brief.")], "Be brief.\n\n{}"),
    ],
)
@table("mode", ["prompt", "json_object"])
def test_the_schema_is_added_to_the_system_message(mode: StructuredMode, messages: list[Message], content: str) -> None:
    lowered = lower(asked(*messages), POINT, mode)

    first = lowered.messages[0]
    role = messages[0].role if messages[0].role != "user" else "system"
    assert first.role == role
    instruction = str(first.content).removeprefix(content.format(""))
    assert instruction.startswith("Answer with one JSON object")
    assert json.loads(instruction[instruction.index("{") :]) == POINT.schema
    assert lowered.messages[1:] == (messages if role == "system" and messages[0].role == "user" else messages[1:])
    assert lowered.response_format == (ResponseFormat(type="json_object") if mode == "json_object" else None)
    assert lowered.tools is None


def test_a_system_message_of_parts_gets_one_more() -> None:
    first = Message(role="system", content=[text("Be brief.")], cache=CacheMark())
    lowered = lower(asked(first), POINT, "prompt")

    assert lowered.messages[0].parts[0] == text("Be brief.")
    assert len(lowered.messages[0].parts) == 2
    assert lowered.messages[0].cache == CacheMark()


def test_the_schema_in_words_has_the_limits_and_the_order() -> None:
    class Limited(msgspec.Struct):
        b: Annotated[int, msgspec.Meta(le=9)]
        a: int

    said = lower(asked(), OutputType(Limited), "prompt").messages[0].text

    assert said.index('"b"') < said.index('"maximum":9') < said.index('"a"')


@table("mode", MODES)
def test_the_callers_request_is_not_changed(mode: StructuredMode) -> None:
    request = asked(Message(role="system", content="Be brief."), tools=[Tool(name="look")])
    before = msgspec.json.encode(request)

    lower(request, POINT, mode)

    assert msgspec.json.encode(request) == before


# --- what is not enforced


def test_a_type_that_is_enforced_gives_no_warning() -> None:
    assert shortfalls(POINT, "native") == []
    assert shortfalls(LOOSE, "native_closed") == []


@table(
    ("output", "mode", "told"),
    [
        (LOOSE, "native", "output: checked here only: strict mode is off, since $.size may be left out"),
        (MAP, "native", "output: checked here only: $: it may have any keys"),
        (POINT, "tool", "output: Point was asked for through a tool; that the response fits was checked here only"),
        (POINT, "prompt", "output: Point was asked for in the prompt; that the response fits was checked here only"),
        (
            POINT,
            "json_object",
            "output: Point was asked for in the prompt; that the response fits was checked here only",
        ),
    ],
)
def test_what_is_checked_here_only_is_told(output: OutputType[Any], mode: StructuredMode, told: str) -> None:
    assert shortfalls(output, mode) == [told]


# --- making an answer plain


def test_the_answers_call_becomes_text() -> None:
    thought = ReasoningPart(text="hm")
    response = answered(thought, answer_call(), finish_reason="tool_calls", usage=Usage(input_tokens=1))

    lifted = lift(response, "tool")

    assert lifted.message.parts == [thought, text(JSON)]
    assert (lifted.finish_reason, lifted.tool_calls, lifted.usage) == ("stop", [], response.usage)


@pytest.mark.parametrize("reason", ["stop", "length", None])
def test_another_finish_reason_stays(reason: FinishReason | None) -> None:
    assert lift(answered(answer_call(), finish_reason=reason), "tool").finish_reason == reason


def test_a_call_of_another_tool_stays_one() -> None:
    look = ToolCall(id="c2", name="look")
    both = lift(answered(look, answer_call(), finish_reason="tool_calls"), "tool", others=["look"])

    assert both.message.parts == [look, text(JSON)]
    assert both.finish_reason == "tool_calls"
    other = answered(look, finish_reason="tool_calls")
    assert lift(other, "tool", others=["look"]) == other


@table("mode", [mode for mode in MODES if mode != "tool"])
def test_in_other_ways_nothing_is_lifted(mode: StructuredMode) -> None:
    response = answered(answer_call())

    assert lift(response, mode) is response


def test_every_choice_is_lifted() -> None:
    one = Choice(message=AssistantMessage(parts=[answer_call()]))
    response = ChatResponse(choices=[one, msgspec.structs.replace(one, index=1)])

    assert [choice.message.text for choice in lift(response, "tool").choices] == [JSON, JSON]


def whole(chunks: list[Chunk]) -> ChatResponse:
    accumulator = ChatAccumulator(provider="p", model="m")
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.response()


@table(
    "parts",
    [
        [answer_call()],
        [text("Here it is: "), answer_call()],
        [ReasoningPart(text="hm", signature="s", provider="p"), answer_call()],
        [answer_call(), ToolCall(id="c2", name="look", arguments="{}")],
        [ToolCall(id="c2", name="look", arguments="{}"), answer_call()],
        [ToolCall(id="c2", name="look", arguments="{}")],
        [text("just words")],
        [answer_call("")],
    ],
    ids=["answer", "text+answer", "reasoning+answer", "answer+tool", "tool+answer", "tool", "text", "empty answer"],
)
def test_lifted_chunks_make_the_lifted_answer(parts: list[Part]) -> None:
    reason: FinishReason = "tool_calls" if any(isinstance(part, ToolCall) for part in parts) else "stop"
    response = answered(*parts, finish_reason=reason)
    grow = ChunkLift(POINT, "tool", others=["look"])

    streamed = whole([grow(chunk) for chunk in chunks_of(response)])

    plain = lift(response, "tool", others=["look"])
    if not plain.tool_calls and plain.text.endswith("}"):
        plain = fitted(plain, POINT, "tool")
    assert streamed.finish_reason == plain.finish_reason
    assert streamed.text == plain.text
    assert [call.name for call in streamed.tool_calls] == [call.name for call in plain.tool_calls]
    assert streamed.message.reasoning == plain.message.reasoning


@given(st.lists(st.integers(1, len(JSON)), max_size=6))
def test_the_answer_may_come_in_any_pieces(sizes: list[int]) -> None:
    ends = sorted({min(end, len(JSON)) for end in accumulate(sizes)} | {len(JSON)})
    pieces = [JSON[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def chunk(**delta: Any) -> Chunk:
        return Chunk(choices=[ChunkChoice(delta=Delta(**delta))])

    chunks = [
        chunk(role="assistant", content=None),
        chunk(content="Well: "),
        chunk(tool_calls=[ToolCallDelta(index=0, id="c", name=ANSWER_TOOL)]),
        *(chunk(tool_calls=[ToolCallDelta(index=0, arguments=piece)]) for piece in pieces),
        Chunk(choices=[ChunkChoice(finish_reason="tool_calls")], usage=Usage(output_tokens=3)),
    ]
    grow = ChunkLift(POINT, "tool")
    lifted = [grow(each) for each in chunks]

    assert [each.text for each in lifted[3:-1]] == pieces
    assert not lifted[2].has_content
    response = whole(lifted)
    assert [part for part in response.message.parts if isinstance(part, TextPart)] == [text(JSON)]
    assert (response.finish_reason, response.usage) == ("stop", Usage(output_tokens=3))
    assert parse(response, POINT, "tool") == Point(2, 1)


def test_chunks_of_several_choices_and_calls_are_told_apart() -> None:
    def chunk(index: int, *calls: ToolCallDelta, reason: FinishReason | None = None) -> Chunk:
        delta = Delta(tool_calls=list(calls) or None)
        return Chunk(choices=[ChunkChoice(index=index, delta=delta, finish_reason=reason)])

    grow = ChunkLift(OutputType(dict[str, int]), "tool", others=["look"])
    lifted = [
        grow(chunk(0, ToolCallDelta(index=0, name="look"), ToolCallDelta(index=1, name=ANSWER_TOOL))),
        grow(chunk(1, ToolCallDelta(index=0, name=ANSWER_TOOL, arguments="{"))),
        grow(chunk(0, ToolCallDelta(index=0, arguments="1"), ToolCallDelta(index=1, arguments="{}"))),
        grow(chunk(0, reason="tool_calls")),
        grow(chunk(1, reason="tool_calls")),
    ]

    first, second = whole(lifted).choices
    assert [(call.name, call.arguments) for call in first.message.tool_calls or ()] == [("look", "1")]
    assert first.message.text == "{}"
    assert first.finish_reason == "tool_calls"
    assert (second.message.text, second.message.tool_calls, second.finish_reason) == ("{", None, "stop")


def test_a_chunk_without_the_answer_passes_as_it_is() -> None:
    chunk = Chunk(choices=[ChunkChoice(delta=Delta(content=JSON))])
    grow = ChunkLift(POINT, "tool")

    assert grow(chunk) is chunk
    assert grow(Chunk()) == Chunk()


# --- reading the answer


@table("mode", MODES)
def test_text_that_is_json_is_read(mode: StructuredMode) -> None:
    assert parse(answered(text(JSON)), POINT, mode) == Point(2, 1)


def test_the_answer_keeps_everything_else() -> None:
    response = answered(text(JSON), usage=Usage(input_tokens=3), warnings=["a"], request_id="r", raw=b"{}")

    read = fitted(response, POINT, "native")

    assert isinstance(read, ParsedResponse)
    assert read.parsed == Point(2, 1)
    assert (read.text, read.message) == (JSON, response.message)
    assert {name: getattr(read, name) for name in read.__struct_fields__} == {
        **{name: getattr(response, name) for name in response.__struct_fields__},
        "parsed": Point(2, 1),
    }
    assert msgspec.structs.replace(read, warnings=[]).parsed == Point(2, 1)


def test_a_warning_is_given_once() -> None:
    once = fitted(answered(text(JSON)), POINT, "prompt")

    assert len(once.warnings) == 1
    assert fitted(once, POINT, "prompt").warnings == once.warnings


@table("mode", MODES)
def test_an_answer_that_wants_tools_run_has_nothing_to_read(mode: StructuredMode) -> None:
    assert parse(answered(text("I look."), ToolCall(id="c", name="look")), POINT, mode) is None


@table("mode", MODES)
def test_words_in_a_part_of_their_own_do_no_harm(mode: StructuredMode) -> None:
    assert parse(answered(text("Here it is."), text(JSON)), POINT, mode) == Point(2, 1)
    assert parse(answered(text('{"y": 2,'), text(' "x": 1}')), POINT, mode) == Point(2, 1)


@table(
    "said",
    [
        f"```json\n{JSON}\n```",
        f"```\n{JSON}\n```\n",
        f"Here it is:\n\n```json\n{JSON}\n```\n\nAnything else?",
        f"```JSON {JSON} ```",
        f"  ```json\n  {JSON}\n  ```",
        f"```python\nprint()\n```\nand\n```json\n{JSON}```",
        '```json\n{"y": 2,\n "x": 1}\n```',
        f"<think>Is it {{y}}? It is.</think>{JSON}",
        f"\n<think>\nIs it {{y}}? It is.\n</think>\n\n{JSON}\n",
        f"<thinking>Is it {{y}}? It is.</thinking>\n```json\n{JSON}\n```",
        f"[THINK]Is it {{y}}? It is.[/THINK]{JSON}",
        f"Is it {{y}}? It is.</think>\n{JSON}",
        f"<think>Is it {{y}}? It is.</think>Here:\n```\n{JSON}\n```",
    ],
)
@table("mode", MODES)
def test_json_is_found_behind_thinking_and_inside_a_fence(said: str, mode: StructuredMode) -> None:
    read = fitted(answered(text(said)), POINT, mode)

    assert read.parsed == Point(2, 1)
    assert json.loads(read.text) == {"y": 2, "x": 1}
    thought = (read.reasoning or "").strip()
    assert thought == ("Is it {y}? It is." if "think" in said.lower() else "")
    assert streamed(said, POINT, mode).text == read.text
    assert (streamed(said, POINT, mode).reasoning or "").strip() == thought


@table(
    "said",
    [
        f"Sure! {JSON}",
        f"Use {{braces}} and {{}}: {JSON} as you like.",
        f'Not {{"y", but {JSON}.',
        f"{JSON}\n\nBye {{}}.",
    ],
)
def test_json_among_words_is_found_where_the_model_was_asked_in_words(said: str) -> None:
    for mode in IN_WORDS:
        assert fitted(answered(text(said)), POINT, mode).text == JSON
    if said.startswith("{"):
        return
    for mode in ("native", "native_closed", "tool"):
        with pytest.raises(OutputValidationError, match="it is not JSON") as caught:
            parse(answered(text(said)), POINT, mode)
        assert caught.value.output == said
        assert streamed(said, POINT, mode).text == said


@pytest.mark.parametrize(
    ("said", "alone"), [("[1, 2]", "[1, 2]"), ("It is [1, 2].", "[1, 2]"), ("```json\n[1, 2]\n```", "[1, 2]")]
)
def test_a_bare_list_is_taken_where_the_model_was_asked_in_words(said: str, alone: str) -> None:
    numbers: OutputType[list[int]] = OutputType(list[int])
    for mode in IN_WORDS:
        read = fitted(answered(text(said)), numbers, mode)
        assert (read.parsed, read.text) == ([1, 2], alone)
        assert streamed(said, numbers, mode).text == alone
    with pytest.raises(OutputValidationError):
        parse(answered(text(said)), numbers, "native")


@table(("kind", "said"), [(int, "42"), (str, '"a"'), (Point | None, JSON), (Point | None, "null")])
def test_any_wrapped_type_may_come_bare_where_the_model_was_asked_in_words(kind: Any, said: str) -> None:
    output = OutputType[Any](kind)
    for mode in IN_WORDS:
        assert parse(answered(text(said)), output, mode) == output.decode(f'{{"value": {said}}}')


def test_marks_inside_of_the_json_stay() -> None:
    said = json.dumps({"name": "<think>no</think> ```json {} ``` {"})
    for mode in MODES:
        for around in (said, f"```json\n{said}\n```", f"<think>{{}}</think>{said}"):
            assert fitted(answered(text(around)), LOOSE, mode).text == said
            assert streamed(around, LOOSE, mode).text == said


@table(
    "name",
    [
        "functions.final_answer",
        "final_answer<|channel|>json",
        "final_answer:0",
        " final_answer",
        "default_api:final_answer",
    ],
)
def test_a_decorated_name_of_the_answers_tool_is_known(name: str) -> None:
    call = ToolCall(id="c", name=name, arguments=JSON)
    lifted = lift(answered(call, finish_reason="tool_calls"), "tool", others=["look"])

    assert (lifted.text, lifted.tool_calls, lifted.finish_reason) == (JSON, [], "stop")
    grow = ChunkLift(POINT, "tool", others=["look"])
    chunks = chunks_of(answered(call, finish_reason="tool_calls"))
    assert whole([grow(chunk) for chunk in chunks]).text == JSON


@pytest.mark.parametrize(
    "pieces", [["final_", "answer"], ["functions.", "final_answer"], ["final_answer", "<|x|>json"]]
)
def test_a_name_in_pieces_is_known_too(pieces: list[str]) -> None:
    grow = ChunkLift(POINT, "tool", others=["look"])
    calls = [
        *(ToolCallDelta(index=0, name=piece) for piece in pieces),
        *(ToolCallDelta(index=0, arguments=JSON[place : place + 4]) for place in range(0, len(JSON), 4)),
    ]
    chunks = [Chunk(choices=[ChunkChoice(delta=Delta(tool_calls=[call]))]) for call in calls]
    chunks.append(Chunk(choices=[ChunkChoice(finish_reason="tool_calls")]))
    response = whole([grow(chunk) for chunk in chunks])

    assert (response.text, response.tool_calls, response.finish_reason) == (JSON, [], "stop")


@table("names", [["lo", "ok"], ["lo"], ["look"], ["other"] * 70])
@table("arguments", ["{}", ""])
def test_another_tools_name_in_pieces_stays_its_own(names: list[str], arguments: str) -> None:
    grow = ChunkLift(POINT, "tool", others=["look"])
    calls = [ToolCallDelta(index=0, name=name) for name in names]
    if arguments:
        calls += [ToolCallDelta(index=0, arguments=arguments)] * 2
    chunks = [Chunk(choices=[ChunkChoice(delta=Delta(tool_calls=[call]))]) for call in calls]
    chunks.append(Chunk(choices=[ChunkChoice(finish_reason="tool_calls")]))
    lifted = [grow(chunk) for chunk in chunks]

    given = [call for chunk in lifted for choice in chunk.choices for call in choice.delta.tool_calls or ()]
    assert given == calls
    assert lifted[-1].choices[0].finish_reason == "tool_calls"


def test_another_tools_name_is_never_taken_for_the_answers() -> None:
    for name in ("not_final_answer", "final_answers", "look.final_answer"):
        call = ToolCall(id="c", name=name, arguments=JSON)
        assert lift(answered(call), "tool", others=["look", "look.final_answer"]).tool_calls == [call]


def test_a_call_of_whatever_name_is_the_answer_where_there_is_no_other_tool() -> None:
    call = ToolCall(id="c", name="Point", arguments=JSON)

    assert fitted(lift(answered(call), "tool"), POINT, "tool").parsed == Point(2, 1)


@table("calls", [(JSON, '{"y": 3, "x": 4}'), ('{"y": 3}', JSON), (JSON, ""), (JSON, JSON), ("", JSON)])
def test_of_two_calls_of_the_answers_tool_text_and_value_are_the_same(calls: tuple[str, str]) -> None:
    parts = [ToolCall(id=f"c{place}", name=ANSWER_TOOL, arguments=said) for place, said in enumerate(calls)]
    response = answered(*parts, finish_reason="tool_calls")

    read = fitted(lift(response, "tool"), POINT, "tool")
    assert (read.text, read.parsed) == (JSON, Point(2, 1))

    grow = ChunkLift(POINT, "tool")
    streamed = whole([grow(chunk) for chunk in chunks_of(response)])
    read = fitted(grow.restored(streamed) or streamed, POINT, "tool") if streamed.text != JSON else streamed
    assert read.text == JSON


def test_further_answers_are_the_json_alone_too_as_far_as_they_have_any() -> None:
    said = [JSON, f"```\n{JSON}\n```", "no JSON", '{"y": 3}']
    choices = [Choice(index=place, message=AssistantMessage(parts=[text(each)])) for place, each in enumerate(said)]

    read = fitted(ChatResponse(choices=choices), POINT, "native")

    assert read.parsed == Point(2, 1)
    assert [choice.message.text for choice in read.choices] == [JSON, JSON, "no JSON", '{"y": 3}']


def test_thinking_that_the_provider_tells_apart_is_kept_as_it_is() -> None:
    read = fitted(answered(ReasoningPart(text="hm"), text(f"<think>more</think>{JSON}")), POINT, "native")

    assert (read.text, read.reasoning) == (JSON, "hm")


def test_calls_of_tools_pass_in_other_ways_than_the_tools() -> None:
    grow = ChunkLift(POINT, "native")
    call = ToolCallDelta(index=0, name="look", arguments="{}")
    chunk = grow(Chunk(choices=[ChunkChoice(delta=Delta(content="I look.", tool_calls=[call]))]))

    assert (chunk.text, chunk.choices[0].delta.tool_calls) == ("I look.", [call])


@table(
    "said",
    ['{"y": [}', '{"y": 2} }', "{ [", "{" + " " * 300 + "x", "<think", "<think>never ends", "[THINK", '{"y": "\\'],
)
def test_text_that_is_no_json_stays_as_it_is(said: str) -> None:
    for mode in MODES:
        grow = streamed(said, POINT, mode)
        with pytest.raises(OutputValidationError) as caught:
            parse(answered(text(said)), POINT, mode)
        assert caught.value.output == said
        assert (grow.text or grow.reasoning or "").strip() in said


def test_looking_for_json_takes_time_in_proportion_to_the_text() -> None:
    for unit in ("{", "[", "<think>", '{"a":', "```", "</think>", '{"', "{ ", '{"a": 1} '):
        said = f"Well: {unit * 3000}"
        calls = [_operations(lambda said=said * times: json_in(said, words=True, lists=True)) for times in (1, 4)]
        assert calls[1] < calls[0] * 6


def test_a_large_value_among_words_is_found() -> None:
    records = [{"id": n, "tags": [{"at": [n, {"deep": [1]}]}, 'a "b" ]}'], "on": True} for n in range(4_000)]
    said = json.dumps({"x": 1, "y": 2, "more": records})
    assert json_in(f"Well: {said} is what I found.", words=True, lists=False) == ([said], "")
    assert json_in(f"<think>{'{} ' * 200}</think> {said}", words=True, lists=False) == ([said], "{} " * 200)


def _operations(work: Any) -> int:
    """Count the steps that Python takes."""
    count = 0

    def trace(*_: Any) -> Any:
        nonlocal count
        count += 1
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        work()
    finally:
        sys.settrace(before)
    return count


def test_a_fence_inside_of_the_json_is_text() -> None:
    named = OutputType(Loose)
    said = json.dumps({"name": "```json\n{}\n```"})

    assert parse(answered(text(said)), named, "prompt") == Loose("```json\n{}\n```")
    assert parse(answered(text(f"So:\n```json\n{said}\n```")), named, "prompt") == Loose("```json\n{}\n```")


def test_what_does_not_fit_is_refused_with_the_whole_answer() -> None:
    response = answered(text('{"y": 2, "x": "1"}'), usage=Usage(output_tokens=5), request_id="r")

    with pytest.raises(OutputValidationError, match=r"\$\.x: expected int, got str") as caught:
        parse(response, POINT, "native")

    error = caught.value
    assert (error.output, error.response, error.usage) == (response.text, response, response.usage)
    assert (error.provider, error.model, error.request_id) == ("p", "m", "r")
    assert error.fallback
    assert not error.retryable
    assert is_correctable(response)


def test_the_fenced_block_is_what_an_error_is_about() -> None:
    with pytest.raises(OutputValidationError, match="missing required field x") as caught:
        parse(answered(text('So:\n```\n{"y": 1}\n```')), POINT, "prompt")

    assert caught.value.output == 'So:\n```\n{"y": 1}\n```'


@pytest.mark.parametrize(
    ("response", "says"),
    [
        (
            answered(text('{"y": 2'), finish_reason="length"),
            "not a complete Point: it was cut off at its token limit; raise",
        ),
        (
            answered(text(""), finish_reason="content_filter"),
            "not a complete Point: the provider's content filter cut it",
        ),
        (answered(RefusalPart(refusal="I won't.")), "the model declined to give Point: I won't."),
    ],
)
def test_an_answer_that_was_cut_or_declined_is_not_asked_for_again(response: ChatResponse, says: str) -> None:
    with pytest.raises(OutputValidationError, match=says):
        parse(response, POINT, "native")

    assert not is_correctable(response)


def test_an_answer_that_is_whole_by_luck_is_taken() -> None:
    assert parse(answered(text(JSON), finish_reason="length"), POINT, "native") == Point(2, 1)


def test_an_empty_answer_is_refused() -> None:
    response = answered()
    with pytest.raises(OutputValidationError, match="does not fit Point: it is empty"):
        parse(response, POINT, "native")

    assert is_correctable(response)


# --- asking again


def refused(response: ChatResponse) -> OutputValidationError:
    with pytest.raises(OutputValidationError) as caught:
        parse(response, POINT, "native")
    return caught.value


def test_the_model_sees_its_answer_and_what_is_wrong_with_it() -> None:
    request = asked(temperature=0.5)
    response = answered(ReasoningPart(text="hm", signature="s"), text('{"y": 1}'))

    again = reask(request, response, refused(response))

    assert again.messages[:-2] == request.messages
    assert again.messages[-2] == response.message.to_message()
    assert again.messages[-1] == Message(
        role="user",
        content="That cannot be used: the response does not fit Point: $: object missing required field x. "
        "Give the whole answer again, corrected, in the form asked for.",
    )
    assert msgspec.structs.replace(again, messages=request.messages) == request


def test_an_empty_answer_is_not_sent_back() -> None:
    response = answered(text(" "))
    again = reask(asked(), response, refused(response))

    assert [message.role for message in again.messages] == ["user", "user"]


@table("mode", MODES)
@table("provider", [OPENAI, ANTHROPIC], ids=lambda row: row.name)
def test_asking_again_can_be_said_by_each_dialect(provider: Provider, mode: StructuredMode) -> None:
    if (provider.name, mode) == ("anthropic", "json_object"):
        mode = "prompt"  # Anthropic has no such mode
    response = lift(answered(answer_call('{"y": 1}')), "tool")
    error = refused(response)

    body = body_of(provider, lower(reask(reask(asked(), response, error), response, error), POINT, mode))

    assert [message["role"] for message in body["messages"] if message["role"] != "system"] == [
        *("user", "assistant", "user", "assistant", "user")
    ]


def test_what_both_answers_cost_is_added_up() -> None:
    first = answered(
        text("{"),
        usage=Usage(input_tokens=10, output_tokens=2, cache_read_tokens=3),
        cost=Decimal("0.1"),
        attempts=[AttemptRecord(provider="p", model="m", category="throttled"), AttemptRecord(provider="p", model="m")],
        warnings=["a", "b"],
    )
    second = answered(
        text(JSON),
        usage=Usage(input_tokens=20, output_tokens=4),
        cost=Decimal("0.2"),
        attempts=[AttemptRecord(provider="p", model="m", key="k")],
        warnings=["b", "c"],
    )

    both = merged(first, second)

    assert both.text == JSON
    assert both.usage == Usage(input_tokens=30, output_tokens=6, cache_read_tokens=3)
    assert both.cost == Decimal("0.3")
    assert both.attempts == [*first.attempts, *second.attempts]
    assert both.warnings == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("first", "second", "both"),
    [
        (Usage(), Usage(), Usage()),
        (Usage(input_tokens=1), Usage(), Usage(input_tokens=1)),
        (Usage(), Usage(input_tokens=2), Usage(input_tokens=2)),
    ],
)
def test_usage_that_was_told_once_is_kept(first: Usage, second: Usage, both: Usage) -> None:
    assert merged(answered(usage=first), answered(usage=second)).usage == both


def test_a_price_that_is_unknown_once_is_unknown() -> None:
    assert merged(answered(cost=Decimal(1)), answered()).cost is None
    assert merged(answered(), answered(cost=Decimal(1))).cost is None


@table("unit", ["{}", "[]", "{", "`{", '{"a":[1,2,', "</think>"])
def test_looking_for_json_ends_in_text_that_is_full_of_signs(unit: str) -> None:
    """Effort is bounded: what a call enters of our functions grows no more with the text."""

    def entered(text: str) -> int:
        calls = 0

        def count(_frame: object, event: str, _arg: object) -> None:
            nonlocal calls
            calls += event == "call"

        sys.setprofile(count)
        try:
            json_in(text, words=True, lists=True)
        finally:
            sys.setprofile(None)
        return calls

    assert entered("word " + unit * 200_000) <= 1.1 * entered("word " + unit * 100_000) + 1000
