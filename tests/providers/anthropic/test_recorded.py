"""The recorded answers, judged by plain code: what is read of them is what they say, and it can be sent back."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import msgspec
import pytest

from bifrost.operations.chat.content import ToolCall
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.chat.response import ChatResponse
from bifrost.providers.anthropic import CHAT
from bifrost.providers.base import Target
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases, drive
from tests.table import table

OURS = [case for case in cases() if case.provider.name == "anthropic" and case.operation == "chat"]
STREAMS = [case for case in OURS if case.is_stream]
ANSWERS = [case for case in OURS if case.answer.status == 200]
REFUSED = [case for case in OURS if case.answer.status != 200]

FINISH_REASONS = {"end_turn": "stop", "tool_use": "tool_calls"}


def by_id(case: Case) -> str:
    return case.id


def message_of(case: Case) -> dict[str, Any]:
    """Give the message as a plain answer would have had it."""
    return rebuilt(case.body) if case.is_stream else json.loads(case.body)


def rebuilt(sse: bytes) -> dict[str, Any]:
    """Make the plain message of a stream's events."""
    message: dict[str, Any] = {}
    inputs: dict[int, str] = {}
    for line in sse.decode().split("\n"):
        if not line.startswith("data:"):
            continue
        event = json.loads(line.removeprefix("data:"))
        match event["type"]:
            case "message_start":
                message = event["message"]
            case "content_block_start":
                assert event["index"] == len(message["content"])
                message["content"].append(event["content_block"])
            case "content_block_delta":
                block, delta = message["content"][event["index"]], event["delta"]
                match delta["type"]:
                    case "text_delta":
                        block["text"] += delta["text"]
                    case "thinking_delta":
                        block["thinking"] += delta["thinking"]
                    case "signature_delta":
                        block["signature"] += delta["signature"]
                    case "citations_delta":
                        block["citations"] = [*(block.get("citations") or []), delta["citation"]]
                    case "input_json_delta":
                        inputs[event["index"]] = inputs.get(event["index"], "") + delta["partial_json"]
                    case kind:
                        raise AssertionError(kind)
            case "message_delta":
                message |= event["delta"]
                message["usage"] |= event["usage"]
            case "content_block_stop" | "message_stop" | "ping":
                pass
            case kind:
                raise AssertionError(kind)
    for index, text in inputs.items():
        message["content"][index]["input"] = json.loads(text or "{}")
    return message


def parsed(message: dict[str, Any], case: Case) -> ChatResponse:
    body = json.dumps(message).encode()
    response = CHAT.parse(HttpResponse(status=200, headers=Headers(), body=body), case.target)
    return msgspec.structs.replace(response, raw=b"")


def read(case: Case) -> ChatResponse:
    if case.is_stream:
        return drive(case, [case.body]).accumulator.response()
    return msgspec.structs.replace(CHAT.parse(case.answer, case.target), raw=b"")


def written_alike(response: ChatResponse) -> Any:
    """Give the response with its calls' arguments written in one way, to compare what they say."""
    plain = json.loads(msgspec.json.encode(response))
    for part in plain["choices"][0]["message"]["parts"]:
        if part["type"] == "tool_call":
            part["arguments"] = json.loads(part["arguments"])
    return plain


def test_every_recording_is_here() -> None:
    assert (len(STREAMS), len(ANSWERS), len(REFUSED)) == (13, 35, 1)


@table("case", STREAMS, ids=by_id)
def test_a_stream_gives_the_plain_answer(case: Case) -> None:
    assert written_alike(read(case)) == written_alike(parsed(rebuilt(case.body), case))


@table("case", STREAMS, ids=by_id)
def test_a_stream_gives_the_message_that_the_sdk_makes_of_it(case: Case) -> None:
    def answer(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=case.body)

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = anthropic.Anthropic(api_key="sk-none", http_client=http, max_retries=0)
        with client.beta.messages.stream(
            model="claude-haiku-4-5", max_tokens=1, messages=[{"role": "user", "content": "Hello"}]
        ) as stream:
            message = json.loads(stream.get_final_message().to_json())
    assert written_alike(read(case)) == written_alike(parsed(message, case))


@table("case", ANSWERS, ids=by_id)
def test_what_is_expected_is_what_the_message_says(case: Case) -> None:
    message = message_of(case)
    response = case.expected["response"]
    [choice] = response["choices"]
    parts = choice["message"]["parts"]
    blocks = [block for block in message["content"] if block["type"] != "text" or block["text"]]
    assert (response["id"], response["model"]) == (message["id"], message["model"])
    assert choice["native_finish_reason"] == message["stop_reason"]
    assert choice["finish_reason"] == FINISH_REASONS[message["stop_reason"]]
    assert len(parts) == len(blocks)
    for part, block in zip(parts, blocks, strict=True):
        match block["type"]:
            case "text":
                assert (part["type"], part["text"]) == ("text", block["text"])
                assert [cited["native"] for cited in part.get("citations", [])] == (block.get("citations") or [])
            case "thinking":
                assert (part.get("text", ""), part["signature"]) == (block["thinking"], block["signature"])
            case "redacted_thinking":
                assert part["redacted"] == block["data"]
            case "tool_use":
                assert (part["id"], part["name"], json.loads(part["arguments"])) == (
                    block["id"],
                    block["name"],
                    block["input"],
                )
            case kind:
                assert (part["type"], part["kind"], part["data"]) == ("opaque", kind, block)


@table("case", ANSWERS, ids=by_id)
def test_the_usage_expected_is_the_usage_told(case: Case) -> None:
    told = message_of(case)["usage"]
    usage = case.expected["response"]["usage"]
    cached = told["cache_read_input_tokens"] + told["cache_creation_input_tokens"]
    assert usage["input_tokens"] == told["input_tokens"] + cached
    assert usage["output_tokens"] == told["output_tokens"]
    assert usage.get("cache_read_tokens", 0) == told["cache_read_input_tokens"]
    assert usage.get("cache_write_tokens", 0) == told["cache_creation_input_tokens"]
    assert usage.get("cache_write_1h_tokens", 0) == told["cache_creation"]["ephemeral_1h_input_tokens"]
    assert usage.get("reasoning_tokens", 0) == told.get("output_tokens_details", {}).get("thinking_tokens", 0)
    assert usage.get("server_tool_calls", 0) == sum(told.get("server_tool_use", {}).values())
    assert case.expected["response"]["service_tier"] == told["service_tier"]


@table("case", ANSWERS, ids=by_id)
def test_an_answer_goes_back_as_it_came(case: Case) -> None:
    history = [Message(role="user", content="Q"), read(case).message.to_message()]
    built = CHAT.build(ChatRequest(model="m", messages=history), Target(provider="anthropic", model="m"))
    assert built.warnings == []
    assert json.loads(built.request.body)["messages"][1]["content"] == [
        sendable(block) for block in message_of(case)["content"] if block["type"] != "text" or block["text"].strip()
    ]


def sendable(block: dict[str, Any]) -> dict[str, Any]:
    """Give a block without what goes without saying: no citations, and a call that the model made itself."""
    unsaid: dict[str, tuple[Any, ...]] = {"citations": (None, []), "caller": ({"type": "direct"},)}
    return {name: value for name, value in block.items() if value not in unsaid.get(name, ())}


@table("case", ANSWERS, ids=by_id)
def test_a_tools_arguments_are_the_recorded_bytes(case: Case) -> None:
    for part in read(case).message.parts:
        if isinstance(part, ToolCall) and not case.is_stream:
            assert f'"input":{part.arguments}'.encode() in case.body


@pytest.mark.parametrize("case", REFUSED, ids=by_id)
def test_a_refused_request(case: Case) -> None:
    told = json.loads(case.body)
    assert case.expected == {
        "error": {
            "message": told["error"]["message"],
            "type": told["error"]["type"],
            "code": told["error"]["type"],
            "param": None,
            "request_id": told["request_id"],
            "retry_after": None,
        }
    }
