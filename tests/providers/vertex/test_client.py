"""Vertex AI through the public client: where requests go, with which credential, and how Claude is called."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from bifrost import (
    Bifrost,
    ConfigError,
    InvalidRequestError,
    Key,
    RateLimitError,
    StaticAccount,
    Token,
    UnsupportedError,
)
from bifrost.account import EnvAccount
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.providers.azure import AzureSettings
from bifrost.providers.base import Target
from bifrost.providers.vertex import CHAT, EMBEDDINGS, VertexSettings
from bifrost.providers.vertex.settings import GLOBAL_ADDRESS, address_of

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.anyio

SETTINGS = VertexSettings(project="my-project", region="europe-west4")
GEMINI = {"candidates": [{"content": {"parts": [{"text": "hello"}], "role": "model"}, "finishReason": "STOP"}]}
CLAUDE = {
    "type": "message",
    "id": "msg_vrtx_1",
    "role": "assistant",
    "model": "claude-sonnet-4-5-20250929",
    "content": [{"type": "text", "text": "hello"}],
    "stop_reason": "end_turn",
    "usage": {"input_tokens": 3, "output_tokens": 2},
}
CLAUDE_EVENTS: tuple[dict[str, Any], ...] = (
    {"type": "message_start", "message": {**CLAUDE, "content": [], "stop_reason": None}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "hello"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 2}},
    {"type": "message_stop"},
)


class Tokens:
    """A source of one token."""

    def fetch(self) -> Token:
        return Token("ya29.token")


def client_of(key: Key, answer: Callable[[httpx.Request], httpx.Response]) -> Bifrost:
    return Bifrost(StaticAccount(keys={"vertex": key}), transport=httpx.MockTransport(answer), max_retries=0)


def build(model: str, settings: VertexSettings | None = SETTINGS, *, stream: bool = False, **options: Any) -> Any:
    target = Target(provider="vertex", model=model, settings=settings, stream=stream)
    return CHAT.build(ChatRequest(model=model, messages=[Message(role="user", content="hi")], **options), target)


def embed(model: str, **fields: Any) -> Any:
    target = Target(provider="vertex", model=model, settings=SETTINGS)
    return EMBEDDINGS.build(EmbeddingRequest(model=model, **fields), target)


async def test_a_token_a_project_and_a_region() -> None:
    seen: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        if "anthropic" in request.url.path:
            return httpx.Response(200, json=CLAUDE)
        return httpx.Response(200, json=GEMINI)

    key = Key(name="eu", credentials=Tokens(), settings=SETTINGS)
    async with client_of(key, answer) as client:
        assert (await client.chat("vertex/gemini-2.5-flash", "hi")).text == "hello"
        assert (await client.chat("vertex/claude-sonnet-4-5@20250929", "hi")).text == "hello"
    place = "europe-west4-aiplatform.googleapis.com"
    parent = "projects/my-project/locations/europe-west4/publishers"
    assert [str(request.url) for request in seen] == [
        f"https://{place}/v1beta1/{parent}/google/models/gemini-2.5-flash:generateContent",
        f"https://{place}/v1/{parent}/anthropic/models/claude-sonnet-4-5@20250929:rawPredict",
    ]
    assert {request.headers["authorization"] for request in seen} == {"Bearer ya29.token"}
    assert "x-goog-api-key" not in seen[0].headers
    body = json.loads(seen[1].content)
    assert body["anthropic_version"] == "vertex-2023-10-16"
    assert "model" not in body
    assert "anthropic-version" not in seen[1].headers


async def test_an_api_key_of_the_express_mode_has_no_project() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        assert str(request.url) == f"{GLOBAL_ADDRESS}/v1beta1/publishers/google/models/gemini-2.5-flash:generateContent"
        assert request.headers["x-goog-api-key"] == "AQ.express-key"
        return httpx.Response(200, json=GEMINI)

    async with client_of(Key(name="express", value="AQ.express-key"), answer) as client:
        assert (await client.chat("vertex/gemini-2.5-flash", "hi")).text == "hello"
        with pytest.raises(ConfigError, match="needs a project"):
            await client.chat("vertex/claude-sonnet-4-5", "hi")


async def test_claude_streams_and_fails_in_its_own_dialect() -> None:
    overloaded = {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}}

    def answer(request: httpx.Request) -> httpx.Response:
        if not request.url.path.endswith(":streamRawPredict"):
            return httpx.Response(429, json=overloaded)
        assert json.loads(request.content)["stream"] is True
        events = "".join(f"event: {each['type']}\ndata: {json.dumps(each)}\n\n" for each in CLAUDE_EVENTS)
        return httpx.Response(200, headers={"content-type": "text/event-stream"}, text=events)

    async with client_of(Key(name="eu", value="key-0123456789", settings=SETTINGS), answer) as client:
        async with client.stream_chat("vertex/claude-sonnet-4-5", "hi") as stream:
            final = await stream.final()
        with pytest.raises(RateLimitError, match="slow down"):
            await client.chat("vertex/claude-sonnet-4-5", "hi")
    assert (final.text, final.finish_reason, final.usage.output_tokens) == ("hello", "stop", 2)


async def test_googles_errors_are_read() -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        error = {"code": 429, "message": "Resource exhausted.", "status": "RESOURCE_EXHAUSTED"}
        return httpx.Response(429, json={"error": error})

    async with client_of(Key(name="eu", value="key-0123456789", settings=SETTINGS), answer) as client:
        with pytest.raises(RateLimitError, match="Resource exhausted"):
            await client.chat("vertex/gemini-2.5-flash", "hi")


def test_names_of_models_in_the_path() -> None:
    parent = "/v1beta1/projects/my-project/locations/europe-west4"
    for model, path in (
        ("models/gemini-2.5-pro", f"{parent}/publishers/google/models/gemini-2.5-pro:generateContent"),
        ("endpoints/123", f"{parent}/endpoints/123:generateContent"),
        ("publishers/meta/models/llama ü", f"{parent}/publishers/meta/models/llama%20%C3%BC:generateContent"),
    ):
        assert build(model).request.path == path
    for model in ("anthropic/claude-x", "publishers/anthropic/models/claude-x"):
        path = build(model, stream=True).request.path
        assert path.endswith("/locations/europe-west4/publishers/anthropic/models/claude-x:streamRawPredict")
    assert "/locations/global/" in build("gemini-2.5-pro", VertexSettings(project="p")).request.path
    for model in ("..", "endpoints/..", "publishers/../models/a"):
        with pytest.raises(InvalidRequestError, match="cannot be the name of a model"):
            build(model)
    with pytest.raises(ConfigError, match="needs a project"):
        build("endpoints/123", None)


def test_service_tiers_are_a_header() -> None:
    name = "x-vertex-ai-llm-shared-request-type"
    assert build("gemini-2.5-pro", service_tier="flex").request.headers[name] == "flex"
    for tier, warned in (("default", False), ("auto", False), ("scale", True)):
        built = build("gemini-2.5-pro", service_tier=tier)
        assert name not in built.request.headers
        assert bool(built.warnings) == warned


def test_the_settings_name_the_address() -> None:
    own = "https://psc.example"
    for settings, base_url, expected in (
        (SETTINGS, GLOBAL_ADDRESS, "https://europe-west4-aiplatform.googleapis.com"),
        (VertexSettings(project="p"), GLOBAL_ADDRESS, GLOBAL_ADDRESS),
        (VertexSettings(project="p", region="global"), GLOBAL_ADDRESS, GLOBAL_ADDRESS),
        (VertexSettings(project="p", region="eu"), GLOBAL_ADDRESS, "https://aiplatform.eu.rep.googleapis.com"),
        (VertexSettings(region="us-east1"), GLOBAL_ADDRESS, GLOBAL_ADDRESS),
        (SETTINGS, f"{own}/v1beta1/", own),
        (VertexSettings(endpoint=f"{own}/v1"), GLOBAL_ADDRESS, own),
        (None, GLOBAL_ADDRESS, GLOBAL_ADDRESS),
    ):
        assert address_of(settings, base_url) == expected, (settings, base_url)
    for field, value in (("project", "a/b"), ("project", ".."), ("region", "x.evil.example/"), ("endpoint", "psc")):
        with pytest.raises(ConfigError, match=rf"VertexSettings\.{field}"):
            VertexSettings(**{field: value})
    with pytest.raises(ConfigError, match="give VertexSettings"):
        address_of(AzureSettings(), "")


def test_the_environment_sets_the_key_and_its_settings() -> None:
    environ = {"VERTEX_API_KEY": "k-0123456789", "GOOGLE_CLOUD_PROJECT": "p", "GOOGLE_CLOUD_REGION": "us-east1"}
    (key,) = EnvAccount(environ).keys("vertex", None)
    assert key.settings == VertexSettings(project="p", region="us-east1")


def test_texts_are_embedded_by_predict() -> None:
    built = embed("text-embedding-005", input=["a", "b"], dimensions=8, input_type="query", truncate="none")
    assert built.request.path.endswith("/publishers/google/models/text-embedding-005:predict")
    assert json.loads(built.request.body) == {
        "instances": [{"content": text, "task_type": "RETRIEVAL_QUERY"} for text in ("a", "b")],
        "parameters": {"outputDimensionality": 8, "autoTruncate": False},
    }
    assert embed("gemini-embedding-001", input=["a"]).request.path.endswith(":predict")
    with pytest.raises(UnsupportedError, match="takes texts only"):
        embed("text-embedding-005", input=["a"], images=["https://a.example/b.png"])


def test_content_is_embedded_one_by_one() -> None:
    built = embed("gemini-embedding-2", input=["a"], input_type="document", truncate="end")
    assert built.request.path.endswith(":embedContent")
    expected = {"content": {"parts": [{"text": "a"}]}, "taskType": "RETRIEVAL_DOCUMENT", "autoTruncate": True}
    assert json.loads(built.request.body) == expected
    with pytest.raises(UnsupportedError, match="one input in a request"):
        embed("gemini-embedding-2", input=["a", "b"])


async def test_predicted_vectors_are_read_with_their_usage() -> None:
    vectors = [{"embeddings": {"values": [0.5, place], "statistics": {"token_count": 4.0}}} for place in range(2)]

    def answer(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"predictions": vectors, "metadata": {"billableCharacterCount": 9}})

    async with client_of(Key(name="eu", value="key-0123456789", settings=SETTINGS), answer) as client:
        response = await client.embed("vertex/text-embedding-005", ["a", "b"])
    assert response.vectors == [[0.5, 0.0], [0.5, 1.0]]
    assert response.usage.input_tokens == 8
