"""Items, events and options of the Responses API: nothing is lost between forms, and streams equal plain responses."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bifrost import AssistantMessage, InvalidRequestError, Message, Reasoning, TextPart, Tool, ToolCall, ToolChoice
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.responses.assemble import ResponsesAccumulator, chunks_of
from bifrost.operations.responses.chunks import ResponsesChunk, ResponsesReset
from bifrost.operations.responses.content import OutputText
from bifrost.operations.responses.item_forms import item_form, read_item
from bifrost.operations.responses.items import (
    CustomToolCallItem,
    FunctionCallItem,
    FunctionCallOutputItem,
    Item,
    MessageItem,
    OpaqueItem,
    ReasoningItem,
)
from bifrost.operations.responses.options import responses_fields, responses_request, to_input
from bifrost.operations.responses.response import ResponsesResponse
from bifrost.operations.usage import Usage

TEXTS = st.text(min_size=1, max_size=8)
JSON = st.recursive(
    st.booleans() | st.integers(-9, 9) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
OBJECTS = st.dictionaries(TEXTS, JSON, max_size=3)
PARTS = st.one_of(
    st.builds(lambda text: {"type": "output_text", "text": text, "annotations": []}, TEXTS),
    st.builds(lambda text: {"type": "refusal", "refusal": text}, TEXTS),
    st.builds(lambda text: {"type": "input_text", "text": text}, TEXTS),
    st.builds(lambda url: {"type": "input_image", "image_url": url, "detail": "auto"}, TEXTS),
    st.builds(lambda data: {"type": "input_file", "file_data": data, "filename": "a"}, TEXTS),
    st.builds(lambda other: {**other, "type": "novelty"}, OBJECTS),
    st.builds(lambda other: {"type": "output_text", "text": "a", **other}, OBJECTS),
)
FORMS = st.one_of(
    st.builds(lambda text: {"role": "user", "content": text}, TEXTS),
    st.builds(lambda parts: {"type": "message", "role": "assistant", "content": parts}, st.lists(PARTS, max_size=3)),
    st.builds(lambda other: {"type": "message", "role": "user", "content": "a", **other}, OBJECTS),
    st.builds(
        lambda texts: {
            "type": "reasoning",
            "id": "rs_1",
            "summary": [{"type": "summary_text", "text": text} for text in texts],
            "encrypted_content": "e",
        },
        st.lists(TEXTS, max_size=2),
    ),
    st.builds(
        lambda text, other: {"type": "function_call", "call_id": "c", "name": text, "arguments": "{}", **other},
        TEXTS,
        OBJECTS,
    ),
    st.builds(lambda text: {"type": "custom_tool_call", "call_id": "c", "name": "f", "input": text}, TEXTS),
    st.builds(
        lambda output: {"type": "function_call_output", "call_id": "c", "output": output},
        TEXTS | st.lists(PARTS, max_size=2),
    ),
    st.builds(lambda other: {**other, "type": "web_search_call", "id": "ws_1"}, OBJECTS),
)


def grown(chunks: list[ResponsesChunk]) -> ResponsesResponse:
    accumulator = ResponsesAccumulator()
    for chunk in chunks:
        accumulator.add(chunk)
    return accumulator.response()


@settings(max_examples=300)
@given(FORMS)
def test_an_item_of_any_form_comes_back_as_it_was(form: dict[str, Any]) -> None:
    before = json.dumps(form)
    assert item_form(read_item(form)) == form
    assert json.dumps(form) == before


@pytest.mark.parametrize(
    "form",
    [
        {"type": "message", "role": "assistant", "content": 3},
        {"type": "message", "role": "assistant", "content": ["a"]},
        {"type": "message", "role": 3, "content": "a"},
        {"type": "reasoning", "summary": "text"},
        {"type": "reasoning", "summary": [{"type": "summary_text", "text": "a", "more": 1}]},
        {"type": "function_call", "name": "f", "arguments": "{}"},
        {"type": "function_call", "call_id": "c", "name": "f", "arguments": {"a": 1}},
        {"type": 3},
        {"id": "no type"},
    ],
)
def test_an_item_of_an_unexpected_shape_is_kept_whole(form: dict[str, Any]) -> None:
    item = read_item(form)
    assert isinstance(item, OpaqueItem)
    assert item_form(item) == form


@settings(max_examples=200)
@given(st.lists(FORMS, max_size=4), st.sampled_from(["completed", "incomplete", "queued", "cancelled", ""]))
def test_the_events_of_a_response_make_the_same_response(forms: list[dict[str, Any]], status: str) -> None:
    response = ResponsesResponse(
        id="resp_1",
        model="m",
        status=status,
        output=[read_item(form) for form in forms],
        created=5,
        incomplete_reason="content_filter" if status == "incomplete" else None,
        usage=Usage(input_tokens=3, output_tokens=2),
        details={"temperature": 1.0},
    )
    chunks = chunks_of(response)
    assert grown(chunks) == response
    assert grown(chunks[1:-1]).output == response.output, "without the first and last event"
    assert grown(chunks[-1:]) == response, "with nothing but the last event"


OUTPUT: list[Item] = [
    ReasoningItem(summary=["thought", "again"]),
    MessageItem(role="assistant", content=[OutputText(text="hello there")]),
    FunctionCallItem(call_id="", name="", arguments='{"a":1}'),
    CustomToolCallItem(call_id="", name="", input="free text"),
]


def test_pieces_alone_make_texts_and_arguments() -> None:
    pieces = [chunk for chunk in chunks_of(ResponsesResponse(output=OUTPUT)) if chunk.delta]
    assert grown(pieces).output == OUTPUT
    assert grown(pieces).status == "in_progress"
    assert grown(pieces).finish_reason is None


def test_whole_texts_and_parts_stand_in_for_missing_pieces() -> None:
    def data(kind: str, index: int, **members: Any) -> ResponsesChunk:
        return ResponsesChunk(type=kind, output_index=index, data=members)

    cited = {"type": "url_citation", "url": "https://a.example"}
    chunks = [
        data("response.content_part.added", 0, part={"type": "output_text", "text": "", "annotations": []}),
        data("response.output_text.done", 0, text="hello"),
        data("response.output_text.annotation.added", 0, annotation=cited),
        data("response.refusal.done", 1, refusal="no"),
        data("response.reasoning_summary_text.done", 2, text="thought"),
        ResponsesChunk(type="response.output_item.added", output_index=3, item=FunctionCallItem(call_id="c", name="f")),
        data("response.function_call_arguments.done", 3, arguments="{}"),
        data(
            "response.content_part.done", 4, part={"type": "output_text", "text": "whole", "logprobs": [{"token": "w"}]}
        ),
        data("response.novelty.done", 5, text="ignored"),
    ]
    response = grown(chunks)
    first, refused, thought, call, last = response.output
    assert isinstance(first, MessageItem)
    assert first.content == [OutputText(text="hello", annotations=[cited])]
    assert isinstance(refused, MessageItem)
    assert refused.refusal == "no"
    assert thought == ReasoningItem(summary=["thought"])
    assert call == FunctionCallItem(call_id="c", name="f", arguments="{}")
    assert isinstance(last, MessageItem)
    assert last.content == [OutputText(text="whole", logprobs=[{"token": "w"}])]
    assert (response.text, response.refusal, response.reasoning) == ("hellowhole", "no", "thought")


def test_a_complete_item_without_its_text_has_that_of_its_pieces() -> None:
    chunks = chunks_of(ResponsesResponse(output=OUTPUT))[1:-1]
    emptied = [
        chunk.replace(item=type(chunk.item)(role="assistant", content=[]))
        if isinstance(chunk.item, MessageItem)
        else chunk
        for chunk in chunks
    ]
    assert grown(emptied).output == OUTPUT


def test_a_reset_discards_what_came_before_it() -> None:
    accumulator = ResponsesAccumulator(provider="a", model="b")
    for chunk in chunks_of(ResponsesResponse(output=OUTPUT, status="completed")):
        accumulator.add(chunk)
    accumulator.add(ResponsesReset(provider="c", model="d", partial=accumulator.response()))
    response = accumulator.response()
    assert (response.output, response.provider, response.model, accumulator.finished) == ([], "c", "d", False)


def test_shortcuts_of_a_response() -> None:
    response = ResponsesResponse(status="completed", output=OUTPUT, usage=Usage(input_tokens=1, output_tokens=2))
    assert response.text == response.output_text == "hello there"
    assert [(call.kind, call.arguments) for call in response.tool_calls] == [
        ("function", '{"a":1}'),
        ("custom", "free text"),
    ]
    assert response.finish_reason == "tool_calls"
    assert "hello there" in repr(response)
    assert "hello there" in response._repr_html_()
    assert response.to_dict()["usage"]["total_tokens"] == 3
    with pytest.raises(AttributeError, match="to_dict"):
        _ = response.model_dump  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue]


@pytest.mark.parametrize(
    ("status", "reason", "finish"),
    [
        ("completed", None, "stop"),
        ("incomplete", "max_output_tokens", "length"),
        ("incomplete", "content_filter", "content_filter"),
        ("incomplete", "novelty", "unknown"),
        ("incomplete", None, "unknown"),
        ("failed", None, "error"),
        ("queued", None, None),
        ("novelty", None, "unknown"),
        ("", None, None),
    ],
)
def test_finish_reason(status: str, reason: str | None, finish: str | None) -> None:
    assert ResponsesResponse(status=status, incomplete_reason=reason).finish_reason == finish


# --- what a caller passes


def test_input_in_any_form() -> None:
    call = ToolCall(id="c", name="f", arguments="{}")
    answer = AssistantMessage(parts=[TextPart(text="a"), call])
    assert to_input("hello") == "hello"
    assert to_input({"role": "user", "content": "a"}) == [MessageItem(role="user", content="a", is_short=True)]
    assert to_input(
        [Message(role="user", content="a"), answer, {"role": "tool", "tool_call_id": "c", "content": "b"}]
    ) == [
        MessageItem(role="user", content="a", is_short=True),
        MessageItem(role="assistant", content=[OutputText(text="a", annotations=[])]),
        FunctionCallItem(call_id="c", name="f", arguments="{}"),
        FunctionCallOutputItem(call_id="c", output="b"),
    ]
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA=="}}
    (item,) = to_input([{"role": "user", "content": [{"type": "text", "text": "a"}, image]}])
    assert isinstance(item, MessageItem)
    assert item_form(item)["content"] == [
        {"type": "input_text", "text": "a"},
        {"type": "input_image", "image_url": "data:image/png;base64,AA=="},
    ]
    assert to_input([OUTPUT[1]]) == [OUTPUT[1]]


@pytest.mark.parametrize(
    ("given", "match"),
    [
        ("", "input: the text is empty"),
        (5, "input: expected text, an item or a list of items, got int"),
        (b"a", "got bytes"),
        (["a"], r"input\[0\]: a list holds items, not bare text"),
        ([{"content": "a"}], r"input\[0\]: type is missing"),
        ([5], r"input\[0\]: expected an item or a dict, got int"),
        ([ResponsesResponse()], r"give \*reply.output"),
        ([ChatResponse.of("a")], r"give its .message"),
    ],
)
def test_a_wrong_input_is_refused(given: Any, match: str) -> None:
    with pytest.raises(InvalidRequestError, match=match):
        to_input(given)


def test_options_in_bifrosts_types_become_openais_form() -> None:
    fields = responses_fields(
        {
            "tools": [Tool(name="f", parameters={"type": "object"}), {"type": "function", "function": {"name": "g"}}],
            "tool_choice": ToolChoice(mode="auto", allowed=["f"]),
            "reasoning": Reasoning(effort="low", display="summarized"),
            "temperature": 1,
            "store": None,
        }
    )
    assert fields == {
        "tools": [
            {"type": "function", "name": "f", "parameters": {"type": "object"}},
            {"type": "function", "name": "g"},
        ],
        "tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [{"type": "function", "name": "f"}]},
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 1.0,
    }
    assert responses_fields({"tool_choice": ToolChoice(mode="tool", name="f")}) == {
        "tool_choice": {"type": "function", "name": "f"}
    }
    assert responses_fields({"tool_choice": ToolChoice(mode="none")}) == {"tool_choice": "none"}
    assert responses_fields({"tool_choice": {"type": "function", "function": {"name": "f"}}}) == {
        "tool_choice": {"type": "function", "name": "f"}
    }


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"stream": True}, "call stream_respond"),
        ({"messages": []}, "second argument"),
        ({"max_tokens": 5}, "give max_output_tokens"),
        ({"temprature": 1}, "did you mean temperature"),
        ({"temperature": float("nan")}, "temperature: expected a finite number"),
        ({"temperature": "hot"}, "temperature: expected"),
        ({"tools": "f"}, "tools: expected a list"),
        ({"tools": [{"name": "f"}]}, r"tools\[0\]: type is missing"),
        ({"tools": [print]}, r"tools\[0\]: expected a Tool or a dict"),
        ({"metadata": {"a": 1}}, "metadata"),
        ({"reasoning": Reasoning(max_tokens=5)}, "no max_tokens of reasoning"),
        ({"timeout": 5}, "it says how a call is made"),
    ],
)
def test_a_wrong_option_is_refused(options: Any, match: str) -> None:
    with pytest.raises(InvalidRequestError, match=match):
        responses_fields(options)


def test_a_request_is_read_back_from_json() -> None:
    request = responses_request(
        "openai/m", [{"role": "user", "content": "a"}, {"type": "x", "id": "y"}], {"store": True}
    )
    assert msgspec.json.decode(msgspec.json.encode(request), type=type(request)) == request
