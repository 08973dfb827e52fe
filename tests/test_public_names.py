"""The public names are a promise: adding one is a decision, and taking one away is a breaking change."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

import bifrost.testing
from bifrost import Bifrost, BifrostError, ChunkStream, Plugin, errors
from tests.table import table

NAMES = """
    __version__ Account AdaptiveConfig AgentInterruptedError AssistantMessage AttemptRecord AudioOutput AudioPart
    AuthenticationError AwsCredentials BadRequestError Balance Bifrost BifrostError BreakerConfig RetryBudgetConfig
    BudgetExceededError
    CacheMark CallCancelledError CallContext CallOptions CallTimeoutError ChatAccumulator ChatRequest ChatResponse
    Choice Chunk ChunkStream CircuitOpenError Citation ClientClosedError ConfigError ConnectError ConnectionConfig
    ContentFilterError ContextLengthError CredentialsExhaustedError DefaultOptions DROP EmbeddingRequest
    EmbeddingResponse EntraCredentials EnvAccount GoogleCredentials
    Explanation FilePart ForkedClientError HedgeConfig ImagePart InternalError InvalidKeyError InvalidRequestError Key
    KeyPoolConfig LimitError SizeLimits MalformedResponseError MapIterator MapResult Message MissingKeyError ModelGroup
    ModelInfo ModelsResponse
    NetworkConfig NotFoundError OpaquePart OutputType OutputValidationError OverloadedError ParsedResponse ParsedStream
    PermissionDeniedError Plugin PluginError Prediction ProtocolError ProviderConfig ProviderError ProviderInfo
    ProviderStats ProviderTable ProviderTool QueueFullError QuotaExceededError RateLimit RateLimitError Reasoning
    ReasoningPart RefusalPart ResponseFormat ResponseTooLargeError RetryConfig Secret ServerError ShuttingDownError
    StaticAccount Stats StreamInterruptedError StreamOptions StreamReset SyncBifrost TextPart Timeouts Token
    TokenError TokenSource Tool ToolCall
    ToolChoice ToolError TransportError UnknownProviderError UnsupportedError Usage UsageError VideoPart WebSearch
    WrongLoopError
"""

TESTING = """
    Cassette CassetteError ConnectionCounts DeadlockError Fault FaultPlan FaultRule FaultRun LoopbackProvider MockCall
    MockTransport NetworkBlockedError RawServer Rules Script Step UnexpectedCallError VirtualLoop assert_called
    assert_no_secret block_network fake_key leak_check no_waits run_virtual attempts_of virtual_backends
"""
"""The names of the test kit."""

SIGNATURES = {
    "__init__": "account, *, models, plugins, transport, timeout, max_retries, fallbacks, extra_headers, "
    "on_interrupt, clock",
    "chat": "model, messages, *, output, max_output_retries, system, timeout, max_retries, fallbacks, extra_headers, "
    "key, session, **options",
    "stream_chat": "model, messages, *, output, system, timeout, max_retries, fallbacks, extra_headers, key, "
    "session, on_interrupt, **options",
    "respond": "model, input, *, output, max_output_retries, timeout, max_retries, fallbacks, extra_headers, key, "
    "session, **options",
    "stream_respond": "model, input, *, output, timeout, max_retries, fallbacks, extra_headers, key, session, "
    "on_interrupt, **options",
    "map": "inputs, *, model, concurrency, ordered, output, max_output_retries, system, timeout, max_retries, "
    "fallbacks, extra_headers, key, session, **options",
    "embed": "model, input, *, images, dimensions, encoding_format, output_dtype, input_type, truncate, user, extra, "
    "timeout, max_retries, fallbacks, extra_headers, key, session",
    "moderate": "model, input, *, images, extra, timeout, max_retries, fallbacks, extra_headers, key, session",
    "ocr": "model, document, *, pages, include_images, image_limit, image_min_size, table_format, image_schema, "
    "document_schema, prompt, extra, timeout, max_retries, fallbacks, extra_headers, key, session",
    "generate_image": "model, prompt, *, n, size, quality, style, background, output_format, output_compression, "
    "moderation, response_format, user, extra, timeout, max_retries, fallbacks, extra_headers, key, session",
    "speak": "model, input, *, voice, instructions, response_format, speed, extra, timeout, max_retries, fallbacks, "
    "extra_headers, key, session",
    "stream_speech": "model, input, *, voice, instructions, response_format, speed, extra, timeout, max_retries, "
    "fallbacks, extra_headers, key, session",
    "transcribe": "model, file, *, filename, translate, language, prompt, response_format, temperature, "
    "timestamp_granularities, chunking_strategy, known_speaker_names, known_speaker_references, extra, timeout, "
    "max_retries, fallbacks, extra_headers, key, session",
    "rerank": "model, query, documents, *, top_n, max_tokens_per_doc, return_documents, extra, timeout, max_retries, "
    "fallbacks, extra_headers, key, session",
    "complete": "model, prompt, *, timeout, max_retries, fallbacks, extra_headers, key, session, **options",
    "stream_complete": "model, prompt, *, timeout, max_retries, fallbacks, extra_headers, key, session, **options",
    "count_tokens": "model, messages, *, system, timeout, max_retries, fallbacks, extra_headers, key, session, "
    "**options",
    "list_models": "provider, *, limit, after, timeout, max_retries, extra_headers, key",
    "with_options": "*, timeout, max_retries, fallbacks, extra_headers, key, session, on_interrupt",
    "add_plugin": "plugin, *, before",
    "remove_plugin": "name",
    "reorder_plugins": "names",
    "subscribe": "function",
    "add_provider": "provider, *, keys, config",
    "update_provider": "provider, *, keys, config",
    "remove_provider": "name, *, drain",
    "refresh": "*providers",
    "from_file": "path, **overrides",
    "stats": "",
    "providers": "",
    "explain": "model, messages, *, output, stream, system, timeout, max_retries, fallbacks, extra_headers, key, "
    "session, **options",
    "open": "",
    "warm_up": "*providers, *, connections",
    "close": "*, drain",
}

STREAM = {"close", "display", "final", "partial", "text_stream"}
ENGINES = {"attach", "begin", "check_text", "check_unread", "commit", "drop_source", "source_gone", "text_of"}
"""What the engine and `sync` use of a stream."""

HOOKS = {"before_call", "after_call", "before", "after", "on_chunk", "on_attempt", "open", "close"}


def own(kind: type) -> set[str]:
    return {name for name in vars(kind) if not name.startswith("_")}


def written(function: Any) -> str:
    """Write a signature by its names alone."""
    parts: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name == "self":
            continue
        if parameter.kind is parameter.KEYWORD_ONLY and "*" not in parts:
            parts.append("*")
        stars = {parameter.VAR_POSITIONAL: "*", parameter.VAR_KEYWORD: "**"}
        parts.append(stars.get(parameter.kind, "") + name)
    return ", ".join(parts)


def test_the_public_names_are_these() -> None:
    assert sorted(bifrost.__all__) == sorted(NAMES.split())
    assert len(bifrost.__all__) == len(set(bifrost.__all__))


def test_the_names_of_the_test_kit_are_these() -> None:
    assert sorted(bifrost.testing.__all__) == sorted(TESTING.split())


@table("name", bifrost.testing.__all__)
def test_every_name_of_the_test_kit_is_explained(name: str) -> None:
    assert (inspect.getdoc(getattr(bifrost.testing, name)) or "").strip()


@table("kind", ["Cassette", "Fault", "FaultPlan", "FaultRule", "FaultRun", "MockTransport", "Step"])
def test_every_method_of_the_test_kit_is_explained(kind: str) -> None:
    for name in own(getattr(bifrost.testing, kind)):
        value = inspect.getattr_static(getattr(bifrost.testing, kind), name)
        if callable(value) or isinstance(value, property | classmethod):
            assert (inspect.getdoc(value) or "").strip(), f"{kind}.{name} has no docstring"


@table("name", bifrost.__all__)
def test_every_public_name_is_there_and_is_explained(name: str) -> None:
    value = getattr(bifrost, name)
    if isinstance(value, type):
        assert (value.__doc__ or "").strip(), f"{name} has no docstring"


def test_every_error_is_public_and_no_other_exception() -> None:
    ours = {
        each.__name__ for each in vars(errors).values() if isinstance(each, type) and issubclass(each, BifrostError)
    }
    assert ours <= set(bifrost.__all__)
    public = {name for name in bifrost.__all__ if isinstance(getattr(bifrost, name), type)}
    assert {name for name in public if issubclass(getattr(bifrost, name), BaseException)} == ours


@table("name", SIGNATURES)
def test_the_clients_methods_take_these_arguments(name: str) -> None:
    assert written(getattr(Bifrost, name)) == SIGNATURES[name]


def test_the_client_has_no_other_methods() -> None:
    assert own(Bifrost) == set(SIGNATURES) - {"__init__"} | {"plugins", "responses", "files", "batches"}


@pytest.mark.parametrize("kind", [Bifrost, ChunkStream, Plugin])
def test_every_public_method_is_explained(kind: type) -> None:
    for name in own(kind) - {"name", "timeout", "on_error"}:
        assert (inspect.getdoc(getattr(kind, name)) or "").strip(), f"{kind.__name__}.{name} has no docstring"


@table("name", ["__init__", "chat", "stream_chat", "embed", "list_models", "remove_plugin", "reorder_plugins"])
def test_methods_that_can_fail_say_how(name: str) -> None:
    told = Bifrost.__doc__ if name == "__init__" else getattr(Bifrost, name).__doc__
    assert "Raises `" in (told or "")


def test_every_argument_of_a_call_is_explained() -> None:
    for method, told in ((Bifrost.chat, Bifrost.chat.__doc__), (Bifrost.__init__, Bifrost.__doc__)):
        for name in list(inspect.signature(method).parameters)[1:]:
            assert f" {name}: " in (told or "") or f"**{name}: " in (told or ""), name


def test_a_stream_and_a_plugin_have_these_members() -> None:
    assert own(ChunkStream) == STREAM | ENGINES
    assert own(Plugin) == HOOKS | {"name", "timeout", "on_error"}


def test_calls_may_be_written_as_for_openai() -> None:
    for method in (Bifrost.chat, Bifrost.stream_chat):
        parameters = inspect.signature(method).parameters
        assert list(parameters)[1:3] == ["model", "messages"]
    assert list(inspect.signature(Bifrost.embed).parameters)[1:3] == ["model", "input"]
