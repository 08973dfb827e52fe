"""Ollama's requests, compared with what the vendor's SDK sends and with its specification."""

from __future__ import annotations

import json
from base64 import b64encode
from pathlib import Path
from typing import Any

import httpx
import jsonschema
import msgspec
import ollama
import pytest

from bifrost.errors import InvalidRequestError, UnsupportedError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.options import ChatOptions, chat_request
from bifrost.operations.chat.request import Reasoning, ResponseFormat
from bifrost.operations.chat.tools import ProviderTool, Tool, ToolChoice
from bifrost.operations.completions import CompletionOptions, completion_request
from bifrost.operations.embeddings import embedding_request
from bifrost.operations.models import ModelsRequest
from bifrost.providers.base import Target
from bifrost.providers.ollama import OLLAMA, OLLAMA_CLOUD, address_of

SPEC = json.loads((Path(__file__).parent / "requests.schema.json").read_text(encoding="utf-8"))
PICTURE = b"\x89PNG"
DATA = b64encode(PICTURE).decode()
SCHEMA: dict[str, Any] = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
WEATHER: dict[str, Any] = {"name": "w", "description": "d", "parameters": SCHEMA}
HI = [{"role": "user", "content": "hi"}]


def valid(body: dict[str, Any], name: str) -> dict[str, Any]:
    jsonschema.validate(body, {**SPEC, "$ref": f"#/$defs/{name}"})
    return body


def chat(prompt: Any = "hi", *, stream: bool = False, **options: Any) -> tuple[dict[str, Any], list[str]]:
    """Build a chat of messages in our form; gives the body and the warnings."""
    messages = msgspec.convert(prompt, list[Message]) if isinstance(prompt, list) else prompt
    request = chat_request("m", messages, system=None, options=ChatOptions(**options))
    built = OLLAMA.codecs["chat"].build(request, Target(provider="ollama", model="m", stream=stream))
    assert (built.request.method, built.request.path) == ("POST", "/api/chat")
    return valid(json.loads(bytes(built.request.body)), "ChatRequest"), built.warnings


def complete(prompt: Any, *, stream: bool = False, **options: Any) -> tuple[dict[str, Any], list[str]]:
    request = completion_request("m", prompt, CompletionOptions(**options))
    built = OLLAMA.codecs["completions"].build(request, Target(provider="ollama", model="m", stream=stream))
    assert (built.request.method, built.request.path) == ("POST", "/api/generate")
    return valid(json.loads(bytes(built.request.body)), "GenerateRequest"), built.warnings


def embed(texts: Any, **options: Any) -> tuple[dict[str, Any], list[str]]:
    request = embedding_request("m", texts, **options)
    built = OLLAMA.codecs["embeddings"].build(request, Target(provider="ollama", model="m"))
    assert (built.request.method, built.request.path) == ("POST", "/api/embed")
    return valid(json.loads(bytes(built.request.body)), "EmbedRequest"), built.warnings


def sent_by_the_sdk(method: str, **given: Any) -> dict[str, Any]:
    sent: list[httpx.Request] = []

    def keep(request: httpx.Request) -> httpx.Response:
        sent.append(request)
        return httpx.Response(200, json={"message": {"role": "assistant"}, "response": "", "embeddings": []})

    client = ollama.Client(transport=httpx.MockTransport(keep))
    answer = getattr(client, method)(model="m", **given)
    if given.get("stream"):
        list(answer)
    return json.loads(sent[0].content)


CALL = {"type": "tool_call", "id": "call_1", "name": "w", "arguments": '{"a":"b"}'}
THOUGHT = {"type": "reasoning", "text": "hm", "provider": "ollama"}

# What a caller says, and what one says to the SDK.
CHATS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "a text": ({}, {"messages": HI}),
    "roles": (
        {"prompt": [{"role": role, "content": "a"} for role in ("system", "developer", "user", "assistant")]},
        {"messages": [{"role": role, "content": "a"} for role in ("system", "system", "user", "assistant")]},
    ),
    "a stream": ({"stream": True}, {"messages": HI, "stream": True}),
    "an image": (
        {
            "prompt": [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "a"},
                        {"type": "image", "data": DATA, "media_type": "image/png"},
                        {"type": "image", "url": f"data:image/png;base64,{DATA}"},
                        {"type": "text", "text": "b"},
                    ],
                }
            ]
        },
        {"messages": [{"role": "user", "content": "ab", "images": [PICTURE, PICTURE]}]},
    ),
    "calls and results": (
        {
            "prompt": [
                {"role": "assistant", "content": [THOUGHT, CALL]},
                {"role": "tool", "tool_call_id": "call_1", "content": "r"},
            ]
        },
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "",
                    "thinking": "hm",
                    "tool_calls": [{"function": {"name": "w", "arguments": {"a": "b"}}}],
                },
                {"role": "tool", "content": "r", "tool_name": "w"},
            ]
        },
    ),
    "tools": (
        {"tools": [Tool(**WEATHER)], "tool_choice": "auto"},
        {"messages": HI, "tools": [{"type": "function", "function": WEATHER}]},
    ),
    "options": (
        {
            "temperature": 0.5,
            "top_p": 0.9,
            "top_k": 5,
            "max_tokens": 7,
            "presence_penalty": 0.1,
            "frequency_penalty": 0.2,
            "stop": ["x"],
            "seed": 3,
        },
        {
            "messages": HI,
            "options": {
                "temperature": 0.5,
                "top_p": 0.9,
                "top_k": 5,
                "num_predict": 7,
                "presence_penalty": 0.1,
                "frequency_penalty": 0.2,
                "stop": ["x"],
                "seed": 3,
            },
        },
    ),
    "what only Ollama has": (
        {"temperature": 0.5, "extra": {"ollama": {"keep_alive": "5m", "options": {"num_ctx": 8192, "min_p": 0.1}}}},
        {"messages": HI, "keep_alive": "5m", "options": {"temperature": 0.5, "num_ctx": 8192, "min_p": 0.1}},
    ),
    "a schema": (
        {"response_format": ResponseFormat(type="json_schema", name="n", schema=SCHEMA)},
        {"messages": HI, "format": SCHEMA},
    ),
    "a JSON object": ({"response_format": {"type": "json_object"}}, {"messages": HI, "format": "json"}),
    "a text as the form": ({"response_format": {"type": "text"}}, {"messages": HI}),
    "thinking": ({"reasoning": Reasoning(enabled=True)}, {"messages": HI, "think": True}),
    "a level": ({"reasoning_effort": "high"}, {"messages": HI, "think": "high"}),
    "no thinking": ({"reasoning_effort": "none"}, {"messages": HI, "think": False}),
    "thinking switched off": ({"reasoning": Reasoning(enabled=False)}, {"messages": HI, "think": False}),
    "log probabilities": (
        {"logprobs": True, "top_logprobs": 3},
        {"messages": HI, "logprobs": True, "top_logprobs": 3},
    ),
}


def test_the_sdk_sends_the_same_chats() -> None:
    for name, (ours, theirs) in CHATS.items():
        body, warnings = chat(**ours)
        assert body == _without_empty(sent_by_the_sdk("chat", **theirs)), name
        assert warnings == [], name


def _without_empty(body: dict[str, Any]) -> dict[str, Any]:
    """The SDK always sends a list of tools, and no content where the message has none."""
    messages = [{"content": "", **message} for message in body["messages"]]
    return {name: value for name, value in {**body, "messages": messages}.items() if name != "tools" or value}


COMPLETIONS: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"prompt": "a"}, {"prompt": "a"}),
    ({"prompt": "a", "stream": True}, {"prompt": "a", "stream": True}),
    ({"prompt": "a", "suffix": "z", "max_tokens": 5}, {"prompt": "a", "suffix": "z", "options": {"num_predict": 5}}),
    ({"prompt": "a", "logprobs": 2}, {"prompt": "a", "logprobs": True, "top_logprobs": 2}),
    (
        {"prompt": "a", "extra": {"ollama": {"raw": True, "system": "s", "images": [DATA], "keep_alive": 0}}},
        {"prompt": "a", "raw": True, "system": "s", "images": [PICTURE], "keep_alive": 0},
    ),
]


def test_the_sdk_sends_the_same_completions() -> None:
    for ours, theirs in COMPLETIONS:
        assert complete(**ours) == (sent_by_the_sdk("generate", **theirs), [])


def test_the_sdk_sends_the_same_embeddings() -> None:
    assert embed(["a", "b"]) == (sent_by_the_sdk("embed", input=["a", "b"]), [])
    ours = embed("a", dimensions=8, truncate="none", extra={"ollama": {"keep_alive": "5m"}})
    theirs = sent_by_the_sdk("embed", input=["a"], dimensions=8, truncate=False, keep_alive="5m")
    assert ours == (theirs, [])
    assert embed("a", truncate="end")[0]["truncate"] is True
    assert embed("a", truncate="start")[1] == ["truncate 'start' was left out: ollama cuts inputs at their end"]


def test_models_are_asked_for_as_the_sdk_does() -> None:
    built = OLLAMA.codecs["models"].build(ModelsRequest(model="/"), Target(provider="ollama", model=""))
    assert (built.request.method, built.request.path, built.warnings) == ("GET", "/api/tags", [])


def user(*parts: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"role": "user", "content": list(parts)}]


# What is left out or sent in another form: a member of the body, and a warning.
CHANGED: list[tuple[dict[str, Any], dict[str, Any], str]] = [
    ({"reasoning_effort": "minimal"}, {"think": "low"}, "'minimal' was sent as 'low'"),
    ({"reasoning_effort": "xhigh"}, {"think": "high"}, "'xhigh' was sent as 'high'"),
    ({"reasoning": Reasoning(enabled=False, effort="low")}, {"think": False}, "reasoning.effort was left out"),
    ({"reasoning": Reasoning(enabled=True, effort="none")}, {"think": False}, "reasoning.enabled was left out"),
    ({"top_logprobs": 2}, {"logprobs": True, "top_logprobs": 2}, ""),
    ({"logprobs": False, "top_logprobs": 2}, {"logprobs": False}, "top_logprobs was left out: logprobs is false"),
    ({"tools": [Tool(name="f")], "tool_choice": "none"}, {}, "the tools were left out"),
    (
        {"tools": [Tool(name="f"), Tool(name="g")], "tool_choice": ToolChoice(allowed=["g"])},
        {
            "tools": [
                {"type": "function", "function": {"name": "g", "parameters": {"type": "object", "properties": {}}}}
            ]
        },
        "the tools that tool_choice rules out were left out",
    ),
    (
        {"tools": [ProviderTool(definition={"type": "function", "function": WEATHER})], "tool_choice": "auto"},
        {"tools": [{"type": "function", "function": WEATHER}]},
        "",
    ),
    (
        {"prompt": user({"type": "file", "text": "t", "context": "c", "filename": "f"})},
        {"messages": [{"role": "user", "content": "c\nt"}]},
        "a document given as text was sent as text",
    ),
    (
        {"prompt": user({"type": "audio", "transcript": "t"})},
        {"messages": [{"role": "user", "content": "t"}]},
        "sound was left out, its transcript sent",
    ),
    (
        {"prompt": [{"role": "assistant", "content": [{"type": "refusal", "refusal": "no"}]}]},
        {"messages": [{"role": "assistant", "content": "no"}]},
        "a refusal was sent as text",
    ),
    (
        {"prompt": [{"role": "assistant", "content": [{**THOUGHT, "provider": "anthropic", "signature": "s"}]}]},
        {"messages": [{"role": "assistant", "content": ""}]},
        "reasoning of another provider was left out",
    ),
    (
        {"prompt": [{"role": "assistant", "content": [{**CALL, "arguments": "no json"}]}]},
        {
            "messages": [
                {
                    "role": "assistant",
                    "content": "",
                    "tool_calls": [{"function": {"name": "w", "arguments": {"unreadable_arguments": "no json"}}}],
                }
            ]
        },
        "the arguments of tool 'w' are no JSON object",
    ),
    (
        {"prompt": [{"role": "tool", "tool_call_id": "other", "content": "r"}]},
        {"messages": [{"role": "tool", "content": "r"}]},
        "tool_call_id was left out",
    ),
    (
        {"prompt": user({"type": "opaque", "provider": "a", "kind": "k", "data": {}}, {"type": "text", "text": "b"})},
        {"messages": [{"role": "user", "content": "b"}]},
        "a's own block 'k' was left out",
    ),
]


def test_what_is_sent_otherwise_is_told() -> None:
    for ours, expected, warning in CHANGED:
        body, warnings = chat(**ours)
        assert body == {"model": "m", "messages": HI, "stream": False, **expected}, ours
        assert any(warning in each for each in warnings) or not (warning or warnings), (ours, warnings)


REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"prompt": user({"type": "image", "url": "https://a.example/b"})}, "takes no images by url"),
    ({"prompt": user({"type": "image", "file_id": "f"})}, "takes no images by file_id"),
    ({"prompt": user({"type": "image"})}, "the image has no source"),
    ({"prompt": user({"type": "audio", "data": "AA==", "format": "wav"})}, "takes no sound"),
    ({"prompt": user({"type": "video", "data": "AA=="})}, "takes no videos"),
    ({"prompt": user({"type": "file", "data": "AA=="})}, "takes no files"),
    ({"prompt": user({"type": "file"})}, "the file has no source"),
    ({"prompt": user()}, "the user message has no content"),
    ({"prompt": [{"role": "tool", "content": "r"}]}, "does not say which call it answers"),
    ({"prompt": [{"role": "assistant", "content": [{**CALL, "id": ""}]}]}, "has no id"),
    ({"prompt": [{"role": "assistant", "content": [{**CALL, "kind": "custom"}]}]}, "no tools that take free text"),
    ({"tools": [Tool(name="f")], "tool_choice": "required"}, "cannot be made to call a tool"),
    ({"tools": [Tool(name="f")], "tool_choice": ToolChoice(allowed=["x"])}, "which tools does not have"),
    ({"tools": [ProviderTool(definition={"type": "t"}, provider="openai")]}, "cannot run openai's tool 't'"),
    ({"n": 2}, "gives one answer per request"),
    ({"response_format": ResponseFormat(type="json_schema")}, "no schema"),
    ({"extra": {"ollama": {"stream": True}}}, '"stream" is not set there'),
    ({"prompt": []}, "the list is empty"),
]


def test_what_cannot_be_said_is_refused() -> None:
    for ours, message in REFUSED:
        with pytest.raises((InvalidRequestError, UnsupportedError), match=message):
            chat(**ours)
    for prompt in (["a", "b"], [[1, 2]]):
        with pytest.raises(UnsupportedError, match="continues one text per request"):
            complete(prompt)
    with pytest.raises(UnsupportedError, match="does not repeat the prompt"):
        complete("a", echo=True)
    with pytest.raises(UnsupportedError, match="embeds texts only"):
        embed([[1, 2]])


def test_an_address_may_end_in_the_path_of_the_api() -> None:
    for address in ("http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/", "http://h:1/api"):
        assert address_of(None, address) == "http://h:1"
    assert address_of(None, "https://h/proxy/api") == "https://h/proxy"
    assert OLLAMA.address_of is OLLAMA_CLOUD.address_of is address_of


def test_results_are_in_the_order_of_their_calls() -> None:
    calls = [{**CALL, "id": each} for each in ("a", "b", "c")]
    results = [{"role": "tool", "tool_call_id": each, "content": each} for each in ("c", "a", "b")]
    body, _ = chat([*HI, {"role": "assistant", "content": calls}, *results, *HI])
    assert [message["content"] for message in body["messages"]] == ["hi", "", "a", "b", "c", "hi"]
