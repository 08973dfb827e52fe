"""Keys that are limited, refused or used up, seen from the calls that need them. In virtual time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import anyio
import pytest

from bifrost import (
    AuthenticationError,
    BadRequestError,
    CallContext,
    CredentialsExhaustedError,
    Key,
    KeyPoolConfig,
    ProviderConfig,
    RateLimitError,
    RetryConfig,
    ServerError,
)
from bifrost.testing import MockTransport, fake_key, no_waits
from tests.engine.rig import until
from tests.engine.troubled import MODEL, OTHER, Calls, Sleeps, client_of, states_of, told
from tests.plugins.recorder import Kind, ask

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]


@pytest.fixture
def sleeps() -> Sleeps:
    return Sleeps()


# --- waits are kept: faults 46 to 48

NOW = 1_793_954_977.0
"""Fri, 06 Nov 2026 08:49:37 GMT."""
DATED = {"date": "Fri, 06 Nov 2026 08:49:37 GMT"}


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7.0),
        ({"retry-after": "2.5"}, 2.5),
        ({"retry-after": "60"}, 60.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "2"}, 1.5),
        ({"retry-after-ms": "nonsense", "retry-after": "2"}, 2.0),
        ({"retry-after": "Fri, 06 Nov 2026 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Friday, 06-Nov-26 08:49:47 GMT"}, 10.0),
        ({"retry-after": "Fri Nov  6 08:49:47 2026"}, 10.0),
        ({"retry-after": "0"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "+3"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "2026-11-06T08:49:47Z"}, None),
        ({"retry-after": "Fri, 06 Nov 2026 08:49:27 GMT"}, None),
        ({}, None),
    ],
    ids=str,
)
async def test_every_form_of_a_wait_is_kept_to_the_second_or_ignored(
    mock: MockTransport, sleeps: Sleeps, kind: Kind, headers: dict[str, str], seconds: float | None
) -> None:
    mock.fail(429, headers=headers).then.reply("hello")
    async with client_of(mock, sleeps=sleeps, wall=lambda: NOW) as client:
        began = anyio.current_time()
        reply = await ask(client, kind)
        took = anyio.current_time() - began
    wait = 0.25 if seconds is None else seconds * 1.05
    assert sleeps == [pytest.approx(wait)]
    assert took == pytest.approx(wait)
    assert reply.attempts[1].wait == pytest.approx(wait)


@pytest.mark.parametrize("seconds", ["301", "1" + "0" * 24, "Fri, 31 Dec 9999 23:59:59 GMT"])
async def test_a_wait_counts_for_five_minutes_at_most(mock: MockTransport, seconds: str) -> None:
    mock.fail(429, headers={"retry-after": seconds})
    async with client_of(mock, wall=lambda: NOW) as client:
        with pytest.raises(RateLimitError) as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.retry_after == 300
        with pytest.raises(RateLimitError) as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.retry_after == 300
    assert len(mock.calls) == 1


async def test_a_wait_in_the_body_is_kept(mock: MockTransport, sleeps: Sleeps) -> None:
    info = '{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "4s"}'
    mock.raw(429, f'{{"error": {{"message": "slow", "code": "rate_limit", "details": [{info}]}}}}').then.reply("hello")
    async with client_of(mock, sleeps=sleeps) as client:
        await client.chat(MODEL, "hi")
    assert sleeps == [pytest.approx(4.2)]


@pytest.mark.parametrize("wrong_by", [3600.0, -3600.0, -86_400.0])
async def test_a_wrong_wall_clock_changes_no_wait(mock: MockTransport, sleeps: Sleeps, wrong_by: float) -> None:
    mock.fail(429, headers={**DATED, "retry-after": "Fri, 06 Nov 2026 08:49:47 GMT"}).then.reply("hello")
    async with client_of(mock, sleeps=sleeps, wall=lambda: NOW + wrong_by) as client:
        await client.chat(MODEL, "hi")
    assert sleeps == [pytest.approx(10.5)]


async def test_what_a_provider_says_of_retries_is_obeyed(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.fail(400, headers={"x-should-retry": "true"}).then.reply("hello")
    mock.fail(503, headers={"x-should-retry": "false"})
    async with client_of(mock, sleeps=sleeps) as client:
        reply = await client.chat(MODEL, "hi")
        assert told(reply.attempts) == [("one", 400, "caller"), ("one", 200, None)]
        with pytest.raises(Exception, match="openai failed"):
            await client.chat(MODEL, "hi")
    assert len(mock.calls) == 3


# --- parked: faults 54 and 55


async def test_a_limited_key_is_left_alone_by_other_calls(mock: MockTransport, kind: Kind) -> None:
    mock.on(key="limited").fail(429, retry_after=20).then.reply("hello").always()
    mock.on(key="free").reply("hello").always()
    keys = [Key(name="limited", value=fake_key("limited"), weight=1e9), Key(name="free", value=fake_key("free"))]
    async with client_of(mock, *keys) as client:
        began = anyio.current_time()
        reply = await ask(client, kind)
        assert told(reply.attempts) == [("limited", 429, "throttled"), ("free", 200, None)]
        assert reply.attempts[0].note == "key limited cooling down for 20.0 s"
        assert states_of(client) == {"limited": "cooling_down", "free": "ready"}
        assert [(await ask(client, kind)).attempts[0].key for _ in range(5)] == ["free"] * 5
        await anyio.sleep(began + 20 - anyio.current_time())
        assert (await ask(client, kind)).attempts[0].key == "limited"


async def test_a_shorter_wait_does_not_end_a_longer_one(mock: MockTransport) -> None:
    limited = mock.on(key="one")
    limited.fail(429, retry_after=100).delay(1)
    limited.fail(429, retry_after=61).delay(2)
    async with client_of(mock) as client:
        await Calls(client).at_once(2)
        began = anyio.current_time()
        with pytest.raises(RateLimitError) as caught:
            await client.chat(MODEL, "hi")
        assert anyio.current_time() == began
        assert caught.value.retry_after == pytest.approx(99.0)
        assert (caught.value.key, caught.value.provider, caught.value.attempts) == ("one", "openai", [])


async def test_when_every_key_rests_a_call_waits_for_the_first(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(key="a").fail(429, retry_after=25).then.reply("hello").always()
    mock.on(key="b").fail(429, retry_after=10).then.reply("hello").always()
    async with client_of(mock, "a", "b", sleeps=sleeps, retry=RetryConfig(longest_wait=1)) as client:
        began = anyio.current_time()
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi")
        assert states_of(client) == {"a": "cooling_down", "b": "cooling_down"}

        reply = await ask(client, kind)
        assert anyio.current_time() - began == pytest.approx(10.0)
    assert told(reply.attempts) == [("b", 200, None)]
    assert reply.attempts[0].wait == pytest.approx(10.0)
    assert sleeps == [10.0]


@pytest.mark.parametrize("status", [500, 502, 503, 529])
async def test_a_ready_second_key_is_used_when_the_wait_after_a_5xx_is_too_long(
    mock: MockTransport, sleeps: Sleeps, kind: Kind, status: int
) -> None:
    mock.on(key="a").fail(status, retry_after=30).always()
    mock.on(key="b").reply("hello").always()
    async with client_of(mock, "a", "b", sleeps=sleeps, retry=RetryConfig(longest_wait=10)) as client:
        # A session keeps to the key that it has, so that a retry of it would use that key again.
        began = anyio.current_time()
        replies = [await ask(client, kind, session=f"conversation {number}") for number in range(8)]
        assert anyio.current_time() == began
    trails = [[(attempt.key, attempt.status) for attempt in reply.attempts] for reply in replies]
    assert {tuple(trail) for trail in trails} == {(("a", status), ("b", 200)), (("b", 200),)}
    assert sleeps == []


async def test_without_a_ready_second_key_a_wait_that_is_too_long_after_a_5xx_ends_the_call(
    mock: MockTransport, sleeps: Sleeps
) -> None:
    mock.on(key="a").fail(503, retry_after=30).always()
    mock.on(key="b").fail(429, retry_after=30).always()
    async with client_of(mock, "a", "b", sleeps=sleeps, retry=RetryConfig(longest_wait=10)) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi", key="b")
        with pytest.raises(ServerError) as caught:
            await client.chat(MODEL, "hi")
    assert [(attempt.key, attempt.status) for attempt in caught.value.attempts] == [("a", 503)]
    assert caught.value.__notes__ == ["not tried again: the wait that is asked for is above longest_wait=10"]
    assert sleeps == []


async def test_with_a_fallback_nobody_waits_for_a_key(mock: MockTransport, sleeps: Sleeps, kind: Kind) -> None:
    mock.on(provider="openai").fail(429, retry_after=100)
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock, sleeps=sleeps) as client:
        began = anyio.current_time()
        await ask(client, kind, fallbacks=[OTHER])
        reply = await ask(client, kind, fallbacks=[OTHER])
        assert anyio.current_time() == began
    assert told(reply.attempts) == [("anthropic-key", 200, None)]
    (warning,) = reply.warnings
    assert warning.startswith(
        f"{MODEL} was passed over: every key of openai for this model is cooling down; one is ready in 100"
    )
    assert sleeps == []


@pytest.mark.parametrize(
    ("asked", "options"), [(40, {}), (20, {"timeout": 15.0})], ids=["longer than is waited for", "beyond the deadline"]
)
async def test_a_key_that_rests_too_long_is_an_error_that_says_how_long(
    mock: MockTransport, sleeps: Sleeps, asked: int, options: dict[str, Any]
) -> None:
    mock.fail(429, retry_after=asked)
    async with client_of(mock, sleeps=sleeps, retry=RetryConfig(longest_wait=1)) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi")
        with pytest.raises(RateLimitError, match=f"is cooling down; one is ready in {asked}.0 s") as caught:
            await client.chat(MODEL, "hi", **options)
    assert caught.value.retry_after == pytest.approx(asked)
    assert sleeps == []


async def test_those_who_wait_for_a_key_are_let_go_one_after_the_other(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.fail(429, retry_after=10).then.reply("hello").always()
    async with client_of(mock, sleeps=sleeps, retry=RetryConfig(longest_wait=1)) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi")
        calls = Calls(client)
        await calls.at_once(200)
    assert not calls.errors
    # Each of them has waited once, and the first went alone.
    assert len(sleeps) == 200
    waits = Counter(round(reply.attempts[0].wait, 6) for reply in calls.outcomes)
    assert waits == {10.0: 1, 11.0: 2, 12.0: 4, 13.0: 8, 14.0: 16, 15.0: 32, 16.0: 64, 17.0: 73}


async def test_when_the_first_is_limited_again_the_others_go_on_waiting(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.fail(429, retry_after=5).times(2).then.reply("hello").always()
    async with client_of(mock, sleeps=sleeps, retry=RetryConfig(longest_wait=1)) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi")
        calls = Calls(client)
        await calls.at_once(20)
    assert len(calls.errors) == 1
    # 429, 429, then nineteen answers: nobody else was turned away.
    assert [call.index for call in mock.calls] == list(range(21))
    assert len(sleeps) == 20 + 19


async def test_when_the_first_finds_the_key_dead_the_others_are_told(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.fail(429, retry_after=5).then.fail(401).always()
    async with client_of(mock, sleeps=sleeps, retry=RetryConfig(longest_wait=1)) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi")
        calls = Calls(client)
        await calls.at_once(20)
    assert len(mock.calls) == 2
    assert sorted(type(error).__name__ for error in calls.errors) == [
        "AuthenticationError",
        *["CredentialsExhaustedError"] * 19,
    ]


async def test_without_waits_nobody_spins(mock: MockTransport) -> None:
    mock.fail(429, retry_after=10).then.reply("hello").always()
    with no_waits():
        async with mock.client(mock.account_with({"openai": ["one"]})) as client:
            with pytest.raises(RateLimitError):
                await client.chat(MODEL, "hi", max_retries=0)
            reply = await client.chat(MODEL, "hi")
    assert reply.attempts[0].wait == pytest.approx(10.0, abs=1)


async def test_one_who_stops_waiting_for_a_key_leaves_no_trace(mock: MockTransport) -> None:
    mock.fail(429, retry_after=10).then.reply("hello").always()
    async with client_of(mock, retry=RetryConfig(longest_wait=1)) as client:
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi")
        with anyio.move_on_after(3):
            await client.chat(MODEL, "hi")
        reply = await client.chat(MODEL, "hi")
    assert reply.attempts[0].wait == pytest.approx(7.0)


async def test_a_limit_without_a_wait_rests_until_its_reset(mock: MockTransport) -> None:
    headers = {"x-ratelimit-remaining-tokens": "0", "x-ratelimit-reset-tokens": "1m40s"}
    mock.on(key="a").fail(429, headers=headers).always()
    mock.on(key="b").fail(429).then.reply("hello").always()
    async with client_of(mock, "a", "b") as client:
        reply = await client.chat(MODEL, "hi")
        notes = {attempt.key: attempt.note for attempt in reply.attempts if attempt.category}
        assert notes["a"] == "key a cooling down for 100.0 s"
        await anyio.sleep(90)
        assert states_of(client) == {"a": "cooling_down", "b": "ready"}
        await anyio.sleep(10)
        assert states_of(client)["a"] == "ready"


async def test_a_guess_of_ours_takes_no_last_key_out(mock: MockTransport, sleeps: Sleeps) -> None:
    mock.fail(429).then.reply("hello").always()
    async with client_of(mock, sleeps=sleeps) as client:
        began = anyio.current_time()
        with pytest.raises(RateLimitError):
            await client.chat(MODEL, "hi", max_retries=0)
        assert states_of(client) == {"one": "cooling_down"}
        assert (await client.chat(MODEL, "hi")).text == "hello"
        assert anyio.current_time() == began
    assert sleeps == []


async def test_failures_of_the_provider_take_no_key_out(mock: MockTransport) -> None:
    mock.fail(503).times(3).then.fail(529).times(3).then.cut(after_bytes=5).times(3)
    async with client_of(mock, "a", "b") as client:
        for _ in range(3):
            with pytest.raises(Exception, match=r"openai|capacity"):
                await client.chat(MODEL, "hi")
        assert states_of(client) == {"a": "ready", "b": "ready"}


async def test_a_success_that_began_before_the_limit_does_not_end_it(mock: MockTransport) -> None:
    mock.reply("hello").delay(5).then.fail(429, retry_after=61).delay(1)
    async with client_of(mock) as client:
        await Calls(client).at_once(2)
        assert states_of(client) == {"one": "cooling_down"}


# --- dead: faults 49, 50 and 55


@pytest.mark.parametrize(
    ("status", "code", "reason"),
    [(401, None, "credential"), (429, "insufficient_quota", "quota"), (402, None, "quota")],
)
async def test_a_refused_key_is_out_of_use_for_all_calls(
    mock: MockTransport, kind: Kind, status: int, code: str | None, reason: str
) -> None:
    mock.on(key="bad").fail(status, code=code).always()
    mock.on(key="good").reply("hello").always()
    keys = [Key(name="bad", value=fake_key("bad"), weight=1e9), Key(name="good", value=fake_key("good"))]
    async with client_of(mock, *keys) as client:
        reply = await ask(client, kind)
        assert reply.attempts[0].note == f"key bad taken out of use ({reason})"
        assert states_of(client) == {"bad": "dead", "good": "ready"}
        for _ in range(5):
            assert told((await ask(client, kind)).attempts) == [("good", 200, None)]
    assert [call.key for call in mock.calls].count("bad") == 1


async def test_when_all_are_dead_the_error_has_their_names_and_no_more(mock: MockTransport, kind: Kind) -> None:
    mock.on(key="a").fail(401, message=f"Incorrect API key: {fake_key('a')}").always()
    mock.on(key="b").fail(429, code="insufficient_quota").always()
    async with client_of(mock, "a", "b") as client:
        with pytest.raises(Exception, match="openai"):
            await ask(client, kind)
        calls = len(mock.calls)
        with pytest.raises(CredentialsExhaustedError, match=r"left: a \(credential\), b \(quota\)") as caught:
            await ask(client, kind)
    assert len(mock.calls) == calls == 2
    assert fake_key("a") not in str(caught.value) + repr(vars(caught.value))


async def test_when_all_are_dead_the_fallback_serves(mock: MockTransport) -> None:
    mock.on(provider="openai").fail(401).always()
    mock.on(provider="anthropic").reply("hello").always()
    async with client_of(mock) as client:
        await client.chat(MODEL, "hi", fallbacks=[OTHER])
        reply = await client.chat(MODEL, "hi", fallbacks=[OTHER])
    assert told(reply.attempts) == [("anthropic-key", 200, None)]
    assert reply.warnings[0].startswith(f"{MODEL} was passed over: openai has no usable key for gpt-4o-mini left: one")


async def test_after_ten_minutes_one_call_tries_a_dead_key(mock: MockTransport) -> None:
    mock.fail(401).then.reply("hello").delay(2).always()
    async with client_of(mock) as client:
        with pytest.raises(AuthenticationError):
            await client.chat(MODEL, "hi")
        await anyio.sleep(599.9)
        with pytest.raises(CredentialsExhaustedError):
            await client.chat(MODEL, "hi")
        await anyio.sleep(0.11)
        calls = Calls(client)
        await calls.at_once(50)
        assert len(mock.calls) == 2
        assert {type(error) for error in calls.errors} == {CredentialsExhaustedError}
        assert len(calls.errors) == 49
        assert states_of(client) == {"one": "ready"}


async def test_a_probe_of_a_key_that_is_broken_off_gives_its_place_back(mock: MockTransport) -> None:
    mock.fail(401).then.hang().then.reply("hello").always()
    async with client_of(mock) as client:
        with pytest.raises(AuthenticationError):
            await client.chat(MODEL, "hi")
        await anyio.sleep(600)
        with anyio.move_on_after(5):
            await client.chat(MODEL, "hi")
        assert (await client.chat(MODEL, "hi")).text == "hello"


class ChangingAccount:
    """Gives what it was told last."""

    def __init__(self, *keys: Key) -> None:
        self.given = list(keys)

    def providers(self) -> list[str]:
        return ["openai"]

    def keys(self, provider: str, call: CallContext | None) -> list[Key]:
        return self.given

    def config(self, provider: str) -> ProviderConfig:
        return ProviderConfig()


async def test_a_new_value_brings_a_dead_key_back_at_once(mock: MockTransport) -> None:
    mock.on(key="old").fail(401).always()
    mock.on(key="new").reply("hello").always()
    account = ChangingAccount(Key(name="main", value=fake_key("old")))
    async with mock.client(account) as client:
        with pytest.raises(AuthenticationError):
            await client.chat(MODEL, "hi")
        account.given = [Key(name="main", value=fake_key("old"))]
        with pytest.raises(CredentialsExhaustedError):
            await client.chat(MODEL, "hi")
        account.given = [Key(name="main", value=fake_key("new"))]
        assert (await client.chat(MODEL, "hi")).text == "hello"
    assert [call.key for call in mock.calls] == ["old", "new"]


async def test_a_key_that_is_taken_away_is_used_by_no_later_call(mock: MockTransport) -> None:
    mock.reply("hello").delay(5).always()
    account = ChangingAccount(Key(name="a", value=fake_key("a")))
    async with mock.client(account) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.one)
            await until(lambda: len(mock.calls) == 1)
            account.given = [Key(name="b", value=fake_key("b"))]
            await calls.one()
        assert not calls.errors
    assert [call.key for call in mock.calls] == ["a", "b"]


async def test_two_clients_know_nothing_of_each_others_keys(mock: MockTransport) -> None:
    mock.fail(401).then.reply("hello").always()
    async with client_of(mock) as first, client_of(mock) as second:
        with pytest.raises(AuthenticationError):
            await first.chat(MODEL, "hi")
        assert (await second.chat(MODEL, "hi")).text == "hello"
        assert states_of(first) == {"one": "dead"}


# --- choosing


async def test_a_session_keeps_its_key_until_that_rests(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").times(20).then.fail(429, retry_after=20).then.reply("hello").always()
    async with client_of(mock, "a", "b", "c", "d") as client:
        seen = {(await ask(client, kind, session="anna")).attempts[-1].key for _ in range(20)}
        (own,) = seen
        others = {(await ask(client, kind, session="anna")).attempts[-1].key for _ in range(5)}
        assert len(others) == 1
        assert others != seen
        await anyio.sleep(20)
        assert (await ask(client, kind, session="anna")).attempts[-1].key == own


async def test_a_copy_of_the_client_has_a_session_of_its_own(mock: MockTransport) -> None:
    mock.reply("hello").always()
    async with client_of(mock, "a", "b", "c", "d") as client:
        user = client.with_options(session="anna")
        assert len({(await user.chat(MODEL, "hi")).attempts[0].key for _ in range(10)}) == 1
        keys = {(await user.chat(MODEL, "hi", session=f"user {n}")).attempts[0].key for n in range(40)}
    assert keys == {"a", "b", "c", "d"}


async def test_the_least_busy_key_counts_open_streams(mock: MockTransport) -> None:
    mock.stream(["a", "b"]).always()
    async with client_of(mock, "a", "b", key_pool=KeyPoolConfig(choose="least_busy")) as client:
        async with client.stream_chat(MODEL, "hi") as first:
            await first.__anext__()
            async with client.stream_chat(MODEL, "hi") as second:
                await second.__anext__()
                assert {call.key for call in mock.calls} == {"a", "b"}
                await second.final()
            await first.final()
        running = client._engine._running
        assert running is not None
        assert [key.in_flight for key in running.upstreams._rings["openai"][2].snapshot(0.0)] == [0, 0]


# --- what a provider tells of its allowances


async def test_an_answer_and_an_error_tell_what_is_left(mock: MockTransport, kind: Kind) -> None:
    headers = {"x-ratelimit-remaining-requests": "7", "x-ratelimit-reset-requests": "1m2.5s"}
    body = b'{"error": {"message": "no such parameter"}}'
    if kind == "plain":
        mock.reply("hello", headers=headers)
    else:
        mock.stream(["hello"], headers=headers)
    mock.raw(400, body, {**headers, "content-type": "application/json"})
    async with client_of(mock) as client:
        reply = await ask(client, kind)
        assert reply.rate_limit is not None
        assert reply.rate_limit.requests is not None
        assert (reply.rate_limit.requests.remaining, reply.rate_limit.requests.reset_after) == (7, 62.5)
        with pytest.raises(BadRequestError, match="no such parameter") as caught:
            await ask(client, kind)
        assert caught.value.rate_limit == reply.rate_limit
