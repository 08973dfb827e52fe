from __future__ import annotations

from typing import Any

import pytest

from bifrost import Bifrost, Key, ProviderConfig, Secret
from bifrost.config import CallOptions, ConnectionConfig, NetworkConfig, RetryConfig, Timeouts
from bifrost.errors import InvalidKeyError, MissingKeyError, UnknownProviderError
from bifrost.providers.azure import AzureSettings
from bifrost.providers.base import Provider, operations_of
from bifrost.providers.catalog import CATALOG
from bifrost.settings import Settings
from bifrost.settings.original.form import is_original, operation_of
from bifrost.testing import MockTransport, fake_key
from bifrost.wire.auth import BEARER, NoAuth
from tests.providers.test_custom import path_of
from tests.settings.files import ENVIRON, problems_json, read_json, refused
from tests.table import table

KEY = {"name": "main", "value": "env.K1", "models": ["*"], "weight": 1.0}


def openai(**fields: Any) -> dict[str, Any]:
    return {"client": {}, "providers": {"openai": {"keys": [KEY], **fields}}}


def corp(**fields: Any) -> dict[str, Any]:
    custom = fields.pop("custom", {})
    table = {"keys": [KEY], "custom_provider_config": {"base_provider_type": "openai", **custom}, **fields}
    return {"providers": {"corp": table}}


def config_of(document: Any, provider: str = "openai") -> ProviderConfig:
    config: Any = read_json(document).account.config(provider)
    return config


def keys_of(document: Any, provider: str = "openai") -> list[Key]:
    keys: Any = read_json(document).account.keys(provider, None)
    return list(keys)


def row_of(settings: Settings, name: str = "corp") -> Provider:
    rows: Any = settings.account.providers()
    (row,) = [row for row in rows if not isinstance(row, str) and row.name == name]
    return row


def urls_of(document: Any) -> dict[str, str]:
    """Give where each operation of the provider `corp` is sent to."""
    settings = read_json(document)
    row, config = row_of(settings), settings.account.config("corp")
    assert isinstance(config, ProviderConfig)
    base = config.base_url or row.base_url
    return {operation: base + path_of(row, operation) for operation in operations_of(row)}


# --- which form it is


@table(
    "document",
    [
        {"$schema": "https://www.getbifrost.ai/schema"},
        {"client": {}},
        {"config_store": {"enabled": False}},
        {"version": 1},
        openai(network_config={}),
        {"providers": {"openai": {"keys": [{"use_for_batch_api": True}]}}},
        {"providers": {"azure": {"keys": [{"azure_key_config": {}}]}}},
        {"providers": {"a": 1, "b": {"keys": [1, {"blacklisted_models": []}]}}},
    ],
)
def test_the_gateways_form_is_recognised(document: Any) -> None:
    assert is_original(document)


@table(
    "document",
    [
        {},
        {"$schema": "docs/bifrost.schema.json"},
        {"timeout": 3},
        {"providers": {"openai": {"keys": ["a"]}}},
        {"providers": {"openai": {"keys": "a"}}},
        {"providers": []},
    ],
)
def test_ours_is_not_taken_for_it(document: Any) -> None:
    assert not is_original(document)


@pytest.mark.parametrize("models", [["*"], ["gpt-4o"], []])
def test_what_could_be_either_means_the_same_in_both(models: list[str]) -> None:
    provider = {"openai": {"keys": [{"name": "a", "value": "env.K1", "models": models, "weight": 2}]}}
    ours, original = keys_of({"providers": provider}), keys_of({"client": {}, "providers": provider})
    assert [key.allows("gpt-4o") for key in ours] == [key.allows("gpt-4o") for key in original]
    assert (ours[0].name, ours[0].value, ours[0].weight) == (original[0].name, original[0].value, original[0].weight)


def test_a_mixture_of_both_is_refused() -> None:
    assert problems_json({"timeout": 3, "models": {}, **openai()}) == [
        f"{name}: this belongs to bifrost's own format, and the rest of the file to the gateway's config.json; use one"
        for name in ("timeout", "models")
    ]


# --- the example of its documentation


async def test_a_file_as_its_documentation_shows_it() -> None:
    settings = read_json(
        {
            "$schema": "https://www.getbifrost.ai/schema",
            "client": {"drop_excess_requests": False},
            "providers": {
                "openai": {
                    "keys": [
                        {"name": "first", "value": "env.K1", "models": ["*"], "weight": 2.0},
                        {"name": "second", "value": "env.K2", "models": ["gpt-4o-mini"], "weight": 1.0},
                    ],
                    "network_config": {"max_retries": 3, "retry_backoff_initial": 500, "retry_backoff_max": 5000},
                    "concurrency_and_buffer_size": {"concurrency": 3, "buffer_size": 10},
                }
            },
            "config_store": {"enabled": False},
        }
    )
    assert settings.notes == ()
    assert settings.options == CallOptions()
    assert settings.account.keys("openai", None) == [
        Key(name="first", value=Secret(ENVIRON["K1"]), weight=2.0),
        Key(name="second", value=Secret(ENVIRON["K2"]), models=["gpt-4o-mini"]),
    ]
    assert settings.account.config("openai") == ProviderConfig(
        concurrency=3, queue=10, retry=RetryConfig(max_retries=3, backoff_base=0.5, backoff_cap=5.0)
    )
    mock = MockTransport()
    mock.reply("hi")
    async with Bifrost(**settings.arguments(), transport=mock) as client:
        assert (await client.chat("openai/gpt-4o-mini", "hello")).text == "hi"


test_a_file_as_its_documentation_shows_it = pytest.mark.anyio(test_a_file_as_its_documentation_shows_it)


def test_what_it_does_not_say_has_our_defaults() -> None:
    assert config_of(openai()) == ProviderConfig()
    assert config_of(openai(network_config=None, concurrency_and_buffer_size=None)) == ProviderConfig()


# --- keys


@table(
    ("version", "models", "expected"),
    [
        (2, ["*"], None),
        (2, [], []),
        (2, ["gpt-4o"], ["gpt-4o"]),
        (2, None, None),
        (1, [], None),
        (1, ["gpt-4o"], ["gpt-4o"]),
        (2, ["gpt-4o", "*"], None),
    ],
)
def test_lists_of_models(version: int, models: list[str] | None, expected: list[str] | None) -> None:
    (key,) = keys_of({**openai(keys=[{**KEY, "models": models}]), "version": version})
    assert key.models == expected


def test_everything_of_a_key_is_taken_over() -> None:
    (key,) = keys_of(
        openai(
            keys=[
                {
                    "id": "7",
                    "name": "main",
                    "description": "for tests",
                    "value": "env.K1",
                    "models": ["*"],
                    "blacklisted_models": ["gpt-4o-audio"],
                    "weight": 0.5,
                    "aliases": {"fast": "gpt-4o-mini", "best": {"model_id": "gpt-4o", "model_family": "openai"}},
                    "enabled": True,
                }
            ]
        )
    )
    assert key == Key(
        name="main",
        value=Secret(ENVIRON["K1"]),
        id="7",
        weight=0.5,
        deny=["gpt-4o-audio"],
        aliases={"fast": "gpt-4o-mini", "best": "gpt-4o"},
    )


def test_deployments_are_aliases() -> None:
    (key,) = keys_of(openai(keys=[{**KEY, "azure_key_config": {"deployments": {"gpt-4o": "mine"}}}]))
    assert key.aliases == {"gpt-4o": "mine"}


@table(
    "value",
    [
        "env.K1",
        {"value": "env.K1"},
        {"value": "", "env_var": "env.K1", "from_env": True},
        {"ref": "env.K1", "type": "env"},
        {"ref": "K1", "type": "env"},
        {"value": ENVIRON["K1"], "type": "plain_text"},
    ],
)
def test_every_form_of_a_value(value: Any) -> None:
    (key,) = keys_of(openai(keys=[{**KEY, "value": value}]))
    assert key.value == Secret(ENVIRON["K1"])


def test_a_variable_that_is_not_set_is_told_with_provider_key_and_name() -> None:
    error = refused(
        '{"client": {}, "providers": {"openai": {"keys": [{"name": "main", "value": "env.NOT"}]}}}', suffix=".json"
    )
    assert isinstance(error, MissingKeyError)
    assert (error.provider, error.key) == ("openai", "main")
    assert "providers.openai.keys[0].value: the environment variable NOT is not set" in str(error)


def test_wrong_keys_are_told_at_their_place() -> None:
    told = problems_json(
        openai(
            keys=[
                {**KEY, "value": ""},
                {**KEY, "value": "vault.path/to"},
                {**KEY, "value": {"ref": "path/to", "type": "vault"}},
                {**KEY, "weight": -1},
                {**KEY, "blacklisted_models": [" x"]},
                {**KEY, "models": ["a"], "aliases": {"b": "c"}},
                {**KEY, "aliases": {"a": "b"}, "azure_key_config": {"deployments": {"a": "c"}}},
                KEY,
                KEY,
                "env.K1",
                {**KEY, "weight": "1"},
            ]
        )
    )
    assert [each.partition(": ")[0].removeprefix("providers.openai.") for each in told] == [
        "keys[0].value",
        "keys[1].value",
        "keys[1].value",
        "keys[2].value",
        "keys[2].value",
        "keys[3].weight",
        "keys[4].blacklisted_models",
        "keys[5]",
        "keys[6].aliases.a",
        "keys[9]",
        "keys[10].weight",
        "keys[7].name",
        "keys[8].name",
    ]


def test_an_empty_value_is_an_invalid_key() -> None:
    error = refused('{"client": {}, "providers": {"openai": {"keys": [{"value": ""}]}}}', suffix=".json")
    assert isinstance(error, InvalidKeyError)


def test_a_switched_off_key_may_lack_its_variable_and_that_is_noted() -> None:
    settings = read_json(openai(keys=[KEY, {**KEY, "name": "old", "value": "env.NOT", "enabled": False}]))
    assert [key.name for key in keys_of(openai())] == ["main"]
    assert settings.notes == (
        "providers.openai.keys[1]: left out, since it is switched off and its variable is not set",
    )


# --- network, sizes


def test_durations_and_sizes_in_their_units() -> None:
    config = config_of(
        openai(
            network_config={
                "base_url": "https://proxy.example/",
                "extra_headers": {"x-a": "1"},
                "default_request_timeout_in_seconds": 30,
                "stream_idle_timeout_in_seconds": 90,
                "keep_alive_timeout_in_seconds": 15,
                "max_retries": 9,
                "retry_backoff_initial": "1m0.5s",
                "retry_backoff_max": 90_000,
            },
            concurrency_and_buffer_size={"concurrency": 30, "buffer_size": 100},
        )
    )
    assert config == ProviderConfig(
        base_url="https://proxy.example/v1",
        extra_headers={"x-a": "1"},
        concurrency=30,
        queue=100,
        timeouts=Timeouts(first_token=30, idle_bytes=90),
        # Ten attempts at one provider must not end at our bound of six.
        retry=RetryConfig(max_retries=9, attempts_total=10, backoff_base=60.5, backoff_cap=90.0),
        connections=ConnectionConfig(idle=15),
    )


def test_the_older_names_of_backoffs() -> None:
    config = config_of(openai(network_config={"retry_backoff_initial_ms": 100, "retry_backoff_max_ms": 2000}))
    assert config.retry == RetryConfig(backoff_base=0.1, backoff_cap=2.0)


def test_zero_is_the_default_but_for_retries() -> None:
    network = {
        "default_request_timeout_in_seconds": 0,
        "stream_idle_timeout_in_seconds": 0,
        "retry_backoff_initial": "0s",
        "retry_backoff_max": 0,
        "max_conns_per_host": 0,
    }
    config = config_of(openai(network_config=network, concurrency_and_buffer_size={"concurrency": 0, "buffer_size": 0}))
    assert config == ProviderConfig()
    assert config_of(openai(network_config={"max_retries": 0})).retry.max_retries == 0


@pytest.mark.parametrize(("connections", "concurrency"), [(5, 5), (50, 30), (None, 30)])
def test_few_connections_bound_the_concurrency(connections: int | None, concurrency: int) -> None:
    config = config_of(
        openai(
            network_config={"max_conns_per_host": connections},
            concurrency_and_buffer_size={"concurrency": 30, "buffer_size": 100},
        )
    )
    assert config.concurrency == concurrency


@pytest.mark.parametrize(("drop", "on_full"), [(True, "drop"), (False, "wait"), (None, "wait")])
def test_what_happens_when_a_queue_is_full(drop: bool | None, on_full: str) -> None:
    assert config_of({**openai(), "client": {"drop_excess_requests": drop}}).on_full == on_full


def test_wrong_numbers_are_told_at_their_place() -> None:
    told = problems_json(
        {
            **openai(
                network_config={
                    "max_retries": -1,
                    "retry_backoff_initial": "5s",
                    "retry_backoff_max": 100,
                    "retry_backoff_max_ms": 100,
                    "default_request_timeout_in_seconds": -3,
                    "extra_headers": {"authorization": "x"},
                    "insecure_skip_verify": True,
                    "ca_cert_pem": "pem",
                },
                concurrency_and_buffer_size={"concurrency": -1, "buffer_size": 1.5},
            ),
            "version": 3,
        }
    )
    assert [each.partition(": ")[0].removeprefix("providers.openai.") for each in told] == [
        "version",
        "concurrency_and_buffer_size.buffer_size",
    ]
    told = problems_json(
        openai(
            network_config={
                "max_retries": -1,
                "retry_backoff_initial": "5s",
                "retry_backoff_max": 100,
                "retry_backoff_max_ms": 100,
                "default_request_timeout_in_seconds": -3,
                "extra_headers": {"authorization": "x"},
                "insecure_skip_verify": True,
                "ca_cert_pem": "pem",
            },
            concurrency_and_buffer_size={"concurrency": -1},
        )
    )
    assert [each.partition(": ")[0].removeprefix("providers.openai.") for each in told] == [
        "network_config.insecure_skip_verify",
        "concurrency_and_buffer_size.concurrency",
        "network_config.default_request_timeout_in_seconds",
        "network_config.max_retries",
        "network_config.retry_backoff_max",
        "network_config.retry_backoff_initial",
        "network_config.extra_headers",
    ]


@table("duration", ["5", "5 s", "soon", "s", "1d", "5s later"])
def test_what_is_no_duration_is_told(duration: str) -> None:
    assert problems_json(openai(network_config={"retry_backoff_initial": duration})) == [
        (
            "providers.openai.network_config.retry_backoff_initial: write milliseconds as a number, or a duration such "
            "as 500ms or 1m30s"
        )
    ]


# --- addresses


def test_the_version_stands_in_our_address_and_in_the_gateways_path() -> None:
    settings = read_json(
        {
            "client": {},
            "providers": {
                "openai": {"keys": [KEY], "network_config": {"base_url": "https://a.example"}},
                "anthropic": {"keys": [KEY], "network_config": {"base_url": "https://b.example"}},
            },
        }
    )
    configs = [settings.account.config(name) for name in ("openai", "anthropic")]
    assert [config.base_url for config in configs] == ["https://a.example/v1", "https://b.example"]


def test_a_version_that_the_gateway_would_double_stands_once() -> None:
    settings = read_json(openai(network_config={"base_url": "https://a.example/v1/"}))
    assert settings.account.config("openai").base_url == "https://a.example/v1"
    assert settings.notes == (
        (
            "providers.openai.network_config.base_url: "
            "it ends in /v1, which the gateway would repeat; it is sent once here"
        ),
    )


def test_an_address_may_stand_in_a_variable_or_in_the_keys() -> None:
    assert config_of(openai(network_config={"base_url": "env.ADDRESS"})).base_url == ENVIRON["ADDRESS"]
    keys = [{**KEY, "vllm_key_config": {"url": {"ref": "env.ADDRESS", "type": "env"}}}]
    assert config_of(openai(keys=keys)).base_url == ENVIRON["ADDRESS"]


def test_one_address_may_stand_in_several_places() -> None:
    keys = [
        {**KEY, "ollama_key_config": {"url": "http://localhost:1/"}},
        {**KEY, "name": "b", "ollama_key_config": {"url": "http://localhost:1"}, "azure_key_config": None},
    ]
    assert config_of(openai(keys=keys)).base_url == "http://localhost:1/v1"


def test_two_addresses_of_one_provider_are_told() -> None:
    keys = [
        {**KEY, "ollama_key_config": {"url": "http://localhost:1"}},
        {**KEY, "name": "b", "ollama_key_config": {"url": "http://localhost:2"}},
    ]
    assert problems_json(openai(keys=keys)) == [
        (
            "providers.openai.keys[1].ollama_key_config.url: this is not the address of "
            "providers.openai.keys[0].ollama_key_config.url; define one provider for each"
        )
    ]


def test_plain_http_needs_the_private_network() -> None:
    network = {"base_url": "http://models.example"}
    assert problems_json(openai(network_config=network)) == [
        (
            "providers.openai.network_config.base_url: plain http sends keys readable to everyone on the way; use "
            "https, or set allow_private_network: true in network_config if the network is yours"
        )
    ]
    config = config_of(openai(network_config={**network, "allow_private_network": True}))
    assert (config.base_url, config.allow_insecure_http) == ("http://models.example/v1", True)


@table("url", ["models.example", "ftp://models.example", "https://", "https://u:p@models.example"])
def test_what_is_no_address_is_told(url: str) -> None:
    (told,) = problems_json(openai(network_config={"base_url": url}))
    assert told.startswith("providers.openai.network_config.base_url: the base URL ")


# --- custom providers


def test_a_custom_provider() -> None:
    settings = read_json(corp(network_config={"base_url": "http://localhost:8000"}))
    row = row_of(settings)
    assert row.base_url == "https://api.openai.com/v1"
    assert urls_of(corp(network_config={"base_url": "http://localhost:8000"}))["chat"] == (
        "http://localhost:8000/v1/chat/completions"
    )


def test_a_keyless_one() -> None:
    document = corp(custom={"is_key_less": True}, keys=[{"name": "a", "value": "", "aliases": {"fast": "qwen3"}}])
    assert row_of(read_json(document)).auth == NoAuth()
    (key,) = keys_of(document, "corp")
    assert key.aliases == {"fast": "qwen3"}
    assert keys_of(corp(custom={"is_key_less": True}, keys=[]), "corp") == []


def test_a_key_that_is_not_sent_is_noted() -> None:
    assert read_json(corp(custom={"is_key_less": True})).notes == (
        "providers.corp.keys[0].value: left out, corp takes no key",
    )


def test_one_that_lacks_a_key_is_told_both_ways_out() -> None:
    assert problems_json(corp(keys=[])) == [
        'providers.corp: corp has no key; add keys with a value, "env.NAME" say, or is_key_less: true if it wants none'
    ]


@table(
    ("allowed", "operations"),
    [
        (None, ["chat", "stream_chat", "embeddings", "models"]),
        ({"chat_completion": True, "chat_completion_stream": True}, ["chat", "stream_chat"]),
        ({"chat_completion": True, "chat_completion_stream": False, "embedding": True}, ["chat", "embeddings"]),
        ({"list_models": True}, ["models"]),
    ],
)
def test_allowed_requests(allowed: dict[str, bool] | None, operations: list[str]) -> None:
    row = row_of(read_json(corp(custom={"allowed_requests": allowed})))
    answered: list[str] = []
    for operation in ("chat", "stream_chat", "embeddings", "models"):
        try:
            path_of(row, operation)
        except Exception:  # noqa: BLE001, S112 - whichever way it is refused
            continue
        answered.append(operation)
    assert answered == operations


def test_requests_that_are_not_here_are_noted() -> None:
    settings = read_json(corp(custom={"allowed_requests": {"chat_completion": True, "rerank": True, "speech": False}}))
    assert settings.notes == (
        "providers.corp.custom_provider_config.allowed_requests: left out, openai does not support these here: rerank",
    )


def test_nothing_allowed_is_told() -> None:
    (told,) = problems_json(corp(custom={"allowed_requests": {"rerank": True}}))
    assert told.startswith("providers.corp.custom_provider_config.allowed_requests: the provider has no operation left")


@table(
    ("request_type", "operation"),
    [
        ("chat_completion", "chat"),
        ("chat_completion_stream", "stream_chat"),
        ("embedding", "embeddings"),
        ("list_models", "models"),
        ("responses", "responses"),
        ("responses_stream", "stream_responses"),
    ],
)
def test_the_words_for_operations(request_type: str, operation: str) -> None:
    assert operation_of(request_type) == operation


BASE = {"base_url": "https://gateway.example/llm"}


@pytest.mark.parametrize(
    ("overrides", "urls"),
    [
        (
            {"chat_completion": "/api/chat"},
            {
                "chat": "https://gateway.example/llm/api/chat",
                "stream_chat": "https://gateway.example/llm/v1/chat/completions",
                "embeddings": "https://gateway.example/llm/v1/embeddings",
            },
        ),
        (
            {"chat_completion": "api/chat?v=2", "chat_completion_stream": "/api/stream"},
            {
                "chat": "https://gateway.example/llm/api/chat?v=2",
                "stream_chat": "https://gateway.example/llm/api/stream",
                "models": "https://gateway.example/llm/v1/models",
            },
        ),
        (
            {"chat_completion": "https://gateway.example/other", "embedding": "/embed"},
            {
                "chat": "https://gateway.example/other",
                "embeddings": "https://gateway.example/llm/embed",
                "models": "https://gateway.example/llm/v1/models",
            },
        ),
    ],
)
def test_paths_of_its_own(overrides: dict[str, str], urls: dict[str, str]) -> None:
    found = urls_of(corp(custom={"request_path_overrides": overrides}, network_config=BASE))
    assert {operation: found[operation] for operation in urls} == urls


def test_full_addresses_alone_need_no_other() -> None:
    document = corp(
        custom={
            "allowed_requests": {"chat_completion": True, "chat_completion_stream": True},
            "request_path_overrides": {
                "chat_completion": "https://far.example:8443/ask",
                "chat_completion_stream": "https://far.example:8443/stream",
            },
        }
    )
    assert urls_of(document) == {
        "chat": "https://far.example:8443/ask",
        "stream_chat": "https://far.example:8443/stream",
    }


def test_paths_without_an_address_are_below_the_vendors() -> None:
    document = corp(custom={"request_path_overrides": {"chat_completion": "/v2/chat"}})
    assert urls_of(document)["chat"] == "https://api.openai.com/v2/chat"
    assert urls_of(document)["models"] == "https://api.openai.com/v1/models"


def test_several_hosts_are_told() -> None:
    assert problems_json(
        corp(custom={"request_path_overrides": {"chat_completion": "https://far.example/ask"}}, network_config=BASE)
    ) == [
        (
            "providers.corp.custom_provider_config.request_path_overrides: these have several hosts; define one "
            "provider for each"
        )
    ]


@table("path", ["/../x", "/a b", "https://", "https://far.example", "://x", "https://[x/y z"])
def test_what_is_no_path_is_told(path: str) -> None:
    (told,) = problems_json(corp(custom={"request_path_overrides": {"chat_completion": path}}, network_config=BASE))
    assert told.startswith(
        "providers.corp.custom_provider_config.request_path_overrides.chat_completion: this is neither a path nor"
    )


def test_paths_of_requests_that_are_not_here_are_noted() -> None:
    settings = read_json(corp(custom={"request_path_overrides": {"rerank": "/say"}}))
    assert settings.notes == (
        (
            "providers.corp.custom_provider_config.request_path_overrides.rerank: left out, openai does not support "
            "this here"
        ),
    )


def test_wrong_custom_providers_are_told() -> None:
    told = problems_json(
        {
            "providers": {
                "openai": {"keys": [KEY], "custom_provider_config": {"base_provider_type": "openai"}},
                "a": {"keys": [KEY], "custom_provider_config": {"base_provider_type": "opnai"}},
                "b": {"keys": [KEY], "custom_provider_config": {}},
                "c/d": {"keys": [KEY], "custom_provider_config": {"base_provider_type": "openai"}},
                "opnai": {"keys": [KEY]},
            }
        }
    )
    assert told == [
        ("providers.openai.custom_provider_config: openai is a built-in provider; remove this, or choose another name"),
        (
            "providers.a.custom_provider_config.base_provider_type: "
            "there is no provider named 'opnai'; did you mean 'openai'?"
        ),
        "providers.b.custom_provider_config: base_provider_type is missing; it must be text",
        "providers.\"c/d\": a provider's name is printable, without blank and '/'; calls write provider/model",
        (
            "providers.opnai: there is no provider named 'opnai'; did you mean 'openai'? (a custom provider needs a "
            "custom_provider_config)"
        ),
    ]


# --- what has no counterpart


def test_providers_that_are_not_here_are_noted() -> None:
    settings = read_json(
        {
            "client": {},
            "providers": {
                "openai": {"keys": [KEY]},
                "runway": {"keys": [{"value": "env.NOT"}]},
                "mine": {"keys": [KEY], "custom_provider_config": {"base_provider_type": "replicate"}},
            },
        }
    )
    assert settings.account.providers() == ["openai"]
    assert [note.partition(";")[0] for note in settings.notes] == [
        "providers.runway: the provider is left out, there is no runway here",
        "providers.mine: the provider is left out, there is no replicate here",
    ]


@pytest.mark.parametrize("providers", [None, {}, {"runway": {"keys": [KEY]}}])
def test_no_provider_at_all_is_told(providers: Any) -> None:
    (told,) = problems_json({"client": {}, "providers": providers})
    assert told.startswith("providers: no provider can be used here; there are: openai, ")


def test_an_unknown_provider_is_an_error_of_its_class() -> None:
    error = refused('{"client": {}, "providers": {"opnai": {"keys": []}}}', suffix=".json")
    assert isinstance(error, UnknownProviderError)


def test_every_part_that_is_left_out_is_noted() -> None:
    settings = read_json(
        {
            "client": {
                "drop_excess_requests": True,
                "initial_pool_size": 300,
                "enable_logging": True,
                "allow_direct_keys": False,
            },
            "encryption_key": "env.KEY",
            "governance": {"virtual_keys": [{"id": "a"}]},
            "mcp": {"client_configs": [{"name": "a"}]},
            "plugins": [{"name": "otel"}],
            "config_store": {"enabled": False, "type": "sqlite"},
            "logs_store": {"enabled": True},
            "vector_store": {},
            "something_new": 1,
            "providers": {
                "openai": {
                    "keys": [{**KEY, "use_for_batch_api": True, "vllm_key_config": {"model_name": "x"}}],
                    "network_config": {
                        "insecure_skip_verify": True,
                        "max_retry": 3,
                        "default_request_timeout_in_seconds": 9,
                    },
                    "send_back_raw_request": True,
                    "send_back_raw_response": True,
                    "store_raw_request_response": True,
                    "newer_setting": {"disable_store": True},
                }
            },
        }
    )
    assert settings.notes == (
        "encryption_key: left out, there is no store to encrypt",
        "governance: left out, there are no virtual keys, budgets, rate limits and routing rules",
        "mcp: left out, tool servers are not set up from a file",
        "plugins: left out, plugins are given to the client: Bifrost(plugins=[...])",
        "logs_store: left out, there is no log store",
        "something_new: left out, this is not known here",
        "client: left out, since there is no server, log or object pool: initial_pool_size, enable_logging",
        "providers.openai.newer_setting: left out, this is not known here",
        "providers.openai.network_config.max_retry: left out, this is not known here; did you mean 'max_retries'?",
        "providers.openai.send_back_raw_request: left out, responses do not include their request",
        "providers.openai.store_raw_request_response: left out, there is no log store",
        (
            "providers.openai.network_config.insecure_skip_verify: left out, certificates are always checked; name "
            "your authority in ca_cert_pem"
        ),
        "providers.openai.keys[0].vllm_key_config.model_name: left out, this is not known here",
        "providers.openai.keys: use_for_batch_api is left out, there are no batches",
        (
            "providers.openai.network_config.default_request_timeout_in_seconds: taken for streams, until their first "
            "token; for plain responses set the client's timeout"
        ),
    )


@pytest.mark.parametrize("kind", ["none", "environment"])
def test_a_proxy_by_its_kind_alone(kind: str) -> None:
    assert config_of(openai(proxy_config={"type": kind})).network == NetworkConfig(proxy=kind)


def test_a_proxy_with_its_address_and_credentials() -> None:
    proxy = {"type": "http", "url": {"env_var": "PROXY", "type": "env"}, "username": "u", "password": "env.K1"}
    settings = read_json(openai(proxy_config={**proxy, "ca_cert_pem": "pem"}))
    assert settings.notes == (
        (
            "providers.openai.proxy_config.ca_cert_pem: left out; a proxy is checked as the provider is, put its "
            "authority into ca_cert_pem of network_config"
        ),
    )
    network = config_of(openai(proxy_config=proxy)).network
    assert network == NetworkConfig(proxy=ENVIRON["PROXY"], proxy_auth=Secret(f"u:{ENVIRON['K1']}"))
    plain = config_of(openai(proxy_config={"type": "socks5", "url": "here:1080"})).network
    assert plain == NetworkConfig(proxy="socks5://here:1080")


def test_an_authority_and_http2() -> None:
    network = {"ca_cert_pem": "-----BEGIN CERTIFICATE-----", "enforce_http2": True}
    assert config_of(openai(network_config=network)).network == NetworkConfig(ca=network["ca_cert_pem"], http2=True)


def test_a_proxy_that_cannot_be_is_told() -> None:
    assert problems_json(openai(proxy_config={"type": "http"})) == [
        "providers.openai.proxy_config.url: a proxy of type http needs a URL; for example: http://host:port"
    ]
    assert problems_json(openai(proxy_config={"type": "http", "url": "http://u:p@host"})) == [
        "providers.openai.proxy_config.url: the proxy's address contains a user name; set username and password instead"
    ]
    assert problems_json(openai(proxy_config={"type": "http", "url": "vault.x"})) == [
        (
            "providers.openai.proxy_config.url: a vault cannot be asked from here; put the value into the "
            "environment: env.NAME"
        )
    ]
    assert problems_json(openai(proxy_config={"type": "ftp"})) == [
        "providers.openai.proxy_config.type: expected 'none' or 'http' or 'socks5' or 'environment', found text"
    ]


def test_what_is_no_table_is_told() -> None:
    assert problems_json({"client": 1, "providers": [1]}) == [
        "client: expected a table, found the number 1",
        "providers: expected a table, found a list",
    ]


def test_a_name_that_is_written_twice_is_told() -> None:
    text = '{"client": {}, "client": {}, "providers": {"openai": {"keys": [{"value": "env.K1", "value": "env.K1"}]}}}'
    error = refused(text, suffix=".json")
    assert [each.message for each in error.errors] == [
        "client: this is set twice; remove one of them",
        "providers.openai.keys[0].value: this is set twice; remove one of them",
    ]


# --- providers that have words of their own


def azure(*blocks: Any, **table: Any) -> Any:
    keys = [{**KEY, "name": f"key-{place}", "azure_key_config": block} for place, block in enumerate(blocks)]
    return {"client": {}, "providers": {"azure": {"keys": keys, **table}}}


def test_azure_has_address_version_and_deployments_in_each_key() -> None:
    document = azure(
        {"endpoint": "https://mine.openai.azure.com", "api_version": "2024-10-21", "deployments": {"gpt-4o": "d1"}},
        {"endpoint": {"ref": "ADDRESS", "type": "env"}, "api_version": {"env_var": "VERSION", "from_env": True}},
    )
    environ = {**ENVIRON, "ADDRESS": "https://other.openai.azure.com", "VERSION": "2025-04-01-preview"}
    settings = read_json(document, environ=environ)
    assert settings.account.providers() == ["azure"]
    assert settings.account.config("azure").base_url is None
    first, second = settings.account.keys("azure", None)
    assert first.settings == AzureSettings(endpoint="https://mine.openai.azure.com", api_version="2024-10-21")
    assert first.aliases == {"gpt-4o": "d1"}
    assert second.settings == AzureSettings(endpoint="https://other.openai.azure.com", api_version="2025-04-01-preview")
    assert settings.notes == ()


def test_a_key_of_azure_without_an_address_goes_to_that_of_the_network() -> None:
    document = azure(
        {"endpoint": "https://mine.openai.azure.com"}, {}, network_config={"base_url": "https://net.openai.azure.com"}
    )
    assert config_of(document, "azure").base_url == "https://net.openai.azure.com"
    first, second = keys_of(document, "azure")
    assert (first.settings, second.settings) == (AzureSettings(endpoint="https://mine.openai.azure.com"), None)


@pytest.mark.parametrize(
    ("block", "told"),
    [
        ({"endpoint": "mine"}, "providers.azure.keys[0].azure_key_config.endpoint: the base URL must be"),
        ({"endpoint": "http://mine.example"}, "providers.azure: key 'key-0': plain http to mine.example"),
        (
            {"endpoint": "https://a.example", "api_version": "latest"},
            "providers.azure.keys[0].azure_key_config.api_version: 'latest' is not a version",
        ),
    ],
)
def test_a_wrong_address_or_version_of_azure_is_told_at_its_place(block: Any, told: str) -> None:
    (found,) = problems_json(azure(block))
    assert found.startswith(told)


def test_a_version_of_a_provider_that_has_none_in_its_paths_is_noted() -> None:
    settings = read_json(openai(keys=[{**KEY, "azure_key_config": {"api_version": "2024-10-21"}}]))
    assert settings.notes == (
        "providers.openai.keys[0].azure_key_config.api_version: left out, this provider's paths have no version",
    )


def test_azure_without_an_address_is_told() -> None:
    (told,) = problems_json({"client": {}, "providers": {"azure": {"keys": [KEY]}}})
    hint = "add base_url to its network_config, or an address in the settings of each key"
    assert told == f"providers.azure: azure has no address of its own; {hint}"


def test_a_local_server_needs_no_key_and_gets_one_that_is_given() -> None:
    def document(value: str) -> Any:
        key = {**KEY, "value": value, "vllm_key_config": {"url": "http://localhost:8000"}}
        return {"providers": {"vllm": {"keys": [key]}}}

    assert read_json(document("")).account.providers() == ["vllm"]
    assert config_of(document(""), "vllm").base_url == "http://localhost:8000/v1"
    assert row_of(read_json(document("env.K1")), "vllm").auth == BEARER
    assert keys_of(document("env.K1"), "vllm")[0].value == Secret(ENVIRON["K1"])


def test_a_provider_that_is_called_otherwise_here_keeps_its_name() -> None:
    settings = read_json({"client": {}, "providers": {"sgl": {"keys": []}}})
    assert dict(row_of(settings, "sgl").codecs) == dict(CATALOG["sglang"].codecs)


def test_a_fake_key_is_what_is_sent() -> None:
    assert ENVIRON["K1"] == fake_key("K1")
