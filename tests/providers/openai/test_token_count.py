"""OpenAI's token counting, compared with what the vendor's SDK sends and reads."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import msgspec
import openai
import pydantic
import pytest
from openai.types.responses import InputTokenCountResponse
from openai.types.responses.input_token_count_params import InputTokenCountParams

from bifrost.errors import InvalidRequestError, MalformedResponseError, UnsupportedError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.options import ChatOptions
from bifrost.operations.chat.request import ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, ToolChoice
from bifrost.operations.token_count import TokenCountRequest, TokenCountResponse, token_count_request
from bifrost.providers.base import ReportedError, Target
from bifrost.providers.openai.token_count import CODEC, build_count, parse_count
from bifrost.wire.http import Headers, HttpResponse
from tests.providers.golden_cases import cases

TARGET = Target(provider="openai", model="m")
PARAMS = pydantic.TypeAdapter(InputTokenCountParams)
URL = "https://example.org/cat.png"
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}}
WEATHER: dict[str, Any] = {"type": "function", "function": {"name": "w", "description": "d", "parameters": SCHEMA}}
FLAT: dict[str, Any] = {"type": "function", "name": "w", "description": "d", "parameters": SCHEMA, "strict": False}
CALL = {"id": "call_1", "type": "function", "function": {"name": "w", "arguments": "{}"}}
CUSTOM = {"id": "call_2", "type": "custom", "custom": {"name": "c", "input": "free"}}
SPOKEN = {"type": "audio", "transcript": "spoken"}
(RECORDED,) = [case for case in cases() if case.operation == "count_tokens" and case.provider.name == "openai"]


def answer(body: Any) -> HttpResponse:
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpResponse(status=200, headers=Headers.of(), body=data)


def request_of(prompt: Any = None, *, messages: Any = None, **options: Any) -> TokenCountRequest:
    """Make a request of a prompt in OpenAI's form, or of messages in ours."""
    if messages is not None:
        prompt = msgspec.convert(messages, list[Message])
    return token_count_request("m", prompt, system=None, options=ChatOptions(**options))


def built(**said: Any) -> tuple[dict[str, Any], list[str]]:
    made = build_count(request_of(**said), TARGET)
    assert (made.request.method, made.request.path) == ("POST", "/responses/input_tokens")
    return json.loads(bytes(made.request.body)), made.warnings


def sent_by_the_sdk(**given: Any) -> dict[str, Any]:
    sent: list[httpx2.Request] = []

    def keep(request: httpx2.Request) -> httpx2.Response:
        sent.append(request)
        return httpx2.Response(200, json={"object": "response.input_tokens", "input_tokens": 1})

    with httpx2.Client(transport=httpx2.MockTransport(keep)) as http:
        openai.OpenAI(api_key="sk-a", http_client=http).responses.input_tokens.count(**given)
    assert sent[0].url.path == "/v1/responses/input_tokens"
    return json.loads(sent[0].content)


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


# What a caller of `chat` says, and what one says to the SDK.
MEANINGS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a text": ({"prompt": "hi"}, {"input": [{"role": "user", "content": "hi"}]}),
    "roles": (
        {"prompt": [{"role": role, "content": "a"} for role in ("system", "developer", "user", "assistant")]},
        {"input": [{"role": role, "content": "a"} for role in ("system", "developer", "user", "assistant")]},
    ),
    "an image by url": (
        {"prompt": user({"type": "image_url", "image_url": {"url": URL, "detail": "low"}})},
        {"input": user({"type": "input_image", "detail": "low", "image_url": URL})},
    ),
    "an image as data": (
        {"messages": user({"type": "image", "data": "AA==", "media_type": "image/png"})},
        {"input": user({"type": "input_image", "detail": "auto", "image_url": "data:image/png;base64,AA=="})},
    ),
    "an image by id": (
        {"messages": user({"type": "image", "file_id": "file_1"})},
        {"input": user({"type": "input_image", "detail": "auto", "file_id": "file_1"})},
    ),
    "files": (
        {
            "messages": user(
                {"type": "file", "file_id": "file_1"},
                {"type": "file", "data": "AA==", "media_type": "application/pdf"},
                {"type": "file", "url": URL, "filename": "a.pdf"},
            )
        },
        {
            "input": user(
                {"type": "input_file", "file_id": "file_1"},
                {
                    "type": "input_file",
                    "filename": "document.pdf",
                    "file_data": "data:application/pdf;base64,AA==",
                },
                {"type": "input_file", "filename": "a.pdf", "file_url": URL},
            )
        },
    ),
    "calls and results": (
        {
            "prompt": [
                {"role": "assistant", "content": "see", "tool_calls": [CALL, CUSTOM]},
                {"role": "tool", "tool_call_id": "call_1", "content": "r"},
                {"role": "tool", "tool_call_id": "call_2", "content": [{"type": "text", "text": "s"}]},
            ]
        },
        {
            "input": [
                {"role": "assistant", "content": "see"},
                {"type": "function_call", "call_id": "call_1", "name": "w", "arguments": "{}"},
                {"type": "custom_tool_call", "call_id": "call_2", "name": "c", "input": "free"},
                {"type": "function_call_output", "call_id": "call_1", "output": "r"},
                {
                    "type": "custom_tool_call_output",
                    "call_id": "call_2",
                    "output": [{"type": "input_text", "text": "s"}],
                },
            ]
        },
    ),
    "tools": (
        {
            "prompt": "hi",
            "tools": [
                WEATHER,
                {"type": "function", "function": {"name": "x"}},
                {
                    "type": "custom",
                    "custom": {
                        "name": "c",
                        "format": {"type": "grammar", "grammar": {"syntax": "lark", "definition": "d"}},
                    },
                },
                {"type": "custom", "custom": {"name": "d", "format": {"type": "text"}}},
            ],
        },
        {
            "input": [{"role": "user", "content": "hi"}],
            "tools": [
                FLAT,
                {
                    "type": "function",
                    "name": "x",
                    "parameters": {"type": "object", "properties": {}},
                    "strict": False,
                },
                {"type": "custom", "name": "c", "format": {"type": "grammar", "syntax": "lark", "definition": "d"}},
                {"type": "custom", "name": "d", "format": {"type": "text"}},
            ],
        },
    ),
    "a tool of the provider": (
        {"prompt": "hi", "tools": [ProviderTool(definition={"type": "image_generation"})]},
        {"input": [{"role": "user", "content": "hi"}], "tools": [{"type": "image_generation"}]},
    ),
    "a choice": (
        {"prompt": "hi", "tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False},
        {
            "input": [{"role": "user", "content": "hi"}],
            "tools": [FLAT],
            "tool_choice": "required",
            "parallel_tool_calls": False,
        },
    ),
    "a named tool": (
        {"prompt": "hi", "tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "w"}}},
        {
            "input": [{"role": "user", "content": "hi"}],
            "tools": [FLAT],
            "tool_choice": {"type": "function", "name": "w"},
        },
    ),
    "allowed tools": (
        {"prompt": "hi", "tools": [WEATHER], "tool_choice": ToolChoice(allowed=["w"])},
        {
            "input": [{"role": "user", "content": "hi"}],
            "tools": [FLAT],
            "tool_choice": {
                "type": "allowed_tools",
                "mode": "auto",
                "tools": [{"type": "function", "name": "w"}],
            },
        },
    ),
    "a schema": (
        {
            "prompt": "hi",
            "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": SCHEMA, "strict": True}},
        },
        {
            "input": [{"role": "user", "content": "hi"}],
            "text": {"format": {"type": "json_schema", "name": "n", "schema": SCHEMA, "strict": True}},
        },
    ),
    "a JSON object": (
        {"prompt": "hi", "response_format": {"type": "json_object"}},
        {"input": [{"role": "user", "content": "hi"}], "text": {"format": {"type": "json_object"}}},
    ),
    "effort": (
        {"prompt": "hi", "reasoning_effort": "low"},
        {"input": [{"role": "user", "content": "hi"}], "reasoning": {"effort": "low"}},
    ),
    "no effort": (
        {"prompt": "hi", "reasoning": {"enabled": False}},
        {"input": [{"role": "user", "content": "hi"}], "reasoning": {"effort": "none"}},
    ),
    "a search": (
        {
            "prompt": "hi",
            "web_search": {
                "context_size": "low",
                "allowed_domains": ["a.example"],
                "user_location": {"city": "Bern"},
            },
        },
        {
            "input": [{"role": "user", "content": "hi"}],
            "tools": [
                {
                    "type": "web_search",
                    "search_context_size": "low",
                    "filters": {"allowed_domains": ["a.example"]},
                    "user_location": {"type": "approximate", "city": "Bern"},
                }
            ],
        },
    ),
    "what only OpenAI has": (
        {"prompt": "hi", "extra": {"openai": {"truncation": "auto"}, "mistral": {"other": 1}}},
        {"input": [{"role": "user", "content": "hi"}], "truncation": "auto"},
    ),
    "options that change no number": (
        {"prompt": "hi", "temperature": 0.5, "max_tokens": 5, "stop": "a", "user": "u"},
        {"input": [{"role": "user", "content": "hi"}]},
    ),
}


def test_the_sdk_sends_the_same() -> None:
    for name, (ours, theirs) in MEANINGS.items():
        body, warnings = built(**ours)
        assert body == sent_by_the_sdk(model="m", **theirs), name
        assert warnings == [], name


def test_every_body_has_the_types_of_the_sdk() -> None:
    for ours, _ in MEANINGS.values():
        PARAMS.validate_python(built(**ours)[0])


# What is left out or sent in another form, and the warning.
CHANGED: list[tuple[dict[str, Any], Any, str]] = [
    (
        {"messages": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]},
        [{"role": "assistant", "content": "no"}],
        "messages[0]: a refusal was sent as text",
    ),
    ({"messages": user(SPOKEN)}, user({"type": "input_text", "text": "spoken"}), "sound was left out"),
    (
        {"messages": [{"role": "assistant", "content": [SPOKEN]}]},
        [{"role": "assistant", "content": "spoken"}],
        "messages[0]: sound was left out",
    ),
    (
        {"messages": user({"type": "file", "text": "t", "context": "c"})},
        user({"type": "input_text", "text": "c"}, {"type": "input_text", "text": "t"}),
        "a file's context was sent as a text before it",
    ),
    (
        {"prompt": [{"role": "user", "content": "a", "name": "bob"}]},
        [{"role": "user", "content": "a"}],
        "has no names of participants",
    ),
    (
        {
            "messages": [
                {"role": "assistant", "content": [{"type": "image", "url": URL}, {"type": "text", "text": "a"}]}
            ]
        },
        [{"role": "assistant", "content": "a"}],
        "messages[0]: a picture was left out",
    ),
    (
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "reasoning", "text": "t", "provider": "anthropic"},
                        {"type": "opaque", "provider": "anthropic", "kind": "k", "data": {}},
                        {"type": "text", "text": "a"},
                    ],
                }
            ]
        },
        [{"role": "assistant", "content": "a"}],
        "reasoning of another provider was left out",
    ),
    (
        {"messages": user({"type": "opaque", "provider": "openai", "kind": "k", "data": {}}, SPOKEN)},
        user({"type": "input_text", "text": "spoken"}),
        "openai's own block 'k' was left out",
    ),
    (
        {"prompt": "hi", "reasoning": {"enabled": True}},
        [{"role": "user", "content": "hi"}],
        "reasoning.enabled was left out",
    ),
    (
        {"prompt": "hi", "reasoning": {"enabled": False, "effort": "low"}},
        [{"role": "user", "content": "hi"}],
        "reasoning.enabled was left out",
    ),
]


def test_what_is_sent_otherwise_is_told() -> None:
    for ours, items, warning in CHANGED:
        body, warnings = built(**ours)
        assert body["input"] == items
        assert any(warning in each for each in warnings), (ours, warnings)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"messages": user({"type": "audio", "data": "AA==", "format": "wav"})}, "openai counts no sound"),
    ({"messages": [{"role": "assistant", "content": [{"type": "file", "text": "a"}]}]}, "takes no file part in an"),
    ({"messages": user({"type": "refusal", "refusal": "no"})}, "takes no refusal part in a user message"),
    ({"prompt": "hi", "web_search": {"blocked_domains": ["a.example"]}}, "cannot exclude domains"),
    (
        {"prompt": "hi", "tools": [ProviderTool(definition={"type": "a"}, provider="anthropic")]},
        "cannot run anthropic's tool 'a'",
    ),
    ({"messages": user({"type": "image"})}, "the image has no source"),
    ({"messages": user({"type": "image", "data": "AA=="})}, "has data but no media_type"),
    ({"messages": user({"type": "file"})}, "the file has no source"),
    ({"prompt": [{"role": "user", "content": ""}]}, "the user message has no content"),
    ({"messages": [{"role": "tool", "content": "a"}]}, "does not say which call it answers"),
    (
        {"messages": [{"role": "assistant", "content": [{"type": "tool_call", "id": "", "name": "w"}]}]},
        "has no id for its result",
    ),
    ({"prompt": "hi", "tools": [WEATHER], "tool_choice": ToolChoice(mode="tool")}, "names no tool"),
    ({"prompt": "hi", "response_format": ResponseFormat(type="json_schema")}, "no schema"),
]


def test_what_cannot_be_counted_is_refused() -> None:
    for ours, message in REFUSED:
        with pytest.raises((InvalidRequestError, UnsupportedError), match=message):
            built(**ours)
    with pytest.raises(InvalidRequestError, match="the list is empty"):
        build_count(TokenCountRequest(model="m", messages=[]), TARGET)


def test_the_sdk_reads_a_recorded_answer_in_the_same_way() -> None:
    ours = parse_count(RECORDED.answer, RECORDED.target)
    theirs = InputTokenCountResponse.model_validate_json(RECORDED.body)
    assert ours.to_dict() == theirs.model_dump()
    assert CODEC.fields is not None


def test_numbers_in_other_forms_are_read() -> None:
    for body in ({"input_tokens": 3.0}, {"input_tokens": "3", "object": None}, b'\xef\xbb\xbf{"input_tokens":3}'):
        assert parse_count(answer(body), TARGET).input_tokens == 3


def test_an_answer_without_a_number_is_refused() -> None:
    for body in ({}, {"input_tokens": None}, {"input_tokens": "many"}, [], b"no json", {"object": "a"}):
        with pytest.raises(MalformedResponseError):
            parse_count(answer(body), TARGET)
    with pytest.raises(ReportedError, match="too many"):
        parse_count(answer({"error": {"message": "too many"}}), TARGET)


def test_a_response_shows_its_number() -> None:
    response = TokenCountResponse(input_tokens=5, model="m", provider="p", tokens_by_kind={"text": 3, "image": 2})
    assert repr(response) == "TokenCountResponse(p/m: 5 input tokens)"
    assert "image: 2" in response._repr_html_()
