"""Anthropic's token counting, compared with what the vendor's SDK sends and reads."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pytest
from anthropic.types.beta import BetaMessageTokensCount

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.options import ChatOptions
from bifrost.operations.token_count import token_count_request
from bifrost.providers.anthropic.token_count import build_count, parse_count
from bifrost.providers.base import ReportedError, Target
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import cases

MODEL = "claude-sonnet-4-5"
TARGET = Target(provider="anthropic", model=MODEL)
RECORDED = [case for case in cases() if case.operation == "count_tokens" and case.provider.name == "anthropic"]
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
HI = [{"role": "user", "content": "hi"}]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


def built(prompt: Any, **options: Any) -> tuple[dict[str, Any], dict[str, str], list[str]]:
    request = token_count_request(MODEL, prompt, system=None, options=ChatOptions(**options))
    made = build_count(request, TARGET)
    assert (made.request.method, made.request.path) == ("POST", "/v1/messages/count_tokens")
    return json.loads(bytes(made.request.body)), dict(made.request.headers.items()), made.warnings


def sent_by_the_sdk(**given: Any) -> tuple[dict[str, Any], str | None]:
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={"input_tokens": 1})

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        anthropic.Anthropic(api_key="a", http_client=http).beta.messages.count_tokens(model=MODEL, **given)
    assert sent[0].url.path == "/v1/messages/count_tokens"
    return json.loads(sent[0].content), sent[0].headers.get("anthropic-beta")


MEANINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a text": ({"prompt": "hi"}, {"messages": HI}),
    "a system message": (
        {"prompt": [{"role": "system", "content": "s"}, *HI]},
        {"messages": HI, "system": "s"},
    ),
    "tools": (
        {
            "prompt": "hi",
            "tools": [{"type": "function", "function": {"name": "w", "parameters": SCHEMA}}],
            "tool_choice": "required",
        },
        {"messages": HI, "tools": [{"name": "w", "input_schema": SCHEMA}], "tool_choice": {"type": "any"}},
    ),
    "a budget": (
        {"prompt": "hi", "reasoning": {"max_tokens": 2000}},
        {"messages": HI, "thinking": {"type": "enabled", "budget_tokens": 2000}},
    ),
    "a schema": (
        {"prompt": "hi", "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA}}},
        {"messages": HI, "output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    "options that change no number": (
        {"prompt": "hi", "temperature": 1.5, "top_k": 5, "max_tokens": 5, "stop": "a", "user": "u"},
        {"messages": HI},
    ),
    "what only Anthropic has": (
        {"prompt": "hi", "extra": {"anthropic": {"cache_control": {"type": "ephemeral"}}}},
        {"messages": HI, "cache_control": {"type": "ephemeral"}},
    ),
}


def test_the_sdk_sends_the_same() -> None:
    for name, (ours, theirs) in MEANINGS.items():
        body, _, warnings = built(**ours)
        assert body == sent_by_the_sdk(**theirs)[0], name
        assert warnings == [], name


def test_betas_are_a_header_as_in_a_chat() -> None:
    _, headers, _ = built("hi", extra={"anthropic": {"betas": ["a-1"]}})
    theirs = sent_by_the_sdk(messages=HI, betas=["a-1"])[1]
    assert theirs is not None
    assert headers["anthropic-beta"] in theirs.split(",")


@pytest.mark.parametrize("case", RECORDED, ids=lambda case: case.id)
def test_the_sdk_reads_a_recorded_answer_in_the_same_way(case: Any) -> None:
    ours = parse_count(case.answer, case.target)
    assert ours.input_tokens == BetaMessageTokensCount.model_validate_json(case.body).input_tokens


def test_numbers_in_other_forms_are_read() -> None:
    for body in ({"input_tokens": 3.0}, {"input_tokens": 3, "type": None, "context_management": None}):
        assert parse_count(answer(body), TARGET).input_tokens == 3


def test_an_answer_without_a_number_is_refused() -> None:
    for body in ({}, {"input_tokens": None}, {"input_tokens": "many"}, [], b"no json"):
        with pytest.raises(MalformedResponseError):
            parse_count(answer(body), TARGET)
    error = {"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}
    with pytest.raises(ReportedError, match="busy"):
        parse_count(answer(error), TARGET)
