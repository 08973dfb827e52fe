"""Cohere's chat requests: what a caller says, and what is sent for it."""

from __future__ import annotations

import json
from base64 import b64encode
from typing import Any

import msgspec
import pytest

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.request import ChatRequest
from bifrost.providers.base import Target
from bifrost.providers.cohere import CHAT
from tests.providers.spec import problems

TARGET = Target(provider="cohere", model="command-a-03-2025")
USER = {"role": "user", "content": "hi"}
CALL = {"type": "tool_call", "id": "f_1", "name": "f", "arguments": '{"a":1}'}
WIRE_CALL = {"id": "f_1", "type": "function", "function": {"name": "f", "arguments": '{"a":1}'}}
TOOLS = [{"type": "tool", "name": "f", "parameters": {"type": "object"}}, {"type": "tool", "name": "g"}]
F = {"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}
G = {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}
TEXT_FILE = {"type": "file", "media_type": "text/plain", "data": b64encode("grün".encode()).decode()}
CITED = {"start": 0, "end": 1, "text": "a", "sources": []}


def build(form: dict[str, Any], *, stream: bool = False) -> tuple[dict[str, Any], list[str]]:
    request = msgspec.convert({"model": "m", "messages": [USER], **form}, ChatRequest)
    built = CHAT.build(request, msgspec.structs.replace(TARGET, stream=stream))
    return json.loads(built.request.body), built.warnings


OPTIONS: list[tuple[dict[str, Any], dict[str, Any], list[str]]] = [
    ({"temperature": 0.5, "top_p": 0.9, "top_k": 40}, {"temperature": 0.5, "p": 0.9, "k": 40}, []),
    ({"temperature": 1.5}, {"temperature": 1.0}, ["temperature 1.5 was sent as 1: Cohere's range ends there"]),
    ({"top_p": 1.0}, {"p": 0.99}, ["top_p 1 was sent as 0.99: Cohere's range ends there"]),
    ({"top_p": 0.0}, {"p": 0.01}, ["top_p 0 was sent as 0.01: Cohere's range ends there"]),
    ({"top_k": 900}, {"k": 500}, ["top_k 900 was sent as 500: Cohere's range ends there"]),
    (
        {"stop": ["a"], "seed": 7, "logprobs": True, "max_tokens": 5},
        {"stop_sequences": ["a"], "seed": 7, "logprobs": True, "max_tokens": 5},
        [],
    ),
    (
        {"presence_penalty": 0.5, "frequency_penalty": 0.25},
        {"presence_penalty": 0.5, "frequency_penalty": 0.25},
        [],
    ),
    ({"response_format": {"type": "json_object"}}, {"response_format": {"type": "json_object"}}, []),
    (
        {"response_format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}},
        {"response_format": {"type": "json_object", "json_schema": {"type": "object"}}},
        [],
    ),
    ({"reasoning": {"enabled": True}}, {"thinking": {"type": "enabled"}}, []),
    ({"reasoning": {"max_tokens": 100}}, {"thinking": {"type": "enabled", "token_budget": 100}}, []),
    ({"reasoning": {"enabled": False}}, {"thinking": {"type": "disabled"}}, []),
    ({"reasoning": {"effort": "none"}}, {"thinking": {"type": "disabled"}}, []),
    (
        {"reasoning": {"effort": "high"}},
        {"thinking": {"type": "enabled"}},
        ["reasoning.effort 'high' was left out, and thinking switched on: Cohere takes a budget in tokens"],
    ),
    (
        {"reasoning": {"enabled": False, "max_tokens": 5}},
        {"thinking": {"type": "disabled"}},
        ["reasoning.max_tokens was left out: thinking is switched off"],
    ),
    ({"extra": {"cohere": {"safety_mode": "STRICT", "priority": 1}}}, {"safety_mode": "STRICT", "priority": 1}, []),
    ({"extra": {"openai": {"a": 1}}}, {}, []),
    ({"n": 1, "modalities": ["text"]}, {}, []),
    ({"tools": TOOLS}, {"tools": [F, G]}, []),
    ({"tools": TOOLS, "tool_choice": {"mode": "required"}}, {"tools": [F, G], "tool_choice": "REQUIRED"}, []),
    ({"tools": TOOLS, "tool_choice": {"mode": "none"}}, {"tools": [F, G], "tool_choice": "NONE"}, []),
    ({"tools": TOOLS, "tool_choice": {"mode": "auto"}}, {"tools": [F, G]}, []),
    ({"tools": TOOLS[:1], "tool_choice": {"mode": "tool", "name": "f"}}, {"tools": [F], "tool_choice": "REQUIRED"}, []),
    (
        {"tools": TOOLS, "tool_choice": {"mode": "tool", "name": "g"}},
        {"tools": [G], "tool_choice": "REQUIRED"},
        ["the tools that tool_choice rules out were left out of the request: Cohere cannot choose among them by name"],
    ),
    (
        {"tools": [{**tool, "strict": True} for tool in TOOLS]},
        {"tools": [F, G], "strict_tools": True},
        [],
    ),
    (
        {"tools": [{**TOOLS[0], "strict": True}, {**TOOLS[1], "strict": False}]},
        {"tools": [F, G], "strict_tools": False},
        ["tools: strict was left out: Cohere has one setting for all tools, and another tool's differs"],
    ),
    (
        {"tools": [{"type": "provider", "provider": "cohere", "definition": F}], "tool_choice": {"allowed": ["f"]}},
        {"tools": [F]},
        [],
    ),
    (
        {"tool_choice": {"mode": "none"}},
        {},
        ["tool_choice.mode was left out: there are no tools to choose among"],
    ),
]


@pytest.mark.parametrize(("form", "wire", "warnings"), OPTIONS)
def test_options(form: dict[str, Any], wire: dict[str, Any], warnings: list[str]) -> None:
    body, told = build(form)
    assert body == {"model": "command-a-03-2025", "messages": [USER], **wire}
    assert told == warnings
    assert problems("cohere", "/v2/chat", body) == []


def test_a_stream_is_asked_for() -> None:
    assert build({}, stream=True)[0]["stream"] is True
    assert "stream" not in build({})[0]


MESSAGES: list[tuple[list[dict[str, Any]], dict[str, Any], list[str]]] = [
    (
        [{"role": "developer", "content": "Be brief"}, USER],
        {"messages": [{"role": "system", "content": "Be brief"}, USER]},
        [],
    ),
    (
        [{"role": "user", "content": [{"type": "image", "media_type": "image/png", "data": "AA==", "detail": "low"}]}],
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image_url", "image_url": {"url": "data:image/png;base64,AA==", "detail": "low"}}
                    ],
                }
            ]
        },
        [],
    ),
    (
        [
            {
                "role": "user",
                "content": [
                    {"type": "file", "text": "Sky", "filename": "sky.txt", "context": "a note", "citations": True},
                    TEXT_FILE,
                    {"type": "text", "text": "hi"},
                ],
            }
        ],
        {
            "messages": [USER],
            "documents": [
                {"id": "doc-0", "data": {"title": "sky.txt", "context": "a note", "text": "Sky"}},
                {"id": "doc-1", "data": {"text": "grün"}},
            ],
        },
        [],
    ),
    (
        [{"role": "user", "content": [{"type": "file", "text": "Sky", "citations": False}]}],
        {
            "messages": [{"role": "user", "content": ""}],
            "documents": [{"id": "doc-0", "data": {"text": "Sky"}}],
            "citation_options": {"mode": "OFF"},
        },
        [],
    ),
    (
        [
            {
                "role": "user",
                "content": [{"type": "file", "text": "a", "citations": False}, {"type": "file", "text": "b"}],
            }
        ],
        {
            "messages": [{"role": "user", "content": ""}],
            "documents": [{"id": "doc-0", "data": {"text": "a"}}, {"id": "doc-1", "data": {"text": "b"}}],
        },
        ["documents: Cohere cites all documents or none, and others are to be cited"],
    ),
    (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "text": "I will ask f.", "signature": "tool_plan", "provider": "cohere"},
                    CALL,
                ],
            },
            {"role": "tool", "tool_call_id": "f_1", "content": [{"type": "file", "text": "5"}]},
        ],
        {
            "messages": [
                {"role": "assistant", "tool_plan": "I will ask f.", "tool_calls": [WIRE_CALL]},
                {
                    "role": "tool",
                    "tool_call_id": "f_1",
                    "content": [{"type": "document", "document": {"data": {"text": "5"}}}],
                },
            ]
        },
        [],
    ),
    (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "text": "Hm."},
                    {"type": "text", "text": "a", "citations": [{"provider": "cohere", "native": CITED}]},
                    {"type": "opaque", "provider": "cohere", "kind": "citation", "data": {**CITED, "type": "PLAN"}},
                ],
            },
            USER,
        ],
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [{"type": "thinking", "thinking": "Hm."}, {"type": "text", "text": "a"}],
                    "citations": [CITED, {**CITED, "type": "PLAN"}],
                },
                USER,
            ]
        },
        [],
    ),
    (
        [
            {
                "role": "assistant",
                "content": [
                    {"type": "reasoning", "text": "Hm.", "provider": "anthropic", "signature": "s"},
                    {"type": "text", "text": "a", "citations": [{"title": "other"}]},
                    {"type": "opaque", "provider": "cohere", "kind": "error", "data": {"error": "x"}},
                    {"type": "opaque", "provider": "anthropic", "kind": "b", "data": {}},
                    {"type": "image", "url": "https://a.example/b"},
                    {"type": "refusal", "refusal": "No."},
                    {"type": "audio", "transcript": "spoken"},
                    {**CALL, "arguments": "{cut"},
                ],
            },
            {"role": "tool", "tool_call_id": "f_1", "is_error": True},
        ],
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "text", "text": "No."},
                        {"type": "text", "text": "spoken"},
                    ],
                    "tool_calls": [
                        {
                            "id": "f_1",
                            "type": "function",
                            "function": {"name": "f", "arguments": '{"unreadable_arguments":"{cut"}'},
                        }
                    ],
                },
                {"role": "tool", "tool_call_id": "f_1", "content": ""},
            ]
        },
        [
            "messages[1]: is_error was left out: Cohere learns of it by the result's text only",
            "messages[0]: reasoning of another provider was left out",
            "messages[0]: citations that are not of an answer of Cohere's were left out",
            "messages[0]: cohere's own block 'error' was left out",
            "messages[0]: anthropic's own block 'b' was left out",
            "messages[0]: a picture was left out: Cohere takes none from a model",
            "messages[0]: a refusal was sent as text",
            "messages[0]: sound was left out, its transcript sent",
            "messages[0]: the arguments of tool 'f' are no JSON object, and were sent as the text in one",
        ],
    ),
    ([{"role": "assistant", "content": []}, USER], {"messages": [{"role": "assistant", "content": ""}, USER]}, []),
    ([{"role": "assistant", "content": "a"}, USER], {"messages": [{"role": "assistant", "content": "a"}, USER]}, []),
]


@pytest.mark.parametrize(("messages", "wire", "warnings"), MESSAGES)
def test_messages(messages: list[dict[str, Any]], wire: dict[str, Any], warnings: list[str]) -> None:
    body, told = build({"messages": messages})
    assert body == {"model": "command-a-03-2025", **wire}
    assert told == warnings
    if "unreadable" not in str(wire):
        assert [problem for problem in problems("cohere", "/v2/chat", body) if "citation_options" not in problem] == []


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"messages": []}, "the request has no messages"),
        ({"messages": [{"role": "user"}]}, "the user message has no content"),
        ({"messages": [{"role": "tool", "content": "5"}]}, "does not say which call it answers"),
        ({"messages": [{"role": "assistant", "content": [{**CALL, "id": ""}]}]}, "has no id for its result"),
        ({"messages": [{"role": "user", "content": [{"type": "image"}]}]}, "the image has no source"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "data": "AA=="}]}]},
            "has data but no media_type",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "file"}]}]}, "the file has no source"),
        (
            {"messages": [{"role": "user", "content": [{**TEXT_FILE, "data": "?"}]}]},
            "the file's data is not base64 of UTF-8 text",
        ),
        ({"response_format": {"type": "json_schema"}}, "json_schema but has no schema"),
        ({"tool_choice": {"mode": "required"}}, "tool_choice is 'required', but the request has no tools"),
        ({"tools": TOOLS, "tool_choice": {"mode": "tool"}}, "names no tool"),
        ({"tools": TOOLS, "tool_choice": {"allowed": ["x"]}}, "not among the request's tools"),
        ({"extra": {"cohere": {"stream": True}}}, '"stream" is not set there'),
    ],
)
def test_an_invalid_request_is_refused(form: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequestError, match=message):
        build(form)


@pytest.mark.parametrize(
    ("form", "message"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image", "file_id": "a"}]}]}, "no image by file_id"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "url": "https://a"}]}]}, "as text only"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file_id": "a"}]}]}, "as text only"),
        (
            {"messages": [{"role": "user", "content": [{**TEXT_FILE, "media_type": "application/pdf"}]}]},
            "as text only",
        ),
        ({"messages": [{"role": "user", "content": [{"type": "audio", "data": "AA=="}]}]}, "takes no sound"),
        ({"messages": [{"role": "user", "content": [{"type": "video", "url": "https://a"}]}]}, "takes no videos"),
        ({"messages": [{"role": "system", "content": [{"type": "file", "text": "a"}]}]}, "no file part in a system"),
        ({"messages": [{"role": "system", "content": [{"type": "image", "url": "a"}]}]}, "no image part in a system"),
        ({"messages": [{"role": "user", "content": [CALL]}]}, "no tool_call part in a user message"),
        ({"tools": [{"type": "provider", "provider": "x", "definition": {}}]}, "does not know x's own tool"),
        ({"n": 2}, "n must be 1"),
        ({"web_search": {}}, "cannot search the web"),
        ({"modalities": ["audio"]}, "answers in text only"),
    ],
)
def test_what_would_change_the_meaning_is_refused(form: dict[str, Any], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message):
        build(form)
