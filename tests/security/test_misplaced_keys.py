"""A key where no key belongs is told of without being shown: in no error's text, attribute or frame."""

from __future__ import annotations

import traceback
from typing import TYPE_CHECKING, Any, cast

import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    ConfigError,
    InvalidRequestError,
    Key,
    NetworkConfig,
    ProviderConfig,
    RetryConfig,
    StaticAccount,
    SyncBifrost,
)
from bifrost.config import Timeouts
from bifrost.misplaced_keys import is_surely_key, looks_like_key, without_keys
from bifrost.providers.compatible import speaks_openai
from bifrost.testing import MockTransport
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

KEYS = [
    "sk-CANARY-7f3a+91/Zk",
    "sk-proj-7fQ3aZ91xZkLm2Xv8Rt0Yw4BcWX4Z",
    "gsk_7fQ3aZ91xZkLm2Xv8Rt0Yw4B",
    "0f8fad5bd9cb469fa16570867728950e",
    "7fQ3aZ91xZkLm2Xv8Rt0Yw4BcWX4Zq9T",
]
"""Of vendors with prefixes, and of some without: hexadecimal digits, letters and digits."""

GPT = "openai/gpt-4o-mini"

ACCOUNT: Any = StaticAccount
CLIENT: Any = Bifrost
ENTRY: Any = Key
"""As somebody writes who does not look at types."""

MADE: dict[str, Callable[[Any], Any]] = {
    "account: swapped": lambda key: ACCOUNT(keys={key: "openai"}),
    "account: swapped, in a list": lambda key: ACCOUNT(keys={key: ["openai"]}),
    "account: bare": lambda key: ACCOUNT(keys=key),
    "account: in a list": lambda key: ACCOUNT(keys=[key]),
    "account: in a dict": lambda key: ACCOUNT(keys={"openai": {"value": key}}),
    "account: twice with a blank": lambda key: ACCOUNT(keys={"openai": f"{key} {key}"}),
    "account: as bytes": lambda key: ACCOUNT(keys={"openai": key.encode()}),
    "account: settings of it": lambda key: ACCOUNT(configs={key: ProviderConfig()}),
    "account: as settings": lambda key: ACCOUNT(configs={"openai": key}),
    "account: as a row": lambda key: ACCOUNT(providers=[key]),
    "client: bare": Bifrost,
    "client: api_key": lambda key: CLIENT(api_key=key),
    "client: a dict": lambda key: CLIENT({"openai": key}),
    "client: transport": lambda key: CLIENT(transport=key),
    "client: in a group": lambda key: CLIENT(models={"fast": [key]}),
    "client: plugin": lambda key: CLIENT(plugins=[key]),
    "client: fallbacks": lambda key: CLIENT(fallbacks=key),
    "client: header": lambda key: CLIENT(extra_headers={"authorization": f"Bearer {key}"}),
    "client: name of a header": lambda key: CLIENT(extra_headers={f"{key}:": "x"}),
    "client: timeout": lambda key: CLIENT(timeout=key),
    "client: file": Bifrost.from_file,
    "client of threads: bare": SyncBifrost,
    "client of threads: file": lambda key: SyncBifrost.from_file(f"{key}.toml"),
    "key: weight": lambda key: ENTRY(name="a", value="sk-0", weight=key),
    "key: models": lambda key: ENTRY(name="a", value="sk-0", models=key),
    "key: alias": lambda key: ENTRY(name="a", value="sk-0", aliases=cast("Any", {key: 1})),
    "key: its name, and no value": lambda key: ENTRY(name=key, value="x y"),
    "settings: user": lambda key: ProviderConfig(base_url=f"https://{key}@api.example.com"),
    "settings: password": lambda key: ProviderConfig(base_url=f"https://user:{key}@api.example.com"),
    "settings: query": lambda key: ProviderConfig(base_url=f"https://api.example.com/?key={key}"),
    "settings: address": lambda key: ProviderConfig(base_url=key),
    "settings: path over http": lambda key: ProviderConfig(base_url=f"http://api.example.com/{key}"),
    "settings: header": lambda key: ProviderConfig(extra_headers={"x-api-key": key}),
    "settings: name of a header": lambda key: ProviderConfig(idempotency_header=f"{key} "),
    "settings: timeouts": lambda key: ProviderConfig(timeouts=key),
    "settings: a timeout": lambda key: Timeouts(connect=key),
    "settings: retries": lambda key: RetryConfig(max_retries=key),
    "network: password": lambda key: NetworkConfig(proxy=f"http://user:{key}@proxy.example:1"),
    "network: scheme": lambda key: NetworkConfig(proxy=f"ftp://user:{key}@proxy.example:1"),
    "network: port": lambda key: NetworkConfig(proxy=f"http://user:{key}@proxy.example:99999"),
    "network: proxy": lambda key: NetworkConfig(proxy=key),
    "network: user and password": lambda key: NetworkConfig(proxy_auth=key),
    "row: name": lambda key: speaks_openai(key, "https://api.example.com", "SOME_KEY"),
    "row: password": lambda key: speaks_openai("some", f"https://user:{key}@api.example.com", "SOME_KEY"),
    "row: variable": lambda key: speaks_openai("some", "https://api.example.com", key),
}

CALLED: dict[str, Callable[[Any, Any], Any]] = {
    "provider": lambda client, key: client.add_provider(key),
    "provider, with keys": lambda client, key: client.add_provider(key, keys="openai"),
    "settings": lambda client, key: client.add_provider("groq", config=key),
    "keys": lambda client, key: client.add_provider("groq", keys={key: "a"}),
    "changed provider": lambda client, key: client.update_provider(key, keys="x"),
    "removed provider": lambda client, key: client.remove_provider(key),
    "warmed provider": lambda client, key: client.warm_up(key),
    "plugin": lambda client, key: client.remove_plugin(key),
    "pin": lambda client, key: client.chat(GPT, "hi", key=key),
    "api_key": lambda client, key: client.chat(GPT, "hi", api_key=key),
    "model": lambda client, key: client.chat(key, "hi"),
    "provider of a model": lambda client, key: client.chat(f"{key}/x", "hi"),
    "fallback": lambda client, key: client.chat(GPT, "hi", fallbacks=[key]),
    "fallbacks": lambda client, key: client.chat(GPT, "hi", fallbacks=key),
    "header": lambda client, key: client.chat(GPT, "hi", extra_headers={"authorization": f"Bearer {key}"}),
    "header of Anthropic": lambda client, key: client.chat(GPT, "hi", extra_headers={"x-api-key": key}),
    "header with a line end": lambda client, key: client.chat(GPT, "hi", extra_headers={"x-team": f"{key}\n"}),
    "name of a header": lambda client, key: client.chat(GPT, "hi", extra_headers={f"{key}:": "x"}),
    "headers": lambda client, key: client.chat(GPT, "hi", extra_headers=key),
    "option": lambda client, key: client.chat(GPT, "hi", tenant=key),
    "extra": lambda client, key: client.chat(GPT, "hi", extra={key: {}}),
    "inside of extra": lambda client, key: client.chat(GPT, "hi", extra={"openai": key}),
    "timeout": lambda client, key: client.chat(GPT, "hi", timeout=key),
    "tool choice": lambda client, key: client.chat(GPT, "hi", tool_choice=key),
    "reasoning": lambda client, key: client.chat(GPT, "hi", reasoning=key),
    "model of embeddings": lambda client, key: client.embed(key, "hi"),
    "provider of models": lambda client, key: client.list_models(key),
    "explained model": lambda client, key: client.explain(key, "hi"),
}


def shown_by(error: BaseException) -> Iterator[str]:
    """Give the texts, attributes and frames of an error and of what it came of. Frames of the tests are left out."""
    seen: set[int] = set()
    waiting: list[Any] = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        yield from (str(each), repr(each), repr(vars(each)))
        for frame in traceback.TracebackException.from_exception(each, capture_locals=True).stack:
            if "/tests/" not in frame.filename:
                yield f"{frame.filename}:{frame.name} {frame.locals}"
        waiting += [each.__cause__, each.__context__, *getattr(each, "errors", ())]


def check(error: BaseException, key: str) -> None:
    small = key.lower()
    pieces = [small[at : at + 8] for at in range(len(key) - 7)]
    for text in shown_by(error):
        found = [piece for piece in pieces if piece in text.lower()]
        assert not found, text.replace(key, "<the key>")


@table("key", KEYS)
@table("way", MADE)
async def test_nothing_that_is_made_with_a_key_in_the_wrong_place_shows_it(way: str, key: str) -> None:
    with pytest.raises((BifrostError, TypeError)) as caught:
        MADE[way](key)
    check(caught.value, key)


@table("key", KEYS)
@table("way", CALLED)
async def test_no_call_with_a_key_in_the_wrong_place_shows_it(way: str, key: str) -> None:
    mock = MockTransport()
    account = StaticAccount(keys={"openai": "sk-other-0123456789"})
    async with Bifrost(account, transport=mock) as client:
        with pytest.raises((BifrostError, TypeError)) as caught:
            await CALLED[way](client, key)
    check(caught.value, key)
    assert not mock.calls


@table("way", ["model", "pin", "header", "fallback", "timeout"])
def test_no_call_of_a_thread_shows_it(way: str) -> None:
    for key in KEYS:
        with SyncBifrost(StaticAccount(keys={"openai": "sk-0"}), transport=MockTransport()) as client:
            with pytest.raises(BifrostError) as caught:
                CALLED[way](client, key)
            check(caught.value, key)


@table("key", KEYS[:3])
async def test_a_key_as_a_model_is_not_sent(key: str) -> None:
    mock = MockTransport()
    async with Bifrost(StaticAccount(keys={"openai": "sk-0"}), transport=mock) as client:
        with pytest.raises(InvalidRequestError, match="looks like a key and not like a model's name") as caught:
            await client.chat(f"openai/{key}", "hi")
        check(caught.value, key)
        with pytest.raises(InvalidRequestError, match="looks like a key"):
            client.stream_chat(f"openai/{key}", "hi")
    assert not mock.calls


@table("key", KEYS[:3])
async def test_what_is_wrong_is_said(key: str) -> None:
    with pytest.raises(ConfigError, match="should be a provider's name looks like a key"):
        StaticAccount(keys={key: "openai"})
    with pytest.raises(ConfigError, match="this one looks like a key's value"):
        Key(name=key, value="openai")
    with pytest.raises(InvalidRequestError, match="key= takes a key's name or id"):
        await Bifrost(StaticAccount(keys={"openai": "sk-0"})).chat(GPT, "hi", key=key)
    with pytest.raises(ConfigError, match=r"no provider named '\*\*\*'.*looks like a key or a password"):
        await Bifrost(StaticAccount(keys={"openai": "sk-0"})).add_provider(key)


@pytest.mark.parametrize("place", ["providers.{}.keys = []", "models.fast = ['{}']", "timeout = '{}'", "{} = 1"])
@pytest.mark.parametrize("key", KEYS)
def test_no_file_with_a_key_in_the_wrong_place_shows_it(tmp_path: Path, place: str, key: str) -> None:
    file = tmp_path / "bifrost.toml"
    quoted = f'"{key}"' if place.startswith(("providers", "{")) else key
    file.write_text(place.format(quoted), encoding="utf-8")
    with pytest.raises(ConfigError) as caught:
        Bifrost.from_file(file)
    check(caught.value, key)


@table(
    "name",
    [
        "claude-haiku-4-5-20251001",
        "gpt-4o-mini-2024-07-18",
        "gpt4oDeployment2024Prod1",
        "meta-llama/Llama-3.3-70B-Instruct-Turbo",
        "accounts/fireworks/models/llama-v3p1-405b-instruct",
        "anthropic.claude-3-5-sonnet-20241022-v2:0",
        "ft:gpt-4o-mini-2024-07-18:acme::8aB3xYz1",
        "text-embedding-3-large",
        "0f8fad5b-d9cb-469f-a165-70867728950e",
        "OPENAI_API_KEY",
        "https://api.example.com/v1",
    ],
)
def test_names_are_no_keys(name: str) -> None:
    assert not looks_like_key(name)
    assert not is_surely_key(name)
    assert without_keys(name) == name


async def test_an_error_without_a_key_keeps_its_frames() -> None:
    client = Bifrost(StaticAccount(keys={"openai": "sk-0"}))
    with pytest.raises(InvalidRequestError) as caught:
        await client.chat(GPT, "a prompt may hold sk-CANARY-7f3a+91/Zk", tool_choice="nonsense")
    assert len(traceback.extract_tb(caught.value.__traceback__)) > 3
