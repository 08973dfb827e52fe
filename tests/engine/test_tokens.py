"""Keys whose credentials expire: one fetch for all, a refresh in the background, failures. In virtual time."""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any

import anyio
import attrs
import pytest

from bifrost import (
    AuthenticationError,
    Bifrost,
    BifrostError,
    CallTimeoutError,
    ConfigError,
    InvalidKeyError,
    Key,
    KeyPoolConfig,
    ProviderConfig,
    RetryConfig,
    ShuttingDownError,
    StaticAccount,
    Token,
    TokenError,
)
from bifrost.testing import MockTransport, fake_key, no_waits
from tests.engine.rig import until
from tests.engine.test_hedged import hedging, known
from tests.engine.troubled import MODEL, Calls, Sleeps, client_of, states_of, told
from tests.plugins.recorder import Kind, ask

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

EPOCH = 1_000_000_000.0


def wall() -> float:
    return EPOCH + anyio.current_time()


class Source:
    """Fetches tokens named t1, t2, ... that last for `lifetime` seconds, each after `takes` seconds."""

    def __init__(self, lifetime: float | None = 3600.0, *, takes: float = 0.0) -> None:
        self.lifetime, self.takes = lifetime, takes
        self.began: list[float] = []
        self.failure: Exception | None = None

    async def fetch(self) -> Token:
        self.began.append(anyio.current_time())
        number = len(self.began)
        await anyio.sleep(self.takes)
        if self.failure is not None:
            raise self.failure
        expires_at = None if self.lifetime is None else wall() + self.lifetime
        return Token(fake_key(f"t{number}"), expires_at=expires_at)


def client_with(mock: MockTransport, *sources: Any, **config: Any) -> Bifrost:
    """Give a client whose keys are those of these sources, and values after them."""
    keys = [
        each if isinstance(each, Key) else Key(name=f"k{place}", credentials=each) for place, each in enumerate(sources)
    ]
    return client_of(mock, *keys, wall=wall, **config)


def sent(mock: MockTransport) -> list[str | None]:
    return [call.key for call in mock.calls]


async def test_a_hundred_calls_fetch_one_token(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").always()
    source = Source(takes=2.0)
    async with client_with(mock, source) as client:
        replies: list[Any] = []

        async def one() -> None:
            replies.append(await ask(client, kind, MODEL))

        async with anyio.create_task_group() as group:
            for _ in range(100):
                group.start_soon(one)
    assert len(source.began) == 1
    assert sent(mock) == ["t1"] * 100
    assert [len(reply.attempts) for reply in replies] == [1] * 100
    assert {reply.attempts[0].key for reply in replies} == {"k0"}


async def test_a_cancelled_first_caller_leaves_the_fetch_to_the_others(mock: MockTransport) -> None:
    mock.reply("hello").always()
    source = Source(takes=2.0)
    async with client_with(mock, source) as client, anyio.create_task_group() as group:
        first = anyio.CancelScope()

        async def leave() -> None:
            with first:
                await client.chat(MODEL, "hi")

        group.start_soon(leave)
        await until(lambda: source.began)
        calls = Calls(client)
        group.start_soon(calls.at_once, 5)
        await anyio.sleep(1.0)
        first.cancel()
        await anyio.sleep(1.5)
        assert not calls.errors
        assert len(calls.outcomes) == 5
    assert len(source.began) == 1


async def test_a_token_is_fetched_anew_before_it_expires_and_no_call_waits(mock: MockTransport) -> None:
    mock.reply("hello").always()
    source = Source(3600.0)
    async with client_with(mock, source) as client:
        await client.chat(MODEL, "hi")
        source.takes = 50.0
        await anyio.sleep(3299.0)
        await client.chat(MODEL, "hi")
        assert len(source.began) == 1
        await anyio.sleep(2.0)
        began = anyio.current_time()
        await client.chat(MODEL, "hi")
        await client.chat(MODEL, "hi")
        assert anyio.current_time() == began
        await until(lambda: len(source.began) == 2)
        await anyio.sleep(60.0)
        await client.chat(MODEL, "hi")
    assert sent(mock) == ["t1", "t1", "t1", "t1", "t2"]
    assert len(source.began) == 2


@pytest.mark.parametrize(
    ("lifetime", "refresh_before", "due"), [(3600.0, 60.0, 3540.0), (600.0, 300.0, 300.0), (120.0, 300.0, 60.0)]
)
async def test_the_time_of_the_refresh_is_a_setting(
    mock: MockTransport, lifetime: float, refresh_before: float, due: float
) -> None:
    mock.reply("hello").always()
    source = Source(lifetime)
    async with client_with(mock, source, key_pool=KeyPoolConfig(refresh_before=refresh_before)) as client:
        await client.chat(MODEL, "hi")
        await anyio.sleep(due - 1.0)
        await client.chat(MODEL, "hi")
        assert len(source.began) == 1
        await anyio.sleep(1.0)
        await client.chat(MODEL, "hi")
        await until(lambda: len(source.began) == 2)


async def test_a_failing_refresh_stops_no_call_that_has_a_good_token(
    mock: MockTransport, caplog: pytest.LogCaptureFixture
) -> None:
    mock.reply("hello").always()
    source = Source(3600.0)
    async with client_with(mock, source) as client:
        await client.chat(MODEL, "hi")
        source.failure = RuntimeError("the secret is hunter2")
        await anyio.sleep(3300.0)
        with caplog.at_level(logging.WARNING, "bifrost.account"):
            for _ in range(290):  # until ten seconds before its end
                await client.chat(MODEL, "hi")
                await anyio.sleep(1.0)
        assert sent(mock) == ["t1"] * 291
        # 1, 2, 4, ... 60 s apart.
        assert 8 <= len(source.began) <= 12
        assert "Source failed with RuntimeError" in caplog.text
        assert "hunter2" not in caplog.text
        source.failure = None
        await anyio.sleep(60.0)
        await client.chat(MODEL, "hi")
    assert sent(mock)[-1] == f"t{len(source.began)}"


async def test_without_a_good_token_the_call_tries_again_and_then_names_the_source(mock: MockTransport) -> None:
    source = Source()
    source.failure = RuntimeError("the secret is hunter2")
    async with client_with(mock, source) as client:
        with pytest.raises(TokenError, match="Source failed with RuntimeError") as caught:
            await client.chat(MODEL, "hi")
        error = caught.value
        assert (error.category, error.provider, error.key, error.attempts) == ("token", "openai", "k0", [])
        assert [each - source.began[0] for each in source.began] == [0.0, 1.0, 3.0]
        assert "hunter2" not in f"{error} {error!r} {error.__cause__} {error.__context__}"
        # While the source is left alone, the next call learns at once why, and waits for it.
        with pytest.raises(TokenError):
            await client.chat(MODEL, "hi", max_retries=0)
        assert len(source.began) == 3
        source.failure = None
        mock.reply("hello")
        assert (await client.chat(MODEL, "hi")).text == "hello"
    assert not any("Source" in str(call) for call in mock.calls)


async def test_no_waits_skips_the_pauses_of_a_source(mock: MockTransport) -> None:
    source = Source()
    source.failure = RuntimeError()
    async with mock.client(StaticAccount(keys={"openai": source})) as client:
        with no_waits(), pytest.raises(TokenError):
            await client.chat(MODEL, "hi")
    assert source.began == [source.began[0]] * 3


async def test_another_key_serves_while_a_source_fails(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").always()
    source = Source()
    source.failure = RuntimeError()
    spare = Key(name="spare", value=fake_key("spare"), weight=1e-9)
    async with client_with(mock, source, spare) as client:
        for _ in range(3):
            reply = await ask(client, kind, MODEL)
            assert told(reply.attempts) == [("spare", 200, None)]
    assert sent(mock) == ["spare"] * 3
    assert len(source.began) == 1


async def test_a_fallback_is_used_when_no_token_can_be_fetched(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").always()
    source = Source()
    source.failure = RuntimeError()
    async with client_with(mock, source) as client:
        reply = await ask(client, kind, MODEL, fallbacks=["anthropic/claude-haiku-4-5"])
    assert [attempt.provider for attempt in reply.attempts] == ["anthropic"]
    assert len(source.began) == 1


async def test_a_call_whose_token_expired_in_the_queue_gets_a_fresh_one(mock: MockTransport) -> None:
    mock.reply("hello").delay(40.0).always()
    source = Source(60.0)
    async with client_with(mock, source, concurrency=1) as client:
        calls = Calls(client)
        await calls.at_once(4)
    assert not calls.errors
    # Each begins with a token that is good at that moment.
    ends = [began + 60.0 - source.began[0] for began in source.began]
    for number, call in enumerate(mock.calls):
        assert call.key is not None
        assert 40.0 * number < ends[int(call.key[1:]) - 1], number
    assert len({call.key for call in mock.calls}) > 1


async def test_a_refused_token_is_replaced_once_before_the_key_is_out_of_use(mock: MockTransport, kind: Kind) -> None:
    mock.on(key="t1").fail(401).always()
    mock.reply("hello").always()
    source = Source()
    async with client_with(mock, source) as client:
        reply = await ask(client, kind, MODEL, max_retries=0)
        assert told(reply.attempts) == [("k0", 401, "stale_token"), ("k0", 200, None)]
        assert states_of(client) == {"k0": "ready"}
        mock.on(key="t2").fail(401).always()
        # The second token was accepted before, so it may have been withdrawn as the first one was.
        reply = await ask(client, kind, MODEL, max_retries=0)
        assert told(reply.attempts) == [("k0", 401, "stale_token"), ("k0", 200, None)]
    assert sent(mock) == ["t1", "t2", "t2", "t3"]


async def test_a_key_whose_new_token_is_refused_too_is_out_of_use(mock: MockTransport, kind: Kind) -> None:
    mock.fail(401, message="Not you: " + fake_key("t2")).always()
    source = Source()
    async with client_with(mock, source) as client:
        with pytest.raises(AuthenticationError) as caught:
            await ask(client, kind, MODEL)
        assert told(caught.value.attempts) == [("k0", 401, "stale_token"), ("k0", 401, "credential")]
        assert "***" in caught.value.message
        assert fake_key("t2") not in str(caught.value)
        assert states_of(client) == {"k0": "dead"}
        # Ten minutes later it is tried again, with a token of its own.
        await anyio.sleep(601.0)
        with pytest.raises(AuthenticationError):
            await ask(client, kind, MODEL)
    assert sent(mock) == ["t1", "t2", "t3", "t4"]


async def test_many_calls_with_a_refused_token_fetch_one_new_one(mock: MockTransport) -> None:
    mock.on(key="t1").fail(401).delay(1.0).always()
    mock.reply("hello").always()
    source = Source(takes=0.5)
    async with client_with(mock, source) as client:
        calls = Calls(client)
        await calls.at_once(50)
    assert not calls.errors
    assert len(source.began) == 2
    assert sent(mock) == ["t1"] * 50 + ["t2"] * 50


async def test_keys_with_one_source_share_its_tokens(mock: MockTransport) -> None:
    mock.reply("hello").always()
    source = Source()
    async with client_with(mock, source, source) as client:
        for name in ("k0", "k1"):
            await client.chat(MODEL, "hi", key=name)
    assert len(source.began) == 1


@attrs.define
class Unhashable:
    source: Source = attrs.field(factory=Source)

    async def fetch(self) -> Token:
        return await self.source.fetch()


async def test_a_source_without_a_hash_is_itself(mock: MockTransport) -> None:
    mock.reply("hello").always()
    one, other = Unhashable(), Unhashable()
    async with client_with(mock, one, other) as client:
        for name in ("k0", "k1", "k0", "k1"):
            await client.chat(MODEL, "hi", key=name)
    assert (len(one.source.began), len(other.source.began)) == (1, 1)
    assert one == Unhashable(one.source)


@pytest.mark.parametrize("make", [str, Token])
async def test_functions_return_tokens_or_text(mock: MockTransport, make: Callable[[str], Any]) -> None:
    mock.reply("hello").always()
    made: list[str] = []

    async def provide() -> Any:
        made.append(fake_key(f"t{len(made) + 1}"))
        return make(made[-1])

    async with client_with(mock, provide) as client:
        await client.chat(MODEL, "hi")
        await anyio.sleep(59.0)
        await client.chat(MODEL, "hi")
        await anyio.sleep(2.0)
        await client.chat(MODEL, "hi")
        # Text has an unknown expiry: it is fetched anew after a minute. A token without one never expires.
        await until(lambda: len(made) == 2 or make is Token)
        assert len(made) == (1 if make is Token else 2)


async def test_a_source_that_does_not_answer_is_left_after_a_minute(mock: MockTransport) -> None:
    source = Source(takes=1e6)
    async with client_with(mock, source, retry=RetryConfig(max_retries=0)) as client:
        with pytest.raises(TokenError, match="Source did not return a token within 60 s"):
            await client.chat(MODEL, "hi")
        assert anyio.current_time() - source.began[0] == 60.0


async def test_the_timeout_of_a_call_holds_while_a_token_is_fetched(mock: MockTransport) -> None:
    source = Source(takes=30.0)
    async with client_with(mock, source) as client:
        with pytest.raises(CallTimeoutError, match="fetching a token") as caught:
            await client.chat(MODEL, "hi", timeout=5.0)
        assert caught.value.phase == "token"
        assert anyio.current_time() - source.began[0] == 5.0


async def test_a_closed_client_waits_for_no_token(mock: MockTransport) -> None:
    source = Source(takes=1000.0)
    async with client_with(mock, source) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 3)
            await until(lambda: source.began)
            await client.close(drain=1.0)
        assert [type(error) for error in calls.errors] == [ShuttingDownError] * 3


async def test_a_client_that_drains_refuses_a_call_that_waits_for_its_token(mock: MockTransport) -> None:
    mock.reply("hello").always()
    source = Source(takes=5.0)
    async with client_with(mock, source) as client:
        calls = Calls(client)
        async with anyio.create_task_group() as group:
            group.start_soon(calls.at_once, 1)
            await until(lambda: source.began)
            await client.close(drain=30.0)
        # It was not sent yet, so it is refused as one that is queued.
        assert [type(each) for each in calls.outcomes] == [ShuttingDownError]


@pytest.mark.parametrize(
    ("answer", "error", "message"),
    [
        (None, ConfigError, "provide returned an object of type NoneType; return a Token"),
        ("two words", ConfigError, "key 'provide' cannot be used"),
        (Token(fake_key("old"), expires_at=EPOCH - 1), TokenError, "expired; check the clock"),
    ],
)
async def test_what_a_source_must_not_return_is_an_error_that_names_it(
    mock: MockTransport, answer: Any, error: type[BifrostError], message: str
) -> None:
    async def provide() -> Any:
        return answer

    async with client_with(mock, provide) as client:
        with pytest.raises(error, match=message):
            await client.chat(MODEL, "hi", max_retries=0)


async def test_errors_of_bifrost_are_raised_as_they_are(mock: MockTransport) -> None:
    async def provide() -> Any:
        raise ConfigError("install the extra") from RuntimeError("the secret is hunter2")

    async with client_with(mock, provide) as client:
        with pytest.raises(ConfigError, match="install the extra") as caught:
            await client.chat(MODEL, "hi")
        assert caught.value.__cause__ is None
        assert caught.value.key == "k0"


async def test_a_source_that_is_cancelled_from_within_has_failed(mock: MockTransport, anyio_backend_name: str) -> None:
    async def provide() -> Any:
        if anyio_backend_name == "trio":
            with anyio.CancelScope() as scope:
                scope.cancel()
                await anyio.sleep(1.0)
            raise RuntimeError
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        future.cancel()
        await future

    async with client_with(mock, provide) as client:
        with pytest.raises(TokenError, match="provide"):
            await client.chat(MODEL, "hi", max_retries=0)


async def test_a_hedge_does_not_wait_for_a_token_and_uses_one_that_is_there(mock: MockTransport) -> None:
    source = Source()
    plain = Key(name="plain", value=fake_key("plain"), weight=1e9)
    entra = Key(name="entra", credentials=source, weight=1e-9)
    async with hedging(mock, plain, entra, wall=wall) as client:
        await known(client, mock)
        mock.reply("slow").delay(20.0).times(1)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "slow"
        assert not source.began

        mock.reply("hello").delay(0.1).times(1)
        await client.chat(MODEL, "hi", key="entra")
        mock.hang().then.reply("hedged").delay(0.1)
        reply = await client.chat(MODEL, "hi")
        assert reply.text == "hedged"
    assert sent(mock)[-2:] == ["plain", "t1"]
    assert len(source.began) == 1


async def test_explain_fetches_no_token(mock: MockTransport) -> None:
    mock.reply("hello").always()
    source = Source()
    async with client_with(mock, source) as client:
        before = await client.explain(MODEL, "hi")
        assert not source.began
        await client.chat(MODEL, "hi")
        after = await client.explain(MODEL, "hi")
    assert before.candidates[0].problem is None
    assert after.candidates[0].problem is None
    assert "t1" not in repr(after)


async def test_a_source_keeps_its_tokens_when_the_list_of_keys_is_made_anew(mock: MockTransport) -> None:
    mock.reply("hello").always()
    source = Source()

    class Account:
        def providers(self) -> list[str]:
            return ["openai"]

        def keys(self, provider: str, call: Any) -> list[Key]:
            # A bound method is another object each time.
            return [Key(name="k", credentials=source.fetch)]

        def config(self, provider: str) -> Any:
            return ProviderConfig()

    async with mock.client(Account(), clock=Sleeps().clock(wall=wall)) as client:
        await client.chat(MODEL, "hi")
        await client.chat(MODEL, "hi")
    assert len(source.began) == 1


def test_a_key_has_either_a_value_or_credentials() -> None:
    with pytest.raises(ConfigError, match="key 'both' has a value and credentials; give one of them"):
        Key(name="both", value="sk-1", credentials=Source())
    with pytest.raises(InvalidKeyError, match="key 'neither' cannot be used"):
        Key(name="neither")


@pytest.mark.parametrize("credentials", ["text", 3, Source, object()])
def test_credentials_are_a_function_or_have_fetch(credentials: Any) -> None:
    with pytest.raises(ConfigError, match="must be a function that returns a Token, or an object with a `fetch`"):
        Key(name="wrong", credentials=credentials)


def test_a_token_checks_its_time_and_shows_nothing() -> None:
    assert "sk-very" not in repr(Token("sk-very-secret-0001", expires_at=5))
    wrong: Any
    for wrong in (float("nan"), -1, True, "soon", 1e300):
        with pytest.raises(ConfigError, match="seconds since the epoch"):
            Token("sk-1", expires_at=wrong)


async def test_azure_gets_tokens_as_bearer_and_keys_in_its_own_header(mock: MockTransport) -> None:
    mock.reply("hello").always()
    azure = {"azure": [Key(name="key", value=fake_key("key")), Key(name="entra", credentials=Source(None))]}
    configs = {"azure": ProviderConfig(base_url="https://mine.openai.azure.com")}
    async with mock.client(StaticAccount(keys=azure, configs=configs)) as client:
        await client.chat("azure/gpt-4o", "hi", key="key")
        await client.chat("azure/gpt-4o", "hi", key="entra")
    assert sent(mock) == ["key", "t1"]
    names = [{"api-key", "authorization"} & set(call.http.headers) for call in mock.calls]
    assert names == [{"api-key"}, {"authorization"}]
