from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.operations.chat.content import Citation, OpaquePart, ReasoningPart, RefusalPart, TextPart, ToolCall
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.operations.usage import Usage
from bifrost.providers.anthropic import CHAT
from bifrost.providers.base import ReportedError, Target
from bifrost.wire.http import Headers, HttpResponse
from tests.table import table

TARGET = Target(provider="mine", model="asked-for")
USAGE = {"input_tokens": 3, "output_tokens": 5}


def parsed_bytes(body: bytes) -> ChatResponse:
    return CHAT.parse(HttpResponse(status=200, headers=Headers(), body=body), TARGET)


def parsed(*blocks: Any, **fields: Any) -> ChatResponse:
    message = {
        "type": "message",
        "id": "msg_1",
        "role": "assistant",
        "model": "claude",
        "content": list(blocks),
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": USAGE,
    }
    return parsed_bytes(json.dumps(message | fields).encode())


def test_a_plain_answer() -> None:
    response = parsed({"type": "text", "text": "Hi", "citations": None})
    assert response.text == "Hi"
    assert (response.id, response.model, response.provider) == ("msg_1", "claude", "mine")
    assert response.finish_reason == "stop"
    assert response.choices[0].native_finish_reason == "end_turn"
    assert response.usage == Usage(input_tokens=3, output_tokens=5)
    assert json.loads(response.raw)["id"] == "msg_1"


def test_the_order_of_blocks_is_kept() -> None:
    parts = parsed(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "One"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        {"type": "redacted_thinking", "data": "xyz"},
        {"type": "text", "text": "Two"},
    ).message.parts
    assert parts == [
        ReasoningPart(text="hm", signature="s", provider="mine"),
        TextPart(text="One"),
        ToolCall(id="t1", name="f", arguments='{"a": 1}'),
        ReasoningPart(redacted="xyz", provider="mine"),
        TextPart(text="Two"),
    ]


def test_a_tools_input_is_kept_as_the_model_wrote_it() -> None:
    body = b'{"content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"b":  1.10, "a":"\\u00fc"}}]}'
    assert parsed_bytes(body).tool_calls[0].arguments == '{"b":  1.10, "a":"\\u00fc"}'


def test_blocks_that_we_do_not_know_are_kept_whole() -> None:
    blocks: list[dict[str, Any]] = [
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {"query": "x"}},
        {"type": "hologram", "text": {"not": "text"}, "input": 3, "name": None, "signature": []},
        {"type": "compaction", "content": "Summary", "encrypted_content": "e"},
    ]
    assert parsed(*blocks).message.parts == [
        OpaquePart(provider="mine", kind=block["type"], data=block) for block in blocks
    ]


def test_empty_blocks_are_left_out() -> None:
    blocks = [{"type": "text", "text": ""}, {"type": "thinking", "thinking": "", "signature": ""}]
    assert parsed(*blocks).message.parts == []


def test_an_omitted_thought_keeps_its_signature() -> None:
    [part] = parsed({"type": "thinking", "thinking": "", "signature": "s"}).message.parts
    assert part == ReasoningPart(signature="s", provider="mine")


@pytest.mark.parametrize(
    ("native", "expected"),
    [
        (
            {
                "type": "web_search_result_location",
                "url": "https://a.example",
                "title": "A",
                "cited_text": "c",
                "encrypted_index": "e",
            },
            {"url": "https://a.example", "title": "A", "text": "c"},
        ),
        (
            {
                "type": "char_location",
                "document_title": "D",
                "cited_text": "c",
                "document_index": 1,
                "file_id": "f",
                "start_char_index": 2,
                "end_char_index": 3,
            },
            {"title": "D", "text": "c", "document_index": 1, "file_id": "f"},
        ),
        ({"type": "dream", "url": 3, "title": ["x"]}, {}),
    ],
)
def test_citations(native: dict[str, Any], expected: dict[str, Any]) -> None:
    response = parsed({"type": "text", "text": "A", "citations": [native]})
    assert response.message.citations == [Citation(provider="mine", native=native, **expected)]


@table(
    ("native", "ours"),
    [
        ("end_turn", "stop"),
        ("stop_sequence", "stop"),
        ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"),
        ("tool_use", "tool_calls"),
        ("pause_turn", "pause"),
        ("compaction", "pause"),
        ("refusal", "content_filter"),
        ("sudden_insight", "unknown"),
        (None, None),
    ],
)
def test_finish_reasons(native: str | None, ours: str | None) -> None:
    choice = parsed({"type": "text", "text": "Hi"}, stop_reason=native).choices[0]
    assert (choice.finish_reason, choice.native_finish_reason) == (ours, native)


def test_the_stop_sequence_is_told() -> None:
    assert parsed(stop_reason="stop_sequence", stop_sequence="END").choices[0].stop_sequence == "END"


def test_the_explanation_of_a_refusal_is_kept() -> None:
    details = {"type": "refusal", "category": "bio", "explanation": "Not this."}
    response = parsed({"type": "text", "text": "Well"}, stop_reason="refusal", stop_details=details)
    assert response.message.parts == [TextPart(text="Well"), RefusalPart(refusal="Not this.")]
    assert response.message.refusal == "Not this."


@pytest.mark.parametrize("details", [None, {"type": "refusal", "explanation": None}, {"type": "x", "explanation": "y"}])
def test_a_refusal_without_explanation(details: Any) -> None:
    assert parsed(stop_reason="refusal", stop_details=details).message.parts == []


# --- usage


def test_the_cache_counts_as_input() -> None:
    usage = parsed(
        usage={
            "input_tokens": 3,
            "output_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "cache_creation": {"ephemeral_5m_input_tokens": 20, "ephemeral_1h_input_tokens": 30},
            "output_tokens_details": {"thinking_tokens": 4},
            "server_tool_use": {"web_search_requests": 2, "web_fetch_requests": 1, "new_thing": {"x": 1}},
            "service_tier": "priority",
        }
    )
    assert usage.service_tier == "priority"
    assert usage.usage == Usage(
        input_tokens=153,
        output_tokens=10,
        cache_read_tokens=100,
        cache_write_tokens=50,
        cache_write_1h_tokens=30,
        reasoning_tokens=4,
        server_tool_calls=3,
    )
    assert usage.usage is not None
    assert usage.usage.uncached_tokens == 3


def test_making_a_summary_counts_and_an_advisor_does_not() -> None:
    rounds = [
        {"type": "compaction", "input_tokens": 1000, "output_tokens": 70, "cache_read_input_tokens": 5},
        {"type": "message", "input_tokens": 3, "output_tokens": 5},
        {"type": "advisor_message", "input_tokens": 900, "output_tokens": 90, "model": "other"},
    ]
    usage = parsed(usage={**USAGE, "iterations": rounds}).usage
    assert usage == Usage(input_tokens=1008, output_tokens=75, cache_read_tokens=5)


def test_an_answer_without_usage() -> None:
    response = parsed_bytes(b'{"content": [], "stop_reason": "end_turn"}')
    assert response.usage == Usage()
    assert response.model == "asked-for"


@pytest.mark.parametrize("ending", [b"", b', "stop_reason": null'])
def test_an_answer_with_neither_content_nor_a_stop_reason_is_malformed(ending: bytes) -> None:
    with pytest.raises(MalformedResponseError, match="neither content nor a stop reason"):
        parsed_bytes(b'{"type": "message", "content": []' + ending + b"}")


def test_numbers_with_a_point_and_nulls_are_taken() -> None:
    body = b"""{"type": "message", "id": null, "model": null, "content": [
        {"type": "text", "text": "Hi", "citations": null}, {"type": "text", "text": null},
        {"type": "thinking", "thinking": null, "signature": "s"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1.0}, "caller": null}],
        "stop_reason": "tool_use", "stop_details": {"type": null},
        "usage": {"input_tokens": 3.0, "output_tokens": 5.0, "cache_read_input_tokens": 0.0,
            "cache_creation": {"ephemeral_1h_input_tokens": 0.0}, "output_tokens_details": {"thinking_tokens": 2.0},
            "iterations": [{"type": null, "input_tokens": 1.0}]}}"""
    response = parsed_bytes(body)
    assert (response.id, response.model, response.text) == ("", "asked-for", "Hi")
    assert [call.arguments for call in response.message.tool_calls or ()] == ['{"a": 1.0}']
    assert response.usage == Usage(input_tokens=3, output_tokens=5, reasoning_tokens=2)


# --- back and forth


def test_a_call_made_by_the_providers_sandbox_goes_back_with_its_origin() -> None:
    caller = {"type": "code_execution_20260120", "tool_id": "srv_1"}
    block = {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": caller, "toolset_name": "browser"}
    response = parsed(block)
    [call] = response.tool_calls
    assert call.provider == "mine"
    request = ChatRequest(model="m", messages=[Message(role="user", content="Q"), response.message.to_message()])
    sent = json.loads(CHAT.build(request, TARGET).request.body)
    assert sent["messages"][1]["content"] == [block]


def test_a_direct_call_has_no_state_of_its_own() -> None:
    block = {"type": "tool_use", "id": "t1", "name": "f", "input": {}, "caller": {"type": "direct"}}
    assert parsed(block).tool_calls == [ToolCall(id="t1", name="f", arguments="{}")]


def test_an_answer_given_whole_can_be_streamed() -> None:
    response = parsed(
        {"type": "thinking", "thinking": "hm", "signature": "s"},
        {"type": "text", "text": "One"},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
        {"type": "server_tool_use", "id": "srv", "name": "web_search", "input": {}},
        {"type": "text", "text": "Two"},
        stop_reason="tool_use",
    )
    assert CHAT.operation.streaming is not None
    accumulator = ChatAccumulator(provider="mine")
    for chunk in CHAT.operation.streaming.chunks_of(response):
        accumulator.add(chunk)
    assert accumulator.response() == msgspec.structs.replace(response, raw=b"")


# --- bad answers


@table(
    "body",
    [
        b"",
        b"  ",
        b"<html>Bad gateway</html>",
        b'{"type": "message", "content": [',
        b"[]",
        b"null",
        b'"text"',
        b"{}",
        b'{"type": "message"}',
        b'{"content": "text"}',
        b'{"content": ["text"]}',
        b'{"content": [{"type": "text", "text": 3}]}',
        b'{"content": [{"type": "text", "text": "\xff"}]}',
        b'{"content": [{"type": "tool_use", "input": {}}]}',
        b'{"content": [{"type": "tool_use", "id": "a", "name": "f", "input": {"a": "\xff"}}]}',
        b'{"content": [{"type": "x", "deep": ' + b"[" * 5000 + b"]" * 5000 + b"}]}",
        b'{"content": [], "usage": []}',
        b'{"content": [], "stop_reason": 3}',
    ],
)
def test_what_is_no_message_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedResponseError) as caught:
        parsed_bytes(body)
    assert len(str(caught.value)) < 600


def test_an_error_under_a_good_status_is_reported() -> None:
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}, "request_id": "req_1"}'
    with pytest.raises(ReportedError) as caught:
        parsed_bytes(body)
    assert caught.value.status == 529
    assert caught.value.body.request_id == "req_1"
