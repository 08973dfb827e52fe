"""What golden cases of Bedrock expect, compared with the recorded bytes without any of our code."""

from __future__ import annotations

import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer

from tests.providers.golden_cases import Case, cases

CASES = [case for case in cases() if case.provider.name == "bedrock" and case.operation == "chat"]
ANSWERS = [case for case in CASES if "response" in case.expected]
ENDINGS = {"end_turn": "stop", "tool_use": "tool_calls", "max_tokens": "length"}


def by_id(case: Case) -> str:
    return case.id


def recorded(case: Case) -> tuple[list[dict[str, Any]], str, dict[str, Any]]:
    """Return blocks, stop reason and usage; those of a stream put together from what botocore reads."""
    if not case.is_stream:
        answer = json.loads(case.body)
        return answer["output"]["message"]["content"], answer["stopReason"], answer["usage"]
    events = events_of(case)
    blocks: dict[int, dict[str, Any]] = {}
    for event in (event for kind, event in events if kind.startswith("contentBlock")):
        extend(blocks.setdefault(event["contentBlockIndex"], {}), event)
    stop = next(event["stopReason"] for kind, event in events if kind == "messageStop")
    return list(blocks.values()), stop, next(event["usage"] for kind, event in events if kind == "metadata")


def events_of(case: Case) -> list[tuple[str, dict[str, Any]]]:
    buffer = EventStreamBuffer()
    buffer.add_data(case.body)
    return [(event.headers[":event-type"], json.loads(event.payload)) for event in buffer]


def extend(block: dict[str, Any], event: dict[str, Any]) -> None:
    for kind, piece in (event.get("start") or event.get("delta") or {}).items():
        if kind == "text":
            block["text"] = block.get("text", "") + piece
        elif kind == "toolUse" and "input" in piece:
            block["toolUse"]["input"] = block["toolUse"].get("input", "") + piece["input"]
        elif kind == "reasoningContent" and "redactedContent" not in piece:
            thought = block.setdefault(kind, {"reasoningText": {}})["reasoningText"]
            for name, text in piece.items():
                thought[name] = thought.get(name, "") + text
        elif kind == "toolResult" and isinstance(piece, list):
            block[kind]["content"] = piece
        else:
            block[kind] = piece


def parts_of(case: Case, kind: str) -> list[dict[str, Any]]:
    return [part for part in case.expected["response"]["choices"][0]["message"]["parts"] if part["type"] == kind]


def of_kind(blocks: list[dict[str, Any]], kind: str) -> list[Any]:
    return [block[kind] for block in blocks if block.get(kind)]


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_text_calls_and_reasoning_are_the_recorded_ones(case: Case) -> None:
    blocks, _, _ = recorded(case)
    assert [part["text"] for part in parts_of(case, "text")] == of_kind(blocks, "text")
    uses = of_kind(blocks, "toolUse")
    own = [use for use in uses if use.get("type") == "server_tool_use"]
    called = [use for use in uses if use not in own]
    assert [(part["id"], part["name"]) for part in parts_of(case, "tool_call")] == [
        (use["toolUseId"], use["name"]) for use in called
    ]
    given = [use["input"] for use in called]
    assert [json.loads(part["arguments"]) for part in parts_of(case, "tool_call")] == [
        json.loads(each) if isinstance(each, str) else each for each in given
    ]
    kinds = ["toolUse"] * len(own) + ["toolResult"] * len(of_kind(blocks, "toolResult"))
    assert sorted(part["kind"] for part in parts_of(case, "opaque")) == sorted(kinds)
    thoughts = of_kind(blocks, "reasoningContent")
    assert [thought_of(part) for part in parts_of(case, "reasoning")] == [
        (thought.get("redactedContent"), *map(thought.get("reasoningText", {}).get, ("text", "signature")))
        for thought in thoughts
    ]


def thought_of(part: dict[str, Any]) -> tuple[str | None, str | None, str | None]:
    return part.get("redacted"), part.get("text"), part.get("signature")


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_ending_and_usage_are_the_recorded_ones(case: Case) -> None:
    _, stop, usage = recorded(case)
    response = case.expected["response"]
    assert (response["provider"], response["model"]) == ("bedrock", case.origin["model"])
    assert response["choices"][0]["native_finish_reason"] == stop
    assert response["choices"][0]["finish_reason"] == ENDINGS[stop]
    expected = response["usage"]
    assert expected["input_tokens"] + expected["output_tokens"] == usage["totalTokens"]
    assert expected["output_tokens"] == usage["outputTokens"]
    for name, wire in (("cache_read_tokens", "cacheReadInputTokens"), ("cache_write_tokens", "cacheWriteInputTokens")):
        assert expected.get(name, 0) == usage.get(wire, 0)


def test_there_are_answers_of_each_kind() -> None:
    kinds = {part["type"] for case in ANSWERS for part in case.expected["response"]["choices"][0]["message"]["parts"]}
    assert kinds == {"text", "tool_call", "reasoning", "opaque"}
    assert sum(case.is_stream for case in ANSWERS) >= 9
