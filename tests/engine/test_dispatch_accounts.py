from __future__ import annotations

import time
import traceback
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bifrost import (
    Bifrost,
    BifrostError,
    CallContext,
    ConfigError,
    Key,
    LimitError,
    MissingKeyError,
    PermissionDeniedError,
    ProviderConfig,
    UnknownProviderError,
)
from bifrost.testing import MockTransport, fake_key
from tests.plugins.recorder import MODEL, OTHER, Kind, Recorder, ask
from tests.table import table

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio


class Directory:
    """An account whose methods wait, and give (or raise) what a test wants instead of what they would give."""

    def __init__(self, **instead: Any) -> None:
        self.instead = instead
        self.asked: list[str] = []

    async def providers(self) -> Any:
        return self._give("providers", ["openai", "anthropic"])

    async def keys(self, provider: str, call: CallContext | None) -> Any:
        name = provider if call is None or call.tenant is None else f"{provider}-{call.tenant}"
        return self._give("keys", [Key(name=name, value=fake_key(name))])

    async def config(self, provider: str) -> Any:
        return self._give("config", ProviderConfig())

    def _give(self, method: str, value: Any) -> Any:
        self.asked.append(method)
        value = self.instead.get(method, value)
        if isinstance(value, Exception):
            raise value
        return value


async def test_an_account_may_be_async(kind: Kind) -> None:
    mock = MockTransport()
    mock.reply("hello")
    async with Bifrost(Directory(), transport=mock) as client:
        assert (await ask(client, kind)).text == "hello"
    assert mock.calls[0].key == "openai"


async def test_providers_and_settings_are_asked_once_and_keys_for_each_call() -> None:
    account = Directory()
    mock = MockTransport()
    mock.reply("hello").times(3)
    async with Bifrost(account, transport=mock) as client:
        for _ in range(3):
            await client.chat(MODEL, "hi")
    assert account.asked.count("providers") == account.asked.count("config") == 1
    assert account.asked.count("keys") == 3


async def test_nothing_is_asked_before_the_first_call() -> None:
    account = Directory()
    async with Bifrost(account, transport=MockTransport()):
        pass
    assert account.asked == []


async def test_keys_may_differ_from_call_to_call(kind: Kind) -> None:
    tenants = iter(["blue", "green"])

    def route(call: CallContext, _request: Any) -> None:
        call.tenant = next(tenants)

    mock = MockTransport()
    mock.reply("hello").times(2)
    async with Bifrost(Directory(), transport=mock, plugins=[Recorder([], before_call=route)]) as client:
        replies = [await ask(client, kind), await ask(client, kind)]
    assert [call.key for call in mock.calls] == ["openai-blue", "openai-green"]
    assert [reply.attempts[0].key for reply in replies] == ["openai-blue", "openai-green"]


async def test_one_tenants_keys_are_not_anothers_at_the_same_time() -> None:
    def route(call: CallContext, request: Any) -> None:
        call.tenant = request.user

    mock = MockTransport()
    mock.reply("hello").always()
    async with (
        Bifrost(Directory(), transport=mock, plugins=[Recorder([], waits=True, before_call=route)]) as client,
        anyio.create_task_group() as group,
    ):
        for number in range(20):
            group.start_soon(lambda number=number: client.chat(MODEL, "hi", user=f"tenant{number}"))
    assert len(mock.calls) == 20
    assert all(call.key == f"openai-{call.json['user']}" for call in mock.calls)


@table("method", ["providers", "keys", "config"])
async def test_what_an_account_raises_is_told_without_its_text(kind: Kind, method: str) -> None:
    account = Directory(**{method: ValueError("canary")})
    async with Bifrost(account, transport=MockTransport()) as client:
        with pytest.raises(ConfigError, match=rf"Directory\.{method}\(\) failed with ValueError") as caught:
            await ask(client, kind)
    shown = "".join(traceback.format_exception(caught.value))
    assert "canary" not in shown
    assert caught.value.__context__ is None


@table("method", ["providers", "keys", "config"])
async def test_an_accounts_own_verdict_is_the_calls(kind: Kind, method: str) -> None:
    verdict = PermissionDeniedError("not today")
    async with Bifrost(Directory(**{method: verdict}), transport=MockTransport()) as client:
        with pytest.raises(PermissionDeniedError) as caught:
            await ask(client, kind)
    assert caught.value is verdict


@table(
    ("method", "garbage", "problem"),
    [
        ("providers", None, r"Directory.providers\(\) returned a NoneType; return a list"),
        ("providers", "openai", r"returned a str; return a list"),
        ("providers", [7], r"returned an int; return names of the catalog or Provider values"),
        ("providers", ["opnai"], "there is no provider named 'opnai'; did you mean 'openai'"),
        ("keys", None, r"Directory.keys\(\) returned a NoneType; return a list"),
        ("keys", ["sk-canary"], r"Directory.keys\('openai'\) returned a str; return Key values"),
        ("keys", [], "openai has no key; set OPENAI_API_KEY"),
        ("config", None, r"Directory.config\('openai'\) returned a NoneType; return a ProviderConfig"),
        ("config", {}, "returned a dict; return a ProviderConfig"),
    ],
    ids=str,
)
async def test_garbage_of_an_account_is_told(kind: Kind, method: str, garbage: Any, problem: str) -> None:
    async with Bifrost(Directory(**{method: garbage}), transport=MockTransport()) as client:
        with pytest.raises(ConfigError, match=problem) as caught:
            await ask(client, kind)
    assert "canary" not in "".join(traceback.format_exception(caught.value))


async def test_two_keys_of_one_name_are_told(kind: Kind) -> None:
    keys = [Key(name="same", value=fake_key("a")), Key(name="same", value=fake_key("b"))]
    async with Bifrost(Directory(keys=keys), transport=MockTransport()) as client:
        with pytest.raises(ConfigError, match="two keys named 'same'"):
            await ask(client, kind)


async def test_an_account_that_fails_for_one_provider_leaves_the_fallbacks(kind: Kind) -> None:
    class Broken(Directory):
        async def keys(self, provider: str, call: CallContext | None) -> Sequence[Key]:
            if provider == "openai":
                raise ConnectionError("the vault is sealed")
            return await super().keys(provider, call)

    mock = MockTransport()
    mock.reply("hello")
    async with Bifrost(Broken(), transport=mock) as client:
        reply = await ask(client, kind, fallbacks=[OTHER])
    assert reply.provider == "anthropic"


async def test_an_account_that_recovers_is_asked_again() -> None:
    account = Directory(providers=ConnectionError(), config=ConnectionError())
    mock = MockTransport()
    mock.reply("hello")
    async with Bifrost(account, transport=mock) as client:
        for method in ("providers", "config"):
            with pytest.raises(ConfigError, match=method):
                await client.chat(MODEL, "hi")
            del account.instead[method]
        assert (await client.chat(MODEL, "hi")).text == "hello"


async def test_settings_of_a_provider_hold(kind: Kind) -> None:
    mock = MockTransport()
    mock.reply("hello")
    config = ProviderConfig(base_url="https://proxy.example/openai/v9/", extra_headers={"X-Team": "blue"})
    async with Bifrost(Directory(config=config), transport=mock) as client:
        await ask(client, kind)
    (call,) = mock.calls
    assert (call.provider, call.http.path) == ("openai", "/openai/v9/chat/completions")
    assert call.http.headers["x-team"] == "blue"


@table("wrong", ["openai", {"openai": "sk-canary"}, 7, Directory, object()], ids=lambda wrong: type(wrong).__name__)
def test_what_is_no_account_is_refused_at_once(wrong: Any) -> None:
    with pytest.raises(ConfigError, match="account= takes an object with the methods providers, keys and config") as e:
        Bifrost(wrong)
    assert "canary" not in "".join(traceback.format_exception(e.value))


async def test_a_provider_that_is_not_the_accounts_is_told(kind: Kind) -> None:
    async with Bifrost(Directory(providers=["anthropic"]), transport=MockTransport()) as client:
        with pytest.raises(MissingKeyError, match="openai is not configured; set OPENAI_API_KEY"):
            await ask(client, kind)
        with pytest.raises(UnknownProviderError):
            await ask(client, kind, "nobody/model")


async def test_one_callers_error_is_not_anothers(kind: Kind) -> None:
    errors: list[BifrostError] = []

    async def call() -> None:
        try:
            await ask(client, kind)
        except BifrostError as error:
            errors.append(error)

    client = Bifrost(Directory(keys=ValueError()), transport=MockTransport())
    async with client, anyio.create_task_group() as group:
        group.start_soon(call)
        group.start_soon(call)
    assert len({id(error) for error in errors}) == 2


async def test_an_account_that_blocks_the_event_loop_is_told_once(caplog: pytest.LogCaptureFixture) -> None:
    mock = MockTransport()
    mock.reply("hello").always()
    known = mock.account

    class Slow:
        def providers(self) -> Any:
            return known.providers()

        def keys(self, provider: str, call: Any) -> Any:
            time.sleep(0.25)
            return known.keys(provider, call)

        def config(self, provider: str) -> Any:
            return known.config(provider)

    async with mock.client(Slow()) as client:
        for _ in range(2):
            await client.chat(MODEL, "hi")
    [told] = [record.getMessage() for record in caplog.records if "blocked the event loop" in record.getMessage()]
    assert told.startswith("Slow.keys blocked the event loop for 0.")


# --- anything that an account may give


ODD_NUMBERS = st.sampled_from([0, -1, -0.0, 1e300, 1e-320, float("inf"), float("nan"), True, None, "1", 5, 0.5])
ODD_NAMES = st.sampled_from(["a", "b", "", " ", "\n", "ü", "a" * 300, None, 7])
ODD_LISTS = st.none() | st.lists(
    st.sampled_from(["*", "gpt-4o-mini", "gpt-*", "", "**", "x", "GPT-4O-MINI"]), max_size=3
)


@st.composite
def odd_key(draw: st.DrawFn) -> Any:
    """Give a key as an account might make it; `None` where the class refuses to, with an error of ours."""
    fields: dict[str, Any] = {
        "name": draw(ODD_NAMES),
        "value": draw(st.sampled_from(["sk-1", "sk-2", "", "a b", "ü", "x" * 9000, 5])),
        "weight": draw(ODD_NUMBERS),
        "models": draw(ODD_LISTS),
        "enabled": draw(st.booleans()),
    }
    for name in draw(st.sets(st.sampled_from(["weight", "models", "enabled"]))):
        del fields[name]
    if draw(st.booleans()):
        fields |= {
            "name": draw(st.sampled_from(["a", "b", "c"])),
            "value": "sk-good",
            "weight": draw(st.sampled_from([0, 1e300, 1e-320, 2])),
        }
    try:
        return Key(**fields)
    except ConfigError:
        return None


@given(
    keys=st.lists(odd_key(), max_size=4) | st.sampled_from([None, (), "sk-1", [None], [5], {"a": 1}]),
    calls=st.integers(1, 3),
)
def test_whatever_keys_an_account_gives_a_call_is_served_or_told(keys: Any, calls: int) -> None:
    given_keys = [key for key in keys if key is not None] if isinstance(keys, list) and keys != [None] else keys
    mock = MockTransport()
    mock.reply("hello").always()

    async def run() -> None:
        async with Bifrost(Directory(keys=given_keys), transport=mock) as client:
            for _ in range(calls):
                error: BifrostError | None = None
                with anyio.fail_after(10):
                    try:
                        assert (await client.chat(MODEL, "hi")).text == "hello"
                    except BifrostError as caught:
                        error = caught
                assert isinstance(error, ConfigError | LimitError | None)
                assert error is None or isinstance(error.__context__, BifrostError | None)

    anyio.run(run)


@given(weights=st.lists(st.sampled_from([0, 1e-320, 1e-9, 1, 2.5, 1e300, 1e308]), min_size=1, max_size=5))
def test_any_weights_that_are_numbers_choose_a_key(weights: list[float]) -> None:
    """Their sum may be 0 or pass what a float can hold."""
    mock = MockTransport()
    mock.reply("hello").always()
    keys = [Key(name=f"k{index}", value=fake_key(f"k{index}"), weight=weight) for index, weight in enumerate(weights)]

    async def run() -> None:
        async with Bifrost(Directory(keys=keys), transport=mock) as client:
            for _ in range(5):
                reply = await client.chat(MODEL, "hi")
                used = weights[int(str(reply.attempts[0].key)[1:])]
                assert used > 0 or not any(weights), "a key of weight 0 is for when there is no other"

    anyio.run(run)
