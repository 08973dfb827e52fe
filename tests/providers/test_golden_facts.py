"""What golden cases in OpenAI's dialect expect, compared with the recorded bytes without any of our code."""

from __future__ import annotations

import json
import struct
from base64 import b64decode
from collections import defaultdict
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import pytest
from openai.types.chat import ChatCompletion

from bifrost.providers import openai
from tests.providers.golden_cases import GOLDEN, Case, cases
from tests.table import table

CASES = [case for case in cases() if case.provider.parse_error is openai.parse_error]
CHATS = [case for case in CASES if case.operation == "chat"]
EMBEDDINGS = [case for case in CASES if case.operation == "embeddings"]
ANSWERS = [case for case in CHATS if "response" in case.expected and "reported" not in case.expected]
REPORTED = [case for case in CHATS if "reported" in case.expected]
FINISHED = {"function_call": "tool_calls", "eos": "stop"}
DETAILS = "reasoning_details"


def by_id(case: Case) -> str:
    return case.id


def is_openais_own(case: Case) -> bool:
    return not case.is_stream and case.provider.name in {"openai", "azure"}


@cache
def recorded(case: Case) -> dict[str, Any]:
    """The recorded answer; a stream's pieces put together, as a reader of the vendor's reference would."""
    if not case.is_stream:
        return json.loads(case.body)
    whole: dict[str, Any] = {}
    choices: dict[int, dict[str, Any]] = defaultdict(dict)
    for event in events_of(case):
        first = {name: whole[name] for name in ("id", "created", "model") if whole.get(name)}
        whole |= {name: value for name, value in event.items() if value is not None} | first
        whole["usage"] = event.get("usage") or (event.get("x_groq") or {}).get("usage") or whole.get("usage")
        for choice in event["choices"]:
            extend(choices[choice["index"]], choice)
    whole["choices"] = [{"index": index, **choice} for index, choice in sorted(choices.items())]
    return whole


def events_of(case: Case) -> list[dict[str, Any]]:
    lines = [line.removeprefix("data: ") for line in case.body.decode().split("\n") if line.startswith("data: {")]
    return [event for event in map(json.loads, lines) if "error" not in event]


def extend(grown: dict[str, Any], choice: dict[str, Any]) -> None:
    message = grown.setdefault("message", {"content": None, "reasoning": None, "tool_calls": [], DETAILS: []})
    delta = choice["delta"]
    for name, piece in (("content", text_in(delta)), ("reasoning", thought_in(delta))):
        if piece:
            message[name] = (message[name] or "") + piece
    for piece in delta.get("tool_calls") or []:
        calls = message["tool_calls"]
        if piece.get("index", 0) == len(calls):
            calls.append({"id": piece["id"], "function": {"name": piece["function"]["name"], "arguments": ""}})
        calls[piece.get("index", 0)]["function"]["arguments"] += piece["function"].get("arguments", "")
    message[DETAILS] += delta.get(DETAILS) or []
    message["annotations"] = [*message.get("annotations", []), *(delta.get("annotations") or [])]
    for name in ("finish_reason", "native_finish_reason"):
        grown[name] = choice.get(name) or grown.get(name)


def text_in(message: dict[str, Any]) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return "".join(part["text"] for part in content if part["type"] == "text")
    return content or ""


def thought_in(message: dict[str, Any]) -> str:
    content = message.get("content")
    pieces = [part["thinking"] for part in content if part["type"] == "thinking"] if isinstance(content, list) else []
    inside = "".join(thought["text"] for piece in pieces for thought in piece)
    return message.get("reasoning_content") or message.get("reasoning") or inside


def with_any(*words: str) -> list[Case]:
    """The answers in which one of the words stands, as recorded or as expected: in the others there is nothing."""
    return [
        case
        for case in ANSWERS
        if any(word.encode() in case.body or word in json.dumps(case.expected) for word in words)
    ]


def parts_of(case: Case, place: int, kind: str) -> list[dict[str, Any]]:
    parts = case.expected["response"]["choices"][place]["message"].get("parts", [])
    return [part for part in parts if part["type"] == kind]


def test_every_folder_is_a_case() -> None:
    assert sorted(case.folder for case in cases()) == sorted(path.parent for path in GOLDEN.rglob("origin.json"))


@table("case", ANSWERS, ids=by_id)
def test_head_is_the_recorded_one(case: Case) -> None:
    answer, expected = recorded(case), case.expected["response"]
    assert expected["provider"] == case.provider.name
    assert expected["id"] == answer["id"]
    assert expected["model"] == answer["model"]
    assert expected["created"] == answer["created"]
    assert expected.get("service_tier") == answer.get("service_tier")
    assert expected.get("system_fingerprint") == (answer.get("system_fingerprint") or None)
    assert len(expected["choices"]) == len(answer["choices"])


@table("case", ANSWERS, ids=by_id)
def test_words_and_endings_are_the_recorded_ones(case: Case) -> None:
    for place, choice in enumerate(recorded(case)["choices"]):
        expected = case.expected["response"]["choices"][place]
        assert "".join(part["text"] for part in parts_of(case, place, "text")) == text_in(choice["message"])
        assert expected.get("index", 0) == choice["index"]
        assert expected["native_finish_reason"] == (choice.get("native_finish_reason") or choice["finish_reason"])
        assert expected["finish_reason"] == FINISHED.get(choice["finish_reason"], choice["finish_reason"])


@table("case", with_any("reasoning", "thinking"), ids=by_id)
def test_thoughts_are_the_recorded_ones(case: Case) -> None:
    for place, choice in enumerate(recorded(case)["choices"]):
        thought, details = thought_in(choice["message"]), choice["message"].get(DETAILS)
        thoughts = parts_of(case, place, "reasoning")
        assert "".join(part.get("text", "") for part in thoughts) == thought
        assert [part["provider"] for part in thoughts] == [case.provider.name] * bool(thought or details)
        kept = json.loads(thoughts[0]["signature"]) if details else []
        if case.is_stream:
            assert "".join(piece.get("text", "") for piece in kept) == "".join(
                piece.get("text", "") for piece in details or []
            )
            assert [piece["signature"] for piece in kept if piece.get("signature")] == [
                piece["signature"] for piece in details or [] if piece.get("signature")
            ]
        else:
            assert kept == (details or [])


@table("case", with_any("tool_call", "function_call"), ids=by_id)
def test_tool_calls_are_the_recorded_ones(case: Case) -> None:
    for place, choice in enumerate(recorded(case)["choices"]):
        message = choice["message"]
        calls = [(c["id"], c["function"]["name"], c["function"]["arguments"]) for c in message.get("tool_calls") or []]
        if message.get("function_call"):
            calls = [("made up", message["function_call"]["name"], message["function_call"]["arguments"])]
        found = [(p["id"], p["name"], p.get("arguments", "")) for p in parts_of(case, place, "tool_call")]
        assert found == calls


@table("case", with_any("citation"), ids=by_id)
def test_sources_are_the_recorded_ones(case: Case) -> None:
    answer = recorded(case)
    for place, choice in enumerate(answer["choices"]):
        notes = [note for note in choice["message"].get("annotations") or [] if note["type"] == "url_citation"]
        urls = [note["url_citation"]["url"] for note in notes] or answer.get("citations") or []
        cited = [cited for part in parts_of(case, place, "text") for cited in part.get("citations", [])]
        assert [source["url"] for source in cited] == urls
        assert [source.get("title") for source in cited] == (
            [note["url_citation"].get("title") for note in notes] or [None] * len(urls)
        )


@table("case", ANSWERS, ids=by_id)
def test_usage_is_the_recorded_one(case: Case) -> None:
    used, expected = recorded(case).get("usage"), case.expected["response"].get("usage")
    if used is None:
        assert expected is None
        return
    given, made = used.get("prompt_tokens_details") or {}, used.get("completion_tokens_details") or {}
    output = used["completion_tokens"]
    if case.provider.name == "xai":
        output += made["reasoning_tokens"]
    counts = {
        "input_tokens": used["prompt_tokens"],
        "output_tokens": output,
        "cache_read_tokens": given.get("cached_tokens", used.get("cached_tokens", 0)),
        "cache_write_tokens": given.get("cache_write_tokens", 0),
        "input_audio_tokens": given.get("audio_tokens", 0),
        "reasoning_tokens": made.get("reasoning_tokens", 0),
        "output_audio_tokens": made.get("audio_tokens", 0),
        "accepted_prediction_tokens": made.get("accepted_prediction_tokens", 0),
        "rejected_prediction_tokens": made.get("rejected_prediction_tokens", 0),
        "server_tool_calls": used.get("server_tool_use_details", {}).get("web_search_requests", 0),
    }
    assert expected == {name: count for name, count in counts.items() if count}
    assert used["total_tokens"] == expected["input_tokens"] + expected["output_tokens"]


@table("case", [case for case in CASES if case.answer.status != 200], ids=by_id)
def test_errors_are_the_recorded_ones(case: Case) -> None:
    body = json.loads(case.body)
    error = body["error"] if "error" in body else {"message": body["detail"]}
    facts = {name: value for name, value in case.expected["error"].items() if value is not None}
    facts.pop("request_id", None)
    told = {name: str(error[name]) for name in ("type", "code", "param") if error.get(name) is not None}
    assert facts.pop("message").startswith(error["message"])
    assert facts == told


@pytest.mark.parametrize("case", REPORTED, ids=by_id)
def test_errors_in_a_stream_are_the_recorded_ones(case: Case) -> None:
    (line,) = [line for line in case.body.decode().split("\n") if line.startswith("data: {") and '"error":{' in line]
    error = json.loads(line.removeprefix("data: "))["error"]
    reported = case.expected["reported"]
    assert (reported["message"], reported["code"]) == (error["message"], str(error["code"]))
    assert reported["type"] == error.get("type")


@table("case", [case for case in EMBEDDINGS if case.answer.status == 200], ids=by_id)
def test_vectors_are_the_recorded_ones(case: Case) -> None:
    answer, expected = json.loads(case.body), case.expected["response"]
    assert expected["model"] == answer["model"]
    assert expected["usage"] == {"input_tokens": answer["usage"].get("prompt_tokens", answer["usage"]["total_tokens"])}
    for item, vector in zip(answer["data"], expected["data"], strict=True):
        assert vector["index"] == item["index"]
        assert vector["embedding"] == floats_of(item["embedding"])
    if "dimensions" in case.http["body"]:
        assert len(expected["data"][0]["embedding"]) == case.http["body"]["dimensions"]


def floats_of(embedding: str | list[float]) -> list[float]:
    if isinstance(embedding, list):
        return embedding
    raw = b64decode(embedding)
    return list(struct.unpack(f"<{len(raw) // 4}f", raw))


@table("case", [case for case in CASES if case.has_request], ids=by_id)
def test_address_is_the_recorded_one(case: Case) -> None:
    url = urlsplit(case.origin["url"])
    base = case.provider.base_url
    match case.provider.name:
        case "azure":  # the address is that of a resource, and a setting
            base = f"https://{url.netloc}"
        case "huggingface":  # the recorder had chosen the host behind the router
            base = f"{base.removesuffix('/v1')}/{url.path.split('/')[1]}/v1"
        case _:
            pass
    assert base + case.http["path"] == case.origin["url"]


@table("case", [case for case in ANSWERS if is_openais_own(case)], ids=by_id)
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
