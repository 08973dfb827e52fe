"""Anthropic's own SDK as the judge: what it would send for the same meaning, and what its types allow."""

from __future__ import annotations

import json
from typing import Any

import anthropic
import httpx2
import pydantic
import pytest
from anthropic.types.beta.message_create_params import MessageCreateParamsNonStreaming

from bifrost.errors import UnsupportedError
from bifrost.providers.anthropic import ANTHROPIC, CHAT, DEFAULT_MAX_TOKENS
from bifrost.providers.base import Target
from bifrost.schema.chat import (
    AudioOutput,
    ChatRequest,
    Prediction,
    Reasoning,
    ResponseFormat,
    StreamOptions,
    UserLocation,
    WebSearch,
)
from bifrost.schema.content import (
    CacheMark,
    Citation,
    FilePart,
    ImagePart,
    OpaquePart,
    ReasoningPart,
    TextPart,
    ToolCall,
)
from bifrost.schema.messages import Message
from bifrost.schema.tools import ProviderTool, Tool, ToolChoice

MODEL = "claude-haiku-4-5"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
TOOL = Tool(name="weather", description="The weather", parameters=SCHEMA)
WIRE_TOOL = {"name": "weather", "description": "The weather", "input_schema": SCHEMA}
HELLO = [Message(role="user", content="Hello")]
WIRE_HELLO = [{"role": "user", "content": "Hello"}]

CITED = {
    "type": "char_location",
    "cited_text": "c",
    "document_index": 0,
    "document_title": None,
    "start_char_index": 0,
    "end_char_index": 1,
}
SEARCHED = {"type": "server_tool_use", "id": "srvtoolu_1", "name": "web_search", "input": {"query": "x"}}
CONVERSATION = [
    Message(role="system", content=[TextPart(text="Be brief.", cache=CacheMark(ttl="1h"))]),
    Message(
        role="user",
        content=[
            TextPart(text="Look", cache=CacheMark()),
            ImagePart(url="https://a.example/b.png"),
            ImagePart(data="aGk=", media_type="image/png"),
            ImagePart(file_id="file_1"),
            FilePart(url="https://a.example/b.pdf", filename="B", context="C", citations=True),
            FilePart(data="aGk=", media_type="application/pdf"),
            FilePart(text="notes"),
            FilePart(file_id="file_2"),
        ],
    ),
    Message(
        role="assistant",
        content=[
            ReasoningPart(text="hm", signature="s", provider="anthropic"),
            ReasoningPart(redacted="xyz", provider="anthropic"),
            TextPart(text="So", citations=[Citation(provider="anthropic", native=CITED)]),
            OpaquePart(provider="anthropic", kind="server_tool_use", data=SEARCHED),
            ToolCall(id="toolu_1", name="weather", arguments='{"city": "Bern"}'),
            ToolCall(id="toolu_2", name="weather"),
        ],
    ),
    Message(role="tool", tool_call_id="toolu_1", content="sun"),
    Message(role="tool", tool_call_id="toolu_2", content=[TextPart(text="no city")], is_error=True),
]
WIRE_CONVERSATION = [
    {
        "role": "user",
        "content": [
            {"type": "text", "text": "Look", "cache_control": {"type": "ephemeral"}},
            {"type": "image", "source": {"type": "url", "url": "https://a.example/b.png"}},
            {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}},
            {"type": "image", "source": {"type": "file", "file_id": "file_1"}},
            {
                "type": "document",
                "source": {"type": "url", "url": "https://a.example/b.pdf"},
                "title": "B",
                "context": "C",
                "citations": {"enabled": True},
            },
            {"type": "document", "source": {"type": "base64", "media_type": "application/pdf", "data": "aGk="}},
            {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "notes"}},
            {"type": "document", "source": {"type": "file", "file_id": "file_2"}},
        ],
    },
    {
        "role": "assistant",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": "s"},
            {"type": "redacted_thinking", "data": "xyz"},
            {"type": "text", "text": "So", "citations": [CITED]},
            SEARCHED,
            {"type": "tool_use", "id": "toolu_1", "name": "weather", "input": {"city": "Bern"}},
            {"type": "tool_use", "id": "toolu_2", "name": "weather", "input": {}},
        ],
    },
    {
        "role": "user",
        "content": [
            {"type": "tool_result", "tool_use_id": "toolu_1", "content": "sun"},
            {
                "type": "tool_result",
                "tool_use_id": "toolu_2",
                "content": [{"type": "text", "text": "no city"}],
                "is_error": True,
            },
        ],
    },
]
WIRE_SYSTEM = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}]

# Our words, and the SDK's keywords for the same meaning.
MEANINGS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"model": MODEL}, {}),
    ({"messages": CONVERSATION}, {"messages": WIRE_CONVERSATION, "system": WIRE_SYSTEM}),
    ({"tools": [TOOL]}, {"tools": [WIRE_TOOL]}),
    (
        {"tools": [ProviderTool(definition={"type": "web_search_20260209", "name": "web_search"})]},
        {"tools": [{"type": "web_search_20260209", "name": "web_search"}]},
    ),
    (
        {"tools": [TOOL], "tool_choice": ToolChoice(mode="required")},
        {"tools": [WIRE_TOOL], "tool_choice": {"type": "any"}},
    ),
    (
        {"tools": [TOOL], "tool_choice": ToolChoice(mode="tool", name="weather")},
        {"tools": [WIRE_TOOL], "tool_choice": {"type": "tool", "name": "weather"}},
    ),
    (
        {"tools": [TOOL], "parallel_tool_calls": False},
        {"tools": [WIRE_TOOL], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
    ),
    (
        {"response_format": ResponseFormat(type="json_schema", name="place", schema=SCHEMA)},
        {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    ),
    # Newer models refuse the sampling options, so the SDK has no keywords for them any more; older ones take them.
    ({"temperature": 0.5}, {"extra_body": {"temperature": 0.5}}),
    ({"top_p": 0.5}, {"extra_body": {"top_p": 0.5}}),
    ({"top_k": 5}, {"extra_body": {"top_k": 5}}),
    ({"max_tokens": 7}, {"max_tokens": 7}),
    ({"stop": ["END"]}, {"stop_sequences": ["END"]}),
    ({"n": 1}, {}),
    ({"modalities": ["text"]}, {}),
    ({"user": "u"}, {"metadata": {"user_id": "u"}}),
    ({"metadata": {"user_id": "u"}}, {"metadata": {"user_id": "u"}}),
    ({"service_tier": "auto"}, {"service_tier": "auto"}),
    ({"reasoning": Reasoning(effort="low")}, {"output_config": {"effort": "low"}}),
    (
        {"reasoning": Reasoning(max_tokens=2000), "max_tokens": 3000},
        {"thinking": {"type": "enabled", "budget_tokens": 2000}, "max_tokens": 3000},
    ),
    (
        {"reasoning": Reasoning(enabled=True, display="omitted")},
        {"thinking": {"type": "adaptive", "display": "omitted"}},
    ),
    ({"reasoning": Reasoning(enabled=False)}, {"thinking": {"type": "disabled"}}),
    (
        {"web_search": WebSearch(max_uses=1, user_location=UserLocation(city="Bern"))},
        {
            "tools": [
                {
                    "type": "web_search_20250305",
                    "name": "web_search",
                    "max_uses": 1,
                    "user_location": {"type": "approximate", "city": "Bern"},
                }
            ]
        },
    ),
    (
        {"extra": {"anthropic": {"container": "c", "cache_control": {"type": "ephemeral"}}}},
        {"container": "c", "cache_control": {"type": "ephemeral"}},
    ),
]

# Options that Anthropic has no words for: left out with a warning, or refused.
UNSAYABLE: dict[str, Any] = {
    "presence_penalty": 0.1,
    "frequency_penalty": 0.1,
    "seed": 1,
    "logprobs": True,
    "top_logprobs": 1,
    "logit_bias": {"1": 1.0},
    "safety_identifier": "s",
    "store": True,
    "verbosity": "low",
    "prompt_cache_key": "k",
    "prompt_cache_retention": "24h",
    "stream_options": StreamOptions(include_obfuscation=True),
    "prediction": Prediction(content="x"),
    "audio": AudioOutput(voice="v", format="wav"),
}


def ours(options: dict[str, Any], *, stream: bool = False) -> tuple[str, str, dict[str, str], Any]:
    request = ChatRequest(**{"model": MODEL, "messages": HELLO, **options})
    built = CHAT.build(request, Target(provider="anthropic", model=MODEL, stream=stream))
    assert built.warnings == []
    return built.request.method, built.request.path, built.request.headers, json.loads(built.request.body)


def theirs(keywords: dict[str, Any]) -> tuple[str, str, dict[str, str], Any]:
    sent: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(400, json={"type": "error", "error": {"type": "invalid_request_error", "message": "m"}})

    with httpx2.Client(transport=httpx2.MockTransport(answer)) as http:
        client = anthropic.Anthropic(api_key="sk-none", http_client=http, max_retries=0)
        with pytest.raises(anthropic.BadRequestError):
            client.messages.create(
                **{"model": MODEL, "max_tokens": DEFAULT_MAX_TOKENS, "messages": WIRE_HELLO, **keywords}
            )
    [request] = sent
    return request.method, request.url.path, dict(request.headers), json.loads(request.content)


@pytest.mark.parametrize(("options", "keywords"), MEANINGS)
def test_the_same_meaning_makes_the_same_request(options: dict[str, Any], keywords: dict[str, Any]) -> None:
    method, path, _, body = ours(options)
    assert (method, path, body) == (theirs(keywords)[0], theirs(keywords)[1], theirs(keywords)[3])


def test_a_stream_is_asked_for_in_the_same_words() -> None:
    assert ours({}, stream=True)[3] == theirs({"stream": True})[3]


def test_the_rows_headers_are_those_that_the_sdk_sends() -> None:
    sent = theirs({})[2]
    headers = {**ANTHROPIC.headers, **ours({})[2]}
    assert headers.keys() <= sent.keys()
    assert sent["content-type"] == headers["content-type"]


@pytest.mark.parametrize("options", [options for options, _ in MEANINGS])
def test_the_sdks_types_allow_what_we_send(options: dict[str, Any]) -> None:
    body = ours(options)[3]
    for gone in ("temperature", "top_p", "top_k"):
        body.pop(gone, None)
    judge = pydantic.TypeAdapter(MessageCreateParamsNonStreaming)
    checked = judge.validate_python(body, extra="forbid")
    judge.dump_python(checked, mode="json")  # lists are checked as they are read


@pytest.mark.parametrize("name", UNSAYABLE)
def test_what_cannot_be_said_is_told_or_refused(name: str) -> None:
    request = ChatRequest(**{"model": MODEL, "messages": HELLO, name: UNSAYABLE[name]})
    try:
        told = CHAT.build(request, Target(provider="anthropic", model=MODEL)).warnings
    except UnsupportedError as error:
        told = [str(error)]
    assert name in told[0]


def test_every_option_has_its_row() -> None:
    assert {name for options, _ in MEANINGS for name in options} | UNSAYABLE.keys() == set(
        ChatRequest.__struct_fields__
    )
