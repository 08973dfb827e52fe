"""Model groups whose members are in trouble: who is passed over, who is tried next, and what is told of it."""

from __future__ import annotations

from random import Random
from typing import TYPE_CHECKING, Any

import anyio
import pytest

from bifrost import (
    Bifrost,
    BifrostError,
    CallContext,
    Key,
    ModelGroup,
    Plugin,
    ProviderConfig,
    RateLimitError,
    RetryConfig,
    ServerError,
    StaticAccount,
    Timeouts,
)
from bifrost.engine.clock import Clock
from bifrost.testing import MockTransport, fake_key
from tests.plugins.recorder import Kind, ask

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

A, B, C = "openai/a", "groq/b", "anthropic/c"
FALLBACK = "deepseek/x"


class First:
    """A policy of a user: the first that may be chosen."""

    def choose(self, candidates: Any, snapshot: Any, random: Any) -> Any:
        return next((each for each in candidates.items if each.name not in snapshot.excluded), None)


STRATEGIES: dict[str, Any] = {
    **{name: name for name in ("weighted", "least_busy", "round_robin", "two_choices")},
    "own": First(),
}
TROUBLES: dict[str, dict[str, Any]] = {
    "429": {"status": 429, "retry_after": 50},
    "429 without a wait": {"status": 429},
    "401": {"status": 401},
    "402": {"status": 402},
    "404": {"status": 404},
    "no such model": {"status": 404, "code": "model_not_found"},
    "410": {"status": 410},
    "503": {"status": 503},
    "529": {"status": 529},
}


def client_of(
    mock: MockTransport,
    balance: Any = "weighted",
    members: Sequence[Any] = (A, B),
    *,
    keys: Sequence[str] = ("one",),
    seed: int = 1,
    plugins: Sequence[Plugin] = (),
    **config: Any,
) -> Bifrost:
    names = ("openai", "groq", "anthropic", "deepseek")
    account = StaticAccount(
        keys={name: [Key(name=f"{name}-{key}", value=fake_key(f"{name}-{key}")) for key in keys] for name in names},
        configs=dict.fromkeys(names, ProviderConfig(**config)),
    )
    models = {"fast": ModelGroup(list(members), balance=balance)}
    return mock.client(account, models=models, plugins=plugins, clock=Clock(random=Random(seed).random))


def trail(attempts: Any) -> list[str]:
    return [f"{attempt.provider}/{attempt.model}" for attempt in attempts]


# --- who is passed over


@pytest.mark.parametrize("trouble", TROUBLES)
@pytest.mark.parametrize("strategy", STRATEGIES)
async def test_every_call_is_served_while_a_member_is_in_trouble(
    mock: MockTransport, strategy: str, trouble: str
) -> None:
    mock.on(provider="openai").fail(**TROUBLES[trouble]).always()
    mock.on(provider="groq").reply("hello").delay(0.1).always()
    async with client_of(mock, STRATEGIES[strategy]) as client:
        for _ in range(40):
            began = anyio.current_time()
            assert (await client.chat("fast", "hi", max_retries=0)).provider == "groq"
            assert anyio.current_time() - began < 1
    asked = sum(call.provider == "openai" for call in mock.calls)
    # A rest that is our own guess is short, and a breaker opens at the fifth failure.
    assert 1 <= asked <= {"429 without a wait": 12, "503": 5, "529": 5}.get(trouble, 1)


async def test_many_calls_at_once_are_all_served(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=20).always()
    mock.on(provider="groq").reply("hello").delay(1).always()
    replies: list[Any] = []

    async def one(client: Bifrost) -> None:
        replies.append(await ask(client, kind, "fast"))

    async with client_of(mock) as client, anyio.create_task_group() as group:
        for _ in range(40):
            group.start_soon(one, client)
    assert {reply.provider for reply in replies} == {"groq"}
    assert len(replies) == 40


async def test_a_member_is_asked_again_when_its_rest_is_over(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=20).then.reply("back").always()
    mock.on(provider="groq").reply("hello").always()
    async with client_of(mock, First()) as client:
        assert trail((await ask(client, kind, "fast")).attempts) == [A, B]
        assert trail((await ask(client, kind, "fast")).attempts) == [B]
        await anyio.sleep(21)
        assert trail((await ask(client, kind, "fast")).attempts) == [A]


async def test_one_of_two_keys_is_enough(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai", key="openai-one").fail(401).always()
    mock.on(provider="openai").reply("hello").always()
    async with client_of(mock, First(), keys=("one", "two")) as client:
        for _ in range(5):
            assert (await ask(client, kind, "fast")).provider == "openai"


async def test_a_model_that_is_gone_is_shown_and_asked_again_after_ten_minutes(mock: MockTransport) -> None:
    mock.on(provider="openai").fail(404, code="model_not_found").then.reply("there").always()
    mock.on(provider="groq").reply("hello").always()
    async with client_of(mock, First()) as client:
        await client.chat("fast", "hi")
        stats = client.stats()
        assert stats.providers["openai"].gone == {"a": 600.0}
        assert "a for 600 s" in str(stats)
        await anyio.sleep(599)
        assert (await client.chat("fast", "hi")).provider == "groq"
        await anyio.sleep(1)
        assert (await client.chat("fast", "hi")).provider == "openai"
        assert client.stats().providers["openai"].gone == {}


async def test_a_model_that_a_call_of_its_own_finds_again_is_no_longer_gone(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(410).then.reply("there").always()
    mock.on(provider="groq").reply("hello").always()
    async with client_of(mock, First()) as client:
        assert (await ask(client, kind, "fast")).provider == "groq"
        assert (await ask(client, kind, A)).provider == "openai"
        assert client.stats().providers["openai"].gone == {}
        assert (await ask(client, kind, "fast")).provider == "openai"


class Names(Plugin):
    """Names the tenant of the calls."""

    name = "names"
    tenant = "one"

    async def before_call(self, call: CallContext, request: Any) -> None:
        call.tenant = self.tenant


async def test_what_one_tenant_lacks_another_may_have(mock: MockTransport) -> None:
    mock.on(provider="openai").fail(404).then.reply("there").always()
    mock.on(provider="groq").reply("hello").always()
    names = Names()
    async with client_of(mock, First(), plugins=[names]) as client:
        assert (await client.chat("fast", "hi")).provider == "groq"
        names.tenant = "two"
        assert (await client.chat("fast", "hi")).provider == "openai"


async def test_a_call_waits_for_the_member_that_is_ready_first_if_all_rest(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=20).then.reply("late").always()
    mock.on(provider="groq").fail(429, retry_after=5).then.reply("soon").always()
    async with client_of(mock) as client:
        with pytest.raises(RateLimitError):
            await ask(client, kind, "fast", max_retries=0)
        began = anyio.current_time()
        reply = await ask(client, kind, "fast", max_retries=0)
    assert (reply.text, round(anyio.current_time() - began)) == ("soon", 5)


async def test_if_all_members_rest_the_fallback_is_asked_at_once(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="deepseek").reply("hello").always()
    mock.fail(429, retry_after=20).always()
    async with client_of(mock) as client:
        await ask(client, kind, "fast", fallbacks=[FALLBACK], max_retries=0)
        began = anyio.current_time()
        reply = await ask(client, kind, "fast", fallbacks=[FALLBACK])
        assert anyio.current_time() == began
    assert trail(reply.attempts) == [FALLBACK]


# --- who is tried next


async def test_siblings_are_tried_before_fallbacks(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="deepseek").reply("hello").always()
    mock.fail(503).always()
    async with client_of(mock, First(), [A, B, C]) as client:
        reply = await ask(client, kind, "fast", fallbacks=[FALLBACK], max_retries=0)
    assert trail(reply.attempts) == [A, B, C, FALLBACK]


async def test_a_member_is_tried_again_only_when_all_were_tried(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(503).then.reply("second time").always()
    mock.fail(503).always()
    async with client_of(mock, First()) as client:
        reply = await ask(client, kind, "fast", fallbacks=[FALLBACK])
    assert reply.text == "second time"
    assert trail(reply.attempts) in ([A, B, A], [A, B, B, A])
    assert [attempt.wait for attempt in reply.attempts[:2]] == [0.0, 0.0]
    assert sum(attempt.wait for attempt in reply.attempts) > 0


async def test_when_all_fail_six_attempts_are_made_the_last_at_the_fallback(mock: MockTransport, kind: Kind) -> None:
    mock.fail(503).always()
    async with client_of(mock, First(), [A, B, C]) as client:
        with pytest.raises(ServerError) as caught:
            await ask(client, kind, "fast", fallbacks=[FALLBACK])
    error = caught.value
    assert trail(error.attempts)[:3] == [A, B, C]
    assert trail(error.attempts)[5:] == [FALLBACK]
    assert error.provider == "openai"
    assert [each.provider for each in error.errors] == ["groq", "anthropic", "deepseek"]


async def test_a_refused_key_gives_way_to_another_at_the_same_member(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai", key="openai-one").fail(401).always()
    mock.on(provider="openai").reply("hello").always()
    async with client_of(mock, First(), keys=("one", "two"), seed=3) as client:
        for _ in range(3):
            assert {attempt.provider for attempt in (await ask(client, kind, "fast")).attempts} == {"openai"}


async def test_who_is_not_configured_is_nobody_to_leave_a_silent_one_for(mock: MockTransport) -> None:
    mock.on(provider="openai").hang().then.stream(["late", " but", " there"]).always()
    account = StaticAccount(keys={"openai": fake_key("one")}, configs={"openai": ProviderConfig()})
    async with mock.client(account, clock=Clock(random=Random(1).random)) as client:
        began = anyio.current_time()
        reply = await ask(client, "stream", A, fallbacks=[B])
    assert (reply.provider, len(reply.attempts)) == ("openai", 2)
    # All of `first_token` was waited for.
    assert 120 <= anyio.current_time() - began < 122


async def test_a_request_that_is_wrong_is_not_taken_to_the_siblings(mock: MockTransport, kind: Kind) -> None:
    mock.fail(400).always()
    async with client_of(mock) as client:
        with pytest.raises(BifrostError) as caught:
            await ask(client, kind, "fast")
    assert len(caught.value.attempts) == 1


async def test_a_silent_member_is_left_for_its_sibling_and_not_asked_again(mock: MockTransport) -> None:
    mock.on(provider="openai").hang().always()
    mock.on(provider="groq").fail(503).then.reply("hello").always()
    async with client_of(mock, First(), timeouts=Timeouts(first_token=10)) as client:
        began = anyio.current_time()
        reply = await ask(client, "stream", "fast")
    assert trail(reply.attempts) == [A, B, B]
    assert anyio.current_time() - began < 10


async def test_a_stream_that_stalls_begins_anew_at_a_sibling(mock: MockTransport) -> None:
    mock.on(provider="openai").stream(["a", "b", "c"]).stall(after_events=1).always()
    mock.on(provider="groq").stream(["x", "y"]).always()
    async with client_of(mock, First(), timeouts=Timeouts(idle_bytes=10)) as client:
        for _ in range(3):
            began = anyio.current_time()
            async with client.stream_chat("fast", "hi", on_interrupt="restart") as stream:
                reply = await stream.final()
            assert reply.text == "xy"
            assert trail(reply.attempts) == [A, B]
            assert anyio.current_time() - began < 11


async def test_holders_of_a_bare_name_are_a_group_as_well(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=50).always()
    mock.on(provider="groq").reply("hello").always()
    account = StaticAccount(
        keys={name: [Key(name=name, value=fake_key(name), models=["llama"])] for name in ("openai", "groq")}
    )
    async with mock.client(account) as client:
        for _ in range(20):
            assert (await ask(client, kind, "llama")).provider == "groq"
    assert sum(call.provider == "openai" for call in mock.calls) <= 1


# --- what is told beforehand


async def test_a_member_that_is_tried_again_waits_for_its_time_and_has_no_more_retries(mock: MockTransport) -> None:
    mock.on(provider="openai").fail(503, retry_after=7).always()
    mock.on(provider="groq").fail(503, retry_after=7).always()
    async with client_of(mock) as client:
        began = anyio.current_time()
        with pytest.raises(ServerError) as caught:
            await client.chat("fast", "hi", max_retries=1)
        assert anyio.current_time() - began >= 7
        assert client.stats().providers["openai"].retries == 1
    assert sorted(trail(caught.value.attempts)) == sorted([A, A, B, B])


@pytest.mark.parametrize("trouble", ["429", "401", "410", "no such model"])
async def test_explain_shows_the_shares_that_a_call_would_meet(mock: MockTransport, trouble: str) -> None:
    mock.on(provider="openai").fail(**TROUBLES[trouble]).always()
    mock.reply("hello").always()
    async with client_of(mock, "weighted", [(A, 3), (B, 1)]) as client:
        before = await client.explain("fast", "hi")
        assert [candidate.share for candidate in before.candidates] == [0.75, 0.25]
        with pytest.raises(BifrostError):
            await client.chat(A, "hi", max_retries=0)
        told = await client.explain("fast", "hi")
        assert [(candidate.name, candidate.share) for candidate in told.candidates] == [(A, 0.0), (B, 1.0)]
        assert told.candidates[0].passed_over is not None
        assert "passed over" in str(told)
        assert told.chosen is not None
        assert told.chosen.name == B
        assert {(await client.chat("fast", "hi")).provider for _ in range(20)} == {"groq"}


async def test_explain_goes_on_to_the_fallback_if_every_member_is_passed_over(mock: MockTransport) -> None:
    mock.on(provider="deepseek").reply("hello").always()
    mock.fail(429, retry_after=50).always()
    async with client_of(mock, retry=RetryConfig(max_retries=0)) as client:
        await client.chat("fast", "hi", fallbacks=[FALLBACK])
        told = await client.explain("fast", "hi", fallbacks=[FALLBACK])
    assert [candidate.share for candidate in told.candidates] == [0.0, 0.0, 1.0]
    assert told.chosen is not None
    assert told.chosen.name == FALLBACK


# --- sessions


async def test_a_conversation_stays_at_its_member_moves_and_comes_back(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").always()
    async with client_of(mock, members=[A, B, C]) as client:
        home = (await ask(client, kind, "fast", session="anna")).provider
        replies = [await ask(client, kind, "fast", session="anna") for _ in range(5)]
        assert {reply.provider for reply in replies} == {home}
        told = await client.explain("fast", "hi", session="anna")
        assert {c.provider: c.share for c in told.candidates}[home] == 1.0
        mock.on(provider=home).fail(429, retry_after=20)
        moved = await ask(client, kind, "fast", session="anna")
        assert moved.provider != home
        assert moved.attempts[-1].note == f"session moved here from {trail(moved.attempts)[0]}"
        stays = await ask(client, kind, "fast", session="anna")
        assert (stays.provider, stays.attempts[0].note is not None) == (moved.provider, True)
        await anyio.sleep(21)
        back = await ask(client, kind, "fast", session="anna")
        assert (back.provider, back.attempts[0].note) == (home, f"session is back from {trail(moved.attempts)[1]}")


async def test_a_conversation_is_brought_back_only_while_its_cache_is_alive(mock: MockTransport) -> None:
    mock.reply("hello").always()
    async with client_of(mock, cache_lifetime=60) as client:
        home = (await client.chat("fast", "hi", session="anna")).provider
        mock.on(provider=home).fail(429, retry_after=50)
        away = (await client.chat("fast", "hi", session="anna")).provider
        await anyio.sleep(55)
        assert (await client.chat("fast", "hi", session="anna")).provider == home
        mock.on(provider=home).fail(429, retry_after=59)
        assert (await client.chat("fast", "hi", session="anna")).provider == away
        await anyio.sleep(59)
        assert (await client.chat("fast", "hi", session="anna")).provider == home
