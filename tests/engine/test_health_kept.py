"""What is known of a provider when its settings change: it stays, unless the place is another. In virtual time."""

from __future__ import annotations

from typing import Any

import anyio
import attrs
import pytest

from bifrost import (
    AdaptiveConfig,
    AuthenticationError,
    Bifrost,
    BreakerConfig,
    CircuitOpenError,
    ConfigError,
    HedgeConfig,
    Key,
    KeyPoolConfig,
    ProviderConfig,
    RetryBudgetConfig,
    RetryConfig,
    Timeouts,
)
from bifrost.config import ConnectionConfig, NetworkConfig, SizeLimits
from bifrost.testing import MockTransport, fake_key, leak_check
from tests.engine.peers import running
from tests.engine.troubled import MODEL, Calls, client_of, health_of, states_of
from tests.table import table

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

SETTINGS: dict[str, Any] = {
    "breaker": BreakerConfig(calls=4, open=30),
    "retry_budget": RetryBudgetConfig(per_second=0, success=0),
    "retry": RetryConfig(max_retries=1, backoff_base=0.01),
}
"""Of the provider at the beginning."""

SAME_PLACE: dict[str, dict[str, Any]] = {
    "timeouts": {"timeouts": Timeouts(connect=1)},
    "concurrency": {"concurrency": 3},
    "queue": {"queue": 1, "on_full": "drop", "queue_timeout": 1},
    "streams": {"stream_share": 0.1},
    "workers": {"worker_idle": 1},
    "retries": {"retry": RetryConfig(max_retries=0)},
    "size_limits": {"size_limits": SizeLimits(body=1000)},
    "idempotency": {"idempotency_header": "Idempotency-Key"},
    "budget": {"retry_budget": RetryBudgetConfig(per_second=0, success=0, retry=7)},
    "breaker": {"breaker": BreakerConfig(calls=6, open=40)},
    "keys": {"key_pool": KeyPoolConfig(choose="round_robin")},
    "hedges": {"hedge": HedgeConfig()},
    "adaptive": {"adaptive": AdaptiveConfig()},
    "connections": {"connections": ConnectionConfig(idle=1)},
    "sessions": {"cache_lifetime": 60},
    "the same address": {"base_url": "https://api.openai.com/v1/"},
}
OTHER_PLACE: dict[str, dict[str, Any]] = {
    "address": {"base_url": "https://other.example/v1"},
    "path": {"base_url": "https://api.openai.com/v2"},
    "headers": {"extra_headers": {"OpenAI-Organization": "other"}},
    "road": {"network": NetworkConfig(proxy="none")},
}


def known(client: Bifrost) -> tuple[str, float, dict[str, str]]:
    """Give how the breaker stands, what is left of the budget, and the states of the keys."""
    health, now = health_of(client), anyio.current_time()
    return health.state("gpt-4o-mini", now) or "off", health.budget.tokens(now), states_of(client)


async def get_into_trouble(client: Bifrost, mock: MockTransport) -> None:
    """Have one key refused, and then the breaker open, with two retries paid in vain."""
    mock.fail(401)
    with pytest.raises(AuthenticationError):
        await client.chat(MODEL, "hi", key="one")
    mock.fail(503).times(4)
    calls = Calls(client)
    await calls.at_once(2)
    assert len(calls.errors) == 2
    assert known(client) == ("open", 190.0, {"one": "dead", "two": "ready"})
    mock.reply("hello").always()


@table("changed", SAME_PLACE.values(), ids=SAME_PLACE)
async def test_what_is_known_stays_when_the_place_does(changed: dict[str, Any]) -> None:
    mock = MockTransport()
    async with leak_check(), client_of(mock, "one", "two", **SETTINGS) as client:
        await get_into_trouble(client, mock)
        await client.update_provider("openai", config=ProviderConfig(**{**SETTINGS, **changed}))
        with pytest.raises(CircuitOpenError):
            await client.chat(MODEL, "hi")
        assert known(client) == ("open", 190.0, {"one": "dead", "two": "ready"})
        # And it goes on: what is learnt under the new settings is of the same provider.
        await anyio.sleep(40)
        for _ in range(2):
            assert (await client.chat(MODEL, "hi")).attempts[0].key == "two"
        assert known(client) == ("closed", 190.0, {"one": "dead", "two": "ready"})


@table("changed", OTHER_PLACE.values(), ids=OTHER_PLACE)
async def test_at_another_place_nothing_is_known_yet(changed: dict[str, Any]) -> None:
    mock = MockTransport()
    async with leak_check(), client_of(mock, "one", "two", **SETTINGS) as client:
        await get_into_trouble(client, mock)
        await client.update_provider("openai", config=ProviderConfig(**{**SETTINGS, **changed}))
        assert (await client.chat(MODEL, "hi", key="one")).text == "hello"
        assert known(client) == ("closed", 200.0, {"one": "ready", "two": "ready"})


async def test_what_an_attempt_at_a_retired_pool_learns_counts() -> None:
    mock = MockTransport()
    mock.fail(503).delay(5)
    async with leak_check(), client_of(mock, retry=RetryConfig(max_retries=0)) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 1)
            await anyio.sleep(1)
            config = ProviderConfig(connections=ConnectionConfig(idle=1), retry=RetryConfig(max_retries=0))
            await client.update_provider("openai", config=config)
        assert health_of(client).breakers(anyio.current_time())["gpt-4o-mini"].failures == 1


async def test_calls_that_move_to_another_pool_at_the_same_place_leave_nothing_behind() -> None:
    mock = MockTransport()
    mock.reply("hello").delay(5).always()
    async with leak_check(), client_of(mock, "one", concurrency=1) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 3)
            await anyio.sleep(1)
            config = ProviderConfig(concurrency=1, connections=ConnectionConfig(idle=1))
            await client.update_provider("openai", config=config)
        assert not calls.errors
        keys = client.stats().providers["openai"].keys
        assert keys is not None
        assert [key.in_flight for key in keys] == [0]


async def test_another_policy_for_keys_is_used_at_once() -> None:
    mock = MockTransport()
    mock.reply("hello").always()
    async with client_of(mock, "one", "two", random=lambda: 0.0) as client:
        first = [(await client.chat(MODEL, "hi")).attempts[0].key for _ in range(4)]
        await client.update_provider("openai", config=ProviderConfig(key_pool=KeyPoolConfig(choose="round_robin")))
        then = [(await client.chat(MODEL, "hi")).attempts[0].key for _ in range(4)]
    assert first == ["one"] * 4
    assert sorted(filter(None, then)) == ["one", "one", "two", "two"]


class Told:
    """An account with two providers, of which the second one's address is lost."""

    def __init__(self) -> None:
        self.configs = {"openai": ProviderConfig(), "azure": ProviderConfig(base_url="https://azure.example")}

    def providers(self) -> list[str]:
        return list(self.configs)

    def keys(self, provider: str, call: Any) -> list[Any]:
        return [Key(name="own", value=fake_key("own"))] if provider == "azure" else []

    def config(self, provider: str) -> ProviderConfig:
        return self.configs[provider]


async def test_if_one_of_several_changes_cannot_work_none_is_made() -> None:
    account = Told()
    async with Bifrost(account) as client:
        upstreams = running(client).upstreams
        before = [await upstreams.prepare(name) for name in account.configs]
        account.configs = {"openai": ProviderConfig(concurrency=3), "azure": ProviderConfig()}
        with pytest.raises(ConfigError, match="azure has no address of its own"):
            await client.refresh()
        assert [await upstreams.prepare(name) for name in account.configs] == before
        assert before[0].config.concurrency == 256


def test_every_setting_is_known_to_be_of_the_place_or_not() -> None:
    fields = {field.name for field in attrs.fields(ProviderConfig)}
    tried = {name for changed in (*SAME_PLACE.values(), *OTHER_PLACE.values()) for name in changed}
    assert fields - tried == {"allow_insecure_http"}
