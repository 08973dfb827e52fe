"""The recorded answers, judged by plain code: what is read of them is what they say."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.providers.golden_cases import Case, cases

OURS = [case for case in cases() if case.provider.name in {"gemini", "vertex"} and case.operation == "chat"]
ANSWERS = [case for case in OURS if "response" in case.expected and "candidates" in case.body.decode()]
EMBEDDINGS = [
    case
    for case in cases()
    if case.provider.name in {"gemini", "vertex"} and case.operation == "embeddings" and case.answer.status == 200
]


def by_id(case: Case) -> str:
    return case.id


def events_of(case: Case) -> list[dict[str, Any]]:
    if not case.is_stream:
        return [json.loads(case.body)]
    lines = case.body.decode().replace("\r\n", "\n").split("\n")
    return [json.loads(line.removeprefix("data:")) for line in lines if line.startswith("data:")]


def parts_of(case: Case) -> list[dict[str, Any]]:
    return [part for event in events_of(case) for part in event["candidates"][0].get("content", {}).get("parts", [])]


def read(case: Case, kind: str) -> list[dict[str, Any]]:
    parts = case.expected["response"]["choices"][0]["message"].get("parts", [])
    return [part for part in parts if part["type"] == kind]


def test_every_recording_is_here() -> None:
    gemini = [case for case in OURS if case.provider.name == "gemini"]
    assert (len(gemini), len([case for case in gemini if case.is_stream])) == (32, 13)
    assert len(OURS) - len(gemini) == 10


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_texts_and_thoughts_are_the_recorded_ones(case: Case) -> None:
    parts = parts_of(case)
    texts = "".join(part["text"] for part in parts if "text" in part and not part.get("thought"))
    thoughts = "".join(part["text"] for part in parts if part.get("thought"))
    assert "".join(part["text"] for part in read(case, "text")) == texts
    assert "".join(part.get("text", "") for part in read(case, "reasoning")) == thoughts


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_every_signature_is_kept_once(case: Case) -> None:
    recorded = [part["thoughtSignature"] for part in parts_of(case) if "thoughtSignature" in part]
    parts = case.expected["response"]["choices"][0]["message"].get("parts", [])
    found = [part.get("signature") or part.get("data", {}).get("thoughtSignature") for part in parts]
    assert [signature for signature in found if signature] == recorded


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_calls_are_the_recorded_ones(case: Case) -> None:
    recorded: list[tuple[str, dict[str, Any]]] = []
    for part in parts_of(case):
        call = part.get("functionCall")
        if call is None:
            continue
        if "name" in call:
            recorded.append((call["name"], dict(call.get("args", {}))))
        for piece in call.get("partialArgs", []):
            name, arguments = piece["jsonPath"].removeprefix("$."), recorded[-1][1]
            arguments[name] = arguments.get(name, "") + piece["stringValue"]
    calls = read(case, "tool_call")
    assert [(call["name"], json.loads(call["arguments"])) for call in calls] == recorded


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_usage_and_ending_are_the_recorded_ones(case: Case) -> None:
    events = events_of(case)
    response = case.expected["response"]
    wire = next(event["usageMetadata"] for event in reversed(events) if "usageMetadata" in event)
    usage = response["usage"]
    assert usage.get("input_tokens", 0) + usage.get("output_tokens", 0) == wire["totalTokenCount"]
    assert usage.get("reasoning_tokens", 0) == wire.get("thoughtsTokenCount", 0)
    assert usage.get("cache_read_tokens", 0) == wire.get("cachedContentTokenCount", 0)
    (reason,) = [event["candidates"][0]["finishReason"] for event in events if "finishReason" in event["candidates"][0]]
    choice = response["choices"][0]
    assert choice["native_finish_reason"] == reason
    stop = "tool_calls" if read(case, "tool_call") else "stop"
    assert choice["finish_reason"] == {"STOP": stop, "MAX_TOKENS": "length", "SAFETY": "content_filter"}[reason]
    assert (response["id"], response["model"]) == (events[0]["responseId"], events[0]["modelVersion"])


@pytest.mark.parametrize("case", [case for case in ANSWERS if b"groundingSupports" in case.body], ids=by_id)
def test_citations_are_the_places_of_the_text(case: Case) -> None:
    supports = [
        support
        for event in events_of(case)
        for support in event["candidates"][0].get("groundingMetadata", {}).get("groundingSupports", [])
    ]
    cited = [each for part in read(case, "text") for each in part.get("citations", [])]
    text = "".join(part["text"] for part in read(case, "text"))
    assert len(cited) == sum(len(support["groundingChunkIndices"]) for support in supports)
    data = text.encode()
    segments = [support["segment"] for support in supports]
    # In one answer, Google's own offsets are a few bytes too small after the first four.
    right = {
        each["text"] for each in segments if data[each.get("startIndex", 0) : each["endIndex"]] == each["text"].encode()
    }
    assert len(right) >= 4 or len(right) == len({each["text"] for each in segments})
    assert all(text[each.get("start", 0) : each["end"]] == each["text"] for each in cited if each["text"] in right)


@pytest.mark.parametrize("case", EMBEDDINGS, ids=by_id)
def test_vectors_are_the_recorded_ones(case: Case) -> None:
    recorded = json.loads(case.body)
    vectors = recorded.get("embeddings") or [recorded["embedding"]]
    assert [each["embedding"] for each in case.expected["response"]["data"]] == [each["values"] for each in vectors]
