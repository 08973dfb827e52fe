"""Token counts of Gemini and Vertex AI, whose requests differ."""

from __future__ import annotations

import json
from typing import Any

import pytest

from bifrost.errors import MalformedResponseError
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.tools import Tool, ToolChoice
from bifrost.operations.token_count import TokenCountRequest
from bifrost.providers import gemini, vertex
from bifrost.providers.base import ReportedError, Target
from bifrost.wire.http import Headers, HttpResponse

SETTINGS = vertex.VertexSettings(project="p", region="us-east1")
TARGET = Target(provider="gemini", model="gemini-2.5-pro")
HI = Message(role="user", content="hi")
CONTENTS = [{"role": "user", "parts": [{"text": "hi"}]}]


def build(provider: str, model: str, **fields: Any) -> tuple[str, dict[str, Any], list[str]]:
    codec = {"gemini": gemini.COUNT_TOKENS, "vertex": vertex.COUNT_TOKENS}[provider]
    settings = SETTINGS if provider == "vertex" else None
    request = TokenCountRequest(model=model, messages=[HI], **fields)
    built = codec.build(request, Target(provider=provider, model=model, settings=settings))
    return built.request.path, json.loads(built.request.body), built.warnings


def parse(body: Any) -> Any:
    response = HttpResponse(status=200, headers=Headers.of(), body=json.dumps(body).encode())
    return gemini.COUNT_TOKENS.parse(response, TARGET)


def test_gemini_counts_a_whole_request() -> None:
    path = "/v1beta/models/gemini-2.5-pro:countTokens"
    assert build("gemini", "gemini-2.5-pro") == (path, {"contents": CONTENTS}, [])
    _, body, _ = build("gemini", "gemini-2.5-pro", tools=[Tool(name="f")], tool_choice=ToolChoice(mode="none"))
    assert body.keys() == {"generateContentRequest"}
    whole = body["generateContentRequest"]
    assert (whole["model"], whole["contents"]) == ("models/gemini-2.5-pro", CONTENTS)
    assert whole["toolConfig"] == {"functionCallingConfig": {"mode": "NONE"}}


def test_vertex_counts_without_the_choice_of_tools() -> None:
    tools = [Tool(name="f", strict=True)]
    path, body, warnings = build("vertex", "gemini-2.5-pro", tools=tools, tool_choice=ToolChoice(mode="required"))
    parent = "projects/p/locations/us-east1/publishers"
    assert path == f"/v1beta1/{parent}/google/models/gemini-2.5-pro:countTokens"
    assert body.keys() == {"contents", "tools"}
    assert len(warnings) == 2
    assert all("counts without it" in warning for warning in warnings)
    path, body, warnings = build("vertex", "anthropic/claude-sonnet-4-5", tools=tools)
    assert path == f"/v1/{parent}/anthropic/models/count-tokens:rawPredict"
    assert (body["model"], body["anthropic_version"]) == ("claude-sonnet-4-5", "vertex-2023-10-16")
    assert not warnings


def test_counts_are_read() -> None:
    details = [{"modality": "TEXT", "tokenCount": 5}, {"modality": "IMAGE", "tokenCount": 258.0}, {}]
    count = parse({"totalTokens": 263, "cachedContentTokenCount": 4, "promptTokensDetails": details})
    assert (count.input_tokens, count.cached_tokens) == (263, 4)
    assert count.tokens_by_kind == {"text": 5, "image": 258, "other": 0}
    with pytest.raises(ReportedError, match="busy"):
        parse({"error": {"code": 503, "message": "busy", "status": "UNAVAILABLE"}})
    with pytest.raises(MalformedResponseError, match="no number of tokens"):
        parse({"promptTokensDetails": details})


def test_claudes_count_is_read_at_vertex() -> None:
    target = Target(provider="vertex", model="claude-sonnet-4-5", settings=SETTINGS)
    response = HttpResponse(status=200, headers=Headers.of(), body=b'{"input_tokens": 14}')
    assert vertex.COUNT_TOKENS.parse(response, target).input_tokens == 14
