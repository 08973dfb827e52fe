from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlsplit

import attrs
import pytest

from bifrost.account import EnvAccount
from bifrost.config import check_base_url
from bifrost.errors import ConfigError, UnsupportedError
from bifrost.operations.chat.content import (
    AudioPart,
    FilePart,
    ImagePart,
    ReasoningPart,
    RefusalPart,
    TextPart,
    ToolCall,
)
from bifrost.operations.chat.messages import Message
from bifrost.operations.chat.request import ChatRequest, Prediction, Reasoning, ResponseFormat, WebSearch
from bifrost.operations.chat.tools import Tool, ToolChoice
from bifrost.operations.embeddings import EmbeddingRequest
from bifrost.providers.base import Built, Provider, Target
from bifrost.providers.catalog import CATALOG, STABLE
from bifrost.providers.compatible import COMPATIBLE, OPENAI, Quirks, speaks_openai
from bifrost.wire.auth import BEARER, NoAuth
from bifrost.wire.http import Headers, HttpResponse
from bifrost.wire.secrets import Secret
from tests.providers.golden_cases import cases
from tests.table import table
from tests.wire.signing import sign

ROW = speaks_openai(
    "some-host",
    "https://api.somehost.example/v1",
    "SOMEHOST_API_KEY",
    Quirks(max_tokens_field="max_tokens"),
    docs="https://somehost.example/docs",
)
HELLO = Message(role="user", content="Hello")

ALL = {"chat", "embeddings", "models"}

LOCAL = {"vllm": 8000, "sglang": 30000, "lmstudio": 1234, "llamacpp": 8080, "ollama-openai": 11434}
"""The ports of the servers of one's own, of which hardly any has a recording."""


def build(provider: str, *messages: Message, stream: bool = False, **options: Any) -> Built:
    request = ChatRequest(model="asked", messages=list(messages or (HELLO,)), **options)
    return CATALOG[provider].codecs["chat"].build(request, Target(provider=provider, model="m", stream=stream))


def body(provider: str, *messages: Message, stream: bool = False, **options: Any) -> dict[str, Any]:
    return json.loads(build(provider, *messages, stream=stream, **options).request.body)


@table("name", ["", "a/b", "a b", "a\n", 7])
def test_a_name_that_no_call_could_write_is_refused(name: Any) -> None:
    with pytest.raises(ConfigError, match="is no provider's name: calls write provider/model"):
        attrs.evolve(OPENAI, name=name)


def test_an_endpoint_that_the_dialect_does_not_have_is_refused() -> None:
    endpoints: Any = ("chat", "chats")
    with pytest.raises(ConfigError, match=r"somehost: .* no endpoint 'chats'; it has: chat, embeddings, models"):
        speaks_openai("somehost", "https://some.example/v1", None, endpoints=endpoints)


@table("row", COMPATIBLE, ids=lambda row: row.name)
def test_a_row_follows_the_rules_of_rows(row: Provider) -> None:
    """Its address is that of its recordings (`test_golden_facts`); its variables and endpoints stand in the page."""
    assert row.base_url_variable == f"{row.name.upper().replace('-', '_')}_BASE_URL"
    assert row.auth == (BEARER if row.key_variables else NoAuth())
    assert bool(row.key_variables) == (row.name not in LOCAL)
    assert row.docs.startswith("https://")


def test_every_hosted_provider_has_a_recording() -> None:
    assert {row.name for row in COMPATIBLE} - {case.provider.name for case in cases()} <= set(LOCAL)


def test_a_server_of_ones_own_is_looked_for_at_its_usual_port() -> None:
    assert {name: CATALOG[name].base_url for name in LOCAL} == {
        name: f"http://localhost:{port}/v1" for name, port in LOCAL.items()
    }


def test_a_row_has_a_name_an_address_and_a_variable() -> None:
    assert (ROW.name, ROW.base_url) == ("some-host", "https://api.somehost.example/v1")
    assert ROW.key_variables == ("SOMEHOST_API_KEY",)
    assert ROW.base_url_variable == "SOME_HOST_BASE_URL"
    assert ROW.docs == "https://somehost.example/docs"
    assert set(ROW.codecs) == {*ALL, "responses"}


def test_a_rows_quirks_reach_its_requests() -> None:
    request = ChatRequest(model="m", messages=[Message(role="user", content="x")], max_tokens=5)
    target = Target(provider=ROW.name, model="m")
    assert json.loads(ROW.codecs["chat"].build(request, target).request.body)["max_tokens"] == 5
    assert json.loads(OPENAI.codecs["chat"].build(request, target).request.body)["max_completion_tokens"] == 5


def test_a_rows_answers_carry_its_name() -> None:
    answer = b'{"choices":[{"message":{"content":"x","reasoning_content":"hm"},"finish_reason":"stop"}]}'
    response = HttpResponse(status=200, headers=Headers(), body=answer)
    read = ROW.codecs["chat"].parse(response, Target(provider=ROW.name, model="m"))
    assert read.provider == "some-host"
    assert read.message.parts[0] == ReasoningPart(text="hm", provider="some-host")


# --- the whole catalog


@table("name", CATALOG)
def test_the_catalog_has_each_row_under_its_name(name: str) -> None:
    row = CATALOG[name]
    assert row.name == name
    assert row.docs.startswith("https://")
    assert row.structured[-1] == "prompt"
    assert row.base_url_variable
    if row.base_url:
        assert check_base_url(row.base_url, where=name) == row.base_url


def test_no_two_rows_share_a_variable_or_an_address() -> None:
    variables = [
        name
        for row in CATALOG.values()
        for name in (
            *row.key_variables,
            *row.other_key_variables,
            *row.joined_key_variables,
            *(variable for names in row.settings_variables.values() for variable in names),
            row.base_url_variable,
            *row.other_base_url_variables,
        )
    ]
    addresses = [row.base_url for row in CATALOG.values() if row.base_url]
    assert len(set(variables)) == len(variables)
    assert len(set(addresses)) == len(addresses)


def test_plain_http_is_for_ones_own_machine() -> None:
    plain = {name for name, row in CATALOG.items() if row.base_url.startswith("http:")}
    assert plain == {*LOCAL, "ollama"}
    assert {urlsplit(CATALOG[name].base_url).hostname for name in plain} == {"localhost"}


def test_what_is_stable_has_a_judge() -> None:
    recorded = {(case.provider.name, case.operation) for case in cases()}
    by_sdk = {("openai", "models"), ("anthropic", "models"), ("azure", "models")}  # test_models_sdk, test_azure
    by_sdk |= {("ollama", "embeddings"), ("ollama", "models")}  # ollama/test_requests, ollama/test_answers
    assert {(name, endpoint) for name, endpoints in STABLE.items() for endpoint in endpoints} == recorded | by_sdk
    assert all(STABLE[name] <= set(CATALOG[name].codecs) for name in STABLE)


# --- servers on one's own machine


def test_a_local_server_is_configured_by_its_address_and_sends_no_key() -> None:
    account = EnvAccount({"OLLAMA_BASE_URL": "http://127.0.0.1:4321/v1/"})
    assert account.providers() == ["ollama"]
    assert account.config("ollama").base_url == "http://127.0.0.1:4321/v1"
    assert account.keys("ollama", None) == []


def test_a_local_server_that_asks_for_a_key_gets_one() -> None:
    row = attrs.evolve(CATALOG["vllm"], auth=BEARER)
    headers: dict[str, str] = {}
    sign(headers, row.auth, Secret("token"))
    assert headers["authorization"].encode() == b"Bearer token"


# --- what a provider lacks is refused

SCHEMA = ResponseFormat(type="json_schema", schema={"type": "object"})
F = Tool(name="f", parameters={"type": "object"})
PDF = FilePart(data="AA==", media_type="application/pdf")


def said(part: Any) -> Message:
    return Message(role="user", content=[part])


@table(
    ("provider", "messages", "options"),
    [
        ("groq", [HELLO], {"n": 2}),
        ("groq", [HELLO], {"logprobs": True}),
        ("groq", [said(PDF)], {}),
        ("deepseek", [HELLO], {"response_format": SCHEMA}),
        ("deepseek", [said(ImagePart(url="https://a.example/b.png"))], {}),
        ("deepseek", [HELLO], {"web_search": WebSearch()}),
        ("xai", [HELLO], {"web_search": WebSearch()}),
        ("xai", [said(AudioPart(data="AA==", format="wav"))], {}),
        ("openrouter", [HELLO], {"n": 2}),
        ("perplexity", [HELLO], {"tools": [F]}),
        ("perplexity", [HELLO], {"response_format": ResponseFormat(type="json_object")}),
        ("cerebras", [said(ImagePart(url="https://a.example/b.png"))], {}),
        ("together", [said(PDF)], {}),
        ("mistral", [HELLO], {"logprobs": True}),
        ("mistral", [HELLO], {"tools": [Tool(name="f", kind="custom")]}),
        ("huggingface", [HELLO], {"n": 2}),
        ("vllm", [HELLO], {"web_search": WebSearch()}),
        ("lmstudio", [HELLO], {"response_format": ResponseFormat(type="json_object")}),
        ("ollama-openai", [HELLO], {"tools": [F], "tool_choice": ToolChoice(mode="required")}),
    ],
)
def test_what_would_change_the_meaning_is_refused(
    provider: str, messages: list[Message], options: dict[str, Any]
) -> None:
    with pytest.raises(UnsupportedError) as caught:
        build(provider, *messages, **options)
    assert caught.value.message.startswith(f"{provider} ")
    assert "; " in caught.value.message
    assert (caught.value.provider, caught.value.model) == (provider, "m")


@table(
    ("provider", "options"),
    [
        ("groq", {"logit_bias": {"5": 1.0}, "metadata": {"a": "b"}}),
        ("deepseek", {"seed": 5, "user": "u", "parallel_tool_calls": False}),
        ("xai", {"logit_bias": {"5": 1.0}, "top_k": 5}),
        ("openrouter", {"store": True}),
        ("perplexity", {"seed": 5}),
        ("cerebras", {"presence_penalty": 0.5, "frequency_penalty": 0.5}),
        ("together", {"user": "u"}),
        ("mistral", {"user": "u", "store": True}),
        ("huggingface", {"user": "u"}),
        ("ollama-openai", {"logit_bias": {"5": 1.0}}),
    ],
)
def test_what_only_tunes_is_left_out_with_a_warning(provider: str, options: dict[str, Any]) -> None:
    built = build(provider, **options)
    assert json.loads(built.request.body) == {"model": "m", "messages": [{"role": "user", "content": "Hello"}]}
    assert sorted(built.warnings) == [f"{name} was left out: {provider} has no such option" for name in sorted(options)]


@table("name", [row.name for row in COMPATIBLE if row.name != "openai"])
def test_a_developer_is_a_system_message_everywhere_else(name: str) -> None:
    assert body(name, Message(role="developer", content="d"))["messages"] == [{"role": "system", "content": "d"}]


@pytest.mark.parametrize("name", ["groq", "perplexity", "mistral"])
def test_streams_that_tell_their_usage_anyway_are_not_asked(name: str) -> None:
    assert "stream_options" not in body(name, stream=True)
    assert body("deepseek", stream=True)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    ("provider", "field"), [("groq", "max_completion_tokens"), ("deepseek", "max_tokens"), ("mistral", "max_tokens")]
)
def test_the_limit_of_tokens_has_the_vendors_name(provider: str, field: str) -> None:
    assert body(provider, max_tokens=5)[field] == 5


def test_together_counts_log_probabilities() -> None:
    assert body("together", logprobs=True, top_logprobs=3)["logprobs"] == 3


def test_a_tool_that_cannot_be_named_is_the_only_one() -> None:
    sent = body("llamacpp", tools=[F, Tool(name="g")], tool_choice=ToolChoice(mode="tool", name="f"))
    assert ([tool["function"]["name"] for tool in sent["tools"]], sent["tool_choice"]) == (["f"], "required")


# --- Mistral's specification allows no other words than its own

CHAT_FIELDS = {
    *("model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed", "metadata"),
    *("response_format", "tools", "tool_choice", "presence_penalty", "frequency_penalty", "n", "prediction"),
    *("parallel_tool_calls", "prompt_mode", "reasoning_effort", "guardrails", "prompt_cache_key", "safe_prompt"),
}
MESSAGE_FIELDS = {
    "system": {"role", "content"},
    "user": {"role", "content"},
    "assistant": {"role", "content", "tool_calls", "prefix"},
    "tool": {"role", "content", "tool_call_id", "name"},
}
PART_FIELDS = {
    "text": {"type", "text"},
    "image_url": {"type", "image_url"},
    "document_url": {"type", "document_url", "document_name"},
    "file": {"type", "file_id"},
    "input_audio": {"type", "input_audio"},
    "thinking": {"type", "thinking", "closed"},
}


def test_mistral_is_told_nothing_that_its_specification_does_not_have() -> None:
    messages = [
        Message(role="developer", content="d", name="x"),
        Message(
            role="user",
            name="Ann",
            content=[
                TextPart(text="t"),
                ImagePart(data="AA==", media_type="image/png", detail="low"),
                FilePart(url="https://a.example/b.pdf", filename="b.pdf"),
                FilePart(file_id="f"),
                AudioPart(data="AA==", format="wav"),
            ],
        ),
        Message(
            role="assistant",
            content=[
                ReasoningPart(text="hm", provider="mistral"),
                RefusalPart(refusal="no"),
                ToolCall(id="c", name="f", arguments="{}"),
            ],
        ),
        Message(role="tool", tool_call_id="c", content="{}", is_error=True),
    ]
    options: dict[str, Any] = {
        "temperature": 0.5,
        "top_p": 0.5,
        "max_tokens": 5,
        "presence_penalty": 0.5,
        "frequency_penalty": 0.5,
        "stop": ["x"],
        "seed": 5,
        "n": 2,
        "user": "u",
        "safety_identifier": "s",
        "metadata": {"a": "b"},
        "store": True,
        "service_tier": "flex",
        "verbosity": "low",
        "reasoning": Reasoning(effort="high"),
        "parallel_tool_calls": False,
        "prompt_cache_key": "k",
        "prompt_cache_retention": "24h",
        "prediction": Prediction(content=[TextPart(text="p")]),
        "response_format": SCHEMA,
        "tools": [Tool(name="f")],
        "tool_choice": ToolChoice(mode="required", allowed=["f"]),
        "top_k": 5,
        "logit_bias": {"5": 1.0},
    }
    sent = body("mistral", *messages, stream=True, **options)
    assert set(sent) <= CHAT_FIELDS
    for message in sent["messages"]:
        assert set(message) <= MESSAGE_FIELDS[message["role"]]
        parts = message["content"] if isinstance(message["content"], list) else []
        assert all(set(part) <= PART_FIELDS[part["type"]] for part in parts)
    assert sent["tools"] == [{"type": "function", "function": {"name": "f", "parameters": _EMPTY}}]
    assert sent["prediction"] == {"type": "content", "content": "p"}
    assert sent["random_seed"] == 5


_EMPTY = {"type": "object", "properties": {}}


def test_mistrals_embeddings_are_told_nothing_else_either() -> None:
    request = EmbeddingRequest(model="asked", input=["a"], dimensions=256, user="u", encoding_format="base64")
    built = CATALOG["mistral"].codecs["embeddings"].build(request, Target(provider="mistral", model="m"))
    assert json.loads(built.request.body) == {"model": "m", "input": ["a"], "output_dimension": 256}
    assert built.warnings == [
        "encoding_format was left out: mistral gives vectors as numbers only",
        "user was left out: mistral has no such option",
    ]
