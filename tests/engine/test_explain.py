"""What `explain` tells is held against what a call then does; and telling it leaves no trace."""

from __future__ import annotations

from collections import Counter
from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    CallTimeoutError,
    DefaultOptions,
    InvalidRequestError,
    Key,
    MissingKeyError,
    ModelGroup,
    Plugin,
    ProviderConfig,
    RetryConfig,
    StaticAccount,
    SyncBifrost,
    Timeouts,
    UnknownProviderError,
)
from bifrost.engine.clock import Clock
from bifrost.providers.base import operations_of
from bifrost.providers.catalog import CATALOG
from bifrost.testing import MockTransport, fake_key
from tests.engine.rig import until
from tests.engine.troubled import health_of

if TYPE_CHECKING:
    from bifrost import Explanation

GPT = "openai/gpt-4o-mini"
CLAUDE = "anthropic/claude-haiku-4-5"


pytestmark = pytest.mark.virtual_time


def names(explanation: Explanation) -> list[tuple[int, str]]:
    return [(candidate.place, candidate.name) for candidate in explanation.candidates]


# --- it tells what a call does


@pytest.mark.anyio
@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("model", [GPT, CLAUDE, "groq/llama", "mistral/small", "azure/mini", "ollama/llama"])
async def test_the_request_is_the_one_that_a_call_sends(mock: MockTransport, model: str, *, stream: bool) -> None:
    mock.reply("hello")
    options: dict[str, Any] = {
        "temperature": 0.5,
        "seed": 7,
        "tools": [{"type": "function", "function": {"name": "f"}}],
        "extra_headers": {"x-team": "a"},
    }
    async with mock.client() as client:
        (told,) = (await client.explain(model, "hi", stream=stream, **options)).candidates
        assert mock.calls == []
        if stream:
            async with client.stream_chat(model, "hi", **options) as chunks:
                reply = await chunks.final()
        else:
            reply = await client.chat(model, "hi", **options)
    (call,) = mock.calls
    assert told.problem is None
    assert told.url.endswith(call.http.path)
    assert told.url.startswith(("https://", "http://localhost"))
    assert (told.method, told.body) == (call.http.method, call.http.body)
    assert told.headers == sorted(call.http.headers)
    assert told.warnings == reply.warnings
    assert [key.name for key in told.keys] == [reply.attempts[0].key]


@pytest.mark.anyio
async def test_the_header_that_attempts_are_recognised_by_is_told(mock: MockTransport) -> None:
    mock.reply("hello")
    config = ProviderConfig(idempotency_header="Idempotency-Key")
    async with mock.client(mock.account_with(configs={"openai": config})) as client:
        (told,) = (await client.explain(GPT, "hi")).candidates
        await client.chat(GPT, "hi")
    assert "idempotency-key" in {name.lower() for name in told.headers}
    assert told.headers == sorted(mock.calls[0].http.headers)


@pytest.mark.anyio
@pytest.mark.parametrize("model", [GPT, "groq/llama", "deepseek/chat", "ollama/llama"])
async def test_a_type_is_asked_for_as_a_call_asks(mock: MockTransport, model: str) -> None:
    mock.reply('{"a": 1}').always()
    async with mock.client() as client:
        (told,) = (await client.explain(model, "hi", output=dict[str, int])).candidates
        with anyio.move_on_after(1):
            try:
                await client.chat(model, "hi", output=dict[str, int])
            except BifrostError:
                assert told.structured == "tool"  # the mock has answered with text
    assert mock.calls[0].http.body == told.body
    assert told.structured in ("native", "tool", "json_object", "prompt")


@pytest.mark.anyio
async def test_candidates_stand_in_the_order_of_the_call_with_their_chances(mock: MockTransport) -> None:
    # No sign of ill health for a breaker, however often it is seen.
    mock.fail(404).always()
    groups = {"fast": ModelGroup([GPT, ("groq/llama", 0.25)])}
    clock = Clock(random=Random(3).random)
    async with mock.client(models=groups, clock=clock) as client:
        told = await client.explain("fast", "hi", fallbacks=[CLAUDE, "fast", "groq/llama"])
        seen = Counter[tuple[str, ...]]()
        for _ in range(400):
            with pytest.raises(BifrostError) as caught:
                await client.chat("fast", "hi", fallbacks=[CLAUDE], max_retries=0)
            seen[tuple(f"{attempt.provider}/{attempt.model}" for attempt in caught.value.attempts)] += 1
            for provider in ("openai", "groq", "anthropic"):
                # Otherwise the group would pass over them: the models are gone.
                health_of(client, provider).gone.clear()
    assert names(told) == [(0, GPT), (0, "groq/llama"), (1, CLAUDE), (2, "groq/llama")]
    assert [candidate.share for candidate in told.candidates] == [0.8, 0.2, 1.0, 1.0]
    # Whoever is chosen first, the other comes before the fallback.
    orders = {(GPT, "groq/llama", CLAUDE): 320, ("groq/llama", GPT, CLAUDE): 80}
    assert set(seen) == set(orders)
    chi = sum((seen[order] - wanted) ** 2 / wanted for order, wanted in orders.items())
    assert chi < 10.828  # p = 0.001


@pytest.mark.anyio
async def test_keys_have_the_chances_that_calls_give_them(mock: MockTransport) -> None:
    mock.reply("hello").always()
    keys = [
        Key(name="main", value=fake_key("main"), weight=3),
        Key(name="mini", value=fake_key("mini"), models=["gpt-4o-mini"], aliases={"gpt-4o-mini": "deployed"}),
        Key(name="spare", value=fake_key("spare"), weight=0),
        Key(name="old", value=fake_key("old"), enabled=False),
        Key(name="other", value=fake_key("other"), models=["gpt-4o"]),
    ]
    account = StaticAccount(keys={"openai": keys})
    async with mock.client(account, clock=Clock(random=Random(4).random)) as client:
        (told,) = (await client.explain(GPT, "hi")).candidates
        (pinned,) = (await client.explain(GPT, "hi", key="spare")).candidates
        for _ in range(400):
            await client.chat(GPT, "hi")
    assert [(key.name, key.share, key.model) for key in told.keys] == [
        ("main", 0.75, "gpt-4o-mini"),
        ("mini", 0.25, "deployed"),
        ("spare", 0.0, "gpt-4o-mini"),
    ]
    assert told.left_out == {"old": "switched off", "other": "its lists leave the model out"}
    assert [(key.name, key.share) for key in pinned.keys] == [("spare", 1.0)]
    seen = Counter(call.key for call in mock.calls)
    assert (seen["main"] - 300) ** 2 / 300 + (seen["mini"] - 100) ** 2 / 100 < 10.828
    assert seen["spare"] == 0


@pytest.mark.anyio
async def test_the_queue_the_times_and_the_retries_are_told(mock: MockTransport) -> None:
    mock.reply("late").delay(50)
    config = ProviderConfig(concurrency=1, timeouts=Timeouts(connect=2), retry=RetryConfig(max_retries=1))
    async with (
        mock.client(mock.account_with(configs={"openai": config})) as client,
        anyio.create_task_group() as group,
    ):
        group.start_soon(client.chat, GPT, "hi")
        await until(lambda: mock.calls)
        explanation = await client.explain(GPT, "hi", timeout=60, fallbacks=[CLAUDE], max_retries=4)
        first, second = explanation.candidates
        (streamed,) = (await client.explain(CLAUDE, "hi", stream=True)).candidates
        assert (first.in_flight, first.waiting, first.concurrency, first.is_full) == (1, 0, 1, True)
        assert (second.in_flight, second.is_full) == (0, False)
        assert (first.time, second.time, streamed.time) == (30, 60, 600)
        assert first.timeouts == {"connect": 2, "write": 30}
        assert streamed.timeouts["first_token"] == 120
        assert first.retry["max_retries"] == 4
        assert "the call would wait" in str(first)


@pytest.mark.anyio
async def test_the_least_busy_is_told_as_it_is_now(mock: MockTransport) -> None:
    mock.reply("late").delay(50)
    groups = {"fast": ModelGroup([GPT, "groq/llama"], balance="least_busy")}
    async with mock.client(models=groups) as client, anyio.create_task_group() as group:
        before = await client.explain("fast", "hi")
        group.start_soon(client.chat, GPT, "hi")
        await until(lambda: mock.calls)
        after = await client.explain("fast", "hi")
        assert [candidate.share for candidate in before.candidates] == [0.5, 0.5]
        assert [candidate.share for candidate in after.candidates] == [0.0, 1.0]
        assert after.chosen is not None
        assert after.chosen.provider == "groq"


@pytest.mark.anyio
async def test_a_policy_of_ones_own_is_not_asked(mock: MockTransport) -> None:
    class Mine:
        def choose(self, candidates: Any, snapshot: Any, random: Any) -> Any:
            raise AssertionError

    async with mock.client(models={"fast": ModelGroup([GPT, CLAUDE], balance=Mine())}) as client:
        told = await client.explain("fast", "hi")
    assert [candidate.share for candidate in told.candidates] == [None, None]
    assert "as your policy chooses" in str(told)


# --- what would go wrong


@pytest.mark.anyio
async def test_what_a_dialect_refuses_is_told_with_what_follows(mock: MockTransport) -> None:
    mock.reply("hello")
    async with mock.client() as client:
        told = await client.explain("groq/llama", "hi", n=2, fallbacks=[GPT])
        reply = await client.chat("groq/llama", "hi", n=2, fallbacks=[GPT])
        alone = await client.explain("groq/llama", "hi", n=2)
        with pytest.raises(BifrostError) as caught:
            await client.chat("groq/llama", "hi", n=2)
    refused, serves = told.candidates
    assert refused.problem == alone.candidates[0].problem == caught.value.message
    assert (refused.goes_on, alone.candidates[0].goes_on) == (True, False)
    assert told.chosen is serves
    assert alone.chosen is None
    assert reply.provider == serves.provider == "openai"
    assert refused.url == ""
    assert refused.keys


@pytest.mark.anyio
async def test_what_has_no_way_to_be_served_is_told_in_its_place(mock: MockTransport) -> None:
    account = StaticAccount(
        keys={"openai": [Key(name="a", value=fake_key("a"), models=["gpt-4o"])], "azure": fake_key("b")}
    )
    async with mock.client(account) as client:
        told = await client.explain(GPT, "hi", fallbacks=["azure/mini", "mistral/small"], key="b")
    problems = [candidate.problem or "" for candidate in told.candidates]
    assert "may serve gpt-4o-mini" in problems[0]
    assert "has no address of its own" in problems[1]
    assert "mistral is not configured" in problems[2]
    assert told.candidates[0].left_out == {"a": "its lists leave the model out"}
    assert told.chosen is None


@pytest.mark.anyio
async def test_what_a_call_raises_before_any_candidate_is_raised(mock: MockTransport) -> None:
    wrong: Any = {"temprature": 1}
    async with mock.client(mock.account_with({"openai": ["a"]})) as client:
        with pytest.raises(UnknownProviderError, match="did you mean 'openai'"):
            await client.explain("opnai/x", "hi")
        with pytest.raises(MissingKeyError):
            await client.explain("mistral/x", "hi")
        with pytest.raises(InvalidRequestError):
            await client.explain(GPT, [])
        with pytest.raises(InvalidRequestError, match="temprature"):
            await client.explain(GPT, "hi", **wrong)


@pytest.mark.anyio
async def test_an_account_that_does_not_answer_is_not_waited_for_without_end(mock: MockTransport) -> None:
    class Stuck:
        def providers(self) -> list[str]:
            return ["openai"]

        def config(self, provider: str) -> ProviderConfig:
            return ProviderConfig()

        async def keys(self, provider: str, call: Any) -> Any:
            await anyio.sleep_forever()

    async with mock.client(Stuck()) as client:
        with pytest.raises(CallTimeoutError, match="timeout of 5 s ended while the account was asked"):
            await client.explain(GPT, "hi", timeout=5)


# --- it leaves no trace


@pytest.mark.anyio
async def test_nothing_is_sent_counted_drawn_or_run(mock: MockTransport) -> None:
    class Watch(Plugin):
        name = "watch"

        def before_call(self, call: Any, request: Any) -> None:
            raise AssertionError

        def after(self, call: Any, outcome: Any) -> None:
            raise AssertionError

    def chance() -> float:
        raise AssertionError

    groups = {"fast": [GPT, CLAUDE], "turns": ModelGroup([GPT, CLAUDE], balance="round_robin")}
    plugins = [Watch(), DefaultOptions(temperature=1)]
    async with mock.client(models=groups, plugins=plugins, clock=Clock(random=chance)) as client:
        for model in ("fast", "turns", "turns"):
            told = await client.explain(model, "hi")
            assert [candidate.share for candidate in told.candidates] == [0.5, 0.5]
        stats = client.stats()
    assert [(plugin.name, plugin.hooks) for plugin in told.plugins] == [
        ("watch", ["before_call", "after"]),
        ("default_options", ["before"]),
    ]
    assert stats.calls == 0
    assert all(provider.workers == provider.attempts == 0 for provider in stats.providers.values())
    assert mock.connections.opened == 0
    assert "plugins, not run here: watch (before_call, after), default_options (before)" in str(told)


@pytest.mark.anyio
async def test_no_secret_and_no_prompt_is_printed(mock: MockTransport) -> None:
    secret = fake_key("quiet")
    account = StaticAccount(keys={"openai": secret, "anthropic": secret})
    async with mock.client(account, extra_headers={"x-team": "hush"}) as client:
        told = await client.explain(GPT, "my prompt", fallbacks=[CLAUDE])
        table = await client.providers()
    for text in (str(told), repr(told), told._repr_html_(), repr(table), table._repr_html_()):
        assert secret not in text
        assert "my prompt" not in text
        assert "hush" not in text
    assert secret.encode() not in told.candidates[0].body
    assert "authorization" in told.candidates[0].headers


def test_a_sync_client_tells_the_same(mock: MockTransport) -> None:
    with SyncBifrost(mock.account, transport=mock) as client:
        told = client.explain(GPT, "hi", fallbacks=[CLAUDE], stream=True)
        assert names(told) == [(0, GPT), (1, CLAUDE)]
        assert told.stream
        assert [provider.name for provider in client.providers()][:2] == ["openai", "anthropic"]


# --- the table of providers


@pytest.mark.anyio
async def test_providers_are_told_as_they_are_set_up() -> None:
    account = StaticAccount(
        keys={
            "openai": [
                Key(name="main", value=fake_key("a"), weight=2, models=["gpt-4o", "gpt-5*"], deny=["gpt-5-pro"]),
                Key(name="old", value=fake_key("b"), enabled=False, aliases={"x": "y"}),
            ],
            "azure": fake_key("c"),
        },
        configs={"vllm": ProviderConfig(concurrency=4, queue=8)},
    )
    async with Bifrost(account, transport=MockTransport()) as client:
        openai, azure, vllm = await client.providers()
        assert client.stats().calls == 0
    assert openai.address == "https://api.openai.com/v1"
    assert openai.operations == operations_of(CATALOG["openai"])
    assert [str(key) for key in openai.keys] == [
        "main (weight 2; for gpt-4o, gpt-5*; not for gpt-5-pro)",
        "old (off; aliases x)",
    ]
    assert azure.address is None
    assert azure.problem is not None
    assert "AZURE_OPENAI_ENDPOINT" in azure.problem
    assert (vllm.keys, vllm.concurrency, vllm.queue, vllm.problem) == ([], 4, 8, None)


@pytest.mark.anyio
async def test_a_provider_whose_keys_cannot_be_had_does_not_hide_the_others() -> None:
    class Broken:
        def providers(self) -> list[str]:
            return ["openai", "anthropic", "groq"]

        def config(self, provider: str) -> ProviderConfig:
            return ProviderConfig()

        def keys(self, provider: str, call: Any) -> Any:
            assert call is None
            if provider == "anthropic":
                raise RuntimeError("vault")
            return [Key(name="k", value=fake_key("k"))] if provider == "openai" else []

    async with Bifrost(Broken(), transport=MockTransport()) as client:
        openai, anthropic, groq = await client.providers()
    assert openai.problem is None
    assert "keys() failed with RuntimeError" in (anthropic.problem or "")
    assert "groq has no key" in (groq.problem or "")
