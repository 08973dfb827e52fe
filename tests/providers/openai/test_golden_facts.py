"""The expectations of OpenAI's golden cases, compared with the recorded bytes without any of our code."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections import defaultdict
from typing import Any

import pytest
from openai.types.chat import ChatCompletion

from tests.providers.golden_cases import Case, cases

CHATS = [case for case in cases() if case.id.startswith("openai/chat/")]
EMBEDDINGS = [case for case in cases() if case.id.startswith("openai/embeddings/")]
ANSWERS = [case for case in CHATS if case.answer.status == 200]
FINISHED = {"function_call": "tool_calls"}


def by_id(case: Case) -> str:
    return case.id


def recorded(case: Case) -> dict[str, Any]:
    """The recorded answer; a stream's pieces put together, as a reader of OpenAI's reference would."""
    if not case.is_stream:
        return json.loads(case.body)
    whole: dict[str, Any] = {}
    messages: dict[int, dict[str, Any]] = defaultdict(dict)
    for line in case.body.decode().split("\n"):
        if not line.startswith("data: {"):
            continue
        event = json.loads(line.removeprefix("data: "))
        whole |= {name: value for name, value in event.items() if value is not None}
        for choice in event["choices"]:
            extend(messages[choice["index"]], choice)
    whole["choices"] = [{"index": index, **choice} for index, choice in sorted(messages.items())]
    return whole


def extend(grown: dict[str, Any], choice: dict[str, Any]) -> None:
    message = grown.setdefault("message", {"content": None, "tool_calls": []})
    delta = choice["delta"]
    if delta.get("content"):
        message["content"] = (message["content"] or "") + delta["content"]
    for piece in delta.get("tool_calls") or []:
        calls = message["tool_calls"]
        if piece["index"] == len(calls):
            calls.append({"id": piece["id"], "function": {"name": piece["function"]["name"], "arguments": ""}})
        calls[piece["index"]]["function"]["arguments"] += piece["function"].get("arguments", "")
    grown["finish_reason"] = choice["finish_reason"] or grown.get("finish_reason")


def test_every_case_is_here() -> None:
    assert (len(CHATS), len(EMBEDDINGS)) == (32, 4)


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_head_is_the_recorded_one(case: Case) -> None:
    answer, expected = recorded(case), case.expected["response"]
    assert expected["id"] == answer["id"]
    assert expected["model"] == answer["model"]
    assert expected["created"] == answer["created"]
    assert expected.get("service_tier") == answer.get("service_tier")
    assert expected.get("system_fingerprint") == (answer.get("system_fingerprint") or None)
    assert len(expected["choices"]) == len(answer["choices"])


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_words_and_endings_are_the_recorded_ones(case: Case) -> None:
    for place, choice in enumerate(recorded(case)["choices"]):
        expected = case.expected["response"]["choices"][place]
        parts = expected["message"]["parts"]
        text = "".join(part["text"] for part in parts if part["type"] == "text")
        assert text == (choice["message"]["content"] or "")
        assert expected.get("index", 0) == choice["index"]
        assert expected["native_finish_reason"] == choice["finish_reason"]
        assert expected["finish_reason"] == FINISHED.get(choice["finish_reason"], choice["finish_reason"])


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_tool_calls_are_the_recorded_ones(case: Case) -> None:
    for place, choice in enumerate(recorded(case)["choices"]):
        message = choice["message"]
        calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or []]
        if "function_call" in message:
            calls = [("call_0", message["function_call"]["name"], message["function_call"]["arguments"])]
        parts = case.expected["response"]["choices"][place]["message"]["parts"]
        found = [(p["id"], p["name"], p.get("arguments", "")) for p in parts if p["type"] == "tool_call"]
        assert found == calls


@pytest.mark.parametrize("case", ANSWERS, ids=by_id)
def test_usage_is_the_recorded_one(case: Case) -> None:
    used, expected = recorded(case).get("usage"), case.expected["response"].get("usage")
    if used is None:
        assert expected is None
        return
    given, made = used.get("prompt_tokens_details", {}), used.get("completion_tokens_details", {})
    counts = {
        "input_tokens": used["prompt_tokens"],
        "output_tokens": used["completion_tokens"],
        "cache_read_tokens": given.get("cached_tokens", 0),
        "input_audio_tokens": given.get("audio_tokens", 0),
        "reasoning_tokens": made.get("reasoning_tokens", 0),
        "output_audio_tokens": made.get("audio_tokens", 0),
        "accepted_prediction_tokens": made.get("accepted_prediction_tokens", 0),
        "rejected_prediction_tokens": made.get("rejected_prediction_tokens", 0),
    }
    assert expected == {name: count for name, count in counts.items() if count}
    assert used["total_tokens"] == expected["input_tokens"] + expected["output_tokens"]


@pytest.mark.parametrize("case", [case for case in (*CHATS, *EMBEDDINGS) if case.answer.status != 200], ids=by_id)
def test_errors_are_the_recorded_ones(case: Case) -> None:
    error = json.loads(case.body)["error"]
    facts = {name: value for name, value in case.expected["error"].items() if value is not None}
    assert facts == {name: value for name, value in error.items() if value is not None}


@pytest.mark.parametrize("case", [case for case in EMBEDDINGS if case.answer.status == 200], ids=by_id)
def test_vectors_are_the_recorded_ones(case: Case) -> None:
    answer, expected = json.loads(case.body), case.expected["response"]
    assert expected["model"] == answer["model"]
    assert expected["usage"] == {"input_tokens": answer["usage"]["prompt_tokens"]}
    for item, vector in zip(answer["data"], expected["data"], strict=True):
        raw = b64decode(item["embedding"])
        assert vector["index"] == item["index"]
        assert vector["embedding"] == list(struct.unpack(f"<{len(raw) // 4}f", raw))
    if "dimensions" in case.http["body"]:
        assert len(expected["data"][0]["embedding"]) == case.http["body"]["dimensions"]


@pytest.mark.parametrize("case", [case for case in ANSWERS if not case.is_stream], ids=by_id)
def test_the_vendors_own_types_read_our_form_of_the_answer(case: Case) -> None:
    theirs = ChatCompletion.model_validate_json(case.body)
    form = case.codec.parse(case.answer, case.target).to_dict()
    ours = ChatCompletion.model_validate(form)
    assert (ours.id, ours.created, ours.model) == (theirs.id, theirs.created, theirs.model)
    assert ours.usage is not None
    assert theirs.usage is not None
    assert ours.usage.total_tokens == theirs.usage.total_tokens
    for our_choice, their_choice in zip(ours.choices, theirs.choices, strict=True):
        assert our_choice.message.content == their_choice.message.content
        if their_choice.message.function_call is None:
            assert our_choice.finish_reason == their_choice.finish_reason
            assert our_choice.message.tool_calls == their_choice.message.tool_calls
