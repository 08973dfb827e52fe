"""The fields of the Go gateway's `config.json` that have an equivalent, and how such a file is recognised.

https://docs.getbifrost.ai/deployment-guides/config-json/schema-reference
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, cast

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Set as AbstractSet


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """A value in the form that the gateway exports: literal, or the name of a variable."""

    value: str | None = None
    ref: str | None = None
    env_var: str | None = None
    from_env: bool | None = None
    type: Literal["plain_text", "env", "vault"] | None = None


class Alias(msgspec.Struct, frozen=True, kw_only=True):
    """The provider's name of a model, in the long form."""

    model_id: str
    model_name: str | None = None
    model_family: str | None = None
    description: str | None = None


class KeyBlock(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a key for one kind of provider: `azure_key_config`, `vllm_key_config` and others."""

    url: str | Reference | None = None
    endpoint: str | Reference | None = None
    deployments: dict[str, str] | None = None
    api_version: str | Reference | None = None


class KeyTable(msgspec.Struct, frozen=True, kw_only=True):
    """A key."""

    id: str | None = None
    name: str | None = None
    description: str | None = None
    status: str | None = None
    value: str | Reference | None = None
    models: list[str] | None = None
    blacklisted_models: list[str] | None = None
    weight: float | None = None
    aliases: dict[str, str | Alias] | None = None
    enabled: bool | None = None
    use_for_batch_api: bool | None = None


class Network(msgspec.Struct, frozen=True, kw_only=True):
    """`network_config`. Backoffs are in milliseconds or durations such as `500ms`; everything else is in seconds."""

    base_url: str | None = None
    extra_headers: dict[str, str] | None = None
    default_request_timeout_in_seconds: float | None = None
    stream_idle_timeout_in_seconds: float | None = None
    keep_alive_timeout_in_seconds: float | None = None
    max_retries: int | None = None
    retry_backoff_initial: float | str | None = None
    retry_backoff_max: float | str | None = None
    retry_backoff_initial_ms: float | None = None
    retry_backoff_max_ms: float | None = None
    max_conns_per_host: int | None = None
    allow_private_network: bool | None = None
    insecure_skip_verify: bool | None = None
    ca_cert_pem: str | Reference | None = None
    enforce_http2: bool | None = None


class Concurrency(msgspec.Struct, frozen=True, kw_only=True):
    """`concurrency_and_buffer_size`."""

    concurrency: int | None = None
    buffer_size: int | None = None


class Proxy(msgspec.Struct, frozen=True, kw_only=True):
    """`proxy_config`."""

    type: Literal["none", "http", "socks5", "environment"]
    url: str | Reference | None = None
    username: str | Reference | None = None
    password: str | Reference | None = None
    ca_cert_pem: str | Reference | None = None


class Custom(msgspec.Struct, frozen=True, kw_only=True):
    """`custom_provider_config`."""

    base_provider_type: str
    is_key_less: bool | None = None
    allowed_requests: dict[str, bool] | None = None
    request_path_overrides: dict[str, str] | None = None
    does_not_send_done_marker: bool | None = None
    """Streams without a final marker are accepted in any case."""


class ProviderTable(msgspec.Struct, frozen=True, kw_only=True):
    """A provider."""

    keys: list[Any] | None = None
    network_config: Network | None = None
    concurrency_and_buffer_size: Concurrency | None = None
    proxy_config: Proxy | None = None
    custom_provider_config: Custom | None = None
    send_back_raw_request: bool | None = None
    send_back_raw_response: bool | None = None
    """Responses always have `raw`."""
    store_raw_request_response: bool | None = None
    description: str | None = None
    status: str | None = None


class Client(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of `client` that have an equivalent."""

    drop_excess_requests: bool | None = None


SECTIONS: Mapping[str, str] = {
    "source_of_truth": "there is no configuration store",
    "encryption_key": "there is no store to encrypt",
    "config_store": "there is no configuration store",
    "logs_store": "there is no log store",
    "vector_store": "there is no semantic cache",
    "governance": "there are no virtual keys, budgets, rate limits and routing rules",
    "auth_config": "there is no dashboard to log in to",
    "mcp": "tool servers are not set up from a file",
    "plugins": "plugins are given to the client: Bifrost(plugins=[...])",
    "framework": "there is no price catalog",
    "server": "there is no server",
    "websocket": "there is no server",
    "guardrails_config": "there are no guardrails",
    "audit_logs": "there is no log store",
    "cluster_config": "there are no nodes",
    "load_balancer_config": "keys and model groups are chosen by their weights",
    "large_payload_optimization": "bodies are bounded by limits",
    "scim_config": "there are no users",
    "access_profiles": "there are no users",
    "alerting": "there are no alerts",
    "feature_flags": "there are no feature flags",
    "env_label": "there is no user interface",
    "circuit_breaker_config": "there are no circuit breakers",
}
"""The sections without an equivalent, each with the text of its note."""

PROVIDERS: AbstractSet[str] = frozenset(
    [
        *("anthropic", "azure", "bedrock", "bedrock_mantle", "cerebras", "cohere", "databricks", "deepgram"),
        *("deepseek", "elevenlabs", "fireworks", "gemini", "groq", "huggingface", "mistral", "nebius", "ollama"),
        *("openai", "opencode-go", "opencode-zen", "openrouter", "parasail", "perplexity", "replicate", "runware"),
        *("runway", "sarvam", "sgl", "vertex", "vllm", "xai"),
    ]
)
"""The gateway's own providers. Those that bifrost lacks are ignored with a note; any other name is an error."""

OURS: Mapping[str, str] = {"sgl": "sglang"}
"""bifrost's names of the gateway's providers, if they differ."""

OPERATIONS: Mapping[str, str] = {"chat_completion": "chat", "embedding": "embeddings", "list_models": "models"}
"""The gateway's names of bifrost's operations, if they differ. Its suffix `_stream` corresponds to the prefix
`stream_`.
"""

_MARKS = frozenset([*SECTIONS, "client", "version"])
_PROVIDER_MARKS = frozenset(ProviderTable.__struct_fields__) - {"keys"} | {"openai_config", "prompt_cache"}
_KEY_MARKS = frozenset(["blacklisted_models", "use_for_batch_api"])
_BLOCK = "_key_config"


def is_original(document: Mapping[str, Any]) -> bool:
    """Return whether a document is the gateway's `config.json`: it has a field that only that format has.

    A document without such a field means the same in both formats.
    """
    schema = document.get("$schema")
    if not _MARKS.isdisjoint(document) or (isinstance(schema, str) and "getbifrost.ai" in schema):
        return True
    tables = _tables(document.get("providers"))
    keys = [key for table in tables for key in _tables(table.get("keys"))]
    return any(not _PROVIDER_MARKS.isdisjoint(table) for table in tables) or any(
        name in _KEY_MARKS or is_block(name) for key in keys for name in key
    )


def _tables(value: object) -> list[dict[str, Any]]:
    """Return the tables in a table or a list."""
    if isinstance(value, dict):
        value = list(cast("dict[str, object]", value).values())
    entries = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", each) for each in entries if isinstance(each, dict)]


def is_block(name: str) -> bool:
    """Return whether a field of a key has its settings for one kind of provider."""
    return name.endswith(_BLOCK)


def operation_of(request: str) -> str:
    """Return bifrost's name of one of the gateway's request types: `stream_chat` for `chat_completion_stream`."""
    stem = request.removesuffix("_stream")
    return ("stream_" if stem != request else "") + OPERATIONS.get(stem, stem)
