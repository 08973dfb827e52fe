"""Keys of one provider at several addresses, over real sockets: each key goes to its own address and to no other."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import attrs
import pytest

from bifrost import (
    AuthenticationError,
    Bifrost,
    BreakerConfig,
    CircuitOpenError,
    ConfigError,
    ConnectError,
    EnvAccount,
    Key,
    MissingKeyError,
    ProviderConfig,
    RetryConfig,
    ServerError,
    StaticAccount,
)
from bifrost.engine.clock import Clock
from bifrost.providers.azure import AZURE, AzureSettings
from bifrost.providers.catalog import CATALOG
from bifrost.testing import LoopbackProvider, fake_key
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = pytest.mark.anyio

MODEL = "azure/gpt-4o-mini"
FAST = RetryConfig(backoff_base=0.001, backoff_cap=0.001)
STEADY = BreakerConfig(enabled=False)


@asynccontextmanager
async def two() -> AsyncIterator[tuple[LoopbackProvider, LoopbackProvider]]:
    async with LoopbackProvider() as west, LoopbackProvider() as east:
        yield west, east


def key(name: str, server: LoopbackProvider | None, *, value: str | None = None) -> Key:
    settings = None if server is None else AzureSettings(endpoint=server.base_url)
    return Key(name=name, value=fake_key(value or name), settings=settings)


def client_of(*keys: Key, retry: RetryConfig = FAST, breaker: BreakerConfig = STEADY, **config: str) -> Bifrost:
    settings = ProviderConfig(retry=retry, breaker=breaker, base_url=config.get("base_url"))
    return Bifrost(StaticAccount(keys={"azure": keys}, configs={"azure": settings}), clock=Clock(random=lambda: 0.0))


def keys_seen(server: LoopbackProvider) -> set[str | None]:
    return {call.key for call in server.calls}


async def test_each_key_goes_to_its_own_address_only() -> None:
    async with two() as (west, east), client_of(key("west", west), key("east", east)) as client:
        with anyio.fail_after(20):
            for name in ("west", "east", "east"):
                assert (await client.chat(MODEL, "hi", key=name)).attempts[0].key == name
            # A connection serves the calls of its own address again, and of no other.
            assert (west.connections.opened, east.connections.opened) == (1, 1)
            for name in ("west", "east"):
                async with client.stream_chat(MODEL, "hi", key=name) as stream:
                    assert (await stream.final()).text
        assert (keys_seen(west), len(west.calls)) == ({"west"}, 2)
        assert (keys_seen(east), len(east.calls)) == ({"east"}, 3)
        assert {call.http.path for call in west.calls} == {"/openai/v1/chat/completions"}


async def test_a_key_without_settings_goes_to_the_providers_address() -> None:
    async with two() as (west, east), client_of(key("own", None), key("east", east), base_url=west.base_url) as client:
        with anyio.fail_after(20):
            await client.chat(MODEL, "hi", key="own")
            await client.chat(MODEL, "hi", key="east")
        assert (keys_seen(west), keys_seen(east)) == ({"own"}, {"east"})


@table("end", ["/openai/v1", "/openai/v1/", "/openai", "/OpenAI/v1", "/"])
async def test_an_address_may_end_in_the_path_of_the_api(end: str) -> None:
    async with LoopbackProvider() as server:
        own, address = fake_key("own"), server.base_url + end
        named = Key(name="own", value=own, settings=AzureSettings(endpoint=address))
        accounts = (
            StaticAccount(keys={"azure": named}),
            StaticAccount(keys={"azure": own}, configs={"azure": ProviderConfig(base_url=address)}),
            EnvAccount({"AZURE_OPENAI_API_KEY": own, "AZURE_OPENAI_ENDPOINT": address}),
        )
        for account in accounts:
            async with Bifrost(account) as client:
                with anyio.fail_after(20):
                    assert (await client.chat(MODEL, "hi")).text
                    (row,) = await client.providers()
            assert server.base_url in (row.address, row.keys[0].address)
        assert [call.http.path for call in server.calls] == ["/openai/v1/chat/completions"] * 3


async def test_a_dated_version_at_an_address_that_ends_in_the_path_of_the_api(tmp_path: Path) -> None:
    async with LoopbackProvider() as server:
        settings = f'{{ endpoint = "{server.base_url}/openai/v1", api_version = "2024-10-21" }}'
        file = tmp_path / "azure.toml"
        file.write_text(f'[[providers.azure.keys]]\nvalue = "{fake_key("own")}"\nsettings = {settings}\n')
        async with Bifrost.from_file(file) as client:
            with anyio.fail_after(20):
                await client.chat("azure/dep", "hi")
        (call,) = server.calls
        assert call.http.path == "/openai/deployments/dep/chat/completions?api-version=2024-10-21"


def test_a_host_named_openai_stays() -> None:
    assert AZURE.address_of is not None
    assert AZURE.address_of(None, "http://openai/openai/v1") == "http://openai"
    assert AZURE.address_of(None, "http://openai/v1") == "http://openai/v1"


@pytest.mark.parametrize("is_down", [True, False])
async def test_if_one_address_fails_the_other_one_serves(is_down: bool) -> None:
    async with two() as (west, east), client_of(key("west", west), key("east", east)) as client:
        if is_down:
            await west.go_down()
        else:
            west.fail(500).times(100)
        with anyio.fail_after(20):
            # Chance always prefers the first key; a retry does not go to the address that has just failed.
            replies = [await client.chat(MODEL, "hi") for _ in range(5)]
        assert [[attempt.key for attempt in reply.attempts] for reply in replies] == [["west", "east"]] * 5
        assert keys_seen(east) == {"east"}
        assert keys_seen(west) <= {"west"}


@pytest.mark.parametrize("is_down", [True, False])
async def test_a_dead_address_does_not_open_the_breaker_of_another(is_down: bool) -> None:
    breaker = BreakerConfig(calls=2, unreachable=2, open=600.0, longest_open=600.0)
    async with (
        two() as (west, east),
        client_of(key("west", west), key("east", east), retry=RetryConfig(max_retries=0), breaker=breaker) as client,
    ):
        if is_down:
            await west.go_down()
        else:
            west.fail(500).times(100)
        with anyio.fail_after(20):
            for _ in range(2):
                with pytest.raises(ConnectError if is_down else ServerError):
                    await client.chat(MODEL, "hi", key="west")
            with pytest.raises(CircuitOpenError, match=west.base_url):
                await client.chat(MODEL, "hi", key="west")
            before = len(west.calls)
            assert {(await client.chat(MODEL, "hi")).attempts[0].key for _ in range(5)} == {"east"}
            assert len(west.calls) == before
            told = await client.explain(MODEL, "hi")
            (pinned,) = (await client.explain(MODEL, "hi", key="west")).candidates
        (planned,) = told.candidates
        assert [(one.name, one.address, one.share, one.breaker) for one in planned.keys] == [
            ("west", west.base_url, 0.0, "open"),
            ("east", east.base_url, 1.0, None),
        ]
        assert f"west at {west.base_url} 0 %, breaker open" in str(planned)
        assert planned.url == f"{east.base_url}/openai/v1/chat/completions"
        assert (planned.breaker, planned.problem) == ("closed", None)
        assert pinned.breaker == "open"
        assert pinned.problem is not None
        assert west.base_url in pinned.problem
        assert f"{'address' if is_down else 'gpt-4o-mini at'} {west.base_url} open" in str(client.stats())
        breakers = client.stats().providers["azure"].breakers or []
        assert {
            (each.address, each.state) for each in breakers if each.model == ("" if is_down else "gpt-4o-mini")
        } == {
            (west.base_url, "open"),
            (east.base_url, "closed"),
        }


async def test_while_every_address_is_left_alone_calls_are_refused() -> None:
    breaker = BreakerConfig(calls=1, unreachable=1, open=600.0, longest_open=600.0)
    async with (
        two() as (west, east),
        client_of(key("west", west), key("east", east), retry=RetryConfig(max_retries=0), breaker=breaker) as client,
    ):
        await west.go_down()
        await east.go_down()
        with anyio.fail_after(20):
            for name in ("west", "east"):
                with pytest.raises(ConnectError):
                    await client.chat(MODEL, "hi", key=name)
            with pytest.raises(CircuitOpenError):
                await client.chat(MODEL, "hi")
        told = await client.explain(MODEL, "hi")
        assert told.candidates[0].breaker == "open"


async def test_an_explanation_refuses_the_address_of_the_only_key_that_serves_the_model() -> None:
    breaker = BreakerConfig(calls=1, unreachable=1, open=600.0, longest_open=600.0)
    async with two() as (west, east):
        other = Key(
            name="east", value=fake_key("east"), models=["other"], settings=AzureSettings(endpoint=east.base_url)
        )
        keys = key("west", west), other
        async with client_of(*keys, retry=RetryConfig(max_retries=0), breaker=breaker) as client:
            await west.go_down()
            with anyio.fail_after(20):
                with pytest.raises(ConnectError):
                    await client.chat(MODEL, "hi")
                with pytest.raises(CircuitOpenError, match=west.base_url):
                    await client.chat(MODEL, "hi")
            (planned,) = (await client.explain(MODEL, "hi")).candidates
        assert planned.breaker == "open"
        assert planned.problem is not None
        assert west.base_url in planned.problem


async def test_keys_change_their_address_while_the_client_runs() -> None:
    async with two() as (west, east), client_of(key("one", west)) as client:
        with anyio.fail_after(20):
            west.fail(401).times(1)
            with pytest.raises(AuthenticationError):
                await client.chat(MODEL, "hi")
            # The same name and value at another address: what the first address said of the key does not count there.
            await client.update_provider("azure", keys=[key("one", east)])
            assert (await client.chat(MODEL, "hi")).text
            await client.update_provider("azure", keys=[key("one", east, value="new"), key("two", west)])
            await client.chat(MODEL, "hi", key="one")
            await client.chat(MODEL, "hi", key="two")
        assert [call.key for call in west.calls] == ["one", "two"]
        assert [call.key for call in east.calls] == ["one", "new"]


async def test_a_change_to_keys_without_an_address_changes_nothing() -> None:
    async with LoopbackProvider() as west, client_of(key("one", west)) as client:
        with pytest.raises(ConfigError, match="its key 'two' names none"):
            await client.update_provider("azure", keys=[key("two", None)])
        assert (await client.chat(MODEL, "hi")).attempts[0].key == "one"


async def test_reasoning_and_ids_know_the_address_that_issued_them() -> None:
    async with two() as (west, east), client_of(key("west", west), key("east", east)) as client:
        with anyio.fail_after(20):
            for name, server in (("west", west), ("east", east)):
                server.reply(tool_calls=[("look", {})])
                reply = await client.chat(MODEL, "hi", key=name)
                (call,) = reply.tool_calls
                assert call.issuer is not None
                assert (call.issuer.address, call.issuer.key) == (server.base_url, name)


async def test_connections_stand_ready_at_each_address() -> None:
    async with two() as (west, east), client_of(key("west", west), key("east", east)) as client:
        with anyio.fail_after(20):
            await client.warm_up("azure", connections=2)
        assert (west.connections.opened, east.connections.opened) == (2, 2)
        assert client.stats().providers["azure"].connections.idle == 4


async def test_a_key_without_any_address_is_told_with_its_name() -> None:
    async with LoopbackProvider() as west, client_of(key("west", west), key("lost", None)) as client:
        with pytest.raises(ConfigError, match=r"its key 'lost' names none; .* AzureSettings") as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.key == "lost"
        assert not west.calls


async def test_settings_of_a_key_whose_provider_takes_none_are_refused_before_anything_is_sent() -> None:
    async with LoopbackProvider() as server:
        one = Key(name="one", value=fake_key("one"), settings=AzureSettings(endpoint="https://west.openai.azure.com"))
        mine = attrs.evolve(CATALOG["openai"], name="mine")
        config = ProviderConfig(base_url=f"{server.base_url}/v1")
        account = StaticAccount(
            keys={"openai": one, "mine": one}, configs={"openai": config, "mine": config}, providers=[mine]
        )
        async with Bifrost(account) as client:
            with pytest.raises(ConfigError, match=r"'one': a key of openai has no settings; remove them") as caught:
                await client.chat("openai/gpt-4o-mini", "hi")
            with pytest.raises(ConfigError, match=r"a key of mine has no settings; .* `key_settings` of the Provider"):
                await client.chat("mine/gpt-4o-mini", "hi")
            with pytest.raises(ConfigError, match="a key of openai has no settings"):
                await client.list_models("openai")
            problem = (await client.explain("openai/gpt-4o-mini", "hi")).candidates[0].problem
        assert problem == caught.value.message
        assert caught.value.key == "one"
        assert not server.calls


async def test_what_azure_lacks_is_named_at_once() -> None:
    async with Bifrost(EnvAccount({"OPENAI_API_KEY": fake_key("other")})) as client:
        with pytest.raises(MissingKeyError, match="set AZURE_OPENAI_API_KEY and AZURE_OPENAI_ENDPOINT, or add"):
            await client.chat(MODEL, "hi")


async def test_plain_http_to_another_host_is_refused_before_anything_is_sent() -> None:
    settings = AzureSettings(endpoint="http://resource.openai.azure.com")
    async with client_of(Key(name="plain", value=fake_key("plain"), settings=settings)) as client:
        with pytest.raises(ConfigError, match="address of key 'plain' of azure: plain http"):
            await client.chat(MODEL, "hi")


async def test_the_table_of_providers_names_the_addresses() -> None:
    async with two() as (west, east), client_of(key("west", west), key("own", None), base_url=east.base_url) as client:
        (row,) = await client.providers()
        assert row.address == east.base_url
        assert [(one.name, one.address) for one in row.keys] == [("west", west.base_url), ("own", None)]
        assert f"west (at {west.base_url})" in str(row.keys[0])


async def test_groups_pass_over_a_provider_only_when_all_its_addresses_are_left_alone() -> None:
    breaker = BreakerConfig(calls=1, unreachable=1, open=600.0, longest_open=600.0)
    async with two() as (west, east):
        account = StaticAccount(
            keys={"azure": [key("west", west), key("east", east)], "openai": fake_key("spare")},
            configs={
                "azure": ProviderConfig(retry=RetryConfig(max_retries=0), breaker=breaker),
                "openai": ProviderConfig(base_url=f"{east.base_url}/v1"),
            },
        )
        groups = {"both": [("azure/gpt-4o-mini", 1.0), ("openai/gpt-4o-mini", 0.0)]}
        async with Bifrost(account, models=groups, clock=Clock(random=lambda: 0.0)) as client:
            with anyio.fail_after(20):
                for name, server in (("west", west), ("east", east)):
                    server.fail(500).times(1)
                    with pytest.raises(ServerError):
                        await client.chat(MODEL, "hi", key=name)
                    served = (await client.chat("both", "hi")).provider
                    assert served == ("azure" if name == "west" else "openai")


async def test_groups_pass_over_a_provider_whose_pinned_key_has_an_address_that_is_left_alone() -> None:
    breaker = BreakerConfig(calls=1, unreachable=1, open=600.0, longest_open=600.0)
    async with two() as (west, east):
        account = StaticAccount(
            keys={"azure": [key("west", west), key("east", east)], "openai": [key("west", None), key("east", None)]},
            configs={
                "azure": ProviderConfig(retry=RetryConfig(max_retries=0), breaker=breaker),
                "openai": ProviderConfig(base_url=f"{east.base_url}/v1"),
            },
        )
        groups = {"both": [("azure/gpt-4o-mini", 1.0), ("openai/gpt-4o-mini", 0.0)]}
        async with Bifrost(account, models=groups, clock=Clock(random=lambda: 0.0)) as client:
            with anyio.fail_after(20):
                west.fail(500).times(1)
                with pytest.raises(ServerError):
                    await client.chat(MODEL, "hi", key="west")
                served = [(await client.chat("both", "hi", key=name)).provider for name in ("west", "east")]
        assert served == ["openai", "azure"]
