"""The records that subscribers and plugins receive, through the public client: what each call reports, in order."""

from __future__ import annotations

import logging
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import anyio
import pytest

from bifrost import (
    AttemptRecord,
    BifrostError,
    BreakerConfig,
    CallContext,
    ChatResponse,
    ConfigError,
    HedgeConfig,
    Key,
    Plugin,
    ProviderConfig,
    RetryConfig,
    StaticAccount,
    SyncBifrost,
)
from bifrost.telemetry import (
    AttemptEnded,
    BreakerOpened,
    CallEnded,
    CallStarted,
    KeyCoolingDown,
    QueueFull,
    StreamCommitted,
)
from bifrost.testing import MockTransport, fake_key
from tests.canary import CANARY, assert_unseen
from tests.plugins.recorder import Kind, ask

if TYPE_CHECKING:
    from collections.abc import Callable

    from bifrost import Bifrost

pytestmark = [pytest.mark.anyio, pytest.mark.virtual_time]

MODEL, OTHER = "openai/gpt-4o-mini", "anthropic/claude-haiku-4-5"
ONCE = RetryConfig(max_retries=0)


@pytest.fixture(params=["plain", "stream"])
def kind(request: pytest.FixtureRequest) -> Kind:
    chosen: Literal["plain", "stream"] = request.param
    return chosen


class Watcher(Plugin):
    """Keeps what `on_attempt` is given."""

    name = "watcher"

    def __init__(self) -> None:
        self.seen: list[tuple[CallContext, AttemptRecord]] = []

    def on_attempt(self, call: CallContext, record: AttemptRecord) -> None:
        self.seen.append((call, record))


def client_of(mock: MockTransport, *plugins: Plugin, keys: tuple[str, ...] = ("one",), **config: Any) -> Bifrost:
    account = StaticAccount(
        keys={
            "openai": [Key(name=name, value=fake_key(name)) for name in keys],
            "anthropic": [Key(name="other", value=fake_key("other"))],
        },
        configs={"openai": ProviderConfig(**config)},
    )
    return mock.client(account, plugins=plugins)


def names(records: list[Any]) -> list[str]:
    return [type(record).__name__ for record in records]


def attempts(records: list[Any]) -> list[AttemptRecord]:
    return [record.attempt for record in records if isinstance(record, AttemptEnded)]


async def outcome_of(client: Bifrost, kind: Kind, **options: Any) -> Any:
    try:
        return await ask(client, kind, MODEL, **options)
    except BifrostError as error:
        return error


# --- calls


async def test_a_call_reports_its_beginning_its_attempt_and_its_end(mock: MockTransport, kind: Kind) -> None:
    mock.reply("hello").delay(2)
    records: list[Any] = []
    watcher = Watcher()
    async with client_of(mock, watcher) as client:
        client.subscribe(records.append)
        reply = await ask(client, kind, MODEL)
    committed = ["StreamCommitted"] if kind == "stream" else []
    assert names(records) == ["CallStarted", *committed, "AttemptEnded", "CallEnded"]
    began, ended = records[0], records[-1]
    assert began == CallStarted(call=began.call, operation="chat", model=MODEL, is_stream=kind == "stream")
    assert attempts(records) == reply.attempts == list(ended.attempts) == [record for _, record in watcher.seen]
    assert (ended.call, ended.operation, ended.model, ended.is_stream) == (began.call, "chat", MODEL, kind == "stream")
    assert (ended.provider, ended.response_model, ended.usage) == ("openai", reply.model, reply.usage)
    assert (ended.category, ended.error) == (None, None)
    assert ended.duration >= 2
    assert watcher.seen[0][0].id == began.call
    if kind == "stream":
        commit = records[1]
        assert (commit.call, commit.provider, commit.model) == (began.call, "openai", "gpt-4o-mini")
        assert 2 <= commit.duration <= ended.duration
        assert commit.attempts == 0


async def test_a_failure_reports_its_category(mock: MockTransport, kind: Kind) -> None:
    mock.fail(400).always()
    records: list[Any] = []
    async with client_of(mock) as client:
        client.subscribe(records.append)
        error = await outcome_of(client, kind)
    assert names(records) == ["CallStarted", "AttemptEnded", "CallEnded"]
    assert (records[1].attempt.category, records[1].attempt.status) == ("caller", 400)
    ended = records[2]
    assert (ended.category, ended.error, ended.provider, ended.usage) == (
        "caller",
        type(error).__name__,
        "openai",
        None,
    )
    assert list(ended.attempts) == error.attempts


async def test_a_call_that_reaches_no_provider_reports_its_end(mock: MockTransport, kind: Kind) -> None:
    records: list[Any] = []
    async with client_of(mock) as client:
        client.subscribe(records.append)
        with pytest.raises(BifrostError):
            await ask(client, kind, "nobody/x")
    assert names(records) == ["CallStarted", "CallEnded"]
    assert (records[1].error, records[1].attempts) == ("UnknownProviderError", ())


async def test_each_retry_and_each_fallback_has_its_record(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(503).always()
    mock.on(provider="anthropic").reply("hello").always()
    records: list[Any] = []
    watcher = Watcher()
    async with client_of(mock, watcher) as client:
        client.subscribe(records.append)
        reply = await ask(client, kind, MODEL, fallbacks=[OTHER], max_retries=1)
    ended = [record for record in records if isinstance(record, AttemptEnded)]
    assert [(each.attempt.provider, each.attempt.category, each.fallback_index) for each in ended] == [
        ("openai", "transient", 0),
        ("openai", "transient", 0),
        ("anthropic", None, 1),
    ]
    assert attempts(records) == reply.attempts == [record for _, record in watcher.seen]
    assert records[-1].provider == "anthropic"
    assert {record.call for record in records} == {records[0].call}


async def test_a_hedge_and_the_attempt_that_it_overtakes_have_a_record_each(mock: MockTransport) -> None:
    mock.reply("usual").times(20)
    records: list[Any] = []
    watcher = Watcher()
    async with client_of(mock, watcher, keys=("a", "b"), hedge=HedgeConfig()) as client:
        for _ in range(20):
            await client.chat(MODEL, "hi")
        mock.hang().then.reply("hedged")
        with client.subscribe(records.append):
            reply = await client.chat(MODEL, "hi")
    assert names(records) == ["CallStarted", "AttemptEnded", "AttemptEnded", "CallEnded"]
    assert [attempt.category for attempt in attempts(records)] == ["cancelled", None]
    assert attempts(records) == reply.attempts == [record for _, record in watcher.seen][-2:]


async def test_a_stream_that_restarts_is_committed_twice_and_ends_once(mock: MockTransport) -> None:
    mock.stream(["one", "two"]).cut(after_events=1).then.reply("whole")
    records: list[Any] = []
    async with client_of(mock) as client:
        client.subscribe(records.append)
        async with client.stream_chat(MODEL, "hi", on_interrupt="restart") as stream:
            reply = await stream.final()
    assert reply.text == "whole"
    assert names(records) == [
        "CallStarted",
        "StreamCommitted",
        "AttemptEnded",
        "StreamCommitted",
        "AttemptEnded",
        "CallEnded",
    ]
    assert [attempt.category for attempt in attempts(records)] == ["interrupted", None]
    assert [record.attempts for record in records if isinstance(record, StreamCommitted)] == [0, 1]


async def test_a_stream_that_is_left_and_a_caller_that_leaves_report_their_end(mock: MockTransport) -> None:
    mock.stream(["one", "two", "three"]).drip(1)
    records: list[Any] = []
    async with client_of(mock) as client:
        client.subscribe(records.append)
        async with client.stream_chat(MODEL, "hi") as stream:
            await stream.__anext__()
        assert names(records)[-2:] == ["AttemptEnded", "CallEnded"]
        assert records[-1].warnings == ("closed_early",)
        records.clear()
        mock.hang()
        with anyio.move_on_after(1):
            await client.chat(MODEL, "hi")
    assert names(records) == ["CallStarted", "AttemptEnded", "CallEnded"]
    assert records[-1].category == "cancelled"


async def test_other_operations_report_as_chat_does(mock: MockTransport) -> None:
    mock.embed([[0.5]], usage=(3, 0))
    records: list[Any] = []
    async with client_of(mock) as client:
        client.subscribe(records.append)
        await client.embed("openai/text-embedding-3-small", ["a"])
    assert [record.operation for record in records] == ["embeddings"] * 3
    assert records[-1].usage is not None


# --- providers


async def test_keys_that_cool_down_are_reported_once_for_each_time(mock: MockTransport, kind: Kind) -> None:
    mock.on(key="a").fail(429, retry_after=20).always()
    mock.on(key="b").fail(401).always()
    mock.on(key="c").reply("hello").always()
    records: list[Any] = []
    async with client_of(mock, keys=("a", "b", "c")) as client:
        client.subscribe(records.append)
        while len(mock.calls) < 20:
            await ask(client, kind, MODEL)
    cooling = [record for record in records if isinstance(record, KeyCoolingDown)]
    assert sorted((each.provider, each.key, each.category) for each in cooling) == [
        ("openai", "a", "throttled"),
        ("openai", "b", "credential"),
    ]
    assert next(each.duration for each in cooling if each.key == "a") == pytest.approx(20, rel=0.2)


async def test_a_breaker_that_opens_is_reported_with_its_model(mock: MockTransport, kind: Kind) -> None:
    mock.fail(503).always()
    records: list[Any] = []
    async with client_of(mock, breaker=BreakerConfig(in_a_row=3, open=7), retry=ONCE) as client:
        client.subscribe(records.append)
        for _ in range(4):
            await outcome_of(client, kind)
    opened = [record for record in records if isinstance(record, BreakerOpened)]
    assert [(each.provider, each.model) for each in opened] == [("openai", "gpt-4o-mini")]
    assert opened[0].duration == pytest.approx(7, rel=0.5)


async def test_an_address_that_cannot_be_reached_is_reported_without_a_model(mock: MockTransport) -> None:
    mock.refuse().always()
    records: list[Any] = []
    async with client_of(mock, breaker=BreakerConfig(unreachable=2), retry=ONCE) as client:
        client.subscribe(records.append)
        for _ in range(3):
            await outcome_of(client, "plain")
    assert [record.model for record in records if isinstance(record, BreakerOpened)] == [None]


@pytest.mark.parametrize("full", [{"on_full": "drop"}, {"queue_timeout": 1.0}])
async def test_a_full_queue_is_reported(mock: MockTransport, kind: Kind, full: dict[str, Any]) -> None:
    mock.hang().always()
    records: list[Any] = []
    error: Any = None
    async with client_of(mock, concurrency=1, queue=1 if "queue_timeout" in full else 0, **full) as client:
        client.subscribe(records.append)
        async with anyio.create_task_group() as group:
            group.start_soon(partial(outcome_of, client, kind))
            await anyio.sleep(0.1)
            error = await outcome_of(client, kind)
            group.cancel_scope.cancel()
    assert error.__class__.__name__ == "QueueFullError"
    found = [record for record in records if isinstance(record, QueueFull)]
    assert [(each.provider, each.concurrency, each.is_stream) for each in found] == [("openai", 1, kind == "stream")]


# --- subscribers


async def test_a_subscription_ends_with_its_block_or_when_it_is_cancelled(mock: MockTransport) -> None:
    mock.reply("hello").always()
    first: list[Any] = []
    second: list[Any] = []
    async with client_of(mock) as client:
        subscription = client.with_options(timeout=5).subscribe(first.append)
        with client.subscribe(second.append):
            await client.chat(MODEL, "hi")
        await client.chat(MODEL, "hi")
        subscription.cancel()
        subscription.cancel()
        await client.chat(MODEL, "hi")
    assert (len(first), len(second)) == (6, 3)


async def test_a_subscriber_that_fails_is_logged_once_and_harms_nobody(
    mock: MockTransport, kind: Kind, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(record: Any) -> None:
        raise ValueError(type(record).__name__)

    mock.reply("hello").always()
    records: list[Any] = []
    async with client_of(mock) as client:
        client.subscribe(fail)
        client.subscribe(records.append)
        with caplog.at_level(logging.ERROR, logger="bifrost.telemetry"):
            for _ in range(3):
                assert (await ask(client, kind, MODEL)).warnings == []
    assert sum(isinstance(record, CallEnded) for record in records) == 3
    assert len(caplog.records) == 1
    assert "CallStarted" in caplog.text


async def receive(record: Any) -> None:
    """Not what a subscriber may be."""


class AsyncReceiver:
    """Not what a subscriber may be either."""

    async def __call__(self, record: Any) -> None:
        """Not awaited by anybody."""


@pytest.mark.parametrize("wrong", [None, "text", receive, partial(receive), AsyncReceiver()])
async def test_what_cannot_be_called_with_a_record_is_refused(mock: MockTransport, wrong: Any) -> None:
    async with client_of(mock) as client:
        with pytest.raises(ConfigError, match="subscriber"):
            client.subscribe(wrong)


async def test_no_record_shows_a_key_a_prompt_or_an_answer(mock: MockTransport, kind: Kind) -> None:
    mock.on(provider="openai").fail(401, message=f"bad key {CANARY}").always()
    mock.on(provider="anthropic").reply("the response").always()
    records: list[Any] = []
    account = StaticAccount(keys={"openai": [Key(name="main", value=CANARY)], "anthropic": [Key(name="b", value="x")]})
    async with mock.client(account) as client:
        client.subscribe(records.append)
        await client.chat(MODEL, "the prompt", fallbacks=[OTHER])
    shown = repr(records)
    assert_unseen(shown)
    assert "the prompt" not in shown
    assert "the response" not in shown


@pytest.mark.anyio(False)
def test_the_synchronous_client_reports_too() -> None:
    mock = MockTransport()
    mock.reply("hello")
    records: list[Any] = []
    account = StaticAccount(keys={"openai": fake_key("one")})
    with SyncBifrost(account, transport=mock) as client, client.subscribe(records.append):
        client.chat(MODEL, "hi")
    assert names(records) == ["CallStarted", "AttemptEnded", "CallEnded"]


# --- plugins


@pytest.mark.parametrize("result", ["something", ValueError("no"), BifrostError("no")])
async def test_an_attempt_hook_that_fails_is_a_warning_and_never_fails_the_call(
    mock: MockTransport, kind: Kind, result: Any
) -> None:
    class Failing(Plugin):
        name = "failing"
        on_error = "fail"

        def on_attempt(self, call: CallContext, record: AttemptRecord) -> Any:
            if isinstance(result, Exception):
                raise result
            return result

    mock.reply("hello")
    watcher = Watcher()
    async with client_of(mock, Failing(), watcher) as client:
        reply = await ask(client, kind, MODEL)
    assert isinstance(reply, ChatResponse)
    assert len(watcher.seen) == 1
    assert [warning for warning in reply.warnings if "on_attempt" in warning]


def async_hook() -> Plugin:
    class Async(Plugin):
        async def on_attempt(self, call: CallContext, record: AttemptRecord) -> None:
            """Not allowed."""

    return Async()


@pytest.mark.parametrize("make", [async_hook])
async def test_an_attempt_hook_that_is_async_is_refused(mock: MockTransport, make: Callable[[], Plugin]) -> None:
    with pytest.raises(ConfigError, match="on_attempt must not be async"):
        client_of(mock, make())
