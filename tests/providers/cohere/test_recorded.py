"""The recorded answers of Cohere, judged by plain code that shares nothing with the codec."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from bifrost.operations.chat.assemble import ChatAccumulator
from bifrost.providers.cohere import CHAT
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import Case, cases, drive
from tests.providers.spec import problems

OURS = [case for case in cases() if case.provider.name == "cohere"]
CHATS = [case for case in OURS if case.operation == "chat"]
V2 = [case for case in CHATS if "/v2/" in case.origin["url"]]
V1 = [case for case in CHATS if case not in V2]
FINISHED = {
    "COMPLETE": "stop",
    "MAX_TOKENS": "length",
    "TOOL_CALL": "tool_calls",
    "ERROR": "error",
}


def by_id(case: Case) -> str:
    return case.id


def events_of(case: Case) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in case.body.decode().split("\n")]
    return [json.loads(line) for line in lines if line.startswith("{")]


def rebuilt(case: Case) -> dict[str, Any]:
    """Make the plain answer of a v2 stream's events."""
    answer: dict[str, Any] = {"message": {"content": [], "tool_calls": [], "tool_plan": "", "citations": []}}
    message = answer["message"]
    for event in events_of(case):
        delta = event.get("delta", {}).get("message", {})
        match event["type"]:
            case "message-start":
                answer["id"] = event["id"]
            case "content-start":
                message["content"].append(delta["content"])
            case "content-delta":
                for name, piece in delta["content"].items():
                    message["content"][event["index"]][name] += piece
            case "tool-plan-delta":
                message["tool_plan"] += delta["tool_plan"]
            case "tool-call-start":
                message["tool_calls"].append(delta["tool_calls"])
            case "tool-call-delta":
                call = message["tool_calls"][event["index"]]
                call["function"]["arguments"] += delta["tool_calls"]["function"]["arguments"]
            case "citation-start":
                message["citations"].append(delta["citations"])
            case "message-end":
                answer["finish_reason"] = event["delta"]["finish_reason"]
                answer["usage"] = event["delta"].get("usage")
            case kind:
                assert kind.endswith("-end"), kind
    return answer


def answer_of(case: Case) -> dict[str, Any]:
    return rebuilt(case) if case.is_stream else json.loads(case.body)


def test_every_recording_is_here() -> None:
    assert (len(V2), len(V1), len([case for case in OURS if case.operation == "rerank"])) == (26, 4, 3)


@pytest.mark.parametrize("case", V2, ids=by_id)
def test_what_is_expected_is_what_the_answer_says(case: Case) -> None:
    answer, expected = answer_of(case), case.expected["response"]
    (choice,) = expected["choices"]
    message, parts = answer["message"], choice["message"]["parts"]
    content = message.get("content") or []
    assert expected["id"] == answer["id"]
    assert expected["model"] == case.origin["model"]
    assert (choice["native_finish_reason"], choice["finish_reason"]) == (
        answer["finish_reason"],
        FINISHED[answer["finish_reason"]],
    )
    assert [part["text"] for part in parts if part["type"] == "text"] == [
        block["text"] for block in content if block.get("text")
    ]
    assert [part["text"] for part in parts if part["type"] == "reasoning"] == [
        text for text in (message.get("tool_plan"), *(block.get("thinking") for block in content)) if text
    ]
    assert [(part["id"], part["name"], part["arguments"]) for part in parts if part["type"] == "tool_call"] == [
        (call["id"], call["function"]["name"], call["function"]["arguments"])
        for call in message.get("tool_calls") or []
    ]
    assert [cited["native"] for part in parts for cited in part.get("citations", [])] == (
        message.get("citations") or []
    )
    tokens = answer["usage"].get("tokens", {})
    counts = {
        "input_tokens": tokens.get("input_tokens"),
        "output_tokens": tokens.get("output_tokens"),
        "cache_read_tokens": answer["usage"].get("cached_tokens"),
    }
    assert expected.get("usage", {}) == {name: count for name, count in counts.items() if count}


@pytest.mark.parametrize("case", [case for case in V2 if case.is_stream], ids=by_id)
def test_a_stream_gives_the_plain_answer(case: Case) -> None:
    body = json.dumps(rebuilt(case)).encode()
    plain = CHAT.parse(HttpResponse(status=200, headers=Headers.of(), body=body), case.target)
    streamed = drive(case, [case.body]).accumulator.response()
    if plain.finish_reason == "error":  # the reason is in the stream alone
        streamed.message.parts.pop()
    assert streamed == msgspec.structs.replace(plain, raw=b"")


@pytest.mark.parametrize("case", V1, ids=by_id)
def test_an_answer_of_v1_says_what_is_expected(case: Case) -> None:
    answer = events_of(case)[-1]["response"] if case.is_stream else json.loads(case.body)
    expected = case.expected["response"]
    (choice,) = expected["choices"]
    assert [part["text"] for part in choice["message"]["parts"]] == [answer["text"]]
    assert (expected["id"], choice["native_finish_reason"]) == (answer["generation_id"], answer["finish_reason"])
    tokens = answer["meta"]["tokens"]
    assert expected["usage"] == {"input_tokens": tokens["input_tokens"], "output_tokens": tokens["output_tokens"]}


@pytest.mark.parametrize("case", [case for case in OURS if case.has_request], ids=by_id)
def test_requests_are_valid(case: Case) -> None:
    assert problems("cohere", case.http["path"], case.http["body"]) == []
    assert case.provider.base_url + case.http["path"] == case.origin["url"].replace("/v1/embed", "/v2/embed")


@pytest.mark.parametrize("case", CHATS, ids=by_id)
def test_an_answer_can_be_sent_back(case: Case) -> None:
    """The message of an answer goes back with all that Cohere takes: its blocks, calls, plan and citations."""
    if case.is_stream:
        response = drive(case, [case.body]).accumulator.response()
    else:
        response = CHAT.parse(case.answer, case.target)
    grown = ChatAccumulator(provider="cohere", model="m")
    streaming = CHAT.operation.streaming
    assert streaming is not None
    for chunk in streaming.chunks_of(response):
        grown.add(chunk)
    assert grown.response().message == response.message
    asked = {
        "model": "m",
        "messages": [
            {"role": "user", "content": "hi"},
            response.message.to_message(),
            {"role": "user", "content": "go on"},
        ],
    }
    request = msgspec.convert(msgspec.to_builtins(asked), CHAT.operation.request)
    sent = json.loads(CHAT.build(request, case.target).request.body)["messages"][1]
    if case in V1:
        assert sent["content"] == [{"type": "text", "text": response.text}]
        return
    message = answer_of(case)["message"]
    for name in ("content", "tool_plan", "citations"):
        assert sent.get(name, []) == (message.get(name) or [])
    assert sent.get("tool_calls", []) == (message.get("tool_calls") or [])
